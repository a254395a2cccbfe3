"""A set of TensorFlow Datasets with the features `text` and `label`, such as `imdb_reviews`."""

from collections.abc import Collection
from typing import Any

from nlp_lstm.datasets.review_records import LABEL_NAMES, LabelledText, Split, text_group
from nlp_lstm.datasets.tfds_source import features_of, opened
from nlp_lstm.errors import UserError

_TFDS_SPLITS: dict[Split, str] = {
    "train": "train",
    "validation": "validation",
    "test": "test",
    "unlabelled": "unsupervised",
}
# yelp_polarity_reviews calls negative "1" and positive "2".
_STARS = {"1": 0, "2": 1}


def read(name: str, wanted: Collection[Split]) -> dict[Split, list[LabelledText]]:
    """Read splits of a set, downloading it on first use (to `TFDS_DATA_DIR` or `~/tensorflow_datasets`).

    >>> reviews = read("imdb_reviews", ["train", "test"])  # doctest: +SKIP
    >>> len(reviews["train"])  # doctest: +SKIP
    25000

    Args:
        name: The set, as `set/configuration:version`; the last two may be left out.
        wanted: The splits to read. "unlabelled" is the set's split "unsupervised".

    Returns:
        The wanted splits, save those the set does not have. The sets do not tell the film of a review: the group is
        `text_group`.

    Raises:
        UserError: No such set, no features `text` and `label` with names for negative and positive, or a failed
            download.
    """
    with opened(name, example="imdb_reviews") as builder:
        labels = _labels(name, features_of(builder))
        builder.download_and_prepare()
        own = [split for split in wanted if _TFDS_SPLITS[split] in builder.info.splits]
        return {split: _records(builder, split, labels) for split in own}


def _labels(name: str, found: dict[str, Any]) -> list[int]:
    """The label for each class number of the set."""
    import tensorflow_datasets as tfds

    if not isinstance(found.get("text"), tfds.features.Text) or not isinstance(
        found.get("label"), tfds.features.ClassLabel
    ):
        raise UserError(
            f"TensorFlow Datasets' {name!r} has the features {sorted(found)}: expected a string 'text' and a class "
            "'label', as 'imdb_reviews' has"
        )
    classes = found["label"].names
    known = _STARS if classes == list(_STARS) else LABEL_NAMES
    if sorted(known.get(class_.lower(), -1) for class_ in classes) != [0, 1]:
        raise UserError(
            f"TensorFlow Datasets' {name!r} has the labels {classes}: expected two, for negative and positive, as "
            "'imdb_reviews' has"
        )
    return [known[class_.lower()] for class_ in classes]


def _records(builder: Any, split: Split, labels: list[int]) -> list[LabelledText]:
    examples = builder.as_dataset(split=_TFDS_SPLITS[split], shuffle_files=False)
    # In batches: one example at a time takes minutes for imdb_reviews.
    batches = examples.map(lambda example: (example["text"], example["label"])).batch(1024)
    records = []
    for texts, classes in batches.as_numpy_iterator():
        for content, class_ in zip(texts, classes, strict=True):
            text = content.decode("utf-8", errors="replace")
            # Class -1 stands for an example without a label.
            label = labels[class_] if class_ >= 0 and split != "unlabelled" else None
            records.append(LabelledText(text, label, text_group(text)))
    return records
