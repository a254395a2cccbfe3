"""The sentiment classifier: what the two directions saw, pooled over the text, and one linear unit."""

from collections.abc import Sequence
from typing import Any, Self

import keras
from keras import ops

from nlp_lstm.lstm import Gates
from nlp_lstm.models.encoder import BidirectionalEncoder
from nlp_lstm.models.ngrams import NgramClassifier


@keras.saving.register_keras_serializable("nlp_lstm")
class SentimentClassifier(keras.Model):
    r"""P(positive) of texts given as token ids.

    >>> classifier = SentimentClassifier(BidirectionalEncoder(1000, 16, 8))
    >>> classifier(np.array([[5, 7, 9, 0]])).shape
    TensorShape([1])

    With :math:`s_t = [\overrightarrow{h}_t\; \overleftarrow{h}_t]` and the :math:`n` tokens of a text,

    .. math:: \text{logit} = w_\text{max} \cdot \max_t s_t + w_\text{mean} \cdot \tfrac{1}{n} \sum_t s_t + b .

    Nothing stands between the pooling (Howard and Ruder 2018) and the logit, so each token's share of it can be told
    exactly (`explain`).

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

    @property
    def bias(self) -> Any:
        """The logit of a text whose tokens have no share in it."""
        return self.folded_head()[1]

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

    @staticmethod
    def _without_padding(states: Any, mask: Any) -> Any:
        # Hidden states lie above -1, so padding cannot win; a text of padding alone pools to -1 and stays finite.
        return ops.where(mask, states, -ops.ones_like(states))

    def explain(self, ids: Any) -> tuple[Any, Any, tuple[Gates, Gates]]:
        r"""What each token did to the logit, and what the gates did at each token.

        >>> classifier = SentimentClassifier(BidirectionalEncoder(1000, 16, 8))
        >>> classifier.build((None, None))
        >>> logits, polarity, (forward, backward) = classifier.explain(np.array([[5, 7, 9, 0]]))
        >>> np.allclose(ops.sum(polarity, axis=1) + classifier.bias, logits, atol=1e-6)
        True
        >>> forward.forget.shape
        TensorShape([1, 4, 8])

        .. math:: p_t = \tfrac{1}{n} w_\text{mean} \cdot s_t + \sum_u w_{\text{max},u}\, s_{t,u}\,
            [\,t = \operatorname{arg\,max}_\tau s_{\tau,u}\,]

        as class activation maps have it for convolutions (Zhou et al. 2016).

        Args:
            ids: token ids `(batch, time)`, 0 being padding.

        Returns:
            The logits `(batch,)`; each token's share of them `(batch, time)`, which with the head's bias add up to
            them; and the `Gates` of both directions, `(batch, time, units)` in the order of the text.
        """
        gates = self.encoder.gates(ids)
        states = ops.concatenate([direction.hidden for direction in gates], axis=-1)
        is_token = ops.not_equal(ids, 0)  # (B, T)
        mask = is_token[..., None]
        w_max, w_mean = ops.split(self.folded_head()[0], 2)
        weights = ops.cast(mask, states.dtype)
        length = ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1.0)
        highest = ops.argmax(self._without_padding(states, mask), axis=1)  # (B, 2U), the first token on a tie
        steps = ops.arange(ops.shape(ids)[1], dtype="int32")[None, :, None]
        is_highest = ops.cast(ops.equal(steps, ops.cast(highest, "int32")[:, None]), states.dtype)
        polarity = ops.sum(states * weights * (w_mean / length + w_max * is_highest), axis=-1)
        return self._logits(self._pool([direction.hidden for direction in gates], is_token)), polarity, gates

    def explain_units(self, ids: Any) -> tuple[Any, Any, Any]:
        r"""What each unit did to the logit.

        >>> classifier = SentimentClassifier(BidirectionalEncoder(1000, 16, 8))
        >>> classifier.build((None, None))
        >>> ids = np.array([[5, 7, 9, 0]])
        >>> shares, ngrams, states = classifier.explain_units(ids)
        >>> np.allclose(ops.sum(shares, axis=1) + ngrams + classifier.bias, classifier(ids), atol=1e-6)
        True
        >>> shares.shape, states.shape
        (TensorShape([1, 16]), TensorShape([1, 4, 16]))

        .. math:: p_u = w_{\text{max},u} \max_t s_{t,u} + w_{\text{mean},u} \tfrac{1}{n} \sum_t s_{t,u}

        Args:
            ids: token ids `(batch, time)`, 0 being padding.

        Returns:
            Each unit's share of the logit `(batch, 2 * units)`, those that read forwards first; what n-grams add to it,
            `(batch,)`, of which this model has none; and the units' states `(batch, time, 2 * units)` in the order of
            the text. Shares, n-grams and `bias` add up to the logit.
        """
        directions = self.encoder(ids)
        pooled = self._pool(directions, ops.not_equal(ids, 0))
        from_maxima, from_means = ops.split(pooled * self.folded_head()[0], 2, axis=-1)
        shares = from_maxima + from_means
        return shares, ops.zeros_like(shares[:, 0]), ops.concatenate(directions, axis=-1)

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

    @property
    def bias(self) -> Any:
        """The logit of a text whose tokens have no share in it."""
        a, b, c = ops.unstack(ops.convert_to_tensor(self.mixture), 3)
        return a * self.lstm.bias + b * self.ngrams.bias + c

    def call(self, ids: Any, training: bool = False) -> Any:
        """Logits `(batch,)` of token ids `(batch, time)`, 0 being padding."""
        a, b, c = ops.unstack(ops.convert_to_tensor(self.mixture), 3)
        return a * self.lstm(ids, training=training) + b * self.ngrams(ids) + c

    def explain(self, ids: Any) -> tuple[Any, Any, tuple[Gates, Gates]]:
        """As `SentimentClassifier.explain`, a token's share being its shares in both models."""
        a, b, c = ops.unstack(ops.convert_to_tensor(self.mixture), 3)
        logits, polarity, gates = self.lstm.explain(ids)
        shares = self.ngrams.shares(ids)
        ngram_logits = ops.sum(shares, axis=-1) + self.ngrams.bias
        return a * logits + b * ngram_logits + c, a * polarity + b * shares, gates

    def explain_units(self, ids: Any) -> tuple[Any, Any, Any]:
        """As `SentimentClassifier.explain_units`, with the share of all n-grams together."""
        a, b, _ = ops.unstack(ops.convert_to_tensor(self.mixture), 3)
        shares, _, states = self.lstm.explain_units(ids)
        return a * shares, b * ops.sum(self.ngrams.shares(ids), axis=-1), states

    def get_config(self) -> dict[str, Any]:
        return {
            "lstm": keras.saving.serialize_keras_object(self.lstm),
            "ngrams": keras.saving.serialize_keras_object(self.ngrams),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(*(keras.saving.deserialize_keras_object(config[name]) for name in ("lstm", "ngrams")))
