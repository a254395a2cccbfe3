"""Tables of texts: CSV, TSV or JSON Lines, plain or packed with gzip, bzip2 or xz.

A table has columns such as `text` and `label`, and may have `film` (or `group`): what is not to be divided between
train and validation. TSV is quoted as CSV is: a field that holds a tab, a line end or a quotation mark at its start
stands in quotation marks, and a quotation mark within is doubled.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from nlp_lstm.datasets.compressed import READ_ERRORS, open_decompressed, reason
from nlp_lstm.datasets.encodings import decode
from nlp_lstm.datasets.review_records import LABEL_NAMES, LABELS, SPLITS, LabelledText, Split, text_group
from nlp_lstm.datasets.splits import train_validation_test
from nlp_lstm.datasets.table_rows import Row, column_name, delimited_rows, json_rows, short
from nlp_lstm.errors import UserError
from nlp_lstm.notices import tell

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
_PACKED_SUFFIXES = ("", ".gz", ".bz2", ".xz")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_WHOLE_NUMBER = re.compile(r"(-?\d+)\.0+")
_KNOWN = {
    "text": ("text", "review", "sentence", "tweet", "comment"),
    "label": ("label", "sentiment", "polarity", "target"),
}
"""What a column may be called without a flag; the first goes before all others."""


class TableFormat(NamedTuple):
    """What of a table cannot be seen in it; by default the usual ones are recognised.

    >>> TableFormat(text_column="6", label_column="1", labels="0=negative,4=positive", header=False).encoding
    ''

    Attributes:
        text_column: The name of the column of texts, "" for `text` or another usual name. Small and capital letters
            are one; without a header columns are called "1", "2" and so on.
        label_column: Likewise of labels, `label` by default.
        labels: What the table calls the labels, as "0=negative,4=positive"; rows with others are left out and counted
            on standard error. "" for the usual ones (`LABEL_NAMES`), and others are a mistake.
        header: The first row names the columns. JSON Lines name them in every row.
        encoding: As in `encodings.decode`.
    """

    text_column: str = ""
    label_column: str = ""
    labels: str = ""
    header: bool = True
    encoding: str = ""


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

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("train.csv", "test.csv.gz", "notes.csv"):
    ...         Path(folder, name).touch()
    ...     {split: [file.name for file in files] for split, files in split_files(Path(folder)).items()}
    {'train': ['train.csv'], 'test': ['test.csv.gz']}

    Raises:
        OSError: The folder cannot be listed.
    """
    files = sorted(file for file in folder.iterdir() if suffix(file.name))
    named = {split: [file for file in files if file.name.lower().split(".")[0] == split] for split in SPLITS}
    return {split: found for split, found in named.items() if found}


def read_file(path: Path, table: TableFormat = TableFormat()) -> dict[Split, list[LabelledText]]:  # noqa: B008
    """The records of one table, divided by group into train, validation and test (80, 10 and 10 %).

    >>> reviews = read_file(Path("nlp_lstm/datasets/sample_reviews.tsv"))
    >>> sorted(reviews)
    ['test', 'train', 'unlabelled', 'validation']

    Rows with an empty label become the split "unlabelled".

    Raises:
        UserError: As `parse`, or a file that cannot be read.
    """
    records = _parse_file(path, None, table)
    labelled = [record for record in records if record.label is not None]
    return {
        **train_validation_test(labelled, validation=0.1, test=0.1),
        "unlabelled": [record for record in records if record.label is None],
    }


def read_folder(
    folder: Path,
    wanted: Collection[Split],
    table: TableFormat = TableFormat(),  # noqa: B008
) -> dict[Split, list[LabelledText]]:
    r"""The splits of a folder that holds a table each: train, test and, where they exist, validation and unlabelled.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("train.csv", "test.csv"):
    ...         _ = Path(folder, name).write_text("text,label\nA joy.,positive\nA bore.,negative\n")
    ...     reviews = read_folder(Path(folder), ["train", "test"])
    >>> sorted(reviews), [record.label for record in reviews["test"]]
    (['test', 'train'], [1, 0])

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
        result[split] = _parse_file(files[split][0], split, table)
    if "unlabelled" in wanted:
        without_label = [record for record in result.get("train", []) if record.label is None]
        result["unlabelled"] = without_label + result.get("unlabelled", [])
    if "train" in result:
        result["train"] = [record for record in result["train"] if record.label is not None]
    return {split: records for split, records in result.items() if split in wanted}


def parse(
    stream: IO[bytes],
    name: str,
    split: Split | None = None,
    table: TableFormat = TableFormat(),  # noqa: B008
) -> list[LabelledText]:
    r"""The records of a table, in its order.

    >>> import io
    >>> parse(io.BytesIO(b"text,label,film\nA joy.,positive,Alien\n"), "reviews.csv")
    [LabelledText(text='A joy.', label=1, group='Alien')]
    >>> stars = TableFormat("2", "1", labels="1=negative,2=negative,4=positive,5=positive", header=False)
    >>> parse(io.BytesIO(b"5,A joy.\n2,A bore.\n"), "stars.csv", table=stars)[0].label
    1

    Args:
        stream: The table's bytes, decompressed.
        name: The file's name, for its suffix and for messages.
        split: Of which split the table is. In "unlabelled" labels are not looked at, in "test" and "validation" each
            row must have one; otherwise an empty label (in JSON also null) means unlabelled.
        table: How to read it.

    Raises:
        UserError: A column missing, a row of another length, broken quoting or JSON, an unknown label, no rows, or as
            `encodings.decode`. The message names file and line.
    """
    delimiter = _DELIMITERS.get(suffix(name) or "")
    labels = _labels_of(table.labels) if table.labels else None
    columns = _Columns(table, split, name)
    if not table.header and not delimiter:
        raise UserError(f"{name!r}: rows of JSON Lines name their fields: leave --no-header out, or add --header")

    def known(fields: dict[str, str], found: tuple[str, ...]) -> bool:
        return split == "unlabelled" or _spelling(fields[found[1]]) in (labels or LABEL_NAMES)

    text = decode(stream.read(), name, table.encoding)
    rows = (
        delimited_rows(text, name, delimiter, columns.find, header=table.header, fits=known)
        if delimiter
        else json_rows(text, name, columns.find)
    )
    left_out: Counter[str] = Counter()
    records = list(_records(rows, split, labels, left_out))
    if not records and not left_out:
        raise UserError(
            f"{name!r} has no rows: expected {'a header with ' if delimiter else ''}the columns "
            f"{' and '.join(map(repr, columns.expected()))} and a text a row"
        )
    if left_out:
        others = short([label for label, _ in left_out.most_common()])[1:-1]
        told = (
            f"{name!r}: {left_out.total():,} of {len(records) + left_out.total():,} rows are left out, --labels does "
            f"not name their labels: {others}"
        )
        if not records:
            raise UserError(told)
        tell(told)
    return records


class _Columns:
    """Finds the columns of texts and labels among those of a table."""

    def __init__(self, table: TableFormat, split: Split | None, name: str):
        self.named = {"text": column_name(table.text_column), "label": column_name(table.label_column)}
        self.kinds = ["text"] if split == "unlabelled" else ["text", "label"]
        self.header = table.header
        self.name = name
        if len(self.kinds) == 2 and self.named["text"] and self.named["text"] == self.named["label"]:
            raise UserError(f"--text-column and --label-column both name {self.named['text']!r}: name two columns")

    def expected(self) -> list[str]:
        return [self.named[kind] or kind for kind in self.kinds]

    def find(self, columns: list[str], where: str) -> tuple[str, ...]:
        return tuple(self._column(kind, columns, where) for kind in self.kinds)

    def _column(self, kind: str, columns: list[str], where: str) -> str:
        wanted = self.named[kind]
        if not wanted:
            # The name itself first: a table may have a `sentiment` beside its `label`.
            there = [name for name in _KNOWN[kind] if name in columns]
            if len(there) > 1 and there[0] != kind:
                raise UserError(
                    f"{where}: the {kind} may be in any of the columns {', '.join(map(repr, there))}: name one with "
                    f"--{kind}-column"
                )
            wanted = there[0] if there else kind
        if wanted not in columns:
            if not self.header:
                raise UserError(
                    f"{where}: {'no column ' + repr(wanted) if self.named[kind] else 'no header names the columns'}: "
                    f"name the {kind} by its number, 1 to {len(columns)}, with --{kind}-column"
                )
            raise UserError(
                f"{where}: no column {wanted!r} among {short(columns)}: name one with --{kind}-column; if that is no "
                "header but the first text, add --no-header and name columns by number, from 1"
            )
        if columns.count(wanted) > 1:
            raise UserError(f"{where}: the column {wanted!r} is there {columns.count(wanted)} times: keep one")
        return wanted


def _records(
    rows: Iterator[Row], split: Split | None, labels: dict[str, int] | None, left_out: Counter[str]
) -> Iterator[LabelledText]:
    for where, fields, found in rows:
        text = fields[found[0]]
        if not isinstance(text, str):
            raise UserError(f"{where}: {found[0]!r} is {short(text)}, not a string")
        # JSON can escape half a surrogate pair, which no UTF-8 consumer takes.
        text = _LONE_SURROGATE.sub("\ufffd", text)
        label = None
        if split != "unlabelled" and not _is_empty(fields[found[1]]):
            value = fields[found[1]]
            if labels is not None and _spelling(value) not in labels:
                left_out[short(value)] += 1
                continue
            label = _label(value, where) if labels is None else labels[_spelling(value)]
        if label is None and split in ("test", "validation"):
            raise UserError(f"{where}: the label is empty, yet the split {split!r} needs one: fill it or drop the row")
        subject = next((str(fields[key]) for key in ("film", "group") if fields.get(key) is not None), "").strip()
        yield LabelledText(text, label, subject or text_group(text))


def _parse_file(path: Path, split: Split | None, table: TableFormat) -> list[LabelledText]:
    try:
        with open_decompressed(path) as stream:
            return parse(stream, str(path), split, table)
    except READ_ERRORS as error:
        raise UserError(f"cannot read {str(path)!r}: {reason(error)}") from error


def _labels_of(described: str) -> dict[str, int]:
    """From a table's spelling of a label to the label, of "0=negative,4=positive"."""
    labels: dict[str, int] = {}
    for part in described.split(","):
        value, _, label = part.rpartition("=")
        value, label = _spelling(value), column_name(label)
        if not value or label not in LABEL_NAMES or labels.get(value, LABEL_NAMES[label]) != LABEL_NAMES[label]:
            raise UserError(
                f'--labels has {part.strip()!r}: expected each value once with its label, as in "0=negative,4=positive"'
            )
        labels[value] = LABEL_NAMES[label]
    for label in LABELS:
        if LABEL_NAMES[label] not in labels.values():
            raise UserError(f'--labels names nothing {label}: it needs both, as in "0=negative,4=positive"')
    return labels


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _spelling(value: object) -> str:
    """A value as --labels may spell it; what reads whole numbers as floats writes "4.0" for 4."""
    spelling = str(value).strip().lower()
    number = _WHOLE_NUMBER.fullmatch(spelling)
    return number[1] if number else spelling


def _label(value: object, where: str) -> int:
    # By its name, and not as a number: 1.0 equals 1, but where there are floats others than 0 and 1 are to come.
    if isinstance(value, (str, int)):
        label = LABEL_NAMES.get(str(value).strip().lower())
        if label is not None:
            return label
    raise UserError(
        f"{where}: unknown label {short(value)}: expected one of {', '.join(LABEL_NAMES)}; tell others by --labels, as "
        'in --labels "0=negative,4=positive"'
    )
