"""Which drives stand on which host of a cluster: what a stage must know before it places work.

What holds: every host looks for itself, in the folders that were named (`~` and shell patterns are its own), or on
every disk's filesystem that is mounted there. Which drive stands in a folder is judged there as `verify` judges it, by
the signed table and the packs; neither its folder nor its host says anything. A folder that two hosts see, since they
are one machine, is one host's; groups that two see are dealt so that hosts have about equally many.

With nothing but this, no drive is read: see verify_hosts.py and repair_hosts.py.
"""

from __future__ import annotations

import glob
import os
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from sealift.drives import locations
from sealift.errors import BadInput, NotAllHere, SealiftError
from sealift.formats.block_tools import parse_mounts
from sealift.reading.survey import refuse_others, survey
from sealift.stages.placement import Ears, Gone, why_of
from sealift.stages.verify_join import words
from sealift.stages.verify_state import drive_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.reading.survey import DriveView, Survey
    from sealift.stages.placement import Host, Placement, Wire

_MOUNTS, _BOOT = "/proc/self/mountinfo", "/proc/sys/kernel/random/boot_id"
_SHARED = {"btrfs"}  # of disks, though they have no number of one
LOOKS, _BETWEEN = 3, 1.0  # times that a host is asked which lives and does not answer, and seconds between them
PATIENCE = 20.0  # seconds in which a filesystem that nobody named must answer


class Question(NamedTuple):
    """What a host is to look for."""

    patterns: Sequence[str]  # none: every disk's filesystem
    allowed: AllowedSigners
    seal: dict[str, bytes] | None
    shipment: str | None


class Stand(NamedTuple):
    """A drive, and where it stands on its host."""

    mount: str
    place: tuple[Any, ...]  # equal where two hosts see the same
    state: str  # what stages.verify_state knows it by
    group: int | None  # None: it is not known which drive of the shipment it is, or it is none
    slot: int | None
    name: str  # for people: g0s1, its serial number; else the folder

    @property
    def drive(self) -> tuple[int, int] | None:
        """Which drive of the shipment it is."""
        return None if self.group is None or self.slot is None else (self.group, self.slot)


class Seen(NamedTuple):
    """What a host found: its drives; the seal on them that holds, or else the shipment of most."""

    stands: list[Stand]
    seal: dict[str, bytes] | None
    shipment: str | None
    refused: SealiftError | None  # none of these drives is of the shipment that is meant
    rivals: tuple[str, ...] = ()  # other shipments, sealed as that one is, of which drives stand there


def look(question: Question, _wire: Wire | None = None) -> Seen:
    """On a host: the drives that stand there. BadInput, Refused as survey."""
    patterns = [each for each in question.patterns if not is_read(each)]
    mounts = folders(patterns) if patterns else disks()
    if not mounts:
        return Seen([], None, None, None)
    found = survey(mounts, allowed=question.allowed, seal=question.seal, shipment=question.shipment)
    refused: SealiftError | None = None
    try:
        refuse_others(found)
    except SealiftError as error:
        refused = error
    stands = [_stand(found, view) for view in found.views if view.standing != "empty"]
    sealed = None if found.trusted is None else dict(found.trusted.files)
    return Seen(stands, sealed, found.shipment if found.groups else None, refused, tuple(found.rivals))


def _stand(found: Survey, view: DriveView) -> Stand:
    status = os.stat(view.mount)
    place = (boot(), status.st_dev, status.st_ino)
    if view.group is None or view.slot is None:
        return Stand(view.mount, place, drive_key(view.drive), None, None, words(view.mount))
    group = next(each for each in found.groups if each.group == view.group)
    serial = group.manifest.drives[view.slot].serial
    name = words(f"{view.name} (serial {serial})")
    return Stand(view.mount, place, drive_key(view.drive), view.group, view.slot, name)


def boot() -> str:
    """What two systems never share while they run."""
    with open(_BOOT, encoding="ascii") as file:
        return file.read().strip()


def is_read(place: str) -> bool:
    """On a host: whether it is an address, or the path of a locations file there, and no folder's."""
    return locations.is_store(place) or locations.is_list(os.path.expanduser(place))


def folders(patterns: Iterable[str]) -> list[str]:
    """The folders of this host that these name."""
    found: dict[str, None] = {}
    for pattern in patterns:
        whole = os.path.expanduser(pattern)
        matches = [whole] if os.path.isdir(whole) else sorted(glob.glob(whole))
        found |= dict.fromkeys(each for each in matches if os.path.isdir(each))
    return list(found)


def disks() -> list[str]:
    """Where filesystems of disks are mounted that have a folder sealift/; one that does not answer is left out."""
    with open(_MOUNTS, "rb") as file:
        mounts = parse_mounts(file.read(1 << 24))
    first: dict[tuple[int, int], str] = {}
    for mount in mounts:
        if mount.number[0] or mount.kind in _SHARED:
            first.setdefault(mount.number, mount.at)
    having: list[str] = []

    def ask(at: str) -> None:
        if os.path.isdir(os.path.join(at, "sealift")):
            having.append(at)

    threads = [threading.Thread(target=ask, args=(at,), daemon=True) for at in first.values()]
    for thread in threads:
        thread.start()
    until = time.monotonic() + PATIENCE
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return sorted(having)


class Standing(NamedTuple):
    """What all hosts found: the drives of each, which hosts said nothing; by which seal, or as what shipment."""

    hosts: dict[Host, list[Stand]]
    left_out: dict[Host, Gone | SealiftError]  # hosts that did not say which drives stand there, and why
    seal: dict[str, bytes] | None
    shipment: str | None


def everywhere(place: Placement, work: Callable[[Any, Wire], Any], given: Mapping[Host, Any]) -> list[tuple[Host, Any]]:
    """What hosts answer to what takes no time.

    A host that lives is asked up to LOOKS times: one worker that died or could not start says nothing of its drives.
    """
    answers: dict[Host, Any] = {}
    asked = dict(given)
    for left in reversed(range(LOOKS)):
        answers |= dict(place.run(work, asked, Ears()))
        asked = {host: given[host] for host, answer in answers.items() if is_silent(answer)}
        if not (asked and left):
            break
        time.sleep(_BETWEEN)
        try:
            alive = place.hosts()
        except NotAllHere:
            break
        asked = {host: what for host, what in asked.items() if host in alive}
    return list(answers.items())


def is_silent(answer: Any) -> bool:
    """Whether it is none of its host's, but says that there was none."""
    return isinstance(answer, Gone) or type(answer) is SealiftError


def look_everywhere(
    place: Placement, question: Question, notice: Callable[[str], object], *, first: bool = True
) -> Standing:
    """Ask every host. Where no seal is given, one that holds on a drive serves for all.

    With `first`, NotAllHere where no host has a drive, BadInput where it is not clear which shipment is meant, and what
    a host says where none has a drive of it; without, the answer is then empty.
    """
    hosts = place.hosts()
    answers = everywhere(place, look, dict.fromkeys(hosts, question))
    seen: dict[Host, Seen] = {}
    left_out = dict(place.left_out)
    for host, answer in answers:
        if isinstance(answer, Seen):
            seen[host] = answer
            continue
        left_out[host] = answer
        if first:
            notice(f"{host.name} is left out: {why_of(answer)}")
        elif is_silent(answer):
            notice(f"{host.name} does not say which drives stand there now: {why_of(answer)}")
    if first:
        _check(seen, [answer for _, answer in answers if isinstance(answer, SealiftError)], left_out)
    seal, shipment = question.seal, question.shipment
    if seal is None and first:
        seal, shipment = _meant(seen, shipment)
    return Standing(dealt({host: each.stands for host, each in seen.items()}), left_out, seal, shipment)


def _check(
    seen: Mapping[Host, Seen], errors: Sequence[SealiftError], left_out: Mapping[Host, Gone | SealiftError]
) -> None:
    if any(stand.drive for each in seen.values() for stand in each.stands):
        return
    for error in [*errors, *(each.refused for each in seen.values() if each.refused is not None)]:
        raise error
    if any(each.stands for each in seen.values()):
        return  # drives of which nobody knows which they are: the report names them
    if left_out:
        some = "; ".join(f"{host.name}: {why_of(why)}" for host, why in sorted(left_out.items())[:10])
        raise NotAllHere(
            f"no drive of sealift stands on any host that answers ({some})",
            hint="have these hosts up again, or put their drives into others; then run the same command again",
        )
    raise NotAllHere(
        "no drive of sealift stands on any host",
        hint="mount the drives there, and give the folders: quoted patterns ('/mnt/d*') are each host's own",
    )


def _meant(seen: Mapping[Host, Seen], shipment: str | None) -> tuple[dict[str, bytes] | None, str | None]:
    """The seal that holds on most hosts, or the shipment of most; BadInput where hosts have those of several."""
    having = {host: each for host, each in seen.items() if each.shipment is not None}
    named = {host: (each.shipment, *each.rivals) for host, each in sorted(having.items())}
    names = {name for each in named.values() for name in each}
    if len(names) > 1:
        where = ", ".join(f"{name} on {host.name}" for host, each in list(named.items())[:10] for name in each)
        raise BadInput(
            f"these hosts have drives of several shipments ({where}): nothing says which of them is meant",
            hint="give the seal of the one that is meant (--seal FILE), or its --shipment ID",
        )
    seals = [each.seal for each in having.values() if each.seal is not None]
    shipment = shipment or next(iter(names), None)
    return (max(seals, key=seals.count) if seals else None), shipment


def dealt(hosts: Mapping[Host, list[Stand]]) -> dict[Host, list[Stand]]:
    """Each place for one host: what one host sees is its own; of what several see, group by group to who has least."""
    seers: dict[tuple[Any, ...], list[Host]] = {}
    for host, stands in hosts.items():
        for stand in stands:
            seers.setdefault(stand.place, []).append(host)
    dealt: dict[Host, list[Stand]] = {host: [] for host in hosts}
    shared: dict[tuple[Any, ...], list[Stand]] = {}
    for host, stands in hosts.items():
        for stand in stands:
            among = seers[stand.place]
            if len(among) == 1:
                dealt[host].append(stand)
            elif host == among[0]:
                alike = (stand.group if stand.drive else stand.place, *among)
                shared.setdefault(alike, []).append(stand)
    for (_, *among), stands in shared.items():
        least = min(among, key=lambda host: (len(dealt[host]), host))
        own = {stand.place: stand for stand in hosts[least]}  # under the names that it has there
        dealt[least] += [own[stand.place] for stand in stands]
    return {host: sorted(stands) for host, stands in dealt.items() if stands}
