"""Sentence pairs by their front door: which splits come out of a source, how one is cut, what is told of mistakes."""

import hashlib
import math
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nlp_lstm.datasets
from nlp_lstm.datasets import tfds_pairs
from nlp_lstm.datasets.known_sets import fingerprint_of_pairs, known_set
from nlp_lstm.datasets.pairs import Pairs, load_judged, load_pairs, read_pairs
from nlp_lstm.errors import UserError

ALL = ["train", "validation", "test"]
BOTH = ["train", "validation"]
SAMPLE = Path(nlp_lstm.datasets.__file__).parent / "sample_pairs.tsv"


def message(source, splits=("train",), **settings):
    with pytest.raises(UserError) as raised:
        load_pairs(source, splits, **settings)
    text = str(raised.value)
    assert "\n" not in text
    return text


def rows(pairs: Pairs) -> list[tuple[str, str]]:
    assert isinstance(pairs, Pairs) and len(pairs.source) == len(pairs.target)
    return list(zip(*pairs, strict=True))


def sizes(found: dict[str, Pairs]) -> dict[str, int]:
    return {split: len(rows(pairs)) for split, pairs in found.items()}


def words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.lower())


def write_table(path: Path, pairs) -> Path:
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs), encoding="utf-8")
    return path


def write_parallel(folder: Path, name: str, pairs) -> Path:
    """As English and German; the prefix of the two files."""
    for language, side in zip(("en", "de"), zip(*pairs, strict=True), strict=True):
        (folder / f"{name}.{language}").write_text("".join(f"{sentence}\n" for sentence in side), encoding="utf-8")
    return folder / name


def in_order(part, whole) -> bool:
    """Whether `part` comes out of `whole` by leaving some out."""
    rest = iter(whole)
    return all(row in rest for row in part)


@pytest.fixture
def real_data() -> Path:
    folder = os.environ.get("NLP_LSTM_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("NLP_LSTM_DATA names no folder")
    return Path(folder)


# The packaged sample


def test_sample_is_divided_without_loss():
    table = [tuple(line.split("\t")) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    found = load_pairs("sample", ALL)
    assert sizes(found) == {"train": 320, "validation": 40, "test": 40}
    assert sorted(row for pairs in found.values() for row in rows(pairs)) == sorted(table)
    for pairs in found.values():
        assert in_order(rows(pairs), table)


def test_sample_can_be_learnt():
    found = load_pairs("sample", ALL)
    for side in range(2):
        sentences = [sentence for pairs in found.values() for sentence in pairs[side]]
        assert len(set(sentences)) == len(sentences)
        assert all(4 <= len(words(sentence)) <= 14 for sentence in sentences)
        assert all(sentence == " ".join(sentence.split()) and sentence[-1] in ".?" for sentence in sentences)
        assert len({word for sentence in sentences for word in words(sentence)}) < 360
        # Nothing in validation and test that a model of train has never seen.
        known = set(words(" ".join(found["train"][side])))
        assert all(set(words(" ".join(found[split][side]))) <= known for split in ("validation", "test"))


def test_sample_has_parts_of_its_own():
    assert load_pairs("sample", ALL) == load_pairs("sample", ALL, validation_fraction=0.3, seed=5)


def test_sample_in_the_other_direction_has_the_same_parts():
    forth, back = load_pairs("sample", ALL), load_pairs("sample", ALL, reverse=True)
    assert back == {split: Pairs(pairs.target, pairs.source) for split, pairs in forth.items()}
    # Which language is which: no English word has an umlaut, and few German sentences have none of these.
    assert not re.search("[äöüß]", "".join(forth["train"].source))
    assert sum(bool(re.search("[äöüß]|ei|sch|ch", sentence)) for sentence in forth["train"].target) > 250


@pytest.mark.parametrize("named", [{"source_language": "en"}, {"target_language": "de"}, {"source_language": "de"}])
def test_languages_of_the_sample(named):
    reverse = named == {"source_language": "de"}
    assert load_pairs("sample", ["test"], reverse=reverse, **named) == load_pairs("sample", ["test"], reverse=reverse)
    mend = "leave --reverse out" if not reverse else "add --reverse"
    assert mend in message("sample", reverse=not reverse, **named)
    assert message("sample", source_language="fr") == "'sample' has no language 'fr': choose among 'de', 'en'"


def test_a_file_named_sample(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_parallel(tmp_path, "sample", [("a", "b"), ("c", "d")])
    (tmp_path / "sample").write_text("a\tb\n")
    assert sizes(load_pairs("sample", ["train"])) == {"train": 320}
    assert "no table of pairs by its name" in message("./sample")


PRINT_DIGEST = """
import hashlib, sys
from nlp_lstm.datasets.pairs import load_pairs
print(hashlib.sha256(repr(load_pairs(sys.argv[1], ["train", "validation", "test"])).encode()).hexdigest())
assert "tensorflow" not in sys.modules and "tensorflow_datasets" not in sys.modules
"""


def test_same_in_a_process_with_other_hashes_and_without_tensorflow(tmp_path):
    path = write_table(tmp_path / "pairs.tsv", [(f"source {i // 2}", f"target {i}") for i in range(200)])
    here = hashlib.sha256(repr(load_pairs(path, ALL)).encode()).hexdigest()
    there = subprocess.run(
        [sys.executable, "-c", PRINT_DIGEST, str(path)],
        env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(Path(nlp_lstm.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == here


# A table, divided into train, validation and test


def test_table_by_hand(tmp_path):
    table = [(f"source {i}", f"target {i}") for i in range(100)]
    found = load_pairs(write_table(tmp_path / "pairs.txt", table), ["test", "train", "validation"])
    assert list(found) == ["test", "train", "validation"]
    assert sizes(found) == {"train": 90, "validation": 5, "test": 5}
    # The hash must stay: a trained model's test sentences would otherwise move into train when it is trained again.
    groups = {row: "text:" + hashlib.sha256(row[0].encode()).hexdigest()[:16] for row in table}
    order = sorted(table, key=lambda row: hashlib.sha256(f"0 {groups[row]}".encode()).hexdigest())
    assert set(rows(found["test"])) == set(order[:5]) and set(rows(found["validation"])) == set(order[5:10])


TABLES = st.lists(
    st.tuples(st.integers(0, 25).map("source {}".format), st.integers(0, 50).map("target {}".format)),
    min_size=1,
    max_size=80,
)


def parts_of(path, fraction=0.1, seed=0, **settings) -> dict[str, list[tuple[str, str]]]:
    """Those that are not empty."""
    parts = {}
    for split in ALL:
        try:
            found = load_pairs(path, [split], validation_fraction=fraction, seed=seed, **settings)
        except UserError as error:
            assert f"no pairs for the split {split!r}" in str(error)
        else:
            parts[split] = rows(found[split])
            assert parts[split]
    return parts


@settings(max_examples=60, deadline=None)
@given(TABLES, st.floats(0.01, 0.49), st.integers(0, 3), st.booleans(), st.randoms())
def test_no_source_sentence_in_two_parts(tmp_path_factory, table, fraction, seed, reverse, random):
    path = tmp_path_factory.getbasetemp() / "property.tsv"
    found = parts_of(write_table(path, table), fraction, seed, reverse=reverse)
    expected = [row[::-1] if reverse else row for row in table]
    assert Counter(row for part in found.values() for row in part) == Counter(expected)
    for part in found.values():
        assert in_order(part, expected)
    sources = [{source for source, _ in part} for part in found.values()]
    assert sum(map(len, sources)) == len(set.union(*sources))

    write_table(path, random.sample(table, len(table)))
    shuffled = parts_of(path, fraction, seed, reverse=reverse)
    assert {split: Counter(part) for split, part in shuffled.items()} == {
        split: Counter(part) for split, part in found.items()
    }


def test_many_translations_of_a_sentence_stay_together(tmp_path):
    # As in the Tatoeba files: most sentences once, few very often. White space at the ends makes no other sentence.
    table = [(f"sentence {i}{' ' * (k % 2)}", f"{i} {k}") for i in range(400) for k in range(1 + 30 // (i + 1))]
    found = load_pairs(write_table(tmp_path / "pairs.txt", table), ALL, validation_fraction=0.1)
    for split in ("validation", "test"):
        assert len(found[split].source) == pytest.approx(0.1 * len(table), abs=1)
    stripped = [{source.strip() for source in pairs.source} for pairs in found.values()]
    assert sum(map(len, stripped)) == 400


def test_the_seed_moves_validation_alone(tmp_path):
    path = write_table(tmp_path / "pairs.txt", [(f"source {i}", f"target {i}") for i in range(300)])
    found = [load_pairs(path, ALL, seed=seed) for seed in range(4)]
    assert len({tuple(parts["validation"].source) for parts in found}) == 4
    assert len({tuple(parts["test"].source) for parts in found}) == 1


def test_pairs_with_an_empty_side_are_left_out_of_a_table(tmp_path):
    whole = [(f"source {i}", f"target {i}") for i in range(60)]
    empty = [("", "x"), ("x", " "), ("\u3000", "\x0c"), ("", ""), ("y", "")]
    path = write_table(tmp_path / "pairs.txt", [*whole[:30], *empty, *whole[30:], *empty])
    found = load_pairs(path, ALL)
    assert found == load_pairs(write_table(tmp_path / "whole.txt", whole), ALL)


def test_language_names_are_labels_for_a_table(tmp_path):
    path = write_table(tmp_path / "pairs.txt", [(f"source {i}", f"target {i}") for i in range(30)])
    assert load_pairs(path, ALL, source_language="en", target_language="tlh") == load_pairs(str(path), ALL)


@pytest.mark.parametrize(
    ("count", "lacking"), [(1, ["train", "validation"]), (2, ["train"]), (3, [])], ids=["one", "two", "three"]
)
def test_few_source_sentences(tmp_path, count, lacking):
    path = write_table(tmp_path / "pairs.txt", [(f"source {i}", f"target {i}") for i in range(count)])
    for split in ALL:
        if split in lacking:
            text = message(path, [split])
            assert text.startswith(
                f"{str(path)!r} has no pairs for the split {split!r}: it needs more source sentences"
            )
        else:
            assert sizes(load_pairs(path, [split])) == {split: 1}


# Validation cut off train


@settings(max_examples=40, deadline=None)
@given(TABLES, st.floats(0.01, 0.49), st.integers(0, 3))
def test_validation_is_cut_by_source_sentence(tmp_path_factory, table, fraction, seed):
    prefix = write_parallel(tmp_path_factory.getbasetemp(), "cut", table)
    found = {}
    for split in BOTH:
        try:
            pairs = load_pairs(prefix, [split], source_language="en", validation_fraction=fraction, seed=seed)[split]
        except UserError as error:
            assert f"no pairs for the split {split!r}" in str(error) and len({source for source, _ in table}) == 1
        else:
            found[split] = rows(pairs)
            assert in_order(found[split], table)
    assert Counter(row for part in found.values() for row in part) == Counter(table)
    sources = [{source for source, _ in part} for part in found.values()]
    assert sum(map(len, sources)) == len(set.union(*sources))


def test_train_is_the_same_whatever_else_is_asked_for(tmp_path):
    table = [(f"source {i}", f"target {i}") for i in range(200)]
    prefix = write_parallel(tmp_path, "train", table)
    languages = {"source_language": "en", "target_language": "de"}
    together = load_pairs(prefix, BOTH, **languages)
    assert sizes(together) == {"train": 190, "validation": 10}
    for split in BOTH:
        assert load_pairs(prefix, [split], **languages) == {split: together[split]}
    assert load_pairs(prefix, [], **languages) == {}
    assert load_pairs(prefix, BOTH, seed=1, **languages) != together
    assert sizes(load_pairs(prefix, BOTH, validation_fraction=0.25, **languages)) == {"train": 150, "validation": 50}
    # A folder of train alone, and the two files named, are cut alike.
    assert load_pairs(tmp_path, BOTH, **languages) == together
    files = {"source_file": tmp_path / "train.en", "target_file": str(tmp_path / "train.de")}
    assert load_pairs(None, BOTH, **files) == load_pairs("", BOTH, **files, **languages) == together


def test_empty_sides_are_dropped_from_train_before_the_cut(tmp_path):
    whole = [(f"source {i}", f"target {i}") for i in range(40)]
    empty = [("", "x"), ("x", "\t "), ("\u2003", ""), ("z", "")]
    languages = {"source_language": "en", "target_language": "de"}
    expected = load_pairs(write_parallel(tmp_path, "whole", whole), BOTH, **languages)
    assert load_pairs(write_parallel(tmp_path, "train", [*empty, *whole, *empty]), BOTH, **languages) == expected


def test_empty_sides_stay_in_splits_of_the_sources_own(tmp_path):
    parts = {
        split: [(f"{split} one", ""), (" ", "eins"), ("", ""), (f"{split} two", "zwei"), ("\0", "\u200b")]
        for split in ALL
    }
    for split, name in zip(ALL, ["train", "val", "test"], strict=True):
        write_parallel(tmp_path, name, parts[split])
    found = load_pairs(tmp_path, ALL, source_language="en")
    assert rows(found["validation"]) == parts["validation"] and rows(found["test"]) == parts["test"]
    # NUL and a zero-width space are no white space.
    assert rows(found["train"]) == parts["train"][3:]
    assert rows(read_pairs(tmp_path / "train.en", tmp_path / "train.de")) == parts["train"]


def test_train_of_nothing_but_empty_sides(tmp_path):
    prefix = write_parallel(tmp_path, "train", [("", "x"), ("x", ""), (" ", " ")])
    for split in BOTH:
        assert f"no pairs for the split {split!r}" in message(prefix, [split], source_language="en")


# Real data


@pytest.mark.parametrize("target", ["de", "fr"])
def test_multi30k(real_data, target):
    folder = real_data / "multi30k"
    found = load_pairs(folder, ALL, source_language="en", target_language=target)
    assert sizes(found) == {"train": 29_000, "validation": 1_014, "test": 1_000}
    assert found["train"].source[0] == "Two young, White males are outside near many bushes."
    assert found["test"] == read_pairs(folder / "test_2016_flickr.en.gz", folder / f"test_2016_flickr.{target}.gz")
    back = load_pairs(folder, ["validation"], source_language=target, target_language="en")["validation"]
    assert back == Pairs(found["validation"].target, found["validation"].source)
    # By prefix all of it is train.
    cut = load_pairs(folder / "train", BOTH, source_language="en", target_language=target)
    assert sizes(cut) == {"train": 27_550, "validation": 1_450}
    assert not set(cut["train"].source) & set(cut["validation"].source)
    assert sorted(rows(cut["train"]) + rows(cut["validation"])) == sorted(rows(found["train"]))


def test_multi30k_has_three_languages(real_data):
    folder = real_data / "multi30k"
    assert "'de', 'en', 'fr': choose two of them" in message(folder)
    assert "'de', 'en', 'fr': choose two of them" in message(folder, source_language="en")
    assert "no language 'es': choose among 'de', 'en', 'fr'" in message(folder / "val", target_language="es")


def test_tatoeba(real_data):
    path = real_data / "tatoeba" / "spa.2018-05-14.txt.xz"
    found = load_pairs(path, ALL)
    assert sum(sizes(found).values()) == 118_964
    assert sizes(found)["validation"] == sizes(found)["test"] == round(0.05 * 118_964)
    sources = [set(pairs.source) for pairs in found.values()]
    assert sum(map(len, sources)) == len(set.union(*sources)) == 102_904
    assert rows(found["train"])[0] == ("Go.", "Ve.")
    assert known_set(fingerprint_of_pairs([found["train"], found["validation"]])) == "tatoeba"


# Mistakes


@pytest.mark.parametrize("split", ["valid", "dev", "unlabelled", "Train", ""])
def test_unknown_split(split):
    expected = f"unknown split {split!r}: expected one of train, validation, test, all"
    assert message("sample", ["train", split]) == expected


@pytest.mark.parametrize("fraction", [0, 0.5, 1, -0.1, math.nan, math.inf])
def test_validation_fraction_out_of_range(fraction):
    text = message("sample", validation_fraction=fraction)
    assert f"validation_fraction is {fraction}" in text and "more than 0 and less than 0.5" in text


@pytest.mark.parametrize("source", ["sample", "no such file", None])
def test_one_language_twice(source):
    text = message(source, source_language="en", target_language="en")
    assert text == "source and target language are both 'en': name two languages"


@pytest.mark.parametrize(
    "source", ["no/such\npairs.txt", "Pairs.tsv", "nul\0.txt", "nul\0/train", "x" * 300 + ".txt", "./sample", "a/b/c"]
)
def test_no_such_source(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tfds_pairs, "read", lambda name, *_: pytest.fail(f"{name} is no name of a set"))
    for reverse in (False, True):
        text = message(source, reverse=reverse)
        assert text.startswith(f"no such file or dataset {source!r}: expected 'sample', ")
        assert all(kind in text for kind in (tfds_pairs.EXAMPLE, "train.en and train.de", "folder/train", ".tsv"))


@pytest.mark.parametrize("source", [None, ""])
def test_no_source(source):
    text = message(source)
    assert text.startswith("no data is named: ") and "--source-file and --target-file" in text


def test_source_and_files():
    text = message("sample", source_file="a", target_file="b")
    assert "both 'sample' and --source-file" in text
    assert message(None, source_file="a") == "'a' has no partner: name it with --target-file"
    assert message(None, target_file=Path("b")) == "'b' has no partner: name it with --source-file"


@pytest.mark.parametrize("name", ["train.en", "pairs.doc", "pairs", "pairs.tar.gz", "pairs.gz"])
def test_file_of_no_known_kind(tmp_path, name):
    (tmp_path / name).write_text("a\tb\n")
    text = message(tmp_path / name)
    assert text.startswith(f"{str(tmp_path / name)!r} is no table of pairs by its name")
    assert ".txt, .tsv, .tab" in text and "--source-file and --target-file" in text


def test_neither_file_nor_folder(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    assert "pipe.txt' is no table of pairs" in message(tmp_path / "pipe.txt")


def test_reverse_is_for_tables(tmp_path, monkeypatch):
    prefix = write_parallel(tmp_path, "train", [("a", "b"), ("c", "d")])
    languages = {"source_language": "en", "target_language": "de"}
    for source in (tmp_path, prefix):
        text = message(source, reverse=True, **languages)
        assert repr(str(source)) in text and "--source-language and --target-language" in text
    files = {"source_file": f"{prefix}.en", "target_file": f"{prefix}.de"}
    assert "swap --source-file and --target-file" in message(None, reverse=True, **files)
    monkeypatch.setattr(tfds_pairs, "read", lambda *_: pytest.fail("downloads"))
    assert "--reverse is for tables" in message("wmt16_translate/de-en", reverse=True)


def test_source_without_a_part(tmp_path):
    prefix = write_parallel(tmp_path, "train", [(f"{i}", f"{i}") for i in range(9)])
    languages = {"source_language": "en", "target_language": "de"}
    files = {"source_file": f"{prefix}.en", "target_file": f"{prefix}.de"}
    for source, named in ((prefix, languages), (tmp_path, languages), (None, files)):
        text = message(source, ALL, **named)
        assert "has no test part" in text and "--source-file and --target-file" in text and str(prefix)[:-6] in text
    (tmp_path / "train.en").rename(tmp_path / "test.en")
    (tmp_path / "train.de").rename(tmp_path / "test.de")
    assert sizes(load_pairs(tmp_path, ["test"], **languages)) == {"test": 9}
    for split in BOTH:
        assert f"has no {split} part" in message(tmp_path, [split], **languages)


def test_forbidden_path(tmp_path, monkeypatch):
    def forbid(path, **settings):
        raise PermissionError(13, "Permission denied", path)

    source = str(tmp_path / "pairs")
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", forbid)
        texts = [message(source), message(None, source_file=source, target_file="b")]
    for text in texts:
        assert text == f"cannot read {source!r}: Permission denied: check its permissions"


def test_all_is_every_pair(tmp_path, capsys):
    pairs = [(f"one {i}", f"eins {i} „é“") for i in range(50)]
    table = write_table(tmp_path / "pairs.tsv", pairs)
    assert sorted(rows(load_pairs(table, ["all"])["all"])) == sorted(pairs)
    assert sorted(rows(load_judged(table, "all").splits["all"])) == sorted(pairs)
    assert capsys.readouterr().err == ""
    found = load_judged(table, "test").splits["test"]
    assert found == load_pairs(table, ["test"])["test"] and 0 < len(found.source) < 50
    assert f"judging {len(found.source)} of 50 pairs" in capsys.readouterr().err
    parts = load_pairs("sample", [*ALL, "all"])
    assert rows(parts["all"]) == [pair for split in ALL for pair in rows(parts[split])]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig", "cp1252"])
def test_encodings(tmp_path, capsys, encoding):
    pairs = [(f"the café {i}", f"das „Café“ {i}") for i in range(50)]
    named = encoding if encoding == "cp1252" else ""
    table = tmp_path / "pairs.tsv"
    table.write_bytes("".join(f"{source}\t{target}\r\n" for source, target in pairs).encode(encoding))
    assert sorted(rows(load_pairs(table, ["all"], encoding=named)["all"])) == sorted(pairs)
    for at, side in enumerate(("en", "de")):
        (tmp_path / f"train.{side}").write_bytes("".join(f"{pair[at]}\n" for pair in pairs).encode(encoding))
    files = {"source_file": tmp_path / "train.en", "target_file": tmp_path / "train.de"}
    assert rows(read_pairs(*files.values(), named)) == pairs
    ways = [(tmp_path, {}), (tmp_path / "train", {}), (None, files)]
    for source, how in ways:
        languages = {} if how else {"source_language": "en", "target_language": "de"}
        assert sorted(rows(load_pairs(source, ["all"], encoding=named, **how, **languages)["all"])) == sorted(pairs)
    assert capsys.readouterr().err == ""
    if named:
        read_pairs(*files.values())
        assert capsys.readouterr().err.count("--encoding cp1252") == 2
