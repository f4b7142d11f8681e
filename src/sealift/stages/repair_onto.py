"""Where --onto puts what is missing: each target gets the place of a missing drive, and must be fit to be it.

What holds: a target is empty, or half rebuilt as the same drive, a mounted filesystem of its own, and has room; each
is given once, for one drive; and there is what to fill it with. Else nothing is written to any. Only lengths are read
here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sealift.drives.base import PART
from sealift.drives.local import LocalDrive
from sealift.errors import BadInput, FormatError, NotAllHere
from sealift.formats import manifest as mf
from sealift.reading.survey_nobodys import bereft
from sealift.stages.repair_plan import Onto, Plan, card_of, folder_of, is_short

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from sealift.drives.base import Drive
    from sealift.formats.manifest import DriveRow
    from sealift.reading.survey import GroupView, Survey
    from sealift.stages.repair_plan import Events, Gaps

_FIRST = mf.CARD.encode() + PART.encode()  # all that a rebuild killed at its first write leaves
OF_FILESYSTEMS = {  # what lies on an empty drive
    "lost+found",
    "System Volume Information",
    "$RECYCLE.BIN",
    ".Trashes",
    ".fseventsd",
}
_EMPTY = "give an empty drive; look at what this one holds before anything on it is removed"
_GOES_ON = (
    "a drive was being rebuilt there, and its drive.json is damaged: `sealift repair` of all drives, this one among"
    " them and without --onto, knows it by its packs, and goes on; or give an empty drive"
)


def place(found: Survey, absent: dict[int, Gaps], targets: Sequence[tuple[str | None, Drive]]) -> list[Plan]:
    """Give every target the place of a missing drive; BadInput, also where one is given twice."""
    _check_twice(targets, found)
    for _, drive in targets:
        _check_own(drive, found)
    missing = {row.id: (group, row) for group in found.groups if group.trusted for row in absent[group.group].missing}
    plans: dict[int, Plan] = {}
    _check_begun(targets, missing, found)
    unnamed = [drive for wanted, drive in targets if (wanted or _claimed(drive, found)) not in missing]
    left = missing.keys() - {wanted or _claimed(drive, found) for wanted, drive in targets}
    short = any(is_short(group, absent[group.group]) for group, _ in missing.values())  # refused by check_targets
    wrong = any(wanted for wanted, drive in targets if drive in unnamed)  # told below
    if unnamed and len(left) > len(unnamed) and not (short or wrong):
        raise BadInput(
            f"--onto {unnamed[0].mount}: {len(left)} drives are missing, and one that is only not mounted must not be"
            f" made twice: {', '.join(sorted(left)[:20])}; nothing was written",
            hint=f"say which is lost: --onto {min(left)}={unnamed[0].mount}",
        )
    for wanted, drive in targets:
        name = wanted or _claimed(drive, found) or next(iter(missing), None)
        if name is None or name not in missing:
            why, hint = _not_missing(name, drive, missing, found)
            raise BadInput(f"--onto {drive.mount}: {why}; nothing was written", hint=hint)
        group, row = missing.pop(name)
        plans.setdefault(group.group, Plan(group)).onto.append(Onto(drive, row))
    return list(plans.values())


def _not_missing(name: str | None, drive: Drive, missing: Collection[str], found: Survey) -> tuple[str, str]:
    """Why nothing is made there, and what to do; `missing` are those that could be."""
    mend = "leave --onto away to mend the drives that are here; `sealift inspect` says what is missing"
    if name is None:
        if bereft(found):
            return "no drive is missing of the groups whose manifest is here", mend
        return "no drive is missing" + " of the groups that are here" * (len(found.groups) < found.groups_total), mend
    if any(row.id == name for group in found.groups for row in group.manifest.drives):
        return f"drive {name} is not missing", mend
    for group in found.absent:
        if any(row.id == name for row in group.drives):
            why = f"of the group of {name} no drive is here, so that there is nothing to make it from"
            return why, f"give {group.data} of its other drives among the mounts: it is made from these"
    why = f"there is no drive {name}, as far as the drives here and the seal tell"
    if missing:
        are = "is" if len(missing) == 1 else "are"
        return why, f"missing here {are} {', '.join(sorted(missing)[:20])}: --onto {min(missing)}={drive.mount}"
    return why, "`sealift inspect` names the drives that are missing"


def _check_own(drive: Drive, found: Survey) -> None:
    """BadInput for a drive of this shipment that left the origin: it counts as missing only since it is given here."""
    card = card_of(drive)
    if card is not None and not card.rebuilt and card.shipment == found.shipment:
        raise BadInput(
            f"--onto {drive.mount}: it holds drive {card.id} of shipment {card.shipment} already; nothing was written",
            hint=f"give an empty drive to --onto, and {drive.mount} among the others",
        )


def _check_twice(targets: Sequence[tuple[str | None, Drive]], found: Survey) -> None:
    media: dict[object, Drive] = {}
    drives: dict[str, Drive] = {}
    for wanted, drive in targets:
        name = wanted or _claimed(drive, found)
        if media.setdefault(folder_of(drive), drive) is not drive:
            raise BadInput(
                f"--onto {drive.mount}: it is given twice, and takes the place of one drive; nothing was written",
                hint="give each missing drive a medium of its own",
            )
        if name is not None and (other := drives.setdefault(name, drive)) is not drive:
            raise BadInput(
                f"--onto: both {other.mount} and {drive.mount} are given for drive {name}; nothing was written",
                hint="say which of them it shall be, and which other drive the second is for: --onto ID=MNT",
            )


def _check_begun(targets: Sequence[tuple[str | None, Drive]], missing: Collection[str], found: Survey) -> None:
    """BadInput for a medium that was begun as a drive which is here by now: it is no other."""
    for wanted, drive in targets:
        begun = _claimed(drive, found)
        if begun is not None and begun not in missing and wanted != begun:
            raise BadInput(
                f"--onto {drive.mount}: it was begun as drive {begun}, which is here by now; nothing was written",
                hint=f"give another empty drive to --onto; or, once `sealift verify` finds {begun} good without this"
                " one, empty it (remove its sealift/ folder), and give it again",
            )


def _claimed(drive: Drive, found: Survey) -> str | None:
    """The drive that a target is already being rebuilt as."""
    card = card_of(drive)
    return card.id if card is not None and card.rebuilt and card.shipment == found.shipment else None


def check_targets(
    found: Survey, absent: dict[int, Gaps], plans: Sequence[Plan], events: Events, *, same_filesystem: bool
) -> None:
    """Targets are empty or half rebuilt, large enough, and there is what to fill them; else BadInput, NotAllHere.

    And each is a mounted filesystem of its own, unless `same_filesystem`: what is written where nothing is mounted
    goes to the disk of this host. Without all that no target is touched: a drive that holds no pack would stand beside
    the real one when that arrives.
    """
    filesystems: dict[tuple[object, ...], str] = {view.drive.filesystem(): view.mount for view in found.views}
    for plan in plans:  # first: a drive of the group that is given by mistake makes one more that is missing
        for drive, row in plan.onto:
            _check_contents(drive, row, plan.group)
    for plan in plans:
        group = plan.group
        missing = absent[group.group].missing
        if is_short(group, absent[group.group]):
            are = "is" if len(missing) == 1 else "are"
            raise NotAllHere(
                f"group {group.group}: {len(missing)} of its {group.manifest.n} drives {are} missing, and"
                f" {group.manifest.geometry.parity} can be rebuilt from the others; nothing was written",
                hint="mount more of them; --fetch-list says what must be sent again if they are lost",
            )
        for drive, row in plan.onto:
            if not same_filesystem:
                _check_mounted(drive)
            needed = sum(_bytes_of(plan.group, row.slot))
            free, already = drive.free_bytes(), _already(drive)
            if free + already < needed:
                there = f", and {already:,} of an earlier run are there" if already else ""
                others = _beside(drive)
                hint = f"make room on it: it also holds {', '.join(others[:3])}" if others else "give a larger drive"
                raise BadInput(
                    f"--onto {drive.mount}: {needed:,} bytes are needed for {row.id}, {free:,} are free{there}; nothing"
                    " was written",
                    hint=f"{hint}; `--onto` an empty drive at least as large as the lost one begins anew",
                )
            other = filesystems.setdefault(drive.filesystem(), drive.mount)
            if other == drive.mount:
                continue
            if not same_filesystem:
                raise BadInput(
                    f"--onto {drive.mount}: it is on the same filesystem as {other}, so losing one loses both; nothing"
                    " was written",
                    hint="mount the new drive's own filesystem; --allow-same-filesystem is for scratch use",
                )
            events.notice(f"{drive.mount} is on the same filesystem as {other}: what fails one fails both")


def _check_mounted(drive: Drive) -> None:
    """BadInput for a folder in which no filesystem is mounted."""
    if not isinstance(drive, LocalDrive) or os.path.ismount(drive.mount):
        return
    above = os.path.realpath(drive.mount)
    while not os.path.ismount(above):
        above = os.path.dirname(above)
    raise BadInput(
        f"--onto {drive.mount}: nothing is mounted there: it is a folder of the filesystem of {above}; nothing was"
        " written",
        hint="mount the new drive (`sealift drives` says what is attached); --allow-same-filesystem takes a folder, for"
        " scratch use",
    )


def _check_contents(drive: Drive, row: DriveRow, group: GroupView) -> None:
    try:
        exists = drive.exists()
    except FormatError as error:
        raise BadInput(f"--onto {error}; nothing was written", hint=_EMPTY) from error
    card = card_of(drive) if exists else None
    if card is not None and card.rebuilt and group.manifest.is_card(row.slot, card):
        return
    others = _beside(drive)
    if others:
        listed = ", ".join(others[:3]) + (" and more" if len(others) > 3 else "")
        raise BadInput(f"--onto {drive.mount}: is not empty: it holds {listed}; nothing was written", hint=_EMPTY)
    if not exists:
        return
    if card is None and all(entry.kind == "folder" or entry.name == _FIRST for entry in drive.walk(100_000)):
        return
    what = f"drive {card.id} of shipment {card.shipment}" if card else "files of which no drive.json tells"
    hint = _GOES_ON if card is None and _is_half_made(drive) else _EMPTY
    raise BadInput(f"--onto {drive.mount}: sealift/ holds {what}; nothing was written", hint=hint)


def _is_half_made(drive: Drive) -> bool:
    """Whether it says in its second file that a drive was being rebuilt there."""
    try:
        data = drive.read_small(mf.REBUILT, mf.MAX_CARD)
        return data is not None and mf.decode_rebuilt(data) is not None
    except FormatError:
        return False


def _beside(drive: Drive) -> list[str]:
    """What lies on a drive beside sealift/, but for what filesystems make themselves."""
    if not isinstance(drive, LocalDrive):
        return []
    return sorted(ascii(name)[1:-1] for name in os.listdir(drive.mount) if name not in {mf.ROOT, *OF_FILESYSTEMS})


def _already(drive: Drive) -> int:
    """Bytes that an earlier run of the same rebuild has written."""
    if not drive.exists():
        return 0
    return sum(entry.size for entry in drive.walk(mf.MAX_STRIPES * 2) if entry.kind == "file")


def _bytes_of(group: GroupView, slot: int) -> Iterator[int]:
    """Lengths of everything on one drive."""
    for stripe in range(group.manifest.geometry.stripes):
        yield mf.pack_at(group.packs, stripe, mf.role_of(stripe, slot, group.manifest.n), group.manifest.n).length
    yield from (group.manifest.group_file(name).bytes for name in mf.GROUP_FILES)
