"""Record an event of custody, sign it for the other side, and take stock of a log.

What holds: nothing is written before everything is checked: the form, the declaration, the keys, that these are
allowed to sign, and how the log looks with the event. Where it would show something that is more often a slip than the
truth (another seal number, other hands, another day), it is written only when the caller says that it is as it was
found. Drives go on only under a release that holds, whatever the type of the event by which they do; where it does not
stand any more (standing.py), the event shows that, and is recorded only as it was found; and so where they leave the
origin and are not sealed (departure.py). Everything else may always be
recorded, since what has happened is not undone by not writing it down: a discrepancy says it of drives that went.

What is not here: the folder of a log (custody_log.py), what it says (trade/custody.py), words.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from sealift.errors import BadInput, Refused, SealiftError
from sealift.formats import strict
from sealift.formats.sshsig import MAX_ARMORED
from sealift.stages import custody_log, departure, revisions
from sealift.stages.standing import standing
from sealift.trade import custody, custody_event, custody_form, declaration, release
from sealift.trade.custody_event import NAMESPACE, CustodyEvent, Entry
from sealift.trade.custody_graph import Copy, Finding
from sealift.trade.custody_terms import Faces, Reign, Terms, an, left
from sealift.trade.signing import Signer, read_limited
from sealift.trade.standing import Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.trade.custody import Account
    from sealift.trade.custody_event import Checkpoint
    from sealift.trade.declaration import Declaration
    from sealift.trade.release import Release

MAX_PHOTO = 64 << 20  # bytes
MIN_DIGITS = 8  # of a digest, to name an event by
WANT_RELEASE: frozenset[str] = frozenset({"unreleased", "revision"})  # findings of an event by which drives go on
OFTEN_A_SLIP: frozenset[str] = WANT_RELEASE | {
    "seal", "seal-changed", "hands", "begins", "clock", "one-signer", "by-hand", "names", "stranger", "carrier",
    "onward",
}  # fmt: skip


@dataclass(frozen=True)
class Ground:
    """What every step stands on: the log's folder, the declaration, whose keys count, and the time.

    `unreleased` says why the declaration is not released, and is empty when `release` holds. `beside` has the releases
    of all its revisions, by which what happened before is judged; None: there is `release` alone.
    """

    log: str
    declaration: Declaration
    unreleased: str
    allowed: AllowedSigners
    now: datetime
    release: Release | None = None
    standing: Standing = field(default_factory=Standing)  # what speaks against `release`, though its signatures hold
    beside: revisions.Reigns | None = None
    file: str = ""  # of the declaration
    seal: str | None = None  # where the seal lies, if somebody says so

    @property
    def released(self) -> bool:
        """Whether it is released, and the release stands."""
        return not self.unreleased and not self.standing.against


class Recorded(NamedTuple):
    """The event, what the log shows because of it, whether it was written, and by whom it is signed now; what to tell.

    `leaves`: drives that leave the origin by it.
    """

    entry: Entry
    shows: list[Finding]
    written: bool
    account: Account
    leaves: frozenset[str] = frozenset()
    note: str = ""


def stand(
    log: str, declaration_file: str, allowed: AllowedSigners, now: datetime, *, seal: str | None = None
) -> Ground:
    """Read the declaration, and the release beside it; `seal` is where the seal lies, if it is not beside it.

    Raises what a declaration that cannot be read raises, and Refused for that of a rehearsal.
    """
    data = read_limited(declaration_file, declaration.MAX_BYTES, "declaration")
    parsed = declaration.parse(data, draft=True)
    if parsed.rehearsal:
        raise Refused(
            f"{declaration_file} declares a rehearsal, whose drives go to nobody",
            hint="what is carried has a declaration of its own: sealift declare --new",
        )
    found, unreleased = _release(parsed, release.path_beside(declaration_file), allowed)
    stands = Standing()
    if found is not None:
        stands = standing(declaration_file, parsed, found.record, allowed, now, principal=found.principal)
    beside = revisions.reigns(declaration_file, parsed, allowed, now)
    return Ground(log, parsed, unreleased, allowed, now, found, stands, beside, declaration_file, seal)


def _release(parsed: Declaration, path: str, allowed: AllowedSigners) -> tuple[Release | None, str]:
    """The release in `path`, if it holds for the declaration; or why none does."""
    if not os.path.lexists(path):
        return None, f"nobody has released it: there is no {path}"
    try:
        record = read_limited(path, release.MAX_RELEASE, "release")
        signature = read_limited(path + ".sig", MAX_ARMORED, "signature")
        return release.check_release(parsed, record, signature, allowed), ""
    except SealiftError as error:
        return None, str(error)


def account(
    ground: Ground, copy: Copy | None = None, *, checkpoints: Sequence[Checkpoint] = (), final: bool = False
) -> Account:
    """What the log says; or `copy` in its place."""
    return custody.assess(
        custody_log.read(ground.log) if copy is None else copy,
        consignment_id=ground.declaration.consignment_id,
        serials=[drive.serial for drive in ground.declaration.drives if drive.serial],
        allowed=ground.allowed,
        now=ground.now,
        checkpoints=checkpoints,
        final=final,
        terms=_terms(ground),
    )


def _terms(ground: Ground) -> Terms:
    if ground.beside is not None:
        return Terms(ground.declaration, *ground.beside)
    at = release.released_at(ground.release.record) if ground.release else None
    if ground.release is None or at is None:
        return Terms(ground.declaration)
    against, holds = ground.standing.against, ground.release
    by = (holds.principal, holds.record.officer, holds.person)
    own = Reign(at, ground.declaration.revision, ground.declaration, against, "", *by, ended=ground.standing.ended)
    return Terms(ground.declaration, [own])


def take_stock(
    ground: Ground, *, merge: Sequence[str] = (), checkpoints: Sequence[str] = (), final: bool = False
) -> tuple[Account, custody_log.Merged]:
    """Merge the copies in folders `merge` into the log, compare with checkpoints (texts of QR codes), and assess.

    Raises BadInput for a text that is no checkpoint or is one of another consignment, and for folders that cannot
    be read or written.
    """
    wanted = []
    for text in checkpoints:
        consignment, checkpoint = custody_event.parse_qr_text(text.strip())
        if consignment != ground.declaration.consignment_id:
            raise BadInput(f"the checkpoint is of {consignment}, not of {ground.declaration.consignment_id}")
        wanted.append(checkpoint)
    merged = custody_log.Merged()
    if merge:
        merged = custody_log.merge(ground.log, merge, ground.declaration.consignment_id)
    found = custody_log.read(ground.log)
    copy = Copy(found.entries, found.signatures, [*found.findings, *merged.findings])
    return account(ground, copy, checkpoints=wanted, final=final), merged


def template(ground: Ground) -> str:
    """The empty form of an event, with the declared drives, one item for those of each carrier."""
    by_carrier: dict[str, list[str]] = {}
    for drive in ground.declaration.drives:
        if drive.serial:
            by_carrier.setdefault(drive.carrier, []).append(drive.serial)
    offset = ground.now.astimezone().strftime("%z")
    zone = f"{offset[:3]}:{offset[3:5]}"
    return custody_form.template(ground.declaration.consignment_id, zone, list(by_carrier.values()))


def draft(ground: Ground, form_file: str) -> CustodyEvent:
    """The event that a form says, for the paper that is signed by hand first; nothing is written."""
    return _build(ground, form_file, account(ground, _copy(ground)), on_paper_first=True)


def record(ground: Ground, form_file: str, signers: Sequence[Signer], *, as_found: bool) -> Recorded:
    """Sign the event of a form by one side or both, and add it to the log, unless it shows what is often a slip.

    Raises BadInput for the form, Refused for a key that is neither side's, a release that is not there, or a signer
    whose key does not count; then nothing was written.
    """
    copy = _copy(ground)
    before = account(ground, copy)
    event = _build(ground, form_file, before)
    entry = custody_event.encode(event)
    signatures = _sign(entry, signers, ground.allowed)
    with_it = Copy({**copy.entries, entry.digest: entry}, {**copy.signatures, entry.digest: signatures}, copy.findings)
    after = account(ground, with_it)
    shows = _of(entry, after)
    _check_let_go(ground, event, shows)
    slips = [each for each in shows if each.kind in OFTEN_A_SLIP]
    if slips and not as_found:
        return Recorded(entry, slips, written=False, account=before)
    note = _check_sealed(ground, entry, after, as_found=as_found)
    custody_log.add(ground.log, entry, signatures)
    return Recorded(entry, shows, written=True, account=after, leaves=after.away - before.away, note=note)


def against(ground: Ground, event: CustodyEvent) -> tuple[str, ...]:
    """Why a paper of an event that is to happen is a draft, though there is a release."""
    stays = not account(ground, _copy(ground)).away.issuperset(event.serials)
    return ground.standing.why_none_leaves if stays else ground.standing.why


def countersign(ground: Ground, digits: str, signers: Sequence[Signer]) -> Recorded:
    """Sign an event of the log, named by the first digits of its digest, for a side that has not yet.

    Raises BadInput when no or several events begin so, Refused as `record` does.
    """
    copy = custody_log.read(ground.log)
    entry = copy.entries[_event(copy)(digits)]
    if entry.event.consignment_id != ground.declaration.consignment_id:
        raise Refused(f"the event is of {entry.event.consignment_id}, not of {ground.declaration.consignment_id}")
    _check_let_go(ground, entry.event, _of(entry, account(ground, copy)))
    signatures = _sign(entry, signers, ground.allowed)
    custody_log.add(ground.log, entry, signatures)
    after = account(ground)
    return Recorded(entry, _of(entry, after), written=True, account=after)


def _check_let_go(ground: Ground, event: CustodyEvent, shows: Sequence[Finding]) -> None:
    """Refused where drives go on by the event, and no revision that is here was released.

    Not where they come back to the origin, which they may at any time: that is shown, as it was found.
    """
    let_go = not ground.unreleased or any(each.declaration for each in (ground.beside.reigns if ground.beside else ()))
    goes = any(each.kind in WANT_RELEASE for each in shows)
    if goes and not let_go and not _terms(ground).at(event.at).roles.sends(event.received_by):
        raise Refused(
            f"by {an(event)} drives do not go on without a release that holds: {ground.unreleased}",
            hint="sealift release makes it; its two files belong beside the declaration. That drives went all the same"
            " is stated as a discrepancy",
        )


def _check_sealed(ground: Ground, entry: Entry, after: Account, *, as_found: bool) -> str:
    """What to tell of drives that leave the origin by the event; Refused where they are not sealed (departure.py)."""
    terms = _terms(ground)
    gone = left(after.rows, terms, Faces(after.rows, terms, ground.allowed))
    serials = [serial for serial, row in gone.items() if row.entry.digest == entry.digest]
    serials = [serial for serial in serials if not serial.startswith(custody.BY_NETWORK)]
    if not serials or not ground.file:
        return ""
    try:
        return departure.check(
            ground.file, ground.declaration, serials, entry.event.at, ground.seal, ground.allowed, ground.now
        )
    except Refused as error:
        if not as_found:
            raise
        return str(error)


def _of(entry: Entry, found: Account) -> list[Finding]:
    """Open findings that are about the event."""
    return [each for each in found.open if entry.digest in each.events]


def _copy(ground: Ground) -> Copy:
    return custody_log.read(ground.log) if os.path.lexists(ground.log) else Copy({}, {})


def _build(ground: Ground, form_file: str, before: Account, *, on_paper_first: bool = False) -> CustodyEvent:
    form = custody_form.parse(read_limited(form_file, custody_form.MAX_FORM, "form"))
    if form.consignment_id != ground.declaration.consignment_id:
        raise BadInput(f"the form is of {form.consignment_id}, the declaration of {ground.declaration.consignment_id}")
    entries = {row.entry.digest: row.entry for row in before.rows}
    event = custody_form.build(
        form,
        custody.before_next(before),
        now=ground.now,
        photo=lambda name: _sha256(os.path.join(os.path.dirname(form_file), name), name),
        event=_event(Copy(entries, {})),
        on_paper_first=on_paper_first,
    )
    declared = {drive.serial for drive in ground.declaration.drives}
    strange = [serial for serial in event.serials if serial not in declared]
    if strange:
        faults = [f"{serial}: not declared{strict.meant(serial, declared)}" for serial in strange[: strict.MAX_SHOWN]]
        raise BadInput(f"the form has {strict.shown(faults)}", hint="drives that are not declared do not travel")
    return event


def _sign(entry: Entry, signers: Sequence[Signer], allowed: AllowedSigners) -> list[bytes]:
    """A signature of each signer, who must be a side of the event and an allowed signer."""
    sides = [custody.side_of(entry.event, signer.public_key) for signer in signers]
    for signer, side in zip(signers, sides, strict=True):
        if side is None:
            raise Refused(
                f"{signer.path}: its key, {signer.public_key.fingerprint}, is that of neither side of the event",
                hint="the event names the fingerprints of those who sign it",
            )
    if len({signer.public_key.fingerprint for signer in signers}) != len(signers):
        raise BadInput("the same key is given twice")
    signatures = []
    for signer in signers:
        signature = signer.sign(entry.data, NAMESPACE)
        allowed.signer(entry.data, signature, NAMESPACE, entry.event.at)
        signatures.append(signature)
    return signatures


def _event(copy: Copy) -> Callable[[str], str]:
    """A function from the first digits of a digest to the digest; BadInput unless exactly one event begins so."""

    def find(digits: str) -> str:
        found = [each for each in copy.entries if each.startswith(digits)]
        if len(digits) < MIN_DIGITS or not re.fullmatch("[0-9a-f]+", digits) or len(found) != 1:
            begin = f"{len(found)} events of the log begin" if len(found) > 1 else "no event of the log begins"
            raise BadInput(
                f"{digits[:64]!r}: {begin} so",
                hint=f"at least {MIN_DIGITS} digits, as sealift custody shows them",
            )
        return found[0]

    return find


def _sha256(path: str, name: str) -> str:
    """SHA-256 of a photograph; a name of 64 hexadecimal digits is one already."""
    if re.fullmatch("[0-9a-f]{64}", name):
        return name
    return hashlib.sha256(read_limited(path, MAX_PHOTO, "photograph")).hexdigest()
