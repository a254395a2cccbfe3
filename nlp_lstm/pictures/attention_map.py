"""Where a translation looked in its source: as a picture, as a page for the browser, in the terminal.

The figure of Bahdanau, Cho and Bengio 2015, "Neural Machine Translation by Jointly Learning to Align and Translate",
figure 3: the source along the top, the translation down the side, a row for what each piece of it looked at.
"""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nlp_lstm.errors import UserError
from nlp_lstm.files import atomic_path
from nlp_lstm.pictures.drawing import (
    FONTS,
    PAGE_HEAD,
    STEPS,
    colors,
    css_rules,
    embedded_json,
    hexadecimal,
    ink,
    save_picture,
    shortened,
    shown,
    steps,
)

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

    >>> draw_attention(["▁a", "▁dog"], ["▁ein", "▁Hund"], attention, Path("attention.png"), "a dog")

    A piece is drawn as it is: a "▁" says that a word begins. A letter that the fonts of matplotlib lack shows as a box;
    a page and the terminal show every script.

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
    # A dollar sign would begin a formula.
    letters: dict[str, Any] = {"fontsize": 8, "family": FONTS[::-1], "parse_math": False}
    names = list(map(_named, source))
    axes.set_xticks(np.arange(len(source)) + 0.5, names, rotation=60, ha="left", rotation_mode="anchor", **letters)
    axes.set_yticks(np.arange(len(target)) + 0.5, list(map(_named, target)), **letters)
    axes.set_xlabel("source", fontsize=8)
    axes.set_ylabel("translation", fontsize=8)
    longest_title = max(int(width * 11), 40)
    axes.set_title(shortened(shown(title), longest_title), loc="left", **(letters | {"fontsize": 10}))
    beside = figure.add_axes(
        (1 + 0.15 / width, 1 - _COLOR_BAR_HEIGHT / height, 0.12 / width, _COLOR_BAR_HEIGHT / height)
    )
    bar = figure.colorbar(cells, cax=beside, ticks=[0, 0.5, 1])
    bar.set_label("attention", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    save_picture(figure, path, dpi=_DPI, bbox_inches="tight", pad_inches=0.1)


def print_attention(
    source: Sequence[str], target: Sequence[str], attention: np.ndarray, stream: TextIO | None = None
) -> None:
    """Print a table: for each piece of the translation the piece of the source it looked at most, and its weight.

    >>> print_attention(["▁a", "▁dog"], ["▁ein", "▁Hund"], attention)

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

    >>> translation = AttendedTranslation(["▁a", "▁dog"], ["▁ein", "▁Hund"], attention)
    >>> write_attention_html([translation], "a dog", Path("attention.html"))

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
    sections = []
    for number, (translation, matrix) in enumerate(zip(translations, matrices, strict=True), start=1):
        parts = {
            "heading": f"<h2>Sentence {number}</h2>\n" if len(translations) > 1 else "",
            "source": _sentence(translation.source),
            "target": _sentence(translation.target),
            "columns": "".join(map(_column_head, translation.source)),
            "rows": "".join(map(_row, translation.target, matrix.T)),
        }
        sections.append(_SECTION.format_map(parts))
    parts = {
        "title": html.escape(shown(title)),
        "style": _STYLE + css_rules("weight", _COLORMAP),
        "legend": " ".join(
            f'<span class="weight-{step}">{step / (STEPS - 1):g}</span>' for step in range(0, STEPS, STEPS // 4)
        ),
        "sections": "".join(sections),
        "data": embedded_json({"steps": STEPS, "attention": [matrix.tolist() for matrix in matrices]}),
        "script": _SCRIPT,
    }
    with atomic_path(path) as scratch:
        scratch.write_text(_PAGE.format_map(parts), encoding="utf-8", newline="\n")


def _checked(source, target, attention) -> np.ndarray:
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


def _named(piece):
    return shortened(shown(piece), LONGEST_PIECE_NAMED)


def _sentence(pieces):
    """Spans that read as a sentence: a word's beginning is a space before its piece, unless it is the whole piece."""
    spans = []
    for index, piece in enumerate(pieces):
        word = piece.removeprefix(WORD_BEGINNING)
        space = " " if word != piece and index else ""
        spans.append(f"{space}<span>{html.escape(shown(word or piece))}</span>")
    return "".join(spans)


def _column_head(piece):
    return f'<th scope="col" dir="auto">{html.escape(_named(piece))}</th>'


def _row(piece, weights):
    cells = []
    for step, percent in zip(steps(weights), np.round(100 * weights).astype(int), strict=True):
        cells.append(f'<td class="weight-{step}">{percent or ""}</td>')
    return f'<tr><th scope="row" dir="auto">{html.escape(_named(piece))}</th>{"".join(cells)}</tr>\n'


_SECTION = """\
<section>
{heading}<p class="side">source</p>
<p class="source" dir="auto" tabindex="0" role="group" aria-label="source, piece by piece with the arrow keys">\
{source}</p>
<p class="side">translation</p>
<p class="target" dir="auto" tabindex="0" role="group" aria-label="translation, piece by piece with the arrow keys">\
{target}</p>
<p class="about" role="status"></p>
<div class="table" tabindex="0" role="region" aria-label="table of the attention">
<table>
<caption>How much each piece of the translation (a row) looked at each piece of the source (a column), in \
percent</caption>
<thead><tr><td></td>{columns}</tr></thead>
<tbody>
{rows}</tbody>
</table>
</div>
</section>
"""

_PAGE = (
    PAGE_HEAD
    + """\
<body>
<h1>{title}</h1>
<p>Attention: {legend}</p>
<p id="hint" hidden>Point at a piece, touch it, or go through a sentence with the arrow keys.</p>
{sections}<script type="application/json" id="data">{data}</script>
<script>
{script}</script>
</body>
</html>
"""
)

_STYLE = """\
:root { color-scheme: light dark; }
body { font-family: system-ui, sans-serif; margin: 1rem auto; max-width: 120ch; padding: 0 1rem; }
h1 { font-size: 1.2rem; overflow-wrap: anywhere; }
h2 { font-size: 1rem; }
section { border-top: 1px solid GrayText; padding: .5rem 0; }
.side { font-size: .8rem; margin: .5rem 0 0; }
.source, .target { font-size: 1.1rem; line-height: 1.7; margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.source span, .target span { padding: .15em 0; }
.about { font-variant-numeric: tabular-nums; min-height: 3em; overflow-wrap: anywhere; }
.table { overflow: auto; max-height: 90vh; }
table { border-collapse: collapse; font-size: .75rem; font-variant-numeric: tabular-nums; }
caption { text-align: start; padding: .3rem 0; }
th, thead td { background: Canvas; color: CanvasText; position: sticky; }
th { font-weight: normal; text-align: right; white-space: nowrap; }
thead th { top: 0; z-index: 1; writing-mode: vertical-rl; padding: .3em 0; }
thead td { top: 0; left: 0; z-index: 2; }
tbody th { left: 0; padding: 0 .4em; }
tbody td { border: 1px solid #d9d9d9; min-width: 2.2em; height: 1.8em; text-align: center; }
[data-here] { outline: 2px solid CanvasText; }
tbody [data-here] { outline-offset: -2px; }
tbody [data-here] th { font-weight: bold; }
"""

_SCRIPT = """\
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);

function prepare(section, attention) {
  const about = section.querySelector(".about");
  const rows = Array.from(section.querySelector("table").rows);
  const columnHeads = Array.from(rows[0].cells).slice(1);
  const source = side(".source", columnHeads, "looked at by", (here, other) => attention[here][other]);
  const target = side(".target", rows.slice(1), "looks at", (here, other) => attention[other][here]);
  const others = new Map([[source, target], [target, source]]);
  let marked = [];

  function side(selector, inTable, verb, weight) {
    const sentence = section.querySelector(selector);
    return { sentence, spans: Array.from(sentence.children), inTable, verb, weight, here: 0 };
  }

  function tell(from, index) {
    if (index < 0 || index >= from.spans.length) return;
    const other = others.get(from);
    from.here = index;
    for (const element of marked) delete element.dataset.here;
    marked = [from.spans[index], from.inTable[index]];
    for (const element of marked) element.dataset.here = "";
    for (const span of from.spans) span.className = "";
    const weights = other.spans.map((span, place) => {
      const weight = from.weight(index, place);
      span.className = "weight-" + Math.floor(weight * (data.steps - 1) + 0.5);
      return [weight, place];
    });
    const most = weights.filter(([weight]) => weight >= 0.005).sort((one, two) => two[0] - one[0]).slice(0, 5);
    const told = most.map(([weight, place]) => name(other, place) + " " + weight.toFixed(2));
    about.textContent = name(from, index) + " " + from.verb + " " + (told.join(" · ") || "nothing");
  }

  function name(from, index) {
    const head = from === target ? from.inTable[index].cells[0] : from.inTable[index];
    return "“" + head.textContent + "”";
  }

  function tellOf(event) {
    for (const from of [source, target]) {
      const index = from.spans.indexOf(event.target.closest("span"));
      if (index >= 0) return tell(from, index);
    }
    const cell = event.target.closest("th, td");
    if (!cell) return;
    if (cell.parentElement.rowIndex > 0) tell(target, cell.parentElement.rowIndex - 1);
    else tell(source, cell.cellIndex - 1);
  }

  section.addEventListener("pointerover", tellOf);
  section.addEventListener("click", tellOf);
  for (const from of [source, target]) {
    from.sentence.addEventListener("focus", () => tell(from, from.here));
    from.sentence.addEventListener("keydown", (event) => {
      const last = from.spans.length - 1;
      const to = { ArrowRight: from.here + 1, ArrowLeft: from.here - 1, Home: 0, End: last }[event.key];
      if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      tell(from, to);
    });
  }
}

document.querySelectorAll("section").forEach((section, number) => prepare(section, data.attention[number]));
document.getElementById("hint").hidden = false;
"""
