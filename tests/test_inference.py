"""Signatures traced when asked for; texts in batches of like length, each with its own answer and little padding."""

import numpy as np
import pytest
import tensorflow as tf

from nlp_lstm.inference import TracedSignatures, answers_by_length, by_length


def test_a_signature_is_traced_when_it_is_asked_for_and_not_again():
    traced = []

    def function_of(name, factor):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="x")], autograph=False)
        def function(x):
            traced.append(name)
            return {"y": factor * x}

        return function

    signatures = TracedSignatures({"double": function_of("double", 2), "triple": function_of("triple", 3)})
    assert traced == []
    assert list(signatures) == ["double", "triple"]
    for _ in range(2):
        assert signatures["triple"](x=tf.constant([1, 5]))["y"].numpy().tolist() == [3, 15]
    assert traced == ["triple"]
    assert "half" not in signatures


def test_the_shortest_comes_first_and_equals_stay_in_order():
    rng = np.random.default_rng(0)
    texts = ["x" * length for length in rng.integers(0, 5, 40)]
    order = by_length(texts)
    assert sorted(order) == list(range(40))
    assert sorted(order, key=lambda place: (len(texts[place]), place)) == order


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 30])
def test_each_text_has_its_own_answer(count):
    rng = np.random.default_rng(count)
    texts = [bytes([65 + number]) * rng.integers(0, 9) for number in range(count)]
    asked = []

    def ask(batch):
        asked.append(batch)
        return {
            "text": np.array([text + b"!" for text in batch], object),
            "sizes": np.array([[len(text), 2 * len(text)] for text in batch], np.int32).reshape(-1, 2),
        }

    found = answers_by_length(ask, texts, rows=8)
    assert found["text"].tolist() == [text + b"!" for text in texts]
    assert found["sizes"].tolist() == [[len(text), 2 * len(text)] for text in texts]
    assert found["sizes"].dtype == np.int32
    assert [len(batch) for batch in asked] == ([8] * (count // 8) + [count % 8] * (count % 8 > 0) or [0])
    lengths = [len(text) for batch in asked for text in batch]
    assert lengths == sorted(lengths)
