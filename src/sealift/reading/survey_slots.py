"""Which slot of a group a drive is in: its packs decide, drive.json is only a claim.

The first block of a pack has one place in the group, and its BLAKE3 stands in blocks.bin under the signed manifest; so
one block tells the slot. A claim that one block confirms stands; where neither drive.json nor own files say so, and
half of the packs that are looked at or more are not the group's, those that are may be strays. Where none is one of
the group's, they may be another's, whatever the small files say: then OPEN-ME.txt or B3SUMS, whose digests are in
their row of the table, have to be the slot's own. Where there are none, these tell, then the claim; where they do not
read, the claim alone leaves a doubt. Reads a few blocks, SAMPLES, and where these tell nothing as many of the packs
that are listed; trusts no name, length or claim.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

from sealift.drives.base import is_missing
from sealift.drives.ranges import SOON, RemoteDrive, read_soon
from sealift.errors import DriveFault, FormatError
from sealift.formats import manifest as mf

if TYPE_CHECKING:
    from sealift.drives.base import Drive
    from sealift.formats.manifest import DriveCard, DriveRow, Manifest
    from sealift.formats.paged import PagedFile
    from sealift.reading.survey_views import DriveView, GroupView

SAMPLES = 8
MAX_OWN_FILE = 64 << 20  # B3SUMS of 600,000 packs


class Place(NamedTuple):
    """Where a drive belongs in a group, and what says so."""

    slot: int | None
    by_packs: bool = False
    strange: bool = False  # of the packs that are looked at none is the group's, or too few for what its files say
    unsure: bool = False  # of some that are looked at nobody can say whether they are
    blind: bool = False  # packs are there that do not read, and drive.json alone says which drive it is


def find(
    drive: Drive,
    card: DriveCard | None,
    manifest: Manifest,
    packs: PagedFile,
    blocks: PagedFile,
    *,
    strict: bool = False,
) -> Place:
    """The slot of `drive` in the group of `manifest`, or None when nothing tells.

    `strict`: the drive bears another manifest or none, so its card alone, unless it is exactly the table's,
    is not believed.
    """
    of = card is not None and (card.shipment, card.group) == (manifest.shipment, manifest.group)
    claim = card.slot if card is not None and of and card.slot < manifest.n else None
    exact = claim is not None and card is not None and manifest.is_card(claim, card)
    votes: Counter[int] = Counter()
    strange, unsure, unread = 0, False, False
    try:
        stripes = _sample(manifest.geometry.stripes)
        for again in (False, True):
            # a folder to which packs were brought may have none of those
            for stripe in _there(drive, manifest.geometry.stripes) if again else stripes:
                told = _slots_of_pack(drive, manifest, packs, blocks, stripe)
                if claim in told.slots:
                    return Place(claim, by_packs=True)
                votes.update(told.slots)
                strange, unsure, unread = strange + told.strange, unsure or told.unsure, unread or told.unread
            if votes or (exact and not strange):
                break
    except DriveFault:  # a host that does not answer is not asked sixteen times
        pass
    if votes:
        ((slot, count),) = votes.most_common(1)
        stray = strange >= count and slot not in _slots_by_own_files(drive, manifest)
        return Place(slot, by_packs=True, strange=stray)
    by_files = set[int]() if strange and card is not None and not of else _slots_by_own_files(drive, manifest)
    if len(by_files) == 1:
        return Place(by_files.pop(), strange=strange > 0, unsure=unsure)
    if by_files or strange or (strict and not exact):
        return Place(None, strange=strange > 0, unsure=unsure)
    return Place(claim, unsure=unsure, blind=unread)


def slot_of_claimed(
    drive: Drive, card: DriveCard | None, manifest: Manifest, packs: PagedFile, blocks: PagedFile
) -> int | None:
    """The slot of a drive that bears a whole manifest of another shipment, and so may be that one's.

    One of ours it is where more than half of the packs that are looked at are those of the slot, and drive.json does
    not say that it is another shipment's; else None.
    """
    if card is not None and card.shipment != manifest.shipment:
        return None
    votes: Counter[int] = Counter()
    there = 0
    try:
        for stripe in _sample(manifest.geometry.stripes):
            told = _slots_of_pack(drive, manifest, packs, blocks, stripe)
            there += told.there
            votes.update(told.slots)
    except DriveFault:
        pass
    most = votes.most_common(1)
    return most[0][0] if most and 2 * most[0][1] > there else None


def _sample(stripes: int) -> list[int]:
    """Up to SAMPLES stripes, spread over the group, the first first."""
    return sorted({stripes * i // SAMPLES for i in range(SAMPLES)}) if stripes else []


def a_pack(drive: Drive) -> str | None:
    """The name of the first pack that a drive lists; None where it lists none soon."""
    try:
        names = (entry.name for entry in drive.walk(10_000) if mf.PACK_ENTRY.fullmatch(entry.name))
        return next((name.decode() for name in names), None)
    except (FormatError, DriveFault):
        return None


def knows(group: GroupView, name: str) -> bool:
    """Whether the tables of a group say what the packs of this one's stripe begin with, if it has such a stripe."""
    match, n = mf.PACK_FILE.fullmatch(name), group.manifest.n
    if match is None or int(match[2]) >= group.manifest.geometry.stripes:
        return match is not None
    try:
        for role in range(n):
            record = mf.pack_at(group.packs, int(match[2]), role, n)
            if record.length:
                group.blocks.get(record.first_block, record.first_block + 1)
    except FormatError:
        return False
    return True


def _there(drive: Drive, stripes: int) -> list[int]:
    """Up to SAMPLES of the stripes of which a drive lists a pack; none of one in another host that lists nothing."""
    found = set()
    try:
        for entry in drive.walk(2 * stripes + 10_000):
            match = mf.PACK_ENTRY.fullmatch(entry.name)
            if match is not None and int(match[2]) < stripes:
                found.add(int(match[2]))
    except (FormatError, DriveFault):
        return []
    there = sorted(found)
    return [there[place] for place in _sample(len(there))]


class _Told(NamedTuple):
    """What the packs of a stripe on a drive tell: the slots whose pack begins as one of them does."""

    there: bool = False  # one is there that reads
    slots: frozenset[int] = frozenset()
    strange: bool = False  # one is not the group's: it begins as none does, and what all begin with is known
    unsure: bool = False  # one begins as none does, as far as is known
    unread: bool = False  # one is there that does not read


def _slots_of_pack(drive: Drive, manifest: Manifest, packs: PagedFile, blocks: PagedFile, stripe: int) -> _Told:
    n, data = manifest.n, manifest.geometry.data
    there, found = False, set[int]()
    strange = unsure = unread = False
    digests: dict[tuple[int, int], bytes] = {}  # packs of a stripe are mostly as long as each other
    for role in (0, data):  # a data pack and a parity pack of one stripe differ in name; only one can be here
        if role >= n:
            continue
        start = _first_block(drive, mf.pack_name(stripe, role, data))
        unread |= start is None
        if not start:
            continue
        there, known, before = True, True, len(found)
        roles = range(data) if role < data else range(data, n)
        for other in roles:
            try:
                record = mf.pack_at(packs, stripe, other, n)
                if not record.length:
                    continue
                digest = blocks.get(record.first_block, record.first_block + 1)
            except FormatError:
                known = False
                continue
            length = min(record.length, mf.BLOCK)
            if (role, length) not in digests:
                digests[role, length] = blake3(start[:length]).digest()
            if digests[role, length] == digest:
                found.add(mf.slot_of(stripe, other, n))
        strange, unsure = strange or (known and len(found) == before), unsure or (not known and len(found) == before)
    return _Told(there, frozenset(found), strange, unsure, unread)


def _first_block(drive: Drive, name: str) -> bytes | None:
    """What a pack begins with, b"" where there is none, None where it does not read.

    DriveFault: a host does not answer soon.
    """
    if isinstance(drive, RemoteDrive):
        data = _of_host(drive, name)
        if data is None:
            raise DriveFault(f"{drive.mount}: no answer within {SOON:g} seconds", drive=drive.mount)
        return data
    try:
        with drive.open_read(name) as file:
            return file.read_at(0, mf.BLOCK)
    except FormatError:
        return b""
    except DriveFault as error:
        return b"" if is_missing(error) else None


def _of_host(drive: RemoteDrive, name: str) -> bytes | None:
    try:
        return read_soon(drive.open_later(name), 0, mf.BLOCK, SOON)
    except FormatError:
        return b""
    except DriveFault as error:
        return b"" if is_missing(error) else None


def is_bag(view: DriveView, group: GroupView) -> bool:
    """Whether this holds packs of a drive and none of its other files, and is not that drive: packs that were brought.

    Where nothing else is that drive, a medium that has more of its packs than it lacks is, and lost its other files, if
    it tells the serial number that was signed.
    """
    if view.slot is None or view.small or view.predecessor is not None:
        return False
    try:
        if any(view.drive.size(name) is not None for name in (mf.MANIFEST, *mf.OWN_FILES, *mf.GROUP_FILES)):
            return False
    except (FormatError, DriveFault):
        return False
    if not mf.is_medium_of(view.drive.serial(), group.manifest.drives[view.slot].serial):
        return True
    if any(each.slot == view.slot and each is not view for each in group.views):
        return True
    return not _has_most(view.drive, view.slot, group)


def _has_most(drive: Drive, slot: int, group: GroupView) -> bool:
    """Whether a drive has more packs of a slot than it lacks, by names and lengths."""
    n, data, stripes = group.manifest.n, group.manifest.geometry.data, group.manifest.geometry.stripes
    there, lacks = 0, 0
    for stripe in range(stripes):
        role = mf.role_of(stripe, slot, n)
        try:
            length = mf.pack_at(group.packs, stripe, role, n).length
            whole = drive.size(mf.pack_name(stripe, role, data)) == length
        except (FormatError, DriveFault):
            continue
        there += length > 0 and whole
        lacks += length > 0 and not whole
    return there > lacks


def has_open_me(drive: Drive, row: DriveRow) -> bool:
    """Whether OPEN-ME.txt, which names the drive's serial number, is the one that was signed for this row."""
    try:
        data = drive.read_small(mf.OPEN_ME, row.open_me.bytes)
    except (FormatError, DriveFault):
        return False
    return data is not None and mf.FileRef(bytes=len(data), blake3=blake3(data).hexdigest()) == row.open_me


def _slots_by_own_files(drive: Drive, manifest: Manifest) -> set[int]:
    """The rows whose OPEN-ME.txt or B3SUMS is the one on the drive; of two of them nothing can be said."""
    told = set[int]()
    for name in mf.OWN_FILES:
        try:
            data = drive.read_small(name, MAX_OWN_FILE)
        except (FormatError, DriveFault):
            continue
        if data is None:
            continue
        mark = mf.FileRef(bytes=len(data), blake3=blake3(data).hexdigest())
        slots = [row.slot for row in manifest.drives if mark in {row.open_me, row.sums}]
        told |= set(slots) if len(slots) == 1 else set()
    return told
