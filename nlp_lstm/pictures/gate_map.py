"""A picture of what the gates did on a text, and a table of it for the terminal."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nlp_lstm.files import atomic_path

TOKENS_IN_LINE = 28
LONGEST_TOKEN_DRAWN = 24
_GATE_NAMES = {"input": "i", "forget": "f", "output": "o"}


def gate_rows(answer: Mapping[str, np.ndarray], length: int) -> dict[str, np.ndarray]:
    """The gate activity of one explained text by row title, such as `→ i input`, each `(length,)`."""
    rows = {}
    for direction, arrow in (("forward", "→"), ("backward", "←")):
        for name, letter in _GATE_NAMES.items():
            rows[f"{arrow} {letter} {name}"] = np.asarray(answer[f"{direction}_{name}"])[:length]
    return rows


def draw_heat_map(
    tokens: Sequence[str], polarity: np.ndarray, gates: Mapping[str, np.ndarray], title: str, path: Path
) -> None:
    """Write a PNG that shows, token by token, its share of the verdict and how far the gates stood open.

    >>> draw_heat_map(["a", "fine", "film"], polarity, {"→ f forget": forget}, "positive 0.93", Path("gates.png"))

    Args:
        tokens: the text's tokens; a long text goes over several lines.
        polarity: `(tokens,)`, negative in red and positive in blue, on one scale for the whole text.
        gates: row title to mean activity `(tokens,)`, on a scale of its own row, since what a gate does shows in how
            it moves.
        title: stands above the picture.
        path: where the PNG goes.
    """
    from matplotlib import colors
    from matplotlib.figure import Figure

    lines = [range(start, min(start + TOKENS_IN_LINE, len(tokens))) for start in range(0, len(tokens), TOKENS_IN_LINE)]
    rows = 1 + len(gates)
    figure = Figure(figsize=(0.45 * min(len(tokens), TOKENS_IN_LINE) + 2.2, 0.3 * (rows + 4) * len(lines) + 0.6))
    figure.suptitle(title, fontsize=10)
    span = float(np.max(np.abs(polarity), initial=1e-9))
    for number, line in enumerate(lines):
        axes = figure.add_subplot(len(lines), 1, number + 1)
        picture = np.ones((rows, min(len(tokens), TOKENS_IN_LINE), 4))
        diverging = colors.Normalize(-span, span)
        picture[0, : len(line)] = _colormap("RdBu")(diverging(polarity[line.start : line.stop]))
        for row, values in enumerate(gates.values(), start=1):
            scale = colors.Normalize(float(values.min()), max(float(values.max()), float(values.min()) + 1e-9))
            picture[row, : len(line)] = _colormap("viridis")(scale(values[line.start : line.stop]))
        axes.imshow(picture, aspect="auto", interpolation="nearest")
        axes.set_yticks(range(rows), ["polarity", *gates], fontsize=7, family="DejaVu Sans")
        # A dollar sign would begin a formula.
        shown = [_shortened(tokens[index]) for index in line]
        axes.set_xticks(range(len(line)), shown, rotation=60, ha="right", fontsize=7, parse_math=False)
    with warnings.catch_warnings(), atomic_path(path) as scratch:
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a box stands for it
        figure.tight_layout()
        figure.savefig(scratch, dpi=140)


def _shortened(token):
    """A token of thousands of letters would need a picture of as many."""
    return token if len(token) <= LONGEST_TOKEN_DRAWN else token[: LONGEST_TOKEN_DRAWN - 1] + "…"


def _colormap(name):
    import matplotlib

    return matplotlib.colormaps[name]


def print_table(tokens: Sequence[str], polarity: np.ndarray, gates: Mapping[str, np.ndarray], title: str) -> None:
    """Print the same as a table: a line a token, its share of the logit as number and bar, and each gate's activity."""
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("token")
    table.add_column("polarity", justify="right")
    table.add_column("")
    for name in gates:
        table.add_column(name, justify="right")
    span = float(np.max(np.abs(polarity), initial=1e-9))
    for index, token in enumerate(tokens):
        value = float(polarity[index])
        color = "blue" if value > 0 else "red"
        bar = Text("█" * round(8 * abs(value) / span), style=color)
        numbers = [f"{values[index]:.2f}" for values in gates.values()]
        table.add_row(Text(token), Text(f"{value:+.3f}", style=color), bar, *numbers)
    # Piped to a file there is no terminal to ask for its width, and a table cut to 80 columns would lose its numbers.
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    with console.capture() as capture:
        console.print(table)
    print(capture.get(), end="")  # rich itself would end the program where the reader of a pipe has had enough
