"""The records of a survey.

Drives, groups, what is wrong with them, and pages that all drives of a group share.

What holds of them is said where they are made (survey.py); nothing here decides.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from blake3 import blake3

from sealift.drives.base import is_missing
from sealift.drives.ranges import SOON, RemoteDrive, RemoteFile, Workers, is_beside, read_soon
from sealift.errors import DriveFault, FormatError, Unreached
from sealift.formats import manifest as mf
from sealift.formats import paged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future

    from sealift.drives.base import Drive, ReadFile
    from sealift.formats.allowed_signers import Signer
    from sealift.formats.manifest import DriveCard, DriveRow, Manifest, RebuiltNote
    from sealift.formats.seal import Seal, SealGroup
    from sealift.reading.trust import TrustedSeal

_REST = 30.0  # seconds, as of a drive that failed (group.py)
ProblemKind = Literal[
    "missing",
    "truncated",
    "extended",
    "rotten",
    "unreadable",
    "unreached",
    "foreign",
    "replayed",
    "conflict",
    "superseded",
    "replaced",
    "two-manifests",
    "unsigned",
    "non-canonical",
    "undeclared",
    "unexpected",
]
AT_ADDRESS = "at this address"
NOBODYS_PACKS = "packs are there, and nothing here says whose: all drives of their group have lost it, or are not here"
NOT_ITS_PACKS = ", and the packs are not"
NO_MANIFEST = "no drive here has the manifest of that group as it was signed"
BY_CARD = "by drive.json it is "
HOW_MANIFEST = (
    "nothing here says what they should hold: mount another drive of their group; or put manifest.json, "
    "manifest.json.sig, packs.bin and blocks.bin, as the origin keeps them in its state folder, {folder}, into "
    "sealift/ on one of these drives: `sealift repair MNT...` proves them, and puts them on the others"
)
BARE = (  # a place with most packs of a drive that is missing, and nothing else of it
    "if it is that drive, and lost its small files: put manifest.json of another drive of its group into sealift/ on "
    "it, and `sealift repair` mends it where it stands"
)
DOUBTED = "no pack here that was looked at is known to be one of that drive: it may be another one"
STRANGE_PACKS = "or another shipment's: no pack that was looked at here is one of these groups as it was signed"
SEVERAL = "drives of several sealed shipments are here"
Standing = Literal["member", "foreign", "replayed", "unidentified", "empty"]


class _Unanswered(Unreached, FormatError):
    """A page that a host may have which does not answer: to who reads it is as one that is damaged everywhere."""


NOWHERE = "a page is damaged on every drive of the group that is here"


class Problem(NamedTuple):
    """One thing that is wrong with one file of a drive; `path` beneath sealift/, `block` counts from 0."""

    path: str
    kind: ProblemKind
    detail: str
    block: int | None = None


@dataclass(eq=False)
class DriveView:
    """One mount: what its small files say, where it belongs, and what is wrong with it."""

    mount: str
    drive: Drive
    small: dict[str, bytes] = field(default_factory=dict)  # of MANIFEST, SIGNATURE, CARD: those that were read
    card: DriveCard | None = None  # as drive.json has it: a claim
    manifest: Manifest | None = None  # its own, well-formed; not necessarily its group's
    standing: Standing = "unidentified"
    signed: bool = False  # its own manifest is signed by an allowed signer
    group: int | None = None
    slot: int | None = None
    rebuilt: RebuiltNote | None = None  # it was rebuilt at the destination, by drive.json or rebuilt.json
    predecessor: str | None = None  # serial number of a drive that was replaced while packing: it is not the signed one
    doubted: bool = False  # known by small files alone, and its packs do not read, or may be another group's
    bag: bool = False  # packs of a drive, and nothing else of it: packs that were brought, say
    problems: list[Problem] = field(default_factory=list)

    @property
    def apart(self) -> bool:
        """Whether it is not the drive in whose slot it stands: its packs are read, and that drive is missing."""
        return self.bag or self.predecessor is not None

    @property
    def name(self) -> str:
        """The drive's id where it is known, else its mount."""
        if self.group is None or self.slot is None:
            return self.mount
        return mf.drive_id(self.group, self.slot)

    def note(self, path: str, kind: ProblemKind, detail: str, block: int | None = None) -> None:
        """Add a problem."""
        self.problems.append(Problem(path, kind, detail, block))

    def failed(self, path: str, error: DriveFault) -> None:
        """Add that the drive does not give a file; of another host, that it or the way to it does not."""
        self.note(path, "unreached" if isinstance(self.drive, RemoteDrive) else "unreadable", str(error))


class SharedPages(paged.PagedFile):
    """A paged file of which every drive of the group has a copy; a page damaged on one is read from another.

    A host that failed is not asked for _REST seconds: each page would wait for it anew. FormatError when a page is to
    be had from none of them, which is Unreached, too, where a host may have it. One instance a thread, as PagedFile.
    """

    def __init__(
        self, views: Sequence[DriveView], name: str, *, magic: bytes, record: int, ref: mf.TreeRef, cache: int
    ) -> None:
        super().__init__(
            self._read,
            magic=magic,
            record=record,
            count=ref.records,
            root=bytes.fromhex(ref.root),
            name=name,
            cache=cache,
        )
        self._drives = sorted((view.drive for view in views), key=lambda drive: isinstance(drive, RemoteDrive))
        self._hurry = True
        self._late = 0  # times that a host was not waited for
        self._open: dict[int, ReadFile | None] = {}
        self._source = 0
        self._resting: dict[int, tuple[float, str]] = {}  # until when a host is not asked, and why
        self.unanswered: str | None = None  # why a host did not give what was asked for, since a caller set it to None

    def _read(self, offset: int, length: int) -> bytes:
        if self._source not in self._open:
            try:
                drive = self._drives[self._source]
                self._open[self._source] = (
                    drive.open_later(self.name) if isinstance(drive, RemoteDrive) else drive.open_read(self.name)
                )
            except (FormatError, DriveFault):
                self._open[self._source] = None
        file = self._open[self._source]
        if isinstance(file, RemoteFile) and self._hurry:
            data = read_soon(file, offset, length, SOON)
            self._late += data is None
            return data or b""
        return b"" if file is None else file.read_at(offset, length)

    def page(self, level: int, number: int) -> bytes:
        """The checked page from the first copy that has it whole; a host that is slow is asked last."""
        first = self._source
        for hurry in (True, False):
            late = self._late
            slow: list[Drive] = []
            for step in range(len(self._drives)):
                self._source, self._hurry = (first + step) % len(self._drives), hurry
                drive, before = self._drives[self._source], self._late
                if is_beside(drive, slow):  # it would come by the way that is full
                    continue
                until, why = self._resting.get(self._source, (0.0, ""))
                if until > time.monotonic():
                    self.unanswered = why
                    continue
                try:
                    return super().page(level, number)
                except FormatError:
                    slow += [drive] if self._late > before else []
                except DriveFault as error:
                    if isinstance(drive, RemoteDrive) and not is_missing(error):
                        self.unanswered = str(error)
                        self._resting[self._source] = time.monotonic() + _REST, str(error)
            if self._late == late:
                break
        now = time.monotonic()
        if silent := [why for until, why in self._resting.values() if until > now]:
            raise _Unanswered(
                f"{self.name}: a page is to be had from none of the drives that are here: {silent[0]}",
                hint="see to the hosts and the way to them, and run the same command again",
            )
        raise FormatError(f"{self.name}: {NOWHERE}")

    def matches(self, place: int, data: bytes) -> bool:
        """Whether `data` is page `place` of the file (0: the header), by the tree as the group's drives have it."""
        self.unanswered = None
        if place == 0 or len(data) != paged.PAGE:
            return data == self._header.ljust(paged.PAGE, b"\0")
        level = max(index for index, start in enumerate(self._starts) if start <= place)
        number = place - self._starts[level]
        if level == len(self._levels) - 1:
            return blake3(self._header + data).digest() == self._root
        upper, entry = divmod(number, paged.FANOUT)
        try:
            digests = self.page(level + 1, upper)
        except FormatError:
            return False  # damaged above on every drive: nobody can say
        self.unanswered = None
        return blake3(data).digest() == digests[entry * paged.DIGEST : (entry + 1) * paged.DIGEST]

    def close(self) -> None:
        """Close the copies; reading opens them again."""
        for file in self._open.values():
            if file is not None:
                file.close()
        self._open.clear()


@dataclass(eq=False)
class GroupView:
    """One group of which at least one drive is here."""

    group: int
    digest: str  # BLAKE3 of the manifest
    manifest: Manifest
    manifest_bytes: bytes
    trusted: bool
    signer: Signer | None  # None: no allowed signer's signature is among the drives here
    views: list[DriveView] = field(default_factory=list)  # all members, in the order of the mounts
    signature: bytes | None = None  # one of those here that holds over the manifest

    def __post_init__(self) -> None:
        self.packs, self.blocks = self.open_pages()

    @property
    def copies(self) -> dict[int, list[DriveView]]:
        """Slot -> the drives that are in it: usually one."""
        found: dict[int, list[DriveView]] = {}
        for view in self.views:
            if view.slot is not None:
                found.setdefault(view.slot, []).append(view)
        return dict(sorted(found.items()))

    @property
    def drives(self) -> dict[int, DriveView]:
        """Slot -> the first drive that is in it."""
        return {slot: views[0] for slot, views in self.copies.items()}

    @property
    def missing(self) -> list[DriveRow]:
        """The drives of the manifest's table that are not here."""
        here = self.copies
        return [row for row in self.manifest.drives if row.slot not in here]

    def open_pages(self, cache: int = 256, also: DriveView | None = None) -> tuple[SharedPages, SharedPages]:
        """packs.bin and blocks.bin over all copies, and those of one that may be no member, for one thread."""
        manifest, views = self.manifest, list(self.views)
        if also is not None and also not in views:
            views.append(also)
        return (
            SharedPages(
                views,
                mf.PACKS,
                magic=mf.PACKS_MAGIC,
                record=mf.PACK.size,
                ref=manifest.packs,
                cache=cache,
            ),
            SharedPages(
                views,
                mf.BLOCKS,
                magic=mf.BLOCKS_MAGIC,
                record=paged.DIGEST,
                ref=manifest.blocks,
                cache=cache,
            ),
        )


class Late(NamedTuple):
    """A drive that has not answered yet, and the look at it (survey.look) that goes on."""

    view: DriveView
    look: Future[DriveFault | None]


class Superseded(NamedTuple):
    """A seal on a drive, which holds and is of a later revision than the one that is used."""

    revision: int
    blake3: str  # of its seal.json
    mount: str


@dataclass(eq=False)
class Survey:
    """Everything that was found, and what a seal says should have been."""

    shipment: str | None
    views: list[DriveView]
    groups: list[GroupView]  # by number
    seal: Seal | None  # trusted is not None: it holds; else it is only whole
    trusted: TrustedSeal | None
    seal_source: Literal["file", "drives"] | None
    seal_failures: list[str]  # why whole seals on the drives do not hold
    notices: list[str]
    checked: bool = False  # allowed signers were given
    seal_lacks: set[str] = field(default_factory=set)  # files that copies of the seal lack, where none is whole
    unsealed: list[DriveView] = field(default_factory=list)  # drives without seal/, though others here have it
    alike: list[DriveView] = field(default_factory=list)  # drives with another seal of that revision, which holds, too
    superseded: Superseded | None = None  # by whose seal on a drive here the one that is used is superseded
    sealed: set[str] = field(default_factory=set)  # shipments of which a seal on a drive here holds
    rivals: dict[str, int] = field(default_factory=dict)  # survey_mixed.rivals, where nothing given says which is meant
    late: list[Late] = field(default_factory=list)  # drives of other hosts that were not waited for; in no other list

    @property
    def why_no_seal(self) -> str:
        """Why there is none that holds, where there is none."""
        if self.seal_lacks and not self.seal_failures:
            return f"no seal: none was given, and those on these drives lack {', '.join(sorted(self.seal_lacks))}"
        return "; ".join(self.seal_failures) or "no seal: neither given nor on these drives"

    @property
    def absent(self) -> list[SealGroup]:
        """Groups of the seal of which no drive is here."""
        here = {group.group for group in self.groups}
        return [] if self.seal is None else [group for group in self.seal.groups if group.group not in here]

    @property
    def groups_total(self) -> int:
        """How many groups the shipment has, by the seal or else by the manifests here; 0: nobody knows."""
        if self.seal is not None:
            return len(self.seal.groups)
        return max((group.manifest.groups for group in self.groups), default=0)


def read_or_note(view: DriveView, name: str, limit: int) -> bytes | None:
    """A small file of a drive.

    None when it is missing, too long, unreadable or no file, which is then noted.
    """
    far = isinstance(view.drive, RemoteDrive)  # where each question is a round trip, so it is not asked how long it is
    try:
        if not far and _is_longer(view, name, limit):
            return None
        data = view.drive.read_small(name, limit)
    except FormatError as error:
        if not (far and _is_longer(view, name, limit)):
            view.note(name, "unexpected", str(error))
    except DriveFault as error:
        view.failed(name, error)
    else:
        if data is None:
            view.note(name, "missing", "there is no such file")
        return data
    return None


def _is_longer(view: DriveView, name: str, limit: int) -> bool:
    """Whether a file is over its limit, which is then noted. FormatError, DriveFault of a drive that is here."""
    try:
        size = view.drive.size(name)
    except (FormatError, DriveFault):
        if isinstance(view.drive, RemoteDrive):
            return False
        raise
    if size is None or size <= limit:
        return False
    view.note(name, "extended", f"{size:,} bytes long; at most {limit:,} are allowed")
    return True


def read_all(view: DriveView, limits: Mapping[str, int]) -> tuple[dict[str, bytes], list[Problem]]:
    """Small files of a drive, and what is wrong with those that are not among them; of another host all at once."""
    asides = [DriveView(view.mount, view.drive) for _ in limits]
    works = [partial(read_or_note, aside, *each) for aside, each in zip(asides, limits.items(), strict=True)]
    if isinstance(view.drive, RemoteDrive):
        workers = Workers(len(works), "sealift-small")
        coming = [workers.submit(work) for work in works]
        workers.close()
        found = [each.result() for each in coming]
    else:
        found = [work() for work in works]
    files = {name: data for name, data in zip(limits, found, strict=True) if data is not None}
    return files, [problem for aside in asides for problem in aside.problems]
