"""Calls of a model at once: nothing of a call stays on a layer, so none can hear of another."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_lstm.models.classifier import BlendedClassifier, SentimentClassifier
from nlp_lstm.models.encoder import BidirectionalEncoder
from nlp_lstm.models.language_model import LanguageModel
from nlp_lstm.models.ngrams import NgramClassifier
from nlp_lstm.models.pretraining import BidirectionalLanguageModel
from nlp_lstm.models.translator import TeacherForcing, Translator

pytestmark = pytest.mark.thorough

SYMBOLS = 9


def translator(**options):
    return Translator(SYMBOLS, embedding_size=4, encoder_units=3, decoder_units=5, **options)


def classifier():
    return SentimentClassifier(BidirectionalEncoder(SYMBOLS, 4, 3))


MODELS: dict[str, Callable[[], keras.Layer]] = {
    "translator, dot": lambda: translator(attention="dot"),
    "translator, additive": lambda: translator(attention="additive", encoder_layers=2),
    "blended classifier": lambda: BlendedClassifier(classifier(), NgramClassifier(SYMBOLS, 2, 16)),
    "language model": lambda: LanguageModel(SYMBOLS, 4, 3),
}
IN_TRAINING: dict[str, Callable[[], keras.Layer]] = {
    "teacher forcing": lambda: TeacherForcing(translator(), 0.1),
    "pretraining": lambda: BidirectionalLanguageModel(BidirectionalEncoder(SYMBOLS, 4, 3), 5),
}
TAKE_PAIRS = ("translator", "teacher forcing")


def built(name: str) -> keras.Layer:
    """Of random weights that are not small: each id counts."""
    model = {**MODELS, **IN_TRAINING}[name]()
    model.build((None, None))
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(0.0, 0.8, weight.shape))
    return model


def ids(name: str, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    sides = [tf.constant(rng.integers(1, SYMBOLS, (2, steps)), tf.int32) for steps in (4, 5)]
    return tuple(sides) if name.startswith(TAKE_PAIRS) else sides[0]


def as_arrays(answer: Any) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(part) for part in keras.tree.flatten(answer)]


def assert_answers(found: list[Any], expected: list[Any]) -> None:
    for answers in zip(found, expected, strict=True):
        for part, wanted in zip(*map(as_arrays, answers), strict=True):
            np.testing.assert_allclose(part, wanted, rtol=0, atol=1e-5)


def test_the_inputs_have_answers_of_their_own():
    """Else the tests below could not tell one from another."""
    for name in MODELS:
        model = built(name)
        one, other = (as_arrays(model(ids(name, seed)))[0] for seed in range(2))
        assert np.abs(one - other).max() > 1e-2


@pytest.mark.parametrize("name", MODELS)
def test_in_threads_each_call_has_its_own_answer(name):
    """Some as they are, and some in graphs that are traced at the same time."""
    model, threads = built(name), 4
    inputs = [ids(name, seed) for seed in range(threads)]
    expected = [as_arrays(model(given)) for given in inputs]
    begin = threading.Barrier(threads)

    def called(number):
        begin.wait()
        call = tf.function(model, autograph=False) if number % 2 else model
        return as_arrays(call(inputs[number]))

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(called, range(len(inputs))))
    assert_answers(found, expected)


@pytest.mark.parametrize(
    ("name", "in_graph"), [*((name, False) for name in MODELS), ("translator, dot", True), ("blended classifier", True)]
)
def test_a_call_in_the_midst_of_another_changes_neither(name, in_graph, monkeypatch):
    """Wherever a call is held up: once before each layer in it."""
    model = built(name)
    given, other = ids(name, 0), ids(name, 1)
    expected = [as_arrays(model(one)) for one in (given, other)]
    waiting = {id(layer) for layer in model._flatten_layers(include_self=False)}
    between: list[Any] = []

    def held_up(layer, real):
        def call(*arguments, **options):
            if id(layer) in waiting:
                waiting.discard(id(layer))
                left, found = set(waiting), []
                waiting.clear()  # the call in between goes through
                thread = threading.Thread(target=lambda: found.append(as_arrays(model(other))))
                thread.start()
                thread.join()
                waiting.update(left)
                between.extend(found)
            return real(*arguments, **options)

        return call

    for layer in model._flatten_layers(include_self=False):
        monkeypatch.setattr(layer, "call", held_up(layer, layer.call))
    call = tf.function(model, autograph=False) if in_graph else model
    found = as_arrays(call(given))
    assert len(between) > 1
    assert_answers([found, *between], [expected[0], *[expected[1]] * len(between)])


def what_layers_hold(model: keras.Layer) -> dict[str, Any]:
    """Every attribute of every layer; of containers what is in them."""
    held = {}
    for number, layer in enumerate(model._flatten_layers()):
        for name, value in vars(layer).items():
            inside = (
                value if isinstance(value, list | tuple | set) else value.values() if isinstance(value, dict) else ()
            )
            held[f"{number} {layer.name}.{name}"] = (value, list(inside))
    return held


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", [*MODELS, *IN_TRAINING])
def test_a_call_leaves_nothing_on_a_layer(name, training):
    model = built(name)
    model(ids(name, 0), training=training)  # Keras notes that a layer was called
    before = what_layers_hold(model)
    model(ids(name, 1), training=training)
    after = what_layers_hold(model)
    assert before.keys() == after.keys()
    changed = [
        place
        for place, (value, inside) in before.items()
        if not (
            (value is after[place][0] or (type(value) in (int, str, bool, float) and value == after[place][0]))
            and [id(one) for one in inside] == [id(one) for one in after[place][1]]
        )
    ]
    assert changed == []
