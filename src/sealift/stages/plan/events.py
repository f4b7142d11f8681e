"""The events of one voyage, on simpy: what voyage.py says, process by process. Pure.

`Voyage.run` is one run with the values that `number` gives; who is asked, and when, is what makes a draw of them. Terms
are taken as checked.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from typing import TYPE_CHECKING

import simpy

from sealift.stages.plan.terms import HOUR, MINUTE, Idle, Outcome, Setting, Span, Terms, Value, way

if TYPE_CHECKING:
    from collections.abc import Generator

    from sealift.stages.plan.geometry import Geometry, Place, Wanted

    Going = Generator[simpy.Event, object, None]

_NEAR = 1e-9


class _Shared:
    """A rate that jobs share: whoever came first gets what it can take, the next ones what is left."""

    def __init__(self, env: simpy.Environment, rate: float) -> None:
        self._env, self._rate, self._at, self._version = env, rate, 0.0, 0
        self._jobs: list[_Job] = []

    def work(self, amount: float, time: float) -> simpy.Event:
        """An event that comes when `amount` is done, in no less than `time`."""
        job = _Job(amount, time, self._env.event())
        self._settle()
        self._jobs.append(job)
        self._plan()
        return job.done

    def _settle(self) -> None:
        passed, self._at = self._env.now - self._at, self._env.now
        for job in self._jobs:
            job.left -= job.pace * passed

    def _plan(self) -> None:
        for job in [job for job in self._jobs if job.left <= _NEAR * job.time]:
            self._jobs.remove(job)
            job.done.succeed()
        left = self._rate
        for job in self._jobs:
            job.pace = min(1.0, left / job.most)
            left = max(0.0, left - job.pace * job.most)
        self._version += 1
        ends = [job.left / job.pace for job in self._jobs if job.pace > 0]
        if ends:
            self._env.process(self._next(min(ends), self._version))

    def _next(self, delay: float, version: int) -> Going:
        yield self._env.timeout(delay)
        if version == self._version:
            self._settle()
            first = min((job for job in self._jobs if job.pace > 0), key=lambda job: job.left / job.pace)
            first.left = 0.0  # whatever rounding left of it: it was to end now
            self._plan()


class _Job:
    """`left` and `time` are seconds at full pace, so that a job that has all it can take ends to the second."""

    def __init__(self, amount: float, time: float, done: simpy.Event) -> None:
        self.time, self.most, self.done = time, amount / time, done
        self.left, self.pace = time, 0.0


class _Last(simpy.Event):  # type: ignore[misc] # untyped
    """Comes now, after everything else that comes now: so that of two who arrive together, chance chooses none."""

    def __init__(self, env: simpy.Environment) -> None:
        super().__init__(env)
        self._ok, self._value = True, None
        env.schedule(self, priority=simpy.events.NORMAL + 1)


class Voyage:
    """One run."""

    def __init__(self, wanted: Wanted, geometry: Geometry, terms: Terms, number: Value) -> None:
        self._terms, self._geometry, self._number = terms, geometry, number
        self._setting = Setting(wanted, geometry, terms, number)
        self._packed_bytes = wanted.packed_bytes
        self._env = env = simpy.Environment()
        self._spans: list[Span] = []
        self._source = _Shared(env, terms.source_rate or float("inf"))
        self._verify = _Shared(env, terms.hosts_there * terms.speeds.verify_bytes)
        self._waiting: list[tuple[float, int, simpy.Event]] = []  # at the dock: since when, place, plugged in
        self._bell = env.event()
        self._rebuilders = simpy.Resource(env, capacity=terms.hosts_there)
        self._signed = [env.event() for _ in range(geometry.groups)]
        self._scanned, self._sealed = env.event(), env.event()
        self._receipt, self._all = env.event(), env.event()
        self._queue = list(range(geometry.groups))
        self._by_carrier: dict[str, list[int]] = defaultdict(list)  # places
        for at, place in enumerate(self._setting.places):
            self._by_carrier[place.carrier].append(at)
        self._carriers = [each for each in wanted.carriers if each.name in self._by_carrier]
        self._ways = {each.name: way(each, number) for each in self._carriers}
        self._minutes = number("receive_minutes_a_drive")
        self._arrived = [0] * geometry.groups  # drives, mounted
        self._here = [0] * geometry.groups  # of those, with the seal
        self._readable = 0.0
        self._checks: list[simpy.Event] = []
        self._checked: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._times: dict[str, float] = {}
        self._missed: list[str] = []

    def run(self) -> Outcome:
        """All of it; once."""
        env = self._env
        env.process(self._scan())
        for host in range(min(self._terms.hosts, self._geometry.groups)):
            env.process(self._host(host))
        for _ in range(min(self._terms.people, len(self._setting.places))):
            env.process(self._person())
        env.process(self._seal())
        env.process(self._there())
        env.run()
        return self._outcome()

    def _span(self, who: str, what: str, begin: float) -> None:
        if self._env.now > begin:
            self._spans.append(Span(who=who, what=what, begin=begin, end=self._env.now))

    def _take(self, who: str, what: str, time: float) -> Going:
        """Something that takes so long, on the chart."""
        begin = self._env.now
        yield self._env.timeout(time)
        self._span(who, what, begin)

    # --- at the origin

    def _scan(self) -> Going:
        speeds = self._terms.speeds
        yield from self._take("origin", "scan", speeds.start_seconds + self._terms.files / speeds.scan_files)
        self._scanned.succeed()

    def _host(self, host: int) -> Going:
        yield self._scanned
        while self._queue:
            group = self._queue.pop(0)
            begin = self._env.now
            time = self._setting.group_seconds(group)
            amount = self._setting.source_bytes(group) or self._setting.drive_bytes[group]
            yield self._source.work(amount, time)
            self._span(f"host {host + 1}", f"pack group {group}", begin)
            self._signed[group].succeed()

    def _seal(self) -> Going:
        yield self._env.all_of(self._signed)
        self._times["sealed"] = self._env.now
        self._sealed.succeed()

    # --- on the way, and at the dock

    def _travel(self, name: str) -> Going:
        """A carrier from the hand-over to the dock; one that is lost, until it is overdue."""
        env = self._env
        groups = sorted({self._setting.places[at].group for at in self._by_carrier[name]})
        yield env.all_of([self._signed[group] for group in groups])
        yield from self._take(name, "hand-over", self._number("hand_over_hours") * HOUR)
        departure = self._terms.departures.get(name, env.now)
        if departure < env.now:
            self._missed.append(name)
        else:
            yield from self._take(name, "waiting", departure - env.now)
        for step in self._ways[name]:
            yield from self._take(name, step.what, step.seconds)
        if name not in self._terms.lost:
            yield from self._take(name, "late", self._terms.late.get(name, 0.0))
            self._times.setdefault("first_arrival", env.now)

    def _unload(self, name: str, arrival: simpy.Process) -> Going:
        """Every drive of a carrier that arrived, mounted."""
        yield arrival
        begin, mounted = self._env.now, []
        for at in self._by_carrier[name]:
            plugged = self._env.event()
            heapq.heappush(self._waiting, (begin, at, plugged))
            mounted.append(self._env.process(self._mount(at, plugged)))
        bell, self._bell = self._bell, self._env.event()
        bell.succeed()
        yield self._env.all_of(mounted)
        self._span(name, "receive", begin)

    def _person(self) -> Going:
        """Plugs in one drive after the other: who arrived first, then by number."""
        while True:
            while not self._waiting:
                yield self._bell
            yield _Last(self._env)
            if self._waiting:
                _, _, plugged = heapq.heappop(self._waiting)
                yield self._env.timeout(self._minutes * MINUTE)
                plugged.succeed()

    def _mount(self, at: int, plugged: simpy.Event) -> Going:
        yield plugged
        yield self._env.timeout(self._terms.speeds.inspect_seconds)
        self._checks.append(self._env.process(self._check(at)))
        self._env.process(self._open(self._setting.places[at]))

    def _open(self, place: Place) -> Going:
        """What a mounted drive makes readable, once the seal is there."""
        yield self._sealed
        group = place.group
        before = self._share_of(group)
        self._here[group] += 1
        self._readable += (self._share_of(group) - before) * self._setting.share[group]
        self._times.setdefault("first_batch", self._env.now + self._terms.speeds.open_seconds)
        if self._readable >= 0.5 - _NEAR:
            self._times.setdefault("half", self._env.now)
        if not self._all.triggered and min(self._here) >= self._geometry.data:
            self._times["all"] = self._env.now
            self._all.succeed()

    def _share_of(self, group: int) -> float:
        """Of a group's data, what can be read."""
        here = self._here[group]
        return 1.0 if here >= self._geometry.data else here / self._geometry.size

    # --- at the destination

    def _there(self) -> Going:
        """From the first arrival to the receipt."""
        env, lost = self._env, self._terms.lost
        arrivals = {each.name: env.process(self._travel(each.name)) for each in self._carriers}
        unloaded = [env.process(self._unload(name, each)) for name, each in arrivals.items() if name not in lost]
        env.process(self._afterwards())
        yield env.all_of([*arrivals.values(), *unloaded])
        if not unloaded:
            return
        rebuilds = [env.process(self._rebuild(group)) for group in self._short()]
        yield env.all_of(self._checks)
        self._times["verified"] = env.now
        yield env.all_of(rebuilds)
        self._times["repaired"] = env.now
        if self._all.triggered:
            self._receipt.succeed()

    def _short(self) -> list[int]:
        """Groups that lack drives and can be rebuilt, now that nothing more comes."""
        data, size = self._geometry.data, self._geometry.size
        return [group for group, here in enumerate(self._arrived) if data <= here < size]

    def _check(self, at: int) -> Going:
        place, begin = self._setting.places[at], self._env.now
        self._arrived[place.group] += 1
        size = self._setting.drive_bytes[place.group]
        yield self._verify.work(size, size / self._setting.speed[at].read)
        self._checked[place.carrier].append((begin, self._env.now))

    def _rebuild(self, group: int) -> Going:
        speeds = [
            speed
            for place, speed in zip(self._setting.places, self._setting.speed, strict=True)
            if place.group == group
        ]
        each = max(
            1 / min(speed.read for speed in speeds),
            1 / min(speed.write for speed in speeds),
            self._geometry.data / self._terms.speeds.verify_bytes,
        )
        with self._rebuilders.request() as turn:
            yield turn
            yield from self._take("cluster", f"rebuild group {group}", self._setting.drive_bytes[group] * each)

    def _afterwards(self) -> Going:
        """What comes once everything can be read."""
        terms, env = self._terms, self._env
        yield self._all
        if terms.ingest_rate is not None:
            yield from self._take("cluster", "ingest", self._packed_bytes / terms.ingest_rate)
        if terms.train_rate is not None or terms.train_gpu_hours:
            by_rate = terms.source_bytes / terms.train_rate if terms.train_rate else 0.0
            yield from self._take("cluster", "train", by_rate or terms.train_gpu_hours * HOUR / terms.gpus)
            self._times["trained"] = env.now
        if terms.return_bytes:
            yield from self._home()
            self._times["home"] = env.now
        yield self._receipt
        places = [place for place in self._setting.places if place.carrier not in terms.lost]
        yield from self._take("cluster", "erase", max(self._erase(place) for place in places))
        self._times["erased"] = env.now

    def _home(self) -> Going:
        """The weights on one drive, as the first carrier that came travels."""
        terms, number = self._terms, self._number
        carrier = next(each for each in self._carriers if each.name not in terms.lost)
        speed = self._setting.speed[self._by_carrier[carrier.name][0]]
        yield from self._take("cluster", "pack weights", terms.return_bytes / min(terms.speeds.pack_bytes, speed.write))
        yield from self._take("weights", "hand-over", number("hand_over_hours") * HOUR)
        for step in way(carrier, number):
            yield from self._take("weights", step.what, step.seconds)
        yield from self._take("weights", "receive", self._minutes * MINUTE + terms.speeds.inspect_seconds)
        yield from self._take("weights", "verify", terms.return_bytes / min(terms.speeds.verify_bytes, speed.read))

    def _erase(self, place: Place) -> float:
        if place.drive.kind == "ssd":
            return self._number("ssd_erase_hours") * HOUR
        return place.drive.capacity_bytes / self._number("hdd_erase_rate")

    # --- what came of it

    def _outcome(self) -> Outcome:
        times, terms = self._times, self._terms
        for name, checked in self._checked.items():
            begin, end = min(each[0] for each in checked), max(each[1] for each in checked)
            self._spans.append(Span(who=name, what="verify", begin=begin, end=end))
        found = {
            name: times.get(name)
            for name in (
                "first_arrival",
                "first_batch",
                "half",
                "all",
                "verified",
                "repaired",
                "trained",
                "home",
                "erased",
            )
        }
        lease = found["first_arrival"] if terms.lease_begins is None else terms.lease_begins

        def waiting(until: float | None) -> float | None:
            if not terms.gpus:
                return 0.0
            if until is None or lease is None:
                return None
            return max(0.0, until - lease) / HOUR * terms.gpus * self._number(f"{terms.gpu}_gpu_hour")

        in_time = None
        if terms.deadline is not None:
            in_time = found["all"] is not None and found["all"] <= terms.deadline
        return Outcome(
            sealed=times["sealed"],
            source_free=found["repaired"] if self._receipt.triggered else None,
            idle=Idle(
                first_batch=waiting(found["first_batch"]), half=waiting(found["half"]), all=waiting(found["all"])
            ),
            in_time=in_time,
            missed=tuple(sorted(self._missed)),
            spans=tuple(sorted(self._spans, key=lambda span: (span.begin, span.end, span.who))),
            **found,
        )
