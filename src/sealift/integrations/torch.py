"""PyTorch over a shipment where it stands: batches in a global order that ranks and workers do not change.

    dataset = ShipmentDataset(shipment, batch_size=512, seed=7, decode=decode)
    loader = DataLoader(dataset, batch_size=None, num_workers=4)
    for step, batch in enumerate(Ahead(loader), start=1):  # ahead.py: taken by a thread while a step runs
        ...
        checkpoint["data"] = dataset.state(step)

What holds:
- An item of the dataset is a rank's share of a global batch, so the loader batches nothing: `batch_size=None`. Global
  batch b has the same samples at any world size and any number of workers (reading/order.py).
- `state(n)` is where the run stands after n batches of this iteration: a small dictionary, the same on every rank. A
  dataset made with `state=` goes on with the batch after, at any other number of ranks or workers: nothing is skipped,
  nothing comes twice. torchdata's StatefulDataLoader keeps the same itself, at an unchanged number of workers.
- What cannot be read yet is owed: named in the state, counted by `owed`, and read after `look_again`, in this epoch.
- A worker holds a window (4 MiB of tar) of each lane that it reads, lanes x turns of them divided by ranks and workers,
  a third more for what is half given, and 24 MiB; 96 MiB besides where files were cut across
  packs. With one rank and no workers that is 32 x 4 x 4 MiB and a third.
  A sample is held whole, twice while it is read: what is larger than a window counts as one. Parts of large files are
  had by Shipment.read, and as samples from sealift.reading.containers.

Decoding is the caller's: `decode` takes a Sample and gives anything, `collate` takes a list of that and gives a batch.
"""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from sealift.errors import BadInput, SealiftError
from sealift.integrations.worker_health import WorkerHealth
from sealift.reading.health import Health, merged
from sealift.reading.order import Order, State, default_lanes, phase_of, read_state
from sealift.reading.samples import PackSamples, Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sealift.reading.order import Window
    from sealift.reading.samples import Source
    from sealift.reading.shipment import PackId, Shipment

T = TypeVar("T")
WINDOW = 4 << 20
_TOLD = 20  # locations that are named
log = logging.getLogger("sealift")


class ShipmentDataset(IterableDataset[Any]):  # type: ignore[misc]
    """A rank's share of every batch of a shipment, in the order of training.

    `batch_size` is that of all ranks together. `rank` and `world_size` are those of torch.distributed, or of torchrun's
    environment, unless given. `source` makes the samples of a shipment (all its files by default; see
    sealift.reading.containers for what is in Parquet files, tar shards and token files). `lanes`, `turns` and `window`
    are how the order is drawn, and part of it: with more than 32 ranks ask for lanes that their number divides, and let
    the number of workers divide turns, or several readers read the same lanes. `last`: "drop" the samples that do
    not fill a last batch, or "pad" it with the first ones. With `state`, what it says takes the place of all of these.

    BadInput for what does not fit together, NotAllHere where the state needs the index of a group that is not here.
    """

    def __init__(
        self,
        shipment: Shipment,
        *,
        batch_size: int | None = None,
        seed: int = 0,
        decode: Callable[[Sample], Any] | None = None,
        collate: Callable[[list[Any]], Any] | None = None,
        source: Callable[[Shipment], Source] = PackSamples,
        rank: int | None = None,
        world_size: int | None = None,
        lanes: int | None = None,
        turns: int = 4,
        window: int = WINDOW,
        last: str = "drop",
        state: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__()
        self.shipment, self._decode, self._collate, self._make_source = shipment, decode, collate, source
        self.rank, self.world_size = _place(rank, world_size)
        if self.rank == 0:
            _tell_silent(shipment)
        self._workers = WorkerHealth()
        self._source: Source | None = None
        self._order: Order | None = None
        self._given = 0  # batches that this worker has given in its iteration: what a StatefulDataLoader keeps,
        self._skip = 0  # and those that the next iteration leaves out, when it was given them back
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()  # persistent workers see it change
        if state is None:
            if batch_size is None:
                raise BadInput("no batch_size is given", hint="the samples of a batch, of all ranks together")
            _check(batch_size=batch_size, lanes=lanes or 1, turns=turns, window=window, last=last)
            made: dict[str, object] = {
                "shipment": shipment.seal.seal.shipment,
                "samples": self._sources().name,
                "seed": seed,
                "epoch": 0,
                "batch_size": batch_size,
                "lanes": lanes or default_lanes(batch_size),
                "turns": turns,
                "window": window,
                "last": last,
                "phases": [{"here": phase_of(self._present(), self._groups()).here}],
            }
            self._state = read_state(made)
        else:
            self._state = self._resumed(read_state(state))
        self._epoch[0] = self._state.epoch
        self.order.share(0, self.rank, self.world_size)  # now, and not in a worker, if it does not fit
        if state is None and not (self.order.batches or self.owed or self.owed_groups):
            raise BadInput(
                f"not one batch of {self._state.batch_size}: the shipment has {self.dropped:,} samples",
                hint='a smaller batch_size, or last="pad"',
            )

    # -- where it stands

    @property
    def epoch(self) -> int:
        """The epoch that is read, from 0."""
        return self._state.epoch

    @property
    def batches(self) -> int:
        """How many batches the next iteration gives, to this rank as to every other."""
        return self.order.batches - self._state.phases[-1].batches

    def __len__(self) -> int:
        return self.batches

    @property
    def dropped(self) -> int:
        """Samples that do not fill a last batch, and are not given in this epoch."""
        return self.order.dropped

    @property
    def owed(self) -> int:
        """Samples of this epoch that cannot be read from the drives that are here; of groups of which one is here."""
        return self.order.owed.total

    @property
    def owed_groups(self) -> list[int]:
        """Groups of the seal of which no drive is here: how many samples they hold is not known."""
        return [missing.group for missing in self.shipment.missing]

    def state(self, batches: int) -> dict[str, object]:
        """Where the run stands after so many batches of this iteration; what to put into a checkpoint."""
        return self._state.at(self._state.phases[-1].batches + batches).encode()

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch: the next iteration is of its first batch. Nothing happens if it has begun already."""
        if epoch != self._state.epoch:
            self._state = self._fresh(epoch)
            self._epoch[0] = epoch
            self._order, self._skip = None, 0

    def look_again(self, shipment: Shipment, batches: int = 0) -> int:
        """Read on with a shipment that was opened anew, after so many batches of this iteration; samples still owed.

        The rest of the epoch begins a new phase, with what is here now: on all ranks, or on none.
        """
        state = self._state.at(self._state.phases[-1].batches + batches)
        self.shipment, self._source, self._order = shipment, None, None
        self._state = self._resumed(state)
        return self.owed

    def _fresh(self, epoch: int) -> State:
        plain = self._state.encode()
        here = phase_of(self._present(), self._groups()).here
        return read_state({**plain, "epoch": epoch, "phases": [{"here": here}]})

    def _resumed(self, state: State) -> State:
        """The state, with a new phase if other drives are here than when it was made."""
        if state.shipment != self.shipment.seal.seal.shipment:
            raise BadInput(
                f"the state is of shipment {state.shipment}, not of {self.shipment.seal.seal.shipment}",
                hint="resume with the drives and the seal of the shipment that was trained on",
            )
        if state.samples != self._sources().name:
            raise BadInput(
                f"the state is of samples {state.samples!r}, not {self._sources().name!r}",
                hint="resume with the source with which it was begun",
            )
        phase = phase_of(self._present(), self._groups())
        if phase.here == state.phases[-1].here:
            return state
        return read_state({**state.encode(), "phases": [*state.encode()["phases"], {"here": phase.here}]})  # type: ignore[misc]

    # -- what there is to read

    @property
    def order(self) -> Order:
        """The order of this epoch's present phase."""
        if self._order is None or self._order.state != self._state:
            self._order = Order(self._sources().units(), self._state, self._groups(), list(self.shipment.groups))
        return self._order

    def _sources(self) -> Source:
        if self._source is None:
            self._source = self._make_source(self.shipment)
        return self._source

    def _groups(self) -> dict[int, int]:
        return {group.group: group.data for group in self.shipment.seal.seal.groups}

    def _present(self) -> dict[int, list[int]]:
        return {number: sorted(group.reader.drives) for number, group in self.shipment.groups.items()}

    def __getstate__(self) -> dict[str, Any]:
        """What a spawned worker gets: caches are made anew there."""
        return {**self.__dict__, "_source": None, "_order": None}

    # -- reading

    def __iter__(self) -> Iterator[Any]:
        """The batches of this worker, or all where there are no workers."""
        worker = get_worker_info()
        number, of = (0, 1) if worker is None else (worker.id, worker.num_workers)
        if int(self._epoch[0]) != self._state.epoch:
            self._state, self._order, self._skip = self._fresh(int(self._epoch[0])), None, 0
        reader = _Reader(self.order, self._sources(), self._decode)
        first = self._state.phases[-1].batches
        self._given, self._skip = self._skip, 0
        for batch in range(first + number + self._given * of, self.order.batches, of):
            ends = True  # the iteration, by an error or with the last batch, after which a worker may be ended
            try:
                items = reader.share(batch, self.rank, self.world_size)
                ends = batch + of >= self.order.batches
            finally:
                if worker is not None:
                    self._workers.tell(self.shipment, now=ends)
            self._given += 1
            yield items if self._collate is None else self._collate(items)
        self._given = 0

    def health(self) -> Health:
        """What this process and the workers of its loaders met, up to a second ago; `processes`: how many these are.

        To be asked in the process that made the dataset. Of other ranks nothing is in it: merge theirs
        (sealift.reading.health.merged).
        """
        return merged([self.shipment.health(), *self._workers.read()])

    def between(self, first: int, stop: int) -> Iterator[list[Any]]:
        """This rank's samples, decoded, of batches `first` to `stop` - 1 of the next iteration; nothing else moves."""
        reader = _Reader(self.order, self._sources(), self._decode)
        before = self._state.phases[-1].batches
        for batch in range(before + first, before + stop):
            yield reader.share(batch, self.rank, self.world_size)

    def state_dict(self) -> dict[str, Any]:
        """For StatefulDataLoader: where this worker stands."""
        return {"order": self._state.encode(), "given": self._given}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """For StatefulDataLoader: what `state_dict` gave in the worker of this number."""
        self._state, self._order = read_state(state["order"]), None
        self._epoch[0] = self._state.epoch
        self._skip = int(state["given"])


class _Held:
    """What is left of a window of a lane, in the order in which it is given; and the next window, if it was read."""

    def __init__(self, window: Window, samples: list[Sample]) -> None:
        self.start, self.end = window.start, window.start + len(samples)
        self._samples: list[Sample | None] = [samples[place] for place in window.permutation.tolist()]
        self.next: _Held | None = None
        self.asked = False  # whether the next one was to be read

    def take(self, position: int) -> Sample:
        """The sample at a position of the lane, once."""
        sample, self._samples[position - self.start] = self._samples[position - self.start], None
        assert sample is not None
        return sample


class _Reader:
    """The windows of the lanes that are being read: of each what was not given yet, and perhaps the next one.

    Lanes go in step, and would all come to the end of their windows in the same batch. So the next window of lane n of
    N is read when n/N of the one before was given: that spreads the reading evenly over the batches. What was given is
    let go, so that all lanes together hold about a window each.
    """

    def __init__(self, order: Order, source: Source, decode: Callable[[Sample], Any] | None) -> None:
        self._order, self._source, self._decode = order, source, decode
        self._lanes: dict[int, _Held] = {}

    def share(self, batch: int, rank: int, world: int) -> list[Any]:
        """A rank's samples of a batch, decoded."""
        found: list[Any] = []
        for lane, start, end in self._order.share(batch, rank, world):
            for position in range(start, end):
                sample = self._held(lane, position).take(position)
                found.append(sample if self._decode is None else self._decode(sample))
            self._read_ahead(lane, end)
        return found

    def _held(self, lane: int, position: int) -> _Held:
        held = self._lanes.get(lane)
        if held is None or position >= held.end:
            follower = None if held is None else held.next
            self._lanes.pop(lane, None)  # before another is read
            held = follower if follower is not None and position < follower.end else self._load(lane, position)
            self._lanes[lane] = held
        return held

    def _read_ahead(self, lane: int, given: int) -> None:
        """Read the lane's next window if it is time; what cannot be read is asked for again when it is needed."""
        held, lanes = self._lanes[lane], self._order.state.lanes
        due = held.start + (held.end - held.start) * (lane % lanes) // lanes
        if not held.asked and given >= due and held.end < self._order.length(lane):
            held.asked = True
            with contextlib.suppress(SealiftError):
                held.next = self._load(lane, held.end)

    def _load(self, lane: int, position: int) -> _Held:
        window = self._order.window(lane, position)
        return _Held(window, self._source.load(window.unit, window.lo, window.hi))


class ShipmentMap(Dataset[T], Generic[T]):  # type: ignore[misc]
    """Samples by id, (pack, offset), at random; `ids` gives those of a pack, in the order in which they lie there.

    For samplers that bring an order of their own, and for looking a sample up again: it says its pack and offset.
    """

    def __init__(self, shipment: Shipment, decode: Callable[[Sample], T] | None = None) -> None:
        self.shipment, self._decode = shipment, decode

    def ids(self, pack: PackId) -> list[tuple[PackId, int]]:
        """The ids of a pack; its headers are read for it."""
        return [(pack, offset) for offset in self.shipment.sample_offsets(pack)]

    def __getitem__(self, index: tuple[Sequence[int], int]) -> T:
        """The sample of an id. BadInput if none begins there; Lost, FormatError."""
        from sealift.reading.shipment import PackId

        sample = self.shipment.sample(PackId(*index[0]), index[1])
        return sample if self._decode is None else self._decode(sample)  # type: ignore[return-value]


def _check(*, last: str, **numbers: int) -> None:
    for name, value in numbers.items():
        if not isinstance(value, int) or not 1 <= value <= 1 << 32:
            raise BadInput(f"{name} is {value!r}", hint=f"{name} is a whole number from 1 to 2^32")
    if last not in {"drop", "pad"}:
        raise BadInput(f"last is {last!r}", hint='"drop" the samples that do not fill a last batch, or "pad" it')


def _tell_silent(shipment: Shipment) -> None:
    """In the log: locations that give nothing, and why. Reading goes on without them, on parity or on other groups."""
    for mount, why in shipment.ignored[:_TOLD]:
        log.warning("%s gives nothing: %s", mount, why)
    if len(shipment.ignored) > _TOLD:
        log.warning("and %d more locations give nothing", len(shipment.ignored) - _TOLD)
    if shipment.missing:
        groups = ", ".join(str(each.group) for each in shipment.missing[:_TOLD])
        log.warning("no drive is here of %d groups (%s): their samples are owed", len(shipment.missing), groups)


def _place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Rank and world size: as given, of torch.distributed, of torchrun's environment, or 0 of 1."""
    if rank is None and world_size is None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if rank is None or world_size is None or not 0 <= rank < world_size:
        raise BadInput(f"rank {rank} of {world_size}: no such rank", hint="give both rank and world_size, or neither")
    return rank, world_size
