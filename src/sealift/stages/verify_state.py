"""What a verify pass remembers, so that one of days can be interrupted.

Which files of which drive were found good.

A file is believed again only while its stamp (inode, length, modification and change time) and its drive
(serial number, filesystem, or address) are what they were, under the same manifest. Where a stamp may be told
again of other bytes (ReadFile.lasting: a host that sends no ETag, or one of mtime and length), it is noted that
the file was read, and nothing by which it would be believed: it is read again. So is what was damaged. The file
is ours and on this host; it is as trusted as this host is, and `--again` forgets it.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from typing import TYPE_CHECKING, Self

from sealift.drives.ranges import RemoteDrive
from sealift.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sealift.drives.base import Drive

_SCHEMA = """
CREATE TABLE IF NOT EXISTS good (
    manifest TEXT, drive TEXT, slot INTEGER, path TEXT, stamp TEXT,
    PRIMARY KEY (manifest, drive, slot, path)
) WITHOUT ROWID
"""
VERSION = 1
UNKEPT = ""  # in place of a stamp: it was read and good, and is read again all the same
_SQLITE = (sqlite3.Error, UnicodeDecodeError)  # the second where SQLite quotes a damaged file in its message
_HINT = "give another file (--state FILE), or --again to begin anew"


def default_path(shipment: str) -> str:
    """Where the state of a shipment lies unless --state says otherwise."""
    base = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(base, "sealift", "verify", shipment)


def drive_key(drive: Drive) -> str:
    """What tells one drive from another when it is mounted again, or asked again at its address."""
    if isinstance(drive, RemoteDrive):
        return repr((*drive.filesystem(), drive.at))
    return drive.serial() or repr(drive.filesystem())


Row = tuple[str, str, int, str, str]
"""manifest, drive, slot, path, stamp"""


class State:
    """The memory of verify passes; safe for threads. `path` None remembers nothing."""

    def __init__(self, path: str | None, *, again: bool = False) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._new: list[Row] = []
        self._database: sqlite3.Connection | None = None
        if path is None:
            return
        try:
            self._database = _open(path, again=again)
        except (OSError, *_SQLITE) as error:
            raise BadInput(f"{path}: cannot keep the state of verify there: {error}", hint=_HINT) from error

    def known(self, manifest: str, drive: str, slot: int, path: str) -> str | None:
        """The stamp with which the file was found good."""
        if self._database is None:
            return None
        with self._lock:
            try:
                row = self._database.execute(
                    "SELECT stamp FROM good WHERE manifest = ? AND drive = ? AND slot = ? AND path = ?",
                    (manifest, drive, slot, path),
                ).fetchone()
            except _SQLITE as error:
                raise BadInput(f"{self.path}: {error}", hint=_HINT) from error
        return None if row is None else str(row[0])

    def rows(self, drives: Iterable[str]) -> list[Row]:
        """All that is known of these drives (`drive_key`)."""
        if self._database is None:
            return []
        with self._lock:
            try:
                return [
                    (str(row[0]), str(row[1]), int(row[2]), str(row[3]), str(row[4]))
                    for drive in set(drives)
                    for row in self._database.execute(
                        "SELECT manifest, drive, slot, path, stamp FROM good WHERE drive = ?", (drive,)
                    )
                ]
            except _SQLITE as error:
                raise BadInput(f"{self.path}: {error}", hint=_HINT) from error

    def remember(self, manifest: str, drive: str, slot: int, path: str, stamp: str) -> None:
        """Note that a file was found good; on disk after `flush`."""
        if self._database is not None:
            with self._lock:
                self._new.append((manifest, drive, slot, path, stamp))

    def flush(self) -> None:
        """Bring what was noted to disk."""
        with self._lock:
            if self._database is None or not self._new:
                return
            try:
                with self._database:
                    self._database.executemany("INSERT OR REPLACE INTO good VALUES (?, ?, ?, ?, ?)", self._new)
            except _SQLITE as error:
                raise BadInput(f"{self.path}: {error}", hint=_HINT) from error
            self._new.clear()

    def forget(self) -> None:
        """A pass has ended: the next one reads everything, because what rots on a medium changes no time."""
        with self._lock:
            self._new.clear()
            if self._database is not None:
                try:
                    self._database.execute("DELETE FROM good")
                    self._database.commit()
                except _SQLITE as error:
                    raise BadInput(f"{self.path}: {error}", hint=_HINT) from error

    def close(self) -> None:
        """Close; again does nothing."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        self.close()


class Relayed(State):
    """The memory of a pass that another host keeps: what it knew, and where it is told what is found good."""

    def __init__(self, rows: Iterable[Row], tell: Callable[[Row], object]) -> None:
        super().__init__(None)
        self.path = "relayed"
        self._known, self._tell = {row[:4]: row[4] for row in rows}, tell

    def known(self, manifest: str, drive: str, slot: int, path: str) -> str | None:
        """As of State."""
        return self._known.get((manifest, drive, slot, path))

    def remember(self, manifest: str, drive: str, slot: int, path: str, stamp: str) -> None:
        """As of State."""
        self._tell((manifest, drive, slot, path, stamp))


def _open(path: str, *, again: bool) -> sqlite3.Connection:
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    if again:
        for suffix in ("", "-wal", "-shm"):
            if os.path.exists(path + suffix):
                os.unlink(path + suffix)
    database = sqlite3.connect(path, check_same_thread=False, timeout=10)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version not in {0, VERSION}:
            raise BadInput(f"{path}: state of another version of sealift", hint=_HINT)
        database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute(_SCHEMA)
    except BaseException:
        database.close()
        raise
    return database
