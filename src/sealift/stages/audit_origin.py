"""What an audit asks of the records that the origin makes: declaration, screening, keys, release, seal, manifests.

    look      a Case -> findings; and what of it holds: revisions, releases, seals
    fallen    what later screenings say against the last release, once it is known where the drives are

What holds: each signature is judged in its one namespace at the time that its record states. A release is asked again
whether the gate was open, by the rules, the screening and the keys that it binds, at the time at which it was signed;
lists of countries and currencies, which change, are not asked again. A seal binds a release and a declaration that are
here, seals exactly the drives that are declared, and is not of what was superseded when it was sealed.

What is not here: what happens afterwards (audit_judge.py).
"""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sealift.errors import SealiftError
from sealift.formats import audit, manifest
from sealift.formats.manifest import SEAL_FILES
from sealift.formats.sizes import counted
from sealift.reading import trust
from sealift.stages import audit_later, audit_times, origin
from sealift.stages.audit_case import Case, Entry, Released, Sealed, some
from sealift.stages.screen import SECOND
from sealift.trade import audit as audits
from sealift.trade import (
    declaration,
    gate,
    keys,
    persons,
    receipt,
    release,
    revision,
    rules,
    screening,
    source_release,
    standing,
)
from sealift.trade.persons import Origin

if TYPE_CHECKING:
    from sealift.formats.allowed_signers import Person, Signer
    from sealift.formats.audit import Kind
    from sealift.reading.trust import TrustedSeal
    from sealift.trade.declaration import Declaration


def look(case: Case) -> None:
    """Every rule of what the origin makes, one record after another."""
    _declarations(case)
    _screenings(case)
    _keys(case)
    _releases(case)
    _seals(case)
    _stands(case)
    audit_times.seal_clocks(case)
    audit_times.to_come(case)
    _manifests(case)
    _origin(case)


def _origin(case: Case) -> None:
    """Who is of the origin by all these records, those who freed the source too: receipts of theirs are none."""
    people: list[tuple[Person, str]] = []
    for each in case.released:
        people += [(each.release.author, persons.AUTHOR), (each.release.person, persons.OFFICER)]
    for sealed in case.seals:
        people += origin.by_seal(sealed.trusted).people
    for entry, signature in case.signed("source-release"):
        with contextlib.suppress(SealiftError):  # said where it is judged
            freed = source_release.check_source_release(entry.data, signature, case.allowed)
            case.bound.append((freed.person, persons.FREER))
    case.origin = Origin().joined(people, case.bound)
    case.seals[:] = [each._replace(ground=each.ground._replace(origin=case.origin)) for each in case.seals]


def _declarations(case: Case) -> None:
    numbered: dict[int, tuple[str, Declaration]] = {}
    drafts: list[tuple[str, Declaration]] = []
    for path, data in sorted(case.files.items()):
        found = audit.describe(path)
        if found is None or found.kind not in {"declaration", "draft"}:
            continue
        parsed = case.attempt(path, declaration.parse, data, draft=True)
        if parsed is None:
            continue
        if parsed.consignment_id != case.id:
            case.say(path, "wrong", f"it is of {parsed.consignment_id}, not of {case.id}")
            continue
        case.revisions[parsed.digest] = (path, parsed)
        stated = re.search(r"\.r([0-9]+)\.toml$", path)
        if stated and int(stated[1]) != parsed.revision:
            case.say(path, "wrong", f"it is revision {parsed.revision}, and its name says another")
        elif stated:
            numbered[parsed.revision] = (path, parsed)
        else:
            drafts.append((path, parsed))
    for path, parsed in drafts:
        if parsed.revision in numbered:
            other = numbered[parsed.revision][0].rpartition("/")[2]
            text = f"it says that it is revision {parsed.revision}, which was released with other bytes: {other} counts"
            case.say(path, "look", text)
    for number, (path, parsed) in sorted(numbered.items()):
        if number > 1 and number - 1 not in numbered:
            before = f"{case.folder}declaration.r{number - 1}.toml"
            case.say(before, "missing", f"revision {number} supersedes it, and it is not here")
        elif number > 1:
            for fault in revision.faults(parsed, numbered[number - 1][1]):
                case.say(path, "wrong", fault)


def _screenings(case: Case) -> None:
    for entry, signature in case.signed("screening"):
        second = case.files.get(f"{entry.path}{SECOND}")
        found = case.attempt(entry.path, screening.check_screening, entry.data, signature, second, case.allowed)
        if found is not None:
            case.bound.append((found.signer.person, persons.SCREENER))
            case.bound += [(found.reviewer.person, persons.SECOND)] if found.reviewer is not None else []
            before = entry.record.supersedes
            _superseded(case, entry, before.blake3 if before else None)


def _keys(case: Case) -> None:
    for entry, signature in case.signed("keys"):
        found = case.attempt(entry.path, keys.check_record, entry.data, signature, case.allowed)
        if found is not None:
            case.bound.append((found.signer.person, persons.PROVER))
            _superseded(case, entry, entry.record.supersedes)


def _superseded(case: Case, entry: Entry, before: str | None) -> None:
    kind: Kind = "screening" if "/screening." in entry.path else "keys"
    if before is not None and case.find(kind, before) is None:
        case.say(entry.path, "missing", f"the record that it supersedes (BLAKE3 {before}) is not here")


def _releases(case: Case) -> None:
    for entry, signature in case.signed("release"):
        known = case.revisions.get(entry.record.declaration.blake3)
        if known is None:
            text = f"the declaration that it releases (BLAKE3 {entry.record.declaration.blake3}) is not here"
            case.say(entry.path, "missing", text)
            continue
        found = case.attempt(entry.path, release.check_release, known[1], entry.data, signature, case.allowed)
        if found is None:
            continue
        case.released.append(Released(entry, found, known[1]))
        if _gate(case, case.released[-1]):
            changed = found.record.rules.changed
            by = f" By rules that are not as shipped: {', '.join(changed)}." if changed else ""
            case.hold(f"revision {known[1].revision}: {found.summary}{by}")
    _unreleased(case)
    case.released.sort(key=lambda each: _place(case, each))
    if not case.released:
        case.say(f"{case.folder}release.1.json", "pending", "no release that holds is here: nothing may leave")


def _place(case: Case, released: Released) -> tuple[int, bool, str]:
    """Of one revision the newest release comes last; one from the future before those whose times are right."""
    number, at = released.declaration.revision, released.release.record.released_at
    return (number, not audit_times.is_to_come(case, released), at)


def _unreleased(case: Case) -> None:
    """Revisions, signatures of authors, and rules that no release here is of: they were exchanged for others."""
    releases = [each.record for each in case.of("release")]
    signed: dict[str, set[bytes]] = {}
    for record in releases:
        signed.setdefault(record.declaration.blake3, set()).add(record.author_signature.encode())
    for path, parsed in case.revisions.values():
        if not path.endswith(f".r{parsed.revision}.toml"):
            continue
        if parsed.digest not in signed:
            case.say(path, "wrong", "no release here is of exactly these bytes")
        elif f"{path}.sig" not in case.files:
            case.say(f"{path}.sig", "wrong", "the author's signature is not here")
        elif case.files[f"{path}.sig"] not in signed[parsed.digest]:
            case.say(f"{path}.sig", "wrong", "no release here has exactly this signature of the author")
    bound = {record.rules.blake3 for record in releases}
    for digest, (path, _) in case.rules.items():
        if digest not in bound:
            case.say(path, "wrong", "no release here was made by exactly these rules")


def _gate(case: Case, released: Released) -> bool:
    """Whether the gate was open when it was released, by the records that the release binds."""
    record, path, parsed = released.release.record, released.entry.path, released.declaration
    at = release.released_at(record)
    kept = _rules(case, record.rules.blake3)
    if kept is None:
        text = f"the rules by which it was released (edition {record.rules.edition}, BLAKE3 {record.rules.blake3})"
        case.say(path, "missing", f"{text} are not here")
        return False
    if parsed.rehearsal:
        return True
    if not kept.known:
        return False
    case.ended[released.entry.digest] = tuple(standing.ended(parsed, kept, at))
    found = kept.rules
    screened, why_screening = _screened(case, record.screening, parsed, found, at, path)
    proved, why_keys = _proved(case, record.keys, parsed, found, at, path)
    if not (screened and proved):
        return False
    bound = case.find("keys", record.keys.blake3) if record.keys else None
    facts = gate.Facts(  # who the author is: `check_release`; revisions: `_declarations`
        author=[], screening=why_screening, keys=why_keys, revision=[], waiver=bound.record.waiver if bound else None,
        waived_by=_signer(case, bound),
    )  # fmt: skip
    why = standing.held_then(parsed, record, released.release.principal, kept, facts, at)
    for each in why:
        case.say(path, "wrong", each)
    if held := [*why, *why_screening, *why_keys]:
        case.shut[released.entry.digest] = held
    return not held


def _signer(case: Case, entry: Entry | None) -> Person | None:
    """Who signed a record of keys; None where it does not hold, which was said of it."""
    if entry is None or entry.signature is None:
        return None
    try:
        return keys.check_record(entry.data, entry.signature, case.allowed).signer.person
    except SealiftError:
        return None


def _rules(case: Case, digest: str) -> rules.Kept | None:
    """The rules of a release; what of them another version of the software made is told."""
    path, data = case.rules.get(digest, ("", b""))
    found = case.attempt(path, rules.kept, data) if path else None
    if found is not None and (told := found.told):
        case.say(path, "look", f"rules {told}")
    return found


def _screened(
    case: Case, bound: release.Evidence | None, parsed: Declaration, by: rules.Rules, at: datetime, path: str
) -> tuple[bool, list[str]]:
    """Whether the screening that a release binds is here, and why it held at that time."""
    wanted = any(rule.check == "screening" for rule in by.rules)
    entry = _evidence(case, "screening", bound, path, wanted=wanted)
    if entry is None or entry.signature is None:
        return not wanted, []
    second = case.files.get(f"{entry.path}{SECOND}")
    try:
        checked = screening.check_screening(entry.data, entry.signature, second, case.allowed)
    except SealiftError:
        return False, []  # said already, of the screening
    found = screening.standing(parsed, checked, [], at, max_age_days=by.list_days)
    return True, _stood(case, entry, [f"{each.where}: {each.reason}".removeprefix(": ") for each in found])


def _proved(
    case: Case, bound: release.Evidence | None, parsed: Declaration, by: rules.Rules, at: datetime, path: str
) -> tuple[bool, list[str]]:
    wanted = any(rule.check == "keys" for rule in by.rules)
    entry = _evidence(case, "keys", bound, path, wanted=wanted)
    if entry is None or entry.signature is None:
        return not wanted, []
    try:
        checked = keys.check_record(entry.data, entry.signature, case.allowed)
        rows = parsed.encryption.recipients
        holders = [keys.Holder.of(row.name, row.organisation, row.recipient) for row in rows]
    except SealiftError:
        return False, []
    found = keys.standing(checked, parsed.consignment_id, holders, at, max_age_days=by.keys_days)
    return True, _stood(case, entry, [f"{each.where}: {each.reason}".removeprefix(": ") for each in found])


def _evidence(case: Case, kind: Kind, bound: release.Evidence | None, path: str, *, wanted: bool) -> Entry | None:
    if bound is None:
        if wanted:
            case.say(path, "wrong", f"it binds no record of {kind}, and the rules want one")
        return None
    entry = case.find(kind, bound.blake3)
    if entry is None or len(entry.data) != bound.bytes:
        case.say(path, "missing", f"the {kind} that it binds (BLAKE3 {bound.blake3}) is not here")
        return None
    return entry


def _stood(case: Case, entry: Entry, why: list[str]) -> list[str]:
    for each in why:
        case.say(entry.path, "wrong", f"it held when it was released: {each}")
    return why


# --- seal and manifests


def _seals(case: Case) -> None:
    for entry in case.of("seal"):
        folder = entry.path.removesuffix("seal.json")
        names = {name: folder + name.rpartition("/")[2] for name in SEAL_FILES}
        files = {name: case.files[path] for name, path in names.items() if path in case.files}
        try:
            trusted = trust.open_seal(files, case.allowed)
        except SealiftError as error:
            for name in {SEAL_FILES[0], *trust.damaged_seal_files(files)}:
                case.say(names[name], "wrong", str(error))
            continue
        _sealed_right(case, entry, trusted)
        people = origin.by_seal(trusted)
        ground = source_release.Ground(trusted.seal, trusted.reference.seal, trusted.declaration, people)
        case.seals.append(Sealed(entry.path, trusted, ground))
    case.seals.sort(key=lambda each: (each.trusted.declaration.revision, each.trusted.seal.sealed_at, each.path))
    if case.seals:
        seal = case.seals[-1].trusted.seal
        drives = sum(len(group.drives) for group in seal.groups)
        case.hold(f"sealed at {seal.sealed_at}: {counted(drives, 'drive')} in {counted(len(seal.groups), 'group')}")
    else:
        case.say(f"{case.folder}seal.1/seal.json", "pending", "no seal that holds is here: it is not closed")


def _sealed_right(case: Case, entry: Entry, trusted: TrustedSeal) -> None:
    """Released and declared as the other records say, and exactly the drives that are declared."""
    if trusted.declaration.digest not in case.revisions:
        case.say(entry.path, "wrong", "the declaration that it binds is no revision that is here")
    if case.find("release", trusted.seal.release.blake3) is None:
        case.say(entry.path, "wrong", "the release that it binds is none that is here")
    packed = {drive.serial for group in trusted.seal.groups for drive in group.drives}
    absent = [drive.serial for drive in trusted.declaration.drives if drive.serial not in packed]
    if trusted.undeclared and not trusted.seal.rehearsal:
        case.say(entry.path, "wrong", f"drives that are not declared: {some(trusted.undeclared)}")
    if absent and not trusted.seal.rehearsal:
        case.say(entry.path, "wrong", f"drives that are declared, and not sealed: {some(absent)}")


def _stands(case: Case) -> None:
    """Nothing is sealed under a release after a later one."""
    if not case.released:
        return
    last, sealed = case.released[-1], case.seals[-1] if case.seals else None
    number, at = last.declaration.revision, release.released_at(last.release.record)
    for each in audit_times.sealed_late(case, number, at):
        mine, by = each.trusted.declaration.revision, last.release.record.released_at
        case.say(each.path, "wrong", f"it is of revision {mine}, sealed after revision {number} was released, at {by}")
    if sealed is not None and sealed.trusted.declaration.revision < number:
        case.say(sealed.path, "pending", f"nothing is sealed under revision {number} yet, which supersedes it")


def fallen(case: Case) -> None:
    """The last release, if it does not stand any more: people must look, unless every drive came back for that."""
    if not case.released:
        return
    last, sealed = case.released[-1], case.seals[-1] if case.seals else None
    for found in _later(case, last):
        too_late = (
            sealed is not None
            and found.since is not None
            and not found.vague
            and trust.sealed_at(sealed.trusted.seal) >= found.since
        )
        if not too_late and found.since is not None and audit_later.are_back(case):
            case.hold(f"stopped, and every drive is back at the origin: the release does not stand: {found.text}")
            continue
        entry = case.find("screening", found.record)
        path = entry.path if entry is not None else last.entry.path
        case.say(path, "wrong" if too_late else "look", f"the release does not stand: {found.text}")


def _later(case: Case, released: Released) -> list[standing.Against]:
    """What later screenings say against a release."""
    bound, at = released.release.record.screening, release.released_at(released.release.record)
    known = case.find("screening", bound.blake3) if bound else None
    parsed, here = released.declaration, [_signed(case, each, released.declaration) for each in case.of("screening")]
    digest = bound.blake3 if bound else ""
    return standing.later(parsed, known.record if known else None, digest, at, here, case.now)


def against(case: Case, released: Released) -> tuple[standing.Against, ...]:
    """What speaks against a release, for whoever acted on it: its gate was not open, or a later screening."""
    shut = [standing.Against(each) for each in case.shut.get(released.entry.digest, ())]
    return (*shut, *_later(case, released))


def _signed(case: Case, entry: Entry, parsed: Declaration) -> standing.Screened:
    """A screening, and whose signatures on it count."""
    signed = reviewed = False
    if entry.signature is not None:
        second = case.files.get(f"{entry.path}{SECOND}")
        with contextlib.suppress(SealiftError):  # said where it is judged
            checked = screening.check_screening(entry.data, entry.signature, second, case.allowed)
            signed, reviewed = True, screening.is_reviewed(checked, parsed)
    return standing.Screened(entry.record, entry.digest, signed, reviewed)


def _manifests(case: Case) -> None:
    bound = {
        (group.manifest.blake3, group.group, sealed.trusted.seal.shipment)
        for sealed in case.seals
        for group in sealed.trusted.seal.groups
    }
    times = audits.sealed_times(case.files)
    for entry in case.of("manifest"):
        if case.seals and (entry.digest, entry.record.group, entry.record.shipment) not in bound:
            case.say(entry.path, "wrong", "it is the manifest of no group that was sealed")
        if entry.signature is not None:
            at = receipt.instant(times[entry.digest], "seal") if entry.digest in times else case.now
            found = _expired(case, entry, entry.signature)
            if found is None:
                signer = case.allowed.signer
                found = case.attempt(entry.path, signer, entry.data, entry.signature, manifest.NAMESPACE, at)
            case.bound += [(found.person, persons.PACKER)] if found is not None else []
    if not case.seals:
        return
    here = {entry.digest for entry in case.of("manifest")}
    absent = [str(g.group) for g in case.seals[-1].trusted.seal.groups if g.manifest.blake3 not in here]
    if absent:
        text = f"manifests of these groups are not here; the seal has their digests: {some(absent)}"
        case.say(case.seals[-1].path, "pending", text)


def _expired(case: Case, entry: Entry, signature: bytes) -> Signer | None:
    """Who packed what nobody has sealed yet, by a key whose time has ended since: people look, as `seal` refuses it.

    A manifest states no time; a seal will tell one. Nothing went by it, so nobody did anything wrong.
    """
    if case.of("seal"):
        return None
    with contextlib.suppress(SealiftError):
        case.allowed.signer(entry.data, signature, manifest.NAMESPACE, case.now)
        return None
    ends = {line.valid_before for line in case.allowed.lines if line.valid_before is not None}
    for end in sorted(each for each in ends if each < case.now.timestamp()):
        with contextlib.suppress(SealiftError):
            at = datetime.fromtimestamp(end, UTC)
            found = case.allowed.signer(entry.data, signature, manifest.NAMESPACE, at)
            text = (
                f"it is signed by a key of {found.principal} that was valid until {at.strftime(receipt.TIME)}, and no"
                " seal tells when it signed: `sealift seal` refuses that. Whoever keeps the allowed signers lets that"
                " line be valid until they are sealed; what a key in other hands may have signed is packed anew"
            )
            case.say(entry.path, "look", text)
            return found
    return None
