"""Other seals of the same consignment, in folders and on drives, beside which or in whose place no new one is put.

    only_shipment      seals in folders: of another shipment under this consignment, or of a later revision
    not_superseded     seals on the drives themselves: of a later revision, or of this one with other bytes

What holds: nothing is written here; all drives are looked at. What is not here: sealing (seal.py).
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from sealift.errors import BadInput, DeclarationInvalid, FormatError, Refused, SealiftError
from sealift.formats import seal as seals
from sealift.formats.manifest import SEAL_FILES
from sealift.reading.trust import load_seal, open_seal
from sealift.trade import declaration as declarations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.drives.base import Drive
    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.formats.seal import Seal
    from sealift.trade.declaration import Declaration


def only_shipment(folders: Sequence[str], record: Seal, revision: int, allowed: AllowedSigners) -> None:
    """Refused where a seal of another shipment under the same consignment lies: one declaration is of one shipment.

    And where one of a later revision than `revision` does: what supersedes it is not replaced by it.
    """
    for folder in dict.fromkeys(map(os.path.realpath, folders)):
        names: list[str] = []
        with contextlib.suppress(
            OSError
        ):  # one that is not there yet; what else is wrong with it shows when it is used
            names = sorted(name for name in os.listdir(folder) if name.endswith(".seal"))
        for path in (os.path.join(folder, name) for name in names):
            other, number = record, revision
            with contextlib.suppress(SealiftError):  # whatever it is, it is no seal of ours
                there = open_seal(load_seal(path), allowed)
                other, number = there.seal, there.declaration.revision
            if other.consignment_id == record.consignment_id and number > revision:
                raise Refused(
                    f"{path}: revision {number} of consignment {record.consignment_id} was sealed already, and"
                    f" supersedes this, revision {revision}",
                    hint="seal under the declaration that was released last",
                )
            if other.consignment_id == record.consignment_id and other.shipment != record.shipment:
                raise Refused(
                    f"{path}: shipment {other.shipment} was sealed under consignment {record.consignment_id} already, "
                    f"and this is shipment {record.shipment}: a declaration and its release are of one shipment",
                    hint="if its drives were packed anew and that packing never leaves, move its seal away, seal "
                    "again, and send this one only; if both leave, this one is packed under a declaration and a "
                    "release of its own, and each names the other (related_shipments)",
                )


def not_superseded(drives: Sequence[Drive], declaration: Declaration) -> None:
    """Refused where a drive has the seal of a later revision, or of other bytes of this one: it stays.

    Whoever signed it: the signers that are given here may be of before that revision.
    """
    for drive in drives:
        there = _declared_on(drive)
        if there is None or there.consignment_id != declaration.consignment_id or there.digest == declaration.digest:
            continue
        if there.revision >= declaration.revision:
            other = "supersedes this" if there.revision > declaration.revision else "is not as this"
            raise Refused(
                f"{drive.mount}: it was sealed under revision {there.revision} of consignment {there.consignment_id},"
                f" which {other}, revision {declaration.revision}; nothing was written, on no drive",
                hint="seal under the declaration that was released last; what was released is changed as a new revision"
                " (sealift declare --revise FILE)",
            )


def _declared_on(drive: Drive) -> Declaration | None:
    """The declaration under which a drive was sealed; None where there is none that reads."""
    with contextlib.suppress(FormatError, BadInput, DeclarationInvalid):
        data = drive.read_small(SEAL_FILES[2], seals.LIMITS[SEAL_FILES[2]])
        return declarations.parse(data, draft=True) if data is not None else None
    return None
