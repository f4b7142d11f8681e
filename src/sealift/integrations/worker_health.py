"""What the worker processes of a DataLoader met, for the process that made them: a file each, in a folder of its own.

What holds: a file is whole or not there, is rewritten at most each EVERY seconds and when an iteration ends, and counts
one process once, however many epochs it reads. A worker that is killed in between has told all but its last second.
The folder goes with the process that made it. Where it cannot be written (another host), nothing is told, and
`Health.processes` says of how many processes there are reports.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
import time
import weakref
from typing import TYPE_CHECKING, Any

from sealift.errors import BadInput
from sealift.reading.health import MAX_HEALTH, Health, read_health

if TYPE_CHECKING:
    from sealift.reading.shipment import Shipment

EVERY = 1.0  # seconds


class WorkerHealth:
    """The folder: workers `tell`, their parent `read`s. A copy in another process tells into the same one."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="sealift-health-")
        self._pid, self._name, self._next = 0, "", 0.0  # of the process that tells
        weakref.finalize(self, _remove, self._folder, os.getpid())

    def __getstate__(self) -> dict[str, Any]:
        return {"_folder": self._folder, "_pid": 0, "_name": "", "_next": 0.0}

    def tell(self, shipment: Shipment, *, now: bool = False) -> None:
        """Write what this process met, if it is time."""
        if self._pid != os.getpid():  # after a fork, too
            self._pid, self._name, self._next = os.getpid(), f"{os.getpid()}-{secrets.token_hex(8)}", 0.0
        if not now and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY
        path = os.path.join(self._folder, self._name)
        with contextlib.suppress(OSError):  # reading goes on where there is no room for it
            with open(f"{path}.part", "wb") as file:
                file.write(shipment.health().encode())
            os.replace(f"{path}.part", path)

    def read(self) -> list[Health]:
        """What each of the workers told last."""
        found = []
        with contextlib.suppress(OSError):
            for name in sorted(os.listdir(self._folder)):
                if not name.endswith(".part"):
                    with open(os.path.join(self._folder, name), "rb") as file, contextlib.suppress(BadInput):
                        found.append(read_health(file.read(MAX_HEALTH + 1), name))
        return found


def _remove(folder: str, pid: int) -> None:
    if os.getpid() == pid:
        shutil.rmtree(folder, ignore_errors=True)
