"""Totals of a declaration: drives, weights, values, added up exactly.

Weights are whole grams and amounts are decimal numbers, so nothing is rounded on the way and the parts of any split add
up to the whole, to the gram and the smallest part of each currency. Amounts of different currencies are never added:
a total has one line a currency. Of goods, media and data are told apart, and the customs value is what the goods'
valuation basis says it is of. A package is a carrier's: that two of them number theirs alike makes no difference.

What is not here: how a total is printed (sheets.py, the papers), and any limit to compare it with.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sealift.trade.sections import Carrier, Content, Drive, Goods

Money = dict[str, Decimal]  # currency -> amount


@dataclass
class Totals:
    """What drives come to; `undeclared`: drives whose goods are not declared (yet), `loose`: drives in no package."""

    drives: int = 0
    packages: int = 0
    loose: int = 0
    capacity_bytes: int = 0
    net_grams: int = 0
    gross_grams: int = 0
    media: Money = field(default_factory=dict)
    data: Money = field(default_factory=dict)
    customs: Money = field(default_factory=dict)
    undeclared: int = 0


@dataclass(frozen=True)
class Line:
    """Drives that are alike: one line of an invoice. `numbers` are their rows, from 1."""

    goods: Goods
    make: str
    model: str
    capacity_bytes: int
    numbers: tuple[int, ...]

    @property
    def quantity(self) -> int:
        """How many."""
        return len(self.numbers)

    @property
    def value(self) -> Decimal:
        """Customs value of all of them, in the goods' currency."""
        return customs_value(self.goods) * self.quantity


def amount(text: str) -> Decimal:
    """A number of a declaration; 0 where it is empty."""
    return Decimal(text or "0")


def customs_value(goods: Goods) -> Decimal:
    """Of one piece: of the medium, or of medium and data."""
    media = amount(goods.media_value)
    return media if goods.valuation_basis == "media" else media + amount(goods.data_value)


def add(money: Money, currency: str, value: Decimal) -> None:
    """Add to the line of that currency."""
    money[currency] = money.get(currency, Decimal(0)) + value


def total(content: Content, drives: Iterable[Drive] | None = None) -> Totals:
    """Of `drives`, or of all that are declared."""
    kinds = {goods.name: goods for goods in content.goods}
    found = Totals()
    packages: set[tuple[str, str]] = set()
    for drive in content.drives if drives is None else drives:
        found.drives += 1
        if drive.package_no:
            packages.add((drive.carrier, drive.package_no))
        else:
            found.loose += 1
        found.capacity_bytes += drive.capacity_bytes
        goods = kinds.get(drive.goods) if drive.goods else None
        if goods is None:
            found.undeclared += 1
            continue
        found.net_grams += goods.net_grams
        found.gross_grams += goods.gross_grams
        add(found.media, goods.currency, amount(goods.media_value))
        add(found.data, goods.currency, amount(goods.data_value))
        add(found.customs, goods.currency, customs_value(goods))
    found.packages = len(packages)
    return found


@dataclass(frozen=True)
class Part:
    """What one carrier carries: the drives' rows from 1, and their totals. `carrier` is None of drives without one."""

    carrier: Carrier | None
    numbers: tuple[int, ...]
    totals: Totals


def parts(content: Content) -> list[Part]:
    """One part a carrier, in their order, and one of the drives that no declared carrier has; together the whole."""
    rows: dict[str, list[int]] = {carrier.name: [] for carrier in content.carriers}
    left: list[int] = []
    for number, drive in enumerate(content.drives, start=1):
        rows.get(drive.carrier, left).append(number)
    # a draft may have two carriers of one name: its drives are counted once
    shares: list[tuple[Carrier | None, list[int]]] = [(each, rows.pop(each.name, [])) for each in content.carriers]
    shares += [(None, left)] if left else []
    return [
        Part(carrier, tuple(numbers), total(content, (content.drives[number - 1] for number in numbers)))
        for carrier, numbers in shares
    ]


def with_related(content: Content) -> Totals:
    """Of this shipment and the related ones together: drives, capacity, gross weight and value, as they state it."""
    found = total(content)
    for other in content.related_shipments:
        found.drives += other.drives
        found.capacity_bytes += other.capacity_bytes
        found.gross_grams += other.gross_grams
        add(found.customs, other.currency, amount(other.value))
    return found


def charges(content: Content) -> Money:
    """What is paid beside the goods."""
    found: Money = {}
    for charge in content.charges:
        add(found, charge.currency, amount(charge.amount))
    return found


def lines(content: Content) -> list[Line]:
    """Lines of an invoice, in the order in which their first drives stand; drives without goods are in none."""
    kinds = {goods.name: goods for goods in content.goods}
    rows: dict[tuple[str, str, str, int], list[int]] = {}
    for number, drive in enumerate(content.drives, start=1):
        if drive.goods in kinds:
            rows.setdefault((drive.goods, drive.make, drive.model, drive.capacity_bytes), []).append(number)
    return [Line(kinds[key[0]], *key[1:], tuple(numbers)) for key, numbers in rows.items()]


def grams(weight: int) -> str:
    """A weight in kilograms, to the gram: 18.600 kg."""
    return f"{weight // 1000:,}.{weight % 1000:03d} kg"


def money(found: Money) -> list[str]:
    """One text a currency, in the order of their codes: EUR 345,600.00; nothing where there is nothing."""
    return [f"{currency} {written(currency, value)}" for currency, value in sorted(found.items())]


def written(currency: str, value: Decimal) -> str:
    """An amount with the digits of its currency, or more where it has more: nothing is ever rounded away."""
    from sealift.trade import codes

    digits = codes.minor_units().get(currency, 2)
    exponent = value.normalize().as_tuple().exponent
    return f"{value:,.{max(digits, -exponent if isinstance(exponent, int) else 0)}f}"
