"""Masks and initial states in every form that Keras takes, and what fits neither the sequences nor the layer."""

import keras
import numpy as np
import numpy_lstm
import pytest
from keras import ops
from numpy_lstm import MASKS, assert_all_near, assert_near, draw_problem

from nlp_lstm.lstm import LSTM

P = draw_problem(50)  # 4 rows, 5 steps, 3 features, 2 units
WHOLE = {"return_sequences": True, "return_state": True, "dtype": "float64"}


@pytest.fixture(params=["fast", "plain", "unrolled"])
def options(request, monkeypatch):
    if request.param == "plain":
        monkeypatch.setattr(LSTM, "_fast_path_applies", lambda self: False)
    return {"unroll": request.param == "unrolled", **WHOLE}


def built(problem=P, **options):
    layer = LSTM(problem.hidden.shape[1], **options)
    layer.build(problem.x.shape)
    layer.set_weights(problem.weights)
    return layer


FORMS = {
    "last axis": lambda mask: mask[..., None],
    "int32": lambda mask: 3 * mask.astype("int32"),
    "uint8": lambda mask: mask.astype("uint8"),
    "float16": lambda mask: mask.astype("float16") / 2,
    "bfloat16": lambda mask: ops.cast(mask, "bfloat16"),
    "float64": lambda mask: -1.0 * mask,
    "nested list": lambda mask: mask.tolist(),
    "list of rows": list,
    "of several inputs": lambda mask: [ops.convert_to_tensor(mask), None, None],
}


@pytest.mark.parametrize("form", FORMS)
def test_mask_of_any_form_is_the_boolean_one(form, options):
    mask = FORMS[form](MASKS["any"])
    for more in ({}, {"go_backwards": True, "zero_output_for_mask": True}):
        layer = built(**options, **more)
        expected = numpy_lstm.lstm(P.x, *P.weights, P.state, MASKS["any"], **more)
        results = [expected.shown, expected.last_hidden, expected.last_cell]
        for training in (False, True):
            assert_all_near(layer(P.x, initial_state=P.state, mask=mask, training=training), results, 1e-10)
        gates = layer.gates(P.x, P.state, mask)
        for name, value in gates._asdict().items():
            assert_near(value, expected.gates[name], 1e-10)


def test_one_row_serves_every_sequence_as_in_keras(options):
    row, state = MASKS["inner"][:1], [part[:1] for part in P.state]
    mask, whole_state = np.repeat(row, 4, axis=0), [np.repeat(part, 4, axis=0) for part in state]
    expected = numpy_lstm.lstm(P.x, *P.weights, whole_state, mask)
    layer, theirs = built(**options), keras.layers.LSTM(2, **options)
    theirs.build(P.x.shape)
    theirs.set_weights(P.weights)
    for training in (False, True):
        results = layer(P.x, initial_state=state, mask=row, training=training)
        assert_all_near(results, [expected.shown, expected.last_hidden, expected.last_cell], 1e-10)
    assert_near(layer.gates(P.x, state, row).cell, expected.gates["cell"], 1e-10)
    assert_all_near(layer(P.x, mask=row), theirs(P.x, mask=row), 1e-10)


BAD_MASKS = {
    "too long": np.ones((4, 7)),
    "too short": np.ones((4, 3)),
    "one step": np.ones((4, 1)),
    "too few rows": np.ones((3, 5)),
    "too many rows": np.ones((8, 5)),
    "turned round": np.ones((5, 4)),
    "of one row only, without its axis": np.ones(5),
    "of each feature": np.ones((4, 5, 3)),
    "of each unit": np.ones((4, 5, 2)),
    "no axis": np.ones(()),
    "four axes": np.ones((4, 5, 1, 1)),
    "too long, last axis": np.ones((4, 7, 1)),
}


def shape_of(array):
    return str(tuple(np.shape(array))).replace("(", r"\(").replace(")", r"\)")


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("form", BAD_MASKS)
def test_mask_that_does_not_fit_is_refused(form, go_backwards, training):
    mask = BAD_MASKS[form].astype(bool)
    message = rf"the mask of sequences of shape \(4, 5, 3\) must be \(batch, time\) .* got shape {shape_of(mask)}"
    for unroll in (False, True):
        layer = built(go_backwards=go_backwards, unroll=unroll, **WHOLE)
        with pytest.raises(ValueError, match=message):
            layer(P.x, mask=mask, training=training)
    with pytest.raises(ValueError, match=message):
        layer.gates(P.x, mask=mask)
    with pytest.raises(ValueError, match=message):
        keras.layers.Bidirectional(LSTM(2))(P.x.astype("float32"), mask=mask, training=training)


@pytest.mark.parametrize("form", ["too long", "too short", "of each feature"])
def test_symbolic_mask_that_does_not_fit_is_refused(form):
    inputs, mask = keras.Input((5, 3)), keras.Input(BAD_MASKS[form].shape[1:], dtype="bool")
    for symbolic_call in (LSTM(2), LSTM(2).gates):
        with pytest.raises(ValueError, match=r"the mask of sequences of shape \(None, 5, 3\)"):
            symbolic_call(inputs, mask=mask)


BAD_STATES = {
    "one": P.state[:1],
    "one, bare": P.hidden,
    "three": [*P.state, P.cell],
    "four": [*P.state, *P.state],
    "of other units": [np.ones((4, 3))] * 2,
    "of one unit": [np.ones((4, 1))] * 2,
    "of other rows": [np.ones((3, 2))] * 2,
    "without rows": [np.ones(2)] * 2,
    "the second of other units": [P.hidden, np.ones((4, 3))],
}


@pytest.mark.parametrize("form", BAD_STATES)
def test_state_that_does_not_fit_is_refused(form, options):
    state = BAD_STATES[form]
    message = r"the initial state must be \[hidden, cell\], each \(batch, units\) = \(4, 2\), got "
    layer = built(**options)
    for training in (False, True):
        with pytest.raises(ValueError, match=message):
            layer(P.x, initial_state=state, training=training)
    with pytest.raises(ValueError, match=message):
        layer.gates(P.x, state)


def test_symbolic_state_that_does_not_fit_is_refused():
    inputs, state = keras.Input((5, 3)), keras.Input((2,))
    for states in ([state] * 3, [state], [state, keras.Input((3,))]):
        for symbolic_call in (LSTM(2), LSTM(2).gates):
            with pytest.raises(ValueError, match=r"the initial state must be \[hidden, cell\]"):
                symbolic_call(inputs, initial_state=states)


def test_sequences_that_do_not_fit_are_refused():
    layer = built()
    for look in (layer, layer.gates):
        with pytest.raises(ValueError, match=r"built for 3 features, got sequences of shape \(4, 5, 6\)"):
            look(np.ones((4, 5, 6), "float32"))
        with pytest.raises(ValueError, match=r"built for 3 features, got sequences of shape \(None, 5, 6\)"):
            look(keras.Input((5, 6)))
    for shape in ((4, 5), (3,), (4, 5, 3, 1)):
        for unbuilt in (False, True):
            look = LSTM(2).gates if unbuilt else layer.gates
            with pytest.raises(ValueError, match=r"sequences must be \(batch, time, features\), got shape"):
                look(np.ones(shape, "float32"))


# Where TensorFlow makes a graph before it knows any length


def graph_of(look, with_state=False):
    tf = pytest.importorskip("tensorflow")
    if keras.config.backend() != "tensorflow":
        pytest.skip("TensorFlow's graphs")
    signature = [tf.TensorSpec([None, None, 3], tf.float64), tf.TensorSpec([None, None], tf.bool)]
    state = [[tf.TensorSpec([None, None], tf.float64)] * 2] if with_state else []
    return tf.function(look, input_signature=signature + state)


def looks(**options):
    layer = built(dtype="float64", return_sequences=True, **options)
    return {
        "in use": lambda x, mask, state=None: layer(x, mask=mask, initial_state=state),
        "training": lambda x, mask, state=None: layer(x, mask=mask, initial_state=state, training=True),
        "gates": lambda x, mask, state=None: layer.gates(x, mask=mask, initial_state=state).hidden,
    }


@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("how", ["in use", "training", "gates"])
def test_lengths_are_compared_when_the_graph_runs(how, go_backwards):
    graph = graph_of(looks(go_backwards=go_backwards)[how])
    expected = numpy_lstm.lstm(P.x, *P.weights, mask=MASKS["any"], go_backwards=go_backwards)
    assert_near(graph(P.x, MASKS["any"]), expected.shown, 1e-10)
    rows = numpy_lstm.lstm(P.x, *P.weights, mask=MASKS["any"][[1] * 4], go_backwards=go_backwards)
    assert_near(graph(P.x, MASKS["any"][1:2]), rows.shown, 1e-10)
    for mask in BAD_MASKS.values():
        if mask.ndim == 2:
            with pytest.raises(Exception, match=r"(?i)shape|dimension"):
                graph(P.x, mask.astype(bool))
    two_by_six, three_by_four = np.ones((2, 6, 3)), np.ones((3, 4), bool)  # as many numbers in the mask
    with pytest.raises(Exception, match=r"(?i)shape|dimension"):
        graph(two_by_six, three_by_four)


@pytest.mark.parametrize("how", ["in use", "training", "gates"])
def test_states_are_compared_when_the_graph_runs(how):
    graph = graph_of(looks()[how], with_state=True)
    mask = np.ones((4, 5), bool)
    assert_near(graph(P.x, mask, P.state), numpy_lstm.lstm(P.x, *P.weights, P.state).shown, 1e-10)
    for form in ("of other units", "of other rows", "the second of other units"):
        with pytest.raises(Exception, match=r"(?i)shape|dimension|size"):
            graph(P.x, mask, BAD_STATES[form])


@pytest.mark.parametrize("training", [False, True])
def test_gradient_goes_through_states_of_one_row_and_masks_of_unknown_length(training):
    tf = pytest.importorskip("tensorflow")
    layer = built(dtype="float64")

    def gradient(x, mask, state):
        with tf.GradientTape() as tape:
            tape.watch(state)
            loss = tf.reduce_sum(layer(x, mask=mask, initial_state=state, training=training) ** 2)
        return tape.gradient(loss, state)

    def loss(hidden, cell):
        whole = [np.repeat(part, 4, axis=0) for part in (hidden, cell)]
        return np.sum(numpy_lstm.lstm(P.x, *P.weights, whole, MASKS["right"]).last_hidden ** 2)

    found = graph_of(gradient, with_state=True)(P.x, MASKS["right"], [part[:1] for part in P.state])
    expected = numpy_lstm.central_differences(loss, [part[:1] for part in P.state])
    assert_all_near(found, expected, 1e-7)
