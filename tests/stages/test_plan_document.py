"""shipment.toml: what is written is read back, whatever is edited is checked, and nothing of value can enter."""

import re

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sealift.errors import BadInput
from sealift.stages.pack import inputs
from sealift.stages.plan import document, geometry
from sealift.trade import sections

MIB = 1 << 20
texts = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=20)


def wanted(drives=12, carriers=("Anna", "Bo", "Cem", "Dana"), *, bays=6, survive=(1, 1), size=100, packed=300):
    return geometry.Wanted(
        drives=tuple(geometry.Drive(name=f"D{i}", capacity_bytes=size * MIB) for i in range(drives)),
        carriers=tuple(geometry.Carrier(name=name) for name in carriers),
        bays=bays,
        packed_bytes=packed * MIB,
        survive=geometry.Survive(carriers=survive[0], drives=survive[1]),
    )


def plan(one=None, *, data=3, parity=3, groups=2, serials=True, **more):
    """Two groups of 3+3 drives over four carriers."""
    one = one or wanted()
    chosen = next(
        each
        for each in geometry.search(one, lambda _bytes, _blocks: MIB)
        if (each.data, each.parity, each.groups) == (data, parity, groups)
    )
    known = {
        drive.name: document.Known(drive.capacity_bytes, f"S-{drive.name}" if serials else "", "Maker")
        for drive in one.drives
    }
    return document.draft(one, chosen, **{"size": 290 * MIB, "files": 1000, "pack_size": MIB, "known": known} | more)


def faults(data):
    with pytest.raises(BadInput) as caught:
        document.parse(data if isinstance(data, bytes) else data.encode())
    assert caught.value.hint
    return str(caught.value)


def edited(old, new, of=None, count=1):
    text = document.render(of or plan())
    assert old in text
    return text.replace(old, new, count)


@st.composite
def plans(draw):
    names = draw(st.lists(st.sampled_from("AbBCdE"), min_size=1, max_size=4, unique_by=str.casefold))
    lost = (draw(st.integers(0, len(names) - 1)), draw(st.integers(0, 2)))
    one = wanted(
        draw(st.integers(1, 14)), names, bays=draw(st.integers(1, 7)), survive=lost, packed=draw(st.integers(1, 300))
    )
    found = geometry.search(one, lambda _bytes, _blocks: MIB)
    assume(found)
    return document.draft(
        one, draw(st.sampled_from(found)),
        source=draw(texts), size=draw(st.integers(0, 1 << 60)), files=draw(st.integers(0, 1 << 60)),
        pack_size=draw(st.integers(document.MIN_PACK, document.MAX_PACK)),
        order=draw(st.sampled_from(["path", "shuffled"])), seed=draw(st.integers(0, (1 << 62) - 1)),
        known={
            each.name: document.Known(each.capacity_bytes, f"S{each.name}" * draw(st.integers(0, 1)), draw(texts))
            for each in one.drives
        },
        numbers=draw(st.dictionaries(st.sampled_from(["courier_lost", "checked_bag_mishandled"]), st.floats(0, 1))),
        forecast=document.Forecast(
            why=draw(st.none() | texts), loss_probability=draw(st.none() | st.floats(0, 1)),
            hours_to_all=draw(st.none() | st.floats(0, 1e9)),
        ),
    )  # fmt: skip


@pytest.mark.long
@given(plans())
@settings(deadline=None)
def test_what_is_rendered_is_read_back_and_renders_to_the_same_bytes(one):
    text = document.render(one)
    again = document.parse(text.encode())
    assert again == one
    assert document.render(again) == text
    assert "\n\n\n" not in text


def test_the_same_plan_gives_the_same_bytes_whatever_order_its_numbers_came_in():
    numbers = {"courier_lost": 0.1, "checked_bag_mishandled": 0.2}
    other = dict(reversed(numbers.items()))
    assert document.render(plan(numbers=numbers)) == document.render(plan(numbers=other))


def test_a_person_can_read_it():
    text = document.render(plan())
    assert text.startswith("# Plan of one shipment")
    assert '\n# drive 1 of 12\n[[drives]]\nname = "D0"\nserial = "S-D0"\n' in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_unknown_keys_are_refused_with_the_one_that_was_meant():
    assert "\n  paritty: no such field; did you mean parity?" in faults(edited("parity = 3", "paritty = 3\nparity = 3"))
    told = faults(edited('make = "Maker"', 'makr = "Maker"'))
    assert "drives[1].makr: no such field; did you mean drives[1].make?" in told
    told = faults(edited("[numbers]", "[numbers]\ncourier_losst = 1.0"))
    assert "numbers.courier_losst: no such number; did you mean courier_lost?" in told
    assert "survive.carrier: no such field" in faults(edited("[survive]", "[survive]\ncarrier = 1"))
    assert "forecast.price: no such field" in faults(edited("[forecast]", "[forecast]\nprice = 1"))


def test_every_fault_of_form_is_named_at_once():
    text = edited("version = 1", "version = 2")
    text = text.replace("bays = 6", "bays = 0").replace('order = "path"', 'order = "size"').replace("parity = 3\n", "")
    text = text.replace('kind = "hdd"', 'kind = "tape"', 1).replace('serial = "S-D1"', 'serial = "S D1"')
    text = text.replace('means = "courier"', 'means = "drone"', 1).replace("[numbers]", "[numbers]\ncourier_lost = 2")
    told = faults(text)
    for fault in (
        "version: must be 1", "bays: expected a whole number >= 1", "order: must be one of path, shuffled",
        "parity: missing", "kind: must be one of hdd, ssd", "serial: must be printable ASCII without spaces",
        "carriers[1].means: must be one of courier, checked-bag, hand", "numbers.courier_lost: 2 is more than 1",
    ):  # fmt: skip
        assert fault in told
    assert told.startswith("the plan has 8 problems:\n  ")


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('name = "D1"', 'name = "D0"', "is that of drives["),
        ('serial = "S-D1"', 'serial = "s-d0"', "is that of drives["),
        ('name = "Bo"\n', 'name = "anna"\n', "carriers[2].name: 'anna' is that of carriers[1] too"),
        ('name = "Bo"\n', 'name = "Bob"\n', "carriers[2].name: 'Bob' carries no drive"),
        ('carrier = "Bo"', 'carrier = "Boo"', "'Boo' is no carrier; did you mean Bo?"),
        ("bays = 6", "bays = 5", "data, parity: 3 + 3 drives a group are more than bays = 5"),
        ("groups = 2", "groups = 3", "drives: 12; 3 groups of 6 are 18"),
        ("groups = 2", "groups = 3", "group 2: no drive"),
        ("group = 1\nslot = 0", "group = 2\nslot = 0", "drives[2].group: 2; groups are 0 to 1"),
        ("group = 1\nslot = 0", "group = 1\nslot = 6", "drives[2].slot: 6; slots of 3 + 3 drives are 0 to 5"),
        ("group = 1\nslot = 0", "group = 0\nslot = 0", "drives[2]: group 0, slot 0 is that of drives[1] too"),
        ("group = 1\nslot = 0", "group = 0\nslot = 0", "group 1: no drive in slot 0"),
        ("carriers = 1\ndrives = 1", "carriers = 4\ndrives = 1", "survive.carriers: 4 is not between 0 and 3"),
        ("carriers = 1\ndrives = 1", "carriers = 1\ndrives = -1", "survive.drives: -1 is not between 0 and 3"),
    ],
)
def test_what_does_not_hold_together_is_named_where_it_is(old, new, fault):
    assert fault in faults(edited(old, new))


def test_the_stated_loss_must_be_survived_as_the_file_stands():
    told = faults(edited("carriers = 1\ndrives = 1", "carriers = 2\ndrives = 1"))
    assert "survive: group 0: 2 drives with" in told
    assert "any 2 carriers and 1 drive takes 5 drives of it, and parity holds 3" in told
    # a carrier that takes over another's drive, and with it the place in the deal
    one = plan()
    mine = [each if each.carrier != "Bo" else replace(each, carrier="Anna") for each in one.drives]
    with pytest.raises(BadInput, match="with Anna, any carrier and 1 drive takes"):
        document.render(replace(one, drives=tuple(mine), carriers=tuple(c for c in one.carriers if c.name != "Bo")))


def test_drives_that_pack_would_deal_elsewhere_are_named():
    one = plan()
    swapped = (one.drives[1], one.drives[0], *one.drives[2:])
    with pytest.raises(BadInput) as caught:
        document.render(replace(one, drives=swapped))
    assert "drives[1]: group 1, slot 0 with Anna is stated; listed here, pack deals it to group 0, slot 0" in str(
        caught.value
    )
    # drives of other carriers between them change nothing: the deal goes carrier by carrier
    other = sorted(one.drives, key=lambda each: each.carrier, reverse=True)
    assert document.parse(document.render(replace(one, drives=tuple(other))).encode()).drives == tuple(other)


def test_no_field_could_hold_a_value_a_threshold_or_a_chance_of_inspection():
    """And nothing that is not in the record changes a plan: any key of the kind is refused, wherever it is put."""

    def fields(kind):
        for item in msgspec.structs.fields(kind):
            yield item.encode_name
            for inner in (document.Drive, document.Carrier, document.Forecast, geometry.Survive):
                if inner.__name__.lower() in str(item.type).lower():
                    yield from fields(inner)

    words = {word for name in fields(document.Plan) for word in re.split(r"[._]", name)}
    forbidden = {"value", "values", "price", "usd", "eur", "currency", "customs", "inspection", "threshold", "limit"}
    assert "carrier" in words
    assert not words & forbidden
    for key in ("media_value", "data_value", "currency", "threshold", "inspection_probability", "hs_code"):
        for table in ("[[drives]]", "[[carriers]]", "[survive]", "[forecast]", "[numbers]", "bytes = "):
            text = edited(table, f"{key} = 1\n{table}" if table == "bytes = " else f"{table}\n{key} = 1")
            assert f"{key}: no such " in faults(text)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"\x00", b"a" * (document.MAX_FILE + 1), b"drives = 3", b"drives = [1]", b"carriers = {}",
     b"a = " + b"[" * 4000, b"survive = 1", b"numbers = []", b"numbers = {a = 1}", b"bytes = " + b"9" * 3000,
     b"[numbers]\ncourier_lost = nan", b"[[drives]]\n" * 20_000],
)  # fmt: skip
def test_odd_files_are_refused(data):
    assert faults(data)


EDITS = ["0", "-1", "1e9", "nan", '"x"', "[]", "{}", "true", "99999999999999999999999", "'\u202e'"]


@pytest.mark.long
@given(st.data())
@settings(max_examples=150, deadline=None)
def test_an_edited_plan_is_refused_or_holds_what_plans_hold(data):
    lines = document.render(plan()).splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        kind = data.draw(st.sampled_from(["drop", "twice", "swap", "value"]))
        if kind == "drop":
            del lines[at]
        elif kind == "twice":
            lines.insert(at, lines[at])
        elif kind == "swap":
            other = data.draw(st.integers(0, len(lines) - 1))
            lines[at], lines[other] = lines[other], lines[at]
        elif " = " in lines[at]:
            lines[at] = lines[at].partition(" = ")[0] + " = " + data.draw(st.sampled_from(EDITS))
    try:
        one = document.parse("\n".join(lines).encode())
    except BadInput:
        return
    assert document.parse(document.render(one).encode()) == one
    places = {(drive.group, drive.slot) for drive in one.drives}
    assert places == {(group, slot) for group in range(one.groups) for slot in range(one.size)}
    for group in range(one.groups):
        mine = [drive.carrier for drive in one.drives if drive.group == group]
        most = sorted((mine.count(name) for name in set(mine)), reverse=True)[: one.survive.carriers]
        assert sum(most) + one.survive.drives <= one.parity


def test_texts_that_toml_cannot_hold_are_refused_when_it_is_written():
    for bad in ("a\nb", "\ud800", "\u202e"):
        with pytest.raises(BadInput):
            document.render(plan(source=bad))
    with pytest.raises(BadInput):
        document.render(plan(numbers={"courier_lost": float("nan")}))


def test_limits_are_those_of_pack():
    assert (document.MIN_PACK, document.MAX_PACK) == (inputs.MIN_PACK, inputs.MAX_PACK)
    assert geometry.MAX_DRIVES == sections.MAX_DRIVES
