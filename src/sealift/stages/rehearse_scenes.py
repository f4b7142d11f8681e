"""The scenes of a rehearsal: which drives arrive and in what condition, and what must come of it.

A scene is a context: within it the drives are as its story says, and behind it they are as they were, so that scenes
can be played in any order. `check` holds the verdict against what was done, fault by fault. What is not here: verify
and unpack themselves (rehearse.py plays them).
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from sealift.formats import manifest as manifests
from sealift.formats.manifest import BLOCK, Manifest
from sealift.stages.plan.geometry import Survive

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from sealift.stages.repair_plan import RepairReport
    from sealift.stages.verify_report import VerifyReport


_BITS = 16  # flipped in a block: some of them lie where a file's bytes are


_TRIED = 16  # drives of a group, of which three are to rot
_READ = 1 << 16  # a pack of so many bytes holds contents, not just names


class Check(msgspec.Struct, frozen=True):
    """One thing that must hold."""

    what: str
    held: bool


class Scratched(NamedTuple):
    """One drive of the rehearsal."""

    drive: str  # g0s3
    group: int
    slot: int
    carrier: str
    mount: str


@dataclass
class Voyage:
    """What the scenes play with: the packed drives, by group and slot."""

    drives: list[Scratched]
    manifests: dict[int, Manifest]
    foreign: str  # mount of a drive of another shipment
    chooser: random.Random
    repair: Callable[[list[str], list[str]], RepairReport]  # of these mounts, onto those
    lost: Survive = field(default_factory=lambda: Survive(carriers=1))  # what the scenes lose: it costs no byte

    def of(self, group: int) -> list[Scratched]:
        """The drives of a group, by slot."""
        return sorted((each for each in self.drives if each.group == group), key=lambda each: each.slot)

    @property
    def other(self) -> int:
        """The group with the most files besides group 0: a few large files may leave groups with none."""
        return max((group for group in self.manifests if group), key=lambda group: self.manifests[group].totals.files)

    def lose(self, group: int | None = None) -> tuple[list[str], list[Scratched]]:
        """Carriers that are gone, and all drives that are: theirs, and some besides, of one group; by chance.

        Carriers with data come first, of `group` if it is given, and then the drives besides are its too.
        """
        pool = self.drives if group is None else self.of(group)
        full = {each.carrier for each in pool if holds_data(each, self.manifests[each.group])}
        carriers = sorted({each.carrier for each in self.drives})
        self.chooser.shuffle(carriers)
        carriers = sorted(carriers, key=lambda name: name not in full)[: self.lost.carriers]
        one = self.chooser.choice(sorted(self.manifests)) if group is None else group
        here = [each for each in self.of(one) if each.carrier not in carriers]
        besides = self.chooser.sample(here, min(self.lost.drives, len(here)))
        return sorted(carriers), [each for each in self.drives if each.carrier in carriers or each in besides]


@dataclass
class Setting:
    """How a scene leaves the drives; `marks` colours the map: drive -> good, lost, rotten, withheld or rebuilt."""

    mounts: list[str]
    marks: dict[str, str]
    final: bool = False
    partial: bool = False
    rebuilds: bool | None = False  # whether unpack must rebuild blocks; None: it may
    check: Callable[[VerifyReport], list[Check]] = lambda _report: []
    notes: list[str] = field(default_factory=list)


class Scene(NamedTuple):
    """A story, and what verify and unpack must make of it."""

    name: str
    title: str
    story: str
    state: str
    exit_code: int
    unpack_exit: int
    play: Callable[[Voyage], AbstractContextManager[Setting]]


def _good(voyage: Voyage) -> dict[str, str]:
    return {each.drive: "good" for each in voyage.drives}


def _shuffled(voyage: Voyage, drives: list[Scratched]) -> list[str]:
    mounts = [each.mount for each in drives]
    voyage.chooser.shuffle(mounts)
    return mounts


@contextmanager
def _everything(voyage: Voyage) -> Iterator[Setting]:
    setting = Setting(_shuffled(voyage, voyage.drives), _good(voyage))
    setting.check = lambda report: [Check("no fault is reported", not report.faults)]
    yield setting


@contextmanager
def _carrier_lost(voyage: Voyage) -> Iterator[Setting]:
    carriers, lost = voyage.lose()
    gone = [each.drive for each in lost]
    here = [each for each in voyage.drives if each not in lost]
    marks = _good(voyage) | dict.fromkeys(gone, "lost")
    notes = [f"carrier {name}: {', '.join(each.drive for each in lost if each.carrier == name)}" for name in carriers]
    if besides := [each.drive for each in lost if each.carrier not in carriers]:
        notes.append(f"and of others: {', '.join(besides)}" if carriers else ", ".join(besides))
    setting = Setting(_shuffled(voyage, here), marks, final=True, notes=notes)
    needed = [each for each in lost if holds_data(each, voyage.manifests[each.group])]
    setting.rebuilds = True if needed else None

    def check(report: VerifyReport) -> list[Check]:
        missing = [each for group in report.groups for each in group.missing]
        return [
            Check("the missing drives are named", sorted(each.drive for each in missing) == sorted(gone)),
            Check("their carriers are named",
                  {each.drive: each.carrier for each in missing} == {each.drive: each.carrier for each in lost}),
        ]  # fmt: skip

    setting.check = check
    yield setting


def holds_data(drive: Scratched, manifest: Manifest) -> bool:
    """Whether unpack needs something of this drive."""
    return any(_is_data(drive, manifest, stripe) for stripe in range(manifest.geometry.files_end))


def _is_data(drive: Scratched, manifest: Manifest, stripe: int) -> bool:
    """Whether unpack must read the drive's pack: no parity, no pack of directories, none of nearly empty files."""
    role, _, path = _pack(drive, manifest, stripe)
    if stripe >= manifest.geometry.files_end or role >= manifest.geometry.data:
        return False
    return os.path.exists(path) and os.path.getsize(path) >= _READ


@contextmanager
def _rot(voyage: Voyage) -> Iterator[Setting]:
    """Flip bits in random blocks of three drives, and back again afterwards."""
    manifest = voyage.manifests[0]
    held = {each: _blocks(each, manifest) for each in voyage.of(0)}
    chosen = _choose(held, lambda drive, row: _is_data(drive, manifest, row[0]), voyage.chooser)
    flips: list[tuple[str, int, int]] = []
    done: Counter[tuple[str, str | None, int | None, str]] = Counter()
    in_data = 0
    try:
        for victim, rows in chosen.items():
            for stripe, block in sorted(rows):
                _, name, path = _pack(victim, manifest, stripe)
                length = min(BLOCK, os.path.getsize(path) - block * BLOCK)
                for offset in voyage.chooser.sample(range(length), min(_BITS, length)):
                    flip = (path, block * BLOCK + offset, 1 << voyage.chooser.randrange(8))
                    _flip(*flip)
                    flips.append(flip)
                done[victim.drive, name, block, "rotten"] += 1
                in_data += _is_data(victim, manifest, stripe)
        rotten = sorted({key[0] for key in done})
        setting = Setting(_shuffled(voyage, voyage.drives), _good(voyage) | dict.fromkeys(rotten, "rotten"))
        setting.notes = [f"bits flipped in {len(done)} blocks of {', '.join(rotten)}"]
        setting.rebuilds = True if in_data else None
        if len(rotten) < 3:
            setting.notes.append("the source is too small for three rotten drives")

        def check(report: VerifyReport) -> list[Check]:
            found = Counter((fault.drive, fault.path, fault.block, fault.kind) for fault in report.faults)
            return [Check("every flipped block is named, and no other", found == done)]

        setting.check = check
        yield setting
    finally:
        for flip in flips:
            _flip(*flip)


_Row = tuple[int, int]  # stripe, block


def _choose(
    held: dict[Scratched, set[_Row]], is_data: Callable[[Scratched, _Row], bool], chooser: random.Random
) -> dict[Scratched, set[_Row]]:
    """Three drives and the rows in which they rot: two in the same ones, the third in all others that it has.

    Rows in which data rots come first. Where there is too little for a third, two.
    """
    drives = list(held) if len(held) <= _TRIED else chooser.sample(list(held), _TRIED)
    triples = list(itertools.permutations(drives, 3))
    chooser.shuffle(triples)
    chosen: dict[Scratched, set[_Row]] = {}
    for one, two, three in triples:
        shared = sorted(held[one] & held[two])
        chooser.shuffle(shared)
        shared.sort(key=lambda row: not (is_data(one, row) or is_data(two, row)))
        rows = set(shared[: (len(shared) + 1) // 2])
        others = held[three] - rows
        data = any(is_data(one, row) or is_data(two, row) for row in rows)
        if data and others:
            return {one: rows, two: rows, three: others}
        if data:
            chosen = chosen or {one: rows, two: rows}
    return chosen


def _blocks(drive: Scratched, manifest: Manifest) -> set[_Row]:
    """Every (stripe, block) that a drive holds."""
    found = set()
    for stripe in range(manifest.geometry.stripes):
        path = _pack(drive, manifest, stripe)[2]
        if os.path.exists(path):
            found |= {(stripe, block) for block in range(-(-os.path.getsize(path) // BLOCK))}
    return found


def _pack(drive: Scratched, manifest: Manifest, stripe: int) -> tuple[int, str, str]:
    """Role, name and path of a drive's pack; it may be absent."""
    role = manifests.role_of(stripe, drive.slot, manifest.n)
    name = manifests.pack_name(stripe, role, manifest.geometry.data)
    return role, name, os.path.join(drive.mount, manifests.ROOT, name)


def _flip(path: str, offset: int, mask: int) -> None:
    with open(path, "r+b", buffering=0) as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ mask]))
        os.fsync(file.fileno())


@contextmanager
def _foreign(voyage: Voyage) -> Iterator[Setting]:
    mounts = [*(each.mount for each in voyage.drives), voyage.foreign]
    voyage.chooser.shuffle(mounts)
    setting = Setting(mounts, _good(voyage) | {"other": "foreign"})

    def check(report: VerifyReport) -> list[Check]:
        found = {(fault.mount, fault.kind) for fault in report.faults}
        return [
            Check("the foreign drive, and nothing else, is named", found == {(voyage.foreign, "foreign")}),
            Check("nothing of it is counted", sum(len(group.present) for group in report.groups) == len(voyage.drives)),
        ]

    setting.check = check
    yield setting


@contextmanager
def _withheld(voyage: Voyage) -> Iterator[Setting]:
    gone = [each.drive for each in voyage.of(voyage.other)]
    here = [each for each in voyage.drives if each.group != voyage.other]
    setting = Setting(_shuffled(voyage, here), _good(voyage) | dict.fromkeys(gone, "withheld"), partial=True)

    def check(report: VerifyReport) -> list[Check]:
        missing = [each.drive for group in report.groups for each in group.missing]
        return [
            Check("every withheld drive is named, from the seal alone", sorted(missing) == sorted(gone)),
            Check("what is here is whole", not report.faults),
        ]

    setting.check = check
    yield setting


@contextmanager
def _repaired(voyage: Voyage) -> Iterator[Setting]:
    """Empty the lost drives of one group and rebuild them; mend rot in the other group. All is whole behind it."""
    gone = [each for each in voyage.lose(0)[1] if each.group == 0]
    manifest = voyage.manifests[voyage.other]
    held = {each: sorted(_blocks(each, manifest)) for each in voyage.of(voyage.other)}
    victim = voyage.chooser.choice([each for each, rows in held.items() if rows])
    stripe, block = voyage.chooser.choice(held[victim])
    _, name, path = _pack(victim, manifest, stripe)
    for each in gone:
        shutil.rmtree(os.path.join(each.mount, manifests.ROOT))
    _flip(path, block * BLOCK + voyage.chooser.randrange(min(BLOCK, os.path.getsize(path) - block * BLOCK)), 1)
    here = _shuffled(voyage, [each for each in voyage.drives if each not in gone])
    mended = voyage.repair(here, [])
    rebuilt = voyage.repair(here, [each.mount for each in gone])
    marks = _good(voyage) | {each.drive: "rebuilt" for each in [*gone, victim]}
    names = ", ".join(each.drive for each in gone)
    setting = Setting(_shuffled(voyage, voyage.drives), marks)
    setting.notes = [f"{names} rebuilt onto empty drives; a bit of {victim.drive} put right"]

    def check(report: VerifyReport) -> list[Check]:
        return [
            Check("no fault is left", not report.faults),
            Check("the flipped bit's pack, and nothing else, was written anew",
                  [(each.drive, each.path) for each in mended.repaired] == [(victim.drive, name)]),
            Check("the lost drives were rebuilt", sorted(rebuilt.rebuilt) == sorted(each.drive for each in gone)),
            Check("they say that they were", sum("rebuilt at" in notice for notice in report.notices) == len(gone)),
        ]  # fmt: skip

    setting.check = check
    yield setting


SCENES = (
    Scene(
        "everything", "everything arrives", "All drives, in any order, at any mount point.",
        "intact", 0, 0, _everything,
    ),
    Scene(
        "carrier-lost", "one carrier lost", "A carrier never arrives, with a quarter of the drives of each group.",
        "recoverable", 3, 0, _carrier_lost,
    ),
    Scene(
        "rot", "three drives rotten", "Two drives of a group have rotted in the same rows, a third one in other rows.",
        "recoverable", 3, 0, _rot,
    ),
    Scene(
        "foreign", "a foreign drive mixed in", "A drive of another shipment of the same sender stands among them.",
        "intact", 0, 0, _foreign,
    ),
    Scene(
        "withheld", "a group withheld", "A whole group is kept back: only the seal can tell, and the rest restores.",
        "unseen", 6, 6, _withheld,
    ),
    Scene(
        "repaired", "a carrier lost, and repaired", "Its drives of a group are rebuilt onto empty ones, rot is mended.",
        "intact", 0, 0, _repaired,
    ),
)  # fmt: skip
