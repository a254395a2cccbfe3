"""Text to subwords and back, in core TensorFlow operations, id for id as the SentencePiece library does it.

The library trains a unigram model (Kudo 2018, "Subword Regularization") with byte fallback, so that nothing is unknown.
What it does with a text is written again here for the graph: first the text is made plain by the model's rules, as in
NFKC, then the likeliest segmentation is found (Viterbi 1967).
"""

import bisect
import functools
import io
import itertools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import tensorflow as tf
from sentencepiece import sentencepiece_model_pb2

from nlp_lstm.errors import UserError
from nlp_lstm.text.rewriting import Rules
from nlp_lstm.text.trie import Trie
from nlp_lstm.text.utf8 import mend

PADDING, UNKNOWN, BEGINNING, END = range(4)
"""The ids that stand for no text; with byte fallback no text is unknown."""

_SPECIAL = (PADDING, UNKNOWN, BEGINNING, END)

WORD_MARK = "▁"
"""Stands for a space in a subword, as in the library."""

LONGEST_CHARACTER = 14
"""Bytes that become one character of plain text, at the most, where white space is drawn together.

Three of four bytes each, in the rules of the library's version 0.2.3, and a control character of two before them.
"""

LOWEST_COVERAGE = 0.98
"""The library takes no lower `character_coverage`."""

_LONGEST_SENTENCE = 4192  # bytes; the library leaves out longer ones, and a single word of many takes it minutes

_RESERVED = "\u2585"  # a block that the library keeps for itself: it leaves out texts that hold it

_UNKNOWN_PENALTY = np.float32(10.0)  # kUnkPenalty in the library's src/unigram_model.cc


class Subwords:
    """A trained set of subwords.

    >>> subwords = Subwords.train(["a man and a woman", "a woman walks"], size=300)
    >>> ids = subwords.encode(tf.constant(["a man walks"]))
    >>> subwords.decode(ids.to_tensor()).numpy()
    array([b'a man walks'], dtype=object)

    Args:
        model: a serialised SentencePiece model: unigram, with byte fallback, its special ids those of this module.

    Attributes:
        pieces: every subword as the library spells it, in the order of the ids; a byte as in `<0x0A>`.
        tags: the ids of those that no text has, beside the special ones.

    Raises:
        UserError: for another kind of model, or bytes that are none.
    """

    def __init__(self, model: bytes):
        self.model = model
        parsed = _parse(model)
        self.pieces: list[str] = [piece.piece for piece in parsed.pieces]
        kinds = [piece.type for piece in parsed.pieces]
        kind = sentencepiece_model_pb2.ModelProto.SentencePiece
        normal = [number for number, found in enumerate(kinds) if found == kind.NORMAL]
        # Byte pieces stand together, in the order of the bytes.
        self.first_byte = kinds.index(kind.BYTE)
        scores = np.array([piece.score for piece in parsed.pieces], np.float32)
        self.scores = np.append(scores, [scores[normal].min() - _UNKNOWN_PENALTY, -np.inf]).astype(np.float32)
        self.trie, self.character_table = _character_trie({self.pieces[number]: number for number in normal})
        self.rules = Rules(parsed.normalizer_spec.precompiled_charsmap)
        becomes = {character: self.rules.right_side(character.encode("utf-8")) for character in _blank_characters()}
        self._spaces = "".join(character for character, found in becomes.items() if found == b" ") + " "
        self._nothings = "".join(character for character, found in becomes.items() if found == b"")
        self.tags = [number for number, found in enumerate(kinds) if found == kind.CONTROL and number not in _SPECIAL]
        self.spelling = [
            b"" if found in (kind.CONTROL, kind.UNKNOWN) else piece.replace(WORD_MARK, " ").encode("utf-8")
            for piece, found in zip(self.pieces, kinds, strict=True)
        ]
        for value in range(256):
            self.spelling[self.first_byte + value] = bytes([value])
        self.spelling_at_start = [
            spelling[1:] if piece.startswith(WORD_MARK) else spelling
            for piece, spelling in zip(self.pieces, self.spelling, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.pieces)

    @classmethod
    def train(
        cls, texts: Iterable[str], size: int, character_coverage: float = 1.0, tags: Sequence[str] = ()
    ) -> "Subwords":
        """Let the library choose subwords for texts.

        >>> len(Subwords.train(["a man and a woman", "a woman walks"], size=270))
        270

        Args:
            texts: what to choose them for.
            size: how many, the special ones and 256 bytes counted in; fewer where the texts do not have so many.
            character_coverage: share of the texts' characters, 0.98 to 1, that must be subwords; the rarest of the
                others are spelled in bytes. Less than 1 is for languages of thousands of characters.
            tags: subwords of names such as `<extra>` that no text has, and that stand for none.

        Raises:
            UserError: if the size is too small for the characters of the texts, or there is no text.
        """
        texts = list(texts)
        written = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=(part for text in texts for part in _cut(text)),
                model_writer=written,
                vocab_size=size,
                model_type="unigram",
                byte_fallback=True,
                character_coverage=character_coverage,
                hard_vocab_limit=False,
                pad_id=PADDING,
                unk_id=UNKNOWN,
                bos_id=BEGINNING,
                eos_id=END,
                control_symbols=list(tags),
                num_threads=1,  # so that the same texts give the same subwords
                minloglevel=3,
            )
        except (RuntimeError, OSError) as error:
            raise UserError(f"SentencePiece cannot choose {size} subwords: {_reason(error, texts, size)}") from None
        return cls(written.getvalue())

    @classmethod
    def load(cls, path: Path) -> "Subwords":
        """Read what `save`, or the library, wrote."""
        return cls(Path(path).read_bytes())

    def save(self, path: Path) -> None:
        """Write the library's own model file."""
        Path(path).write_bytes(self.model)

    @property
    def resources(self) -> list[Any]:
        """The tables that the graphs read and a SavedModel must hold."""
        return [self.character_table]

    def normalize(self, text: Any, lower: bool = False) -> Any:
        """Make texts plain as the library does before it splits them, spaces written as `▁`.

        >>> subwords = Subwords.train(["a man and a woman", "a woman walks"], size=300)
        >>> subwords.normalize(tf.constant(["  ﬁne  film "])).numpy()[0].decode()
        '▁fine▁film'

        Args:
            text: string `(batch,)`; bytes that are no UTF-8 become U+FFFD.
            lower: whether to write it in lower case, which the library's rules for that would do to every text.
        """
        text = self.rules.rewrite(mend(text))
        if lower:
            # Only now, since rules write capitals, too, in place of letters of another kind. Behind a NUL the operation
            # reads nothing; the rules leave out the other control characters.
            text = tf.strings.lower(tf.strings.regex_replace(text, r"\x{0}+", ""), encoding="utf-8")
        text = tf.strings.regex_replace(text, " +", " ")
        text = tf.strings.regex_replace(text, "^ ", "")
        text = tf.strings.regex_replace(tf.strings.join(["▁", text]), " ", WORD_MARK)
        return tf.strings.regex_replace(text, f"(?:{WORD_MARK})+$", "")

    def without_blanks(self, text: Any) -> Any:
        r"""Shorter texts that `normalize` makes the same of: their white space and control characters drawn together.

        >>> subwords = Subwords.train(["a man and a woman", "a woman walks"], size=300)
        >>> subwords.without_blanks(tf.constant(["a \t\u3000 man"])).numpy()
        array([b'a man'], dtype=object)

        Unlike `normalize` it takes no step for each byte, so that it may be asked for a text of any length.

        Args:
            text: string `(batch,)`; bytes that are no UTF-8 become U+FFFD.
        """
        text = mend(text)
        spaces, nothings = _in_pattern(self._spaces), _in_pattern(self._nothings)
        if nothings:
            # One is kept, since what stands on its sides may not become one character.
            text = tf.strings.regex_replace(text, f"[{nothings}]+", self._nothings[0])
        return tf.strings.regex_replace(text, f"[{spaces}{nothings}]*[{spaces}][{spaces}{nothings}]*", " ")

    def encode(self, text: Any, longest: int | None = None, lower: bool = False) -> Any:
        """The ids of texts, int32, ragged `(batch, pieces)`, in graph; an empty text has none.

        Args:
            text: string `(batch,)`.
            longest: characters of the text, as `normalize` gives it, that are read; None for all.
            lower: whether it is read in lower case.
        """
        if longest is not None:
            # Finding characters takes longer the longer a text is.
            text = tf.strings.substr(self.without_blanks(text), 0, LONGEST_CHARACTER * longest)
        text = self.normalize(text, lower)
        if longest is not None:
            text = tf.strings.substr(text, 0, longest, unit="UTF8_CHAR")
        return self._segmented(text, self._likeliest)

    def sampled(self, text: Any, alpha: float, seed: Any, lower: bool = False) -> Any:
        r"""The ids of texts, as of `encode`, in segmentations that are drawn rather than the likeliest ones.

        >>> subwords = Subwords.train(["a man and a woman", "a woman walks"], size=300)
        >>> drawn = [subwords.sampled(tf.constant(["a man walks"]), alpha=0.3, seed=(0, draw)) for draw in range(9)]
        >>> len({tuple(ids.to_list()[0]) for ids in drawn}) > 1
        True
        >>> {subwords.decode(ids.to_tensor()).numpy()[0] for ids in drawn}
        {b'a man walks'}

        Subword regularisation (Kudo 2018, eq. 8): in training each epoch sees words split in other ways. Segmentation
        :math:`x` with the score :math:`\log P(x)` is drawn with probability

        .. math:: P(x)^\alpha / \sum_{x'} P(x')^\alpha

        The library draws likewise, but salts its draws in each process; these are settled by the seed and by where in
        the batch a text stands.

        Args:
            text: string `(batch,)`.
            alpha: a number from 0, which draws all segmentations alike; the larger, the likelier ones.
            seed: two integers.
            lower: whether the text is read in lower case.
        """
        return self._segmented(self.normalize(text, lower), lambda ending: self._drawn(ending, alpha, seed))

    def _segmented(self, text: Any, choose: Callable[[Any], Any]) -> Any:
        points = tf.strings.unicode_decode(text, "UTF-8")
        lengths = tf.cast(points.row_lengths(), tf.int32)  # (B,)
        # One more, since no loop of TensorFlow gives a tensor of no steps.
        points = tf.pad(points.to_tensor(0), [[0, 0], [0, 1]])  # (B, T)
        ending = self._ending(self.character_table.lookup(points))  # (T, B, L)
        piece_length = choose(ending)  # (T, B)
        number = tf.transpose(tf.gather(ending, self.trie.longest - piece_length, batch_dims=2))  # (B, T)
        piece_length = tf.transpose(piece_length)
        kept = _walk_back(piece_length, lengths)  # (B, T), true at the last character of a piece
        number, points = tf.boolean_mask(number, kept), tf.boolean_mask(points, kept)
        pieces = tf.reduce_sum(tf.cast(kept, tf.int32), axis=1)
        # A character of no piece becomes its bytes.
        is_known = number < len(self.pieces)
        width = tf.where(is_known, 1, _utf8_length(points))
        row = tf.repeat(tf.range(tf.shape(kept)[0]), pieces)
        first = tf.cumsum(width, exclusive=True)
        from_piece = tf.repeat(tf.range(tf.size(width)), width)
        place = tf.range(tf.size(from_piece)) - tf.gather(first, from_piece)
        byte = _utf8_byte(tf.gather(points, from_piece), tf.gather(width, from_piece), place)
        ids = tf.where(tf.gather(is_known, from_piece), tf.gather(number, from_piece), self.first_byte + byte)
        row_lengths = tf.math.unsorted_segment_sum(width, row, tf.shape(kept)[0])
        return tf.RaggedTensor.from_row_lengths(ids, row_lengths, validate=False)

    def _ending(self, symbols: Any) -> Any:
        """The piece that ends at each character, for each length from the longest on, int32 `(time, batch, L)`."""
        unknown, none = len(self.pieces), len(self.pieces) + 1
        ending = []
        for length, found in reversed(list(enumerate(self.trie.prefixes(symbols), start=1))):
            found = tf.where(found >= 0, found, unknown if length == 1 else none)
            # Moved from where a piece begins to where it ends.
            time = tf.shape(found)[1]
            ending.append(tf.pad(found, [[0, 0], [length - 1, 0]], constant_values=none)[:, :time])
        return tf.transpose(tf.stack(ending, axis=-1), [1, 0, 2])

    def _likeliest(self, ending: Any) -> Any:
        """How long the last piece of the likeliest segmentation up to each character is (Viterbi 1967)."""
        scores, lengths = tf.constant(self.scores), tf.range(self.trie.longest, 0, -1)

        def step(t: Any, best: Any) -> tuple[Any, Any]:
            candidates = best + tf.gather(scores, ending[t])  # (B, L)
            highest = tf.reduce_max(candidates, axis=1, keepdims=True)
            # Of equals the library keeps the earliest start; argmax does not promise which it takes.
            return highest, tf.reduce_max(tf.where(candidates == highest, lengths, 0), axis=1)

        return self._along(ending, step)

    def _drawn(self, ending: Any, alpha: float, seed: Any) -> Any:
        """How long the last piece of a drawn segmentation up to each character is.

        Forward filtering, backward sampling: given that a piece ends somewhere, its length depends on nothing behind
        it. So it is drawn on the way forward, from all that the text up to there can be split into.
        """
        scores = tf.constant([*(self.scores[:-1] * np.float32(alpha)), -np.inf], tf.float32)  # the last is no piece
        # The largest of log-weights with Gumbel noise is a draw by the weights.
        uniform = tf.random.stateless_uniform(tf.shape(ending), seed, minval=np.finfo(np.float32).tiny)
        noise = -tf.math.log(-tf.math.log(uniform))

        def step(t: Any, logits: Any) -> tuple[Any, Any]:
            candidates = logits + tf.gather(scores, ending[t])  # (B, L)
            drawn = tf.argmax(candidates + noise[t], axis=1, output_type=tf.int32)
            return tf.reduce_logsumexp(candidates, axis=1, keepdims=True), self.trie.longest - drawn

        return self._along(ending, step)

    def _along(self, ending: Any, step: Callable[[Any, Any], tuple[Any, Any]]) -> Any:
        """Go along texts with a value for each of the last `L` places; gives the lengths that `step` chooses."""
        steps, rows, longest = tf.shape(ending)[0], tf.shape(ending)[1], self.trie.longest

        def body(t: Any, values: Any, all_lengths: Any) -> tuple[Any, ...]:
            value, length = step(t, values)
            return t + 1, tf.concat([values[:, 1:], value], axis=1), all_lengths.write(t, length)

        beginning = tf.concat([tf.fill([rows, longest - 1], -np.inf), tf.zeros([rows, 1])], axis=1)
        _, _, piece_length = tf.while_loop(
            lambda t, *_: t < steps,
            body,
            (
                tf.constant(0),
                tf.ensure_shape(beginning, [None, longest]),
                tf.TensorArray(tf.int32, size=steps, element_shape=[None]),
            ),
            shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, longest]), None),
            maximum_iterations=steps,
        )
        return tf.ensure_shape(piece_length.stack(), [None, None])

    def decode(self, ids: Any) -> Any:
        """The text of ids `(batch, pieces)`, string `(batch,)`, in graph; the special ids are passed over."""
        at_start = tf.gather(tf.constant(self.spelling_at_start, tf.string), ids)
        is_start = tf.cumsum(tf.strings.length(at_start), axis=-1, exclusive=True) == 0
        pieces = tf.where(is_start, at_start, tf.gather(tf.constant(self.spelling, tf.string), ids))
        return mend(tf.strings.reduce_join(pieces, axis=-1))

    def spelled(self, ids: Any) -> Any:
        """Each id as the library spells its piece, padding as "", strings of the shape of `ids`, in graph."""
        return tf.gather(tf.constant(["", *self.pieces[1:]], tf.string), ids)


def _character_trie(numbers: Mapping[str, int]) -> tuple[Trie, Any]:
    """A trie over strings, and the table from code points to its symbols."""
    points = sorted({ord(character) for key in numbers for character in key})
    symbols = {point: number for number, point in enumerate(points, start=1)}
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(tf.constant(points, tf.int32), tf.range(1, len(points) + 1)),
        default_value=0,
    )
    return Trie({tuple(symbols[ord(character)] for character in key): n for key, n in numbers.items()}), table


def _parse(model: bytes) -> Any:
    try:
        parsed = sentencepiece_model_pb2.ModelProto.FromString(model)
        sentencepiece.SentencePieceProcessor(model_proto=model)
    except Exception:  # the protocol buffer library has no public name for it
        parsed = sentencepiece_model_pb2.ModelProto()
    trainer, normalizer = parsed.trainer_spec, parsed.normalizer_spec
    kind = sentencepiece_model_pb2.ModelProto.SentencePiece
    bytes_there = [(number, piece.piece) for number, piece in enumerate(parsed.pieces) if piece.type == kind.BYTE]
    special = (trainer.pad_id, trainer.unk_id, trainer.bos_id, trainer.eos_id)
    fits = (
        trainer.model_type == trainer.UNIGRAM
        and trainer.byte_fallback
        and bytes_there == [(bytes_there[0][0] + value, f"<0x{value:02X}>") for value in range(256)]
        and not parsed.denormalizer_spec.precompiled_charsmap
        and special == (PADDING, UNKNOWN, BEGINNING, END)
        and normalizer.add_dummy_prefix
        and normalizer.remove_extra_whitespaces
        and normalizer.escape_whitespaces
        and not trainer.treat_whitespace_as_suffix
        and not any(piece.type in (kind.USER_DEFINED, kind.UNUSED) for piece in parsed.pieces)
        and any(piece.type == kind.NORMAL for piece in parsed.pieces)
    )
    if not fits:
        raise UserError(
            "this is no SentencePiece model of ours: expected a unigram model with byte fallback, the ids 0 to 3 for "
            "padding, unknown, beginning and end, and the library's usual treatment of spaces"
        )
    return parsed


def _walk_back(piece_length: Any, lengths: Any) -> Any:
    """True `(batch, time)` where a piece of each text's segmentation ends."""
    time = tf.shape(piece_length)[1]
    piece_length = tf.transpose(piece_length)  # (T, B)

    def body(t: Any, end: Any, all_kept: Any) -> tuple[Any, ...]:
        kept = end == t + 1
        return t - 1, tf.where(kept, end - piece_length[t], end), all_kept.write(t, kept)

    _, _, kept = tf.while_loop(
        lambda t, *_: t >= 0,
        body,
        (time - 1, lengths, tf.TensorArray(tf.bool, size=time, element_shape=[None])),
        maximum_iterations=time,
    )
    return tf.transpose(tf.ensure_shape(kept.stack(), [None, None]))


def _utf8_length(point: Any) -> Any:
    return 1 + sum(tf.cast(point >= bound, tf.int32) for bound in (0x80, 0x800, 0x10000))


def _utf8_byte(point: Any, length: Any, place: Any) -> Any:
    """Byte number `place` of a code point that has `length` bytes in UTF-8."""
    rest = tf.bitwise.right_shift(point, 6 * (length - 1 - place))
    marks = tf.constant([0, 0, 0xC0, 0xE0, 0xF0])  # of a first byte, by length
    return tf.where(place > 0, 0x80 + rest % 64, tf.gather(marks, length) + rest)


@functools.cache
def _blank_characters() -> Sequence[str]:
    """What rules may make a space, or nothing, of; NUL is none, which a rule cannot hold."""
    kinds = ("Cc", "Cf", "Zl", "Zp", "Zs")
    found = [character for character in map(chr, range(1, 0x110000)) if unicodedata.category(character) in kinds]
    return [*found, WORD_MARK, "\ufffd"]


def _in_pattern(characters: str) -> str:
    """Characters as they stand between the brackets of a regular expression of TensorFlow's."""
    return "".join(f"\\x{{{ord(character):x}}}" for character in characters)


def _cut(text: str) -> Iterator[str]:
    """A text in parts that the library takes, cut at spaces where there are any: no subword crosses one."""
    text = text.replace(_RESERVED, " ")
    rest = text.encode("utf-8", "replace")
    if len(rest) <= _LONGEST_SENTENCE:
        yield text
        return
    while len(rest) > _LONGEST_SENTENCE:
        end = rest.rfind(b" ", 1, _LONGEST_SENTENCE)
        if end < 0:
            end = _LONGEST_SENTENCE
            while rest[end] & 0xC0 == 0x80:  # within a character
                end -= 1
        yield rest[:end].decode("utf-8")
        rest = rest[end:]
    yield rest.decode("utf-8")


_OTHERS = 4 + 256  # subwords that are no characters
_TOO_FEW = re.compile(r"smaller than required_chars\. \d+ vs (\d+)")


def _reason(error: BaseException, texts: Iterable[str], size: int) -> str:
    """Why the library refused, and the flag that mends it, in one line."""
    told = " ".join(str(error).split())
    needed = _TOO_FEW.search(told)
    if "sentences_.empty()" in told or "all_chars_count" in told:
        return "there is no text to choose them for: name data with more text"
    if not needed:
        return f"{told or type(error).__name__}: name another number with --subwords, or more text"
    return (
        f"{_OTHERS} of them are bytes and special ones, and {int(needed[1]) - _OTHERS:,} characters need one each: "
        f"raise --subwords to {needed[1]} or more, or {_lower_coverage(texts, size)}, where rare characters are "
        "spelled in bytes"
    )


def _lower_coverage(texts: Iterable[str], size: int) -> str:
    """What a lower coverage would do, as part of a sentence."""
    plain = sentencepiece.SentencePieceNormalizer(rule_name="nmt_nfkc", escape_whitespaces=True, add_dummy_prefix=True)
    characters = Counter(character for text in texts for part in _cut(text) for character in plain.normalize(part))
    covered = list(itertools.accumulate(sorted(characters.values(), reverse=True)))
    room = size - _OTHERS
    # Rounded down: the library stops at the first character with which the coverage is reached.
    share = math.floor(1e4 * covered[room - 1] / covered[-1]) / 1e4 if room > 0 else 0.0
    if share >= LOWEST_COVERAGE:
        return f"lower --character-coverage to {share}"
    fewest = bisect.bisect_left(covered, math.ceil(LOWEST_COVERAGE * covered[-1])) + 1 + _OTHERS
    return f"to {fewest} with --character-coverage {LOWEST_COVERAGE}"
