"""Whether the drives of a signed group still have what was signed, when packing is run again: by names and lengths.

Nothing more is written to a signed group, and of what is longer than a signature nothing is read here; small files that
are not there, or of another length, are read when all else is done (small.py). What up to parity of its drives lack,
`sealift repair` makes again; what more of them lack is gone as far as these drives go, and that is an error: the source
may still be there, and is not to be freed. A drive that is not attached counts for what it was when it was signed.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from sealift.drives.base import reason
from sealift.errors import DriveFault, FormatError
from sealift.formats import manifest as mf
from sealift.stages.lacking import TOO_MANY, Lacking, lacking
from sealift.stages.pack import found
from sealift.stages.pack.crew import FAULTS
from sealift.stages.pack.presence import listed, pack_lengths

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.drives.base import Drive
    from sealift.formats.manifest import Manifest
    from sealift.stages.pack.fleet import Attached
    from sealift.stages.pack.work import Work


def look(work: Work, group: int) -> list[str]:
    """Drives of a signed group that are attached and lack packs, told; DriveFault: more lack a stripe than can.

    A drive that does not answer lacks all of them as long as it does not.
    """
    record, _, signature = found.load_manifest(work.options.state, group)
    drives = work.deal.drives(group)
    amiss = found.on_drives(work, group, record, lambda each, slot: _is_amiss(each, slot, record, signature))
    work.amiss[group] = {slot for _, slot, bad in amiss if bad}
    lengths = _lengths(work, group, record) if drives else None
    if lengths is None:
        return []
    looks = found.on_drives(work, group, record, lambda each, slot: _lack(each, slot, record, lengths[slot]))
    lacks = array("i", bytes(4 * record.geometry.stripes))
    short: list[tuple[Attached, int, str]] = []
    for each, slot, less in looks:
        if less is not None:
            text = less if isinstance(less, str) else less.text
            short.append((each, slot, f"drive {mf.drive_id(group, slot)} (serial {each.serial}, {each.mount}): {text}"))
            for stripe in range(record.geometry.stripes) if isinstance(less, str) else less.stripes:
                lacks[stripe] += bool(lengths[slot][stripe])
    parity = record.geometry.parity
    lost = [stripe for stripe, count in enumerate(lacks) if count > parity]
    if lost:
        what = f"more of them than parity holds ({parity}) lacked {listed(lost)} of {len(lacks)}"
        work.journal.note_gone(group, "packs", what)
    elif max(lacks, default=0) + record.n - len(looks) <= parity:  # whatever those have that are not here
        work.journal.note_gone(group, "packs", "")
    if lost:
        raise DriveFault(
            f"group {group} is signed, and more of its drives than parity holds ({parity}) lack {listed(lost)} of "
            f"{len(lacks)}: {'; '.join(text for _, _, text in short)}. packing writes nothing more to it, and what "
            "these should hold cannot be had from them: do not free the source",
            drive=looks[0][0].mount,
            hint=TOO_MANY,
        )
    for each, _, text in short:
        how = "`sealift repair` with the mounts of all drives of the group rebuilds that"
        if not _exists(each.drive):
            how = f"it is empty. `sealift repair` of the others with `--onto {each.mount}` makes it anew"
        work.events.notice(f"{text}. group {group} is signed, and packing writes nothing more to it: {how}")
    return [mf.drive_id(group, slot) for _, slot, _ in short]


def _is_amiss(each: Attached, slot: int, record: Manifest, signature: bytes) -> bool:
    """Whether small files of a drive are not there, or not as long as they were signed."""
    drive = each.drive
    try:
        right = all(drive.size(name) == ref.bytes for name, ref in record.small_files(slot).items())
        right = right and all(drive.size(name) is not None for name in (mf.CARD, mf.MANIFEST))  # a card may be another
        return not right or drive.read_small(mf.SIGNATURE, len(signature)) != signature
    except FormatError:
        return True
    except DriveFault:
        return False  # told where its packs are looked for


def _exists(drive: Drive) -> bool:
    try:
        return drive.exists()
    except FAULTS:
        return True


def _lack(each: Attached, slot: int, record: Manifest, lengths: Sequence[int]) -> Lacking | str | None:
    """What a drive lacks; in words, where it cannot be looked at."""
    try:
        return lacking(each.drive, slot, record.n, record.geometry.data, lengths)
    except FAULTS as error:
        return reason(error, each.mount)


def _lengths(work: Work, group: int, record: Manifest) -> list[array[int]] | None:
    """By slot and stripe, lengths of the packs; None where neither the journal nor any drive knows them."""
    stripes, n = record.geometry.stripes, record.n
    if work.journal.group(group).stripes == stripes:
        return pack_lengths(work.journal, group, n)
    lengths = [array("q", bytes(8 * stripes)) for _ in range(n)]
    for each in work.deal.drives(group):  # it was taken over, and the journal does not know its packs
        try:
            with each.drive.open_read(mf.PACKS) as file:
                pages = mf.table_of_packs(file.read_at, record)
                for stripe in range(stripes):
                    for role in range(n):
                        lengths[mf.slot_of(stripe, role, n)][stripe] = mf.pack_at(pages, stripe, role, n).length
        except (DriveFault, FormatError):
            continue
        return lengths
    work.events.notice(
        f"group {group} is signed, and none of its drives that are attached has {mf.PACKS} whole: what they hold was "
        "not looked at; `sealift verify` does"
    )
    return None
