"""TensorFlow Datasets as a corpus, without a network: the library's mock, and a real preparation of a local file."""

import os
import sys
from pathlib import Path

import pytest

from nlp_lstm.datasets.corpus import load_corpus
from nlp_lstm.errors import UserError

tf = pytest.importorskip("tensorflow")
tfds = pytest.importorskip("tensorflow_datasets")

ALL = ["train", "validation", "test"]
SETS = {
    "tiny_shakespeare": {
        "train": [b"First Citizen:\nBefore we proceed"],
        "validation": ["\ufeff any further,\r\n".encode()],
        "test": [b" hear me sp\xe9ak."],
    },
    # A set of many examples, with other features and without a validation split.
    "imdb_reviews": {
        "train": [f"Review {i}.".encode() for i in range(1100)],
        "test": [b"Dull.", b"", b"Bright.\n", b"Fine."],
        "unsupervised": [b"Who knows."],
    },
}


def message(source, splits=("train",)):
    with pytest.raises(UserError) as raised:
        load_corpus(source, splits)
    text = str(raised.value)
    assert "\n" not in text and repr(source) in text
    return text


@pytest.fixture
def mocked(tmp_path):
    for name, examples in SETS.items():
        builder = tfds.builder(name, data_dir=tmp_path)
        infos = [
            tfds.core.SplitInfo(name=split, shard_lengths=[len(examples[split])], num_bytes=1) for split in examples
        ]
        builder.info.set_splits(tfds.core.splits.SplitDict(infos))
        Path(builder.data_dir).mkdir(parents=True)
        builder.info.write_to_directory(builder.data_dir)

    def as_dataset(builder, split, **kwargs):
        print("a library that prints")
        texts = SETS[builder.name][str(split)]
        other = {"label": [0] * len(texts)} if builder.name == "imdb_reviews" else {}
        return tf.data.Dataset.from_tensor_slices({"text": texts, **other})

    with tfds.testing.mock_data(as_dataset_fn=as_dataset, data_dir=str(tmp_path)):
        yield


@pytest.mark.parametrize("name", ["tiny_shakespeare", "tiny_shakespeare:1.0.0"])
def test_tiny_shakespeare(mocked, name, capsys):
    assert load_corpus(name, ALL) == {
        "train": "First Citizen:\nBefore we proceed",
        "validation": " any further,\n",
        "test": " hear me sp\ufffdak.",
    }
    printed = capsys.readouterr()
    assert printed.out == "" and "a library that prints" in printed.err
    assert load_corpus(name, ["validation"], line_mode=True) == {"validation": "any further,\n"}


def test_set_of_many_examples_without_validation(mocked):
    found = load_corpus("imdb_reviews", ALL, validation_fraction=0.3, line_mode=True)
    assert found["train"] + found["validation"] == "".join(f"Review {i}.\n" for i in range(1100))
    assert 0.29 < len(found["validation"]) / len(found["train"] + found["validation"]) <= 0.3
    assert found["test"] == "Dull.\nBright.\nFine.\n"


def test_set_without_the_split(mocked, monkeypatch):
    monkeypatch.delitem(SETS["imdb_reviews"], "test")
    builder = tfds.builder("imdb_reviews")
    kept = {split: info for split, info in builder.info.splits.items() if split != "test"}
    monkeypatch.setattr(type(builder.info), "splits", kept)
    assert "has no test part" in message("imdb_reviews", ALL)


def test_set_without_text_is_told_before_any_download(monkeypatch):
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", lambda *_, **__: pytest.fail("downloads"))
    text = message("glue/sst2")
    assert "['idx', 'label', 'sentence']" in text and "'text'" in text


def test_unknown_name():
    assert "no file or folder" in message("tiny_shakespear")


@pytest.mark.parametrize("name", ["tiny_shakespeare/no_such_configuration", "tiny_shakespeare:9.9.9"])
def test_unknown_configuration_or_version(name):
    assert "cannot open" in message(name)


def test_failed_download(monkeypatch, tmp_path, capsys):
    def fail(*args, **kwargs):
        print("Downloading ...")
        raise ConnectionError("no route\n to host")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    text = message("tiny_shakespeare")
    assert "ConnectionError: no route to host" in text and "connection" in text
    assert capsys.readouterr().out == ""


def test_module_that_the_set_needs_is_named(monkeypatch):
    def fail(*args, **kwargs):
        raise ModuleNotFoundError("No module named 'apache_beam'", name="apache_beam")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    assert message("tiny_shakespeare").endswith("pip install apache_beam")


def test_without_tensorflow_datasets(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    assert "pip install tensorflow-datasets" in message("tiny_shakespeare")


def test_real_preparation(tmp_path, monkeypatch, capsys):
    pytest.importorskip(
        "importlib_resources", reason="TensorFlow Datasets prepares nothing without importlib_resources"
    )
    path = Path(os.environ.get("NLP_LSTM_DATA", ""), "tinyshakespeare", "input.txt")
    if not path.is_file():
        path = tmp_path / "input.txt"
        path.write_text("".join(f"Speaker {i}:\nSpeak, speak.\n\n" for i in range(999)))
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setattr(tfds.download.DownloadManager, "download", lambda self, url: path)
    found = load_corpus("tiny_shakespeare", ALL)
    # The set's train is the file's first 90 %, as the file read by itself has it; the rest is halved.
    by_itself = load_corpus(path, ["train", "validation"])
    assert found["train"] == by_itself["train"]
    assert found["validation"] + found["test"] == by_itself["validation"]
    assert len(found["test"]) - len(found["validation"]) in (0, 1)
    assert capsys.readouterr().out == ""
