"""The classifier that is read out of an exported model: to the bit what is served, or refused."""

import numpy as np
import pytest
import tensorflow as tf

from nlp_lstm import saved_model
from nlp_lstm.errors import UserError
from nlp_lstm.models.classifier import SentimentClassifier
from nlp_lstm.models.encoder import BidirectionalEncoder
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.sentiment.exported import load_exported
from nlp_lstm.sentiment.serving import SentimentServing
from nlp_lstm.text.vocabulary import Vocabulary
from nlp_lstm.training import is_exported


def test_its_weights_and_tokens_are_those_of_the_lstm_that_is_served(exported_sentiment):
    """Whatever stands beside that."""
    found = load_exported(exported_sentiment.base)
    expected = exported_sentiment.serving.classifier.lstm
    assert found.vocabulary.tokens == exported_sentiment.vocabulary.tokens
    assert len(found.classifier.weights) == len(expected.weights) == 9
    for weight, other in zip(found.classifier.weights, expected.weights, strict=True):
        assert weight.path.split("/")[-2:] == other.path.split("/")[-2:]
        np.testing.assert_array_equal(weight, other)
    ids = np.random.default_rng(0).integers(1, len(found.vocabulary), (7, 12))
    np.testing.assert_array_equal(found.classifier(ids), expected(ids))


def test_the_two_directions_are_not_taken_for_one_another(exported_sentiment):
    encoder = load_exported(exported_sentiment.version).classifier.encoder
    forward, backward = (lstm.cell.recurrent_kernel for lstm in (encoder.forward_lstm, encoder.backward_lstm))
    assert not np.array_equal(forward, backward)


def test_weights_in_narrower_arithmetic_are_refused(tmp_path):
    vocabulary = Vocabulary(["", "[UNK]", "[BOUND]", "film", "dull"])
    classifier = SentimentClassifier(BidirectionalEncoder(len(vocabulary), 4, 8, embedding_dtype="float16"))
    classifier.build((None, None))
    serving = SentimentServing(classifier, vocabulary, "int8")
    warm_up = {name: {"text": ["film"]} for name in serving.signatures if name != "classify"}
    saved_model.save(serving, tmp_path / "narrow", {**warm_up, "classify": {"inputs": [b""]}}, "# Narrow\n")
    with pytest.raises(UserError, match=r"float32 \(no forward recurrent_kernel, backward .*exported with --precision"):
        load_exported(tmp_path / "narrow")


def test_a_model_of_another_app_is_refused(exported_char_lm):
    with pytest.raises(UserError, match="has no signature 'classify'"):
        load_exported(exported_char_lm("character").base)


def test_a_model_that_is_not_this_suites_is_refused(tmp_path):
    signature = tf.function(lambda text: {"score": tf.strings.length(text)}, [tf.TensorSpec([None], tf.string)])
    names = dict.fromkeys(("serving_default", "classify"), signature.get_concrete_function())
    tf.saved_model.save(tf.Module(), str(tmp_path / "1"), signatures=names)
    with pytest.raises(UserError, match="does not hold all weights in float32"):
        load_exported(tmp_path)


def test_what_is_exported_and_what_is_a_run(exported_sentiment, tmp_path):
    assert is_exported(exported_sentiment.base) and is_exported(exported_sentiment.version)
    assert not is_exported(tmp_path) and not is_exported(tmp_path / "none")
    RunFolder(tmp_path / "run").start({"task": "sentiment"})
    (tmp_path / "run" / "1").mkdir()
    (tmp_path / "run" / "1" / "saved_model.pb").touch()  # someone exported it into its own folder
    assert not is_exported(tmp_path / "run")
