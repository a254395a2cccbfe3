"""Batches of sentence pairs of like lengths, for a translator."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from nlp_lstm.datasets.pairs import Pairs
from nlp_lstm.inference import by_length
from nlp_lstm.text.subwords import BEGINNING, END, PADDING, Subwords
from nlp_lstm.training import epoch_dataset
from nlp_lstm.translation.build import Vocabularies
from nlp_lstm.translation.settings import SourceCase
from nlp_lstm.translation.source_text import SourceReader

# Few source lengths, since XLA compiles the encoder once for each.
BUCKETS = (8, 12, 16, 20, 24, 32, 40, 56, 80, 128, 192, 256)


class IdPair(NamedTuple):
    """Ids of a sentence and of its translation, no boundary in them; and the id that is to end the sentence."""

    source: Sequence[int]
    target: Sequence[int]
    end: int = END


class PairBatches:
    """The batches of an epoch: `((source (batch, S), target (batch, T)), zeros (batch,))`.

    >>> pairs = [IdPair([5, 6, 7], [8]), IdPair([9], [4, 8]), IdPair([6], [4])]
    >>> batches = PairBatches(pairs, tokens_per_batch=16, longest=128, seed=None)
    >>> (source, target), _ = next(iter(batches.dataset()))
    >>> source.shape
    TensorShape([2, 8])

    A batch holds sentences of one bucket of source lengths, and of like target lengths. Its number of rows goes by the
    bucket alone: what is too few for a batch goes to the next longer bucket, and the very last batch is filled up with
    rows of no target, which cost nothing.

    Args:
        pairs: the ids of each.
        tokens_per_batch: a batch has as many rows as sources of the bucket's length fit.
        longest: pairs with more ids on either side, ends counted in, are left out.
        seed: integers that settle the order, such as `(seed, epoch)`; None for the order of length.

    Raises:
        ValueError: if no pair is left.
    """

    def __init__(self, pairs: Sequence[IdPair], tokens_per_batch: int, longest: int, seed: Sequence[int] | None):
        rng = None if seed is None else np.random.default_rng(list(seed))
        self.pairs = pairs
        lengths = np.array([(len(pair.source) + 1, len(pair.target) + 1) for pair in pairs]).reshape(-1, 2)
        kept = np.flatnonzero(lengths.max(axis=1) <= longest)
        if not len(kept):
            raise ValueError(f"no pair has at most {longest} ids on either side")
        self.left_out = len(pairs) - len(kept)
        bounds = [bound for bound in BUCKETS if bound < longest] + [longest]
        bucket = np.searchsorted(bounds, lengths[:, 0])
        # Targets of like length, but not the same ones together in each epoch.
        rank = lengths[:, 1] + (0 if rng is None else rng.uniform(0, 3, len(pairs)))
        self.batches: list[tuple[int, int, list[int]]] = []  # source length, rows, places of the pairs
        waiting: list[int] = []
        for number, bound in enumerate(bounds):
            rows = max(1, tokens_per_batch // bound)
            waiting += kept[bucket[kept] == number].tolist()
            waiting.sort(key=lambda place: rank[place])
            full = len(waiting) // rows * rows
            # The shortest and the longest wait in turn, so that batches begin elsewhere each time.
            start = 0 if rng is None else int(rng.integers(len(waiting) - full + 1))
            for first in range(start, start + full, rows):
                self.batches.append((bound, rows, waiting[first : first + rows]))
            waiting = waiting[:start] + waiting[start + full :]
        if waiting:
            longest_waiting = max(lengths[place, 0] for place in waiting)
            bound = bounds[int(np.searchsorted(bounds, longest_waiting))]
            rows = max(1, tokens_per_batch // bound)
            waiting.sort(key=lambda place: rank[place])
            for first in range(0, len(waiting), rows):
                self.batches.append((bound, rows, waiting[first : first + rows]))
        if rng is not None:
            self.batches = [self.batches[place] for place in rng.permutation(len(self.batches))]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[tuple[np.ndarray, np.ndarray], np.ndarray]]:
        for source_length, rows, places in self.batches:
            target_length = 2 + max(len(self.pairs[place].target) for place in places)
            source = np.full((rows, source_length), PADDING, np.int32)
            target = np.full((rows, target_length), PADDING, np.int32)
            source[:, 0] = END  # a row of no sentence, too, has one token to look at
            for row, place in enumerate(places):
                pair = self.pairs[place]
                source[row, : len(pair.source) + 1] = [*pair.source, pair.end]
                target[row, : len(pair.target) + 2] = [BEGINNING, *pair.target, END]
            yield (source, target), np.zeros(rows, np.float32)

    def dataset(self) -> tf.data.Dataset:
        """The batches as a dataset of known cardinality."""
        signature = (
            (tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None, None], tf.int32)),
            tf.TensorSpec([None], tf.float32),
        )
        dataset = tf.data.Dataset.from_generator(self.__iter__, output_signature=signature)
        return epoch_dataset(dataset, len(self.batches))


def id_pairs(vocabularies: Vocabularies, pairs: Pairs, source_case: SourceCase) -> list[IdPair]:
    """The ids of pairs, each side in its likeliest segmentation."""
    sides = (SourceReader(vocabularies.source, source_case), vocabularies.target)
    graphs = [tf.function(lambda texts, side=side: side.encode(texts), [_TEXTS], autograph=False) for side in sides]
    return _in_batches(graphs, pairs)


def drawn_id_pairs(
    vocabularies: Vocabularies, alpha: float, source_case: SourceCase
) -> Callable[[Pairs, Sequence[int]], list[IdPair]]:
    """What gives the ids of pairs, each side in a segmentation that is drawn, by a seed of integers."""

    def graph(side: SourceReader | Subwords) -> Callable[[Any, Any], Any]:
        seed = tf.TensorSpec([2], tf.int32)
        return tf.function(
            lambda texts, seed: side.sampled(texts, alpha, seed), input_signature=[_TEXTS, seed], autograph=False
        )

    graphs = [graph(side) for side in (SourceReader(vocabularies.source, source_case), vocabularies.target)]

    def draw(pairs: Pairs, seed: Sequence[int]) -> list[IdPair]:
        seeds = [np.random.default_rng([*seed, side]) for side in range(len(graphs))]
        each = [
            lambda texts, graph=graph, rng=rng: graph(texts, rng.integers(2**31, size=2, dtype=np.int32))
            for graph, rng in zip(graphs, seeds, strict=True)
        ]
        return _in_batches(each, pairs)

    return draw


def without_full_stops(pairs: Pairs, share: float, seed: Sequence[int]) -> Pairs:
    """Pairs of which a share, drawn by a seed of integers, has lost the full stop at the end of the source.

    >>> without_full_stops(Pairs(["A dog runs.", "Why?"], ["Ein Hund rennt.", "Warum?"]), 1.0, (0, 1))
    Pairs(source=['A dog runs', 'Why?'], target=['Ein Hund rennt.', 'Warum?'])

    Where all training sources end with one, a text without would be unlike any of them.
    """
    chosen = np.random.default_rng([*seed, 0x2E]).random(len(pairs.source)) < share
    sources = [
        text.rstrip()[:-1] if is_chosen and _ENDS_WITH_FULL_STOP.search(text) else text
        for text, is_chosen in zip(pairs.source, chosen, strict=True)
    ]
    return Pairs(sources, pairs.target)


# One, and not the last of three, nor all there is.
_ENDS_WITH_FULL_STOP = re.compile(r"[^.\s]\s*\.\s*$")

_TEXTS = tf.TensorSpec([None], tf.string)


def _in_batches(graphs: Sequence[Callable[[Any], Any]], pairs: Pairs) -> list[IdPair]:
    sides = []
    for graph, texts in zip(graphs, pairs, strict=True):
        # Those of like length together: a graph takes as many steps as the longest has characters.
        order = by_length(texts)
        ids: list[Sequence[int]] = [()] * len(texts)
        for start in range(0, len(texts), 512):
            places = order[start : start + 512]
            found = graph(tf.constant([texts[place] for place in places], tf.string))
            for place, row in zip(places, found.to_list(), strict=True):
                ids[place] = row
        sides.append(ids)
    return [IdPair(*ids) for ids in zip(*sides, strict=True)]
