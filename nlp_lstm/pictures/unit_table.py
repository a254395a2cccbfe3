"""The units that decide about a text, for the terminal: their shares, and their states as rows of bars."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from nlp_lstm.pictures.tables import print_whole
from nlp_lstm.visible import for_terminal

WIDEST_ROW = 48
_BARS = "▁▂▃▄▅▆▇█"
_ARROWS = {"forward": "→", "backward": "←"}


def unit_name(unit: Mapping[str, Any]) -> str:
    """Of a unit that `direction` and `unit` name, such as `→ 17`.

    >>> unit_name({"direction": "backward", "unit": 3})
    '← 3'
    """
    return f"{_ARROWS[unit['direction']]} {unit['unit']}"


def bars(states: np.ndarray, widest: int = WIDEST_ROW) -> str:
    """States `(tokens,)` between -1 and 1 as a row of bars, the same scale for all: ▁ is -1, █ is 1.

    >>> bars(np.array([-1.0, -0.5, 0.0, 0.5, 1.0]))
    '▁▃▅▇█'

    Of more tokens than the row is wide a bar stands for several, and shows the state that is farthest from 0.
    """
    values = np.asarray(states)
    each = -(-len(values) // widest) if len(values) else 1
    parts = [values[start : start + each] for start in range(0, len(values), each)]
    farthest = [float(part[np.argmax(np.abs(part))]) for part in parts]
    return "".join(_BARS[int(np.clip((value + 1) / 2 * len(_BARS), 0, len(_BARS) - 1))] for value in farthest)


def print_units(tokens: Sequence[str], units: Sequence[Mapping[str, Any]], rest: Mapping[str, float]) -> None:
    """Print a line a unit, then what else the logit is made of.

    >>> great = {"direction": "forward", "unit": 17, "share": 0.75, "peak": 1, "state": [-0.2, 0.9, 0.6]}
    >>> print_units(["a", "great", "film"], [great], {"other units": 0.5, "bias": -0.25})
    ... # doctest: +NORMALIZE_WHITESPACE
    the logit +1.000 by its parts
    ┏━━━━━━━━━━━━━┳━━━━━━━━┳━━━━━━━━━━┳━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━━━━┓
    ┃ unit        ┃  share ┃          ┃ highest at ┃ state, -1 is ▁ and 1 is █ ┃
    ┡━━━━━━━━━━━━━╇━━━━━━━━╇━━━━━━━━━━╇━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━━━━┩
    │ → 17        │ +0.750 │ ████████ │ great      │ ▄█▇                       │
    │ other units │ +0.500 │          │            │                           │
    │ bias        │ -0.250 │          │            │                           │
    └─────────────┴────────┴──────────┴────────────┴───────────────────────────┘

    Args:
        tokens: of the text.
        units: each with `direction`, `unit`, `share` of the logit, `peak`, the place of the token at which its state is
            highest, and `state` `(tokens,)`.
        rest: what else adds up to the logit, by name.
    """
    logit = sum(unit["share"] for unit in units) + sum(rest.values())
    each = -(-len(tokens) // WIDEST_ROW)
    scale = "state, -1 is ▁ and 1 is █" + (f"; a bar is {each} tokens" if each > 1 else "")
    table = Table(title=f"the logit {logit:+.3f} by its parts", title_justify="left", header_style="bold")
    table.add_column("unit", no_wrap=True)
    table.add_column("share", justify="right")
    table.add_column("")
    table.add_column("highest at")
    table.add_column(scale)
    span = max((abs(unit["share"]) for unit in units), default=1.0) or 1.0
    for unit in units:
        color = "blue" if unit["share"] > 0 else "red"
        table.add_row(
            unit_name(unit),
            Text(f"{unit['share']:+.3f}", style=color),
            Text("█" * round(8 * abs(unit["share"]) / span), style=color),
            Text(for_terminal(tokens[unit["peak"]])),
            bars(unit["state"]),
        )
    for name, share in rest.items():
        table.add_row(name, f"{share:+.3f}")
    print_whole(table)
