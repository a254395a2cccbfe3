r"""The LSTM recurrence over a whole sequence in TensorFlow, with a hand-written gradient.

The arithmetic is that of `nlp_lstm.lstm.lstm_step`; what differs is how much of it is done at once (Appleyard,
Kočiský and Blunsom 2016, "Optimizing Performance of Recurrent Neural Networks on GPUs", arXiv:1604.01946):

1. the input product :math:`x_t W + b` of all steps is one matrix product before the loop;
2. each step does a single product :math:`h_{t-1} U` for the four gates together;
3. the loop keeps what the gradient needs, so nothing is computed again on the way back, and the backward loop carries
   only :math:`\partial h` and :math:`\partial c`: the gradients of the kernels, the bias and the input are
   single large products after it;
4. in training the loops are compiled by XLA. Outside training they are plain `tf.while_loop`s, because a stock
   TensorFlow Serving has XLA switched off and what is exported must run there.

Everything here is time major: `(time, batch, ...)`, written `(T, B, ...)` in comments.
"""

from typing import NamedTuple

import tensorflow as tf


class Trace(NamedTuple):
    """What the forward loop leaves behind, for the gradient and for looking at the gates."""

    gates: tf.Tensor  # (T, B, 4U): i, f, c~, o after their activations
    hidden: tf.Tensor  # (T + 1, B, U), the initial state first
    cell: tf.Tensor  # (T + 1, B, U), the initial state first


def _per_gate(i, f, c, o, units, dtype):
    return tf.repeat(tf.constant([i, f, c, o], dtype), units)  # (4U,)


def _activate(z):
    """The activations of `z` `(B, 4U)`: all gates side by side, and one by one."""
    z_i, z_f, z_c, z_o = tf.split(z, 4, axis=-1)  # each (B, U)
    gates = (tf.sigmoid(z_i), tf.sigmoid(z_f), tf.tanh(z_c), tf.sigmoid(z_o))
    return tf.concat(gates, axis=-1), gates


def _activate_all_at_once(z):
    """The same as one run over all gates, by σ(z) = (tanh(z / 2) + 1) / 2.

    XLA makes a single vector loop of it. Its logistic needs an exponential and a division where its tanh is a short
    polynomial, and a concatenation inside its loop costs a branch an element.
    """
    scale = _per_gate(0.5, 0.5, 1.0, 0.5, z.shape[-1] // 4, z.dtype)
    gates = tf.tanh(z * scale) * scale + (1.0 - scale)
    return gates, tf.split(gates, 4, axis=-1)


def _project(x, W, b):
    """The input product of all steps, `(T, B, 4U)`."""
    # A product of two matrices: a batched one would have a batched gradient, D * 4U numbers for every step.
    projected = tf.matmul(tf.reshape(x, [-1, W.shape[0]]), W)
    if b is not None:
        projected = tf.nn.bias_add(projected, b)
    return tf.reshape(projected, [tf.shape(x)[0], tf.shape(x)[1], W.shape[1]])


def _step(projected, h, c, U, mask, recurrent_dropout_mask, activate):
    dropped = h if recurrent_dropout_mask is None else h * recurrent_dropout_mask
    gates, (i, f, c_tilde, o) = activate(projected + tf.matmul(dropped, U))
    new_c = f * c + i * c_tilde
    new_h = o * tf.tanh(new_c)
    if mask is not None:
        new_c = tf.where(mask, new_c, c)
        new_h = tf.where(mask, new_h, h)
    return gates, new_h, new_c


def _forward(x, initial_hidden, initial_cell, W, U, b, mask, recurrent_dropout_mask, activate=_activate):
    """The recurrence with all that the gradient needs: a `Trace`."""
    projected = _project(x, W, b)
    steps, units = tf.shape(x)[0], U.shape[0]

    def states_after(initial):
        states = tf.TensorArray(initial.dtype, size=steps + 1, element_shape=[x.shape[1], units])
        return states.write(0, initial)

    def body(t, h, c, all_gates, all_hidden, all_cells):
        mask_now = None if mask is None else mask[t]
        gates, h, c = _step(all_gates.read(t), h, c, U, mask_now, recurrent_dropout_mask, activate)
        return t + 1, h, c, all_gates.write(t, gates), all_hidden.write(t + 1, h), all_cells.write(t + 1, c)

    # Each step's gates take the place of its input product, which is read but once: XLA then needs no second array
    # of this size, nor zeros in it.
    all_gates = tf.TensorArray(x.dtype, size=steps, element_shape=[x.shape[1], 4 * units], clear_after_read=False)
    _, _, _, all_gates, all_hidden, all_cells = tf.while_loop(
        lambda t, *_: t < steps,
        body,
        (
            tf.constant(0),
            initial_hidden,
            initial_cell,
            all_gates.unstack(projected),
            states_after(initial_hidden),
            states_after(initial_cell),
        ),
        maximum_iterations=steps,
    )
    return Trace(all_gates.stack(), all_hidden.stack(), all_cells.stack())


def _forward_alone(x, initial_hidden, initial_cell, W, U, b, mask, recurrent_dropout_mask):
    """The recurrence that keeps its hidden states `(T, B, U)` alone, and the last cell state."""
    projected = _project(x, W, b)
    steps = tf.shape(x)[0]

    def body(t, h, c, all_hidden):
        mask_now = None if mask is None else mask[t]
        _, h, c = _step(projected[t], h, c, U, mask_now, recurrent_dropout_mask, _activate)
        return t + 1, h, c, all_hidden.write(t, h)

    _, h, c, all_hidden = tf.while_loop(
        lambda t, *_: t < steps,
        body,
        (
            tf.constant(0),
            initial_hidden,
            initial_cell,
            tf.TensorArray(x.dtype, size=steps, element_shape=[x.shape[1], U.shape[0]]),
        ),
        maximum_iterations=steps,
    )
    hidden = all_hidden.stack()
    hidden.set_shape([x.shape[0], None, None])  # stacking forgets the number of steps
    return hidden, h, c


def _backward(d_sequence, d_last_hidden, d_last_cell, gates, cells, W, U, mask, recurrent_dropout_mask):
    r"""Carry :math:`\partial h` and :math:`\partial c` back through time and keep every step's :math:`\partial z`."""
    steps, batch = tf.shape(gates)[0], tf.shape(gates)[1]
    # σ' = σ (1 - σ) for three gates and tanh' = (1 + tanh)(1 - tanh) for the candidate, in one expression.
    is_candidate = _per_gate(0.0, 0.0, 1.0, 0.0, U.shape[0], gates.dtype)
    U_transposed = tf.transpose(U)  # laid out once rather than at each step

    def body(t, d_h, d_c, all_d_z):
        i, f, c_tilde, o = tf.split(gates[t], 4, axis=-1)
        d_h = d_h + d_sequence[t]
        tanh_c = tf.tanh(cells[t + 1])
        d_new_c = d_c + d_h * o * (1.0 - tanh_c * tanh_c)
        d_gates = tf.concat([d_new_c * c_tilde, d_new_c * cells[t], d_new_c * i, d_h * tanh_c], axis=-1)
        d_z = d_gates * (gates[t] + is_candidate) * (1.0 - gates[t])
        d_previous_c = d_new_c * f
        if mask is not None:  # a masked step hands its state on, and its gradient back, untouched
            d_z = tf.where(mask[t], d_z, tf.zeros_like(d_z))
            d_previous_c = tf.where(mask[t], d_previous_c, d_c)
        d_previous_h = tf.matmul(d_z, U_transposed)
        if recurrent_dropout_mask is not None:
            d_previous_h = d_previous_h * recurrent_dropout_mask
        if mask is not None:
            d_previous_h = tf.where(mask[t], d_previous_h, d_h)
        return t - 1, d_previous_h, d_previous_c, all_d_z.write(t, d_z)

    _, d_h, d_c, all_d_z = tf.while_loop(
        lambda t, *_: t >= 0,
        body,
        (
            steps - 1,
            d_last_hidden,
            d_last_cell,
            tf.TensorArray(gates.dtype, size=steps, element_shape=gates.shape[1:]),
        ),
        maximum_iterations=steps,
    )
    d_z = tf.reshape(all_d_z.stack(), [-1, gates.shape[2]])  # (TB, 4U)
    d_x = tf.reshape(tf.matmul(d_z, W, transpose_b=True), [steps, batch, W.shape[0]])
    return d_z, d_x, d_h, d_c


@tf.function(jit_compile=True, autograph=False)
def _compiled_forward(x, initial_hidden, initial_cell, W, U, b, mask, recurrent_dropout_mask):
    return _forward(
        x, initial_hidden, initial_cell, W, U, b, mask, recurrent_dropout_mask, activate=_activate_all_at_once
    )


_compiled_backward = tf.function(_backward, jit_compile=True, autograph=False)


def trace_sequence(
    x, initial_hidden, initial_cell, W, U, b=None, mask=None, recurrent_dropout_mask=None, compiled=False
):
    """Run the recurrence and return every gate and state, a `Trace`; arguments as of `lstm_sequence`.

    No gradient of ours is defined through it.
    """
    arguments = [x, initial_hidden, initial_cell, W, U, b, mask, recurrent_dropout_mask]
    if compiled:
        # An eager tape that saw these would have the loop hand out its tensor lists, which XLA cannot.
        arguments = [None if argument is None else tf.stop_gradient(argument) for argument in arguments]
    trace = (_compiled_forward if compiled else _forward)(*arguments)
    if x.shape[0] is not None:  # stacking forgets the number of steps
        trace.gates.set_shape([x.shape[0], None, None])
        trace.hidden.set_shape([x.shape[0] + 1, None, None])
        trace.cell.set_shape([x.shape[0] + 1, None, None])
    return trace


def lstm_sequence(
    x, initial_hidden, initial_cell, W, U, b=None, mask=None, recurrent_dropout_mask=None, compiled=False
):
    """Run an LSTM over a whole sequence; the letters are those of `nlp_lstm.lstm.lstm_step`.

    >>> sequence, h, c = lstm_sequence(x, h_0, c_0, W, U, b)

    Args:
        x: `(time, batch, features)`.
        initial_hidden: `(batch, units)`.
        initial_cell: `(batch, units)`.
        W: the kernel `(features, 4 * units)`, gates in the order i, f, c, o.
        U: the recurrent kernel `(units, 4 * units)`.
        b: the bias `(4 * units,)`, or None.
        mask: optional boolean `(time, batch, 1)`; where false the state is handed on unchanged.
        recurrent_dropout_mask: optional `(batch, units)`, multiplies :math:`h_{t-1}` in every step (Gal and Ghahramani
            2016). It is taken as a constant: no gradient flows into it.
        compiled: compile the loops with XLA. For training only, never in what is exported.

    Returns:
        The hidden states `(time, batch, units)`, the last hidden and the last cell state `(batch, units)`.
        Differentiable in `x`, both initial states, `W`, `U` and `b`.
    """

    @tf.custom_gradient
    def recurrence(x, initial_hidden, initial_cell, W, U, *optional_bias):
        bias = optional_bias[0] if optional_bias else None
        arguments = (x, initial_hidden, initial_cell, W, U, bias, mask, recurrent_dropout_mask)
        kept = trace_sequence(*arguments, compiled) if compiled else None

        def gradient(d_sequence, d_last_hidden, d_last_cell):
            # Outside training a gradient is rare, so what it needs is not kept: the loop runs once more for it.
            trace = kept or trace_sequence(*arguments)
            backward = _compiled_backward if compiled else _backward
            d_z, d_x, d_initial_hidden, d_initial_cell = backward(
                d_sequence, d_last_hidden, d_last_cell, trace.gates, trace.cell, W, U, mask, recurrent_dropout_mask
            )
            previous_hidden = trace.hidden[:-1]  # (T, B, U)
            if recurrent_dropout_mask is not None:
                previous_hidden = previous_hidden * recurrent_dropout_mask
            # One product for both kernels and the bias: W, U and b are one matrix over [x_t h_{t-1} 1].
            joined = tf.concat([x, previous_hidden, tf.ones_like(x[..., :1])], axis=-1)  # (T, B, D + U + 1)
            joined = tf.reshape(joined, [-1, W.shape[0] + U.shape[0] + 1])
            d_W, d_U, d_b = tf.split(tf.matmul(joined, d_z, transpose_a=True), [W.shape[0], U.shape[0], 1])
            gradients = (d_x, d_initial_hidden, d_initial_cell, d_W, d_U)
            return gradients if bias is None else (*gradients, d_b[0])

        outputs = (kept.hidden[1:], kept.hidden[-1], kept.cell[-1]) if kept else _forward_alone(*arguments)
        return outputs, gradient

    return recurrence(x, initial_hidden, initial_cell, W, U, *([] if b is None else [b]))
