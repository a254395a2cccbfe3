"""The decoder's hand-written gradient: as autodiff of the plain walk, and as differences of that walk's values.

The walk (`keras.layers.RNN` over the decoder's step) is held against NumPy in `models/test_translator.py`. What else
may be asked of a derivative is asked here, too, as `test_lstm_derivatives.py` does of the layer.
"""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from numpy_lstm import central_differences

from nlp_lstm.lstm import LSTMCell
from nlp_lstm.models.translator import DecoderState, Memory, _Decoder

# All of them different, so that no axis is taken for another.
ROWS, STEPS, SOURCE, UNITS, ATTENTION, WIDTH, FEATURES = 2, 4, 5, 3, 2, 6, 7
IS_TOKEN = np.array([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1]], bool)
ATTENTIONS = ("dot", "additive")


@pytest.fixture(autouse=True)
def in_float64():
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy("float32")


def built(attention, dtype="float64"):
    keras.config.set_dtype_policy(dtype)
    decoder = _Decoder(UNITS, ATTENTION, WIDTH, attention, 0.5, seed=1)
    decoder.build(WIDTH, FEATURES)
    rng = np.random.default_rng(0)
    decoder.set_weights([rng.normal(0.0, 0.8, weight.shape) for weight in decoder.weights])
    return decoder


def drawn_inputs(dtype="float64", steps=STEPS):
    """The embedded target, the state to begin with, and the values and keys of the source."""
    rng = np.random.default_rng(1)
    shapes = [(ROWS, steps, WIDTH), (ROWS, UNITS), (ROWS, UNITS), (ROWS, WIDTH)]
    shapes += [(ROWS, SOURCE, FEATURES), (ROWS, SOURCE, ATTENTION)]
    return [tf.constant(rng.normal(size=shape), dtype) for shape in shapes]


def walked(decoder, inputs, is_token=IS_TOKEN):
    embedded, hidden, cell, attended, values, keys = inputs
    memory = Memory(values, keys, tf.convert_to_tensor(is_token))
    return decoder.walk(embedded, DecoderState(hidden, cell, attended), memory, training=True)


def called(decoder, inputs, is_token=IS_TOKEN):
    """A scalar that each output counts in, in a way of its own."""
    output = walked(decoder, inputs, is_token)
    weight = tf.reshape(tf.range(1.0, 1.0 + tf.cast(tf.size(output), tf.float32)), tf.shape(output))
    return tf.reduce_sum(tf.cast(weight, output.dtype) * output**2)


def variables(decoder):
    return [weight.value for weight in decoder.trainable_weights]


@pytest.fixture(autouse=True)
def kernel_mask(monkeypatch):
    """What DropConnect draws, the same at each call."""
    mask = 2.0 * np.random.default_rng(2).integers(0, 2, (UNITS, 4 * UNITS))
    monkeypatch.setattr(LSTMCell, "draw_recurrent_kernel_mask", lambda self: tf.constant(mask, self.compute_dtype))
    return mask


@pytest.fixture
def slowly(monkeypatch):
    """Calls a function of the plain walk."""

    def call(function, *arguments):
        with monkeypatch.context() as patch:
            patch.setattr(_Decoder, "_fast_path_applies", lambda self: False)
            return function(*arguments)

    return call


def assert_same(actual, expected, tolerance=1e-9):
    actual, expected = tf.nest.flatten(actual), tf.nest.flatten(expected)
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        scale = np.abs(e).max()
        assert scale > 0
        np.testing.assert_allclose(a, e, rtol=0, atol=tolerance * scale)


def gradient(decoder, inputs, is_token=IS_TOKEN):
    """The scalar, and its gradient by every input and every weight."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        scalar = called(decoder, inputs, is_token)
    return scalar, tape.gradient(scalar, [*inputs, *variables(decoder)])


def within_control_flow(decoder, inputs):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        chosen = tf.cond(tf.size(inputs[0]) > 0, lambda: called(decoder, inputs), lambda: tf.zeros([], tf.float64))
    return tape.gradient(chosen, [*inputs, *variables(decoder)])


def recomputed(decoder, inputs):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        scalar = tf.recompute_grad(lambda *inputs: called(decoder, inputs))(*inputs)
    return tape.gradient(scalar, inputs)


WAYS = [gradient, within_control_flow, recomputed]


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_as_the_plain_walk(way, attention, slowly):
    decoder, inputs = built(attention), drawn_inputs()
    assert_same(way(decoder, inputs), slowly(way, decoder, inputs))


@pytest.mark.thorough
def test_the_second_derivative_equals_differences_of_the_first():
    """Of its squared length, along a direction in which each input and each weight moves."""
    decoder, inputs = built("additive"), drawn_inputs()
    weights = [tf.constant(weight) for weight in decoder.get_weights()]
    rng = np.random.default_rng(3)
    along = [tf.constant(rng.normal(size=part.shape)) for part in (*inputs, *weights)]

    def penalty(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            scalar = called(decoder, inputs)
        return tf.add_n([tf.reduce_sum(part**2) for part in tape.gradient(scalar, inputs)])

    def moved(width):
        there = [part + width * direction for part, direction in zip([*inputs, *weights], along, strict=True)]
        decoder.set_weights(there[len(inputs) :])
        found = penalty(there[: len(inputs)])
        decoder.set_weights(weights)
        return found

    with tf.GradientTape() as tape:
        tape.watch(inputs)
        squared_length = penalty(inputs)
    found = tape.gradient(squared_length, [*inputs, *variables(decoder)])
    assert all(np.any(part) for part in found)
    slope = tf.add_n([tf.reduce_sum(part * direction) for part, direction in zip(found, along, strict=True)])
    assert_same(slope, (moved(1e-5) - moved(-1e-5)) / 2e-5, 1e-6)


@pytest.mark.thorough
def test_the_gradient_of_each_row_vectorised():
    decoder, inputs = built("additive"), drawn_inputs()

    def of_row(parts):
        *row, is_token = (part[None] for part in parts)
        return gradient(decoder, row, is_token)[1][: len(inputs)]

    found = tf.vectorized_map(of_row, [*inputs, tf.constant(IS_TOKEN)])
    rows = [of_row([part[row] for part in (*inputs, tf.constant(IS_TOKEN))]) for row in range(ROWS)]
    assert_same(found, [tf.stack(parts) for parts in zip(*rows, strict=True)])


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_the_gradient_equals_differences_of_the_plain_walk(attention, slowly):
    """With values alone: nothing of a gradient, nor of the fast path, is in them."""
    decoder, inputs = built(attention), drawn_inputs()
    arrays = [np.array(part) for part in (*inputs, *decoder.get_weights())]
    plain = tf.function(lambda inputs: called(decoder, inputs), autograph=False)
    slowly(plain, inputs)

    def scalar(*arrays):
        decoder.set_weights(arrays[len(inputs) :])
        return float(plain([tf.constant(array) for array in arrays[: len(inputs)]]))

    expected = central_differences(scalar, arrays)
    decoder.set_weights(arrays[len(inputs) :])
    assert_same(gradient(decoder, inputs)[1], expected, 1e-7)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_lengths_that_are_not_known(attention, slowly):
    """They share what is compiled: what there is room for, and not a step, counts for nothing."""
    decoder = built(attention, "float32")
    specs: list[Any] = [tf.TensorSpec([None] * len(part.shape[:-1]) + [part.shape[-1]]) for part in drawn_inputs()]
    in_graph = tf.function(
        lambda inputs, is_token: gradient(decoder, inputs, is_token),
        input_signature=[specs, tf.TensorSpec([None, None], tf.bool)],
        autograph=False,
    )
    for steps in (1, 9, 10):
        inputs = drawn_inputs("float32", steps)
        assert_same(in_graph(inputs, IS_TOKEN), slowly(gradient, decoder, inputs), 2e-5)


def test_in_half_precision_the_decoder_walks():
    decoder = built("dot", "mixed_bfloat16")
    inputs = [tf.cast(part, tf.bfloat16) for part in drawn_inputs("float32")]
    found, expected = walked(decoder, inputs), walked(built("dot", "float32"), drawn_inputs("float32"))
    assert keras.backend.standardize_dtype(found.dtype) == "bfloat16"
    np.testing.assert_allclose(ops.convert_to_numpy(ops.cast(found, "float32")), expected, atol=0.1)
