"""The record every source yields, and the words for labels and splits."""

import hashlib
from typing import Literal, NamedTuple, get_args

LABELS = ("negative", "positive")
"""The name of each label: `LABELS[record.label]`."""

LABEL_NAMES = {"negative": 0, "neg": 0, "0": 0, "positive": 1, "pos": 1, "1": 1, "false": 0, "true": 1}
"""What a source may call a label, in lower case."""

Split = Literal["train", "validation", "test", "unlabelled"]
SPLITS: tuple[Split, ...] = get_args(Split)


class LabelledText(NamedTuple):
    """A text and how it judges its subject.

    >>> LabelledText("A warm, funny film.", 1, "tt0064354").label
    1

    Attributes:
        text: The text as the source holds it; bytes that could not be decoded have become U+FFFD. It may be empty.
        label: 0 negative, 1 positive, None unlabelled.
        group: What must not be divided between train and validation: the film of a review. Where the source names
            none it is `text_group(text)`.
    """

    text: str
    label: int | None
    group: str


def text_group(text: str) -> str:
    """The group of a text of unknown subject: its own, shared only with copies of the same text.

    >>> text_group("Dull.") == text_group(" Dull. ")
    True
    """
    return "text:" + hashlib.sha256(text.strip().encode("utf-8", "surrogatepass")).hexdigest()[:16]
