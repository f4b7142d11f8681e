"""How long training waits for data.

In every run: the time for which a rank was blocked for its next batch, over the time of its steps, after the first 20;
of the slowest rank. On a GPU a step is only begun while the one before still runs, so that this is more than what was
lost. `measure` says what was: it lets every step end before the next batch is asked for, and runs the same steps once
more on batches that are held in memory.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealift.training.distributed import Ranks

WARM = 20  # steps that do not count: readers start, caches fill, kernels are chosen
_HELD = 8  # batches that are held in memory, and come again


class Stall:
    """Times of one rank's steps, in seconds; a step begins when its batch is asked for."""

    def __init__(self) -> None:
        self._steps = 0
        self.counted = 0
        self.blocked = self.whole = 0.0

    def step(self, blocked: float, whole: float) -> None:
        """A step took `whole`, of which it was `blocked` for its batch."""
        self._steps += 1
        if self._steps > WARM:
            self.counted += 1
            self.blocked += blocked
            self.whole += whole

    def slowest(self, ranks: Ranks) -> tuple[float, float]:
        """Blocked over step time of the slowest rank, and its seconds a step; to be asked on every rank."""
        own = self.blocked / self.whole if self.whole else 0.0, self.whole / max(1, self.counted)
        slowest: tuple[float, float] = max(ranks.gather(own))
        return slowest


def measure(
    next_batch: Callable[[], Any], update: Callable[[Any], None], settle: Callable[[], None], steps: int, ranks: Ranks
) -> dict[str, Any]:
    """Steps from the drives, then as many on cached batches, WARM before each; what was lost. Trains for nothing.

    `update` trains on a batch, `settle` waits until the device has ended. `stall` is 1 - cached / drives, of the
    seconds a step of the slowest rank, and not under 0.
    """
    held: list[Any] = []

    def from_drives(number: int) -> Any:
        batch = next_batch()
        if number < _HELD:
            held.append(batch)
        return batch

    drives = _timed(from_drives, update, settle, steps, ranks)
    cached = _timed(lambda number: held[number % len(held)], update, settle, steps, ranks)
    return {
        "steps": steps,
        "blocked": drives[0],
        "step_seconds": drives[1],
        "cached_step_seconds": cached[1],
        "stall": max(0.0, 1 - cached[1] / drives[1]) if drives[1] else 0.0,
    }


def _timed(
    batch: Callable[[int], Any],
    update: Callable[[Any], None],
    settle: Callable[[], None],
    steps: int,
    ranks: Ranks,
) -> tuple[float, float]:
    stall = Stall()
    for number in range(WARM + steps):
        begun = time.monotonic()
        given = batch(number)
        blocked = time.monotonic() - begun
        update(given)
        settle()
        stall.step(blocked, time.monotonic() - begun)
    return stall.slowest(ranks)
