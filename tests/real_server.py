"""A TensorFlow Serving with the shipped models, where there is one: `TF_SERVING_URL`, or `tensorflow_model_server`."""

import contextlib
import os
import shutil
import socket
import subprocess
import time

import httpx

from nlp_lstm import cli

PROGRAM = "tensorflow_model_server"
NO_SERVER = f"neither TF_SERVING_URL is set nor {PROGRAM} on the PATH"


def is_there():
    return bool(os.environ.get("TF_SERVING_URL") or shutil.which(PROGRAM))


def config():
    """The shipped models, where they are here."""
    models = "".join(
        f'  config {{ name: "{path.name}" base_path: "{path}" model_platform: "tensorflow" }}\n'
        for path in sorted(cli.SHIPPED_MODELS.iterdir())
        if path.is_dir()
    )
    return f"model_config_list {{\n{models}}}\n"


@contextlib.contextmanager
def real_server(folder, program=PROGRAM):
    """Yield the URL of its REST interface, once all models are there; what was started is stopped in the end."""
    if url := os.environ.get("TF_SERVING_URL"):
        yield url.rstrip("/")
        return
    (folder / "models.config").write_text(config())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, f"--rest_api_port={port}", "--port=0", f"--model_config_file={folder / 'models.config'}"]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 300
            for path in (path for path in cli.SHIPPED_MODELS.iterdir() if path.is_dir()):
                while not _is_available(url, path.name):
                    assert server.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
                    time.sleep(0.2)
            yield url
        finally:
            server.terminate()


def _is_available(url, model):
    try:
        answer = httpx.get(f"{url}/v1/models/{model}", trust_env=False)
    except httpx.TransportError:
        return False
    return any(one.get("state") == "AVAILABLE" for one in answer.json().get("model_version_status", []))
