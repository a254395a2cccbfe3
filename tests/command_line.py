"""An app called as from the command line, within this process, and what it came to."""

import contextlib
import io
import json
import sys
from typing import NamedTuple

from nlp_lstm import cli


class Result(NamedTuple):
    app: str
    status: int
    out: str
    err: str

    @property
    def objects(self):
        """What stands on standard output: a JSON object a line and nothing else."""
        assert self.status == 0, self.err
        assert self.out.endswith("\n")
        found = [json.loads(line) for line in self.out[:-1].split("\n")]
        assert all(isinstance(value, dict) for value in found)
        return found

    @property
    def object(self):
        (found,) = self.objects
        return found

    @property
    def text(self):
        """What was printed by a call that has nothing to complain of."""
        assert (self.status, self.err) == (0, "")
        return self.out

    @property
    def lines(self):
        assert self.text.endswith("\n")
        return self.text[:-1].split("\n")

    def is_mistake(self, *fragments):
        """One line, on standard error, that names what is wrong."""
        assert self.status == 2
        assert self.out == ""
        assert self.err.startswith(f"{self.app}: ")
        assert self.err.endswith("\n")
        assert len(self.err.splitlines()) == 1, self.err
        for fragment in fragments:
            assert str(fragment) in self.err
        return True


def call(app, *arguments, stdin=b"", terminal=False):
    """Run an app; arguments become strings."""
    out, err = io.StringIO(), io.StringIO()
    stream = io.TextIOWrapper(io.BytesIO(stdin))
    stream.isatty = lambda: terminal
    before, sys.stdin = sys.stdin, stream
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = cli.run(app, [str(argument) for argument in arguments])
    finally:
        sys.stdin = before
    return Result(app.name[0], status, out.getvalue(), err.getvalue())
