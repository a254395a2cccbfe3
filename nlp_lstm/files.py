"""Writing so that a reader, or a kill, never finds half of it."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
    suffix, since some writers go by it, and begins with a dot, so that nothing takes it for a model version.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    path = scratch / target.name
    try:
        yield path
        if path.is_dir():
            os.rename(path, target)
        else:
            os.replace(path, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
