"""Ray Data over a shipment where it stands: its samples in the order of training, whatever nodes read them.

    from sealift.integrations.ray_data import read_shipment

    rows = read_shipment(
        ["/mnt/d*", "/etc/sealift/fleet.toml"], identity="/etc/sealift/key.txt", allowed_signers="/etc/sealift/signers",
        seal="/etc/sealift/sent.seal", batch_size=512, seed=7, decode=decode,
    )
    for batch in rows.iter_batches(batch_size=512):
        ...

What holds:
- The rows are those of ShipmentDataset with the same batch_size, seed and epoch, in its order: that of the seed, and of
  nothing else. Ray keeps it because this asks for it (`preserve_order` of this process's DataContext).
- Everything is a path of the node that reads: each opens the shipment for itself, patterns are its own mounts, and of a
  drive that is mounted there and served elsewhere, the mounted one is read. No key goes through Ray, which would show
  it to whoever has a node: bytes of one are refused.
- A node that does not have enough drives before it for that order refuses, and does not read another one.
- A task reads a run of batches, of which several windows of each lane are (see torch.py); memory is as there.

`decode` takes a Sample and gives a row, a dict of values that Arrow has; without it a row is `__key__` and a column for
each ending of its files, with their bytes.
"""

from __future__ import annotations

import functools
import glob
import os
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from sealift.errors import BadInput, NotAllHere
from sealift.integrations.torch import ShipmentDataset
from sealift.reading.samples import PackSamples
from sealift.reading.shipment import Shipment

try:
    from ray.data import DataContext, Datasource, ReadTask, read_datasource
    from ray.data.block import BlockAccessor, BlockMetadata
except ImportError as error:
    raise BadInput("not installed: Ray Data", hint="pip install 'sealift[torch]' 'ray[data]'") from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sealift.reading.samples import Sample, Source

_ROUNDS = 4  # windows of each lane that a task reads, at least: the last one is read again by the next task


class _Opening(NamedTuple):
    """How a node opens the shipment: paths there."""

    locations: tuple[str, ...]
    identity: tuple[str, ...]
    allowed_signers: str
    seal: str | None
    keys: str | None = None


def read_shipment(
    locations: Sequence[str],
    *,
    identity: str | Sequence[str],
    allowed_signers: str,
    seal: str | None = None,
    keys: str | None = None,
    batch_size: int,
    seed: int = 0,
    epoch: int = 0,
    decode: Callable[[Sample], Mapping[str, Any]] | None = None,
    source: Callable[[Shipment], Source] = PackSamples,
    state: Mapping[str, object] | None = None,
    **options: Any,
) -> Any:
    """The ray.data.Dataset of an epoch, or of what `state` leaves of one; its blocks are batches.

    With `keys`, the file that `sealift unlock` wrote, `identity` is the job's, and no node has the shipment's own.
    `source` and `options` (lanes, turns, window, last) are ShipmentDataset's. BadInput for keys that are no paths, and
    as Shipment.open and ShipmentDataset.
    """
    identities = (identity,) if isinstance(identity, str | bytes | os.PathLike) else tuple(identity)
    for each in (*identities, allowed_signers, *(each for each in (seal, keys) if each is not None)):
        if not isinstance(each, str | os.PathLike):
            raise BadInput(
                "keys, signers and seal are given as paths: what they hold must not go through Ray",
                hint="have the files on every node, for nobody else to read",
            )
    paths = tuple(os.fspath(each) for each in identities)
    sealed, issued = (None if each is None else os.fspath(each) for each in (seal, keys))
    opening = _Opening(tuple(locations), paths, os.fspath(allowed_signers), sealed, issued)
    dataset = ShipmentDataset(
        _open(opening), batch_size=batch_size, seed=seed, rank=0, world_size=1, state=state, source=source, **options
    )
    if state is None:
        dataset.set_epoch(epoch)
    DataContext.get_current().execution_options.preserve_order = True
    return read_datasource(_Source(opening, dataset, decode, {"source": source}))


class _Source(Datasource):  # type: ignore[misc]
    """Runs of batches, a task each."""

    def __init__(self, opening: _Opening, dataset: ShipmentDataset, decode: Any, options: dict[str, Any]) -> None:
        super().__init__()
        self._opening, self._decode, self._options = opening, decode, options
        self._state, self._batches = dataset.state(0), dataset.batches
        order = dataset.order
        self._size = int(order.units.size.sum())
        self._batch = order.state.batch_size
        lanes = order.state.lanes * order.state.turns
        self._most = max(1, self._size // (_ROUNDS * lanes * order.state.window))

    def get_name(self) -> str:
        """What Ray calls it."""
        return "Sealift"

    def estimate_inmemory_data_size(self) -> int:
        """Bytes of all samples, as they lie in the packs."""
        return self._size

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[Any]:
        """As many as Ray asks for, but no more than are worth it: each begins with windows that the last one read."""
        del data_context
        count = max(1, min(parallelism, self._most, self._batches))
        edges = [self._batches * place // count for place in range(count + 1)]
        tasks = []
        for first, stop in pairwise(edges):
            rows = (stop - first) * self._batch
            about = BlockMetadata(num_rows=rows, size_bytes=self._size // count, exec_stats=None)
            read = functools.partial(_read, self._opening, self._state, first, stop, self._decode, self._options)
            tasks.append(ReadTask(read, about, per_task_row_limit=per_task_row_limit))
        return tasks


def _read(
    opening: _Opening, state: dict[str, object], first: int, stop: int, decode: Any, options: dict[str, Any]
) -> Iterator[Any]:
    """On a node: batches `first` to `stop` - 1, a block each."""
    dataset = ShipmentDataset(
        _open(opening), state=state, rank=0, world_size=1, decode=row if decode is None else decode, **options
    )
    if dataset.state(0) != state:
        raise NotAllHere(
            "this node has other drives before it than that on which it began, and not enough of a group for both",
            hint="let every node see the same drives of the shipment",
        )
    for rows in dataset.between(first, stop):
        names = dict.fromkeys(name for each in rows for name in each)
        yield BlockAccessor.batch_to_block({name: [each.get(name) for each in rows] for name in names})


def row(sample: Sample) -> dict[str, Any]:
    """A sample as a row: `__key__`, and the bytes of each file by its ending."""
    return {"__key__": sample.key, **sample.files}


@functools.lru_cache(maxsize=2)
def _open(opening: _Opening) -> Shipment:
    """The shipment, once a process."""
    every = [[each] if "://" in each else sorted(glob.glob(os.path.expanduser(each))) for each in opening.locations]
    found = dict.fromkeys(place for places in every for place in places)
    return Shipment.open(
        list(found) or list(opening.locations),  # which then says what is wrong with them
        identity=[os.path.expanduser(each) for each in opening.identity],
        allowed_signers=os.path.expanduser(opening.allowed_signers),
        seal=None if opening.seal is None else os.path.expanduser(opening.seal),
        keys=None if opening.keys is None else os.path.expanduser(opening.keys),
    )
