"""Two language models in one: what the encoder learns from text without labels, before it is a classifier."""

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
    2017) and a bias. The softmax is over the right token and `samples` others drawn from the log-uniform distribution
    over ids, which are in the order of frequency, each score less the logarithm of how often its token is expected in
    the draw (sampled softmax: Jean et al. 2015).

    Args:
        encoder: the encoder to train.
        samples: number of wrong tokens drawn for a batch.
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
            keras.layers.Dense(width, kernel_initializer=keras.initializers.GlorotUniform(seed), name=name)
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
        """Mean negative log-likelihood in nats of each window, `(batch,)`, of full windows of ids `(batch, time)`."""
        vocabulary_size = self.encoder.settings["vocabulary_size"]
        forward, backward = self.encoder(ids, training=training)
        uniform = keras.random.uniform((self.samples,), seed=self.seed_generator)
        drawn = ops.cast(ops.exp(uniform * ops.log(vocabulary_size + 1.0)), "int32") - 1
        drawn = ops.clip(drawn, 0, vocabulary_size - 1)
        losses = [
            self._loss(self.projections[0](forward[:, :-1]), ids[:, 1:], drawn),
            self._loss(self.projections[1](backward[:, 1:]), ids[:, :-1], drawn),
        ]
        return (losses[0] + losses[1]) / 2

    def _loss(self, guesses: Any, targets: Any, drawn: Any) -> Any:
        embeddings = ops.convert_to_tensor(self.encoder.embedding.embeddings)
        batch = ops.shape(targets)[0]
        width = guesses.shape[-1]
        guesses = ops.reshape(guesses, (-1, width))  # (BT, D)
        targets = ops.cast(ops.reshape(targets, (-1,)), "int32")
        target_scores = ops.sum(guesses * ops.take(embeddings, targets, axis=0), axis=-1) + self._bias(targets)
        drawn_scores = ops.matmul(guesses, ops.transpose(ops.take(embeddings, drawn, axis=0))) + self._bias(drawn)
        # The right token drawn by accident is no wrong answer.
        drawn_scores = ops.where(ops.equal(targets[:, None], drawn[None, :]), -1e9, drawn_scores)  # (BT, S)
        highest = ops.stop_gradient(ops.maximum(ops.max(drawn_scores, axis=-1), target_scores))
        total = ops.sum(ops.exp(drawn_scores - highest[:, None]), axis=-1) + ops.exp(target_scores - highest)
        losses = ops.log(total) + highest - target_scores
        return ops.mean(ops.reshape(losses, (batch, -1)), axis=-1)

    def _bias(self, ids: Any) -> Any:
        """The token's bias, less the logarithm of how often the draw is expected to hold it."""
        rank = ops.cast(ids, "float32")
        probability = ops.log((rank + 2.0) / (rank + 1.0)) / ops.log(self.encoder.settings["vocabulary_size"] + 1.0)
        return ops.take(ops.convert_to_tensor(self.token_bias), ids) - ops.log(self.samples * probability)
