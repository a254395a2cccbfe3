"""A translation set of TensorFlow Datasets, such as `ted_hrlr_translate/pt_to_en`, as sentence pairs."""

from collections.abc import Collection
from typing import Any

from nlp_lstm.datasets.pair_records import Pairs, SourcePairs, direction
from nlp_lstm.datasets.text_files import decode
from nlp_lstm.datasets.tfds_source import features_of, opened
from nlp_lstm.errors import UserError

EXAMPLE = "ted_hrlr_translate/pt_to_en"
"""A set that would do, for messages."""


def read(name: str, wanted: Collection[str], source_language: str, target_language: str) -> SourcePairs:
    """Read splits of a set, downloading it on first use (to `TFDS_DATA_DIR` or `~/tensorflow_datasets`).

    >>> found = read("ted_hrlr_translate/pt_to_en", ["train", "validation", "test"], "", "")  # doctest: +SKIP
    >>> len(found.splits["train"].source)  # doctest: +SKIP
    51785

    Args:
        name: The set, as `set/configuration:version`; the last two may be left out.
        wanted: The splits to read, of "train", "validation", "test".
        source_language: One of the set's languages, or "" for the other one of two.
        target_language: Likewise. Where both are "" the set's own direction holds.

    Returns:
        The wanted splits, save those the set does not have. A line end within a sentence becomes a space.

    Raises:
        UserError: No such set, one that holds no translations, a language it does not have, or a failed download.
    """
    with opened(name, example=EXAMPLE) as builder:
        import tensorflow_datasets as tfds

        found = builder.info.features
        if not isinstance(found, tfds.features.Translation):
            raise UserError(
                f"TensorFlow Datasets' {name!r} has the features {sorted(features_of(builder))}: expected a sentence "
                f"in each of two languages, as {EXAMPLE!r} has"
            )
        languages = direction(name, found.languages, source_language, target_language, _own_direction(builder))
        builder.download_and_prepare()
        own = [split for split in wanted if split in builder.info.splits]
        return SourcePairs({split: _pairs(builder, split, *languages) for split in own}, languages)


def _own_direction(builder: Any) -> tuple[str, str] | None:
    keys = builder.info.supervised_keys
    return (keys[0], keys[1]) if keys else None


def _pairs(builder: Any, split: str, source_language: str, target_language: str) -> Pairs:
    examples = builder.as_dataset(split=split, shuffle_files=False)
    pairs = Pairs([], [])
    # In batches: one example at a time takes minutes for large sets.
    batches = examples.map(lambda example: (example[source_language], example[target_language])).batch(1024)
    for sources, targets in batches.as_numpy_iterator():
        pairs.source.extend(map(_sentence, sources))
        pairs.target.extend(map(_sentence, targets))
    return pairs


def _sentence(content: bytes) -> str:
    return decode(content).strip("\n").replace("\n", " ")
