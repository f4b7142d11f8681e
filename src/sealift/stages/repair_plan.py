"""What repair will do: the faults of the drives that are here, or the places of drives that are not.

What holds: a drive is in a plan only under a manifest that an allowed signer signed, and only where it is what that
manifest's table says; a target of --onto is empty, or half rebuilt as the same drive, and has room. Nothing is
written here. Another run's report of verify only says where to look: what is there is proved when it is rebuilt.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from sealift.drives.local import LocalDrive
from sealift.errors import BadInput, FormatError, NotAllHere, SignatureInvalid
from sealift.formats import manifest as mf
from sealift.stages import verify_join as join
from sealift.stages.repair_files import SMALL
from sealift.stages.verify import read_drives
from sealift.stages.verify_report import Fault, VerifyReport, read_part
from sealift.stages.verify_state import default_path
from sealift.stages.verify_verdict import judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from sealift.drives.base import Drive
    from sealift.formats.manifest import DriveRow
    from sealift.reading.survey import DriveView, GroupView, Survey
    from sealift.stages.verify import Progress
    from sealift.stages.verify_read import DriveCheck
    from sealift.stages.verify_verdict import Damage

_ONTO = re.compile(r"(g[0-9]{1,6}s[0-9]{1,3})=(.+)", re.DOTALL)
_PACK = re.compile(r"packs/[0-9]{4,5}/([0-9]{7,8})\.(?:tar\.zst\.age|parity)")
_OTHERS = {"foreign", "replayed", "two-manifests", "conflict", "undeclared"}  # such a drive is not ours to write
_MENDED = {"missing", "truncated", "extended", "rotten", "unreadable", "unsigned", "non-canonical", "unexpected"}
MAX_LISTED = 10_000


class Repaired(msgspec.Struct):
    """One file that was written, or would be."""

    drive: str
    mount: str
    path: str
    bytes: int


class LostBlocks(msgspec.Struct):
    """Blocks first..last of a pack that nobody has: more of the stripe is gone there than parity holds."""

    group: int
    stripe: int
    role: int
    drive: str
    path: str
    first: int
    last: int


class RepairReport(msgspec.Struct, kw_only=True):
    """The answer of repair. Bytes read are those of rebuilding; `verified_bytes` those of the look before it."""

    shipment: str | None
    dry_run: bool
    state: str = "whole"  # whole | repaired | damaged | lost
    rebuilt: list[str] = []  # drives rebuilt with --onto
    repaired: list[Repaired] = []
    repaired_files: int = 0
    rebuilt_blocks: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    verified_bytes: int = 0
    lost: list[LostBlocks] = []
    left: list[Fault] = []  # what is still wrong, and why where it is known
    missing: list[str] = []  # drives of the groups here that are nowhere
    short: list[int] = []  # groups of which so many drives are missing that parity cannot give all data
    notices: list[str] = []
    seconds: float = 0.0


@dataclass
class Events:
    """How a repair tells what it does: a step with bytes done and of how many, by mount; and lines."""

    progress: Callable[[str, int, int | None, dict[str, int]], object] = lambda _what, _done, _total, _drives: None
    notice: Callable[[str], object] = lambda _text: None


class Task(NamedTuple):
    """What is wrong on one drive: stripes of packs, names of small files."""

    view: DriveView
    slot: int
    stripes: set[int]
    small: list[str]


class Onto(NamedTuple):
    """A drive that shall take the place of a missing one."""

    drive: Drive
    row: DriveRow


@dataclass
class Plan:
    """What is to be done to one group."""

    group: GroupView
    tasks: list[Task] = field(default_factory=list)
    onto: list[Onto] = field(default_factory=list)


def target(given: str | Drive) -> tuple[str | None, Drive]:
    """ID=MNT or MNT: the id, and the drive."""
    if not isinstance(given, str):
        return None, given
    match = None if os.path.isdir(given) else _ONTO.fullmatch(given)
    return (None, LocalDrive(given)) if match is None else (match[1], LocalDrive(match[2]))


def folder_of(place: str | Drive) -> object:
    """What is equal for two names of one folder."""
    path = place if isinstance(place, str) else place.mount
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return path
    return status.st_dev, status.st_ino


def check_trust(found: Survey) -> None:
    """Nothing is written under a manifest that no allowed signer signed."""
    if any(group.trusted for group in found.groups):
        return
    if found.groups:
        raise SignatureInvalid(
            "no manifest on these drives is signed by an allowed signer; nothing was written",
            hint="see whose signatures --allowed-signers names; give the shipment's --seal if you have it",
        )
    raise BadInput(
        "none of these mounts holds a drive whose group is known",
        hint="mount the drives, and give the folders in which their sealift/ folder is",
    )


def place(found: Survey, targets: Sequence[tuple[str | None, Drive]]) -> list[Plan]:
    """Give every target the place of a missing drive."""
    missing = {row.id: (group, row) for group in found.groups if group.trusted for row in group.missing}
    plans: dict[int, Plan] = {}
    for wanted, drive in targets:
        name = wanted or _claimed(drive, found) or next(iter(missing), None)
        if name is None or name not in missing:
            what = f"drive {name} is not missing" if name else "no drive is missing"
            raise BadInput(
                f"--onto {drive.mount}: {what}; nothing was written",
                hint="leave --onto away to mend the drives that are here; `sealift inspect` says what is missing",
            )
        group, row = missing.pop(name)
        plans.setdefault(group.group, Plan(group)).onto.append(Onto(drive, row))
    return list(plans.values())


def _claimed(drive: Drive, found: Survey) -> str | None:
    """The drive that a target is already being rebuilt as."""
    card = card_of(drive)
    return card.id if card is not None and card.rebuilt and card.shipment == found.shipment else None


def card_of(drive: Drive) -> mf.DriveCard | None:
    """drive.json, or None where there is none that parses."""
    try:
        data = drive.read_small(mf.CARD, mf.MAX_CARD) if drive.exists() else None
        return None if data is None else mf.decode_card(data)
    except FormatError:
        return None


def check_targets(found: Survey, plans: Sequence[Plan], events: Events) -> None:
    """Targets are empty or half rebuilt, large enough, no filesystem of another drive, and there is what to fill them.

    Without that no target is touched: a drive that holds no pack would stand beside the real one when that arrives.
    """
    filesystems: dict[tuple[object, ...], str] = {view.drive.filesystem(): view.mount for view in found.views}
    for plan in plans:
        group = plan.group
        if is_short(group, {row.slot for row in group.missing}):
            raise NotAllHere(
                f"group {group.group}: {len(group.missing)} of its {group.manifest.n} drives are missing, and"
                f" {group.manifest.geometry.parity} can be rebuilt from the others; nothing was written",
                hint="mount more of them; --fetch-list says what must be sent again if they are lost",
            )
        for drive, row in plan.onto:
            _check_contents(drive, row, plan.group)
            needed = sum(_bytes_of(plan.group, row.slot))
            free = drive.free_bytes() + _already(drive)
            if free < needed:
                raise BadInput(
                    f"--onto {drive.mount}: {needed:,} bytes are needed for {row.id}, {free:,} are free",
                    hint="give a drive at least as large as the lost one; nothing was written",
                )
            other = filesystems.setdefault(drive.filesystem(), drive.mount)
            if other != drive.mount:
                events.notice(f"{drive.mount} is on the same filesystem as {other}: what fails one fails both")


def _check_contents(drive: Drive, row: DriveRow, group: GroupView) -> None:
    if not drive.exists():
        return
    card = card_of(drive)
    if card is not None and card.rebuilt and group.manifest.is_card(row.slot, card):
        return
    if card is None and not any(entry.kind != "folder" for entry in drive.walk(100_000)):
        return
    what = f"drive {card.id} of shipment {card.shipment}" if card else "files of which no drive.json tells"
    raise BadInput(
        f"--onto {drive.mount}: sealift/ holds {what}; nothing was written",
        hint="give an empty drive; look at what this one holds before anything on it is removed",
    )


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


def is_short(group: GroupView, gone: AbstractSet[int]) -> bool:
    """Whether data cannot be had unless some of the slots `gone` come; packs shorter than others are known zeros."""
    geometry, n = group.manifest.geometry, group.manifest.n
    if len(gone) <= geometry.parity:
        return False
    verdict = judge(
        (geometry.data, geometry.parity, geometry.stripes),
        {},
        gone,
        lambda stripe: [mf.pack_at(group.packs, stripe, role, n).length for role in range(n)],
    )
    return verdict.lost_bytes > 0 or verdict.unknown > 0


class Seen(NamedTuple):
    """What was found on one drive of a trusted group."""

    group: GroupView
    view: DriveView
    slot: int
    damage: Damage
    faults: list[Fault]
    bytes_read: int


def look(found: Survey, report: tuple[str, bytes] | None, state: str | None, events: Events) -> list[Seen]:
    """What is wrong on the drives here, by a report of verify or by reading them all; Interrupted."""
    return _from_report(found, report) if report else _from_reading(found, state, events)


def plan(seen: Sequence[Seen], answer: RepairReport) -> list[Plan]:
    """What to do about it; what is not repair's to mend goes to `answer.left`."""
    plans: dict[int, Plan] = {}
    for each in seen:
        room = MAX_LISTED - len(answer.left)
        if any(fault.kind in _OTHERS for fault in each.faults):
            answer.left += each.faults[:room]
            continue
        answer.left += [fault for fault in each.faults if not _is_mended(fault)][:room]
        paths = {fault.path for fault in each.faults if fault.path and fault.kind in _MENDED}
        stripes = {int(match[1]) for path in paths if (match := _PACK.fullmatch(path))} | set(each.damage)
        small = [name for name in SMALL if name in paths]
        if stripes or small:
            of_group = plans.setdefault(id(each.group), Plan(each.group))
            of_group.tasks.append(Task(each.view, each.slot, _own(each.group, each.slot, stripes), small))
    return list(plans.values())


def _is_mended(fault: Fault) -> bool:
    """Whether a fault is of a file that repair writes."""
    if fault.kind not in _MENDED or fault.path is None:
        return False
    return fault.path in SMALL or _PACK.fullmatch(fault.path) is not None


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


def _from_reading(found: Survey, state: str | None, events: Events) -> list[Seen]:
    def tell(now: Progress) -> None:
        events.progress("verify", now.done, now.total, now.drives)

    checks = read_drives(found, state=state or default_path(found.shipment or "unknown"), progress=tell)
    seen = []
    for check in checks:
        faults = [join.fault(check.view, problem) for problem in check.view.problems]
        faults += [join.fault_at(check.view, each.path, each.kind, each.detail, each.block) for each in check.faults]
        faults += _conflict(check, checks)
        seen.append(Seen(check.group, check.view, check.slot, check.damage, faults, check.bytes_read))
    return seen


def _conflict(check: DriveCheck, checks: Sequence[DriveCheck]) -> list[Fault]:
    """Of two drives in one slot, one that is damaged is not written: it may be something else altogether."""
    same = [each for each in checks if (each.group, each.slot) == (check.group, check.slot) and each is not check]
    if not same or not check.damage:
        return []
    mounts = ", ".join(each.view.mount for each in same)
    return [join.fault_at(check.view, b"drive.json", "conflict", f"in the same slot as {mounts}; not written", None)]


def _from_report(found: Survey, given: tuple[str, bytes]) -> list[Seen]:
    """What another run of verify said of the drives that are here; it only says where to look."""
    name, data = given
    report = read_part(data, name)
    if not isinstance(report, VerifyReport) or report.shipment != found.shipment:
        raise BadInput(
            f"{name}: is no report of verify on shipment {found.shipment}",
            hint="sealift verify MNT... --json > REPORT.json, of these drives",
        )
    copies = {(copy.drive, copy.mount): copy for group in report.groups for copy in group.present if copy.verified}
    seen = []
    for group in found.groups:
        for view in group.views if group.trusted else ():
            if view.slot is None:
                continue
            key = (view.name, view.mount)
            if key not in copies:
                raise BadInput(
                    f"{name}: says nothing of {view.name} at {view.mount}",
                    hint="give a report that verify made with the same mounts, or leave --report away",
                )
            faults = [fault for fault in report.faults if (fault.drive, fault.mount) == key]
            seen.append(Seen(group, view, view.slot, join.as_damage(copies[key]), faults, 0))
    return seen


def beyond(found: Survey) -> list[Fault]:
    """What is wrong with mounts that are no drive of a trusted group."""
    members = {id(view) for group in found.groups if group.trusted for view in group.views if view.slot is not None}
    return [join.fault(view, problem) for view in found.views if id(view) not in members for problem in view.problems]
