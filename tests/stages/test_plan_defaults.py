"""The planner's numbers: each has its source, and what is stated in their place is checked whole."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealift.errors import BadInput
from sealift.stages.plan.defaults import defaults


def test_every_number_says_where_it_comes_from_and_how_well_it_is_known():
    numbers = defaults().everything
    assert len(numbers) > 40
    for number in numbers:
        assert number.source, number.name
        assert number.date[:2] == "20", number.name
        assert number.how in {"read", "second-hand", "recalled", "placeholder"}
        assert math.isfinite(number.value), number.name
        assert number.low is None or number.low <= number.value, number.name
        assert number.high is None or number.high >= number.value, number.name
        assert not (number.authority and number.how in {"recalled", "placeholder"}), number.name
        assert not (number.authority and number.source == "none"), number.name
        assert number.how != "read" or number.authority, number.name


def test_every_number_that_is_shipped_could_be_stated():
    numbers = defaults()
    lines = "\n".join(f"{number.name} = {number.value!r}" for number in numbers.everything)
    stated = numbers.stated(lines.encode())
    assert [each.value for each in stated.everything] == [each.value for each in numbers.everything]


def test_services_have_the_numbers_that_their_names_promise():
    numbers = defaults()
    names = {number.name for number in numbers.everything}
    assert {service.id for service in numbers.services} == {
        name.removesuffix("_open") for name in names if name.endswith("_open")
    }
    assert numbers["snowball_open"] == 0
    assert all(service.title and service.cannot for service in numbers.services)


def test_what_is_used_is_remembered_in_the_order_of_the_file():
    numbers = defaults()
    assert numbers.used == ()
    numbers["egress_price"]
    assert numbers["courier_lost"] == 0.005
    assert [number.name for number in numbers.used] == ["courier_lost", "egress_price"]
    assert [number.authority for number in numbers.used] == [False, True]


def test_a_stated_number_takes_the_place_of_the_default_and_of_its_authority():
    before = defaults()
    stated = before.stated(b"egress_price = 0.05\nlink_rate = 100_000_000_000\n")
    assert stated["egress_price"] == 0.05
    number = next(each for each in stated.everything if each.name == "egress_price")
    assert (number.how, number.authority, number.source, number.unit) == (
        "stated",
        False,
        "stated for this plan",
        "USD/GB",
    )
    assert stated["link_rate"] == 1e11
    assert stated["courier_lost"] == defaults()["courier_lost"]
    assert before["egress_price"] == 0.09


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("egres_price = 1", "egres_price: no such number; did you mean egress_price?"),
        ("zzzz = 1", "zzzz: no such number"),
        ("link_rate = nan", "link_rate: nan is no number to count with"),
        ("link_rate = inf", "link_rate: inf is no number to count with"),
        ("link_rate = 0", "link_rate: 0 b/s: must be more than 0"),
        ("link_rate = -1", "link_rate: -1 b/s: must be more than 0"),
        ("link_rate = true", "link_rate: 'True' is no number"),
        ("link_rate = '10 Gb/s'", "link_rate: '10 Gb/s' is no number"),
        ("link_rate = [1]", "link_rate: '[1]' is no number"),
        ("link_rate = 1e19", "link_rate: 1e+19 is more than 1e+18"),
        ("courier_lost = 1.5", "courier_lost: 1.5 is more than 1"),
        ("courier_lost = -0.1", "courier_lost: -0.1 is less than 0"),
        ("hdd_unreadable = 0.001", "hdd_unreadable: 0.001 is more than 1e-06"),
        ("hdd_annual_failure = 1", "hdd_annual_failure: 1 is more than 0.999"),
        ("snowball_open = 2", "snowball_open: 2 is neither 0 nor 1"),
        ("[egress_price]\nvalue = 1", "egress_price: \"{'value': 1}\" is no number"),
    ],
)
def test_what_cannot_be_a_number_is_named(line, fault):
    with pytest.raises(BadInput) as caught:
        defaults().stated(line.encode())
    assert fault in str(caught.value)
    assert caught.value.hint


def test_all_faults_are_named_at_once():
    with pytest.raises(BadInput) as caught:
        defaults().stated(b"link_rate = 0\ncourier_lost = nan\nunknown = 1\nhdd_price = 20\n")
    assert "3 problems" in str(caught.value)
    assert all(name in str(caught.value) for name in ("link_rate", "courier_lost", "unknown"))


@pytest.mark.parametrize(
    "data", [b"\xff", b"a = ", b"a = 1\na = 2", b"x = " + b"9" * 5000, b"#" * (1 << 21), b"a=" + b"[" * 9999]
)
def test_what_is_no_toml_is_refused(data):
    with pytest.raises(BadInput):
        defaults().stated(data)


@given(st.binary(max_size=200) | st.text(alphabet="link_rate=.-+0123456789enaif[]'\n ", max_size=60).map(str.encode))
def test_nothing_but_our_error_leaves(data):
    try:
        stated = defaults().stated(data)
    except BadInput:
        return
    assert all(math.isfinite(number.value) and number.value >= 0 for number in stated.everything)
