"""The papers of an erasure: its log, which is there before anything else, and its certificate, which comes last.

What holds: names are SERIAL-TIME, so that nothing is ever overwritten; characters of a serial number that a name should
not have are replaced, and a digest of the number follows then. A log without a certificate beside it is an erasure
that was not finished, or failed.

What is not here: erasing.
"""

from __future__ import annotations

import glob
import os
import platform
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from blake3 import blake3

from sealift import __version__
from sealift.drives import sanitize
from sealift.drives.device import Log
from sealift.errors import BadInput, FormatError, Refused
from sealift.formats.manifest import FileRef
from sealift.stages import erase_known
from sealift.trade import certificate as certificates
from sealift.trade import erasure, signing
from sealift.trade.certificate import (
    Certificate,
    Completion,
    Delivery,
    HoldCheck,
    HoldStatement,
    Media,
    Person,
    Tool,
    Verification,
)
from sealift.trade.receipt import TIME

if TYPE_CHECKING:
    from sealift.drives.block import Disk
    from sealift.formats.smart import Health
    from sealift.stages.erase import Plan
    from sealift.stages.erase_papers import Papers
    from sealift.trade.certificate import Method
    from sealift.trade.signing import Signer

_STEM_TIME = "%Y%m%dT%H%M%SZ"
_SIZES = (0.9, 1.1)  # of the declared capacity: makers round
_HARM = ("reallocated", "pending", "uncorrectable", "grown_defects", "media_errors")  # counts of smart.Health


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Who does it, with which key, and where the papers go."""

    signer: Signer
    folder: str
    method: Method
    name: str
    title: str
    place: str
    contact: str
    destination: str = ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the process of a drive says at its end; `fault`: why there is no certificate."""

    tool: str = ""  # version
    confirmed_by: str = ""
    answer: str = ""
    places: int = 0
    read_bytes: int = 0
    markers: int = 0
    begun: datetime | None = None
    ended: datetime | None = None
    fault: str | None = None
    hint: str | None = None
    refused: bool = False


class Job(NamedTuple):
    """An erasure that has begun: its log, open; `since` is monotonic; `health` is what the drive said before."""

    path: str
    descriptor: int
    disk: Disk
    since: float
    health: Health


def stem(serial: str) -> str:
    """The beginning of the names of a drive's papers."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", serial).strip("._")[-64:]
    return plain if plain == serial else f"{plain or 'drive'}-{blake3(serial.encode()).hexdigest()[:8]}"


def unfinished(folder: str, serial: str) -> list[str]:
    """Logs of erasures of this drive beside which there is no certificate, oldest first."""
    found = sorted(
        glob.glob(os.path.join(glob.escape(folder), f"{glob.escape(stem(serial))}-????????T??????Z.log.jsonl"))
    )
    return [path for path in found if not is_certified(path)]


def is_certified(log: str) -> bool:
    """Whether the certificate of this log was written to its end: its signature is the last that gets its name."""
    return os.path.lexists(certificate_of(log) + ".sig")


def certificate_of(log: str) -> str:
    """Where the certificate lies, if there is one."""
    return log.removesuffix(".log.jsonl") + ".certificate.json"


def check_folder(folder: str) -> None:
    """Whether certificates can be written into a folder, or it can be made; nothing is made. BadInput."""
    there = os.path.abspath(folder)
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    if not os.path.isdir(there):
        raise BadInput(f"--certificates {folder}: {there} is not a directory")
    if not os.access(there, os.W_OK):
        raise BadInput(f"--certificates {folder}: nothing can be written there")


def open_folder(folder: str) -> None:
    """Make the folder of the certificates, if it is not there. BadInput."""
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise BadInput(f"--certificates {folder}: {(error.strerror or str(error)).lower()}") from error


def check(plan: Plan, disk: Disk, health: Health, papers: Papers, settings: Settings) -> None:
    """Make the certificate that there would be, before a byte is written. BadInput: it could not be made."""
    now = datetime.now(UTC)
    size = disk.device.size
    outcome = Outcome(
        tool="1", confirmed_by="x", answer="x", places=1, read_bytes=size if plan.read_back == "full" else 1, markers=1,
        begun=now, ended=now,
    )  # fmt: skip
    log = FileRef(bytes=0, blake3="0" * 64)
    try:
        certificates.encode(_record(plan, disk, health, outcome, papers, settings, log))
    except FormatError as error:
        raise BadInput(f"{disk.name}: its certificate could not be made: {error}; nothing was written") from error


def begin(plan: Plan, disk: Disk, health: Health, papers: Papers, settings: Settings) -> Job:
    """Make the log and its first line, and note it. BadInput: it is there already, or cannot be made."""
    erase_known.writable()
    now = datetime.now(UTC)
    path = os.path.join(settings.folder, f"{stem(plan.serial)}-{now.strftime(_STEM_TIME)}.log.jsonl")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        folder = os.open(settings.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        os.fsync(folder)
        os.close(folder)
    except FileExistsError as error:
        raise BadInput(
            f"{path} is there already, of an erasure that began in the same second; nothing was written to a drive",
            hint="run it again: every erasure has a log of its own, named by the second in which it began",
        ) from error
    except OSError as error:
        raise BadInput(f"{path}: {(error.strerror or str(error)).lower()}; nothing was written to a drive") from error
    Log(descriptor).note(
        "begun",
        sealift=__version__,
        drive=disk.name,
        serial=plan.serial,
        device=disk.node,
        model=disk.model,
        size_bytes=disk.device.size,
        medium=erase_known.medium_mark(disk),
        told_by=plan.told_by,
        technique=plan.technique,
        command=plan.command,
        health=msgspec.to_builtins(health),
        receipts=[msgspec.to_builtins(receipt.file) for receipt in papers.receipts],
        unfinished=[os.path.basename(each) for each in plan.unfinished],
    )
    try:
        erase_known.remember(path)
    except BadInput:
        os.close(descriptor)
        raise
    return Job(path, descriptor, disk, time.monotonic(), health)


def certify(plan: Plan, job: Job, outcome: Outcome, papers: Papers, settings: Settings) -> tuple[str, str]:
    """Write the certificate, its signature and its text; path and validation. KeyInvalid, BadInput, FormatError."""
    record = _record(plan, job.disk, job.health, outcome, papers, settings, _log(job))
    data = certificates.encode(record)
    path = certificate_of(job.path)
    signature = settings.signer.sign(data, certificates.NAMESPACE)
    text = certificates.as_text(record, os.path.basename(path))
    signing.write_new(path.removesuffix(".json") + ".txt", text.encode())
    signing.write_pair(path, data, signature)
    return path, record.validation


def _record(
    plan: Plan, disk: Disk, health: Health, outcome: Outcome, papers: Papers, settings: Settings, log: FileRef
) -> Certificate:
    if outcome.begun is None or outcome.ended is None:
        raise Refused("an erasure without beginning and end is not certified")
    way = sanitize.TECHNIQUES[plan.technique or ""]
    first = papers.receipts[0].record
    reasons = _reasons(plan, disk, health, way) + doubts(plan.serial, disk, papers, stated=plan.stated)
    return Certificate(
        shipment=first.shipment,
        consignment_id=first.consignment_id,
        rehearsal=first.rehearsal,
        media=_media(plan, disk, papers),
        method=way.method,
        technique=way.name,
        standard=way.standard,
        tool=Tool(
            name=way.tool or "Linux",
            version=outcome.tool or platform.release(),
            sealift=__version__,
        ),
        begun_at=outcome.begun.strftime(TIME),
        ended_at=outcome.ended.strftime(TIME),
        completion=Completion(confirmed_by=outcome.confirmed_by, answer=outcome.answer),
        verification=Verification(
            mode=plan.read_back,
            places=outcome.places,
            bytes=outcome.read_bytes,
            of_bytes=disk.device.size,
            expected="zeros" if way.zeros else "nothing of before",
            markers=outcome.markers,
        ),
        validation="escalate" if reasons else "accept",
        validation_reasons=reasons,
        not_checked=_not_checked(plan, disk, health, way, outcome),
        people=[
            Person(
                name=settings.name,
                title=settings.title,
                date=outcome.ended.strftime(TIME),
                place=settings.place,
                contact=settings.contact,
            )
        ],
        destination=settings.destination,
        delivery_verified=_delivery(plan, papers),
        legal_hold_checked=_holds(papers),
        log=log,
    )


def _media(plan: Plan, disk: Disk, papers: Papers) -> Media:
    first = papers.receipts[0].record
    rows = [row for each in papers.declarations for row in each.declaration.drives if row.serial == plan.serial]
    kind = "loop device" if disk.device.kind == "loop" else "hard disk" if disk.device.rotational else "solid state"
    which = "named in no receipt"
    if plan.named is not None:
        drive = plan.named.drive
        which = f"{drive.id}, drive {drive.number} of {first.drives_total}"
    return Media(
        manufacturer=rows[0].make[:256] if rows else disk.device.vendor or "",
        model=disk.model or (rows[0].model[:256] if rows else ""),
        serial=plan.serial,
        serial_from=plan.told_by,
        firmware=disk.device.firmware or "",
        kind=kind,  # type: ignore[arg-type]
        size_bytes=disk.device.size,
        source=f"shipment {first.shipment}, consignment {first.consignment_id}: {which}",
    )


def _reasons(plan: Plan, disk: Disk, health: Health, way: sanitize.Technique) -> list[str]:
    """What somebody should look at before the drive goes anywhere."""
    found = []
    counts = [f"{health.counts[name]:,} {name}" for name in _HARM if health.counts.get(name)]
    if way.method == "clear" and counts:
        found.append(f"it was cleared, and has sectors that no overwrite reaches: {', '.join(counts)}")
    if health.verdict == "failing":
        found.append(f"it says of itself that it is failing: {health.why}"[:1000])
    if plan.told_by == "label":
        found.append(_only_a_label(plan))
    if plan.stated and disk.serial is not None:
        found.append(f"its label says {plan.serial}, and it tells the serial number {disk.serial}")
    return found


def doubts(serial: str, disk: Disk, papers: Papers, *, stated: bool) -> list[str]:
    """Why it may be another drive than the one of that serial number, or where that one has been is not known.

    `stated`: the drive does not tell its serial number itself.
    """
    never = erasure.never_read(serial, papers.receipts)
    return ([never] if never else []) + (other_medium(serial, disk, papers) if stated else [])


def other_medium(serial: str, disk: Disk, papers: Papers) -> list[str]:
    """Of a drive that tells no serial number itself: that it is not as large as the one that was declared."""
    declared = [row for each in papers.declarations for row in each.declaration.drives if row.serial == serial]
    if not declared or _SIZES[0] <= disk.device.size / declared[0].capacity_bytes <= _SIZES[1]:
        return []
    sizes = f"{disk.device.size:,} bytes, and {serial} is declared with {declared[0].capacity_bytes:,}"
    return [f"it does not tell its serial number itself, and has {sizes}: it may be another one"]


def _only_a_label(plan: Plan) -> str:
    before = "; what stood on it before is not known"
    if plan.unfinished:
        names = ", ".join(os.path.basename(each) for each in plan.unfinished[-3:])
        before = f"; an erasure under this serial number was begun before ({names}), and what stood on it may be gone"
    return f"nothing but a person's reading of its label says that this is {plan.serial}{before}"[:1000]


def _not_checked(plan: Plan, disk: Disk, health: Health, way: sanitize.Technique, outcome: Outcome) -> list[str]:
    lines = []
    if outcome.read_bytes < disk.device.size:
        lines.append(f"{disk.device.size - outcome.read_bytes:,} bytes outside the places that were read back")
    if way.method == "clear":
        lines.append("what no address reaches: sectors that were reallocated, flash that is spare or worn out")
        if disk.device.kind != "loop":
            lines.append("what the drive hides: a host protected area, or a capacity that was cut")
    else:
        lines.append("that the drive does what it says, beyond its own word and the places that were read back")
    if way.name.endswith("-crypto"):
        lines.append("how the drive makes its keys, and that all data was under them")
    if disk.device.kind == "loop":
        lines.append("the medium beneath the file of the loop device")
    if plan.stated:
        lines.append(
            "that the serial number in the drive.json that stood on it is the medium's own"
            if plan.told_by == "contents"
            else "that the serial number on the label is the drive's own"
        )
    if health.verdict == "unknown":
        lines.append(f"the drive's health: {health.why}"[:1000])
    return [
        *lines,
        "copies of the data in other places",
        "a legal hold that none of the declarations named here states",
    ]


def _delivery(plan: Plan, papers: Papers) -> Delivery:
    """The receipt of the drive's group; of a drive that none names, the newest: they cover the shipment together."""
    newest = max(papers.receipts, key=lambda each: each.record.at)
    receipt, group, state = newest, None, "intact"
    if plan.named is not None:
        receipt, group, state = plan.named.receipt, plan.named.group.group, plan.named.group.state
    elif any(group.state == "rebuilt" for each in papers.receipts for group in each.record.groups):
        state = "rebuilt"
    return Delivery(
        receipt=receipt.file, at=receipt.record.at, group=group, state=state,  # type: ignore[arg-type]
        signer=receipt.principal, fingerprint=receipt.fingerprint,
    )  # fmt: skip


def _holds(papers: Papers) -> HoldCheck:
    return HoldCheck(
        at=papers.now.strftime(TIME),
        declarations=[
            HoldStatement(
                declaration=FileRef(bytes=len(each.declaration.raw), blake3=each.declaration.digest),
                legal_hold=each.declaration.legal_hold.strip(),  # type: ignore[arg-type]
                released=each.release is not None,
            )
            for each in papers.declarations
        ],
    )


def _log(job: Job) -> FileRef:
    """Length and digest of the log as it is now: nothing comes after."""
    with open(job.path, "rb") as file:
        data = file.read(certificates.MAX_LOG + 1)
    return FileRef(bytes=len(data), blake3=blake3(data).hexdigest())
