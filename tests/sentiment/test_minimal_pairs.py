"""The pairs of this project, and the judge: right with models that are known."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from nlp_lstm.errors import UserError
from nlp_lstm.sentiment import inference
from nlp_lstm.sentiment.minimal_pairs import MinimalPair, judged, read_pairs

OURS = Path(__file__).with_name("polarity_pairs.jsonl")


def words(text):
    return text.lower().replace(",", " ").replace(".", " ").replace(";", " ").replace("n't", " not").split()


def test_the_pairs_of_this_project():
    pairs = read_pairs(OURS)
    assert Counter(pair.kind for pair in pairs) == {"negation": 20, "contrast": 20, "intensity": 20}
    texts = [text for pair in pairs for text in (pair.positive, pair.negative)]
    assert len(set(texts)) == 120
    for pair in pairs:
        for text in pair[1:]:
            assert text[0].isupper() and text[-1] == "." and text == " ".join(text.split())
        one, other = (set(words(text)) for text in pair[1:])
        assert one & other, pair  # a variant, no other sentence
    # What can be said of one set of words is said of the other: only their order tells most contrasts.
    contrasts = [pair for pair in pairs if pair.kind == "contrast"]
    assert sum(Counter(words(pair.positive)) == Counter(words(pair.negative)) for pair in contrasts) >= 12


class Known:
    """A model whose P(positive) of each text is known."""

    def __init__(self, scores):
        self.scores = scores

    def __call__(self, text):
        return {"score": tf.constant([self.scores[one.decode()] for one in text.numpy()], tf.float32)}


def known(pairs, scores):
    return Known(
        {
            text: score
            for pair, both in zip(pairs, scores, strict=True)
            for text, score in zip(pair[1:], both, strict=True)
        }
    )


@pytest.mark.parametrize(
    ("positive", "negative", "higher", "both_right"),
    [(0.9, 0.1, 1, 1), (0.9, 0.8, 1, 0), (0.2, 0.1, 1, 0), (0.5, 0.4, 1, 0), (0.6, 0.5, 1, 1), (0.1, 0.9, 0, 0)],
)
def test_one_pair(positive, negative, higher, both_right):
    found = judged([MinimalPair("negation", "a", "b")], [positive], [negative])
    assert (found["pairs"], found["higher"], found["both_right"]) == (1, higher, both_right)
    assert len(found["wrong"]) == 1 - higher
    of_degree = judged([MinimalPair("intensity", "a", "b")], [positive], [negative])
    assert (of_degree["higher"], of_degree["both_right"]) == (higher, None)


def test_a_model_that_says_the_same_of_all_tells_none_apart():
    found = inference.judge_pairs(lambda text: {"score": tf.fill(tf.shape(text), 0.6)}, OURS)
    assert (found["pairs"], found["higher"], found["both_right"]) == (60, 0, 0)
    assert len(found["wrong"]) == 60


def test_each_kind_and_all_of_them():
    pairs, rng = read_pairs(OURS), np.random.default_rng(0)
    scores = rng.uniform(size=(60, 2))
    found = inference.judge_pairs(known(pairs, scores), OURS)
    higher, right = Counter(), Counter()
    for pair, (first, second) in zip(pairs, np.float32(scores).tolist(), strict=True):
        higher[pair.kind] += first > second
        right[pair.kind] += first > 0.5 >= second
    assert found["data"] == str(OURS)
    assert found["by_kind"] == [
        {
            "kind": kind,
            "pairs": 20,
            "higher": higher[kind] / 20,
            "both_right": None if kind == "intensity" else right[kind] / 20,
        }
        for kind in ("negation", "contrast", "intensity")
    ]
    assert found["higher"] == pytest.approx(higher.total() / 60)
    assert found["both_right"] == pytest.approx((right["negation"] + right["contrast"]) / 40)
    wrong = {(row["positive"], row["negative"]): row["scores"] for row in found["wrong"]}
    assert wrong == {
        (pair.positive, pair.negative): both
        for pair, both in zip(pairs, np.float32(scores).tolist(), strict=True)
        if both[0] <= both[1]
    }
    assert 10 < len(wrong) < 50


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "has no pairs"),
        (b'{"kind": "a", "positive": "b", "negative": "c"}\nnonsense', "line 2 of"),
        (b'\n\n["kind", "positive", "negative"]', "line 3 of"),
        (b'{"kind": "a", "positive": "b"}', "kind, positive, negative"),
        (b'{"kind": "a", "positive": "b", "negative": 3}', "line 1 of"),
        (b"\xff\xfe", "not in UTF-8"),
        (None, "No such file"),
    ],
)
def test_what_is_no_file_of_pairs(tmp_path, content, told):
    path = tmp_path / "pairs.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=told) as caught:
        read_pairs(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
