"""Ids by frequency, the file they are kept in, and counting."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_lstm.text.vocabulary import BOUNDARY, PADDING, UNKNOWN, Vocabulary, count_tokens
from nlp_lstm.text.words import tokenize

# Tokens no larger than a line, that other ways to split lines would break.
ODD = [
    "é",
    "电",
    "👍🏽",
    "a\u2028b",
    "a\u0085b",
    "a\u2029",
    "\u001c",
    "\ufeffx",
    "[",
    "unk",
    "…",
    "'",
    '"',
    "\\n",
    "\ufffd",
]


def ids(vocabulary, *tokens):
    return vocabulary.lookup(tf.constant([token.encode() for token in tokens], tf.string)).numpy().tolist()


def test_special_ids_are_the_first_three():
    vocabulary = Vocabulary.from_counts(Counter({"film": 3}), size=10)
    assert (PADDING, UNKNOWN, BOUNDARY) == (0, 1, 2)
    assert vocabulary.tokens[3:] == ["film"]
    assert len(vocabulary) == 4


def test_order_is_by_frequency_then_by_spelling():
    rng = np.random.default_rng(0)
    names = [f"t{number}" for number in rng.permutation(50)] + ["z", "é", "电", "a"]
    counts = Counter({name: int(rng.integers(1, 6)) for name in names})
    expected = []
    for count in range(5, 0, -1):
        expected += sorted(name for name in names if counts[name] == count)
    vocabulary = Vocabulary.from_counts(counts, size=1000)
    assert vocabulary.tokens[3:] == expected
    shuffled = Counter({name: counts[name] for name in sorted(names, reverse=True)})
    assert Vocabulary.from_counts(shuffled, size=1000).tokens == vocabulary.tokens
    assert ids(vocabulary, *expected) == list(range(3, 3 + len(expected)))


@pytest.mark.parametrize(
    ("size", "least", "expected"),
    [
        (100, 1, ["a", "b", "c", "d"]),
        (100, 2, ["a", "b", "c"]),
        (100, 3, ["a"]),
        (100, 6, []),
        (5, 1, ["a", "b"]),
        (5, 3, ["a"]),
        (4, 1, ["a"]),
        (3, 1, []),
        (0, 1, []),
    ],
)
def test_size_counts_the_special_ones_and_least_is_kept(size, least, expected):
    counts = Counter({"d": 1, "c": 2, "b": 2, "a": 5})
    assert Vocabulary.from_counts(counts, size, least).tokens[3:] == expected


def test_what_is_not_known_is_unknown():
    vocabulary = Vocabulary.from_counts(Counter(["film"]), size=10)
    assert ids(vocabulary, "Film", "films", "", "film ", "电") == [UNKNOWN] * 5
    assert ids(Vocabulary.from_counts(Counter(), size=10), "film") == [UNKNOWN]


def test_lookup_of_any_shape_and_in_graph():
    vocabulary = Vocabulary.from_counts(Counter({"a": 2, "b": 1}), size=10)
    lookup = tf.function(vocabulary.lookup)
    for call in (vocabulary.lookup, lookup):
        dense = call(tf.constant([["a", "b"], ["x", "a"]]))
        assert dense.dtype == tf.int32
        assert dense.numpy().tolist() == [[3, 4], [1, 3]]
        assert call(tf.ragged.constant([["a"], [], ["b", "x"]], dtype=tf.string)).to_list() == [[3], [], [4, 1]]


def test_the_first_tokens_must_be_the_special_ones():
    for tokens in ([], ["film"], ["", "[BOUND]", "[UNK]"], ["[UNK]", "[BOUND]"]):
        with pytest.raises(ValueError, match="tokens must begin with"):
            Vocabulary(tokens)


def test_save_and_load_odd_tokens(tmp_path):
    counts = Counter({token: len(ODD) - place for place, token in enumerate(ODD)})
    vocabulary = Vocabulary.from_counts(counts, size=100)
    vocabulary.save(tmp_path / "vocabulary.txt")
    assert (tmp_path / "vocabulary.txt").read_bytes().decode() == "\n[UNK]\n[BOUND]\n" + "\n".join(ODD) + "\n"
    loaded = Vocabulary.load(tmp_path / "vocabulary.txt")
    assert loaded.tokens == vocabulary.tokens
    assert ids(loaded, *ODD) == list(range(3, 3 + len(ODD)))


@settings(deadline=None, max_examples=20, derandomize=True)
@given(texts=st.lists(st.text(max_size=30), max_size=4))
def test_save_and_load_whatever_text_gives(tmp_path_factory, texts):
    path = tmp_path_factory.getbasetemp() / "vocabulary.txt"
    vocabulary = Vocabulary.from_counts(
        count_tokens([tokenize(tf.constant([t.encode() for t in texts], tf.string))]), 99
    )
    vocabulary.save(path)
    assert Vocabulary.load(path).tokens == vocabulary.tokens


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.one_of(st.text(max_size=20), st.sampled_from(["[UNK]", "[BOUND]", "[bound]", "\x00", "\u00ad", "<br>"])))
def test_no_text_gives_padding_or_a_boundary(text):
    tokens = tokenize(tf.constant([text.encode()]))
    own = Vocabulary.from_counts(count_tokens([tokens]), size=100)
    assert np.all(own.lookup(tokens.flat_values).numpy() > BOUNDARY)
    none = Vocabulary.from_counts(Counter(), size=100)
    assert np.all(none.lookup(tokens.flat_values).numpy() == UNKNOWN)


def test_count_tokens():
    rng = np.random.default_rng(1)
    words = ["a", "b", "é", "电"]
    rows = [[words[i] for i in rng.integers(0, 4, rng.integers(0, 6))] for _ in range(20)]
    batches = [tf.ragged.constant(rows[start : start + 7], dtype=tf.string) for start in range(0, 20, 7)]
    expected = {word: sum(row.count(word) for row in rows) for word in words}
    assert count_tokens(batches) == expected
    assert count_tokens([]) == {}
