"""The character model's app as its users run it: every verb on a small text, and what it says to mistakes."""

import dataclasses
import functools
import json
import math
import os
import shutil
from pathlib import Path

import command_line
import matplotlib.image
import numpy as np
import pytest

import apps.sentiment
from apps.char_lm import app
from nlp_lstm import cli
from nlp_lstm.char_lm import inference, writing
from nlp_lstm.char_lm.inference import CharLm
from nlp_lstm.char_lm.serving import LONGEST_GENERATION
from nlp_lstm.char_lm.settings import Settings
from nlp_lstm.datasets.corpus import load_corpus
from nlp_lstm.datasets.known_sets import fingerprint_of_texts

TEXT = 'ROMEO:\nThe (cat) sat on the mat. "Why?" said the dog.\n\n"It [was] mine," he said.\nAnd so on.\n' * 25

TINY = {
    "--seed": "5",
    "--embedding-size": "6",
    "--units": "7",
    "--epochs": "2",
    "--batch-size": "4",
    "--window": "16",
    "--learning-rate": "0.02",
    "--averaging": "0.9",
}


Result = functools.partial(command_line.Result, "char_lm")
call = functools.partial(command_line.call, app)


def train_command(run, data, **changed):
    flags = {**TINY, **{f"--{name.replace('_', '-')}": value for name, value in changed.items()}}
    return ["train", "--data", str(data), "--run", str(run), *(word for flag in flags.items() for word in flag)]


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(Path(folder).rglob("*"))
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "input.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("trained") / "run"
    return run, call(*train_command(run, data))


@pytest.fixture(scope="module")
def run(trained):
    assert trained[1].status == 0, trained[1].err
    return trained[0]


@pytest.fixture(scope="module")
def judged(run, data):
    return call("evaluate", "--run", run, "--data", data, "--dynamic", "--json")


@pytest.fixture(scope="module")
def exported(run, judged, tmp_path_factory):
    base = tmp_path_factory.mktemp("exported") / "models" / "char_lm"
    return base, call("export", "--run", run, "--to", base, "--json")


@pytest.fixture(scope="module")
def model(exported):
    assert exported[1].status == 0, exported[1].err
    return exported[0]


_LOADED: dict = {}


@pytest.fixture
def loaded_once(monkeypatch):
    """For tests of the texts and not of the model: load it, and trace its writer, at the first call alone."""

    def once(make):
        def given(*arguments):
            key = (make, *(one if isinstance(one, Path | None) else id(one) for one in arguments))
            if key not in _LOADED:
                _LOADED[key] = make(*arguments)
            return _LOADED[key]

        return given

    monkeypatch.setattr(inference, "CharLm", once(CharLm))
    monkeypatch.setattr(writing, "Writer", once(writing.Writer))


class TestVerbs:
    def test_train(self, trained, data):
        run, result = trained
        assert result.status == 0
        assert result.out == ""
        length = len(TEXT)
        assert f"{int(0.9 * length)} characters to train on, {length - int(0.9 * length)} for validation" in result.err
        assert "training: Epoch 2/2" in result.err
        assert json.loads((run / "config.json").read_text()) == {
            "task": "char_lm",
            "data": str(data),
            **dataclasses.asdict(Settings()),
            **{name[2:].replace("-", "_"): json.loads(value) for name, value in TINY.items()},
            "data_sha256": fingerprint_of_texts(load_corpus(str(data), ["train", "validation"])),
        }

    def test_training_a_finished_run_again_changes_nothing(self, run, data):
        before = tree(run)
        assert call(*train_command(run, data)) == Result(0, "", f"the run in '{run}' is finished\n")
        assert tree(run) == before

    def test_evaluate_a_run(self, run, judged, data):
        """The figures are those of what `score` says of the same text."""
        found = judged.object
        part = TEXT[int(0.9 * len(TEXT)) :]
        log_probs = call("score", "--run", run, "--json", part).object["char_log_probs"]
        nats = -sum(log_probs) / len(part)
        assert found["nats_per_char"] == pytest.approx(nats, rel=1e-4)
        assert found["bits_per_char"] == pytest.approx(nats / math.log(2), rel=1e-4)
        assert found["perplexity"] == pytest.approx(math.exp(nats), rel=1e-3)
        assert (found["data"], found["split"], found["characters"]) == (str(data), "validation", len(part))
        assert found["dynamic_nats_per_char"] != found["nats_per_char"]
        assert json.loads((run / "evaluation-validation.json").read_text()) == found

    def test_export(self, exported, judged):
        base, result = exported
        assert result.object == {"version": str(base / "1")}
        figures = judged.object
        card = (base / "model_card.md").read_text(encoding="utf-8")
        for name in ("nats_per_char", "bits_per_char"):
            low, high = figures[f"{name}_interval"]
            assert f"| {figures[name]:.4f} ({low:.4f}–{high:.4f}) |" in card
        assert f"| {figures['dynamic_nats_per_char']:.4f} |" in card

    def test_the_next_export_is_the_next_version(self, run, model, tmp_path):
        base = tmp_path / "char_lm"
        shutil.copytree(model, base)
        assert call("export", "--run", run, "--to", base) == Result(0, f"{base / '2'}\n", "")
        assert sorted(path.name for path in base.iterdir()) == ["1", "2", "model_card.md"]

    def test_an_export_in_8_bits_says_nearly_the_same(self, run, model, judged, data, tmp_path):
        base = tmp_path / "narrow"
        assert call("export", "--run", run, "--to", base, "--precision", "int8").status == 0
        assert "8 bits" in (base / "model_card.md").read_text(encoding="utf-8")
        assert "8 bits" not in (model / "model_card.md").read_text(encoding="utf-8")
        found = call("evaluate", "--model", base, "--data", data, "--json").object["nats_per_char"]
        assert 0 < abs(found - judged.object["nats_per_char"]) < 0.02
        wrong = call("export", "--run", run, "--to", base, "--precision", "int4")
        assert wrong.status == 2 and "int4" in wrong.err

    @pytest.mark.usefixtures("loaded_once")
    def test_evaluate_an_export(self, model, judged, data):
        found = call("evaluate", "--model", model, "--data", data, "--json").object
        for name, value in found.items():
            if name not in ("seconds", "chars_per_second"):
                assert value == (pytest.approx(judged.object[name], rel=1e-5) if isinstance(value, float) else value)
        plain = call("evaluate", "--model", model, "--data", data)
        assert f"judging {found['characters']} of {len(TEXT):,} characters" in plain.err and "--split all" in plain.err
        rows = dict(line.split() for line in plain.out.splitlines())
        assert list(rows) == list(found)
        assert rows["nats_per_char"] == f"{found['nats_per_char']:.4f}"
        assert rows["characters"] == str(found["characters"])

    @pytest.mark.usefixtures("loaded_once")
    def test_all_of_a_file_in_any_encoding(self, model, data, tmp_path):
        command = ["evaluate", "--model", model, "--split", "all", "--json", "--data"]
        expected = call(*command, data)
        assert (expected.object["characters"], expected.err) == (len(TEXT), "")
        path = tmp_path / "input.txt"
        for encoding, flags in (("utf-16", ()), ("utf-32", ()), ("utf-16-le", ("--encoding", "utf-16-le"))):
            path.write_bytes(TEXT.replace("\n", "\r\n").encode(encoding))
            found = call(*command, path, *flags).object
            assert found["nats_per_char"] == pytest.approx(expected.object["nats_per_char"], rel=1e-5)
            assert found["characters"] == len(TEXT)
        assert call(*command, path).is_mistake("--encoding utf-16-le")

    @pytest.mark.usefixtures("loaded_once")
    def test_encodings_of_texts(self, model, data, tmp_path):
        path, text = tmp_path / "text.txt", "ROMEO: „é “\n"
        path.write_bytes(text.encode("cp1252"))
        named = ["--file", path, "--encoding", "cp1252"]
        assert call("score", "--model", model, "--json", *named).object["text"] == text[:-1]
        assert call("explain", "--model", model, "--json", *named).object["text"] == text[:-1]
        generated = ["generate", "--model", model, "--json", "--length", "3"]
        assert call(*generated, *named).object["prompt"] == text[:-1]
        result = call(*generated, "--file", path)
        assert result.object["prompt"] == "ROMEO: \ufffd\ufffd \ufffd" and "--encoding cp1252" in result.err
        path.write_bytes(TEXT.encode("utf-16-le"))
        searched = ["explain", "--model", model, "--json", "--follow", "line_position", "--data", path]
        assert call(*searched, "--encoding", "utf-16-le", "The cat").object["text"] == "The cat"
        assert call(*searched, "The cat").is_mistake("--encoding utf-16-le")

    @pytest.mark.thorough
    def test_a_run_is_judged_in_its_encoding(self, tmp_path):
        path, run = tmp_path / "input.txt", tmp_path / "run"
        path.write_bytes((TEXT + "„é“\n" * 100).encode("cp1252"))
        result = call(*train_command(run, path, encoding="cp1252", epochs=1))
        assert result.status == 0, result.err
        result = call("evaluate", "--run", run, "--data", path, "--split", "all", "--json")
        assert (result.object["unknown_characters"], result.err) == (0, "")
        result = call("evaluate", "--run", run, "--data", path, "--split", "all", "--encoding", "", "--json")
        assert "characters that are not UTF-8" in result.err and result.object["unknown_characters"] > 100

    def test_help(self, monkeypatch):
        monkeypatch.setenv("COLUMNS", "200")
        for verb in ("train", "evaluate", "generate", "score", "explain", "export"):
            result = call(verb, "--help")
            assert f"Usage: char_lm {verb}" in result.text
            assert verb in call("--help").out
        shown = call("train", "--help").out
        for field in dataclasses.fields(Settings):
            assert f"--{field.name.replace('_', '-')} " in shown


@pytest.mark.usefixtures("loaded_once")
class TestGenerate:
    def test_the_length_is_that_of_the_prompt_and_what_was_asked_for(self, model):
        command = ["generate", "--model", model, "--prompt", "ROMEO:", "--length", "300", "--temperature", "0.8"]
        command += ["--seed", "7"]
        found = call(*command, "--json").object
        assert set(found) == {"prompt", "text", "seed"}
        assert (found["prompt"], found["seed"]) == ("ROMEO:", 7)
        assert found["text"].startswith("ROMEO:")
        assert len(found["text"]) == 306
        assert set(found["text"]) <= set(TEXT)
        assert call(*command, "--json").object == found
        assert call(*command).text == found["text"] + "\n"
        assert call(*command[:-1], "8", "--json").object["text"] != found["text"]

    def test_a_run_writes_the_same(self, run, model):
        command = ["generate", "--prompt", "The", "--length", "60", "--seed", "3", "--json"]
        assert call(*command, "--run", run).object == call(*command, "--model", model / "1").object

    def test_samples_have_the_seeds_that_follow(self, model):
        command = ["generate", "--model", model, "--prompt", "The", "--length", "30"]
        found = call(*command, "--samples", "3", "--seed", "4", "--json").objects
        assert [answer["seed"] for answer in found] == [4, 5, 6]
        assert call(*command, "--seed", "5", "--json").object == found[1]
        assert len({answer["text"] for answer in found}) == 3
        plain = call(*command, "--samples", "3", "--seed", "4").text
        assert plain == "".join(f"== seed {answer['seed']}\n{answer['text']}\n" for answer in found)

    def test_stop(self, model):
        command = ["generate", "--model", model, "--prompt", "The", "--length", "200", "--seed", "2"]
        whole = call(*command, "--json").object["text"]
        stop = whole[30:32]
        expected = "The" + whole[3:].split(stop)[0]
        assert call(*command, "--stop", stop, "--json").object == {"prompt": "The", "text": expected, "seed": 2}
        assert call(*command, "--stop", stop).text == expected + "\n"
        assert call(*command, "--stop", "never", "--json").object["text"] == whole

    def test_greedy_and_beams(self, model):
        command = ["generate", "--model", model, "--prompt", "The", "--length", "12"]
        greedy = {call(*command, "--temperature", "0", "--seed", seed).text for seed in (0, 1)}
        assert len(greedy) == 1
        assert call(*command, "--top-k", "1").text in greedy
        found = [call(*command, "--beam", size, "--json").object for size in (1, 8)]
        assert found[0]["text"] + "\n" in greedy
        assert found[1]["log_prob"] >= found[0]["log_prob"] - 1e-6
        assert set(found[1]) == {"prompt", "text", "beam", "log_prob"}
        assert call(*command, "--beam", "8").text == found[1]["text"] + "\n"
        scored = call("score", "--model", model, "--json", found[1]["text"]).object["char_log_probs"]
        assert found[1]["log_prob"] == pytest.approx(sum(scored[3:]), abs=1e-4)

    def test_without_a_prompt_it_begins_a_line(self, model):
        found = call("generate", "--model", model, "--length", "20", "--json").object
        assert found["prompt"] == ""
        assert len(found["text"]) == 20
        assert call("generate", "--model", model, "--length", "20").text == found["text"] + "\n"

    def test_the_longest_text(self, model):
        found = call("generate", "--model", model, "--length", LONGEST_GENERATION, "--json").object
        assert len(found["text"]) == LONGEST_GENERATION

    @pytest.mark.parametrize("as_json", [True, False])
    @pytest.mark.parametrize(
        ("prompt", "read", "told"),
        [
            ("zzz~~", "zzz~~", ["'z'", "'~'"]),
            ("The😀", "The😀", ["'😀'"]),
            ("e\u0301 👩‍👩‍👧 映", "e\u0301 👩‍👩‍👧 映", ["'\u0301'", "'映'"]),
            ("a\0b\0", "a\0b\0", [r"'\x00'"]),
            (os.fsdecode(b"caf\xe9 \xff\xfe"), "caf\ufffd \ufffd\ufffd", ["'\ufffd'"]),
            ("The " * 2**18, "The " * 2**18, []),
            ("~" * 2**20, "~" * 2**20, ["'~'"]),
            (" \n", " \n", []),
        ],
        ids=["unknown", "emoji", "combining", "NUL", "no UTF-8", "1 MB", "1 MB unknown", "white space"],
    )
    def test_any_prompt_goes_on(self, model, prompt, read, told, as_json):
        flags = ["--json"] if as_json else []
        result = call("generate", "--model", model, "--prompt", prompt, "--length", "20", *flags)
        assert result.status == 0
        text = result.object["text"] if as_json else result.out.removesuffix("\n")
        assert text.startswith(read)
        assert len(text) == len(read) + 20
        assert set(text[len(read) :]) <= set(TEXT)
        if told:
            assert len(result.err.splitlines()) == 1
            assert result.err.startswith("char_lm: the model does not know ")
            assert all(one in result.err for one in told)
        else:
            assert result.err == ""

    @pytest.mark.parametrize(
        ("flags", "told"),
        [
            *((["--temperature", value], "--temperature is") for value in ("nan", "-1", "-0.5", "inf", "1000")),
            *((["--top-p", value], "--top-p is") for value in ("0", "-1", "1.5", "nan")),
            *((["--length", value], f"--length is {value}: expected 1 to 4096") for value in ("0", "-5", "4097")),
            *((["--seed", value], f"--seed is {value}") for value in ("-1", "2147483647", "99999999999999999999")),
            *((["--top-k", value], f"--top-k is {value}") for value in ("-1",)),
            *((["--samples", value], f"--samples is {value}") for value in ("0", "-1", "257")),
            *((["--beam", value], f"--beam is {value}") for value in ("-1", "17")),
            (["--beam", "2", "--samples", "2"], "--beam finds one text"),
            (["--beam", "2", "--stop", "x"], "--beam finds one text"),
            (["--length", "many"], "--length"),
            (["--temperature"], "--temperature"),
            (["ROMEO:"], "ROMEO:"),
        ],
    )
    def test_what_is_refused(self, tmp_path, flags, told):
        """Told before the model is looked for."""
        assert call("generate", "--model", tmp_path / "none", *flags).is_mistake(told)
        assert call("generate", "--model", tmp_path / "none", *flags, "--json").is_mistake(told)

    def test_a_top_k_beyond_32_bits_is_no_other_number(self, model):
        command = ["generate", "--model", model, "--prompt", "The", "--length", "30", "--json"]
        result = call(*command, "--top-k", 2**32 + 1)
        assert result.status == 2 or result.object == call(*command).object


@pytest.mark.usefixtures("loaded_once")
class TestScore:
    def test_json(self, model):
        texts = ["The cat sat.", "", "😀 caf\ufffd", "a\nb"]
        found = call("score", "--model", model, "--json", *texts).objects
        assert [answer["text"] for answer in found] == texts
        for text, answer in zip(texts, found, strict=True):
            assert answer["symbols"] == list(text)
            assert answer["length"] == len(answer["char_log_probs"]) == len(text)
            assert all(value < 0 for value in answer["char_log_probs"])
            mean = -np.mean(answer["char_log_probs"]) / math.log(2) if text else 0.0
            assert answer["bits_per_char"] == pytest.approx(mean, abs=1e-5)
        assert set(found[0]) == {"text", "bits_per_char", "length", "symbols", "char_log_probs"}

    def test_for_people(self, model):
        texts = ["The cat sat.", "", "dog"]
        bits = [answer["bits_per_char"] for answer in call("score", "--model", model, "--json", *texts).objects]
        expected = "".join(f"{one:6.3f} bits per character  {text}\n" for one, text in zip(bits, texts, strict=True))
        assert call("score", "--model", model, *texts).text == expected

    def test_the_lines_of_a_file_and_of_standard_input(self, model, tmp_path):
        content = b"The cat\r\n\ncaf\xe9\n"
        (tmp_path / "texts.txt").write_bytes(content)
        of_file = call("score", "--model", model, "--json", "--file", tmp_path / "texts.txt").objects
        assert [answer["text"] for answer in of_file] == ["The cat", "", "caf\ufffd"]
        assert call("score", "--model", model, "--json", stdin=content).objects == of_file

    def test_what_the_model_was_trained_on_is_likelier_than_it_backwards(self, model):
        part = TEXT[:96]
        likely, unlikely = call("score", "--model", model, "--json", part, part[::-1]).objects
        assert likely["bits_per_char"] < unlikely["bits_per_char"]

    def test_a_text_of_a_megabyte_is_scored_whole(self, model, monkeypatch):
        monkeypatch.setattr(inference, "_CHARACTERS_IN_PIECE", 700)
        found = call("score", "--model", model, "--json", "The 😀" * 400).object
        assert found["length"] == 2000


@pytest.mark.usefixtures("loaded_once")
class TestExplain:
    TEXT = TEXT[:192]

    @pytest.mark.parametrize("verb", ["explain", "score"])
    def test_controls_of_a_text_are_told_and_not_obeyed(self, model, verb):
        text = "a\x07b \x1b[31mred\x1b[0m \x9b1m c\rd \u202eon \u2066x"
        out = call(verb, "--model", model, text).text
        assert not set(out) & set("\x07\x1b\x9b\r\u202e\u2066")
        assert "␛[31mred" in out
        assert call(verb, "--model", model, "--json", text).object["text"] == text

    def test_units_that_are_named(self, model):
        found = call("explain", "--model", model, "--units", "3, 13,0", "--json", self.TEXT).object
        assert (found["text"], found["gate"], found["symbols"]) == (self.TEXT, "cell", list(self.TEXT))
        assert [row["unit"] for row in found["units"]] == [3, 13, 0]
        cells = np.tanh(CharLm(model).activity(self.TEXT)["cell"])
        for row in found["units"]:
            assert set(row) == {"unit", "activity"}
            np.testing.assert_allclose(row["activity"], cells[:, row["unit"]], rtol=0, atol=2e-5)

    @pytest.mark.parametrize("gate", ["cell", "hidden", "input", "forget", "candidate", "output"])
    def test_those_that_move_most(self, model, gate):
        found = call("explain", "--model", model, "--gate", gate, "--count", "4", "--json", self.TEXT).object
        activity = CharLm(model).activity(self.TEXT)[gate] if gate == "forget" else None
        moves = [np.std(row["activity"]) for row in found["units"]]
        assert len(moves) == 4
        assert moves == sorted(moves, reverse=True)
        if activity is not None:
            assert {row["unit"] for row in found["units"]} == set(np.argsort(activity.std(axis=0))[-4:].tolist())
        low = 0 if gate in ("input", "forget", "output") else -1
        assert all(low <= value <= 1 for row in found["units"] for value in row["activity"])

    def test_those_that_follow_a_property(self, model):
        found = call("explain", "--model", model, "--follow", "quotes", "--count", "3", "--json", self.TEXT).object
        inside, quotes = [], False
        for symbol in self.TEXT:
            quotes ^= symbol == '"'
            inside.append(quotes)
        half = len(inside) // 2
        assert len(found["units"]) == 3
        for row in found["units"]:
            first = np.corrcoef(row["activity"][:half], inside[:half])[0, 1]
            second = np.corrcoef(row["activity"][half:], inside[half:])[0, 1]
            assert row["correlation_first_half"] == pytest.approx(first, abs=1e-3)
            assert row["correlation"] == pytest.approx(second, abs=1e-3)
            assert 0 <= row["auc"] <= 1

    def test_those_that_follow_a_property_elsewhere(self, model, data):
        command = ["explain", "--model", model, "--follow", "line_position", "--data", data, "--count", "2"]
        found = call(*command, "--json", "The cat sat.").object
        part = TEXT[int(0.9 * len(TEXT)) :]
        whole = call("explain", "--model", model, "--follow", "line_position", "--count", "2", "--json", part).object
        assert [row["unit"] for row in found["units"]] == [row["unit"] for row in whole["units"]]
        assert [row["correlation"] for row in found["units"]] == [row["correlation"] for row in whole["units"]]
        assert all(len(row["activity"]) == 12 for row in found["units"])
        assert found["units"][0]["auc"] is None
        plain = call(*command, "The cat sat.").text.splitlines()
        assert plain[0].startswith("units that follow line_position, found on the first half of the validation part")
        assert plain[1].startswith(f"cell {found['units'][0]['unit']}  correlation ")
        assert plain[2] == "The cat sat."

    def test_for_people(self, model):
        out = call("explain", "--model", model, "--units", "1,2", "--gate", "output", "a\nb").text
        assert out == "output 1\na↵\nb\noutput 2\na↵\nb\n"

    def test_a_run_shows_the_same(self, run, model):
        of_run, of_model = (
            call("explain", flag, path, "--units", "1,9", "--json", "The cat").object["units"]
            for flag, path in (("--run", run), ("--model", model))
        )
        for one, other in zip(of_run, of_model, strict=True):
            np.testing.assert_allclose(one["activity"], other["activity"], rtol=0, atol=2e-5)

    def test_the_text_of_a_file_or_of_standard_input_is_one(self, model, tmp_path):
        (tmp_path / "text.txt").write_bytes(b"The cat\n\nsat \xff\n")
        of_file = call("explain", "--model", model, "--units", "1", "--json", "--file", tmp_path / "text.txt").object
        assert of_file["text"] == "The cat\n\nsat \ufffd"
        piped = call("explain", "--model", model, "--units", "1", "--json", stdin=b"The cat\n\nsat \xff\n").object
        assert piped == of_file

    def test_picture_and_page(self, model, tmp_path):
        plot, page = tmp_path / "new" / "cells.PNG", tmp_path / "new" / "cells.html"
        command = ["explain", "--model", model, "--units", "2,5", "--plot", plot, "--html", page]
        assert call(*command, 'The "cat" sat.').text.startswith("cell 2\n")
        assert min(matplotlib.image.imread(plot).shape[:2]) > 50
        content = page.read_text(encoding="utf-8")
        data = json.loads(content.split('id="data">')[1].split("</script>")[0])
        assert "".join(data["symbols"]) == 'The "cat" sat.'
        names = [row["name"] for row in data["rows"]]
        assert names[:2] == ["cell 2", "cell 5"]
        assert "quotes" in names
        assert "cell of the units 2, 5" in content
        assert sorted(os.listdir(tmp_path / "new")) == ["cells.PNG", "cells.html"]

    def test_a_unit_that_is_named_twice(self, model):
        for flags in ([], ["--json"]):
            assert call("explain", "--model", model, "--units", "3,3", *flags, "The cat").status in (0, 2)

    @pytest.mark.parametrize(
        ("flags", "told"),
        [
            (["--units", "14"], "--units has '14': expected numbers from 0 to 13"),
            (["--units", "-1"], "--units has '-1'"),
            (["--units", "3,"], "--units has ''"),
            (["--units", "3;4"], "--units has '3;4'"),
            (["--units", "²"], "--units has '²'"),
            (["--units", "99999999999999999999"], "expected numbers from 0 to 13"),
            (["--units", "1", "--follow", "quotes"], "give one of the two"),
            (["--data", "sample"], "name a property with --follow"),
            *((["--count", value], f"--count is {value}: expected at least 1") for value in ("0", "-1")),
            (["--follow", "rhyme"], "rhyme"),
            (["--follow", "brackets"], "another text or another property"),
            (["--gate", "door"], "door"),
            (["--plot", "cells.pdf"], "--plot writes PNG, got 'cells.pdf': name a file that ends in .png"),
            (["--html", "cells.png"], "--html writes HTML, got 'cells.png': name a file that ends in .html"),
            (["another text"], "this takes one text, got 2"),
        ],
    )
    def test_what_is_refused(self, model, flags, told):
        assert call("explain", "--model", model, "The cat sat.", *flags).is_mistake(told)

    def test_no_text(self, model):
        assert call("explain", "--model", model, "").is_mistake("no text to look into")
        assert call("explain", "--model", model, stdin=b"\n").is_mistake("no text to look into")
        assert call("explain", "--model", model, stdin=b"").is_mistake("standard input is empty")
        assert call("explain", "--model", model, terminal=True).is_mistake("no text")

    def test_a_text_too_long_for_a_picture(self, model, tmp_path):
        text = "The cat sat. " * 400
        command = ["explain", "--model", model, "--units", "1", "--plot", tmp_path / "a.png"]
        assert call(*command, text).is_mistake("too many for a picture")
        assert list(tmp_path.iterdir()) == []

    def test_files_that_cannot_be_written(self, model, tmp_path):
        (tmp_path / "file").write_text("mine")
        (tmp_path / "folder.html").mkdir()
        before = tree(tmp_path)
        for flag, path in (
            ("--plot", tmp_path / "file" / "a.png"),
            ("--html", tmp_path / "file" / "a.html"),
            ("--html", tmp_path / "folder.html"),
        ):
            told = f"cannot write {flag} '{path}' ("
            assert call("explain", "--model", model, flag, path, "a cat").is_mistake(told)
        assert tree(tmp_path) == before


class TestBadData:
    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (b"", "is empty"),
            (b"\xef\xbb\xbf", "is empty"),
            (b"The cat sat on the mat.", "too few for windows of 16 with --batch-size 4"),
        ],
    )
    def test_too_little_text_to_train_on(self, tmp_path, content, told):
        (tmp_path / "text.txt").write_bytes(content)
        assert call(*train_command(tmp_path / "run", tmp_path / "text.txt")).is_mistake(told)
        assert list(tree(tmp_path)) == ["text.txt"]

    def test_sources_that_are_not_there(self, run, tmp_path):
        assert call(*train_command(tmp_path / "run", tmp_path / "none.txt")).is_mistake("none.txt")
        assert call("evaluate", "--run", run, "--data", tmp_path / "none.txt").is_mistake("none.txt")
        assert list(tree(tmp_path)) == []

    def test_splits_that_are_not_there(self, run, data):
        command = ["evaluate", "--run", run, "--data", data]
        assert call(*command, "--split", "test").is_mistake("has no test part")
        assert call(*command, "--split", "exam").is_mistake("exam")
        assert call(*command, "--validation-fraction", "1").is_mistake("validation_fraction is 1.0")

    @pytest.mark.parametrize(
        ("flag", "value"),
        [
            ("--units", "0"),
            ("--learning-rate", "nan"),
            ("--averaging", "1"),
            ("--unit", "word"),
            ("--schedule", "flat"),
        ],
    )
    def test_settings_out_of_range(self, tmp_path, data, flag, value):
        result = call("train", "--data", data, "--run", tmp_path / "run", flag, value)
        assert result.is_mistake(flag, value)
        assert list(tmp_path.iterdir()) == []

    def test_loss_that_is_no_number(self, tmp_path, data):
        result = call(*train_command(tmp_path / "run", data, learning_rate="1e30"))
        assert (result.status, result.out) == (2, "")
        last = result.err.splitlines()[-1]
        assert last.startswith("char_lm: the ")
        assert "the last good checkpoint is kept" in last
        assert call("generate", "--run", tmp_path / "run").is_mistake("is not finished")


class TestBadModels:
    VERBS = (("generate",), ("score", "a"), ("explain", "a"), ("evaluate", "--data", "sample"))

    @pytest.mark.parametrize("verb", VERBS, ids=[verb[0] for verb in VERBS])
    def test_models_that_cannot_be_used(self, verb, model, tmp_path, exported_sentiment):
        (tmp_path / "file").write_text("")
        (tmp_path / "empty").mkdir()
        (tmp_path / "damaged").mkdir()
        (tmp_path / "damaged" / "saved_model.pb").write_bytes(b"no protocol buffer")
        for path, told in (
            (tmp_path / "none", "no model at"),
            (tmp_path / "file", "is no model"),
            (tmp_path / "empty", "is no model"),
            (tmp_path / "damaged", "cannot load the model"),
            (exported_sentiment.base, "has no signature 'read'"),
        ):
            assert call(*verb, "--model", path).is_mistake(path, told)
            if verb[0] != "evaluate":
                assert call(*verb, "--model", path, "--json").is_mistake(path, told)

    def test_another_app_refuses_the_model_in_one_line(self, model, capsys):
        assert cli.run(apps.sentiment.app, ["predict", "--model", str(model), "a film"]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert len(err.splitlines()) == 1
        assert str(model) in err

    def test_runs_that_cannot_be_used(self, run, tmp_path):
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "config.json").write_text('{"task": "sentiment"}')
        (tmp_path / "empty").mkdir()
        shutil.copytree(run, tmp_path / "cut")
        (tmp_path / "cut" / "model.weights.h5").write_bytes(b"PK")
        for name, told in {
            "none": "is no training run",
            "empty": "is no training run",
            "other": "is no run of a character language model",
            "cut": "is damaged",
        }.items():
            path = tmp_path / name
            assert call("generate", "--run", path).is_mistake(path, told)
            assert call("evaluate", "--run", path, "--data", "sample").is_mistake(path, told)
            assert call("export", "--run", path, "--to", tmp_path / "models").is_mistake(path, told)
        assert not (tmp_path / "models").exists()

    def test_dynamic_evaluation_needs_a_run(self, model, data):
        assert call("evaluate", "--model", model, "--data", data, "--dynamic").is_mistake("--dynamic", "name a --run")

    def test_runs_and_targets_that_cannot_be_written(self, run, tmp_path, data, monkeypatch):
        (tmp_path / "file").write_text("mine")
        assert call("export", "--run", run, "--to", tmp_path / "file").is_mistake(tmp_path / "file", "--to")
        assert call(*train_command(tmp_path / "file", data)).is_mistake(tmp_path / "file", "--run")

        def fail(*_, **__):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("pathlib.Path.write_text", fail)
        before = tree(run)
        result = call("evaluate", "--run", run, "--data", data, "--json")
        notice, mistake = result.err.splitlines(keepends=True)
        assert "judging" in notice
        assert result._replace(err=mistake).is_mistake(f"cannot write --run '{run}' (No space left on device)")
        assert tree(run) == before

    def test_flags_that_are_missing(self, tmp_path):
        assert call("train", "--data", "sample").is_mistake("--run")
        assert call("train", "--run", tmp_path / "run").is_mistake("--data")
        assert call("evaluate").is_mistake("--data")
        assert call("export").is_mistake("--run")
        assert call("sing").is_mistake("sing")
