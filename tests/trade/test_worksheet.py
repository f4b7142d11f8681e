"""The worksheet: a person decides there, every fault is named, and names out of a list cannot write into it."""

import tomllib

import msgspec
import pytest
import screening_lists as made
from hypothesis import given, settings
from hypothesis import strategies as st
from screening_cases import NOW, csl, disposed, encoded, filled, screened

from sealift.errors import BadInput, SealiftError
from sealift.trade import worksheet

RECORD = screened()
TEXT = worksheet.render(*encoded(RECORD))


def read(text, record=RECORD, by="S. Screener"):
    return worksheet.read(text.encode(), *encoded(record), by=by, now=NOW)


def test_as_it_is_written_it_decides_nothing():
    decisions, second = read(TEXT)
    assert set(decisions.values()) == {None}
    assert second == ""
    assert disposed(RECORD, TEXT).open_hits == RECORD.hits


def test_parties_of_one_name_share_a_table_and_others_do_not():
    table = tomllib.loads(TEXT)
    assert [row["parties"] for row in table["hits"]] == [["consignee"], ["consignee.ultimate_parent"]]
    same = msgspec.structs.replace(RECORD.parties[2], party_ref="end_user")
    record = msgspec.structs.replace(RECORD, parties=(*RECORD.parties[:4], same))
    assert tomllib.loads(worksheet.render(*encoded(record)))["hits"][0]["parties"] == ["consignee", "end_user"]
    assert disposed(record).parties[4].disposition == "false_positive"


def test_it_shows_what_a_person_must_see():
    for words in (
        "declared: Velmarin Shiping Line (IR)",
        "Velmarin Shipping Lines Co., Ltd. (organisation, IR)",
        "VSL",
    ):
        assert words in TEXT


def change(*pairs):
    text = filled(RECORD)
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


FALSE = 'disposition = "false_positive"'
WHY = 'rationale = "another firm, by its register"'
APART = 'differentiators = ["founded 2019; the entry is of 1987"]'


@pytest.mark.parametrize(
    ("pairs", "why"),
    [
        ([(WHY, 'rationale = " "')], r"hits\[1\].rationale: empty; a false_positive wants the reason"),
        ([(APART, "differentiators = []")], r"hits\[1\].differentiators: none"),
        ([(APART, 'differentiators = ["a", " "]')], r"hits\[1\].differentiators: one of them is empty"),
        ([(FALSE, 'disposition = "potential"')], r"hits\[1\].disposition: potential, and yet it has a reason"),
        ([(FALSE, 'disposition = "cleared"')], r"hits\[1\].disposition: must be one of potential, false_positive"),
        ([('second_reviewer = "S. Econd"', 'second_reviewer = ""')], "second_reviewer: empty"),
        ([('second_reviewer = "S. Econd"', 'second_reviewer = "s. screener"')], "is the one who decides"),
        ([('parties = ["consignee"]', 'parties = ["shipper"]')], r"hits\[1\]: shipper has no hit 'id102'"),
        (
            [('parties = ["consignee"]', 'parties = ["consignee.ultimate_parent"]')],
            r"hits\[2\]: .* in another table too",
        ),
        ([('entry_id = "id102"', 'entry_id = "id1"')], r"consignee has no hit 'id1' of 'csl.csv'"),
        ([('screening_id = "SC-', 'screening_id = "SC-1')], "the worksheet is of the screening"),
        ([('blake3 = "', 'blake3 = "0')], "the worksheet is of the screening"),
        ([(WHY, WHY.replace("rationale", "rational"))], r"hits\[1\].rational: no such field; did you mean"),
        ([("version = 1", "version = ")], "the worksheet is not TOML"),
    ],
)
def test_faults_are_named(pairs, why):
    with pytest.raises(BadInput, match=why) as caught:
        read(change(*pairs))
    assert caught.value.hint


def test_all_faults_are_named_at_once():
    text = change((WHY, 'rationale = ""'), ('second_reviewer = "S. Econd"', 'second_reviewer = ""'))
    with pytest.raises(BadInput, match="2 problems"):
        read(text)


def test_a_true_match_wants_a_reason_and_no_difference():
    text = change((FALSE, 'disposition = "true_match"'), (APART, "differentiators = []"))
    assert [each.disposition for each in read(text)[0].values()] == ["true_match", "false_positive"]


def test_tables_that_are_taken_out_stay_open_and_a_decision_can_be_taken_back():
    head = filled(RECORD).split("[[hits]]")[0]
    assert disposed(RECORD, head).open_hits == 2
    decided = disposed(RECORD)
    back = worksheet.render(*encoded(decided)).replace('"false_positive"', '"potential"')
    back = back.replace(WHY, 'rationale = ""').replace(APART, "differentiators = []")
    assert disposed(decided, back).open_hits == 2


def test_a_decision_that_stands_stays_whose_it_was():
    decided = disposed(RECORD)
    text = worksheet.render(*encoded(decided)).replace(WHY, 'rationale = "looked at again"', 1)
    again = disposed(decided, text, by="O. Ther")
    assert [hit.decision.by for party in again.parties for hit in party.hits] == ["O. Ther", "S. Screener"]


@pytest.mark.long
@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=80))
def test_a_hostile_name_cannot_write_into_the_worksheet(name):
    people = [made.One("1", ("Velmarin Shiping Line", name, f'"\n[[hits]]\nx = "{name}'), "organisation", "IR")]
    record = screened(lists=[csl(people)])
    table = tomllib.loads(worksheet.render(*encoded(record)))
    assert {row["disposition"] for row in table["hits"]} == {"potential"}
    assert sum(len(row["parties"]) for row in table["hits"]) == record.hits
    assert disposed(record).open_hits == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(TEXT)), st.integers(0, 9), st.binary(max_size=9)), max_size=5))
def test_altered_worksheets_are_read_or_refused(cuts):
    data = bytearray(filled(RECORD).encode())
    for at, length, put in cuts:
        data[at : at + length] = put
    try:
        decisions, _ = worksheet.read(bytes(data), *encoded(RECORD), by="S. Screener", now=NOW)
    except SealiftError:
        return
    assert all(each is None or each.rationale.strip() for each in decisions.values())
