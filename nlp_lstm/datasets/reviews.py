"""Labelled texts for sentiment analysis, the same records whatever the source; running text is in `corpus`.

One file a source kind: `sample`, `acl_imdb`, `review_table`, `tfds_reviews`. `load_reviews` chooses among them.
"""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from nlp_lstm.datasets import acl_imdb, review_table, sample, tfds_reviews, tfds_source
from nlp_lstm.datasets.compressed import reason
from nlp_lstm.datasets.review_records import LABELS, SPLITS, LabelledText, Split
from nlp_lstm.datasets.review_table import TableFormat
from nlp_lstm.datasets.splits import by_group, without_texts_of
from nlp_lstm.errors import UserError
from nlp_lstm.notices import tell

_FILES = "a table (.csv, .tsv, .jsonl; also .gz, .bz2, .xz) or an aclImdb archive (.tar, .tar.gz, .tar.xz, .tar.bz2)"
_FOLDERS = f"a folder with {acl_imdb.LAYOUT} or with train.csv and test.csv (or .tsv, .jsonl)"


_LABELLED: tuple[Split, ...] = ("train", "validation", "test")

Part = Split | Literal["all"]
"""A split, or all that has a label."""


def load_reviews(
    source: str | os.PathLike[str],
    splits: Sequence[Part],
    *,
    validation_fraction: float = 0.1,
    seed: int = 0,
    table: TableFormat = TableFormat(),  # noqa: B008
) -> dict[Part, list[LabelledText]]:
    """Read splits of a data source.

    >>> reviews = load_reviews("sample", ["train", "test"])
    >>> reviews["train"][0].label
    0

    Args:
        source: One of

            - "sample": the reviews in this package (a file of that name is "./sample");
            - a folder in aclImdb layout, or a tar archive of it;
            - a CSV, TSV or JSON Lines file with columns such as `text` and `label`, or a folder with one a split;
            - a TensorFlow Datasets name, such as "imdb_reviews".
        splits: The splits to return: "train", "validation", "test", "unlabelled", or "all" for what has a label,
            nothing cut off. Name them together, the source is read at each call.
        validation_fraction: The share of train cut off, by group, for validation. That is done whether or not
            "validation" is asked for, so train is the same either way; 0 leaves train whole. A source with a validation
            split of its own (the sample, a single table, some folders and TensorFlow datasets) keeps that.
        seed: Another seed cuts off other groups. The test split never depends on it.
        table: How to read tables.

    Returns:
        The records of each split. Train, validation, test and all hold both labels and no text without one. From
        "unlabelled", which may be empty, the texts that also occur in test are left out, so that pre-training does not
        see test: in the Large Movie Review Dataset 270 records of 266 texts.

    Raises:
        UserError: No such source, one that cannot be read or understood, or a split without texts of each label.
    """
    source = os.fspath(source)
    for split in splits:
        if split not in (*SPLITS, "all"):
            raise UserError(f"unknown split {split!r}: expected one of {', '.join(SPLITS)}, all")
    if not 0 <= validation_fraction < 1:
        raise UserError(f"validation_fraction is {validation_fraction}: expected at least 0 and less than 1")

    needed: set[Part] = set(splits)
    if "all" in needed:
        needed.update(_LABELLED)
    if needed & {"train", "validation"}:
        needed |= {"train", "validation"}
    if "unlabelled" in needed:
        needed.add("test")
    own = _read(source, [split for split in SPLITS if split in needed], table)
    found: dict[Part, list[LabelledText]] = dict(own.items())
    if "all" in splits:
        found["all"] = [record for split in _LABELLED for record in own.get(split, [])]
    if "validation" not in found and "train" in found:
        found["train"], found["validation"] = by_group(found["train"], validation_fraction, seed)
    if "unlabelled" in splits:
        found["unlabelled"] = without_texts_of(found.get("unlabelled", []), found.get("test", []))
    for split in splits:
        if split != "unlabelled":
            _check(source, split, found.get(split, []))
    return {split: found[split] for split in splits}


def load_judged(
    source: str | os.PathLike[str],
    split: Part,
    *,
    validation_fraction: float = 0.1,
    seed: int = 0,
    table: TableFormat = TableFormat(),  # noqa: B008
) -> list[LabelledText]:
    """The records to judge a model on: those of `load_reviews`.

    >>> len(load_judged("sample", "test")) < len(load_judged("sample", "all"))
    True

    Of a table that has no splits of its own a part is cut off, which the person may not know: how many of how many rows
    that is is told on standard error.
    """
    is_one_table = (
        split not in ("all", "unlabelled")
        and os.path.isfile(source)
        and review_table.suffix(os.fspath(source)) is not None
    )
    wanted: list[Part] = [split, "all"] if is_one_table else [split]
    found = load_reviews(source, wanted, validation_fraction=validation_fraction, seed=seed, table=table)
    if is_one_table:
        tell(
            f"{os.fspath(source)!r}: judging {len(found[split]):,} of {len(found['all']):,} rows with a label, the "
            f"part cut off for the split {split!r}: --split all judges every row"
        )
    return found[split]


def _read(source: str, wanted: Sequence[Split], table: TableFormat) -> dict[Split, list[LabelledText]]:
    """The splits that the source has of its own: the wanted ones, perhaps others too."""
    if source == "sample":
        return sample.read()
    path = Path(source)
    try:
        size = os.stat(source).st_size  # Path("") would be the working folder
    except PermissionError as error:
        raise UserError(f"cannot read {source!r}: {reason(error)}") from error
    except (OSError, ValueError):  # a ValueError is a NUL in the name
        if tfds_source.NAME.fullmatch(source):
            return tfds_reviews.read(source, wanted)
        raise UserError(
            f"no such file or dataset {source!r}: expected 'sample', a TensorFlow Datasets name such as "
            f"'imdb_reviews', {_FILES}, or {_FOLDERS}"
        ) from None
    if path.is_dir():
        return _read_folder(path, wanted, table)
    if path.is_file() and not size:
        raise UserError(f"{source!r} is empty: expected {_FILES}")
    if review_table.suffix(path.name):
        return review_table.read_file(path, table)
    if path.name.lower().endswith(acl_imdb.ARCHIVE_SUFFIXES):
        return acl_imdb.read(path, wanted)
    raise UserError(f"{source!r} is of no known kind: expected {_FILES}")


def _read_folder(path: Path, wanted: Sequence[Split], table: TableFormat) -> dict[Split, list[LabelledText]]:
    try:
        tables, roots = review_table.split_files(path), acl_imdb.find_roots(path)
    except OSError as error:
        raise UserError(f"cannot read {str(path)!r}: {reason(error)}") from error
    if tables:
        return review_table.read_folder(path, wanted, table)
    if roots:
        return acl_imdb.read(path, wanted)
    raise UserError(f"{str(path)!r} holds no reviews: expected {_FOLDERS}")


def _check(source: str, split: Part, records: Sequence[LabelledText]) -> None:
    more = " or a larger validation_fraction" if split == "validation" else ""
    if not records:
        raise UserError(f"{source!r} has no texts for the split {split!r}: it needs some{more}, or name another source")
    counts = Counter(record.label for record in records)
    if counts[None]:
        raise UserError(
            f"{source!r} has {counts[None]} texts without a label in the split {split!r}: label or drop them"
        )
    for label, name in enumerate(LABELS):
        if not counts[label]:
            raise UserError(
                f"{source!r} has no {name} text among the {len(records)} of the split {split!r}: it needs some{more}"
            )
