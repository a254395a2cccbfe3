"""TensorFlow Datasets as a source, without a network: the library's mock, and a real preparation of a fake archive."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from nlp_lstm.datasets import tfds_reviews
from nlp_lstm.datasets.review_records import LabelledText, text_group
from nlp_lstm.datasets.reviews import load_reviews
from nlp_lstm.errors import UserError

tf = pytest.importorskip("tensorflow")
tfds = pytest.importorskip("tensorflow_datasets")

EXAMPLES = {
    "train": [(f"Review {i}: {'une joie' if i % 2 else 'un désastre'}.".encode(), i % 2) for i in range(40)],
    "test": [(b"Dull.", 0), (b"Bright.", 1), (b"caf\xe9", 1)],
    "unsupervised": [(b"Who knows.", -1), (b" Dull.\n", 1), (b"Labelled.", 1)],
}


def message(source, splits=("train",)):
    with pytest.raises(UserError) as raised:
        load_reviews(source, splits)
    text = str(raised.value)
    assert "\n" not in text and repr(source) in text
    return text


def write_metadata(folder: Path, name: str, splits) -> None:
    """What the download would have left beside the records."""
    builder = tfds.builder(name, data_dir=folder)
    infos = [tfds.core.SplitInfo(name=split, shard_lengths=[len(EXAMPLES[split])], num_bytes=1) for split in splits]
    builder.info.set_splits(tfds.core.splits.SplitDict(infos))
    Path(builder.data_dir).mkdir(parents=True)
    builder.info.write_to_directory(builder.data_dir)


@pytest.fixture
def mocked(tmp_path):
    write_metadata(tmp_path, "imdb_reviews", EXAMPLES)
    write_metadata(tmp_path, "yelp_polarity_reviews", ["train", "test"])

    def as_dataset(builder, split, **kwargs):
        print("a library that prints")
        texts, labels = zip(*EXAMPLES[str(split)], strict=True)
        return tf.data.Dataset.from_tensor_slices({"label": list(labels), "text": list(texts)})

    with tfds.testing.mock_data(as_dataset_fn=as_dataset, data_dir=str(tmp_path)):
        yield


@pytest.mark.parametrize("name", ["imdb_reviews", "imdb_reviews/plain_text", "imdb_reviews/plain_text:1.0.0"])
def test_imdb_reviews(mocked, name, capsys):
    found = load_reviews(name, ["train", "validation", "test", "unlabelled"])
    expected = [(content.decode("utf-8", "replace"), label) for content, label in EXAMPLES["train"] + EXAMPLES["test"]]
    records = [LabelledText(text, label, text_group(text)) for text, label in expected]
    assert sorted(found["train"] + found["validation"]) == sorted(records[:40])
    assert Counter(record.label for record in found["validation"]) == {0: 2, 1: 2}
    assert found["test"] == records[40:]
    assert found["test"][2].text == "caf\ufffd"
    assert found["unlabelled"] == [LabelledText(text, None, text_group(text)) for text in ("Who knows.", "Labelled.")]
    printed = capsys.readouterr()
    assert printed.out == "" and "a library that prints" in printed.err


def test_test_split_without_labels(mocked, monkeypatch):
    monkeypatch.setitem(EXAMPLES, "test", [*EXAMPLES["test"], (b"Secret.", -1)])
    assert "1 texts without a label in the split 'test'" in message("imdb_reviews", ["test"])


def test_set_without_unsupervised_split_and_with_stars(mocked):
    found = load_reviews("yelp_polarity_reviews", ["test", "unlabelled"])
    assert [record.label for record in found["test"]] == [0, 1, 1]
    assert found["unlabelled"] == []


@pytest.mark.parametrize(
    ("names", "expected"),
    [(["neg", "pos"], [0, 1]), (["pos", "neg"], [1, 0]), (["Negative", "Positive"], [0, 1]), (["1", "2"], [0, 1])],
)
def test_labels_are_mapped_by_name(names, expected):
    features = {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(names=names)}
    assert tfds_reviews._labels("x", features) == expected


@pytest.mark.parametrize("names", [["neg", "pos", "neutral"], ["ham", "spam"], ["pos", "positive"], ["2", "1"]])
def test_labels_of_another_kind(names):
    features = {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(names=names)}
    with pytest.raises(UserError, match="labels") as raised:
        tfds_reviews._labels("some_set", features)
    assert repr(names) in str(raised.value) and "\n" not in str(raised.value)


def test_other_features_are_told_before_any_download(monkeypatch):
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", lambda *_, **__: pytest.fail("downloads"))
    text = message("glue/sst2")
    assert "['idx', 'label', 'sentence']" in text and "'text'" in text


def test_unknown_name():
    assert "no file or folder" in message("imdb_review")


@pytest.mark.parametrize("name", ["imdb_reviews/no_such_configuration", "imdb_reviews:9.9.9"])
def test_unknown_configuration_or_version(name):
    assert "cannot open" in message(name)


def test_failed_download(monkeypatch, capsys):
    def fail(*args, **kwargs):
        print("Downloading ...")
        raise ConnectionError("no route\n to host")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    text = message("imdb_reviews")
    assert "ConnectionError: no route to host" in text and "connection" in text
    assert capsys.readouterr().out == ""


def test_module_that_the_set_needs_is_named(monkeypatch):
    def fail(*args, **kwargs):
        raise ModuleNotFoundError("No module named 'apache_beam'", name="apache_beam")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    assert message("imdb_reviews").endswith("pip install apache_beam")


def test_without_tensorflow_datasets(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    assert "pip install tensorflow-datasets" in message("imdb_reviews")


def test_real_preparation_equals_the_archive(acl_imdb_set, tmp_path, monkeypatch, capsys):
    pytest.importorskip(
        "importlib_resources", reason="TensorFlow Datasets prepares nothing without importlib_resources"
    )
    archive = acl_imdb_set.pack(tmp_path / "aclImdb_v1.tar.gz")
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setattr(tfds.download.DownloadManager, "download", lambda self, url: archive)
    found = load_reviews("imdb_reviews", ["train", "test", "unlabelled"], validation_fraction=0)
    for split, records in load_reviews(str(archive), ["train", "test", "unlabelled"], validation_fraction=0).items():
        # TensorFlow Datasets strips the texts, shuffles them and forgets the films.
        assert sorted((record.text, record.label or 0) for record in found[split]) == sorted(
            (record.text.strip(), record.label or 0) for record in records
        )
        assert {record.label for record in found[split]} == {record.label for record in records}
    assert capsys.readouterr().out == ""
