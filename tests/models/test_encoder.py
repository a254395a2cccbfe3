"""The two directions: which way each walks, what padding does (nothing), what the gates say."""

import keras
import numpy as np
import pytest
from keras import ops

from nlp_lstm.models.encoder import BidirectionalEncoder

VOCABULARY, WIDTH, UNITS = 13, 5, 4


def random_weights(layer, seed=0):
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(size=weight.shape).astype(np.float32) for weight in layer.weights])


@pytest.fixture
def encoder():
    encoder = BidirectionalEncoder(VOCABULARY, WIDTH, UNITS, seed=3)
    encoder.build((None, None))
    random_weights(encoder)
    return encoder


def random_ids(batch, time, seed=0):
    return np.random.default_rng(seed).integers(1, VOCABULARY, (batch, time)).astype(np.int32)


def states(encoder, ids, **options):
    return [ops.convert_to_numpy(direction) for direction in encoder(ids, **options)]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def numpy_lstm(x, W, U, b):
    """The hidden states of one text `(T, D)`, in float64."""
    h = c = np.zeros(U.shape[0])
    result = []
    for x_t in x:
        i, f, c_tilde, o = np.split(x_t @ W + h @ U + b, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(c_tilde)
        h = sigmoid(o) * np.tanh(c)
        result.append(h)
    return np.array(result)


def test_states_equal_numpy(encoder):
    ids = random_ids(3, 7)
    weights = {weight.path.split("/", 1)[-1]: np.asarray(weight, np.float64) for weight in encoder.weights}
    embedding = next(value for path, value in weights.items() if path.endswith("embeddings"))

    def of(direction):
        return [
            next(value for path, value in weights.items() if direction in path and path.endswith("/" + name))
            for name in ("kernel", "recurrent_kernel", "bias")
        ]

    forward, backward = states(encoder, ids)
    for row, text in enumerate(ids):
        x = embedding[text]
        np.testing.assert_allclose(forward[row], numpy_lstm(x, *of("forward_lstm")), atol=1e-5)
        np.testing.assert_allclose(backward[row], numpy_lstm(x[::-1], *of("backward_lstm"))[::-1], atol=1e-5)


@pytest.mark.parametrize("place", [0, 3, 6])
def test_a_token_changes_what_comes_after_it_in_each_direction(encoder, place):
    ids = random_ids(1, 7)
    other = ids.copy()
    other[0, place] = ids[0, place] % (VOCABULARY - 1) + 1
    (forward, backward), (other_forward, other_backward) = states(encoder, ids), states(encoder, other)
    changed = np.any(forward != other_forward, axis=-1)[0]
    np.testing.assert_array_equal(changed, np.arange(7) >= place)
    changed = np.any(backward != other_backward, axis=-1)[0]
    np.testing.assert_array_equal(changed, np.arange(7) <= place)


@pytest.mark.parametrize("training", [False, True])
def test_padding_never_changes_a_texts_states(encoder, training):
    lengths = [1, 4, 6, 2]
    texts = [random_ids(1, length, seed=length)[0] for length in lengths]
    results = []
    for width in (6, 9):
        batch = np.zeros((len(texts), width), np.int32)
        for row, text in enumerate(texts):
            batch[row, : len(text)] = text
        results.append(states(encoder, batch, training=training))
    for row, text in enumerate(texts):
        for direction, alone in enumerate(states(encoder, text[None])):
            for padded in results:
                np.testing.assert_allclose(padded[direction][row, : len(text)], alone[0], atol=1e-5)


def test_padding_hands_the_state_on(encoder):
    ids = np.array([[3, 5, 2, 0, 0, 0]], np.int32)
    forward, backward = states(encoder, ids)
    for place in (3, 4, 5):
        np.testing.assert_array_equal(forward[0, place], forward[0, 2])
        np.testing.assert_array_equal(backward[0, place], np.zeros(UNITS))


@pytest.mark.parametrize("training", [False, True])
def test_readings_are_the_states_of_the_tokens_wherever_padding_stands(encoder, training):
    ids = random_ids(5, 8)
    ids[0, 5:] = 0  # on the right
    ids[1, :3] = 0  # on the left
    ids[2, [0, 2, 3, 7]] = 0  # inside
    ids[3] = 0
    *directions, is_token = map(ops.convert_to_numpy, encoder.readings(ids, training=training))
    assert is_token.sum(axis=1).tolist() == [5, 5, 4, 0, 8]
    for direction, step, expected in zip(directions, (1, -1), states(encoder, ids), strict=True):
        for row in range(5):
            found = direction[row][is_token[row]]
            in_order = expected[row][ids[row] != 0]
            np.testing.assert_allclose(found, in_order if training else in_order[::step], atol=1e-6)


def test_gates_recompose(encoder):
    ids = random_ids(3, 6)
    ids[0, 4:] = 0
    ids[1, 1:] = 0
    real = (ids != 0)[..., None]
    for direction, gates, hidden in zip((1, -1), encoder.gates(ids), states(encoder, ids), strict=True):
        i, f, c_tilde, o, c, h = (ops.convert_to_numpy(gate) for gate in gates)
        np.testing.assert_allclose(h, hidden, atol=1e-6)
        walked = c[:, ::direction]
        previous = np.concatenate([np.zeros_like(walked[:, :1]), walked[:, :-1]], axis=1)[:, ::direction]
        np.testing.assert_allclose(c, f * previous + i * c_tilde, atol=1e-6)
        np.testing.assert_allclose(np.where(real, h, 0), o * np.tanh(c), atol=1e-6)
        for gate in (i, f, o):
            assert np.all((gate >= 0) & (gate <= 1))
            assert np.all((gate > 0) & (gate < 1) | ~real)


def test_without_training_nothing_is_dropped(encoder):
    dropping = BidirectionalEncoder(VOCABULARY, WIDTH, UNITS, 0.3, 0.3, 0.3, seed=3)
    dropping.build((None, None))
    dropping.set_weights(encoder.get_weights())
    ids = random_ids(2, 5)
    for found, expected in zip(states(dropping, ids), states(encoder, ids), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("rate", ["word_dropout", "dropout", "recurrent_dropout"])
def test_each_dropout_drops_in_training(encoder, rate):
    dropping = BidirectionalEncoder(VOCABULARY, WIDTH, UNITS, seed=3, **{rate: 0.5})
    dropping.build((None, None))
    dropping.set_weights(encoder.get_weights())
    ids = random_ids(2, 5)
    for found, expected in zip(states(dropping, ids, training=True), states(encoder, ids), strict=True):
        assert not np.allclose(found, expected, atol=1e-3)


def test_word_dropout_drops_whole_tokens(encoder):
    dropping = BidirectionalEncoder(VOCABULARY, WIDTH, UNITS, word_dropout=0.5, seed=3)
    kept = ops.convert_to_numpy(dropping.word_dropout(np.ones((20, 30, WIDTH), np.float32), training=True))
    np.testing.assert_array_equal(kept, np.broadcast_to(kept[..., :1], kept.shape))
    assert set(np.unique(kept)) == {0.0, 2.0}
    assert 0.4 < np.mean(kept == 0) < 0.6


def test_the_seed_settles_the_weights_and_the_directions_differ():
    def drawn(seed):
        encoder = BidirectionalEncoder(VOCABULARY, WIDTH, UNITS, seed=seed)
        encoder.build((None, None))
        return encoder

    for found, expected in zip(drawn(1).get_weights(), drawn(1).get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(drawn(1).get_weights()[0], drawn(2).get_weights()[0])
    encoder = drawn(1)
    assert not np.array_equal(encoder.forward_lstm.cell.kernel, encoder.backward_lstm.cell.kernel)


def test_config_round_trip(encoder):
    encoder = BidirectionalEncoder(VOCABULARY, WIDTH, UNITS, 0.1, 0.2, 0.3, seed=7, name="reader")
    config = encoder.get_config()
    again = BidirectionalEncoder.from_config(config)
    assert again.get_config() == config
    assert again.name == "reader"
    assert again.word_dropout.rate == 0.1
    assert again.forward_lstm.get_config()["dropout"] == again.backward_lstm.get_config()["dropout"] == 0.2
    assert again.forward_lstm.get_config()["recurrent_dropout"] == 0.3


def test_a_saved_model_gives_the_same_states(encoder, tmp_path):
    inputs = keras.Input((None,), dtype="int32")
    model = keras.Model(inputs, encoder(inputs))
    model.save(tmp_path / "encoder.keras")
    loaded = keras.saving.load_model(tmp_path / "encoder.keras")
    ids = random_ids(3, 6)
    ids[0, 4:] = 0
    for found, expected in zip(loaded(ids), model(ids), strict=True):
        np.testing.assert_array_equal(found, expected)
