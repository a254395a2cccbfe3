"""Cuts keep groups whole, balance the labels and depend on nothing but the records, the share and the seed."""

import hashlib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_lstm.datasets.review_records import LabelledText, text_group
from nlp_lstm.datasets.splits import by_group, train_validation_test, without_texts_of

groups = st.lists(
    st.tuples(st.sampled_from([0, 1, None]), st.integers(0, 30)).map(lambda pair: (pair[0], f"film {pair[1]}")),
    max_size=120,
)


def reviews(pairs):
    return [LabelledText(f"review {i}", label, group) for i, (label, group) in enumerate(pairs)]


@settings(max_examples=150, deadline=None)
@given(groups, st.floats(0, 1), st.integers(0, 5))
def test_a_cut_loses_nothing_and_divides_no_group(pairs, fraction, seed):
    records = reviews(pairs)
    rest, held_out = by_group(records, fraction, seed)
    assert sorted(rest + held_out, key=records.index) == records
    assert rest == sorted(rest, key=records.index) and held_out == sorted(held_out, key=records.index)
    assert not {record.group for record in rest} & {record.group for record in held_out}


@settings(max_examples=60, deadline=None)
@given(groups, st.randoms())
def test_order_of_the_records_does_not_matter(pairs, random):
    records = reviews(pairs)
    shuffled = random.sample(records, len(records))
    for part, shuffled_part in zip(by_group(records, 0.3, 1), by_group(shuffled, 0.3, 1), strict=True):
        assert set(part) == set(shuffled_part)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 300), st.integers(2, 300), st.floats(0.01, 0.99), st.integers(0, 5))
def test_single_groups_are_cut_exactly_by_label(negative, positive, fraction, seed):
    records = reviews([(0, f"n{i}") for i in range(negative)] + [(1, f"p{i}") for i in range(positive)])
    held_out = Counter(record.label for record in by_group(records, fraction, seed)[1])
    assert held_out == {0: max(1, round(fraction * negative)), 1: max(1, round(fraction * positive))}


def test_film_sized_groups_are_cut_nearly_by_label():
    # Films of 1 to 30 reviews of one opinion, as in the Large Movie Review Dataset.
    records = reviews((film % 2, f"film {film}") for film in range(600) for _ in range(1 + film * 7 % 30))
    counts, held_out = (Counter(record.label for record in part) for part in (records, by_group(records, 0.1, 0)[1]))
    for label in (0, 1):
        assert held_out[label] == pytest.approx(0.1 * counts[label], rel=0.02)


def test_few_large_groups_still_give_both_labels():
    records = reviews((i % 2, f"film {i // 8}") for i in range(40))
    rest, held_out = by_group(records, 0.1, 0)
    assert Counter(record.label for record in held_out) == {0: 4, 1: 4}
    assert len(rest) == 32


def test_only_group_of_a_label_stays():
    records = reviews([(0, "a")] * 5 + [(1, "b")] * 5)
    assert by_group(records, 0.1, 0) == (records, [])


def test_fraction_zero_and_no_records():
    records = reviews([(0, "a"), (1, "b")])
    assert by_group(records, 0, 0) == (records, [])
    assert by_group([], 0.5, 0) == ([], [])


def test_seed_changes_the_cut():
    records = reviews((i % 2, f"film {i // 2}") for i in range(200))
    cuts = {tuple(record.group for record in by_group(records, 0.1, seed)[1]) for seed in range(5)}
    assert len(cuts) == 5


def test_groups_are_held_out_in_the_order_of_their_hashes():
    # The hash must stay: a trained model's validation films would otherwise move into train on its next start.
    records = reviews((i % 2, f"film {i // 2}") for i in range(40))
    films = sorted((f"film {i}" for i in range(20)), key=lambda film: hashlib.sha256(f"7 {film}".encode()).hexdigest())
    assert {record.group for record in by_group(records, 0.1, 7)[1]} == set(films[:2])


def test_groups_of_any_name():
    records = [LabelledText("text", i % 2, group) for i, group in enumerate(["", "\0", "\ud800", "电影", "a" * 9999])]
    assert sum(map(len, by_group(records, 0.5, 0))) == 5


def test_three_parts():
    records = reviews((i % 2, f"film {i // 4}") for i in range(400))
    parts = train_validation_test(records, validation=0.15, test=0.15)
    assert {split: len(part) for split, part in parts.items()} == {"train": 280, "validation": 60, "test": 60}
    films = [{record.group for record in part} for part in parts.values()]
    assert len(set.union(*films)) == sum(map(len, films)) == 100


def test_without_texts_of_compares_stripped_text():
    unlabelled = [LabelledText(text, None, text) for text in ("Seen.", "\tSeen. \n", "seen.", "New.")]
    assert without_texts_of(unlabelled, [LabelledText(" Seen.\n", 1, "x")]) == unlabelled[2:]


def test_text_group_joins_copies_alone():
    assert text_group("A film.\n") == text_group(" A film.") != text_group("A film!")
    assert text_group("\ud800") != text_group("")
