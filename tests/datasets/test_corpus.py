"""Corpora by their front door: which splits come out of a source, where one text is cut, and what lines become."""

import itertools
import math
import os
import random
import sysconfig
import tokenize
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_lstm.datasets import tfds_text
from nlp_lstm.datasets.corpus import load_corpus
from nlp_lstm.errors import UserError

BOTH = ["train", "validation"]
ALL = ["train", "validation", "test"]


def message(source, splits=("train",), **settings):
    with pytest.raises(UserError) as raised:
        load_corpus(source, splits, **settings)
    text = str(raised.value)
    assert "\n" not in text
    return text


@pytest.fixture
def real_data() -> Path:
    folder = os.environ.get("NLP_LSTM_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("NLP_LSTM_DATA names no folder")
    return Path(folder)


# The cut


@pytest.mark.parametrize(
    ("text", "fraction", "train"),
    [("0123456789", 0.1, "012345678"), ("0123456789", 0.25, "0123456"), ("01", 0.1, "0"), ("ÄÖÜß", 0.5, "ÄÖ")],
)
def test_a_file_is_cut_by_characters(tmp_path, text, fraction, train):
    path = tmp_path / "book"
    path.write_text(text, encoding="utf-8")
    found = load_corpus(path, ["validation", "train"], validation_fraction=fraction)
    assert list(found) == ["validation", "train"]
    assert found == {"train": train, "validation": text[len(train) :]}


def test_train_is_the_same_whatever_else_is_asked_for(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("All work and no play. " * 20)
    together = load_corpus(str(path), BOTH)
    assert together["train"] + together["validation"] == path.read_text()
    for split in BOTH:
        assert load_corpus(path, [split]) == {split: together[split]}
    assert load_corpus(path, []) == {}


def test_without_line_mode_the_text_stays_as_it_is(tmp_path):
    content = " \n\n a  b \x0c c\t\n\x00\n\rd\u2028e \n  "
    (tmp_path / "a.bin").write_bytes(content.encode())
    assert "".join(load_corpus(tmp_path / "a.bin", BOTH).values()) == content


# Lines


def test_line_mode_by_hand(tmp_path):
    (tmp_path / "train.txt").write_text("\ufeff one two \r\n\r\n\tthree\x0cfour\u2028five\n six")
    (tmp_path / "valid.txt").write_text("seven\n")
    (tmp_path / "test.txt").write_text(" eight\n\n")
    assert load_corpus(tmp_path, ALL, line_mode=True) == {
        "train": "one two\n\nthree\x0cfour\u2028five\nsix\n",
        "validation": "seven\n",
        "test": "eight\n\n",
    }


WORDS = st.text("ab é", max_size=8)


@given(st.lists(WORDS, min_size=1, max_size=12), st.floats(0.05, 0.95), st.booleans())
def test_line_mode_cuts_between_lines(tmp_path_factory, lines, fraction, last_line_ends):
    path = tmp_path_factory.getbasetemp() / "lines.txt"
    path.write_text("\n".join(lines) + ("\n" if last_line_ends or not lines[-1] else ""), encoding="utf-8")
    stripped = [line.strip() + "\n" for line in lines]
    starts = itertools.accumulate(map(len, stripped[:-1]), initial=0)
    cut = math.floor((1 - fraction) * sum(map(len, stripped)))
    sides = {"train": "", "validation": ""}
    for start, line in zip(starts, stripped, strict=True):
        sides["validation" if start >= cut else "train"] += line
    for split, text in sides.items():
        if text:
            assert load_corpus(path, [split], line_mode=True, validation_fraction=fraction) == {split: text}
        else:
            assert f"no text for the split {split!r}" in message(
                path, [split], line_mode=True, validation_fraction=fraction
            )


# The packaged sample


def test_sample(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = load_corpus("sample", BOTH)
    whole = found["train"] + found["validation"]
    assert 25_000 < len(whole) < 40_000 and len(found["validation"]) == len(whole) - int(0.9 * len(whole))
    symbols = set(whole)
    assert 0 < sum(not symbol.isascii() for symbol in symbols) < 10 and "\r" not in symbols
    # Nothing in validation that a model of train has no symbol for.
    assert set(found["validation"]) <= set(found["train"])
    lines = load_corpus("sample", BOTH, line_mode=True)
    assert lines["train"] + lines["validation"] == whole
    assert lines["validation"].count("\n") in (found["validation"].count("\n"), found["validation"].count("\n") - 1)

    (tmp_path / "sample").write_text("A file of that name.")
    assert load_corpus("sample", BOTH) == found
    assert load_corpus("./sample", ["train"]) == {"train": "A file of that nam"}


# The standard library


def test_stdlib_holds_the_modules_in_order():
    folder = Path(sysconfig.get_path("stdlib"))
    left_out = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.py") if path.is_file()}
    names = {name: path for name, path in names.items() if not left_out & set(name.split("/")[:-1])}
    assert {"json/__init__.py", "textwrap.py", "_pydecimal.py"} <= set(names)

    found = load_corpus("stdlib", BOTH)
    whole = found["train"] + found["validation"]
    assert len(whole) > 5_000_000
    at = 0
    for name in sorted(names):
        with tokenize.open(names[name]) as stream:  # decodes as the interpreter does
            source = stream.read()
        assert whole.startswith(source, at), name
        at += len(source)
        if source and not source.endswith("\n"):
            at += 1
    assert whole[at:].strip() == ""


def test_stdlib_is_the_same_in_whatever_order_the_disk_lists_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path) if name == "stdlib" else pytest.fail(name))
    files = {
        "b/a.py": b"b/a",
        "b.py": "# é\n".encode(),
        "a.py": b"\xef\xbb\xbfa = 1\r\n",
        "latin.py": b"# coding: latin-1\n# \xe9\n",
        "unknown.py": b"# coding: klingon\n# \xe9\n",
        "broken.py": b"\n\n# \xe9\n",
        "empty.py": b"",
        "test.py": b"a module named test\n",
        "c.txt": b"text",
        "a.pyc": b"compiled",
    }
    for folder in ("test", "tests", "idle_test", "b/tests", "site-packages/x", "dist-packages", "__pycache__"):
        files[f"{folder}/left_out.py"] = b"left out\n"
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "gone.py").symlink_to(tmp_path / "not installed.py")
    expected = (
        "a = 1\n# é\nb/a\n\n\n# \ufffd\n# coding: latin-1\n# é\na module named test\n# coding: klingon\n# \ufffd\n"
    )
    listed = os.walk

    def shuffled_walk(top, **settings):
        for parent, folders, names in listed(top, **settings):
            random.shuffle(folders)
            yield parent, folders, random.sample(names, len(names))

    monkeypatch.setattr(os, "walk", shuffled_walk)
    for _ in range(5):
        assert "".join(load_corpus("stdlib", BOTH).values()) == expected


def test_python_without_sources(tmp_path, monkeypatch):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    assert "no .py files" in message("stdlib") and repr(str(tmp_path)) in message("stdlib")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / "python311.zip"))
    assert "cannot read the standard library" in message("stdlib")


# Real corpora


def test_tiny_shakespeare(real_data):
    path = real_data / "tinyshakespeare" / "input.txt"
    found = load_corpus(path, BOTH)
    assert {split: len(text) for split, text in found.items()} == {"train": 1_003_854, "validation": 111_540}
    assert len(set("".join(found.values()))) == 65
    assert "".join(found.values()).encode() == path.read_bytes()
    # A folder of one file is that file.
    assert load_corpus(path.parent, BOTH) == found


def test_penn_treebank(real_data):
    found = load_corpus(real_data / "ptb", ALL, line_mode=True)
    assert [round(len(found[split]) / 1e6, 2) for split in ALL] == [5.02, 0.39, 0.44]
    assert len(set("".join(found.values()))) == 50
    # The standard counts of sentences and of words, an end of sentence each included.
    assert [found[split].count("\n") for split in ALL] == [42_068, 3_370, 3_761]
    assert [len(found[split].replace("\n", " <eos> ").split()) for split in ALL] == [929_589, 73_760, 82_430]
    as_it_is = load_corpus(real_data / "ptb", ["test"])["test"]
    assert len(as_it_is) == 449_945 and as_it_is.startswith(" no it was n't black monday \n")


# Mistakes


@pytest.mark.parametrize("split", ["valid", "dev", "unlabelled", "Train", ""])
def test_unknown_split(split):
    assert f"unknown split {split!r}: expected one of train, validation, test, all" == message(
        "sample", ["train", split]
    )


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, math.nan, math.inf])
def test_validation_fraction_out_of_range(fraction):
    text = message("sample", validation_fraction=fraction)
    assert f"validation_fraction is {fraction}" in text and "more than 0 and less than 1" in text


@pytest.mark.parametrize("source", ["sample", "book.txt"])
def test_source_without_a_test_part(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text("once upon a time")
    text = message(source, ALL)
    assert f"{source!r} has no test part" in text and "'validation'" in text and "test.txt" in text


@pytest.mark.parametrize("source", ["no/such\nbook.txt", "Book.txt", "", "nul\0.txt", "x" * 300 + ".txt", "./sample"])
def test_no_such_source(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tfds_text, "read", lambda name, wanted: pytest.fail(f"{name} is no name of a set"))
    text = message(source)
    assert repr(source) in text and "'tiny_shakespeare'" in text and "'sample'" in text


def test_a_file_comes_before_a_set_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tfds_text, "read", lambda name, wanted: {"train": f"the set {name}"})
    assert load_corpus("tiny_shakespeare", ["train"], validation_fraction=0.01) == {"train": "the set tiny_shakespear"}
    Path("tiny_shakespeare").write_text("the file")
    assert load_corpus("tiny_shakespeare", ["train"]) == {"train": "the fil"}


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
def test_empty_source(tmp_path, content):
    for path in (tmp_path / "a.txt", tmp_path / "b.txt"):
        path.write_bytes(content)
    for source in (tmp_path / "a.txt", tmp_path):
        assert message(source, line_mode=True).startswith(f"{str(source)!r} is empty")


def test_empty_split(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("x")
    assert "split 'train': it needs more text or a smaller validation_fraction" in message(path)
    assert load_corpus(path, ["validation"]) == {"validation": "x"}
    path.write_text("one line")
    assert "split 'validation': it needs more text or a larger" in message(path, ["validation"], line_mode=True)
    (tmp_path / "train.txt").write_text("some")
    (tmp_path / "test.txt").write_text("")
    assert "no text for the split 'test': it needs more text" in message(tmp_path, ["test"])
    assert load_corpus(tmp_path, BOTH) == {"train": "som", "validation": "e"}


def test_neither_file_nor_folder(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "neither a file nor a folder" in message(tmp_path / "pipe")


def test_forbidden_path(tmp_path, monkeypatch):
    def forbid(path):
        raise PermissionError(13, "Permission denied", path)

    source = str(tmp_path / "a.txt")
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", forbid)
        text = message(source)
    assert f"cannot read {source!r}: Permission denied" in text
