"""A weight for every word and every run of neighbouring words: the linear model that an LSTM must better."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from nlp_lstm.models.limits import LARGEST_BUCKETS, LARGEST_VOCABULARY


def ngram_indices(ids: Any, order: int, vocabulary_size: int, buckets: int) -> Any:
    """Table indices of the n-grams that end at each token, `(batch, time, order)`.

    >>> indices = ngram_indices(np.array([[5, 7, 0]]), order=2, vocabulary_size=10, buckets=100)
    >>> ops.convert_to_numpy(indices)[0].tolist()
    [[5, -1], [7, 62], [-1, -1]]

    A single token is its own index; longer runs are hashed into the `buckets` behind the vocabulary (feature hashing:
    Weinberger et al. 2009). Where a text has not begun, or has ended (id 0), the index is -1.

    Args:
        ids: int `(batch, time)`, below `LARGEST_VOCABULARY`.
        order: longest run.
        vocabulary_size: number of token ids.
        buckets: number of places for longer runs, at most `LARGEST_BUCKETS`; 1 at least if `order` is above 1.
    """
    ids = ops.cast(ids, "int32")
    inside = ops.not_equal(ids, 0)
    digest = ids
    indices = [ops.where(inside, ids, -1)]
    for length in range(2, order + 1):
        before = ops.pad(digest[:, :-1], [[0, 0], [1, 0]])  # the run one shorter that ends one token before
        # Every product stays below 2 ** 31: 65,536 * 32,749 for pairs, 1,000,003 * 2,039 for longer runs.
        digest = ops.mod(before * (32_749 if length == 2 else 2_039) + ids, LARGEST_BUCKETS)
        whole = ops.logical_and(inside, ops.arange(ops.shape(ids)[1])[None, :] >= length - 1)
        indices.append(ops.where(whole, vocabulary_size + ops.mod(digest, buckets), -1))
    return ops.stack(indices, axis=-1)


def first_occurrences(indices: Any) -> Any:
    """Where along the last axis a value stands for the first time: boolean, of the shape `(batch, n)` given."""
    order = ops.argsort(indices, axis=-1)
    ranked = ops.take_along_axis(indices, order, axis=-1)
    new = ops.not_equal(ranked[:, 1:], ranked[:, :-1])
    new = ops.concatenate([ops.ones_like(ranked[:, :1], dtype="bool"), new], axis=-1)
    return ops.take_along_axis(new, ops.argsort(order, axis=-1), axis=-1)


@keras.saving.register_keras_serializable("nlp_lstm")
class NgramClassifier(keras.layers.Layer):
    r"""A linear classifier over which n-grams a text has, after Wang and Manning 2012 (NBSVM).

    >>> ngrams = NgramClassifier(vocabulary_size=1000, order=2, buckets=4096)
    >>> ngrams(np.array([[5, 7, 9, 0]])).shape
    TensorShape([1])

    .. math:: \text{logit} = \sum_{g \in \text{text}} \theta_g + b

    over the different n-grams `g` of the text. The weights come from outside, as
    :math:`\theta_g = r_g w_g` of a regularised logistic regression over the naive-Bayes log-count ratios `r`.

    Args:
        vocabulary_size: number of token ids, at most `LARGEST_VOCABULARY`.
        order: longest n-gram.
        buckets: number of weights for n-grams of two and more tokens, at most `LARGEST_BUCKETS`.
        table_dtype: dtype the weights are stored in.

    Raises:
        ValueError: if there are too many token ids or buckets.
    """

    def __init__(self, vocabulary_size: int, order: int, buckets: int, table_dtype: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if vocabulary_size > LARGEST_VOCABULARY:
            raise ValueError(f"vocabulary_size must be at most {LARGEST_VOCABULARY}, got {vocabulary_size}")
        if buckets > LARGEST_BUCKETS:
            raise ValueError(f"buckets must be at most {LARGEST_BUCKETS}, got {buckets}: the hash has no more values")
        self.vocabulary_size = vocabulary_size
        self.order = order
        self.buckets = buckets
        self.table_dtype = table_dtype

    def build(self, input_shape: Sequence[int | None]) -> None:
        size = self.vocabulary_size + self.buckets
        self.table = self.add_weight(shape=(size,), initializer="zeros", dtype=self.table_dtype, name="table")
        self.bias = self.add_weight(shape=(), initializer="zeros", name="bias")

    def indices(self, ids: Any) -> Any:
        """`ngram_indices` with this model's sizes."""
        return ngram_indices(ids, self.order, self.vocabulary_size, self.buckets)

    def shares(self, ids: Any) -> Any:
        """What the n-grams that end at each token add to the logit, `(batch, time)`; a repeated one counts once."""
        indices = self.indices(ids)
        batch, time, order = ops.shape(indices)
        flat = ops.reshape(indices, (batch, time * order))
        weights = ops.cast(ops.take(self.table, ops.maximum(flat, 0), axis=0), self.compute_dtype)
        counted = ops.logical_and(first_occurrences(flat), flat >= 0)
        weights = ops.where(counted, weights, ops.zeros_like(weights))
        return ops.sum(ops.reshape(weights, (batch, time, order)), axis=-1)

    def call(self, ids: Any) -> Any:
        """Logits `(batch,)` of token ids `(batch, time)`, 0 being padding."""
        return ops.sum(self.shares(ids), axis=-1) + self.bias

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "order": self.order,
            "buckets": self.buckets,
            "table_dtype": self.table_dtype,
        }
