"""A dictionary of symbol sequences that a graph walks with two gathers a step: a double array."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from nlp_lstm.text.integer_table import integer_table

_ROOT, _DEAD = 0, 1
_NO_VALUE = -1


class Trie:
    """Keys that are sequences of small positive integers, each with a number, to be looked up in graph.

    >>> trie = Trie({(1,): 7, (1, 2): 8})
    >>> [values.numpy().tolist() for values in trie.prefixes(tf.constant([[1, 2, 1]]))]
    [[[7, -1, 7]], [[8, -1, -1]]]

    A node is a place in two arrays: from node `n`, symbol `s` leads to `base[n] + s`, if that place was taken for a
    child of `n` (Aoe 1989, "An Efficient Digital Search Algorithm by Using a Double-Array Structure").

    Args:
        values: the keys, none empty, of symbols from 1 on, and their numbers, 0 or more.
    """

    def __init__(self, values: Mapping[Sequence[int], int]):
        self.longest = max((len(key) for key in values), default=0)
        children: list[dict[int, int]] = [{}]  # of each node of a plain tree: symbol to node
        numbers = [_NO_VALUE]
        for key, value in values.items():
            node = 0
            for symbol in key:
                if symbol not in children[node]:
                    children[node][symbol] = len(children)
                    children.append({})
                    numbers.append(_NO_VALUE)
                node = children[node][symbol]
            numbers[node] = value
        largest = max((max(key) for key in values), default=0)
        self._lay_out(children, numbers, largest)

    def _lay_out(self, children: Sequence[Mapping[int, int]], numbers: Sequence[int], largest: int) -> None:
        free = np.ones(len(children) + largest + 2, bool)
        free[[_ROOT, _DEAD]] = False
        bases, places = np.zeros(len(children), np.int32), np.zeros(len(children), np.int32)
        first_free, tried, most = 2, 0, 0
        # Nodes with many children first: those with one fill any gap.
        for node in sorted(range(len(children)), key=lambda node: -len(children[node])):
            if not children[node]:
                break
            symbols = np.fromiter(children[node], np.int64)
            while not free[first_free]:
                first_free += 1
            if len(symbols) != most:  # what was full for as many children before stays so
                most, tried = len(symbols), 0
            start = max(tried, first_free - int(symbols.min()))
            while True:
                if start + largest >= len(free):
                    free = np.concatenate([free, np.ones(len(free), bool)])
                if free[start + symbols].all():
                    break
                start += 1
            bases[node] = tried = start
            free[start + symbols] = False
            for symbol, child in children[node].items():
                places[child] = start + symbol
        # Room for a step from any place with the largest symbol.
        size = max(int(places.max()), int(bases.max()) + largest) + 2
        self.base, self.parent, self.value = (np.full(size, fill, np.int32) for fill in (0, -1, _NO_VALUE))
        self.base[places], self.value[places] = bases, numbers
        for node, following in enumerate(children):
            self.parent[places[list(following.values())]] = places[node]

    def prefixes(self, symbols: Any) -> list[Any]:
        """The number of every key that stands in a text, by where it begins and how long it is.

        Args:
            symbols: int32 `(batch, time)` of symbols that keys hold, or 0, which no key does.

        Returns:
            For each length from 1 to `longest` an int32 `(batch, time)`: the number of the key of that length that
            begins at this place, or -1.
        """
        base, parent, value = (integer_table(array) for array in (self.base, self.parent, self.value))
        time = tf.shape(symbols)[1]
        padded = tf.pad(symbols, [[0, 0], [0, self.longest]])
        node = tf.fill(tf.shape(symbols), _ROOT)
        found = []
        for offset in range(self.longest):
            symbol = padded[:, offset : offset + time]
            following = tf.gather(base, node) + symbol
            is_child = (tf.gather(parent, following) == node) & (symbol > 0)
            node = tf.where(is_child, following, _DEAD)
            found.append(tf.gather(value, node))
        return found
