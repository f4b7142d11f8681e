"""Shipments that were released beside a declaration, go to the same hands within 90 days, and that it does not name.

    unnamed    the file of a declaration -> a note for each such shipment

What holds: it is a note, and holds no release. That something was released does not say that it was shipped: one that
was cancelled belongs to no total. And a name is a name; whether two are one firm people know. Nothing is said of a
shipment that the declaration answers, or that answers it: all papers name these two beside each other. What is known
is of this folder alone; signatures are not looked at.

Files are hostile: regular ones only, within the limits of their kinds and so many of them, and a declaration is read
only where a release names the length of its bytes and their digest.
"""

from __future__ import annotations

import glob
import os
from datetime import UTC
from typing import TYPE_CHECKING

from sealift.errors import SealiftError
from sealift.stages.release import MAX_REVISIONS
from sealift.trade import consistency, people, signing
from sealift.trade import declaration as declarations
from sealift.trade import release as releases

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealift.trade.declaration import Declaration
    from sealift.trade.release import ReleaseRecord
    from sealift.trade.sections import Content

DAYS = 90
_MAX_READ = 16 << 20  # bytes of declarations of one folder


def unnamed(file: str, parsed: Content) -> list[str]:
    """What `related` leaves out by what lies in the folder of `file`, each as a note with its path."""
    begins = consistency.day(parsed.status_as_of)
    if begins is None or parsed.rehearsal or not parsed.related:
        return []
    named = {row.consignment_id for row in parsed.related_shipments} | {parsed.consignment_id, parsed.in_reply_to}
    path = "related" if parsed.related == "none" else "related_shipments"
    found = []
    for record, other in _released(file, named):
        day = releases.released_at(record).astimezone(UTC).date()
        if other.in_reply_to == parsed.consignment_id or abs((day - begins).days) > DAYS:
            continue
        if same := _same(parsed, other):
            found.append(
                f"{path}: {other.consignment_id} was released on {day.isoformat()} for {same}, by what lies beside this"
                " file, and is not named; if it was shipped or will be, list it under [[related_shipments]]: its totals"
                " are printed with this one's"
            )
    return found


def _same(one: Content, other: Content) -> str:
    """Whom both shipments are for: the same end user, or the same ultimate parent of who receives; "" for nobody."""
    user, users = one.end_user, other.end_user
    names = {people.fold(each) for each in (users.legal_name, users.native_name)} - {""}
    if names & {people.fold(each) for each in (user.legal_name, user.native_name)}:
        return f"the same end user, {one.end_user.legal_name}"
    parents = {people.fold(each.ultimate_parent) for each in (other.end_user, other.consignee)} - {""}
    for each in (one.end_user, one.consignee):
        if people.fold(each.ultimate_parent) in parents:
            return f"the same ultimate parent, {each.ultimate_parent}"
    return ""


def _released(file: str, named: set[str]) -> Iterator[tuple[ReleaseRecord, Declaration]]:
    """The newest release of every other consignment in the folder, with the declaration that it is of."""
    newest: dict[str, ReleaseRecord] = {}
    for path in _beside(file, "*.release*.json"):
        try:
            record = releases.decode(signing.read_limited(path, releases.MAX_RELEASE, "release"))
            releases.released_at(record)
        except SealiftError:
            continue
        before = newest.get(record.consignment_id)
        if before is None or (before.revision, before.released_at) < (record.revision, record.released_at):
            newest[record.consignment_id] = record
    wanted = {
        record.declaration.blake3: record
        for name, record in newest.items()
        if name not in named and not record.rehearsal
    }
    left, lengths = _MAX_READ, {record.declaration.bytes for record in wanted.values()}
    for path in _beside(file, "*.toml") if wanted else []:
        try:
            if os.stat(path).st_size not in lengths:
                continue
            data = signing.read_limited(path, min(left, declarations.MAX_BYTES), "declaration")
            left -= len(data)
            record_of = wanted.pop(declarations.digest(data), None)
            if record_of is not None:
                yield record_of, declarations.parse(data, draft=True)
        except (OSError, SealiftError):
            continue


def _beside(file: str, pattern: str) -> list[str]:
    return sorted(glob.glob(os.path.join(glob.escape(os.path.dirname(file)), pattern)))[:MAX_REVISIONS]
