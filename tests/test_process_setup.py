"""What a process sets: oneDNN where nobody said otherwise, and freed memory that takes no new pages."""

import os
import subprocess
import sys

import pytest

from nlp_lstm import process_setup

# Each array is written in full; how many pages the system had to clear for it is counted by the system.
PROGRAM = """
import resource, sys
import numpy as np
from nlp_lstm.process_setup import keep_freed_memory

def pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(3):
    np.full(96 << 20, 1, np.uint8)  # as of a step before
before = pages()
for _ in range(5):
    np.full(96 << 20, 1, np.uint8)
print(pages() - before)
"""


def pages_of_five_arrays(how):
    environment = {"PATH": "", "GLIBC_TUNABLES": "", "NUMPY_MADVISE_HUGEPAGE": "0"}
    command = [sys.executable, "-c", PROGRAM, how]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


@pytest.mark.skipif(not process_setup.keep_freed_memory(), reason="this C library has no mallopt")
def test_arrays_of_a_step_take_no_new_pages():
    assert pages_of_five_arrays("keep") < 100 < pages_of_five_arrays("default")  # which has 240 at least, of 2 MiB


def test_other_c_libraries_are_left_alone(monkeypatch):
    class Library:
        pass

    monkeypatch.setattr(process_setup.ctypes, "CDLL", lambda _: Library())
    assert process_setup.keep_freed_memory.__wrapped__() is False


def test_onednn_is_left_to_the_environment_where_that_has_it(monkeypatch):
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")  # the tests have it on
    process_setup.switch_on_onednn()
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1"
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    process_setup.switch_on_onednn()
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "0"
