"""Training the classifier on the sample, from texts to a run folder: whole, and stopped half-way."""

import dataclasses
import shutil

import numpy as np
import pytest

from nlp_lstm import training
from nlp_lstm.datasets.known_sets import fingerprint_of_reviews
from nlp_lstm.datasets.reviews import load_reviews
from nlp_lstm.errors import UserError
from nlp_lstm.models.classifier import SentimentClassifier
from nlp_lstm.models.encoder import BidirectionalEncoder
from nlp_lstm.models.pretraining import BidirectionalLanguageModel
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.sentiment import batches, head_fitting
from nlp_lstm.sentiment import train as train_module
from nlp_lstm.sentiment.adversarial_training import AdversarialTraining
from nlp_lstm.sentiment.build import build_classifier, load_run
from nlp_lstm.sentiment.export import export_run
from nlp_lstm.sentiment.logits import logits_of
from nlp_lstm.sentiment.settings import Settings
from nlp_lstm.sentiment.train import train
from nlp_lstm.text.vocabulary import Vocabulary

TINY = Settings(
    seed=5,
    vocabulary_size=300,
    embedding_size=6,
    units=5,
    recurrent_dropout=0.1,
    pretraining_epochs=3,
    pretraining_passes=2.0,
    pretraining_learning_rate=0.02,
    samples=20,
    epochs=3,
    patience=3,
    learning_rate=0.02,
    tokens_per_batch=1344,  # 28 texts of 48: the 224 of the sample make even batches, and XLA compiles but one
    longest_training_text=48,
    adversarial_noise=5.0,
    ngram_buckets=500,
)


def without_times(run):
    return [
        {key: value for key, value in row.items() if key not in ("seconds", "cpu_seconds")} for row in run.metrics()
    ]


def best_classifier(run):
    built = build_classifier(TINY, len(Vocabulary.load(run.path / "vocabulary.txt"))).lstm
    classifier = SentimentClassifier(built.encoder, standardized=True)
    classifier.build((None, None))
    AdversarialTraining(classifier, 0.0).load_weights(run.best_weights("training"))
    return classifier


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A whole run, and what a kill in the midst of the second epoch of its second stage would have left of it."""
    folder = tmp_path_factory.mktemp("runs")
    run, stopped = RunFolder(folder / "run"), RunFolder(folder / "stopped")

    class Copying(training._NanGuard):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            if batch == 1 and len(run.metrics()) == TINY.pretraining_epochs + 2:
                shutil.copytree(run.path, stopped.path)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training, "_NanGuard", Copying)
        train("sample", run, TINY)
    return run, stopped


@pytest.fixture(scope="module")
def whole(runs):
    return runs[0]


def test_metrics_tell_of_every_stage(whole):
    rows = whole.metrics()
    assert [(row["stage"], row["epoch"]) for row in rows] == [
        *(("pretraining", epoch) for epoch in (1, 2, 3)),
        ("head", 1),
        *(("training", epoch) for epoch in (1, 2, 3)),
        ("blend", 1),
    ]
    assert rows[2]["val_loss"] < rows[0]["val_loss"]
    assert all(0 <= row["val_accuracy"] <= 1 for row in rows[3:7])
    assert rows[7]["ngram_accuracy"] > 0.6
    splits = load_reviews("sample", ["unlabelled", "train", "validation"])
    fingerprint = {"data_sha256": fingerprint_of_reviews(splits.values())}
    assert whole.config() == {"task": "sentiment", "data": "sample", **dataclasses.asdict(TINY), **fingerprint}


def test_the_best_weights_are_those_of_the_best_epoch(whole):
    """A classifier built anew and given them has, text by text, the accuracy that was written down."""
    classifier = best_classifier(whole)
    vocabulary = Vocabulary.load(whole.path / "vocabulary.txt")
    records = load_reviews("sample", ["validation"])["validation"]
    right = 0
    for places, ids in batches.sorted_batches(batches.token_ids([r.text for r in records], vocabulary), 2000):
        positive = np.asarray(classifier(ids)) > 0
        right += sum(records[place].label == guess for place, guess in zip(places, positive, strict=True))
    assert right / len(records) == pytest.approx(max(row["val_accuracy"] for row in whole.metrics()[4:7]), abs=1e-6)


def test_what_training_with_labels_begins_with(monkeypatch, tmp_path, whole):
    """The encoder that pre-training left, another run's where one is named, and the linear unit fitted over it."""
    begun = []
    monkeypatch.setattr(
        train_module, "_train_with_labels", lambda classifier, *_: begun.append(classifier.get_weights())
    )
    monkeypatch.setattr(train_module, "_add_ngrams", lambda *_: None)
    monkeypatch.setattr(
        train_module, "_pretrain", lambda *_: pytest.fail("pre-trained though it was to start from a run")
    )
    train("sample", RunFolder(tmp_path / "run"), dataclasses.replace(TINY, start_from=str(whole.path)))
    pretrained = BidirectionalLanguageModel(BidirectionalEncoder(300, 6, 5))
    pretrained.build((None, None))
    pretrained.load_weights(whole.best_weights("pretraining"))
    fitted = SentimentClassifier(BidirectionalEncoder(300, 6, 5), standardized=True)
    fitted.build((None, None))
    fitted.load_weights(whole.best_weights("head"))
    for found, expected in zip(begun[0], fitted.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    for found, expected in zip(fitted.encoder.weights, pretrained.encoder.weights, strict=True):
        np.testing.assert_array_equal(found, expected)

    # What the other run spent on it is this one's, too.
    begun_with, earlier = RunFolder(tmp_path / "run"), whole.config()
    assert [row["stage"] for row in begun_with.metrics()][: TINY.pretraining_epochs + 1] == [
        *["pretraining"] * TINY.pretraining_epochs,
        "head",
    ]
    assert begun_with.earlier_configs() == [earlier]


@pytest.mark.parametrize("adversarial_noise", [0.0, 5.0])
def test_training_goes_on_from_a_finished_classifier(monkeypatch, tmp_path, whole, adversarial_noise, capsys):
    """From the weights that its training left, before n-grams or a calibration; all that it took is kept."""
    begun = []
    monkeypatch.setattr(
        train_module, "_train_with_labels", lambda classifier, *_: begun.append(classifier.get_weights())
    )
    monkeypatch.setattr(train_module, "fit_head", lambda *_: pytest.fail("the head is there already"))
    run = RunFolder(tmp_path / "run")
    how = {"start_from": str(whole.path), "start_stage": "training", "ngram_buckets": 0, "seed": 6}
    train("sample", run, dataclasses.replace(TINY, adversarial_noise=adversarial_noise, **how))
    for found, expected in zip(begun[0], best_classifier(whole).get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    stages = [f"earlier {row['stage']}" for row in whole.metrics()]
    assert sorted(row["stage"] for row in run.metrics()) == sorted([*stages, "calibration"])
    assert run.earlier_configs() == [whole.config()]
    # Another seed cuts other films off, of which it was trained on some.
    assert "cut off for validation (seed): what it has seen of" in capsys.readouterr().err


def test_only_a_finished_classifier_can_be_gone_on_from(runs, tmp_path):
    run = RunFolder(tmp_path / "run")
    with pytest.raises(UserError, match="is not finished"):
        how = {"start_from": str(runs[1].path), "start_stage": "training"}
        train("sample", run, dataclasses.replace(TINY, **how))
    assert not run.path.exists()
    with pytest.raises(UserError, match="--start-stage training says where in another run to start: name that run"):
        dataclasses.replace(TINY, start_stage="training")


@pytest.fixture(scope="module")
def exported(whole, tmp_path_factory):
    return export_run(whole, tmp_path_factory.mktemp("exported") / "sentiment")


def test_training_goes_on_from_an_exported_model(monkeypatch, tmp_path, whole, exported, capsys):
    """From its LSTM as it is served, over standardised features; asked a second time, nothing is done anew."""
    begun = []
    monkeypatch.setattr(train_module, "_train_with_labels", lambda classifier, *_: begun.append(classifier))
    monkeypatch.setattr(train_module, "fit_head", lambda *_: pytest.fail("the head is there already"))
    run = RunFolder(tmp_path / "run")
    how = {"start_from": str(exported.parent), "start_stage": "training", "ngram_buckets": 0, "precision": "float32"}
    train("sample", run, dataclasses.replace(TINY, **how))
    served, vocabulary, _ = load_run(whole)
    records = load_reviews("sample", ["train", "validation"])
    for split in ("train", "validation"):
        ids = batches.token_ids([record.text for record in records[split]], vocabulary)
        np.testing.assert_allclose(logits_of(begun[0], ids), logits_of(served.lstm, ids), atol=1e-4)
    assert not np.allclose(begun[0].feature_mean, 0) and not np.allclose(begun[0].feature_scale, 1)
    assert Vocabulary.load(run.path / "vocabulary.txt").tokens == vocabulary.tokens
    assert [row["stage"] for row in run.metrics()] == ["head", "calibration"]
    right = (logits_of(served.lstm, ids) > 0) == [record.label == 1 for record in records["validation"]]
    assert run.metrics()[0]["val_accuracy"] == pytest.approx(np.mean(right))
    assert f"the model at '{exported.parent}' does not tell which texts it was trained on" in capsys.readouterr().err

    run.model_weights.unlink()
    monkeypatch.setattr(head_fitting, "outputs_of", lambda *_: pytest.fail("standardised twice"))
    train("sample", run, dataclasses.replace(TINY, **how))
    for found, expected in zip(begun[1].get_weights(), begun[0].get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"units": 6}, "the model at '.*' has units 5, this one 6: give --units the same value"),
        ({"start_stage": "pretraining"}, "holds a finished classifier, and no language models any more: go on from it"),
    ],
)
def test_an_exported_model_that_it_cannot_go_on_from(exported, tmp_path, changed, words):
    how = {"start_from": str(exported.parent), "start_stage": "training", **changed}
    with pytest.raises(UserError, match=words):
        train("sample", RunFolder(tmp_path / "run"), dataclasses.replace(TINY, **how))
    assert not (tmp_path / "run").exists()


def test_a_card_tells_that_what_came_before_an_exported_model_is_not_counted_in(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(train_module, "fit_head", lambda *_: pytest.fail("the head is there already"))
    run = RunFolder(tmp_path / "run")
    how = {"start_from": str(exported.parent), "start_stage": "training", "ngram_buckets": 0, "epochs": 1}
    train("sample", run, dataclasses.replace(TINY, teacher_run=str(exported.parent), adversarial_noise=0.0, **how))
    card = (export_run(run, tmp_path / "model").parent / "model_card.md").read_text()
    assert "It went on from an exported model, whose minutes are not counted in:" in " ".join(card.split())
    assert "an earlier LSTM" not in card  # the sample has no texts without labels


def test_a_run_that_starts_from_another_reads_with_its_vocabulary(runs, tmp_path, monkeypatch):
    """Whatever it is trained on: the embedding's rows are those tokens'."""
    whole, _ = runs
    table = tmp_path / "mine.tsv"
    table.write_text("text\tlabel\n" + "".join(f"quite new words {n} {n % 7}\t{n % 2}\n" for n in range(40)))
    monkeypatch.setattr(train_module, "_train_with_labels", lambda *_: None)
    run = RunFolder(tmp_path / "run")
    train(str(table), run, dataclasses.replace(TINY, start_from=str(whole.path), ngram_buckets=0, vocabulary_size=50))
    assert (run.path / "vocabulary.txt").read_bytes() == (whole.path / "vocabulary.txt").read_bytes()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"units": 6}, "has units 5, this one 6: give --units the same value"),
        ({"embedding_size": 7}, "has embedding_size 6, this one 7: give --embedding-size the same value"),
        ({}, "has no pre-trained encoder: name another with --start-from"),
    ],
)
def test_a_run_that_it_cannot_start_from(runs, tmp_path, changed, words):
    earlier = RunFolder(tmp_path / "earlier")
    earlier.start(runs[0].config())
    with pytest.raises(UserError, match=words):
        train("sample", RunFolder(tmp_path / "run"), dataclasses.replace(TINY, start_from=str(earlier.path), **changed))
    assert not (tmp_path / "run").exists()


def test_stopped_and_started_again_it_ends_the_same(runs):
    """To the weights; tests of the app have a process killed."""
    whole, run = runs
    assert without_times(run) == without_times(whole)[: TINY.pretraining_epochs + 2]
    assert not run.model_weights.exists()
    train("sample", run, TINY)
    assert without_times(run) == without_times(whole)
    assert run.model_weights.exists()
    for found, expected in zip(load_run(run)[0].weights, load_run(whole)[0].weights, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_pretraining_goes_over_the_text_as_often_as_asked(monkeypatch, tmp_path):
    """Pass after pass, each of all texts but the held out, whatever share of a pass an epoch is."""
    stages = []
    monkeypatch.setattr(train_module, "train_stage", lambda model, stage, run, **_: stages.append(stage))
    ids = [np.array([2, 3 + number, 2], np.int32) for number in range(42)]  # the first of each hundred is held out
    for passes, epochs in ((2.0, 3), (0.5, 4), (3.0, 1)):
        settings = dataclasses.replace(TINY, pretraining_passes=passes, pretraining_epochs=epochs)
        train_module._pretrain(BidirectionalEncoder(50, 6, 7), ids, RunFolder(tmp_path), settings)
        stage = stages.pop()
        taken = [np.concatenate([ids for ids, _ in stage.batches(epoch)])[:, 1] for epoch in range(1, epochs + 1)]
        np.testing.assert_array_equal(taken[-1], np.concatenate([ids for ids, _ in stage.batches(epochs)])[:, 1])
        assert max(map(len, taken)) - min(map(len, taken)) <= 1
        assert len(np.concatenate(taken)) == round(41 * passes)
        counts = np.bincount(np.concatenate(taken), minlength=45)
        assert counts[3] == 0  # held out
        assert counts[4:].min() == int(passes) and counts[4:].max() == max(1, passes)


def test_a_source_that_cannot_be_read_leaves_no_run(tmp_path):
    run = RunFolder(tmp_path / "run")
    with pytest.raises(UserError):
        train(str(tmp_path / "reviews.csv"), run, TINY)
    assert not run.path.exists()


def test_other_settings_are_refused(whole):
    with pytest.raises(UserError, match="units"):
        train("sample", whole, dataclasses.replace(TINY, units=6))
