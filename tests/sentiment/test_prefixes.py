"""The logits of a text's beginnings against the classifier, which reads each of them alone."""

import numpy as np
import pytest
import tensorflow as tf

from nlp_lstm.models.classifier import BlendedClassifier, SentimentClassifier
from nlp_lstm.models.encoder import BidirectionalEncoder
from nlp_lstm.models.ngrams import NgramClassifier
from nlp_lstm.sentiment.prefixes import prefix_logits, running_maximum

VOCABULARY, BOUNDARY = 11, 2


def build(blended, standardized=False):
    lstm = SentimentClassifier(BidirectionalEncoder(VOCABULARY, 5, 4), standardized=standardized)
    lstm.build((None, None))
    # Few buckets: n-grams meet in them, and that of a prefix's end with one within it.
    model = BlendedClassifier(lstm, NgramClassifier(VOCABULARY, 3, 7)) if blended else lstm
    if blended:
        model.build((None, None))
    rng = np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(rng.normal(0.0, 0.7, weight.shape))
    if standardized:
        lstm.feature_scale.assign(rng.uniform(0.5, 2.0, lstm.feature_scale.shape))
    return model


def text(length, seed=0):
    return np.random.default_rng(seed).integers(1, VOCABULARY, length).astype(np.int32)


@pytest.mark.parametrize("blended", [False, True])
@pytest.mark.parametrize("standardized", [False, True])
def test_each_is_the_classifiers_of_that_beginning_alone(blended, standardized):
    model = build(blended, standardized)
    ids = np.array([BOUNDARY, *text(23), BOUNDARY], np.int32)
    expected = np.array([float(model(np.array([[*ids[: end + 1], BOUNDARY]]))[0]) for end in range(24)])
    assert np.ptp(expected) > 0.2
    assert np.median(np.abs(np.diff(expected))) > 1e-3
    traced = tf.function(lambda ids, ends: prefix_logits(model, ids, ends), [tf.TensorSpec([None], tf.int32)] * 2)
    for ends in (np.arange(24), np.arange(2, 24, 7), np.array([0]), np.array([23]), np.array([0, 1, 22])):
        for function in (traced, lambda *given: prefix_logits(model, *given)):
            found = function(tf.constant(ids), tf.constant(ends, tf.int32))
            np.testing.assert_allclose(found, expected[ends], atol=2e-5)


def test_what_stands_behind_the_cut_is_not_read():
    model, ids = build(True), np.array([BOUNDARY, *text(9), BOUNDARY], np.int32)
    others = np.array([*ids[:5], *text(5, seed=7), BOUNDARY], np.int32)
    assert (ids != others).sum() > 2
    ends = tf.constant(range(10))
    found, changed = (prefix_logits(model, tf.constant(given), ends).numpy() for given in (ids, others))
    np.testing.assert_allclose(found[:5], changed[:5], atol=1e-5)
    assert np.abs(found[5:] - changed[5:]).min() > 1e-3


@pytest.mark.parametrize("rows", [1, 2, 3, 8, 9, 100])
def test_running_maximum_equals_numpy(rows):
    values = np.random.default_rng(rows).normal(size=(rows, 6)).astype(np.float32)
    np.testing.assert_array_equal(running_maximum(tf.constant(values)), np.maximum.accumulate(values))
