"""What is told to the planner: words, rows and files; whatever comes in is refused or understood, never guessed."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict, replace
from voyages import START, ask

from sealift.errors import BadInput
from sealift.stages.drives_list import DriveRow, Flag, VolumeRow
from sealift.stages.plan import told
from sealift.stages.plan.geometry import Survive


@pytest.mark.parametrize(
    ("words", "loss", "most"),
    [
        ("any carrier", (1, 0), told.MOST_LOSS),
        ("Any carrier and 2 drives", (1, 2), told.MOST_LOSS),
        ("any 2 carriers,  any drive, 99.99%", (2, 1), 0.0001),
        ("2 carriers", (2, 0), told.MOST_LOSS),
        ("any 3 drives and 99.9 %", (0, 3), 0.001),
        ("99%", (0, 0), 0.01),
        ("0.9999", (0, 0), 0.0001),
        ("nothing", (0, 0), told.MOST_LOSS),
    ],
)
def test_the_loss_in_words(words, loss, most):
    assert told.loss(words) == (Survive(carriers=loss[0], drives=loss[1]), most)


@pytest.mark.parametrize("carriers", range(4))
@pytest.mark.parametrize("drives", range(4))
def test_what_a_loss_is_called_is_understood_again(carriers, drives):
    one = Survive(carriers=carriers, drives=drives)
    assert told.loss(str(one))[0] == one


@pytest.mark.parametrize(
    "words",
    [
        "",
        "all",
        "any carrier and any carrier",
        "100%",
        "101%",
        "1.5",
        "-1 drives",
        "nan",
        "any carrier or drive",
        "0,5",
    ],
)
def test_other_words_are_refused(words):
    with pytest.raises(BadInput, match="the loss to survive") as caught:
        told.loss(words)
    assert "any carrier and 2 drives" in caught.value.hint


@given(st.text(max_size=60))
def test_any_words_are_understood_or_refused(words):
    for parse in (told.loss, told.drives, told.carriers, told.moment):
        with contextlib.suppress(BadInput):
            parse(words)


def test_drives_in_a_word():
    assert told.drives("60x80TB") == told.Drives(capacity=80 * 10**12, count=60)
    assert told.drives("12x15.36TB:ssd") == told.Drives(capacity=1536 * 10**10, count=12, kind="ssd")
    assert told.drives("4TiB").count == 1
    for text in ("0x80TB", "60x", "x80TB", "60x80TB:tape", "80 drives", "60x80TB:", "99999x1TB"):
        with pytest.raises(BadInput, match="are no drives"):
            told.drives(text)


def test_carriers_in_a_word():
    found = told.carriers("anna:hand, Ben Büro , 2xcourier,dhl:checked-bag")
    assert [(each.name, each.means) for each in found] == [
        ("anna", "hand"), ("Ben Büro", "courier"), ("carrier-03", "courier"), ("carrier-04", "courier"),
        ("dhl", "checked-bag"),
    ]  # fmt: skip
    for text in ("", ",", "anna:pigeon", "a=b", "x" * 65, "0xcourier", "a\nb"):
        with pytest.raises(BadInput):
            told.carriers(text)


def test_times():
    assert told.moment("2026-12-20") == datetime(2026, 12, 20, tzinfo=UTC)
    assert told.moment("2026-12-20T08:00+01:00") == datetime(2026, 12, 20, 7, tzinfo=UTC)
    with pytest.raises(BadInput, match="is no time"):
        told.moment("tomorrow")


def test_the_form_says_nothing_until_it_is_filled_in_and_has_every_field():
    form = told.form()
    assert told.parse(form.encode()) == told.Voyage()
    spoken = "\n".join(line.removeprefix("# ") for line in form.split("\n"))
    for kind in (told.Voyage, told.Training, told.Carrier, told.Drives):
        for name in kind.__struct_fields__:
            if name not in {"numbers", "carriers", "drives", "training", "name", "free"}:
                assert f"\n{name} = " in spoken, name


def test_the_form_filled_in_is_what_it_says():
    filled = "\n".join(
        line.removeprefix("# ") if line.startswith("# ") and (" = " in line or line.startswith("# [[")) else line
        for line in told.form().split("\n")
        if not line.startswith("# survive") and "gpu_hours" not in line
    )
    filled = filled.replace("customs_days = 2\nlink_rate = 10e9", "customs_days = 2\nlink_rate = 10e9")
    found = told.parse(filled.encode())
    assert found.bytes == "4.8PB"
    assert found.training.return_bytes == "2TB"
    assert found.carriers[0].departs == datetime(2026, 12, 8, 9, 30, tzinfo=UTC)
    assert [each.name for each in told.fleet(found.drives)][::60] == ["drive-001", "S6CANX0T000001"]


def test_unknown_keys_and_wrong_values_are_named_at_once():
    with pytest.raises(BadInput) as caught:
        told.parse(
            b'bay = 3\nhosts = 0\nstart = 2026-12-01\n[[carriers]]\nnme = "a"\n[numbers]\nlink = 1\nhdd_price = nan\n'
        )
    text = str(caught.value)
    for expected in (
        "bay: no such field; did you mean bays?",
        "hosts: ",
        "start: wants a time with its zone",
        "carriers[1].nme: no such field; did you mean carriers[1].name?",
        "numbers.link: no such number",
        "numbers.hdd_price: ",
    ):
        assert expected in text, text


@given(st.data())
def test_a_form_that_somebody_broke_is_refused_or_understood(data):
    text = bytearray(told.form().encode().replace(b"\n# ", b"\n"))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with contextlib.suppress(BadInput):
        told.parse(bytes(text))


def test_drives_get_names_once():
    rows = (
        told.Drives(capacity="1TB", count=2), told.Drives(capacity="2TB", serial="S1"), told.Drives(capacity=5),
        told.Drives(capacity="1TB", name="shelf 3", serial="S2"),
    )  # fmt: skip
    assert [(each.name, each.capacity) for each in told.fleet(rows)] == [
        ("drive-001", 10**12), ("drive-002", 10**12), ("S1", 2 * 10**12), ("drive-003", 5), ("shelf 3", 10**12),
    ]  # fmt: skip
    for row in (told.Drives(capacity="1TB", count=2, serial="S"), told.Drives(capacity="much"), told.Drives(capacity=0),
                told.Drives(capacity=5, free=6)):  # fmt: skip
        with pytest.raises(BadInput, match=r"drives\[1\]"):
            told.fleet([row])


def test_what_a_plan_needs_is_asked_for_at_once():
    with pytest.raises(BadInput) as caught:
        told.ready(told.Voyage(deadline=START - timedelta(days=1), pack_size="1kB"), now=START)
    for expected in (
        "no drives",
        "no carriers",
        "no bays",
        "deadline: 2026-11-30 08:00 UTC is not after now",
        "pack_size",
    ):
        assert expected in str(caught.value)
    with pytest.raises(BadInput, match=r"carrier anna: departs at .* before the start of packing"):
        ask(carriers=(told.Carrier(name="anna", departs=START - timedelta(hours=1)),))


# --- drives that are here --------------------------------------------------------------------------------


def row(*flags, name="S1", serial="S1", volumes=(), table=None, **more):
    return DriveRow(
        name=name, serial=serial, model="M", firmware=None, device="/dev/sdx", kind="disk", transport="sata",
        size_bytes=10**12, rotational=True, removable=False, table=table, health=None, volumes=list(volumes),
        flags=[Flag(flag=each, why="why") for each in flags], **more,
    )  # fmt: skip


def volume(**more):
    return VolumeRow(
        **{"device": "/dev/sdx", "kind": "disk", "size_bytes": 10**12, "filesystem": None, "label": None, "uuid": None,
           "mounts": [], "swap": False, "used_bytes": None, "free_bytes": None, "entries": None, "sealift": None,
           "trouble": None} | more
    )  # fmt: skip


EMPTY = {"filesystem": "xfs", "mounts": ["/mnt/d"], "used_bytes": 7 * 10**9, "free_bytes": 99 * 10**10, "entries": 0}


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (row(volumes=[volume()]), ""),
        (row("in-use", "batch", volumes=[volume(**EMPTY)]), ""),
        (row("system", volumes=[volume()]), "system: why"),
        (row("smart", volumes=[volume()]), "smart: why"),
        (row("no-answer"), "no-answer: why"),
        (row("read-only"), "read-only: why"),
        (row("too-small"), "too-small: why"),
        (row("same-serial"), "same-serial: why"),
        (row(volumes=[volume()], table="gpt"), "partitioned"),
        (row(volumes=[volume(), volume(swap=True)]), "part of something else"),
        (row(volumes=[volume(filesystem="xfs")]), "is not mounted"),
        (row(volumes=[volume(**EMPTY | {"entries": 2})]), "it is not empty: 2 names in its root"),
        (row(volumes=[volume(**EMPTY | {"trouble": "EIO", "entries": None})]), "nobody can say that it is empty"),
    ],
)
def test_only_drives_that_may_be_packed_onto_are_taken(one, why):
    taken, left = told.listed([one])
    assert len(taken) + len(left) == 1
    if why:
        assert why in left[0].why
    else:
        assert taken[0].serial == "S1"
        assert taken[0].free in {None, 99 * 10**10}


def test_a_drive_without_a_serial_number_goes_by_its_name():
    (one,), _ = told.listed([row(name="/data/loop.img", serial=None, volumes=[volume()])])
    assert (one.name, one.serial) == ("/data/loop.img", "")


def test_ready_leaves_everything_else_as_it_was_told():
    asked = ask(survive="any drive", hosts=3)
    assert asdict(told.ready(replace(asked, start=None), now=START + timedelta(microseconds=5))) == asdict(asked)


def test_a_drive_that_failed_its_test_is_left_out_and_one_without_room():
    rows = (told.Drives(capacity="1TB", serial="S1"), told.Drives(capacity="1TB", serial="S2"))
    taken, left = told.without_failed(rows, {"S2": "EIO", "S9": "lies"})
    assert [each.serial for each in taken] == ["S1"]
    assert [(each.name, each.why) for each in left] == [("S2", "it failed its test: EIO")]
    small = (told.Drives(capacity="3MB", name="l.img"), *rows)
    taken, left = told.without_room(small, 1 << 20)
    assert taken == rows
    assert "3,000,000 bytes have no room for packs of 1,048,576" in left[0].why


def test_a_long_name_is_the_same_in_a_list_and_in_a_record_of_tests():
    long = "/data/" + "x" * 80 + ".img"
    (one,), _ = told.listed([row(name=long, serial=None, volumes=[volume()])])
    assert len(one.name) == 64
    assert told.without_failed([one], {told.short(long): "EIO"})[0] == ()
