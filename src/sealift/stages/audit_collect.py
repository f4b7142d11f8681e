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

import contextlib
import hashlib
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from sealift.errors import BadInput, FormatError, SealiftError, SignatureInvalid
from sealift.formats import audit, seal, sshsig
from sealift.formats.manifest import SEAL_FILES
from sealift.stages import audit_damaged, custody_log
from sealift.stages.audit_files import HEAD, File, expand, head_of, kind_of
from sealift.stages.screen import SECOND
from sealift.trade import audit as audits
from sealift.trade import certificate, declaration, rules, signing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sealift.formats.audit import Kind
    from sealift.formats.manifest import FileRef

MAX_LEFT_OUT = 1_000  # names
_LOG = ".log.jsonl"  # of an erasure
_BROUGHT = (".sig", _LOG, ".certificate.txt")  # its record brings it along, or it proves nothing: text for people
_REVISION = re.compile(r"\.r[0-9]+\.toml\Z")
_CONSIGNMENT = re.compile(rb'"(?:consignment_id|id)": "([A-Za-z0-9][A-Za-z0-9._-]{2,63})"')
_OURS = re.compile(rb'(?m)^[ \t]*"?type"?[ \t]*[=:][ \t]*"sealift-[a-z-]+"')  # whatever else sealift writes
_BESIDE = (
    r"r[0-9]+\.toml",
    r"rules[^/]*\.toml",
    r"(release|screening|keys|receipt|source-release)(\.[0-9]+)?\.json((\.second)?\.sig)?",
)
_PAPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,94}\.pdf|[A-Za-z0-9][A-Za-z0-9._-]{0,94}\.csv")


class _TooMuch(BadInput):
    """No bundle holds all of it; leaving one file out does not mend that."""


@dataclass
class _Item:
    """A record: its bytes, signatures as they belong to it, and the other files that it brings along."""

    data: bytes
    record: Any
    signatures: list[bytes] = field(default_factory=list)
    second: bytes | None = None
    log: bytes | None = None
    seal: dict[str, bytes] | None = None
    path: str = ""


@dataclass
class Collected:
    """Files of a bundle but for those that are made over them, and what was left out, with why.

    `damaged`: what is no more what somebody signed, by its own path, and where it is in the bundle.
    """

    files: dict[str, bytes]
    left_out: list[str]
    left_out_total: int
    damaged: list[str] = field(default_factory=list)


def sort(papers: Sequence[str]) -> Collected:
    """Read and place everything; BadInput for what cannot be used, and where no declaration is among it."""
    found = _Pool()
    for each in papers:
        for file in expand(each):
            found.take(file)
    found.beside()
    if not found.declarations:
        raise BadInput("no declaration is among what was given", hint="sealift audit declaration.toml ...")
    found.by_digest()
    return Collected(found.placed(), found.left_out, found.left_out_total, found.told)


class _Pool:
    """What was found, by kind and digest."""

    def __init__(self) -> None:
        self.declarations: dict[str, tuple[declaration.Declaration, str]] = {}
        self.named: set[str] = set()  # digests of declarations that somebody named
        self.items: dict[str, dict[str, _Item]] = {}
        self.rules: dict[str, rules.Rules] = {}
        self.papers: dict[str, bytes] = {}
        self.plain: list[File] = []  # known by their digest, if at all
        self.bound: dict[str, bytes] = {}
        self.left_out: list[str] = []
        self.left_out_total = 0
        self.told: list[str] = []
        self._damaged: list[audit_damaged.Was] = []
        self._logs: dict[str, bytes] = {}  # files of custody logs that are not what their names say, or lack an event
        self._folders: dict[str, set[str]] = {}  # consignments of the good records in each folder
        self._seen: set[str] = set()
        self._signatures: dict[str, dict[str, list[str]]] = {}  # by folder of a custody log and event
        self._size = 0

    def leave(self, file: File, why: str) -> None:
        """Not into the bundle; BadInput for a file that somebody named."""
        if file.named:
            raise BadInput(f"{file.path}: {why}", hint="give records of this shipment, and folders that hold them")
        if _REVISION.search(file.path):
            self.tell(file.path, f"a revision that was kept, by its name: {why}")
        self.left_out_total += 1
        if len(self.left_out) < MAX_LEFT_OUT:
            name = file.path.encode(errors="backslashreplace").decode()
            self.left_out.append(f"{name}: {why}")

    def take(self, file: File) -> None:
        """Look at a file, and keep what it is."""
        real = os.path.realpath(file.path)
        if real in self._seen:
            return
        self._seen.add(real)
        if file.named and not os.path.lexists(file.path):
            raise BadInput(f"{file.path}: no such file or directory")
        try:
            if not self._of_log(file.path):
                archive = file.path.endswith(".seal")  # by its name, too: damaged, it may look like what is in it
                self._take(file, "seal-archive" if archive else kind_of(head_of(file.path)))
        except _TooMuch:
            raise
        except SealiftError as error:
            self.leave(file, str(error).removeprefix(f"{file.path}: "))

    def _take(self, file: File, kind: str) -> None:
        if kind == "rules":
            parsed = rules.kept(self._read(file.path, rules.MAX_BYTES)).rules
            self.rules[parsed.digest] = parsed
        elif kind == "paper":
            self._paper(file)
        elif kind:
            try:
                self._signed(file, kind)
            except _TooMuch:
                raise
            except SealiftError as error:
                why = str(error).removeprefix(f"{file.path}: ")
                archive = kind == "seal-archive"
                if not (archive or os.path.lexists(f"{file.path}.sig")) or (kind == "declaration" and file.named):
                    raise
                self._damage("seal" if archive else kind, file.path, why)  # type: ignore[arg-type]
        elif was := audit_damaged.signed_as(file.path):
            self._damage(was, file.path, "it does not say any more what it is, and was signed")
        elif alone := audit_damaged.lone(file.path):
            self._lone(file.path, alone)
        elif not file.path.endswith(_BROUGHT):
            ours = _OURS.search(head_of(file.path)) is not None  # a worksheet, a form, a list: not a name mistyped
            self.plain.append(file._replace(named=file.named and not ours))

    def _signed(self, file: File, kind: str) -> None:
        """Keep what bears signatures."""
        if kind == "declaration":
            digest = self._declaration(self._read(file.path, declaration.MAX_BYTES), file.path)
            self.named |= {digest} if file.named else set()
        elif kind == "seal-archive":
            self._seal(seal.decode_bundle(self._read(file.path, seal.MAX_BUNDLE)), file.path)
        elif kind == "seal":
            folder = os.path.dirname(file.path)
            names = {name: os.path.join(folder, os.path.basename(name)) for name in SEAL_FILES}
            self._seal({name: self._read(path, seal.LIMITS[name]) for name, path in names.items()}, file.path)
        else:
            self._record(kind, file.path)

    # --- what is damaged

    def _of_log(self, path: str) -> bool:
        """Whether a file is one of a custody log that its record does not bring along; then it is kept as it is."""
        name = os.path.basename(path)
        event = custody_log.event_of(name)
        if event is None:
            return False
        data = self._left(path, audit_damaged.longest(f"shipments/AAA/custody/{name}"))
        if name.endswith(".json"):
            whole = audits.digest(data) == event and audit_damaged.decodes("custody-event", data)
            if whole or not (kind_of(data[:HEAD]) == "custody-event" or audit_damaged.in_log(path, data)):
                return False
            folder = os.path.dirname(path) or "."
            self._custody_signatures(path, event)
            for each in self._signatures[folder].get(event, ()):
                self.take(File(os.path.join(folder, each), named=False))
        self._logs.setdefault(path, data)
        return True

    def _left(self, path: str, limit: int) -> bytes:
        """What can be read of a damaged file: its beginning where it is too long, nothing where it cannot be read."""
        try:
            data = signing.read_limited(path, limit, "file")
        except SealiftError:
            data = head_of(path)[:limit]
        self._count(data)
        return data

    def _damage(self, kind: Kind, path: str, why: str) -> None:
        """Keep what was a record, with what is beside it."""
        kept = audit_damaged.Was(kind, path, self._left(path, audit_damaged.limit(kind)), why)
        if os.path.lexists(f"{path}.sig"):
            kept.signature = self._left(f"{path}.sig", sshsig.MAX_ARMORED)
        if kind == "screening" and os.path.lexists(path + SECOND):
            kept.second = self._left(path + SECOND, sshsig.MAX_ARMORED)
        log = path.removesuffix(".certificate.json") + ".log.jsonl"
        if kind == "certificate" and os.path.lexists(log):
            kept.log = self._left(log, audit_damaged.longest("shipments/AAA/certificate.1.log.jsonl"))
        if kind == "seal" and not path.endswith("seal.json"):
            with contextlib.suppress(SealiftError):
                kept.seal = seal.decode_bundle(kept.data or b"")
        elif kind == "seal":
            folder = os.path.dirname(path)
            names = {name: os.path.join(folder, os.path.basename(name)) for name in SEAL_FILES}
            kept.seal = {n: self._left(p, seal.LIMITS[n]) for n, p in names.items() if os.path.lexists(p)}
        if kept.seal:
            kept.data, kept.signature = kept.seal.get(SEAL_FILES[0], b""), kept.seal.get(SEAL_FILES[1])
        self._damaged.append(kept)

    def _lone(self, path: str, alone: audit_damaged.Lone) -> None:
        data = self._left(path, sshsig.MAX_ARMORED)
        why = f"a signature, and {os.path.basename(alone.of)} is not here: removed, or its writing was interrupted"
        one, two = (None, data) if alone.second else (data, None)
        self._damaged.append(audit_damaged.Was(alone.kind, path, None, why, signature=one, second=two))

    def _of_whom(self, path: str, data: bytes) -> list[str]:
        """Of which consignments of the bundle a damaged file was: by what is left, its name, or its neighbours."""
        ids = self._ids()
        said = {each.decode() for each in _CONSIGNMENT.findall(data)} & ids
        said = said or {each for each in ids if os.path.basename(path).startswith(each)}
        beside = self._folders.get(os.path.dirname(path) or ".")
        if said or beside:
            return sorted(said or ids & (beside or set()))
        return sorted(ids)[:1]

    def _copy(self, each: audit_damaged.Was) -> bool:
        """Whether the record that a damaged file was is here as it was signed."""
        kept = [one for one in (each.signature, each.second) if one]
        if each.kind == "declaration":
            good = [parsed.raw for parsed, _ in self.declarations.values()]
        else:
            here, ids = self.items.get(each.kind, {}).values(), self._ids()
            good = [item.data for item in here if audits.consignment(item.record) in ids]
        digest = audits.digest(each.data or b"")
        return any(
            audits.digest(data) == digest or any(audit_damaged.over(data, one, each.kind) for one in kept)
            for data in good
        )

    def _damaged_places(self, files: dict[str, bytes]) -> None:
        """Put what was damaged beside what is whole, or tell that a good copy is there."""
        for each in self._damaged:
            if self._copy(each):
                if each.data is None:
                    continue  # a copy of a signature
                self.tell(each.path, f"{each.why}; a good copy is in the bundle")
                continue
            whose = self._of_whom(each.path, each.data or b"")
            placed = [put for of in whose if (put := audit_damaged.place(f"shipments/{of}/", each, files))]
            for put in placed:
                files |= put
            where = f"; in the bundle it is {next(iter(placed[0]))}" if placed else ""
            if placed or whose:
                self.tell(each.path, f"{each.why}{where}")
            else:
                self.leave(File(each.path, named=False), "its declaration is not here")
        for path, data in self._logs.items():
            self._log_place(path, data, files)

    def _log_place(self, path: str, data: bytes, files: dict[str, bytes]) -> None:
        name = os.path.basename(path)
        item = self.items.get("custody-event", {}).get(name[:64])
        good = audits.digest(data).startswith(name[65:81] if name.endswith(".sig") else name[:64])
        whose = {audits.consignment(item.record)} & self._ids() if item is not None else self._of_whom(path, data)
        if not whose:
            self.leave(File(path, named=False), "its declaration is not here")
        for of in sorted(whose):
            place = f"shipments/{of}/custody/{name}"
            if place in files:
                if files[place] != data:
                    self.tell(path, "it is not what its name says; a good copy is in the bundle")
            elif good and item is not None:
                files[place] = data
            else:
                files[place] = data
                alone = "a signature of an event that is not here" if good else "it is not what its name says"
                self.tell(path, f"{alone}; in the bundle it is {place}")

    def tell(self, path: str, why: str) -> None:
        """One line of a damaged file."""
        line = f"{path.encode(errors='backslashreplace').decode()}: {why}"
        if line not in self.told and len(self.told) < MAX_LEFT_OUT:
            self.told.append(line)

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
        if path:
            self._folders.setdefault(os.path.dirname(path) or ".", set()).add(parsed.consignment_id)
            if os.path.lexists(f"{path}.sig"):
                author = self._left(f"{path}.sig", sshsig.MAX_ARMORED)
                if not audit_damaged.over(data, author, "declaration"):
                    self.tell(f"{path}.sig", "it does not sign what is beside it: one of the two was changed since")
        return parsed.digest

    def _seal(self, files: dict[str, bytes], path: str) -> None:
        data, signature, declared, release, release_signature = (files[name] for name in SEAL_FILES)
        record = seal.decode_seal(data)
        self._put("seal", _Item(data, record, [signature], seal=files, path=path))
        # what a seal does not bind is named when it is judged; by itself it is nothing
        if audits.digest(declared) == record.declaration.blake3:
            self._declaration(declared, "")
        if audits.digest(release) == record.release.blake3:
            decoded = audits.SIGNED["release"].decode(release)
            self._put("release", _Item(release, decoded, [release_signature], path=path))

    def _paper(self, file: File) -> None:
        name = os.path.basename(file.path)
        if not _PAPER.fullmatch(name):
            raise BadInput("its name has other characters than letters, digits, dots, hyphens and underscores")
        data = self._read(file.path, audit_damaged.longest("papers/x.pdf"))
        if self.papers.setdefault(name, data) != data:
            raise BadInput("another paper has the same name")

    def _record(self, kind: str, path: str) -> None:
        how = audits.SIGNED[kind]  # type: ignore[index]
        data = self._read(path, audit_damaged.limit(kind))
        item = _Item(data, how.decode(data), path=path)
        if kind == "custody-event":
            item.signatures = self._custody_signatures(path, audits.digest(data))
        else:
            item.signatures = _signature(path, data, how.namespace)
        if kind == "screening" and os.path.lexists(path + SECOND):
            item.second = signing.read_limited(path + SECOND, sshsig.MAX_ARMORED, "signature")
        if kind == "certificate":
            item.log = self._erasure_log(path, item.record.log)
        self._put(kind, item)

    def _erasure_log(self, path: str, bound: FileRef) -> bytes | None:
        """The log of the certificate in `path`: of those in its folder the one it binds; else that of its name."""
        limit = min(certificate.MAX_LOG, audit_damaged.longest("shipments/AAA/certificate.1.log.jsonl"))
        log = path.removesuffix(".certificate.json") + _LOG
        own = self._read(log, limit) if os.path.lexists(log) else None
        if own is None or audits.digest(own) != bound.blake3:
            with os.scandir(os.path.dirname(path) or ".") as entries:
                names = sorted(each.path for each in entries if each.name.endswith(_LOG) and each.is_file())
            for name in names:
                if os.path.getsize(name) == bound.bytes:
                    data = self._read(name, limit)
                    if audits.digest(data) == bound.blake3:
                        return data
        return own

    def _custody_signatures(self, path: str, digest: str) -> list[bytes]:
        """Those whose bytes are what their names say; the others are kept as they are."""
        folder = os.path.dirname(path) or "."
        if folder not in self._signatures:
            by_event: dict[str, list[str]] = {}
            for name in sorted(os.listdir(folder)):
                if name.endswith(".sig") and custody_log.event_of(name):
                    by_event.setdefault(name[:64], []).append(name)
            self._signatures[folder] = by_event
        good = []
        for name in self._signatures[folder].get(digest, ()):
            data = self._left(os.path.join(folder, name), sshsig.MAX_ARMORED)
            if audits.digest(data)[:16] == name[65:81]:
                good.append(data)
            else:
                self._logs.setdefault(os.path.join(folder, name), data)
        return good

    def _put(self, kind: str, item: _Item) -> None:
        if item.path:
            self._folders.setdefault(os.path.dirname(item.path) or ".", set()).add(audits.consignment(item.record))
        items = self.items.setdefault(kind, {})
        known = items.setdefault(audits.digest(item.data), item)
        if known is item:
            return
        if kind == "custody-event":
            known.signatures += [each for each in item.signatures if each not in known.signatures]
        elif item.signatures and (item.signatures, item.seal) != (known.signatures, known.seal):
            if known.signatures and _good(kind, item) != _good(kind, known):
                bad = known if _good(kind, item) else item
                at = bad.path if bad.seal or bad.path.endswith((".seal", "seal.json")) else f"{bad.path}.sig"
                self.tell(at, "it is damaged, or not over its record; a good copy is in the bundle")
            if not known.signatures or (_good(kind, item) and not _good(kind, known)):
                known.signatures, known.seal, known.path = item.signatures, item.seal, item.path
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
                    self.take(File(os.path.join(folder, name), named=False))

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

    def _digested(self, file: File, wanted: dict[str, list[str]]) -> None:
        longest = audit_damaged.longest("shipments/AAA/lists/" + "0" * 64)
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
                for digest, place in audits.named(kind, item.record):
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
                if (other := audits.consignment(item.record)) in ids:
                    continue
                if kind != "custody-event" and item.signatures and not _good(kind, item):
                    why = f"its signature is not over it, and it says that it is of {other}"
                    self._damaged.append(
                        audit_damaged.Was(
                            kind,  # type: ignore[arg-type]
                            item.path, item.data, why, item.signatures[0], item.second, item.log, item.seal,
                        )
                    )  # fmt: skip
                else:
                    self.leave(File(f"a {kind} of {other}", named=False), "its declaration is not here")
        self._damaged_places(files)
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
                    self.leave(File(self.declarations[other][1], named=False), "another draft than the one named")
                digests = list(named)
            of_release = [each for each in digests if each in released]
            if len(digests) > 1 and len(of_release) == 1:  # the others are drafts that say a number which is taken
                others, digests = [each for each in digests if each not in of_release], of_release
                for other in others:
                    why = f"it says that it is revision {self.declarations[other][0].revision}, which was released"
                    self.tell(self.declarations[other][1], f"{why} with other bytes")
                if "declaration.toml" not in numbered:
                    yield "declaration.toml", self.declarations[others[0]][0].raw
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

        return sorted((item for item in items.values() if audits.consignment(item.record) == consignment), key=key)


def _good(kind: str, item: _Item) -> bool:
    """Whether the signature is over the record, by whomever, and a seal's files are those that it binds."""
    if not item.signatures or not audit_damaged.over(item.data, item.signatures[0], kind):  # type: ignore[arg-type]
        return False
    if item.seal is None:
        return True
    bound = (item.record.declaration, item.record.release, item.record.release_signature)
    kept = [item.seal[name] for name in SEAL_FILES[2:]]
    return [audits.digest(each) for each in kept] == [each.blake3 for each in bound]


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
