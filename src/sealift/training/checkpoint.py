"""Checkpoints: whole, or not there. Of any number of ranks, for any other.

    OUT/checkpoints/step-00000500/
        state/           model and optimiser, by torch.distributed.checkpoint
        rng-0.pt         the random number generators of rank 0, and so on
        progress.json    step, tokens, seconds; and where the run stands in the shipment
        run.json         code, configuration, metrics: what a return leg takes into its provenance record
        health.json      what was met of drives that are missing or fail
        whole.json       every other file's length and BLAKE3

It is written beside, made durable and renamed, and `whole.json` is what it is checked by before anything is read: one
that a crash, a full disk or a bad copy has torn is passed over for the one before. OUT is a folder that all ranks see.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import warnings
from typing import TYPE_CHECKING, Any

import torch
from blake3 import blake3
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)

from sealift.errors import BadInput, Busy
from sealift.reading.order import draw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sealift.training.distributed import Ranks

WHOLE, PROGRESS, STATE = "whole.json", "progress.json", "state"
_NAME = re.compile(r"step-(\d{8,12})")
_LEFT = re.compile(r"\.step-.*\.part")  # of a run that was killed
_PIECE = 4 << 20


def save(root: str, step: int, model: Any, optimizer: Any, files: Mapping[str, bytes], ranks: Ranks, keep: int) -> str:
    """Write the checkpoint of a step, with `files` beside the state; keep the last `keep`; its path. OSError."""
    name = f"step-{step:08d}"
    beside, path = os.path.join(root, f".{name}.part"), os.path.join(root, name)
    with ranks.together():
        if ranks.rank == 0:
            os.makedirs(root, exist_ok=True)
            for left in filter(_LEFT.fullmatch, os.listdir(root)):
                shutil.rmtree(os.path.join(root, left))
            os.makedirs(beside)
    own, optim = get_state_dict(model, optimizer)
    with ranks.together():
        _dcp(dcp.save, {"model": own, "optimizer": optim}, os.path.join(beside, STATE), ranks)
        torch.save(_generators(), os.path.join(beside, f"rng-{ranks.rank}.pt"))
        if ranks.rank == 0:
            for each, data in files.items():
                with open(os.path.join(beside, each), "wb") as file:
                    file.write(data)
    with ranks.together():
        names = _files(beside)
        sums = {each: _sum(beside, each, durable=True) for each in names[ranks.rank :: ranks.world]}
    listed = {each: kept for some in ranks.gather(sums) for each, kept in some.items()}
    with ranks.together():
        if ranks.rank == 0:
            whole = {"type": "sealift-checkpoint", "version": 1, "step": step, "files": dict(sorted(listed.items()))}
            put(os.path.join(beside, WHOLE), json.dumps(whole).encode())
            _sync(os.path.join(beside, STATE))
            swap(beside, path)
            steps = _steps(root)  # those after this one are not whole, or this run would have begun there
            for old in steps[: steps.index(name)] + steps[steps.index(name) :][keep:]:
                shutil.rmtree(os.path.join(root, old), ignore_errors=True)
    return path


@contextlib.contextmanager
def held(out: str, ranks: Ranks, wanted: bool) -> Iterator[None]:
    """The run's folder is made, and no other process trains into it, while inside; Busy if another does.

    The lock is of the process, not of its children: readers that outlive it for a moment do not hold it.
    """
    descriptor = -1
    try:
        with ranks.together():
            if wanted and ranks.rank == 0:
                os.makedirs(out, exist_ok=True)
                descriptor = os.open(os.path.join(out, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                try:
                    fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise Busy(f"{out}: another process trains into this folder") from error
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def latest(root: str, ranks: Ranks, say: Callable[[str], None]) -> str | None:
    """The last checkpoint that is whole; None if there is none. `say` is told of those that are not."""
    for name in ranks.gather(_steps(root))[0]:
        path = os.path.join(root, name)
        wrong = ranks.gather(_torn(path, ranks))
        if not any(wrong):
            return path
        say(f"{path} is not whole ({next(filter(None, wrong))}); the one before is looked at")
    return None


def load(path: str, model: Any, optimizer: Any, seed: int, ranks: Ranks) -> None:
    """Put a checkpoint into model, optimiser and generators. BadInput where it does not fit the model."""
    own, optim = get_state_dict(model, optimizer)
    _dcp(dcp.load, {"model": own, "optimizer": optim}, os.path.join(path, STATE), ranks)
    set_state_dict(model, optimizer, model_state_dict=own, optim_state_dict=optim)
    generators = os.path.join(path, f"rng-{ranks.rank}.pt")
    if not os.path.exists(generators):  # there are more ranks than there were
        torch.manual_seed(int(draw("rank", seed, ranks.rank, os.path.basename(path))) >> 1)
        return
    states = torch.load(generators, weights_only=True)
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def progress(path: str) -> dict[str, Any]:
    """What `progress.json` of a whole checkpoint says."""
    with open(os.path.join(path, PROGRESS), "rb") as file:
        made: dict[str, Any] = json.load(file)
    return made


def export(path: str, model: Any, files: Mapping[str, bytes], ranks: Ranks) -> None:
    """A folder to carry home: model.safetensors and `files`, in the place of what was there."""
    weights = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    with ranks.together():
        if ranks.rank == 0:
            from safetensors.torch import save_file

            beside = path + ".part"
            shutil.rmtree(beside, ignore_errors=True)
            os.makedirs(beside)
            weights = {name: each.contiguous() for name, each in weights.items()}
            save_file(weights, os.path.join(beside, "model.safetensors"), metadata={"format": "pt"})
            for name, data in files.items():
                put(os.path.join(beside, name), data)
            _sync(os.path.join(beside, "model.safetensors"))
            swap(beside, path)


def put(path: str, data: bytes) -> None:
    """Write a file, durable."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def swap(beside: str, path: str) -> None:
    """Rename a folder, durable as it is, to `path`, in the place of one that is there."""
    _sync(beside)
    if os.path.lexists(path):
        shutil.rmtree(path)
    os.rename(beside, path)
    _sync(os.path.dirname(path))


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _dcp(call: Any, state: dict[str, Any], path: str, ranks: Ranks) -> None:
    """torch.distributed.checkpoint, its errors as ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is one process is as we want it
        try:
            call(state, checkpoint_id=path, process_group=ranks.group, no_dist=ranks.group is None)
        except CheckpointException as error:
            cause = next((each[0] for each in error.failures.values()), error)
            if isinstance(cause, OSError):
                raise cause from error
            raise BadInput(
                f"{path}: {type(cause).__name__}: {' '.join(str(cause).split())[:300]}",
                hint="a checkpoint is resumed with the model with which it was made",
            ) from error


def _generators() -> dict[str, Any]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _steps(root: str) -> list[str]:
    """Folders of checkpoints, the last first."""
    names = os.listdir(root) if os.path.isdir(root) else []
    return sorted(filter(_NAME.fullmatch, names), key=lambda name: int(name[5:]), reverse=True)


def _files(path: str) -> list[str]:
    found = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
    return sorted(os.path.relpath(each, path) for each in found)


def _sum(path: str, name: str, *, durable: bool = False) -> list[Any]:
    """[length in bytes, BLAKE3 in hex] of a file; made durable first, if asked."""
    hasher, length = blake3(), 0
    with open(os.path.join(path, name), "rb", buffering=0) as file:
        if durable:
            os.fsync(file.fileno())
        while piece := file.read(_PIECE):
            hasher.update(piece)
            length += len(piece)
    return [length, hasher.hexdigest()]


def _torn(path: str, ranks: Ranks) -> str | None:
    """What is wrong with a checkpoint, of this rank's share of its files."""
    try:
        with open(os.path.join(path, WHOLE), "rb") as file:
            whole = json.load(file)
        listed = whole["files"]
        if whole["type"] != "sealift-checkpoint" or f"step-{whole['step']:08d}" != os.path.basename(path):
            return WHOLE
        for name in sorted(listed)[ranks.rank :: ranks.world]:
            if _sum(path, name) != listed[name]:
                return str(name)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return None if PROGRESS in listed else PROGRESS
