"""Odds against a second implementation: every loss of small fleets is enumerated, in fractions, and weighed."""

import itertools
import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sealift.errors import BadInput
from sealift.stages.plan import odds as module
from sealift.stages.plan.defaults import defaults
from sealift.stages.plan.front import Choice, front, recommend
from sealift.stages.plan.geometry import (
    BLOCK,
    Carrier,
    Drive,
    Geometry,
    Survive,
    Wanted,
    drive_bytes,
    placement,
    search,
)
from sealift.stages.plan.odds import Hazards, Odds, hazards_of, odds, simulate, single_losses, survives

MIB = 1 << 20


def headroom(_group_bytes, _blocks):
    return MIB


def wanted(drives=6, carriers=3, *, bays=6, packed=3, kinds="hdd", size=10):
    kinds = [kinds] * drives if isinstance(kinds, str) else kinds
    return Wanted(
        drives=tuple(Drive(name=f"D{i}", capacity_bytes=size * MIB, kind=kind) for i, kind in enumerate(kinds)),
        carriers=tuple(Carrier(name=f"c{i}") for i in range(carriers)),
        bays=bays,
        packed_bytes=packed * MIB,
    )


def shape(one, data, parity, groups):
    return next(
        each for each in search(one, headroom) if (each.data, each.parity, each.groups) == (data, parity, groups)
    )


def hazards(lost, *, late=0.0, fails=(0.0, 0.0), unreadable=(0.0, 0.0)):
    return Hazards(
        carrier_lost=tuple(lost),
        carrier_late=(late,) * len(lost),
        hdd_fails=fails[0],
        ssd_fails=fails[1],
        hdd_unreadable=unreadable[0],
        ssd_unreadable=unreadable[1],
    )


# --- the second implementation ---------------------------------------------------------------------------


def unreadable_block(rate):
    with localcontext() as context:
        context.prec = 60
        return Fraction(1 - ((1 - Decimal(rate)).ln() * 8 * BLOCK).exp()) if rate else Fraction(0)


def of_a_column(works, size, data, bad):
    """Probability that a column is lost, and expected share of it that is, by the chances `bad` of those that work."""
    lost = share = Fraction(0)
    for pattern in itertools.product((0, 1), repeat=len(works)):
        chance = math.prod((bad[drive] if hit else 1 - bad[drive]) for drive, hit in zip(works, pattern, strict=True))
        missing = size - len(works) + sum(pattern)
        if size - missing < data:
            lost += chance
            share += chance * Fraction(missing, size)
    return lost, share


def by_hand(one, geometry, hazard, *, by_deadline=False, without=()):
    """The odds, as fractions: every set of carriers and of drives that is lost, one by one."""
    places = placement(one, geometry)
    gone = {}
    for carrier, lost, late in zip(one.carriers, hazard.carrier_lost, hazard.carrier_late, strict=True):
        here = (1 - Fraction(lost)) * (1 - Fraction(late) if by_deadline else 1)
        gone[carrier.name] = Fraction(1) if carrier.name in without else 1 - here
    kinds = {"hdd": hazard.hdd_fails, "ssd": hazard.ssd_fails}
    fails = {each.drive.name: Fraction(kinds[each.drive.kind]) for each in places}
    fails |= {name: Fraction(1) for name in without if name in fails}
    rates = {"hdd": unreadable_block(hazard.hdd_unreadable), "ssd": unreadable_block(hazard.ssd_unreadable)}
    bad = {each.drive.name: rates[each.drive.kind] for each in places}
    each = drive_bytes(one, geometry)
    columns = [math.ceil(count / BLOCK) for count in each]
    known = {}
    loss = share = Fraction(0)
    for lost in itertools.product((0, 1), repeat=len(one.carriers)):
        away = {carrier.name for carrier, hit in zip(one.carriers, lost, strict=True) if hit}
        of_carriers = math.prod(
            (gone[c.name] if hit else 1 - gone[c.name]) for c, hit in zip(one.carriers, lost, strict=True)
        )
        brought = [place for place in places if place.carrier not in away]
        for failed in itertools.product((0, 1), repeat=len(brought)):
            chance = of_carriers * math.prod(
                fails[p.drive.name] if hit else 1 - fails[p.drive.name] for p, hit in zip(brought, failed, strict=True)
            )
            if not chance:
                continue
            works = {p.drive.name for p, hit in zip(brought, failed, strict=True) if not hit}
            kept, part = Fraction(1), Fraction(0)
            for group in range(geometry.groups):
                here = tuple(p.drive.name for p in places if p.group == group and p.drive.name in works)
                if here not in known:
                    known[here] = of_a_column(here, geometry.size, geometry.data, bad)
                kept *= (1 - known[here][0]) ** columns[group]
                part += known[here][1] * Fraction(each[group], sum(each))
            loss += chance * (1 - kept)
            share += chance * part
    return float(loss), float(share)


CASES = [
    # wanted, (k, m, groups), hazards
    (wanted(3, 3), (2, 1, 1), hazards([0.1, 0.2, 0.3])),
    (wanted(4, 2), (2, 2, 1), hazards([0.01, 0.02], fails=(0.05, 0))),
    (wanted(6, 3, bays=3), (2, 1, 2), hazards([0.01, 0.02, 0.02], fails=(0.01, 0), unreadable=(1e-9, 0))),
    (wanted(6, 4, bays=3), (1, 2, 2), hazards([0.05, 0.0, 1.0, 0.5], fails=(0.3, 0), unreadable=(1e-8, 0))),
    (
        wanted(6, 2, kinds=["hdd", "ssd"] * 3),
        (4, 2, 1),
        hazards([0.1, 0.2], fails=(0.2, 0.01), unreadable=(1e-9, 4e-8)),
    ),
    (wanted(6, 3, bays=3, kinds=["hdd"] * 4 + ["ssd"] * 2), (2, 1, 2), hazards([0.1] * 3, fails=(0.1, 0.02))),
    (wanted(5, 5, packed=12), (3, 2, 1), hazards([0.02] * 5, fails=(0.01, 0), unreadable=(3e-8, 0))),
    (wanted(4, 1, bays=2), (1, 1, 2), hazards([0.25], fails=(0.125, 0), unreadable=(1e-8, 0))),
    (wanted(3, 3, bays=1), (1, 0, 3), hazards([0.1, 0.1, 0.2], late=0.3, fails=(0.01, 0), unreadable=(1e-8, 0))),
]
cases = pytest.mark.parametrize(("one", "code", "hazard"), CASES, ids=[f"{c[0]}+{c[1]}x{c[2]}" for _, c, _ in CASES])


@cases
@pytest.mark.parametrize("by_deadline", [False, True])
def test_odds_are_those_of_every_loss_enumerated(one, code, hazard, by_deadline):
    hazard = replace(hazard, carrier_late=(0.125,) * len(one.carriers))
    found = odds(one, shape(one, *code), hazard, by_deadline=by_deadline)
    loss, share = by_hand(one, shape(one, *code), hazard, by_deadline=by_deadline)
    assert found.exact
    assert found.loss == pytest.approx(loss, rel=1e-11, abs=0)
    assert found.share_lost == pytest.approx(share, rel=1e-11, abs=0)


@pytest.mark.parametrize("p", [1e-3, 1e-4, 1e-6, 1e-7])
def test_a_loss_of_a_millionth_of_a_millionth_is_right_in_its_digits(p):
    one = wanted(6, 6)
    hazard = hazards([p] * 6, fails=(p, 0), unreadable=(1e-13, 0))
    for code in ((3, 3, 1), (2, 4, 1)):
        found = odds(one, shape(one, *code), hazard)
        loss, share = by_hand(one, shape(one, *code), hazard)
        assert found.loss < 2e-9
        assert found.loss == pytest.approx(loss, rel=1e-10, abs=0)
        assert found.share_lost == pytest.approx(share, rel=1e-10, abs=0)


chances = st.sampled_from([0.0, 1e-9, 0.01, 0.1, 0.5, 1.0])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 3),
    st.lists(chances, min_size=3, max_size=3),
    chances,
    chances,
    st.sampled_from([0.0, 1e-12, 1e-8, 1e-6]),
    st.lists(st.sampled_from(["hdd", "ssd"]), min_size=5, max_size=5),
    st.booleans(),
)
def test_any_small_fleet_has_the_odds_of_every_loss_enumerated(
    drives, carriers, lost, first, second, rate, kinds, late
):
    one = wanted(drives, carriers, kinds=kinds[:drives], packed=2)
    hazard = hazards(lost[:carriers], late=0.25, fails=(first, second), unreadable=(rate, rate / 4))
    for geometry in search(one, headroom):
        found = odds(one, geometry, hazard, by_deadline=late)
        loss, share = by_hand(one, geometry, hazard, by_deadline=late)
        assert found.loss == pytest.approx(loss, rel=1e-10, abs=1e-300)
        assert found.share_lost == pytest.approx(share, rel=1e-10, abs=1e-300)


@cases
def test_single_losses_are_those_enumerated(one, code, hazard):
    geometry = shape(one, *code)
    names = [carrier.name for carrier in one.carriers] + [place.drive.name for place in placement(one, geometry)]
    found = single_losses(one, geometry, hazard)
    assert [each.name for each in found] == names
    assert [each.what for each in found] == ["carrier"] * len(one.carriers) + ["drive"] * geometry.drives_used
    for each in found:
        loss, share = by_hand(one, geometry, hazard, without={each.name})
        assert each.odds.loss == pytest.approx(loss, rel=1e-11, abs=1e-300)
        assert each.odds.share_lost == pytest.approx(share, rel=1e-11, abs=1e-300)


# --- simulated --------------------------------------------------------------------------------------------


@cases
@pytest.mark.parametrize("by_deadline", [False, True])
def test_what_is_simulated_agrees_within_four_standard_errors(one, code, hazard, by_deadline):
    hazard = replace(hazard, carrier_late=(0.125,) * len(one.carriers))
    exact = odds(one, shape(one, *code), hazard, by_deadline=by_deadline)
    drawn = simulate(one, shape(one, *code), hazard, draws=20_000, seed=7, by_deadline=by_deadline)
    assert not drawn.exact
    assert abs(drawn.loss - exact.loss) < 4 * drawn.loss_error
    assert abs(drawn.share_lost - exact.share_lost) < 4 * drawn.share_error
    assert drawn.loss_error < 0.005


def test_a_fleet_of_eighty_terabytes_a_drive_agrees_with_its_simulation():
    drives = tuple(Drive(name=f"D{i}", capacity_bytes=80 * 10**12) for i in range(24))
    one = Wanted(
        drives=drives, carriers=tuple(Carrier(name=f"c{i}") for i in range(4)), bays=12, packed_bytes=1000 * 10**12
    )
    hazard = hazards([0.05, 0.05, 0.1, 0.1], fails=(0.02, 0), unreadable=(1e-15, 0))
    for parity in (3, 4, 5):
        geometry = shape(one, 12 - parity, parity, 2)
        exact = odds(one, geometry, hazard)
        drawn = simulate(one, geometry, hazard, draws=4000, seed=1)
        assert abs(drawn.loss - exact.loss) < 4 * drawn.loss_error
        assert abs(drawn.share_lost - exact.share_lost) < 4 * drawn.share_error


def test_with_no_parity_to_spare_an_unreadable_sector_costs_its_block():
    drives = tuple(Drive(name=f"D{i}", capacity_bytes=80 * 10**12) for i in range(12))
    one = Wanted(
        drives=drives, carriers=tuple(Carrier(name=f"c{i}") for i in range(4)), bays=12, packed_bytes=8 * 78 * 10**12
    )
    whole = shape(one, 8, 4, 1)
    given_one = single_losses(one, whole, hazards([0.01] * 4, unreadable=(1e-15, 0)))
    carrier, drive = given_one[0].odds, given_one[4].odds
    expected = 8 * 78e12 * 8e-15  # unreadable sectors on the 8 drives that are left when 4 are gone
    four = single_losses(one, whole, hazards([0.0, 1.0, 0.0, 0.0], unreadable=(1e-15, 0)))[-1].odds
    assert carrier.loss == pytest.approx(1 - 0.99**3, rel=1e-4)  # any second carrier is too much
    assert drive.loss == pytest.approx(1 - 0.99**3, rel=0.01)  # with a further carrier, 4 of 12 are gone: none to spare
    assert single_losses(one, whole, hazards([0.01] * 4))[4].odds.loss < 6e-4  # but for unreadable sectors, it holds
    assert four.loss == pytest.approx(1 - math.exp(-expected), rel=1e-6)
    assert four.share_lost < 1e-6


def test_the_same_seed_gives_the_same_odds_and_another_one_others():
    one, code, hazard = CASES[2]
    drawn = [simulate(one, shape(one, *code), hazard, draws=5000, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_what_never_happened_has_the_error_of_once():
    one = wanted(3, 3)
    drawn = simulate(one, shape(one, 1, 2, 1), hazards([1e-9] * 3), draws=1000, seed=0)
    assert (drawn.loss, drawn.loss_error, drawn.share_error) == (0.0, 1e-3, 1e-3)


def test_too_many_different_carriers_are_simulated_and_that_is_said(monkeypatch):
    one, code, hazard = CASES[0]
    monkeypatch.setattr(module, "MAX_CASES", 3)
    module._cases.cache_clear()
    drawn = odds(one, shape(one, *code), hazard)
    assert drawn == simulate(one, shape(one, *code), hazard, draws=module.DRAWS, seed=0)
    assert "simulated with a standard error" in survives(one, shape(one, *code), drawn)
    assert not single_losses(one, shape(one, *code), hazard)[0].odds.exact
    module._cases.cache_clear()


def test_sixteen_carriers_all_different_are_exact():
    one = wanted(16, 16, bays=16)
    lost = [0.001 * (at + 1) for at in range(16)]
    found = odds(one, shape(one, 14, 2, 1), hazards(lost))
    several = [0.0] * 17  # the distribution of how many are lost, by convolution
    several[0] = 1.0
    for p in lost:
        several = [several[0] * (1 - p)] + [several[j] * (1 - p) + several[j - 1] * p for j in range(1, 17)]
    assert found.exact
    assert found.loss == pytest.approx(sum(several[3:]), rel=1e-12)


def test_many_carriers_alike_are_exact():
    one = wanted(40, 40, bays=40)
    found = odds(one, shape(one, 37, 3, 1), hazards([0.01] * 40))
    assert found.exact
    assert found.loss == pytest.approx(
        sum(math.comb(40, j) * 0.01**j * 0.99 ** (40 - j) for j in range(4, 41)), rel=1e-12
    )


def test_of_more_carriers_cases_that_hardly_happen_are_counted_as_lost(monkeypatch):
    """24 carriers all different: cases of so many lost at once are left out, and the loss is bounded from above."""
    one = wanted(24, 24, bays=24)
    lost = [0.001 + 0.0001 * at for at in range(24)]
    several = np.ones(1)
    for p in lost:
        several = np.convolve(several, [1 - p, p])
    geometry = shape(one, 22, 2, 1)
    found = odds(one, geometry, hazards(lost))
    assert found.exact
    assert several[3:].sum() <= found.loss <= several[3:].sum() + module.REST
    monkeypatch.setattr(module, "REST", 1e-4)  # too much of the loss, or too little: then it is simulated
    module._cases.cache_clear()
    assert not odds(one, geometry, hazards(lost)).exact
    monkeypatch.setattr(module, "REST", 1e-30)
    module._cases.cache_clear()
    assert not odds(one, geometry, hazards(lost)).exact
    module._cases.cache_clear()


# --- properties -------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 5),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from([0.0, 1e-15, 1e-10]),
    st.booleans(),
)
def test_more_parity_never_lowers_the_odds(drives, carriers, lost, fails, rate, late):
    one = wanted(drives, carriers, bays=12, packed=2)
    hazard = hazards([lost] * carriers, late=0.1, fails=(fails, 0), unreadable=(rate, 0))
    found = {
        (each.size, each.groups, each.parity): odds(one, each, hazard, by_deadline=late)
        for each in search(one, headroom)
    }
    for (size, groups, parity), each in found.items():
        if more := found.get((size, groups, parity + 1)):
            assert more.loss <= each.loss * (1 + 1e-9)
            assert more.share_lost <= each.share_lost * (1 + 1e-9)


@pytest.mark.long
@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 5))
def test_more_carriers_never_raise_what_the_loss_of_one_costs(drives, carriers):
    few, many = wanted(drives, carriers, bays=6, packed=2), wanted(drives, carriers + 1, bays=6, packed=2)

    def costs(one, geometry):
        given_one = single_losses(one, geometry, hazards([0.0] * len(one.carriers)))
        return max(each.odds.share_lost for each in given_one if each.what == "carrier")

    others = {(each.data, each.parity, each.groups): each for each in search(many, headroom)}
    for each in search(few, headroom):
        assert costs(many, others[each.data, each.parity, each.groups]) <= costs(few, each) + 1e-12


@cases
def test_a_higher_hazard_never_raises_the_odds(one, code, hazard):
    before = odds(one, shape(one, *code), hazard)
    for change in (
        {"carrier_lost": tuple(min(1.0, p + 0.1) for p in hazard.carrier_lost)},
        {"hdd_fails": hazard.hdd_fails + 0.1},
        {"ssd_fails": hazard.ssd_fails + 0.1},
        {"hdd_unreadable": hazard.hdd_unreadable + 1e-8},
        {"ssd_unreadable": hazard.ssd_unreadable + 1e-8},
    ):
        after = odds(one, shape(one, *code), replace(hazard, **change))
        assert after.loss >= before.loss - 1e-12
        assert after.share_lost >= before.share_lost - 1e-12


@cases
def test_late_counts_by_the_deadline_alone(one, code, hazard):
    late = replace(hazard, carrier_late=(0.2,) * len(one.carriers))
    assert odds(one, shape(one, *code), late) == odds(
        one, shape(one, *code), replace(late, carrier_late=(0.0,) * len(one.carriers))
    )
    assert odds(one, shape(one, *code), late, by_deadline=True).loss >= odds(one, shape(one, *code), late).loss


@cases
def test_a_single_loss_is_never_better_than_none(one, code, hazard):
    before = odds(one, shape(one, *code), hazard)
    for each in single_losses(one, shape(one, *code), hazard):
        assert each.odds.loss >= before.loss - 1e-12
        assert each.odds.share_lost >= before.share_lost - 1e-12


@pytest.mark.parametrize("carriers", [2, 3, 5])
def test_a_stated_loss_costs_nothing_where_all_else_is_safe(carriers):
    one = replace(wanted(10, carriers, bays=10, packed=2), survive=Survive(carriers=1))
    found = search(one, headroom)
    assert found
    for geometry in found:
        given_one = single_losses(one, geometry, hazards([0.0] * carriers))
        assert all(each.odds.loss == each.odds.share_lost == 0 for each in given_one)


# --- hazards ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"carrier_lost": (0.1, math.nan, 0.1)}, "carrier_lost[2]: nan"),
        ({"carrier_lost": (0.1, 0.1)}, "carrier_lost: 2 of them for 3 carriers"),
        ({"carrier_late": (0.1, 0.1, -0.1)}, "carrier_late[3]: -0.1"),
        ({"carrier_late": (0.1, 0.1, True)}, "carrier_late[3]: True"),
        ({"hdd_fails": 1.5}, "hdd_fails: 1.5 is not between 0 and 1"),
        ({"ssd_fails": math.inf}, "ssd_fails: inf is not between"),
        ({"ssd_unreadable": 0.5}, "ssd_unreadable: 0.5 is not between 0 and 1e-06"),
        ({"hdd_unreadable": math.nan}, "hdd_unreadable: nan is not between"),
    ],
)
def test_hazards_that_are_none_are_named(change, fault):
    one = wanted(3, 3)
    for ask in (odds, single_losses, lambda *told: simulate(*told, draws=10, seed=0)):
        with pytest.raises(BadInput) as caught:
            ask(one, shape(one, 2, 1, 1), replace(hazards([0.1] * 3), **change))
        assert fault in str(caught.value)


@pytest.mark.parametrize("draws", [0, -1, 1.5, True, math.nan, 10**10])
def test_a_number_of_draws_that_is_none_is_refused(draws):
    one = wanted(3, 3)
    with pytest.raises(BadInput):
        simulate(one, shape(one, 2, 1, 1), hazards([0.1] * 3), draws=draws, seed=0)


def test_hazards_come_from_the_planners_numbers_by_how_carriers_carry():
    numbers = defaults()
    means = ("courier", "hand", "checked-bag")
    carriers = tuple(Carrier(name=each, means=each) for each in means)
    one = replace(wanted(4, 3, kinds=["hdd", "hdd", "ssd", "ssd"]), carriers=carriers)
    found = hazards_of(one, numbers, days=10)
    assert found.carrier_lost == pytest.approx((0.005, 0.001, 0.0063 * 0.08))
    assert found.carrier_late == pytest.approx((0.05, 0.02, 0.0063 * 0.92))
    still = 0.9864 ** (10 / 365.25) * 0.998
    assert found.hdd_fails == pytest.approx(1 - still, rel=1e-12)
    assert found.hdd_unreadable == 1e-15
    assert {"courier_lost", "checked_bag_mishandled", "hdd_annual_failure", "ssd_unreadable"} <= {
        number.name for number in numbers.used
    }
    assert "hdd_price" not in {number.name for number in numbers.used}
    assert hazards_of(one, numbers, days=0).hdd_fails == pytest.approx(0.002)


def test_only_the_numbers_of_drives_and_carriers_that_there_are_count_as_used():
    numbers = defaults()
    hazards_of(wanted(3, 3), numbers, days=1)
    assert not [each.name for each in numbers.used if each.name.startswith(("ssd", "hand", "checked"))]


def test_more_unreadable_sectors_than_can_be_simulated_are_refused():
    drives = tuple(Drive(name=f"D{i}", capacity_bytes=80 * 10**12) for i in range(3))
    one = Wanted(drives=drives, carriers=(Carrier(name="c"),), bays=3, packed_bytes=150 * 10**12)
    absurd = hazards([0.1], unreadable=(1e-6, 0))
    assert odds(one, shape(one, 2, 1, 1), absurd).loss == 1
    with pytest.raises(BadInput, match="too many to simulate"):
        simulate(one, shape(one, 2, 1, 1), absurd, draws=10, seed=0)


@pytest.mark.parametrize("days", [-1, math.nan, math.inf])
def test_days_that_are_none_are_refused(days):
    with pytest.raises(BadInput):
        hazards_of(wanted(), defaults(), days=days)


# --- words ------------------------------------------------------------------------------------------------


def test_one_line_says_what_is_survived_and_how_surely():
    one = replace(wanted(6, 3), survive=Survive(carriers=1))
    line = survives(one, shape(one, 3, 3, 1), Odds(loss=3.2e-7, share_lost=1e-12, exact=True))
    assert line == (
        "3+3, 100.0% overhead, survives the loss of any 3 drives, or any carrier and 1 drive; every byte arrives "
        "with probability 99.99997% (about one shipment in 3,125,000 loses some), and 99.9999999999% of the bytes are "
        "expected"
    )


@pytest.mark.parametrize(
    ("loss", "said"),
    [(0.0, "100%"), (1.0, "0.0%"), (0.5, "50.0%"), (0.0123, "98.8%"), (2e-5, "99.998%"), (1e-16, "100% less 1.0e-16")],
)
def test_a_probability_is_never_rounded_up_to_certainty(loss, said):
    one = wanted(3, 3)
    assert f"with probability {said} (" in survives(one, shape(one, 2, 1, 1), Odds(loss=loss, share_lost=0, exact=True))


# --- of many, the ones worth a look -----------------------------------------------------------------------


def choices():
    one = replace(wanted(12, 4, bays=12, packed=10), survive=Survive(carriers=1))
    hazard = hazards([0.01] * 4, fails=(0.01, 0))
    return [
        Choice(geometry=each, odds=odds(one, each, hazard), seconds=1000 / each.groups)
        for each in search(one, headroom)
    ]


def weigh(each):
    return each.geometry.overhead, each.geometry.drives_used, each.odds.loss, each.seconds


def test_the_front_is_what_no_other_choice_beats():
    every = choices()
    kept = front(every)
    assert 1 < len(kept) < len(every)
    for each in every:
        beaten = any(
            all(a <= b for a, b in zip(weigh(other), weigh(each), strict=True)) and weigh(other) != weigh(each)
            for other in every
        )
        assert beaten != (each in kept)
    assert front(kept) == kept
    assert kept == tuple(each for each in every if each in kept)  # in the order given
    assert front([]) == ()
    assert front([every[0], every[0]]) == (every[0], every[0])


def test_what_is_recommended_needs_the_fewest_drives_and_then_the_fewest_bays():
    every = choices()
    found = recommend(every, most_loss=1e-3)
    safe = [each for each in every if each.odds.loss <= 1e-3 and each.geometry.parity > each.geometry.worst_loss]
    assert found.met
    assert 0 < len(safe) < len(every)
    least = min(each.geometry.drives_used for each in safe)
    assert found.choice.geometry.drives_used == least
    assert found.choice.geometry.size == min(e.geometry.size for e in safe if e.geometry.drives_used == least)
    assert f"{found.choice.geometry.data}+{found.choice.geometry.parity}" in found.reason
    assert found == recommend(every[::-1], most_loss=1e-3)
    assert found.choice in front(every)


def choice(data, parity, groups, loss, seconds):
    one = Geometry(
        data=data, parity=parity, groups=groups, spares=0, usable_bytes=1, fill=1, worst_carrier=1, worst_loss=1
    )
    return Choice(geometry=one, odds=Odds(loss=loss, share_lost=loss, exact=True), seconds=seconds)


def test_fewest_drives_come_before_fewest_bays_and_those_before_time():
    many = choice(3, 1, 5, 2e-5, 10)  # 20 drives, 4 bays
    large, small = choice(7, 2, 2, 1e-4, 10), choice(4, 2, 3, 5e-5, 20)  # 18 drives, 9 and 6 bays
    fast = choice(4, 2, 3, 2e-4, 5)
    unsafe = choice(2, 1, 2, 1e-2, 1)
    assert recommend([unsafe, many, large], most_loss=1e-3).choice == large
    assert recommend([unsafe, many, large, small], most_loss=1e-3).choice == small
    assert recommend([many, large, small, fast], most_loss=1e-3).choice == fast
    assert recommend([small, fast], most_loss=1.5e-4).choice == small


def test_what_is_recommended_is_beaten_by_no_other_choice():
    beaten, better = (
        choice(4, 2, 3, 1e-4, 20),
        choice(7, 2, 2, 1e-5, 10),
    )  # more bays, and better in all that is weighed
    assert front([beaten, better]) == (better,)
    assert recommend([beaten, better], most_loss=1e-3).choice == better


def test_where_nothing_is_as_safe_as_wanted_one_that_is_about_as_safe_as_can_be_is_named_and_that_is_said():
    found = recommend(choices(), most_loss=1e-300)
    assert not found.met
    assert found.choice.odds.loss <= 2 * min(each.odds.loss for each in choices())
    assert "as rarely as wanted, with probability 1e-300" in found.reason
    safest, nearly, worse = choice(6, 4, 10, 3e-4, 10), choice(16, 6, 4, 5e-4, 10), choice(16, 5, 4, 7e-4, 10)
    assert recommend([safest, nearly, worse], most_loss=1e-4).choice == nearly
    assert recommend([safest, worse], most_loss=1e-4).choice == safest


def test_of_a_simulated_probability_two_standard_errors_more_are_counted():
    every = [replace(each, odds=replace(each.odds, exact=False, loss_error=1e-3)) for each in choices()]
    assert not recommend(every, most_loss=1e-3).met
    found = recommend(every, most_loss=4e-3)
    assert found.met
    assert found.choice.odds.loss <= 2e-3


@pytest.mark.parametrize("most", [math.nan, -0.1, 1.1])
def test_a_wanted_loss_that_is_none_is_refused(most):
    with pytest.raises(BadInput):
        recommend(choices(), most_loss=most)


def test_nothing_to_choose_from_and_times_that_are_none_are_refused():
    with pytest.raises(BadInput):
        recommend([], most_loss=0.1)
    with pytest.raises(BadInput):
        front([replace(choices()[0], seconds=math.nan)])
