"""Scale and shift against a search for them, and a trained run that has them."""

import numpy as np
import pytest
import scipy.optimize
import scipy.special

from nlp_lstm.datasets.reviews import load_reviews
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.sentiment import train as train_module
from nlp_lstm.sentiment.build import load_run
from nlp_lstm.sentiment.calibration import calibration
from nlp_lstm.sentiment.logits import logits_of
from nlp_lstm.sentiment.settings import Settings
from nlp_lstm.sentiment.train import train


@pytest.mark.parametrize("true", [(0.5, 0.0), (1.0, -1.0), (3.0, 2.0)])
@pytest.mark.parametrize("seed", range(3))
def test_it_is_where_the_labels_are_likeliest(true, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, 4000)
    labels = (rng.random(4000) < scipy.special.expit(true[0] * logits + true[1])).astype(float)
    positive, negative = labels.sum(), (1 - labels).sum()
    target = np.where(labels == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def loss(found):
        logit = found[0] * logits + found[1]
        return -(target * scipy.special.log_expit(logit) + (1 - target) * scipy.special.log_expit(-logit)).sum()

    expected = scipy.optimize.minimize(loss, [1.0, 0.0], tol=1e-9).x
    assert calibration(logits, labels) == pytest.approx(expected, rel=2e-3, abs=2e-3)
    assert calibration(logits, labels) == pytest.approx(true, rel=0.15, abs=0.15)


def test_a_few_texts_make_no_model_sure_of_everything():
    """Four answered rightly are 3 in 4, or 1 in 4, whatever the logits were."""
    scale, shift = calibration([2.0, 2.0, -2.0, -2.0], [1, 1, 0, 0])
    assert scipy.special.expit([2 * scale + shift, -2 * scale + shift]) == pytest.approx([0.75, 0.25], abs=1e-3)


def test_logits_that_say_nothing_stay():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=500)
    assert calibration(logits, rng.integers(0, 2, 500)) == (1.0, 0.0)
    assert calibration(logits, logits < 0) == (1.0, 0.0)  # the contrary of the truth
    assert calibration(logits, np.ones(500)) == (1.0, 0.0)


def test_a_run_is_calibrated_on_its_validation_texts(tmp_path, monkeypatch):
    settings = Settings(
        vocabulary_size=300, embedding_size=6, units=5, pretraining_epochs=0, epochs=1, adversarial_noise=0.0,
        tokens_per_batch=1344, longest_training_text=48, ngram_buckets=0, precision="float32",
    )  # fmt: skip
    run, seen = RunFolder(tmp_path), []
    monkeypatch.setattr(train_module, "calibration", lambda *given: seen.append(given) or (0.4, -1.5))
    train("sample", run, settings)
    validation = train_module._encode(
        load_reviews("sample", ["validation"], validation_fraction=0.1, seed=0)["validation"], load_run(run)[1]
    )
    ((raw, labels),) = seen
    assert labels == validation.labels and len(raw) == 47 and np.std(raw) > 0
    assert logits_of(load_run(run)[0], validation.ids) == pytest.approx(0.4 * raw - 1.5, rel=1e-4, abs=1e-5)
    (row,) = (row for row in run.metrics() if row["stage"] == "calibration")
    assert (row["scale"], row["shift"]) == (0.4, -1.5) and row["seconds"] >= 0
