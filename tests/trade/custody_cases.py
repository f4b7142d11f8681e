"""People with keys, a declaration, and events of custody that they make, without files."""

from datetime import UTC, datetime, timedelta

import msgspec
from trade_cases import content, declared, signer

from sealift.formats.allowed_signers import AllowedSigners
from sealift.formats.manifest import FileRef
from sealift.trade import custody, custody_graph
from sealift.trade import custody_event as ev

PEOPLE = {name: signer(10 + at) for at, name in enumerate(("origin", "anna", "bo", "dock", "mallory"))}
ALLOWED = AllowedSigners.parse(
    "".join(
        f'{name}@example.com namespaces="sealift-custody" {PEOPLE[name].public_key.line}\n'
        for name in ("origin", "anna", "bo", "dock")
    ).encode()
)
CARRIES = ("Anna", "Anna", "Bo", "Bo")  # the drives, in their order
DECLARATION = declared(
    drives=[
        msgspec.structs.replace(drive, carrier=name)
        for drive, name in zip(content(count=4).drives, CARRIES, strict=True)
    ]
)
ID = DECLARATION.consignment_id
SERIALS = [drive.serial for drive in DECLARATION.drives]
BEGIN = datetime(2026, 11, 25, 8, 0, tzinfo=UTC)
NOW = BEGIN + timedelta(days=30)
PHOTO = "ab" * 32


def side(name, *, paper=False):
    key = "" if paper else PEOPLE[name].public_key.fingerprint
    return ev.Party(
        name=name.title(),
        org="Example Carriers",
        id_kind="passport",
        key_fingerprint=key,
        paper_sha256=PHOTO if paper else "",
    )


def item(serials, before="S1", after=None, **changes):
    fields = {
        "serials": list(serials),
        "seal_before": before,
        "seal_after": before if after is None else after,
        "seal_class": "H",
        "seal_checked": "intact" if before else "no_seal",
        "condition": "good",
        "shock_indicator": "clear",
    }
    return ev.Item(**(fields | changes))


def unlocked(**changes):
    """What an unlock says: keys for a job until eight days after the beginning."""
    fields = {
        "shipment": "cd072cd8be6f9f62",
        "seal": FileRef(bytes=1592, blake3="5e" * 32),
        "job": "run-7",
        "recipients": ["age15nsf9y4k28p83wth93tf7hafhvfajp45d2mge80ems45gz0c5gys3me64l"],
        "valid_until": "2026-12-03T08:00:00Z",
        "keys": 4470300,
        "file": FileRef(bytes=71736616, blake3="f1" * 32),
    }
    return ev.Unlocked(**(fields | changes))


class Log:
    """A copy of a log in memory, as one person has it."""

    def __init__(self, entries=(), signatures=()):
        self.entries = dict(entries)
        self.signatures = {digest: set(each) for digest, each in dict(signatures).items()}

    def copy(self):
        return Log(self.entries, self.signatures)

    def event(self, event_type, released, received, items, *, minutes=None, **changes):
        """An event after all that this copy has; not recorded."""
        minutes = len(self.entries) if minutes is None else minutes
        fields = {
            "consignment_id": ID,
            "log_checkpoint": custody_graph.newest(self.entries),
            "event_type": event_type,
            "at_utc": (BEGIN + timedelta(minutes=minutes)).strftime(ev.TIME),
            "local_timezone": "Europe/Lisbon",
            "place": "gate 4",
            "released_by": released if isinstance(released, ev.Party) else side(released),
            "received_by": received if isinstance(received, ev.Party) else side(received),
            "reason": "as planned",
            "items": items,
            "photo_sha256": [],
            "hash_sample_result": "not_taken",
            "officer_ref": "",
            "inspection_opened": False,
            "resolves": [],
        }
        return ev.CustodyEvent(**(fields | changes))

    def add(self, event, *signers):
        """Record it, signed by those named; by both sides if nobody is. Returns its digest."""
        entry = ev.encode(event)
        self.entries[entry.digest] = entry
        keys = {each.public_key.fingerprint: name for name, each in PEOPLE.items()}
        both = {event.released_by.key_fingerprint, event.received_by.key_fingerprint} - {""}
        for name in signers or [keys[each] for each in both]:
            self.sign(entry.digest, name)
        return entry.digest

    def sign(self, digest, name):
        made = PEOPLE[name].sign(self.entries[digest].data, ev.NAMESPACE)
        self.signatures.setdefault(digest, set()).add(made)

    def record(self, *args, by=(), **kwargs):
        return self.add(self.event(*args, **kwargs), *by)

    def merge(self, other):
        self.entries |= other.entries
        for digest, each in other.signatures.items():
            self.signatures.setdefault(digest, set()).update(each)

    def read(self):
        return custody_graph.Copy(self.entries, {digest: sorted(each) for digest, each in self.signatures.items()})

    def account(self, serials=SERIALS, allowed=ALLOWED, now=NOW, **kwargs):
        return custody.assess(self.read(), consignment_id=ID, serials=serials, allowed=allowed, now=now, **kwargs)

    def kinds(self, **kwargs):
        return sorted({finding.kind for finding in self.account(**kwargs).open})


def sealed():
    """A log with all drives sealed by the origin, two a seal."""
    log = Log()
    log.record("seal", "origin", "origin", [item(SERIALS[:2], "", "S1"), item(SERIALS[2:], "", "S2")])
    return log


def under_way():
    """Copies of the origin, Anna and Bo after the origin handed two drives to each."""
    log = sealed()
    log.record("handover", "origin", "anna", [item(SERIALS[:2], "S1")])
    log.record("handover", "origin", "bo", [item(SERIALS[2:], "S2")])
    return log, log.copy(), log.copy()


def changed(entry, **changes):
    return msgspec.structs.replace(entry.event, **changes)
