"""Which fonts of this machine draw the letters of a picture, and what is said of those that none draws."""

import sys
import unicodedata
from collections.abc import Collection, Iterable
from typing import Any

MONOSPACE = ("DejaVu Sans Mono", "DejaVu Sans")
PROPORTIONAL = MONOSPACE[::-1]
"""Both come with matplotlib."""

SUBSTITUTE = "□"

_CARETS = {chr(0x2400 + code): "^" + chr(code ^ 0x40) for code in range(0x20)} | {"␡": "^?"}
"""How terminals write controls whose pictures (`nlp_lstm.visible`) a font lacks."""

_SCRIPT_FONTS = {
    "CJK": "Noto Sans CJK",
    "HIRAGANA": "Noto Sans CJK",
    "KATAKANA": "Noto Sans CJK",
    "HANGUL": "Noto Sans CJK",
    "IDEOGRAPHIC": "Noto Sans CJK",
    "FULLWIDTH": "Noto Sans CJK",
    "HALFWIDTH": "Noto Sans CJK",
    "SYMBOL": "Noto Sans Symbols 2",
}
"""Of a script, by the first word of its characters' names; of any other it is Noto Sans and the script's name."""

_CHARACTERS_TOLD = 10


class Fonts:
    """The fonts of one picture.

    >>> fonts = Fonts(["ein Hund", "$a$"])
    >>> fonts.families, fonts.drawable("ein Hund")
    (('DejaVu Sans', 'DejaVu Sans Mono'), 'ein Hund')

    Characters that matplotlib's own lack are looked for in the fonts installed on this machine. What none of them has
    is drawn as a "□", and `tell` says so.

    Args:
        texts: all that is drawn.
        families: the fonts to take first.
    """

    def __init__(self, texts: Iterable[str], families: Iterable[str] = PROPORTIONAL):
        from matplotlib.font_manager import findfont

        self.families = tuple(families)
        missing = set("".join(texts))
        for family in self.families:
            missing -= _covered(findfont(family), missing)
        if missing:
            found, missing = _installed_for(missing)
            self.families += found
        self._substitutes = {character: _CARETS.get(character, SUBSTITUTE) for character in missing}
        self.missing = frozenset(missing - _CARETS.keys())

    def drawable(self, text: str) -> str:
        """A text with a "□" for each character that no font has, and such as "^[" for the pictures of controls."""
        return "".join(self._substitutes.get(character, character) for character in text)

    def tell(self) -> None:
        """Say on standard error which characters could not be drawn, and what font would draw them."""
        if not self.missing:
            return
        ordered = sorted(self.missing)
        named = ", ".join(f"{character} (U+{ord(character):04X})" for character in ordered[:_CHARACTERS_TOLD])
        more = f" and {len(ordered) - _CHARACTERS_TOLD} more" if len(ordered) > _CHARACTERS_TOLD else ""
        advice = " and ".join(sorted({font_for(character) for character in ordered}))
        print(
            f"no font on this machine draws {named}{more}: the picture has {SUBSTITUTE} instead; "
            f"install {advice} and draw it again",
            file=sys.stderr,
        )


def font_for(character: str) -> str:
    """A free font that has a character.

    >>> font_for("अ"), font_for("映"), font_for("🦜")
    ('Noto Sans Devanagari', 'Noto Sans CJK', 'Noto Emoji')
    """
    if unicodedata.category(character) in ("So", "Sk") and ord(character) > 0xFFFF:
        return "Noto Emoji"  # the one without colours, since matplotlib draws outlines alone
    script = unicodedata.name(character, "").split(" ")[0].split("-")[0]
    if not script:
        return "a font that has them"
    return _SCRIPT_FONTS.get(script, f"Noto Sans {script.capitalize()}")


def _installed_for(characters: Collection[str]) -> tuple[tuple[str, ...], set[str]]:
    """Families that together draw as many of the characters as any do, few of them; and the characters left."""
    coverage = {family: _covered(path, characters) for family, path in _installed().items()}
    missing, families = set(characters), []
    while missing:
        # Of fonts that have the same letters, a plain one: "Noto Sans" rather than "Zapf Fraktur".
        best = max(
            sorted(coverage),
            key=lambda family: (len(coverage[family] & missing), "Sans" in family, -len(family)),
            default=None,
        )
        if best is None or not coverage[best] & missing:
            break
        families.append(best)
        missing -= coverage.pop(best)
    return tuple(families), missing


def _installed() -> dict[str, str]:
    """The families on this machine and a file of each, those too that were installed after matplotlib last looked."""
    from matplotlib import font_manager

    manager = font_manager.fontManager
    known = {entry.fname for entry in manager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in known:
            try:
                manager.addfont(path)
            except Exception:  # FreeType and matplotlib raise half a dozen kinds for what they cannot read
                continue
    found: dict[str, str] = {}
    for entry in manager.ttflist:
        if entry.name.startswith("Last Resort"):  # matplotlib's own has a box for each character there is
            continue
        if entry.name not in found or (entry.style, entry.weight) in (("normal", 400), ("normal", "normal")):
            found[entry.name] = entry.fname  # the plain one is what matplotlib draws
    return found


def _covered(path: str, characters: Iterable[str]) -> set[str]:
    """Those of the characters that matplotlib draws with the font in a file."""
    from matplotlib import font_manager

    try:
        font = font_manager.get_font(path)
        codes = font.get_charmap()
    except Exception:
        return set()
    return {character for character in characters if ord(character) in codes and _has_outline(font, ord(character))}


def _has_outline(font: Any, code: int) -> bool:
    """Fonts of coloured pictures, such as emoji, list characters that matplotlib draws as nothing or fails on."""
    try:
        font.set_size(10, 72)
        left, lower, right, upper = font.load_char(code).bbox
    except Exception:
        return False
    return (right > left and upper > lower) or chr(code).isspace()
