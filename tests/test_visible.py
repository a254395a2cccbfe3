"""Text as it is shown, over every character there is."""

import sys
import unicodedata

import pytest

from nlp_lstm.visible import for_terminal, shown

ALL = [chr(code) for code in range(sys.maxunicode + 1)]
BIDIRECTIONAL = [*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))]


OBEYED = {character for character in ALL if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")}


def test_nothing_that_a_terminal_obeys_is_left():
    out = for_terminal("".join(ALL))
    assert not set(out) & (OBEYED | set(BIDIRECTIONAL))
    out.encode("utf-8")


def test_every_other_character_stays():
    """Also what joins emoji and letters, and the marks of Hebrew and Arabic text."""
    others = "".join(sorted(set(ALL) - OBEYED - set(BIDIRECTIONAL)))
    assert for_terminal(others) == others


def test_different_characters_are_told_apart():
    controls = [*map(chr, range(32)), *map(chr, range(0x7F, 0xA0)), *BIDIRECTIONAL, "\u2028", "\u2029", "\ud800"]
    assert len(set(map(for_terminal, controls))) == len(controls)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("a\rb", "a␍b"),
        ("\x9b31m\x85", "\\x9b31m\\x85"),
        ("\u202etxt.\u2066", "\\u202etxt.\\u2066"),
        ("a\n\tb\x7f", "a↵→b␡"),
        ("👩‍👩‍👧 שלום", "👩‍👩‍👧 שלום"),
    ],
)
def test_what_is_shown_instead(text, expected):
    assert for_terminal(text) == expected


def test_what_is_kept():
    assert for_terminal("a\n\tb\r\x1b", keep="\n\t") == "a\n\tb␍␛"


def test_what_pictures_show_takes_up_space_and_moves_nothing():
    out = shown("".join(ALL))
    assert len(out) == len(ALL)
    assert not {unicodedata.category(character) for character in out} & {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}
