"""Pooling, the one linear unit, and each token's exact share of the logit."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from nlp_lstm.models.classifier import SentimentClassifier
from nlp_lstm.models.encoder import BidirectionalEncoder

VOCABULARY, WIDTH, UNITS = 13, 5, 4


def build(dropout=0.0, seed=0):
    encoder = BidirectionalEncoder(VOCABULARY, WIDTH, UNITS, seed=3)
    classifier = SentimentClassifier(encoder, dropout, seed=4)
    classifier.build((None, None))
    rng = np.random.default_rng(seed)
    classifier.set_weights([rng.normal(size=weight.shape).astype(np.float32) for weight in classifier.weights])
    return classifier


@pytest.fixture
def classifier():
    return build()


def padded(lengths, width, seed=0):
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, VOCABULARY, (len(lengths), width)).astype(np.int32)
    ids[np.arange(width) >= np.array(lengths)[:, None]] = 0
    return ids


def numpy_pooled(classifier, ids):
    """Maximum and mean over the tokens of each row alone, `(batch, 4 * units)`."""
    rows = []
    for text in ids:
        directions = classifier.encoder(text[text != 0][None])
        tokens = np.concatenate([ops.convert_to_numpy(d)[0] for d in directions], axis=-1)
        rows.append(np.concatenate([tokens.max(axis=0), tokens.mean(axis=0)]))
    return np.array(rows)


IDS = padded([7, 1, 4, 9, 2], 9)


def test_logits_equal_numpy(classifier):
    expected = numpy_pooled(classifier, IDS) @ np.asarray(classifier.head.kernel)[:, 0] + np.asarray(
        classifier.head.bias
    )
    logits = ops.convert_to_numpy(classifier(IDS))
    assert logits.shape == (5,)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert np.ptp(expected) > 0.1


def test_a_row_does_not_depend_on_its_batch_or_padding(classifier):
    together = ops.convert_to_numpy(classifier(np.pad(IDS, ((0, 0), (0, 5)))))
    for text, logit in zip(IDS, together, strict=True):
        alone = ops.convert_to_numpy(classifier(text[text != 0][None]))
        np.testing.assert_allclose(alone, [logit], atol=1e-5)


def test_a_row_of_padding_alone_is_finite(classifier):
    ids = IDS.copy()
    ids[2] = 0
    logits, bias, polarity, gates = classifier.explain(ids)
    for found in (classifier(ids), logits, bias, polarity, *gates[0], *gates[1], *classifier.explain_units(ids)):
        assert np.all(np.isfinite(found))
    assert ops.convert_to_numpy(bias)[2] == pytest.approx(float(logits[2]), abs=1e-5)
    rest = [0, 1, 3, 4]
    np.testing.assert_allclose(ops.convert_to_numpy(classifier(ids))[rest], classifier(IDS[rest]), atol=1e-5)
    np.testing.assert_array_equal(ops.convert_to_numpy(polarity)[2], 0)


def test_explain_adds_up_to_the_logits(classifier):
    found = classifier.explain(IDS)
    np.testing.assert_allclose(found.logits, classifier(IDS), atol=1e-5)
    polarity = ops.convert_to_numpy(found.polarity)
    np.testing.assert_allclose(polarity.sum(axis=1) + ops.convert_to_numpy(found.bias), found.logits, atol=1e-5)
    np.testing.assert_array_equal(polarity[IDS == 0], 0)


def states_of(classifier, text):
    """The states of a text without padding, `(time, 2 * units)`."""
    return np.concatenate([ops.convert_to_numpy(part)[0] for part in classifier.encoder(text[None])], axis=-1)


def test_polarity_equals_numpy(classifier):
    """Token by token and unit by unit, level by level: who reaches a level pays for it with all others who do."""
    found = classifier.explain(IDS)
    w_max, w_mean = np.split(np.asarray(classifier.head.kernel)[:, 0], 2)
    below = 0
    for row, text in enumerate(IDS):
        text = text[text != 0]
        s, start = states_of(classifier, text), states_of(classifier, text[[0, -1]])
        expected = (s - start.mean(axis=0)) @ w_mean / len(text)
        for unit in range(2 * UNITS):
            level = start[:, unit].max()
            if s[:, unit].max() < level:
                expected += w_max[unit] * (s[:, unit].max() - level) / len(text)
                below += 1
            for next_level in sorted(value for value in s[:, unit] if value > level):
                reach = s[:, unit] >= next_level
                expected[reach] += w_max[unit] * (next_level - level) / reach.sum()
                level = next_level
        np.testing.assert_allclose(ops.convert_to_numpy(found.polarity)[row, : len(text)], expected, atol=1e-5)
        without_words = ops.convert_to_numpy(classifier(text[[0, -1]][None]))[0]
        assert float(found.bias[row]) == pytest.approx(without_words, abs=1e-5)
    assert below


def test_the_bias_is_the_same_for_all_texts_that_begin_and_end_alike(classifier):
    ids = IDS.copy()
    ids[:, 0] = 2
    ids[np.arange(5), (IDS != 0).sum(axis=1) - 1] = 2
    bias = ops.convert_to_numpy(classifier.explain(ids).bias)
    np.testing.assert_allclose(bias, bias[0], atol=1e-6)
    np.testing.assert_allclose(classifier.explain_units(ids).bias, bias, atol=1e-6)
    assert np.ptp(ops.convert_to_numpy(classifier.explain(IDS).bias)) > 0.1


def test_shares_of_units_equal_numpy_and_add_up_to_the_logits(classifier):
    shares, ngrams, bias, states = (ops.convert_to_numpy(part) for part in classifier.explain_units(IDS))
    w_max, w_mean = np.split(np.asarray(classifier.head.kernel)[:, 0], 2)
    np.testing.assert_array_equal(ngrams, np.zeros(5))
    np.testing.assert_allclose(shares.sum(axis=1) + bias, classifier(IDS), atol=1e-5)
    for row, text in enumerate(IDS):
        text = text[text != 0]
        alone, start = states_of(classifier, text), states_of(classifier, text[[0, -1]])
        np.testing.assert_allclose(states[row, : len(text)], alone, atol=1e-6)
        expected = w_max * (alone.max(axis=0) - start.max(axis=0)) + w_mean * (alone.mean(axis=0) - start.mean(axis=0))
        np.testing.assert_allclose(shares[row], expected, atol=1e-5)


def test_shares_of_units_of_a_standardized_classifier_add_up(classifier):
    standardized = SentimentClassifier(BidirectionalEncoder(VOCABULARY, WIDTH, UNITS), standardized=True)
    standardized.build((None, None))
    rng = np.random.default_rng(2)
    for weight in standardized.weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape) * rng.choice([-1, 1], weight.shape))
    found = standardized.explain_units(IDS)
    total = ops.convert_to_numpy(found.shares).sum(axis=1) + ops.convert_to_numpy(found.bias)
    np.testing.assert_allclose(total, standardized(IDS), atol=1e-4)


def test_where_no_state_changes_no_token_has_a_share(classifier):
    """With an embedding and kernels of zeros, and all forgotten, every state is where it starts."""
    weights = [np.zeros_like(weight) for weight in classifier.encoder.get_weights()]
    classifier.encoder.set_weights(weights)
    for lstm in (classifier.encoder.forward_lstm, classifier.encoder.backward_lstm):
        lstm.cell.bias.assign(np.repeat([9.0, -200.0, 1.0, 9.0], UNITS).astype(np.float32))
    ids = padded([5, 3], 5)
    forward, _ = classifier.encoder(ids)
    assert len(np.unique(ops.convert_to_numpy(forward)[0])) == 1, "the states differ"
    found = classifier.explain(ids)
    np.testing.assert_allclose(found.polarity, np.zeros((2, 5)), atol=1e-6)
    np.testing.assert_allclose(found.bias, found.logits, atol=1e-6)


def test_explain_shows_the_encoders_gates(classifier):
    for found, expected in zip(classifier.explain(IDS).gates, classifier.encoder.gates(IDS), strict=True):
        for gate, expected_gate in zip(found, expected, strict=True):
            np.testing.assert_array_equal(gate, expected_gate)


def test_dropout_applies_in_training_alone():
    dropping, plain = build(dropout=0.5), build()
    np.testing.assert_array_equal(dropping(IDS), plain(IDS))
    draws = [ops.convert_to_numpy(dropping(IDS, training=True)) for _ in range(2)]
    assert not np.allclose(draws[0], plain(IDS))
    assert not np.allclose(draws[0], draws[1])


def test_config_round_trip():
    encoder = BidirectionalEncoder(VOCABULARY, WIDTH, UNITS, 0.1, 0.2, 0.3, seed=7)
    classifier = SentimentClassifier(encoder, dropout=0.25, seed=8)
    config = classifier.get_config()
    for _ in range(2):  # reading it does not use it up
        again = SentimentClassifier.from_config(config)
        assert again.get_config() == config
        assert again.pooled_dropout.rate == 0.25
        assert again.encoder.get_config() == encoder.get_config()


def test_a_saved_model_gives_the_same_logits(classifier, tmp_path):
    expected = ops.convert_to_numpy(classifier(IDS))
    classifier.save(tmp_path / "classifier.keras")
    loaded = keras.saving.load_model(tmp_path / "classifier.keras")
    np.testing.assert_array_equal(loaded(IDS), expected)


def test_a_step_of_training_moves_every_weight():
    classifier = build()
    classifier.compile("sgd", loss=keras.losses.BinaryCrossentropy(from_logits=True), jit_compile=False)
    before = classifier.get_weights()
    ids = padded([12] * 8, 12)
    classifier.train_on_batch(ids, np.arange(8) % 2)
    for weight, old, new in zip(classifier.weights, before, classifier.get_weights(), strict=True):
        assert np.any(old != new), weight.path


WITHOUT_TENSORFLOW = """
import sys
from importlib.machinery import ModuleSpec
from unittest import mock

class Gate:
    '''No TensorFlow; and for JAX, which Keras's NumPy backend imports for a few operations, a stand-in.'''
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "torch"):
            raise ImportError(name + " is shut out")
        if name.split(".")[0] == "jax":
            return ModuleSpec(name, self, is_package=True)
    def create_module(self, spec):
        module = mock.MagicMock(name=spec.name)
        module.__path__, module.__spec__ = [], spec
        return module
    def exec_module(self, module):
        pass

sys.meta_path.insert(0, Gate())
import keras
import numpy as np
from nlp_lstm.models.classifier import SentimentClassifier
from nlp_lstm.models.encoder import BidirectionalEncoder
import nlp_lstm.models.pretraining

assert keras.backend.backend() == "numpy"
given = np.load(sys.argv[1])
vocabulary, width, units = given["sizes"].tolist()
classifier = SentimentClassifier(BidirectionalEncoder(vocabulary, width, units))
classifier.build((None, None))
classifier.set_weights([given[f"weight{i}"] for i in range(len(classifier.weights))])
logits = classifier(given["ids"])
found = classifier.explain(given["ids"])
assert type(logits) is np.ndarray
shares = classifier.explain_units(given["ids"]).shares
np.savez(sys.argv[2], logits=logits, again=found.logits, polarity=found.polarity, shares=shares)
assert not any(name.split(".")[0] in ("tensorflow", "torch") for name in sys.modules)
"""


def test_runs_on_numpy_without_tensorflow(classifier, tmp_path):
    weights = {f"weight{place}": weight for place, weight in enumerate(classifier.get_weights())}
    np.savez(tmp_path / "given.npz", ids=IDS, sizes=(VOCABULARY, WIDTH, UNITS), **weights)
    subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, str(tmp_path / "given.npz"), str(tmp_path / "found.npz")],
        env={**os.environ, "KERAS_BACKEND": "numpy"},
        cwd=Path(__file__).parents[2],
        check=True,
    )
    found = np.load(tmp_path / "found.npz")
    logits, _, polarity, _ = classifier.explain(IDS)
    np.testing.assert_allclose(found["logits"], logits, atol=1e-5)
    np.testing.assert_allclose(found["again"], logits, atol=1e-5)
    np.testing.assert_allclose(found["polarity"], polarity, atol=1e-5)
    np.testing.assert_allclose(found["shares"], classifier.explain_units(IDS).shares, atol=1e-5)
