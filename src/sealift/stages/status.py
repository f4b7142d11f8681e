"""Where a packing stands, from its state folder: what `sealift status` shows and `sealift seal` starts from.

It may be asked while the packing runs: the journal is opened read-only, and nothing is written or kept locked.
Whatever is wrong with the folder is BadInput. What is not here: the drives, which need not be attached.
"""

from __future__ import annotations

import base64
import fcntl
import os
import sqlite3
from contextlib import closing
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from sealift.errors import BadInput, SealiftError
from sealift.formats import typed
from sealift.formats.manifest import GROUP_FILES, MANIFEST, MAX_MANIFEST, decode_manifest, drive_id
from sealift.stages.lacking import beyond
from sealift.stages.pack.crew import standing
from sealift.stages.pack.journal import FILE, GONE, HEARD, LATER, SMALL_FILES, is_damage, unreadable
from sealift.stages.pack.journal_rows import TOLD, Told
from sealift.trade.signing import read_limited

_MAX_SUMMARY = 256 << 20
_SEAL = ".seal"
SEALED = "sealed"  # in a state folder: where its seal was written
_GROUPS = """
SELECT g.number, g.state, g.stripes, g.source_bytes, g.seconds,
       coalesce(sum(p.length) FILTER (WHERE p.role < ?1), 0),
       coalesce(sum(p.length) FILTER (WHERE p.role >= ?1), 0),
       coalesce(sum(p.files), 0)
FROM groups g LEFT JOIN packs p ON p.number = g.number GROUP BY g.number ORDER BY g.number"""


class Place(msgspec.Struct, frozen=True):
    """One drive of the shipment: its number (i of N), serial and carrier."""

    number: int
    serial: str
    carrier: str


class OwedDrive(msgspec.Struct, frozen=True):
    """A drive that is set aside: it lacks the stripes from `since_stripe` on."""

    drive: str
    serial: str
    mount: str
    since_stripe: int
    kind: str  # failed, full, lied, new or lacks
    reason: str


class SlowDrive(msgspec.Struct, frozen=True):
    """A drive that was seen to write much slower than its group's median; bytes a second."""

    drive: str
    serial: str
    mount: str
    bytes_per_second: int
    median_bytes_per_second: int


class MisreadDrive(msgspec.Struct, frozen=True):
    """A drive that gave other bytes than were written, or none, while it was packed: packs, and blocks of them."""

    drive: str
    serial: str
    mount: str
    packs: int
    blocks: int
    replaced: bool = False  # by another drive, which is in the group now


class LackingDrive(msgspec.Struct, frozen=True):
    """A drive of a signed group that lacked packs when it was looked at last: of which stripes, and that in words."""

    drive: str
    slot: int
    serial: str
    mount: str
    stripes: list[int]
    reason: str

    @property
    def text(self) -> str:
        """For people."""
        where = f", {self.mount}" if self.mount else ""
        return f"drive {self.drive} (serial {self.serial}{where}): {self.reason}, when it was looked at last"


_Drive = TypeVar("_Drive", OwedDrive, SlowDrive, MisreadDrive)


class Config(msgspec.Struct, frozen=True):
    """The part of a packing's configuration that is told; groups list their drives by slot."""

    shipment: str
    consignment_id: str
    source: str
    recipients: list[str]
    parity: int
    groups: list[list[Place]]


class GroupStatus(msgspec.Struct, frozen=True):
    """One group; `state` is waiting, packing or signed. Sizes in bytes."""

    group: int
    state: str
    data: int
    parity: int
    stripes: int
    files: int
    source_bytes: int
    total_bytes: int  # 0 before the scan
    packed_bytes: int
    parity_bytes: int
    seconds: float
    places: list[Place]
    owed: list[OwedDrive] = []
    slow: list[SlowDrive] = []
    misread: list[MisreadDrive] = []
    spoilt: list[str] = []  # drives whose small files were not as they were signed, when they were read last
    gone: list[str] = []  # what of a signed group could not be had from its drives, when they were looked at last
    gone_kept: bool = False  # the state folder has all of that as it was signed: pack writes it to them again
    lacking: list[LackingDrive] = []  # drives of a signed group that lacked packs, each when it was looked at last
    wrong: list[tuple[int, int]] = []  # stripe and slot of packs that read back wrong, and are not rebuilt yet
    kept: str = ""  # signed, and the state folder has not the manifest of that as it was signed: what it has
    standing: str = ""  # what can be read, where drives are set aside
    taken_over: bool = False  # signed, and not packed by this state: what is known of it is what its manifest says

    @property
    def lost(self) -> list[int]:
        """Stripes of a signed group of which more packs are missing or wrong than parity holds, as far as is known."""
        missing = [(stripe, each.slot) for each in self.lacking for stripe in each.stripes]
        return beyond([*self.wrong, *missing], self.parity) if self.state == "signed" else []


class Status(msgspec.Struct, frozen=True):
    """Everything a state folder tells."""

    config: Config
    groups: list[GroupStatus]
    running: bool
    sealed: bool
    later: int  # paths that came since the source was listed, or were rewritten since they were packed, as last seen
    told: Told  # what befell members; skipped, too, what the scan could not carry
    read_back: dict[str, Any]


def seal_path(folder: str, shipment: str) -> str:
    """Where the seal of a shipment is written."""
    return os.path.join(folder, f"{shipment}{_SEAL}")


def seal_known(state: str) -> str | None:
    """Where a state folder knows its seal to have been written, be it there still or not; None where nothing tells."""
    from sealift.stages.seal_others import noted

    path = noted(state)
    return path if path and path.endswith(_SEAL) else None


def look(state: str) -> Status:
    """Everything the folder tells; BadInput when it is no state folder, or is damaged."""
    path = os.path.join(state, FILE)
    if not os.path.isfile(path):
        raise BadInput(f"{state}: no packing has begun here", hint="give the folder that pack was given as --state")
    try:
        with closing(sqlite3.connect(f"file:{quote(os.path.abspath(path))}?mode=ro", uri=True, timeout=30)) as db:
            row = db.execute("SELECT value FROM settings WHERE name = 'config'").fetchone()
            config = _config(state, row)
            data = len(config.groups[0]) - config.parity
            found = {int(row[0]): row for row in db.execute(_GROUPS, (data,))}
            owed = _of_groups(db, "owed", "since, kind, reason", OwedDrive)
            slow = _of_groups(db, "slow", "rate, median", SlowDrive)
            misread = _of_groups(db, "misread", "packs, blocks", MisreadDrive)
            read_back = _read_back(db, config.parity)
            heard = _heard(db)
            spoilt = {number: _spoilt(db, number) for number in range(len(config.groups))}
            gone = {number: _gone(db, number) for number in range(len(config.groups))}
            since, wrong, lacks = _since(db), _wrong(db), _lacks(db)
            told = Told.of(db.execute(TOLD))
            setting = db.execute("SELECT value FROM settings WHERE name = ?", (LATER,)).fetchone()
            later = int(setting[0]) if setting else 0
        sizes, skipped = _scanned(state)
        sizes += [0] * len(config.groups)
        groups = [
            msgspec.structs.replace(
                _group(number, config, found.get(number), sizes[number]),
                owed=owed.get(number, []),
                slow=slow.get(number, []),
                misread=[
                    msgspec.structs.replace(
                        each, replaced=all(place.serial != each.serial for place in config.groups[number])
                    )
                    for each in misread.get(number, [])
                ],
                spoilt=spoilt[number],
                gone=list(gone[number].values()),
                lacking=lacks.get(number, []),
                wrong=wrong.get(number, []),
            )
            for number in range(len(config.groups))
        ]
        groups = [
            msgspec.structs.replace(each, standing=standing(each.stripes, each.parity, since[each.group], each.wrong))
            if each.owed
            else each
            for each in groups
        ]
        read_back["stripes_total"] = sum(group.stripes for group in groups)  # those that were packed by this state
        for group in [each for each in groups if each.state == "signed" and not each.stripes]:
            groups[group.group] = _packed_elsewhere(state, group)
        for group in [each for each in groups if each.group in heard and each.state == "waiting"]:
            stripes, read = heard[group.group]
            groups[group.group] = msgspec.structs.replace(group, state="packing", stripes=stripes, source_bytes=read)
        for group in [each for each in groups if each.state == "signed"]:
            kept, has = _kept(state, group.group, config.shipment), gone[group.group]
            its = bool(has) and not kept and _has_as_signed(state, group.group, has)
            groups[group.group] = msgspec.structs.replace(group, kept=kept, gone_kept=its)
    except (sqlite3.Error, TypeError, ValueError, OverflowError) as error:
        if is_damage(error):
            raise unreadable(state, error) from error
        raise BadInput(f"{path} cannot be read: {error}", hint="the drives are untouched (sealift inspect)") from error
    return Status(
        config,
        groups,
        running=_is_running(state),
        sealed=seal_known(state) is not None or os.path.isfile(seal_path(state, config.shipment)),
        later=later,
        told=told._replace(skipped=[*skipped, *told.skipped]),
        read_back=read_back,
    )


def _has(db: sqlite3.Connection, table: str) -> bool:
    """Whether a journal has this table: one that an earlier version began may not."""
    return db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchone() is not None


def _of_groups(db: sqlite3.Connection, table: str, columns: str, kind: type[_Drive]) -> dict[int, list[_Drive]]:
    out: dict[int, list[_Drive]] = {}
    if _has(db, table):
        query = f"SELECT number, slot, serial, mount, {columns} FROM {table} ORDER BY number, slot"  # noqa: S608 -- ours
        for number, slot, *rest in db.execute(query):
            out.setdefault(int(number), []).append(kind(drive_id(int(number), int(slot)), *rest))
    return out


def _heard(db: sqlite3.Connection) -> dict[int, tuple[int, int]]:
    """Stripes of groups that other hosts pack, and bytes of the source, when they were heard last."""
    rows = db.execute("SELECT name, value FROM settings WHERE name LIKE ?", (f"{HEARD}%",))
    told = {int(name.removeprefix(HEARD)): value.split() for name, value in rows}
    return {number: (int(stripes), int(read)) for number, (stripes, read) in told.items()}


def _spoilt(db: sqlite3.Connection, group: int) -> list[str]:
    row = db.execute("SELECT value FROM settings WHERE name = ?", (f"spoilt-{group}",)).fetchone()
    return [drive_id(group, slot) for slot in typed.decode(row[0] if row else b"[]", list[int])]


def _gone(db: sqlite3.Connection, group: int) -> dict[str, str]:
    row = db.execute("SELECT value FROM settings WHERE name = ?", (f"{GONE}{group}",)).fetchone()
    return typed.decode(row[0] if row else b"{}", dict[str, str])


def _since(db: sqlite3.Connection) -> dict[int, dict[int, int]]:
    """By group and slot, from which stripe on a drive that is set aside lacks what is committed."""
    out: dict[int, dict[int, int]] = {}
    for number, slot, since in db.execute("SELECT number, slot, since FROM owed") if _has(db, "owed") else ():
        out.setdefault(int(number), {})[int(slot)] = int(since)
    return out


def _wrong(db: sqlite3.Connection) -> dict[int, list[tuple[int, int]]]:
    """By group, stripe and slot of the packs that read back wrong, and are not rebuilt yet."""
    out: dict[int, list[tuple[int, int]]] = {}
    query = "SELECT number, stripe, slot FROM wrong WHERE NOT repaired"
    for number, stripe, slot in db.execute(query) if _has(db, "wrong") else ():
        out.setdefault(int(number), []).append((int(stripe), int(slot)))
    return out


def _lacks(db: sqlite3.Connection) -> dict[int, list[LackingDrive]]:
    out: dict[int, list[LackingDrive]] = {}
    query = "SELECT number, slot, serial, mount, stripes, reason FROM lacks ORDER BY number, slot"
    for number, slot, serial, mount, stripes, reason in db.execute(query) if _has(db, "lacks") else ():
        lacks = LackingDrive(drive_id(number, slot), slot, serial, mount, typed.decode(stripes, list[int]), reason)
        out.setdefault(int(number), []).append(lacks)
    return out


def _read_back(db: sqlite3.Connection, parity: int) -> dict[str, Any]:
    out: dict[str, Any] = dict.fromkeys(("stripes", "blocks", "again", "found", "repaired", "packed_again"), 0)
    cached = wrong = over = 0
    if _has(db, "read_back"):
        there = {row[1] for row in db.execute("PRAGMA table_info(read_back)")}  # an earlier version's has fewer columns
        names = [name for name in out if name in there]
        sums = ", ".join(f"sum({name})" for name in names)
        *values, cached = db.execute(f"SELECT {sums}, max(cached) FROM read_back").fetchone()  # noqa: S608 -- ours
        out |= {name: int(value or 0) for name, value in zip(names, values, strict=True)}
    if _has(db, "wrong"):
        wrong = int(db.execute("SELECT coalesce(sum(blocks), 0) FROM wrong WHERE NOT repaired").fetchone()[0])
        counts = db.execute(
            "SELECT count(*) FROM wrong JOIN groups USING (number) WHERE NOT repaired AND groups.state = 'signed'"
            " GROUP BY number, stripe"
        )
        over = sum(count > parity for (count,) in counts)
    out["found"] = max(out["found"], out["repaired"] + out["packed_again"] + wrong)
    read_from = None if not out["blocks"] else ("medium", "cache")[int(cached or 0)]
    return out | {"wrong": wrong, "beyond": over, "read_from": read_from}


def _config(state: str, row: tuple[Any, ...] | None) -> Config:
    if row is None:
        raise BadInput(
            f"{state}: a packing began here, and was refused or stopped before it wrote anything",
            hint="run pack again, and see what it says",
        )
    try:
        config = typed.decode(row[0], Config)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise unreadable(state, error) from error
    if not config.groups or not 0 <= config.parity < min(map(len, config.groups)):
        raise BadInput(f"{state}: the journal's configuration names no drives")
    return config


def _scanned(state: str) -> tuple[list[int], list[tuple[bytes, str]]]:
    """Bytes of every group and skipped paths with the reason, as scanned; none before the scan."""
    try:
        with open(os.path.join(state, "scan", "summary.json"), "rb") as file:
            found = msgspec.json.decode(file.read(_MAX_SUMMARY))
        skipped = [(base64.b64decode(path), str(reason)) for path, reason in found["skipped"]]
        return [int(share["bytes"]) for share in found["shares"]], skipped
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        return [], []


def _group(
    number: int,
    config: Config,
    row: tuple[Any, ...] | None,
    total: int,
) -> GroupStatus:
    row = row or (number, "waiting", *[0] * 6)
    _, state, stripes, source_bytes, seconds, packed, parity, files = row
    places = config.groups[number]
    return GroupStatus(
        number,
        str(state),
        data=len(places) - config.parity,
        parity=config.parity,
        stripes=int(stripes),
        files=int(files),
        source_bytes=int(source_bytes),
        total_bytes=total,
        packed_bytes=int(packed),
        parity_bytes=int(parity),
        seconds=float(seconds),
        places=places,
    )


def _packed_elsewhere(state: str, group: GroupStatus) -> GroupStatus:
    """A group that another host of a cluster packed: the journal is there, and its signed manifest here."""
    path = os.path.join(state, "groups", f"{group.group:04d}", "closed", MANIFEST)
    try:
        record = decode_manifest(read_limited(path, MAX_MANIFEST, "manifest"))
    except SealiftError:
        return msgspec.structs.replace(group, taken_over=True)
    totals = record.totals
    return msgspec.structs.replace(
        group,
        stripes=record.geometry.stripes,
        files=totals.files,
        source_bytes=totals.source_bytes,
        total_bytes=totals.source_bytes,
        packed_bytes=totals.packed_bytes,
        parity_bytes=totals.parity_bytes,
        taken_over=True,
    )


def _kept(state: str, group: int, shipment: str) -> str:
    """Why the state folder's manifest of a signed group is no measure of its drives, or nothing."""
    from sealift.stages.pack.found import load_manifest

    try:
        load_manifest(state, group, shipment)
    except SealiftError as error:
        return f"{error}. {error.hint}" if error.hint else str(error)
    return ""


def _has_as_signed(state: str, group: int, gone: dict[str, str]) -> bool:
    """Whether a state folder, whose manifest of a group holds, has all of what is `gone` from the group's drives.

    These files are read to their end. Packs, which an earlier version noted here, it never has.
    """
    from sealift.stages.pack.found import closed_folder, is_as_signed, load_manifest

    record, _, _ = load_manifest(state, group)
    names = [name for name in GROUP_FILES if any(name in text for text in gone.values())]
    paths = {name: os.path.join(closed_folder(state, group), name) for name in names}
    return gone.keys() == {SMALL_FILES} and all(
        is_as_signed(path, record.group_file(name)) for name, path in paths.items()
    )


def _is_running(state: str) -> bool:
    """Whether a packing holds the state's lock; taken shared for an instant, and given back."""
    try:
        with open(os.path.join(state, "lock"), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
