"""Every label says which of how many, of which declaration, and reads by its code as it is printed."""

import re
from datetime import date

import papers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sheets import released
from trade_cases import content, declared

from sealift.errors import BadInput, Refused
from sealift.formats import strict
from sealift.trade import declaration as d
from sealift.trade import labels, sections, sheets, template

DAY = date(2026, 11, 26)
PLACE = labels.Place(group=3, slot=1, read_by=date(2027, 2, 24))
HOSTILE = [
    "#strong[x] *b* _i_ $a$ `c` @d <e> // f",
    '\\ \\u{41} #import "x.typ": * #read("/x")',
    '"; panic() #{sys.inputs} \'q\' -- --- ~ ...',
]  # fmt: skip


def all_labels(declaration, release=None, read_by=PLACE.read_by):
    return [
        labels.label(declaration, number, labels.Place(0, number - 1, read_by), release=release)
        for number in range(1, len(declaration.drives) + 1)
    ]


def sheet(folder, declaration, release=None, read_by=PLACE.read_by, note=""):
    papers.need_readers()
    path = folder / "labels.pdf"
    made = all_labels(declaration, release, read_by)
    path.write_bytes(labels.pdf(declaration, made, note, DAY, release))
    return made, str(path)


def carried(*names, serial="SER{:05d}", **changes):
    """A declaration in which each of `names` carries a drive, in this order."""
    drives = [
        sections.Drive(
            serial=serial.format(number), carrier=name, goods="ssd", capacity_bytes=80 * 10**12, make="m", model="x"
        )
        for number, name in enumerate(names)
    ]
    known = [sections.Carrier(name=name, contact="c", country="DE") for name in dict.fromkeys(names)]
    return d.parse(template.render(content(carriers=known, drives=drives, **changes)).encode(), draft=False)


def inside(path, number):
    """What stands on label `number`, counted from 0, as one line."""
    return papers.inside(path, number // 14, papers.place(number))


def stands_well(path, number):
    """Label `number`, counted from 0: its words lie within it, beside its code, and not over one another."""
    place = papers.place(number)
    boxes = [box for box, _ in papers.words(path, number // 14) if place.meets(box) and box.bottom - box.top < 20]
    room = place._replace(right=place.right - 38.1 * papers.MM)
    assert boxes
    assert all(room.holds(box.inked()) for box in boxes)
    inked = [box.inked() for box in boxes]
    assert not [(a, b) for i, a in enumerate(inked) for b in inked[i + 1 :] if a.meets(b, slack=0.1)]


def said(label):
    """The words of a label in the order of its lines."""
    return " ".join(label.text.split())


# --- the text


def test_a_label_is_one_line_for_each_field():
    declaration = declared(count=60)
    made = labels.label(declaration, 17, PLACE, shipment="cd072cd8be6f9f62", release=released(declaration))
    assert made.text == (
        "this is: drive 17 of 60\ndeclaration: SL-2026-4F7K2Q\nshipment: cd072cd8be6f9f62\nlabel: cd072c-17of60\n"
        "whole shipment: 60 drives, 921.7 TB\ngroup: 3\nslot: 1\ncarrier: Anna\nserial: SER00016\nread by: 2027-02-24"
    )


@pytest.mark.parametrize("rehearsal", [False, True])
@pytest.mark.parametrize("final", [False, True])
def test_every_label_says_which_of_how_many_and_names_no_customer(rehearsal, final):
    declaration = declared(count=12, rehearsal=rehearsal)
    for number, made in enumerate(all_labels(declaration, released(declaration) if final else None), start=1):
        said = made.text.split("\n")
        assert f"this is: drive {number} of 12" in said
        assert "declaration: SL-2026-4F7K2Q" in said
        assert f"whole shipment: 12 drives, {sheets.rounded(declaration.capacity_bytes)}" in said
        assert (f"status: {sheets.REHEARSAL}" in said) is rehearsal
        assert (f"status: {sheets.DRAFT}" in said) is not final
        for party in (declaration.shipper, declaration.consignee, declaration.end_user):
            for word in (party.legal_name, party.ultimate_parent, party.contact, party.address):
                assert word not in made.text


def test_what_is_not_there_has_no_line():
    made = labels.label(declared(), 1, labels.Place(0, 0, None))
    assert "read by" not in made.text
    assert "\nshipment:" not in made.text


def test_the_label_of_a_return_leg_says_what_it_answers():
    home = declared(leg="return", in_reply_to="SL-2026-OUTWRD")
    for made in all_labels(home):
        assert "\nleg: return leg in reply to SL-2026-OUTWRD\n" in made.text


def test_a_release_of_another_declaration_makes_no_label():
    complete = declared()
    other = d.parse(complete.raw + b"#\n", draft=False)
    with pytest.raises(Refused):
        labels.label(other, 1, PLACE, release=released(complete))


# --- the sheet


@pytest.mark.long
def test_codes_and_print_of_a_sheet_of_sixty_are_the_labels_texts(tmp_path):
    names = (
        "Anna",
        "Jürgen Größe-Öztürk",
        "阿里山快递有限公司",
        "شركة الخليج للنقل",
        "Ελληνική Πλοήγηση",
        "Donaudampfschifffahrt " * 2 + "Österreich",
    )
    declaration = carried(*(names[number % 6] for number in range(60)), consignment_id="SL-2026-SIXTY")
    made, path = sheet(tmp_path, declaration, released(declaration), note="read by: 90 days.")
    pages = papers.text(path)
    assert [re.findall(r"page (\d) of (\d)", page) for page in pages] == [[(str(i), "5")] for i in range(1, 6)]
    for page in pages:
        assert "Labels of shipment SL-2026-SIXTY: 60 drives, 4.8 PB" in page
        assert "Prepared from the user's statements; not legal advice. read by: 90 days." in page
        assert "DRAFT" not in page
    for number, label in enumerate(made):
        assert papers.code(papers.picture(path, number // 14, papers.place(number)), tmp_path) == label.text
        stands_well(path, number)
        if number % 6 != 3:  # poppler writes what runs from right to left with marks of its own
            assert inside(path, number) == said(label)


LONG = ["W" * 64, "快" * 64, "ش" * 64, "الخليج " * 9, "हि" * 32, "Donaudampfschifffahrt " * 2, "ß" * 64, *HOSTILE]


@pytest.mark.long
@pytest.mark.parametrize("name", LONG, ids=lambda name: name[:12])
def test_the_longest_names_are_neither_clipped_nor_overlap(tmp_path, name):
    declaration = carried(
        name.strip(), "Bo", serial="S{:03d}" + "M" * 60, consignment_id="W" * 64,
        leg="return", in_reply_to="X" + "W" * 63, rehearsal=True,
    )  # fmt: skip
    (label, _), path = sheet(tmp_path, declaration)
    stands_well(path, 0)
    if name.isascii():
        assert inside(path, 0).replace(" ", "").endswith("".join(label.text.split()))
    assert papers.code(papers.picture(path, 0, papers.place(0)), tmp_path) == label.text


def test_what_needs_a_second_line_is_printed_smaller(tmp_path):
    declaration = carried("Donaudampfschifffahrt " * 2 + "Wien", "Bo", serial="S{:03d}" + "M" * 40)
    made, path = sheet(tmp_path, declaration, released(declaration))
    for number, label in enumerate(made):
        stands_well(path, number)
        assert inside(path, number).replace(" ", "") == "".join(label.text.split())


def test_a_code_is_read_though_it_is_scratched(tmp_path):
    declaration = declared()
    made, path = sheet(tmp_path, declaration, released(declaration))
    place = papers.place(0)
    code = papers.Box(place.right - 37 * papers.MM, place.top, place.right, place.bottom)
    width, height, grey = papers.picture(path, 0, code)
    for row in range(round(height * 0.55), round(height * 0.65)):  # a scratch of a tenth, all across
        grey[row * width : (row + 1) * width] = b"\xff" * width
    assert papers.code((width, height, grey), tmp_path) == made[0].text


@pytest.mark.long
@pytest.mark.parametrize("rehearsal", [False, True])
def test_a_draft_says_so_on_every_label_and_across_every_page(tmp_path, rehearsal):
    declaration = declared(count=16, rehearsal=rehearsal)
    made, path = sheet(tmp_path, declaration)
    for number, label in enumerate(made):
        assert sheets.DRAFT in inside(path, number)
        assert papers.code(papers.picture(path, number // 14, papers.place(number)), tmp_path) == label.text
    for page in range(2):
        letters = papers.inside(path, page, papers.PAGE).replace(" ", "")  # what lies across is written first, askew
        assert letters.startswith("REHEARSALDRAFTstatus" if rehearsal else "DRAFTstatus")


def test_what_no_font_has_is_refused_by_name():
    declaration = carried("Anna 😀", "Bo")
    with pytest.raises(BadInput, match=r"carrier: .*U\+1F600") as caught:
        labels.pdf(declaration, all_labels(declaration), "", DAY, None)
    assert "Chinese" in str(caught.value)


def test_what_does_not_fit_is_refused_by_name():
    label = labels.Label((("this is", "drive 1 of 1"), ("carrier", "W" * 1500)))
    with pytest.raises(BadInput, match="too long to be printed: this is: drive 1 of 1") as caught:
        labels.pdf(declared(), [label], "", DAY, None)
    assert caught.value.hint


printable = st.text(st.characters(codec="utf-8"), min_size=1, max_size=64).filter(
    lambda text: text.strip() and not strict.unprintable(text)
)


@settings(max_examples=25, deadline=None)
@given(carrier=printable, serial=st.from_regex(r"\A[!-~]{1,64}\Z"))
def test_any_name_is_printed_or_refused(carrier, serial):
    label = labels.Label((("this is", "drive 1 of 1"), ("carrier", carrier), ("serial", serial)))
    try:
        made = labels.pdf(declared(), [label], "", DAY, None)
    except BadInput:
        return
    assert made.startswith(b"%PDF-1.7")
