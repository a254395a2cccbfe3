"""A job in this process, shard by shard."""

from collections.abc import Iterator, Sequence

from nlp_lstm.bulk.answering import Answering
from nlp_lstm.bulk.job import Job, Shard, ShardResult


def run(job: Job, shards: Sequence[Shard]) -> Iterator[ShardResult]:
    """Answer shards one after another."""
    answering = Answering(job.app, job.model)
    for shard in shards:
        yield job.answer(shard, answering)
