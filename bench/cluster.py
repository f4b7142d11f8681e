"""A destination simulated: 60 drives in 8 storage hosts, and 300 servers of 8 ranks that read them in training's order.

    python -m bench.cluster [--write] [--drives N] [--hosts N] [--servers N] [--seconds S] ...

What each rank reads, and when, is drawn by sealift.reading.order, over packs of the reference shipment, as in a run;
how long it waits for a host that no longer answers is by the constants of sealift.reading.hedge and group. Three
stations are in the way of every window: the drive, the process that serves it, the link of its host. Each is a queue,
first come first served, with a rate that was measured or is stated. A rank keeps so many windows asked for, and stalls
when the next one that it needs is not there.

    demand     what all ranks would consume; in shares of what drives, processes and links can give
    given      what they got
    stalled    the share of time in which a rank waits
    wait       from asking for a window until it is there: median, and the longest of 99 %
    hottest    the busiest drive's load, and the busiest host's a drive, by the mean: 1.00 is even

With a host `lost`, it answers no more. What its drives hold is rebuilt from k others, so that those are asked for k
times as much of it; until a reader has found that out it waits as long as it is patient. Nothing is compressed. Pure
but for --write; the same arguments print the same figures.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
import statistics
import sys
from collections import defaultdict, deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sealift.reading import group, hedge
from sealift.reading.order import Order, Phase, State, Units

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PAGE = Path(__file__).parent / "CLUSTER.md"
WINDOW = 4 << 20
SAMPLE = 1 << 20
GB = 1e9


@dataclass(frozen=True)
class Site:
    """A destination; rates in bytes a second."""

    drives: int = 60
    hosts: int = 8
    data: int = 12
    parity: int = 3
    servers: int = 300
    ranks: int = 8  # a server
    shipped: float = 4.8e15  # bytes on the drives, parity among them
    pack: int = 16 << 30
    drive: float = 5.0 * GB  # stated: src/sealift/stages/plan/defaults.toml, ssd_read_rate
    process: float = (
        GB / 0.61
    )  # measured: docs/adr/0023-what-serves-a-storage-host.md, a processor second a GB; one a drive
    link: float = 25.0 * GB  # stated: 200 Gb/s a host
    latency: float = 0.001  # stated: seconds for a request beside all that
    flight: int = 8  # windows asked for at a time, by the workers of a rank

    @property
    def readers(self) -> int:
        """Ranks of all servers."""
        return self.servers * self.ranks

    @property
    def wide(self) -> int:
        """Drives of a group."""
        return self.data + self.parity

    def host(self, drive: int) -> int:
        """Drives of a group stand in turn in all hosts, so that no host has more of one than must be."""
        return drive % self.hosts

    @property
    def lost_with_a_host(self) -> int:
        """The most drives that one group loses with a host."""
        return -(-self.wide // self.hosts)

    def capacity(self, drives: int | None = None, hosts: int | None = None) -> float:
        """What can be given, if every drive is asked for equally much."""
        one = min(self.drive, self.process) * (self.drives if drives is None else drives)
        return min(one, self.link * (self.hosts if hosts is None else hosts))


class Share(NamedTuple):
    """What was seen in a part of a simulated run."""

    given: float  # bytes a second
    stalled: float
    median: float  # seconds
    slow: float  # seconds; 99 % are faster
    hot_drive: float
    hot_host: float
    rebuilt: float  # of what was given


def order(site: Site, lanes: int, seed: int = 7) -> Order:
    """The order of training over a shipment of this size: data packs alone are read."""
    stripes = max(1, int(site.shipped / site.drives / site.pack))
    groups = site.drives // site.wide
    rows = [(g, s, r) for g in range(groups) for s in range(stripes) for r in range(site.data)]
    table = np.array(rows, dtype=np.int64)
    samples = site.pack // SAMPLE
    units = Units(
        key=np.arange(len(rows), dtype=np.uint64),
        samples=np.full(len(rows), samples, np.int64),
        size=np.full(len(rows), site.pack, np.int64),
        group=table[:, 0],
        slot=(table[:, 2] + table[:, 1]) % site.wide,
        several={},
    )
    state = State(
        shipment="0" * 16, samples="simulated", seed=seed, epoch=0, batch_size=lanes * 4, lanes=lanes, turns=4,
        window=WINDOW, last="drop", phases=[Phase()],
    )  # fmt: skip
    return Order(units, state, dict.fromkeys(range(groups), site.data), list(range(groups)))


def drives_of(read: Order, site: Site, rank: int) -> Iterator[int]:
    """The drive of each window that a rank reads, one after the other: its lanes take turns."""
    turns, lanes = read.state.turns, read.state.lanes
    at = [0] * turns
    while True:
        for turn in range(turns):
            found = read.window(turn * lanes + rank, at[turn])
            at[turn] = found.start + found.hi - found.lo
            yield int(read.units.group[found.unit]) * site.wide + int(read.units.slot[found.unit])


class Stations:
    """When a window that is asked for now will have come through drive, process and link."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.free_drive, self.free_process = [0.0] * site.drives, [0.0] * site.drives
        self.free_link = [0.0] * site.hosts
        self.bytes_drive: dict[int, int] = defaultdict(int)

    def ask(self, drive: int, now: float) -> float:
        """The time at which it is there."""
        site, host = self.site, self.site.host(drive)
        self.bytes_drive[drive] += WINDOW
        read = self.free_drive[drive] = max(now, self.free_drive[drive]) + WINDOW / site.drive
        sent = self.free_process[drive] = max(read, self.free_process[drive]) + WINDOW / site.process
        there = self.free_link[host] = max(sent, self.free_link[host]) + WINDOW / site.link
        return there + site.latency


class Reader:
    """Which drives a rank knows to be slow, as reading/group.py keeps it: a process a worker, taken as one here."""

    def __init__(self) -> None:
        self.slow: dict[int, int] = defaultdict(int)
        self.rests: dict[int, float] = {}

    def waits(self, drive: int, now: float) -> float:
        """Seconds for which a read of a drive that does not answer is waited for before parity is asked."""
        if self.rests.get(drive, -1.0) > now:
            return 0.0
        self.slow[drive] += 1
        if self.slow[drive] >= hedge.SLOW_IN_A_ROW:
            self.rests[drive] = now + group._ASK_AGAIN  # noqa: SLF001 -- the very constant
        return hedge._SOONEST  # noqa: SLF001


class _Seen:
    """What is counted in one part of a run."""

    def __init__(self, begun: float, ends: float) -> None:
        self.begun, self.ends = begun, ends
        self.waits: list[float] = []
        self.given = self.rebuilt = 0
        self.idle = 0.0
        self.by_drive: dict[int, int] = {}

    def share(self, site: Site, alive: Sequence[int]) -> Share:
        loads = [self.by_drive.get(each, 0) for each in alive]
        mean = statistics.mean(loads)
        hosts: dict[int, list[int]] = defaultdict(list)
        for each, load in zip(alive, loads, strict=True):
            hosts[site.host(each)].append(load)
        length = self.ends - self.begun
        return Share(
            self.given * WINDOW / length,
            self.idle / length / site.readers,
            statistics.median(self.waits),
            sorted(self.waits)[int(len(self.waits) * 0.99)],
            max(loads) / mean,
            max(statistics.mean(each) for each in hosts.values()) / mean,
            self.rebuilt / max(1, self.given),
        )


WARM = 3.0  # seconds in which all begin at once, and nothing is counted


class Run:
    """A simulated run: every rank consumes `share` of what the site can give it, and asks for as much ahead as it may.

    From `lost` on the last host is silent; what is of its drives is asked of others, by and by.
    """

    def __init__(self, site: Site, share: float, seconds: float, lost: float | None, seed: int) -> None:
        self.site, self.lost = site, lost
        self.step = WINDOW / (share * site.capacity() / site.readers)  # seconds for which a window lasts a rank
        read = order(site, site.readers, seed)
        self.windows = [drives_of(read, site, rank) for rank in range(site.readers)]
        self.stations, self.readers = Stations(site), [Reader() for _ in self.windows]
        self.coming: list[deque[list[float]]] = [deque() for _ in self.windows]  # [when it is there, or asked again]
        self.dice, self.number = random.Random(seed), 0
        self.events: list[tuple[float, int, int, list[float] | None, int]] = []  # time, number, rank, window, drive
        self.since = [0.0] * site.readers  # since when a rank has been waiting
        end = WARM + seconds
        cuts = [WARM, end] if lost is None else [WARM, lost, lost + 2, end]
        self.parts = [_Seen(*each) for each in itertools.pairwise(cuts)]
        self.now = 0.0

    def seen(self) -> _Seen | None:
        """The part in which it is now."""
        return next((each for each in self.parts if each.begun <= self.now < each.ends), None)

    def push(self, at: float, rank: int, window: list[float] | None = None, drive: int = -1) -> None:
        """An event: a rank wants its next window; or parity is asked for one."""
        self.number += 1
        heapq.heappush(self.events, (at, self.number, rank, window, drive))

    def gone(self, drive: int) -> bool:
        """Whether its host is silent now."""
        return self.lost is not None and self.now >= self.lost and self.site.host(drive) == self.site.hosts - 1

    def ask(self, rank: int) -> None:
        """The next window of a rank is asked for."""
        drive = next(self.windows[rank])
        if not self.gone(drive):
            window = [self.stations.ask(drive, self.now)]
        elif patience := self.readers[rank].waits(drive, self.now):
            window = [self.now + patience, self.now]  # what is two long is not asked of others yet
            self.push(self.now + patience, rank, window, drive)
        else:
            window = [self.rebuild(drive)]
        self.coming[rank].append(window)
        if len(window) == 1:
            self.count(window[0] - self.now, rebuilt=self.gone(drive))

    def rebuild(self, drive: int) -> float:
        """When k others of its group have given what a lost drive held."""
        first = drive - drive % self.site.wide
        others = [each for each in range(first, first + self.site.wide) if not self.gone(each)]
        return max(self.stations.ask(each, self.now) for each in self.dice.sample(others, self.site.data))

    def count(self, waited: float, *, rebuilt: bool) -> None:
        """How long a window takes that was asked for."""
        if (seen := self.seen()) is not None:
            seen.waits.append(waited)
            seen.rebuilt += rebuilt

    def take(self, rank: int) -> None:
        """A rank wants its next window: it is there, or it waits."""
        window = self.coming[rank][0]
        if len(window) == 2 or window[0] > self.now:
            self.since[rank] = self.since[rank] or self.now
            self.push(window[0], rank)
            return
        self.coming[rank].popleft()
        if (seen := self.seen()) is not None:
            seen.given += 1
            seen.idle += self.now - self.since[rank] if self.since[rank] else 0.0
        self.since[rank] = 0.0
        self.ask(rank)
        self.push(self.now + self.step, rank)

    def run(self) -> list[Share]:
        """All of it."""
        for rank in range(self.site.readers):
            for _ in range(self.site.flight):
                self.ask(rank)
            self.push(self.dice.random() * self.step, rank)
        part: _Seen | None = None
        while self.now < self.parts[-1].ends:
            self.now, _, rank, window, drive = heapq.heappop(self.events)
            if self.seen() is not part:
                if part is not None:
                    part.by_drive = dict(self.stations.bytes_drive)
                self.stations.bytes_drive.clear()
                part = self.seen()
            if window is None:
                self.take(rank)
            else:
                asked = window.pop()
                window[0] = self.rebuild(drive)
                self.count(window[0] - asked, rebuilt=True)
        after = [each for each in range(self.site.drives) if self.site.host(each) != self.site.hosts - 1]
        return [each.share(self.site, after if n else range(self.site.drives)) for n, each in enumerate(self.parts)]


def simulate(site: Site, share: float, *, seconds: float, lost: float | None = None, seed: int = 7) -> list[Share]:
    """What was seen at `share` of the site's capacity in so many seconds.

    With a host lost after `lost` seconds: before, in the first two seconds after it, and then.
    """
    return Run(site, share, seconds, None if lost is None else WARM + lost, seed).run()


def after_loss(site: Site) -> float:
    """The share of its capacity that a site can go on giving without one host: what it had is asked for k times."""
    gone = sum(site.host(each) == site.hosts - 1 for each in range(site.drives))
    left, lost = site.drives - gone, gone / site.drives
    return site.capacity(left, site.hosts - 1) / site.capacity() / (1 - lost + lost * site.data)


def table(site: Site, seconds: float) -> str:
    """The page's table: a whole site at growing demand, then one that loses a host."""
    lines = ["| demand | of capacity | given | stalled | wait, median | wait, 99 % | hottest drive | hottest host |"]
    lines.append("|---|---|---|---|---|---|---|---|")

    def row(name: str, share: float, seen: Share) -> str:
        demand = f"{share * site.capacity() / site.readers / 1e6:,.1f} MB/s a rank{name}"
        return (
            f"| {demand} | {share:.2f} | {seen.given / GB:,.1f} GB/s | {seen.stalled:.1%} | {seen.median * 1e3:,.1f} ms"
            f" | {seen.slow * 1e3:,.0f} ms | {seen.hot_drive:.2f} | {seen.hot_host:.2f} |"
        )

    lines += [row("", share, simulate(site, share, seconds=seconds)[0]) for share in (0.1, 0.3, 0.5, 0.7, 0.9)]
    safe = after_loss(site)
    for share in (0.5 * safe, 0.9 * safe, 0.7):
        before, first, later = simulate(site, share, seconds=2 * seconds + 2, lost=seconds)
        lines += [
            row(", before", share, before),
            row(", the first 2 s without a host", share, first),
            row(", then", share, later),
        ]
    return "\n".join(lines)


def page(site: Site, seconds: float, command: str) -> str:
    """Everything that --write writes."""
    nginx = replace(site, process=GB / 0.30)
    wider, more = replace(site, data=6, parity=2), replace(site, hosts=2 * site.hosts)
    times = 1 - 1 / site.hosts + site.data / site.hosts
    return f"""# A destination, simulated

Written by `{command}`. {site.drives} drives in groups of {site.data}+{site.parity} stand in {site.hosts} hosts,
the drives of a group dealt to all of them, so that with a host a group loses at most {site.lost_with_a_host};
{site.servers} servers of {site.ranks} ranks read. Packs of {site.pack >> 30} GiB, windows of 4 MiB, of which a rank
has {site.flight} asked for.

Rates: a drive {site.drive / GB:.1f} GB/s (stated), a process of `sealift serve` for each drive
{site.process / GB:.2f} GB/s (measured: docs/adr/0023), a host's link {site.link / GB:.0f} GB/s (stated). Together
{site.capacity() / GB:,.0f} GB/s, {site.capacity() / site.readers / 1e6:,.0f} MB/s a rank; behind nginx
{nginx.capacity() / GB:,.0f} GB/s. The servers' own links and processors are not in it.

{table(site, seconds)}

What it shows:

- **Demand.** Text for a language model asks for a tenth of a MB/s a rank, images for some tens: up to seven tenths
  of what the hosts can give nobody waits, and a window takes milliseconds.
- **Hot spots.** {site.readers:,} ranks in an order that is drawn ask no drive for much more than others: by chance
  alone a fifth more, on {site.drives} drives. Nothing has to be placed by hand.
- **A host lost.** One byte in {site.hosts} is rebuilt from {site.data} others, so that the other hosts are asked
  for {times:.1f} times as much. The site can go on giving {after_loss(site):.0%} of what it could: below that training
  goes on at its pace, beyond it waits. With groups of 6+2 it were {after_loss(wider):.0%}, with {more.hosts} hosts
  {after_loss(more):.0%}. Who cannot wait plans for that, or moves the drives to another host.
"""


def main() -> None:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    parser.add_argument("--seconds", type=float, default=8.0, help="simulated, of each row")
    for name in ("drives", "hosts", "data", "parity", "servers", "ranks"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Site(), name))
    for name in ("drive", "process", "link"):
        parser.add_argument(f"--{name}", type=float, default=getattr(Site(), name), help="bytes a second")
    given = vars(parser.parse_args())
    write, seconds = given.pop("write"), given.pop("seconds")
    site = Site(**given)
    if site.lost_with_a_host > site.parity or site.drives % site.wide:
        sys.exit("drives fill whole groups, and no host has more of one than parity holds")
    text = page(site, seconds, f"python -m bench.cluster --seconds {seconds:g}{' --write' if write else ''}")
    if write:
        PAGE.write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
