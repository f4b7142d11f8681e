"""RemoteDrive: what a survey needs of a drive that a storage host serves: small files, and pieces of large ones.

What holds: as of LocalDrive, a name leads to a file or to nothing, within a limit, and what goes wrong is FormatError
or DriveFault. It reads, and no more of `Drive` is here than that: reading a shipment is not for this.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Self

from sealift.drives.base import SAFE_READING, fault, split
from sealift.errors import FormatError
from sealift.formats.manifest import ROOT
from sealift.stages.fleet.client import HostFault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealift.drives.base import Entry, Source
    from sealift.errors import DriveFault
    from sealift.stages.fleet.client import HostClient

_MAX_PIECE = 16 << 20


class RemoteFile:
    """drives.base.ReadFile over ranges."""

    def __init__(self, drive: RemoteDrive, name: str, length: int) -> None:
        self._drive, self._name, self.length = drive, name, length
        self.stamp: tuple[int, ...] = (length,)

    @property
    def lasting(self) -> bool:
        """It is the length alone."""
        return False

    @property
    def read_from(self) -> Source:
        """Nobody says what the host read it from."""
        return "cache"

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes at `offset`. DriveFault."""
        length = max(0, min(length, self.length - offset, _MAX_PIECE))
        if not length:
            return b""
        return self._drive.piece(self._name, offset, length)

    def readinto_at(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`. DriveFault."""
        data = self.read_at(offset, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def will_need(self, offset: int, length: int) -> None:
        """Nothing to begin."""

    def close(self) -> None:
        """Nothing to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RemoteDrive:
    """The reading part of drives.base.Drive, over a host's /NAME/."""

    def __init__(self, client: HostClient, name: str) -> None:
        self._client, self._name = client, name
        self.mount = f"{client.url}{name}/"

    def exists(self) -> bool:
        """The host says so; whether it serves what it says shows when it is read."""
        return True

    def size(self, name: str) -> int | None:
        """Length in bytes; None when there is none. DriveFault."""
        try:
            answer = self._client.ask("HEAD", self._path(name), 0)
        except HostFault as error:
            raise self._fault(f"asking for {name}", error) from error.__cause__
        if answer.status == 404:
            return None
        if answer.length is None:
            raise FormatError(f"{self.mount}: the host does not say how long {name} is")
        return answer.length

    def read_small(self, name: str, limit: int) -> bytes | None:
        """The whole file; None when there is none. FormatError: over `limit` bytes; DriveFault."""
        size = self.size(name)
        if size is None:
            return None
        if size > limit:
            raise FormatError(f"{self.mount}: {name} is {size:,} bytes long; at most {limit:,} are allowed")
        try:
            return self._client.get(self._path(name), limit)
        except HostFault as error:
            raise self._fault(f"reading {name}", error) from error.__cause__

    def open_read(self, name: str, *, direct: bool = False) -> RemoteFile:
        """Open for reading. DriveFault, also when there is none."""
        del direct
        size = self.size(name)
        if size is None:
            missing = FileNotFoundError(errno.ENOENT, "no such file")
            raise fault(self.mount, f"opening {name}", missing, safe=SAFE_READING) from missing
        return RemoteFile(self, name, size)

    def piece(self, name: str, offset: int, length: int) -> bytes:
        """`length` bytes at `offset`. DriveFault, also where it gives fewer."""
        try:
            answer = self._client.ask("GET", self._path(name), length, span=(offset, offset + length - 1))
            if answer.status != 206 or len(answer.body) != length:
                raise HostFault("it gives fewer bytes than it said", answer.status)
        except HostFault as error:
            raise self._fault(f"reading {name} at {offset}", error) from error.__cause__
        return answer.body

    def walk(self, limit: int) -> Iterator[Entry]:
        """Nothing: a host lists no drive's files."""
        del limit
        return iter(())

    def filesystem(self) -> tuple[object, ...]:
        """Its address."""
        return ("http", self.mount)

    def serial(self) -> str | None:
        """Over HTTP nobody sees the medium."""
        return None

    def _path(self, name: str) -> str:
        return f"{self._name}/{ROOT}/{'/'.join(split(name))}"

    def _fault(self, doing: str, error: HostFault) -> DriveFault:
        return fault(self.mount, doing, OSError(str(error)), safe=SAFE_READING)
