"""Tables of texts: CSV, TSV or JSON Lines, plain or packed with gzip, bzip2 or xz.

A table has the columns `text` and `label`, and may have `film` (or `group`): what is not to be divided between train
and validation. TSV is quoted as CSV is: a field that holds a tab, a line end or a quotation mark at its start stands in
quotation marks, and a quotation mark within is doubled.
"""

import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import IO

from nlp_lstm.datasets import splits
from nlp_lstm.datasets.compressed import READ_ERRORS, open_decompressed, reason
from nlp_lstm.datasets.review_records import LABEL_NAMES, SPLITS, LabelledText, Split, text_group
from nlp_lstm.errors import UserError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
_PACKED_SUFFIXES = ("", ".gz", ".bz2", ".xz")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_LONGEST_FIELD = 2**31 - 1  # the most the csv module takes on every platform; its default is 128 KiB


def suffix(name: str) -> str | None:
    """The kind of table a file name promises, or None.

    >>> suffix("Reviews.CSV.gz"), suffix("reviews.tar.gz")
    ('.csv', None)
    """
    for packed in _PACKED_SUFFIXES:
        for plain in SUFFIXES:
            if name.lower().endswith(plain + packed):
                return plain
    return None


def split_files(folder: Path) -> dict[Split, list[Path]]:
    """The tables in a folder that are named after a split.

    >>> split_files(Path("reviews"))
    {'train': [PosixPath('reviews/train.csv')], 'test': [PosixPath('reviews/test.csv.gz')]}

    Raises:
        OSError: The folder cannot be listed.
    """
    files = sorted(file for file in folder.iterdir() if suffix(file.name))
    named = {split: [file for file in files if file.name.lower().split(".")[0] == split] for split in SPLITS}
    return {split: found for split, found in named.items() if found}


def read_file(path: Path) -> dict[Split, list[LabelledText]]:
    """The records of one table, divided by group into train, validation and test (80, 10 and 10 %).

    >>> reviews = read_file(Path("reviews.csv"))
    >>> sorted(reviews)
    ['test', 'train', 'unlabelled', 'validation']

    Rows with an empty label become the split "unlabelled".

    Raises:
        UserError: As `parse`, or a file that cannot be read.
    """
    records = _parse_file(path)
    labelled = [record for record in records if record.label is not None]
    return {
        **splits.train_validation_test(labelled, validation=0.1, test=0.1),
        "unlabelled": [record for record in records if record.label is None],
    }


def read_folder(folder: Path, wanted: Collection[Split]) -> dict[Split, list[LabelledText]]:
    """The splits of a folder that holds a table each: train, test and, where they exist, validation and unlabelled.

    >>> reviews = read_folder(Path("reviews"), ["train", "test"])
    >>> sorted(reviews)
    ['test', 'train']

    Rows of the train table with an empty label go to "unlabelled". In the unlabelled table the column `label` may be
    absent and counts for nothing.

    Returns:
        The wanted splits, save those without a table.

    Raises:
        UserError: As `parse`, two tables for one split, a file that cannot be read, or an empty label in the test or
            validation table.
    """
    files = split_files(folder)
    for split, found in files.items():
        if len(found) > 1:
            names = ", ".join(repr(file.name) for file in found)
            raise UserError(f"{str(folder)!r} has {len(found)} tables for the split {split!r}, {names}: keep one")
    result: dict[Split, list[LabelledText]] = {}
    needed = {*wanted, *(["train"] if "unlabelled" in wanted else [])}
    for split in (split for split in files if split in needed):
        result[split] = _parse_file(files[split][0], split)
    if "unlabelled" in wanted:
        without_label = [record for record in result.get("train", []) if record.label is None]
        result["unlabelled"] = without_label + result.get("unlabelled", [])
    if "train" in result:
        result["train"] = [record for record in result["train"] if record.label is not None]
    return {split: records for split, records in result.items() if split in wanted}


def parse(stream: IO[bytes], name: str, split: Split | None = None) -> list[LabelledText]:
    r"""The records of a table, in its order.

    >>> parse(io.BytesIO(b"text,label,film\nA joy.,positive,Alien\n"), "reviews.csv")
    [LabelledText(text='A joy.', label=1, group='Alien')]

    Args:
        stream: The table's bytes, decompressed. UTF-8, with or without a byte order mark; what is no UTF-8 is replaced.
        name: The file's name, for its suffix and for messages.
        split: Of which split the table is. In "unlabelled" labels are not looked at, in "test" and "validation" each
            row must have one; otherwise an empty label (in JSON also null) means unlabelled.

    Raises:
        UserError: A column missing, a row of another length, broken quoting or JSON, an unknown label, or no rows. The
            message names file and line.
    """
    delimiter = _DELIMITERS.get(suffix(name) or "")
    columns = ("text",) if split == "unlabelled" else ("text", "label")
    with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="") as lines:
        rows = _delimited_rows(lines, name, columns, delimiter) if delimiter else _json_rows(lines, name, columns)
        records = [_record(where, row, split) for where, row in rows]
    if not records:
        raise UserError(
            f"{name!r} has no rows: expected the columns {' and '.join(map(repr, columns))} and a text a row"
        )
    return records


def _record(where: str, row: dict[str, object], split: Split | None) -> LabelledText:
    text = row["text"]
    if not isinstance(text, str):
        raise UserError(f"{where}: 'text' is {_short(text)}, not a string")
    # JSON can escape half a surrogate pair, which no UTF-8 consumer takes.
    text = _LONE_SURROGATE.sub("\ufffd", text)
    label = None if split == "unlabelled" else _label(row["label"], where)
    if label is None and split in ("test", "validation"):
        raise UserError(f"{where}: the label is empty, yet the split {split!r} needs one: fill it or drop the row")
    subject = next((str(row[key]) for key in ("film", "group") if row.get(key) is not None), "").strip()
    return LabelledText(text, label, subject or text_group(text))


def _parse_file(path: Path, split: Split | None = None) -> list[LabelledText]:
    try:
        with open_decompressed(path) as stream:
            return parse(stream, str(path), split)
    except READ_ERRORS as error:
        raise UserError(f"cannot read {str(path)!r}: {reason(error)}") from error


def _delimited_rows(
    lines: Iterable[str], name: str, columns: Collection[str], delimiter: str
) -> Iterator[tuple[str, dict[str, object]]]:
    # Strict, or an opening quotation mark without its fellow would swallow the rows after it.
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    line = 1
    former_limit = csv.field_size_limit(_LONGEST_FIELD)
    try:
        for row in reader:
            where, line = f"{name!r} line {line}", reader.line_num + 1
            if not row:
                continue
            if header is None:
                header = [_column(field) for field in row]
                _check_columns(header, columns, where)
            elif len(row) != len(header):
                raise UserError(
                    f"{where}: {len(row)} fields where the header has {len(header)}: quote a field that holds "
                    f"{delimiter!r} or a line end"
                )
            else:
                yield where, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise UserError(
            f"{name!r} line {line}: {reason(error)}: quote the whole field and double each quotation mark in it"
        ) from error
    finally:
        csv.field_size_limit(former_limit)


def _json_rows(lines: Iterable[str], name: str, columns: Collection[str]) -> Iterator[tuple[str, dict[str, object]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{name!r} line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: not valid JSON: {reason(error)}: one object a line is expected") from error
        if not isinstance(row, dict):
            raise UserError(f'{where}: {_short(row)} is not a JSON object: expected {{"text": ..., "label": ...}}')
        row = {_column(key): value for key, value in row.items()}
        _check_columns(list(row), columns, where)
        yield where, row


def _column(name: str) -> str:
    return name.strip().lower()


def _check_columns(found: list[str], columns: Collection[str], where: str) -> None:
    for column in columns:
        if column not in found:
            raise UserError(f"{where}: no column {column!r} among {_short(found)}: name one so")
        if found.count(column) > 1:
            raise UserError(f"{where}: the column {column!r} is there {found.count(column)} times: keep one")


def _label(value: object, where: str) -> int | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    # By its name, and not as a number: True and 1.0 equal 1, but neither is a label.
    if isinstance(value, (str, int)):
        label = LABEL_NAMES.get(str(value).strip().lower())
        if label is not None:
            return label
    raise UserError(f"{where}: unknown label {_short(value)}: expected one of {', '.join(LABEL_NAMES)}")


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 200 else shown[:200] + "..."
