"""Token ids of many texts, and the batches that training and evaluation take from them."""

import os
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from nlp_lstm.inference import by_length
from nlp_lstm.text.vocabulary import BOUNDARY, PADDING, Vocabulary, count_tokens
from nlp_lstm.text.words import tokenize
from nlp_lstm.training import epoch_dataset, untuned

# Few lengths, since XLA compiles the training loop once for each.
BUCKETS = (48, 96, 144, 192, 256, 320, 400)


def _token_batches(texts: Sequence[str]) -> tf.data.Dataset:
    graph = tf.function(tokenize, input_signature=[tf.TensorSpec([None], tf.string)])
    batches = tf.data.Dataset.from_tensor_slices(tf.constant(list(texts), tf.string)).batch(256)
    return untuned(batches.map(graph, os.cpu_count()))


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


def snippet(ids: np.ndarray, is_end: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray | None:
    """A few sentences from anywhere in a text, as a text of their own; None where a text has no two of them.

    >>> is_end = np.arange(10) == 9  # token 9 is a full stop
    >>> snippet(np.array([2, 5, 6, 9, 7, 8, 9, 2]), is_end, most=1, rng=np.random.default_rng(0))
    array([2, 7, 8, 9, 2], dtype=int32)

    Args:
        ids: of the text, its boundaries included.
        is_end: of each token id, whether it ends a sentence.
        most: the most sentences.
        rng: what draws the number of sentences and their place.
    """
    inner = ids[1:-1]
    # Behind the last of several marks, such as of an ellipsis.
    stops = np.flatnonzero(is_end[inner] & ~np.append(is_end[inner[1:]], False)) + 1
    bounds = np.unique([0, *stops, len(inner)])
    if len(bounds) < 3:
        return None
    number = int(rng.integers(1, min(most, len(bounds) - 2) + 1))
    first = int(rng.integers(0, len(bounds) - number))
    return np.concatenate([[BOUNDARY], inner[bounds[first] : bounds[first + number]], [BOUNDARY]]).astype(np.int32)


def bucketed_batches(
    ids: Sequence[np.ndarray], labels: Sequence[float | None], tokens_per_batch: int, longest: int, seed: Sequence[int]
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
    return epoch_dataset(dataset, number_of_batches)


def sorted_batches(ids: Sequence[np.ndarray], tokens_per_batch: int) -> Iterator[tuple[list[int], np.ndarray]]:
    """Padded batches of texts of like length, each with the texts' places: yields `(places, ids (batch, time))`."""
    order = by_length(ids)
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
