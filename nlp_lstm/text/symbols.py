"""The symbols of a character language model, Unicode characters or bytes: text to ids and back."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from nlp_lstm.text.unit import Unit

UNKNOWN = 0
"""The id of every character that is in no vocabulary; a model of bytes knows no such thing."""


class Symbols:
    """All symbols that a model knows, in the order of their ids.

    >>> symbols = Symbols.of_text("hello")
    >>> symbols.encode("hole!").tolist()
    [2, 4, 3, 1, 0]
    >>> [symbols.spelling[number] for number in (2, 1)]
    [b'h', b'e']

    Args:
        unit: `character` or `byte`.
        characters: the characters from id 1 on, for that unit; id 0 is the unknown character.
    """

    def __init__(self, unit: Unit, characters: Sequence[str] = ()):
        self.unit = unit
        self.characters = list(characters)
        if unit == "byte":
            self.spelling = [bytes([value]) for value in range(256)]
        else:
            self.spelling = ["\ufffd".encode(), *(character.encode("utf-8") for character in self.characters)]
        # The unknown character has no key of its own: U+FFFD may itself be among the characters.
        first = 0 if unit == "byte" else 1
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(self.spelling[first:] or [b""], tf.string),  # a table must not be empty
                tf.constant(list(range(first, len(self.spelling))) or [UNKNOWN], tf.int32),
            ),
            default_value=UNKNOWN,
        )
        self._by_character = {character: number for number, character in enumerate(self.characters, start=1)}

    def __len__(self) -> int:
        return len(self.spelling)

    @classmethod
    def of_text(cls, text: str, least: int = 1) -> "Symbols":
        """The characters of a text that occur at least `least` times, by code point."""
        counts = Counter(text)
        return cls("character", sorted(character for character, count in counts.items() if count >= least))

    @classmethod
    def of_spelling(cls, spelling: Sequence[bytes]) -> "Symbols":
        """The symbols of an exported model, from what each id stands for."""
        if list(spelling) == [bytes([value]) for value in range(256)]:
            return cls("byte")
        return cls("character", [symbol.decode("utf-8") for symbol in spelling[1:]])

    @classmethod
    def load(cls, path: Path) -> "Symbols":
        """Read what `save` wrote."""
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        return cls(found["unit"], found["characters"])

    def save(self, path: Path) -> None:
        """Write the unit and the characters as JSON."""
        Path(path).write_text(json.dumps({"unit": self.unit, "characters": self.characters}) + "\n", encoding="utf-8")

    def ids_in(self, other: "Symbols") -> np.ndarray:
        """The id that another vocabulary has for each of these symbols, -1 for what it does not know.

        >>> Symbols.of_text("hello").ids_in(Symbols.of_text("hole")).tolist()  # unknown, e, h, l, o
        [0, 1, 2, 3, 4]
        >>> Symbols.of_text("hello").ids_in(Symbols.of_text("low")).tolist()
        [0, -1, -1, 1, 2]

        Raises:
            ValueError: if one is of bytes and the other of characters.
        """
        if self.unit != other.unit:
            raise ValueError(f"symbols are {self.unit}s, and the others {other.unit}s: expected the same")
        if self.unit == "byte":
            return np.arange(len(self), dtype=np.int32)
        known = [other._by_character.get(character, -1) for character in self.characters]
        return np.array([UNKNOWN, *known], np.int32)

    def never_generated(self) -> np.ndarray:
        """True `(symbols,)` at ids that stand for no text of their own: the unknown character."""
        never = np.zeros(len(self), bool)
        if self.unit == "character":
            never[UNKNOWN] = True
        return never

    def encode(self, text: str) -> np.ndarray:
        """The int32 ids of a text, `(symbols,)`, outside the graph."""
        if self.unit == "byte":
            return np.frombuffer(text.encode("utf-8", "replace"), np.uint8).astype(np.int32)
        return np.fromiter((self._by_character.get(character, UNKNOWN) for character in text), np.int32, len(text))

    def split(self, text: Any) -> Any:
        """The symbols of each text as strings, ragged `(batch, symbols)`, in graph.

        Args:
            text: string `(batch,)` of valid UTF-8, such as `mend` gives.
        """
        return tf.strings.bytes_split(text) if self.unit == "byte" else tf.strings.unicode_split(text, "UTF-8")

    def lookup(self, symbols: Any) -> Any:
        """The int32 ids of a dense or ragged tensor of symbols, in graph."""
        return self.table.lookup(symbols)
