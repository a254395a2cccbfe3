"""The oracle: an LSTM in NumPy and float64, one row, one step and one gate at a time, and differences for gradients.

It shares nothing with `nlp_lstm`: no code, no blocks of gates multiplied at once, no loop over a whole batch.
"""

from typing import NamedTuple

import keras
import numpy as np

GATES = ("input", "forget", "candidate", "output")  # the order of the blocks in Keras's kernels


class Run(NamedTuple):
    """What an LSTM does with a sequence; steps stand in the order in which they are walked."""

    shown: np.ndarray  # (B, T, U): what the layer gives with return_sequences
    last_shown: np.ndarray  # (B, U): what it gives without
    last_hidden: np.ndarray  # (B, U)
    last_cell: np.ndarray  # (B, U)
    gates: dict[str, np.ndarray]  # each (B, T, U): the four gates, "cell", and as "hidden" what is shown


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def block(weights, gate):
    """The columns of one gate."""
    units = weights.shape[-1] // 4
    start = GATES.index(gate) * units
    return weights[..., start : start + units]


def normalized(v, gain):
    """Layer normalisation of one vector (Ba, Kiros and Hinton 2016, eq. 15)."""
    centred = v - np.mean(v)
    return gain * centred / np.sqrt(np.mean(centred**2) + 1e-5)


def lstm(
    x,
    kernel,
    recurrent_kernel,
    bias=None,
    initial_state=None,
    mask=None,
    *,
    go_backwards=False,
    zero_output_for_mask=False,
    input_dropout=None,
    recurrent_dropout=None,
    recurrent_kernel_dropout=None,
    zoneout=None,
    gains=None,
):
    """Run an LSTM over `x` `(batch, time, features)`.

    A masked step leaves the state as it is, shows the hidden state (or zeros, with `zero_output_for_mask`) and has the
    gates of doing nothing: forget 1, the others 0. The dropout masks, `(batch, features)` and `(batch, units)`,
    multiply every step's input and every step's previous hidden state; `recurrent_kernel_dropout` `(units, 4 * units)`
    multiplies the recurrent kernel. `zoneout` is the share that a step keeps of the hidden and of the cell state: a
    number each, or `(batch, time, units)` with the steps as they are walked. `gains` are those of layer normalisation:
    of the input product and of the recurrent product, each over all gates, of the cell state where it is shown, and
    the shift of that.
    """
    x, kernel, recurrent_kernel = (np.asarray(a, np.float64) for a in (x, kernel, recurrent_kernel))
    bias = np.zeros(kernel.shape[1]) if bias is None else np.asarray(bias, np.float64)
    if recurrent_kernel_dropout is not None:
        recurrent_kernel = recurrent_kernel * np.asarray(recurrent_kernel_dropout)
    batch, steps, _ = x.shape
    units = recurrent_kernel.shape[0]
    if zoneout is not None:
        zoneout = [np.broadcast_to(np.asarray(kept, float), (batch, steps, units)) for kept in zoneout]
    gates = {name: np.full((batch, steps, units), np.nan) for name in (*GATES, "cell", "hidden")}
    shown = np.full((batch, steps, units), np.nan)
    last_hidden, last_cell = np.zeros((2, batch, units)) if initial_state is None else np.array(initial_state, float)
    for row in range(batch):
        h, c = last_hidden[row], last_cell[row]
        for walked in range(steps):
            t = steps - 1 - walked if go_backwards else walked
            taken = mask is None or bool(mask[row][t])
            if taken:
                x_t = x[row, t] if input_dropout is None else x[row, t] * input_dropout[row]
                h_dropped = h if recurrent_dropout is None else h * recurrent_dropout[row]
                gate = {}
                for name in GATES:
                    if gains is None:
                        z = x_t @ block(kernel, name) + h_dropped @ block(recurrent_kernel, name) + block(bias, name)
                    else:  # the mean is of all gates
                        z = block(normalized(x_t @ kernel, gains[0]), name) + block(bias, name)
                        z = z + block(normalized(h_dropped @ recurrent_kernel, gains[1]), name)
                    gate[name] = np.tanh(z) if name == "candidate" else sigmoid(z)
                new_c = gate["forget"] * c + gate["input"] * gate["candidate"]
                new_h = gate["output"] * np.tanh(new_c if gains is None else normalized(new_c, gains[2]) + gains[3])
                if zoneout is not None:
                    kept_h, kept_c = zoneout[0][row, walked], zoneout[1][row, walked]
                    new_h, new_c = kept_h * h + (1 - kept_h) * new_h, kept_c * c + (1 - kept_c) * new_c
                h, c = new_h, new_c
            else:
                gate = {"input": 0.0, "forget": 1.0, "candidate": 0.0, "output": 0.0}
            shown[row, walked] = h if taken or not zero_output_for_mask else 0.0
            for name, value in {**gate, "cell": c, "hidden": shown[row, walked]}.items():
                gates[name][row, walked] = value
        last_hidden[row], last_cell[row] = h, c
    last_shown = shown[:, -1] if steps else last_hidden
    return Run(shown, last_shown, last_hidden, last_cell, gates)


def central_differences(scalar, arrays, step=1e-5):
    """The gradient of `scalar(*arrays)` by each of the float64 `arrays`, every entry moved both ways by `step`.

    The error is of the order of `step` squared: about 1e-10 here.
    """
    gradients = []
    for position, array in enumerate(arrays):
        gradient = np.empty_like(array)
        for index in np.ndindex(*array.shape):
            values = []
            for sign in (1, -1):
                moved = array.copy()
                moved[index] += sign * step
                values.append(scalar(*arrays[:position], moved, *arrays[position + 1 :]))
            gradient[index] = (values[0] - values[1]) / (2 * step)
        gradients.append(gradient)
    return gradients


class Problem(NamedTuple):
    """A sequence, a state and the weights of an LSTM, all drawn at random."""

    x: np.ndarray  # (B, T, D)
    hidden: np.ndarray  # (B, U)
    cell: np.ndarray  # (B, U)
    kernel: np.ndarray  # (D, 4U)
    recurrent_kernel: np.ndarray  # (U, 4U)
    bias: np.ndarray  # (4U,)

    @property
    def weights(self):
        return [self.kernel, self.recurrent_kernel, self.bias]

    @property
    def state(self):
        return [self.hidden, self.cell]


def draw_gains(seed=0, units=2):
    """Gains and shift of layer normalisation, in the order in which `lstm` takes them."""
    rng = np.random.default_rng([seed, 1])
    return [rng.normal(size=size) for size in (4 * units, 4 * units, units, units)]


def draw_problem(seed=0, batch=4, steps=5, features=3, units=2):
    rng = np.random.default_rng(seed)
    shapes = [(batch, steps, features), (batch, units), (batch, units)]
    shapes += [(features, 4 * units), (units, 4 * units), (4 * units,)]
    return Problem(*(rng.normal(size=shape) for shape in shapes))


MASKS = {  # of the 4 rows and 5 steps that `draw_problem` gives by default
    "none": None,
    "right": np.arange(5) < np.array([[5], [3], [1], [4]]),
    "left": np.arange(5) >= np.array([[0], [2], [4], [1]]),
    "inner": np.array([[1, 0, 1, 1, 1], [1, 0, 0, 0, 1], [1, 1, 1, 0, 1], [1, 1, 1, 1, 1]], bool),
    "empty rows": np.array([[0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [1, 1, 0, 0, 0]], bool),
    "any": np.array([[0, 1, 0, 0, 1], [1, 0, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 0]], bool),
}


def assert_near(actual, expected, tolerance):
    if keras.config.backend() != "tensorflow":
        tolerance = max(tolerance, 1e-5)  # elsewhere Keras's tanh gives float32 for float64
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def assert_all_near(actual, expected, tolerance):
    for a, e in zip(actual, expected, strict=True):
        assert_near(a, e, tolerance)
