"""What finished runs guess of a text: what a student is trained on beside the text itself."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from nlp_lstm.char_lm.batches import Streams
from nlp_lstm.char_lm.build import load_run
from nlp_lstm.errors import UserError
from nlp_lstm.models.language_model import LanguageModel
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.text.symbols import Symbols

_MOST_BYTES = 8 * 2**30


def load_teachers(runs: Sequence[Path], symbols: Symbols, length: int) -> list[LanguageModel]:
    """The models of finished runs, as teachers of one that reads a text of `length` symbols.

    Raises:
        UserError: if a run is none, or has other symbols; if what they guess of the text does not fit in memory.
    """
    teachers = []
    for path in runs:
        model, known, _ = load_run(RunFolder(path))
        if known.spelling != symbols.spelling:
            raise UserError(f"the run in '{path}' has other symbols: let it teach on the data that it was trained on")
        teachers.append(model)
    needed = 2 * length * len(symbols)
    if teachers and needed > _MOST_BYTES:
        raise UserError(
            f"what --teacher-run guesses of {length:,} {symbols.unit}s takes {needed / 2**30:.0f} GiB of memory, and "
            f"{_MOST_BYTES // 2**30} is the most: train on a shorter text, or without a teacher"
        )
    return teachers


def taught_probabilities(
    teachers: Sequence[LanguageModel], ids: np.ndarray, batch_size: int, window: int
) -> np.ndarray:
    r"""What teachers guess at each place of a text from what stands before it, in the mean.

    .. math:: q_t(v) = \frac1M \sum_{m=1}^M p_m(v \mid x_1, \dots, x_{t-1})

    >>> teacher = LanguageModel(vocabulary_size=5, embedding_size=4, units=3, seed=0)
    >>> found = taught_probabilities([teacher], np.array([3, 1, 4, 1, 2]), batch_size=1, window=2)
    >>> found.shape, found.dtype
    ((5, 5), dtype('float16'))
    >>> found[0].tolist()  # nothing stands before it
    [0.0, 0.0, 0.0, 1.0, 0.0]

    Args:
        teachers: which.
        ids: of the text, `(symbols,)`.
        batch_size: the text is read in so many streams, each from a state of zeros.
        window: so many symbols at a time.

    Returns:
        `(symbols, vocabulary)`: of the first symbol, and of the last ones, which no stream guesses, the symbol itself.
    """
    size = teachers[0].settings["vocabulary_size"]
    found = np.zeros((len(ids), size), np.float16)
    streams = Streams(ids, batch_size, window, None)
    asked = [_step_of(teacher) for teacher in teachers]
    states = [teacher.initial_state(batch_size) for teacher in teachers]
    for start, length in streams.windows:
        read = tf.constant(streams.ids[:, start : start + length], tf.int32)
        total = 0.0
        for number, step in enumerate(asked):
            probabilities, states[number] = step(read, states[number])
            total = total + keras.ops.convert_to_numpy(probabilities)
        found[streams.places[:, start + 1 : start + length + 1]] = total / len(teachers)
    unguessed = np.flatnonzero(~found.any(axis=1))
    found[unguessed, ids[unguessed]] = 1
    return found


def _step_of(teacher: LanguageModel) -> tf.function:
    def step(ids: tf.Tensor, state: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        logits, state = teacher(ids, state)
        return tf.nn.softmax(logits), state

    return tf.function(step, reduce_retracing=True, autograph=False)
