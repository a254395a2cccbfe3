"""Rules that rewrite characters, such as NFKC, in graph, from the form in which SentencePiece compiles them."""

import struct
from typing import Any

import numpy as np
import tensorflow as tf

from nlp_lstm.text.integer_table import integer_table

_NO_LABEL = -1


class Rules:
    """The rules of a SentencePiece model: of all that fit where a text is read, that of the longest left side applies.

    >>> from nlp_lstm.text.subwords import Subwords
    >>> rules = Subwords.train(["a man and a woman", "a woman walks"], size=300).rules
    >>> rules.rewrite(tf.constant(["ﬁlm"])).numpy()
    array([b'film'], dtype=object)

    The map holds the length of a double array in bytes, the array, and all right sides, each with a NUL behind it. The
    array, of the library Darts-clone, leads from byte to byte of a left side: from unit `u` to `u ^ offset ^ byte`.
    There are some 200,000 left sides in NFKC, which share most of it.

    Args:
        charsmap: the compiled map; empty for no rules.
    """

    def __init__(self, charsmap: bytes):
        self.is_empty = not charsmap
        if self.is_empty:
            return
        (size,) = struct.unpack_from("<I", charsmap)
        units = np.frombuffer(charsmap, "<u4", size // 4, 4).astype(np.int64)
        is_value = units >> 31 > 0
        self.label = np.where(is_value, _NO_LABEL, units & 0xFF).astype(np.int16)  # the byte that leads here
        # Of a unit that stands for a value it, of others what the next byte is to be added to.
        offset = np.where(units & 1 << 9, units >> 10 << 8, units >> 10)
        self.link = np.where(is_value, units & 0x7FFFFFFF, offset).astype(np.int32)
        self.has_value = (~is_value) & (units >> 8 & 1 > 0)
        right_sides = charsmap[4 + size :]
        self.right_sides = right_sides.split(b"\0")
        # A value is where its right side begins.
        ends = np.frombuffer(right_sides, np.uint8) == 0
        self.number = (np.cumsum(ends) - ends).astype(np.int32)

    def right_side(self, left_side: bytes) -> bytes | None:
        """What the rule for just this left side writes instead; None where there is no such rule.

        >>> from nlp_lstm.text.subwords import Subwords
        >>> rules = Subwords.train(["a man and a woman", "a woman walks"], size=300).rules
        >>> rules.right_side("ﬁ".encode())
        b'fi'
        """
        if self.is_empty:
            return None
        unit, following = int(self.link[0]), 0
        for byte in left_side:
            following = unit ^ byte
            if self.label[following] != byte:
                return None
            unit = following ^ int(self.link[following])
        return self.right_sides[int(self.number[self.link[unit]])] if self.has_value[following] else None

    def rewrite(self, text: Any) -> Any:
        """Rewrite texts, valid UTF-8, string `(batch,)`."""
        if self.is_empty:
            return text
        joined = tf.io.decode_raw(tf.strings.reduce_join(text), tf.uint8)
        symbols = tf.RaggedTensor.from_row_lengths(joined, tf.strings.length(text), validate=False).to_tensor(0)
        length, value = self._longest_prefixes(tf.cast(symbols, tf.int32))  # each (B, T)
        changed = tf.cond(
            tf.reduce_any(length > 0), lambda: self._replace(text, length, value), lambda: tf.identity(text)
        )
        return tf.ensure_shape(changed, [None])

    def _longest_prefixes(self, symbols: Any) -> tuple[Any, Any]:
        """The bytes that the longest fitting left side has, 0 for none, and the value of its rule, at each byte."""
        label, link, has_value = integer_table(self.label), integer_table(self.link), tf.constant(self.has_value)
        time = tf.shape(symbols)[1]

        def is_reading(_offset: Any, _unit: Any, reading: Any, _length: Any, _value: Any, _padded: Any) -> Any:
            return tf.reduce_any(reading)

        def body(offset: Any, unit: Any, reading: Any, length: Any, value: Any, padded: Any) -> tuple[Any, ...]:
            byte = padded[:, :time]
            following = tf.where(reading, tf.bitwise.bitwise_xor(unit, byte), 0)
            reading = reading & (tf.gather(label, following) == byte)
            unit = tf.bitwise.bitwise_xor(following, tf.gather(link, following))
            ends = reading & tf.gather(has_value, following)
            found = tf.gather(link, tf.where(ends, unit, 0))
            length, value = tf.where(ends, offset + 1, length), tf.where(ends, found, value)
            return offset + 1, unit, reading, length, value, tf.pad(padded[:, 1:], [[0, 0], [0, 1]])

        nothing = tf.zeros_like(symbols)
        root = tf.fill(tf.shape(symbols), int(self.link[0]))
        _, _, _, length, value, _ = tf.while_loop(
            is_reading, body, (tf.constant(0), root, symbols > 0, nothing, nothing, symbols)
        )
        return length, value

    def _replace(self, text: Any, length: Any, value: Any) -> Any:
        steps = tf.shape(length)[1]

        def body(t: Any, free_from: Any, all_replaced: Any, all_kept: Any) -> tuple[Any, ...]:
            is_free = free_from <= t
            replaced = is_free & (length[:, t] > 0)
            free_from = tf.where(replaced, t + length[:, t], free_from)
            return t + 1, free_from, all_replaced.write(t, replaced), all_kept.write(t, is_free & ~replaced)

        # Two: eagerly a loop writes into the very array it was given.
        flags = [tf.TensorArray(tf.bool, size=steps, element_shape=[None]) for _ in range(2)]
        _, _, *found = tf.while_loop(
            lambda t, *_: t < steps,
            body,
            (tf.constant(0), tf.zeros_like(length[:, 0]), *flags),
            maximum_iterations=steps,
        )
        replaced, kept = (tf.transpose(tf.ensure_shape(flags.stack(), [None, None])) for flags in found)  # (B, T)
        right_side = tf.gather(tf.constant(self.right_sides, tf.string), tf.gather(integer_table(self.number), value))
        own = tf.strings.bytes_split(text).to_tensor("")
        return tf.strings.reduce_join(tf.where(replaced, right_side, tf.where(kept, own, "")), axis=1)
