r"""The translator's decoder over a whole target in TensorFlow, with a hand-written gradient.

The arithmetic is that of the step of `nlp_lstm.models.translator`, an LSTM with attention and input feeding; what
differs is how much of it is done at once:

1. What a query and the attentional vector make of a source is made once, not at each step: with the dot product
   :math:`q_t^\top k_s = h_t^\top (W_q k_s)`, and in both kinds
   :math:`W_a [h_t \; \sum_s \alpha_s m_s] = W_h h_t + \sum_s \alpha_s (W_m m_s)`;
2. the loop keeps what the gradient needs, and the loop back carries only :math:`\partial h`, :math:`\partial c` and
   :math:`\partial \tilde{h}`: the gradients of the kernels, of the embedded target, and of what was made of the source
   are single large products after it. Only the keys of additive attention are summed up on the way, since each step
   has a tanh of its own for each of them;
3. both loops are compiled by XLA, for the next of a few lengths where the target's is not known. Sources come in few
   lengths, each with a number of rows of its own, and are taken as they are.

The input product is not taken out of the loop as `nlp_lstm.lstm_tensorflow` does it: beside two other products of
each step it costs the same within, and there is no array of all steps to fill.

However it is differentiated, it is right: see `nlp_lstm.traced_calls`. It is for training; outside the decoder walks
step by step, in operations that are fit for an export. Everything here is time major, `(T, B, ...)` in comments.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from nlp_lstm.lstm_tensorflow import activate_all_at_once, advance, project, room_for, through_gates, with_room
from nlp_lstm.traced_calls import call_compiled, call_traced, leaves, put_back


class ByRow(NamedTuple):
    """What belongs to the rows of a batch; all but the last are differentiated."""

    embedded: Any  # (T, B, E)
    hidden: Any  # (B, U)
    cell: Any  # (B, U)
    attended: Any  # (B, E)
    keys: Any  # (B, S, U), or (B, S, A) in additive attention: what a hidden state, or a query, is held against
    shares: Any  # (B, S, E), what each token of the source adds to the attentional vector
    is_token: Any  # boolean (B, S)


class Additive(NamedTuple):
    """The weights of additive attention."""

    kernel: Any  # (U, A)
    bias: Any  # (A,)
    score_weights: Any  # (A,)


class Weights(NamedTuple):
    """What all rows share; all are differentiated."""

    W: Any  # (2E, 4U), of the embedded token and of the attentional vector before
    U: Any  # (U, 4U)
    b: Any  # (4U,)
    combine: Any  # (U, E), of the hidden state in the attentional vector
    additive: Additive | None


class Trace(NamedTuple):
    """What the forward loop leaves behind, for the gradient."""

    gates: tf.Tensor  # (T, B, 4U): i, f, c~, o after their activations
    hidden: tf.Tensor  # (T + 1, B, U), the initial state first
    cell: tf.Tensor  # (T + 1, B, U), likewise
    attended: tf.Tensor  # (T + 1, B, E), likewise
    attention: tf.Tensor  # (T, B, S)


def attended_sequence(
    embedded: Any,
    hidden: Any,
    cell: Any,
    attended: Any,
    keys: Any,
    values: Any,
    is_token: Any,
    W: Any,
    U: Any,
    b: Any,
    query_kernel: Any,
    combine_kernel: Any,
    combine_bias: Any,
    query_bias: Any = None,
    score_weights: Any = None,
) -> Any:
    """The attentional vector after each embedded token, in training.

    >>> embedded, state = tf.random.normal((3, 1, 4)), tf.zeros((1, 5))
    >>> keys, values = tf.random.normal((1, 6, 2)), tf.random.normal((1, 6, 8))
    >>> weights = [tf.random.normal(shape) for shape in ((4 + 4, 20), (5, 20), (20,), (5, 2), (5 + 8, 4), (4,))]
    >>> attended_sequence(embedded, state, state, tf.zeros((1, 4)), keys, values, keys[..., 0] < 9, *weights).shape
    TensorShape([3, 1, 4])

    Args:
        embedded: the target, `(time, batch, width)`.
        hidden: where the LSTM begins, `(batch, units)`.
        cell: likewise.
        attended: the attentional vector before the first step, `(batch, width)`.
        keys: of the source, `(batch, source, attention)`.
        values: the states of the encoder, `(batch, source, features)`.
        is_token: boolean `(batch, source)`, false where a source is padded. No gradient flows into it.
        W: the LSTM's kernel over the embedded token and the attentional vector before, `(2 * width, 4 * units)`.
        U: its recurrent kernel `(units, 4 * units)`.
        b: its bias `(4 * units,)`.
        query_kernel: `(units, attention)`.
        combine_kernel: of the attentional vector over the hidden state and the context, `(units + features, width)`.
        combine_bias: `(width,)`.
        query_bias: `(attention,)`, with additive attention.
        score_weights: `(attention,)` for additive attention; None for the scaled dot product.

    Returns:
        `(time, batch, width)`. Differentiable in all floating arguments, as often as you like.
    """
    units = U.shape[0]
    additive = None
    if score_weights is None:
        keys = project(keys, tf.transpose(query_kernel) / query_kernel.shape[1] ** 0.5)  # (B, S, U)
    else:
        additive = Additive(query_kernel, query_bias, score_weights)
    # The weights of a source sum up to one, and so does the bias that each token brings.
    shares = project(values, combine_kernel[units:]) + combine_bias  # (B, S, E)
    by_row = ByRow(embedded, hidden, cell, attended, keys, shares, is_token)
    sequence = call_traced(_trained_sequence, by_row, Weights(W, U, b, combine_kernel[:units], additive))
    sequence.set_shape([embedded.shape[0], None, None])
    return sequence


def _look(hidden: Any, keys: Any, is_token: Any, additive: Any) -> Any:
    """The weight of each token of the source, `(B, S)`."""
    if additive is None:
        scores = tf.matmul(hidden[:, None], keys, transpose_b=True)[:, 0]
    else:
        mixed = tf.tanh((tf.matmul(hidden, additive.kernel) + additive.bias)[:, None] + keys)  # (B, S, A)
        scores = tf.reduce_sum(mixed * additive.score_weights, axis=-1)
    return tf.nn.softmax(tf.where(is_token, scores, tf.constant(-1e9, scores.dtype)))


def _forward(by_row: Any, weights: Any) -> Trace:
    """All steps with what the gradient needs; beside the `ByRow` stands their number, or None for the room there is."""
    (embedded, hidden, cell, attended, keys, shares, is_token), steps = by_row
    W, U, b, combine, additive = weights
    room = tf.shape(embedded)[0]
    steps = room if steps is None else steps
    kernels = tf.concat([W, U], axis=0)  # (2E + U, 4U), over [x_t a_{t-1} h_{t-1}]

    def array(size: Any, like: Any) -> tf.TensorArray:
        return tf.TensorArray(U.dtype, size=size, element_shape=like.shape)

    def body(t: Any, h: Any, c: Any, a: Any, gates: Any, hiddens: Any, cells: Any, attendeds: Any, looks: Any) -> Any:
        product = tf.matmul(tf.concat([embedded[t], a, h], axis=-1), kernels)
        gates_now, h, c = advance(b, product, h, c, activate=activate_all_at_once)
        attention = _look(h, keys, is_token, additive)
        a = tf.tanh(tf.matmul(h, combine) + tf.matmul(attention[:, None], shares)[:, 0])
        return (
            *(t + 1, h, c, a, gates.write(t, gates_now), hiddens.write(t + 1, h), cells.write(t + 1, c)),
            *(attendeds.write(t + 1, a), looks.write(t, attention)),
        )

    _, _, _, _, *arrays = tf.while_loop(
        lambda t, *_: t < steps,
        body,
        (
            *(tf.constant(0), hidden, cell, attended),
            tf.TensorArray(U.dtype, size=room, element_shape=[hidden.shape[0], U.shape[1]]),
            *(array(room + 1, initial).write(0, initial) for initial in (hidden, cell, attended)),
            array(room, is_token),
        ),
        maximum_iterations=room,
    )
    return Trace(*(kept.stack() for kept in arrays))


def _backward(by_row: Any, weights: Any) -> Any:
    r"""Carry :math:`\partial h`, :math:`\partial c` and :math:`\partial \tilde{h}` back, and keep what products need.

    Returns:
        The gradients of every step's :math:`z` `(T, B, 4U)`, of the attentional vector before its tanh `(T, B, E)`, and
        of the scores `(T, B, S)` or, in additive attention, of the query `(T, B, A)`; those of the initial states; in
        additive attention, of the keys and of the score weights.
    """
    d_sequence, (gates, hiddens, cells, attendeds, looks), keys, shares, queries, steps = by_row
    W, U, combine, additive = weights
    room, width = tf.shape(gates)[0], attendeds.shape[-1]
    steps = room if steps is None else steps
    # Laid out once rather than at each step.
    kernels_back, combine_back = tf.transpose(tf.concat([W[width:], U], axis=0)), tf.transpose(combine)

    def body(t: Any, d_h: Any, d_c: Any, d_a: Any, all_d_z: Any, all_d_u: Any, all_d_look: Any, sums: Any) -> Any:
        attention, a, c = looks[t], attendeds[t + 1], cells[t + 1]
        d_u = (d_a + d_sequence[t]) * (1.0 - a * a)  # (B, E), before the tanh
        d_attention = tf.matmul(d_u[:, None], shares, transpose_b=True)[:, 0]  # (B, S)
        d_scores = attention * (d_attention - tf.reduce_sum(attention * d_attention, axis=-1, keepdims=True))
        d_h = d_h + tf.matmul(d_u, combine_back)
        if additive is None:
            d_look = d_scores
            d_h = d_h + tf.matmul(d_scores[:, None], keys)[:, 0]
        else:
            mixed = tf.tanh(queries[t][:, None] + keys)  # (B, S, A)
            d_mixed = d_scores[:, :, None] * additive.score_weights * (1.0 - mixed * mixed)
            d_look = tf.reduce_sum(d_mixed, axis=1)  # (B, A)
            d_h = d_h + tf.matmul(d_look, tf.transpose(additive.kernel))
            d_keys, d_score_weights = sums
            d_of_row = tf.matmul(d_scores[:, None], mixed)[:, 0]  # (B, A)
            sums = (d_keys + d_mixed, d_score_weights + d_of_row)
        _, f, _, o = tf.split(gates[t], 4, axis=-1)
        tanh_c = tf.tanh(c)
        d_c = d_c + d_h * o * (1.0 - tanh_c * tanh_c)
        d_z = through_gates(gates[t], cells[t], tanh_c, d_h, d_c)
        d_a, d_h = tf.split(tf.matmul(d_z, kernels_back), [width, -1], axis=-1)
        d_c = d_c * f
        for carried, initial in zip((d_h, d_c, d_a, *sums), (*initials, *no_sums), strict=True):
            carried.set_shape(initial.shape)  # what comes of arrays may know less of it
        return (
            *(t - 1, d_h, d_c, d_a),
            *(all_d_z.write(t, d_z), all_d_u.write(t, d_u), all_d_look.write(t, d_look), sums),
        )

    def array(shape: Any) -> tf.TensorArray:
        return tf.TensorArray(U.dtype, size=room, element_shape=shape)

    initials = [tf.zeros_like(states[0]) for states in (hiddens, cells, attendeds)]
    d_looks_shape = looks.shape[1:] if additive is None else queries.shape[1:]
    no_sums: tuple[Any, ...] = ()
    if additive is not None:
        no_sums = (tf.zeros_like(keys), tf.zeros_like(queries[0]))
    _, d_h, d_c, d_a, all_d_z, all_d_u, all_d_look, sums = tf.while_loop(
        lambda t, *_: t >= 0,
        body,
        (
            *(steps - 1, *initials),
            *(array(gates.shape[1:]), array(attendeds.shape[1:]), array(d_looks_shape), no_sums),
        ),
        maximum_iterations=room,
    )
    return all_d_z.stack(), all_d_u.stack(), all_d_look.stack(), d_h, d_c, d_a, sums


# Half as many as of `nlp_lstm.lstm_tensorflow`, since targets of many lengths stand beside sources of one.
_ROOMS = [1, 2, 3, *(halves << power for power in range(1, 28) for halves in (2, 3))]


def _trained_sequence(by_row: Any, weights: Any) -> Any:
    """The attentional vectors with the hand-written gradient."""
    constants = by_row[-1:]
    given = (by_row[:-1], weights)

    @tf.custom_gradient
    def recurrence(*tensors: Any) -> Any:
        rows, weights = put_back(given, tensors)
        by_row = ByRow(*rows, *constants)
        steps, room = None, None
        if by_row.embedded.shape[0] is None:
            steps = tf.shape(by_row.embedded)[0]
            room = room_for(steps, _ROOMS)
        walked = by_row._replace(embedded=with_room(by_row.embedded, room))
        trace = call_compiled(_forward, (walked, steps), weights)

        def gradient(d_sequence: Any) -> Any:
            found = _gradient(by_row, weights, trace, steps, with_room(d_sequence, room))
            return leaves(found)

        return trace.attended[1:] if steps is None else trace.attended[1 : steps + 1], gradient

    return recurrence(*leaves(given))


def _gradient(by_row: Any, weights: Any, trace: Any, steps: Any, d_sequence: Any) -> Any:
    """The gradient in the form of what is differentiated: a `ByRow` without its mask, and `Weights`."""
    embedded, _, _, _, keys, shares, _ = by_row
    W, U, _, combine, additive = weights
    width, units = embedded.shape[-1], U.shape[0]
    queries = None
    if additive is not None:
        queries = project(trace.hidden[1:], additive.kernel) + additive.bias  # (T, B, A)
    d_z, d_u, d_look, d_hidden, d_cell, d_attended, sums = call_compiled(
        _backward, (d_sequence, trace, keys, shares, queries, steps), (W, U, combine, additive)
    )
    attention, hidden, attended = trace.attention, trace.hidden, trace.attended
    if steps is not None:  # what has only room
        d_z, d_u, d_look, attention = (part[:steps] for part in (d_z, d_u, d_look, attention))
        hidden, attended = hidden[: steps + 1], attended[: steps + 1]

    def flat(sequence: Any) -> Any:
        return tf.reshape(sequence, [-1, sequence.shape[-1]])

    flat_d_z, flat_d_u, flat_hidden = flat(d_z), flat(d_u), flat(hidden[1:])
    # One product for both kernels and the bias: they are one matrix over [x_t a_{t-1} h_{t-1} 1].
    joined = flat(tf.concat([embedded, attended[:-1], hidden[:-1], tf.ones_like(embedded[..., :1])], axis=-1))
    d_W, d_U, d_b = tf.split(tf.matmul(joined, flat_d_z, transpose_a=True), [2 * width, units, 1])
    d_embedded = tf.reshape(tf.matmul(flat_d_z, W[:width], transpose_b=True), tf.shape(embedded))
    d_combine = tf.matmul(flat_hidden, flat_d_u, transpose_a=True)
    d_shares = tf.einsum("tbs,tbe->bse", attention, d_u)
    if additive is None:
        d_keys, d_additive = tf.einsum("tbs,tbu->bsu", d_look, hidden[1:]), None
    else:
        d_keys, d_of_rows = sums
        d_additive = Additive(
            tf.matmul(flat_hidden, flat(d_look), transpose_a=True),
            tf.reduce_sum(d_look, axis=[0, 1]),
            tf.reduce_sum(d_of_rows, axis=0),
        )
    d_by_row = (d_embedded, d_hidden, d_cell, d_attended, d_keys, d_shares)
    return d_by_row, Weights(d_W, d_U, d_b[0], d_combine, d_additive)
