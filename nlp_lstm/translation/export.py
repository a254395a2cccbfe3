"""Finished runs of a translator as a SavedModel with its model card."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nlp_lstm import saved_model
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.translation.build import load_run
from nlp_lstm.translation.inference import serving_of
from nlp_lstm.translation.serving import (
    DEFAULT_ALPHA,
    DEFAULT_BETA,
    LARGEST_BEAM,
    LONGEST_SOURCE,
    LONGEST_TEXT,
    LONGEST_TEXT_BYTES,
    LONGEST_TRANSLATION,
    TranslationServing,
)
from nlp_lstm.translation.settings import Settings

_EXAMPLES = ["A man is riding a bike.", ""]


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
    return saved_model.save(serving, target, warm_up, _model_card([RunFolder(run) for run in runs], settings, serving))


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
        f"| {_rounded(found['bleu_lower_tok'])} | {found['chrf']:.2f} | {found['beam_size']} |"
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
        f"Of a text the first {LONGEST_TEXT_BYTES:,} bytes are read, of these, their white space drawn together, the",
        f"first {LONGEST_TEXT:,} characters, and of these {LONGEST_SOURCE} subwords; a translation has",
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


def _rounded(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.2f}"


_DATA_NOTES = {
    "multi30k": [
        "",
        "Multi30k (Elliott et al. 2016): captions of pictures, English with translations; for research, made from",
        "Flickr30K. Its validation part chose the epoch and the settings.",
    ],
    "sample": ["", "The sample is some hundreds of short sentences: enough to try the suite, not to translate with."],
}
