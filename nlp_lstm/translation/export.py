"""Finished runs of a translator as a SavedModel with its model card."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from nlp_lstm import saved_model
from nlp_lstm.datasets.known_sets import known_set
from nlp_lstm.model_card import facts_of, settings_shown
from nlp_lstm.rendering import rendered
from nlp_lstm.run_folder import DATA_FINGERPRINT, TRAINING, RunFolder
from nlp_lstm.settings import Precision
from nlp_lstm.translation.build import load_run
from nlp_lstm.translation.ensemble import serving_of
from nlp_lstm.translation.limits import (
    DEFAULT_ALPHA,
    DEFAULT_BEAM,
    DEFAULT_BETA,
    LARGEST_BEAM,
    LONGEST_SOURCE,
    LONGEST_TEXT,
    LONGEST_TEXT_BYTES,
    LONGEST_TRANSLATION,
)
from nlp_lstm.translation.serving import TranslationServing
from nlp_lstm.translation.settings import EXTRA_FINGERPRINT, Settings
from nlp_lstm.translation.teaching import BACK_TRANSLATION, TEACHING
from nlp_lstm.weight_matrix import IN_WORDS, refuse_precision

_BATCHING = saved_model.Batching(rows=32, wait_micros=5_000)
"""With which 16 clients had 1.4 times as many translations as without; `n_best` 0.85 times."""

_EXAMPLES = ["A man is riding a bike.", ""]

_UNLIKE_ITS_DATA = [
    "The parliament has passed the budget for next year.",
    "My computer crashed before I could save the file.",
    "She doesn't believe that he was ever there.",
    "Where can I buy a ticket to Vienna?",
    "The dog is not running, and nobody is watching it.",
]
"""What a model card shows translations of, for its readers to see where the model's knowledge ends."""


def export_runs(
    runs: Sequence[Path],
    target: Path,
    alpha: float = DEFAULT_ALPHA,
    beta: float = DEFAULT_BETA,
    precision: Precision = "float32",
) -> Path:
    """Write finished runs, averaged, as the next version of a SavedModel below `target`.

    Args:
        runs: their folders.
        target: the model's folder.
        alpha: of the length penalty.
        beta: of the coverage penalty.
        precision: of the products with weights.

    Raises:
        UserError: if a run is not finished, they do not fit together, or this machine cannot take such products.
    """
    refuse_precision(precision)
    serving = serving_of(runs, alpha, beta, precision)
    settings = load_run(RunFolder(runs[0])).settings
    warm_up: dict[str, dict[str, Any]] = {
        "serving_default": {"text": _EXAMPLES},
        "n_best": {"text": _EXAMPLES, "beam_size": [2] * len(_EXAMPLES)},
        "explain": {"text": _EXAMPLES},
        "encode": {"text": _EXAMPLES},
    }
    read = _UNLIKE_ITS_DATA if settings.source_language == "en" else []
    examples = [
        (text, written.decode("utf-8"))
        for text in read
        for written in serving.signatures["serving_default"](text=tf.constant([text]))["translation"].numpy()
    ]
    card = functools.partial(_model_card, [RunFolder(run) for run in runs], settings, serving, examples)
    return saved_model.save(serving, target, warm_up, card, batching=_BATCHING)


def _known(configs: Sequence[dict[str, Any]], fingerprint: str) -> str | None:
    """The name of the public set that all runs were trained on, if it is one."""
    known = {known_set(config.get(fingerprint)) for config in configs}
    return known.pop() if len(known) == 1 else None


def _model_card(
    runs: Sequence[RunFolder],
    settings: Settings,
    serving: TranslationServing,
    examples: Sequence[tuple[str, str]],
    size: int,
) -> str:
    configs = [run.config() for run in runs]
    rows = [[row for row in run.metrics() if row["stage"] == TRAINING] for run in runs]
    # Of what it went on from, too.
    stages = {row["stage"].replace("earlier ", "") for row in runs[0].metrics()}
    return rendered(
        "nlp_lstm.translation",
        "model_card.md.jinja",
        settings=settings_shown(settings),
        subwords=len(serving.subwords),
        weights=serving.models[0].count_params(),
        megabytes=size / 1e6,
        examples=examples,
        precision=IN_WORDS[serving.precision],
        data=Path(configs[0]["data"] or configs[0]["source_file"]).name,
        extra_data=Path(configs[0].get("extra_data") or "").name,
        known=[name for name in (_known(configs, DATA_FINGERPRINT), _known(configs, EXTRA_FINGERPRINT)) if name],
        beam=DEFAULT_BEAM,
        **facts_of(runs, Settings()),
        best=[max(run, key=lambda row: row["val_bleu"]) for run in rows],
        is_taught=TEACHING in stages,
        teachers=sum(stage.startswith("teacher ") for stage in stages),
        is_back_translated=BACK_TRANSLATION in stages,
        alpha=serving.alpha,
        beta=serving.beta,
        longest_text=LONGEST_TEXT,
        longest_text_bytes=LONGEST_TEXT_BYTES,
        longest_source=LONGEST_SOURCE,
        longest_translation=LONGEST_TRANSLATION,
        largest_beam=LARGEST_BEAM,
    )
