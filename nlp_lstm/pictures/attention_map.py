"""Where a translation looked in its source: as a picture, as a page for the browser, in the terminal.

The figure of Bahdanau, Cho and Bengio 2015, "Neural Machine Translation by Jointly Learning to Align and Translate",
figure 3: the source along the top, the translation down the side, a row for what each piece of it looked at.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from rich.console import Console
from rich.table import Table
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
from nlp_lstm.pictures.fonts import PROPORTIONAL, Fonts
from nlp_lstm.visible import shown

MOST_PIECES_DRAWN = 200
MOST_WEIGHTS_ON_A_PAGE = 250_000
LONGEST_PIECE_NAMED = 24
WORD_BEGINNING = "▁"
"""Begins a piece that begins a word, as SentencePiece has it."""

_COLORMAP = "Blues"  # white at 0
_DPI = 140
_CELL, _COLOR_BAR_HEIGHT = 0.22, 1.2  # inches
_ROUNDING = 0.01  # weights in half precision do not quite sum to 1


class AttendedTranslation(NamedTuple):
    """A translation piece by piece, and where it looked."""

    source: Sequence[str]  # S pieces
    target: Sequence[str]  # T pieces
    attention: np.ndarray  # (S, T), each column a distribution over the source


def draw_attention(
    source: Sequence[str], target: Sequence[str], attention: np.ndarray, path: Path, title: str = ""
) -> None:
    """Write a PNG with a row for each piece of the translation, darker where it looked more.

    >>> from tempfile import TemporaryDirectory
    >>> attention = np.array([[0.9, 0.2], [0.1, 0.8]])
    >>> with TemporaryDirectory() as folder:
    ...     draw_attention(["▁a", "▁dog"], ["▁ein", "▁Hund"], attention, Path(folder, "attention.png"), "a dog")

    A piece is drawn as it is: a "▁" says that a word begins. A letter that no font of the machine has shows as a box,
    and standard error tells of it; a page and the terminal show every script.

    Args:
        source: S pieces, at most 200.
        target: T pieces, at most 200.
        attention: `(S, T)`, for each piece of the translation a distribution over the source; what was left out of a
            column, such as the weight on the end of the sentence, may be missing from its sum.
        path: where the PNG goes.
        title: stands above the picture.

    Raises:
        UserError: for a sentence that is empty or too long for a picture, or attention that is not finite.
        ValueError: for attention that is not `(S, T)`, or columns that are no distributions.
    """
    from matplotlib.figure import Figure

    weights = _checked(source, target, attention)
    longest = max(weights.shape)
    if longest > MOST_PIECES_DRAWN:
        raise UserError(f"{longest} pieces are too many for a picture: give sentences of at most {MOST_PIECES_DRAWN}")
    width, height = len(source) * _CELL, len(target) * _CELL
    # The cells fill the figure, and it is saved with as much around them as its letters take up.
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    # A fifth of the time of `imshow` for long sentences.
    cells = axes.pcolormesh(weights.T, cmap=_COLORMAP, vmin=0, vmax=1, edgecolor="0.85", linewidth=0.4)
    axes.invert_yaxis()
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.tick_params(length=0)
    title = shortened(shown(title), max(int(width * 11), 40))
    columns, rows = list(map(_named, source)), list(map(_named, target))
    fonts = Fonts([*columns, *rows, title], PROPORTIONAL)
    # A dollar sign would begin a formula.
    letters: dict[str, Any] = {"fontsize": 8, "family": fonts.families, "parse_math": False}
    columns, rows = list(map(fonts.drawable, columns)), list(map(fonts.drawable, rows))
    axes.set_xticks(np.arange(len(source)) + 0.5, columns, rotation=60, ha="left", rotation_mode="anchor", **letters)
    axes.set_yticks(np.arange(len(target)) + 0.5, rows, **letters)
    axes.set_xlabel("source", fontsize=8)
    axes.set_ylabel("translation", fontsize=8)
    axes.set_title(fonts.drawable(title), loc="left", **(letters | {"fontsize": 10}))
    beside = figure.add_axes(
        (1 + 0.15 / width, 1 - _COLOR_BAR_HEIGHT / height, 0.12 / width, _COLOR_BAR_HEIGHT / height)
    )
    bar = figure.colorbar(cells, cax=beside, ticks=[0, 0.5, 1])
    bar.set_label("attention", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    save_picture(figure, path, fonts, dpi=_DPI, bbox_inches="tight", pad_inches=0.1)


def print_attention(
    source: Sequence[str], target: Sequence[str], attention: np.ndarray, stream: TextIO | None = None
) -> None:
    """Print a table: for each piece of the translation the piece of the source it looked at most, and its weight.

    >>> print_attention(["▁a", "▁dog"], ["▁ein", "▁Hund"], np.array([[0.9, 0.2], [0.1, 0.8]]))
    ┏━━━━━━━━━━━━━┳━━━━━━━━━━┳━━━━━━━━┓
    ┃ translation ┃ looks at ┃ weight ┃
    ┡━━━━━━━━━━━━━╇━━━━━━━━━━╇━━━━━━━━┩
    │ ▁ein        │ ▁a       │   0.90 │
    │ ▁Hund       │ ▁dog     │   0.80 │
    └─────────────┴──────────┴────────┘

    Where the stream is no terminal, or NO_COLOR is set, the table comes without colours.

    Args:
        source: S pieces.
        target: T pieces.
        attention: `(S, T)`, as for `draw_attention`.
        stream: where to; standard output by default.

    Raises:
        UserError: for a sentence that is empty, or attention that is not finite.
        ValueError: for attention that is not `(S, T)`, or columns that are no distributions.
    """
    weights = _checked(source, target, attention)
    table = Table(header_style="bold")
    table.add_column("translation")
    table.add_column("looks at")
    table.add_column("weight", justify="right")
    largest = weights.max(axis=0)
    for piece, most, weight, color in zip(
        target, weights.argmax(axis=0), largest, colors(largest, _COLORMAP), strict=True
    ):
        number = Text(f"{weight:.2f}", style=f"{ink(color)} on {hexadecimal(color)}")
        table.add_row(Text(_named(piece)), Text(_named(source[most])), number)
    # Piped to a file there is no terminal to ask for its width, and a narrow table would break its pieces.
    console = Console(file=stream)
    if not console.is_terminal:
        console = Console(file=stream, width=120)
    with console.capture() as capture:
        console.print(table)
    print(capture.get(), end="", file=stream)  # rich itself would end the program where a pipe's reader has had enough


def write_attention_html(translations: Sequence[AttendedTranslation], title: str, path: Path) -> None:
    """Write one HTML page, complete in itself, with the sentences and a table of the attention of each translation.

    >>> from tempfile import TemporaryDirectory
    >>> translation = AttendedTranslation(["▁a", "▁dog"], ["▁ein", "▁Hund"], np.array([[0.9, 0.2], [0.1, 0.8]]))
    >>> with TemporaryDirectory() as folder:
    ...     write_attention_html([translation], "a dog", Path(folder, "attention.html"))

    Pointing at a piece of a translation, touching it, or going there with the arrow keys colours the source by what
    the piece looked at; at a piece of the source it colours the translation by what looked at it. In the sentences a
    "▁" is a space, in the tables it stays. Without JavaScript there are the sentences and the coloured tables. The
    weights are kept to four decimals.

    Args:
        translations: their attention is `(S, T)`, as for `draw_attention`; at most 250,000 weights together.
        title: of the page.
        path: where the page goes.

    Raises:
        UserError: for no translation, a sentence that is empty, more than a page can hold, or attention that is not
            finite.
        ValueError: for attention that is not `(S, T)`, or columns that are no distributions.
    """
    if not translations:
        raise UserError("there is no translation to show: give at least one")
    matrices = [_checked(*translation).round(4) for translation in translations]
    weights = sum(matrix.size for matrix in matrices)
    if weights > MOST_WEIGHTS_ON_A_PAGE:
        raise UserError(
            f"{weights} weights of attention are too many for a page: "
            f"give fewer or shorter sentences, of at most {MOST_WEIGHTS_ON_A_PAGE} together"
        )
    sections = [
        {
            "source": _pieces(translation.source),
            "target": _pieces(translation.target),
            "rows": list(map(_row, translation.target, matrix.T)),
        }
        for translation, matrix in zip(translations, matrices, strict=True)
    ]
    save_page(
        "attention.html",
        path,
        title=shown(title),
        color_rules=css_rules("weight", _COLORMAP),
        legend=[{"color": f"weight-{step}", "text": f"{step / (STEPS - 1):g}"} for step in range(0, STEPS, STEPS // 4)],
        sections=sections,
        data=embedded_json({"steps": STEPS, "attention": [matrix.tolist() for matrix in matrices]}),
    )


def _checked(source: Sequence[str], target: Sequence[str], attention: np.ndarray) -> np.ndarray:
    """The attention as float64, `(S, T)`, each column a distribution or what was kept of one."""
    for name, pieces in (("source", source), ("translation", target)):
        if not len(pieces):
            raise UserError(f"there is no attention to show, since the {name} is empty: give at least one piece")
    weights = np.asarray(attention, np.float64)
    if weights.shape != (len(source), len(target)):
        raise ValueError(
            f"attention has the shape {weights.shape}: give (source, target) pieces, ({len(source)}, {len(target)})"
        )
    if not np.isfinite(weights).all():
        raise UserError("the attention is not finite everywhere: take a model whose training did not diverge")
    if weights.min() < -_ROUNDING or weights.sum(axis=0).max() > 1 + _ROUNDING:
        raise ValueError(
            f"attention has weights from {weights.min():.3g} and columns that sum to {weights.sum(axis=0).max():.3g}: "
            f"give for each piece of the translation, on the second axis, a distribution over the source"
        )
    return np.clip(weights, 0, 1)


def _named(piece: str) -> str:
    return shortened(shown(piece), LONGEST_PIECE_NAMED)


def _pieces(pieces: Sequence[str]) -> list[dict[str, Any]]:
    """What a page shows of pieces: a word's beginning is a space before its piece, unless it is the whole piece."""
    listed: list[dict[str, Any]] = []
    for index, piece in enumerate(pieces):
        word = piece.removeprefix(WORD_BEGINNING)
        listed.append({"begins_word": word != piece and index, "text": shown(word or piece), "name": _named(piece)})
    return listed


def _row(piece: str, weights: np.ndarray) -> dict[str, Any]:
    percents = np.round(100 * weights).astype(int).tolist()
    return {
        "name": _named(piece),
        "cells": [
            {"color": f"weight-{step}", "percent": percent}
            for step, percent in zip(steps(weights), percents, strict=True)
        ],
    }
