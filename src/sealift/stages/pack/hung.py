"""Which drives were asked for something and have not answered: what hangs raises nothing, and cannot be stopped.

Whoever asks a drive says so (`asked`), from any thread; the coordinating thread asks who hangs (`look`) and tells it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

SILENCE = 30.0  # seconds without an answer after which a drive is named
LEAVING = 3.0  # and where nothing else is waited for


class Silent(NamedTuple):
    """A drive that hangs, or did: for how long."""

    slot: int
    seconds: float
    answers: bool  # again


class Hung:
    """Of the drives of one group."""

    def __init__(self) -> None:
        self.leaving = False
        self._since: dict[object, tuple[int, float]] = {}  # by what was asked: slot, and when
        self._told: dict[int, float] = {}  # by slot: since when it hangs
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def asked(self, slot: int) -> Iterator[None]:
        """Inside, the drive in `slot` is asked for one thing."""
        what = object()
        with self._lock:
            self._since[what] = slot, time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                del self._since[what]

    def leave(self) -> None:
        """From here on packing only waits for what was begun to end: who is waited for is named, once more."""
        with self._lock:
            if not self.leaving:
                self.leaving = True
                self._told.clear()

    def look(self) -> list[Silent]:
        """Those that hang, once for each time that they do; and those of them that answer again."""
        now, limit = time.monotonic(), LEAVING if self.leaving else SILENCE
        with self._lock:
            hang: dict[int, float] = {}
            for slot, since in self._since.values():
                if now - since >= limit:
                    hang[slot] = min(since, hang.get(slot, since))
            new = [Silent(slot, now - since, answers=False) for slot, since in hang.items() if slot not in self._told]
            back = [Silent(slot, now - since, answers=True) for slot, since in self._told.items() if slot not in hang]
            self._told = {slot: self._told.get(slot, since) for slot, since in hang.items()}
            return new + back
