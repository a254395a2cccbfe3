"""Tries against a Python dictionary: every key at every place of a row, whatever the keys."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_lstm.text.trie import Trie


def found_in_dictionary(values, rows):
    """For each length and place the number of the key that stands there; the rows are of equal length."""
    longest = max(map(len, values), default=0)

    def number(row, start, length):
        return values.get(tuple(row[start : start + length]), -1) if start + length <= len(row) else -1

    return [
        [[number(row, start, length) for start in range(len(row))] for row in rows] for length in range(1, longest + 1)
    ]


def padded(rows):
    time = max(map(len, rows), default=0)
    return [[*map(int, row), *[0] * (time - len(row))] for row in rows]


def assert_equals_dictionary(values, rows):
    rows = padded(rows)
    symbols = tf.constant(np.array(rows, np.int32).reshape(len(rows), -1 if rows else 0))
    found = Trie(values).prefixes(symbols)
    for numbers in found:
        assert numbers.dtype == tf.int32
        assert numbers.shape == symbols.shape
    assert [numbers.numpy().tolist() for numbers in found] == found_in_dictionary(values, rows)


def random_keys(rng, alphabet, count, longest):
    """Keys with numbers of no order; many are beginnings of others."""
    keys = set()
    for _ in range(count):
        whole = tuple(rng.choice(alphabet, rng.integers(1, longest + 1)).tolist())
        keys |= {whole, whole[: rng.integers(1, len(whole) + 1)]}
    ordered = sorted(keys)
    rng.shuffle(ordered)
    return dict(zip(ordered, rng.permutation(2 * len(keys))[: len(keys)].tolist(), strict=True))


def rows_of_keys(rng, values, alphabet, count):
    """Rows in which keys stand, whole and cut short, between symbols drawn at random."""
    keys = list(values)
    rows = []
    for _ in range(count):
        row = []
        for _ in range(rng.integers(0, 6)):
            key = keys[rng.integers(len(keys))]
            row += [*key[: rng.integers(1, len(key) + 1)], *rng.choice(alphabet, rng.integers(0, 3))]
        rows.append(row)
    return rows


KINDS = {
    "two symbols": (range(1, 3), 60, 9),
    "letters": (range(1, 27), 500, 6),
    "only single symbols": (range(1, 40), 30, 1),
    "long keys": (range(1, 4), 20, 60),
    "large alphabet": (range(1, 30_001), 2_000, 4),
    "an alphabet with gaps": (range(7, 5_000, 611), 100, 5),
}


@pytest.mark.parametrize("kind", KINDS)
def test_random_keys_are_found_where_a_dictionary_finds_them(kind):
    alphabet, count, longest = KINDS[kind]
    rng = np.random.default_rng(0)
    values = random_keys(rng, np.array(alphabet), count, longest)
    rows = rows_of_keys(rng, values, np.array(alphabet), 60)
    held = np.array(found_in_dictionary(values, padded(rows)))
    assert 0.05 < np.mean(held.max(axis=0) >= 0) < 1  # else the rows would show little
    # Symbols that the rows may hold though no key does.
    largest = max(map(max, values))
    assert_equals_dictionary(values, [*rows, *rng.integers(0, largest + 1, (20, 30)).tolist()])


symbols_drawn = st.one_of(st.integers(1, 3), st.integers(1, 300))
keys_drawn = st.lists(symbols_drawn, min_size=1, max_size=6).map(tuple)


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(keys_drawn, st.integers(0, 2**31 - 1), min_size=1, max_size=20),
    st.lists(st.lists(st.one_of(st.integers(0, 3), st.integers(0, 300)), max_size=12), max_size=4),
)
def test_any_keys_are_found_in_any_rows(values, rows):
    largest = max(map(max, values))
    rows = [[symbol % (largest + 1) for symbol in row] for row in rows]
    assert_equals_dictionary(values, [*rows, *([*key, *key] for key in values)])


def test_keys_may_be_beginnings_and_ends_of_one_another():
    values = {(1,) * length: 100 - length for length in range(1, 41)}
    assert_equals_dictionary(values, [[1] * 50, [1] * 20 + [0] + [1] * 29, [0] * 50])
    assert_equals_dictionary({(1, 2, 3): 0, (2, 3): 1, (3,): 2}, [[1, 2, 3, 1, 2, 1, 3, 3], [3, 2, 1, 2, 3]])


def test_the_beginning_of_a_key_is_no_key():
    values = {(1, 2, 3, 4): 5}
    trie = Trie(values)
    assert trie.longest == 4
    assert_equals_dictionary(values, [[1, 2, 3, 4, 1, 2, 3], [1, 2, 3, 1, 2, 3, 4], [2, 3, 4]])


@pytest.mark.parametrize("key", [(1,), (1, 1), (40_000,), (5, 1, 5)])
def test_one_key(key):
    assert_equals_dictionary({key: 0}, [key, [*key, *key], [0, *key], key[:-1], [1], []])
    assert_equals_dictionary({key: 2**31 - 1}, [key])


def test_of_no_keys_none_is_found():
    trie = Trie({})
    assert trie.longest == 0
    assert trie.prefixes(tf.zeros([2, 3], tf.int32)) == []


def test_no_key_stands_across_padding():
    values = {(1, 1): 0, (1,): 1, (1, 2, 1): 2}
    assert_equals_dictionary(values, [[1, 0, 1, 0, 0, 1, 1], [1, 2], [0, 0, 1, 2, 1], [1]])


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (3, 0)])
def test_of_no_symbols_there_are_no_prefixes(shape):
    found = Trie({(1,): 0, (2, 1, 2): 1}).prefixes(tf.zeros(shape, tf.int32))
    assert [numbers.shape for numbers in found] == [shape] * 3


def test_a_row_does_not_depend_on_the_others():
    rng = np.random.default_rng(1)
    alphabet = np.arange(1, 6)
    values = random_keys(rng, alphabet, 40, 5)
    trie = Trie(values)
    rows = [row for row in rows_of_keys(rng, values, alphabet, 12) if row]
    together = [numbers.numpy() for numbers in trie.prefixes(tf.constant(padded(rows)))]
    for place, row in enumerate(rows):
        for alone, numbers in zip(trie.prefixes(tf.constant([row], tf.int32)), together, strict=True):
            np.testing.assert_array_equal(alone.numpy()[0], numbers[place, : len(row)])
            assert (numbers[place, len(row) :] == -1).all()


def test_the_order_of_the_keys_does_not_matter():
    rng = np.random.default_rng(2)
    values = random_keys(rng, np.arange(1, 10), 60, 5)
    rows = tf.constant(rng.integers(0, 10, (10, 40)), tf.int32)
    first, *others = (
        [numbers.numpy().tolist() for numbers in Trie(dict(ordered)).prefixes(rows)]
        for ordered in (values.items(), reversed(values.items()), sorted(values.items()))
    )
    assert others == [first, first]


def test_the_graph_takes_rows_of_any_number_and_length():
    rng = np.random.default_rng(3)
    values = random_keys(rng, np.arange(1, 10), 60, 5)
    trie = Trie(values)
    graph = tf.function(trie.prefixes, input_signature=[tf.TensorSpec([None, None], tf.int32)], autograph=False)
    for shape in [(4, 9), (1, 1), (0, 3), (2, 0)]:
        rows = rng.integers(0, 10, shape)
        found = [numbers.numpy().tolist() for numbers in graph(tf.constant(rows, tf.int32))]
        assert found == found_in_dictionary(values, rows.tolist())
    assert graph.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_arrays_are_compact(kind):
    alphabet, count, longest = KINDS[kind]
    values = random_keys(np.random.default_rng(0), np.array(alphabet), count, longest)
    nodes = {key[:length] for key in values for length in range(len(key) + 1)}
    trie = Trie(values)
    assert trie.base.shape == trie.parent.shape == trie.value.shape
    assert trie.base.dtype == trie.parent.dtype == trie.value.dtype == np.int32
    assert len(nodes) < len(trie.base) < 3 * len(nodes) + max(alphabet)
