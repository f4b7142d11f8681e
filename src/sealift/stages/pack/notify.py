"""`--notify CMD`: a command of the user's that is run when a drive fails, a group is complete, packing ends.

It gets one JSON object on stdin, and the same in the environment: SEALIFT_EVENT (fault, group, end), SEALIFT_STATE,
SEALIFT_SHIPMENT, SEALIFT_GROUP, SEALIFT_DRIVE, SEALIFT_SERIAL, SEALIFT_MOUNT, SEALIFT_MESSAGE, SEALIFT_EXIT_CODE, as
far as they apply. Nothing it does harms packing: it runs beside it, holds none of its locks, its output goes to
stderr, and after TIMEOUT seconds it is killed with all that it started. What failed is in `troubles`.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time

TIMEOUT = 60.0
PATIENCE = 75.0  # seconds that the end waits for what is still to be told
WAITING = 1000  # events that wait for a slow command; more are dropped, and counted


class Notifier:
    """Runs the command, one event after the other; without a command it does nothing."""

    def __init__(self, command: str | None, *, timeout: float = TIMEOUT, patience: float = PATIENCE) -> None:
        self._command, self._timeout, self._patience = command, timeout, patience
        self._queue: queue.Queue[dict[str, object] | None] = queue.Queue(WAITING)
        self._troubles: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._thread: threading.Thread | None = None
        if command:
            self._thread = threading.Thread(target=self._run, name="notify", daemon=True)
            self._thread.start()

    def tell(self, event: str, **fields: object) -> None:
        """Tell of an event; returns at once."""
        if self._thread is None:
            return
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait({"event": event, **fields})

    def troubles(self) -> list[str]:
        """What went wrong since this was asked last."""
        found = []
        while not self._troubles.empty():
            found.append(self._troubles.get())
        return found

    def close(self) -> list[str]:
        """Wait for what is still to be told, within limits; the last troubles."""
        if self._thread is not None:
            deadline = time.monotonic() + self._patience
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=self._patience)
            self._thread.join(max(0.0, deadline - time.monotonic()))
            self._stopped = True
            if self._thread.is_alive():
                self._troubles.put("--notify did not end in time, and was stopped")
                self._kill()
        return self.troubles()

    def _run(self) -> None:
        while not self._stopped and (event := self._queue.get()) is not None:
            try:
                self._call(event)
            except (OSError, ValueError) as error:
                self._troubles.put(f"--notify could not be run: {error}")

    def _call(self, event: dict[str, object]) -> None:
        environment = dict(os.environ)
        for name, value in event.items():
            if value is not None:
                environment[f"SEALIFT_{name.upper()}"] = str(value).replace("\0", "")
        assert self._command is not None
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", self._command],
            stdin=subprocess.PIPE,
            stdout=2,
            env=environment,
            start_new_session=True,
        )
        data = json.dumps(event).encode() + b"\n"
        try:
            self._process.communicate(data, timeout=self._timeout)
        except subprocess.TimeoutExpired:
            self._kill()
            self._process.communicate()
            self._troubles.put(f"--notify of {event['event']} was stopped after {self._timeout:.0f} s")
        else:
            if self._process.returncode:
                self._troubles.put(f"--notify of {event['event']} ended with {self._process.returncode}")

    def _kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
