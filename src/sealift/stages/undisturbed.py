"""A few lines that no Ctrl-C may cut in half, such as handing a new process its work.

A mask would not do: another thread takes the signal, and Python raises in the main thread all the same. So the
handlers are exchanged for ones that remember, and what came meanwhile is handled afterwards.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Hold back the signals that Python handles until the end of the block; in other threads, nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    handled = {number: handler for number, handler in before.items() if callable(handler)}
    for number in handled:
        signal.signal(number, lambda got, frame: came.append((got, frame)))
    try:
        yield
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)
        for got, frame in came:
            handled[signal.Signals(got)](got, frame)
