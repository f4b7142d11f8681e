"""The small files of a drive, read again from the medium: packs are not all that a drive can lie about.

The index, the tables and the lists are written last, once a drive; parity gives none of them back, and a group is read
by nothing else. So they are read whole in each mode of read-back but `none`, before the manifest that names them is
written; then the manifest. What is wrong is written once more, and a drive that gives other bytes again is set aside.
Of a group that is signed they are read by each run, in any mode, where all of its drives are here: next to its packs
they are little. What is wrong is written again as the state folder has it; what that has not is told until it is right,
and `sealift repair` takes each from another drive. What neither has is gone, and that is an error.

Reads go past the caches where the drive has a medium (open_read(direct=True)). Memory is one buffer of PIECE a drive.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

from sealift.drives.base import ALIGN, aligned_buffer, is_missing, reason
from sealift.errors import Busy, DriveFault, FormatError, Lost
from sealift.formats import canonical, manifest
from sealift.formats.manifest import FileRef, Manifest
from sealift.formats.sizes import counted
from sealift.stages.lacking import is_emptied
from sealift.stages.pack import found
from sealift.stages.pack.crew import FAULTS, listen
from sealift.stages.pack.journal import SMALL_FILES
from sealift.stages.pack.journal_rows import Medium

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sealift.drives.base import Drive
    from sealift.stages.pack.crew import Crew
    from sealift.stages.pack.fleet import Attached
    from sealift.stages.pack.journal import Journal
    from sealift.stages.pack.work import Work

PIECE = 1 << 20
_SHORT = 16 << 20  # a file of the state folder that is no longer is read by each run


class SmallFiles:
    """What every drive of a group is to have beside its packs; written, and read again unless `read` is false."""

    def __init__(self, crew: Crew, journal: Journal, folder: str, *, read: bool) -> None:
        self._crew, self._journal, self._folder, self._read = crew, journal, folder, read

    def write(self, slot: int, drive: Drive, record: Manifest, own: Mapping[str, bytes]) -> None:
        """The group's files from the folder, and what is this drive's alone; FAULTS. One that lies is set aside."""
        for name in manifest.GROUP_FILES:
            self._put(slot, drive, name, record.group_file(name), None)
        for name, content in own.items():
            self.write_one(slot, drive, name, content)

    def write_one(self, slot: int, drive: Drive, name: str, content: bytes) -> None:
        """One file, by its content; FAULTS."""
        self._put(slot, drive, name, _ref(content), content)

    def keep(self, slot: int, drive: Drive, name: str, content: bytes) -> None:
        """One file that was written before the packs: written once more where it is not there as it was; FAULTS."""
        if self._read:
            self._put(slot, drive, name, _ref(content), content, there=True)
        elif not _is_there(drive, name, _ref(content)):
            drive.write_small(name, content)

    def _put(
        self, slot: int, drive: Drive, name: str, ref: FileRef, content: bytes | None, *, there: bool = False
    ) -> None:
        for again in (False, True):
            if again or not there:
                self._write(drive, name, content)
            crew = self._crew
            if not self._read or _is_there(drive, name, ref):
                if again:
                    self._journal.small_mended(crew.number)
                return
            listen(drive)  # who reads nothing any more fails, and does not lie
            self._journal.note_small(crew.number, slot, crew.medium(slot))
            if again:
                crew.distrust(slot, f"its {name} was not as it was written, twice")
            else:
                text = f"drive {crew.name(slot)}: {name} did not read back as it was written; it is written again"
                crew.note(slot, text, fault=True)

    def _write(self, drive: Drive, name: str, content: bytes | None) -> None:
        if content is not None:
            drive.write_small(name, content)
        else:
            _copy(os.path.join(self._folder, name), drive, name)


def _is_there(drive: Drive, name: str, ref: FileRef) -> bool:
    """As is_as_written, and false where there is no such file any more."""
    try:
        return is_as_written(drive, name, ref)
    except DriveFault as error:
        if not is_missing(error):
            raise
        return False


def is_as_written(drive: Drive, name: str, ref: FileRef, seen: Callable[[int], object] = lambda _count: None) -> bool:
    """Whether a file that was written reads back as that. FAULTS, but for a block that does not read: it is not.

    `seen` is told how many bytes were read, after each piece.
    """
    buffer, digest = aligned_buffer(PIECE), blake3()
    with drive.open_read(name, direct=True) as file:
        if file.length != ref.bytes:
            return False
        for offset in range(0, ref.bytes, PIECE):
            length = min(PIECE, ref.bytes - offset)
            try:
                got = file.readinto_at(offset, buffer[: -(-length // ALIGN) * ALIGN])
            except DriveFault:
                return False
            if got < length:
                return False
            digest.update(buffer[:length])
            seen(length)
    return digest.hexdigest() == ref.blake3


def _note(journal: Journal, group: int, looks: Sequence[tuple[Attached, int, _Wrong]]) -> None:
    """Which drives gave other bytes than were written, where that is news; what is gone from one it did not give."""
    known = journal.spoilt(group)
    for each, slot, one in looks:
        if one.text and slot not in known and not (one.names and all(_is_gone(each.drive, name) for name in one.names)):
            journal.note_small(group, slot, Medium(each.serial, each.mount))


def _is_gone(drive: Drive, name: str) -> bool:
    try:
        return drive.size(name) is None
    except FAULTS:
        return False


def _on_none(looks: Sequence[tuple[Attached, int, _Wrong]], top: Mapping[str, bytes]) -> list[str]:
    """What all drives should have and none that can be read has as it was signed; in the order of writing."""
    read = [one.names for _, _, one in looks if one.names or not one.text]
    return [name for name in (*manifest.GROUP_FILES, *top) if read and all(name in names for names in read)]


def _write_again(
    work: Work, group: int, record: Manifest, top: Mapping[str, bytes], looks: Sequence[tuple[Attached, int, _Wrong]]
) -> bool:
    """Write what is wrong on drives, and the state folder has as it was signed, to them again; whether that was any.

    What is of each drive alone is not there, and a drive that was emptied is left to `sealift repair`.
    """
    folder = found.closed_folder(work.options.state, group)
    all_wrong = {name for _, _, one in looks for name in one.names}
    kept = [
        name
        for name in (*manifest.GROUP_FILES, *top)  # in the order of writing
        if name in all_wrong
        and (name in top or found.is_as_signed(os.path.join(folder, name), record.group_file(name)))
    ]
    wrong = {
        slot: names
        for each, slot, one in looks
        if (names := [name for name in kept if name in one.names]) and not is_emptied(each.drive)
    }
    if not wrong:
        return False

    def write(each: Attached, slot: int) -> None:
        with contextlib.suppress(*FAULTS, Busy), contextlib.ExitStack() as stack:  # it is read again, and told
            if slot in wrong:
                each.drive.lock()
                stack.callback(each.drive.unlock)
            for name in wrong.get(slot, ()):
                if name in top:
                    each.drive.write_small(name, top[name])
                else:
                    _copy(os.path.join(folder, name), each.drive, name)

    found.on_drives(work, group, record, write)
    names = [name for name in kept if any(name in each for each in wrong.values())]
    were, which = "was" if len(names) == 1 else "were", ", ".join(manifest.drive_id(group, slot) for slot in wrong)
    text = f"group {group} is signed, and {', '.join(names)} {were} not as signed on {len(wrong)} of its "
    text += f"{counted(record.n, 'drive')} ({which}): written again there, from the state folder"
    work.tell("fault", text, group)
    return True


class _Wrong(NamedTuple):
    """Small files of a drive that are not as they were signed; and that in words, or why it cannot be read."""

    names: list[str]
    text: str  # empty: all is right


def look(work: Work, group: int) -> list[str]:
    """Read the small files of a signed group's drives, which are all attached; those of which some are wrong, told.

    Lost where no drive has one of those that all should have, and the state folder neither.
    """
    record, data, signature = found.manifest_here(work, group)
    top = {manifest.SIGNATURE: signature, manifest.MANIFEST: data}

    def looked() -> list[tuple[Attached, int, _Wrong]]:
        return found.on_drives(work, group, record, lambda each, slot: _wrong_on(each, slot, record, top))

    looks = looked()
    _note(work.journal, group, looks)
    if _write_again(work, group, record, top, looks):
        looks = looked()
    gone = _on_none(looks, top)
    wrong = [(each, slot, one.text) for each, slot, one in looks if one.text]
    work.journal.note_spoilt(group, {slot for _, slot, _ in wrong})
    work.journal.note_gone(group, SMALL_FILES, f"none of them had {', '.join(gone)} as signed" if gone else "")
    if gone:
        raise Lost(
            f"group {group} is signed, and none of its drives has {', '.join(gone)} as signed: "
            f"{'; '.join(f'{manifest.drive_id(group, slot)} ({each.mount})' for each, slot, _ in wrong)}. without that "
            "the group cannot be had from them, or nobody can prove what it was: do not free the source",
            hint="what they have in common (adapter, cable, hub) is the likely cause: put that right, and pack anew, "
            "with another --state, onto drives that are empty",
        )
    for each, slot, text in wrong:
        drive = f"drive {manifest.drive_id(group, slot)} (serial {each.serial}, {each.mount})"
        how = "`sealift repair` with the mounts of all drives of the group takes from another what one has not, and "
        how += "makes again what is of each drive alone"
        emptied = is_emptied(each.drive)
        if emptied:  # repair knows it by nothing, and leaves it as it is
            how = f"`sealift repair` of the others with `--onto {each.mount}` makes it anew"
        what = "nothing is on it" if emptied else text
        work.tell("fault", f"{drive}: {what}. group {group} is signed: {how}", group, slot, each.mount)
    return [manifest.drive_id(group, slot) for _, slot, _ in wrong]


def look_kept(work: Work, group: int, *, whole: bool) -> None:
    """Tell which indexes and tables of a signed group the state folder has not as signed.

    Unless `whole`, long ones by their length.
    Sealing takes the indexes from there, and drives that have all lost a table get it from there. A drive that has one
    as it was signed is named.
    """
    record, _, _ = found.manifest_here(work, group)
    names = dict.fromkeys((manifest.MEMBERS_INDEX, manifest.PACKS_INDEX), "the group is not sealed without it")
    if work.journal.group(group).stripes:  # of one that was taken over, the tables may be on its drives alone
        names |= dict.fromkeys((manifest.PACKS, manifest.BLOCKS), "where its drives lose theirs, nothing else has it")
    for name, what in names.items():
        path = os.path.join(found.closed_folder(work.options.state, group), name)
        ref, size = record.group_file(name), -1
        with contextlib.suppress(OSError):
            size = os.path.getsize(path)
        read = whole or ref.bytes <= _SHORT
        if size == ref.bytes and not (read and not found.is_as_signed(path, ref)):
            continue
        where = "none of its drives that are attached has it whole"
        for each in work.deal.drives(group):
            with contextlib.suppress(*FAULTS):
                if _is_there(each.drive, name, ref):
                    where = f"{each.mount} has a whole copy (sealift/{name}), copy it from there"
                    break
        is_so = "is not there" if size < 0 else "is not as it was signed"
        work.events.notice(f"{path} {is_so}, and {what}: {where}")


def _wrong_on(each: Attached, slot: int, record: Manifest, top: Mapping[str, bytes]) -> _Wrong:
    """What of a drive is not as it was signed, or why it cannot be read; `top`: manifest and signature."""
    card = canonical.encode(record.card(slot))
    wanted = record.small_files(slot)
    wanted |= {name: _ref(data) for name, data in {**top, manifest.CARD: card}.items()}
    wrong = []
    for name, ref in wanted.items():
        try:
            right = _is_there(each.drive, name, ref) or (name == manifest.CARD and _is_rebuilt(each, slot, record))
        except FAULTS as error:
            return _Wrong([], reason(error, each.mount))
        if not right:
            wrong.append(name)
    were = "it was" if len(wrong) == 1 else "they were"
    return _Wrong(wrong, f"{', '.join(wrong)} did not read back as {were} written" if wrong else "")


def _is_rebuilt(each: Attached, slot: int, record: Manifest) -> bool:
    """Whether drive.json says that the drive was made again elsewhere, and else what it must. FAULTS."""
    data = each.drive.read_small(manifest.CARD, manifest.MAX_CARD)
    with contextlib.suppress(FormatError):
        return data is not None and record.is_card(slot, manifest.decode_card(data))
    return False


def _ref(content: bytes) -> FileRef:
    return FileRef(bytes=len(content), blake3=blake3(content).hexdigest())


def _copy(path: str, drive: Drive, name: str) -> None:
    part = drive.create(name)
    try:
        with open(path, "rb") as file:
            offset = 0
            while piece := file.read(PIECE):
                part.write_at(offset, [memoryview(piece)])
                offset += len(piece)
        part.publish()
    except BaseException:
        part.abandon()
        raise
    drive.sync_folder(name)
