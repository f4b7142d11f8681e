"""What repair will do: the faults of the drives that are here, or the places of drives that are not.

What holds: a drive is in a plan only under a manifest that an allowed signer signed, and only where it is what that
manifest's table says (of --onto, see repair_onto.py). Where something
that sealift did not write stands in the way of a file (InTheWay), that file is not planned, and the obstacle is named.
Nothing is written here. What is wrong on the drives is for repair_look.py to say.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from sealift.drives import locations
from sealift.drives.local import LocalDrive, nothing_mounted
from sealift.errors import BadInput, DriveFault, FormatError, NotAllHere, SignatureInvalid
from sealift.formats import manifest as mf
from sealift.reading.survey import refuse_others
from sealift.reading.survey_mixed import refuse_rivals
from sealift.reading.survey_nobodys import bereft
from sealift.reading.survey_views import DOUBTED, NOBODYS_PACKS
from sealift.stages.repair_far import Away  # noqa: TC001 -- msgspec reads it when it runs
from sealift.stages.repair_files import SMALL
from sealift.stages.repair_look import OTHERS, bag_damage, bag_notices
from sealift.stages.repair_unwritable import Unreadable, Unwritable  # noqa: TC001 -- msgspec reads them when it runs
from sealift.stages.verify_join import NO_SEAL, fault_at, rows_of
from sealift.stages.verify_names import HALF
from sealift.stages.verify_report import Fault, HostRow, Missing, Signature  # noqa: TC001 -- msgspec reads them
from sealift.stages.verify_verdict import common_damage, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from sealift.drives.base import Drive
    from sealift.formats.manifest import DriveRow, Manifest
    from sealift.formats.seal import SealGroup
    from sealift.reading.survey import DriveView, GroupView, Survey
    from sealift.stages.repair_look import Seen
    from sealift.stages.verify_verdict import Damage, GroupVerdict, LostPack

_ONTO = re.compile(r"(g[0-9]{1,6}s[0-9]{1,3})=(.+)", re.DOTALL)
_MENDED = {"missing", "truncated", "extended", "rotten", "unreadable", "unsigned", "non-canonical", "unexpected"}
MAX_LISTED = 10_000
NOWHERE = "no drive here has it whole"
NO_SEAL_HERE = "there is no seal to take it from"
MET = "met while rebuilding"


class Repaired(msgspec.Struct):
    """One file that was written, or would be."""

    drive: str
    mount: str
    path: str
    bytes: int


class Removed(msgspec.Struct):
    """What an interrupted write had left of a file of a drive, and that was removed, or would be."""

    drive: str
    mount: str
    path: str


class LostBlocks(msgspec.Struct):
    """Blocks first..last of a pack that nobody has: more of the stripe is gone there than parity holds."""

    group: int
    stripe: int
    role: int
    drive: str
    path: str
    first: int
    last: int


class GoneFile(msgspec.Struct, frozen=True):
    """A file that every drive of a group carries and that is to be had from nowhere; `sent`: its name beside the seal.

    An index, without which nothing is unpacked, or packs.bin, without which no pack can be told to be whole.
    """

    group: int
    path: str
    sent: str = ""


class Obstacle(msgspec.Struct):
    """What stands where files of a drive shall be written, and is not sealift's to remove."""

    drive: str
    mount: str
    path: str
    files: int = 0


class RepairReport(msgspec.Struct, kw_only=True):
    """The answer of repair. Bytes read are those of rebuilding; `verified_bytes` those of the look before it.

    `scope`: what was looked at, and so what the state speaks of. `all` of the drives here; what a `report` of verify or
    a report of `health` names; `onto`: the new drives, and of the others no more than rebuilding them needed.
    """

    shipment: str | None
    dry_run: bool
    scope: str = "all"  # all | report | health | onto
    state: str = "whole"  # whole | repaired | rebuilt | unseen | damaged | lost
    onto: list[str] = []  # drives that --onto was to make
    rebuilt: list[str] = []  # those of them that are whole
    repaired: list[Repaired] = []
    repaired_files: int = 0
    removed: list[Removed] = []
    rebuilt_blocks: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    verified_bytes: int = 0
    lost: list[LostBlocks] = []
    waits: list[LostBlocks] = []  # what drives in other hosts have, and did not give: not lost
    away: list[Away] = []  # those that did not give what was signed, needed or not
    left: list[Fault] = []  # what is still wrong, and why where it is known
    gone: list[GoneFile] = []
    unwritable: list[Unwritable] = []  # drives that failed when they were written; the others were mended
    unreadable: list[Unreadable] = []  # drives that answered no more while others were rebuilt from them
    failing: list[Unreadable] = []  # drives of which the medium failed here and there: what is written may not stay
    in_the_way: list[Obstacle] = []  # what somebody must move away first: it is in `left`, too
    missing: list[str] = []  # drives that are nowhere
    absent: list[Missing] = []  # of these, those of groups of the seal of which no drive is here, and that have data
    replaced: list[str] = []  # rebuilt, and lacking what is lost: the media in whose place they stand may have it
    unseen: list[str] = []  # drives (of health: groups) that the report names, and of whose group nothing is here
    certain: list[int] = []  # groups of which something is lost whatever drives are still to come
    short: list[int] = []  # groups of which so many drives are missing that parity cannot give all data
    notices: list[str] = []
    seconds: float = 0.0
    hosts: list[HostRow] = []  # of a cluster
    signature: Signature | None = None  # as verify has it; None: with `onto`, which says nothing of the others

    @property
    def missing_here(self) -> list[str]:
        """Those missing drives of the groups of which others are here."""
        absent = {each.drive for each in self.absent}
        return [each for each in self.missing if each not in absent]

    @property
    def may_come(self) -> bool:
        """Whether each group of which something is lost lacks a drive that may have all of it."""
        away = {*self.missing_here, *self.replaced, *(each.drive for each in self.unreadable)}
        lost = {*(each.group for each in self.lost), *(each.group for each in self.gone), *self.short}
        return lost <= {int(each[1:].partition("s")[0]) for each in away} - set(self.certain)


@dataclass
class Events:
    """How a repair tells what it does: a step with bytes done and of how many, by mount; and lines."""

    progress: Callable[[str, int, int | None, dict[str, int]], object] = lambda _what, _done, _total, _drives: None
    notice: Callable[[str], object] = lambda _text: None


class Task(NamedTuple):
    """What is wrong on one drive: stripes of packs, names of small files; and how much of the packs, for estimates.

    `faults` are what repair would mend, as it was found. `made`: no pack of the drive is there, so that nothing tells
    whether this is the medium that left the origin, and it says so from then on.
    """

    view: DriveView
    slot: int
    stripes: set[int]
    small: list[str]
    damage: Damage
    faults: Sequence[Fault] = ()
    made: bool = False
    halves: Sequence[Fault] = ()  # what interrupted writes left


class Onto(NamedTuple):
    """A drive that shall take the place of a missing one."""

    drive: Drive
    row: DriveRow


@dataclass
class Elsewhere:
    """What a host among several is told of the others.

    `read`: addresses and locations files where drives are read that stand there; `stands`: which these are, group ->
    slot -> in words.
    """

    read: Sequence[str] = ()
    stands: Mapping[int, Mapping[int, str]] = field(default_factory=dict)


@dataclass
class Plan:
    """What is to be done to one group."""

    group: GroupView
    tasks: list[Task] = field(default_factory=list)
    onto: list[Onto] = field(default_factory=list)
    known: dict[int, Damage] = field(default_factory=dict)  # of a dry run: id of a view -> what it has not whole


def target(given: str | Drive | tuple[str, Drive]) -> tuple[str | None, Drive]:
    """ID=MNT or MNT: the id, and the drive."""
    if isinstance(given, tuple):
        return given
    if not isinstance(given, str):
        return None, given
    match = None if os.path.isdir(given) else _ONTO.fullmatch(given)
    name, _, mount = given.partition("=")
    if match is None and not os.path.isdir(given) and os.path.isdir(mount):
        raise BadInput(
            f"--onto {given}: {name} is no drive's id; nothing was written",
            hint=f"--onto g0s3={mount} makes g0s3 there; `sealift inspect` names the drives that are missing",
        )
    return (None, LocalDrive(given)) if match is None else (match[1], LocalDrive(match[2]))


def folder_of(place: str | Drive) -> object:
    """What is equal for two names of one folder."""
    return locations.identity(place if isinstance(place, str) else place.mount)


def far_of(places: Sequence[str | Drive]) -> list[str]:
    """Addresses and locations files among places: where repair reads, and never writes."""
    return [each for each in places if isinstance(each, str) and (locations.is_store(each) or locations.is_list(each))]


def check_mounted(
    places: Sequence[str | Drive], onto: Sequence[str | Drive | tuple[str, Drive]], *, dry_run: bool
) -> None:
    """BadInput where there is no mounted drive to write to, or one of `onto` is something else."""
    far = far_of([_ONTO.sub(r"\2", each) for each in onto if isinstance(each, str)])
    if not (onto or dry_run) and len(far_of(places)) == len(places):
        far = far_of(places)
    if far:
        raise BadInput(
            f"{far[0]} is no mounted drive, and `sealift repair` writes to nothing else; nothing was written",
            hint="in a bucket, remove what two runs of `sealift verify` find not to be as it was signed, then `sealift "
            "ingest --packs` to the same place, from the drives or from these copies, writes what is not there; a drive"
            " in another host is repaired there, or rebuilt here with --onto MNT",
        )


def away(found: Survey) -> list[SealGroup]:
    """Groups of the seal of which no drive is here, as far as the drives here say which they are."""
    nobodys = bereft(found)
    return [group for group in found.absent if group.group not in nobodys]


def tell_absent(groups: Iterable[SealGroup], answer: RepairReport) -> None:
    """Name the drives of such groups: nobody has looked at them, and what is here says nothing of their data."""
    for group in groups:
        rows = rows_of(group)
        answer.missing += [each.drive for each in rows]
        answer.absent += rows if group.totals.packed_bytes else []


def not_here(groups: Collection[int]) -> list[str]:
    """A line about groups of the shipment of which no drive is anywhere here."""
    if not groups:
        return []
    named = ", ".join(map(str, sorted(groups)[:10])) + (" ..." if len(groups) > 10 else "")
    count = "one other group" if len(groups) == 1 else f"{len(groups):,} other groups"
    return [f"of {count} no drive is here, and nothing was looked at: {named}"]


def no_seal(found: Survey) -> list[str]:
    """A line where no seal holds: whole is then said of what is here, and of nothing else."""
    return [NO_SEAL] if found.trusted is None else []


def nobodys(found: Survey, answer: RepairReport) -> None:
    """Packs of which nobody here says whose they are: of the groups that have no drive here, something may be there."""
    if groups := bereft(found):
        answer.unseen += [f"group {number}" for number in groups]
    elif any(problem.detail == NOBODYS_PACKS for view in found.views for problem in view.problems):
        here = {group.group for group in found.groups}
        answer.unseen += [f"group {number}" for number in range(found.groups_total) if number not in here]


def check_trust(found: Survey) -> None:
    """Nothing is written under a manifest that no allowed signer signed, nor under another shipment's seal."""
    refuse_others(found)
    refuse_rivals(found)
    if any(group.trusted for group in found.groups):
        return
    if found.groups:
        raise SignatureInvalid(
            "no manifest on these drives is signed by an allowed signer; nothing was written",
            hint="see whose signatures --allowed-signers names; give the shipment's --seal if you have it",
        )
    bare = [view for view in found.views if view.standing == "unidentified"]
    if bare:
        mounts = ", ".join(view.mount for view in bare[:3]) + " and more" * (len(bare) > 3)
        there = {mf.MANIFEST in view.small for view in bare}
        what = " or ".join(["damaged"] * (True in there) + ["gone"] * (False in there))
        raise NotAllHere(
            f"nothing on {mounts} says what belongs there: {mf.MANIFEST} is {what}, and nothing was written",
            hint="mount another drive of the group; or put"
            f" {mf.MANIFEST}, {mf.SIGNATURE}, {mf.PACKS} and {mf.BLOCKS}"
            ", as the origin keeps them in its state folder, groups/GROUP/closed/, into sealift/ on one of the drives:"
            " the same command proves them, and puts them on the others",
        )
    raise BadInput(
        "none of these mounts holds a drive whose group is known",
        hint="mount the drives, and give the folders in which their sealift/ folder is",
    )


class Gaps(NamedTuple):
    """The drives of a group that are not here; and of folders of packs in their place, what these do not have."""

    missing: list[DriveRow]
    bags: dict[int, Damage]

    def without(self, rebuilt: Collection[str]) -> Gaps:
        """What is still missing when these drives were rebuilt."""
        return self._replace(missing=[row for row in self.missing if row.id not in rebuilt])


def gaps(group: GroupView) -> Gaps:
    """Which drives are missing: a folder that holds some of a drive's packs is not that drive."""
    bags: dict[int, list[Damage]] = {}
    here = set()
    for slot, views in group.copies.items():
        for view in views:
            if view.apart:
                bags.setdefault(slot, []).append(bag_damage(group, view))
            else:
                here.add(slot)
    missing = [row for row in group.manifest.drives if row.slot not in here]
    return Gaps(missing, {slot: common_damage(copies) for slot, copies in bags.items() if slot not in here})


def beside(elsewhere: Elsewhere, here: Sequence[str | Drive]) -> list[Drive]:
    """The drives that are read in other hosts; those that are here are not read a second time. BadInput."""
    own = {folder_of(each) for each in here}
    drives = [drive for each in elsewhere.read for drive in locations.open_drives(each)[0]]
    return [drive for drive in drives if locations.place_of(drive) not in own]


def card_of(drive: Drive) -> mf.DriveCard | None:
    """drive.json, or None where there is none that parses."""
    try:
        data = drive.read_small(mf.CARD, mf.MAX_CARD) if drive.exists() else None
        return None if data is None else mf.decode_card(data)
    except FormatError:
        return None


def is_short(group: GroupView, absent: Gaps) -> bool:
    """Whether data cannot be had unless some missing drives come; packs shorter than others are known zeros."""
    if len(absent.missing) <= group.manifest.geometry.parity:
        return False
    verdict = judge_group(group, absent.bags, {row.slot for row in absent.missing} - absent.bags.keys())
    return verdict.lost_bytes > 0 or verdict.unknown > 0


def tables_gone(group: GroupView) -> list[GoneFile]:
    """Of packs.bin and blocks.bin those that nobody here has whole, where no drive is known by its packs."""
    if group.copies:
        return []
    packs, blocks = group.open_pages()
    gone = []
    try:
        for name, table in ((mf.PACKS, packs), (mf.BLOCKS, blocks)):
            try:
                for _ in table.pages():
                    pass
            except FormatError:
                gone += [] if table.unanswered else [GoneFile(group.manifest.group, name)]
    finally:
        packs.close()
        blocks.close()
    return gone


def judge_group(group: GroupView, damage: dict[int, Damage], gone: AbstractSet[int]) -> GroupVerdict:
    """What of a group's data cannot be had, when this is damaged (by slot) and these slots are gone."""
    geometry, n = group.manifest.geometry, group.manifest.n
    return judge(
        (geometry.data, geometry.parity, geometry.stripes),
        damage,
        gone,
        lambda stripe: [mf.pack_at(group.packs, stripe, role, n).length for role in range(n)],
    )


def lost_blocks(manifest: Manifest, lost: LostPack) -> LostBlocks:
    """As the report has them."""
    name = mf.pack_name(lost.stripe, lost.role, manifest.geometry.data)
    row = manifest.drives[mf.slot_of(lost.stripe, lost.role, manifest.n)].id
    return LostBlocks(manifest.group, lost.stripe, lost.role, row, name, lost.first, lost.last)


def replaced(group: GroupView, damage: Mapping[int, Damage], lost: Collection[LostBlocks]) -> list[str]:
    """Drives of which every copy here was rebuilt, and lacks something of a stripe of which something is lost.

    One that was mended on the very medium of the signed table is not meant: nothing else has what it lacks.
    """
    stripes, drives = {each.stripe for each in lost if each.group == group.group}, group.manifest.drives
    return [
        drives[slot].id
        for slot, views in group.copies.items()
        if stripes & damage.get(slot, {}).keys()
        and all(view.rebuilt and not mf.is_medium_of(view.drive.serial(), drives[slot].serial) for view in views)
    ]


def still_damaged(group: GroupView, seen: Sequence[Seen], mended: Collection[tuple[int, int]]) -> dict[int, Damage]:
    """Slot -> what no copy of it has whole, when packs (id of the drive, stripe) were `mended`."""
    copies: dict[int, list[Damage]] = {}
    for each in seen:
        if each.group is group:
            left = {stripe: runs for stripe, runs in each.lacks.items() if (id(each.view.drive), stripe) not in mended}
            copies.setdefault(each.slot, []).append(left)
    return {slot: common_damage(found) for slot, found in copies.items()}


def plan(found: Survey, seen: Sequence[Seen], answer: RepairReport) -> list[Plan]:
    """What to do about it; what is not repair's to mend goes to `answer.left`.

    The seal is put on a drive that has none where others here have it, or it was given, and it is believed.
    """
    plans: dict[int, Plan] = {}
    unsealed = {id(view) for view in found.unsealed} if found.trusted is not None else set()
    for view in found.views:
        if view.predecessor is not None:
            answer.notices.append(
                f"{view.mount}: {view.problems[0].detail}. It is read, and nothing is written there; mount the drive "
                "that was signed, or, where it is lost, --onto NEW makes it on an empty drive"
            )
    for each in seen:
        if each.bag and each.view.predecessor is not None:
            continue
        if each.bag:
            answer.notices += bag_notices(each, answer.missing)
            continue
        if (old := next((fault for fault in each.faults if fault.kind == "superseded"), None)) is not None:
            answer.notices.append(f"{each.view.mount}: {old.detail}; nothing is written there: pull it afterwards")
            continue
        room = MAX_LISTED - len(answer.left)
        if each.view.doubted:
            answer.left.append(fault_at(each.view, mf.CARD.encode(), "rotten", DOUBTED, None))
            continue
        if any(fault.kind in OTHERS for fault in each.faults):
            answer.left += each.faults[:room]
            continue
        mended: list[Fault] = []
        others: list[Fault] = []
        for fault in each.faults:
            (mended if _is_mended(fault, each.group, each.slot) else others).append(fault)
        halves = [fault for fault in others if fault.detail == HALF]
        answer.left += [fault for fault in others if fault not in halves][:room]
        paths = {fault.path for fault in mended if fault.path}
        stripes = {int(match[2]) for path in paths if (match := mf.PACK_FILE.fullmatch(path))} | set(each.damage)
        if id(each.view) in unsealed:
            paths |= set(mf.SEAL_FILES)
        elif found.trusted is not None and (not each.view.small or found.seal_source == "file"):  # maybe none has it
            paths |= {name for name in mf.SEAL_FILES if _has_not(each.view.drive, name)}
        small = [name for name in SMALL if name in paths]
        if stripes or small or halves:
            of_group = plans.setdefault(id(each.group), Plan(each.group))
            own = _own(each.group, each.slot, stripes)
            made = bool(each.damage) and _has_no_pack(each.view.drive, each.slot, each.group.manifest)
            of_group.tasks.append(Task(each.view, each.slot, own, small, each.damage, mended, made, halves))
    return list(plans.values())


def _has_not(drive: Drive, name: str) -> bool:
    try:
        return drive.size(name) is None
    except (FormatError, DriveFault):
        return False


def _has_no_pack(drive: Drive, slot: int, manifest: Manifest) -> bool:
    """Whether none of a drive's packs is there, in whatever state: what is written then makes it, as with --onto."""
    for stripe in range(manifest.geometry.stripes):
        try:
            name = mf.pack_name(stripe, mf.role_of(stripe, slot, manifest.n), manifest.geometry.data)
            if drive.size(name) is not None:
                return False
        except FormatError:
            continue  # what stands there is no pack
        except DriveFault:
            return False
    return True


def refuse_folders(plans: Sequence[Plan], answer: RepairReport) -> None:
    """Leave out of the plans drives that would be made in a folder in which nothing is mounted."""
    for plan in plans:
        for task in [task for task in plan.tasks if task.made and nothing_mounted(task.view.mount)]:
            plan.tasks.remove(task)
            why = "it would be made on the filesystem above: nothing is mounted there"
            answer.left.append(fault_at(task.view, b"", "missing", why, None))
            answer.notices.append(
                f"{task.view.mount}: nothing is mounted there, and {task.view.name} would be made on the filesystem "
                "above: nothing was written there. Mount the drive; --allow-same-filesystem takes a folder, for "
                "scratch use"
            )


def _is_mended(fault: Fault, group: GroupView, slot: int) -> bool:
    """Whether a fault is of a file that repair writes: a pack of this slot, and not another of such a name."""
    if fault.kind not in _MENDED or fault.path is None:
        return False
    if fault.path in SMALL:
        return True
    match, geometry, n = mf.PACK_FILE.fullmatch(fault.path), group.manifest.geometry, group.manifest.n
    if match is None or (stripe := int(match[2])) >= geometry.stripes:
        return False
    role = mf.role_of(stripe, slot, n)
    try:
        named = mf.pack_at(group.packs, stripe, role, n).length > 0
    except FormatError:
        named = True  # no drive knows what this pack must be, or whether there is one
    return named and fault.path == mf.pack_name(stripe, role, geometry.data)


def _own(group: GroupView, slot: int, stripes: set[int]) -> set[int]:
    """Stripes in which this slot has a pack: a file planted under another name is not one."""
    n, own = group.manifest.n, set()
    for stripe in stripes:
        if stripe >= group.manifest.geometry.stripes:
            continue
        try:
            if mf.pack_at(group.packs, stripe, mf.role_of(stripe, slot, n), n).length:
                own.add(stripe)
        except FormatError:
            continue  # no drive knows what this pack must be
    return own


class InTheWay:
    """What stands where a file of a drive belongs, and is nothing that sealift writes: it is not ours to remove.

    In the file's place a folder, a link or anything but a regular file; or above it something that is no folder.
    """

    def __init__(self, drive: Drive) -> None:
        self._drive = drive
        self._kinds: dict[str, str] | None = None

    def of(self, name: str) -> str | None:
        """The path of what is in the way, or None. A drive that does not answer is not asked further."""
        try:
            self._drive.size(name)
        except DriveFault:
            return None
        except FormatError:
            if self._kinds is None:
                self._kinds = self._look()
        else:
            return None
        parts = name.split("/")
        for depth in range(1, len(parts)):
            above = "/".join(parts[:depth])
            if self._kinds.get(above, "folder") != "folder":
                return above
        return name

    def _look(self) -> dict[str, str]:
        """Kinds of everything but files where files belong."""
        kinds: dict[str, str] = {}
        try:
            for entry in self._drive.walk(mf.MAX_STRIPES * 2):
                if entry.kind != "file" or entry.name.count(b"/") < 2:
                    kinds[os.fsdecode(entry.name)] = entry.kind
        except (FormatError, DriveFault):
            pass  # as far as it could be seen; what is left shows when it is written
        return kinds
