"""A picture of a training run's metrics, epoch by epoch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlp_lstm.files import atomic_path


def draw_curves(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write every metric of a run as PNG, training and validation in one plot.

    Args:
        rows: a dict an epoch, with its `stage`, `epoch`, and each metric under its name and under `val_` and its name.
        path: where the PNG goes.
    """
    from matplotlib.figure import Figure

    plots = sorted({(row["stage"], key.removeprefix("val_")) for row in rows for key in row if key.startswith("val_")})
    figure = Figure(figsize=(4.5 * max(1, len(plots)), 3.5), layout="constrained")
    for index, (stage, metric) in enumerate(plots):
        axes = figure.add_subplot(1, len(plots), index + 1, title=f"{stage}: {metric}", xlabel="epoch")
        for key, label in ((metric, "training"), (f"val_{metric}", "validation")):
            points = [(row["epoch"], row[key]) for row in rows if row["stage"] == stage and key in row]
            axes.plot(*zip(*points, strict=True), marker="o", label=label)
        axes.grid(alpha=0.3)
        axes.legend()
    with atomic_path(path) as scratch:
        figure.savefig(scratch, dpi=120)
