"""Rows of the files that people have (text, CSV, JSON Lines, Parquet), read one by one and written with answers."""

import codecs
import csv
import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, TextIO

from nlp_lstm.datasets.compressed import READ_ERRORS, open_decompressed, reason
from nlp_lstm.errors import UserError

Format = Literal["text", "csv", "jsonl", "parquet"]

_FORMATS: dict[str, Format] = {
    ".txt": "text",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_PACKED = (".gz", ".bz2", ".xz")
_LONGEST_SHOWN = 1000  # characters of a bad record that are kept

TEXT_FIELD = "text"
"""What the line of a text file is called in what is written."""


class Record(NamedTuple):
    """A row that can be answered."""

    number: int
    """Which row of its file it is, from 0."""
    fields: dict[str, Any]
    text: str


class BadRecord(NamedTuple):
    """A row that cannot."""

    number: int
    reason: str
    shown: str
    """What stands there, as far as it can be shown."""


def format_of(path: Path) -> Format:
    """What a file holds, by its name.

    >>> format_of(Path("reviews.jsonl.gz"))
    'jsonl'

    Raises:
        UserError: for a name that tells of no format known here.
    """
    name = path.name.lower()
    for suffix in _PACKED:
        name = name.removesuffix(suffix)
    found = _FORMATS.get(Path(name).suffix)
    if found is None:
        raise UserError(f"'{path}' has no ending known here: expected {', '.join(_FORMATS)}, or one of them packed")
    return found


def read_records(path: Path, column: str, taken: Sequence[str], start: int = 0) -> Iterator[Record | BadRecord]:
    r"""The rows of a file from a number on.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "mine.jsonl")
    ...     _ = path.write_text('{"text": "Fine.", "id": 7}\n{"id": 8}\n')
    ...     for record in read_records(path, "text", taken=[]):
    ...         print(record)
    Record(number=0, fields={'text': 'Fine.', 'id': 7}, text='Fine.')
    BadRecord(number=1, reason="has no field 'text'", shown='{"id": 8}')

    Args:
        path: its format goes by its name.
        column: the field that holds the text; a line of a text file is one.
        taken: names of fields that answers will have, which a row may not have already.
        start: the first row that is wanted.

    Raises:
        UserError: if the file cannot be read, or no row of it can have the column.
    """
    by_format = {"text": _of_text, "csv": _of_csv, "jsonl": _of_json_lines, "parquet": _of_parquet}
    read = by_format[format_of(path)]
    try:
        yield from read(path, column, taken, start)
    except READ_ERRORS as error:
        raise UserError(f"'{path}' cannot be read ({reason(error)}): mend it or leave it out") from None


def _bad(number: int, why: str, shown: str) -> BadRecord:
    return BadRecord(number, why, shown[:_LONGEST_SHOWN])


def _no_utf8(error: UnicodeDecodeError) -> str:
    return f"is no UTF-8 ({error.reason} at byte {error.start})"


def _lines(path: Path, start: int) -> Iterator[tuple[int, bytes]]:
    with open_decompressed(path) as stream:
        lines = enumerate(stream)
        for number, line in itertools.islice(lines, start, None):
            if number == 0:
                line = line.removeprefix(codecs.BOM_UTF8)
            yield number, line.rstrip(b"\r\n")


def _of_text(path: Path, _column: str, _taken: Sequence[str], start: int) -> Iterator[Record | BadRecord]:
    for number, line in _lines(path, start):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            yield _bad(number, _no_utf8(error), line.decode("utf-8", "replace"))
        else:
            yield Record(number, {TEXT_FIELD: text}, text)


def _of_json_lines(path: Path, column: str, taken: Sequence[str], start: int) -> Iterator[Record | BadRecord]:
    for number, line in _lines(path, start):
        shown = line.decode("utf-8", "replace")
        try:
            fields = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            yield _bad(number, _no_utf8(error), shown)
        except (ValueError, RecursionError) as error:
            yield _bad(number, f"is no JSON ({reason(error)})", shown)
        else:
            if not isinstance(fields, dict):
                yield _bad(number, "is no JSON object", shown)
            else:
                yield _checked(number, fields, column, taken, shown)


def _checked(number: int, fields: dict[str, Any], column: str, taken: Sequence[str], shown: str) -> Record | BadRecord:
    already = [name for name in taken if name in fields]
    if already:
        return _bad(number, f"has a field '{already[0]}' already: --prefix names the answers otherwise", shown)
    if column not in fields:
        return _bad(number, f"has no field '{column}'", shown)
    text = fields[column]
    if not isinstance(text, str):
        return _bad(number, f"has no text in '{column}' but {json.dumps(text, default=str)[:40]}", shown)
    return Record(number, fields, text)


def _of_csv(path: Path, column: str, taken: Sequence[str], start: int) -> Iterator[Record | BadRecord]:
    csv.field_size_limit(2**31 - 1)
    with open_decompressed(path) as stream, _csv_text(stream) as text:
        rows = csv.reader(text)
        header = next(rows, None)
        if header is None:
            return
        _check_header(path, header, column, taken)
        for number in itertools.count():
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                if number >= start:
                    yield _bad(number, f"is no CSV ({reason(error)})", "")
                continue
            if number < start:
                continue
            shown = ",".join(row).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            if any("\udc80" <= character <= "\udcff" for value in row for character in value):
                yield _bad(number, "is no UTF-8", shown)
            elif len(row) != len(header):
                yield _bad(number, f"has {len(row)} values for {len(header)} columns", shown)
            else:
                fields = dict(zip(header, row, strict=True))
                yield Record(number, fields, fields[column])


def _csv_text(stream: IO[bytes]) -> TextIO:
    """What is no UTF-8 comes through as lone surrogates, by which its row is told from the others."""
    return io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="")


def _check_header(path: Path, header: Sequence[str], column: str, taken: Sequence[str]) -> None:
    if column not in header:
        raise UserError(f"'{path}' has no column '{column}' but {', '.join(header)}: name one with --text-column")
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise UserError(f"'{path}' has two columns '{twice[0]}': rename one")
    already = [name for name in taken if name in header]
    if already:
        raise UserError(f"'{path}' has a column '{already[0]}' already: --prefix names the answers otherwise")


def _of_parquet(path: Path, column: str, taken: Sequence[str], start: int) -> Iterator[Record | BadRecord]:
    arrow, parquet = _arrow()
    try:
        with parquet.ParquetFile(path) as file:
            _check_header(path, file.schema_arrow.names, column, taken)
            number = 0
            for batch in file.iter_batches():
                if number + batch.num_rows > start:
                    for offset, fields in enumerate(batch.to_pylist()):
                        if number + offset >= start:
                            shown = json.dumps(fields, ensure_ascii=False, default=str)
                            yield _checked(number + offset, fields, column, [], shown)
                number += batch.num_rows
    except arrow.ArrowException as error:
        raise UserError(f"'{path}' cannot be read ({reason(error)}): mend it or leave it out") from None


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise UserError('Parquet files need pyarrow: pip install "nlp_lstm[bulk]"') from None
    return pyarrow, pyarrow.parquet


def ending_of(format_: Format) -> str:
    """The ending of what is written for files of a format: theirs, but a text file's rows have several fields.

    >>> ending_of("text"), ending_of("csv")
    ('.jsonl', '.csv')
    """
    return {"text": ".jsonl", "jsonl": ".jsonl", "csv": ".csv", "parquet": ".parquet"}[format_]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], source: Path, new: Mapping[str, type]) -> None:
    """Write rows of a file with what was added to them, in that file's format.

    Args:
        path: where to; its ending is `ending_of` the source's format.
        rows: the fields of each, and those that were added.
        source: the file they come from.
        new: the fields that were added, with their types: str, int or float.
    """
    format_ = format_of(source)
    if format_ == "parquet":
        arrow, parquet = _arrow()
        kinds = {str: arrow.string(), int: arrow.int64(), float: arrow.float64()}
        schema = parquet.read_schema(source)
        for name, kind in new.items():
            schema = schema.append(arrow.field(name, kinds[kind]))
        parquet.write_table(arrow.Table.from_pylist(list(rows), schema=schema), path)
    elif format_ == "csv":
        with open_decompressed(source) as stream, _csv_text(stream) as text:
            header = next(csv.reader(text))
        with path.open("w", encoding="utf-8", newline="") as written:
            writer = csv.DictWriter(written, [*header, *new])
            writer.writeheader()
            writer.writerows(rows)
    else:
        with path.open("wb") as lines:
            lines.writelines(json_line(row) for row in rows)


def json_line(row: Mapping[str, Any]) -> bytes:
    r"""A row as a line of JSON in UTF-8; what UTF-8 cannot hold stays an escape.

    >>> json_line({"text": "Käse"}).decode()
    '{"text": "Käse"}\n'
    >>> json_line({"text": "\ud800"})
    b'{"text": "\\ud800"}\n'
    """
    try:
        return (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8")
    except UnicodeEncodeError:
        return (json.dumps(row) + "\n").encode("ascii")
