"""Letters that look like others: folded for comparing, and told where nobody can read them with certainty."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from test_matching import entry
from trade_cases import content, party

from sealift.trade import lookalikes, matching, sections
from sealift.trade.names import forms

LISTED = "Sanctioned Shipping Lines"
MIXED = "Ѕаnсtiоnеd Ѕhiррing Linеѕ"


@pytest.mark.parametrize(
    ("name", "latin"),
    [
        (MIXED, "sanctioned shipping lines"),
        ("Ѕсоре Lines", "scope lines"),  # a word wholly of look-alikes
        ("Αcme Τrading", "acme trading"),  # Greek
        ("Ꭺcme", "acme"),  # Cherokee
        ("ՕՏcar", "oscar"),  # Armenian
        ("ТRАDЕ", "trade"),
        ("Вaнк", "bahk"),  # small letters as their capitals
        ("А-н-н-а", "anna"),
    ],
)
def test_they_are_compared_as_they_look(name, latin):
    assert latin in forms(name).latin


def test_and_the_other_way_round():
    """Latin letters within a word of another alphabet; a list that is written so itself."""
    assert "россия" in forms("Рoсcия").native
    for listed, asked in ((LISTED, MIXED), (MIXED, LISTED), ("Россия", "Рoсcия"), ("Рoсcия", "Россия")):
        index = matching.Index([entry("Nobody Else Ltd"), entry(listed)])
        (found,) = index.search([asked])
        assert (found.entry, found.scores.best) == (1, 1.0)


def test_what_is_no_longer_doubtful_is_still_compared_as_it_looks():
    for listed, asked in (("uTech Robotics", "µTech Robotics"), ("mTech Robotics", "µTech Robotics"),
                          ("Omega Laboratories", "Ωmega Laboratories"), ("a-Compute Sdn", "α-Compute Sdn"),
                          ("µTech Robotics", "\u03bcTech Robotics"), ("Alpha Compute", "α-Compute")):  # fmt: skip
        index = matching.Index([entry("Nobody Else Ltd"), entry(listed)])
        assert [found.entry for found in index.search([asked])] == [1], (listed, asked)


def test_what_was_compared_before_is_compared_still():
    assert {"oоo", "romashka"} & set(forms("ООО «Ромашка»").latin)
    assert "ромашка" in forms("ООО «Ромашка»").native


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Ѕhipping", "'Ѕhipping' has letters of two alphabets, Latin and Cyrillic: U+0405 CYRILLIC CAPITAL LETTER DZE"),
        ("Acme Ѕсоре", "'Ѕсоре' reads as 'Scope' and is not: U+0405 CYRILLIC CAPITAL LETTER DZE, U+0441 "),
        ("αTech Ltd", "'αTech' has letters of two alphabets, Latin and Greek: U+03B1 GREEK SMALL LETTER ALPHA"),
        ("Рoсcия", "'Рoсcия' has letters of two alphabets, Latin and Cyrillic: U+0420 CYRILLIC CAPITAL LETTER ER, "),
        ("Ωmеga", "'Ωmеga' has letters of two alphabets, Latin and Greek and Cyrillic"),
        ("Techµ", "'Techμ' has letters of two alphabets, Latin and Greek"),
        ("µµTech", "'μμTech' has letters of two alphabets, Latin and Greek"),
        ("Αcme", "'Αcme' has letters of two alphabets, Latin and Greek: U+0391 GREEK CAPITAL LETTER ALPHA"),
        ("ο Compute", "'ο' reads as 'o' and is not"),
        ("αα Compute", "'αα' reads as 'aa' and is not"),
        ("O’Рourke", "'Рourke' has letters"),
    ],
)
def test_what_nobody_can_read_with_certainty_is_told_with_its_letters(name, said):
    (why,) = lookalikes.doubtful(name)
    assert why.startswith(said)


@pytest.mark.parametrize(
    "name",
    [
        "Müller & Söhne GmbH", "ООО Ромашка", "ООО Romashka", "ТОВ Romashka", "Ромашка (Romashka)", "Ελληνική ΑΕ",
        "NTTドコモ", "SK하이닉스", "JR東日本", "東京タワー", "漢字한글", "บริษัทABCจำกัด", "شركة ABC", "王小明", "3М",
        "µTech GmbH", "\u03bcTech GmbH", "Ωmega Labs", "ΩMEGA", "α-Compute", "Compute α", "λTech",
        "β-Carotene", "Ⅳ Works", "Ｆｕｌｌ Width",
    ],
)  # fmt: skip
def test_what_is_written_so_in_life_is_not(name):
    assert lookalikes.doubtful(name) == ()


def test_every_name_of_a_declaration_is_looked_at():
    doubtful = "Ѕhipping"
    owner = sections.Owner(name=doubtful, country="DE", percent="30")
    full = content(
        shipper=replace(party(doubtful), native_name=doubtful, ultimate_parent=doubtful, owners=[owner]),
        carriers=[sections.Carrier(name=doubtful, legal_name=doubtful)],
        related_shipments=[sections.RelatedShipment(consignee=doubtful)],
        site=replace(content().site, operator=doubtful, access_controller=doubtful),
    )  # fmt: skip
    assert {fault.partition(":")[0] for fault in lookalikes.faults(full)} == {
        "shipper.legal_name", "shipper.native_name", "shipper.ultimate_parent", "shipper.owners[1].name",
        "carriers[1].name", "carriers[1].legal_name", "site.operator", "site.access_controller",
        "related_shipments[1].consignee",
    }  # fmt: skip
    assert lookalikes.faults(content()) == []


def test_the_table_is_of_letters_that_look_like_letters():
    for odd, plain in lookalikes._LOOKS.items():
        assert unicodedata.category(chr(odd))[0] == "L"
        assert plain.isascii()
        assert plain.isalpha()
        assert lookalikes._alphabet(chr(odd)) not in {"", "LATIN"}


@given(st.text(alphabet=st.sampled_from("aсoорРxh -ЯяΑαω王ع\u0301.1Ѕ"), max_size=30))
def test_any_text_is_folded_and_told_without_fail(text):
    assert text not in lookalikes.folded(text)
    for why in lookalikes.doubtful(text):
        assert "U+" in why
