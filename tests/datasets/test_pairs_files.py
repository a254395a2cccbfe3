"""Sentence pairs in files: packing, encodings, where a line ends, which files belong together, and tables."""

import bz2
import gzip
import lzma
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_lstm.datasets.pair_records import Pairs, direction, lines
from nlp_lstm.datasets.pair_table import parse
from nlp_lstm.datasets.pairs import load_pairs, read_pairs
from nlp_lstm.errors import UserError

ALL = ["train", "validation", "test"]
PACK = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
EN_DE = {"source_language": "en", "target_language": "de"}


def told(call, *arguments, **settings) -> str:
    with pytest.raises(UserError) as raised:
        call(*arguments, **settings)
    text = str(raised.value)
    assert "\n" not in text
    return text


def write(folder: Path, **files: str) -> None:
    """Files by name; `__` stands for a dot."""
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")


def both(path: Path, source: bytes, target: bytes) -> tuple[Path, Path]:
    files = path / "a.en", path / "a.de"
    for file, content in zip(files, (source, target), strict=True):
        file.write_bytes(content)
    return files


# Lines


@pytest.mark.parametrize(
    ("content", "sentences"),
    [
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\ntwo", ["one", "two"]),
        (b"one\r\ntwo\r\n", ["one", "two"]),
        (b"one\rtwo\r\r\n", ["one\rtwo\r"]),
        (b"\n", [""]),
        (b"\n\n one \n\n", ["", "", " one ", ""]),
        (b"\xef\xbb\xbfone\n\xef\xbb\xbftwo", ["one", "\ufefftwo"]),
        (b"caf\xe9\n", ["caf\ufffd"]),
        (b"a\x00b\x1b\x7f\tc\n", ["a\0b\x1b\x7f\tc"]),
        ("a\x0bb\x0cc\x1cd\x85e\u2028f\u2029g\n".encode(), ["a\x0bb\x0cc\x1cd\x85e\u2028f\u2029g"]),
    ],
)
def test_lines_of_a_file(tmp_path, content, sentences):
    other = b"x\n" * len(sentences)
    assert read_pairs(*both(tmp_path, content, other)) == Pairs(sentences, ["x"] * len(sentences))
    assert read_pairs(*both(tmp_path, other, content)) == Pairs(["x"] * len(sentences), sentences)


# Control characters but for those, since a file of little else is refused.
_CHARACTERS = st.characters(exclude_categories=["Cs", "Cc"], include_characters="\r\t\x85")
SENTENCES = st.text(_CHARACTERS, max_size=8).filter(lambda sentence: not sentence.endswith("\r"))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=12),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(list(PACK)),
)
def test_what_is_written_line_by_line_is_read_so(tmp_path_factory, pairs, end, ended, marked, packed):
    folder = tmp_path_factory.getbasetemp()
    paths = folder / f"lines.en{packed}", folder / f"lines.de{packed}"
    for path, side in zip(paths, zip(*pairs, strict=True), strict=True):
        text = end.join(side)
        # Where no other line end stands in a file, a carriage return is one.
        text += end if ended or not side[-1] or ("\r" in text and "\n" not in text) else ""
        # Without a mark of its own, one at the start of the first sentence would be taken for it.
        text = "\ufeff" + text if marked or text.startswith("\ufeff") else text
        path.write_bytes(PACK[packed](text.encode()))
    assert list(zip(*read_pairs(*paths), strict=True)) == pairs


def test_lines_of_no_text():
    assert lines("") == [] and lines("\n") == [""] and lines("a\n\n") == ["a", ""]


# Two parallel files


@pytest.mark.parametrize("packed", PACK)
def test_packed_files(tmp_path, packed):
    contents = ["Ä dog.\nTwo\n" * 50, "Ein Hund.\nZwei\n" * 50]
    paths = [tmp_path / f"{name}{packed}" for name in ("source", "target")]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(PACK[packed](content.encode()))
    assert read_pairs(*paths) == Pairs(["Ä dog.", "Two"] * 50, ["Ein Hund.", "Zwei"] * 50)
    assert read_pairs(*map(str, paths)) == read_pairs(*paths)


def test_the_content_tells_the_packing(tmp_path):
    (tmp_path / "unpacked.en.gz").write_text("plain")
    (tmp_path / "packed.de").write_bytes(lzma.compress(b"packed"))
    assert read_pairs(tmp_path / "unpacked.en.gz", tmp_path / "packed.de") == Pairs(["plain"], ["packed"])


@pytest.mark.parametrize(("source", "target"), [(5, 3), (3, 5), (1, 2), (2, 1)])
def test_files_of_different_length(tmp_path, source, target):
    paths = both(
        tmp_path,
        "".join(f"source line {i}\n" for i in range(1, source + 1)).encode(),
        "".join(f"target line {i}\n" for i in range(1, target + 1)).encode(),
    )
    text = told(read_pairs, *paths)
    longer, shorter = paths if source > target else paths[::-1]
    more, fewer = max(source, target), min(source, target)
    alone = f"{'source' if source > target else 'target'} line {fewer + 1}"
    assert text.startswith(f"{str(longer)!r} has {more} lines and {str(shorter)!r} has {fewer}: ")
    assert f"line {fewer + 1} of {str(longer)!r}, {alone!r}, is the first without a partner" in text


def test_long_line_without_partner_gives_a_short_message(tmp_path):
    text = told(read_pairs, *both(tmp_path, b"one\n" + b"x" * 100_000, b"eins\n"))
    assert "line 2" in text and "x" * 40 in text and len(text) < 600


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
def test_empty_file(tmp_path, content):
    for source, target in ((content, b"x\n"), (b"x\n", content), (content, content)):
        paths = both(tmp_path, source, target)
        empty = paths[source != content]
        assert told(read_pairs, *paths) == f"{str(empty)!r} is empty: expected a sentence a line"


@pytest.mark.parametrize("kind", ["same", "symbolic link", "hard link", "another spelling"])
def test_one_file_for_both_sides(tmp_path, kind):
    (tmp_path / "a").write_text("one\n")
    other = tmp_path / ("a" if kind == "same" else "b")
    if kind == "symbolic link":
        other.symlink_to(tmp_path / "a")
    elif kind == "hard link":
        other.hardlink_to(tmp_path / "a")
    elif kind == "another spelling":
        other = f"{tmp_path}/../{tmp_path.name}/a"
    text = told(read_pairs, tmp_path / "a", other)
    assert "are one file" in text and repr(str(tmp_path / "a")) in text and repr(str(other)) in text
    # Equal content is no mistake.
    (tmp_path / "c").write_text("one\n")
    assert read_pairs(tmp_path / "a", tmp_path / "c") == Pairs(["one"], ["one"])


@pytest.mark.parametrize("name", ["missing.en", "", "nul\0", "x" * 300, "a.en/b"])
def test_missing_file(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, a__en="one\n")
    for paths in (("a.en", name), (name, "a.en")):
        assert told(read_pairs, *paths) == f"no such file {name!r}: check the path"
    if name:
        named = {"source_file": "a.en", "target_file": name}
        assert told(load_pairs, None, ["train"], **named) == f"no such file {name!r}: check the path"


def test_folder_or_pipe_for_a_file(tmp_path):
    write(tmp_path, a__en="one\n")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        assert told(read_pairs, tmp_path / "a.en", path) == f"{str(path)!r} is no file: name one with a sentence a line"


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
@pytest.mark.parametrize("damage", [lambda content: content[:-20], lambda content: content[:12] + b"\xff" * 60])
def test_damaged_file(tmp_path, suffix, damage):
    damaged = damage(PACK[suffix](os.urandom(500).hex().encode()))
    write(tmp_path, train__en="one\n")
    (tmp_path / f"train.de{suffix}").write_bytes(damaged)
    (tmp_path / f"pairs.txt{suffix}").write_bytes(damaged)
    for path, text in (
        (f"train.de{suffix}", told(load_pairs, tmp_path, ["train"], **EN_DE)),
        (f"train.de{suffix}", told(load_pairs, tmp_path / "train", ["train"], **EN_DE)),
        (f"pairs.txt{suffix}", told(load_pairs, tmp_path / f"pairs.txt{suffix}", ["train"])),
    ):
        assert text.startswith(f"cannot read {str(tmp_path / path)!r}: ") and "whole" in text


def test_archive_is_no_text(tmp_path):
    write(tmp_path, a__en="one\n")
    with tarfile.open(tmp_path / "pairs.txt.gz", "w:gz") as archive:
        archive.add(tmp_path / "a.en", "a.en")
    assert "is an archive" in told(load_pairs, tmp_path / "pairs.txt.gz", ["train"])
    assert "is an archive" in told(read_pairs, tmp_path / "a.en", tmp_path / "pairs.txt.gz")


def test_unreadable_file(tmp_path, monkeypatch):
    def forbid(path, *mode, **settings):
        raise PermissionError(13, "Permission denied", str(path))

    paths = both(tmp_path, b"one\n", b"eins\n")
    monkeypatch.setattr(Path, "open", forbid)
    assert f"cannot read {str(paths[0])!r}: Permission denied" in told(read_pairs, *paths)


# A folder


def write_splits(folder: Path, names: tuple[str, ...], *, languages=("en", "de"), packed="") -> dict[str, Pairs]:
    """Files for train, validation and test under these names; the pairs they hold."""
    expected = {}
    for split, name in zip(ALL, names, strict=True):
        sides = {language: [f"{split} {i} in {language}" for i in range(4)] for language in languages}
        for language, sentences in sides.items():
            content = "".join(f"{sentence}\n" for sentence in sentences).encode()
            (folder / f"{name}.{language}{packed}").write_bytes(PACK[packed](content))
        expected[split] = Pairs(sides[languages[0]], sides[languages[1]])
    return expected


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize(
    "names",
    [
        ("train", "val", "test"),
        ("train", "valid", "test_2016_flickr"),
        ("Train", "Validation", "TEST-b"),
        ("train", "dev", "test-2020_x"),
    ],
)
def test_folder(tmp_path, names, packed):
    expected = write_splits(tmp_path, names, packed=packed)
    # Other things that lie about in such folders.
    write(
        tmp_path,
        README="about it",
        notes__en="x",
        train="x",
        __train__en="hidden",
        train__norm__en="x",
        training__en="x",
        train_big__en="x",
        valid2__en="x",
        latest__de="x",
        testing__de="x",
    )
    (tmp_path / "train.gz").write_bytes(b"x")
    (tmp_path / "train.fr.old").write_text("x")
    (tmp_path / "train.fr").mkdir()
    assert load_pairs(tmp_path, ALL, **EN_DE) == expected
    assert load_pairs(tmp_path, ALL, target_language="de") == expected
    for split in ALL:
        assert load_pairs(str(tmp_path), [split], **EN_DE) == {split: expected[split]}


@pytest.mark.parametrize("languages", [("pt_br", "en"), ("zh-CN", "zh-TW"), ("eng", "EN")])
def test_names_of_languages(tmp_path, languages):
    expected = write_splits(tmp_path, ("train", "dev", "test"), languages=languages)
    for named in (
        {"source_language": languages[0], "target_language": languages[1]},
        {"source_language": languages[0]},
        {"target_language": languages[1]},
    ):
        assert load_pairs(tmp_path, ALL, **named) == expected
    named = {"target_language": languages[0]}
    assert load_pairs(tmp_path, ALL, **named) == {split: Pairs(*pairs[::-1]) for split, pairs in expected.items()}


def test_direction():
    assert direction("x", ["en", "de"], "de", "") == ("de", "en")
    assert direction("x", {"en", "de", "fr"}, "fr", "en") == ("fr", "en")
    assert direction("x", ["en", "de"], "", "", ("de", "en")) == ("de", "en")
    assert direction("x", ["en", "de"], "en", "", ("de", "en")) == ("en", "de")
    assert direction("x", ["en", "de", "fr"], "", "", ("fr", "de")) == ("fr", "de")
    choose = "choose two of them with --source-language and --target-language"
    assert told(direction, "x", {"en", "de"}, "", "") == f"'x' holds the languages 'de', 'en': {choose}"
    assert told(direction, "x", ["fr", "en", "de"], "en", "") == f"'x' holds the languages 'de', 'en', 'fr': {choose}"
    assert told(direction, "x", ["fr", "en", "de"], "", "en", ("fr", "de")).endswith(choose)
    for named in (("es", ""), ("", "es"), ("es", "en"), ("en", "es")):
        assert told(direction, "x", ["en", "de"], *named) == "'x' has no language 'es': choose among 'de', 'en'"
    assert "one language alone, 'en': translation needs two" in told(direction, "x", ["en"], "en", "de")


def test_folder_needs_a_direction(tmp_path):
    write_splits(tmp_path, ("train", "val", "test"))
    assert "'de', 'en': choose two of them" in told(load_pairs, tmp_path, ["train"])
    assert "no language 'EN'" in told(load_pairs, tmp_path, ["train"], source_language="EN")
    for language in "de", "en":
        text = told(load_pairs, tmp_path, ["train"], source_language=language, target_language=language)
        assert f"both {language!r}" in text


def test_several_test_sets(tmp_path):
    expected = write_splits(tmp_path, ("train", "val", "test_2017"))
    write(tmp_path, **{"test-2018__en": "a\n", "test-2018__de": "b\n", "test_2016__en": "a\n"})
    text = told(load_pairs, tmp_path, ALL, **EN_DE)
    assert "2 sets for the split 'test', 'test-2018', 'test_2017'" in text
    assert "--source-file and --target-file" in text and "2016" not in text
    # They are in the way of none but those who ask for test; and one that lacks a language is in nobody's way.
    assert load_pairs(tmp_path, ["train"], **EN_DE) == {"train": expected["train"]}
    (tmp_path / "test-2018.de").unlink()
    assert load_pairs(tmp_path, ["test"], **EN_DE) == {"test": expected["test"]}
    write(tmp_path, test__en="a\n", test__de="b\n")
    assert "'test', 'test_2017'" in told(load_pairs, tmp_path, ["test"], **EN_DE)


def test_several_validation_sets(tmp_path):
    write_splits(tmp_path, ("train", "val", "test"))
    write(tmp_path, dev__en="a\n", dev__de="b\n")
    text = told(load_pairs, tmp_path, ["train"], **EN_DE)
    assert "2 sets for the split 'validation', 'dev', 'val': keep one" in text


def test_one_file_without_its_partner(tmp_path):
    expected = write_splits(tmp_path, ("train", "val", "test"), languages=("en", "de", "fr"))
    (tmp_path / "test.de").unlink()
    text = told(load_pairs, tmp_path, ALL, **EN_DE)
    assert text.startswith(f"{str(tmp_path)!r} has 'test.en' but no 'test.de': ")
    assert load_pairs(tmp_path, ["train"], **EN_DE) == {"train": expected["train"]}
    assert len(load_pairs(tmp_path, ["test"], source_language="en", target_language="fr")["test"].source) == 4
    (tmp_path / "test.en").unlink()
    assert "has no test part" in told(load_pairs, tmp_path, ALL, **EN_DE)


def test_packed_and_plain_side_by_side(tmp_path):
    expected = write_splits(tmp_path, ("train", "val", "test"))
    (tmp_path / "train.de.gz").write_bytes(gzip.compress(b"other\n"))
    text = told(load_pairs, tmp_path, ALL, **EN_DE)
    assert "has 'train.de' and 'train.de.gz' for the same lines: keep one" in text
    assert load_pairs(tmp_path, ["test"], **EN_DE) == {"test": expected["test"]}
    assert "keep one" in told(load_pairs, tmp_path / "train", ["train"], **EN_DE)


def test_linked_languages_are_one_file(tmp_path):
    write(tmp_path, train__en="one\ntwo\n")
    (tmp_path / "train.de").symlink_to("train.en")
    assert "are one file" in told(load_pairs, tmp_path, ["train"], **EN_DE)


def test_splits_not_asked_for_are_not_read(tmp_path):
    expected = write_splits(tmp_path, ("train", "val", "test"))
    (tmp_path / "test.de").write_text("too short\n")
    assert load_pairs(tmp_path, ["train", "validation"], **EN_DE) == {k: expected[k] for k in ("train", "validation")}
    assert "first without a partner" in told(load_pairs, tmp_path, ["test"], **EN_DE)
    write(tmp_path, train__en="too short\n")
    (tmp_path / "test.de").write_text("x\n" * 4)
    assert list(load_pairs(tmp_path, ["test"], **EN_DE)) == ["test"]


def test_folder_without_parallel_files(tmp_path):
    write(tmp_path, readme__txt="x", trainer__en="x")
    text = told(load_pairs, tmp_path, ["train"], **EN_DE)
    assert text.startswith(f"{str(tmp_path)!r} holds no parallel files: expected train.en and train.de")
    write(tmp_path, train__en="x\n", val__en="x\n")
    assert "one language alone, 'en'" in told(load_pairs, tmp_path, ["train"], **EN_DE)


def test_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    def forbid(path):
        raise PermissionError(13, "Permission denied", str(path))

    write_splits(tmp_path, ("train", "val", "test"))
    monkeypatch.setattr(Path, "iterdir", forbid)
    for source in (tmp_path, tmp_path / "train"):
        text = told(load_pairs, source, ["train"], **EN_DE)
        assert text == f"cannot read {str(tmp_path)!r}: Permission denied: check its permissions"


# A prefix


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize("name", ["train", "test", "europarl-v7.de-en", "train.norm.tok", "Korpus über alles"])
def test_prefix(tmp_path, monkeypatch, name, packed):
    source, target = [f"source {i}" for i in range(20)], [f"target {i}" for i in range(20)]
    for language, side in (("en", source), ("de", target)):
        (tmp_path / f"{name}.{language}{packed}").write_bytes(PACK[packed]("\n".join(side).encode()))
    write(tmp_path, **{f"{name}__en__orig": "x", f"{name}2__fr": "x", f"{name.swapcase()}__it": "x", "val__en": "x"})
    found = load_pairs(tmp_path / name, ["train", "validation"], source_language="en")
    assert [len(pairs.source) for pairs in found.values()] == [19, 1]
    assert sorted(found["train"].target + found["validation"].target) == sorted(target)
    assert all(pair[0][7:] == pair[1][7:] for pairs in found.values() for pair in zip(*pairs, strict=True))
    assert load_pairs(tmp_path / name, ["train", "validation"], target_language="de") == found
    monkeypatch.chdir(tmp_path)
    assert load_pairs(name, ["train", "validation"], **EN_DE) == found
    assert "'de', 'en': choose two" in told(load_pairs, name, ["train"])
    assert "has no test part" in told(load_pairs, name, ["test"], **EN_DE)


def test_prefix_of_one_language_is_none(tmp_path):
    write(tmp_path, train__en="one\n", **{"other__en": "x", "other__de": "y"})
    assert "no such file or dataset" in told(load_pairs, str(tmp_path / "train"), ["train"], **EN_DE)


def test_prefix_without_the_language(tmp_path):
    write(tmp_path, train__en="one\n", train__txt="x")
    text = told(load_pairs, tmp_path / "train", ["train"], **EN_DE)
    assert f"{str(tmp_path / 'train')!r} has no language 'de': choose among 'en', 'txt'" in text


def test_folder_comes_before_a_prefix(tmp_path):
    write(tmp_path, data__en="outside\n", data__de="draußen\n")
    (tmp_path / "data").mkdir()
    expected = write_splits(tmp_path / "data", ("train", "val", "test"))
    assert load_pairs(tmp_path / "data", ALL, **EN_DE) == expected


# Tables


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("spa.txt", True),
        ("spa.2018-05-14.txt.xz", True),
        ("A.TSV.GZ", True),
        ("a.tab.bz2", True),
        ("train.en", False),
        ("a.csv", True),
        ("A.JsonL.gz", True),
        ("a.ndjson", True),
        ("a.b.tmx.xz", True),
        ("txt", False),
        ("a.txt.zip", False),
        ("a.gz", False),
    ],
)
def test_a_file_of_pairs_goes_by_its_name(tmp_path, name, is_one):
    (tmp_path / name).write_bytes(b"")
    text = told(load_pairs, tmp_path / name, ["train"])
    assert ("is no table of pairs by its name" in text) is not is_one


@pytest.mark.parametrize("packed", PACK)
@pytest.mark.parametrize("kind", [".txt", ".tsv", ".tab", ".TXT"])
def test_kinds_of_tables_agree(tmp_path, kind, packed):
    pairs = [(f"source {i}", f"target {i}") for i in range(40)]
    path = tmp_path / f"pairs{kind}{packed}"
    path.write_bytes(PACK[packed]("".join(f"{source}\t{target}\n" for source, target in pairs).encode()))
    found = load_pairs(path, ALL)
    assert {split: len(part.source) for split, part in found.items()} == {"train": 36, "validation": 2, "test": 2}
    assert sorted(pair for part in found.values() for pair in zip(*part, strict=True)) == sorted(pairs)


def test_table_by_hand():
    text = (
        '"Go."\tVe.\n'
        "It's 5\" long, \\t he said.\t«Sí»\n"
        "Hi.\t¡Hola!\tCC-BY 2.0 (France) Attribution: tatoeba.org #538123 (CM) & #431975 (Leono)\n"
        "\x00 a\x0cb\u2028c\t \n"
        "\t\tCC0\n"
        "a\tb\t\n"
    )
    assert parse(text, "x.txt").pairs == Pairs(
        ['"Go."', "It's 5\" long, \\t he said.", "Hi.", "\x00 a\x0cb\u2028c", "", "a"],
        ["Ve.", "«Sí»", "¡Hola!", " ", "", "b"],
    )


def test_table_as_bytes(tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_bytes(b"\xef\xbb\xbfone\teins\r\ntwo\tcaf\xe9\r\nthree\tdr\xc3\xa4i")
    found = load_pairs(path, ALL, validation_fraction=0.3)
    assert sorted(pair for pairs in found.values() for pair in zip(*pairs, strict=True)) == [
        ("one", "eins"),
        ("three", "dräi"),
        ("two", "caf\ufffd"),
    ]


@pytest.mark.parametrize(
    ("line", "count"),
    [("x", "1 column"), ("no tab", "1 column"), ("a\tb\tCC-BY 2.0\tc", "4 columns"), ("a" + "\t" * 9, "10 c")],
)
def test_line_of_another_number_of_columns(line, count):
    text = told(parse, f"fine\tgut\nfine\x0c\tgut\u2028\n{line}\nbad", "x.txt")
    assert text.startswith(f"'x.txt' line 3 has {count}")


def test_third_column_that_is_no_licence():
    text = told(parse, "a\tb\tCC-BY 2.0\n1\tGo.\tVe.\n", "x.txt")
    assert text.startswith("'x.txt' line 2 has 3 columns, and the third is no licence")


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"])
def test_empty_table(tmp_path, content):
    (tmp_path / "pairs.tsv").write_bytes(content)
    text = told(load_pairs, tmp_path / "pairs.tsv", ["train"])
    assert text.startswith(f"{str(tmp_path / 'pairs.tsv')!r} is empty: ")
