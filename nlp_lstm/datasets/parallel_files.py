"""Parallel files: line N of one is the translation of line N of the other."""

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path

from nlp_lstm.datasets.compressed import reason
from nlp_lstm.datasets.pair_records import Pairs, direction, lines
from nlp_lstm.datasets.text_files import SPLIT_WORDS, read_file
from nlp_lstm.errors import UserError

LAYOUT = "train.en and train.de (also val and test, other languages, .gz, .bz2, .xz)"
"""An example of a folder that `read_folder` takes."""

_SET = re.compile(rf"{'|'.join(SPLIT_WORDS)}|test[_-][^.]+", re.IGNORECASE)
# The lookahead keeps a packed file without a language, such as train.gz, from being one in the language "gz".
_LANGUAGE = re.compile(r"(?!(?:gz|bz2|xz)$)([a-z][\w-]*)(?:\.(?:gz|bz2|xz))?", re.IGNORECASE | re.ASCII)
_LONGEST_EXCERPT = 60

_Files = dict[str, dict[str, list[Path]]]
"""From the name of a set of lines, such as "test_2016_flickr", and a language to the files."""


def read_pairs(source_file: str | os.PathLike[str], target_file: str | os.PathLike[str], encoding: str = "") -> Pairs:
    r"""Two parallel files, plain or packed with gzip, bzip2 or xz, as they stand.

    >>> pairs = read_pairs("test_2016_flickr.en.gz", "test_2016_flickr.de.gz")
    >>> len(pairs.source)
    1000

    Empty lines stay, so that line N of a translation is judged by line N of the files. A line ends with "\n" or "\r\n"
    and nowhere else, save where all end with "\r".

    Args:
        source_file: Sentences.
        target_file: Their translations.
        encoding: That of both files, as in `encodings.decode`.

    Raises:
        UserError: A file that cannot be read or is empty, one file for both sides, or files of different length.
    """
    source_file, target_file = os.fspath(source_file), os.fspath(target_file)
    for path in (source_file, target_file):
        _check_file(path)
    if os.path.samefile(source_file, target_file):
        raise UserError(f"{source_file!r} and {target_file!r} are one file: name another for one side")
    pairs = Pairs(_lines_of(source_file, encoding), _lines_of(target_file, encoding))
    common = min(map(len, pairs))
    for (path, sentences), (other, others) in (
        ((source_file, pairs.source), (target_file, pairs.target)),
        ((target_file, pairs.target), (source_file, pairs.source)),
    ):
        if len(sentences) > common:
            raise UserError(
                f"{path!r} has {len(sentences)} lines and {other!r} has {len(others)}: line {common + 1} of {path!r}, "
                f"{_excerpt(sentences[common])}, is the first without a partner: give each line one"
            )
    return pairs


def read_folder(
    folder: Path, wanted: Collection[str], source_language: str, target_language: str, encoding: str = ""
) -> dict[str, Pairs]:
    """The splits of a folder with a file for each split and language, such as `train.en.gz`.

    >>> pairs = read_folder(Path("multi30k"), ["train", "validation"], "en", "de")
    >>> len(pairs["validation"].source)
    1014

    The split is called train; val, valid, validation or dev; test, or test with more after `_` or `-`. Other files
    directly in the folder, and folders in it, are left alone.

    Args:
        folder: Where the files are.
        wanted: The splits to read, of "train", "validation", "test".
        source_language: What stands after the split's name; "" for the other one of two languages.
        target_language: Likewise.
        encoding: As in `read_pairs`.

    Returns:
        The wanted splits, save those that have no file in either language.

    Raises:
        UserError: No parallel files, a choice of languages that is none or not the only one, more than one set of files
            for a wanted split, a file without its partner, or as `read_pairs`.
    """
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"cannot read {str(folder)!r}: {reason(error)}: check its permissions") from error
    files = _by_set_and_language(paths)
    files = {name: found for name, found in files.items() if _SET.fullmatch(name)}
    if not files:
        raise UserError(f"{str(folder)!r} holds no parallel files: expected {LAYOUT}")
    languages = direction(
        str(folder), {language for found in files.values() for language in found}, source_language, target_language
    )
    result = {}
    for split in wanted:
        name = _set_of(folder, files, split, languages)
        if name:
            result[split] = _read_set(folder, name, files[name], languages, encoding)
    return result


def read_prefix(prefix: Path, source_language: str, target_language: str, encoding: str = "") -> Pairs | None:
    """The pairs of parallel files that share a prefix: `folder/train` for `folder/train.en` and `folder/train.de`.

    >>> pairs = read_prefix(Path("multi30k/train"), "en", "de")
    >>> len(pairs.source)
    29000

    Returns:
        The pairs, or None where the prefix has not two languages.

    Raises:
        UserError: As `read_folder`.
    """
    try:
        paths = sorted(prefix.parent.iterdir())
    except PermissionError as error:
        raise UserError(f"cannot read {str(prefix.parent)!r}: {reason(error)}: check its permissions") from error
    except (OSError, ValueError):  # a ValueError is a NUL in the name
        return None
    found = _by_set_and_language(paths).get(prefix.name, {})
    if len(found) < 2:
        return None
    languages = direction(str(prefix), found, source_language, target_language)
    return _read_set(prefix.parent, prefix.name, found, languages, encoding)


def _by_set_and_language(paths: Iterable[Path]) -> _Files:
    files: _Files = defaultdict(lambda: defaultdict(list))
    for path in paths:
        # A prefix may hold dots; the language is the last part before the packed suffix.
        for at in (at for at, symbol in enumerate(path.name) if symbol == "."):
            match = _LANGUAGE.fullmatch(path.name, at + 1)
            if match and path.is_file():
                files[path.name[:at]][match[1]].append(path)
    return files


def _set_of(folder: Path, files: _Files, split: str, languages: tuple[str, str]) -> str | None:
    """The one set of lines for a split."""
    named = [name for name in files if SPLIT_WORDS[re.split("[_-]", name.lower())[0]] == split]
    complete = [name for name in named if all(language in files[name] for language in languages)]
    if len(complete) > 1:
        names = ", ".join(map(repr, complete))
        mend = "name the files of one with --source-file and --target-file" if split == "test" else "keep one"
        raise UserError(f"{str(folder)!r} has {len(complete)} sets for the split {split!r}, {names}: {mend}")
    halves = [name for name in named if any(language in files[name] for language in languages)]
    return next(iter(complete or halves), None)


def _read_set(
    folder: Path, name: str, files: dict[str, list[Path]], languages: tuple[str, str], encoding: str
) -> Pairs:
    for language in languages:
        found = files.get(language, [])
        if not found:
            there = next(files[language][0].name for language in languages if language in files)
            raise UserError(
                f"{str(folder)!r} has {there!r} but no '{name}.{language}': add it, or choose other languages"
            )
        if len(found) > 1:
            names = " and ".join(repr(path.name) for path in found)
            raise UserError(f"{str(folder)!r} has {names} for the same lines: keep one")
    source, target = (files[language][0] for language in languages)
    return read_pairs(source, target, encoding)


def _check_file(path: str) -> None:
    try:
        os.stat(path)  # Path("") would be the working folder
    except PermissionError as error:
        raise UserError(f"cannot read {path!r}: {reason(error)}: check its permissions") from error
    except (OSError, ValueError):  # a ValueError is a NUL in the name
        raise UserError(f"no such file {path!r}: check the path") from None
    if not os.path.isfile(path):
        raise UserError(f"{path!r} is no file: name one with a sentence a line")


def _lines_of(path: str, encoding: str) -> list[str]:
    text = read_file(Path(path), encoding)
    if not text:
        raise UserError(f"{path!r} is empty: expected a sentence a line")
    return lines(text)


def _excerpt(sentence: str) -> str:
    return repr(sentence if len(sentence) <= _LONGEST_EXCERPT else sentence[:_LONGEST_EXCERPT] + "...")
