"""Rewriting rules against the SentencePiece library that compiled them, for Unicode from end to end."""

import itertools
import unicodedata
from typing import NamedTuple

import numpy as np
import pytest
import sentencepiece
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2

from nlp_lstm.text.rewriting import Rules

NAMES = ["nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf", "identity"]
TRICKY = "aAe\u0301\u0308\u0323ﬁ½ÅÅ \u3000\u200b\u00ad\0\x01\n\t\u1100\u1161\u11a8가ガ\uff76\uff9eİßΣ①㍍ﷺ😀\ufffd~～▁"

texts = st.text(st.one_of(st.sampled_from(TRICKY), st.characters(exclude_categories=["Cs"])), max_size=20)


class Rewriting(NamedTuple):
    """The library's rules, and the same in graph."""

    library: sentencepiece.SentencePieceNormalizer
    rules: Rules
    graph: tf.types.experimental.PolymorphicFunction

    @classmethod
    def of(cls, **source):
        library = sentencepiece.SentencePieceNormalizer(
            **source, add_dummy_prefix=False, escape_whitespaces=False, remove_extra_whitespaces=False
        )
        spec = sentencepiece_model_pb2.NormalizerSpec.FromString(library.serialized_normalizer_spec())
        rules = Rules(spec.precompiled_charsmap)
        signature = [tf.TensorSpec([None], tf.string)]
        return cls(library, rules, tf.function(rules.rewrite, input_signature=signature, autograph=False))

    def in_graph(self, batch):
        return [text.decode("utf-8") for text in self.graph(tf.constant(batch, tf.string)).numpy()]

    def assert_equals_library(self, batch):
        """Gives what the library makes of the texts."""
        expected = self.library.normalize(batch)
        differing = [row for row in zip(batch, self.in_graph(batch), expected, strict=True) if row[1] != row[2]]
        assert differing == []
        return expected


@pytest.fixture(scope="module", params=NAMES)
def rewriting(request):
    return Rewriting.of(rule_name=request.param)


@pytest.fixture(scope="module")
def nmt_nfkc():
    return Rewriting.of(rule_name="nmt_nfkc")


def assigned(last):
    """The characters that mean something, up to a code point."""
    return [chr(point) for point in range(last + 1) if unicodedata.category(chr(point)) not in ("Cn", "Co", "Cs")]


def test_every_assigned_character_alone_is_rewritten_as_in_the_library(rewriting):
    characters = assigned(0x10FFFF)
    assert len(characters) > 140_000
    expected = rewriting.assert_equals_library(characters)
    changed = sum(map(str.__ne__, characters, expected))
    assert changed > 4_000 or (rewriting.rules.is_empty and not changed)
    # None of the others has a rule.
    rest = [chr(point) for point in [*range(0xE000, 0xE100), 0xFDD0, 0xFFFE, 0xFFFF, 0x323B0, 0xF0000, 0x10FFFF]]
    assert rewriting.assert_equals_library(rest) == rest


def test_neighbours_are_rewritten_as_in_the_library(rewriting):
    """Left sides of more than one character may begin anywhere; each row has its neighbours shifted by some."""
    characters = assigned(0xFFFF)
    rows = ["".join(characters[start : start + 40]) for start in range(0, len(characters), 37)]
    marks = assigned(0x345)[-60:]
    assert {unicodedata.category(mark) for mark in marks} == {"Mn"}
    letters = [character for character in assigned(0x233) if character.isalpha()]
    rng = np.random.default_rng(0)
    rows += ["".join(row) for row in zip(*(rng.choice(kind, 3_000) for kind in (letters, marks, marks)), strict=True)]
    rewriting.assert_equals_library(rows)


def test_what_unicode_took_apart_is_put_together_again(nmt_nfkc):
    taken_apart = {unicodedata.normalize("NFD", character): character for character in assigned(0xABFF)}
    taken_apart = {
        apart: character
        for apart, character in taken_apart.items()
        if len(apart) > 1 and unicodedata.normalize("NFKC", apart) == character
    }
    assert len(taken_apart) > 800
    assert nmt_nfkc.in_graph(list(taken_apart)) == list(taken_apart.values())


def test_jamo_are_composed_as_in_unicode(nmt_nfkc):
    leading, vowels = map(chr, range(0x1100, 0x1113)), map(chr, range(0x1161, 0x1176))
    trailing = ["", *map(chr, range(0x11A8, 0x11C3))]
    syllables = ["".join(jamo) for jamo in itertools.product(leading, vowels, trailing)]
    assert nmt_nfkc.in_graph(syllables) == [chr(point) for point in range(0xAC00, 0xD7A4)]
    words = ["".join(syllables[start : start + 7]) for start in range(0, len(syllables), 31)]
    assert nmt_nfkc.assert_equals_library(words) == [unicodedata.normalize("NFKC", word) for word in words]


@settings(deadline=None, max_examples=40)
@given(st.lists(texts, max_size=5))
def test_any_text_is_rewritten_as_in_the_library(nmt_nfkc, batch):
    nmt_nfkc.assert_equals_library(batch)


@settings(deadline=None, max_examples=15)
@given(st.lists(texts, max_size=5))
def test_any_text_is_rewritten_by_all_rules_as_in_the_library(rewriting, batch):
    rewriting.assert_equals_library(batch)


def test_texts_of_little_or_nothing(rewriting):
    for batch in ([], [""], ["", ""], ["\0"], ["", "ﬁ", "", "\0ﬁ\0", "\0\0ﬁ", "ﬁ\0", "e\0\u0301", "\x01", "\x01\x02"]):
        expected = rewriting.assert_equals_library(batch)
        assert all(text.count("\0") == found.count("\0") for text, found in zip(batch, expected, strict=True))


def test_a_text_does_not_depend_on_its_batch(nmt_nfkc):
    plain = ["", "plain", "Ünïcode 映画 😀", "a\0b", "x" * 300]
    assert nmt_nfkc.in_graph(plain) == plain
    for place in range(len(plain) + 1):
        batch = [*plain[:place], "ﬁlm e\u0301", *plain[place:]]
        assert nmt_nfkc.in_graph(batch) == [*plain[:place], "film é", *plain[place:]]


def test_a_long_text_is_rewritten(nmt_nfkc):
    assert nmt_nfkc.in_graph(["ﬁ" * 600, "a", "e\u0301" * 600]) == ["fi" * 600, "a", "é" * 600]


def greedily_rewritten(text, right_sides):
    """Of all rules that fit the one of the longest left side, from the left to the right."""
    longest, place, found = max(map(len, right_sides)), 0, ""
    while place < len(text):
        fitting = (length for length in range(longest, 0, -1) if text[place : place + length] in right_sides)
        length = next(fitting, 0)
        found += right_sides[text[place : place + length]] if length else text[place]
        place += max(length, 1)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_rules_of_ones_own_apply_longest_first_and_not_to_what_they_wrote(seed):
    """Also such as overlap, begin one another, or delete; among letters that share bytes in UTF-8."""
    rng = np.random.default_rng(seed)
    alphabet = list("abéè映昡😀")

    def drawn(most):
        return "".join(rng.choice(alphabet, rng.integers(most + 1)))

    right_sides = {left: right for left, right in ((drawn(5), drawn(4)) for _ in range(12)) if left and left != right}
    rewriting = Rewriting.of(norm_map=list(right_sides.items()))
    batch = [drawn(25) for _ in range(300)] + ["".join(rng.choice([*right_sides, "c"], 5)) for _ in range(300)]
    expected = [greedily_rewritten(text, right_sides) for text in batch]
    assert sum(map(str.__ne__, batch, expected)) > 300
    assert rewriting.in_graph(batch) == expected
    assert rewriting.assert_equals_library(batch) == expected


@pytest.mark.parametrize("batch", [[], ["plain"], ["ﬁlm"], ["", "ﬁlm e\u0301", "plain"]])
def test_eagerly_it_is_the_same(nmt_nfkc, batch):
    eager = [text.decode("utf-8") for text in nmt_nfkc.rules.rewrite(tf.constant(batch, tf.string)).numpy()]
    assert eager == nmt_nfkc.library.normalize(batch)
