r"""Weight matrices of a model that is only run, in the arithmetic that their products are taken in.

What an LSTM multiplies its weights with lies between -1 and 1: hidden states, and what a tanh or a sigmoid gave. So its
scale is known beforehand, and few bits spread over it lose little. With :math:`s_n` a scale for each column of `W`,

.. math::

    \hat{x}_k = \lfloor 63.5\, x_k + 64 \rfloor, \quad
    \hat{W}_{kn} = \mathrm{round}(W_{kn} / s_n), \quad
    (x W)_n \approx \tfrac{s_n}{63.5} \sum_k \hat{x}_k \hat{W}_{kn} - s_n \sum_k \hat{W}_{kn}

(Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
arXiv:1712.05877, equation 4, with one scale a column). Sums of integers do not depend on their order, so a row's
product is the same, bit for bit, whatever rows stand beside it; in bfloat16 it is not.

Both are kept in bytes, but of those of `x` seven bits alone are used. An x86 processor without VNNI adds products of
bytes in pairs by an instruction that stops at 32,767 without a word (VPMADDUBSW): twice 127 · 127 is below that, and
twice 255 · 127 far above.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from nlp_lstm.errors import UserError
from nlp_lstm.settings import Precision

_MOST_OF_X = 127  # so that no sum of two products leaves 16 bits
_MOST_OF_WEIGHTS = 127
_HALF = _MOST_OF_X / 2


class WeightMatrix(tf.Module):
    """A matrix to multiply with: call it with what stands on its left.

    >>> weights = WeightMatrix(tf.eye(2, 3), "kernel")
    >>> weights(tf.constant([[0.5, -0.5]])).numpy()
    array([[ 0.5, -0.5,  0. ]], dtype=float32)

    Args:
        values: float `(rows, columns)`.
        name: of the variable.
        bias: float `(columns,)`, added to the product; None for none.

    Attributes:
        shape: `(rows, columns)`.
        dtype: of the product.
    """

    dtype = tf.float32

    def __init__(self, values: Any, name: str, bias: Any = None):
        super().__init__(name=name)
        self.shape = tuple(values.shape)
        self._keep(values, name, bias)

    def _keep(self, values: Any, name: str, bias: Any) -> None:
        self.values = tf.Variable(values, name=name)
        self.bias = None if bias is None else tf.Variable(bias, name=f"{name}_bias")

    def assign(self, values: Any, bias: Any = None) -> None:
        """Take other numbers of the same shapes; in float32 alone."""
        self.values.assign(values)
        if self.bias is not None:
            self.bias.assign(bias)

    @property
    def bytes_read(self) -> int:
        """How much of memory a product reads for the matrix."""
        return 4 * self.shape[0] * self.shape[1]

    def __call__(self, x: Any) -> Any:
        """The product, float32 `(batch, columns)`, of `x`, float32 `(batch, rows)`."""
        return self._biased(tf.matmul(x, self.values))

    def _biased(self, product: Any) -> Any:
        return product if self.bias is None else product + self.bias


class Bfloat16Matrix(WeightMatrix):
    """A matrix in bfloat16, which processors with AVX512-BF16 or AMX multiply with in half the time and less.

    >>> weights = Bfloat16Matrix(tf.eye(2, 3), "kernel")
    >>> weights(tf.constant([[0.5, -0.5]])).numpy()
    array([[ 0.5, -0.5,  0. ]], dtype=float32)
    """

    def _keep(self, values: Any, name: str, bias: Any) -> None:
        super()._keep(tf.cast(values, tf.bfloat16), name, bias)

    @property
    def bytes_read(self) -> int:
        return 2 * self.shape[0] * self.shape[1]

    def __call__(self, x: Any) -> Any:
        return self._biased(tf.cast(tf.matmul(tf.cast(x, tf.bfloat16), self.values), tf.float32))


class Int8Matrix(WeightMatrix):
    """A matrix in 8 bits, for what lies between -1 and 1.

    >>> weights = Int8Matrix(tf.eye(2, 3), "kernel")
    >>> weights(tf.constant([[0.5, -0.5]])).numpy().round(2)
    array([[ 0.5, -0.5,  0. ]], dtype=float32)

    Its product is an operation of oneDNN's, which x86 builds of TensorFlow have: `has_int8_products`. Its
    sums of integers are exact on every one of their processors.
    """

    def _keep(self, values: Any, name: str, bias: Any) -> None:
        values = np.asarray(values, np.float32)
        scale = np.maximum(np.abs(values).max(axis=0), 1e-30) / _MOST_OF_WEIGHTS  # a bias can be counted in it, too
        quantized = np.round(values / scale).astype(np.int8)
        per_unit = scale / _HALF
        # Within the operation it costs nothing.
        added = -_HALF * quantized.sum(axis=0, dtype=np.int64).astype(np.float32)
        if bias is not None:
            added += np.asarray(bias, np.float32) / per_unit

        # A function, so that a SavedModel holds its constants once. They are no variables, since oneDNN keeps a matrix
        # packed as its product wants it only where it is part of the graph, and packs it anew at each call otherwise.
        @tf.function(input_signature=[tf.TensorSpec([None, self.shape[0]])], autograph=False)
        def product(x: Any) -> Any:
            total = tf.raw_ops.QuantizedMatMulWithBiasAndDequantize(
                a=tf.bitcast(tf.cast(x * _HALF + (_HALF + 0.5), tf.uint8), tf.quint8),
                b=tf.constant(quantized, tf.qint8),
                bias=added,
                # Ranges that make each integer stand for itself.
                min_a=0.0,
                max_a=255.0,
                min_b=-float(_MOST_OF_WEIGHTS),
                max_b=float(_MOST_OF_WEIGHTS),
                min_freezed_output=0.0,
                max_freezed_output=0.0,
                Toutput=tf.float32,
                input_quant_mode="MIN_FIRST",
            )
            return total * per_unit

        # A SavedModel would hold a function that is a module's attribute, and its constants, once more.
        self._product = lambda x: product(x)

    @property
    def bytes_read(self) -> int:
        return self.shape[0] * self.shape[1]

    def __call__(self, x: Any) -> Any:
        return self._product(x)


IN_WORDS: dict[Precision, str] = {
    "float32": "Products with weights are taken in float32.",
    "bfloat16": (
        "Products with weights are taken in bfloat16; the last digits of a row's answer depend on the rows beside it."
    ),
    "int8": (
        "Products with weights are taken in 8 bits. x86 servers have the operation for it, official builds among them; "
        "one without oneDNN refuses this model at its warm-up, and so does one on a processor without VNNI until its "
        "environment has TF_ENABLE_ONEDNN_OPTS=1."
    ),
}
"""What a model card says of it."""

_KINDS: dict[str, type[WeightMatrix]] = {"float32": WeightMatrix, "bfloat16": Bfloat16Matrix, "int8": Int8Matrix}


def weight_matrix(values: Any, precision: Precision, name: str = "kernel", bias: Any = None) -> WeightMatrix:
    """A matrix whose products are taken in a precision.

    >>> weight_matrix(tf.eye(2, 3), "bfloat16").bytes_read
    12

    Args:
        values: float `(rows, columns)`.
        precision: of the product; "int8" for what lies between -1 and 1 alone.
        name: of its variable.
        bias: float `(columns,)`, added to the product.
    """
    return _KINDS[precision](values, name, bias)


def has_int8_products() -> bool:
    """Whether this machine's TensorFlow has the operation that int8 products are."""
    try:
        return bool(np.isfinite(Int8Matrix(tf.eye(2), "probe")(tf.zeros([1, 2])).numpy()).all())
    except tf.errors.OpError:
        return False


def refuse_precision(precision: Precision) -> None:
    """Say so before an export that this machine cannot run, nor check.

    Raises:
        UserError: if the precision is "int8" and TensorFlow's products of oneDNN are not there.
    """
    if precision == "int8" and not has_int8_products():
        raise UserError(
            "--precision int8 needs TensorFlow's oneDNN products, which this machine does not have or which are "
            "switched off: export with --precision bfloat16 or float32, or on an x86 machine and with "
            "TF_ENABLE_ONEDNN_OPTS=1"
        )
