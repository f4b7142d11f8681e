"""Screening, with its files: lists read, the record before it looked at, the next one signed and written.

    NAME.screening.json (.sig, .second.sig)   the record; the one before is kept: NAME.screening.N.json
    NAME.screening.toml                       the worksheet, as long as a hit is open; an old one is kept under a number

What holds: nothing is signed that was not shown to be written; the record before is superseded, never lost. Its
decisions are taken over only if its signature holds: by the key that signs now, or by an allowed signer. A second
signature is put beside a record, never into it. Every record of the consignment in the folder counts, under whatever
name: what one of them found is in the next, and holds.

What is not here: words for people (cli/screen.py), what holds of a record (trade/screening.py).
"""

from __future__ import annotations

import glob
import json
import os
import re
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from sealift.errors import BadInput, FormatError, Refused, SealiftError, SignatureInvalid
from sealift.formats import canonical, sshsig, strict
from sealift.trade import declaration as declarations
from sealift.trade import (
    lists_csv,
    lists_detect,
    lookalikes,
    persons,
    screener,
    screening,
    screening_past,
    signing,
    worksheet,
)
from sealift.trade.lists import MAX_FILE, TIME, Given, ListFile, ScreeningList, left_out, stable
from sealift.trade.screening import Problem
from sealift.trade.screening_past import Screened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.trade.declaration import Declaration
    from sealift.trade.screening import ScreeningRecord
    from sealift.trade.sections import Content
    from sealift.trade.signing import Signer

SECOND = ".second.sig"
MAX_OTHERS = 1_000  # records of one consignment in a folder, under other names, that are looked at
_BEGINS = b'{\n  "type": "sealift-screening",'  # every canonical record
_HEAD = 4096  # bytes in which it names its consignment
_MANY = 20  # hits of a party, from where on it is said what helps


@dataclass(frozen=True)
class Result:
    """What was written, and what it says."""

    record: ScreeningRecord
    path: str
    superseded: str | None = None
    worksheet: str | None = None
    notes: list[str] = field(default_factory=list)
    fingerprint: str = ""


class Before(NamedTuple):
    """The record that is there, its bytes, and why its decisions cannot be taken over ("" if they can)."""

    record: ScreeningRecord
    data: bytes
    objection: str


def load_declaration(path: str) -> Declaration:
    """The declaration in a file, complete or a draft. BadInput."""
    data = signing.read_limited(path, declarations.MAX_BYTES, "declaration")
    return declarations.parse(data, draft=True)


def load_lists(paths: Sequence[str], *, fetched: datetime | None = None) -> list[ScreeningList]:
    """The lists in files: each a list, or a TOML that describes one. BadInput.

    `fetched` is when they were got, by the word of the one who screens, where a TOML states nothing else.
    """
    return [load_list(path, fetched=fetched) for path in paths]


def load_list(path: str, *, fetched: datetime | None = None) -> ScreeningList:
    """One list. BadInput."""
    if strict.unprintable(os.path.basename(path)):
        raise BadInput(f"list {path!r}: its name does not print, and the record names it", hint="give it another name")
    if not path.endswith(".toml"):
        return _read(path, None, fetched)
    data = signing.read_limited(path, lists_csv.MAX_TOML, "list's description")
    try:
        described = lists_csv.parse(data)
    except BadInput as error:
        raise BadInput(f"{path}: {error}", hint=error.hint) from error
    return _read(os.path.join(os.path.dirname(path), described.file), described, fetched)


def _read(path: str, described: lists_csv.Described | None, fetched: datetime | None) -> ScreeningList:
    def given(name: str) -> Given:
        where = os.path.join(os.path.dirname(path), name)
        data = signing.read_limited(where, MAX_FILE, "list")
        stated = (described.when if described is not None else None) or fetched
        _not_to_come(os.path.basename(where), stated)
        published = described.published if described is not None else ""
        return Given(os.path.basename(where), data, stated or _modified(where), stated is not None, published or None)

    main = given(os.path.basename(path))
    if described is None:
        return lists_detect.read(main, given)
    found = lists_detect.read(
        main, given, kind=described.format or None, columns=described.columns, encoding=described.encoding
    )
    return _called(found, described.name) if described.name else found


def _called(found: ScreeningList, name: str) -> ScreeningList:
    """A list as its user calls it, whose file may have another name each time."""
    own = {found.name, stable(found.name)}
    entries = (msgspec.structs.replace(each, source=name) if each.source in own else each for each in found.entries)
    files = (msgspec.structs.replace(found.files[0], name=name), *found.files[1:])
    return ScreeningList(files, tuple(entries), found.notes)


def _not_to_come(name: str, stated: datetime | None) -> None:
    """BadInput where somebody states that they got a list on a day that has not begun, here or in UTC."""
    now = datetime.now(UTC)
    if stated is not None and stated.astimezone(UTC).date() > max(now.date(), now.astimezone().date()):
        raise BadInput(
            f"list {name}: fetched at {stated.astimezone(UTC).strftime(TIME)}, which is in the future",
            hint="state the day on which you got it; is this host's clock right?",
        )


def _modified(path: str) -> datetime:
    """The modification time of a file; BadInput for one that no list can have."""
    try:
        found = datetime.fromtimestamp(int(os.stat(path).st_mtime), UTC)
    except (OSError, OverflowError, ValueError) as error:
        raise BadInput(
            f"list {path}: its modification time cannot be read: {error}", hint="touch -d DATE FILE"
        ) from error
    return found


def screen(
    path: str,
    lists: Sequence[ScreeningList],
    signer: Signer,
    *,
    by: str,
    out: str | None = None,
    allowed: AllowedSigners | None = None,
    now: datetime | None = None,
) -> Result:
    """Screen the declaration in `path`, and write record and worksheet. BadInput, KeyInvalid."""
    declaration = load_declaration(path)
    target = out or screening.path_beside(path)
    now = now or datetime.now(UTC)
    before = load_before(target, signer, allowed)
    if before is not None:
        _same_consignment(target, before.record, declaration)
    notes = [note for each in lists for note in each.notes]
    if before is not None and before.objection and before.record.wants_second:
        notes.append(f"decisions of {before.record.screening_id} are not taken over: {before.objection}")
    record = screener.screen(
        declaration,
        lists,
        screener=by,
        now=now,
        before=before[:2] if before is not None else None,
        carry=before is not None and not before.objection,
        remembered=_remembered(target, before, declaration.consignment_id, allowed),
    )
    notes += [
        f"{each} is a screening of this consignment too: what it found counts"
        for each in others(target, declaration.consignment_id)
    ]
    if before is not None:
        notes += _behind(before.record, record) + _fewer(before.record.lists, record.lists)
    notes += [
        f"{party.party_ref}: one word, {party.normalised[0]!r}, is near to many names; is there a fuller one?"
        for party in record.parties
        if len(party.hits) > _MANY and all(" " not in form for form in party.normalised)
    ]
    return _write(record, target, signer, notes, allowed)


def dispose(
    path: str, sheet: str, signer: Signer, *, by: str, out: str | None = None, allowed: AllowedSigners | None = None,
    now: datetime | None = None,
) -> Result:  # fmt: skip
    """Take the decisions of the worksheet `sheet`, and write the record that follows. BadInput, Refused, KeyInvalid."""
    declaration = load_declaration(path)
    target = out or screening.path_beside(path)
    now = now or datetime.now(UTC)
    before = load_before(target, signer, allowed)
    if before is None:
        raise BadInput(f"{target}: there is no screening yet", hint="sealift screen DECLARATION --list FILE ...")
    if before.objection:
        raise Refused(f"{target}: {before.objection}", hint="screen again, or give --allowed-signers")
    _same_consignment(target, before.record, declaration)
    data = signing.read_limited(sheet, worksheet.MAX_FILE, "worksheet")
    decisions, reviewer = worksheet.read(data, before.record, before.data, by=by, now=now)
    record = screener.decided(before.record, before.data, decisions, screener=by, second_reviewer=reviewer, now=now)
    return _write(record, target, signer, _behind(before.record, record), allowed)


def second(path: str, signer: Signer, *, by: str, allowed: AllowedSigners, out: str | None = None) -> Result:
    """Sign the record as its second reviewer, beside the screener's signature. BadInput, Refused, KeyInvalid."""
    target = out or screening.path_beside(path)
    data = signing.read_limited(target, screening.MAX_RECORD, "screening")
    first = signing.read_signature(target)
    with signing.of_record(target):
        record = screening.check_screening(data, first, None, allowed).record
    _same_consignment(target, record, load_declaration(path))
    if not record.wants_second:
        raise BadInput(f"{target}: nothing is decided in it that wants a second person")
    if not screening.same_person(by, record.second_reviewer):
        raise Refused(
            f"the screening names {record.second_reviewer!r} as the second reviewer, not {by!r}",
            hint="the screener names another one in the worksheet's second_reviewer",
        )
    parsed = declarations.parse(signing.read_limited(path, declarations.MAX_BYTES, "declaration"), draft=True)
    if persons.same(allowed.person(signer.public_key.fingerprint), persons.author(parsed)):
        raise Refused(
            "the second reviewer of a screening is not the declaration's author: this is the author's own key",
            hint="another person looks at the decisions, and signs with a key of their own",
        )
    signature = signer.sign(data, screening.NAMESPACE)
    screening.check_screening(data, first, signature, allowed)
    signing.write_over(target + SECOND, signature)
    return Result(record, target, fingerprint=signer.public_key.fingerprint)


def _same_consignment(target: str, record: ScreeningRecord, declaration: Declaration) -> None:
    if record.consignment_id != declaration.consignment_id:
        raise Refused(
            f"{target} is of another consignment, {record.consignment_id}",
            hint="give the record of this one with --out",
        )


def load_before(target: str, signer: Signer, allowed: AllowedSigners | None) -> Before | None:
    """The record that is there; None where there is none. BadInput where it cannot be read."""
    if not os.path.lexists(target):
        return None
    data = signing.read_limited(target, screening.MAX_RECORD, "screening")
    try:
        record = screening.decode(data)
    except FormatError as error:
        raise BadInput(f"{target}: {error}", hint="move it away, or give another file with --out") from error
    return Before(record, data, _objection(target, data, signer, allowed))


def _objection(target: str, data: bytes, signer: Signer, allowed: AllowedSigners | None) -> str:
    """Why the signature on a record is not believed; "" if it is."""
    try:
        signature = signing.read_limited(target + ".sig", sshsig.MAX_ARMORED, "signature")
        if sshsig.verify(data, signature, screening.NAMESPACE) == signer.public_key:
            return ""
        if allowed is None:
            return "another key signed it, and no allowed signers are given (--allowed-signers)"
        screening.check_screening(data, signature, None, allowed)
    except (BadInput, SignatureInvalid) as error:
        return str(error)
    return ""


def standing(
    path: str,
    lists: Sequence[ListFile],
    allowed: AllowedSigners,
    *,
    out: str | None = None,
    now: datetime | None = None,
) -> tuple[list[Problem], ScreeningRecord | None]:
    """What of the screening beside a declaration holds its release, and the record. FormatError, SignatureInvalid."""
    declaration = load_declaration(path)
    target = out or screening.path_beside(path)
    with signing.of_record(target):
        checked = load_checked(target, allowed)
    found = screening.standing(declaration, checked, lists, now or datetime.now(UTC))
    return found + beside(target, declaration, allowed), checked.record if checked is not None else None


# --- what was before -------------------------------------------------------------------------------------


def beside(target: str, declaration: Declaration, allowed: AllowedSigners | None) -> list[Problem]:
    """What holds a release and does not stand in the record at `target` itself: in names, and in earlier records."""
    found = [
        Problem("doubtful_name", subject.party_ref, why)
        for subject in screening.subjects(declaration)
        for name in (*subject.names, *subject.native)
        for why in lookalikes.doubtful(name)
    ]
    return found + past_problems(target, declaration.consignment_id, allowed)


def past_problems(target: str, consignment_id: str, allowed: AllowedSigners | None) -> list[Problem]:
    """What the other screenings of the consignment in the folder of `target` say that it does not.

    A list is not got rid of by leaving it out, nor a hit by a list without its entry, nor somebody whom a person found
    on one; nor are records that are named as its predecessors by moving them away.
    """
    if not os.path.lexists(target):
        return []
    found: list[Problem] = []
    here, last = [], None
    kept, elsewhere = kept_records(target), others(target, consignment_id)
    if len(elsewhere) > MAX_OTHERS:
        why = f"more than {MAX_OTHERS:,} screenings of this consignment lie in its folder: nobody looks at all of them"
        found.append(Problem("predecessor", "", why))
    for path in (target, *kept, *elsewhere[:MAX_OTHERS]):
        try:
            each = screened(path, allowed)
        except SealiftError as error:
            if path in kept:  # the one at `target` is looked at by everybody
                found.append(Problem("predecessor", "", f"{path}: {error}"))
            continue
        last = each if path == target else last
        here.append(each)
    if last is None:
        return found
    _, missing = screening_past.chain(last, here)
    if missing is not None:
        found.append(Problem("predecessor", "", _not_here(target, missing)))
    records = screening_past.ordered(last, here)
    return [*found, *_left_out(records), *_forgotten(records)]


def kept_records(target: str) -> list[str]:
    """Records that were superseded, by the numbers under which they are kept."""
    name = re.compile(re.escape(target.removesuffix(".json")) + r"\.([0-9]+)\.json")
    found = [(int(match[1]), path) for path in glob.glob(f"{glob.escape(target.removesuffix('.json'))}.[0-9]*.json")
             if (match := name.fullmatch(path))]  # fmt: skip
    return [path for _, path in sorted(found)]


def others(target: str, consignment_id: str) -> list[str]:
    """Files in the folder of `target` that begin as records of the consignment, and are not `target` nor kept of it.

    Up to MAX_OTHERS, and one more where there are more.
    """
    folder = os.path.dirname(target)
    own = {os.path.realpath(path) for path in (target, *kept_records(target))}
    named = b'"consignment_id": ' + msgspec.json.encode(consignment_id) + b",\n"
    found: list[str] = []
    try:
        names = sorted(os.listdir(folder or "."))
    except OSError:
        return []  # what is wrong with it shows when it is used
    for path in (os.path.join(folder, name) for name in names):
        if os.path.realpath(path) not in own and _begins(path, named):
            found.append(path)
            if len(found) > MAX_OTHERS:
                break
    return found


def _begins(path: str, named: bytes) -> bool:
    """True if a regular file, of a size that is read, begins as a record with the line `named`."""
    try:
        state = os.stat(path)
        if not stat.S_ISREG(state.st_mode) or state.st_size > screening.MAX_RECORD:
            return False
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    return head.startswith(_BEGINS) and named in head


def screened(path: str, allowed: AllowedSigners | None, declaration: Content | None = None) -> Screened:
    """A record, and whose signatures on it count; where nobody says whose do, those that hold of two keys.

    That of the author of `declaration` is not a second person's. BadInput, FormatError.
    """
    data = signing.read_limited(path, screening.MAX_RECORD, "screening")
    record = screening.decode(data)
    signed = reviewed = False
    try:
        if allowed is not None:
            checked = load_checked(path, allowed)
            signed = checked is not None
            reviewed = checked is not None and screening.is_reviewed(checked, declaration)
        else:
            first = _key(path, data, ".sig")
            signed = True
            reviewed = first != _key(path, data, SECOND)
    except SealiftError:
        pass  # it takes nothing away, and nothing of it is forgotten
    return Screened(record, declarations.digest(data), signed, reviewed)


def _key(path: str, data: bytes, end: str) -> sshsig.PublicKey:
    signature = signing.read_limited(path + end, sshsig.MAX_ARMORED, "signature")
    return sshsig.verify(data, signature, screening.NAMESPACE)


def _remembered(
    target: str, before: Before | None, consignment_id: str, allowed: AllowedSigners | None
) -> list[screening_past.Remembered]:
    """Hits of the records so far, under whatever names, that the next one must have."""
    here = []
    for path in (target, *kept_records(target), *others(target, consignment_id)[:MAX_OTHERS]):
        if before is None and path == target:
            continue
        try:
            here.append(screened(path, allowed))
        except SealiftError:
            continue  # the gate says so
    digest = declarations.digest(before.data) if before is not None else ""
    last = next((each for each in here if each.digest == digest), None)
    return screening_past.remembered(screening_past.ordered(last, here))


def _not_here(target: str, missing: screening.Supersedes) -> str:
    stem = os.path.basename(target).removesuffix(".json")
    numbers = {int(path.removesuffix(".json").rpartition(".")[2]) for path in kept_records(target)}
    free = next(number for number in range(1, len(numbers) + 2) if number not in numbers)
    return (
        f"{stem}.{free}.json: {missing.screening_id} (BLAKE3 {missing.blake3}), which a later screening names as the"
        " one before it, is not here, or is not as it was: put a copy back beside it, under any free name (an audit"
        " bundle has all of them)"
    )


def _left_out(records: Sequence[Screened]) -> list[Problem]:
    last: dict[str, tuple[ListFile, screening.ScreeningRecord]] = {}
    for each in records:  # one after the other: what stood for a list that week is what the next one must have
        left = {file.name for file in left_out([file for file, _ in last.values()], each.record.lists)}
        new = {file.name: (file, each.record) for file in each.record.lists}
        last = {name: old for name, old in last.items() if name in left} | new if each.signed else new | last
    now = {file.name for file in records[-1].record.lists}
    return [
        Problem(
            "left_out",
            name,
            f"was screened before ({record.screening_id}), and is not any more: screen again, with it too; where it is"
            f" the same list under another file name, with a TOML about it that says name = {json.dumps(name)}",
        )
        for name, (_, record) in last.items()
        if name not in now
    ]


def _forgotten(records: Sequence[Screened]) -> list[Problem]:
    true = [
        Problem(
            "true_match",
            old.party.party_ref,
            f"was found to be on a list before ({old.of.record.screening_id}): {old.hit.name!r} ({old.hit.list})",
        )
        for old in screening_past.found(records)
    ]
    said = {problem.where for problem in true}
    return true + [
        Problem(
            "unresolved",
            old.party.party_ref,
            f"may be {old.hit.name!r} ({old.hit.list}, {old.hit.entry_id}), by {old.of.record.screening_id}: nobody has"
            " decided for good, and a later screening does not have it; screen again, and decide",
        )
        for old in screening_past.dropped(records)
        if old.party.party_ref not in said
    ]


def load_checked(target: str, allowed: AllowedSigners) -> screening.Checked | None:
    """The record in a file with its signatures checked; None where there is no file.

    A second signature that is of other bytes (left behind by a crash) counts as none. FormatError, SignatureInvalid,
    Refused.
    """
    if not os.path.lexists(target):
        return None
    data = signing.read_limited(target, screening.MAX_RECORD, "screening")
    signature = signing.read_signature(target, error=SignatureInvalid)
    by_second = None
    if os.path.lexists(target + SECOND):
        by_second = signing.read_limited(target + SECOND, sshsig.MAX_ARMORED, "signature", error=SignatureInvalid)
    try:
        return screening.check_screening(data, signature, by_second, allowed)
    except SignatureInvalid:
        if by_second is None:
            raise
        return screening.check_screening(data, signature, None, allowed)


def _write(
    record: ScreeningRecord, target: str, signer: Signer, notes: list[str], allowed: AllowedSigners | None
) -> Result:
    data = canonical.encode(record)
    if screening.decode(data) != record:
        raise SealiftError("the record does not read as it was written; nothing was written")
    signature = signer.sign(data, screening.NAMESPACE)
    if allowed is not None:  # a key that no gate will accept is told now, and takes no good record's place
        screening.check_screening(data, signature, None, allowed)
    superseded = signing.write_pair(target, data, signature, with_it=(SECOND,))
    sheet = None
    if record.open_hits:
        sheet = worksheet.path_beside(target)
        kept = signing.write_over(sheet, worksheet.render(record, data).encode())
        notes = [*notes, f"the worksheet that was there is kept as {kept}"] if kept else notes
    return Result(record, target, superseded, sheet, notes, signer.public_key.fingerprint)


def _behind(before: ScreeningRecord, record: ScreeningRecord) -> list[str]:
    """What is to say of a record whose clock was before the one that it supersedes."""
    if record.at >= before.at:
        return []
    why = f"the clock says {record.at}, and the screening that this one supersedes says that it was made at {before.at}"
    return [f"{why}: one of the clocks was wrong. This screening counts as the later one all the same; set the clock"]


def _fewer(before: Sequence[ListFile], after: Sequence[ListFile]) -> list[str]:
    """Lists that were screened the last time and are not now; and those that lost a tenth of their entries since."""
    old = {stable(file.name): file.rows for file in before} | {file.name: file.rows for file in before}
    rows = {file.name: old.get(file.name, old.get(stable(file.name), 0)) for file in after}
    return [f"{file.name}: was screened against before, and is not now" for file in left_out(before, after)] + [
        f"{file.name}: {file.rows:,} entries, where the one screened before had {rows[file.name]:,}; is it whole?"
        for file in after
        if file.rows < 0.9 * rows[file.name]
    ]
