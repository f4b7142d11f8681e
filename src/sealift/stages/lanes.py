"""Threads that do one thing after another, and waiting for what several of them do.

    latch = Latch(2)
    for lane in (a, b):  lane.put(latch, read, piece)
    latch.wait()         both are done; raises what one of them raised

What holds: a lane does what it was given in that order, one at a time; whoever waits goes on only when everything was
done, also where some of it failed. It is concurrent.futures with less to it: of a piece of 1 MiB that takes 0.1 ms,
a future for each took another 0.02 (bench/NOTES.md).
"""

from __future__ import annotations

import queue
import threading
from functools import partial
from typing import TYPE_CHECKING, ParamSpec

if TYPE_CHECKING:
    from collections.abc import Callable

_P = ParamSpec("_P")


class Latch:
    """Waits for `count` things."""

    def __init__(self, count: int) -> None:
        self._left = count
        self._error: BaseException | None = None
        self._lock, self._all = threading.Lock(), threading.Lock()
        if count:
            self._all.acquire()

    def done(self, error: BaseException | None = None) -> None:
        """One of them is done, or has failed."""
        with self._lock:
            self._left -= 1
            self._error = self._error or error
            last = self._left == 0
        if last:
            self._all.release()

    def wait(self) -> None:
        """Until all are done; once. Raises what failed first."""
        self._all.acquire()
        if self._error is not None:
            raise self._error


class Lane:
    """A thread, begun when it is first needed and ended by `close`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[tuple[Latch, Callable[[], object]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def put(self, latch: Latch, job: Callable[_P, object], *arguments: _P.args, **named: _P.kwargs) -> None:
        """Have it done; the latch is told."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name)
                self._thread.start()
        self._jobs.put((latch, partial(job, *arguments, **named)))

    def _run(self) -> None:
        while (given := self._jobs.get()) is not None:
            latch, job = given
            try:
                job()
            except BaseException as error:  # noqa: BLE001 -- it is for whoever waits
                latch.done(error)
            else:
                latch.done()
            del given, latch, job  # what they hold is not held until the next one comes

    def close(self) -> None:
        """Wait until what it was given is done, and end it; nothing is given to it any more."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
