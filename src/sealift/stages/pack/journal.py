"""What is committed, in SQLite (synchronous=FULL): a pack that is not in here is ours and will be replaced.

Holds: once `commit` has returned, the stripe's packs are on all drives, and their lengths, digests and frame
tables, the rows of the index and the block hashes (files beside the journal, fsynced before) and the cursor after
them survive any crash. A drive that misses a stripe is in `owed` before that stripe is in `packs`: what a drive owes
is every stripe from `since` on. One process at a time: the state folder is locked (run.py); threads take turns.
"""

from __future__ import annotations

import contextlib
import glob
import os
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

import msgspec

from sealift.errors import BadInput, FormatError, SealiftError
from sealift.formats import typed
from sealift.formats.manifest import MANIFEST, MAX_MANIFEST, decode_manifest
from sealift.stages.lacking import beyond
from sealift.stages.pack.journal_rows import (
    TOLD,
    GroupState,
    Lacks,
    Medium,
    Misread,
    Owed,
    PackRow,
    ReadBackState,
    Slow,
    Told,
    Wrong,
)
from sealift.stages.pack.queue import Cursor
from sealift.trade.signing import read_limited

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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
    header BLOB NOT NULL, blake3 BLOB NOT NULL, blocks INTEGER NOT NULL, plain INTEGER NOT NULL, tar INTEGER NOT NULL,
    members INTEGER NOT NULL, samples INTEGER NOT NULL, source_bytes INTEGER NOT NULL, files INTEGER NOT NULL,
    PRIMARY KEY (number, stripe, role)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS told (number INTEGER NOT NULL, stripe INTEGER NOT NULL, path BLOB NOT NULL, reason TEXT);
CREATE TABLE IF NOT EXISTS cursors (
    number INTEGER NOT NULL, stripe INTEGER NOT NULL, cursor_row INTEGER NOT NULL, cursor_offset INTEGER NOT NULL,
    cursor_part INTEGER NOT NULL, PRIMARY KEY (number, stripe)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS owed (
    number INTEGER NOT NULL, slot INTEGER NOT NULL, serial TEXT NOT NULL, mount TEXT NOT NULL, since INTEGER NOT NULL,
    kind TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (number, slot)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS slow (
    number INTEGER NOT NULL, slot INTEGER NOT NULL, serial TEXT NOT NULL, mount TEXT NOT NULL, rate INTEGER NOT NULL,
    median INTEGER NOT NULL, PRIMARY KEY (number, slot)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS read_back (
    number INTEGER PRIMARY KEY, stripes INTEGER NOT NULL, blocks INTEGER NOT NULL, repaired INTEGER NOT NULL,
    cached INTEGER NOT NULL, whole INTEGER NOT NULL DEFAULT 0, furthest INTEGER NOT NULL DEFAULT 0,
    again INTEGER NOT NULL DEFAULT 0, found INTEGER NOT NULL DEFAULT 0, packed_again INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS wrong (
    number INTEGER NOT NULL, stripe INTEGER NOT NULL, role INTEGER NOT NULL, slot INTEGER NOT NULL,
    blocks INTEGER NOT NULL, times INTEGER NOT NULL, repaired INTEGER NOT NULL,
    PRIMARY KEY (number, stripe, role)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS misread (
    number INTEGER NOT NULL, slot INTEGER NOT NULL, serial TEXT NOT NULL, mount TEXT NOT NULL, packs INTEGER NOT NULL,
    blocks INTEGER NOT NULL, PRIMARY KEY (number, slot, serial)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lacks (
    number INTEGER NOT NULL, slot INTEGER NOT NULL, serial TEXT NOT NULL, mount TEXT NOT NULL, stripes BLOB NOT NULL,
    reason TEXT NOT NULL, PRIMARY KEY (number, slot)) WITHOUT ROWID;
"""
_LATER = {  # columns of read_back that came later, and what is known of them in a journal that is older
    "whole": "0",
    "furthest": "stripes",
    "again": "0",
    "found": "repaired + (SELECT coalesce(sum(blocks), 0) FROM wrong"
    " WHERE wrong.number = read_back.number AND NOT wrong.repaired)",
    "packed_again": "0",
}
VERSION = 2
FILE = "journal.sqlite"  # in every state folder


def damaged(what: object) -> SealiftError:
    """What to raise where a state folder contradicts itself."""
    return SealiftError(
        f"the state of this packing is damaged: {what}",
        hint="the packs on the drives are safe: the same command with an empty --state goes on from the copies of its"
        " journal that are on them; with --discard-group, too, it packs the unfinished group again",
    )


def unreadable(folder: str, error: Exception) -> BadInput:
    """What to raise where the journal in a state folder cannot be read, and how packing goes on without it."""
    shipment = signed_in(folder) or "ID (it is in their drive.json)"
    return BadInput(
        f"{os.path.join(folder, FILE)} is no journal of sealift, or damaged: {error}",
        hint="the drives are untouched. restore this file from a copy; or the same `sealift pack` command with "
        "another, empty --state goes on from the copies of it that are on the drives; where groups are signed, with "
        f"--shipment {shipment}, too",
    )


def is_damage(error: Exception) -> bool:
    """Whether `error` says that a journal is damaged: not that its disk is full, or that it may not be written."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF in {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def signed_in(folder: str) -> str | None:
    """The shipment of the groups that a state folder has as signed, whatever its journal says."""
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), "groups", "*", "closed", MANIFEST))):
        with contextlib.suppress(BadInput, FormatError):
            return decode_manifest(read_limited(path, MAX_MANIFEST, "manifest")).shipment
    return None


def no_room(folder: str, error: BaseException) -> SealiftError | None:
    """What to raise where `error` says that there is no space left on the disk of a state folder."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is None or code & 0xFF != sqlite3.SQLITE_FULL:
        return None
    return SealiftError(
        f"the state folder {folder}: no space left on its disk; all that is committed is safe",
        hint="free room there, or copy the folder to a larger disk (cp -a) and give that as --state; then the same "
        "command goes on",
    )


LATER = "later"  # a setting: how many paths came, or were rewritten since they were packed, when packing looked last
HEARD = "heard-"  # a setting for each group that another host packs
GONE = "gone-"  # a setting for each group that is signed, and cannot be had from its drives
SMALL_FILES = "small files"  # what was looked at, in that setting


class Journal:
    """The journal in `folder`; safe to use from several threads, one at a time."""

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, FILE)
        self._lock = threading.RLock()
        try:
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
            self._grow()
        except sqlite3.DatabaseError as error:
            if (full := no_room(folder, error)) is not None:
                raise full from error
            raise unreadable(folder, error) from error

    def _grow(self) -> None:
        """Add the columns that a journal of an earlier version has not."""
        there = {row[1] for row in self._db.execute("PRAGMA table_info(read_back)")}
        for name, known in _LATER.items():
            if name not in there:
                with self._whole() as db:
                    db.execute(f"ALTER TABLE read_back ADD COLUMN {name} INTEGER NOT NULL DEFAULT 0")
                    db.execute(f"UPDATE read_back SET {name} = {known}")  # noqa: S608 -- ours

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def setting(self, name: str) -> bytes | None:
        """A setting's bytes, or None."""
        rows = self._all("SELECT value FROM settings WHERE name = ?", name)
        return bytes(rows[0][0]) if rows else None

    def set(self, name: str, value: bytes) -> None:
        """Write a setting, durably."""
        with self._whole() as db:
            db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    def clear(self) -> None:
        """Forget everything, at once."""
        with self._whole() as db:
            for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                db.execute(f"DELETE FROM {table}")  # noqa: S608 -- a name of ours

    def group(self, number: int) -> GroupState:
        """Where a group stands."""
        with self._whole() as db:
            db.execute("INSERT OR IGNORE INTO groups (number, state) VALUES (?, 'waiting')", (number,))
        (row,) = self._all(
            "SELECT number, state, stripes, files_end, cursor_row, cursor_offset, cursor_part, source_bytes, seconds"
            " FROM groups WHERE number = ?",
            number,
        )
        number, state, stripes, files_end, *cursor, source_bytes, seconds = row
        return GroupState(number, state, stripes, files_end, Cursor(*cursor), source_bytes, seconds)

    def set_state(self, number: int, state: str) -> None:
        """waiting, packing or signed."""
        with self._whole() as db:
            db.execute("UPDATE groups SET state = ? WHERE number = ?", (state, number))

    def hear(self, number: int, stripes: int, source_bytes: int) -> None:
        """Of a group that another host packs: so many stripes are committed, and bytes of the source are read."""
        if (stripes, source_bytes) > self.heard(number):
            self.set(f"{HEARD}{number}", f"{stripes} {source_bytes}".encode())

    def heard(self, number: int) -> tuple[int, int]:
        """Stripes of a group that another host has committed, and bytes it had read, when it was heard last."""
        stripes, source_bytes = (self.setting(f"{HEARD}{number}") or b"0 0").split()
        return int(stripes), int(source_bytes)

    def set_files_end(self, number: int, stripe: int) -> None:
        """Stripes from `stripe` on hold only directories."""
        with self._whole() as db:
            db.execute("UPDATE groups SET files_end = ? WHERE number = ?", (stripe, number))

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
        told: list[tuple[int, int, bytes, str | None]] = [
            (number, stripe, path, None) for end in ended for path in end.changed
        ]
        told += [(number, stripe, path, reason) for end in ended for path, reason in end.skipped]
        with self._whole() as db:
            db.executemany(
                f"INSERT INTO packs VALUES ({number}, {', '.join('?' * len(PackRow._fields))})",  # noqa: S608 -- an int
                packs,
            )
            db.executemany("INSERT INTO told VALUES (?, ?, ?, ?)", told)
            db.execute("INSERT OR REPLACE INTO cursors VALUES (?, ?, ?, ?, ?)", (number, stripe, *cursor))
            db.execute(
                "UPDATE groups SET stripes = ?, cursor_row = ?, cursor_offset = ?, cursor_part = ?,"
                " source_bytes = source_bytes + ?, seconds = seconds + ? WHERE number = ?",
                (stripe + 1, *cursor, sum(end.source_bytes for end in ended), seconds, number),
            )

    def cut_back(self, number: int, stripe: int) -> bool:
        """Forget the stripes from `stripe` on, so that they are packed again; False where the way back is not known."""
        cursor: tuple[int, ...] | None = tuple(Cursor())
        with self._whole() as db:
            if stripe:
                cursor = db.execute(
                    "SELECT cursor_row, cursor_offset, cursor_part FROM cursors WHERE number = ? AND stripe = ?",
                    (number, stripe - 1),
                ).fetchone()
            if cursor is None:
                return False
            (stripes,) = db.execute("SELECT stripes FROM groups WHERE number = ?", (number,)).fetchone()
            db.execute(
                "INSERT INTO settings VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = max(value, ?2)",
                (f"reached.{number}", int(stripes)),
            )
            db.execute(
                "UPDATE read_back SET packed_again = packed_again + (SELECT coalesce(sum(blocks), 0) FROM wrong WHERE"
                " number = ?1 AND stripe >= ?2 AND NOT repaired) WHERE number = ?1",
                (number, stripe),
            )
            for table in ("packs", "told", "cursors", "wrong"):
                db.execute(f"DELETE FROM {table} WHERE number = ? AND stripe >= ?", (number, stripe))  # noqa: S608
            db.execute(
                "UPDATE groups SET stripes = ?1, cursor_row = ?2, cursor_offset = ?3, cursor_part = ?4,"
                " files_end = CASE WHEN files_end <= ?1 THEN files_end END, source_bytes ="
                " (SELECT coalesce(sum(source_bytes), 0) FROM packs WHERE packs.number = groups.number)"
                " WHERE number = ?5",
                (stripe, *cursor, number),
            )
            # other packs will have the names of those that are forgotten: looking for them tells nothing any more
            db.execute(
                "UPDATE owed SET since = min(since, ?), kind = CASE kind WHEN 'lacks' THEN 'failed' ELSE kind END"
                " WHERE number = ?",
                (stripe, number),
            )
            db.execute(
                "UPDATE read_back SET stripes = min(stripes, ?1), whole = min(whole, ?1) WHERE number = ?2",
                (stripe, number),
            )
        return True

    def reached(self, number: int) -> int:
        """How many stripes were committed before some were cut back; 0 where none ever were."""
        rows = self._all("SELECT value FROM settings WHERE name = ?", f"reached.{number}")
        return int(rows[0][0]) if rows else 0

    def publish(self, number: int, manifest: str) -> None:
        """Note, durably, the digest of a manifest before it goes to a drive."""
        with self._whole() as db:
            db.execute("INSERT OR REPLACE INTO settings VALUES (?, x'')", (f"published.{number}.{manifest}",))

    def published(self, number: int, manifest: str) -> bool:
        """Whether a manifest of this digest was made from this journal."""
        return self.setting(f"published.{number}.{manifest}") is not None

    @contextlib.contextmanager
    def _whole(self) -> Iterator[sqlite3.Connection]:
        """A transaction: durable when this is left, or nothing of it."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # not where the disk is full: SQLite has done it then
                    self._db.execute("ROLLBACK")
                raise

    def tell(self, number: int, skipped: list[tuple[bytes, str]]) -> None:
        """Files that were skipped outside any stripe."""
        with self._whole() as db:
            db.executemany("INSERT INTO told VALUES (?, -1, ?, ?)", [(number, *each) for each in skipped])

    def packs(self, number: int) -> Iterator[PackRow]:
        """Committed packs of a group, in order of stripe and role."""
        columns = ", ".join(PackRow._fields)
        cursor = self._db.execute(f"SELECT {columns} FROM packs WHERE number = ? ORDER BY stripe, role", (number,))  # noqa: S608
        for row in cursor:
            yield PackRow(*row)

    def totals(self, number: int, data: int) -> tuple[int, int, int, int, int]:
        """Packed bytes, parity bytes, members, files, source bytes of a group."""
        (row,) = self._all(
            "SELECT sum(length) FILTER (WHERE role < ?1), sum(length) FILTER (WHERE role >= ?1), sum(members),"
            " sum(files), sum(source_bytes) FROM packs WHERE number = ?2",
            data,
            number,
        )
        return tuple(int(value or 0) for value in row)  # type: ignore[return-value]

    def blocks(self, number: int) -> int:
        """Block hashes of a group so far."""
        return int(self._all("SELECT coalesce(sum(blocks), 0) FROM packs WHERE number = ?", number)[0][0])

    def told(self) -> Told:
        """What befell members."""
        return Told.of(self._all(TOLD))

    # Drives that are set aside, slow, or read back wrong

    def owed(self, number: int) -> dict[int, Owed]:
        """The drives of a group that lack something, by slot."""
        rows = self._all(
            "SELECT slot, serial, mount, since, kind, reason FROM owed WHERE number = ? ORDER BY slot", number
        )
        return {int(row[0]): Owed(*row) for row in rows}

    def owe(self, number: int, owed: Owed) -> None:
        """Note, durably, what a drive lacks; before a stripe that it lacks is committed."""
        with self._whole() as db:
            db.execute(
                "INSERT OR REPLACE INTO owed VALUES (?, ?, ?, ?, ?, ?, ?)", (number, *msgspec.structs.astuple(owed))
            )

    def restored(self, number: int, slot: int) -> None:
        """A drive lacks nothing any more."""
        with self._whole() as db:
            db.execute("DELETE FROM owed WHERE number = ? AND slot = ?", (number, slot))

    def replace(self, settings: dict[str, bytes], new: list[tuple[int, Owed]]) -> None:
        """Other drives in slots of groups: the settings that name them, and that they are empty, at once."""
        with self._whole() as db:
            db.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?)", settings.items())
            for number, owed in new:
                db.execute(
                    "INSERT OR REPLACE INTO owed VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (number, *msgspec.structs.astuple(owed)),
                )
                db.execute("DELETE FROM slow WHERE number = ? AND slot = ?", (number, owed.slot))
                # what was wrong on the old one is wrong until it is on the new one, which did not lie
                db.execute("UPDATE wrong SET times = 0 WHERE number = ? AND slot = ?", (number, owed.slot))

    def slow(self, number: int) -> list[Slow]:
        """The drives of a group that were seen to write slowly."""
        rows = self._all("SELECT slot, serial, mount, rate, median FROM slow WHERE number = ? ORDER BY slot", number)
        return [Slow(*row) for row in rows]

    def note_slow(self, number: int, slow: Slow) -> None:
        """Name a slow drive."""
        with self._whole() as db:
            db.execute("INSERT OR REPLACE INTO slow VALUES (?, ?, ?, ?, ?, ?)", (number, *slow))

    def read_back(self, number: int) -> ReadBackState:
        """How far a group was read back."""
        rows = self._all(f"SELECT {', '.join(ReadBackState._fields)} FROM read_back WHERE number = ?", number)  # noqa: S608
        if not rows:
            return ReadBackState()
        state = ReadBackState(*rows[0])
        return state._replace(cached=bool(state.cached))

    def note_read_back(
        self,
        number: int,
        stripe: int,
        blocks: int,
        wrong: Sequence[tuple[Wrong, Medium]],
        *,
        cached: bool,
        upto: int = 0,
        whole: int = 0,
    ) -> None:
        """Blocks of `stripe` were read back. Stripes below `upto` are now, below `whole` all through.

        `wrong` is what was not as it was written, once more than before, and on which drives.
        """
        with self._whole() as db:
            db.execute(
                "INSERT OR IGNORE INTO read_back (number, stripes, blocks, repaired, cached) VALUES (?, 0, 0, 0, 0)",
                (number,),
            )
            db.execute(
                "UPDATE read_back SET stripes = max(stripes, ?1), blocks = blocks + ?2, cached = max(cached, ?3),"
                " whole = max(whole, ?4), again = again + iif(?5 < furthest, ?2, 0), furthest = max(furthest, ?1)"
                " WHERE number = ?6",
                (upto, blocks, cached, whole, stripe, number),
            )
            for each, medium in wrong:
                self._note_wrong(db, number, each, medium)

    def _note_wrong(self, db: sqlite3.Connection, number: int, wrong: Wrong, medium: Medium) -> None:
        """A pack that is wrong, and the account of it; what is known of it already is not counted twice."""
        known = db.execute(
            "SELECT blocks FROM wrong WHERE number = ? AND stripe = ? AND role = ? AND NOT repaired",
            (number, wrong.stripe, wrong.role),
        ).fetchone()
        more = max(0, wrong.blocks - known[0]) if known else wrong.blocks
        db.execute(
            "INSERT INTO wrong VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0) ON CONFLICT DO UPDATE"
            " SET blocks = iif(repaired, ?5, max(blocks, ?5)), times = times + ?6, repaired = 0",
            (number, *wrong),
        )
        db.execute("UPDATE read_back SET found = found + ? WHERE number = ?", (more, number))
        db.execute(
            "INSERT INTO misread VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE"
            " SET mount = ?4, packs = packs + ?5, blocks = blocks + ?6",
            (number, wrong.slot, *medium, int(known is None), more),
        )

    def misread(self, number: int) -> list[Misread]:
        """The drives of a group, those that were replaced too, that gave other bytes than were written."""
        rows = self._all(
            "SELECT slot, serial, mount, packs, blocks FROM misread WHERE number = ? ORDER BY slot, serial", number
        )
        return [Misread(*row) for row in rows]

    def doubted(self, number: int) -> list[Misread]:
        """Those of them that have been wrong since all of them was read again, if it ever was."""
        settled = self._settled(number)
        return [each for each in self.misread(number) if each.blocks > settled.get(each.serial, 0)]

    def settle_doubts(self, number: int, serials: Iterable[str]) -> None:
        """All of these drives was read again, whatever was found."""
        now = {each.serial: each.blocks for each in self.misread(number) if each.serial in set(serials)}
        self.set(f"settled-{number}", msgspec.json.encode(self._settled(number) | now))

    def _settled(self, number: int) -> dict[str, int]:  # by serial number, blocks that had been wrong by then
        return typed.decode(self.setting(f"settled-{number}") or b"{}", dict[str, int])

    def wrong(self, number: int) -> list[Wrong]:
        """Packs that read back wrong and are not repaired yet."""
        rows = self._all(
            "SELECT stripe, role, slot, blocks, times FROM wrong WHERE number = ? AND NOT repaired"
            " ORDER BY stripe, role",
            number,
        )
        return [Wrong(*row) for row in rows]

    def beyond(self, number: int, parity: int) -> int:
        """Of how many stripes more packs are wrong than parity holds."""
        return len(beyond(((each.stripe, each.slot) for each in self.wrong(number)), parity))

    def lacks(self, number: int) -> list[Lacks]:
        """The drives of a signed group that lacked packs, each when it was looked at last; by slot."""
        query = "SELECT slot, serial, mount, stripes, reason FROM lacks WHERE number = ? ORDER BY slot"
        return [Lacks(*row)._replace(stripes=typed.decode(row[3], list[int])) for row in self._all(query, number)]

    def note_lacks(self, number: int, lacks: Lacks) -> None:
        """What a drive of a signed group lacks now, in place of what it did; without stripes: nothing."""
        slot, serial, mount, stripes, reason = lacks
        with self._whole() as db:
            db.execute("DELETE FROM lacks WHERE number = ? AND slot = ?", (number, slot))
            if stripes:
                row = (number, slot, serial, mount, msgspec.json.encode(stripes), reason)
                db.execute("INSERT INTO lacks VALUES (?, ?, ?, ?, ?, ?)", row)

    def short(self, number: int) -> Iterator[tuple[int, int]]:
        """Stripe and slot of the packs of a group that are known to be missing or wrong; some twice."""
        yield from ((stripe, each.slot) for each in self.lacks(number) for stripe in each.stripes)
        yield from ((each.stripe, each.slot) for each in self.wrong(number))

    def lies(self, number: int) -> dict[int, int]:
        """How often packs of a slot read back wrong, repaired or not."""
        return dict(self._all("SELECT slot, sum(times) FROM wrong WHERE number = ? GROUP BY slot", number))

    def note_small(self, number: int, slot: int, medium: Medium) -> None:
        """A small file read back wrong: against its drive, as one block of no pack."""
        with self._whole() as db:
            db.execute(
                "INSERT INTO misread VALUES (?1, ?2, ?3, ?4, 0, 1) ON CONFLICT DO UPDATE"
                " SET mount = ?4, blocks = blocks + 1",
                (number, slot, *medium),
            )

    def small_mended(self, number: int) -> None:
        """A small file that read back wrong was written again, and is right: as one block that was repaired."""
        with self._whole() as db:
            db.execute(
                "INSERT OR IGNORE INTO read_back (number, stripes, blocks, repaired, cached) VALUES (?, 0, 0, 0, 0)",
                (number,),
            )
            db.execute("UPDATE read_back SET found = found + 1, repaired = repaired + 1 WHERE number = ?", (number,))

    def spoilt(self, number: int) -> frozenset[int]:
        """Slots of a signed group whose drives had small files that were not as signed, when they were read last."""
        return frozenset(typed.decode(self.setting(f"spoilt-{number}") or b"[]", list[int]))

    def note_spoilt(self, number: int, slots: Iterable[int]) -> None:
        """Which these are now."""
        self.set(f"spoilt-{number}", msgspec.json.encode(sorted(slots)))

    def note_gone(self, number: int, what: str, text: str) -> None:
        """What of a signed group nobody can have from its drives, as they were when they were looked at last.

        `what` was looked at, its packs or its small files; an empty `text`: nothing of it is gone.
        """
        now = self._gone(number) | {what: text}
        self.set(f"{GONE}{number}", msgspec.json.encode({what: text for what, text in now.items() if text}))

    def _gone(self, number: int) -> dict[str, str]:
        return typed.decode(self.setting(f"{GONE}{number}") or b"{}", dict[str, str])

    def repaired(self, number: int, stripe: int, role: int) -> None:
        """A pack that read back wrong is whole again."""
        with self._whole() as db:
            found = db.execute(
                "UPDATE wrong SET repaired = 1 WHERE number = ? AND stripe = ? AND role = ? AND NOT repaired"
                " RETURNING blocks",
                (number, stripe, role),
            ).fetchone()
            if found:
                db.execute("UPDATE read_back SET repaired = repaired + ? WHERE number = ?", (found[0], number))

    def stripe(self, number: int, stripe: int) -> list[PackRow]:
        """The packs of one committed stripe, by role."""
        columns = ", ".join(PackRow._fields)
        rows = self._all(f"SELECT {columns} FROM packs WHERE number = ? AND stripe = ? ORDER BY role", number, stripe)  # noqa: S608
        return [PackRow(*row) for row in rows]

    def _all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(query, values).fetchall()
