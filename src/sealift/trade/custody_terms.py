"""By which terms drives go from hand to hand: the revision that was released when it happened, and who is who in it.

    Reign    a release of a revision, since when, and what speaks against it
    Terms    reigns -> the Ruling of a time: the newest revision that was released then
    told     events of a log -> drives that went on before they might, or to whom nobody declared them

What holds: every event is judged by the revision that was the newest released when it happened, whatever was released
or drafted later. Where that one, or what it rests on, is not here, that is named, and nobody is accused. A drive goes
on, and wants a release, in an event of two persons, whatever its type, unless both are of the origin; in every loading;
and where by an event of one person alone somebody has it who had it not, or its record begins with a carrier or a
receiver; never where it comes back to the origin. Whom that revision names no more takes none on: from them drives come
back, or go to whom takes their place. Who somebody is, the allowed signers say: two keys of one principal
are one, a key of a carrier's is that carrier, and one of the origin's no receiver, under whatever other name.

What is not here: the order of events and who has what (custody.py); where revisions lie (stages/revisions.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from sealift.trade.custody_graph import Finding
from sealift.trade.custody_roles import Roles

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from sealift.formats.allowed_signers import Signer
    from sealift.trade.custody import Row
    from sealift.trade.custody_event import CustodyEvent, Party
    from sealift.trade.custody_graph import Kind
    from sealift.trade.declaration import Declaration
    from sealift.trade.standing import Against

_GOES = frozenset({"handover", "return", "load"})  # whoever is on both sides
_WORDS = {
    "seal": "a sealing",
    "handover": "a handover",
    "customs_inspection": "a customs inspection",
    "load": "a loading",
    "arrive": "an arrival",
    "unseal": "an unsealing",
    "verify": "a verification",
    "discrepancy": "a discrepancy",
    "return": "a return",
    "unlock": "an unlock",
}


def an(event: CustodyEvent) -> str:
    """What happened, with its article."""
    return _WORDS[event.event_type]


class Reign(NamedTuple):
    """A release: from when, of which revision, and why it does not stand; `lacks`: why nobody can judge by it here."""

    at: datetime
    revision: int
    declaration: Declaration | None
    against: tuple[Against, ...] = ()
    lacks: str = ""
    officer: str = ""  # the principal whose key signed it


class Ruling(NamedTuple):
    """What a time is judged by; `missing` says what is not here, without which nobody can."""

    roles: Roles
    reign: Reign | None
    missing: str = ""


class Terms:
    """Releases of a consignment, and who is named in each of its revisions."""

    def __init__(
        self, declaration: Declaration, reigns: Iterable[Reign] = (), lacking: Mapping[int, str] | None = None,
        origin: Iterable[str] = (),
    ) -> None:  # fmt: skip
        """`declaration` is asked where nothing was released; `lacking` says what is not here of revisions that were.

        `origin` are principals that signed other records as the origin.
        """
        self.origin = frozenset(origin)
        self.reigns = sorted(reigns, key=lambda each: each.at)
        known = {each.revision for each in self.reigns}
        self._lacking = {number: words for number, words in (lacking or {}).items() if number not in known}
        self.officers = frozenset(each.officer for each in self.reigns) - {""}
        self._newest = declaration
        self._known: dict[str, Roles] = {}

    def at(self, moment: datetime) -> Ruling:
        """The newest revision that was released then."""
        then = [each for each in self.reigns if each.at <= moment]
        reign = max(then, key=lambda each: (each.revision, each.at), default=None)
        number = reign.revision if reign else 0
        after = [each.revision for each in self.reigns if each.at > moment and each.revision > number]
        between = [each for each in self._lacking if number < each < min(after, default=1 << 30)]
        missing = self._lacking[max(between)] if between else ""
        parsed = reign.declaration if reign else None
        if reign is not None and reign.lacks:
            missing = reign.lacks
        return Ruling(self._who(parsed or self._newest), reign, missing)

    def _who(self, parsed: Declaration) -> Roles:
        if parsed.digest not in self._known:
            known = [each.declaration for each in self.reigns if each.declaration is not None]
            self._known[parsed.digest] = Roles.of(parsed, [each for each in known if each.revision < parsed.revision])
        return self._known[parsed.digest]


def one_person(principal: str) -> bool:
    """The principals field of an allowed signer is one name; a list or pattern of names may be several people."""
    return not set(principal) & set("*?,!")


def identity(signer: Signer) -> str:
    """Who somebody is, whatever they call themselves: by the allowed signers, or else the key itself."""
    return signer.principal if one_person(signer.principal) else signer.fingerprint


def identities(rows: Sequence[Row]) -> dict[str, str]:
    """By fingerprint of the keys that signed a log: whose they are."""
    return {each.fingerprint: identity(each) for row in rows for each in (row.released, row.received) if each}


class Faces:
    """Who the sides of a log are: by whose their keys are in the allowed signers, under whatever name they sign."""

    def __init__(self, rows: Sequence[Row], terms: Terms) -> None:
        self.who = identities(rows)
        self._terms = terms
        self._carriers: dict[str, Party] = {}
        self._origin: set[str] = {*terms.origin, *terms.officers}
        for row in rows:
            roles = terms.at(row.event.at).roles
            for party, signer in ((row.event.released_by, row.released), (row.event.received_by, row.received)):
                if signer is not None and roles.carriers_of(party):
                    self._carriers.setdefault(identity(signer), party)
                elif signer is not None and roles.sends(party) and not roles.receives(party):
                    self._origin.add(identity(signer))

    def event(self, event: CustodyEvent) -> CustodyEvent:
        """The event with each carrier's keys under the name of the carrier; to ask for roles, and for nothing else."""
        sides = {"released_by": event.released_by, "received_by": event.received_by}
        roles = self._terms.at(event.at).roles
        known = {name: self._face(side, roles) for name, side in sides.items()}
        return event if known == sides else msgspec.structs.replace(event, **known)

    def _face(self, side: Party, roles: Roles) -> Party:
        whose = self.who.get(side.key_fingerprint, "")
        known, carrier = self._carriers.get(whose), roles.mails.get(whose.casefold())
        if known is not None and not (carrier and roles.left(known)):  # whose name was put right is the same carrier
            return known
        return side if carrier is None else msgspec.structs.replace(side, name=carrier, org=carrier)

    def receives(self, event: CustodyEvent, side: Party) -> bool:
        """The side of an event is one to whom the drives go, and its key is nobody's of the origin."""
        roles, whose = self._terms.at(event.at).roles, self.who.get(side.key_fingerprint, "")
        if {whose, side.key_fingerprint} & self._origin or {whose.casefold(), side.key_fingerprint} & roles.origin:
            return False
        return roles.receives(self._face(side, roles))

    def arrives(self, event: CustodyEvent) -> bool:
        """By it drives come to the site: it says so, or passes them to one to whom they go, who signed by key."""
        passed = event.passes and event.changes_hands and event.received_by.key_fingerprint in self.who
        return event.event_type == "arrive" or (passed and self.receives(event, event.received_by))


def told(rows: Sequence[Row], come: Sequence[Sequence[str]], begun: Sequence[Sequence[str]], terms: Terms,
         faces: Faces) -> list[Finding]:  # fmt: skip
    """Findings of a log; of each event, `come` are drives that it brings to who had them not, `begun` new ones."""
    found: list[Finding] = []
    unknown: dict[str, list[Row]] = {}
    for row, new, first in zip(rows, come, begun, strict=True):
        event = row.event
        if not row.counts or not event.moves:
            continue
        ruling, seen = terms.at(event.at), faces.event(event)
        if not event.passes and event.changes_hands and not ruling.roles.of_one_house(seen):
            text = f"{an(event)} passes no drive on, and names two hands: a handover or an arrival says who has them"
            found.append(Finding("hands", text, (row.entry.digest,), tuple(event.serials)))
        going = _going(seen, new, first, ruling.roles)
        if _comes_back(seen, ruling.roles) and (row.received or event.received_by.key_fingerprint):
            found += [] if row.received else _awaited(row, seen, ruling, terms)
            going = []
        one = _told(row, seen, going, ruling, terms)
        if ruling.missing and one:
            unknown.setdefault(ruling.missing, []).append(row)
        else:
            found += one
    for missing, of in unknown.items():
        drives = tuple(dict.fromkeys(serial for row in of for serial in row.event.serials))
        text = f"whether they might go then, nobody can say here: {missing}"
        found.append(Finding("revision", text, tuple(row.entry.digest for row in of), drives))
    return found


def _told(row: Row, seen: CustodyEvent, going: Sequence[str], ruling: Ruling, terms: Terms) -> list[Finding]:
    """Of one event, by the revision of its time; where that is missing, whether there is anything to judge at all."""
    found, event, roles = [], row.event, ruling.roles

    def tell(kind: Kind, text: str, serials: Sequence[str]) -> None:
        if serials:
            found.append(Finding(kind, text, (row.entry.digest,), tuple(serials)))

    why = (_unreleased(event, ruling, terms) or _thrown_out(seen, ruling)) if going else ""
    if why or (going and ruling.missing):
        by_hand = _comes_back(seen, roles)
        more = "; back to the origin they come where whoever takes them signs with a key" if by_hand else ""
        tell("unreleased", f"{an(event)} at {event.at_utc}, and {why}{more}", going)
    if roles.left(seen.received_by):  # who has them already may say what happens to them
        took = event.serials if event.changes_hands or (going and event.event_type not in _GOES) else ()
        tell("stranger", f"received by {event.received_by.words}, whom {_no_more(seen.received_by, ruling)}", took)
    elif not roles.named(event.received_by) and not roles.left(event.received_by):
        text = f"received by {event.received_by.words}, and the declaration names neither{_kept(event)}"
        tell("stranger", text, event.serials)
    for carrier, serials in roles.astray(seen).items():
        tell("carrier", f"declared with {carrier}, and {_goes(event)} {event.received_by.words}", serials)
    return found


def _comes_back(seen: CustodyEvent, roles: Roles) -> bool:
    """By it drives come home, to a person of the origin; where they sign for them by key, that wants no release."""
    home, away = roles.sends(seen.received_by), not roles.sends(seen.released_by)
    return seen.passes and home and away


def _awaited(row: Row, seen: CustodyEvent, ruling: Ruling, terms: Terms) -> list[Finding]:
    """Of drives that come home, where the other signature is still to come, and they might go nowhere else."""
    event, why = row.event, ruling.missing or _unreleased(row.event, ruling, terms)
    if not why and ruling.roles.left(seen.released_by):
        why = f"{_no_more(seen.released_by, ruling)} {seen.released_by.words}"
    if not why:
        return []
    text = (
        f"{an(event)} at {event.at_utc} waits for the signature of {event.received_by.words}: with it they are back at"
        f" the origin, where they may come at any time; until then nobody there says so, and {why}"
    )
    return [Finding("awaited", text, (row.entry.digest,), tuple(event.serials))]


def _thrown_out(seen: CustodyEvent, ruling: Ruling) -> str:
    """Why drives might not go from that hand: the revision of then names it no more, and no heir takes them over."""
    giver, former = seen.released_by, ruling.roles.left(seen.released_by)
    if former is None or (seen.passes and seen.changes_hands and ruling.roles.succeeds(seen.received_by, former)):
        return ""
    whom = f"{giver.words}, whom {_no_more(giver, ruling)}"
    return f"they go on from {whom}: from there they come back to the origin, or go to whom takes that place"


def _no_more(party: Party, ruling: Ruling) -> str:
    """What is to say of somebody whom an earlier revision named."""
    former, reign = ruling.roles.left(party), ruling.reign
    revision = f"revision {reign.revision}" if reign else "the declaration"
    return f"{revision} does not name any more" + (f" ({former.reason})" if former and former.reason else "")


def _going(event: CustodyEvent, come: Sequence[str], begun: Sequence[str], roles: Roles) -> list[str]:
    """Drives that an event takes on; where a record begins with a carrier or a receiver, they had left the origin."""
    if event.event_type in _GOES:
        return event.serials
    home = roles.sends(event.received_by)
    if event.changes_hands:
        return [] if home and roles.sends(event.released_by) else event.serials
    if home:
        return []
    party = event.received_by
    first = begun if roles.carriers_of(party) or roles.receives(party) or roles.left(party) else ()
    return [serial for serial in event.serials if serial in {*come, *first}]


def _unreleased(event: CustodyEvent, ruling: Ruling, terms: Terms) -> str:
    """Why drives might not go then; "" where they might."""
    if ruling.reign is None:
        return "the shipment was released later" if terms.reigns else "the shipment is not released"
    why = [each.text for each in ruling.reign.against if each.since is None or event.at >= each.since]
    return f"the release does not stand: {'; '.join(why)}" if why else ""


def _kept(event: CustodyEvent) -> str:
    """Of an inspection after which somebody else has the drives: what to say when that is not so."""
    if event.event_type != "customs_inspection" or not event.changes_hands:
        return ""
    return "; so customs kept the drives: who has them again stands on both sides of an inspection"


def _goes(event: CustodyEvent) -> str:
    return "sealed by" if event.event_type == "seal" and not event.changes_hands else "goes to"
