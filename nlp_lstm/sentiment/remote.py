"""Using a sentiment model that a server has, without TensorFlow."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from nlp_lstm.client import Client
from nlp_lstm.sentiment.deciding_units import deciding_units
from nlp_lstm.sentiment.minimal_pairs import judged, read_pairs


def explain(client: Client, text: bytes) -> dict[str, Any]:
    """What `nlp_lstm.sentiment.inference.explain` tells of one text, asked of a server."""
    (found,) = client.explain([text])
    answer = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    return {**answer, **answer.pop("gates"), "tokens": list(found.tokens)}


def prefix_scores(client: Client, text: bytes) -> np.ndarray:
    """What `nlp_lstm.sentiment.inference.prefix_scores` tells of one text, asked of a server."""
    (found,) = client.prefixes([text])
    return found.scores


def explain_units(client: Client, text: bytes, count: int) -> dict[str, Any]:
    """What `nlp_lstm.sentiment.inference.explain_units` tells of one text, asked of a server."""
    (found,) = client.units([text])
    return deciding_units(found, count)


def judge_pairs(client: Client, source: Path) -> dict[str, Any]:
    """What `nlp_lstm.sentiment.inference.judge_pairs` tells of a file, asked of a server."""
    pairs = read_pairs(source)
    found = client.sentiment([text for pair in pairs for text in (pair.positive, pair.negative)])
    scores = np.array([one.score for one in found]).reshape(-1, 2)
    return {"data": str(source), **judged(pairs, scores[:, 0], scores[:, 1])}
