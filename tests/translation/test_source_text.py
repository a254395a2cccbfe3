"""How sources are read: in lower case and without what nobody sees, the same in each graph and for the subwords."""

import numpy as np
import pytest
import sentencepiece
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from nlp_lstm.datasets.pairs import Pairs, load_pairs
from nlp_lstm.text.subwords import Subwords
from nlp_lstm.translation.batches import IdPair, drawn_id_pairs, id_pairs, without_full_stops
from nlp_lstm.translation.build import Vocabularies
from nlp_lstm.translation.source_text import SourceReader, plain_sources

CASES = ("lower", "keep", "raw")


@pytest.fixture(scope="module")
def subwords():
    pairs = load_pairs("sample", ["train"])["train"]
    return Subwords.train([*plain_sources(pairs.source, "lower"), *pairs.target], 600)


@pytest.fixture(scope="module")
def library(subwords):
    return sentencepiece.SentencePieceProcessor(model_proto=subwords.model)


@pytest.fixture(scope="module")
def readers(subwords):
    spec = [tf.TensorSpec([None], tf.string)]
    return {
        case: tf.function(SourceReader(subwords, case).encode, input_signature=spec, autograph=False) for case in CASES
    }


def ids(reader, texts):
    return reader(tf.constant([text.encode() for text in texts], tf.string)).to_list()


ANY = st.text(st.sampled_from("aeinrst theMAN.ÜüÉéΣΑσİßǅﬁ½Å映😀 \u00a0"), max_size=20)


@given(st.lists(ANY, max_size=5))
def test_ids_are_those_of_the_library(library, readers, texts):
    assert ids(readers["raw"], texts) == ids(readers["keep"], texts) == library.encode(texts)
    # The library makes a text plain; Python, whose lower case is Unicode's, writes it small.
    plain = [library.normalize(text).replace("▁", " ").strip(" ").lower() for text in texts]
    assert ids(readers["lower"], texts) == library.encode(plain)


def test_the_case_of_a_text_changes_nothing(readers):
    texts = load_pairs("sample", ["test"])["test"].source
    small = [text.lower() for text in texts]
    assert texts != small
    expected = ids(readers["lower"], small)
    for change in (str, str.upper, str.title, str.swapcase):
        assert ids(readers["lower"], map(change, texts)) == expected
    assert ids(readers["keep"], texts) != expected


def test_what_stands_behind_a_nul_is_read(library, readers):
    assert ids(readers["lower"], ["A\0 Man\0\0s", "\0"]) == library.encode(["a mans", ""])


def test_letters_that_become_capitals_are_written_small_too(library, readers):
    assert ids(readers["lower"], ["℡ 𝐀 ＢＣ ™"]) == library.encode(["tel a bc tm"])


@pytest.mark.parametrize("case", CASES)
def test_invisible_characters(readers, case):
    """In the middle of each word of a text, however many."""
    texts = load_pairs("sample", ["test"])["test"].source[:20]
    hidden = [" ".join(word[:1] + "\u00ad\u200b\u2060" + word[1:] for word in text.split()) for text in texts]
    found, expected = ids(readers[case], hidden), ids(readers[case], texts)
    assert (found == expected) == (case != "raw")


def test_no_utf8(readers):
    for case in CASES:
        found = readers[case](tf.constant([b"a \xff\xc3 man", b"\xed\xa0\x80B"])).to_list()
        assert all(row for row in found)


def test_sampled_in_lower_case(subwords):
    """Draws are of the text as it is read; with a large power they are the likeliest."""
    text = tf.constant(["A MAN\u00adIA RIDES"] * 3)
    reader = SourceReader(subwords, "lower")
    drawn = reader.sampled(text, 0.0, (0, 1))
    assert set(subwords.decode(drawn.to_tensor()).numpy()) == {b"a mania rides"}
    assert len({tuple(row) for row in drawn.to_list()}) > 1
    assert reader.sampled(text, 1000.0, (0, 1)).to_list() == reader.encode(text).to_list()
    kept = SourceReader(subwords, "keep").sampled(text, 0.0, (0, 1))
    assert set(subwords.decode(kept.to_tensor()).numpy()) == {b"A MANIA RIDES"}


def test_what_subwords_are_learnt_from():
    texts = ["A m\u00adan ΑΣ.", "👩\u200d👧 X"]
    assert plain_sources(texts, "lower") == ["a man ας.", "👩\u200d👧 x"]
    assert plain_sources(texts, "keep") == ["A man ΑΣ.", "👩\u200d👧 X"]
    assert plain_sources(texts, "raw") == texts
    assert plain_sources([], "lower") == []


def test_ids_of_pairs_read_the_source_alone_in_lower_case(subwords, library):
    vocabularies, pairs = Vocabularies(subwords, subwords), Pairs(["The BEST", "a"], ["Der Beste", "Ein"])
    expected = [
        IdPair(*row) for row in zip(library.encode(["the best", "a"]), library.encode(pairs.target), strict=True)
    ]
    assert id_pairs(vocabularies, pairs, "lower") == expected
    assert drawn_id_pairs(vocabularies, 1000.0, "lower")(pairs, (0, 1)) == expected
    assert id_pairs(vocabularies, pairs, "keep") != expected


class TestFullStops:
    def test_which_texts_may_lose_theirs(self):
        texts = ["A dog.", "A dog. ", "Why?", "", ".", " . ", "Wait...", "at 5 p.m.", "a .", "Ende。"]
        expected = ["A dog", "A dog", "Why?", "", ".", " . ", "Wait...", "at 5 p.m", "a ", "Ende。"]
        pairs = Pairs(texts, [f"{number}." for number in range(len(texts))])
        assert without_full_stops(pairs, 1.0, (0, 1)) == Pairs(expected, pairs.target)
        assert without_full_stops(pairs, 0.0, (0, 1)) == pairs

    def test_a_share_that_the_seed_settles(self):
        pairs = Pairs([f"{number} dogs." for number in range(2000)], ["Hunde."] * 2000)
        lost = [
            np.array([not text.endswith(".") for text in without_full_stops(pairs, 0.3, seed).source])
            for seed in ((0, 1), (0, 1), (0, 2), (1, 1))
        ]
        np.testing.assert_array_equal(lost[0], lost[1])
        for one in lost:
            assert one.mean() == pytest.approx(0.3, abs=0.04)
        for other in lost[2:]:
            assert (lost[0] & other).mean() == pytest.approx(0.09, abs=0.03)
