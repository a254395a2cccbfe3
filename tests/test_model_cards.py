"""Model cards: what they tell of data goes by what it holds, and of a run, its command, figures and intervals."""

import dataclasses
import itertools
import json
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats

import nlp_lstm
from nlp_lstm.char_lm import export as char_lm
from nlp_lstm.char_lm.settings import Settings as CharLmSettings
from nlp_lstm.datasets import known_sets
from nlp_lstm.intervals import mean_interval
from nlp_lstm.model_card import train_command
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.sentiment import export as sentiment
from nlp_lstm.sentiment.settings import Settings as SentimentSettings
from nlp_lstm.translation import commands as translation_commands
from nlp_lstm.translation import export as translation
from nlp_lstm.translation.settings import Settings as TranslationSettings

SHIPPED = Path(__file__).parents[1] / "saved_models"
LOSSES = itertools.count(1.0)


def row(stage, **figures):
    """Of an epoch's metrics, a minute long; no two epochs are quite alike."""
    found = {"stage": stage, "epoch": 1, "loss": next(LOSSES), "val_loss": 1.0, "val_accuracy": 0.8, "val_bleu": 30.0}
    return found | {"seconds": 60.0, "cpu_seconds": 90.0} | figures


@pytest.fixture
def card(tmp_path):
    """From an app, the name of its data and the name of what that is known to be, or None, to the card."""

    def written(app, data, known, keep=lambda run: None, **settings):
        run = RunFolder(tmp_path / f"{app}-{len(list(tmp_path.iterdir()))}")
        fingerprints = {name: fingerprint for fingerprint, name in known_sets._KNOWN.items()}
        config = {"data": f"/data/{data}", "source_file": None}
        run.start(config | ({"data_sha256": fingerprints[known]} if known else {}))
        run.write_metrics([row("training")])
        keep(run)
        if app == "char_lm":
            return char_lm._model_card(run, CharLmSettings(**settings), 66, 1000, "float32", "To be", 4_100_000)
        if app == "sentiment":
            return sentiment._model_card(run, SentimentSettings(**settings), 1000, "float32", 4_100_000)
        model = SimpleNamespace(count_params=lambda: 1000)
        serving = SimpleNamespace(models=[model], subwords=range(4000), alpha=1.0, beta=0.0, precision="float32")
        examples = [("This | that", "Dies")]
        return translation._model_card([run], TranslationSettings(**settings), serving, examples, 4_100_000)

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

        # Of translators the section tells of teachers and of earlier runs, too, whose commands the card has.
        commands = [line for line in shipped.splitlines() if line.startswith("    python apps/translation.py")]
        stages = {
            "--teacher-run": ["teacher 1", "teaching"],
            "--teacher-model": ["teaching"],
            "--back-translation-run": ["back-translation"],
        }
        found = [stage for flag, names in stages.items() for stage in names if flag in " ".join(commands)]
        settings = {"start_from": "earlier"} if commands and "--start-from" in commands[-1] else {}

        def keep(run):
            run.write_metrics([*run.metrics(), *map(row, dict.fromkeys(found))])

        assert section(card(app, data, known, keep=keep, **settings), "Data") == section(shipped, "Data")
        told = section(card(app, "mine.txt", known, keep=keep, **settings), "Data")
        assert told.replace("mine.txt", data) == section(shipped, "Data")

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


PAIRS = {
    "pairs": 4,
    "higher": 0.25,
    "by_kind": [
        {"kind": "negation", "pairs": 3, "higher": 0.0, "both_right": 0.0},
        {"kind": "intensity", "pairs": 1, "higher": 1.0, "both_right": None},
    ],
    "wrong": [
        {"kind": "negation", "positive": "Not bad | at all.", "negative": "Bad.", "scores": [0.2, 0.3]},
        {"kind": "negation", "positive": "Hardly dull.", "negative": "Dull.", "scores": [0.1, 0.9]},
        {"kind": "negation", "positive": "No bore.", "negative": "A bore.", "scores": [0.4, 0.6]},
    ],
}


def test_pairs_that_were_judged(card):
    told = card("sentiment", "mine", None, keep=lambda run: run.keep_pairs(PAIRS))
    assert "P(positive) in 25 %:" in told
    assert "| negation | 3 | 0.00 | 0.00 |" in told
    assert "| intensity | 1 | 1.00 |  |" in told
    rows = [line for line in told.splitlines() if line.startswith(("| Not", "| Hardly", "| No "))]
    assert rows == ["| Hardly dull. | 0.10 | Dull. | 0.90 |", "| No bore. | 0.40 | A bore. | 0.60 |"]
    assert "pairs" not in card("sentiment", "mine", None)


def test_figures_have_their_intervals(card):
    figures = {"data": "/data/mine", "split": "test", "examples": 25000, "accuracy": 0.93, "roc_auc": 0.98}
    figures |= {"accuracy_interval": [0.9268, 0.9331], "expected_calibration_error": 0.01}
    told = card("sentiment", "mine", None, keep=lambda run: run.keep_evaluation(figures))
    assert "| test of mine (25,000 texts) | 0.9300 (0.9268–0.9331) | 0.9800 | 0.0100 |" in told.splitlines()


def test_a_translators_examples_and_size(card):
    told = card("translation", "mine", None)
    assert "| This \\| that | Dies |" in told.splitlines()
    assert "- size: 4.1 MB" in told.splitlines()


class TestCommand:
    @pytest.mark.parametrize(
        ("config", "command"),
        [
            ({"data": "/a/input.txt", "units": 9, "weight_decay": 0.2}, "--run RUN --units 9"),
            (
                {"data": "input.txt", "encoding": "cp 1", "layer_normalization": True, "weight_decay": 0.2},
                "--run RUN --encoding 'cp 1' --layer-normalization",
            ),
            ({"data": "input.txt", "weight_decay": 0.2}, "--run RUN"),
            # From before there was such a setting.
            ({"data": "input.txt"}, "--run RUN --weight-decay 0.0"),
        ],
    )
    def test_what_differs_from_the_defaults_is_in_it(self, config, command):
        found = train_command({"task": "char_lm", **config}, CharLmSettings())
        assert found == f"python apps/char_lm.py train --data input.txt {command}"

    def test_it_starts_the_same_run(self):
        """As the command line reads it."""
        settings = TranslationSettings(source_language="en", target_language="de", subwords=300, r_drop=0.5)
        config = {"task": "translation", "data": None, "source_file": "/a/b c.en", "target_file": "/a/b c.de"}
        command = train_command(config | dataclasses.asdict(settings), TranslationSettings())
        _, bound, _ = translation_commands.app.parse_args(shlex.split(command)[2:])
        assert bound.arguments["settings"] == settings
        assert bound.arguments["source_file"] == "b c.en"

    def test_that_of_the_run_it_starts_from_stands_before_it(self, card, tmp_path):
        earlier = RunFolder(tmp_path / "language-model")
        earlier.start({"task": "sentiment", "data": "/data/imdb", "pretraining_passes": 3.0})
        earlier.write_metrics([row("pretraining"), row("training")])

        def keep(run):
            run.config_path.write_text(json.dumps({**run.config(), "task": "sentiment", "start_from": "/a/earlier"}))
            run.keep_earlier(earlier, "pretraining", "pretraining")
            run.keep_earlier(earlier, "pretraining", "pretraining")  # as each time it goes on

        told = card("sentiment", "imdb", None, keep=keep).splitlines()
        place = told.index("    python apps/sentiment.py train --data imdb --run RUN --pretraining-passes 3.0")
        assert told[place + 1] == "    python apps/sentiment.py train --data imdb --run RUN --start-from earlier"
        assert "Training took 2.0 minutes (3.0 processor minutes) over 2 epochs:" in told


def test_what_teachers_and_earlier_runs_built_on_took_its_time_once(card, tmp_path):
    """Two rounds of translating there and back: the run of the other direction is behind all of them."""
    back, first = RunFolder(tmp_path / "back"), RunFolder(tmp_path / "first")
    for run, number in ((back, 1), (first, 2)):
        run.start({"task": "translation", "data": "/data/pairs.tsv", "seed": number})
        run.write_metrics([row("training"), row("training", epoch=2)])
    first.keep_teacher(back.path, first.config(), "back-translator")
    first.write_metrics([*first.metrics(), row("back-translation")])

    def keep(run):
        places = {"teacher_run": [str(first.path)], "back_translation_run": str(back.path)}
        run.config_path.write_text(json.dumps({**run.config(), "task": "translation", **places}))
        for _ in range(2):  # as each time it goes on
            run.keep_teachers([first.path], run.config())
            run.keep_teacher(back.path, run.config(), "back-translator")
        run.write_metrics([*run.metrics(), row("teaching"), row("back-translation")])

    found = card("translation", "pairs.tsv", None, keep=keep)
    assert "Training took 8.0 minutes (12.0 processor minutes), the runs before it counted in. The weights" in found
    commands = [line.split("--run RUN")[-1] for line in found.splitlines() if line.startswith("    python")]
    assert commands == [" --seed 1", " --seed 2", ""]
    assert "that a run made" in section(found, "Data")


class TestWhatATranslatorLearntFrom:
    @pytest.fixture
    def written(self, card):
        """From stages beside the training and what else the run was started with, to the card."""

        def write(*stages, **config):
            def keep(run):
                run.config_path.write_text(json.dumps({**run.config(), "task": "translation", **config}))
                taught = [row(stage, epoch=7, val_bleu=99.0) for stage in stages]
                run.write_metrics([*taught, *run.metrics()])

            settings = {name: value for name, value in config.items() if name == "start_from"}
            return card("translation", "pairs.tsv", None, keep=keep, **settings)

        return write

    @pytest.mark.parametrize(
        ("runs", "told"), [(["/a/one"], "that a run made"), (["/a/one", "/b/two"], "that 2 runs together made")]
    )
    def test_runs(self, written, runs, told):
        found = written(*(f"teacher {number}" for number, _ in enumerate(runs, 1)), "teaching", teacher_run=runs)
        assert told in section(found, "Data")
        named = " ".join(f"--teacher-run {run.split('/')[-1]}" for run in runs)
        assert f"    python apps/translation.py train --data pairs.tsv {named} --run RUN\n" in found
        minutes = 2.0 + len(runs)
        assert f"took {minutes} minutes ({1.5 * minutes} processor minutes), the runs before it counted in." in found
        assert "counted in. The weights after epoch 1 " in found
        assert "30.00 on validation" in found and "99.00" not in found

    def test_an_exported_model(self, written):
        found = written("teaching", teacher_model="/models/first")
        assert "that an exported model made" in section(found, "Data")
        assert "    python apps/translation.py train --data pairs.tsv --teacher-model first --run RUN\n" in found
        assert "processor minutes), those of its teacher not counted in. The weights" in found

    def test_back_translations(self, written):
        found = written("back-translator", "back-translation", back_translation_run="/runs/back")
        assert "What a run the other way round made of the training translations" in section(found, "Data")
        assert "    python apps/translation.py train --data pairs.tsv --back-translation-run back --run RUN\n" in found
        assert "processor minutes), the runs before it counted in. The weights" in found

    def test_what_the_run_did_that_it_went_on_from(self, written):
        found = written(
            *("earlier back-translation", "earlier teaching", "earlier training", "earlier earlier training"),
            start_from="/runs/first",
        )
        assert "that an exported model made" in section(found, "Data")
        assert "What a run the other way round made" in section(found, "Data")
        assert "went on from the weights of a finished one" in section(found, "Data")
        assert "    python apps/translation.py train --data pairs.tsv --run RUN --start-from first\n" in found
        counted = "the runs before it counted in, those of its teacher not counted in. The weights after epoch 1 "
        assert f"took 5.0 minutes (7.5 processor minutes), {counted}" in found

    def test_the_data_alone(self, written):
        found = written()
        for words in ("it learnt from", "the other way round", "went on", "counted in"):
            assert words not in found


def test_paragraphs_and_words_of_cards_stay_apart():
    """The templates drop the end of a line that ends with a block."""
    for path in sorted((Path(nlp_lstm.__file__).parent).glob("*/templates/*.md.jinja")):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert line.lstrip().startswith("{%") or not line.endswith("%}"), f"{path.name}: {line}"


CHAR_LM = {"task": "char_lm", "weight_decay": CharLmSettings().weight_decay}
"""A run's configuration; one without the decay would be from before there was any."""


@pytest.mark.parametrize(("runs", "told"), [(["/a/one"], "what a run before it"), (["/a/one", "/b/two"], "2 runs")])
def test_what_a_character_model_learnt_from(card, runs, told):
    def keep(run):
        config = {**run.config(), **CHAR_LM, "teacher_run": runs}
        run.config_path.write_text(json.dumps(config))
        run.write_metrics([row("teacher 1", val_loss=0.1), *run.metrics()])

    found = card("char_lm", "plays.txt", None, keep=keep)
    assert told in section(found, "Data")
    assert "share of 0.5 in the loss" in section(found, "Data")
    named = " ".join(f"--teacher-run {run.split('/')[-1]}" for run in runs)
    assert f"    python apps/char_lm.py train --data plays.txt {named} --run RUN\n" in found
    assert (
        "took 2.0 minutes (3.0 processor minutes) over 1 epochs (minutes of the runs before it counted in), of" in found
    )
    assert "learnt what" not in card("char_lm", "plays.txt", None)


def test_a_character_model_that_went_on_from_another(card, tmp_path):
    first = RunFolder(tmp_path / "first")
    first.start({**CHAR_LM, "data": "/data/plays.txt", "units": 64})
    first.write_metrics([row("training", val_loss=0.1)])

    def keep(run):
        run.config_path.write_text(json.dumps({**run.config(), **CHAR_LM, "start_from": str(first.path)}))
        run.keep_all_earlier(first)

    found = card("char_lm", "plays.txt", None, keep=keep, start_from=str(first.path))
    assert "went on from the weights of a finished one" in section(found, "Data")
    assert "    python apps/char_lm.py train --data plays.txt --run RUN --units 64\n" in found
    assert "    python apps/char_lm.py train --data plays.txt --run RUN --start-from first\n" in found
    assert "took 2.0 minutes (3.0 processor minutes) over 1 epochs (minutes of the runs before it counted in)" in found
    for words in ("went on", "builds on"):
        assert words not in card("char_lm", "plays.txt", None)


def test_a_character_model_that_went_on_from_an_exported_one(card):
    found = card("char_lm", "plays.txt", None, start_from="/models/char_lm")
    assert "went on from the weights of an exported model, whose data and minutes are not" in section(found, "Data")
    assert "took 1.0 minutes (1.5 processor minutes) over 1 epochs, of" in found


def test_what_a_character_model_read_before_its_data(card, tmp_path):
    """On the road of its weights and on that of what teaches it; what it reads itself is told of once."""
    runs = {name: RunFolder(tmp_path / name) for name in ("reviews", "sentences", "same")}
    for name, run in runs.items():
        run.start({"task": "char_lm", "data": f"/data/{name}", "data_sha256": name.replace("same", "own")})
        run.write_metrics([row("training")])

    def keep(run):
        run.config_path.write_text(json.dumps({**run.config(), "task": "char_lm", "data_sha256": "own"}))
        run.keep_all_earlier(runs["reviews"])
        run.keep_all_earlier(runs["same"])
        run.keep_all_of_teacher(runs["sentences"], "teacher 1")

    told = section(card("char_lm", "plays.txt", None, keep=keep, start_from="/runs/reviews"), "Data")
    first, second = (f"Runs that it builds on were trained on `{name}`.\n" for name in ("reviews", "sentences"))
    assert f"{first}\n{second}" in told
    assert told.count("builds on") == 2


def test_known_data_that_a_character_model_read_before_is_told_of(card, tmp_path):
    reviews = RunFolder(tmp_path / "reviews")
    fingerprints = {name: fingerprint for fingerprint, name in known_sets._KNOWN.items()}
    reviews.start({"task": "char_lm", "data": "/data/pos", "data_sha256": fingerprints["aclImdb_positive"]})
    reviews.write_metrics([row("training")])
    told = section(
        card("char_lm", "plays.txt", None, keep=lambda run: run.keep_all_of_teacher(reviews, "teacher 1")), "Data"
    )
    assert "were trained on `pos`: the 12,500 positive reviews" in told
    assert "nothing but the data above." in told


@pytest.mark.parametrize(
    ("accuracies", "told"),
    [
        (
            {"ngram_accuracy": 0.914, "vector_accuracy": 0.9246, "lstm_accuracy": 0.92, "accuracy": 0.933},
            "n-grams 0.9140, document vectors 0.9246, an earlier LSTM 0.9200, all of them mixed 0.9330.",
        ),
        (
            {"ngram_accuracy": 0.914, "vector_accuracy": 0.9246, "accuracy": 0.927},
            "n-grams 0.9140, document vectors 0.9246, all of them mixed 0.9270.",
        ),
        (
            {"ngram_accuracy": 0.914, "lstm_accuracy": 0.92, "accuracy": 0.924},
            "n-grams 0.9140, an earlier LSTM 0.9200, all of them mixed 0.9240.",
        ),
        ({"ngram_accuracy": 0.914, "accuracy": 0.914}, "n-grams 0.9140."),
    ],
)
def test_what_labelled_texts_without_labels(card, accuracies, told):
    def keep(run):
        told = {"stage": "teaching", "epoch": 1, **accuracies, "seconds": 60.0, "cpu_seconds": 90.0}
        run.write_metrics([*run.metrics(), told])

    figures = section(card("sentiment", "reviews", None, keep=keep), "Figures")
    assert f"right on so many of the validation texts: {told}\n" in figures
    assert ("The vectors are learnt from all these texts" in figures) == ("vector_accuracy" in accuracies)
    assert ("mixture were set on these same texts" in figures) == (len(accuracies) > 2)
    assert "Training took 2.0 minutes (3.0 processor minutes) over 1 epochs:" in figures


class TestMeanInterval:
    @pytest.mark.parametrize(("right", "number"), [(0.5, 40), (0.9, 2000), (0.93, 25_000)])
    def test_of_shares_it_is_that_of_the_binomial_distribution(self, right, number):
        values = np.arange(number) < right * number
        expected = scipy.stats.binom.interval(0.95, number, values.mean())
        width = (expected[1] - expected[0]) / number
        assert mean_interval(values) == pytest.approx(np.array(expected) / number, abs=0.06 * width)

    def test_it_is_the_same_each_time(self):
        values = np.random.default_rng(0).normal(size=100)
        low, high = mean_interval(values)
        assert [low, high] == mean_interval(values)
        assert low < values.mean() < high

    @pytest.mark.parametrize("values", [[0.25], [1, 1, 1], [True]])
    def test_values_that_do_not_differ(self, values):
        assert mean_interval(values) == [values[0]] * 2


def test_no_place_of_whoever_trained_it_stands_in_a_card(card):
    told = card(
        "sentiment",
        "aclImdb.tar.xz",
        None,
        start_from="/home/me/runs/language model",
        teacher_run="/home/me/runs/first",
    )
    assert "/home" not in told
    shown = section(told, "Settings")
    assert "- `start_from`: language model\n" in shown
    assert "- `teacher_run`: first\n" in shown
    assert "`encoding`" not in shown, "an empty setting tells nothing"
