"""The packaged sample: complete, balanced, and cut by film alike in every process."""

import csv
import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import nlp_lstm.datasets
from nlp_lstm.datasets.reviews import load_reviews

TABLE = Path(nlp_lstm.datasets.__file__).parent / "sample_reviews.tsv"
PRINT_DIGEST = """
import hashlib, sys
from nlp_lstm.datasets.reviews import load_reviews
print(hashlib.sha256(repr(load_reviews("sample", ["train", "validation", "test"])).encode()).hexdigest())
assert "tensorflow" not in sys.modules and "tensorflow_datasets" not in sys.modules
"""


def test_every_row_is_in_exactly_one_split():
    with TABLE.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    found = load_reviews("sample", ["train", "validation", "test", "unlabelled"])
    assert found.pop("unlabelled") == []
    records = [record for part in found.values() for record in part]
    names = {0: "negative", 1: "positive"}
    assert sorted((r.text, names[r.label], r.group) for r in records) == sorted(tuple(row.values()) for row in rows)
    for split, share in (("train", 0.7), ("validation", 0.15), ("test", 0.15)):
        assert len(found[split]) == pytest.approx(share * len(rows), rel=0.1)
        counts = Counter(record.label for record in found[split])
        assert abs(counts[0] - counts[1]) <= 0.1 * len(found[split])


def test_no_film_in_two_splits():
    films = [
        {record.group for record in part} for part in load_reviews("sample", ["train", "validation", "test"]).values()
    ]
    assert sum(map(len, films)) == len(set.union(*films)) > 10


def test_seed_and_validation_fraction_leave_the_sample_alone():
    splits = ["train", "validation", "test"]
    assert load_reviews("sample", splits) == load_reviews("sample", splits, validation_fraction=0.5, seed=3)


@pytest.mark.parametrize("hash_seed", ["0", "12345"])
def test_same_in_a_process_with_other_hashes_and_without_tensorflow(hash_seed):
    here = hashlib.sha256(repr(load_reviews("sample", ["train", "validation", "test"])).encode()).hexdigest()
    there = subprocess.run(
        [sys.executable, "-c", PRINT_DIGEST],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(nlp_lstm.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == here
