"""The temperature against a search for it, and a trained run that has it."""

import numpy as np
import pytest
import scipy.optimize
import scipy.special

from nlp_lstm.datasets.reviews import load_reviews
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.sentiment import train as train_module
from nlp_lstm.sentiment.build import load_run
from nlp_lstm.sentiment.calibration import temperature
from nlp_lstm.sentiment.logits import logits_of
from nlp_lstm.sentiment.settings import Settings
from nlp_lstm.sentiment.train import train


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_it_is_where_the_labels_are_likeliest(true, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, 4000)
    labels = (rng.random(4000) < scipy.special.expit(logits / true)).astype(float)

    def loss(log_temperature):
        return -scipy.special.log_expit((2 * labels - 1) * logits / np.exp(log_temperature)).sum()

    found = scipy.optimize.minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-6})
    assert temperature(logits, labels) == pytest.approx(np.exp(found.x), rel=1e-3)
    assert temperature(logits, labels) == pytest.approx(true, rel=0.15)


def test_logits_that_say_nothing_stay():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=500)
    assert temperature(logits, rng.integers(0, 2, 500)) == 1.0
    assert temperature(logits, logits < 0) == 1.0  # the contrary of the truth


def test_a_run_is_calibrated_on_its_validation_texts(tmp_path, monkeypatch):
    settings = Settings(
        vocabulary_size=300, embedding_size=6, units=5, pretraining_epochs=0, epochs=1, adversarial_noise=0.0,
        tokens_per_batch=1344, longest_training_text=48, ngram_buckets=0, precision="float32",
    )  # fmt: skip
    run, seen = RunFolder(tmp_path), []
    monkeypatch.setattr(train_module, "temperature", lambda *given: seen.append(given) or 2.5)
    train("sample", run, settings)
    validation = train_module._encode(
        load_reviews("sample", ["validation"], validation_fraction=0.1, seed=0)["validation"], load_run(run)[1]
    )
    ((raw, labels),) = seen
    assert labels == validation.labels and len(raw) == 47 and np.std(raw) > 0
    assert logits_of(load_run(run)[0], validation.ids) == pytest.approx(raw / 2.5, rel=1e-4, abs=1e-5)
    (row,) = (row for row in run.metrics() if row["stage"] == "calibration")
    assert row["temperature"] == 2.5 and row["seconds"] >= 0
