"""A text coloured by what a unit did at each of its symbols: as a picture, as a page for the browser, in the terminal.

The figures of Karpathy, Johnson and Fei-Fei 2015, "Visualizing and Understanding Recurrent Networks", section 4.1.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np
from markupsafe import Markup
from rich.console import Console
from rich.text import Text

from nlp_lstm.errors import UserError
from nlp_lstm.pictures.drawing import (
    STEPS,
    colors,
    css_rules,
    embedded_json,
    hexadecimal,
    ink,
    save_page,
    save_picture,
    shortened,
    steps,
)
from nlp_lstm.pictures.fonts import MONOSPACE, PROPORTIONAL, Fonts
from nlp_lstm.visible import MARKS, shown

Scale = Literal["diverging", "sequential"]
"""From red at -1 over white at 0 to blue at 1, for states; from violet at 0 to yellow at 1, for gates. What lies beyond
has the colour of the end."""

MOST_SYMBOLS_DRAWN = 5000
MOST_PIXELS_A_SIDE = 30_000
LONGEST_ROW_NAME_DRAWN = 24
LONGEST_SYMBOL_DRAWN = 4
_COLORMAPS: dict[Scale, str] = {"diverging": "RdBu", "sequential": "viridis"}
_DPI = 140
_CELL_WIDTH, _CELL_HEIGHT = 0.11, 0.19  # inches
_FONT_SIZE = 8  # points


def draw_activity(
    symbols: Sequence[str],
    rows: Mapping[str, np.ndarray],
    title: str,
    path: Path,
    symbols_in_line: int = 80,
    scale: Scale | None = None,
) -> None:
    """Write a PNG of the text, wrapped into lines, each line once for every row and coloured by it.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     draw_activity('say "no"', {"cell 37": np.tanh(np.arange(8.0) - 4)}, "quotes", Path(folder, "quotes.png"))

    Args:
        symbols: the text, at most 5,000 symbols; it goes on in one block, and a newline shows as ↵.
        rows: name to activity `(symbols,)`: states in [-1, 1] (of a cell state its tanh), or gates in [0, 1].
        title: stands above the picture.
        path: where the PNG goes.
        symbols_in_line: where lines wrap.
        scale: of every row; by default diverging for a row with negative values, and sequential for one without.

    Raises:
        UserError: for no text, one that is too long for a picture, or activity that is not finite.
        ValueError: for no row, or one that is not `(symbols,)`.
    """
    from matplotlib.figure import Figure

    values = _checked(symbols, rows)
    if len(symbols) > MOST_SYMBOLS_DRAWN:
        raise UserError(f"{len(symbols)} symbols are too many for a picture: give at most {MOST_SYMBOLS_DRAWN}")
    if symbols_in_line < 1:
        raise UserError(f"{symbols_in_line} symbols in a line of the picture: give at least 1")
    columns = min(symbols_in_line, len(symbols))
    lines = math.ceil(len(symbols) / columns)
    bands = lines * (len(rows) + 1) - 1  # an empty band between the lines
    names = [shortened(shown(name), LONGEST_ROW_NAME_DRAWN) for name in rows]
    letters = [shortened(shown(symbol), LONGEST_SYMBOL_DRAWN) for symbol in symbols]
    left, right, top, bottom = 0.065 * max(map(len, names)) + 0.2, 0.15, 0.45, 0.35
    width = max(left + columns * _CELL_WIDTH + right, 4.5)
    height = top + bands * _CELL_HEIGHT + bottom
    if max(width, height) * _DPI > MOST_PIXELS_A_SIDE:
        raise UserError(
            f"{len(symbols)} symbols in {lines} lines of {columns} and {len(rows)} rows are too many for a picture: "
            f"give fewer, or another number of symbols in a line"
        )

    title = shortened(shown(title), int(width * 11))
    fonts = Fonts([*letters, *names, title], MONOSPACE)
    picture = np.ones((bands, columns, 3))
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes(
        (left / width, bottom / height, columns * _CELL_WIDTH / width, bands * _CELL_HEIGHT / height)
    )
    scales = {name: scale or _scale_by_sign(row) for name, row in values.items()}
    for number, (name, row) in enumerate(values.items()):
        row_colors = _colors(row, scales[name])
        for index, symbol in enumerate(symbols):
            line, column = divmod(index, columns)
            band = line * (len(rows) + 1) + number
            picture[band, column] = row_colors[index]
            if symbol == " ":
                continue
            axes.text(
                column,
                band + 0.25,  # all on one base line
                fonts.drawable(letters[index]),
                ha="center",
                va="baseline",
                fontsize=_FONT_SIZE * min(1, 1.6 / max(len(letters[index]), 1)),
                color=ink(row_colors[index]),
                family=fonts.families,
                parse_math=False,  # a dollar sign would begin a formula
            )
    axes.imshow(picture, aspect="auto", interpolation="nearest")
    labelled = [line * (len(rows) + 1) + number for line in range(lines) for number in range(len(rows))]
    labels = list(map(fonts.drawable, names)) * lines
    axes.set_yticks(labelled, labels, fontsize=7, family=fonts.families, parse_math=False)
    axes.set_xticks([])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.text(
        *(0.1 / width, 1 - 0.25 / height),
        fonts.drawable(title),
        fontsize=10,
        family=(PROPORTIONAL[0], *fonts.families),
        parse_math=False,
    )
    legend = {"diverging": "red -1, white 0, blue +1", "sequential": "violet 0, yellow 1"}
    figure.text(
        *(0.1 / width, 0.12 / height),
        "; ".join(text for kind, text in legend.items() if kind in scales.values()),
        fontsize=7,
    )
    save_picture(figure, path, fonts, dpi=_DPI)


def print_activity(
    symbols: Sequence[str], values: np.ndarray, stream: TextIO | None = None, scale: Scale | None = None
) -> None:
    """Print the text to the terminal, each symbol on the colour of its value.

    >>> print_activity('say "no"', np.tanh(np.arange(8.0) - 4))
    say "no"

    A newline shows as ↵ and begins a new line. Where the stream is no terminal, or NO_COLOR is set, the text comes
    without colours.

    Args:
        symbols: the text.
        values: `(symbols,)`, states in [-1, 1] or gates in [0, 1].
        stream: where to; standard output by default.
        scale: by default diverging if a value is negative, and sequential otherwise.

    Raises:
        UserError: for no text, or values that are not finite.
        ValueError: if the values are not `(symbols,)`.
    """
    row = _checked(symbols, {"values": values})["values"]
    line = Text()
    for symbol, color in zip(symbols, _colors(row, scale or _scale_by_sign(row)), strict=True):
        line.append(shown(symbol), style=f"{ink(color)} on {hexadecimal(color)}")
        if symbol == "\n":
            line.append("\n")
    console = Console(file=stream)
    with console.capture() as capture:
        console.print(line, soft_wrap=True, end="" if symbols[-1] == "\n" else "\n")
    print(capture.get(), end="", file=stream)  # rich itself would end the program where a pipe's reader has had enough


def write_html(
    symbols: Sequence[str],
    rows: Mapping[str, np.ndarray],
    title: str,
    path: Path,
    properties: Mapping[str, np.ndarray] | None = None,
    scale: Scale | None = None,
) -> None:
    """Write one HTML page, complete in itself, with the text coloured by the row that its reader chooses.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_html('say "no"', {"cell 37": np.tanh(np.arange(8.0) - 4)}, "quotes", Path(folder, "quotes.html"))

    Pointing at a symbol, touching it, or going there with the arrow keys shows what every row and property is there.
    Without JavaScript the text has the colours of the first row. The values are kept to four decimals.

    Args:
        symbols: the text.
        rows: name to activity `(symbols,)`: states in [-1, 1] (of a cell state its tanh), or gates in [0, 1].
        title: of the page.
        path: where the page goes.
        properties: name to property of the text `(symbols,)`, on a scale up to its own largest value.
        scale: of every row; by default diverging for a row with negative values, and sequential for one without.

    Raises:
        UserError: for no text, or activity that is not finite.
        ValueError: for no row, or one that is not `(symbols,)`.
    """
    tables: list[dict[str, Any]] = [
        {"name": name, "scale": scale or _scale_by_sign(row), "largest": 1.0, "values": row.round(4)}
        for name, row in _checked(symbols, rows).items()
    ]
    for name, row in (_checked(symbols, properties) if properties else {}).items():
        largest = float(np.abs(row).max()) or 1.0
        tables.append({"name": name, "scale": _scale_by_sign(row), "largest": largest, "values": row.round(4)})
    first = tables[0]
    spans = []
    for symbol, step in zip(symbols, steps(_position(first["values"], first["scale"])).tolist(), strict=True):
        mark = MARKS.get(symbol)  # beside it the symbol stays, so that lines break and what is copied is the text
        spans.append(
            {"color": f"{first['scale']}-{step}", "mark": mark, "text": symbol if mark else shown(symbol)},
        )
    data = {
        "steps": STEPS,
        "symbols": list(symbols),
        "rows": [{**table, "values": table["values"].tolist()} for table in tables],
    }
    save_page(
        "activity.html",
        path,
        title=shown(title),
        color_rules=Markup("").join(css_rules(kind, colormap) for kind, colormap in _COLORMAPS.items()),
        scale=[
            {"color": f"{first['scale']}-{step}", "text": f"{_value(step / (STEPS - 1), first['scale']):g}"}
            for step in range(0, STEPS, STEPS // 4)
        ],
        rows=[shown(table["name"]) for table in tables],
        spans=spans,
        data=embedded_json(data),
    )


def _checked(symbols: Sequence[str], rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The rows as float64, each `(symbols,)` and finite."""
    if not len(symbols):
        raise UserError("there is no text to colour: give at least one symbol")
    if not rows:
        raise ValueError("there is nothing to colour the text by: give at least one row")
    checked = {name: np.asarray(row, np.float64) for name, row in rows.items()}
    for name, row in checked.items():
        if row.shape != (len(symbols),):
            raise ValueError(f"row '{name}' has the shape {row.shape}: give a value for each of {len(symbols)} symbols")
        if not np.isfinite(row).all():
            raise UserError(f"'{name}' is not finite everywhere: take a model whose training did not diverge")
    return checked


def _scale_by_sign(values: np.ndarray) -> Scale:
    return "diverging" if values.min() < 0 else "sequential"


def _position(values: np.ndarray, scale: Scale) -> np.ndarray:
    """Where a value lies on the colours of a scale, 0 to 1."""
    return (values + 1) / 2 if scale == "diverging" else values


def _value(position: float, scale: Scale) -> float:
    """The value at a position on the colours of a scale."""
    return 2 * position - 1 if scale == "diverging" else position


def _colors(values: np.ndarray, scale: Scale) -> np.ndarray:
    """Red, green and blue in [0, 1] of each value, `(symbols, 3)`."""
    return colors(_position(values, scale), _COLORMAPS[scale])
