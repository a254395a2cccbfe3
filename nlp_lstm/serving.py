"""What the apps' served modules share: the inputs of a request are checked in graph."""

import itertools
from typing import Any

import tensorflow as tf


def of_one_batch(**inputs: Any) -> list[Any]:
    """The inputs of a signature in their order, none of which is read before it is sure that they are of one batch.

    >>> prompt, length = of_one_batch(prompt=tf.constant(["To be", "Not"]), length=tf.constant([5, 9]))
    >>> of_one_batch(prompt=tf.constant(["To be", "Not"]), length=tf.constant([5]))
    Traceback (most recent call last):
    ...
    tensorflow.python.framework.errors_impl.InvalidArgumentError: ... rows:'... has'...

    TensorFlow would take a single row beside several for all of them.

    Args:
        inputs: by the names that the signature has for them, each `(batch, ...)`.

    Raises:
        InvalidArgumentError: if one has another number of rows; names every input with its own.
    """
    rows = [tf.shape(value)[0] for value in inputs.values()]
    told = itertools.chain.from_iterable((f"{name} has", count) for name, count in zip(inputs, rows, strict=True))
    is_same = tf.reduce_all(tf.equal(tf.stack(rows), rows[0]))
    check = tf.debugging.Assert(is_same, ["all inputs of a request must have the same number of rows:", *told])
    with tf.control_dependencies([check]):
        return [tf.identity(value) for value in inputs.values()]
