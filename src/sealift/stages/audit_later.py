"""What rests on a seal that was superseded when it was signed, and which legal hold was in force then.

    superseding    the newest seal of a later revision that was made before a time
    late           receipts that were signed under a superseded seal, and why nobody is to rest on them
    freed          a release of the source  -> why it should not have been signed, by seals and holds of its time
    hold           the legal hold in force at a time, in words
    are_back       whether drives had left, and every one is with the origin again
    last_word      what receipts say of each drive, under whichever seal it was read

What holds: a seal supersedes those of earlier revisions from when it was made; what was signed before under one of them
stays good. The legal hold in force is what the newest revision says that was released by then, whether or not it was
sealed, and whether or not whoever acted had it.

What is not here: what a seal itself must be (audit_origin.py), and what records hold together (audit_judge.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sealift.reading import trust
from sealift.trade import declaration, receipt, release
from sealift.trade.custody_terms import Faces

if TYPE_CHECKING:
    from datetime import datetime

    from sealift.stages.audit_case import Case, Sealed
    from sealift.trade.receipt import Receipt, State


class Word(NamedTuple):
    """What is said of a drive, by which receipt, and whether only what was made again on another medium was read."""

    state: State
    of: Receipt
    remade: bool = False


def superseding(case: Case, sealed: Sealed, at: datetime) -> Sealed | None:
    """The newest seal of a later revision than that of `sealed`, which was made before `at`."""
    mine = sealed.trusted.declaration.revision
    later = [
        each
        for each in case.seals
        if each.trusted.declaration.revision > mine and trust.sealed_at(each.trusted.seal) < at
    ]
    return max(later, key=lambda each: each.trusted.declaration.revision, default=None)


def _words(sealed: Sealed, newer: Sealed) -> str:
    mine, other = sealed.trusted.declaration.revision, newer.trusted.declaration.revision
    return (
        f"the seal of revision {mine}, which that of revision {other}, made at {newer.trusted.seal.sealed_at}, had"
        " superseded when it was signed"
    )


def late(case: Case) -> dict[str, str]:
    """By BLAKE3: receipts under a seal that was superseded when they were signed, of what seal, in words.

    One of which every group was received once more, under a seal that was the newest then, is done with.
    """
    found: dict[str, str] = {}
    for _, one in case.receipts:
        sealed = next(each for each in case.seals if each.ground.file == one.record.seal)
        newer = superseding(case, sealed, one.at)
        if newer is not None:
            found[one.file.blake3] = _words(sealed, newer)
    current = [one for _, one in case.receipts if one.file.blake3 not in found]
    for one in [one for _, one in case.receipts if one.file.blake3 in found]:
        again = {group.group for each in current if each.at >= one.at for group in each.record.groups}
        if again.issuperset(group.group for group in one.record.groups):
            del found[one.file.blake3]
    return found


def freed(case: Case, sealed: Sealed, at: datetime) -> list[str]:
    """Why the source was not to be freed at `at` under a seal, by what was sealed and released by then."""
    newer = superseding(case, sealed, at)
    why = [] if newer is None else [f"it rests on {_words(sealed, newer)}"]
    held = hold(case, at)
    if held and sealed.trusted.declaration.legal_hold.strip() == declaration.NO_HOLD:  # else the seal says so itself
        why.append(f"{held}, was in force when it was signed")
    return why


def hold(case: Case, at: datetime) -> str:
    """The legal hold that was in force, and where it is stated; "" if there was none."""
    released = [each for each in case.released if release.released_at(each.release.record) <= at]
    newest = max(released, key=lambda each: each.declaration.revision, default=None)
    if newest is None or (said := newest.declaration.legal_hold.strip()) == declaration.NO_HOLD:
        return ""
    return f"legal hold, in revision {newest.declaration.revision}: {said or 'not said that there is none'}"


def are_back(case: Case) -> bool:
    """By the custody log drives came back to the origin, and it has every one that is declared."""
    account, terms = case.account, case.terms
    if account is None or terms is None:
        return False
    faces = Faces(account.rows, terms, case.allowed)
    came = False
    for drive in account.drives:
        if not drive.declared:
            continue
        if len(drive.held) != 1:
            return False
        row, by = drive.held[0].row, drive.held[0].by
        event, roles = row.event, terms.at(row.event.at).roles
        if not roles.sends(by) or faces.receives(event, by):
            return False
        comes = event.passes and not roles.sends(event.released_by)
        if comes and (row.received is None or not faces.is_home(row)):
            return False  # nobody of the origin has signed that it is back
        came |= comes
    return came


def last_word(case: Case) -> dict[str, Word]:
    """By serial number: what the newest receipt says that has seen the drive, under whichever seal; else `unseen`.

    A shipment that was sealed again is not read again for that: what arrived has arrived.
    """
    found: dict[str, Word] = {}
    for sealed in case.seals:
        under = receipt.newest(one for _, one in case.receipts if one.record.seal == sealed.ground.file)
        for one, group in under.values():
            for drive in group.drives:
                before = found.get(drive.serial)
                if before is None or before.state == "unseen" or (drive.state != "unseen" and one.at >= before.of.at):
                    found[drive.serial] = Word(drive.state, one, drive.remade)
    return found
