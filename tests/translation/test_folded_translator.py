"""The translator as it is laid out for use is the Keras model, step by step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_lstm.models.translator import DecoderState, Translator
from nlp_lstm.translation.folded_translator import FoldedTranslator

RNG = np.random.default_rng(0)
SOURCE = np.array([[5, 6, 7, 6, 3], [8, 3, 0, 0, 0], [9, 4, 3, 0, 0]], np.int32)
QUERIES = 2
IDS = [RNG.integers(1, 50, len(SOURCE) * QUERIES).astype(np.int32) for _ in range(4)]

KINDS = {
    "dot": {},
    "additive": {"attention": "additive"},
    "two_layers": {"encoder_layers": 2},
    "own_source": {"source_vocabulary_size": 40, "attention": "additive"},
}


def translator(spread=0.5, **kind):
    """Of random weights, biases too; its embedding reaches far beyond 1."""
    model = Translator(50, 12, 8, 14, attention_size=6, embedding_dropout=0.5, output_dropout=0.5, **kind)
    model.build()
    randomize(model, spread)
    return model


def randomize(model, spread=0.5):
    for weight in model.trainable_weights:
        weight.assign(RNG.normal(0.0, 2.0 if "embedding" in weight.path else spread, weight.shape))


def by_keras(model):
    """The log-probabilities `(BQ, V)`, the attention `(B, Q, S)` and the state after each of `IDS`."""
    memory, state = model.encode(SOURCE)
    state = DecoderState(*(keras.ops.repeat(part, QUERIES, axis=0) for part in state))
    for ids in IDS:
        log_probs, state, attention = model.step(ids, state, memory)
        yield np.asarray(log_probs), np.asarray(attention), [np.asarray(part) for part in state]


def by_folded(folded, width=SOURCE.shape[1], rows=slice(None)):
    """The same; of a memory of that width, and of some rows."""
    memory, state = folded.encode(tf.constant(SOURCE))
    memory = [part[rows, :width] for part in memory]
    state = [tf.repeat(part[rows], QUERIES, axis=0) for part in state]
    for ids in IDS:
        ids = ids.reshape(len(SOURCE), QUERIES)[rows].ravel()
        logits, log_total, state, attention = folded.step(tf.constant(ids), state, memory)
        attended, hidden = tf.split(state[0], [folded.embedding_size, folded.units], axis=1)
        yield (logits - log_total).numpy(), attention.numpy(), [hidden.numpy(), state[1].numpy(), attended.numpy()]


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_keras_model(kind):
    model = translator(**KINDS[kind])
    moves = []
    for expected, found in zip(by_keras(model), by_folded(FoldedTranslator(model)), strict=True):
        np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=2e-5)
        np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=2e-6)
        for part, other in zip(found[2], expected[2], strict=True):
            np.testing.assert_allclose(part, other, rtol=0, atol=2e-6)
        moves.append(found[1])
    assert np.ptp(moves, axis=0).max() > 0.1  # attention is not the same at each step


@pytest.mark.parametrize(("precision", "largest"), [("bfloat16", 0.02), ("int8", 0.03)])
@pytest.mark.parametrize("kind", KINDS)
def test_narrow_arithmetic_is_near_it(kind, precision, largest):
    model = translator(**KINDS[kind])
    for expected, found in zip(by_keras(model), by_folded(FoldedTranslator(model, precision)), strict=True):
        spread = np.ptp(expected[0], axis=1).mean()
        assert 1e-6 < np.sqrt(np.mean((found[0] - expected[0]) ** 2)) / spread < largest
        np.testing.assert_allclose(found[1].sum(axis=-1), 1.0, atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_rows_and_padding_can_leave_the_memory(precision):
    folded = FoldedTranslator(translator(), precision)
    for all_rows, found in zip(by_folded(folded), by_folded(folded, width=3, rows=slice(1, 3)), strict=True):
        np.testing.assert_allclose(found[0], all_rows[0][QUERIES:], rtol=0, atol=1e-4)
        np.testing.assert_allclose(found[1], all_rows[1][1:, :, :3], rtol=0, atol=1e-5)
        assert not all_rows[1][1:, :, 3:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_of_a_model_that_was_trained_on_are_taken_when_asked_for(kind):
    model = translator(**KINDS[kind])
    folded = FoldedTranslator(model)
    before = [found for found, *_ in by_folded(folded)]
    randomize(model)
    np.testing.assert_array_equal([found for found, *_ in by_folded(folded)], before)
    folded.take_weights(model)
    for (expected, *_), (found, *_) in zip(by_keras(model), by_folded(folded), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)
