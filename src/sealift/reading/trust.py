"""Who is believed: manifests and the seal, by the signatures of allowed signers and nothing else.

`open_seal` and `trusted_manifest` are the two doors through which signed bytes come in, and `check_reply` says whether
one shipment answers another; what they return holds, by the numbered rules in their docstrings. What is not here:
whether the drives hold what was signed (survey.py, stages/verify.py), and decryption. `load_seal` alone reads files.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3

from sealift.drives import locations
from sealift.errors import BadInput, DeclarationInvalid, FormatError, Refused, SealInvalid, SignatureInvalid
from sealift.formats import manifest as manifests
from sealift.formats import seal as seals
from sealift.formats import sshsig
from sealift.formats.manifest import NAMESPACE, ROOT, SEAL_FILES, FileRef, InReplyTo, Manifest
from sealift.trade import declaration as declarations
from sealift.trade import homeward, persons
from sealift.trade.release import Release, check_release
from sealift.trade.signing import read_limited

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sealift.formats.allowed_signers import AllowedSigners, Signer
    from sealift.formats.seal import Seal
    from sealift.trade.declaration import Declaration

SEAL_JSON, SEAL_SIG, DECLARATION, RELEASE, RELEASE_SIG = SEAL_FILES
_NEW_SEAL = "ask the origin for the seal file of this shipment"


class TrustedSeal(NamedTuple):
    """A seal that holds: its five files, who signed it, who released it, and the declaration it binds."""

    seal: Seal
    files: dict[str, bytes]
    signer: Signer
    release: Release
    officer: str
    declaration: Declaration

    @property
    def undeclared(self) -> list[str]:
        """Serials of the seal's drives that the declaration does not name."""
        declared = {drive.serial for drive in self.declaration.drives}
        drives = (drive for group in self.seal.groups for drive in group.drives)
        return [drive.serial for drive in drives if drive.serial not in declared]

    @property
    def reference(self) -> InReplyTo:
        """How a return leg names this shipment."""
        return InReplyTo(
            shipment=self.seal.shipment,
            consignment_id=self.seal.consignment_id,
            seal=FileRef(bytes=len(self.files[SEAL_JSON]), blake3=blake3(self.files[SEAL_JSON]).hexdigest()),
        )


def open_seal(files: dict[str, bytes], allowed: AllowedSigners) -> TrustedSeal:
    """The seal in `files` (the names of SEAL_FILES), if it holds.

    1. All five files are there, none longer than its limit.
    2. seal.json is canonical and consistent in itself.
    3. It is signed in namespace `sealift` by an allowed signer, whose key was valid when it was sealed.
    4. Declaration, release and the release's signature are the bytes whose length and digest it states.
    5. The declaration is complete; its consignment id and whether it is a rehearsal are the seal's.
    6. The release holds: signed in namespace `sealift-release` by an allowed signer, over this declaration,
       by somebody who is not the declaration's author.
    7. Who signed the release did not sign the seal, with another of their keys either.
    8. What it says of the leg home, and which consignment it answers, is what the declaration says.

    Raises SignatureInvalid (rules 3 and 6), Refused (6) or SealInvalid.
    """
    seal = read_seal(files)
    signer = allowed.signer(files[SEAL_JSON], files[SEAL_SIG], NAMESPACE, sealed_at(seal))
    try:
        declaration = declarations.parse(files[DECLARATION], draft=False)
        release = check_release(files[DECLARATION], files[RELEASE], files[RELEASE_SIG], allowed)
    except DeclarationInvalid as error:
        raise SealInvalid(f"the seal binds a declaration that is not complete: {error}", hint=_NEW_SEAL) from error
    except FormatError as error:
        raise SealInvalid(f"the seal's release: {error}", hint=_NEW_SEAL) from error
    if (declaration.consignment_id, declaration.rehearsal) != (seal.consignment_id, seal.rehearsal):
        raise SealInvalid("the seal names another consignment than its declaration", hint=_NEW_SEAL)
    if (seal.return_ or None) != declaration.return_leg:
        raise SealInvalid("the seal says something else of the leg home than its declaration", hint=_NEW_SEAL)
    answered = seal.in_reply_to.consignment_id if seal.in_reply_to else ""
    if (declaration.leg == "return", declaration.in_reply_to) != (bool(answered), answered):
        raise SealInvalid("the seal answers another shipment than its declaration says", hint=_NEW_SEAL)
    if persons.same(release.person, signer.person):
        one = "key" if release.fingerprint == signer.fingerprint else f"person, {signer.principal},"
        raise SealInvalid(
            f"one {one} both sealed and released this shipment; another person must release it",
            hint="have it released with the officer's own key, and sealed again",
        )
    return TrustedSeal(seal, files, signer, release, release.record.officer, declaration)


def check_reply(trusted: TrustedSeal, outbound: TrustedSeal, later: Iterable[Seal] = ()) -> Signer:
    """Whom of the signers that `outbound` accepts `trusted` is signed by, if it answers `outbound`.

    `later` are seals of later revisions of what `outbound` is of, as far as they are known.

    1. `trusted` is of a return leg, and names exactly this outbound seal: its ids, length and digest.
    2. The outbound seal says who may sign the leg home, and one of these signed `trusted`.
    3. Either both are rehearsals, or none is.
    4. The last of `later` that was made before `trusted` was sealed accepts its signer and its recipients, too.

    Raises Refused (1, 3 and 4), SignatureInvalid (2).
    """
    seal, wanted = trusted.seal, outbound.reference
    if seal.in_reply_to != wanted:
        what = f"answers {seal.in_reply_to.consignment_id}" if seal.in_reply_to else "is no return leg"
        hint = "give the seal of the outbound shipment that it answers, or look for another return shipment"
        if seal.in_reply_to and seal.in_reply_to.shipment == wanted.shipment:
            hint = (
                "it answers another seal of the same shipment: give that one (one that was superseded is kept under a "
                "number)"
            )
            if why := _not_accepted(trusted, outbound.seal):
                hint = (
                    f"the seal given was made before it was sealed, and {why}: if no newer one of "
                    f"{wanted.consignment_id} is there, whom it accepts packs the answer anew, in reply to it"
                )
        raise Refused(
            f"shipment {seal.shipment} {what}; it does not answer this seal of {wanted.consignment_id}", hint=hint
        )
    if seal.rehearsal != outbound.seal.rehearsal:
        raise Refused("a rehearsal answers a rehearsal, and a shipment a shipment")
    signer = accepted_signers(outbound).signer(
        trusted.files[SEAL_JSON], trusted.files[SEAL_SIG], NAMESPACE, sealed_at(seal)
    )
    before = [each for each in later if sealed_at(each) < sealed_at(seal)]
    newest = max(before, key=sealed_at, default=None)
    if newest is not None and (why := _not_accepted(trusted, newest)):
        raise Refused(
            f"shipment {seal.shipment} was sealed at {seal.sealed_at}, and answers a seal of {wanted.consignment_id} "
            f"that was superseded at {newest.sealed_at} by one that {why}",
            hint="whom that one accepts packs the answer anew, in reply to it",
        )
    return signer


def _not_accepted(trusted: TrustedSeal, newest: Seal) -> str | None:
    """Why an answer that was sealed after `newest` is not what that accepts, after "which"; None: it is, or before."""
    if sealed_at(trusted.seal) <= sealed_at(newest):
        return None
    if not newest.return_:
        return "names nobody who may answer"
    if not homeward.accepted(newest.return_).allows(trusted.signer.key, NAMESPACE, sealed_at(trusted.seal)):
        return f"does not accept who signed it, {trusted.signer.principal} ({trusted.signer.fingerprint})"
    rows = trusted.declaration.encryption.recipients
    others = [row.recipient for row in rows if homeward.plain(row.recipient) not in newest.return_.recipients]
    return f"does not name {others[0]}, for whom it is encrypted" if others else None


def accepted_signers(outbound: TrustedSeal) -> AllowedSigners:
    """Who may sign what answers `outbound`; Refused where its origin names nobody."""
    if not outbound.seal.return_:
        raise Refused(
            f"the seal of {outbound.seal.consignment_id} names no recipients and no signers of a leg home",
            hint="the origin fills in [return] in its declaration, has it released, and seals again; nothing is packed "
            "anew for that",
        )
    return homeward.accepted(outbound.seal.return_)


def read_seal(files: dict[str, bytes]) -> Seal:
    """The seal by rules 1, 2 and 4 of `open_seal`: whole, but signed by nobody knows whom. SealInvalid."""
    for name in SEAL_FILES:
        if name not in files:
            raise SealInvalid(f"the seal lacks {name}", hint=_NEW_SEAL)
        if len(files[name]) > seals.LIMITS[name]:
            raise SealInvalid(f"{name} is longer than {seals.LIMITS[name]:,} bytes", hint=_NEW_SEAL)
    try:
        seal = seals.decode_seal(files[SEAL_JSON])
        manifest_times(seal)
    except (FormatError, ValueError) as error:
        raise SealInvalid(f"the seal is damaged: {error}", hint=_NEW_SEAL) from error
    bound = {DECLARATION: seal.declaration, RELEASE: seal.release, RELEASE_SIG: seal.release_signature}
    for name, ref in bound.items():
        if not _is(files[name], ref):
            raise SealInvalid(f"{name} is not the one that was sealed", hint=_NEW_SEAL)
    return seal


def damaged_seal_files(files: dict[str, bytes]) -> list[str]:
    """Which files of a seal that does not hold are to blame, as far as they can tell among themselves."""
    missing = [name for name in SEAL_FILES if name not in files]
    if missing:
        return missing
    try:
        seal = seals.decode_seal(files[SEAL_JSON])
    except FormatError:
        return [SEAL_JSON]
    try:
        sshsig.parse(files[SEAL_SIG])
    except SignatureInvalid:
        return [SEAL_SIG]
    bound = {DECLARATION: seal.declaration, RELEASE: seal.release, RELEASE_SIG: seal.release_signature}
    wrong = [name for name, ref in bound.items() if not _is(files[name], ref)]
    try:
        sshsig.verify(files[SEAL_JSON], files[SEAL_SIG], NAMESPACE)
    except SignatureInvalid:
        return [SEAL_JSON] if wrong else [SEAL_JSON, SEAL_SIG]
    return wrong or [SEAL_JSON]


def _is(data: bytes, ref: FileRef) -> bool:
    return (len(data), blake3(data).hexdigest()) == (ref.bytes, ref.blake3)


def sealed_at(seal: Seal) -> datetime:
    """When the seal says that it was made. ValueError when there is no such time."""
    return _time(seal.sealed_at)


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def manifest_times(seal: Seal) -> dict[str, datetime]:
    """By BLAKE3 of each manifest that a seal names, when its key is judged. ValueError when there is no such time."""
    at = sealed_at(seal)
    return {
        group.manifest.blake3: _time(group.first_sealed_at) if group.first_sealed_at else at for group in seal.groups
    }


def trusted_manifest(
    data: bytes, signature: bytes, allowed: AllowedSigners, at: datetime | None = None
) -> tuple[Manifest, Signer]:
    """The manifest in `data`, and who signed it, if it holds.

    1. It is canonical and consistent in itself: FormatError.
    2. It is signed in namespace `sealift` by an allowed signer, its key valid `at` that time (None: now):
       SignatureInvalid. A manifest bears no time of its own; with a seal, give that of `manifest_times`.
    """
    manifest = manifests.decode_manifest(data)
    return manifest, allowed.signer(data, signature, NAMESPACE, at or datetime.now(UTC))


def load_seal(path: str) -> dict[str, bytes]:
    """The five files of a seal: of a SHIPMENT.seal file, of a drive's location, or of a folder seal/.

    Raises BadInput when there is nothing to read, SealInvalid when it is no seal. Says nothing about trust.
    """
    store = locations.is_store(path)
    if not store and not os.path.isdir(path):
        try:
            return seals.decode_bundle(read_limited(path, seals.MAX_BUNDLE, "seal"))
        except FormatError as error:
            raise SealInvalid(f"{path}: {error}", hint=_NEW_SEAL) from error
    if store or os.path.isdir(os.path.join(path, ROOT)):
        drive = locations.open_drive(path)
        try:
            found = {name: drive.read_small(name, seals.LIMITS[name]) for name in SEAL_FILES}
        except FormatError as error:
            raise SealInvalid(str(error), hint=_NEW_SEAL) from error
        files = {name: data for name, data in found.items() if data is not None}
        if not files:
            raise BadInput(f"{path}: there is no seal on this drive", hint="give the seal file (--seal FILE)")
        return files
    files = {}
    for name in SEAL_FILES:
        files[name] = read_limited(os.path.join(path, os.path.basename(name)), seals.LIMITS[name], "seal")
    return files
