"""Saving the weights of a model, whole or not at all, also where the disk is full."""

import errno
import math
import os
import re
from pathlib import Path
from typing import Any

from nlp_lstm.files import atomic_path

_ROOM_OF_A_VARIABLE, _ROOM_OF_A_FILE = 8_192, 65_536
"""Bytes that HDF5 may take beside the values."""


def save_weights(model: Any, target: Path) -> None:
    """Save the weights of a Keras model, and of its optimizer, in place of a file that may be there.

    >>> import keras
    >>> from tempfile import mkdtemp
    >>> folder = Path(mkdtemp())
    >>> save_weights(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]), folder / "model.weights.h5")
    >>> os.listdir(folder)
    ['model.weights.h5']

    Where a disk is full while HDF5 writes, it may say nothing, leave a file that cannot be read, and end the process
    later on. So the room is taken before it writes, and what it has written is read before it counts.

    Args:
        model: built, and its optimizer if it has one.
        target: a path that ends in `.weights.h5`.

    Raises:
        OSError: if it cannot be written; `target` stays what it was.
    """
    with atomic_path(target) as path:
        _require_room(path, model)
        model.save_weights(path)
        _require_whole(path)


def _require_room(path: Path, model: Any) -> None:
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.variables, *(optimizer.variables if optimizer is not None else [])]
    size = _ROOM_OF_A_FILE + sum(
        _ROOM_OF_A_VARIABLE + math.prod(one.shape) * _item_size(one.dtype) for one in variables
    )
    if not hasattr(os, "posix_fallocate"):  # macOS, Windows
        return
    try:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):  # of file systems that cannot
            raise
    finally:
        path.unlink(missing_ok=True)


def _item_size(dtype: Any) -> int:
    bits = re.search(r"\d+", str(dtype))
    return math.ceil(int(bits[0]) / 8) if bits else 8


def _require_whole(path: Path) -> None:
    """Read every value."""
    import h5py

    def read(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            item[()]

    try:
        with h5py.File(path) as file:
            file.visititems(read)
    except (OSError, RuntimeError) as error:
        raise OSError(errno.EIO, f"what was written to '{path}' cannot be read: {error}") from None
