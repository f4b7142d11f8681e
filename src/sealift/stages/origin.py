"""Who is of the origin of a consignment, by the records of it that lie in a folder; and who carries its drives.

    beside     by releases, screenings, records of keys, seals and releases of the source -> Origin
    by_seal    by a seal alone
    carriers   by the addresses of carriers in the declaration that a seal binds, and by a custody log
    hands      who had each drive last, by a custody log

What holds: a record binds whoever signed it where its signature holds, under whatever name the file lies there. What
cannot be read, or is of another consignment, binds nobody and is passed over: who acts on it says what is wrong with
it. Files are hostile: within the limits of their kinds, and so many of them.

What is not here: what follows (trade/persons.py); the records of a bundle (audit_origin.py).
"""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from sealift.errors import SealiftError
from sealift.formats.sshsig import MAX_ARMORED
from sealift.reading.trust import load_seal, open_seal
from sealift.stages import custody_log
from sealift.trade import (
    custody,
    key_sample,
    keys,
    lists,
    people,
    persons,
    receipt,
    release,
    screening,
    signing,
    source_release,
)
from sealift.trade.custody_terms import Faces, Terms
from sealift.trade.discrepancy import Hand
from sealift.trade.persons import Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from sealift.formats.allowed_signers import AllowedSigners, Person
    from sealift.reading.trust import TrustedSeal
    from sealift.trade.custody import Account

MAX_RECORDS = 1_000  # of a kind that are looked at in one folder

_Row = tuple["Person", str]


class _Kind(NamedTuple):
    """Files of a kind of record, how they are read, and what signing one makes of somebody."""

    names: str
    limit: int
    decode: Callable[[bytes], Any]
    namespace: str
    at: Callable[[Any], datetime]
    words: str


_KINDS = (
    _Kind("*.release*.json", release.MAX_RELEASE, release.decode, release.NAMESPACE, release.released_at,
          persons.OFFICER),
    _Kind("*.screening*.json", screening.MAX_RECORD, screening.decode, screening.NAMESPACE,
          lambda record: lists.moment(record.at), persons.SCREENER),
    _Kind("*.keys*.json", keys.MAX_RECORD, keys.decode, keys.NAMESPACE,
          lambda record: key_sample.time_of(record.at, "keys.json"), persons.PROVER),
    _Kind("*.source-release*.json", source_release.MAX_SOURCE_RELEASE, source_release.decode, source_release.NAMESPACE,
          lambda record: receipt.instant(record.at, "source-release.json"), persons.FREER),
)  # fmt: skip
_SECOND = ".second.sig"


def by_seal(trusted: TrustedSeal) -> Origin:
    """Who is of the origin by a seal."""
    return Origin(
        (
            (trusted.release.author, persons.AUTHOR),
            (trusted.release.person, persons.OFFICER),
            (trusted.signer.person, persons.SEALER),
        )
    )


def of_seal(trusted: TrustedSeal, path: str | None, allowed: AllowedSigners) -> Origin:
    """Who is of the origin by a seal, and by what lies in the folder of its file at `path`."""
    found = by_seal(trusted)
    if path is None or not os.path.isfile(path):
        return found  # a drive, or a folder seal/: nothing lies beside it
    return found.joined(beside(path, trusted.seal.consignment_id, allowed).people)


def carriers(
    trusted: TrustedSeal, log: str | None, allowed: AllowedSigners, now: datetime
) -> list[tuple[frozenset[str], str]]:
    """Whose keys or addresses are carriers', and whose: by the declaration of a seal, and by the log in folder `log`.

    Whoever signed there as a carrier is that carrier, under whatever name they sign elsewhere. BadInput for no log.
    """
    terms = Terms(trusted.declaration)
    if log is None:
        return terms.mails
    return Faces(_account(trusted, log, allowed, now).rows, terms, allowed).carriers


def hands(trusted: TrustedSeal, log: str | None, allowed: AllowedSigners, now: datetime) -> dict[str, Hand] | None:
    """By serial number, who had a drive last by the log in folder `log`; None where none is given.

    Whoever is of neither end by the declaration of the seal: a later revision may name another carrier, whom a seal
    that was made before does not know. Or who of the origin has it, where it never left, or came back. BadInput for no
    log.
    """
    if log is None:
        return None
    declared, found = trusted.declaration, dict[str, Hand]()
    roles = Terms(declared).at(now).roles
    contacts = {people.fold(each.name): each.contact for each in declared.carriers}
    account = _account(trusted, log, allowed, now)
    for row in account.rows:
        event, party = row.event, row.event.received_by
        if not row.counts or not event.passes or roles.sends(party) or roles.receives(party):
            continue
        known = (contacts.get(people.fold(each)) for each in (party.name, party.org))
        contact = next((each for each in known if each), row.received.principal if row.received else "")
        found.update(dict.fromkeys(event.serials, Hand(party.words, contact)))
    for drive in account.drives:
        holder = drive.held[0] if len(drive.held) == 1 else None
        if holder is not None and roles.sends(holder.by) and not roles.receives(holder.by):
            signers = (signer for party, signer in holder.row.sides if party == holder.by and signer is not None)
            contact = next((signer.principal for signer in signers), "")
            found[drive.serial] = Hand(holder.by.words, contact, home=True)
    return found


def _account(trusted: TrustedSeal, log: str, allowed: AllowedSigners, now: datetime) -> Account:
    serials = [drive.serial for drive in trusted.declaration.drives]
    return custody.assess(
        custody_log.read(log), consignment_id=trusted.seal.consignment_id, serials=serials, allowed=allowed, now=now
    )


def beside(file: str, consignment_id: str, allowed: AllowedSigners) -> Origin:
    """Who is of the origin by what lies in the folder of `file`."""
    folder = glob.escape(os.path.dirname(file))
    rows: list[_Row] = []
    for path in sorted(glob.glob(os.path.join(folder, "*.seal")))[:MAX_RECORDS]:
        try:
            trusted = open_seal(load_seal(path), allowed)
        except SealiftError:
            continue
        if trusted.seal.consignment_id == consignment_id:
            rows += by_seal(trusted).people
    for kind in _KINDS:
        for path in sorted(glob.glob(os.path.join(folder, kind.names)))[:MAX_RECORDS]:
            rows += _signed(path, kind, consignment_id, allowed)
    return Origin().joined(rows)


def _signed(path: str, kind: _Kind, consignment_id: str, allowed: AllowedSigners) -> Iterator[_Row]:
    try:
        data = signing.read_limited(path, kind.limit, "record")
        record = kind.decode(data)
        if record.consignment_id != consignment_id:
            return
        at = kind.at(record)
    except SealiftError:
        return
    for end, words in ((".sig", kind.words), (_SECOND, persons.SECOND)):
        try:
            signature = signing.read_limited(path + end, MAX_ARMORED, "signature")
            yield allowed.signer(data, signature, kind.namespace, at).person, words
        except SealiftError:
            continue
