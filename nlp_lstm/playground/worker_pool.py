"""Threads that work on requests, with a queue of a size that is settled."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from nlp_lstm.playground.refusal import RefusedError


class WorkerPool:
    """So many threads, and a queue before them; what finds it full is refused at once.

    >>> pool = WorkerPool(workers=2, waiting=8)
    >>> pool.submit(lambda: 6 * 7).result()
    42

    The threads are daemons, unlike those of `concurrent.futures`: a program that is asked to end does not wait for work
    that takes long.
    """

    def __init__(self, workers: int, waiting: int):
        self._queue: queue.Queue[tuple[Future[Any], Callable[[], Any]]] = queue.Queue(waiting)
        for number in range(workers):
            threading.Thread(target=self._work, name=f"worker {number}", daemon=True).start()

    def submit(self, work: Callable[[], Any]) -> "Future[Any]":
        """Have something worked on; a future that is cancelled while it waits is left out.

        Raises:
            RefusedError: 503, if too many wait already.
        """
        future: Future[Any] = Future()
        try:
            self._queue.put_nowait((future, work))
        except queue.Full:
            raise RefusedError(503, "the server has too many requests: try again in a moment") from None
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
