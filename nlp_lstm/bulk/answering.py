"""What the model of an app adds to a row."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import tensorflow as tf

from nlp_lstm.char_lm.inference import CharLm
from nlp_lstm.inference import answers_by_length
from nlp_lstm.sentiment import inference as sentiment
from nlp_lstm.translation.inference import TranslationModel

AppName = Literal["sentiment", "translation", "char_lm"]

FIELDS: dict[AppName, dict[str, type]] = {
    "sentiment": {"sentiment": str, "positive_probability": float},
    "translation": {"translation": str, "translation_score": float},
    "char_lm": {"bits_per_char": float, "symbols_scored": int},
}
"""The fields that each app adds, with their types."""

_ROWS = 64  # of a call: more gain nothing


class Answering:
    """A model that answers texts with the values of `FIELDS`, in their order.

    >>> answering = Answering("translation", Path("saved_models/translation"))
    >>> answering(["A man is riding a bike."])[0][0]
    'Ein Mann fährt Fahrrad.'

    Args:
        app: whose model it is.
        model: a SavedModel or a folder of versions.

    Raises:
        UserError: if there is no such model.
    """

    def __init__(self, app: AppName, model: Path):
        self._answers = {"sentiment": _sentiment, "translation": _translation, "char_lm": _char_lm}[app](model)

    def __call__(self, texts: Sequence[str]) -> list[tuple[Any, ...]]:
        return self._answers([text.encode("utf-8", "replace") for text in texts])


def _sentiment(model: Path) -> Any:
    signature = sentiment.open_signature(model, None)

    def answers(texts: list[bytes]) -> list[tuple[Any, ...]]:
        found = sentiment.predict(signature, texts)
        return [(label.decode(), float(score)) for label, score in zip(found["label"], found["score"], strict=True)]

    return answers


def _translation(model: Path) -> Any:
    held = TranslationModel(model)

    def ask(batch: list[bytes]) -> Any:
        return held.signatures["serving_default"](text=tf.constant(batch, tf.string))

    def answers(texts: list[bytes]) -> list[tuple[Any, ...]]:
        found = answers_by_length(ask, texts, _ROWS)
        return [
            (text.decode("utf-8"), float(score))
            for text, score in zip(found["translation"], found["score"], strict=True)
        ]

    return answers


def _char_lm(model: Path) -> Any:
    held = CharLm(model)

    def ask(batch: list[bytes]) -> Any:
        answer = held.signatures["score"](text=tf.constant(batch, tf.string))
        return {name: answer[name] for name in ("bits_per_char", "length")}

    def answers(texts: list[bytes]) -> list[tuple[Any, ...]]:
        found = answers_by_length(ask, texts, _ROWS)
        return [
            (float(bits), int(length)) for bits, length in zip(found["bits_per_char"], found["length"], strict=True)
        ]

    return answers
