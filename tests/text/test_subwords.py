"""Subwords against the SentencePiece library: the same ids of any text, the same text of any ids, in graph."""

import gzip
import io
import itertools
import lzma
import os
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import sentencepiece
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2
from tensorflow.core.protobuf import saved_model_pb2

from nlp_lstm.datasets.pairs import load_pairs
from nlp_lstm.errors import UserError
from nlp_lstm.text.subwords import BEGINNING, END, PADDING, UNKNOWN, Subwords

SPLITS = ["train", "validation", "test"]
SIZE = 600
TRICKY = "aeinrst theMan.ü▁ \u3000\u200b\u00a0\u00ad\n\t\r\0\x7fﬁ½Å\u0301\u0308映😀\ufffd\ufeff"
BROKEN = [b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xf0\x9f\x98", b"\xe2\x96", b"\xc3", b"\xff", b"\x81"]

texts = st.text(st.one_of(st.sampled_from(TRICKY), st.characters(exclude_categories=["Cs"])), max_size=20)


class Trained(NamedTuple):
    """Subwords in graph, and the library with the same model."""

    subwords: Subwords
    library: sentencepiece.SentencePieceProcessor
    normalize: tf.types.experimental.PolymorphicFunction
    encode: tf.types.experimental.PolymorphicFunction
    decode: tf.types.experimental.PolymorphicFunction

    @classmethod
    def of(cls, subwords):
        def graph(function, *spec):
            return tf.function(function, input_signature=[tf.TensorSpec(*spec)], autograph=False)

        return cls(
            subwords,
            sentencepiece.SentencePieceProcessor(model_proto=subwords.model),
            graph(subwords.normalize, [None], tf.string),
            graph(subwords.encode, [None], tf.string),
            graph(subwords.decode, [None, None], tf.int32),
        )

    def ids(self, batch):
        return self.encode(tf.constant(batch, tf.string)).to_list()

    def text(self, rows):
        return [text.decode("utf-8") for text in self.decode(tf.ragged.constant(rows, tf.int32, 1).to_tensor()).numpy()]

    def normalized(self, batch):
        return [text.decode("utf-8") for text in self.normalize(tf.constant(batch, tf.string)).numpy()]

    def numbers(self, *pieces):
        """The ids of pieces by their spelling."""
        assert set(pieces) <= set(self.subwords.pieces)
        return [self.library.piece_to_id(piece) for piece in pieces]

    def assert_ids_equal_library(self, batch):
        """Gives the ids."""
        ids, expected = self.ids(batch), self.library.encode(batch)
        differing = [row for row in zip(batch, ids, expected, strict=True) if row[1] != row[2]]
        assert differing == []
        return ids


def train(texts=None, **changed):
    """A model as the library trains it on texts, or the sample: as `Subwords.train` would, but for what is changed."""
    written = io.BytesIO()
    usual = {"model_type": "unigram", "byte_fallback": True, "character_coverage": 1.0}
    usual |= {"vocab_size": SIZE, "hard_vocab_limit": False, "num_threads": 1, "minloglevel": 3}
    special = {"pad_id": PADDING, "unk_id": UNKNOWN, "bos_id": BEGINNING, "eos_id": END}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sample_sentences("train") if texts is None else texts),
        model_writer=written,
        **{**usual, **special, **changed},
    )
    return written.getvalue()


def sample_sentences(*splits):
    return [sentence for pairs in load_pairs("sample", splits).values() for side in pairs for sentence in side]


def one_replacement_for_many(text):
    """The library writes U+FFFD for each byte that is none of UTF-8, TensorFlow for several together."""
    return re.sub("\ufffd+", "\ufffd", text)


@pytest.fixture(scope="module")
def sample():
    return Trained.of(Subwords.train(sample_sentences("train"), SIZE))


# The library's ids


def test_sentences_have_the_ids_of_the_library(sample):
    ids = sample.assert_ids_equal_library(sample_sentences(*SPLITS))
    assert sum(map(len, ids)) > 8_000
    assert 2 < np.mean([len(sample.subwords.pieces[number]) for row in ids for number in row]) < 10


@settings(deadline=None, max_examples=50)
@given(st.lists(texts, max_size=5))
def test_any_texts_have_the_ids_of_the_library(sample, batch):
    sample.assert_ids_equal_library(batch)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.one_of(st.sampled_from(BROKEN), st.binary(max_size=4), texts.map(str.encode)), max_size=6))
def test_what_is_no_utf_8_is_read_as_the_codec_replaces_it(sample, parts):
    broken = b"".join(parts)
    assert sample.ids([broken]) == sample.library.encode([broken.decode("utf-8", "replace")])


SPACES = [chr(point) for point in range(0x110000) if unicodedata.category(chr(point)) in ("Cc", "Cf", "Zl", "Zp", "Zs")]


@pytest.mark.parametrize("pattern", ["{0}", "a{0}man", "{0}a{0}{0}man{0}", "a {0}man{0} ", "{0} {0}"])
def test_spaces_and_controls_of_all_kinds(sample, pattern):
    assert len(SPACES) > 200
    batch = [pattern.format(space) for space in SPACES]
    sample.assert_ids_equal_library(batch)
    rng = np.random.default_rng(0)
    sample.assert_ids_equal_library([pattern.format("".join(rng.choice(SPACES, 3))) for _ in range(300)])


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "▁",
        "▁▁▁",
        " ▁ ▁",
        "▁a▁▁man▁",
        "a ▁man▁ ▁",
        "a▁ man",
        "映画は最高",
        "😀👩‍👩‍👧🏳️‍🌈" * 10,
        "a映a映man画画",
        "\ue000\U0010ffff\uffff\ufffd",
        "<0x41> <s> </s> <unk> <pad>",
        "\0",
        "a\0man\0",
        "Ein Mann\nund eine Frau\r\n",
        "a" * 3_000,
        "the man " * 100,
        "映" * 500,
        " " * 500 + "a",
        "▁" * 500,
        "e\u0301" * 300,
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_difficult_texts(sample, text):
    (ids,) = sample.assert_ids_equal_library([text])
    assert bool(ids) == bool(text.strip(" ▁"))
    assert UNKNOWN not in ids


def test_a_text_does_not_depend_on_its_batch(sample):
    batch = ["", "a man", "映", "x" * 200, "", "the ﬁlm▁is ", "\0", "Der Mann läuft."]
    assert sample.ids(batch) == [sample.ids([text])[0] for text in batch]
    assert sample.ids(batch[::-1]) == sample.ids(batch)[::-1]


@pytest.mark.parametrize("batch", [[], [""], ["", ""], ["a man", ""]])
def test_batches_of_little_or_nothing(sample, batch):
    found = sample.encode(tf.constant(batch, tf.string))
    assert found.dtype == tf.int32
    assert found.to_list() == sample.library.encode(batch)
    assert found.to_tensor().shape[0] == len(batch)


def test_graphs_are_traced_once(sample):
    for batch in (["a man", ""], [], ["a" * 100]):
        sample.ids(batch)
    assert sample.encode.experimental_get_tracing_count() == 1


@pytest.mark.parametrize(
    "batch", [["A man walks.", "", "a"], ["ﬁne ﬁlm", "e\u0301", "plain 映"]], ids=["plain", "changed"]
)
def test_eagerly_it_is_the_same(sample, batch):
    encoded = sample.subwords.encode(tf.constant(batch))
    assert encoded.to_list() == sample.library.encode(batch)
    decoded = sample.subwords.decode(encoded.to_tensor()).numpy()
    assert [text.decode("utf-8") for text in decoded] == sample.text(encoded.to_list())


# Models the library trained in other ways


@pytest.mark.parametrize(
    "changed",
    [
        {"normalization_rule_name": "identity"},
        {"normalization_rule_name": "nmt_nfkc_cf", "control_symbols": ["<2de>", "<2en>"]},
        {"split_by_whitespace": False, "allow_whitespace_only_pieces": True, "max_sentencepiece_length": 30},
        {"character_coverage": 0.98, "split_digits": True, "max_sentencepiece_length": 1, "vocab_size": 300},
    ],
    ids=["identity", "control symbols", "pieces across words", "single characters"],
)
def test_models_trained_otherwise(changed):
    trained = Trained.of(Subwords(train(**changed)))
    sentences = sample_sentences("validation", "test")
    batch = [
        *sentences,
        *map(str.upper, sentences),
        *sentences[0],
        TRICKY,
        "ﬁlm",
        "<2de> a",
        "  a  ▁b ",
        "▁▁the",
        "2024",
        "",
    ]
    ids = trained.assert_ids_equal_library(batch)
    assert trained.text(ids) == trained.library.decode(ids)
    longest = max(
        len(piece) for row in ids for piece in map(trained.subwords.pieces.__getitem__, row) if "<" not in piece
    )
    assert longest <= trained.subwords.trie.longest
    assert (longest == 1) == (changed.get("max_sentencepiece_length") == 1)


# Ties


def with_pieces(model, scores):
    """A model whose subwords are replaced, all but the special ones and the bytes."""
    parsed = sentencepiece_model_pb2.ModelProto.FromString(model)
    del parsed.pieces[4 + 256 :]
    for piece, score in scores.items():
        parsed.pieces.add(piece=piece, score=score, type=parsed.SentencePiece.NORMAL)
    return parsed.SerializeToString()


def every_string(alphabet, longest):
    return ["".join(drawn) for length in range(1, longest + 1) for drawn in itertools.product(alphabet, repeat=length)]


def scores_of_ties(kind):
    pieces = every_string("ab▁", 3)
    rng = np.random.default_rng(0)
    return {
        "all alike": {piece: -1.0 * len(piece) for piece in pieces},
        "alike but for rounding": {piece: -0.1 * len(piece) for piece in pieces},
        "whole numbers": dict(zip(pieces, rng.integers(-5, 0, len(pieces)).tolist(), strict=True)),
        "some missing": {piece: -1.0 * len(piece) for piece in pieces if piece in "ab▁" or rng.random() < 0.4},
        "characters missing": {piece: -1.0 * len(piece) for piece in pieces if len(piece) > 1},
    }[kind]


@pytest.mark.parametrize(
    "kind", ["all alike", "alike but for rounding", "whole numbers", "some missing", "characters missing"]
)
def test_equal_scores_are_decided_as_in_the_library(sample, kind):
    scores = scores_of_ties(kind)
    tied = Trained.of(Subwords(with_pieces(sample.subwords.model, scores)))
    ids = tied.assert_ids_equal_library([*every_string("ab c", 5), "ab" * 50, "a" * 99])
    if kind == "all alike":  # with their single characters, too, these texts would score the same
        (row,) = tied.library.encode(["abbab aabba"])
        assert sum(scores[tied.subwords.pieces[number]] for number in row) == -len("▁abbab▁aabba")
        assert len(row) < len("▁abbab▁aabba")
    assert any(tied.subwords.first_byte <= number < tied.subwords.first_byte + 256 for row in ids for number in row)


# Parts of it


@settings(deadline=None, max_examples=40)
@given(texts)
def test_normalize_equals_the_library(sample, text):
    assert sample.normalized([text]) == [sample.library.normalize(text)]


def test_normalize_makes_spaces_plain(sample):
    batch = ["  ﬁne  film ", "", " ", "▁", "a ▁ b▁ ", "\u3000a\u00a0\u200bb\n", *(f"{s}a{s}{s}b{s}" for s in SPACES)]
    found = sample.normalized(batch)
    assert found[:6] == ["▁fine▁film", "", "", "", "▁a▁b", "▁a▁b"]
    assert found == [sample.library.normalize(text) for text in batch]


def test_of_a_longer_text_the_first_characters_are_read(sample):
    """The library as one that takes a text as it comes, with the marks of spaces in it, knows what they become."""
    parsed = sentencepiece_model_pb2.ModelProto.FromString(sample.subwords.model)
    rules = parsed.normalizer_spec
    rules.precompiled_charsmap, rules.name = b"", "identity"
    rules.add_dummy_prefix = rules.remove_extra_whitespaces = rules.escape_whitespaces = False
    verbatim = sentencepiece.SentencePieceProcessor(model_proto=parsed.SerializeToString())
    batch = ["  Ein ﬁlm, 映  e\u0301 ist gut. ", "", "a", "the man 😀 walks"]
    plain = [sample.library.normalize(text) for text in batch]
    signature = [tf.TensorSpec([None], tf.string), tf.TensorSpec([], tf.int32)]
    encode = tf.function(sample.subwords.encode, input_signature=signature, autograph=False)
    for longest in (0, 1, 2, 3, 4, 7, 8, 10, 11, 12, 18, len(plain[0]), 10_000):
        found = encode(tf.constant(batch), longest).to_list()
        assert found == verbatim.encode([text[:longest] for text in plain])
    assert found == sample.ids(batch)


def test_pieces_are_those_of_the_library(sample):
    subwords, library = sample.subwords, sample.library
    assert len(subwords) == len(subwords.pieces) == len(library)
    assert subwords.pieces == [library.id_to_piece(number) for number in range(len(library))]
    assert [library.pad_id(), library.unk_id(), library.bos_id(), library.eos_id()] == [
        PADDING,
        UNKNOWN,
        BEGINNING,
        END,
    ]
    for value in range(256):
        assert subwords.pieces[subwords.first_byte + value] == f"<0x{value:02X}>"
        assert subwords.spelling[subwords.first_byte + value] == bytes([value])


# Back to text


def assert_decoded_as_in_the_library(trained, rows):
    expected = [one_replacement_for_many(text) for text in trained.library.decode(rows)]
    found = map(one_replacement_for_many, trained.text(rows))
    assert [row for row in zip(rows, found, expected, strict=True) if row[1] != row[2]] == []


def test_sentences_come_back(sample):
    sentences = sample_sentences(*SPLITS)
    assert sample.text(sample.ids(sentences)) == sentences
    assert sample.text(sample.ids([" a  ﬁne\u3000映画 \n"])) == ["a fine 映画"]


@settings(deadline=None, max_examples=40)
@given(st.lists(texts, min_size=1, max_size=4))
def test_any_text_comes_back_as_in_the_library(sample, batch):
    assert sample.text(sample.ids(batch)) == sample.library.decode(sample.library.encode(batch))


def test_random_ids_are_decoded_as_in_the_library(sample):
    rng = np.random.default_rng(0)
    specials = [PADDING, BEGINNING, END]
    kinds = [
        np.arange(4 + 256, SIZE),
        np.arange(4, 4 + 256),
        np.array([*specials, *range(4 + 256, SIZE)]),
        np.array([*specials, *range(4, SIZE)]),
    ]
    rows = [rng.choice(kind, rng.integers(1, 13)).tolist() for kind in kinds for _ in range(500)]
    assert_decoded_as_in_the_library(sample, rows)


@pytest.mark.parametrize(
    "pieces",
    [
        ["▁", "▁", "▁the"],
        ["▁", "▁", "▁"],
        ["<pad>", "<s>", "▁", "</s>", "▁the"],
        ["▁the", "▁", "▁"],
        ["<0x20>", "▁the"],
        ["<0x20>", "<0x41>"],
        ["▁", "<0x20>"],
        ["<0xE2>", "<0x96>", "<0x81>", "▁the"],
        ["a", "<0xE2>", "<0x96>", "<0x81>"],
        ["<0xC3>", "▁the", "<0xA9>"],
        ["<0xF0>", "<0x9F>", "<0x98>", "<0x80>"],
        ["<0xF0>", "<0x9F>", "<0x98>", "▁the"],
        ["<0xED>", "<0xA0>", "<0x80>"],
        ["<0x00>", "a", "<0x0A>"],
    ],
    ids=" ".join,
)
def test_odd_ids_are_decoded_as_in_the_library(sample, pieces):
    assert_decoded_as_in_the_library(sample, [sample.numbers(*pieces)])


def test_special_ids_stand_for_no_text(sample):
    """The unknown one, too, for which the library would write a mark of its own."""
    words = sample.numbers("▁the", "▁a", "s")
    for special in (PADDING, UNKNOWN, BEGINNING, END):
        between = [number for word in words for number in (special, word, special, special)]
        assert sample.text([between, words, [special] * 3]) == ["the as", "the as", ""]


@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (2, 0), (2, 3)])
def test_no_ids_are_no_text(sample, shape):
    assert sample.decode(tf.fill(shape, PADDING)).numpy().tolist() == [b""] * shape[0]


# Training


@pytest.mark.parametrize("size", [400, 500])
def test_as_many_subwords_are_chosen_as_asked_for_and_each_time_the_same(size):
    sentences = sample_sentences("train")
    subwords = Subwords.train(sentences, size)
    assert len(subwords) == size
    assert Subwords.train(iter(sentences), size).model == subwords.model
    assert Subwords.train(sentences[1:], size).model != subwords.model


def test_of_little_text_there_are_fewer_subwords():
    few = Subwords.train(["a man and a woman", "a woman walks"], 300)
    assert 4 + 256 + len(set("▁amandomwlks")) <= len(few) < 300
    assert len(Subwords.train(["a"], 10_000)) == 4 + 256 + len("▁a")


def one_line(error):
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@pytest.mark.parametrize("size", [-1, 0, 1, 259, 260, 300])
def test_too_few_subwords_for_the_characters_are_a_mistake(size):
    with pytest.raises(UserError) as error:
        Subwords.train(sample_sentences("train"), size)
    assert f"{size} subwords" in one_line(error)


def test_what_mends_too_few_subwords():
    """Each number that the message names is enough, and one less is not."""
    rng = np.random.default_rng(4)
    common, rare = "abcdefgh ", "".join(map(chr, range(0x4E00, 0x4E00 + 40)))
    texts = ["".join(rng.choice(list(common), 30)) for _ in range(200)]
    texts += ["".join(rng.choice(list(common), 20)) + character for character in rare]
    with pytest.raises(UserError) as error:
        Subwords.train(texts, 280)
    told = re.search(r"--subwords to (\d+) or more, or lower --character-coverage to (0\.\d+),", one_line(error))
    size, coverage = int(told[1]), float(told[2])
    assert size == 260 + len(common) + len(rare)
    assert len(Subwords.train(texts, size)) == size and 0.98 <= coverage < 1
    with pytest.raises(UserError):
        Subwords.train(texts, size - 1)
    covered = Subwords.train(texts, 280, coverage)
    assert len(covered) <= 280
    # Rare characters are bytes, and come back.
    trained = Trained.of(covered)
    ids = trained.assert_ids_equal_library(["abc " + rare])
    assert trained.text(ids) == ["abc " + rare]
    with pytest.raises(UserError):
        Subwords.train(texts, 280, min(1.0, coverage + 2e-4))


def test_more_characters_than_the_lowest_coverage_leaves_out():
    texts = ["".join(map(chr, range(start, start + 60))) for start in range(0x4E00, 0x4E00 + 600, 60)]
    with pytest.raises(UserError) as error:
        Subwords.train(texts, 400)
    told = re.search(r"--subwords to 861 or more, or to (\d+) with --character-coverage 0\.98,", one_line(error))
    fewest = int(told[1])
    assert len(Subwords.train(texts, fewest, 0.98)) == fewest
    with pytest.raises(UserError):
        Subwords.train(texts, fewest - 1, 0.98)


def test_long_texts_are_not_left_out():
    """The library drops what is longer than 4192 bytes; cut at spaces, the subwords are those of the whole."""
    rng = np.random.default_rng(1)
    words = ["".join(rng.choice(list("äbcdé"), rng.integers(1, 6))) for _ in range(3000)]
    assert len(" ".join(words).encode()) > 3 * 4192
    whole = train([" ".join(words)], vocab_size=300, max_sentence_length=10**6)
    assert Subwords.train([" ".join(words)], 300).pieces == Subwords(whole).pieces
    assert "▁word" in Subwords.train([" ".join(["word"] * 1200)] * 9, 500).pieces
    assert "▁word" in Subwords.train(["▅ word word"] * 9, 300).pieces  # a character that the library reserves
    assert set("映画") <= set(Subwords.train(["映画" * 2000], 300).pieces[260:])  # no space to cut at


def test_blanks_drawn_together_leave_the_plain_text_as_it_is(sample):
    rng = np.random.default_rng(2)
    symbols = [*"aeu\u0301\u0302 \u3000\x01\x02\t\u200b▁\ufffd\x8f\0", "the", "ﬁ"]
    batch = ["".join(rng.choice(symbols, 30)) for _ in range(500)]
    shorter = sample.subwords.without_blanks(tf.constant(batch)).numpy()
    assert sample.normalized(shorter) == [sample.library.normalize(text) for text in batch]
    blanks = [space for space in SPACES if not sample.library.normalize(space)]
    assert len(blanks) > 50
    shorter = sample.subwords.without_blanks(tf.constant([blank * 900 for blank in blanks])).numpy()
    assert max(map(len, shorter)) < 3


@pytest.mark.parametrize("blank", [" ", "\t", "\u3000", "\ufeff", "\x01", "\x8f \x01", "▁", "\r\n"], ids=repr)
def test_blanks_do_not_count_among_the_first_characters(sample, blank):
    text = blank * 5000 + "A man" + blank * 5000 + " walks."
    (found,) = sample.subwords.encode(tf.constant([text]), len("▁A▁man▁walks.")).to_list()
    assert found == sample.library.encode(text) == sample.library.encode(f"A man{blank} walks.")


def test_the_first_characters_of_a_text_may_be_of_many_bytes(sample):
    """Of decomposed text, too, so many plain characters are read as are asked for, controls between them or not."""
    for unit in ("e\u0302\u0301", "\x01\x8fe\u0302\u0301", "\u1112\u1161\u11ab", "a\x01"):
        (found,) = sample.subwords.encode(tf.constant([unit * 100]), 1 + 20).to_list()
        assert found == sample.library.encode(unit * 20)


@pytest.mark.parametrize("nothing", [[], [""], ["", " "], ["\u3000\n"]], ids=repr)
def test_no_text_is_a_mistake(nothing):
    with pytest.raises(UserError) as error:
        Subwords.train(nothing, 300)
    assert "there is no text" in one_line(error) and "more text" in str(error.value)


# Model files


def test_what_is_saved_comes_back_and_is_the_librarys_own_file(sample, tmp_path):
    path = tmp_path / "subwords.model"
    sample.subwords.save(path)
    loaded = Trained.of(Subwords.load(path))
    assert (loaded.subwords.model, loaded.subwords.pieces) == (sample.subwords.model, sample.subwords.pieces)
    sentences = sample_sentences("test")
    assert loaded.ids(sentences) == sample.ids(sentences)
    assert sentencepiece.SentencePieceProcessor(model_file=str(path)).encode(sentences) == sample.ids(sentences)
    path.write_bytes(train())
    assert Subwords.load(str(path)).model == sample.subwords.model


@pytest.mark.parametrize(
    "changed",
    [
        {"model_type": "bpe"},
        {"model_type": "char"},
        {"model_type": "word", "byte_fallback": False},
        {"byte_fallback": False},
        {"pad_id": -1, "unk_id": 0, "bos_id": 1, "eos_id": 2},
        {"pad_id": -1},
        {"bos_id": END, "eos_id": BEGINNING},
        {"add_dummy_prefix": False},
        {"remove_extra_whitespaces": False},
        {"treat_whitespace_as_suffix": True},
        {"user_defined_symbols": ["<x>"]},
    ],
    ids=str,
)
def test_other_kinds_of_models_are_refused(changed, tmp_path):
    path = tmp_path / "other.model"
    path.write_bytes(train(**changed))
    with pytest.raises(UserError) as error:
        Subwords.load(path)
    assert "unigram model with byte fallback" in one_line(error)


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"garbage", b"\xff" * 1_000, bytes(range(256)) * 9, b'{"unit": "byte"}']
)
def test_files_that_are_no_models_are_refused(content, tmp_path):
    path = tmp_path / "no.model"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        Subwords.load(path)
    assert "no SentencePiece model" in one_line(error)


def test_half_a_model_is_refused(sample):
    model = sample.subwords.model
    for length in np.random.default_rng(0).integers(1, len(model), 40):
        with pytest.raises(UserError) as error:
            Subwords(model[:length])
        one_line(error)


def without_bytes(parsed):
    for piece in parsed.pieces:
        if piece.type == piece.BYTE:
            piece.type = piece.NORMAL


def with_few_bytes(parsed):
    del parsed.pieces[100:110]


def with_short_rules(parsed):
    parsed.normalizer_spec.precompiled_charsmap = b"abc"


def with_half_the_rules(parsed):
    parsed.normalizer_spec.precompiled_charsmap = parsed.normalizer_spec.precompiled_charsmap[:999]


def with_an_empty_piece(parsed):
    parsed.pieces[-1].piece = ""


def with_a_piece_twice(parsed):
    parsed.pieces[-1].piece = parsed.pieces[-2].piece


def with_a_score_that_is_none(parsed):
    parsed.pieces[-1].score = np.nan


@pytest.mark.parametrize(
    "damage",
    [
        *(without_bytes, with_few_bytes, with_short_rules, with_half_the_rules),
        *(with_an_empty_piece, with_a_piece_twice, with_a_score_that_is_none),
    ],
    ids=lambda damage: damage.__name__,
)
def test_what_the_library_does_not_take_is_refused(sample, damage):
    parsed = sentencepiece_model_pb2.ModelProto.FromString(sample.subwords.model)
    damage(parsed)
    model = parsed.SerializeToString()
    with pytest.raises(RuntimeError):
        sentencepiece.SentencePieceProcessor(model_proto=model)
    with pytest.raises(UserError) as error:
        Subwords(model)
    one_line(error)


# Sampling


def sampled(trained, batch, alpha, seed):
    return trained.subwords.sampled(tf.constant(batch, tf.string), alpha, (seed, 0)).to_list()


def test_samples_depend_on_the_seed_alone(sample):
    sentences = sample_sentences("validation", "test")
    first = sampled(sample, sentences, 0.2, 1)
    other = sampled(sample, sentences, 0.2, 2)
    assert sampled(sample, sentences, 0.2, 1) == first
    assert sampled(Trained.of(Subwords(sample.subwords.model)), sentences, 0.2, 1) == first
    assert sum(map(list.__ne__, first, other)) > len(sentences) // 2
    assert sum(map(list.__ne__, first, sample.ids(sentences))) > len(sentences) // 2


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 1.0])
def test_every_sample_is_the_same_text(sample, alpha):
    batch = [*sample_sentences("test"), "ﬁne  映画 ▁ e\u0301", "", "x" * 50]
    rows = sampled(sample, batch, alpha, 5)
    likeliest = sample.ids(batch)
    assert sample.text(rows) == sample.text(likeliest)
    assert rows != likeliest
    assert rows[-2] == []


def test_a_large_power_leaves_the_likeliest_segmentation(sample):
    sentences = sample_sentences(*SPLITS)
    assert sampled(sample, sentences, 1e4, 3) == sample.ids(sentences)


def test_no_texts_have_no_samples(sample):
    assert sampled(sample, [], 0.1, 0) == []


def segmentations(text, scores):
    """Every way to write a text in pieces, and its score."""
    if not text:
        return {(): 0.0}
    return {
        (piece, *rest): scores[piece] + score
        for piece in (text[:length] for length in range(1, len(text) + 1))
        if piece in scores
        for rest, score in segmentations(text[len(piece) :], scores).items()
    }


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_samples_have_the_probabilities_of_the_model_to_a_power(sample, alpha):
    pieces, scores = sample.subwords.pieces, sample.subwords.scores
    own = {pieces[number]: float(scores[number]) for number in range(sample.subwords.first_byte + 256, len(pieces))}
    text, draws = "kochen", 8_000
    weights = {rest: np.exp(alpha * score) for rest, score in segmentations(f"▁{text}", own).items()}
    assert len(weights) > 4
    rows = sampled(sample, [text] * draws, alpha, 7)
    counts = Counter(tuple(pieces[number] for number in row) for row in rows)
    assert counts.keys() <= weights.keys()
    for segmentation, weight in weights.items():
        expected = weight / sum(weights.values())
        margin = 4.5 * np.sqrt(expected * (1 - expected) / draws) + 1 / draws
        assert abs(counts[segmentation] / draws - expected) < margin, segmentation


# In a SavedModel


class RoundTrip(tf.Module):
    def __init__(self, subwords):
        super().__init__()
        self.subwords = subwords
        self.resources = subwords.resources

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def run(self, text):
        ids = self.subwords.encode(text).to_tensor(PADDING)
        return {"ids": ids, "text": self.subwords.decode(ids)}


def test_a_saved_model_needs_core_operations_only_and_gives_the_same_ids(sample, tmp_path):
    module = RoundTrip(sample.subwords)
    tf.saved_model.save(module, str(tmp_path), signatures=module.run.get_concrete_function())
    saved = saved_model_pb2.SavedModel.FromString((tmp_path / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    own = {function.signature.name for function in graph.library.function}
    operations = {node.op for function in graph.library.function for node in function.node_def}
    operations |= {node.op for node in graph.node}
    assert {"StatelessWhile", "LookupTableFindV2", "UnicodeTranscode", "UnicodeDecode"} <= operations
    assert [name for name in operations - own if not hasattr(tf.raw_ops, name) or "PyFunc" in name] == []

    loaded = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    batch = [*sample_sentences("test"), "", "ﬁne  映画 ▁ e\u0301", b"\xff\xe2\x96 a", "\0"]
    for texts in (batch, batch[:1], [""], []):
        answer = loaded(tf.constant(texts, tf.string))
        ids = sample.ids(texts)
        assert answer["ids"].shape == (len(texts), max(map(len, ids), default=0))
        assert [[number for number in row if number != PADDING] for row in answer["ids"].numpy().tolist()] == ids
        assert [text.decode("utf-8") for text in answer["text"].numpy()] == (sample.text(ids) if texts else [])


# Real sentences


@pytest.fixture(scope="module")
def real_data():
    folder = Path(os.environ.get("NLP_LSTM_DATA") or "nowhere")
    if not (folder / "multi30k").is_dir() or not (folder / "tatoeba").is_dir():
        pytest.skip("NLP_LSTM_DATA names no folder with multi30k and tatoeba")
    return folder


@pytest.fixture(scope="module")
def multi30k(real_data):
    """By split and language, such as val.de."""
    paths = sorted((real_data / "multi30k").glob("*.gz"))
    return {path.stem: gzip.decompress(path.read_bytes()).decode("utf-8").split("\n") for path in paths}


@pytest.fixture(scope="module")
def trained_on_multi30k(multi30k):
    return Trained.of(Subwords.train([*multi30k["train.en"], *multi30k["train.de"]], 4_000))


def assert_sentences_equal_library(trained, sentences):
    ordered = sorted(dict.fromkeys(sentences), key=len)  # so that little is padded
    for start in range(0, len(ordered), 1_000):
        trained.assert_ids_equal_library(ordered[start : start + 1_000])


EVERY = 1 if os.environ.get("NLP_LSTM_ALL_SENTENCES") else 10


def test_multi30k_has_the_ids_of_the_library(multi30k, trained_on_multi30k):
    """Every sentence of validation and test, and every tenth of training; all with NLP_LSTM_ALL_SENTENCES set.

    French is of another language than those the subwords were chosen for.
    """
    assert len(multi30k) == 9
    for name, sentences in multi30k.items():
        assert_sentences_equal_library(trained_on_multi30k, sentences[:: EVERY if name.startswith("train") else 1])


@pytest.mark.parametrize("name", ["deu", "spa"])
def test_tatoeba_has_the_ids_of_the_library(real_data, trained_on_multi30k, name):
    """Both columns of every tenth line; of all lines with NLP_LSTM_ALL_SENTENCES set."""
    (path,) = (real_data / "tatoeba").glob(f"{name}*.xz")
    lines = lzma.decompress(path.read_bytes()).decode("utf-8").removesuffix("\n").split("\n")[::EVERY]
    for column in zip(*(line.split("\t")[:2] for line in lines), strict=True):
        assert_sentences_equal_library(trained_on_multi30k, column)
