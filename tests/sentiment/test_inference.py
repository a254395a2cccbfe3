"""Using a model: batches that keep the order, evaluation, and what it costs when something cannot be written."""

import gc
import json

import numpy as np
import pytest
import tensorflow as tf

from nlp_lstm.datasets.review_records import LabelledText
from nlp_lstm.datasets.review_table import TableFormat
from nlp_lstm.errors import UserError
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.sentiment import inference
from nlp_lstm.sentiment.build import build_classifier
from nlp_lstm.sentiment.metrics import binary_classification
from nlp_lstm.sentiment.settings import Settings
from nlp_lstm.text.words import tokenize


class Counting:
    """A signature that answers with each text's length, and remembers its batches."""

    def __init__(self):
        self.batches = []

    def __call__(self, text):
        self.batches.append(text.numpy().tolist())
        length = tf.strings.length(text)
        return {"length": length, "pair": tf.stack([length, -length], axis=1), "label": text}


class TestPredict:
    @pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 1000])
    def test_answers_stand_in_the_order_of_the_texts(self, count):
        rng = np.random.default_rng(count)
        texts = [b"x" * length + b"%d" % number for number, length in enumerate(rng.integers(0, 40, count))]
        answer = inference.predict(Counting(), texts)
        assert answer["label"].tolist() == texts
        assert answer["length"].tolist() == [len(text) for text in texts]
        assert answer["pair"].tolist() == [[len(text), -len(text)] for text in texts]

    def test_batches_are_bounded_and_of_like_length(self):
        rng = np.random.default_rng(0)
        texts = [b"x" * length for length in rng.integers(0, 10_000, 1000)]
        signature = Counting()
        inference.predict(signature, texts)
        assert sorted(text for batch in signature.batches for text in batch) == sorted(texts)
        assert max(map(len, signature.batches)) <= inference.TEXTS_IN_BATCH
        assert len(signature.batches) == 16
        padded = sum(len(batch) * max(map(len, batch)) for batch in signature.batches)
        assert padded < 1.1 * sum(map(len, texts))

    def test_equal_to_one_text_at_a_time(self, exported_sentiment, difficult_texts):
        signature = inference.open_signature(exported_sentiment.base, None)
        together = inference.predict(signature, difficult_texts)
        assert set(together["label"]) == {b"negative", b"positive"}
        for index, text in enumerate(difficult_texts):
            alone = inference.predict(signature, [text])
            assert alone["label"][0] == together["label"][index]
            assert alone["score"][0] == pytest.approx(together["score"][index], abs=1e-6)


class TestOpenSignature:
    def test_a_version_or_its_parent(self, exported_sentiment):
        text = tf.constant(["The best film!"])
        expected = exported_sentiment.serving.serving_default(text=text)["score"].numpy()
        for path in (exported_sentiment.base, exported_sentiment.version):
            signature = inference.open_signature(path, None)
            gc.collect()  # the module must be held by the signature
            np.testing.assert_allclose(signature(text=text)["score"].numpy(), expected, atol=1e-6)

    def test_a_run_is_held_by_its_signature(self, exported_sentiment, monkeypatch, tmp_path):
        def load_run(run):
            assert run.path == tmp_path
            return build_classifier(Settings(embedding_size=4, units=3), 9), exported_sentiment.vocabulary, None

        monkeypatch.setattr(inference, "load_run", load_run)
        signature = inference.open_signature(exported_sentiment.base, tmp_path)
        gc.collect()
        assert 0 < signature(text=tf.constant(["film"]))["score"].numpy()[0] < 1

    def test_a_signature_that_is_not_there(self, exported_sentiment):
        with pytest.raises(UserError, match="no signature 'translate'"):
            inference.open_signature(exported_sentiment.base, None, "translate")


def test_explain_is_without_padding_and_adds_up(exported_sentiment, difficult_texts):
    signature = inference.open_signature(exported_sentiment.base, None, "explain")
    scores = inference.predict(inference.open_signature(exported_sentiment.base, None), difficult_texts)["score"]
    for text, score in zip(difficult_texts, scores, strict=True):
        answer = inference.explain(signature, text)
        words = [token.decode() for token in tokenize(tf.constant([text[-65_536:]])).to_list()[0][-1024:]]
        assert answer["tokens"] == ["<s>", *words, "</s>"]
        assert len(answer["polarity"]) == len(answer["tokens"])
        assert answer["polarity"].sum() + answer["bias"] == pytest.approx(answer["logit"], abs=1e-4)
        assert answer["score"] == pytest.approx(1 / (1 + np.exp(-answer["logit"])), abs=1e-6)
        assert answer["score"] == pytest.approx(score, abs=1e-6)
        assert answer["label"] == ("positive" if answer["score"] > 0.5 else "negative")


def test_several_signatures_of_one_model(exported_sentiment, monkeypatch):
    loads, load = [], inference.saved_model.load
    monkeypatch.setattr(inference.saved_model, "load", lambda *asked: loads.append(asked) or load(*asked))
    found = inference.open_signatures(exported_sentiment.base, None, "explain", wanted=["units", "none such"])
    assert list(found) == ["explain", "units"]
    assert len(loads) == 1
    gc.collect()  # the module must be held by each
    text = tf.constant(["The best film!"])
    np.testing.assert_allclose(found["explain"](text=text)["logit"], found["units"](text=text)["logit"], atol=1e-5)
    assert "none such" not in found


def test_prefix_scores_are_those_of_the_tokens(exported_sentiment):
    signatures = inference.open_signatures(exported_sentiment.base, None, "prefixes", "serving_default")
    words = [b"it's", b"not", b"a", b"dull", b"film"]
    found = inference.prefix_scores(signatures["prefixes"], b" ".join(words))
    beginnings = [b" ".join(words[:count]) for count in (0, 1, 2, 3, 4, 5, 5)]
    np.testing.assert_allclose(found, inference.predict(signatures["serving_default"], beginnings)["score"], atol=2e-6)


@pytest.mark.parametrize("count", [1, 5, 12, 16])
def test_units_and_all_others_add_up_to_the_logit(exported_sentiment, count):
    signatures = inference.open_signatures(exported_sentiment.base, None, "units", "explain")
    text = b"Not the best film!"
    found = inference.explain_units(signatures["units"], text, count)
    explained = inference.explain(signatures["explain"], text)
    assert set(found) == {"units", "other_units", "ngrams"}
    assert len(found["units"]) == min(count, 12)  # both directions have 6
    shares = [unit["share"] for unit in found["units"]]
    assert np.all(np.diff(np.abs(shares)) <= 0)
    total = sum(shares) + found["other_units"] + found["ngrams"] + explained["bias"]
    assert total == pytest.approx(explained["logit"], abs=1e-5)
    for unit in found["units"]:
        assert len(unit["state"]) == len(explained["tokens"])
        assert unit["peak"] == int(np.argmax(unit["state"]))
        assert unit["direction"] in ("forward", "backward")
        assert unit["unit"] in range(6)
    assert (abs(found["other_units"]) > 1e-3) == (count < 12)


class LengthScores:
    """A signature that finds a text the better the longer it is."""

    def __init__(self):
        self.calls = 0

    def __call__(self, text):
        self.calls += 1
        return {"score": tf.cast(tf.strings.length(text), tf.float32) / 2000}


@pytest.fixture
def reviews(tmp_path):
    """A table for each split, and what is in test: texts from no token to 300, and their labels."""
    rows = [("" if n == 0 else " ".join(["film"] * n), n % 3 > 0) for n in (0, 1, 100, 101, 150, 299, 300)]
    (tmp_path / "data").mkdir()
    lines = [json.dumps({"text": text, "label": int(label)}) for text, label in rows]
    (tmp_path / "data" / "test.jsonl").write_text("\n".join(lines))
    lines += [json.dumps({"text": f"unknown {n}", "label": None}) for n in range(3)]
    (tmp_path / "data" / "train.jsonl").write_text("\n".join(lines))
    return tmp_path / "data", rows


class TestEvaluate:
    def test_figures_are_those_of_the_scores(self, reviews, tmp_path):
        source, rows = reviews
        found = inference.evaluate(LengthScores(), str(source), "test", 0, tmp_path / "a" / "plots")
        lengths = [len(text.split()) for text, _ in rows]
        scores = [np.float32(len(text)) / np.float32(2000) for text, _ in rows]
        expected = binary_classification([int(label) for _, label in rows], scores, lengths)
        assert expected["accuracy_by_length"][0]["tokens"] == "0-100"
        assert sum(row["examples"] for row in expected["accuracy_by_length"]) == len(rows)
        assert {key: found[key] for key in expected} == expected
        assert (found["data"], found["split"], found["examples"]) == (str(source), "test", 7)
        assert set(found) - set(expected) == {"data", "split", "seconds", "texts_per_second"}
        for name in ("confusion.png", "reliability.png"):
            assert (tmp_path / "a" / "plots" / name).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert len(list((tmp_path / "a" / "plots").iterdir())) == 2

    @pytest.mark.parametrize("source", ["sample", None])
    def test_a_split_without_labels(self, reviews, source):
        """The sample has no unlabelled text, the tables have three."""
        with pytest.raises(UserError, match="'unlabelled' of .* has no labels to judge by"):
            inference.evaluate(LengthScores(), source or str(reviews[0]), "unlabelled", 0, None)

    def test_plots_that_cannot_be_written_are_told_before_the_work(self, reviews, tmp_path):
        (tmp_path / "file").write_text("")
        signature = LengthScores()
        with pytest.raises(UserError, match=r"cannot write --plots '.*file/plots' \(Not a directory\): name"):
            inference.evaluate(signature, str(reviews[0]), "test", 0, tmp_path / "file" / "plots")
        with pytest.raises(UserError, match=r"cannot write --plots '.*file' \(File exists\)"):
            inference.evaluate(signature, str(reviews[0]), "test", 0, tmp_path / "file")
        assert signature.calls == 0

    def test_a_plot_in_whose_place_stands_a_folder(self, reviews, tmp_path):
        (tmp_path / "plots" / "confusion.png" / "mine").mkdir(parents=True)
        with pytest.raises(UserError, match="cannot write --plots"):
            inference.evaluate(LengthScores(), str(reviews[0]), "test", 0, tmp_path / "plots")
        assert (tmp_path / "plots" / "confusion.png" / "mine").is_dir()

    def test_lone_surrogates_and_half_pairs(self, reviews):
        """Text out of JSON can hold what UTF-8 cannot."""
        source, rows = reviews
        with (source / "test.jsonl").open("a") as stream:
            stream.write('\n{"text": "film \\ud800", "label": 1}\n')
        assert inference.evaluate(LengthScores(), str(source), "test", 0, None)["examples"] == len(rows) + 1


def test_lengths_of_more_than_one_batch():
    texts = [b"film " * (index % 7) for index in range(2001)]
    assert inference._lengths(texts) == [index % 7 for index in range(2001)]


def test_figures_of_other_data_do_not_take_the_place_of_the_runs_own(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.start({"task": "sentiment", "data": "/data/aclImdb.tar.xz"})
    for data, accuracy in (("/elsewhere/aclImdb.tar.xz", 0.5), ("sample", 0.25), ("my tweets.csv", 0.75)):
        run.keep_evaluation({"split": "test", "data": data, "accuracy": accuracy})
    assert {path.name: json.loads(path.read_text())["accuracy"] for path in run.path.glob("evaluation-*")} == {
        "evaluation-test.json": 0.5,
        "evaluation-test-sample.json": 0.25,
        "evaluation-test-my_tweets.csv.json": 0.75,
    }
    assert [found["accuracy"] for found in run.evaluations()] == [0.75, 0.25, 0.5]


def test_kept_figures_read_back_and_a_failure_keeps_the_old_ones(tmp_path, monkeypatch):
    run = RunFolder(tmp_path)
    run.keep_evaluation({"split": "validation", "accuracy": 0.25})
    run.keep_evaluation({"split": "test", "accuracy": 0.5})
    run.keep_evaluation({"split": "test", "accuracy": 0.75})

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.write_text", fail)
        with pytest.raises(UserError) as caught:
            run.keep_evaluation({"split": "test", "accuracy": 1.0})
    assert str(caught.value) == f"cannot write --run '{tmp_path}' (No space left on device): name another place"
    assert {path.name: json.loads(path.read_text())["accuracy"] for path in tmp_path.iterdir()} == {
        "evaluation-test.json": 0.75,
        "evaluation-validation.json": 0.25,
    }
    assert run.evaluations() == [
        {"split": "test", "accuracy": 0.75},
        {"split": "validation", "accuracy": 0.25},
    ]


def test_a_split_is_cut_as_asked(monkeypatch):
    asked = []

    def load(source, split, **options):
        asked.append((source, split, options))
        return [LabelledText("film", 0, "a"), LabelledText("a longer film", 1, "b")]

    monkeypatch.setattr(inference, "load_judged", load)
    table = TableFormat(text_column="review")
    assert inference.evaluate(LengthScores(), "mine", "validation", 7, None, 0.3, table)["roc_auc"] == 1.0
    assert asked == [("mine", "validation", {"seed": 7, "validation_fraction": 0.3, "table": table})]
