"""The papers that permit an erasure, read from files and checked: receipts, declarations, releases.

What holds: a receipt that is here is signed by an allowed signer. A declaration is one that parses, a draft or not; one
that is a whole one, with a release of it in its folder that holds, has it. The one that the receipts bind is taken from
beside those that were given, by its digest, where it is none of them, and counts as given. Later revisions in the same
folder are found as those are that a release is superseded by (revisions.py), and so is who by the records there is of
the origin (origin.py), whoever was given which file. What all of them permit is trade/erasure.py's to say.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import msgspec

from sealift.stages import origin, revisions
from sealift.trade import declaration as declarations
from sealift.trade import receipt as receipts
from sealift.trade import release as releases
from sealift.trade import signing
from sealift.trade.erasure import Beside, Declared
from sealift.trade.persons import Origin

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.trade.receipt import Receipt


class Papers(msgspec.Struct, frozen=True, kw_only=True):
    """All of them, and when they were looked at."""

    receipts: list[Receipt]
    declarations: list[Declared]
    now: datetime
    beside: Beside = Beside()


def load(
    receipt_files: Sequence[str], declaration_files: Sequence[str], allowed: AllowedSigners, now: datetime
) -> Papers:
    """Read and check them. BadInput: no such file; FormatError, DeclarationInvalid; SignatureInvalid, Refused."""
    found = [receipt(path, allowed) for path in dict.fromkeys(receipt_files)]
    given = [_declared(path, allowed) for path in dict.fromkeys(declaration_files)]
    bound = {each.record.declaration.blake3 for each in found}
    given += _bound(given, bound, allowed)
    return Papers(receipts=found, declarations=given, now=now, beside=_beside(given, bound, allowed))


def _bound(given: Sequence[Declared], bound: set[str], allowed: AllowedSigners) -> list[Declared]:
    """The declarations that receipts bind, by their digest, from beside those given, where they are none of these.

    What is given after a revision was released on the way is the new one; the drives were received under the other.
    """
    wanted, found = bound - {each.declaration.digest for each in given}, dict[str, Declared]()
    for each in given if wanted else ():
        for other in revisions.others(each.file, each.declaration.consignment_id):
            parsed = other.declaration
            if parsed is not None and parsed.digest in wanted:
                found.setdefault(parsed.digest, Declared(parsed, _released(other.path, parsed, allowed), other.path))
    return list(found.values())


def receipt(path: str, allowed: AllowedSigners) -> Receipt:
    """The receipt in a file, with its signature beside it; raises what `load` does."""
    data = signing.read_limited(path, receipts.MAX_RECEIPT, "receipt")
    signature = signing.read_signature(path)
    with signing.of_record(path):
        return receipts.check_receipt(data, signature, allowed)


def _declared(path: str, allowed: AllowedSigners) -> Declared:
    parsed = declarations.parse(signing.read_limited(path, declarations.MAX_BYTES, "declaration"), draft=True)
    beside = releases.path_beside(path)
    if os.path.lexists(beside):
        data = signing.read_limited(beside, releases.MAX_RELEASE, "release")
        signature = signing.read_signature(beside)
        with signing.of_record(beside):
            if releases.decode(data).declaration.blake3 == parsed.digest:  # else it is of another revision
                return Declared(parsed, releases.check_release(parsed, data, signature, allowed), path)
    return Declared(parsed, _released(path, parsed, allowed), path)


def _released(path: str, parsed: declarations.Declaration, allowed: AllowedSigners) -> releases.Release | None:
    """A release of exactly this declaration in the folder of `path`, under whatever name, that holds."""
    of_it = (
        revisions.check(parsed, each, allowed)
        for each in revisions.released(path, parsed.consignment_id)
        if each.record.declaration.blake3 == parsed.digest
    )
    return next((each for each in of_it if each is not None), None)


def _beside(given: Sequence[Declared], bound: set[str], allowed: AllowedSigners) -> Beside:
    """Revisions that are later than what was released of those given, or other bytes of the same one."""
    later: dict[str, Declared] = {}
    unseen: dict[str, None] = {}
    known = {each.declaration.digest for each in given}
    for each in given:
        mine = [other for other in given if other.declaration.consignment_id == each.declaration.consignment_id]
        counted = [other for other in mine if other.release is not None or other.declaration.digest in bound]
        least = max((other.declaration.revision for other in counted), default=1)
        of_folder = list(revisions.released(each.file, each.declaration.consignment_id))
        for found in revisions.others(each.file, each.declaration.consignment_id):
            parsed = found.declaration
            if parsed is None:
                unseen[f"{found.path} cannot be read: {found.why}"] = None
            elif (
                parsed.digest not in known and parsed.revision >= least and not _was_replaced(found.path, parsed, least)
            ):
                release = _released(found.path, parsed, allowed)
                later.setdefault(parsed.digest, Declared(parsed, release, found.path))
        for one in of_folder:
            if one.record.revision > least and one.record.declaration.blake3 not in {*known, *later}:
                unseen[f"revision {one.record.revision}, which {one.path} releases, is not here"] = None
    people = [origin.beside(each.file, each.declaration.consignment_id, allowed).people for each in given]
    return Beside(list(later.values()), list(unseen), Origin().joined(*people))


def _was_replaced(path: str, parsed: declarations.Declaration, least: int) -> bool:
    """An older text of the same revision, which writing over it has kept under a number."""
    return parsed.revision == least and re.search(r"\.[0-9]+\.toml$", path) is not None
