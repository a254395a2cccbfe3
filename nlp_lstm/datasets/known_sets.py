"""Public data sets known by what they hold, whatever their files are called: a model card tells of those alone."""

import hashlib
from collections.abc import Iterable, Mapping

from nlp_lstm.datasets.pair_records import Pairs
from nlp_lstm.datasets.review_records import LabelledText

# Of what is trained on: training and validation data, and texts without labels. The fingerprints of the samples, and of
# the sets in `NLP_LSTM_DATA`, are computed anew by tests.
_KNOWN = {
    "885858e84b03a3eb6a25e90808ab3ed026baddfa5864f191477cb0f18c092766": "aclImdb",
    # Its positive training reviews as running text, a fiftieth cut off for validation.
    "503b29794bd2f3bc708dd6f42fee77130cbef9f08341cff4bd340278561e413d": "aclImdb_positive",
    "aad04e5dcb5d5f2d55861a0e088eb5354a4137633b6570180ee7e9f8d9b7bb96": "sample_reviews",
    "d9d5778c0cb272d9b5b4aaa16cacdb90e60d6929241884aac9641c119f1f1781": "tiny_shakespeare",
    # As TensorFlow Datasets cuts it, which has a test part besides.
    "38e568ea20877b69c237085183738cd5acd8a53e7e70baa06d7eb0b5230437c5": "tiny_shakespeare_in_three",
    "a634d0ac1e2b539800402609f47dce622ae2055227ad400ebb4b310cfe7c0223": "ptb",  # with --line-mode
    "b7eb84088b158437890003ba9f08e8b8c333cfc3f171e3808a113ff159f373ed": "ptb",
    "ee67afb9948af09d6ab7a58e3d0098cf5b7feb198e9ca958b1dc34170ba858f4": "sample_text",
    "657bfd69bab440969da76b5ef69e0fe4d3eeb758815fdd093f58cad4834a604e": "multi30k",  # German
    "e7765d8068e1bd10b08219d01016dadb6f7186a8df7b9b178a911ef439328a49": "multi30k",  # French
    "6d2b5a4f5328845a432f9108bbc69411e7b83cb3cdaca61ad858f69dadc8ccbf": "sample_pairs",
    # A table has no test part of its own, and what is cut off goes by the sentences that are translated.
    "7d2b883fba6e0b388350d855c14745bc9b61077439b841d0ddd4b90d6658b86a": "tatoeba",  # Spanish
    "9e29a06541a0de6fff53369123a1bc6e303cb2a0cbbaf7c6d0640a8f352aac00": "tatoeba",  # from Spanish
    "67a481c5914da996f78c633d394224066cc2e6dd2baa973dcd96184f6c3b9651": "tatoeba",  # German
    "0ddbfafb9adaad740c679ef2c9817ae8e2e89c8d215843ed08c4a54cd9b06e75": "tatoeba",  # from German
}


def known_set(fingerprint: str | None) -> str | None:
    """The name of the data set with this fingerprint, which a model card's template knows; None for an unknown one.

    >>> known_set(fingerprint_of_texts({"train": "To be, or not to be"})) is None
    True
    """
    return _KNOWN.get(fingerprint or "")


def fingerprint_of_texts(texts: Mapping[str, str]) -> str:
    """The fingerprint of running text by split, in which everything counts: the cut, and the order of the text.

    >>> cut = {"train": "ab", "validation": "c"}
    >>> fingerprint_of_texts(cut) == fingerprint_of_texts({"train": "a", "validation": "bc"})
    False
    """
    return _digest(_joined(split, text) for split, text in sorted(texts.items()))


def fingerprint_of_reviews(splits: Iterable[Iterable[LabelledText]]) -> str:
    """The fingerprint of all reviews of some splits, whatever their order, and whichever were cut off for validation.

    >>> one, two = LabelledText("A warm, funny film.", 1, "tt1"), LabelledText("Dull.", 0, "tt2")
    >>> fingerprint_of_reviews([[one], [two]]) == fingerprint_of_reviews([[two, one]])
    True
    """
    return _digest(sorted(_joined(text, str(label), group) for split in splits for text, label, group in split))


def fingerprint_of_pairs(splits: Iterable[Pairs]) -> str:
    """The fingerprint of all pairs of some splits, whatever their order, and whichever side is translated.

    >>> fingerprint_of_pairs([Pairs(["a dog"], ["ein Hund"])]) == fingerprint_of_pairs([Pairs(["ein Hund"], ["a dog"])])
    True
    """
    return _digest(sorted(_joined(*sorted(pair)) for split in splits for pair in zip(*split, strict=True)))


def _joined(*parts: str) -> bytes:
    """A digest of parts that other parts with the same letters do not share."""
    joined = hashlib.sha256()
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        joined.update(len(encoded).to_bytes(8) + encoded)
    return joined.digest()


def _digest(parts: Iterable[bytes]) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()
