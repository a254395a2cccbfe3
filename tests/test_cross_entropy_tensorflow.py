"""The normaliser of a softmax and its derivatives, as TensorFlow's own `reduce_logsumexp` has them."""

import numpy as np
import pytest
import tensorflow as tf

from nlp_lstm.cross_entropy_tensorflow import log_normalizer


def plainly(states, table, bias):
    return tf.reduce_logsumexp(tf.matmul(states, table, transpose_b=True) + bias, axis=-1)


def drawn(scale=1.0):
    rng = np.random.default_rng(0)
    return [tf.constant(rng.normal(0.0, scale, shape)) for shape in ((3, 2), (5, 2), (5,))]


def value(function, arguments):
    return function(*arguments)


def gradient(function, arguments):
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        scalar = tf.reduce_sum(function(*arguments) * tf.constant([1.0, -2.0, 3.0], tf.float64))
    return tape.gradient(scalar, arguments)


def second_derivative(function, arguments):
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        penalty = tf.add_n([tf.reduce_sum(part**2) for part in gradient(function, arguments)])
    return tape.gradient(penalty, arguments)


def forward_mode(function, arguments):
    with tf.autodiff.ForwardAccumulator(arguments, [tf.cos(part) for part in arguments]) as accumulator:
        found = function(*arguments)
    return accumulator.jvp(found)


def of_each_row(function, arguments):
    states, table, bias = arguments

    def of_row(row):
        with tf.GradientTape() as tape:
            tape.watch(row)
            found = function(row[None], table, bias)
        return tape.gradient(found, row)

    return tf.vectorized_map(of_row, states)


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize(
    "way", [value, gradient, second_derivative, forward_mode, of_each_row], ids=lambda w: w.__name__
)
def test_as_tensorflow(way, scale):
    """With logits in the thousands, too, whose exponentials would be too large."""
    arguments = drawn(scale)
    found, expected = (tf.nest.flatten(way(function, arguments)) for function in (log_normalizer, plainly))
    for a, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-9, atol=1e-12)
        assert np.any(e != 0.0)
