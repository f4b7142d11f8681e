"""A pass over the drives of all hosts of a cluster, in whatever a stage does to them; and over again where hosts die.

What holds: each host is given its drives, once. What is found good on the way is remembered here, drive by drive, and
goes along to whatever host a drive stands on next: a drive's identity counts, not its mount or its host. What a lost
host was given is given to others as its drives reappear there, while others work and once when they have ended. What
does not, is owed, by name, and the same command goes on. An error on one host is that host's. A host that ended before
it said which drives stand there has its row in the report like the others.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sealift.errors import Interrupted, NotAllHere, SealiftError
from sealift.stages.placement import Ears, Gone, why_of
from sealift.stages.verify import FLUSH, Progress
from sealift.stages.verify_join import words
from sealift.stages.verify_report import HostRow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sealift.stages.placed import Stand
    from sealift.stages.placement import Host, Placement, Wire
    from sealift.stages.verify_state import Row, State

TRIES = 3  # times that workers of a host may die before it is given nothing more
STEPS = ("scanning", "pack", "copying", "verify", "prove", "rebuild")  # what is shown is the first that a host is at


@dataclass
class Events:
    """How a pass tells what it does: a step, bytes of it, and of how many hosts; and lines."""

    progress: Callable[[str, Progress, int], object] = lambda _step, _progress, _hosts: None
    notice: Callable[[str], object] = lambda _text: None


class Unit(NamedTuple):
    """What a host was given, and what came of it; None: it is at work."""

    host: Host
    stands: list[Stand]
    answer: Any

    @property
    def done(self) -> bool:
        """Whether it came to its end."""
        return self.answer is not None and not isinstance(self.answer, SealiftError | Gone)


class Pass(Ears):
    """One pass: `part` makes what `work` is given on a host, of its drives and what is remembered of them.

    `look` says which drives stand where now, when some are owed.
    """

    kept = "what was found good so far is remembered"

    def __init__(
        self,
        place: Placement,
        look: Callable[[], Mapping[Host, list[Stand]]],
        memory: State,
        events: Events,
        work: Callable[[Any, Wire], Any],
        part: Callable[[Unit, list[Row], Sequence[Unit]], Any],
    ) -> None:
        self.units: list[Unit] = []
        self.left_out: dict[Host, Gone | SealiftError] = {}
        self._place, self._look, self._memory, self.events = place, look, memory, events
        self._work, self._part = work, part
        self._at: dict[int, tuple[str, int, int]] = {}  # by unit: its step, bytes done, and of how many
        self._flushed = time.monotonic()

    def run(self, hosts: Mapping[Host, list[Stand]], left_out: Mapping[Host, Gone | SealiftError]) -> None:
        """All of it, on these drives of these hosts; of others, `left_out`, it is not known which drives they have.

        NotAllHere where no host came to its end, Interrupted, after which the same goes on.
        """
        self.left_out = dict(left_out)
        try:
            self._place.run(self._work, self._parts(hosts), self)
        except KeyboardInterrupt as error:
            raise Interrupted(f"interrupted; {self.kept}", hint="run the same command again") from error
        finally:
            self._memory.flush()
        if not any(unit.done for unit in self.units):
            failed = [unit for unit in self.units if isinstance(unit.answer, SealiftError)]
            if failed and len(failed) == len(self.units):
                raise _named(failed[0])
            why = "; ".join(f"{row.name}: {row.why}" for row in self.rows()[:10])
            raise NotAllHere(
                f"no host came to its end ({why})",
                hint="see to these hosts, or put their drives into others; then the same command goes on",
            )

    def _parts(self, hosts: Mapping[Host, list[Stand]]) -> dict[Host, Any]:
        new = [Unit(host, stands, None) for host, stands in hosts.items()]
        self.units += new
        parts = {}
        for unit in new:
            known = self._memory.rows(stand.state for stand in unit.stands)
            others = [each for each in self.units if each.host != unit.host and (each.answer is None or each.done)]
            parts[unit.host] = self._part(unit, known, others)
        return parts

    def heard(self, host: Host, unit: int, progress: tuple[str, int, int] | None, items: list[Any]) -> None:
        """As of Ears."""
        del host
        for item in items:
            self.take(self.units[unit], item)
        if time.monotonic() - self._flushed > FLUSH:
            self._memory.flush()
            self._flushed = time.monotonic()
        if progress is None:
            return
        self._at[unit] = progress
        working = [at[0] for number, at in self._at.items() if self.units[number].answer is None]
        step = min(working, key=STEPS.index)
        by_host: Counter[str] = Counter()
        done = total = 0
        for number, at in self._at.items():
            if at[0] == step:
                by_host[self.units[number].host.name] += at[1]
                done, total = done + at[1], total + at[2]
        self.events.progress(step, Progress(done, total, dict(by_host)), len(by_host))

    def take(self, unit: Unit, item: Any) -> None:
        """What a unit sends: a file that was found good."""
        del unit
        self._memory.remember(*item)

    def silent(self, host: Host, unit: int, seconds: float | None) -> None:
        """As of Ears."""
        if seconds is None:
            self.events.notice(f"{host.name} is heard again")
        elif self.units[unit].answer is None:
            away = f"nothing is heard of {host.name} for {seconds:.0f} s: its link, or the host"
            self.events.notice(f"{away}; the others go on, and it counts as lost if it stays away")

    def came(self, host: Host, unit: int, answer: Any) -> None:
        """As of Ears."""
        self.units[unit] = self.units[unit]._replace(answer=answer)
        if self.units[unit].done:
            return
        self._at.pop(unit, None)
        self._memory.flush()
        names = listed([stand.name for stand in self.owed(self.units[unit])])
        if isinstance(answer, Gone):
            self.events.notice(f"{host.name} is lost ({answer.why}), with {names}; the others go on")
        else:
            self.events.notice(f"{host.name} stops ({answer}), with {names}; the others go on")

    def more(self) -> dict[Host, Any]:
        """As of Ears: what lost hosts were given, and stands on others now."""
        lost = [unit for unit in self.units if isinstance(unit.answer, Gone)]
        owed = [stand for unit in lost for stand in self.owed(unit)]
        if not owed:
            return {}
        taken = {stand.place for unit in self.units if unit not in lost for stand in unit.stands}
        drives, places = {stand.drive for stand in owed if stand.drive}, {stand.place for stand in owed}
        found: dict[Host, list[Stand]] = {}
        try:
            now = self._look()
        except NotAllHere:
            return {}
        deaths = Counter(unit.host for unit in lost)
        for host, stands in now.items():
            for stand in stands if deaths[host] < TRIES else ():
                if stand.place not in taken and (stand.drive in drives or stand.place in places):
                    found.setdefault(host, []).append(stand)
                    self.events.notice(f"{stand.name} stands on {host.name} now, and its work goes on there")
        return self._parts(found)

    def near(self, unit: Unit) -> list[str]:
        """Where other drives stand that this host was given: it may read them, too."""
        return [
            stand.mount for each in self.units if each.host == unit.host and each is not unit for stand in each.stands
        ]

    def owed(self, unit: Unit) -> list[Stand]:
        """Drives of a host that is lost or failed, which no other has done or is at."""
        others = [
            stand
            for each in self.units
            if each is not unit and (each.answer is None or each.done)
            for stand in each.stands
        ]
        drives, places = {stand.drive for stand in others if stand.drive}, {stand.place for stand in others}
        return [stand for stand in unit.stands if stand.drive not in drives and stand.place not in places]

    def rows(self) -> list[HostRow]:
        """What came of every host, for a report."""
        return [
            *(self._row(unit) for unit in self.units),
            *(_row_of(host, why, [], []) for host, why in sorted(self.left_out.items())),
        ]

    def _row(self, unit: Unit) -> HostRow:
        names = [stand.name for stand in unit.stands]
        if unit.done:
            return HostRow(name=words(unit.host.name), state="done", why="", drives=names, owed=[])
        return _row_of(unit.host, unit.answer, names, [stand.name for stand in self.owed(unit)])


def _row_of(host: Host, answer: Gone | SealiftError, drives: list[str], owed: list[str]) -> HostRow:
    """Of a host that did not come to its end."""
    state: Literal["lost", "failed"] = "lost" if isinstance(answer, Gone) else "failed"
    return HostRow(name=words(host.name), state=state, why=words(why_of(answer)), drives=drives, owed=owed)


def _named(unit: Unit) -> SealiftError:
    """The error of a unit, that says on which host."""
    error: SealiftError = unit.answer
    if not str(error).startswith(unit.host.name):
        error.args = (f"{words(unit.host.name)}: {error}",)
    return error


def listed(names: Sequence[str]) -> str:
    """Some of them, and how many more."""
    some = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return some or "no drive that is owed"
