"""One process or many: who is here, what they agree on, and a model that all of them train.

Under torchrun (or Ray Train, which has set torch.distributed up before) there are several ranks; else one, and nothing
of torch.distributed is started. What is agreed on goes over the CPU (gloo), so that no GPU waits for it.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import distributed as dist

from sealift.errors import BadInput, SealiftError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn


class Ranks:
    """This process among those of the run: `rank` of `world`, on `device`; `group` is gloo's, None alone."""

    def __init__(self, device: str) -> None:
        """`device` is "auto", "cpu" or "cuda"; BadInput where there is no such GPU."""
        if device == "cuda" and not torch.cuda.is_available():
            raise BadInput("training.device is cuda, and no GPU can be used here", hint='device = "auto", or "cpu"')
        cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        place = int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count() if cuda else 0
        self.device = torch.device("cuda", place) if cuda else torch.device("cpu")
        if cuda:
            torch.cuda.set_device(self.device)
        self._ours = not dist.is_initialized() and "RANK" in os.environ and "MASTER_ADDR" in os.environ
        if self._ours:
            dist.init_process_group("nccl" if cuda else "gloo")
        there = dist.is_initialized()
        self.rank: int = dist.get_rank() if there else 0
        self.world: int = dist.get_world_size() if there else 1
        self.group: Any = dist.new_group(backend="gloo") if there else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._ours:
            dist.destroy_process_group()

    def total(self, *values: int) -> list[int]:
        """The sums of every rank's values."""
        if self.group is None:
            return list(values)
        sums = torch.tensor(values, dtype=torch.int64)
        dist.all_reduce(sums, group=self.group)
        return [int(each) for each in sums]

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, in order of ranks, on every rank."""
        if self.group is None:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value, group=self.group)
        return values

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.group is not None:
            dist.barrier(group=self.group)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What fails in here on one rank fails on all, with that rank's error; ends when all have come to its end."""
        error: Exception | None = None
        try:
            yield
        except Exception as caught:  # noqa: BLE001 -- is raised below, on every rank
            error = caught
        self.agree(error)

    def agree(self, error: Exception | None) -> None:
        """Raise the error of the first rank that has one, on every rank."""
        if self.group is None or not self.total(error is not None)[0]:
            if error is not None:
                raise error
            return
        errors = self.gather(error if isinstance(error, SealiftError) else error and repr(error))
        if error is not None:
            raise error
        rank, other = next((rank, each) for rank, each in enumerate(errors) if each is not None)
        if isinstance(other, SealiftError):
            other.args = (f"rank {rank}: {other}",)
            raise other
        raise SealiftError(f"rank {rank} failed: {other}", hint="see what that rank says")


def spread(model: nn.Module, blocks: Sequence[nn.Module], ranks: Ranks, parallel: str) -> Any:
    """The model as all ranks train it: whole on each ("ddp"), or in shards, a block at a time ("fsdp")."""
    if ranks.world == 1:
        return model
    if parallel == "fsdp":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(ranks.device.type, (ranks.world,))
        for each in (*blocks, model):
            fully_shard(each, mesh=mesh)
        return model
    from torch.nn.parallel import DistributedDataParallel

    return DistributedDataParallel(model, device_ids=[ranks.device.index] if ranks.device.type == "cuda" else None)


@contextlib.contextmanager
def summing(model: Any, *, last: bool) -> Iterator[None]:
    """Gradients are exchanged after the last part of a step only."""
    if last or not hasattr(model, "no_sync"):
        if hasattr(model, "set_requires_gradient_sync"):
            model.set_requires_gradient_sync(last)
        yield
        return
    with model.no_sync():
        yield
