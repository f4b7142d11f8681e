"""What lies beside a declaration of its other revisions: drafts, released ones, and their releases.

What holds: everything of one consignment in one folder is found, under whatever names, as a release finds what
supersedes it (stages/release.py). A release counts from when it says, where its signatures hold and the declaration
that it is of is there to the byte; where that is not there, or a revision below the newest has no release that holds,
the file that is missing is named. Files are hostile: within the limits of their kinds, and so many of them.

`held` says which of them keep a source from being freed.

What is not here: what speaks against a release (standing.py), and what follows of it (trade/custody_terms.py,
trade/erasure.py).
"""

from __future__ import annotations

import glob
import os
import re
from typing import TYPE_CHECKING, NamedTuple

from sealift.errors import SealiftError
from sealift.formats.sshsig import MAX_ARMORED
from sealift.stages.origin import beside
from sealift.stages.release import MAX_REVISIONS
from sealift.stages.standing import standing
from sealift.trade import declaration as declarations
from sealift.trade import persons, signing
from sealift.trade import release as releases
from sealift.trade.custody_terms import Reign
from sealift.trade.persons import Origin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from sealift.formats.allowed_signers import AllowedSigners, Person
    from sealift.trade.declaration import Declaration
    from sealift.trade.release import ReleaseRecord

_REVISION = re.compile(r"(\.r[0-9]+)?\.toml$")
_ABSENT = re.compile(r" (is|are) not beside it$")  # of standing.py: nobody was accused of that
_KEPT = re.compile(r"\.r([0-9]{1,9})\.toml$")
_RELEASE = re.compile(r"\.release(\.[0-9]+)?\.json$")


class Found(NamedTuple):
    """A declaration of the consignment in the folder; None: it cannot be read, and says `why`."""

    path: str
    declaration: Declaration | None
    why: str = ""


class Released(NamedTuple):
    """A release of the consignment in the folder, whoever signed it."""

    path: str
    data: bytes
    record: ReleaseRecord


class Reigns(NamedTuple):
    """Releases by which drives went; by number of a revision of which something is not here, what that is.

    `origin`: who by the records in the folder is of it.
    """

    reigns: list[Reign]
    lacking: dict[int, str]
    origin: Origin


def others(file: str, consignment_id: str) -> Iterator[Found]:
    """Every other declaration of the consignment in the folder of `file`; its releases: `released`."""
    own = os.path.realpath(file)
    for path in sorted(glob.glob(os.path.join(glob.escape(os.path.dirname(file)), "*.toml")))[:MAX_REVISIONS]:
        if os.path.realpath(path) == own:
            continue
        try:
            data = signing.read_limited(path, declarations.MAX_BYTES, "declaration")
        except SealiftError:
            continue
        if b'"sealift-declaration"' not in data or consignment_id.encode() not in data:
            continue
        try:
            parsed = declarations.parse(data, draft=True)
        except SealiftError as error:
            yield Found(path, None, str(error))
            continue
        if parsed.consignment_id == consignment_id:
            yield Found(path, parsed)


def released(file: str, consignment_id: str) -> Iterator[Released]:
    """Every release of the consignment in the folder of `file`."""
    folder = glob.escape(os.path.dirname(file))
    for path in sorted(glob.glob(os.path.join(folder, "*.release*.json")))[:MAX_REVISIONS]:
        try:
            data = signing.read_limited(path, releases.MAX_RELEASE, "release")
            record = releases.decode(data)
        except SealiftError:
            continue  # of nothing that could be told
        if record.consignment_id == consignment_id and not record.rehearsal:
            yield Released(path, data, record)


def check(parsed: Declaration, found: Released, allowed: AllowedSigners) -> releases.Release | None:
    """The release, where its signatures hold for the declaration."""
    try:
        signature = signing.read_limited(found.path + ".sig", MAX_ARMORED, "signature")
        return releases.check_release(parsed, found.data, signature, allowed)
    except SealiftError:
        return None


def reigns(file: str, parsed: Declaration, allowed: AllowedSigners, now: datetime) -> Reigns:
    """Releases of the consignment of the declaration in `file`, and what is missing to judge all times."""
    stem = _REVISION.sub("", file)
    known = {each.declaration.digest: each for each in others(file, parsed.consignment_id) if each.declaration}
    known[parsed.digest] = Found(file, parsed)
    numbers = {each.declaration.revision: each.path for each in known.values() if each.declaration}
    found: list[Reign] = []
    authors: list[tuple[Person, str]] = []
    for each in released(file, parsed.consignment_id):
        record, at = each.record, releases.released_at(each.record)
        of = known.get(record.declaration.blake3)
        if of is None or of.declaration is None:
            missing = f"{stem}.r{record.revision}.toml, which {each.path} releases, is not here"
            found.append(Reign(at, record.revision, None, (), missing))
            continue
        holds = check(of.declaration, each, allowed)
        if holds is not None:
            home = _RELEASE.sub(".toml", each.path)
            stands = standing(home, of.declaration, record, allowed, now, principal=holds.principal)
            against = stands.against
            absent = [one for one in against if _ABSENT.search(one.text)]
            if of.declaration.digest != parsed.digest and not _at_home(stem):  # the two files were taken along
                against, absent = tuple(one for one in against if one not in absent), []
            lacks = "; ".join(one.text for one in absent)
            by = (holds.principal, record.officer, holds.person)
            found.append(Reign(at, record.revision, of.declaration, against, lacks, *by, ended=stands.ended))
            authors.append((holds.author, persons.AUTHOR))
    have = {each.revision for each in found}
    lacking = {}
    for number in range(1, max([*numbers, *have])):
        what = f"a release of {numbers[number]} that holds" if number in numbers else f"{stem}.r{number}.toml"
        lacking[number] = f"{what} is not here"
    return Reigns(found, lacking, Origin().joined(authors, beside(file, parsed.consignment_id, allowed).people))


def held(folder: str, sealed: Declaration, allowed: AllowedSigners) -> tuple[list[str], bool]:
    """Legal holds by what was released after `sealed` and lies in `folder`; and whether any declaration lies there.

    The newest revision whose release holds says whether there is one. What is later than that and says so, or cannot be
    read, holds too, whoever signed it.
    """
    file = os.path.join(folder, "")
    there = list(others(file, sealed.consignment_id))
    known = {each.declaration.digest: each for each in there if each.declaration}
    found = list(released(file, sealed.consignment_id))
    least = sealed.revision
    later: dict[str, str] = {}  # by digest, or path of what cannot be read: what is to say of it
    for each in found:
        of = known.get(each.record.declaration.blake3)
        if of is not None and of.declaration is not None and check(of.declaration, each, allowed) is not None:
            least = max(least, each.record.revision)
    for each in (one for one in found if one.record.revision >= least):
        digest = each.record.declaration.blake3
        words = f"revision {each.record.revision}, which {each.path} releases"
        if digest != sealed.digest:
            later[digest] = f"{words}, states" if digest in known else f"{words}, is not here or cannot be read"
    for one in there:
        kept = _KEPT.search(one.path)
        if one.declaration is None and kept is not None and int(kept[1]) > least:
            later[one.path] = f"{one.path} cannot be read"
        elif one.declaration is not None and kept is not None and one.declaration.revision > least:
            later.setdefault(one.declaration.digest, f"{one.path}, which was released, states")
    why = []
    for digest, words in later.items():
        of = known.get(digest)
        if of is None or of.declaration is None:
            why.append(f"{words}: nobody can see whether there is a legal hold")
        elif (said := of.declaration.legal_hold.strip()) != declarations.NO_HOLD:
            why.append(
                f"{words} a legal hold: {said}" if said else f"{words} neither a legal hold nor that there is none"
            )
    return why, bool(there)


def _at_home(stem: str) -> bool:
    """Records on which releases rest lie here, so that one which does not is missing."""
    return any(glob.glob(f"{glob.escape(stem)}.{each}") for each in ("rules-*.toml", "screening*.json", "keys*.json"))
