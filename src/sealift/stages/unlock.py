"""Issue a shipment's pack keys to a job: read the age headers, seal the keys for the job, record it in custody.

What holds:
- Of every pack and index file the header alone is read, a few KiB, from whichever drive or host has it, many at once;
  what no drive gives is rebuilt from parity. Each key has opened the header that the signed manifest binds.
- No key is written but sealed for the job; no identity leaves this process. Memory is 16 bytes a pack.
- Nothing is issued unrecorded: the event is in the log before the file has its name. A crash between the two leaves an
  event of a file that nobody has; the same command again issues another one, with its own event.
- Nothing is issued under a seal that is superseded by one beside it or on a drive: who reads by the newer one would not
  take it.
- Whoever issues may: the allowed signers have the key for `sealift-unlock` and `sealift-custody`, which is asked first.

What is not here: what a reader asks of the file (reading/keys.py), and words.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from blake3 import blake3

from sealift.drives.ranges import Workers
from sealift.errors import BadInput, FormatError, IdentityMismatch, Lost, NotAllHere, Refused
from sealift.formats import age, age_header, age_keys, strict, unlock
from sealift.formats.allowed_signers import AllowedSigners
from sealift.formats.manifest import FileRef, slot_of
from sealift.reading.index_files import AnyCopy
from sealift.reading.keys import IdentityKeys
from sealift.reading.pack import signed_header
from sealift.reading.shipment import Shipment
from sealift.reading.survey import survey
from sealift.reading.survey_mixed import refuse_mixed
from sealift.stages import custody, custody_log
from sealift.stages.seal_others import check_newest
from sealift.trade import custody as accounts
from sealift.trade import custody_event
from sealift.trade import unlock as rules
from sealift.trade.custody_event import CustodyEvent, Party, Unlocked
from sealift.trade.custody_graph import Copy
from sealift.trade.lists import TIME
from sealift.trade.signing import new_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sealift.errors import SealiftError
    from sealift.formats.manifest import DriveRow
    from sealift.formats.unlock import Unlock, UnlockGroup
    from sealift.reading.shipment import Group
    from sealift.reading.trust import TrustedSeal
    from sealift.trade.custody_event import Entry
    from sealift.trade.custody_graph import Finding
    from sealift.trade.signing import Signer

_WORDS = 256  # characters of a name (docs/spec/unlock.md)
THREADS = 32  # headers that are asked for at once; a locations file says how many one host gets
TASK = 64  # packs that a thread reads one after the other


@dataclass(frozen=True)
class Options:
    """What `sealift unlock` was asked for; file contents, not paths, where they were read already."""

    mounts: list[str]
    identities: list[bytes]  # contents of identity files
    allowed_signers: bytes
    seal: dict[str, bytes] | None
    recipients: list[str]
    job: str
    name: str  # who issues, and for whom they act
    organisation: str
    custody: str  # folder of the log
    out: str
    hours: int | None = None
    valid_until: str | None = None
    seal_path: str | None = None  # where that seal lies: beside it may be one that supersedes it


@dataclass
class Events:
    """How it tells what it does: headers read, and of how many; and lines."""

    progress: Callable[[int, int], object] = lambda _done, _total: None
    notice: Callable[[str], object] = lambda _text: None


class Unread(NamedTuple):
    """A file whose header could not be had; `drive` is the one that should have it, None where every one should."""

    file: str
    group: int
    slot: int | None
    drive: DriveRow | None


class Short(NamedTuple):
    """A group with unread files and with drives that are not here; `here` is how many are.

    `wanted` drives give every byte of the group, if none of them is damaged.
    """

    group: int
    here: int
    wanted: int
    absent: list[DriveRow]


@dataclass
class Result:
    """What was issued, and what is not in it.

    `lost` are files that the drives of their group cannot give, all of which are here; `awaited` those that one may
    still give which is not, named in `short`; `missing` groups of which no drive is here.
    """

    record: Unlock
    file: FileRef
    event: Entry
    shows: list[Finding]
    lost: list[Unread] = field(default_factory=list)
    awaited: list[Unread] = field(default_factory=list)
    short: list[Short] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    ignored: list[tuple[str, str]] = field(default_factory=list)


def issue(
    options: Options, signer: Signer, events: Events, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Result:
    """Issue the keys of the shipment's groups that are here, and record it.

    BadInput, Refused, IdentityMismatch, ...; NotAllHere or Lost, and nothing is issued, where not one header is read.
    """
    if os.path.lexists(options.out):
        raise BadInput(f"{options.out} is there already; nothing was changed", hint="give another name")
    _check_words(options)
    allowed = AllowedSigners.parse(options.allowed_signers)
    rules.ends(clock(), hours=options.hours, until=options.valid_until)
    _may(signer, allowed, clock())
    identities = [each for data in options.identities for each in age_keys.parse_identities(data)]
    recipients = rules.job_recipients(options.recipients, identities)
    custody_log.read(options.custody)
    signer.prove()  # before all headers are read
    seal = _newest_seal(options, allowed, events.notice)
    shipment = Shipment.open(
        options.mounts, identity=options.identities, allowed_signers=options.allowed_signers, seal=seal
    )
    try:
        _refuse_own(recipients, shipment.seal)
        ground = _ground(options, shipment.seal, allowed, clock())
        _refuse_other_log(options.custody, shipment.seal)
        groups, keys, unread = _collect(shipment, IdentityKeys(identities), events)
        short = _short(shipment, {each.group for each in unread})
        if not any(keys):
            raise _nothing(short)
        record = _record(options, shipment.seal, recipients, groups, keys, clock())
        result = _write(options, record, keys, recipients, signer, ground)
        awaited = {each.group for each in short}
        result.lost = [each for each in unread if each.group not in awaited]
        result.awaited = [each for each in unread if each.group in awaited]
        result.short, result.missing = short, [each.group for each in shipment.missing]
        result.ignored = shipment.ignored
        return result
    finally:
        shipment.close()


def _check_words(options: Options) -> None:
    """BadInput, before a drive is read, for what the record would not take."""
    given = {"--job": options.job, "--by": options.name, "--organisation": options.organisation}
    for option, text in given.items():
        why = None
        if not text.strip():
            why = "is empty"
        elif len(text) > _WORDS:
            why = f"is {len(text):,} characters long; at most {_WORDS} are allowed"
        elif (bad := strict.unprintable(text)) is not None:
            why = f"holds the character U+{ord(bad):04X}, which does not print"
        if why:
            raise BadInput(f"{option} {why}; nothing was issued", hint="one line of printable text")


def _may(signer: Signer, allowed: AllowedSigners, now: datetime) -> None:
    """Refused unless the allowed signers have the key for both records."""
    for namespace in (rules.NAMESPACE, custody_event.NAMESPACE):
        lines = [line for line in allowed.lines if line.key == signer.public_key]
        objections = [line.objection(namespace, now, None) for line in lines]
        if not objections or all(objections):
            why = next(filter(None, objections), f"{signer.public_key.fingerprint} is not among the allowed signers")
            both = f"{rules.NAMESPACE},{custody_event.NAMESPACE}"
            hint = f'a line for it with namespaces="{both}", here and where the job runs'
            raise Refused(f"{signer.path} may not issue keys: {why}", hint=hint)


def _newest_seal(options: Options, allowed: AllowedSigners, notice: Callable[[str], object]) -> dict[str, bytes] | None:
    """The seal given, or that of the latest revision on the drives, all of which are asked; None where none holds.

    Refused where the one given is superseded by one that lies beside it, or by one on a drive that holds. Another one
    of the same revision supersedes nothing; but keys are for one seal, and so it is told.
    """
    found = survey(options.mounts, allowed=allowed, seal=options.seal)
    if options.seal is None:
        refuse_mixed(found)  # which one is opened is not for the order of the mounts to say
    if found.trusted is None:
        return options.seal
    if options.seal_path is not None:
        check_newest(options.seal_path, found.trusted.declaration)
    if (newer := found.superseded) is not None:
        raise Refused(
            f"the seal given, of revision {found.trusted.declaration.revision}, is superseded: {newer.mount} has a seal"
            f" that holds, of revision {newer.revision}; nothing was issued",
            hint=f"give that one (--seal {newer.mount}): who reads by it takes no keys of another",
        )
    for view in found.alike:
        notice(
            f"{view.mount} has another seal of this revision; both hold, and the keys are taken by whoever reads by the"
            f" one that is used here, sealed at {found.trusted.seal.sealed_at}"
        )
    return found.trusted.files


def _refuse_own(recipients: list[age.Recipient], seal: TrustedSeal) -> None:
    """Refused where keys would be issued to somebody whose own key opens the shipment."""
    rows = [row for row in seal.declaration.encryption.recipients if row.recipient]
    declared = {str(age_keys.parse_recipient(row.recipient)): row.name for row in rows}
    for each in map(str, recipients):
        if each in declared:
            raise Refused(
                f"--for {each} is {declared[each]}'s own key, which opens the shipment itself",
                hint="make the job a key of its own: age-keygen -o job.txt",
            )


def _refuse_other_log(folder: str, seal: TrustedSeal) -> None:
    """BadInput where the custody log is another consignment's: what is issued would be recorded where nobody looks."""
    log = custody_log.read(folder)
    entries = log.entries.values()
    if log.findings and not entries:
        raise BadInput(
            f"--custody {folder} is no custody log, or nothing of one can be read: {log.findings[0].text}; nothing was "
            "issued",
            hint="give the log of this consignment; an empty folder begins one",
        )
    others = sorted({entry.event.consignment_id for entry in entries} - {seal.seal.consignment_id})
    if others:
        raise BadInput(
            f"--custody {folder} is the log of consignment {', '.join(others[:3])}, and the seal is of "
            f"{seal.seal.consignment_id}; nothing was issued",
            hint="give the log of this consignment; an empty folder begins one",
        )


# --- what is not here


def named(row: DriveRow) -> str:
    """A drive by its name, serial number and carrier."""
    return f"{row.id} (serial {row.serial}, {row.carrier or 'no carrier'})"


def _short(shipment: Shipment, groups: set[int]) -> list[Short]:
    """Of these groups, those that have drives which are not here."""
    found = []
    for number in sorted(groups):
        reader = shipment.groups[number].reader
        absent = [row for row in reader.manifest.drives if row.slot not in reader.drives]
        if absent:
            found.append(Short(number, reader.n - len(absent), reader.data, absent))
    return found


def _nothing(short: list[Short]) -> SealiftError:
    """Why nothing is issued: every header is lost, or on drives that are not here."""
    told = "not one header of this shipment can be read from what is here; nothing was issued"
    if not short:
        return Lost(told, hint="sealift inspect says what is damaged, and on which drive")
    names = [named(row) for each in short for row in each.absent]
    more = f" and {len(names) - 20:,} more" if len(names) > 20 else ""
    return NotAllHere(told, hint=f"attach more drives: {', '.join(names[:20])}{more}")


# --- the keys


class _Taken(IdentityKeys):
    """Identity keys that remember the last one."""

    key = b""

    def of_index(self, header: age_header.Header, group: int, name: str) -> bytes:
        """As Keys."""
        self.key = super().of_index(header, group, name)
        return self.key


def _collect(
    shipment: Shipment, identity: IdentityKeys, events: Events
) -> tuple[list[UnlockGroup], bytearray, list[Unread]]:
    """The groups that are here, their keys row by row, and the files whose header could not be had."""
    groups = []
    for number, group in sorted(shipment.groups.items()):
        geometry = group.manifest.geometry
        groups.append(unlock.UnlockGroup(group=number, data=geometry.data, stripes=geometry.stripes))
    total = sum(each.rows for each in groups)
    if total > unlock.MAX_ROWS:
        raise BadInput(f"{total:,} packs and index files; keys of {unlock.MAX_ROWS:,} at most are issued at once")
    keys, unread, done = bytearray(), list[Unread](), 0
    workers = Workers(THREADS, "sealift-unlock")
    try:
        for each in groups:
            for row, key in _rows(shipment.groups[each.group], each, identity, workers):
                if key is None:
                    unread.append(_unread(shipment.groups[each.group], each, row))
                keys += key or unlock.NO_KEY
                done += 1
                events.progress(done, total)
    finally:
        workers.close()
    return groups, keys, unread


def _unread(group: Group, shape: UnlockGroup, row: int) -> Unread:
    """The file of a row, and the drive on which it lies; an index lies on every one."""
    if row < len(unlock.INDEXES):
        return Unread(shape.name(row), shape.group, None, None)
    slot = slot_of(*divmod(row - len(unlock.INDEXES), shape.data), group.reader.n)
    return Unread(shape.name(row), shape.group, slot, group.manifest.drives[slot])


def _rows(
    group: Group, shape: UnlockGroup, identity: IdentityKeys, workers: Workers
) -> Iterator[tuple[int, bytes | None]]:
    """Every row's key, in order: NO_KEY of an absent pack, None where the header could not be had."""
    for row, name in enumerate(unlock.INDEXES):
        yield row, _of_index(group, name, identity)
    total = shape.data * shape.stripes
    step = max(1, min(TASK, total // (4 * THREADS)))
    coming = [
        workers.submit(partial(_of_packs, group, shape.data, range(at, min(at + step, total)), identity))
        for at in range(0, total, step)
    ]
    coming.reverse()
    row = len(unlock.INDEXES)
    try:
        while coming:
            for key in coming.pop().result():
                yield row, key
                row += 1
    finally:
        for each in coming:
            each.cancel()


def _of_index(group: Group, name: str, identity: IdentityKeys) -> bytes | None:
    taken, record = _Taken(identity.identities), group.manifest
    ref = record.members_index if name == unlock.INDEXES[0] else record.packs_index
    try:
        AnyCopy(group.reader, name, ref, taken)
    except IdentityMismatch:
        raise  # and no pack will be opened either
    except (Lost, FormatError, Refused):
        return None
    return taken.key


def _of_packs(group: Group, data: int, places: range, identity: IdentityKeys) -> list[bytes | None]:
    found: list[bytes | None] = []
    for place in places:
        stripe, role = divmod(place, data)
        try:
            if not group.reader.record(stripe, role).length:
                found.append(unlock.NO_KEY)
                continue
            raw, _ = signed_header(group.reader, stripe, role)
            found.append(identity.of_pack(age_header.parse_header(raw), group.manifest.group, stripe, role))
        except (Lost, FormatError):
            found.append(None)
    return found


# --- the record, the file, the event


def _record(
    options: Options,
    seal: TrustedSeal,
    recipients: list[age.Recipient],
    groups: list[UnlockGroup],
    keys: bytearray,
    now: datetime,
) -> Unlock:
    issued = sum(keys[at : at + age.FILE_KEY] != unlock.NO_KEY for at in range(0, len(keys), age.FILE_KEY))
    rows = len(keys) // age.FILE_KEY
    fields: dict[str, Any] = {
        "shipment": seal.seal.shipment,
        "consignment_id": seal.seal.consignment_id,
        "seal": seal.reference.seal,
        "job": options.job,
        "name": options.name,
        "organisation": options.organisation,
        "issued_at": now.strftime(TIME),
        "valid_until": rules.ends(now, hours=options.hours, until=options.valid_until).strftime(TIME),
        "recipients": [str(each) for each in recipients],
        "groups": groups,
        "keys": unlock.KeyTable(rows=rows, issued=issued, root=unlock.table_root(rows, keys).hex()),
    }
    record = unlock.Unlock(**fields)
    try:
        unlock.encode(record)
    except FormatError as error:
        raise BadInput(f"this shipment's keys cannot be issued: {error}") from error
    return record


def _write(
    options: Options,
    record: Unlock,
    keys: bytearray,
    recipients: list[age.Recipient],
    signer: Signer,
    ground: custody.Ground,
) -> Result:
    """Sign, seal, record, and give the file its name, in this order."""
    data = unlock.encode(record)
    signature = signer.sign(data, rules.NAMESPACE)
    rules.check(data, signature, ground.allowed)
    with new_file(options.out) as file:
        digest = blake3()

        def sink(piece: bytes) -> None:
            file.write(piece)
            digest.update(piece)

        with age.Writer(recipients, sink) as sealed:
            unlock.write(record, data, signature, keys, sealed.write)
        file.flush()
        os.fsync(file.fileno())
        ref = FileRef(bytes=file.tell(), blake3=digest.hexdigest())
        entry, shows = _put_on_record(options, record, ref, signer, ground)
    return Result(record, ref, entry, shows)


def _ground(options: Options, seal: TrustedSeal, allowed: AllowedSigners, now: datetime) -> custody.Ground:
    return custody.Ground(options.custody, seal.declaration, "", allowed, now, seal.release)


def _put_on_record(
    options: Options, record: Unlock, ref: FileRef, signer: Signer, ground: custody.Ground
) -> tuple[Entry, list[Finding]]:
    """Add the event to the log, signed; Refused where the log shows that a clock is wrong."""
    copy = custody_log.read(options.custody)
    before = custody.account(ground, copy)
    who = Party(
        name=options.name,
        org=options.organisation,
        id_kind="signs with the key below",
        key_fingerprint=signer.public_key.fingerprint,
        paper_sha256="",
    )
    offset = ground.now.astimezone().strftime("%z")
    event = CustodyEvent(
        consignment_id=record.consignment_id,
        log_checkpoint=accounts.before_next(before),
        event_type="unlock",
        at_utc=record.issued_at,
        local_timezone=f"{offset[:3]}:{offset[3:5]}",
        place=_host(),
        released_by=who,
        received_by=who,
        reason=f"keys for job {record.job}"[:500],
        items=[],
        photo_sha256=[],
        hash_sample_result="not_taken",
        officer_ref="",
        inspection_opened=False,
        resolves=[],
        unlock=Unlocked(
            shipment=record.shipment,
            seal=record.seal,
            job=record.job,
            recipients=record.recipients,
            valid_until=record.valid_until,
            keys=record.keys.issued,
            file=ref,
        ),
    )
    entry = custody_event.encode(event)
    signature = signer.sign(entry.data, custody_event.NAMESPACE)
    ground.allowed.signer(entry.data, signature, custody_event.NAMESPACE, event.at)
    signatures = {**copy.signatures, entry.digest: [signature]}
    after = custody.account(ground, Copy({**copy.entries, entry.digest: entry}, signatures, copy.findings))
    shows = [each for each in after.open if entry.digest in each.events]
    # how a name is spelled is shown, and keeps nobody from keys
    if slips := [each for each in shows if each.kind in custody.OFTEN_A_SLIP - {"names"}]:
        hint = (
            "set this host's clock where it is wrong. Where that of an earlier event was, as sealift custody shows, a"
            " discrepancy says so first (sealift handover --as-found), and the same command issues. Nothing was issued"
        )
        raise Refused(f"the custody log would show: {slips[0].text}", hint=hint)
    custody_log.add(options.custody, entry, [signature])
    return entry, shows


def _host() -> str:
    """The host on which it is done, as a place."""
    name = os.uname().nodename
    return f"host {name}" if name and name.isprintable() and not strict.unprintable(name) else "this host"
