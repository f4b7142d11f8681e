"""Other seals of the same consignment, in folders and on drives, beside which or in whose place no new one is put.

    only_shipment      seals in folders: of another shipment under this consignment, or of a later revision
    not_superseded     seals on the drives themselves: of a later revision, or of this one with other bytes
    not_before         what the state folders remember: a later revision, or this one with other bytes
    newer_beside       the seal of a later revision that lies in the folder of one that somebody acts on
    later_beside       all seals of later revisions that lie there
    earlier_times      when earlier seals named each manifest: the key that signed it may have been replaced since
    check_clock        whether it was released before this host's clock says that it is now

What holds: nothing is written here; all drives are looked at. A state folder that was sealed has a file `sealed`: the
path of the seal, and a line `revision N BLAKE3` of the declaration; without that line, the seal at the path tells it.

What is not here: sealing (seal.py).
"""

from __future__ import annotations

import contextlib
import os
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from sealift.errors import BadInput, DeclarationInvalid, FormatError, Refused, SealiftError
from sealift.formats import seal as seals
from sealift.formats.manifest import SEAL_FILES
from sealift.reading.trust import load_seal, open_seal, read_seal
from sealift.stages.status import SEALED
from sealift.trade import clocks
from sealift.trade import declaration as declarations
from sealift.trade.release import released_at
from sealift.trade.signing import read_limited

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.drives.base import Drive
    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.formats.seal import Seal
    from sealift.trade.declaration import Declaration
    from sealift.trade.release import Release

_MAX_NOTE = 16 << 10
_UNDER = re.compile(rb"revision ([0-9]{1,9}) ([0-9a-f]{64})\n?\Z")
MAX_SEALS = 1_000  # seals that are looked at in one folder


class Under(NamedTuple):
    """A revision of a declaration, and the BLAKE3 of its bytes."""

    revision: int
    digest: str


class Newer(NamedTuple):
    """A seal of a later revision than the one that is given, and where it lies."""

    path: str
    declaration: Declaration

    @property
    def words(self) -> str:
        """What it says, and of a legal hold first of all."""
        hold = self.declaration.legal_hold.strip()
        states = f", and states a legal hold: {hold}" if hold not in {"", declarations.NO_HOLD} else ""
        return (
            f"the seal given is superseded: {self.path} is the seal of revision {self.declaration.revision} of"
            f" {self.declaration.consignment_id}{states}"
        )


def check_clock(file: str, released: Release, now: datetime) -> str:
    """What is to be told where the release of `file` is ahead of this host's clock; Refused by more than may be.

    Whoever seals has the release: it was made before, and a seal that says otherwise is for nobody to explain later.
    """
    at = released_at(released.record)
    if at <= now:
        return ""
    said, here = released.record.released_at, now.astimezone(UTC).strftime(clocks.TIME)
    if not clocks.is_ahead(at, now):
        return (
            f"the release says that it was made at {said}, and this host's clock says {here}: two clocks may differ so"
            " much, and the seal binds the release, which was there before it"
        )
    raise Refused(
        f"the release of {file} says that it was made at {said}, and this host's clock says {here}: the clock where"
        " it was released was ahead, or this one is behind; nothing was sealed",
        hint="look at both clocks: where this one is behind, set it; where that one was ahead, set that and have the"
        " same declaration released again",
    )


def only_shipment(folders: Sequence[str], record: Seal, revision: int, allowed: AllowedSigners) -> None:
    """Refused where a seal of another shipment under the same consignment lies: one declaration is of one shipment.

    And where one of a later revision than `revision` does: what supersedes it is not replaced by it.
    """
    for folder in dict.fromkeys(map(os.path.realpath, folders)):
        for path in _seals_in(folder):
            other, number = record, revision
            with contextlib.suppress(SealiftError):  # whatever it is, it is no seal of ours
                there = open_seal(load_seal(path), allowed)
                other, number = there.seal, there.declaration.revision
            if other.consignment_id == record.consignment_id and number > revision:
                raise Refused(
                    f"{path}: revision {number} of consignment {record.consignment_id} was sealed already, and"
                    f" supersedes this, revision {revision}",
                    hint="seal under the declaration that was released last",
                )
            if other.consignment_id == record.consignment_id and other.shipment != record.shipment:
                raise Refused(
                    f"{path}: shipment {other.shipment} was sealed under consignment {record.consignment_id} already, "
                    f"and this is shipment {record.shipment}: a declaration and its release are of one shipment",
                    hint="if its drives were packed anew and that packing never leaves, move its seal away, seal "
                    "again, and send this one only; if both leave, this one is packed under a declaration and a "
                    "release of its own, and each names the other (related_shipments)",
                )


def not_superseded(drives: Sequence[Drive], declaration: Declaration) -> None:
    """Refused where a drive has the seal of a later revision, or of other bytes of this one: it stays.

    Whoever signed it: the signers that are given here may be of before that revision.
    """
    for drive in drives:
        there = _declared_on(drive)
        if there is not None and there.consignment_id == declaration.consignment_id:
            _refuse_later(drive.mount, there, declaration)


def _refuse_later(place: str, there: Declaration | Under, declaration: Declaration) -> None:
    if there.digest == declaration.digest or there.revision < declaration.revision:
        return
    other = "supersedes this" if there.revision > declaration.revision else "is not as this"
    raise Refused(
        f"{place}: it was sealed under revision {there.revision} of consignment {declaration.consignment_id},"
        f" which {other}, revision {declaration.revision}; nothing was written, on no drive",
        hint="seal under the declaration that was released last; what was released is changed as a new revision"
        " (sealift declare --revise FILE)",
    )


def note_of(path: str, declaration: Declaration) -> bytes:
    """What a state folder remembers of the seal at `path`."""
    under = f"revision {declaration.revision} {declaration.digest}\n"
    return os.fsencode(os.path.abspath(path)) + b"\n" + under.encode()


def not_before(states: Sequence[str], declaration: Declaration) -> None:
    """Refused where a state folder was sealed under a later revision, or other bytes of this one."""
    for state in states:
        there = _remembered(state, declaration.consignment_id)
        if there is not None:
            _refuse_later(state, there, declaration)


def earlier_times(
    states: Sequence[str], folders: Sequence[str], mounts: Sequence[str], allowed: AllowedSigners
) -> dict[str, list[str]]:
    """By BLAKE3 of a manifest, the times at which seals that hold say that it was sealed, the first of them first.

    Looked for in the folders, beside the seal that a state folder remembers, and on the drives at `mounts`.
    """
    kept = [os.path.dirname(path) for state in states if (path := noted(state))]
    paths = [path for folder in dict.fromkeys(map(os.path.realpath, [*folders, *kept])) for path in _seals_in(folder)]
    times: dict[str, set[str]] = {}
    for path in (*paths, *mounts):
        with contextlib.suppress(SealiftError):
            seal = open_seal(load_seal(path), allowed).seal
            for group in seal.groups:
                times.setdefault(group.manifest.blake3, set()).add(group.first_sealed_at or seal.sealed_at)
    now = datetime.now(UTC).strftime(clocks.TIME)  # a time that is still to come is nobody's first
    times = {digest: {each for each in found if each < now} for digest, found in times.items()}
    return {digest: sorted(found) for digest, found in times.items() if found}


def noted(state: str) -> str | None:
    """The path of the seal that a state folder remembers."""
    with contextlib.suppress(SealiftError):
        note = read_limited(os.path.join(state, SEALED), _MAX_NOTE, "note of the seal")
        return os.fsdecode(_UNDER.sub(b"", note).removesuffix(b"\n"))
    return None


def _seals_in(folder: str) -> list[str]:
    """Seal files of a folder, by name; of one that is not there none: what is wrong with it shows when it is used."""
    with contextlib.suppress(OSError):
        return [os.path.join(folder, name) for name in sorted(os.listdir(folder or ".")) if name.endswith(".seal")]
    return []


def _remembered(state: str, consignment_id: str) -> Under | None:
    """Under what a state folder was sealed last; None where nothing tells."""
    with contextlib.suppress(SealiftError):
        note = read_limited(os.path.join(state, SEALED), _MAX_NOTE, "note of the seal")
        if (under := _UNDER.search(note)) is not None:
            return Under(int(under[1]), under[2].decode())
        path = os.fsdecode(note.removesuffix(b"\n"))
        if not os.path.isfile(path):
            return None
        found = _declared_in(path)
        if found is not None and found.consignment_id == consignment_id:
            return Under(found.revision, found.digest)
    return None


def newer_beside(path: str, declaration: Declaration) -> Newer | None:
    """The seal of the latest revision in the folder of the seal at `path`, if it supersedes that of `declaration`.

    Whoever signed it: a later revision may have other signers, and who acts on the earlier one wants to know.
    """
    if not os.path.isfile(path):
        return None  # a drive, or a folder seal/: nothing lies beside it
    found: list[Newer] = []
    for other in _seals_in(os.path.dirname(path))[:MAX_SEALS]:
        there = _declared_in(other) if os.path.isfile(other) else None
        if there is not None and there.consignment_id == declaration.consignment_id:
            found.append(Newer(other, there))
    newest = max(found, key=lambda each: each.declaration.revision, default=None)
    return newest if newest is not None and newest.declaration.revision > declaration.revision else None


def later_beside(path: str, declaration: Declaration) -> list[Seal]:
    """Seals of later revisions in the folder of the seal at `path`, which binds `declaration`; whoever signed them."""
    if newer_beside(path, declaration) is None:
        return []
    found: list[Seal] = []
    for other in _seals_in(os.path.dirname(path))[:MAX_SEALS]:
        there = _declared_in(other)
        if there is not None and there.consignment_id == declaration.consignment_id:
            found += [read_seal(load_seal(other))] if there.revision > declaration.revision else []
    return found


def check_newest(path: str, declaration: Declaration) -> None:
    """Refused where the seal at `path`, which binds `declaration`, is superseded by one beside it."""
    if (newer := newer_beside(path, declaration)) is not None:
        raise Refused(newer.words, hint=f"give that one (--seal {newer.path}), and what was read against it")


def _declared_in(path: str) -> Declaration | None:
    """The declaration that the seal in a file binds, if it is whole; None where it is not."""
    with contextlib.suppress(SealiftError):
        files = load_seal(path)
        read_seal(files)
        return declarations.parse(files[SEAL_FILES[2]], draft=True)
    return None


def _declared_on(drive: Drive) -> Declaration | None:
    """The declaration under which a drive was sealed; None where there is none that reads."""
    with contextlib.suppress(FormatError, BadInput, DeclarationInvalid):
        data = drive.read_small(SEAL_FILES[2], seals.LIMITS[SEAL_FILES[2]])
        return declarations.parse(data, draft=True) if data is not None else None
    return None
