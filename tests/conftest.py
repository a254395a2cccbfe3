"""What several test modules share: small exported models of each app, and texts that are hard to serve."""

import dataclasses
import functools
from collections.abc import Callable
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

    def inputs(self, texts: list[bytes]) -> dict:
        """For each signature."""
        from rest_requests import sentiment_inputs

        return sentiment_inputs(texts)


@pytest.fixture(scope="session")
def exported_sentiment(tmp_path_factory) -> ExportedSentiment:
    """Random weights, and not small ones: each token must count, and each place in the text."""
    import numpy as np
    from rest_requests import serialized_example

    from nlp_lstm import export
    from nlp_lstm.models.classifier import SentimentClassifier
    from nlp_lstm.models.encoder import BidirectionalEncoder
    from nlp_lstm.models.ngrams import BlendedClassifier, NgramClassifier
    from nlp_lstm.sentiment_serving import SentimentServing
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


@dataclasses.dataclass(frozen=True)
class ExportedCharLm:
    """A character language model, its signatures in this process, and as version 1 below `base`."""

    model: Any
    symbols: Any
    serving: Any
    warm_up: dict
    base: Path

    @property
    def version(self) -> Path:
        return self.base / "1"

    @functools.cached_property
    def signatures(self):
        """Those of the SavedModel."""
        from nlp_lstm import export

        return export.load(self.base).signatures

    def inputs(self, texts: list[bytes]) -> dict:
        """For each signature."""
        from rest_requests import char_lm_inputs

        return char_lm_inputs(texts, self.serving.folded.state_names, self.serving.folded.units)


CHAR_LMS: dict[str, tuple[str, dict]] = {
    "character": ("\n !',.ABaeinrst\u0301é映😀\0", {"layers": 2}),
    "byte": ("", {"layers": 1, "unit": "byte"}),
    # One without a newline, and with the very character that stands for the unknown ones.
    "normalized": (
        " aeinrst\ufffdé",
        {"layers": 2, "zoneout_hidden": 0.2, "zoneout_cell": 0.4, "layer_normalization": True},
    ),
}


@pytest.fixture(scope="session")
def exported_char_lm(tmp_path_factory) -> Callable[[str], ExportedCharLm]:
    """From a key of `CHAR_LMS` to that model, of random weights that are not small."""
    import numpy as np

    from nlp_lstm import export
    from nlp_lstm.char_lm import Settings, build_model
    from nlp_lstm.char_lm_serving import CharLmServing
    from nlp_lstm.symbols import Symbols

    @functools.cache
    def exported(name):
        text, changed = CHAR_LMS[name]
        settings = Settings(embedding_size=5, units=7, **changed)
        symbols = Symbols("byte") if settings.unit == "byte" else Symbols.of_text(text)
        model = build_model(settings, len(symbols))
        rng = np.random.default_rng(0)
        for weight in model.trainable_weights:
            weight.assign(rng.normal(0.0, 0.7, weight.shape))
        favoured = np.zeros(len(symbols))
        if settings.unit == "byte":
            favoured[0x80:] = 1.0  # so that whole characters are no easy matter
        else:
            favoured[0] = 3.0  # the unknown character would often be written, were it allowed
        model.head.bias.assign_add(favoured)
        serving = CharLmServing(model, symbols)
        state = {part: np.zeros((1, settings.units), np.float32) for part in serving.folded.state_names}
        warm_up = {
            "serving_default": {"prompt": ["an"]},
            "generate": {
                "prompt": ["an", ""],
                "length": [4, 2],
                "temperature": [0.5, 1.0],
                "top_k": [0, 3],
                "top_p": [1.0, 0.9],
                "seed": [0, -1],
            },
            "likeliest": {"prompt": ["an"], "length": [3], "beam_size": [2]},
            "score": {"text": ["rain"]},
            "read": {"text": ["rain"], **state},
            "step": {"char": ["a"], **state},
            "encode": {"text": ["rain"]},
            "gates": {"text": ["rain"]},
        }
        base = tmp_path_factory.mktemp("exported") / "char_lm"
        export.save(serving, base, warm_up, "# A model of random numbers\n")
        return ExportedCharLm(model, symbols, serving, warm_up, base)

    return exported
