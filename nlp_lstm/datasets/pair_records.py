"""The sentence pairs every source yields, the lines they come from, and which language stands on which side."""

import re
from collections.abc import Collection
from typing import NamedTuple

from nlp_lstm.errors import UserError


class Pairs(NamedTuple):
    r"""Sentences and their translations.

    >>> pairs = Pairs(source=["A dog runs.", "Hello!"], target=["Ein Hund läuft.", "Hallo!"])
    >>> pairs.target[1]
    'Hallo!'

    Attributes:
        source: The sentences to translate, as they stand in the data. None holds "\n".
        target: `target[i]` is the translation of `source[i]`; the lists are of the same length.
    """

    source: list[str]
    target: list[str]


class SourcePairs(NamedTuple):
    """The splits of a source, and what is known of it.

    >>> SourcePairs({"train": Pairs(["Go."], ["Ve."])}, ("en", "es")).languages
    ('en', 'es')

    Attributes:
        splits: The pairs of each split.
        languages: Those of source and target, as the source calls them; "" where it does not tell.
        is_one_table: All pairs come from one table, in which a sentence may stand with several translations.
    """

    splits: dict[str, Pairs]
    languages: tuple[str, str]
    is_one_table: bool = False


def lines(text: str) -> list[str]:
    r"""The lines of a text without their ends.

    >>> lines("one\n\ntwo")
    ['one', '', 'two']

    `str.splitlines` would also break at form feeds and other separators within a sentence, and one side of a pair would
    move against the other.
    """
    return text.removesuffix("\n").split("\n") if text else []


def one_line(sentence: str) -> str:
    r"""A sentence without line ends: each, with the white space about it, becomes a space; none stands at an end.

    >>> one_line("\n  A dog\r\n  runs.\n")
    'A dog runs.'
    """
    parts = re.split("[\r\n]+", sentence)
    return sentence if len(parts) == 1 else " ".join(filter(None, (part.strip(" \t") for part in parts)))


def direction(
    name: str,
    languages: Collection[str],
    source_language: str,
    target_language: str,
    default: tuple[str, str] | None = None,
) -> tuple[str, str]:
    """The languages of source and target.

    >>> direction("multi30k", ["de", "en"], "", "en")
    ('de', 'en')

    Args:
        name: What the languages belong to, for messages.
        languages: Those that are there.
        source_language: One of them, or "" for the other one of two.
        target_language: Likewise.
        default: What holds where neither is named.

    Raises:
        UserError: A language that is not there, fewer than two of them, or more than one way to choose.
    """
    there = ", ".join(map(repr, sorted(languages)))
    if len(languages) < 2:
        raise UserError(f"{name!r} holds one language alone, {there}: translation needs two")
    for language in filter(None, (source_language, target_language)):
        if language not in languages:
            raise UserError(f"{name!r} has no language {language!r}: choose among {there}")
    if source_language and target_language:
        return source_language, target_language
    if default and not (source_language or target_language):
        return default
    others = [language for language in languages if language not in (source_language, target_language)]
    if len(others) == 1 and (source_language or target_language):
        return source_language or others[0], target_language or others[0]
    raise UserError(
        f"{name!r} holds the languages {there}: choose two of them with --source-language and --target-language"
    )
