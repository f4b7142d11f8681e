"""Ways side by side: costs and days by hand, break-even against bisection, every number with its source."""

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sealift.errors import BadInput
from sealift.stages.plan.alternatives import compare, link_seconds
from sealift.stages.plan.defaults import defaults
from sealift.stages.plan.geometry import Carrier, Drive, Wanted, drive_bytes, search
from sealift.stages.plan.terms import Speeds, Terms
from sealift.stages.plan.voyage import line, simulate

quietly = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
TB = 10**12
SPEEDS = Speeds(scan_files=1e5, pack_bytes=1e9, verify_bytes=5e9)
TERMS = Terms(source_bytes=60 * TB, files=10**7, speeds=SPEEDS, read_back="none")
WANTED = Wanted(
    drives=tuple(Drive(name=f"D{at}", capacity_bytes=20 * TB) for at in range(4)),
    carriers=(Carrier(name="a", means="hand"), Carrier(name="b", means="courier")),
    bays=4,
    packed_bytes=40 * TB - 10**9,
)
NUMBERS = (
    b"hdd_write_rate = 200e6\nhand_over_hours = 2\nreceive_minutes_a_drive = 3\nperson_hour = 60\nhdd_price = 23\n"
    b"trip_price = 2500\nhdd_weight = 0.7\ncourier_price = 15\nlink_rate = 10e9\nlink_utilisation = 0.8\n"
    b"link_port_hour = 2.25\negress_price = 0.09\nh100_gpu_hour = 2\n"
)


def numbers(more=b""):
    return defaults().stated(NUMBERS).stated(more)


def shape(wanted):
    return next(one for one in search(wanted, lambda _a, _b: 1) if (one.data, one.parity, one.groups) == (2, 2, 1))


GROUP = shape(WANTED)


def ways(known=None, terms=TERMS, wanted=WANTED, **options):
    found = compare(wanted, shape(wanted), terms, known or numbers(), **options)
    return {each.id: each for each in found.alternatives}, found


def parts(way):
    return {part.what: round(part.usd, 6) for part in way.parts}


def test_drives_cost_what_they_and_those_who_carry_them_cost():
    terms = replace(TERMS, gpus=5)
    out = simulate(WANTED, GROUP, terms, numbers())
    by, _ = ways(terms=terms)
    drives = by["drives"]
    assert parts(drives) == {
        "hand-over": 2 * 2 * 60,
        "receiving": 4 * 3,
        "drives": 4 * 20 * 23,
        "trips": 2500,  # one by hand; the other is a courier's
        "courier, there and back": 2 * 2 * 0.7 * 15,
        "idle servers": round((out.all - out.first_arrival) / 3600 * 5 * 2, 6),
    }
    assert drives.usd == pytest.approx(sum(parts(drives).values()))
    assert drives.days_to_all == out.all / 86_400
    assert drives.days_to_first_batch == out.first_batch / 86_400
    owned, _ = ways(buy_drives=False)
    assert "drives" not in parts(owned["drives"])


def test_a_link_takes_its_time_and_its_price():
    by, _ = ways(wanted=replace(WANTED, packed_bytes=36 * TB))
    link = by["link"]
    assert link.days_to_all == pytest.approx(36e12 * 8 / 8e9 / 86_400)  # 36,000 s
    assert link.days_to_first_batch == pytest.approx((1 << 30) * 8 / 8e9 / 86_400)
    assert parts(link) == {"egress": 36_000 * 0.09, "port": 10 * 2.25}
    assert any("room for the whole corpus" in each for each in link.cannot)


def test_a_lease_that_begins_at_a_stated_time_costs_every_way():
    terms = replace(TERMS, gpus=8, lease_begins=3600.0)
    by, _ = ways(terms=terms, wanted=replace(WANTED, packed_bytes=36 * TB))
    assert parts(by["link"])["idle servers"] == 9 * 8 * 2
    days = by["azure_data_box_120"].days_to_all
    assert parts(by["azure_data_box_120"])["idle servers"] == pytest.approx((days * 24 - 1) * 8 * 2)
    without, _ = ways(terms=replace(TERMS, gpus=8))
    assert "idle servers" not in parts(without["link"])  # who sends by network need not rent before
    later, _ = ways(terms=replace(terms, lease_begins=1e8))
    assert not any("idle servers" in parts(each) for each in later.values())


def test_only_services_that_take_orders_are_compared_and_the_others_named():
    by, found = ways()
    assert set(by) == {
        "drives", "link", "data_transfer_terminal", "azure_data_box_120", "azure_data_box_525",
        "google_transfer_appliance_40", "google_transfer_appliance_300",
    }  # fmt: skip
    assert found.closed == ("AWS Snowball Edge",)
    reopened, found = ways(numbers(b"snowball_open = 0\nazure_data_box_120_open = 0"))
    assert "azure_data_box_120" not in reopened
    assert "Azure Data Box 120" in found.closed


def test_appliances_are_as_many_as_it_takes_and_end_in_their_cloud():
    wanted = replace(WANTED, packed_bytes=39 * TB)
    known = numbers(b"azure_data_box_120_capacity = 10e12\nazure_data_box_120_days = 20\nazure_data_box_120_fee = 500")
    by, _ = ways(known, wanted=wanted)
    box = by["azure_data_box_120"]
    assert parts(box) == {"fee": 4 * 500, "egress": 39_000 * 0.09, "port": round(39e3 / 3600 * 2.25, 6)}
    assert box.days_to_all == pytest.approx(20 + 39e3 / 86_400)
    assert "then over the link" in box.note
    near, _ = ways(known, wanted=wanted, near=("azure_data_box_120",))
    assert parts(near["azure_data_box_120"]) == {"fee": 2000}
    assert near["azure_data_box_120"].days_to_all == 20
    assert near["azure_data_box_525"].days_to_all > 20
    assert any("not on a cluster elsewhere" in each for each in box.cannot)


def test_a_terminal_is_reached_with_packed_drives():
    wanted = replace(WANTED, packed_bytes=36 * TB)
    known = numbers(b"data_transfer_terminal_rate = 100e9\ndata_transfer_terminal_hour = 300\nground_hours = 6")
    by, _ = ways(known, wanted=wanted, near=("data_transfer_terminal",))
    sealed = simulate(wanted, GROUP, TERMS, known).sealed
    assert by["data_transfer_terminal"].days_to_all == pytest.approx((sealed + 8 * 3600 + 2880) / 86_400)
    assert parts(by["data_transfer_terminal"]) == {"terminal": 0.8 * 300}


def test_every_number_used_is_listed_and_those_without_authority_are_told():
    _, found = ways()
    by = {number.name: number for number in found.used}
    for name in ("link_rate", "egress_price", "hdd_price", "trip_price", "courier_price", "azure_data_box_525_fee",
                 "snowball_open", "customs_days", "courier_days", "hdd_write_rate", "person_hour"):  # fmt: skip
        assert name in by, name
        assert by[name].source
        assert by[name].how
    assert not by["azure_data_box_525_fee"].authority
    assert by["egress_price"].how == "stated"  # as this plan states it
    assert "ssd_price" not in by
    assert "google_transfer_appliance_40_fee" in by


def test_a_link_that_carries_nothing_never_ends():
    by, found = ways(numbers(b"link_utilisation = 0"))
    assert by["link"].days_to_all is None
    assert by["link"].note
    assert by["azure_data_box_120"].days_to_all is None
    assert (found.break_even.faster_from_bytes, found.break_even.link_rate) == (0.0, None)
    assert link_seconds(1, defaults().stated(b"link_utilisation = 0")) is None


def test_losing_more_than_parity_leaves_drives_without_days():
    by, _ = ways(terms=replace(TERMS, lost=("a", "b"), gpus=3))
    assert (by["drives"].days_to_first_batch, by["drives"].days_to_all) == (None, None)
    assert by["drives"].usd > 0


def test_services_are_named_as_they_are():
    with pytest.raises(BadInput, match="no such service: 'azure'") as caught:
        ways(near=("azure",))
    assert "azure_data_box_120" in caught.value.hint


def test_absurd_terms_are_refused_here_too():
    with pytest.raises(BadInput, match="hosts"):
        ways(terms=replace(TERMS, hosts=0, source_rate=math.nan))


# --- break-even ----------------------------------------------------------------------------------------------


def bisect(sign, low, high):
    """Where `sign` turns from negative to positive, between positive bounds."""
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if sign(middle) < 0 else (low, middle)
    return math.sqrt(low * high)


def drive_seconds(size, known):
    """The time to all data of `size` packed bytes on these drives, written out anew."""
    scale = size / WANTED.packed_bytes
    on_a_drive = drive_bytes(WANTED, GROUP)[0]
    scan = TERMS.files / TERMS.speeds.scan_files * scale
    pack = max(TERMS.source_bytes / TERMS.speeds.pack_bytes, on_a_drive / known["hdd_write_rate"]) * scale
    by_hand = (known["ground_hours"] + known["flight_hours"]) / 24 + known["customs_days"]
    courier = known["courier_days"] + known["customs_days"]
    return scan + pack + 2 * 3600 + max(by_hand, courier) * 86_400 + 2 * 180


@pytest.mark.parametrize("rate", [b"1e9", b"10e9", b"2.5e9"])
def test_break_even_size_agrees_with_bisection(rate):
    known = numbers(b"link_rate = " + rate)
    _, found = ways(known)
    size = found.break_even.faster_from_bytes
    if size is None:
        assert drive_seconds(1e21, known) > link_seconds(1e21, known)
        return
    assert size == pytest.approx(
        bisect(lambda bytes_: link_seconds(bytes_, known) - drive_seconds(bytes_, known), 1.0, 1e21), rel=1e-9
    )


def test_some_break_even_sizes_exist_and_some_do_not():
    assert ways(numbers(b"link_rate = 1e9"))[1].break_even.faster_from_bytes is not None
    assert ways(numbers(b"link_rate = 1e12"))[1].break_even.faster_from_bytes is None


def test_break_even_link_speed_agrees_with_bisection():
    known = numbers()
    speed = ways(known)[1].break_even.link_rate

    def slower(rate):
        at = known.stated(f"link_rate = {rate!r}".encode())
        return drive_seconds(WANTED.packed_bytes, known) - link_seconds(WANTED.packed_bytes, at)

    assert speed == pytest.approx(bisect(slower, 1e3, 1e15), rel=1e-9)


def test_break_even_cost_agrees_with_bisection():
    known = numbers(b"egress_price = 0.2")

    def dearer(size):
        scale = size / WANTED.packed_bytes
        drives = 2 * 2 * 60 + 2500 + scale * (4 * 3 + 4 * 20 * 23 + 2 * 2 * 0.7 * 15)
        return size / 1e9 * 0.2 + link_seconds(size, known) / 3600 * 2.25 - drives

    assert ways(known)[1].break_even.cheaper_from_bytes == pytest.approx(bisect(dearer, 1.0, 1e21), rel=1e-9)
    assert ways(known.stated(b"egress_price = 0"))[1].break_even.cheaper_from_bytes is None


def test_the_line_is_what_break_even_goes_by():
    known = numbers()
    assert line(WANTED, GROUP, TERMS, known).seconds == pytest.approx(drive_seconds(WANTED.packed_bytes, known))


@quietly
@given(st.floats(1e6, 1e12), st.floats(1.0, 1e3), st.floats(0.01, 1.0), st.integers(1, WANTED.packed_bytes))
def test_a_faster_link_is_never_later_and_more_bytes_never_earlier(rate, factor, used, size):
    slow, fast = (
        defaults().stated(f"link_rate = {each!r}\nlink_utilisation = {used!r}".encode())
        for each in (rate, rate * factor)
    )
    few, many = (replace(WANTED, packed_bytes=each) for each in (size, WANTED.packed_bytes))
    slower, _ = ways(slow, wanted=few)
    faster, found = ways(fast, wanted=few)
    more, _ = ways(slow, wanted=many)
    for name in slower:
        assert faster[name].days_to_all <= slower[name].days_to_all * (1 + 1e-12)
        assert more[name].days_to_all >= slower[name].days_to_all * (1 - 1e-12)
        assert faster[name].days_to_first_batch <= faster[name].days_to_all
        assert all(part.usd >= 0 for part in faster[name].parts)
    size = found.break_even.faster_from_bytes
    if size is not None:
        assert size >= 0


def test_what_drives_would_fetch_at_customs_is_nowhere_an_input():
    known = {*Drive.__struct_fields__, *Carrier.__struct_fields__, *Terms.__struct_fields__, *compare.__kwdefaults__}
    known |= {number.name for number in defaults().everything}
    assert not [name for name in known if "value" in name or "threshold" in name]


def test_servers_that_wait_for_a_link_cost_more_the_more_there_is_to_carry():
    """Drives are dearer than the link but for the servers, which are rented from the first day on."""
    terms = replace(TERMS, gpus=2000, lease_begins=0.0)
    slow = numbers(b"link_rate = 1e9\negress_price = 0\nhdd_price = 100\n")
    _, without = ways(known=slow)
    _, found = ways(known=slow, terms=terms)
    assert without.break_even.cheaper_from_bytes is None
    assert found.break_even.cheaper_from_bytes is not None
    assert found.break_even.cheaper_from_bytes < WANTED.packed_bytes


def test_drives_are_paid_by_their_labels():
    labels = {drive.name: 22 * TB for drive in WANTED.drives}
    by, _ = ways(labels=labels)
    assert parts(by["drives"])["drives"] == 4 * 22 * 23


def test_one_is_not_several():
    single = replace(WANTED, carriers=WANTED.carriers[:1])
    by, _ = ways(wanted=single)
    assert by["drives"].title == "4 drives with 1 carrier"
    assert by["drives"].note == "1 group of 2+2"
