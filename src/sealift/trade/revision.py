"""Revisions of a declaration: what was released is kept as it is; what changes afterwards is the next one.

    NAME.r1.toml    the exact bytes of revision 1, written with its release; then NAME.r2.toml, and so on

`next_of` turns the file of a released revision into a draft of the next: two lines of it change, and people change the
rest. `faults` says what keeps a revision from being released: it supersedes other bytes than those that were released,
or names a party or carrier in place of another without saying so under [[replaced]], where papers print both. Pure.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import blake3

from sealift.errors import BadInput
from sealift.trade import consistency, template

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealift.trade.declaration import Declaration
    from sealift.trade.sections import Content

_REVISION = re.compile(rb"(?m)^revision[ \t]*=[ \t]*[0-9_]+")
_SUPERSEDES = re.compile(rb"(?m)^supersedes[ \t]*=[ \t]*\"[0-9a-f]*\"")
_ID = re.compile(rb"(?m)^consignment_id[ \t]*=.*$")


def path_of(file: str, revision: int) -> str:
    """Where the bytes of a released revision of the declaration in `file` are kept."""
    return f"{file.removesuffix('.toml')}.r{revision}.toml"


def next_of(data: bytes, current: Content, released: bytes) -> bytes:
    """`data` as the next revision after `released`; BadInput where its lines cannot be found."""
    digest = blake3.blake3(released).hexdigest().encode()
    number = b"revision = %d" % (current.revision + 1)
    superseded = b'supersedes = "%s"' % digest
    for pattern, line in ((_SUPERSEDES, superseded), (_REVISION, number)):
        if pattern.search(data):
            data = pattern.sub(lambda _match, line=line: line, data, count=1)  # type: ignore[misc]
        elif _ID.search(data):
            data = _ID.sub(lambda match, line=line: match[0] + b"\n" + line, data, count=1)  # type: ignore[misc]
        else:
            raise BadInput(
                "the declaration has no line that begins with consignment_id",
                hint="write revision and supersedes into it by hand: sealift declare --help",
            )
    return data


def faults(new: Content, before: Declaration | None) -> list[str]:
    """What is wrong with `new` as the revision after `before`; None: nothing was released, or it is not at hand."""
    if new.revision == 1:
        return []
    if before is None:
        return [f"supersedes: revision {new.revision - 1} is not beside the declaration, as it was released"]
    if new.supersedes != before.digest:
        return [f"supersedes: is not of revision {before.revision} as it was released, whose BLAKE3 is {before.digest}"]
    if new.consignment_id != before.consignment_id:
        return [f"consignment_id: was {before.consignment_id}; another shipment has another declaration"]
    found = []
    said = {(row.role, row.legal_name) for row in new.replaced}
    for role, old in replaced(new, before):
        if (role, old) not in said:
            found.append(
                f"replaced: {role} was {old!r}, which wants a row [[replaced]] with"
                f' role = "{role}", legal_name = {template.toml_value(old)}'
            )
    kept = {(row.role, row.legal_name) for row in before.replaced}
    found += [f"replaced: {role}, {name!r}, was there before, and is missing" for role, name in sorted(kept - said)]
    return found


def replaced(new: Content, before: Content) -> Iterator[tuple[str, str]]:
    """Role and former name of every party and carrier that `new` names otherwise, or not any more.

    A carrier's is its legal name, which papers print, and the short one only where it has no other.
    """
    for role in consistency.ROLES:
        old = getattr(before, role).legal_name
        if old and old != getattr(new, role).legal_name:
            yield role, old
    if before.site.operator != new.site.operator:
        yield "site", before.site.operator
    names = {row.legal_name for row in new.intermediates}
    yield from (("intermediates", row.legal_name) for row in before.intermediates if row.legal_name not in names)
    carriers = {row.name for row in new.carriers}
    names = {row.legal_name or row.name for row in new.carriers}
    for carrier in before.carriers:
        told_more = carrier.name in carriers and not carrier.legal_name  # the short name has a full one now
        if (carrier.legal_name or carrier.name) not in names and not told_more:
            yield "carriers", carrier.legal_name or carrier.name
