"""Open a file for reading whether or not it is compressed."""

import bz2
import gzip
import lzma
import zlib
from pathlib import Path
from typing import IO, cast

READ_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading a damaged or forbidden file raises."""


def open_decompressed(path: Path) -> IO[bytes]:
    """Open a plain, gzip, bzip2 or xz file; the first bytes decide, since browsers unpack and keep the old name.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "reviews.csv")
    ...     _ = path.write_bytes(gzip.compress(b"text,label"))
    ...     with open_decompressed(path) as stream:
    ...         stream.read()
    b'text,label'

    Raises:
        OSError: The file cannot be opened. Reading the stream may raise any of `READ_ERRORS`.
    """
    with path.open("rb") as stream:
        start = stream.read(6)
    if start.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(path))
    if start.startswith(b"BZh"):
        return bz2.open(path)
    if start == b"\xfd7zXZ\x00":
        return lzma.open(path)
    return path.open("rb")


def reason(error: BaseException) -> str:
    """What an exception says, in one line.

    >>> reason(PermissionError(13, "Permission denied", "reviews.csv"))
    'Permission denied'
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
