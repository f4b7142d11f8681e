"""What no paper can print is refused before anybody releases it; names as they are written in life are not."""

import random
import subprocess
import sys
import unicodedata
from datetime import date

import custody_cases
import msgspec
import paper_cases as cases
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_gate import answers, ask, held, sign
from trade_cases import content, declared, party

from sealift.errors import BadInput
from sealift.formats import strict
from sealift.trade import declaration as d
from sealift.trade import glyphs, labels, sections, template, typeset

NAMES = (
    "Müller & Söhne GmbH, Größe-Öztürk",
    "Łódź Żegluga, Çelik Şirketi, İzmir, Ångström, Þór Ægisson, Čakļa, Ģirts Ķēniņš",
    "Công ty Nguyễn Thị Ậu, ỆẪỔ", "Ọlọ́ṣun Adébáyọ̀", "Ελληνική Εταιρεία ΰΐ", "ᾠδή", "ООО Ромашка Їжак Ўладзімір",
    "שׁוּלַמִּית בְּרֵאשִׁית", "مُحَمَّدٌ بْنُ عَبْدِ ٱللَّٰهِ", "شركة الخليج للنقل، می‌خواهم", "श्री ज़्यूँ क्ष्म्य र्द्ध्र्यों कंपनी", "क्‍ष",
    "บริษัท ที่อยู่ ปิ่น น้ำ กิ๊ก สิทธิ์ จำกัด", "阿里山快递有限公司", "ヤマト運輸 がぎぐ", "葛\U000e0100城市", "한진택배",
    "No. 5 – “quoted”, 5 m², €100, ½, …", "ﷺ", "№ 8",
)  # fmt: skip
UNPAINTED = (
    ("User 😀", "U+1F600 GRINNING FACE"), ("\ue000 Ltd", "U+E000"), ("a\ufffe", "U+FFFE"), ("შპს ა", "U+10E8 GEORGIAN"),
    ("தமிழ்", "U+0BA4 TAMIL LETTER TA"), ("𠮷野家", "U+20BB7"), ("①", "U+2460"),
    ("Z" + "\u0301\u0323" * 120 + "algo", "240 marks on one letter (U+1E92 U+0323"), ("A\u0301\u0301\u0301", "3 marks"),
    ("ab\u0323\u0324\u0331", "3 marks"), ("a\u0338\u0301\u0302\u0323\u0324", "5 marks"),
    ("ก" + "\u0e48" * 3, "3 marks"),
)  # fmt: skip


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("name", NAMES)
def test_names_as_they_are_written_can_be_painted_in_either_form(name, form):
    text = unicodedata.normalize(form, name)
    assert glyphs.unpainted(text) == ""
    assert unicodedata.normalize("NFC", glyphs.shown(text)) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize(("text", "told"), UNPAINTED)
def test_what_cannot_be_painted_holds_a_declaration_with_its_path(text, told):
    owner = sections.Owner(name=text, country="DE", percent="30")
    changes = {
        "shipper": msgspec.structs.replace(party("Shipper GmbH"), native_name=text, owners=[owner]),
        "customs": msgspec.structs.replace(content().customs, declaration_refs=["26DE1", text]),
    }  # fmt: skip
    paths = ["shipper.native_name", "shipper.owners[1].name", "customs.declaration_refs[2]"]
    _, faults = d.review(template.render(content(**changes)).encode())
    said = [fault for fault in faults if "U+" in fault]
    assert [fault.partition(": ")[0] for fault in said] == paths
    assert all(told in fault for fault in said)
    complete = declared(answers=answers(), **changes)  # what was once released stays a declaration
    verdict = ask(complete)
    assert held(verdict) == ["complete"]
    with pytest.raises(BadInput, match=r"shipper\.native_name") as caught:
        cases.frame(complete)
    assert "--revise" in caught.value.hint


def test_whoever_releases_is_printed_too():
    parsed = declared(answers=answers())
    for field in ("officer", "reason", "reference"):
        with pytest.raises(BadInput, match=rf"--{field}: .*U\+1F600"):
            sign(ask(parsed), parsed, **{field: "O. Fficer 😀"})


def test_what_others_wrote_is_printed_by_number_where_no_font_has_it():
    log = custody_cases.sealed()
    at = [custody_cases.item(custody_cases.SERIALS[:2], "S1")]
    digest = log.record("handover", "origin", "anna", at, place="თბილისი", reason="Z" + "\u0301" * 300 + "algo")
    made = cases.papers_arrival.custody_form(cases.frame(custody_cases.DECLARATION), log.entries[digest], "custody")
    said = str(made.data)
    assert "<U+10D7>" in said
    assert "<U+0301><U+0301>" in said
    assert "\u0301\u0301" not in said
    assert typeset.typeset("paper", made.data, cases.DAY)


def test_no_label_is_painted_over():
    parsed = cases.declared()
    label = labels.label(parsed, 1, labels.Place(0, 0, None))
    piled = labels.Label((*label.lines, ("carrier", "Z" + "\u0301" * 30)))
    with pytest.raises(BadInput, match="carrier: 30 marks on one letter"):
        labels.pdf(parsed, [label, piled], "", cases.DAY, None)


@given(st.text(alphabet=st.sampled_from("aÅş ی்ิ่ა\u0301\u0323\u05b0\u0651\u0947中\u200d\ufe0f"), max_size=30))
def test_what_is_shown_can_be_painted_and_is_left_alone_where_it_could(text):
    shown = glyphs.shown(text)
    assert glyphs.unpainted(shown) == ""
    assert glyphs.shown(shown) == shown
    if not glyphs.unpainted(text):
        assert shown == unicodedata.normalize("NFC", text)


def painted(text):
    """Whether typst paints it."""
    try:
        typeset.typeset("paper", data(text), date(2026, 11, 26))
    except BadInput:
        return False
    return True


def data(text):
    words = {"kind": "words", "title": "", "paragraphs": [text], "warning": False}
    return {"title": "t", "about": "", "consignment": "c", "marks": [], "mark_lines": [], "foot": [], "blocks": [words]}


def test_typst_paints_what_is_accepted_and_not_what_is_refused():
    every = [chr(code) for code in range(0xA0, 0x20000) if not 0xD800 <= code < 0xE000 and not 0x3400 <= code < 0xD7A4]
    every = [each for each in every if not strict.unprintable(each)]
    good = [each for each in every if not glyphs.unpainted(each)]
    assert painted(" ".join(f"a{each}" for each in good))
    refused = [each for each in every if glyphs.unpainted(each) and not unicodedata.category(each).startswith("M")]
    for each in random.Random(7).sample(refused, 12):
        assert not painted(each), f"U+{ord(each):04X}"


def test_no_font_is_read_for_names_in_ascii_or_to_start():
    script = (
        "from sealift.trade import declaration, glyphs\n"
        "import trade_cases\n"
        "assert glyphs.faults(trade_cases.content()) == []\n"
        "assert glyphs._coverage.cache_info().currsize == 0\n"
    )
    subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": ":".join(sys.path)}, check=True, timeout=60)
