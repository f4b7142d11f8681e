"""Revisions: what was released stays, the next one names it, and replaced parties are named."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from trade_cases import carrier, content, declared, drive, party

from sealift.errors import BadInput
from sealift.trade import declaration as d
from sealift.trade import revision, sections, sheets, template

FIRST = declared()


def second(**changes):
    return declared(**({"revision": 2, "supersedes": FIRST.digest} | changes))


def test_the_next_is_a_draft_of_the_same_with_two_lines_changed():
    text = revision.next_of(FIRST.raw, FIRST, FIRST.raw)
    after = d.parse(text, draft=False)
    assert (after.revision, after.supersedes) == (2, FIRST.digest)
    changed = [(a, b) for a, b in zip(FIRST.raw.splitlines(), text.splitlines(), strict=True) if a != b]
    assert [old.partition(b" ")[0] for old, _ in changed] == [b"revision", b"supersedes"]
    assert revision.faults(after, FIRST) == []
    third = d.parse(revision.next_of(text, after, text), draft=False)
    assert (third.revision, third.supersedes) == (3, after.digest)


def test_lines_that_are_not_there_come_after_the_id():
    without = b"".join(
        line for line in FIRST.raw.splitlines(keepends=True) if not line.startswith((b"revision", b"supersedes"))
    )
    parsed = d.parse(without, draft=False)
    after = d.parse(revision.next_of(without, parsed, without), draft=False)
    assert (after.revision, after.supersedes) == (2, parsed.digest)
    with pytest.raises(BadInput, match="no line that begins with consignment_id"):
        revision.next_of(b'"consignment_id" = "SL-2026-4F7K2Q"\n', parsed, without)


@pytest.mark.parametrize(
    ("after", "before", "fault"),
    [
        ({}, None, "revision 1 is not beside the declaration"),
        ({"supersedes": "ab" * 32}, FIRST, "is not of revision 1 as it was released"),
        ({"consignment_id": "SL-2026-OTHER9"}, FIRST, "consignment_id: was SL-2026-4F7K2Q"),
        ({"end_user": party("Other Ltd", "GB", "US")}, FIRST, "replaced: end_user was 'User Ltd'"),
        ({"shipper": party("Other GmbH")}, FIRST, "replaced: shipper was 'Shipper GmbH'"),
        (
            {"carriers": [carrier("Anna")], "drives": [drive("S1")]},
            FIRST,
            "replaced: carriers was 'Bo'",
        ),
        ({"site": replace(content().site, operator="Else Ltd")}, FIRST, "replaced: site was 'Site Ltd'"),
    ],
)
def test_what_keeps_a_revision_from_being_released(after, before, fault):
    found = revision.faults(second(**after), before)
    assert len(found) == 1
    assert fault in found[0]


def test_a_carriers_real_name_is_asked_for_and_both_print():
    gannet, tern = (
        replace(carrier(short), legal_name=name) for short, name in (("bo", "Bo Gannet"), ("cy", "Cy Tern"))
    )
    first = declared(carriers=[carrier("Anna"), gannet], drives=[drive("S1"), drive("S2", "bo")])
    changes = {"carriers": [carrier("Anna"), tern], "drives": [drive("S1"), drive("S2", "cy")]}
    changes |= {"revision": 2, "supersedes": first.digest}
    (fault,) = revision.faults(declared(**changes), first)
    assert "carriers was 'Bo Gannet', which wants" in fault
    assert 'role = "carriers", legal_name = "Bo Gannet"' in fault
    row = sections.Replaced(role="carriers", legal_name="Bo Gannet", since_revision=2, reason="ill")
    after = declared(**changes, replaced=[row])
    assert revision.faults(after, first) == []
    said = "Bo Gannet, until revision 2: ill; all carriers now: Anna, Cy Tern"
    assert sheets.before(after, row) == ("carriers", said)
    many = replace(after, carriers=[carrier(f"C{number}") for number in range(1000)])
    assert sheets.before(many, row)[1].endswith("now: C0, C1, C2, C3, C4 and 995 more")
    assert list(revision.replaced(content(carriers=[replace(gannet, name="b")]), content(carriers=[gannet]))) == []
    told_more = replace(carrier("Anna"), legal_name="Anna Kite")
    assert list(revision.replaced(content(carriers=[told_more]), content(carriers=[carrier("Anna")]))) == []
    assert list(revision.replaced(content(carriers=[replace(gannet, legal_name="B")]), content(carriers=[gannet]))) == [
        ("carriers", "Bo Gannet")
    ]


def test_once_named_it_may_go_and_is_named_ever_after():
    row = sections.Replaced(role="end_user", legal_name="User Ltd", since_revision=2, reason="sold")
    other = party("Other Ltd", "GB", "US")
    named = second(end_user=other, replaced=[row])
    assert revision.faults(named, FIRST) == []
    third = declared(revision=3, supersedes=named.digest, end_user=other)
    assert revision.faults(third, named) == ["replaced: end_user, 'User Ltd', was there before, and is missing"]


def test_the_first_has_nothing_before_it():
    assert revision.faults(FIRST, None) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["shipper", "consignee", "end_user"]), unique=True), st.booleans())
def test_every_replaced_party_is_asked_for(roles, moved):
    """Whatever is replaced at once: a fault for each, and none for what stayed."""
    changes = {role: party(f"New {role}") for role in roles}
    if moved:
        changes["drives"] = [drive("S1"), drive("S2", "Bo")]
    found = revision.faults(second(**changes), FIRST)
    assert sorted(line.split()[1] for line in found) == sorted(roles)


def test_rendered_drafts_can_be_revised():
    text = template.render(content(revision=7, supersedes="cd" * 32)).encode()
    parsed = d.parse(text, draft=True)
    assert d.parse(revision.next_of(text, parsed, text), draft=True).revision == 8
