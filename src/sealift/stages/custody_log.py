"""A custody log as a folder: read whole, merged with copies, added to; nothing in it is ever changed.

    LOG/DIGEST.json, LOG/DIGEST-SIGNED.sig     trade/custody_event.py; names that begin with a dot are passed over

What holds: every file is named by the digest of its bytes, so two writers of one name write the same, any copy of the
folder may be added to, and copies merge by taking what is not there. A file that is not what its name says is left
where it is and named. Signatures take their names before their event does, and all at once: no crash leaves an event
without one.
Files are hostile: regular ones only, within the limits below, none followed.

What is not here: what the log says (trade/custody.py).
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sealift.errors import BadInput, FormatError
from sealift.formats.sshsig import MAX_ARMORED
from sealift.trade import custody_event as events
from sealift.trade.custody_event import Entry
from sealift.trade.custody_graph import Copy, Finding
from sealift.trade.signing import read_limited

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MAX_FILES = 50_000  # names in a folder
MAX_LOG = 256 << 20  # bytes of all its files
MAX_SIGNATURES = 16  # of one event
MAX_NAMED = 100  # files that are not of a log, by name

_EVENT = re.compile(r"([0-9a-f]{64})\.json")
_SIGNATURE = re.compile(r"([0-9a-f]{64})-([0-9a-f]{16})\.sig")


@dataclass
class Merged:
    """What was taken from copies, and what in them was not taken, and why."""

    events: int = 0
    signatures: int = 0
    findings: list[Finding] = field(default_factory=list)


def read(folder: str) -> Copy:
    """Everything in the folder of a log; BadInput when there is no such folder or it is beyond a limit."""
    findings: list[Finding] = []
    files: list[tuple[str, bytes]] = []
    size = 0
    for name, regular in _names(folder):
        event, signature = _EVENT.fullmatch(name), _SIGNATURE.fullmatch(name)
        if not (event or signature) or not regular:
            if len(findings) < MAX_NAMED:
                findings.append(Finding("unexpected", f"{name[:100]!r} is no file of a custody log"))
            continue
        try:
            limit = events.MAX_EVENT if event else MAX_ARMORED
            files.append((name, read_limited(os.path.join(folder, name), limit, "custody log")))
        except BadInput as error:
            findings.append(Finding("altered", _printable(str(error)), (name[:64],)))
            continue
        size += len(files[-1][1])
        if size > MAX_LOG:
            raise BadInput(f"{folder}: more than {MAX_LOG:,} bytes; no custody log is so large")
    copy = of_files(files)
    if len(copy.entries) > events.MAX_COUNT:
        raise BadInput(f"{folder}: more than {events.MAX_COUNT:,} events; no custody log has so many")
    return Copy(copy.entries, copy.signatures, [*findings, *copy.findings])


def of_files(files: Iterable[tuple[str, bytes]]) -> Copy:
    """A log from the names and bytes of its files, in the order of their names; other names are passed over."""
    entries: dict[str, Entry] = {}
    signatures: dict[str, list[bytes]] = {}
    findings: list[Finding] = []
    for name, data in files:
        if signature := _SIGNATURE.fullmatch(name):
            _take_signature(signature, data, signatures, findings)
        elif event := _EVENT.fullmatch(name):
            _take_event(event[1], data, entries, findings)
    return Copy(entries, {digest: sorted(each) for digest, each in signatures.items()}, findings)


def event_of(name: str) -> str | None:
    """The digest of the event whose file, or one of whose signatures, has this name; None: no file of a log has it."""
    found = _EVENT.fullmatch(name) or _SIGNATURE.fullmatch(name)
    return found[1] if found else None


def _names(folder: str) -> list[tuple[str, bool]]:
    """Sorted names, and whether each is a regular file."""
    found: list[tuple[str, bool]] = []
    try:
        with os.scandir(folder) as listing:
            for entry in listing:
                if len(found) >= MAX_FILES:
                    raise BadInput(f"{folder}: more than {MAX_FILES:,} files; no custody log has so many")
                if not entry.name.startswith("."):
                    found.append((entry.name, entry.is_file(follow_symlinks=False)))
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        hint = "sealift handover makes the folder with the first event; a shipment that nobody carries begins with an"
        hint += f" empty one: mkdir {folder}"
        raise BadInput(f"custody log {folder}: {reason}", hint=hint) from error
    return sorted(found)


def _take_event(digest: str, data: bytes, entries: dict[str, Entry], findings: list[Finding]) -> None:
    if events.digest_of(data) != digest:
        findings.append(Finding("altered", "the event is not what its digest says: it was altered", (digest,)))
        return
    try:
        entries[digest] = Entry(digest, events.decode(data), data)
    except FormatError as error:
        findings.append(Finding("altered", str(error), (digest,)))


def _take_signature(
    name: re.Match[str], data: bytes, signatures: dict[str, list[bytes]], findings: list[Finding]
) -> None:
    if events.digest_of(data)[:16] != name[2]:
        findings.append(
            Finding("altered", f"signature {name[2]} is not what its name says: it was altered", (name[1],))
        )
        return
    if len(signatures.setdefault(name[1], [])) >= MAX_SIGNATURES:
        findings.append(Finding("signature", f"more than {MAX_SIGNATURES} signatures under one event", (name[1],)))
        return
    signatures[name[1]].append(data)


def add(folder: str, entry: Entry, signatures: Sequence[bytes]) -> None:
    """Write an event and signatures of it, whichever are not there; the folder is made if its parent is there."""
    files = {_signature_name(entry.digest, each): each for each in signatures}
    _put(folder, files | {f"{entry.digest}.json": entry.data})


def merge(folder: str, copies: Iterable[str], consignment_id: str) -> Merged:
    """Take from each of `copies` the good events of this consignment, and signatures, that `folder` has not.

    Raises BadInput when a folder cannot be read, or when all together would be beyond the limits of a log; then
    nothing was written.
    """
    mine = read(folder) if os.path.lexists(folder) else Copy({}, {})
    merged = Merged()
    entries: dict[str, Entry] = {}
    signatures: dict[str, set[bytes]] = {}
    for path in copies:
        theirs = read(path)
        name = _printable(path)
        merged.findings += [Finding(each.kind, f"in {name}: {each.text}", each.events) for each in theirs.findings]
        strange = {each for each in theirs.entries if theirs.entries[each].event.consignment_id != consignment_id}
        merged.findings += [
            Finding("consignment", f"in {name}: an event of another consignment, not taken", (each,))
            for each in sorted(strange)
        ]
        entries |= {digest: each for digest, each in theirs.entries.items() if digest not in strange}
        for digest, listed in theirs.signatures.items():
            if digest not in strange:
                signatures.setdefault(digest, set()).update(listed)
    if len(mine.entries.keys() | entries.keys()) > events.MAX_COUNT:
        raise BadInput(f"merged, the log would have more than {events.MAX_COUNT:,} events; nothing was written")
    files = {_signature_name(digest, each): each for digest, given in signatures.items() for each in sorted(given)}
    merged.signatures = _put(folder, files)
    merged.events = _put(folder, {f"{digest}.json": entry.data for digest, entry in entries.items()})
    return merged


def _printable(text: str) -> str:
    """A text with a path in it, which may be no UTF-8, as it may stand in an answer."""
    return text.encode(errors="backslashreplace").decode()


def _signature_name(digest: str, signature: bytes) -> str:
    return f"{digest}-{events.digest_of(signature)[:16]}.sig"


def _put(folder: str, files: Mapping[str, bytes]) -> int:
    """Write files under their digests' names, all beside and then all in place, in order; how many were not there.

    Whatever has such a name already stays. BadInput when the medium refuses; then none of them is in place, unless it
    went away right between two renames.
    """
    beside: dict[str, str] = {}
    try:
        if not os.path.isdir(folder):
            os.mkdir(folder)
            _sync(os.path.dirname(os.path.abspath(folder)))
        for name, data in files.items():
            if not os.path.lexists(os.path.join(folder, name)):
                beside[name] = _write_beside(folder, data)
        for name, temporary in beside.items():
            os.rename(temporary, os.path.join(folder, name))  # no link: a stick may have none; the bytes are the same
        _sync(folder)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        hint = "what was there is as it was; the same command again goes on"
        raise BadInput(f"custody log {folder}: {reason}", hint=hint) from error
    finally:
        for temporary in beside.values():
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    return len(beside)


def _write_beside(folder: str, data: bytes) -> str:
    """A temporary file with `data` on the medium, under a name that readers pass over."""
    handle, temporary = tempfile.mkstemp(prefix=".sealift-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            with contextlib.suppress(PermissionError):  # a stick's filesystem may know no modes
                os.fchmod(handle, 0o644)
            file.write(data)
            file.flush()
            os.fsync(handle)
    except OSError:
        os.unlink(temporary)
        raise
    return temporary


def _sync(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
