"""Writing beside the target and renaming: whole or not at all, and nothing left lying about."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nlp_lstm.errors import UserError
from nlp_lstm.files import atomic_path, told_if_unwritable


def names(folder):
    return sorted(path.name for path in folder.rglob("*"))


def names_of_children(folder):
    return sorted(path.name for path in folder.iterdir())


def write_file(target, error=None):
    with atomic_path(target) as path:
        path.write_text("half")
        if error:
            raise error


def write_folder(target, error=None):
    with atomic_path(target) as path:
        path.mkdir()
        (path / "half").write_text("x")
        if error:
            raise error


def test_a_file(tmp_path):
    target = tmp_path / "config.json"
    with atomic_path(target) as path:
        path.write_text("new")
        assert not target.exists()
        assert path != target
        assert path.suffix == ".json"
        assert os.stat(path).st_dev == os.stat(tmp_path).st_dev
        (debris,) = names_of_children(tmp_path)
        assert debris.startswith(".")
    assert target.read_text() == "new"
    assert names(tmp_path) == ["config.json"]


def test_parents_are_made(tmp_path):
    with atomic_path(tmp_path / "a" / "b" / "c.txt") as path:
        path.write_text("x")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "x"


def test_a_string_will_do(tmp_path):
    with atomic_path(str(tmp_path / "a.txt")) as path:
        assert isinstance(path, Path)
        path.write_text("x")
    assert names(tmp_path) == ["a.txt"]


def test_a_file_replaces_a_file(tmp_path):
    target = tmp_path / "config.json"
    target.write_text("old")
    with atomic_path(target) as path:
        path.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert names(tmp_path) == ["config.json"]


def test_a_folder(tmp_path):
    target = tmp_path / "models" / "1"
    with atomic_path(target) as path:
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"x")
        assert not target.exists()
        assert not [name for name in names_of_children(tmp_path / "models") if name.isdecimal()]
    assert names(tmp_path) == ["1", "models", "saved_model.pb"]


def test_a_folder_replaces_an_empty_folder(tmp_path):
    target = tmp_path / "1"
    target.mkdir()
    with atomic_path(target) as path:
        path.mkdir()
        (path / "a").write_text("x")
    assert names(tmp_path) == ["1", "a"]


def test_a_folder_does_not_replace_a_full_one(tmp_path):
    target = tmp_path / "1"
    target.mkdir()
    (target / "old").write_text("x")
    with pytest.raises(OSError, match="not empty"):
        write_folder(target)
    assert names(tmp_path) == ["1", "old"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("folder", [False, True])
def test_an_error_leaves_the_target_and_no_debris(tmp_path, error, folder):
    target = tmp_path / "target.txt"
    target.write_text("old")
    with pytest.raises(error):
        (write_folder if folder else write_file)(target, error)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["target.txt"]


def test_an_error_makes_no_target(tmp_path):
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "target.txt"):
        raise RuntimeError
    assert names(tmp_path) == []


def test_writing_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "target.txt"):
        pass
    assert names(tmp_path) == []


def test_a_kill_leaves_the_target(tmp_path):
    target = tmp_path / "target.txt"
    target.write_text("old")
    script = (
        "import os, signal, sys; from nlp_lstm.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as path:\n"
        "    path.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).parents[1]
    killed = subprocess.run([sys.executable, "-c", script, str(target)], cwd=root, check=False)
    assert killed.returncode == -9
    assert target.read_text() == "old"
    assert all(name.startswith(".") for name in names_of_children(tmp_path) if name != "target.txt")


def kill_while_writing(target):
    script = (
        "import os, signal, sys; from nlp_lstm.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as path:\n"
        "    path.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(target)], cwd=Path(__file__).parents[1], check=False)
    assert killed.returncode == -9
    (left,) = (path for path in target.parent.iterdir() if path.name.startswith(f".{target.name}."))
    return left


def make_old(folder):
    hour_ago = time.time() - 3600
    os.utime(folder, (hour_ago, hour_ago))


def test_what_a_kill_left_goes_with_the_next_write(tmp_path):
    target, other = tmp_path / "1", tmp_path / "2"
    left, of_other = kill_while_writing(target), kill_while_writing(other)
    write_file(target)
    assert left.exists()  # it may be a moment old, and its writer not yet at the lock
    for path in (left, of_other):
        make_old(path)
    write_file(target)
    assert names_of_children(tmp_path) == [of_other.name, "1"]


def test_what_another_writer_is_at_stays(tmp_path):
    target = tmp_path / "target.txt"
    with atomic_path(target) as path:
        path.write_text("first")
        make_old(path.parent)
        write_file(target)
        assert path.read_text() == "first"
    assert target.read_text() == "first"
    assert names(tmp_path) == ["target.txt"]


def test_what_was_not_made_here_stays(tmp_path):
    for name in (".target.txt.abc", ".target.txt.abcdefgh", "target.txt.abcdefgh", ".target.txt.ABCDEFGH"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine").write_text("x")
        make_old(tmp_path / name)
    (tmp_path / ".target.txt.12345678").write_text("a file")
    make_old(tmp_path / ".target.txt.12345678")
    before = names(tmp_path)
    write_file(tmp_path / "target.txt")
    assert names(tmp_path) == sorted([*before, "target.txt"])


class TestToldIfUnwritable:
    def test_an_error_of_writing_is_the_users_mistake(self, tmp_path):
        (tmp_path / "file").write_text("mine")
        target = tmp_path / "file" / "gates.png"
        with pytest.raises(UserError) as caught, told_if_unwritable("--plot", target), atomic_path(target):
            pass
        assert str(caught.value) == f"cannot write --plot '{target}' (File exists): name another place"
        assert names(tmp_path) == ["file"]

    def test_an_error_without_a_number_keeps_its_words(self):
        with pytest.raises(UserError) as caught, told_if_unwritable("--html", Path("a.html")):
            raise OSError("the disk is gone")
        assert str(caught.value) == "cannot write --html 'a.html' (the disk is gone): name another place"

    @pytest.mark.parametrize("error", [ValueError("a bug"), UserError("no text"), KeyboardInterrupt()])
    def test_other_errors_pass(self, error):
        with pytest.raises(type(error)) as caught, told_if_unwritable("--plot", Path("a.png")):
            raise error
        assert caught.value is error

    def test_what_goes_well_goes_on(self, tmp_path):
        with told_if_unwritable("--plot", tmp_path / "a"):
            (tmp_path / "a").write_text("x")
        assert names(tmp_path) == ["a"]
