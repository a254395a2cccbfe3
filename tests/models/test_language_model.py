"""The language model: what it guesses from, the state it hands on, and training on streams that go on."""

import keras
import numpy as np
import numpy_lstm
import pytest
import tensorflow as tf
from keras import ops
from language_model_gates import gates_of

from nlp_lstm.models.language_model import CarriedStateTraining, LanguageModel
from nlp_lstm.training import mean_of_outputs

SYMBOLS, WIDTH, UNITS = 7, 4, 3

VARIANTS = {
    "plain": {},
    "one layer": {"layers": 1},
    "zoneout": {"zoneout_hidden": 0.2, "zoneout_cell": 0.5, "layers": 3},
    "normalized": {"layer_normalization": True, "zoneout_cell": 0.3},
}


def built(seed=0, **options):
    """A model with random weights, and not small ones."""
    model = LanguageModel(SYMBOLS, WIDTH, UNITS, **options)
    model.build((None, None))
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(size=weight.shape).astype(np.float32) for weight in model.weights])
    return model


def random_ids(batch, time, seed=0):
    return np.random.default_rng(seed).integers(0, SYMBOLS, (batch, time)).astype(np.int32)


def random_state(batch, layers=2, seed=0):
    return [part.astype(np.float32) for part in np.random.default_rng(seed).normal(size=(2 * layers, batch, UNITS))]


def as_arrays(parts):
    return [ops.convert_to_numpy(part) for part in parts]


def run(model, *arguments, **options):
    logits, state = model(*arguments, **options)
    return ops.convert_to_numpy(logits), as_arrays(state)


def assert_all_close(found, expected, tolerance=1e-5):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def oracle(model, ids, state=None, mask=None):
    """Logits, state and gates, by NumPy in float64."""
    settings = model.settings
    weights = [np.asarray(weight, np.float64) for weight in model.get_weights()]
    embedding, *weights, head_kernel, head_bias = weights
    each = 7 if settings["layer_normalization"] else 3
    features, states, gates = embedding[ids], [], []
    for layer in range(settings["layers"]):
        kernel, recurrent_kernel, bias, *gains = weights[each * layer : each * (layer + 1)]
        found = numpy_lstm.lstm(
            features,
            kernel,
            recurrent_kernel,
            bias,
            None if state is None else state[2 * layer : 2 * layer + 2],
            mask,
            zoneout=(settings["zoneout_hidden"], settings["zoneout_cell"]),
            gains=gains or None,
        )
        features = found.shown
        states += [found.last_hidden, found.last_cell]
        gates.append(found.gates)
    return features @ head_kernel + head_bias, states, gates


@pytest.fixture(params=VARIANTS)
def model(request):
    return built(**VARIANTS[request.param])


OPTIONS = {
    "layers": 3,
    "input_dropout": 0.1,
    "hidden_dropout": 0.2,
    "output_dropout": 0.3,
    "recurrent_dropout": 0.4,
    "recurrent_kernel_dropout": 0.5,
    "zoneout_hidden": 0.6,
    "zoneout_cell": 0.7,
    "layer_normalization": True,
    "seed": 8,
    "lstm_dtype": "mixed_bfloat16",
    "name": "author",
}


class TestLanguageModel:
    @pytest.mark.parametrize("with_state", [False, True])
    def test_logits_and_state_equal_numpy(self, model, with_state):
        ids = random_ids(3, 5)
        state = random_state(3, len(model.lstms)) if with_state else None
        logits, found = run(model, ids, state)
        assert logits.shape == (3, 5, SYMBOLS)
        assert [part.shape for part in found] == [(3, UNITS)] * (2 * len(model.lstms))
        expected_logits, expected_state, _ = oracle(model, ids, state)
        assert_all_close([logits, *found], [expected_logits, *expected_state])

    def test_without_a_state_it_begins_with_zeros(self, model):
        ids = random_ids(2, 4)
        zeros = model.initial_state(2)
        assert all(not np.any(part) for part in as_arrays(zeros))
        np.testing.assert_array_equal(run(model, ids)[0], run(model, ids, zeros)[0])

    def test_the_state_handed_on_equals_one_long_call(self, model):
        ids = random_ids(2, 9)
        logits, state = run(model, ids)
        parts, carried = [], None
        for start, stop in ((0, 4), (4, 5), (5, 9)):
            part, carried = run(model, ids[:, start:stop], carried)
            parts.append(part)
        assert_all_close([np.concatenate(parts, axis=1), *carried], [logits, *state], 1e-6)
        assert np.abs(run(model, ids[:, 5:])[0] - parts[-1]).max() > 1e-2  # the state counts

    @pytest.mark.parametrize("place", [0, 3, 6])
    def test_a_symbol_changes_the_guesses_from_it_on_alone(self, model, place):
        ids = random_ids(1, 7)
        other = ids.copy()
        other[0, place] = (ids[0, place] + 1) % SYMBOLS
        changed = np.any(run(model, ids)[0] != run(model, other)[0], axis=-1)[0]
        np.testing.assert_array_equal(changed, np.arange(7) >= place)

    def test_the_state_passes_the_end_of_a_text(self, model):
        ids, lengths = random_ids(4, 6), [6, 1, 4, 0]
        start = random_state(4, len(model.lstms))
        mask = np.arange(6) < np.array(lengths)[:, None]
        logits, state = run(model, ids, start, mask=mask)
        expected_logits, expected_state, _ = oracle(model, ids, start, mask)
        assert_all_close([logits, *state], [expected_logits, *expected_state])
        for row, length in enumerate(lengths[:3]):
            alone, state_alone = run(model, ids[row : row + 1, :length], [part[row : row + 1] for part in start])
            assert_all_close([logits[row : row + 1, :length]], [alone])
            assert_all_close([part[row : row + 1] for part in state], state_alone)
        for part, before in zip(state, start, strict=True):
            np.testing.assert_array_equal(part[3], before[3])

    def test_gates_are_those_of_each_layer(self, model):
        ids, state = random_ids(2, 5), random_state(2, len(model.lstms))
        for start in (None, state):
            found = gates_of(model, ids, start)
            expected = oracle(model, ids, start)[2]
            for gates, by_name in zip(found, expected, strict=True):
                for name, gate in gates._asdict().items():
                    np.testing.assert_allclose(gate, by_name[name], atol=1e-5)
            _, last = run(model, ids, start)
            assert_all_close([gates.hidden[:, -1] for gates in found], last[::2], 1e-6)
            assert_all_close([gates.cell[:, -1] for gates in found], last[1::2], 1e-6)

    RATES = ("input", "hidden", "output", "recurrent", "recurrent_kernel")

    @pytest.mark.parametrize("rate", [*(f"{name}_dropout" for name in RATES), "zoneout_hidden", "zoneout_cell"])
    def test_each_rate_counts_in_training(self, rate):
        dropping, ids = built(**{rate: 0.5}), random_ids(2, 5)
        assert np.abs(run(dropping, ids, training=True)[0] - run(dropping, ids)[0]).max() > 1e-3
        np.testing.assert_array_equal(run(dropping, ids)[0], run(dropping, ids)[0])
        if "dropout" in rate:
            np.testing.assert_array_equal(run(dropping, ids)[0], run(built(), ids)[0])
        else:
            assert np.abs(run(dropping, ids)[0] - run(built(), ids)[0]).max() > 1e-3

    def test_each_dropout_stands_in_its_place(self):
        model = LanguageModel(
            SYMBOLS, WIDTH, UNITS, layers=3, input_dropout=0.1, hidden_dropout=0.2, output_dropout=0.3
        )
        assert [lstm.cell.dropout for lstm in model.lstms] == [0.1, 0.2, 0.2]
        assert model.output_dropout.rate == 0.3

    def test_output_dropout_drops_the_same_features_in_a_whole_window(self):
        model = built(output_dropout=0.5)
        kept = as_arrays([model.output_dropout(np.ones((40, 6, UNITS), np.float32), training=True)])[0]
        np.testing.assert_array_equal(kept, np.broadcast_to(kept[:, :1], kept.shape))
        assert set(np.unique(kept)) == {0.0, 2.0}
        assert len(np.unique(kept[:, 0], axis=0)) > 4

    def test_the_seed_settles_weights_and_draws(self):
        def drawn(seed):
            model = LanguageModel(SYMBOLS, WIDTH, UNITS, seed=seed, recurrent_kernel_dropout=0.5, output_dropout=0.5)
            model.build((None, None))
            return [*model.get_weights(), run(model, random_ids(2, 5), training=True)[0]]

        first, again, other = drawn(1), drawn(1), drawn(2)
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a, b)
        assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True) if np.any(a % 1))
        kernels = [weight for weight in first if weight.shape == (UNITS, 4 * UNITS)]
        assert len(kernels) == 3
        assert not any(np.array_equal(kernels[0], kernel) for kernel in kernels[1:])
        assert not np.array_equal(drawn(None)[0], drawn(None)[0])

    def test_config_round_trip(self):
        config = LanguageModel(SYMBOLS, WIDTH, UNITS, **OPTIONS).get_config()
        assert OPTIONS.items() <= config.items()
        assert config.keys() >= LanguageModel(SYMBOLS, WIDTH, UNITS).get_config().keys()
        again = LanguageModel.from_config(config)
        assert again.get_config() == config
        cell = again.lstms[1].cell.get_config()
        for name in OPTIONS.keys() & cell.keys() - {"name", "seed"}:
            assert cell[name] == OPTIONS[name]
        assert cell["dropout"] == 0.2
        assert again.lstms[1].cell.compute_dtype == "bfloat16"

    def test_a_saved_model_gives_the_same_guesses(self, model, tmp_path):
        ids = random_ids(2, 5)
        expected = run(model, ids)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert type(loaded) is LanguageModel
        logits, state = run(loaded, ids)
        for found, other in zip([logits, *state], [expected[0], *expected[1]], strict=True):
            np.testing.assert_array_equal(found, other)

    def test_half_precision_of_the_lstms_alone(self):
        whole, mixed, ids = built(), built(lstm_dtype="mixed_bfloat16"), random_ids(2, 6)
        (logits, state), (expected, expected_state) = mixed(ids), whole(ids)
        assert {part.dtype for part in [logits, *state]} == {tf.float32}
        assert_all_close([logits, *state], [expected, *expected_state], 0.05)
        assert np.abs(logits - expected).max() > 1e-6


def cross_entropy(logits, targets):
    """Nats of each guess, in float64."""
    logits = logits.astype(np.float64)
    norm = np.log(np.sum(np.exp(logits), axis=-1))
    return norm - np.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]


class TestCarriedStateTraining:
    def test_the_loss_is_the_cross_entropy_of_the_guesses(self):
        model = built()
        trained, ids = CarriedStateTraining(model, 3), random_ids(3, 7)
        losses = ops.convert_to_numpy(trained(ids))
        expected = cross_entropy(run(model, ids[:, :-1])[0], ids[:, 1:]).mean(axis=1)
        assert_all_close([losses], [expected])
        assert np.ptp(expected) > 0.1

    @pytest.mark.parametrize("training", [False, True])
    def test_the_state_goes_on_from_window_to_window_until_it_is_reset(self, training):
        model, ids = built(), random_ids(2, 12, seed=2)
        trained = CarriedStateTraining(model, 2)
        expected = cross_entropy(run(model, ids[:, :-1])[0], ids[:, 1:])
        for _ in range(2):
            for start, stop in ((0, 5), (5, 6), (6, 11)):
                losses = trained(ids[:, start : stop + 1], training=training)
                assert_all_close([losses], [expected[:, start:stop].mean(axis=1)])
            assert_all_close(trained.state, run(model, ids[:, :-1])[1])
            trained.reset()
            assert all(not np.any(part) for part in as_arrays(trained.state))

    def test_evaluate_goes_on_with_the_text_too(self):
        model, ids = built(), random_ids(2, 9, seed=3)
        trained = CarriedStateTraining(model, 2)
        trained.compile("sgd", loss=mean_of_outputs, jit_compile=False)
        windows = tf.data.Dataset.from_tensor_slices([ids[:, :5], ids[:, 4:]]).map(lambda w: (w, tf.zeros(2)))
        expected = cross_entropy(run(model, ids[:, :-1])[0], ids[:, 1:]).mean()
        assert trained.evaluate(windows, verbose=0) == pytest.approx(expected, abs=1e-5)

    def test_only_the_models_weights_are_trained(self):
        trained = CarriedStateTraining(built(), 2)
        assert [w.path for w in trained.trainable_variables] == [w.path for w in trained.model.trainable_variables]
        assert [tuple(part.shape) for part in trained.state] == [(2, UNITS)] * 4

    @pytest.mark.thorough
    def test_it_learns_what_only_a_carried_state_tells(self):
        """At each window's beginning the next symbol hangs on windows before it: a 1 among many 0s comes by count.

        Windows hold three guesses and the text is of period four, so that a window alone seldom tells where it is.
        """
        keras.utils.set_random_seed(1)
        text = np.tile([1, 0, 0, 0], 64).astype(np.int32)
        windows = [text[start : start + 4][None] for start in range(0, len(text) - 4, 3)]
        dataset = tf.data.Dataset.from_tensor_slices(windows).map(lambda w: (w, tf.zeros(1)))

        def trained(reset):
            model = LanguageModel(2, 4, 8, layers=1, seed=1)
            streams = CarriedStateTraining(model, 1)
            streams.build((1, None))
            streams.compile(keras.optimizers.Adam(0.03), loss=mean_of_outputs, jit_compile=False)
            forget = keras.callbacks.LambdaCallback(
                on_epoch_begin=lambda epoch, logs: streams.reset(),
                on_train_batch_begin=lambda batch, logs: streams.reset() if reset else None,
            )
            return streams.fit(dataset, epochs=6, verbose=0, shuffle=False, callbacks=[forget]).history["loss"][-1]

        assert trained(reset=False) < 0.05
        assert trained(reset=True) > 0.2

    def test_config_round_trip(self):
        trained = CarriedStateTraining(built(zoneout_cell=0.25), 5, name="trained")
        again = CarriedStateTraining.from_config(trained.get_config())
        assert (again.name, again.state[0].shape) == ("trained", (5, UNITS))

    def test_a_saved_training_goes_on_from_its_state(self, tmp_path):
        trained, ids = CarriedStateTraining(built(zoneout_cell=0.25), 2), random_ids(2, 9)
        trained(ids[:, :5])
        trained.save(tmp_path / "trained.keras")
        expected = ops.convert_to_numpy(trained(ids[:, 4:]))
        loaded = keras.saving.load_model(tmp_path / "trained.keras")
        np.testing.assert_array_equal(loaded(ids[:, 4:]), expected)
