"""Workers that train together on this machine, for trying out what others do on several: started, watched, stopped."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nlp_lstm import cli
from nlp_lstm.cluster import VARIABLE, Cluster, cluster_here, on_this_machine
from nlp_lstm.errors import UserError
from nlp_lstm.workers import ALONE, TRY_AGAIN, Workers

MOST_WORKERS = 64
_SECONDS_TO_STOP = 5.0
_LAST_WORDS = 2000


def train_together(flag: str | None, train: Callable[[Workers], None]) -> None:
    """Train as one of the workers that `TF_CONFIG` names, as a process that starts workers here, or else alone.

    Args:
        flag: `local:N` to start N workers here.
        train: what trains, given the workers that it is one of.

    Raises:
        UserError: for a flag or a `TF_CONFIG` that is no such, or a worker that could not do its part.
        cli.Ended: if a worker failed and has told why.
    """
    number = None if flag is None else _number(flag)
    cluster = cluster_here()
    if cluster is None:
        if number is None:
            train(ALONE)
        else:
            _start(number)
        return
    if number not in (None, len(cluster.addresses)):
        raise UserError(
            f"--workers {flag} starts workers, and {VARIABLE} says that they have been started: give one of the two"
        )
    cli.import_tensorflow_quietly()
    from nlp_lstm.workers_tensorflow import SeveralWorkers  # not before: TensorFlow takes seconds to import

    with SeveralWorkers(cluster, tells=number is None) as workers:
        train(workers)


def _number(flag: str) -> int:
    found = re.fullmatch(r"local:(\d+)", flag)
    if not found or not 2 <= int(found[1]) <= MOST_WORKERS:
        raise UserError(f"--workers is '{flag}': expected local:2 to local:{MOST_WORKERS}")
    return int(found[1])


def _start(number: int) -> None:
    """Run this very command as so many workers, until all have ended, or one has failed and the others are stopped."""
    threads = str(max(1, (os.cpu_count() or 1) // number))
    command = [sys.executable, "-c", "import sys; from nlp_lstm.main import main; sys.exit(main())", *cli.arguments()]
    processes: list[subprocess.Popen] = []
    with tempfile.TemporaryDirectory(prefix="nlp_lstm_workers_") as folder, _stopped_at_the_end(processes):
        words = [Path(folder, str(place)) for place in range(number)]
        for cluster in on_this_machine(number):
            processes.append(subprocess.Popen(command, **_surroundings(cluster, threads, words[cluster.place])))
        failed = _first_that_failed(processes)
        if failed is None:
            return
        status = processes[failed].wait()
        if status == 2:  # a mistake of the user's, which the chief, too, may be about to tell
            with contextlib.suppress(subprocess.TimeoutExpired):
                processes[0].wait(_SECONDS_TO_STOP)
            if processes[0].poll() == 2:
                raise cli.Ended(2)
        said = words[failed].read_text("utf-8", "replace").strip() if failed else ""
        last = said[-_LAST_WORDS:].splitlines()[-1:]
    if status == 2 and last:
        print(*last, file=sys.stderr)
        raise cli.Ended(2)
    if status < 0:
        how = f"was killed ({signal.Signals(-status).name})"
    else:
        how = f"stopped with status {status}" + (f" ({last[0].strip()})" if last else "")
    cli.tell(
        f"worker {failed + 1} of {number} {how}, and the others are stopped: start the same command again, and it "
        "goes on after the last whole epoch"
    )
    raise cli.Ended(TRY_AGAIN if status < 0 else status)


def _surroundings(cluster: Cluster, threads: str, words: Path) -> dict[str, Any]:
    """What a worker is started with: the chief tells all, of the others there is nothing to hear unless they fail."""
    few = dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), threads)
    env = {**few, **os.environ, VARIABLE: cluster.as_tf_config()}
    if cluster.place == 0:
        return {"env": env, "stdin": subprocess.DEVNULL}
    return {"env": env, "stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": words.open("wb")}


def _first_that_failed(processes: list[subprocess.Popen]) -> int | None:
    since = None
    while True:
        statuses = [process.poll() for process in processes]
        failed = [place for place, status in enumerate(statuses) if status]
        # One that has lost another was not the first.
        first = [place for place in failed if statuses[place] != TRY_AGAIN]
        if first:
            return first[0]
        if failed:
            since = since or time.monotonic()
            if None not in statuses or time.monotonic() - since > _SECONDS_TO_STOP:
                return failed[0]
        elif None not in statuses:
            return None
        time.sleep(0.1)


@contextlib.contextmanager
def _stopped_at_the_end(processes: list[subprocess.Popen]) -> Iterator[None]:
    """Stop what still runs in the end, also when this process is told to end."""

    def end(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        for process in processes:
            if process.poll() is None:
                process.terminate()
        until = time.monotonic() + _SECONDS_TO_STOP
        for process in processes:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
