"""The language model inside an exported model, to go on from where its run is lost or was never here."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nlp_lstm import saved_model
from nlp_lstm.char_lm.build import build_model
from nlp_lstm.char_lm.settings import Settings
from nlp_lstm.errors import UserError
from nlp_lstm.models.language_model import LanguageModel
from nlp_lstm.text.symbols import Symbols

_NEGLIGIBLE = 1e-5
"""So much less than the greatest singular value is rounding."""


def load_exported(path: Path, embedding_size: int) -> tuple[LanguageModel, Symbols, Settings]:
    r"""The model of a SavedModel that `nlp_lstm` exported, which finds a text as likely as what is served does.

    Zoneout, which is a setting of a run, is left out.

    >>> model, symbols, settings = load_exported(Path("saved_models/char_lm"), embedding_size=128)
    >>> settings.units, settings.layers, len(symbols)
    (512, 2, 66)

    An export holds embedding and first kernel as the one table :math:`T = E W + 1 b^\top` that they make together. Its
    mean row is taken for the bias, and the rest is cut in two by its singular values,
    :math:`T - 1 b^\top = (L \sqrt S) (\sqrt S R^\top)`: another embedding than the run's, of as many features as are
    needed, with the same product. Where the embedding is wider, its other features are zeros and their rows of the
    kernel as drawn, so that training can use them.

    Args:
        path: of the SavedModel, or of a folder of versions.
        embedding_size: width of the embedding; at least the rank of the table, which is that of the run's embedding at
            the most, and less than the number of symbols.

    Raises:
        UserError: if it is no language model, its weights are not in float32, it has layer normalisation, or the
            embedding is too narrow.
    """
    model = saved_model.load(path, "encode", "read")
    folded: Any = next(iter(getattr(model, "resources", [])), None)
    try:
        kernels, recurrent_kernels, biases = (
            [_values(part) for part in getattr(folded, name)] for name in ("kernels", "recurrent_kernels", "biases")
        )
        table, head_kernel, head_bias = map(_values, (folded.table, folded.head_kernel, folded.head_bias))
    except AttributeError:
        kernels = recurrent_kernels = []
    if not recurrent_kernels or any(matrix.dtype != np.float32 for matrix in (*kernels, *recurrent_kernels)):
        raise UserError(
            f"the model at '{path}' does not hold all weights in float32: name one that was exported with --precision "
            "float32"
        )
    if getattr(folded, "gains", None):
        raise UserError(
            f"the model at '{path}' has layer normalisation, after which its embedding is not known: name its run"
        )
    spelling = model.signatures["encode"](text=tf.constant([""]))["symbols_bytes"][0]
    symbols = Symbols.of_spelling(spelling.numpy().tolist())
    settings = Settings(
        unit=symbols.unit,
        embedding_size=embedding_size,
        units=recurrent_kernels[0].shape[0],
        layers=len(recurrent_kernels),
    )
    found = build_model(settings, len(symbols))
    embedding, kernel, bias = _unfolded(table, keras.ops.convert_to_numpy(found.lstms[0].cell.kernel), path)
    found.embedding.embeddings.assign(embedding)
    for lstm, *weights in zip(found.lstms, [kernel, *kernels], recurrent_kernels, [bias, *biases], strict=True):
        for name, value in zip(("kernel", "recurrent_kernel", "bias"), weights, strict=True):
            getattr(lstm.cell, name).assign(value)
    found.head.kernel.assign(head_kernel)
    found.head.bias.assign(head_bias)
    return found, symbols, settings


def _values(part: Any) -> np.ndarray:
    """Of a variable or a `WeightMatrix`; the matrices of earlier versions are variables."""
    return getattr(part, "values", part).numpy()


def _unfolded(table: np.ndarray, drawn: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embedding `(V, D)`, kernel `(D, 4U)` and bias `(4U,)` that make the table; `drawn` is a kernel to begin with."""
    bias = table.mean(axis=0, dtype=np.float64)
    left, scale, right = np.linalg.svd(table - bias, full_matrices=False)
    rank = int(np.sum(scale > _NEGLIGIBLE * scale[0]))
    width = len(drawn)
    if rank > width:
        raise UserError(f"the model at '{path}' needs an --embedding-size of {rank} at least, this one has {width}")
    embedding, kernel = np.zeros((len(table), width), np.float32), drawn.copy()
    root = np.sqrt(scale[:rank])
    embedding[:, :rank], kernel[:rank] = left[:, :rank] * root, root[:, None] * right[:rank]
    return embedding, kernel, bias.astype(np.float32)
