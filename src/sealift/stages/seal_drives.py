"""The drives that are attached when a shipment is sealed: each is one of it, as it was packed, and has its packs.

Looked at by presence and length; nothing is written here. One that is not attached need not be looked at.
"""

from __future__ import annotations

from array import array
from collections import Counter
from typing import TYPE_CHECKING

from sealift.drives.base import is_missing
from sealift.drives.locations import open_to_write
from sealift.errors import BadInput, DriveFault, FormatError, Refused
from sealift.formats import manifest as manifests
from sealift.formats.manifest import CARD, MANIFEST, MAX_CARD, MAX_MANIFEST, Manifest
from sealift.stages.lacking import TOO_MANY, Lacking, lacking
from sealift.stages.pack.presence import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealift.drives.base import Drive
    from sealift.formats.seal import Seal
    from sealift.stages.seal_groups import Packed

_MEND = (
    "`sealift repair` with all mounts of the group rebuilds what is missing or wrong on no more of its drives than "
    "parity holds; or leave that mount away: the seal holds for a drive that is not attached, and as many as parity "
    "holds are rebuilt at the destination"
)


def attached(
    mounts: Sequence[str], record: Seal, groups: Sequence[Packed], notice: Callable[[str], None]
) -> list[tuple[Drive, str]]:
    """The drives to write to and their ids; BadInput for one that is not a finished drive of this shipment.

    Refused when one of them is not whole: all that are not are named. One that was made anew (`repair --onto`) is as
    good as the one that was packed, unless it is known to be another piece of goods than is declared.
    """
    out: list[tuple[Drive, str]] = []
    short: list[str] = []
    lacks: dict[int, Counter[int]] = {}  # by group: stripe -> how many of the drives here lack their pack of it
    for mount in dict.fromkeys(mounts):
        drive = open_to_write(mount)
        data = drive.read_small(CARD, MAX_CARD) if drive.exists() else None
        if data is None:
            raise BadInput(f"{mount}: no drive of a shipment", hint="give the mounts of this shipment's drives")
        try:
            card = manifests.decode_card(data)
        except FormatError as error:
            raise Refused(f"{mount}: {error}; nothing was written", hint=_MEND) from error
        if card.shipment != record.shipment or card.group >= len(groups):
            raise BadInput(f"{mount}: drive {card.id} of another shipment, {card.shipment}; nothing was written")
        packed = groups[card.group]
        if card.slot >= packed.manifest.n:
            raise BadInput(f"{mount}: says that it is drive {card.id}, and there is none; nothing was written")
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
        if card.rebuilt:
            notice(f"{mount}: drive {card.id} was made anew at {card.rebuilt.at}; it leaves as drive {card.serial}")
        manifest = drive.read_small(MANIFEST, MAX_MANIFEST)
        if manifest is None:
            raise Refused(f"{mount}: drive {card.id} has no manifest.json; nothing was written", hint=_MEND)
        if manifest != packed.data:
            raise Refused(
                f"{mount}: its manifest is not the one that is sealed; nothing was written",
                hint=f"seal the drives that were packed. if it is one of them, and damaged: {_MEND}",
            )
        if less := _lacks(drive, card.slot, packed.manifest):
            short.append(f"{mount}: drive {card.id}: {less if isinstance(less, str) else less.text}")
            lacks.setdefault(card.group, Counter()).update([] if isinstance(less, str) else less.stripes)
        out.append((drive, card.id))
    for number, counts in lacks.items():
        parity = groups[number].manifest.geometry.parity
        if lost := sorted(stripe for stripe, count in counts.items() if count > parity):
            raise Refused(
                f"more drives of group {number} than parity holds ({parity}) lack {listed(lost)}: {'; '.join(short)}; "
                "nothing was written",
                hint=TOO_MANY,
            )
    if short:
        raise Refused("; ".join(short), hint=_MEND)
    return out


def _lacks(drive: Drive, slot: int, manifest: Manifest) -> Lacking | str | None:
    """What a drive lacks of what its manifest names, by presence and length; its own table of packs tells lengths."""
    n, stripes, data = manifest.n, manifest.geometry.stripes, manifest.geometry.data
    lengths = array("q")
    try:
        with drive.open_read(manifests.PACKS) as file:
            pages = manifests.table_of_packs(file.read_at, manifest)
            for stripe in range(stripes):
                lengths.append(manifests.pack_at(pages, stripe, manifests.role_of(stripe, slot, n), n).length)
    except FormatError as error:
        return f"its table of packs is damaged ({error})"
    except DriveFault as error:
        if not is_missing(error):
            raise
        return f"{manifests.PACKS} is not there"
    return lacking(drive, slot, n, data, lengths)
