"""What is said of a sentence, against the recurrence itself, on small models."""

import functools

import command_line
import matplotlib.image
import numpy as np
import pytest

from examples import sentence_walk
from nlp_lstm.char_lm.inference import CharLm

call = functools.partial(command_line.call, sentence_walk.app)
SENTENCE, CAUSE, INSTEAD, TOLD = "a saint in rain, a tea set, I see a train.", "saint", "beast", "train"


@pytest.fixture(scope="module")
def model(exported_char_lm):
    return CharLm(exported_char_lm("character").base)


def test_what_is_left_of_a_cell_is_what_the_recurrence_leaves(model):
    found = sentence_walk.walk(model, SENTENCE, CAUSE, INSTEAD, TOLD)
    gates = model.activity(SENTENCE)
    last, target = SENTENCE.index(CAUSE) + len(CAUSE) - 1, SENTENCE.index(TOLD)
    assert found["characters_between"] == target - 1 - last
    # c = f c + i c~, once from what the cell held and once from nothing: the difference is what is left of it.
    held, nothing = gates["cell"][last].astype("float64"), np.zeros_like(gates["cell"][last], "float64")
    for step in range(last + 1, target):
        added = gates["input"][step] * gates["candidate"][step]
        held, nothing = gates["forget"][step] * held + added, gates["forget"][step] * nothing + added
    np.testing.assert_allclose(held, gates["cell"][target - 1], atol=1e-4)
    left = held - nothing
    for one in found["carriers"]:
        assert one["of_it_left"] == pytest.approx(left[one["unit"]], abs=1e-6)
    shares = left / gates["cell"][last]
    assert [one["unit"] for one in found["carriers"]] == np.argsort(-shares)[: sentence_walk.CARRIERS].tolist()


def test_probabilities_of_words_multiply_to_that_of_the_sentence(model):
    found = sentence_walk.walk(model, SENTENCE, CAUSE, INSTEAD, TOLD)
    assert [word["word"] for word in found["words"]] == SENTENCE.split()
    total = np.sum(np.log([word["probability"] for word in found["words"]]))
    assert total == pytest.approx(float(np.sum(model.log_probs(SENTENCE))), rel=1e-4)
    of_told = found[f"probability_of_{TOLD}"]
    start = SENTENCE.index(TOLD)
    other = SENTENCE.replace(CAUSE, INSTEAD)
    expected = np.exp(np.sum(model.log_probs(other)[start : start + len(TOLD)]))
    assert of_told[f"'{INSTEAD}' instead of '{CAUSE}'"] == pytest.approx(float(expected), rel=1e-4)
    assert of_told["the sentence"] != of_told["without the clause"]


def test_the_example_as_it_is_called(exported_char_lm, exported_sentiment, tmp_path):
    plot = tmp_path / "sentence.png"
    models = ["--char-model", exported_char_lm("character").base, "--sentiment-model", exported_sentiment.base]
    phrases = ["--sentence", SENTENCE, "--cause", CAUSE, "--instead", INSTEAD, "--told", TOLD]
    found = call(*models, *phrases, "--plot", plot, "--json").object
    assert len(found["sentiment"]["tokens"]) > 10
    assert "curves" not in found
    assert matplotlib.image.imread(plot).shape[0] > 900
    assert "share left" in call(*models, *phrases).out


def test_a_mistake_is_one_line(exported_char_lm):
    model = ["--char-model", exported_char_lm("character").base]
    assert call(*model, "--instead", "because of").is_mistake("--instead is 'because of'")
    assert call(*model, "--told", "house").is_mistake("'house' stands 0 times")
    assert call("--plot", "a.svg").is_mistake("--plot")
