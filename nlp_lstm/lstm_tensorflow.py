r"""The LSTM recurrence over a whole sequence in TensorFlow, with a hand-written gradient.

The arithmetic is that of `nlp_lstm.lstm.lstm_step`; what differs is how much of it is done at once (Appleyard,
Kočiský and Blunsom 2016, "Optimizing Performance of Recurrent Neural Networks on GPUs", arXiv:1604.01946):

1. the input product :math:`x_t W + b` of all steps is one matrix product before the loop (outside training, with more
   than a few rows, it is one a step, which takes less memory and is quicker than to write it all down);
2. each step does a single product :math:`h_{t-1} U` for the four gates together;
3. the loop keeps what the gradient needs, so nothing is computed again on the way back, and the backward loop carries
   only :math:`\partial h` and :math:`\partial c`: the gradients of the kernels, the bias and the input are
   single large products after it;
4. in training the loops are compiled by XLA. Outside training they are plain (`tf.while_loop`), because a stock
   TensorFlow Serving has XLA switched off and what is exported must run there; they are differentiated by TensorFlow
   itself, also after an export.

Whatever else is done with the derivative (a second one, one in forward mode, one of each row, one within control flow)
is right, too, if slower: see `nlp_lstm.traced_calls`.

With an input in half precision (a `mixed_bfloat16` policy) the large products of 1 and 3 are taken in it, by
TensorFlow's own kernels, and the recurrence itself stays in the dtype of the recurrent kernel: a state that is rounded
at every step forgets, and XLA's half-precision products are slower than its float32 ones.

Everything here is time major: `(time, batch, ...)`, written `(T, B, ...)` in comments.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import tensorflow as tf

from nlp_lstm.lstm_regularizers import Gains, Standardized, normalize, standardize
from nlp_lstm.lstm_regularizers import zoneout as mix_states
from nlp_lstm.traced_calls import call_compiled, call_traced, leaves, put_back


class Normalized(NamedTuple):
    """What layer normalisation standardised, of one step or of all."""

    recurrent: Standardized  # (T, B, 4U)
    cell: Standardized  # (T, B, U)


class Trace(NamedTuple):
    """What the forward loop leaves behind, for the gradient and for looking at the gates."""

    gates: tf.Tensor  # (T, B, 4U): i, f, c~, o after their activations
    hidden: tf.Tensor  # (T + 1, B, U), the initial state first
    cell: tf.Tensor  # (T + 1, B, U), the initial state first
    kernel: Standardized | None = None  # (T, B, 4U), the input product; this and the next for the gradient alone
    normalized: Normalized | None = None


def _per_gate(i: Any, f: Any, c: Any, o: Any, units: int, dtype: Any) -> Any:
    return tf.repeat(tf.constant([i, f, c, o], dtype), units)  # (4U,)


def _activate(z: Any) -> Any:
    """The activations of `z` `(B, 4U)`: all gates side by side, and one by one."""
    z_i, z_f, z_c, z_o = tf.split(z, 4, axis=-1)  # each (B, U)
    gates = (tf.sigmoid(z_i), tf.sigmoid(z_f), tf.tanh(z_c), tf.sigmoid(z_o))
    return tf.concat(gates, axis=-1), gates


def activate_all_at_once(z: Any) -> Any:
    """The same as one run over all gates, by σ(z) = (tanh(z / 2) + 1) / 2.

    XLA makes a single vector loop of it. Its logistic needs an exponential and a division where its tanh is a short
    polynomial, and a concatenation inside its loop costs a branch an element.
    """
    scale = _per_gate(0.5, 0.5, 1.0, 0.5, z.shape[-1] // 4, z.dtype)
    gates = tf.tanh(z * scale) * scale + (1.0 - scale)
    return gates, tf.split(gates, 4, axis=-1)


def project(x: Any, W: Any) -> Any:
    """The input product of all steps without the bias, `(T, B, 4U)`, in the dtype of the input."""
    # A product of two matrices: a batched one would have a batched gradient, D * 4U numbers for every step.
    projected = tf.matmul(tf.reshape(x, [-1, W.shape[0]]), tf.cast(W, x.dtype))
    return tf.reshape(projected, [tf.shape(x)[0], tf.shape(x)[1], W.shape[1]])


def _add_bias(projected: Any, b: Any, dtype: Any) -> Any:
    projected = tf.cast(projected, dtype)
    return projected if b is None else projected + b


def _at(kept: Any, t: Any) -> Any:
    """The share of the state that zoneout keeps at a step: drawn for each in training, else the same for all."""
    return kept[t] if kept.shape.rank else kept


def advance(
    from_input: Any, from_hidden: Any, h: Any, c: Any, zoneout: Any = None, gains: Any = None, activate: Any = _activate
) -> tuple[Any, Any, Any]:
    """One step of the recurrence from the products it is made of.

    Args:
        from_input: :math:`x_t W + b`, `(batch, 4 * units)`.
        from_hidden: :math:`h_{t-1} U`, `(batch, 4 * units)`.
        h: :math:`h_{t-1}`, `(batch, units)`.
        c: :math:`c_{t-1}`, `(batch, units)`.
        zoneout: as in `lstm_sequence`, of this step.
        gains: as in `lstm_sequence`.
        activate: from `(batch, 4 * units)` to the gates side by side, and one by one.

    Returns:
        The gates side by side `(batch, 4 * units)`, :math:`h_t` and :math:`c_t`.
    """
    return _advance(from_input, from_hidden, h, c, zoneout, gains, activate)[:3]


def _advance(from_input: Any, from_hidden: Any, h: Any, c: Any, zoneout: Any, gains: Any, activate: Any) -> Any:
    """As `advance`, with what was `Normalized` in the step, or None, at the end."""
    normalized = None
    if gains is not None:
        recurrent = standardize(from_hidden)
        from_hidden = gains.recurrent * recurrent.values
    gates, (i, f, c_tilde, o) = activate(from_input + from_hidden)
    shown = new_c = f * c + i * c_tilde
    if gains is not None:
        # Before zoneout mixes the old state into it, and a mask puts that in its place.
        normalized = Normalized(recurrent, standardize(new_c))
        shown = gains.cell * normalized.cell.values + gains.cell_shift
    new_h = o * tf.tanh(shown)
    if zoneout is not None:
        kept_h, kept_c = zoneout
        new_c, new_h = mix_states(c, new_c, kept_c), mix_states(h, new_h, kept_h)
    return gates, new_h, new_c, normalized


def _step(
    projected: Any,
    h: Any,
    c: Any,
    U: Any,
    mask: Any,
    recurrent_dropout_mask: Any,
    zoneout: Any,
    gains: Any,
    activate: Any,
) -> Any:
    dropped = h if recurrent_dropout_mask is None else h * recurrent_dropout_mask
    product = U(dropped) if callable(U) else tf.matmul(dropped, U)
    gates, new_h, new_c, normalized = _advance(projected, product, h, c, zoneout, gains, activate)
    if mask is not None:
        new_c = tf.where(mask, new_c, c)
        new_h = tf.where(mask, new_h, h)
    return gates, new_h, new_c, normalized


class ByRow(NamedTuple):
    """What belongs to the rows of a batch; the first three are differentiated."""

    x: Any  # (T, B, D), or the input product (T, B, 4U) where there is no W
    initial_hidden: Any  # (B, U)
    initial_cell: Any  # (B, U)
    mask: Any = None  # (T, B, 1)
    recurrent_dropout_mask: Any = None  # (B, U)
    zoneout: Any = None  # two of (T, B, U), or two scalars


class Weights(NamedTuple):
    """What all rows share; all are differentiated."""

    W: Any  # (D, 4U)
    U: Any  # (U, 4U)
    b: Any = None  # (4U,)
    gains: Any = None  # without that of the kernel where the input product has gone through it already


def _forward(by_row: Any, weights: Any, all_at_once: bool = False, for_gradient: bool = True) -> Any:
    """The recurrence with all that the gradient needs: a `Trace`, and the last hidden and cell state.

    Beside the `ByRow` stands the number of steps to take, where that is less than there is room for, or None.
    """
    (x, initial_hidden, initial_cell, mask, recurrent_dropout_mask, zoneout), steps = by_row
    W, U, b, gains = weights
    projected, kernel = x if W is None else project(x, W), None
    if gains is not None and gains.kernel is not None:
        kernel = standardize(tf.cast(projected, U.dtype))
        projected = gains.kernel * kernel.values
    projected = _add_bias(projected, b, U.dtype)
    room, units = tf.shape(projected)[0], U.shape[0]
    steps = room if steps is None else steps
    activate = activate_all_at_once if all_at_once else _activate

    def states_after(initial: Any) -> Any:
        states = tf.TensorArray(initial.dtype, size=room + 1, element_shape=[projected.shape[1], units])
        return states.write(0, initial)

    def body(t: Any, h: Any, c: Any, all_gates: Any, all_hidden: Any, all_cells: Any, all_normalized: Any) -> Any:
        mask_now = None if mask is None else mask[t]
        zoneout_now = None if zoneout is None else [_at(kept, t) for kept in zoneout]
        gates, h, c, normalized = _step(
            all_gates.read(t), h, c, U, mask_now, recurrent_dropout_mask, zoneout_now, gains, activate
        )
        if all_normalized:
            all_normalized = _write(all_normalized, t, normalized)
        return (
            *(t + 1, h, c, all_gates.write(t, gates), all_hidden.write(t + 1, h), all_cells.write(t + 1, c)),
            all_normalized,
        )

    # Each step's gates take the place of its input product, which is read but once: XLA then needs no second array
    # of this size, nor zeros in it.
    all_gates = tf.TensorArray(
        U.dtype, size=room, element_shape=[projected.shape[1], 4 * units], clear_after_read=False
    )
    all_normalized: tuple = ()
    if gains is not None and for_gradient:
        all_normalized = Normalized(
            *(_room_for_standardized(U.dtype, room, projected.shape[1], width) for width in (4 * units, units))
        )
    _, h, c, all_gates, all_hidden, all_cells, all_normalized = tf.while_loop(
        lambda t, *_: t < steps,
        body,
        (
            tf.constant(0),
            initial_hidden,
            initial_cell,
            all_gates.unstack(projected),
            states_after(initial_hidden),
            states_after(initial_cell),
            all_normalized,
        ),
        maximum_iterations=room,
    )
    normalized = tf.nest.map_structure(lambda kept: kept.stack(), all_normalized) or None
    trace = Trace(
        all_gates.stack(), all_hidden.stack(), all_cells.stack(), kernel if for_gradient else None, normalized
    )
    if x.shape[0] is not None:  # stacking forgets the number of steps
        trace.gates.set_shape([x.shape[0], None, None])
        trace.hidden.set_shape([x.shape[0] + 1, None, None])
        trace.cell.set_shape([x.shape[0] + 1, None, None])
    return trace, h, c


def _room_for_standardized(dtype: Any, room: Any, rows: Any, width: int) -> Standardized:
    return Standardized(*(tf.TensorArray(dtype, size=room, element_shape=[rows, last]) for last in (width, 1)))


def _write(kept: Any, t: Any, values: Any) -> Any:
    """Each value into its `tf.TensorArray` at `t`; both nested alike."""
    return tf.nest.map_structure(lambda array, value: array.write(t, value), kept, values)


def hidden_sequence(
    projected: Any,
    initial_hidden: Any,
    initial_cell: Any,
    U: Any,
    b: Any = None,
    mask: Any = None,
    recurrent_dropout_mask: Any = None,
    zoneout: Any = None,
    gains: Any = None,
) -> Any:
    """The recurrence over input products that are there already, for inference: it keeps nothing for a gradient.

    >>> table = tf.random.normal((65, 4 * 8))  # E W + b, a row for each id
    >>> ids = tf.constant([[7], [1], [9]])  # (time, batch)
    >>> hidden, h, c = hidden_sequence(tf.gather(table, ids), tf.zeros((1, 8)), tf.zeros((1, 8)), tf.eye(8, 4 * 8))
    >>> hidden.shape, np.array_equal(hidden[-1], h)
    (TensorShape([3, 1, 8]), True)

    Args:
        projected: :math:`x_t W` of all steps, `(time, batch, 4 * units)`.
        U: as in `lstm_sequence`, or a `nlp_lstm.weight_matrix.WeightMatrix`.
        initial_hidden: and all others as in `lstm_sequence`.

    Returns:
        As `lstm_sequence`.
    """
    projected = _add_bias(projected, b, U.dtype)
    return _walk(projected, lambda z: z, initial_hidden, initial_cell, U, mask, recurrent_dropout_mask, zoneout, gains)


def _walk(
    sequence: Any,
    from_input: Any,
    initial_hidden: Any,
    initial_cell: Any,
    U: Any,
    mask: Any,
    recurrent_dropout_mask: Any,
    zoneout: Any,
    gains: Any,
) -> Any:
    """The recurrence over what `from_input` makes of each step of a sequence, `(batch, 4 * units)`."""
    steps = tf.shape(sequence)[0]
    # Not sliced at each step: the gradient of a slice is as long as all steps.
    by_step = tf.TensorArray(sequence.dtype, size=steps, element_shape=sequence.shape[1:]).unstack(sequence)

    def body(t: Any, h: Any, c: Any, all_hidden: Any) -> Any:
        mask_now = None if mask is None else mask[t]
        zoneout_now = None if zoneout is None else [_at(kept, t) for kept in zoneout]
        z = from_input(by_step.read(t))
        _, h, c, _ = _step(z, h, c, U, mask_now, recurrent_dropout_mask, zoneout_now, gains, _activate)
        return t + 1, h, c, all_hidden.write(t, h)

    _, h, c, all_hidden = tf.while_loop(
        lambda t, *_: t < steps,
        body,
        (
            tf.constant(0),
            initial_hidden,
            initial_cell,
            tf.TensorArray(U.dtype, size=steps, element_shape=[sequence.shape[1], U.shape[0]]),
        ),
        maximum_iterations=steps,
    )
    hidden = all_hidden.stack()
    hidden.set_shape([sequence.shape[0], None, None])  # stacking forgets the number of steps
    return hidden, h, c


def _through_standardizing(d_standardized: Any, standardized: Standardized) -> Any:
    """The gradient of what was standardised, from that of the result."""
    values, scale = standardized
    mean = tf.reduce_mean(d_standardized, axis=-1, keepdims=True)
    along = tf.reduce_mean(d_standardized * values, axis=-1, keepdims=True)
    return scale * (d_standardized - mean - values * along)


def through_gates(gates: Any, previous_c: Any, tanh_c: Any, d_h: Any, d_c: Any) -> Any:
    r"""The gradient of a step's :math:`z` `(B, 4U)` from that of its hidden state and of its cell state `(B, U)`.

    Args:
        gates: after their activations, `(B, 4U)`.
        previous_c: :math:`c_{t-1}`, and
        tanh_c: what the output gate was multiplied with, each `(B, U)`.
        d_h: the gradient of the hidden state, and
        d_c: that of the cell state, what reaches it by way of the hidden state counted in; each `(B, U)`.
    """
    i, _, c_tilde, _ = tf.split(gates, 4, axis=-1)
    d_gates = tf.concat([d_c * c_tilde, d_c * previous_c, d_c * i, d_h * tanh_c], axis=-1)
    # σ' = σ (1 - σ) for three gates and tanh' = (1 + tanh)(1 - tanh) for the candidate, in one expression.
    is_candidate = _per_gate(0.0, 0.0, 1.0, 0.0, i.shape[-1], gates.dtype)
    return d_gates * (gates + is_candidate) * (1.0 - gates)


class SharedGradients(NamedTuple):
    """Gradients of what layer normalisation shares between all steps and rows, summed over them."""

    b: tf.Tensor  # (4U,)
    gains: Gains


def _backward(by_row: Any, weights: Any) -> Any:
    r"""Carry :math:`\partial h` and :math:`\partial c` back through time and keep every step's :math:`\partial z`.

    With layer normalisation it keeps instead what the two products have of it, that of the input and that of the hidden
    state, and sums the `SharedGradients` on its way.
    """
    d_sequence, d_last_hidden, d_last_cell, trace, mask, recurrent_dropout_mask, zoneout, steps = by_row
    gates, _, cells, kernel, normalized = trace
    U, gains = weights
    room = tf.shape(gates)[0]
    steps = room if steps is None else steps
    U_transposed = tf.transpose(U)  # laid out once rather than at each step

    def body(t: Any, d_h: Any, d_c: Any, all_d_products: Any, shared: Any) -> Any:
        i, f, c_tilde, o = tf.split(gates[t], 4, axis=-1)
        d_h = d_h + d_sequence[t]
        all_d_h, all_d_c, c = d_h, d_c, cells[t + 1]
        if zoneout is not None:
            kept_h, kept_c = (_at(kept, t) for kept in zoneout)
            d_h, d_c = d_h * (1.0 - kept_h), d_c * (1.0 - kept_c)
            c = f * cells[t] + i * c_tilde  # before the old state was mixed in
        if gains is not None:
            kernel_now, now = tf.nest.map_structure(lambda kept: kept[t], (kernel, normalized))
        tanh_c = tf.tanh(c if gains is None else gains.cell * now.cell.values + gains.cell_shift)
        d_shown = d_h * o * (1.0 - tanh_c * tanh_c)
        if mask is not None:
            d_shown = tf.where(mask[t], d_shown, tf.zeros_like(d_shown))
        d_new_c = d_c + (d_shown if gains is None else _through_standardizing(d_shown * gains.cell, now.cell))
        d_z = through_gates(gates[t], cells[t], tanh_c, d_h, d_new_c)
        d_previous_c = d_new_c * f
        if zoneout is not None:
            d_previous_c = d_previous_c + all_d_c * kept_c
        if mask is not None:  # a masked step hands its state on, and its gradient back, untouched
            d_z = tf.where(mask[t], d_z, tf.zeros_like(d_z))
            d_previous_c = tf.where(mask[t], d_previous_c, all_d_c)
        d_products: tuple = (d_z,)
        if gains is not None:
            d_products = (
                _through_standardizing(d_z * gains.kernel, kernel_now),
                _through_standardizing(d_z * gains.recurrent, now.recurrent),
            )
            found = (d_z, d_z * kernel_now.values, d_z * now.recurrent.values, d_shown * now.cell.values, d_shown)
            shared = [total + of_step for total, of_step in zip(shared, found, strict=True)]
        d_previous_h = tf.matmul(d_products[-1], U_transposed)
        if recurrent_dropout_mask is not None:
            d_previous_h = d_previous_h * recurrent_dropout_mask
        if zoneout is not None:
            d_previous_h = d_previous_h + all_d_h * kept_h
        if mask is not None:
            d_previous_h = tf.where(mask[t], d_previous_h, all_d_h)
        return t - 1, d_previous_h, d_previous_c, _write(all_d_products, t, d_products), shared

    # Summed over the rows after the loop: XLA goes down the columns of a matrix, a long way from number to number.
    shared: list = []
    if gains is not None:
        wide, narrow = tf.zeros_like(gates[0]), tf.zeros_like(d_last_cell)
        shared = [wide, wide, wide, narrow, narrow]
    all_d_products = tuple(
        tf.TensorArray(gates.dtype, size=room, element_shape=gates.shape[1:]) for _ in range(1 if gains is None else 2)
    )
    _, d_h, d_c, all_d_products, shared = tf.while_loop(
        lambda t, *_: t >= 0,
        body,
        (steps - 1, d_last_hidden, d_last_cell, all_d_products, shared),
        maximum_iterations=room,
    )
    d_input_product, d_hidden_product = all_d_products[0].stack(), all_d_products[-1].stack()
    if gains is None:
        return d_input_product, None, d_h, d_c, None
    d_b, *d_gains = (tf.reduce_sum(rows, axis=0) for rows in shared)
    return d_input_product, d_hidden_product, d_h, d_c, SharedGradients(d_b, Gains(*d_gains))


def trace_sequence(
    x: Any,
    initial_hidden: Any,
    initial_cell: Any,
    W: Any,
    U: Any,
    b: Any = None,
    mask: Any = None,
    recurrent_dropout_mask: Any = None,
    zoneout: Any = None,
    gains: Any = None,
) -> Trace:
    """Run the recurrence and return every gate and state, a `Trace`; arguments as of `lstm_sequence`.

    Without a `W`, `x` is the input product, normalised where there are `gains`.
    """
    if W is None and gains is not None:
        gains = gains._replace(kernel=None)
    by_row = ByRow(x, initial_hidden, initial_cell, mask, recurrent_dropout_mask, zoneout)
    return _forward((by_row, None), Weights(W, U, b, gains), for_gradient=False)[0]


JitCompile = Literal["auto"] | bool
"""Whether XLA compiles the loops of training: see `lstm_sequence`."""


def lstm_sequence(
    x: Any,
    initial_hidden: Any,
    initial_cell: Any,
    W: Any,
    U: Any,
    b: Any = None,
    mask: Any = None,
    recurrent_dropout_mask: Any = None,
    zoneout: Any = None,
    gains: Any = None,
    training: bool = False,
    jit_compile: JitCompile = "auto",
    product_ahead: bool = False,
) -> Any:
    """Run an LSTM over a whole sequence; the letters are those of `nlp_lstm.lstm.lstm_step`.

    >>> x, W, U = tf.random.normal((3, 1, 5)), tf.random.normal((5, 4 * 8)), tf.eye(8, 4 * 8)
    >>> sequence, h, c = lstm_sequence(x, tf.zeros((1, 8)), tf.zeros((1, 8)), W, U, tf.zeros(4 * 8))
    >>> sequence.shape, np.array_equal(sequence[-1], h)
    (TensorShape([3, 1, 8]), True)

    Args:
        x: `(time, batch, features)`; it may be of lower precision than all others, which are of one dtype.
        initial_hidden: `(batch, units)`.
        initial_cell: `(batch, units)`.
        W: the kernel `(features, 4 * units)`, gates in the order i, f, c, o.
        U: the recurrent kernel `(units, 4 * units)`.
        b: the bias `(4 * units,)`, or None.
        mask: optional boolean `(time, batch, 1)`; where false the state is handed on unchanged.
        recurrent_dropout_mask: optional `(batch, units)`, multiplies :math:`h_{t-1}` in every step (Gal and Ghahramani
            2016). It is taken as a constant: no gradient flows into it.
        zoneout: optional pair, the share of :math:`h_{t-1}` and of :math:`c_{t-1}` that a step keeps (Krueger et al.
            2017, eq. 5 and 6): each `(time, batch, units)`, or a scalar. Constants, too.
        gains: optional `nlp_lstm.lstm_regularizers.Gains`, for layer normalisation.
        training: take the hand-written gradient, which keeps what it needs on the way there. Without it the loop is
            TensorFlow's to differentiate, and fit for export.
        jit_compile: in training, whether XLA compiles the loops, which takes about as long as ten steps of training.
            "auto" does so where the length is known when the graph is built. True always does, and where the length is
            not known makes room for the next of a few lengths, so that many share what was compiled. False never does.
        product_ahead: outside training, take the input product of all steps before the loop however many rows there
            are: quicker where another LSTM runs at the same time, and uses the cores that a loop of one leaves idle.

    Returns:
        The hidden states `(time, batch, units)`, the last hidden and the last cell state `(batch, units)`, in the
        dtype of `U`. Differentiable in `x`, both initial states, `W`, `U`, `b` and `gains`, as often as you like.
    """
    if gains is not None and not training:
        x = _add_bias(normalize(tf.cast(project(x, W), U.dtype), gains.kernel), b, U.dtype)
        W, b, gains = None, None, gains._replace(kernel=None)
    by_row = ByRow(x, initial_hidden, initial_cell, mask, recurrent_dropout_mask, zoneout)
    weights = Weights(W, U, b, gains)
    if not training:
        return _plain_sequence(by_row, weights, product_ahead)
    results = call_traced(_trained_sequence, by_row, weights, jit_compile)
    results[0].set_shape([x.shape[0], None, None])
    return results


_FEW_ROWS = 4
"""With fewer the input product of all steps is taken before the loop, since one a step would read all of `W` for them;
else in the loop, since all of it is more than a processor's caches hold, and has to be written to fresh memory."""


def _plain_sequence(by_row: Any, weights: Any, product_ahead: bool = False) -> Any:
    """The recurrence in operations that TensorFlow differentiates by itself: what all others must equal."""
    x, initial_hidden, initial_cell, mask, recurrent_dropout_mask, zoneout = by_row
    W, U, b, gains = weights
    others = (mask, recurrent_dropout_mask, zoneout, gains)

    def product_before() -> Any:
        projected = x if W is None else project(x, W)
        return hidden_sequence(projected, initial_hidden, initial_cell, U, b, *others)

    def product_within() -> Any:
        def from_input(x_t: Any) -> Any:
            product = tf.matmul(x_t, W)
            return product if b is None else tf.nn.bias_add(product, b)

        return _walk(x, from_input, initial_hidden, initial_cell, U, *others)

    if product_ahead or W is None or x.dtype != U.dtype:  # in half precision a large product gains more
        return product_before()
    rows = x.shape[1]
    if rows is None:
        return tf.cond(tf.shape(x)[1] < _FEW_ROWS, product_before, product_within)
    return product_before() if rows < _FEW_ROWS else product_within()


def _trained_sequence(by_row: Any, weights: Any, jit_compile: JitCompile) -> Any:
    """The recurrence with the hand-written gradient."""
    constants = by_row[3:]
    given = (by_row[:3], weights)

    @tf.custom_gradient
    def recurrence(*tensors: Any) -> Any:
        rows, weights = put_back(given, tensors)
        by_row = ByRow(*rows, *constants)
        steps, room = None, None
        length_is_known = by_row.x.shape[0] is not None
        compiled = length_is_known if jit_compile == "auto" else bool(jit_compile)
        if compiled and not length_is_known:
            steps = tf.shape(by_row.x)[0]
            room = room_for(steps)
        walked, walked_weights = with_room(by_row, room), weights
        if weights.W is not None and by_row.x.dtype != weights.U.dtype:
            # Else inside, since XLA then writes the gates over the product, which it may not do to what comes to it.
            walked, walked_weights = walked._replace(x=project(walked.x, weights.W)), weights._replace(W=None)
        trace, h, c = _loop(_forward, (walked, steps), walked_weights, compiled)

        def gradient(*d_results: Any) -> Any:
            found = _gradient(by_row, weights, trace, steps, room, d_results, compiled)
            return leaves(found)

        return (trace.hidden[1:] if steps is None else trace.hidden[1 : steps + 1], h, c), gradient

    return recurrence(*leaves(given))


def _loop(function: Any, by_row: Any, weights: Any, compiled: bool) -> Any:
    settings = (True,) if compiled and function is _forward else ()
    return call_compiled(function, by_row, weights, *settings, jit_compile=compiled)


# Few, since XLA compiles the loops for each, and near one another, since room costs zeros and a longer input product;
# the loops take no more steps than there are.
_ROOMS = [*range(1, 8), *(quarters << power for power in range(1, 28) for quarters in (4, 5, 6, 7))]


def room_for(steps: Any, rooms: Sequence[int] = _ROOMS) -> Any:
    """The least of some lengths that holds so many steps."""
    lengths = tf.constant(rooms, tf.int32)
    return tf.reduce_min(tf.where(lengths >= steps, lengths, lengths[-1]))


def with_room(sequences: Any, room: Any) -> Any:
    """Zeros behind what has a time, up to `room` steps; None for no more than there are."""

    def longer(sequence: Any) -> Any:
        if sequence is None or sequence.shape.rank != 3:
            return sequence
        return tf.pad(sequence, [[0, room - tf.shape(sequence)[0]], [0, 0], [0, 0]])

    return sequences if room is None else tf.nest.map_structure(longer, sequences)


def _gradient(by_row: Any, weights: Any, trace: Any, steps: Any, room: Any, d_results: Any, compiled: bool) -> Any:
    """The gradient by `x`, both initial states, and each of the weights, None where there is none."""
    x, _, _, mask, recurrent_dropout_mask, zoneout = by_row
    W, U, b, gains = weights
    (d_sequence, d_last_hidden, d_last_cell), mask, zoneout = with_room((d_results, mask, zoneout), room)
    previous_hidden = trace.hidden[:-1]  # (T, B, U)
    if recurrent_dropout_mask is not None:
        previous_hidden = previous_hidden * recurrent_dropout_mask
    d_z, d_hidden_product, d_initial_hidden, d_initial_cell, shared = _loop(
        _backward,
        (d_sequence, d_last_hidden, d_last_cell, trace, mask, recurrent_dropout_mask, zoneout, steps),
        (U, gains),
        compiled,
    )
    if steps is not None:
        d_z, previous_hidden = d_z[:steps], previous_hidden[:steps]
    d_z = tf.cast(tf.reshape(d_z, [-1, U.shape[1]]), x.dtype)  # (TB, 4U)
    d_x = tf.reshape(tf.matmul(d_z, tf.cast(W, x.dtype), transpose_b=True), tf.shape(x))
    if gains is not None:
        d_hidden_product = d_hidden_product if steps is None else d_hidden_product[:steps]
        d_hidden_product = tf.cast(tf.reshape(d_hidden_product, [-1, U.shape[1]]), x.dtype)
        flat_x, flat_hidden = tf.reshape(x, [-1, W.shape[0]]), tf.reshape(previous_hidden, [-1, U.shape[0]])
        d_W = tf.cast(tf.matmul(flat_x, d_z, transpose_a=True), U.dtype)
        d_U = tf.cast(tf.matmul(tf.cast(flat_hidden, x.dtype), d_hidden_product, transpose_a=True), U.dtype)
        d_b = None if b is None else shared.b
        return d_x, d_initial_hidden, d_initial_cell, d_W, d_U, d_b, *shared.gains
    # One product for both kernels and the bias: W, U and b are one matrix over [x_t h_{t-1} 1].
    joined = tf.concat([x, tf.cast(previous_hidden, x.dtype), tf.ones_like(x[..., :1])], axis=-1)
    joined = tf.reshape(joined, [-1, W.shape[0] + U.shape[0] + 1])  # (TB, D + U + 1)
    d_weights = tf.cast(tf.matmul(joined, d_z, transpose_a=True), U.dtype)
    d_W, d_U, d_b = tf.split(d_weights, [W.shape[0], U.shape[0], 1])
    return d_x, d_initial_hidden, d_initial_cell, d_W, d_U, None if b is None else d_b[0]
