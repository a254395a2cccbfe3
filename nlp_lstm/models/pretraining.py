"""Two language models in one: what the encoder learns from text without labels, before it is a classifier."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from nlp_lstm.models.encoder import BidirectionalEncoder


@keras.saving.register_keras_serializable("nlp_lstm")
class BidirectionalLanguageModel(keras.Model):
    r"""Train an encoder's two directions to guess the next and the previous token (Dai, Le 2015; Peters et al. 2018).

    >>> encoder = BidirectionalEncoder(vocabulary_size=1000, embedding_size=16, units=8)
    >>> model = BidirectionalLanguageModel(encoder, samples=64)
    >>> nats = model(np.array([[5, 7, 9, 4], [8, 8, 2, 3]]))
    >>> nats.shape
    TensorShape([2])

    `fit` takes `(ids, zeros)` of full windows of running text, with the loss `nlp_lstm.training.mean_of_outputs`.

    A token's score is the product of the projected hidden state with that token's embedding (tied: Press and Wolf
    2017) and a bias. The sum that the softmax divides by is estimated (importance sampling: Bengio and Senécal 2003):
    the right token and the most frequent ones enter it exactly, and of the rare ones some are drawn for each batch,
    each standing for as many as it was unlikely to be drawn. Ids are in the order of frequency, and the draw is from
    the log-uniform distribution over them, one from each of as many strata.

    Args:
        encoder: the encoder to train.
        samples: number of tokens that the sum is estimated from: half of them the most frequent, half drawn.
        seed: seed of the draw and of the initial weights.
    """

    def __init__(self, encoder: BidirectionalEncoder, samples: int = 1024, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.encoder = encoder
        self.samples = samples
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        width = encoder.settings["embedding_size"]
        self.projections = [
            keras.layers.Dense(
                width,
                kernel_initializer=keras.initializers.GlorotUniform(seed),
                name=name,
                dtype=encoder.settings["lstm_dtype"],
            )
            for name in ("forward_projection", "backward_projection")
        ]
        self.token_bias = self.add_weight(
            shape=(encoder.settings["vocabulary_size"],), initializer="zeros", name="token_bias"
        )

    def build(self, input_shape: Sequence[int | None]) -> None:
        self.encoder.build(input_shape)
        for projection in self.projections:
            projection.build((None, self.encoder.settings["units"]))
        self.built = True

    def call(self, ids: Any, training: bool = False) -> Any:
        """Negative log-likelihood in nats of each text, `(batch,)`, scaled so that their mean is that of all guesses.

        Args:
            ids: token ids `(batch, time)`, 0 being padding on the right.
            training: whether dropout applies.
        """
        forward, backward = self.encoder(ids, training=training)
        chosen, counts_for = self._choose()
        guessed = _guessed(ids)
        losses = self._nats(self.projections[0](forward[:, :-1]), ids[:, 1:], chosen, counts_for)
        losses = losses + self._nats(self.projections[1](backward[:, 1:]), ids[:, :-1], chosen, counts_for)
        by_text = ops.sum(losses * guessed, axis=-1) / 2
        return by_text * ops.cast(ops.shape(ids)[0], "float32") / ops.maximum(ops.sum(guessed), 1.0)

    def _choose(self) -> tuple[Any, Any]:
        """The tokens that the sum is estimated from, and the logarithm of how many each stands for."""
        size = self.encoder.settings["vocabulary_size"]
        if self.samples >= size:
            return ops.arange(size, dtype="int32"), ops.zeros((size,))
        frequent = self.samples // 2
        number = self.samples - frequent
        uniform = keras.random.uniform((number,), seed=self.seed_generator)
        strata = (ops.arange(number, dtype="float32") + uniform) / number
        span = math.log((size + 1.0) / (frequent + 1.0))
        drawn = ops.cast((frequent + 1.0) * ops.exp(strata * span), "int32") - 1
        drawn = ops.clip(drawn, frequent, size - 1)
        rank = ops.cast(drawn, "float32")
        expected = number * ops.log1p(1.0 / (rank + 1.0)) / span
        chosen = ops.concatenate([ops.arange(frequent, dtype="int32"), drawn])
        return chosen, ops.concatenate([ops.zeros((frequent,)), -ops.log(expected)])

    def _nats(self, guesses: Any, targets: Any, chosen: Any, counts_for: Any) -> Any:
        """The negative log-likelihood of each guess, `(batch, time)`."""
        embeddings = ops.convert_to_tensor(self.encoder.embedding.embeddings)
        token_bias = ops.convert_to_tensor(self.token_bias)
        batch, time = ops.shape(targets)[0], ops.shape(targets)[1]
        guesses = ops.reshape(guesses, (-1, guesses.shape[-1]))  # (BT, D)
        targets = ops.cast(ops.reshape(targets, (-1,)), "int32")
        of_target = ops.cast(guesses, "float32") * ops.take(embeddings, targets, axis=0)
        target_scores = ops.sum(of_target, axis=-1) + ops.take(token_bias, targets)
        of_chosen = ops.cast(ops.take(embeddings, chosen, axis=0), guesses.dtype)
        scores = ops.cast(ops.matmul(guesses, ops.transpose(of_chosen)), "float32")  # (BT, S)
        scores = scores + ops.take(token_bias, chosen) + counts_for
        # The right token stands in the sum already, by itself.
        scores = ops.where(ops.equal(targets[:, None], chosen[None, :]), -1e9, scores)
        total = ops.logaddexp(ops.logsumexp(scores, axis=-1), target_scores)
        return ops.reshape(total - target_scores, (batch, time))


def guesses(ids: Any) -> Any:
    """How many tokens of each text one direction guesses, `(batch,)`, of token ids `(batch, time)`, 0 being padding.

    >>> guesses(np.array([[5, 7, 9], [8, 2, 0]])).numpy()
    array([2., 1.], dtype=float32)
    """
    return ops.sum(_guessed(ids), axis=-1)


def _guessed(ids: Any) -> Any:
    # Both ends of a guess must be tokens: padding neither guesses nor is guessed.
    return ops.cast(ops.logical_and(ops.not_equal(ids[:, 1:], 0), ops.not_equal(ids[:, :-1], 0)), "float32")
