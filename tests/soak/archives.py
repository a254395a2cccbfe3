"""Drawn archives of reviews, hostile and damaged: each is read, or refused in one line, and nothing is written."""

import bz2
import gzip
import io
import lzma
import os
import random
import tarfile
import time
from pathlib import Path

from nlp_lstm.datasets.reviews import load_reviews
from nlp_lstm.errors import UserError
from soak.findings import Findings

LONGEST_SECONDS = 30.0

PACK = {
    ".tar": bytes,
    ".tar.gz": gzip.compress,
    ".tar.bz2": bz2.compress,
    ".tar.xz": lambda content: lzma.compress(content, preset=0),
}

TYPES = [tarfile.REGTYPE] * 6 + [
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
    tarfile.DIRTYPE,
    tarfile.GNUTYPE_SPARSE,
    tarfile.CONTTYPE,
    b"?",
]


PARENTS = ["aclImdb/", "aclImdb/", "aclImdb/", "", "./", "../", "../../../", "/", "/tmp/", "a/../", "a/b/c/"]


SPLITS = [("train", "pos"), ("train", "neg"), ("test", "pos"), ("test", "neg")]


def name_of(rng: random.Random, parent: str, number: int) -> str:
    if rng.randrange(12) == 0:
        parent = rng.choice(PARENTS)
    part, kind = rng.choice(["train", "train", "test"]), rng.choice(["pos", "neg", "unsup", "../pos"])
    file = rng.choice([f"{number}_7.txt"] * 4 + ["x" * 200, "..", "\u00e9\udcff.txt", "a\nb", f"urls_{kind}.txt"])
    return f"{parent}{part}/{kind}/{file}"


def tar_of(rng: random.Random) -> bytes:
    packed = io.BytesIO()
    kind = rng.choice([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
    parent = rng.choice(PARENTS)
    good = [f"{parent}{part}/{label}/{number}_7.txt" for part, label in SPLITS for number in range(2)]
    names = good if rng.randrange(4) else []
    is_hostile = rng.randrange(4)
    with tarfile.open(fileobj=packed, mode="w", format=kind, errors="surrogateescape") as archive:
        for name in names + [name_of(rng, parent, 10 + number) for number in range(rng.randrange(12))]:
            member = tarfile.TarInfo(name)
            member.type = rng.choice(TYPES) if is_hostile and name not in good else tarfile.REGTYPE
            member.linkname = rng.choice(["/etc/passwd", "../../up", "aclImdb/train/pos/0_7.txt"])
            content = rng.choice([b"A joy.", b"", rng.randbytes(700), b"http://www.imdb.com/title/tt0064354/\n" * 12])
            if member.type in (tarfile.REGTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, b"?"):
                member.size = len(content)
            try:
                archive.addfile(member, io.BytesIO(content))
            except (ValueError, OverflowError):  # the format has no room for such a name
                continue
    content = bytearray(packed.getvalue())
    for _ in range(rng.choice([0, 0, 0, 1, 3])):
        if content:
            content[rng.randrange(len(content))] = rng.randrange(256)
    if rng.randrange(8) == 0:
        content += bytes(rng.choice([10_000, 70_000_000]))
    return bytes(content)


def read_drawn(rng: random.Random, folder: Path, found: Findings) -> None:
    suffix = rng.choice(list(PACK))
    content = PACK[suffix](tar_of(rng))
    if rng.randrange(6) == 0:
        content = content[: rng.randrange(len(content) + 1)]
    path = folder / f"set{suffix}"
    path.write_bytes(content)
    started = time.monotonic()
    try:
        load_reviews(str(path), ["train", "test", "unlabelled"])
        found.count("read")
    except UserError as error:
        found.count("refused")
        found.count("refused as bombs", "bomb" in str(error))
        found.check(len(str(error).splitlines()) == 1, f"refused in several lines: {error}")
    except Exception as error:
        kept = folder.parent / f"fault_{len(found.faults)}{suffix}"
        kept.write_bytes(content)
        found.check(False, f"{type(error).__name__}: {error} for {kept}")
    seconds = time.monotonic() - started
    found.largest("slowest s", seconds)
    found.check(seconds < LONGEST_SECONDS, f"took {seconds:.1f} s")
    path.unlink()
    found.check(os.listdir(folder) == [], f"{sorted(os.listdir(folder))} were written")


def soak(archives: int, folder: Path, seed: int) -> Findings:
    """So many archives, read in a folder of which all is known."""
    found, rng = Findings("archives"), random.Random(seed)
    inner = folder / "here" / "inner"
    inner.mkdir(parents=True)
    before, back = sorted(folder.rglob("*")), os.getcwd()
    os.chdir(inner)
    try:
        for _ in range(archives):
            read_drawn(rng, inner, found)
    finally:
        os.chdir(back)
    found.count("archives", archives)
    found.check(
        [path for path in sorted(folder.rglob("*")) if not path.name.startswith("fault_")] == before,
        "something was written beside the archive",
    )
    return found
