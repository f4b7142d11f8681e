"""Who signs in a log of custody, terms by which it is judged, and what it then says: for tests of both."""

from datetime import timedelta

import msgspec
from custody_cases import BEGIN, DECLARATION, PEOPLE, SERIALS, Log, item, side

from sealift.formats.allowed_signers import AllowedSigners
from sealift.trade import persons
from sealift.trade.custody_terms import Reign, Terms
from sealift.trade.standing import Against

ALL = AllowedSigners.parse(
    "".join(f"{name}@example.com {each.public_key.line}\n" for name, each in PEOPLE.items()).encode()
)


def of(name, org, called=None):
    return msgspec.structs.replace(side(name), org=org, name=called or name.title())


ORIGIN = of("origin", DECLARATION.shipper.legal_name)
WITNESS = of("mallory", DECLARATION.shipper.legal_name, "Olu")
DOCK = of("dock", DECLARATION.consignee.legal_name)


def sealed():
    log = Log()
    log.record("seal", ORIGIN, ORIGIN, [item(SERIALS, "", "S1")])
    return log


def told(log, terms):
    account = log.account(terms=terms, allowed=ALL)
    return {finding.kind: set(finding.serials) for finding in account.findings if finding.open}


def event(log, kind, released, received, serials=tuple(SERIALS[:2]), **changes):
    more = {"verify": {"hash_sample_result": "match"}, "customs_inspection": {"officer_ref": "ZA 7"}}.get(kind, {})
    after = "" if kind == "unseal" else "S1"
    return log.record(kind, released, received, [item(serials, "S1", after)], **{**more, **changes})


def after(hours, number, parsed, *against, lacks=""):
    return Reign(BEGIN + timedelta(hours=hours), number, parsed, against, lacks)


OFFICER = "witness@example.com"
LATE = Terms(DECLARATION, [Reign(BEGIN + timedelta(hours=1), 1, DECLARATION, officer=OFFICER)])
BY_OFFICER = AllowedSigners.parse(
    "".join(
        f"{'witness' if name == 'mallory' else name}@example.com {each.public_key.line}\n"
        for name, each in PEOPLE.items()
    ).encode()
)


def found_of(log, kind, terms=LATE):
    account = log.account(terms=terms, allowed=BY_OFFICER)
    (found,) = [each for each in account.findings if each.kind == kind]
    return found, account


def found_of_first(log, kind, terms, digest, allowed=BY_OFFICER):
    account = log.account(terms=terms, allowed=allowed)
    return next(each for each in account.findings if each.kind == kind and digest in each.events), account


HIT = Against("a later hit", BEGIN + timedelta(hours=1))


def bound(*names):
    """Terms whose release fell after an hour, and records by which people are of the origin."""
    people = [(ALL.person(PEOPLE[name].public_key.fingerprint), persons.SCREENER) for name in names]
    return Terms(DECLARATION, [Reign(BEGIN, 1, DECLARATION, (HIT,))], None, persons.Origin(tuple(people)))
