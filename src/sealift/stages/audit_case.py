"""The records of one consignment in an audit bundle: parsed, found by what they are, and what is told of them.

A finding is of a file (its name in the bundle, or the name of what should be there) and one of these:

    wrong     a signature, a digest, a binding or a rule of the house does not hold
    look      the records hold, and say something that people must look at
    missing   a record that is here binds another that is not
    pending   nothing is bound that is not here; it is not there yet, or nobody gave it

What holds: a record in a Case is canonical, consistent and of its consignment; what is not was told, and is not in it.
What is not here: the rules (audit_origin.py, audit_judge.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, ParamSpec, TypeVar

from sealift.errors import SealiftError
from sealift.formats import audit
from sealift.formats.manifest import FileRef
from sealift.trade import audit as audits
from sealift.trade.persons import Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from sealift.formats.allowed_signers import AllowedSigners, Person
    from sealift.formats.audit import Kind
    from sealift.reading.trust import TrustedSeal
    from sealift.trade import release
    from sealift.trade.custody import Account
    from sealift.trade.custody_terms import Terms
    from sealift.trade.declaration import Declaration
    from sealift.trade.receipt import Receipt
    from sealift.trade.source_release import Ground, SourceRelease
    from sealift.trade.standing import Against

P = ParamSpec("P")
T = TypeVar("T")
State = Literal["wrong", "look", "missing", "pending"]
EXIT: dict[State, int] = {"wrong": 5, "look": 3, "missing": 6, "pending": 0}


class Finding(NamedTuple):
    """Something about a file; `file` is its name, or that of what should be there."""

    file: str
    state: State
    text: str


@dataclass
class Judged:
    """All that was found, and what holds, a sentence each."""

    findings: list[Finding] = field(default_factory=list)
    holds: list[str] = field(default_factory=list)


class Entry(NamedTuple):
    """A file of a shipment, with what it parses to; and its signature, None where there is none."""

    path: str
    data: bytes
    record: Any
    signature: bytes | None
    digest: str  # BLAKE3 in hexadecimal

    @property
    def ref(self) -> FileRef:
        """Length and digest."""
        return FileRef(bytes=len(self.data), blake3=self.digest)


class Released(NamedTuple):
    """A release that holds, and the revision that it is of."""

    entry: Entry
    release: release.Release
    declaration: Declaration


class Sealed(NamedTuple):
    """A seal that holds, and what receipts of it are held against."""

    path: str
    trusted: TrustedSeal
    ground: Ground


class Case:
    """The records of one consignment, parsed; what later rules want of earlier ones; and where findings are told."""

    def __init__(
        self, consignment: str, files: Mapping[str, bytes], allowed: AllowedSigners, now: datetime, judged: Judged
    ) -> None:
        self.id, self.allowed, self.now, self._judged = consignment, allowed, now, judged
        self.folder = f"shipments/{consignment}/"
        self.files = {path: data for path, data in files.items() if path.startswith(self.folder)}
        self.revisions: dict[str, tuple[str, Declaration]] = {}
        self.by_kind: dict[Kind, list[Entry]] = {}
        self._by_digest: dict[tuple[Kind, str], Entry] = {}
        self.rules: dict[str, tuple[str, bytes]] = {}
        self.released: list[Released] = []
        self.seals: list[Sealed] = []
        self.receipts: list[tuple[Entry, Receipt]] = []
        self.freed: list[tuple[Entry, SourceRelease]] = []
        self.account: Account | None = None
        self.terms: Terms | None = None
        self.bound: list[tuple[Person, str]] = []  # whom records bind to the origin, and how
        self.origin = Origin()  # all of them
        self.shut: dict[str, list[str]] = {}  # by digest of a release: why its gate was not open
        self.ended: dict[str, tuple[Against, ...]] = {}  # when authorisations end on which it rests
        self._read()

    def say(self, path: str, state: State, text: str) -> None:
        """Tell a finding."""
        self._judged.findings.append(Finding(path, state, text))

    def hold(self, text: str) -> None:
        """Tell what holds."""
        self._judged.holds.append(f"{self.id}: {text}")

    def attempt(self, path: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """What `work` returns; None where it refuses, which is wrong with `path`."""
        try:
            return work(*args, **kwargs)
        except SealiftError as error:
            self.say(path, "wrong", str(error))
            return None

    def _read(self) -> None:
        """Parse what has a decoder; a record of another consignment is wrong here."""
        for path, data in sorted(self.files.items()):
            found = audit.describe(path)
            how = audits.SIGNED.get(found.kind) if found else None
            if found is not None and found.kind == "rules":
                self.rules.setdefault(audits.digest(data), (path, data))
            if found is None or how is None or found.kind in {"declaration", "sealed-release"}:
                continue
            record = self.attempt(path, how.decode, data)
            if record is None:
                continue
            other = record.declaration.id if found.kind == "manifest" else record.consignment_id
            if other != self.id:
                self.say(path, "wrong", f"it is of {other}, not of {self.id}")
                continue
            digest = audits.digest(data)
            same = self.find(found.kind, digest)
            if same is not None:
                self.say(path, "wrong", f"it is the same record as {same.path}: one that should be here was exchanged")
            entry = Entry(path, data, record, self.files.get(f"{path}.sig"), digest)
            self._by_digest.setdefault((found.kind, digest), entry)
            self.by_kind.setdefault(found.kind, []).append(entry)
            if found.kind not in {"custody-event", "manifest", "seal"} and entry.signature is None:
                self.say(f"{path}.sig", "wrong", "the signature is not here, and the record counts for nothing")

    def of(self, kind: Kind) -> list[Entry]:
        """Records of a kind, by path."""
        return self.by_kind.get(kind, [])

    def signed(self, kind: Kind) -> Iterator[tuple[Entry, bytes]]:
        """Those that have a signature, with it."""
        return ((each, each.signature) for each in self.of(kind) if each.signature is not None)

    def find(self, kind: Kind, digest: str) -> Entry | None:
        """The one with this BLAKE3."""
        return self._by_digest.get((kind, digest))

    def serials(self) -> list[str]:
        """Drives as declared: by what was sealed last, else by the newest revision."""
        if self.seals:
            parsed = self.seals[-1].trusted.declaration
        elif self.revisions:
            parsed = max((each for _, each in self.revisions.values()), key=lambda each: each.revision)
        else:
            return []
        return [drive.serial for drive in parsed.drives if drive.serial]


def some(names: Sequence[str]) -> str:
    """Up to five names for a sentence; the others are counted."""
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def about(serials: Sequence[str]) -> str:
    """Of which drives something is said."""
    return f": {some(serials)}" if serials else ""
