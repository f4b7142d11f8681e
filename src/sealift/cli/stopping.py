"""Stopping a command by a signal, so that the wish is not lost where the exception is.

`KeyboardInterrupt` is raised wherever the main thread happens to be. Inside a library's callback it comes back as that
library's error, and inside a finalizer Python prints it and goes on. So the handler also notes that it was asked:
whatever ends a command afterwards is told as an interruption, and `check` raises again at the next step of the work.

Where a drive holds the main thread in the kernel no handler runs at all, nor is a wakeup descriptor written to: the
signal is pending until the drive answers. A thread that called `look_on` sees that.

What is not here: what a command takes away when it is stopped; exit codes (main.py).
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


_now: list[Stop] = []  # those whose signals are entered


def asked() -> bool:
    """Whether the command that works now was asked to stop; after `look_on` also while nothing reaches it."""
    pending = signal.sigpending()
    for stop in _now:
        stop.asked = stop.asked or not pending.isdisjoint(stop.numbers)
    return any(stop.asked for stop in list(_now))


def look_on() -> None:
    """Signals that ask the command to stop never come to the calling thread, and it sees those that are pending."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [number for stop in list(_now) for number in stop.numbers])


class Stop:
    """Whether stopping was asked for since `signals` was entered."""

    asked = False
    numbers: Sequence[signal.Signals] = ()

    def check(self) -> None:
        """Raise KeyboardInterrupt where one was lost on its way; for the steps of the work, not for cleaning up."""
        if self.asked:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def signals(self, numbers: Sequence[signal.Signals], then: Callable[[], None] = lambda: None) -> Iterator[None]:
        """These signals ask to stop while inside: `then()`, and KeyboardInterrupt. In other threads: nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(_number: int, _frame: object) -> None:
            self.asked = True
            then()
            raise KeyboardInterrupt

        def quiet(lost: Any) -> None:
            if not (self.asked and lost.exc_type is KeyboardInterrupt):  # noted: `check` raises it again
                complain(lost)

        complain, sys.unraisablehook = sys.unraisablehook, quiet
        before: dict[signal.Signals, Any] = {number: signal.signal(number, stop) for number in numbers}
        self.numbers = numbers
        _now.append(self)
        try:
            yield
        finally:
            _now.remove(self)
            sys.unraisablehook = complain
            for number, handler in before.items():
                signal.signal(number, handler)
