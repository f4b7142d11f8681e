"""Packing group after group: bring drives back, claim them, pack, read back, repair, close and sign.

A group of which drives are owed in the end is packed and not signed; the next groups go on. What is not here: what is
refused beforehand (run.py), one group's stripes (group.py).
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from sealift.drives.base import reason
from sealift.errors import DriveFault, FormatError
from sealift.formats import canonical, manifest
from sealift.formats.manifest import DeclarationRef, drive_label
from sealift.stages.pack import settle, small
from sealift.stages.pack.catchup import CatchUp
from sealift.stages.pack.close import close_group
from sealift.stages.pack.copies import SETTINGS, Copies, Settings
from sealift.stages.pack.crew import FAULTS, Crew, full_disk, no_room, notice, once_more, replace_option
from sealift.stages.pack.deal import group_file
from sealift.stages.pack.durable import make_folders
from sealift.stages.pack.group import DEPTH, SLAB, GroupPacker
from sealift.stages.pack.journal_rows import Kind, Owed
from sealift.stages.pack.openme import GroupFacts
from sealift.stages.pack.presence import Presence
from sealift.stages.pack.queue import UnitQueue
from sealift.stages.pack.readback import ReadBack, SignedReadBack
from sealift.stages.pack.room import Room, headroom
from sealift.stages.pack.source import is_store
from sealift.stages.pack.spool import Spool
from sealift.stages.pack.units import Setup, capacity_of
from sealift.stages.pack.unread import Unread
from sealift.stages.pack.workers import Fleet, Workers, count, threads_beside
from sealift.trade import declaration as declarations
from sealift.trade.signing import Signer, read_limited

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sealift.drives.base import Drive
    from sealift.formats import age
    from sealift.stages.pack.again import Since
    from sealift.stages.pack.fleet import Attached, Deal
    from sealift.stages.pack.journal import Journal
    from sealift.stages.pack.notify import Notifier
    from sealift.stages.pack.run import Events, Options
    from sealift.stages.pack.scan import Summary
    from sealift.stages.pack.settle import Config
    from sealift.stages.pack.source import Source
    from sealift.stages.rebuild import Progress as Rebuilding

_ROUNDS = 3  # that a group is cut back and packed again before its drives are taken for hopeless


@dataclass
class Work:
    """What packing groups needs to know."""

    options: Options
    config: Config
    deal: Deal
    journal: Journal
    source: Source
    recipients: list[age.Recipient]
    signer: Signer
    copies: Copies
    events: Events
    notifier: Notifier
    summary: Summary = field(init=False)
    since: Since | None = None
    stripes_read: int = 0  # back, by this run
    given_up: list[Attached] = field(default_factory=list)  # drives from which --discard-group removes a group
    rooms: dict[int, Room] = field(default_factory=dict)
    unread: Unread = field(default_factory=Unread)
    not_read: list[int] = field(default_factory=list)  # signed groups that are here in part, and were to be read whole
    amiss: dict[int, set[int]] = field(default_factory=dict)  # by signed group: slots whose small files are not right

    @property
    def data(self) -> int:
        """Drives for data, k."""
        return len(self.deal.groups[0]) - self.options.parity

    @property
    def builders(self) -> int:
        """Processes that build."""
        return count(self.data)

    @property
    def scan_folder(self) -> str:
        """Where the scan is."""
        return os.path.join(self.options.state, "scan")

    def room(self, group: int) -> Room:
        """What its drives need free."""
        if group not in self.rooms:
            self.rooms[group] = Room(
                group,
                self.summary.shares[group],
                data=self.data,
                parity=self.options.parity,
                pack_size=self.options.pack_size,
                folder=self.scan_folder,
            )
        return self.rooms[group]

    def leave(self, group: int, slot: int, error: BaseException | str, *, readable: bool = False) -> None:
        """Set aside, before its group is packed on, a drive that fails while it is looked at, or is not there.

        One that only cannot be written stays `readable`: others are rebuilt from it.
        """
        place, known = self.deal.groups[group][slot], self.journal.owed(group).get(slot)
        each = self.deal.attached.get(place.serial)
        mount = settle.last_mount(self.journal, place.serial) if each is None else each.mount
        if each is not None and readable:
            self.deal.unwritable.add(place.serial)
        else:
            self.deal.attached.pop(place.serial, None)
        if known is not None and isinstance(error, BaseException):
            owed = once_more(known, error, mount)
        else:
            kind: Kind = "full" if isinstance(error, BaseException) and full_disk(error) else "failed"
            since = self.journal.group(group).stripes
            owed = Owed(slot, place.serial, mount, since, kind, reason(error, mount))
        self.journal.owe(group, owed)
        self.deal.owed.add(place.serial)
        places, deal = self.deal.groups[group], self.deal
        serials = {places[slot].serial for slot in self.journal.owed(group)}  # those that can be written are caught up
        aside = sum(serial not in deal.attached or serial in deal.unwritable for serial in serials)
        text = notice(group, len(places), self.config.parity, aside, owed)
        if readable:
            text += ". until then it is only read"
        self.tell("fault", text, group, slot, mount)

    def tell(
        self,
        event: str | None,
        text: str,
        group: int,
        slot: int | None = None,
        mount: str | None = None,
        **more: object,
    ) -> None:
        """Tell whoever looks on, and, of an event, the command of --notify, with `more` of it."""
        self.events.notice(text)
        if event is not None:
            place = None if slot is None else self.deal.groups[group][slot]
            self.notifier.tell(
                event,
                state=os.path.abspath(self.options.state),
                group=group,
                drive=None if slot is None else manifest.drive_id(group, slot),
                serial=None if place is None else place.serial,
                mount=None if mount is None else os.path.abspath(mount),
                message=text,
                **more,
            )
        for trouble in self.notifier.troubles():
            self.events.notice(trouble)


def pack_groups(here: Sequence[int], work: Work, workers: Workers, locks: list[int]) -> None:
    """Pack these groups one after the other. DriveFault when more drives of one fail than parity holds."""
    options = work.options
    spool = Spool.begun(options.state) if is_store(options.source) else None
    setup = Setup(
        work.source.name, options.recipients, options.pack_size, work.data, SLAB, DEPTH, options.sample_key,
        threads_beside(work.builders), work.source.beside, spool,
    )  # fmt: skip
    builders = Fleet(workers, setup, options.parity, locks)
    try:
        for group in here:
            _Group(work, builders, group).pack()
    finally:
        builders.close()
        if spool is not None:
            spool.remove()


def read_signed(work: Work, group: int) -> list[str]:
    """Read back, of a group that is signed, what no run has read as --read-back wants it, and drives in doubt again.

    The small files, too, in each mode, where all drives are here; drives of which some are not as they were signed,
    attached or not, told, and what the state folder itself has not. Lost where neither has what all should have.
    """
    journal, deal, mode = work.journal, work.deal, work.options.read_back
    small.look_kept(work, group, whole=mode == "full")
    stripes, known = journal.group(group).stripes, journal.read_back(group)
    read = known.whole if mode == "full" else known.stripes
    if mode == "full" and not stripes:
        work.events.notice(f"group {group} was taken over from its drives and is not read back: `sealift verify` does")
    serials = {place.serial for place in deal.groups[group]}
    doubted = bool(stripes) and any(each.serial in serials for each in journal.doubted(group))
    unread = doubted or (mode != "none" and (read < stripes or bool(journal.wrong(group))))
    spoilt = journal.spoilt(group) | work.amiss.get(group, set())
    if deal.away(group):
        if not (unread or mode == "full" or spoilt):
            return []
        away = ", ".join(place.serial for place in deal.away(group))
        work.events.notice(f"group {group} is signed and not read back, for drives of it are not here: {away}")
        if mode == "full" and (doubted or read < stripes) and deal.drives(group):
            work.not_read.append(group)
        journal.note_spoilt(group, spoilt)
        if amiss := [manifest.drive_id(group, slot) for slot in sorted(spoilt)]:
            work.events.notice(
                f"small files of {', '.join(amiss)} are not as they were signed: with all drives of the group the same "
                "command mends that, or says what does"
            )
        return amiss
    if unread:
        _read_packs(work, group)
    return small.look(work, group)


def _read_packs(work: Work, group: int) -> None:
    journal, deal, mode = work.journal, work.deal, work.options.read_back
    folder = make_folders(work.options.state, "groups", f"{group:04d}")
    drives = [each.drive for each in deal.drives(group)]
    crew = Crew(group, deal.groups[group], drives, work.options.parity, journal)
    read_back = SignedReadBack(mode, crew, journal, folder, work.data)

    def reading(done: int, total: int) -> None:
        work.events.reading(group, done, total)
        _tell(work, crew)

    with crew.coordinated(lambda: _tell(work, crew)):
        try:
            read_back.run(reading)
        finally:
            read_back.close()
            work.stripes_read += read_back.stripes
            _tell(work, crew)


def _tell(work: Work, crew: Crew) -> None:
    for news in crew.news():
        mount = None if news.slot is None else crew.mounts.get(news.slot)
        work.tell("fault" if news.fault else None, news.text, crew.number, news.slot, mount)


class _Group:
    """One group on its way to being signed."""

    def __init__(self, work: Work, builders: Fleet, number: int) -> None:
        self._work, self._builders, self._number = work, builders, number
        self._journal, self._share = work.journal, work.summary.shares[number]
        self._folder = make_folders(work.options.state, "groups", f"{number:04d}")
        deal, slots = work.deal, work.deal.slots(number)
        drives = [None if each is None else each.drive for each in slots]
        unwritable = {slot for slot, each in enumerate(slots) if each is not None and each.serial in deal.unwritable}
        old = {slot: drives for (group, slot), drives in deal.old.items() if group == number}
        self._crew = Crew(
            number, deal.groups[number], drives, work.options.parity, work.journal, unwritable=unwritable, old=old
        )
        self._facts = _facts(work, number)

    def pack(self) -> None:
        """Everything; returns with the group signed, or with drives of it owed."""
        with self._crew.coordinated(self._tell):
            self._pack()
        self._conclude()

    def _pack(self) -> None:
        work, crew = self._work, self._crew
        self._journal.set_state(self._number, "packing")
        read_back = ReadBack(work.options.read_back, crew, self._journal, self._folder, work.data)
        catch_up = CatchUp(
            crew,
            self._journal,
            self._folder,
            work.data,
            read_back=read_back,
            copies=work.copies,
            notice=lambda text: work.tell(None, text, self._number),
            claim=self._claim,
            progress=self._rebuilding,
            room=work.room(self._number),
            emptied=work.deal.emptied,
        )
        try:
            self._look()
            catch_up.run()
            crew.require()
            self._claim_all()
            self._tell()
            read_back.catch_up(self._journal.group(self._number).stripes)
            for _ in range(_ROUNDS):
                self._fill(read_back, catch_up)
                if crew.owed or self._close(read_back):
                    break
            else:
                raise self._wrong_again(read_back.suspects(), "")
        finally:
            read_back.close()
            work.stripes_read += read_back.stripes
            self._tell()

    def _close(self, read_back: ReadBack) -> bool:
        """Sign, where all drives have what they should; False where one is in doubt, which is to be read again first.

        True, too, where some are set aside by now: then it is not signed, and there is nothing more to do.
        """
        self._claim_those_that_work()
        work = self._work
        signed = not self._crew.owed and close_group(
            self._facts,
            self._journal,
            self._folder,
            self._crew,
            work.recipients,
            work.signer,
            read_back=work.options.read_back != "none",
            in_doubt=lambda: bool(read_back.suspects()),
        )
        if signed:
            self._journal.set_state(self._number, "signed")
        return bool(signed) or bool(self._crew.owed)

    def _rebuilding(self, progress: Rebuilding, total: int) -> None:
        self._work.events.rebuilding(self._number, progress.written, total)
        self._tell()  # of what is met on the way; it may take hours

    def _reading(self, done: int, total: int) -> None:
        self._work.events.reading(self._number, done, total)
        self._tell()

    def _look(self) -> None:
        """Whether what is committed is on the drives, before packing goes on: what is not there is owed from here."""
        crew, presence = self._crew, Presence(self._crew, self._journal, self._work.data)
        crew.everywhere(self._journal.group(self._number).stripes, presence.look)
        for slot, owed in crew.owed.items():
            drive = crew.drives[slot]
            if drive is not None and owed.kind == "lacks":
                with contextlib.suppress(*FAULTS):  # it is looked at once more when it is caught up
                    presence.look(slot, drive)
        self._tell()
        presence.require()

    def _claim_those_that_work(self) -> None:
        self._crew.everywhere(self._journal.group(self._number).stripes, self._claim_again)

    def _claim_again(self, slot: int, drive: Drive) -> None:
        """drive.json, where it went or was spoilt meanwhile: whatever else did, the drive is known by it."""
        read = self._work.options.read_back != "none"
        files = small.SmallFiles(self._crew, self._journal, self._folder, read=read)
        files.keep(slot, drive, manifest.CARD, self._card(slot))

    def _card(self, slot: int) -> bytes:
        """drive.json of the drive in `slot`."""
        facts = self._facts
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
        return canonical.encode(card)

    def _claim(self, slot: int, drive: Drive) -> None:
        """drive.json, before the first pack: so that nobody else's packing takes the drive for empty."""
        data, there = self._card(slot), None
        with contextlib.suppress(FormatError):  # longer than any
            there = drive.read_small(manifest.CARD, manifest.MAX_CARD)
        if there != data:
            drive.write_small(manifest.CARD, data)

    def _claim_all(self) -> None:
        crew, stripes = self._crew, self._journal.group(self._number).stripes
        for slot, drive in list(crew.working()):
            try:
                self._claim(slot, drive)
            except FAULTS as error:
                crew.fail(slot, stripes, error, None if stripes else "new")
        settings = Settings(msgspec.json.encode(self._work.config), self._work.summary.digest)
        self._work.copies.write(crew, stripes, SETTINGS, settings)

    def _fill(self, read_back: ReadBack, catch_up: CatchUp) -> None:
        """Pack until every file is on the drives, read back and repaired, as far as the drives that work allow.

        A stripe that is gone is packed again as soon as that is known, with what came after it. It ends: either this
        gets on to a later stripe, or it is given up after _ROUNDS.
        """
        crew, furthest, rounds = self._crew, -1, 0
        while rounds < _ROUNDS:
            packed = self._pack_files(read_back)
            self._builders.release()
            whole = packed and read_back.repair()
            if packed:
                self._claim_those_that_work()
                while read_back.doubt(self._reading):
                    whole = read_back.repair()
                if whole or (crew.owed and read_back.gone() is None):
                    return
            wrong, gone = self._journal.wrong(self._number), read_back.gone()
            stripe = gone if gone is not None and crew.owed else min(each.stripe for each in wrong)
            catch_up.cut_back(stripe)
            rounds = rounds + 1 if stripe <= furthest else 1
            furthest = max(furthest, stripe)
        raise self._wrong_again({each.slot for each in wrong}, ", on more drives than parity holds")

    def _wrong_again(self, slots: Collection[int], where: str) -> DriveFault:
        names = ", ".join(map(self._crew.name, sorted(slots)))
        return DriveFault(
            f"group {self._number}: what is written reads back wrong, time and again{where}: {names}",
            drive=self._crew.mounts.get(min(slots), ""),
            hint="look at `dmesg`, cables and memory; then the same command goes on, or --replace a drive",
        )

    def _pack_files(self, read_back: ReadBack) -> bool:
        """The files of a group, then its directories; from where the journal stands. False as GroupPacker.run."""
        work, journal, share, crew = self._work, self._journal, self._share, self._crew
        options, number, reader = work.options, self._number, work.source.reader()
        packer = GroupPacker(
            self._builders,
            journal,
            self._folder,
            crew,
            reader=work.source.reader(),
            copies=work.copies,
            read_back=read_back,
            unread=None if options.accept_missing else work.unread,
            progress=lambda progress: work.events.packing(progress, share.bytes),
            room=lambda *so_far: headroom(crew, work.room(number), *so_far),
            between=self._tell,
        )
        path = group_file(work.scan_folder, number)
        common: dict[str, Any] = {
            "capacity": capacity_of(options.pack_size, len(work.recipients)),
            "pack_size": options.pack_size,
            "data": self._builders.data,
        }
        try:
            state = journal.group(number)
            if state.files_end is None:
                left = share.bytes - state.source_bytes
                queue = UnitQueue(path, reader, rows=share.members, remaining=left, cursor=state.cursor, **common)
                if not packer.run(queue):
                    return False
                journal.set_files_end(number, journal.group(number).stripes)
            cursor = journal.group(number).cursor
            rows = share.members + share.directories
            packed = packer.run(UnitQueue(path, reader, rows=rows, remaining=0, cursor=cursor, **common))
            read_back.wait()
            return packed
        except BaseException:
            crew.leave()
            raise
        finally:
            packer.close()

    def _tell(self) -> None:
        _tell(self._work, self._crew)

    def _conclude(self) -> None:
        work, number = self._work, self._number
        if owed := self._crew.owed:
            options = " ".join(map(replace_option, owed.values()))
            kinds = {"full" if no_room(each.kind, each.reason) else each.kind for each in owed.values()}
            works = "once it works" if len(owed) == 1 else "once they work"
            again = f" again {works}, or" if kinds != {"lacks"} else " again, or"
            if "lied" in kinds:
                again = ""
            elif kinds == {"full"}:
                again = f" again once there is room on {'it' if len(owed) == 1 else 'them'}, or"
            aside = f"{len(owed)} of its drives {'is' if len(owed) == 1 else 'are'} set aside"
            more = len(owed) > work.options.parity  # than the others can rebuild
            beside = " and the mounts of the old ones given as before, for their packs are read there" if more else ""
            work.tell(
                "group",
                f"group {number} is packed and not signed: {aside}. the same command{again} with {options}, MNT being "
                f"a new drive's mount{beside}, rebuilds and signs",
                number,
                signed=False,
            )
            return
        count = ""
        if work.options.away is None:  # of several hosts each knows of its own groups alone
            done = sum(self._journal.group(each).state == "signed" for each in range(len(work.deal.groups)))
            count = f", {done} of {len(work.deal.groups)}"
        work.tell("group", f"group {number} is packed and signed{count}", number, signed=True)


def _facts(work: Work, group: int) -> GroupFacts:
    config, deal = work.config, work.deal
    data = read_limited(work.options.declaration, 4 << 20, "declaration")
    declaration = declarations.parse(data, draft=True)
    reference = DeclarationRef(
        id=declaration.consignment_id, bytes=len(data), blake3=declaration.digest, rehearsal=declaration.rehearsal
    )
    total = deal.drives_total
    rows = [
        (place.number, place.serial, drive_label(config.shipment, place.number, total), place.carrier)
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
        work.data,
        config.parity,
        rows,
        config.sample_key,
        config.in_reply_to,
    )
