"""Training on texts and, in the same step, on the texts as they mislead the classifier the most."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nlp_lstm.models.classifier import SentimentClassifier


class AdversarialTraining(keras.Model):
    r"""Train a classifier with adversarial noise on its embedded tokens (Miyato, Dai and Goodfellow 2017, eq. 5 and 6).

    >>> from nlp_lstm.models.encoder import BidirectionalEncoder
    >>> classifier = SentimentClassifier(BidirectionalEncoder(100, 8, 4))
    >>> model = AdversarialTraining(classifier, size=5.0)
    >>> model.compile(keras.optimizers.Adam(0.01), keras.losses.BinaryCrossentropy(from_logits=True))
    >>> history = model.fit(np.array([[5, 7, 9, 0], [6, 8, 2, 4]]), np.array([1.0, 0.0]), verbose=0)
    >>> sorted(history.history)
    ['loss']

    With :math:`g` the gradient of a text's loss by all its embedded tokens together,

    .. math:: r = \varepsilon\, \sigma\, g / \lVert g \rVert_2 , \qquad
        \text{loss} = \ell(x) + \ell(x + r) ,

    where :math:`\sigma` is the root mean square of what the embedding's rows differ by: the paper has its embedding
    normalised to 1, so that the noise cannot be outgrown; here it is measured once, before training.

    Args:
        classifier: what to train.
        size: :math:`\varepsilon`.
        token_counts: how often each token occurs, for the mean that :math:`\sigma` is; by default all alike.
    """

    def __init__(self, classifier: SentimentClassifier, size: float, token_counts: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.classifier = classifier
        if not classifier.built:
            classifier.build((None, None))
        self.size = size * _spread(keras.ops.convert_to_numpy(classifier.encoder.embedding.embeddings), token_counts)
        self.built = True

    def call(self, ids: Any, training: bool = False) -> Any:
        """The classifier's logits `(batch,)` of token ids `(batch, time)`."""
        return self.classifier(ids, training=training)

    def train_step(self, data: Any) -> dict[str, Any]:
        """A step on a batch `(ids, labels)`; the loss told is that without noise."""
        ids, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
        width = self.classifier.encoder.settings["embedding_size"]
        none = tf.zeros(tf.concat([tf.shape(ids), [width]], 0))
        weights = self.trainable_weights
        variables = [weight.value for weight in weights]
        with tf.GradientTape() as tape:
            tape.watch(none)
            logits = self.classifier(ids, training=True, noise=none)
            loss = self.compute_loss(x=ids, y=labels, y_pred=logits)
        *gradients, by_text = tape.gradient(loss, [*variables, none])
        length = tf.sqrt(tf.reduce_sum(tf.square(by_text), axis=[1, 2], keepdims=True))
        noise = tf.stop_gradient(self.size * by_text / tf.maximum(length, 1e-30))
        with tf.GradientTape() as tape:
            misled = self.classifier(ids, training=True, noise=noise)
            misled_loss = self.compute_loss(x=ids, y=labels, y_pred=misled)
        against = tape.gradient(misled_loss, variables)
        self.optimizer.apply([_sum(one, other) for one, other in zip(gradients, against, strict=True)], weights)
        self._loss_tracker.update_state(loss, sample_weight=tf.shape(ids)[0])
        return self.compute_metrics(ids, labels, logits)


def _sum(one: Any, other: Any) -> Any:
    # Those of an embedding are sparse.
    return tf.convert_to_tensor(one) + tf.convert_to_tensor(other)


def _spread(table: np.ndarray, counts: Any) -> float:
    """The root mean square, over tokens as often as they occur and over features, of a table without its mean."""
    share = np.ones(len(table)) if counts is None else np.asarray(counts, np.float64)
    share = share / share.sum()
    return float(np.sqrt(np.mean(share @ np.square(table - share @ table))))
