"""`sealift pack` without the terminal: check, scan, deal, pack group after group, sign; again after a crash.

Everything that can be refused is refused before a byte is written: keys, declaration, drives, room. The state
folder holds plain names of the source and is for its owner only (mode 0700). Running the same again goes on where
the journal stands; running something else on the same state is refused.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import sqlite3
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from sealift.drives.local import LocalDrive
from sealift.errors import BadInput, Busy, KeyInvalid, Refused, SealiftError
from sealift.formats import age, age_keys, canonical, manifest
from sealift.formats.manifest import DeclarationRef, Manifest
from sealift.stages.pack import fleet as fleets
from sealift.stages.pack import room
from sealift.stages.pack.close import GroupFacts, close_group
from sealift.stages.pack.copies import SETTINGS, Copies, Settings, restore
from sealift.stages.pack.deal import group_file
from sealift.stages.pack.durable import make_folders
from sealift.stages.pack.fleet import Place  # noqa: TC001 -- msgspec reads the annotations
from sealift.stages.pack.group import DEPTH, SLAB, Fleet, GroupPacker, Progress, memory_needed
from sealift.stages.pack.journal import Journal
from sealift.stages.pack.queue import UnitQueue
from sealift.stages.pack.scan import Summary, scan
from sealift.stages.pack.units import Setup, capacity_of
from sealift.trade import declaration as declarations
from sealift.trade.signing import Signer, read_limited

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealift.drives.base import Drive
    from sealift.stages.pack.fleet import Attached, Deal

MIN_PACK, MAX_PACK, DEFAULT_PACK = 1 << 20, (4 << 30) - (1 << 20), 1 << 30
_LOCK_PATIENCE = 10.0


@dataclass
class Options:
    """What `sealift pack` was asked for; mounts as given."""

    source: str
    to: list[str]
    parity: int
    recipients: list[str]
    sign_with: str
    declaration: str
    state: str
    carriers: dict[str, str] = field(default_factory=dict)  # mount -> carrier
    serials: dict[str, str] = field(default_factory=dict)  # mount -> serial
    group_size: int | None = None
    pack_size: int = DEFAULT_PACK
    order: Literal["path", "shuffled"] = "path"
    seed: int = 0
    sample_key: str | None = None
    shipment: str | None = None
    allow_same_filesystem: bool = False
    accept_carrier_risk: bool = False
    discard_group: bool = False
    rehearsal: bool = False  # only `sealift rehearse`, whose drives never leave, sets it


class Config(msgspec.Struct):
    """What must stay the same while a shipment is packed; kept in the journal."""

    shipment: str
    consignment_id: str
    source: str
    recipients: list[str]
    parity: int
    pack_size: int
    order: Literal["path", "shuffled"]
    seed: int
    sample_key: str | None
    groups: list[list[Place]]


@dataclass
class Events:
    """How a run tells what it does; called from one thread."""

    notice: Callable[[str], None] = lambda _text: None
    scanning: Callable[[int, int], None] = lambda _files, _bytes: None
    packing: Callable[[Progress, int], None] = lambda _progress, _total: None


@dataclass
class Result:
    """What was packed; the JSON of `sealift pack` is made of it."""

    config: Config
    groups: list[dict[str, Any]]
    changed: list[bytes]
    skipped: list[tuple[bytes, str]]
    waiting: list[tuple[int, list[Place]]]  # groups whose drives are not attached
    files: int
    source_bytes: int
    packed_bytes: int
    parity_bytes: int
    seconds: float
    memory: dict[str, int]


def run(options: Options, events: Events) -> Result:
    """Pack what is attached; raises SealiftError. Groups whose drives are not here are in Result.waiting."""
    import duckdb
    import pyarrow as pa

    try:
        return _run(options, events)
    except (sqlite3.Error, duckdb.Error, pa.ArrowException, msgspec.MsgspecError) as error:
        raise SealiftError(
            f"the state folder {options.state} cannot be used: {str(error).splitlines()[0]}",
            hint="see that its disk has room and is writable, then run the same command again; the drives are safe",
        ) from error


def _run(options: Options, events: Events) -> Result:
    begun = time.monotonic()
    signer, declaration, recipients = _prove_inputs(options)
    source = os.fsencode(os.path.realpath(options.source))
    drives = [LocalDrive(mount) for mount in options.to]
    attached = fleets.identify(drives, options.serials, options.carriers, same_filesystem=options.allow_same_filesystem)
    deal = fleets.deal(attached, declaration, parity=options.parity, group_size=options.group_size)
    _check_places(source, options)
    risk = fleets.carrier_risk(deal.groups, options.parity)
    if risk and not options.accept_carrier_risk:
        raise BadInput(
            risk,
            hint="spread the drives over more carriers, raise --parity, or accept it with --accept-carrier-risk",
        )
    with ExitStack() as stack:
        locks = [_lock_state(options.state, stack)]
        journal = Journal(options.state)
        stack.callback(journal.close)
        copies = Copies(signer, recipients)
        scanned = (
            None if journal.setting("config") else restore(copies, attached, options.state, journal, events.notice)
        )
        config = _settle(options, declaration, deal, source, journal)
        for group in range(len(deal.groups)):
            if not deal.missing(group) and _adopt(options.state, journal, config, group, deal.drives(group)):
                events.notice(f"group {group} is signed on its drives already")
        here = [g for g in range(len(deal.groups)) if not deal.missing(g) and journal.group(g).state != "signed"]
        for group in here:
            for slot, each in enumerate(deal.drives(group)):
                if options.discard_group and fleets.discard(each, config.shipment):
                    events.notice(f"{each.mount}: removed an unfinished group of another shipment")
                fleets.check_contents(each, config.shipment, group, slot)
        memory = memory_needed(len(deal.groups[0]), _builders(deal, options), len(deal.groups[0]) - options.parity)
        events.notice(_memory_line(memory))
        folder = os.path.join(options.state, "scan")
        weights = room.weights(deal, declaration)
        summary = scan(
            source,
            folder,
            weights=weights,
            order=options.order,
            seed=options.seed,
            sample_key=options.sample_key,
            progress=events.scanning,
        )
        if scanned not in {None, summary.digest}:
            raise Refused(
                "the source is not what it was when these drives were begun, and the state that knew it is lost",
                hint="put the source back as it was, or pack the unfinished group anew with --discard-group",
            )
        journal.set("scan", summary.digest.encode())
        for group in here:
            room.check(
                deal,
                group,
                options.parity,
                summary,
                source,
                folder,
                events.notice,
                packed=journal.totals(group, len(deal.groups[0]) - options.parity),
                several=len(deal.groups) > 1,
            )
        if here:
            locks += [_lock_drive(deal, serial) for serial in [p.serial for g in here for p in deal.groups[g]]]
            for group in here:
                for each in deal.drives(group):
                    stack.callback(each.drive.unlock)
            work = _Work(options, config, deal, journal, summary, source, recipients, signer, copies, events)
            _pack_groups(here, work, locks)
        return _result(options, config, deal, journal, summary, time.monotonic() - begun, memory)


def _prove_inputs(options: Options) -> tuple[Signer, declarations.Declaration, list[age.Recipient]]:
    if not os.path.isdir(options.source):
        raise BadInput(f"{options.source} is no directory", hint="SOURCE is the folder whose contents are packed")
    if not options.to:
        raise BadInput("no drive is given", hint="--to MNT, once for every mounted drive")
    if not MIN_PACK <= options.pack_size <= MAX_PACK:
        raise BadInput(
            f"--pack-size {options.pack_size} is out of limits",
            hint=f"{MIN_PACK} to {MAX_PACK} bytes; 1 GiB serves most",
        )
    if not options.recipients:
        raise KeyInvalid(
            "no recipient is given", hint="--recipient age1... (age-keygen makes one); two are safer than one"
        )
    recipients = [age_keys.parse_recipient(text) for text in options.recipients]
    age.check_recipients(recipients)
    data = read_limited(options.declaration, 4 << 20, "declaration")
    declaration = declarations.parse(data, draft=True)
    if not declaration.consignment_id:
        raise BadInput(
            f"{options.declaration}: consignment_id is empty",
            hint="sealift declare --new FILE draws one; a draft will do",
        )
    if declaration.rehearsal and not options.rehearsal:
        raise Refused(
            f"{options.declaration}: declares itself a rehearsal, and a shipment is none",
            hint="set rehearsal = false; `sealift rehearse` makes its own declaration",
        )
    signer = Signer.open(options.sign_with)
    signer.prove()
    return signer, declaration, recipients


def _check_places(source: bytes, options: Options) -> None:
    for what, place in [("--state", options.state), *(("--to", mount) for mount in options.to)]:
        real = os.fsencode(os.path.realpath(place))
        if real == source or real.startswith(source + b"/") or source == b"/":
            raise BadInput(
                f"{what} {place} lies within the source {options.source}",
                hint="a shipment cannot hold itself",
            )
        if source.startswith(real + b"/sealift/"):
            raise BadInput(
                f"the source lies within {place}/sealift", hint="pack the original, not a drive of a shipment"
            )


def _lock_state(state: str, stack: ExitStack) -> int:
    os.makedirs(state, mode=0o700, exist_ok=True)
    fd = os.open(os.path.join(state, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    stack.callback(os.close, fd)
    deadline = time.monotonic() + _LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Busy(f"{state}: another packing works on this state") from None
            time.sleep(0.05)
        else:
            os.set_inheritable(fd, True)  # noqa: FBT003 -- builders hold it too, so that orphans keep others out
            return fd


def _lock_drive(deal: Deal, serial: str) -> int:
    drive = deal.attached[serial].drive
    deadline = time.monotonic() + _LOCK_PATIENCE
    while True:
        try:
            return drive.lock()
        except Busy:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _settle(
    options: Options, declaration: declarations.Declaration, deal: Deal, source: bytes, journal: Journal
) -> Config:
    """The configuration of a new shipment, or that of the journal when it is the same."""
    kept = journal.setting("config")
    wanted = Config(
        options.shipment or secrets.token_hex(8),
        declaration.consignment_id,
        os.fsdecode(source),
        options.recipients,
        options.parity,
        options.pack_size,
        options.order,
        options.seed,
        options.sample_key,
        deal.groups,
    )
    if kept is None:
        if len(wanted.shipment) != 16 or set(wanted.shipment) - set("0123456789abcdef"):
            raise BadInput(
                f"--shipment {wanted.shipment!r} is no shipment id",
                hint="16 hexadecimal digits, as `sealift status` prints",
            )
        journal.set("config", msgspec.json.encode(wanted))
        return wanted
    config = msgspec.json.decode(kept, type=Config)
    wanted.shipment = options.shipment or config.shipment
    if declaration.drives == [] and {p.serial for g in deal.groups for p in g} < {
        p.serial for g in config.groups for p in g
    }:
        wanted.groups = config.groups
        deal.groups = config.groups
    differ = [name for name in Config.__struct_fields__ if getattr(config, name) != getattr(wanted, name)]
    known = [journal.group(number) for number in range(len(config.groups))]
    if differ and all(group.state == "waiting" and not group.stripes for group in known):
        shutil.rmtree(os.path.join(options.state, "scan"), ignore_errors=True)  # refused before: nothing was packed
        journal.set("config", msgspec.json.encode(wanted))
        return wanted
    if differ:
        what = ", ".join(
            f"{name} (was {_short(getattr(config, name))}, now {_short(getattr(wanted, name))})" for name in differ
        )
        raise BadInput(
            f"{options.state} holds a packing that began with something else: {what}",
            hint="run the same command again to go on, or begin another shipment with another --state",
        )
    return config


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _adopt(state: str, journal: Journal, config: Config, group: int, drives: Sequence[Attached]) -> bool:
    """Take a group that this journal does not know, but that is signed on its drives, for what it is."""
    if journal.group(group).stripes or journal.group(group).state == "signed":
        return False
    found = [each.drive.read_small(manifest.MANIFEST, manifest.MAX_MANIFEST) for each in drives if each.drive.exists()]
    if len(found) < len(drives) or found[0] is None or any(data != found[0] for data in found):
        return False
    record = manifest.decode_manifest(found[0])
    if (record.shipment, record.group) != (config.shipment, group):
        return False
    closed = os.path.join(state, "groups", f"{group:04d}", "closed")
    os.makedirs(os.path.join(closed, "index"), exist_ok=True)
    drive = drives[0].drive
    for name in (manifest.MANIFEST, manifest.SIGNATURE, manifest.MEMBERS_INDEX, manifest.PACKS_INDEX):
        with drive.open_read(name) as source, open(os.path.join(closed, name), "wb") as target:
            target.writelines(source.read_at(offset, 1 << 20) for offset in range(0, source.length, 1 << 20))
    journal.set_state(group, "signed")
    return True


def _builders(deal: Deal, options: Options) -> int:
    data = len(deal.groups[0]) - options.parity
    return max(1, min(data, len(os.sched_getaffinity(0))))


def _memory_line(memory: dict[str, int]) -> str:
    parts = ", ".join(f"{name} {size >> 20}" for name, size in memory.items())
    return f"memory: at most {sum(memory.values()) >> 20} MiB ({parts}), whatever the pack size"


@dataclass
class _Work:
    """What packing a group needs to know."""

    options: Options
    config: Config
    deal: Deal
    journal: Journal
    summary: Summary
    source: bytes
    recipients: list[age.Recipient]
    signer: Signer
    copies: Copies
    events: Events


def _pack_groups(here: Sequence[int], work: _Work, locks: list[int]) -> None:
    options, deal, journal = work.options, work.deal, work.journal
    data = len(deal.groups[0]) - options.parity
    setup = Setup(work.source, options.recipients, options.pack_size, data, SLAB, DEPTH)
    builders = Fleet(setup, options.parity, _builders(deal, options), locks)
    settings = Settings(msgspec.json.encode(work.config), work.summary.digest)
    try:
        for group in here:
            folder = make_folders(options.state, "groups", f"{group:04d}")
            drives = [each.drive for each in deal.drives(group)]
            facts = _facts(work, group)
            _claim(facts, drives)
            work.copies.write(drives, SETTINGS, settings)
            journal.set_state(group, "packing")
            _pack_files(builders, work, folder, group, drives)
            close_group(facts, journal, folder, drives, work.recipients, work.signer)
            journal.set_state(group, "signed")
            done = sum(journal.group(number).state == "signed" for number in range(len(deal.groups)))
            work.events.notice(f"group {group} is packed and signed, {done} of {len(deal.groups)}")
    finally:
        builders.close()


def _claim(facts: GroupFacts, drives: Sequence[Drive]) -> None:
    """drive.json on every drive, before the first pack: so that nobody else's packing takes it for empty."""
    for slot, drive in enumerate(drives):
        number, serial, label, carrier = facts.rows[slot]
        card = manifest.DriveCard(
            shipment=facts.shipment,
            declaration=facts.declaration.id,
            group=facts.group,
            slot=slot,
            id=manifest.drive_id(facts.group, slot),
            number=number,
            drives_total=facts.drives_total,
            serial=serial,
            label=label,
            carrier=carrier,
        )
        data = canonical.encode(card)
        if drive.read_small(manifest.CARD, manifest.MAX_CARD) != data:
            drive.write_small(manifest.CARD, data)


def _pack_files(builders: Fleet, work: _Work, folder: str, group: int, drives: Sequence[Drive]) -> None:
    """The files of a group, then its directories; from where the journal stands."""
    options, journal, share = work.options, work.journal, work.summary.shares[group]
    packer = GroupPacker(
        builders,
        journal,
        folder,
        group,
        drives,
        source=work.source,
        copies=work.copies,
        progress=lambda progress: work.events.packing(progress, share.bytes),
        room=lambda members, blocks: room.headroom(drives, members, blocks, options.pack_size),
    )
    path = group_file(os.path.join(options.state, "scan"), group)
    common: dict[str, Any] = {
        "capacity": capacity_of(options.pack_size, len(work.recipients)),
        "pack_size": options.pack_size,
        "data": builders.data,
    }
    try:
        state = journal.group(group)
        if state.files_end is None:
            left = share.bytes - state.source_bytes
            packer.run(UnitQueue(path, work.source, rows=share.members, remaining=left, cursor=state.cursor, **common))
            journal.set_files_end(group, journal.group(group).stripes)
        cursor = journal.group(group).cursor
        rows = share.members + share.directories
        packer.run(UnitQueue(path, work.source, rows=rows, remaining=0, cursor=cursor, **common))
    finally:
        packer.close()


def _facts(work: _Work, group: int) -> GroupFacts:
    config, deal = work.config, work.deal
    data = read_limited(work.options.declaration, 4 << 20, "declaration")
    declaration = declarations.parse(data, draft=True)
    reference = DeclarationRef(
        id=declaration.consignment_id, bytes=len(data), blake3=declaration.digest, rehearsal=declaration.rehearsal
    )
    total = deal.drives_total
    rows = [
        (place.number, place.serial, f"{config.shipment[:6]}-{place.number}of{total}", place.carrier)
        for place in deal.groups[group]
    ]
    return GroupFacts(
        config.shipment,
        reference,
        group,
        len(deal.groups),
        total,
        work.summary.digest,
        config.order,
        config.seed,
        len(deal.groups[0]) - config.parity,
        config.parity,
        rows,
    )


def _result(
    options: Options,
    config: Config,
    deal: Deal,
    journal: Journal,
    summary: Summary,
    seconds: float,
    memory: dict[str, int],
) -> Result:
    data = len(deal.groups[0]) - config.parity
    groups = []
    sums = [0, 0, 0, 0]
    for number, places in enumerate(deal.groups):
        state = journal.group(number)
        if state.state == "signed":  # the journal of an adopted group is empty; its manifest is not
            totals = load_manifest(options.state, number)[0].totals
            packed, parity_bytes, files, source_bytes = (
                totals.packed_bytes,
                totals.parity_bytes,
                totals.files,
                totals.source_bytes,
            )
        else:
            packed, parity_bytes, _, files, source_bytes = journal.totals(number, data)
        sums = [a + b for a, b in zip(sums, (packed, parity_bytes, files, source_bytes), strict=True)]
        groups.append(
            {
                "group": number,
                "drives": [manifest.drive_id(number, slot) for slot in range(len(places))],
                "data": data,
                "parity": config.parity,
                "stripes": state.stripes,
                "state": state.state,
            }
        )
    changed, skipped = journal.told()
    waiting = [(g, deal.missing(g)) for g in range(len(deal.groups)) if journal.group(g).state != "signed"]
    return Result(
        config,
        groups,
        changed,
        sorted({*summary.skipped, *skipped}),
        waiting,
        sums[2],
        sums[3],
        sums[0],
        sums[1],
        seconds,
        memory,
    )


def load_manifest(state: str, group: int) -> tuple[Manifest, bytes, bytes]:
    """A signed group's manifest, its bytes and its signature, from the state folder."""
    folder = os.path.join(state, "groups", f"{group:04d}", "closed")
    data = read_limited(os.path.join(folder, manifest.MANIFEST), manifest.MAX_MANIFEST, "manifest")
    signature = read_limited(os.path.join(folder, manifest.SIGNATURE), 1 << 20, "signature")
    return manifest.decode_manifest(data), data, signature
