"""Waiting for what several threads do.

    latch = Latch(2)
    for reader in (a, b):  latch.put(reader, partial(read, piece))
    latch.wait()           both are done; raises what one of them raised

What holds: whoever waits goes on only when everything was done, also where some of it failed. It is what
concurrent.futures has, with less to it, for pieces of a MiB, of which a future for each is felt (bench/NOTES.md).
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealift.drives.ranges import Workers


class Latch:
    """Waits for `count` things."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.error: BaseException | None = None  # what failed first
        self._lock, self._all = threading.Lock(), threading.Lock()
        if count:
            self._all.acquire()

    def put(self, workers: Workers, job: Callable[[], object]) -> None:
        """Have it done there; where no thread can be had, whoever waits is told."""
        try:
            workers.put(partial(self.run, job))
        except RuntimeError as error:
            self.done(error)

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
