"""The tokens a model knows, and their ids, inside and outside the graph."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

PADDING, UNKNOWN, BOUNDARY = 0, 1, 2
_SPECIAL = ("", "[UNK]", "[BOUND]")  # no token out of `nlp_lstm.text.words` is empty or holds an upper-case letter


class Vocabulary:
    """Tokens by descending frequency behind three special ids: padding 0, unknown 1, text boundary 2.

    >>> vocabulary = Vocabulary.from_counts(Counter(["a", "a", "film"]), size=10)
    >>> vocabulary.lookup(tf.constant([b"film", b"never", b"a"])).numpy()
    array([4, 1, 3], dtype=int32)

    Args:
        tokens: all tokens in the order of their ids, the special ones first.
    """

    def __init__(self, tokens: Sequence[str]):
        if tuple(tokens[: len(_SPECIAL)]) != _SPECIAL:
            raise ValueError(f"tokens must begin with {_SPECIAL}, got {tuple(tokens[: len(_SPECIAL)])}")
        self.tokens = list(tokens)
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(self.tokens[1:], tf.string), tf.range(1, len(self.tokens), dtype=tf.int32)
            ),
            default_value=UNKNOWN,
        )

    def __len__(self) -> int:
        return len(self.tokens)

    @classmethod
    def from_counts(cls, counts: Counter, size: int, least: int = 1) -> "Vocabulary":
        """Keep the `size` most frequent tokens, special ones counted in, seen `least` times; ties go by spelling."""
        ranked = sorted(((-count, token) for token, count in counts.items() if count >= least))
        return cls([*_SPECIAL, *(token for _, token in ranked[: max(0, size - len(_SPECIAL))])])

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Read what `save` wrote: a token a line."""
        return cls(Path(path).read_text(encoding="utf-8").split("\n")[:-1])

    def save(self, path: Path) -> None:
        """Write a token a line; no token holds white space."""
        Path(path).write_text("".join(f"{token}\n" for token in self.tokens), encoding="utf-8")

    def lookup(self, tokens: Any) -> Any:
        """The int32 ids of a dense or ragged string tensor, in graph."""
        return self.table.lookup(tokens)


def count_tokens(batches: Iterable) -> Counter:
    """Count the tokens of an iterable of ragged string tensors."""
    counts: Counter = Counter()
    for batch in batches:
        counts.update(batch.flat_values.numpy().tolist())
    return Counter({token.decode("utf-8"): count for token, count in counts.items()})
