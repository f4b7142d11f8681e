"""The small files of a drive, made again: from the signed manifest where they follow from it, else from a good copy.

What holds: nothing is written that the manifest (or the trusted seal) does not cover; where no drive has a file
whole, nor the origin's copy beside the seal, it is left as it is and named. Pages of packs.bin and blocks.bin are
gathered from whichever drive has each. Written beside, fsynced, read (the tables and the indexes before they take the
place of others, past the caches), renamed. What is not here: packs (rebuild.py), and deciding which files are wrong.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from blake3 import blake3
from msgspec import UNSET, structs

from sealift.drives.base import aligned_buffer, is_in_the_way
from sealift.drives.ranges import RemoteDrive
from sealift.errors import DriveFault, FormatError
from sealift.formats import canonical
from sealift.formats import manifest as mf
from sealift.reading.origin_copies import OriginCopies
from sealift.stages.pack import openme
from sealift.stages.pack.openme import GroupFacts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msgspec import UnsetType

    from sealift.drives.base import Drive, ReadFile
    from sealift.formats.manifest import Manifest, RebuiltNote
    from sealift.reading.survey import GroupView, Survey

_PIECE = 1 << 20
_BACK = 8 * mf.BLOCK  # bytes that are read back at a time
SMALL = (mf.CARD, *mf.OWN_FILES, *mf.GROUP_FILES, *mf.SEAL_FILES, mf.SIGNATURE, mf.MANIFEST)  # in order of writing


class SmallFiles:
    """What the small files of one group's drives must be, and where to have them from."""

    def __init__(self, found: Survey, group: GroupView, origin: OriginCopies | None = None) -> None:
        self._group, self._manifest, self._origin = group, group.manifest, origin or OriginCopies()
        self.found = found
        self.hosts: dict[str, str] = {}  # mounts of drives in other hosts that did not give a file, and why
        self._why = ""
        self._here: dict[str, bool] = {}  # of GROUP_FILES
        self._seal = {} if found.trusted is None else found.trusted.files

    def write(self, drive: Drive, slot: int, name: str, rebuilt: RebuiltNote | UnsetType = UNSET) -> int | None:
        """Write one file of SMALL; its length, or None when nobody has it whole. DriveFault when `drive` fails."""
        if name in mf.GROUP_FILES:
            return self._copy(drive, name)
        data = self._content(slot, name, rebuilt)
        if data is None:
            return None
        drive.write_small(name, data)
        try:
            kept = drive.read_small(name, len(data))
        except FormatError:
            kept = None
        if kept != data:
            raise _unlike(drive, name)
        return len(data)

    def is_good(self, drive: Drive, slot: int, name: str, rebuilt: RebuiltNote | UnsetType = UNSET) -> bool:
        """Whether a drive has the file as it must be."""
        try:
            if name not in mf.GROUP_FILES:
                data = self._content(slot, name, rebuilt)
                return data is not None and drive.read_small(name, len(data)) == data
            ref, digest = self._manifest.group_file(name), blake3()
            for piece in _pieces(drive, name, ref.bytes):
                digest.update(piece)
        except (FormatError, DriveFault):
            return False
        return digest.hexdigest() == ref.blake3

    def can(self, slot: int, name: str) -> bool:
        """Whether `write` will have what to write: what a dry run tells by."""
        if name not in mf.GROUP_FILES:
            return self._content(slot, name, UNSET) is not None
        if name not in self._here:
            self._here[name] = self._is_here(name)
        return self._here[name]

    def _is_here(self, name: str) -> bool:
        if name not in {mf.PACKS, mf.BLOCKS}:
            drives = (view.drive for view in self._group.views)
            return any(self.is_good(drive, 0, name) for drive in drives) or self._origin.has(self._manifest, name)
        try:
            return all(self._pages(name))
        except FormatError:
            return False

    def size(self, slot: int, name: str, rebuilt: RebuiltNote | UnsetType = UNSET) -> int:
        """Length of a file of which it `can` be said what is to be written."""
        row = self._manifest.drives[slot]
        if name in mf.GROUP_FILES:
            return self._manifest.group_file(name).bytes
        if name in mf.OWN_FILES:
            return (row.open_me if name == mf.OPEN_ME else row.sums).bytes
        return len(self._content(slot, name, rebuilt) or b"")

    def _content(self, slot: int, name: str, rebuilt: RebuiltNote | UnsetType) -> bytes | None:
        row = self._manifest.drives[slot]
        if name == mf.MANIFEST:
            return self._group.manifest_bytes
        if name == mf.SIGNATURE:
            return self._group.signature
        if name == mf.CARD:
            return canonical.encode(structs.replace(self._manifest.card(slot), rebuilt=rebuilt))
        if name in mf.SEAL_FILES:
            return self._seal.get(name)
        ref = row.open_me if name == mf.OPEN_ME else row.sums
        found = self._bound(self._made_again(slot, name), ref)  # empty on a drive without packs, and not None
        if found is None:
            found = self._other_copy(slot, name, ref)
        if found is None and name == mf.OPEN_ME:
            found = self._open_me_of_a_neighbour(slot, ref)
        return found

    def _made_again(self, slot: int, name: str) -> bytes | None:
        """OPEN-ME.txt or B3SUMS as this version writes it."""
        if name == mf.SUMS:
            return self._sums(slot)
        return openme.text(_facts(self._manifest), slot, self._stripes, self._manifest.geometry.files_end).encode()

    @property
    def _stripes(self) -> int:
        return self._manifest.geometry.stripes

    @staticmethod
    def _bound(data: bytes | None, ref: mf.FileRef) -> bytes | None:
        """The data if it is what was signed: an origin of another version may have worded it differently."""
        if data is None or (len(data), blake3(data).hexdigest()) != (ref.bytes, ref.blake3):
            return None
        return data

    def _other_copy(self, slot: int, name: str, ref: mf.FileRef) -> bytes | None:
        for view in self._group.copies.get(slot, []):
            try:
                data = self._bound(view.drive.read_small(name, ref.bytes), ref)
            except (FormatError, DriveFault):
                continue
            if data is not None:
                return data
        return None

    def _open_me_of_a_neighbour(self, slot: int, ref: mf.FileRef) -> bytes | None:
        """The text as the origin's version worded it: another drive's, with the lines that are this drive's."""
        facts = _facts(self._manifest)
        for view in self._group.views:
            if view.slot is None:
                continue
            try:
                data = view.drive.read_small(mf.OPEN_ME, 1 << 20) or b""
            except (FormatError, DriveFault):
                continue
            for theirs, ours in zip(openme.own_lines(facts, view.slot), openme.own_lines(facts, slot), strict=True):
                data = data.replace(theirs.encode(), ours.encode(), 1)
            if self._bound(data, ref) is not None:
                return data
        return None

    def _sums(self, slot: int) -> bytes | None:
        """B3SUMS from the pack records."""
        n, data = self._manifest.n, self._manifest.geometry.data
        lines = []
        packs, blocks = self._group.open_pages()
        try:
            for stripe in range(self._stripes):
                role = mf.role_of(stripe, slot, n)
                record = mf.pack_at(packs, stripe, role, n)
                if record.length:
                    lines.append(f"{record.blake3.hex()}  {mf.pack_name(stripe, role, data)}\n")
        except FormatError:
            return None
        finally:
            packs.close()
            blocks.close()
        return "".join(lines).encode()

    def _copy(self, drive: Drive, name: str) -> int | None:
        """A file that every drive of the group has, from a copy that is what was signed."""
        ref = self._manifest.group_file(name)
        if name in {mf.PACKS, mf.BLOCKS}:
            return self._stream(drive, name, ref, self._pages(name))
        for view in self._group.views:
            if self._stream(drive, name, ref, _pieces(view.drive, name, ref.bytes)) is not None:
                return ref.bytes
            if isinstance(view.drive, RemoteDrive):
                self.hosts.setdefault(view.mount, self._why)
        return self._stream(drive, name, ref, self._origin.pieces(self._manifest, name))

    def _pages(self, name: str) -> Iterator[bytes]:
        packs, blocks = self._group.open_pages()
        try:
            yield from (packs if name == mf.PACKS else blocks).pages()
        except FormatError:
            for why in filter(None, (packs.unanswered, blocks.unanswered)):
                self.hosts.setdefault(why.partition(": ")[0], why)
            raise
        finally:
            packs.close()
            blocks.close()

    def _stream(self, drive: Drive, name: str, ref: mf.FileRef, pieces: Iterator[bytes]) -> int | None:
        digest, offset = blake3(), 0
        part = drive.create(name)
        try:
            try:
                for piece in pieces:
                    digest.update(piece)
                    part.write_at(offset, [memoryview(piece)])
                    offset += len(piece)
            except FormatError as error:
                self._why = str(error)
                return None
            self._why = f"what it gives of {name} is not what was signed"
            if (offset, digest.hexdigest()) != (ref.bytes, ref.blake3):
                return None
            if (back := part.open_back()) is not None:  # what it replaces may hold what another drive lacks
                with back:
                    if digest_of(back).hex() != ref.blake3:
                        raise _unlike(drive, name)
            part.publish()
        finally:
            part.abandon()
        drive.sync_folder(name)
        return offset


def digest_of(file: ReadFile) -> bytes:
    """BLAKE3 of a file. DriveFault."""
    hasher, buffer = blake3(), aligned_buffer(_BACK)
    for offset in range(0, file.length, len(buffer)):
        got = file.readinto_at(offset, buffer)
        hasher.update(buffer[: min(got, file.length - offset)])
    return hasher.digest()


def _unlike(drive: Drive, name: str) -> DriveFault:
    return DriveFault(
        f"{drive.mount}: {name} does not read as it was written a moment ago",
        drive=drive.mount,
        hint="look at `dmesg`, cable and bay; a drive that does it again is of no use",
    )


def note_of(drive: Drive, at: str) -> RebuiltNote:
    """What a drive says of its being rebuilt; where it says nothing yet, that it is from now on (`at`)."""
    for name in (mf.CARD, mf.REBUILT):
        with contextlib.suppress(FormatError):
            data = drive.read_small(name, mf.MAX_CARD) if drive.exists() else None
            if data is not None and (
                note := mf.decode_card(data).rebuilt if name == mf.CARD else mf.decode_rebuilt(data)
            ):
                return note
    return mf.RebuiltNote(at=at, serial=drive.serial() or "")


def put_note(drive: Drive, note: RebuiltNote) -> None:
    """Write rebuilt.json, which says what drive.json says of it once more, and outlives it. DriveFault."""
    data = mf.encode_rebuilt(note)
    with contextlib.suppress(FormatError):
        if drive.read_small(mf.REBUILT, mf.MAX_CARD) == data:
            return
    try:
        drive.write_small(mf.REBUILT, data)
    except (FormatError, DriveFault) as error:
        if not is_in_the_way(error):  # what stands there is named by verify; drive.json says it
            raise


def _pieces(drive: Drive, name: str, size: int) -> Iterator[bytes]:
    """A file of another drive; FormatError where it does not read, or is not as long as it should be."""
    try:
        with drive.open_read(name) as file:
            if file.length != size:
                raise FormatError(f"{drive.mount}: {name} is {file.length:,} bytes long, not {size:,}")
            for offset in range(0, size, _PIECE):
                yield file.read_at(offset, min(_PIECE, size - offset))
    except DriveFault as error:
        raise FormatError(str(error)) from error


def _facts(record: Manifest) -> GroupFacts:
    """What OPEN-ME.txt was made of."""
    return GroupFacts(
        record.shipment,
        record.declaration,
        record.group,
        record.groups,
        record.drives_total,
        record.scan,
        record.order,
        record.seed,
        record.geometry.data,
        record.geometry.parity,
        [(row.number, row.serial, row.label, row.carrier) for row in record.drives],
        in_reply_to=record.in_reply_to or None,
    )
