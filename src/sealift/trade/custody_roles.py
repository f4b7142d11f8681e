"""Who of a declaration carries which drives, and who else is named, for people as an event of custody names them.

What holds: a person is a carrier when the declaration has a carrier of their name; or, where it has not, when they act
for one, and neither they nor the firm is named as anything else (an in-house courier's firm is still the shipper).
Spellings are compared by `people.fold`. Which carrier a drive is declared with is asked of the revision that was the
newest released at that time.

What is not here: what a log makes of it (custody.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sealift.trade import consistency, people

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

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


def _further(declaration: Declaration) -> set[str]:
    """End user and recipients: some of them may be of the shipper's own firm."""
    rows = declaration.encryption.recipients
    return spelled([declaration.end_user]) | {
        people.fold(name) for each in rows for name in (each.name, each.organisation)
    }


class Roles(NamedTuple):
    """Carriers by each of their spellings, everybody else, and by time of release each drive's declared carrier."""

    carriers: Mapping[str, frozenset[str]]
    others: frozenset[str]
    receivers: frozenset[str]  # some of the others
    plans: tuple[tuple[datetime | None, Mapping[str, str]], ...]

    @classmethod
    def of(cls, declaration: Declaration, revisions: Iterable[tuple[datetime, Declaration]] = ()) -> Roles:
        """Roles of `declaration`; `revisions` are those that were released, with when."""
        carriers: dict[str, frozenset[str]] = {}
        for carrier in declaration.carriers:
            for each in spelled([carrier]):
                carriers[each] = carriers.get(each, frozenset()) | {people.fold(carrier.name)}
        between = spelled(declaration.intermediates) - carriers.keys()  # a forwarder that carries is a carrier
        released: list[tuple[datetime | None, Declaration]] = [*sorted(revisions, key=lambda each: each[0])]
        plans = [(at, _plan(each)) for at, each in released or [(None, declaration)]]
        return cls(carriers, frozenset(others(declaration) | between), frozenset(receivers(declaration)), tuple(plans))

    def carriers_of(self, party: Party) -> frozenset[str]:
        """Whom of the declared carriers the party may stand for, folded; nobody, when it carries nothing."""
        name, org = people.fold(party.name), people.fold(party.org)
        if name in self.carriers:
            return self.carriers[name]
        return frozenset() if {name, org} & self.others else self.carriers.get(org, frozenset())

    def at_an_end(self, party: Party) -> bool:
        """The declaration names the party as something else than a carrier."""
        return not self.carriers_of(party) and not self.others.isdisjoint(
            (people.fold(party.name), people.fold(party.org))
        )

    def receives(self, party: Party) -> bool:
        """The declaration names the party as one to whom the drives go."""
        name, org = people.fold(party.name), people.fold(party.org)
        return not self.carriers_of(party) and not self.receivers.isdisjoint((name, org))

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
        plan = next((plan for at, plan in reversed(self.plans) if at is None or at <= event.at), self.plans[0][1])
        found: dict[str, list[str]] = {}
        for serial in event.serials:
            wanted = plan.get(serial, "")
            if wanted and people.fold(wanted) not in to:
                found.setdefault(wanted, []).append(serial)
        return found


def _plan(declaration: Declaration) -> dict[str, str]:
    return {drive.serial: drive.carrier for drive in declaration.drives if drive.serial}
