"""The classifier inside an exported model, to go on from or to learn from where its run is lost or was never here."""

from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from nlp_lstm import saved_model
from nlp_lstm.errors import UserError
from nlp_lstm.models.classifier import SentimentClassifier
from nlp_lstm.models.encoder import BidirectionalEncoder
from nlp_lstm.text.vocabulary import Vocabulary

_PARTS = {
    "embedding": "embedding/embeddings",
    **{
        f"{direction} {part}": f"{direction}_lstm/lstm_cell/{part}"
        for direction in ("forward", "backward")
        for part in ("kernel", "recurrent_kernel", "bias")
    },
    "head kernel": "head/kernel",
    "head bias": "head/bias",
}
"""How the names of a classifier's variables end."""


class ExportedClassifier(NamedTuple):
    """What an exported model holds of a run: the LSTM classifier, without any n-grams beside it."""

    classifier: SentimentClassifier
    vocabulary: Vocabulary


def load_exported(path: Path) -> ExportedClassifier:
    """The classifier of a SavedModel that `nlp_lstm` exported, with the numbers that it is served with.

    >>> found = load_exported(Path("saved_models/sentiment"))
    >>> ids = found.vocabulary.lookup(tf.constant([["a", "wonderful", "film"]]))
    >>> bool(found.classifier(ids).numpy()[0] > 0)
    True

    Raises:
        UserError: if it is no sentiment model, or its recurrent weights are not in float32.
    """
    model = saved_model.load(path, "serving_default", "classify")
    variables, table = _variables_and_table(model)
    missing = [name for name in _PARTS if name not in variables]
    if missing or table is None:
        raise UserError(
            f"the model at '{path}' does not hold all weights in float32 (no {', '.join(missing) or 'vocabulary'}): "
            "name one that was exported with --precision float32"
        )
    keys, values = tf.raw_ops.LookupTableExportV2(table_handle=table, Tkeys=tf.string, Tvalues=tf.int32)
    by_id = sorted(zip(values.numpy().tolist(), keys.numpy().tolist(), strict=True))
    vocabulary = Vocabulary(["", *(token.decode("utf-8") for _, token in by_id)])
    size, width = variables["embedding"].shape
    units = variables["forward recurrent_kernel"].shape[0]
    classifier = SentimentClassifier(BidirectionalEncoder(size, width, units, embedding_dtype="float16"))
    classifier.build((None, None))
    for weight in classifier.weights:
        weight.assign(variables[_part_of(weight.path)])
    return ExportedClassifier(classifier, vocabulary)


def _part_of(name: str) -> str:
    return next((part for part, end in _PARTS.items() if name.endswith(f"/{end}")), "")


def _variables_and_table(model: tf.Module) -> tuple[dict[str, tf.Variable], tf.Tensor | None]:
    """The variables of a loaded model by what they are, and the handle of its first table."""
    variables: dict[str, tf.Variable] = {}
    table = None
    kept = [*getattr(model, "resources", [])]  # which another's model need not have
    while kept:
        found = kept.pop(0)
        if isinstance(found, tf.Variable):
            variables.setdefault(_part_of(found.name.removesuffix(":0")), found)
        elif table is None and hasattr(found, "resource_handle"):
            table = found.resource_handle
        elif hasattr(found, "__iter__"):
            kept += list(found)
    return variables, table
