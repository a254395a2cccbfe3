"""The playground as its users start it: what it says to mistakes, and that it starts, answers and ends."""

import asyncio
import functools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import command_line
import pytest

from nlp_lstm.playground.commands import _listening, app

ROOT = Path(__file__).parents[2]
call = functools.partial(command_line.call, app)


class TestMistakes:
    def test_models(self, tmp_path):
        assert call("--models", tmp_path / "none").is_mistake("--models", tmp_path / "none")
        (tmp_path / "sentiment").mkdir()
        assert call("--models", tmp_path).is_mistake("no model below", tmp_path)

    @pytest.mark.parametrize("url", ["localhost:8501", "grpc://localhost:8500", "http://"])
    def test_server(self, url):
        assert call("--server", url).is_mistake(f"--server is '{url}'", "http://localhost:8501")

    def test_models_or_a_server(self, tmp_path):
        assert call("--server", "http://localhost:1", "--models", tmp_path).is_mistake("--models and --server")

    def test_port(self):
        assert call("--server", "http://localhost:1", "--port", "65536").is_mistake("--port is 65536")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            assert call("--server", "http://localhost:1", "--port", port).is_mistake(f"127.0.0.1:{port}", "--port")


def test_help_is_told_without_what_takes_seconds_to_import():
    script = """
import sys
from nlp_lstm import cli
from nlp_lstm.playground.commands import app
assert cli.run(app, ["--help"]) == 0
assert cli.run(app, ["--port", "none"]) == 2
print(sorted({"tensorflow", "keras", "numpy", "uvicorn", "starlette"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert "--allow-host" in done.stdout


@pytest.mark.thorough
def test_it_starts_answers_and_ends():
    command = [sys.executable, "apps/playground.py", "--port", "0", "--no-open"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as program:
        try:
            url = program.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)
            with urllib.request.urlopen(url) as page:  # before any model is there
                assert b"<!doctype html>" in page.read().lower()
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                with urllib.request.urlopen(f"{url}v1/models/translation") as answer:
                    (version,) = json.load(answer)["model_version_status"]
                if version["state"] == "AVAILABLE":
                    break
                assert version["state"] in ("START", "LOADING"), version
                time.sleep(0.2)
            request = urllib.request.Request(
                f"{url}v1/models/translation:predict", b'{"instances": ["A man is riding a bike."]}'
            )
            with urllib.request.urlopen(request) as answer:
                (prediction,) = json.load(answer)["predictions"]
            assert prediction["translation"] == "Ein Mann fährt Fahrrad."
        finally:
            program.send_signal(signal.SIGINT)
        assert program.wait(timeout=30) == 0


def test_a_small_answer_does_not_wait_for_an_acknowledgement():
    found = []

    async def accepted(_, writer):
        found.append(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async def connect():
        with _listening("127.0.0.1", 0) as listening:
            async with await asyncio.start_server(accepted, sock=listening):
                reader, writer = await asyncio.open_connection(*listening.getsockname())
                assert await reader.read() == b""
                writer.close()

    asyncio.run(connect())
    assert [bool(one) for one in found] == [True]
