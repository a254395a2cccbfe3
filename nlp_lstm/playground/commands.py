"""The playground: a page on which to watch the three models, and the small server behind it."""

import socket
import sys
import threading
import webbrowser
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from nlp_lstm import cli
from nlp_lstm.errors import UserError

app = App(name="playground", help=__doc__, version_flags=[])


@app.default
def playground(
    *,
    models: Path | None = None,
    server: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    open_page: Annotated[bool, Parameter(name="--open", negative="--no-open")] = True,
    allow_host: tuple[str, ...] = (),
) -> None:
    """Serve the page and the models until stopped with Ctrl-C.

    Models are asked by TensorFlow Serving's REST protocol: `http://HOST:PORT/v1/models/sentiment:predict`.

    Parameters
    ----------
    models
        A folder of models, each a folder of versions of which the highest counts; by default the shipped ones.
    server
        Do not load models, but pass requests on to this TensorFlow Serving, such as `http://localhost:8501`.
    host
        The address to listen at; by default of this machine alone.
    port
        0 for any that is free.
    open_page
        Open the page in the browser.
    allow_host
        A name by which this server may be asked, besides localhost and addresses in numbers.
    """
    if server is not None and models is not None:
        raise UserError("--models and --server both name what answers: give one of the two")
    try:
        import uvicorn

        from nlp_lstm.playground.server import OwnModels, own_app, passing_on_app
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        raise UserError(
            f'the playground needs packages that are not installed, such as {missing}: pip install "nlp_lstm[play]"'
        ) from None
    names = [*allow_host, *([] if host in ("0.0.0.0", "::") else [host])]
    if server is not None:
        asgi = passing_on_app(checked_url("--server", server), names)
    else:
        asgi = own_app(OwnModels(_models_below(models)), names)
    listening = _listening(host, port)
    url = _url(host, listening.getsockname()[1])
    config = uvicorn.Config(
        asgi, log_level="warning", access_log=False, timeout_graceful_shutdown=1, ws="none", server_header=False
    )
    _when_started(uvicorn.Server(config), listening, url, open_page)


def checked_url(flag: str, url: str) -> str:
    """A URL of a server without its last slash.

    >>> checked_url("--server", "http://localhost:8501/")
    'http://localhost:8501'
    >>> checked_url("--server", "localhost:8501")
    Traceback (most recent call last):
    nlp_lstm.errors.UserError: --server is 'localhost:8501': expected a URL such as http://localhost:8501
    """
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        is_one = False
    if not is_one:
        raise UserError(f"{flag} is '{url}': expected a URL such as http://localhost:8501")
    return url.rstrip("/")


def _models_below(folder: Path | None) -> list[Any]:
    from nlp_lstm.playground.served_model import find_models

    if folder is None:
        folder = cli.SHIPPED_MODELS
        if not folder.is_dir():
            raise UserError("no models were installed with this program: name a folder of them with --models")
    try:
        found = find_models(folder)
    except OSError as error:
        raise UserError(f"cannot read --models '{folder}': {error.strerror}") from None
    if not found:
        raise UserError(
            f"no model below '{folder}': name a folder of models, each with numbered versions, with --models"
        )
    return found


def _listening(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65_535:
        raise UserError(f"--port is {port}: expected 0 to 65535")
    listening = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # Only where a socket names TCP does asyncio send at once what it has (TCP_NODELAY). Otherwise the body of a
        # small answer waits until the client has acknowledged its head, which clients put off by 40 ms.
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        if listening is not None:
            listening.close()
        raise UserError(
            f"cannot listen at {host}:{port} ({error.strerror}): name another --port, or 0 for any that is free"
        ) from None
    return listening


def _url(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}/"


def _when_started(server: Any, listening: socket.socket, url: str, open_page: bool) -> None:
    """Serve, and tell where and open the page once it can be had."""

    def tell() -> None:
        while not server.started:
            if ended.wait(0.02):
                return
        print(url, flush=True)
        if open_page and sys.stdout.isatty():
            webbrowser.open(url)

    ended = threading.Event()
    threading.Thread(target=tell, daemon=True).start()
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:  # Ctrl-C is how one ends it, and no mistake
        pass
    finally:
        ended.set()
