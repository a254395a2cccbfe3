"""The sentiment app as its users run it: every verb on the sample, and what it says to mistakes."""

import csv
import dataclasses
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import command_line
import matplotlib.image
import numpy as np
import pytest
import tensorflow as tf
from forked_programs import run_forked

from apps.sentiment import app
from nlp_lstm import saved_model
from nlp_lstm.datasets.known_sets import fingerprint_of_reviews
from nlp_lstm.datasets.reviews import load_reviews
from nlp_lstm.errors import UserError
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.sentiment import inference, metrics
from nlp_lstm.sentiment.build import build_classifier, load_run
from nlp_lstm.sentiment.settings import Settings
from nlp_lstm.text.words import tokenize

ROOT = Path(__file__).parents[2]

TINY = {
    "--seed": "5",
    "--vocabulary-size": "300",
    "--embedding-size": "6",
    "--units": "5",
    "--pretraining-epochs": "1",
    "--samples": "20",
    "--epochs": "2",
    "--tokens-per-batch": "1536",
    "--longest-training-text": "48",
    "--learning-rate": "0.02",
    "--adversarial-noise": "5.0",
    "--ngram-buckets": "500",
}


def train_command(run, data="sample", **changed):
    flags = {**TINY, **{f"--{name.replace('_', '-')}": value for name, value in changed.items()}}
    return ["train", "--data", str(data), "--run", str(run), *(word for flag in flags.items() for word in flag)]


Result = functools.partial(command_line.Result, "sentiment")
call = functools.partial(command_line.call, app)


def environment():
    """Nothing is set that would silence TensorFlow."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "KERAS_", "PYTEST_"))}
    return {**kept, "PYTHONPATH": str(ROOT)}


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") and min(matplotlib.image.imread(path).shape[:2]) > 100


def rows(run):
    """The lines of metrics.jsonl, less what depends on the machine's speed."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(row.pop("seconds") >= 0 and row.pop("cpu_seconds") >= 0 for row in found)
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run = tmp_path_factory.mktemp("trained") / "run"
    return run, call(*train_command(run))


@pytest.fixture(scope="module")
def run(trained):
    assert trained[1].status == 0, trained[1].err
    return trained[0]


@pytest.fixture(scope="module")
def judged(run):
    return call("evaluate", "--run", run, "--data", "sample", "--split", "test", "--plots", run / "plots", "--json")


@pytest.fixture(scope="module")
def exported(run, judged, tmp_path_factory):
    base = tmp_path_factory.mktemp("exported") / "models" / "sentiment"
    return base, call("export", "--run", run, "--to", base, "--json")


@pytest.fixture(scope="module")
def model(exported):
    return exported[0]


@pytest.fixture
def loaded_once(monkeypatch):
    """For tests of the texts and not of the model: load it at the first call alone."""
    monkeypatch.setattr(inference, "open_signatures", loaded_once_signatures)


_LOADED: dict = {}


def loaded_once_signatures(*arguments, wanted=(), _open=inference.open_signatures):
    key = (*arguments, *wanted)
    if key not in _LOADED:
        _LOADED[key] = _open(*arguments, wanted=wanted)
    return _LOADED[key]


@pytest.fixture(scope="module")
def sample_texts():
    splits = load_reviews("sample", ["train", "validation", "test"])
    texts = [record.text for records in splits.values() for record in records]
    assert len(texts) > 300
    assert not any(mark in text for text in texts for mark in "\r\n")
    return texts


class TestVerbs:
    def test_train(self, trained):
        run, result = trained
        assert result.status == 0
        assert result.out == ""
        assert "224 texts to train on" in result.err
        assert "training: Epoch 2/2" in result.err
        assert "val_accuracy" in result.err
        assert json.loads((run / "config.json").read_text()) == {
            "task": "sentiment",
            "data": "sample",
            **dataclasses.asdict(Settings()),
            **{name[2:].replace("-", "_"): json.loads(value) for name, value in TINY.items()},
            "data_sha256": fingerprint_of_reviews(load_reviews("sample", ["train", "validation"]).values()),
        }
        assert [(row["stage"], row["epoch"]) for row in rows(run)] == [
            ("pretraining", 1),
            ("head", 1),
            ("training", 1),
            ("training", 2),
            ("blend", 1),
        ]
        assert is_png(run / "curves.png")

    @pytest.mark.thorough
    def test_training_again_with_the_same_seed_gives_the_same(self, run, tmp_path):
        result = call(*train_command(tmp_path / "run"))
        assert (result.status, result.out) == (0, "")
        assert rows(tmp_path / "run") == rows(run)

    def test_training_a_finished_run_again_changes_nothing(self, run):
        before = {name: content for name, content in tree(run).items() if "weights" not in name}
        assert call(*train_command(run)).status == 0
        assert {name: content for name, content in tree(run).items() if "weights" not in name} == before

    def test_evaluate_a_run(self, run, judged, model, tmp_path):
        """The figures are those of what `predict` says of the same texts."""
        found = judged.object
        records = load_reviews("sample", ["test"])["test"]
        (tmp_path / "texts.txt").write_text("".join(f"{record.text}\n" for record in records))
        answers = call("predict", "--model", model, "--file", tmp_path / "texts.txt", "--json").objects
        lengths = tokenize(tf.constant([record.text for record in records])).row_lengths().numpy()
        scores = np.float32([answer["score"] for answer in answers])
        expected = metrics.binary_classification([record.label for record in records], scores, lengths)
        for name, value in expected.items():
            assert found[name] == (pytest.approx(value, abs=1e-6) if isinstance(value, float) else value)
        assert found["data"] == "sample"
        assert found["split"] == "test"
        assert found["examples"] == len(records) > 40
        assert json.loads((run / "evaluation-test.json").read_text()) == found
        assert sorted(path.name for path in (run / "plots").iterdir()) == ["confusion.png", "reliability.png"]
        assert all(is_png(path) for path in (run / "plots").iterdir())

    def test_export(self, exported, judged):
        base, result = exported
        assert result.object == {"version": str(base / "1")}
        assert sorted(path.name for path in base.iterdir()) == ["1", "model_card.md"]
        card = (base / "model_card.md").read_text()
        texts, accuracy = judged.object["examples"], judged.object["accuracy"]
        low, high = judged.object["accuracy_interval"]
        assert f"| test of sample ({texts} texts) | {accuracy:.4f} ({low:.4f}–{high:.4f}) |" in card
        assert "- `units`: 5\n" in card

    def test_the_next_export_is_the_next_version(self, run, model, tmp_path):
        base = tmp_path / "sentiment"
        shutil.copytree(model, base)
        before = tree(base / "1")
        assert call("export", "--run", run, "--to", base) == Result(0, f"{base / '2'}\n", "")
        assert tree(base / "1") == before
        assert sorted(path.name for path in base.iterdir()) == ["1", "2", "model_card.md"]

    def test_evaluate_what_was_exported(self, model, judged):
        found = call("evaluate", "--model", model, "--data", "sample", "--split", "test", "--json").object
        for name in set(found) - {"seconds", "texts_per_second"}:
            assert found[name] == (
                pytest.approx(judged.object[name], abs=1e-6) if isinstance(found[name], float) else judged.object[name]
            )

    def test_evaluate_in_plain_text(self, model, judged):
        result = call("evaluate", "--model", model / "1", "--data", "sample", "--split", "test")
        assert (result.status, result.err) == (0, "")
        found = {line.split()[0]: line.split()[1] for line in result.out.splitlines()}
        assert f"accuracy                    {judged.object['accuracy']:.4f}\n" in result.out
        assert found["roc_auc"] == f"{judged.object['roc_auc']:.4f}"
        assert found["examples"] == str(judged.object["examples"])
        (row,) = judged.object["accuracy_by_length"]
        assert f"  0-100  {row['accuracy']:.4f}  ({row['examples']} texts)\n" in result.out

    def test_run_and_export_say_the_same_of_every_text(self, run, model, sample_texts):
        content = "".join(f"{text}\n" for text in sample_texts).encode()
        of_run = call("predict", "--run", run, "--json", stdin=content).objects
        of_model = call("predict", "--model", model, "--json", stdin=content).objects
        assert [answer["text"] for answer in of_run] == [answer["text"] for answer in of_model] == sample_texts
        assert [answer["label"] for answer in of_run] == [answer["label"] for answer in of_model]
        scores = np.array([[a["score"], b["score"]] for a, b in zip(of_run, of_model, strict=True)])
        assert scores.std(axis=0).min() > 1e-3  # or equality would say nothing
        np.testing.assert_allclose(scores[:, 0], scores[:, 1], rtol=0, atol=1e-6)

    def test_help(self, monkeypatch):
        monkeypatch.setenv("COLUMNS", "200")
        for verb in ("train", "evaluate", "pairs", "predict", "explain", "export"):
            result = call(verb, "--help")
            assert (result.status, result.err) == (0, "")
            assert f"Usage: sentiment {verb}" in result.out
            assert verb in call("--help").out
        shown = call("train", "--help").out
        for field in dataclasses.fields(Settings):
            assert f"--{field.name.replace('_', '-')} " in shown


class TestFilesOfPeople:
    """Tables as Kaggle, Excel and Sentiment140 write them, and texts from Windows."""

    @pytest.mark.usefixtures("loaded_once")
    def test_all_of_a_table(self, model, sample_texts, tmp_path):
        table = tmp_path / "kaggle.csv"
        with table.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["review", "sentiment"])
            writer.writerows([text, ["negative", "positive"][at % 2]] for at, text in enumerate(sample_texts))
        command = ["evaluate", "--model", model, "--data", table, "--json"]
        result = call(*command, "--text-column", "review", "--label-column", "sentiment", "--split", "all")
        assert result.object["examples"] == len(sample_texts) and result.err == ""
        assert result.object["split"] == "all"
        scores = [answer["score"] for answer in call("predict", "--model", model, "--json", *sample_texts).objects]
        right = sum((score > 0.5) == at % 2 for at, score in enumerate(scores))
        assert result.object["accuracy"] == pytest.approx(right / len(sample_texts))
        result = call(*command)
        assert 0 < result.object["examples"] < len(sample_texts) / 5
        assert result.err == (
            f"{str(table)!r}: judging {result.object['examples']} of {len(sample_texts)} rows with a label, the part "
            "cut off for the split 'validation': --split all judges every row\n"
        )
        assert call(*command, "--text-column", "body").is_mistake("'body'", "'review', 'sentiment'", "--text-column")
        assert call(*command, "--no-header").is_mistake("--text-column", "1 to 2")

    def test_a_run_is_judged_on_tables_like_its_own(self, sample_texts, tmp_path):
        table, run = tmp_path / "tweets.csv", tmp_path / "run"
        quoted = [text.replace('"', '""') for text in sample_texts]
        lines = "".join(f'"{at % 3}";"7";"{text} „é“"\r\n' for at, text in enumerate(quoted))
        table.write_bytes(("sep=;\r\n" + lines).encode("cp1252", "replace"))
        how = {"encoding": "cp1252", "text_column": "3", "label_column": "1", "labels": "0=negative,2=positive"}
        command = [*train_command(run, table, **how, pretraining_epochs=0, epochs=1, ngram_buckets=0), "--no-header"]
        result = call(*command)
        assert result.status == 0, result.err
        left_out = sum(at % 3 == 1 for at in range(len(sample_texts)))
        assert f"{left_out} of {len(sample_texts)} rows are left out" in result.err and "semicolons" in result.err
        assert {**how, "header": False}.items() <= json.loads((run / "config.json").read_text()).items()
        assert "é" in (run / "vocabulary.txt").read_text(encoding="utf-8")
        assert [row["stage"] for row in rows(run)] == ["head", "training", "calibration"]
        names = [path.name for path in (run / "checkpoints").iterdir()]
        assert "training-best.weights.h5" in names and not any("pretraining" in name for name in names)
        found = call("evaluate", "--run", run, "--data", table, "--split", "all", "--json").object
        assert found["examples"] == len(sample_texts) - left_out
        other = a_table(tmp_path / "other.csv", *((f"fine {at}", at % 2) for at in range(50)))
        command = ["evaluate", "--run", run, "--data", other, "--split", "all", "--json"]
        assert call(*command).is_mistake("no column '3'")
        flags = ["--header", "--text-column", "text", "--label-column", "", "--labels", "", "--encoding", ""]
        assert call(*command, *flags).object["examples"] == 50

    @pytest.mark.usefixtures("loaded_once")
    @pytest.mark.parametrize("verb", ["predict", "explain"])
    def test_encodings_of_lines(self, model, tmp_path, verb):
        path, text = tmp_path / "texts.txt", "„Très réussi“ – déjà vu…\r\nfine\r\n"
        expected = call(verb, "--model", model, "--json", *text.split("\r\n")[:2]).objects
        for encoding, flags in (("utf-16", ()), ("utf-8-sig", ()), ("cp1252", ("--encoding", "cp1252"))):
            path.write_bytes(text.encode(encoding))
            for result in (
                call(verb, "--model", model, "--json", "--file", path, *flags),
                call(verb, "--model", model, "--json", *flags, stdin=path.read_bytes()),
            ):
                assert result.err == ""
                assert [answer["text"] for answer in result.objects] == [answer["text"] for answer in expected]
                assert [answer["label"] for answer in result.objects] == [answer["label"] for answer in expected]
        result = call(verb, "--model", model, "--json", "--file", path)
        assert "line 1: here is the first of" in result.err and "\ufffd" in result.objects[0]["text"]
        assert call(verb, "--model", model, "--file", path, "--encoding", "cp9").is_mistake("'cp9'", "cp1252")
        path.write_bytes(text.encode("utf-16-be"))
        assert call(verb, "--model", model, "--file", path).is_mistake("--encoding utf-16-be")


@pytest.mark.usefixtures("loaded_once")
class TestPredict:
    def test_arguments_in_their_order(self, model):
        texts = ["One of the best films.", "", "It was dull, dull, dull.", "One of the best films."]
        answers = call("predict", "--model", model, "--json", *texts).objects
        assert [answer["text"] for answer in answers] == texts
        assert all(set(answer) == {"text", "label", "score"} for answer in answers)
        assert answers[0] == answers[3]
        assert answers[0]["score"] != answers[2]["score"]
        assert all(answer["label"] == ("positive" if answer["score"] > 0.5 else "negative") for answer in answers)
        plain = call("predict", "--model", model, *texts)
        assert plain == Result(0, "".join(f"{a['label']}  {a['score']:.3f}  {a['text']}\n" for a in answers), "")

    def test_an_argument_that_begins_with_a_dash(self, model):
        assert call("predict", "--model", model, "--json", "--", "-5 stars").object["text"] == "-5 stars"

    @pytest.mark.parametrize("source", ["--file", "stdin"])
    def test_lines(self, model, tmp_path, source):
        """With a byte order mark, both line ends, empty lines, what is no UTF-8, and no end at the last line."""
        content = b"\xef\xbb\xbfA dull film.\r\n\r\n\nA fine\x00film\n\xff\xfe caf\xe9\n  \n\xf0\x9f\x98\x80\nlast"
        (tmp_path / "texts.txt").write_bytes(content)
        where = ["--file", tmp_path / "texts.txt"] if source == "--file" else []
        answers = call("predict", "--model", model, "--json", *where, stdin=content if not where else b"").objects
        assert [answer["text"] for answer in answers] == [
            *("A dull film.", "", "", "A fine\x00film", "\ufffd\ufffd caf\ufffd", "  ", "😀", "last")
        ]
        alone = call("predict", "--model", model, "--json", "A dull film.", "").objects
        assert answers[:2] == [{**answer, "score": pytest.approx(answer["score"], abs=1e-6)} for answer in alone]

    @pytest.mark.parametrize(
        "text",
        ["", "😀", "qwxz zxqw", "映画は最高", "\udcff\udc80 film", "\n", "x" * 2**20, "dull " * 2**18],
        ids=["empty", "emoji", "unknown words", "Japanese", "no UTF-8", "line end", "one word", "many words"],
    )
    def test_every_text_gets_an_answer(self, model, text):
        answer = call("predict", "--model", model, "--json", text).object
        assert answer["text"] == os.fsencode(text).decode("utf-8", "replace")
        assert 0 <= answer["score"] <= 1
        assert answer["label"] == ("positive" if answer["score"] > 0.5 else "negative")

    def test_ten_thousand_lines(self, model, sample_texts, monkeypatch):
        texts = [f"{sample_texts[number % 20]} {number}" for number in range(10_000)]
        batches = []
        opened = loaded_once_signatures(model, None, "serving_default")["serving_default"]

        def signature(text):
            batches.append(len(text))
            return opened(text=text)

        monkeypatch.setattr(inference, "open_signature", lambda *_: signature)
        answers = call("predict", "--model", model, "--json", stdin="\n".join(texts).encode()).objects
        assert [answer["text"] for answer in answers] == texts
        assert max(batches) <= 100
        assert sum(batches) == 10_000
        some = [0, 5000, 9999]
        alone = call("predict", "--model", model, "--json", *(texts[number] for number in some)).objects
        for number, answer in zip(some, alone, strict=True):
            assert answers[number]["score"] == pytest.approx(answer["score"], abs=1e-6)


@pytest.mark.usefixtures("loaded_once")
class TestPairs:
    @pytest.fixture
    def file(self, tmp_path):
        """One pair that the model tells apart, whichever of these texts it takes for better, and the same turned."""
        path = tmp_path / "pairs.jsonl"

        def write(better, worse):
            pairs = [("negation", better, worse), ("intensity", better, worse), ("negation", worse, better)]
            rows = [{"kind": kind, "positive": one, "negative": other} for kind, one, other in pairs]
            path.write_text("\n".join(json.dumps(row) for row in rows))
            return path

        return write

    def test_figures(self, model, run, file, sample_texts):
        answers = call("predict", "--model", model, "--json", *sample_texts[:20]).objects
        scores = {answer["text"]: answer["score"] for answer in answers}
        better, worse = max(scores, key=scores.get), min(scores, key=scores.get)
        assert scores[better] - scores[worse] > 1e-3
        path = file(better, worse)
        found = call("pairs", "--model", model, "--data", path, "--json").object
        right = float(scores[better] > 0.5 >= scores[worse])
        assert (found["pairs"], found["higher"], found["both_right"]) == (3, pytest.approx(2 / 3), right / 2)
        assert [row["kind"] for row in found["by_kind"]] == ["negation", "intensity"]
        (wrong,) = found["wrong"]
        assert wrong["scores"] == pytest.approx([scores[worse], scores[better]], abs=1e-6)
        lines = call("pairs", "--model", model, "--data", path).lines
        assert [line.split() for line in lines[1:4]] == [
            ["negation", "2", "0.5000", f"{right / 2:.4f}"],
            ["intensity", "1", "1.0000"],
            ["all", "3", "0.6667", f"{right / 2:.4f}"],
        ]
        assert lines[4:] == [f"not higher: {scores[worse]:.3f} {worse}  {scores[better]:.3f} {better}"]
        assert call("pairs", "--run", run, "--data", path).lines == lines

    def test_a_file_that_is_not_there(self, model, tmp_path):
        assert call("pairs", "--model", model, "--data", tmp_path / "none").is_mistake("none", "No such file")


@pytest.mark.usefixtures("loaded_once")
class TestExplain:
    TEXT = "One of the best films; it isn't dull."

    def test_json(self, model):
        found = call("explain", "--model", model, "--json", self.TEXT).object
        words = [token.decode() for token in tokenize(tf.constant([self.TEXT])).to_list()[0]]
        assert found["text"] == self.TEXT
        assert found["tokens"] == ["<s>", *words, "</s>"]
        assert sum(found["polarity"]) + found["bias"] == pytest.approx(found["logit"], abs=1e-5)
        assert found["score"] == pytest.approx(1 / (1 + np.exp(-found["logit"])), abs=1e-6)
        assert np.ptp(found["polarity"]) > 1e-3
        gates = [f"{way}_{gate}" for way in ("forward", "backward") for gate in ("input", "forget", "output")]
        for name in ("polarity", *gates):
            assert len(found[name]) == len(found["tokens"])
        assert all(0 < value < 1 for name in gates for value in found[name])
        one_a_text = {"text", "label", "score", "logit", "bias"}
        assert set(found) == {*one_a_text, "tokens", "polarity", "prefix_scores", *gates}
        answer = call("predict", "--model", model, "--json", self.TEXT).object
        assert answer["label"] == found["label"]
        assert answer["score"] == pytest.approx(found["score"], abs=1e-6)

    def test_p_of_each_beginning(self, model):
        words = ["it", "isn't", "a", "dull", "film", "."]
        found = call("explain", "--model", model, "--json", " ".join(words)).object["prefix_scores"]
        beginnings = [" ".join(words[:count]) for count in (0, 1, 2, 3, 4, 5, 6, 6)]
        expected = [answer["score"] for answer in call("predict", "--model", model, "--json", *beginnings).objects]
        np.testing.assert_allclose(found, expected, atol=2e-6)
        lines = [line.split("│")[1:5] for line in call("explain", "--model", model, " ".join(words)).lines]
        assert [line[3].strip() for line in lines if line] == [f"{score:.3f}" for score in found]

    def test_of_a_long_text_some_beginnings_have_none(self, model):
        found = call("explain", "--model", model, "--json", "dull " * 600).object["prefix_scores"]
        assert [place for place, score in enumerate(found) if score is not None] == [*range(0, 601, 3), 601]
        assert all(0 < score < 1 for score in found if score is not None)

    @pytest.mark.parametrize("flags", [[], ["--count", "2"]])
    def test_units(self, model, tmp_path, flags):
        found = call("explain", "--model", model, "--json", "--units", *flags, self.TEXT).object
        count = 2 if flags else 5
        assert len(found["units"]) == count
        parts = [*(unit["share"] for unit in found["units"]), found["other_units"], found["ngrams"], found["bias"]]
        assert sum(parts) == pytest.approx(found["logit"], abs=1e-5)
        for unit in found["units"]:
            assert set(unit) == {"direction", "unit", "share", "peak", "state"}
            assert max(unit["state"]) == unit["state"][unit["peak"]]
        plot = tmp_path / "units.png"
        out = call("explain", "--model", model, "--units", *flags, "--plot", plot, self.TEXT).text
        lines = [line.split("│")[1:5] for line in out.splitlines() if line.startswith("│")][len(found["tokens"]) :]
        arrows = {"forward": "→", "backward": "←"}
        assert [[line[0].strip(), line[1].strip(), line[3].strip()] for line in lines[:count]] == [
            [
                f"{arrows[unit['direction']]} {unit['unit']}",
                f"{unit['share']:+.3f}",
                found["tokens"][unit["peak"]],
            ]
            for unit in found["units"]
        ]
        assert [line[0].strip() for line in lines[count:]] == ["other units", "n-grams", "bias"]
        without = tmp_path / "without.png"
        assert call("explain", "--model", model, "--plot", without, self.TEXT).status == 0
        heights = [matplotlib.image.imread(path).shape[0] for path in (plot, without)]
        assert heights[0] > heights[1]

    @pytest.mark.parametrize("count", ["0", "17", "-1"])
    def test_a_count_of_units_that_is_refused(self, model, count):
        assert call("explain", "--model", model, "--units", "--count", count, "a").is_mistake("--count", "1 to 16")

    def test_a_model_of_before_there_were_prefixes_and_units(self, model, monkeypatch):
        found = call("explain", "--model", model, "--json", self.TEXT, "a film").objects

        def of_before(*arguments, wanted=()):
            return loaded_once_signatures(*arguments)

        monkeypatch.setattr(inference, "open_signatures", of_before)
        result = call("explain", "--model", model, "--json", self.TEXT, "a film")
        (told,) = result.err.splitlines()
        assert str(model) in told
        assert "export its run again" in told
        assert result.objects == [
            {name: value for name, value in answer.items() if name != "prefix_scores"} for answer in found
        ]
        assert "P so far" not in call("explain", "--model", model, self.TEXT).out
        assert call("explain", "--model", model, "--units", self.TEXT).is_mistake(model, "--units", "export")

    def test_an_object_a_line(self, model):
        texts = ["A fine film.", "", "😀 qwxz", "\udcff"]
        found = call(
            "explain", "--model", model, "--json", stdin=b"A fine film.\n\n\xf0\x9f\x98\x80 qwxz\n\xff"
        ).objects
        assert [answer["text"] for answer in found] == [*texts[:3], "\ufffd"]
        assert found[1]["tokens"] == ["<s>", "</s>"]
        assert found[2]["tokens"] == ["<s>", "😀", "qwxz", "</s>"]

    def test_table_and_picture(self, model, tmp_path):
        found = call("explain", "--model", model, "--json", self.TEXT).object
        result = call("explain", "--model", model, "--plot", tmp_path / "new" / "gates.PNG", self.TEXT)
        assert (result.status, result.err) == (0, "")
        lines = [line.split("│")[1:3] for line in result.out.splitlines() if line.startswith("│")]
        assert [token.strip() for token, _ in lines] == found["tokens"]
        assert [share.strip() for _, share in lines] == [f"{share:+.3f}" for share in found["polarity"]]
        assert f"{found['label']}  P(positive) = {found['score']:.3f}  bias {found['bias']:+.3f}" in result.out
        assert is_png(tmp_path / "new" / "gates.PNG")
        assert os.listdir(tmp_path / "new") == ["gates.PNG"]

    def test_a_run(self, run, model):
        of_run = call("explain", "--run", run, "--json", self.TEXT).object
        of_model = call("explain", "--model", model, "--json", self.TEXT).object
        assert of_run.keys() == of_model.keys()
        for name, value in of_model.items():
            if name not in ("text", "label", "tokens"):
                np.testing.assert_allclose(of_run[name], value, atol=1e-6)

    @pytest.mark.parametrize("verb", ["predict", "explain"])
    def test_controls_of_a_text_are_told_and_not_obeyed(self, model, verb):
        text = "a\x07b \x1b[31mred\x1b[0m \x9b1m c\rd \u202eon \u2066x"
        out = call(verb, "--model", model, text).text
        assert not set(out) & set("\x07\x1b\x9b\r\u202e\u2066")
        assert ("␛[31mred" if verb == "predict" else "31mred") in out  # tokens hold no controls
        assert call(verb, "--model", model, "--json", text).object["text"] == text

    def test_a_megabyte(self, model):
        found = call("explain", "--model", model, "--json", "dull " * 2**18).object
        assert found["tokens"] == ["<s>", *["dull"] * 1024, "</s>"]

    def test_pictures_that_are_refused(self, model, tmp_path):
        plot = tmp_path / "gates.png"
        assert call("explain", "--model", model, "--plot", plot, "a", "b").is_mistake("--plot", "got 2")
        assert call("explain", "--model", model, "--plot", tmp_path / "gates.pdf", "a").is_mistake("gates.pdf", ".png")
        (tmp_path / "file").write_text("mine")
        assert call("explain", "--model", model, "--plot", tmp_path / "file" / "a.png", "a").is_mistake("file/a.png")
        plot.mkdir()
        assert call("explain", "--model", model, "--plot", plot, "a").is_mistake("gates.png", "directory")
        assert tree(tmp_path) == {"file": b"mine", "gates.png": None}


def a_table(path, *table):
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in table))
    return path


class TestBadData:
    @pytest.fixture
    def sources(self, tmp_path):
        """Sources by name, and what must be said of each."""
        made = tmp_path / "made"
        made.mkdir()
        (made / "empty.csv").write_text("")
        (made / "empty").mkdir()
        (made / "plain.txt").write_text("text")
        texts = [f"text {number}" for number in range(40)]
        packed = made / "aclImdb.tar.xz"
        folder = tmp_path / "aclImdb"
        for name in ("train/pos", "train/neg", "test/pos", "test/neg"):
            (folder / name).mkdir(parents=True)
            for number in range(20):
                noise = np.random.default_rng(number).bytes(2000).hex()  # or xz would pack it into a single block
                (folder / name / f"{number}_5.txt").write_text(f"review {number} {noise}")
        whole = shutil.make_archive(str(tmp_path / "whole"), "xztar", tmp_path, "aclImdb")
        packed.write_bytes(Path(whole).read_bytes()[:-40_000])
        return {
            made / "none.csv": ("none.csv", "no such file"),
            made / "empty.csv": ("empty.csv", "is empty"),
            made / "empty": ("empty", "holds no reviews"),
            made / "plain.txt": ("plain.txt", "no known kind"),
            a_table(made / "one.csv", *((text, 1) for text in texts)): ("one.csv", "no negative text"),
            a_table(made / "odd.csv", ("a", 1), ("b", 7)): ("odd.csv", "line 3", "'7'"),
            a_table(made / "few.csv", ("a", 1)): ("few.csv",),
            packed: ("aclImdb.tar.xz", "cannot read"),
        }

    def test_train_and_evaluate(self, sources, tmp_path, model, loaded_once):
        before = tree(tmp_path / "made")
        for source, told in sources.items():
            assert call(*train_command(tmp_path / "run", source)).is_mistake(*told)
            assert not (tmp_path / "run").exists()
            assert call(
                "evaluate", "--model", model, "--data", source, "--plots", tmp_path / "plots", "--json"
            ).is_mistake(*told)
            assert not (tmp_path / "plots").exists()
        assert tree(tmp_path / "made") == before

    def test_a_split_without_labels(self, model, tmp_path, loaded_once):
        source = a_table(tmp_path / "a.csv", *((f"{number}", ["", 0, 1][number % 3]) for number in range(90)))
        for data in ("sample", source):
            result = call("evaluate", "--model", model, "--data", data, "--split", "unlabelled", "--json")
            assert result.is_mistake("unlabelled", data, "--split")

    def test_a_split_that_is_none(self):
        assert call("evaluate", "--data", "sample", "--split", "tset").is_mistake("--split", "tset", "test")

    def test_plots(self, model, tmp_path, loaded_once):
        (tmp_path / "file").write_text("mine")
        for plots in (tmp_path / "file", tmp_path / "file" / "plots"):
            result = call("evaluate", "--model", model, "--data", "sample", "--plots", plots)
            assert result.is_mistake("--plots", plots)
        assert tree(tmp_path) == {"file": b"mine"}


class TestBadSettings:
    @pytest.mark.parametrize(
        ("flag", "value", "accepted"),
        [
            *(("--seed", value, "0 to 2147483647") for value in ("-1", "2147483648")),
            *(("--validation-fraction", value, "less than 1") for value in ("2", "1", "-0.1", "nan")),
            *(("--vocabulary-size", value, "4 to 65536") for value in ("0", "3", "65537")),
            ("--least-count", "0", "at least 1"),
            ("--embedding-size", "0", "at least 1"),
            *(("--units", value, "at least 1") for value in ("0", "-3")),
            *(("--word-dropout", value, "less than 1") for value in ("1", "-0.5")),
            *(("--dropout", value, "at least 0 and less than 1") for value in ("1.5", "nan")),
            ("--recurrent-dropout", "inf", "less than 1"),
            ("--pooled-dropout", "1.0", "less than 1"),
            ("--pretraining-epochs", "-1", "at least 0"),
            *(("--pretraining-passes", value, "finite") for value in ("0", "nan", "inf")),
            ("--pretraining-learning-rate", "-1", "above 0"),
            *(("--lstm-rate-share", value, "finite") for value in ("0", "nan")),
            ("--embedding-rate-share", "-1", "above 0"),
            ("--averaging", "1", "less than 1"),
            *(("--adversarial-noise", value, "at least 0") for value in ("-1", "inf", "nan")),
            ("--snippets", "1.5", "0 to 1"),
            ("--teacher-order", "-1", "at least 0"),
            ("--samples", "0", "at least 1"),
            *(("--epochs", value, "at least 1") for value in ("0", "-2")),
            ("--patience", "0", "at least 1"),
            *(("--learning-rate", value, "a finite number above 0") for value in ("-1", "0", "nan", "inf")),
            ("--tokens-per-batch", "0", "at least 1"),
            ("--longest-training-text", "0", "at least 1"),
            ("--clip-norm", "0", "above 0"),
            *(("--final-rate-share", value, "0 to 1") for value in ("1.1", "-1", "nan")),
        ],
    )
    def test_out_of_range(self, tmp_path, flag, value, accepted):
        result = call("train", "--data", "sample", "--run", tmp_path / "run", flag, value)
        shown = value if isinstance(getattr(Settings(), flag[2:].replace("-", "_")), int) else float(value)
        assert result.is_mistake(f"{flag} is {shown}: expected", accepted)
        assert not (tmp_path / "run").exists()

    def test_the_edges_are_taken(self):
        Settings(seed=0, validation_fraction=0.0, vocabulary_size=4, least_count=1, embedding_size=1, units=1)
        Settings(samples=1, epochs=1, patience=1, tokens_per_batch=1, longest_training_text=1)
        Settings(dropout=0.0, pooled_dropout=0.999, pretraining_epochs=0, final_rate_share=0.0)
        settings = Settings(seed=2**31 - 1, final_rate_share=1.0, units=2, embedding_size=2)
        assert np.isfinite(build_classifier(settings, 9)(np.array([[2, 5, 2]]), training=True)).all()

    def test_as_a_library(self):
        with pytest.raises(UserError, match="--units is 0: expected at least 1"):
            Settings(units=0)

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["--unit", "3"], "--unit"),
            (["--units", "many"], "many"),
            (["--dropout"], "--dropout"),
            (["--epochs", ""], "--epochs"),
            (["words"], "words"),
        ],
    )
    def test_flags_that_cannot_be_read(self, tmp_path, arguments, told):
        assert call("train", "--data", "sample", "--run", tmp_path / "run", *arguments).is_mistake(told)
        assert not (tmp_path / "run").exists()

    def test_flags_that_are_missing(self, tmp_path):
        assert call("train", "--data", "sample").is_mistake("--run")
        assert call("train", "--run", tmp_path / "run").is_mistake("--data")
        assert call("evaluate").is_mistake("--data")
        assert call("export").is_mistake("--run")


class TestBadFolders:
    def test_runs_that_training_refuses(self, run, tmp_path):
        (tmp_path / "file").write_text("mine")
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "novel.txt").write_text("mine")
        before = tree(tmp_path)
        assert call(*train_command(tmp_path / "file")).is_mistake("file", "--run")
        assert call(*train_command(tmp_path / "file" / "run")).is_mistake("file/run", "--run")
        assert call(*train_command(tmp_path / "folder")).is_mistake("folder", "is no run")
        assert tree(tmp_path) == before
        before = tree(run)
        assert call(*train_command(run, units="6", epochs="9")).is_mistake("other settings (epochs, units)", run)
        assert tree(run) == before

    @pytest.fixture
    def bad_runs(self, run, tmp_path):
        """Runs by folder, and what must be said of each."""

        def copy(name, **changed):
            folder = tmp_path / "runs" / name
            shutil.copytree(run, folder, ignore=shutil.ignore_patterns("tensorboard", "checkpoints", "plots"))
            config = {**json.loads((folder / "config.json").read_text()), **changed}
            (folder / "config.json").write_text(
                json.dumps({key: value for key, value in config.items() if value is not None})
            )
            return folder

        (copy("unfinished") / "model.weights.h5").unlink()
        (copy("not hdf5") / "model.weights.h5").write_bytes(b"PK\x03\x04 nothing")
        content = (run / "model.weights.h5").read_bytes()
        (copy("cut") / "model.weights.h5").write_bytes(content[: len(content) // 2])
        (copy("no words") / "vocabulary.txt").unlink()
        (copy("list") / "config.json").write_text("[]")
        (copy("half") / "config.json").write_text('{"task": "senti')
        (tmp_path / "runs" / "empty").mkdir()
        (tmp_path / "runs" / "file").write_text("")
        copy("other size", units=6)
        copy("other task", task="translation")
        copy("texts for numbers", units="five")
        copy("out of range", units=0)
        told = {
            "unfinished": "not finished",
            "not hdf5": "is damaged",
            "cut": "is damaged",
            "no words": "is damaged",
            "list": "no training run",
            "half": "no training run",
            "empty": "no training run",
            "file": "no training run",
            "none": "no training run",
            "other size": "is damaged",
            "other task": "no run of a sentiment classifier",
            "texts for numbers": "is damaged",
            "out of range": "--units is 0",
        }
        return {tmp_path / "runs" / name: said for name, said in told.items()}

    def test_runs_that_cannot_be_used(self, bad_runs, tmp_path):
        before = tree(tmp_path)
        for run, told in bad_runs.items():
            assert call("predict", "--run", run, "a film").is_mistake(run, told)
            assert call("export", "--run", run, "--to", tmp_path / "models").is_mistake(run, told)
        run = tmp_path / "runs" / "unfinished"
        assert call("explain", "--run", run, "a film").is_mistake("not finished")
        assert call("evaluate", "--run", run, "--data", "sample").is_mistake("not finished")
        assert tree(tmp_path) == before

    def test_models_that_cannot_be_used(self, model, tmp_path):
        (tmp_path / "file").write_text("")
        (tmp_path / "empty").mkdir()
        (tmp_path / "versions" / "1").mkdir(parents=True)
        shutil.copytree(model / "1", tmp_path / "damaged" / "1")
        (tmp_path / "damaged" / "1" / "saved_model.pb").write_bytes(b"no protocol buffer")
        shutil.copytree(model / "1", tmp_path / "without weights")
        shutil.rmtree(tmp_path / "without weights" / "variables")
        tf.saved_model.save(tf.Module(), str(tmp_path / "other"))
        for name, told in {
            "none": "no model at",
            "file": "is no model",
            "empty": "is no model",
            "versions": "is no model",
            "damaged": "cannot load the model",
            "without weights": "cannot load the model",
            "other": "no signature",
        }.items():
            assert call("predict", "--model", tmp_path / name, "a film").is_mistake(tmp_path / name, told)
        assert call("explain", "--model", tmp_path / "none", "a").is_mistake("no model")
        assert call("evaluate", "--model", tmp_path / "none", "--data", "sample").is_mistake("no model")

    def test_targets_that_export_refuses(self, run, tmp_path):
        (tmp_path / "file").write_text("mine")
        assert call("export", "--run", run, "--to", tmp_path / "file").is_mistake(tmp_path / "file", "--to")
        assert call("export", "--run", run, "--to", tmp_path / "file" / "models").is_mistake("file/models", "--to")
        assert tree(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize("verb", ["predict", "explain"])
def test_texts_that_are_not_there(verb, tmp_path):
    """Told before the model is looked at."""
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "texts.txt").write_text("a\n")
    model = ["--model", tmp_path / "none"]
    assert call(verb, *model, "--file", tmp_path / "none.txt").is_mistake("none.txt", "No such file")
    assert call(verb, *model, "--file", tmp_path / "empty.txt").is_mistake("empty.txt", "empty")
    assert call(verb, *model, "--file", tmp_path).is_mistake(tmp_path, "directory")
    assert call(verb, *model, "--file", tmp_path / "texts.txt", "a").is_mistake("not both")
    assert call(verb, *model, stdin=b"").is_mistake("standard input is empty")
    assert call(verb, *model, stdin=b"a\n", terminal=True).is_mistake("no text")


@dataclasses.dataclass(frozen=True)
class Programs:
    """What became of calls as a program, and where they were told to work."""

    folder: Path
    results: dict[str, Result]


@pytest.fixture(scope="module")
def programs(model, run, tmp_path_factory):
    """All calls as a program but one: a start takes seconds."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "output").mkdir()
    shutil.copytree(model / "1", folder / "damaged" / "1")
    data = folder / "damaged" / "1" / "variables" / "variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:10])
    (folder / "data").mkdir()
    (folder / "data" / "a.tar.xz").write_bytes(b"\xfd7zXZ\x00 nothing")
    # In the middle of the second epoch of the second stage.
    first_epoch = str(folder / "run" / "checkpoints" / "training-0001.weights.h5")
    when = f"arguments[1] == 3 and os.path.exists({first_epoch!r})"
    calls = {
        "damaged model": (["predict", "--model", folder / "damaged", "a film"], None),
        "bad data": (["train", "--data", folder / "data" / "a.tar.xz", "--run", folder / "data" / "run"], None),
        "killed training": (
            train_command(folder / "run"),
            ["nlp_lstm.training:_NanGuard", "on_train_batch_end", when],
        ),
        # When the graph and the weights are written, and the warm-up requests are not.
        "killed export": (
            ["export", "--run", run, "--to", folder / "sentiment"],
            ["nlp_lstm.saved_model", "write_warm_up", "True"],
        ),
    }
    program = ROOT / "apps" / "sentiment.py"
    found = run_forked(program, list(calls.values()), folder / "output", environment())
    return Programs(folder, {name: Result(*result) for name, result in zip(calls, found, strict=True)})


@pytest.mark.thorough
class TestAsAProgram:
    def test_a_damaged_model_is_one_line(self, programs):
        path = programs.folder / "damaged" / "1"
        assert programs.results["damaged model"].is_mistake("cannot load the model", path)

    def test_bad_data_is_one_line(self, programs):
        assert programs.results["bad data"].is_mistake("cannot read", "a.tar.xz")
        assert os.listdir(programs.folder / "data") == ["a.tar.xz"]

    def test_json_alone_on_standard_output_and_a_reader_that_leaves_early(self, model):
        """Ten thousand lines come in, two are read, and nobody complains but of what is not UTF-8."""
        lines = b"\xff caf\xe9 film\n" + b"a fine film\n" * 9_999
        command = '"$@" | head -n 2; echo "${PIPESTATUS[0]}"'
        program = [sys.executable, ROOT / "apps" / "sentiment.py", "predict", "--json", "--model", model]
        environ = {**environment(), "LC_ALL": "POSIX", "PYTHONIOENCODING": "latin-1"}
        done = subprocess.run(
            ["bash", "-c", command, "bash", *program], input=lines, capture_output=True, env=environ, timeout=240
        )
        (told,) = done.stderr.decode("utf-8").splitlines()
        assert "line 1" in told
        assert "--encoding" in told
        first, second, status = done.stdout.decode("utf-8").splitlines()
        assert json.loads(first)["text"] == "\ufffd caf\ufffd film"
        assert json.loads(second)["text"] == "a fine film"
        assert status == "0"


@pytest.mark.thorough
class TestKilled:
    def test_training_goes_on_where_it_was_killed(self, run, programs):
        killed = programs.folder / "run"
        command = train_command(killed)
        assert programs.results["killed training"].status == -signal.SIGKILL, programs.results["killed training"].err
        assert [(row["stage"], row["epoch"]) for row in rows(killed)] == [
            ("pretraining", 1),
            ("head", 1),
            ("training", 1),
        ]
        assert call("predict", "--run", killed, "a film").is_mistake("not finished", "train command again")
        result = call(*command)
        assert (result.status, result.out) == (0, "")
        assert "training: going on after epoch 1 of 2" in result.err
        assert rows(killed) == rows(run)
        names = {name for name in tree(run) if not name.startswith(("tensorboard", "plots", "evaluation", "pairs"))}
        # What a kill leaves behind begins with a dot.
        assert names == {name for name in tree(killed) if not name.startswith(("tensorboard", "."))}
        found, expected = (load_run(RunFolder(path))[0].get_weights() for path in (killed, run))
        assert len(found) > 5
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_export_leaves_no_half_version(self, run, model, programs):
        base = programs.folder / "sentiment"
        command = ["export", "--run", run, "--to", base]
        assert programs.results["killed export"].status == -signal.SIGKILL, programs.results["killed export"].err
        assert [path.name for path in base.glob(".1.*/1/saved_model.pb")] == ["saved_model.pb"]
        assert saved_model.versions(base) == []
        assert [name for name in os.listdir(base) if not name.startswith(".")] == []
        assert call("predict", "--model", base, "a film").is_mistake("is no model")
        assert call(*command) == Result(0, f"{base / '1'}\n", "")
        found = call("predict", "--model", base, "--json", "a fine film").object
        expected = call("predict", "--model", model, "--json", "a fine film").object
        assert found == {**expected, "score": pytest.approx(expected["score"], abs=1e-6)}
