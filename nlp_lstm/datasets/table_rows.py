"""The rows of a table's text: CSV and its kin, whatever stands between their fields, and JSON Lines."""

import importlib.util
import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

from nlp_lstm.datasets.compressed import reason
from nlp_lstm.errors import UserError
from nlp_lstm.notices import tell

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
# What Excel writes, and reads, to tell the delimiter.
_TOLD = re.compile(r'"?sep=([^\w\s"]|\t)"?[,;\t|]*(?:\r\n?|\n|$)', re.IGNORECASE)
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")
_ROWS_TRIED = 20
_CHARACTERS_TRIED = 1 << 16
_LONGEST_FIELD = 2**31 - 1  # the most the csv module takes on every platform; its default is 128 KiB
_LONGEST_SHOWN = 200

Find = Callable[[list[str], str], tuple[str, ...]]
"""The names of the columns looked for, given those that are there and where; raises a UserError if one is missing."""


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        where: File and line, for messages.
        fields: From the name of each column (`column_name`) to the value.
        found: The columns that were looked for.
    """

    where: str
    fields: dict[str, Any]
    found: tuple[str, ...]


def _own_csv() -> Any:
    """The csv module once more, for its limit to a field is the process's: other code finds it as it was."""
    spec = importlib.util.find_spec("_csv")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.field_size_limit(_LONGEST_FIELD)
    return module


_csv = _own_csv()


def column_name(name: str) -> str:
    """A column's name without white space at its ends, in lower case.

    >>> column_name(" Text")
    'text'
    """
    return name.strip().lower()


def short(value: object) -> str:
    """A value as a message shows it.

    >>> len(short("x" * 10_000))
    203
    """
    shown = repr(value)
    return shown if len(shown) <= _LONGEST_SHOWN else shown[:_LONGEST_SHOWN] + "..."


def delimited_rows(
    text: str,
    name: str,
    usual: str,
    find: Find,
    *,
    header: bool = True,
    fits: Callable[[dict[str, str], tuple[str, ...]], bool] = lambda fields, found: True,
) -> Iterator[Row]:
    r"""The rows of a table whose fields stand between commas, semicolons, tabs or vertical bars.

    >>> def find(columns, where):
    ...     if "text" not in columns:
    ...         raise UserError(f"{where}: no column 'text'")
    ...     return ("text",)
    >>> next(delimited_rows("text,label\nA joy.,pos\n", "reviews.csv", ",", find)).fields
    {'text': 'A joy.', 'label': 'pos'}

    What stands between the fields is what Excel's first line `sep=;` tells; else the first with which `find` finds its
    columns and, without a header, a row fits; else the first that makes rows of one length. If it is not the usual one,
    that is told on standard error.

    Args:
        text: The table. Quoting is strict, or an opening quotation mark without its fellow would swallow the rows
            after it.
        name: The file's name, for messages.
        usual: What stands between the fields, to go by the file's name.
        find: Finds the columns that are looked for.
        header: The first row names the columns. Otherwise their names are "1", "2" and so on.
        fits: Whether a row without a header can be one, by its fields and the columns that `find` has found.

    Raises:
        UserError: As `find`, a row of another length than the first, or broken quoting. The message names the line.
    """
    told = _TOLD.match(text)
    start = told.end() if told else 0
    delimiter = told[1] if told else _delimiter(text, usual, find, header, fits)
    if delimiter != usual:
        between, instead = (_DELIMITERS.get(each, repr(each)) for each in (delimiter, usual))
        tell(f"{name!r}: fields stand between {between}, not {instead}")
    reader = _csv.reader(_lines(text, start), delimiter=delimiter, strict=True)
    above = 1 if told else 0
    columns: list[str] = []
    found: tuple[str, ...] = ()
    line = above + 1
    try:
        for row in reader:
            where, line = f"{name!r} line {line}", above + reader.line_num + 1
            if not row or (len(row) == 1 and not row[0].strip()):
                continue
            if not columns:
                columns = _columns(row, header)
                found = find(columns, where)
                if header:
                    continue
            if len(row) != len(columns):
                raise UserError(
                    f"{where}: {len(row)} fields where the {'header' if header else 'first row'} has {len(columns)}: "
                    f"quote a field that holds {delimiter!r} or a line end"
                )
            yield Row(where, dict(zip(columns, row, strict=True)), found)
    except _csv.Error as error:
        raise UserError(
            f"{name!r} line {line}: {reason(error)}: quote the whole field and double each quotation mark in it"
        ) from error


def first_row(text: str, usual: str) -> list[str]:
    r"""The fields of a table's first row, whatever they are; none of an empty table.

    >>> first_row("sep=;\nEnglish;German\n", ",")
    ['English', 'German']

    Args:
        text: As in `delimited_rows`.
        usual: What stands between the fields, to go by the file's name.
    """
    told = _TOLD.match(text)
    text = text[told.end() :] if told else text
    delimiter = (
        told[1] if told else _delimiter(text, usual, lambda columns, where: (), False, lambda fields, found: True)
    )
    return next((row for row in _beginning(text, delimiter) if any(field.strip() for field in row)), [])


def json_rows(text: str, name: str, find: Find) -> Iterator[Row]:
    r"""The rows of JSON Lines, an object each.

    >>> next(json_rows('{"Text": "A joy.", "label": 1}\n', "reviews.jsonl", lambda columns, where: ())).fields
    {'text': 'A joy.', 'label': 1}

    Raises:
        UserError: As `find`, or a line that is no JSON object. The message names the line.
    """
    found: tuple[str, ...] = ()
    for number, line in enumerate(_lines(text), start=1):
        if not line.strip():
            continue
        where = f"{name!r} line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: not valid JSON: {reason(error)}: one object a line is expected") from error
        if not isinstance(row, dict):
            raise UserError(f'{where}: {short(row)} is not a JSON object: expected {{"text": ..., "label": ...}}')
        fields = {column_name(key): value for key, value in row.items()}
        found = found or find(list(fields), where)
        for column in found:
            if column not in fields:
                raise UserError(f"{where}: no column {column!r} among {short(list(fields))}, which rows before have")
        yield Row(where, fields, found)


def _lines(text: str, start: int = 0) -> Iterator[str]:
    """Lines with their ends. As a table ends them: `str.splitlines` would also break at form feeds within a field."""
    return (match[0] for match in _LINE.finditer(text, start))


def _columns(row: list[str], header: bool) -> list[str]:
    return [column_name(field) for field in row] if header else [str(at) for at in range(1, len(row) + 1)]


def _delimiter(text: str, usual: str, find: Find, header: bool, fits: Callable[..., bool]) -> str:
    beginnings = {delimiter: _beginning(text, delimiter) for delimiter in dict.fromkeys([usual, *_DELIMITERS])}
    even = [
        delimiter for delimiter, rows in beginnings.items() if len(rows[0]) > 1 and len({len(row) for row in rows}) == 1
    ]
    for delimiter in beginnings if header else even:
        rows = beginnings[delimiter]
        columns = _columns(rows[0], header)
        try:
            found = find(columns, "")
        except UserError:
            continue
        if header or any(fits(dict(zip(columns, row, strict=True)), found) for row in rows):
            return delimiter
    return even[0] if even else usual


def _beginning(text: str, delimiter: str) -> list[list[str]]:
    """The first rows as a delimiter makes them, at least an empty one."""
    rows: list[list[str]] = []
    reader = _csv.reader(_lines(text[:_CHARACTERS_TRIED]), delimiter=delimiter, strict=True)
    with suppress(_csv.Error):  # a wrong delimiter, or where the text was cut
        for row in islice(filter(None, reader), _ROWS_TRIED):
            rows.append(row)
    return rows or [[]]
