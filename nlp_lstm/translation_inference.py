"""Using a translator, be it training runs or an exported one: translate, judge, look inside, export."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from nlp_lstm import export
from nlp_lstm.attention_map import AttendedTranslation
from nlp_lstm.datasets.pairs import Pairs
from nlp_lstm.errors import UserError
from nlp_lstm.training import RunFolder
from nlp_lstm.translation import Settings, load_run
from nlp_lstm.translation_metrics import bleu_by_length, check_language, translation_scores
from nlp_lstm.translation_serving import (
    DEFAULT_ALPHA,
    DEFAULT_BEAM,
    DEFAULT_BETA,
    LARGEST_BEAM,
    LONGEST_SOURCE,
    LONGEST_TEXT,
    LONGEST_TRANSLATION,
    TranslationServing,
)

_ROWS = 64  # sentences that are translated at once
_EXAMPLES = ["A man is riding a bike.", ""]


class Translation(NamedTuple):
    """What a text was translated to."""

    text: str
    score: float
    """Log-probability by the length penalty, with the coverage penalty where the model has one."""


class TranslationModel:
    """A translator to use: training runs where some are named, else what was exported.

    >>> model = TranslationModel(Path("saved_models/translation"))
    >>> model.translate([b"A man is riding a bike."])[0][0].text
    'Ein Mann fährt Fahrrad.'

    Args:
        model: a SavedModel or a folder of versions.
        runs: the folders of training runs with the same subwords, to use instead, together.
        alpha: of the length penalty, for runs; an exported model has its own.
        beta: of the coverage penalty, likewise.

    Raises:
        UserError: if there is no such model or run, it is of another app, or runs do not fit together.
    """

    def __init__(
        self, model: Path, runs: Sequence[Path] = (), alpha: float = DEFAULT_ALPHA, beta: float = DEFAULT_BETA
    ):
        if runs:
            self._held: Any = serving_of(runs, alpha, beta)
            functions = self._held.signatures.items()
            self.signatures: Mapping[str, Callable[..., Mapping[str, Any]]] = {
                name: function.get_concrete_function() for name, function in functions
            }
        else:
            # TensorFlow frees the variables of a model that nobody holds, though its functions live on.
            self._held = export.load(model, "serving_default", "n_best", "explain")
            self.signatures = self._held.signatures

    def translate(self, texts: Sequence[bytes], beam_size: int = DEFAULT_BEAM) -> list[list[Translation]]:
        """The best translations of each text, at most `beam_size`, the best first."""
        found: dict[int, list[Translation]] = {}
        for places in _by_length(texts):
            answer = self.signatures["n_best"](
                text=tf.constant([texts[place] for place in places]), beam_size=tf.fill([len(places)], beam_size)
            )
            rows = zip(places, answer["translations"].numpy(), answer["scores"].numpy(), strict=True)
            for place, translations, scores in rows:
                there = int(np.sum(scores > -1e8))
                found[place] = [
                    Translation(text.decode("utf-8"), float(score))
                    for text, score in zip(translations[:there], scores[:there], strict=True)
                ]
        return [found[place] for place in range(len(texts))]

    def explain(self, text: bytes) -> tuple[Translation, AttendedTranslation]:
        """The best translation of a text, and what was looked at for each subword of it."""
        answer = {
            name: value.numpy()[0] for name, value in self.signatures["explain"](text=tf.constant([text])).items()
        }
        source, target = int(answer["source_length"]), int(answer["target_length"])
        attended = AttendedTranslation(
            [piece.decode("utf-8") for piece in answer["source_pieces"][:source]],
            [piece.decode("utf-8") for piece in answer["target_pieces"][:target]],
            answer["attention"][:source, :target],
        )
        return Translation(answer["translation"].decode("utf-8"), float(answer["score"])), attended


def _by_length(texts: Sequence[bytes]):
    """Places of texts, so many at once, those of like length together: padding is work for nothing."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    for start in range(0, len(order), _ROWS):
        yield order[start : start + _ROWS]


def serving_of(runs: Sequence[Path], alpha: float = DEFAULT_ALPHA, beta: float = DEFAULT_BETA) -> TranslationServing:
    """Finished runs as one model to serve.

    Raises:
        UserError: if a run cannot be loaded, or its subwords are not those of the first.
    """
    loaded = [load_run(RunFolder(run)) for run in runs]
    vocabularies = loaded[0].vocabularies
    for run, other in zip(runs, loaded, strict=True):
        if [side.model for side in other.vocabularies] != [side.model for side in vocabularies]:
            raise UserError(
                f"the runs in '{runs[0]}' and '{run}' have different subwords, so their guesses cannot be averaged: "
                "train them on the same data with the same --subwords"
            )
    return TranslationServing(
        [trained.model for trained in loaded], vocabularies.target, alpha, beta, source_subwords=vocabularies.source
    )


def with_all_references(pairs: Pairs) -> tuple[list[str], list[list[str]]]:
    """Each source once, in the order of the data, with all its translations."""
    references: dict[str, list[str]] = {}
    for source, target in zip(*pairs, strict=True):
        references.setdefault(source, []).append(target)
    return list(references), list(references.values())


def evaluate(
    model: TranslationModel,
    sources: Sequence[str],
    references: Sequence[Sequence[str]],
    target_language: str,
    beam_size: int = DEFAULT_BEAM,
) -> dict[str, Any]:
    """Judge a model on sentences with one or more translations each.

    Returns:
        The figures of `nlp_lstm.translation_metrics.translation_scores`, BLEU by source length, and the speed.
    """
    if not sources:
        raise UserError("there is no sentence to judge on: name other data")
    check_language(target_language)
    texts = [source.encode("utf-8", "replace") for source in sources]
    model.translate(texts[:1], beam_size)  # the first call of a graph is slower, and no figure of its speed
    started = time.perf_counter()
    translations = [found[0].text for found in model.translate(texts, beam_size)]
    seconds = time.perf_counter() - started
    return {
        "sentences": len(texts),
        "references": sum(map(len, references)),
        **translation_scores(translations, references, target_language),
        "beam_size": beam_size,
        "seconds": round(seconds, 2),
        "sentences_per_second": round(len(texts) / seconds, 1),
        "bleu_by_length": bleu_by_length([len(source.split()) for source in sources], translations, references),
    }


def export_runs(runs: Sequence[Path], target: Path, alpha: float = DEFAULT_ALPHA, beta: float = DEFAULT_BETA) -> Path:
    """Write finished runs, averaged, as the next version of a SavedModel below `target`."""
    serving = serving_of(runs, alpha, beta)
    settings = load_run(RunFolder(runs[0])).settings
    warm_up: dict[str, dict[str, Any]] = {
        "serving_default": {"text": _EXAMPLES},
        "n_best": {"text": _EXAMPLES, "beam_size": [2] * len(_EXAMPLES)},
        "explain": {"text": _EXAMPLES},
        "encode": {"text": _EXAMPLES},
    }
    return export.save(serving, target, warm_up, _model_card([RunFolder(run) for run in runs], settings, serving))


def _model_card(runs: Sequence[RunFolder], settings: Settings, serving: TranslationServing) -> str:
    config = runs[0].config()
    data = Path(config["data"] or config["source_file"]).name
    direction = (
        f"from `{settings.source_language}` to `{settings.target_language}`"
        if settings.source_language and settings.target_language
        else "in the direction of its data"
    )
    rows = [run.metrics() for run in runs]
    figures = [
        f"| {found['split']} of {Path(found['data']).name} ({found['sentences']:,} sentences) | {found['bleu']:.2f} "
        f"| {found['bleu_lower_tok']:.2f} | {found['chrf']:.2f} | {found['beam_size']} |"
        for found in runs[0].evaluations()
    ]
    minutes = sum(row["seconds"] for run in rows for row in run) / 60
    processor_minutes = sum(row["cpu_seconds"] for run in rows for row in run) / 60
    best = [max(run, key=lambda row: row["val_bleu"]) for run in rows]
    weights = serving.models[0].count_params()
    lines = [
        "# Translator",
        "",
        f"Translates sentences {direction}. A bidirectional LSTM of {settings.encoder_units} units each way and an",
        f"LSTM of {settings.decoder_units} with attention, over {len(serving.subwords):,} subwords; {weights:,} weights"
        + (f" in each of {len(runs)} models, whose log-probabilities are averaged." if len(runs) > 1 else "."),
        "",
        "## Data",
        "",
        f"Trained on `{data}`.",
        *_DATA_NOTES.get(data, []),
        "",
        "## Figures",
        "",
        "| data | BLEU (sacreBLEU, cased) | BLEU, lower case, tokenised | chrF | beam |",
        "|---|---|---|---|---|",
        *(figures or ["| not evaluated | | | | |"]),
        "",
        f"Training took {minutes:.1f} minutes ({processor_minutes:.1f} processor minutes). The weights after epoch "
        + ", ".join(str(row["epoch"]) for row in best)
        + " are kept, with a greedy BLEU of "
        + ", ".join(f"{row['val_bleu']:.2f}" for row in best)
        + " on validation data.",
        "",
        "## Limits",
        "",
        "It knows sentences like those of its training data, and turns others into such. It may leave things out, and",
        "may tell what is not there.",
        f"Of a text the first {LONGEST_TEXT:,} characters and {LONGEST_SOURCE} subwords are read; a translation has",
        f"{LONGEST_TRANSLATION} subwords at the most, and a beam {LARGEST_BEAM}.",
        "",
        "## Settings",
        "",
        f"- length penalty: {serving.alpha}",
        f"- coverage penalty: {serving.beta}",
        *(f"- `{name}`: {value}" for name, value in dataclasses.asdict(settings).items()),
        "",
    ]
    return "\n".join(lines)


_DATA_NOTES = {
    "multi30k": [
        "",
        "Multi30k (Elliott et al. 2016): captions of pictures, English with translations; for research, made from",
        "Flickr30K. Its validation part chose the epoch and the settings.",
    ],
    "sample": ["", "The sample is some hundreds of short sentences: enough to try the suite, not to translate with."],
}
