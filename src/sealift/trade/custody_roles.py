"""Who of a declaration carries which drives, and who else is named, for people as an event of custody names them.

What holds: a person is a carrier when the declaration has a carrier of their name; or, where it has not, when they act
for one, and neither they nor the firm is named as anything else (an in-house courier's firm is still the shipper).
Whoever is of the shipper's firm, or is the author, and carries nothing, is of the origin. Whom an earlier revision
named, and this one does not any more, is nothing of all that by their firm alone. Spellings are compared by
`people.fold`.

What is not here: which revision is asked (custody_terms.py), and what a log makes of it (custody.py).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from sealift.trade import consistency, people, persons, revision
from sealift.trade.persons import addresses

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sealift.trade.custody_event import CustodyEvent, Party
    from sealift.trade.declaration import Declaration

_SPELLINGS = ("name", "legal_name", "native_name")


def spelled(rows: Iterable[object]) -> set[str]:
    """Every name of parties, intermediates or carriers, folded."""
    return {people.fold(getattr(row, field, "")) for row in rows for field in _SPELLINGS} - {""}


def others(declaration: Declaration) -> set[str]:
    """Names of those who are at either end: parties, the site, its recipients, the author; folded."""
    ends = spelled(getattr(declaration, role) for role in consistency.ROLES)
    return (ends | receivers(declaration) | _further(declaration) | {people.fold(declaration.author.name)}) - {""}


def receivers(declaration: Declaration) -> set[str]:
    """To whom the drives go, by name: consignee, site, and end user and recipients but for the shipper; folded."""
    site = {people.fold(declaration.site.operator), people.fold(declaration.site.access_controller)}
    return (spelled([declaration.consignee]) | site | _further(declaration) - spelled([declaration.shipper])) - {""}


def _of_origin(declaration: Declaration) -> set[str]:
    found = persons.author(declaration).sure | addresses(declaration.shipper.contact)
    return set(found - addresses(declaration.consignee.contact))


def _further(declaration: Declaration) -> set[str]:
    """End user and recipients: some of them may be of the shipper's own firm."""
    rows = declaration.encryption.recipients
    return spelled([declaration.end_user]) | {
        people.fold(name) for each in rows for name in (each.name, each.organisation)
    }


class Former(NamedTuple):
    """Whom an earlier revision named: for which reason not any more, and who takes that place, folded."""

    reason: str
    heirs: frozenset[str]


def _former(declaration: Declaration, before: Iterable[Declaration]) -> dict[str, Former]:
    """By spelling: whom revisions before, or its own rows [[replaced]], name as a party or carrier, and it does not."""
    here = others(declaration) | spelled([*declaration.intermediates, *declaration.carriers]) | {""}
    was: dict[str, set[str]] = {}  # by spelling: in which roles
    for row in declaration.replaced:
        was.setdefault(people.fold(row.legal_name), set()).add(row.role)
    for each in before:
        gone = [("carriers", row.name) for row in each.carriers if people.fold(row.name) not in here]  # of one firm
        for role, name in [*gone, *revision.replaced(declaration, each)]:
            for spelling in _spelled_as(each, role, people.fold(name)):
                was.setdefault(spelling, set()).add(role)
    reasons = {people.fold(row.legal_name): row.reason for row in declaration.replaced}
    return {
        spelling: Former(reasons.get(spelling, ""), frozenset().union(*(_holders(declaration, role) for role in roles)))
        for spelling, roles in was.items()
        if spelling not in here
    }


def _spelled_as(declaration: Declaration, role: str, name: str) -> set[str]:
    """Every spelling of the party or carrier that had a role under a name, which is folded."""
    if role in consistency.ROLES:
        return spelled([getattr(declaration, role)])
    rows: Sequence[object] = getattr(declaration, role) if role in {"carriers", "intermediates"} else ()
    return {name}.union(*(spelled([row]) for row in rows if name in spelled([row])))


def _holders(declaration: Declaration, role: str) -> set[str]:
    """Who has a role; carriers are asked for by drive."""
    if role == "site":
        return {people.fold(declaration.site.operator), people.fold(declaration.site.access_controller)} - {""}
    if role == "intermediates":
        return spelled(declaration.intermediates)
    return spelled([getattr(declaration, role)]) if role in consistency.ROLES else set()


class Roles(NamedTuple):
    """Carriers by each of their spellings, everybody else, and each drive's declared carrier."""

    carriers: Mapping[str, frozenset[str]]
    others: frozenset[str]
    receivers: frozenset[str]  # some of the others
    senders: frozenset[str]  # some of the others
    plan: Mapping[str, str]
    kept: frozenset[str]  # senders to whom the drives do not go
    mails: Mapping[str, str]  # by address: the carrier whose contact has it, and no other contact
    origin: frozenset[str]  # addresses of author and shipper, and the fingerprint of the author's key
    former: Mapping[str, Former]  # by spelling: whom a revision before named
    site: frozenset[str]  # some of the receivers: who runs the site

    @classmethod
    def of(cls, declaration: Declaration, before: Iterable[Declaration] = ()) -> Roles:
        """Roles of one revision; `before` are those that were released before it."""
        carriers: dict[str, frozenset[str]] = {}
        for carrier in declaration.carriers:
            for each in spelled([carrier]):
                carriers[each] = carriers.get(each, frozenset()) | {people.fold(carrier.name)}
        between = spelled(declaration.intermediates) - carriers.keys()  # a forwarder that carries is a carrier
        senders = (spelled([declaration.shipper]) | {people.fold(declaration.author.name)}) - {""}
        plan = {drive.serial: drive.carrier for drive in declaration.drives if drive.serial}
        everybody = frozenset(others(declaration) | between)
        site = frozenset(_holders(declaration, "site"))
        to = spelled([declaration.consignee]) | site
        ends = (declaration.shipper, declaration.consignee, declaration.end_user)
        known = addresses(declaration.author.email).union(*(addresses(each.contact) for each in ends))
        theirs = [(mail, each.name) for each in declaration.carriers for mail in addresses(each.contact) - known]
        shared = {mail for mail, count in Counter(mail for mail, _ in theirs).items() if count > 1}
        mails = {mail: name for mail, name in theirs if mail not in shared}
        return cls(
            carriers, everybody, frozenset(receivers(declaration)), frozenset(senders), plan, frozenset(senders - to),
            mails, frozenset(_of_origin(declaration)), _former(declaration, before),
            site,
        )  # fmt: skip

    def carriers_of(self, party: Party) -> frozenset[str]:
        """Whom of the declared carriers the party may stand for, folded; nobody, when it carries nothing."""
        name, org = people.fold(party.name), people.fold(party.org)
        if name in self.carriers:
            return self.carriers[name]
        names = self._names(party)
        return frozenset() if names & self.others or org not in names else self.carriers.get(org, frozenset())

    def _names(self, party: Party) -> set[str]:
        """By what the declaration may name the party: not by the firm whom it names itself no more."""
        name, org = people.fold(party.name), people.fold(party.org)
        return {name} if name in self.former else {name, org}

    def left(self, party: Party) -> Former | None:
        """An earlier revision named the party, themselves or by their firm, and this one does not any more."""
        name, org = people.fold(party.name), people.fold(party.org)
        by_name = name in self.carriers or name in self.others
        return self.former.get(name) or (None if by_name else self.former.get(org))

    def succeeds(self, party: Party, former: Former) -> bool:
        """The party takes the place of one who was named, or is a carrier, whose drives `astray` looks at."""
        return bool(self.carriers_of(party)) or not self._names(party).isdisjoint(former.heirs)

    def named(self, party: Party) -> bool:
        """The declaration names the party or their firm, as whatever."""
        return any(each in self.others or each in self.carriers for each in self._names(party))

    def at_an_end(self, party: Party) -> bool:
        """The declaration names the party as something else than a carrier."""
        return not self.carriers_of(party) and not self.others.isdisjoint(self._names(party))

    def receives(self, party: Party) -> bool:
        """The declaration names the party as one to whom the drives go, and not as of the shipper's firm."""
        names = self._names(party)
        return not self.carriers_of(party) and bool(names & self.receivers) and not names & self.kept

    def at_site(self, party: Party) -> bool:
        """The declaration names the party as one who runs the site."""
        return not self.site.isdisjoint(self._names(party))

    def sends(self, party: Party) -> bool:
        """The declaration names the party as of the origin."""
        return not self.carriers_of(party) and not self.senders.isdisjoint(self._names(party))

    def of_one_house(self, event: CustodyEvent) -> bool:
        """Both sides are of the origin, or both of the site, or act for one firm and neither carries."""
        sides = (event.released_by, event.received_by)
        if any(self.carriers_of(each) or self.left(each) for each in sides):
            return event.released_by.same(event.received_by)
        firms = {people.fold(each.org) for each in sides}
        return len(firms) == 1 or all(map(self.sends, sides)) or all(map(self.receives, sides))

    def may_settle(self, event: CustodyEvent) -> bool:
        """One of the two is named and carries nothing: carriers cannot settle between themselves."""
        return self.at_an_end(event.released_by) or self.at_an_end(event.received_by)

    def astray(self, event: CustodyEvent) -> dict[str, list[str]]:
        """Drives that go to a carrier with whom they are not declared, by the one with whom they are."""
        party = event.received_by
        gets = event.changes_hands or (event.event_type == "seal" and people.fold(party.name) not in self.others)
        to = self.carriers_of(party)
        if not gets or not to:
            return {}
        found: dict[str, list[str]] = {}
        for serial in event.serials:
            wanted = self.plan.get(serial, "")
            if wanted and people.fold(wanted) not in to:
                found.setdefault(wanted, []).append(serial)
        return found
