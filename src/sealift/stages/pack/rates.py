"""How fast each drive of a group takes what it is given, and which one is much slower than the others.

The rate of a drive is bytes over the seconds spent in its create, write, fsync and rename calls, since the last
judgement. It is judged when one drive has spent MINUTE seconds there; a drive below half the median of its group is
slow. A drive that waits for the builders spends no time, so its rate does not suffer.
"""

from __future__ import annotations

import statistics
import threading

MINUTE = 60.0
SHARE = 0.5


def rate_text(rate: int) -> str:
    """Bytes a second in a unit in which they are not nothing."""
    return f"{rate / 1e6:.1f} MB/s" if rate >= 1_000_000 else f"{rate / 1e3:.1f} kB/s"


class Rates:
    """Bytes and seconds by slot; safe to use from all threads."""

    def __init__(self, n: int, minute: float = MINUTE) -> None:
        self._bytes, self._seconds = [0] * n, [0.0] * n
        self._minute = minute
        self._lock = threading.Lock()

    def add(self, slot: int, count: int, seconds: float) -> None:
        """A call that wrote `count` bytes and took `seconds`."""
        with self._lock:
            self._bytes[slot] += count
            self._seconds[slot] += seconds

    def judge(self) -> dict[int, tuple[int, int]]:
        """Slow slots, with their rate and the group's median in bytes a second; begins anew when it has judged."""
        with self._lock:
            if max(self._seconds) < self._minute:
                return {}
            rates = {
                slot: count / seconds
                for slot, (count, seconds) in enumerate(zip(self._bytes, self._seconds, strict=True))
                if count and seconds
            }
            self._bytes, self._seconds = [0] * len(self._bytes), [0.0] * len(self._seconds)
        median = statistics.median(rates.values())
        return {slot: (int(rate), int(median)) for slot, rate in rates.items() if rate < SHARE * median}
