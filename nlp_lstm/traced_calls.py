r"""TensorFlow functions that stay right however they are differentiated, with XLA inside or not.

A hand-written gradient (`tf.custom_gradient`) with loops that XLA compiled in it is right for a first derivative in the
graph that it stands in, and for little else: a second derivative cannot go through a compiled loop, nor can one in
forward mode; `tf.vectorized_map` forgets the custom gradient and goes through what is inside; within `tf.cond` the
gradient cannot reach what was kept for it. Three rules mend all of it:

1. Every dependence is left in place (there is no `stop_gradient`), so where a custom gradient is forgotten autodiff
   finds the same number by itself, more slowly.
2. What XLA compiles has a gradient of its own, that of the same function uncompiled: `call_compiled`.
3. A hand-written gradient stands within a TensorFlow function of its own, so that nothing around it, be it a tape or
   control flow, sees what is inside: `call_traced`.
"""

import weakref
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import tensorflow as tf


def call_traced(function: Callable[..., Any], by_row: Any, weights: Any, *settings: Hashable) -> Any:
    """Call a function as a TensorFlow function of its own, traced once for each kind of arguments.

    >>> def power(x, w, exponent):
    ...     return (x @ w) ** exponent
    >>> call_traced(power, tf.ones([2, 3]), tf.ones([3, 1]), 2).numpy()
    array([[9.],
           [9.]], dtype=float32)

    Unlike a `tf.function` it gives no warning when many layers, or many lengths, are traced one after the other: each
    kind is meant to be.

    Args:
        function: of `by_row`, `weights` and the settings; one of a module, since a function made anew is traced anew.
        by_row: tensors, nested, or None. Outside a graph their dimensions but the last may differ from call to call.
        weights: tensors of a fixed shape, likewise.
        settings: what is no tensor.

    Returns:
        What the function returns: tensors, nested, or None.
    """
    traced, tensors, _ = _prepared(function, by_row, weights, settings, False)
    return traced(*tensors)


def call_compiled(
    function: Callable[..., Any], by_row: Any, weights: Any, *settings: Hashable, jit_compile: bool = True
) -> Any:
    """Call a function compiled by XLA; its gradient, and each after it, is that of the function uncompiled.

    >>> def cube(x, _):
    ...     return x**3
    >>> x = tf.constant([2.0])
    >>> with tf.GradientTape() as outer:
    ...     outer.watch(x)
    ...     with tf.GradientTape() as inner:
    ...         inner.watch(x)
    ...         y = call_compiled(cube, x, None)
    ...     slope = inner.gradient(y, x)
    >>> y.numpy(), slope.numpy(), outer.gradient(slope, x).numpy()
    (array([8.], dtype=float32), array([12.], dtype=float32), array([12.], dtype=float32))

    Args:
        function: and all others as of `call_traced`.
        jit_compile: without it XLA has no part in it, and what a loop keeps for its gradient still stays inside, where
            nothing that counts forward comes upon it.
    """
    if tf.executing_eagerly():  # else a tape, or what counts forward, would see what is inside
        return call_traced(_call_compiled, by_row, weights, function, jit_compile, *settings)
    return _call_compiled(by_row, weights, function, jit_compile, *settings)


def _call_compiled(by_row: Any, weights: Any, function: Any, jit_compile: bool, *settings: Hashable) -> Any:
    traced, tensors, fill = _prepared(function, by_row, weights, settings, jit_compile)

    @tf.custom_gradient
    def compiled(*tensors: Any) -> Any:
        def gradient(*d_outputs: Any) -> Any:
            smooth = [tensor for tensor in tensors if tensor.dtype.is_floating]
            outputs = leaves(function(*fill(tensors), *settings))
            # Not by a tape, which records nothing while TensorFlow differentiates forward, and then gives zeros.
            zero = tf.UnconnectedGradients.ZERO
            found = iter(tf.gradients(outputs, smooth, list(d_outputs), unconnected_gradients=zero))
            return [next(found) if tensor.dtype.is_floating else None for tensor in tensors]

        return leaves(traced(*tensors)), gradient

    # Identities, since a further derivative can reach what is in this graph, and not where it captured it from.
    return put_back(traced.structured_outputs, compiled(*map(tf.identity, tensors)))


def leaves(nested: Any) -> list[Any]:
    """What is not None in nested arguments, in a row, as `tf.custom_gradient` takes it.

    >>> leaves((1, None, [2, 3]))
    [1, 2, 3]
    """
    return [leaf for leaf in tf.nest.flatten(nested) if leaf is not None]


def put_back(nested: Any, replacements: Iterable[Any]) -> Any:
    """Nested arguments with others in place of their `leaves`.

    >>> put_back((1, None, [2, 3]), "abc")
    ('a', None, ['b', 'c'])
    """
    left = iter(replacements)
    return tf.nest.map_structure(lambda leaf: None if leaf is None else next(left), nested)


def _prepared(function: Any, by_row: Any, weights: Any, settings: tuple[Hashable, ...], jit_compile: bool) -> Any:
    """The traced function, the tensors to call it with, and what puts them back into the arguments' form."""
    by_row, weights = tf.nest.map_structure(_to_tensor, (by_row, weights))
    specs = tf.nest.map_structure(_spec, (by_row, weights))
    if tf.executing_eagerly():
        specs = tf.nest.map_structure(_of_any_length, specs[0]), specs[1]
    layout = _Layout(tf.nest.map_structure(lambda leaf: None if leaf is None else True, (by_row, weights)))
    # Asked for, not called: calls that trace are counted, and warned of.
    traced = _function(function, layout, settings, jit_compile).get_concrete_function(*leaves(specs))
    return traced, leaves((by_row, weights)), layout.fill


def _to_tensor(leaf: Any) -> Any:
    return None if leaf is None else tf.convert_to_tensor(leaf)


def _spec(leaf: Any) -> Any:
    return None if leaf is None else tf.TensorSpec(leaf.shape, leaf.dtype)


def _of_any_length(spec: Any) -> Any:
    if spec is None or not spec.shape.rank:
        return spec
    return tf.TensorSpec([*[None] * (spec.shape.rank - 1), spec.shape[-1]], spec.dtype)


class _Layout:
    """Where tensors stand in nested arguments, and where None: something to look a trace up by."""

    def __init__(self, nested: Any) -> None:
        self.nested = nested
        self.key = repr(nested)  # names of named tuples and all

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Layout) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def fill(self, tensors: Iterable[Any]) -> Any:
        return put_back(self.nested, tensors)


_outside_graphs: dict[Any, Any] = {}
_in_graphs: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()


def _function(function: Any, layout: _Layout, settings: tuple[Hashable, ...], jit_compile: bool) -> Any:
    """A TensorFlow function, one for each graph that it is called in.

    TensorFlow would share it, with the gradients that were built for it, between a graph that XLA compiles and one that
    it does not, where loops are differentiated in different ways.
    """
    eagerly = tf.executing_eagerly()
    known = _outside_graphs if eagerly else _in_graphs.setdefault(tf.compat.v1.get_default_graph(), {})
    key = (function, layout, settings, jit_compile)
    if key not in known:

        @tf.function(jit_compile=jit_compile or None, autograph=False)
        def traced(*tensors: Any) -> Any:
            return function(*layout.fill(tensors), *settings)

        known[key] = traced
    return known[key]
