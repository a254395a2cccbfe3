"""The plain walk of `nlp_lstm.lstm.LSTM`: step by step, on any Keras backend and with any activation."""

from typing import Any, NamedTuple

import keras
from keras import ops


class Drawn(NamedTuple):
    """What is drawn once for a batch of sequences, before the loop; None for what is not."""

    recurrent_dropout_mask: Any = None  # (B, U)
    recurrent_kernel_mask: Any = None  # (U, 4U)
    kept: Any = None  # what zoneout keeps: two of (B, T, U) in the order of the walk, or two numbers


class _WalkingCell(keras.layers.Layer):
    """The step-by-step walk of `LSTM`: an `LSTMCell`'s step with what was drawn for the sequence.

    Its output is the hidden state, or all six `Gates` side by side: one loop serves both the layer and the look inside.
    Where zoneout was drawn for each step, both draws come behind the input's features.
    """

    def __init__(self, cell: Any, drawn: Any, gates_too: bool) -> None:
        super().__init__(dtype=cell.dtype_policy)
        self.wrapped = cell
        self.drawn = drawn
        self.gates_too = gates_too
        self.output_size = cell.units * (6 if gates_too else 1)
        # Keras's loop on JAX and NumPy takes the first state for the last output, which a masked step gives again.
        self.state_size = [self.output_size, *cell.state_size] if gates_too else cell.state_size
        self.built = True

    def call(self, inputs: Any, states: Any) -> Any:
        h, c = states[-2:]
        kept, units = self.drawn.kept, self.wrapped.units
        if kept is not None and len(kept[0].shape):
            inputs, *kept = ops.split(inputs, [inputs.shape[-1] - 2 * units, inputs.shape[-1] - units], axis=-1)
        mask = self.drawn.recurrent_dropout_mask
        gates = self.wrapped.step(inputs, h if mask is None else h * mask, c, self.drawn.recurrent_kernel_mask)
        gates = self.wrapped.zone_out(gates, h, c, kept)
        if not self.gates_too:
            return gates.hidden, [gates.hidden, gates.cell]
        output = ops.concatenate(list(gates), axis=-1)
        return output, [output, gates.hidden, gates.cell]


def walk(
    cell: Any,
    sequences: Any,
    initial_state: Any,
    mask: Any,
    drawn: Any,
    gates_too: bool,
    *,
    go_backwards: bool = False,
    unroll: bool = False,
    dtype: Any = None,
) -> Any:
    """Run a cell over a sequence, one step after the other.

    >>> from nlp_lstm.lstm import LSTMCell
    >>> cell, x = LSTMCell(4), np.ones((2, 5, 3), "float32")
    >>> cell.build((2, 3))
    >>> outputs, h, c = walk(cell, x, cell.get_initial_state(2), None, Drawn(), gates_too=False)
    >>> tuple(outputs.shape), np.array_equal(outputs[:, -1], h)
    ((2, 5, 4), True)

    Args:
        cell: an `LSTMCell`.
        sequences: `(batch, time, features)`.
        initial_state: `[hidden, cell]`, each `(batch, units)`.
        mask: boolean `(batch, time)`, or None.
        drawn: what was drawn for these sequences.
        gates_too: give all six `Gates` side by side, and not the hidden state alone.
        go_backwards: walk from the last step to the first; the output is in that order.
        unroll: lay the steps out one by one rather than in a loop.
        dtype: a policy, by default the global one.

    Returns:
        The output `(batch, time, units or 6 * units)`, and the last hidden and cell state `(batch, units)`.
    """
    if drawn.kept is not None and len(drawn.kept[0].shape):
        # The loop turns them round with the input.
        by_input = [ops.flip(kept, axis=1) if go_backwards else kept for kept in drawn.kept]
        sequences = ops.concatenate([sequences, *by_input], axis=-1)  # (B, T, D + 2U)
    loop = keras.layers.RNN(
        _WalkingCell(cell, drawn, gates_too),
        return_sequences=True,
        return_state=True,
        go_backwards=go_backwards,
        unroll=unroll,
        dtype=dtype,
    )
    states = list(initial_state)
    if gates_too:
        states.insert(0, ops.tile(ops.zeros_like(states[0]), (1, 6)))
    outputs, *states = loop(sequences, initial_state=states, mask=mask)
    return outputs, *states[-2:]
