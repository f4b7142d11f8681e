"""No erasure before the receiver's verification is signed, and never under a legal hold: each rule, and its limits."""

from datetime import UTC, datetime

import erasures as e
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealift.formats.allowed_signers import AllowedSigners
from sealift.trade import erasure, persons
from sealift.trade.erasure import Beside, Declared
from sealift.trade.persons import Origin

ALL = ("SER1", "SER2", "SER3", "SER4", "SPARE")
DECLARED = e.declared(serials=ALL)
INTACT = e.received(DECLARED, e.group(0, "intact", ("SER1", "SER2")), groups_total=2)
REBUILT = e.received(DECLARED, e.group(1, "rebuilt", ("SER3", "SER4"), {"SER3": "lost"}, first=3), groups_total=2)
BOTH = [INTACT, REBUILT]


def why(serial="SER1", receipts=None, declarations=None, now=e.NOW, **how):
    receipts = BOTH if receipts is None else receipts
    declarations = [DECLARED] if declarations is None else declarations
    found = erasure.objection(serial, receipts, declarations, now, **how)
    assert erasure.may_erase(serial, receipts, declarations, now, **how) == (found is None)
    return found


@pytest.mark.parametrize("serial", ["SER1", "SER2", "SER3", "SER4"])
def test_a_drive_of_a_group_that_is_intact_or_rebuilt_may_be_erased(serial):
    assert why(serial) is None
    assert why(serial, bears=e.SHIPMENT) is None


def test_a_drive_whose_serial_number_nobody_says_is_kept():
    assert "nobody says its serial number" in why("", bears=e.SHIPMENT)


def test_one_receipt_is_enough_for_its_own_group_alone():
    assert why("SER1", [INTACT]) is None
    assert "not verified: 1" in why("SER3", [INTACT])


@pytest.mark.parametrize("state", ["lost", "unseen"])
def test_a_group_that_is_not_verified_keeps_its_drives(state):
    receipt = e.received(DECLARED, e.group(0, state, ("SER1", "SER2")))
    assert f"group 0 is {state}" in why("SER1", [receipt])


def test_without_any_receipt_nothing_is_erased():
    assert "no receipt" in why(receipts=[])
    assert "no declaration" in why(declarations=[])


def test_the_newest_receipt_of_a_group_counts():
    later = e.received(DECLARED, e.group(0, "lost", ("SER1", "SER2")), groups_total=2, at="2026-11-20T11:00:00Z")
    assert "lost, by the receipt of 2026-11-20T11" in why("SER1", [later, INTACT])
    again = e.received(DECLARED, e.group(0, "intact", ("SER1", "SER2")), groups_total=2, at="2026-11-20T12:00:00Z")
    assert why("SER1", [INTACT, again, later]) is None


def test_a_drive_that_the_newest_receipt_replaced_is_of_its_group_still():
    later = e.received(DECLARED, e.group(0, "unseen", ("SER1", "OTHER")), groups_total=2, at="2026-11-20T11:00:00Z")
    assert "group 0 is unseen" in why("SER2", [INTACT, later])


# --- legal hold


@pytest.mark.parametrize("hold", ["Court of Lisbon, 12/2026", "yes", "none but ours", "unknown"])
def test_a_legal_hold_holds_everything(hold):
    held = e.declared(serials=ALL, legal_hold=hold, released=bool(hold))
    receipt = e.received(held, e.group(0, "intact", ("SER1", "SER2")))
    assert why("SER1", [receipt], [held]) == f"legal hold: {hold}"
    assert why("SER1", BOTH, [DECLARED, held]) == f"legal hold: {hold}", "a later one, and the first said none"
    draft = e.declared(serials=ALL, legal_hold=hold, released=False)
    assert why("SER1", BOTH, [DECLARED, draft]) == f"legal hold: {hold}", "whoever says so, and released or not"


def test_silence_is_no_answer():
    silent = e.declared(serials=ALL, legal_hold="", released=False)
    receipt = e.received(silent, e.group(0, "intact", ("SER1", "SER2")))
    assert "nobody has said that there is no legal hold" in why("SER1", [receipt], [silent])
    draft = Declared(DECLARED.declaration, None)
    assert "nobody has said" in why("SER1", [receipt], [silent, draft]), "a draft answers nothing"
    assert why("SER1", [receipt], [silent, DECLARED]) is None, "a later one that was released does"


# --- papers of something else


def test_papers_of_another_shipment_permit_nothing():
    other = e.declared(serials=ALL, consignment_id="SL-2026-OTHER7")
    assert "not of SL-2026-4F7K2Q" in why(declarations=[DECLARED, other])
    changed = e.declared(serials=(*ALL, "MORE"))
    assert "none of the declarations" in why(declarations=[changed])
    elsewhere = e.received(DECLARED, e.group(0, "intact", ("SER1", "SER2")), shipment="00" * 8)
    assert "not of one shipment" in why(receipts=[INTACT, elsewhere])
    rehearsal = e.received(DECLARED, e.group(0, "intact", ("SER1", "SER2")), rehearsal=True)
    assert "rehearsal" in why(receipts=[rehearsal])


@pytest.mark.parametrize(("by", "principal", "whose"), [
    (e.AUTHOR, None, "the declaration's author"),
    (e.RECEIVER, "author@example.com", "the declaration's author"),
    (e.RECEIVER, "officer@example.com", "who released the declaration"),
    (e.OPERATOR, "dana@example.org", "who screened its parties"),
])  # fmt: skip
def test_the_origin_cannot_receive_with_whichever_key(by, principal, whose):
    line = f'{principal} namespaces="sealift-receipt" {by.public_key.line}\n' if principal else ""
    allowed = AllowedSigners.parse((line + e.SIGNERS).encode())
    screener = allowed.person(e.OPERATOR.public_key.fingerprint)
    beside = Beside((), (), Origin(((screener, persons.SCREENER),)))
    own = e.received(DECLARED, e.group(0, "intact", ("SER1", "SER2")), by=by, allowed=allowed)
    assert f"signed by {whose}: the origin cannot receive" in why(receipts=[own], beside=beside)
    assert why(receipts=[INTACT], beside=beside) is None


def test_a_receipt_from_the_future_is_none():
    assert "still to come" in why(now=datetime(2026, 11, 20, 9, 59, 59, tzinfo=UTC))
    assert why(now=datetime(2026, 11, 20, 10, tzinfo=UTC)) is None


# --- drives that no receipt names


def test_a_drive_of_another_shipment_is_kept_whatever_its_serial():
    assert "a drive of shipment 00" in why("SER1", bears="00" * 8)


def test_one_that_was_declared_and_never_packed_wants_the_whole_shipment_verified():
    assert why("SPARE") is None
    assert "not verified: 1" in why("SPARE", [INTACT])
    bad = e.received(DECLARED, e.group(1, "lost", ("SER3", "SER4"), first=3), groups_total=2, at="2026-11-20T11:00:00Z")
    assert "not verified: 1" in why("SPARE", [*BOTH, bad])


def test_one_that_was_set_aside_is_known_by_what_it_says():
    assert why("FAILED", bears=e.SHIPMENT) is None
    assert "not verified: 1" in why("FAILED", [INTACT], bears=e.SHIPMENT)


def test_one_that_nobody_knows_is_kept():
    assert "does not say whose it is" in why("FAILED")


@given(
    st.lists(st.sampled_from(["intact", "rebuilt", "lost", "unseen"]), min_size=1, max_size=4),
    st.sampled_from(["none", "", "a court"]),
    st.booleans(),
)
def test_never_without_a_verified_group_and_an_answer_that_there_is_no_hold(states, hold, bears):
    """Whatever is asked: a drive may go only if the newest state of its group is verified and the answer is none."""
    declared = e.declared(serials=ALL, legal_hold=hold, released=bool(hold))
    receipts = [
        e.received(declared, e.group(0, state, ("SER1", "SER2")), at=f"2026-11-20T10:00:{at:02d}Z")
        for at, state in enumerate(states)
    ]
    for serial in ("SER1", "SPARE", "OTHER"):
        if erasure.may_erase(serial, receipts, [declared], e.NOW, bears=e.SHIPMENT if bears else None):
            assert states[-1] in {"intact", "rebuilt"}
            assert hold == "none"
            assert bears or serial != "OTHER"


_MADE = e.group(1, "rebuilt", ("SER3", "SER4"), {"SER3": "rebuilt"}, first=3, made_on={"SER3": "WD-9"})
MADE = e.received(DECLARED, _MADE, groups_total=2)
SEEN = e.received(DECLARED, e.group(1, "intact", ("SER3", "SER4"), first=3), groups_total=2, at="2026-11-20T09:30:00Z")


@pytest.mark.parametrize(
    ("serial", "receipts", "words"),
    [
        ("SER1", [INTACT, REBUILT], ""),
        ("SER3", [INTACT, REBUILT], "itself never came: it was not read"),
        ("SER3", [INTACT, MADE], "only what was made of it on another medium was read"),
        ("SER4", [INTACT, MADE], ""),
        ("SER3", [SEEN, MADE], ""),
        ("SPARE", [INTACT, MADE], ""),
    ],
)
def test_a_drive_that_never_came_by_the_receipts_may_be_erased_and_that_is_said(serial, receipts, words):
    """It was lost and is there again; or what is to be erased is another one, to which a label was put."""
    said = erasure.never_read(serial, receipts)
    assert (words in said, bool(said)) == (True, bool(words))
    assert f"by the receipt of {e.AT} {serial} itself never came" in said or not words
    assert why(serial, receipts=receipts) is None
