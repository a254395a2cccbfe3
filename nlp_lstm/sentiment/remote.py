"""Using a sentiment model that a server has, without TensorFlow."""

import dataclasses
from typing import Any

from nlp_lstm.client import Client


def explain(client: Client, text: bytes) -> dict[str, Any]:
    """What `nlp_lstm.sentiment.inference.explain` tells of one text, asked of a server."""
    (found,) = client.explain([text])
    answer = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    return {**answer, **answer.pop("gates"), "tokens": list(found.tokens)}
