"""Sentence pairs in CSV: two columns, quoted, between commas, semicolons, tabs or vertical bars."""

from pathlib import Path

from nlp_lstm.datasets.pair_columns import FilePairs, PairFormat, choose_columns, is_header, languages_of
from nlp_lstm.datasets.pair_records import Pairs, one_line
from nlp_lstm.datasets.table_rows import delimited_rows, first_row, short
from nlp_lstm.datasets.text_files import read_file
from nlp_lstm.errors import UserError
from nlp_lstm.notices import tell

SUFFIXES = (".csv",)


def read(path: Path, told: PairFormat = PairFormat()) -> FilePairs:  # noqa: B008
    r"""The pairs of a table, plain or packed with gzip, bzip2 or xz.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "pairs.csv")
    ...     _ = path.write_text("id,german,english\n1,Geh!,Go.\n")
    ...     read(path, PairFormat(source_column="english", target_column="german")).pairs
    Pairs(source=['Go.'], target=['Geh!'])

    Raises:
        UserError: As `parse`, or a file that cannot be read or is empty.
    """
    text = read_file(path, told.encoding)
    if not text.strip():
        raise UserError(f"{str(path)!r} is empty: expected a row of names, and a sentence and its translation a row")
    return parse(text, str(path), told)


def parse(text: str, name: str, told: PairFormat = PairFormat()) -> FilePairs:  # noqa: B008
    r"""The pairs of a table's text, in its order.

    >>> parse("English,German\nGo.,Geh!\n\"Well, hi.\",Hallo!\n", "pairs.csv")
    FilePairs(pairs=Pairs(source=['Go.', 'Well, hi.'], target=['Geh!', 'Hallo!']), languages=('en', 'de'))

    The first row names the columns if it holds nothing but usual names, which is told on standard error, or if a column
    is chosen by its name. A line end within a field becomes a space.

    Args:
        text: The table.
        name: The file's name, for messages.
        told: What a person says of it.

    Raises:
        UserError: As `choose_columns` and `delimited_rows`.
    """
    header = told.header
    by_name = any(column and not column.isdecimal() for column in (told.source_column, told.target_column))
    if header is None:
        fields = first_row(text, ",")
        header = by_name or is_header(fields, (told.source_language, told.target_language))
        if header and not by_name:
            tell(
                f"{name!r}: the first row, {short(fields)}, is taken for the names of columns: --no-header if it is not"
            )
    pairs, languages = Pairs([], []), ("", "")
    for row in delimited_rows(
        text, name, ",", lambda columns, where: choose_columns(columns, where, told), header=header
    ):
        source, target = row.found
        languages = languages_of(source, target)
        pairs.source.append(one_line(row.fields[source]))
        pairs.target.append(one_line(row.fields[target]))
    return FilePairs(pairs, languages)
