"""Several processes, on one machine or on many, that train one model together, by TensorFlow's collectives.

Each holds the whole model, takes its rows of every batch, and waits for the sum of all gradients before it clips and
steps: so all take the very step that one worker takes on the whole batch.

`tf.distribute.MultiWorkerMirroredStrategy` brings the processes together and sums. Keras knows nothing of it: its `fit`
in such a strategy's scope fails (keras issue 20585), clips before it sums, and keeps one state for all workers where a
language model's streams need one for each. So `fit` runs outside the scope, as for one worker, and what must be summed
is handed to the strategy in three places that are Keras's own to override: `train_step`, `test_step` and the
optimizer's `apply`. No private name of either is touched.
"""

import base64
import contextvars
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from nlp_lstm import cli
from nlp_lstm.cluster import Cluster
from nlp_lstm.errors import UserError
from nlp_lstm.run_folder import RunFolder
from nlp_lstm.workers import TRY_AGAIN, RowWeights, Value, Workers

_LOOK_EVERY = 3.0
_MOST_SECONDS_TO_PART = 30.0
_MOST_MISSES = 3  # in a row: a machine that is off answers nothing, each time for as long as we wait


class SeveralWorkers(Workers):
    """The workers of a cluster, of which this process is one: `with SeveralWorkers(cluster) as workers:`.

    To enter waits for all of them, and to leave, too. In between the process ends with `TRY_AGAIN` and one line on
    standard error when another is lost: what TensorFlow has begun with a worker that is gone cannot be ended in order.

    Must be made before TensorFlow has done anything else. A worker's port is open to whoever reaches it:
    workers belong in a network of their own.

    Args:
        cluster: as `TF_CONFIG` describes it, which must be in the environment.
        tells: whether to tell that others are waited for, and that one was lost, which who started them may do.
    """

    def __init__(self, cluster: Cluster, tells: bool = True):
        super().__init__(len(cluster.addresses), cluster.place)
        self._addresses = cluster.addresses
        self._scratch = tempfile.TemporaryDirectory(prefix="nlp_lstm_worker_", ignore_cleanup_errors=True)
        self._copies = 0
        self._ended = threading.Event()
        # What it has to say of lost workers, it says in paragraphs, and again and again.
        tf.get_logger().setLevel(logging.CRITICAL)
        name = f"worker {self.place + 1} of {self.number} ({self._addresses[self.place]})"
        self._tells = tells
        self._parent = os.getppid()
        if tells:
            print(
                f"{name}{', the chief' if self.is_chief else ''}: waiting for the others", file=sys.stderr, flush=True
            )
        with _interruptible():
            try:
                self._strategy = tf.distribute.MultiWorkerMirroredStrategy()
            except tf.errors.OpError as error:
                raise UserError(
                    f"{name} cannot begin ({_first_line(error)}): see that TF_CONFIG has its address"
                ) from None
        if self._strategy.num_replicas_in_sync != self.number:
            raise UserError(
                f"{name} sees several GPUs: start a worker for each, and let it see one (CUDA_VISIBLE_DEVICES)"
            )
        self._summed = tf.function(self._sum, autograph=False)
        self._summed_bytes = tf.function(self._sum, [tf.TensorSpec([None], tf.int32)], autograph=False)

    def __enter__(self) -> Self:
        with _interruptible():
            self._meet()
        watch = contextvars.copy_context().run
        threading.Thread(target=watch, args=(self._watch,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if _tells_of_a_loss(error):
            self._give_up(str(error))
        if error is None:
            self._meet()
            # All have come to this, but some may still have to hear of it from here. So once more, which may fail: who
            # passes knows that all have passed the first.
            self._ended.set()
            last = threading.Thread(target=self._sum_whatever_comes, daemon=True)
            last.start()
            last.join(_MOST_SECONDS_TO_PART)
        self._ended.set()
        self._scratch.cleanup()

    def _meet(self) -> None:
        """Wait until all are here."""
        try:
            self.sum([tf.zeros([])])
        except tf.errors.OpError as error:
            self._give_up(str(error))

    def _sum_whatever_comes(self) -> None:
        try:
            self.sum([tf.zeros([])])
        except tf.errors.OpError:
            return

    def _watch(self) -> None:
        """End this process when another can no longer be reached, whatever this one is doing."""
        misses = dict.fromkeys(self._addresses, 0)
        del misses[self._addresses[self.place]]
        while not self._ended.wait(_LOOK_EVERY):
            if not self._tells and os.getppid() != self._parent:
                os._exit(TRY_AGAIN)  # who started it here, and would start another, was killed
            for address in misses:
                host, port = address.rsplit(":", 1)
                try:
                    with socket.create_connection((host.strip("[]"), int(port)), timeout=_LOOK_EVERY):
                        misses[address] = 0
                except ConnectionRefusedError:
                    misses[address] = _MOST_MISSES
                except OSError:
                    misses[address] += 1
                if misses[address] >= _MOST_MISSES and not self._ended.is_set():
                    self._give_up(address)

    def _give_up(self, why: str) -> None:
        if self._tells:
            lost = next((address for address in self._addresses if address in why), "")
            cli.tell(
                f"another worker of this training has stopped or cannot be reached{f' ({lost})' if lost else ''}: "
                "start all workers again with the same command, and they go on after the last whole epoch"
            )
        os._exit(TRY_AGAIN)

    def sum(self, values: Any) -> Any:
        """The sum over all workers, of each of nested tensors; each worker must ask for the same at the same time."""
        return self._summed(values) if tf.executing_eagerly() else self._sum(values)

    def _sum(self, values: Any) -> Any:
        def summed(values: list[Any]) -> list[Any]:
            # Here, so that they are on this worker's device, which the strategy goes by.
            values = [tf.identity(value) for value in values]
            places: dict[Any, list[int]] = {}  # it packs them together, for which they must be of one type
            for place, value in enumerate(values):
                places.setdefault(value.dtype, []).append(place)
            here = tf.distribute.get_replica_context()
            for same in places.values():
                sums = here.all_reduce(tf.distribute.ReduceOp.SUM, [values[place] for place in same])
                for place, value in zip(same, sums, strict=True):
                    values[place] = value
            return values

        flat = tf.nest.flatten(values)
        return tf.nest.pack_sequence_as(values, self._strategy.run(summed, args=(flat,)))

    def from_chief(self, make: Callable[[], Value]) -> Value:
        made = make() if self.is_chief else None
        text = json.dumps(made).encode("utf-8") if self.is_chief else b""
        length = self._summed_bytes(tf.constant([len(text)]))[0]
        own = np.frombuffer(text, np.uint8) if self.is_chief else np.zeros(int(length), np.uint8)
        found = self._summed_bytes(tf.constant(own.astype(np.int32)))
        return made if self.is_chief else json.loads(found.numpy().astype(np.uint8).tobytes())  # type: ignore[return-value]

    def take_from_chief(self, variables: Iterable[Any]) -> None:
        variables = list(variables)
        values = [keras.ops.convert_to_tensor(variable) for variable in variables]
        # Not zero times the value, which may be no number.
        values = values if self.is_chief else [tf.zeros_like(value) for value in values]
        for variable, value in zip(variables, self.sum(values), strict=True):
            variable.assign(value)

    def agree(self, config: dict[str, Any]) -> None:
        own = json.loads(json.dumps(config))  # as it comes from the chief
        chiefs = self.from_chief(lambda: own)
        changed = sorted(key for key in {*chiefs, *own} if chiefs.get(key) != own.get(key))
        if changed:
            raise UserError(
                f"worker {self.place + 1} has other settings or data than the chief ({', '.join(changed)}): "
                "start all workers with the same flags on the same data"
            )

    def run_folder(self, run: RunFolder) -> RunFolder:
        def files() -> dict[str, str]:
            """Those that say what the run is; its weights are not needed elsewhere."""
            found = (path for path in run.path.glob("*") if os.path.isfile(path) and path.name[0] != ".")
            return {
                path.name: "" if path == run.model_weights else base64.b64encode(path.read_bytes()).decode("ascii")
                for path in found
            }

        copied = self.from_chief(files)
        if self.is_chief:
            return run
        self._copies += 1
        folder = Path(self._scratch.name, str(self._copies))
        for name, content in copied.items():
            folder.mkdir(exist_ok=True)
            (folder / Path(name).name).write_bytes(base64.b64decode(content))
        return RunFolder(folder)

    def own_rows(self, batches: Any, weights: RowWeights | None = None) -> Any:
        """`(inputs, targets, weights)` of this worker's rows, the weights of all rows of a batch being 1 on average.

        A worker that a small batch leaves without rows gets its first row, with no weight.
        """

        def own(inputs: Any, targets: Any) -> Any:
            count = targets.shape[0]
            if count is None:
                count = tf.shape(targets)[0]
            each = tf.ones([count]) if weights is None else tf.cast(weights(inputs, targets), tf.float32)
            total = tf.reduce_sum(each)
            each = tf.where(total > 0, each * tf.cast(count, tf.float32) / total, tf.ones_like(each))
            start, stop, has_some = self._rows_or_first(count)
            own = tf.nest.map_structure(lambda part: part[start:stop], (inputs, targets, each))
            return *own[:2], tf.where(has_some, own[2], tf.zeros_like(own[2]))

        return batches.map(own).prefetch(2)

    def _rows_or_first(self, count: Any) -> tuple[Any, Any, Any]:
        start, stop = self.rows(count)
        if isinstance(count, int):  # so that shapes stay known
            return (start, stop, True) if start < stop else (0, 1, False)
        has_some = start < stop
        return tf.where(has_some, start, 0), tf.where(has_some, stop, 1), has_some

    def distribute(self, model: keras.Model) -> None:
        """What `own_rows` gives is then what `fit` takes.

        Gradients are summed as weights of rows have it, so a loss may be a mean over rows, or over the tokens in them.
        Figures are summed after each step, so that all workers tell the same ones and decide alike.
        """
        shares: list[Any] = []  # of the batch that is being traced
        apply = model.optimizer.apply

        def apply_sum(gradients: Any, variables: Any = None) -> None:
            apply(self._weighted_mean(list(gradients), shares[-1]), variables)

        def over_all(step: Callable[[Any], Any]) -> Callable[[Any], Any]:
            def step_over_all(data: Any) -> Any:
                inputs, targets, weights = data
                for metric in model.metrics:  # those of `compile` have their variables only when they have been built
                    if not getattr(metric, "built", True):
                        metric.build(targets, targets)
                share = tf.reduce_sum(weights)
                states = [(metric.name == "loss", metric.variables) for metric in model.metrics]
                before = [[tf.identity(keras.ops.convert_to_tensor(part)) for part in parts] for _, parts in states]
                for _, parts in states:
                    for part in parts:
                        part.assign(tf.zeros_like(keras.ops.convert_to_tensor(part)))
                shares.append(share)
                step((inputs, targets))
                shares.pop()
                found = []
                for is_loss, parts in states:
                    values = [keras.ops.convert_to_tensor(part) for part in parts]
                    if is_loss:  # a mean over rows: as gradients are, by the weights of rows
                        mean = values[0] / values[1]
                        found.append([tf.math.multiply_no_nan(mean, share), share])
                    else:
                        found.append([tf.where(share > 0, value, tf.zeros_like(value)) for value in values])
                for (_, parts), old, new in zip(states, before, self.sum(found), strict=True):
                    for part, one, other in zip(parts, old, new, strict=True):
                        part.assign(one + other)
                return model.get_metrics_result()

            return step_over_all

        model.optimizer.apply = apply_sum
        model.train_step = over_all(model.train_step)
        model.test_step = over_all(model.test_step)

    def _weighted_mean(self, gradients: list[Any], share: Any) -> list[Any]:
        """The mean of the workers' gradients, each counting as much as its worker's share of the batch."""
        some = [gradient for gradient in gradients if gradient is not None]
        *sums, total = self.sum([*(_scaled(gradient, share) for gradient in some), share])
        means = (_scaled(one, 1.0 / total) for one in sums)
        return [None if gradient is None else next(means) for gradient in gradients]


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end the process at once: TensorFlow waits for others without listening."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _tells_of_a_loss(error: BaseException | None) -> bool:
    """Whether it is what TensorFlow raises when it waits for a worker that is gone."""
    if isinstance(error, (tf.errors.UnavailableError, tf.errors.AbortedError)):
        return True
    return isinstance(error, tf.errors.OpError) and "ollective" in str(error)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]


def _scaled(gradient: Any, factor: Any) -> Any:
    """A gradient times a number, which 0 makes 0 whatever it was."""
    if isinstance(gradient, tf.IndexedSlices):  # and stays it, since Keras clips it in a way of its own
        values = tf.math.multiply_no_nan(gradient.values, factor)
        return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
    return tf.math.multiply_no_nan(gradient, factor)
