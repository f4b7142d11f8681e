"""Looks at drives, of which those in slow hosts are not waited for where the others are enough.

What holds: every drive is looked at, all at the same time, and its look ends by the deadlines of its requests. What the
others say of themselves decides only how long one that is late is waited for, never what is believed: it joins its
group by the same files and packs as if it had come in time (`join`), and survey.py waits for all where what was said
does not hold.
"""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import FIRST_COMPLETED, wait
from functools import partial
from typing import TYPE_CHECKING

from blake3 import blake3

from sealift.drives import ranges
from sealift.drives.base import reason
from sealift.drives.local import LocalDrive
from sealift.drives.ranges import RemoteDrive, Workers
from sealift.errors import DriveFault, FormatError
from sealift.formats import manifest as mf
from sealift.formats import sshsig
from sealift.reading import survey_slots
from sealift.reading.survey_seal import Checker
from sealift.reading.survey_views import AT_ADDRESS, DriveView, Late, read_all

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sealift.reading.group import GroupReader
    from sealift.reading.survey_views import GroupView, Survey

_TOGETHER, _FAR = 32, 128  # drives that are looked at at once; of other hosts more: slow ones keep no quick one waiting
_GRACE = 1.5  # times as long as until enough had answered, the others are waited for
_LIMITS = {mf.MANIFEST: mf.MAX_MANIFEST, mf.SIGNATURE: sshsig.MAX_ARMORED, mf.CARD: mf.MAX_CARD}


def begin(views: Sequence[DriveView]) -> list[Late]:
    """Begin to look at each; what comes of a look is the fault of a drive that is silent, else None."""
    near, far = Workers(_TOGETHER, "sealift-look"), Workers(_FAR, "sealift-look")
    looks = [
        Late(view, (far if isinstance(view.drive, RemoteDrive) else near).submit(partial(_look, view)))
        for view in views
    ]
    near.close()
    far.close()
    return looks


def _look(view: DriveView) -> DriveFault | None:
    """Read the small files; what they mean is decided when all drives are known."""
    try:
        if not view.drive.exists():
            view.standing = "empty"
            view.note("", "missing", _no_drive(view))
            return None
    except FormatError as error:
        view.standing = "empty"
        view.note("", "unexpected", str(error))
        return None
    except DriveFault as error:
        view.standing = "empty"
        view.failed("", error)
        return error
    view.small, view.problems = read_all(view, _LIMITS)
    if isinstance(view.drive, RemoteDrive) and len(view.small) > 1 and len(set(view.small.values())) == 1:
        view.small, view.problems, view.standing = {}, [], "empty"
        what = "what answers there is no drive: it gives the same bytes whatever is asked for"
        fault = DriveFault(f"{view.mount}: {what}", drive=view.mount, hint="see the address")
        view.failed("", fault)
        return fault
    try:
        view.manifest = mf.decode_manifest(view.small.get(mf.MANIFEST, b""))
    except FormatError:
        view.manifest = None
    try:
        view.card = mf.decode_card(view.small.get(mf.CARD, b""))
    except FormatError:
        view.card = None
    return None


def wait_for_enough(looks: Sequence[Late]) -> list[Late]:
    """Wait until the others have all that is to be read, by their own word; those that are not waited for.

    For what is mounted here, as long as it takes; for other hosts at least SOON.
    """
    wait([each.look for each in looks if not isinstance(each.view.drive, RemoteDrive)])
    begun, enough = time.monotonic(), 0.0
    wait([each.look for each in looks], ranges.SOON)
    while late := [each for each in looks if not each.look.done()]:
        taken = time.monotonic() - begun
        if not enough and _say_enough([each.view for each in looks if each not in late]):
            enough = taken
        if enough and (enough <= 2 * ranges.SOON or taken >= _GRACE * enough):
            return late
        left = _GRACE * enough - taken if enough else None
        wait([each.look for each in late], left, return_when=FIRST_COMPLETED)
    return []


def _say_enough(views: Sequence[DriveView]) -> bool:
    """Whether these are, by their own word, as many drives of every group of one shipment as reading needs."""
    slots: dict[str, dict[int, set[int]]] = {}
    needed: dict[tuple[str, int], int] = {}
    groups: dict[str, int] = {}
    for view in views:
        if view.manifest is not None and view.card is not None:
            shipment, group = view.manifest.shipment, view.manifest.group
            slots.setdefault(shipment, {}).setdefault(group, set()).add(view.card.slot)
            needed[shipment, group] = view.manifest.geometry.data
            groups[shipment] = max(groups.get(shipment, 0), view.manifest.groups)
    return any(
        len(found) >= groups[shipment] and all(len(found[group]) >= needed[shipment, group] for group in found)
        for shipment, found in slots.items()
    )


def is_enough(found: Survey) -> bool:
    """The same, as it was judged."""
    groups = [group for group in found.groups if group.trusted]
    return (
        found.trusted is not None
        and len(groups) >= found.groups_total
        and all(len(group.copies) >= group.manifest.geometry.data for group in groups)
    )


def find(group: GroupView, view: DriveView, *, strict: bool = False) -> survey_slots.Place:
    """The place of a drive in another host; in a thread of its own, with pages of its own."""
    packs, blocks = group.open_pages(cache=8)
    try:
        return survey_slots.find(view.drive, view.card, group.manifest, packs, blocks, strict=strict)
    finally:
        packs.close()
        blocks.close()


def _claimed(group: GroupView, view: DriveView) -> int | None:
    packs, blocks = group.open_pages(cache=8)
    try:
        return survey_slots.slot_of_claimed(view.drive, view.card, group.manifest, packs, blocks)
    finally:
        packs.close()
        blocks.close()


def join(groups: Collection[GroupView], view: DriveView) -> GroupView | None:
    """Find group and slot of a drive that has answered by now; None where it has none, and a problem says why."""
    if view.standing == "empty":
        return None
    elsewhere = view.manifest is not None and all(view.manifest.shipment != each.manifest.shipment for each in groups)
    foreign = elsewhere and Checker(None, None).whole(view)
    data = view.small.get(mf.MANIFEST)
    mine = [group for group in groups if data is not None and blake3(data).hexdigest() == group.digest]
    for group in mine or groups:
        slot = _claimed(group, view) if foreign else find(group, view, strict=not mine).slot
        if slot is not None:
            view.standing, view.group, view.slot = "member", group.group, slot
            return group
    if foreign and view.manifest is not None:
        view.standing = "foreign"
        view.note(mf.MANIFEST, "foreign", f"a drive of shipment {view.manifest.shipment}")
        return None
    view.note(mf.MANIFEST, "unexpected", "nothing on it says which drive of this shipment it is")
    return None


class Latecomers:
    """Drives of a shipment that is open which had not answered: each is read from as soon as it has. Safe for threads.

    A forked child looks at those that had not answered yet for itself, by `begin`.
    """

    def __init__(self, late: Sequence[Late], views: Mapping[int, GroupView]) -> None:
        self._late, self._views = list(late), views
        self._useless: list[DriveView] = []  # that turned out to give nothing
        self._watch()

    @property
    def useless(self) -> list[tuple[str, str]]:
        """Mounts that turned out to give nothing, and why."""
        return [(view.mount, reason(view.problems[0].detail, view.mount)) for view in self._useless]

    @property
    def unreached(self) -> list[tuple[str, str]]:
        """Those of `useless` and `waiting` of which nothing is known, since their hosts did not give it."""
        silent = [view for view in self._useless if view.problems[0].kind == "unreached"]
        return [(view.mount, reason(view.problems[0].detail, view.mount)) for view in silent] + self.waiting

    @property
    def waiting(self) -> list[tuple[str, str]]:
        """Mounts that have given nothing by now, as they have not answered, and that in words."""
        with self._lock:
            return [(each.view.mount, "it has not answered") for each in self._late]

    def _watch(self) -> None:
        self._pid, self._lock = os.getpid(), threading.Lock()
        self._readers: dict[int, GroupReader] = {}
        self.settled = threading.Event()  # every one has answered, or will not
        if not self._late:
            self.settled.set()
        for each in list(self._late):
            each.look.add_done_callback(partial(self._answered, each))

    def begin(self, readers: dict[int, GroupReader]) -> None:
        """From now on these read; they are told of each that comes."""
        if self._pid != os.getpid():
            self._late = begin([DriveView(each.view.mount, each.view.drive) for each in self._late])
            self._watch()
        with self._lock:
            self._readers = readers
            for number, reader in readers.items():
                reader.awaited = self.settled
                reader.take(self._views[number])

    def _answered(self, each: Late, _look: object) -> None:
        view = each.view
        try:
            group = join(self._views.values(), view)
            with self._lock:
                if group is None:
                    self._useless.append(view)
                elif all(other.drive is not view.drive for other in group.views):
                    group.views.append(view)
                    if group.group in self._readers:
                        self._readers[group.group].take(group)
        finally:
            with self._lock:
                self._late.remove(each)
                if not self._late:
                    self.settled.set()


def _no_drive(view: DriveView) -> str:
    """Why a place without sealift/ is no drive: where nothing is mounted, none may be meant to be."""
    what = f"there is no {mf.ROOT}/ folder"
    if isinstance(view.drive, LocalDrive) and not os.path.ismount(view.mount):
        return f"{what}, and nothing is mounted there"
    if isinstance(view.drive, RemoteDrive):
        return f"{what} {AT_ADDRESS}: each drive has one of its own, and a locations file names them all"
    return f"{what} on this drive"
