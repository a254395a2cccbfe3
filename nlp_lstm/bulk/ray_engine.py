"""A job on the workers of Ray Data: those of this machine, or of the cluster that `RAY_ADDRESS` names."""

import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

from nlp_lstm.bulk.job import Job, Shard, ShardResult
from nlp_lstm.errors import UserError


class _Worker:
    """A process with a model of its own that answers one shard after another."""

    def __init__(self, job: Job):
        import tensorflow as tf

        # There are as many workers as processors: within one of them more threads would only stand in line.
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        from nlp_lstm.bulk.answering import Answering

        # A mistake is handed over to be told as it is, and not within what Ray says of failed tasks.
        self._job, self._answering, self._mistake = job, None, ""
        try:
            self._answering = Answering(job.app, job.model)
        except UserError as error:
            self._mistake = str(error)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        result, mistake = ShardResult(row["number"], 0, 0), self._mistake
        if self._answering is not None:
            try:
                result = self._job.answer(Shard(**row), self._answering)
            except UserError as error:
                mistake = str(error)
        return {**result._asdict(), "mistake": mistake}


def run(job: Job, shards: Sequence[Shard], workers: int) -> Iterator[ShardResult]:
    """Answer shards, several at a time; a shard whose worker dies is answered by another.

    Args:
        job: what is asked for; on a cluster its paths must mean the same on every machine.
        shards: those that are not done.
        workers: processes, each with one processor and a model of its own.

    Raises:
        UserError: if Ray is not installed, or what a worker says to the user.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its warnings of its own doings
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.data
    except ModuleNotFoundError:
        raise UserError('--engine ray needs Ray: pip install "nlp_lstm[bulk]", or name --engine local') from None
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**quiet)
    else:
        ray.init(num_cpus=workers, include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        rows = ray.data.from_items([shard._asdict() for shard in shards], override_num_blocks=len(shards))
        answered = rows.map(
            _Worker,
            fn_constructor_args=(job,),
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
        )
        for row in answered.iter_rows():
            mistake = row.pop("mistake")
            if mistake:
                raise UserError(mistake)
            yield ShardResult(**row)
    finally:
        ray.shutdown()
