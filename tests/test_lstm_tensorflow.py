"""The fast path and its hand-written gradient: against differences of the oracle, and against autodiff step by step."""

import keras
import numpy as np
import numpy_lstm
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy_lstm import MASKS, assert_all_near, assert_near, draw_gains, draw_problem
from tensorflow.core.protobuf import saved_model_pb2

from nlp_lstm import lstm_tensorflow
from nlp_lstm.lstm import LSTM, LSTMCell, lstm_step
from nlp_lstm.lstm_regularizers import Gains
from nlp_lstm.traced_calls import call_compiled

FORMS = ["none", "any"]


def built(problem, layer_class=LSTM, **options):
    """A layer whose loops are compiled in training, known length or not."""
    layer = layer_class(problem.hidden.shape[1], **{"jit_compile": True, **options})
    layer.build(problem.x.shape)
    gains = draw_gains(units=problem.hidden.shape[1])
    weights = [*(problem.weights if layer.cell.use_bias else problem.weights[:2]), *gains]
    layer.set_weights(weights[: len(layer.weights)])
    return layer


def directions(problem, seed=99):
    """Random weights of everything a layer gives, so that a scalar depends on every entry in its own way."""
    rng = np.random.default_rng(seed)
    return [
        rng.normal(size=shape)
        for shape in (problem.x.shape[:2] + problem.hidden.shape[1:], *[problem.hidden.shape] * 2)
    ]


def along(results, towards):
    return sum(tf.reduce_sum(result * direction) for result, direction in zip(results, towards, strict=True))


def differences_of_oracle(problem, towards, gains=(), **options):
    """The gradient by x, both initial states, the three weights and the gains, if any, from the oracle alone."""

    def scalar(x, hidden, cell, kernel, recurrent_kernel, bias, *gains):
        run = numpy_lstm.lstm(x, kernel, recurrent_kernel, bias, [hidden, cell], gains=gains or None, **options)
        results = (run.shown, run.last_hidden, run.last_cell)
        return sum(np.sum(result * direction) for result, direction in zip(results, towards, strict=True))

    return numpy_lstm.central_differences(scalar, [*problem, *gains])


def gradients_of_layer(layer, problem, towards, mask=None, training=False):
    """The layer's results, and the gradient by x, both initial states and the layer's weights."""
    x, hidden, cell = (tf.constant(a, layer.compute_dtype) for a in (problem.x, problem.hidden, problem.cell))
    with tf.GradientTape() as tape:
        tape.watch([x, hidden, cell])
        results = layer(x, initial_state=[hidden, cell], mask=mask, training=training)
        scalar = along(results, [tf.cast(direction, layer.compute_dtype) for direction in towards])
    return results, tape.gradient(scalar, [x, hidden, cell, *(w.value for w in layer.trainable_variables)])


EVERYTHING = {"return_sequences": True, "return_state": True}


def draw_zoneout(problem, form, seed=98):
    """Shares to keep, between 0 and 1: for each step `(batch, time, units)`, or a number for all."""
    rng = np.random.default_rng(seed)
    shape = problem.x.shape[:2] + problem.hidden.shape[1:] if form == "per step" else ()
    return [np.asarray(rng.uniform(size=shape)) for _ in range(2)]


def by_time(kept):
    return tf.transpose(kept, (1, 0, 2)) if np.ndim(kept) else tf.constant(kept)


@pytest.fixture
def drawing(monkeypatch):
    """Have the layers of a problem draw what a test says, in training: anything, not ones and zeros alone."""

    def patch(problem, seed):
        rng = np.random.default_rng(seed)
        batch, _, features = problem.x.shape
        units = problem.hidden.shape[1]
        sizes = {features: (batch, features), units: (batch, units), 4 * units: (units, 4 * units)}
        assert len(sizes) == 3
        masks = {width: rng.uniform(0, 2, size) for width, size in sizes.items()}
        masks[4 * units] *= rng.integers(0, 2, masks[4 * units].shape)
        kept = draw_zoneout(problem, "per step", seed)
        in_use = LSTMCell.kept_shares

        def kept_shares(self, shape, training):
            found = in_use(self, shape, training)
            return [tf.constant(share) for share in kept] if training and found is not None else found

        monkeypatch.setattr(LSTMCell, "draw_dropout_mask", lambda self, rows, width, rate: masks[int(width)])
        monkeypatch.setattr(LSTMCell, "kept_shares", kept_shares)
        return {
            "input_dropout": masks[features],
            "recurrent_dropout": masks[units],
            "recurrent_kernel_dropout": masks[4 * units],
            "zoneout": kept,
        }

    return patch


ALL_DRAWN = {
    "dropout": 0.5,
    "recurrent_dropout": 0.5,
    "recurrent_kernel_dropout": 0.5,
    "zoneout_hidden": 0.3,
    "zoneout_cell": 0.6,
}


# Gradients


@pytest.mark.parametrize("training", [False, True], ids=["plain loops", "compiled"])
@pytest.mark.parametrize("recurrent_dropout", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_gradients_equal_differences_of_the_oracle(form, recurrent_dropout, training):
    p, mask = draw_problem(1), MASKS[form]
    towards = directions(p)
    dropped = np.random.default_rng(1).choice([0.0, 1.5], p.hidden.shape) if recurrent_dropout else None
    by_time = [tf.transpose(a, (1, 0, 2)) for a in (p.x, towards[0])]
    inputs = [by_time[0], *(tf.constant(a) for a in (p.hidden, p.cell, *p.weights))]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        time_major_mask = None if mask is None else tf.constant(mask.T[..., None])
        results = lstm_tensorflow.lstm_sequence(*inputs, time_major_mask, dropped, training=training, jit_compile=True)
        scalar = along(results, [by_time[1], *towards[1:]])
    d_x, *others = tape.gradient(scalar, inputs)
    expected = differences_of_oracle(p, towards, mask=mask, recurrent_dropout=dropped)
    assert_all_near([tf.transpose(d_x, (1, 0, 2)), *others], expected, 1e-7)
    assert all(np.abs(gradient).max() > 1e-2 for gradient in expected)


@pytest.mark.parametrize("rows", [1, lstm_tensorflow._FEW_ROWS - 1, lstm_tensorflow._FEW_ROWS, 9])
@pytest.mark.parametrize("known", [False, True], ids=["unknown rows", "known rows"])
@pytest.mark.parametrize("ahead", [False, True])
def test_the_input_product_is_the_same_before_the_loop_and_within(rows, known, ahead):
    """And so are all gradients, whichever of the two a graph takes for so many rows."""
    p = draw_problem(7, batch=rows, steps=4)
    towards = directions(p)
    by_row = [tf.constant(a) for a in (p.x, p.hidden, p.cell)]
    weights = [tf.constant(a) for a in p.weights]
    signature = [tf.TensorSpec([rows if known else None, *a.shape[1:]], a.dtype) for a in by_row]

    @tf.function(input_signature=signature, autograph=False)
    def graph(x, *states):
        given = [x, *states, *weights]
        with tf.GradientTape() as tape:
            tape.watch(given)
            results = lstm_tensorflow.lstm_sequence(tf.transpose(x, (1, 0, 2)), *states, *weights, product_ahead=ahead)
            scalar = along(results, [tf.transpose(towards[0], (1, 0, 2)), *towards[1:]])
        return results, tape.gradient(scalar, given)

    results, gradients = graph(*by_row)
    run = numpy_lstm.lstm(p.x, *p.weights, p.state)
    assert_all_near(results, [run.shown.transpose(1, 0, 2), run.last_hidden, run.last_cell], 1e-12)
    assert_all_near(gradients, differences_of_oracle(p, towards), 1e-7)


@pytest.mark.parametrize("training", [False, True], ids=["plain loops", "compiled"])
@pytest.mark.parametrize("zoneout", ["per step", "constant"])
@pytest.mark.parametrize("form", FORMS)
def test_gradients_with_zoneout_equal_differences_of_the_oracle(form, zoneout, training):
    """With a mask there is recurrent dropout, too."""
    p = draw_problem(13, batch=3, steps=4)
    mask = None if MASKS[form] is None else MASKS[form][:3, :4]
    dropped = None if mask is None else np.random.default_rng(13).choice([0.0, 1.5], p.hidden.shape)
    kept, towards = draw_zoneout(p, zoneout), directions(p)
    inputs = [tf.transpose(p.x, (1, 0, 2)), *(tf.constant(a) for a in (p.hidden, p.cell, *p.weights))]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        time_major_mask = None if mask is None else tf.constant(mask.T[..., None])
        results = lstm_tensorflow.lstm_sequence(
            *inputs,
            time_major_mask,
            dropped,
            zoneout=[by_time(share) for share in kept],
            training=training,
            jit_compile=True,
        )
        scalar = along(results, [tf.transpose(towards[0], (1, 0, 2)), *towards[1:]])
    d_x, *others = tape.gradient(scalar, inputs)
    run = numpy_lstm.lstm(p.x, *p.weights, p.state, mask, recurrent_dropout=dropped, zoneout=kept)
    assert_all_near(results, [run.shown.transpose(1, 0, 2), run.last_hidden, run.last_cell], 1e-10)
    expected = differences_of_oracle(p, towards, mask=mask, recurrent_dropout=dropped, zoneout=kept)
    assert_all_near([tf.transpose(d_x, (1, 0, 2)), *others], expected, 1e-7)
    assert all(np.abs(gradient).max() > 1e-2 for gradient in expected)


@pytest.mark.parametrize("training", [False, True], ids=["in use", "training"])
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_gradients_of_the_layer_with_all_additions(form, normalized, training, drawing):
    """By x, both initial states, kernel, recurrent kernel, bias, and the gains; by whatever route the layer takes."""
    p = draw_problem(14, batch=3, steps=3, features=4, units=3)
    mask = None if MASKS[form] is None else MASKS[form][:3, :3]
    drawn = drawing(p, 14)
    options = drawn if training else {"zoneout": (0.3, 0.6)}
    gains = draw_gains(units=3) if normalized else []
    towards = directions(p)
    layer = built(p, dtype="float64", layer_normalization=normalized, go_backwards=True, **ALL_DRAWN, **EVERYTHING)
    results, actual = gradients_of_layer(layer, p, towards, mask, training)
    run = numpy_lstm.lstm(p.x, *p.weights, p.state, mask, go_backwards=True, gains=gains or None, **options)
    assert_all_near(results, [run.shown, run.last_hidden, run.last_cell], 1e-10)
    expected = differences_of_oracle(p, towards, gains, mask=mask, go_backwards=True, **options)
    assert len(expected) == (10 if normalized else 6)
    assert_all_near(actual, expected, 1e-6)
    if training:
        dropped = drawn["recurrent_kernel_dropout"] == 0
        assert 0 < dropped.mean() < 1
        np.testing.assert_array_equal(np.asarray(actual[4])[dropped], 0)
        assert np.all(np.asarray(actual[4])[~dropped] != 0)


@pytest.mark.parametrize("training", [False, True], ids=["in use", "training"])
@pytest.mark.parametrize("use_bias", [False, True])
def test_gradients_of_layer_normalization_alone(use_bias, training):
    p = draw_problem(15, batch=2, steps=3, units=3)
    p = p if use_bias else p._replace(bias=np.zeros_like(p.bias))
    gains, towards = draw_gains(units=3), directions(p)
    layer = built(p, dtype="float64", layer_normalization=True, use_bias=use_bias, **EVERYTHING)
    _, actual = gradients_of_layer(layer, p, towards, training=training)
    expected = differences_of_oracle(p, towards, gains)
    if not use_bias:
        del expected[5]
    assert_all_near(actual, expected, 1e-6)
    assert all(np.abs(gradient).max() > 1e-2 for gradient in expected)


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_gradients_of_the_layer_equal_differences_of_the_oracle(form, go_backwards):
    p = draw_problem(2)
    towards = directions(p)
    layer = built(p, dtype="float64", go_backwards=go_backwards, **EVERYTHING)
    _, actual = gradients_of_layer(layer, p, towards, MASKS[form])
    expected = differences_of_oracle(p, towards, mask=MASKS[form], go_backwards=go_backwards)
    assert_all_near(actual, expected, 1e-7)


@pytest.mark.parametrize("training", [False, True], ids=["plain loops", "compiled"])
@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_fast_path_equals_autodiff_step_by_step(form, use_bias, training, monkeypatch):
    p, mask = draw_problem(3), MASKS[form]
    rng = np.random.default_rng(3)
    drawn = {3: rng.uniform(0, 2, p.x[:, 0].shape), 2: rng.uniform(0, 2, p.hidden.shape)}
    monkeypatch.setattr(LSTMCell, "draw_dropout_mask", lambda self, batch, width, rate: tf.constant(drawn[int(width)]))
    layer = built(p, dtype="float64", use_bias=use_bias, dropout=0.5, recurrent_dropout=0.5, **EVERYTHING)
    assert layer._fast_path_applies()
    fast_results, fast = gradients_of_layer(layer, p, directions(p), mask, training)
    monkeypatch.setattr(LSTM, "_fast_path_applies", lambda self: False)
    results, gradients = gradients_of_layer(layer, p, directions(p), mask, training)
    assert_all_near(fast_results, results, 1e-12)
    assert_all_near(fast, gradients, 1e-11)
    assert len(gradients) == (6 if use_bias else 5)


@pytest.mark.parametrize("training", [False, True], ids=["plain loops", "compiled"])
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_all_additions_equal_autodiff_step_by_step(form, normalized, training, drawing, monkeypatch):
    p, mask = draw_problem(16, features=4, units=3), MASKS[form]
    drawing(p, 16)
    layer = built(p, dtype="float64", layer_normalization=normalized, go_backwards=True, **ALL_DRAWN, **EVERYTHING)
    assert layer._fast_path_applies()
    fast_results, fast = gradients_of_layer(layer, p, directions(p), mask, training)
    monkeypatch.setattr(LSTM, "_fast_path_applies", lambda self: False)
    results, gradients = gradients_of_layer(layer, p, directions(p), mask, training)
    assert_all_near(fast_results, results, 1e-12)
    assert_all_near(fast, gradients, 1e-10)
    assert len(gradients) == (10 if normalized else 6)


def test_gradient_of_one_result_alone():
    """A loss that looks at the last state only, or at one step only, leaves the other incoming gradients empty."""
    p = draw_problem(4)
    for wanted in range(3):
        towards = [direction * (position == wanted) for position, direction in enumerate(directions(p))]
        x = tf.constant(p.x)
        layer = built(p, dtype="float64", **EVERYTHING)
        with tf.GradientTape() as tape:
            tape.watch(x)
            scalar = tf.reduce_sum(layer(x, initial_state=p.state)[wanted] * towards[wanted])
        assert_near(tape.gradient(scalar, x), differences_of_oracle(p, towards)[0], 1e-7)


def test_masked_steps_have_no_gradient():
    p = draw_problem(5)
    _, gradients = gradients_of_layer(built(p, **EVERYTHING), p, directions(p), MASKS["any"])
    np.testing.assert_array_equal(np.asarray(gradients[0])[~MASKS["any"]], 0)
    assert np.all(np.asarray(gradients[0])[MASKS["any"]] != 0)


# Modes of running


@pytest.mark.parametrize("zoneout", [None, "per step", "constant"])
@pytest.mark.parametrize("form", FORMS)
def test_trace_is_the_same_compiled_or_not(form, zoneout):
    p = draw_problem(6)
    mask = None if MASKS[form] is None else tf.constant(MASKS[form].T[..., None])
    kept = zoneout and draw_zoneout(p, zoneout)
    time_major_kept = kept and [by_time(share) for share in kept]
    arguments = [tf.transpose(tf.constant(p.x), (1, 0, 2)), *p.state, *p.weights, mask, None, time_major_kept]
    plain = lstm_tensorflow.trace_sequence(*arguments)
    given = lstm_tensorflow.ByRow(*arguments[:3], *arguments[6:]), lstm_tensorflow.Weights(*arguments[3:6])
    compiled, *_ = call_compiled(lstm_tensorflow._forward, (given[0], None), given[1], True)
    assert_all_near(compiled[:3], plain[:3], 1e-12)
    expected = numpy_lstm.lstm(p.x, *p.weights, p.state, MASKS[form], zoneout=kept)
    assert_near(plain.hidden[-1], expected.last_hidden, 1e-12)
    assert_near(plain.cell[1:], expected.gates["cell"].transpose(1, 0, 2), 1e-12)


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("zoneout", [None, "per step", "constant"])
@pytest.mark.parametrize("form", FORMS)
def test_recurrence_over_products_equals_whole_sequence(form, zoneout, normalized):
    """`hidden_sequence` and `trace_sequence` take products that are there already; the oracle says which."""
    p = draw_problem(17, units=3)
    mask = None if MASKS[form] is None else tf.constant(MASKS[form].T[..., None])
    kept, gains = zoneout and draw_zoneout(p, zoneout), draw_gains(units=3) if normalized else None
    options = {
        "mask": mask,
        "recurrent_dropout_mask": np.random.default_rng(17).uniform(0, 2, p.hidden.shape),
        "zoneout": kept and [by_time(share) for share in kept],
    }
    expected = numpy_lstm.lstm(
        p.x,
        *p.weights,
        p.state,
        MASKS[form],
        recurrent_dropout=options["recurrent_dropout_mask"],
        zoneout=kept,
        gains=gains,
    )
    product = p.x.transpose(1, 0, 2) @ p.kernel
    if normalized:
        product = (product - product.mean(-1, keepdims=True)) / np.sqrt(product.var(-1, keepdims=True) + 1e-5)
        product *= gains[0]
    arguments = [tf.constant(product), *p.state, p.recurrent_kernel]
    of_gains = {"gains": Gains(*gains)} if normalized else {}
    results = lstm_tensorflow.hidden_sequence(*arguments, p.bias, **options, **of_gains)
    results_without_bias = lstm_tensorflow.hidden_sequence(
        tf.constant(product + p.bias), *arguments[1:], **options, **of_gains
    )
    shown = expected.shown.transpose(1, 0, 2)
    for found in (results, results_without_bias):
        assert_all_near(found, [shown, expected.last_hidden, expected.last_cell], 1e-10)
    trace = lstm_tensorflow.trace_sequence(
        tf.constant(product + p.bias), *p.state, None, tf.constant(p.recurrent_kernel), **options, **of_gains
    )
    assert_near(trace.hidden[1:], shown, 1e-10)
    assert_near(trace.cell[1:], expected.gates["cell"].transpose(1, 0, 2), 1e-10)
    if not normalized:
        x = tf.constant(p.x.transpose(1, 0, 2))
        assert_all_near(lstm_tensorflow.lstm_sequence(x, *p.state, *p.weights, **options), results, 1e-12)


@pytest.mark.usefixtures("rewritten_graphs")
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_eager_graph_and_jit_agree_with_and_without_known_dimensions(masked, training):
    p = draw_problem(7)
    towards = [tf.constant(direction, tf.float32) for direction in directions(p)]
    layer = built(p, **EVERYTHING)

    def step(x, mask):
        mask = mask if masked else None
        with tf.GradientTape() as tape:
            tape.watch(x)
            results = layer(x, mask=mask, training=training)
            scalar = along(
                results, [towards[0][: tf.shape(x)[0], : tf.shape(x)[1]], *(t[: tf.shape(x)[0]] for t in towards[1:])]
            )
        return *results, *tape.gradient(scalar, [x, *(w.value for w in layer.trainable_variables)])

    unknown = [tf.TensorSpec([None, None, 3]), tf.TensorSpec([None, None], tf.bool)]
    x, mask = tf.constant(p.x, tf.float32), tf.constant(MASKS["any"])
    modes = [tf.function(step), tf.function(step, jit_compile=True), tf.function(step, input_signature=unknown)]
    for mode in modes:
        assert_all_near(mode(x, mask), step(x, mask), 2e-5)
    assert_all_near(modes[-1](x[:3, :2], mask[:3, :2]), step(x[:3, :2], mask[:3, :2]), 2e-5)
    expected = numpy_lstm.lstm(p.x[:3, :2], *p.weights, mask=MASKS["any"][:3, :2] if masked else None)
    assert_near(modes[-1](x[:3, :2], mask[:3, :2])[0], expected.shown, 1e-5)


@pytest.mark.usefixtures("rewritten_graphs")
@pytest.mark.parametrize("normalized", [False, True])
def test_drawn_additions_are_the_same_in_eager_and_in_a_graph_of_unknown_dimensions(normalized):
    """The seed is put back before each."""
    p = draw_problem(18, units=3)
    layer = built(p, layer_normalization=normalized, seed=1, **ALL_DRAWN, **EVERYTHING)
    start = np.asarray(layer.cell.seed_generator.state)

    def step(x, mask):
        with tf.GradientTape() as tape:
            results = layer(x, mask=mask, training=True)
            scalar = sum(tf.reduce_sum(result**2) for result in results)
        return *results, *tape.gradient(scalar, [w.value for w in layer.trainable_variables])

    unknown = [tf.TensorSpec([None, None, 3]), tf.TensorSpec([None, None], tf.bool)]
    x, mask = tf.constant(p.x, tf.float32), tf.constant(MASKS["any"])
    eager = step(x, mask)
    layer.cell.seed_generator.state.assign(start)
    assert_all_near(tf.function(step, input_signature=unknown)(x, mask), eager, 1e-4)
    assert np.abs(step(x, mask)[0] - eager[0]).max() > 1e-3  # the draws count


@pytest.mark.parametrize("options", [{}, {"zoneout_hidden": 0.5, "recurrent_kernel_dropout": 0.5}], ids=str)
def test_shapes_are_known_where_they_can_be(options):
    layer = LSTM(2, return_sequences=True, **options)
    for training in (False, True):
        graph = tf.function(lambda x, training=training: layer(x, training=training))
        assert graph.get_concrete_function(tf.TensorSpec([4, 5, 3])).structured_outputs.shape == (4, 5, 2)
        unknown = graph.get_concrete_function(tf.TensorSpec([None, None, 3])).structured_outputs
        assert unknown.shape.as_list() == [None, None, 2]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("plain", [False, True])
def test_mixed_bfloat16_is_near_float32(plain, training, monkeypatch):
    if plain:
        monkeypatch.setattr(LSTM, "_fast_path_applies", lambda self: False)
    p = draw_problem(8)
    whole, mixed = (built(p, dtype=dtype, **EVERYTHING) for dtype in ("float32", "mixed_bfloat16"))
    (expected, d_expected), (actual, d_actual) = (
        gradients_of_layer(layer, p, directions(p), MASKS["right"], training) for layer in (whole, mixed)
    )
    assert all(result.dtype == tf.bfloat16 for result in actual)
    assert all(w.dtype == "float32" for w in mixed.weights)
    assert [d.dtype for d in d_actual] == [tf.bfloat16] * 3 + [tf.float32] * 3
    assert_all_near([tf.cast(a, tf.float32) for a in actual], expected, 0.03)
    for a, e in zip(d_actual, d_expected, strict=True):
        assert np.abs(tf.cast(a, tf.float32) - e).max() < 0.05 * np.abs(e).max()
    assert np.abs(tf.cast(actual[0], tf.float32) - expected[0]).max() > 1e-6  # bfloat16 it was


def test_mixed_bfloat16_as_the_policy_of_all_layers():
    p = draw_problem(9)
    expected = built(p)(p.x)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = built(p)
        assert layer.cell.compute_dtype == "bfloat16"
        assert_near(tf.cast(layer(p.x), tf.float32), expected, 0.03)
        assert_near(tf.cast(layer.gates(p.x).hidden[:, -1], tf.float32), expected, 0.03)
    finally:
        keras.config.set_dtype_policy(before)


ADDING_UP = 1 / 1024  # what each step adds to the cell state; bfloat16 has it exactly


def adding_up(**options):
    """A layer with c_t = c_{t-1} + 1/1024 and h_t = tanh(c_t): bfloat16 cannot count to 1 in such steps."""
    layer = LSTM(1, dtype="mixed_bfloat16", **options, **EVERYTHING)
    layer.build((1, None, 1))
    layer.set_weights([np.array([[0, 0, 1.0, 0]]), np.zeros((1, 4)), np.array([99.0, 99.0, 0, 99.0])])
    return layer


@pytest.mark.parametrize("training", [False, True])
def test_mixed_bfloat16_keeps_the_state_of_a_long_sequence(training):
    steps = 1024
    x = np.full((2, steps, 1), ADDING_UP)
    assert np.asarray(tf.cast(tf.cast(1 / 2, tf.bfloat16) + tf.cast(ADDING_UP, tf.bfloat16), tf.float32)) == 0.5
    layer = adding_up()
    outputs, h, c = layer(x, training=training)
    assert [result.dtype for result in (outputs, h, c)] == [tf.bfloat16] * 3
    counted = ADDING_UP * np.arange(1, steps + 1)
    np.testing.assert_allclose(tf.cast(outputs, tf.float32)[0, :, 0], np.tanh(counted), rtol=2**-8)
    np.testing.assert_allclose(tf.cast(c, tf.float32), 1.0, rtol=2**-8)
    gates = layer.gates(x)
    assert gates.cell.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(gates.cell, tf.float32)[0, :, 0], counted, rtol=2**-8)


def test_mixed_bfloat16_keeps_the_gradient_of_a_long_sequence():
    """Each step's input counts by the same 1; a sum of a thousand gradients in bfloat16 would stop at 256."""
    x = np.full((1, 1024, 1), ADDING_UP)
    layer = adding_up()
    with tf.GradientTape() as tape:
        _, _, c = layer(x, training=True)
        scalar = tf.reduce_sum(tf.cast(c, tf.float32))
    d_bias = tape.gradient(scalar, layer.cell.bias.value)
    np.testing.assert_allclose(d_bias[2], 1024, rtol=0.01)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("normalized", [False, True])
def test_mixed_bfloat16_with_additions_is_near_float32(normalized, training, drawing):
    p = draw_problem(19, features=4, units=3)
    drawing(p, 19)
    options = {"layer_normalization": normalized, **ALL_DRAWN, **EVERYTHING}
    whole, mixed = (built(p, dtype=dtype, **options) for dtype in ("float32", "mixed_bfloat16"))
    (expected, d_expected), (actual, d_actual) = (
        gradients_of_layer(layer, p, directions(p), MASKS["right"], training) for layer in (whole, mixed)
    )
    assert all(result.dtype == tf.bfloat16 for result in actual)
    assert_all_near([tf.cast(a, tf.float32) for a in actual], expected, 0.03)
    for a, e in zip(d_actual, d_expected, strict=True):
        assert np.abs(tf.cast(a, tf.float32) - e).max() < 0.05 * np.abs(e).max()


# What is exported


def compiled_functions(graph):
    return [f.signature.name for f in graph.library.function if f.attr["_XlaMustCompile"].b]


@pytest.mark.parametrize("normalized", [False, True])
def test_exported_graph_asks_for_no_compiler(normalized, tmp_path):
    p = draw_problem(10)
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, built(p, layer_normalization=normalized, **ALL_DRAWN)(inputs))
    model.compile("sgd", "mse", jit_compile=False)
    model.fit(p.x, p.hidden, verbose=0)  # what training traced must not slip in
    model.export(tmp_path, verbose=False)
    graph = saved_model_pb2.SavedModel.FromString((tmp_path / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def
    assert compiled_functions(graph) == []
    loaded = tf.saved_model.load(tmp_path)
    assert_near(loaded.serve(tf.constant(p.x, tf.float32)), model(p.x), 1e-6)


@pytest.mark.parametrize(
    "options", [{}, ALL_DRAWN, {"layer_normalization": True}], ids=["plain", "drawn", "normalized"]
)
def test_training_graph_is_compiled_and_the_others_are_not(options):
    p = draw_problem(11)
    layer = built(p, return_sequences=True, **options)
    for training in (False, True):
        graph = tf.function(lambda x, training=training: layer(x, training=training))
        found = compiled_functions(graph.get_concrete_function(tf.TensorSpec([None, None, 3])).graph.as_graph_def())
        assert bool(found) == training
    gates = tf.function(layer.gates).get_concrete_function(tf.TensorSpec([None, None, 3]))
    assert compiled_functions(gates.graph.as_graph_def()) == []


# Anything at all


@st.composite
def problems(draw):
    sizes = {name: draw(st.integers(1, 4), label=name) for name in ("batch", "steps", "features", "units")}
    p = draw_problem(draw(st.integers(0, 2**32 - 1), label="seed"), **sizes)
    cells = st.lists(st.booleans(), min_size=sizes["steps"], max_size=sizes["steps"])
    rows = st.lists(cells, min_size=sizes["batch"], max_size=sizes["batch"])
    mask = draw(st.none() | rows, label="mask")
    return p, None if mask is None else np.array(mask)


RATES = st.sampled_from([0.0, 0.25, 1.0])


@given(problems(), st.booleans(), st.booleans(), st.booleans(), st.booleans(), RATES, RATES, st.booleans())
@settings(max_examples=25, deadline=None, derandomize=True, database=None)
def test_any_problem_equals_oracle(
    problem, use_bias, with_state, go_backwards, zero_output_for_mask, zoneout_hidden, zoneout_cell, normalized
):
    p, mask = problem
    options = {"go_backwards": go_backwards, "zero_output_for_mask": zero_output_for_mask}
    additions = {"zoneout_hidden": zoneout_hidden, "zoneout_cell": zoneout_cell, "layer_normalization": normalized}
    layer = built(p, dtype="float64", use_bias=use_bias, **options, **additions, **EVERYTHING)
    assert layer._fast_path_applies()
    state = p.state if with_state else None
    weights = p.weights if use_bias else [*p.weights[:2], None]
    gains = draw_gains(units=p.hidden.shape[1]) if normalized else None
    expected = numpy_lstm.lstm(
        p.x, *weights, state, mask, zoneout=(zoneout_hidden, zoneout_cell), gains=gains, **options
    )
    actual = layer(p.x, initial_state=state, mask=mask)
    assert_all_near(actual, [expected.shown, expected.last_hidden, expected.last_cell], 1e-10)
    for name, gate in layer.gates(p.x, state, mask)._asdict().items():
        assert_near(gate, expected.gates[name], 1e-10)


def test_the_oracle_is_no_copy_of_the_step():
    """Central differences are right: against autodiff through `lstm_step`, once, with no loop of ours in between."""
    p = draw_problem(12, steps=1)
    towards = directions(p)
    inputs = [tf.constant(a) for a in p]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        x, hidden, cell, *weights = inputs
        gates = lstm_step(x[:, 0], hidden, cell, *weights)
        scalar = along([gates.hidden[:, None], gates.hidden, gates.cell], towards)
    assert_all_near(tape.gradient(scalar, inputs), differences_of_oracle(p, towards), 1e-8)
