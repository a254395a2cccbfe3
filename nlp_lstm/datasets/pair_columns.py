"""Which two columns of a table hold the sentences and their translations, and whether its first row names them."""

from collections.abc import Sequence
from typing import NamedTuple

from nlp_lstm.datasets.languages import is_language, language_code
from nlp_lstm.datasets.pair_records import Pairs, direction
from nlp_lstm.datasets.table_rows import column_name, short
from nlp_lstm.errors import UserError

_SOURCE = ("source", "src", "source_text", "source_sentence", "sentence", "text", "original", "input")
_TARGET = ("target", "tgt", "trg", "target_text", "target_sentence", "translation", "reference", "output")
_BESIDE = ("id", "source_id", "target_id", "score", "licence", "license", "attribution", "domain", "split")


class PairFormat(NamedTuple):
    """What of a file of pairs cannot be seen in it.

    >>> PairFormat(source_column="en", target_column="de").reverse
    False

    Attributes:
        source_column: The name of the column of sentences; small and capital letters are one. Without a header columns
            are called "1", "2" and so on. "" for the usual one.
        target_column: Likewise of translations.
        header: Whether the first row names the columns; None to go by what stands in it.
        source_language: The language to translate from. Where columns have names of languages, it chooses one of them.
        target_language: Likewise.
        reverse: Swap what the order of the columns says.
        encoding: As in `encodings.decode`.
    """

    source_column: str = ""
    target_column: str = ""
    header: bool | None = None
    source_language: str = ""
    target_language: str = ""
    reverse: bool = False
    encoding: str = ""


class FilePairs(NamedTuple):
    """The pairs of one file, and the codes of the languages where the file tells them, else "".

    >>> FilePairs(Pairs(["Go."], ["Ve."]), ("en", "es")).languages
    ('en', 'es')
    """

    pairs: Pairs
    languages: tuple[str, str] = ("", "")


def is_header(fields: Sequence[str], languages: Sequence[str] = ()) -> bool:
    r"""Whether a first row names columns: all of its fields are languages or usual names, and no two are the same.

    >>> is_header(["en", "de"]), is_header(["Source", "Target"]), is_header(["English", "Englisch"])
    (True, True, False)

    Args:
        fields: Those of the row.
        languages: What else may be a language's name.
    """
    names = [column_name(field) for field in fields]
    columns = [name for name in names if name in _SOURCE or name in _TARGET or _is_language(name, languages)]
    return (
        len(columns) > 1 and len(set(names)) == len(names) and all(name in columns or name in _BESIDE for name in names)
    )


def choose_columns(columns: Sequence[str], where: str, told: PairFormat) -> tuple[str, str]:
    """The names of the columns of source and target.

    >>> choose_columns(["id", "de", "en"], "'pairs.csv' line 1", PairFormat(source_language="en"))
    ('en', 'de')

    They are those that are named; else those of the languages that are named; else those with a usual name; else the
    two that have a language's name, or the only two, in their order.

    Args:
        columns: The names that are there, as `column_name` gives them.
        where: The table and its line, for messages.
        told: What a person says.

    Raises:
        UserError: A column or a language that is not there, or no one way to choose.
    """
    if told.source_column or told.target_column:
        return _named(columns, where, told)
    languages = [name for name in columns if language_code(name) and name != "id"]
    of_source, of_target = (
        next((name for name in columns if language and is_language(name, language)), "")
        for language in (told.source_language, told.target_language)
    )
    if of_source or of_target or (len(languages) > 1 and (told.source_language or told.target_language)):
        return direction(
            where,
            dict.fromkeys([*languages, *filter(None, (of_source, of_target))]),
            of_source or told.source_language,
            of_target or told.target_language,
        )
    usual = [next((name for name in names if name in columns), "") for names in (_SOURCE, _TARGET)]
    for found in (usual if all(usual) else [], languages, columns):
        if len(found) == 2:
            return (found[1], found[0]) if told.reverse else (found[0], found[1])
    raise UserError(
        f"{where} has {len(columns)} column{'s' * (len(columns) != 1)}, {short(list(columns))}: choose two with "
        "--source-column and --target-column"
    )


def languages_of(source: str, target: str) -> tuple[str, str]:
    """The codes of two columns that are named after languages, else "".

    >>> languages_of("english", "de_DE"), languages_of("source", "target")
    (('en', 'de'), ('', ''))
    """
    codes = (language_code(source), language_code(target))
    return codes if all(codes) else ("", "")


def _is_language(name: str, languages: Sequence[str]) -> bool:
    return (bool(language_code(name)) and name != "id") or any(name == column_name(each) for each in languages if each)


def _named(columns: Sequence[str], where: str, told: PairFormat) -> tuple[str, str]:
    if told.reverse:
        raise UserError("--reverse swaps the columns of a table: swap --source-column and --target-column instead")
    given = {"--source-column": told.source_column, "--target-column": told.target_column}
    for flag, name in given.items():
        if name and column_name(name) not in columns:
            raise UserError(f"{where} has no column {name!r}: {flag} chooses among {short(list(columns))}")
    source, target = map(column_name, given.values())
    others = [name for name in columns if name not in (source, target)]
    if not (source and target) and len(others) != 1:
        missing = "--target-column" if source else "--source-column"
        raise UserError(f"{where} has the columns {short(list(columns))}: name the other one with {missing}")
    if source == target:
        raise UserError(f"--source-column and --target-column are both {source!r}: name two columns")
    return source or others[0], target or others[0]
