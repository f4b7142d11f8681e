"""`--notify CMD`: a command of the user's that is run when a drive fails or is slow, a group is complete, packing ends.

It gets one JSON object on stdin, and the same in the environment: SEALIFT_EVENT (fault, group, end), SEALIFT_STATE,
SEALIFT_SHIPMENT, SEALIFT_GROUP, SEALIFT_SIGNED (of a group: true, or false where drives are owed), SEALIFT_DRIVE,
SEALIFT_SERIAL, SEALIFT_MOUNT, SEALIFT_MESSAGE, SEALIFT_EXIT_CODE, as far as they apply. Nothing it does harms packing:
it runs beside it, holds none of its locks, its output goes to stderr, and after TIMEOUT seconds it is killed with all
that it started. Where it is so slow that events still wait when packing ends, they are dropped so that `end` is told.
What failed, was dropped or was not told is in `troubles`.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT = 60.0
PATIENCE = 75.0  # seconds that the end of packing waits for what is still to be told
LAST = 15.0  # of them, that are kept for `end`
SAID = 3.0  # and after which it says that it waits
WAITING = 1000  # events that wait for a slow command; of more the oldest are dropped


class Notifier:
    """Runs the command, one event after the other; without a command it does nothing."""

    def __init__(
        self, command: str | None, *, timeout: float = TIMEOUT, patience: float = PATIENCE, last: float = LAST
    ) -> None:
        self._command, self._timeout, self._patience, self._last = command, timeout, patience, last
        self.shipment: str | None = None  # of which is told, once it is known
        self._waiting: deque[dict[str, object]] = deque()
        self._more = threading.Condition()
        self._dropped = 0
        self._troubles: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = ""  # why the process was
        self._closing = False
        self._thread: threading.Thread | None = None
        if command:
            self._thread = threading.Thread(target=self._run, name="notify", daemon=True)
            self._thread.start()

    def tell(self, event: str, **fields: object) -> None:
        """Tell of an event; waits for nothing but that a command that is being begun has begun."""
        if self._thread is None:
            return
        with self._more:
            known = {} if self.shipment is None else {"shipment": self.shipment}
            self._waiting.append({"event": event, **known, **fields})
            self._drop(WAITING)
            self._more.notify()

    def _drop(self, most: int) -> None:
        while len(self._waiting) > most:
            self._waiting.popleft()
            self._dropped += 1

    def troubles(self) -> list[str]:
        """What went wrong since this was asked last."""
        found = []
        while not self._troubles.empty():
            found.append(self._troubles.get())
        return found

    def close(self, say: Callable[[str], object] = lambda _text: None) -> None:
        """Wait for what is still to be told, within limits, which is said.

        Who is interrupted meanwhile waits only for `end` to be told, and interrupted again for nothing: what runs is
        killed with all that it started. KeyboardInterrupt then; `troubles` has what went wrong.
        """
        if self._thread is not None:
            with self._more:
                self._closing = True
                self._more.notify()
            try:
                self._thread.join(min(SAID, self._patience - self._last))
                if self._thread.is_alive():
                    say(f"waiting for --notify, {self._patience:.0f} s at most; Ctrl-C has only the end told")
                self._thread.join(max(0.0, self._patience - self._last - SAID))
            except KeyboardInterrupt:
                self._end(0)
                raise
            self._end(self._last / 3)  # what runs now may be about to end

    def _end(self, grace: float) -> None:
        """Have `end` told, if it was not, when what runs has had `grace` seconds; then nothing runs any more."""
        assert self._thread is not None
        try:
            with self._more:
                self._drop(1)
            self._thread.join(grace)
            with self._more:
                if self._waiting:
                    self._kill("so that the end is told")
            self._thread.join(self._last * 2 / 3)
        finally:
            with self._more:
                untold = bool(self._waiting)
                self._waiting.clear()
                self._kill("as packing has ended")
            self._thread.join(1.0)
            if untold:
                self._troubles.put("--notify was not told of the end: it was interrupted, or could not be stopped")
            if self._dropped:
                many = "1 event was" if self._dropped == 1 else f"{self._dropped:,} events were"
                self._troubles.put(f"{many} not told to --notify, which was too slow")

    def _run(self) -> None:
        while (event := self._begin()) is not None:
            self._await(event)

    def _begin(self) -> dict[str, object] | None:
        """The next event, of which the command is told now: whoever has the lock knows what runs, and what waits."""
        with self._more:
            self._more.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return None
            event, self._killed, self._process = self._waiting.popleft(), "", None
            environment = dict(os.environ)
            for name, value in event.items():
                if value is not None:
                    text = json.dumps(value) if isinstance(value, bool) else str(value)
                    environment[f"SEALIFT_{name.upper()}"] = text.replace("\0", "")
            try:
                self._process = subprocess.Popen(
                    ["/bin/sh", "-c", str(self._command)],
                    stdin=subprocess.PIPE,
                    stdout=2,
                    env=environment,
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                self._troubles.put(f"--notify could not be run: {error}")
            return event

    def _await(self, event: dict[str, object]) -> None:
        if self._process is None:
            return
        try:
            self._process.communicate(json.dumps(event).encode() + b"\n", timeout=self._timeout)
        except subprocess.TimeoutExpired:
            with self._more:
                self._kill(f"after {self._timeout:.0f} s")
            self._process.communicate()
        if self._killed:
            self._troubles.put(f"--notify of {event['event']} was stopped {self._killed}")
        elif self._process.returncode:
            self._troubles.put(f"--notify of {event['event']} ended with {self._process.returncode}")

    def _kill(self, why: str) -> None:
        """What runs, with all that it started; for whoever has the lock."""
        if self._process is not None and self._process.returncode is None:
            self._killed = why
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
