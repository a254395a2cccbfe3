"""Batches of sentence pairs: every pair once, whole, beside pairs of like lengths, and nothing left to chance."""

from collections import Counter, defaultdict
from itertools import combinations, pairwise

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_lstm.models.translator import NatsPerToken, TeacherForcing, Translator
from nlp_lstm.text.subwords import BEGINNING, END, PADDING
from nlp_lstm.translation.batches import BUCKETS, IdPair, PairBatches

SPAN = 10_000  # the source of pair k is k * SPAN + 10, k * SPAN + 11, …, its target k * SPAN + 5010, …
TARGETS = 5_000


def pairs_of_lengths(lengths):
    """Pairs whose ids tell which pair they are of, of which side, and at which place they stand."""
    return [
        IdPair(
            [number * SPAN + 10 + place for place in range(source)],
            [number * SPAN + TARGETS + 10 + place for place in range(target)],
        )
        for number, (source, target) in enumerate(lengths)
    ]


def random_lengths(count, longest, seed=0):
    """Targets are about as long as their sources; neither is ever empty, since only then a row tells its pair."""
    rng = np.random.default_rng(seed)
    source = rng.integers(1, longest + 1, count)
    return list(zip(source.tolist(), np.maximum(1, source + rng.integers(-3, 4, count)).tolist(), strict=True))


def read(row, is_source):
    """The pair that a row is of and its number of ids, after checking that it is whole; None for a row of none."""
    ids = row[: np.count_nonzero(row)]
    assert not row[len(ids) :].any()
    if not is_source:
        if not len(ids):
            return None
        assert ids[0] == BEGINNING
        ids = ids[1:]
    assert ids[-1] == END
    ids = ids[:-1]
    if not len(ids):
        return None
    number, place = divmod(int(ids[0]), SPAN)
    assert place == (10 if is_source else TARGETS + 10)
    np.testing.assert_array_equal(ids, ids[0] + np.arange(len(ids)))
    return number, len(ids)


def bounds_of(longest):
    return sorted({min(bound, longest) for bound in (*BUCKETS, longest)})


def assert_whole_epoch(lengths, tokens_per_batch, longest, seed):
    """All that holds of any epoch; the batches, each with the numbers of its pairs."""
    batches = PairBatches(pairs_of_lengths(lengths), tokens_per_batch, longest, seed)
    kept = [number for number, pair in enumerate(lengths) if max(pair) + 1 <= longest]
    seen, found, unfilled = [], [], 0
    for (source, target), zeros in batches:
        assert (source.dtype, target.dtype, zeros.dtype) == (np.int32, np.int32, np.float32)
        assert len(source) == len(target) == len(zeros)
        assert not zeros.any()
        # Rows by the bucket alone, so that XLA compiles the encoder but once for each.
        assert source.shape[1] in bounds_of(longest)
        assert len(source) == max(1, tokens_per_batch // source.shape[1])
        numbers = []
        for source_row, target_row in zip(source, target, strict=True):
            pair, translation = read(source_row, True), read(target_row, False)
            if pair is None:
                assert translation is None
                assert source_row.tolist() == [END] + [PADDING] * (source.shape[1] - 1)
                assert not target_row.any()
                continue
            assert pair[0] == translation[0]
            assert (pair[1], translation[1]) == lengths[pair[0]]
            numbers.append(pair[0])
        assert numbers
        assert target.shape[1] == max(lengths[number][1] for number in numbers) + 2
        unfilled += len(numbers) < len(source)
        seen += numbers
        found.append((source.shape[1], numbers))
    assert sorted(seen) == kept
    assert len(batches) == len(found)
    assert batches.left_out == len(lengths) - len(kept)
    assert unfilled <= 1
    return found


CASES = {
    "many": (random_lengths(400, 60), 300, 64),
    "more rows than pairs": (random_lengths(30, 60), 100_000, 128),
    "a row a batch": (random_lengths(40, 40), 1, 50),
    "many left out": (random_lengths(200, 60), 200, 30),
    "no bucket's bound": (random_lengths(200, 60), 200, 27),
}


@pytest.mark.parametrize("seed", [None, (0, 1), (0, 2)])
@pytest.mark.parametrize("case", CASES)
def test_each_pair_stands_once_in_an_epoch(case, seed):
    found = assert_whole_epoch(*CASES[case], seed)
    if case == "more rows than pairs":
        assert len(found) == 1
    if case == "many left out":
        assert sum(len(numbers) for _, numbers in found) < 120


@given(
    st.lists(st.tuples(st.integers(1, 45), st.integers(1, 45)), max_size=60),
    st.integers(1, 300),
    st.integers(2, 50),
    st.none() | st.tuples(st.integers(0, 2**40), st.integers(0, 9)),
)
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_so_it_does_of_any_lengths(lengths, tokens_per_batch, longest, seed):
    if any(max(pair) < longest for pair in lengths):
        assert_whole_epoch(lengths, tokens_per_batch, longest, seed)
    else:
        with pytest.raises(ValueError, match=f"no pair has at most {longest} ids on either side"):
            PairBatches(pairs_of_lengths(lengths), tokens_per_batch, longest, seed)


def test_an_empty_side_is_boundaries_alone():
    batches = PairBatches([IdPair([], []), IdPair([7], []), IdPair([], [8, 9])], 24, 8, None)
    ((source, target), _) = next(iter(batches))
    assert source.tolist() == [[END] + [PADDING] * 7, [7, END] + [PADDING] * 6, [END] + [PADDING] * 7]
    assert sorted(target.tolist()) == sorted([[2, 3, 0, 0], [2, 3, 0, 0], [2, 8, 9, 3]])
    assert target[source[:, 0] == 7].tolist() == [[2, 3, 0, 0]]


@pytest.mark.parametrize(("side", "longest"), [(0, 12), (1, 12), (0, 13), (1, 20)])
def test_the_longest_that_stay_have_as_many_ids_with_their_end(side, longest):
    def pair(ids):
        return (ids, 1) if side == 0 else (1, ids)

    found = assert_whole_epoch([pair(longest - 1), pair(longest), pair(longest + 1)], 1, longest, None)
    assert [numbers for _, numbers in found] == [[0]]
    assert found[0][0] == (longest if side == 0 else min(longest, 8))


def test_sources_on_a_bound_lie_in_its_bucket():
    """With their ends; where each is a batch of its own."""
    found = assert_whole_epoch([(7, 3), (8, 3), (11, 3), (12, 3), (49, 3)], 1, 50, None)
    assert found == [(8, [0]), (12, [1]), (12, [2]), (16, [3]), (50, [4])]


def test_nothing_left_is_refused():
    for pairs in ([], pairs_of_lengths([(9, 3), (3, 9)])):
        with pytest.raises(ValueError, match="no pair has at most 9 ids on either side"):
            PairBatches(pairs, 100, 9, (0, 1))


@pytest.mark.parametrize("seed", [None, (0, 1)])
def test_targets_in_a_batch_are_of_like_length(seed):
    """Batches of a bucket cover stretches of target lengths that hardly overlap; with a seed by less than three."""
    lengths = [(source, 1 + (source * 7 + number) % 40) for number in range(40) for source in range(1, 16)]
    stretches = defaultdict(list)
    for width, numbers in assert_whole_epoch(lengths, 64, 48, seed):
        targets = [lengths[number][1] for number in numbers]
        stretches[width].append((min(targets), max(targets)))
    assert min(map(len, stretches.values())) > 20
    for batches in stretches.values():
        for (least, most), (other_least, other_most) in combinations(batches, 2):
            assert min(most - other_least, other_most - least) < (1 if seed is None else 3)


def test_without_a_seed_they_stand_by_length():
    lengths = random_lengths(300, 60, seed=3)
    found = assert_whole_epoch(lengths, 200, 64, None)
    assert [width for width, _ in found[:-1]] == sorted(width for width, _ in found[:-1])
    for (width, numbers), (next_width, next_numbers) in pairwise(found[:-1]):
        if width == next_width:
            assert max(lengths[n][1] for n in numbers) <= min(lengths[n][1] for n in next_numbers)
    assert found == assert_whole_epoch(lengths, 200, 64, None)


class TestSeed:
    LENGTHS = random_lengths(400, 60, seed=4)

    def epoch(self, *seed):
        return assert_whole_epoch(self.LENGTHS, 200, 64, seed)

    def test_it_settles_everything(self):
        assert self.epoch(3, 1) == self.epoch(3, 1)

    def test_epochs_differ_in_order_and_in_what_stands_together(self):
        epochs = [self.epoch(3, epoch) for epoch in range(6)]
        together = [{frozenset(numbers) for _, numbers in epoch} for epoch in epochs]
        for one, other in combinations(together, 2):
            assert len(one & other) < len(one) / 10
        for epoch in epochs:
            widths = [width for width, _ in epoch]
            assert widths != sorted(widths)
        starts = {tuple(width for width, _ in epoch) for epoch in epochs}
        assert len(starts) == len(epochs)

    def test_each_pair_waits_for_the_last_batch_once_in_a_while(self):
        """Else the shortest or the longest would always stand beside rows of no sentence."""
        lengths = [(5, 1 + number % 30) for number in range(100)]  # of one bucket; three rows a batch, one pair left
        left = Counter()
        for epoch in range(60):
            (alone,) = (
                numbers for _, numbers in assert_whole_epoch(lengths, 24, 40, (0, epoch)) if len(numbers) % 3 == 1
            )
            left[lengths[alone[0]][1]] += 1
        assert min(left) < 5
        assert max(left) > 26


class TestDataset:
    def test_it_holds_the_batches_each_time(self):
        batches = PairBatches(pairs_of_lengths(random_lengths(60, 30, seed=5)), 100, 40, (0, 1))
        dataset = batches.dataset()
        assert int(dataset.cardinality()) == len(batches) > 10
        assert not dataset.options().autotune.enabled
        ids = tf.TensorSpec([None, None], tf.int32)
        assert dataset.element_spec == ((ids, ids), tf.TensorSpec([None], tf.float32))
        for _ in range(2):
            count = 0
            for found, expected in zip(dataset.as_numpy_iterator(), batches, strict=True):
                for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
                    np.testing.assert_array_equal(one, other)
                    assert one.dtype == other.dtype
                count += 1
            assert count == len(batches)


def test_the_costs_of_an_epoch_are_those_of_its_pairs_one_by_one():
    """However they are put together: neither padding nor the rows of no sentence cost anything."""
    rng = np.random.default_rng(6)
    model = Translator(9, 3, 2, 3)
    model.build()
    model.set_weights([rng.normal(size=weight.shape) for weight in model.weights])
    trained, lengths = TeacherForcing(model), [(6, 2), (2, 4), (3, 1), (9, 3), (1, 1)]
    pairs = [IdPair(*(rng.integers(4, 9, length).tolist() for length in both)) for both in lengths]
    sums = []
    for pair in pairs:
        source, target = np.array([[*pair.source, END]]), np.array([[BEGINNING, *pair.target, END]])
        sums.append(trained((source, target)).numpy()[0])
    total = np.sum(sums, axis=0)
    assert total[2] == sum(target + 1 for _, target in lengths)
    metric, filler = NatsPerToken(), 0
    for (source, target), zeros in PairBatches(pairs, 36, 12, (0, 1)):
        found = trained((source, target)).numpy()
        is_filler = ~target.any(axis=1)
        assert not found[is_filler].any()
        filler += is_filler.sum()
        metric.update_state(zeros, found)
    assert filler == 2
    assert float(metric.result()) == pytest.approx(total[0] / total[2], rel=1e-5)
