"""`sealift pack` without the terminal: check, scan, deal, pack group after group, sign; again after a crash.

Everything that can be refused is refused before a byte is written: keys, declaration, drives, room. The state
folder holds plain names of the source and is for its owner only (mode 0700). Running the same again goes on where
the journal stands; running something else on the same state is refused.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from sealift.drives import locations
from sealift.errors import BadInput, Busy, DriveFault, Lost, NotAllHere, SealiftError
from sealift.formats import manifest, samples
from sealift.stages import return_leg
from sealift.stages.pack import fleet as fleets
from sealift.stages.pack import found, inputs, planned, room, settle
from sealift.stages.pack import signed as signed_drives
from sealift.stages.pack.catchup import reckon
from sealift.stages.pack.copies import RESTORED, Copies, catch_up, restore
from sealift.stages.pack.group import Progress, memory_needed
from sealift.stages.pack.inputs import DEFAULT_PACK
from sealift.stages.pack.journal import Journal, is_damage, no_room, unreadable
from sealift.stages.pack.notify import Notifier
from sealift.stages.pack.provenance import Provenance
from sealift.stages.pack.rows import memory_line, misread_rows, owed_rows, read_back_row, slow_rows
from sealift.stages.pack.scan import SUMMARY, changed, scan
from sealift.stages.pack.work import Work, pack_groups, read_signed
from sealift.stages.pack.workers import Workers, count
from sealift.trade import declaration as declarations
from sealift.trade import sheets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sealift.drives.base import Drive
    from sealift.reading.trust import TrustedSeal
    from sealift.stages.pack.again import Since
    from sealift.stages.pack.away import Away
    from sealift.stages.pack.fleet import Attached, Deal, Place
    from sealift.stages.pack.journal_rows import ReadBackState
    from sealift.stages.pack.only import Selection
    from sealift.stages.pack.readback import Mode
    from sealift.stages.pack.settle import Config
    from sealift.stages.pack.walk import Seen
    from sealift.stages.plan.document import Plan
    from sealift.stages.verify_report import HostRow

_LOCK_PATIENCE = 10.0
_CLAIM = 1 << 16  # bytes: drive.json and its folder are on a new drive when its room is looked at again
CHANGED = 2  # exit code of a packing that is done, though files changed or were skipped


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
    accept_missing: bool = False  # pack on though much of the source is gone, or cannot be read
    discard_group: bool = False
    replace: dict[str, str] = field(default_factory=dict)  # serial, id or mount of a drive -> mount of the new one
    read_back: Mode = "sample"
    notify: str | None = None  # a command
    only: str | None = None  # a fetch list: pack only what its packs held
    of: str | None = None  # with `only`: the state folder of the packing that the list is about
    leg: Literal["outbound", "return"] = "outbound"
    in_reply_to: str | None = None  # of a return leg: the outbound shipment's seal, believed by
    allowed_signers: str | None = None
    provenance: str | None = None  # of a return leg: a file of what made the checkpoint
    network: bool = False  # `to` is a plain directory, or s3://BUCKET/PREFIX
    open_drive: Callable[[str], Drive] = locations.open_to_write
    plan: Plan | None = None  # what all this must be as
    away: Away | None = None  # of a packing on several hosts (hosts.py): what is not on this one
    rehearsal: bool = False  # only `sealift rehearse` and sealift.testing, whose drives never leave, set it


@dataclass
class Events:
    """How a run tells what it does; called from one thread."""

    notice: Callable[[str], None] = lambda _text: None
    scanning: Callable[[int, int], None] = lambda _files, _bytes: None
    digesting: Callable[[int, int, int], None] = lambda _files, _bytes, _total: None
    packing: Callable[[Progress, int], None] = lambda _progress, _total: None
    rebuilding: Callable[[int, int, int], None] = lambda _group, _written, _total: None
    reading: Callable[[int, int, int], None] = lambda _group, _gone_through, _total: None  # drives in doubt, again


@dataclass
class Result:
    """What was packed; the JSON of `sealift pack` is made of it."""

    config: Config
    groups: list[dict[str, Any]]
    changed: list[bytes]  # while they were read, and packed as they were read
    incomplete: list[tuple[bytes, str]]  # zeros stand for what of them could not be read, and why
    skipped: list[tuple[bytes, str]]
    outdated: list[bytes]  # of --only: changed since they were packed first
    waiting: list[tuple[int, list[Place]]]  # groups whose drives are not attached
    owed: bool  # a group is not signed because drives of it are set aside
    read_back: dict[str, Any]
    files: int
    source_bytes: int
    packed_bytes: int
    parity_bytes: int
    seconds: float
    memory: dict[str, int]
    hosts: list[HostRow] = field(default_factory=list)  # of a cluster: those that had something to do
    placed: bool = False  # on the hosts of a cluster
    since: Since | None = None  # its listing the source has changed
    lacking: list[str] = field(default_factory=list)  # drives of signed groups that are not whole, attached or not
    not_read: list[int] = field(default_factory=list)  # of --read-back full: signed groups of which drives are away
    repacked: bool = False  # stripes that were committed were packed again, for no drive gave them any more

    @property
    def stalled(self) -> list[int]:
        """Groups that have begun and cannot go on: more of their drives are away or set aside than parity holds."""
        rows = {row["group"]: row for row in self.groups}
        away = {number: {place.serial for place in places} for number, places in self.waiting}
        return [
            number
            for number, serials in away.items()
            if rows[number]["stripes"]
            and len(serials | {each["serial"] for each in rows[number]["owed"]}) > self.config.parity
        ]

    @property
    def exit_code(self) -> int:
        """0 packed; 3 drives are owed, or wrong; 4 more than parity holds; 6 groups wait; 2 the source is otherwise."""
        if self.read_back["beyond"]:
            return Lost.exit_code
        if self.owed and not self.stalled:
            return DriveFault.exit_code
        if self.waiting or self.not_read or any(host.owed for host in self.hosts):
            return NotAllHere.exit_code
        if self.read_back["wrong"] or self.lacking:
            return DriveFault.exit_code
        told = self.changed or self.incomplete or self.skipped or self.outdated
        return CHANGED if told or (self.since and self.since.unsent) else 0


def run(options: Options, events: Events, workers: Workers | None = None) -> Result:
    """Pack what is attached; raises SealiftError. Groups whose drives are not here are in Result.waiting.

    `workers` may be on their way already; they are ended here.
    """
    notifier = Notifier(options.notify)
    state = os.path.abspath(options.state)
    try:
        with workers or Workers(count(len(options.to) - options.parity)) as ready:
            result = _checked(options, events, notifier, ready)
    except BaseException as error:
        code = (
            error.exit_code if isinstance(error, SealiftError) else 130 if isinstance(error, KeyboardInterrupt) else 70
        )
        told = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__
        notifier.tell("end", state=state, exit_code=code, message=told)
        raise
    else:
        many = "1 group is" if len(result.groups) == 1 else f"{len(result.groups)} groups are"
        told = f"{sum(g['state'] == 'signed' for g in result.groups)} of {many} signed"
        notifier.tell("end", state=state, exit_code=result.exit_code, message=told)
        return result
    finally:
        with suppress(KeyboardInterrupt):  # packing is over: what came of it stands
            notifier.close(events.notice)
        for trouble in notifier.troubles():
            events.notice(trouble)


def _checked(options: Options, events: Events, notifier: Notifier, workers: Workers) -> Result:
    import pyarrow as pa

    try:
        return _run(options, events, notifier, workers)
    except (sqlite3.Error, pa.ArrowException, msgspec.MsgspecError) as error:
        if (full := no_room(options.state, error)) is not None:
            raise full from error
        if isinstance(error, sqlite3.DatabaseError) and is_damage(error):
            raise unreadable(options.state, error) from error
        raise SealiftError(
            f"the state folder {options.state} cannot be used: {str(error).splitlines()[0]}",
            hint="see that its disk has room and is writable, then run the same command again; the drives are safe",
        ) from error


def _run(options: Options, events: Events, notifier: Notifier, workers: Workers) -> Result:
    begun = time.monotonic()
    if options.plan is not None:
        planned.check_options(options, options.plan)
    options, declaration, outbound = inputs.settle_leg(options)
    signer, recipients = inputs.prove(options)
    if outbound is not None:
        return_leg.check_signer(signer.public_key, outbound)
        return_leg.check_newest(options.in_reply_to or "", outbound, signer.public_key)
    source = inputs.opened(options)
    only = inputs.selection(options, events)
    with ExitStack() as stack:
        lock = lock_state(options.state, stack)
        journal = Journal(options.state)
        stack.callback(journal.close)
        copies = Copies(signer, recipients, options.away.identity if options.away else None)
        if options.discard_group and journal.setting(RESTORED):
            journal.clear()  # it is of the group that is given up, and of nothing else
            shutil.rmtree(os.path.join(options.state, "groups"), ignore_errors=True)
        scanned = None

        def bring_back(drives: list[Attached]) -> Config | None:
            nonlocal scanned
            if not journal.setting("config") and not options.discard_group:
                scanned = restore(copies, drives, options.state, journal, events.notice)
            return settle.load(journal)

        before = settle.load(journal)
        if before is None and options.replace:  # those that were packed with it tell which that is
            before = bring_back(settle.attach(inputs.without_new(options), journal, None, [], events.notice)[0])
        notifier.shipment = None if before is None else before.shipment
        new = settle.replacements(options, journal, before)
        attached, old = settle.attach(options, journal, before, new, events.notice)
        before = bring_back(attached) if before is None else before
        deal, config = _deal(options, declaration, attached, journal, before, new)
        deal.old = old
        binding, reply = None if only is None else only.binding, None if outbound is None else outbound.reference
        config = settle.settle(options, declaration, deal, source.name, journal, config, binding, reply)
        notifier.shipment = config.shipment
        work = Work(options, config, deal, journal, source, recipients, signer, copies, events, notifier)
        record = _provenance(work, declaration, outbound)
        here, signed = _here(work, new)
        read = [journal.read_back(number) for number in range(len(deal.groups))]
        memory = memory_needed(len(deal.groups[0]), work.builders, work.data, options.read_back, source=source)
        if uploads := sum(map(locations.upload_memory, options.to)):
            memory["uploads"] = uploads
        events.notice(memory_line(memory))
        known = scanned if before is None else (journal.setting("scan") or b"").decode() or scanned
        _scan(work, declaration, known, only, workers, record)
        for group in signed:
            found.adopt(work, group)
            events.notice(f"group {group} is signed on its drives already")
        for each in work.given_up:  # nothing refuses this packing any more
            fleets.discard(each)
            events.notice(f"{each.mount}: removed an unfinished group")
        before_this = [group for group in range(len(deal.groups)) if journal.group(group).state == "signed"]
        for group in here:
            _check_room(work, group, {each.slot for each in settle.without_place(config, new) if each.group == group})
        _give_places(work, new)
        if here:
            locks = [lock, *_lock_drives(work, here, stack)]
            workers.resize(work.builders)
            pack_groups(here, work, workers, [fd for fd in locks if fd >= 0])
            if many := work.summary.privileged:
                events.notice(
                    f"{many:,} {'file has' if many == 1 else 'files have'} setuid or setgid bits, and these are not "
                    "carried, as owners, ACLs and other extended attributes are not: set them again after unpack"
                )
            if many := work.summary.beyond:
                times, are = ("1 time", "is") if many == 1 else (f"{many:,} times", "are")
                events.notice(f"{times} before 1677 or after 2262 {are} carried as the first or last between these")
        return _result(work, time.monotonic() - begun, memory, read, _look_again(work, before_this))


def _look_again(work: Work, signed: Sequence[int]) -> list[str]:
    """The drives of these groups, which were signed before this, that lack something; Lost: more than can."""
    for group in signed:
        signed_drives.look(work, group)
    lacking = [drive for group in signed for drive in signed_drives.tell(work, group)]
    for group in signed:
        lacking += [drive for drive in read_signed(work, group) if drive not in lacking]
    for group in signed:
        signed_drives.require(work, group)
    return lacking


def _provenance(work: Work, declaration: declarations.Declaration, outbound: TrustedSeal | None) -> Provenance | None:
    """Of a return leg: its record, as a member that lies beside the source."""
    if outbound is None:
        return None
    options, events = work.options, work.events
    return_leg.keep(options.state, outbound)
    record = Provenance(
        options.state,
        work.config,
        outbound,
        declaration.rehearsal,
        options.provenance,
        events.notice,
        events.digesting,
    )
    work.source.beside = record.beside
    return record


def _deal(
    options: Options,
    declaration: declarations.Declaration,
    attached: list[Attached],
    journal: Journal,
    before: Config | None,
    new: list[settle.Replacement],
) -> tuple[Deal, Config | None]:
    """Which drive is in which slot: as the declaration says, or as a packing that has begun says; and as planned."""
    now, owed = settle.successors(journal, new, attached), set(settle.owed_of(journal, before))
    if options.plan is not None:
        planned.check_drives(options, options.plan, declaration, attached, now, owed)
    if before is None:
        deal = fleets.deal(attached, declaration, parity=options.parity, group_size=options.group_size)
        config = None
    else:
        config = settle.substitute(before, journal, new, attached, declaration)
        deal = fleets.deal_again(attached, declaration, config.groups, owed, replaced=bool(new))
    if options.plan is not None:
        planned.check_dealt(options.plan, deal, now, begun=before is not None)
    risk = fleets.carrier_risk(deal.groups, options.parity)
    if risk and not options.accept_carrier_risk:
        raise BadInput(
            risk,
            hint="spread the drives over more carriers, raise --parity, or accept it with --accept-carrier-risk",
        )
    return deal, config


def _here(work: Work, new: list[settle.Replacement]) -> tuple[list[int], list[int]]:
    """The groups that are packed now; what lies on their drives is checked.

    And those that are signed on their drives, and are to be taken over.
    """
    options, deal, journal = work.options, work.deal, work.journal
    signed = []
    for group in range(len(deal.groups)):
        if journal.group(group).state == "signed":
            found.check_signed(work, group)
        elif not deal.missing(group) and found.signed_there(work, group):
            signed.append(group)
    unsigned = [g for g in range(len(deal.groups)) if journal.group(g).state != "signed" and g not in signed]
    here = [group for group in unsigned if found.may_go_on(work, group)]
    fresh = {group: {each.slot: each.old.serial for each in new if each.group == group} for group in here}
    for group in here:
        known = catch_up(work.copies, deal.drives(group), options.state, journal, group) if options.away else 0
        if known:
            work.events.notice(f"group {group} was packed on another host meanwhile; it goes on after stripe {known}")
        found.check_unsigned(work, group, fresh[group].keys())
    for group in here:
        found.set_aside_absent(work, group)
        found.check_contents(work, group, fresh[group])
    return here, signed


def _give_places(work: Work, new: list[settle.Replacement]) -> None:
    """New drives get their places, durably. BadInput, and all is as it was, for one on which it would not fit."""
    journal, config, deal = work.journal, work.config, work.deal
    for each in settle.without_place(config, new):
        place, group, slot = config.groups[each.group][each.slot], each.group, each.slot
        if place.serial not in deal.attached or journal.group(group).state == "signed":
            continue
        drive, n = deal.attached[place.serial].drive, len(deal.groups[group])
        need = reckon(journal, work.room(group), group, slot, n, work.data, drive, since=0)
        need = need._replace(needed=need.needed + _CLAIM)
        if need.free < need.needed:
            raise BadInput(
                f"{each.said}: drive {place.serial} is too small: {need.text}. nothing was written, and "
                f"{manifest.drive_id(group, slot)} is still drive {each.old.serial}",
                hint=f"give a larger drive, declared in place of {place.serial}, to the same command; or free room on "
                "this one, if it holds anything else",
            )
    for each in settle.in_place(config, new):
        its = deal.attached.get(each.old.serial)
        here = its is not None and fleets.holds_sealift(its.drive)  # else it is filled anew, as was asked for
        if here and journal.group(each.group).state != "signed" and each.slot not in journal.owed(each.group):
            has = f"drive {each.old.serial} has that place, and is not set aside"
            work.events.notice(f"{each.said}: {has}: nothing is replaced, and what it lacks it gets")
        elif journal.group(each.group).state == "signed":
            has = f"drive {each.old.serial} has that place, and group {each.group} is signed"
            work.events.notice(f"{each.said}: {has}: nothing is replaced")
    settle.write_replacements(journal, config, new)
    deal.owed = set(settle.owed_of(journal, config))


def _scan(
    work: Work,
    declaration: declarations.Declaration,
    known: str | None,
    only: Selection | None,
    workers: Workers,
    record: Provenance | None,
) -> None:
    """The scan; Refused where it is not the one that is `known` of a packing that has begun."""
    options = work.options
    samples.key_function(options.sample_key)

    def seen() -> Iterable[Seen]:
        return workers.walk(work.source.name, options.sample_key, options.seed if options.order == "shuffled" else None)

    listed = os.path.exists(os.path.join(work.scan_folder, SUMMARY))
    summary = scan(
        seen() if record is None else record.added(seen),
        work.scan_folder,
        weights=room.weights(work.deal, declaration),
        progress=work.events.scanning,
        only=only,
    )
    if options.away is not None and not listed:
        from sealift.stages.pack.listing import agreed

        summary, work.since = agreed(work, summary, known)
    elif known not in {None, summary.digest}:
        shutil.rmtree(work.scan_folder, ignore_errors=True)  # the source may be put back: it is looked at again
        raise changed()
    elif options.away is not None:
        options.away.agree(summary.digest)
        options.away.listing.give(work.scan_folder)
    work.journal.set(RESTORED, b"")
    work.journal.set("scan", summary.digest.encode())
    work.summary = summary
    if listed:
        from sealift.stages.pack import again

        work.since = again.look_again(work, seen())
        if work.since is not None:
            again.require(work, work.since)
    if otherwise := sheets.declared_otherwise(declaration, sum(share.bytes for share in summary.shares)):
        work.events.notice(f"{otherwise} were found in the source: correct the one or the other before it is released")


def _check_room(work: Work, group: int, new: set[int]) -> None:
    """Room on the drives that are written from the start; those set aside, or in `new` slots, are looked at apart."""
    owed = {*work.journal.owed(group), *new}
    here = {slot: each for slot, each in enumerate(work.deal.slots(group)) if each is not None}
    drives = [each for slot, each in here.items() if slot not in owed] or list(here.values())
    if not drives:
        return  # which of them is not there is told when they are to be written
    try:
        work.room(group).check(
            drives,
            work.source,
            work.events.notice,
            packed=work.journal.totals(group, work.data),
            aside=len(owed),
            several=len(work.deal.groups) > 1,
        )
    except DriveFault:
        if work.journal.group(group).state == "waiting":
            raise


def _lock_drives(work: Work, here: Sequence[int], stack: ExitStack) -> list[int]:
    locks = []
    for group in here:
        for slot, each in enumerate(work.deal.slots(group)):
            if each is not None:
                stack.callback(each.drive.unlock)
                try:
                    locks.append(_lock_drive(each.drive))
                except DriveFault as error:
                    if work.journal.group(group).state == "waiting":
                        raise
                    work.leave(group, slot, error, readable=True)
    return locks


def lock_state(state: str, stack: ExitStack) -> int:
    """Hold a state folder, which is made, until the stack ends; the descriptor of its lock. Busy."""
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


def _lock_drive(drive: Drive) -> int:
    deadline = time.monotonic() + _LOCK_PATIENCE
    while True:
        try:
            return drive.lock()
        except Busy:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _result(
    work: Work, seconds: float, memory: dict[str, int], before: list[ReadBackState], lacking: list[str]
) -> Result:
    config, deal, journal = work.config, work.deal, work.journal
    groups, sums, unsigned = [], [0, 0, 0, 0], False
    for number, places in enumerate(deal.groups):
        state = journal.group(number)
        if state.state == "signed":  # the journal of an adopted group is empty; its manifest is not
            record = found.manifest_here(work, number)[0]
            totals, stripes = record.totals, record.geometry.stripes
            each = (totals.packed_bytes, totals.parity_bytes, totals.files, totals.source_bytes)
        else:
            packed, parity_bytes, _, files, source_bytes = journal.totals(number, work.data)
            each, stripes = (packed, parity_bytes, files, source_bytes), state.stripes
        sums = [a + b for a, b in zip(sums, each, strict=True)]
        owed = owed_rows(journal, number)
        unsigned |= bool(owed)
        groups.append(
            {
                "group": number,
                "drives": [manifest.drive_id(number, slot) for slot in range(len(places))],
                "data": work.data,
                "parity": config.parity,
                "stripes": stripes,
                "state": state.state,
                "taken_over": state.state == "signed" and not state.stripes,
                "owed": owed,
                "slow": slow_rows(journal, number),
                "misread": misread_rows(journal, number, {place.serial for place in places}),
            }
        )
    told = journal.told()
    waiting = [(g, deal.missing(g)) for g in range(len(deal.groups)) if journal.group(g).state != "signed"]
    return Result(
        config,
        groups,
        told.changed,
        told.incomplete,
        sorted({*work.summary.skipped, *told.skipped}),
        work.summary.outdated,
        [(group, missing) for group, missing in waiting if missing],
        unsigned,
        read_back_row(work, before),
        sums[2],
        sums[3],
        sums[0],
        sums[1],
        seconds,
        memory,
        since=work.since,
        lacking=lacking,
        not_read=work.not_read,
        repacked=any(journal.reached(number) for number in range(len(deal.groups))),
    )
