"""Running text in files: one file, or a folder with a file for each split or with many files of one text."""

import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePath

from nlp_lstm.datasets.compressed import READ_ERRORS, open_decompressed, reason
from nlp_lstm.datasets.encodings import Replaced, plain_line_ends
from nlp_lstm.datasets.encodings import decode as decode_file
from nlp_lstm.errors import UserError

SUFFIXES = (".txt", ".md", ".rst", ".py", ".text")
"""The names that count as text in a folder without files named after splits, also before a packed suffix."""

_PACKED_SUFFIXES = (".gz", ".bz2", ".xz")
SPLIT_WORDS = {
    "train": "train",
    "valid": "validation",
    "validation": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
"""What the name of a file may call a split."""


def decode(content: bytes) -> str:
    r"""Text from a data set's own bytes: no byte order mark, "\n" at line ends, U+FFFD for what is no UTF-8.

    >>> decode(b"\xef\xbb\xbfcaf\xc3\xa9\r\n")
    'café\n'
    """
    return content.decode("utf-8-sig", errors="replace").replace("\r\n", "\n")


def concatenate(texts: Iterable[str]) -> str:
    r"""One text of many; where one does not end its last line, a line end keeps it apart from the next.

    >>> concatenate(["one\n", "two", "three"])
    'one\ntwo\nthree'
    """
    parts: list[str] = []
    for text in filter(None, texts):
        if parts and not parts[-1].endswith("\n"):
            parts.append("\n")
        parts.append(text)
    return "".join(parts)


def read_file(path: Path, encoding: str = "", replaced: Replaced | None = None) -> str:
    r"""The text of a file, plain or packed with gzip, bzip2 or xz, with "\n" at its line ends.

    >>> read_file(Path("nlp_lstm/datasets/sample_text.txt"))[:15]
    'THE FERRY BOOK\n'

    Args:
        path: The file.
        encoding: As in `encodings.decode`, and so is `replaced`.
        replaced: Where to count what cannot be decoded.

    Raises:
        UserError: The file cannot be read, is damaged, or is no text in that encoding.
    """
    try:
        with open_decompressed(path) as stream:
            content = stream.read()
    except READ_ERRORS as error:
        raise UserError(
            f"cannot read {str(path)!r}: {reason(error)}: check its permissions and that it is whole"
        ) from error
    return plain_line_ends(decode_file(content, str(path), encoding, replaced))


def read_folder(folder: Path, wanted: Collection[str], encoding: str = "") -> dict[str, str]:
    """The splits of a folder.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"):
    ...         _ = Path(folder, name).write_text(name)
    ...     read_folder(Path(folder), ["train", "test"])
    {'test': 'ptb.test.txt', 'train': 'ptb.train.txt'}

    If the folder itself holds files named after splits, such as `train.txt` and `ptb.valid.txt.xz`, those are the
    corpus and other files are left alone. Otherwise all text files below the folder are one text, in the order of their
    paths. What is hidden does not count.

    Args:
        folder: Where the files are.
        wanted: The splits to read, of "train", "validation", "test".
        encoding: That of each file, as in `encodings.decode`.

    Returns:
        The wanted splits, save those without a file; or the whole text as "train".

    Raises:
        UserError: Two files for one split, no text files, or as `read_file`.
    """
    replaced = Replaced()
    try:
        named = split_files(folder)
        if named:
            texts = {split: read_file(path, encoding, replaced) for split, path in named.items() if split in wanted}
            replaced.tell()
            return texts
        # Sorted as strings: by parts, "a/z" would come before "a.txt".
        found = sorted(_text_files(folder), key=lambda path: path.relative_to(folder).as_posix())
    except OSError as error:
        raise UserError(f"cannot read {str(folder)!r}: {reason(error)}: check its permissions") from error
    if not found:
        raise UserError(
            f"{str(folder)!r} holds no text files: expected train.txt, valid.txt and test.txt, or files in "
            f"{', '.join(SUFFIXES)} (also {', '.join(_PACKED_SUFFIXES)})"
        )
    text = concatenate(read_file(path, encoding, replaced) for path in found)
    replaced.tell()
    return {"train": text}


def split_files(folder: Path) -> dict[str, Path]:
    """The files directly in a folder that carry the word for a split in their name.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("ptb.train.txt", "ptb.valid.txt.xz", "README.txt"):
    ...         Path(folder, name).touch()
    ...     {split: path.name for split, path in split_files(Path(folder)).items()}
    {'train': 'ptb.train.txt', 'validation': 'ptb.valid.txt.xz'}

    A word is what stands between dots, hyphens and underscores. In Python sources it means something else: `train.py`
    and `test_model.py` are not looked at.

    Raises:
        OSError: The folder cannot be listed.
        UserError: Two files for one split, or a name with the words of two splits.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or _plain_suffix(path) == ".py" or not path.is_file():
            continue
        splits = sorted({SPLIT_WORDS[word] for word in re.split("[._-]", path.name.lower()) if word in SPLIT_WORDS})
        if len(splits) > 1:
            raise UserError(f"{str(path)!r} is named after {' and '.join(map(repr, splits))}: name it after one")
        for split in splits:
            if split in found:
                raise UserError(
                    f"{str(folder)!r} has two files for the split {split!r}, {found[split].name!r} and {path.name!r}: "
                    "keep one, or name a single file"
                )
            found[split] = path
    return found


def _text_files(folder: Path) -> Iterator[Path]:
    def give_up(error: OSError) -> None:
        raise error

    for parent, folders, names in os.walk(folder, onerror=give_up):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(parent, name) for name in names if not name.startswith(".")):
            if _plain_suffix(path) in SUFFIXES and path.is_file():
                yield path


def _plain_suffix(path: PurePath) -> str:
    """The suffix before a packed one: ".txt" of "a.txt.gz"."""
    name = PurePath(path.name.lower())
    return PurePath(name.stem).suffix if name.suffix in _PACKED_SUFFIXES else name.suffix
