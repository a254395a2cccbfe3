"""A finished run of a character language model as a SavedModel with its model card."""

import functools
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from nlp_lstm import saved_model
from nlp_lstm.char_lm.build import load_run
from nlp_lstm.char_lm.inference import INTERVAL_BLOCK, RESET_EVERY
from nlp_lstm.char_lm.limits import LONGEST_GENERATION, LONGEST_PROMPT, LONGEST_SCORED_TEXT
from nlp_lstm.char_lm.serving import CharLmServing
from nlp_lstm.char_lm.settings import Settings
from nlp_lstm.datasets.known_sets import known_set
from nlp_lstm.model_card import earlier_data, facts_of, keeps_earlier, settings_shown
from nlp_lstm.rendering import rendered
from nlp_lstm.run_folder import DATA_FINGERPRINT, TRAINING, RunFolder
from nlp_lstm.settings import Precision
from nlp_lstm.visible import for_terminal
from nlp_lstm.weight_matrix import IN_WORDS, refuse_precision

_BATCHING = saved_model.Batching(rows=32, wait_micros=5_000)
"""With which 16 clients had half as many answers again from `generate` and `score` as without."""

_EXAMPLE_PROMPTS = ["The ", ""]

_LENGTH_OF_EXAMPLE = 300
"""Of what the model card shows the model to write."""


def export_run(run: RunFolder, target: Path, precision: Precision = "float32") -> Path:
    """Write a finished run as the next version of a SavedModel below `target`, its products taken in a precision.

    Raises:
        UserError: if the run is not finished, or this machine cannot take such products.
    """
    refuse_precision(precision)
    model, symbols, settings = load_run(run)
    serving = CharLmServing(model, symbols, precision)
    rows = len(_EXAMPLE_PROMPTS)
    state = {name: np.zeros((rows, settings.units), np.float32) for name in serving.folded.state_names}
    prompt, text = {"prompt": _EXAMPLE_PROMPTS}, {"text": _EXAMPLE_PROMPTS}
    warm_up: dict[str, dict[str, Any]] = {
        "serving_default": prompt,
        "generate": {
            **prompt,
            "length": [8] * rows,
            "temperature": [0.8] * rows,
            "top_k": [0] * rows,
            "top_p": [1.0] * rows,
            "seed": [0] * rows,
        },
        "likeliest": {**prompt, "length": [4] * rows, "beam_size": [2] * rows},
        "score": text,
        "read": {**text, **state},
        "step": {"char": ["a"] * rows, **state},
        "encode": text,
        "gates": text,
    }
    written = serving.signatures["generate"](
        prompt=tf.constant([""]),
        length=tf.constant([_LENGTH_OF_EXAMPLE]),
        temperature=tf.constant([0.8]),
        top_k=tf.constant([0]),
        top_p=tf.constant([1.0]),
        seed=tf.constant([0]),
    )["text"]
    example = written.numpy()[0].decode("utf-8")
    card = functools.partial(_model_card, run, settings, len(symbols), model.count_params(), precision, example)
    return saved_model.save(serving, target, warm_up, card, batching=_BATCHING)


def _model_card(
    run: RunFolder,
    settings: Settings,
    number_of_symbols: int,
    weights: int,
    precision: Precision,
    example: str,
    size: int,
) -> str:
    config, rows = run.config(), [row for row in run.metrics() if row["stage"] == TRAINING]
    return rendered(
        "nlp_lstm.char_lm",
        "model_card.md.jinja",
        settings=settings_shown(settings),
        number_of_symbols=number_of_symbols,
        weights=weights,
        megabytes=size / 1e6,
        example=textwrap.indent(for_terminal(example, keep="\n"), "    "),
        precision=IN_WORDS[precision],
        data=Path(config["data"]).name,
        teachers=len(config.get("teacher_run", [])),
        earlier_data=earlier_data(run),
        known=known_set(config.get(DATA_FINGERPRINT)),
        reset_every=RESET_EVERY,
        block=INTERVAL_BLOCK,
        epochs=len(rows),
        went_on_from_exported=bool(settings.start_from) and not keeps_earlier(run),
        best=min(rows, key=lambda row: row["val_loss"]),
        longest_prompt=LONGEST_PROMPT,
        longest_generation=LONGEST_GENERATION,
        longest_scored_text=LONGEST_SCORED_TEXT,
        **facts_of([run], Settings()),
    )
