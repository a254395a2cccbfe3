"""What several test modules share: a small exported sentiment model, and texts that are hard to serve."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest


@dataclasses.dataclass(frozen=True)
class ExportedSentiment:
    """A model with its signatures in this process and as version 1 below `base`."""

    serving: Any
    vocabulary: Any
    warm_up: dict
    base: Path

    @property
    def version(self) -> Path:
        return self.base / "1"


@pytest.fixture(scope="session")
def exported_sentiment(tmp_path_factory) -> ExportedSentiment:
    """Random weights, and not small ones: each token must count, and each place in the text."""
    import numpy as np
    from saved_model_in_fresh_process import serialized_example

    from nlp_lstm import export
    from nlp_lstm.models.classifier import SentimentClassifier
    from nlp_lstm.models.encoder import BidirectionalEncoder
    from nlp_lstm.models.ngrams import BlendedClassifier, NgramClassifier
    from nlp_lstm.serving import SentimentServing
    from nlp_lstm.vocabulary import Vocabulary

    words = ["the", "a", "film", "best", "dull", "not", "it's", *".,!?<>映画é😀\ufffd"]
    vocabulary = Vocabulary(["", "[UNK]", "[BOUND]", *words])
    lstm = SentimentClassifier(BidirectionalEncoder(len(vocabulary), 8, 6, embedding_dtype="float16"))
    lstm.build((None, None))
    classifier = BlendedClassifier(lstm, NgramClassifier(len(vocabulary), 2, 50, table_dtype="float16"))
    classifier.build((None, None))
    rng = np.random.default_rng(0)
    for weight in classifier.weights:
        weight.assign(rng.normal(0.0, 0.5, weight.shape))
    classifier.mixture.assign([4.0, 0.6, 0.0])
    # Some texts on either side: about half of random ones.
    middle = np.median(classifier(rng.integers(1, len(vocabulary), (100, 6))))
    classifier.mixture.assign([4.0, 0.6, -middle])
    serving = SentimentServing(classifier, vocabulary)
    warm_up = {
        "serving_default": {"text": ["The best film!", "A dull film."]},
        "classify": {"inputs": [serialized_example(b"The best film!")]},
        "explain": {"text": ["The best film!"]},
    }
    base = tmp_path_factory.mktemp("exported") / "sentiment"
    export.save(serving, base, warm_up, "# A model of random numbers\n")
    return ExportedSentiment(serving, vocabulary, warm_up, base)


@pytest.fixture(scope="session")
def difficult_texts() -> list[bytes]:
    texts = [
        "The best film!",
        "It’s not a dull film, it's the BEST.",
        "",
        " \t\r\n\u00a0\u3000\u200b\ufeff",
        "😀",
        "😀👩‍👩‍👧🏳️‍🌈",
        "zzz qqq",  # no token of it is known
        "映画は最高。这部电影很好",
        "ภาพยนตร์ที่ดี",
        "Cafe\u0301 é É ﬁlm İstanbul",
        '<b>The best</b><br />film &amp; <script>alert("x")</script>',
        "<s> </s> [UNK] [BOUND]",
        '\\ "quoted" \\u0000 {}[]',
        "\U0010ffff\uffff\ue000",
        "!" * 3_000,
        "The best film!",  # again
    ]
    return [
        *(text.encode() for text in texts),
        b"\xff\xfe a \xc3 film \x80\xed\xa0\x80\xf8",  # not UTF-8
        b"a\x00film\x00",
        b"\x00",
        b"x" * 2**20,
        (b"dull " * 2**18)[: 2**20],
    ]
