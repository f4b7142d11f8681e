"""A small shipment of texts, a tiny model, and runs of it: in this process, as a command, and under torchrun."""

import json
import os
import random
import re
import subprocess
import sys
from array import array
from pathlib import Path

import shipments

from sealift.formats import seal as seals

SAMPLES, BATCH = 320, 16
TEXT = "the drive sails over a sea of tests and comes home with weights and loss"
WORDS = TEXT.split()
MODEL = {"layers": 2, "heads": 2, "width": 32, "block": 48}
TRAINING = {
    "steps": 40, "batch": BATCH, "lr": 0.01, "min_lr": 0.01, "warmup": 5, "checkpoint_every": 10, "log_every": 1,
    "device": "cpu",
}  # fmt: skip


def make_port(base):
    """What arrives: drives d00 to d02 of 2+1, an identity, signers and a seal."""
    rng = random.Random(1)
    for number in range(SAMPLES):
        text = " ".join(rng.choice(WORDS) for _ in range(rng.randrange(3, 60)))
        shipments.write(base / f"source/d{number % 7}/{number:04d}.txt", text.encode())
        tokens = array("H", [WORDS.index(word) for word in text.split()])
        shipments.write(base / f"source/d{number % 7}/{number:04d}.tok", tokens.tobytes())
        shipments.write(base / f"source/d{number % 7}/{number:04d}.bin", rng.randbytes(rng.randrange(40_000)))
    made = shipments.Origin(base / "origin", base / "source", 2, 1)
    made.pack()
    (base / "origin/sent.seal").write_bytes(seals.encode_bundle(made.seal()))
    return base / "origin"


def write_config(path, port, *, data=None, model=None, training=None, out=None):
    """A configuration file; `data`, `model` and `training` change single keys."""
    tables = {
        "data": {
            "drives": [f"{port}/d0*"], "identity": [f"{port}/identity"], "allowed_signers": f"{port}/allowed",
            "seal": f"{port}/sent.seal", "file": "txt", "workers": 2,
        },
        "model": MODEL,
        "training": TRAINING,
    }  # fmt: skip
    changes = {"data": data or {}, "model": model or {}, "training": training or {}}
    text = f"out = {json.dumps(str(out or path.with_suffix('')))}\n"
    for table, values in tables.items():
        text += f"[{table}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in (values | changes[table]).items())
    path.write_text(text)
    return path


def train(path, then=lambda _step: None, words=None, **options):
    """Train in this process; `then` is called with every step when its line is said."""
    from sealift.training.config import load
    from sealift.training.train import train as run

    words = [] if words is None else words

    def say(text):
        words.append(text)
        if found := re.match(r"step (\d+):", text):
            then(int(found[1]))

    answer = run(load(str(path)), say, **options)
    return answer, words


def curve(path):
    """(step, epoch, loss, norm of the gradient) of a run's log."""
    lines = [json.loads(line) for line in (path.with_suffix("") / "log.jsonl").read_text().splitlines()]
    return [(line["step"], line["epoch"], line["loss"], line["norm"]) for line in lines]


def command(*arguments, ranks=0):
    """`sealift train` in a process of its own, or under torchrun."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks else []
    return [sys.executable, *torchrun, "-m", "sealift", "train", *map(str, arguments)]


def start(*arguments, ranks=0, **options):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEALIFT_")}
    return subprocess.Popen(
        command(*arguments, ranks=ranks),
        env={**environment, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def end(process, code=0):
    """(stdout, stderr) of a process that must end with `code`."""
    out, err = process.communicate(timeout=200)
    assert process.returncode == code, (process.returncode, out, err)
    return out, err


def checkpoints(path):
    return sorted(Path(path.with_suffix(""), "checkpoints").iterdir())
