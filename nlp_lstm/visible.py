"""Text as people see it: what moves the cursor, rings, colours or turns lines round becomes a visible sign."""

import unicodedata

MARKS = {"\n": "↵", "\t": "→"}

_TURNING = {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}
"""Embeddings, overrides and isolates of the bidirectional algorithm (UAX 9), which reorder what stands beside them."""


def shown(text: str) -> str:
    r"""A text as visible characters that change nothing around them: no controls, no bidirectional or lone codes.

    >>> shown("a\n\x00")
    'a↵␀'
    """
    return "".join(map(_visible, text))


def for_terminal(text: str, keep: str = "") -> str:
    r"""A text that a terminal shows, and does not obey; every letter of every script stays.

    >>> for_terminal("\x1b[31mred\x07\n\u202eon")
    '␛[31mred␇↵\\u202eon'
    >>> for_terminal("two\nlines\r", keep="\n\t")
    'two\nlines␍'

    Controls are those of ASCII and of ISO 6429 (C1), separators of lines and paragraphs, and what turns the order of
    letters round; lone surrogates, which are no characters, are told as well.

    Args:
        text: any text.
        keep: controls that stay what they are, such as the line ends of a text of many lines.
    """
    return "".join(character if character in keep else _harmless(character) for character in text)


def _harmless(character: str) -> str:
    if character.isascii():
        return _sign(character)
    if character in _TURNING or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
        return f"\\x{ord(character):02x}" if character < "\u0100" else f"\\u{ord(character):04x}"
    return character


def _visible(character: str) -> str:
    if character.isascii():
        return _sign(character)
    # Other controls, format characters, surrogates, unassigned codes, separators of lines and paragraphs.
    return "\ufffd" if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp") else character


def _sign(character: str) -> str:
    """The picture of an ASCII control; any other ASCII character as it is."""
    if character in MARKS:
        return MARKS[character]
    if character < " ":
        return chr(0x2400 + ord(character))
    return "␡" if character == "\x7f" else character
