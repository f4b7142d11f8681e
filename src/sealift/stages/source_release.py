"""The release of the source: seal and receipts from files, the verdict, and the signed statement.

    look     the papers, read and checked -> what is wrong with them, and which groups are not verified
    release  where nothing is: NAME.source-release.json(.sig); the one that was there is kept

What holds: nothing is signed while one of the receipts given does not hold, whatever the others say: what came damaged
might have been the newer word. Nor while a seal of a later revision lies beside the one that is given, or a later
revision was released, where declarations of the consignment lie, and states a legal hold or cannot be read. Nothing is
deleted. The rules are in trade/source_release.py.
"""

from __future__ import annotations

import contextlib
import os
from datetime import UTC
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from sealift.errors import BadInput, FormatError, Refused
from sealift.formats.sshsig import MAX_ARMORED
from sealift.stages import erase_papers, revisions
from sealift.stages.origin import carriers, of_seal
from sealift.stages.seal_others import newer_beside
from sealift.trade import declaration as declarations
from sealift.trade import persons
from sealift.trade import source_release as records
from sealift.trade.receipt import TIME
from sealift.trade.signing import make_folder, read_limited, write_pair
from sealift.trade.source_release import Ground, Lacking, SourceRelease, SourceReleaseRecord

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.reading.trust import TrustedSeal
    from sealift.trade.receipt import Receipt, Receiver
    from sealift.trade.signing import Signer


class Looked(NamedTuple):
    """What was found: receipts that hold, objections to papers, groups that the receipts leave open; who carries.

    `declared`: a declaration of the consignment was found, to ask what was released after the one that was sealed.
    """

    ground: Ground
    receipts: list[Receipt]
    objections: list[str]
    lacking: list[Lacking]
    carriers: list[tuple[frozenset[str], str]]
    declared: bool = True

    @property
    def may_be_freed(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.objections and not self.lacking


class Released(NamedTuple):
    """The statement, where it lies, whether it was made now, and the new name of the one that was there."""

    statement: SourceRelease
    path: str
    new: bool
    superseded: str | None


def look(
    trusted: TrustedSeal, files: Sequence[str], allowed: AllowedSigners, now: datetime, *, seal: str | None = None,
    declaration: str | None = None, custody: str | None = None, accept_missing: bool = False,
) -> Looked:  # fmt: skip
    """Read and check the receipts in `files`; BadInput where one cannot be read, or too many are given.

    `seal` is where the seal lies: one of a later revision beside it, whose hold would not be seen else, stops all. So
    does a hold that was released since, in the folder of `declaration`; without that here, beside the seal, or above.
    `custody` is the folder of a log: who signed in it as a carrier signs neither a receipt nor this. `accept_missing`
    frees the source though the seal says that not all of it was sent.
    """
    if len(set(files)) > records.MAX_RECEIPTS:
        raise BadInput(f"{len(set(files)):,} receipts are given; at most {records.MAX_RECEIPTS:,} are allowed")
    held: dict[str, Receipt] = {}
    objections = []
    if seal is not None and (newer := newer_beside(seal, trusted.declaration)) is not None:
        objections.append(f"{newer.words}: give that one (--seal {newer.path}), and receipts against it")
    holds, declared = _held(trusted, allowed, seal, declaration)
    objections += holds
    for path in dict.fromkeys(files):
        try:
            receipt = erase_papers.receipt(path, allowed)
        except (FormatError, Refused) as error:
            objections.append(str(error))
        else:
            held[receipt.file.blake3] = receipt
    ground = Ground(trusted.seal, trusted.reference.seal, trusted.declaration, of_seal(trusted, seal, allowed))
    objections += records.objections(ground, list(held.values()), now, accept_missing=accept_missing)
    carry = carriers(trusted, custody, allowed, now)
    for each in held.values():
        if name := persons.carrier_of(each.person, carry):
            objections.append(f"the receipt of {each.record.at} by {each.principal} is signed by {name}, who carries")
    receipts = [each for each in held.values() if not records.objections_to(ground, each, now)]
    return Looked(ground, receipts, objections, records.lacking(ground, receipts), carry, declared)


def _held(
    trusted: TrustedSeal, allowed: AllowedSigners, seal: str | None, declaration: str | None
) -> tuple[list[str], bool]:
    """Legal holds by revisions that were released since, and whether a declaration was found where they would lie."""
    if trusted.seal.rehearsal:
        return [], True
    if declaration is not None:
        data = read_limited(declaration, declarations.MAX_BYTES, "declaration")
        of = declarations.parse(data, draft=True).consignment_id
        if of != trusted.seal.consignment_id:
            raise BadInput(f"{declaration} declares {of}, and the seal is of {trusted.seal.consignment_id}")
        folders = [os.path.dirname(declaration)]
    else:
        beside = os.path.dirname(seal) if seal is not None and os.path.isfile(seal) else ""
        folders = ["", beside, os.path.join(beside, os.pardir)] if seal is not None else []
    found: dict[str, None] = {}
    declared = not folders
    for folder in {os.path.realpath(folder): folder for folder in folders}.values():
        why, there = revisions.held(folder, trusted.declaration, allowed)
        found |= dict.fromkeys(why)
        declared |= there
    return list(found), declared


def path_of(folder: str, consignment_id: str) -> str:
    """Where the statement for a consignment lies."""
    return os.path.normpath(os.path.join(folder, f"{consignment_id}.source-release.json"))


def release(
    looked: Looked, person: Receiver, signer: Signer, allowed: AllowedSigners, folder: str, now: datetime
) -> Released:
    """Sign that the source may be freed, and write it into `folder`; one that says the same but for its time stays.

    Raises Refused where it may not be or the key is a receiver's or a carrier's, SignatureInvalid for one that does not
    count, BadInput for a folder that cannot be written.
    """
    if not looked.may_be_freed:
        raise Refused("the source may not be freed")
    seal = looked.ground.seal
    record = SourceReleaseRecord(
        shipment=seal.shipment,
        consignment_id=seal.consignment_id,
        rehearsal=seal.rehearsal,
        declaration=seal.declaration,
        seal=looked.ground.file,
        groups_total=len(seal.groups),
        shortfall=seal.shortfall,
        receipts=records.counted(looked.receipts),
        released_by=person,
        at=now.astimezone(UTC).strftime(TIME),
    )
    path = path_of(folder, seal.consignment_id)
    before = _before(path, allowed)
    same = before is not None and msgspec.structs.replace(before.record, at=record.at) == record
    if before is not None and same and before.fingerprint == signer.public_key.fingerprint:
        return Released(before, path, new=False, superseded=None)
    records.refuse_receiver(signer.public_key.fingerprint, looked.receipts, allowed)
    records.refuse_carrier(signer.public_key.fingerprint, looked.carriers, allowed)
    data = records.encode(record)
    signature = signer.sign(data, records.NAMESPACE)
    statement = records.check_source_release(data, signature, allowed)
    make_folder(folder)
    return Released(statement, path, new=True, superseded=write_pair(path, data, signature))


def _before(path: str, allowed: AllowedSigners) -> SourceRelease | None:
    """The statement that is there, if it holds."""
    if not (os.path.lexists(path) and os.path.lexists(path + ".sig")):
        return None
    data = read_limited(path, records.MAX_SOURCE_RELEASE, "release of the source")
    signature = read_limited(path + ".sig", MAX_ARMORED, "its signature")
    with contextlib.suppress(FormatError, Refused):
        return records.check_source_release(data, signature, allowed)
    return None
