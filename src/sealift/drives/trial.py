"""A file of our own on a mounted drive, to try what the drive does: written and read past the page cache.

What holds: the file has a name for a moment only, made anew (O_EXCL) and removed at once, so that whatever happens to
this process or this host, what stays behind is nothing, and nothing of anybody else's is touched. Direct I/O is used
where the filesystem takes it, as packing does (drives/local_file.py); where it does not, `read_from` is `cache`.

What is not here: what is written and compared, and timing (stages/drives_test.py).
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Self

from sealift.drives.base import PART, SAFE_READING, fault
from sealift.drives.local_file import LocalPartFile, LocalReadFile

if TYPE_CHECKING:
    from sealift.drives.base import Source

_NAMED = "the test's own file"


class TrialFile:
    """The file: `write`, `flush`, then `read`; offsets, lengths and buffers are aligned to base.ALIGN."""

    def __init__(self, mount: str) -> None:
        """Make it. DriveFault."""
        self.mount = mount
        name = f".sealift-test-{secrets.token_hex(8)}"
        try:
            folder = os.open(mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise fault(mount, "opening it", error, safe=SAFE_READING) from error
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(name + PART, flags, 0o600, dir_fd=folder)
            os.unlink(name + PART, dir_fd=folder)
        except OSError as error:
            os.close(folder)
            raise fault(mount, f"making {_NAMED}", error, safe=SAFE_READING) from error
        self._part = LocalPartFile(descriptor, folder, mount, name, direct=True)
        self._read: LocalReadFile | None = None

    def write(self, offset: int, buffer: memoryview) -> None:
        """Write the whole buffer. DriveFault."""
        self._part.write_at(offset, [buffer])

    def flush(self) -> None:
        """Have the drive keep it (fsync). DriveFault."""
        try:
            os.fsync(self._part.fileno())
        except OSError as error:
            raise fault(self.mount, f"flushing {_NAMED}", error, safe=SAFE_READING) from error

    def read(self, offset: int, buffer: memoryview) -> int:
        """Fill the buffer; bytes read. DriveFault."""
        if self._read is None:
            self._read = self._open()
        return self._read.readinto_at(offset, buffer)

    def _open(self) -> LocalReadFile:
        """The same file opened again, for reading alone: it has no name to open it by."""
        place = f"/proc/self/fd/{self._part.fileno()}"
        try:
            try:
                descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
            except OSError:
                descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise fault(self.mount, f"opening {_NAMED}", error, safe=SAFE_READING) from error
        return LocalReadFile(descriptor, self.mount, _NAMED, direct=True)

    @property
    def read_from(self) -> Source:
        """Whether what was read came from the medium."""
        return "cache" if self._read is None else self._read.read_from

    def close(self) -> None:
        """Close; the file is gone then. Again does nothing."""
        if self._read is not None:
            self._read.close()
        self._part.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
