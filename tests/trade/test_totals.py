"""Totals: exact in every currency, and the parts of any split add up to the whole."""

from decimal import Decimal

from filled import GOODS
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from trade_cases import content, drive, related

from sealift.trade import codes, sections, totals

CURRENCIES = {"EUR": 2, "JPY": 0, "KWD": 3, "CLF": 4, "USD": 2}


@st.composite
def declarations(draw):
    kinds = draw(st.integers(1, 4))
    goods = []
    for number in range(kinds):
        currency = draw(st.sampled_from(sorted(CURRENCIES)))
        places = CURRENCIES[currency]
        media, data = (Decimal(draw(st.integers(0, 10**9))).scaleb(-places) for _ in range(2))
        net = draw(st.integers(1, 10**6))
        goods.append(
            replace(
                GOODS, name=f"kind{number}", currency=currency, media_value=f"{media:f}", data_value=f"{data:f}",
                net_grams=net, gross_grams=net + draw(st.integers(0, 10**4)),
                valuation_basis=draw(st.sampled_from(["media", "media and data"])),
            )
        )  # fmt: skip
    names = draw(st.lists(st.sampled_from(["Anna", "Bo", "Cem"]), min_size=1, max_size=40))
    drives = [drive(f"S{at}", name, goods=f"kind{draw(st.integers(0, kinds - 1))}") for at, name in enumerate(names)]
    return content(goods=goods, drives=drives, carriers=[sections.Carrier(name=n) for n in dict.fromkeys(names)])


def added(parts):
    out = {}
    for part in parts:
        for currency, value in part.items():
            totals.add(out, currency, value)
    return out


@settings(max_examples=150, deadline=None)
@given(declarations())
def test_carriers_and_lines_add_up_to_the_whole_to_the_gram_and_the_smallest_unit(declared):
    whole = totals.total(declared)
    parts = [
        totals.total(declared, (drive for drive in declared.drives if drive.carrier == carrier.name))
        for carrier in declared.carriers
    ]
    for name in ("drives", "capacity_bytes", "net_grams", "gross_grams"):
        assert sum(getattr(part, name) for part in parts) == getattr(whole, name)
    for name in ("media", "data", "customs"):
        assert added(getattr(part, name) for part in parts) == getattr(whole, name)
    lines = totals.lines(declared)
    assert sorted(number for line in lines for number in line.numbers) == list(range(1, len(declared.drives) + 1))
    assert added({line.goods.currency: line.value} for line in lines) == whole.customs
    # by integers alone, in the smallest unit of each currency
    for currency, digits in CURRENCIES.items():
        smallest = sum(
            int(totals.customs_value(goods).scaleb(digits))
            for one in declared.drives
            for goods in declared.goods
            if goods.name == one.goods and goods.currency == currency
        )
        assert whole.customs.get(currency, Decimal(0)).scaleb(digits) == smallest


@given(st.sampled_from(sorted(CURRENCIES)), st.integers(0, 10**15))
def test_what_is_written_is_the_amount_and_reads_back(currency, smallest):
    value = Decimal(smallest).scaleb(-CURRENCIES[currency])
    text = totals.written(currency, value)
    assert Decimal(text.replace(",", "")) == value
    assert len(text.partition(".")[2]) == codes.minor_units()[currency]


def test_nothing_is_rounded_away_that_a_draft_says_too_finely():
    assert totals.written("JPY", Decimal("0.50")) == "0.5"
    assert totals.written("XXX", Decimal("1.2345")) == "1.2345"
    assert totals.grams(18_600) == "18.600 kg"
    assert totals.grams(1_234_567_001) == "1,234,567.001 kg"


def test_drives_whose_goods_are_not_declared_yet_are_counted_and_add_nothing():
    declared = content(drives=[drive("S1"), drive("S2", "Bo", goods="")])
    whole = totals.total(declared)
    assert (whole.drives, whole.undeclared, whole.gross_grams) == (2, 1, GOODS.gross_grams)


def test_related_shipments_are_added_as_they_state_themselves():
    declared = content(related_shipments=[related("SL-2026-OTHER7"), related("SL-2026-OTHER8")])
    whole, both = totals.total(declared), totals.with_related(declared)
    assert both.drives == whole.drives + 8
    assert both.gross_grams == whole.gross_grams + 2480
    assert both.customs == whole.customs | {"USD": Decimal("200.20")}
    assert totals.total(declared) == whole
    assert totals.money(both.customs) == ["EUR 46,080.00", "USD 200.20"]


def test_charges_of_several_currencies_are_apart():
    rows = [("freight", "10.05", "EUR"), ("insurance", "0.95", "EUR"), ("packing", "7", "JPY")]
    declared = content(charges=[sections.Charge(name=n, amount=a, currency=c) for n, a, c in rows])
    assert totals.money(totals.charges(declared)) == ["EUR 11.00", "JPY 7"]
