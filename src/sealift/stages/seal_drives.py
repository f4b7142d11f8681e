"""The drives that are attached when a shipment is sealed: each is one of it, as it was packed, and has all its files.

Manifest and signature are compared byte for byte, the other small files by what was signed of them: all of that is read
from the medium, from all drives at once. Packs are looked for by presence and length; their bytes are for read-back and
verify. A drive is attached once: a copy of one takes no other's place. Nothing is written to a drive here. One that is
not attached need not be looked at: it counts for what it was (seal_known.py).
"""

from __future__ import annotations

import contextlib
import os
import threading
from array import array
from collections import Counter
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, NamedTuple

from sealift.drives import hung
from sealift.drives.base import reason
from sealift.drives.locations import identity, open_to_write
from sealift.errors import BadInput, FormatError, Refused
from sealift.formats import manifest as manifests
from sealift.formats.manifest import (
    CARD,
    GROUP_FILES,
    MANIFEST,
    MAX_CARD,
    MAX_MANIFEST,
    PACKS,
    ROOT,
    SIGNATURE,
)
from sealift.formats.sshsig import MAX_ARMORED
from sealift.stages.lacking import Lacking, is_emptied, lacking
from sealift.stages.pack.found import is_as_signed
from sealift.stages.pack.small import is_as_written

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sealift.drives.base import Drive
    from sealift.formats.manifest import DriveCard, Manifest
    from sealift.formats.seal import Seal
    from sealift.stages.seal_groups import Packed
    from sealift.stages.seal_known import Known

    Progress = Callable[[int, int, Mapping[str, int]], object]  # bytes read, of how many, and by mount

_REPAIR = (
    "`sealift repair` with all mounts of the group rebuilds what is missing or wrong on no more of its drives than "
    "parity holds"
)
_LEAVE = (
    "or leave that mount away: the seal holds for a drive that is not attached, and as many as parity holds are "
    "rebuilt at the destination"
)
_MEND = f"{_REPAIR}; {_LEAVE}"
_CARD = f"`sealift repair` with all mounts of the group makes it again; {_LEAVE}"
_SMALL = (
    "`sealift pack` once more, with `--read-back full` and all drives, looks at the small files, and writes again what "
    "no drive has, from the state folder; `sealift repair` with all mounts of the group mends what other drives have"
)
_FROM_OTHERS = (
    "`sealift repair` with all mounts of the group takes from another drive what one has not as it was signed, and "
    "makes again what is of each drive alone"
)
_ANOTHER = "its manifest is not the one that is sealed"
_ALL_ALIKE = (*GROUP_FILES, SIGNATURE, MANIFEST)  # the same on every drive of a group


class _Looked(NamedTuple):
    """What a drive has of what its group's manifest names."""

    drive: Drive
    card: DriveCard
    wrong: dict[str, str]  # small files that are not there as they were signed, and that in words
    lacks: Lacking | None

    @property
    def text(self) -> str:
        """For people; empty where it is whole."""
        return ", ".join([*self.wrong.values(), *([self.lacks.text] if self.lacks else [])])


def attached(
    mounts: Sequence[str],
    record: Seal,
    groups: Sequence[Packed],
    found: Known,
    notice: Callable[[str], None],
    progress: Progress = lambda _done, _total, _drives: None,
) -> list[tuple[Drive, str]]:
    """The drives to write to and their ids; BadInput for one that is not a finished drive of this shipment.

    Refused when two of them are the same drive, and when some are not whole: all that are not are named; and where with
    what was `found` before more is short than parity holds. One that was made anew (`repair --onto`) is as good as the
    one that was packed, unless it is known to be another piece of goods than is declared.
    """
    known: list[tuple[Drive, DriveCard]] = []
    places = set()
    for mount in mounts:
        drive = open_to_write(mount)
        with hung.asked(mount):
            place = identity(mount)
        if place in places:  # another name of it
            continue
        places.add(place)
        card = _card(drive, record, groups)
        _check_itself(drive, card, groups[card.group])
        if card.rebuilt:
            notice(f"{mount}: drive {card.id} was made anew at {card.rebuilt.at}; it leaves as drive {card.serial}")
        known.append((drive, card))
    _check_apart(known, groups)
    reading = _Reading(sum(_bytes_of(card, groups) for _, card in known), progress)
    with ThreadPoolExecutor(max_workers=len(known) or 1) as pool:
        jobs = [pool.submit(_look, drive, card, groups[card.group], reading) for drive, card in known]
        try:
            done, _ = wait(jobs, return_when=FIRST_EXCEPTION)
        finally:
            reading.stop()  # those that read on, where one failed or somebody wants to leave: the pool waits for them
    for job in done:
        job.result()  # raises what went wrong first
    looked = [job.result() for job in jobs]
    for each in looked:
        if not {PACKS, MANIFEST} & each.wrong.keys():  # else nothing tells which packs there should be
            found.saw(each.card.group, each.card.slot, each.drive.mount, each.lacks)
    short = "; ".join(f"{each.drive.mount}: drive {each.card.id}: {each.text}" for each in looked if each.text)
    for packed in groups:
        found.require(packed.manifest, short)
    if short:
        raise Refused(f"{short}; nothing was written", hint=_hint(looked, groups))
    return [(each.drive, each.card.id) for each in looked]


def _card(drive: Drive, record: Seal, groups: Sequence[Packed]) -> DriveCard:
    """drive.json of a drive of this shipment; BadInput of another one, Refused where it is gone or damaged."""
    mount = drive.mount
    there = drive.exists()
    try:
        data = drive.read_small(CARD, MAX_CARD) if there else None
        card = None if data is None else manifests.decode_card(data)
    except FormatError as error:
        raise Refused(f"{mount}: {reason(error, mount)}; nothing was written", hint=_CARD) from error
    if card is None:
        manifest = None
        with contextlib.suppress(FormatError):  # then nothing tells of which shipment it is
            manifest = drive.read_small(MANIFEST, MAX_MANIFEST) if there else None
        for packed in groups:
            if manifest == packed.data:
                raise Refused(
                    f"{mount}: {CARD} is not there, and {MANIFEST} says that it is a drive of group "
                    f"{packed.manifest.group}; nothing was written",
                    hint=_CARD,
                )
        hint = "give the mounts of this shipment's drives"
        if is_emptied(drive):
            hint += (
                "; is that drive mounted? if it is one of them, and was emptied: `sealift repair` of the others with "
                f"`--onto {mount}` makes it anew"
            )
        raise BadInput(f"{mount}: no drive of a shipment", hint=hint)
    if card.shipment != record.shipment or card.group >= len(groups):
        raise BadInput(f"{mount}: drive {card.id} of another shipment, {card.shipment}; nothing was written")
    if card.slot >= groups[card.group].manifest.n:
        raise BadInput(f"{mount}: says that it is drive {card.id}, and there is none; nothing was written")
    return card


def _check_itself(drive: Drive, card: DriveCard, packed: Packed) -> None:
    """BadInput, Refused for a drive that is not the one that was packed and declared as its drive.json says."""
    mount = drive.mount
    if packed.manifest.is_replaced(card) and drive.read_small(MANIFEST, MAX_MANIFEST) != packed.data:
        row = packed.manifest.drives[card.slot]
        raise BadInput(
            f"{mount}: says that it is drive {card.serial}, and {card.id} was signed as {row.serial}: it may be "
            "the drive that was replaced by that one; nothing was written",
            hint=f"give the mount of {row.serial} in place of this one; what was replaced does not leave",
        )
    if not packed.manifest.is_card(card.slot, card):
        raise BadInput(f"{mount}: says that it is drive {card.id}, and is not as it was packed", hint=_MEND)
    if card.rebuilt and card.rebuilt.serial not in {"", card.serial}:
        raise Refused(
            f"{mount}: drive {card.id} was made anew on a drive whose serial number is {card.rebuilt.serial}; it "
            f"was packed, and is declared, as {card.serial}, and what is not declared does not leave",
            hint="leave that mount away and that drive here: the seal holds for the others, and the destination "
            "rebuilds what parity holds",
        )


def _check_apart(known: Sequence[tuple[Drive, DriveCard]], groups: Sequence[Packed]) -> None:
    """Refused where two mounts are the same drive: the seal would be counted for one that is not here."""
    first: dict[str, str] = {}
    for drive, card in known:
        if first.setdefault(card.id, drive.mount) == drive.mount:
            continue
        here = {each.id for _, each in known}
        absent = [row for row in groups[card.group].manifest.drives if row.id not in here]
        others = ", ".join(f"{row.id} (serial {row.serial})" for row in absent)
        is_not = f"not among those given: {others}; " if absent else ""
        hint = "see by the serial numbers on them which of the two is the drive, and leave the other mount away"
        if absent:
            hint += (
                ", or put in what is not here. if the copy was written over that drive: clear it, and `sealift repair` "
                "of the others with `--onto MNT` makes what was on it anew"
            )
        raise Refused(
            f"{first[card.id]} and {drive.mount} both say that they are drive {card.id} (serial {card.serial}), and "
            f"one of them is a copy; {is_not}nothing was written",
            hint=hint,
        )


class _Stopped(Exception):
    """What is read is wanted no more; nobody sees this."""


class _Reading:
    """How much of the small files was read, by mount; told from any thread, which ends there once it is stopped."""

    def __init__(self, total: int, tell: Progress) -> None:
        self._total, self._tell, self._done, self._lock = total, tell, Counter[str](), threading.Lock()
        self._stopped = False

    def stop(self) -> None:
        """Another drive failed, or whoever waits was interrupted."""
        self._stopped = True

    def add(self, mount: str, count: int) -> None:
        """So many bytes more of one drive."""
        with self._lock:
            if self._stopped:
                raise _Stopped
            self._done[mount] += count
            self._tell(self._done.total(), self._total, self._done)


def _bytes_of(card: DriveCard, groups: Sequence[Packed]) -> int:
    return sum(ref.bytes for ref in groups[card.group].manifest.small_files(card.slot).values())


def _look(drive: Drive, card: DriveCard, packed: Packed, reading: _Reading) -> _Looked:
    wrong = _wrong(drive, card.slot, packed, reading)
    # where these are wrong nothing tells which packs there should be
    lacks = None if {PACKS, MANIFEST} & wrong.keys() else _lacks(drive, card.slot, packed.manifest)
    return _Looked(drive, card, wrong, lacks)


def _wrong(drive: Drive, slot: int, packed: Packed, reading: _Reading) -> dict[str, str]:
    """Small files of a drive that are not there as they were signed, and that in words.

    Of one that bears another manifest no more is said: it may be of another packing.
    """
    wrong: dict[str, str] = {}
    for name, limit, signed in ((MANIFEST, MAX_MANIFEST, packed.data), (SIGNATURE, MAX_ARMORED, packed.signature)):
        try:
            there = drive.read_small(name, limit)
        except FormatError as error:
            wrong[name] = reason(error, drive.mount)
            continue
        if there is None:
            wrong[name] = f"it has no {name}"
        elif there != signed and name == MANIFEST:
            return {name: _ANOTHER}
        elif there != signed:
            wrong[name] = f"its {name} is not as it was signed"
    for name, ref in packed.manifest.small_files(slot).items():
        try:
            size = drive.size(name)
        except FormatError as error:
            wrong[name] = reason(error, drive.mount)
            continue
        if size is None:
            wrong[name] = f"{name} is not there"
        elif size != ref.bytes:
            wrong[name] = f"{name} is {size:,} bytes long instead of {ref.bytes:,}"
        elif not is_as_written(drive, name, ref, lambda count: reading.add(drive.mount, count)):
            wrong[name] = f"{name} is not as it was signed"
    return wrong


def _hint(looked: Sequence[_Looked], groups: Sequence[Packed]) -> str:
    """What to do about drives that are not whole; to leave mounts away only where another drive may be better."""
    for packed in groups:
        here = [each for each in looked if each.card.group == packed.manifest.group]
        if len({each.card.slot for each in here}) < packed.manifest.n:
            continue
        on_none = [name for name in _ALL_ALIKE if all(name in each.wrong for each in here)]
        if MANIFEST in on_none and any(each.wrong[MANIFEST] == _ANOTHER for each in here):  # pack refuses these
            return (
                "seal the drives that were packed. if it is these, and they are damaged: copy "
                f"{MANIFEST} and {SIGNATURE} from {packed.folder}, where they are as they were signed, into {ROOT}/ on "
                "one of them, and `sealift repair` with all mounts of the group mends the others"
            )
        for name in on_none:
            path = os.path.join(packed.folder, name)
            if name in GROUP_FILES and not is_as_signed(path, packed.manifest.group_file(name)):
                return f"{path} is not as it was signed either: {_nowhere(packed, name)}"
        if on_none:
            return _SMALL
    if any(each.wrong.get(MANIFEST) == _ANOTHER for each in looked):
        return f"seal the drives that were packed. if it is one of them, and damaged: {_MEND}"
    how = [_REPAIR] if any(each.lacks for each in looked) else []
    if any(each.wrong for each in looked):
        alone = any(
            name in _ALL_ALIKE and not _has(looked, each.card.group, name) for each in looked for name in each.wrong
        )
        how.append(_SMALL if alone else _FROM_OTHERS)
    return "; ".join([*how, _LEAVE])


def _has(looked: Sequence[_Looked], group: int, name: str) -> bool:
    """Whether a drive of the group that is here has a small file as it was signed, or repair makes it anew."""
    return name not in _ALL_ALIKE or any(each.card.group == group and name not in each.wrong for each in looked)


def _nowhere(packed: Packed, name: str) -> str:
    return (
        f"no drive of group {packed.manifest.group} has {name} as it was signed. put it back from a copy, if there is "
        "one (an earlier seal has the indexes beside it, and `sealift repair --seal` of that puts them on the drives); "
        "else pack anew, with another --state, onto drives that are empty"
    )


def where_whole(packed: Packed, name: str, drives: Sequence[tuple[Drive, str]]) -> str:
    """The hint for a file of the group that the state folder does not have as signed; all of `drives` have it."""
    rows = {row.id for row in packed.manifest.drives}
    for drive, each in drives:
        if each in rows:
            return f"{drive.mount} has a whole copy (sealift/{name}); copy it from there"
    return (
        f"every drive of group {packed.manifest.group} should have a whole copy (sealift/{name}); give their mounts: "
        "it is said which has one, and copy it from there"
    )


def _lacks(drive: Drive, slot: int, manifest: Manifest) -> Lacking | None:
    """What a drive lacks of its packs, by presence and length, which its table of packs tells: that is as signed."""
    n, stripes, data = manifest.n, manifest.geometry.stripes, manifest.geometry.data
    lengths = array("q")
    with drive.open_read(PACKS) as file:
        pages = manifests.table_of_packs(file.read_at, manifest)
        for stripe in range(stripes):
            lengths.append(manifests.pack_at(pages, stripe, manifests.role_of(stripe, slot, n), n).length)
    return lacking(drive, slot, n, data, lengths)
