"""Using a character language model, be it a training run or an exported one: evaluate, score, look inside."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from nlp_lstm import saved_model
from nlp_lstm.char_lm.build import load_run
from nlp_lstm.char_lm.dynamic_evaluation import dynamic_nats
from nlp_lstm.char_lm.generation import Generation
from nlp_lstm.char_lm.limits import LONGEST_SCORED_TEXT, LONGEST_TEXT_LOOKED_INTO
from nlp_lstm.char_lm.serving import BEGINNING, CharLmServing
from nlp_lstm.char_lm.writing import zero_state
from nlp_lstm.datasets.corpus import load_judged
from nlp_lstm.errors import UserError
from nlp_lstm.inference import TracedSignatures
from nlp_lstm.intervals import mean_interval
from nlp_lstm.lstm import Gates
from nlp_lstm.models.language_model import LanguageModel
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.text.symbols import Symbols

RESET_EVERY = 256
"""Characters after which the state is forgotten where that is asked of an evaluation."""

INTERVAL_BLOCK = 1000
"""Characters that are drawn together for the interval of an evaluation."""

_CHARACTERS_IN_PIECE = LONGEST_SCORED_TEXT // 4  # a character has four bytes at the most


Signatures = Mapping[str, Callable[..., Mapping[str, Any]]]


class CharLm:
    """A model to use: a training run where one is named, else what was exported.

    >>> model = CharLm(Path("saved_models/char_lm"))
    >>> model.log_probs("ROMEO:").shape
    (6,)
    >>> generate(model, b"ROMEO:", Generation(length=20, seed=7))[0]["text"][:6]
    'ROMEO:'

    Args:
        model: a SavedModel or a folder of versions.
        run: the folder of a training run, to use instead.

    Raises:
        UserError: if there is no such model or run, or it is of another app.
    """

    def __init__(self, model: Path, run: Path | None = None):
        self.language_model: LanguageModel | None = None
        if run is not None:
            self.language_model, symbols, _ = load_run(RunFolder(run))
            self._held: Any = CharLmServing(self.language_model, symbols)
            self.signatures: Signatures = TracedSignatures(self._held.signatures)
        else:
            # TensorFlow frees the variables of a model that nobody holds, though its functions live on.
            self._held = saved_model.load(model, "read")
            self.signatures = self._held.signatures
        known = self.signatures["encode"](text=tf.constant([""]))["symbols_bytes"][0]
        self.symbols = Symbols.of_spelling(known.numpy().tolist())

    def log_probs(self, text: str) -> np.ndarray:
        """The log-probability of each symbol of a text of any length, `(symbols,)`, the state carried all through."""
        step = self.signatures["step"]
        state = dict(step(char=tf.constant([""]), **zero_state(step)))
        del state["log_probs"]
        found = [np.zeros(0, np.float32)]
        for piece in _pieces(text, _CHARACTERS_IN_PIECE):
            answer = dict(self.signatures["read"](text=tf.constant([piece]), **state))
            found.append(answer.pop("char_log_probs").numpy()[0, : int(answer.pop("length")[0])])
            state = answer
        return np.concatenate(found)

    def knows(self, character: str) -> bool:
        """Whether a character has an id of its own."""
        return self.symbols.unit == "byte" or bool(self.symbols.encode(character)[0])

    def split(self, text: str) -> list[str]:
        """The symbols of a text as they can be shown: bytes beyond ASCII as in `\\xc3`."""
        if self.symbols.unit == "character":
            return list(text)
        return [chr(value) if value < 128 else f"\\x{value:02x}" for value in text.encode("utf-8", "replace")]

    def activity(self, text: str, names: Sequence[str] = Gates._fields) -> dict[str, np.ndarray]:
        """Gates and states by name, `(symbols, layers * units)` each, after every symbol of a text.

        The text is read in pieces of at most `LONGEST_TEXT_LOOKED_INTO` symbols, each as if it began anew.
        """
        pieces = [self._gates(piece, names) for piece in _pieces(text, LONGEST_TEXT_LOOKED_INTO // self._widest)]
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}

    @property
    def _widest(self) -> int:
        return 1 if self.symbols.unit == "character" else 4

    def _gates(self, piece: bytes, names: Sequence[str]) -> dict[str, np.ndarray]:
        answer = self.signatures["gates"](text=tf.constant([piece]))
        return {name: answer[name].numpy()[0, : int(answer["length"][0])] for name in names}


def _pieces(text: str, characters: int) -> Iterator[bytes]:
    for start in range(0, len(text), characters):
        yield text[start : start + characters].encode("utf-8", "replace")


def evaluate(
    model: CharLm,
    source: str,
    split: str,
    *,
    line_mode: bool = False,
    validation_fraction: float = 0.1,
    encoding: str = "",
    dynamic: bool = False,
) -> dict[str, Any]:
    """Judge a model on a split of a source.

    Returns:
        `nats_per_char`, `bits_per_char` (either with its 95 % interval over blocks of `INTERVAL_BLOCK` characters) and
        `perplexity` with the state carried through the whole split, as is usual;
        `reset_nats_per_char` and `reset_bits_per_char` with the state forgotten every `RESET_EVERY` characters; with
        `dynamic` also `dynamic_nats_per_char` and `dynamic_bits_per_char`, by a model that learns from the split as it
        goes. All count characters, for a model of bytes too.
    """
    if dynamic and model.language_model is None:
        raise UserError("--dynamic trains the model while it reads, and an exported one cannot be: name a --run")
    text = load_judged(source, split, line_mode=line_mode, validation_fraction=validation_fraction, encoding=encoding)
    ids = model.symbols.encode(text)
    unknown = int(np.sum(ids == 0)) if model.symbols.unit == "character" else 0
    model.log_probs(text[:10])  # the first call of a graph is slower, and no figure of its speed
    started = time.perf_counter()
    log_probs = model.log_probs(text)
    seconds = time.perf_counter() - started
    nats = -float(np.sum(log_probs, dtype=np.float64)) / len(text)
    interval = _block_interval(log_probs, len(text))
    reset = _reset_nats(model, text)
    result = {
        "data": source,
        "split": split,
        "characters": len(text),
        "unknown_characters": unknown,
        "nats_per_char": nats,
        "nats_per_char_interval": interval,
        "bits_per_char": nats / math.log(2),
        "bits_per_char_interval": [end / math.log(2) for end in interval],
        "perplexity": math.exp(nats) if nats < 700 else None,  # beyond that it is no float, and infinity no JSON
        "reset_every": RESET_EVERY,
        "reset_nats_per_char": reset,
        "reset_bits_per_char": reset / math.log(2),
        "seconds": round(seconds, 2),
        "chars_per_second": round(len(text) / seconds, 1),
    }
    if model.language_model is not None and dynamic:
        before = int(model.symbols.encode(BEGINNING)[0])
        adapted = dynamic_nats(model.language_model, before, ids) * len(ids) / len(text)
        result |= {"dynamic_nats_per_char": adapted, "dynamic_bits_per_char": adapted / math.log(2)}
    return result


def _block_interval(log_probs: np.ndarray, characters: int) -> list[float]:
    """The 95 % interval of the nats per character: neighbours depend on one another, so whole blocks are drawn."""
    blocks = np.array_split(np.asarray(log_probs, np.float64), max(1, characters // INTERVAL_BLOCK))
    # Of a model of bytes a block has fewer characters than symbols: as many as all of the text has, in the mean.
    return mean_interval([-block.mean() * len(log_probs) / characters for block in blocks])


def _reset_nats(model: CharLm, text: str) -> float:
    pieces = list(_pieces(text, RESET_EVERY))
    total = 0.0
    for start in range(0, len(pieces), 64):
        answer = model.signatures["score"](text=tf.constant(pieces[start : start + 64]))
        total -= float(np.sum(answer["char_log_probs"].numpy(), dtype=np.float64))
    return total / len(text)


def generate(model: CharLm, prompt: bytes, how: Generation) -> list[dict[str, Any]]:
    """The prompt and its continuation, once for each sample, whose seeds follow one another; or the likeliest one."""
    rows = how.samples

    def each(value: bytes | float, dtype: tf.DType) -> Any:
        return tf.fill([rows], tf.constant(value, dtype))

    if how.beam:
        answer = model.signatures["likeliest"](
            prompt=tf.constant([prompt]), length=tf.constant([how.length]), beam_size=tf.constant([how.beam])
        )
        return [
            {
                "text": answer["text"].numpy()[0].decode("utf-8"),
                "beam": how.beam,
                "log_prob": float(answer["log_prob"][0]),
            }
        ]
    seeds = tf.range(how.seed, how.seed + rows)
    answer = model.signatures["generate"](
        prompt=each(prompt, tf.string),
        length=each(how.length, tf.int32),
        temperature=each(how.temperature, tf.float32),
        top_k=each(how.top_k, tf.int32),
        top_p=each(how.top_p, tf.float32),
        seed=seeds,
    )
    return [
        {"text": text.decode("utf-8"), "seed": seed}
        for text, seed in zip(answer["text"].numpy().tolist(), seeds.numpy().tolist(), strict=True)
    ]
