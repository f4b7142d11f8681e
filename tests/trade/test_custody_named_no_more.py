"""Of whom a revision names no more: where drives may go from their hands; and returns that wait for a signature."""

import msgspec
import pytest
import trade_cases
from custody_cases import BEGIN, DECLARATION, SERIALS, side
from custody_terms_cases import (
    ALL,
    DOCK,
    HIT,
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
from sealift.trade import sections
from sealift.trade.custody_terms import Reign, Terms

# --- whom the newest released revision names no more


def without_bo(**changes):
    """The second revision: Cem in Bo's place, of the same firm or not."""
    rows = [each for each in DECLARATION.carriers if each.name != "Bo"]
    cem = msgspec.structs.replace(DECLARATION.carriers[1], name="Cem", contact="cem@example.com")
    drives = [msgspec.structs.replace(each, carrier=each.carrier.replace("Bo", "Cem")) for each in DECLARATION.drives]
    said = sections.Replaced(role="carriers", legal_name="Bo", since_revision=2, reason="a true match")
    fields = {"carriers": [*rows, cem], "drives": drives, "replaced": [said], "revision": 2, "supersedes": "ab" * 32}
    return declared(**{**fields, **changes})


FIRM = "Gannet Couriers"
IN_ONE_FIRM = [
    msgspec.structs.replace(each, legal_name=FIRM) for each in (*DECLARATION.carriers, *without_bo().carriers[1:])
]


def thrown_out(second=None, first=DECLARATION):
    return Terms(second or without_bo(), [after(0, 1, first), after(2, 2, second or without_bo())])


BO = of("bo", FIRM)
CEM = of("mallory", FIRM, "Cem")
OUT = [("return", ORIGIN, False), ("handover", CEM, False), ("handover", side("anna"), False), ("arrive", DOCK, True),
       ("handover", DOCK, True), ("load", BO, True), ("arrive", BO, False), ("unseal", BO, False)]  # fmt: skip


@pytest.mark.parametrize("how", ["a row of its own", "the revision before", "another of one firm"])
@pytest.mark.parametrize(("kind", "to", "stopped"), OUT)
def test_from_whom_a_revision_names_no_more_drives_come_back_or_go_to_the_successor(kind, to, stopped, how):
    terms = thrown_out()
    if how == "the revision before":
        terms = thrown_out(without_bo(replaced=[]))
    elif how == "another of one firm":
        one, two = IN_ONE_FIRM[:2], [IN_ONE_FIRM[0], IN_ONE_FIRM[2]]
        terms = thrown_out(without_bo(carriers=two, replaced=[]), declared(drives=DECLARATION.drives, carriers=one))
    for minutes, then in ((110, False), (130, stopped)):
        log = sealed()
        event(log, "handover", ORIGIN, BO, SERIALS[2:], minutes=60)
        event(log, kind, BO, to, SERIALS[2:], minutes=minutes)
        found = told(log, terms)
        assert found.get("unreleased", set()) == (set(SERIALS[2:]) if then else set()), minutes
        assert "stranger" not in found or then or (to is CEM and minutes == 110), "of whom nobody had said who he is"


def test_what_it_says_of_who_went_on_and_the_officer_settles_it():
    log = sealed()
    event(log, "handover", ORIGIN, BO, SERIALS[2:], minutes=60)
    digest = event(log, "arrive", BO, DOCK, SERIALS[2:], minutes=130)
    terms = Terms(without_bo(), [Reign(BEGIN, 1, DECLARATION, officer=OFFICER), after(2, 2, without_bo())])
    found, _ = found_of(log, "unreleased", terms)
    words = (
        "from Bo (Gannet Couriers), whom revision 2 does not name any more (a true match): from there they come back"
    )
    assert words in found.text
    event(log, "handover", DOCK, ORIGIN, SERIALS[2:], minutes=140, resolves=[digest])
    assert found_of(log, "unreleased", terms)[0].open
    event(log, "discrepancy", WITNESS, WITNESS, SERIALS[2:], minutes=150, resolves=[digest], reason="looked into")
    assert found_of(log, "unreleased", terms)[0].by_officer


def test_nobody_hands_drives_to_whom_a_revision_names_no_more_whatever_the_firm():
    log = sealed()
    event(log, "handover", ORIGIN, BO, SERIALS[2:], minutes=130)
    assert told(log, thrown_out()) == {"stranger": set(SERIALS[2:])}
    second = without_bo(carriers=[IN_ONE_FIRM[0], IN_ONE_FIRM[2]])
    assert told(log, thrown_out(second)) == {"stranger": set(SERIALS[2:])}, "the firm still carries"


def test_a_key_of_who_is_named_no_more_is_that_persons_under_a_successors_name():
    log = sealed()
    event(log, "handover", ORIGIN, BO, SERIALS[2:], minutes=60)
    event(log, "arrive", of("bo", FIRM, "Cem"), DOCK, SERIALS[2:], minutes=130)
    assert told(log, thrown_out())["unreleased"] == set(SERIALS[2:])


def test_a_carrier_whose_name_was_put_right_is_known_by_the_contact():
    renamed = {"Anna": "Anna", "Bo": "Bo Li"}
    second = without_bo(
        carriers=[msgspec.structs.replace(each, name=renamed[each.name]) for each in DECLARATION.carriers],
        drives=[msgspec.structs.replace(each, carrier=renamed[each.carrier]) for each in DECLARATION.drives],
    )
    for name in ("Bo", "Bo Li"):
        log = sealed()
        event(log, "handover", ORIGIN, BO, SERIALS[2:], minutes=60)
        event(log, "arrive", of("bo", FIRM, name), DOCK, SERIALS[2:], minutes=130)
        assert told(log, thrown_out(second)).keys() <= {"names"}


def test_a_consignee_who_was_replaced_hands_drives_to_the_new_one_or_a_carrier_and_may_say_what_it_has():
    other = trade_cases.party("Quail Compute")
    said = sections.Replaced(
        role="consignee", legal_name=DECLARATION.consignee.legal_name, since_revision=2, reason="-"
    )
    new = declared(drives=DECLARATION.drives, consignee=other, revision=2, supersedes="ab" * 32, replaced=[said])
    for kind, to, stopped in (
        ("verify", DOCK, False), ("return", ORIGIN, False), ("handover", side("anna"), False),
        ("handover", of("mallory", "Quail Compute", "Q"), False), ("handover", of("mallory", "User Ltd", "U"), True),
    ):  # fmt: skip
        log = sealed()
        event(log, "handover", ORIGIN, side("anna"), SERIALS[:2], minutes=60)
        event(log, "arrive", side("anna"), DOCK, SERIALS[:2], minutes=70)
        event(log, kind, DOCK, to, SERIALS[:2], minutes=130)
        assert ("unreleased" in told(log, thrown_out(new))) == stopped, (kind, to.name)
        assert "stranger" not in told(log, thrown_out(new))


# --- a return that waits for the other signature

FALLEN = Terms(DECLARATION, [Reign(BEGIN, 1, DECLARATION, (HIT,), officer=OFFICER)])


@pytest.mark.parametrize("kind", ["return", "handover", "arrive"])
@pytest.mark.parametrize(("terms", "giver"), [(FALLEN, side("anna")), (thrown_out(), BO)])
def test_a_return_that_one_has_signed_waits_for_the_origin_and_accuses_nobody(kind, terms, giver):
    log = sealed()
    event(log, "handover", ORIGIN, giver, minutes=30)
    at = event(log, kind, giver, ORIGIN, minutes=130, by=[giver.name.lower()])
    found = told(log, terms)
    assert "unreleased" not in found
    assert {"uncountersigned", "awaited"} <= found.keys()
    (text,) = [each.text for each in log.account(terms=terms, allowed=ALL).open if each.kind == "awaited"]
    assert f"waits for the signature of {ORIGIN.words}" in text
    two = log.copy()
    event(two, "discrepancy", giver, DOCK, minutes=140, resolves=[at])
    assert "awaited" in told(two, terms), "that they came home, nobody else says for the origin"
    log.sign(at, "origin")
    assert not {"uncountersigned", "awaited", "unreleased"} & told(log, terms).keys()


def test_a_return_signed_by_hand_is_no_way_round_and_a_lawful_one_waits_as_every_event_does():
    log = sealed()
    event(log, "handover", ORIGIN, side("anna"), minutes=30)
    lawful = log.copy()
    paper = msgspec.structs.replace(side("origin", paper=True), org=ORIGIN.org)
    event(log, "return", side("anna"), paper, minutes=130, by=["anna"])
    text = found_of_first(log, "unreleased", FALLEN, next(reversed(log.entries)))[0].text
    assert text.endswith("back to the origin they come where whoever takes them signs with a key")
    event(lawful, "return", side("anna"), ORIGIN, minutes=50, by=["anna"])
    assert told(lawful, FALLEN).keys() == {"uncountersigned"}


@pytest.mark.parametrize(("who", "called", "terms", "waits"), [
    ("origin", "Origin", bound(), True),
    ("mallory", "Gus Guard", bound(), False),
    ("mallory", "Gus Guard", bound("mallory"), True),
    ("dock", "Gus Guard", bound(), False),
    ("bo", "Gus Guard", bound(), False),
    ("dock", "Gus Guard", bound("mallory"), False),
])  # fmt: skip
def test_a_return_waits_for_no_key_by_which_the_drives_would_not_come_home(who, called, terms, waits):
    log = sealed()
    event(log, "handover", ORIGIN, side("anna"), minutes=10)
    back = event(log, "return", side("anna"), of(who, ORIGIN.org, called), minutes=120, by=["anna"])
    assert told(log, terms).keys() == {"uncountersigned", "awaited" if waits else "unreleased"}
    if not waits:
        text = found_of_first(log, "unreleased", terms, back, ALL)[0].text
        assert f"is to sign by a key of {who}@example.com, whom no record that is here binds to it" in text
    log.sign(back, who)
    assert ("unreleased" in told(log, terms)) == (not waits), "what is said before somebody signs holds when they have"


def test_a_return_waits_for_a_key_of_which_the_allowed_signers_know_nothing():
    log = sealed()
    event(log, "handover", ORIGIN, side("anna"), minutes=10)
    event(log, "return", side("anna"), of("mallory", ORIGIN.org, "Gus Guard"), minutes=120, by=["anna"])
    few = AllowedSigners(tuple(each for each in ALL.lines if each.principals != "mallory@example.com"))
    found = {each.kind for each in log.account(terms=bound(), allowed=few).open}
    assert found == {"uncountersigned", "awaited"}
