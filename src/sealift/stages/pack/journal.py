"""What is committed, in SQLite (synchronous=FULL): a pack that is not in here is ours and will be replaced.

Holds: once `commit` has returned, the stripe's packs are on all drives, and their lengths, digests and frame
tables, the rows of the index and the block hashes (files beside the journal, fsynced before) and the cursor after
them survive any crash. One process at a time: the state folder is locked (run.py).
"""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, NamedTuple

from sealift.errors import BadInput
from sealift.stages.pack.queue import Cursor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealift.stages.pack.units import Ended

_SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS groups (
    number INTEGER PRIMARY KEY, state TEXT NOT NULL, stripes INTEGER NOT NULL DEFAULT 0, files_end INTEGER,
    cursor_row INTEGER NOT NULL DEFAULT 0, cursor_offset INTEGER NOT NULL DEFAULT 0,
    cursor_part INTEGER NOT NULL DEFAULT 0,
    source_bytes INTEGER NOT NULL DEFAULT 0, seconds REAL NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS packs (
    number INTEGER NOT NULL, stripe INTEGER NOT NULL, role INTEGER NOT NULL, length INTEGER NOT NULL,
    header BLOB NOT NULL, blake3 BLOB NOT NULL, blocks INTEGER NOT NULL, plain INTEGER NOT NULL,
    members INTEGER NOT NULL, samples INTEGER NOT NULL, source_bytes INTEGER NOT NULL, files INTEGER NOT NULL,
    packed BLOB NOT NULL, raw BLOB NOT NULL,
    PRIMARY KEY (number, stripe, role)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS told (number INTEGER NOT NULL, stripe INTEGER NOT NULL, path BLOB NOT NULL, reason TEXT);
"""
VERSION = 1


class PackRow(NamedTuple):
    """A committed pack; parity packs have neither frames nor members."""

    stripe: int
    role: int
    length: int
    header: bytes
    blake3: bytes
    blocks: int
    plain: int
    members: int
    samples: int
    source_bytes: int
    files: int
    packed: bytes
    raw: bytes


class GroupState(NamedTuple):
    """Where a group stands: waiting, packing (with its cursor) or signed."""

    number: int
    state: str
    stripes: int
    files_end: int | None
    cursor: Cursor
    source_bytes: int
    seconds: float


class Journal:
    """The journal in `folder`; safe to use from several threads, one at a time."""

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, "journal.sqlite")
        try:
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise BadInput(
                f"{self.path} is no journal of sealift: {error}",
                hint="the drives are untouched; give another --state, or restore this file from a copy",
            ) from error

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def setting(self, name: str) -> bytes | None:
        """A setting's bytes, or None."""
        row = self._db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def set(self, name: str, value: bytes) -> None:
        """Write a setting, durably."""
        self._db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    def group(self, number: int) -> GroupState:
        """Where a group stands."""
        self._db.execute("INSERT OR IGNORE INTO groups (number, state) VALUES (?, 'waiting')", (number,))
        row = self._db.execute(
            "SELECT number, state, stripes, files_end, cursor_row, cursor_offset, cursor_part, source_bytes, seconds"
            " FROM groups WHERE number = ?",
            (number,),
        ).fetchone()
        number, state, stripes, files_end, *cursor, source_bytes, seconds = row
        return GroupState(number, state, stripes, files_end, Cursor(*cursor), source_bytes, seconds)

    def set_state(self, number: int, state: str) -> None:
        """waiting, packing or signed."""
        self._db.execute("UPDATE groups SET state = ? WHERE number = ?", (state, number))

    def set_files_end(self, number: int, stripe: int) -> None:
        """Stripes from `stripe` on hold only directories."""
        self._db.execute("UPDATE groups SET files_end = ? WHERE number = ?", (stripe, number))

    def commit(
        self,
        number: int,
        stripe: int,
        cursor: Cursor,
        packs: list[PackRow],
        ended: list[Ended],
        seconds: float,
    ) -> None:
        """One stripe, whole or not at all."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(
                f"INSERT INTO packs VALUES ({number}, {', '.join('?' * len(PackRow._fields))})",  # noqa: S608 -- an int
                packs,
            )
            told: list[tuple[int, int, bytes, str | None]] = [
                (number, stripe, path, None) for end in ended for path in end.changed
            ]
            told += [(number, stripe, path, reason) for end in ended for path, reason in end.skipped]
            self._db.executemany("INSERT INTO told VALUES (?, ?, ?, ?)", told)
            self._db.execute(
                "UPDATE groups SET stripes = ?, cursor_row = ?, cursor_offset = ?, cursor_part = ?,"
                " source_bytes = source_bytes + ?, seconds = seconds + ? WHERE number = ?",
                (stripe + 1, *cursor, sum(end.source_bytes for end in ended), seconds, number),
            )
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def tell(self, number: int, skipped: list[tuple[bytes, str]]) -> None:
        """Files that were skipped outside any stripe."""
        self._db.executemany("INSERT INTO told VALUES (?, -1, ?, ?)", [(number, *each) for each in skipped])

    def packs(self, number: int) -> Iterator[PackRow]:
        """Committed packs of a group, in order of stripe and role."""
        columns = ", ".join(PackRow._fields)
        cursor = self._db.execute(f"SELECT {columns} FROM packs WHERE number = ? ORDER BY stripe, role", (number,))  # noqa: S608
        for row in cursor:
            yield PackRow(*row)

    def totals(self, number: int, data: int) -> tuple[int, int, int, int, int]:
        """Packed bytes, parity bytes, members, files, source bytes of a group."""
        row = self._db.execute(
            "SELECT sum(length) FILTER (WHERE role < ?1), sum(length) FILTER (WHERE role >= ?1), sum(members),"
            " sum(files), sum(source_bytes) FROM packs WHERE number = ?2",
            (data, number),
        ).fetchone()
        return tuple(int(value or 0) for value in row)  # type: ignore[return-value]

    def blocks(self, number: int) -> int:
        """Block hashes of a group so far."""
        return int(
            self._db.execute("SELECT coalesce(sum(blocks), 0) FROM packs WHERE number = ?", (number,)).fetchone()[0]
        )

    def told(self) -> tuple[list[bytes], list[tuple[bytes, str]]]:
        """Paths that changed while they were read, and paths that were skipped, with the reason."""
        rows = self._db.execute("SELECT DISTINCT path, reason FROM told ORDER BY path").fetchall()
        return [bytes(p) for p, r in rows if r is None], [(bytes(p), r) for p, r in rows if r is not None]
