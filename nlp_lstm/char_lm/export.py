"""A finished run of a character language model as a SavedModel with its model card."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from nlp_lstm import saved_model
from nlp_lstm.char_lm.build import load_run
from nlp_lstm.char_lm.inference import RESET_EVERY
from nlp_lstm.char_lm.limits import LONGEST_GENERATION, LONGEST_PROMPT, LONGEST_SCORED_TEXT
from nlp_lstm.char_lm.serving import CharLmServing
from nlp_lstm.char_lm.settings import Settings
from nlp_lstm.run_folder import RunFolder

_EXAMPLE_PROMPTS = ["The ", ""]


def export_run(run: RunFolder, target: Path) -> Path:
    """Write a finished run as the next version of a SavedModel below `target`."""
    model, symbols, settings = load_run(run)
    serving = CharLmServing(model, symbols)
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
    return saved_model.save(serving, target, warm_up, _model_card(run, settings, len(symbols), model.count_params()))


def _model_card(run: RunFolder, settings: Settings, number_of_symbols: int, weights: int) -> str:
    rows = run.metrics()
    data = Path(run.config()["data"]).name
    figures = []
    for found in run.evaluations():
        figures.append(
            f"| {found['split']} of {Path(found['data']).name} ({found['characters']:,} characters) "
            f"| {found['nats_per_char']:.4f} | {found['bits_per_char']:.4f} | {found['reset_bits_per_char']:.4f} |"
        )
        if "dynamic_nats_per_char" in found:
            figures.append(
                f"| the same, learning from it as it goes (dynamic evaluation) "
                f"| {found['dynamic_nats_per_char']:.4f} | {found['dynamic_bits_per_char']:.4f} | |"
            )
    minutes = sum(row["seconds"] for row in rows) / 60
    processor_minutes = sum(row["cpu_seconds"] for row in rows) / 60
    best = min(rows, key=lambda row: row["val_loss"])
    lines = [
        "# Character language model",
        "",
        f"Goes on with a text {settings.unit} by {settings.unit}, and tells how likely it finds each {settings.unit}",
        f"of one. {settings.layers} LSTMs of {settings.units} units over {number_of_symbols} symbols;",
        f"{weights:,} weights in training.",
        "",
        "## Data",
        "",
        f"Trained on `{data}`.",
        *_DATA_NOTES.get(data, []),
        "",
        "## Figures",
        "",
        f"| data | nats per character | bits per character | bits, state forgotten every {RESET_EVERY} |",
        "|---|---|---|---|",
        *(figures or ["| not evaluated | | | |"]),
        "",
        f"Training took {minutes:.1f} minutes ({processor_minutes:.1f} processor minutes) over {len(rows)} epochs, of",
        f"which the weights after epoch {best['epoch']} are kept.",
        "",
        "## Limits",
        "",
        "It knows the spelling and the look of its training text, and nothing of the world: what it writes is no fact.",
        "A character that training text does not hold is read as unknown, and is never written.",
        f"Of a prompt the last {LONGEST_PROMPT:,} {settings.unit}s are read; at most {LONGEST_GENERATION:,} are",
        f"written, and the first {LONGEST_SCORED_TEXT:,} of a text scored.",
        "",
        "## Settings",
        "",
        *(f"- `{name}`: {value}" for name, value in dataclasses.asdict(settings).items()),
        "",
    ]
    return "\n".join(lines)


_TINY_SHAKESPEARE = [
    "",
    "Tiny Shakespeare: 1,115,394 characters of Shakespeare's plays, put together by Andrej Karpathy for char-rnn;",
    "public domain. The first 90 % were trained on. The last 10 % chose the epoch: they are the only held-out part, as",
    "in nanoGPT, and the figure on them is that of validation data.",
]


_DATA_NOTES = {
    "input.txt": _TINY_SHAKESPEARE,
    "tiny_shakespeare": _TINY_SHAKESPEARE,
    "ptb": ["", "Penn Treebank as Mikolov prepared it, character by character, a newline for the end of a sentence."],
    "sample": ["", "The sample is a short text: enough to try the suite, not to write with."],
}
