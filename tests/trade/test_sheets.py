"""No sheet without the whole: totals, all carriers, all drives, whoever carries them."""

import re
from datetime import UTC, datetime

import filled
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trade_cases import ALLOWED, AUTHOR, OFFICER, content, declared

from sealift.errors import BadInput, Refused
from sealift.trade import declaration as d
from sealift.trade import release, sections, sheets, template

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def released(declaration):
    signed = filled.released(declaration, OFFICER, AUTHOR, NOW)
    return release.check_release(declaration, signed.data, signed.signature, ALLOWED)


@settings(max_examples=30, deadline=None)
@given(drives=st.integers(4, 40), carriers=st.integers(1, 4), final=st.booleans(), rehearsal=st.booleans())
def test_every_sheet_shows_the_whole_shipment(drives, carriers, final, rehearsal):
    names = [f"Carrier{i}" for i in range(carriers)]
    declaration = declared(count=drives, names=names, rehearsal=rehearsal)
    checked = released(declaration) if final else None
    total = sheets.size(drives * 15_360_950_534_144)
    for name in names:
        text = sheets.sheet(declaration, name, checked)
        assert f"{sheets.counted(drives, 'drive')} by {sheets.counted(carriers, 'carrier')}" in text
        assert f"capacity {total}" in text
        assert "80,000,000,000,000 bytes (80.0 TB)" in text
        assert "    SL-2026-OTHER7: 2026-10-01; Shipper GmbH to Consignee Bhd; 4 drives;" in text
        assert "USD 100.10" in text
        assert declaration.digest in text
        for other in names:
            assert re.search(rf"^ +[> ]*{other}: drives [0-9]", text, re.MULTILINE)
        rows = re.findall(r"^(.) +(\d+) of (\d+)  (\S+)  +(\S+)", text, re.MULTILINE)
        assert [(int(n), int(of), serial, who) for _, n, of, serial, who in rows] == [
            (i, drives, drive.serial, drive.carrier) for i, drive in enumerate(declaration.drives, start=1)
        ]
        assert {who for mark, _, _, _, who in rows if mark == ">"} == {name}
        assert (sheets.DRAFT in text) is not final
        assert (sheets.REHEARSAL in text) is rehearsal
        assert ("O. Fficer" in text) is final
        for party in (declaration.shipper, declaration.consignee, declaration.end_user):
            flat = " ".join(text.split())
            assert party.legal_name in flat
            assert party.ultimate_parent in flat


def test_a_draft_has_a_sheet_that_says_so():
    draft = d.parse(template.render(content(shipper=sections.Party())).encode(), draft=True)
    text = sheets.sheet(draft, "Anna")
    assert text.count(sheets.DRAFT) == 2
    assert sheets.EMPTY in text


def test_a_release_of_another_declaration_makes_no_sheet():
    complete = declared()
    other = d.parse(complete.raw + b"#\n", draft=False)
    with pytest.raises(Refused):
        sheets.sheet(other, "Anna", released(complete))


def test_unknown_carriers_are_refused():
    with pytest.raises(BadInput):
        sheets.sheet(declared(), "Karl")


@given(st.sets(st.integers(1, 60)))
def test_ranges_name_exactly_the_numbers(numbers):
    text = sheets.ranges(sorted(numbers))
    found = set()
    for part in text.split(", ") if text != "none" else []:
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    assert found == numbers
