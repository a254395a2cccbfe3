"""Characters that nobody sees: the same as a walk from character to character that knows scripts by names."""

import unicodedata

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_lstm.text.invisible import without_invisible

GONE = (
    "\u00ad\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2062\u2063\u2064\u2066\u2067\u2068\u2069\ufeff"
)
JOINERS = "\u200b\u200c\u200d"
PLAIN_SCRIPTS = ("LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "GEORGIAN")
LETTERS = "azÅßñşΣςжЖњաქ"
OTHERS = "\u0301\u030a 0.-\n\0\u00a0\u3000’“…میकक्षทำคខ映か한א😀👩❤\ufe0f"


def is_plain(character):
    """Whether nothing that joins or parts can mean anything behind it."""
    if character.isascii() or 0x300 <= ord(character) <= 0x36F or 0x2010 <= ord(character) <= 0x2027:
        return True
    return character.isspace() or unicodedata.name(character, "").split(" ")[0] in PLAIN_SCRIPTS


def by_hand(text):
    kept = ""
    for character in text:
        if character in GONE or (character in JOINERS and (not kept or is_plain(kept[-1]))):
            continue
        kept += character
    return kept


def seen(texts):
    given_ = tf.constant([text.encode() for text in texts], tf.string)
    return [text.decode() for text in in_graph(given_).numpy()]


in_graph = tf.function(without_invisible, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)


@settings(max_examples=200)
@given(st.lists(st.text(st.sampled_from(GONE + 3 * JOINERS + LETTERS + OTHERS), max_size=12), max_size=6))
def test_as_by_hand(texts):
    assert seen(texts) == [by_hand(text) for text in texts]


def test_any_other_character_stays():
    everything = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    stayed = [c for c, found in zip(everything, seen(everything), strict=True) if found == c]
    assert sorted({*everything} - {*stayed}) == sorted(GONE + JOINERS)  # a joiner alone begins its text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto\u00admat\u200bic", "automatic"),
        ("a\u200b\u00ad\u200bb", "ab"),
        ("bi\u2060cy\ufeffcle", "bicycle"),
        ("e\u0301\u200cte\u0301", "e\u0301te\u0301"),
        ("\ufeff\u200bA man.\u200b", "A man."),
        # What means something stays: a word's parts in Persian, a letter's form in Hindi, words in Thai, a picture.
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("क्\u200dष", "क्\u200dष"),
        ("ภาษา\u200bไทย", "ภาษา\u200bไทย"),
        ("👩\u200d👧", "👩\u200d👧"),
    ],
)
def test_examples(text, expected):
    assert seen([text]) == [expected]
