"""The loop: a batch, a step, a line of the log, now and then a checkpoint; and the same again after any stop.

What holds:
- `train` goes on from the last whole checkpoint in OUT, or begins. Model, optimiser, generators and place in the
  shipment are those after its step, so that the steps after are those of a run that was never stopped.
- All ranks stop at the same step: before each they tell each other of signals and errors, with the batch's targets.
- SIGINT and SIGTERM end the step, write a checkpoint, and raise Interrupted. So does what cannot be read (Lost): the
  step before it is kept, and with more drives the same command goes on.

What is not here: printing (`say` is told words), and any process but this one.
"""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import torch

from sealift import __version__
from sealift.errors import BadInput, Interrupted, SealiftError
from sealift.reading.health import read_health
from sealift.training import checkpoint
from sealift.training.config import FIXED
from sealift.training.data import Batch, Feed, health_text, owed_text
from sealift.training.distributed import Ranks, spread, summing
from sealift.training.log import Log
from sealift.training.model import GPT, optimizer
from sealift.training.stall import Stall, measure

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealift.training.config import Config

_PASSED = 1000  # batches without text, one after the other, after which a name is taken to be wrong


def train(config: Config, say: Callable[[str], None], *, measure_stall: int | None = None) -> dict[str, Any] | None:
    """Train, or go on; what came out (docs/reference/json.md), on rank 0, and None on the others.

    With `measure_stall` so many steps are timed instead, and nothing is written. `say` is told words, on rank 0.
    BadInput, what Shipment.open raises, Lost, Interrupted; OSError where OUT cannot be written.
    """
    writes = measure_stall is None
    with Ranks(config.training.device) as ranks, Stopping() as stopping, checkpoint.held(config.out, ranks, writes):
        tell = say if ranks.rank == 0 else lambda _text: None
        run = Run(config, ranks, stopping, tell, writes=writes)
        try:
            answer = run.go() if measure_stall is None else run.measure(measure_stall)
        except RuntimeError as died:  # told by a signal, wherever the run is
            raise _reader(died) from died
        finally:
            run.close()
    return answer if ranks.rank == 0 else None


def _reader(died: RuntimeError) -> SealiftError:
    """What DataLoader says of a reading process that ended; any other error is raised again."""
    if "DataLoader worker" not in str(died):
        raise died
    return SealiftError(
        f"a reading process ended: {' '.join(str(died).split())[:300]}",
        hint="out of memory? fewer data.workers need less; what was saved is safe, and the same command goes on",
    )


class Stopping:
    """SIGINT and SIGTERM are noted while inside; a second one interrupts at once."""

    asked = False

    def __enter__(self) -> Self:
        self._before: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {each: signal.signal(each, self._note) for each in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, _number: int, _frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


class Run:
    """A run that stands at `step`."""

    def __init__(
        self, config: Config, ranks: Ranks, stopping: Stopping, say: Callable[[str], None], *, writes: bool
    ) -> None:
        self.config, self.ranks, self.stopping, self.say = config, ranks, stopping, say
        self.step = self.tokens = 0
        self.seconds = self.loss = self.blocked = 0.0  # blocked: for the last batch, in seconds
        self.norm = 0.0  # of the gradient, before it is clipped
        self._part: Any = None  # this rank's of the last step's loss, while nobody has asked what it is
        self._norm: Any = None
        self._writes = writes
        self.root = os.path.join(config.out, "checkpoints")
        self.log: Log | None = None
        self.stall, self._since = Stall(), (0, 0, 0.0, 0.0)
        training, device = config.training, ranks.device
        torch.manual_seed(training.seed)  # the same weights on every rank
        model = GPT(config.model).to(device)
        self.model = spread(model, list(model.blocks), ranks, training.parallel)
        if training.compile:
            self.model.compile()
        fused = device.type == "cuda"
        self.optimizer = optimizer(self.model, training.lr, training.weight_decay, fused=fused)
        torch.manual_seed(training.seed * 1_000_003 + ranks.rank)  # and other dropout
        self.bf16 = training.precision == "bf16" or (
            training.precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
        )
        self.resumed = self.saved = self._resume()
        state = None if self.saved is None else checkpoint.progress(self.saved)["data"]
        self.feed = Feed(config, ranks, state, say)

    def _resume(self) -> str | None:
        """Take the last whole checkpoint up; its path."""
        path = checkpoint.latest(self.root, self.ranks, self.say)
        if path is None:
            return None
        with open(os.path.join(path, "run.json"), "rb") as file:
            then, now = json.load(file)["config"], self.config.public()
        changed = [f"{t}.{n}" for t, names in FIXED.items() for n in names if then.get(t, {}).get(n) != now[t][n]]
        if changed:
            raise BadInput(
                f"{path} was made with other {', '.join(changed)}",
                hint="a run keeps these; give another `out` for another run",
            )
        checkpoint.load(path, self.model, self.optimizer, self.config.training.seed, self.ranks)
        stands = checkpoint.progress(path)
        self.step, self.tokens, self.seconds = stands["step"], stands["tokens"], stands["seconds"]
        self.loss = stands["loss"]
        return path

    def close(self) -> None:
        """End reading and logging."""
        self.feed.close()
        if self.log is not None:
            self.log.close()

    # -- the loop

    def go(self) -> dict[str, Any]:
        """All steps that are left, then the weights; what came out."""
        training = self.config.training
        with self.ranks.together():
            if self.ranks.rank == 0:
                self.log = Log(self.config.out, self.step)
        self._announce()
        while self.step < training.steps:
            begun = time.monotonic()
            batch, targets = self._next()
            self._update(batch, targets)
            self.feed.taken()
            self.step += 1
            self.tokens += targets
            last, tells = self.step == training.steps, self.step % training.log_every == 0
            if last or tells:
                self._know()
            seconds = time.monotonic() - begun
            self.seconds += seconds
            self.stall.step(self.blocked, seconds)
            now = (1, targets, seconds, self.blocked)
            self._since = tuple(a + b for a, b in zip(self._since, now, strict=True))  # type: ignore[assignment]
            if last or tells:
                self._write(*self._since)
                self._since = (0, 0, 0.0, 0.0)
            if last or self.step % training.checkpoint_every == 0:
                self._save()
        return self._finish()

    def _next(self) -> tuple[Batch, int]:
        """The next batch that has text, and the targets of all its shares; others are passed over, and it is said."""
        begun = self.feed.epoch
        for passed in range(_PASSED):
            batch, targets = self._one()
            if targets:
                return batch, targets
            if self.feed.epoch > begun + 1:  # a whole epoch had none
                break
            if not passed:
                self.say(f"after step {self.step}: no sample of a batch has text in {self._text}; it is passed over")
            self.feed.taken()
        raise BadInput(
            f"no sample of {passed + 1:,} batches after step {self.step} has text in {self._text}",
            hint='data.file is what the names of a sample\'s files have after its key: "txt"',
        )

    @property
    def _text(self) -> str:
        return repr(self.config.data.file) if self.config.data.file else "its first file"

    def _one(self) -> tuple[Batch, int]:
        """The next batch and the targets of all its shares; stops, on all ranks, when one has been asked or cannot."""
        batch, error, begun = None, None, time.monotonic()
        try:
            batch = self.feed.next()
            self.blocked = time.monotonic() - begun
        except SealiftError as met:
            error = met
        except RuntimeError as died:
            error = _reader(died)
        own = 0 if batch is None else int((batch.sequences[:, 1:] >= 0).sum())
        targets, stop, trouble = self.ranks.total(own, int(self.stopping.asked), int(error is not None))
        if trouble:
            self._save()
            for line in health_text(self.feed.health()):
                self.say(line)
            if self.saved:
                self.say(f"stopped at step {self.step}: {self.saved} is whole, and the same command goes on from it")
            self.ranks.agree(error)
        if stop:
            self._save()
            raise Interrupted(f"interrupted at step {self.step}; the same command again goes on")
        assert batch is not None
        return batch, targets

    def _update(self, batch: Batch, targets: int) -> None:
        """One step of the optimiser. The loss is in nats a target of the whole batch."""
        training, model, ranks = self.config.training, self.model, self.ranks
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.step, self.config)
        sequences = torch.from_numpy(batch.sequences).to(ranks.device)
        parts = sequences.split(training.micro_batch or len(sequences))
        loss = torch.zeros((), device=ranks.device)
        for number, part in enumerate(parts):
            autocast = torch.autocast(ranks.device.type, torch.bfloat16, enabled=self.bf16)
            with summing(model, last=number + 1 == len(parts)), autocast:
                own = model(part) / targets
                (own * ranks.world).backward()  # gradients are averaged over ranks, and the loss is a sum over them
            loss += own.detach()
        self._norm = torch.nn.utils.clip_grad_norm_(model.parameters(), training.clip or math.inf)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._part = loss

    def _know(self) -> None:
        """Make `loss` and `norm` those of the last step, of all ranks; SealiftError where there is no number."""
        if self._part is None:
            return
        self.loss, self._part = math.fsum(self.ranks.gather(float(self._part))), None
        self.norm = float(self._norm.full_tensor() if hasattr(self._norm, "full_tensor") else self._norm)
        if not math.isfinite(self.loss):
            raise SealiftError(
                f"the loss of step {self.step} is {self.loss}",
                hint="a smaller training.lr, or a longer training.warmup; the last checkpoint is from before",
            )

    # -- what it tells and keeps

    def _announce(self) -> None:
        training, place = self.config.training, f"{self.ranks.world} x {self.ranks.device.type}"
        begins = "begins" if self.resumed is None else f"goes on from step {self.step} of {self.resumed}"
        parameters = sum(each.numel() for each in self.model.parameters())
        what = f"shipment {self.feed.shipment}, {parameters / 1e6:.1f} M parameters on {place}"
        self.say(f"{what}: {begins}, to {training.steps}")
        if any(self.feed.owed):
            self.say(f"{owed_text(self.feed.owed)}: read when their drives are here")

    def _write(self, steps: int, targets: int, seconds: float, blocked: float) -> None:
        """A line of the log: the loss of this step, and rates since the line before."""
        tokens, samples = targets / seconds, steps * self.config.training.batch / seconds
        self.say(f"step {self.step}: loss {self.loss:.4f}, {tokens:,.0f} tokens/s, {samples:,.0f} samples/s")
        if self.log is not None:
            self.log.write({
                "step": self.step,
                "epoch": self.feed.epoch,
                "loss": self.loss,
                "norm": self.norm,
                "lr": rate(self.step - 1, self.config),
                "tokens": self.tokens,
                "tokens_per_second": round(tokens, 1),
                "samples_per_second": round(samples, 1),
                "blocked": round(blocked / seconds, 6),
            })  # fmt: skip

    def _files(self) -> dict[str, bytes]:
        """run.json and health.json, as they are now; to be asked on every rank."""
        config = self.config
        run = {
            "code": {"name": "sealift.training", "version": __version__, "torch": torch.__version__},
            "config": config.public(),
            "metrics": {
                "step": self.step,
                "loss": self.loss,
                "epoch": self.feed.epoch,
                "tokens": self.tokens,
                "seconds": round(self.seconds, 3),
                "ranks": self.ranks.world,
                "owed": self.feed.owed[0],
                "owed_groups": self.feed.owed[1],
            },
        }
        return {"run.json": json.dumps(run, indent=2).encode(), "health.json": self.feed.health().encode()}

    def _save(self) -> None:
        """A checkpoint of this step, unless it is there; none before the first step."""
        if not (self._writes and self.step) or (self.saved or "").endswith(f"-{self.step:08d}"):
            return
        self._know()
        stands = {"step": self.step, "tokens": self.tokens, "seconds": self.seconds, "loss": self.loss}
        files = self._files() | {checkpoint.PROGRESS: json.dumps(stands | {"data": self.feed.state()}).encode()}
        self.saved = checkpoint.save(
            self.root, self.step, self.model, self.optimizer, files, self.ranks, self.config.training.keep
        )

    def _finish(self) -> dict[str, Any]:
        """The weights, the record and the health, to carry home; what came out."""
        files, final = self._files(), os.path.join(self.config.out, "final")
        checkpoint.export(final, self.model, files, self.ranks)
        blocked, step_seconds = self.stall.slowest(self.ranks)
        for line in health_text(read_health(files["health.json"], "it")):
            self.say(line)
        self.say(f"done: step {self.step}, loss {self.loss:.4f}; weights, record and health in {final}")
        return {
            "out": self.config.out,
            "step": self.step,
            "epoch": self.feed.epoch,
            "loss": self.loss,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "step_seconds": round(step_seconds, 6),
            "blocked": round(blocked, 6),
            "ranks": self.ranks.world,
            "device": self.ranks.device.type,
            "resumed_from": self.resumed,
            "checkpoint": self.saved,
            "final": final,
            "owed": self.feed.owed[0],
            "owed_groups": self.feed.owed[1],
            "health": json.loads(files["health.json"]),
        }

    def measure(self, steps: int) -> dict[str, Any]:
        """What is lost by waiting for data: see stall.py."""

        def update(batch: tuple[Batch, int]) -> None:
            self._update(*batch)

        def following() -> tuple[Batch, int]:
            found = self._next()
            self.feed.taken()
            return found

        settle = torch.cuda.synchronize if self.ranks.device.type == "cuda" else lambda: None
        return {"stall": measure(following, update, settle, steps, self.ranks)}


def rate(step: int, config: Config) -> float:
    """The learning rate of the step after `step` steps: up in a line, then down half a cosine to min_lr."""
    training = config.training
    if step < training.warmup:
        return training.lr * (step + 1) / training.warmup
    share = (step - training.warmup) / max(1, training.steps - training.warmup)
    return training.min_lr + (training.lr - training.min_lr) * (1 + math.cos(math.pi * min(1.0, share))) / 2
