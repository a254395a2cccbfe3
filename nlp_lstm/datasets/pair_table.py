"""A table of sentence pairs: a sentence, a tab and its translation a line, as for flash cards.

There are no quotation rules: a quotation mark is a character like any other.
"""

from collections.abc import Sequence
from pathlib import Path

from nlp_lstm.datasets.pair_columns import FilePairs, PairFormat, choose_columns, is_header, languages_of
from nlp_lstm.datasets.pair_records import Pairs, lines
from nlp_lstm.datasets.table_rows import column_name, short
from nlp_lstm.datasets.text_files import read_file
from nlp_lstm.errors import UserError
from nlp_lstm.notices import tell

SUFFIXES = (".txt", ".tsv", ".tab")
"""The names of pair tables, also before a packed suffix."""

_Row = tuple[int, list[str]]
"""The number of a line and its columns."""


def read_table(path: Path, told: PairFormat = PairFormat()) -> FilePairs:  # noqa: B008
    """The pairs of a table, plain or packed with gzip, bzip2 or xz: the first column is the source.

    >>> pairs = read_table(Path("nlp_lstm/datasets/sample_pairs.tsv")).pairs
    >>> pairs.source[2], pairs.target[2]
    ('I think that he is working in the field.', 'Ich glaube, dass er auf dem Feld arbeitet.')

    Args:
        path: The file.
        told: What a person says of it.

    Raises:
        UserError: As `parse`, or a file that cannot be read or is empty.
    """
    text = read_file(path, told.encoding)
    if not text.strip():
        raise UserError(f"{str(path)!r} is empty: expected a sentence, a tab and its translation a line")
    return parse(text, str(path), told)


def parse(text: str, name: str, told: PairFormat = PairFormat()) -> FilePairs:  # noqa: B008
    r"""The pairs of a table's text, in its order.

    >>> parse("Go.\tGeh!\n\nHi.\tHallo!\tCC-BY 2.0 (France) Attribution: tatoeba.org\n", "deu.txt").pairs
    Pairs(source=['Go.', 'Hi.'], target=['Geh!', 'Hallo!'])
    >>> parse("1276\tLet's try!\t2415\tVersuchen wir's!\n", "Sentence pairs in English-German.tsv").pairs
    Pairs(source=["Let's try!"], target=["Versuchen wir's!"])

    Blank lines are passed over. The first row names the columns if it holds nothing but usual names, which is told on
    standard error, or if a column is chosen by its name.

    Args:
        text: The table. Of two columns; or of three, of which the third is empty or a licence, as in the newer files of
            manythings.org/anki; or of four, a sentence and its translation with a number before each, as Tatoeba
            exports them. Where the first row, or a person, names columns, of as many as that row has.
        name: The file's name, for messages.
        told: What a person says of it.

    Raises:
        UserError: A line of another number of columns, or with something else in the third, or columns of which there
            is no one way to choose. The message names the line.
    """
    rows = [(number, line.split("\t")) for number, line in enumerate(lines(text), start=1) if line.strip()]
    if not rows:
        return FilePairs(Pairs([], []))
    number, first = rows[0]
    where = f"{name!r} line {number}"
    by_name = any(column and not column.isdecimal() for column in (told.source_column, told.target_column))
    header = (
        told.header
        if told.header is not None
        else by_name or is_header(first, (told.source_language, told.target_language))
    )
    if header:
        if told.header is None and not by_name:
            tell(f"{where}, {short(first)}, is taken for the names of columns: --no-header if it is not")
        return _by_columns(rows[1:], name, [column_name(field) for field in first], where, told)
    if told.source_column or told.target_column:
        return _by_columns(rows, name, [str(at) for at in range(1, len(first) + 1)], where, told)
    columns = _tatoeba(rows, name) if _is_numbered(first) else _plain(rows, name)
    return FilePairs(Pairs(*reversed(columns)) if told.reverse else columns)


def _plain(rows: Sequence[_Row], name: str) -> Pairs:
    pairs = Pairs([], [])
    for number, columns in rows:
        if len(columns) not in (2, 3):
            raise UserError(
                f"{name!r} line {number} has {_count(columns)}: expected a sentence, a tab and its translation, and at "
                "most a tab and a licence after that; columns are chosen with --source-column and --target-column"
            )
        # Else a table that begins with a column of numbers would teach to translate numbers into the source language.
        if len(columns) == 3 and columns[2] and not columns[2].startswith("CC"):
            raise UserError(
                f"{name!r} line {number} has 3 columns, and the third is no licence such as 'CC-BY 2.0': keep the "
                "sentence and its translation alone, or choose them with --source-column and --target-column"
            )
        pairs.source.append(columns[0])
        pairs.target.append(columns[1])
    return pairs


def _is_numbered(columns: Sequence[str]) -> bool:
    """Whether a row is as Tatoeba exports sentence pairs: number, sentence, number, translation."""
    return len(columns) == 4 and columns[0].isdecimal() and columns[2].isdecimal()


def _tatoeba(rows: Sequence[_Row], name: str) -> Pairs:
    pairs = Pairs([], [])
    for number, columns in rows:
        if not _is_numbered(columns):
            raise UserError(
                f"{name!r} line {number} has {_count(columns)}: expected a number, a sentence, a number and its "
                "translation, as in the lines before"
            )
        pairs.source.append(columns[1])
        pairs.target.append(columns[3])
    return pairs


def _by_columns(rows: Sequence[_Row], name: str, columns: list[str], where: str, told: PairFormat) -> FilePairs:
    source, target = choose_columns(columns, where, told)
    places = columns.index(source), columns.index(target)
    pairs = Pairs([], [])
    for number, fields in rows:
        if len(fields) != len(columns):
            raise UserError(
                f"{name!r} line {number} has {_count(fields)}, and the first row has {len(columns)}: give each as many"
            )
        pairs.source.append(fields[places[0]])
        pairs.target.append(fields[places[1]])
    return FilePairs(pairs, languages_of(source, target))


def _count(columns: Sequence[str]) -> str:
    return "1 column" if len(columns) == 1 else f"{len(columns)} columns"
