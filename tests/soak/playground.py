"""Drawn requests to the playground's server, as a program of its own: whatever comes, it answers in its form and in
time, goes on, and keeps its memory."""

import base64
import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from soak.drawn_inputs import SENTENCES, WORDS
from soak.findings import Findings

ROOT = Path(__file__).parents[2]

STATUSES = {200, 400, 403, 404, 405, 413, 415, 431, 503, 504}

LONGEST_SECONDS = 60.0
"""For an answer: the server's own limit is half of it."""

THREADS = 4

LARGEST_GROWTH_MB = 150.0
"""Of resident memory when all that was asked is asked again. Shapes never seen before make it grow, until it rests."""

BIKE = ("A man is riding a bike.", "Ein Mann fährt Fahrrad.")

INPUTS: dict[str, dict[str, Any]] = {
    "sentiment": {"serving_default": ["text"], "explain": ["text"], "prefixes": ["text"], "units": ["text"]},
    "translation": {
        "serving_default": ["text"],
        "explain": ["text"],
        "encode": ["text"],
        "n_best": ["text", "beam_size"],
    },
    "char_lm": {
        "serving_default": ["prompt"],
        "generate": ["prompt", "length", "temperature", "top_k", "top_p", "seed"],
        "likeliest": ["prompt", "length", "beam_size"],
        "score": ["text"],
        "encode": ["text"],
        "gates": ["text"],
    },
}


class Program:
    """The playground, started; its memory, and answers to raw requests."""

    def __init__(self, log: Path):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._log = log.open("wb")
        command = [sys.executable, "apps/playground.py", "--port", "0", "--no-open"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        assert self.process.stdout is not None
        found = re.fullmatch(r"http://([\d.]+):(\d+)/\n", self.process.stdout.readline())
        assert found is not None
        self.address = (found[1], int(found[2]))

    def close(self) -> int:
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()
        return status

    def megabytes(self) -> float:
        """Resident memory, by Linux; 0 elsewhere."""
        with contextlib.suppress(OSError):
            found = re.search(r"VmRSS:\s*(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
            return int(found[1]) / 1024 if found else 0.0
        return 0.0

    def predict(self, model: str, request: Any) -> Any:
        url = f"http://{self.address[0]}:{self.address[1]}/v1/models/{model}:predict"
        with urllib.request.urlopen(url, json.dumps(request).encode(), timeout=LONGEST_SECONDS) as answer:
            return json.load(answer)

    def wait_until_loaded(self) -> None:
        deadline = time.monotonic() + 600
        for model in INPUTS:
            while True:
                with urllib.request.urlopen(f"http://{self.address[0]}:{self.address[1]}/v1/models/{model}") as answer:
                    (version,) = json.load(answer)["model_version_status"]
                if version["state"] == "AVAILABLE":
                    break
                assert version["state"] in ("START", "LOADING") and time.monotonic() < deadline, version
                time.sleep(0.2)

    def exchange(self, sent: bytes, wait_for_answer: bool = True) -> bytes:
        """All that comes back for what is sent; the connection is closed then."""
        with socket.create_connection(self.address, timeout=LONGEST_SECONDS) as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(sent)
            if not wait_for_answer:
                return b""
            parts = []
            with contextlib.suppress(ConnectionResetError):  # it was refused before all of it was read
                while part := connection.recv(2**16):
                    parts.append(part)
            return b"".join(parts)


def text(rng: random.Random) -> Any:
    """A text as JSON has it; bytes that are not UTF-8 in base64."""
    kind = rng.randrange(6)
    if kind == 0:
        return {"b64": base64.b64encode(rng.randbytes(rng.randrange(60))).decode()}
    if kind == 1:
        return "".join(
            chr(rng.choice([rng.randrange(32, 127), rng.randrange(0xD7FF), 0x1F600])) for _ in range(rng.randrange(40))
        )
    if kind == 2:
        return rng.choice(SENTENCES) * rng.choice([1, 1, 1, 40])
    return " ".join(rng.choices(WORDS, k=rng.randrange(15)))


def value(rng: random.Random, name: str) -> Any:
    if name in ("text", "prompt"):
        return text(rng)
    if name in ("temperature", "top_p"):
        return rng.choice([rng.random(), rng.random(), 0, -1.5, 1e38])
    if name == "length":
        return rng.choice([rng.randrange(20), rng.randrange(20), -1, -(2**31)]) if rng.randrange(300) else 2**31 - 1
    return rng.choice([rng.randrange(8), rng.randrange(8), -1, 2**31 - 1, -(2**31)])


def good_request(rng: random.Random) -> tuple[str, dict[str, Any]]:
    """A model and what it can answer, by rows or by columns."""
    model = rng.choice(list(INPUTS))
    signature = rng.choice(
        [name for name in INPUTS[model] if model != "sentiment" or name in ("serving_default", "explain")]
    )
    names, rows = INPUTS[model][signature], rng.choice([0, 1, 1, 2, 5])
    if rng.randrange(2):
        return model, {
            "signature_name": signature,
            "inputs": {name: [value(rng, name) for _ in range(rows)] for name in names},
        }
    return model, {
        "signature_name": signature,
        "instances": [{name: value(rng, name) for name in names} for _ in range(max(1, rows))],
    }


def any_json(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(9 if depth < 4 else 6)
    if kind < 6:
        return rng.choice(
            [None, True, 0, -1, 2**63, 2**200, 1.5, 1e308, "", "a", "\ud800", text(rng), [], {}, {"b64": "="}]
        )
    if kind < 8:
        return [any_json(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {str(text(rng))[:10]: any_json(rng, depth + 1) for _ in range(rng.randrange(4))}


def changed_somewhere(rng: random.Random, node: Any) -> Any:
    """A request with one part of it replaced, left out or doubled."""
    if isinstance(node, dict) and node and rng.randrange(4):
        key = rng.choice(list(node))
        if rng.randrange(6) == 0:
            return {name: part for name, part in node.items() if name != key}
        return {**node, key: changed_somewhere(rng, node[key])}
    if isinstance(node, list) and node and rng.randrange(4):
        place = rng.randrange(len(node))
        return [*node[:place], *([changed_somewhere(rng, node[place])] * rng.choice([1, 1, 2])), *node[place + 1 :]]
    return any_json(rng)


def damaged(rng: random.Random, content: bytes) -> bytes:
    for _ in range(rng.randrange(1, 4)):
        place = rng.randrange(len(content) + 1)
        content = rng.choice(
            [
                content[:place],
                content[:place] + rng.randbytes(rng.randrange(1, 5)) + content[place:],
                content[:place] + content[place + rng.randrange(1, 5) :],
                content[:place]
                + rng.choice([b"[" * 3000, b"{", b'"', b"\\u", b",", b"1e999", b"NaN"])
                + content[place:],
            ]
        )
    return content


PATHS = [
    "/", "/main.js", "/../server.py", "/%2e%2e/%2e%2e/etc/passwd", "/v1/models", "/v1/models/sentiment",
    "/v1/models/sentiment/metadata", "/v1/models/sentiment/versions/1:predict", "/v1/models/sentiment/versions/x",
    "/v1/models/sentiment/labels/stable:classify", "/v1/models/sentiment:regress", "/v1/models/:predict",
    "/v1/models/\u00e9", "//", "/v1/models/a%00b", "*", "http://evil.example/", "/" + "a" * 9000,
]  # fmt: skip


def raw_request(rng: random.Random) -> tuple[bytes, bool]:
    """What is sent, and whether it is a whole request of HTTP that must be answered."""
    model, request = good_request(rng)
    body = json.dumps(request).encode()
    method, path, headers = "POST", f"/v1/models/{model}:predict", {"Host": "localhost", "Connection": "close"}
    kind = rng.randrange(12)
    if kind in (3, 4, 5):
        body = json.dumps(changed_somewhere(rng, request)).encode()
    elif kind == 6:
        body = json.dumps(any_json(rng)).encode()
    elif kind in (7, 8):
        body = damaged(rng, body)
    elif kind == 9:
        method = rng.choice(["GET", "POST", "PUT", "HEAD", "OPTIONS", "TRACE", "BREW"])
        path = rng.choice(PATHS)
        headers |= rng.choice(
            [{}, {"Host": "evil.example"}, {"Origin": "null"}, {"X": "y" * 70_000}, {"Content-Encoding": "gzip"}]
        )
    headers["Content-Length"] = str(len(body))
    is_whole = True
    if kind == 10:
        headers["Content-Length"] = rng.choice(["-1", "x", "1" * 30, str(len(body) + 5), "0"])
        is_whole = False
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {told}" for name, told in headers.items()), "", ""]
    sent = "\r\n".join(lines).encode("utf-8") + body
    if kind == 11:
        sent, is_whole = damaged(rng, sent), False
    return sent, is_whole


def check_answer(found: Findings, sent: bytes, answer: bytes, seconds: float) -> None:
    told = f"for {sent[:600]!r} came {answer[:300]!r} after {seconds:.1f} s"
    head, separator, body = answer.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
    if not found.check(bool(status and separator), told):
        return
    assert status is not None
    found.count(f"status {int(status[1])}")
    found.check(int(status[1]) in STATUSES, told)
    if b"application/json" in head and not sent.startswith(b"HEAD"):
        try:
            answered = json.loads(body.decode("utf-8"), parse_constant=lambda name: 1 / 0)
            is_right = isinstance(answered, dict) and ((int(status[1]) == 200) != ("error" in answered))
        except (ValueError, ZeroDivisionError):
            is_right = False
        found.check(is_right, told)


def ask(program: Program, requests: int, rng: random.Random, found: Findings, lock: threading.Lock) -> None:
    for number in range(requests):
        sent, is_whole = raw_request(rng)
        started = time.monotonic()
        try:
            # Of what is no whole request the server may wait for the rest.
            answer = program.exchange(sent, wait_for_answer=is_whole)
        except OSError as error:
            with lock:
                found.check(False, f"for {sent[:600]!r} came {error!r} after {time.monotonic() - started:.1f} s")
            continue
        seconds = time.monotonic() - started
        with lock:
            found.count("requests")
            found.largest("slowest s", seconds)
            if is_whole:
                check_answer(found, sent, answer, seconds)
        if number % 25 == 24:
            with contextlib.suppress(urllib.error.HTTPError):  # it may have too much to do just now
                told = program.predict("translation", {"instances": [BIKE[0]]})["predictions"][0]["translation"]
                with lock:
                    found.check(told == BIKE[1], f"it translates {BIKE[0]!r} as {told!r}")


def ask_from_threads(program: Program, requests: int, seed: int, found: Findings, lock: threading.Lock) -> None:
    threads = [
        threading.Thread(
            target=ask, args=(program, -(-requests // THREADS), random.Random(f"{seed} {number}"), found, lock)
        )
        for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def soak(requests: int, folder: Path, seed: int) -> Findings:
    """So many requests, from several threads, the second half of them those of the first again."""
    folder.mkdir(parents=True, exist_ok=True)
    found, lock = Findings("playground"), threading.Lock()
    program = Program(folder / "log")
    try:
        program.wait_until_loaded()
        for number in range(60):
            model, request = good_request(random.Random(number))
            with contextlib.suppress(urllib.error.HTTPError):
                program.predict(model, request)
        before = program.megabytes()
        ask_from_threads(program, -(-requests // 2), seed, found, lock)
        after = program.megabytes()
        ask_from_threads(program, requests // 2, seed, found, lock)
        again = program.megabytes()
        found.figures |= {
            "MB before": round(before),
            "MB after half of them": round(after),
            "MB in the end": round(again),
        }
        told = f"asked the same again, its memory grew from {after:.0f} to {again:.0f} MB"
        found.check(again <= after + LARGEST_GROWTH_MB, told)
        told = program.predict("translation", {"instances": [BIKE[0]]})["predictions"][0]["translation"]
        found.check(told == BIKE[1], f"in the end it translates {BIKE[0]!r} as {told!r}")
    finally:
        status = program.close()
    found.check(status == 0, f"it ended with {status}")
    log = (folder / "log").read_text("utf-8", "replace")
    found.check("Traceback" not in log, f"it told {log[-1500:]}")
    return found
