"""A picture of what gates and units did on a text and how the verdict grew, and a table of it for the terminal."""

import math
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from nlp_lstm.pictures.drawing import colors, ink, save_picture, shortened
from nlp_lstm.pictures.fonts import MONOSPACE, PROPORTIONAL, Fonts
from nlp_lstm.pictures.tables import print_whole
from nlp_lstm.visible import for_terminal, shown

TOKENS_IN_LINE = 28
TOKENS_IN_SHORT_LINE = 8
"""A picture this wide can be read on a telephone. Of a long text there would be no end of lines."""
MOST_SHORT_LINES = 8
LONGEST_TOKEN_DRAWN = 24
_GATE_NAMES = {"input": "i", "forget": "f", "output": "o"}
_POLARITY_COLORMAP, _GATE_COLORMAP, _STATE_COLORMAP = "RdBu", "viridis", "PuOr"
_DPI = 140
_CELL_WIDTH, _CELL_HEIGHT, _GAP = 0.42, 0.24, 0.07  # inches; the gap parts what has a scale of its own
_LABEL_SIZE, _NUMBER_SIZE = 8, 7  # points
_LINE_PANEL_HEIGHT = 0.6  # inches
_COLOR_BAR_WIDTH, _COLOR_BAR_HEIGHT, _COLOR_BAR_DISTANCE = 0.95, 0.1, 1.25  # inches
_TITLES_WIDTH = 0.7  # inches, left of the cells, below which the first scale may begin


def gate_rows(answer: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The gate activity of one explained text `(tokens,)` by row title, such as `→ i input`."""
    return {
        f"{arrow} {letter} {name}": np.asarray(answer[f"{direction}_{name}"])
        for direction, arrow in (("forward", "→"), ("backward", "←"))
        for name, letter in _GATE_NAMES.items()
    }


def draw_heat_map(
    tokens: Sequence[str],
    polarity: np.ndarray,
    gates: Mapping[str, np.ndarray],
    title: str,
    path: Path,
    prefix_scores: np.ndarray | None = None,
    units: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write a PNG that shows, token by token, its share of the verdict and how far the gates stood open.

    >>> from tempfile import TemporaryDirectory
    >>> tokens, polarity, forget = ["a", "fine", "film"], np.array([0.0, 0.7, 0.1]), np.array([0.71, 0.68, 0.71])
    >>> with TemporaryDirectory() as folder:
    ...     draw_heat_map(tokens, polarity, {"→ f forget": forget}, "positive 0.93", Path(folder, "gates.png"))

    A mean over many units moves little, and on a scale that is the same for all gates its colour does, too: so each
    cell holds its number.

    Args:
        tokens: the text's tokens; a long text goes over several lines.
        polarity: `(tokens,)`, negative in red and positive in blue, on one scale for the whole text.
        gates: row title to mean activity `(tokens,)`, all on one scale from 0 to 1.
        title: stands above the picture.
        path: where the PNG goes.
        prefix_scores: P(positive) of the text up to each token `(tokens,)`, below 0 where it is not known: a curve
            above the rows.
        units: row title to the states of a unit `(tokens,)`, all on one scale from -1 to 1.
    """
    from matplotlib.figure import Figure

    units = units or {}
    names = [shortened(shown(token), LONGEST_TOKEN_DRAWN) for token in tokens]
    fonts = Fonts([*names, *gates, *units, title], MONOSPACE)
    span = float(np.max(np.abs(polarity), initial=0)) or 1.0
    bands = [
        {"polarity": (colors((np.asarray(polarity) / span + 1) / 2, _POLARITY_COLORMAP), polarity, "+.2f")},
        {name: (colors(np.asarray(values), _GATE_COLORMAP), values, ".2f") for name, values in gates.items()},
        {
            name: (colors((np.asarray(values) + 1) / 2, _STATE_COLORMAP), values, "+.2f")
            for name, values in units.items()
        },
    ]
    bands = [band for band in bands if band]
    lines = _lines(len(tokens))
    panel = 0 if prefix_scores is None else _LINE_PANEL_HEIGHT + _GAP
    # Tokens lean, so a line is as far from the next as its longest token is high.
    longest = max(map(_width, names), default=0)
    line_height = panel + sum(len(band) * _CELL_HEIGHT + _GAP for band in bands) + 0.866 * longest + 0.25
    # The figure is the first line's cells, and it is saved with as much around them as everything takes up.
    width, height = max(map(len, lines), default=1) * _CELL_WIDTH, len(lines) * line_height
    figure = Figure(figsize=(width, height))

    def axes_below(top: float, columns: int, high: float) -> Any:
        return figure.add_axes((0, (top - high) / height, columns * _CELL_WIDTH / width, high / height))

    for number, line in enumerate(lines):
        top = height - number * line_height
        if prefix_scores is not None:
            _draw_curve(axes_below(top, len(line), _LINE_PANEL_HEIGHT), line, np.asarray(prefix_scores), fonts)
            top -= panel
        for band in bands:
            axes = axes_below(top, len(line), len(band) * _CELL_HEIGHT)
            _draw_cells(axes, line, band, fonts)
            top -= len(band) * _CELL_HEIGHT + _GAP
        axes.set_xticks(
            range(len(line)),
            [fonts.drawable(names[index]) for index in line],
            rotation=60,
            ha="right",
            rotation_mode="anchor",
            fontsize=_LABEL_SIZE,
            family=fonts.families,
            parse_math=False,  # a dollar sign would begin a formula
        )
    figure.text(
        *(0, 1 + 0.15 / height),
        fonts.drawable(title),
        fontsize=10,
        family=(PROPORTIONAL[0], *fonts.families),
        parse_math=False,
    )
    scales = [("share of the verdict", _POLARITY_COLORMAP, -span, span), ("mean of a gate", _GATE_COLORMAP, 0.0, 1.0)]
    if units:
        scales.append(("state of a unit", _STATE_COLORMAP, -1.0, 1.0))
    _draw_scales(figure, scales)
    save_picture(figure, path, fonts, dpi=_DPI, bbox_inches="tight", pad_inches=0.1)


def _lines(tokens: int) -> list[range]:
    """The places of the tokens of each line: lines of like length, short ones as long as they are few."""
    short = tokens <= MOST_SHORT_LINES * TOKENS_IN_SHORT_LINE
    count = math.ceil(tokens / (TOKENS_IN_SHORT_LINE if short else TOKENS_IN_LINE))
    length = math.ceil(tokens / count) if count else 0
    return [range(start, min(start + length, tokens)) for start in range(0, tokens, length or 1)]


def _draw_scales(figure: Any, scales: Sequence[tuple[str, str, float, float]]) -> None:
    """What colours stand for, side by side below the last line: name, colormap, its lowest and its highest value."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    width, height = figure.get_size_inches()
    for number, (label, colormap, lowest, highest) in enumerate(scales):
        left, bottom = _COLOR_BAR_DISTANCE * number - _TITLES_WIDTH, -_COLOR_BAR_HEIGHT
        below = figure.add_axes((left / width, bottom / height, _COLOR_BAR_WIDTH / width, _COLOR_BAR_HEIGHT / height))
        middle = (lowest + highest) / 2
        bar = figure.colorbar(
            ScalarMappable(Normalize(lowest, highest), colormap),
            cax=below,
            orientation="horizontal",
            ticks=[lowest, middle, highest],
        )
        bar.ax.set_xticklabels([f"{value:+.2f}" if lowest < 0 and value else f"{value:g}" for value in bar.get_ticks()])
        bar.ax.tick_params(labelsize=7)
        bar.set_label(label, fontsize=_LABEL_SIZE)


def _draw_curve(axes: Any, line: range, scores: np.ndarray, fonts: Fonts) -> None:
    """P(positive) at the tokens of a line, joined with what came before and comes behind."""
    places = np.flatnonzero(scores >= 0)
    axes.axhline(0.5, color="0.6", linewidth=0.8, linestyle=":", zorder=1)
    axes.plot(places, scores[places], color="0.35", linewidth=1, zorder=2)
    # A short way from the middle is on one side of it, too, and its colour says so.
    side = colors(np.where(scores[places] > 0.5, 0.9, 0.1), _POLARITY_COLORMAP)
    axes.scatter(places, scores[places], c=side, s=12, zorder=3)
    axes.set_xlim(line.start - 0.5, line.stop - 0.5)
    axes.set_ylim(-0.08, 1.08)
    axes.set_xticks([])
    axes.set_yticks([0, 0.5, 1], ["0", fonts.drawable("P so far  0.5"), "1"], fontsize=_LABEL_SIZE, family=PROPORTIONAL)
    axes.tick_params(length=2)
    for spine in axes.spines.values():
        spine.set_color("0.8")


def _draw_cells(axes: Any, line: range, band: Mapping[str, tuple[np.ndarray, Any, str]], fonts: Fonts) -> None:
    """Rows on one scale for the tokens of a line: colours `(tokens, 3)`, values `(tokens,)`, how they are written."""
    from matplotlib.collections import PathCollection
    from matplotlib.transforms import Affine2D

    picture = np.stack([row_colors[line.start : line.stop] for row_colors, _, _ in band.values()])
    axes.imshow(picture, aspect="auto", interpolation="nearest")
    numbers = [_centered(format(float(values[index]), form)) for _, values, form in band.values() for index in line]
    # A fifteenth of the time of as many texts, of which a long review has thousands.
    axes.add_collection(
        PathCollection(
            numbers,
            offsets=[(column, row) for row in range(len(band)) for column in range(len(line))],
            offset_transform=axes.transData,
            transform=Affine2D().scale(1 / 72) + axes.figure.dpi_scale_trans,
            facecolors=list(map(ink, picture.reshape(-1, 3))),
            linewidths=0,
        ),
        autolim=False,
    )
    axes.set_yticks(range(len(band)), list(map(fonts.drawable, band)), fontsize=_LABEL_SIZE, family=PROPORTIONAL)
    axes.set_xticks([])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


@lru_cache(maxsize=1024)
def _centered(number: str) -> Any:
    """The outline of a number in points, its middle at (0, 0)."""
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    outline = TextPath((0, 0), number, size=_NUMBER_SIZE)
    left, lower, right, upper = outline.get_extents().extents
    return outline.transformed(Affine2D().translate(-(left + right) / 2, -(lower + upper) / 2))


def _width(name: str) -> float:
    """Of a token's letters in inches: those of a fixed width, and those of scripts that take up two of them."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in name)
    return (len(name) + wide) * 0.602 * _LABEL_SIZE / 72


def print_table(
    tokens: Sequence[str],
    polarity: np.ndarray,
    gates: Mapping[str, np.ndarray],
    title: str,
    prefix_scores: np.ndarray | None = None,
) -> None:
    """Print the same as a table: a line a token, its share of the logit as number and bar, and each gate's activity.

    >>> gates = {"→ f forget": np.array([0.71, 0.68])}
    >>> print_table(["a", "fine"], np.array([-0.1, 0.8]), gates, "positive")  # doctest: +NORMALIZE_WHITESPACE
    positive
    ┏━━━━━━━┳━━━━━━━━━━┳━━━━━━━━━━┳━━━━━━━━━━━━┓
    ┃ token ┃ polarity ┃          ┃ → f forget ┃
    ┡━━━━━━━╇━━━━━━━━━━╇━━━━━━━━━━╇━━━━━━━━━━━━┩
    │ a     │   -0.100 │ █        │       0.71 │
    │ fine  │   +0.800 │ ████████ │       0.68 │
    └───────┴──────────┴──────────┴────────────┘

    With `prefix_scores` there is a column "P so far", empty where that is not known.
    """
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("token")
    table.add_column("polarity", justify="right")
    table.add_column("")
    if prefix_scores is not None:
        table.add_column("P so far", justify="right")
    for name in gates:
        table.add_column(name, justify="right")
    span = float(np.max(np.abs(polarity), initial=1e-9))
    for index, token in enumerate(tokens):
        value = float(polarity[index])
        color = "blue" if value > 0 else "red"
        bar = Text("█" * round(8 * abs(value) / span), style=color)
        numbers = [f"{values[index]:.2f}" for values in gates.values()]
        if prefix_scores is not None:
            numbers.insert(0, f"{prefix_scores[index]:.3f}" if prefix_scores[index] >= 0 else "")
        table.add_row(Text(for_terminal(token)), Text(f"{value:+.3f}", style=color), bar, *numbers)
    print_whole(table)
