"""The seal of a survey.

The one that was sent ahead, else one on the drives; and manifest signatures under it.

What holds: `found.trusted` is a seal that trust.open_seal returned. A copy of which a file is lacking is none, and
nothing is refused for it; one that is whole and does not hold is. A drive's copy that differs from the seal
that is believed is a problem of that drive; without a seal to compare with, the file to blame is named as far
as the files can tell among themselves.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import wait
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from blake3 import blake3

from sealift.drives import ranges
from sealift.drives.ranges import RemoteDrive, Workers
from sealift.errors import FormatError, Refused, SealiftError, SignatureInvalid
from sealift.formats import manifest as mf
from sealift.formats import seal as seals
from sealift.formats import sshsig
from sealift.reading import trust
from sealift.reading.survey_views import DriveView, Problem, Superseded, Survey, read_all
from sealift.trade import declaration as declarations

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sealift.formats.allowed_signers import AllowedSigners, Signer
    from sealift.formats.seal import Seal

_TOGETHER = 128  # drives of other hosts whose copies are read at once
_MAX_SEALS = 4  # different seals kept to choose from; more on the drives are named and not kept
_Key = tuple[tuple[str, str], ...]  # names and digests of the files of one copy


@dataclass
class SealCopies:
    """All copies on the drives.

    Whose they are, the different ones, those that hold, and why others do not.
    """

    marks: list[tuple[DriveView, dict[str, str], list[Problem]]] = field(default_factory=list)
    kept: dict[_Key, dict[str, bytes]] = field(default_factory=dict)
    good: dict[_Key, Seal] = field(default_factory=dict)
    bad: dict[_Key, str] = field(default_factory=dict)
    revisions: dict[_Key, int] = field(default_factory=dict)  # of the declarations that they bind
    used: int = 0  # the revision of the one that is used; 0: nobody knows
    reference: dict[str, bytes] | None = None


def choose_seal(
    found: Survey,
    allowed: AllowedSigners | None,
    given: dict[str, bytes] | None,
    expected: str | None,
    *,
    hurry: bool = False,
) -> SealCopies:
    """Set seal, trusted and seal_source of `found`.

    The seal `given`, else one on the drives, of shipment `expected`: of those that hold, one of the latest revision.
    With `hurry` only copies on mounted drives are read where one is given, and else those of hosts that answer soon,
    as long as there is one.

    Raises Refused when the seal given does not hold; for one on a drive that does not, see `compare_seals`.
    """
    if given is not None:
        found.seal_source = "file"
        found.seal = trust.read_seal(given)
        found.trusted = trust.open_seal(given, allowed) if allowed else None
    used = _revision(given) if given is not None else 0
    looked = [view for view in found.views if view.standing != "empty"]
    if hurry and given is not None:
        looked = [view for view in looked if not isinstance(view.drive, RemoteDrive)]
    copies = _read_copies(looked, hurry=hurry)
    copies.reference, copies.used = given, used
    ranked = Counter(_key(mark) for _, mark, _ in copies.marks)
    for key, _ in ranked.most_common():
        if key not in copies.kept:
            continue
        try:
            trusted = trust.open_seal(copies.kept[key], allowed) if allowed else None
            seal = copies.good[key] = trusted.seal if trusted else trust.read_seal(copies.kept[key])
        except Refused as error:
            copies.bad[key] = str(error)
            continue
        revision = copies.revisions[key] = _revision(copies.kept[key])
        later = found.seal_source == "drives" and trusted is not None and revision > copies.used
        if (found.seal is None or later) and seal.shipment == expected:
            found.seal, found.trusted, found.seal_source = seal, trusted, "drives"
            copies.reference, copies.used = copies.kept[key], revision
    return copies


def _revision(files: dict[str, bytes]) -> int:
    """The revision of the declaration that a seal binds; 0 where it does not read."""
    try:
        return declarations.parse(files[trust.DECLARATION], draft=True).revision
    except SealiftError:
        return 0


def tell_superseded(found: Survey, copies: SealCopies) -> None:
    """Note, for whoever reads, where a drive that was looked at has a seal of a later revision than the one given."""
    for view, mark, _ in copies.marks:
        key = _key(mark)
        seal = copies.good.get(key)
        if view.standing == "member" and seal is not None and seal.shipment == found.shipment:
            _supersede(found, view, copies.revisions[key], copies)
    if (newer := found.superseded) is not None:
        found.notices.append(
            f"the seal given, of revision {copies.used}, is superseded: {newer.mount} has one that holds, of revision "
            f"{newer.revision}: give that (--seal {newer.mount})"
        )


def compare_seals(found: Survey, copies: SealCopies) -> None:
    """Note what is wrong with the seals on drives of the shipment; a foreign drive's seal is its own.

    A drive without any was not attached when it was made, or has lost it: nobody can say which (`Survey.unsealed`).
    """
    having = {id(view) for view, _, _ in copies.marks}
    sealed = {id(view) for view, mark, _ in copies.marks if _key(mark) in copies.good}
    members = [view for group in found.groups for view in group.views if view.slot is not None]
    if any(id(view) in sealed for view in members):
        found.unsealed = [view for view in members if id(view) not in having and view.small]
    for view, mark, notes in copies.marks:
        if view.standing not in {"member", "unidentified"}:
            continue
        key = _key(mark)
        if key in copies.good:
            seal = copies.good[key]
            if found.seal is not None and seal != found.seal and seal.shipment == found.seal.shipment:
                found.notices.append(f"{view.mount}: {_beside(copies.revisions[key], copies.used)}")
                if copies.revisions[key] == copies.used:
                    found.alike.append(view)
                _supersede(found, view, copies.revisions[key], copies)
            continue
        lacking = set(mf.SEAL_FILES) - mark.keys()
        if lacking:
            found.seal_lacks |= lacking if found.seal is None else set()
        elif key in copies.bad and copies.bad[key] not in found.seal_failures:
            found.seal_failures.append(copies.bad[key])
        view.problems += notes
        if copies.reference is not None:
            for name, digest in mark.items():
                if digest != blake3(copies.reference[name]).hexdigest():
                    view.note(name, "rotten", "not what the seal of this shipment has")
        elif not notes:
            for name in trust.damaged_seal_files(copies.kept.get(key, {})):
                view.note(name, "unsigned", "the seal does not hold")


def _beside(revision: int, used: int) -> str:
    """What a drive's own seal is beside the one that is used."""
    if not (revision and used) or revision == used:
        return "its seal is another one of the same shipment; both hold"
    if revision > used:
        return f"its seal is of revision {revision}, and supersedes the one that is used, of revision {used}"
    return f"its seal is of revision {revision}, and superseded by the one that is used, of revision {used}"


def _supersede(found: Survey, view: DriveView, revision: int, copies: SealCopies) -> None:
    """Note that the seal of a drive, which holds, is of a later revision than the one that is used."""
    known = found.superseded.revision if found.superseded is not None else copies.used
    if found.trusted is not None and copies.used and revision > known:
        mark = next(mark for each, mark, _ in copies.marks if each is view)
        found.superseded = Superseded(revision, mark[trust.SEAL_JSON], view.mount)


def _key(mark: dict[str, str]) -> _Key:
    return tuple(sorted(mark.items()))


def _read_copies(views: Sequence[DriveView], *, hurry: bool) -> SealCopies:
    copies = SealCopies()
    for view, (files, notes) in _read_all(views, hurry=hurry):
        if not files and not notes:
            continue
        mark = {name: blake3(data).hexdigest() for name, data in files.items()}
        copies.marks.append((view, mark, notes))
        if len(copies.kept) < _MAX_SEALS:
            copies.kept.setdefault(_key(mark), files)
    return copies


def _read_all(
    views: Sequence[DriveView], *, hurry: bool
) -> Iterator[tuple[DriveView, tuple[dict[str, bytes], list[Problem]]]]:
    """What _read_seal_of gives of each, in order; with `hurry` of those that answer soon, if one of them has it all."""
    workers = Workers(_TOGETHER, "sealift-seal")
    far = {
        id(view): workers.submit(partial(_read_seal_of, view)) for view in views if isinstance(view.drive, RemoteDrive)
    }
    workers.close()
    found = {id(view): _read_seal_of(view) for view in views if id(view) not in far}
    done = wait(far.values(), ranges.SOON if hurry else None).done
    found |= {key: each.result() for key, each in far.items() if each in done}
    if not any(len(files) == len(mf.SEAL_FILES) for files, _ in found.values()):
        found |= {key: each.result() for key, each in far.items()}
    return ((view, found[id(view)]) for view in views if id(view) in found)


def _read_seal_of(view: DriveView) -> tuple[dict[str, bytes], list[Problem]]:
    """The files of a drive's own seal/, and what is wrong with those that are not read."""
    files, problems = read_all(view, {name: seals.LIMITS[name] for name in mf.SEAL_FILES})
    if not files and all(problem.kind == "missing" for problem in problems):
        return {}, []  # not attached when the shipment was sealed
    return files, problems


class Checker:
    """Checks manifest signatures, each pair of manifest and signature once, by the times that a seal gives."""

    def __init__(self, allowed: AllowedSigners | None, seal: Seal | None) -> None:
        self.allowed = allowed
        self._at = trust.sealed_at(seal) if seal else None
        self._times = trust.manifest_times(seal) if seal else {}
        self._known: dict[tuple[bytes, bytes], tuple[bool, Signer | None, str]] = {}

    def __call__(self, data: bytes | None, signature: bytes | None) -> tuple[bool, Signer | None, str]:
        """Whether the signature holds, by whom (None without allowed signers), and why not."""
        if data is None or signature is None:
            return False, None, "there is no signature"
        key = (blake3(data).digest(), signature)
        if key not in self._known:
            self._known[key] = self._check(data, signature)
        return self._known[key]

    def _check(self, data: bytes, signature: bytes) -> tuple[bool, Signer | None, str]:
        try:
            if self.allowed is None:
                sshsig.verify(data, signature, mf.NAMESPACE)
                return True, None, ""
            at = self._times.get(blake3(data).hexdigest(), self._at)
            return True, trust.trusted_manifest(data, signature, self.allowed, at)[1], ""
        except (FormatError, SignatureInvalid) as error:
            return False, None, str(error)

    def whole(self, view: DriveView) -> bool:
        """Whether manifest and signature of a drive belong together, whoever signed."""
        try:
            sshsig.verify(view.small.get(mf.MANIFEST, b""), view.small.get(mf.SIGNATURE, b""), mf.NAMESPACE)
        except SignatureInvalid:
            return False
        return True

    def own(self, view: DriveView) -> tuple[bool, Signer | None, str]:
        """The drive's own signature over its own manifest."""
        return self(view.small.get(mf.MANIFEST), view.small.get(mf.SIGNATURE))
