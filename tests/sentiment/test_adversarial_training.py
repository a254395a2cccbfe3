"""Steps against the noise that misleads the most: where it points, how large it is, and what the weights do of it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_lstm.models.classifier import SentimentClassifier
from nlp_lstm.models.encoder import BidirectionalEncoder
from nlp_lstm.sentiment.adversarial_training import AdversarialTraining

IDS = np.array([[5, 7, 9, 4, 0], [6, 8, 2, 4, 11], [3, 3, 10, 0, 0]])
LABELS = np.array([1.0, 0.0, 0.8], np.float32)
LOSS = keras.losses.BinaryCrossentropy(from_logits=True)
RATE = 0.5


@pytest.fixture
def classifier():
    classifier = SentimentClassifier(BidirectionalEncoder(12, 6, 4, seed=3), standardized=True)
    classifier.build((None, None))
    rng = np.random.default_rng(0)
    classifier.set_weights([rng.normal(0, 0.7, weight.shape) for weight in classifier.weights])
    classifier.standardize(rng.normal(size=16), rng.uniform(0.5, 2, 16))
    return classifier


def spread_of(table):
    return np.sqrt(np.mean((table - table.mean(axis=0)) ** 2))


def noisy_loss(classifier, noise):
    return float(LOSS(LABELS, classifier(IDS, training=True, noise=noise.astype(np.float32))))


def worst_noise(classifier, length):
    """By central differences: the direction in which each text's loss grows the fastest."""
    shape = (*IDS.shape, 6)
    gradient = np.zeros(shape)
    for place in np.ndindex(*shape):
        step = np.zeros(shape)
        step[place] = 1e-2
        gradient[place] = (noisy_loss(classifier, step) - noisy_loss(classifier, -step)) / 2e-2
    return length * gradient / np.linalg.norm(gradient.reshape(len(IDS), -1), axis=1)[:, None, None]


def test_a_step_is_down_the_gradients_of_both_losses(classifier):
    length = 0.3 * spread_of(classifier.encoder.embedding.embeddings.numpy())
    noise = worst_noise(classifier, length)
    none = np.zeros_like(noise)
    assert noisy_loss(classifier, noise) > noisy_loss(classifier, none)
    rng = np.random.default_rng(1)
    # No other noise of that length is as bad, as far as a straight line tells.
    for _ in range(20):
        other = rng.normal(size=noise.shape)
        other *= length / np.linalg.norm(other.reshape(len(IDS), -1), axis=1)[:, None, None]
        assert noisy_loss(classifier, other) < noisy_loss(classifier, noise)
    with tf.GradientTape() as tape:
        both = sum(
            LOSS(LABELS, classifier(IDS, training=True, noise=tf.constant(n, tf.float32))) for n in (none, noise)
        )
    variables = [weight.value for weight in classifier.trainable_weights]
    expected = [
        v.numpy() - RATE * tf.convert_to_tensor(g)
        for v, g in zip(variables, tape.gradient(both, variables), strict=True)
    ]
    model = AdversarialTraining(classifier, 0.3)
    model.compile(keras.optimizers.SGD(RATE), LOSS)
    model.train_on_batch(IDS, LABELS)
    for found, right in zip(variables, expected, strict=True):
        np.testing.assert_allclose(found, right, atol=2e-4)


def test_the_loss_told_is_that_without_noise(classifier):
    without = noisy_loss(classifier, np.zeros((*IDS.shape, 6)))
    model = AdversarialTraining(classifier, 5.0)
    model.compile(keras.optimizers.SGD(0.0), LOSS)
    assert model.train_on_batch(IDS, LABELS) == pytest.approx(without, rel=1e-5)


def test_the_noise_is_counted_in_spreads_of_the_tokens_that_occur(classifier):
    table = classifier.encoder.embedding.embeddings.numpy()
    counts = np.array([0, 0, 3, 1, 4, 1, 5, 9, 2, 6, 5, 3])
    occurring = np.repeat(table, counts, axis=0)
    assert AdversarialTraining(classifier, 2.0, counts).size == pytest.approx(2 * spread_of(occurring), rel=1e-5)


def test_half_precision_and_dropout(classifier):
    """In mixed precision, with every dropout on, a step is finite and the classifier learns the three texts."""
    encoder = BidirectionalEncoder(
        12, 6, 4, word_dropout=0.1, dropout=0.1, recurrent_dropout=0.1, seed=3, lstm_dtype="mixed_bfloat16"
    )
    model = AdversarialTraining(SentimentClassifier(encoder, dropout=0.1, seed=0, standardized=True), 1.0)
    model.compile(keras.optimizers.Adam(0.05), LOSS)
    losses = [model.train_on_batch(IDS, LABELS) for _ in range(40)]
    assert np.isfinite(losses).all() and np.mean(losses[-5:]) < 0.7 * losses[0]
