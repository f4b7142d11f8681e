"""What is missing when no geometry carries what is wanted: the least change in each direction, exactly.

Each answer changes one thing and leaves all others as they were told: more drives of the kind that there is most of, a
lesser loss to survive, more bays a host, fewer bytes, or carriers that take more. The number of carriers is told,
never searched, so it is no direction.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from sealift.formats import manifest
from sealift.stages.plan import geometry
from sealift.stages.plan.geometry import MAX_DRIVES, Drive, Survive, Wanted, shapes, usable_bytes, worst

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealift.stages.plan.geometry import Headroom, Shape


class Missing(Struct, frozen=True, kw_only=True):
    """Any one of these is enough; None (or empty) where no such change is."""

    more_drives: int | None  # at least, of `drive`
    drive: Drive  # the kind that there is most of
    lesser: tuple[Survive, ...]  # losses that can be survived as it is: none of them can be made larger
    bays: int | None  # of a host, at least
    packed_bytes: int  # that would fit, at most; 0 when not even one does
    carriage: int | None  # drives that carriers would have to take together, could they take any number

    def sentence(self, wanted: Wanted) -> str:
        """What is missing, in a sentence."""
        ways: list[str] = []
        if self.more_drives is not None:
            drives = "1 more drive" if self.more_drives == 1 else f"{self.more_drives:,} more drives"
            ways.append(f"{drives} of {_size(self.drive.capacity_bytes)}")
        if self.bays is not None:
            ways.append(f"{self.bays} bays a host in place of {wanted.bays}")
        if self.carriage is not None:
            ways.append(f"carriers that take {self.carriage:,} drives evenly, whatever their limits are now")
        if self.lesser:
            losses = " or ".join(map(str, self.lesser))
            ways.append(f"surviving {losses} in place of {wanted.survive}")
        if self.packed_bytes:
            ways.append(f"{_size(wanted.packed_bytes - self.packed_bytes)} less to carry")
        if not ways:
            return "no single change is enough: drives, bays and the loss to survive have to change together"
        return f"missing: {'; or '.join(ways)}"


def _size(count: int) -> str:
    """Bytes in a unit that people read, rounded up to what is enough."""
    power = min((len(str(count)) - 1) // 3, 5)
    unit = ("B", "kB", "MB", "GB", "TB", "PB")[power]
    tenths = -(-count * 10 // 1000**power)
    return f"{tenths / 10:,g} {unit}"


def missing(wanted: Wanted, headroom: Headroom) -> Missing:
    """The least changes with which `search` would find something; only for what it finds nothing for.

    `headroom` may depend on a group's bytes and blocks alone. BadInput as `search`.
    """
    geometry.check(wanted)
    (capacity, kind, model), _ = max(
        Counter((drive.capacity_bytes, drive.kind, drive.model) for drive in wanted.drives).items(),
        key=lambda each: (each[1], each[0]),
    )
    drive = Drive(name="another", capacity_bytes=capacity, kind=kind, model=model)
    free = replace(wanted, carriers=tuple(replace(carrier, most_drives=None) for carrier in wanted.carriers))
    limited = any(carrier.most_drives is not None for carrier in wanted.carriers)

    def with_drives(more: int) -> bool:
        return _feasible(replace(wanted, drives=wanted.drives + (drive,) * more), headroom)

    def with_bytes(less: int) -> bool:
        return _feasible(replace(wanted, packed_bytes=wanted.packed_bytes - less), headroom)

    less = _least(with_bytes, wanted.packed_bytes - 1)
    return Missing(
        more_drives=_least(with_drives, MAX_DRIVES - len(wanted.drives)),
        drive=drive,
        lesser=_lesser(wanted, headroom),
        bays=_bays(wanted, headroom),
        packed_bytes=0 if less is None else wanted.packed_bytes - less,
        carriage=min((shape.size * shape.groups for shape in _that_do(free, headroom)), default=None)
        if limited
        else None,
    )


def _does(shape: Shape, wanted: Wanted, headroom: Headroom) -> bool:
    data = shape.size - worst(shape.counts, wanted.survive.carriers) - wanted.survive.drives
    return data > 0 and _fits(shape, data, wanted, headroom)


def _fits(shape: Shape, data: int, wanted: Wanted, headroom: Headroom) -> bool:
    packed = wanted.packed_bytes
    return usable_bytes(shape.smallest, shape.size, data, packed, headroom) >= packed


def _that_do(wanted: Wanted, headroom: Headroom) -> list[Shape]:
    return [shape for shape in shapes(wanted, headroom) if _does(shape, wanted, headroom)]


def _feasible(wanted: Wanted, headroom: Headroom) -> bool:
    return any(_does(shape, wanted, headroom) for shape in shapes(wanted, headroom))


def _least(enough: Callable[[int], bool], most: int) -> int | None:
    """The least number from 1 to `most` that is enough, where more of it never hurts; None when `most` is not."""
    if most < 1 or not enough(most):
        return None
    step = 1
    while not enough(min(step, most)):
        step *= 2
    low, high = step // 2, min(step, most)  # low is not enough, high is
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _bays(wanted: Wanted, headroom: Headroom) -> int | None:
    more = replace(wanted, bays=manifest.MAX_DRIVES)
    sizes = (
        shape.size for shape in shapes(more, headroom, smallest_size=wanted.bays + 1) if _does(shape, more, headroom)
    )
    return next(sizes, None)


def _lesser(wanted: Wanted, headroom: Headroom) -> tuple[Survive, ...]:
    """For each number of carriers, the most drives besides; without those that another one covers."""
    most = [-1] * (wanted.survive.carriers + 1)
    for shape in shapes(replace(wanted, survive=Survive()), headroom):
        parity = _most_parity(shape, wanted, headroom)
        for carriers in range(len(most)):
            most[carriers] = max(most[carriers], parity - worst(shape.counts, carriers))
    return tuple(
        Survive(carriers=carriers, drives=drives)
        for carriers, drives in reversed(list(enumerate(most)))
        if drives >= 0 and all(drives > other for other in most[carriers + 1 :])
    )


def _most_parity(shape: Shape, wanted: Wanted, headroom: Headroom) -> int:
    """The most parity with which it still fits; -1 when nothing does."""
    low, high = -1, shape.size - 1
    while low < high:
        middle = (low + high + 1) // 2
        fits = _fits(shape, shape.size - middle, wanted, headroom)
        low, high = (middle, high) if fits else (low, middle - 1)
    return low
