import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from nlp_lstm import weight_matrix
from nlp_lstm.errors import UserError
from nlp_lstm.weight_matrix import Int8Matrix, refuse_precision

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def same_numbers_whatever_ran_before():
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state


def states(rows, units):
    """As hidden states are, the ends of their range among them."""
    found = RNG.uniform(-1.0, 1.0, (rows, units)).astype(np.float32)
    found[0, :2] = [-1.0, 1.0]
    return found


def in_integers(x, values):
    """The product as the equation has it, in exact arithmetic."""
    scale = np.abs(values).max(axis=0) / 127.0
    quantized = np.round(values / scale).astype(np.int64)
    of_x = np.floor(x * np.float32(63.5) + np.float32(64.0)).clip(0, 127).astype(np.int64)
    return scale * ((of_x @ quantized) / 63.5 - quantized.sum(axis=0))


@pytest.mark.parametrize("precision, error", [("float32", 1e-6), ("bfloat16", 5e-3), ("int8", 1.2e-2)])
def test_each_precision_is_as_exact_as_it_says(precision, error):
    # Columns of different size: each must have a scale of its own.
    values = (RNG.normal(size=(300, 500)) * np.geomspace(1e-3, 10.0, 500)).astype(np.float32)
    x = states(20, 300)
    matrix = weight_matrix.weight_matrix(tf.constant(values), precision)
    found, expected = matrix(tf.constant(x)).numpy(), x.astype(np.float64) @ values
    assert found.dtype == np.float32 and matrix.shape == (300, 500)
    by_column = np.sqrt(np.mean((found - expected) ** 2, axis=0) / np.mean(expected**2, axis=0))
    assert np.all(by_column < 2 * error)
    assert np.sqrt(np.mean(by_column**2)) < error
    assert np.sqrt(np.mean(by_column**2)) > error / 20  # else it is another precision


@pytest.mark.parametrize("rows, units, columns", [(1, 1, 1), (3, 7, 5), (1, 512, 2048), (33, 130, 65)])
def test_8_bits_are_what_the_equation_says(rows, units, columns):
    values, x = RNG.normal(size=(units, columns)).astype(np.float32), states(max(rows, 1), max(units, 2))[:, :units]
    np.testing.assert_allclose(Int8Matrix(values, "kernel")(x), in_integers(x, values), rtol=1e-5, atol=1e-4)


def test_the_largest_sums_of_8_bits_are_exact():
    """All at the end of the range. Without VNNI pairs are added in 16 bits, which just hold two of these."""
    values, x = np.full((1024, 8), -0.3, np.float32), np.full((2, 1024), 1.0, np.float32)
    np.testing.assert_allclose(Int8Matrix(values, "kernel")(x), x @ values, rtol=1e-6)
    np.testing.assert_allclose(Int8Matrix(-values, "kernel")(-x), x @ values, rtol=1e-6)


def test_they_are_exact_on_a_processor_without_vnni():
    """Where this one has it, oneDNN is told to do without, which it can be before its first product alone."""
    script = (
        "import numpy as np; from nlp_lstm.weight_matrix import Int8Matrix; "
        "found = Int8Matrix(np.full((512, 8), 0.05, np.float32), 'kernel')(np.ones((4, 512), np.float32)); "
        "print(float(np.abs(found - 25.6).max()))"
    )
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "1", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1e-4


def test_a_row_in_8_bits_is_the_same_in_any_batch():
    matrix = Int8Matrix(RNG.normal(size=(130, 77)).astype(np.float32), "kernel")
    x = states(40, 130)
    together = matrix(x).numpy()
    assert all(np.array_equal(matrix(x[row : row + 1])[0], together[row]) for row in range(40))
    assert np.array_equal(matrix(x[5:22]), together[5:22])


def test_a_column_of_zeros_gives_zeros():
    values = np.array([[0.0, 1.0], [0.0, -2.0]], np.float32)
    found = Int8Matrix(values, "kernel")(tf.constant([[0.25, 0.5], [-1.0, 1.0]])).numpy()
    assert np.array_equal(found[:, 0], [0.0, 0.0])
    np.testing.assert_allclose(found[:, 1], [-0.75, -3.0], atol=0.02)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_a_loop_of_products_is_saved_and_loaded(precision, tmp_path):
    values, x = RNG.normal(size=(6, 6)).astype(np.float32), states(3, 6)
    module = tf.Module()
    module.matrix = weight_matrix.weight_matrix(tf.constant(values), precision)

    def walk(x):
        return tf.while_loop(lambda t, _: t < 5, lambda t, x: (t + 1, tf.tanh(module.matrix(x))), (0, x))[1]

    module.walk = tf.function(walk, input_signature=[tf.TensorSpec([None, 6])], autograph=False)
    tf.saved_model.save(module, str(tmp_path), signatures=module.walk.get_concrete_function())
    expected = x
    for _ in range(5):
        expected = np.tanh(module.matrix(expected))
    (found,) = tf.saved_model.load(str(tmp_path)).signatures["serving_default"](tf.constant(x)).values()
    np.testing.assert_allclose(found, expected, atol=1e-6 if precision != "bfloat16" else 1e-2)


def test_a_machine_without_the_products_is_told_before_an_export(monkeypatch):
    refuse_precision("int8")  # this one has them
    monkeypatch.setattr(weight_matrix, "has_int8_products", lambda: False)
    refuse_precision("float32")
    refuse_precision("bfloat16")
    with pytest.raises(UserError, match="--precision int8 needs.* export with --precision"):
        refuse_precision("int8")


@pytest.mark.parametrize("precision, error", [("float32", 1e-6), ("bfloat16", 5e-3), ("int8", 1.2e-2)])
def test_a_bias_is_added_as_it_is(precision, error):
    """Whatever the scale of its column, be it of zeros."""
    values = (RNG.normal(size=(300, 60)) * np.geomspace(1e-3, 10.0, 60)).astype(np.float32)
    values[:, :2] = 0.0
    bias, x = RNG.normal(0.0, 3.0, 60).astype(np.float32), states(20, 300)
    plain, found = (weight_matrix.weight_matrix(values, precision, bias=added)(x).numpy() for added in (None, bias))
    np.testing.assert_allclose(found - plain, np.broadcast_to(bias, found.shape), rtol=0, atol=4e-5)
    np.testing.assert_allclose(found[:, :2], np.broadcast_to(bias[:2], (20, 2)), rtol=1e-6)
    assert np.abs(found - (x @ values + bias)).max() < 300 * error


def test_other_numbers_can_be_assigned():
    matrix = weight_matrix.weight_matrix(np.eye(3, dtype=np.float32), "float32", bias=np.zeros(3, np.float32))
    values, bias, x = RNG.normal(size=(3, 3)), RNG.normal(size=3), states(4, 3)
    matrix.assign(values, bias)
    np.testing.assert_allclose(matrix(x), x @ values + bias, rtol=1e-5, atol=1e-6)
