"""SavedModels in this process, loaded and asked as TensorFlow Serving does it: in a session, with a time limit."""

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nlp_lstm.foreign_operations import refuse_foreign_operations
from nlp_lstm.playground import limits
from nlp_lstm.playground.refusal import RefusedError
from nlp_lstm.playground.tensor_json import Input

WARM_UP_FILE = Path("assets.extra", "tf_serving_warmup_requests")

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")

STATUS_OF_CODE = {
    1: 499,  # CANCELLED
    3: 400,  # INVALID_ARGUMENT
    4: 504,  # DEADLINE_EXCEEDED
    5: 404,  # NOT_FOUND
    6: 409,  # ALREADY_EXISTS
    7: 403,  # PERMISSION_DENIED
    8: 429,  # RESOURCE_EXHAUSTED
    9: 400,  # FAILED_PRECONDITION
    10: 409,  # ABORTED
    11: 400,  # OUT_OF_RANGE
    12: 501,  # UNIMPLEMENTED
    14: 503,  # UNAVAILABLE
    16: 401,  # UNAUTHENTICATED
}
"""HTTP statuses of TensorFlow's error codes, as its server gives them; 500 for the others."""


class Signature(NamedTuple):
    """The inputs of a signature, and where in the graph inputs and outputs are."""

    inputs: dict[str, Input]
    feeds: dict[str, str]
    fetches: dict[str, str]


def find_models(folder: Path) -> list["ServedModel"]:
    """The models below a folder, each the highest version of a folder of versions, in the order of their names.

    >>> [model.name for model in find_models(Path("saved_models"))]
    ['char_lm', 'sentiment', 'translation']
    """
    found = []
    for base in sorted(path for path in Path(folder).iterdir() if path.is_dir() and _NAME.fullmatch(path.name)):
        versions = [int(path.name) for path in base.iterdir() if _VERSION.fullmatch(path.name)]
        if versions:
            found.append(ServedModel(base.name, max(versions), base / str(max(versions))))
    return found


class ServedModel:
    """One version of a model, from the moment it is known to exist.

    >>> model = find_models(Path("saved_models"))[1]
    >>> model.state
    'START'
    >>> model.load()
    >>> model.state
    'AVAILABLE'
    >>> answer = model.run("serving_default", {"text": np.array([b"A fine film."], object)}, seconds=30)
    >>> answer["label"].tolist()
    [b'positive']

    Args:
        name: that requests have for it.
        version: its number.
        path: its SavedModel.
    """

    def __init__(self, name: str, version: int, path: Path):
        self.name, self.version, self.path = name, version, path
        self.labels = {"stable": version}
        self.state = "START"
        self.error = ""
        self.signatures: dict[str, Signature] = {}
        self._session: Any = None
        self._signature_def: Any = None

    def load(self) -> None:
        """Load the model and run its warm-up requests; what goes wrong is told by `status`, as in the server."""
        import tensorflow as tf

        self.state = "LOADING"
        try:
            # A session and not `tf.saved_model.load`: it loads in a quarter of the time, and what is asked of it can be
            # given a time, after which its loops stop. Small products are quickest on one thread each.
            config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=2)
            refuse_foreign_operations(self.path)
            graph = tf.Graph()
            with graph.as_default():
                self._session = tf.compat.v1.Session(graph=graph, config=config)
                found = tf.compat.v1.saved_model.load(self._session, ["serve"], str(self.path))
            graph.finalize()
            self._signature_def = found.signature_def
            self.signatures = {name: _signature(one) for name, one in found.signature_def.items() if one.outputs}
            self._warm_up()
        except Exception as error:  # TensorFlow raises a dozen kinds for a damaged model
            self.state = "END"
            self.error = _message(error) or type(error).__name__
            return
        self.state = "AVAILABLE"

    def _warm_up(self) -> None:
        if not (self.path / WARM_UP_FILE).is_file():
            return
        try:
            from tensorflow_serving.apis import prediction_log_pb2
        except ImportError:  # then the first request of each signature is slower
            return
        import tensorflow as tf

        for record in tf.data.TFRecordDataset(str(self.path / WARM_UP_FILE)).as_numpy_iterator():
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            arrays = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            self.run(request.model_spec.signature_name, arrays, seconds=limits.SECONDS)

    def signature(self, name: str) -> Signature:
        """What is known of a signature.

        Raises:
            RefusedError: 503 while the model loads, 404 where it could not be loaded, 400 for an unknown signature.
        """
        if self.state in ("START", "LOADING"):
            raise RefusedError(503, f"the model {self.name} is being loaded: try again in a moment")
        if self.state != "AVAILABLE":
            raise RefusedError(404, f"Servable not found for request: Latest({self.name})")
        if name not in self.signatures:
            raise RefusedError(400, f'Serving signature name: "{name[:100]}" not found in signature def')
        return self.signatures[name]

    def run(self, name: str, inputs: Mapping[str, np.ndarray], seconds: float) -> dict[str, np.ndarray]:
        """What a signature makes of inputs, each with its dtype, strings as objects of bytes.

        Raises:
            RefusedError: with the status of TensorFlow's error; 504 for work that takes longer.
        """
        import tensorflow as tf

        signature = self.signatures[name]
        options = tf.compat.v1.RunOptions(timeout_in_ms=max(1, int(seconds * 1000)))
        feeds = {signature.feeds[key]: value for key, value in inputs.items()}
        try:
            found = self._session.run(signature.fetches, feeds, options=options)
        except tf.errors.DeadlineExceededError:
            raise RefusedError(504, "Timed out waiting for notification") from None
        except tf.errors.OpError as error:
            raise RefusedError(STATUS_OF_CODE.get(error.error_code, 500), _message(error)) from None
        return {key: np.asarray(value) for key, value in found.items()}

    def status(self) -> dict[str, Any]:
        """A `ModelVersionStatus` in its JSON form."""
        code = "OK" if not self.error else "UNKNOWN"
        return {
            "version": str(self.version),
            "state": self.state,
            "status": {"error_code": code, "error_message": self.error},
        }

    def metadata(self) -> dict[str, Any]:
        """A `GetModelMetadataResponse` in the JSON form that the server gives it."""
        from google.protobuf import json_format

        self.signature(next(iter(self.signatures), ""))  # whether it is there
        told = {
            name: json_format.MessageToDict(
                one, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
            for name, one in sorted(self._signature_def.items())
        }
        return {
            "model_spec": {"name": self.name, "signature_name": "", "version": str(self.version)},
            "metadata": {"signature_def": {"signature_def": told}},
        }


def _signature(definition: Any) -> Signature:
    from tensorflow.core.framework import types_pb2

    inputs = {
        name: Input(
            types_pb2.DataType.Name(info.dtype),
            None if info.tensor_shape.unknown_rank else tuple(one.size for one in info.tensor_shape.dim),
        )
        for name, info in sorted(definition.inputs.items())
    }
    return Signature(
        inputs,
        {name: info.name for name, info in definition.inputs.items()},
        {name: info.name for name, info in sorted(definition.outputs.items())},
    )


def _message(error: Exception) -> str:
    """What an error says, less the places in the graph and in this program's files."""
    told = str(getattr(error, "message", None) or error)
    told = told.removeprefix("Graph execution error:").strip()
    return re.split(r"\n\s*\[\[|\n\s*\n|\nDetected at node|\n\s+File ", told)[0].strip()


def serialized_examples(examples: Sequence[Mapping[str, Sequence[Any]]]) -> np.ndarray:
    """Features as serialized `tf.Example`s, `(examples,)`."""
    from tensorflow.core.example import example_pb2

    array = np.empty(len(examples), object)
    for place, features in enumerate(examples):
        message = example_pb2.Example()
        for name, values in features.items():
            feature = message.features.feature[name]
            if values and isinstance(values[0], bytes):
                feature.bytes_list.value.extend(values)
            elif values and isinstance(values[0], float):
                feature.float_list.value.extend(values)
            elif values:
                feature.int64_list.value.extend(values)
        array[place] = message.SerializeToString()
    return array


def check_size(name: str, inputs: Mapping[str, np.ndarray]) -> None:
    """Refuse a request that asks for more rows, or more padding, than `nlp_lstm.playground.limits` allows.

    >>> check_size("score", {"text": np.array([b"a"] * 1000, object)})
    Traceback (most recent call last):
    nlp_lstm.playground.refusal.RefusedError: 1000 rows are more than the 128 that one request may have
    """
    most = limits.MOST_PADDED_BYTES.get(name, limits.MOST_PADDED_BYTES_ELSEWHERE)
    for key, array in inputs.items():
        rows = len(array) if array.ndim else 1
        if rows > limits.MOST_ROWS:
            raise RefusedError(400, f"{rows} rows are more than the {limits.MOST_ROWS} that one request may have")
        if array.dtype == object and rows > 1:
            longest = max(len(one) for one in array.reshape(-1).tolist())
            if rows * longest > most:
                raise RefusedError(
                    400,
                    f"{rows} rows of up to {longest} bytes in {key}, all padded to the longest, are more than the "
                    f"{most} that one request to {name} may have: send fewer at once",
                )


class Deadline:
    """A point in time, `seconds` from now.

    >>> 0 < Deadline(5).left() <= 5
    True
    """

    def __init__(self, seconds: float):
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then.

        Raises:
            RefusedError: 504, if it is past.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise RefusedError(504, "Timed out waiting for notification")
        return left
