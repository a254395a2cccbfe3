"""What a model, or a part of it, makes of many texts, batch by batch."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nlp_lstm.sentiment import batches

_TOKENS_PER_BATCH = 25_000


def logits_of(classifier: Any, ids: Sequence[np.ndarray]) -> np.ndarray:
    """What a classifier, of any kind, makes of texts.

    >>> from nlp_lstm.models.ngrams import NgramClassifier
    >>> ngrams = NgramClassifier(vocabulary_size=6, order=1, buckets=0)
    >>> ngrams.build((None, None))
    >>> _ = ngrams.table.assign([0, 0, 0, 2, -2, 0])
    >>> logits_of(ngrams, [np.array([3, 5]), np.array([4])]).tolist()
    [2.0, -2.0]

    Args:
        classifier: gives logits `(batch,)` or `(batch, 1)` of token ids `(batch, time)`.
        ids: the token ids of each text.

    Returns:
        `(texts,)`.
    """
    return outputs_of(classifier, ids).reshape(len(ids)).astype(float)


def outputs_of(part: Callable[[Any], Any], ids: Sequence[np.ndarray]) -> np.ndarray:
    """What a part of a model makes of texts.

    >>> outputs_of(lambda ids: keras.ops.sum(ids, axis=1, keepdims=True), [np.array([3, 5]), np.array([4])]).tolist()
    [[8], [4]]

    Args:
        part: gives `(batch, ...)` of token ids `(batch, time)`, of which 0 is padding.
        ids: the token ids of each text.

    Returns:
        `(texts, ...)`.
    """
    # As a graph, which runs both directions at once.
    asked = tf.function(lambda ids: part(ids), input_signature=[tf.TensorSpec([None, None], tf.int32)], autograph=False)
    batches_of_texts = list(batches.sorted_batches(ids, _TOKENS_PER_BATCH))
    found = [keras.ops.convert_to_numpy(asked(batch)) for _, batch in batches_of_texts]
    places = [place for places, _ in batches_of_texts for place in places]
    return np.concatenate(found)[np.argsort(places)] if found else np.zeros(0)
