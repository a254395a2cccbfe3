"""Running text for a language model, the same whatever the source.

One file a source kind: `text_files` (files, folders and the packaged sample), `stdlib_sources`, `tfds_text`.
`load_corpus` chooses among them.
"""

import os
from collections.abc import Collection, Sequence
from importlib import resources
from pathlib import Path

from nlp_lstm.datasets import stdlib_sources, text_files, tfds_text
from nlp_lstm.datasets.compressed import reason
from nlp_lstm.datasets.tfds_source import NAME
from nlp_lstm.errors import UserError
from nlp_lstm.notices import tell

SPLITS = ("train", "validation", "test")


def load_corpus(
    source: str | os.PathLike[str],
    splits: Sequence[str],
    *,
    line_mode: bool = False,
    validation_fraction: float = 0.1,
    encoding: str = "",
) -> dict[str, str]:
    r"""Read splits of a corpus.

    >>> corpus = load_corpus("sample", ["train", "validation"])
    >>> corpus["train"][:15]
    'THE FERRY BOOK\n'

    Args:
        source: One of

            - "sample": the text in this package (a file of that name is "./sample");
            - "stdlib": the sources of Python's standard library;
            - a text file of any name, plain or packed with gzip, bzip2 or xz;
            - a folder with a file for each split, such as train.txt, valid.txt and test.txt, or with any text files
              (`text_files.SUFFIXES`), taken as one text;
            - a TensorFlow Datasets name, such as "tiny_shakespeare".
        splits: The splits to return: "train", "validation", "test", or "all" for the whole, nothing cut off. Name them
            together, the source is read at each call.
        line_mode: For a set of lines, such as the sentences of the Penn Treebank: white space at both ends of each line
            goes, each line ends with a line end, and validation starts with a whole line.
        validation_fraction: The share of characters at the end of train that becomes validation, between 0 and 1. That
            is done whether or not "validation" is asked for, so train is the same either way. A source with a
            validation split of its own keeps that.
        encoding: That of files, as in `encodings.decode`; other sources are UTF-8.

    Returns:
        The text of each split, not empty. Files in it begin on a line of their own. It holds "\n" for "\r\n", no byte
        order mark, and U+FFFD for what could not be decoded.

    Raises:
        UserError: No such source, one that cannot be read, or one without text for a split.
    """
    source = os.fspath(source)
    for split in splits:
        if split not in (*SPLITS, "all"):
            raise UserError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}, all")
    if not 0 < validation_fraction < 1:
        raise UserError(f"validation_fraction is {validation_fraction}: expected more than 0 and less than 1")

    needed = set(splits)
    if "all" in needed:
        needed = set(SPLITS)
    if "validation" in needed:
        needed.add("train")
    if "train" in needed:
        needed.add("validation")
    found = _read(source, needed, encoding)
    if found == {"train": ""}:
        raise UserError(f"{source!r} is empty: name a source that holds text")
    if line_mode:
        found = {split: _stripped_lines(text) for split, text in found.items()}
    if "all" in splits:
        found["all"] = text_files.concatenate(found.get(split, "") for split in SPLITS)
    if "validation" not in found and "train" in found:
        found["train"], found["validation"] = _cut(found["train"], validation_fraction, line_mode)
    for split in splits:
        _check(source, split, found)
    return {split: found[split] for split in splits}


def load_judged(
    source: str | os.PathLike[str],
    split: str,
    *,
    line_mode: bool = False,
    validation_fraction: float = 0.1,
    encoding: str = "",
) -> str:
    """The text to judge a model on: that of `load_corpus`.

    >>> len(load_judged("sample", "validation")) < len(load_judged("sample", "all"))
    True

    Of a file a part is cut off, which the person may not know: how much of how much that is is told on standard error.
    """
    is_one_file = split != "all" and os.path.isfile(source)
    wanted = [split, "all"] if is_one_file else [split]
    found = load_corpus(source, wanted, line_mode=line_mode, validation_fraction=validation_fraction, encoding=encoding)
    if is_one_file:
        tell(
            f"{os.fspath(source)!r}: judging {len(found[split]):,} of {len(found['all']):,} characters, the part cut "
            f"off for the split {split!r}: --split all judges the whole"
        )
    return found[split]


def _read(source: str, wanted: Collection[str], encoding: str) -> dict[str, str]:
    """The splits that the source has of its own; one without any is all "train"."""
    if source == "sample":
        content = resources.files("nlp_lstm.datasets").joinpath("sample_text.txt").read_bytes()
        return {"train": text_files.decode(content)}
    if source == "stdlib":
        return {"train": stdlib_sources.read()}
    path = Path(source)
    try:
        os.stat(source)  # Path("") would be the working folder
    except PermissionError as error:
        raise UserError(f"cannot read {source!r}: {reason(error)}: check its permissions") from error
    except (OSError, ValueError):  # a ValueError is a NUL in the name
        if NAME.fullmatch(source):
            return tfds_text.read(source, wanted)
        raise UserError(
            f"no such file or dataset {source!r}: expected a text file, a folder of them, 'sample', 'stdlib' or a "
            "TensorFlow Datasets name such as 'tiny_shakespeare'"
        ) from None
    if path.is_dir():
        return text_files.read_folder(path, wanted, encoding)
    if path.is_file():
        return {"train": text_files.read_file(path, encoding)}
    raise UserError(f"{source!r} is neither a file nor a folder: write the text to a file and name that")


def _stripped_lines(text: str) -> str:
    # Not splitlines, which also breaks at form feeds and other separators within a line.
    lines = text.removesuffix("\n").split("\n") if text else []
    return "".join(line.strip() + "\n" for line in lines)


def _cut(text: str, validation_fraction: float, line_mode: bool) -> tuple[str, str]:
    """Train and validation: running text has neighbours that tell about each other, so the cut is one and no draw."""
    at = int((1 - validation_fraction) * len(text))
    if line_mode and at:
        # The first line that starts at or after the cut; each line ends with "\n".
        at = text.find("\n", at - 1) + 1
    return text[:at], text[at:]


def _check(source: str, split: str, found: dict[str, str]) -> None:
    if split not in found:
        instead = "ask for 'validation', or " if split == "test" else ""
        raise UserError(
            f"{source!r} has no {split} part: {instead}name a folder with train.txt, valid.txt and test.txt"
        )
    if not found[split]:
        share = {"train": " or a smaller validation_fraction", "validation": " or a larger validation_fraction"}
        raise UserError(f"{source!r} has no text for the split {split!r}: it needs more text{share.get(split, '')}")
