"""Papers for customs and carriers: invoice, packing list, general list of an ATA carnet, a sheet for each carrier.

What holds beside what every paper holds (paper.py): each lists all drives of the shipment, whoever carries them, and
what it lists adds up to the totals that it prints. Drives whose goods are not declared yet have a line of their own, so
that no paper of a draft looks smaller than the shipment. Procedures, codes and values are what the declaration claims.

The general list as CSV is RFC 4180 in UTF-8: a text that a spreadsheet would take for a formula has an apostrophe
before it, and `General.marked` counts these. Sources of what is asked of an invoice: 19 CFR 141.86, 15 CFR 758.6; of a
general list: Annex A of the Istanbul Convention on temporary admission.

What is not here: which of these is due, and files.
"""

from __future__ import annotations

import csv
import io
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, NamedTuple

from sealift.errors import BadInput
from sealift.formats.sizes import counted
from sealift.trade import paper, sheets, totals
from sealift.trade.paper import DASH, Cell, Column, money_lines, said
from sealift.trade.sheets import EMPTY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealift.trade.paper import Block, Frame, Paper
    from sealift.trade.sections import Carrier, Content, Drive, Goods
    from sealift.trade.totals import Money

Invoice = Literal["pro-forma", "commercial"]
_INVOICE: dict[Invoice, tuple[str, str]] = {
    "pro-forma": ("Pro-forma invoice", "Nothing here is sold: values are stated for customs alone."),
    "commercial": ("Commercial invoice", "Sold by the shipper to the consignee."),
}
CARNET = (
    "A carnet is for goods that all come back. It is wrong for drives that stay, are sold or are destroyed: declare "
    "these under another procedure."
)
NOT_DECLARED = "goods not declared yet"


def _customs(content: Content) -> Block:
    customs = content.customs
    back = {"yes": "yes: every drive comes back", "no": "no", "": ""}[customs.temporary]
    rows: list[tuple[str, Cell]] = [
        ("Export, claimed", said(customs.export_procedure)),
        ("Import, claimed", said(customs.import_procedure)),
        ("Temporary", said(back) + (f", by {customs.re_export_by}" if customs.re_export_by else "")),
        ("Terms (Incoterms 2020)", f"{said(customs.incoterm)} {said(customs.incoterm_place)}"),
    ]
    rows += [("ATA carnet", customs.carnet_no)] if customs.carnet_no else []
    rows += [("Declarations", ", ".join(customs.declaration_refs))] if customs.declaration_refs else []
    rows += [("EEI: ITN, or claimed", customs.eei)] if customs.eei else []
    for each in content.authorisations:
        until = f"{said(each.authority)} {said(each.number)}, until {said(each.expiry)}"
        rows.append(("Authorisation", f"{until}; {each.conditions}" if each.conditions else until))
    return paper.pairs("Customs", rows)


# --- invoice


def invoice(frame: Frame, kind: Invoice) -> Paper:
    """Lines of drives that are alike, with what one costs and all; charges; sums in each currency.

    Raises BadInput for a commercial invoice of goods that, as is declared, all come back.
    """
    content = frame.declaration
    if kind == "commercial" and content.customs.temporary == "yes":
        raise BadInput(
            "a commercial invoice is of goods that are sold, and customs.temporary says that every drive comes back",
            hint="a pro-forma invoice states values for customs alone: leave --invoice away",
        )
    title, why = _INVOICE[kind]
    return frame.paper(
        f"invoice-{kind}",
        title,
        [
            paper.pairs("Invoice", [("Number, date", f"{frame.number}, {frame.day.isoformat()}"), ("Kind", why)]),
            _customs(content),
            _goods_lines(frame),
            paper.table("Sums", [Column("", fr=1), Column("amount", mm=60, number=True)], _sums(frame)),
            paper.words("", ["Serial numbers, packages and weights of every drive are in the packing list."]),
            paper.signatures([("For the shipper", [said(content.shipper.legal_name)])]),
        ],
    )


def _goods_lines(frame: Frame) -> Block:
    columns = [
        Column("", mm=6, number=True),
        Column("goods", fr=1),
        Column("HS, ECCN", mm=27),
        Column("origin", mm=11),
        Column("pieces", mm=12, number=True),
        Column("value of one", mm=40, number=True),
        Column("customs value", mm=33, number=True),
    ]
    content = frame.declaration
    rows: list[list[Cell]] = [_goods_line(number, line) for number, line in enumerate(totals.lines(content), start=1)]
    if frame.whole.undeclared:
        rows.append([DASH, NOT_DECLARED, "", "", f"{frame.whole.undeclared:,}", "", DASH])
    foot: list[list[Cell]] = [
        ["", "All goods", "", "", f"{frame.whole.drives:,}", "", money_lines(frame.whole.customs)]
    ]
    return paper.table("Goods", columns, rows, foot=foot)


def _goods_line(number: int, line: totals.Line) -> list[Cell]:
    goods = line.goods
    return [
        str(number),
        [
            said(goods.description),
            f"{said(line.make)} {said(line.model)}, {sheets.size(line.capacity_bytes)}",
            f"drives {sheets.ranges(list(line.numbers))}",
        ],
        [f"{said(goods.hs_code)}", said(goods.hs_version), f"ECCN {said(goods.eccn)}"],
        said(goods.origin),
        f"{line.quantity:,}",
        [
            f"medium {_amount(goods.currency, goods.media_value)}",
            f"data {_amount(goods.currency, goods.data_value)}",
            f"customs: of {said(goods.valuation_basis)}",
        ],
        _money(goods.currency, line.value),
    ]


def _sums(frame: Frame) -> Iterator[list[Cell]]:
    content = frame.declaration
    yield ["Goods: the media", money_lines(frame.whole.media)]
    yield ["Goods: the data on them", money_lines(frame.whole.data)]
    yield ["Goods: customs value", money_lines(frame.whole.customs)]
    for charge in content.charges:
        yield [f"Charge: {said(charge.name)}", _amount(charge.currency, charge.amount)]
    both: Money = dict(frame.whole.customs)
    for currency, value in totals.charges(content).items():
        totals.add(both, currency, value)
    yield ["Customs value and charges", money_lines(both)]


def _amount(currency: str, text: str) -> str:
    return _money(currency, totals.amount(text)) if text else EMPTY


def _money(currency: str, value: Decimal) -> str:
    return f"{currency or EMPTY} {totals.written(currency, value)}"


# --- packing list


class Place(NamedTuple):
    """What a seal says of a drive: its place in a group, such as g0s1, and the label that it bears."""

    drive: str
    label: str


class Sealed(NamedTuple):
    """What a packing list says of a shipment's seal. `places` are by serial number."""

    shipment: str
    sealed_at: str
    blake3: str
    places: dict[str, Place]


def packing_list(frame: Frame, sealed: Sealed | None = None) -> Paper:
    """Every drive with package, serial number, seal, weights and carrier; the packages; `sealed` if there is a seal."""
    blocks: list[Block] = []
    if sealed is not None:
        known = f"{sealed.shipment}, sealed {sealed.sealed_at}"
        blocks.append(paper.pairs("Seal of the shipment", [("Shipment", known), ("BLAKE3 of the seal", sealed.blake3)]))
    return frame.paper("packing-list", "Packing list", [*blocks, _packages(frame), _packed(frame, sealed)])


def _packages(frame: Frame) -> Block:
    """What is in each package; drives that are in none have a line of their carrier."""
    content = frame.declaration
    inside: dict[tuple[str, str], list[int]] = {}
    for number, drive in enumerate(content.drives, start=1):
        inside.setdefault((drive.carrier, drive.package_no), []).append(number)
    rows: list[list[Cell]] = []
    for (carrier, package), numbers in inside.items():
        drives = [content.drives[number - 1] for number in numbers]
        seals = ", ".join(dict.fromkeys(drive.seal_no for drive in drives if drive.seal_no))
        found = totals.total(content, drives)
        held = [f"{found.drives:,}", *_weights(found)]
        rows.append([package or "in none", seals or DASH, said(carrier), sheets.ranges(numbers), *held])
    whole = frame.whole
    columns = [
        Column("package", fr=1),
        Column("seals", fr=1),
        Column("carrier", fr=1),
        Column("drives", fr=1.5),
        Column("count", mm=12, number=True),
        Column("net, kg", mm=17, number=True),
        Column("gross, kg", mm=17, number=True),
    ]
    foot: list[Cell] = [f"{paper.packages(whole)}", "", "", "", f"{whole.drives:,}", *_weights(whole)]
    return paper.table("Packages", columns, rows, foot=[foot])


def _packed(frame: Frame, sealed: Sealed | None) -> Block:
    content = frame.declaration
    kinds = _kinds(content)
    rows: list[list[Cell]] = []
    for number, drive in enumerate(content.drives, start=1):
        place = sealed.places.get(drive.serial) if sealed is not None else None
        serial = [said(drive.serial)] + ([f"{place.drive} {place.label}"] if place else [])
        where = _where(drive)
        weights = _weights(totals.total(content, [drive])) if drive.goods in kinds else [DASH, DASH]
        size = f"{drive.capacity_bytes:,}"
        rows.append([str(number), where, serial, _model(drive), size, *weights, said(drive.carrier)])
    columns = [
        Column("no.", mm=9, number=True),
        Column("package, seal", fr=1),
        Column("serial number", fr=2, whole=True),
        Column("make, model", fr=1.7),
        Column("capacity, bytes", mm=27, number=True),
        Column("net, kg", mm=14, number=True),
        Column("gross, kg", mm=14, number=True),
        Column("carrier", fr=1.2),
    ]
    whole = frame.whole
    foot: list[Cell] = [
        "",
        "",
        counted(whole.drives, "drive"),
        "",
        f"{whole.capacity_bytes:,}",
        *_weights(whole),
        "",
    ]
    return paper.table("Drives", columns, rows, foot=[foot])


def _weights(found: totals.Totals) -> list[Cell]:
    return [paper.kilograms(found.net_grams), paper.kilograms(found.gross_grams)]


def _where(drive: Drive) -> str:
    return f"{drive.package_no or DASH}{f', {drive.seal_no}' if drive.seal_no else ''}"


def _model(drive: Drive) -> str:
    return f"{said(drive.make)} {said(drive.model)}"


def _kinds(content: Content) -> dict[str, Goods]:
    return {goods.name: goods for goods in content.goods}


# --- general list of an ATA carnet


class General(NamedTuple):
    """The general list: the sheet, the same as CSV, and how many of its cells looked like a formula."""

    paper: Paper
    csv: bytes
    marked: int


class _Item(NamedTuple):
    number: int
    description: str
    marks: str
    serial: str
    grams: int
    currency: str
    value: Decimal
    origin: str
    carrier: str


def general_list(frame: Frame) -> General:
    """One item a drive, in the columns of a general list, with the day by which all are to be out again."""
    content = frame.declaration
    items = list(_items(content))
    columns = [
        Column("item", mm=9, number=True),
        Column("trade description of goods, marks and numbers", fr=1.7),
        Column("serial number", fr=1.2, whole=True),
        Column("pieces", mm=12, number=True),
        Column("weight, kg", mm=17, number=True),
        Column("value", mm=32, number=True),
        Column("origin", mm=12),
    ]
    rows: list[list[Cell]] = [
        [
            str(item.number),
            [item.description, item.marks],
            item.serial,
            "1",
            paper.kilograms(item.grams),
            _money(item.currency, item.value) if item.currency else DASH,
            item.origin,
        ]
        for item in items
    ]
    whole = frame.whole
    sums: list[Cell] = [
        "", "Total", "", f"{whole.drives:,}", paper.kilograms(whole.gross_grams), money_lines(whole.customs), "",
    ]  # fmt: skip
    until = [("Re-export of all by", said(content.customs.re_export_by))]
    until += [("Carnet", said(content.customs.carnet_no))]
    blocks = [
        paper.words("", [CARNET], warning=True),
        paper.pairs("", until),
        _customs(content),
        paper.table("General list", columns, rows, foot=[sums]),
        paper.signatures([("Holder", [said(content.shipper.legal_name)]), ("For customs", [])]),
    ]
    sheet = frame.paper("ata-general-list", "General list for an ATA carnet", blocks)
    return General(sheet, *_csv(frame, items))


def _items(content: Content) -> Iterator[_Item]:
    kinds = _kinds(content)
    for number, drive in enumerate(content.drives, start=1):
        goods = kinds.get(drive.goods)
        yield _Item(
            number=number,
            description=said(goods.description) if goods else NOT_DECLARED,
            marks=_model(drive),
            serial=said(drive.serial),
            grams=goods.gross_grams if goods else 0,
            currency=(goods.currency or EMPTY) if goods else "",
            value=totals.customs_value(goods) if goods else Decimal(0),
            origin=said(goods.origin) if goods else DASH,
            carrier=said(drive.carrier),
        )


_HEAD = (
    "item",
    "description",
    "marks",
    "serial_number",
    "pieces",
    "gross_kg",
    "value",
    "currency",
    "origin",
    "carrier",
)
# What spreadsheets take for the beginning of a formula, as OWASP lists it (CSV injection), in full width as well, and
# behind spaces, which some of them pass over.
_FORMULA = re.compile("\\A\\s*[=+\\-@\uff1d\uff0b\uff0d\uff20\\t\\r\\n|%]")


def _csv(frame: Frame, items: list[_Item]) -> tuple[bytes, int]:
    marked = 0

    def text(value: str) -> str:
        nonlocal marked
        if _FORMULA.match(value):
            marked += 1
            return "'" + value
        return value

    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
    writer.writerow(_HEAD)
    for item in items:
        what = [text(item.description), text(item.marks), text(item.serial)]
        amount = Decimal(totals.written(item.currency, item.value).replace(",", ""))
        weight = Decimal(item.grams).scaleb(-3)
        writer.writerow([item.number, *what, 1, weight, amount, *map(text, (item.currency, item.origin, item.carrier))])
    content = frame.declaration
    values = ", ".join(money_lines(frame.whole.customs))
    whole = f"{content.consignment_id}, the whole shipment: {counted(frame.whole.drives, 'drive')}, {values}"
    for note in (whole, CARNET, sheets.BASIS, *frame.marks):
        writer.writerow(["", text(note), *[""] * (len(_HEAD) - 2)])
    return "\N{BOM}".encode() + out.getvalue().encode(), marked


# --- a carrier's sheet


def hand_carry(frame: Frame, part: totals.Part, number: int) -> Paper:
    """What a carrier takes along and shows: all drives, its own marked; `number` is the carrier's row, from 1."""
    content, carrier = frame.declaration, part.carrier
    if carrier is None:
        raise BadInput("drives that no carrier has have no carrier's sheet")
    own, whole = part.totals, frame.whole
    of = f"of {whole.drives:,}"
    carried: list[tuple[str, Cell]] = [
        ("Carrier", [paper.carrier_name(carrier), *_whereabouts(carrier)]),
        (
            "Carries",
            f"drives {sheets.ranges(list(part.numbers))} {of}, marked > below: {counted(own.drives, 'drive')}",
        ),
        ("Of the gross weight", f"{totals.grams(own.gross_grams)} of {totals.grams(whole.gross_grams)}"),
        ("Of the customs value", _of_value(own, whole)),
    ]
    blocks = [
        paper.pairs("This carrier", carried),
        paper.words("", [_DECLARED.format(drives=counted(whole.drives, "drive"))]),
        _customs(content),
        paper.pairs("What it is for, and what is on the drives", _purpose(content)),
        _goods_lines(frame),
        _all_drives(frame, set(part.numbers)),
        paper.signatures([("Carrier", [paper.carrier_name(carrier)]), ("For customs", [])]),
    ]
    title = "Hand-carry declaration sheet"
    return frame.paper(f"hand-carry-{number}{_slug(carrier.name)}", title, blocks, about=carrier.name)


_DECLARED = (
    "These drives are goods of one shipment of {drives}, which is declared as a whole. Show this sheet to customs "
    "unasked; whoever carries a part of the shipment has a sheet with the same totals."
)


def _of_value(own: totals.Totals, whole: totals.Totals) -> list[str]:
    """One line a currency of the whole: EUR 57,600.00 of EUR 230,400.00."""
    lines = [
        f"{_money(currency, own.customs.get(currency, Decimal(0)))} of {_money(currency, value)}"
        for currency, value in sorted(whole.customs.items())
    ]
    return lines or [DASH]


def _whereabouts(carrier: Carrier) -> list[str]:
    known = [said(carrier.contact)] + ([carrier.address] if carrier.address else [])
    known += [f"register no. {carrier.registration_no}"] if carrier.registration_no else []
    if carrier.ultimate_parent:
        known.append(f"ultimate parent {carrier.ultimate_parent} ({said(carrier.parent_hq_country)})")
    return ["; ".join(known)]


def _purpose(content: Content) -> list[tuple[str, Cell]]:
    data = content.data
    return [
        ("End use", f"{said(content.end_use.class_)}: {said(content.end_use.text)}"),
        ("Site", f"{said(content.site.operator)}, {said(content.site.address)}, {said(content.site.country)}"),
        ("Data", f"{said(data.summary)}; about {sheets.size(data.source_bytes)}"),
        ("Licence", said(data.licence_basis)),
        ("Personal data", said(data.personal_data)),
        ("Encryption", f"{said(content.encryption.scheme)}; keys travel separately: {_keys(content)}"),
    ]


def _keys(content: Content) -> str:
    return said(content.encryption.keys_travel_separately)


def _all_drives(frame: Frame, own: set[int]) -> Block:
    content = frame.declaration
    rows: list[list[Cell]] = []
    for number, drive in enumerate(content.drives, start=1):
        mark = ">" if number in own else ""
        where = _where(drive)
        size = f"{drive.capacity_bytes:,}"
        rows.append([mark, str(number), said(drive.serial), _model(drive), where, size, said(drive.carrier)])
    columns = [
        Column("", mm=5),
        Column("no.", mm=9, number=True),
        Column("serial number", fr=1.8, whole=True),
        Column("make, model", fr=1.7),
        Column("package, seal", fr=1),
        Column("capacity, bytes", mm=27, number=True),
        Column("carrier", fr=1.2),
    ]
    whole = frame.whole
    foot: list[Cell] = ["", "", counted(whole.drives, "drive"), "", "", f"{whole.capacity_bytes:,}", ""]
    return paper.table("All drives", columns, rows, foot=[foot], strong=[number - 1 for number in sorted(own)])


def _slug(name: str) -> str:
    """What of a name may stand in a file's name: -anna of Anna, nothing of a name in other letters."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-")[:40].strip("-")
    return f"-{plain}" if plain else ""
