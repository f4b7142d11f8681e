"""Which drives were asked for something and have not answered: what hangs raises nothing, and cannot be stopped.

    with hung.asked("/mnt/d1"):      around a call that the kernel may never return from; from any thread
        os.fsync(...)
    hung.look(SILENCE)               who hangs, for whoever tells it; each is given out once

Of one process. LocalDrive and its files say what they ask. What is not here: in which words who hangs is told.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection
    from types import TracebackType

SILENCE = 30.0  # seconds without an answer after which a drive is named
LEAVING = 3.0  # and where nothing else is waited for
_lock = threading.Lock()
_open: dict[object, tuple[str, float]] = {}  # what was asked and not answered: of which mount, since when
_told: dict[str, float] = {}  # mounts that were given out: since when they hang


class asked:  # noqa: N801 -- a context manager, and one of a class costs half of what contextlib's does
    """Inside, the drive at `mount` is asked for one thing."""

    __slots__ = ("_mount",)

    def __init__(self, mount: str) -> None:
        self._mount = mount

    def __enter__(self) -> None:
        _open[self] = self._mount, time.monotonic()  # one step, as the next is: nobody waits for a lock here

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _open.pop(self, None)


class Silent(NamedTuple):
    """A drive that hangs, or did: for how long."""

    mount: str
    seconds: float
    answers: bool  # again


def look(limit: float, mounts: Collection[str] | None = None) -> list[Silent]:
    """Those of `mounts` that hang for `limit` seconds, once for each time that they do; and those that answer again."""
    with _lock:
        now, since = time.monotonic(), dict[str, float]()
        for mount, begun in list(_open.values()):
            since[mount] = min(begun, since.get(mount, begun))
        back = [each for each in _among(_told, mounts) if since.get(each, now) > _told[each]]
        found = [Silent(mount, now - _told.pop(mount), answers=True) for mount in back]
        for mount in _among(since, mounts):
            if mount not in _told and now - since[mount] >= limit:
                _told[mount] = since[mount]
                found.append(Silent(mount, now - since[mount], answers=False))
        return found


def again(mounts: Collection[str] | None = None) -> None:
    """Those that hang are given out once more."""
    with _lock:
        for mount in _among(_told, mounts):
            del _told[mount]


def _among(found: Collection[str], mounts: Collection[str] | None) -> list[str]:
    return [each for each in found if mounts is None or each in mounts]
