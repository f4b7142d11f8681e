"""A sealed shipment where it stands: what is in it, and verified bytes of it. The key holder's one door.

    drives = ["/mnt/d1", "/mnt/d2"]
    with Shipment.open(drives, identity="key.txt", allowed_signers="signers", seal="0123456789abcdef.seal") as shipment:
        shipment.stat("train/0001.txt").size
        shipment.read("train/0001.txt", 0, 100)

What holds:
- It opens only with the seal, believed by allowed signers: whatever needs an identity refuses a shipment without it.
- Bytes that leave have authenticated at their place, or were rebuilt from parity and then authenticated. What was
  rebuilt is counted (`health`), and each drive that is missing or fails is logged once.
- Nothing is written anywhere, to no drive, ever.
- Opening takes as long and as much memory for a thousand million members as for one; what is cached is bounded.
- Safe for threads; a forked child starts with caches of its own, and a pickled shipment opens again where it arrives
  (as DataLoader workers need it). The pickle holds the identity: it is for processes of one host. With issued keys it
  holds the paths of the job's identity and of the issued file, as far as they were given as paths, and no pack's key.

Paths are as at the source, from its root, without a leading `/`: str, with what is no UTF-8 as os.fsdecode has it, or
bytes. Where data lies (groups, stripes, frames) is for the modules below.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias

from sealift.drives.ranges import RemoteDrive
from sealift.errors import BadInput, FormatError, NotAllHere, SealInvalid
from sealift.formats import age_keys, index, manifest
from sealift.formats.allowed_signers import MAX_FILE, AllowedSigners
from sealift.formats.index import CHANGED, DIRECTORY, FILE, HARDLINK, KINDS, SPARSE, Row
from sealift.formats.manifest import Manifest
from sealift.formats.samples import key_function
from sealift.reading import trust
from sealift.reading.group import GroupReader
from sealift.reading.health import Health, health_of
from sealift.reading.index_files import BATCH, AnyCopy, Members, PackCounts, checked, open_parquet, pack_counts
from sealift.reading.keys import File, IdentityKeys, IssuedKeys, Keys, absolute, contents_of, identities_in
from sealift.reading.member import Member, MemberFile, PackId, ToldOnce, read_segment, segment_parts
from sealift.reading.pack import Buffers, OpenPacks, PackContent, PackReader
from sealift.reading.patterns import matcher
from sealift.reading.samples import files, load, runs
from sealift.reading.survey import refuse_others, survey, unreached, unused
from sealift.reading.survey_late import Latecomers
from sealift.reading.survey_mixed import refuse_mixed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow.parquet as pq

    from sealift.drives.base import Drive
    from sealift.formats.manifest import DriveRow
    from sealift.formats.seal import SealDrive
    from sealift.reading.samples import Sample
    from sealift.reading.survey_views import GroupView, Late

Path: TypeAlias = str | bytes

_SPARE = 4  # buffers that are kept for the next packs
_NEAR = 128 << 10  # a gap in a pack that is read rather than skipped
_RUN = 4 << 20  # plaintext that read_many reads at a time
_AHEAD = 8  # runs that drives are told of before they are read


class Group:
    """One group that is here: its reader, its index and its table of packs, opened with keys."""

    def __init__(self, view: GroupView, keys: Keys) -> None:
        self.reader, self.manifest, self.keys = GroupReader(view), view.manifest, keys
        self.members = Members(lambda: self.parquet(manifest.MEMBERS_INDEX), self.manifest.geometry)
        self._counts: PackCounts | None = None

    def parquet(self, name: str) -> pq.ParquetFile:
        """An index file, decrypted as it is read; any drive's copy serves."""
        ref = self.manifest.members_index if name == manifest.MEMBERS_INDEX else self.manifest.packs_index
        what = f"{name} of group {self.manifest.group}"
        return open_parquet(AnyCopy(self.reader, name, ref, self.keys), what)

    def batches(self, size: int = BATCH) -> Iterator[Any]:
        """The index in Arrow batches of at most `size` rows, columns as specified, none null; FormatError."""
        file = self.parquet(manifest.MEMBERS_INDEX)
        yield from checked(file.iter_batches(size), index.members_schema())

    def counts(self) -> PackCounts:
        """What every data pack holds."""
        if self._counts is None:
            self._counts = pack_counts(lambda: self.parquet(manifest.PACKS_INDEX), self.manifest.geometry)
        return self._counts

    def content(self, stripe: int, role: int, buffers: Buffers | None = None) -> PackContent:
        """The tar stream of a pack, opened now; with `buffers` it shares them with others of the same thread."""
        return PackContent(PackReader(self.reader, stripe, role, self.keys, buffers))


@dataclass
class Missing:
    """A group of the seal of which no drive is here."""

    group: int
    drives: list[str]  # id, serial, carrier
    files: int
    bytes: int


class Shipment:
    """A sealed shipment; `groups` are those that are here, `missing` those of which nothing is."""

    def __init__(
        self,
        seal: trust.TrustedSeal,
        views: dict[int, GroupView],
        keys: IdentityKeys | IssuedKeys,
        again: Any,
        late: Sequence[Late] = (),
    ) -> None:
        self.seal, self._views, self._keys, self._again = seal, views, keys, again
        self.missing = [
            Missing(
                sealed.group,
                [_named(drive) for drive in sealed.drives],
                sealed.totals.files,
                sealed.totals.source_bytes,
            )
            for sealed in seal.seal.groups
            if sealed.group not in views
        ]
        self._late = Latecomers(late, views)
        self._ignored: list[tuple[str, str]] = []
        self._far: dict[str, RemoteDrive] = {}  # locations in other hosts
        self._unreached: list[tuple[str, str]] = []  # those of them that did not answer as they should
        self.notices: list[str] = []  # what else there is to know of the mounts
        self._start()

    def _start(self) -> None:
        """Everything that belongs to one process: files, caches, locks."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._keys.begin()
        self._groups = {number: Group(view, self._keys) for number, view in self._views.items()}
        for group in self._groups.values():
            group.reader.unreached = lambda: [*self._unreached, *self._late.unreached]
        self._late.begin({number: group.reader for number, group in self._groups.items()})
        self._open = OpenPacks()
        self._spare: list[Buffers] = []
        self._changed = ToldOnce()

    @classmethod
    def open(
        cls,
        locations: Sequence[str | Drive],
        *,
        identity: File | Sequence[File],
        allowed_signers: File,
        seal: str | dict[str, bytes] | None = None,
        keys: File | None = None,
    ) -> Shipment:
        """Open what stands at `locations` (folders, addresses, locations files; or drives), in any order.

        `identity` is one or more files of age identities; `allowed_signers` a file in ssh-keygen's format; `seal` the
        seal file that was sent ahead, or what trust.load_seal gave; without it the seal on the drives serves, if it is
        there, and drives of several shipments are refused: nothing says which is meant. With `keys`, the file that
        `sealift unlock` wrote, the identities are those of the job that it was issued to. SealInvalid without a seal
        that holds, SignatureInvalid, KeyInvalid, IdentityMismatch, UnlockInvalid, BadInput.
        """
        given = [identity] if isinstance(identity, str | bytes | os.PathLike) else list(identity)
        contents = [contents_of(each, age_keys.MAX_KEY_FILE, "identity file") for each in given]
        identities = [key for each, data in zip(given, contents, strict=True) for key in identities_in(each, data)]
        if not identities:
            raise BadInput("no identity is given", hint="--identity FILE, the identity of one of the recipients")
        signers = contents_of(allowed_signers, MAX_FILE, "allowed signers file")
        allowed = AllowedSigners.parse(signers)
        opens = IdentityKeys(identities) if keys is None else IssuedKeys(keys, identities, allowed)
        files = trust.load_seal(seal) if isinstance(seal, str) else seal
        found = survey(locations, allowed=allowed, seal=files, hurry=True)
        refuse_others(found)
        if files is None:
            refuse_mixed(found)
        if found.trusted is None:
            raise SealInvalid(
                found.why_no_seal,
                hint="--seal FILE, as the origin sent it ahead by network",
            )
        views = {view.group: view for view in found.groups if view.trusted and view.drives}
        if not views:
            raise SealInvalid(
                "none of these drives belongs to the shipment of this seal",
                hint="give the seal of this shipment, or mount its drives; `sealift inspect MNT...` says what is here",
            )
        if isinstance(opens, IssuedKeys):
            opens.check_seal(found.trusted.reference.seal, found.trusted.seal)
        issued = None if keys is None else absolute(keys)
        known = contents if keys is None else [absolute(each) for each in given]
        again = (list(locations), known, signers, found.trusted.files, issued)
        shipment = cls(found.trusted, views, opens, again, found.late)
        late = [f"{view.mount} has not answered yet: it is used as soon as it has" for view, _ in found.late]
        views_of_all = [*found.views, *(each.view for each in found.late)]
        shipment._far = {each.mount: each.drive for each in views_of_all if isinstance(each.drive, RemoteDrive)}
        shipment._ignored, shipment._unreached = unused(found), unreached(found)
        shipment.notices = [*found.notices, *late]
        return shipment

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_again, self._again

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every file; it may be used again."""
        groups, self._groups = self._groups, {}
        self._pid = -1
        for group in groups.values():
            group.reader.close()

    @property
    def groups(self) -> dict[int, Group]:
        """The groups that are here, by number."""
        if self._pid != os.getpid():  # after a fork: the parent's locks may be held by threads that are not here
            self._start()
        return self._groups

    @property
    def ignored(self) -> list[tuple[str, str]]:
        """Locations that give nothing, as far as is known, and why: another shipment's drive, or none."""
        return [*self._ignored, *self._late.useless]

    @property
    def silent(self) -> list[tuple[str, str]]:
        """Those of `ignored` that stand in other hosts, and hosts that have not answered by now."""
        return [each for each in self._ignored if each[0] in self._far] + self._late.useless + self._late.waiting

    @property
    def drives(self) -> list[Drive]:
        """Those that are here, of all groups."""
        return [view.drive for group in self._views.values() for view in group.views]

    @property
    def absent(self) -> list[str]:
        """The drives that are not here of the groups that are; one whose host is late, until it has answered."""
        return [_named(row) for view in self._views.values() for row in view.missing]

    @property
    def away(self) -> str:
        """Which groups are not here, in words: what the others have not may be in these. Empty where all are here."""
        numbers = [str(each.group) for each in self.missing]
        more = f" and {len(numbers) - 10} more" if len(numbers) > 10 else ""
        listed = ", ".join(numbers[:10]) + more
        return f"groups {listed} are not here" if len(numbers) > 1 else f"group {listed} is not here" if numbers else ""

    # -- what is in it

    def members(self, prefix: Path = "") -> Iterator[Member]:
        """Every path beneath the folder `prefix`, or of that name, in order of bytes; FormatError, Lost.

        Memory is that of one path and some row groups of the index.
        """
        rows: list[Row] = []
        for row in self._rows(_bytes(prefix)):
            if rows and row.path != rows[0].path:
                yield Member.of(rows)
                rows = []
            rows.append(row)
        if rows:
            yield Member.of(rows)

    def _rows(self, prefix: bytes) -> Iterator[Row]:
        own = [self._find(prefix)[1]] if prefix else []
        start = prefix + b"/" if prefix else b""
        streams = [self._beneath(group, start) for group in self.groups.values()]
        yield from (row for rows in own for row in rows)
        yield from heapq.merge(*streams, key=lambda row: (row.path, row.start))

    @staticmethod
    def _beneath(group: Group, start: bytes) -> Iterator[Row]:
        for row in group.members.rows(start):
            if not row.path.startswith(start):
                return
            yield row

    def listdir(self, folder: Path = "") -> list[Member]:
        """What is in a folder, sorted; folders that are known only by what is in them, too. Errors as of stat.

        Costs a look-up for each folder in it, however much there is beneath.
        """
        prefix = _bytes(folder)
        start = prefix + b"/" if prefix else b""
        found: dict[bytes, list[Row]] = {}
        for group in self.groups.values():
            for path, row in _children(group, start):
                found.setdefault(path, []).extend([] if row is None else [row])
        if not found and prefix and self.stat(prefix).kind != "dir":
            raise BadInput(f"{os.fsdecode(prefix)!r} is not a folder")
        return [
            Member.of(rows) if rows else Member(os.fsdecode(path), "dir", 0, 0o755, 0, "", "", ())
            for path, rows in sorted(found.items())
        ]

    def _find(self, path: bytes) -> tuple[int, list[Row]]:
        for number, group in self.groups.items():
            rows = group.members.find(path)
            if rows:
                return number, rows
        return -1, []

    def find(self, path: bytes) -> tuple[int, list[Row]]:
        """The group and the rows of a path; BadInput if it is not in the shipment, NotAllHere if that is not known."""
        number, rows = self._find(path)
        if not rows and self.missing:
            raise NotAllHere(
                f"{os.fsdecode(path)!r} is in none of the groups that are here; {self.away}",
                hint="give a drive of each group; `sealift ls` lists what is here",
            )
        if not rows:
            raise BadInput(f"{os.fsdecode(path)!r} is not in this shipment", hint="`sealift ls` lists what is")
        return number, rows

    def stat(self, path: Path) -> Member:
        """What is known of a path: a hard link's size is that of its file. BadInput, NotAllHere, as of find."""
        member = Member.of(self.find(_bytes(path))[1])
        if member.kind != "hardlink":
            return member
        return member._replace(size=Member.of(self.find(os.fsencode(member.link))[1]).size)

    def rows(self, patterns: Sequence[str] = ()) -> Iterator[Row]:
        """Every row of the index by path, segments of a file one by one; those that match one of `patterns`, if any."""
        matches = matcher(patterns)
        streams = [group.members.rows() for group in self.groups.values()]
        for row in heapq.merge(*streams, key=lambda row: (row.path, row.start)):
            if matches(row.path):
                yield row

    def rows_of(self, pattern: str) -> Iterator[tuple[int, Row]]:
        """The rows of paths that match a shell pattern, each with its group; a group after the other."""
        matches = matcher([pattern])
        fixed = os.fsencode(re.split(r"[*?\[]", pattern, maxsplit=1)[0])  # all begin with it, and others are not read
        for number, group in sorted(self.groups.items()):
            for row in group.members.rows(fixed):
                if not row.path.startswith(fixed):
                    break
                if matches(row.path):
                    yield number, row

    # -- its bytes

    def located(self, path: Path | Member) -> tuple[int, tuple[Row, ...]]:
        """The group and the rows of the file behind a path: hard links are followed, symbolic ones are not.

        BadInput if it is no file; errors as of find; FormatError when its segments do not join.
        """
        if isinstance(path, Member) and path.kind == "file":
            number, rows = self._group_of(path.rows), list(path.rows)
        else:
            name = os.fsencode(path.path) if isinstance(path, Member) else _bytes(path)
            number, rows = self.find(name)
            if rows[0].kind == HARDLINK:
                number, rows = self.find(rows[0].link)
            if rows[0].kind != FILE:
                raise BadInput(f"{os.fsdecode(name)!r} is a {KINDS[rows[0].kind]}, not a file")
        at = 0
        for row in rows:
            if row.start != at:
                raise FormatError(f"index: segments of {os.fsdecode(row.path)!r} do not join")
            at += row.length
        if at != rows[0].size and not rows[-1].flags & CHANGED:
            raise FormatError(f"index: segments of {os.fsdecode(rows[0].path)!r} do not make the whole")
        self._changed.tell(rows)
        return number, tuple(rows)

    def _group_of(self, rows: Sequence[Row]) -> int:
        """The group of rows of one path; of several groups the one that has it."""
        if len(self.groups) == 1:
            return next(iter(self.groups))
        return self.find(rows[0].path)[0]

    def content(self, pack: PackId) -> PackContent:
        """The tar stream of a pack, kept open for a while; used by one thread at a time, who holds its `lock`."""
        group = self._group_with(pack)
        return self._open.get(pack, lambda: group.content(pack.stripe, pack.role))

    def read(self, path: Path | Member, start: int = 0, end: int | None = None) -> bytes:
        """Bytes start..end-1 of a file; fewer where it ends before. BadInput, NotAllHere, Lost, FormatError."""
        if start < 0 or (end is not None and end < start):
            raise BadInput(f"bytes {start} to {end}: no such range")
        with self.open_file(path) as file:
            file.seek(start)
            return file.read(-1 if end is None else end - start)

    def pieces(self, path: Path | Member, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The same in pieces of at most 1 MiB, in order; what `cat` prints."""
        number, rows = self.located(path)
        for row, low, high in segment_parts(rows, start, end):
            content = self.content(PackId(number, row.stripe, row.role))
            for at in range(low, high, zstd_frame := 1 << 20):
                with content.lock:
                    yield read_segment(content, row, at, min(at + zstd_frame, high))

    def read_many(self, requests: Iterable[Path | Member | tuple[Path | Member, int, int | None]]) -> list[bytes]:
        """The bytes of every request, (path, start, end) or all of a path, in their order.

        Packs are read one after the other and from front to back, neighbours together, each part once, and drives are
        told what comes next. Memory is that of the answer. BadInput, NotAllHere, Lost, FormatError.
        """
        parts: list[_Part] = []
        pieces: list[list[bytes]] = []
        for request, each in enumerate(requests):
            path, start, end = each if isinstance(each, tuple) and not isinstance(each, Member) else (each, 0, None)
            number, rows = self.located(path)
            found = list(segment_parts(rows, start, end))
            pieces.append([b""] * len(found))
            for place, (row, low, high) in enumerate(found):
                parts.append(_Part(PackId(number, row.stripe, row.role), row, low, high, request, place))
        parts.sort(key=lambda part: (part.pack, part.row.offset + part.low))
        runs = self._runs(parts)
        for number, run in enumerate(runs):
            for later in runs[number + 1 if number else 0 : number + _AHEAD] if number % _AHEAD == 0 else ():
                self.content(later.pack).will_need(later.start, later.end)
            content = self.content(run.pack)
            with content.lock:
                if run.end - run.start <= _RUN:
                    content.load(run.start, run.end)
                for part in run.parts:
                    pieces[part.request][part.place] = read_segment(content, part.row, part.low, part.high)
        return [b"".join(each) for each in pieces]

    def _runs(self, parts: list[_Part]) -> list[_Run]:
        """Parts of packs that are read at once, in order of place."""
        runs: list[_Run] = []
        for part in parts:
            content = self.content(part.pack)
            sparse = part.row.flags & SPARSE  # what is asked for lies anywhere in what is stored
            start, end = content.span(
                part.row.offset if sparse else part.row.offset + part.low,
                part.row.stored if sparse else part.high - part.low,
            )
            last = runs[-1] if runs else None
            if (
                last is not None
                and not sparse
                and last.pack == part.pack
                and start <= last.end + _NEAR
                and max(end, last.end) - last.start <= _RUN
            ):
                last.end = max(end, last.end)
                last.parts.append(part)
            else:
                runs.append(_Run(part.pack, start, end, [part]))
        return runs

    def open_file(self, path: Path | Member) -> MemberFile:
        """A file as a read-only, seekable file object; errors as of located."""
        return MemberFile(self, path)

    # -- packs

    def _group_with(self, pack: PackId) -> Group:
        """The group of a pack, which is here; BadInput if it is not, or has no such pack."""
        group = self.groups.get(pack.group)
        if group is None:
            raise BadInput(f"no drive of group {pack.group} is here", hint="mount one of its drives")
        geometry = group.manifest.geometry
        if not (0 <= pack.stripe < geometry.stripes and 0 <= pack.role < geometry.data):
            raise BadInput(f"group {pack.group} has no data pack {pack.stripe}/{pack.role}")
        return group

    def packs(self) -> Iterator[tuple[PackId, int, int]]:
        """Every data pack of the groups that are here: its id, bytes of tar and samples; in order of id."""
        for number, group in sorted(self.groups.items()):
            counts, data = group.counts(), group.manifest.geometry.data
            for place in range(len(counts.length)):
                if counts.length[place]:
                    yield PackId(number, *divmod(place, data)), int(counts.tar[place]), int(counts.samples[place])

    def samples(self, pack: PackId) -> Iterator[Sample]:
        """The samples of a pack as they lie in it, each in memory when it is given. Lost, FormatError, BadInput."""
        group = self._group_with(pack)
        with self._lent() as buffers:
            content = group.content(pack.stripe, pack.role, buffers)
            for key, run in runs(files(content, contents=True), key_function(group.counts().sample_key)):
                yield load(self, pack, content, key, run)

    @contextlib.contextmanager
    def _lent(self) -> Iterator[Buffers]:
        """Buffers for one pack, which the next one gets again."""
        with self._lock:
            buffers = self._spare.pop() if self._spare else Buffers()
        try:
            yield buffers
        finally:
            with self._lock:
                self._spare = [*self._spare[: _SPARE - 1], buffers]

    def sample(self, pack: PackId, offset: int) -> Sample:
        """The sample whose first header stands at `offset` of a pack's tar. Lost, FormatError, BadInput."""
        group = self._group_with(pack)
        content = group.content(pack.stripe, pack.role)
        key, run = next(runs(files(content, offset), key_function(group.counts().sample_key)), (b"", []))
        if not run:
            raise BadInput(
                f"no sample begins at {offset} of pack {tuple(pack)}", hint="give a Sample's pack and offset"
            )
        return load(self, pack, content, key, run)

    def sample_offsets(self, pack: PackId) -> list[int]:
        """Where the samples of a pack begin in its tar; only frames with headers are read. Lost, FormatError."""
        group = self._group_with(pack)
        content = group.content(pack.stripe, pack.role)
        return [run[0].header for _, run in runs(files(content), key_function(group.counts().sample_key))]

    def health(self) -> Health:
        """What was rebuilt so far, which drives are missing or fail; as `sealift repair --report` takes it.

        Of this process alone (`processes` is 1): what a DataLoader's workers read is in ShipmentDataset.health().
        """
        readers = {number: group.reader for number, group in self.groups.items()}
        silent = [(self._far[mount], why) for mount, why in self.silent if mount in self._far]
        return health_of(self.seal.seal.shipment, self._views, readers, [each.group for each in self.missing], silent)

    @property
    def rebuilt_blocks(self) -> int:
        """Blocks that were rebuilt from parity so far."""
        return sum(sum(group.reader.rebuilt.values()) for group in self.groups.values())


class _Part(NamedTuple):
    pack: PackId
    row: Row
    low: int  # in the segment
    high: int
    request: int
    place: int


@dataclass
class _Run:
    pack: PackId
    start: int  # in the pack's plaintext
    end: int
    parts: list[_Part]


def _children(group: Group, start: bytes) -> Iterator[tuple[bytes, Row | None]]:
    """The rows of what is in a folder as one group knows it; None for a folder of which something beneath is seen."""
    bound: bytes | None = start
    while bound is not None:
        rows, bound = group.members.rows(bound), None
        for row in rows:
            if not row.path.startswith(start):
                return
            name, slash, _ = row.path[len(start) :].partition(b"/")
            if slash:  # what is beneath a child is passed over; "a-b" stands between "a" and "a/c"
                yield start + name, None
                bound = start + name + b"0"
                break
            yield row.path, row


def _open_again(
    locations: list[str | Drive], identity: list[File], signers: bytes, seal: dict[str, bytes], keys: File | None
) -> Shipment:
    return Shipment.open(locations, identity=identity, allowed_signers=signers, seal=seal, keys=keys)


def _bytes(path: Path) -> bytes:
    return os.fsencode(path).rstrip(b"/")


def _named(drive: SealDrive | DriveRow) -> str:
    return f"{drive.id} (serial {drive.serial}, {drive.carrier or 'no carrier'})"


__all__ = [
    "CHANGED", "DIRECTORY", "HARDLINK", "File", "Group", "Manifest", "Member", "MemberFile", "Missing", "PackId",
    "Shipment", "read_segment",
]  # fmt: skip
