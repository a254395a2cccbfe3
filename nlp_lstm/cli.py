"""What the apps share on the command line: flags, where texts come from, how mistakes are told."""

import errno
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from nlp_lstm import notices
from nlp_lstm.datasets.encodings import STANDARD_INPUT, decode, plain_line_ends
from nlp_lstm.errors import UserError
from nlp_lstm.process_setup import switch_on_onednn
from nlp_lstm.settings import Precision
from nlp_lstm.visible import for_terminal

if TYPE_CHECKING:
    from nlp_lstm.client import Client

SHIPPED_MODELS = Path(__file__).resolve().parent.parent / "saved_models"
"""In a clone of the repository; where the package was installed alone there is no such folder."""

_PROGRAM: ContextVar[str] = ContextVar("_PROGRAM", default="nlp_lstm")
_APPS = ("sentiment", "char_lm", "translation")
_ARGUMENTS: ContextVar[tuple[str, ...]] = ContextVar("_ARGUMENTS", default=())
_OPENED: ContextVar[ExitStack] = ContextVar("_OPENED")
"""What the verb that runs has opened."""

# Flags that several verbs have, with what `--help` says of them.
NewRun = Annotated[
    Path, Parameter(help="Folder for settings, checkpoints, metrics.jsonl, TensorBoard events and curves.png.")
]
LocalWorkers = Annotated[
    str | None,
    Parameter(
        help="`local:2` trains with two processes on this machine, each on its rows of every batch, as a TF_CONFIG "
        "has it on several (docs/several-machines.md)."
    ),
]
FinishedRun = Annotated[Path, Parameter(help="The run's folder.")]
Model = Annotated[
    Path | None,
    Parameter(help="A SavedModel, or a folder of versions of which the latest counts; by default the shipped one."),
]
Run = Annotated[Path | None, Parameter(help="Use this training run instead.")]
JudgedRun = Annotated[
    Path | None,
    Parameter(help="Judge this training run instead, and keep the figures in it for the model card."),
]
Server = Annotated[
    str | None,
    Parameter(
        help="Ask this server instead, such as `http://localhost:8501`: a TensorFlow Serving, by REST or by gRPC "
        "(`grpc://localhost:8500`), or the playground's."
    ),
]
Texts = Annotated[str, Parameter(help="The texts; without them the lines of --file or of standard input.")]
TextFile = Annotated[Path | None, Parameter(help="A text a line.")]
Encoding = Annotated[
    str,
    Parameter(
        help="Encoding of the file, or of standard input, such as `cp1252`; by default UTF-8. A byte order mark "
        "overrules it."
    ),
]
ExportFolder = Annotated[Path, Parameter(help="The model's folder; the next free version number is made below it.")]
ExportPrecision = Annotated[
    Precision,
    Parameter(
        help="Of the products with weights: int8 is quickest and smallest, and needs an x86 server with oneDNN, which "
        "official builds have; in bfloat16 a row's last digits depend on the rows beside it."
    ),
]
Json = Annotated[bool, Parameter(help="Print one JSON object.")]
JsonLines = Annotated[bool, Parameter(help="Print one JSON object a text.")]


class Ended(Exception):
    """Ends the program with a status, all that there is to say having been said."""

    def __init__(self, status: int):
        super().__init__(status)
        self.status = status


@contextmanager
def _standard_error_closed() -> Iterator[None]:
    """Send what C++ code writes to file descriptor 2 nowhere; Python's own errors are raised, not written."""
    if sys.stderr is None:  # it was closed when Python began
        yield
        return
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
    switch_on_onednn()
    with _standard_error_closed():
        import tensorflow  # noqa: F401


class LazyModule:
    """Stands for a module until something of it is used: only then is it imported, and TensorFlow quietly before it.

    >>> inference = LazyModule("nlp_lstm.sentiment.inference")
    >>> inference.TEXTS_IN_BATCH
    64

    So `--help`, and a mistake in a flag, are answered before the seconds that TensorFlow takes.

    Args:
        name: of the module.
        needs_tensorflow: whether it imports TensorFlow.
    """

    def __init__(self, name: str, needs_tensorflow: bool = True):
        self._name, self._needs_tensorflow = name, needs_tensorflow

    def __getattr__(self, attribute: str) -> Any:
        if self._needs_tensorflow and self._name not in sys.modules:
            import_tensorflow_quietly()
        return getattr(import_module(self._name), attribute)


def run(app: App, arguments: list[str] | None = None) -> int:
    """Run an app and return the exit status: 0, 2 after a user's mistake, which is told in one line, or 130.

    >>> app = App(name="shop")
    >>> @app.command
    ... def sell(goods: str) -> None:
    ...     print("sold:", goods)
    >>> run(app, ["sell", "bread"])
    sold: bread
    0
    """
    with _streams_that_lead_somewhere(), ExitStack() as opened:
        if isinstance(sys.stdout, io.TextIOWrapper):  # JSON is UTF-8, and no text must fail in a terminal's encoding
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
        app.suppress_keyboard_interrupt = False  # cyclopts would leave without a word
        called, _ = _PROGRAM.set(_program(app, arguments)), _OPENED.set(opened)
        given = tuple(sys.argv[1:] if arguments is None else arguments)
        # Those of one app alone come behind its name in the command that has all of them.
        _ARGUMENTS.set((app.name[0].replace("_", "-"), *given) if app.name[0] in _APPS else given)
        try:
            app(arguments, print_error=False, exit_on_error=False, result_action="return_none")
            print(end="", flush=True)  # a pipe closed by its reader is met here and not when Python ends
        except (CycloptsError, UserError) as error:
            tell(str(error))
            return 2
        except Ended as ended:
            return ended.status
        except BrokenPipeError:  # the reader of our output, such as `head`, has had enough
            _give_up_output()
            return 0
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            tell(f"cannot write ({error.strerror}): make room, or write elsewhere")
            _give_up_output()
            return 2
        except KeyboardInterrupt:
            tell("stopped")
            return 130
        finally:
            _PROGRAM.reset(called)
    return 0


def _program(app: App, arguments: list[str] | None) -> str:
    """What was called: `sentiment`, or `nlp-lstm sentiment`."""
    chain, apps, _ = app.parse_commands(arguments)
    groups = [name for name, called in zip(chain, apps[1:], strict=False) if called.default_command is None]
    return " ".join([app.name[0], *groups])


def arguments() -> tuple[str, ...]:
    """Those with which `nlp_lstm.main.main` does what this program was called for."""
    return _ARGUMENTS.get()


@contextmanager
def _streams_that_lead_somewhere() -> Iterator[None]:
    """Let standard streams that were closed before the start (`2>&-`) lead nowhere, as /dev/null does.

    Else the next file opened would get such a stream's number, and what C++ code writes to the stream would be written
    into that file; Python's own `print` writes to standard output where there is no standard error.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    with ExitStack() as afterwards:
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:
                setattr(sys, name, afterwards.enter_context(open(os.devnull, "w", encoding="utf-8")))
                afterwards.callback(setattr, sys, name, None)
        yield


def _give_up_output() -> None:
    """What still waits to be written would fail once more when Python ends, and change the exit status."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell(message: str) -> None:
    """Tell the user something in one line of standard error, behind the name of what was called.

    >>> tell("the model does not know 'é'")
    """
    notices.tell(f"{_PROGRAM.get()}: {message}")


def shipped_unless_named(model: Path | None, run: Any, app_name: str) -> Path:
    """The model that a verb is to use where no training run is named: the one named, else the shipped one.

    >>> shipped_unless_named(Path("models/mine"), None, "sentiment")
    PosixPath('models/mine')

    Raises:
        UserError: for both a model and a run, or if none is named and none was shipped.
    """
    if model is not None and run:
        raise UserError("--model and --run both name what to use: give one of the two")
    shipped = SHIPPED_MODELS / app_name
    if model is None and not run and not shipped.exists():
        raise UserError(
            f"no model was installed with this program: name one with --model (of a clone of its repository: "
            f"saved_models/{app_name}), or a training run with --run"
        )
    return shipped if model is None else model


def client_of(server: str | None, model: Path | None, run: Any) -> "Client | None":
    """A client of the server that a verb is to ask, closed when the verb has ended; None where none is named.

    >>> client_of(None, Path("models/mine"), None)

    Raises:
        UserError: for a server and a model or a run, or for what is no URL.
    """
    if server is None:
        return None
    if model is not None or run:
        raise UserError("--server, --model and --run name what to use: give one of them")
    from nlp_lstm.client import Client

    client = Client(server)
    _OPENED.get().callback(client.close)
    return client


def check_suffix(flag: str, path: Path | None, suffix: str) -> None:
    """Refuse a file whose name does not end as what is written into it.

    >>> check_suffix("--plot", Path("gates.pdf"), ".png")
    Traceback (most recent call last):
    nlp_lstm.errors.UserError: --plot writes PNG, got 'gates.pdf': name a file that ends in .png
    """
    if path is not None and path.suffix.lower() != suffix:
        raise UserError(f"{flag} writes {suffix[1:].upper()}, got '{path}': name a file that ends in {suffix}")


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


def print_text(text: str, end: str = "\n") -> None:
    """Print what a model wrote: as it is to a file or a pipe, while a terminal shows its controls and does not obey."""
    print(for_terminal(text, keep="\n\t") if sys.stdout.isatty() else text, end=end, flush=True)


def print_json(value: dict[str, Any]) -> None:
    """Print one JSON object on one line of standard output.

    >>> print_json({"text": "é", "score": 0.5})
    {"text": "é", "score": 0.5}
    """
    print(json.dumps(value, ensure_ascii=False, allow_nan=False), flush=True)


def print_figures(figures: Mapping[str, Any]) -> None:
    """Print figures for people, one a line; one that could not be told is left out.

    >>> print_figures({"examples": 182, "accuracy": 0.9, "interval": [0.85, 0.94]})
    examples  182
    accuracy  0.9000
    interval  0.8500–0.9400
    """
    told = {name: value for name, value in figures.items() if value is not None}
    width = 1 + max(map(len, told), default=0)
    for name, value in told.items():
        parts = value if isinstance(value, list) else [value]
        shown = "–".join(f"{part:.4f}" if isinstance(part, float) else str(part) for part in parts)
        print(f"{name:{width}} {shown}")


def print_version(version: Path, as_json: bool) -> None:
    """Print where an export was written.

    >>> print_version(Path("saved_models/mine/1"), as_json=True)
    {"version": "saved_models/mine/1"}
    """
    if as_json:
        print_json({"version": str(version)})
    else:
        print(version)
