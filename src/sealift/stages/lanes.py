"""Threads that do one thing after another, and waiting for what several of them do.

    latch = Latch(2)
    for lane in (a, b):  lane.put(latch, partial(read, piece))
    latch.wait()         both are done; raises what one of them raised

What holds: a lane does what it was given in that order, one at a time; whoever waits goes on only when everything was
done, also where some of it failed. Nobody who ends the process waits for a lane. It is concurrent.futures with less to
it, for pieces of a MiB, of which a future for each is felt (bench/NOTES.md, Rebuilding).
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Latch:
    """Waits for `count` things."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.error: BaseException | None = None  # what failed first
        self._lock, self._all = threading.Lock(), threading.Lock()
        if count:
            self._all.acquire()

    def run(self, job: Callable[[], object]) -> None:
        """Do one of them; what it raises is for whoever waits."""
        try:
            job()
        except BaseException as error:  # noqa: BLE001
            self.done(error)
        else:
            self.done()

    def done(self, error: BaseException | None = None) -> None:
        """One of them is done, or has failed."""
        with self._lock:
            self.error = self.error or error
            self._left -= 1
            last = self._left == 0
        if last:
            self._all.release()

    def over(self, seconds: float = -1) -> bool:
        """Whether all are done, or are within so many seconds."""
        if self._left:  # not asked for again by who was interrupted with the lock in hand
            if not self._all.acquire(timeout=seconds):
                return False
            self._all.release()
        return True

    def wait(self) -> None:
        """Until all are done. Raises what failed first."""
        self.over()
        if self.error is not None:
            raise self.error


class Lane:
    """A thread, begun when it is first needed and ended by `close`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[tuple[Latch, Callable[[], object]] | None] = queue.SimpleQueue()
        self._begun = False
        self._lock = threading.Lock()

    def put(self, latch: Latch, job: Callable[[], object]) -> None:
        """Have it done; the latch is told, also of the RuntimeError where no thread can be had."""
        with self._lock:
            try:
                if not self._begun:
                    threading.Thread(target=self._run, name=self._name, daemon=True).start()
                    self._begun = True
            except RuntimeError as error:
                latch.done(error)
                return
        self._jobs.put((latch, job))

    def _run(self) -> None:
        while (given := self._jobs.get()) is not None:
            latch, job = given
            latch.run(job)
            del given, latch, job  # what they hold is not held until the next one comes

    def close(self) -> None:
        """Have it end when it has done what it was given; nothing is given to it any more."""
        self._jobs.put(None)
