"""What regularises an LSTM's step beside dropout: layer normalisation and zoneout, for any Keras backend."""

from typing import Any, NamedTuple

from keras import ops


class Gains(NamedTuple):
    """The weights of layer normalisation in an LSTM (Ba, Kiros and Hinton 2016, eq. 20 to 22)."""

    kernel: Any  # (4 * units,)
    recurrent: Any  # (4 * units,)
    cell: Any  # (units,)
    cell_shift: Any  # (units,)


EPSILON = 1e-5
"""Added to the variance in layer normalisation."""


class Standardized(NamedTuple):
    """Values with a mean of 0 and a variance of 1 over the last axis, and what they were multiplied by to get there."""

    values: Any
    scale: Any  # (..., 1)


def standardize(v: Any) -> Standardized:
    r"""Layer normalisation without its gain: :math:`(v - \mu) / \sqrt{\sigma^2 + \epsilon}`, and the root's inverse."""
    # Not by the moments of TensorFlow, which stop a gradient that a third derivative needs.
    centred = v - ops.mean(v, axis=-1, keepdims=True)
    scale = ops.rsqrt(ops.mean(ops.square(centred), axis=-1, keepdims=True) + EPSILON)
    return Standardized(centred * scale, scale)


def normalize(v: Any, gain: Any) -> Any:
    r"""Layer normalisation :math:`\gamma \odot (v - \mu) / \sqrt{\sigma^2 + \epsilon}` over the last axis.

    >>> np.asarray(normalize(ops.array([[1.0, 3.0]]), gain=ops.array([1.0, 2.0]))).round(3)
    array([[-1.,  2.]], dtype=float32)
    """
    return gain * standardize(v).values


def zoneout(previous: Any, new: Any, kept: Any) -> Any:
    r"""A state of which a share stays what it was (Krueger et al. 2017): :math:`k \odot s_{t-1} + (1 - k) \odot s_t`.

    >>> zoneout(previous=2.0, new=4.0, kept=0.25)
    3.5

    Args:
        previous: the state before the step, `(batch, units)`.
        new: the state that the step leads to, `(batch, units)`.
        kept: ones and zeros, drawn for each step in training; their mean, the rate, when the layer is used.
    """
    return kept * previous + (1.0 - kept) * new
