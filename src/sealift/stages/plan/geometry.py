"""Which geometries carry a shipment: every group size, k data + m parity, and drives over carriers. Exact, not sampled.

What holds of every geometry that `search` returns:

- n = k + m drives a group, no more than a host has bays; groups are equal, of drives of similar capacity.
- Its packed bytes fit: a group closes at its smallest drive, whose headroom stays free, and groups are filled in
  proportion to their smallest drives, as packing fills them.
- It survives the stated loss: in every group the drives of any `carriers` carriers, and any `drives` drives besides,
  are no more than m.
- Listed in the order of `placement`, its drives are dealt to just these groups and slots by pack
  (stages/pack/fleet.py).

The round rule. Carriers take equally many drives, as far as each may; the drives, carrier by carrier in the order of
names, go round the groups. Any run of c places in that order gives every group floor(c/G) or ceil(c/G) of them, so:

- One carrier: no group has more of a carrier than ceil(c/G), c the largest total. No placement has less: T drives a
  group at most allows min(most, T x G) drives a carrier, equal totals reach every N that these sums reach, and
  c <= T x G means ceil(c/G) <= T.
- Several carriers, none at its limit: totals are floor or ceil of N/C, so every group has floor or ceil of n/C of
  each carrier, which is the least for the a largest together.
- Several carriers, some at their limit: what is returned is exactly what pack will deal, and counted as such; a deal by
  hand might spread them better by a drive.

Drives and bytes are whole numbers. The carriers are told and never searched, and no value of goods is known here.
Odds are in odds.py, what is missing when there is no geometry in missing.py.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from sealift.errors import BadInput
from sealift.formats import manifest
from sealift.formats.sizes import counted

Kind = Literal["hdd", "ssd"]
Means = Literal["courier", "checked-bag", "hand"]
KINDS: tuple[Kind, ...] = get_args(Kind)
BLOCK = 1 << 20  # the unit of repair
MAX_DRIVES = 10_000  # a declaration names no more
MAX_CARRIERS = 1_000
MAX_SHOWN = 200  # faults
MAX_BYTES = 1 << 60

# (packed bytes of a group, blocks on all its drives) -> bytes that each of its drives keeps free; grows with both
Headroom = Callable[[int, int], int]
Counts = NDArray[np.int64]


class Drive(Struct, frozen=True, kw_only=True):
    """A drive: its serial number, or a name while it has none, and what an empty filesystem on it has free."""

    name: str
    capacity_bytes: int
    kind: Kind = "hdd"
    model: str = ""


class Carrier(Struct, frozen=True, kw_only=True):
    """Who carries some of the drives, how, and no more of them than `most_drives`."""

    name: str
    most_drives: int | None = None
    means: Means = "courier"


class Survive(Struct, frozen=True, kw_only=True):
    """A loss that is to cost no byte: any `carriers` carriers with all they carry, and any `drives` drives besides.

    As long as what is left reads whole: with no parity to spare, an unreadable sector costs its block (odds.py).
    """

    carriers: int = 0
    drives: int = 0

    def __str__(self) -> str:
        """The loss in words: any carrier and 2 drives."""
        carriers = {0: "", 1: "any carrier"}.get(self.carriers, f"any {self.carriers} carriers")
        drives = {0: "", 1: "1 drive"}.get(self.drives, f"{self.drives} drives")
        if carriers and drives:
            return f"{carriers} and {drives}"
        return carriers or {0: "no loss", 1: "any drive"}.get(self.drives, f"any {drives}")


class Wanted(Struct, frozen=True, kw_only=True):
    """What is to be carried, on what, by whom. `packed_bytes` is an upper bound of all data packs, without parity."""

    drives: tuple[Drive, ...]
    carriers: tuple[Carrier, ...]
    bays: int  # of one host: no group has more drives
    packed_bytes: int
    survive: Survive = Survive()


class Geometry(Struct, frozen=True, kw_only=True):
    """One way to carry it. Bytes are packed bytes; `usable_bytes` is without parity and headroom."""

    data: int
    parity: int
    groups: int
    spares: int  # drives that stay at home
    usable_bytes: int
    fill: float  # share of usable_bytes that is wanted
    worst_carrier: int  # drives of one group with one carrier, at most
    worst_loss: int  # drives of one group that the stated loss takes, at most; never more than `parity`

    @property
    def size(self) -> int:
        """N of a group: its drives."""
        return self.data + self.parity

    @property
    def drives_used(self) -> int:
        """Drives of all groups."""
        return self.size * self.groups

    @property
    def overhead(self) -> float:
        """Parity bytes for a byte of data: m/k."""
        return self.parity / self.data


class Place(Struct, frozen=True, kw_only=True):
    """Where one drive goes; `number` is i of "drive i of N", and the order in which a declaration lists drives."""

    number: int
    drive: Drive
    carrier: str
    group: int
    slot: int


class Shape(NamedTuple):
    """Groups and the drives over carriers, parity left open."""

    size: int
    groups: int
    counts: Counts
    smallest: list[tuple[int, int]]  # capacity of a group's smallest drive, and how many groups have that


def search(wanted: Wanted, headroom: Headroom) -> tuple[Geometry, ...]:
    """Every geometry that fits and survives, by group size, groups and parity; none when nothing does.

    BadInput names every fault of `wanted` at once.
    """
    check(wanted)
    found: list[Geometry] = []
    for shape in shapes(wanted, headroom):
        size, groups = shape.size, shape.groups
        taken = worst(shape.counts, wanted.survive.carriers) + wanted.survive.drives
        for parity in range(taken, size):
            usable = usable_bytes(shape.smallest, size, size - parity, wanted.packed_bytes, headroom)
            if usable < wanted.packed_bytes:
                break  # more parity is less room
            found.append(
                Geometry(
                    data=size - parity,
                    parity=parity,
                    groups=groups,
                    spares=len(wanted.drives) - size * groups,
                    usable_bytes=usable,
                    fill=wanted.packed_bytes / usable,
                    worst_carrier=worst(shape.counts, 1),
                    worst_loss=taken,
                )
            )
    return tuple(found)


def shapes(wanted: Wanted, headroom: Headroom, *, smallest_size: int = 1) -> Iterator[Shape]:
    """Groups of `smallest_size` drives or more that might fit and survive, the larger shipments first.

    What is left out neither fits nor survives, by the least drives that the stated loss takes of some group.
    """
    carriers, drives, most = len(wanted.carriers), len(wanted.drives), _most(wanted)
    lost, packed = wanted.survive.carriers, wanted.packed_bytes
    limit = min(drives, sum(drives if each is None else each for each in most.values()))
    capacities = sorted((drive.capacity_bytes for drive in wanted.drives), reverse=True)
    least = headroom(1, 1)
    rooms = [0, *itertools.accumulate(max(capacity - least, 0) for capacity in capacities)]
    ends = list(zip(dict.fromkeys(capacities), itertools.accumulate(Counter(capacities).values()), strict=True))
    for size in range(smallest_size, min(wanted.bays, drives, manifest.MAX_DRIVES) + 1):
        each, more = divmod(size, carriers)
        data = size - (lost * each + min(lost, more) + wanted.survive.drives)  # at most: carriers as equal as can be
        for groups in range(limit // size, 0, -1) if data > 0 else ():
            if rooms[size * groups] * data < packed * size:
                break
            totals = _totals(most, size * groups)
            # some group has its part of what the largest carriers have together
            taken = -(-sum(sorted(totals.values())[carriers - lost :]) // groups) + wanted.survive.drives
            smallest = _smallest(ends, size, groups)
            if taken < size and usable_bytes(smallest, size, size - taken, packed, headroom) >= packed:
                yield Shape(size, groups, _counts(totals, groups), smallest)


def usable_bytes(smallest: list[tuple[int, int]], size: int, data: int, packed_bytes: int, headroom: Headroom) -> int:
    """Packed bytes that fit, with the headroom of `packed_bytes`, when groups are filled in proportion as pack does.

    `packed_bytes` fit if and only if this is no less.
    """
    weights = _weights([capacity for capacity, _ in smallest])
    total = sum(weight * groups for weight, (_, groups) in zip(weights, smallest, strict=True))
    fits: list[int] = []
    for weight, (capacity, _) in zip(weights, smallest, strict=True):
        taken = -(-packed_bytes * weight // total)
        blocks = size * -(-taken // (data * BLOCK))
        fits.append(data * max(capacity - headroom(taken, blocks), 0) * total // weight)
    return min(fits)


def drive_bytes(wanted: Wanted, geometry: Geometry) -> list[int]:
    """Bytes of packs on each drive of each group when everything wanted is packed."""
    size, used = geometry.size, geometry.drives_used
    capacities = sorted((drive.capacity_bytes for drive in wanted.drives), reverse=True)
    weights = _weights(capacities[size - 1 : used : size])
    total = sum(weights)
    return [-(-wanted.packed_bytes * weight // (total * geometry.data)) for weight in weights]


def placement(wanted: Wanted, geometry: Geometry) -> tuple[Place, ...]:
    """Group, slot and carrier of every drive that is used, in the order in which a declaration lists them."""
    size, groups = geometry.size, geometry.groups
    totals = _totals(_most(wanted), size * groups)
    drives = sorted(wanted.drives, key=lambda drive: (-drive.capacity_bytes, drive.kind))
    carriers = [name for name, count in totals.items() for _ in range(count)]
    return tuple(
        Place(
            number=at + 1,
            drive=drives[at % groups * size + at // groups],
            carrier=name,
            group=at % groups,
            slot=at // groups,
        )
        for at, name in enumerate(carriers)
    )


def counts(wanted: Wanted, geometry: Geometry) -> Counts:
    """How many drives of each group each carrier has: (groups, carriers), carriers in the order of their names."""
    return _counts(_totals(_most(wanted), geometry.drives_used), geometry.groups)


def holds(wanted: Wanted, geometry: Geometry) -> tuple[Survive, ...]:
    """The largest losses that cost no byte: for each number of carriers, the drives besides."""
    table = counts(wanted, geometry)
    out: list[Survive] = []
    for carriers in range(len(wanted.carriers)):
        left = geometry.parity - worst(table, carriers)
        if left < 0:
            break
        out.append(Survive(carriers=carriers, drives=left))
    return tuple(out)


def worst(table: Counts, carriers: int) -> int:
    """Drives of one group that the loss of any `carriers` carriers takes, at most."""
    return int(np.sort(table, axis=1)[:, table.shape[1] - carriers :].sum(axis=1).max())


def as_packed(*, members: int, packed_bytes: int, pack_size: int) -> Headroom:
    """The headroom that pack keeps (stages/pack/room.py): index and hashes of the group, and one pack beside.

    `members` are those of the whole shipment, directories counted too; a group has its share of them.
    """
    from sealift.stages.pack import room

    def of_group(group_bytes: int, blocks: int) -> int:
        return room.beside(-(-members * group_bytes // max(packed_bytes, 1)), blocks, pack_size)

    return of_group


# --- the deal --------------------------------------------------------------------------------------------


def _most(wanted: Wanted) -> dict[str, int | None]:
    """Carriers with their limits, in the order in which pack deals them."""
    return {carrier.name: carrier.most_drives for carrier in sorted(wanted.carriers, key=lambda each: each.name)}


def _totals(most: dict[str, int | None], drives: int) -> dict[str, int]:
    """How many of `drives`, no more than they take together, each carrier takes: as equally as their limits allow."""
    left, open_to = drives, len(most)
    totals: dict[str, int] = {}
    for name in sorted(most, key=lambda each: drives if (limit := most[each]) is None else limit):
        limit = most[name]  # who may take least chooses first; what he leaves is shared among the others
        totals[name] = -(-left // open_to) if limit is None else min(limit, -(-left // open_to))
        left, open_to = left - totals[name], open_to - 1
    assert not left, "carriers take no more than their limits"
    return {name: totals[name] for name in most}


def _counts(totals: dict[str, int], groups: int) -> Counts:
    ends = np.array([0, *itertools.accumulate(totals.values())], dtype=np.int64)
    # places p < end with p mod groups = g
    before = (ends[None, :] + (groups - 1 - np.arange(groups))[:, None]) // groups
    return before[:, 1:] - before[:, :-1]


def _smallest(ends: list[tuple[int, int]], size: int, groups: int) -> list[tuple[int, int]]:
    """`Shape.smallest`, from drives of each capacity and larger ones: runs of the largest drives make groups.

    In any grouping the j-th largest of the groups' smallest drives is among the first j x size; here it is the last.
    """
    out: list[tuple[int, int]] = []
    done = 0
    for capacity, drives in ends:
        whole = min(drives // size, groups)
        if whole > done:
            out.append((capacity, whole - done))
            done = whole
    return out


def _weights(smallest: list[int]) -> list[int]:
    """The share of each group, as in stages/pack/room.py."""
    return [size >> 20 for size in smallest] if all(size >> 20 for size in smallest) else [1] * len(smallest)


# --- what is wanted --------------------------------------------------------------------------------------


def check(wanted: Wanted) -> None:
    """BadInput that names everything in `wanted` that no plan can be made of."""
    faults = [
        *_whole("bays", wanted.bays, 1, MAX_DRIVES),
        *_whole("packed_bytes", wanted.packed_bytes, 1, MAX_BYTES),
        *_whole("survive.carriers", wanted.survive.carriers, 0, MAX_CARRIERS),
        *_whole("survive.drives", wanted.survive.drives, 0, MAX_DRIVES),
    ]
    faults += _names("drives", [drive.name for drive in wanted.drives], MAX_DRIVES)
    faults += _names("carriers", [carrier.name for carrier in wanted.carriers], MAX_CARRIERS)
    for number, drive in enumerate(wanted.drives, 1):
        faults += _whole(f"drives[{number}].capacity_bytes", drive.capacity_bytes, 1, MAX_BYTES)
        if drive.kind not in KINDS:
            faults.append(f"drives[{number}].kind: {drive.kind!r} is not one of {', '.join(KINDS)}")
    for number, carrier in enumerate(wanted.carriers, 1):
        if carrier.most_drives is not None:
            faults += _whole(f"carriers[{number}].most_drives", carrier.most_drives, 0, MAX_DRIVES)
        if carrier.means not in get_args(Means):
            faults.append(f"carriers[{number}].means: {carrier.means!r} is not one of {', '.join(get_args(Means))}")
    if not faults and wanted.carriers and wanted.survive.carriers >= len(wanted.carriers):
        what = f"{wanted.survive.carriers} of {len(wanted.carriers)} carriers"
        faults.append(f"survive.carriers: with {what} lost, nothing is left")
    if faults:
        count = counted(len(faults), "problem")
        shown = faults if len(faults) <= MAX_SHOWN else [*faults[:MAX_SHOWN], f"and {len(faults) - MAX_SHOWN:,} more"]
        raise BadInput(
            f"what is to be planned has {count}:\n  " + "\n  ".join(shown),
            hint="drives, carriers, bays and the loss to survive are told to the planner; it guesses none of them",
        )


def _whole(where: str, value: Any, least: int, most: int) -> list[str]:
    if isinstance(value, bool) or not isinstance(value, int):
        return [f"{where}: {value!r} is no whole number"]
    return [] if least <= value <= most else [f"{where}: {value:,} is not between {least:,} and {most:,}"]


def _names(what: str, names: list[Any], most: int) -> list[str]:
    if not names:
        return [f"{what}: none"]
    if len(names) > most:
        return [f"{what}: {len(names):,} of them; at most {most:,} are allowed"]
    faults: list[str] = []
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not isinstance(name, str) or not name.strip():
            faults.append(f"{what}[{number}].name: empty")
        elif name.casefold() in seen:
            faults.append(f"{what}[{number}].name: {name!r} is that of {what}[{seen[name.casefold()]}] too")
        else:
            seen[name.casefold()] = number
    return faults
