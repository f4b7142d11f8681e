"""Hosts that work at once: pack, verify and ingest on 1, 2 and 4 nodes of a Ray cluster, each drive held to 100 MB/s.

    python -m bench.hosts --work FOLDER [--write] [--hosts 1 2 4] [--rate 100e6] [--bytes 600e6] [--rounds 3]

Each node has three drives of its own, 2+1, ext4 on loop devices of files in FOLDER (in memory, best), held to `rate` by
the kernel (blkio throttling of cgroup v1, as root). A corpus of noise, `bytes` for each host, is packed by all hosts
together, verified, and copied (`ingest --packs`) into a folder of FOLDER. Two sizes are timed, one an eighth of the
other, and the rate is that of what lies between: what a cluster takes to begin is not counted, and is printed. Medians
of `rounds`, since beginnings differ by up to a second. Beside it the share of this machine's processors that was busy
in what lies between the two sizes, too: where they are full growth ends, since a host of a cluster brings its own, and
these share two cores.

The floor of a host: half of the corpus goes to each of two drives and as much to the third, so that it takes 2 x rate.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import shipments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clusters import Cluster

PAGE = Path(__file__).parent / "HOSTS.md"
BLKIO = Path("/sys/fs/cgroup/blkio")
DATA, PARITY, SMALLER = 2, 1, 8
PROPORTION = 0.9  # of what one host does, each of many
NAMES = "abcdefgh"


class Timed(NamedTuple):
    """A stage at one size: seconds, ticks in which processors were busy, and all of their ticks."""

    seconds: float
    busy: int
    ticks: int


@dataclass
class Drives:
    """Throttled drives of one host; `rate` in bytes a second."""

    work: Path
    home: Path
    rate: int
    size: int

    @contextlib.contextmanager
    def mounted(self) -> Iterator[list[str]]:
        """Three filesystems at ~/d0 to ~/d2 of the host."""
        with contextlib.ExitStack() as stack:
            found = []
            for number in range(DATA + PARITY):
                image = self.work / f"{self.home.name}-{number}.img"
                stack.callback(image.unlink, missing_ok=True)
                with image.open("wb") as file:
                    file.truncate(self.size)
                _run("mkfs.ext4", "-q", image)
                device = _run("losetup", "--find", "--show", image)
                stack.callback(_run, "losetup", "-d", device)
                mount = self.home / f"d{number}"
                mount.mkdir(exist_ok=True)
                _run("mount", device, mount)
                stack.callback(_run, "umount", "-l", mount)
                numbers = Path(f"/sys/block/{Path(device).name}/dev").read_text().strip()
                for what in ("read", "write"):
                    (BLKIO / f"blkio.throttle.{what}_bps_device").write_text(f"{numbers} {self.rate}")
                    stack.callback((BLKIO / f"blkio.throttle.{what}_bps_device").write_text, f"{numbers} 0")
                found.append(str(mount))
            yield found


def _run(*words: object) -> str:
    return subprocess.run(list(map(str, words)), check=True, capture_output=True, text=True).stdout.strip()


def _processor() -> tuple[int, int]:
    """Ticks in which processors were busy, and all."""
    ticks = list(map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]))
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


@contextlib.contextmanager
def timed(into: list[Timed]) -> Iterator[None]:
    """What is done inside is timed."""
    busy, everything = _processor()
    begun = time.monotonic()
    yield
    seconds = time.monotonic() - begun
    now = _processor()
    into.append(Timed(seconds, now[0] - busy, now[1] - everything))


def voyage(cluster: Cluster, work: Path, hosts: int, size: int, rate: int) -> dict[str, Timed]:
    """Pack, verify and copy `size` bytes for each host."""
    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.stages import ingest, ingest_hosts
    from sealift.stages.pack.hosts import pack_on
    from sealift.stages.placed_pass import Events
    from sealift.stages.placement import place
    from sealift.stages.verify_hosts import verify_on

    out: dict[str, list[Timed]] = {"pack": [], "verify": [], "ingest": []}
    with contextlib.ExitStack() as stack:
        source = work / "source"
        stack.callback(_run, "rm", "-rf", source, work / "origin", work / "home", work / "copy")
        each = 16 << 20
        for number in range(max(1, hosts * size // each)):
            shipments.write(source / f"{number:05d}.bin", os.urandom(each))
        mounts = []
        for name in NAMES[:hosts]:
            stack.callback(_run, "rm", "-rf", cluster.home(name) / "state")
            drives = Drives(work, cluster.home(name), rate, int(size * 0.6) + (400 << 20))
            mounts.append(stack.enter_context(drives.mounted()))
        made = shipments.Origin(work / "origin", source, DATA, PARITY, groups=hosts)
        made.mounts = [mount for same in zip(*mounts, strict=True) for mount in same]  # a group gets each n-th
        made.carriers = tuple(f"carrier-{place:02}" for place in range(len(made.mounts)))  # dealt in the order of names
        serials = {mount: f"SER{Path(mount).parent.name}{Path(mount).name}" for mount in made.mounts}
        made.serial = serials.__getitem__  # type: ignore[method-assign, assignment]
        made.declaration.write_bytes(shipments.declare(made, made.author.public_key.line))
        options = made.pack_options(to=[], state="~/state", pack_size=256 << 20, allow_same_filesystem=False)
        options.to[:] = ["~/d*"]
        options.serials.update(serials)
        events = Events(lambda *_: None, lambda _text: None)
        with place(cluster.address) as there, _home(work / "home"):
            _run("sync")
            with timed(out["pack"]):
                result = pack_on(there, options, events)
            assert result.exit_code == 0, result
            Path("/proc/sys/vm/drop_caches").write_text("1")
            allowed, seal = AllowedSigners.parse(made.allowed), made.seal(made.mounts)
            with timed(out["verify"]):
                report = verify_on(
                    there, ["~/d*"], allowed=allowed, events=events, seal=seal, state=str(work / "home/verified")
                )
            assert report.state == "intact", report.faults
            _run("rm", "-rf", source)  # which takes the memory that the copy needs
            Path("/proc/sys/vm/drop_caches").write_text("1")
            with timed(out["ingest"]):
                copied = ingest_hosts.ingest_on(
                    there, ingest.Options(["~/d*"], str(work / "copy"), allowed, seal), events
                )
            left = [*copied.failed, *copied.refused, *(drive for host in copied.hosts for drive in host.owed)]
            assert not left, copied
    return {stage: seen[0] for stage, seen in out.items()}


@contextlib.contextmanager
def _home(path: Path) -> Iterator[None]:
    """What `~` is in this process."""
    before = os.environ["HOME"]
    os.environ["HOME"] = str(path)
    try:
        yield
    finally:
        os.environ["HOME"] = before


Found = dict[int, list[tuple[dict[str, Timed], dict[str, Timed]]]]


def measure(work: Path, counts: list[int], rate: int, size: int, rounds: int) -> Found:
    """By number of hosts: both sizes, of each round."""
    import clusters

    found: Found = {}
    with clusters.cluster(*NAMES[: max(counts)]) as cluster, clusters.applied(cluster.environment):
        for count in counts:
            for name in NAMES[: max(counts)]:
                if (name in cluster.nodes) != (name in NAMES[:count]):
                    cluster.lose(name) if name in cluster.nodes else cluster.add(name)
            found[count] = [
                (voyage(cluster, work, count, size // SMALLER, rate), voyage(cluster, work, count, size, rate))
                for _ in range(rounds)
            ]
    return found


def page(found: Found, rate: int, size: int) -> str:
    """The table, and what it comes to."""
    rounds = max(map(len, found.values()))
    lines = [
        "# Hosts that work at once", "",
        f"Written by `python -m bench.hosts`. Each host is a node of a Ray cluster on {os.cpu_count()} cores, with",
        f"three drives of 2+1 that the kernel holds to {rate / 1e6:,.0f} MB/s each, and {size / 1e6:,.0f} MB of noise.",
        f"Medians of {rounds} {'rounds' if rounds > 1 else 'round'}. MB/s, and what is reckoned from it, leaves out",
        "the time to begin, which has a column of its own and grows with the hosts, as all begin on the same cores.",
        "Processors are those of this machine, which all hosts share; where they are full, growth ends. Their share is",
        "that of the difference of two runs, too, so that it may come out above 100%.",
        "", "| stage | hosts | MB/s | of the floor | a host, beside one | processors busy | to begin |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    short: list[str] = []
    full: list[str] = []
    for stage, drives in (("pack", DATA), ("verify", DATA + PARITY), ("ingest", DATA + PARITY)):
        first = most = 0.0
        for count, seen in found.items():
            # verify and ingest read parity, too: three drives for what pack has as two
            read = (size - size // SMALLER) * count * drives / DATA
            taken = statistics.median(large[stage].seconds - small[stage].seconds for small, large in seen)
            busy = statistics.median(_busy(small[stage], large[stage]) for small, large in seen)
            begin = statistics.median(small[stage].seconds for small, _ in seen) - taken / (SMALLER - 1)
            speed = read / taken
            first = first or speed / count
            grown = speed / count / first
            if grown < PROPORTION:
                wanted = busy / grown  # of the processors, for growth in proportion at this cost of a byte
                falls = ", slower than with fewer" if speed < most else ""
                told = f"{stage} on {count} ({grown:.2f}, processors {busy:.0%} busy, of {wanted:.0%} wanted{falls})"
                (full if wanted >= 1 else short).append(told)
            most = max(most, speed)
            lines.append(
                f"| {stage} | {count} | {speed / 1e6:,.0f} | {speed / (drives * rate * count):.2f} |"
                f" {grown:.2f} | {busy:.0%} | {begin:.1f} s |"
            )
    told = f"Short of growth in proportion within 10%: {', '.join(short)}." if short else ""
    if full:
        told += f"{' ' if told else ''}Growth ends where the processors cannot do what it wants: {', '.join(full)}."
    return "\n".join([*lines, "", told or "All grow in proportion."]) + "\n"


def _busy(small: Timed, large: Timed) -> float:
    """The share of the processors' time that the larger size took more than the smaller one."""
    return (large.busy - small.busy) / max(1, large.ticks - small.ticks)


def main() -> None:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--work", type=Path, required=True, metavar="FOLDER", help="for corpora and drives; in memory, best"
    )
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    parser.add_argument("--hosts", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rate", type=float, default=100e6, help="bytes a second, of each drive")
    parser.add_argument("--bytes", type=float, default=600e6, help="of corpus, for each host")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if os.geteuid() != 0 or not (BLKIO / "blkio.throttle.read_bps_device").exists():
        sys.exit("needs root and the blkio controller of cgroup v1, which holds drives to a rate")
    given.work.mkdir(parents=True, exist_ok=True)
    rate, size = int(given.rate), int(given.bytes)
    text = page(measure(given.work, given.hosts, rate, size, given.rounds), rate, size)
    if given.write:
        PAGE.write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
