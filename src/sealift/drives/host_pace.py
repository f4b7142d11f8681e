"""How a host gives: when a byte of it last came, at what rate, and how many requests at once it can take.

What holds: a host is silent when it has given no STEP bytes to anybody for as long as somebody is willing to wait; one
that gives, however slowly, is not. One whose ranges take longer than LONG seconds gets half as many requests at once,
and half of these again, down to a quarter (at least two): they would only wait for each other. It gets one more for
each range that comes at BRISK or better. While it is slow, that is said every EVERY seconds, with its rate. That nobody
was there at all is known of the host, whichever of its drives was asked. Safe for threads.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque

log = logging.getLogger("sealift")

STEP = 1 << 10  # bytes: fewer in the time for which silence is borne are silence
LONG = 8.0  # seconds that a range of up to _USUAL bytes takes from its first byte to its last; a longer one more
_USUAL = 2 << 20
BRISK = 1 << 20  # bytes a second
EVERY = 30.0  # seconds between lines
_WINDOW, _STEP = 20.0, 0.5  # seconds over which the rate is taken, and in steps of which
_RANGE = 64 << 10  # bytes from which on an answer tells of a rate


class HostPace:
    """Of one host, in one process; `most` requests at once."""

    def __init__(self, name: str, most: int) -> None:
        self._name, self._most, self.allowed = name, most, most
        self._least = min(most, max(2, most // 4))
        self._running = 0
        self._room = threading.Condition()
        self._last = self._told = float("-inf")
        self._gone, self._gone_at = "", float("-inf")
        self._came: deque[tuple[float, int]] = deque()

    @property
    def slow(self) -> bool:
        """Whether it gets fewer requests at once than it may, for it gives slowly."""
        return self.allowed < self._most

    @property
    def was_slow(self) -> bool:
        """Whether it ever was."""
        return self._told > 0

    def silent(self, since: float) -> float:
        """Seconds since it last gave something, or since that moment, if that is later."""
        return time.monotonic() - max(self._last, since)

    def gone(self, why: str, since: float, *, surely: bool) -> None:
        """A request that began then ended, for nobody was there; or, not `surely`, if nothing came to anybody since."""
        with self._room:
            if surely or self._last < since:
                self._gone, self._gone_at = why, time.monotonic()

    def gone_since(self, moment: float) -> str:
        """Why nobody was there the last time that this was so; empty where it was not since."""
        with self._room:
            return self._gone if self._gone_at >= moment else ""

    @property
    def away(self) -> str:
        """Why nobody is there now; empty where it has given something since."""
        with self._room:
            return self._gone if self._gone_at >= self._last else ""

    def enter(self, seconds: float) -> bool:
        """Wait for a place among its requests; False when it has given nobody anything for so many seconds."""
        begun = time.monotonic()
        with self._room:
            while self._running >= self.allowed:
                left = seconds - self.silent(begun)
                if left <= 0:
                    return False
                self._room.wait(left)
            self._running += 1
        return True

    def leave(self) -> None:
        """Give the place to the next one."""
        with self._room:
            self._running -= 1
            self._room.notify()

    def gave(self, count: int) -> None:
        """So many bytes came, STEP or more, or an answer began."""
        now = time.monotonic()
        with self._room:
            self._last = now
            if self._came and now - self._came[-1][0] < _STEP:
                self._came[-1] = (self._came[-1][0], self._came[-1][1] + count)
            else:
                self._came.append((now, count))
            while now - self._came[0][0] > _WINDOW:
                self._came.popleft()

    def took(self, count: int, seconds: float) -> None:
        """A range of `count` bytes took so long, from its first byte to its last."""
        with self._room:
            if seconds > LONG * max(1.0, count / _USUAL):
                self.allowed = max(self._least, self.allowed // 2)
            elif self.slow and count >= _RANGE and count / max(seconds, 1e-6) >= BRISK:
                self.allowed += 1
                self._room.notify()
            if not self.slow or time.monotonic() - self._told < EVERY:
                return
            self._told = time.monotonic()
            passed = max(self._told - self._came[0][0], seconds) if self._came else seconds
            rate = sum(each for _, each in self._came) / passed
        log.warning(
            "%s is slow, it gives %.0f kB/s: what no other host has is read at that speed", self._name, rate / 1e3
        )
