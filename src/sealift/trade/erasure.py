"""Whether a drive may be erased: rule 5 of the house. Pure: records in, a sentence out.

No erasure before the receiver's verification is signed, and never under a legal hold. `objection` names the first of
these rules that does not hold; `may_erase` is true where it names none:

1. All receipts and declarations are of one shipment, and one of the declarations is that which the receipts bind.
2. No declaration states a legal hold, whoever released it, nor does a later one that lies beside them, a draft too; one
   that should lie there and cannot be read is held to state one. That there is none ("none") is stated by the
   declaration that the receipts bind, or by another one that was given with a release that holds. Silence is no answer.
3. No receipt is from the future, and none is signed by the author of a declaration, by whoever released it, or by
   somebody else whom a record that lies beside it binds to the origin, with whichever of their keys: the origin cannot
   receive from itself.
4. The drive does not say that it belongs to another shipment.
5. A drive that a receipt names by its serial number: the newest receipt of its group says intact or rebuilt.
6. One that no receipt names (never packed, or set aside while it was): a declaration names it, or it says itself that
   it is of this shipment; and receipts cover every group of that, each intact or rebuilt. Nothing that such a drive may
   hold of it is needed then. Any other drive is nobody's here, and refused.
7. Somebody says its serial number: the drive, what stands on it, or a person who read the label.

A drive that itself was never read, by the receipts, may be erased where it turned up: its group is verified without it.
`never_read` says so of it, and a certificate with that is escalated.

What is not here: signatures (receipt.py, release.py have checked them), what else stands on a drive, and erasing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec import UNSET

from sealift.trade import persons
from sealift.trade.declaration import NO_HOLD
from sealift.trade.persons import Origin
from sealift.trade.receipt import VERIFIED, Receipt, ReceiptDrive, ReceiptGroup, newest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sealift.trade.declaration import Declaration
    from sealift.trade.release import Release


class Declared(NamedTuple):
    """A declaration, its release if it has one that holds, and the file that it was read from."""

    declaration: Declaration
    release: Release | None = None
    file: str = ""


class Beside(NamedTuple):
    """What lies beside the declarations that were given: later ones, and why one that should be there is not seen.

    `origin`: who by the records there is of it.
    """

    later: Sequence[Declared] = ()
    unseen: Sequence[str] = ()
    origin: Origin = Origin()


class Named(NamedTuple):
    """Where a receipt names a drive."""

    receipt: Receipt
    group: ReceiptGroup
    drive: ReceiptDrive


def may_erase(
    serial: str,
    receipts: Sequence[Receipt],
    declarations: Sequence[Declared],
    now: datetime,
    *,
    bears: str | None = None,
    beside: Beside | None = None,
) -> bool:
    """Whether the drive may be erased; `bears` is the shipment that the drive itself says it is of, None: nothing."""
    return objection(serial, receipts, declarations, now, bears=bears, beside=beside) is None


def objection(
    serial: str,
    receipts: Sequence[Receipt],
    declarations: Sequence[Declared],
    now: datetime,
    *,
    bears: str | None = None,
    beside: Beside | None = None,
) -> str | None:
    """Why the drive may not be erased, in one sentence; None: it may be. `serial` is empty where nobody says it."""
    why = _papers(receipts, declarations, beside or Beside(), now)
    if why is not None:
        return why
    shipment = receipts[0].record.shipment
    if bears is not None and bears != shipment:
        return f"it says that it is a drive of shipment {bears}, and the receipts are of {shipment}"
    if not serial:
        return "nobody says its serial number: it tells none, and nothing on it says which drive of the shipment it is"
    named = find(serial, receipts)
    if named is not None:
        if named.group.state in VERIFIED:
            return None
        return f"group {named.group.group} is {named.group.state}, by the receipt of {named.receipt.record.at}"
    declared = any(drive.serial == serial for each in declarations for drive in each.declaration.drives)
    if bears is None and not declared:
        return "no receipt and no declaration names it, and it does not say whose it is"
    missing = unverified(receipts)
    if missing:
        listed = ", ".join(map(str, missing[:5])) + (" ..." if len(missing) > 5 else "")
        return f"no receipt names it, and these groups of the shipment are not verified: {listed}"
    return None


def _papers(receipts: Sequence[Receipt], declarations: Sequence[Declared], beside: Beside, now: datetime) -> str | None:
    """Rules 1 to 3."""
    if not receipts:
        return "there is no receipt: nobody has signed that the data arrived"
    if not declarations:
        return "there is no declaration, so nobody says whether there is a legal hold"
    first = receipts[0].record
    ids = {(each.record.shipment, each.record.consignment_id, each.record.declaration.blake3) for each in receipts}
    if len(ids) != 1:
        return "the receipts are not of one shipment and one declaration"
    if any(each.declaration.consignment_id != first.consignment_id for each in declarations):
        return f"a declaration is not of {first.consignment_id}, of which the receipts are"
    bound = [each for each in declarations if each.declaration.digest == first.declaration.blake3]
    held = next((why for each in (*declarations, *beside.later) if (why := hold(each))), None)
    if held is not None:
        return held
    least = max((each.declaration.revision for each in bound), default=0)
    later = [*beside.later, *(each for each in declarations if each.declaration.revision > least)]
    silent = next((each for each in later if not each.declaration.legal_hold.strip()), None)
    if silent is not None and bound:
        what = f"{silent.file or 'a declaration'} (revision {silent.declaration.revision}), a later one,"
        return f'{what} does not say legal_hold = "none", so nobody has said that there is no legal hold'
    if not bound:
        return (
            f"none of the declarations, nor what lies beside them, is the one that the receipts bind (BLAKE3"
            f" {first.declaration.blake3}): at the origin it lies under the number of its revision, as"
            " declaration.r1.toml; give that, too (--declaration)"
        )
    if beside.unseen:
        return f"nobody can see whether there is a legal hold: {beside.unseen[0]}"
    if not any(_says_none(each) and (each in bound or each.release is not None) for each in declarations):
        return 'no released declaration says legal_hold = "none", so nobody has said that there is no legal hold'
    for receipt in receipts:
        if receipt.at > now:
            return f"the receipt says {receipt.record.at}, which is still to come"
        if receipt.record.rehearsal != bound[0].declaration.rehearsal:
            return "receipt and declaration differ in whether this is a rehearsal"
        if whose := _origin(declarations, beside).whose(receipt.person):
            return f"the receipt is signed by {whose}: the origin cannot receive from itself"
    return None


def _origin(declarations: Sequence[Declared], beside: Beside) -> Origin:
    """Authors and officers of all declarations, and who else is known."""
    rows = [(persons.author(each.declaration), persons.AUTHOR) for each in declarations]
    rows += [
        (each.release.person, persons.OFFICER) for each in (*declarations, *beside.later) if each.release is not None
    ]
    return Origin().joined(rows, beside.origin.people)


def hold(declared: Declared) -> str | None:
    """The legal hold that a declaration states, and which one that is; None: it states none."""
    said = declared.declaration.legal_hold.strip()
    if not said or said == NO_HOLD:
        return None
    if not declared.file:
        return f"legal hold: {said}"
    what = "released" if declared.release is not None else "not released"
    return f"legal hold, in {declared.file} (revision {declared.declaration.revision}, {what}): {said}"


def _says_none(declared: Declared) -> bool:
    return declared.declaration.legal_hold.strip() == NO_HOLD


def find(serial: str, receipts: Sequence[Receipt]) -> Named | None:
    """The drive in the newest receipt of its group; None: no receipt names it."""
    found = [
        Named(receipt, group, drive)
        for receipt in receipts
        for group in receipt.record.groups
        for drive in group.drives
        if drive.serial == serial
    ]
    if not found:
        return None
    group = found[0].group.group
    last, row = newest(receipts)[group]
    return next((each for each in found if each.receipt is last), Named(last, row, found[0].drive))


def never_read(serial: str, receipts: Sequence[Receipt]) -> str:
    """That by all receipts which name it a drive itself was never read, in a sentence; "" where one says that it was.

    Its group is verified without it. A medium that goes by its serial number may then be another one; or it came later.
    """
    named = [drive for each in receipts for group in each.record.groups for drive in group.drives]
    rows = [drive for drive in named if drive.serial == serial]
    if not rows or any(drive.read_at and drive.made_on is UNSET for drive in rows):
        return ""
    last = find(serial, receipts)
    if last is None:
        return ""
    at, drive = last.receipt.record.at, last.drive
    made = "only what was made of it on another medium was read" if drive.read_at else "it was not read"
    return f"by the receipt of {at} {serial} itself never came: {made}. What became of it is for people to find out"


def unverified(receipts: Sequence[Receipt]) -> list[int]:
    """Groups of the shipment that the newest receipts do not say to be intact or rebuilt, in order."""
    last = newest(receipts)
    total = max(receipt.record.groups_total for receipt in receipts)
    return [number for number in range(total) if number not in last or last[number][1].state not in VERIFIED]
