"""What the planner's model of time says of this machine, beside what really was: `python -m bench.plan_times`.

For each of three corpora (small text files, large files that do not compress, a mixture): a calibration of ten seconds,
a sample of how well the corpus compresses, the model's times; then pack 6+2, verify and the first batch, in truth, on
folders in memory. Drives there are as fast as the memory, which the calibration has in its costs, so the model is given
drives that keep up. Times are medians of the rounds; what other work had of the cores meanwhile is taken off, as in the
calibration, and the time by the clock stands beside. Prints a table, and writes PLAN_TIMES.md beside this file.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from bench.corpora import Makers
from sealift.formats import zstd
from sealift.reading.shipment import Shipment
from sealift.reading.trust import load_seal
from sealift.stages import rehearse_scratch as scratches
from sealift.stages import seal as sealing
from sealift.stages.inspect import inspect
from sealift.stages.pack import run as packing
from sealift.stages.plan.calibrate import Calibration, Clock, Shape, calibrate
from sealift.stages.plan.defaults import defaults
from sealift.stages.plan.geometry import Carrier, Drive, Wanted, search
from sealift.stages.plan.terms import DriveSpeed, Terms
from sealift.stages.plan.voyage import simulate
from sealift.stages.verify import verify
from sealift.trade.signing import load_allowed_signers

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.corpora import Corpus
    from sealift.formats.allowed_signers import AllowedSigners

HERE = os.path.dirname(os.path.abspath(__file__))
DATA, PARITY = 6, 2
PACK = (
    64 << 20
)  # so that there are several stripes, as in every real shipment: in one, packs are as long as the longest
TARGET = 0.25
FRAMES = 96  # of 1 MiB, sampled
AT_ONCE = b"hand_over_hours=0\nground_hours=0\nflight_hours=0\ncustoms_days=0\nreceive_minutes_a_drive=0\n"


class Times(NamedTuple):
    """Seconds."""

    pack: float
    verify: float
    first_batch: float


class Measured(NamedTuple):
    """As if nobody else had worked, and by the clock; and the share of the cores that others had."""

    alone: Times
    clock: Times
    busy: float


def sample(corpus: Corpus) -> tuple[float, float]:
    """Share of the bytes that does not compress, and what a byte becomes; from frames as packing makes them."""
    paths = [os.path.join(top, name) for top, _, names in os.walk(corpus.path) for name in names]
    paths = [path for path in sorted(paths) if os.path.isfile(path) and not os.path.islink(path)]
    weights = [os.path.getsize(path) for path in paths]
    chooser = random.Random(0)
    stiff = total = packed = 0
    for at in chooser.choices(range(len(paths)), weights, k=FRAMES):
        frame = bytearray()
        for place in range(at, min(at + 1000, len(paths))):
            size = weights[place]
            with open(paths[place], "rb") as file:
                file.seek(chooser.randrange(max(1, size - zstd.FRAME)) if size > zstd.FRAME else 0)
                frame += file.read(zstd.FRAME - len(frame))
            if len(frame) >= zstd.FRAME or size > zstd.FRAME:
                break
        total += len(frame)
        if zstd.worth_compressing(memoryview(frame)):
            packed += min(len(frame), len(zstd.compress(frame)))
        else:
            stiff += len(frame)
            packed += len(frame)
    return stiff / total, packed / total


def predict(corpus: Corpus, found: Calibration, stiff: float, ratio: float) -> Times:
    """By the model, with nothing on the way."""
    shape = Shape(files=corpus.files, bytes=corpus.size, incompressible=stiff)
    drives = tuple(Drive(name=f"D{at}", capacity_bytes=1 << 40) for at in range(DATA + PARITY))
    wanted = Wanted(
        drives=drives,
        carriers=(Carrier(name="nobody", means="hand"),),
        bays=len(drives),
        packed_bytes=max(1, int(corpus.size * ratio) + 512 * corpus.files // 8),
    )
    geometry = next(
        one
        for one in search(wanted, lambda _bytes, _blocks: 1 << 30)
        if (one.data, one.parity, one.groups) == (DATA, PARITY, 1)
    )
    terms = Terms(
        source_bytes=corpus.size,
        files=corpus.files,
        speeds=found.speeds(shape, data=DATA, parity=PARITY),
        people=len(drives),
        drive_speeds={drive.name: DriveSpeed(write=1e12, read=1e12) for drive in drives},
    )
    out = simulate(wanted, geometry, terms, defaults().stated(AT_ONCE))
    assert out.first_batch is not None
    assert out.verified is not None
    return Times(out.sealed, out.verified - out.sealed, out.first_batch - out.sealed)


def measure(corpus: Corpus, memory: str) -> Measured:
    """Pack, seal, verify, open and read the first sample, in truth."""
    scratch = scratches.Scratch.make(memory)
    try:
        who = scratches.people(scratch)
        mounts = scratch.drives(DATA + PARITY)
        serials = {mount: f"BENCH-{at}" for at, mount in enumerate(mounts)}
        path, state = scratch.place("declaration.toml"), scratch.place("state")
        carriers = {serial: f"carrier {at}" for at, serial in enumerate(serials.values())}
        scratches.declare(path, who, carriers, scratches.Size(corpus.files, corpus.size), 1 << 40)
        scratches.release(path, who)
        options = packing.Options(
            corpus.path, mounts, PARITY, [who.recipient], who.author, path, state, serials=serials,
            allow_same_filesystem=True, rehearsal=True, pack_size=PACK,
        )  # fmt: skip
        watch = Clock()
        packed = timed(watch, lambda: packing.run(options, packing.Events()))
        seal = load_seal(sealing.seal(sealing.Options([state], path, who.author, who.signers, mounts=mounts)).path)
        allowed = load_allowed_signers(who.signers)
        verified = timed(watch, lambda: verify(mounts, allowed=allowed, seal=seal, remember=False))
        first = timed(watch, lambda: first_sample(mounts, who, seal, allowed))
        alone, clock = zip(packed, verified, first, strict=True)
        return Measured(Times(*alone), Times(*clock), watch.busy)
    finally:
        scratch.close()


def first_sample(mounts: list[str], who: scratches.People, seal: dict[str, bytes], allowed: AllowedSigners) -> None:
    """As drives are received: they are looked at, and a loader begins."""
    inspect(mounts, allowed=allowed, seal=seal)
    with Shipment.open(mounts, identity=who.identity, allowed_signers=who.signers, seal=seal) as shipment:
        pack, _, _ = next(iter(shipment.packs()))
        next(iter(shipment.samples(pack)))


def timed(watch: Clock, work: Callable[[], object]) -> tuple[float, float]:
    """Seconds as if nobody else had worked, and by the clock."""
    begun = watch.now()
    work()
    return watch.since(begun), time.monotonic() - begun.wall


def row(corpus: Corpus, said: Times, runs: list[Measured], field: str) -> str:
    """A line of the table."""
    times, clock = [getattr(each.alone, field) for each in runs], [getattr(each.clock, field) for each in runs]
    median, told = statistics.median(times), getattr(said, field)
    off = told / median - 1
    spread = (max(times) - min(times)) / median
    verdict = "" if abs(off) <= TARGET else " (!)"
    what = f"| {corpus.name} | {field.replace('_', ' ')} | {told:.3f} | {median:.3f} | {off:+.0%}{verdict} |"
    return f"{what} {spread:.0%} | {statistics.median(clock):.3f} |"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.plan_times", description="The model of time beside truth.")
    parser.add_argument("--work", default=os.path.join(HERE, "work"), help="folder for corpora, kept")
    parser.add_argument("--memory", default="/dev/shm", help="a tmpfs for drives in memory")
    parser.add_argument("--only", action="append", default=[], choices=["small", "large", "mixed"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large-bytes", type=float, default=3.2e9)
    parser.add_argument("--files", type=int, default=75_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of the calibration")
    parser.add_argument("--smoke", action="store_true", help="tiny corpora, once; writes nothing")
    return parser.parse_args()


def main() -> None:
    """Run."""
    given = arguments()
    large, files = (4 << 20, 300) if given.smoke else (int(given.large_bytes), given.files)
    makers = Makers(given.work, large, files, large, given.smoke, print)
    lines = [
        "| corpus | | said s | was s | off | spread | by the clock s |",
        "|---|---|---|---|---|---|---|",
    ]
    told: list[str] = []
    for name in given.only or ["small", "large", "mixed"]:
        corpus = makers.get(name)
        for top, _, names in os.walk(corpus.path):  # into the page cache, as the calibration's files are
            for each in names:
                if os.path.isfile(path := os.path.join(top, each)):
                    with open(path, "rb") as file:
                        while file.read(1 << 22):
                            pass
        stiff, ratio = sample(corpus)
        shape = Shape(files=corpus.files, bytes=corpus.size, incompressible=stiff)
        seconds = 0.1 if given.smoke else given.seconds
        found = calibrate(given.memory, shape, data=DATA, parity=PARITY, seconds=seconds)
        said = predict(corpus, found, stiff, ratio)
        runs = [measure(corpus, given.memory) for _ in range(1 if given.smoke else given.rounds)]
        told.append(
            f"{name}: {corpus.files:,} files, {corpus.size / 1e9:.2f} GB, {stiff:.0%} does not compress, "
            f"a byte becomes {ratio:.2f}; other work had {found.busy:.0%} of the cores in "
            f"the calibration and {statistics.median(each.busy for each in runs):.0%} afterwards."
        )
        lines += [row(corpus, said, runs, field) for field in Times._fields]
    how = (
        f"Written by `python -m bench.plan_times`, {datetime.now(UTC).date().isoformat()}; {found.cores} cores of "
        f"{found.processor}, drives in memory ({found.medium}), {DATA}+{PARITY}, medians of {given.rounds}. (!) marks "
        f"what is off by more than {TARGET:.0%}."
    )
    page = [
        "# The model of time, beside what was",
        "",
        how,
        "",
        *lines,
        "",
        *(f"- {line}" for line in told),
    ]
    print("\n".join(page))
    if not given.smoke:
        with open(os.path.join(HERE, "PLAN_TIMES.md"), "w", encoding="utf-8") as out:
            out.write("\n".join(page) + "\n")
    elif given.work != os.path.join(HERE, "work"):
        shutil.rmtree(os.path.join(given.work, "corpora"), ignore_errors=True)


if __name__ == "__main__":
    main()
