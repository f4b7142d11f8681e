"""Telling which drives hang, while a command works on drives: from a thread, since the command itself may hang in one.

What is not here: how that is known (drives/hung.py). Packing tells it in words of its own, and calls somebody; what it
has told is not told here once more.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

from sealift.cli import stopping
from sealift.drives import hung

if TYPE_CHECKING:
    from collections.abc import Callable

_EVERY = 0.5  # seconds between two looks
_LATER = 3.0  # seconds that others have to tell it first


class Watch:
    """`tell` is called, in a thread, for each drive that hangs while inside."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell, self._over = tell, threading.Event()
        self._thread = threading.Thread(target=self._watch, name="hanging", daemon=True)

    def __enter__(self) -> Self:
        hung.again()  # what was told before is over
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        stopping.look_on()
        while not self._over.wait(_EVERY):
            stops = stopping.asked()
            for each in hung.look(_LATER + (hung.LEAVING if stops else hung.SILENCE)):
                self._tell(_words(each, stops=stops))


def _words(silent: hung.Silent, *, stops: bool) -> str:
    drive, seconds = silent.mount, f"{silent.seconds:.0f} s"
    if silent.answers:
        return f"{drive} answers again, after {seconds}"
    waits = "this stops as soon as it answers" if stops else "is waited for, by Ctrl-C, too"
    return f"{drive} has answered nothing for {seconds}, and {waits}: look at `dmesg`, its cable and its bay"
