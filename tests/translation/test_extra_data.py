"""Extra pairs: which are trained on, what is told of the others, and how a source tells its set."""

import numpy as np
import pytest
import sentencepiece

from nlp_lstm.datasets.known_sets import fingerprint_of_pairs
from nlp_lstm.datasets.pairs import Pairs, load_pairs
from nlp_lstm.errors import UserError
from nlp_lstm.text.subwords import END, Subwords
from nlp_lstm.translation.batches import IdPair, PairBatches
from nlp_lstm.translation.extra_data import TAG, fit_to_train_on, for_subwords, load_extra, tagged
from nlp_lstm.translation.settings import Settings

ROWS = [(f"a cab {number}", f"Ein Taxi {number}") for number in range(200)]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "extra.tsv"
    path.write_text("".join("\t".join(row) + "\n" for row in ROWS))
    return str(path)


def rows(pairs):
    return list(zip(*pairs, strict=True))


NOTHING = Pairs([], [])


class TestLoad:
    def test_the_training_part_alone(self, table, capsys):
        """So what is cut off for validation and test is new to the model."""
        found, fingerprint = load_extra(table, Settings(seed=3), NOTHING)
        parts = load_pairs(table, ["train", "validation", "test"], seed=3)
        assert rows(found) == rows(parts["train"])
        assert 0 < len(parts["test"].source) < len(found.source) < len(ROWS)
        assert fingerprint == fingerprint_of_pairs([parts["train"], parts["validation"]])
        assert capsys.readouterr().err == ""

    def test_in_reverse(self, table):
        found, _ = load_extra(table, Settings(extra_reverse=True), NOTHING)
        assert set(rows(found)) < {(target, source) for source, target in ROWS}
        assert load_extra(table, Settings(reverse=True), NOTHING)[0] != found  # which is the data's

    def test_without_what_validation_holds(self, table, capsys):
        everything = load_extra(table, Settings(), NOTHING)[0]
        source, target = everything.source[0], everything.target[1]
        validation = Pairs([f" {source.upper()}", "x", "y"], ["x", target.replace(" ", "  "), everything.source[2]])
        found, _ = load_extra(table, Settings(), validation)
        assert rows(found) == rows(everything)[2:]
        count = len(everything.source)
        expected = f"{table!r}: 2 of {count} extra pairs are left out: they stand in the validation data\n"
        assert capsys.readouterr().err == expected

    def test_nothing_left(self, table):
        with pytest.raises(UserError, match="has no pair left to train on: name another, or leave it out") as caught:
            load_extra(table, Settings(), Pairs([source for source, _ in ROWS], ["x"] * len(ROWS)))
        assert len(str(caught.value).splitlines()) == 1

    def test_no_such_source(self):
        with pytest.raises(UserError, match="none"):
            load_extra("none.tsv", Settings(), NOTHING)


def test_subwords_are_learnt_from_so_many():
    extra = Pairs(*map(list, zip(*ROWS, strict=True)))
    assert for_subwords(extra, 67, seed=1) == extra
    found = for_subwords(extra, 20, seed=1)
    assert len(found.source) == len({*rows(found)}) == 60
    assert {*rows(found)} < {*ROWS}
    assert for_subwords(extra, 20, seed=1) == found != for_subwords(extra, 20, seed=2)


def test_what_is_too_long_or_too_uneven_is_left_out_and_told(capsys):
    lengths = [(4, 4), (3, 1), (4, 1), (1, 4), (9, 9), (10, 9), (9, 10), (12, 1), (0, 0), (0, 1), (3, 9)]
    ids = [IdPair([7] * source, [8] * target) for source, target in lengths]
    extra = Pairs([f"s{number}" for number in range(len(ids))], [f"t{number}" for number in range(len(ids))])
    found = fit_to_train_on("extra", extra, ids, longest=10)
    kept = [place for place, (s, t) in enumerate(lengths) if max(s, t) + 1 <= 10 and max(s, t) <= 3 * min(s, t)]
    assert found.ids == [ids[place] for place in kept]
    assert rows(found.pairs) == [(f"s{place}", f"t{place}") for place in kept]
    assert capsys.readouterr().err.splitlines() == [
        "'extra': 3 of 11 extra pairs are left out: a side has more than 10 subwords, its end counted in",
        "'extra': 3 of 11 extra pairs are left out: a side has over three times as many subwords as the other",
    ]
    with pytest.raises(UserError, match="'extra' has no pair left"):
        fit_to_train_on("extra", extra, ids, longest=0)


class TestTag:
    @pytest.fixture(scope="class")
    def subwords(self):
        pairs = load_pairs("sample", ["train"])["train"]
        return Subwords.train([*pairs.source, *pairs.target, "a <extra> b"], 600, tags=[TAG])

    def test_no_text_has_it(self, subwords):
        (tag,) = subwords.tags
        assert (subwords.pieces[tag], len(subwords)) == (TAG, 600)
        texts = [TAG, f"a {TAG} b", f"a{TAG}", f"▁{TAG}"]
        ids = subwords.encode(np.array(texts)).to_list()
        assert ids == sentencepiece.SentencePieceProcessor(model_proto=subwords.model).encode(texts)
        assert all(ids) and tag not in {number for row in ids for number in row}
        assert subwords.decode(np.array([[*ids[1], tag]], np.int32)).numpy() == [texts[1].encode()]
        assert Subwords.train(["a b c"] * 3, 300).tags == []

    def test_sources_end_with_it(self, subwords):
        ids = [IdPair([8, 9], [7]), IdPair([], [5, 6])]
        ((source, target), _) = next(iter(PairBatches([*tagged(ids, subwords), *ids], 32, 8, None)))
        (tag,) = subwords.tags
        found = sorted(row[row != 0].tolist() for row in source)
        assert found == sorted([[8, 9, tag], [tag], [8, 9, END], [END]])
        assert sorted(row[row != 0].tolist() for row in target) == sorted([[2, 7, 3], [2, 5, 6, 3]] * 2)
