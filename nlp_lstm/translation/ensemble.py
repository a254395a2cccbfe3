"""Finished runs as one translator, whose log-probabilities are the mean of theirs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from nlp_lstm.errors import UserError
from nlp_lstm.inference import answers_by_length
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.settings import Precision
from nlp_lstm.translation.build import load_run
from nlp_lstm.translation.limits import DEFAULT_ALPHA, DEFAULT_BETA
from nlp_lstm.translation.serving import TranslationServing

TEXTS_AT_ONCE = 128
"So many are translated together where the order is free."


def serving_of(
    runs: Sequence[Path],
    alpha: float = DEFAULT_ALPHA,
    beta: float = DEFAULT_BETA,
    precision: Precision = "float32",
) -> TranslationServing:
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
        if other.settings.source_case != loaded[0].settings.source_case:
            raise UserError(
                f"the runs in '{runs[0]}' and '{run}' read sources in different ways, so their guesses cannot be "
                "averaged: train them with the same --source-case"
            )
    return TranslationServing(
        [trained.model for trained in loaded],
        vocabularies.target,
        alpha,
        beta,
        source_subwords=vocabularies.source,
        precision=precision,
        source_case=loaded[0].settings.source_case,
    )


def best_translations(serving: TranslationServing, texts: Sequence[str], beam_size: int) -> list[str]:
    """Its best translation of each text, in their order; a beam of 1 is greedy."""

    def ask(batch: list[str]) -> Any:
        return serving.n_best(tf.constant(batch, tf.string), tf.fill([len(batch)], beam_size))

    return [
        found.decode("utf-8") for found in answers_by_length(ask, texts, TEXTS_AT_ONCE)["translations"][:, 0].tolist()
    ]
