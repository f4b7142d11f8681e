"""Whether a release stands, by what lies beside its declaration: everybody who acts on a release asks this.

What holds: a release whose signatures hold does not stand (any more) where the same folder has a later release of the
consignment, a later screening that somebody must look at, or the records and rules by which it should not have been
given. In the folder where it was written (NAME.rN.toml, or a record that it binds, lies there) what it binds must be
there too; elsewhere, with the declaration and its release alone, it is said what could not be looked at, and no more.
A rehearsal goes to nobody, and is not asked about.

What is not here: the signatures of the release itself (trade/release.py), and what speaks against it
(trade/standing.py).
"""

from __future__ import annotations

import contextlib
import glob
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sealift.errors import Refused, SealiftError
from sealift.stages import keys as keys_stage
from sealift.stages import release as release_stage
from sealift.stages import screen as screening_stage
from sealift.trade import gate, keys, revision, rules, screening, signing
from sealift.trade import release as releases
from sealift.trade.screening_past import chain, ordered
from sealift.trade.standing import Against, Standing, ended, held_then, later

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.formats.allowed_signers import AllowedSigners, Person
    from sealift.trade.declaration import Declaration
    from sealift.trade.release import ReleaseRecord
    from sealift.trade.screening_past import Screened


def standing(
    file: str, parsed: Declaration, record: ReleaseRecord, allowed: AllowedSigners | None, now: datetime, *,
    principal: str | None = None,
) -> Standing:  # fmt: skip
    """What speaks against the release of the declaration in `file`, whose signatures somebody else has checked.

    `principal` is the name under which its officer is allowed. Without `allowed` nobody says whose signatures count:
    those of screenings want to hold, of whatever keys.
    """
    if parsed.rehearsal:
        return Standing()
    asked = _Asked(file, parsed, record, allowed, now)
    at = releases.released_at(record)
    if at > now + screening.CLOCKS_DIFFER:
        asked.say(f"it says that it was released at {record.released_at}, which is still to come")
    if newer := release_stage.newer_release(file, parsed, record):
        path, other = newer
        said = f"revision {other.revision} was released at {other.released_at} ({path})"
        asked.against.append(Against(f"it is superseded: {said}", releases.released_at(other)))
    asked.rules_and_records(principal, at)
    asked.later_screenings(at)
    return Standing(tuple(asked.against), tuple(asked.unlooked), tuple(asked.ended), tuple(asked.aged))


def check_standing(
    file: str, parsed: Declaration, record: ReleaseRecord, allowed: AllowedSigners | None, now: datetime, *,
    principal: str | None = None,
) -> Standing:  # fmt: skip
    """As `standing`; Refused where the release does not stand."""
    found = standing(file, parsed, record, allowed, now, principal=principal)
    if found.against:
        raise Refused(
            f"the release of {file} does not stand:\n  " + "\n  ".join(found.why),
            hint="sealift release --check FILE says what holds; what was released is changed as a new revision"
            " (sealift declare --revise FILE), or released again",
        )
    return found


def check_leaving(file: str, found: Standing) -> None:
    """Refused where drives do not leave the origin by a release any more, though it stands."""
    if found.ended:
        raise Refused(
            f"by the release of {file} no drive leaves the origin any more:\n  "
            + "\n  ".join(each.text for each in found.ended),
            hint="have it renewed, declare that as a new revision (sealift declare --revise FILE), and release it;"
            " drives that left before are not held by it",
        )


def check_beside(file: str, parsed: Declaration, allowed_signers: str | None) -> None:
    """Refused where a release of these very bytes lies beside the declaration, and does not stand.

    None that can be read, or one of another state of it: sealing, which wants one that holds, says what is wrong.
    """
    try:
        record = releases.decode(signing.read_limited(releases.path_beside(file), releases.MAX_RELEASE, "release"))
    except SealiftError:
        return
    if record.declaration.blake3 == parsed.digest:
        allowed = signing.load_allowed_signers(allowed_signers) if allowed_signers else None
        check_standing(file, parsed, record, allowed, datetime.now(UTC))


class _Asked:
    """What is found, while it is looked for."""

    def __init__(
        self, file: str, parsed: Declaration, record: ReleaseRecord, allowed: AllowedSigners | None, now: datetime
    ) -> None:
        self._file, self._parsed, self._record, self._allowed, self._now = file, parsed, record, allowed, now
        self.against: list[Against] = []
        self.unlooked: list[str] = []
        self.ended: list[Against] = []
        self.aged: list[str] = []
        self._days: tuple[int | None, int | None] = (None, None)
        stem = glob.escape(file.removesuffix(".toml"))
        beside = (f"{stem}.rules-*.toml", f"{stem}.screening*.json", f"{stem}.keys*.json")
        self._home = os.path.lexists(revision.path_of(file, parsed.revision)) or any(map(glob.glob, beside))

    def say(self, text: str) -> None:
        self.against.append(Against(text))

    def _absent(self, text: str) -> None:
        if self._home:
            self.say(text)
        else:
            self.unlooked.append(text)

    def rules_and_records(self, principal: str | None, at: datetime) -> None:
        """Whether the gate was open when it was released, as far as that can be looked at."""
        kept = self._rules()
        self._days = days = (None, None) if kept is None else (kept.rules.list_days, kept.rules.keys_days)
        for kind, evidence in (("screening", self._record.screening), ("keys", self._record.keys)):
            if kept is not None and evidence is None and any(rule.check == kind for rule in kept.rules.rules):
                self.say(f"it binds no record of {kind}, and its rules want one")
        self._screening(at, days[0])
        proved = self._keys(at, days[1])
        if kept is None:
            return
        waiver, by = proved or (None, None)
        # who the author is: `check_release`; of screening and keys it is said already
        facts = gate.Facts(author=[], screening=[], keys=[], revision=[], waiver=waiver, waived_by=by)
        unlooked = [rule.id for rule in kept.rules.rules if rule.check == "keys" and proved is None]
        for text in held_then(self._parsed, self._record, principal, kept, facts, at, unlooked=unlooked):
            self.say(text)
        self.ended += [each for each in ended(self._parsed, kept, at) if each.since and each.since <= self._now]

    def _rules(self) -> rules.Kept | None:
        digest = self._record.rules.blake3
        path = release_stage.rules_beside(self._file, digest)
        try:
            found = release_stage.load_kept(path) if os.path.lexists(path) else rules.kept(rules.shipped().raw)
        except SealiftError as error:
            self.say(f"{path}: {error}")
            return None
        if found.rules.digest != digest:
            self._absent(f"the rules by which it was released (BLAKE3 {digest}) are not beside it")
            return None
        if not found.known:
            self.unlooked.append(f"the rules by which it was released are {found.told}")
            return None
        return found

    def _bound(self, what: str, at: str, evidence: releases.Evidence | None) -> tuple[str, bytes] | None:
        if evidence is None:
            return None
        there = release_stage.bound_beside(at, evidence)
        if there is None:
            self._absent(f"the {what} that the release binds (BLAKE3 {evidence.blake3}) is not beside it")
        return there

    def _screening(self, at: datetime, days: int | None) -> None:
        """What of the screening that is bound held, when it was released."""
        there = self._bound("screening", screening.path_beside(self._file), self._record.screening)
        if there is None:
            return
        path, data = there
        try:
            if self._allowed is None:
                found = screening.record_problems(
                    screening.decode(data), at, reviewed=True, max_age_days=days or screening.MAX_AGE_DAYS
                )
            else:
                found = screening.standing(
                    self._parsed, screening_stage.load_checked(path, self._allowed), [], at,
                    max_age_days=days or screening.MAX_AGE_DAYS,
                )  # fmt: skip
        except SealiftError as error:
            self.say(f"{path}: {error}")
            return
        self._held(path, found)

    def _keys(self, at: datetime, days: int | None) -> tuple[keys.Waiver | None, Person | None] | None:
        """The waiver in the record of keys that is bound, and who signed it; None where nobody can look."""
        there = self._bound("record of keys", keys.path_beside(self._file), self._record.keys)
        if there is None:
            return None
        path, data = there
        try:
            if self._allowed is None:
                return keys.decode(data).waiver, None
            checked = keys_stage.check_at(path, data, self._allowed)
            holders = keys_stage.declared(self._parsed)
        except SealiftError as error:
            self.say(f"{path}: {error}")
            return None
        consignment = self._parsed.consignment_id
        self._held(path, keys.standing(checked, consignment, holders, at, max_age_days=days or keys.MAX_AGE_DAYS))
        self._keys_aged(holders)
        return checked.record.waiver, checked.signer.person

    def _keys_aged(self, holders: Sequence[keys.Holder]) -> None:
        """Whether the proofs of keys that lie here now have become too old since."""
        checked = None
        with contextlib.suppress(SealiftError):  # whatever is wrong with a later one holds nothing here
            checked = keys_stage.load_checked(self._file, self._allowed) if self._allowed else None
        days = self._days[1] or keys.MAX_AGE_DAYS
        old = keys.standing(checked, self._parsed.consignment_id, holders, self._now, max_age_days=days)
        why = [f"{each.where} {each.reason}" for each in old if each.kind == "stale"]
        if checked is not None and why:
            self.aged.append(f"proofs of keys have become older than the rules allow for a release: {'; '.join(why)}")

    def _lists_aged(self, here: Sequence[Screened]) -> None:
        """Whether the lists of the last screening of these parties have."""
        mine = [each for each in ordered(None, here) if each.signed and screening.is_of(self._parsed, each.record)]
        days = self._days[0] or screening.MAX_AGE_DAYS
        old = screening.record_problems(mine[-1].record, self._now, reviewed=True, max_age_days=days) if mine else []
        why = [f"{each.where} {each.reason}".strip() for each in old if each.kind == "stale"]
        if why:
            self.aged.append(
                f"what was screened has become older than the rules allow for a release: {'; '.join(why)}: screen again"
            )

    def _held(self, path: str, found: Sequence[screening.Problem] | Sequence[keys.Problem]) -> None:
        for each in found:
            self.say(f"{path}: it held when it was released: {each.where}: {each.reason}".replace(": : ", ": "))

    def later_screenings(self, at: datetime) -> None:
        """What was found after the screening that is bound."""
        here: list[Screened] = []
        target = screening.path_beside(self._file)
        beside = release_stage.records_beside(target)
        elsewhere = screening_stage.others(target, self._parsed.consignment_id)
        for path in (*beside, *elsewhere):
            try:
                each = screening_stage.screened(path, self._allowed, self._parsed)
            except SealiftError as error:
                if path in beside:
                    self.say(f"{path}: {error}")
                continue
            if each.record.consignment_id == self._parsed.consignment_id:
                here.append(each)
        digest = self._record.screening.blake3 if self._record.screening is not None else ""
        bound = next((each.record for each in here if each.digest == digest), None)
        self._lists_aged(here)
        self.against += later(self._parsed, bound, digest, at, here, self._now)
        self._linked(digest, here)

    def _linked(self, bound: str, here: Sequence[Screened]) -> None:
        """Whether every screening since the one that is bound is there: what found somebody is not moved away."""
        superseded = {each.record.supersedes.blake3 for each in here if each.record.supersedes is not None}
        for last in (each for each in here if each.digest not in superseded | {bound}):
            linked, missing = chain(last, here)
            if missing is not None and all(each.digest != bound for each in linked):
                self._absent(
                    f"{missing.screening_id}, which the screening of {linked[0].record.at} names as the one before it"
                    f" (BLAKE3 {missing.blake3}), is not beside it"
                )
