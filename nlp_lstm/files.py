"""Writing so that a reader, or a kill, never finds half of it."""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nlp_lstm.errors import UserError


@contextmanager
def told_if_unwritable(flag: str, target: Path) -> Iterator[None]:
    """Tell an error of writing what a flag of the command line names as the user's mistake.

    >>> plot = Path("README.md/gates.png")
    >>> with told_if_unwritable("--plot", plot), atomic_path(plot) as path:
    ...     figure.savefig(path)
    Traceback (most recent call last):
    nlp_lstm.errors.UserError: cannot write --plot 'README.md/gates.png' (File exists): name another place
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {flag} '{target}' ({error.strerror or error}): name another place") from None


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target`, and rename it into place when the block ends well.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(Path(folder, "config.json")) as path:
    ...         characters = path.write_text("{}")
    ...     print(Path(folder, "config.json").read_text())
    {}

    Works for a file and for a folder. On an error, or a kill, `target` stays what it was. The temporary name keeps the
    suffix, since some writers go by it, and begins with a dot, so that nothing takes it for a model version. What a
    kill left of an earlier write to `target` is removed with the next.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    path = scratch / target.name
    try:
        with _locked(scratch):
            yield path
            if path.is_dir():
                os.rename(path, target)
            else:
                os.replace(path, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


_ABANDONED_AFTER = 60.0
"""Seconds. A writer locks its folder right after it has made it, and a kill gives the lock back."""


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold a lock on a folder; gives whether it was free, which is not known where there are no such locks."""
    is_free, descriptor = False, None
    with suppress(ImportError, OSError):
        import fcntl  # Windows has none

        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_free = True
    try:
        yield is_free
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _remove_leftovers(target: Path) -> None:
    made_here = re.compile(rf"\.{re.escape(target.name)}\.[a-z0-9_]{{8}}")
    with suppress(OSError):
        for folder in target.parent.iterdir():
            if not made_here.fullmatch(folder.name) or not set(os.listdir(folder)) <= {target.name}:
                continue
            if time.time() - folder.stat().st_mtime > _ABANDONED_AFTER:
                with _locked(folder) as is_free:
                    if is_free:
                        shutil.rmtree(folder, ignore_errors=True)
