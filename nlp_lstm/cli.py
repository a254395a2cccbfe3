"""What the apps share on the command line: flags out of dataclasses, where texts come from, how mistakes are told."""

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cyclopts import App, CycloptsError

from nlp_lstm.datasets.encodings import STANDARD_INPUT, decode, plain_line_ends
from nlp_lstm.errors import UserError

SHIPPED_MODELS = Path(__file__).resolve().parent.parent / "saved_models"


@contextmanager
def _standard_error_closed() -> Iterator[None]:
    """Send what C++ code writes to file descriptor 2 nowhere; Python's own errors are raised, not written."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def import_tensorflow_quietly() -> None:
    """Import TensorFlow without its start-up notices, which would bury a one-line error."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with _standard_error_closed():
        import tensorflow  # noqa: F401


def run(app: App, arguments: list[str] | None = None) -> int:
    """Run an app and return the exit status: 0, 2 after a user's mistake, which is told in one line, or 130.

    >>> sys.exit(run(app))
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # JSON is UTF-8, and no text must fail in a terminal's encoding
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    app.suppress_keyboard_interrupt = False  # cyclopts would leave without a word
    try:
        app(arguments, print_error=False, exit_on_error=False, result_action="return_none")
        print(end="", flush=True)  # a pipe closed by its reader is met here and not when Python ends
    except (CycloptsError, UserError) as error:
        print(f"{app.name[0]}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print(f"{app.name[0]}: stopped", file=sys.stderr)
        return 130
    return 0


def texts_from(arguments: tuple[str, ...], file: Path | None, encoding: str = "") -> list[bytes]:
    """The texts to work on: the arguments, the lines of a file, or those of standard input.

    Arguments stay the bytes they are, since the model mends what is not UTF-8. A file is decoded
    (`nlp_lstm.datasets.encodings`) and given as UTF-8.

    Raises:
        UserError: for both arguments and a file or encoding, no text at all, or a file that cannot be read.
    """
    if arguments and file:
        raise UserError("give texts as arguments or a --file, not both")
    if arguments and encoding:
        raise UserError("--encoding is that of a --file or of standard input: leave it out, or name a --file")
    if arguments:
        return [os.fsencode(argument) for argument in arguments]
    if file is None:
        if sys.stdin is None or sys.stdin.isatty():
            raise UserError("no text: give it as an argument, name a --file, or pipe lines in")
        name, content = STANDARD_INPUT, sys.stdin.buffer.read()
    else:
        try:
            name, content = str(file), file.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read --file '{file}': {error.strerror}") from None
    text = plain_line_ends(decode(content, name, encoding)).encode("utf-8")
    lines = text.removesuffix(b"\n").split(b"\n") if text else []
    if not lines:
        raise UserError("no text: " + (f"'{file}' is empty" if file else "standard input is empty"))
    return lines


def text_from(arguments: tuple[str, ...], file: Path | None, encoding: str = "") -> bytes:
    """The one text to work on, with its line breaks: the argument, a file, or standard input.

    A newline at the very end of a file, or of standard input, is not part of it.

    Raises:
        UserError: for several texts, both an argument and a file, none at all, or a file that cannot be read.
    """
    if len(arguments) > 1:
        raise UserError(f"this takes one text, got {len(arguments)}: put quotation marks round it")
    return b"\n".join(texts_from(arguments, file, encoding))


def print_json(value: dict[str, Any]) -> None:
    """Print one JSON object on one line of standard output."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False), flush=True)
