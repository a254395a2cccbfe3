"""What model cards tell of data goes by what it holds, and is what the cards of the shipped models tell."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from nlp_lstm.char_lm import export as char_lm
from nlp_lstm.char_lm.settings import Settings as CharLmSettings
from nlp_lstm.datasets import known_sets
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.sentiment import export as sentiment
from nlp_lstm.sentiment.settings import Settings as SentimentSettings
from nlp_lstm.translation import export as translation
from nlp_lstm.translation.settings import Settings as TranslationSettings

SHIPPED = Path(__file__).parents[1] / "saved_models"
FIGURES = {"val_loss": 1.0, "val_accuracy": 0.8, "val_bleu": 30.0, "seconds": 60.0, "cpu_seconds": 90.0}


@pytest.fixture
def card(tmp_path):
    """From an app, the name of its data and the name of what that is known to be, or None, to the card."""

    def written(app, data, known, **settings):
        run = RunFolder(tmp_path / f"{app}-{len(list(tmp_path.iterdir()))}")
        fingerprints = {name: fingerprint for fingerprint, name in known_sets._KNOWN.items()}
        config = {"data": f"/data/{data}", "source_file": None}
        run.start(config | ({"data_sha256": fingerprints[known]} if known else {}))
        run.write_metrics([{"stage": "training", "epoch": 1, **FIGURES}])
        if app == "char_lm":
            return char_lm._model_card(run, CharLmSettings(**settings), 66, 1000, "float32")
        if app == "sentiment":
            return sentiment._model_card(run, SentimentSettings(**settings), 1000, "float32")
        model = SimpleNamespace(count_params=lambda: 1000)
        serving = SimpleNamespace(models=[model], subwords=range(4000), alpha=1.0, beta=0.0, precision="float32")
        return translation._model_card([run], TranslationSettings(**settings), serving)

    return written


def section(card, name):
    return card.split(f"## {name}\n")[1].split("## ")[0]


@pytest.mark.parametrize(
    ("app", "data", "known"),
    [
        ("char_lm", "input.txt", "tiny_shakespeare"),
        ("sentiment", "aclImdb.tar.xz", "aclImdb"),
        ("translation", "multi30k", "multi30k"),
    ],
)
class TestData:
    def test_known_data_is_told_of_as_in_the_shipped_card(self, card, app, data, known):
        shipped = (SHIPPED / app / "model_card.md").read_text(encoding="utf-8")
        assert section(card(app, data, known), "Data") == section(shipped, "Data")
        assert section(card(app, "mine.txt", known), "Data").replace("mine.txt", data) == section(shipped, "Data")

    def test_data_of_that_name_alone_is_not(self, card, app, data, known):
        told = section(card(app, data, None), "Data")
        assert told.strip().startswith(f"Trained on `{data}`.")
        assert len(told.strip().splitlines()) == 1
        assert "films" not in card(app, data, None)


@pytest.mark.parametrize(
    ("app", "known"), [("char_lm", "sample_text"), ("sentiment", "sample_reviews"), ("translation", "sample_pairs")]
)
def test_the_samples(card, app, known):
    assert "\n\nThe sample is some" in card(app, "sample", known).replace("is a short text", "is some short text")
    assert "The sample" not in card(app, "sample", None)


def test_nothing_is_told_of_a_pre_training_that_was_not(card):
    told = card("sentiment", "aclImdb", "aclImdb", pretraining_epochs=0)
    assert "Maas" in told
    assert "123 texts" in told
    assert "Pre-training" not in told


def test_tiny_shakespeare_in_three_parts_has_other_validation_data(card):
    told = card("char_lm", "tiny_shakespeare", "tiny_shakespeare_in_three")
    assert "the next 5 % chose the epoch" in told
    assert "last 10 %" not in told


def test_what_a_card_says_is_text_and_no_markup(card):
    assert "Trained on `a<b>&'c.txt`." in card("char_lm", "a<b>&'c.txt", None)
