"""The layer however TensorFlow differentiates it: as Keras's layer, as the plain walk, and as central differences.

What is asked of a function here: derivatives of every order, forward mode, one derivative a row, control flow round it,
functions in functions, XLA round it. The layer trains (`training=True`), so its own compiled loops are at stake.
"""

import logging
from typing import Any

import keras
import numpy as np
import numpy_lstm
import pytest
import tensorflow as tf
from numpy_lstm import draw_problem

from nlp_lstm.lstm import LSTM, LSTMCell

UNITS = 2
PROBLEM = draw_problem(31, batch=2, steps=3, features=3, units=UNITS)
X = tf.constant(PROBLEM.x)
MASK = np.array([[True, True, False], [True, False, True]])


def built(layer_class, **options):
    """In float64, with the weights of the problem and, where there are more, others that are not small.

    Ours has its loops compiled, since they are what TensorFlow cannot go through.
    """
    if layer_class is not keras.layers.LSTM:
        options = {"jit_compile": True, **options}
    layer = layer_class(UNITS, dtype="float64", return_sequences=True, **options)
    layer.build(X.shape)
    rng = np.random.default_rng(32)
    given = PROBLEM.weights[: 3 if layer.use_bias else 2]
    more = [rng.uniform(0.5, 1.5, weight.shape) for weight in layer.weights[len(given) :]]
    layer.set_weights([*given, *more])
    return layer


def called(layer, x):
    """A scalar that each output counts in, in a way of its own."""
    output = layer(x, training=True)
    weight = tf.reshape(tf.range(1.0, 1.0 + tf.cast(tf.size(output), tf.float32)), tf.shape(output))
    return tf.reduce_sum(tf.cast(weight, output.dtype) * output**2)


def variables(layer):
    return [weight.value for weight in layer.trainable_weights]


def gradient(layer, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        scalar = called(layer, x)
    return tape.gradient(scalar, [x, *variables(layer)])


def gradient_penalty(layer, x):
    """As of a critic's gradient by its input (Gulrajani et al. 2017)."""
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            scalar = called(layer, x)
        penalty = tf.reduce_sum(inner.gradient(scalar, x) ** 2)
    return outer.gradient(penalty, [x, *variables(layer)])


def third_derivative(layer, x):
    with tf.GradientTape() as outer:
        outer.watch(x)
        second = gradient_penalty(layer, x)
        scalar = tf.add_n([tf.reduce_sum(part) for part in second])
    return outer.gradient(scalar, x)


def inner_step(layer, x):
    """A step of learning, and the gradient of what comes of it by where it began (Finn, Abbeel and Levine 2017)."""
    scale = tf.ones([], x.dtype)
    with tf.GradientTape() as outer:
        outer.watch(scale)
        with tf.GradientTape() as inner:
            inner.watch(scale)
            scalar = called(layer, x * scale)
        learnt = scale - 0.1 * inner.gradient(scalar, scale)
        scalar = called(layer, x * learnt)
    return outer.gradient(scalar, [scale, *variables(layer)])


def persistent(layer, x):
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        found = tape.gradient(called(layer, x), [x, *variables(layer)])
    return found


def forward_mode(layer, x):
    with tf.autodiff.ForwardAccumulator(x, tf.cos(x)) as accumulator:
        scalar = called(layer, x)
    return accumulator.jvp(scalar)


def forward_over_reverse(layer, x):
    """A product of the Hessian and a vector."""
    with tf.autodiff.ForwardAccumulator(x, tf.cos(x)) as accumulator:
        found = gradient(layer, x)
    return [accumulator.jvp(part) for part in found]


def one_by_row(layer, x):
    """The rows one by one, vectorised; what carries a mask for all rows cannot be called so."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        scalar = tf.reduce_sum(tf.vectorized_map(lambda row: called(layer, row[None]), x))
    return tape.gradient(scalar, [x, *variables(layer)])


def gradient_of_each_row(layer, x):
    return tf.vectorized_map(lambda row: gradient(layer, row[None])[0], x)


def within_control_flow(layer, x):
    """`cond` within `while`, beside a `switch_case`."""

    def step(number, total):
        there = tf.cond(number > 0, lambda: called(layer, x * tf.cast(number, x.dtype)), lambda: tf.zeros([], x.dtype))
        return number + 1, total + there

    with tf.GradientTape() as tape:
        tape.watch(x)
        _, looped = tf.while_loop(lambda number, _: number < 3, step, (0, tf.zeros([], x.dtype)), maximum_iterations=3)
        chosen = tf.switch_case(tf.constant(1), [lambda: tf.zeros([], x.dtype), lambda: called(layer, x)])
        total = looped + chosen
    return tape.gradient(total, [x, *variables(layer)])


def recomputed(layer, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        scalar = tf.recompute_grad(lambda x: called(layer, x))(x)
    return tape.gradient(scalar, x)


def function_in_function(layer, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        scalar = tf.function(lambda x: tf.function(lambda x: called(layer, x))(x) * 2.0)(x)
    return tape.gradient(scalar, [x, *variables(layer)])


WAYS = [
    *(gradient, gradient_penalty, inner_step, persistent, forward_mode),
    *(one_by_row, within_control_flow, recomputed, function_in_function),
    *(pytest.param(way, marks=pytest.mark.thorough) for way in (third_derivative, forward_over_reverse)),
]


def assert_same(actual, expected):
    actual, expected = tf.nest.flatten(actual), tf.nest.flatten(expected)
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        scale = np.abs(e).max()
        assert scale > 0
        np.testing.assert_allclose(a, e, rtol=0, atol=1e-9 * scale)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_as_keras(way):
    assert_same(way(built(LSTM), X), way(built(keras.layers.LSTM), X))


@pytest.mark.parametrize("way", [gradient, forward_mode, within_control_flow], ids=lambda way: way.__name__)
def test_as_keras_where_xla_compiles_nothing(way):
    """By default that is so wherever the length is not known, which it never is outside a graph."""
    assert_same(way(built(LSTM, jit_compile="auto"), X), way(built(keras.layers.LSTM), X))


def test_the_gradient_of_each_row_vectorised():
    """Keras's layer cannot be asked for it."""
    layer, plain = built(LSTM), built(keras.layers.LSTM)
    assert_same(gradient_of_each_row(layer, X), tf.stack([gradient(plain, X[row : row + 1])[0] for row in range(2)]))


@pytest.mark.thorough
def test_as_keras_with_xla_round_it_after_it_was_traced_without():
    """What was traced for the one must not serve the other: they differentiate loops in different ways."""
    layer = built(LSTM)
    expected = gradient_penalty(built(keras.layers.LSTM), X)
    assert_same(tf.function(lambda: gradient_penalty(layer, X))(), expected)
    assert_same(tf.function(lambda: gradient_penalty(layer, X), jit_compile=True)(), expected)


def test_the_second_derivative_equals_differences_of_the_oracle():
    """Of the oracle's own differences: nothing of the layer, nor of autodiff, is in them."""
    p = draw_problem(33, batch=1, steps=2, features=2, units=UNITS)
    towards = np.random.default_rng(33).normal(size=(1, 2, UNITS))
    along = np.random.default_rng(34).normal(size=p.x.shape)

    def value(x, W, U, b):
        return np.sum(numpy_lstm.lstm(x, W, U, b, mask=MASK[1:, :2]).shown ** 2 * towards)

    def slope(x, W, U, b, width=1e-4):
        return (value(x + width * along, W, U, b) - value(x - width * along, W, U, b)) / (2 * width)

    expected = numpy_lstm.central_differences(slope, [p.x, *p.weights])
    layer = LSTM(UNITS, dtype="float64", return_sequences=True, jit_compile=True)
    layer.build(p.x.shape)
    layer.set_weights(p.weights)
    x = tf.constant(p.x)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            scalar = tf.reduce_sum(layer(x, mask=tf.constant(MASK[1:, :2]), training=True) ** 2 * towards)
        slope_of_layer = tf.reduce_sum(inner.gradient(scalar, x) * along)
    for a, e in zip(outer.gradient(slope_of_layer, [x, *variables(layer)]), expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=0, atol=1e-5 * np.abs(e).max())


OPTIONS: dict[str, dict[str, Any]] = {
    "backwards": {"go_backwards": True},
    "zoneout": {"zoneout_hidden": 0.3, "zoneout_cell": 0.6},
    "recurrent_dropout": {"recurrent_dropout": 0.5},
    "recurrent_kernel_dropout": {"recurrent_kernel_dropout": 0.5},
    "layer_normalization": {"layer_normalization": True},
    "without_bias": {"use_bias": False},
    "uncompiled": {"jit_compile": False},
    "compiled_where_the_length_is_known": {"jit_compile": "auto"},
}


# In a graph: each option at least once where the loops are compiled, and masks and lengths of either kind.
COMBINATIONS: list[Any] = [
    (gradient_penalty, ["backwards", "recurrent_dropout", "without_bias"], True, False),
    pytest.param(
        *(forward_over_reverse, ["zoneout", "compiled_where_the_length_is_known"], True, True),
        marks=pytest.mark.thorough,
    ),
    (within_control_flow, ["layer_normalization", "recurrent_kernel_dropout", "zoneout"], False, False),
    (third_derivative, ["layer_normalization"], False, True),
    pytest.param(
        *(inner_step, ["backwards", "layer_normalization", "zoneout", "uncompiled"], True, False),
        marks=pytest.mark.thorough,
    ),
]


@pytest.mark.parametrize(
    ("way", "chosen", "masked", "length_is_known"), COMBINATIONS, ids=lambda value: getattr(value, "__name__", None)
)
def test_combinations_equal_the_plain_walk(way, chosen, masked, length_is_known):
    """The plain walk is autodiff's to differentiate; what is drawn is the same in both."""
    options: dict[str, Any] = {}
    for name in chosen:
        options |= OPTIONS[name]
    rng = np.random.default_rng(35)
    masks = {
        UNITS: rng.uniform(0, 2, (2, UNITS)),  # of the states; by their width, since rows may not be known
        4 * UNITS: rng.uniform(0, 2, (UNITS, 4 * UNITS)),  # of the recurrent kernel
    }
    kept = [rng.uniform(size=(2, 3, UNITS)) for _ in range(2)]

    class Masked(LSTM):
        def call(self, sequences, initial_state=None, mask=None, training=False):
            return super().call(sequences, initial_state, tf.constant(MASK) if masked else None, training)

    def kept_shares(self, *_):
        return [tf.constant(share) for share in kept] if self.zoneout_cell else None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LSTMCell, "draw_dropout_mask", lambda self, rows, width, rate: masks[width])
        patch.setattr(LSTMCell, "kept_shares", kept_shares)
        layer = built(Masked, **options)
        with pytest.MonkeyPatch.context() as slower:
            slower.setattr(LSTM, "_fast_path_applies", lambda self: False)
            expected = way(layer, X)
        signature = [tf.TensorSpec(X.shape if length_is_known else [None, None, 3], X.dtype)]
        assert_same(tf.function(lambda x: way(layer, x), input_signature=signature)(X), expected)


def test_lengths_that_differ_share_what_is_compiled_and_give_no_warning(caplog):
    """As with each length of its own, in eager and where the length is not known."""
    layer = LSTM(UNITS, return_sequences=True, jit_compile=True)
    plain = keras.layers.LSTM(UNITS, return_sequences=True)
    rng = np.random.default_rng(36)
    sequences = [tf.constant(rng.normal(size=(2, length, 3)), tf.float32) for length in range(1, 14)]
    for each in (layer, plain):
        each.build((None, None, 3))
    plain.set_weights(layer.get_weights())
    of_unknown_length = tf.function(lambda x: gradient(layer, x), input_signature=[tf.TensorSpec([None, None, 3])])
    with caplog.at_level(logging.WARNING, logger="tensorflow"):
        for x in sequences:
            expected = gradient(plain, x)
            for found in (gradient(layer, x), of_unknown_length(x)):
                for a, e in zip(found, expected, strict=True):
                    np.testing.assert_allclose(a, e, rtol=0, atol=2e-5 * max(1.0, np.abs(e).max()))
    assert not [record for record in caplog.records if "retracing" in record.getMessage()]


def test_what_was_exported_can_still_be_differentiated(tmp_path):
    layer = built(LSTM)
    module = tf.Module()
    module.weights = variables(layer)
    module.function = tf.function(lambda x: layer(x), input_signature=[tf.TensorSpec([None, None, 3], X.dtype)])
    tf.saved_model.save(module, tmp_path)
    loaded = tf.saved_model.load(tmp_path)
    with tf.GradientTape() as tape:
        tape.watch(X)
        scalar = tf.reduce_sum(loaded.function(X) ** 2)
    found = tape.gradient(scalar, X)
    with tf.GradientTape() as tape:
        tape.watch(X)
        scalar = tf.reduce_sum(built(keras.layers.LSTM)(X) ** 2)
    assert_same(found, tape.gradient(scalar, X))
