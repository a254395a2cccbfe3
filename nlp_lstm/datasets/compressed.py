"""Open a file for reading whether or not it is compressed."""

import bz2
import gzip
import io
import lzma
import zlib
from pathlib import Path
from typing import IO, Any, cast

from nlp_lstm.errors import UserError

READ_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What reading a damaged or forbidden file raises."""

UNSUSPECTED_SIZE = 2**26
"""Bytes that any file may unpack to."""

MOST_TIMES_PACKED = 100
"""A file that unpacks to more may have so many times its own size. Texts are packed to a tenth at the best, while xz
and bzip2 make gigabytes of zeros kilobytes."""


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
        OSError: The file cannot be opened. Reading the stream may raise any of `READ_ERRORS`, and a `UserError` as soon
            as it has given more than `UNSUSPECTED_SIZE` bytes and `MOST_TIMES_PACKED` times the size of the file.
    """
    with path.open("rb") as stream:
        start = stream.read(6)
    if start.startswith(b"\x1f\x8b"):
        return _bounded(cast(IO[bytes], gzip.open(path)), path)
    if start.startswith(b"BZh"):
        return _bounded(bz2.open(path), path)
    if start == b"\xfd7zXZ\x00":
        return _bounded(lzma.open(path), path)
    return path.open("rb")


def _bounded(unpacked: IO[bytes], path: Path) -> IO[bytes]:
    return io.BufferedReader(_Bounded(unpacked, path), 2**16)


class _Bounded(io.RawIOBase):
    """What a file unpacks to, as long as that is in proportion to the file."""

    def __init__(self, unpacked: IO[bytes], path: Path):
        self._unpacked, self._path = unpacked, path
        self._packed_size = path.stat().st_size
        self._left = max(UNSUSPECTED_SIZE, MOST_TIMES_PACKED * self._packed_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = cast(Any, self._unpacked).readinto(buffer)
        self._left -= count
        if self._left < 0:
            largest = max(UNSUSPECTED_SIZE, MOST_TIMES_PACKED * self._packed_size)
            raise UserError(
                f"{str(self._path)!r} is refused: its {self._packed_size:,} bytes unpack to more than {largest:,}, "
                "which no text does but a decompression bomb: unpack it yourself if you trust it"
            )
        return count

    def readall(self) -> bytes:
        # In larger pieces than the base class does it.
        return b"".join(iter(lambda: self.read(2**20), b""))

    def close(self) -> None:
        if not self.closed:
            self._unpacked.close()
        super().close()


def reason(error: BaseException) -> str:
    """What an exception says, in one line.

    >>> reason(PermissionError(13, "Permission denied", "reviews.csv"))
    'Permission denied'
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
