"""Run the apps as programs that may be killed, each forked from a process that has imported TensorFlow for all.

To import it takes longer than most of what is run here, and to be killed while importing teaches nothing.
"""

import dataclasses
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

WRITING_EVENTS = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "tempfile.mkdtemp")


@dataclasses.dataclass(frozen=True)
class Kill:
    """When a program dies, for good and at once; of several moments the first counts.

    Args:
        seconds: after its start.
        event: before the so-manieth time that Python changes something below the folder: opens a file to write, makes,
            renames or removes one.
        size: as soon as so many bytes stand below the folder, those of unfinished files counted in.
    """

    seconds: float | None = None
    event: int | None = None
    size: int | None = None


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a program ended: its status, negative for a signal, what it wrote, and how long it took."""

    status: int
    out: str
    err: str
    seconds: float
    events: int

    @property
    def is_mistake_in_one_line(self) -> bool:
        """Whether it ended as users' mistakes do."""
        return self.status == 2 and len(self.err.splitlines()) >= 1 and "Traceback" not in self.err


class Programs:
    """Runs programs one after the other.

    Args:
        folder: for what they write to standard output and error.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        # What is told must not hang on how noisy TensorFlow is; compiling without optimization saves time.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("KERAS_", "PYTEST_"))}
        environment = {
            **kept,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests"))),
        }
        self._server = subprocess.Popen(
            [sys.executable, "-m", "soak.programs"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Programs":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(60)
        self._server.stdout.close()

    def run(
        self,
        app: str,
        arguments: list[Any],
        watched: Path,
        kill: Kill | None = None,
        out: Path | None = None,
        **more: Any,
    ) -> Ended:
        """Run an app's verb to its end.

        Args:
            app: `sentiment`, `char_lm` or `translation`.
            arguments: become strings.
            watched: the folder that `kill` goes by.
            kill: when it is to die.
            out: where standard output goes, by default to a file that is read.
            more: `file_size`, the largest size that a file may have; `stdin`, a path.
        """
        assert self._server.stdin is not None and self._server.stdout is not None
        paths = {"out": out or self.folder / "out", "err": self.folder / "err", "events": self.folder / "events"}
        for path in (self.folder / "out", paths["err"], paths["events"]):
            path.write_bytes(b"")
        call = {
            "program": str(ROOT / "apps" / f"{app}.py"),
            "arguments": [str(one) for one in arguments],
            "watched": str(watched),
            "kill": dataclasses.asdict(kill or Kill()),
            **{name: str(path) for name, path in paths.items()},
            **{name: str(value) if isinstance(value, Path) else value for name, value in more.items()},
        }
        self._server.stdin.write(json.dumps(call) + "\n")
        self._server.stdin.flush()
        answer = json.loads(self._server.stdout.readline())
        return Ended(
            answer["status"],
            "" if out else paths["out"].read_text("utf-8", "replace"),
            paths["err"].read_text("utf-8", "replace"),
            answer["seconds"],
            int(paths["events"].read_text() or 0),
        )


def size_below(folder: str) -> int:
    """Bytes of all files below a folder, which may change meanwhile."""
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    is_folder = entry.is_dir(follow_symlinks=False)
                    total += size_below(entry.path) if is_folder else entry.stat(follow_symlinks=False).st_size
                except OSError:
                    continue
    except OSError:
        pass
    return total


def become(call: dict[str, Any]) -> None:
    """In the process that was forked."""
    import tensorflow as tf

    for descriptor, path in ((1, call["out"]), (2, call["err"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
    os.dup2(os.open(call.get("stdin", os.devnull), os.O_RDONLY), 0)
    # A graph is rewritten before its first run, which takes longer than the runs here.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    events = 0

    def count(name: str, arguments: tuple[Any, ...]) -> None:
        nonlocal events
        if name == "open":
            path, _, flags = arguments
            if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif name in WRITING_EVENTS:
            path = arguments[0]
        else:
            return
        if not isinstance(path, (str, bytes, os.PathLike)) or not os.fsdecode(path).startswith(call["watched"]):
            return
        events += 1
        if events == call["kill"]["event"]:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    if call.get("file_size"):
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (call["file_size"],) * 2)
    sys.argv = [call["program"], *call["arguments"]]
    try:
        runpy.run_path(call["program"], run_name="__main__")
    finally:
        sys.stdout.flush()
        if not call.get("file_size"):
            Path(call["events"]).write_text(str(events))


def wait(process: int, call: dict[str, Any]) -> tuple[int, float]:
    """Until it has ended, or its moment has come."""
    started, kill = time.monotonic(), call["kill"]
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        seconds = time.monotonic() - started
        if found:
            return os.waitstatus_to_exitcode(status), seconds
        is_due = kill["seconds"] is not None and seconds >= kill["seconds"]
        if is_due or (kill["size"] is not None and size_below(call["watched"]) >= kill["size"]):
            os.kill(process, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), seconds
        time.sleep(0.001 if kill["size"] is not None else 0.005)


def serve() -> None:
    """Answer calls, one a line of standard input."""
    from nlp_lstm import cli

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    cli.import_tensorflow_quietly()
    import keras  # noqa: F401

    for line in sys.stdin:
        call = json.loads(line)
        process = os.fork()
        if not process:
            status = 1
            try:
                become(call)
                status = 0
            except SystemExit as ending:
                status = ending.code if isinstance(ending.code, int) else int(bool(ending.code))
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        status, seconds = wait(process, call)
        answers.write(json.dumps({"status": status, "seconds": round(seconds, 2)}) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
