"""The translator's app as its users run it: every verb on small models, and what it says to mistakes."""

import dataclasses
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import command_line
import h5py
import matplotlib.image
import numpy as np
import pytest
import sacrebleu
from ids_by_library import ids_by_library

import apps.char_lm
import apps.sentiment
from apps.translation import app
from nlp_lstm import cli
from nlp_lstm.datasets.pairs import load_pairs
from nlp_lstm.translation import commands, inference
from nlp_lstm.translation import export as export_module
from nlp_lstm.translation import train as train_module
from nlp_lstm.translation.inference import TranslationModel
from nlp_lstm.translation.settings import Settings

ROOT = Path(__file__).parents[2]


Result = functools.partial(command_line.Result, "translation")
call = functools.partial(command_line.call, app)


def flags_of(settings):
    """The flags for what is not as it is by default."""
    changed = (
        (field.name, getattr(settings, field.name))
        for field in dataclasses.fields(Settings)
        if getattr(settings, field.name) != field.default
    )
    return [word for name, value in changed for word in (f"--{name.replace('_', '-')}", str(value))]


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(Path(folder).rglob("*"))
    }


def rows(run):
    """The lines of metrics.jsonl, less what depends on the machine's speed."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(row.pop("seconds") >= 0 and row.pop("cpu_seconds") >= 0 for row in found)
    return found


@pytest.fixture(scope="module")
def data(trained_translation):
    return trained_translation.data


@pytest.fixture(scope="module")
def run(trained_translation, tmp_path_factory):
    """A finished run, and one that the app may write figures into."""
    path = tmp_path_factory.mktemp("trained") / "run"
    shutil.copytree(trained_translation.run, path)
    return path


@pytest.fixture(scope="module")
def train_command(trained_translation):
    def command(run, *more, source=("--data", trained_translation.data)):
        return ["train", *source, "--run", run, *flags_of(trained_translation.settings), *more]

    return command


@pytest.fixture(scope="module")
def model(exported_translation):
    """Of random weights, so that each text has a translation of its own."""
    return exported_translation("shared").base


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """Load a model, and trace a run's graphs, at the first call alone."""
    loaded = {}

    def once(*arguments):
        key = tuple(map(str, arguments))
        if key not in loaded:
            loaded[key] = TranslationModel(*arguments)
        return loaded[key]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(inference, "TranslationModel", once)
        patched.setattr(train_module, "id_pairs", ids_by_library)
        yield once


CUT = ("--validation-fraction", "0.08", "--seed", "5")


@pytest.fixture(scope="module")
def judged(run, data):
    return call("evaluate", "--run", run, "--data", data, *CUT, "--json")


@pytest.fixture(scope="module")
def exported(run, judged, tmp_path_factory):
    base = tmp_path_factory.mktemp("exported") / "models" / "translation"
    return base, call("export", "--run", run, "--to", base, "--json")


class TestVerbs:
    def test_train_takes_every_setting_and_leaves_a_finished_run_alone(self, run, train_command):
        before = tree(run)
        assert call(*train_command(run)) == Result(0, "", f"the run in '{run}' is finished\n")
        assert tree(run) == before

    def test_evaluate_a_run(self, run, judged, data):
        """The figures are those that sacreBLEU gives to what `translate` prints."""
        found = judged.object
        pairs = load_pairs(str(data), ["validation"], validation_fraction=0.08, seed=5)["validation"]
        translations = call("translate", "--run", run, *pairs.source).lines
        bleu = sacrebleu.corpus_bleu(translations, [pairs.target], force=True).score
        assert found["bleu"] == pytest.approx(bleu)
        assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(translations, [pairs.target]).score)
        assert (found["data"], found["split"], found["beam_size"]) == (str(data), "validation", 5)
        assert found["sentences"] == found["references"] == len(pairs.source) == 12
        # Of a table of two columns nothing tells the language: what depends on it is left out, and said to be.
        assert found["bleu_lower_tok"] is found["lower_tok_signature"] is None
        assert "bleu_lower_tok is left out" in judged.err and "--target-language" in judged.err
        assert [row["sentences"] for row in found["bleu_by_length"]] == [0, 12, 0, 0, 0, 0]
        assert json.loads((run / "evaluation-validation.json").read_text()) == found

    def test_a_run_is_judged_on_what_it_was_not_trained_on(self, run, data, judged, tmp_path):
        """Without a flag the cut between training and validation is the run's own, not the default."""
        shutil.copytree(run, tmp_path / "run")
        found = call("evaluate", "--run", tmp_path / "run", "--data", data, "--json").object
        config = json.loads((run / "config.json").read_text())
        how = {name: config[name] for name in ("seed", "validation_fraction")}
        assert config["seed"] != Settings.seed
        assert found["sentences"] == len(load_pairs(str(data), ["validation"], **how)["validation"].source)
        named = [value for name in how for value in (f"--{name.replace('_', '-')}", how[name])]
        again = call("evaluate", "--run", tmp_path / "run", "--data", data, *named, "--json").object
        assert found["bleu"] == again["bleu"] and found["sentences"] != judged.object["sentences"]

    def test_export(self, exported, judged):
        base, result = exported
        assert result.object == {"version": str(base / "1")}
        card = (base / "model_card.md").read_text(encoding="utf-8")
        interval = judged.object["bleu_interval"]
        told = f" ({interval[0]:.2f}–{interval[1]:.2f})" if interval else ""
        assert f"(12 sentences) | {judged.object['bleu']:.2f}{told} |" in card

    def test_an_export_is_judged_as_its_run_and_without_a_trace(self, exported, run, judged, data):
        before = tree(run)
        found = call("evaluate", "--model", exported[0], "--data", data, *CUT, "--json").object
        for name, value in found.items():
            if name not in ("seconds", "sentences_per_second"):
                assert value == judged.object[name], name
        assert tree(run) == before

    def test_figures_for_people(self, model, tmp_path):
        write_lines(tmp_path / "a.en", ["The best film!", "A man sees a dog."])
        write_lines(tmp_path / "a.de", ["Der beste Film!", "Ein Mann sieht einen Hund."])
        command = ["evaluate", "--model", model, "--source-file", tmp_path / "a.en", "--target-file", tmp_path / "a.de"]
        found = call(*command, "--json").object
        lines = call(*command).lines
        figures = dict(line.split(maxsplit=1) for line in lines if " words " not in line)
        assert list(figures) == [name for name in found if name != "bleu_by_length"]
        assert figures["bleu"] == f"{found['bleu']:.4f}"
        assert figures["sentences"] == "2"
        assert figures["signature"] == found["signature"]
        buckets = [line.split() for line in lines if " words " in line]
        assert [[words, int(count)] for words, _, count, *_ in buckets] == [
            [row["words"], row["sentences"]] for row in found["bleu_by_length"]
        ]
        assert buckets[0][-1] == f"{found['bleu_by_length'][0]['bleu']:.2f}"
        assert buckets[1][-1] == "sentences"

    def test_help(self, monkeypatch):
        monkeypatch.setenv("COLUMNS", "200")
        for verb in ("train", "evaluate", "translate", "explain", "export"):
            result = call(verb, "--help")
            assert f"Usage: translation {verb}" in result.text
            assert verb in call("--help").out
        shown = call("train", "--help").out
        for field in dataclasses.fields(Settings):
            assert f"--{field.name.replace('_', '-')} " in shown


def write_lines(path, lines):
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


class TestEvaluate:
    @pytest.fixture
    def files(self, tmp_path):
        sources = ["The best film!", "", "dog", "The best film!"]
        return (
            write_lines(tmp_path / "test.en", sources),
            write_lines(tmp_path / "test.x.fr", ["Le film", "", "chien", "Le meilleur film"]),
        )

    def test_two_files(self, model, files):
        """Line by line, empty ones too, and by the rules of the language that the second is named after."""
        source, target = files
        command = ["evaluate", "--model", model, "--source-file", source, "--target-file", target, "--json"]
        found = call(*command).object
        assert (found["data"], found["split"]) == (str(source), "file")
        assert (found["sentences"], found["references"]) == (4, 4)
        assert "norm-moses-fr" in found["lower_tok_signature"]
        found = call(*command, "--target-language", "de").object
        assert "norm-moses-de" in found["lower_tok_signature"]

    @pytest.mark.parametrize(
        ("data", "flags", "rules"),
        [
            ("sample", (), "de"),
            ("sample", ("--reverse",), "en"),
            ("header.csv", (), "fr"),
            ("header.csv", ("--source-language", "fr"), "en"),
            ("header.csv", ("--target-language", "pt_BR", "--source-column", "2"), "pt"),
            ("plain.tsv", (), None),
            ("plain.tsv", ("--target-language", "Klingon"), None),
            ("plain.tsv", ("--target-language", "Spanish"), "es"),
        ],
    )
    def test_the_rules_are_those_of_the_language_and_of_no_other(self, tmp_path, monkeypatch, data, flags, rules):
        class Copied:
            def __init__(self, *_):
                pass

            def translate(self, texts, beam_size):
                return [[inference.Translation(text.decode(), -1.0)] for text in texts]

        monkeypatch.setattr(inference, "TranslationModel", Copied)
        monkeypatch.chdir(tmp_path)
        rows = [f"dog {place},chien {place}" for place in range(20)]
        write_lines(tmp_path / "header.csv", rows if "2" in flags else ["English,French", *rows])
        write_lines(tmp_path / "plain.tsv", [row.replace(",", "\t") for row in rows])
        result = call("evaluate", "--data", data, "--split", "all", *flags, "--json")
        found = result.object
        assert found["bleu"] is not None and found["chrf"] is not None
        if rules is None:
            assert found["bleu_lower_tok"] is found["lower_tok_signature"] is None
            assert "bleu_lower_tok is left out" in result.err and len(result.err.splitlines()) == 1
            people = call("evaluate", "--data", data, "--split", "all", *flags)
            assert "bleu_lower_tok" not in people.out
        else:
            assert found["bleu_lower_tok"] is not None and f"norm-moses-{rules}|" in found["lower_tok_signature"]
            assert "bleu_lower_tok" not in result.err

    def test_all_translations_of_a_sentence_in_a_table_are_right(self, model, tmp_path):
        lines = [f"a dog {place % 20}\tein Hund {place}" for place in range(60)]
        table = write_lines(tmp_path / "table.txt", lines)
        found = call("evaluate", "--model", model, "--data", table, "--split", "train", "--json").object
        assert found["references"] == 3 * found["sentences"]
        assert found["sentences"] == 18  # of 20, one each is for validation and test
        # Of files, each line counts.
        for place, language in enumerate(("en", "de")):
            write_lines(tmp_path / f"train.{language}", [line.split("\t")[place] for line in lines])
        languages = ["--source-language", "en", "--target-language", "de"]
        command = ["evaluate", "--model", model, "--data", tmp_path / "train", "--split", "train", *languages, "--json"]
        found = call(*command).object
        assert found["references"] == found["sentences"] == 57

    def test_all_pairs_of_files_in_any_encoding(self, model, tmp_path):
        pairs = [(f"the café {place}", f"das „Café“ {place}") for place in range(40)]
        table = write_lines(tmp_path / "table.tsv", ["\t".join(pair) for pair in pairs])
        command = ["evaluate", "--model", model, "--json", "--beam-size", "1"]
        result = call(*command, "--data", table, "--split", "all", "--target-language", "de")
        expected = result.object
        assert (expected["sentences"], expected["split"], result.err) == (40, "all", "")
        result = call(*command, "--data", table)
        assert f"judging {result.object['sentences']} of 40 pairs" in result.err and "--split all" in result.err
        for encoding, flags in (("utf-16", ()), ("cp1252", ("--encoding", "cp1252"))):
            table.write_bytes("".join("\t".join(pair) + "\r\n" for pair in pairs).encode(encoding))
            assert call(*command, "--data", table, "--split", "all", *flags).object["chrf"] == expected["chrf"]
            for at, language in enumerate(("en", "de")):
                lines = "".join(f"{pair[at]}\n" for pair in pairs)
                (tmp_path / f"a.{language}").write_bytes(lines.encode(encoding))
            files = ["--source-file", tmp_path / "a.en", "--target-file", tmp_path / "a.de"]
            result = call(*command, *files, *flags)
            assert (result.object["sentences"], result.err) == (40, "")
        sources = [source for source, _ in pairs[:2]]
        (tmp_path / "two.txt").write_bytes("\n".join(sources).encode("cp1252"))
        named = ["--file", tmp_path / "two.txt", "--encoding", "cp1252", "--json"]
        for verb in ("translate", "explain"):
            assert [answer["text"] for answer in call(verb, "--model", model, *named).objects] == sources

    def test_the_beam(self, model, files):
        source, target = files
        command = ["evaluate", "--model", model, "--source-file", source, "--target-file", target, "--json"]
        for beam_size in (1, 16):
            assert call(*command, "--beam-size", beam_size).object["beam_size"] == beam_size

    def test_what_is_asked_for_reaches_the_model(self, files, monkeypatch):
        """Several runs and their penalties, and the figures kept in the first."""
        opened, kept = [], []

        class Recorded:
            def __init__(self, *arguments):
                opened.append(arguments)

            def translate(self, texts, beam_size):
                return [[inference.Translation(text.decode(), -1.0)] for text in texts]

        monkeypatch.setattr(inference, "TranslationModel", Recorded)
        folder = commands.RunFolder
        monkeypatch.setattr(folder, "keep_evaluation", lambda run, result: kept.append((run.path, result)))
        monkeypatch.setattr(folder, "config", lambda run: {})
        source, target = files
        command = ["evaluate", "--run", "one", "--run", "two", "--source-file", source, "--target-file", target]
        found = call(*command, "--length-penalty", "0.5", "--coverage-penalty", "0.25", "--json").object
        assert opened[0][1:] == ([Path("one"), Path("two")], 0.5, 0.25)
        assert kept == [(Path("one"), found)]
        call(*command)
        assert opened[1][1:] == ([Path("one"), Path("two")], 1.0, 0.0)


TEXTS = ["The best film!", "", "A man sees a dog.", "é", "dog", "The best film!"]


@pytest.fixture(scope="module")
def expected(model, loaded_once):
    return loaded_once(model, [], 1.0, 0.0).translate([text.encode() for text in TEXTS])


class TestTranslate:
    def test_a_line_for_each_text_in_their_order(self, model, expected):
        lines = call("translate", "--model", model, *TEXTS).lines
        assert lines == [found[0].text for found in expected]
        assert lines[1] == ""
        assert lines[0] == lines[-1] != lines[2]

    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_the_lines_of_a_file_and_of_standard_input(self, model, expected, tmp_path, end):
        lines = [found[0].text for found in expected]
        for content in (end.join(TEXTS).encode(), (end.join(TEXTS) + end).encode()):
            (tmp_path / "texts.txt").write_bytes(content)
            assert call("translate", "--model", model, "--file", tmp_path / "texts.txt").lines == lines
            assert call("translate", "--model", model, stdin=content).lines == lines
        assert call("translate", "--model", model, stdin=b"\n\n\n").out == "\n\n\n"

    def test_json(self, model, expected):
        found = call("translate", "--model", model, "--json", *TEXTS).objects
        for text, row, each in zip(TEXTS, found, expected, strict=True):
            assert row == {"text": text, "translation": each[0].text, "score": pytest.approx(each[0].score, abs=1e-5)}

    def test_n_best(self, model, expected):
        found = call("translate", "--model", model, "--n-best", "3", "--json", *TEXTS).objects
        for row, each in zip(found, expected, strict=True):
            assert set(row) == {"text", "translation", "score", "n_best"}
            assert [other["translation"] for other in row["n_best"]] == [other.text for other in each[:3]]
            assert [other["score"] for other in row["n_best"]] == pytest.approx([o.score for o in each[:3]], abs=1e-5)
        lines = [line.split("\t") for line in call("translate", "--model", model, "--n-best", "3", *TEXTS).lines]
        assert [(number, text) for number, _, text in lines] == [
            (str(number), other.text) for number, each in enumerate(expected, start=1) for other in each[:3]
        ]
        assert [float(score) for _, score, _ in lines] == pytest.approx(
            [other.score for each in expected for other in each[:3]], abs=1e-4
        )
        assert sum(number == "2" for number, *_ in lines) == 1  # an empty text has one translation

    def test_the_beam(self, model, loaded_once):
        for size in (1, 2, 16):
            expected = loaded_once(model, [], 1.0, 0.0).translate([text.encode() for text in TEXTS], size)
            lines = call("translate", "--model", model, "--beam-size", size, *TEXTS).lines
            assert lines == [found[0].text for found in expected]
            (dog,) = loaded_once(model, [], 1.0, 0.0).translate([b"dog"], size)
            found = call("translate", "--model", model, "--beam-size", size, "--n-best", size, "--json", "dog").object
            assert len(found.get("n_best", [None])) == len(dog) <= size

    def test_a_run_and_its_export_say_the_same(self, run, exported):
        texts = ["a b c d e f a b", "", "f f f f", "fee"]
        of_run, of_model = (
            call("translate", flag, path, "--json", *texts).objects
            for flag, path in (("--run", run), ("--model", exported[0] / "1"))
        )
        for one, other in zip(of_run, of_model, strict=True):
            assert one == {**other, "score": pytest.approx(other["score"], abs=1e-5)}

    @pytest.mark.parametrize(
        ("text", "read"),
        [
            (b"zzz ~~", "zzz ~~"),
            ("😀👩‍👩‍👧🏳️‍🌈".encode(), "😀👩‍👩‍👧🏳️‍🌈"),
            ("映画 ภาพยนตร์ e\u0301".encode(), "映画 ภาพยนตร์ e\u0301"),
            (b"a\0b\0", "a\0b\0"),
            (b"caf\xe9 \xff\xfe", "caf\ufffd \ufffd\ufffd"),
            (b"\x01\x0b\x0c\x1c\x7f", "\x01\x0b\x0c\x1c\x7f"),
            ("a\u2028b\u0085c".encode(), "a\u2028b\u0085c"),
            (b"dog " * 10_000, "dog " * 10_000),
            (b"x" * 2**20, "x" * 2**20),
            (b" \t ", " \t "),
        ],
        ids=["unknown", "emoji", "scripts", "NUL", "no UTF-8", "controls", "lines", "10,000 words", "1 MB", "spaces"],
    )
    def test_any_line_has_a_translation_of_one(self, model, text, read):
        content = text + b"\ndog\n"
        result = call("translate", "--model", model, stdin=content)
        assert ("standard input line 1" in result.err) == ("\ufffd" in read)
        plain = result.out.removesuffix("\n").split("\n")
        assert len(plain) == 2
        found, dog = call("translate", "--model", model, "--json", stdin=content).objects
        assert found["text"] == read
        assert [found["translation"], dog["translation"]] == plain
        assert dog == call("translate", "--model", model, "--json", "dog").object | {
            "score": pytest.approx(dog["score"], abs=1e-4)
        }
        if not read.strip():
            assert (found["translation"], found["score"]) == ("", 0.0)

    @pytest.mark.parametrize("verb", ["translate", "explain"])
    def test_texts_that_are_not_there(self, verb, model, tmp_path):
        (tmp_path / "empty").write_bytes(b"")
        assert call(verb, "--model", model, terminal=True).is_mistake("no text: give it as an argument")
        assert call(verb, "--model", model, stdin=b"").is_mistake("standard input is empty")
        assert call(verb, "--model", model, "--file", tmp_path / "empty").is_mistake("'", "empty' is empty")
        assert call(verb, "--model", model, "--file", tmp_path / "none").is_mistake("cannot read --file", "none")
        assert call(verb, "--model", model, "--file", tmp_path).is_mistake("cannot read --file", tmp_path)
        assert call(verb, "--model", model, "--file", tmp_path / "empty", "a").is_mistake("not both")

    @pytest.mark.parametrize(
        ("flags", "told"),
        [
            *(
                (["--beam-size", value], f"--beam-size is {value}: expected 1 (greedy) to 16")
                for value in ("0", "-1", "17", "99999999999999999999")
            ),
            *((["--n-best", value], f"--n-best is {value}: expected 1 to --beam-size") for value in ("0", "-2", "6")),
            (["--beam-size", "16", "--n-best", "17"], "--n-best is 17: expected 1 to --beam-size, which is 16"),
            (["--beam-size", "1", "--n-best", "2"], "--n-best is 2"),
            (["--beam-size", "many"], "--beam-size"),
            (["--length-penalty", "1"], "--length-penalty"),
        ],
    )
    def test_what_is_refused(self, tmp_path, flags, told):
        """Told before the model is looked for."""
        assert call("translate", "--model", tmp_path / "none", "dog", *flags).is_mistake(told)
        assert call("translate", "--model", tmp_path / "none", "dog", *flags, "--json").is_mistake(told)


class TestExplain:
    def test_json(self, model, expected):
        texts = [text for text in TEXTS if text]
        found = call("explain", "--model", model, "--json", *texts).objects
        best = [each[0] for text, each in zip(TEXTS, expected, strict=True) if text]
        for text, row, (translated, score) in zip(texts, found, best, strict=True):
            assert set(row) == {"text", "translation", "score", "source_pieces", "target_pieces", "attention"}
            assert (row["text"], row["translation"]) == (text, translated)
            assert row["score"] == pytest.approx(score, abs=1e-5)
            assert row["source_pieces"][-1] == row["target_pieces"][-1] == "</s>"
            attention = np.array(row["attention"])
            assert attention.shape == (len(row["source_pieces"]), len(row["target_pieces"]))
            np.testing.assert_allclose(attention.sum(axis=0), 1.0, rtol=0, atol=1e-3)

    def test_for_people(self, model):
        found = call("explain", "--model", model, "--json", "dog", "A man").objects
        lines = call("explain", "--model", model, "dog", "A man").lines
        begin = lines.index(found[1]["translation"])
        assert lines[0] == found[0]["translation"]
        for row, table in ((found[0], lines[1:begin]), (found[1], lines[begin + 1 :])):
            cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in table if line.startswith("│")]
            assert len(cells) == len(row["target_pieces"])
            attention = np.array(row["attention"])
            for place, (_, looked_at, weight) in enumerate(cells):
                assert looked_at == row["source_pieces"][attention[:, place].argmax()]
                assert weight == f"{attention[:, place].max():.2f}"

    def test_picture_and_page(self, model, tmp_path):
        plot, page = tmp_path / "new" / "attention.PNG", tmp_path / "new" / "attention.html"
        text = "The <best> $film$ 映画!"
        found = call("explain", "--model", model, "--plot", plot, "--html", page, "--json", text).object
        assert min(matplotlib.image.imread(plot).shape[:2]) > 50
        drawn = json.loads(page.read_text(encoding="utf-8").split('id="data">')[1].split("</script>")[0])
        (attention,) = drawn["attention"]
        np.testing.assert_allclose(attention, found["attention"], rtol=0, atol=1e-4)
        assert sorted(os.listdir(tmp_path / "new")) == ["attention.PNG", "attention.html"]

    def test_a_page_of_several_texts(self, model, tmp_path):
        page = tmp_path / "page.html"
        found = call("explain", "--model", model, "--html", page, "--json", *TEXTS).objects
        drawn = json.loads(page.read_text(encoding="utf-8").split('id="data">')[1].split("</script>")[0])
        for attention, row in zip(drawn["attention"], found, strict=True):
            np.testing.assert_allclose(attention, row["attention"], rtol=0, atol=1e-4)

    @pytest.mark.parametrize(
        ("flags", "told"),
        [
            (["--plot", "a.pdf"], "--plot writes PNG, got 'a.pdf': name a file that ends in .png"),
            (["--plot", "png"], "--plot writes PNG, got 'png'"),
            (["--html", "a.png"], "--html writes HTML, got 'a.png': name a file that ends in .html"),
            (["--plot", "a.png", "another"], "--plot draws one text, got 2: name --html"),
            (["--plot"], "--plot"),
        ],
    )
    def test_what_is_refused(self, tmp_path, monkeypatch, flags, told):
        """Told before the model is looked for."""
        monkeypatch.chdir(tmp_path)
        assert call("explain", "--model", tmp_path / "none", "dog", *flags).is_mistake(told)
        assert list(tmp_path.iterdir()) == []

    def test_several_lines_have_no_picture(self, model, tmp_path):
        plot = tmp_path / "a.png"
        assert call("explain", "--model", model, "--plot", plot, stdin=b"a\n\n").is_mistake("--plot draws one text")
        assert not plot.exists()

    def test_a_text_too_long_for_a_picture(self, model, tmp_path):
        plot = tmp_path / "a.png"
        assert call("explain", "--model", model, "--plot", plot, "x" * 300).is_mistake("too many for a picture")
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
            assert call("explain", "--model", model, flag, path, "dog").is_mistake(told)
        assert tree(tmp_path) == before


class TestExport:
    def test_the_next_export_is_the_next_version(self, run, exported, tmp_path, monkeypatch):
        """Of several runs, with other penalties."""
        given = []

        def export_runs(runs, target, *more):
            given.append((runs, target, *more))
            return target / "2"

        monkeypatch.setattr(export_module, "export_runs", export_runs)
        assert call("export", "--run", run, "--to", tmp_path).text == f"{tmp_path / '2'}\n"
        command = ["export", "--run", run, "--run", "other", "--to", tmp_path, "--length-penalty", "0.6"]
        command += ["--coverage-penalty", "0.2", "--precision", "bfloat16", "--json"]
        assert call(*command).object == {"version": str(tmp_path / "2")}
        assert given == [
            ([run], tmp_path, 1.0, 0.0, "float32"),
            ([run, Path("other")], tmp_path, 0.6, 0.2, "bfloat16"),
        ]

    def test_in_8_bits(self, run, exported, judged, data, tmp_path):
        """It says so, and translates as well."""
        assert call("export", "--run", run, "--to", tmp_path / "narrow", "--precision", "int8").status == 0
        card, exact = (
            (base / "model_card.md").read_text(encoding="utf-8") for base in (tmp_path / "narrow", exported[0])
        )
        assert "Products with weights are taken in 8 bits." in card
        assert "8 bits" not in exact and "Products with weights are taken in float32." in exact
        found = call("evaluate", "--model", tmp_path / "narrow", "--data", data, *CUT, "--json").object
        assert found["chrf"] == pytest.approx(judged.object["chrf"], abs=5.0)

    def test_a_precision_that_there_is_not(self, run, tmp_path):
        wrong = call("export", "--run", run, "--to", tmp_path, "--precision", "int4")
        assert wrong.status == 2 and "int4" in wrong.err

    def test_targets_that_cannot_be_written(self, run, tmp_path):
        (tmp_path / "file").write_text("mine")
        before = tree(tmp_path)
        for target in (tmp_path / "file", tmp_path / "file" / "below"):
            assert call("export", "--run", run, "--to", target).is_mistake(target, "--to")
        assert tree(tmp_path) == before


class TestBadData:
    @pytest.fixture
    def sources(self, tmp_path):
        folder = tmp_path / "data"
        folder.mkdir()
        write_lines(folder / "three.en", ["one", "two", "three"])
        write_lines(folder / "two.de", ["eins", "zwei"])
        write_lines(folder / "three.de", ["eins", "zwei", "drei"])
        (folder / "empty.de").write_bytes(b"")
        write_lines(folder / "column.tsv", ["one\teins", "two"])
        write_lines(folder / "columns.tsv", ["one\teins", "two\tzwei", "three\tdrei\tCC-BY\tvier"])
        write_lines(folder / "few.tsv", ["one\teins"])
        return folder

    CASES = (
        (
            ("--source-file", "three.en", "--target-file", "two.de"),
            ("has 3 lines", "has 2:", "line 3 of", "'three'"),
        ),
        (("--source-file", "two.de", "--target-file", "three.en"), ("line 3 of", "three.en")),
        (("--source-file", "three.en", "--target-file", "none.de"), ("no such file", "none.de")),
        (("--source-file", "none.en", "--target-file", "three.de"), ("no such file", "none.en")),
        (("--source-file", "three.en", "--target-file", "empty.de"), ("empty.de", "is empty")),
        (("--source-file", "three.en", "--target-file", "three.en"), ("are one file",)),
        (("--source-file", "three.en"), ("--target-file",)),
        (("--target-file", "three.de"), ("--source-file",)),
        (("--data", "few.tsv", "--source-file", "three.en", "--target-file", "three.de"), ("--source-file",)),
        (("--data", "few.tsv", "--source-file", "three.en"), ("--source-file",)),
        (("--data", "column.tsv"), ("column.tsv", "line 2 has 1 column")),
        (("--data", "columns.tsv"), ("columns.tsv", "line 3 has 4 columns")),
        (("--data", "none.tsv"), ("no such file or dataset", "none.tsv")),
        (("--data", "three"), ("'three' holds the languages 'de', 'en'", "--source-language and --target-language")),
        (("--data", "few.tsv"), ("few.tsv",)),
        ((), ("no data is named",)),
        (("--data", ""), ("no data is named",)),
        (("--data", "sample", "--source-language", "de"), ("'de'", "--reverse")),
        (("--data", "sample", "--source-language", "xx"), ("no language 'xx'",)),
    )

    @pytest.mark.parametrize(("flags", "told"), CASES, ids=[" ".join(flags) for flags, _ in CASES])
    def test_train_and_evaluate(self, sources, tmp_path, monkeypatch, flags, told):
        monkeypatch.chdir(sources)
        before = tree(tmp_path)
        assert call("train", "--run", tmp_path / "run", "--subwords", "300", *flags).is_mistake(*told)
        # Told before the model is looked for.
        assert call("evaluate", "--model", tmp_path / "none", *flags).is_mistake(*told)
        assert call("evaluate", "--model", tmp_path / "none", *flags, "--json").is_mistake(*told)
        assert tree(tmp_path) == before

    def test_splits_that_are_not_there(self, sources, tmp_path):
        command = ["evaluate", "--model", tmp_path / "none", "--data"]
        assert call(*command, "sample", "--split", "exam").is_mistake("exam")
        assert call(*command, "sample", "--validation-fraction", "1").is_mistake("validation_fraction is 1.0")
        languages = ["--source-language", "en", "--target-language", "de"]
        assert call(*command, sources / "three", "--split", "test", *languages).is_mistake("has no test part")

    @pytest.mark.parametrize(
        ("flags", "told"),
        [
            (["--beam-size", "0"], "--beam-size is 0: expected 1 (greedy) to 16"),
            (["--beam-size", "17"], "--beam-size is 17"),
            (["--length-penalty", "1"], "--length-penalty is part of an exported model: leave it out, or name a --run"),
            (["--coverage-penalty", "0"], "--coverage-penalty is part of an exported model"),
            (["--run", "none", "--length-penalty", "-1"], "--length-penalty is -1.0: expected 0 to 10"),
            (["--run", "none", "--coverage-penalty", "11"], "--coverage-penalty is 11.0: expected 0 to 10"),
            (["--run", "none", "--coverage-penalty", "nan"], "--coverage-penalty is nan"),
        ],
    )
    def test_how_to_judge(self, tmp_path, flags, told):
        """Told before data and model are looked for."""
        assert call("evaluate", "--data", tmp_path / "none.tsv", "--model", tmp_path / "none", *flags).is_mistake(told)

    def test_penalties_of_an_export(self, run, tmp_path):
        command = ["export", "--run", run, "--to", tmp_path / "models"]
        for flag, value in (("--length-penalty", "-0.1"), ("--coverage-penalty", "inf"), ("--length-penalty", "nan")):
            assert call(*command, flag, value).is_mistake(flag, "expected 0 to 10")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("flag", "value"),
        [
            ("--decoder-units", "0"),
            ("--subwords", "260"),
            ("--subwords", "100001"),
            ("--longest", "257"),
            ("--validation-fraction", "0.5"),
            ("--subword-sampling", "-1"),
            ("--learning-rate", "nan"),
            ("--averaging", "1"),
            ("--attention", "none"),
            ("--schedule", "flat"),
            ("--epochs", "many"),
        ],
    )
    def test_settings_out_of_range(self, tmp_path, flag, value):
        assert call("train", "--data", "sample", "--run", tmp_path / "run", flag, value).is_mistake(flag, value)
        assert list(tmp_path.iterdir()) == []

    def test_what_training_cannot_use_leaves_no_run(self, tmp_path):
        command = ["train", "--data", "sample", "--run", tmp_path / "run"]
        assert call(*command, "--subwords", "261").is_mistake("cannot choose 261 subwords")
        assert list(tmp_path.iterdir()) == []
        assert call(*command, "--subwords", "400", "--longest", "2").is_mistake(
            "no pair has at most 2 ids", "--longest"
        )
        assert list(tmp_path.iterdir()) == []

    def test_flags_that_are_missing(self, tmp_path):
        assert call("train", "--data", "sample").is_mistake("--run")
        assert call("export").is_mistake("--run")
        assert call("sing").is_mistake("sing")


class TestBadFolders:
    VERBS = (("translate", "a"), ("explain", "a"), ("evaluate", "--data", "sample"))

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
            (exported_sentiment.base, "has no signature 'n_best'"),
        ):
            assert call(*verb, "--model", path).is_mistake(path, told)

    @pytest.mark.parametrize(("other", "verb"), [(apps.sentiment, "predict"), (apps.char_lm, "score")])
    def test_another_app_refuses_the_model_in_one_line(self, model, capsys, other, verb):
        assert cli.run(other.app, [verb, "--model", str(model), "a film"]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert len(err.splitlines()) == 1
        assert str(model) in err

    def test_runs_that_cannot_be_used(self, run, tmp_path, trained_translation):
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "config.json").write_text('{"task": "char_lm"}')
        (tmp_path / "empty").mkdir()
        for name in ("cut", "mixed"):
            shutil.copytree(run, tmp_path / name)
        (tmp_path / "cut" / "model.weights.h5").write_bytes(b"PK")
        (tmp_path / "mixed" / "subwords.model").write_bytes(b"no model")
        shutil.copytree(trained_translation.stopped, tmp_path / "stopped")
        for name, told in {
            "none": "is no training run",
            "empty": "is no training run",
            "other": "is no run of a translator",
            "cut": "is damaged",
            "mixed": "is damaged",
            "stopped": "is not finished",
        }.items():
            path = tmp_path / name
            for verb in (self.VERBS[0], ("export", "--to", tmp_path / "models")):
                assert call(*verb, "--run", path).is_mistake(path, told)
            assert call("translate", "a", "--run", run, "--run", path).is_mistake(path, told)
        assert not (tmp_path / "models").exists()

    def test_runs_that_training_refuses(self, run, tmp_path, train_command):
        (tmp_path / "file").write_text("mine")
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "file").write_text("mine")
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "config.json").write_text('{"task": "sentiment"}')
        shutil.copytree(run, tmp_path / "run")
        before = tree(tmp_path)
        for name, told in (
            ("file", "--run"),
            ("file/below", "--run"),
            ("folder", "is no run: name a new folder with --run"),
            ("other", "was started with other settings"),
            ("long" * 100, "--run"),
        ):
            assert call(*train_command(tmp_path / name)).is_mistake(tmp_path / name, told)
        command = [str(word) for word in train_command(tmp_path / "run")]
        command[command.index("--decoder-units") + 1] = "13"
        assert call(*command).is_mistake("was started with other settings (decoder_units): repeat its settings")
        assert tree(tmp_path) == before

    def test_figures_that_cannot_be_kept(self, run, data, monkeypatch, judged):
        def fail(*_, **__):
            raise OSError(28, "No space left on device")

        before = tree(run)
        monkeypatch.setattr("pathlib.Path.write_text", fail)
        result = call("evaluate", "--run", run, "--data", data, *CUT, "--json")
        monkeypatch.undo()
        *notices, mistake = result.err.splitlines(keepends=True)
        assert "judging" in notices[0]
        assert result._replace(err=mistake).is_mistake(f"cannot write --run '{run}' (No space left on device)")
        assert tree(run) == before


KILLED = """
import os, runpy, signal, sys
import tensorflow as tf
from ids_by_library import ids_by_library
from nlp_lstm.translation import train as train_module
from nlp_lstm.translation import train
from nlp_lstm.training import _NanGuard

train.id_pairs = ids_by_library
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})  # as in the tests' own process

def killed(guard, batch, logs=None):
    if batch == 1 and os.path.exists(run + "/checkpoints/training-0001.weights.h5"):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(guard, batch, logs)

original, _NanGuard.on_train_batch_end = _NanGuard.on_train_batch_end, killed
run, *sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.thorough
class TestKilled:
    @pytest.fixture(scope="class")
    def killed(self, train_command, tmp_path_factory):
        """A run that died in the middle of its second epoch, for good and at once."""
        run = tmp_path_factory.mktemp("killed") / "run"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "KERAS_", "PYTEST_"))}
        done = subprocess.run(
            [sys.executable, "-c", KILLED, run, ROOT / "apps" / "translation.py", *map(str, train_command(run))],
            capture_output=True,
            env={**kept, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests")))},
            timeout=1200,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        assert done.stdout == b""
        return run

    def test_it_is_not_finished(self, killed):
        assert call("translate", "--run", killed, "a b").is_mistake("not finished", "train command again")

    def test_all_of_its_first_epoch_is_there(self, killed, trained_translation):
        """As of the run that `tests/test_translation.py` goes on with, to the weights of one that was never stopped."""
        stopped = trained_translation.stopped
        # Two processes, whose memory lies otherwise: on processors without AVX-512 the last bit of a sum goes by that.
        for found, expected in zip(rows(killed), rows(stopped), strict=True):
            assert found.pop("stage") == expected.pop("stage")
            assert found == pytest.approx(expected, rel=1e-5)
        # What a kill leaves behind begins with a dot; the names of events hold the time.
        found, expected = (
            {name for name in tree(run) if not name.startswith(("tensorboard/", "."))} for run in (killed, stopped)
        )
        assert found == expected
        for name in ("config.json", "subwords.model"):
            assert (killed / name).read_bytes() == (stopped / name).read_bytes()
        for name in ("training-0001", "training-best"):
            found, expected = (weights_in(path / "checkpoints" / f"{name}.weights.h5") for path in (killed, stopped))
            assert len(found) > 10
            assert found.keys() == expected.keys()
            for key, value in expected.items():
                np.testing.assert_allclose(found[key], value, rtol=1e-4, atol=1e-5, err_msg=key)

    def test_the_same_command_goes_on(self, killed, train_command, tmp_path, monkeypatch):
        """Up to where the next epoch would begin."""
        run = tmp_path / "run"
        shutil.copytree(killed, run)
        stages = []
        monkeypatch.setattr(train_module, "train_stage", lambda model, stage, run, **_: stages.append((stage, run)))
        result = call(*train_command(run))
        assert (result.status, result.out) == (0, "")
        ((stage, found),) = stages
        assert (stage.epochs, found.path) == (3, run)
        assert rows(run) == rows(killed)
        assert (run / "model.weights.h5").exists()


def weights_in(path):
    """Every array of a checkpoint, by its place."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found
