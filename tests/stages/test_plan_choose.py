"""Every plan that comes out holds what it says, by counting; prices have no part in it; the absurd is refused."""

import itertools
from datetime import timedelta

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from voyages import CALIBRATION, START, ask, paper, plan

from sealift.errors import BadInput, NotAllHere
from sealift.stages.plan import choose, defaults, document, odds, told
from sealift.stages.plan.front import spare


def brute_force(made):
    """The stated loss, every way it can happen, against the drives of shipment.toml alone."""
    groups = {}
    for drive in made.drives:
        groups.setdefault(drive.group, []).append(drive.carrier)
    assert len(groups) == made.groups
    for carriers in groups.values():
        assert len(carriers) == made.data + made.parity <= made.bays
        for lost in itertools.combinations(sorted({each.name for each in made.carriers}), made.survive.carriers):
            left = sum(carrier not in lost for carrier in carriers) - made.survive.drives
            assert left >= made.data, (carriers, lost)


@st.composite
def voyages(draw):
    sizes = draw(st.lists(st.sampled_from(["4TB", "8TB", "20TB"]), min_size=1, max_size=3))
    rows = [f"{draw(st.integers(1, 9))}x{size}:{draw(st.sampled_from(['hdd', 'ssd']))}" for size in sizes]
    carriers = ",".join(
        f"{name}:{draw(st.sampled_from(['hand', 'courier', 'checked-bag']))}"
        for name in draw(st.lists(st.sampled_from("abcde"), min_size=1, max_size=5, unique=True))
    )
    words = draw(
        st.sampled_from(["any carrier", "any drive", "any carrier and 1 drive", "nothing", "99.9%", "any 2 drives"])
    )
    return rows, carriers, draw(st.integers(1, 12)), words, draw(st.integers(1, 120))


@pytest.mark.long
@given(voyages())
@settings(max_examples=40, deadline=None)
def test_every_plan_fits_survives_and_is_read_back(given_):
    rows, carriers, bays, words, size = given_
    try:
        found = plan(ask(rows, carriers, bays=bays, survive=words), paper(f"{size}TB"))
    except (NotAllHere, BadInput):
        return
    brute_force(found.plan)
    assert document.parse(document.render(found.plan).encode()) == found.plan
    capacity = {each.name: each.capacity for each in told.fleet(found.voyage.drives)}
    assert all(each.capacity_bytes == capacity[each.name] for each in found.plan.drives)
    room = (
        sum(each.capacity_bytes for each in found.plan.drives) * found.plan.data / (found.plan.data + found.plan.parity)
    )
    assert room > found.plan.packed_bytes
    assert found.chosen in found.choices
    assert set(map(choose.name, (each.geometry for each in found.front))) <= {
        choose.name(each.geometry) for each in found.choices
    }
    if found.chosen.odds.loss <= found.most_loss:
        fewer = [each for each in found.front if each.geometry.drives_used < found.chosen.geometry.drives_used]
        assert all(each.odds.loss > found.most_loss or not spare(each) for each in fewer)


PRICES = sorted(each.name for each in defaults.defaults().everything if each.unit.startswith("USD"))


@pytest.mark.long
@given(st.dictionaries(st.sampled_from(PRICES), st.floats(0, 1e12), min_size=1), st.booleans())
@settings(max_examples=25, deadline=None)
def test_no_price_changes_a_byte_of_the_plan(prices, buy):
    """Nor does any split depend on what something is worth: there is no other field of value in what is told."""
    asked = ask(
        ["12x20TB"], "a:hand,b,c:checked-bag", bays=6, numbers={"customs_days": 2.0}, deadline=START + timedelta(20)
    )
    found = plan(replace(asked, numbers=asked.numbers | prices, buy_drives=buy), paper("90TB"))
    assert document.render(found.plan) == document.render(plan(asked, paper("90TB")).plan)


def test_no_field_of_what_is_told_is_a_value():
    words = {"value", "price", "usd", "eur", "currency", "threshold", "customs", "inspection", "duty", "insured"}
    for kind in (told.Voyage, told.Training, told.Carrier, told.Drives):
        for name in kind.__struct_fields__:
            assert not words & set(name.split("_")), name


def test_a_plan_holds_no_price():
    text = document.render(plan().plan)
    stated = text.replace("[numbers]", "[numbers]\nhdd_price = 1.0")
    with pytest.raises(BadInput, match=r"numbers\.hdd_price: a price; a plan holds none"):
        document.parse(stated.encode())


def test_the_same_is_planned_again_to_the_byte():
    assert document.render(plan().plan) == document.render(plan().plan)


# --- what is missing, and what would help ----------------------------------------------------------------


def test_what_is_missing_is_said_in_sizes_that_labels_say_and_is_enough():
    asked = ask(["6x20TB"], "4xcourier", bays=8)
    with pytest.raises(NotAllHere, match=r"2 more drives of 20 TB") as caught:
        plan(asked, paper("110TB"))
    assert caught.value.exit_code == 6
    plan(replace(asked, drives=(*asked.drives, told.drives("2x20TB"))), paper("110TB"))


def test_a_plan_that_is_not_as_safe_as_wanted_says_so_and_with_what_it_would_be():
    found = plan(ask(["4x80TB"], "4xcourier", survive="any carrier, 99.9999%"), paper("200TB"))
    assert not found.met
    assert found.warnings[0].startswith("NOT AS SAFE AS WANTED")
    assert "it is carriers lost together that decide" in found.warnings[0]
    assert found.warnings[1].startswith("NOTHING TO SPARE: any carrier may be lost if all that is left reads whole")
    assert "with 2 more drives it would survive any carrier and 1 drive" in found.warnings[1]
    plan(ask(["6x80TB"], "4xcourier", survive="any carrier and 1 drive"), paper("200TB"))


@pytest.mark.long
def test_a_deadline_is_kept_where_it_can_be_and_else_it_is_said_what_would():
    free = plan(ask(["24x20TB"], "4xcourier", bays=6), paper("150TB"))
    slack = plan(ask(["24x20TB"], "4xcourier", bays=6, deadline=START + timedelta(days=30)), paper("150TB"))
    assert slack.met
    assert slack.on_time == 1
    assert slack.chosen == free.chosen
    assert slack.in_time.loss == pytest.approx(slack.chosen.odds.loss, abs=1e-12)
    tight = START + timedelta(seconds=free.outcome.all - 3600)
    found = plan(ask(["24x20TB"], "4xcourier", bays=6, deadline=tight), paper("150TB"))
    assert found.on_time < 1
    assert found.in_time.loss == pytest.approx(1 - found.on_time, abs=0.01)
    assert found.chosen.seconds <= free.chosen.seconds
    never = plan(ask(["24x20TB"], "4xcourier", bays=6, deadline=START + timedelta(days=1)), paper("150TB"))
    assert not never.met
    assert never.on_time == 0
    assert never.in_time.loss == 1
    assert never.warnings[0].startswith("NOT IN TIME: all data is readable by the deadline in 0% of voyages; packing")
    assert "none of them is in time" in never.why


@pytest.mark.long
def test_what_is_in_time_and_how_surely_agrees_with_the_percentiles():
    free = plan(ask(["24x20TB"], "4xcourier", bays=6), paper("150TB"))
    times = {each.percent: each.all for each in free.percentiles}
    shares = []
    for percent in (10, 50, 90):
        until = START + timedelta(seconds=times[percent])
        asked = ask(["24x20TB"], "4xcourier", bays=6, deadline=until, numbers={"courier_late": 0.0})
        found = plan(asked, paper("150TB"), chosen=choose.name(free.chosen.geometry))
        shares.append(found.on_time)
    assert shares == sorted(shares)
    for share, percent in zip(shares, (0.1, 0.5, 0.9), strict=True):
        assert share == pytest.approx(percent, abs=0.15)


def test_departures_count_in_the_time_of_every_geometry():
    asked = ask(["24x20TB"], "4xcourier", bays=6)
    late = replace(asked.carriers[0], departs=START + timedelta(days=40))
    found = plan(replace(asked, carriers=(late, *asked.carriers[1:]), survive="nothing"), paper("150TB"))
    without = [each for each in found.choices if not each.geometry.parity]
    assert without
    assert all(each.seconds > 40 * 86_400 for each in without)


def test_more_hosts_are_proposed_where_packing_is_what_takes_long():
    asked = ask(["24x20TB"], "4xcourier", bays=6)
    slow = plan(asked, paper("150TB"))
    fast = plan(replace(asked, hosts=4), paper("150TB"), chosen=choose.name(slow.chosen.geometry))
    assert fast.outcome.all < slow.outcome.all - 7200
    middle = next(each.all for each in fast.percentiles if each.percent == 50)
    tight = START + timedelta(seconds=middle + 12 * 3600)
    found = plan(replace(asked, deadline=tight), paper("150TB"), chosen=choose.name(slow.chosen.geometry))
    assert "hosts that pack it would be in time" in found.warnings[0]


def test_a_plan_keeps_a_drive_to_spare_where_it_can():
    found = plan(ask(["8x80TB"], "4xcourier", survive="any carrier"), paper("200TB"))
    assert found.chosen.geometry.parity > found.chosen.geometry.worst_loss
    assert found.met
    assert max(each.odds.loss for each in found.single if each.what == "carrier") < 0.2
    bare = plan(ask(["4x80TB"], "4xcourier", survive="any carrier, 90%"), paper("200TB"))
    assert bare.chosen.odds.loss < bare.most_loss
    assert not bare.met
    assert bare.warnings[0].startswith("NOTHING TO SPARE")


# --- chosen by hand, measured drives ---------------------------------------------------------------------


@pytest.mark.long
def test_a_geometry_that_people_choose_is_taken_and_none_else():
    found = plan(ask(["24x20TB"], bays=12), paper("150TB"))
    other = next(each for each in found.choices if each != found.chosen)
    by_hand = plan(ask(["24x20TB"], bays=12), paper("150TB"), chosen=choose.name(other.geometry).replace("x", " × "))
    assert by_hand.chosen == other
    assert by_hand.plan.forecast.why == "it was chosen by hand"
    brute_force(by_hand.plan)
    for text in ("1x1+1", "5x0+3", "0x3+1", "12+3", "nonsense", "99999x9+3", "1x60000+3"):
        with pytest.raises(BadInput) as caught:
            plan(ask(["24x20TB"], bays=12), paper("150TB"), chosen=text)
        assert caught.value.hint


def test_measured_speeds_count_and_those_of_other_drives_do_not():
    from sealift.stages.plan.terms import DriveSpeed

    usual = plan()
    slow = plan(speeds={"drive-003": DriveSpeed(write=5e6, read=5e6), "of somebody else": DriveSpeed(write=1, read=1)})
    assert slow.outcome.all > 5 * usual.outcome.all


def test_a_drive_that_shows_less_room_is_believed():
    rows = (told.Drives(capacity="20TB", count=7), told.Drives(capacity="20TB", serial="S", free="15TB"))
    with pytest.raises(NotAllHere):
        plan(ask(drives=rows), paper("105TB"))
    plan(ask(["8x20TB"], survive="any carrier"), paper("105TB"))


# --- the absurd ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"carriers": told.carriers("a,A")},
        {"carriers": (told.Carrier(name="a", most_drives=0),)},
        {"carriers": (told.Carrier(name="a", most_drives=3), told.Carrier(name="b", most_drives=0))},
        {"bays": 1},
        {"survive": "any 9 carriers"},
        {"survive": "any 9999 drives"},
        {"drives": (told.Drives(capacity="20TB", serial="S"), told.Drives(capacity="20TB", serial="s"))},
        {"drives": (told.drives("1x1B"),)},
        {"near": ("nowhere",)},
        {"training": told.Training(gpu_hours=5.0)},
    ],
)
def test_the_impossible_is_refused_with_what_to_do(change):
    with pytest.raises((BadInput, NotAllHere)) as caught:
        plan(replace(ask(), **change))
    assert caught.value.hint


def test_mixed_sizes_make_groups_of_their_like():
    found = plan(ask(["8x20TB", "8x4TB"], bays=8, survive="any drive"), paper("100TB"))
    sizes = {}
    for drive in found.plan.drives:
        sizes.setdefault(drive.group, set()).add(drive.capacity_bytes)
    brute_force(found.plan)
    if found.plan.groups == 2 and found.plan.data + found.plan.parity == 8:
        assert all(len(each) == 1 for each in sizes.values())


# --- monotone --------------------------------------------------------------------------------------------


@pytest.mark.long
@given(voyages())
@settings(max_examples=25, deadline=None)
def test_more_parity_never_lowers_the_odds(given_):
    rows, carriers, bays, _words, size = given_
    try:
        found = plan(ask(rows, carriers, bays=bays, survive="nothing"), paper(f"{size}TB"))
    except (NotAllHere, BadInput):
        assume(condition=False)
    by_size = {}
    for each in found.choices:
        by_size.setdefault((each.geometry.size, each.geometry.groups), []).append(each)
    for same in by_size.values():
        ordered = sorted(same, key=lambda each: each.geometry.parity)
        for fewer, more in itertools.pairwise(ordered):
            assert more.odds.loss <= fewer.odds.loss + 1e-12


@pytest.mark.long
@pytest.mark.parametrize("carriers", [2, 3, 4, 6, 8])
def test_more_carriers_never_raise_what_the_loss_of_one_costs(carriers):
    def worst(count):
        found = plan(ask(["24x20TB"], f"{count}xcourier", bays=8, survive="nothing"), paper("150TB"), chosen="3x6+2")
        return max(each.odds.share_lost for each in found.single if each.what == "carrier")

    assert worst(carriers * 2) <= worst(carriers) + 1e-12


def test_a_lost_carrier_counts_in_the_odds_that_are_shown():
    found = plan()
    alone = odds.odds(
        found.wanted, found.chosen.geometry, odds.Hazards(carrier_lost=(0.0,) * 4, carrier_late=(0.0,) * 4)
    )
    assert alone.loss == 0
    assert found.chosen.odds.loss > 0
    assert found.calibration == CALIBRATION
