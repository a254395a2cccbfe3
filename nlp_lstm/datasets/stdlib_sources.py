"""The Python standard library's own sources: megabytes of code on every machine, without a download."""

import io
import os
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path

from nlp_lstm.datasets.compressed import reason
from nlp_lstm.datasets.text_files import concatenate, decode
from nlp_lstm.errors import UserError

# Installed packages differ from machine to machine; tests are over half of all sources, and full of odd input.
_LEFT_OUT = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}


def read() -> str:
    """All modules of the standard library, in the order of their paths, without tests and installed packages.

    >>> "def namedtuple(" in read()
    True

    The text is the same at each call; another version of Python has another.

    Raises:
        UserError: This Python has no readable sources, such as one that keeps its library in an archive.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    try:
        # Sorted as strings: by parts, "json/tool.py" would come before "json.py".
        paths = sorted(_modules(folder), key=lambda path: path.relative_to(folder).as_posix())
        text = concatenate(_decode_source(path.read_bytes()) for path in paths)
    except OSError as error:
        raise UserError(
            f"cannot read the standard library at {str(folder)!r}: {reason(error)}: name a folder of text instead"
        ) from error
    if not text:
        raise UserError(f"'stdlib': this Python has no .py files at {str(folder)!r}: name a folder of text instead")
    return text


def _modules(folder: Path) -> Iterator[Path]:
    def give_up(error: OSError) -> None:
        raise error

    for parent, folders, names in os.walk(folder, onerror=give_up):
        folders[:] = [name for name in folders if name not in _LEFT_OUT]
        for path in (Path(parent, name) for name in names if name.endswith(".py")):
            if path.is_file():  # Linux distributions leave links to what is not installed
                yield path


def _decode_source(content: bytes) -> str:
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        return content.decode(encoding).replace("\r\n", "\n")
    except (SyntaxError, UnicodeDecodeError):  # a SyntaxError is an unknown encoding
        return decode(content)
