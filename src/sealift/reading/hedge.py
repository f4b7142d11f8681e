"""Bytes of a drive in another host, and, where that is slow, the same by parity from other drives: what comes first.

A drive's host is slow when it lets us wait for much longer than hosts did lately, whichever they were: where the whole
network is slow, asking for more would make it slower. One that was slow a moment ago (drives/ranges.py) is raced at
once. A drive whose parity was faster SLOW_IN_A_ROW times is not waited for at all for a while (reading/group.py says
how long). Nothing here is checked: a tag says whether bytes are good, wherever they came from. Safe for threads.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from sealift.drives.ranges import Workers
from sealift.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealift.drives.ranges import RemoteFile

Came: TypeAlias = Literal["drive", "rebuilt", "hedged"]
"""Where bytes came from: their drive; parity, for the drive has not got them; parity, for it was slow."""


class Got(NamedTuple):
    """Bytes where they are in memory, part by part without gaps, each with its place among them; nothing is copied."""

    came: Came
    parts: list[tuple[int, memoryview]]
    held: object = None  # what keeps the memory
    made: object = None  # what was made of them when they came, by whoever asked ahead

    def piece(self, start: int, length: int) -> memoryview:
        """`length` of the bytes from `start`, copied only where they lie in two parts."""
        for place, part in self.parts:
            if place <= start < place + len(part):
                piece = part[start - place : start - place + length]
                if len(piece) == length:
                    return piece
                return memoryview(bytes(piece) + bytes(self.piece(start + len(piece), length - len(piece))))
        raise IndexError(start)


SLOW_IN_A_ROW = 3
_SOONEST, _LATEST = 0.25, 5.0  # seconds after which parity is asked, too
_MUCH = 4.0  # times as long as reads took lately
_LATELY = 64  # reads
_THREADS = 4  # of hedges; what they replace may hang in threads of its host


class Pace:
    """How long reads were waited for lately."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_LATELY)
        self._lock = threading.Lock()

    def add(self, seconds: float) -> None:
        """A read took so long."""
        with self._lock:
            self._seconds.append(seconds)

    @property
    def patience(self) -> float:
        """Seconds for which a read is waited for before parity is asked, too."""
        with self._lock:
            usual = statistics.median(self._seconds) if self._seconds else 0.0
        return min(_LATEST, max(_SOONEST, _MUCH * usual))


class Hedge:
    """Reads of the drives of one group."""

    def __init__(self) -> None:
        self.pace = Pace()
        self._workers = Workers(_THREADS, "sealift-hedge")

    def close(self) -> None:
        """End its threads."""
        self._workers.close()

    def read(self, file: RemoteFile, offset: int, length: int, rebuild: Callable[[memoryview], bool]) -> Got | None:
        """Bytes of a file, or what `rebuild` fills a buffer with (it says whether it could), if faster or all that is.

        None: the file ends before. DriveFault, where the file could not be read and nothing could be rebuilt.
        """
        asked, begun = file.ask(offset, length), time.monotonic()
        hedge: Future[memoryview | None] | None = None
        if not asked.wait(0 if file.ranges.is_slow else self.pace.patience):
            hedge = self._workers.submit(lambda: _rebuilt(rebuild, length))
            while not asked.wait(0) and not hedge.done():
                wait([*(each for each in asked.futures if not each.done()), hedge], return_when=FIRST_COMPLETED)
            if not asked.wait(0) and (data := hedge.result()) is not None:
                self.pace.add(time.monotonic() - begun)
                return Got("hedged", [(0, data)])
            asked.wait()
        try:
            parts = asked.parts()
        except Exception:
            data = None if hedge is None else hedge.result()
            if data is None:
                raise
            return Got("rebuilt", [(0, data)])
        self.pace.add(time.monotonic() - begun)
        if sum(len(part) for _, part in parts) != length:
            return None
        return Got("drive", parts, asked, asked.take_made())


def _rebuilt(rebuild: Callable[[memoryview], bool], length: int) -> memoryview | None:
    data = memoryview(bytearray(length))
    try:
        return data if rebuild(data) else None
    except FormatError:  # no drive has the page that says how long the packs are
        return None
