"""Training and export killed at random moments: training resumes to the figures of a run that nothing broke, and what
is served always loads."""

import shutil
from pathlib import Path

import numpy as np

from nlp_lstm import saved_model
from soak.findings import Findings
from soak.programs import Ended, Kill, Programs, size_below
from soak.small_runs import (
    Outcome,
    answers,
    are_alike,
    differences,
    files_below,
    outcome,
    train_command,
    write_data,
)

KILLS_OF_A_RUN = 5
"""At the most, before it may come to its end."""


def draw_kill(rng: np.random.Generator, number: int, whole: Ended, size: int) -> Kill:
    """By the clock, by what is changed in the folder, and by how much stands there, in turn.

    Most of the time goes by while graphs are traced and batches run. The two other kinds fall where files are written.
    """
    kind = number % 3
    if kind == 0:
        return Kill(seconds=float(rng.uniform(0.0, whole.seconds)))
    if kind == 1:
        return Kill(event=int(rng.integers(1, max(2, whole.events + 1))))
    return Kill(size=int(rng.integers(1, max(2, size))))


def kill_training(app: str, kills: int, folder: Path, seed: int, programs: Programs, found: Findings) -> Path | None:
    """Start a run, kill it up to `KILLS_OF_A_RUN` times, let it come to its end, and so on; gives an unbroken run."""
    rng = np.random.default_rng([seed, 0, len(app)])
    data, whole = write_data(app, folder / "data"), folder / "whole"
    ended = programs.run(app, train_command(app, data, whole), whole)
    if not found.check(ended.status == 0, f"{app}: training ended with {ended.status}: {ended.err}"):
        return None
    expected, size = outcome(whole), size_below(str(whole))
    done = runs = finished = 0
    while done < kills:
        run, runs = folder / f"run{runs}", runs + 1
        for _ in range(min(int(rng.integers(1, KILLS_OF_A_RUN + 1)), kills - done)):
            kill = draw_kill(rng, done, ended, size)
            last = programs.run(app, train_command(app, data, run), run, kill)
            if last.status == 0:  # its moment did not come
                break
            found.check(last.status == -9, f"{app}: {kill} of {run.name}: ended with {last.status}: {last.err}")
            done += 1
        last = programs.run(app, train_command(app, data, run), run)
        if found.check(last.status == 0, f"{app}: {run.name} did not go on, with {last.status}: {last.err}"):
            check_outcome(found, app, run, expected)
            finished += 1
        shutil.rmtree(run)
    found.count("kills of training", done)
    found.count("runs that went on to the end", finished)
    return whole


def check_outcome(found: Findings, app: str, run: Path, expected: Outcome) -> None:
    told = differences(outcome(run), expected)
    found.check(not told, f"{app}: {run.name} came to {told}")
    names = {path.name for path in (run / "checkpoints").iterdir() if not path.name.startswith(".")}
    whole = {path.name for path in (run.parent / "whole" / "checkpoints").iterdir()}
    found.check(names == whole, f"{app}: {run.name} has the checkpoints {sorted(names)} instead of {sorted(whole)}")


def kill_export(app: str, kills: int, folder: Path, run: Path, seed: int, programs: Programs, found: Findings) -> None:
    """Export a run again and again; each version that is there must be whole, and the latest must load and answer."""
    rng = np.random.default_rng([seed, 1, len(app)])
    base = folder / "served" / app
    command = ["export", "--run", run, "--to", base]
    ended = programs.run(app, command, base)
    if not found.check(ended.status == 0, f"{app}: export ended with {ended.status}: {ended.err}"):
        return
    expected, first, size = answers(base), files_below(base / "1"), size_below(str(base))
    done = more = 0
    while done < kills:
        before = size_below(str(base))
        kill = draw_kill(rng, done, ended, size)
        if kill.size is not None:
            kill = Kill(size=before + kill.size)
        last = programs.run(app, command, base, kill)
        versions = saved_model.versions(base)
        if last.status == 0:
            more += 1
        else:
            found.check(last.status == -9, f"{app}: {kill}: export ended with {last.status}: {last.err}")
            done += 1
        for version in versions:
            names = files_below(base / str(version)).keys()
            found.check(names == first.keys(), f"{app}: {kill} left version {version} with {sorted(names)}")
        found.check(files_below(base / "1") == first, f"{app}: {kill} changed version 1")
        if versions[-1] > 1:
            found.check(are_alike(answers(base), expected), f"{app}: {kill}: version {versions[-1]} answers otherwise")
            for version in versions[1:]:
                shutil.rmtree(base / str(version))
    last = programs.run(app, command, base)
    found.check(last.status == 0 and last.out == f"{base / '2'}\n", f"{app}: the last export: {last}")
    found.check(are_alike(answers(base), expected), f"{app}: the last export answers otherwise")
    found.count("kills of export", done)
    found.count("exports that came to their end", more + 1)


def soak(app: str, kills: int, folder: Path, seed: int, programs: Programs) -> Findings:
    """So many kills of training, and so many of export."""
    found = Findings(f"kills, {app}")
    run = kill_training(app, kills, folder / app, seed, programs, found)
    if run is not None:
        kill_export(app, kills, folder / app, run, seed, programs, found)
    return found
