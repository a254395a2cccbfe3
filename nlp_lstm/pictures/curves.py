"""A picture of a training run's metrics, epoch by epoch."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nlp_lstm.files import atomic_path


def draw_curves(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write every metric of a run as PNG, training and validation in one plot, three plots side by side.

    Args:
        rows: a dict an epoch, with its `stage`, `epoch`, and each metric under its name and under `val_` and its name.
        path: where the PNG goes.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    plots = sorted({(row["stage"], key.removeprefix("val_")) for row in rows for key in row if key.startswith("val_")})
    # A run that builds on others has the stages of those, too.
    across = min(3, max(1, len(plots)))
    down = max(1, math.ceil(len(plots) / across))
    figure = Figure(figsize=(4.5 * across, 3.5 * down), layout="constrained")
    for index, (stage, metric) in enumerate(plots):
        axes = figure.add_subplot(down, across, index + 1, title=f"{stage}: {metric}", xlabel="epoch")
        for key, label in ((metric, "training"), (f"val_{metric}", "validation")):
            points = [(row["epoch"], row[key]) for row in rows if row["stage"] == stage and key in row]
            axes.plot(*zip(*points, strict=True), marker="o", label=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    with atomic_path(path) as scratch:
        figure.savefig(scratch, dpi=120)
