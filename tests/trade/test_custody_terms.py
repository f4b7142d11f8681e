"""Drives go on by a release that stood then, whatever the type of the event; and by that revision alone."""

import itertools
from datetime import timedelta
from typing import get_args

import msgspec
import pytest
from custody_cases import BEGIN, DECLARATION, PEOPLE, SERIALS, Log, item, side
from custody_terms_cases import (
    ALL,
    DOCK,
    LATE,
    OFFICER,
    ORIGIN,
    WITNESS,
    after,
    bound,
    event,
    found_of,
    found_of_first,
    of,
    sealed,
    told,
)
from trade_cases import declared

from sealift.formats.allowed_signers import AllowedSigners
from sealift.trade import custody_event as ev
from sealift.trade import custody_roles, persons
from sealift.trade.custody_terms import Reign, Terms
from sealift.trade.standing import Against

CAST = {"origin": ORIGIN, "witness": WITNESS, "anna": side("anna"), "bo": side("bo"), "dock": DOCK}
HOME = {"origin", "witness"}
KINDS = [each for each in get_args(ev.EventType) if each not in {"discrepancy", "unlock"}]
RELEASED = Terms(DECLARATION, [Reign(BEGIN, 1, DECLARATION)])
UNRELEASED = Terms(DECLARATION)


def having(log, serial=SERIALS[0]):
    return [held.by.name for drive in log.account(allowed=ALL).drives if drive.serial == serial for held in drive.held]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("one", "two"), list(itertools.product(CAST, CAST)))
def test_no_type_of_event_between_any_two_takes_drives_on_without_a_release(kind, one, two):
    if kind in {"handover", "return"} and one == two:
        return
    log = sealed()
    event(log, kind, CAST[one], CAST[two])
    passes = kind in {"handover", "return", "arrive", "customs_inspection"}
    assert having(log) == [CAST[two].name if passes else "Origin"]
    back = passes and two == "origin" and one not in HOME  # that nobody of the origin signed before tells no key
    goes = not back and (
        kind in {"handover", "return", "load"} or (not {one, two} <= HOME if one != two else passes and one not in HOME)
    )
    assert ("unreleased" in told(log, UNRELEASED)) == goes
    assert told(log, UNRELEASED).get("unreleased", set()) == (set(SERIALS[:2]) if goes else set())
    assert "unreleased" not in told(log, RELEASED)
    late = Terms(DECLARATION, [Reign(BEGIN + timedelta(hours=1), 1, DECLARATION)])
    assert ("unreleased" in told(log, late)) == goes
    fallen = Terms(DECLARATION, [Reign(BEGIN, 1, DECLARATION, (Against("a later hit", BEGIN),))])
    assert ("unreleased" in told(log, fallen)) == goes
    if one != two and not passes and not {one, two} <= HOME:
        assert "hands" in told(log, RELEASED), "two hands in an event that passes nothing on"


@pytest.mark.parametrize("who", CAST)
def test_a_record_that_begins_with_a_carrier_or_a_receiver_left_the_origin(who):
    log = Log()
    log.record("seal", CAST[who], CAST[who], [item(SERIALS, "", "S1")])
    assert ("unreleased" in told(log, UNRELEASED)) == (who in {"anna", "bo", "dock"})
    assert "unreleased" not in told(log, RELEASED)


def test_drives_that_changed_hands_under_a_seal_event_are_still_where_they_were():
    """The next who has them has to say from whom: the log goes on as torn."""
    log = sealed()
    event(log, "seal", ORIGIN, side("anna"))
    event(log, "arrive", side("anna"), DOCK)
    assert {"hands", "unreleased"} <= told(log, UNRELEASED).keys()
    assert "hands" in told(log, RELEASED)


# --- revisions


def revised(number, **carriers):
    drives = [
        msgspec.structs.replace(each, carrier=carriers.get(each.serial, each.carrier)) for each in DECLARATION.drives
    ]
    return declared(drives=drives, revision=number, supersedes="ab" * 32)


SECOND = revised(2, **{SERIALS[0]: "Bo"})


def test_every_event_is_judged_by_the_revision_that_was_released_then():
    log = sealed()
    event(log, "handover", ORIGIN, side("anna"), SERIALS[:2], minutes=60)
    terms = Terms(SECOND, [after(2, 2, SECOND), after(0, 1, DECLARATION)])
    assert told(log, terms).keys() == set()
    event(log, "handover", side("anna"), side("bo"), SERIALS[:2], minutes=180)
    assert told(log, terms) == {"carrier": {SERIALS[1]}}, "the second revision gives Bo the first drive alone"
    draft = Terms(SECOND, [after(0, 1, DECLARATION)])
    assert told(log, draft) == {"carrier": set(SERIALS[:2])}, "and a draft gives nobody anything"


def test_a_hit_between_two_revisions_stops_what_went_between_them():
    hit = Against("a later hit", BEGIN + timedelta(hours=1))
    terms = Terms(SECOND, [after(0, 1, DECLARATION, hit), after(2, 2, SECOND)])
    for minutes, stopped in ((59, False), (61, True), (121, False)):
        log = sealed()
        event(log, "handover", ORIGIN, side("anna"), SERIALS[1:2], minutes=minutes)
        assert ("unreleased" in told(log, terms)) == stopped


@pytest.mark.parametrize(("reigns", "lacking", "minutes", "missing"), [
    ([after(2, 2, SECOND)], {1: "d.r1.toml"}, 60, "d.r1.toml"),
    ([after(2, 2, SECOND)], {1: "d.r1.toml"}, 180, None),
    ([after(0, 1, DECLARATION)], {2: "d.r2.toml"}, 60, "d.r2.toml"),
    ([after(0, 1, DECLARATION), after(2, 3, SECOND)], {2: "d.r2.toml"}, 60, "d.r2.toml"),
    ([after(0, 1, DECLARATION), after(2, 3, SECOND)], {2: "d.r2.toml"}, 180, None),
    ([after(0, 1, DECLARATION), after(2, 2, None, lacks="d.r2.toml")], {}, 60, None),
    ([after(0, 1, DECLARATION), after(2, 2, None, lacks="d.r2.toml")], {}, 180, "d.r2.toml"),
    ([], {1: "d.r1.toml"}, 60, "d.r1.toml"),
    ([after(0, 1, DECLARATION, Against("its rules"), lacks="its rules")], {}, 60, "its rules"),
])  # fmt: skip
def test_where_the_revision_of_that_time_is_not_here_its_file_is_named_and_nobody_is_accused(
    reigns, lacking, minutes, missing
):
    log = sealed()
    event(log, "handover", ORIGIN, side("anna"), SERIALS[1:2], minutes=minutes)
    account = log.account(terms=Terms(SECOND, reigns, lacking), allowed=ALL)
    found = [(each.kind, each.serials) for each in account.open if each.kind != "unheld"]
    assert found == ([("revision", (SERIALS[1],))] if missing else [])
    assert all(missing in each.text for each in account.open)
    assert account.exit_code == (3 if missing else 0)


def test_drives_of_before_do_not_need_what_is_not_here():
    """Sealed at home, before any release: nothing to judge."""
    assert told(sealed(), Terms(SECOND, [after(2, 2, SECOND)], {1: "d.r1.toml"})) == {}


# --- who settles what customs opened, and whose key it is


def opened():
    log = sealed()
    event(log, "handover", ORIGIN, side("anna"))
    digest = event(log, "customs_inspection", side("anna"), side("anna"), inspection_opened=True)
    return log, digest


@pytest.mark.parametrize("kind", [*KINDS, "discrepancy"])
@pytest.mark.parametrize("who", ["origin", "witness", "bo", "dock"])
def test_what_customs_opened_is_settled_by_the_receiver_who_has_the_case(kind, who):
    log, digest = opened()
    event(log, kind, side("anna"), CAST[who], resolves=[digest])
    account = log.account(terms=RELEASED, allowed=ALL)
    (found,) = [each for each in account.findings if each.kind == "opened"]
    brings = kind in {"handover", "return", "arrive", "customs_inspection"}
    assert found.open == (not (who == "dock" and brings))
    if found.open:
        assert "names it, and does not settle it: " in found.text
        why = "one of the two has to be somebody" if who == "bo" else "the receiver does, who sees the case"
        assert why in found.text
    elsewhere = [each for each in account.findings if each.kind == "opened" and not each.open]
    assert len(elsewhere) == (who == "dock" and brings)


def test_after_it_arrived_the_receiver_settles_it_with_any_second_person():
    log, digest = opened()
    event(log, "arrive", side("anna"), DOCK, SERIALS[:1])
    settles = log.copy()
    event(settles, "discrepancy", DOCK, ORIGIN, resolves=[digest])
    account = settles.account(terms=RELEASED, allowed=ALL)
    (found,) = [each for each in account.findings if each.kind == "opened"]
    assert (found.open, found.serials) == (True, (SERIALS[1],)), "of the drive that came, and of no other"
    event(log, "discrepancy", ORIGIN, side("anna"), SERIALS[:1], resolves=[digest])
    assert "opened" in told(log, RELEASED), "the origin and a carrier do not, though it has arrived"


def test_one_key_under_two_names_shows_and_settles_nothing_as_the_other_one():
    log, digest = opened()
    other = of("anna", DECLARATION.site.operator, "Some One")
    last = event(log, "arrive", side("bo"), other, resolves=[digest])
    account = log.account(terms=RELEASED, allowed=ALL)
    found = {each.kind: each for each in account.open}
    assert found["names"].events == (last,)
    assert found["names"].text == (f"the key of {other.words} is that of Anna (Example Carriers) in event 2")
    assert "one of the two has to be somebody" in found["opened"].text


# --- who may settle that drives went on as they might not


UNLAWFUL = {
    "unreleased": (LATE, lambda log: event(log, "handover", ORIGIN, side("anna"), minutes=10)),
    "carrier": (
        Terms(DECLARATION, [Reign(BEGIN, 1, DECLARATION, officer=OFFICER)]),
        lambda log: event(log, "handover", ORIGIN, side("bo"), minutes=10),
    ),
    "hands": (
        Terms(DECLARATION, [Reign(BEGIN, 1, DECLARATION, officer=OFFICER)]),
        lambda log: event(log, "arrive", side("anna"), DOCK, minutes=10),
    ),
    "stranger": (
        Terms(DECLARATION, [Reign(BEGIN, 1, DECLARATION, officer=OFFICER)]),
        lambda log: event(log, "handover", ORIGIN, of("bo", "Away", "X"), minutes=10),
    ),
}


@pytest.mark.parametrize("kind", UNLAWFUL)
def test_that_drives_went_on_unlawfully_the_officer_alone_settles_and_it_is_named_for_good(kind):
    terms, happen = UNLAWFUL[kind]
    log = sealed()
    digest = happen(log)
    for one, two in ((side("anna"), ORIGIN), (side("anna"), side("bo")), (side("bo"), DOCK), (ORIGIN, DOCK)):
        tried = log.copy()
        event(tried, "return", one, two, minutes=200, resolves=[digest])
        found, account = found_of_first(tried, kind, terms, digest)
        assert found.open, (one.name, two.name)
        assert "the trade-compliance officer whose key signed the release has to sign that" in found.text
    event(log, "discrepancy", WITNESS, WITNESS, minutes=200, resolves=[digest], reason="looked into")
    found, account = found_of_first(log, kind, terms, digest)
    assert (found.open, found.by_officer, found.settled_by) == (False, True, account.rows[-1].entry.digest)
    assert not [each for each in account.open if each.kind == "discrepancy"], "its own statement is no further one"


def test_an_officer_who_took_part_settles_nothing_of_it_and_none_is_there_without_a_release():
    log = sealed()
    digest = event(log, "handover", WITNESS, side("anna"), minutes=10)
    event(log, "discrepancy", WITNESS, WITNESS, minutes=200, resolves=[digest])
    found, account = found_of(log, "unreleased")
    assert found.open
    assert [each.kind for each in account.open if each.kind == "discrepancy"] == ["discrepancy"]
    log = sealed()
    digest = event(log, "handover", ORIGIN, side("anna"), minutes=10)
    event(log, "discrepancy", WITNESS, WITNESS, minutes=200, resolves=[digest])
    assert found_of(log, "unreleased", UNRELEASED)[0].open
    assert found_of(log, "unreleased")[0].by_officer


# --- who somebody is, their key's principal says


def named(**principals):
    """Allowed signers with other principals for some keys."""
    lines = (f"{principals.get(name, f'{name}@example.com')} {each.public_key.line}\n" for name, each in PEOPLE.items())
    return AllowedSigners.parse("".join(lines).encode())


def settles(principal, party, allowed=None, terms=RELEASED, by="bo"):
    log, digest = opened()
    event(log, "handover", side("anna"), side("bo"))
    event(log, "arrive", side(by), party, resolves=[digest])
    account = log.account(terms=terms, allowed=allowed or named(mallory=principal))
    return not [each for each in account.open if each.kind == "opened"], account


def test_a_second_key_of_a_carrier_is_the_carriers_and_settles_nothing_as_a_receiver():
    some = of("mallory", DECLARATION.consignee.legal_name, "Some One")
    assert settles("somebody@example.com", some)[0]
    one = "courier@example.com"  # in no contact
    did, account = settles(one, some, named(anna=one, mallory=one))
    assert not did
    assert "names" in {each.kind for each in account.open}


def test_a_carriers_key_is_known_by_the_contact_that_is_declared():
    carriers = [msgspec.structs.replace(each, contact=f"{each.name}: {each.name}@away.example")
                for each in DECLARATION.carriers]  # fmt: skip
    terms = Terms(DECLARATION, [Reign(BEGIN, 1, declared(drives=DECLARATION.drives, carriers=carriers))])
    some = of("mallory", DECLARATION.consignee.legal_name, "Some One")
    assert not settles("Anna@away.example", some, terms=terms)[0]
    assert settles("Anna@away.example", some)[0]
    shared = [msgspec.structs.replace(each, contact="desk@away.example") for each in carriers]
    roles = custody_roles.Roles.of(declared(drives=DECLARATION.drives, carriers=shared))
    assert roles.mails == {}, "an address of two carriers is nobody's"


@pytest.mark.parametrize("principal", ["origin@example.com", "officer@example.com", "author@example.com"])
def test_a_key_of_the_origin_settles_nothing_as_a_receiver(principal):
    """Who signed in the log as the origin, the release, or wrote the declaration, by whatever name."""
    author = msgspec.structs.replace(DECLARATION.author, email="author@example.com")
    parsed = declared(drives=DECLARATION.drives, author=author)
    terms = Terms(parsed, [Reign(BEGIN, 1, parsed, officer="officer@example.com")])
    some = of("mallory", DECLARATION.consignee.legal_name, "Some One")
    assert not settles(principal, some, terms=terms)[0]
    assert settles("another@example.com", some, terms=terms)[0]


def test_a_recipient_of_the_shippers_own_firm_is_no_receiver_of_a_case():
    name = DECLARATION.encryption.recipients[0].name
    assert not settles("r@example.com", of("mallory", DECLARATION.shipper.legal_name, name))[0]


def test_two_keys_of_one_principal_are_one_holder():
    log = sealed()
    event(log, "handover", ORIGIN, side("anna"))
    again = of("mallory", side("anna").org, "Anna")
    event(log, "arrive", again, DOCK)
    texts = [each.text for each in log.account(terms=RELEASED, allowed=ALL).open if each.kind == "hands"]
    assert texts == [f"released by {again.words} with another key, and {again.words} had them"]
    account = log.account(terms=RELEASED, allowed=named(mallory="anna@example.com"))
    assert not [each for each in account.open if each.kind in {"hands", "names"}]


def test_a_handover_to_a_receiver_brings_drives_as_an_arrival_does():
    log = sealed()
    event(log, "handover", ORIGIN, side("anna"))
    event(log, "handover", side("anna"), DOCK)
    account = log.account(terms=RELEASED, allowed=ALL, final=True)
    (missing,) = [each for each in account.open if each.kind == "missing"]
    assert missing.serials == tuple(SERIALS[2:])
    paper = log.copy()
    event(paper, "handover", ORIGIN, msgspec.structs.replace(DOCK, key_fingerprint="", paper_sha256="ab" * 32),
          SERIALS[2:])  # fmt: skip
    account = paper.account(terms=RELEASED, allowed=ALL, final=True)
    assert [each.serials for each in account.open if each.kind == "missing"] == [tuple(SERIALS[2:])], "by key alone"


# --- whose side somebody is on, records say, and not the name that they write


@pytest.mark.parametrize("kind", ["return", "handover", "arrive", "customs_inspection"])
@pytest.mark.parametrize(("who", "name", "terms", "comes"), [
    ("origin", "Origin", bound(), True),
    ("dock", "Origin", bound(), False),
    ("mallory", "Origin", bound(), False),
    ("mallory", "Somebody Else", bound(), False),
    ("mallory", "Somebody Else", bound("mallory"), True),
    ("dock", "Somebody Else", bound("mallory"), False),
    ("bo", "Somebody Else", bound(), False),
])  # fmt: skip
def test_back_to_the_origin_drives_come_to_a_key_that_a_record_binds_to_it(kind, who, name, terms, comes):
    log = sealed()
    event(log, "handover", ORIGIN, side("anna"), minutes=10)
    event(log, kind, side("anna"), of(who, DECLARATION.shipper.legal_name, name), minutes=120)
    account = log.account(terms=terms, allowed=ALL)
    found = {each.kind: each for each in account.open}
    assert ("unreleased" in found) == (not comes)
    assert ("names" in found) == (name == "Origin" and who != "origin"), "one name, and the keys of two people"
    if not comes and who != "bo":
        assert "back to the origin it is not, since" in found["unreleased"].text


def test_who_had_drives_before_they_left_is_of_the_origin_and_who_says_so_afterwards_is_not():
    guard = of("mallory", DECLARATION.shipper.legal_name, "Gus Guard")
    for early in (True, False):
        log = Log()
        log.record("seal", ORIGIN, ORIGIN, [item(SERIALS[:2], "", "S1")])
        if early:
            event(log, "handover", ORIGIN, guard, minutes=5)
        event(log, "handover", guard if early else ORIGIN, side("anna"), minutes=10)
        if not early:
            event(log, "verify", guard, guard, minutes=20)
        event(log, "return", side("anna"), guard, minutes=120)
        assert ("unreleased" in told(log, bound())) == (not early)
    log = Log()
    log.record("return", side("anna"), guard, [item(SERIALS[:2], "S1")], minutes=120)
    assert "unreleased" in told(log, bound()), "nor does the event bind by which they come"


def test_who_has_not_signed_for_them_does_not_have_them_home():
    for by in (["anna"], ["anna", "origin"]):
        log = sealed()
        event(log, "handover", ORIGIN, side("anna"), minutes=10)
        event(log, "return", side("anna"), ORIGIN, minutes=120, by=by)
        assert told(log, bound()).keys() == (set() if "origin" in by else {"uncountersigned", "awaited"})


def test_a_second_key_of_the_same_principal_comes_home_too():
    log = sealed()
    event(log, "handover", ORIGIN, side("anna"), minutes=10)
    event(log, "return", side("anna"), of("mallory", DECLARATION.shipper.legal_name, "Origin"), minutes=120)
    account = log.account(terms=bound(), allowed=named(mallory="origin@example.com"))
    assert not [each for each in account.open if each.kind in {"unreleased", "names", "hands"}]


def test_one_name_under_the_keys_of_two_principals_shows_unless_a_list_or_pattern_leaves_it_open():
    for principal, shows in (("m@x", True), ("bo@example.com", True), ("anna@example.com", False), ("*@x", False),
                             ("anna@example.com,m@x", False)):  # fmt: skip
        log = sealed()
        event(log, "handover", ORIGIN, side("anna"))
        event(log, "verify", side("anna"), side("anna"))
        event(log, "handover", of("mallory", side("anna").org, "Anna"), DOCK)
        account = log.account(terms=RELEASED, allowed=named(mallory=principal))
        found = [each for each in account.open if each.kind == "names"]
        assert bool(found) == shows, principal
        if shows:
            assert f"signs by a key of {principal}, and in event 2 by one of anna@example.com" in found[0].text


@pytest.mark.parametrize("how", ["a record", "the release", "the author's address", "the log"])
def test_an_arrival_that_the_origin_signs_as_the_receiver_is_none(how):
    author = msgspec.structs.replace(DECLARATION.author, email="mallory@example.com")
    parsed = declared(drives=DECLARATION.drives, author=author) if how == "the author's address" else DECLARATION
    officer = "mallory@example.com" if how == "the release" else ""
    people = ((ALL.person(PEOPLE["mallory"].public_key.fingerprint), persons.FREER),) if how == "a record" else ()
    terms = Terms(parsed, [Reign(BEGIN, 1, parsed, officer=officer)], None, persons.Origin(people))
    log = sealed()
    if how == "the log":
        event(log, "verify", WITNESS, WITNESS)
    event(log, "handover", ORIGIN, side("anna"))
    honest = log.copy()
    event(log, "arrive", side("anna"), of("mallory", DECLARATION.consignee.legal_name, "Dock"))
    account = log.account(terms=terms, allowed=ALL, final=True)
    found = {each.kind: each for each in account.open}
    assert set(SERIALS[:2]) <= set(found["missing"].serials)
    assert set(found["names"].serials) == set(SERIALS[:2])
    event(honest, "arrive", side("anna"), DOCK)
    account = honest.account(terms=terms, allowed=ALL, final=True)
    assert [set(each.serials) for each in account.open if each.kind == "missing"] == [set(SERIALS[2:])]
    assert "names" not in {each.kind for each in account.open}


def test_who_sends_to_themselves_arrives_with_their_own_key():
    """Within one house the origin is the receiver, too; and a carrier of the origin may say that they came."""
    home = msgspec.structs.replace(DECLARATION.consignee, legal_name=DECLARATION.shipper.legal_name)
    parsed = declared(drives=DECLARATION.drives, consignee=home)
    log = sealed()
    event(log, "handover", ORIGIN, side("anna"))
    event(log, "arrive", side("anna"), ORIGIN, SERIALS[:1])
    event(log, "arrive", side("anna"), side("anna"), SERIALS[1:2])
    account = log.account(terms=Terms(parsed, [Reign(BEGIN, 1, parsed)]), allowed=ALL, final=True)
    assert [set(each.serials) for each in account.open if each.kind == "missing"] == [set(SERIALS[2:])]
    assert "names" not in {each.kind for each in account.open}


# --- who stands in an event by hand took part in it


@pytest.mark.parametrize(("name", "settles"), [
    ("Olu Officer", False), ("O. Officer", False), ("officer olu", False), ("Wit Ness", False), ("Bo", True),
    ("Dana Engineer", True),
])  # fmt: skip
def test_an_officer_who_stands_in_the_event_by_hand_does_not_settle_it(name, settles):
    by = ALL.person(PEOPLE["mallory"].public_key.fingerprint)
    terms = Terms(DECLARATION, [Reign(BEGIN + timedelta(hours=1), 1, DECLARATION, (), "", OFFICER, "Olu Officer", by)])
    log = sealed()
    hand = msgspec.structs.replace(side("bo", paper=True), name=name)
    digest = event(log, "handover", ORIGIN, hand, minutes=10)
    event(log, "discrepancy", of("mallory", "Shipper", "Wit Ness"), of("mallory", "Shipper", "Wit Ness"), minutes=200,
          resolves=[digest])  # fmt: skip
    found, _ = found_of_first(log, "unreleased", terms, digest, ALL)
    assert found.by_officer == settles


def test_a_second_key_of_an_officer_took_part_and_is_the_officers():
    both = named(mallory="witness@example.com", bo="witness@example.com")
    log = sealed()
    digest = event(log, "handover", ORIGIN, of("bo", "Example Carriers", "Witness"), minutes=10)
    event(log, "discrepancy", WITNESS, WITNESS, minutes=200, resolves=[digest])
    assert found_of_first(log, "unreleased", LATE, digest, both)[0].open
    other = named(mallory="second@example.com,third@example.com", bo="witness@example.com")
    log = sealed()
    digest = event(log, "handover", ORIGIN, side("anna"), minutes=10)
    event(log, "discrepancy", side("bo"), side("bo"), minutes=200, resolves=[digest])
    assert found_of_first(log, "unreleased", LATE, digest, other)[0].by_officer


# --- authorisations that have ended ----------------------------------------------------------------------

ENDED = Against("BIS, D1, ended on 2026-11-24", BEGIN + timedelta(minutes=30))
ENDS = Terms(DECLARATION, [Reign(BEGIN, 1, DECLARATION, ended=(ENDED,))])
DRIVES = set(SERIALS[:2])


@pytest.mark.parametrize(
    ("steps", "left"),
    [
        ([("handover", "origin", "anna", 10)], set()),
        ([("handover", "origin", "anna", 40)], DRIVES),
        ([("load", "origin", "origin", 40)], DRIVES),
        ([("customs_inspection", "origin", "anna", 40)], DRIVES),
        # within the house nothing leaves, and then it does
        ([("handover", "origin", "witness", 10)], set()),
        ([("handover", "origin", "witness", 10), ("handover", "witness", "anna", 40)], DRIVES),
        # what has left goes on, by whatever hands, and comes to the site
        ([("handover", "origin", "anna", 10), ("handover", "anna", "bo", 40), ("arrive", "bo", "dock", 50)], set()),
        ([("load", "origin", "origin", 10), ("arrive", "origin", "dock", 50)], set()),
        ([("load", "origin", "origin", 10), ("load", "origin", "origin", 40)], set()),  # the next flight
        ([("arrive", "origin", "dock", 50)], set()),
        # it comes home at any time, and leaves no more
        ([("handover", "origin", "anna", 10), ("return", "anna", "origin", 40)], set()),
        ([("handover", "origin", "anna", 10), ("return", "anna", "origin", 40),
          ("handover", "origin", "anna", 50)], DRIVES),
    ],
)  # fmt: skip
def test_drives_leave_the_origin_by_no_authorisation_that_has_ended(steps, left):
    log = sealed()
    for kind, one, two, minutes in steps:
        event(log, kind, CAST[one], CAST[two], minutes=minutes)
    found = log.account(terms=ENDS, allowed=ALL)
    unreleased = [each for each in found.findings if each.kind == "unreleased"]
    assert set().union(*(each.serials for each in unreleased)) == left
    assert all("they leave the origin by " in each.text and each.text.endswith(ENDED.text) for each in unreleased)
    assert "unreleased" not in told(log, RELEASED)
    renewed = Terms(DECLARATION, [*ENDS.reigns, Reign(BEGIN + timedelta(minutes=35), 2, DECLARATION)])
    assert "unreleased" not in told(log, renewed), "by the revision that was released since"
    last = steps[-1][0]
    home = last == "return" or (last == "handover" and steps[-1][2] == "witness")
    assert found.away == (set() if home else DRIVES)


# --- drives that had come leave the site by a return, and by nothing else


LEAVES = {
    ("handover", "anna"): True, ("handover", "bo"): True, ("load", "dock"): True, ("arrive", "anna"): True,
    ("return", "anna"): False, ("return", "origin"): False, ("handover", "origin"): False, ("arrive", "origin"): False,
    ("verify", "dock"): False, ("unseal", "dock"): False, ("seal", "dock"): False, ("arrive", "dock"): False,
    ("customs_inspection", "dock"): False,
}  # fmt: skip


@pytest.mark.parametrize(("kind", "to"), LEAVES)
@pytest.mark.parametrize("came", [True, False])
def test_what_came_to_the_site_goes_back_to_the_origin_and_nowhere_else(kind, to, came):
    log = sealed()
    event(log, "handover", ORIGIN, side("anna"))
    if came:
        event(log, "arrive", side("anna"), DOCK)
    else:
        event(log, "discrepancy", DOCK, DOCK)
    event(log, kind, DOCK, CAST[to])
    found = told(log, RELEASED).get("onward", set())
    assert found == (set(SERIALS[:2]) if came and LEAVES[kind, to] else set())


def test_what_went_back_and_was_released_anew_comes_again():
    log = sealed()
    event(log, "handover", ORIGIN, side("anna"))
    event(log, "arrive", side("anna"), DOCK)
    event(log, "return", DOCK, side("anna"))
    event(log, "handover", side("anna"), side("bo"))
    event(log, "return", side("bo"), ORIGIN)
    event(log, "handover", ORIGIN, side("anna"))
    event(log, "arrive", side("anna"), DOCK)
    assert "onward" not in told(log, RELEASED)
    away = event(log, "handover", DOCK, side("anna"))
    finding, _ = found_of_first(log, "onward", LATE, away)
    assert "a return leg, declared and released, with its own log" in finding.text


def test_a_consignee_elsewhere_hands_drives_on_to_the_site():
    """To whom they are handed, and who does not run the site, is on the way there."""
    log = sealed()
    event(log, "handover", ORIGIN, DOCK)
    event(log, "handover", DOCK, side("anna"))
    assert "onward" not in told(log, RELEASED)
    assert DECLARATION.site.operator != DECLARATION.consignee.legal_name


def slow(before, minutes, **changes):
    """Handed over at `before` minutes, and arrived by an event that names that, and says it was at `minutes`."""
    log = sealed()
    log.record("handover", ORIGIN, side("anna"), [item(SERIALS[:2], "S1", "S1")], minutes=before)
    arrival = event(log, "arrive", side("anna"), DOCK, minutes=minutes, **changes)
    return log, arrival


@pytest.mark.parametrize(
    ("before", "minutes", "accused"),
    [
        (90, -90, False),  # the handover was after the release, and the arrival after the handover
        (90, 45, False),
        (55, -90, True),  # it names one that was before the release, too
        (62, 55, True),  # by two clocks that may differ
        (90, 91, False),
    ],
)
def test_by_a_slow_clock_nobody_goes_before_what_they_name(before, minutes, accused):
    """A digest proves an order, a time does not: the clock is looked at, and nobody is said to have gone early."""
    log, arrival = slow(before, minutes)
    found = {each.kind for each in log.account(terms=LATE, allowed=ALL).findings if arrival in each.events}
    assert ("unreleased" in found) == accused
    assert ("clock" in found) == (minutes < before - 10)


def test_a_clock_that_two_have_settled_leaves_nothing_open():
    log, arrival = slow(90, -90)
    event(log, "discrepancy", ORIGIN, DOCK, minutes=95, resolves=[arrival], reason="the laptop was three hours slow")
    assert log.account(terms=LATE, allowed=ALL).open == []


def test_what_nobody_signed_proves_no_time():
    log = sealed()
    unsigned = ev.encode(log.event("seal", ORIGIN, ORIGIN, [item(SERIALS[:1], "S1", "S1")], minutes=90))
    log.entries[unsigned.digest] = unsigned
    early = event(log, "handover", ORIGIN, side("anna"), minutes=5)
    found = {each.kind for each in log.account(terms=LATE, allowed=ALL).findings if early in each.events}
    assert "unreleased" in found


@pytest.mark.parametrize("hours", [0.2, 30])
def test_a_fast_clock_accuses_nobody_who_names_what_it_said(hours):
    """By their own time they might go: that the event before says a time when they might not, is that clock's fault."""
    fell = Terms(DECLARATION, [Reign(BEGIN, 1, DECLARATION, (Against("a later hit", BEGIN + timedelta(hours=24)),))])
    log = sealed()
    log.record("handover", ORIGIN, side("anna"), [item(SERIALS[:2], "S1", "S1")], minutes=hours * 60)
    arrival = event(log, "arrive", side("anna"), DOCK, minutes=20)
    found = {each.kind for each in log.account(terms=fell, allowed=ALL).findings if arrival in each.events}
    assert "unreleased" not in found
