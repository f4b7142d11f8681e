"""`ingest --packs` on hosts: each drive is copied by the host where it stands, to one place that all of them see.

    look everywhere (placed.py) -> a share of the drives a host (placed_pass.py) -> ingest.copy_share -> one Result

What holds of each pack holds as in one process (ingest.py), which placement.HERE is. Beyond that:
- A drive is written by one host. One that stands nowhere is rebuilt by the host that has most of its group; it reads
  those of other hosts over HTTP or from a bucket, by addresses and locations files among the places, as repair does.
- The notes of what is done are kept by whoever began this: a host says that a pack is there, and what is noted goes
  along to whatever host the drive stands on next.
- Before anything is written, a mark is set at the destination by whoever began this, which every host must see there:
  a folder of one host's own, or another store under the same name, is refused.
- No key is needed. Those of a bucket are each host's own, from its environment: none goes through the cluster.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from sealift.drives import locations
from sealift.drives.object_prefix import ObjectPrefix
from sealift.errors import BadInput, DriveFault, SealInvalid
from sealift.formats.manifest import drive_id
from sealift.reading.survey import survey_nothing
from sealift.stages import ingest
from sealift.stages.foreign import beside_drives
from sealift.stages.ingest import NOTE, Result
from sealift.stages.ingest_there import count_there
from sealift.stages.placed import Question, everywhere, is_read, look_everywhere
from sealift.stages.placed_pass import Events, Pass
from sealift.stages.placement import HERE, Ears, Gone
from sealift.stages.repair_plan import Elsewhere, beside
from sealift.stages.unpack_objects import told
from sealift.stages.verify import Progress
from sealift.stages.verify_join import words
from sealift.stages.verify_state import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sealift.formats.seal import Seal
    from sealift.stages.ingest import Options
    from sealift.stages.placed import Stand
    from sealift.stages.placed_pass import Unit
    from sealift.stages.placement import Host, Placement, Wire
    from sealift.stages.unpack_notes import Notes
    from sealift.stages.unpack_objects import ObjectNotes

_MARK = 64  # bytes of a mark, at most
_PATIENCE = 15.0  # seconds for which a host asks a store that does not answer, before anything is copied


class _Mark(NamedTuple):
    """What everybody who writes to `to` must see there."""

    to: str
    name: str
    text: str


class _Part(NamedTuple):
    """What one host is given to copy, and what it is told of the others; `near` are drives that it was given before."""

    mounts: list[str]
    near: list[str]
    question: Question
    drives: frozenset[tuple[int, int]]
    stands: dict[int, dict[int, str]]
    done: dict[str, str]
    mark: _Mark


class _Relayed:
    """Notes that are kept elsewhere."""

    def __init__(self, done: dict[str, str], wire: Wire) -> None:
        self.done, self._wire = done, wire

    def note(self, job: str, mark: str = "") -> None:
        """As of ingest.Noted."""
        self._wire.send(("note", (job, mark)))


def _copy(part: _Part, wire: Wire) -> Result:
    """On a host."""
    _see(part.mark)
    asked = part.question
    read = [os.path.expanduser(each) for each in asked.patterns if is_read(each)]
    others = beside(Elsewhere([*read, *filter(os.path.isdir, part.near)], {}), part.mounts)
    options = ingest.Options(part.mounts, part.mark.to, asked.allowed, asked.seal)
    events = ingest.Events(
        notice=lambda text: wire.send(("notice", text)),
        progress=lambda done, total, _drives: wire.tell(("copying", done, total)),
    )
    return ingest.copy_share(options, ingest.Share(part.drives, others, part.stands), _Relayed(part.done, wire), events)


def _see(mark: _Mark, _wire: Wire | None = None) -> None:
    """On a host: BadInput where what was marked is not what this one would write to, or is out of its reach."""
    if locations.is_store(mark.to):
        try:
            data = ObjectPrefix(mark.to, patience=_PATIENCE).get(mark.name, _MARK)
        except DriveFault as error:
            raise BadInput(
                str(error),
                hint="a host writes to the store itself: its own AWS_ENDPOINT_URL, keys and network are what counts "
                "(127.0.0.1 is another machine on each); nothing was copied",
            ) from error
    else:
        try:
            with open(os.path.join(mark.to, mark.name), "rb") as file:
                data = file.read(_MARK)
        except OSError:
            data = None
    if data != mark.text.encode():
        raise BadInput(
            f"{mark.to} is not the same there as here: it lacks what was just written",
            hint="--to is a folder of a filesystem that every host has under this path, or s3://BUCKET/PREFIX, of which"
            " every host knows the store (AWS_ENDPOINT_URL) from its own environment; nothing was copied",
        )


@contextlib.contextmanager
def _marked(to: str, shipment: str) -> Iterator[_Mark]:
    """A mark, beside the notes, for as long as the block lasts."""
    text = secrets.token_hex(16)
    mark = _Mark(to, f"{NOTE}{shipment}/seen-{text}", text)
    if locations.is_store(to):
        bucket = ObjectPrefix(to)
        bucket.put_new(mark.name, text.encode())
        try:
            yield mark
        finally:
            bucket.delete(mark.name)
        return
    path = os.path.join(to, mark.name)
    try:
        with open(path, "x", encoding="ascii") as file:
            file.write(text)
    except OSError as error:
        raise BadInput(f"{to}: {error.strerror}", hint="--to takes a folder that you may write to") from error
    try:
        yield mark
    finally:
        with contextlib.suppress(OSError):  # gone with the notes, when everything is there
            os.unlink(path)


def ingest_on(place: Placement, options: Options, events: Events | None = None) -> Result:
    """`ingest --packs` where the drives are; parameters and errors as there, and as of verify_on.

    On a cluster `options.mounts` are folders of each host, and addresses and paths of locations files where each reads
    drives of others. BadInput where not all hosts see the destination; what it refuses otherwise is one host's answer.
    """
    events = events or Events()
    if place.here:

        def work(_: None, wire: Wire) -> Result:
            told = ingest.Events(lambda text: wire.send(("notice", text)), lambda *now: wire.tell(now))
            return ingest.ingest(options, told)

        ((_, answer),) = place.run(work, {HERE: None}, _Here(events))
        assert isinstance(answer, Result), "here, errors are raised"
        return answer
    begun = time.monotonic()
    survey_nothing(allowed=options.allowed, seal=options.seal)  # a seal that does not hold is refused at once
    question = Question(list(options.mounts), options.allowed, options.seal, None)
    standing = look_everywhere(place, question, events.notice)
    asked = question._replace(seal=standing.seal)
    trusted = survey_nothing(allowed=options.allowed, seal=standing.seal).trusted
    if trusted is None:
        raise SealInvalid(
            "no seal that is of these drives: neither given nor on them",
            hint="--seal FILE, as the origin sent it ahead by network",
        )
    to = options.to if locations.is_store(options.to) else os.path.abspath(options.to)
    shipment = trusted.seal.shipment
    with told(), ingest.notes_of(to, shipment) as notes, _marked(to, shipment) as mark:
        events.notice(f"asking {words(', '.join(host.name for host in standing.hosts))} whether they see {to}")
        try:
            _all_see(place, standing.hosts, mark)
        except BadInput:
            if not notes.resumed:
                notes.remove()
            raise
        run = _Copying(place, asked, mark, notes, trusted.seal, events)
        run.run(standing.hosts, standing.left_out)
        result = run.result()
        result.foreign = beside_drives(to, trusted.seal)
        sealed = {group.group: group for group in trusted.seal.groups}
        count_there(result, to, sealed, options.allowed, dict(trusted.files), notes.done)
        ingest.end(result, notes)
    result.seconds = time.monotonic() - begun
    return result


def _all_see(place: Placement, hosts: Mapping[Host, list[Stand]], mark: _Mark) -> None:
    """BadInput that names each host which does not; a host that is gone meanwhile is left to what follows."""
    answers = everywhere(place, _see, dict.fromkeys(hosts, mark))
    blind = [(host, answer) for host, answer in answers if answer is not None and not isinstance(answer, Gone)]
    if blind:
        raise BadInput("; ".join(f"{host.name}: {answer}" for host, answer in blind), hint=blind[0][1].hint)


class _Here(Ears):
    """Of an ingest in this process."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def heard(self, host: Host, unit: int, progress: tuple[int, int, dict[str, int]] | None, items: list[Any]) -> None:
        """As of Ears."""
        del host, unit
        for _, text in items:
            self._events.notice(text)
        if progress is not None:
            self._events.progress("copying", Progress(*progress), 1)


class _Copying(Pass):
    """One copying by all hosts."""

    kept = "what was copied is noted at the destination"

    def __init__(
        self,
        place: Placement,
        asked: Question,
        mark: _Mark,
        notes: Notes | ObjectNotes,
        seal: Seal,
        events: Events,
    ) -> None:
        super().__init__(place, self._stand_now, State(None), events, _copy, self._part_of)
        self._asked, self._mark, self._notes, self._seal = asked, mark, notes, seal
        self._slots = {group.group: len(group.drives) for group in seal.groups}
        self._shares: list[set[tuple[int, int]]] = []  # by unit

    def _stand_now(self) -> dict[Host, list[Stand]]:
        return look_everywhere(self._place, self._asked, self.events.notice, first=False).hosts

    def _parts(self, hosts: Mapping[Host, list[Stand]]) -> dict[Host, Any]:
        """As of Pass; before it, who copies what: each drive once, and those that stand nowhere with their group."""
        hosts = dict(sorted(hosts.items()))  # of two that have as much of a group it is the same one each time
        given = {drive for share in self._alive() for drive in share}
        stood = {stand.drive for unit in self.units for stand in unit.stands}
        stood |= {stand.drive for stands in hosts.values() for stand in stands}
        shares = []
        for stands in hosts.values():
            own = {stand.drive for stand in stands if stand.drive} - given
            given |= own
            shares.append(own)
        for group, slots in self._slots.items():
            counts = [sum(stand.group == group for stand in stands) for stands in hosts.values()]
            if any(counts):
                most = shares[counts.index(max(counts))]
                most |= {(group, slot) for slot in range(slots)} - given - stood
        self._shares += shares
        return super()._parts(hosts)

    def _alive(self) -> list[set[tuple[int, int]]]:
        shares = zip(self.units, self._shares, strict=True)
        return [share for unit, share in shares if unit.answer is None or unit.done]

    def _part_of(self, unit: Unit, _known: list[Any], others: Sequence[Unit]) -> _Part:
        place = next(number for number, each in enumerate(self.units) if each is unit)
        share = frozenset(self._shares[place])
        stands: dict[int, dict[int, str]] = {}
        for other in others:
            for stand in other.stands:
                if stand.group is not None and stand.slot is not None:
                    stands.setdefault(stand.group, {})[stand.slot] = f"{stand.name} on {other.host.name}"
        prefixes = {("pack", str(group), str(slot)) for group, slot in share}
        done = {name: mark for name, mark in self._notes.done.items() if tuple(name.split()[:3]) in prefixes}
        mounts = [stand.mount for stand in unit.stands]
        return _Part(mounts, self.near(unit), self._asked, share, stands, done, self._mark)

    def take(self, unit: Unit, item: Any) -> None:
        """As of Pass: a pack that is there, or a notice."""
        what, told = item
        if what == "note":
            job, mark = told
            self._notes.note(job, mark)
            # of a bucket nobody here has asked when that was noted: whoever is given this pack next reads it
            self._notes.done[job] = mark
        else:
            self.events.notice(words(f"{unit.host.name}: {told}"))

    @property
    def groups(self) -> set[int]:
        """Of which drives stand somewhere."""
        return {stand.group for unit in self.units for stand in unit.stands if stand.group is not None}

    def result(self) -> Result:
        """The answers of all hosts as one; a mount is HOST:MNT in it."""
        joined = Result(self._seal.shipment, hosts=self.rows())
        here = {drive_id(*stand.drive) for unit in self.units for stand in unit.stands if stand.drive}
        missing = Counter[str]()
        for unit in self.units:
            if not unit.done:
                continue
            answer: Result = unit.answer
            for name in ("packs", "size", "there", "rebuilt_blocks", "resealed"):
                setattr(joined, name, getattr(joined, name) + getattr(answer, name))
            joined.drives |= answer.drives
            joined.failed += answer.failed
            joined.refused += answer.refused
            missing.update(answer.missing_drives)
            joined.short_groups = sorted({*joined.short_groups, *answer.short_groups})
            joined.ignored += [(f"{unit.host.name}:{mount}", why) for mount, why in answer.ignored]
            joined.out_of_reach = sorted({*joined.out_of_reach, *answer.out_of_reach})
        joined.drives = dict(sorted(joined.drives.items()))
        joined.missing_drives = [name for name in missing if name.split(" ")[0] not in here]
        joined.missing_groups = ingest.missing_groups(
            [group for group in self._seal.groups if group.group not in self.groups]
        )
        return joined
