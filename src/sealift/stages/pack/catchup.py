"""Bringing drives back: what a drive lacks is rebuilt on it from the others before packing goes on.

It is the same for a drive that failed and works again (it lacks the stripes from the one in which it failed on) and
for a new one in its place (it lacks all). Every block is checked against the journal's hashes before it is written;
`since` in the journal moves on as packs become durable, so that this may be interrupted anywhere. Where more drives
lack a stripe than parity holds, nothing can rebuild it, but the source is still here: once no drive that holds it
can be expected back, the journal is cut back to before that stripe, and it is packed again.
"""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING, NamedTuple

from sealift.errors import DriveFault, SealiftError
from sealift.formats import manifest
from sealift.formats.sizes import counted
from sealift.stages.pack import fleet as fleets
from sealift.stages.pack import settle
from sealift.stages.pack.crew import FAULTS, no_room, replace_option
from sealift.stages.pack.readback import stripe_works
from sealift.stages.rebuild import rebuild

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sealift.drives.base import Drive
    from sealift.stages.pack.copies import Copies
    from sealift.stages.pack.crew import Crew
    from sealift.stages.pack.fleet import Attached
    from sealift.stages.pack.journal import Journal
    from sealift.stages.pack.journal_rows import Owed
    from sealift.stages.pack.readback import ReadBack
    from sealift.stages.pack.room import Room
    from sealift.stages.rebuild import Progress

_ASKED = "asked-for-old-"  # a setting, by group: for which stripe replaced drives were asked for


class CatchUp:
    """Everything that is needed to bring the drives of one group back; `run` does it."""

    def __init__(
        self,
        crew: Crew,
        journal: Journal,
        folder: str,
        data: int,
        *,
        read_back: ReadBack,
        copies: Copies,
        notice: Callable[[str], None],
        claim: Callable[[int, Drive], None],
        progress: Callable[[Progress, int], None],
        room: Room,
        emptied: Mapping[str, Attached],
    ) -> None:
        """`emptied`: by serial, drives that count as away and are here, with nothing on them."""
        self._crew, self._journal, self._folder, self._data = crew, journal, folder, data
        self._read_back, self._copies, self._notice, self._claim = read_back, copies, notice, claim
        self._progress, self._room, self._emptied = progress, room, emptied
        self._failed: set[int] = set()  # slots that failed again
        self._told: set[str] = set()

    def run(self) -> None:
        """Rebuild what can be; drives that fail again stay set aside. DriveFault when too many are away."""
        wanted: dict[int, list[int]] = {}
        self._read_back.distrust()  # whom a run that was cut off had met
        self._missing()
        for slot, owed in self._crew.owed.items():
            drive = self._crew.drives[slot]
            if drive is None or owed.kind == "lied" or slot in self._crew.unwritable:
                continue
            try:
                self._claim(slot, drive)
                if owed.kind != "lacks":
                    self._copies.prune(drive, owed.since, self._journal.group(self._crew.number).stripes)
                wanted[slot] = self._wanted(slot, owed, drive)
            except FAULTS as error:
                self._give_up(slot, error)
        stripes = {slot: list(each) for slot, each in wanted.items()}
        while wanted:
            try:
                lost = self._rebuild(wanted)
            except DriveFault as error:
                slot = self._crew.slot_of(error.drive)
                self._give_up(slot, error)
                del wanted[slot]
                for other, each in wanted.items():
                    each[:] = [stripe for stripe in each if stripe >= self._crew.owed[other].since]
                continue
            if lost is not None:
                self._read_back.distrust()
                self.cut_back(lost)
            count = self._journal.group(self._crew.number).stripes
            for slot in wanted:
                self._crew.back(slot)
                stripes[slot] = [stripe for stripe in stripes[slot] if stripe < count]
                many = len(stripes[slot])
                rebuilt = (
                    f"{counted(many, 'pack')} {'was' if many == 1 else 'were'} rebuilt on it"
                    if many
                    else "it lacks nothing any more"
                )
                self._notice(f"drive {self._crew.name(slot)} is whole again: {rebuilt}")
            self._read_back.distrust()
            for slot in wanted:
                self._read_back.check(slot, stripes[slot])
            return

    def _give_up(self, slot: int, error: BaseException) -> None:
        self._crew.fail_again(slot, error)
        self._failed.add(slot)
        self._missing()

    def _missing(self) -> None:
        """DriveFault when more drives are away, or not to be taken back, than parity holds."""
        away = [each for slot, each in self._crew.owed.items() if self._is_away(slot, each)]
        if len(away) > self._crew.parity:
            raise DriveFault(
                f"group {self._crew.number}: {len(away)} drives are missing or take nothing, and parity holds "
                f"{self._crew.parity}: {self._names(away)}. {self._crew.standing()}",
                drive=away[0].mount,
                hint=self._hint(away),
            )

    def _names(self, away: list[Owed]) -> str:
        emptied = [each for each in away if each.serial in self._emptied]
        absent = [each for each in away if self._crew.drives[each.slot] is None and each not in emptied]
        gone = [*emptied, *absent]
        lied = [each for each in away if each not in gone and each.kind == "lied"]
        here = [each for each in away if each not in gone and each not in lied]
        parts = []
        for what, those in (
            ("here, and empty", emptied),
            ("not here", absent),
            ("here, and not to be written", here),
            ("here, and not counted on", lied),
        ):
            if those:
                parts.append(f"{what}: " + "; ".join(map(self._crew.describe, those)))
        return ". ".join(parts)

    def _hint(self, away: list[Owed]) -> str:
        """What to do; those that are empty only want to be filled."""
        emptied = [self._emptied[each.serial] for each in away if each.serial in self._emptied]
        fill = f"mount what belongs where nothing is; or, {fleets.fill_anew(emptied)}" if emptied else ""
        away = [each for each in away if each.serial not in self._emptied]
        if not away:
            return fill
        absent = any(self._crew.drives[each.slot] is None for each in away)
        here = [each for each in away if self._crew.drives[each.slot] is not None and each.kind != "lied"]
        full = any(no_room(each.kind, each.reason) for each in here)
        other = any(not no_room(each.kind, each.reason) for each in here)
        steps = ["attach what is not here"] * absent + ["free room on what is full"] * full
        first = " and ".join(steps + ["put right what is here (is it writable?)"] * other)
        return "".join(f"{step}; " for step in (fill, first) if step) + (
            "for each one that does not come back, add a new drive in its place to the same command, and leave the old "
            "one attached and listed if it can be read: " + ", ".join(map(replace_option, away))
        )

    def _is_away(self, slot: int, owed: Owed) -> bool:
        crew = self._crew
        return crew.drives[slot] is None or owed.kind == "lied" or slot in self._failed or slot in crew.unwritable

    def _wanted(self, slot: int, owed: Owed, drive: Drive) -> list[int]:
        """The stripes whose pack this drive shall get: those it has not, and, if it failed, all from `since` on."""
        since = None if owed.kind == "lacks" else owed.since
        need = reckon(self._journal, self._room, self._crew.number, slot, self._crew.n, self._data, drive, since)
        if need.lacks and need.free < need.needed:
            raise DriveFault(f"{drive.mount}: is full: {need.text}", drive=drive.mount) from OSError(
                errno.ENOSPC, os.strerror(errno.ENOSPC)
            )
        return need.stripes

    def _rebuild(self, wanted: dict[int, list[int]]) -> int | None:
        """Rebuild on all of these drives at once; the first stripe that could not be, or None."""
        crew, n = self._crew, self._crew.n
        number, total = crew.number, self._journal.group(crew.number).stripes
        works = {(stripe, manifest.role_of(stripe, slot, n)): slot for slot, each in wanted.items() for stripe in each}
        if not works:
            return None
        marks = {slot: _Mark(each, total) for slot, each in wanted.items()}
        size = sum(row.length for row in self._journal.packs(number) if (row.stripe, row.role) in works)
        for slot, mark in marks.items():
            crew.advance(slot, mark.since)
            said = f"drive {crew.name(slot)}: rebuilding {counted(len(wanted[slot]), 'pack')} on it from what is here"
            if said not in self._told:  # begun anew, since another one failed
                self._told.add(said)
                self._notice(said)

        def landed(stripe: int, role: int, _drive: Drive) -> None:
            slot = manifest.slot_of(stripe, role, n)
            since = marks[slot].land(stripe)
            if since is not None:
                crew.advance(slot, since)
            self._journal.repaired(number, stripe, role)

        try:
            done = rebuild(
                stripe_works(crew, self._journal, self._folder, works),
                self._data,
                n - self._data,
                crew.sources(),
                progress=lambda progress: self._progress(progress, size),
                landed=landed,
                noticed=self._read_back.met,
                slow=lambda slow: self._notice(slow.words),
            )
        finally:
            self._read_back.settle()
        return min((each.stripe for each in done.lost), default=None)

    def cut_back(self, stripe: int) -> None:
        """Forget the stripes from `stripe` on, which too many drives lack, so that they are packed again."""
        crew = self._crew
        away = [
            each for slot, each in crew.owed.items() if self._is_away(slot, each) and self._may_have(slot, each, stripe)
        ]
        if away:
            before = "; the stripes before it can be" if stripe else ""
            raise DriveFault(
                f"group {crew.number}: stripe {stripe} cannot be rebuilt from the drives that are here{before}. "
                f"{self._names(away)}{self._spoilt(stripe)}",
                drive=away[0].mount,
                hint=f"{self._hint(away)}. what none of them gives is packed again from the source",
            )
        state, spoilt = self._journal.group(crew.number), self._spoilt(stripe)
        self._ask_for_old(stripe, state.stripes - stripe)
        self._copies.forget(crew, stripe, state.stripes)
        if not self._journal.cut_back(crew.number, stripe):
            raise SealiftError(
                f"group {crew.number}: stripe {stripe} is on too few drives, and this state folder, of an earlier "
                "version, does not know how to begin again there",
                hint="pack the group anew: another --state, and --discard-group",
            )
        self._read_back.forget(stripe)
        crew.reload()
        many = state.stripes - stripe
        self._notice(
            f"group {crew.number}: stripe {stripe} cannot be rebuilt from the drives that are here, and no other is "
            f"waited for: {many} {'stripe is' if many == 1 else 'stripes from there on are'} packed again from the "
            f"source as it is now. What is no longer in it, or another than it was, is named in the end{spoilt}"
        )

    def _may_have(self, slot: int, owed: Owed, stripe: int) -> bool:
        """Whether a drive that is away may give some of a stripe that was looked for on all that are here."""
        if owed.kind == "lied":  # it was read; but with more of them than parity holds nothing is packed
            return self._crew.drives[slot] is None or len(self._crew.owed) > self._crew.parity
        return owed.kind == "lacks" or owed.since > stripe

    def _spoilt(self, stripe: int) -> str:
        """Which drives are here whose pack of this stripe is not as it was written: a sentence, or nothing."""
        crew = self._crew
        new = {slot for slot, owed in crew.owed.items() if owed.kind == "new"}
        slots = sorted({each.slot for each in self._journal.wrong(crew.number) if each.stripe == stripe} - new)
        if not slots:
            return ""
        return ". its pack is not as it was written on " + ", ".join(map(crew.name, slots))

    def _ask_for_old(self, stripe: int, many: int) -> None:
        """DriveFault, once, where a drive that was replaced and is not here may have what would be packed again."""
        crew, name = self._crew, f"{_ASKED}{self._crew.number}"
        after = set(settle.replaced(self._journal).values())  # a drive that is filled anew has none before it
        successors = {slot: each for slot, each in crew.successors().items() if each.serial in after}
        if not successors or self._journal.setting(name) == b"%d" % stripe:
            return
        self._journal.set(name, b"%d" % stripe)
        named = ", ".join(f"{crew.name(slot)} {each.reason}" for slot, each in sorted(successors.items()))
        raise DriveFault(
            f"group {crew.number}: stripe {stripe} cannot be rebuilt from the drives that are here. {named}: what was "
            f"replaced may still have it{self._spoilt(stripe)}. nothing was given up yet",
            drive=next(iter(successors.values())).mount,
            hint="if it can still be read, attach it, and give its mount too, beside the new one's: it is only read. "
            f"If not, the same command again packs {counted(many, 'stripe')} anew, from the source "
            "as it is now",
        )


class Need(NamedTuple):
    """What a drive is to get: which stripes' packs, how many bytes of these it lacks; bytes free, and needed."""

    stripes: list[int]
    lacks: int
    free: int
    needed: int

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.free:,} bytes free, {self.needed:,} needed for what it lacks and what comes"


def reckon(
    journal: Journal, room: Room, number: int, slot: int, n: int, data: int, drive: Drive, since: int | None
) -> Need:
    """What a drive lacks of its `slot` of group `number`, and whether that and what is packed next fits. FAULTS.

    What it has of the stripes from `since` on counts for nothing.
    """
    bad = {each.stripe for each in journal.wrong(number) if each.slot == slot}
    stripes: list[int] = []
    size = 0
    for row in journal.packs(number):
        if not row.length or manifest.slot_of(row.stripe, row.role, n) != slot:
            continue
        there = drive.size(manifest.pack_name(row.stripe, row.role, data))
        if there != row.length or (since is not None and row.stripe >= since) or row.stripe in bad:
            stripes.append(row.stripe)
            size += max(0, row.length - (there or 0))
    totals = journal.totals(number, data)
    needed = size + room.needed(totals[2], journal.blocks(number), totals[4])
    return Need(stripes, size, drive.free_bytes(), needed)


class _Mark:
    """How far one drive is: every wanted stripe below `since` is durable on it."""

    def __init__(self, stripes: Iterable[int], total: int) -> None:
        self._left = sorted(stripes)
        self._left.reverse()
        self._landed: set[int] = set()
        self._total = total
        self._lock = threading.Lock()

    @property
    def since(self) -> int:
        return self._left[-1] if self._left else self._total

    def land(self, stripe: int) -> int | None:
        """A pack is durable; the new `since` if that moved it."""
        with self._lock:
            self._landed.add(stripe)
            before = self.since
            while self._left and self._left[-1] in self._landed:
                self._landed.remove(self._left.pop())
            return self.since if self.since != before else None
