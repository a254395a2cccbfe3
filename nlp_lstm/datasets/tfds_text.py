"""A set of TensorFlow Datasets with the feature `text`, such as `tiny_shakespeare`, as running text."""

from collections.abc import Collection, Iterator
from typing import Any

from nlp_lstm.datasets.text_files import concatenate, decode
from nlp_lstm.datasets.tfds_source import features_of, opened
from nlp_lstm.errors import UserError


def read(name: str, wanted: Collection[str]) -> dict[str, str]:
    """Read splits of a set, downloading it on first use (to `TFDS_DATA_DIR` or `~/tensorflow_datasets`).

    >>> corpus = read("tiny_shakespeare", ["train", "validation", "test"])  # doctest: +SKIP
    >>> len(corpus["train"])  # doctest: +SKIP
    1003854

    Args:
        name: The set, as `set/configuration:version`; the last two may be left out.
        wanted: The splits to read, of "train", "validation", "test".

    Returns:
        The wanted splits, all examples one after the other, save the splits that the set does not have.

    Raises:
        UserError: No such set, no feature `text`, or a failed download.
    """
    with opened(name, example="tiny_shakespeare") as builder:
        import tensorflow_datasets as tfds

        found = features_of(builder)
        if not isinstance(found.get("text"), tfds.features.Text):
            raise UserError(
                f"TensorFlow Datasets' {name!r} has the features {sorted(found)}: expected a string 'text', as "
                "'tiny_shakespeare' has"
            )
        builder.download_and_prepare()
        own = [split for split in wanted if split in builder.info.splits]
        return {split: concatenate(_texts(builder, split)) for split in own}


def _texts(builder: Any, split: str) -> Iterator[str]:
    examples = builder.as_dataset(split=split, shuffle_files=False)
    # In batches: one example at a time takes minutes for sets of sentences.
    for texts in examples.map(lambda example: example["text"]).batch(1024).as_numpy_iterator():
        yield from map(decode, texts)
