"""The playground's server: the page, and TensorFlow Serving's REST protocol for models of this process or of a server.

What it does otherwise than TensorFlow Serving: a model that still loads is 503 and not 404, so that clients wait for
it; a method that is neither GET nor POST is 405; requests are bounded (`nlp_lstm.playground.limits`); and each model
has one version, the highest, and one label for it, `stable`.
"""

import asyncio
import contextlib
import json
import re
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from nlp_lstm import cli
from nlp_lstm.playground import limits
from nlp_lstm.playground.guards import Guards
from nlp_lstm.playground.refusal import RefusedError
from nlp_lstm.playground.served_model import Deadline, ServedModel, Signature, check_size, serialized_examples
from nlp_lstm.playground.tensor_json import (
    classify_body,
    classify_examples,
    parsed_object,
    predict_body,
    predict_inputs,
    signature_name,
)
from nlp_lstm.playground.worker_pool import WorkerPool

PAGE = Path(__file__).parent / "page"

_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}

_ASKED = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
    r":(?P<method>classify|regress|predict)",
    re.IGNORECASE | re.ASCII,
)
_TOLD = re.compile(
    r"/v1/models(?:/(?P<name>[^/:]+))?(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?(?P<metadata>/metadata)?",
    re.IGNORECASE | re.ASCII,
)


class Bounds(NamedTuple):
    """How much the server takes on; by default what `nlp_lstm.playground.limits` says."""

    body: int = limits.LARGEST_BODY
    seconds: float = limits.SECONDS
    workers: int = limits.WORKERS
    waiting: int = limits.WAITING


class Target(NamedTuple):
    """What the path of a request names."""

    path: str
    name: str
    version: int | None
    label: str | None
    method: str
    """`predict`, `classify`, `regress`, `status` or `metadata`."""


def target_of(http_method: str, path: str) -> Target:
    """What a request is to, by the server's own rules.

    >>> target_of("POST", "/v1/models/sentiment/versions/1:predict")
    Target(path='/v1/models/sentiment/versions/1:predict', name='sentiment', version=1, label=None, method='predict')

    Raises:
        RefusedError: 400 where it is to nothing, 405 for a method of HTTP that nothing takes.
    """
    if http_method not in ("GET", "HEAD", "POST"):
        raise RefusedError(405, f"Method not allowed: {http_method}")
    found = (_ASKED if http_method == "POST" else _TOLD).fullmatch(path)
    if found is None:
        raise RefusedError(400, f"Malformed request: {http_method} {path[:200]}")
    parts = found.groupdict()
    if not parts["name"]:
        raise RefusedError(400, "Missing model name in request.")
    version = None if parts["version"] is None else int(parts["version"][:20])
    if version is not None and version >= 2**63:
        raise RefusedError(400, f"Failed to convert version: {parts['version'][:30]} to numeric.")
    method = parts.get("method") or ("metadata" if parts.get("metadata") else "status")
    return Target(path, parts["name"], version, parts["label"], method.lower())


Answerer = Callable[[Target, bytes, Deadline], bytes]


class OwnModels:
    """Answers for models of this process, in whose place a real server may stand: `PassedOn`.

    Args:
        models: those to serve.
    """

    def __init__(self, models: Sequence[ServedModel]):
        self._models = {model.name: model for model in models}
        self._loader = threading.Thread(target=self._load, name="loader", daemon=True)

    def start(self) -> None:
        """Begin to load the models, in the background."""
        self._loader.start()

    def wait(self) -> None:
        """Wait until each is loaded or has failed to."""
        self._loader.join()

    def _load(self) -> None:
        cli.import_tensorflow_quietly()
        import tensorflow as tf

        tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)  # that sessions are deprecated is no news
        loaders = [
            threading.Thread(target=model.load, name=f"loader of {model.name}", daemon=True)
            for model in self._models.values()
        ]
        for loader in loaders:
            loader.start()
        for loader in loaders:
            loader.join()

    def answer(self, target: Target, body: bytes, deadline: Deadline) -> bytes:
        """The body of the answer.

        Raises:
            RefusedError: with the status and what is told.
        """
        model = self._model(target)
        if target.method == "status":
            return json.dumps({"model_version_status": [model.status()]}, indent=1).encode()
        if target.method == "metadata":
            return json.dumps(model.metadata(), indent=1).encode()
        request = parsed_object(body)
        name = signature_name(request)
        signature = model.signature(name)
        if target.method == "predict":
            inputs, form = predict_inputs(request, signature.inputs)
            return predict_body(_run(model, name, inputs, deadline), form)
        if target.method == "classify":
            return self._classify(model, name, signature, request, deadline)
        raise RefusedError(400, f"Expected regress signature method_name of {name[:100]}")

    def _classify(
        self, model: ServedModel, name: str, signature: Signature, request: Mapping[str, Any], deadline: Deadline
    ) -> bytes:
        if signature.inputs.keys() != {"inputs"} or not signature.fetches.keys() & {"classes", "scores"}:
            raise RefusedError(
                400, f"Expected classification signature, but {name[:100]} has none of its inputs or outputs"
            )
        examples = serialized_examples(classify_examples(request))
        found = _run(model, name, {"inputs": examples}, deadline)
        return classify_body(found["classes"], found["scores"])

    def _model(self, target: Target) -> ServedModel:
        model = self._models.get(target.name)
        if model is None:
            if target.method == "status":
                raise RefusedError(404, f"Could not find any versions of model {target.name[:100]}")
            raise RefusedError(404, f"Servable not found for request: Latest({target.name[:100]})")
        if target.label is not None and target.label not in model.labels:
            raise RefusedError(400, f"Unrecognized servable version label: {target.label[:100]}")
        if target.version not in (None, model.version):
            if target.method == "status":
                raise RefusedError(404, f"Could not find version {target.version} of model {model.name}")
            raise RefusedError(404, f"Servable not found for request: Specific({model.name}, {target.version})")
        return model


def _run(model: ServedModel, name: str, inputs: Mapping[str, np.ndarray], deadline: Deadline) -> dict[str, np.ndarray]:
    check_size(name, inputs)
    return model.run(name, inputs, deadline.left())


def own_app(models: OwnModels, names: Sequence[str] = (), bounds: Bounds = Bounds()) -> Starlette:  # noqa: B008
    """The application for models of this process, which it begins to load when it starts.

    Args:
        models: what is asked.
        names: by which the server may be called, besides those of loopback.
        bounds: how much it takes on.
    """
    pool = WorkerPool(bounds.workers, bounds.waiting)

    async def api(request: Request) -> Response:
        target = target_of(request.method, request.scope["path"])
        body = await _body(request, bounds.body)
        if target.method in ("status", "metadata"):  # a matter of a moment, which must not wait behind work
            return _json(models.answer(target, body, Deadline(bounds.seconds)))
        deadline = Deadline(bounds.seconds)
        future = asyncio.wrap_future(pool.submit(lambda: models.answer(target, body, deadline)))
        return _json(await _while_wanted(request, future, bounds.seconds))

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        models.start()
        yield

    return _app(api, lifespan, names)


def passing_on_app(server: str, names: Sequence[str] = (), bounds: Bounds = Bounds()) -> Starlette:  # noqa: B008
    """The application in front of a real server, to which requests are passed on as they are.

    Args:
        server: its URL, such as `http://localhost:8501`.
        names: by which this server may be called, besides those of loopback.
        bounds: how much it takes on.
    """
    import httpx

    base = server.rstrip("/")
    client: httpx.AsyncClient | None = None

    async def api(request: Request) -> Response:
        target = target_of(request.method, request.scope["path"])
        body = await _body(request, bounds.body)
        assert client is not None
        try:
            # Only what is a path of the protocol, on that server alone.
            sent = client.request(request.method, base + target.path, content=body, headers=_JSON_HEADERS)
            answer = await _while_wanted(request, asyncio.ensure_future(sent), bounds.seconds)
        except httpx.TimeoutException:
            raise RefusedError(504, f"no answer from {base} within {bounds.seconds:g} s") from None
        except httpx.HTTPError as error:
            raise RefusedError(503, f"cannot reach {base}: {error}") from None
        kind = answer.headers.get("content-type", "application/json")
        return Response(answer.content, answer.status_code, {"cache-control": "no-store", "content-type": kind})

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        nonlocal client
        # Without the environment's proxies: what is passed on goes where the user said.
        async with httpx.AsyncClient(timeout=bounds.seconds, trust_env=False) as client:
            yield

    return _app(api, lifespan, names)


_JSON_HEADERS = {"content-type": "application/json"}


def _app(api: Any, lifespan: Any, names: Sequence[str]) -> Starlette:
    async def answered(request: Request) -> Response:
        try:
            return await api(request)
        except RefusedError as refused:
            headers = {
                405: {"allow": "GET, HEAD, POST"},
                413: {"connection": "close"},  # the rest of the body is not waited for
                503: {"retry-after": "1"},
            }.get(refused.status, {})
            return _json(json.dumps({"error": refused.message}).encode(), refused.status, headers)

    async def refused(_: Request, error: Exception) -> Response:
        status = getattr(error, "status_code", 500)
        told = {404: "Not Found", 405: "Method not allowed"}.get(status, "internal error")
        return _json(json.dumps({"error": told}).encode(), status, getattr(error, "headers", None) or {})

    app = Starlette(
        routes=[
            Route("/v1/{rest:path}", answered, methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
            Route("/{name}", page_file),
            Route("/", page_file),
        ],
        middleware=[Middleware(Guards, names=names)],
        exception_handlers={404: refused, 405: refused, 500: refused},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def page_file(request: Request) -> Response:
    """A file of the page. The name is looked for among those that are there, and never becomes part of a path."""
    name = request.path_params.get("name", "index.html")
    files = {path.name: path for path in PAGE.iterdir() if path.suffix in _MEDIA_TYPES}
    if name not in files:
        return _json(b'{"error": "Not Found"}', 404)
    headers = {"cache-control": "no-cache", "content-type": _MEDIA_TYPES[files[name].suffix]}
    return Response(files[name].read_bytes(), headers=headers)


def _json(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    all_headers = {"content-type": "application/json", "cache-control": "no-store", **(headers or {})}
    return Response(body, status, all_headers)


async def _body(request: Request, largest: int) -> bytes:
    """The body of a request, given up at the first byte beyond the largest size."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise RefusedError(415, "this server takes no packed requests: leave out Content-Encoding")
    told = request.headers.get("content-length", "")
    too_large = RefusedError(413, f"a request may have {largest} bytes")
    if told.isdecimal() and int(told[:20]) > largest:
        raise too_large
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > largest:
                raise too_large
            parts.append(part)
    except ClientDisconnect:
        raise RefusedError(499, _GONE) from None  # which nobody reads
    return b"".join(parts)


async def _while_wanted(request: Request, future: "asyncio.Future[Any]", seconds: float) -> Any:
    """Wait for what a request asked for, but not longer than `seconds`, nor than the one who asked does."""
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        done, _ = await asyncio.wait({future, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if future in done:
            return future.result()
        if gone in done:  # nobody reads what is told
            raise RefusedError(499, _GONE)
        raise RefusedError(504, "Timed out waiting for notification")
    finally:
        gone.cancel()
        future.cancel()  # so that what still waits in the queue is left out


_GONE = "the client has gone"


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
