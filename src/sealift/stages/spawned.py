"""Worker processes of a pool that say nothing of their own when their parent ends or is interrupted.

A fresh process of multiprocessing reads from its parent what it is to do. A parent that is killed in between leaves it
with the end of a file, of which Python prints a traceback; and a Ctrl-C of the terminal goes to every process, most of
all to one that is still importing. So here a process is started with SIGINT blocked (stopping it is its parent's to
do), and with a hook that is quiet about errors of a start whose parent is gone. Only the start is looked after: what
a worker does then is the pool's.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
from hashlib import blake2b
from multiprocessing import popen_spawn_posix, resource_tracker, spawn
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.sharedctypes import RawArray
from typing import Any

_SAID = 1024  # messages that are remembered; what comes after them is logged by each

_HOOK = """\
import os, sys, time
def _quiet(*error):
    for _ in range(100):
        if os.getppid() != {parent}:
            os._exit(1)
        time.sleep(0.01)
    sys.__excepthook__(*error)
sys.excepthook = _quiet
"""


class _Popen(popen_spawn_posix.Popen):
    """The start of one process; called by one thread at a time, as a pool does."""

    def _launch(self, process_obj: Any) -> None:
        plain = spawn.get_command_line

        def command_line(**given: Any) -> list[str]:
            command = plain(**given)
            place = command.index("-c") + 1
            command[place] = _HOOK.format(parent=os.getpid()) + command[place]
            return command

        resource_tracker.ensure_running()  # it unblocks SIGINT when it has begun
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the child has it so, too
        spawn.get_command_line = command_line
        try:
            super()._launch(process_obj)  # type: ignore[misc]  # typeshed leaves it out
        finally:
            spawn.get_command_line = plain
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Process(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> _Popen:  # noqa: N802 -- multiprocessing's name
        return _Popen(process_obj)


class QuietSpawn(SpawnContext):
    """The mp_context of a pool: spawned processes, quiet when they are no longer wanted."""

    Process = _Process


class Once(logging.Filter):
    """Lets a message through that none of the processes has logged which share this; pass it to a pool's initializer.

    Nothing is locked, so that no worker that is killed holds up another: two that say the same in the same instant are
    both heard.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said = RawArray(ctypes.c_uint64, _SAID)

    def filter(self, record: logging.LogRecord) -> bool:
        """False of what has been logged."""
        digest = int.from_bytes(blake2b(record.getMessage().encode(errors="replace"), digest_size=8).digest()) or 1
        for step in range(_SAID):
            place = (digest + step) % _SAID
            if self._said[place] == digest:
                return False
            if not self._said[place]:
                self._said[place] = digest
                return True
        return True
