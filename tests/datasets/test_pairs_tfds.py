"""TensorFlow Datasets as sentence pairs, without a network: the library's mock, and sets prepared from local files."""

from pathlib import Path

import pytest

from nlp_lstm.datasets.pairs import Pairs, load_pairs
from nlp_lstm.datasets.tfds_source import NAME
from nlp_lstm.errors import UserError

tf = pytest.importorskip("tensorflow")
tfds = pytest.importorskip("tensorflow_datasets")

ALL = ["train", "validation", "test"]
TED, WMT, OPUS = "ted_hrlr_translate/pt_to_en", "wmt16_translate/de-en", "opus/medical"
SETS: dict[str, dict[str, list[tuple[bytes, bytes]]]] = {
    TED: {
        "train": [
            ("olá .".encode(), b"hello ."),
            (b"sim .", b"yes ."),
            (b" ", b"nothing"),
            (b"um dia .", b"one day ."),
        ],
        "validation": [(b"", b"empty"), (b"caf\xe9\r\n", b"\xef\xbb\xbfcoffee")],
        "test": [(b"uma\nlinha", b"one\n\nline\n"), ("não .".encode(), b"no\x00 .")],
    },
    WMT: {"train": [(b"Ein Hund", b"A dog")], "validation": [(b"Nein", b"No")], "test": [(b"Ja", b"Yes")]},
    # Of many examples, and train is all it has.
    OPUS: {"train": [(f"Satz {i // 2}".encode(), f"Sentence {i}".encode()) for i in range(1100)]},
}


def message(source, splits=("train",), **settings):
    with pytest.raises(UserError) as raised:
        load_pairs(source, splits, **settings)
    text = str(raised.value)
    assert "\n" not in text and repr(source) in text
    return text


@pytest.fixture
def mocked(tmp_path):
    languages = {}
    for name, examples in SETS.items():
        builder = tfds.builder(name, data_dir=tmp_path)
        languages[builder.name] = builder.info.supervised_keys
        infos = [
            tfds.core.SplitInfo(name=split, shard_lengths=[len(examples[split])], num_bytes=1) for split in examples
        ]
        builder.info.set_splits(tfds.core.splits.SplitDict(infos))
        Path(builder.data_dir).mkdir(parents=True)
        builder.info.write_to_directory(builder.data_dir)

    def as_dataset(builder, split, **kwargs):
        print("a library that prints")
        (examples,) = (examples for name, examples in SETS.items() if name.split("/")[0] == builder.name)
        sides = zip(*examples[str(split)], strict=True)
        return tf.data.Dataset.from_tensor_slices(
            {language: list(side) for language, side in zip(languages[builder.name], sides, strict=True)}
        )

    with tfds.testing.mock_data(as_dataset_fn=as_dataset, data_dir=str(tmp_path)):
        yield


@pytest.mark.parametrize("name", [TED, f"{TED}:1.0.0"])
def test_set_with_three_splits(mocked, name, capsys):
    expected = {
        "train": Pairs(["olá .", "sim .", "um dia ."], ["hello .", "yes .", "one day ."]),
        "validation": Pairs(["", "caf\ufffd"], ["empty", "coffee"]),
        "test": Pairs(["uma linha", "não ."], ["one  line", "no\0 ."]),
    }
    assert load_pairs(name, ALL) == expected
    printed = capsys.readouterr()
    assert printed.out == "" and "a library that prints" in printed.err
    assert load_pairs(name, ["test"]) == {"test": expected["test"]}


@pytest.mark.parametrize(
    ("named", "source"),
    [
        ({}, "de"),
        ({"source_language": "de"}, "de"),
        ({"target_language": "en"}, "de"),
        ({"source_language": "en"}, "en"),
        ({"target_language": "de"}, "en"),
        ({"source_language": "en", "target_language": "de"}, "en"),
    ],
)
def test_direction(mocked, named, source):
    found = load_pairs(WMT, ALL, **named)
    english, german = {"train": "A dog", "validation": "No", "test": "Yes"}, ["Ein Hund", "Nein", "Ja"]
    for (split, one), other in zip(english.items(), german, strict=True):
        assert found[split] == (Pairs([one], [other]) if source == "en" else Pairs([other], [one]))


def test_train_is_cut_by_source_sentence(mocked):
    found = load_pairs(OPUS, ["train", "validation"], validation_fraction=0.1)
    whole = [(f"Satz {i // 2}", f"Sentence {i}") for i in range(1100)]
    parts = {split: list(zip(*pairs, strict=True)) for split, pairs in found.items()}
    assert len(parts["validation"]) == 110 and sorted(parts["train"] + parts["validation"]) == sorted(whole)
    assert parts["train"] == sorted(parts["train"], key=whole.index)
    assert not set(found["train"].source) & set(found["validation"].source)
    assert "has no test part" in message(OPUS, ALL)


# Mistakes, told before any download


@pytest.fixture
def no_download(monkeypatch):
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", lambda *_, **__: pytest.fail("downloads"))


@pytest.mark.parametrize("named", [{"source_language": "fr"}, {"target_language": "fr"}])
def test_unknown_language(no_download, named):
    assert "no language 'fr': choose among 'de', 'en'" in message(WMT, **named)


@pytest.mark.parametrize(("name", "feature"), [("glue/sst2", "sentence"), ("ted_multi_translate", "translations")])
def test_set_without_translations(no_download, name, feature):
    text = message(name)
    assert repr(feature) in text and "two languages" in text and repr(TED) in text


class Plain(tfds.core.GeneratorBasedBuilder):
    """A set of three languages that has no direction of its own."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return self.dataset_info_from_configs(features=tfds.features.Translation(languages=["de", "en", "fr"]))

    def _split_generators(self, manager):
        return {"train": self._generate_examples("train"), "test": self._generate_examples("test")}

    def _generate_examples(self, split):
        for i in range(20):
            yield i, {language: f"{split} {i} in {language}" for language in ("de", "en", "fr")}


def test_set_of_three_languages_without_a_direction(tmp_path, monkeypatch):
    builder = Plain(data_dir=tmp_path)
    monkeypatch.setattr(tfds, "builder", lambda name: builder if name == "plain" else pytest.fail(name))
    for named in ({}, {"source_language": "de"}):
        assert "'de', 'en', 'fr': choose two of them" in message("plain", **named)
    found = load_pairs("plain", ALL, source_language="fr", target_language="de")
    assert {split: len(pairs.source) for split, pairs in found.items()} == {"train": 19, "validation": 1, "test": 20}
    assert sorted(found["train"].source + found["validation"].source) == sorted(f"train {i} in fr" for i in range(20))
    assert [sentence.replace("fr", "de") for sentence in found["test"].source] == found["test"].target


def test_unknown_name(no_download):
    assert "no file or folder" in message("ted_hrlr_translat/pt_to_en")


@pytest.mark.parametrize("name", ["wmt16_translate/de-xx", f"{TED}:9.9.9"])
def test_unknown_configuration_or_version(no_download, name):
    assert "cannot open" in message(name)


@pytest.mark.parametrize(
    ("name", "matches"),
    [
        (TED, True),
        (WMT, True),
        (f"{WMT}:1.*.*", True),
        ("opus", True),
        ("./opus", False),
        ("a/b/c", False),
        ("A", False),
    ],
)
def test_name(name, matches):
    assert bool(NAME.fullmatch(name)) is matches


def test_failed_download(monkeypatch, capsys):
    def fail(*args, **kwargs):
        print("Downloading ...")
        raise ConnectionError("no route\n to host")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    text = message(WMT)
    assert "ConnectionError: no route to host" in text and "connection" in text
    assert capsys.readouterr().out == ""


def test_files_come_before_a_set_of_their_name(tmp_path, monkeypatch, no_download):
    monkeypatch.chdir(tmp_path)
    Path("opus.en").write_text("one\ntwo\n")
    Path("opus.de").write_text("eins\nzwei\n")
    found = load_pairs("opus", ["train", "validation"], source_language="en")
    assert sorted(found["train"].source + found["validation"].source) == ["one", "two"]
    Path("opus").mkdir()
    assert "holds no parallel files" in message("opus", source_language="en")


def test_real_preparation(tmp_path, monkeypatch, capsys):
    pytest.importorskip(
        "importlib_resources", reason="TensorFlow Datasets prepares nothing without importlib_resources"
    )
    folder = tmp_path / "download" / "datasets" / "pt_to_en"
    folder.mkdir(parents=True)
    expected = {}
    for split, name, count in (("train", "train", 50), ("validation", "dev", 5), ("test", "test", 7)):
        sides = [[f"{language} {name} {i} ção ." for i in range(count)] for language in ("pt", "en")]
        expected[split] = sorted(zip(*sides, strict=True))
        for language, sentences in zip(("pt", "en"), sides, strict=True):
            (folder / f"{language}.{name}").write_text("\n".join(sentences), encoding="utf-8")
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", lambda self, url: folder.parents[1])
    found = load_pairs(TED, ALL)
    assert {split: sorted(zip(*pairs, strict=True)) for split, pairs in found.items()} == expected
    # It is prepared once, and read in the same order each time.
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", lambda self, url: pytest.fail(url))
    assert load_pairs(TED, ALL) == found
    assert capsys.readouterr().out == ""
