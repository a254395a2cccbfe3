"""Ids of texts and the batches made of them: every text once, nothing mixed up, nothing left to chance."""

from collections import Counter
from itertools import chain, pairwise

import numpy as np
import pytest
import tensorflow as tf

from nlp_lstm.char_lm.batches import Streams
from nlp_lstm.sentiment.batches import (
    BUCKETS,
    _token_batches,
    bucketed_batches,
    build_vocabulary,
    crop,
    snippet,
    sorted_batches,
    token_ids,
)
from nlp_lstm.text.vocabulary import BOUNDARY, PADDING, UNKNOWN, Vocabulary

SPAN = 10_000  # the ids of text k are k * SPAN + 1, k * SPAN + 2, …: each tells its text and its place


def texts_of_lengths(lengths):
    return [np.arange(1, length + 1, dtype=np.int32) + number * SPAN for number, length in enumerate(lengths)]


def random_texts(count, longest, seed=0):
    return texts_of_lengths(np.random.default_rng(seed).integers(2, longest + 1, count))


def read(row):
    """The text of a padded row, its first place there and its length, after checking that it is one stretch."""
    length = int(np.sum(row != PADDING))
    assert np.all(row[length:] == PADDING)
    number, first = divmod(int(row[0]) - 1, SPAN)
    np.testing.assert_array_equal(row[:length], np.arange(length) + number * SPAN + first + 1)
    return number, first, length


def collect(dataset):
    return [(ids.numpy(), labels.numpy()) for ids, labels in dataset]


def bounds_of(longest):
    return sorted({min(bound, longest) for bound in (*BUCKETS, longest)})


class TestTokenIds:
    def test_boundaries_stand_at_either_end(self):
        vocabulary = Vocabulary.from_counts(Counter({"good": 3, "film": 2, ".": 1}), size=10)
        found = token_ids(["Good film.", "", "a<br />FILM", " \t"], vocabulary)
        assert [row.tolist() for row in found] == [[2, 3, 4, 5, 2], [2, 2], [2, UNKNOWN, 4, 2], [2, 2]]
        assert all(row.dtype == np.int32 for row in found)

    def test_texts_are_read_without_tuning(self):
        assert not _token_batches(["good"]).options().autotune.enabled

    def test_many_texts_keep_their_order(self):
        """More texts than one batch of the splitting holds, empty ones at its edges."""
        rng = np.random.default_rng(0)
        rows = [[f"w{number}" for number in rng.integers(0, 50, rng.integers(0, 5))] for _ in range(600)]
        for place in (0, 255, 256, 511, 599):
            rows[place] = []
        vocabulary = Vocabulary(["", "[UNK]", "[BOUND]", *(f"w{number}" for number in range(50))])
        found = token_ids([" ".join(row) for row in rows], vocabulary)
        assert [row.tolist() for row in found] == [
            [BOUNDARY, *(int(token[1:]) + 3 for token in row), BOUNDARY] for row in rows
        ]

    def test_no_texts_have_no_ids(self):
        assert token_ids([], Vocabulary.from_counts(Counter("a"), size=10)) == []


def test_build_vocabulary_counts_the_tokens_of_all_texts():
    texts = ["A b c", "a B", "A", "", "d"] + ["z z"] * 300
    vocabulary = build_vocabulary(texts, size=100, least=2)
    assert vocabulary.tokens[3:] == ["z", "a", "b"]
    assert build_vocabulary(texts, size=5, least=1).tokens[3:] == ["z", "a"]


class TestCrop:
    def test_short_texts_stay_whole(self):
        for length in (1, 4, 5):
            ids = np.arange(length)
            np.testing.assert_array_equal(crop(ids, 5, np.random.default_rng(0)), ids)

    def test_long_texts_give_every_stretch(self):
        rng = np.random.default_rng(0)
        ids = np.arange(9)
        starts = Counter()
        for _ in range(500):
            piece = crop(ids, 5, rng)
            np.testing.assert_array_equal(piece, np.arange(piece[0], piece[0] + 5))
            starts[int(piece[0])] += 1
        assert sorted(starts) == [0, 1, 2, 3, 4]
        assert min(starts.values()) > 50


@pytest.mark.parametrize(
    ("count", "longest_text", "tokens_per_batch", "longest"),
    [(150, 500, 2000, 400), (40, 70, 300, 30), (30, 200, 100_000, 144), (30, 1200, 700, 1024)],
)
class TestBucketedBatches:
    @pytest.fixture
    def case(self, count, longest_text, tokens_per_batch, longest):
        ids = random_texts(count, longest_text, seed=count)
        labels = np.random.default_rng(count).integers(0, 2, count).tolist()

        def batches(*seed):
            return bucketed_batches(ids, labels, tokens_per_batch, longest, seed or (3, 1))

        return ids, labels, batches

    def test_each_text_once_with_its_label(self, case, longest):
        ids, labels, batches = case
        seen = Counter()
        for rows, row_labels in collect(batches()):
            assert rows.dtype == np.int32
            assert row_labels.dtype == np.float32
            assert len(rows) == len(row_labels)
            for row, label in zip(rows, row_labels, strict=True):
                number, _, length = read(row)
                assert length == min(len(ids[number]), longest)
                assert label == labels[number]
                seen[number] += 1
        assert seen == Counter(range(len(ids)))

    def test_widths_are_bounds_and_no_batch_is_too_large(self, case, tokens_per_batch, longest):
        _, _, batches = case
        bounds = bounds_of(longest)
        for rows, _ in collect(batches()):
            lengths = np.sum(rows != PADDING, axis=1)
            assert rows.shape[1] in bounds
            narrower = [bound for bound in bounds if bound < rows.shape[1]]
            assert np.all(lengths > max(narrower, default=0))
            assert len(rows) == 1 or rows.size <= tokens_per_batch

    def test_batches_are_as_few_as_fit(self, case, tokens_per_batch, longest):
        ids, _, batches = case
        in_bucket = Counter(
            min(bound for bound in bounds_of(longest) if min(len(text), longest) <= bound) for text in ids
        )
        expected = 0
        for bound, texts in in_bucket.items():
            while texts > 0:
                texts -= max(1, tokens_per_batch // bound)
                expected += 1
        dataset = batches()
        assert len(collect(dataset)) == expected
        assert int(dataset.cardinality()) == expected
        assert not dataset.options().autotune.enabled

    def test_the_seed_settles_everything(self, case):
        _, _, batches = case
        first, again, other = (collect(batches(3, epoch)) for epoch in (1, 1, 2))
        for (ids, labels), (ids_again, labels_again) in zip(first, again, strict=True):
            np.testing.assert_array_equal(ids, ids_again)
            np.testing.assert_array_equal(labels, labels_again)
        order, other_order = ([read(row)[0] for rows, _ in epoch for row in rows] for epoch in (first, other))
        assert order != other_order

    def test_a_dataset_gives_the_same_batches_each_time(self, case):
        _, _, batches = case
        dataset = batches()
        for (ids, _), (ids_again, _) in zip(collect(dataset), collect(dataset), strict=True):
            np.testing.assert_array_equal(ids, ids_again)


def test_long_texts_are_cut_anew_each_epoch():
    ids = texts_of_lengths([500] * 12)
    starts = []
    for epoch in (1, 2):
        found = {}
        for rows, _ in collect(bucketed_batches(ids, [0] * 12, 400, 100, (0, epoch))):
            found.update({read(row)[0]: read(row)[1] for row in rows})
        starts.append(found)
    assert len(set(starts[0].values())) > 6
    assert starts[0] != starts[1]


def test_texts_on_a_bound_lie_in_its_bucket():
    ids = texts_of_lengths([48, 49, 96, 97, 2, 400])
    widths = {read(rows[0])[2]: rows.shape[1] for rows, _ in collect(bucketed_batches(ids, [0] * 6, 1, 400, (0,)))}
    assert widths == {48: 48, 49: 96, 96: 96, 97: 144, 2: 48, 400: 400}


class TestSortedBatches:
    @pytest.mark.parametrize("tokens_per_batch", [1, 100, 1000, 10**9])
    def test_every_place_once_within_the_limit(self, tokens_per_batch):
        ids = random_texts(80, 150, seed=4)
        seen, widths = [], []
        for places, batch in sorted_batches(ids, tokens_per_batch):
            assert batch.dtype == np.int32
            assert batch.shape == (len(places), max(len(ids[place]) for place in places))
            assert len(places) == 1 or batch.size <= tokens_per_batch
            for place, row in zip(places, batch, strict=True):
                assert read(row) == (place, 0, len(ids[place]))
            seen += places
            widths.append(batch.shape[1])
        assert sorted(seen) == list(range(80))
        assert widths == sorted(widths)
        if tokens_per_batch == 10**9:
            assert len(widths) == 1

    def test_one_more_text_would_not_fit(self):
        ids = random_texts(60, 50, seed=5)
        batches = list(sorted_batches(ids, 200))
        for (places, _), (later, _) in pairwise(batches):
            assert (len(places) + 1) * len(ids[later[0]]) > 200

    def test_no_texts_give_no_batches(self):
        assert list(sorted_batches([], 100)) == []


class TestSnippet:
    STOPS = np.isin(np.arange(30), [3, 4])

    def sentences(self, ids):
        """Independently: each runs to the last of its marks."""
        found, now = [], []
        for here, there in pairwise([*ids, -1]):
            now.append(here)
            if here in (3, 4) and there not in (3, 4):
                found.append(now)
                now = []
        return found + [now] * bool(now)

    def test_it_is_whole_sentences_of_the_text_each_as_likely(self):
        rng = np.random.default_rng(0)
        for _ in range(40):
            inner = rng.choice([3, 4, 5, 6, 7, 8, 9], size=rng.integers(0, 20))
            sentences = self.sentences(inner.tolist())
            ids = np.concatenate([[BOUNDARY], inner, [BOUNDARY]])
            possible = {
                (BOUNDARY, *chain(*sentences[start : start + number]), BOUNDARY)
                for number in (1, 2)
                for start in range(len(sentences) - number + 1)
                if number < len(sentences)
            }
            drawn = {
                None if (found := snippet(ids, self.STOPS, 2, rng)) is None else tuple(found.tolist())
                for _ in range(200)
            }
            assert drawn == (possible or {None})

    def test_at_most_so_many(self):
        ids = np.array([BOUNDARY, *[7, 3] * 9, BOUNDARY])
        rng = np.random.default_rng(1)
        for most in (1, 3, 20):
            assert {(len(snippet(ids, self.STOPS, most, rng)) - 2) // 2 for _ in range(300)} == set(
                range(1, min(most, 8) + 1)
            )


def rejoined(streams):
    """Each stream of a `Streams`, its windows put together again: a window begins with the symbol the last ended on."""
    batches = [ids for ids, _ in collect(streams.dataset())]
    for before, after in pairwise(batches):
        np.testing.assert_array_equal(before[:, -1], after[:, 0])
    return np.concatenate([batches[0][:, :1], *(ids[:, 1:] for ids in batches)], axis=1)


class TestStreams:
    @pytest.mark.parametrize(("symbols", "batch_size", "window"), [(101, 4, 7), (97, 4, 8), (50, 7, 100), (9, 8, 3)])
    def test_without_a_seed_every_guess_of_the_text_stands_once(self, symbols, batch_size, window):
        """But for the last few, where the streams would be of different lengths."""
        ids = np.random.default_rng(8).permutation(1000)[:symbols].astype(np.int32)
        left_out = (symbols - 1) % batch_size
        streams = Streams(ids, batch_size, window, None)
        guesses = [
            (int(here), int(there))
            for batch, _ in collect(streams.dataset())
            for row in batch
            for here, there in pairwise(row)
        ]
        assert guesses != sorted(guesses)
        assert Counter(guesses) == Counter(pairwise(ids[: symbols - left_out].tolist()))

    def test_without_a_seed_all_windows_are_of_one_length_or_one_less(self):
        streams = Streams(np.arange(1, 102, dtype=np.int32), 4, 7, None)
        dataset = streams.dataset()
        batches = collect(dataset)
        assert int(dataset.cardinality()) == len(batches)
        assert not dataset.options().autotune.enabled
        assert [ids.shape for ids, _ in batches] == [(4, 7), (4, 7), (4, 8), (4, 7)]
        np.testing.assert_array_equal(rejoined(streams), [np.arange(1 + 25 * row, 27 + 25 * row) for row in range(4)])

    @pytest.mark.parametrize("seed", [None, (0, 1), (0, 2), (3, 1)])
    def test_streams_go_on_where_they_stood_and_are_slices_of_the_text(self, seed):
        ids = np.arange(1, 1203, dtype=np.int32)
        whole = rejoined(Streams(ids, 3, 16, seed))
        steps = np.diff(whole, axis=1)
        assert np.all((steps == 1) | (steps == 1 - len(ids)))  # the turned text goes on at its beginning
        assert np.sum(steps != 1) <= (seed is not None)
        assert len(np.unique(whole[:, :-1])) == whole[:, :-1].size, "a guess stands twice"
        np.testing.assert_array_equal((whole[1:, 0] - whole[:-1, 0]) % len(ids), 400)
        if seed is None:
            assert whole[0, 0] == 1
            assert whole[-1, -1] == 1201

    def test_windows_in_training_are_of_three_lengths(self):
        lengths = Counter()
        for epoch in range(5):
            streams = Streams(np.arange(5000, dtype=np.int32), 4, 16, (0, epoch))
            lengths += Counter(ids.shape[1] - 1 for ids, _ in collect(streams.dataset()))
            used = sum(length for _, length in streams.windows)
            assert 1249 - 20 < used <= 1249  # less than a window of each stream is left out
        assert set(lengths) == {12, 16, 20}
        for count in lengths.values():  # each as often, by five standard deviations
            assert count / lengths.total() == pytest.approx(1 / 3, abs=0.12)

    def test_the_shortest_windows_hold_a_guess(self):
        for window in (1, 2, 3):
            streams = Streams(np.arange(200, dtype=np.int32), 2, window, (0,))
            assert {ids.shape[1] - 1 for ids, _ in collect(streams.dataset())} <= {1, 2, 3}

    def test_the_seed_settles_the_cut(self):
        ids = np.arange(2000, dtype=np.int32)

        def drawn(seed):
            streams = Streams(ids, 2, 32, seed)
            return int(streams.ids[0, 0]), tuple(streams.windows)

        assert drawn((0, 1)) == drawn((0, 1))
        others = [drawn((0, epoch)) for epoch in range(1, 11)]
        assert len({start for start, _ in others}) > 8
        assert len({windows for _, windows in others}) > 8

    @pytest.mark.parametrize("seed", [None, (0, 1)])
    def test_what_training_gets(self, seed):
        streams = Streams(np.arange(500, dtype=np.int64), 3, 8, seed)
        dataset = streams.dataset()
        assert dataset.element_spec == (tf.TensorSpec([3, None], tf.int32), tf.TensorSpec([3], tf.float32))
        assert int(dataset.cardinality()) == len(streams) == len(collect(dataset)) > 1
        for (ids, zeros), (again, _) in zip(collect(dataset), collect(dataset), strict=True):
            np.testing.assert_array_equal(ids, again)
            np.testing.assert_array_equal(zeros, np.zeros(3))

    def test_too_short_a_text_is_refused(self):
        for symbols in (0, 1, 4):
            with pytest.raises(ValueError, match=f"{symbols} ids are too few for 4 streams"):
                Streams(np.arange(symbols, dtype=np.int32), 4, 8, None)
        assert len(Streams(np.arange(5, dtype=np.int32), 4, 8, None)) == 1
