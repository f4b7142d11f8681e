"""How fast each of several drives takes, or gives, what it is asked for, and which is much slower than the others.

The rate of a drive is bytes over the seconds spent in its calls (create, write, fsync and rename, or read), since the
last judgement. It is judged when one drive has spent MINUTE seconds there; a drive below half the median is slow. A
drive that waits for somebody else spends no time, so its rate does not suffer.
"""

from __future__ import annotations

import statistics
import threading
from collections import Counter
from typing import Generic, TypeVar

MINUTE = 60.0
SHARE = 0.5
K = TypeVar("K")


class Rates(Generic[K]):
    """Bytes and seconds by drive, as whoever asks calls it; safe to use from all threads."""

    def __init__(self, minute: float | None = None) -> None:
        self._bytes, self._seconds = Counter[K](), dict[K, float]()
        self._minute = MINUTE if minute is None else minute
        self._lock = threading.Lock()

    def add(self, drive: K, count: int, seconds: float) -> None:
        """A call that moved `count` bytes and took `seconds`."""
        with self._lock:
            self._bytes[drive] += count
            self._seconds[drive] = self._seconds.get(drive, 0.0) + seconds

    def judge(self) -> dict[K, tuple[int, int]]:
        """Slow drives, with their rate and the median in bytes a second; begins anew when it has judged."""
        with self._lock:
            if max(self._seconds.values(), default=0.0) < self._minute:
                return {}
            rates = {
                drive: self._bytes[drive] / seconds
                for drive, seconds in self._seconds.items()
                if self._bytes[drive] and seconds
            }
            self._bytes.clear()
            self._seconds.clear()
        median = statistics.median(rates.values()) if rates else 0.0
        return {drive: (int(rate), int(median)) for drive, rate in rates.items() if rate < SHARE * median}
