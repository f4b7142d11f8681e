"""The papers that permit an erasure, read from files and checked: receipts, declarations, releases.

What holds: a receipt that is here is signed by an allowed signer. A declaration is one that parses, a draft or not; one
that is a whole one, with a release beside it that holds, has it. What they permit is trade/erasure.py's to say.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from sealift.trade import declaration as declarations
from sealift.trade import receipt as receipts
from sealift.trade import release as releases
from sealift.trade import signing
from sealift.trade.erasure import Declared

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


def load(
    receipt_files: Sequence[str], declaration_files: Sequence[str], allowed: AllowedSigners, now: datetime
) -> Papers:
    """Read and check them. BadInput: no such file; FormatError, DeclarationInvalid; SignatureInvalid, Refused."""
    return Papers(
        receipts=[receipt(path, allowed) for path in dict.fromkeys(receipt_files)],
        declarations=[_declared(path, allowed) for path in dict.fromkeys(declaration_files)],
        now=now,
    )


def receipt(path: str, allowed: AllowedSigners) -> Receipt:
    """The receipt in a file, with its signature beside it; raises what `load` does."""
    data = signing.read_limited(path, receipts.MAX_RECEIPT, "receipt")
    signature = signing.read_signature(path)
    with signing.of_record(path):
        return receipts.check_receipt(data, signature, allowed)


def _declared(path: str, allowed: AllowedSigners) -> Declared:
    raw = signing.read_limited(path, declarations.MAX_BYTES, "declaration")
    parsed = declarations.parse(raw, draft=True)
    beside = releases.path_beside(path)
    if not os.path.lexists(beside):
        return Declared(parsed)
    data = signing.read_limited(beside, releases.MAX_RELEASE, "release")
    signature = signing.read_signature(beside)
    with signing.of_record(beside):
        return Declared(parsed, releases.check_release(raw, data, signature, allowed))
