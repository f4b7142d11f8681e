"""The label of a drive: its text, and a sheet of labels as PDF, each with the text as a QR code.

    this is: drive 17 of 60
    declaration: SL-2026-4F7K2Q
    shipment: cd072cd8be6f9f62
    label: cd072c-17of60
    whole shipment: 60 drives, 4.8 PB
    group: 3
    slot: 1
    carrier: Anna
    serial: S6CANX0T000017
    read by: 2027-02-24

What holds: a label's text is one line `field: value` for each field, with a line feed between lines and none at the
end; what is printed and what its code reads as are this text. Every label says which drive it is of how many, the
declaration's id and how large the whole shipment is, and of a return leg what it answers; none names a customer. Until
the declaration is released, every label says DRAFT, and DRAFT lies across every page; with REHEARSAL it is the same.
Words and numbers are those of drive.json and OPEN-ME.txt (docs/spec/drive.md).

What is not here: which place a drive has, and until when it is to be read (stages/labels.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sealift.errors import BadInput
from sealift.formats.manifest import drive_label
from sealift.formats.sizes import counted
from sealift.trade import sheets
from sealift.trade.glyphs import isolated, unpainted
from sealift.trade.typeset import qr_svg, typeset

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from sealift.trade.declaration import Declaration
    from sealift.trade.release import Release

PER_PAGE = 14  # papers/labels.typ


class Place(NamedTuple):
    """What the declaration does not say of a drive: its group and slot, and the day by which it is to be read."""

    group: int
    slot: int
    read_by: date | None


class Label(NamedTuple):
    """What is on one label, line by line."""

    lines: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        """The text, as its code reads."""
        return "\n".join(f"{field}: {value}" for field, value in self.lines)


def label(
    declaration: Declaration, number: int, place: Place, *, shipment: str | None = None, release: Release | None = None
) -> Label:
    """The label of drive `number`, counted from 1; `shipment` is the id that packing has drawn, if it has begun.

    Raises Refused when `release` is of another declaration.
    """
    sheets.check_release_is_of(declaration, release)
    drive, total = declaration.drives[number - 1], len(declaration.drives)
    lines = [("status", mark) for mark in sheets.marks(declaration, release)]
    lines += [("this is", f"drive {number} of {total}"), ("declaration", declaration.consignment_id)]
    lines += [("shipment", shipment), ("label", drive_label(shipment, number, total))] if shipment else []
    lines += [("leg", sheets.leg_text(declaration))] if declaration.leg == "return" else []
    lines += [
        ("whole shipment", whole(declaration)),
        ("group", str(place.group)),
        ("slot", str(place.slot)),
        ("carrier", drive.carrier),
        ("serial", drive.serial),
    ]
    lines += [("read by", place.read_by.isoformat())] if place.read_by else []
    return Label(tuple(lines))


def whole(declaration: Declaration) -> str:
    """All drives and their capacity: 60 drives, 4.8 PB."""
    drives = counted(len(declaration.drives), "drive")
    return f"{drives}, {sheets.rounded(declaration.capacity_bytes)}"


def pdf(declaration: Declaration, labels: Sequence[Label], note: str, day: date, release: Release | None) -> bytes:
    """A sheet of labels, PER_PAGE on a page of A4; `note` stands below them. Raises as `typeset` and `qr_svg`.

    It takes about 80 MiB and 0.2 a label while it is made; most of the time goes into the codes, 20 ms each.
    """
    for field, value in dict.fromkeys(line for each in labels for line in each.lines):
        if why := unpainted(value):
            raise BadInput(f"{field}: {why}", hint="write it otherwise in the plan and in the declaration")
    data = {
        "head": f"Labels of shipment {declaration.consignment_id}: {whole(declaration)}",
        "note": f"{sheets.BASIS} {note}",
        "marks": [mark.partition(" ")[0] for mark in sheets.marks(declaration, release)],
        "labels": [
            {"lines": [(field, isolated(value)) for field, value in each.lines], "code": qr_svg(each.text)}
            for each in labels
        ],
    }
    return typeset("labels", data, day)
