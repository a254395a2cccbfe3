"""Run programs of this project, each in a process of its own, forked from one that has imported TensorFlow for all.

    python forked_programs.py APP CALLS

To import it takes longer than most calls. `CALLS` is a JSON file, a list of objects: `arguments` of the program, the
paths `out` and `err` of what it writes, and `killed`: null, or a list of a module or `module:class`, a function of it,
and an expression of the function's `arguments` that tells when the process dies there, for good and at once. Standard
output gets a JSON list of exit statuses, negative for a signal.
"""

import json
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
from pathlib import Path

from nlp_lstm import cli


def run_forked(program, calls, folder, env):
    """The exit status and what was written to standard output and error, of each pair of arguments and `killed`."""
    paths = [(folder / f"out_{number}", folder / f"err_{number}") for number in range(len(calls))]
    asked = [
        {"arguments": [str(argument) for argument in arguments], "killed": killed, "out": str(out), "err": str(err)}
        for (arguments, killed), (out, err) in zip(calls, paths, strict=True)
    ]
    (folder / "calls").write_text(json.dumps(asked))
    done = subprocess.run(
        [sys.executable, __file__, program, folder / "calls"], capture_output=True, text=True, env=env, timeout=600
    )
    assert (done.returncode, done.stderr) == (0, "")
    statuses = json.loads(done.stdout)
    return [
        (status, out.read_text("utf-8"), err.read_text("utf-8"))
        for status, (out, err) in zip(statuses, paths, strict=True)
    ]


def die_where(owner, method, when):
    """What it leaves is held against what is done in the tests' own process, where graphs run as they are written."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    owner = pkgutil.resolve_name(owner)
    original = getattr(owner, method)

    def killed(*arguments, **options):
        if eval(when, {"arguments": arguments, "os": os}):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(owner, method, killed)


def become(program, call):
    """In the process that was forked."""
    for descriptor, path in ((1, call["out"]), (2, call["err"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), descriptor)
    if call["killed"]:
        die_where(*call["killed"])
    sys.argv = [program, *call["arguments"]]
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    program, calls = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    cli.import_tensorflow_quietly()
    import keras  # noqa: F401
    import tensorflow as tf

    statuses = []
    for call in calls:
        process = os.fork()
        if not process:
            become(program, call)
            sys.exit()
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
    print(json.dumps(statuses))
