"""A classifier whose recurrent products are taken in narrower arithmetic."""

import numpy as np
import pytest
import tensorflow as tf

from nlp_lstm import saved_model
from nlp_lstm.models.classifier import BlendedClassifier, SentimentClassifier
from nlp_lstm.models.encoder import BidirectionalEncoder
from nlp_lstm.models.ngrams import NgramClassifier
from nlp_lstm.sentiment.serving import SentimentServing
from nlp_lstm.text.vocabulary import Vocabulary

WORDS = ["the", "a", "film", "best", "dull", "not", "it's", *".,!?"]
TEXTS = tf.constant(["The best film!", "Not a dull film, it's the best.", "", "dull " * 60])
UNITS = 40


def classifier(vocabulary):
    """The same random weights at each call, as large as those that were learnt: each gate is somewhere between."""
    encoder = BidirectionalEncoder(len(vocabulary), 12, UNITS, embedding_dtype="float16")
    lstm = SentimentClassifier(encoder)
    lstm.build((None, None))
    blended = BlendedClassifier(lstm, NgramClassifier(len(vocabulary), 2, 50, table_dtype="float16"))
    blended.build((None, None))
    rng = np.random.default_rng(0)
    for weight in blended.weights:
        weight.assign(rng.normal(0.0, 0.3, weight.shape))
    blended.mixture.assign([1.0, 1.0, 0.0])
    return blended


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary(["", "[UNK]", "[BOUND]", *WORDS])


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_it_says_nearly_what_float32_says(vocabulary, precision, tmp_path):
    exact = SentimentServing(classifier(vocabulary), vocabulary)
    narrow = SentimentServing(classifier(vocabulary), vocabulary, precision)
    for name, function in exact.signatures.items():
        if name in ("classify", "units"):  # by way of the first; the largest may be others
            continue
        expected, found = function(TEXTS), narrow.signatures[name](TEXTS)
        for key, value in expected.items():
            # Where a maximum stands may change from a token to one that is as good.
            if value.dtype == tf.float32 and key != "polarity":
                np.testing.assert_allclose(found[key], value, atol=0.1)
    logits = [serving.explain(TEXTS)["logit"].numpy() for serving in (exact, narrow)]
    assert 0 < np.abs(logits[1] - logits[0]).max() < 0.1 < np.ptp(logits[0]) / 5

    warm_up = {name: {"text": ["a film"]} for name in exact.signatures} | {"classify": {"inputs": [b""]}}
    sizes = []
    for serving, name in ((exact, "exact"), (narrow, "narrow")):
        version = saved_model.save(serving, tmp_path / name, warm_up, "# Random numbers\n")
        sizes.append(sum(path.stat().st_size for path in (version / "variables").iterdir()))
        loaded = saved_model.load(version).signatures["explain"](text=TEXTS)["logit"]
        np.testing.assert_allclose(loaded, serving.explain(TEXTS)["logit"], atol=1e-6)
    # What was replaced is not written: both recurrent kernels, in 8 bits as part of the graph.
    saved = sizes[0] - sizes[1]
    kernels = 2 * UNITS * 4 * UNITS
    assert saved == pytest.approx(kernels * (2 if precision == "bfloat16" else 4), rel=0.02)
