"""The gate with its files: what lies beside a declaration looked at, the verdict, and the release written.

    NAME.toml.sig               the author's signature over NAME.toml
    NAME.release.json (.sig)    the release; the one before is kept: NAME.release.N.json
    NAME.rN.toml                the exact bytes that were released as revision N
    NAME.rules-DIGEST.toml      the rules by which, whose BLAKE3 begins with DIGEST (16 digits)

What holds: nothing is written unless the gate is open for exactly the bytes that `ask` read, and whoever signs was
shown, by records whose signatures hold; the bytes that are released, and the rules, are kept before the release is
written, and a revision whose bytes were kept is never released with others. What is not here: what the rules say
(trade/gate.py), and words for people (cli/release.py).
"""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sealift.errors import BadInput, FormatError, Refused, SealiftError
from sealift.formats.sshsig import MAX_ARMORED
from sealift.stages import keys as keys_stage
from sealift.stages import screen as screening_stage
from sealift.trade import declaration as declarations
from sealift.trade import gate, keys, revision, rules, screening, signing
from sealift.trade import release as releases
from sealift.trade.lists import left_out

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sealift.formats.allowed_signers import AllowedSigners, Person
    from sealift.trade.declaration import Declaration
    from sealift.trade.gate import Verdict
    from sealift.trade.lists import ScreeningList
    from sealift.trade.rules import Rules
    from sealift.trade.signing import Signer

MAX_REVISIONS = 1_000  # files of released revisions that are looked at, in one folder


@dataclass(frozen=True)
class Asked:
    """Everything that the gate is asked about, as it was read."""

    declaration: Declaration
    verdict: Verdict
    author_signature: bytes = b""
    screening: bytes | None = None
    keys: bytes | None = None


@dataclass(frozen=True)
class Released:
    """What was written."""

    record: releases.ReleaseRecord
    path: str
    kept: str  # the released bytes of the declaration
    superseded: str | None = None
    verdict: Verdict | None = field(default=None, repr=False)


def load_rules(path: str | None) -> Rules:
    """The rules in a file; those that are shipped where none is given. BadInput."""
    if path is None:
        return rules.shipped()
    found = rules.parse(signing.read_limited(path, rules.MAX_BYTES, "rules"))
    if found.edition > (today := datetime.now(UTC).date().isoformat()) and found.edition != rules.shipped().edition:
        raise BadInput(
            f"{path}: edition {found.edition} is still to come; today is {today}",
            hint="write the day on which the rules were last changed",
        )
    return found


def load_kept(path: str) -> rules.Kept:
    """The rules of a release that was given before, by whatever version of sealift. BadInput."""
    return rules.kept(signing.read_limited(path, rules.MAX_BYTES, "rules"))


def rules_beside(file: str, digest: str) -> str:
    """Where the rules by which the declaration in `file` was released are kept."""
    return f"{file.removesuffix('.toml')}.rules-{digest[:16]}.toml"


def verdict_of(file: str, parsed: Declaration, released: releases.Release) -> Verdict | str:
    """What the rules came to when `released` was signed; or why that cannot be said again from what is here.

    What the release binds was looked at then: author, screening and keys. BadInput for rules that do not read.
    """
    record = released.record
    path = rules_beside(file, record.rules.blake3)
    raw = rules.shipped().raw
    if os.path.lexists(path):
        raw = signing.read_limited(path, rules.MAX_BYTES, "rules")
        if declarations.digest(raw) != record.rules.blake3:
            name = os.path.basename(path)
            return f"{name} was altered: it is not the rules by which it was released (BLAKE3 {record.rules.blake3})"
    found = rules.kept(raw)
    if found.rules.digest != record.rules.blake3:
        return f"the rules by which it was released (BLAKE3 {record.rules.blake3}) are not beside it"
    if found.strange:
        return f"the rules by which it was released are {found.told}"
    bound = {}
    for what, at, evidence in (
        ("screening", screening.path_beside(file), record.screening),
        ("record of keys", keys.path_beside(file), record.keys),
    ):
        there = bound_beside(at, evidence)
        if evidence is not None and there is None:
            return f"the {what} that the release binds (BLAKE3 {evidence.blake3}) is not beside it"
        bound[what] = there[1] if there is not None else None
    proved = bound["record of keys"]
    facts = gate.Facts(
        author=[], screening=[], keys=[], revision=[], waiver=keys.decode(proved).waiver if proved else None
    )
    return gate.evaluate(parsed, found.rules, facts, releases.released_at(record))


def records_beside(path: str) -> list[str]:
    """The record at `path`, if it is there, and those that it supersedes, which are kept under numbers."""
    kept = screening_stage.kept_records(path)
    return [path, *kept] if os.path.lexists(path) else kept


def bound_beside(path: str, evidence: releases.Evidence | None) -> tuple[str, bytes] | None:
    """Path and bytes of the record that a release binds, from beside the declaration; None where they are not there."""
    for each in records_beside(path):
        if evidence is not None and os.path.isfile(each) and os.path.getsize(each) == evidence.bytes:
            data = signing.read_limited(each, screening.MAX_RECORD, "record")
            if declarations.digest(data) == evidence.blake3:
                return each, data
    return None


def ask(
    file: str, allowed: AllowedSigners, *, rules_file: str | None = None, lists: Sequence[str] = (),
    now: datetime | None = None, rescreen: bool = True,
) -> Asked:  # fmt: skip
    """Read what lies beside the declaration in `file`, and evaluate every rule.

    `lists` are list files at hand: everybody is screened against them again, which a release wants (`rescreen`).
    Raises BadInput for files that cannot be read; a record that does not hold is no error here, it holds the release.
    """
    now = now or datetime.now(UTC)
    parsed = declarations.parse(signing.read_limited(file, declarations.MAX_BYTES, "declaration"), draft=True)
    if parsed.rehearsal:
        raise Refused(
            "the declaration says that it is a rehearsal: such drives leave nowhere, and nobody releases them",
            hint="sealift rehearse declares and releases its own; strike the line rehearsal = true from a real one",
        )
    wanted = load_rules(rules_file)
    author, why_author = _author(file, parsed, allowed, now)
    screened, why_screening = _screening(file, parsed, allowed, wanted, lists, now, rescreen=rescreen)
    proved, proved_by, why_keys = _keys(file, parsed, allowed, wanted, now)
    facts = gate.Facts(
        author=why_author, screening=why_screening, keys=why_keys, revision=revision_faults(file, parsed),
        waiver=keys.decode(proved).waiver if proved else None, waived_by=proved_by,
    )  # fmt: skip
    return Asked(parsed, gate.evaluate(parsed, wanted, facts, now), author, screened, proved)


def release(
    file: str, asked: Asked, signer: Signer, allowed: AllowedSigners, *, officer: str, reason: str, reference: str,
    now: datetime | None = None,
) -> Released:  # fmt: skip
    """Sign the release of what was asked about, and write it beside the declaration in `file`.

    It is of the bytes that `ask` read and the officer was shown, whatever has become of the file since. Raises Refused
    at a closed gate, and as trade.release.make_release.
    """
    now = now or datetime.now(UTC)
    parsed = asked.declaration
    signed = releases.make_release(
        parsed, signer, asked.verdict, allowed, officer=officer, reason=reason, reference=reference, now=now,
        author_signature=asked.author_signature, screening=asked.screening, keys=asked.keys,
    )  # fmt: skip
    kept = revision.path_of(file, parsed.revision)
    if os.path.lexists(kept):
        if signing.read_limited(kept, declarations.MAX_BYTES, "released revision") != parsed.raw:
            raise Refused(
                f"revision {parsed.revision} was released with other bytes, which are in {kept}",
                hint=f"what was released is changed as a new revision: sealift declare --revise {file}",
            )
    else:
        signing.write_new(kept, parsed.raw)
    by = rules_beside(file, asked.verdict.rules.digest)
    if not os.path.lexists(by):
        signing.write_new(by, asked.verdict.rules.raw)
    path = releases.path_beside(file)
    superseded = signing.write_pair(path, signed.data, signed.signature)
    return Released(signed.record, path, kept, superseded, asked.verdict)


def revise(file: str) -> tuple[str, int]:
    """Make the declaration in `file` a draft of its next revision; where the file before is kept, and the new number.

    Refused where the revision that it is has not been released: then it is changed as it is.
    """
    data = signing.read_limited(file, declarations.MAX_BYTES, "declaration")
    current = declarations.parse(data, draft=True)
    kept = revision.path_of(file, current.revision)
    if not os.path.lexists(kept):
        raise Refused(
            f"revision {current.revision} of {file} has not been released: there is no {kept}",
            hint="change it as it is; it becomes a new revision only after a release",
        )
    released = signing.read_limited(kept, declarations.MAX_BYTES, "released revision")
    text = revision.next_of(data, current, released)
    draft = declarations.parse(text, draft=True)
    if (draft.revision, draft.supersedes) != (current.revision + 1, declarations.digest(released)):
        raise BadInput(
            f"{file}: its lines revision and supersedes cannot be changed by program",
            hint=f'write revision = {current.revision + 1} and supersedes = "{declarations.digest(released)}" by hand',
        )
    before = signing.write_over(file, text)
    return before or file, draft.revision


def sign(file: str, signer: Signer) -> str:
    """The author's signature over the complete declaration in `file`, written beside it; its path.

    Another one that was there is kept under a number. Raises BadInput, and as trade.release.sign_declaration.
    """
    parsed = declarations.parse(signing.read_limited(file, declarations.MAX_BYTES, "declaration"), draft=True)
    signature = releases.sign_declaration(parsed, signer)
    path = releases.author_path(file)
    if not os.path.lexists(path) or signing.read_limited(path, MAX_ARMORED, "signature") != signature:
        signing.write_over(path, signature)
    return path


# --- facts -----------------------------------------------------------------------------------------------


def _author(file: str, parsed: Declaration, allowed: AllowedSigners, now: datetime) -> tuple[bytes, list[str]]:
    """The author's signature beside the declaration, and why it does not count."""
    path = releases.author_path(file)
    if not os.path.lexists(path):
        return b"", [f"its author has not signed it: sealift declare --check {file} --sign-with KEY"]
    try:
        signature = signing.read_limited(path, MAX_ARMORED, "signature")
        releases.check_author(parsed, signature, allowed, now)
    except SealiftError as error:
        return b"", [str(error)]
    return signature, []


def _screening(
    file: str, parsed: Declaration, allowed: AllowedSigners, wanted: Rules, lists: Sequence[str], now: datetime, *,
    rescreen: bool,
) -> tuple[bytes | None, list[str]]:  # fmt: skip
    """The record beside the declaration, and why it holds."""
    path = screening.path_beside(file)
    try:
        checked = screening_stage.load_checked(path, allowed)
    except (FormatError, SealiftError) as error:
        return None, [f"{path}: {error}"]
    at_hand = screening_stage.load_lists(lists)
    files = [each for one in at_hand for each in one.files]
    found = screening.standing(parsed, checked, files, now, max_age_days=wanted.list_days)
    why = [f"{problem.where}: {problem.reason}" if problem.where else problem.reason for problem in found]
    if checked is None:
        return None, why
    data = signing.read_limited(path, screening.MAX_RECORD, "screening")
    if rescreen and not lists:
        why.append("no list is at hand to screen against again (--list FILE)")
    elif rescreen:
        left = left_out(checked.record.lists, files)
        why += [f"{file.name}: was screened, and is not at hand to screen again" for file in left]
    before = screening_stage.past_problems(path, parsed.consignment_id, allowed)
    why += [f"{problem.where}: {problem.reason}" if problem.where else problem.reason for problem in before]
    return data, why or _again(parsed, checked.record, data, at_hand, now)


def _again(
    parsed: Declaration, record: screening.ScreeningRecord, data: bytes, lists: Sequence[ScreeningList], now: datetime
) -> list[str]:
    """Hits of a screening now that the record has no decision for: of other versions of the program, for one."""
    if not lists:
        return []
    from sealift.trade import screener

    fresh = screener.screen(parsed, lists, screener=record.screener, now=now, before=(record, data))
    return [f"screened again at release: {fresh.open_hits:,} hits nobody has decided about"] if fresh.open_hits else []


def revision_faults(file: str, parsed: Declaration) -> list[str]:
    """What is wrong with it as the revision that it says it is.

    A copy under another name does not begin again: what was released of this consignment in the same folder counts.
    """
    own = os.path.basename(file).removesuffix(".toml")
    for other in sorted(glob.glob(os.path.join(glob.escape(os.path.dirname(file)), "*.r[0-9]*.toml")))[:MAX_REVISIONS]:
        stem, _, number = other.removesuffix(".toml").rpartition(".r")
        if number.isdecimal() and os.path.basename(stem) != own and _is_of(other, parsed.consignment_id):
            return [f"{other} was released, of this consignment: go on there (sealift declare --revise {stem}.toml)"]
    if again := _released_otherwise(file, parsed):
        return [again]
    if parsed.revision == 1:
        return []
    path = revision.path_of(file, parsed.revision - 1)
    before = None
    if os.path.lexists(path):
        before = declarations.parse(signing.read_limited(path, declarations.MAX_BYTES, "revision"), draft=True)
    return revision.faults(parsed, before)


def newer_release(
    file: str, parsed: Declaration, record: releases.ReleaseRecord
) -> tuple[str, releases.ReleaseRecord] | None:
    """Path and record of the last release in the folder of `file` that supersedes `record`, the one of `parsed`.

    It is of a later revision, or later and of other bytes of the same one.
    """
    others = [
        (path, other)
        for path, other in _releases_of(file, parsed)
        if other.declaration.blake3 != record.declaration.blake3
        and (other.revision, other.released_at) > (record.revision, record.released_at)
    ]
    return max(others, key=lambda each: (each[1].revision, each[1].released_at), default=None)


def _releases_of(file: str, parsed: Declaration) -> Iterator[tuple[str, releases.ReleaseRecord]]:
    """Every release of the consignment in the folder of `file`, under whatever name."""
    folder = glob.escape(os.path.dirname(file))
    for path in sorted(glob.glob(os.path.join(folder, "*.release*.json")))[:MAX_REVISIONS]:
        try:
            record = releases.decode(signing.read_limited(path, releases.MAX_RELEASE, "release"))
        except SealiftError:
            continue  # of nothing that could be told
        if record.consignment_id == parsed.consignment_id and not record.rehearsal:
            yield path, record


def _released_otherwise(file: str, parsed: Declaration) -> str:
    """Why this revision is not the one that a release in the same folder is of; "" where none says so."""
    for path, record in _releases_of(file, parsed):
        if record.revision > parsed.revision:
            return f"revision {record.revision} was released already ({path})"
        if record.revision == parsed.revision and record.declaration.blake3 != parsed.digest:
            return (
                f"revision {parsed.revision} was released with other bytes ({path}):"
                f" what was released is changed as a new revision: sealift declare --revise {file}"
            )
    return ""


def _is_of(file: str, consignment_id: str) -> bool:
    try:
        data = signing.read_limited(file, declarations.MAX_BYTES, "released revision")
        return declarations.parse(data, draft=True).consignment_id == consignment_id
    except SealiftError:
        return False  # of no shipment that could be told


def _keys(
    file: str, parsed: Declaration, allowed: AllowedSigners, wanted: Rules, now: datetime
) -> tuple[bytes | None, Person | None, list[str]]:
    """The record of proved keys beside the declaration, who signed it, and why it holds."""
    path = keys.path_beside(file)
    try:
        checked = keys_stage.load_checked(file, allowed)
        holders = keys_stage.declared(parsed)
    except (FormatError, SealiftError) as error:
        return None, None, [f"{path}: {error}"]
    found = keys.standing(checked, parsed.consignment_id, holders, now, max_age_days=wanted.keys_days)
    why = [f"{problem.where}: {problem.reason}" if problem.where else problem.reason for problem in found]
    if checked is None:
        return None, None, why
    return signing.read_limited(path, keys.MAX_RECORD, "record of keys"), checked.signer.person, why
