"""A small set in aclImdb layout, told twice: as files and as the records that must come out of them."""

import io
import tarfile
from pathlib import Path

import pytest

from nlp_lstm.datasets.review_records import LabelledText


class AclImdb:
    """The set as a folder, with `records` written down independently of the reader."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.records: dict[str, list[LabelledText]] = {}
        # 12 a class, so that number 10 sorts behind 9 only as a number.
        self.records["train"] = self._write("train", "neg", 12, 0) + self._write("train", "pos", 12, 1)
        self.records["test"] = self._write("test", "neg", 3, 0) + self._write("test", "pos", 3, 1)
        self.records["unlabelled"] = self._write("train", "unsup", 4, None)
        (folder / "imdb.vocab").write_text("the\nand\n")
        (folder / "train" / "pos" / "._3_9.txt").write_bytes(b"\x00\x05\x16\x07 as macOS leaves them")

    def _write(self, part: str, kind: str, count: int, label: int | None) -> list[LabelledText]:
        (self.folder / part / kind).mkdir(parents=True)
        records = []
        for number in range(count):
            text = f"{part} {kind} review {number}: naïve <br /> tout\tcourt “quoted”\n"
            if (part, kind, number) == ("train", "unsup", 2):
                text = f" {self.records['test'][0].text.strip()} "
            film = f"tt{len(part)}{len(kind)}{kind == 'pos':d}{number // 2:04}"
            (self.folder / part / kind / f"{number}_{(number * 7) % 10}.txt").write_bytes(text.encode())
            records.append(LabelledText(text, label, film))
        urls = [f"http://www.imdb.com/title/{record.group}/usercomments\n" for record in records]
        (self.folder / part / f"urls_{kind}.txt").write_text("".join(urls))
        return records

    def pack(self, archive: Path, *, prefix: str = "aclImdb/", reverse: bool = False) -> Path:
        """Write the folder as an archive, compressed as its name says."""
        kind = {"tgz": "gz", "gz": "gz", "xz": "xz", "txz": "xz", "bz2": "bz2", "tbz2": "bz2"}
        compression = kind.get(archive.name.split(".")[-1], "")
        with tarfile.open(archive, f"w:{compression}") as tar:
            for file in sorted(self.folder.rglob("*"), reverse=reverse):
                member = tar.gettarinfo(file)
                member.name = prefix + file.relative_to(self.folder).as_posix()
                tar.addfile(member, io.BytesIO(file.read_bytes()) if member.isreg() else None)
        return archive


@pytest.fixture
def acl_imdb_set(tmp_path: Path) -> AclImdb:
    folder = tmp_path / "aclImdb"
    folder.mkdir()
    return AclImdb(folder)
