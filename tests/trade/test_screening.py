"""The record of a screening: everybody is in it, decisions are people's, and standing says what holds a release."""

import msgspec
import pytest
import screening_lists as made
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from screening_cases import (
    ALLOWED,
    DAY,
    LIKE,
    NOW,
    SCREENER,
    SECOND,
    checked,
    csl,
    disposed,
    encoded,
    filled,
    like,
    screened,
)
from trade_cases import STRANGER, content, declared, drive, party

from sealift.errors import BadInput, FormatError, Refused, SealiftError, SignatureInvalid
from sealift.formats import canonical
from sealift.trade import declaration as d
from sealift.trade import lists_detect, matching, screener, screening, sections, template

OPEN = screened()
DECIDED = disposed(OPEN)


def kinds(problems):
    return [(each.kind, each.where) for each in problems]


def test_everybody_is_in_it_though_nothing_is_found():
    record = screened(declared())
    parties = [party.party_ref for party in record.parties]
    assert parties == [
        "shipper", "shipper.ultimate_parent", "consignee", "consignee.ultimate_parent",
        "end_user", "end_user.ultimate_parent", "encryption.recipients[1]", "encryption.recipients[1].organisation",
        "encryption.recipients[2]", "encryption.recipients[2].organisation", "encryption.key_holder",
        "site.access_controller", "site.operator", "related_shipments[1].shipper", "related_shipments[1].consignee",
        "carriers[1]", "carriers[2]",
    ]  # fmt: skip
    assert {party.disposition for party in record.parties} == {"no_hit"}
    assert record.parties[0].query_as_typed == ("Shipper GmbH",)
    assert record.parties[0].normalised == ("shipper",)
    assert [party.country for party in record.parties[:4]] == ["DE", "CH", "MY", "SG"]
    assert (record.hits, record.open_hits, record.wants_second) == (0, 0, False)


def test_no_party_of_a_declaration_is_left_out():
    """Every name of a company or person in the declaration is among the subjects; its author and contacts are not
    goods'."""
    owner = sections.Owner(name="Owner AG", country="CH", percent="30")
    filled_in = content(
        carriers=[sections.Carrier(name="A", legal_name="Carrier 1 Ltd", ultimate_parent="Carriers Holding"),
                  sections.Carrier(name="Carrier 2")],
        agent=party("Agent Ltd"),
        shipper=replace(party("Shipper GmbH"), native_name="船公司", owners=[owner]),
        intermediates=[sections.Intermediate(role="broker", legal_name="Broker Ltd", ultimate_parent="Broker AG")],
        related_shipments=[sections.RelatedShipment(shipper="Sister GmbH"),
                           sections.RelatedShipment(consignee="Sister Site Ltd")],
    )  # fmt: skip
    found = list(screening.subjects(filled_in))
    screened_names = {name for subject in found for name in (*subject.names, *subject.native)}
    parties = [
        value
        for name in sections.Content.__struct_fields__
        if isinstance(value := getattr(filled_in, name), sections.Party)
    ]
    names = {name for each in parties for name in (each.legal_name, each.ultimate_parent)}
    assert screened_names == names | {
        "Carrier 1 Ltd", "Carriers Holding", "Carrier 2", "Broker Ltd", "Broker AG", "Owner AG", "船公司", "Site Ltd",
        "I. Holder", "J. Holder", "S. Ite", "Sister GmbH", "Sister Site Ltd",
    }  # fmt: skip
    others = [subject.party_ref for subject in found if subject.party_ref.startswith("related")]
    assert others == ["related_shipments[1].shipper", "related_shipments[2].consignee"]


def test_a_hit_says_why_and_what_the_list_says():
    hit = next(party for party in OPEN.parties if party.party_ref == "consignee").hits[0]
    assert (hit.list, hit.entry_id, hit.name) == ("csl.csv", "id102", "Velmarin Shipping Lines Co., Ltd.")
    assert (hit.entry_names, hit.entry_countries, hit.entry_programs) == (("VSL",), ("IR",), ("FAKE", "PRETEND"))
    assert hit.features.country == "same"
    assert hit.score == max(hit.features.whole, hit.features.words) >= 0.85
    assert hit.rank > hit.score
    assert "limit 0.85" in hit.why
    assert "country is the same (IR)" in hit.why


def test_country_birth_date_and_kind_order_hits_and_clear_none():
    people = [
        made.One("1", ("Velmarin Shiping Line Ltd",), "organisation", "DE"),
        made.One("2", ("Velmarin Shiping Lina Ltd",), "organisation", "IR"),
        made.One("3", ("Velmarin Shiping Line",), "person", "DE", "1950"),
    ]
    ranked = screened(lists=[csl(people)]).parties[2].hits
    assert [hit.entry_id for hit in ranked] == ["id2", "id1", "id3"]
    assert ranked[0].score < ranked[1].score
    assert {hit.features.country for hit in ranked} == {"same", "different"}


def test_the_same_lists_and_parties_give_the_same_hits():
    again = screened()
    assert again.parties == OPEN.parties
    assert again.screening_id != OPEN.screening_id


def test_names_that_cannot_be_compared_and_drafts_are_refused():
    draft = d.parse(
        template.render(content(consignee=sections.Party(), end_user=party("---", "DE"))).encode(), draft=True
    )
    with pytest.raises(BadInput) as caught:
        screened(draft)
    for why in ("consignee: has no name", "consignee.ultimate_parent: has no name", "end_user: '---' has no letter"):
        assert why in str(caught.value)


@pytest.mark.parametrize(
    ("lists", "why"),
    [
        ([csl(), csl(made.PEOPLE[:3])], "two of the lists have one name"),
        ([csl(), csl(name="other.csv")], "are one file"),
        ([csl(fetched=NOW + 2 * DAY)], "in the future"),
    ],
)
def test_lists_that_cannot_be_right(lists, why):
    with pytest.raises(BadInput, match=why):
        screened(lists=lists)


def test_too_many_hits_are_refused_by_name(monkeypatch):
    monkeypatch.setattr(screener, "MAX_HITS", 1)
    with pytest.raises(BadInput, match=r"more than 1 hits; consignee.ultimate_parent alone has 1"):
        screened()


def test_names_in_another_script_are_asked_for_too(monkeypatch):
    """The declaration that has them gives them as `native`; they are compared as they stand."""
    asked = screening.Subject("end_user", ("Kasiba Research",), ("卡斯巴半导体研究院",), "CN", "organisation", "1990")
    monkeypatch.setattr(screener, "subjects", lambda _declaration: iter([asked]))
    (found,) = screened().parties
    assert found.native_script == asked.native
    assert "卡斯巴半导体研究院" in found.normalised
    assert [(hit.entry_id, hit.query) for hit in found.hits] == [("id103", "卡斯巴半导体研究院")]
    assert found.subject == asked


# -- what it is about


def test_triggers_are_found():
    assert OPEN.trigger == "onboard"
    before = encoded(OPEN)
    assert screened(before=before).trigger == "release"
    assert screened(lists=[csl(made.PEOPLE[:5])], before=before).trigger == "list_update"
    changed = screened(like(shipper=party("Shipper Two GmbH")), before=before)
    assert changed.trigger == "change"
    assert changed.supersedes.screening_id == OPEN.screening_id


def test_decisions_go_along_where_nothing_changed_and_only_there():
    before = encoded(DECIDED)
    again = screened(before=before)
    assert again.open_hits == 0
    decisions = [hit.decision for party in again.parties for hit in party.hits]
    assert {each.carried_from for each in decisions} == {DECIDED.screening_id}
    assert (again.second_reviewer, again.screener) == ("S. Econd", "S. Screener")
    twice = screened(before=encoded(again))
    assert {h.decision.carried_from for p in twice.parties for h in p.hits} == {DECIDED.screening_id}

    assert screened(before=before, carry=False).open_hits == OPEN.hits
    moved = like(consignee=msgspec.structs.replace(LIKE, country="MY"))
    assert [p.disposition for p in screened(moved, before=before).parties[2:4]] == ["potential", "false_positive"]
    people = [
        one._replace(names=(*one.names, "Velmarin Holding")) if one.number == "102" else one for one in made.PEOPLE
    ]
    assert screened(lists=[csl(people)], before=before).open_hits >= 2


def test_the_second_who_screens_again_has_the_first_as_second():
    again = screener.screen(like(), [csl()], screener="s. econd", now=NOW, before=encoded(DECIDED))
    assert (again.screener, again.second_reviewer) == ("s. econd", "S. Screener")
    assert standing(again, first=SECOND, second=SCREENER) == []


def test_a_library_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(matching, "LIBRARIES", ("rapidfuzz", "no-such-library"))
    with pytest.raises(BadInput, match="screening needs no-such-library") as caught:
        screened()
    assert "sealift[screen]" in caught.value.hint


def test_a_decision_wants_a_person_a_reason_and_another_person():
    for each in DECIDED.parties:
        for hit in each.hits:
            assert hit.decision.by == "S. Screener"
            assert hit.decision.at == DECIDED.at
            assert hit.decision.rationale
            assert hit.decision.differentiators
    with pytest.raises(BadInput, match="who screens"):
        screener.decided(*encoded(OPEN), {}, screener="S. Screener", second_reviewer="s.  SCREENER", now=NOW)
    with pytest.raises(BadInput, match="by: a person's name"):
        screener.decided(*encoded(OPEN), {}, screener=" ", second_reviewer="", now=NOW)


# -- signatures


def test_a_signed_record_holds_and_says_by_whom():
    found = checked(DECIDED)
    assert (found.signer.principal, found.reviewer.principal) == ("screener@example.com", "second@example.com")
    assert checked(DECIDED, second=None).reviewer is None


def test_the_second_is_another_key_and_another_person():
    with pytest.raises(Refused, match="the screener's own"):
        checked(DECIDED, second=SCREENER)
    with pytest.raises(SignatureInvalid):
        checked(DECIDED, second=STRANGER)
    with pytest.raises(SignatureInvalid):
        checked(DECIDED, first=STRANGER)
    same = msgspec.structs.replace(DECIDED, second_reviewer="s. screener")
    with pytest.raises(Refused, match="by name"):
        checked(same)


def test_a_signature_in_another_namespace_is_none():
    data = canonical.encode(OPEN)
    with pytest.raises(SignatureInvalid):
        screening.check_screening(data, SCREENER.sign(data, "sealift-release"), None, ALLOWED)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"disposition": "false_positive"', b'"disposition": "no_hit"'),
        (b'"rationale": "another firm, by its register"', b'"rationale": "another\\nfirm"'),
        (b'"screener": "S. Screener"', b'"screener": ""'),
        (b'"at": "2026-11-25T12:00:00Z"', b'"at": "2026-13-25T12:00:00Z"'),
        (b'"party_ref": "shipper"', b'"party_ref": "consignee"'),
        (b'"version": 1', b'"version": 2'),
        (b'"whole": 0.85,', b'"whole": 1.85,'),
        (b'"supersedes": {', b'"supersedes":  {'),
        (b'"type": "sealift-screening"', b'"type": "sealift-release"'),
    ],
)
def test_records_that_are_none(old, new):
    data = canonical.encode(DECIDED)
    assert old in data
    with pytest.raises(FormatError):
        screening.decode(data.replace(old, new, 1))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_one_changed_byte_never_verifies(data):
    text = bytearray(canonical.encode(DECIDED))
    at = data.draw(st.integers(0, len(text) - 1))
    signature = SCREENER.sign(bytes(text), screening.NAMESPACE)
    text[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SealiftError):
        screening.check_screening(bytes(text), signature, None, ALLOWED)


# -- standing


def standing(record=DECIDED, declaration=None, lists=(), now=NOW, second=SECOND, first=SCREENER, **more):
    return screening.standing(declaration or like(), checked(record, second=second, first=first), lists, now, **more)


def test_what_is_decided_signed_twice_and_fresh_stands():
    assert standing() == []
    assert standing(lists=csl().files) == []
    assert standing(screened(declared()), declared(), second=None) == []


def test_what_holds_a_release_is_named():
    assert kinds(screening.standing(like(), None, [], NOW)) == [("missing", "")]
    assert "sealift screen FILE --list" in screening.standing(like(), None, [], NOW)[0].reason
    assert kinds(standing(OPEN, second=None)) == [
        ("unresolved", "consignee"),
        ("unresolved", "consignee.ultimate_parent"),
    ]
    assert kinds(standing(second=None)) == [("unreviewed", "")]
    true = disposed(OPEN, filled(OPEN, disposition="true_match"))
    assert kinds(standing(true)) == [("true_match", "consignee"), ("true_match", "consignee.ultimate_parent")]
    assert true.parties[2].disposition == "true_match"


def test_another_party_needs_another_screening_and_both_names_are_said():
    (problem,) = standing(declaration=like(shipper=party("Other GmbH")))[:1]
    assert problem.kind == "changed"
    assert "'Shipper GmbH' (DE)" in problem.reason
    assert "'Other GmbH' (DE)" in problem.reason
    more = like(names=("Anna", "Bo", "Cem"))
    assert kinds(standing(declaration=more)) == [("missing", "carriers[3]")]
    fewer = like(names=("Anna",))
    assert kinds(standing(declaration=fewer)) == [("changed", "carriers[2]")]
    elsewhere = like(consignment_id="SL-2026-ANOTHER")
    assert kinds(standing(declaration=elsewhere)) == [("changed", "")]


def test_a_changed_drive_needs_no_new_screening():
    more = like(drives=[*like().drives, drive("NEW1", "Bo")])
    assert standing(declaration=more) == []


def test_lists_age_and_newer_ones_count():
    newer = csl(made.PEOPLE[:5]).files
    assert kinds(standing(lists=newer)) == [("newer_list", "csl.csv")]
    assert standing(now=made.FETCHED + 7 * DAY) == []
    for hours, said in ((0.2, "some minutes"), (1.7, "1 hour"), (14, "14 hours")):
        late = standing(now=made.FETCHED + 7 * DAY + hours / 24 * DAY)
        assert kinds(late) == [("stale", "csl.csv")]
        assert f"7 days and {said} ago; 7 days are allowed" in late[0].reason
    assert "8 days ago; 7 are allowed" in standing(now=made.FETCHED + 8 * DAY)[0].reason
    assert kinds(standing(now=made.FETCHED + 2 * DAY, max_age_days=1)) == [("stale", "csl.csv")]
    assert kinds(standing(now=NOW - 9 * DAY)) == [("stale", "csl.csv"), ("stale", "")]
    assert DECIDED.valid_until == "2026-12-01T12:00:00Z"
    assert kinds(standing(now=made.FETCHED + 8 * DAY, max_age_days=30)) == [("stale", "")]


NATIVE = ("محمد عبد الله", "王小明", "Игорь")


@pytest.mark.parametrize(
    ("name", "held"), [*((each, True) for each in NATIVE), ("محمد Mohammed", False), ("3M", False)]
)
def test_who_has_no_name_in_latin_letters_is_asked_for_one(name, held):
    who = declared(shipper=party(name))
    found = [each for each in standing(screened(who), who, second=None) if each.kind != "unresolved"]
    assert [each.where for each in found] == ["shipper"] * held
    assert all("give the Latin spelling too" in each.reason for each in found)
    spelled = replace(party("Somebody Else"), native_name=name)
    who = declared(shipper=spelled)
    assert not [each for each in standing(screened(who), who, second=None) if each.kind == "no_latin_name"]


def test_what_is_of_no_day_or_of_an_old_one_by_its_own_word_holds():
    def held(published, *, stated):
        file = made.given(made.csl_csv(), "csl.csv", stated=stated)._replace(published=published)
        record = screened(declared(), [lists_detect.read(file, made.no_companion)])
        return [each.reason for each in standing(record, declared(), second=None)]

    assert "nobody says of when it is" in held(None, stated=False)[0]
    assert held(None, stated=True) == []
    assert held("2026-11-20", stated=False) == []
    assert "of 2026-11-10, by its own word, 15 days ago; 7 are allowed" in held("2026-11-10", stated=False)[0]
    assert held("2026-11-10", stated=True) == []
    assert "46 days ago; 31 are allowed" in held("2026-10-10", stated=True)[0]
    assert "in the future" in held("2026-12-10", stated=True)[0]
