"""The last scene of a rehearsal: train on the drives that are left, stop, go on, and carry the weights home.

    a carrier is lost -> `sealift train` to the end -> again, stopped by SIGTERM, resumed with other workers
    -> both losses compared, bit by bit -> the weights packed, released and sealed in reply -> opened, compared

The commands are those that people run, in processes of their own. It needs PyTorch and safetensors (`sealift[train]`);
where they are not installed it is left out, and said so. What is not here: the trainer (sealift.training), and the
scenes before (rehearse_scenes.py).
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec

from sealift.errors import SealiftError
from sealift.reading.trust import load_seal, open_seal
from sealift.stages import seal as sealing
from sealift.stages import unpack as unpacking
from sealift.stages.pack import run as packing
from sealift.stages.rehearse_scenes import Check
from sealift.stages.rehearse_scratch import Size, declare, release
from sealift.trade.signing import load_allowed_signers, read_limited, write_new

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealift.stages.rehearse_scratch import People, Scratch

NAME = "training"
STEPS, STOP_AT = 36, 12
NETWORK = "NETWORK-REHEARSAL"
_PATIENCE = 600.0  # seconds for one start of the trainer
_NEEDED = ("torch", "safetensors")

_CONFIG = """
out = {out}
[data]
drives = {drives}
identity = [{identity}]
allowed_signers = {signers}
seal = {seal}
workers = {workers}
[model]
layers = 2
heads = 2
width = 64
block = 128
[training]
steps = {steps}
batch = 16
lr = 0.003
warmup = 6
device = "cpu"
log_every = 1
checkpoint_every = {steps}
"""


class Training(msgspec.Struct):
    """What came of it; `left_out` says why it was not played, and then nothing else is meant."""

    left_out: str = ""
    title: str = "trained, stopped, resumed, answered"
    story: str = "A carrier is lost, and the model is trained all the same; its weights go home as a signed reply."
    lost: list[str] = []
    steps: int = 0
    stopped_at: int = 0
    losses: list[float] = []  # of the run that was never stopped, by step
    resumed: list[float] = []  # of the one that was, before and after
    tokens_per_second: float = 0.0
    rebuilt_blocks: int = 0
    weights_bytes: int = 0
    reply: str = ""  # consignment of the leg home
    seconds: float = 0.0
    checks: list[Check] = []

    @property
    def held(self) -> bool:
        """Whether everything that was played held."""
        return all(check.held for check in self.checks)


def missing() -> list[str]:
    """What is not installed of what training needs."""
    return [name for name in _NEEDED if importlib.util.find_spec(name) is None]


def play(
    scratch: Scratch,
    who: People,
    seal: str,
    mounts: Sequence[str],
    lost: Sequence[str],
    tell: Callable[[str], None],
    *,
    rebuilds: bool,
) -> Training:
    """Train on `mounts`, of which the drives `lost` are not; SealiftError when a command fails that must not.

    `rebuilds`: the lost drives hold data of which there is enough that training meets it.
    """
    begun = time.monotonic()
    answer = Training(lost=list(lost), steps=STEPS)
    write_new(scratch.place("identity"), who.identity)
    tell(f"training {STEPS} steps on what is left" + (f", without {', '.join(lost)}" if lost else ""))
    whole = _config(scratch, who, seal, mounts, "whole", workers=0)
    result = _train(whole, None)
    answer.losses = _losses(scratch.place("whole"))
    answer.tokens_per_second = result["tokens"] / max(result["seconds"], 1e-9)
    answer.rebuilt_blocks = result["health"]["rebuilt_blocks"]
    tell(f"training again: stopped after {STOP_AT} steps, and resumed with two reading processes")
    stopped = _config(scratch, who, seal, mounts, "stopped", workers=0)
    _train(stopped, scratch.place("stopped"))
    answer.stopped_at = len(_losses(scratch.place("stopped")))
    os.unlink(stopped)
    result = _train(_config(scratch, who, seal, mounts, "stopped", workers=2), None)
    answer.resumed = _losses(scratch.place("stopped"))
    answer.checks = [
        Check("the run was stopped on its way", 0 < answer.stopped_at < STEPS),
        Check("what the lost drives held was rebuilt on the way", not rebuilds or answer.rebuilt_blocks > 0),
        Check("the losses of both runs are the same, bit by bit", answer.losses == answer.resumed),
        Check("every step was trained", len(answer.losses) == STEPS),
    ]
    tell("packing the weights for home, in reply; released, sealed and opened")
    answer.checks += _home(scratch, who, seal, result["final"], answer)
    answer.seconds = time.monotonic() - begun
    return answer


def _config(scratch: Scratch, who: People, seal: str, mounts: Sequence[str], name: str, *, workers: int) -> str:
    path = scratch.place(f"{name}.train.toml")
    text = _CONFIG.format(
        out=json.dumps(scratch.place(name)),
        drives=json.dumps(list(mounts)),
        identity=json.dumps(scratch.place("identity")),
        signers=json.dumps(who.signers),
        seal=json.dumps(seal),
        workers=workers,
        steps=STEPS,
    )
    write_new(path, text.encode())
    return path


def _train(config: str, stop: str | None) -> dict[str, Any]:
    """`sealift train`, to its end; or until its run in the folder `stop` has some steps, and then SIGTERM."""
    command = [sys.executable, "-m", "sealift", "train", config, "--json"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    try:
        if stop is not None:
            deadline = time.monotonic() + _PATIENCE
            while process.poll() is None and len(_losses(stop)) < STOP_AT and time.monotonic() < deadline:
                time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=_PATIENCE)
    except BaseException:
        process.kill()
        process.wait()
        raise
    if process.returncode != (0 if stop is None else 130):
        said = err.decode(errors="replace").strip()[-2000:]
        raise SealiftError(
            f"sealift train ended with {process.returncode}: {said}",
            hint="the scratch drives are gone; --scene leaves training out",
        )
    found: dict[str, Any] = json.loads(out) if stop is None else {}
    return found


def _losses(folder: str) -> list[float]:
    """Of every step, as they were logged."""
    try:
        with open(os.path.join(folder, "log.jsonl"), encoding="ascii") as file:
            return [json.loads(line)["loss"] for line in file if line.endswith("\n")]
    except FileNotFoundError:
        return []


def _home(scratch: Scratch, who: People, seal: str, final: str, answer: Training) -> list[Check]:
    """The leg home by network: declared, packed, released, sealed, and opened where it was to go."""
    outbound = open_seal(load_seal(seal), load_allowed_signers(who.signers))
    declaration, outbox, target = (scratch.place(name) for name in ("home.toml", "outbox", "weights"))
    os.mkdir(outbox)
    entries = sum(len(files) for _, _, files in os.walk(final))
    size = sum(os.path.getsize(os.path.join(path, name)) for path, _, files in os.walk(final) for name in files)
    declare(
        declaration,
        who,
        {NETWORK: "Transit"},
        Size(entries, size),
        4 * size + (1 << 30),
        in_reply_to=outbound.seal.consignment_id,
    )
    packed = packing.run(
        packing.Options(
            final, [outbox], 0, [], who.trainer, declaration, scratch.place("home"),
            leg="return", in_reply_to=seal, allowed_signers=who.signers, network=True, rehearsal=True,
        ),
        packing.Events(),
    )  # fmt: skip
    release(declaration, who)
    sealed = sealing.seal(
        sealing.Options([scratch.place("home")], declaration, who.trainer, who.signers, mounts=[outbox])
    )
    signers = read_limited(who.signers, 1 << 20, "allowed signers file")
    opened = unpacking.unpack(
        unpacking.Options([outbox], target, [who.identity], signers, load_seal(sealed.path), outbound=outbound),
        unpacking.Events(),
    )
    name = "model.safetensors"
    answer.reply, answer.weights_bytes = packed.config.consignment_id, os.path.getsize(os.path.join(final, name))
    with open(os.path.join(final, name), "rb") as sent, open(os.path.join(target, name), "rb") as got:
        same = sent.read() == got.read()
    return [
        Check("the reply is signed by somebody whom the outbound seal accepts", bool(opened.reply_signer)),
        Check("the weights came home as they were, byte by byte", same and not opened.failed),
        Check("a provenance record came with them", os.path.exists(os.path.join(target, "provenance.json"))),
    ]
