"""A sentence, gate by gate: what two trained models do at each word, and what is left of "due to" when "loan" comes.

    python examples/sentence_walk.py
    python examples/sentence_walk.py --plot sentence.png --json

LSTMs are often explained with this sentence: the cell is said to keep "due to", over a clause of ten words, until
"loan" is to be told. Here the numbers of two shipped models say what happens.

- The character model reads the sentence. What a unit's cell held behind "due to" is multiplied by its forget gate at
  each character after it, so the product of those gates is the share that is still there before "loan": exactly so,
  whatever was added in between.
- It reads the same sentence with another phrase of as many letters in that place. Where the cells of the two differ,
  the model still knows which it was; and how much that matters shows in P(loan).
- The sentiment model, which reads words, tells its gates and each word's share of its verdict.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter

from nlp_lstm import cli
from nlp_lstm.errors import UserError

tf = cli.LazyModule("tensorflow")
char_lm = cli.LazyModule("nlp_lstm.char_lm.inference")
sentiment = cli.LazyModule("nlp_lstm.saved_model")

app = cli.App(name="sentence_walk", help=__doc__, version_flags=[])

SENTENCE = "Today, due to my current job situation and family conditions, I need to take a loan."
CAUSE, INSTEAD, TOLD = "due to", "set to", "loan"
GATES = ("input", "forget", "output")
CARRIERS = 5


def words_of(text: str) -> list[tuple[int, int]]:
    """Where each word begins and ends; the space before it belongs to it, since it is told before the word is.

    >>> [("a fine film"[start:end]) for start, end in words_of("a fine film")]
    ['a', ' fine', ' film']
    """
    ends = [place for place, letter in enumerate(text) if letter == " "] + [len(text)]
    return list(zip([0, *ends[:-1]], ends, strict=True))


def shares_kept(forget: np.ndarray) -> np.ndarray:
    """The share of what cells held at the first step that is left at each, `(time, units)`, from their forget gates.

    >>> shares_kept(np.array([[0.3], [0.5], [0.5]])).tolist()  # the first step's own gate came before
    [[1.0], [0.5], [0.25]]
    """
    return np.concatenate([np.ones_like(forget[:1]), np.cumprod(forget[1:], axis=0, dtype="float64")])


class Reading:
    """What the character model did over a text."""

    def __init__(self, model: Any, text: str):
        self.gates = model.activity(text)  # (T, 2U) each, the first layer's units first
        self.log_probs = np.asarray(model.log_probs(text), "float64")  # (T,), of each character after those before it

    def probability(self, start: int, end: int) -> float:
        """Of the characters from `start` to `end`, after those before them."""
        return float(np.exp(np.sum(self.log_probs[start:end])))


def place_of(text: str, phrase: str) -> int:
    """Where a phrase begins.

    Raises:
        UserError: if it does not stand in the text once.
    """
    if text.count(phrase) != 1:
        raise UserError(f"'{phrase}' stands {text.count(phrase)} times in the sentence: name a phrase that stands once")
    return text.index(phrase)


def walk(model: Any, sentence: str, cause: str, instead: str, told: str) -> dict[str, Any]:
    """All figures of the character model; arrays for the picture are under `curves`."""
    if len(cause) != len(instead):
        raise UserError(f"--instead is '{instead}', of {len(instead)} letters: '{cause}' has {len(cause)}")
    begin, target = place_of(sentence, cause), place_of(sentence, told)
    if begin >= target:
        raise UserError(f"'{cause}' stands behind '{told}': the sentence is read from left to right")
    last = begin + len(cause) - 1  # the phrase's last character
    other = sentence[:begin] + instead + sentence[begin + len(cause) :]
    reading, changed = Reading(model, sentence), Reading(model, other)
    units = reading.gates["cell"].shape[-1] // 2
    layers = {"layer 1": slice(0, units), "layer 2": slice(units, 2 * units)}
    kept = shares_kept(reading.gates["forget"][last:])  # (characters since, 2U)
    at_target = kept[target - 1 - last]  # when the character before `told` was read
    cells, changed_cells = reading.gates["cell"], changed.gates["cell"]
    order = np.argsort(-at_target)[:CARRIERS]
    apart = {name: np.linalg.norm(cells[:, part] - changed_cells[:, part], axis=-1) for name, part in layers.items()}
    shorter = sentence[:begin] + sentence[place_of(sentence, ", I ") + 2 :] if ", I " in sentence else told
    contexts = {
        "the sentence": (reading, target),
        f"'{instead}' instead of '{cause}'": (changed, target),
        "without the clause": (Reading(model, shorter), shorter.index(told)),
        f"'{told}' alone": (Reading(model, told), 0),
    }
    return {
        "sentence": sentence,
        "cause": cause,
        "words": [
            {
                "word": sentence[start:end].strip(),
                "probability": reading.probability(start, end),
                "bits_per_character": float(-np.mean(reading.log_probs[start:end]) / np.log(2)),
                **{
                    f"{name}_{layer.replace(' ', '_')}": float(reading.gates[name][start:end, part].mean())
                    for layer, part in layers.items()
                    for name in GATES
                },
            }
            for start, end in words_of(sentence)
        ],
        "characters_between": target - 1 - last,
        "kept": {
            layer: {
                "median_share": float(np.median(at_target[part])),
                "units_above_half": int(np.sum(at_target[part] > 0.5)),
                "units_above_tenth": int(np.sum(at_target[part] > 0.1)),
                "characters_until_median_below_tenth": _first_below(np.median(kept[:, part], axis=1), 0.1),
            }
            for layer, part in layers.items()
        },
        "carriers": [
            {
                "unit": int(unit),
                "share": float(at_target[unit]),
                "cell_then": float(cells[last, unit]),
                "of_it_left": float(at_target[unit] * cells[last, unit]),
                "cell_before_told": float(cells[target - 1, unit]),
                "differs_by": float(cells[target - 1, unit] - changed_cells[target - 1, unit]),
            }
            for unit in order
        ],
        "difference": {
            layer: {
                "then": float(norms[last]),
                "before_told": float(norms[target - 1]),
                "size_of_state": float(np.linalg.norm(cells[target - 1, layers[layer]])),
            }
            for layer, norms in apart.items()
        },
        f"probability_of_{told}": {name: one.probability(at, at + len(told)) for name, (one, at) in contexts.items()},
        "curves": {
            "kept": kept,
            "order": order,
            "apart": apart,
            "last": last,
            "log_probs": (reading.log_probs, changed.log_probs),
        },
    }


def _first_below(shares: np.ndarray, level: float) -> int | None:
    below = np.flatnonzero(shares < level)
    return int(below[0]) if len(below) else None


def read_words(model: Any, sentence: str) -> dict[str, Any]:
    """What the sentiment model says of each token."""
    answer = {name: np.asarray(value)[0] for name, value in model(text=tf.constant([sentence])).items()}
    tokens = [token.decode("utf-8", "replace") for token in answer["tokens"][: answer["length"]]]
    columns = ("polarity", *(f"{way}_{gate}" for way in ("forward", "backward") for gate in GATES))
    return {
        "positive": float(answer["score"]),
        "tokens": [
            {"token": token, **{name: float(answer[name][place]) for name in columns}}
            for place, token in enumerate(tokens)
        ],
    }


def draw_picture(found: dict[str, Any], path: Path) -> None:
    """The gates by word, what is kept of the phrase, how far apart the two readings are, and P of each character."""
    from nlp_lstm.pictures.line_panels import Line, Panel, draw_panels

    sentence, curves = found["sentence"], found["curves"]
    names = {float(start): sentence[start:end].strip() for start, end in words_of(sentence)}
    places = np.arange(len(sentence))
    before = np.full((curves["last"], curves["kept"].shape[1]), np.nan)
    shares = np.concatenate([before, curves["kept"]])  # at each character of the sentence
    by_word = {
        name: np.repeat(
            [word[f"{name}_layer_2"] for word in found["words"]], [end - start for start, end in words_of(sentence)]
        )
        for name in GATES
    }
    kept = [Line("median of all units", places, np.median(shares, axis=1), color=-1)]
    kept += [Line(f"cell {unit}", places, shares[:, unit], color) for color, unit in enumerate(curves["order"])]
    apart = [Line(layer, places, norms, color) for color, (layer, norms) in enumerate(curves["apart"].items())]
    told, told_otherwise = map(np.exp, curves["log_probs"])
    draw_panels(
        [
            Panel(
                "gates of layer 2, mean over its units and each word's characters",
                "",
                "gate",
                [Line(name, places, values, color) for color, (name, values) in enumerate(by_word.items())],
                y_limits=(0, 1),
                x_names=names,
            ),
            Panel(
                f"share of the cells behind “{found['cause']}” that is left",
                "",
                "share",
                kept,
                x_names=names,
                y_limits=(0, 1.02),
            ),
            Panel("difference of the cells when another phrase stood there", "", "norm", apart, x_names=names),
            Panel(
                "P(character), given those before it",
                "",
                "P",
                [
                    Line("the sentence", places, told, marked=True),
                    Line("another phrase", places, told_otherwise, 1, dash=1),
                ],
                x_names=names,
                y_log=True,
            ),
        ],
        path,
        columns=1,
        width=6.5,
    )


def print_report(found: dict[str, Any], words: dict[str, Any], told: str) -> None:
    from rich.table import Table

    from nlp_lstm.pictures.tables import print_whole

    def table_of(title: str, names: Sequence[str], rows: list[list[str]]) -> None:
        table = Table(title=title, title_justify="left", header_style="bold")
        for place, name in enumerate(names):
            table.add_column(name, justify="right" if place else "left")
        for row in rows:
            table.add_row(*row)
        print_whole(table)

    table_of(
        "the character model, word by word (gates: layer 1, layer 2)",
        ("word", "P(word)", "bits a character", *GATES),
        [
            [
                word["word"],
                f"{word['probability']:.2g}",
                f"{word['bits_per_character']:.2f}",
                *(f"{word[f'{gate}_layer_1']:.2f}, {word[f'{gate}_layer_2']:.2f}" for gate in GATES),
            ]
            for word in found["words"]
        ],
    )
    for layer, kept in found["kept"].items():
        apart = found["difference"][layer]
        print(
            f"{layer}: after {found['characters_between']} characters the median unit has {kept['median_share']:.2g} "
            f"left; {kept['units_above_half']} have more than half, {kept['units_above_tenth']} more than a tenth; the "
            f"median is below a tenth after {kept['characters_until_median_below_tenth']}; the two readings are "
            f"{apart['then']:.2f} apart behind the phrase, {apart['before_told']:.2f} before '{told}' (of a state of "
            f"{apart['size_of_state']:.2f})"
        )
    table_of(
        "the cells that keep most",
        ("cell", "share left", "held then", "of it left", f"holds before '{told}'", "differs by"),
        [
            [
                str(one["unit"]),
                f"{one['share']:.3f}",
                *(f"{one[name]:+.3f}" for name in ("cell_then", "of_it_left", "cell_before_told", "differs_by")),
            ]
            for one in found["carriers"]
        ],
    )
    for name, probability in found[f"probability_of_{told}"].items():
        print(f"P({told}), {name}: {probability:.3g}")
    table_of(
        f"the sentiment model, word by word: P(positive) {words['positive']:.3f}",
        ("token", "polarity", *(f"→ {gate}" for gate in GATES), *(f"← {gate}" for gate in GATES)),
        [
            [
                word["token"],
                f"{word['polarity']:+.3f}",
                *(f"{word[f'{way}_{gate}']:.2f}" for way in ("forward", "backward") for gate in GATES),
            ]
            for word in words["tokens"]
        ],
    )


@app.default
def run(
    *,
    sentence: Annotated[str, Parameter(help="What is read.")] = SENTENCE,
    cause: Annotated[str, Parameter(help="The phrase in it that is to be kept.")] = CAUSE,
    instead: Annotated[str, Parameter(help="Another of as many letters.")] = INSTEAD,
    told: Annotated[str, Parameter(help="The word before which one looks.")] = TOLD,
    char_model: Annotated[Path | None, Parameter(help="A character model; by default the shipped one.")] = None,
    sentiment_model: Annotated[Path | None, Parameter(help="A sentiment model; by default the shipped one.")] = None,
    plot: Annotated[Path | None, Parameter(help="Draw it into this PNG.")] = None,
    json: cli.Json = False,
) -> None:
    """Read the sentence with both models."""
    cli.check_suffix("--plot", plot, ".png")
    letters = char_lm.CharLm(cli.shipped_unless_named(char_model, None, "char_lm"))
    found = walk(letters, sentence, cause, instead, told)
    held = sentiment.load(cli.shipped_unless_named(sentiment_model, None, "sentiment"), "explain")
    words = read_words(held.signatures["explain"], sentence)
    if plot is not None:
        draw_picture(found, plot)
    if json:
        cli.print_json({**{key: value for key, value in found.items() if key != "curves"}, "sentiment": words})
    else:
        print_report(found, words, told)


if __name__ == "__main__":
    sys.exit(cli.run(app))
