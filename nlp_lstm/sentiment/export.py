"""A finished run of a sentiment classifier as a SavedModel with its model card."""

import functools
from pathlib import Path
from typing import Any

import tensorflow as tf

from nlp_lstm import saved_model
from nlp_lstm.datasets.known_sets import known_set
from nlp_lstm.model_card import facts_of, keeps_earlier, settings_shown
from nlp_lstm.rendering import rendered
from nlp_lstm.run_folder import DATA_FINGERPRINT, TRAINING, RunFolder
from nlp_lstm.sentiment.build import load_run
from nlp_lstm.sentiment.limits import LONGEST_TEXT_BYTES, LONGEST_TEXT_TOKENS
from nlp_lstm.sentiment.serving import SentimentServing
from nlp_lstm.sentiment.settings import BLEND, CALIBRATION, TEACHING, Settings
from nlp_lstm.settings import Precision
from nlp_lstm.weight_matrix import IN_WORDS, refuse_precision

_BATCHING = saved_model.Batching(rows=64, wait_micros=0)
"""A limit on rows alone: a wait for other requests cost a seventh of the requests a second with 16 clients."""

_EXAMPLE_TEXTS = ["One of the best films of the year.", "A dull, lifeless mess."]


def export_run(run: RunFolder, target: Path, precision: Precision = "float32") -> Path:
    """Write a finished run as the next version of a SavedModel below `target`, its recurrent products in a precision.

    Raises:
        UserError: if the run is not finished, or this machine cannot take such products.
    """
    refuse_precision(precision)
    classifier, vocabulary, settings = load_run(run)
    weights = classifier.count_params()
    serving = SentimentServing(classifier, vocabulary, precision)
    examples = [
        tf.train.Example(
            features=tf.train.Features(
                feature={"text": tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()]))}
            )
        ).SerializeToString()
        for text in _EXAMPLE_TEXTS
    ]
    warm_up = {
        "serving_default": {"text": _EXAMPLE_TEXTS},
        "classify": {"inputs": examples},
        "explain": {"text": _EXAMPLE_TEXTS},
        "prefixes": {"text": _EXAMPLE_TEXTS},
        "units": {"text": _EXAMPLE_TEXTS},
    }
    card = functools.partial(_model_card, run, settings, weights, precision)
    return saved_model.save(serving, target, warm_up, card, batching=_BATCHING)


def _model_card(run: RunFolder, settings: Settings, weights: int, precision: Precision, size: int) -> str:
    config, rows, pairs = run.config(), run.metrics(), run.pairs()
    return rendered(
        "nlp_lstm.sentiment",
        "model_card.md.jinja",
        settings=settings_shown(settings),
        weights=weights,
        megabytes=size / 1e6,
        precision=IN_WORDS[precision],
        data=Path(config["data"]).name,
        known=known_set(config.get(DATA_FINGERPRINT)),
        best=max((row for row in rows if row["stage"] == TRAINING), key=lambda row: row["val_accuracy"]),
        blends=[row for row in rows if row["stage"] == BLEND],
        teachers=_teachers(rows),
        # Of a run from before there was a shift the logits were divided by a temperature.
        calibrations=[
            {"scale": 1 / row.get("temperature", 1.0), "shift": 0.0, **row}
            for row in rows
            if row["stage"] == CALIBRATION
        ],
        pairs=pairs,
        wrong_pairs=_wrong_of_each_kind(pairs["wrong"]) if pairs else [],
        **facts_of([run], Settings()),
        went_on_from_exported=settings.start_stage == TRAINING and not keeps_earlier(run),
        epochs=sum("loss" in row for row in rows),  # what is fitted at one go has none
        longest_text_bytes=LONGEST_TEXT_BYTES,
        longest_text_tokens=LONGEST_TEXT_TOKENS,
    )


_TEACHERS = {
    "ngram_accuracy": "n-grams",
    "vector_accuracy": "document vectors",
    "lstm_accuracy": "an earlier LSTM",
    "accuracy": "all of them mixed",
}


def _teachers(rows: list[dict[str, Any]]) -> list[tuple[str, float]]:
    """What labelled texts without labels, and the validation accuracy of each, of all together last."""
    found = next((row for row in rows if row["stage"] == TEACHING), {})
    teachers = [(name, found[key]) for key, name in _TEACHERS.items() if key in found]
    return teachers if len(teachers) > 2 else teachers[:1]


def _wrong_of_each_kind(wrong: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The two worst minimal pairs of each kind: those whose scores lie farthest apart the wrong way."""
    found: list[dict[str, Any]] = []
    for kind in dict.fromkeys(pair["kind"] for pair in wrong):
        of_kind = [pair for pair in wrong if pair["kind"] == kind]
        found += sorted(of_kind, key=lambda pair: pair["scores"][0] - pair["scores"][1])[:2]
    return found
