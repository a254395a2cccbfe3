"""Running text as parallel streams in windows, which training takes one after the other."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from nlp_lstm.training import epoch_dataset


class Streams:
    """Running text as parallel streams, cut into windows whose length varies from one to the next.

    >>> streams = Streams(np.arange(20), batch_size=2, window=4, seed=None)
    >>> for ids, _ in streams.dataset().as_numpy_iterator():
    ...     print(ids)
    [[ 0  1  2  3]
     [ 9 10 11 12]]
    [[ 3  4  5  6]
     [12 13 14 15]]
    [[ 6  7  8  9]
     [15 16 17 18]]

    A stream goes on in the next window where it stood, so a model may carry its state. Windows vary, and the text is
    turned by a random number of symbols, so that the gradient is not always cut at the same places (Merity, Keskar and
    Socher 2018, section 5, with three lengths alone: XLA compiles the training loop once for each).

    Args:
        ids: `(symbols,)`.
        batch_size: number of streams.
        window: the usual number of guesses in a window; three quarters and five quarters of it are the others.
        seed: integers that settle where the windows lie; None for a text that is not turned, in windows of one length,
            or one less for some.
        taught: what is to be guessed at each place of the text beside what stands there, `(symbols, vocabulary)`.

    Raises:
        ValueError: if the text is too short for a single window of each stream.
    """

    def __init__(
        self,
        ids: np.ndarray,
        batch_size: int,
        window: int,
        seed: Sequence[int] | None,
        taught: np.ndarray | None = None,
    ):
        if (len(ids) - 1) // batch_size < (1 if seed is None else max(1, window * 5 // 4)):
            raise ValueError(f"{len(ids)} ids are too few for {batch_size} streams and windows of {window}")
        rng = None if seed is None else np.random.default_rng(list(seed))
        order = np.arange(len(ids))
        if rng is not None:
            order = np.roll(order, -int(rng.integers(len(ids))))
        guesses = (len(ids) - 1) // batch_size
        # Each stream ends with the symbol that the next begins with, so that none goes unguessed but the text's first
        # and, at its end, fewer than there are streams.
        self.places = np.stack([order[row * guesses : (row + 1) * guesses + 1] for row in range(batch_size)])
        self.ids, self.taught = ids[self.places], taught
        if rng is None:
            bounds = np.linspace(0, guesses, -(-guesses // window) + 1).round().astype(int)
            self.windows = [(int(start), int(stop - start)) for start, stop in itertools.pairwise(bounds)]
            return
        lengths = sorted({max(1, window * quarters // 4) for quarters in (3, 4, 5)})
        self.windows = []  # start and number of guesses
        start = 0
        # A last, odd length would be compiled for itself.
        while start + (length := int(rng.choice(lengths))) <= guesses:
            self.windows.append((start, length))
            start += length

    def __len__(self) -> int:
        return len(self.windows)

    def dataset(self) -> tf.data.Dataset:
        """`(ids (batch_size, guesses + 1), zeros (batch_size,))`, in the order of the text.

        With what is taught the ids come together with it: `((ids, taught (batch_size, guesses, vocabulary)), zeros)`.
        """
        nothing = np.zeros(len(self.ids), np.float32)

        def windows() -> Iterator[tuple[Any, np.ndarray]]:
            for start, length in self.windows:
                ids = self.ids[:, start : start + length + 1]
                if self.taught is None:
                    yield ids, nothing
                else:
                    yield (ids, self.taught[self.places[:, start + 1 : start + length + 1]]), nothing

        read: Any = tf.TensorSpec([len(self.ids), None], tf.int32)
        if self.taught is not None:
            read = (read, tf.TensorSpec([len(self.ids), None, self.taught.shape[1]], tf.float16))
        signature = (read, tf.TensorSpec([len(self.ids)], tf.float32))
        dataset = tf.data.Dataset.from_generator(windows, output_signature=signature)
        return epoch_dataset(dataset, len(self.windows))
