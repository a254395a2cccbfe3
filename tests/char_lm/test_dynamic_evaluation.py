"""A model that learns from the text it is judged on: one step against NumPy's, what it gains, and what it leaves."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_lstm.char_lm import dynamic_evaluation
from nlp_lstm.char_lm.dynamic_evaluation import SEGMENT, dynamic_nats
from nlp_lstm.models.language_model import LanguageModel

pytestmark = pytest.mark.thorough

VOCABULARY, BEFORE = 7, 3


def language_model(scale=0.5):
    model = LanguageModel(VOCABULARY, 4, 5, layers=2, input_dropout=0.5, recurrent_kernel_dropout=0.5, seed=1)
    model.build((None, None))
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(0.0, scale, weight.shape))
    return model


@pytest.fixture
def model():
    return language_model()


def some_text(length):
    return np.random.default_rng(length).integers(0, VOCABULARY, length).astype(np.int32)


def losses(model, text, state=None):
    """The loss of each symbol but the first, `(symbols - 1,)`, and the state before the last."""
    logits, state = model(text[None, :-1], state)
    logits = keras.ops.convert_to_numpy(logits)[0].astype(np.float64)
    return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(logits)), text[1:]], state


def static_nats(model, ids):
    return losses(model, np.append([BEFORE], ids))[0].mean()


@pytest.mark.parametrize(
    ("length", "decay"), [(1, 0.0), (SEGMENT - 1, 0.0), (SEGMENT, 0.7), (SEGMENT + 1, 0.7), (2 * SEGMENT + 20, 0.0)]
)
def test_without_steps_it_is_the_loss_with_the_state_carried(model, length, decay):
    """Whatever pulls the weights back to where they are."""
    ids = some_text(length)
    found = dynamic_nats(model, BEFORE, ids, learning_rate=0.0, decay=decay)
    assert found == pytest.approx(static_nats(model, ids), abs=1e-5)


def test_the_symbol_before_the_text_counts(model):
    ids = some_text(5)
    found = [dynamic_nats(model, before, ids, learning_rate=0.0) for before in (BEFORE, BEFORE + 1)]
    assert abs(found[0] - found[1]) > 1e-3


@pytest.mark.parametrize(
    ("learning_rate", "scale"),
    [(0.5, 0.5), (0.05, 5.0)],
    ids=["gradients of less than 1", "gradients that are cut"],
)
def test_each_segment_is_guessed_with_the_steps_of_those_before_it(learning_rate, scale, monkeypatch):
    """The steps taken here one by one: the gradient by TensorFlow, all that is done with it by NumPy."""
    segment = 20
    monkeypatch.setattr(dynamic_evaluation, "SEGMENT", segment)
    model, other, decay = language_model(scale), language_model(scale), 0.3
    ids = some_text(3 * segment + 11)
    text = np.append([BEFORE], ids).astype(np.int32)
    origin = [keras.ops.convert_to_numpy(weight) for weight in other.trainable_weights]
    total, state, norms = 0.0, None, []
    for start in range(0, len(ids), segment):
        piece = text[start : start + segment + 1]
        with tf.GradientTape() as tape:
            logits, next_state = other(piece[None, :-1], state)
            chosen = tf.gather(tf.nn.log_softmax(logits[0]), piece[1:], batch_dims=1)
            loss = -tf.reduce_mean(chosen)
        total += losses(other, piece, state)[0].sum()
        gradients = [
            tf.convert_to_tensor(gradient).numpy()
            for gradient in tape.gradient(loss, [weight.value for weight in other.trainable_weights])
        ]
        norms.append(np.sqrt(sum(float((gradient.astype(np.float64) ** 2).sum()) for gradient in gradients)))
        for weight, gradient, first in zip(other.trainable_weights, gradients, origin, strict=True):
            now = keras.ops.convert_to_numpy(weight)
            weight.assign(now - learning_rate * gradient / max(1.0, norms[-1]) + decay * (first - now))
        state = next_state
    assert max(norms) < 1 if scale < 1 else min(norms) > 1
    found = dynamic_nats(model, BEFORE, ids, learning_rate=learning_rate, decay=decay)
    assert found == pytest.approx(total / len(ids), rel=1e-5)
    assert abs(found - static_nats(model, ids)) > 1e-3  # the steps are no trifle


def test_what_repeats_itself_is_learned(model):
    """Which these random weights know nothing of."""
    ids = np.tile([5, 1, 4, 2, 6], 120)
    assert dynamic_nats(model, BEFORE, ids) < static_nats(model, ids) - 0.1


def test_the_weights_are_what_they_were(model):
    before = model.get_weights()
    first = dynamic_nats(model, BEFORE, some_text(2 * SEGMENT), learning_rate=0.5)
    for found, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert dynamic_nats(model, BEFORE, some_text(2 * SEGMENT), learning_rate=0.5) == pytest.approx(first, rel=1e-6)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_weights_are_what_they_were_after_an_error(model, monkeypatch, error):
    before, moved = model.get_weights(), []
    constant = tf.constant

    def stopping(value, *arguments):
        if isinstance(value, np.ndarray) and np.array_equal(value[0, 1:], ids[SEGMENT:]):  # the second segment
            moved.extend(model.get_weights())
            raise error
        return constant(value, *arguments)

    ids = some_text(SEGMENT + 9)
    monkeypatch.setattr(dynamic_evaluation.tf, "constant", stopping)
    with pytest.raises(error):
        dynamic_nats(model, BEFORE, ids)
    monkeypatch.undo()
    assert any(not np.array_equal(found, expected) for found, expected in zip(moved, before, strict=True))
    for found, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_progress_is_told_now_and_then(model, monkeypatch, capsys):
    monkeypatch.setattr(dynamic_evaluation, "SEGMENT", 1)
    ids = some_text(401)
    found = dynamic_nats(model, BEFORE, ids, learning_rate=0.0)
    assert found == pytest.approx(static_nats(model, ids), abs=1e-5)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [f"dynamic evaluation: {done} of 401 symbols" for done in (200, 400)]
