"""Threads that work on requests, with a queue of a size that is settled."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from nlp_lstm.playground.refusal import RefusedError


class WorkerPool:
    """So many threads, and a queue before them; what finds both full is refused at once.

    >>> pool = WorkerPool(workers=2, waiting=8)
    >>> pool.submit(lambda: 6 * 7).result()
    42

    The threads are daemons, unlike those of `concurrent.futures`: a program that is asked to end does not wait for work
    that takes long.
    """

    def __init__(self, workers: int, waiting: int):
        self._places = threading.Semaphore(workers + waiting)
        self._queue: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        for number in range(workers):
            threading.Thread(target=self._work, name=f"worker {number}", daemon=True).start()

    def submit(self, work: Callable[[], Any]) -> "Future[Any]":
        """Have something worked on; a future that is cancelled while it waits is left out.

        Raises:
            RefusedError: 503, if too many wait already.
        """
        # Not the queue's own size: what no thread has taken yet need not wait for one.
        if not self._places.acquire(blocking=False):
            raise RefusedError(503, "the server has too many requests: try again in a moment")
        future: Future[Any] = Future()
        future.add_done_callback(lambda _: self._places.release())
        self._queue.put((future, work))
        return future

    def _work(self) -> None:
        while True:
            future, work = self._queue.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = work()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
            # A thread that waits must not keep what the last request came to.
            future = work = result = None  # type: ignore[assignment]
