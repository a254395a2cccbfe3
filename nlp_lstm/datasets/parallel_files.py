"""Parallel files: line N of one is the translation of line N of the other."""

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path

from nlp_lstm.datasets.compressed import reason
from nlp_lstm.datasets.pair_records import Pairs, SourcePairs, direction, lines
from nlp_lstm.datasets.text_files import SPLIT_WORDS, read_file
from nlp_lstm.errors import UserError
from nlp_lstm.notices import tell

LAYOUT = "train.en and train.de (also val and test, other languages, .gz, .bz2, .xz)"
"""An example of a folder that `read_folder` takes."""

_SET = re.compile(rf"{'|'.join(SPLIT_WORDS)}|test[_-][^.]+", re.IGNORECASE)
# The lookahead keeps a packed file without a language, such as train.gz, from being one in the language "gz".
_LANGUAGE = re.compile(r"(?!(?:gz|bz2|xz)$)([a-z][\w-]*)(?:\.(?:gz|bz2|xz))?", re.IGNORECASE | re.ASCII)
_OF_PAIR = re.compile(
    r"(?:(?P<before>.+)[._])?(?P<one>[a-z]{2,3}(?:_[a-z]{2,4})?)-(?P<other>[a-z]{2,3}(?:_[a-z]{2,4})?)"
    r"(?:[-.](?P<behind>[^.]+))?",
    re.IGNORECASE | re.ASCII,
)
_LONGEST_EXCERPT = 60

_Files = dict[str, dict[str, list[Path]]]
"""From the name of a set of lines, such as "test_2016_flickr", and a language to the files."""


def read_pairs(source_file: str | os.PathLike[str], target_file: str | os.PathLike[str], encoding: str = "") -> Pairs:
    r"""Two parallel files, plain or packed with gzip, bzip2 or xz, as they stand.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = Path(folder, "test.en"), Path(folder, "test.de")
    ...     for file, sentence in zip(files, ["A dog runs.", "Ein Hund läuft."]):
    ...         _ = file.write_text(sentence, encoding="utf-8")
    ...     read_pairs(*files)
    Pairs(source=['A dog runs.'], target=['Ein Hund läuft.'])

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
) -> SourcePairs:
    """The splits of a folder with a file for each split and language, such as `train.en.gz`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("train.en", "train.de", "val.en", "val.de"):
    ...         _ = Path(folder, name).write_text(name)
    ...     read_folder(Path(folder), ["validation"], "en", "de").splits
    {'validation': Pairs(source=['val.en'], target=['val.de'])}

    The split is called train; val, valid, validation or dev; test, or test with more after `_` or `-`. The languages
    of the pair may stand between, as in `train.en-de.en` and `opus.en-de-train.en`. If no file is named after a split,
    those named after a pair of languages, such as OPUS's `Europarl.de-en.en`, are all train, one after the other. Other
    files directly in the folder, and folders in it, are left alone.

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
    found = _by_set_and_language(paths)
    files = {name: languages for name, languages in found.items() if _split(name, languages)}
    corpora = {} if files else {name: languages for name, languages in found.items() if _pair(name, languages)}
    if not files and not corpora:
        raise UserError(f"{str(folder)!r} holds no parallel files: expected {LAYOUT}")
    there = {language for languages in (files or corpora).values() for language in languages}
    languages = direction(str(folder), there, source_language, target_language)
    if corpora:
        return SourcePairs(_read_corpora(folder, corpora, wanted, languages, encoding), languages)
    result = {}
    for split in wanted:
        name = _set_of(folder, files, split, languages)
        if name:
            result[split] = _read_set(folder, name, files[name], languages, encoding)
    return SourcePairs(result, languages)


def _read_corpora(
    folder: Path, corpora: _Files, wanted: Collection[str], languages: tuple[str, str], encoding: str
) -> dict[str, Pairs]:
    """All corpora in two languages, one after the other."""
    chosen = [name for name, found in corpora.items() if all(language in found for language in languages)]
    if not chosen:
        pair = " and ".join(map(repr, languages))
        raise UserError(f"{str(folder)!r} has no files that are named after both {pair}: choose other languages")
    if "train" not in wanted:
        return {}
    if len(chosen) > 1:
        tell(f"{str(folder)!r}: {len(chosen)} corpora are read together: {', '.join(map(repr, chosen))}")
    pairs = Pairs([], [])
    for name in chosen:
        for side, sentences in zip(pairs, _read_set(folder, name, corpora[name], languages, encoding), strict=True):
            side.extend(sentences)
    return {"train": pairs}


def _pair(name: str, languages: Collection[str]) -> re.Match[str] | None:
    """The parts of a name with the pair of its languages in it: `Europarl.de-en`, `opus.de-en-train`."""
    match = _OF_PAIR.fullmatch(name)
    is_pair = match and {match["one"].lower(), match["other"].lower()} == {each.lower() for each in languages}
    return match if is_pair else None


def _split(name: str, languages: Collection[str]) -> str | None:
    """The split that a set of lines is named after."""
    pair = _pair(name, languages)
    for part in filter(None, (pair["behind"], pair["before"]) if pair else (name,)):
        if _SET.fullmatch(part):
            return SPLIT_WORDS[re.split("[_-]", part.lower())[0]]
    return None


def read_prefix(prefix: Path, source_language: str, target_language: str, encoding: str = "") -> SourcePairs | None:
    """The pairs of parallel files that share a prefix: `folder/train` for `folder/train.en` and `folder/train.de`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("train.en", "train.de"):
    ...         _ = Path(folder, name).write_text(name)
    ...     read_prefix(Path(folder, "train"), "en", "de").splits
    {'train': Pairs(source=['train.en'], target=['train.de'])}

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
    return SourcePairs({"train": _read_set(prefix.parent, prefix.name, found, languages, encoding)}, languages)


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
    named = [name for name in files if _split(name, files[name]) == split]
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
