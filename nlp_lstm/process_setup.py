"""What is set for a whole process: TensorFlow's quicker products, and memory that is kept for the next step."""

import ctypes
import functools
import os

# Numbers of glibc's malloc.h, for mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_NEVER = -1


def switch_on_onednn() -> None:
    """Have TensorFlow use oneDNN's products on any x86 processor, unless the environment says otherwise.

    To be called before TensorFlow is imported. Left to itself TensorFlow uses them on processors with VNNI alone;
    others gain by them, too, and without them there are none in 8 bits.

    >>> switch_on_onednn()
    >>> os.environ["TF_ENABLE_ONEDNN_OPTS"] in "01"
    True
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


@functools.cache
def keep_freed_memory() -> bool:
    """Have this process keep the memory it frees for what it asks for next, rather than hand it back to the system.

    A step of training makes and frees the same arrays as the last one. By default glibc maps each array of more than
    32 MiB from fresh pages, and unmaps it when it is freed; the system then clears every page again as it is first
    touched, which one core does at a time. What a process holds at the most stays as it was.

    >>> keep_freed_memory() in (True, False)
    True

    Returns:
        Whether the C library has such a setting: glibc does, those of other systems do not.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # as of musl and macOS; Windows cannot be asked
        return False
    # Its own heap grows in larger steps, too, since each is a call of the system.
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, 64 << 20))
    return all(mallopt(name, value) == 1 for name, value in settings)
