"""Writing so that a reader, or a kill, never finds half of it."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target`, and rename it into place when the block ends well.

    >>> with atomic_path(Path("config.json")) as path:
    ...     path.write_text("{}")

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
