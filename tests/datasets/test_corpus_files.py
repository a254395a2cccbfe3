"""Corpora in files and folders: packing, encodings, which files count and in which order."""

import bz2
import gzip
import itertools
import lzma
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from nlp_lstm.datasets.corpus import load_corpus, load_judged
from nlp_lstm.datasets.text_files import concatenate, decode, split_files
from nlp_lstm.errors import UserError

ALL = ["train", "validation", "test"]
PACK = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def message(source, splits=("train",), **settings):
    with pytest.raises(UserError) as raised:
        load_corpus(source, splits, **settings)
    text = str(raised.value)
    assert "\n" not in text and str(source) in text
    return text


def write(folder: Path, **files: str) -> None:
    """Files by name; `__` stands for a dot and `_in_` for a folder's name before a slash."""
    for name, text in files.items():
        path = folder.joinpath(*name.replace("__", ".").split("_in_"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def whole(source) -> str:
    return "".join(load_corpus(source, ["train", "validation"]).values())


# Text from bytes


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"caf\xc3\xa9", "café"),
        (b"caf\xe9!", "caf\ufffd!"),
        (b"\xef\xbb\xbfa\xef\xbb\xbfb", "a\ufeffb"),
        (b"a\r\nb\rc\n\r\n", "a\nb\rc\n\n"),
        (b"a\x00b", "a\x00b"),
        (b"", ""),
        ("😀".encode()[:3], "\ufffd"),
    ],
)
def test_decode(content, text):
    assert decode(content) == text


def test_concatenate_keeps_lines_apart():
    assert concatenate(["a\n", "", "b", "", "c", "\n", "d\n\n"]) == "a\nb\nc\n\nd\n\n"
    assert concatenate([]) == concatenate(["", ""]) == ""
    assert concatenate(iter(["a"])) == "a"


# One file


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("name", ["book.txt", "book", "Буква.text"])
def test_packed_file(tmp_path, suffix, name):
    text = "Größe\r\n" * 100 + "ende"
    (tmp_path / (name + suffix)).write_bytes(PACK[suffix](text.encode()))
    assert whole(tmp_path / (name + suffix)) == text.replace("\r\n", "\n")


def test_the_content_tells_the_packing(tmp_path):
    (tmp_path / "unpacked.txt.gz").write_text("plain text")
    (tmp_path / "packed.txt").write_bytes(lzma.compress(b"packed text"))
    assert whole(tmp_path / "unpacked.txt.gz") == "plain text"
    assert whole(tmp_path / "packed.txt") == "packed text"


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
@pytest.mark.parametrize("damage", [lambda content: content[:-20], lambda content: content[:12] + b"\xff" * 60])
@pytest.mark.parametrize("in_folder", [False, True])
def test_damaged_file(tmp_path, suffix, damage, in_folder):
    path = tmp_path / f"book.txt{suffix}"
    path.write_bytes(damage(PACK[suffix](os.urandom(500).hex().encode())))
    text = message(tmp_path if in_folder else path)
    assert text.startswith(f"cannot read {str(path)!r}: ") and "whole" in text


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.xz", "zip"])
def test_archive_is_no_text(tmp_path, kind):
    (tmp_path / "a.txt").write_text("text")
    path = tmp_path / f"texts.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(tmp_path / "a.txt", "a.txt")
    else:
        with tarfile.open(path, f"w:{kind[4:]}") as archive:
            archive.add(tmp_path / "a.txt", "a.txt")
    assert "unpack it and name the folder" in message(path)


def test_unreadable_file(tmp_path, monkeypatch):
    def forbid(path, *mode, **settings):
        raise PermissionError(13, "Permission denied", str(path))

    path = tmp_path / "a.txt"
    path.write_text("secret")
    monkeypatch.setattr(Path, "open", forbid)
    assert f"cannot read {str(path)!r}: Permission denied" in message(path)


# A file for each split


@pytest.mark.parametrize(
    "names",
    [
        ("train.txt", "valid.txt", "test.txt"),
        ("ptb.train.txt.xz", "ptb.valid.txt.xz", "ptb.test.txt.xz"),
        ("wiki.train.tokens", "wiki.validation.tokens", "wiki.test.tokens"),
        ("TRAIN", "Dev", "Test.gz"),
        ("my-train-set.md", "my_val_set.md", "my.test-set.md"),
    ],
)
def test_split_files(tmp_path, names):
    for split, name in zip(ALL, names, strict=True):
        (tmp_path / name).write_bytes(PACK.get(Path(name).suffix, bytes)(f"text of {split}".encode()))
    write(tmp_path, README="about it", notes__txt="other", trainer__txt="other", latest__txt="other", deep_in_train="x")
    write(tmp_path, __train__txt="hidden", train__py="import train", test_model__py="assert True")
    os.mkfifo(tmp_path / "train.pipe")
    assert {split: path.name for split, path in split_files(tmp_path).items()} == dict(zip(ALL, names, strict=True))
    assert load_corpus(tmp_path, ALL, validation_fraction=0.5) == {split: f"text of {split}" for split in ALL}
    for split in ALL:
        assert load_corpus(str(tmp_path), [split]) == {split: f"text of {split}"}


def test_missing_validation_is_cut_off_train(tmp_path):
    write(tmp_path, train__txt="0123456789", test__txt="abc")
    found = load_corpus(tmp_path, ALL, validation_fraction=0.2)
    assert found == {"train": "01234567", "validation": "89", "test": "abc"}
    assert load_corpus(tmp_path, ["validation"]) == {"validation": "9"}


def test_splits_not_asked_for_are_not_read(tmp_path):
    write(tmp_path, train__txt="some", valid__txt="more")
    (tmp_path / "test.txt.gz").write_bytes(gzip.compress(b"text")[:-4])
    assert load_corpus(tmp_path, ["train"]) == {"train": "some"}
    assert "cannot read" in message(tmp_path, ["test"])


def test_missing_train_or_test(tmp_path):
    write(tmp_path, valid__txt="some")
    assert load_corpus(tmp_path, ["validation"]) == {"validation": "some"}
    assert "has no train part" in message(tmp_path) and "train.txt" in message(tmp_path)
    assert "has no test part" in message(tmp_path, ["validation", "test"])


@pytest.mark.parametrize("names", [("train.de", "train.en"), ("val.txt", "dev.txt"), ("test.txt", "test.txt.gz")])
def test_two_files_for_a_split(tmp_path, names):
    write(tmp_path, train__txt="some")
    for name in names:
        (tmp_path / name).write_text("text")
    text = message(tmp_path)
    assert "two files for the split" in text and "keep one" in text
    assert sum(repr(name) in text for name in (*names, "train.txt")) == 2


def test_name_with_the_words_of_two_splits(tmp_path):
    write(tmp_path, **{"train-test__txt": "some"})
    assert "named after 'test' and 'train'" in message(tmp_path)


# Any text files


def test_folder_of_texts_in_the_order_of_their_paths(tmp_path):
    files = ["a.txt", "B.TXT", "a/z.md", "a-b.rst", "a/b/c.py", "z.text", "10.txt", "9.txt", "é.txt", "a/b.txt.gz"]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(PACK[".gz" if name.endswith("gz") else ""](f"[{name}]\n".encode()))
    # Written down by hand: capitals before small letters, and "-", ".", "/" in that order.
    order = ["10.txt", "9.txt", "B.TXT", "a-b.rst", "a.txt", "a/b.txt.gz", "a/b/c.py", "a/z.md", "z.text", "é.txt"]
    for other in [
        "a.csv",
        "a.gz",
        "a.tar.gz",
        "a.pyc",
        "txt",
        ".hidden.txt",
        ".git/a.txt",
        "a/.venv/b/c.py",
        "a.txt.zip",
    ]:
        (tmp_path / other).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / other).write_text("not this\n")
    (tmp_path / "a" / "gone.txt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.txt")
    assert whole(tmp_path) == "".join(f"[{name}]\n" for name in order)


def test_each_file_begins_on_its_own_line(tmp_path):
    contents = [b"\xef\xbb\xbfone", b"", b"\xef\xbb\xbftwo\r\n", b"three"]
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.txt").write_bytes(content)
    assert whole(tmp_path) == "one\ntwo\nthree"
    lines = load_corpus(tmp_path, ["train", "validation"], line_mode=True, validation_fraction=0.5)
    assert lines == {"train": "one\ntwo\n", "validation": "three\n"}


def test_many_files_are_cut_as_one_text(tmp_path):
    for letter in "abcdefgh":
        (tmp_path / f"{letter}.txt").write_text(letter * 9 + "\n")
    text = "".join(letter * 9 + "\n" for letter in "abcdefgh")
    for eighths in range(1, 8):
        for line_mode in (False, True):
            found = load_corpus(tmp_path, ["train", "validation"], validation_fraction=eighths / 8, line_mode=line_mode)
            assert found == {"train": text[: 80 - eighths * 10], "validation": text[80 - eighths * 10 :]}
    assert "has no test part" in message(tmp_path, ["test"])


def test_folder_without_texts(tmp_path):
    assert "holds no text files" in message(tmp_path)
    write(tmp_path, a__csv="x", __hidden__txt="x")
    text = message(tmp_path)
    assert all(name in text for name in ("train.txt", ".txt, .md, .rst, .py, .text", ".gz, .bz2, .xz"))


@pytest.mark.parametrize("call", ["iterdir", "walk"])
def test_folder_that_cannot_be_listed(tmp_path, monkeypatch, call):
    def forbid(path, *args):
        raise PermissionError(13, "Permission denied", str(path))

    write(tmp_path, a__txt="some")
    if call == "iterdir":
        monkeypatch.setattr(Path, "iterdir", forbid)
    else:
        monkeypatch.setattr(os, "scandir", forbid)
        monkeypatch.setattr(Path, "iterdir", lambda path: itertools.chain([path / "a.txt"]))
    assert f"cannot read {str(tmp_path)!r}: Permission denied" in message(tmp_path)


# Encodings, and all of a source

LINES = "Größe, „süß“ 狗\n" * 20


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-be", "gb18030"])
def test_encoding_of_a_file(tmp_path, capsys, encoding, suffix):
    path = tmp_path / f"book.txt{suffix}"
    path.write_bytes(PACK[suffix](LINES.replace("\n", "\r\n").encode(encoding)))
    named = encoding if encoding in ("utf-16-be", "gb18030") else ""
    assert load_corpus(path, ["all"], encoding=named)["all"] == LINES
    assert "".join(load_corpus(path, ["train", "validation"], encoding=named).values()) == LINES
    assert capsys.readouterr() == ("", "")


def test_a_folder_of_files_in_several_encodings(tmp_path, capsys):
    for name, content in {
        "a.txt": LINES.encode("utf-16"),
        "b.txt": LINES.encode(),
        "c.md": "\nnaïve".encode("cp1252"),
        "d.txt": "é".encode("cp1252"),
        "e.txt": b"one\rtwo",
    }.items():
        (tmp_path / name).write_bytes(content)
    expected = LINES + LINES + "\nna{}ve\n{}\none\ntwo"
    assert whole(tmp_path) == expected.format("\ufffd", "\ufffd")
    err = capsys.readouterr().err
    assert f"{str(tmp_path / 'c.md')!r} line 2: here is the first of 2 characters in 2 files" in err
    assert err.count("\n") == 1 and "--encoding cp1252" in err
    (tmp_path / "b.txt").unlink()
    assert load_corpus(tmp_path, ["all"], encoding="cp1252")["all"] == expected[len(LINES) :].format("ï", "é")
    assert capsys.readouterr().err == ""


def test_a_folder_of_splits_in_several_encodings(tmp_path):
    for split, encoding in {"train": "utf-16", "valid": "utf-8", "test": "utf-32"}.items():
        (tmp_path / f"{split}.txt").write_bytes(f"{split} „é“".encode(encoding))
    found = load_corpus(tmp_path, [*ALL, "all"])
    assert found == {
        **{"train": "train „é“", "validation": "valid „é“", "test": "test „é“"},
        "all": "train „é“\nvalid „é“\ntest „é“",
    }


def test_what_is_no_text_is_told(tmp_path):
    (tmp_path / "book.txt").write_bytes(b"%PDF-1.5\n")
    assert "is a PDF" in message(tmp_path / "book.txt")
    assert "is a PDF" in message(tmp_path)
    (tmp_path / "book.txt").write_bytes("plain\n".encode("utf-16-le") * 9)
    assert "--encoding utf-16-le" in message(tmp_path / "book.txt")


def test_how_much_of_a_file_is_judged_is_told(tmp_path, capsys):
    path = tmp_path / "book.txt"
    path.write_text("0123456789" * 200)
    assert load_judged(path, "validation", validation_fraction=0.25) == "0123456789" * 50
    assert capsys.readouterr().err == (
        f"{str(path)!r}: judging 500 of 2,000 characters, the part cut off for the split 'validation': --split all "
        "judges the whole\n"
    )
    assert load_judged(path, "all") == "0123456789" * 200
    write(tmp_path / "folder", train__txt="a", valid__txt="b")
    assert load_judged(tmp_path / "folder", "validation") == "b"
    assert capsys.readouterr().err == ""
