"""The sentiment classifier: what the two directions saw, pooled over the text, and one linear unit."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import keras
from keras import ops

from nlp_lstm.lstm import Gates
from nlp_lstm.models.encoder import BidirectionalEncoder
from nlp_lstm.models.ngrams import NgramClassifier
from nlp_lstm.models.pooled_shares import shares_of_maximum


class Explanation(NamedTuple):
    """What each token did to the logit: `bias` and the `polarity` of a text's tokens add up to it."""

    logits: Any  # (batch,)
    bias: Any  # (batch,), the logit of a text without words
    polarity: Any  # (batch, time), 0 in padding
    gates: tuple[Gates, Gates]  # of both directions, (batch, time, units) in the order of the text


class UnitShares(NamedTuple):
    """What each unit did to the logit: `shares`, `ngrams` and `bias` of a text add up to it."""

    shares: Any  # (batch, 2 * units), those that read forwards first
    ngrams: Any  # (batch,), what n-grams add
    bias: Any  # (batch,), the logit of a text without words
    states: Any  # (batch, time, 2 * units), in the order of the text


@keras.saving.register_keras_serializable("nlp_lstm")
class SentimentClassifier(keras.Model):
    r"""P(positive) of texts given as token ids.

    >>> classifier = SentimentClassifier(BidirectionalEncoder(1000, 16, 8))
    >>> classifier(np.array([[5, 7, 9, 0]])).shape
    TensorShape([1])

    With :math:`s_t = [\overrightarrow{h}_t\; \overleftarrow{h}_t]` and the :math:`n` tokens of a text,

    .. math:: \text{logit} = w_\text{max} \cdot \max_t s_t + w_\text{mean} \cdot \tfrac{1}{n} \sum_t s_t + b .

    Nothing stands between the pooling (Howard and Ruder 2018) and the logit, so it can be shared out among the tokens
    to the last digit (`explain`).

    Args:
        encoder: the embedding and the two LSTMs.
        dropout: rate at which pooled features are dropped in training.
        seed: seed of that dropout and of the initial weights.
        standardized: whether pooled features are standardised, by the mean and the scale that are set with
            `standardize`: for training, since the maximum over a text of a pre-trained state is nearly the same for
            every text. `folded_head` is the linear unit without it.
    """

    def __init__(
        self,
        encoder: BidirectionalEncoder,
        dropout: float = 0.0,
        seed: int | None = None,
        standardized: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.encoder = encoder
        self.standardized = standardized
        self.pooled_dropout = keras.layers.Dropout(dropout, seed=seed)
        self.head = keras.layers.Dense(1, kernel_initializer=keras.initializers.GlorotUniform(seed), name="head")

    def build(self, input_shape: Sequence[int | None]) -> None:
        self.encoder.build(input_shape)
        width = 4 * self.encoder.settings["units"]
        self.pooled_dropout.build((None, width))
        self.head.build((None, width))
        if self.standardized:
            self.feature_mean = self.add_weight(
                shape=(width,), initializer="zeros", trainable=False, name="feature_mean"
            )
            self.feature_scale = self.add_weight(
                shape=(width,), initializer="ones", trainable=False, name="feature_scale"
            )
        self.built = True

    def standardize(self, mean: Any, scale: Any) -> None:
        """Set what is taken off each pooled feature `(4 * units,)`, and what it is then divided by."""
        self.feature_mean.assign(mean)
        self.feature_scale.assign(scale)

    def folded_head(self) -> tuple[Any, Any]:
        """The kernel `(4 * units,)` and the bias over pooled features as they are."""
        kernel, bias = ops.convert_to_tensor(self.head.kernel)[:, 0], ops.convert_to_tensor(self.head.bias)[0]
        if not self.standardized:
            return kernel, bias
        kernel = kernel / self.feature_scale
        return kernel, bias - ops.sum(kernel * self.feature_mean)

    def call(self, ids: Any, training: bool = False, noise: Any = None) -> Any:
        """Logits `(batch,)` of token ids `(batch, time)`, 0 being padding.

        Args:
            ids: the token ids.
            training: whether dropout applies.
            noise: what to add to the embedded tokens in training, `(batch, time, embedding_size)`.
        """
        return self._logits(self.pooled(ids, training, noise), training)

    def pooled(self, ids: Any, training: bool = False, noise: Any = None) -> Any:
        """The pooled features `(batch, 4 * units)` of token ids `(batch, time)`: maxima, then means."""
        forward, backward, is_token = self.encoder.readings(ids, training=training, noise=noise)
        return self._pool([forward, backward], is_token)

    def _logits(self, pooled: Any, training: bool = False) -> Any:
        if self.standardized:
            pooled = (pooled - self.feature_mean) / self.feature_scale
        return ops.cast(self.head(self.pooled_dropout(pooled, training=training))[:, 0], "float32")

    @staticmethod
    def _pool(directions: Sequence[Any], is_token: Any) -> Any:
        """From states `(batch, time, units)` of each direction, and which of them belong to a token."""
        weights = ops.cast(is_token, directions[0].dtype)[:, None]  # (B, 1, T)
        length = ops.maximum(ops.sum(weights, axis=-1), 1.0)  # (B, 1)
        # A hidden state lies above -1, so what 2 were taken off cannot win; a text of padding alone pools to -1.
        below = 2.0 * (ops.swapaxes(weights, 1, 2) - 1.0)  # (B, T, 1)
        maxima = [ops.maximum(ops.max(states + below, axis=1), -1.0) for states in directions]
        # A product with the mask sums without an array of what is summed.
        means = [ops.matmul(weights, states)[:, 0] / length for states in directions]
        return ops.cast(ops.concatenate([*maxima, *means], axis=-1), "float32")  # (B, 4U)

    def explain(self, ids: Any) -> Explanation:
        r"""What each token did to the logit, and what the gates did at each token.

        >>> classifier = SentimentClassifier(BidirectionalEncoder(1000, 16, 8))
        >>> classifier.build((None, None))
        >>> found = classifier.explain(np.array([[2, 7, 9, 2, 0]]))
        >>> np.allclose(ops.sum(found.polarity, axis=1) + found.bias, found.logits, atol=1e-6)
        True
        >>> found.gates[0].forget.shape
        TensorShape([1, 5, 8])

        The bias is the logit of the text's first and last token alone, its boundaries, in which :math:`m_0` is the
        maximum and :math:`\bar{s}_0` the mean of the states; it is the same for every text. What a token does beyond
        that is its share:

        .. math:: p_t = \tfrac{1}{n} w_\text{mean} \cdot (s_t - \bar{s}_0)
            + w_\text{max} \cdot \mathrm{share}_t(\max_\tau s_\tau - m_0)

        with the shares of the maximum by `shares_of_maximum`: all that come near it have a part of it.

        Args:
            ids: token ids `(batch, time)`, 0 being padding.
        """
        gates = self.encoder.gates(ids)
        directions = [direction.hidden for direction in gates]
        is_token = ops.not_equal(ids, 0)  # (B, T)
        start = self._pooled_without_words(ids, is_token)
        kernel, bias = self.folded_head()
        w_max, w_mean = ops.split(kernel, 2)
        start_of_max, start_of_mean = ops.split(start, 2, axis=-1)
        states = ops.cast(ops.concatenate(directions, axis=-1), "float32")  # (B, T, 2U)
        weights = ops.cast(is_token, states.dtype)
        length = ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1.0)
        polarity = ops.matmul(states - start_of_mean[:, None], w_mean) * weights / length
        polarity += ops.matmul(shares_of_maximum(states, start_of_max, is_token), w_max)
        logits = self._logits(self._pool(directions, is_token))
        return Explanation(logits, bias + ops.matmul(start, kernel), polarity, gates)

    def explain_units(self, ids: Any) -> UnitShares:
        r"""What each unit did to the logit.

        >>> classifier = SentimentClassifier(BidirectionalEncoder(1000, 16, 8))
        >>> classifier.build((None, None))
        >>> ids = np.array([[2, 7, 9, 2, 0]])
        >>> found = classifier.explain_units(ids)
        >>> np.allclose(ops.sum(found.shares, axis=1) + found.ngrams + found.bias, classifier(ids), atol=1e-6)
        True
        >>> found.shares.shape, found.states.shape
        (TensorShape([1, 16]), TensorShape([1, 5, 16]))

        From where a text without words is, as in `explain`:

        .. math:: p_u = w_{\text{max},u} (\max_t s_{t,u} - m_{0,u})
            + w_{\text{mean},u} (\tfrac{1}{n} \sum_t s_{t,u} - \bar{s}_{0,u}) .

        Args:
            ids: token ids `(batch, time)`, 0 being padding.
        """
        directions = self.encoder(ids)
        is_token = ops.not_equal(ids, 0)
        start = self._pooled_without_words(ids, is_token)
        kernel, bias = self.folded_head()
        from_maxima, from_means = ops.split((self._pool(directions, is_token) - start) * kernel, 2, axis=-1)
        shares = from_maxima + from_means
        bias = bias + ops.matmul(start, kernel)
        return UnitShares(shares, ops.zeros_like(shares[:, 0]), bias, ops.concatenate(directions, axis=-1))

    def _pooled_without_words(self, ids: Any, is_token: Any) -> Any:
        """The pooled features `(batch, 4 * units)` of each text's first and last token, its boundaries, alone."""
        places = ops.arange(ops.shape(ids)[1], dtype="int32")
        first = ops.cast(ops.argmax(ops.cast(is_token, "int32"), axis=1), "int32")
        last = ops.max(ops.where(is_token, places, 0), axis=1)
        return self.pooled(ops.take_along_axis(ids, ops.stack([first, last], axis=1), axis=1))

    def get_config(self) -> dict[str, Any]:
        return {
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "dropout": self.pooled_dropout.rate,
            "seed": self.pooled_dropout.seed,
            "standardized": self.standardized,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "encoder": keras.saving.deserialize_keras_object(config["encoder"])})


@keras.saving.register_keras_serializable("nlp_lstm")
class BlendedClassifier(keras.Model):
    r"""An LSTM classifier and an n-gram model, each weighted (Mesnil, Mikolov, Ranzato and Bengio 2015).

    >>> from nlp_lstm.models.ngrams import NgramClassifier
    >>> lstm = SentimentClassifier(BidirectionalEncoder(1000, 16, 8))
    >>> blended = BlendedClassifier(lstm, NgramClassifier(1000, order=2, buckets=4096))
    >>> blended(np.array([[5, 7, 9, 0]])).shape
    TensorShape([1])

    .. math:: \text{logit} = a \cdot \text{logit}_\text{LSTM} + b \cdot \text{logit}_\text{n-grams} + c

    Args:
        lstm: a built `SentimentClassifier`.
        ngrams: the n-gram model.
    """

    def __init__(self, lstm: SentimentClassifier, ngrams: NgramClassifier, **kwargs: Any):
        super().__init__(**kwargs)
        self.lstm = lstm
        self.ngrams = ngrams
        self.mixture = self.add_weight(shape=(3,), initializer="ones", name="mixture")  # a, b, c

    def build(self, input_shape: Sequence[int | None]) -> None:
        for part in (self.lstm, self.ngrams):
            if not part.built:
                part.build(input_shape)
        self.built = True

    def call(self, ids: Any, training: bool = False) -> Any:
        """Logits `(batch,)` of token ids `(batch, time)`, 0 being padding."""
        a, b, c = ops.unstack(ops.convert_to_tensor(self.mixture), 3)
        return a * self.lstm(ids, training=training) + b * self.ngrams(ids) + c

    def explain(self, ids: Any) -> Explanation:
        """As `SentimentClassifier.explain`, a token's share being its shares in both models."""
        a, b, c = ops.unstack(ops.convert_to_tensor(self.mixture), 3)
        found = self.lstm.explain(ids)
        shares = self.ngrams.shares(ids)
        ngram_logits = ops.sum(shares, axis=-1) + self.ngrams.bias
        return Explanation(
            a * found.logits + b * ngram_logits + c,
            a * found.bias + b * self.ngrams.bias + c,
            a * found.polarity + b * shares,
            found.gates,
        )

    def explain_units(self, ids: Any) -> UnitShares:
        """As `SentimentClassifier.explain_units`, with the share of all n-grams together."""
        a, b, c = ops.unstack(ops.convert_to_tensor(self.mixture), 3)
        found = self.lstm.explain_units(ids)
        ngrams = b * ops.sum(self.ngrams.shares(ids), axis=-1)
        return UnitShares(a * found.shares, ngrams, a * found.bias + b * self.ngrams.bias + c, found.states)

    def get_config(self) -> dict[str, Any]:
        return {
            "lstm": keras.saving.serialize_keras_object(self.lstm),
            "ngrams": keras.saving.serialize_keras_object(self.ngrams),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(*(keras.saving.deserialize_keras_object(config[name]) for name in ("lstm", "ngrams")))
