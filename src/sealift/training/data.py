"""From samples to sequences of tokens, in the order of training; and where the run stands in the shipment.

A sample gives one sequence: `block` + 1 tokens of its text, -1 where there are none. A long text is cut into windows
that overlap by the one token that is only predicted; an epoch takes one of them, the next epoch the next, beginning
anywhere: (draw from seed and sample + epoch) mod windows. Of token files (`data.files`) every window is a sample. So a
batch's tokens are a function of seed, epoch and batch, and nothing is carried from one sequence to another: what makes
resume exact at any number of ranks and workers.

Samples are read by processes of DataLoader. An error of one is sent in the place of a batch, whole; what they met of
drives and links is ShipmentDataset's to tell. Drives that come late are looked for when an epoch ends in which samples
are owed.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from sealift.errors import BadInput, NotAllHere, SealiftError
from sealift.integrations.ahead import Ahead
from sealift.integrations.torch import ShipmentDataset
from sealift.reading.containers import Tokens
from sealift.reading.health import DriveHealth, Health, merged, read_health
from sealift.reading.order import draw
from sealift.reading.samples import PackSamples
from sealift.reading.shipment import Shipment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from sealift.reading.samples import Sample, Source
    from sealift.training.config import Config
    from sealift.training.distributed import Ranks

DTYPES: dict[str, np.dtype[Any]] = {"bytes": np.dtype(np.uint8), "uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}


class Batch(NamedTuple):
    """A rank's share of a batch."""

    sequences: NDArray[np.int32]  # [samples of the share, block + 1]


def sequence(sample: Sample, config: Config, epoch: int) -> NDArray[np.int32]:
    """The tokens that a sample gives in an epoch: int32 [block + 1]. BadInput where they are none of the vocabulary."""
    block = config.model.block
    kind = DTYPES[config.data.tokens]
    part = np.frombuffer(sample.files["tokens"], kind) if config.data.files else _window(sample, config, epoch)
    if len(part) and int(part.max()) >= config.model.vocabulary:
        raise BadInput(
            f"sample {sample.key!r}: token {int(part.max())}, where the vocabulary has {config.model.vocabulary}",
            hint="model.vocabulary is one more than the largest token",
        )
    made = np.full(block + 1, -1, np.int32)
    made[: len(part)] = part
    return made


def _window(sample: Sample, config: Config, epoch: int) -> NDArray[Any]:
    """The tokens of a text's window that is due in an epoch."""
    data, block = config.data, config.model.block
    text = sample.files.get(data.file, b"") if data.file else sample.files[min(sample.files)]
    kind = DTYPES[data.tokens]
    if len(text) % kind.itemsize:
        raise BadInput(
            f"sample {sample.key!r}: {len(text):,} bytes are no whole number of {data.tokens} tokens",
            hint="data.tokens and data.file say which file of a sample holds tokens, and how",
        )
    tokens = np.frombuffer(text, kind)
    windows = max(1, -(-(len(tokens) - 1) // block))
    start = (int(draw("text", config.training.seed, *sample.pack, sample.offset)) + epoch) % windows * block
    return tokens[start : start + block + 1]


def source(config: Config) -> Callable[[Shipment], Source]:
    """What makes samples of a shipment: its files, or the windows of token files."""
    data, block = config.data, config.model.block
    if not data.files:
        return PackSamples
    return Tokens(data.files, dtype=DTYPES[data.tokens].name, length=block + 1, stride=block)


class Batches(IterableDataset[Any]):  # type: ignore[misc]
    """What a reading process sends: batches and, last, the error that ended it."""

    def __init__(self, dataset: ShipmentDataset, config: Config) -> None:
        super().__init__()
        self._dataset, self._config = dataset, config

    def __iter__(self) -> Iterator[Batch | SealiftError]:
        try:
            for samples in self._dataset:
                yield Batch(np.stack([sequence(sample, self._config, self._dataset.epoch) for sample in samples]))
        except SealiftError as error:
            yield error


class Feed:
    """The batches of this rank, epoch after epoch, from the batch on that `state` names; None: from the first."""

    def __init__(
        self, config: Config, ranks: Ranks, state: Mapping[str, object] | None, say: Callable[[str], None]
    ) -> None:
        """What Shipment.open and ShipmentDataset raise; NotAllHere where ranks have different drives before them."""
        self._config, self._ranks, self._say = config, ranks, say
        self._items: Ahead[Batch | SealiftError] | None = None
        self._given = 0
        with ranks.together():
            self._dataset = ShipmentDataset(
                open_shipment(config),
                batch_size=config.training.batch,
                seed=config.training.seed,
                source=source(config),
                rank=ranks.rank,
                world_size=ranks.world,
                state=state,
            )
            if state is None:
                self._some()
        states = ranks.gather(self._dataset.state(0))
        other = next((rank for rank, each in enumerate(states) if each != states[0]), None)
        if other is not None:
            raise NotAllHere(
                f"rank {other} has other drives before it than rank 0, and not enough of a group are there for both",
                hint="let every host see the same drives of the shipment",
            )

    def _some(self) -> None:
        """There is a batch in an epoch that begins; else NotAllHere where drives are missing, BadInput otherwise."""
        if not self._dataset.batches:
            raise (NotAllHere if any(self.owed) else BadInput)(
                f"not one batch of {self._config.training.batch}: of an epoch, "
                f"{self._dataset.dropped} samples can be read here",
                hint="mount more drives of the shipment" if any(self.owed) else "make training.batch smaller",
            )

    @property
    def epoch(self) -> int:
        """The epoch of the next batch, from 0."""
        return self._dataset.epoch

    @property
    def shipment(self) -> str:
        """The shipment's id."""
        return self._dataset.shipment.seal.seal.shipment

    @property
    def owed(self) -> tuple[int, list[int]]:
        """Samples of this epoch that cannot be read from what is here; groups of which nothing is."""
        return self._dataset.owed, self._dataset.owed_groups

    def state(self) -> dict[str, object]:
        """Where the run stands after the batches that were `taken`."""
        return self._dataset.state(self._given)

    def taken(self) -> None:
        """What `next` gave last was trained on."""
        self._given += 1

    def next(self) -> Batch:
        """The next batch, of the next epoch where this one ends; the error that a reading process met."""
        while True:
            if self._items is None:
                self._items = Ahead(self._loader())
            item = next(self._items, None)
            if isinstance(item, Batch):
                return item
            self._items = None
            if item is not None:
                raise item
            self._turn()

    def _loader(self) -> DataLoader[Any]:
        workers = self._config.data.workers
        return DataLoader(
            Batches(self._dataset, self._config),
            batch_size=None,
            num_workers=workers,
            worker_init_fn=_deaf,
            multiprocessing_context="fork" if workers else None,  # a spawned one would import torch, and open it again
            generator=torch.Generator(),  # its own: the run's is not to depend on how often it was resumed
            collate_fn=_as_it_is,
        )

    def _turn(self) -> None:
        """At the end of an epoch: look for what is owed, and begin the next one where nothing has come."""
        if any(self.owed):
            if self._look_again() and self._dataset.batches:
                self._say(f"epoch {self.epoch}: drives have come, and their samples are read now")
                return
            self._say(f"epoch {self.epoch} ends, and {owed_text(self.owed)}")
        self._dataset.set_epoch(self.epoch + 1)
        self._given = 0
        self._some()

    def _look_again(self) -> bool:
        """Whether drives have come: on all ranks, or on none."""
        shipment: Shipment | None = None
        try:
            shipment = open_shipment(self._config)
        except (SealiftError, OSError) as error:
            self._say(f"looking for drives that are owed: {error}")
        now, before = _present(shipment), _present(self._dataset.shipment)
        more = shipment is not None and now != before and all(now.get(each, set()) >= before[each] for each in before)
        seen = self._ranks.gather((more, now))
        if shipment is None or not more or any(each != seen[0] for each in seen):
            if shipment is not None:
                shipment.close()
            return False
        self._dataset.shipment.close()
        self._dataset.look_again(shipment, self._given)
        self._given = 0
        return True

    def health(self) -> Health:
        """What all ranks and their reading processes have met, up to a second ago; to be asked on every rank."""
        return merged(read_health(each, "a report") for each in self._ranks.gather(self._dataset.health().encode()))

    def close(self) -> None:
        """End the reading processes, and close the shipment."""
        if self._items is not None:
            self._items.close()
        self._items = None
        self._dataset.shipment.close()


def open_shipment(config: Config) -> Shipment:
    """The shipment of a configuration, from the drives that are mounted now."""
    data = config.data
    return Shipment.open(
        config.mounts(),
        identity=data.identity,
        allowed_signers=data.allowed_signers,
        seal=data.seal or None,
        keys=data.keys or None,
    )


def _present(shipment: Shipment | None) -> dict[int, set[int]]:
    return {} if shipment is None else {number: set(each.reader.drives) for number, each in shipment.groups.items()}


def _as_it_is(item: Any) -> Any:
    """Arrays go through the pipe as they are: tensors would want shared memory and sockets, and hang without."""
    return item


def _deaf(_worker: int) -> None:
    """Signals are for the process that trains: it ends its readers when the checkpoint is written."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def owed_text(owed: tuple[int, list[int]]) -> str:
    """Owed samples and groups in words."""
    words = [f"{owed[0]:,} samples are owed"] if owed[0] else []
    if owed[1]:
        words.append(f"no drive is here of group{'s' * (len(owed[1]) > 1)} {', '.join(map(str, owed[1]))}")
    return " and ".join(words)


def health_text(health: Health) -> list[str]:
    """What is amiss with each drive, in words."""
    what = {"missing": "is not here", "failing": "fails to read", "damaged": "is damaged", "slow": "is slow"}
    far = {each.mount: each.silent for each in health.locations}

    def told(each: DriveHealth) -> str:
        if each.state != "failing" or each.mount not in far:
            return what[each.state]
        why = far[each.mount]
        return f"gives nothing: {each.mount}: {why}" if why else f"did not give all: {each.first_fault}"

    return [
        f"drive {each.drive} (serial {each.serial}) {told(each)}; "
        f"{each.rebuilt_blocks:,} blocks of it rebuilt from parity"
        + (f", and {each.hedged_reads:,} reads answered by others" if each.hedged_reads else "")
        for each in health.drives
    ] + [f"{each.mount} gives nothing: {each.silent}" for each in health.locations if each.silent]
