"""What the times in an audit bundle prove, and where they only show that a clock was wrong.

    to_come        records that are later than the bundle
    seal_clocks    seals that are earlier than the release that they bind
    sealed_late    seals of a revision that were made after the next was released

What holds: what a record names by its digest was there before it, whatever both say of the time; so where times say
the opposite, or of what a record of before the bundle names, a clock was wrong, and nobody did anything wrong. A seal
that was made again with a clock that is right cures the one before it: it says the same.

What is not here: the clocks of a custody log (trade/custody.py) and of what was read (audit_where.py).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from sealift.errors import FormatError, SealiftError
from sealift.formats import audit
from sealift.formats import seal as seals
from sealift.reading import trust
from sealift.trade import audit as audits
from sealift.trade import clocks, release
from sealift.trade.receipt import instant

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sealift.formats.audit import Kind
    from sealift.stages.audit_case import Case, Entry, Released, Sealed

_ASKED: tuple[Kind, ...] = ("screening", "keys", "release", "seal", "source-release", "certificate")


def to_come(case: Case) -> None:
    """Records that are later than the bundle by more than two clocks may differ. Of receipts audit_judge.py says it.

    `wrong`; where one that is not later names it, it was there, and where one has its place, nothing goes by it: people
    look.
    """
    for entry in (each for kind in _ASKED for each in case.of(kind)):
        path, at = entry.path, _stated(entry)
        if at is None or not clocks.is_ahead(at, case.now):
            continue
        if "/seal." in path and _twin(case, path, lambda each: not clocks.is_ahead(_sealed_at(each), case.now)):
            continue
        when = at.strftime(audits.TIME)
        text = f"it says {when}, which is still to come when the bundle was made"
        named, instead = _named(case, entry), _instead(case, entry)
        if instead:
            by = f"{instead.removeprefix(case.folder)}, made by a clock that is right, has its place"
            case.say(path, "look", f"{text}; {by}: nothing goes by this one")
        elif named:
            by = f"{named.removeprefix(case.folder)} names it, so that it was there"
            case.say(path, "look", f"{text}; {by}: the clock where it was signed was ahead")
        else:
            case.say(path, "wrong", f"{text}: the clock where it was signed was ahead, or that of the bundle behind")


def _stated(entry: Entry) -> datetime | None:
    """The time that a record states; None where it states none, or there is no such time."""
    found = audit.describe(entry.path)
    with contextlib.suppress(FormatError):
        return instant(audits.SIGNED[found.kind].at(entry.record), entry.path) if found else None
    return None


def _instead(case: Case, entry: Entry) -> str:
    """Another one that holds, is not from the future and has its place.

    Of a release one of the same bytes or a later revision; of a screening or record of keys one that does not lie
    beneath it: whoever moved it away, and made the next by a right clock, goes by that.
    """
    found = audit.describe(entry.path)
    if found is not None and found.kind in ("screening", "keys"):
        beneath = _beneath(case, found.kind, entry)
        others = [each for each in case.of(found.kind) if each.digest not in beneath and _holds(case, each)]
        return others[-1].path if others else ""
    return next((each.entry.path for each in reversed(case.released) if supersedes(case, each, entry)), "")


def _beneath(case: Case, kind: Kind, entry: Entry) -> set[str]:
    """Digests of a record and of all that it supersedes."""
    found, at = set[str](), entry.digest
    while at and at not in found:
        found.add(at)
        each = case.find(kind, at)
        named = each.record.supersedes if each is not None else None
        at = getattr(named, "blake3", named) or ""
    return found


def _holds(case: Case, entry: Entry) -> bool:
    """Whether a screening or record of keys is not from the future, and an allowed signer signed it."""
    at, found = _stated(entry), audit.describe(entry.path)
    if found is None or at is None or entry.signature is None or clocks.is_ahead(at, case.now):
        return False
    with contextlib.suppress(SealiftError):
        case.allowed.signer(entry.data, entry.signature, audits.SIGNED[found.kind].namespace, at)
        return True
    return False


def supersedes(case: Case, released: Released, entry: Entry) -> bool:
    """Whether a release took the place of another one that is from the future: its time is right."""
    mine = next((each for each in case.released if each.entry.path == entry.path), None)
    if mine is None or is_to_come(case, released):
        return False
    one, other = released.declaration, mine.declaration
    return one.digest == other.digest or one.revision > other.revision


def is_to_come(case: Case, released: Released) -> bool:
    """Whether a release is later than the bundle by more than two clocks may differ."""
    return clocks.is_ahead(release.released_at(released.release.record), case.now)


def _named(case: Case, entry: Entry) -> str:
    """Another record that names this one by its digest, and is not from the future, or is named by one that is not."""
    for each in (one for kind in case.by_kind for one in case.of(kind)):
        at = _stated(each)
        if at is None or entry.digest.encode() not in each.data:
            continue
        if not clocks.is_ahead(at, case.now) or _named(case, each):
            return each.path
    return ""


def _sealed_at(sealed: Sealed) -> datetime:
    return trust.sealed_at(sealed.trusted.seal)


def _twin(case: Case, path: str, is_right: Callable[[Sealed], bool]) -> bool:
    """Whether a seal that is right says the same as the one at `path`."""
    mine = next((each for each in case.seals if each.path == path), None)
    if mine is None:
        return False
    said = seals.but_for_times(mine.trusted.seal)
    return any(is_right(each) and seals.but_for_times(each.trusted.seal) == said for each in case.seals)


def seal_clocks(case: Case) -> None:
    """Seals that are earlier than the release which they bind by more than two clocks may differ."""
    for each in case.seals:
        if _is_before(each) and not _twin(case, each.path, lambda other: not _is_before(other)):
            seal, record = each.trusted.seal, each.trusted.release.record
            text = (
                f"it says that it was made at {seal.sealed_at}, and the release that it binds, at {record.released_at}"
            )
            case.say(each.path, "look", f"{text}: the one was there before the other, and a clock was wrong")


def _is_before(sealed: Sealed) -> bool:
    """By the times alone it was sealed before it was released."""
    return clocks.is_ahead(release.released_at(sealed.trusted.release.record), _sealed_at(sealed))


def sealed_late(case: Case, number: int, at: datetime) -> list[Sealed]:
    """Seals of revisions before `number` that were made later than `at`, by more than two clocks may differ.

    Not one that says the same as another which was made in time, nor one from the future: when that was made is not
    known.
    """

    def in_time(each: Sealed) -> bool:
        return not clocks.is_ahead(_sealed_at(each), at)

    return [
        each
        for each in case.seals
        if each.trusted.declaration.revision < number
        and not in_time(each)
        and not clocks.is_ahead(_sealed_at(each), case.now)
        and not _twin(case, each.path, in_time)
    ]
