"""Using a character model: figures against the Keras model read symbol by symbol, pieces that join, and the export."""

import dataclasses
import json
import math
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from language_model_gates import gates_of
from tensorflow_serving.apis import prediction_log_pb2

from nlp_lstm import saved_model
from nlp_lstm.char_lm import inference
from nlp_lstm.char_lm.dynamic_evaluation import dynamic_nats
from nlp_lstm.char_lm.export import export_run
from nlp_lstm.char_lm.inference import CharLm, Generation, evaluate, generate
from nlp_lstm.char_lm.serving import LONGEST_GENERATION, LONGEST_SCORED_TEXT
from nlp_lstm.char_lm.settings import Settings
from nlp_lstm.datasets.corpus import load_corpus
from nlp_lstm.datasets.known_sets import fingerprint_of_texts
from nlp_lstm.errors import UserError
from nlp_lstm.lstm import Gates
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.visible import for_terminal

ROWS = [
    {"stage": "training", "epoch": 1, "loss": 3.0, "val_loss": 2.5, "seconds": 60.0, "cpu_seconds": 150.0},
    {"stage": "training", "epoch": 2, "loss": 2.0, "val_loss": 1.25, "seconds": 90.0, "cpu_seconds": 180.0},
    {"stage": "training", "epoch": 3, "loss": 1.0, "val_loss": 1.5, "seconds": 30.0, "cpu_seconds": 30.0},
]

FIGURES = {
    "validation": {"characters": 12_345, "nats_per_char": 1.23456, "bits_per_char": 1.78111, "reset": 1.98769},
    "train": {"characters": 99, "nats_per_char": 1.01, "bits_per_char": 1.4571, "reset": 1.5},
}


@pytest.fixture(scope="module", params=["character", "byte"])
def app(request, exported_char_lm):
    return exported_char_lm(request.param)


@pytest.fixture(scope="module")
def of_export(app):
    return CharLm(app.base)


def settings_of(app):
    names = {field.name for field in dataclasses.fields(Settings)}
    known = {name: value for name, value in app.model.settings.items() if name in names and value is not None}
    return Settings(unit=app.symbols.unit, **known)


def run_of(app, folder, **more):
    """A finished run that holds the same model, as training would have left it."""
    run = RunFolder(folder)
    run.start({"task": "char_lm", "data": "/data/plays/input.txt", **dataclasses.asdict(settings_of(app)), **more})
    app.symbols.save(run.path / "symbols.json")
    app.model.save_weights(run.model_weights)
    run.write_metrics(ROWS)
    return run


@pytest.fixture(scope="module")
def run(app, tmp_path_factory):
    return run_of(app, tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def of_run(run):
    return CharLm(run.path / "no model is looked for", run.path)


def random_text(length, characters="aeinrst \n é😀QQ"):
    return "".join(characters[place] for place in np.random.default_rng(1).integers(0, len(characters), length))


def ids_of(app, text):
    """By hand: bytes are their own ids, and characters stand in their order from 1 on."""
    if app.symbols.unit == "byte":
        return list(text.encode())
    return [app.symbols.characters.index(one) + 1 if one in app.symbols.characters else 0 for one in text]


def log_probs_of(app, text):
    """Of each symbol, by the Keras model that reads a newline and then the text, in one go."""
    ids = [*ids_of(app, "\n"), *ids_of(app, text)]
    logits, _ = app.model(np.array([ids[:-1]], np.int32))
    guesses = keras.ops.convert_to_numpy(keras.ops.log_softmax(logits))[0].astype(np.float64)
    return guesses[np.arange(len(ids) - 1), ids[1:]]


def nats_of(app, text):
    return -log_probs_of(app, text).sum()


class TestLogProbs:
    def test_they_are_those_of_the_keras_model_stepping_through_the_text(self, app, of_export):
        """One symbol a call, the state handed on."""
        text = random_text(40)
        state, before, expected = None, ids_of(app, "\n")[0], []
        for number in ids_of(app, text):
            logits, state = app.model(np.array([[before]], np.int32), state)
            expected.append(keras.ops.convert_to_numpy(keras.ops.log_softmax(logits))[0, 0, number])
            before = number
        np.testing.assert_allclose(of_export.log_probs(text), expected, rtol=0, atol=2e-5)

    @pytest.mark.parametrize("characters", [1, 7, 100, 149, 150, 151])
    def test_a_text_longer_than_a_piece(self, app, of_export, monkeypatch, characters):
        text = random_text(150)
        monkeypatch.setattr(inference, "_CHARACTERS_IN_PIECE", characters)
        np.testing.assert_allclose(of_export.log_probs(text), log_probs_of(app, text), rtol=0, atol=5e-5)

    def test_a_text_longer_than_a_signature_reads(self, app, of_export, monkeypatch):
        """Of the widest characters."""
        text = random_text(LONGEST_SCORED_TEXT // 4 + 5, "😀\U0010ffff")
        found = of_export.log_probs(text)
        assert len(found) == len(ids_of(app, text))
        assert len(found) > LONGEST_SCORED_TEXT or app.symbols.unit == "character"
        monkeypatch.setattr(inference, "_CHARACTERS_IN_PIECE", 1000)
        np.testing.assert_allclose(found, of_export.log_probs(text), rtol=0, atol=2e-4)

    def test_a_run_gives_the_same(self, of_run, of_export):
        text = random_text(60)
        np.testing.assert_allclose(of_run.log_probs(text), of_export.log_probs(text), rtol=0, atol=1e-5)

    def test_no_text(self, of_export):
        assert of_export.log_probs("").shape == (0,)

    def test_a_lone_surrogate_is_one_symbol(self, of_export):
        assert of_export.log_probs("a\ud800b").shape == (3,)


@pytest.mark.parametrize("symbols_per_character", [1, 2])
def test_intervals_are_drawn_by_blocks(symbols_per_character):
    """Of what is the same all through a block, characters by themselves would tell far too much."""
    of_blocks = np.random.default_rng(0).uniform(1, 2, 40)
    log_probs = -np.repeat(of_blocks, 1000 * symbols_per_character) / symbols_per_character
    low, high = inference._block_interval(log_probs, 40_000)
    spread = 1.96 * of_blocks.std() / math.sqrt(40)
    assert low == pytest.approx(of_blocks.mean() - spread, abs=0.2 * spread)
    assert high == pytest.approx(of_blocks.mean() + spread, abs=0.2 * spread)


class TestEvaluate:
    TEXT = random_text(1401)

    @pytest.fixture(scope="class")
    def source(self, tmp_path_factory):
        path = tmp_path_factory.mktemp("source") / "text.txt"
        path.write_bytes(self.TEXT.encode())
        return path

    @pytest.fixture(scope="class")
    def found(self, of_export, source):
        return evaluate(of_export, str(source), "validation", validation_fraction=0.5)

    @property
    def part(self):
        return self.TEXT[700:]

    def test_what_was_judged(self, app, found, source):
        known = app.symbols.characters or self.part
        assert found["data"] == str(source)
        assert found["split"] == "validation"
        assert found["characters"] == len(self.part) == 701
        assert found["unknown_characters"] == sum(one not in known for one in self.part)
        assert found["chars_per_second"] > 0
        assert found["seconds"] >= 0

    def test_with_the_state_carried(self, app, found):
        """For each character, also where a model reads bytes."""
        nats = nats_of(app, self.part) / len(self.part)
        assert found["nats_per_char"] == pytest.approx(nats, rel=1e-5)
        assert found["bits_per_char"] == pytest.approx(nats / math.log(2), rel=1e-5)
        assert found["nats_per_char_interval"] == pytest.approx([nats, nats], rel=1e-5)  # it is but one block
        assert found["bits_per_char_interval"] == pytest.approx([nats / math.log(2)] * 2, rel=1e-5)
        assert found["perplexity"] == pytest.approx(math.exp(nats), rel=1e-4)

    def test_with_the_state_forgotten(self, app, found):
        pieces = [self.part[start : start + 256] for start in range(0, len(self.part), 256)]
        nats = sum(nats_of(app, piece) for piece in pieces) / len(self.part)
        assert found["reset_every"] == 256
        assert found["reset_nats_per_char"] == pytest.approx(nats, rel=1e-5)
        assert found["reset_bits_per_char"] == pytest.approx(nats / math.log(2), rel=1e-5)

    def test_with_the_state_forgotten_in_more_than_one_batch(self, app, of_export, source, monkeypatch):
        monkeypatch.setattr(inference, "RESET_EVERY", 5)
        found = evaluate(of_export, str(source), "validation", validation_fraction=0.5)
        pieces = [self.part[start : start + 5] for start in range(0, len(self.part), 5)]
        assert len(pieces) > 2 * 64
        # Batched for speed: a symbol behind the end of a piece has nothing to say.
        longest = max(len(ids_of(app, piece)) for piece in pieces)
        ids = np.array([[*ids_of(app, "\n"), *ids_of(app, piece), *[-1] * longest][: longest + 1] for piece in pieces])
        logits, _ = app.model(np.maximum(ids[:, :-1], 0))
        guesses = keras.ops.convert_to_numpy(keras.ops.log_softmax(logits))
        chosen = np.take_along_axis(guesses, np.maximum(ids[:, 1:, None], 0), axis=2)[..., 0]
        nats = -chosen[ids[:, 1:] >= 0].sum(dtype=np.float64) / len(self.part)
        assert found["reset_every"] == 5
        assert found["reset_nats_per_char"] == pytest.approx(nats, rel=1e-5)
        assert abs(found["reset_nats_per_char"] - found["nats_per_char"]) > 1e-3

    def test_a_run_has_the_same_figures_and_that_of_dynamic_evaluation_apart(self, app, of_run, source, found):
        of_the_run = evaluate(of_run, str(source), "validation", validation_fraction=0.5, dynamic=True)
        for name, value in found.items():
            if name not in ("seconds", "chars_per_second"):
                same = pytest.approx(value, rel=1e-5) if isinstance(value, float) else value
                assert of_the_run[name] == same, name
        ids = np.array(ids_of(app, self.part), np.int32)
        nats = dynamic_nats(app.model, ids_of(app, "\n")[0], ids) * len(ids) / len(self.part)
        assert of_the_run["dynamic_nats_per_char"] == pytest.approx(nats, rel=1e-4)
        assert of_the_run["dynamic_bits_per_char"] == pytest.approx(nats / math.log(2), rel=1e-4)
        assert set(of_the_run) - set(found) == {"dynamic_nats_per_char", "dynamic_bits_per_char"}
        assert abs(nats - found["nats_per_char"]) > 1e-3

    def test_line_mode(self, app, of_export, tmp_path):
        (tmp_path / "lines.txt").write_text("  rain \n\n\tan \n" * 20)
        found = evaluate(of_export, str(tmp_path / "lines.txt"), "train", line_mode=True)
        text = "rain\n\nan\n" * 20
        text = text[: text.find("\n", int(0.9 * len(text)) - 1) + 1]
        assert found["characters"] == len(text)
        assert found["nats_per_char"] == pytest.approx(nats_of(app, text) / len(text), rel=1e-5)

    def test_dynamic_evaluation_of_an_export_is_refused_before_the_work(self, of_export, tmp_path):
        with pytest.raises(UserError, match="name a --run"):
            evaluate(of_export, str(tmp_path / "none.txt"), "validation", dynamic=True)

    def test_a_split_that_is_not_there(self, of_export, source):
        with pytest.raises(UserError, match="has no test part"):
            evaluate(of_export, str(source), "test")


def test_a_model_that_is_wrong_beyond_measure(exported_char_lm, tmp_path):
    """Training at far too high a rate gives such: a loss of thousands of nats, too many for the perplexity."""
    app = exported_char_lm("character")
    wild = run_of(app, tmp_path / "run")
    (tmp_path / "text.txt").write_text("an era in a rain")
    before = app.model.head.get_weights()
    try:
        app.model.head.set_weights([weight * 10_000 for weight in before])
        app.model.save_weights(wild.model_weights)
    finally:
        app.model.head.set_weights(before)
    found = evaluate(CharLm(tmp_path, wild.path), str(tmp_path / "text.txt"), "train")
    assert found["nats_per_char"] > 710
    json.dumps(found, allow_nan=False)


class TestLookingInside:
    @pytest.fixture
    def expected(self, app):
        def gates(text):
            looked_at = gates_of(app.model, np.array([[*ids_of(app, "\n"), *ids_of(app, text)]], np.int32))
            return {
                name: np.concatenate([np.asarray(getattr(layer, name))[0, 1:] for layer in looked_at], axis=1)
                for name in Gates._fields
            }

        return gates

    def test_activity_is_that_of_the_keras_model(self, app, of_export, of_run, expected):
        text = random_text(50)
        for model in (of_export, of_run):
            found = model.activity(text)
            assert set(found) == set(Gates._fields)
            for name, values in expected(text).items():
                assert values.shape == (len(ids_of(app, text)), app.serving.folded.layers * app.serving.folded.units)
                assert found[name].shape == values.shape
                np.testing.assert_allclose(found[name], values, rtol=0, atol=2e-5)

    def test_longer_texts_are_read_in_pieces_each_anew(self, app, of_export, expected, monkeypatch):
        monkeypatch.setattr(inference, "LONGEST_TEXT_LOOKED_INTO", 32)
        text = random_text(75)
        size = 8 if app.symbols.unit == "byte" else 32  # so many characters are 32 bytes at the most
        parts = [expected(text[start : start + size]) for start in range(0, len(text), size)]
        for name, values in of_export.activity(text).items():
            np.testing.assert_allclose(values, np.concatenate([part[name] for part in parts]), rtol=0, atol=2e-5)

    def test_knows_and_split(self, app, of_export):
        assert of_export.split("aé\n") == (
            ["a", "\\xc3", "\\xa9", "\n"] if app.symbols.unit == "byte" else list("aé\n")
        )
        for character in "aéQ映\n":
            assert of_export.knows(character) == (app.symbols.unit == "byte" or character in app.symbols.characters)


class TestGenerate:
    def test_samples_have_the_seeds_that_follow_one_another(self, app, of_export):
        how = Generation(length=25, temperature=1.5, top_k=9, top_p=0.95, seed=41, samples=3)
        answers = generate(of_export, "é an".encode(), how)
        for seed, answer in zip((41, 42, 43), answers, strict=True):
            text = app.serving.generate(*(tf.constant([one]) for one in ("é an", 25, 1.5, 9, 0.95, seed)))["text"]
            assert answer == {"text": text.numpy()[0].decode(), "seed": seed}
        assert len({answer["text"] for answer in answers}) == 3
        assert [generate(of_export, "é an".encode(), how._replace(seed=42, samples=1))[0]] == answers[1:2]

    def test_a_beam_finds_one_text_and_tells_how_likely_it_is(self, app, of_export):
        (answer,) = generate(of_export, b"an", Generation(length=6, beam=5))
        expected = app.serving.likeliest(tf.constant(["an"]), tf.constant([6]), tf.constant([5]))
        assert answer["text"] == expected["text"].numpy()[0].decode()
        assert answer["log_prob"] == pytest.approx(float(expected["log_prob"][0]), abs=1e-4)
        assert answer["beam"] == 5
        assert set(answer) == {"text", "beam", "log_prob"}

    @pytest.mark.parametrize(
        ("changed", "told"),
        [
            *(({"length": value}, f"--length is {value}: expected 1 to 4096") for value in (0, -1, 4097)),
            *(({"temperature": value}, f"--temperature is {value}") for value in (-0.1, math.nan, math.inf, 100.1)),
            ({"top_k": -1}, "--top-k is -1: expected 0 (no limit)"),
            ({"top_k": 2**32 + 1}, "--top-k is 4294967297"),  # as 32 bits it would be 1
            *(({"top_p": value}, f"--top-p is {value}: expected above 0") for value in (0.0, -1.0, 1.01, math.nan)),
            *(({"samples": value}, f"--samples is {value}: expected 1 to 256") for value in (0, 257)),
            *(({"seed": value}, f"--seed is {value}: expected 0 to") for value in (-1, 2**31 - 1, 2**63)),
            ({"seed": 2**31 - 4, "samples": 4}, "--seed is 2147483644: expected 0 to 2147483643"),
            *(({"beam": value}, f"--beam is {value}: expected 0 (draw) to 16") for value in (-1, 17)),
        ],
    )
    def test_out_of_range(self, changed, told):
        with pytest.raises(UserError) as caught:
            Generation(**changed).check()
        assert str(caught.value).startswith(told)

    def test_the_edges_are_taken(self):
        Generation().check()
        Generation(length=1, temperature=0.0, top_p=1e-9, samples=1, seed=2**31 - 2, beam=16).check()
        Generation(length=LONGEST_GENERATION, temperature=100.0, top_p=1.0, samples=256, seed=2**31 - 257).check()


class TestExport:
    @pytest.fixture(scope="class")
    def exported(self, app, run, tmp_path_factory):
        for split, figures in FIGURES.items():
            kept = {"data": "/data/plays/input.txt", "split": split, **figures}
            kept["reset_bits_per_char"] = kept.pop("reset")
            if split == "validation":
                kept |= {"dynamic_nats_per_char": 1.1111, "dynamic_bits_per_char": 1.603}
            run.keep_evaluation(kept)
        base = tmp_path_factory.mktemp("models") / "char_lm"
        return base, export_run(run, base)

    def test_the_model_is_the_same(self, exported, of_run):
        base, version = exported
        assert version == base / "1"
        assert sorted(path.name for path in base.iterdir()) == ["1", "model_card.md"]
        found, text = CharLm(base), random_text(80)
        assert set(found.signatures) == set(of_run.signatures)
        np.testing.assert_allclose(found.log_probs(text), of_run.log_probs(text), rtol=0, atol=1e-5)
        assert found.symbols.spelling == of_run.symbols.spelling

    def test_warm_up_asks_every_signature_what_it_can_answer(self, exported, of_run):
        _, version = exported
        asked = {}
        for record in tf.data.TFRecordDataset(str(version / saved_model.WARM_UP_FILE)):
            log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
            request = log.predict_log.request
            assert request.model_spec.name == "char_lm"
            asked[request.model_spec.signature_name] = {
                name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()
            }
        assert set(asked) == set(of_run.signatures)
        model = CharLm(version)
        for name, inputs in asked.items():
            answer = model.signatures[name](**inputs)
            assert all(len(value) == 2 for value in answer.values())

    def test_the_model_card(self, app, exported):
        base, version = exported
        card = (base / "model_card.md").read_text(encoding="utf-8")
        assert (version / saved_model.WARM_UP_FILE).with_name("model_card.md").read_text(encoding="utf-8") == card
        lines = card.split("\n")
        row = lines.index("| validation of input.txt (12,345 characters) | 1.2346 | 1.7811 | 1.9877 |")
        assert "dynamic evaluation" in lines[row + 1]
        assert "| 1.1111 | 1.6030 |" in lines[row + 1]
        assert "| train of input.txt (99 characters) | 1.0100 | 1.4571 | 1.5000 |" in lines
        assert "Training took 3.0 minutes (6.0 processor minutes) over 3 epochs, of" in lines
        assert "which the weights after epoch 2 are kept:" in lines
        (command,) = (line for line in lines if line.startswith("    python apps/char_lm.py train --data input.txt "))
        assert f"--units {settings_of(app).units}" in command
        size = sum(path.stat().st_size for path in version.rglob("*") if path.is_file())
        size -= len(card.encode())
        assert f"in training, {size / 1e6:.1f} MB." in card
        how = {"temperature": 0.8, "seed": 0, "length": 300}
        (written,) = generate(CharLm(version), b"", Generation(**how))
        # What a terminal would obey is shown as a sign.
        assert textwrap.indent(for_terminal(written["text"], keep="\n"), "    ") in card
        assert "Trained on `input.txt`." in lines
        assert "Shakespeare" not in card  # though its file has the name of those plays
        assert f"{sum(weight.numpy().size for weight in app.model.trainable_weights):,} weights in training, " in card
        assert f"over {len(app.symbols)} symbols" in card
        for name, value in dataclasses.asdict(settings_of(app)).items():
            assert (f"- `{name}`: {value}" in lines) == (value != "")

    def test_what_the_card_tells_of_data_goes_by_what_it_holds(self, app, tmp_path, monkeypatch):
        cards = []
        monkeypatch.setattr(saved_model, "save", lambda *arguments, batching: cards.append(arguments[-1](1_200_000)))
        sample = fingerprint_of_texts(load_corpus("sample", ["train", "validation"]))
        for number, more in enumerate(({"data_sha256": sample}, {"data_sha256": sample[::-1]}, {})):
            export_run(run_of(app, tmp_path / str(number), **more), tmp_path / "models")
        assert "The sample is a short text" in cards[0]
        assert (
            cards[1]
            == cards[2]
            == cards[0].replace("\nThe sample is a short text: enough to try the suite, not to write with.\n", "")
        )

    def test_a_run_that_was_not_evaluated(self, app, tmp_path, monkeypatch):
        cards = []
        monkeypatch.setattr(saved_model, "save", lambda *arguments, batching: cards.append(arguments[-1](1_200_000)))
        export_run(run_of(app, tmp_path / "run"), tmp_path / "models")
        assert "| not evaluated | | | |" in cards[0].split("\n")


def test_a_model_of_another_app_is_refused(exported_sentiment):
    with pytest.raises(UserError, match="has no signature 'read'"):
        CharLm(exported_sentiment.base)


def test_no_model_and_no_run(tmp_path):
    with pytest.raises(UserError, match="no model at"):
        CharLm(tmp_path / "none")
    with pytest.raises(UserError, match="is no training run"):
        CharLm(tmp_path / "none", tmp_path)
