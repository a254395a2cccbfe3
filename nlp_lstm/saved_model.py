"""SavedModels as a stock TensorFlow Serving takes them: version folders, warm-up requests, core operations only."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from nlp_lstm.errors import UserError
from nlp_lstm.files import atomic_path
from nlp_lstm.foreign_operations import refuse_foreign_operations

WARM_UP_FILE = Path("assets.extra", "tf_serving_warmup_requests")
MODEL_CARD = "model_card.md"
BATCHING_FILE = "batching_params.pbtxt"


class Batching(NamedTuple):
    """How a server with `--enable_per_model_batching_parameters` is to batch a model's requests."""

    rows: int
    """Of a batch, and so of a request: one with more is refused."""
    wait_micros: int
    """How long the first request of a batch waits for others."""

    @property
    def text(self) -> str:
        """The `BatchingParameters` as text.

        >>> print(Batching(32, 5_000).text, end="")
        max_batch_size { value: 32 }
        batch_timeout_micros { value: 5000 }
        max_enqueued_batches { value: 64 }
        """
        return (
            f"max_batch_size {{ value: {self.rows} }}\n"
            f"batch_timeout_micros {{ value: {self.wait_micros} }}\n"
            "max_enqueued_batches { value: 64 }\n"  # more are refused at once, as 503
        )


def save(
    module: tf.Module,
    base: Path,
    warm_up: dict[str, dict[str, Any]],
    model_card: str | Callable[[int], str],
    batching: Batching | None = None,
) -> Path:
    """Write a module with `signatures` as the next version below `base`, and its model card beside the versions.

    >>> from tempfile import mkdtemp
    >>> spec = tf.TensorSpec([None], tf.string, name="text")
    >>> module = tf.Module(name="lengths")
    >>> module.lengths = tf.function(lambda text: {"length": tf.strings.length(text)}, [spec], autograph=False)
    >>> module.signatures, module.resources = {"serving_default": module.lengths}, []
    >>> base = Path(mkdtemp(), "lengths")
    >>> save(module, base, {"serving_default": {"text": ["A fine film."]}}, "# Lengths").name
    '1'
    >>> load(base).signatures["serving_default"](text=tf.constant(["four"]))["length"].numpy()
    array([4], dtype=int32)

    The version is written under a hidden name and renamed when it is whole, so a server that polls the folder never
    sees half of one.

    Args:
        module: has a dict of `tf.function`s under `signatures`, each with one input signature, and under `resources`
            the layers and tables that they read.
        base: the model's folder; made where there is none.
        warm_up: for each signature the inputs of the one request that a server runs before it says it is ready.
        model_card: Markdown, or what makes it of the version's size in bytes; a copy goes into its `assets.extra`.
        batching: goes into the version's `batching_params.pbtxt`; without it the model's requests are not batched.

    Raises:
        UserError: if the folder cannot be written.
    """
    base = Path(base)
    if os.path.exists(base) and not os.path.isdir(base):
        raise UserError(f"'{base}' is a file, not a folder of models: name another with --to")
    try:
        version = base / str(max(versions(base), default=0) + 1)
        with atomic_path(version) as path:
            signatures = {name: function.get_concrete_function() for name, function in module.signatures.items()}
            # Not the module itself: its functions would be written a second time beside the signatures.
            holder = tf.Module(name=module.name)
            holder.resources = [_bare(resource) for resource in module.resources]
            tf.saved_model.save(holder, str(path), signatures=signatures)
            (path / WARM_UP_FILE).parent.mkdir()
            write_warm_up(path / WARM_UP_FILE, base.name, signatures, warm_up)
            if batching is not None:
                (path / BATCHING_FILE).write_text(batching.text, encoding="utf-8")
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            card = model_card if isinstance(model_card, str) else model_card(size)
            (path / WARM_UP_FILE).with_name(MODEL_CARD).write_text(card, encoding="utf-8")
        with atomic_path(base / MODEL_CARD) as path:
            path.write_text(card, encoding="utf-8")
    except (OSError, tf.errors.OpError) as error:  # Python writes some files, TensorFlow the others
        raise UserError(f"cannot write a model to '{base}' ({_reason(error)}): name another folder with --to") from None
    return version


def _bare(resource: Any) -> Any:
    """A layer as its TensorFlow variables.

    A Keras variable would be written twice (keras.src.backend.tensorflow.core, `_export_to_saved_model_graph`): the
    checkpoint restores one copy, the signatures read the other, and a server, unlike Python, finds that one empty.
    """
    return [variable.value for variable in resource.weights] if isinstance(resource, keras.layers.Layer) else resource


def write_warm_up(path: Path, model: str, signatures: dict[str, Any], warm_up: dict[str, dict[str, Any]]) -> None:
    """Write one request a signature in the form that a server replays when it loads the version."""
    from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, function in signatures.items():
            specs = function.structured_input_signature
            dtypes = {spec.name: spec.dtype for spec in tf.nest.flatten(specs)}
            request = predict_pb2.PredictRequest(
                model_spec=model_pb2.ModelSpec(name=model, signature_name=name),
                inputs={key: tf.make_tensor_proto(value, dtypes[key]) for key, value in warm_up[name].items()},
            )
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())


def versions(base: Path) -> list[int]:
    """The version numbers of the models below a folder, in order.

    >>> versions(Path("saved_models/translation")) == []
    False
    """
    if not os.path.isdir(base):
        return []
    # A server reads them as int64.
    return sorted(int(path.name) for path in Path(base).iterdir() if re.fullmatch(r"[1-9][0-9]{0,17}", path.name))


def resolve(path: Path) -> Path:
    """The SavedModel that a path means: itself, or the highest version below it.

    Raises:
        UserError: if there is neither.
    """
    path = Path(path)
    for candidate in (path, *(path / str(version) for version in reversed(versions(path)))):
        if os.path.isfile(candidate / "saved_model.pb"):
            return candidate
    if not os.path.exists(path):  # unlike Path.exists, false for a path that cannot be looked at
        raise UserError(f"no model at '{path}': name a SavedModel or a folder of versions with --model")
    raise UserError(f"'{path}' is no model: it holds neither a saved_model.pb nor a numbered folder with one")


def load(path: Path, *signatures: str) -> Any:
    """Load the SavedModel that `path` means; it must have the signatures named, or else a `serving_default`.

    Raises:
        UserError: if it cannot be read, lacks a signature, or would reach beyond its inputs
            (`nlp_lstm.foreign_operations`).
    """
    found = resolve(path)
    refuse_foreign_operations(found)
    try:
        model = tf.saved_model.load(str(found))
    except Exception as error:  # TensorFlow raises a dozen kinds for a damaged model
        raise UserError(
            f"cannot load the model at '{found}' ({_reason(error)}): export it again or name another with --model"
        ) from None
    for signature in signatures or ("serving_default",):
        if signature not in model.signatures:
            raise UserError(
                f"the model at '{found}' has no signature '{signature}' (it has "
                f"{', '.join(sorted(model.signatures))}): name a model of this app with --model"
            )
    return model


def _reason(error: Exception) -> str:
    """An exception in one line."""
    lines = str(getattr(error, "strerror", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
