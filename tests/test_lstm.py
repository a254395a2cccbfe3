"""The layer and its cell, against the oracle in NumPy and against `keras.layers.LSTM`, on random weights."""

import importlib.util
import inspect
import itertools
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import numpy_lstm
import pytest
from keras import ops
from keras.src.testing import TestCase
from numpy_lstm import MASKS, assert_all_near, assert_near, draw_gains, draw_problem

from nlp_lstm.lstm import LSTM, Gates, LSTMCell, lstm_step
from nlp_lstm.lstm_regularizers import Gains

BATCH, STEPS, FEATURES, UNITS = 4, 5, 3, 2
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}

ADDITIONS = {  # to the layer of Keras
    "zoneout": {"zoneout_hidden": 0.3, "zoneout_cell": 0.6},
    "DropConnect": {"recurrent_kernel_dropout": 0.4},
    "layer normalization": {"layer_normalization": True},
    "all": {
        "dropout": 0.4,
        "recurrent_dropout": 0.4,
        "recurrent_kernel_dropout": 0.4,
        "zoneout_cell": 0.5,
        "layer_normalization": True,
    },
}


@pytest.fixture(params=["fast", "plain"])
def path(request, monkeypatch):
    """Run the test on the fast path of TensorFlow and on the stepwise one."""
    applies = LSTM._fast_path_applies

    def fast(self):
        assert applies(self), "this test would try the plain walk twice"
        return True

    if request.param == "fast" and keras.config.backend() != "tensorflow":
        pytest.skip("the fast path is TensorFlow's")
    monkeypatch.setattr(LSTM, "_fast_path_applies", fast if request.param == "fast" else lambda self: False)
    return request.param


def assert_same(found, expected):
    """But for the last bit: two loops are compiled each in its own way, or walk memory that lies otherwise."""
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def built(layer_class=LSTM, problem=None, **options):
    """A layer with random weights: those of `problem`."""
    problem = problem or draw_problem()
    layer = layer_class(problem.hidden.shape[1], **options)
    layer.build(problem.x.shape)
    gains = draw_gains(units=problem.hidden.shape[1])
    layer.set_weights([*problem.weights, *gains][: len(layer.weights)])
    return layer


@pytest.fixture
def drawn(monkeypatch):
    """What the cells draw, as the arguments of the oracle that it stands for, but for `dropout`."""
    found = {}

    def listen(method, name):
        real = getattr(LSTMCell, method)

        def draw(self, *arguments, **options):
            found[name] = real(self, *arguments, **options)
            return found[name]

        monkeypatch.setattr(LSTMCell, method, draw)

    listen("kept_shares", "zoneout")
    listen("draw_recurrent_kernel_mask", "recurrent_kernel_dropout")
    return found


def in_use(options, units):
    """The arguments of the oracle for a layer with these additions, outside training."""
    kept = (options.get("zoneout_hidden", 0.0), options.get("zoneout_cell", 0.0))
    return {"zoneout": kept, "gains": draw_gains(units=units) if options.get("layer_normalization") else None}


# Against the oracle


def test_step_equals_oracle():
    p = draw_problem(1)
    gates = lstm_step(p.x[:, 0], p.hidden, p.cell, *p.weights)
    expected = numpy_lstm.lstm(p.x[:, :1], *p.weights, p.state).gates
    assert set(gates._fields) == set(expected)
    for name, value in gates._asdict().items():
        assert_near(value, expected[name][:, 0], 1e-12)


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("form", MASKS)
def test_forward_equals_oracle(form, go_backwards, path):
    p = draw_problem(2)
    mask = MASKS[form]
    for zero_output, dtype in ((False, "float64"), (True, "float64"), (False, "float32")):
        options = {"go_backwards": go_backwards, "zero_output_for_mask": zero_output}
        expected = numpy_lstm.lstm(p.x, *p.weights, p.state, mask, **options)
        for return_sequences in (True, False):
            layer = built(LSTM, p, dtype=dtype, return_sequences=return_sequences, return_state=True, **options)
            actual = layer(p.x, initial_state=p.state, mask=mask)
            shown = expected.shown if return_sequences else expected.last_shown
            assert_all_near(actual, [shown, expected.last_hidden, expected.last_cell], TOLERANCE[dtype])
            assert actual[0].dtype.name == dtype


def test_without_bias_equals_oracle(path):
    p = draw_problem(3)
    layer = built(LSTM, p, dtype="float64", use_bias=False, return_sequences=True)
    assert len(layer.weights) == 2
    assert_near(layer(p.x), numpy_lstm.lstm(p.x, p.kernel, p.recurrent_kernel).shown, 1e-10)


@pytest.mark.parametrize("form", ["left", "empty rows", "any"])
def test_row_before_its_first_step_stands_at_the_initial_state(form, path):
    p = draw_problem(4)
    outputs, h, c = built(LSTM, p, return_sequences=True, return_state=True)(
        p.x, initial_state=p.state, mask=MASKS[form]
    )
    begun = np.cumsum(MASKS[form], axis=1) > 0
    assert not begun.all()
    hidden = np.broadcast_to(p.hidden.astype("float32")[:, None], outputs.shape)
    np.testing.assert_array_equal(np.asarray(outputs)[~begun], hidden[~begun])
    empty = ~MASKS[form].any(axis=1)
    np.testing.assert_array_equal(np.asarray(h)[empty], p.hidden.astype("float32")[empty])
    np.testing.assert_array_equal(np.asarray(c)[empty], p.cell.astype("float32")[empty])


def test_padding_and_neighbours_leave_a_row_as_it_is_alone(path):
    p = draw_problem(5)
    layer = built(LSTM, p, dtype="float64")
    together = layer(p.x, mask=MASKS["right"])
    for row, length in enumerate(MASKS["right"].sum(axis=1)):
        assert_near(together[row : row + 1], layer(p.x[row : row + 1, :length]), 1e-12)


@pytest.mark.parametrize("go_backwards", [False, True])
def test_dropout_equals_oracle_with_the_masks_drawn(go_backwards, path, monkeypatch):
    p = draw_problem(6)
    rng = np.random.default_rng(6)
    drawn = {FEATURES: rng.uniform(0, 2, (BATCH, FEATURES)), UNITS: rng.uniform(0, 2, (BATCH, UNITS))}
    asked = []

    def draw(self, batch_size, width, rate):
        asked.append((int(width), rate))
        return ops.convert_to_tensor(drawn[int(width)], dtype=self.compute_dtype)

    monkeypatch.setattr(LSTMCell, "draw_dropout_mask", draw)
    options = {"dropout": 0.25, "recurrent_dropout": 0.75, "go_backwards": go_backwards}
    layer = built(LSTM, p, dtype="float64", return_sequences=True, **options)
    expected = numpy_lstm.lstm(
        p.x,
        *p.weights,
        p.state,
        MASKS["any"],
        go_backwards=go_backwards,
        input_dropout=drawn[FEATURES],
        recurrent_dropout=drawn[UNITS],
    )
    assert_near(layer(p.x, initial_state=p.state, mask=MASKS["any"], training=True), expected.shown, 1e-10)
    assert asked == [(FEATURES, 0.25), (UNITS, 0.75)]
    undropped = numpy_lstm.lstm(p.x, *p.weights, p.state, MASKS["any"], go_backwards=go_backwards)
    assert_near(layer(p.x, initial_state=p.state, mask=MASKS["any"]), undropped.shown, 1e-10)


def test_step_with_layer_normalization_equals_oracle():
    p = draw_problem(26, units=3)
    gains = draw_gains(units=3)
    gates = lstm_step(p.x[:, 0], p.hidden, p.cell, *p.weights, gains=Gains(*gains))
    expected = numpy_lstm.lstm(p.x[:, :1], *p.weights, p.state, gains=gains).gates
    for name, value in gates._asdict().items():
        assert_near(value, expected[name][:, 0], 1e-12)


@pytest.mark.parametrize("added", ["zoneout", "all"])
@pytest.mark.parametrize("form", ["none", "left", "any"])
def test_additions_equal_oracle_in_use(form, added, path):
    p, mask, options = draw_problem(27, units=3), MASKS[form], ADDITIONS[added]
    for go_backwards, dtype in ((False, "float32"), (True, "float64")):
        walk = {"go_backwards": go_backwards, "return_sequences": True, "return_state": True}
        layer = built(LSTM, p, dtype=dtype, **walk, **options)
        expected = numpy_lstm.lstm(p.x, *p.weights, p.state, mask, go_backwards=go_backwards, **in_use(options, 3))
        actual = layer(p.x, initial_state=p.state, mask=mask)
        assert_all_near(actual, [expected.shown, expected.last_hidden, expected.last_cell], 10 * TOLERANCE[dtype])
        for name, value in layer.gates(p.x, p.state, mask)._asdict().items():
            assert_near(value, expected.gates[name], 10 * TOLERANCE[dtype])


@pytest.mark.parametrize("added", ADDITIONS)
@pytest.mark.parametrize("form", ["none", "left", "any"])
def test_additions_equal_oracle_with_what_training_drew(form, added, path, drawn, monkeypatch):
    p, mask, options = draw_problem(28, units=3, features=4), MASKS[form], ADDITIONS[added]
    masks = {4: np.ones((BATCH, 4)), 3: np.ones((BATCH, 3))}
    real = LSTMCell.draw_dropout_mask

    def draw(self, batch_size, width, rate):
        mask = real(self, batch_size, width, rate)
        masks[int(width)] = np.asarray(mask)
        return mask

    monkeypatch.setattr(LSTMCell, "draw_dropout_mask", draw)
    for go_backwards in (False, True):
        drawn.clear()
        layer = built(LSTM, p, dtype="float64", go_backwards=go_backwards, return_sequences=True, seed=1, **options)
        actual = layer(p.x, initial_state=p.state, mask=mask, training=True)
        expected = numpy_lstm.lstm(
            p.x,
            *p.weights,
            p.state,
            mask,
            go_backwards=go_backwards,
            input_dropout=masks[4],
            recurrent_dropout=masks[3],
            **{**in_use(options, 3), **{name: value for name, value in drawn.items() if value is not None}},
        )
        assert_near(actual, expected.shown, 1e-9)
        in_training = np.abs(actual - layer(p.x, initial_state=p.state, mask=mask)).max() > 1e-3
        assert in_training == (added != "layer normalization")


# Against keras.layers.LSTM


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("use_bias", [False, True])
def test_equals_keras_with_weights_moved_both_ways(use_bias, go_backwards, unroll, dtype):
    p = draw_problem(7)
    options = {"use_bias": use_bias, "go_backwards": go_backwards, "unroll": unroll, "dtype": dtype}
    # In float64 the numbers, in float32 the forms they come in as well.
    for form in itertools.product([False, True], repeat=2) if dtype == "float32" else [(True, True)]:
        options |= dict(zip(("return_sequences", "return_state"), form, strict=True))
        ours = built(LSTM, p, **options)
        theirs = built(keras.layers.LSTM, draw_problem(8), **options)
        theirs.set_weights(ours.get_weights())
        ours_again = built(LSTM, draw_problem(9), **options)
        ours_again.set_weights(theirs.get_weights())
        for state in (None, p.state):
            expected = theirs(p.x, initial_state=state)
            for layer in (ours, ours_again):
                actual = layer(p.x, initial_state=state)
                assert isinstance(actual, (list, tuple)) == isinstance(expected, (list, tuple))
                as_list = [(v if isinstance(v, (list, tuple)) else [v]) for v in (actual, expected)]
                assert_all_near(*as_list, TOLERANCE[dtype])


@pytest.mark.parametrize("zero_output_for_mask", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("form", [form for form in MASKS if form != "none"])
def test_masked_equals_keras_where_keras_is_defined(form, go_backwards, zero_output_for_mask, path):
    p = draw_problem(10)
    mask = MASKS[form]
    options = {"return_sequences": True, "return_state": True, "dtype": "float64"}
    options |= {"go_backwards": go_backwards, "zero_output_for_mask": zero_output_for_mask}
    ours, theirs = built(LSTM, p, **options), built(keras.layers.LSTM, p, **options)
    assert_all_near(ours(p.x, mask=mask), theirs(p.x, mask=mask), 1e-10)
    first = mask[:, -1] if go_backwards else mask[:, 0]  # a row that begins with padding, Keras shows as zeros
    actual, expected = (layer(p.x, initial_state=p.state, mask=mask) for layer in (ours, theirs))
    assert_near(np.asarray(actual[0])[first], np.asarray(expected[0])[first], 1e-10)
    assert_all_near(actual[1:], expected[1:], 1e-10)


def test_other_activations_equal_keras():
    p = draw_problem(11)
    options = {"activation": "softsign", "recurrent_activation": "hard_sigmoid", "return_sequences": True}
    ours, theirs = built(LSTM, p, **options), built(keras.layers.LSTM, p, **options)
    assert not ours._fast_path_applies()
    assert_near(ours(p.x, mask=MASKS["right"]), theirs(p.x, mask=MASKS["right"]), 1e-5)
    assert np.abs(ours(p.x) - built(LSTM, p, return_sequences=True)(p.x)).max() > 1e-2


def test_stateful_equals_keras(path):
    p = draw_problem(12)
    ours, theirs = (built(layer, p, stateful=True, return_sequences=True) for layer in (LSTM, keras.layers.LSTM))
    first = np.asarray(ours(p.x))
    assert_near(first, theirs(p.x), 1e-5)
    second = np.asarray(ours(p.x))
    assert_near(second, theirs(p.x), 1e-5)
    assert np.abs(second - first).max() > 1e-3
    whole = built(LSTM, p, return_sequences=True)(np.concatenate([p.x, p.x], axis=1))
    assert_near(np.concatenate([first, second], axis=1), whole, 1e-5)
    ours.reset_state()
    np.testing.assert_array_equal(first, ours(p.x))


@pytest.mark.parametrize("unit_forget_bias", [True, False])
def test_fresh_weights_equal_those_of_keras(unit_forget_bias):
    weights = []
    for layer_class in (LSTM, keras.layers.LSTM):
        keras.utils.set_random_seed(13)
        layer = layer_class(8, unit_forget_bias=unit_forget_bias, name="the_lstm")
        layer.build((None, None, 5))
        weights.append(layer.weights)
    ours, theirs = weights
    assert [(w.name, w.path, w.shape, w.dtype) for w in ours] == [(w.name, w.path, w.shape, w.dtype) for w in theirs]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    bias = ours[2].numpy().reshape(4, 8)
    np.testing.assert_array_equal(bias, np.outer([0, float(unit_forget_bias), 0, 0], np.ones(8)))
    U = ours[1].numpy()
    assert_near(U @ U.T, np.eye(8), 1e-5)


def test_initializers_are_honoured():
    initializers = {
        "kernel_initializer": keras.initializers.RandomUniform(-2, -1, seed=1),
        "recurrent_initializer": keras.initializers.RandomUniform(3, 4, seed=2),
        "bias_initializer": keras.initializers.RandomUniform(5, 6, seed=3),
    }
    for unit_forget_bias in (False, True):
        layers = [c(UNITS, unit_forget_bias=unit_forget_bias, **initializers) for c in (LSTM, keras.layers.LSTM)]
        for layer in layers:
            layer.build((None, None, FEATURES))
        for ours, theirs in zip(*(layer.get_weights() for layer in layers), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        kernel, recurrent_kernel, bias = layers[0].get_weights()
        assert -2 <= kernel.min() <= kernel.max() <= -1
        assert 3 <= recurrent_kernel.min() <= recurrent_kernel.max() <= 4
        assert ((bias >= 5) & (bias <= 6)).sum() == (6 if unit_forget_bias else 8)


def test_training_step_with_regularizers_and_constraints_equals_keras():
    p = draw_problem(14)
    options = {
        "kernel_regularizer": keras.regularizers.L2(0.1),
        "recurrent_regularizer": keras.regularizers.L1(0.2),
        "bias_regularizer": keras.regularizers.L2(0.3),
        "activity_regularizer": keras.regularizers.L2(0.4),
        "kernel_constraint": keras.constraints.NonNeg(),
        "recurrent_constraint": keras.constraints.MaxNorm(0.5),
        "bias_constraint": keras.constraints.MaxNorm(0.25),
    }
    after, losses = [], []
    for layer_class in (LSTM, keras.layers.LSTM):
        layer = built(layer_class, p, **options)
        layer(p.x)
        losses.append([float(loss) for loss in layer.losses])
        model = keras.Sequential([keras.Input((STEPS, FEATURES)), layer])
        model.compile("sgd", "mse", jit_compile=False)
        model.train_on_batch(p.x, p.hidden)
        after.append(layer.get_weights())
    assert len(losses[0]) == 4
    assert_near(sorted(losses[0]), sorted(losses[1]), 1e-5)
    assert_all_near(*after, 1e-5)
    kernel, recurrent_kernel, bias = after[0]
    assert kernel.min() == 0  # normal before, so some were below
    assert np.linalg.norm(recurrent_kernel, axis=0).max() == pytest.approx(0.5, abs=1e-5)
    assert np.linalg.norm(bias) == pytest.approx(0.25, abs=1e-5)


# The cell


def test_cell_step_by_step_equals_whole_sequence(path):
    p = draw_problem(15)
    cell = LSTMCell(UNITS, dtype="float64")
    cell.build((BATCH, FEATURES))
    cell.set_weights(p.weights)
    outputs, state = [], p.state
    for t in range(STEPS):
        output, state = cell(p.x[:, t], state)
        np.testing.assert_array_equal(output, state[0])
        outputs.append(output)
    layer = built(LSTM, p, dtype="float64", return_sequences=True, return_state=True)
    actual = layer(p.x, initial_state=p.state)
    assert_all_near(actual, [np.stack(outputs, axis=1), *state], 1e-12)


def test_cell_in_bare_rnn_equals_layer():
    p = draw_problem(16)
    cell = LSTMCell(UNITS)
    rnn = keras.layers.RNN(cell, return_sequences=True)
    rnn.build(p.x.shape)
    cell.set_weights(p.weights)
    assert_near(rnn(p.x, mask=MASKS["right"]), built(LSTM, p, return_sequences=True)(p.x, mask=MASKS["right"]), 1e-5)
    for state in cell.get_initial_state(BATCH):
        np.testing.assert_array_equal(state, np.zeros((BATCH, UNITS)))


def test_cell_applies_dropout_in_training_only():
    p = draw_problem(17)
    cell = LSTMCell(UNITS, dropout=0.5, recurrent_dropout=0.5, seed=1)
    rnn = keras.layers.RNN(cell, return_sequences=True)
    rnn.build(p.x.shape)
    cell.set_weights(p.weights)
    assert np.abs(rnn(p.x, training=True) - rnn(p.x)).max() > 1e-3
    np.testing.assert_array_equal(rnn(p.x), rnn(p.x))


@pytest.mark.parametrize("added", ADDITIONS)
def test_cell_with_additions_in_bare_rnn(added):
    p, options = draw_problem(29, units=3), ADDITIONS[added]
    cell = LSTMCell(3, seed=1, **options)
    rnn = keras.layers.RNN(cell, return_sequences=True)
    rnn.build(p.x.shape)
    cell.set_weights(built(LSTM, p, **options).get_weights())
    for mask in (None, MASKS["right"]):
        assert_near(rnn(p.x, mask=mask), built(LSTM, p, return_sequences=True, **options)(p.x, mask=mask), 1e-5)
    changed = np.abs(rnn(p.x, training=True) - rnn(p.x)).max()
    assert (changed > 1e-3) == (added != "layer normalization")


def test_cell_in_training_equals_oracle_with_what_it_drew(drawn):
    p = draw_problem(30, units=3)
    options = {name: value for part in ADDITIONS.values() for name, value in part.items() if "t_dropout" not in name}
    cell = built(LSTMCell, p, dtype="float64", seed=2, **{**options, "dropout": 0.0})
    _, (h, c) = cell(p.x[:, 0], p.state, training=True)
    kept = [np.asarray(share)[:, None] for share in drawn.pop("zoneout")]
    assert 0 < np.mean(kept) < 1
    expected = numpy_lstm.lstm(p.x[:, :1], *p.weights, p.state, zoneout=kept, gains=draw_gains(units=3), **drawn)
    assert_all_near([h, c], [expected.last_hidden, expected.last_cell], 1e-10)


# Dropout


def showing_its_input(**options):
    """A layer with h_t = tanh(tanh(x_t m)), m the input dropout mask: forget gate shut, the others open."""
    layer = LSTM(64, return_sequences=True, **options)
    layer.build((64, STEPS, 64))
    bias = np.repeat([1e3, -1e3, 0, 1e3], 64)
    layer.set_weights(
        [np.concatenate([np.zeros((64, 64))] * 2 + [np.eye(64), np.zeros((64, 64))], 1), np.zeros((64, 256)), bias]
    )
    return layer


def showing_its_state(**options):
    """A layer with h_t = tanh(tanh(h_{t-1} m)), m the recurrent dropout mask."""
    layer = showing_its_input(**options)
    kernel, recurrent_kernel, bias = layer.get_weights()
    layer.set_weights([recurrent_kernel, kernel, bias])
    return layer


def test_input_dropout_mask_is_constant_over_time_and_scaled(path):
    x = np.full((64, STEPS, 64), 0.3, "float32")
    shown = np.asarray(showing_its_input(dropout=0.25, seed=1)(x, training=True))
    kept = shown[:, 0] != 0
    for t in range(STEPS):
        np.testing.assert_allclose(shown[:, t], np.where(kept, np.tanh(np.tanh(0.3 / 0.75)), 0), rtol=1e-5)
    assert kept.mean() == pytest.approx(0.75, abs=0.03)  # four standard deviations
    assert not kept.all(axis=1).any()  # each row, each feature has its own
    assert len(np.unique(kept, axis=0)) == 64


def test_recurrent_dropout_mask_is_constant_over_time_and_scaled(path):
    state = [np.full((64, 64), 0.9, "float32"), np.zeros((64, 64), "float32")]
    layer = showing_its_state(recurrent_dropout=0.25, seed=1)
    shown = np.asarray(layer(np.zeros((64, STEPS, 64), "float32"), initial_state=state, training=True))
    kept = shown[:, 0] != 0
    h = 0.9
    for t in range(STEPS):
        h = np.tanh(np.tanh(h / 0.75))
        np.testing.assert_allclose(shown[:, t], np.where(kept, h, 0), rtol=1e-5)
    assert kept.mean() == pytest.approx(0.75, abs=0.03)
    assert len(np.unique(kept, axis=0)) == 64


def test_zoneout_is_drawn_for_each_row_step_and_feature(path, drawn):
    p = draw_problem(31, batch=32, units=32)
    layer = built(LSTM, p, zoneout_hidden=0.25, zoneout_cell=0.25, return_sequences=True, seed=1)
    shown = np.asarray(layer(p.x, initial_state=p.state, training=True))
    hidden, cell = (np.asarray(kept) for kept in drawn["zoneout"])
    previous = np.concatenate([p.hidden[:, None].astype("float32"), shown[:, :-1]], axis=1)
    np.testing.assert_array_equal(shown == previous, hidden == 1)
    for kept in (hidden, cell):
        assert set(np.unique(kept)) == {0.0, 1.0}
        assert kept.mean() == pytest.approx(0.25, abs=0.025)  # four standard deviations
        for axis in range(3):  # neighbours agree as often as chance has it
            agreeing = np.mean(np.diff(kept, axis=axis) == 0)
            assert agreeing == pytest.approx(0.25**2 + 0.75**2, abs=0.04)
    assert np.mean(hidden == cell) == pytest.approx(0.25**2 + 0.75**2, abs=0.04)


def test_recurrent_kernel_mask_drops_single_weights_and_scales_the_others(path, drawn):
    layer = showing_its_state(recurrent_kernel_dropout=0.25, seed=1)
    state = [np.full((64, 64), 0.9, "float32"), np.zeros((64, 64), "float32")]
    shown = np.asarray(layer(np.zeros((64, STEPS, 64), "float32"), initial_state=state, training=True))
    mask = np.asarray(drawn["recurrent_kernel_dropout"])
    assert mask.shape == (64, 256)
    np.testing.assert_allclose(np.unique(mask), [0, 1 / 0.75], rtol=1e-6)
    assert np.mean(mask == 0) == pytest.approx(0.25, abs=0.014)  # four standard deviations
    assert len(np.unique(mask, axis=0)) == 64
    assert len(np.unique(mask, axis=1).T) == 256
    kept = np.diag(mask[:, 128:192]) != 0  # where the candidate's weights stand
    h = 0.9
    for t in range(STEPS):
        h = np.tanh(np.tanh(h / 0.75))
        np.testing.assert_allclose(shown[:, t], np.broadcast_to(np.where(kept, h, 0), (64, 64)), rtol=1e-5)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_zoneout_at_its_ends(rate, path):
    p = draw_problem(32)
    layer = built(LSTM, p, zoneout_hidden=rate, zoneout_cell=rate, return_sequences=True, return_state=True)
    expected = [np.repeat(p.hidden[:, None], STEPS, axis=1), *p.state]
    if rate == 0:
        run = numpy_lstm.lstm(p.x, *p.weights, p.state)
        expected = [run.shown, run.last_hidden, run.last_cell]
    for training in (False, True):
        assert_all_near(layer(p.x, initial_state=p.state, training=training), expected, 1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"dropout": 0.5, "recurrent_dropout": 0.5},
        {"recurrent_kernel_dropout": 0.5},
        {"zoneout_hidden": 0.5},
        {"zoneout_cell": 0.5},
    ],
    ids=str,
)
def test_seed_reproduces_dropout(options, path):
    p = draw_problem(18, batch=16, features=8, units=8)

    def twice(seed):
        layer = built(LSTM, p, seed=seed, **options)
        return [np.asarray(layer(p.x, training=True)) for _ in range(2)]

    first, second = twice(1)
    np.testing.assert_array_equal([first, second], twice(1))
    assert np.abs(first - second).max() > 1e-2  # a new mask at each call
    assert np.abs(first - twice(2)[0]).max() > 1e-2


def test_everything_dropped_is_finite():
    p = draw_problem(19)
    expected = numpy_lstm.lstm(np.zeros_like(p.x), p.kernel, 0 * p.recurrent_kernel, p.bias).last_hidden
    for options in ({"recurrent_dropout": 1.0}, {"recurrent_kernel_dropout": 1.0}):
        layer = built(LSTM, p, dropout=1.0, **options)
        assert_near(layer(p.x, training=True), expected, 1e-5)


# A look at the gates


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("form", MASKS)
def test_gates_recompose_to_the_output_of_the_layer(form, go_backwards, path):
    p = draw_problem(20)
    mask = MASKS[form]
    taken = np.ones((BATCH, STEPS), bool) if mask is None else mask[:, ::-1] if go_backwards else mask
    layer = built(LSTM, p, return_sequences=True, go_backwards=go_backwards)
    for state in (None, p.state):
        gates = type(layer.gates(p.x))(*map(np.asarray, layer.gates(p.x, state, mask)))
        assert_same(gates.hidden, layer(p.x, initial_state=state, mask=mask))
        np.testing.assert_allclose(gates.hidden[taken], (gates.output * np.tanh(gates.cell))[taken], atol=1e-6)
        c_0 = np.zeros((BATCH, UNITS)) if state is None else p.cell
        previous = np.concatenate([c_0[:, None], gates.cell[:, :-1]], axis=1)
        np.testing.assert_allclose(gates.cell, gates.forget * previous + gates.input * gates.candidate, atol=1e-6)
        expected = numpy_lstm.lstm(p.x, *p.weights, state, mask, go_backwards=go_backwards).gates
        for name, value in gates._asdict().items():
            assert_near(value, expected[name], 1e-5)


def test_gates_build_the_layer_and_know_no_dropout():
    p = draw_problem(21)
    layer = LSTM(UNITS, return_sequences=True, dropout=0.5, recurrent_dropout=0.5)
    gates = layer.gates(p.x.astype("float32"))
    assert_same(gates.hidden, layer(p.x))
    assert_same(gates.output * ops.tanh(gates.cell), layer(p.x))


@pytest.mark.parametrize("go_backwards", [False, True])
def test_gates_with_additions_recompose_to_the_output_of_the_layer(go_backwards, path):
    """The oracle's gates are tested above; here it is the equations, as the documentation has them."""
    p, gains = draw_problem(33, units=3), draw_gains(units=3)
    options = {"zoneout_hidden": 0.3, "zoneout_cell": 0.6, "layer_normalization": True, "go_backwards": go_backwards}
    layer = built(LSTM, p, dtype="float64", return_sequences=True, **options)
    gates = type(layer.gates(p.x))(*map(np.asarray, layer.gates(p.x, p.state)))
    shown = np.asarray(layer(p.x, initial_state=p.state))
    assert_near(gates.hidden, shown, 1e-12)
    assert_same(gates.hidden, shown)
    previous_h, previous_c = (
        np.concatenate([first[:, None], states[:, :-1]], axis=1)
        for first, states in ((p.hidden, gates.hidden), (p.cell, gates.cell))
    )
    new_c = gates.forget * previous_c + gates.input * gates.candidate
    assert_near(gates.cell, 0.6 * previous_c + 0.4 * new_c, 1e-10)
    normal = (new_c - new_c.mean(axis=-1, keepdims=True)) / np.sqrt(new_c.var(axis=-1, keepdims=True) + 1e-5)
    new_h = gates.output * np.tanh(gains[2] * normal + gains[3])
    assert_near(gates.hidden, 0.3 * previous_h + 0.7 * new_h, 1e-10)


EMBEDDED = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8], [0, 0, 0, 0, 0], [1, 0, 2, 0, 3]])


@pytest.mark.parametrize("zero_output_for_mask", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
def test_gates_see_the_mask_that_the_tensor_carries(go_backwards, zero_output_for_mask, path):
    options = {"go_backwards": go_backwards, "zero_output_for_mask": zero_output_for_mask}
    embedding, layer = (
        keras.layers.Embedding(9, FEATURES, mask_zero=True),
        built(LSTM, return_sequences=True, **options),
    )
    x = embedding(EMBEDDED)
    expected = numpy_lstm.lstm(np.asarray(x), *draw_problem().weights, mask=EMBEDDED != 0, **options)
    for name, value in layer.gates(x)._asdict().items():
        assert_near(value, expected.gates[name], 1e-5)
    assert_same(layer.gates(x).hidden, layer(x))
    # A mask that is given comes before the one that is carried, and with an initial state Keras uses none of its own.
    given = numpy_lstm.lstm(np.asarray(x), *draw_problem().weights, mask=MASKS["left"], **options)
    assert_near(layer.gates(x, mask=MASKS["left"]).hidden, given.shown, 1e-5)
    state = draw_problem(34).state
    assert_same(layer.gates(x, state).hidden, layer(x, initial_state=state))


def test_gates_begin_where_a_stateful_layer_stands_and_leave_it_there(path):
    p = draw_problem(35)
    layer = built(LSTM, p, stateful=True, return_sequences=True, return_state=True, dtype="float64")
    _, h, c = layer(p.x)
    assert np.abs(h).max() > 1e-2
    expected = numpy_lstm.lstm(p.x, *p.weights, [h, c], MASKS["any"]).gates
    for gates in (layer.gates(p.x, mask=MASKS["any"]), layer(p.x, mask=MASKS["any"], return_gates=True)):
        for name, value in gates._asdict().items():
            assert_near(value, expected[name], 1e-10)
        assert_all_near(layer.states, [h, c], 0)
    assert_near(layer.gates(p.x, p.state).hidden, numpy_lstm.lstm(p.x, *p.weights, p.state).shown, 1e-10)
    with pytest.raises(ValueError, match="was built for batches of 4, got 3"):
        layer.gates(p.x[:3])
    assert_same(layer.gates(p.x, mask=MASKS["any"]).hidden, layer(p.x, mask=MASKS["any"])[0])


def test_gates_leave_no_penalty_behind():
    p = draw_problem(36)
    layer = built(LSTM, p, activity_regularizer=keras.regularizers.L2(0.1))
    layer.gates(p.x)
    assert layer.losses == []
    layer(p.x)
    assert len(layer.losses) == 1


@pytest.mark.parametrize("options", [{}, {"go_backwards": True, "zero_output_for_mask": True}], ids=str)
def test_gates_of_symbolic_input_are_those_of_its_values(options, path, tmp_path):
    """In a functional model, in its copy and in the one that is loaded from its file."""
    ids = keras.Input((None,), dtype="int32")
    layer = LSTM(UNITS, return_sequences=True, dropout=0.5, **options)
    embedded = keras.layers.Embedding(9, FEATURES, mask_zero=True)(ids)
    gates = layer.gates(embedded)
    assert type(gates) is Gates
    assert all(type(gate) is keras.KerasTensor and gate.shape == (None, None, UNITS) for gate in gates)
    model = keras.Model(ids, [layer(embedded), *gates])
    model.set_weights([np.random.default_rng(37).normal(size=w.shape) for w in model.weights])
    model.save(tmp_path / "model.keras")
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    weights = model.get_weights()
    run = numpy_lstm.lstm(weights[0][EMBEDDED], *weights[1:], mask=EMBEDDED != 0, **options)
    for found in (model, copy, keras.models.load_model(tmp_path / "model.keras")):
        assert len(found.weights) == 4
        shown, *values = found(EMBEDDED, training=False)
        assert_near(shown, run.shown, 1e-5)
        for name, value in zip(gates._fields, values, strict=True):
            assert_near(value, run.gates[name], 1e-5)


def test_symbolic_state_makes_gates_symbolic():
    p = draw_problem(38)
    layer = built(LSTM, p)
    inputs = [keras.Input(shape) for shape in ((STEPS, FEATURES), (UNITS,), (UNITS,))]
    model = keras.Model(inputs, layer.gates(inputs[0], inputs[1:], mask=keras.ops.any(inputs[0] > -9, axis=-1)).cell)
    found = model([a.astype("float32") for a in (p.x, *p.state)])
    assert_near(found, numpy_lstm.lstm(p.x, *p.weights, p.state).gates["cell"], 1e-5)


def test_fresh_layer_normalization_has_unit_gains_and_no_shift():
    layer = LSTM(3, layer_normalization=True)
    layer.build((None, None, 4))
    assert [w.name for w in layer.weights[3:]] == ["kernel_gain", "recurrent_gain", "cell_gain", "cell_shift"]
    for weight, size, value in zip(layer.weights[3:], (12, 12, 3, 3), (1, 1, 1, 0), strict=True):
        np.testing.assert_array_equal(weight, np.full(size, value))
    without_bias = LSTM(3, layer_normalization=True, use_bias=False)
    without_bias.build((None, None, 4))
    assert len(without_bias.weights) == 6


# In Keras


@pytest.mark.filterwarnings("ignore:.shuffle=True. was passed")  # by Keras's own check
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_sequences": True, "dropout": 0.5, "recurrent_dropout": 0.5},
        {"return_sequences": True, "recurrent_kernel_dropout": 0.5, "zoneout_hidden": 0.5, "zoneout_cell": 0.5},
        {"return_sequences": True, **ADDITIONS["all"]},
    ],
)
def test_layer_contract_of_keras(options):
    """Keras's own check of a layer: configuration, building, symbolic against eager, training, mixed precision."""
    TestCase().run_layer_test(
        LSTM,
        init_kwargs={"units": 3, **options},
        input_shape=(3, 2, 4),
        call_kwargs={"training": True},
        expected_output_shape=(3, 2, 3) if options else (3, 3),
        expected_num_trainable_weights=7 if "layer_normalization" in options else 3,
        expected_num_non_trainable_weights=0,
        expected_num_non_trainable_variables=1,
        expected_num_seed_generators=1,
        supports_masking=True,
    )


def test_config_round_trip_loses_nothing():
    options = {
        "activation": "softsign",
        "recurrent_activation": "hard_sigmoid",
        "use_bias": False,
        "kernel_initializer": keras.initializers.RandomUniform(-1, 1, seed=1),
        "recurrent_initializer": keras.initializers.RandomUniform(-2, 2, seed=2),
        "bias_initializer": keras.initializers.RandomUniform(-3, 3, seed=3),
        "unit_forget_bias": False,
        "kernel_regularizer": keras.regularizers.L2(0.1),
        "recurrent_regularizer": keras.regularizers.L1(0.2),
        "bias_regularizer": keras.regularizers.L2(0.3),
        "kernel_constraint": keras.constraints.MaxNorm(1),
        "recurrent_constraint": keras.constraints.MaxNorm(2),
        "bias_constraint": keras.constraints.MaxNorm(3),
        "dropout": 0.1,
        "recurrent_dropout": 0.2,
        "recurrent_kernel_dropout": 0.3,
        "zoneout_hidden": 0.4,
        "zoneout_cell": 0.5,
        "layer_normalization": True,
        "implementation": 1,
        "seed": 4,
        "name": "named",
        "dtype": "mixed_bfloat16",
        "trainable": False,
    }
    of_the_layer = {
        "activity_regularizer": keras.regularizers.L1(0.4),
        "return_sequences": True,
        "return_state": True,
        "go_backwards": True,
        "stateful": True,
        "unroll": True,
        "zero_output_for_mask": True,
        "use_cudnn": False,
        "jit_compile": True,
    }
    for layer_class, all_options in ((LSTMCell, options), (LSTM, options | of_the_layer)):
        config = layer_class(7, **all_options).get_config()
        assert config["units"] == 7
        default = layer_class(7).get_config()
        for name in all_options:
            assert config[name] != default.get(name), f"{name} is not in the configuration"
        assert layer_class.from_config(config).get_config() == config
        copy = keras.saving.deserialize_keras_object(
            keras.saving.serialize_keras_object(layer_class.from_config(config))
        )
        assert type(copy) is layer_class
        assert copy.get_config() == config
        of_the_class = inspect.signature(layer_class).parameters
        assert set(of_the_class) - {"kwargs"} <= {"units", *all_options}, "an argument is not tried here"


@pytest.mark.parametrize("name", ["LSTM", "LSTMCell"])
def test_arguments_of_keras_mean_the_same_by_name_and_by_position(name):
    ours, theirs = (inspect.signature(library).parameters for library in (globals()[name], getattr(keras.layers, name)))

    def positional(parameters):
        return [(p.name, p.default) for p in parameters.values() if p.kind == p.POSITIONAL_OR_KEYWORD]

    assert positional(ours) == positional(theirs)
    added = {p.name for p in ours.values() if p.kind == p.KEYWORD_ONLY}
    assert added == {*ADDED_DEFAULTS, "implementation", *(["jit_compile"] if name == "LSTM" else [])}
    call, call_of_keras = (
        list(inspect.signature(library.call).parameters) for library in (globals()[name], getattr(keras.layers, name))
    )
    assert call[: len(call_of_keras)] == call_of_keras


# Keras's cell keeps its dropout masks between steps; ours hands them through the walk.
OF_KEEPING_MASKS = {
    "dropout_mask_count",
    "get_dropout_mask",
    "get_recurrent_dropout_mask",
    "reset_dropout_mask",
    "reset_recurrent_dropout_mask",
}
ADDED_DEFAULTS = {
    "recurrent_kernel_dropout": 0.0,
    "zoneout_hidden": 0.0,
    "zoneout_cell": 0.0,
    "layer_normalization": False,
}
OF_KERAS = {  # one of every kind, none the default
    "activation": "softsign",
    "recurrent_activation": "hard_sigmoid",
    "use_bias": True,
    "kernel_initializer": "he_normal",
    "recurrent_initializer": "glorot_normal",
    "bias_initializer": "ones",
    "unit_forget_bias": False,
    "kernel_regularizer": "l1",
    "recurrent_regularizer": "l2",
    "bias_regularizer": "l1",
    "kernel_constraint": "non_neg",
    "recurrent_constraint": "max_norm",
    "bias_constraint": "unit_norm",
    "dropout": 0.1,
    "recurrent_dropout": 0.2,
    "seed": 3,
    "implementation": 1,
}
OF_KERAS_LAYER = {
    "activity_regularizer": "l2",
    "return_sequences": True,
    "return_state": True,
    "go_backwards": True,
    "stateful": True,
    "unroll": True,
    "use_cudnn": False,
}


@pytest.mark.parametrize("options", [{}, OF_KERAS], ids=["defaults", "all"])
@pytest.mark.parametrize("name", ["LSTM", "LSTMCell"])
def test_attributes_of_keras_are_there_with_its_values(name, options):
    options = options | OF_KERAS_LAYER if options and name == "LSTM" else options
    layers = [library(7, **options) for library in (globals()[name], getattr(keras.layers, name))]
    for layer in layers:
        layer.build((4, 5, 3) if name == "LSTM" else (4, 3))
    ours, theirs = layers
    names = {attribute for attribute in dir(theirs) if not attribute.startswith("_")} - OF_KEEPING_MASKS
    missing = names - set(dir(ours))
    assert not missing
    arguments = set(inspect.signature(getattr(keras.layers, name)).parameters) - {"kwargs"}
    compared = arguments & names
    assert arguments - compared <= {"seed"}  # Keras's layer leaves it to its cell
    compared |= {"state_size", "output_size", "implementation"} & names
    for attribute in compared:
        found, expected = getattr(ours, attribute), getattr(theirs, attribute)
        if hasattr(expected, "get_config"):
            assert type(found) is type(expected), attribute
            found, expected = found.get_config(), expected.get_config()
        assert found == expected, attribute


@pytest.mark.parametrize("options", [{}, OF_KERAS], ids=["defaults", "all"])
@pytest.mark.parametrize("name", ["LSTM", "LSTMCell"])
def test_configuration_is_read_both_ways(name, options):
    options = {key: value for key, value in options.items() if key != "implementation"}  # Keras does not write it
    if options and name == "LSTM":
        options |= {key: value for key, value in OF_KERAS_LAYER.items() if key != "use_cudnn"}
    ours, theirs = globals()[name], getattr(keras.layers, name)
    configs = [library(7, name="named", **options).get_config() for library in (ours, theirs)]
    assert configs[0] == configs[1]
    for library in (ours, theirs):
        for config in configs:
            assert library.from_config(config).get_config() == config
    # As it was written when the additions always stood there.
    assert ours.from_config(configs[0] | ADDED_DEFAULTS).get_config() == configs[0]


def test_bidirectional_and_copies_keep_every_argument():
    options = {**OF_KERAS, **ADDITIONS["all"], "use_cudnn": False, "zero_output_for_mask": True}
    wrapped = keras.layers.Bidirectional(LSTM(3, return_sequences=True, **options))
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), wrapped])
    for both in (wrapped, keras.models.clone_model(model).layers[0]):
        expected = LSTM(3, return_sequences=True, **options).get_config() | {"name": None}
        assert {name for name, value in expected.items() if value != LSTM(3).get_config().get(name)} >= set(options) - {
            "use_bias"
        }
        for layer, backwards in ((both.forward_layer, False), (both.backward_layer, True)):
            assert layer.get_config() | {"name": None} == expected | {"go_backwards": backwards}


def tanh_and_sigmoid_of(library):
    if library == "TensorFlow":
        import tensorflow as tf

        return tf.tanh, tf.sigmoid
    return {
        "names": ("tanh", "sigmoid"),
        "activations": (keras.activations.tanh, keras.activations.sigmoid),
        "ops": (ops.tanh, ops.sigmoid),
    }[library]


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="the fast path is TensorFlow's")
@pytest.mark.parametrize("library", ["names", "activations", "ops", "TensorFlow"])
def test_every_tanh_and_sigmoid_take_the_fast_path(library):
    activation, recurrent_activation = tanh_and_sigmoid_of(library)
    layer = LSTM(UNITS, activation=activation, recurrent_activation=recurrent_activation)
    assert layer._fast_path_applies()
    assert layer.get_config()["activation"] == "tanh"
    assert layer.get_config()["recurrent_activation"] == "sigmoid"
    assert not LSTM(UNITS, activation=recurrent_activation, recurrent_activation=activation)._fast_path_applies()


def test_own_function_called_tanh_is_not_mistaken():
    def tanh(x):
        return 2 * x

    layer = built(LSTM, draw_problem(39), activation=tanh)
    assert not layer._fast_path_applies()
    assert np.abs(layer(draw_problem(39).x) - built(LSTM, draw_problem(39))(draw_problem(39).x)).max() > 1e-2


def test_saved_model_file_gives_the_same_answers(tmp_path):
    normalized = {"layer_normalization": True}
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(9, 4, mask_zero=True),
            LSTM(3, return_sequences=True, dropout=0.1, zoneout_hidden=0.2),
            keras.layers.Bidirectional(LSTM(3, return_sequences=True, zoneout_cell=0.3, **normalized)),
            keras.layers.RNN(LSTMCell(5, recurrent_kernel_dropout=0.4, zoneout_hidden=0.5, **normalized)),
            keras.layers.Dense(1),
        ]
    )
    rng = np.random.default_rng(22)
    model.set_weights([rng.normal(size=w.shape) for w in model.weights])
    words = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in model.layers]
    assert type(loaded.layers[2].forward_layer) is type(loaded.layers[2].backward_layer) is LSTM
    first, (forward, backward), last = (
        loaded.layers[1].cell,
        (loaded.layers[2].forward_layer.cell, loaded.layers[2].backward_layer.cell),
        loaded.layers[3].cell,
    )
    assert (first.zoneout_hidden, first.zoneout_cell, first.layer_normalization) == (0.2, 0.0, False)
    for cell in (forward, backward):
        assert (cell.zoneout_hidden, cell.zoneout_cell, cell.layer_normalization) == (0.0, 0.3, True)
    assert (last.recurrent_kernel_dropout, last.zoneout_hidden, last.layer_normalization) == (0.4, 0.5, True)
    np.testing.assert_array_equal(loaded(words), model(words))
    assert np.ptp(model(words)) > 1e-3


@pytest.mark.parametrize("return_sequences", [False, True])
def test_bidirectional_over_masked_embedding_equals_keras(return_sequences, path):
    rng = np.random.default_rng(23)
    words = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8], [1, 0, 0, 0, 0]])
    outputs, weights = [], None
    for layer_class in (LSTM, keras.layers.LSTM):
        layer = keras.layers.Bidirectional(layer_class(UNITS, return_sequences=return_sequences))
        model = keras.Sequential([keras.layers.Embedding(9, 4, mask_zero=True), layer])
        model.build((None, 5))
        weights = weights or [rng.normal(size=w.shape) for w in model.weights]
        model.set_weights(weights)
        outputs.append(np.asarray(model(words)))
    assert_near(*outputs, 1e-5)


def test_mask_goes_through_the_layer():
    mask = ops.convert_to_tensor(MASKS["right"])
    assert LSTM(2).supports_masking
    assert LSTM(2).compute_mask(None, mask) is None
    assert LSTM(2, return_sequences=True).compute_mask(None, mask) is mask
    assert LSTM(2, return_sequences=True, return_state=True).compute_mask(None, [mask, None, None]) == [
        mask,
        None,
        None,
    ]

    words = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8], [1, 0, 0, 0, 0]])
    embedding, layer = keras.layers.Embedding(9, FEATURES, mask_zero=True), LSTM(UNITS, return_sequences=True)
    model = keras.Sequential([embedding, layer, keras.layers.GlobalAveragePooling1D()])
    pooled = np.asarray(model(words))
    for row in range(len(words)):
        alone = words[row : row + 1, : np.count_nonzero(words[row])]
        assert_near(pooled[row], np.mean(layer(embedding(alone)), axis=1)[0], 1e-6)


def test_fit_lowers_the_loss():
    p = draw_problem(24, batch=32, units=4)
    model = keras.Sequential(
        [keras.Input((None, FEATURES)), built(LSTM, p, recurrent_dropout=0.1), keras.layers.Dense(1)]
    )
    model.compile(keras.optimizers.SGD(0.05), "mse")
    targets = p.x.sum(axis=(1, 2))
    before = model.evaluate(p.x, targets, verbose=0)
    model.fit(p.x, targets, batch_size=32, epochs=1, verbose=0)
    assert model.evaluate(p.x, targets, verbose=0) < before


# What a user gets wrong


@pytest.mark.parametrize("layer_class", [LSTM, LSTMCell])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": 0}, "units must be a positive integer, got 0"),
        ({"units": -1}, "units must be a positive integer, got -1"),
        ({"units": True}, "units must be a positive integer, got True"),
        ({"units": 2.5}, "units must be a positive integer, got 2.5"),
        ({"units": None}, "units must be a positive integer, got None"),
        ({"units": "4"}, "units must be a positive integer, got '4'"),
        ({"units": float("inf")}, "units must be a positive integer, got inf"),
        ({"units": float("nan")}, "units must be a positive integer, got nan"),
        ({"units": [4]}, r"units must be a positive integer, got \[4\]"),
        ({"dropout": None}, "dropout must lie between 0 and 1, got None"),
        ({"zoneout_cell": "0.1"}, "zoneout_cell must lie between 0 and 1, got '0.1'"),
        ({"dropout": 1.5}, "dropout must lie between 0 and 1, got 1.5"),
        ({"dropout": -0.1}, "dropout must lie between 0 and 1, got -0.1"),
        ({"recurrent_dropout": 1.5}, "recurrent_dropout must lie between 0 and 1, got 1.5"),
        ({"recurrent_dropout": float("nan")}, "recurrent_dropout must lie between 0 and 1, got nan"),
        ({"recurrent_kernel_dropout": -0.5}, "recurrent_kernel_dropout must lie between 0 and 1, got -0.5"),
        ({"zoneout_hidden": 1.01}, "zoneout_hidden must lie between 0 and 1, got 1.01"),
        ({"zoneout_cell": float("nan")}, "zoneout_cell must lie between 0 and 1, got nan"),
    ],
)
def test_bad_argument_is_named(layer_class, options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        layer_class(**{"units": 2} | options)


def test_cudnn_is_refused():
    with pytest.raises(ValueError, match="use_cudnn must be 'auto' or False .*, got True"):
        LSTM(2, use_cudnn=True)
    LSTM(2, use_cudnn=False)


def test_units_may_be_any_whole_number():
    for units in (np.int64(4), 4.0):
        assert type(LSTM(units).units) is int
        assert LSTM(units).units == 4


# Other backends

WITHOUT_TENSORFLOW = """
import sys
from unittest.mock import MagicMock
sys.modules["tensorflow"] = None  # importing it now raises ImportError
if sys.argv[2] == "numpy":  # whose backend in Keras imports JAX, for Fourier transforms and convolutions
    for name in ("jax", "jax.lax", "keras.src.backend.jax", "keras.src.backend.jax.math"):
        sys.modules[name] = MagicMock()
import numpy as np
import keras
from nlp_lstm.lstm import LSTM
assert keras.config.backend() == sys.argv[2], keras.config.backend()
data = np.load(sys.argv[1])
layer = LSTM(data["hidden"].shape[1], return_sequences=True, return_state=True, go_backwards=True, dtype="float64")
layer.build(data["x"].shape)
layer.set_weights([data["kernel"], data["recurrent_kernel"], data["bias"]])
state = [data["hidden"], data["cell"]]
results = dict(zip(("shown", "h", "c"), layer(data["x"], initial_state=state, mask=data["mask"])))
results |= layer.gates(data["x"], state, data["mask"])._asdict()
weights = [data[name] for name in ("kernel", "recurrent_kernel", "bias", "gain_0", "gain_1", "gain_2", "gain_3")]
rates = {"zoneout_hidden": 0.3, "zoneout_cell": 0.6}
for name, options in (("zoneout", rates), ("normalized", {**rates, "layer_normalization": True})):
    layer = LSTM(data["hidden"].shape[1], return_sequences=True, go_backwards=True, dtype="float64", **options)
    layer.build(data["x"].shape)
    layer.set_weights(weights[: len(layer.weights)])
    results[name] = layer(data["x"], initial_state=state, mask=data["mask"])
    gates = layer.gates(data["x"], state, data["mask"])
    results |= {f"{name}_{part}": value for part, value in gates._asdict().items()}
layer = LSTM(data["hidden"].shape[1], return_sequences=True, dtype="float64", recurrent_kernel_dropout=0.5, **rates)
results["drawn"] = layer(data["x"], mask=data["mask"], training=True)
np.savez(sys.argv[1], **{name: np.asarray(value) for name, value in results.items()})
"""


@pytest.mark.parametrize(
    "backend",
    [
        "numpy",
        pytest.param("jax", marks=pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="needs jax")),
    ],
)
def test_runs_without_tensorflow_on_another_backend(backend, tmp_path):
    p, gains = draw_problem(25, units=3), draw_gains(units=3)
    file = tmp_path / "arrays.npz"
    np.savez(file, mask=MASKS["any"], **p._asdict(), **{f"gain_{n}": gain for n, gain in enumerate(gains)})
    environment = os.environ | {"KERAS_BACKEND": backend, "JAX_ENABLE_X64": "1", "KERAS_HOME": str(tmp_path)}
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, str(file), backend]
    done = subprocess.run(command, env=environment, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    actual = np.load(file)
    expected = numpy_lstm.lstm(p.x, *p.weights, p.state, MASKS["any"], go_backwards=True)
    assert_all_near(
        [actual["shown"], actual["h"], actual["c"]],
        [expected.shown, expected.last_hidden, expected.last_cell],
        1e-6,  # Keras's NumPy backend multiplies float64 in float32
    )
    for name, value in expected.gates.items():
        assert_near(actual[name], value, 1e-6)
    for prefix, options in (("zoneout", {}), ("normalized", {"gains": gains})):
        expected = numpy_lstm.lstm(
            p.x, *p.weights, p.state, MASKS["any"], go_backwards=True, zoneout=(0.3, 0.6), **options
        )
        assert_near(actual[prefix], expected.shown, 1e-5)
        for name, value in expected.gates.items():
            assert_near(actual[f"{prefix}_{name}"], value, 1e-5)
    assert np.isfinite(actual["drawn"]).all()
    assert np.ptp(actual["drawn"]) > 1e-3
