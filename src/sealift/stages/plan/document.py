"""shipment.toml: the plan to follow, as a record and as TOML that people read and edit.

What holds of every plan that `parse` returns and that `render` writes:

- No key is unknown and every value is within its limits; faults are named all at once, by their paths.
- Its groups are complete: every (group, slot) is one drive's, and no group has more drives than a host has bays.
- Every drive has a known carrier, and every carrier a drive; names and serial numbers are unique.
- Its drives, declared in this order, are dealt by pack to just these groups and slots (stages/pack/fleet.py).
- It survives the loss that it states, as it stands: people edit files.

The same plan gives the same bytes. There is no value of goods in it, no threshold and no chance of an inspection: no
field could hold one. Pure: no files, clock or devices; whether the bytes fit on the drives is checked by pack.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from sealift.errors import BadInput
from sealift.formats import manifest, strict
from sealift.stages.pack import fleet
from sealift.stages.plan import defaults, geometry
from sealift.stages.plan.geometry import Kind, Means, Survive
from sealift.trade import sections
from sealift.trade.template import WIDTH, toml_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MAX_FILE = 8 << 20
MAX_PACK, MIN_PACK = (4 << 30) - (1 << 20), 1 << 20  # those of stages/pack/inputs.py
_SOME = 20  # of what is listed within one fault

TYPE: Literal["sealift-plan"] = "sealift-plan"
Name = Annotated[str, Meta(min_length=1, max_length=64)]
CarrierName = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"\A[^,=]*\Z")]
Path = Annotated[str, Meta(max_length=4000)]
Count = Annotated[int, Meta(ge=0, le=1 << 60)]
Size = Annotated[int, Meta(ge=1, le=geometry.MAX_BYTES)]
Place = Annotated[int, Meta(ge=0, lt=geometry.MAX_DRIVES)]
Hours = Annotated[float, Meta(ge=0, le=1e9)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Carrier(Struct, frozen=True, kw_only=True):
    """Who carries some of the drives, and how."""

    name: CarrierName
    means: Means = "courier"


class Drive(Struct, frozen=True, kw_only=True):
    """A drive and its place; `serial` is "" until it is known."""

    name: Name
    serial: sections.Serial = ""
    make: sections.Text = ""
    model: sections.Text = ""
    kind: Kind = "hdd"
    capacity_bytes: Size
    carrier: CarrierName
    group: Place
    slot: Place


class Known(NamedTuple):
    """Of a drive what a geometry does not need to know; `capacity_bytes` is what its label says."""

    capacity_bytes: int
    serial: str = ""
    make: str = ""


class Forecast(Struct, frozen=True, kw_only=True):
    """What the planner expected when it wrote the plan; nothing follows it."""

    why: sections.LongText | None = None
    loss_probability: Share | None = None  # that some byte does not arrive
    lost_share: Share | None = None  # of the bytes, expected
    hours_to_first_batch: Hours | None = None
    hours_to_half: Hours | None = None
    hours_to_all: Hours | None = None


class Plan(Struct, frozen=True, kw_only=True):
    """Everything a plan says, in the order of the file. Drives are in the order of "drive i of N"."""

    type: Literal["sealift-plan"]
    version: Literal[1]
    source: Path = ""  # "": planned on paper
    bytes: Count
    files: Count
    packed_bytes: Size
    bays: Annotated[int, Meta(ge=1, le=geometry.MAX_DRIVES)]
    groups: Annotated[int, Meta(ge=1, le=geometry.MAX_DRIVES)]
    data: Annotated[int, Meta(ge=1, le=manifest.MAX_DRIVES)]
    parity: Annotated[int, Meta(ge=0, lt=manifest.MAX_DRIVES)]
    pack_size: Annotated[int, Meta(ge=MIN_PACK, le=MAX_PACK)]
    order: Literal["path", "shuffled"] = "path"
    seed: Annotated[int, Meta(ge=0, lt=1 << 62)] = 0
    survive: Survive = Survive()
    forecast: Forecast = Forecast()
    numbers: dict[str, float] = {}
    carriers: Annotated[tuple[Carrier, ...], Meta(max_length=geometry.MAX_CARRIERS)]
    drives: Annotated[tuple[Drive, ...], Meta(max_length=geometry.MAX_DRIVES)]

    @property
    def size(self) -> int:
        """N of a group: its drives."""
        return self.data + self.parity

    @property
    def nameless(self) -> tuple[int, ...]:
        """Numbers of the drives that have no serial number yet."""
        return tuple(number for number, drive in enumerate(self.drives, 1) if not drive.serial)


def draft(
    wanted: geometry.Wanted,
    chosen: geometry.Geometry,
    *,
    source: str = "",
    size: int,
    files: int,
    pack_size: int,
    order: Literal["path", "shuffled"] = "path",
    seed: int = 0,
    known: Mapping[str, Known] | None = None,
    numbers: Mapping[str, float] | None = None,
    forecast: Forecast | None = None,
) -> Plan:
    """The plan of a geometry. `size` and `files` are the source's; `known` is by a drive's name."""
    places = geometry.placement(wanted, chosen)
    carrying = {place.carrier for place in places}
    return Plan(
        type=TYPE,
        version=1,
        source=source,
        bytes=size,
        files=files,
        packed_bytes=wanted.packed_bytes,
        bays=wanted.bays,
        groups=chosen.groups,
        data=chosen.data,
        parity=chosen.parity,
        pack_size=pack_size,
        order=order,
        seed=seed,
        survive=wanted.survive,
        forecast=forecast or Forecast(),
        numbers=dict(numbers or {}),
        carriers=tuple(Carrier(name=c.name, means=c.means) for c in wanted.carriers if c.name in carrying),
        drives=tuple(
            _placed(place, (known or {}).get(place.drive.name) or Known(place.drive.capacity_bytes)) for place in places
        ),
    )


def _placed(place: geometry.Place, known: Known) -> Drive:
    drive = place.drive
    return Drive(
        name=drive.name,
        serial=known.serial,
        make=known.make,
        model=drive.model,
        kind=drive.kind,
        capacity_bytes=known.capacity_bytes,
        carrier=place.carrier,
        group=place.group,
        slot=place.slot,
    )


# --- reading ---------------------------------------------------------------------------------------------


def parse(data: bytes) -> Plan:
    """The plan in a file's bytes; BadInput names every fault at once."""
    tree, fault = strict.load(data, MAX_FILE)
    if tree is None:
        raise _invalid([fault])
    faults: list[str] = []
    values = strict.values(tree, Plan, "", faults, _wants)
    drives, carriers = values.get("drives", ()), values.get("carriers", ())
    stated = values.get("numbers", {})
    faults += [f"numbers.{each}" for each in defaults.defaults().faults(stated)]
    faults += [f"numbers.{name}: a price; a plan holds none" for name in sorted(defaults.prices(stated))]
    if [len(drives), len(carriers)] == [_length(tree.get("drives")), _length(tree.get("carriers"))]:
        faults += _named(drives, carriers)
    if faults:
        raise _invalid(faults)
    plan = Plan(**values)
    faults = _whole(plan) or [*_survives(plan), *_dealt(plan)]
    if faults:
        raise _invalid(faults)
    return plan


def _invalid(faults: list[str]) -> BadInput:
    return BadInput(
        f"the plan has {strict.shown(faults)}",
        hint="the comments in the file say what each field is, and what it has to agree with",
    )


def _wants(kind: Any, error: str) -> str:
    if "regex" in error:
        serial = kind is sections.Serial
        return f"must {'be printable ASCII without spaces' if serial else 'have no comma and no equals sign'}"
    return ""


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list) else 0


def _named(drives: Iterable[Drive], carriers: Iterable[Carrier]) -> Iterator[str]:
    """Names that two have or nobody has."""
    yield from _twice("carriers", "name", (carrier.name for carrier in carriers))
    yield from _twice("drives", "name", (drive.name for drive in drives))
    yield from _twice("drives", "serial", (drive.serial for drive in drives))
    known, carrying = {carrier.name for carrier in carriers}, {drive.carrier for drive in drives}
    for number, carrier in enumerate(carriers, 1):
        if carrier.name not in carrying:
            yield f"carriers[{number}].name: {carrier.name!r} carries no drive"
    odd = [(number, drive.carrier) for number, drive in enumerate(drives, 1) if drive.carrier not in known]
    for at, (number, name) in enumerate(odd):
        yield f"drives[{number}].carrier: {name!r} is no carrier{strict.meant(name, known) if at < _SOME else ''}"


def _twice(what: str, field: str, names: Iterable[str]) -> Iterator[str]:
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if name and name.casefold() in seen:
            yield f"{what}[{number}].{field}: {name!r} is that of {what}[{seen[name.casefold()]}] too"
        seen.setdefault(name.casefold(), number)


def _whole(plan: Plan) -> list[str]:
    """Groups that are not complete, or cannot be."""
    faults: list[str] = []
    size, groups = plan.size, plan.groups
    if size > min(plan.bays, manifest.MAX_DRIVES):
        room = f"bays = {plan.bays}" if plan.bays < manifest.MAX_DRIVES else f"a group's {manifest.MAX_DRIVES}"
        faults.append(f"data, parity: {plan.data} + {plan.parity} drives a group are more than {room}")
    if len(plan.drives) != size * groups:
        faults.append(f"drives: {len(plan.drives):,}; {groups:,} groups of {size} are {size * groups:,}")
    for field, value, most in (
        ("carriers", plan.survive.carriers, len(plan.carriers) - 1),
        ("drives", plan.survive.drives, plan.parity),
    ):
        if not 0 <= value <= most:
            faults.append(f"survive.{field}: {value} is not between 0 and {most}")
    taken: dict[tuple[int, int], int] = {}
    for number, drive in enumerate(plan.drives, 1):
        where = f"drives[{number}]"
        if drive.group >= groups:
            faults.append(f"{where}.group: {drive.group}; groups are 0 to {groups - 1}")
        elif drive.slot >= size:
            faults.append(
                f"{where}.slot: {drive.slot}; slots of {plan.data} + {plan.parity} drives are 0 to {size - 1}"
            )
        elif (drive.group, drive.slot) in taken:
            other = taken[drive.group, drive.slot]
            faults.append(f"{where}: group {drive.group}, slot {drive.slot} is that of drives[{other}] too")
        else:
            taken[drive.group, drive.slot] = number
    filled = Counter(group for group, _ in taken)
    for group, count in sorted(filled.items()):
        if count < size:
            lacks = [str(slot) for slot in range(size) if (group, slot) not in taken][:_SOME]
            faults.append(f"group {group}: no drive in slot {', '.join(lacks)}")
    if empty := [str(group) for group in range(groups) if group not in filled][:_SOME]:
        faults.append(f"group {', '.join(empty)}: no drive")
    return faults


def _survives(plan: Plan) -> Iterator[str]:
    """Groups of which the stated loss takes more than parity holds."""
    lost = plan.survive
    by_group: dict[int, Counter[str]] = {}
    for drive in plan.drives:
        by_group.setdefault(drive.group, Counter())[drive.carrier] += 1
    for group, carriers in sorted(by_group.items()):
        worst = carriers.most_common(lost.carriers)
        taken = sum(count for _, count in worst) + lost.drives
        if taken > plan.parity:
            who = "".join(f"{count} drives with {name}, " for name, count in worst)
            yield f"survive: group {group}: {who}{lost} takes {taken} drives of it, and parity holds {plan.parity}"


def _dealt(plan: Plan) -> Iterator[str]:
    """Drives that pack would deal to another place than is stated, in the order in which they are listed."""
    listed = list(enumerate(plan.drives, 1))
    groups = fleet.in_groups(listed, plan.groups, carrier=lambda each: each[1].carrier)
    for group, places in enumerate(groups):
        for slot, (number, drive) in enumerate(places):
            if (drive.group, drive.slot) != (group, slot):
                yield (
                    f"drives[{number}]: group {drive.group}, slot {drive.slot} with {drive.carrier} is stated; listed "
                    f"here, pack deals it to group {group}, slot {slot}"
                )


# --- writing ---------------------------------------------------------------------------------------------

HEAD = """\
Plan of one shipment, for: sealift pack --plan FILE, sealift declare --new FILE --plan, sealift rehearse --plan.
Fill in every drive's serial number. Whatever else is changed is checked when the file is read: groups must be
complete, the stated loss must be survived, and drives must be listed in the order in which they are dealt. The split
follows the loss to survive alone."""

HELP: dict[str, str] = {
    "type": "What this file is. Leave as it is.",
    "version": "Version of this form. Leave as it is.",
    "source": 'The folder that is packed, as from this file; "" where it was planned on paper.',
    "bytes": "Size of the source, and its files.",
    "packed_bytes": "Bytes of all data packs that were planned for, without parity.",
    "bays": "Drives that a host takes at once: no group has more.",
    "groups": "Groups, of data + parity drives each; of a group, as many drives as parity may be lost.",
    "pack_size": "Length of a pack in bytes.",
    "order": '"path" keeps a tree together; "shuffled" permutes samples over the whole shipment, by seed.',
    "survive": "The loss that costs no byte: any so many carriers with all they carry, and any so many drives besides.",
    "forecast": "What the planner expected. Nothing follows it. Shares are of 1; half of the voyages that were drawn "
    "took no more than these hours.",
    "numbers": "Numbers stated for this plan in the place of the planner's own, by name.",
    "carriers": "Who carries drives, and how: courier, checked-bag or hand.",
    "drives": 'Every drive, in the order of "drive i of N". serial: as the drive reports it (smartctl -i, or lsblk '
    "-o SERIAL). group and slot: its place, which follows from carriers and order.",
}


def render(plan: Plan) -> str:
    """The plan as TOML; BadInput where `parse` would not take it."""
    lines = [f"# {line}" for line in HEAD.split("\n")]
    tables: list[str] = []
    for item in msgspec.structs.fields(Plan):
        value = getattr(plan, item.name)
        about = [f"# {line}" for line in textwrap.wrap(HELP.get(item.name, ""), WIDTH)]
        if isinstance(value, tuple):
            tables += ["", *about]
            for number, row in enumerate(value, 1):
                tables += ["", *([f"# drive {number} of {len(value)}"] if item.name == "drives" else [])]
                tables += [f"[[{item.name}]]", *_pairs(msgspec.structs.asdict(row))]
        elif isinstance(value, (Struct, dict)):
            pairs = dict(sorted(value.items())) if isinstance(value, dict) else msgspec.structs.asdict(value)
            tables += ["", *about, f"[{item.name}]", *_pairs(pairs)]
        else:
            lines += ["", *about] if about else []
            lines += _pairs({item.name: value})
    text = "\n".join([*lines, *tables]) + "\n"
    if parse(text.encode(errors="surrogatepass")) != plan:
        raise BadInput("the plan holds values that TOML cannot", hint="numbers must be finite, texts one line each")
    return text


def _pairs(values: Mapping[str, Any]) -> list[str]:
    found = ((name, value) for name, value in values.items() if value is not None)
    return [
        f"{name} = {value!r}" if isinstance(value, float) else f"{name} = {toml_value(value)}" for name, value in found
    ]
