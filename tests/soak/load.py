"""Threads that ask every signature of several models together for a while, in C++ and without Python in the process:
no error, no other answer than at first, and memory that stays what it is after a warm-up."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
from loader_program import build, in_bytes
from rest_requests import char_lm_inputs, sentiment_inputs, translation_inputs

from nlp_lstm import saved_model
from soak.findings import Findings

THREADS = 4

TEXTS = [b"A man is riding a bike.", b"", "Two dogs, 😀 and a child\u2019s ball.".encode(), b"\xff\x00 not UTF-8"]

LARGEST_GROWTH = 0.05
"""Of resident memory from the end of the warm-up to the end."""


def inputs_of(model: Path) -> dict:
    """Inputs of every signature of a model that ships, each of a few rows."""
    signatures = saved_model.load(model).signatures
    if "step" in signatures:
        specs = signatures["step"].structured_input_signature[1]
        state = [name for name in specs if name != "char"]
        return char_lm_inputs(TEXTS, state, specs[state[0]].shape[1])
    inputs = translation_inputs(TEXTS) if "n_best" in signatures else sentiment_inputs(TEXTS)
    return {name: inputs[name] for name in signatures}


def soak(models: Path, seconds: float, folder: Path, program: Path | None = None) -> Findings:
    """Ask every signature of the models below a folder for so long.

    Args:
        models: a folder of folders of versions.
        seconds: after a warm-up of a fifth of it.
        folder: for the program and what it reads.
        program: the C++ loader, if it is built already.
    """
    found = Findings("load")
    if program is None and shutil.which("g++") is None:
        found.figures["skipped"] = "there is no g++ to build the C++ loader"
        return found
    folder.mkdir(parents=True, exist_ok=True)
    program = program or build(folder)
    arguments: list[Path] = []
    asked: dict[str, str] = {}
    for base in sorted(path for path in models.iterdir() if saved_model.versions(path)):
        version = saved_model.resolve(base)
        inputs = inputs_of(version)
        (folder / base.name).write_bytes(in_bytes(inputs))
        arguments += [version, folder / base.name]
        asked |= {f"{version} {name}": f"{base.name} {name}" for name in inputs}
    command = [program, "--for", str(seconds), str(THREADS), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600 + 10 * seconds)
    if not found.check(done.returncode == 0, f"ended with {done.returncode}: {done.stderr[-1500:]}"):
        return found
    told = json.loads(done.stdout)
    times = [np.array(one) for one in told["calls"].values()]
    all_times = np.concatenate(times)
    _, warm, last = (kilobytes / 1024 for kilobytes in told["rss_kb"])
    found.figures |= {
        "signatures": len(asked),
        "threads": THREADS,
        "calls": len(all_times),
        "p50 / p95 / p99 ms": " / ".join(f"{value:.1f}" for value in np.percentile(all_times, (50, 95, 99))),
        "MB after warm-up": round(warm, 1),
        "MB at the end": round(last, 1),
    }
    found.check(told["calls"].keys() == asked.keys(), f"asked {sorted(told['calls'])} and not {sorted(asked)}")
    for name, one in zip(told["calls"], times, strict=True):
        if found.check(len(one) > 0, f"{asked.get(name, name)} was never asked"):
            p50, p95, p99 = np.percentile(one, (50, 95, 99))
            found.figures[asked.get(name, name)] = f"{len(one)} calls, {p50:.1f} / {p95:.1f} / {p99:.1f} ms"
    found.check(told["errors"] == 0, f"{told['errors']} errors: {done.stderr[-1500:]}")
    found.check(told["wrong"] == 0, f"{told['wrong']} answers other than the first: {done.stderr[-1500:]}")
    found.check(last <= warm * (1 + LARGEST_GROWTH) + 16, f"memory grew from {warm:.1f} to {last:.1f} MB")
    return found
