"""How a translator reads a source: which characters it is made of before it is split into subwords."""

from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from nlp_lstm.text.invisible import without_invisible
from nlp_lstm.text.subwords import Subwords
from nlp_lstm.text.utf8 import mend
from nlp_lstm.translation.settings import SourceCase


class SourceReader:
    """Ids of sources, in graph: the same ones in training, in use and in what is exported.

    >>> subwords = Subwords.train(["a man and a woman", "a woman walks"], size=300)
    >>> reader = SourceReader(subwords, "lower")
    >>> ids = reader.encode(tf.constant(["A MAN", "a m\u00adan", "a man"])).to_list()
    >>> ids[0] == ids[1] == ids[2]
    True

    A text in capitals, or with a capital at each word, is another text to subwords, which have not seen it; and a
    source's case tells a translation little. A target keeps its own.

    Args:
        subwords: those of the source.
        case: "lower" for lower case, "keep" for the text's own, both without invisible characters; "raw" for the text
            as it is, as translators were trained that knew of neither.
    """

    def __init__(self, subwords: Subwords, case: SourceCase):
        self.subwords, self.case = subwords, case

    def encode(self, text: Any, longest: int | None = None) -> Any:
        """As `Subwords.encode`."""
        return self.subwords.encode(self._seen(text), longest, lower=self.case == "lower")

    def sampled(self, text: Any, alpha: float, seed: Any) -> Any:
        """As `Subwords.sampled`."""
        return self.subwords.sampled(self._seen(text), alpha, seed, lower=self.case == "lower")

    def _seen(self, text: Any) -> Any:
        return text if self.case == "raw" else without_invisible(mend(text))


def plain_sources(texts: Iterable[str], case: SourceCase) -> list[str]:
    """Sources as subwords are to be learnt from them.

    >>> plain_sources(["A m\u00adan"], "lower")
    ['a man']
    """
    texts = list(texts)
    if case == "raw":
        return texts
    seen = without_invisible(tf.constant([text.encode("utf-8", "replace") for text in texts], tf.string))
    kept = (text.decode("utf-8") for text in seen.numpy())
    return [text.lower() for text in kept] if case == "lower" else list(kept)
