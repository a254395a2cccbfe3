"""The logits of many texts, batch by batch."""

from collections.abc import Sequence
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
    # As a graph, which runs both directions at once.
    asked = tf.function(
        lambda ids: classifier(ids), input_signature=[tf.TensorSpec([None, None], tf.int32)], autograph=False
    )
    logits = np.zeros(len(ids))
    for places, batch in batches.sorted_batches(ids, _TOKENS_PER_BATCH):
        logits[places] = keras.ops.convert_to_numpy(asked(batch)).reshape(-1)
    return logits
