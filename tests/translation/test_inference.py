"""Using a translator: runs and exports agree, order is kept, figures are sacreBLEU's; and what an export tells."""

import dataclasses
import json
import re
import shutil

import keras
import numpy as np
import pytest
import sacrebleu
import sentencepiece
import tensorflow as tf
from test_saved_model import replay_warm_up

from nlp_lstm import saved_model
from nlp_lstm.datasets.pairs import Pairs
from nlp_lstm.errors import UserError
from nlp_lstm.model_card import table_cell
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.text.subwords import BEGINNING, Subwords
from nlp_lstm.translation import inference
from nlp_lstm.translation.build import Vocabularies, build_model
from nlp_lstm.translation.ensemble import serving_of
from nlp_lstm.translation.export import export_runs
from nlp_lstm.translation.inference import Translation, TranslationModel, evaluate, with_all_references

TEXTS = [
    b"A man sees a dog.",
    b"",
    "é".encode(),
    b"The best film!",
    b"Is it a dull film? It's the best.",
    b" ",
    b"dog",
    b"a\0b\n",
    b"dog",
    b"\xff\xfe",
    "映画😀".encode(),
]


@pytest.fixture(scope="module")
def shared(exported_translation):
    return exported_translation("shared")


@pytest.fixture(scope="module")
def separate(exported_translation):
    return exported_translation("separate")


@pytest.fixture(scope="module")
def of_export(shared):
    return TranslationModel(shared.base)


@pytest.fixture(scope="module")
def of_run(shared):
    return TranslationModel(shared.base / "no model is looked for", shared.runs)


def assert_same(found, expected):
    assert [[each.text for each in row] for row in found] == [[each.text for each in row] for row in expected]
    for row, other in zip(found, expected, strict=True):
        np.testing.assert_allclose([each.score for each in row], [each.score for each in other], rtol=1e-4, atol=1e-5)


class TestTranslate:
    @pytest.mark.parametrize("beam_size", [1, 4])
    def test_a_run_and_its_export_say_the_same(self, of_run, of_export, beam_size):
        assert_same(of_run.translate(TEXTS, beam_size), of_export.translate(TEXTS, beam_size))

    def test_order_and_number_are_kept(self, of_export, monkeypatch):
        """Though texts of like length are translated together, some at a time."""
        expected = [of_export.translate([text], 2)[0] for text in TEXTS]
        assert len({row[0].text for row in expected}) > len(TEXTS) // 2
        monkeypatch.setattr(inference, "_ROWS", 3)
        order = np.random.default_rng(0).permutation(len(TEXTS))
        found = of_export.translate([TEXTS[place] for place in order], 2)
        assert_same(found, [expected[place] for place in order])
        assert of_export.translate([]) == []

    def test_the_best_come_first_and_as_many_as_the_beam(self, of_export):
        for beam_size in (1, 3, 16):
            for text, found in zip(TEXTS, of_export.translate(TEXTS, beam_size), strict=True):
                assert all(type(each) is Translation for each in found)
                assert 1 <= len(found) <= beam_size
                scores = [each.score for each in found]
                assert scores == sorted(scores, reverse=True)
                if not text.strip():
                    assert found == [Translation("", 0.0)]
        assert len(found) == 16

    def test_by_default_the_beam_is_that_of_serving_default(self, shared, of_export):
        found = of_export.translate(TEXTS)
        answer = shared.signatures["serving_default"](text=tf.constant(TEXTS))
        assert [row[0].text for row in found] == [text.decode() for text in answer["translation"].numpy()]
        np.testing.assert_allclose([row[0].score for row in found], answer["score"], rtol=1e-5)

    def test_loaded_twice_and_asked_twice_it_says_the_same(self, shared, of_export):
        for name, inputs in shared.inputs(TEXTS).items():
            answers = [
                signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
                for signatures in (shared.signatures, of_export.signatures, of_export.signatures)
            ]
            for key, value in answers[0].items():
                for other in answers[1:]:
                    np.testing.assert_array_equal(other[key], value, err_msg=f"{name} {key}")


class TestExplain:
    def test_a_run_and_its_export_say_the_same(self, of_run, of_export):
        for text in TEXTS[:5]:
            (one, attended), (other, expected) = (model.explain(text) for model in (of_run, of_export))
            assert_same([[one]], [[other]])
            assert attended[:2] == expected[:2]
            np.testing.assert_allclose(attended.attention, expected.attention, rtol=1e-4, atol=1e-5)

    def test_pieces_of_the_source_and_of_the_translation(self, shared, of_export):
        subwords = shared.vocabularies.source
        library = sentencepiece.SentencePieceProcessor(model_proto=subwords.model)
        for text in TEXTS[:1] + TEXTS[2:5]:
            translation, attended = of_export.explain(text)
            assert translation == pytest.approx(of_export.translate([text])[0][0], abs=2e-5)
            assert attended.source == [*library.encode(text.decode().lower(), out_type=str), "</s>"]
            ids = [subwords.pieces.index(piece) for piece in attended.target]
            as_a_line = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", library.decode(ids))
            assert as_a_line == translation.text
            assert attended.attention.shape == (len(attended.source), len(attended.target))
            np.testing.assert_allclose(attended.attention.sum(axis=0), 1.0, rtol=0, atol=1e-5)


def score_by_hand(models, source, target, alpha):
    """The mean of the models' log-probabilities of a translation, by the length penalty."""
    total = 0.0
    for model in models:
        memory, state = model.encode(np.array([source]))
        for read, following in zip([BEGINNING, *target[:-1]], target, strict=True):
            log_probs, state, _ = model.step(np.array([read]), state, memory)
            total += float(keras.ops.convert_to_numpy(log_probs)[0, following])
    return total / len(models) / ((5 + len(target)) / 6) ** alpha


class TestEnsemble:
    def test_the_same_run_twice_is_that_run(self, shared, of_run):
        serving = serving_of([*shared.runs, *shared.runs])
        twice = serving.n_best(tf.constant(TEXTS), tf.fill([len(TEXTS)], 4))
        alone = of_run.signatures["n_best"](text=tf.constant(TEXTS), beam_size=tf.fill([len(TEXTS)], 4))
        np.testing.assert_array_equal(twice["translations"], alone["translations"])
        np.testing.assert_allclose(twice["scores"], alone["scores"], rtol=1e-5)

    def test_two_runs_are_averaged(self, separate):
        """Their log-probabilities, step by step; and neither alone says the same."""
        together = serving_of(separate.runs, alpha=0.7)
        assert (together.alpha, together.beta) == (0.7, 0.0)
        answer = {name: value.numpy() for name, value in together.explain(tf.constant(TEXTS[:5])).items()}
        vocabularies, differing = separate.vocabularies, 0
        for row in (0, 2, 3, 4):
            source, target = (
                [
                    subwords.pieces.index(piece.decode())
                    for piece in answer[f"{side}_pieces"][row][: answer[f"{side}_length"][row]]
                ]
                for side, subwords in zip(("source", "target"), vocabularies, strict=True)
            )
            expected = score_by_hand(separate.models, source, target, 0.7)
            assert answer["score"][row] == pytest.approx(expected, rel=1e-4)
            for model in separate.models:
                differing += abs(score_by_hand([model], source, target, 0.7) - expected) > 0.01
        assert differing == 8

    def test_runs_with_other_subwords_are_refused(self, shared, separate, tmp_path):
        other = Subwords.train(["Etwas ganz anderes steht hier."], 330)
        vocabularies = Vocabularies(other, other)
        (run,), another = shared.runs, RunFolder(tmp_path / "another")
        shutil.copytree(run, another.path)
        other.save(another.path / "subwords.model")
        build_model(shared.settings, vocabularies).save_weights(another.model_weights)
        another.config_path.write_text(json.dumps({**another.config(), "subwords_sha256": vocabularies.digest()}))
        for runs in ([run, another.path], [run, run, another.path], [run, separate.runs[0]]):
            with pytest.raises(UserError, match="have different subwords") as caught:
                TranslationModel(tmp_path, runs)
            assert str(caught.value).startswith(f"the runs in '{runs[0]}' and '{runs[-1]}' have")
            assert len(str(caught.value).splitlines()) == 1


class Parrot:
    """Says what it was taught, and remembers what it was asked."""

    def __init__(self, translations):
        self.translations, self.asked = translations, []

    def translate(self, texts, beam_size):
        self.asked.append((list(texts), beam_size))
        return [[Translation(self.translations[text.decode()], -1.0), Translation("?", -2.0)] for text in texts]


TAUGHT = {
    "A dog runs.": "Ein Hund läuft schnell.",
    "The old man sees the small dog in the garden.": "Der alte Mann sieht den Hund im Garten.",
    "One two three four five six seven eight": "eins zwei drei vier fünf sechs sieben",
    "": "",
}
REFERENCES = [
    ["Ein Hund läuft.", "Ein Hund rennt schnell."],
    ["Der alte Mann sieht den kleinen Hund im Garten."],
    ["Eins zwei drei vier fünf sechs sieben acht", "eins, zwei, drei", "1 2 3"],
    ["nichts"],
]


class TestEvaluate:
    def test_the_figures_are_those_of_sacrebleu(self):
        parrot = Parrot(TAUGHT)
        found = evaluate(parrot, list(TAUGHT), REFERENCES, "de", beam_size=7)
        translations = list(TAUGHT.values())
        streams = [[row[place] if place < len(row) else None for row in REFERENCES] for place in range(3)]
        bleu = sacrebleu.corpus_bleu(translations, streams)
        assert found["bleu"] == pytest.approx(bleu.score)
        assert found["brevity_penalty"] == pytest.approx(bleu.bp)
        assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(translations, streams).score)
        assert 20 < found["bleu"] < 90
        lower = [[text and text.lower() for text in stream] for stream in streams]
        lower = sacrebleu.corpus_bleu([text.lower() for text in translations], lower)
        assert found["bleu_lower_tok"] == pytest.approx(lower.score)  # of these texts Moses makes the same tokens
        assert found["bleu_lower_tok"] > found["bleu"] + 1
        assert (found["sentences"], found["references"], found["beam_size"]) == (4, 7, 7)
        assert {beam_size for _, beam_size in parrot.asked} == {7}
        assert parrot.asked[-1][0] == [text.encode() for text in TAUGHT]
        json.dumps(found, allow_nan=False)

    def test_the_figures_of_each_length(self):
        rows = evaluate(Parrot(TAUGHT), list(TAUGHT), REFERENCES, "de")["bleu_by_length"]
        assert [row["sentences"] for row in rows] == [2, 2, 0, 0, 0, 0]
        second = sacrebleu.corpus_bleu(
            [TAUGHT[text] for text in list(TAUGHT)[1:3]],
            [[row[place] if place < len(row) else None for row in REFERENCES[1:3]] for place in range(3)],
            force=True,
        )
        assert rows[1] == {"words": "6-10", "sentences": 2, "bleu": pytest.approx(second.score)}
        assert rows[2]["bleu"] is None

    @pytest.mark.parametrize("beam_size", [1, 5])
    def test_a_model_is_judged_by_its_best_translations(self, of_export, beam_size):
        sources = [text.decode("utf-8", "replace") for text in TEXTS]
        translations = [row[0].text for row in of_export.translate(TEXTS, beam_size)]
        references = [[text + " x", "Ein Mann"] for text in translations]
        found = evaluate(of_export, sources, references, "de", beam_size)
        streams = [list(stream) for stream in zip(*references, strict=True)]
        assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(translations, streams, force=True).score)
        assert found["bleu"] > 50
        assert found["seconds"] >= 0
        assert found["sentences_per_second"] > 0

    def test_no_sentences(self, of_export):
        with pytest.raises(UserError, match="no sentence to judge on"):
            evaluate(of_export, [], [], "de")

    def test_a_language_that_is_no_code_is_told_before_the_work(self):
        parrot = Parrot(TAUGHT)
        with pytest.raises(UserError, match="'german' is no code"):
            evaluate(parrot, list(TAUGHT), REFERENCES, "german")
        assert parrot.asked == []


def test_with_all_references():
    pairs = Pairs(["b", "a", "b", "c", "b", "a "], ["B", "A", "β", "C", "B", "A2"])
    sources, references = with_all_references(pairs)
    assert sources == ["b", "a", "c", "a "]
    assert references == [["B", "β", "B"], ["A"], ["C"], ["A2"]]
    assert with_all_references(Pairs([], [])) == ([], [])


FIGURES = [
    {"data": "/data/multi30k", "split": "validation", "sentences": 1014, "bleu": 40.123, "bleu_lower_tok": 41.567}
    | {"chrf": 63.0, "beam_size": 5},
    {"data": "/data/test_2016.en.gz", "split": "file", "sentences": 1000, "bleu": 38.0, "bleu_lower_tok": 39.005}
    | {"chrf": 61.239, "beam_size": 12},
]


class TestExport:
    @pytest.fixture
    def run(self, shared, tmp_path):
        shutil.copytree(shared.runs[0], tmp_path / "run")
        return RunFolder(tmp_path / "run")

    @pytest.fixture
    def saved(self, monkeypatch):
        """What would have been written: the arguments of `saved_model.save`."""
        found = []
        monkeypatch.setattr(saved_model, "save", lambda *arguments, batching: found.append(arguments))
        return found

    def test_warm_up_asks_every_signature_what_it_can_answer(self, shared):
        assert sorted(path.name for path in shared.base.iterdir()) == ["1", "model_card.md"]
        requests = replay_warm_up(shared.version)
        assert set(requests) == {"serving_default", "n_best", "explain", "encode"}
        assert {name for name, _ in requests.values()} == {"translation"}

    def test_the_model_card(self, shared):
        card = (shared.base / "model_card.md").read_text(encoding="utf-8")
        copy = (shared.version / saved_model.WARM_UP_FILE).with_name("model_card.md")
        assert copy.read_text(encoding="utf-8") == card
        lines, text = card.split("\n"), card.replace("\n", " ")
        assert "| not evaluated | | | | |" in lines
        assert "Training took 2.0 minutes (5.0 processor minutes)." in text
        assert "The weights after epoch 1 are kept, with a greedy BLEU of 34.57 on validation data." in text
        assert "Trained on `letters.tsv`." in lines
        weights = sum(weight.numpy().size for weight in shared.models[0].trainable_weights)
        assert f"{weights:,} weights." in card
        assert f"over {len(shared.vocabularies.target):,} subwords" in card
        for name, value in dataclasses.asdict(shared.settings).items():
            assert (f"- `{name}`: {value}" in lines) == (value != "")
        assert "- length penalty: 1.0" in lines
        assert "- coverage penalty: 0.0" in lines

    def test_the_card_of_two_runs(self, separate):
        text = (separate.base / "model_card.md").read_text(encoding="utf-8").replace("\n", " ")
        assert "in each of 2 models, whose log-probabilities are averaged." in text
        assert "Training took 4.0 minutes (10.0 processor minutes)." in text
        assert "The weights after epoch 1, 1 are kept, with a greedy BLEU of 34.57, 34.57 on" in text
        assert "- length penalty: 0.6 - coverage penalty: 0.3 " in text

    def test_what_is_exported_is_what_the_runs_hold(self, separate, saved, tmp_path):
        export_runs(separate.runs[::-1], tmp_path / "models", alpha=0.5, beta=0.2)
        ((serving, base, warm_up, _),) = saved
        assert base == tmp_path / "models"
        assert warm_up.keys() == serving.signatures.keys()
        assert (serving.alpha, serving.beta) == (0.5, 0.2)
        assert serving.subwords.model == separate.vocabularies.target.model
        assert serving.source_subwords.model == separate.vocabularies.source.model
        for found, expected in zip(serving.models, separate.models[::-1], strict=True):
            for one, other in zip(found.get_weights(), expected.get_weights(), strict=True):
                np.testing.assert_array_equal(one, other)

    def test_figures_that_were_kept(self, run, saved, tmp_path):
        for figures in FIGURES:
            run.keep_evaluation(figures)
        export_runs([run.path], tmp_path / "models")
        lines = saved[0][-1](1_250_000).split("\n")
        assert "- size: 1.2 MB" in lines
        assert "| validation of multi30k (1,014 sentences) | 40.12 | 41.57 | 63.00 | 5 |" in lines
        assert "| file of test_2016.en.gz (1,000 sentences) | 38.00 | 39.01 | 61.24 | 12 |" in lines
        assert not [line for line in lines if "not evaluated" in line]

    @pytest.mark.parametrize(
        ("changed", "told"),
        [
            ({"source_language": "en", "target_language": "de"}, "from `en` to `de`"),
            ({"data": "sample"}, "Trained on `sample`."),
            ({"data": "/data/multi30k"}, "Trained on `multi30k`.  ## Figures"),  # a name tells nothing of what is in it
            ({"data": None, "source_file": "/a/all.en.gz", "target_file": "/a/all.de.gz"}, "Trained on `all.en.gz`."),
        ],
    )
    def test_data_and_direction(self, run, saved, tmp_path, changed, told):
        run.config_path.write_text(json.dumps({**run.config(), **changed}))
        export_runs([run.path], tmp_path / "models")
        assert told in saved[0][-1](1000).replace("\n", " ")

    def test_what_it_makes_of_other_sentences(self, run, saved, tmp_path):
        run.config_path.write_text(json.dumps({**run.config(), "source_language": "en"}))
        export_runs([run.path], tmp_path / "models")
        source = "Where can I buy a ticket to Vienna?"
        written = TranslationModel(None, [run.path]).translate([source.encode()], 5)[0][0].text
        assert f"| {source} | {table_cell(written)} |" in saved[0][-1](1000).split("\n")


def test_a_model_of_another_app_is_refused(exported_sentiment):
    with pytest.raises(UserError, match="has no signature 'n_best'") as caught:
        TranslationModel(exported_sentiment.base)
    assert len(str(caught.value).splitlines()) == 1


def test_no_model_and_no_run(tmp_path):
    with pytest.raises(UserError, match="no model at"):
        TranslationModel(tmp_path / "none")
    with pytest.raises(UserError, match="is no training run"):
        TranslationModel(tmp_path / "none", [tmp_path])
