"""The drives that are attached when a shipment is sealed: each is one of it, as it was packed, and has all its files.

Manifest and signature are compared byte for byte, the other small files by what was signed of them: all of that is read
from the medium, from all drives at once. Packs are looked for by presence and length; their bytes are for read-back and
verify. Nothing is written to a drive here. One that is not attached need not be looked at: it counts for what it was
(seal_known.py). What is at a mount where none is known, or a copy of another, is told in seal_mounts.py, and noted.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, NamedTuple

from sealift.drives.base import reason
from sealift.errors import DriveFault, FormatError, Refused
from sealift.formats.manifest import (
    CARD,
    GROUP_FILES,
    MANIFEST,
    MAX_MANIFEST,
    OWN_FILES,
    PACKS,
    ROOT,
    SIGNATURE,
    drive_id,
)
from sealift.formats.sshsig import MAX_ARMORED
from sealift.stages.lacking import is_emptied, lacking
from sealift.stages.pack.found import is_as_signed
from sealift.stages.pack.presence import table_lengths
from sealift.stages.pack.small import is_as_written
from sealift.stages.seal_known import ALL_ALIKE
from sealift.stages.seal_mounts import LEAVE, MEND, REPAIR, identify, refusal

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Mapping, Sequence

    from sealift.drives.base import Drive
    from sealift.formats.seal import Seal
    from sealift.stages.seal_groups import Packed
    from sealift.stages.seal_known import Known
    from sealift.stages.seal_mounts import Stranger

    Progress = Callable[[int, int, Mapping[str, int]], object]  # bytes read, of how many, and by mount
    _Wanted = tuple[Drive, int, int, Stranger | None]  # of group and slot, and where something else is, what

_SMALL = (
    "`sealift pack` once more, with all drives of the group, looks at the small files, and writes again from the state "
    "folder what is not as signed; `sealift repair` with all mounts of the group mends what other drives have"
)
_FROM_OTHERS = (
    "`sealift repair` with all mounts of the group takes from another drive what one has not as it was signed, and "
    "makes again what is of each drive alone"
)
_ANOTHER = "its manifest is not the one that is sealed"


class _Looked(NamedTuple):
    """What the drive in a slot has of what its group's manifest names."""

    drive: Drive
    group: int
    slot: int
    wrong: dict[str, str]  # small files that are not there as they were signed, and that in words
    stripes: list[int] | None  # that it lacks; None: nothing tells which packs there should be
    lacks: str  # that in words
    unknown: str = ""  # why it is not known as that drive, in words

    @property
    def id(self) -> str:
        """As g0s2."""
        return drive_id(self.group, self.slot)

    @property
    def text(self) -> str:
        """For people; empty where it is whole."""
        files = () if self.unknown else self.wrong.values()
        return ", ".join(dict.fromkeys(filter(None, [self.unknown, *files, self.lacks])))


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
    what was `found` before more is short than parity holds. All are looked at before anything is refused, and what is
    seen is noted: it is known when the next seal is made without them. One that was made anew (`repair --onto`) is as
    good as the one that was packed, unless it is known to be another piece of goods than is declared.
    """
    there = identify(mounts, record, groups, found, notice)
    wanted: list[_Wanted] = [(drive, card.group, card.slot, None) for drive, card in there.drives]
    strangers = [*there.unknown, *there.copies]
    wanted += [(each.drive, *each.place, each) for each in strangers if each.place is not None]
    looked = _looked(wanted, groups, found, progress)
    told = [f"{each.drive.mount}: drive {each.id}: {each.text}" for each in looked if each.text]
    told += [f"{each.drive.mount}: {each.text}" for each in strangers if each.place is None]
    for packed in groups:
        found.require(packed.manifest, "; ".join(told))
        found.require_not_gone(packed.manifest.group)
    if there.unknown:
        raise refusal(there.unknown, leave=len(told) == 1)
    if there.copies:
        raise there.copies[0].error
    if told:
        raise Refused(f"{'; '.join(told)}; nothing was written", hint=_hint(looked, groups))
    return [(each.drive, each.id) for each in looked]


def _looked(wanted: Sequence[_Wanted], groups: Sequence[Packed], found: Known, progress: Progress) -> list[_Looked]:
    """What each has, and `found` is told of it, also where another one fails: that is raised then."""
    lengths = {
        number: _lengths(groups[number], [drive for drive, group, _, _ in wanted if group == number])
        for number in sorted({group for _, group, _, _ in wanted})
    }
    reading = _Reading(sum(_bytes_of(groups[group], slot) for _, group, slot, _ in wanted), progress)
    with ThreadPoolExecutor(max_workers=len(wanted) or 1) as pool:
        jobs = [
            pool.submit(_look, drive, groups[group], slot, lengths[group], reading, stranger)
            for drive, group, slot, stranger in wanted
        ]
        try:
            done, _ = wait(jobs, return_when=FIRST_EXCEPTION)
        finally:
            reading.stop()  # those that read on, where one failed or somebody wants to leave: the pool waits for them
    seen = [job.result() for job in jobs if job.exception() is None]
    for each in seen:
        if each.stripes is not None:
            found.saw(each.group, each.slot, each.drive.mount, each.stripes, each.lacks)
    for packed in groups:
        wrong = {each.slot: each.wrong.keys() for each in seen if each.group == packed.manifest.group}
        found.saw_small(packed.manifest, wrong)
    for job in done:
        job.result()  # raises what went wrong first
    return seen


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


def _bytes_of(packed: Packed, slot: int) -> int:
    return sum(ref.bytes for ref in packed.manifest.small_files(slot).values())


def _look(
    drive: Drive,
    packed: Packed,
    slot: int,
    lengths: Sequence[Sequence[int]] | None,
    reading: _Reading,
    stranger: Stranger | None,
) -> _Looked:
    """What a drive has; a `stranger` is at the mount where it should be."""
    manifest = packed.manifest
    unknown = stranger.text if stranger else ""
    if stranger and (stranger.instead or is_emptied(drive)):
        nothing = stranger.instead or "nothing of the shipment is on it"
        all_of_it = range(manifest.geometry.stripes)
        stripes = [stripe for stripe in all_of_it if lengths is None or lengths[slot][stripe]]
        wrong = dict.fromkeys((*ALL_ALIKE, *OWN_FILES, CARD), nothing)
        return _Looked(drive, manifest.group, slot, wrong, stripes, nothing, nothing)
    wrong = _wrong(drive, slot, packed, reading)
    if stranger:
        wrong[CARD] = unknown
    if lengths is None:
        return _Looked(drive, manifest.group, slot, wrong, None, "", unknown)
    lacks = lacking(drive, slot, manifest.n, manifest.geometry.data, lengths[slot])
    stripes, text = (lacks.stripes, lacks.text) if lacks else ([], "")
    return _Looked(drive, manifest.group, slot, wrong, stripes, text, unknown)


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
        here = [each for each in looked if each.group == packed.manifest.group]
        if len({each.slot for each in here}) < packed.manifest.n:
            continue
        on_none = [name for name in ALL_ALIKE if all(name in each.wrong for each in here)]
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
        return f"seal the drives that were packed. if it is one of them, and damaged: {MEND}"
    how = [REPAIR] if any(each.lacks for each in looked) else []
    if any(each.wrong for each in looked):
        alone = any(name in ALL_ALIKE and not _has(looked, each.group, name) for each in looked for name in each.wrong)
        how.append(_SMALL if alone else _FROM_OTHERS)
    leave = [LEAVE] * all(each.stripes is not None for each in looked)  # else one may be needed that is left away
    return "; ".join([*how, *leave])


def _has(looked: Sequence[_Looked], group: int, name: str) -> bool:
    """Whether a drive of the group that is here has a small file as it was signed, or repair makes it anew."""
    return name not in ALL_ALIKE or any(each.group == group and name not in each.wrong for each in looked)


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


def _lengths(packed: Packed, drives: Sequence[Drive]) -> list[array[int]] | None:
    """By slot and stripe, lengths of a group's packs, from a table of packs that is as signed; None: there is none.

    The state folder's is asked first: what a drive lacks is to be known, too, where its own table is wrong.
    """
    manifest = packed.manifest
    with contextlib.suppress(OSError, FormatError), open(os.path.join(packed.folder, PACKS), "rb") as kept:
        return table_lengths(lambda offset, size: os.pread(kept.fileno(), size, offset), manifest)
    for drive in drives:
        with contextlib.suppress(DriveFault, FormatError), drive.open_read(PACKS) as file:
            return table_lengths(file.read_at, manifest)
    return None
