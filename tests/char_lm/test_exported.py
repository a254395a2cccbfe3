"""The language model that is read out of an exported one: it finds texts as likely as what is served does."""

import numpy as np
import pytest
import tensorflow as tf

from nlp_lstm.char_lm.exported import load_exported
from nlp_lstm.errors import UserError


@pytest.mark.parametrize("name", ["character", "byte"])
@pytest.mark.parametrize("embedding_size", [5, 9])
def test_its_weights_and_symbols_do_what_those_of_the_run_did(exported_char_lm, name, embedding_size):
    exported = exported_char_lm(name)
    found, symbols, settings = load_exported(exported.base, embedding_size)
    assert symbols.spelling == exported.symbols.spelling
    sizes = (settings.unit, settings.embedding_size, settings.units, settings.layers)
    assert sizes == (name, embedding_size, 7, len(exported.model.lstms))
    ids = np.random.default_rng(1).integers(0, len(symbols), (3, 40))
    expected, state = exported.model(ids)
    logits, found_state = found(ids)
    np.testing.assert_allclose(logits, expected, atol=2e-4)
    for part, other in zip(found_state, state, strict=True):
        np.testing.assert_allclose(part, other, atol=2e-4)


def test_features_of_a_wider_embedding_can_be_trained(exported_char_lm):
    """Zeros on both sides of a product would have no gradient on either."""
    found, symbols, _ = load_exported(exported_char_lm("character").base, embedding_size=9)
    assert not np.any(found.embedding.embeddings[:, 5:].numpy())
    ids = np.arange(len(symbols))[None]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(found(ids)[0]))
    gradient = tf.convert_to_tensor(tape.gradient(loss, found.embedding.embeddings.value)).numpy()
    assert np.all(np.abs(gradient[:, 5:]).max(axis=0) > 1e-3)


def test_an_embedding_too_narrow_is_refused_with_the_least_width(exported_char_lm):
    with pytest.raises(UserError, match="needs an --embedding-size of 5 at least, this one has 4"):
        load_exported(exported_char_lm("character").base, embedding_size=4)


def test_weights_in_narrower_arithmetic_are_refused(exported_char_lm):
    with pytest.raises(UserError, match="does not hold all weights in float32: name one that .* --precision float32"):
        load_exported(exported_char_lm("int8").base, embedding_size=5)


def test_layer_normalisation_is_refused(exported_char_lm):
    with pytest.raises(
        UserError, match="has layer normalisation, after which its embedding is not known: name its run"
    ):
        load_exported(exported_char_lm("normalized").base, embedding_size=5)


def test_a_model_of_another_app_is_refused(exported_sentiment):
    with pytest.raises(UserError, match="has no signature 'encode'|has no signature 'read'"):
        load_exported(exported_sentiment.base, embedding_size=5)


def test_a_model_that_is_not_this_suites_is_refused(tmp_path):
    signature = tf.function(lambda text: {"score": tf.strings.length(text)}, [tf.TensorSpec([None], tf.string)])
    names = dict.fromkeys(("encode", "read"), signature.get_concrete_function())
    tf.saved_model.save(tf.Module(), str(tmp_path / "1"), signatures=names)
    with pytest.raises(UserError, match="does not hold all weights in float32"):
        load_exported(tmp_path, embedding_size=5)
