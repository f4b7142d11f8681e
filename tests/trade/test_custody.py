"""A custody log says who has what, and everything in it that is not as it should be, by name."""

from datetime import timedelta

import msgspec
import pytest
from custody_cases import BEGIN, DECLARATION, ID, PEOPLE, PHOTO, SERIALS, Log, item, sealed, side, under_way, unlocked
from hypothesis import given, settings
from hypothesis import strategies as st
from trade_cases import content, declared, party

from sealift.errors import BadInput, FormatError
from sealift.formats.allowed_signers import AllowedSigners
from sealift.trade import custody, custody_roles
from sealift.trade import custody_event as ev
from sealift.trade.custody_terms import Reign, Terms


def holders(account):
    return {drive.serial: [held.by.name for held in drive.held] for drive in account.drives}


def of_kind(account, kind):
    return [finding for finding in account.findings if finding.kind == kind]


def test_a_voyage_is_whole_and_says_who_has_what():
    origin, anna, bo = under_way()
    assert holders(origin.account()) == dict(zip(SERIALS, [["Anna"]] * 2 + [["Bo"]] * 2, strict=True))
    anna.record("arrive", "anna", "dock", [item(SERIALS[:2], "S1")])
    bo.record("arrive", "bo", "dock", [item(SERIALS[2:], "S2")])
    anna.merge(bo)
    account = anna.account(final=True)
    assert account.findings == []
    assert account.exit_code == 0
    assert set(map(str, holders(account).values())) == {"['Dock']"}
    assert account.checkpoint.events == 5
    assert len(account.checkpoint.newest) == 2, "two carriers, two newest events"
    anna.record("unseal", "dock", "dock", [item(SERIALS[:2], "S1", ""), item(SERIALS[2:], "S2", "")])
    assert anna.account().exit_code == 0
    assert len(anna.account().checkpoint.newest) == 1, "the next event joins them"
    assert {held.seal for drive in anna.account().drives for held in drive.held} == {""}


def test_since_when_and_by_which_event():
    origin, *_ = under_way()
    held = origin.account().drives[0].held[0]
    assert (held.seal, held.row.number, held.row.event.at_utc) == ("S1", 2, "2026-11-25T08:01:00Z")


def test_two_hands_at_the_same_time_are_a_conflict_until_two_people_settle_it():
    _, anna, bo = under_way()
    one = anna.record("handover", "anna", "dock", [item(SERIALS[:1], "S1")])
    two = bo.record("handover", "anna", "bo", [item(SERIALS[:1], "S1")], by=["bo"])
    anna.merge(bo)
    account = anna.account()
    (conflict,) = of_kind(account, "conflict")
    assert set(conflict.events) == {one, two}
    assert conflict.serials == (SERIALS[0],)
    assert {finding.kind for finding in account.open} == {"conflict", "uncountersigned"}
    assert sorted(holders(account)[SERIALS[0]]) == ["Bo", "Dock"]
    assert account.exit_code == 3
    both = sorted((one, two))
    alone = anna.copy()
    alone.record("verify", "dock", "dock", [item(SERIALS[:1], "S1")], hash_sample_result="match", resolves=both)
    assert "conflict" in alone.kinds(), "nobody settles it alone"
    (told,) = of_kind(alone.account(), "conflict")
    kinds = [row.entry.digest for row in alone.account().rows]
    numbers = {each: kinds.index(each) + 1 for each in both}
    hands = {one: "a handover to Dock", two: "a handover to Bo"}
    words = sorted(f"{hands[each]} (event {numbers[each]})" for each in both)
    assert all(each in told.text for each in words), told.text
    assert "names it, and does not settle it: two persons have to sign that with keys" in told.text
    half = anna.copy()
    half.record("handover", "bo", "dock", [item(SERIALS[:1], "S1")], resolves=[one])
    assert "conflict" in half.kinds(), "both stories must be named"
    assert f"it has to name {two[:12]}, too" in of_kind(half.account(), "conflict")[0].text
    anna.record("handover", "bo", "dock", [item(SERIALS[:1], "S1")], resolves=both)
    account = anna.account()
    assert account.open == []
    assert holders(account)[SERIALS[0]] == ["Dock"]


def test_one_paper_that_was_entered_into_two_copies_is_told_as_that():
    log = sealed()
    other = log.copy()
    for each, minutes in ((log, 5), (other, 6)):
        each.record("handover", "origin", side("anna", paper=True), [item(SERIALS[:2], "S1")], minutes=minutes)
    log.merge(other)
    (conflict,) = of_kind(log.account(), "conflict")
    assert conflict.text.endswith("; both name one photograph, of a paper that was entered twice")


def test_events_of_other_drives_at_the_same_time_are_none():
    _, anna, bo = under_way()
    anna.record("handover", "anna", "dock", [item(SERIALS[:2], "S1")])
    bo.record("handover", "bo", "dock", [item(SERIALS[2:], "S2")])
    anna.merge(bo)
    assert anna.account().open == []


@pytest.mark.parametrize("at", range(3))
def test_an_event_that_is_removed_shows(at):
    origin, anna, _ = under_way()
    anna.record("arrive", "anna", "dock", [item(SERIALS[:2], "S1")])
    checkpoint = anna.account().checkpoint
    gone = anna.account().rows[at].entry.digest
    del anna.entries[gone], anna.signatures[gone]
    account = anna.account()
    assert account.exit_code == 3
    assert any(gone in finding.events for finding in of_kind(account, "gap"))
    origin.merge(anna)
    if at < 3:
        anna.merge(origin)
        assert anna.account(checkpoints=[checkpoint]).open == []


def test_the_newest_event_that_is_removed_shows_by_its_signature_or_against_a_checkpoint():
    _, anna, _ = under_way()
    last = anna.record("arrive", "anna", "dock", [item(SERIALS[:2], "S1")])
    checkpoint = anna.account().checkpoint
    del anna.entries[last]
    (orphan,) = of_kind(anna.account(), "orphan")
    assert orphan.events == (last,)
    del anna.signatures[last]
    assert anna.account().open == [], "without a checkpoint nobody can know"
    (found,) = anna.account(checkpoints=[checkpoint]).open
    assert (found.kind, found.events) == ("checkpoint", (last,))


def test_a_checkpoint_of_before_is_held_and_one_with_another_number_is_not():
    log = sealed()
    before = log.account().checkpoint
    log.record("handover", "origin", "anna", [item(SERIALS[:2], "S1")])
    assert log.account(checkpoints=[before]).open == []
    wrong = ev.Checkpoint(events=2, newest=before.newest)
    assert [each.kind for each in log.account(checkpoints=[wrong]).open] == ["checkpoint"]


def test_an_event_of_another_consignment_is_named_and_counts_for_nothing():
    log = sealed()
    other = log.event("handover", "origin", "anna", [item(SERIALS[:2], "S1")], consignment_id="SL-2026-OTHER7")
    digest = log.add(other)
    account = log.account()
    assert account.exit_code == 5
    assert of_kind(account, "consignment")[0].events == (digest,)
    assert holders(account)[SERIALS[0]] == ["Origin"]


def test_signatures_that_do_not_hold():
    log = sealed()
    handover = log.event("handover", "origin", "anna", [item(SERIALS[:2], "S1")])
    digest = log.add(handover, "mallory")
    account = log.account()
    assert account.exit_code == 5
    assert {"signature", "unsigned"} == {finding.kind for finding in account.open}
    assert holders(account)[SERIALS[0]] == ["Origin"], "what nobody signed moves nothing"
    log.sign(digest, "anna")
    assert "unsigned" not in log.kinds()
    log.sign(digest, "bo")
    assert any("neither side" in finding.text for finding in log.account().open)


def test_the_other_side_signs_later_on_another_copy():
    log = sealed()
    digest = log.record("handover", "origin", "anna", [item(SERIALS[:2], "S1")], by=["origin"])
    assert log.kinds() == ["uncountersigned"]
    other = log.copy()
    other.sign(digest, "anna")
    log.merge(other)
    assert log.kinds() == []


def test_a_key_of_the_same_person_on_both_sides_shows():
    mine = AllowedSigners.parse(
        "".join(f"me@example.com {PEOPLE[name].public_key.line}\n" for name in ("origin", "anna")).encode()
    )
    log = sealed()
    log.record("handover", "origin", "anna", [item(SERIALS[:2], "S1")])
    assert log.kinds(allowed=mine) == ["names", "one-signer"]


def test_a_key_is_judged_at_the_time_of_the_event():
    line = f'origin@example.com valid-before="20261125080030Z" {PEOPLE["origin"].public_key.line}\n'
    allowed = AllowedSigners.parse(line.encode())
    log = sealed()
    assert log.account(allowed=allowed).exit_code == 0
    log.record("unseal", "origin", "origin", [item(SERIALS[:2], "S1", "")])
    assert log.account(allowed=allowed).exit_code == 5


def test_a_side_on_paper_is_never_taken_for_a_signature_by_key():
    log = sealed()
    log.record("handover", "origin", side("anna", paper=True), [item(SERIALS[:2], "S1")])
    row = log.account().rows[-1]
    assert log.account().exit_code == 0
    assert row.received is None
    assert not row.by_two
    digest = log.record("discrepancy", "origin", "origin", [item(SERIALS[:1], "S1")], reason="a dent")
    log.record("arrive", side("anna", paper=True), "dock", [item(SERIALS[:2], "S1")], resolves=[digest])
    assert "discrepancy" in log.kinds(), "a signature by hand settles nothing"


def test_who_signs_by_key_elsewhere_is_not_said_to_have_signed_by_hand_unseen():
    _, anna, bo = under_way()
    taken = anna.copy()
    taken.record("handover", side("anna", paper=True), "bo", [item(SERIALS[:2], "S1")])
    assert taken.kinds() == ["by-hand"]
    given = anna.copy()
    given.record("handover", "anna", side("bo", paper=True), [item(SERIALS[:2], "S1")])
    assert given.kinds() == ["by-hand"]
    bo.record("handover", "bo", side("dock", paper=True), [item(SERIALS[2:], "S2")])
    assert bo.kinds() == []


def test_another_key_under_the_same_name_is_another_person():
    """And it is said that it is the key, where both names read the same."""
    _, anna, _ = under_way()
    other = msgspec.structs.replace(side("bo"), name="Anna")
    anna.record("handover", other, "dock", [item(SERIALS[:2], "S1")])
    assert anna.kinds() == ["hands", "names"]
    (text,) = [each.text for each in anna.account().findings if each.kind == "hands"]
    assert text == f"released by {other.words} with another key, and {other.words} had them"


def test_what_goes_by_network_is_in_nobodys_hands():
    origin, *_ = under_way()
    assert origin.account(serials=[*SERIALS, "NETWORK-1"]).open == []
    assert origin.account(serials=[*SERIALS, "OTHER-1"]).open != []


def with_handover(released="origin", received="anna", items=None, event_type="handover", **changes):
    log = sealed()
    log.record(event_type, released, received, items or [item(SERIALS[:2], "S1")], **changes)
    return log


@pytest.mark.parametrize(
    ("kind", "log"),
    [
        ("hands", lambda: with_handover("bo")),
        ("seal", lambda: with_handover(items=[item(SERIALS[:2], "S9")])),
        ("seal", lambda: with_handover(items=[item(SERIALS, "S1")])),
        ("seal", lambda: with_handover(items=[item(SERIALS[:2], "S1", seal_checked="broken")])),
        ("seal", lambda: with_handover(items=[item(SERIALS[:2], "S1", seal_checked="missing")])),
        ("seal", lambda: with_handover(items=[item(SERIALS[:2], "S1", seal_checked="not_checked")])),
        ("seal", lambda: with_handover(items=[item(SERIALS[:2], "", "")])),
        ("seal-changed", lambda: with_handover(items=[item(SERIALS[:2], "S1", "S3")])),
        ("seal-changed", lambda: with_handover(event_type="seal", items=[item(SERIALS[:2], "S1", "S3")])),
        ("seal-changed", lambda: with_handover(event_type="unseal", items=[item(SERIALS[:2], "S1", "")])),
        ("condition", lambda: with_handover(items=[item(SERIALS[:2], "S1", condition="damaged")])),
        ("condition", lambda: with_handover(items=[item(SERIALS[:2], "S1", shock_indicator="tripped")])),
        ("hash-sample", lambda: with_handover(hash_sample_result="mismatch")),
        ("clock", lambda: with_handover(minutes=-11)),
        ("clock", lambda: with_handover(minutes=60 * 24 * 40)),
        ("undeclared", lambda: with_handover(items=[item([*SERIALS[:2], "STRANGE"], "S1")])),
    ],
)  # fmt: skip
def test_what_an_event_says_shows(kind, log):
    account = log().account()
    assert kind in {finding.kind for finding in account.open}
    assert account.exit_code == 3


def test_clocks_may_differ_a_little():
    assert with_handover(minutes=-10).account().open == []


def test_a_record_that_does_not_begin_with_a_seal_and_a_drive_in_nobodys_hands():
    log = Log()
    log.record("handover", "origin", "anna", [item(SERIALS[:2], "S1")])
    assert {f.kind: f.serials for f in log.account().open} == {
        "begins": tuple(SERIALS[:2]),
        "unheld": tuple(SERIALS[2:]),
    }


def test_customs_replace_a_seal_and_open_a_case():
    _, anna, _ = under_way()
    inspection = [item(SERIALS[:2], "S1", "C7", seal_class="S")]
    seen = anna.copy()
    seen.record("customs_inspection", "anna", "anna", inspection, officer_ref="ZA 77", inspection_opened=False)
    assert seen.kinds() == ["seal-changed"], "a carrier alone says that customs replaced it"
    digest = anna.record("customs_inspection", "anna", "anna", inspection, officer_ref="ZA 77", inspection_opened=True)
    assert anna.kinds() == ["opened"]
    anna.record("arrive", "anna", "dock", [item(SERIALS[:2], "C7")], resolves=[digest], reason="photos agree")
    account = anna.account()
    assert account.open == []
    assert [finding.settled_by for finding in account.findings] == [account.rows[-1].entry.digest]


TERMS = Terms(DECLARATION, [Reign(BEGIN, 1, DECLARATION)])


def of(name, org, **changes):
    return msgspec.structs.replace(side(name, **changes), org=org)


DOCK = of("dock", DECLARATION.consignee.legal_name)


def test_drives_go_to_the_consignee_the_site_and_no_firm_of_the_shipper():
    ours = DECLARATION.shipper.legal_name
    rows = [msgspec.structs.replace(each, organisation=ours) for each in DECLARATION.encryption.recipients]
    keys = msgspec.structs.replace(DECLARATION.encryption, recipients=rows)
    roles = custody_roles.Roles.of(msgspec.structs.replace(DECLARATION, end_user=party(ours), encryption=keys))
    assert roles.receives(DOCK)
    assert roles.receives(of("mallory", DECLARATION.site.operator))
    assert not roles.receives(of("origin", ours))
    assert roles.at_an_end(of("origin", ours))
    assert not roles.receives(of("anna", DECLARATION.consignee.legal_name)), "a carrier, whatever firm she says"
    assert not roles.at_an_end(of("mallory", "Away"))


def test_two_carriers_do_not_settle_between_themselves_what_customs_opened():
    _, anna, _ = under_way()
    case = [item(SERIALS[:2], "S1", "C7")]
    digest = anna.record("customs_inspection", "anna", "anna", case, officer_ref="ZA 77", inspection_opened=True)
    anna.record("handover", "anna", "bo", [item(SERIALS[:2], "C7")], resolves=[digest])
    (found,) = of_kind(anna.account(terms=TERMS), "opened")
    assert found.open
    assert "event 5 names it, and does not settle it: one of the two has to be somebody" in found.text
    anna.record("handover", "bo", DOCK, [item(SERIALS[:2], "C7")], resolves=[digest])
    assert not of_kind(anna.account(terms=TERMS), "opened")[0].open


@pytest.mark.parametrize(
    ("to", "astray"),
    [
        (side("anna"), False),
        (side("bo"), True),
        (of("bo", "Away"), True),
        (of("mallory", "Bo"), True),  # a driver of the firm that is declared for others
        (of("mallory", "Anna"), False),
        (of("bo", DECLARATION.consignee.legal_name), True),  # who he is, whatever firm he says
        (DOCK, False),
    ],
)
def test_a_drive_goes_to_the_carrier_with_whom_it_is_declared(to, astray):
    log = sealed()
    log.record("handover", "origin", to, [item(SERIALS[:2], "S1")], by=["origin"])
    found = of_kind(log.account(terms=TERMS), "carrier")
    assert [(each.text, each.serials) for each in found] == astray * [
        (f"declared with Anna, and goes to {to.words}", tuple(SERIALS[:2]))
    ]


def test_the_carrier_of_a_drive_is_that_of_the_revision_that_was_released_then():
    drives = [msgspec.structs.replace(each, carrier="Bo" if at < 3 else "Anna") for at, each in
              enumerate(content(count=4).drives)]  # fmt: skip
    later = declared(drives=drives)
    log = sealed()
    log.record("handover", "origin", "anna", [item(SERIALS[:2], "S1")], minutes=1)
    log.record("handover", "anna", "bo", [item(SERIALS[:2], "S1")], minutes=61)
    released = [Reign(BEGIN + timedelta(hours=1), 2, later), Reign(BEGIN, 1, DECLARATION)]
    assert of_kind(log.account(terms=Terms(later, released)), "carrier") == []
    assert [each.text for each in of_kind(log.account(terms=TERMS), "carrier")] == [
        "declared with Anna, and goes to Bo (Example Carriers)"
    ]
    alone = Log()
    alone.record("seal", "bo", "bo", [item(SERIALS, "", "S1")])
    (found,) = of_kind(alone.account(terms=TERMS), "carrier")
    assert (found.text, found.serials) == (
        "declared with Anna, and sealed by Bo (Example Carriers)",
        tuple(SERIALS[:2]),
    )


def test_one_photograph_is_the_proof_of_one_signature_by_hand():
    log = sealed()
    paper = side("mallory", paper=True)
    first = log.record("handover", "origin", paper, [item(SERIALS[:2], "S1")])
    assert log.account().open == []
    again = log.record("handover", "origin", paper, [item(SERIALS[2:], "S2")])
    (found,) = log.account().open
    assert (found.kind, found.events, found.serials) == ("by-hand", (first, again), tuple(SERIALS[2:]))
    assert found.text == f"one photograph ({PHOTO[:12]}) is its signature by hand and that of event 2"


def test_a_case_that_customs_left_open_is_sealed_again():
    _, anna, _ = under_way()
    opened = [item(SERIALS[:2], "S1", "")]
    digest = anna.record("customs_inspection", "anna", "anna", opened, officer_ref="ZA 77", inspection_opened=True)
    assert "not sealed again" in anna.account().open[0].text
    anna.record("seal", "anna", "anna", [item(SERIALS[:2], "", "S5")])
    anna.record("arrive", "anna", "dock", [item(SERIALS[:2], "S5")], resolves=[digest])
    anna.record("unseal", "dock", "dock", [item(SERIALS[:2], "S5", "")])
    assert anna.account().open == []


def test_one_missing_on_arrival_is_open_until_it_comes():
    _, anna, bo = under_way()
    anna.record("arrive", "anna", "dock", [item(SERIALS[:2], "S1")])
    bo.record("arrive", "bo", "dock", [item(SERIALS[2:3], "S2")])
    anna.merge(bo)
    lacking = anna.record(
        "discrepancy", "dock", "dock", [item(SERIALS[3:], "", "")], reason="not in the case; Bo asks the hotel"
    )
    (finding,) = anna.account().open
    assert (finding.kind, finding.serials, finding.text) == (
        "discrepancy", (SERIALS[3],), "not in the case; Bo asks the hotel",
    )  # fmt: skip
    assert holders(anna.account())[SERIALS[3]] == ["Bo"], "a statement gives nobody a drive"
    assert {f.kind: f.serials for f in anna.account(final=True).open}["missing"] == (SERIALS[3],)
    anna.record("arrive", "bo", "dock", [item(SERIALS[3:], "S2")], resolves=[lacking], reason="was in the safe")
    assert anna.account(final=True).open == []


def test_what_is_settled_for_some_drives_stays_open_for_the_others():
    log = sealed()
    digest = log.record("discrepancy", "origin", "origin", [item(SERIALS[:2], "S1")], reason="dents")
    log.record("handover", "origin", "anna", [item(SERIALS[:1], "S1")], resolves=[digest])
    (finding,) = log.account().open
    assert finding.serials == (SERIALS[1],)
    elsewhere = sealed()
    digest = elsewhere.record("discrepancy", "origin", "origin", [item(SERIALS[:1], "S1")], reason="dents")
    elsewhere.record("handover", "origin", "anna", [item(SERIALS[1:2], "S1")], resolves=[digest])
    (finding,) = elsewhere.account().open
    assert finding.text.endswith("names it, and does not settle it: it is of other drives")


def test_of_drives_at_rest_a_discrepancy_of_two_settles_one_and_is_none_itself_of_those_drives():
    """The drives of which it settles nothing it is about all the same; and one person's settles nothing."""
    log, _, _ = under_way()
    lost = log.record("discrepancy", "dock", "dock", [item(SERIALS[:2], "S1")], reason="not in the case")
    for serials, two, open_ in (
        (SERIALS[:2], "origin", []),
        (SERIALS[:3], "origin", [(SERIALS[2],)]),
        (SERIALS[:1], "origin", [(SERIALS[1],)]),
        (SERIALS[:2], "dock", [tuple(SERIALS[:2]), tuple(SERIALS[:2])]),
    ):
        tried = log.copy()
        tried.record("discrepancy", "dock", two, [item(serials, "S1")], reason="they came after all", resolves=[lost])
        found = [each for each in tried.account().findings if each.kind == "discrepancy"]
        assert [each.serials for each in found if each.open] == open_
        assert len(found) == 2, "what is settled stays in the record"


def test_an_event_cannot_settle_what_it_did_not_know():
    log = sealed()
    other = log.copy()
    digest = log.record("discrepancy", "origin", "origin", [item(SERIALS[:1], "S1")], reason="dents")
    other.record("handover", "origin", "anna", [item(SERIALS[:1], "S1")], resolves=[digest])
    other.merge(log)
    assert "discrepancy" in other.kinds()
    assert "it was written without knowing of it" in of_kind(other.account(), "discrepancy")[0].text


def test_a_false_number_of_events_shows():
    log = sealed()
    event = log.event("handover", "origin", "anna", [item(SERIALS[:2], "S1")])
    log.add(msgspec.structs.replace(event, log_checkpoint=ev.Checkpoint(events=2, newest=event.log_checkpoint.newest)))
    assert log.account().exit_code == 5
    assert "count" in log.kinds()


@pytest.mark.parametrize("at", [0, 1])
def test_who_writes_with_a_gap_is_right_when_it_is_filled(at):
    _, anna, _ = under_way()
    whole = anna.copy()
    gone = anna.account().rows[at].entry.digest
    del anna.entries[gone], anna.signatures[gone]
    anna.record("arrive", "anna", "dock", [item(SERIALS[:2], "S1")])
    whole.merge(anna)
    assert whole.account().open == []


# --- records


GOOD = sealed().account().rows[0].entry


@given(st.integers(0, len(GOOD.data) * 8 - 1))
@settings(max_examples=300)
def test_any_flipped_bit_is_another_event_or_none(bit):
    data = bytearray(GOOD.data)
    data[bit // 8] ^= 1 << bit % 8
    assert ev.digest_of(bytes(data)) != GOOD.digest
    try:
        event = ev.decode(bytes(data))
    except FormatError:
        return
    log = sealed()  # whoever alters it and names it anew has no signature for it
    signatures = log.signatures.pop(GOOD.digest)
    del log.entries[GOOD.digest]
    entry = ev.encode(event)
    log.entries[entry.digest], log.signatures[entry.digest] = entry, signatures
    assert log.account().exit_code == 5


UNLOCK = {"event_type": "unlock", "items": [], "unlock": unlocked()}
RULES = {
    "time": {"at_utc": "2026-02-30T00:00:00Z"},
    "neither": {"released_by": msgspec.structs.replace(side("origin"), key_fingerprint="")},
    "both": {"released_by": msgspec.structs.replace(side("origin"), paper_sha256=PHOTO)},
    "no_key": {"released_by": side("origin", paper=True), "received_by": side("bo", paper=True)},
    "to_oneself": {"event_type": "handover"},
    "same_otherwise": {"received_by": msgspec.structs.replace(side("origin"), id_kind="badge")},
    "officer_missing": {"event_type": "customs_inspection"},
    "officer_elsewhere": {"officer_ref": "ZA 1"},
    "opened_elsewhere": {"inspection_opened": True},
    "verify_nothing": {"event_type": "verify"},
    "twice": {"items": [item(SERIALS[:1], "", "S1"), item(SERIALS[:1], "", "S2")]},
    "seal_without": {"items": [item(SERIALS[:1], "", "")]},
    "unseal_with": {"event_type": "unseal"},
    "no_seal": {"items": [item(SERIALS[:1], "S0", "S1", seal_checked="no_seal")]},
    "checked_nothing": {"items": [item(SERIALS[:1], "", "S1", seal_checked="intact")]},
    "newest_without": {"log_checkpoint": ev.Checkpoint(events=1, newest=[])},
    "newest_unsorted": {"log_checkpoint": ev.Checkpoint(events=2, newest=["bb" * 32, "aa" * 32])},
    "newest_twice": {"log_checkpoint": ev.Checkpoint(events=2, newest=["aa" * 32, "aa" * 32])},
    "newest_more": {"log_checkpoint": ev.Checkpoint(events=1, newest=["aa" * 32, "bb" * 32])},
    "photos_unsorted": {"photo_sha256": ["bb" * 32, "aa" * 32]},
    "resolves_unsorted": {"resolves": ["bb" * 32, "aa" * 32]},
    "turned": {"place": "gate \u202e4"},
    "no_item": {"items": []},
    "no_reason": {"reason": " "},
    "unlock_elsewhere": {"unlock": unlocked()},
    "unlock_missing": {"event_type": "unlock", "items": []},
    "unlock_items": {"event_type": "unlock", "unlock": unlocked()},
    "unlock_to_another": {**UNLOCK, "received_by": side("anna")},
    "unlock_time": {**UNLOCK, "unlock": unlocked(valid_until="2026-12-32T08:00:00Z")},
    "unlock_before": {**UNLOCK, "unlock": unlocked(valid_until="2026-11-25T08:00:00Z")},
    "unlock_recipients": {**UNLOCK, "unlock": unlocked(recipients=["age1b", "age1a"])},
    "unlock_turned": {**UNLOCK, "unlock": unlocked(job="run\u202e7")},
    "too_many": {"items": [item([f"X{n}" for n in range(9_999)], "", "S1"), item(SERIALS[:2], "", "S1")]},
}


@pytest.mark.parametrize("name", RULES)
def test_events_that_contradict_themselves_are_refused(name):
    with pytest.raises(FormatError):
        ev.encode(msgspec.structs.replace(GOOD.event, **RULES[name]))


def test_an_unlock_is_an_event_of_no_drive():
    """It has its place in the graph, moves no drive, wants no other side, and settles nothing by itself."""
    log = sealed()
    before = holders(log.account())
    digest = log.record("unlock", "origin", "origin", [], unlock=unlocked())
    log.record("handover", "origin", "anna", [item(SERIALS[:2], "S1")])
    found = log.account()
    assert (found.exit_code, found.open) == (0, [])
    assert found.rows[1].entry.digest == digest
    assert found.rows[1].event.log_checkpoint.newest == [found.rows[0].entry.digest]
    assert {serial: names for serial, names in holders(found).items() if serial in SERIALS[2:]} == {
        serial: before[serial] for serial in SERIALS[2:]
    }
    assert all(digest not in drive.events for drive in found.drives)


def test_an_unlock_by_nobody_who_may_counts_for_nothing_and_one_that_is_taken_out_shows():
    log = sealed()
    digest = log.record("unlock", "mallory", "mallory", [], unlock=unlocked())
    assert {each.kind for each in log.account().open} >= {"signature", "unsigned"}
    assert log.account().exit_code == 5
    log = sealed()
    digest = log.record("unlock", "origin", "origin", [], unlock=unlocked())
    log.record("handover", "origin", "anna", [item(SERIALS[:2], "S1")])
    del log.entries[digest]
    assert {each.kind for each in log.account().open} >= {"gap", "orphan"}


def test_the_wrong_clock_of_an_unlock_is_settled_by_two_people():
    log = sealed()
    digest = log.record("unlock", "origin", "origin", [], minutes=-60, unlock=unlocked())
    assert log.kinds() == ["clock"]
    log.record("handover", "origin", "anna", [item(SERIALS[:2], "S1")], resolves=[digest], reason="its clock was slow")
    assert log.kinds() == []


def test_events_of_before_have_the_bytes_that_they_had():
    """The one field that an unlock has beyond others is left away in these."""
    assert b"unlock" not in GOOD.data
    assert ev.encode(GOOD.event).data == GOOD.data


def test_what_is_too_long_is_refused():
    with pytest.raises(FormatError, match="at most"):
        ev.decode(bytes(ev.MAX_EVENT + 1))


def test_the_largest_event_is_within_its_limit():
    serials = [f"{n:064}" for n in range(ev.MAX_SERIALS)]
    most = ev.MAX_SERIALS // ev.MAX_ITEMS
    items = [item(serials[i : i + most], "B" * 64, "A" * 64) for i in range(0, len(serials), most)]
    many = [f"{n:064x}" for n in range(1_000)]
    event = msgspec.structs.replace(
        GOOD.event,
        event_type="customs_inspection",
        officer_ref="\u00e9" * 500,
        items=items,
        resolves=many,
        photo_sha256=many[: ev.MAX_PHOTOS],
        log_checkpoint=ev.Checkpoint(events=1_000, newest=many),
    )
    assert ev.MAX_EVENT // 2 < len(ev.encode(event).data) <= ev.MAX_EVENT


# --- checkpoints


def test_the_text_of_a_checkpoint_reads_back():
    for newest in ([], ["ab" * 32], ["ab" * 32, "cd" * 32]):
        checkpoint = ev.Checkpoint(events=len(newest) * 3, newest=newest)
        text = ev.qr_text(ID, checkpoint)
        assert ev.parse_qr_text(text) == (ID, checkpoint)
    assert text == f"SEALIFT-CUSTODY:1:{ID}:6:{'AB' * 32}:{'CD' * 32}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SEALIFT-CUSTODY:2:SL-1:0",
        "SEALIFT-CUSTODY:1:SL-1:1",
        f"SEALIFT-CUSTODY:1:SL-1:0:{'AB' * 32}",
        f"SEALIFT-CUSTODY:1:SL-1:01:{'AB' * 32}",
        f"SEALIFT-CUSTODY:1:SL-1:1:{'ab' * 32}",
        f"SEALIFT-CUSTODY:1:SL-1:1:{'AB' * 31}",
        f"SEALIFT-CUSTODY:1:SL-1:1:{'AB' * 32}\n",
        f"SEALIFT-CUSTODY:1:SL-1:1:{'AB' * 32}:{'CD' * 32}",
        f"SEALIFT-CUSTODY:1:SL-1:2:{'CD' * 32}:{'AB' * 32}",
        f"SEALIFT-CUSTODY:1:SL-1:99999:{'AB' * 32}",
    ],
)
def test_other_texts_are_no_checkpoints(text):
    with pytest.raises(BadInput, match="no checkpoint"):
        ev.parse_qr_text(text)


def test_a_checkpoint_too_wide_for_a_code_is_refused():
    newest = [f"{n:064x}" for n in range(ev.MAX_SHOWN_NEWEST + 1)]
    with pytest.raises(BadInput, match="too many"):
        ev.qr_text(ID, ev.Checkpoint(events=20, newest=newest))
    text = ev.qr_text(ID, ev.Checkpoint(events=20, newest=newest[1:]))
    assert len(text) < 4296 // 3, "ISO/IEC 18004: 4,296 alphanumeric characters at the lowest correction, version 40"


def test_the_next_event_does_not_name_what_lies_behind_one_that_does_not_count():
    log = sealed()
    log.record("handover", "origin", "anna", [item(SERIALS[:2], "S1")], by=["mallory"])
    last = log.record("unseal", "origin", "origin", [item(SERIALS[:2], "S1", "")])
    assert custody.before_next(log.account()) == ev.Checkpoint(events=3, newest=[last])


def test_the_next_event_names_only_what_counts():
    log = sealed()
    good = log.account().checkpoint
    log.record("handover", "origin", "anna", [item(SERIALS[:2], "S1")], by=["mallory"])
    assert custody.before_next(log.account()) == good
