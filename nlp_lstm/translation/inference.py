"""Using a translator, be it training runs or an exported one: translate, judge, look inside."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from nlp_lstm import saved_model
from nlp_lstm.datasets.pairs import Pairs
from nlp_lstm.errors import UserError
from nlp_lstm.inference import TracedSignatures, answers_by_length
from nlp_lstm.pictures.attention_map import AttendedTranslation
from nlp_lstm.translation.ensemble import serving_of
from nlp_lstm.translation.limits import DEFAULT_ALPHA, DEFAULT_BEAM, DEFAULT_BETA
from nlp_lstm.translation.metrics import bleu_by_length, check_language, score_intervals, translation_scores

_ROWS = 64  # sentences that are translated at once


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
            self.signatures: Mapping[str, Callable[..., Mapping[str, Any]]] = TracedSignatures(self._held.signatures)
        else:
            # TensorFlow frees the variables of a model that nobody holds, though its functions live on.
            self._held = saved_model.load(model, "serving_default", "n_best", "explain")
            self.signatures = self._held.signatures

    def translate(self, texts: Sequence[bytes], beam_size: int = DEFAULT_BEAM) -> list[list[Translation]]:
        """The best translations of each text, at most `beam_size`, the best first."""

        def ask(batch: list[bytes]) -> Mapping[str, Any]:
            return self.signatures["n_best"](
                text=tf.constant(batch, tf.string), beam_size=tf.fill([len(batch)], beam_size)
            )

        found = answers_by_length(ask, texts, _ROWS)
        return [
            [
                Translation(text.decode("utf-8"), float(score))
                for text, score in zip(translations, scores, strict=True)
                if score > -1e8  # beyond it there is none
            ]
            for translations, scores in zip(found["translations"], found["scores"], strict=True)
        ]

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
    target_language: str | None,
    beam_size: int = DEFAULT_BEAM,
) -> dict[str, Any]:
    """Judge a model on sentences with one or more translations each; without a language, by what needs none.

    Returns:
        The figures of `nlp_lstm.translation.metrics.translation_scores` with their intervals, BLEU by source length,
        and the speed.
    """
    if not sources:
        raise UserError("there is no sentence to judge on: name other data")
    if target_language is not None:
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
        **score_intervals(translations, references, target_language),
        "beam_size": beam_size,
        "seconds": round(seconds, 2),
        "sentences_per_second": round(len(texts) / seconds, 1),
        "bleu_by_length": bleu_by_length([len(source.split()) for source in sources], translations, references),
    }
