"""Whether the drives of a signed group still have what was signed, when packing is run again: by names and lengths.

Nothing more is written to a signed group, and of what is longer than a signature nothing is read here; small files that
are not there, or of another length, are read when all else is done (small.py). What up to parity of its drives lack,
`sealift repair` makes again; what more of them lack is gone as far as these drives go, and that is an error: the source
may still be there, and is not to be freed. What each drive lacked when it was looked at last the journal keeps: a drive
that is not attached counts for what it was then, and one that was never looked at for what it was when it was signed.
What lacks and what reads back wrong is added up (`require`): neither is there.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from sealift.drives.base import reason
from sealift.errors import DriveFault, FormatError, Lost
from sealift.formats import manifest as mf
from sealift.formats.sizes import counted
from sealift.stages.lacking import LOST, TOO_MANY, beyond, is_emptied, lacking
from sealift.stages.pack import found, settle
from sealift.stages.pack.crew import FAULTS
from sealift.stages.pack.journal_rows import Lacks
from sealift.stages.pack.presence import listed, pack_lengths, table_lengths

if TYPE_CHECKING:
    from array import array
    from collections.abc import Sequence

    from sealift.formats.manifest import Manifest
    from sealift.stages.pack.fleet import Attached
    from sealift.stages.pack.work import Work


def look(work: Work, group: int) -> None:
    """Look at the drives of a signed group that are attached, and note which packs each lacks, in place of what it did.

    A drive that does not answer lacks all of them as long as it does not.
    """
    record, _, signature = found.manifest_here(work, group)
    drives, journal = work.deal.drives(group), work.journal
    amiss = found.on_drives(work, group, record, lambda each, slot: _is_amiss(each, slot, record, signature))
    work.amiss[group] = {slot for _, slot, bad in amiss if bad}
    lengths = _lengths(work, group, record) if drives else None
    if lengths is None:
        return
    looks = found.on_drives(work, group, record, lambda each, slot: _lack(each, slot, record, lengths[slot]))
    for each, slot, (stripes, text) in looks:
        journal.note_lacks(group, Lacks(slot, each.serial, each.mount, stripes, text))
    if len(looks) == record.n:
        journal.note_gone(group, "packs", "")  # of an earlier version, which kept no more of it than that


def tell(work: Work, group: int) -> list[str]:
    """Drives of a signed group that lacked packs when they were looked at last, told, whether they are attached or not.

    Lost: more of them lack a stripe than parity holds.
    """
    lacks, parity = work.journal.lacks(group), work.config.parity
    if lost := beyond(((stripe, each.slot) for each in lacks for stripe in each.stripes), parity):
        raise _fault(work, group, lost, wrong=[])
    many = len(beyond(work.journal.short(group), parity))  # with what is wrong, which may be read again yet
    for each in lacks:
        here, text = work.deal.slots(group)[each.slot], _text(work, group, each)
        how = "`sealift repair` with the mounts of all drives of the group rebuilds that"
        if here is None:
            text += ", and it is not here"
            how = f"attach it, and the same command looks again; {how}, or with `--onto MNT` makes it anew"
        elif is_emptied(here.drive):
            how = f"it is empty. `sealift repair` of the others with `--onto {here.mount}` makes it anew"
        as_far = f" as far as parity holds, which is not all of {counted(many, 'stripe')}" if many else ""
        work.events.notice(f"{text}. group {group} is signed, and packing writes nothing more to it: {how}{as_far}")
    return [mf.drive_id(group, each.slot) for each in lacks]


def require(work: Work, group: int) -> None:
    """Lost where of a stripe more packs are missing or wrong, taken together, than parity holds.

    Not where so many are wrong alone: what reading back says of these stands (readback.py).
    """
    journal, parity = work.journal, work.config.parity
    lost = beyond(journal.short(group), parity)
    if len(lost) > journal.beyond(group, parity):
        raise _fault(work, group, lost, [each.slot for each in journal.wrong(group) if each.stripe in lost])


def _fault(work: Work, group: int, lost: list[int], wrong: Sequence[int]) -> Lost:
    """More of `lost` stripes is gone than parity holds; of slots in `wrong` packs of these read back wrong."""
    lacks = {each.slot: each for each in work.journal.lacks(group) if not {*lost}.isdisjoint(each.stripes)}
    each = [_text(work, group, lack) for lack in lacks.values()]
    each += [f"{_name(work, group, slot)}: not as written" for slot in sorted({*wrong} - lacks.keys())]
    stripes = found.manifest_here(work, group)[0].geometry.stripes
    too, gone = (
        (", or have other bytes there", "is lost as far as is known") if wrong else ("", "cannot be had from them")
    )
    return Lost(
        f"group {group} is signed, and more of its drives than parity holds ({work.config.parity}) lack {listed(lost)} "
        f"of {stripes}{too}: {'; '.join(each)}. packing writes nothing more to it, and what these should hold {gone}: "
        "do not free the source",
        hint=LOST if wrong else TOO_MANY,
    )


def _text(work: Work, group: int, lacks: Lacks) -> str:
    last = ", when it was looked at last" if work.deal.slots(group)[lacks.slot] is None else ""
    return f"{_name(work, group, lacks.slot)}: {lacks.reason}{last}"


def _name(work: Work, group: int, slot: int) -> str:
    place = work.deal.groups[group][slot]
    here = work.deal.slots(group)[slot]
    where = settle.last_mount(work.journal, place.serial) if here is None else here.mount
    return f"drive {mf.drive_id(group, slot)} (serial {place.serial}{where and ', '}{where})"


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


def _lack(each: Attached, slot: int, record: Manifest, lengths: Sequence[int]) -> tuple[list[int], str]:
    """The stripes that a drive lacks, all where it cannot be looked at; and that in words."""
    try:
        less = lacking(each.drive, slot, record.n, record.geometry.data, lengths)
    except FAULTS as error:
        return [stripe for stripe, length in enumerate(lengths) if length], reason(error, each.mount)
    return (less.stripes, less.text) if less else ([], "")


def _lengths(work: Work, group: int, record: Manifest) -> list[array[int]] | None:
    """By slot and stripe, lengths of the packs; None where neither the state folder nor any drive knows them."""
    stripes, n = record.geometry.stripes, record.n
    if work.journal.group(group).stripes == stripes:
        return pack_lengths(work.journal, group, n)
    # it was taken over, and the journal does not know its packs
    path = os.path.join(found.closed_folder(work.options.state, group), mf.PACKS)
    with suppress(OSError, FormatError), open(path, "rb") as kept:
        return table_lengths(lambda offset, size: os.pread(kept.fileno(), size, offset), record)
    for each in work.deal.drives(group):
        with suppress(*FAULTS), each.drive.open_read(mf.PACKS) as file:
            return table_lengths(file.read_at, record)
    work.events.notice(
        f"group {group} is signed, and none of its drives that are attached has {mf.PACKS} whole: what they hold was "
        "not looked at; `sealift verify` does"
    )
    return None
