"""What every paper of a shipment is made of: the frame that shows the whole shipment, and blocks to fill it with.

    frame = Frame.of(declaration, release, day)              once a shipment
    frame.paper("packing-list", "Packing list", blocks)      a Paper: its name, and the data of papers/paper.typ

What holds of a Paper, since there is no other way to make one: it begins with the consignment, its leg and what it
answers; it has the whole shipment, carrier by carrier, whose rows add up to the totals below them, and those of the
related shipments, and boxes for signatures have these totals above them again; it names every party with ultimate
parent, and whoever a party took the place of. Its marks say DRAFT
unless it was given the release of exactly this declaration, and REHEARSAL of a rehearsal; where that was by rules that
differ from those shipped, it names each. Its foot says what it is prepared from. Numbers come from totals.py as whole
grams, bytes and decimal amounts, and are text from here on. Data is JSON of texts that the template places and never
reads as markup; of texts that others wrote, what no font has stands there as its number (glyphs.py).

A block is a dict that the template knows: `pairs`, `table`, `words`, `signatures`, `code`. What is not here: which
papers there are (papers_*.py), pages (papers/paper.typ), files (stages/documents.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sealift.errors import BadInput
from sealift.formats import strict
from sealift.formats.sizes import counted
from sealift.trade import glyphs, sheets, totals
from sealift.trade.glyphs import isolated
from sealift.trade.sheets import EMPTY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from sealift.trade.declaration import Declaration
    from sealift.trade.release import Release
    from sealift.trade.sections import Carrier, Intermediate, Party
    from sealift.trade.totals import Money, Part, Totals

Block = dict[str, Any]
Cell = str | list[str]  # one line, or several
DASH = "\N{EN DASH}"


class Paper(NamedTuple):
    """One paper: the end of its file's name, its title, and what the template gets."""

    name: str
    title: str
    data: dict[str, Any]


# --- blocks ----------------------------------------------------------------------------------------------


class Column(NamedTuple):
    """Of a table: its head, its width (fr: a share of what is left; mm), and whether it is of numbers.

    `whole`: its words are copied by hand and compared, such as serial numbers. None that fits a line is on two.
    """

    head: str
    fr: float = 0
    mm: float = 0
    number: bool = False
    whole: bool = False


def pairs(title: str, rows: Iterable[tuple[str, Cell]]) -> Block:
    """Labels with what they are of; an empty text is shown as not filled in."""
    return {"kind": "pairs", "title": title, "rows": [[label, lines(value)] for label, value in rows]}


def table(
    title: str,
    columns: Sequence[Column],
    rows: Iterable[Sequence[Cell]],
    *,
    foot: Iterable[Sequence[Cell]] = (),
    strong: Iterable[int] = (),
) -> Block:
    """Rows under heads that are repeated on every page; `foot` are totals, `strong` rows (from 0) are set in bold."""
    return {
        "kind": "table",
        "title": title,
        "columns": [column._asdict() for column in columns],
        "rows": [[lines(cell) for cell in row] for row in rows],
        "foot": [[lines(cell) for cell in row] for row in foot],
        "strong": list(strong),
    }


def words(title: str, paragraphs: Iterable[str], *, warning: bool = False) -> Block:
    """Paragraphs; a warning is framed."""
    return {"kind": "words", "title": title, "paragraphs": list(paragraphs), "warning": warning}


def signatures(sides: Iterable[tuple[str, Sequence[str]]], *, title: str = "", paragraphs: Iterable[str] = ()) -> Block:
    """A box a side: its title, what is known of who signs, and room for a signature by hand.

    `paragraphs` are what they sign, which stands on the same page; it is to be short. A Frame puts the whole shipment
    before them.
    """
    boxes = [[side, list(known)] for side, known in sides]
    return {"kind": "signatures", "title": title, "paragraphs": list(paragraphs), "sides": boxes}


def code(title: str, svg: str, known: Sequence[str]) -> Block:
    """A QR code (typeset.qr_svg) with lines beside it."""
    return {"kind": "code", "title": title, "svg": svg, "lines": list(known)}


def lines(cell: Cell) -> list[str]:
    """The lines of a cell."""
    return [cell] if isinstance(cell, str) else list(cell)


def said(text: str) -> str:
    """A text of the declaration, or that it is not filled in."""
    return isolated(text) if text.strip() else EMPTY


def money_lines(found: Money) -> list[str]:
    """One line a currency, exact; a dash where there is no amount."""
    shown = sorted(found.items())
    return [f"{currency or EMPTY} {totals.written(currency, value)}" for currency, value in shown] or [DASH]


def packages(found: Totals) -> str:
    """How many packages, and how many drives are in none that is named."""
    if not found.packages:
        return f"{DASH}" if not found.loose else f"not stated for {counted(found.loose, 'drive')}"
    loose = f", and {counted(found.loose, 'drive')} in none" if found.loose else ""
    return f"{found.packages:,}{loose}"


# --- the frame -------------------------------------------------------------------------------------------

WHOLE = "The whole shipment, by carrier"
_WHOLE_COLUMNS = (
    Column("", fr=1),
    Column("drives", mm=12, number=True),
    Column("packages", mm=20, number=True),
    Column("capacity, bytes", mm=34, number=True),
    Column("net, kg", mm=17, number=True),
    Column("gross, kg", mm=17, number=True),
    Column("customs value", mm=33, number=True),
)


@dataclass(frozen=True)
class Frame:
    """A shipment as all its papers show it; made once, since all of them show the same."""

    declaration: Declaration
    release: Release | None
    day: date
    parts: list[Part]
    whole: Totals
    together: Totals
    against: tuple[str, ...] = ()  # why a release that was given does not stand; then `release` is None

    @classmethod
    def of(cls, declaration: Declaration, release: Release | None, day: date, against: tuple[str, ...] = ()) -> Frame:
        """The frame; Refused when `release` is of another declaration, BadInput when it says what no font can paint.

        `day` is when the papers are prepared.

        `against` says why the release does not stand: then papers are drafts, as without one, and say why.
        """
        sheets.check_release_is_of(declaration, release)
        if faults := glyphs.faults(declaration):
            raise BadInput(
                f"no paper can print what the declaration says, {strict.shown(faults)}",
                hint="write it otherwise; of what is released: sealift declare --revise begins the next revision",
            )
        found = totals.total(declaration), totals.with_related(declaration)
        return cls(declaration, None if against else release, day, totals.parts(declaration), *found, against)

    @property
    def number(self) -> str:
        """By which a paper is cited: consignment and revision."""
        return f"{self.declaration.consignment_id}-R{self.declaration.revision}"

    def paper(self, name: str, title: str, blocks: Iterable[Block], *, about: str = "") -> Paper:
        """A paper of this shipment; `about` is what it is of, where that is less than all, such as "drive 3 of 60"."""
        declaration = self.declaration
        blocks = [self._signed(each, title, about) if each["kind"] == "signatures" else each for each in blocks]
        data = {
            "title": title,
            "about": about,
            "consignment": declaration.consignment_id,
            "marks": [mark.partition(" ")[0] for mark in self.marks],
            "mark_lines": self.marks,
            "blocks": [self._identity(), self._whole(), self._parties(), *blocks],
            "foot": [
                sheets.BASIS,
                f"Declaration revision {declaration.revision}, BLAKE3 {declaration.digest}",
                self.release.summary if self.release is not None else self._not_released,
            ],
        }
        return Paper(f"{declaration.consignment_id}-{name}", title, _painted(data))

    def _signed(self, boxes: Block, title: str, about: str) -> Block:
        """Boxes with what is signed in them: on the last page they may be all that there is."""
        content, whole = self.declaration, self.whole
        carriers, value = counted(len(content.carriers), "carrier"), ", ".join(money_lines(whole.customs))
        what = (
            f"{title}{', ' if about else ''}{about}, of {self.number}. The whole shipment: "
            f"{counted(whole.drives, 'drive')} by {carriers}, {whole.capacity_bytes:,} bytes,"
            f" {totals.grams(whole.gross_grams)} gross, customs value {value}."
        )
        if content.related_shipments:
            what += f" With the related shipments: {sheets.together(content)}."
        return {**boxes, "title": boxes["title"] or "Signed", "paragraphs": [what, *boxes["paragraphs"]]}

    @property
    def _not_released(self) -> str:
        return "The release does not stand: page 1 says why." if self.against else "Not released."

    @property
    def marks(self) -> list[str]:
        """What every paper says first (sheets.py)."""
        return sheets.marks(self.declaration, self.release)

    def _identity(self) -> Block:
        content = self.declaration
        carriers = counted(len(content.carriers), "carrier")
        whole = f"{counted(self.whole.drives, 'drive')} by {carriers}, {sheets.size(self.whole.capacity_bytes)}"
        rows: list[tuple[str, Cell]] = [
            ("Consignment", f"{content.consignment_id}, {sheets.leg_text(content)}"),
            ("Whole shipment", whole),
            ("Prepared on", f"{self.day.isoformat()}; statements as of {said(content.status_as_of)}"),
        ]
        if self.whole.undeclared:
            rows.append(("Not declared yet", f"goods of {counted(self.whole.undeclared, 'drive')}"))
        changed = self.release.record.rules.changed if self.release is not None else []
        rows += [("Rules not as shipped", changed)] if changed else []
        rows += [("The release does not stand", list(self.against))] if self.against else []
        return pairs("", rows)

    def _whole(self) -> Block:
        content = self.declaration
        rows: list[list[Cell]] = []
        for part in self.parts:
            who = [_carrier(part.carrier), f"drives {sheets.ranges(list(part.numbers))}"]
            rows.append([who, *_sums(part.totals)])
        strong = [len(rows)]
        rows.append(["The whole shipment", *_sums(self.whole)])
        if not content.related_shipments:
            none = {"none": "none", "listed": EMPTY, "": EMPTY}[content.related]
            rows.append([f"Related shipments: {none}", *[""] * 6])
            return table(WHOLE, _WHOLE_COLUMNS, rows, strong=strong)
        for other in content.related_shipments:
            value: Money = {}
            totals.add(value, other.currency, totals.amount(other.value))
            who = [
                f"Related: {said(other.consignment_id)}, {said(other.shipped_on)}",
                f"{said(other.shipper)} to {said(other.consignee)}",
            ]
            weight, size = kilograms(other.gross_grams), f"{other.capacity_bytes:,}"
            rows.append([who, f"{other.drives:,}", DASH, size, DASH, weight, money_lines(value)])
        all_ = self.together
        strong.append(len(rows))
        size, weight = f"{all_.capacity_bytes:,}", kilograms(all_.gross_grams)
        values = money_lines(all_.customs)
        rows.append(["All of these shipments together", f"{all_.drives:,}", DASH, size, DASH, weight, values])
        return table(WHOLE, _WHOLE_COLUMNS, rows, strong=strong)

    def _parties(self) -> Block:
        content = self.declaration
        rows: list[tuple[str, Cell]] = [
            ("Shipper", party(content.shipper)),
            ("Consignee", party(content.consignee)),
            ("End user", party(content.end_user)),
        ]
        rows += [("Agent", party(content.agent))] if content.agent.legal_name else []
        rows += [(f"On the way: {said(each.role)}", intermediate(each)) for each in content.intermediates]
        replaced = (sheets.before(content, old) for old in content.replaced)
        rows += [(f"Before: {role}", who) for role, who in replaced]
        return pairs("Parties", rows)


def _painted(value: Any) -> Any:
    """Data for the template, with the numbers of what no font has: lists and signed records are of others' wording."""
    if isinstance(value, str):
        return glyphs.shown(value)
    if isinstance(value, dict):
        return {key: _painted(each) for key, each in value.items()}
    return [_painted(each) for each in value] if isinstance(value, list | tuple) else value


def _sums(found: Totals) -> list[Cell]:
    return [
        f"{found.drives:,}",
        packages(found),
        f"{found.capacity_bytes:,}",
        kilograms(found.net_grams),
        kilograms(found.gross_grams),
        money_lines(found.customs),
    ]


def kilograms(weight: int) -> str:
    """A weight in kilograms, to the gram, without its unit: 18.600."""
    return totals.grams(weight).removesuffix(" kg")


def _carrier(carrier: Carrier | None) -> str:
    return "No carrier is named yet" if carrier is None else carrier_name(carrier)


def carrier_name(carrier: Carrier) -> str:
    """Short name, full name, native name and country: Anna (Anna Example), DE."""
    others = dict.fromkeys(name for name in (carrier.legal_name, carrier.native_name) if name and name != carrier.name)
    full = ", ".join(map(isolated, others))
    return f"{said(carrier.name)}{f' ({full})' if full else ''}, {said(carrier.country)}"


def party(who: Party) -> list[str]:
    """Name, address and contact; numbers, ultimate parent and owners."""
    numbers = [
        f"{label} {value}"
        for label, value in (("register no.", who.registration_no), ("EORI", who.eori), ("EIN", who.ein))
        if value
    ]
    owners = [f"{said(owner.name)} ({said(owner.country)}) {said(owner.percent)}%" for owner in who.owners]
    below = [*numbers, _parent(who)] + ([f"owned by {', '.join(owners)}"] if owners else [])
    return [*_who(who), "; ".join(below)]


def intermediate(who: Intermediate) -> list[str]:
    """The same of somebody on the way."""
    return [*_who(who), _parent(who)]


def _who(who: Party | Intermediate) -> list[str]:
    native = f" ({isolated(who.native_name)})" if who.native_name else ""
    return [f"{said(who.legal_name)}{native}", f"{said(who.address)}, {said(who.country)}; {said(who.contact)}"]


def _parent(who: Party | Intermediate) -> str:
    return f"ultimate parent {said(who.ultimate_parent)} ({said(who.parent_hq_country)})"
