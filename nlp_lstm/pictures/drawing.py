"""What pictures and pages of text share: colours and ink, the rules and data of a page, and how both are written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from nlp_lstm.files import atomic_path
from nlp_lstm.pictures.fonts import Fonts
from nlp_lstm.rendering import rendered

STEPS = 33
"""How many colours of a scale a page has; odd, so that one of them stands for the middle."""


def shortened(text: str, longest: int) -> str:
    """A text of at most so many characters, which says with an ellipsis that it was longer."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def colors(positions: np.ndarray, colormap: str) -> np.ndarray:
    """Red, green and blue in [0, 1] of positions `(...)` on a colormap of matplotlib's, `(..., 3)`.

    What lies outside of [0, 1] has the colour of the end.
    """
    import matplotlib

    return matplotlib.colormaps[colormap](np.clip(positions, 0, 1))[..., :3]


def ink(color: np.ndarray) -> str:
    """Black or white, whichever stands out more: a contrast of at least 4.5 on any colour `(3,)` (WCAG 2.2)."""
    linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
    return "#000000" if linear @ (0.2126, 0.7152, 0.0722) > 0.179 else "#ffffff"


def hexadecimal(color: np.ndarray) -> str:
    """A colour `(3,)` as a page and the terminal name it.

    >>> hexadecimal(np.array([1, 0.5, 0]))
    '#ff8000'
    """
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in color)


def steps(positions: np.ndarray) -> np.ndarray:
    """The nearest of a page's colours for each position in [0, 1], counted as the scripts of the pages count them."""
    return np.floor(np.clip(positions, 0, 1) * (STEPS - 1) + 0.5).astype(int)


def css_rules(name: str, colormap: str) -> Markup:
    """The classes `name-0` to `name-32` of a page, from one end of a colormap to the other."""
    scale = colors(np.arange(STEPS) / (STEPS - 1), colormap)
    return Markup(
        "".join(
            f".{name}-{step}{{background:{hexadecimal(color)};color:{ink(color)}}}\n"
            for step, color in enumerate(scale)
        )
    )


def embedded_json(data: Any) -> Markup:
    """JSON that nothing in it can end the element of: the only `<` are escaped, and all that is not ASCII."""
    return Markup(json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"))


def save_page(template: str, path: Path, **parts: Any) -> None:
    """Write a template of `pictures/templates`, filled in (`nlp_lstm.rendering`)."""
    page = rendered("nlp_lstm.pictures", template, **parts)
    with atomic_path(path) as scratch:
        scratch.write_text(page, encoding="utf-8", newline="\n")


def save_picture(figure: Any, path: Path, fonts: Fonts, **options: Any) -> None:
    """Write a figure of matplotlib's with the options of its `savefig`, and tell what its fonts could not draw."""
    with atomic_path(path) as scratch:
        figure.savefig(scratch, **options)
    fonts.tell()
