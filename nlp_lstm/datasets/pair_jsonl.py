"""Sentence pairs in JSON Lines: an object a line, of two columns or as Hugging Face writes translations."""

from pathlib import Path
from typing import Any

from nlp_lstm.datasets.languages import is_language
from nlp_lstm.datasets.pair_columns import FilePairs, PairFormat, choose_columns, languages_of
from nlp_lstm.datasets.pair_records import Pairs, direction, one_line
from nlp_lstm.datasets.table_rows import Row, column_name, json_rows, short
from nlp_lstm.datasets.text_files import read_file
from nlp_lstm.errors import UserError

SUFFIXES = (".jsonl", ".ndjson")
_NESTED = "translation"


def read(path: Path, told: PairFormat = PairFormat()) -> FilePairs:  # noqa: B008
    """The pairs of a file, plain or packed with gzip, bzip2 or xz.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "wmt16.jsonl")
    ...     _ = path.write_text('{"translation": {"de": "Geh!", "en": "Go."}}')
    ...     read(path, PairFormat(source_language="de", target_language="en")).pairs
    Pairs(source=['Geh!'], target=['Go.'])

    Raises:
        UserError: As `parse`, or a file that cannot be read or is empty.
    """
    text = read_file(path, told.encoding)
    if not text.strip():
        raise UserError(f"{str(path)!r} is empty: expected an object with a sentence and its translation a line")
    return parse(text, str(path), told)


def parse(text: str, name: str, told: PairFormat = PairFormat()) -> FilePairs:  # noqa: B008
    r"""The pairs of JSON Lines, in their order.

    >>> parse('{"source": "Go.", "target": "Geh!"}\n', "pairs.jsonl").pairs
    Pairs(source=['Go.'], target=['Geh!'])
    >>> parse('{"translation": {"de": "Geh!", "en": "Go."}}', "x.jsonl", PairFormat(source_language="en")).languages
    ('en', 'de')

    Args:
        text: An object a line: two columns of text, or the one column `translation` with an object from languages to
            sentences. A line end within a text becomes a space, and null is an empty side.
        name: The file's name, for messages.
        told: What a person says of it.

    Raises:
        UserError: As `choose_columns` and `json_rows`, languages of which there is no one way to choose, or a column
            that is no text.
    """
    pairs, languages = Pairs([], []), ("", "")
    nested = False

    def find(columns: list[str], where: str) -> tuple[str, ...]:
        nonlocal nested
        nested = _NESTED in columns and not (told.source_column or told.target_column) and _is_nested(text)
        return (_NESTED,) if nested else choose_columns(columns, where, told)

    chosen: tuple[str, str] | None = None
    for row in json_rows(text, name, find):
        if nested:
            fields = _translations(row)
            chosen = chosen or _languages(row.where, fields, told)
        else:
            fields, chosen = row.fields, (row.found[0], row.found[1])
        source, target = (_text(row.where, fields, column) for column in chosen)
        languages = languages_of(*chosen)
        pairs.source.append(source)
        pairs.target.append(target)
    return FilePairs(pairs, languages)


def _is_nested(text: str) -> bool:
    """Whether the column `translation` of the first row holds an object, and not a sentence."""
    row = next(json_rows(text, "", lambda columns, where: ()))
    return isinstance(row.fields[_NESTED], dict)


def _translations(row: Row) -> dict[str, Any]:
    found = row.fields[_NESTED]
    if not isinstance(found, dict):
        raise UserError(f'{row.where}: "translation" is {short(found)}: expected {{"en": ..., "de": ...}} as before')
    return {column_name(language): sentence for language, sentence in found.items()}


def _languages(where: str, fields: dict[str, Any], told: PairFormat) -> tuple[str, str]:
    named = [
        next((key for key in fields if language and is_language(key, language)), language)
        for language in (told.source_language, told.target_language)
    ]
    return direction(where, fields, named[0], named[1])


def _text(where: str, fields: dict[str, Any], column: str) -> str:
    sentence = fields.get(column)
    if sentence is not None and not isinstance(sentence, str):
        raise UserError(f"{where}: {column!r} is {short(sentence)}: expected a text")
    return one_line(sentence or "")
