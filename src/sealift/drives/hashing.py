"""MD5, which is slower than all else that is done to the same bytes, in a thread of its own: hashlib lets others run.

What holds: hashers are updated in the order in which they were given bytes; at most AHEAD bytes wait for it, and who
gives more waits too; memory that was given must not change before `wait` has returned.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from sealift.drives.ranges import Workers

if TYPE_CHECKING:
    from concurrent.futures import Future

AHEAD = 8 << 20  # bytes


class Hashing:
    """One thread that hashes; begun when it is first needed, and ended by `close`."""

    def __init__(self) -> None:
        self._worker: Workers | None = None
        self._coming: deque[tuple[int, Future[Any]]] = deque()
        self._waiting = 0  # bytes

    def update(self, hasher: Any, data: memoryview | bytes) -> None:
        """The next bytes of a hasher; what its `update` raises, is raised here or in `wait`."""
        if self._worker is None:
            self._worker = Workers(1, "sealift-md5")
        self._coming.append((len(data), self._worker.submit(partial(hasher.update, data))))
        self._waiting += len(data)
        while self._waiting > AHEAD or self._coming[0][1].done():
            self._next()
            if not self._coming:
                break

    def _next(self) -> None:
        size, job = self._coming.popleft()
        self._waiting -= size
        job.result()

    def wait(self) -> None:
        """Until all is hashed."""
        while self._coming:
            self._next()

    def close(self) -> None:
        """End the thread; what waits is left. Again does nothing."""
        worker, self._worker = self._worker, None
        self._coming.clear()
        if worker is not None:
            worker.close()
