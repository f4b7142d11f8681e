"""Every paper shows the whole shipment, and what is on it adds up, to the gram and the smallest part of a currency."""

import csv
import dataclasses
import io
import itertools
import json
from decimal import Decimal

import msgspec
import paper_cases as cases
import pytest
import test_receipt
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_sheets import released
from trade_cases import related

from sealift.errors import BadInput, Refused
from sealift.trade import declaration as d
from sealift.trade import gate, glyphs, paper, papers_arrival, papers_customs, papers_gate, sections, sheets, totals
from sealift.trade.glyphs import isolated

FULL = cases.full()
EVERY = [*cases.of_declaration(cases.frame(FULL)), *cases.of_records()]
EACH = pytest.mark.parametrize("made", EVERY, ids=lambda made: f"{made.name}-{made.data['about']}")


def block(made, title):
    (found,) = [each for each in made.data["blocks"] if each.get("title") == title]
    return found


def texts(value):
    """Every text of a paper's data."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)


def plain(text):
    return Decimal(text.replace(",", ""))


def money(cell):
    """{currency: amount} of the lines of a cell."""
    return {line.rsplit(" ", 1)[0]: plain(line.rsplit(" ", 1)[1]) for line in cell if line != paper.DASH}


def summed(cells):
    found = {}
    for cell in cells:
        for currency, value in money(cell).items():
            found[currency] = found.get(currency, Decimal(0)) + value
    return found


def number(cell):
    return Decimal(0) if cell[0] in {paper.DASH, ""} else plain(cell[0])


def column(table, head):
    return [each["head"] for each in table["columns"]].index(head)


def adds_up(rows, foot, numbers, amounts=()):
    """What is printed in the rows comes to what is printed in the foot."""
    for at in numbers:
        assert sum(number(row[at]) for row in rows) == number(foot[at])
    for at in amounts:
        assert without_nothing(summed(row[at] for row in rows)) == without_nothing(money(foot[at]))


def without_nothing(found):
    return {currency: value for currency, value in found.items() if value}


# --- the rules of the house


@EACH
def test_every_paper_has_the_whole_shipment_all_carriers_and_all_parties(made):
    whole = block(made, paper.WHOLE)
    said = list(texts(whole))
    shown = FULL if made.data["title"] not in {each.data["title"] for each in cases.of_records()} else None
    assert "The whole shipment" in said
    if shown is not None:
        assert "All of these shipments together" in said
        for carrier in shown.carriers:
            assert any(text.startswith(f"{isolated(carrier.name)} (") for text in said)
        parties = list(texts(block(made, "Parties")))
        names = [each.legal_name for each in (shown.shipper, shown.consignee, shown.end_user)]
        names += ["马来亚计算有限公司", "Broker & Söhne", "Old User Ltd, until revision 2: merged", "Quarter Holding"]
        assert [name for name in names if not any(name in text for text in parties)] == []
        assert sum("ultimate parent" in text for text in parties) == 4
    for at in (1, 3, 4, 5):
        carriers = itertools.takewhile(lambda row: row[0] != ["The whole shipment"], whole["rows"])
        (total,) = [row for row in whole["rows"] if row[0] == ["The whole shipment"]]
        assert sum(number(row[at]) for row in carriers) == number(total[at])


@EACH
def test_every_paper_says_draft_id_and_basis(made):
    assert made.data["marks"] == ["DRAFT"]
    assert made.data["mark_lines"] == [sheets.DRAFT]
    assert made.data["consignment"] == "SL-2026-4F7K2Q"
    assert made.name.startswith("SL-2026-4F7K2Q-")
    assert made.data["foot"][0] == sheets.BASIS == "Prepared from the user's statements; not legal advice."
    assert made.data["foot"][2] == "Not released."


def test_a_released_paper_is_no_draft_and_says_who_released_it():
    for made in cases.of_declaration(cases.frame(FULL, final=True)):
        assert made.data["marks"] == made.data["mark_lines"] == []
        assert "O. Fficer" in made.data["foot"][2]


def test_a_rehearsal_says_so_on_every_paper():
    for made in cases.of_declaration(cases.frame(cases.full(rehearsal=True), final=True)):
        assert made.data["marks"] == ["REHEARSAL"]


def test_a_release_of_another_declaration_makes_no_paper():
    other = d.parse(FULL.raw + b"#\n", draft=False)
    with pytest.raises(Refused):
        paper.Frame.of(other, released(FULL), cases.DAY)


def test_nothing_is_called_exempt_and_procedures_are_claimed():
    for made in EVERY:
        assert [text for text in texts(made.data) if "exempt" in text.lower()] == []
    for made in cases.of_declaration(cases.frame(FULL)):
        for each in made.data["blocks"]:
            if each["title"] == "Customs":
                labels = [row[0] for row in each["rows"]]
                assert {"Export, claimed", "Import, claimed", "EEI: ITN, or claimed"} <= set(labels)


@EACH
def test_no_number_of_a_paper_is_a_float(made):
    def floats(value, path=""):
        if isinstance(value, float):
            yield path
        for key, each in (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        ):
            yield from floats(each, f"{path}.{key}")

    assert [path for path in floats(json.loads(json.dumps(made.data))) if not path.endswith(".fr")] == []


# --- totals agree


@pytest.mark.long
@settings(max_examples=120, deadline=None)
@given(cases.drawn())
def test_whatever_is_declared_all_papers_agree_to_the_gram_and_the_cent(declaration):
    shown = cases.frame(declaration)
    papers = cases.of_declaration(shown)
    (whole,) = {json.dumps(block(made, paper.WHOLE), ensure_ascii=False) for made in papers}
    table = json.loads(whole)
    total = next(row for row in table["rows"] if row[0] == ["The whole shipment"])
    before = table["rows"][: table["rows"].index(total)]
    adds_up(before, total, (1, 3, 4, 5), (6,))
    if declaration.related_shipments:
        together = table["rows"][-1]
        adds_up([row for row in table["rows"][:-1] if row not in before], together, (1, 3, 5), (6,))
    kinds = {goods.name: goods for goods in declaration.goods}
    known = [kinds[drive.goods] for drive in declaration.drives if drive.goods]
    assert number(total[5]) * 1000 == sum(goods.gross_grams for goods in known)
    exact = {}
    for goods in known:
        value = Decimal(goods.media_value) + (goods.valuation_basis != "media") * Decimal(goods.data_value)
        exact[goods.currency] = exact.get(goods.currency, Decimal(0)) + value
    assert money(total[6]) == exact
    _lists_add_up(papers, shown, total)


def _lists_add_up(papers, shown, total):
    invoice, packing, general = papers[:3]
    goods, sums = block(invoice, "Goods"), block(invoice, "Sums")
    adds_up(goods["rows"], goods["foot"][0], (4,), (6,))
    assert goods["foot"][0][6] == total[6]
    assert goods["foot"][0][4] == total[1]
    customs = next(at for at, row in enumerate(sums["rows"]) if row[0] == ["Goods: customs value"])
    assert sums["rows"][customs][1] == total[6]
    assert without_nothing(summed(row[1] for row in sums["rows"][customs:-1])) == without_nothing(
        money(sums["rows"][-1][1])
    )
    for title, numbers in (("Packages", (4, 5, 6)), ("Drives", (4, 5, 6))):
        table = block(packing, title)
        adds_up(table["rows"], table["foot"][0], numbers)
        assert [table["foot"][0][at] for at in (5, 6)] == [total[4], total[5]]
    assert len(block(packing, "Drives")["rows"]) == len(shown.declaration.drives)
    assert block(packing, "Drives")["foot"][0][4] == total[3]
    items = block(general, "General list")
    adds_up(items["rows"], items["foot"][0], (3, 4), (5,))
    assert [items["foot"][0][at] for at in (3, 4, 5)] == [total[1], total[5], total[6]]
    for sheet in papers[3:-3]:
        drives = block(sheet, "All drives")
        adds_up(drives["rows"], drives["foot"][0], (5,))
        assert drives["foot"][0][5] == total[3]
        assert block(sheet, "Goods") == goods


@settings(max_examples=60, deadline=None)
@given(cases.drawn())
def test_parts_are_the_whole(declaration):
    parts, whole = totals.parts(declaration), totals.total(declaration)
    assert sorted(number for part in parts for number in part.numbers) == list(range(1, whole.drives + 1))
    for name in ("drives", "packages", "loose", "capacity_bytes", "net_grams", "gross_grams", "undeclared"):
        assert sum(getattr(part.totals, name) for part in parts) == getattr(whole, name)
    assert [part.carrier for part in parts][: len(declaration.carriers)] == declaration.carriers


def test_two_carriers_of_one_name_are_counted_once_in_a_draft():
    twice = [sections.Carrier(name="Anna"), sections.Carrier(name="Anna")]
    parts = totals.parts(cases.drafted(carriers=twice))
    assert [part.totals.drives for part in parts] == [4, 0, 4]


def test_a_draft_counts_what_is_not_declared_yet():
    bare = [msgspec.structs.replace(drive, goods="", carrier="") for drive in cases.drives(4)]
    shown = cases.frame(cases.drafted(drives=bare, customs=cases.CUSTOMS))
    papers = cases.of_declaration(shown)
    for made in papers:
        assert "goods of 4 drives" in list(texts(made.data))
        assert "No carrier is named yet" in list(texts(block(made, paper.WHOLE)))
    assert block(papers[0], "Goods")["rows"][-1][1] == [papers_customs.NOT_DECLARED]
    assert block(papers[0], "Goods")["rows"][-1][4] == ["4"]


# --- invoice


def test_the_invoice_has_lines_charges_and_sums_in_each_currency():
    made = papers_customs.invoice(cases.frame(FULL), "pro-forma")
    goods = block(made, "Goods")
    assert [(row[4], row[6]) for row in goods["rows"]] == [(["20"], ["USD 10,246.80"]), (["40"], ["EUR 230,400.00"])]
    sums = {row[0][0]: row[1] for row in block(made, "Sums")["rows"]}
    assert sums["Goods: the media"] == ["EUR 230,400.00", "USD 9,999.80"]
    assert sums["Goods: the data on them"] == ["EUR 0.00", "USD 247.00"]
    assert sums["Charge: insurance"] == ["USD 310.50"]
    assert sums["Customs value and charges"] == ["EUR 231,650.00", "USD 10,557.30"]
    assert "SL-2026-4F7K2Q-R2, 2026-11-26" in list(texts(made.data))


def test_a_commercial_invoice_is_of_goods_that_are_sold():
    with pytest.raises(BadInput, match="every drive comes back") as caught:
        papers_customs.invoice(cases.frame(FULL), "commercial")
    assert "pro-forma" in caught.value.hint
    sold = cases.full(customs=msgspec.structs.replace(cases.CUSTOMS, temporary="no", carnet_no="", re_export_by=""))
    made = papers_customs.invoice(cases.frame(sold), "commercial")
    assert (made.name, made.title) == ("SL-2026-4F7K2Q-invoice-commercial", "Commercial invoice")


# --- packing list


def test_the_packing_list_has_every_drive_with_package_seal_and_place():
    places = {"SER00001": papers_customs.Place("g0s1", "cd072c-02of60")}
    sealed = papers_customs.Sealed("cd072cd8be6f9f62", "2026-11-25T08:00:00Z", "ab" * 32, places)
    made = papers_customs.packing_list(cases.frame(FULL), sealed)
    rows = block(made, "Drives")["rows"]
    assert [row[2][0] for row in rows] == [drive.serial for drive in FULL.drives]
    assert rows[1][1:3] == [["1, H-100417"], ["SER00001", "g0s1 cd072c-02of60"]]
    assert "cd072cd8be6f9f62, sealed 2026-11-25T08:00:00Z" in list(texts(block(made, "Seal of the shipment")))
    packages = block(made, "Packages")
    assert packages["foot"][0][0] == ["12"]
    assert sum(number(row[4]) for row in packages["rows"]) == 60


# --- general list


def read_csv(general):
    return list(csv.reader(io.StringIO(general.csv.decode("utf-8-sig"), newline="")))


def test_the_general_list_as_csv_says_what_the_sheet_says():
    general = papers_customs.general_list(cases.frame(FULL))
    head, *rows = read_csv(general)
    items = [dict(zip(head, row, strict=True)) for row in rows if row[0]]
    sheet = block(general.paper, "General list")
    assert [(each["serial_number"], each["gross_kg"]) for each in items] == [
        (row[2][0], row[4][0]) for row in sheet["rows"]
    ]
    assert sum(Decimal(each["gross_kg"]) for each in items) == number(sheet["foot"][0][4])
    for currency, value in money(sheet["foot"][0][5]).items():
        assert sum(Decimal(each["value"]) for each in items if each["currency"] == currency) == value
    notes = [row[1] for row in rows if not row[0]]
    assert papers_customs.CARNET in notes
    assert sheets.DRAFT in notes
    assert general.marked == 0


def test_the_general_list_warns_and_says_when_all_is_to_be_out():
    made = papers_customs.general_list(cases.frame(FULL)).paper
    (warning,) = [each for each in made.data["blocks"] if each.get("warning")]
    assert warning["paragraphs"] == [papers_customs.CARNET]
    assert "stay, are sold or are destroyed" in papers_customs.CARNET
    assert "2027-05-20" in list(texts(made.data))


FORMULAS = ["=1+1", "+49", "-2", "@SUM(A1)", "  =1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff201", "|calc", "%x"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_of_the_csv_is_a_formula(text):
    carriers = [msgspec.structs.replace(cases.CARRIERS[0], name=text.replace("=", "@"))]
    drives = [
        msgspec.structs.replace(each, make=text, carrier=carriers[0].name, serial=f"=cmd|'{number}'!A0")
        for number, each in enumerate(cases.drives(3))
    ]
    goods = [msgspec.structs.replace(each, description=text) for each in (cases.GOODS, cases.DISK)]
    general = papers_customs.general_list(cases.frame(cases.drafted(carriers=carriers, drives=drives, goods=goods)))
    rows = read_csv(general)
    for cell in itertools.chain(*rows):
        assert not cell.lstrip().startswith(tuple("=+-@|%\uff1d\uff0b\uff0d\uff20\t\r"))
    assert general.marked == 3 * 4
    assert [row[3] for row in rows[1:4]] == [f"'=cmd|'{number}'!A0" for number in range(3)]


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=30))
def test_any_text_comes_back_from_the_csv(text):
    assume(not glyphs.unpainted(text))  # no paper is made of what none can print
    goods = [msgspec.structs.replace(each, description=text) for each in (cases.GOODS, cases.DISK)]
    content = msgspec.structs.replace(FULL, goods=goods)
    general = papers_customs.general_list(paper.Frame.of(content, None, cases.DAY))
    said = read_csv(general)[1][1].removeprefix("'") if general.marked else read_csv(general)[1][1]
    assert said == paper.said(text)


# --- what is signed


@EACH
def test_boxes_for_signatures_have_what_is_signed_on_their_page(made):
    """They may stand on a page of their own: the block is never broken, and says of which whole shipment it is."""
    whole = block(made, paper.WHOLE)
    row = next(row for row in whole["rows"] if row[0] == ["The whole shipment"])
    found = [each for each in made.data["blocks"] if each["kind"] == "signatures"]
    assert len(found) == (not made.name.endswith(("packing-list", "screening-report", "red-flags-and-release")))
    for boxes in found:
        said = boxes["paragraphs"][0]
        assert said.startswith(f"{made.title}{', ' if made.data['about'] else ''}{made.data['about']}, of ")
        assert made.data["consignment"] in said
        for cell in (row[1], row[3], row[5], *([each] for each in row[6])):
            assert cell[0] in said, (cell, said)
        together = [row for row in whole["rows"] if row[0] == ["All of these shipments together"]]
        assert ("With the related shipments" in said) == bool(together)


# --- a carrier's sheet


def test_a_carriers_sheet_marks_its_drives_among_all():
    shown = cases.frame(FULL)
    for at, part in enumerate(shown.parts, start=1):
        made = papers_customs.hand_carry(shown, part, at)
        drives = block(made, "All drives")
        assert len(drives["rows"]) == 60
        assert [row[1] for row in drives["rows"] if row[0] == [">"]] == [[str(number)] for number in part.numbers]
        assert drives["strong"] == [number - 1 for number in part.numbers]
        assert made.data["about"] == part.carrier.name
        assert "declared as a whole" in " ".join(texts(made.data))
    names = [papers_customs.hand_carry(shown, part, at).name for at, part in enumerate(shown.parts, start=1)]
    assert [name.removeprefix("SL-2026-4F7K2Q-") for name in names] == [
        "hand-carry-1-anna", "hand-carry-2-bo", "hand-carry-3", "hand-carry-4"
    ]  # fmt: skip


@given(st.text(max_size=64))
def test_no_name_of_a_carrier_leads_out_of_the_folder(name):
    assert set(papers_customs._slug(name)) <= set("-abcdefghijklmnopqrstuvwxyz0123456789")
    assert len(papers_customs._slug(name)) <= 41


def test_the_birth_date_of_a_carrier_is_printed_nowhere():
    carriers = [msgspec.structs.replace(each, birth_date="1971-03-04") for each in cases.CARRIERS]
    for made in cases.of_declaration(cases.frame(cases.full(carriers=carriers))):
        assert "1971-03-04" not in json.dumps(made.data)


# --- decision


def test_the_worksheet_has_every_rule_answer_and_who_released_and_why():
    made = papers_gate.worksheet(cases.frame(FULL, final=True), cases.VERDICT)
    count = len(cases.ROWS)
    assert block(made, "Verdict")["paragraphs"] == [
        f"{count} rules: {count - 2} clear, 1 resolved, 1 held. The gate is closed."
    ]
    assert block(made, "Verdict")["warning"]
    rows = block(made, "Rules")["rows"]
    assert [row[0][0] for row in rows] == [row.rule.id for row in cases.ROWS]
    assert block(made, "Rules")["strong"] == [1]
    assert rows[0][1] == [cases.ROWS[0].rule.question, f"{cases.ROWS[0].rule.source}, as of {cases.ROWS[0].rule.as_of}"]
    answered = papers_gate.worksheet(cases.frame(cases.full(answers=cases.ANSWERS)), cases.VERDICT)
    assert block(answered, "Answers of the declaration")["rows"] == [
        [["parent-d5-training"], ["yes"], ["opinion EX-77"], ["O. Fficer, 2026-11-21"]]
    ]
    said, why = list(texts(block(made, "Release"))), released(FULL).record
    assert [
        each for each in ("O. Fficer, 2026-11-23T12:00:00Z", why.reason, why.reference, "A. Author") if each not in said
    ] == []
    verdict = cases.VERDICT
    assert f"edition {verdict.rules.edition}, BLAKE3 {verdict.rules.digest}" in set(texts(made.data))
    clear = gate.Verdict(verdict.rules, "", rehearsal=False, rows=[row._replace(state="clear") for row in cases.ROWS])
    open_ = papers_gate.worksheet(cases.frame(FULL), clear)
    assert block(open_, "Verdict")["paragraphs"] == [f"{count} rules: {count} clear. Nothing holds the release."]
    held = papers_gate.worksheet(cases.frame(FULL), "the record of keys is not beside it")
    assert block(held, "Verdict")["paragraphs"] == [
        "The rules were not evaluated for this paper: the record of keys is not beside it."
    ]
    assert block(held, "Release")["warning"]


def test_the_screening_report_has_lists_with_digests_and_every_hit():
    made = cases.of_records()[0]
    (row,) = block(made, "Lists")["rows"]
    assert row[0] == ["csl.csv", cases.screening_cases.csl().files[0].sha256]
    hits = block(made, "Hits")["rows"]
    assert len(hits) == 2
    assert hits[0][4] == ["potential: nobody has decided"]
    assert block(made, "What holds the release")["warning"]
    decided = cases.of_records()[1]
    assert "false positive: another firm, by its register" in list(texts(block(decided, "Hits")))


def test_a_screening_that_nobody_checked_says_so():
    record = cases.screening_cases.screened()
    unchecked = papers_gate.Screened(record, "cd" * 32, "", "", [])
    made = papers_gate.screening_report(cases.frame(cases.screening_cases.like()), unchecked)
    assert "S. Screener; signature not checked: no allowed signers were given" in list(texts(made.data))


# --- way and arrival


def test_a_custody_form_shows_who_signs_by_hand_and_the_code_of_the_checkpoint():
    recorded, before = cases.of_records()[2:4]
    for made in (recorded, before):
        (boxes,) = [each for each in made.data["blocks"] if each["kind"] == "signatures"]
        assert [side for side, _ in boxes["sides"]] == ["Released by", "Received by"]
        assert papers_arrival.BY_HAND in boxes["sides"][1][1]
        assert boxes["sides"][0][1][2].startswith("signs by key SHA256:")
    (code,) = [each for each in recorded.data["blocks"] if each["kind"] == "code"]
    assert code["lines"][1].startswith("SEALIFT-CUSTODY:1:SL-2026-4F7K2Q:2:")
    assert "NOT YET RECORDED" in json.dumps(before.data)
    assert "NOT YET RECORDED" not in json.dumps(recorded.data)


def test_a_custody_form_of_another_consignment_is_refused():
    event = cases.custody_cases.sealed().event("seal", "origin", "origin", [])
    with pytest.raises(Refused, match="SL-2026-OTHER7"):
        papers_arrival.custody_form(
            cases.frame(FULL), msgspec.structs.replace(event, consignment_id="SL-2026-OTHER7"), "x"
        )


def test_the_discrepancy_report_lists_what_is_not_as_it_was_sent():
    made = papers_arrival.discrepancy_report(cases.frame(FULL), cases.REPORT)
    wrong = block(made, "Drives that are not as they were sent")["rows"]
    assert [(row[0][0], row[4][0]) for row in wrong] == [("3 of 60", "missing"), ("9 of 60", "missing")]
    came = block(made, "What came, by carrier")
    adds_up(came["rows"], came["foot"][0], range(1, 7))
    assert number(came["foot"][0][1]) == 60
    other = msgspec.structs.replace(cases.REPORT, consignment_id="SL-2026-OTHER7")
    with pytest.raises(Refused, match="SL-2026-OTHER7"):
        papers_arrival.discrepancy_report(cases.frame(FULL), other)


def test_rules_that_are_not_as_shipped_are_named_on_every_paper():
    shown = cases.frame(FULL, final=True)
    changed = msgspec.structs.replace(shown.release.record.rules, changed=["diversion: asks otherwise"])
    record = msgspec.structs.replace(shown.release.record, rules=changed)
    shown = dataclasses.replace(shown, release=shown.release._replace(record=record))
    for made in cases.of_declaration(shown):
        assert ["Rules not as shipped", ["diversion: asks otherwise"]] in made.data["blocks"][0]["rows"]
    for made in EVERY:
        assert "Rules not as shipped" not in list(texts(made.data["blocks"][0]))


def test_only_what_was_verified_has_a_certificate_of_delivery():
    received, got = cases.frame(test_receipt.DECLARED.declaration), cases.checked_receipt()
    group = got.record.groups[1]
    lost = next(drive for drive in group.drives if drive.state == "lost")
    with pytest.raises(Refused, match="not verified"):
        papers_arrival.delivery_certificate(received, got, group, lost)
    remade = msgspec.structs.replace(lost, state="rebuilt", read_at=got.record.at, made_on="WD-9")
    with pytest.raises(
        Refused, match=f"{lost.serial}, was made again on another medium: its delivery was not verified"
    ):
        papers_arrival.delivery_certificate(received, got, group, remade)
    with pytest.raises(Refused, match="not of this declaration"):
        papers_arrival.delivery_certificate(cases.frame(FULL), got, group, group.drives[1])
    made = papers_arrival.delivery_certificate(received, got, group, group.drives[1])
    said = list(texts(block(made, "Delivery verified")))
    assert any(got.file.blake3 in each for each in said)
    assert any(got.fingerprint in each for each in said)


def test_the_sanitization_certificate_says_all_that_the_record_says():
    made = cases.of_records()[-1]
    said = " ".join(texts(made.data))
    record = cases.test_certificate.RECORD
    for each in (record.media.serial, record.method, record.completion.answer, record.log.blake3, *record.not_checked):
        assert each in said
    bare = msgspec.structs.replace(record, destination="", media=msgspec.structs.replace(record.media, firmware=""))
    told = block(papers_arrival.sanitization_certificate(cases.frame(FULL), bare, "x", "y", 1),
                 "Sanitization, fields of NIST SP 800-88 Rev. 2, 4.6")["rows"]  # fmt: skip
    assert [value for label, value in told if label in {"firmware", "destination"}] == [[paper.DASH], [paper.DASH]]
    other = msgspec.structs.replace(record, consignment_id="SL-2026-OTHER7")
    with pytest.raises(Refused, match="not of this shipment"):
        papers_arrival.sanitization_certificate(cases.frame(FULL), other, "x", "y", 1)


def test_where_a_party_stands_is_not_broken_within_a_word():
    assert papers_gate._ref("encryption.recipients[1].organisation") == [
        "encryption",
        ".recipients[1]",
        ".organisation",
    ]
    report = next(each for each in cases.of_records() if each.name.endswith("screening-report"))
    tables = [
        each for each in report.data["blocks"] if each["kind"] == "table" and each["columns"][0]["head"] == "party"
    ]
    cells = [row[0] for each in tables for row in each["rows"]]
    assert all("." not in line[1:] for cell in cells for line in cell)
    assert any(len(cell) > 1 for cell in cells)


def test_related_shipments_are_listed_and_summed():
    many = cases.full(related_shipments=[related(f"SL-2026-OTHER{number}") for number in range(3)])
    whole = block(papers_customs.packing_list(cases.frame(many)), paper.WHOLE)
    assert [row[0][0] for row in whole["rows"][5:]] == [
        *(f"Related: SL-2026-OTHER{number}, 2026-10-01" for number in range(3)), "All of these shipments together"
    ]  # fmt: skip
    assert whole["rows"][-1][6] == ["EUR 230,400.00", "USD 10,547.10"]
