"""Papers as they are printed: pages, heads, totals, names and codes read back; nothing is clipped or overlaps."""

import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import msgspec
import paper_cases as cases
import papers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trade_cases import party

from sealift.errors import BadInput
from sealift.formats import strict
from sealift.trade import glyphs, paper, papers_customs, papers_gate, sections, sheets, typeset
from sealift.trade.papers_customs import hand_carry, invoice, packing_list

FULL = cases.full()
TEXT = papers.Box(13 * papers.MM, 8 * papers.MM, (210 - 13) * papers.MM, 290 * papers.MM)


def printed(folder, made):
    papers.need_readers()
    path = folder / f"{made.name}.pdf"
    path.write_bytes(typeset.typeset("paper", made.data, cases.DAY))
    return str(path)


def flat(text):
    return " ".join(text.replace("\u200b", "").split())


def stands_well(path, page, slack=0.3):
    """Words lie within the margins, and not over one another; what lies across the page is not looked at.

    Of Arabic, poppler's boxes are half a point higher than what `inked` leaves of them.
    """
    boxes = [(box, word) for box, word in papers.words(path, page) if box.bottom - box.top < 24]
    assert boxes
    assert [(box, word) for box, word in boxes if not TEXT.holds(box.inked(), slack=1)] == []
    inked = sorted(((box.inked(), word) for box, word in boxes), key=lambda each: each[0].top)
    for at, (box, word) in enumerate(inked):
        for other, beside in inked[at + 1 :]:
            if other.top >= box.bottom:
                break
            assert not box.meets(other, slack=slack), (word, beside)


def pages_of(path):
    return papers.text(path)


@pytest.mark.parametrize("rehearsal", [False, True])
def test_every_page_of_every_paper_says_what_it_must(tmp_path, rehearsal):
    made = cases.of_declaration(cases.frame(cases.full(rehearsal=rehearsal)))
    for each in [*made, *([] if rehearsal else cases.of_records())]:
        path = printed(tmp_path, each)
        pages = pages_of(path)
        for number, text in enumerate(pages, start=1):
            said = flat(text)
            assert f"page {number} of {len(pages)}" in said
            assert "SL-2026-4F7K2Q" in said
            assert sheets.DRAFT in said
            assert (sheets.REHEARSAL in said) is rehearsal
            assert sheets.BASIS in said
            assert flat(each.data["title"]) in said
            stands_well(path, number - 1)
            across = papers.inside(path, number - 1, papers.PAGE).replace(" ", "")  # what lies across is written first
            assert across.startswith("REHEARSALDRAFT" if rehearsal else "DRAFT")


def test_a_released_paper_has_nothing_across_it(tmp_path):
    path = printed(tmp_path, packing_list(cases.frame(FULL, final=True)))
    for page in range(len(pages_of(path))):
        assert "DRAFT" not in papers.inside(path, page, papers.PAGE)


def test_heads_of_tables_are_repeated_and_every_drive_is_printed(tmp_path):
    path = printed(tmp_path, packing_list(cases.frame(FULL)))
    pages = pages_of(path)
    assert len(pages) >= 2
    for text in pages[1:]:
        assert "serial number" in flat(text)
        assert "make, model" in flat(text)
    found = re.findall(r"SER\d{5}", " ".join(pages))
    assert found == [drive.serial for drive in FULL.drives]


def test_no_number_is_broken(tmp_path):
    """Its last digits on a line of their own would be read as another number."""
    drives = [msgspec.structs.replace(each, capacity_bytes=10**18 - 1) for each in cases.drives(60)]
    goods = [msgspec.structs.replace(each, media_value="99999999999.99") for each in (cases.GOODS, cases.DISK)]
    shown = cases.frame(cases.full(drives=drives, goods=goods))
    path = printed(tmp_path, packing_list(shown))
    said = [papers.inside(path, page, papers.PAGE).split() for page in range(len(pages_of(path)))]
    assert sum(page.count(f"{10**18 - 1:,}") for page in said) == 60
    assert f"{60 * (10**18 - 1):,}" in said[0]
    for value in shown.whole.customs.values():
        assert f"{value:,.2f}" in said[0]


def test_no_serial_number_of_a_form_is_broken(tmp_path):
    """They are compared by eye with sixty labels: half of one on the next line is another number."""
    forms = ("S6CANX0T%06d", "WD-WCC7K%dHY-2TSZ9A", "ZL2A-%04d", "PHLN3015%03dXX7P6CGN")
    drives = [
        msgspec.structs.replace(each, serial=forms[at % 4] % (at + 100)) for at, each in enumerate(cases.drives(60))
    ]
    drives[7] = msgspec.structs.replace(drives[7], serial="X-" * 32)  # the longest there is, wider than the column
    shown = cases.full(drives=drives)
    serials = sorted(each.serial for each in drives)
    log = cases.custody_cases.sealed()
    parts = [cases.custody_cases.item(serials[at : at + 20], f"SEAL-{at}") for at in (0, 20, 40)]
    event = log.event("handover", "origin", "anna", parts, consignment_id=shown.consignment_id)
    made = cases.papers_arrival.custody_form(cases.frame(shown), event, "custody")
    frame = cases.frame(shown)
    for paper_made in (made, packing_list(frame), hand_carry(frame, frame.parts[0], 1)):
        path = printed(tmp_path, paper_made)
        said = [word for page in range(len(pages_of(path))) for _, word in papers.words(path, page)]
        assert {serial for serial in serials if serial not in said} <= {"X-" * 32}, paper_made.name
        for page in range(len(pages_of(path))):
            stands_well(path, page)


def amounts(text, currency):
    return [Decimal(each.replace(",", "")) for each in re.findall(rf"{currency} ([\d,]+(?:\.\d+)?)", text)]


def test_what_is_printed_adds_up_on_every_paper(tmp_path):
    """From the text of the PDFs alone: carriers' lines to the whole, drives' lines to the same whole."""
    shown = cases.frame(FULL)
    for made in cases.of_declaration(shown):
        first = flat(pages_of(printed(tmp_path, made))[0])
        table = first.partition(paper.WHOLE)[2].partition("Parties")[0]
        for currency in ("EUR", "USD"):
            *parts, whole, _ = [each for each in amounts(table, currency) if each != Decimal("100.10")]
            assert sum(parts) == whole == shown.whole.customs[currency]
        weights = [Decimal(each) for each in re.findall(r" (\d+\.\d{3})(?= )", table)]
        gross = weights[1:8:2]
        assert sum(gross) == weights[9] == Decimal(shown.whole.gross_grams) / 1000
    rows = " ".join(pages_of(printed(tmp_path, packing_list(shown))))
    lines = re.findall(r"SER\d{5} .*?([\d,]{15,}) +(\d+\.\d{3}) +(\d+\.\d{3})", rows)
    assert len(lines) == 60
    assert sum(int(capacity.replace(",", "")) for capacity, _, _ in lines) == FULL.capacity_bytes
    assert sum(Decimal(net) for _, net, _ in lines) * 1000 == shown.whole.net_grams
    assert sum(Decimal(gross) for _, _, gross in lines) * 1000 == shown.whole.gross_grams


@settings(max_examples=8, deadline=None)
@given(cases.drawn())
def test_drawn_declarations_add_up_in_print(tmp_path_factory, declaration):
    shown = cases.frame(declaration)
    path = printed(tmp_path_factory.mktemp("drawn"), papers_customs.general_list(shown).paper)
    said = " ".join(papers.inside(path, page, papers.PAGE) for page in range(len(pages_of(path))))
    items, boxes = said.partition(" General list item ")[2].rsplit(" The whole shipment: ", 1)
    for currency, value in shown.whole.customs.items():
        found = amounts(items, currency)
        assert found[-1] == value == amounts(boxes, currency)[0]
        assert sum(found[:-1]) == value


def test_names_of_other_scripts_are_printed_as_they_are(tmp_path):
    path = printed(tmp_path, hand_carry(cases.frame(FULL), cases.frame(FULL).parts[2], 3))
    said = flat(" ".join(pages_of(path)))
    for name in ("马来亚计算有限公司", "阿里山快递有限公司", "Anna Größe-Öztürk", "Bo Ångström", "Broker & Söhne"):
        assert name in said
    used = subprocess.run(["pdffonts", path], capture_output=True, text=True, check=True).stdout
    assert "NotoSansArabic" in used
    assert "DroidSansFallback" in used
    assert b"<pdfaid:part>2</pdfaid:part><pdfaid:conformance>B</pdfaid:conformance>" in Path(path).read_bytes()


LONG = ["W" * 64, "快" * 64, "ش" * 64, "الخليج " * 9, "हि" * 32, "Donaudampfschifffahrt " * 2, "ß" * 64]
HOSTILE = [
    "#strong[x] *b* _i_ $a$ `c` @d <e> // f",
    '\\ \\u{41} #import "x.typ": * #read("/x")',
    '"; panic() #{sys.inputs} \'q\' -- --- ~ ...',
]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("name", [*LONG, *HOSTILE], ids=lambda name: name[:12])
def test_the_longest_names_are_neither_clipped_nor_overlap(tmp_path, name):
    carrier = msgspec.structs.replace(cases.CARRIERS[0], name=name.replace("=", "").replace(",", "").strip()[:64])
    drives = [
        msgspec.structs.replace(
            each, carrier=carrier.name, serial=f"S{number}" + "M" * 60, make=name * 3, model=name,
            package_no=name * 2, seal_no=name,
        )
        for number, each in enumerate(cases.drives(3))
    ]  # fmt: skip
    shown = cases.frame(
        cases.full(
            carriers=[carrier], drives=drives, consignment_id="W" * 64, end_user=party(name * 5), leg="return",
            in_reply_to="X" + "W" * 63, goods=[msgspec.structs.replace(each, description=name * 5) for each in
                                              (cases.GOODS, cases.DISK)],
            charges=[sections.Charge(name=name * 5, amount="999999999999999.99", currency="EUR")],
        )
    )  # fmt: skip
    for made in [*cases.of_declaration(shown)[:5], papers_gate.worksheet(shown, cases.VERDICT)]:
        path = printed(tmp_path, made)
        for page in range(len(pages_of(path))):
            stands_well(path, page, slack=0.8 if "ا" in name else 0.3)
        if name in HOSTILE:
            letters = "".join("".join(pages_of(path)).split())
            assert "".join(name.split()) in letters
            assert b"/URI" not in Path(path).read_bytes()


def test_the_code_of_a_custody_form_reads_as_the_checkpoint(tmp_path):
    for made in cases.of_records()[2:4]:
        path = printed(tmp_path, made)
        (block,) = [each for each in made.data["blocks"] if each["kind"] == "code"]
        assert papers.code(papers.picture(path, 0, papers.PAGE), tmp_path) == block["lines"][1]
        assert block["lines"][1] in "".join(pages_of(path)[0].split()).replace("\u200b", "")


def test_every_page_of_a_form_that_is_not_recorded_says_which_it_is(tmp_path):
    log = cases.custody_cases.sealed()
    event = log.event("handover", "origin", "anna", [cases.custody_cases.item(cases.custody_cases.SERIALS[:2], "S1")])
    event = msgspec.structs.replace(event, photo_sha256=[f"{number:064x}" for number in range(60)])
    made = cases.papers_arrival.custody_form(cases.frame(cases.custody_cases.DECLARATION), event, "custody")
    pages = pages_of(printed(tmp_path, made))
    assert len(pages) > 1
    form = cases.papers_arrival.custody_sheet.form_id(event)
    for number, page in enumerate(pages, start=1):
        words = " ".join(page.replace("\u200b", "").split())
        assert f"form {form}" in words, f"page {number}"
        assert "drives 1-2 of 4" in words
        assert f"page {number} of {len(pages)}" in words


def test_the_code_of_the_longest_checkpoint_reads_back(tmp_path):
    log = cases.custody_cases.sealed()
    event = log.event("handover", "origin", "anna", [cases.custody_cases.item(cases.custody_cases.SERIALS[:2], "S1")])
    seen = cases.papers_arrival.events.Checkpoint(events=20, newest=[f"{number:064x}" for number in range(16)])
    event = msgspec.structs.replace(event, log_checkpoint=seen)
    made = cases.papers_arrival.custody_form(cases.frame(cases.custody_cases.DECLARATION), event, "custody")
    path = printed(tmp_path, made)
    (block,) = [each for each in made.data["blocks"] if each["kind"] == "code"]
    found = [papers.code(papers.picture(path, page, papers.PAGE), tmp_path) for page in range(len(pages_of(path)))]
    assert block["lines"][1] in found


def test_a_page_of_boxes_alone_says_what_is_signed(tmp_path):
    """Of invoices with one line more each, one has its boxes on a page of their own."""
    alone = 0
    for count in range(9, 15):
        goods = [msgspec.structs.replace(cases.GOODS, name=f"g{number}") for number in range(count)]
        drives = [
            msgspec.structs.replace(each, goods=f"g{number}", model=f"X{number}")
            for number, each in enumerate(cases.drives(count))
        ]
        shown = cases.frame(cases.full(goods=goods, drives=drives))
        last = " ".join(pages_of(printed(tmp_path, invoice(shown, "pro-forma")))[-1].split())
        assert f"{count} drives by 4 carriers" in last
        assert "For the shipper" in last
        alone += "Sums" not in last
    assert alone


# --- characters


def test_a_name_that_no_font_has_is_refused_in_a_declaration(tmp_path):
    with pytest.raises(BadInput, match=r"end_user.legal_name: .*U\+1F600"):
        printed(tmp_path, invoice(cases.frame(cases.full(end_user=party("User 😀"))), "pro-forma"))


def test_a_name_of_a_list_is_printed_whatever_it_is(tmp_path):
    record = cases.screening_cases.screened(cases.screening_cases.like())
    parties = [
        msgspec.structs.replace(
            each, hits=tuple(msgspec.structs.replace(hit, name="შპს Velmarin শান্তি 😀") for hit in each.hits)
        )
        for each in record.parties
    ]
    record = msgspec.structs.replace(record, parties=tuple(parties))
    made = papers_gate.screening_report(cases.frame(cases.screening_cases.like()), cases.screened(record))
    path = printed(tmp_path, made)
    said = "".join(papers.inside(path, page, papers.PAGE) for page in range(len(pages_of(path)))).replace(" ", "")
    assert "<U+10E8><U+10DE><U+10E1>Velmarin<U+09B6>" in said
    assert "<U+1F600>" in said


printable = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).filter(
    lambda text: text.strip() and not strict.unprintable(text)
)


@pytest.mark.long
@settings(max_examples=40, deadline=None)
@given(printable)
def test_any_text_is_shown_so_that_it_prints(text):
    shown = cases.frame(FULL)
    assert typeset.typeset("paper", shown.paper("x", "x", [paper.words("x", [glyphs.shown(text)])]).data, cases.DAY)


def test_what_the_fonts_have_is_what_they_say():
    ttlib = pytest.importorskip("fontTools.ttLib")
    assert len(glyphs.fonts()) > 2
    for each in glyphs.fonts():
        with ttlib.TTFont(str(each)) as font:
            assert set(glyphs.code_points(each.read_bytes())) == set(font.getBestCmap())


def test_bold_and_regular_have_the_same_characters():
    named = {each.name: each for each in glyphs.fonts()}
    bold, regular = (
        set(glyphs.code_points(named[f"NotoSans-{weight}.ttf"].read_bytes())) for weight in ("Bold", "Regular")
    )
    assert bold == regular


@pytest.mark.long
def test_papers_that_were_made_are_let_go_of():
    """Twelve papers of 300 drives take no more memory than two."""
    script = (
        "import resource, paper_cases as c\n"
        "from sealift.trade import papers_customs as p, typeset\n"
        "shown = c.frame(c.full(300))\n"
        "def made(times):\n"
        "    for at in range(times):\n"
        "        data = p.hand_carry(shown, shown.parts[at % 4], at).data | {'about': str(at + times)}\n"
        "        typeset.typeset('paper', data, c.DAY)\n"
        "        typeset.forget()\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10\n"
        "few = made(2)\n"
        "print(made(12) - few)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True,
                          text=True, check=True, timeout=120)  # fmt: skip
    assert int(done.stdout) < 60  # MiB; some 400 if they were kept


def test_a_name_from_right_to_left_keeps_its_number_on_its_side(tmp_path):
    """A number that ends it, with a Latin letter behind, stands at its left; nothing of it is beyond its brackets."""
    buyer = msgspec.structs.replace(FULL.consignee, legal_name="Petrel", native_name="شركة بترل رقم 123-A")
    made = hand_carry(cases.frame(msgspec.structs.replace(FULL, consignee=buyer)), cases.frame(FULL).parts[2], 3)
    words = papers.words(printed(tmp_path, made), 0)
    before = next(at for at, (_, word) in enumerate(words) if word == "Petrel")
    line = sorted((box.left, word) for box, word in words if abs(box.top - words[before][0].top) < 2)
    said = "".join(word for _, word in line).partition("Petrel")[2]
    assert re.sub("[\u2066-\u2069]", "", said).startswith("(A-123"), said


def test_a_name_with_hyphens_is_broken_behind_them(tmp_path):
    name = "Anna-Lena-Freiin-von-und-zu-Hohenlohe-Schillingsfuerst-Bartenstein-Waldenburg-Ingelfingen-Langenburg"
    shown = cases.frame(cases.full(carriers=[msgspec.structs.replace(cases.CARRIERS[0], legal_name=name)], drives=[
        msgspec.structs.replace(each, carrier=cases.CARRIERS[0].name) for each in cases.drives(4)
    ]))  # fmt: skip
    said = re.findall(r"[\w-]+", "".join(pages_of(printed(tmp_path, packing_list(shown)))))
    pieces = {piece for each in said for piece in each.strip("-").split("-")}
    assert set(name.split("-")) <= pieces
    assert not {"v", "Langenb", "urg", "Hohenl"} & pieces
