"""`sealift rehearse` without the terminal: the whole voyage in small, on scratch drives that never leave.

    declare -> release -> pack two groups of 6+2 over four carriers, or the groups of a plan -> seal
    for each scene: verify -> unpack -> compare with the source, file by file
    last: train on what a lost carrier left, stop, go on, and carry the weights home (rehearse_training.py)

What holds: these are the stages that real shipments go through, with fresh keys and a declaration that says that it
is a rehearsal. A scene has held when the verdict, its faults and the restored tree are what they must be. Everything
is beneath one scratch folder, which is gone when this returns, also by an exception. What is not here: the report
page (rehearse_report.py), printing, signals.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from sealift.errors import BadInput
from sealift.formats.sizes import counted
from sealift.reading.trust import load_seal
from sealift.stages import rehearse_training as training
from sealift.stages import repair as repairing
from sealift.stages import seal as sealing
from sealift.stages import unpack as unpacking
from sealift.stages.pack import inputs
from sealift.stages.pack import run as packing
from sealift.stages.rehearse_compare import Comparison, compare, leaves
from sealift.stages.rehearse_plan import CARRIERS, Layout, Planned, of_plan, own
from sealift.stages.rehearse_scenes import SCENES, Check, Scene, Scratched, Setting, Voyage, holds_data
from sealift.stages.rehearse_scratch import (
    LOOP_MINIMUM,
    LOOP_OVERHEAD,
    NO_LIBRARY,
    People,
    Scratch,
    Size,
    check_loop,
    declare,
    measure,
    people,
    release,
    standard_library,
)
from sealift.stages.repair_plan import Events as RepairEvents
from sealift.stages.status import look
from sealift.stages.verify import verify
from sealift.stages.verify_report import VerifyReport, exit_code
from sealift.trade.signing import load_allowed_signers, read_limited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.stages.pack.group import Progress
    from sealift.stages.plan.document import Plan
    from sealift.stages.repair_plan import RepairReport

LEAST = Size(8, 1 << 17)  # a group, so that all groups have files whose loss shows
REFERENCE = 4_800_000_000_000_000  # bytes of the shipment that the outlook is for
HOSTS = (1, 8, 30)
_STRIPES = 4  # about so many a group, where the source is large enough
_SPARE = 256 << 20
_DRIVE = 4 << 20  # what a drive has besides packs


@dataclass
class Options:
    """What `sealift rehearse` was asked for."""

    source: str | None = None  # None: the running interpreter's standard library
    scratch: str | None = None
    loop: bool = False
    seed: int | None = None
    scenes: list[str] = field(default_factory=list)  # names; none: all
    plan: Plan | None = None  # whose geometry is rehearsed


@dataclass
class Events:
    """How a rehearsal tells what it does."""

    notice: Callable[[str], None] = lambda _text: None
    step: Callable[[str], None] = lambda _text: None
    progress: Callable[[str, int, int | None, Mapping[str, int] | None], None] = lambda _what, _done, _all, _drives: (
        None
    )
    scene: Callable[[SceneResult], None] = lambda _result: None
    trained: Callable[[training.Training], None] = lambda _result: None


class GroupRate(msgspec.Struct):
    """How fast one group was packed: bytes and seconds."""

    group: int
    source_bytes: int
    written_bytes: int
    seconds: float


class Outlook(msgspec.Struct):
    """What the reference shipment would take at the rates that were measured here, on so many hosts like this one."""

    what: str
    bytes_per_second: float  # of one host
    days: dict[str, float]  # by number of hosts


class SceneResult(msgspec.Struct):
    """What came of a scene. Times in seconds; rebuilt blocks of 1 MiB."""

    name: str
    title: str
    story: str
    notes: list[str]
    state: str
    exit_code: int
    faults: dict[str, int]
    bytes_read: int
    read_from: str
    verify_seconds: float
    files: int
    bytes: int
    rebuilt_blocks: int
    unpack_seconds: float
    compared_files: int
    compared_bytes: int
    absent: int
    differences: int
    named: list[str]
    checks: list[Check]
    drives: dict[str, str]
    held: bool


class Rehearsal(msgspec.Struct):
    """The whole of it; the JSON of `sealift rehearse` and the report page are made of this."""

    shipment: str
    consignment_id: str
    rehearsal: bool
    source: str
    drives_are: str
    seed: int
    files: int
    source_bytes: int
    packed_bytes: int
    parity_bytes: int
    stripes: int
    pack_seconds: float
    rates: list[GroupRate]
    drives: list[dict[str, str]]
    changed: int
    skipped: int
    scenes: list[SceneResult]
    training: training.Training | None  # None: not asked for
    outlook: list[Outlook]
    seconds: float
    held: bool
    data: int  # drives of each group, for data and
    parity: int
    groups: int
    plan: Planned | None  # None: the geometry is the rehearsal's own


def rehearse(options: Options, events: Events) -> Rehearsal:
    """Pack, play every scene, clean up; raises SealiftError. `held` says whether every comparison held."""
    begun = time.monotonic()
    if options.loop:
        check_loop()
    known = {scene.name for scene in SCENES} | {training.NAME}
    if unknown := [name for name in options.scenes if name not in known]:
        raise BadInput(
            f"no scene {unknown[0]!r}", hint=f"scenes: {', '.join([*(scene.name for scene in SCENES), training.NAME])}"
        )
    if options.source is not None and not os.path.isdir(options.source):
        raise BadInput(f"{options.source} is no directory", hint="SOURCE is the folder that is rehearsed with")
    with ExitStack() as stack:
        stage = _Stage(options, events, stack)
        stage.pack()
        results = []
        for scene in stage.layout.scenes(SCENES):
            if options.scenes and scene.name not in options.scenes:
                continue
            events.step(f"scene: {scene.title}")
            results.append(stage.play(scene))
            events.scene(results[-1])
        trained = stage.train() if not options.scenes or training.NAME in options.scenes else None
        answer = stage.answer(results, trained)
    answer.seconds = time.monotonic() - begun
    return answer


def space_needed(size: Size, layout: Layout, *, loop: bool, copied: bool) -> int:
    """Bytes of scratch space at most: the corpus if it is copied, its drives, one restored tree."""
    drives = size.size * layout.size // layout.data + size.size // 50 + layout.count * _DRIVE
    loops = (layout.count + 2) * LOOP_OVERHEAD if loop else 0
    return drives + size.size * (2 if copied else 1) + size.entries * 8192 + loops + _SPARE


def pack_size_for(size: Size, layout: Layout) -> int:
    """Packs so small that there are several stripes."""
    wanted = size.size // (layout.groups * layout.data * _STRIPES)
    return min(max(inputs.MIN_PACK, wanted >> 20 << 20), inputs.DEFAULT_PACK)


class _Stage:
    """The scratch drives of one rehearsal, and what is played on them."""

    def __init__(self, options: Options, events: Events, stack: ExitStack) -> None:
        self._options, self._events = options, events
        self.layout = layout = own() if options.plan is None else of_plan(options.plan)
        for line in layout.told():
            events.notice(line)
        source = options.source or standard_library()
        self._size = measure(source, NO_LIBRARY if options.source is None else ())
        least = Size(LEAST.entries * layout.groups, LEAST.size * layout.groups)
        if self._size.entries < least.entries or self._size.size < least.size:
            raise BadInput(
                f"{source}: {self._size.entries} files of {self._size.size:,} bytes are too little for a rehearsal",
                hint=f"give a folder of at least {least.entries} files and {least.size:,} bytes, or none",
            )
        needed = space_needed(self._size, layout, loop=options.loop, copied=options.source is None)
        self._scratch = Scratch.make(options.scratch)
        stack.callback(self._scratch.close)
        free = shutil.disk_usage(self._scratch.path).free
        events.notice(
            f"scratch space: at most {needed / 1e9:.1f} GB in {self._scratch.path}, of {free / 1e9:.1f} GB free there"
        )
        if free < needed:
            raise BadInput(
                f"not enough scratch space: {needed:,} bytes are needed, {free:,} are free in {self._scratch.path}",
                hint="--scratch DIR on a disk with more room, or a smaller SOURCE",
            )
        self.seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
        self._copied = options.source is None
        self._source = source
        self._who: People = people(self._scratch)
        self._allowed: AllowedSigners = load_allowed_signers(self._who.signers)

    # --- packing ---

    def pack(self) -> None:
        """Everything up to the seal, and a drive of another shipment."""
        events, scratch, size = self._events, self._scratch, self._size
        if self._copied:
            events.step("copying the standard library, as a corpus")
            self._source = scratch.copy_standard_library()
            self._size = size = measure(self._source)
        self._pack_size = pack_size_for(size, self.layout)
        layout, count = self.layout, self.layout.count
        self._loop_bytes = 0
        if self._options.loop:
            events.step(f"making {count + 2} XFS filesystems on loop devices")
            self._loop_bytes = max(
                LOOP_MINIMUM, size.size // (layout.groups * layout.data) * 5 // 4 + 4 * self._pack_size + _SPARE
            )
        mounts = scratch.drives(count, loop_bytes=self._loop_bytes)
        events.step("declaring: a declaration marked REHEARSAL, released by a second person")
        carriers = dict(zip(mounts, layout.carriers, strict=True))
        among = counted(len(set(layout.carriers)), "carrier")
        events.step(f"packing {counted(size.entries, 'file')} onto {counted(count, 'drive')} of {among}")
        self._result = self._pack_shipment("ours", self._source, mounts, carriers, layout.size, layout.parity)
        events.step("sealing")
        sealed = self._make_seal("ours", mounts)
        self._seal, self._seal_files = sealed.path, load_seal(sealed.path)
        groups = sealing.gather([scratch.place("ours")], self._allowed)
        where = {row.serial: (row.id, g.manifest.group, row.slot) for g in groups for row in g.manifest.drives}
        drives = [Scratched(*where[_serial(mount)], carriers[mount], mount) for mount in mounts]
        self._voyage = Voyage(
            drives, {g.manifest.group: g.manifest for g in groups}, self._pack_foreign(), random.Random(self.seed),  # noqa: S311
            self._repair, layout.lost,
        )  # fmt: skip
        numbers = {row.id: row.number for g in groups for row in g.manifest.drives}
        self._planned = layout.answer(drives, numbers)
        self._passed_over = {
            *self._result.changed,
            *(path for path, _ in (*self._result.incomplete, *self._result.skipped)),
        }
        self._everything = sum(1 for path in leaves(self._source) if path not in self._passed_over)
        if self._passed_over:
            events.notice(f"{len(self._passed_over)} paths changed or were skipped, and are not compared")

    def _pack_shipment(
        self, name: str, source: str, mounts: list[str], carriers: dict[str, str], group_size: int, parity: int
    ) -> packing.Result:
        path = self._scratch.place(f"{name}.toml")
        serials = {mount: _serial(mount) for mount in mounts}
        capacity = self._loop_bytes or self._size.size + _SPARE
        declare(path, self._who, {serials[m]: carriers[m] for m in mounts}, self._size, capacity)
        release(path, self._who)
        options = packing.Options(
            source, mounts, parity, [self._who.recipient], self._who.author, path, self._scratch.place(name),
            carriers=carriers, serials=serials, group_size=group_size, pack_size=self._pack_size,
            allow_same_filesystem=not self._options.loop, rehearsal=True,
            accept_carrier_risk=self._options.plan is not None,  # the plan states what it survives
        )  # fmt: skip

        def tell(progress: Progress, total: int) -> None:
            what = f"packing group {progress.group}"
            self._events.progress(what, progress.source_bytes, total, progress.written)

        return packing.run(options, packing.Events(packing=tell))

    def _make_seal(self, name: str, mounts: list[str]) -> sealing.Result:
        who, scratch = self._who, self._scratch
        options = sealing.Options(
            [scratch.place(name)], scratch.place(f"{name}.toml"), who.author, who.signers, mounts=mounts
        )
        return sealing.seal(options)

    def _pack_foreign(self) -> str:
        """A small shipment of the same sender; the mount of one of its drives."""
        scratch = self._scratch
        source = scratch.place("other-corpus")
        os.mkdir(source)
        for number in range(20):
            with open(os.path.join(source, f"{number:02d}.txt"), "w", encoding="ascii") as file:
                file.write(f"another shipment, file {number}\n" * 100)
        mounts = scratch.drives(2, name="other", loop_bytes=LOOP_MINIMUM if self._options.loop else 0)
        self._pack_shipment("others", source, mounts, dict(zip(mounts, CARRIERS, strict=False)), 2, 1)
        self._make_seal("others", mounts)
        return mounts[0]

    # --- scenes ---

    def play(self, scene: Scene) -> SceneResult:
        """One scene, from verify to the comparison."""
        with scene.play(self._voyage) as setting:
            report = self._verify(setting)
            with self._restored() as target:
                result = self._unpack(setting, target)
                compared = compare(self._source, target, passed_over=self._passed_over, partial=setting.partial)
            checks = [*_checks(scene, report, result, compared, self._everything, setting), *setting.check(report)]
        faults: dict[str, int] = {}
        for fault in report.faults:
            faults[fault.kind] = faults.get(fault.kind, 0) + 1
        return SceneResult(
            scene.name, scene.title, scene.story, setting.notes,
            report.state, exit_code(report), faults, report.bytes_read, report.read_from, report.seconds,
            result.files, result.size, result.rebuilt_blocks, result.seconds,
            compared.files, compared.size, compared.absent, compared.differences, compared.named,
            checks, setting.marks, all(check.held for check in checks),
        )  # fmt: skip

    def _verify(self, setting: Setting) -> VerifyReport:
        return verify(
            setting.mounts,
            allowed=self._allowed,
            seal=self._seal_files,
            final=setting.final,
            remember=False,
            progress=lambda p: self._events.progress("verifying", p.done, p.total, p.drives),
        )

    def _repair(self, mounts: list[str], onto: list[str]) -> RepairReport:
        tell = RepairEvents(progress=self._events.progress)
        state = self._scratch.place("verified")
        return repairing.repair(
            mounts, allowed=self._allowed, seal=self._seal_files, onto=onto, state=state, events=tell,
            allow_same_filesystem=not self._options.loop,
        )  # fmt: skip

    def _unpack(self, setting: Setting, target: str) -> unpacking.Result:
        signers = read_limited(self._who.signers, 1 << 20, "allowed signers file")
        options = unpacking.Options(setting.mounts, target, [self._who.identity], signers, self._seal_files)
        events = unpacking.Events(
            progress=lambda _files, done, total: self._events.progress("unpacking", done, total, None)
        )
        return unpacking.unpack(options, events)

    @contextlib.contextmanager
    def _restored(self) -> Iterator[str]:
        """A folder to unpack to, removed afterwards: only one restored tree takes room at a time."""
        inner = Scratch.make(self._scratch.path)
        try:
            target = inner.place("restored")
            os.mkdir(target)
            yield target
        finally:
            inner.close()

    def train(self) -> training.Training:
        """The last scene, or why it is left out."""
        if lacking := training.missing():
            told = f"not installed: {', '.join(lacking)}; pip install 'sealift[train]'"
            self._events.notice(f"training is left out: {told}")
            return training.Training(left_out=told)
        self._events.step(f"scene: {training.Training().title}")
        gone = self._voyage.lose()[1]
        here = [each.mount for each in self._voyage.drives if each not in gone]
        played = training.play(
            self._scratch, self._who, self._seal, here, [each.drive for each in gone], self._events.step,
            # of a plan's many groups, so short a run may read none that lost a drive
            rebuilds=self._planned is None
            and all(holds_data(each, self._voyage.manifests[each.group]) for each in gone),
        )  # fmt: skip
        self._events.trained(played)
        return played

    def answer(self, scenes: list[SceneResult], trained: training.Training | None) -> Rehearsal:
        """The record of it all."""
        result, status = self._result, look(self._scratch.place("ours"))
        rates = [GroupRate(g.group, g.source_bytes, g.packed_bytes + g.parity_bytes, g.seconds) for g in status.groups]
        return Rehearsal(
            shipment=result.config.shipment,
            consignment_id=result.config.consignment_id,
            rehearsal=True,
            source=self._options.source or standard_library(),
            drives_are="XFS on loop devices" if self._options.loop else "folders",
            seed=self.seed,
            files=result.files,
            source_bytes=result.source_bytes,
            packed_bytes=result.packed_bytes,
            parity_bytes=result.parity_bytes,
            stripes=sum(group.stripes for group in status.groups),
            pack_seconds=result.seconds,
            rates=rates,
            drives=[
                {"drive": d.drive, "carrier": d.carrier, "serial": _serial(d.mount), "group": str(d.group)}
                for d in sorted(self._voyage.drives, key=lambda d: (d.group, d.slot))
            ],
            changed=len(result.changed) + len(result.incomplete),
            skipped=len(result.skipped),
            scenes=scenes,
            training=trained,
            outlook=_outlook(rates, scenes),
            seconds=0.0,
            held=bool(scenes or trained)
            and all(scene.held for scene in scenes)
            and (not trained or trained.held)
            and (self._planned is None or all(check.held for check in self._planned.checks)),
            data=self.layout.data,
            parity=self.layout.parity,
            groups=self.layout.groups,
            plan=self._planned,
        )


def _outlook(rates: list[GroupRate], scenes: list[SceneResult]) -> list[Outlook]:
    """From what packing the groups and verify took here; on so little data, so that it is the most it would be."""
    seconds = sum(each.seconds for each in rates)
    found = [("packing", sum(each.source_bytes for each in rates) / max(seconds, 1e-9))]
    whole = [scene for scene in scenes if scene.name == "everything"]
    found += [("verifying", scene.bytes_read / max(scene.verify_seconds, 1e-9)) for scene in whole]
    return [
        Outlook(what, rate, {str(hosts): REFERENCE / max(rate, 1) / hosts / 86400 for hosts in HOSTS})
        for what, rate in found
    ]


def _serial(mount: str) -> str:
    return f"REHEARSAL-{os.path.basename(mount).upper()}"


def _checks(
    scene: Scene,
    report: VerifyReport,
    result: unpacking.Result,
    compared: Comparison,
    everything: int,
    setting: Setting,
) -> list[Check]:
    """What must hold in every scene; `everything` counts what was packed and is comparable."""
    code = 4 if result.failed else 6 if result.missing_groups else 2 if result.changed else 0
    codes = {0, 2} if scene.unpack_exit == 0 else {scene.unpack_exit}
    verdict, wanted = (report.state, exit_code(report)), (scene.state, scene.exit_code)
    same = "every restored file, mode, time and link is as in the source"
    checks = [
        Check(f"verify says {scene.state}, exit {scene.exit_code}", verdict == wanted),
        Check("every manifest is signed by an allowed signer", report.signature.ok),
        Check(f"unpack ends with exit {scene.unpack_exit}", code in codes),
        Check("no file fails to restore", not result.failed),
        Check(same, compared.differences == 0 and compared.leaves > 0),
    ]
    if setting.partial:
        what = "the files of the other groups are restored, those of the withheld one are told"
        told = bool(result.missing_groups) and compared.absent > 0
        checks.append(Check(what, told and compared.leaves + compared.absent == everything))
    else:
        checks.append(Check("every file of the source is restored", compared.leaves == everything))
    if setting.rebuilds is not None:
        what = "blocks are rebuilt on the way" if setting.rebuilds else "nothing needs to be rebuilt"
        checks.append(Check(what, (result.rebuilt_blocks > 0) == setting.rebuilds))
    return checks
