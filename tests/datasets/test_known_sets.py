"""Data sets known by what they hold; those that take long to read are asked for where they are read anyway."""

import os
import random
import tarfile
from pathlib import Path

import pytest

from nlp_lstm.datasets.corpus import load_corpus
from nlp_lstm.datasets.known_sets import (
    fingerprint_of_pairs,
    fingerprint_of_reviews,
    fingerprint_of_texts,
    known_set,
)
from nlp_lstm.datasets.pairs import Pairs, load_pairs
from nlp_lstm.datasets.review_records import LabelledText
from nlp_lstm.datasets.reviews import load_reviews


@pytest.fixture
def real_data() -> Path:
    folder = os.environ.get("NLP_LSTM_DATA")
    if not folder:
        pytest.skip("NLP_LSTM_DATA names no folder")
    return Path(folder)


def of_text(source, **how):
    return known_set(fingerprint_of_texts(load_corpus(source, ["train", "validation"], **how)))


def of_reviews(source, **how):
    splits = load_reviews(source, ["train", "validation", "unlabelled"], **how)
    return known_set(fingerprint_of_reviews(splits.values()))


def of_pairs(source, **how):
    return known_set(fingerprint_of_pairs(load_pairs(source, ["train", "validation"], **how).values()))


def test_the_samples():
    assert of_text("sample") == "sample_text"
    assert of_reviews("sample") == of_reviews("sample", seed=3) == "sample_reviews"
    assert of_pairs("sample") == of_pairs("sample", reverse=True) == "sample_pairs"


def test_a_file_is_not_known_by_its_name(tmp_path):
    path = tmp_path / "input.txt"
    path.write_text("First Citizen:\nBefore we proceed any further, hear me speak.\n" * 20, encoding="utf-8")
    assert of_text(path) is None
    assert known_set(None) is None
    assert known_set("") is None


def test_tiny_shakespeare_is_known_by_any_name(real_data, tmp_path):
    text = (real_data / "tinyshakespeare" / "input.txt").read_bytes()
    (tmp_path / "plays.txt").write_bytes(text)
    assert of_text(tmp_path / "plays.txt") == "tiny_shakespeare"
    assert of_text(tmp_path / "plays.txt", validation_fraction=0.2) is None  # its card tells of the tenth
    (tmp_path / "plays.txt").write_bytes(text[:-1] + b"!")
    assert of_text(tmp_path / "plays.txt") is None


def test_tiny_shakespeare_as_tensorflow_datasets_cuts_it(real_data):
    """Its builder takes nine tenths, and halves the rest."""
    text = (real_data / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")
    training = text[: int(0.9 * len(text))]
    rest = text[len(training) :]
    cut = {"train": training, "validation": rest[: len(rest) // 2]}
    assert known_set(fingerprint_of_texts(cut)) == "tiny_shakespeare_in_three"


def test_penn_treebank(real_data):
    assert of_text(real_data / "ptb", line_mode=True) == of_text(real_data / "ptb") == "ptb"


def test_positive_reviews_as_running_text(real_data, tmp_path):
    with tarfile.open(real_data / "imdb" / "aclImdb.tar.xz") as archive:
        for member in archive:
            if member.isfile() and member.name.startswith("aclImdb/train/pos/"):
                archive.extract(member, tmp_path, filter="data")
    assert of_text(tmp_path / "aclImdb" / "train" / "pos", validation_fraction=0.02) == "aclImdb_positive"


@pytest.mark.parametrize("languages", [("en", "de"), ("de", "en"), ("en", "fr")])
def test_multi30k(real_data, languages):
    names = {"source_language": languages[0], "target_language": languages[1]}
    assert of_pairs(real_data / "multi30k", **names) == "multi30k"


def test_everything_of_a_text_counts():
    found = {
        fingerprint_of_texts(texts)
        for texts in (
            {"train": "ab", "validation": "c"},
            {"train": "a", "validation": "bc"},
            {"train": "ba", "validation": "c"},
            {"train": "c", "validation": "ab"},
            {"train": "ab", "validation": "c\ud800"},
            {"train": "ab"},
        )
    }
    assert len(found) == 6


def test_the_order_of_reviews_and_the_cut_do_not_count_and_all_else_does():
    reviews = [LabelledText(f"review {index}", index % 2, f"film {index // 3}") for index in range(30)]
    expected = fingerprint_of_reviews([reviews])
    drawn = random.Random(0).sample(reviews, len(reviews))
    assert fingerprint_of_reviews([drawn[:7], drawn[7:], []]) == expected
    for change in ({"text": "another"}, {"label": None}, {"group": "another"}):
        assert fingerprint_of_reviews([[reviews[0]._replace(**change), *reviews[1:]]]) != expected
    assert fingerprint_of_reviews([reviews[1:]]) != expected
    assert fingerprint_of_reviews([[*reviews, reviews[0]]]) != expected  # a copy is no nothing


def test_the_direction_of_pairs_does_not_count_and_who_translates_whom_does():
    pairs = Pairs(["a dog", "a cat", "two"], ["ein Hund", "eine Katze", "zwei"])
    expected = fingerprint_of_pairs([pairs])
    assert fingerprint_of_pairs([Pairs(pairs.target[::-1], pairs.source[::-1])]) == expected
    halves = [Pairs(pairs.source[part], pairs.target[part]) for part in (slice(1), slice(1, None))]
    assert fingerprint_of_pairs(halves) == expected
    assert fingerprint_of_pairs([Pairs(pairs.source, pairs.target[::-1])]) != expected
