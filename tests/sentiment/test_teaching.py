"""Labels that an n-gram model gives, alone and together with an earlier run's LSTM, against one text at a time."""

import dataclasses
import json

import numpy as np
import pytest
import scipy.special
from sklearn.linear_model import LogisticRegression

from nlp_lstm.errors import UserError
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.sentiment.build import build_classifier, load_run
from nlp_lstm.sentiment.export import export_run
from nlp_lstm.sentiment.ngram_fitting import ngram_logits
from nlp_lstm.sentiment.settings import Settings
from nlp_lstm.sentiment.teaching import EncodedTexts, Teacher, taught_labels
from nlp_lstm.sentiment.train import train
from nlp_lstm.text.vocabulary import Vocabulary

SETTINGS = Settings(embedding_size=4, units=3, ngram_buckets=0, teacher_order=2, ngram_regularization=1.0)
VOCABULARY = Vocabulary(["", "[UNK]", "[BOUND]", *(f"word{number}" for number in range(17))])


def encoded(number, seed):
    """Texts of which token 5 says that they are positive, mostly."""
    rng = np.random.default_rng(seed)
    ids = [rng.integers(3, len(VOCABULARY), rng.integers(1, 30)).astype(np.int32) for _ in range(number)]
    return EncodedTexts(ids, [float((5 in text) != (rng.random() < 0.1)) for text in ids])


@pytest.fixture
def texts():
    training, validation, unlabelled = (encoded(number, seed) for seed, number in enumerate((120, 60, 40)))
    return training, validation, unlabelled.ids


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path)


def by_ngrams(texts, others):
    training, _, _ = texts
    return ngram_logits(training.ids, training.labels, others, 2, 1.0)


def test_an_ngram_model_alone(texts, run):
    found = taught_labels(*texts, VOCABULARY, None, run, SETTINGS)
    assert found == pytest.approx(scipy.special.expit(by_ngrams(texts, texts[2])).tolist())
    assert np.mean([(label > 0.5) == (5 in ids) for label, ids in zip(found, texts[2], strict=True)]) > 0.8


@pytest.mark.parametrize("buckets", [0, 100])
def test_together_with_the_lstm_of_a_run(texts, run, buckets):
    """Whatever stood beside that."""
    classifier = build_classifier(dataclasses.replace(SETTINGS, ngram_buckets=buckets), len(VOCABULARY))
    rng = np.random.default_rng(1)
    lstm = classifier.lstm if buckets else classifier
    for weight in lstm.trainable_weights:
        weight.assign(rng.normal(0, 1, weight.shape))
    found = taught_labels(*texts, VOCABULARY, Teacher(classifier, VOCABULARY, None), run, SETTINGS)
    _, validation, unlabelled = texts

    def logits(ids):
        alone = [float(np.asarray(lstm(one[None])).item()) for one in ids]  # no padding beside it
        return np.stack([alone, by_ngrams(texts, ids)], axis=1)

    expected = LogisticRegression().fit(logits(validation.ids), validation.labels)
    assert found == pytest.approx(expected.predict_proba(logits(unlabelled))[:, 1], abs=1e-4)
    assert found != pytest.approx(scipy.special.expit(by_ngrams(texts, unlabelled)), abs=1e-3)


def test_they_are_kept(texts, run):
    found = taught_labels(*texts, VOCABULARY, None, run, SETTINGS)
    training, validation, unlabelled = texts
    other = EncodedTexts(training.ids, [1 - label for label in training.labels])
    assert taught_labels(other, validation, unlabelled, VOCABULARY, None, run, SETTINGS) == found


def test_another_vocabulary_is_refused(texts, run):
    other = Vocabulary([*VOCABULARY.tokens[:-1], "another"])
    teacher = Teacher(build_classifier(SETTINGS, len(other)), other, None)
    with pytest.raises(UserError, match="reads with another vocabulary: let this run start from it"):
        taught_labels(*texts, VOCABULARY, teacher, run, SETTINGS)
    assert not list(run.path.iterdir())


def test_a_run_teaches_another(tmp_path):
    """From texts to the second run's folder, which tells what both took."""
    rng = np.random.default_rng(0)
    data = tmp_path / "data"
    data.mkdir()

    def write(name, number, labelled):
        rows = []
        for _ in range(number):
            label = int(rng.integers(2))
            words = [["dull", "fine"][label]]
            words += rng.choice(["film", "plot", "cast", "and", "was"], 5).tolist()
            rows.append({"text": " ".join(rng.permutation(words))} | ({"label": label} if labelled else {}))
        (data / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    write("train.jsonl", 60, labelled=True)
    write("unlabelled.jsonl", 30, labelled=False)
    settings = dataclasses.replace(SETTINGS, vocabulary_size=50, pretraining_epochs=1, epochs=1, adversarial_noise=0.0)
    first, second = RunFolder(tmp_path / "first"), RunFolder(tmp_path / "second")
    train(str(data), first, settings)
    train(str(data), second, dataclasses.replace(settings, start_from=str(first.path), teacher_run=str(first.path)))
    stages = ["pretraining", "head", "teaching", "training", "calibration"]
    kept = ["teacher", *(f"before teacher: {stage}" for stage in stages if stage != "training")]
    assert sorted(row["stage"] for row in second.metrics()) == sorted([*kept, *stages])
    (taught,) = (row for row in second.metrics() if row["stage"] == "teacher")
    (own,) = (row for row in first.metrics() if row["stage"] == "training")
    assert taught == own | {"stage": "teacher"}
    assert second.earlier_configs() == [first.config()]
    assert len(np.load(second.path / "taught_labels.npy")) == 30
    assert load_run(second)[1].tokens == load_run(first)[1].tokens

    # An exported model teaches as its run does.
    third, model = RunFolder(tmp_path / "third"), export_run(first, tmp_path / "model")
    train(str(data), third, dataclasses.replace(settings, start_from=str(first.path), teacher_run=str(model.parent)))
    assert [row["stage"] for row in third.metrics()] == stages
    taught = [np.load(run.path / "taught_labels.npy") for run in (second, third)]
    np.testing.assert_allclose(*taught, atol=1e-5)


def test_a_run_that_cannot_teach(tmp_path):
    with pytest.raises(UserError, match="is no training run"):
        train("sample", RunFolder(tmp_path / "run"), dataclasses.replace(SETTINGS, teacher_run=str(tmp_path / "none")))
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="leave out --teacher-order 0"):
        Settings(teacher_run="run", teacher_order=0)
