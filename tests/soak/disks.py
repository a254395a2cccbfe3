"""A disk that is full, or may not be written, during training, export and the printing of much: a clear error, and the
last good state intact.

Where a file system can be mounted (root, on Linux) it is a tmpfs of a few kilobytes more than what is there. Elsewhere
the size of a file is limited instead, which fails at the same calls but not for the sum of all files, and a folder is
made read-only by its permissions.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nlp_lstm import saved_model
from soak.findings import Findings
from soak.programs import Ended, Programs, size_below
from soak.small_runs import (
    Outcome,
    answers,
    are_alike,
    differences,
    files_below,
    outcome,
    train_command,
    write_data,
)

PAGE = 4096


class Disk:
    """A small file system at a folder, or what comes close to one.

    Args:
        folder: where it is mounted.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.is_mounted = False
        folder.mkdir(parents=True)
        if os.geteuid() == 0:
            done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "soak", folder], capture_output=True)
            self.is_mounted = done.returncode == 0

    def __enter__(self) -> "Disk":
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_mounted:
            subprocess.run(["umount", "-l", self.folder], check=True)

    @contextlib.contextmanager
    def with_room_for(self, size: int) -> Iterator[dict[str, int]]:
        """For so many bytes more; gives what `Programs.run` must be told."""
        if not self.is_mounted:
            yield {"file_size": max(1, size // 2)}
            return
        taken = os.statvfs(self.folder)
        pages = taken.f_blocks - taken.f_bfree + max(1, size // PAGE)
        self._remount(f"size={pages * PAGE}")
        yield {}
        self._remount("size=64m")

    @contextlib.contextmanager
    def read_only(self) -> Iterator[bool]:
        """Gives whether anything is kept from being written at all."""
        if self.is_mounted:
            self._remount("ro")
            yield True
            self._remount("rw")
            return
        folders = [path for path in (self.folder, *self.folder.rglob("*")) if path.is_dir()]
        for path in folders:
            path.chmod(0o500)
        yield os.geteuid() != 0
        for path in folders:
            path.chmod(0o700)

    def _remount(self, option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", self.folder], check=True, capture_output=True)


def check_told(found: Findings, ended: Ended, what: str) -> bool:
    """A mistake in one line: notices of training may stand before it."""
    lines = ended.err.splitlines()
    return found.check(
        ended.is_mistake_in_one_line and "cannot write" in lines[-1],
        f"{what}: ended with {ended.status} and told {ended.err[-1500:]!r}",
    )


def train_on(
    disk: Disk,
    app: str,
    data: str,
    whole: Path,
    expected: Outcome,
    rooms: int,
    seed: int,
    programs: Programs,
    found: Findings,
) -> None:
    """Fill the disk at a drawn point of training; with room again it goes on to the figures of the unbroken run."""
    rng = np.random.default_rng([seed, 2, len(app)])
    size = size_below(str(whole))
    for number in range(rooms):
        run = disk.folder / f"run{number}"
        command = train_command(app, data, run)
        room = int(rng.integers(0, int(size * 1.2)))
        with disk.with_room_for(room) as told:
            ended = programs.run(app, command, run, **told)
        if ended.status == 0:  # it fitted
            found.count("runs that fitted")
        else:
            found.count("full during training")
            check_told(found, ended, f"{app}: training with room for {room} of {size} bytes")
        for is_read_only in [True, False] if number == 0 and run.is_dir() else [False]:
            if is_read_only:
                with disk.read_only() as is_so:
                    before = files_below(run)
                    ended = programs.run(app, command, run)
                    if is_so and not (run / "model.weights.h5").exists():
                        found.count("read-only during training")
                        check_told(found, ended, f"{app}: training where nothing can be written")
                        found.check(files_below(run) == before, f"{app}: files were changed where that is forbidden")
            else:
                ended = programs.run(app, command, run)
                if found.check(
                    ended.status == 0, f"{app}: training did not go on, with {ended.status}: {ended.err[-1500:]}"
                ):
                    told_different = differences(outcome(run), expected)
                    found.check(not told_different, f"{app}: after a full disk came {told_different}")
        shutil.rmtree(run, ignore_errors=True)


def export_to(disk: Disk, app: str, whole: Path, rooms: int, seed: int, programs: Programs, found: Findings) -> None:
    """Fill the disk at a drawn point of an export; the version before stays what it was, and nothing else is left."""
    rng = np.random.default_rng([seed, 3, len(app)])
    base = disk.folder / "served" / app
    command = ["export", "--run", whole, "--to", base]
    first = programs.run(app, command, base)
    if not found.check(first.status == 0, f"{app}: export ended with {first.status}: {first.err[-1500:]}"):
        return
    expected, before, size = answers(base), files_below(base), size_below(str(base))
    for number in range(rooms):
        room = int(rng.integers(0, size))
        with contextlib.ExitStack() as stack:
            if number == 0:
                is_so, told = stack.enter_context(disk.read_only()), {}
                name = "read-only during export"
            else:
                is_so, told = True, stack.enter_context(disk.with_room_for(room))
                name = "full during export"
            ended = programs.run(app, command, base, **told)
        if ended.status == 0:
            found.count("exports that fitted")
            for version in saved_model.versions(base)[1:]:
                shutil.rmtree(base / str(version))
            before = {**before, **{name: content for name, content in files_below(base).items() if "/" not in name}}
            continue
        if is_so:
            found.count(name)
            check_told(found, ended, f"{app}: {name}, room for {room} of {size} bytes")
            found.check(files_below(base) == before, f"{app}: {name}: files were changed")
            left = sorted(path.name for path in base.iterdir() if path.name.startswith("."))
            found.check(not left, f"{app}: {name}: {left} stayed behind")
    found.check(are_alike(answers(base), expected), f"{app}: after full disks the model answers otherwise")
    ended = programs.run(app, command, base)
    found.check(ended.status == 0, f"{app}: export with room again: {ended.status}: {ended.err[-1500:]}")
    found.check(are_alike(answers(base), expected), f"{app}: exported with room again it answers otherwise")


USING = {
    "sentiment": ["predict", "--json"],
    "char_lm": ["score", "--json"],
    "translation": ["translate", "--json"],
}


def print_to(disk: Disk, app: str, whole: Path, lines: int, folder: Path, programs: Programs, found: Findings) -> None:
    """Print more than there is room for."""
    texts = folder / "lines"
    texts.write_text("a b c d\n" * lines)
    target = disk.folder / "printed"
    for name, out in (("full while printing", target), ("printing to /dev/full", Path("/dev/full"))):
        if out == Path("/dev/full") and not out.exists():
            continue
        with disk.with_room_for(2 * PAGE) as told:
            command = [*USING[app], "--run", whole, "--file", texts]
            ended = programs.run(app, command, disk.folder, out=out, **told)
        found.count(name)
        check_told(found, ended, f"{app}: {name}")
        found.check(len(ended.err.splitlines()) == 1, f"{app}: {name}: told {ended.err[-1500:]!r}")
    if target.exists():
        size = target.stat().st_size
        found.check(size > 0, f"{app}: nothing was printed before the disk was full")
        target.unlink()


def soak(app: str, rooms: int, folder: Path, seed: int, programs: Programs) -> Findings:
    """So many disks with too little room for training, and for export."""
    found = Findings(f"disks, {app}")
    data, whole = write_data(app, folder / app / "data"), folder / app / "whole"
    ended = programs.run(app, train_command(app, data, whole), whole)
    if not found.check(ended.status == 0, f"{app}: training ended with {ended.status}: {ended.err[-1500:]}"):
        return found
    with Disk(folder / app / "disk") as disk:
        found.figures["disk"] = "tmpfs" if disk.is_mounted else "none mounted: size of files limited instead"
        train_on(disk, app, data, whole, outcome(whole), rooms, seed, programs, found)
        export_to(disk, app, whole, rooms + 1, seed, programs, found)
        print_to(disk, app, whole, 2000, folder / app, programs, found)
    return found
