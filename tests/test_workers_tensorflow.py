"""What one of several workers takes of a batch, and that it touches no private name."""

import ast
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import nlp_lstm
from nlp_lstm.models.encoder import BidirectionalEncoder
from nlp_lstm.models.pretraining import BidirectionalLanguageModel, guesses
from nlp_lstm.training import reseed
from nlp_lstm.workers import Workers
from nlp_lstm.workers_tensorflow import SeveralWorkers


def worker(number, place):
    """One that has no others: what is asked of it here needs none."""
    found = object.__new__(SeveralWorkers)
    Workers.__init__(found, number, place)
    return found


def taken(number, batches, weights=None):
    """By each worker, of each batch."""
    dataset = tf.data.Dataset.from_generator(
        lambda: iter(batches),
        output_signature=(tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.float32)),
    ).apply(tf.data.experimental.assert_cardinality(len(batches)))
    own = [worker(number, place).own_rows(dataset, weights) for place in range(number)]
    assert [int(each.cardinality()) for each in own] == [len(batches)] * number
    return list(zip(*(each.as_numpy_iterator() for each in own), strict=True))


@pytest.fixture
def batches():
    rng = np.random.default_rng(1)
    return [
        (rng.integers(0, 4, (rows, 9)).astype(np.int32), rng.uniform(size=rows).astype(np.float32))
        for rows in (8, 5, 2, 1)
    ]


@pytest.mark.parametrize("number", [2, 3, 5])
def test_each_row_is_taken_once(batches, number):
    for (ids, targets), parts in zip(batches, taken(number, batches), strict=True):
        kept = [part for part in parts if part[2].any()]
        np.testing.assert_array_equal(np.concatenate([part[0] for part in kept]), ids)
        np.testing.assert_array_equal(np.concatenate([part[1] for part in kept]), targets)
        np.testing.assert_array_equal(np.concatenate([part[2] for part in kept]), np.ones(len(ids)))
        for nothing in (part for part in parts if not part[2].any()):
            assert len(nothing[0]) == 1 and len(parts) > len(ids)


def test_rows_count_by_their_weights(batches):
    for (ids, _), parts in zip(batches, taken(2, batches, lambda ids, _: guesses(ids)), strict=True):
        counts = ((ids[:, 1:] != 0) & (ids[:, :-1] != 0)).sum(axis=1)
        found = np.concatenate([part[2] for part in parts if part[2].any()])
        np.testing.assert_allclose(found, len(ids) * counts / counts.sum(), rtol=1e-6)


def test_a_batch_in_which_nothing_counts(batches):
    (parts,) = taken(2, batches[1:2], lambda ids, _: 0.0 * guesses(ids))
    assert np.concatenate([part[2] for part in parts]).tolist() == [1.0] * 5


def test_known_shapes_stay_known():
    dataset = tf.data.Dataset.from_tensors((np.zeros((5, 3), np.int32), np.zeros(5, np.float32)))
    own = worker(2, 1).own_rows(dataset)
    assert [tuple(part.shape) for part in own.element_spec] == [(3, 3), (3,), (3,)]


def test_masks_are_a_worker_s_own_and_what_a_model_draws_is_everyone_s():
    encoder = BidirectionalEncoder(30, 3, 2, word_dropout=0.5, dropout=0.5, seed=1)
    model = BidirectionalLanguageModel(encoder, samples=8, seed=1)
    model.build((None, None))

    def seeds(epoch, worker):
        reseed(model, epoch, worker)
        return {
            variable.path: tuple(variable.numpy()) for variable in model.variables if "seed_generator" in variable.path
        }

    found = {(epoch, worker): seeds(epoch, worker) for epoch in (3, 4) for worker in range(3)}
    everyones = model.seed_generator.state.path
    assert len(found[3, 0]) > 3
    for path in found[3, 0]:
        drawn = {key: seeds_of[path] for key, seeds_of in found.items()}
        assert len(set(drawn.values())) == (2 if path == everyones else 6)
    assert seeds(3, 1) == found[3, 1]  # from wherever they stood


@pytest.mark.parametrize("name", ["workers", "workers_tensorflow", "local_workers", "cluster"])
def test_no_private_name_of_another_package(name):
    """Keras and TensorFlow may change one without a word: what they let others override is enough."""
    tree = ast.parse((Path(nlp_lstm.__file__).parent / f"{name}.py").read_text("utf-8"))
    private = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and ast.unparse(node.value) != "self"
        if not node.attr.startswith("__") and ast.unparse(node) != "os._exit"
    ]
    assert private == []
