"""The front door: which reader a source gets, what every split promises, and what is said where it cannot be kept."""

import os
import shutil
from pathlib import Path

import pytest

from nlp_lstm.datasets.review_records import LABELS
from nlp_lstm.datasets.reviews import load_judged, load_reviews
from nlp_lstm.errors import UserError


def message(source, splits=("train",), **settings):
    with pytest.raises(UserError) as raised:
        load_reviews(source, splits, **settings)
    text = str(raised.value)
    assert "\n" not in text
    return text


def write(path: Path, *rows: str) -> str:
    path.write_text("\n".join(["text,label,film", *rows, ""]))
    return str(path)


def test_labels():
    assert LABELS == ("negative", "positive")


@pytest.mark.parametrize("name", ["aclImdb", "set.tar.xz"])
def test_acl_imdb_source(acl_imdb_set, tmp_path, name):
    if name != "aclImdb":
        acl_imdb_set.pack(tmp_path / name)
    splits = ["unlabelled", "train", "validation", "test"]
    found = load_reviews(str(tmp_path / name), splits, validation_fraction=1 / 3, seed=1)
    records = acl_imdb_set.records
    assert list(found) == splits
    assert found["test"] == records["test"]
    assert found["unlabelled"] == records["unlabelled"][:2] + records["unlabelled"][3:]
    assert sorted(found["train"] + found["validation"]) == sorted(records["train"])
    assert sorted(record.label for record in found["validation"]) == [0] * 4 + [1] * 4
    assert not {record.group for record in found["train"]} & {record.group for record in found["validation"]}


def test_train_is_the_same_whatever_else_is_asked_for(acl_imdb_set):
    source = str(acl_imdb_set.folder)
    together = load_reviews(source, ["train", "validation", "test", "unlabelled"], validation_fraction=0.25)
    for split, records in together.items():
        assert load_reviews(source, [split], validation_fraction=0.25) == {split: records}
    assert load_reviews(source, ["train"], validation_fraction=0)["train"] == acl_imdb_set.records["train"]
    validations = [
        load_reviews(source, ["validation"], seed=seed, validation_fraction=0.25)["validation"] for seed in range(5)
    ]
    assert any(validation != together["validation"] for validation in validations)


def test_path_objects_and_no_splits(acl_imdb_set):
    assert load_reviews(acl_imdb_set.folder, []) == {}
    assert load_reviews(acl_imdb_set.folder, ["test"])["test"] == acl_imdb_set.records["test"]


@pytest.mark.parametrize(
    "source", ["reviews.csv", "/no/such/folder", "Reviews", "", "imdb_reviews\n", "a\0b", "x" * 5000]
)
def test_no_such_source(source, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    text = message(source)
    assert repr(source) in text
    assert "no such file or dataset" in text or "no file or folder" in text
    for accepted in ("'sample'", "'imdb_reviews'"):
        assert accepted in text


@pytest.mark.parametrize("name", ["empty.csv", "empty.tar.gz", "empty.bin"])
def test_empty_file(tmp_path, name):
    (tmp_path / name).touch()
    text = message(str(tmp_path / name))
    assert name in text and "is empty" in text and ".csv" in text and ".tar" in text


def test_folder_without_reviews(tmp_path):
    for folder in (tmp_path / "empty", tmp_path / "photos"):
        folder.mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    for name in ("empty", "photos"):
        text = message(str(tmp_path / name))
        assert name in text and "train/pos" in text and "train.csv" in text


@pytest.mark.parametrize("name", ["reviews.zip", "reviews.txt", "reviews"])
def test_file_of_unknown_kind(tmp_path, name):
    (tmp_path / name).write_text("x")
    text = message(str(tmp_path / name))
    assert name in text and "no known kind" in text and ".jsonl" in text and ".tar.xz" in text


@pytest.mark.parametrize(
    ("name", "module", "function"),
    [("x.csv", Path, "open"), ("x.tar", Path, "open"), ("folder", Path, "iterdir"), ("folder/below.csv", os, "stat")],
)
def test_forbidden_path(tmp_path, monkeypatch, name, module, function):
    (tmp_path / "folder").mkdir()
    if name != "folder":
        (tmp_path / name).write_text("x")
    permitted = getattr(module, function)

    def refuse(path, *args, **kwargs):  # the superuser may read everything, so the refusal is made
        if str(path) == str(tmp_path / name):
            raise PermissionError(13, "Permission denied", str(path))
        return permitted(path, *args, **kwargs)

    monkeypatch.setattr(module, function, refuse)
    text = message(str(tmp_path / name))
    assert repr(str(tmp_path / name)) in text and "Permission denied" in text


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_forbidden_file(tmp_path):
    source = write(tmp_path / "x.csv", "a,pos,1", "b,neg,2")
    os.chmod(source, 0)
    assert "Permission denied" in message(source)


def test_broken_link(tmp_path):
    (tmp_path / "link.csv").symlink_to("nowhere.csv")
    assert "link.csv" in message(str(tmp_path / "link.csv"))


@pytest.mark.parametrize("splits", [["dev"], "train", ["train", "Test"]])
def test_unknown_split(splits):
    assert "train, validation, test, unlabelled" in message("sample", splits)


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, float("nan")])
def test_validation_fraction_out_of_range(fraction):
    text = message("sample", validation_fraction=fraction)
    assert "validation_fraction" in text and str(fraction) in text


def test_missing_class_is_named(tmp_path):
    source = write(tmp_path / "x.csv", *(f"text {i},pos,{i}" for i in range(30)))
    for split in ("train", "validation", "test"):
        text = message(source, [split])
        assert "x.csv" in text and "no negative text" in text and repr(split) in text


def test_missing_split_is_named(tmp_path):
    rows = [f"text {i},{'pos' if i % 2 else 'neg'},{i}" for i in range(30)]
    write(tmp_path / "train.csv", *rows)
    text = message(str(tmp_path), ["test"])
    assert tmp_path.name in text and "no texts for the split 'test'" in text
    text = message(str(tmp_path), ["validation"], validation_fraction=0)
    assert "'validation'" in text and "validation_fraction" in text
    assert load_reviews(str(tmp_path), ["unlabelled"]) == {"unlabelled": []}


def test_table_too_small_to_divide(tmp_path):
    source = write(tmp_path / "x.csv", "a,pos,one film", "b,neg,one film")
    assert "'train'" in message(source, ["train"])


def test_archive_without_test(acl_imdb_set, tmp_path):
    shutil.rmtree(acl_imdb_set.folder / "test")
    for source in (acl_imdb_set.folder, acl_imdb_set.pack(tmp_path / "set.tar")):
        assert "'test'" in message(str(source), ["test"])
        assert len(load_reviews(str(source), ["train"], validation_fraction=0)["train"]) == 24
        assert len(load_reviews(str(source), ["unlabelled"])["unlabelled"]) == 4


def test_all_is_every_labelled_text(acl_imdb_set, tmp_path):
    records = acl_imdb_set.records
    found = load_reviews(acl_imdb_set.folder, ["all", "train"], validation_fraction=0.25)
    assert sorted(found["all"]) == sorted(records["train"] + records["test"])
    assert len(found["train"]) < len(records["train"])
    parts = load_reviews("sample", ["train", "validation", "test", "all"])
    assert sorted(parts["all"]) == sorted(parts["train"] + parts["validation"] + parts["test"])
    table = write(tmp_path / "x.csv", *(f"t{i},{i % 2}," for i in range(1821)), "who knows,,")
    assert {record.text for record in load_reviews(table, ["all"])["all"]} == {f"t{i}" for i in range(1821)}
    few = write(tmp_path / "few.csv", "a,pos,", "b,neg,")
    assert len(load_reviews(few, ["all"])["all"]) == 2
    assert "no negative text among the 1 of the split 'all'" in message(write(tmp_path / "y.csv", "a,pos,"), ["all"])


def test_how_many_rows_of_a_table_are_judged_is_told(tmp_path, capsys):
    table = write(tmp_path / "x.csv", *(f"t{i},{i % 2}," for i in range(1821)))
    assert len(load_judged(table, "all")) == 1821
    assert capsys.readouterr().err == ""
    found = load_judged(table, "test")
    assert found == load_reviews(table, ["test"])["test"]
    assert capsys.readouterr().err == (
        f"{table!r}: judging {len(found)} of 1,821 rows with a label, the part cut off for the split 'test': --split "
        "all judges every row\n"
    )
    load_judged("sample", "test")
    assert capsys.readouterr().err == ""
