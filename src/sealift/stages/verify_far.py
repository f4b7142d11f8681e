"""Files of a drive in another host, opened with as few round trips as can be: where answers take time, they add up.

What holds: a file's first bytes are asked for when it is opened, and say how long it is; those of the next AHEAD packs
are on their way meanwhile. A host that is slow is asked for nothing ahead, and in short ranges: it has no more to give,
and whoever waits sees that it goes on. One thread uses it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from sealift.drives.base import SAFE_READING
from sealift.drives.ranges import PIECE
from sealift.errors import DriveFault, FormatError
from sealift.formats.manifest import BLOCK

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealift.drives.ranges import Asked, RemoteDrive, RemoteFile

AHEAD = 2  # packs


class FarFiles:
    """Of one drive; `size` is its own."""

    def __init__(self, drive: RemoteDrive, size: Callable[[str], int | None]) -> None:
        self._drive, self._size = drive, size
        self._begun: dict[str, tuple[RemoteFile, Asked]] = {}

    @property
    def step(self) -> int:
        """Bytes to ask for at a time."""
        return BLOCK if self._drive.slow else 2 * PIECE

    def begin(self, name: str, length: int) -> None:
        """It will be opened soon."""
        if not self._drive.slow:
            with contextlib.suppress(DriveFault, FormatError):  # which is met again when it is opened
                self._begun[name] = self._ask(name, length)

    def open(self, name: str, length: int, *, unread: bool) -> RemoteFile:
        """Open; with `unread` its first bytes are wanted, and not only what it is. `length` was signed.

        DriveFault, also where there is none, and where its host says two lengths of it.
        """
        begun = self._begun.pop(name, None)
        file, asked = begun or self._ask(name, length if unread else 0)
        asked.wait()
        for each in asked.futures:
            if not each.cancelled() and (fault := each.exception()) is not None:
                raise fault
        if file.length != length:  # as the first answer says, or, where nothing was asked for, the host
            self._refuse_two_lengths(name, file.length)
        return file

    def look(self, name: str, length: int) -> None:
        """DriveFault where the host says in a range another length of a file than was signed, and than it says without.

        What it says without is asked for every file (inspect); this of one: such a host cannot be read from.
        """
        file = self._drive.open_later(name)
        file.read_at(0, 1)
        if file.known_length not in {None, length}:
            self._refuse_two_lengths(name, file.length)

    def _refuse_two_lengths(self, name: str, said: int) -> None:
        if self._size(name) not in {None, said}:
            mount = self._drive.mount
            why = "the host contradicts itself: it gives the same file two lengths"
            raise DriveFault(f"{mount}: {name}: {why}; {SAFE_READING}", drive=mount, hint="see to the host")

    def _ask(self, name: str, length: int) -> tuple[RemoteFile, Asked]:
        file = self._drive.open_later(name)
        return file, file.ask(0, min(length, self.step), again=False)
