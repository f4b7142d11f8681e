"""The order of training: a pure function of seed, epoch, and what there is to read; and where a run stands in it.

    units      packs (or container files) with so many samples each, in an order drawn from (seed, epoch, unit)
    lanes      that sequence of samples, cut into `turns` x `lanes` runs as long as their batches ask
    batch b    what the `lanes` lanes of turn b mod `turns` give next: batch_size / lanes samples of each
    windows    a lane's run of a unit, cut into windows of about `window` bytes, each shuffled

What holds:
- Batch b is the same set of samples for any number of ranks and workers: rank r of R takes samples r*G/R to (r+1)*G/R
  of it. Where R divides `lanes`, and the number of workers divides `turns`, no two readers read the same lane.
- Every batch is full, and there are equally many for every rank. What is left after the last is dropped, or the first
  samples come again (`last`).
- A lane begins at the start of a unit where it can; the part of a unit that its neighbour began is read at its end.
- What cannot be read when a phase begins is owed: left out, without moving anything before or behind it. A new phase of
  the same epoch takes all that no batch has given yet, with what has arrived by then: nothing twice, nothing never.
- A state says all of this in a few hundred bytes, whatever the size of the shipment.

Draws are by splitmix64 over a BLAKE3 of seed and epoch, which stays the same with every version of every library. Pure:
numbers in, numbers out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
from blake3 import blake3
from msgspec import Meta

from sealift.errors import BadInput, NotAllHere
from sealift.formats import typed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_SHIFTS = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))
_LAST = np.uint64(31)
MAX_PHASES = 10_000
MOST_LANES = 32  # unless more are asked for

Count = Annotated[int, Meta(ge=0, le=1 << 62)]
Positive = Annotated[int, Meta(ge=1, le=1 << 32)]


class Phase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of an epoch in which the same could be read.

    `here` has the slots that were here of each group that was short of more than parity holds; all else could be read.
    """

    here: dict[str, list[int]] = {}
    batches: Count = 0  # that were given


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a run stands: enough to go on exactly, at any number of ranks and workers."""

    type: Literal["sealift-order"] = "sealift-order"
    version: Literal[1] = 1
    shipment: str
    samples: str  # what is a sample: the source's own words, so that a state is not used for another one
    seed: Count
    epoch: Count
    batch_size: Positive  # G, of all ranks together
    lanes: Positive
    turns: Positive
    window: Positive  # bytes
    last: Literal["drop", "pad"]
    phases: Annotated[list[Phase], Meta(min_length=1, max_length=MAX_PHASES)]

    @property
    def batches(self) -> int:
        """Batches of the epoch that were given."""
        return sum(phase.batches for phase in self.phases)

    def at(self, batches: int) -> State:
        """The same run after so many batches of its present phase."""
        return msgspec.structs.replace(
            self, phases=[*self.phases[:-1], msgspec.structs.replace(self.phases[-1], batches=batches)]
        )

    def encode(self) -> dict[str, object]:
        """As a dictionary of plain values, for a checkpoint."""
        made: dict[str, object] = msgspec.to_builtins(self)
        return made


def read_state(given: Mapping[str, object]) -> State:
    """What `State.encode` made; BadInput for anything else."""
    try:
        return typed.convert(dict(given), State)
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        raise BadInput(
            f"the state to resume from is none of sealift's: {error}",
            hint="give what the dataset's state() returned, unchanged",
        ) from error


class Units(NamedTuple):
    """What there is to read: a row a unit, in an order of its own that is always the same."""

    key: NDArray[np.uint64]  # what draws go by: different for each
    samples: NDArray[np.int64]
    size: NDArray[np.int64]  # bytes of its samples, about
    group: NDArray[np.int64]
    slot: NDArray[np.int64]  # of the drive that holds it; -1: those of `several`
    several: dict[int, frozenset[int]]  # by row


class Window(NamedTuple):
    """Samples lo..hi-1 of a unit, in the order `permutation` says; they are at start.. in their lane."""

    unit: int
    lo: int
    hi: int
    start: int
    permutation: NDArray[np.int64]


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finalizer (Steele, Lea, Flood, 2014), of each."""
    out = values * _GOLDEN
    for shift, factor in _SHIFTS:
        out = (out ^ (out >> shift)) * factor
    return out ^ (out >> _LAST)


def draw(*words: object) -> np.uint64:
    """64 bits that depend on all of the words."""
    return np.uint64(int.from_bytes(blake3(repr(words).encode()).digest(length=8), "little"))


def readable(units: Units, phase: Phase, groups: Mapping[int, int]) -> NDArray[np.bool_]:
    """Which units could be read in a phase; `groups` has the k of every group."""
    good = np.ones(len(units.key), dtype=np.bool_)
    for name, slots in phase.here.items():
        group = int(name)
        if group in groups and len(slots) < groups[group]:
            there = np.isin(units.slot, np.array(slots, dtype=np.int64))
            for row, own in units.several.items():
                there[row] = own.issubset(slots)
            good &= (units.group != group) | there
    return good


class Order:
    """The present phase of a state, over `units`: `batches` of them; what came before is replayed."""

    def __init__(self, units: Units, state: State, groups: Mapping[int, int], known: Collection[int]) -> None:
        """`groups` has the k of every group of the seal; `known` are those whose units are in `units`."""
        for number, phase in enumerate(state.phases):
            unknown = [group for group in groups if group not in known and phase.here.get(str(group)) != []]
            if unknown and (phase.batches or number + 1 == len(state.phases)):
                raise NotAllHere(
                    f"group {unknown[0]} was read before, and none of its drives is here: what is next is not known",
                    hint="mount a drive of that group: each has the whole group's index",
                )
        if state.batch_size % state.lanes:
            raise BadInput(
                f"{state.lanes} lanes do not divide a batch of {state.batch_size}",
                hint="choose lanes that divide the global batch size",
            )
        self.units, self.state = units, state
        self._key = draw("order", state.shipment, state.seed, state.epoch)
        place = np.lexsort((units.key, mix(units.key ^ self._key)))
        left = _Pool(place, np.zeros(len(place), np.int64), units.samples[place], np.ones(len(place), np.bool_))
        for number, phase in enumerate(state.phases):
            good = readable(units, phase, groups)
            pool = left.only(good)
            current = _Lanes(self, pool)
            if number + 1 < len(state.phases):
                left = _joined(left.only(~good), current.left(phase.batches), place)
        self._lanes = current
        self.batches = current.batches
        self.samples = pool.total
        self.owed = left.only(~good)  # of this epoch, what the present phase cannot read
        if state.phases[-1].batches > self.batches:
            raise BadInput(
                f"the state says that {state.phases[-1].batches} batches were read, where there are {self.batches}",
                hint="resume with the shipment and the options with which it was made",
            )

    @property
    def dropped(self) -> int:
        """Samples that the present phase does not give, since they do not fill a batch."""
        return max(0, self.samples - self.batches * self.state.batch_size)

    def share(self, batch: int, rank: int, world: int) -> list[tuple[int, int, int]]:
        """What of a batch is a rank's: (lane, from, to), positions in the lane."""
        state = self.state
        if state.batch_size % world:
            raise BadInput(
                f"{world} ranks do not divide a batch of {state.batch_size}",
                hint="choose a global batch size that the number of ranks divides",
            )
        each = state.batch_size // state.lanes
        turn, base = batch % state.turns, batch // state.turns * each
        place, end = (number * (state.batch_size // world) for number in (rank, rank + 1))
        found = []
        while place < end:
            lane, skip = divmod(place, each)
            take = min(each - skip, end - place)
            found.append((turn * state.lanes + lane, base + skip, base + skip + take))
            place += take
        return found

    def window(self, lane: int, position: int) -> Window:
        """The window of a lane in which a position lies."""
        return self._lanes.window(lane, position)

    def length(self, lane: int) -> int:
        """How many samples a lane has."""
        return int(self._lanes.pieces(lane)[1][-1])


class _Pool(NamedTuple):
    """Samples lo..hi-1 of units, one run after the other."""

    unit: NDArray[np.int64]
    lo: NDArray[np.int64]
    hi: NDArray[np.int64]
    fresh: NDArray[np.bool_]  # not there a second time, to fill the last batch

    @property
    def total(self) -> int:
        return int((self.hi - self.lo).sum())

    def only(self, good: NDArray[np.bool_]) -> _Pool:
        """The runs of the units that are `good` and hold something."""
        return self.each(lambda column: column[good[self.unit] & (self.hi > self.lo)])

    def each(self, change: Callable[[Any], Any]) -> _Pool:
        return _Pool(change(self.unit), change(self.lo), change(self.hi), change(self.fresh))

    def cut(self, ends: NDArray[np.int64], start: int, end: int) -> _Pool:
        """Samples start..end-1 of the sequence; `ends` is where each run ends in it."""
        if start >= end:
            return self.each(lambda column: column[:0])
        first = int(np.searchsorted(ends, start, side="right"))
        last = int(np.searchsorted(ends, end, side="left"))
        cut = self.each(lambda column: column[first : last + 1].copy())
        cut.lo[0] += start - (int(ends[first]) - int(self.hi[first] - self.lo[first]))
        cut.hi[-1] -= int(ends[last]) - end
        return cut


def _joined(one: _Pool, other: _Pool, place: NDArray[np.int64]) -> _Pool:
    """Both, in the order of the epoch."""
    rank = np.empty(len(place), np.int64)
    rank[place] = np.arange(len(place))
    both = _chain([one, other])
    order = np.lexsort((both.lo, rank[both.unit]))
    return both.each(lambda column: column[order])


def _chain(pools: Sequence[_Pool]) -> _Pool:
    unit, lo, hi, fresh = zip(*pools, strict=True)
    return _Pool(np.concatenate(unit), np.concatenate(lo), np.concatenate(hi), np.concatenate(fresh))


class _Lanes:
    """A pool dealt to lanes: lane turn*lanes + n is a run of it, begun at a unit's start where that can be."""

    def __init__(self, order: Order, pool: _Pool) -> None:
        state = order.state
        self._order, self._each = order, state.batch_size // state.lanes
        total = pool.total
        self.batches = total // state.batch_size if state.last == "drop" else -(-total // state.batch_size)
        missing = self.batches * state.batch_size - total
        whole, ends = pool, np.cumsum(pool.hi - pool.lo)
        while missing > 0:  # the first samples once more
            again = whole.cut(ends, 0, min(missing, total))
            again = again._replace(fresh=np.zeros(len(again.unit), np.bool_))
            pool = _chain([pool, again])
            missing -= again.total
        self._pool, self._ends = pool, np.cumsum(pool.hi - pool.lo)
        self._pieces: dict[int, tuple[_Pool, NDArray[np.int64]]] = {}

    def _turns(self, turn: int, batches: int) -> int:
        """How many of the first so many batches are of a turn."""
        return max(0, -(-(batches - turn) // self._order.state.turns))

    def pieces(self, lane: int) -> tuple[_Pool, NDArray[np.int64]]:
        """The runs of a lane in the order in which they are read, and where each ends in it."""
        if lane not in self._pieces:
            state = self._order.state
            turn, number = divmod(lane, state.lanes)
            before = sum(self._turns(each, self.batches) for each in range(turn)) * state.lanes
            length = self._turns(turn, self.batches) * self._each
            start = before * self._each + number * length
            runs = self._pool.cut(self._ends, start, start + length)
            if len(runs.unit) > 1 and runs.lo[0] > 0:
                runs = runs.each(lambda column: np.roll(column, -1))
            self._pieces[lane] = runs, np.cumsum(runs.hi - runs.lo)
        return self._pieces[lane]

    def window(self, lane: int, position: int) -> Window:
        runs, ends = self.pieces(lane)
        piece = int(np.searchsorted(ends, position, side="right"))
        unit, lo, hi = int(runs.unit[piece]), int(runs.lo[piece]), int(runs.hi[piece])
        count = hi - lo
        start = int(ends[piece]) - count
        units = self._order.units
        mean = max(1, int(units.size[unit]) // max(1, int(units.samples[unit])))
        windows = -(-count // max(1, self._order.state.window // mean))
        number = ((position - start + 1) * windows - 1) // count
        begin, end = number * count // windows, (number + 1) * count // windows
        key = draw("window", int(self._order._key), int(units.key[unit]), lo + begin)  # noqa: SLF001 -- its own parts
        permutation = np.argsort(mix(np.arange(end - begin, dtype=np.uint64) ^ key), kind="stable")
        return Window(unit, lo + begin, lo + end, start + begin, permutation)

    def left(self, batches: int) -> _Pool:
        """What the first so many batches did not give."""
        state = self._order.state
        parts = [self._pool.cut(self._ends, self.batches * state.batch_size, self._pool.total)]
        for lane in range(state.lanes * state.turns):
            used = self._turns(lane // state.lanes, batches) * self._each
            runs, ends = self.pieces(lane)
            piece = int(np.searchsorted(ends, used, side="right"))
            if piece == len(ends):
                continue
            window = self.window(lane, used)
            rest = np.sort(window.permutation[used - window.start :]) + window.lo
            breaks = np.flatnonzero(np.diff(rest) != 1)
            lo, hi = rest[np.concatenate(([0], breaks + 1))], rest[np.concatenate((breaks, [len(rest) - 1]))] + 1
            fresh = np.full(len(lo), runs.fresh[piece])
            parts.append(_Pool(np.full(len(lo), window.unit), lo, hi, fresh))
            after = runs.each(lambda column: column[piece:].copy())  # noqa: B023 -- used here and now
            after.lo[0] = window.hi
            parts.append(after)
        everything = _chain(parts)
        return everything.each(lambda column: column[everything.fresh])


def default_lanes(batch_size: int) -> int:
    """The most lanes up to MOST_LANES that divide a batch: by nothing else, so that a run begins alike at any ranks."""
    return max(lanes for lanes in range(1, MOST_LANES + 1) if batch_size % lanes == 0)


def phase_of(present: Mapping[int, Sequence[int]], groups: Mapping[int, int]) -> Phase:
    """The phase of what is here: `present` has the slots that are here of each group, `groups` every group's k."""
    here = {str(group): sorted(present.get(group, ())) for group in sorted(groups)}
    return Phase({name: slots for name, slots in here.items() if len(slots) < groups[int(name)]})
