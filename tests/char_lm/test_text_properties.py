"""The properties of running text, against strings worked by hand: a digit below each character."""

import typing

import numpy as np
import pytest

from nlp_lstm.char_lm.text_properties import (
    PROPERTIES,
    PropertyName,
    brackets,
    indentation,
    line_position,
    properties_of,
    quotes,
    upper_case,
    word_position,
)


def digits(values):
    assert values.dtype == np.float64
    return "".join(str(int(value)) for value in values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('He "said" so', "000111110000"),
        ("He “said” so", "000111110000"),
        ("“a “b” c”", "111110000"),  # they do not nest
        ('""', "10"),
        ('a"', "01"),
        ('"a\nb"', "11110"),  # a line's end ends no quotation
        ('"a\n\n"b"', "1110110"),  # an empty line does, and each paragraph opens it anew
        ('a"\n\nb "c" d', "01100011000"),  # so that a mark too many turns no further paragraph around
        ('"a\n \t\r\n"b"', "1111110110"),
        ("“a\n\n“b” c", "111011000"),
        ("it's 5'", "0000000"),
        ("\n\n", "00"),
    ],
)
def test_quotes(text, expected):
    assert digits(quotes(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("abc\nde\n\nf", "123012001"), ("\na", "01"), ("a\r\nb\u2028c", "120123"), ("", "")]
)
def test_line_position(text, expected):
    assert digits(line_position(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f(x[1]) {}", "0112210010"),
        ("a) (b", "00011"),  # a closing bracket too many
        ("([)]", "1210"),  # each kind by itself
        ("(]", "11"),
        ("((a", "122"),
        ("<a>", "000"),
    ],
)
def test_brackets(text, expected):
    assert digits(brackets(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("an ox, no", "120123012"), ("  a\tb\nc", "0010101"), ("a\u00a0b\u3000c", "10101")]
)
def test_word_position(text, expected):
    assert digits(word_position(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("if a:\n  b c\n\n   d\ne", "0000001222200123300"),
        ("  \n", "120"),
        ("\ta", "88"),
        ("   \ta", "12388"),  # a tab ends at a multiple of 8
        ("a  b\t", "00000"),
        ("\u00a0 a", "000"),  # only spaces and tabs indent
    ],
)
def test_indentation(text, expected):
    assert digits(indentation(text)) == expected


def test_upper_case():
    assert digits(upper_case("aB cÉ ßΩω1ЖDž.")) == "01001001001100"


def test_symbols_of_a_byte_model_need_not_be_characters():
    symbols = ["\\xe2", "(", "<unk>", '"', "\udc80", "A", "", "\n", "\x00"]
    found = {name: digits(values) for name, values in properties_of(symbols).items()}
    assert found == {
        "quotes": "000111111",
        "line_position": "123456701",
        "brackets": "011111111",
        "word_position": "123456701",
        "indentation": "000000000",
        "upper_case": "000001000",
    }


def test_every_property_has_its_name():
    assert list(PROPERTIES) == list(typing.get_args(PropertyName)) == list(properties_of("ab"))
    assert all(values.shape == (2,) for values in properties_of("ab").values())
    assert all(values.shape == (0,) for values in properties_of([]).values())
