"""A table of sentence pairs: a sentence, a tab and its translation a line, as for flash cards.

There are no quotation rules: a quotation mark is a character like any other.
"""

from pathlib import Path

from nlp_lstm.datasets.pair_records import Pairs, lines
from nlp_lstm.datasets.text_files import read_file
from nlp_lstm.errors import UserError

SUFFIXES = (".txt", ".tsv", ".tab")
"""The names of pair tables, also before a packed suffix."""

_PACKED_SUFFIXES = ("", ".gz", ".bz2", ".xz")


def is_table(name: str) -> bool:
    """Whether a file's name is that of a pair table.

    >>> is_table("deu.TXT.xz"), is_table("train.de")
    (True, False)
    """
    return name.lower().endswith(tuple(plain + packed for plain in SUFFIXES for packed in _PACKED_SUFFIXES))


def read_table(path: Path, encoding: str = "") -> Pairs:
    """The pairs of a table, plain or packed with gzip, bzip2 or xz: the first column is the source.

    >>> pairs = read_table(Path("spa.txt"))
    >>> pairs.source[0], pairs.target[0]
    ('Go.', 'Ve.')

    Args:
        path: The file.
        encoding: As in `encodings.decode`.

    Raises:
        UserError: As `parse`, or a file that cannot be read or is empty.
    """
    text = read_file(path, encoding)
    if not text:
        raise UserError(f"{str(path)!r} is empty: expected a sentence, a tab and its translation a line")
    return parse(text, str(path))


def parse(text: str, name: str) -> Pairs:
    r"""The pairs of a table's text, in its order.

    >>> parse("Go.\tGeh!\nHi.\tHallo!\tCC-BY 2.0 (France) Attribution: tatoeba.org\n", "deu.txt")
    Pairs(source=['Go.', 'Hi.'], target=['Geh!', 'Hallo!'])

    Args:
        text: The table. A third column, if it is not empty, must be a licence, as in the newer files of
            manythings.org/anki; it does not get into the pairs.
        name: The file's name, for messages.

    Raises:
        UserError: A line of another number of columns, or with something else in the third. The message names it.
    """
    pairs = Pairs([], [])
    for number, line in enumerate(lines(text), start=1):
        columns = line.split("\t")
        if len(columns) not in (2, 3):
            shown = "1 column" if len(columns) == 1 else f"{len(columns)} columns"
            raise UserError(
                f"{name!r} line {number} has {shown}: expected a sentence, a tab and its translation, and at most a "
                "tab and a licence after that"
            )
        # Else a table that begins with a column of numbers would teach to translate numbers into the source language.
        if len(columns) == 3 and columns[2] and not columns[2].startswith("CC"):
            raise UserError(
                f"{name!r} line {number} has 3 columns, and the third is no licence such as 'CC-BY 2.0': keep the "
                "sentence and its translation alone"
            )
        pairs.source.append(columns[0])
        pairs.target.append(columns[1])
    return pairs
