"""A picture of curves side by side or one below the other: what the examples draw."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nlp_lstm.pictures.drawing import save_picture
from nlp_lstm.pictures.fonts import Fonts

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Okabe and Ito's, which the colour-blind tell apart too; the palest of theirs, a yellow, cannot be seen on white."""
_DASHES = ("-", "--", "-.", ":")
_PANEL_WIDTH, _PANEL_HEIGHT = 4.6, 3.2  # inches
_TITLE_SIZE, _LABEL_SIZE = 10, 8.5  # points
_DPI = 140


@dataclass(frozen=True)
class Line:
    """One curve of a panel.

    Args:
        label: what the legend calls it; empty for a curve that needs no name.
        x: `(points,)`.
        y: `(points,)`; where it is no number, or not above 0 on a logarithmic scale, the curve has a gap.
        color: a number of `COLORS`, round and round; -1 for a grey that stays behind the others.
        dash: a number of the kinds of dashes, 0 for none.
        marked: whether the points are dots as well.
        low: and `high`, `(points,)`: the edges of a band about the curve, such as an interval.
    """

    label: str
    x: Any
    y: Any
    color: int = 0
    dash: int = 0
    marked: bool = False
    low: Any = None
    high: Any = None


@dataclass(frozen=True)
class Panel:
    """One plot of a picture.

    Args:
        title: what it shows, above it.
        x_label: what its x axis counts, with the unit.
        y_label: the same of its y axis.
        lines: its curves.
        x_log: whether the x axis is logarithmic.
        y_log: whether the y axis is.
        levels: horizontal lines to compare with: their names and heights.
        y_limits: the lowest and highest y; by default what the curves need.
        x_names: places on the x axis and what stands there instead of numbers, such as words.
    """

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    x_log: bool = False
    y_log: bool = False
    levels: dict[str, float] = field(default_factory=dict)
    y_limits: tuple[float, float] | None = None
    x_names: dict[float, str] = field(default_factory=dict)


def draw_panels(panels: Sequence[Panel], path: Path, columns: int = 2, width: float = _PANEL_WIDTH) -> None:
    """Write a PNG of panels, so many in a row.

    >>> from tempfile import TemporaryDirectory
    >>> steps = np.arange(1, 6)
    >>> panel = Panel("what is left", "step", "share", [Line("f = 0.5", steps, 0.5**steps)], y_log=True)
    >>> with TemporaryDirectory() as folder:
    ...     draw_panels([panel], Path(folder, "left.png"))

    Args:
        panels: at least one.
        path: where the PNG goes.
        columns: how many stand in a row.
        width: inches of one.
    """
    from matplotlib.figure import Figure

    texts = [text for panel in panels for text in (panel.title, panel.x_label, panel.y_label, *panel.levels)]
    texts += [name for panel in panels for name in panel.x_names.values()]
    fonts = Fonts([*texts, *(line.label for panel in panels for line in panel.lines)])
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(width * columns, _PANEL_HEIGHT * rows), layout="constrained")
    for number, panel in enumerate(panels, start=1):
        _draw(figure.add_subplot(rows, columns, number), panel, fonts)
    save_picture(figure, path, fonts, dpi=_DPI)


def _draw(axes: Any, panel: Panel, fonts: Fonts) -> None:
    plain = {"family": fonts.families, "parse_math": False}  # a dollar sign would begin a formula
    axes.set_title(fonts.drawable(panel.title), fontsize=_TITLE_SIZE, loc="left", **plain)
    axes.set_xlabel(fonts.drawable(panel.x_label), fontsize=_LABEL_SIZE, **plain)
    axes.set_ylabel(fonts.drawable(panel.y_label), fontsize=_LABEL_SIZE, **plain)
    if panel.x_log:
        axes.set_xscale("log")
    if panel.y_log:
        axes.set_yscale("log")
    for line in panel.lines:
        x, y = np.asarray(line.x), np.asarray(line.y, dtype="float64")
        if panel.y_log:
            y = np.where(y > 0, y, np.nan)
        color = "0.55" if line.color < 0 else COLORS[line.color % len(COLORS)]
        axes.plot(
            *(x, y),
            color=color,
            linestyle=_DASHES[line.dash % len(_DASHES)],
            linewidth=1.5,
            marker="o" if line.marked else None,
            markersize=3,
            label=fonts.drawable(line.label) if line.label else None,
            zorder=1 if line.color < 0 else 2,
        )
        if line.low is not None:
            axes.fill_between(x, line.low, line.high, color=color, alpha=0.18, linewidth=0)
    for name, height in panel.levels.items():
        axes.axhline(height, color="0.35", linewidth=0.9, linestyle=":", zorder=1)
        axes.annotate(
            *(fonts.drawable(name), (1, height)),
            xycoords=axes.get_yaxis_transform(),
            xytext=(-3, 2),
            textcoords="offset points",
            ha="right",
            fontsize=_LABEL_SIZE - 1,
            color="0.25",
            **plain,
        )
    if panel.y_limits is not None:
        axes.set_ylim(*panel.y_limits)
    axes.tick_params(labelsize=_LABEL_SIZE - 0.5, length=3)
    if panel.x_names:
        names = [fonts.drawable(name) for name in panel.x_names.values()]
        axes.set_xticks(list(panel.x_names), names, rotation=45, ha="right", rotation_mode="anchor", **plain)
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if any(line.label for line in panel.lines):
        # Its ground hides a line that runs through its words.
        legend = axes.legend(
            prop={"family": list(fonts.families), "size": _LABEL_SIZE - 0.5}, framealpha=0.85, edgecolor="none"
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
