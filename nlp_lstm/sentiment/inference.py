"""Using a sentiment model, be it a training run or an exported SavedModel: predict, evaluate, explain."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from nlp_lstm import saved_model
from nlp_lstm.datasets.review_records import LABELS
from nlp_lstm.datasets.review_table import TableFormat
from nlp_lstm.datasets.reviews import Part, load_judged
from nlp_lstm.errors import UserError
from nlp_lstm.files import told_if_unwritable
from nlp_lstm.inference import answers_by_length
from nlp_lstm.pictures.reliability import draw_confusion, draw_reliability
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.sentiment.build import load_run
from nlp_lstm.sentiment.deciding_units import deciding_units
from nlp_lstm.sentiment.metrics import binary_classification
from nlp_lstm.sentiment.minimal_pairs import judged, read_pairs
from nlp_lstm.sentiment.serving import SentimentServing
from nlp_lstm.sentiment.settings import Settings
from nlp_lstm.text.words import tokenize

TEXTS_IN_BATCH = 64


Signature = Callable[..., Mapping[str, Any]]


def open_signature(model: Path, run: Path | None, signature: str = "serving_default") -> Signature:
    """A signature of a training run where one is named, else of an exported model: texts in, a dict of tensors out."""
    return open_signatures(model, run, signature)[signature]


def open_signatures(model: Path, run: Path | None, *names: str, wanted: Sequence[str] = ()) -> dict[str, Signature]:
    """Several signatures of one model by their names; of those `wanted` the ones that it has.

    Models exported by an earlier version have fewer than this one gives them.
    """
    if run is not None:
        classifier, vocabulary, _ = load_run(RunFolder(run))
        held: Any = SentimentServing(classifier, vocabulary)
    else:
        held = saved_model.load(model, *names, "classify")  # which no other app's models have

    def held_signature(function: Signature) -> Signature:
        def call(text: Any) -> Mapping[str, Any]:
            # TensorFlow frees the variables of a module that nobody holds, though its functions live on.
            assert held is not None
            return function(text=text)

        return call

    found = {name: held.signatures[name] for name in (*names, *wanted) if name in held.signatures}
    return {name: held_signature(function) for name, function in found.items()}


def predict(signature: Signature, texts: Sequence[bytes]) -> dict[str, np.ndarray]:
    """Every output of a signature for all texts, in their order: each `(texts, ...)`."""
    return answers_by_length(lambda batch: signature(text=tf.constant(batch, tf.string)), texts, TEXTS_IN_BATCH)


def explain(signature: Signature, text: bytes) -> dict[str, Any]:
    """What the `explain` signature says of one text, its tokens as strings and nothing of the padding."""
    answer = {name: value.numpy()[0] for name, value in signature(text=tf.constant([text])).items()}
    length = int(answer["length"])
    answer = {name: value[:length] if isinstance(value, np.ndarray) else value for name, value in answer.items()}
    answer["tokens"] = [token.decode("utf-8") for token in answer["tokens"]]
    answer["label"] = answer["label"].decode()
    return answer


def prefix_scores(signature: Signature, text: bytes) -> np.ndarray:
    """P(positive) of one text up to each of its tokens `(tokens,)`, by the `prefixes` signature; -1 where unread."""
    return signature(text=tf.constant([text]))["score"].numpy()[0]


def explain_units(signature: Signature, text: bytes, count: int) -> dict[str, Any]:
    """The units whose shares of a text's logit are the largest in size: `deciding_units` of the `units` signature."""
    answer = {name: value.numpy()[0] for name, value in signature(text=tf.constant([text])).items()}
    return deciding_units(answer, count)


def evaluate(
    signature: Signature,
    source: str,
    split: Part,
    seed: int,
    plots: Path | None,
    validation_fraction: float = Settings.validation_fraction,
    table: TableFormat = TableFormat(),  # noqa: B008
) -> dict[str, Any]:
    """Judge a model on a split of a source: `nlp_lstm.sentiment.metrics.binary_classification` and the throughput."""
    records = load_judged(source, split, validation_fraction=validation_fraction, seed=seed, table=table)
    texts = [record.text.encode("utf-8") for record in records]
    labels = [record.label for record in records if record.label is not None]
    if len(labels) < max(1, len(texts)):
        raise UserError(f"the split '{split}' of '{source}' has no labels to judge by: evaluate on another --split")
    if plots is not None:
        with told_if_unwritable("--plots", plots):  # before the work, which would be lost
            plots.mkdir(parents=True, exist_ok=True)
    predict(signature, texts[:1])  # the first call of a graph is slower, and no figure of its speed
    started = time.perf_counter()
    scores = predict(signature, texts)["score"]
    seconds = time.perf_counter() - started
    if plots is not None:
        with told_if_unwritable("--plots", plots):
            draw_confusion(labels, scores, LABELS, plots / "confusion.png")
            draw_reliability(labels, scores, plots / "reliability.png")
    return {
        "data": source,
        "split": split,
        **binary_classification(labels, scores, _lengths(texts)),
        "seconds": round(seconds, 2),
        "texts_per_second": round(len(texts) / seconds, 1),
    }


def judge_pairs(signature: Signature, source: Path) -> dict[str, Any]:
    """Judge a model on a file of minimal pairs: `nlp_lstm.sentiment.minimal_pairs.judged`."""
    pairs = read_pairs(source)
    texts = [text.encode("utf-8", "replace") for pair in pairs for text in (pair.positive, pair.negative)]
    scores = predict(signature, texts)["score"].reshape(-1, 2)
    return {"data": str(source), **judged(pairs, scores[:, 0], scores[:, 1])}


def _lengths(texts: Sequence[bytes]) -> list[int]:
    lengths: list[int] = []
    for start in range(0, len(texts), 1000):
        lengths.extend(tokenize(tf.constant(texts[start : start + 1000])).row_lengths().numpy().tolist())
    return lengths
