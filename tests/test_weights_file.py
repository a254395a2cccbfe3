"""Weights on a full disk: an error, and the file before stays; never half a file in its place."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from nlp_lstm.weights_file import save_weights

ROOT = Path(__file__).parents[1]


class Model:
    """What of a Keras model is used, with an optimizer that has as many values again."""

    def __init__(self, parts, size, seed=0):
        rng = np.random.default_rng(seed)
        self.variables = [rng.normal(size=size).astype(np.float32) for _ in range(parts)]
        self.optimizer = self

    def save_weights(self, path):
        with h5py.File(path, "w") as file:
            for number, value in enumerate(self.variables):
                file.create_group(f"layers/{number}/vars").create_dataset("0", data=value)


def assert_holds(path, model):
    with h5py.File(path) as file:
        found = [file[f"layers/{number}/vars/0"][()] for number in range(len(model.variables))]
    for one, other in zip(found, model.variables, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("parts", "size"), [(1, 1), (3, 5_000), (200, 10)])
def test_a_file_replaces_a_file(tmp_path, parts, size):
    target = tmp_path / "model.weights.h5"
    for seed in range(2):
        model = Model(parts, size, seed)
        save_weights(model, target)
        assert_holds(target, model)
    assert os.listdir(tmp_path) == [target.name]


@pytest.mark.parametrize(("parts", "size"), [(1, 1), (3, 5_000), (200, 10), (2, 300_000)])
def test_the_room_that_is_asked_for_is_enough(tmp_path, monkeypatch, parts, size):
    asked = []
    monkeypatch.setattr(os, "posix_fallocate", lambda _, start, length: asked.append(start + length), raising=False)
    model = Model(parts, size)
    save_weights(model, tmp_path / "model.weights.h5")
    values = 2 * 4 * parts * size  # the optimizer's, too
    assert values < asked[0] <= values + 2 * parts * 2**13 + 2**16
    assert (tmp_path / "model.weights.h5").stat().st_size <= asked[0]


def test_where_room_cannot_be_asked_for_it_goes_on(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, os.strerror(95))

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    save_weights(Model(2, 3), tmp_path / "model.weights.h5")
    assert_holds(tmp_path / "model.weights.h5", Model(2, 3))


def test_what_cannot_be_read_does_not_count(tmp_path):
    target = tmp_path / "model.weights.h5"
    save_weights(Model(3, 500), target)

    class Cutting(Model):
        def save_weights(self, path):
            super().save_weights(path)
            path.write_bytes(path.read_bytes()[:-700])

    with pytest.raises(OSError, match="cannot be read"):
        save_weights(Cutting(3, 500, seed=1), target)
    assert_holds(target, Model(3, 500))
    assert os.listdir(tmp_path) == [target.name]


FULL = """
import resource, sys
from pathlib import Path
sys.path.insert(0, "tests")
from test_weights_file import Model
from nlp_lstm import weights_file
target = Path(sys.argv[1])
weights_file.save_weights(Model(3, 5_000), target)
resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, resource.RLIM_INFINITY))  # as a full disk
if sys.argv[2] == "unasked":
    weights_file._require_room = lambda *_: None
try:
    weights_file.save_weights(Model(3, 10_000, seed=1), target)
except OSError as error:
    print("refused:", error.strerror)
    raise SystemExit(2)
"""


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="room cannot be asked for here")
def test_a_full_disk_is_an_error_and_the_file_before_stays(tmp_path):
    target = tmp_path / "model.weights.h5"
    done = subprocess.run([sys.executable, "-c", FULL, target, "asked"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (2, "refused: File too large\n", "")
    assert_holds(target, Model(3, 5_000))
    assert os.listdir(tmp_path) == [target.name]


def test_a_disk_that_fills_up_meanwhile_leaves_the_file_before(tmp_path):
    """HDF5 may end the process for it, but not before that is settled."""
    target = tmp_path / "model.weights.h5"
    done = subprocess.run([sys.executable, "-c", FULL, target, "unasked"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert_holds(target, Model(3, 5_000))
