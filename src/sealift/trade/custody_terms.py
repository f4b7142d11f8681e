"""By which terms drives go from hand to hand: the revision that was released when it happened, and who is who in it.

    Reign        a release of a revision, since when, and what speaks against it
    Terms        reigns -> the Ruling of a time: the newest revision that was released then
    told         events of a log -> drives that went on before they might, off the site, or to whom nobody declared them
    left         events of a log -> by which of them each drive left the origin
    have_left    events of a log -> drives that have left the origin, and have not come back

What holds: every event is judged by the revision that was the newest released when it happened, whatever was released
or drafted later; and nobody is accused by the time of an event under way that names a later one by its digest, where it
might be at the time of that. Where a revision, or what it rests on, is not here, that is named, and nobody is accused.
A drive goes on, and wants a release, in an event of two persons, whatever its type, unless both are of the origin; in
every loading; and where by an event of one person alone somebody has it who had it not, or its record begins with a
carrier or a receiver; never where it comes back to the origin. Whom that revision names no more takes none on: from
them drives come back, or go to whom takes their place. A release is of one way: from the site, once they have come,
they go back to the origin by a return, and nowhere else. Who somebody is, the allowed signers say: two keys of one
principal are one, a key of a carrier's is that carrier, and one of the origin's no receiver, under whatever other name.

What is not here: the order of events and who has what (custody.py); where revisions lie (stages/revisions.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from sealift.trade import clocks
from sealift.trade.custody_graph import Finding
from sealift.trade.custody_roles import Roles

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from sealift.formats.allowed_signers import AllowedSigners, Person
    from sealift.trade.custody import Row
    from sealift.trade.custody_event import CustodyEvent, Party
    from sealift.trade.custody_graph import Kind
    from sealift.trade.declaration import Declaration
    from sealift.trade.persons import Origin
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
    """A release: from when, of which revision, and why it does not stand; `lacks`: why nobody can judge by it here.

    `ended`: why drives leave the origin by it no more, and since when.
    """

    at: datetime
    revision: int
    declaration: Declaration | None
    against: tuple[Against, ...] = ()
    lacks: str = ""
    officer: str = ""  # the principal whose key signed it
    name: str = ""  # theirs, as the release has it
    person: Person | None = None
    ended: tuple[Against, ...] = ()

    @property
    def officer_is(self) -> frozenset[str]:
        """By which keys and names the officer is known."""
        return frozenset({self.officer.casefold()} - {""}) if self.person is None else self.person.sure


class Ruling(NamedTuple):
    """What a time is judged by; `missing` says what is not here, without which nobody can."""

    at: datetime
    roles: Roles
    reign: Reign | None
    missing: str = ""


class Terms:
    """Releases of a consignment, and who is named in each of its revisions."""

    def __init__(
        self, declaration: Declaration, reigns: Iterable[Reign] = (), lacking: Mapping[int, str] | None = None,
        origin: Origin | None = None,
    ) -> None:  # fmt: skip
        """`declaration` is asked where nothing was released; `lacking` says what is not here of revisions that were.

        `origin` are those whom other records bind to the origin.
        """
        people = origin.people if origin is not None else ()
        self.origin = frozenset[str]().union(*(person.sure for person, _ in people))
        self.reigns = sorted(reigns, key=lambda each: each.at)
        known = {each.revision for each in self.reigns}
        self._lacking = {number: words for number, words in (lacking or {}).items() if number not in known}
        self.officers = frozenset[str]().union(*(each.officer_is for each in self.reigns))
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
        return Ruling(moment, self._who(parsed or self._newest), reign, missing)

    @property
    def mails(self) -> list[tuple[frozenset[str], str]]:
        """Addresses that are one carrier's and nobody else's, and whose, by every revision."""
        known = [self._newest, *(each.declaration for each in self.reigns if each.declaration is not None)]
        return [(frozenset({mail}), name) for parsed in known for mail, name in self._who(parsed).mails.items()]

    def names(self, person: Person) -> list[str]:
        """Of an officer: what releases call them."""
        return [each.name for each in self.reigns if each.name and not each.officer_is.isdisjoint(person.sure)]

    def _who(self, parsed: Declaration) -> Roles:
        if parsed.digest not in self._known:
            known = [each.declaration for each in self.reigns if each.declaration is not None]
            self._known[parsed.digest] = Roles.of(parsed, [each for each in known if each.revision < parsed.revision])
        return self._known[parsed.digest]


def identities(rows: Sequence[Row]) -> dict[str, frozenset[str]]:
    """By fingerprint of the keys that signed a log: whose they are, whatever they call themselves."""
    return {each.fingerprint: each.person.sure for row in rows for each in (row.released, row.received) if each}


class Faces:
    """Who the sides of a log are: by whose their keys are in the allowed signers, under whatever name they sign."""

    def __init__(self, rows: Sequence[Row], terms: Terms, allowed: AllowedSigners) -> None:
        self.who = identities(rows)
        self._terms, self._allowed = terms, allowed
        self._carriers: dict[frozenset[str], Party] = {}
        self._by_record = terms.origin | terms.officers
        self._origin: set[str] = {*self._by_record}
        self._bound: dict[str, int] = {}  # who had drives before they left the origin, since which event
        left: set[str] = set()
        for row in rows:
            roles = terms.at(row.event.at).roles
            for party, signer in ((row.event.released_by, row.released), (row.event.received_by, row.received)):
                if signer is not None and roles.carriers_of(party):
                    self._carriers.setdefault(signer.person.sure, party)
                elif signer is not None and roles.sends(party):
                    if not roles.receives(party):
                        self._origin |= signer.person.sure
                    if row.event.moves and not left.issuperset(row.event.serials):
                        for each in signer.person.sure:
                            self._bound.setdefault(each, row.number)
            if row.counts and row.event.passes and not roles.sends(row.event.received_by):
                left |= set(row.event.serials)

    @property
    def carriers(self) -> list[tuple[frozenset[str], str]]:
        """Whose keys signed as carriers, and as whom first; and the addresses of carriers, by every revision."""
        return [*((whose, party.words) for whose, party in self._carriers.items()), *self._terms.mails]

    def event(self, event: CustodyEvent) -> CustodyEvent:
        """The event with each carrier's keys under the name of the carrier; to ask for roles, and for nothing else."""
        sides = {"released_by": event.released_by, "received_by": event.received_by}
        roles = self._terms.at(event.at).roles
        known = {name: self._face(side, roles) for name, side in sides.items()}
        return event if known == sides else msgspec.structs.replace(event, **known)

    def _face(self, side: Party, roles: Roles) -> Party:
        whose = self.who.get(side.key_fingerprint, frozenset())
        known = self._carriers.get(whose)
        carrier = next((roles.mails[name] for name in sorted(whose) if name in roles.mails), None)
        if known is not None and not (carrier and roles.left(known)):  # whose name was put right is the same carrier
            return known
        return side if carrier is None else msgspec.structs.replace(side, name=carrier, org=carrier)

    def _of_origin(self, side: Party, roles: Roles) -> bool:
        """The key of a side is somebody's of the origin, by a record or an event of the log."""
        whose = self.who.get(side.key_fingerprint, frozenset()) | {side.key_fingerprint} - {""}
        return not whose.isdisjoint(self._origin) or not whose.isdisjoint(roles.origin)

    def receives(self, event: CustodyEvent, side: Party) -> bool:
        """The side of an event is one to whom the drives go, and its key is nobody's of the origin."""
        roles = self._terms.at(event.at).roles
        return not self._of_origin(side, roles) and roles.receives(self._face(side, roles))

    def poses(self, event: CustodyEvent, side: Party) -> bool:
        """The side is named as one to whom the drives go, and as nobody else; a record binds its key to the origin."""
        roles, whose = self._terms.at(event.at).roles, self.who.get(side.key_fingerprint, frozenset())
        face = self._face(side, roles)
        named = roles.receives(face) and not roles.sends(face)
        return named and not whose.isdisjoint(self._by_record | roles.origin)

    def is_home(self, row: Row) -> bool:
        """Who received by key, or is to sign yet, is bound to the origin: by a record, or an event of before they left.

        Where nothing binds anybody, the name is all that there is; nor is of a key that is in no list here anything
        known before it signs.
        """
        if row.received is None and not self._allowed.principals(row.event.received_by.key_fingerprint):
            return bool(row.event.received_by.key_fingerprint)
        bound = {*self._by_record, *self._terms.at(row.event.at).roles.origin}
        bound |= {each for each, since in self._bound.items() if since < row.number}
        return not bound or not bound.isdisjoint(self._allowed.person(row.event.received_by.key_fingerprint).sure)

    def principals(self, side: Party) -> str:
        """Whose the key of a side is, as the allowed signers have it."""
        return self._allowed.principals(side.key_fingerprint)

    def arrives(self, event: CustodyEvent) -> bool:
        """By it drives come to the site: it says so, or passes them to one to whom they go, who signed by key.

        Not where a key of the origin signs as the receiver: unless they carry, or the origin is the receiver, too.
        """
        side, roles = event.received_by, self._terms.at(event.at).roles
        face, signs = self._face(side, roles), side.key_fingerprint in self.who
        if event.event_type == "arrive":
            allowed = roles.carriers_of(face) or (roles.sends(face) and roles.receives(face))
            return bool(allowed) or not (signs and self._of_origin(side, roles))
        return event.passes and event.changes_hands and signs and self.receives(event, side)


class _Step(NamedTuple):
    """An event that moves drives; `going` wants a release, `leaving` goes from the origin, `home` brings them back."""

    row: Row
    ruling: Ruling
    seen: CustodyEvent
    going: Sequence[str]
    leaving: Sequence[str]
    homeward: bool
    home: bool


def _steps(rows: Sequence[Row], come: Sequence[Sequence[str]], begun: Sequence[Sequence[str]], terms: Terms,
           faces: Faces, away: set[str]) -> Iterator[_Step]:  # fmt: skip
    """Of each event that moves drives, in order, where they go; `away` is made what has left the origin by then."""
    for row, new, first in zip(rows, come, begun, strict=True):
        if not row.counts or not row.event.moves:
            continue
        ruling, seen = terms.at(row.event.at), faces.event(row.event)
        going, homeward = _going(seen, new, first, ruling.roles), _is_homeward(seen, ruling.roles)
        home = homeward and faces.is_home(row)
        going = [] if home else going
        out = [] if _within(seen, ruling.roles) else [serial for serial in going if serial not in away]
        comes = seen.event_type == "arrive" and faces.receives(
            seen, seen.received_by
        )  # when it left, nobody wrote down
        leaving = out if ruling.roles.sends(seen.released_by) and not comes else []
        yield _Step(row, ruling, seen, going, leaving, homeward, home)
        away.update(out)
        away.difference_update(row.event.serials if home else ())


def _within(seen: CustodyEvent, roles: Roles) -> bool:
    """From one hand of the origin to another, which carries nothing: drives leave with who takes them out."""
    one, other = seen.released_by, seen.received_by
    return seen.event_type != "load" and roles.sends(one) and roles.sends(other) and not roles.carriers_of(other)


def have_left(rows: Sequence[Row], come: Sequence[Sequence[str]], begun: Sequence[Sequence[str]], terms: Terms,
              faces: Faces) -> frozenset[str]:  # fmt: skip
    """Drives of a log that have left the origin, and have not come back."""
    away: set[str] = set()
    for _ in _steps(rows, come, begun, terms, faces, away):
        pass
    return frozenset(away)


def told(rows: Sequence[Row], come: Sequence[Sequence[str]], begun: Sequence[Sequence[str]], terms: Terms,
         faces: Faces) -> list[Finding]:  # fmt: skip
    """Findings of a log; of each event, `come` are drives that it brings to who had them not, `begun` new ones."""
    found = [each for row in rows if row.counts for each in _posing(row, faces)]
    unknown: dict[str, list[Row]] = {}
    here: dict[str, Row] = {}  # drives at the site, and by which event they came
    proved = _proved(rows)
    early: set[str] = set()  # drives that left when they might not
    for step in _steps(rows, come, begun, terms, faces, set()):
        row, ruling, seen, event = step.row, step.ruling, step.seen, step.row.event
        if not event.passes and event.changes_hands and not ruling.roles.of_one_house(seen):
            text = f"{an(event)} passes no drive on, and names two hands: a handover or an arrival says who has them"
            found.append(Finding("hands", text, (row.entry.digest,), tuple(event.serials)))
        if step.home:
            found += [] if row.received else _awaited(row, seen, ruling, terms)
        found += [] if step.homeward else _onward(row, here, faces)
        _stays(row, here, ruling.roles, faces)
        odd = _not_home(row, faces) if step.homeward else ""
        one = _told(step, terms, odd)
        # how drives left may have been written down later: of those under way only a digest says when it happened
        early.update(step.leaving if one else ())
        then = proved.get(row.entry.digest) if early.isdisjoint(event.serials) else None
        if one and then is not None and not step.leaving:
            again = step._replace(ruling=terms.at(then))
            one = one if again.ruling.missing else min(one, _told(again, terms, odd), key=len)
        if ruling.missing and one:
            unknown.setdefault(ruling.missing, []).append(row)
        else:
            found += one
    for missing, of in unknown.items():
        drives = tuple(dict.fromkeys(serial for row in of for serial in row.event.serials))
        text = f"whether they might go then, nobody can say here: {missing}"
        found.append(Finding("revision", text, tuple(row.entry.digest for row in of), drives))
    return found


def _proved(rows: Sequence[Row]) -> dict[str, datetime]:
    """By digest: of events that are earlier than what they name by more than two clocks may differ, when that was.

    They happened after it, whatever their time says: a digest proves an order. The clock is a finding of its own.
    """
    newest: dict[str, datetime] = {}
    found: dict[str, datetime] = {}
    for row in rows:  # no row stands before one that it names
        event = row.event
        behind = max((newest[each] for each in event.log_checkpoint.newest if each in newest), default=event.at)
        newest[row.entry.digest] = max(behind, event.at) if row.counts else behind
        if clocks.is_ahead(behind, event.at):
            found[row.entry.digest] = behind
    return found


def _told(step: _Step, terms: Terms, odd: str) -> list[Finding]:
    """Of one event, by the revision of its time; where that is missing, whether there is anything to judge at all."""
    row, ruling, seen, going = step.row, step.ruling, step.seen, step.going
    found, event, roles = list[Finding](), row.event, ruling.roles

    def tell(kind: Kind, text: str, serials: Sequence[str]) -> None:
        if serials:
            found.append(Finding(kind, text, (row.entry.digest,), tuple(serials)))

    why = (_unreleased(ruling, terms) or _thrown_out(seen, ruling)) if going else ""
    if why or (going and ruling.missing):
        tell("unreleased", f"{an(event)} at {event.at_utc}, and {why}{odd}", going)
    elif why := _ended(ruling):
        tell("unreleased", f"they leave the origin by {an(event)} at {event.at_utc}, and {why}", step.leaving)
    if roles.left(seen.received_by):  # who has them already may say what happens to them
        took = event.serials if event.changes_hands or (going and event.event_type not in _GOES) else ()
        tell("stranger", f"received by {event.received_by.words}, whom {_no_more(seen.received_by, ruling)}", took)
    elif not roles.named(event.received_by) and not roles.left(event.received_by):
        text = f"received by {event.received_by.words}, and the declaration names neither{_kept(event)}"
        tell("stranger", text, event.serials)
    for carrier, serials in roles.astray(seen).items():
        tell("carrier", f"declared with {carrier}, and {_goes(event)} {event.received_by.words}", serials)
    return found


def _onward(row: Row, here: Mapping[str, Row], faces: Faces) -> list[Finding]:
    """Drives that leave the site, where they had come, otherwise than by a return."""
    event = row.event
    leaves = event.event_type == "load" or (event.changes_hands and event.event_type in {"handover", "arrive"})
    gone = [serial for serial in event.serials if serial in here] if leaves else []
    if not gone or not faces.receives(event, event.released_by):
        return []
    if event.changes_hands and faces.receives(event, event.received_by):
        return []
    text = (
        f"{an(event)} takes them on from the site, where they came by event {here[gone[0]].number}: they were released"
        " for the way there. From there they go back to the origin by a return (event_type), whoever carries them;"
        " whatever else leaves the site is a shipment of its own: a return leg, declared and released, with its own log"
    )
    return [Finding("onward", text, (row.entry.digest,), tuple(gone))]


def _stays(row: Row, here: dict[str, Row], roles: Roles, faces: Faces) -> None:
    """Note which drives are at the site after an event: with whoever runs it, or by an arrival with the receiving side.

    A consignee elsewhere to whom they are handed is on the way there.
    """
    event = row.event
    if faces.arrives(event) and (event.event_type == "arrive" or roles.at_site(event.received_by)):
        here.update(dict.fromkeys(event.serials, row))
    elif event.passes and event.changes_hands and not faces.receives(event, event.received_by):
        for serial in event.serials:
            here.pop(serial, None)


def left(rows: Sequence[Row], terms: Terms, faces: Faces) -> dict[str, Row]:
    """By drive: the first event that counts by which somebody has it who is not of the origin, or it was loaded."""
    found: dict[str, Row] = {}
    for row in rows:
        event, seen = row.event, faces.event(row.event)
        goes = event.event_type == "load" or (seen.passes and not terms.at(event.at).roles.sends(seen.received_by))
        for serial in event.serials if row.counts and goes else ():
            found.setdefault(serial, row)
    return found


def _posing(row: Row, faces: Faces) -> list[Finding]:
    """Keys of the origin that sign as the receiving side."""
    found = []
    for party, signer in ((row.event.released_by, row.released), (row.event.received_by, row.received)):
        if signer is not None and faces.poses(row.event, party):
            text = f"{party.words} signs by a key of {signer.principal}, whom records bind to the origin"
            found.append(Finding("names", text, (row.entry.digest,), tuple(row.event.serials)))
    return found


def _is_homeward(seen: CustodyEvent, roles: Roles) -> bool:
    """It passes drives to one whom the declaration names as of the origin, from somebody else."""
    return seen.passes and roles.sends(seen.received_by) and not roles.sends(seen.released_by)


def _not_home(row: Row, faces: Faces) -> str:
    """Why drives that are passed to the origin do not come back to it."""
    party = row.event.received_by
    if not party.key_fingerprint:
        return "; back to the origin they come where whoever takes them signs with a key"
    signs = f"signs by a key of {row.received.principal}" if row.received else ""
    who = f"{party.words} {signs or f'is to sign by a key of {faces.principals(party)}'}"
    return f"; back to the origin it is not, since {who}, whom no record that is here binds to it"


def _awaited(row: Row, seen: CustodyEvent, ruling: Ruling, terms: Terms) -> list[Finding]:
    """Of drives that come home, where the other signature is still to come, and they might go nowhere else."""
    event, why = row.event, ruling.missing or _unreleased(ruling, terms)
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


def _unreleased(ruling: Ruling, terms: Terms) -> str:
    """Why drives might not go then; "" where they might."""
    if ruling.reign is None:
        return "the shipment was released later" if terms.reigns else "the shipment is not released"
    why = [each.text for each in ruling.reign.against if each.since is None or ruling.at >= each.since]
    return f"the release does not stand: {'; '.join(why)}" if why else ""


def _ended(ruling: Ruling) -> str:
    """Which authorisations of the release had ended then, in words."""
    rests = ruling.reign.ended if ruling.reign else ()
    return "; ".join(each.text for each in rests if each.since is not None and ruling.at >= each.since)


def _kept(event: CustodyEvent) -> str:
    """Of an inspection after which somebody else has the drives: what to say when that is not so."""
    if event.event_type != "customs_inspection" or not event.changes_hands:
        return ""
    return "; so customs kept the drives: who has them again stands on both sides of an inspection"


def _goes(event: CustodyEvent) -> str:
    return "sealed by" if event.event_type == "seal" and not event.changes_hands else "goes to"
