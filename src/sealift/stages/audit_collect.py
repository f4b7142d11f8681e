"""Everything that belongs into an audit bundle, found in files and folders and put in its place.

    sort      papers given (files, folders, drives) -> records by what they say that they are -> names in the bundle

What holds: a file is known by its own words (its `type`, a seal archive, a PDF), never by its name; what is bound by
digest alone (lists, photographs, reports of verify, logs of erasures) by that digest. What lies beside a declaration by
its name is looked for there. A file that was named and cannot be used is an error; of a folder's files those that are
of no use here are left out, and counted. Records of a consignment whose declaration is not here are not taken. Nothing
is judged: a record whose signature does not hold goes into the bundle, and is named when that is verified.

Files are hostile: regular ones only, within the limits of their kinds, no link of a folder followed.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from blake3 import blake3

from sealift.errors import BadInput, FormatError, SealiftError, SignatureInvalid
from sealift.formats import audit, seal, sshsig
from sealift.formats.manifest import SEAL_FILES
from sealift.stages.screen import SECOND
from sealift.trade import audit as audits
from sealift.trade import certificate, declaration, rules, signing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sealift.formats.audit import Kind

MAX_WALK = 100_000  # names in the folders that are given
MAX_DEPTH = 6
MAX_LEFT_OUT = 1_000  # names
_HEAD = 1 << 16
_JSON = re.compile(rb'\A\{\n  "type": "sealift-([a-z-]+)"')
_TOML = re.compile(rb'(?m)^type[ \t]*=[ \t]*"sealift-([a-z]+)"')
_KINDS: dict[bytes, Kind] = {
    b"release": "release",
    b"screening": "screening",
    b"keys": "keys",
    b"custody-event": "custody-event",
    b"manifest": "manifest",
    b"receipt": "receipt",
    b"source-release": "source-release",
    b"certificate": "certificate",
    b"seal": "seal",
}
_OURS = re.compile(rb'(?m)^[ \t]*"?type"?[ \t]*[=:][ \t]*"sealift-[a-z-]+"')  # whatever else sealift writes
_BESIDE = (r"r[0-9]+\.toml", r"rules[^/]*\.toml", r"(release|screening|keys|receipt|source-release)(\.[0-9]+)?\.json")
_JOURNAL = "journal.sqlite"  # stages/pack/journal.py
_PAPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,94}\.pdf|[A-Za-z0-9][A-Za-z0-9._-]{0,94}\.csv")


class _TooMuch(BadInput):
    """No bundle holds all of it; leaving one file out does not mend that."""


class _File(NamedTuple):
    """A file to look at; `named`: somebody gave it by its own name."""

    path: str
    named: bool


@dataclass
class _Item:
    """A record: its bytes, signatures as they belong to it, and the other files that it brings along."""

    data: bytes
    record: Any
    signatures: list[bytes] = field(default_factory=list)
    second: bytes | None = None
    log: bytes | None = None
    seal: dict[str, bytes] | None = None


@dataclass
class Collected:
    """Files of a bundle but for those that are made over them, and what was left out, with why."""

    files: dict[str, bytes]
    left_out: list[str]
    left_out_total: int


def sort(papers: Sequence[str]) -> Collected:
    """Read and place everything; BadInput for what cannot be used, and where no declaration is among it."""
    found = _Pool()
    for each in papers:
        for file in _expand(each):
            found.take(file)
    found.beside()
    if not found.declarations:
        raise BadInput("no declaration is among what was given", hint="sealift audit declaration.toml ...")
    found.by_digest()
    return Collected(found.placed(), found.left_out, found.left_out_total)


# --- files -----------------------------------------------------------------------------------------------


def _expand(path: str) -> Iterator[_File]:
    """The files of a folder, in order; of a drive its manifest and the seal on it; a file itself.

    Of a state folder of `pack` its records alone: a journal, a lock and lists of files are nobody's papers.
    """
    if not os.path.isdir(path):
        yield _File(path, named=True)
        return
    count = 0
    pending = [(path, 0, False)]
    while pending:
        folder, depth, state = pending.pop()
        state = state or os.path.lexists(os.path.join(folder, _JOURNAL))
        drive = os.path.join(folder, "sealift")
        if os.path.lexists(os.path.join(drive, "manifest.json")):
            yield _File(os.path.join(drive, "manifest.json"), named=False)
            if os.path.lexists(os.path.join(drive, "seal", "seal.json")):
                yield _File(os.path.join(drive, "seal", "seal.json"), named=False)
            continue
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            raise BadInput(f"{folder}: {(error.strerror or str(error)).lower()}") from error
        below = []
        for entry in entries:
            count += 1
            if count > MAX_WALK:
                raise BadInput(f"{path}: more than {MAX_WALK:,} names in it", hint="give the papers, not all the data")
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False) and depth < MAX_DEPTH:
                below.append((entry.path, depth + 1, state))
            elif entry.is_file(follow_symlinks=False) and (not state or _kind(_head(entry.path))):
                yield _File(entry.path, named=False)
        pending += reversed(below)


def _head(path: str) -> bytes:
    """The first bytes of a regular file; b"" where there is none."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with open(handle, "rb") as file:
            return file.read(_HEAD)
    except (OSError, ValueError):
        return b""


def _kind(head: bytes) -> str:
    """What a file says that it is; "" where it says nothing that is known here."""
    if found := _JSON.match(head):
        return _KINDS.get(found[1], "")
    if head[257:262] == b"ustar" and head.startswith(SEAL_FILES[0].encode() + b"\0"):
        return "seal-archive"
    if head.startswith(b"%PDF-"):
        return "paper"
    toml = _TOML.search(head)
    return {b"declaration": "declaration", b"rules": "rules"}.get(toml[1], "") if toml else ""


class _Pool:
    """What was found, by kind and digest."""

    def __init__(self) -> None:
        self.declarations: dict[str, tuple[declaration.Declaration, str]] = {}
        self.named: set[str] = set()  # digests of declarations that somebody named
        self.items: dict[str, dict[str, _Item]] = {}
        self.rules: dict[str, rules.Rules] = {}
        self.papers: dict[str, bytes] = {}
        self.plain: list[_File] = []  # known by their digest, if at all
        self.bound: dict[str, bytes] = {}
        self.left_out: list[str] = []
        self.left_out_total = 0
        self._seen: set[str] = set()
        self._signatures: dict[str, dict[str, list[str]]] = {}  # by folder of a custody log and event
        self._size = 0

    def leave(self, file: _File, why: str) -> None:
        """Not into the bundle; BadInput for a file that somebody named."""
        if file.named:
            raise BadInput(f"{file.path}: {why}", hint="give records of this shipment, and folders that hold them")
        self.left_out_total += 1
        if len(self.left_out) < MAX_LEFT_OUT:
            name = file.path.encode(errors="backslashreplace").decode()
            self.left_out.append(f"{name}: {why}")

    def take(self, file: _File) -> None:
        """Look at a file, and keep what it is."""
        real = os.path.realpath(file.path)
        if real in self._seen:
            return
        self._seen.add(real)
        if file.named and not os.path.lexists(file.path):
            raise BadInput(f"{file.path}: no such file or directory")
        kind = _kind(_head(file.path))
        try:
            if kind == "declaration":
                digest = self._declaration(self._read(file.path, declaration.MAX_BYTES), file.path)
                self.named |= {digest} if file.named else set()
            elif kind == "rules":
                parsed = rules.kept(self._read(file.path, rules.MAX_BYTES)).rules
                self.rules[parsed.digest] = parsed
            elif kind == "seal-archive":
                self._seal(seal.decode_bundle(self._read(file.path, seal.MAX_BUNDLE)))
            elif kind == "seal":
                folder = os.path.dirname(file.path)
                names = {name: os.path.join(folder, os.path.basename(name)) for name in SEAL_FILES}
                self._seal({name: self._read(path, seal.LIMITS[name]) for name, path in names.items()})
            elif kind == "paper":
                self._paper(file)
            elif kind:
                self._record(kind, file.path)
            elif not _belongs(file.path):
                ours = _OURS.search(_head(file.path)) is not None  # a worksheet, a form, a list: not a name mistyped
                self.plain.append(file._replace(named=file.named and not ours))
        except _TooMuch:
            raise
        except SealiftError as error:
            self.leave(file, str(error).removeprefix(f"{file.path}: "))

    def _read(self, path: str, limit: int) -> bytes:
        data = signing.read_limited(path, limit, "file")
        self._count(data)
        return data

    def _count(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > audit.MAX_BUNDLE:
            raise _TooMuch(
                f"all together are more than {audit.MAX_BUNDLE:,} bytes, the most that a bundle holds",
                hint="leave lists and photographs away: their digests are in the records",
            )

    def _declaration(self, data: bytes, path: str) -> str:
        parsed = declaration.parse(data, draft=True)
        known = self.declarations.get(parsed.digest)
        if known is None or not known[1]:
            self.declarations[parsed.digest] = (parsed, path)
        return parsed.digest

    def _seal(self, files: dict[str, bytes]) -> None:
        data, signature, declared, release, release_signature = (files[name] for name in SEAL_FILES)
        record = seal.decode_seal(data)
        self._declaration(declared, "")
        self._put("seal", _Item(data, record, [signature], seal=files))
        self._put("release", _Item(release, audits.SIGNED["release"].decode(release), [release_signature]))

    def _paper(self, file: _File) -> None:
        name = os.path.basename(file.path)
        if not _PAPER.fullmatch(name):
            raise BadInput("its name has other characters than letters, digits, dots, hyphens and underscores")
        data = self._read(file.path, _longest("papers/x.pdf"))
        if self.papers.setdefault(name, data) != data:
            raise BadInput("another paper has the same name")

    def _record(self, kind: str, path: str) -> None:
        how = audits.SIGNED[kind]  # type: ignore[index]
        data = self._read(path, _limit(kind))
        item = _Item(data, how.decode(data))
        if kind == "custody-event":
            item.signatures = list(self._custody_signatures(path, audits.digest(data)))
        else:
            item.signatures = _signature(path, data, how.namespace)
        if kind == "screening" and os.path.lexists(path + SECOND):
            item.second = signing.read_limited(path + SECOND, sshsig.MAX_ARMORED, "signature")
        if kind == "certificate":
            log = path.removesuffix(".certificate.json") + ".log.jsonl"
            if os.path.lexists(log):
                item.log = self._read(log, min(certificate.MAX_LOG, _longest("shipments/AAA/certificate.1.log.jsonl")))
        self._put(kind, item)

    def _custody_signatures(self, path: str, digest: str) -> Iterator[bytes]:
        folder = os.path.dirname(path) or "."
        if folder not in self._signatures:
            by_event: dict[str, list[str]] = {}
            for name in sorted(os.listdir(folder)):
                if name.endswith(".sig"):
                    by_event.setdefault(name[:64], []).append(name)
            self._signatures[folder] = by_event
        for name in self._signatures[folder].get(digest, ()):
            yield signing.read_limited(os.path.join(folder, name), sshsig.MAX_ARMORED, "signature")

    def _put(self, kind: str, item: _Item) -> None:
        known = self.items.setdefault(kind, {}).setdefault(audits.digest(item.data), item)
        if known is item:
            return
        if kind == "custody-event" or not known.signatures:
            known.signatures += [each for each in item.signatures if each not in known.signatures]
        known.second = known.second or item.second
        known.log = known.log or item.log

    def beside(self) -> None:
        """What lies beside the declarations by their names, and by their consignments."""
        for parsed, path in list(self.declarations.values()):
            if not path:
                continue
            folder = os.path.dirname(path) or "."
            stem = re.sub(r"(\.r[0-9]+)?\.toml$", "", os.path.basename(path))
            stems = "|".join(map(re.escape, {stem, parsed.consignment_id}))
            wanted = re.compile(rf"({stems})\.({'|'.join(_BESIDE)})|{re.escape(stem)}\.toml")
            for name in sorted(os.listdir(folder)):
                if wanted.fullmatch(name):
                    self.take(_File(os.path.join(folder, name), named=False))

    def by_digest(self) -> None:
        """Files that a record names by digest alone; and the rules that are shipped, where a release binds them."""
        wanted = self._wanted()
        for file in self.plain:
            try:
                self._digested(file, wanted)
            except _TooMuch:
                raise
            except SealiftError as error:
                self.leave(file, str(error).removeprefix(f"{file.path}: "))
        ours = rules.shipped()
        bound = {item.record.rules.blake3 for item in self.items.get("release", {}).values()}
        if ours.digest in bound:
            self.rules.setdefault(ours.digest, ours)

    def _digested(self, file: _File, wanted: dict[str, list[str]]) -> None:
        longest = _longest("shipments/AAA/lists/" + "0" * 64)
        if not file.named and os.path.getsize(file.path) > longest:
            raise BadInput("of no kind that belongs into a bundle")
        data = signing.read_limited(file.path, longest, "file")
        where = wanted.get(hashlib.sha256(data).hexdigest()) or wanted.get(blake3(data).hexdigest())
        if not where:
            name = os.path.basename(file.path)
            if name.endswith(".csv") and any(name.startswith(f"{each}-") for each in self._ids()):
                self._paper(file)
                return
            raise BadInput("of no kind that belongs into a bundle, and no record here names it")
        self._count(data)
        self.bound |= dict.fromkeys(where, data)

    def _wanted(self) -> dict[str, list[str]]:
        """By digest: the places of what records name by it."""
        wanted: dict[str, list[str]] = {}
        for kind in ("screening", "custody-event", "receipt"):
            for item in self.items.get(kind, {}).values():
                for digest, place in _named(kind, item.record):
                    wanted.setdefault(digest, []).append(f"shipments/{item.record.consignment_id}/{place}")
        return wanted

    def _ids(self) -> set[str]:
        return {parsed.consignment_id for parsed, _ in self.declarations.values()}

    # --- places

    def placed(self) -> dict[str, bytes]:
        """Everything under its name in the bundle. BadInput where two papers claim one place."""
        files = {f"papers/{name}": data for name, data in self.papers.items()}
        ids = self._ids()
        files |= {place: data for place, data in self.bound.items() if place.split("/")[1] in ids}
        for consignment in sorted(ids):
            files |= {f"shipments/{consignment}/{name}": data for name, data in self._shipment(consignment)}
        for kind, items in self.items.items():
            for item in items.values():
                if (other := _consignment(item.record)) not in ids:
                    self.leave(_File(f"a {kind} of {other}", named=False), "its declaration is not here")
        return files

    def _shipment(self, consignment: str) -> Iterator[tuple[str, bytes]]:
        yield from self._declared(consignment)
        bound: set[str] = set()
        for kind in ("screening", "keys", "release", "manifest", "receipt", "source-release", "certificate"):
            for number, item in enumerate(self._sorted(kind, consignment), start=1):
                name = f"{kind}.{number}.json"
                yield name, item.data
                if item.signatures:
                    yield f"{name}.sig", item.signatures[0]
                if item.second is not None:
                    yield f"{name}{SECOND}", item.second
                if item.log is not None:
                    yield f"certificate.{number}.log.jsonl", item.log
                if kind == "release":
                    bound.add(item.record.rules.blake3)
        for number, digest in enumerate(sorted(bound & set(self.rules)), start=1):
            yield f"rules.{number}.toml", self.rules[digest].raw
        for number, item in enumerate(self._sorted("seal", consignment), start=1):
            assert item.seal is not None
            for name in SEAL_FILES:
                yield f"seal.{number}/{os.path.basename(name)}", item.seal[name]
        for item in self._sorted("custody-event", consignment):
            digest = audits.digest(item.data)
            yield f"custody/{digest}.json", item.data
            for signature in item.signatures:
                yield f"custody/{digest}-{audits.digest(signature)[:16]}.sig", signature

    def _declared(self, consignment: str) -> Iterator[tuple[str, bytes]]:
        """Released revisions by number, with the author's signatures, and what is not released as the draft."""
        releases = [item.record for item in self.items.get("release", {}).values()]
        newest = sorted(releases, key=lambda each: each.released_at)
        released = {each.declaration.blake3: each.author_signature.encode() for each in newest}
        numbered: dict[str, list[str]] = {}
        for digest, (parsed, path) in self.declarations.items():
            if parsed.consignment_id != consignment:
                continue
            kept = digest in released or re.search(r"\.r[0-9]+\.toml$", path)
            name = f"declaration.r{parsed.revision}.toml" if kept else "declaration.toml"
            numbered.setdefault(name, []).append(digest)
        for name, claiming in sorted(numbered.items()):
            digests = claiming
            if name == "declaration.toml" and len(named := self.named & set(digests)) == 1:
                for other in set(digests) - named:
                    self.leave(_File(self.declarations[other][1], named=False), "another draft than the one named")
                digests = list(named)
            if len(digests) > 1:
                paths = " and ".join(self.declarations[each][1] or "one in a seal" for each in digests)
                raise BadInput(f"{consignment}: {paths} are different declarations, and both would be {name}")
            yield name, self.declarations[digests[0]][0].raw
            if digests[0] in released:
                yield f"{name}.sig", released[digests[0]]

    def _sorted(self, kind: str, consignment: str) -> list[_Item]:
        """Records of a kind and consignment, the oldest first; manifests by their groups."""
        how = audits.SIGNED[kind]  # type: ignore[index]
        items = self.items.get(kind, {})

        def before(item: _Item) -> _Item | None:
            named = getattr(item.record, "supersedes", None)
            return items.get(getattr(named, "blake3", named)) if named else None

        def key(item: _Item) -> tuple[int, str, int, str]:
            behind, at = 0, before(item)
            while at is not None:  # no digest names itself, so this ends
                behind, at = behind + 1, before(at)
            return (getattr(item.record, "group", 0), how.at(item.record), behind, audits.digest(item.data))

        return sorted((item for item in items.values() if _consignment(item.record) == consignment), key=key)


def _named(kind: str, record: Any) -> Iterator[tuple[str, str]]:
    """Digests that a record names without a record beneath, and where such a file lies."""
    if kind == "screening":
        yield from ((row.sha256, f"lists/{row.sha256}") for row in record.lists)
    elif kind == "receipt":
        yield from ((row.blake3, f"reports/{row.blake3}.json") for row in record.reports)
    else:
        taken = [*record.photo_sha256, record.released_by.paper_sha256, record.received_by.paper_sha256]
        yield from ((each, f"photographs/{each}") for each in taken if each)


def _consignment(record: Any) -> str:
    found: str = record.declaration.id if hasattr(record, "geometry") else record.consignment_id
    return found


def _longest(path: str) -> int:
    found = audit.describe(path)
    assert found is not None
    return found.longest


def _limit(kind: str) -> int:
    return next(shape.longest for shape in audit.KINDS if shape.kind == kind)


def _belongs(path: str) -> bool:
    """A file that its record brings along, or that proves nothing: a signature, a log, a text for people."""
    return path.endswith((".sig", ".log.jsonl", ".certificate.txt"))


def _signature(path: str, data: bytes, namespace: str) -> list[bytes]:
    """The signature that belongs to a record: the first that is over its bytes; else the one beside it."""
    found = list(signing.signatures(path, data)) if os.path.lexists(path) else []
    for each in found:
        try:
            sshsig.verify(data, each, namespace)
        except (SignatureInvalid, FormatError):
            continue
        return [each]
    return found[:1]
