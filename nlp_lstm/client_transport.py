"""How requests reach a server: by REST, or by gRPC; with timeouts, and tried again where that makes sense.

Nothing here imports TensorFlow, but for gRPC: the protos of tensorflow-serving-api bring it along.
"""

import base64
import json
import random
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import numpy as np

from nlp_lstm.errors import UserError

LONGEST_PAUSE = 5.0
"""Seconds between one try and the next."""


class ServingError(UserError):
    """A server that cannot be reached, or does not answer what it was asked.

    >>> raise ServingError("the server at 'http://localhost:8501' has no model 'sentiment'", status=404)
    Traceback (most recent call last):
    nlp_lstm.client_transport.ServingError: the server at 'http://localhost:8501' has no model 'sentiment'

    Args:
        message: one line: what, where, how to mend it.
        status: that of HTTP, or None where there was no answer.
    """

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.status = status


class NoSignatureError(ServingError):
    """The model has no signature of that name."""


class Ask(NamedTuple):
    """A signature to be asked, its inputs by name as arrays `(batch, ...)`."""

    model: str
    signature: str
    inputs: Mapping[str, np.ndarray]
    only_output: str = ""
    """The name of the output of a signature that has one alone: REST leaves it out."""


class AskInputs(NamedTuple):
    """What inputs a signature has is to be asked."""

    model: str
    signature: str


Answer = dict[str, Any]
"""Outputs by name, each lists in lists or an array; strings are `str` or `bytes`. Of `AskInputs` names to shapes."""


class Patience(NamedTuple):
    """How long to wait for a server, and how often to try again."""

    timeout: float = 35.0
    """Seconds for each try; TensorFlow Serving itself gives up after 30."""
    retries: int = 5
    """Further tries after 503 and after errors of the connection: nothing else is tried again."""
    first_pause: float = 0.1
    """Seconds; each further pause is twice as long, and each of them shortened by chance by up to a half."""

    def pause(self, tries: int, retry_after: str | None = None) -> float:
        """Seconds to wait after so many tries, at least those that the server asks for.

        >>> 0.2 <= Patience().pause(3) <= 0.4
        True
        """
        pause = self.first_pause * 2 ** (tries - 1) * random.uniform(0.5, 1.0)
        asked = float(retry_after) if retry_after and retry_after.isdecimal() else 0.0
        return min(max(pause, asked), LONGEST_PAUSE)


def is_grpc(url: str) -> bool:
    """Whether a URL is one of gRPC.

    >>> is_grpc("grpc://localhost:8500")
    True
    """
    return url.startswith("grpc://")


def checked_url(url: str) -> str:
    """The URL of a server without its last slash.

    >>> checked_url("http://localhost:8501/")
    'http://localhost:8501'
    >>> checked_url("localhost:8501")
    Traceback (most recent call last):
    nlp_lstm.errors.UserError: 'localhost:8501' is no server's URL: expected such as http://localhost:8501 or
    grpc://localhost:8500
    """
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("http", "https", "grpc") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        is_one = False
    if not is_one or any(character.isspace() for character in url):
        raise UserError(f"'{url}' is no server's URL: expected such as http://localhost:8501 or grpc://localhost:8500")
    return url.rstrip("/")


class Rest:
    """What is sent to a server by REST and what is made of its answers, whoever sends it.

    Args:
        url: of the server.
        label: of the version to ask, such as `canary`; the latest without one.
    """

    def __init__(self, url: str, label: str = ""):
        self.url = url
        self._label = label

    def request(self, ask: Ask | AskInputs) -> tuple[str, str, bytes | None]:
        """The method, the URL and the body of a request."""
        which = f"/labels/{quote(self._label, safe='')}" if self._label else ""
        base = f"{self.url}/v1/models/{quote(ask.model, safe='')}{which}"
        if isinstance(ask, AskInputs):
            return "GET", f"{base}/metadata", None
        inputs = {name: _jsonable(value) for name, value in ask.inputs.items()}
        body = json.dumps({"signature_name": ask.signature, "inputs": inputs}, ensure_ascii=False)
        return "POST", f"{base}:predict", body.encode("utf-8")

    def answer(self, ask: Ask | AskInputs, status: int, content: bytes) -> Answer:
        """The outputs in an answer.

        Raises:
            ServingError: if it is an error, or no answer of the protocol.
        """
        try:
            found = json.loads(content)
        except ValueError:
            found = None
        if status != 200:
            raise self._complaint(ask, status, found)
        try:
            if isinstance(ask, AskInputs):
                signatures = found["metadata"]["signature_def"]["signature_def"]
                if ask.signature not in signatures:
                    raise self.no_signature(ask)
                inputs = signatures[ask.signature]["inputs"]
                return {
                    name: [int(one["size"]) for one in info["tensor_shape"]["dim"]] for name, info in inputs.items()
                }
            outputs = found["outputs"]
        except (KeyError, TypeError):
            raise self._no_server() from None
        return outputs if isinstance(outputs, dict) and not ask.only_output else {ask.only_output: outputs}

    def _complaint(self, ask: Ask | AskInputs, status: int, found: Any) -> ServingError:
        told = found.get("error") if isinstance(found, dict) else None
        if not isinstance(told, str):
            return self._no_server(status)
        told = " ".join(told.split())[:300]
        if status == 404:
            return ServingError(
                f"the server at '{self.url}' has no model '{ask.model}' ({told}): look what it serves", status
            )
        if status == 503:
            return ServingError(f"the server at '{self.url}' is not ready ({told}): try again later", status)
        if status == 504:
            return ServingError(
                f"the server at '{self.url}' gave '{ask.signature}' of '{ask.model}' up ({told}): ask for less at once",
                status,
            )
        return ServingError(
            f"the server at '{self.url}' refuses '{ask.signature}' of '{ask.model}' with {status}: {told}", status
        )

    def no_signature(self, ask: AskInputs) -> NoSignatureError:
        """For a signature that a model has not."""
        return NoSignatureError(
            f"the model '{ask.model}' at '{self.url}' has no signature '{ask.signature}': it is another's, or of before"
        )

    def _no_server(self, status: int | None = None) -> ServingError:
        answer = f"it answers {status}" if status else "its answer is none"
        return ServingError(
            f"what is at '{self.url}' does not speak TensorFlow Serving's REST protocol ({answer}): name the URL of a "
            "server, such as http://localhost:8501",
            status,
        )

    def unreachable(self, error: Exception) -> ServingError:
        """For an error of the connection."""
        return ServingError(
            f"cannot reach a server at '{self.url}' ({_reason(error)}): start one, or name another's URL"
        )

    def timed_out(self, timeout: float) -> ServingError:
        """For an answer that did not come."""
        return ServingError(
            f"the server at '{self.url}' gave no answer within {timeout:g} s: ask for less at once, or wait longer"
        )


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _jsonable(array: np.ndarray) -> Any:
    """An array as JSON has it: bytes as text where they are UTF-8, else in base64."""
    return [_as_text(one) for one in array.tolist()] if array.dtype == object else array.tolist()


def _as_text(value: bytes) -> Any:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode("ascii")}


class Grpc:
    """Requests by gRPC to a TensorFlow Serving.

    Args:
        url: such as `grpc://localhost:8500`; without encryption.
        patience: how long to wait, and how often to try again.
        label: of the version to ask; the latest without one.

    Raises:
        UserError: if grpcio or tensorflow-serving-api is missing.
    """

    def __init__(self, url: str, patience: Patience, label: str = ""):
        try:
            import grpc
            import tensorflow as tf
            from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc
        except ModuleNotFoundError as error:
            missing = str(error.name).partition(".")[0]
            raise UserError(f'gRPC needs {missing}, which is not installed: pip install "nlp_lstm[client]"') from None
        self._grpc, self._tf, self._predict_pb2, self._metadata_pb2 = grpc, tf, predict_pb2, get_model_metadata_pb2
        self.url, self.patience, self._label = url, patience, label
        # Messages of any size, as REST has them: gRPC's own limit of 4 MB is less than an answer of `gates`.
        sizes = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        self._channel = grpc.insecure_channel(url.removeprefix("grpc://"), options=sizes)
        self._service = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._rest = Rest(url)  # for what it says of errors

    def close(self) -> None:
        """Give the connection up."""
        self._channel.close()

    def ask(self, ask: Ask | AskInputs) -> Answer:
        """The outputs of a signature.

        Raises:
            ServingError: if there is no answer, or an error.
        """
        if isinstance(ask, AskInputs):
            return self._inputs(ask)
        request = self._predict_pb2.PredictRequest()
        self._name(request.model_spec, ask.model)
        request.model_spec.signature_name = ask.signature
        for name, value in ask.inputs.items():
            dtype = self._tf.string if value.dtype == object else value.dtype
            request.inputs[name].CopyFrom(self._tf.make_tensor_proto(value, dtype, value.shape))
        answer = self._call(self._service.Predict, request, ask)
        return {name: self._tf.make_ndarray(value) for name, value in answer.outputs.items()}

    def _inputs(self, ask: AskInputs) -> Answer:
        request = self._metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._name(request.model_spec, ask.model)
        answer = self._call(self._service.GetModelMetadata, request, ask)
        found = self._metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(found)
        if ask.signature not in found.signature_def:
            raise self._rest.no_signature(ask)
        inputs = found.signature_def[ask.signature].inputs
        return {name: [one.size for one in info.tensor_shape.dim] for name, info in inputs.items()}

    def _name(self, spec: Any, model: str) -> None:
        spec.name = model
        if self._label:
            spec.version_label = self._label

    def _call(self, method: Any, request: Any, ask: Ask | AskInputs) -> Any:
        import time

        code_of = self._grpc.StatusCode
        for tries in range(1, self.patience.retries + 2):
            try:
                return method(request, timeout=self.patience.timeout)
            except self._grpc.RpcError as error:
                code, told = error.code(), str(error.details())
                if code == code_of.UNAVAILABLE and tries <= self.patience.retries:
                    time.sleep(self.patience.pause(tries))
                    continue
                if code == code_of.UNAVAILABLE:
                    raise self._rest.unreachable(ConnectionError(told)) from None
                if code == code_of.DEADLINE_EXCEEDED:
                    raise self._rest.timed_out(self.patience.timeout) from None
                status = {code_of.NOT_FOUND: 404}.get(code, 400)
                raise self._rest._complaint(ask, status, {"error": told}) from None
        raise AssertionError("the last try returns or raises")
