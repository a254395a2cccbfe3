"""The processes that train one model together, each on its own rows of every batch; here those that are alone."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from nlp_lstm.run_folder import RunFolder

Value = TypeVar("Value")

RowWeights = Callable[[Any, Any], Any]
"""From a batch's inputs and targets to how much each row counts in the batch's loss, `(batch,)`."""


TRY_AGAIN = 75
"""Exit status of a worker that has lost another: the same command, started again by whatever started it, goes on.
(`EX_TEMPFAIL` of sysexits.h; a user's mistake, which no new start mends, has 2.)"""


class Workers:
    """One worker alone: the chief, all rows are its own, and there is nothing to sum.

    >>> alone = Workers()
    >>> alone.from_chief(lambda: {"epoch": 3}), alone.rows(32)
    ({'epoch': 3}, (0, 32))

    What is written for several (`nlp_lstm.workers_tensorflow.SeveralWorkers`) reads the same for one, which does
    nothing more than it would without.

    Args:
        number: how many there are.
        place: which this one is, from 0.
    """

    def __init__(self, number: int = 1, place: int = 0):
        self.number = number
        self.place = place

    @property
    def is_chief(self) -> bool:
        """Whether this is the one that writes the run folder."""
        return self.place == 0

    def rows(self, batch_size: Any) -> tuple[Any, Any]:
        """Where in a batch this worker's rows start and stop.

        >>> [Workers(3, place).rows(8) for place in range(3)]
        [(0, 2), (2, 5), (5, 8)]
        """
        return batch_size * self.place // self.number, batch_size * (self.place + 1) // self.number

    def from_chief(self, make: Callable[[], Value]) -> Value:
        """What the chief makes, on all workers; the others make nothing. It must be what JSON can say."""
        return make()

    def take_from_chief(self, variables: Iterable[Any]) -> None:
        """Give variables the values that the chief's have."""

    def agree(self, config: dict[str, Any]) -> None:
        """Refuse to train where the chief's settings, or its data, are others than here."""

    def run_folder(self, run: RunFolder) -> RunFolder:
        """The folder to read and write: the chief's run, and for the others a scratch copy of what it holds."""
        return run

    def distribute(self, model: Any) -> None:
        """Make a compiled model take its steps, and tell its figures, over the rows of all workers."""

    def own_rows(self, batches: Any, weights: RowWeights | None = None) -> Any:
        """What a distributed model takes of a dataset of `(inputs, targets)`: this worker's rows of each batch.

        Args:
            batches: a `tf.data.Dataset`.
            weights: how much each row counts in a batch's loss; by default all alike.
        """
        return batches


ALONE = Workers()
