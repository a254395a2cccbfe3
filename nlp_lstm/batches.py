"""Token ids of many texts, and the batches that training and evaluation take from them."""

import itertools
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from nlp_lstm.text import tokenize
from nlp_lstm.vocabulary import BOUNDARY, PADDING, Vocabulary, count_tokens

# Few lengths, since XLA compiles the training loop once for each.
BUCKETS = (48, 96, 144, 192, 256, 320, 400)


def _token_batches(texts: Sequence[str]):
    graph = tf.function(tokenize, input_signature=[tf.TensorSpec([None], tf.string)])
    return (
        tf.data.Dataset.from_tensor_slices(tf.constant(list(texts), tf.string)).batch(256).map(graph, tf.data.AUTOTUNE)
    )


def build_vocabulary(texts: Sequence[str], size: int, least: int) -> Vocabulary:
    """The `size` most frequent tokens of `texts` that occur at least `least` times."""
    return Vocabulary.from_counts(count_tokens(_token_batches(texts)), size, least)


def token_ids(texts: Sequence[str], vocabulary: Vocabulary) -> list[np.ndarray]:
    """The int32 ids of each text, a boundary at either end: `(tokens + 2,)` each, so an empty text has two."""
    result: list[np.ndarray] = []
    for batch in _token_batches(texts):
        flat = vocabulary.lookup(batch.flat_values).numpy()
        for row in np.split(flat, batch.row_splits.numpy()[1:-1]):
            result.append(np.concatenate([[BOUNDARY], row, [BOUNDARY]]).astype(np.int32))
    return result


def crop(ids: np.ndarray, longest: int, rng: np.random.Generator) -> np.ndarray:
    """A stretch of at most `longest` ids from anywhere in a text."""
    start = rng.integers(0, max(0, len(ids) - longest) + 1)
    return ids[start : start + longest]


def bucketed_batches(
    ids: Sequence[np.ndarray], labels: Sequence[int | None], tokens_per_batch: int, longest: int, seed: Sequence[int]
) -> tf.data.Dataset:
    """One epoch of shuffled batches of texts of like length: `(ids (batch, time), labels (batch,))`.

    Args:
        ids: the ids of each text; longer ones are cut to a random stretch of `longest`.
        labels: 0 or 1 for each.
        tokens_per_batch: a batch holds as many texts as fit, at least one.
        longest: the most tokens of a text.
        seed: integers that settle the order and the cuts, such as `(seed, epoch)`.
    """
    rng = np.random.default_rng(list(seed))
    order = rng.permutation(len(ids))
    rows = [crop(ids[index], longest, rng) for index in order]
    ragged = tf.RaggedTensor.from_row_lengths(np.concatenate(rows), [len(row) for row in rows])
    bounds = [bound for bound in BUCKETS if bound < longest] + [longest]
    sizes = [max(1, tokens_per_batch // bound) for bound in bounds]
    in_bucket = np.bincount(np.searchsorted(bounds, [len(row) for row in rows]), minlength=len(bounds))
    number_of_batches = sum(-(-int(count) // size) for count, size in zip(in_bucket, sizes, strict=True))
    dataset = tf.data.Dataset.from_tensor_slices((ragged, tf.constant(np.asarray(labels)[order], tf.float32)))
    dataset = dataset.map(lambda row, label: (row + 0, label))  # a ragged tensor's row into a dense one
    dataset = dataset.bucket_by_sequence_length(
        lambda row, _: tf.shape(row)[0],
        bucket_boundaries=[bound + 1 for bound in bounds],
        bucket_batch_sizes=[*sizes, sizes[-1]],
        padded_shapes=([None], []),
        padding_values=(PADDING, 0.0),
        pad_to_bucket_boundary=True,
    )
    return dataset.apply(tf.data.experimental.assert_cardinality(number_of_batches)).prefetch(2)


def sorted_batches(ids: Sequence[np.ndarray], tokens_per_batch: int):
    """Padded batches of texts of like length, each with the texts' places: yields `(places, ids (batch, time))`."""
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * len(ids[order[stop]]) <= tokens_per_batch:
            stop += 1
        places = order[start:stop]
        batch = np.full((len(places), len(ids[places[-1]])), PADDING, np.int32)
        for row, place in enumerate(places):
            batch[row, : len(ids[place])] = ids[place]
        yield places, batch
        start = stop


def running_windows(ids: Sequence[np.ndarray], length: int, seed: Sequence[int]) -> np.ndarray:
    """Texts in random order as one run, cut into full windows `(windows, length)` in random order.

    The last ids, too few for a window, are left out; a run shorter than one window is repeated to fill it.
    """
    rng = np.random.default_rng(list(seed))
    run = np.concatenate([ids[index] for index in rng.permutation(len(ids))])
    if len(run) < length:
        run = np.resize(run, length)
    run = run[rng.integers(0, min(length, len(run) - length + 1)) :]
    windows = run[: len(run) // length * length].reshape(-1, length)
    return windows[rng.permutation(len(windows))]


class Streams:
    """Running text as parallel streams, cut into windows whose length varies from one to the next.

    >>> streams = Streams(ids, batch_size=32, window=128, seed=(0, 1))
    >>> len(streams), [batch.shape for batch, _ in streams.dataset().take(2)]
    (245, [TensorShape([32, 129]), TensorShape([32, 97])])

    A stream goes on in the next window where it stood, so a model may carry its state. Windows vary, and the text is
    turned by a random number of symbols, so that the gradient is not always cut at the same places (Merity, Keskar and
    Socher 2018, section 5, with three lengths alone: XLA compiles the training loop once for each).

    Args:
        ids: `(symbols,)`.
        batch_size: number of streams.
        window: the usual number of guesses in a window; three quarters and five quarters of it are the others.
        seed: integers that settle where the windows lie; None for a text that is not turned, in windows of one length,
            or one less for some.

    Raises:
        ValueError: if the text is too short for a single window of each stream.
    """

    def __init__(self, ids: np.ndarray, batch_size: int, window: int, seed: Sequence[int] | None):
        if (len(ids) - 1) // batch_size < (1 if seed is None else max(1, window * 5 // 4)):
            raise ValueError(f"{len(ids)} ids are too few for {batch_size} streams and windows of {window}")
        rng = None if seed is None else np.random.default_rng(list(seed))
        if rng is not None:
            ids = np.roll(ids, -int(rng.integers(len(ids))))
        guesses = (len(ids) - 1) // batch_size
        # Each stream ends with the symbol that the next begins with, so that none goes unguessed but the text's first
        # and, at its end, fewer than there are streams.
        self.ids = np.stack([ids[row * guesses : (row + 1) * guesses + 1] for row in range(batch_size)])
        if rng is None:
            bounds = np.linspace(0, guesses, -(-guesses // window) + 1).round().astype(int)
            self.windows = [(int(start), int(stop - start)) for start, stop in itertools.pairwise(bounds)]
            return
        lengths = sorted({max(1, window * quarters // 4) for quarters in (3, 4, 5)})
        self.windows = []  # start and number of guesses
        start = 0
        # A last, odd length would be compiled for itself.
        while start + (length := int(rng.choice(lengths))) <= guesses:
            self.windows.append((start, length))
            start += length

    def __len__(self):
        return len(self.windows)

    def dataset(self) -> tf.data.Dataset:
        """`(ids (batch_size, guesses + 1), zeros (batch_size,))`, in the order of the text."""
        nothing = np.zeros(len(self.ids), np.float32)

        def windows():
            for start, length in self.windows:
                yield self.ids[:, start : start + length + 1], nothing

        signature = (
            tf.TensorSpec([len(self.ids), None], tf.int32),
            tf.TensorSpec([len(self.ids)], tf.float32),
        )
        dataset = tf.data.Dataset.from_generator(windows, output_signature=signature)
        return dataset.apply(tf.data.experimental.assert_cardinality(len(self.windows))).prefetch(2)
