"""Figures of a classifier, against sums done by hand, scikit-learn and a loop over the bins."""

import matplotlib.image
import numpy as np
import pytest
from sklearn import metrics as oracle

from nlp_lstm.errors import UserError
from nlp_lstm.pictures.reliability import draw_confusion, draw_reliability
from nlp_lstm.sentiment.metrics import binary_classification, expected_calibration_error


@pytest.fixture
def answers():
    """300 labels, and scores that lean their way; a few lie exactly at the ends and in the middle."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 300)
    scores = 1 / (1 + np.exp(-rng.normal(1.5 * (2 * labels - 1), 2.0)))
    scores[:6] = [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]
    labels[:6] = [0, 1, 0, 1, 0, 1]
    return labels, scores


def test_by_hand():
    found = binary_classification([0, 1, 1, 0], [0.2, 0.9, 0.4, 0.6], [5, 7, 6, 8])
    assert found == {
        "examples": 4,
        "accuracy": 0.5,
        "accuracy_interval": [0.0, 1.0],  # with four texts, 1 draw in 16 has none right, and 1 in 16 all
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
        "roc_auc": 0.75,  # of the four pairs only 0.4 < 0.6 stands the wrong way round
        "expected_calibration_error": pytest.approx(0.25 * 0.2 + 0.25 * 0.1 + 0.5 * 0.6),
        "accuracy_by_length": [{"tokens": "0-100", "examples": 4, "accuracy": 0.5}],
    }


def test_against_scikit_learn(answers):
    labels, scores = answers
    found = binary_classification(labels, scores, np.full(300, 9))
    predicted = scores > 0.5
    assert found["accuracy"] == pytest.approx(oracle.accuracy_score(labels, predicted))
    assert found["precision"] == pytest.approx(oracle.precision_score(labels, predicted))
    assert found["recall"] == pytest.approx(oracle.recall_score(labels, predicted))
    assert found["f1"] == pytest.approx(oracle.f1_score(labels, predicted))
    assert found["roc_auc"] == pytest.approx(oracle.roc_auc_score(labels, scores))
    assert len({round(found[name], 6) for name in ("accuracy", "precision", "recall", "f1", "roc_auc")}) == 5


def test_one_half_counts_as_negative():
    found = binary_classification([0, 1, 1], [0.5, 0.5, 0.5001], [1, 1, 1])
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["precision"] == 1.0
    assert found["recall"] == 0.5


def test_nothing_called_positive_is_no_warning():
    found = binary_classification([0, 1], [0.1, 0.2], [1, 1])
    assert (found["precision"], found["recall"], found["f1"]) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], []])
def test_a_label_that_does_not_occur_is_told(labels):
    with pytest.raises(UserError, match="both"):
        binary_classification(labels, [0.2] * len(labels), [1] * len(labels))


def calibration_error(labels, scores, bins):
    """Guo et al. 2017, equation 3, score by score."""
    members = [[] for _ in range(bins)]
    for label, score in zip(labels, scores, strict=True):
        answer = 1 if score > 0.5 else 0
        confidence = score if answer else 1 - score
        number = 0
        while number < bins - 1 and confidence >= 0.5 + 0.5 * (number + 1) / bins:
            number += 1
        members[number].append((confidence, answer == label))
    return sum(
        len(inside) * abs(np.mean([right for _, right in inside]) - np.mean([confidence for confidence, _ in inside]))
        for inside in members
        if inside
    ) / len(labels)


@pytest.mark.parametrize("bins", [1, 2, 7, 15])
def test_calibration_error_against_a_loop(answers, bins):
    labels, scores = answers
    expected = calibration_error(labels, scores, bins)
    assert expected > 0.01
    assert expected_calibration_error(labels, scores, bins) == pytest.approx(expected, abs=1e-12)
    if bins == 15:
        assert binary_classification(labels, scores, np.ones(300))["expected_calibration_error"] == pytest.approx(
            expected
        )


@pytest.mark.parametrize(
    ("labels", "scores", "expected"),
    [
        ([1, 0], [1.0, 0.0], 0.0),  # sure and right
        ([0, 1], [1.0, 0.0], 1.0),  # sure and wrong
        ([0, 1], [0.5, 0.5], 0.0),  # in doubt, and right half the time
        ([0, 0], [0.5, 0.5], 0.5),  # one half is called negative, and was right each time
        ([0, 1], [0.5, 0.51], 1 - 0.505),  # both right
        ([1], [np.float32(0.75)], 0.25),
    ],
)
def test_calibration_error_at_the_ends(labels, scores, expected):
    assert expected_calibration_error(labels, scores) == pytest.approx(expected, abs=1e-12)


def test_accuracy_by_length_at_the_edges():
    lengths = [0, 1, 100, 101, 200, 201, 600, 601, 1000, 1001, 50_000]
    labels = [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0]
    scores = [0.9, 0.9, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0.1, 0.1, 0.9]
    assert binary_classification(labels, scores, lengths)["accuracy_by_length"] == [
        {"tokens": "0-100", "examples": 3, "accuracy": pytest.approx(2 / 3)},
        {"tokens": "101-200", "examples": 2, "accuracy": 0.5},
        {"tokens": "201-300", "examples": 1, "accuracy": 1.0},
        {"tokens": "401-600", "examples": 1, "accuracy": 0.0},
        {"tokens": "601-1000", "examples": 2, "accuracy": 1.0},
        {"tokens": ">1000", "examples": 2, "accuracy": 0.0},
    ]


@pytest.mark.parametrize("labels", [None, [0, 0, 0], [1, 1, 1]])
def test_pictures(answers, tmp_path, labels):
    """Also of labels that are all the same."""
    labels, scores = answers if labels is None else (labels, [0.0, 0.5, 1.0])
    draw_confusion(labels, scores, ["negative", "positive"], tmp_path / "new" / "confusion.png")
    draw_reliability(labels, np.float32(scores), tmp_path / "new" / "reliability.png")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["confusion.png", "reliability.png"]
    for path in (tmp_path / "new").iterdir():
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        picture = matplotlib.image.imread(path)
        assert min(picture.shape[:2]) > 200
        assert picture[..., :3].std() > 0.01  # something is drawn on it


def test_the_confusion_matrix_has_the_truth_in_rows(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(
        "sklearn.metrics.ConfusionMatrixDisplay.plot", lambda self, **_: shown.append(self), raising=True
    )
    draw_confusion([0, 0, 0, 1, 1], [0.9, 0.8, 0.5, 0.1, 0.6], ["negative", "positive"], tmp_path / "confusion.png")
    assert shown[0].confusion_matrix.tolist() == [[1, 2], [1, 1]]
    assert shown[0].display_labels == ["negative", "positive"]
