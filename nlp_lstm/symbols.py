"""The symbols of a character language model, Unicode characters or bytes: text to ids and back."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf

Unit = Literal["character", "byte"]

UNKNOWN = 0
"""The id of every character that is in no vocabulary; a model of bytes knows no such thing."""

# What may follow within a UTF-8 character (Unicode standard, table 3-7): from a state, which bytes lead to which state.
# State 0 stands between characters, 1 to 3 wait for that many continuation bytes, the others for a narrowed first one.
_WHOLE, _ONE, _TWO, _THREE, _AFTER_E0, _AFTER_ED, _AFTER_F0, _AFTER_F4 = range(8)
_UTF8 = [
    (_WHOLE, 0x00, 0x7F, _WHOLE),
    (_WHOLE, 0xC2, 0xDF, _ONE),
    (_WHOLE, 0xE0, 0xE0, _AFTER_E0),
    (_WHOLE, 0xE1, 0xEC, _TWO),
    (_WHOLE, 0xED, 0xED, _AFTER_ED),
    (_WHOLE, 0xEE, 0xEF, _TWO),
    (_WHOLE, 0xF0, 0xF0, _AFTER_F0),
    (_WHOLE, 0xF1, 0xF3, _THREE),
    (_WHOLE, 0xF4, 0xF4, _AFTER_F4),
    (_ONE, 0x80, 0xBF, _WHOLE),
    (_TWO, 0x80, 0xBF, _ONE),
    (_THREE, 0x80, 0xBF, _TWO),
    (_AFTER_E0, 0xA0, 0xBF, _ONE),
    (_AFTER_ED, 0x80, 0x9F, _ONE),
    (_AFTER_F0, 0x90, 0xBF, _TWO),
    (_AFTER_F4, 0x80, 0x8F, _TWO),
]


def utf8_transitions() -> np.ndarray:
    """The next state `(states, 256)` after each byte, -1 where the byte may not stand; state 0 is between characters.

    >>> utf8_transitions()[0, 0xC3], utf8_transitions()[1, 0xA9]  # é is C3 A9
    (1, 0)
    """
    table = np.full((8, 256), -1, np.int32)
    for state, first, last, following in _UTF8:
        table[state, first : last + 1] = following
    return table


class Symbols:
    """All symbols that a model knows, in the order of their ids.

    >>> symbols = Symbols.of_text("hello")
    >>> symbols.encode("hole!").tolist()
    [2, 4, 3, 1, 0]
    >>> symbols.decode([[2, 1]]).numpy()
    array([b'he'], dtype=object)

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

    def __len__(self):
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

    def split(self, text):
        """The symbols of each text as strings, ragged `(batch, symbols)`, in graph.

        Args:
            text: string `(batch,)` of valid UTF-8, such as `mend` gives.
        """
        return tf.strings.bytes_split(text) if self.unit == "byte" else tf.strings.unicode_split(text, "UTF-8")

    def lookup(self, symbols):
        """The int32 ids of a dense or ragged tensor of symbols, in graph."""
        return self.table.lookup(symbols)

    def decode(self, ids):
        """The text of ids `(batch, symbols)`, string `(batch,)`, in graph."""
        return tf.strings.reduce_join(tf.gather(tf.constant(self.spelling, tf.string), ids), axis=-1)


def mend(text):
    """Texts as valid UTF-8, in graph: bytes that are none become U+FFFD.

    >>> mend(tf.constant([b"a\xff"])).numpy()[0].decode()
    'a\ufffd'
    """
    return tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace", replace_control_characters=False)
