"""A job: which rows of which files, what is written where, and what of it is done."""

import dataclasses
import glob
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nlp_lstm import saved_model
from nlp_lstm.bulk.answering import FIELDS, AppName
from nlp_lstm.bulk.records import BadRecord, Record, ending_of, format_of, json_line, read_records, write_rows
from nlp_lstm.errors import UserError
from nlp_lstm.files import atomic_path, told_if_unwritable

MANIFEST = "manifest.json"
ERRORS = "errors"

SOURCE_FIELDS: dict[str, type] = {"source_file": str, "source_row": int}
"""Of each row that is written where it comes from, by which the order can be restored."""


class Shard(NamedTuple):
    """Rows of one file that are answered, and written, together."""

    number: int
    source: str
    start: int
    stop: int


class ShardResult(NamedTuple):
    """How many rows of a shard have an answer, and how many were bad."""

    number: int
    answered: int
    bad: int


@dataclasses.dataclass(frozen=True)
class Job:
    """What is asked for.

    Args:
        app: whose model answers.
        model: a SavedModel or a folder of versions.
        output: the folder for what is written.
        text_column: the field that holds the text.
        prefix: stands before the names of the fields that are added.
        batch_size: rows that are answered at once.
        shard_rows: rows of a shard, at most: what a killed worker has to do again.
        folder: that the names of the files go by.
    """

    app: AppName
    model: Path
    output: Path
    text_column: str = "text"
    prefix: str = ""
    batch_size: int = 256
    shard_rows: int = 2000
    folder: Path = Path()

    @property
    def new_fields(self) -> dict[str, type]:
        """The fields that a row is given, with their types."""
        return {self.prefix + name: kind for name, kind in {**SOURCE_FIELDS, **FIELDS[self.app]}.items()}

    def shards(self, inputs: Sequence[str], tell: Callable[[str], None] = lambda message: None) -> list[Shard]:
        """Every shard of the job, by the manifest of the output folder, which is written where there is none.

        Args:
            inputs: files, folders of files, or patterns such as `data/*.jsonl.gz`.
            tell: is told what takes long.

        Raises:
            UserError: if there are no such files, one cannot be read, or the folder holds another job.
        """
        files = _files(self.folder, inputs)
        asked = {
            "app": self.app,
            "model": _identity(self.model),
            "text_column": self.text_column,
            "prefix": self.prefix,
            "shard_rows": self.shard_rows,
            "files": [{"path": str(path), "bytes": (self.folder / path).stat().st_size} for path in files],
        }
        path = self.output / MANIFEST
        if path.exists():
            manifest = _read_manifest(path)
            changed = [name for name in asked if manifest.get(name) != asked[name]]
            if changed:
                raise UserError(
                    f"'{self.output}' holds a job with another {' and '.join(changed)}: go on with what it was started "
                    "with, or name a new folder with --output"
                )
        else:
            if self.output.is_dir() and any(self.output.iterdir()):
                raise UserError(f"'{self.output}' is not empty and holds no job: name a new folder with --output")
            rows = []
            for file in files:
                tell(f"counting the rows of '{file}'")
                rows.append(sum(1 for _ in read_records(self.folder / file, self.text_column, list(self.new_fields))))
            manifest = {**asked, "rows": rows}
            with told_if_unwritable("--output", self.output), atomic_path(path) as scratch:
                scratch.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        spans = [
            (str(file), start, min(start + self.shard_rows, rows))
            for file, rows in zip(files, manifest["rows"], strict=True)
            for start in range(0, rows, self.shard_rows)
        ]
        return [Shard(number, *span) for number, span in enumerate(spans)]

    def written(self, shard: Shard) -> Path:
        """The file of a shard's answers; once it is there the shard is done."""
        return self.output / f"part-{shard.number:06d}{ending_of(format_of(Path(shard.source)))}"

    def errors(self, shard: Shard) -> Path:
        """The file of a shard's bad records, where there are any."""
        return self.output / ERRORS / f"part-{shard.number:06d}.jsonl"

    def answer(self, shard: Shard, answering: Callable[[Sequence[str]], Sequence[tuple[Any, ...]]]) -> ShardResult:
        """Answer the rows of a shard and write them, all or none.

        Raises:
            UserError: if the file is no longer what it was when the job began, or the output cannot be written.
        """
        source, new = self.folder / shard.source, list(self.new_fields)
        found = read_records(source, self.text_column, new, shard.start)
        rows: list[dict[str, Any]] = []
        bad: list[BadRecord] = []
        records = itertools.islice(found, shard.stop - shard.start)
        while batch := list(itertools.islice(records, self.batch_size)):
            good = [record for record in batch if isinstance(record, Record)]
            bad += [record for record in batch if isinstance(record, BadRecord)]
            answers = answering([record.text for record in good]) if good else []
            for record, answer in zip(good, answers, strict=True):
                added = dict(zip(new, (shard.source, record.number, *answer), strict=True))
                rows.append({**record.fields, **added})
        if len(rows) + len(bad) != shard.stop - shard.start:
            raise UserError(f"'{source}' has fewer rows than when the job began: start it anew in another --output")
        with told_if_unwritable("--output", self.output):
            if bad:  # first, since the other file says that the shard is done
                with atomic_path(self.errors(shard)) as path, path.open("wb") as stream:
                    stream.writelines(
                        json_line(
                            {
                                "source_file": shard.source,
                                "source_row": record.number,
                                "reason": record.reason,
                                "record": record.shown,
                            }
                        )
                        for record in bad
                    )
            with atomic_path(self.written(shard)) as path:
                write_rows(path, rows, source, self.new_fields)
        return ShardResult(shard.number, len(rows), len(bad))


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(manifest, dict) and "rows" in manifest:
            return manifest
    except (OSError, ValueError):
        pass
    raise UserError(f"'{path}' cannot be read: name a new folder with --output")


def _files(folder: Path, inputs: Sequence[str]) -> list[Path]:
    """The files that are meant, each once, in the order of their names, which are as they were given."""
    found: set[Path] = set()
    for given in inputs:
        there = (folder / given).exists()  # a name may hold what would be a pattern
        named = [given] if there else glob.glob(given, root_dir=folder, recursive=True)
        files = [
            file
            for path in map(Path, named)
            for file in (_inside(folder, path) if (folder / path).is_dir() else [path])
        ]
        if not files:
            raise UserError(f"no file at '{given}': name files, folders of them or a pattern with --input")
        found.update(files)
    for path in found:
        format_of(path)
    return sorted(found)


def _inside(folder: Path, named: Path) -> Iterator[Path]:
    for path in (folder / named).iterdir():
        if path.is_file() and not path.name.startswith((".", "_")):
            yield named / path.name


def _identity(model: Path) -> str:
    """What tells a model's version from others, wherever it lies."""
    digest = hashlib.sha256()
    folder = saved_model.resolve(model)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.parent.name != "assets.extra":
            digest.update(f"{path.relative_to(folder)} {path.stat().st_size}\n".encode())
    digest.update((folder / "saved_model.pb").read_bytes())
    return digest.hexdigest()
