"""Erase drives whose data has verifiably arrived, and certify each: all at once, a process a drive.

What holds:

1. Drives are named, found, shown and confirmed as `sealift drives prepare` does it (drives_prepare.py): whole names,
   nothing that is mounted, held, or this host's own; and looked at again right before.
2. Nothing is written before trade/erasure.py has no objection to any of the drives. Receipts and releases are checked
   against the allowed signers, and the key of the certificates has signed, before that.
3. A drive that tells no serial number is the one whose drive.json stands on it, or stood there when it was begun to be
   erased, and which was not pulled since. Where there is none, a person's word is all there is: it is erased, and its
   certificate is escalated; without one it is refused. A name is never taken for a serial number. One medium is not
   erased as two drives, whatever folder its first certificate is in.
4. What stands on a drive must be of the receipts' shipment, or nothing. A drive that was given to somebody else since,
   or on which nobody can see what it is, is refused here: `drives prepare` is where such is given up by name.
5. The way is the strongest that reaches the method asked for. None that is weaker is taken in its place.
6. A certificate is written when three things are there: the drive's own word that it is done (drives/sanitize.py), what
   was read back (drives/readback.py), and that it still is the drive that was shown. Otherwise there is only the log.
7. The log is there before the first byte is written, and grows as things happen. An erase that was stopped is told by
   its log, which has no certificate beside it; the next one of that drive names it, and begins anew.

What is not here: words and exit codes.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from sealift.drives import apart, block, sanitize
from sealift.drives.device import DEVICE, Log, Logged, OpenDevice
from sealift.drives.readback import Witness
from sealift.errors import BadInput, DriveFault, Interrupted, Refused, SealiftError
from sealift.formats import typed
from sealift.formats.sizes import counted
from sealift.stages import drives_prepare, erase_certify, erase_known
from sealift.stages.erase_certify import Job, Outcome
from sealift.trade import erasure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sealift.drives.block import Disk
    from sealift.drives.sanitize import Family, Technique
    from sealift.stages.drives_prepare import Candidate
    from sealift.stages.erase_certify import Settings
    from sealift.stages.erase_known import Before
    from sealift.stages.erase_papers import Papers
    from sealift.trade.certificate import Method
    from sealift.trade.erasure import Named

    Progress = Callable[
        [dict[str, int], dict[str, int]], None
    ]  # by name: bytes done, and in all, of writing and reading

ReadBack = Literal["sample", "full"]
ToldBy = Literal["drive", "contents", "label"]
PATIENCE = 180.0  # seconds in which the process of a drive says nothing
_LIMIT = 1 << 16
_SAY = 0.2  # seconds


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What would be done to one drive; `objections` is why it is not."""

    candidate: Candidate
    serial: str  # empty: nobody says it, and it is refused
    told_by: ToldBy  # who says that it is the drive of that serial number
    named: Named | None  # where a receipt names it
    technique: str | None
    command: list[str]  # that erases; empty where this program does it by itself
    read_back: ReadBack
    unfinished: list[str]  # logs of erasures of this drive that ended without a certificate
    doubts: list[str]  # why it may be another drive than that one, or where that one was; the certificate says so, too
    objections: list[str]

    @property
    def disk(self) -> Disk:
        """The drive."""
        return self.candidate.disk

    @property
    def stated(self) -> bool:
        """Whether the serial number is another's word than the drive's own."""
        return self.told_by != "drive"


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a drive; `fault` is why there is no certificate, and `refused` that nothing was written."""

    name: str
    serial: str
    log: str | None
    certificate: str | None
    validation: str | None
    bytes_read_back: int
    seconds: float
    fault: str | None = None
    hint: str | None = None
    refused: bool = False


# --- looking ---------------------------------------------------------------------------------------------


def survey(
    names: Sequence[str],
    papers: Papers,
    *,
    method: Method,
    technique: str | None = None,
    read_back: ReadBack = "sample",
    serials: Mapping[str, str] | None = None,
    folder: str | None = None,
    seconds: float = block.SECONDS,
) -> list[Plan]:
    """What would be done to the drives of these names; nothing is written. BadInput: no such drive, or not root.

    `serials` is by name: what the label says, of a drive that tells no serial number, or its enclosure's; `folder`
    where certificates are, to see what was not finished.
    """
    stated = dict(serials or {})
    candidates = drives_prepare.survey(names, seconds=seconds)
    if unknown := sorted(stated.keys() - {candidate.disk.name for candidate in candidates}):
        raise BadInput(f"--serial {unknown[0]}=...: no drive of that name is to be erased")
    if paths := [serial for serial in stated.values() if serial.startswith("/")]:
        raise BadInput(f"--serial ...={paths[0]}: that is a path, and no serial number", hint="what its label says")
    known = [erase_known.before(folder, each.disk) for each in candidates]
    numbers = [
        stated.get(each.disk.name) or each.disk.serial or by_contents(each, papers, before)
        for each, before in zip(candidates, known, strict=True)
    ]
    if twice := [number for number in numbers if number and numbers.count(number) > 1]:
        raise BadInput(f"two drives are given the serial number {twice[0]}", hint="read the labels again")
    answers = apart.run(
        [partial(_ask, each.disk, free=not each.refusals) for each in candidates], seconds=seconds, limit=_LIMIT
    )
    plans = []
    for candidate, answer, serial, before in zip(candidates, answers, numbers, known, strict=True):
        can, trouble = _heard(answer)
        way, why = (None, trouble) if can is None else choose(can, method, technique, read_back)
        why = why or (another(candidate.disk, can) if can else None)
        objections = [*candidate.refusals, *objections_to(candidate, serial, papers)]
        objections += [why] if why and not candidate.refusals else []
        told_by = identified(candidate, serial, papers, before)
        if told_by != "drive" and serial:
            objections += [*_as_another(serial, before), *_as_another_place(candidate, serial, papers)]
        plans.append(
            Plan(
                candidate=candidate,
                serial=serial,
                told_by=told_by,
                named=erasure.find(serial, papers.receipts),
                technique=way.name if way else None,
                command=_shown(way, can, candidate.disk) if way and can else [],
                read_back="full" if way and way.whole else read_back,
                unfinished=erase_certify.unfinished(folder, serial) if folder and serial else [],
                doubts=erase_certify.doubts(serial, candidate.disk, papers, stated=told_by != "drive"),
                objections=objections,
            )
        )
    return plans


def _ask(disk: Disk, descriptor: int, *, free: bool) -> None:
    """In a process of its own: what the drive can be asked; a drive that is refused is left alone."""
    if not free:
        return
    try:
        device = OpenDevice(disk, only_ask=True)
        said: dict[str, Any] = {"can": sanitize.abilities(device, family(disk), discards=discards(disk))}
    except (SealiftError, OSError) as error:
        said = {"why": str(error)}
    os.write(descriptor, msgspec.json.encode(said))


def _heard(answer: apart.Answer) -> tuple[sanitize.Abilities | None, str | None]:
    if answer.trouble or not answer.output:
        return None, answer.trouble
    said = msgspec.json.decode(answer.output)
    if "why" in said:
        return None, said["why"]
    return typed.convert(said["can"], sanitize.Abilities), None


def another(disk: Disk, can: sanitize.Abilities) -> str | None:
    """Whether the commands reach another drive than the kernel names: a controller may stand in between."""
    told, asked = ("".join((each or "").replace("_", " ").split()) for each in (disk.serial, can.serial))
    if told and asked and told != asked:
        return f"its own commands reach a drive with the serial number {can.serial}"
    return None


def _shown(way: Technique, can: sanitize.Abilities, disk: Disk) -> list[str]:
    return [disk.node if word == DEVICE else word for word in sanitize.words(way, can)]


def family(disk: Disk) -> Family:
    """Whose commands the drive takes. A SATA drive behind a SAS controller tells ATA as its vendor."""
    if disk.device.kind != "disk":
        return "other"
    if disk.device.kernel.startswith("nvme"):
        return "nvme"
    return "ata" if disk.device.transport in {"sata", "ata"} or disk.device.vendor == "ATA" else "other"


def discards(disk: Disk) -> bool:
    """Whether the kernel passes discards on to it."""
    try:
        with open(f"/sys/class/block/{disk.device.kernel}/queue/discard_max_bytes", encoding="ascii") as file:
            return int(file.read(32)) > 0
    except (OSError, ValueError):
        return False


def choose(
    can: sanitize.Abilities, method: Method, technique: str | None, read_back: ReadBack
) -> tuple[Technique | None, str | None]:
    """The way to be taken; or None, and why there is none."""
    able = [sanitize.TECHNIQUES[name] for name in can.techniques]
    fit = [each for each in able if each.method == method and technique in {None, each.name}]
    if not fit:
        reasons = "; ".join(can.why)
        if technique is not None and technique in can.techniques:
            return None, f"{technique} reaches {sanitize.TECHNIQUES[technique].method}, and not {method}"
        wanted = technique or method
        less = [each for each in able if each.method == "clear"] if wanted == "purge" else []
        hint = f"; --method clear can ({less[0].name})" if less else ""
        return None, f"{wanted} cannot be had of it" + (f": {reasons}" if reasons else "") + hint
    if read_back == "full" and not fit[0].zeros:
        return None, f"after {fit[0].name} anything may be on it, so there is nothing to compare every byte with"
    return fit[0], None


def objections_to(candidate: Candidate, serial: str, papers: Papers) -> list[str]:
    """By the papers, and by what stands on the drive."""
    found, bears = [], None
    named = erasure.find(serial, papers.receipts)
    for loss in candidate.losses:
        row, known = loss.row, loss.row.sealift
        if known is not None and known.shipment is not None:
            bears = bears or known.shipment
            if known.shipment != bears:
                found.append(f"it says that it is of two shipments, {bears} and {known.shipment}")
            elif named is not None and bears == named.receipt.record.shipment and known.drive != named.drive.id:
                found.append(f"it says that it is {known.drive}; the receipt has {serial} as {named.drive.id}")
        elif known is not None or row.trouble:
            why = known.why if known is not None else row.trouble
            found.append(f"nobody can see whose data is on {row.device}: {why}")
        elif loss.entries:
            names = counted(loss.entries, "name")
            found.append(f"on {row.device} are other things than this shipment, {names} in its root")
    why = erasure.objection(serial, papers.receipts, papers.declarations, papers.now, bears=bears, beside=papers.beside)
    return [*([why] if why else []), *found]


def identified(candidate: Candidate, serial: str, papers: Papers, before: Sequence[Before] = ()) -> ToldBy:
    """Who says that this is the drive of `serial`: itself, what is packed on it, or only the person who read a label.

    `contents`: packed and filled, of the receipts' shipment, this serial number and, where a receipt names it, its
    place; or it was so by the log of an erasure of this medium, `before`, since when it was not pulled.
    """
    if candidate.disk.serial == serial:
        return "drive"
    named = erasure.find(serial, papers.receipts)
    shipments = {each.record.shipment for each in papers.receipts}
    for loss in candidate.losses:
        known = loss.row.sealift
        if known is None or known.shipment not in shipments or known.serial != serial or not known.filled:
            continue  # a drive.json alone, or the small files, can be copied to anything
        if named is None or known.drive == named.drive.id:
            return "contents"
    seen = [each for each in before if each.attached and each.told_by == "contents" and each.serial == serial]
    return "contents" if seen else "label"


def by_contents(candidate: Candidate, papers: Papers, before: Sequence[Before]) -> str:
    """The serial number that `identified` would say `contents` of, for a drive that tells none; empty: none, or two."""
    on_it = [loss.row.sealift.serial for loss in candidate.losses if loss.row.sealift is not None]
    said = {each for each in [*on_it, *(each.serial for each in before)] if each}
    found = [each for each in said if identified(candidate, each, papers, before) == "contents"]
    return found[0] if len(found) == 1 else ""


def _as_another_place(candidate: Candidate, serial: str, papers: Papers) -> list[str]:
    """That a drive of the shipment is given a serial number which no receipt names, beside the one that one does."""
    if erasure.find(serial, papers.receipts) is not None:
        return []
    for loss in candidate.losses:
        known = loss.row.sealift
        if known is None or known.serial in {None, serial} or known.shipment != papers.receipts[0].record.shipment:
            continue
        named = erasure.find(known.serial or "", papers.receipts)
        if named is not None and named.drive.id == known.drive:
            return [f"it says that it is {known.drive}, which the receipt has as {known.serial}; none names {serial}"]
    return []


def _as_another(serial: str, before: Sequence[Before]) -> list[str]:
    """That this very medium was erased as another drive before: a label was misread, or moved."""
    for each in before:
        if each.serial != serial:
            return [f"this medium was erased as {each.serial} before ({each.log}), and cannot be {serial} as well"]
    return []


def check(plans: Sequence[Plan], *, yes: Sequence[str]) -> None:
    """Refused unless every drive may be erased and was confirmed; BadInput for a word that fits nothing here."""
    names = {plan.disk.name for plan in plans}
    if unknown := [word for word in yes if word not in names]:
        of = next((plan.disk.name for plan in plans if plan.serial == unknown[0]), None)
        if of is not None:
            why = f"--yes {unknown[0]}: that is the serial number on its label; --yes repeats the drive's name"
            raise BadInput(why, hint=f"--yes {of}")
        raise BadInput(f"--yes {unknown[0]}: no drive of that name is to be erased", hint="--yes repeats a name")
    refused = [f"{plan.disk.name}: {why}" for plan in plans for why in plan.objections]
    if refused:
        hint = "nothing goes around it"
        if any("nobody can see" in why or "other things" in why for why in refused):
            hint = "`sealift drives prepare` gives a drive up by name on which something else stands"
        elif any("purge cannot be had" in why for why in refused):
            hint = "nothing goes around it; --method clear asks for less than a purge"
        elif any("stand on one file" in why for why in refused):
            hint = "losetup -d takes a loop device away: one medium is one drive"
        elif any("as well" in why for why in refused):
            hint = "read the label again; the certificate that is there is of this medium"
        elif nameless := [plan.disk.name for plan in plans if not plan.serial]:
            hint = f"--serial {nameless[0]}=SERIAL says what its label reads"
        raise Refused("\n  ".join(["nothing was written; these drives are not erased:", *refused]), hint=hint)
    if missing := sorted(names - {*yes}):
        words = " ".join(f"--yes {name}" for name in missing)
        raise Refused("nothing was written: not every drive was confirmed", hint=f"the same command with {words}")


# --- erasing ---------------------------------------------------------------------------------------------


def erase(
    plans: Sequence[Plan],
    papers: Papers,
    settings: Settings,
    *,
    progress: Progress | None = None,
    patience: float = PATIENCE,
    seconds: float = block.SECONDS,
) -> list[Erased]:
    """Erase all drives at once, and write a certificate for each as soon as it is done. Call after `check`.

    Refused, and nothing written to any, where one is not as it was shown. Interrupted: it says which were begun.
    """
    settings.signer.prove()
    disks = drives_prepare.look_again([plan.candidate for plan in plans], seconds=seconds)
    work = list(zip(plans, disks, block.health(disks, seconds=seconds), strict=True))
    for each in work:
        erase_certify.check(*each, papers, settings)
    erase_certify.open_folder(settings.folder)
    jobs = [erase_certify.begin(*each, papers, settings) for each in work]
    keeper = _Keeper(plans, papers, settings, jobs, progress)
    try:
        answers = apart.run(
            [partial(_erase, plan, disk, job.descriptor) for plan, disk, job in zip(plans, disks, jobs, strict=True)],
            seconds=patience,
            limit=1,
            heard=keeper.heard,
            together=max(1, len(jobs)),
        )
        for place, answer in enumerate(answers):
            keeper.over(place, answer)
    except KeyboardInterrupt as stop:
        raise keeper.stopped() from stop
    finally:
        for job in jobs:
            os.close(job.descriptor)
    return [each for each in keeper.erased if each is not None]


class _Keeper:
    """Hears the processes of the drives, and keeps what came of each."""

    def __init__(
        self,
        plans: Sequence[Plan],
        papers: Papers,
        settings: Settings,
        jobs: Sequence[Job],
        progress: Progress | None,
    ) -> None:
        self._plans, self._papers, self._settings, self._jobs = plans, papers, settings, jobs
        self._progress = progress
        self._rests = [b""] * len(plans)
        self._done: dict[str, int] = {}
        self._total: dict[str, int] = {}
        self.erased: list[Erased | None] = [None] * len(plans)

    def heard(self, place: int, said: bytes) -> None:
        *lines, self._rests[place] = (self._rests[place] + said).split(b"\n")
        for line in lines:
            words = msgspec.json.decode(line)
            if "step" in words:
                name = self._plans[place].disk.name
                self._done[name], self._total[name] = words["done"], words["total"]
                if self._progress is not None:
                    self._progress(self._done, self._total)
            else:
                self._end(place, typed.convert(words, Outcome))

    def _end(self, place: int, outcome: Outcome) -> None:
        """Certify, at once: what other drives do later must not take it away."""
        plan, job = self._plans[place], self._jobs[place]
        certificate = validation = None
        fault, hint = outcome.fault, outcome.hint
        if fault is None:
            try:
                certificate, validation = erase_certify.certify(plan, job, outcome, self._papers, self._settings)
            except (SealiftError, OSError) as error:
                fault = f"{plan.disk.name}: it is erased, and its certificate could not be written: {error}"
                hint = "the same command again erases it once more, and certifies that"
        self.erased[place] = Erased(
            name=plan.disk.name, serial=plan.serial, log=job.path, certificate=certificate, validation=validation,
            bytes_read_back=outcome.read_bytes, seconds=round(time.monotonic() - job.since, 3), fault=fault, hint=hint,
            refused=outcome.refused,
        )  # fmt: skip

    def over(self, place: int, answer: apart.Answer) -> None:
        """A process that ended; where it left without a word, why."""
        if self.erased[place] is None:
            why = answer.trouble or "its process ended by itself"
            Log(self._jobs[place].descriptor).note("stopped", why=why)
            name = self._plans[place].disk.name
            self._end(place, Outcome(fault=f"{name}: {why}; what was on it is gone, or a part of it"))

    def stopped(self) -> Interrupted:
        """What an interruption left, which may have come after a certificate was written and before that was noted."""
        done, begun = [], []
        for plan, job, each in zip(self._plans, self._jobs, self.erased, strict=True):
            if erase_certify.is_certified(job.path):
                done.append(plan.disk.name)
                continue
            begun.append(plan)
            if each is None:
                Log(job.descriptor).note("stopped", why="interrupted")
        if not begun:
            return Interrupted(f"interrupted when all was done and certified: {', '.join(done)}")
        names = ", ".join(plan.disk.name for plan in begun)
        itself = any((plan.technique or "").startswith(("nvme-", "ata-")) for plan in begun)
        words = [
            f"interrupted while erasing {names}: NOT erased, no certificate; what was on them is gone, or a part of it",
            *(["a sanitize operation or security erase that a drive has begun goes on inside it"] if itself else []),
            *([f"done and certified before: {', '.join(done)}"] if done else []),
            "the same command, of the drives that are not certified, begins anew",
        ]
        return Interrupted("; ".join(words))


def _erase(plan: Plan, disk: Disk, log: int, descriptor: int) -> None:
    """In the process of the drive: a line for every bit of progress, and one for the outcome."""
    notes = Log(log)
    try:
        outcome = _work(plan, disk, notes, descriptor)
    except Refused as error:
        outcome = Outcome(fault=str(error), hint=error.hint, refused=True)
    except (SealiftError, OSError) as error:
        outcome = Outcome(fault=f"{disk.name}: {error}", hint=getattr(error, "hint", None))
    notes.note("end", **msgspec.to_builtins(outcome))
    os.write(descriptor, msgspec.json.encode(outcome) + b"\n")


def _work(plan: Plan, disk: Disk, notes: Log, descriptor: int) -> Outcome:
    opened = OpenDevice(disk)
    device = Logged(opened, notes)
    way = sanitize.TECHNIQUES[plan.technique or ""]
    can = sanitize.abilities(device, family(disk), discards=discards(disk))
    why = another(disk, can) if way.name in can.techniques else f"{way.name} cannot be had of it any more"
    if why is not None:
        raise DriveFault(f"{why}; nothing was written", drive=disk.name)
    try:
        outcome = run(device, way, can, notes, whole=plan.read_back == "full", say=_Teller(descriptor))
    except DriveFault as error:
        if not device.written:
            raise
        raise DriveFault(
            f"{error}; what was on it is gone, or a part of it", drive=disk.name, hint=error.hint
        ) from error
    opened.forget_partitions()
    return outcome


class _Teller:
    """Writes progress for the parent to hear, now and then."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._last = descriptor, float("-inf")

    def __call__(self, step: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last > _SAY:
            self._last = now
            os.write(self._descriptor, msgspec.json.encode({"step": step, "done": done, "total": total}) + b"\n")


def run(
    device: Logged,
    way: Technique,
    can: sanitize.Abilities,
    notes: Log,
    *,
    whole: bool,
    say: Callable[[str, int, int], None] = lambda _step, _done, _total: None,
    pause: float = sanitize.POLL,
) -> Outcome:
    """Mark, erase, have it confirmed, and read back: all that is done to a drive, whatever stands behind `device`.

    DriveFault: it is not erased, or nobody can say that it is.
    """
    tool = sanitize.version(device, way)
    if way.tool and tool is None:
        raise DriveFault(f"{way.tool} does not say which version it is; nothing was written", drive=device.node)
    witness = Witness(device.size)
    before = sum(place.length for place in witness.places) if not way.zeros else 0
    after = device.size if whole else sum(place.length for place in witness.places)
    total = before + device.size + after
    begun = datetime.now(UTC)
    sanitize.prepare(
        device, way, lambda part: say("waiting for the drive", int(part * device.size), total), pause=pause
    )
    notes.note("places", seed=witness.seed, places=len(witness.places), markers=len(witness.marked))
    witness.mark(device, remember=not way.zeros, say=lambda done: say("marking", done, total))
    completion = sanitize.run(
        device, way, can, lambda part: say("erasing", before + int(part * device.size), total), pause=pause
    )
    read = witness.look(
        device, zeros=way.zeros, whole=whole, say=lambda done: say("reading back", before + device.size + done, total)
    )
    if differs := device.same():
        raise DriveFault(f"{differs}: nobody knows what was erased", drive=device.node)
    return Outcome(
        tool=tool or "", confirmed_by=completion.confirmed_by, answer=completion.answer, places=read.places,
        read_bytes=read.bytes, markers=len(witness.marked), begun=begun, ended=datetime.now(UTC),
    )  # fmt: skip
