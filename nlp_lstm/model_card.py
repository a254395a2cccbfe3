"""What the model cards of all apps tell of a run: how it was trained, how long that took, how well it did."""

import dataclasses
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlp_lstm.datasets.known_sets import known_set
from nlp_lstm.run_folder import DATA_FINGERPRINT, RunFolder, with_defaults
from nlp_lstm.visible import for_terminal

# Settings that name a place: a reader of the card has others.
_PLACES = (
    "data",
    "source_file",
    "target_file",
    "extra_data",
    "teacher_run",
    "teacher_model",
    "back_translation_run",
    "start_from",
)


def facts_of(runs: Sequence[RunFolder], defaults: Any) -> dict[str, Any]:
    """What a card's template is filled in with, whatever the app.

    Args:
        runs: that the model was made of.
        defaults: the app's settings, a dataclass instance.

    Returns:
        `commands` that trained the model, `evaluations` that were kept in the first run, `minutes` and
        `processor_minutes` of all of them together; the functions `figure` and `cell`.
    """
    # A run that several others built on is kept in each of them under other names, and took its time once.
    rows = list({json.dumps({**row, "stage": ""}): row for run in runs for row in run.metrics()}.values())
    commands = [train_command(config, defaults) for run in runs for config in (*run.earlier_configs(), run.config())]
    return {
        "commands": list(dict.fromkeys(filter(None, commands))),
        "evaluations": [{**found, "data": Path(found["data"]).name} for found in runs[0].evaluations()],
        "minutes": sum(row["seconds"] for row in rows) / 60,
        "processor_minutes": sum(row["cpu_seconds"] for row in rows) / 60,
        "figure": figure_with_interval,
        "cell": table_cell,
    }


def keeps_earlier(run: RunFolder) -> bool:
    """Whether a run holds the metrics of one that it went on from; after an exported model it does not."""
    return any(row["stage"].startswith("earlier ") for row in run.metrics())


def earlier_data(run: RunFolder) -> list[tuple[str, str | None]]:
    """Other texts that runs before this one were trained on: the name of each, and what it is known as."""
    own = run.config()
    found = {
        (Path(config["data"]).name, known_set(config.get(DATA_FINGERPRINT)))
        for config in run.earlier_configs()
        # Runs of before have no fingerprint.
        if config.get(DATA_FINGERPRINT, own.get(DATA_FINGERPRINT)) != own.get(DATA_FINGERPRINT)
    }
    return sorted(found, key=str)


def train_command(config: Mapping[str, Any], defaults: Any) -> str:
    """The command that a run was started with, as far as it differs from the defaults; places by their last part.

    >>> from nlp_lstm.sentiment.settings import Settings
    >>> config = {"task": "sentiment", "data": "/data/my reviews.csv", "units": 64, "header": False, "epochs": 6}
    >>> train_command(config, Settings())
    "python apps/sentiment.py train --data 'my reviews.csv' --run RUN --no-header --units 64"
    """
    flags: list[str] = []
    settings = {field.name for field in dataclasses.fields(defaults)}
    for name in _PLACES:
        if config.get(name) and name not in settings:
            places = config[name] if isinstance(config[name], list) else [config[name]]
            for place in places:
                flags += [_flag(name), shlex.quote(Path(place).name)]
    flags += ["--run", "RUN"]
    known = with_defaults(dict(config), defaults)
    for field in dataclasses.fields(defaults):
        value = known[field.name]
        if value == getattr(defaults, field.name):
            continue
        if isinstance(value, bool):
            flags.append(_flag(field.name if value else f"no_{field.name}"))
        else:
            shown = Path(value).name if field.name in _PLACES else str(value)
            flags += [_flag(field.name), shlex.quote(shown)]
    return " ".join(["python", f"apps/{config['task']}.py", "train", *flags]) if config.get("task") else ""


def settings_shown(settings: Any) -> dict[str, Any]:
    """The settings of a run by name, places by their last part.

    >>> from nlp_lstm.sentiment.settings import Settings
    >>> settings_shown(Settings(start_from="/runs/first"))["start_from"]
    'first'
    """
    found = dataclasses.asdict(settings)
    return {name: Path(value).name if name in _PLACES else value for name, value in found.items()}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def table_cell(text: str) -> str:
    r"""A text as it stands in a cell of a Markdown table.

    >>> table_cell("this|that\nother")
    'this\\|that↵other'
    """
    return for_terminal(text).replace("|", "\\|")


def figure_with_interval(found: Mapping[str, Any], name: str, digits: int) -> str:
    """A figure of an evaluation with its 95 % interval, where that was kept.

    >>> figure_with_interval({"bleu": 37.571, "bleu_interval": [36.2, 38.94]}, "bleu", 2)
    '37.57 (36.20–38.94)'
    >>> figure_with_interval({"bleu": 37.571}, "bleu", 2)
    '37.57'
    """
    if found.get(name) is None:
        return ""
    interval = found.get(f"{name}_interval")
    shown = f"{found[name]:.{digits}f}"
    return f"{shown} ({interval[0]:.{digits}f}–{interval[1]:.{digits}f})" if interval else shown
