"""Where drives were by the custody log of an audit, beside what seals and receipts say of them.

    left_unsealed    drives that left the origin before a seal named them
    whereabouts      drives that were read at the site, and by the log were not there then
    came             when drives came to the site, and left it again
    carriers         receipts, and releases of the source, that somebody signed who carries drives

What holds: times of two hosts are compared with what their clocks may differ by. A receipt of which nothing counts any
more, and on which nothing rests, accuses nobody: who read with a wrong clock reads again, and signs anew.

What is not here: who had a drive (trade/custody.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec import UNSET

from sealift.reading import trust
from sealift.stages.audit_case import about
from sealift.trade import clocks, custody, persons, receipt
from sealift.trade.custody_terms import Faces, left

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.stages.audit_case import Case, Entry
    from sealift.stages.audit_later import Word
    from sealift.trade.custody import Account, Row
    from sealift.trade.custody_terms import Terms
    from sealift.trade.receipt import Receipt


def left_unsealed(case: Case) -> None:
    """Drives that by the log were away from the origin before the first seal that has them, or are in none."""
    if case.account is None or case.terms is None or (case.of("seal") and not case.seals):
        return  # of seals that do not hold it was said
    sealed: dict[str, tuple[datetime, str]] = {}
    for one in (each.trusted.seal for each in case.seals):
        for serial in (drive.serial for group in one.groups for drive in group.drives):
            at = (trust.sealed_at(one), one.sealed_at)
            sealed[serial] = min(sealed.get(serial, at), at)
    faces = Faces(case.account.rows, case.terms, case.allowed)
    found: dict[tuple[str, str], list[str]] = {}
    for serial, row in left(case.account.rows, case.terms, faces).items():
        if serial.startswith(custody.BY_NETWORK):
            continue
        why = ""
        if not case.seals:
            why = "no seal of the shipment is here"
        elif serial not in sealed:
            why = "no seal that is here has them"
        elif clocks.is_ahead(sealed[serial][0], row.event.at):
            why = f"the first seal that has them was made at {sealed[serial][1]}"
        if why:
            text = f"drives left the origin at {row.event.at_utc}, and {why}"
            found.setdefault((row.entry.digest, text), []).append(serial)
    for (digest, text), serials in found.items():
        case.say(f"{case.folder}custody/{digest}.json", "look", f"{text}{about(serials)}")


def carriers(case: Case) -> None:
    """Receipts and releases of the source by carriers: by the custody log, or an address in the declaration."""
    if case.terms is None:
        return
    rows = case.account.rows if case.account else ()
    known = Faces(rows, case.terms, case.allowed).carriers
    signed = [(entry, one.person, one.principal, "receives") for entry, one in case.receipts]
    signed += [(entry, one.person, one.principal, "frees the source of") for entry, one in case.freed]
    for entry, person, principal, does in signed:
        if name := persons.carrier_of(person, known):
            text = f"it is signed by {principal}, whose key or address is that of {name}, who carries drives"
            case.say(entry.path, "look", f"{text}: nobody {does} what they carried")


class Stay(NamedTuple):
    """The event by which a drive came to the site, and the one by which it was elsewhere afterwards."""

    came: Row
    left: Row | None = None


def came(account: Account, terms: Terms, allowed: AllowedSigners) -> dict[str, list[Stay]]:
    """By serial number: every time that a drive was at the site, the first one first."""
    found: dict[str, list[Stay]] = {}
    faces = Faces(account.rows, terms, allowed)
    for row in account.rows:  # in the log's own order
        event = row.event
        if not row.counts or not event.moves:
            continue
        comes = faces.arrives(event)
        leaves = event.passes and event.changes_hands and not faces.receives(event, event.received_by)
        for serial in event.serials:
            stays = found.get(serial)
            if comes and (not stays or stays[-1].left is not None):
                found.setdefault(serial, []).append(Stay(row))
            elif leaves and not comes and stays and stays[-1].left is None:
                stays[-1] = Stay(stays[-1].came, row)
    return found


def whereabouts(case: Case, states: Mapping[str, Word], stays: Mapping[str, list[Stay]]) -> None:
    """Drives that a receipt says were read at the site, and by the log never came there, or were not there then."""
    if case.account is None or case.terms is None:
        return
    read = {serial: word.of for serial, word in states.items() if word.state in receipt.VERIFIED and not word.remade}
    where: dict[tuple[str, str], list[str]] = {}
    for drive in case.account.drives:
        of = read.get(drive.serial)
        if of is None or drive.serial in stays or drive.serial.startswith(custody.BY_NETWORK):
            continue
        path = next(entry.path for entry, one in case.receipts if one is of)
        who = " and ".join(held.by.words for held in drive.held) or "nobody"
        where.setdefault((path, who), []).append(drive.serial)
    for (path, who), serials in where.items():
        text = "it says that drives were read which by the custody log did not come to the site; there"
        case.say(path, "look", f"{text} {who} {'have' if ' and ' in who else 'has'} them{about(serials)}")
    rested = _rested(case)
    for entry, one in case.receipts:
        counts = {serial for serial, word in states.items() if word.of is one or one.file.blake3 in rested}
        _untimely(case, entry, one, {serial: stays[serial] for serial in counts & stays.keys()}, read)


def _rested(case: Case) -> set[str]:
    """BLAKE3 of the receipts on which a release of the source or a certificate rests."""
    freed = {row.receipt.blake3 for _, each in case.freed for row in each.record.receipts}
    return freed | {entry.record.delivery_verified.receipt.blake3 for entry in case.of("certificate")}


def _untimely(
    case: Case, entry: Entry, of: Receipt, stays: Mapping[str, list[Stay]], read: Mapping[str, Receipt]
) -> None:
    """Drives that it says were read before they came, or after they had left, by more than two clocks may differ.

    The receipt that counts for a drive must be of after it last came; an earlier one was of the journey before.
    """
    found: dict[str, list[str]] = {}
    for drive in (each for group in of.record.groups for each in group.drives):
        here = stays.get(drive.serial)
        if not here or not drive.read_at or drive.made_on is not UNSET:  # another medium, that travelled nowhere
            continue
        at = receipt.instant(drive.read_at, "receipt.json")
        first, said = min((at, drive.read_at), (of.at, of.record.at))
        stay = here[-1] if read.get(drive.serial) is of else here[0]
        what = ""
        if clocks.is_ahead(stay.came.event.at, first):
            what = f"{said}, and by the custody log they came to the site at {stay.came.event.at_utc}"
        elif stay is here[-1] and stay.left is not None and clocks.is_ahead(at, stay.left.event.at):
            what = f"{drive.read_at}, and by the custody log they had left the site at {stay.left.event.at_utc}"
        if what:
            found.setdefault(what, []).append(drive.serial)
    for what, serials in found.items():
        case.say(entry.path, "look", f"it says that drives were read at {what}{about(serials)}")
