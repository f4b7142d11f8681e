"""What inspect and verify answer: one JSON object each, which another host joins with --part.

What holds: `read_part` takes only what `encode` writes of these records (unknown keys, wrong types, numbers
out of range and texts over their limits are refused), so a report can stand for another host's drives. It is
not signed: whoever hands it over is believed as somebody who reads out a screen is. Keys may be added in
later versions.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from sealift.drives.base import MEDIUM_FAILED
from sealift.errors import BadInput, FormatError
from sealift.formats import manifest as mf
from sealift.formats import typed
from sealift.formats.manifest import MAX_DRIVES, MAX_STRIPES, Count, Hex32, ShipmentId
from sealift.formats.seal import Shortfall  # noqa: TC001 -- msgspec reads it when it runs
from sealift.reading.survey_views import ProblemKind  # noqa: TC001 -- msgspec reads it when it runs
from sealift.stages.verify_verdict import LAST
from sealift.trade.receipt import ReadFrom, TimeText, instant

if TYPE_CHECKING:
    from collections.abc import Sequence

VerifyState = Literal["intact", "recoverable", "unseen", "lost"]
InspectState = Literal["complete", "recoverable", "unseen", "lost"]
EXIT_CODES = {"intact": 0, "complete": 0, "recoverable": 3, "unseen": 6, "lost": 4}

MAX_PART = 256 << 20
MAX_FAULTS = 100_000  # of one report; what is beyond is counted, and the verdict knows of it all the same
_Words = Annotated[str, Meta(max_length=8192)]
_Block = Annotated[int, Meta(ge=0, le=LAST)]
_Stripe = Annotated[int, Meta(ge=0, le=MAX_STRIPES)]
_Slot = Annotated[int, Meta(ge=0, lt=MAX_DRIVES)]


class _Base(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=False):
    """Base of the parts of a report."""


class Fault(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True, omit_defaults=True):
    """One thing that is wrong.

    `path` beneath sealift/, or `path_b64` where it is not UTF-8; `block` of 1 MiB; `at` the address of a drive that is
    elsewhere.

    A frozen record so that faults can be kept in sets.
    """

    drive: _Words
    block: int | None
    kind: ProblemKind
    path: _Words | None = None
    path_b64: _Words | None = None
    detail: _Words = ""
    mount: _Words = ""
    part: _Words | None = None  # from which other host's report
    at: _Words | None = None

    @property
    def did_not_read(self) -> bool:
        """Whether the medium here, or its connection, failed; not so where it may not be read, or is rotten."""
        return self.kind == "unreadable" and MEDIUM_FAILED in self.detail and self.at is None


class Signature(_Base, kw_only=True):
    """Whether every manifest used is signed by an allowed signer; `signer` names the first."""

    ok: bool
    signer: _Words | None
    fingerprint: _Words | None = None


class SupersededBy(_Base, kw_only=True):
    """A seal on a drive that holds, of a later revision than the one that the verdict rests on."""

    revision: Count
    blake3: Hex32  # of its seal.json
    mount: _Words


class SealReport(_Base, kw_only=True):
    """The seal that the verdict rests on."""

    source: Literal["file", "drives"]
    trusted: bool
    blake3: Hex32  # of seal.json
    sealed_at: _Words
    consignment: _Words
    rehearsal: bool
    signer: _Words | None
    officer: _Words | None
    in_reply_to: _Words | None = None  # of a return leg: the consignment that it answers
    superseded_by: SupersededBy | None = None
    shortfall: Shortfall | None = None  # what of the source is not in the shipment, or not as it was


class Answers(_Base, kw_only=True):
    """That the shipment answers the outbound one that was given, and by which of the signers that it accepts."""

    shipment: ShipmentId
    consignment: _Words
    signer: _Words
    fingerprint: _Words


class Present(_Base, kw_only=True):
    """A drive that is here, or in another host's report; `damage` is [stripe, first block, last block].

    The last four say what the reading is worth to somebody who was not there (stages/receive.py): without them it was
    not read to the end, or by a sealift that did not tell.
    """

    drive: _Words
    slot: _Slot
    number: int
    carrier: _Words
    serial: _Words
    label: _Words
    mount: _Words
    verified: bool  # every byte was read; false after inspect
    damage: Annotated[list[tuple[_Stripe, _Block, _Block]], Meta(max_length=1_000_000)]
    medium: _Words | None = None  # serial number the medium itself gives
    part: _Words | None = None
    read_at: TimeText | None = None  # when its last byte was read, by this host's clock
    against: Hex32 | None = None  # BLAKE3 of the seal.json under which it was read; None: no seal that holds
    faults: Count | None = None  # of this drive, those too many to list too; 0: every byte is as it was signed
    rebuilt: bool = False  # its drive.json says that it was rebuilt at the destination
    at: _Words | None = None  # the address of one that is not mounted
    read_from: ReadFrom | None = None  # None: nobody read it to its end, or an earlier sealift did, which did not tell
    # None: its host gave all that was asked for; else it counts as not read, and these packs did not come, as `damage`
    unreached: Annotated[list[tuple[_Stripe, _Block, _Block]], Meta(max_length=1_000_000)] | None = None

    predecessor: _Words | None = (
        None  # its own serial number: it was replaced by this drive, which is missing, while packing
    )
    bag: bool = False  # packs of it that were brought: it is missing itself
    lacks: Annotated[list[_Words], Meta(max_length=10)] = []  # of INDEXES: those that it has not as they were signed

    @property
    def apart(self) -> bool:
        """Whether it is not this drive: its packs were read, and the drive is missing."""
        return self.bag or self.predecessor is not None

    @property
    def stands_in(self) -> bool:
        """Whether it was rebuilt on another medium than that of the signed table, which may have what this one lacks.

        Of a medium that tells no serial number nobody knows.
        """
        return self.rebuilt and not mf.is_medium_of(self.medium, self.serial)

    @property
    def in_bucket(self) -> bool:
        """Whether it is a copy among objects, which nobody pulls."""
        return self.at is not None and self.at.startswith("s3://")


class Missing(_Base, kw_only=True):
    """A drive that is nowhere."""

    drive: _Words
    number: int
    carrier: _Words
    serial: _Words
    label: _Words


class GroupReport(_Base, kw_only=True):
    """One group: who is here, who is not, and what that comes to in bytes of packed data.

    `unrecoverable` is [stripe, role, first block, last block] of data packs that what is here cannot give; `gone` are
    files that every drive of it carries, and none here has as signed; `spare` those that lie beside the seal.
    """

    group: Count
    manifest: Hex32
    trusted: bool
    data: Annotated[int, Meta(ge=1, le=MAX_DRIVES)]
    parity: Annotated[int, Meta(ge=0, le=MAX_DRIVES)]
    stripes: _Stripe
    present: Annotated[list[Present], Meta(max_length=10_000)]
    missing: Annotated[list[Missing], Meta(max_length=MAX_DRIVES)]
    total_bytes: Count
    readable_bytes: Count
    recoverable_bytes: Count
    unrecoverable: Annotated[list[tuple[_Stripe, _Slot, _Block, _Block]], Meta(max_length=1000)] = []
    gone: Annotated[list[_Words], Meta(max_length=10)] = []  # of INDEXES, and packs.bin
    spare: Annotated[list[_Words], Meta(max_length=10)] = []
    only_folders: bool = False  # what cannot be had are packs that hold directories, and no file


class InspectReport(_Base, kw_only=True, tag_field="type", tag="sealift-inspect"):
    """The answer of inspect."""

    version: Literal[1] = 1
    shipment: ShipmentId | None
    state: InspectState
    groups: Annotated[list[GroupReport], Meta(max_length=100_000)]
    groups_total: Count  # 0: nobody knows
    drives_total: Count
    seal: SealReport | None
    signature: Signature | None  # None: no allowed signers were given
    faults: Annotated[list[Fault], Meta(max_length=MAX_FAULTS)]
    faults_omitted: Count
    notices: Annotated[list[_Words], Meta(max_length=100_000)]
    final: bool
    seconds: float
    answers: Answers | None = None  # None: no outbound seal was given


class HostRow(_Base, kw_only=True):
    """A host of a cluster on which drives were read: as whom `part` names it, and what came of it.

    `owed`: drives that it was to read, or others in their place, and that nobody has read. One that was lost or failed
    before it said which drives stand there has none in either list.
    """

    name: _Words
    state: Literal["done", "lost", "failed"]
    why: _Words
    drives: Annotated[list[_Words], Meta(max_length=10_000)]
    owed: Annotated[list[_Words], Meta(max_length=10_000)]

    @property
    def unknown(self) -> bool:
        """Whether nobody knows which drives stand there."""
        return self.state != "done" and not self.drives

    @property
    def must_return(self) -> bool:
        """Whether drives of it are owed, or may be: it died before it said which stand there."""
        return bool(self.owed) or (self.state == "lost" and self.unknown)


class VerifyReport(_Base, kw_only=True, tag_field="type", tag="sealift-verify"):
    """The answer of verify.

    Bytes_read counts this run alone, bytes_resumed what earlier runs had verified.
    """

    version: Literal[1] = 1
    shipment: ShipmentId | None
    state: VerifyState
    signature: Signature
    seal: SealReport | None
    groups: Annotated[list[GroupReport], Meta(max_length=100_000)]
    groups_total: Count
    drives_total: Count
    faults: Annotated[list[Fault], Meta(max_length=MAX_FAULTS)]
    faults_omitted: Count
    notices: Annotated[list[_Words], Meta(max_length=100_000)]
    bytes_read: Count
    bytes_resumed: Count
    read_from: Literal["medium", "cache"]
    final: bool
    seconds: float
    hosts: Annotated[list[HostRow], Meta(max_length=10_000)] = []  # of a cluster


Report = InspectReport | VerifyReport
_NOT_OURS = {"unreached", "superseded", "replaced"}


def without_foreign(faults: Sequence[Fault]) -> list[Fault]:
    """Those that are not of another shipment's drive: such a mount takes nothing from ours."""
    foreign = {(fault.mount, fault.part) for fault in faults if fault.kind == "foreign"}
    return [fault for fault in faults if (fault.mount, fault.part) not in foreign]


def of_ours(faults: Sequence[Fault]) -> list[Fault]:
    """Those that take something from `intact` and `complete`.

    Not of another shipment's drive, of one beside which that drive is as it was signed, or of one that was replaced at
    the origin; nor that a location gave nothing, which counts where no other has what it has.
    """
    return [fault for fault in without_foreign(faults) if fault.kind not in _NOT_OURS]


def to_json(report: Report) -> dict[str, Any]:
    """The report as the object that --json prints."""
    built: dict[str, Any] = msgspec.to_builtins(report)
    return built


def exit_code(report: Report) -> int:
    """5 when a signature or the seal does not hold, else by the state."""
    if report.signature is not None and not report.signature.ok:
        return 5
    return EXIT_CODES[report.state]


def path_of(name: bytes) -> dict[str, str]:
    """`path`, or `path_b64` when the name is not UTF-8."""
    try:
        return {"path": name.decode()}
    except UnicodeDecodeError:
        return {"path_b64": base64.b64encode(name).decode()}


def read_part(data: bytes, name: str) -> Report:
    """Another host's report; BadInput, naming `name`, for anything else."""
    hint = "give what `sealift verify --json` or `sealift inspect --json` printed on the other host"
    if len(data) > MAX_PART:
        raise BadInput(f"{name}: {len(data):,} bytes long; at most {MAX_PART:,} are allowed", hint=hint)
    try:
        report: Report = typed.decode(data, Report)  # type: ignore[arg-type]  # a union
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"{name} is no report of another host: {error}", hint=hint) from error
    for group in report.groups:
        n = group.data + group.parity
        wrong_slot = any(drive.slot >= n for drive in group.present)
        wrong_run = any(
            stripe >= group.stripes or first > last
            for drive in group.present
            for stripe, first, last in [*drive.damage, *(drive.unreached or ())]
        )
        if n > MAX_DRIVES or wrong_slot or wrong_run:
            raise BadInput(f"{name}: group {group.group} contradicts itself", hint=hint)
        for drive in group.present:
            _check_time(drive, name, hint)
    return report


def _check_time(drive: Present, name: str, hint: str) -> None:
    try:
        _ = instant(drive.read_at, name) if drive.read_at is not None else None
    except FormatError as error:
        raise BadInput(str(error), hint=hint) from error
