"""A whole drive that is to be erased: the one door through which bytes and commands go to it.

What holds: `OpenDevice` is opened by its node for itself alone (O_EXCL: the kernel refuses what is mounted or held in
any namespace), compared with what was shown (blank.difference), and kept open, so that its number is nobody else's
meanwhile. Reading and writing go past the page cache (O_DIRECT), so that what is read comes from the drive. A command
is a list of words, in which DEVICE stands for the drive; the program gets the open drive, and not a name that could
mean another one by then.

`Logged` keeps what was done, in its order: a line of JSON for each command, for its answer, and for each run of
writing, discarding or reading. A line is on the medium before the next command is given.

Tests have another Device, which plays recorded answers. Call in a process of its own (apart.py): a drive may hang. What
is not here: which commands, and what an answer means (drives/sanitize.py).
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import os
import struct
import subprocess
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from sealift.drives import apart, blank
from sealift.errors import DriveFault, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealift.drives.block import Disk

DEVICE = "{device}"
_DISCARD, _REREAD = 0x1277, 0x125F  # BLKDISCARD, BLKRRPART
_MOST = 1 << 20  # bytes of a command's answer
_BEAT = 0.5  # seconds
_UNCHANGED = "nothing was written to it"


class Answer(NamedTuple):
    """What a command said; `trouble` is why it has no end of its own, else None."""

    code: int | None
    output: bytes
    errors: bytes = b""
    trouble: str | None = None

    @property
    def why(self) -> str:
        """The last line of what it complains of, or its exit status."""
        words = (self.errors or self.output).decode(errors="replace").split("\n")
        lines = [" ".join(line.split()) for line in words if line.strip()]
        return self.trouble or (lines[-1][:300] if lines and self.code else f"exit {self.code}")


class Device(Protocol):
    """Offsets and lengths in bytes; of `write`, `read` and `discard` multiples of the drive's block. DriveFault."""

    node: str
    size: int

    def command(self, *words: str, seconds: float, beat: Callable[[float], None] | None = None) -> Answer:
        """Run it, for `seconds` at most; `beat` is called with the seconds since, while it runs."""
        ...

    def write(self, offset: int, buffer: memoryview) -> None:
        """Write the whole buffer."""
        ...

    def flush(self) -> None:
        """Have the drive keep what was written."""
        ...

    def discard(self, offset: int, length: int) -> None:
        """Tell the drive that nobody needs these bytes (TRIM, DEALLOCATE, UNMAP)."""
        ...

    def read(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer, from the drive."""
        ...

    def same(self) -> str | None:
        """How it is another drive than the one that was shown; None: it is that one."""
        ...


class OpenDevice:
    """A block device of this host."""

    def __init__(self, disk: Disk, *, only_ask: bool = False) -> None:
        """Open it; `only_ask`: so that nothing can be written. Refused: it is held, or not the drive that was shown."""
        self._disk = disk
        self.node, self.size = disk.node, disk.device.size
        flags = os.O_RDONLY | os.O_NONBLOCK if only_ask else os.O_RDWR | os.O_EXCL
        try:
            self._descriptor = os.open(disk.node, flags | os.O_DIRECT | os.O_CLOEXEC)
        except OSError as error:
            why = "it is in use by now" if error.errno == errno.EBUSY else (error.strerror or "").lower()
            raise Refused(f"{disk.name}: {disk.node}: {why}; {_UNCHANGED}") from error
        if differs := blank.difference(disk, self._descriptor):
            os.close(self._descriptor)
            raise Refused(f"{disk.name}: {differs}; {_UNCHANGED}", hint="look at `sealift drives` again")

    def command(self, *words: str, seconds: float, beat: Callable[[float], None] | None = None) -> Answer:
        """See Device."""
        program = apart.tool(words[0])
        if program is None:
            return Answer(None, b"", trouble=f"{words[0]} is not installed")
        place = f"/proc/self/fd/{self._descriptor}"
        begun = time.monotonic()
        with subprocess.Popen(
            [program, *(place if word == DEVICE else word for word in words[1:])],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[self._descriptor],
            env={**os.environ, "LC_ALL": "C", "LANG": "C"},
        ) as running:
            while True:
                try:
                    output, errors = running.communicate(timeout=_BEAT)
                except subprocess.TimeoutExpired:
                    passed = time.monotonic() - begun
                    if passed > seconds:
                        running.kill()
                        return Answer(None, b"", trouble=f"no answer within {seconds:g} s")
                    if beat is not None:
                        beat(passed)
                else:
                    return Answer(running.returncode, output[:_MOST], errors[:_MOST].replace(place.encode(), b"DEVICE"))

    def write(self, offset: int, buffer: memoryview) -> None:
        """See Device."""
        self._all(os.pwrite, "writing", offset, buffer)

    def read(self, offset: int, buffer: memoryview) -> None:
        """See Device."""
        self._all(lambda descriptor, part, at: os.preadv(descriptor, [part], at), "reading", offset, buffer)

    def _all(self, call: Callable[[int, memoryview, int], int], doing: str, offset: int, buffer: memoryview) -> None:
        done = 0
        while done < len(buffer):
            try:
                count = call(self._descriptor, buffer[done:], offset + done)
            except OSError as error:
                raise self._fault(f"{doing} at byte {offset + done:,}", error) from error
            if count <= 0:
                raise self._fault(f"{doing} at byte {offset + done:,}", OSError(errno.EIO, "it ends there"))
            done += count

    def flush(self) -> None:
        """See Device."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise self._fault("flushing", error) from error

    def discard(self, offset: int, length: int) -> None:
        """See Device."""
        try:
            fcntl.ioctl(self._descriptor, _DISCARD, struct.pack("=QQ", offset, length))
        except OSError as error:
            raise self._fault(f"discarding {length:,} bytes at byte {offset:,}", error) from error

    def same(self) -> str | None:
        """See Device."""
        return blank.difference(self._disk, self._descriptor)

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)

    def forget_partitions(self) -> None:
        """Have the kernel look for partitions again: those that were are gone."""
        with contextlib.suppress(OSError):  # a device that has none
            fcntl.ioctl(self._descriptor, _REREAD)

    def _fault(self, doing: str, error: OSError) -> DriveFault:
        why = (error.strerror or str(error)).lower()
        return DriveFault(f"{self.node}: {doing}: {why}", drive=self._disk.name)


class Log:
    """Lines of JSON at the end of an open file; each has `at`, the time in UTC."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def note(self, what: str, **values: Any) -> None:
        """Add a line, and have it on the medium."""
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        line = msgspec.json.encode({"at": at, "what": what, **values}) + b"\n"
        done = 0
        while done < len(line):
            done += os.write(self._descriptor, line[done:])
        os.fsync(self._descriptor)


class Logged:
    """A Device of which everything that is asked and answered is kept."""

    def __init__(self, device: Device, log: Log) -> None:
        self._device, self.log = device, log
        self.node, self.size = device.node, device.size
        self.written = False  # whether anything of it may be gone
        self._run: dict[str, Any] = {}

    def command(self, *words: str, seconds: float, beat: Callable[[float], None] | None = None) -> Answer:
        """See Device."""
        self._end()
        shown = [self.node if word == DEVICE else word for word in words]
        self.log.note("command", words=shown)
        begun = time.monotonic()
        answer = self._device.command(*words, seconds=seconds, beat=beat)
        self.log.note(
            "answer",
            to=shown,
            seconds=round(time.monotonic() - begun, 3),
            code=answer.code,
            trouble=answer.trouble,
            **_readable("stdout", answer.output),
            **_readable("stderr", answer.errors),
        )
        return answer

    def write(self, offset: int, buffer: memoryview) -> None:
        """See Device."""
        self.written = True
        self._device.write(offset, buffer)
        self._count("write", offset, len(buffer))

    def flush(self) -> None:
        """See Device."""
        self._device.flush()
        self._end()
        self.log.note("flush")

    def discard(self, offset: int, length: int) -> None:
        """See Device."""
        self._device.discard(offset, length)
        self._count("discard", offset, length)

    def read(self, offset: int, buffer: memoryview) -> None:
        """See Device."""
        self._device.read(offset, buffer)
        self._count("read", offset, len(buffer))

    def same(self) -> str | None:
        """See Device."""
        self._end()
        differs = self._device.same()
        self.log.note("identity", differs=differs)
        return differs

    def _count(self, what: str, offset: int, length: int) -> None:
        """Calls of one kind make one line: a drive is written in millions of them."""
        run = self._run
        if run.get("what") != what:
            self._end()
            self._run = run = {"what": what, "calls": 0, "bytes": 0, "first": offset, "last": offset}
        run["calls"] += 1
        run["bytes"] += length
        run["last"] = offset

    def _end(self) -> None:
        run, self._run = self._run, {}
        if run:
            self.log.note(run.pop("what"), **run)


def _readable(name: str, data: bytes) -> dict[str, str]:
    """Text as it is; anything else in base64."""
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        text = "\0"
    if all(character.isprintable() or character in "\n\t\r" for character in text):
        return {name: text}
    return {f"{name}_b64": base64.b64encode(data).decode()}
