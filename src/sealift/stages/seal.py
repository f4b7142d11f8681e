"""`sealift seal` without the terminal: bind every group's manifest and the released declaration, and sign.

What holds of a seal that `seal` writes: every group of the shipment is in it, each with a manifest that an allowed
signer signed, with a key that is valid, or was when an earlier seal named it (the seal says when); the drives of those
manifests are the declaration's, neither more nor fewer, in its order, each with the serial and under the carrier that
is declared; a return leg is one by manifests and declaration, and its outbound seal accepts the key (return_leg.py);
the declaration is complete and was released by another person than its author, with another key than the one that
seals; and the destination's own check (reading/trust.py) accepts it. A drive that is attached has manifest and
signature as they are sealed, its other small files as they were signed, and all of its packs, by presence and length
(seal_drives.py); of no stripe more is known to be missing or wrong than parity holds, on drives that are away, too
(seal_known.py). The release stands (standing.py), and no other shipment was sealed under the same consignment, nor a
later revision of this one, as far as the state folders, the seals beside this one and those on the drives tell. It was
released before by this host's clock, too, but for what two clocks may differ: else one of them is wrong, and nothing is
sealed until somebody looked.
Nothing is written before all of that holds; the seal file comes last, so that where it lies its indexes lie too; and
beside the declaration a note says where (departure.py). Sealing the same again writes nothing new, but for a seal that
is from the future by this host's clock, which is made anew; a declaration that was changed and released again
supersedes the seal.

What is not here: packing, and the release itself (trade/release.py).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from typing import TYPE_CHECKING

from blake3 import blake3
from msgspec import UNSET, UnsetType

from sealift.errors import BadInput, FormatError, NotAllHere, Refused, SealiftError
from sealift.formats import age_keys
from sealift.formats import seal as seals
from sealift.formats.manifest import NAMESPACE, SEAL_FILES, FileRef, drive_id
from sealift.formats.seal import Seal, SealDrive, SealGroup, Shortfall
from sealift.formats.sizes import counted
from sealift.reading import origin_copies
from sealift.reading.trust import load_seal, open_seal, sealed_at
from sealift.stages import departure, return_leg
from sealift.stages.lacking import STILL_GONE
from sealift.stages.pack.fleet import numbered_otherwise
from sealift.stages.pack.found import is_as_signed
from sealift.stages.seal_drives import attached, where_whole
from sealift.stages.seal_groups import Earlier, Packed, load_group
from sealift.stages.seal_known import Known
from sealift.stages.seal_others import check_clock, earlier_times, not_before, not_superseded, note_of, only_shipment
from sealift.stages.seal_shortfall import shortfall
from sealift.stages.standing import check_leaving, check_standing
from sealift.stages.status import SEALED, look, seal_path
from sealift.trade import clocks, persons, sheets
from sealift.trade import declaration as declarations
from sealift.trade import release as releases
from sealift.trade.receipt import TIME
from sealift.trade.signing import Signer, load_allowed_signers, of_record, read_limited, read_signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import IO

    from sealift.drives.base import Drive
    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.reading.trust import TrustedSeal
    from sealift.stages.seal_drives import Progress
    from sealift.stages.status import Status
    from sealift.trade.declaration import Declaration
    from sealift.trade.release import Release

_PIECE = 1 << 20
_SHOWN = 10


@dataclass
class Options:
    """What `sealift seal` was asked for."""

    states: list[str]
    declaration: str
    sign_with: str
    allowed_signers: str
    release: str | None = None  # default: beside the declaration
    out: str | None = None  # default: the first state folder
    mounts: list[str] = field(default_factory=list)


@dataclass
class Result:
    """What was sealed; the JSON of `sealift seal` is made of it."""

    seal: Seal
    path: str
    release: Release
    signer: str  # fingerprint of the key that sealed
    made: bool  # false: the same seal was there already
    superseded: str | None  # where the seal that was there before is kept
    indexes: list[str]
    drives: list[tuple[str, str, bool]]  # mount, drive, whether its seal was written


def seal(
    options: Options,
    notice: Callable[[str], None] = lambda _text: None,
    progress: Progress = lambda _done, _total, _drives: None,
) -> Result:
    """Check everything, sign, write; raises SealiftError, and NotAllHere while groups are missing."""
    allowed = load_allowed_signers(options.allowed_signers)
    raw = read_limited(options.declaration, declarations.MAX_BYTES, "declaration")
    declaration = declarations.parse(raw, draft=False)
    released, files = _release(options, declaration, allowed)
    now = datetime.now(UTC)
    stands = check_standing(
        options.declaration, declaration, released.record, allowed, now, principal=released.principal
    )
    if told := check_clock(options.declaration, released, now):
        notice(told)
    for unlooked in stands.unlooked:
        notice(f"whether the gate was open for the release was not looked at again: {unlooked}")
    check_leaving(options.declaration, stands)
    for aged in stands.aged:
        notice(aged)
    signer = Signer.open(options.sign_with)
    if persons.same(allowed.person(signer.public_key.fingerprint), released.person):
        own = signer.public_key.fingerprint == released.fingerprint
        whose = "the key that" if own else f"a key of {released.principal}, who"
        raise Refused(
            f"{options.sign_with} is {whose} released the shipment; whoever releases it does not seal it",
            hint="seal with the key that signed the manifests, or another one of the origin's",
        )
    out = options.out or options.states[0]
    folders = [out, *options.states, os.path.dirname(os.path.abspath(options.declaration))]
    groups = gather(
        options.states, allowed, cache(lambda: earlier_times(options.states, folders, options.mounts, allowed))
    )
    _check_recipients(options.states, declaration)
    return_leg.check_sealing(options.states[0], groups[0].manifest, declaration, signer.public_key, allowed)
    for told in check_declared(groups, declaration):
        notice(told)
    record = build(groups, declaration, files, shortfall(options.states, groups))
    if record.shortfall:
        notice(f"of the source {record.shortfall.words}: `sealift status` names them, and the seal says how many")
    only_shipment(folders, record, declaration.revision, allowed)
    not_before(options.states, declaration)
    with ExitStack() as stack:
        found = Known(options.states)
        drives = attached(options.mounts, record, groups, found, notice, progress)
        for told in (*_read_back(options.states), *found.notices()):
            notice(told)
        not_superseded([drive for drive, _ in drives], declaration)
        path = seal_path(out, record.shipment)
        known = _known([path, *options.mounts], record, allowed, notice)
        trusted = known or _sign(record, files, raw, signer, allowed)
        for drive, _ in drives:
            drive.lock()
            stack.callback(drive.unlock)
        with _told_once(out):
            os.makedirs(out, exist_ok=True)
            indexes = _write_indexes(out, groups, drives)
            superseded = _write_file(path, seals.encode_bundle(trusted.files))
        for state in options.states:
            with _told_once(state):
                _note(os.path.join(state, SEALED), note_of(path, declaration))
        _tell_beside(options.declaration, note_of(path, declaration), notice)
        if superseded is not None:
            before: dict[str, bytes] = {}
            with contextlib.suppress(SealiftError):  # it may have been none
                before = load_seal(superseded)
            how = _beside(before.get(SEAL_FILES[2]), declaration.revision)
            notice(f"this seal {how[0]} the one that was there{how[1]}, now {superseded}: send the new one")
        written = [(drive.mount, name, _write_drive(drive, trusted, notice)) for drive, name in drives]
    return Result(
        trusted.seal, path, trusted.release, trusted.signer.fingerprint, known is None, superseded, indexes, written
    )


def _release(options: Options, declaration: Declaration, allowed: AllowedSigners) -> tuple[Release, dict[str, bytes]]:
    path = options.release or releases.path_beside(options.declaration)
    if options.release is None and not os.path.exists(path):
        raise Refused(
            f"{options.declaration} has not been released: there is no {path}",
            hint="another person than its author releases it: sealift release FILE --sign-with KEY ...",
        )
    data = read_limited(path, releases.MAX_RELEASE, "release")
    signature = read_signature(path)
    with of_record(path):
        released = releases.check_release(declaration, data, signature, allowed)
    return released, {SEAL_FILES[3]: data, SEAL_FILES[4]: signature}


# --- the groups ------------------------------------------------------------------------------------------


def gather(states: Sequence[str], allowed: AllowedSigners, earlier: Earlier = dict) -> list[Packed]:
    """Every group of the shipment, in order, from the state folders of all hosts.

    `earlier` is asked where the key that signed a manifest is not valid now.
    Raises NotAllHere naming the groups that are not signed, Refused for groups that do not belong together.
    """
    found: dict[int, Packed] = {}
    serials: dict[int, list[str]] = {}
    shipments: dict[str, str] = {}
    for state in dict.fromkeys(states):
        status = look(state)
        shipments.setdefault(status.config.shipment, state)
        if len(shipments) > 1:
            one, other = list(shipments.items())[:2]
            raise Refused(f"two shipments cannot be sealed together: {one[0]} in {one[1]}, {other[0]} in {other[1]}")
        _check_not_beyond(state, status)
        for group in status.groups:
            serials[group.group] = [place.serial for place in group.places]
            if group.state == "signed":
                packed = load_group(state, group.group, status.config.shipment, allowed, earlier)
                if group.group in found and found[group.group].data != packed.data:
                    raise Refused(
                        f"group {group.group} was packed twice, with different manifests",
                        hint="give only the state of the packing whose drives are to leave",
                    )
                found.setdefault(group.group, packed)
    missing = [number for number in sorted(serials) if number not in found]
    if missing:
        named = "; ".join(f"group {number} ({_listed(serials[number])})" for number in missing[:_SHOWN])
        raise NotAllHere(
            f"{len(missing)} of {counted(len(serials), 'group')} of shipment {next(iter(shipments))} "
            f"{'is' if len(missing) == 1 else 'are'} not packed: {named}",
            hint="pack them, or give the state folder of the host that did too: --state DIR --state DIR2",
        )
    groups = [found[number] for number in sorted(found)]
    _check_together(groups)
    return groups


def _check_not_beyond(state: str, status: Status) -> None:
    """Refused where more is wrong than parity holds: what is sealed has to be on the drives.

    What is missing is added to that, and what is gone from all of them is told, when those that are attached were
    looked at (seal_known.py).
    """
    if beyond := status.read_back["beyond"]:
        many = counted(beyond, "stripe")
        raise Refused(
            f"{state}: of {many} more packs were not as they were written when they were read than parity holds "
            f"({status.config.parity}); nothing was written",
            hint=f"keep the source. {STILL_GONE}",
        )


def _read_back(states: Sequence[str]) -> Iterator[str]:
    """What packing knows of bytes that may not be, or are not, on the drives as they were written."""
    mend = "`sealift repair` with all mounts of the group mends that, and `sealift pack` once more looks again"
    all_found = {state: look(state) for state in states}
    signed = [group for found in all_found.values() for group in found.groups if group.state == "signed"]
    packed = {group.group for group in signed if not group.taken_over}
    if over := sorted({group.group for group in signed} - packed):
        groups = f"group{'' if len(over) == 1 else 's'} {_listed([str(number) for number in over])}"
        yield (
            f"{groups}: taken over from the drives, packed by no state folder that is given, and not even a sample was "
            "read back since: one that does not keep what is written shows it at the destination only. `sealift "
            "verify` reads all"
        )
    for state, found in all_found.items():
        spoilt = [drive for group in found.groups for drive in group.spoilt]
        if spoilt:
            yield f"{_listed(spoilt)}: small files there were not as they were signed when they were read last. {mend}"
        lied = {each.drive for group in found.groups for each in group.misread if not each.replaced}
        wrong = sorted({drive_id(group.group, slot) for group in found.groups for _, slot in group.wrong})
        if misread := sorted(lied - {*spoilt, *wrong}):
            yield (
                f"{_listed(misread)}: other bytes than were written were read there, and made good since: more may be "
                "wrong by now. `sealift verify` before it leaves reads all of it"
            )
        if wrong:
            blocks = counted(found.read_back["wrong"], "block")
            yield f"{_listed(wrong)}: {blocks} there read back other than written when read last. {mend}"
        total = found.read_back["stripes_total"]
        if unread := total - found.read_back["stripes"]:
            yield (
                f"{state}: of {unread:,} of {total:,} stripes not even a sample was read back from the drives: one "
                "that does not keep what is written shows it at the destination only. `sealift pack` once more, with "
                "--read-back sample or full, reads them, and `sealift verify` reads all"
            )


def _check_recipients(states: Sequence[str], declaration: Declaration) -> None:
    """Refused unless every host packed for exactly the recipients that are released."""
    declared = {str(age_keys.parse_recipient(row.recipient)) for row in declaration.encryption.recipients}
    for state in states:
        packed = {str(age_keys.parse_recipient(text)) for text in look(state).config.recipients}
        if packed != declared:
            odd = min(packed ^ declared)
            what = "packed for and not declared" if odd in packed else "declared and not packed for"
            raise Refused(
                f"{state}: recipient {odd} is {what} (encryption.recipients)",
                hint="who can open the drives is part of the declaration: correct it, and have it released again",
            )


def _check_together(groups: Sequence[Packed]) -> None:
    """Refused unless all manifests speak of one shipment in the same words."""
    first = groups[0].manifest
    for packed in groups:
        other = packed.manifest
        for what, one, two in (
            ("count of groups", first.groups, other.groups),
            ("count of drives", first.drives_total, other.drives_total),
            ("scan of the source", first.scan, other.scan),
            ("order", (first.order, first.seed), (other.order, other.seed)),
            ("consignment", first.declaration.id, other.declaration.id),
            ("outbound seal", first.in_reply_to, other.in_reply_to),
            ("rehearsal mark", first.declaration.rehearsal, other.declaration.rehearsal),
        ):
            if one != two:
                raise Refused(
                    f"groups 0 and {other.group} do not belong together: their {what} differs",
                    hint="every group is packed from the same source with the same options",
                )
    if first.groups != len(groups):
        raise NotAllHere(
            f"the manifests speak of {first.groups} groups, {len(groups)} are here",
            hint="give the state folders of all hosts: --state DIR --state DIR2",
        )
    numbers = [row.number for packed in groups for row in packed.manifest.drives]
    if sorted(numbers) != list(range(1, first.drives_total + 1)):
        raise Refused(f"the drives of the manifests are not drives 1 to {first.drives_total}")


def check_declared(groups: Sequence[Packed], declaration: Declaration) -> list[str]:
    """Refused unless the packed drives and the declared ones are the same, by serial, and in the same order.

    Carriers are the declaration's: one that changed after packing was released anew, and needs no packing. Returns
    what is to be told of that.
    """
    first = groups[0].manifest.declaration
    if first.id != declaration.consignment_id:
        raise Refused(
            f"the drives were packed for consignment {first.id}, the declaration is of {declaration.consignment_id}",
            hint="give the declaration that the drives were packed under",
        )
    if first.rehearsal != declaration.rehearsal:
        raise Refused(
            "drives that were packed as a rehearsal are never sealed as goods, and goods never as a rehearsal"
        )
    declared = {drive.serial: drive.carrier for drive in declaration.drives}
    packed = {row.serial: row for group in groups for row in group.manifest.drives}
    if unknown := [serial for serial in packed if serial not in declared]:
        raise Refused(
            f"{_drives(unknown)} packed and not declared: {_listed(unknown)}",
            hint="declare every drive by its serial number, have the declaration released again, and seal",
        )
    if left := [serial for serial in declared if serial not in packed]:
        raise Refused(
            f"{_drives(left)} declared and not packed: {_listed(left)}",
            hint="declare exactly the drives that leave, have the declaration released again, and seal",
        )
    if otherwise := numbered_otherwise({serial: row.number for serial, row in packed.items()}, declaration):
        raise Refused(
            f"{otherwise}; nothing was written",
            hint="list the drives in the order in which they are packed, have the declaration released again, and seal",
        )
    moved = [
        f"drive {serial} was packed for carrier {row.carrier}, and is released for {declared[serial]}: the seal says so"
        for serial, row in packed.items()
        if row.carrier and row.carrier != declared[serial]
    ]
    for group in groups:
        number, rows, parity = group.manifest.group, group.manifest.drives, group.manifest.geometry.parity
        risk = Counter(declared[row.serial] for row in rows)
        moved += [
            f"carrier {carrier} carries {counted(count, 'drive')} of group {number}; parity holds {parity}"
            for carrier, count in risk.items()
            if count > parity
        ]
    packed_bytes = sum(group.manifest.totals.source_bytes for group in groups)
    if otherwise := sheets.declared_otherwise(declaration, packed_bytes):
        moved.append(
            f"{otherwise} were packed: unless that is meant, correct it, have it released again, and seal again"
        )
    return moved


def _drives(serials: Sequence[str]) -> str:
    return f"{counted(len(serials), 'drive')} {'is' if len(serials) == 1 else 'are'}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


# --- the record ------------------------------------------------------------------------------------------


def build(
    groups: Sequence[Packed], declaration: Declaration, files: dict[str, bytes], lacks: Shortfall | UnsetType = UNSET
) -> Seal:
    """The seal's record; its time is now, in UTC."""
    first = groups[0].manifest
    carriers = {drive.serial: drive.carrier for drive in declaration.drives}
    return Seal(
        shipment=first.shipment,
        consignment_id=declaration.consignment_id,
        rehearsal=declaration.rehearsal,
        sealed_at=datetime.now(UTC).strftime(TIME),
        scan=first.scan,
        order=first.order,
        seed=first.seed,
        declaration=_ref(declaration.raw),
        release=_ref(files[SEAL_FILES[3]]),
        release_signature=_ref(files[SEAL_FILES[4]]),
        return_=declaration.return_leg or UNSET,
        in_reply_to=first.in_reply_to,
        shortfall=lacks,
        groups=[
            SealGroup(
                group=packed.manifest.group,
                manifest=_ref(packed.data),
                first_sealed_at=packed.first_sealed_at,
                data=packed.manifest.geometry.data,
                parity=packed.manifest.geometry.parity,
                stripes=packed.manifest.geometry.stripes,
                totals=packed.manifest.totals,
                drives=[
                    SealDrive(
                        id=row.id, number=row.number, serial=row.serial, label=row.label, carrier=carriers[row.serial]
                    )
                    for row in packed.manifest.drives
                ],
            )
            for packed in groups
        ],
    )


def _ref(data: bytes) -> FileRef:
    return FileRef(bytes=len(data), blake3=blake3(data).hexdigest())


def _sign(record: Seal, files: dict[str, bytes], raw: bytes, signer: Signer, allowed: AllowedSigners) -> TrustedSeal:
    """The signed seal, opened as the destination will open it."""
    data = seals.encode_seal(record)
    if seals.decode_seal(data) != record:
        raise FormatError("the seal does not read back as it was written")
    everything = {SEAL_FILES[0]: data, SEAL_FILES[1]: signer.sign(data, NAMESPACE), SEAL_FILES[2]: raw, **files}
    bundle = seals.encode_bundle(everything)
    return open_seal(seals.decode_bundle(bundle), allowed)


def _known(
    places: Iterable[str], record: Seal, allowed: AllowedSigners, notice: Callable[[str], None]
) -> TrustedSeal | None:
    """A seal of the same content, however old, that holds: from the folder or a drive; none from the future."""
    ahead = ""
    for place in places:
        with contextlib.suppress(SealiftError):
            there = open_seal(load_seal(place), allowed)
            if seals.but_for_times(there.seal) != seals.but_for_times(record):
                continue
            if not (told := clocks.seal_ahead(sealed_at(there.seal), sealed_at(record))):
                return there
            ahead = ahead or f"{place}: {told}; it is made anew"
    if ahead:
        notice(ahead)
    return None


# --- writing ---------------------------------------------------------------------------------------------


def _tell_beside(file: str, data: bytes, notice: Callable[[str], None]) -> None:
    """Note beside the declaration where its seal lies: drives leave from there, and whoever lets them go asks."""
    try:
        _note(departure.note_path(file), data)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        notice(f"{departure.note_path(file)}: {why}; when drives leave, give the seal (sealift handover --seal FILE)")


@contextlib.contextmanager
def _told_once(folder: str) -> Iterator[None]:
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        hint = "nothing on a drive was changed; give another --out DIR"
        raise BadInput(f"{folder}: a file is where a folder is wanted", hint=hint) from error
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise BadInput(
            f"{folder}: {why}", hint="nothing on a drive was changed; make room, or give --out DIR"
        ) from error


def _beside(there: bytes | None, revision: int) -> tuple[str, str]:
    """What a seal of a revision does to one that was there with this declaration: only a later one supersedes."""
    with contextlib.suppress(SealiftError):
        before = declarations.parse(there or b"", draft=True).revision
        return ("supersedes", "") if before < revision else ("takes the place of", " (of the same revision; both hold)")
    return "takes the place of", ""


def _write_drive(drive: Drive, trusted: TrustedSeal, notice: Callable[[str], None]) -> bool:
    """seal/ on one drive; false when it is there already."""
    files = trusted.files
    there: dict[str, bytes | None] = {}
    for name in SEAL_FILES:
        with contextlib.suppress(FormatError):
            there[name] = drive.read_small(name, seals.LIMITS[name])
    if there == files:
        return False
    if any(there.values()):
        how = _beside(there.get(SEAL_FILES[2]), trusted.declaration.revision)
        notice(f"{drive.mount}: this seal {how[0]} the one that was there{how[1]}")
    for name in SEAL_FILES:
        drive.write_small(name, files[name])
    return True


def _write_indexes(out: str, groups: Sequence[Packed], drives: Sequence[tuple[Drive, str]]) -> list[str]:
    """Copies of every group's indexes, checked against the manifest while they are copied; their paths.

    BadInput where the state folder has one not as it was signed; `drives` that are attached are asked who has it.
    """
    paths = []
    for packed in groups:
        for name in origin_copies.PATTERNS:
            target = os.path.join(out, origin_copies.name_of(packed.manifest.group, name))
            reference = packed.manifest.group_file(name)
            if not is_as_signed(target, reference):
                hint = partial(where_whole, packed, name, drives)
                _copy(os.path.join(packed.folder, name), target, reference, hint)
            paths.append(target)
    return paths


def _copy(source: str, target: str, reference: FileRef, hint: Callable[[], str]) -> None:
    try:
        with open(source, "rb") as file, _replacing(target) as out:
            hasher, length = blake3(), 0
            while piece := file.read(_PIECE):
                hasher.update(piece)
                length += len(piece)
                out.write(piece)
            if (length, hasher.hexdigest()) != (reference.bytes, reference.blake3):
                raise BadInput(f"{source} is not as it was signed", hint=hint())
    except FileNotFoundError as error:
        raise BadInput(f"{error.filename}: no such file", hint=hint()) from error


def _write_file(path: str, data: bytes) -> str | None:
    """The seal file; what was there before is kept under a number, and its name returned."""
    kept = None
    if os.path.lexists(path):
        with contextlib.suppress(BadInput):
            if read_limited(path, seals.MAX_BUNDLE, "seal") == data:
                return None
        stem = path.removesuffix(".seal")
        number = 1
        while os.path.lexists(f"{stem}.{number}.seal"):
            number += 1
        kept = f"{stem}.{number}.seal"
        os.rename(path, kept)
    with _replacing(path) as file:
        file.write(data)
    return kept


def _note(path: str, data: bytes) -> None:
    """A file of so many bytes, written only where it is another one."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        if file.read(len(data) + 1) == data:
            return
    with _replacing(path) as file:
        file.write(data)


@contextlib.contextmanager
def _replacing(path: str) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when it is whole and on the medium."""
    folder, name = os.path.split(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder or ".")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    handle = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
