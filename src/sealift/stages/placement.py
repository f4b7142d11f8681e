"""Where the work of a stage runs: in this process, or on the nodes of a Ray cluster. The one file that knows of both.

    with place(None) as here, place("10.1.0.1:6379") as cluster:
        here.run(read, {HERE: what}, ears)
        cluster.run(read, dict.fromkeys(cluster.hosts(), what), ears)

A unit of work is a function of a module, `work(given, wire)`, whose argument and answer can be pickled. It runs on the
very host that it is given for, and nowhere else: it is there for the drives that stand there. What it says on its
`wire` on the way is heard here.

What holds of a cluster:
- Asked are the nodes that were started with the resource `sealift`, or all where none was. Each must have this version.
- A unit takes no CPU that Ray counts, so that it never waits behind other jobs: drives are what it waits for.
- A host that dies, or whose worker does, is `Gone`, and what it was given may be done elsewhere; the others go on. An
  error of sealift's in one unit is that unit's answer. (In this process it is raised.)
- Ctrl-C here stops the work there as it does here: what is written half is taken away, what is remembered is kept.
- Nothing but what a stage gives goes to a host: no file, no environment, no code.
- A host of which nothing is heard for SILENT seconds is told. Whether it is lost, Ray says, some time later.
- A connection that breaks costs nothing: the unit works on, and what it says is kept there until it was heard. Only a
  worker that cannot be reached for AWAY seconds, though its host lives, is ended, and Gone then.
- What cannot be reached, or refuses, is told within seconds in one sentence; Ray itself prints nothing here.

Ray gives whoever reaches it every host of the cluster (docs/adr/0026).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, TypeVar

from sealift import __version__
from sealift.errors import BadInput, NotAllHere, SealiftError
from sealift.stages.placement_runner import POLL, Runner
from sealift.stages.placement_words import knock, refusal, words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Given = TypeVar("Given")
    Answer = TypeVar("Answer")

RESOURCE = "sealift"
THREADS = 4  # of a process on a node: its unit, who waits for news of it, and who brings it answers
AGAIN = 20.0  # seconds between looks for drives that are owed, while other hosts work
_START = 120.0  # seconds in which a node must start a worker
_STOP = 30.0  # seconds that units get to stop
_LOOK = 5.0  # seconds for a last look at a unit that has ended
SILENT = 10.0  # seconds without an answer after which that is told; a unit answers every POLL
AWAY = 120.0  # seconds in which a worker that Ray calls alive must be reached again; then it is ended, and Gone
_UNREACHED = f"its worker could not be reached for {AWAY:.0f} s, and was ended"
_ENDS = {"ActorDiedError", "ActorUnavailableError", "ActorUnschedulableError", "GetTimeoutError", "OutOfMemoryError"}
_SETTINGS = {  # of Ray in this process, where the environment does not say otherwise
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray would tell its makers of the cluster
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # what its own threads print here, of which we tell what matters
    "RAY_NUM_REDIS_GET_RETRIES": "3",  # tries, of a second each, with a token that is refused
}


class Host(NamedTuple):
    """A host that work can be placed on; `name` is for people, and is empty for this process."""

    name: str
    key: str


HERE = Host("", "")


class Gone(NamedTuple):
    """What came of a unit whose host, or worker, died."""

    why: str


def why_of(answer: Gone | SealiftError) -> str:
    """Why a host is left out, or a unit has no other answer, in words."""
    return answer.why if isinstance(answer, Gone) else str(answer)


class Wire(Protocol):
    """How a unit is heard while it works."""

    def tell(self, progress: Any) -> None:
        """Where it stands; what was not yet heard is replaced. Raises KeyboardInterrupt when it is to stop."""

    def send(self, item: Any) -> None:
        """Something that must arrive."""

    def ask(self, question: Any) -> Any:
        """What whoever listens answers; raises the SealiftError that is the answer, KeyboardInterrupt as `tell`."""


class Ears:
    """Whoever listens to units; they are numbered from 0, in the order in which they were given."""

    def heard(self, host: Host, unit: int, progress: Any, items: list[Any]) -> None:
        """What a unit told last (None: nothing new), and all that it sent, since this was called."""

    def asked(self, host: Host, unit: int, question: Any) -> Any:
        """A unit asks, and must be answered; a SealiftError that is raised here is raised there."""
        raise AssertionError(f"unit {unit} on {host.name or 'this host'}: nobody answers {question!r}")

    def silent(self, host: Host, unit: int, seconds: float | None) -> None:
        """Nothing was heard of a unit for so long; None: it is heard again."""

    def came(self, host: Host, unit: int, answer: Any) -> None:
        """A unit has ended: its answer, its SealiftError, or Gone."""

    def more(self) -> Mapping[Host, Any]:
        """Units in the place of one that is Gone; asked again and again from then on, at least once."""
        return {}


class Placement(Protocol):
    """Hosts, and what runs on them."""

    here: bool

    left_out: dict[Host, Gone | SealiftError]  # hosts that are meant, and that `hosts` found dead or unfit

    def hosts(self) -> list[Host]:
        """The hosts that are there now."""

    def run(
        self,
        work: Callable[[Given, Wire], Answer],
        units: Mapping[Host, Given],
        ears: Ears,
    ) -> list[tuple[Host, Answer | SealiftError | Gone]]:
        """Run all units at once; their answers in the order in which they came."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def place(address: str | None, notice: Callable[[str], object] = lambda _: None) -> Placement:
    """This process, or the Ray cluster at an address (HOST:PORT, or auto). BadInput where there is none."""
    return _Here() if address is None else _Cluster(address, notice)


class _Here:
    """This process."""

    here = True

    def __init__(self) -> None:
        self.left_out: dict[Host, Gone | SealiftError] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def hosts(self) -> list[Host]:
        return [HERE]

    def run(
        self,
        work: Callable[[Given, Wire], Answer],
        units: Mapping[Host, Given],
        ears: Ears,
    ) -> list[tuple[Host, Answer | SealiftError | Gone]]:
        """As in the contract above; nothing is ever gone."""
        return [(host, work(given, _Direct(host, number, ears))) for number, (host, given) in enumerate(units.items())]


class _Direct:
    """The wire within this process."""

    def __init__(self, host: Host, number: int, ears: Ears) -> None:
        self._host, self._number, self._ears = host, number, ears

    def tell(self, progress: Any) -> None:
        self._ears.heard(self._host, self._number, progress, [])

    def send(self, item: Any) -> None:
        self._ears.heard(self._host, self._number, None, [item])

    def ask(self, question: Any) -> Any:
        return self._ears.asked(self._host, self._number, question)


# Ray


class _Cluster:
    """A Ray cluster; this process joins it as a driver, on a machine that is a node of it, or through ray://."""

    here = False

    def __init__(self, address: str, notice: Callable[[str], object]) -> None:
        self._address, self._notice = address, notice
        self._ray: Any = None
        self._joined = False
        self._shown: Any = None
        self._names: dict[str, str] = {}  # by key
        self._usable: set[Host] = set()
        self._marks = False  # some node was started with the resource
        self._told: set[str] = set()  # keys of hosts that are left out
        self.left_out: dict[Host, Gone | SealiftError] = {}
        self._idle: dict[Host, list[Any]] = {}  # processes there that wait for work

    def __enter__(self) -> Self:
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        try:
            import ray
        except ImportError as error:
            raise BadInput("--ray needs Ray, which is not installed", hint="pip install 'sealift[ray]'") from error
        self._ray = ray
        if not ray.is_initialized():
            self._join()
        self._hush()
        if os.environ.get("RAY_AUTH_MODE") != "token":
            self._notice(
                "this Ray cluster asks nobody for a token: whoever reaches it runs what they like on every host of it"
                " (RAY_AUTH_MODE=token)"
            )
        return self

    def _join(self) -> None:
        """Become a driver of the cluster. BadInput."""
        try:
            at = _found(self._address)
            self._notice(f"connecting to the Ray cluster at {at}")
            knock(at)
            with _quiet(), _our_signals():
                self._ray.init(address=self._address, log_to_driver=False, logging_level="CRITICAL")
        except BadInput as error:
            raise BadInput(f"--ray {self._address}: {error}", hint=error.hint) from error
        except Exception as error:
            why, hint = refusal(error)
            raise BadInput(f"--ray {self._address}: {why}", hint=hint) from error
        self._joined = True

    def _hush(self, shown: Any = lambda *_given, **_named: None) -> None:
        """Keep Ray from printing what its daemons say on stdout: it does, though it is told not to log here."""
        worker: Any = sys.modules.get("ray._private.worker")
        if hasattr(worker, "print_to_stdstream"):
            self._shown = worker.print_to_stdstream
            worker.print_to_stdstream = shown

    def __exit__(self, *_: object) -> None:
        for actors in self._idle.values():
            for actor in actors:
                self._ray.kill(actor)
        self._idle.clear()
        if self._joined:
            self._ray.shutdown()
        self._hush(self._shown)

    def hosts(self) -> list[Host]:
        """As in the contract above; those that cannot be used are told, once."""
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        marked = [node for node in nodes if node["Resources"].get(RESOURCE)]
        names = Counter(map(_name, nodes))
        for node in nodes:
            name, key = _name(node), node["NodeID"]
            self._names.setdefault(key, name if names[name] == 1 else f"{name}-{key[:8]}")
        self._marks |= bool(marked)  # without the last of them no other takes their place
        meant = marked if self._marks else nodes
        every = [Host(self._names[node["NodeID"]], node["NodeID"]) for node in meant]
        new = [host for host in every if host not in self._usable]
        actors = {host: self._take(host) for host in new}
        asked = {host: actor.version.remote() for host, actor in actors.items()}
        if asked:
            self._ray.wait(list(asked.values()), num_returns=len(asked), timeout=_START)
        for host, ref in asked.items():
            unfit = self._unfit(ref)
            if unfit is None:
                self._usable.add(host)
                self.left_out.pop(host, None)
                self._give_back(host, actors[host])
                continue
            self._ray.kill(actors[host])
            if isinstance(unfit, Gone) or self._marks:  # of other nodes nobody says that drives stand there
                self.left_out[host] = unfit
            if host.key not in self._told:
                self._told.add(host.key)
                self._notice(f"{host.name} is left out: {why_of(unfit)}")
        good = [host for host in every if host in self._usable]
        if not good:
            raise NotAllHere(
                f"--ray {self._address}: no node of this cluster can be used{_reasons(self.left_out)}",
                hint=f"sealift {__version__} on the storage hosts, in the Python that Ray runs there, and the hosts up",
            )
        return sorted(good)

    def _unfit(self, ref: Any) -> Gone | SealiftError | None:
        """Why a node cannot be used: it has died, or does not answer, or is not fit; None where it can."""
        try:
            version = self._ray.get(ref, timeout=0.1)
        except Exception as error:  # noqa: BLE001 -- Ray raises what it likes
            return Gone(_why(error)) if type(error).__name__ in _ENDS else SealiftError(_why(error))
        if version == __version__:
            return None
        return SealiftError(f"it has sealift {version}, and this is {__version__}")

    def _take(self, host: Host) -> Any:
        """A process of a host, which has nothing to do."""
        if self._idle.get(host):
            return self._idle[host].pop()
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(host.key, soft=False)
        options = {"num_cpus": 0, "max_concurrency": THREADS, "max_restarts": 0, "scheduling_strategy": there}
        return self._ray.remote(**options)(Runner).remote()

    def _give_back(self, host: Host, actor: Any) -> None:
        self._idle.setdefault(host, []).append(actor)

    def run(
        self,
        work: Callable[[Given, Wire], Answer],
        units: Mapping[Host, Given],
        ears: Ears,
    ) -> list[tuple[Host, Answer | SealiftError | Gone]]:
        """As in the contract above."""
        running = _Running(self._ray, ears, self._give_back)
        answers: list[tuple[Host, Any]] = []
        gone, looked = False, 0.0
        try:
            for host, given in units.items():
                running.add(host, self._take(host), work, given)
            while running.units:
                came = running.wait()
                answers += came
                gone |= any(isinstance(answer, Gone) for _, answer in came)
                last = bool(came) and not running.units
                if gone and (last or time.monotonic() - looked > AGAIN):
                    for host, given in ears.more().items():
                        running.add(host, self._take(host), work, given)
                    looked = time.monotonic()
        except KeyboardInterrupt:
            running.stop()
            raise
        finally:
            running.kill()
        return answers


@dataclass(eq=False)
class _Unit:
    number: int
    host: Host
    actor: Any
    work: Any
    given: Any
    name: str = field(default_factory=lambda: secrets.token_hex(8))  # by which its process knows it
    heard: int = 0  # of the items that it sent
    answered: tuple[int, Any] = (0, None)  # its last question, and what was answered
    away: float | None = None  # since when it cannot be reached
    ended: bool = False  # since it could not be

    def call(self) -> Any:
        """Have it done, or its answer once more."""
        return self.actor.run.remote(self.name, self.work, self.given)


class _Running:
    """Units under way: what they say, and what comes of them."""

    def __init__(self, ray: Any, ears: Ears, done: Callable[[Host, Any], object]) -> None:
        self._ray, self._ears, self._done = ray, ears, done
        self._stopping = False
        self.units: dict[Any, _Unit] = {}  # by the reference of their answer
        self._looks: dict[Any, _Unit] = {}
        self._asked: dict[int, float] = {}  # by unit: when it was asked what it does, and has not answered
        self._silent: set[int] = set()
        self._started = 0

    def add(self, host: Host, actor: Any, work: Any, given: Any) -> None:
        """Start a unit."""
        unit = _Unit(self._started, host, actor, work, given)
        self._started += 1
        self.units[unit.call()] = unit
        self._ask(unit)
        self._asked[unit.number] += _START  # its process may still have to begin

    def _ask(self, unit: _Unit) -> None:
        self._looks[unit.actor.look.remote(unit.name, unit.heard, unit.answered[0])] = unit
        self._asked[unit.number] = time.monotonic()

    def wait(self) -> list[tuple[Host, Any]]:
        """Hear what there is to hear, or wait until a unit ends; the answers that came."""
        every = [*self.units, *self._looks]
        self._ray.wait(every, num_returns=1, timeout=2 * POLL)
        ready, _ = self._ray.wait(every, num_returns=len(every), timeout=0)
        deaf = False
        for ref in [ref for ref in ready if ref in self._looks]:
            unit = self._looks.pop(ref)
            before = self._asked[unit.number]
            heard = self._hear(unit, ref)
            self._ask(unit)
            if not heard:
                self._asked[unit.number] = before
            deaf |= not heard
        self._listen()
        came = [self._ended(self.units.pop(ref), ref) for ref in ready if ref in self.units]
        if deaf or None in came:
            time.sleep(POLL)  # it says so at once, however often it is asked
        return [each for each in came if each is not None]

    def _listen(self) -> None:
        """Tell of units that do not answer, and of those that do again."""
        now = time.monotonic()
        for unit in self.units.values():
            since = now - self._asked[unit.number]
            if (since > SILENT) == (unit.number in self._silent):
                continue
            self._silent ^= {unit.number}
            self._ears.silent(unit.host, unit.number, since if since > SILENT else None)

    def _hear(self, unit: _Unit, ref: Any) -> bool:
        """Take in what it says; whether it says anything."""
        try:
            progress, first, items, question = self._ray.get(ref, timeout=_LOOK)
        except self._ray.exceptions.RayError:
            return False  # the unit's answer says the same
        unit.away = None
        self._take_in(unit, progress, first, items)
        if question is not None:
            number, asked = question
            if number != unit.answered[0]:
                try:
                    answer = self._ears.asked(unit.host, unit.number, asked)
                except SealiftError as error:
                    answer = error
                unit.answered = (number, answer)
            unit.actor.reply.remote(*unit.answered)  # again, where that did not arrive
        return True

    def _take_in(self, unit: _Unit, progress: Any, first: int, items: list[Any]) -> None:
        """What a unit says, which may be for the second time; `first`: the number of the first of its items."""
        new = items[unit.heard - first :]
        unit.heard += len(new)
        if progress is not None or new:
            self._ears.heard(unit.host, unit.number, progress, new)

    def _ended(self, unit: _Unit, ref: Any) -> tuple[Host, Any] | None:
        """What came of a unit; None where that is not known yet, since it cannot be reached."""
        answer: Any
        said = None
        try:
            answer, *said = self._ray.get(ref)
        except self._ray.exceptions.ActorUnavailableError:
            self._call_again(unit)
            return None
        except (self._ray.exceptions.RayActorError, self._ray.exceptions.OutOfMemoryError) as error:
            answer = Gone(_UNREACHED if unit.ended else _why(error))
        except self._ray.exceptions.RayError as error:
            answer = SealiftError(f"{unit.host.name}: {_why(error)}")
        for look in [look for look, each in self._looks.items() if each is unit]:
            del self._looks[look]
            self._hear(unit, look)  # before its last words
        if said is not None:
            self._take_in(unit, *said)
            if self._stopping:  # it may be told to stop when it has ended, and would stop what comes next
                self._ray.kill(unit.actor)
            else:
                self._done(unit.host, unit.actor)
        self._ears.came(unit.host, unit.number, answer)
        return unit.host, answer

    def _call_again(self, unit: _Unit) -> None:
        """Its answer is lost, and it may be at work: its drives are no one else's before it is known to be dead."""
        now = time.monotonic()
        unit.away = now if unit.away is None else unit.away
        if now - unit.away > AWAY and not unit.ended:
            unit.ended = True
            self._ray.kill(unit.actor)
        if self._stopping:
            unit.actor.stop.remote()  # which may be lost as well
        self.units[unit.call()] = unit

    def stop(self) -> None:
        """Have all units stop, and hear what they still say."""
        self._stopping = True
        for unit in self.units.values():
            unit.actor.stop.remote()
        until = time.monotonic() + _STOP
        while self.units and time.monotonic() < until:
            self.wait()

    def kill(self) -> None:
        """End what has not ended."""
        for unit in self.units.values():
            self._ray.kill(unit.actor)


@contextlib.contextmanager
def _our_signals() -> Iterator[None]:
    """What a signal does here is as before: Ray has SIGTERM print a stack of its own, and end the process."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in kept.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what Ray's own code prints on stderr before it has read that it shall not."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _found(address: str) -> str:
    """HOST:PORT, or as it was given; of `auto` whatever Ray takes it for. ConnectionError where it knows none."""
    if address != "auto":
        return address
    try:
        from ray._private.services import canonicalize_bootstrap_address_or_die
    except ImportError:  # another version of it
        return address
    return str(canonicalize_bootstrap_address_or_die("auto"))


def _name(node: Any) -> str:
    """What `ray start --node-name` says, else the host's own name."""
    named = node["NodeName"] not in {"", node["NodeManagerAddress"]}
    return str(node["NodeName"] if named else node["NodeManagerHostname"])


def _reasons(left_out: Mapping[Host, Gone | SealiftError]) -> str:
    some = "; ".join(f"{host.name}: {why_of(why)}" for host, why in sorted(left_out.items())[:10])
    return f" ({some})" if some else ""


def _why(error: Exception) -> str:
    """Why a unit has no answer, in words."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, ModuleNotFoundError):
        return f"not installed there: {cause.name}"
    if type(error).__name__ == "ActorDiedError":
        return "its node died" if "node has died" in str(error) else "its worker died"
    if type(error).__name__ == "ActorUnavailableError":
        return "its worker cannot be reached"
    if type(error).__name__ == "ActorUnschedulableError":
        return "no worker could be started there"
    if type(error).__name__ == "GetTimeoutError":
        return f"no worker answered within {_START:.0f} s"
    if type(error).__name__ == "OutOfMemoryError":
        return "its worker was ended, because memory ran out there"
    told = cause if isinstance(cause, Exception) else error
    return f"{type(told).__name__}: {words_of(told)}"
