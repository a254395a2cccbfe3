"""Symbols against Python's own codec: text to ids and back, in the graph and outside it, and what UTF-8 allows."""

import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_lstm.text.symbols import UNKNOWN, Symbols
from nlp_lstm.text.utf8 import mend, utf8_transitions

KNOWN = "\0\t\n\r aeZ\\\"'~é\u0301ß映\u200d\ufeff\ufffd\uffff😀👩\U0010ffff"
STRANGE = "xQ\x01\x7f\u0080Çß\u0302的\ue000🏳🌈"
TEXTS = [
    "",
    "\0",
    "\n\n",
    "eaZ e\ta\r\n",
    "e\u0301é",  # an e with an accent is two symbols, é is one
    "👩\u200d👩\u200d👧",
    "\ufeffa\ufffd\uffff\U0010ffff",
    "xQ",  # nothing of it is known
    KNOWN + STRANGE,
]

texts = st.text(st.one_of(st.sampled_from(KNOWN + STRANGE), st.characters(exclude_categories=["Cs"])), max_size=20)


@pytest.fixture(scope="module")
def characters():
    return Symbols.of_text(KNOWN)


@pytest.fixture(scope="module")
def octets():
    return Symbols("byte")


def in_graph(symbols, batch):
    """What the graph makes of texts: their symbols, the ids of these, and what the ids are spelled."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def run(text):
        split = symbols.split(mend(text))
        return split, symbols.lookup(split)

    split, ids = run(tf.constant(batch, tf.string))
    return split.to_list(), ids.to_list(), [spelled(symbols, row) for row in ids.to_list()]


def spelled(symbols, ids):
    return b"".join(symbols.spelling[number] for number in ids)


# Characters


@pytest.mark.parametrize("least", [1, 2, 3, 10])
def test_symbols_of_a_text_are_the_characters_seen_often_enough_by_code_point(least):
    rng = np.random.default_rng(0)
    text = "".join(KNOWN[place] for place in rng.integers(0, len(KNOWN), 60))
    expected = [character for character in sorted(set(text)) if text.count(character) >= least]
    symbols = Symbols.of_text(text, least)
    assert symbols.unit == "character"
    assert symbols.characters == expected
    assert len(symbols) == len(symbols.spelling) == 1 + len(expected)
    assert [spelling.decode() for spelling in symbols.spelling] == ["\ufffd", *expected]
    assert symbols.never_generated().tolist() == [True] + [False] * len(expected)
    if least == 1:
        assert symbols.characters == Symbols.of_text(text).characters
    assert len(expected) == len(Symbols.of_text("".join(expected)).characters)
    assert {1: True, 2: True, 3: True, 10: False}[least] == bool(expected)


@pytest.mark.parametrize("text", TEXTS)
def test_encode_numbers_characters_from_1_and_0_is_the_unknown(characters, text):
    place = {character: number for number, character in enumerate(sorted(KNOWN), start=1)}
    ids = characters.encode(text)
    assert ids.dtype == np.int32
    assert ids.tolist() == [place.get(character, UNKNOWN) for character in text]


def test_the_graph_splits_and_numbers_as_python_does(characters):
    split, ids, text = in_graph(characters, TEXTS)
    assert split == [[character.encode() for character in row] for row in TEXTS]
    assert ids == [characters.encode(row).tolist() for row in TEXTS]
    assert UNKNOWN in ids[-1]
    known = ["".join(character if character in KNOWN else "\ufffd" for character in row) for row in TEXTS]
    assert [row.decode() for row in text] == known


@settings(deadline=None, max_examples=40)
@given(texts)
def test_any_text_is_encoded_alike_in_and_outside_the_graph(characters, text):
    (split,), (ids,), (decoded,) = in_graph_of_characters(characters, text)
    assert split == [character.encode() for character in text]
    assert ids == characters.encode(text).tolist()
    assert decoded.decode() == "".join(character if character in KNOWN else "\ufffd" for character in text)


def in_graph_of_characters(characters, text):
    split = characters.split(mend(tf.constant([text])))
    ids = characters.lookup(split).to_list()
    return split.to_list(), ids, [spelled(characters, row) for row in ids]


def test_lookup_takes_dense_symbols_of_any_shape(characters, octets):
    for symbols, known, unknown in [(characters, "é", "Q"), (octets, b"\xe9", "é")]:
        ids = symbols.lookup(tf.constant([[known, unknown, ""]]))
        assert ids.dtype == tf.int32
        assert ids.shape == (1, 3)
        expected = 1 + sorted(KNOWN).index("é") if symbols is characters else 0xE9
        assert ids.numpy().tolist() == [[expected, UNKNOWN, UNKNOWN]]


def test_the_replacement_character_may_be_a_symbol_of_its_own(characters):
    place = 1 + sorted(KNOWN).index("\ufffd")
    assert characters.encode("\ufffdQ").tolist() == [place, UNKNOWN]
    assert in_graph(characters, ["\ufffdQ", b"\xff"])[1] == [[place, UNKNOWN], [place]]
    without = Symbols.of_text("ab")
    assert without.encode("\ufffdQ").tolist() == [UNKNOWN, UNKNOWN]
    assert in_graph(without, ["\ufffdQ", b"\xff"])[1] == [[UNKNOWN, UNKNOWN], [UNKNOWN]]


@pytest.mark.parametrize("empty", [Symbols("character"), Symbols.of_text(""), Symbols.of_text("abc\0", least=2)])
def test_of_an_empty_vocabulary_everything_is_unknown(empty):
    assert len(empty) == 1
    assert empty.encode("a\0\ufffd").tolist() == [UNKNOWN] * 3
    _, ids, text = in_graph(empty, ["a\ufffd", "", "\0"])
    assert text[0].decode() == "\ufffd\ufffd"
    assert ids == [[UNKNOWN] * 2, [], [UNKNOWN]]


def test_what_python_holds_and_utf_8_cannot_is_encoded_all_the_same(characters, octets):
    assert characters.encode("a\ud800Z").tolist() == characters.encode("aQZ").tolist()
    assert bytes(octets.encode("a\udcffZ").tolist()).decode("utf-8")[::2] == "aZ"


# Bytes


@pytest.mark.parametrize("text", TEXTS)
def test_a_byte_is_its_own_id(octets, text):
    ids = octets.encode(text)
    assert ids.dtype == np.int32
    assert ids.tolist() == list(text.encode("utf-8"))


def test_bytes_go_through_the_graph_and_back(octets):
    split, ids, text = in_graph(octets, TEXTS)
    assert ids == [list(row.encode()) for row in TEXTS]
    assert split == [[bytes([value]) for value in row.encode()] for row in TEXTS]
    assert text == [row.encode() for row in TEXTS]
    assert len(octets) == 256
    assert octets.spelling == [bytes([value]) for value in range(256)]
    assert not octets.never_generated().any()
    every = tf.constant([octets.spelling])
    assert octets.lookup(every).numpy().tolist() == [list(range(256))]
    assert spelled(octets, range(256)) == bytes(range(256))


# On disk


@pytest.mark.parametrize("symbols", [Symbols.of_text(KNOWN), Symbols("byte"), Symbols("character")])
def test_symbols_come_back_from_disk_as_they_were(symbols, tmp_path):
    path = tmp_path / "symbols.json"
    symbols.save(path)
    loaded = Symbols.load(path)
    assert (loaded.unit, loaded.characters, loaded.spelling) == (symbols.unit, symbols.characters, symbols.spelling)
    assert in_graph(loaded, TEXTS[1:]) == in_graph(symbols, TEXTS[1:])
    found = json.loads(path.read_bytes().decode("utf-8"))
    assert found["unit"] == symbols.unit
    assert found["characters"] == ([] if len(symbols) in (1, 256) else sorted(KNOWN))


# UTF-8


def unfinished():
    """Every run of bytes that begins a character without ending it."""
    # 64 code points in a row differ in their last byte alone.
    found = (chr(first).encode("utf-8") for first in range(0x80, 0x110000, 64) if not 0xD800 <= first < 0xE000)
    return {text[:end] for text in found for end in range(1, len(text))}


def is_character(text):
    try:
        return len(text.decode("utf-8")) == 1
    except UnicodeDecodeError:
        return False


def walk(table, text):
    state = 0
    for value in text:
        if state < 0:
            return state
        state = table[state, value]
    return state


def test_from_every_state_exactly_those_bytes_lead_on_that_the_codec_takes():
    table = utf8_transitions()
    assert table.dtype == np.int32
    assert table.shape[1] == 256
    assert table.min() == -1 and table.max() == len(table) - 1
    begun_by, seen = unfinished(), set()
    rng = np.random.default_rng(0)
    some = {b"", *(text for text in begun_by if len(text) < 3 or rng.random() < 0.01)}
    for begun in some:
        state = walk(table, begun)
        seen.add(int(state))
        longer = [begun + bytes([value]) for value in range(256)]
        np.testing.assert_array_equal(table[state] == 0, [is_character(text) for text in longer], str(begun))
        np.testing.assert_array_equal(table[state] > 0, [text in begun_by for text in longer], str(begun))
    assert seen == set(range(len(table)))


def test_every_code_point_is_a_way_from_between_to_between_and_there_are_no_others():
    table = utf8_transitions()
    whole = dict.fromkeys((1, 2, 3, 4), 0)
    for first, last in [(0, 0x7F), (0x80, 0x7FF), (0x800, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF)]:
        text = "".join(map(chr, range(first, last + 1))).encode("utf-8")
        spelled = np.frombuffer(text, np.uint8).reshape(last + 1 - first, -1)
        state = np.zeros(len(spelled), np.int32)
        for place, values in enumerate(spelled.T, start=1):
            state = table[state, values]
            assert (state >= 0).all()
            assert ((state == 0) == (place == spelled.shape[1])).all()
        whole[spelled.shape[1]] += len(spelled)
    # As many ways of each length as code points: so there is none for anything else.
    steps = np.array([[np.sum(row == state) for state in range(len(table))] for row in table], np.int64)
    inside = steps[1:, 1:]
    assert steps[0, 0] == whole[1]
    for length in (2, 3, 4):
        ways = steps[0, 1:] @ np.linalg.matrix_power(inside, length - 2) @ steps[1:, 0]
        assert ways == whole[length]
    assert not np.linalg.matrix_power(inside, 3).any()


@pytest.mark.parametrize(
    "text",
    [
        *(chr(number).encode("utf-8", "surrogatepass") for number in (0xD800, 0xDBFF, 0xDC00, 0xDFFF)),
        *(b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf"),
        *(b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfe", b"\xff", b"\x80", b"\xbf"),
        *(b"\xc3a", b"\xe6\x98a", b"\xf0\x9f\x98a", b"\xc3\xc3\xa9"),
    ],
)
def test_surrogates_overlong_forms_and_broken_characters_have_no_way(text):
    with pytest.raises(UnicodeDecodeError):
        text.decode("utf-8")
    assert walk(utf8_transitions(), text) == -1


def test_random_walks_decode():
    table, rng = utf8_transitions(), np.random.default_rng(0)
    lengths = set()
    for _ in range(200):
        state, walked = 0, []
        while len(walked) < 20 or state:
            value = rng.choice(np.flatnonzero(table[state] >= 0))
            state = table[state, value]
            walked.append(int(value))
        text = bytes(walked).decode("utf-8")
        assert text.encode("utf-8") == bytes(walked)
        lengths |= {len(character.encode()) for character in text}
    assert lengths == {1, 2, 3, 4}


# Mending


@settings(deadline=None, max_examples=60)
@given(texts)
def test_mend_leaves_a_text_as_it_is(text):
    assert mend(tf.constant([text])).numpy()[0] == text.encode("utf-8")


pieces = st.one_of(
    st.binary(max_size=6),
    texts.map(str.encode),
    st.sampled_from(
        [b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xf0\x9f\x98", b"\xe6\x98", b"\xc3", b"\xff"]
    ),
)


@settings(deadline=None, max_examples=100)
@given(st.lists(pieces, max_size=5).map(b"".join))
def test_mend_makes_of_any_bytes_what_the_codec_makes(broken):
    mended = mend(tf.constant([broken])).numpy()[0]
    assert mended.decode("utf-8") == broken.decode("utf-8", "replace")


def test_mend_takes_texts_by_themselves():
    batch = [b"\xe6\x98", b"\xa0", b"", b"\xe6\x98\xa0"]
    assert mend(tf.constant(batch)).numpy().tolist() == [b"\xef\xbf\xbd", b"\xef\xbf\xbd", b"", "映".encode()]
