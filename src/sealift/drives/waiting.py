"""Saying that a store keeps somebody waiting: a line in the log when a request has had no answer for a while.

What holds: a request that is answered within AFTER costs two entries in a dict; of all that wait in one process one
line is said at a time, of the one that has waited longest, and not more often than EVERY. Nothing waits for it, and
it ends with the process. Safe for threads; a forked child says only what it waits for itself.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

log = logging.getLogger("sealift")

AFTER, EVERY = 10.0, 20.0  # seconds
_POLL = 1.0

_waiting: dict[object, tuple[float, str]] = {}  # since when, and for what
_watching: tuple[int, threading.Thread] | None = None  # and the process that has the thread
_starting = threading.Lock()


def _after_fork() -> None:
    global _starting  # noqa: PLW0603 -- the parent's may be held by a thread that is not here
    _starting = threading.Lock()
    _waiting.clear()


os.register_at_fork(after_in_child=_after_fork)


class waiting:  # noqa: N801 -- a context manager, and one of a class costs half of what contextlib's does
    """While the block lasts, `what` is waited for: a location, and what is done there. For one block at a time."""

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        if _watching is None or _watching[0] != os.getpid():
            _watch()
        _waiting[self] = time.monotonic(), self._what

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _waiting.pop(self, None)


def _watch() -> None:
    global _watching  # noqa: PLW0603 -- one a process
    with _starting:
        if _watching is None or _watching[0] != os.getpid():
            thread = threading.Thread(target=_run, name="sealift-waiting", daemon=True)
            thread.start()
            _watching = os.getpid(), thread


def _run() -> None:
    told = 0.0
    while True:
        time.sleep(_POLL)
        now, since = time.monotonic(), sorted(_waiting.copy().values())
        if not since or now - since[0][0] < AFTER or now - told < EVERY:
            continue
        told = now
        more = sum(now - begun >= AFTER for begun, _ in since) - 1
        others = f", and {more} more requests" if more else ""
        log.warning("still waiting after %d s: %s%s", now - since[0][0], since[0][1], others)
