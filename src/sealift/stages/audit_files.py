"""The files of an audit: those of the folders that are given, and what each says that it is.

    expand     a file, a folder or a drive -> its files
    kind_of    the first bytes of a file -> what it says that it is

What is not here: what else may show that a file was a record (audit_damaged.py); what is done with it
(audit_collect.py).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from sealift.errors import BadInput
from sealift.formats.manifest import SEAL_FILES
from sealift.stages import audit_damaged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealift.formats.audit import Kind

MAX_WALK = 100_000  # names in the folders that are given
MAX_DEPTH = 6
HEAD = 1 << 16
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
_JOURNAL = "journal.sqlite"  # stages/pack/journal.py


class File(NamedTuple):
    """A file to look at; `named`: somebody gave it by its own name."""

    path: str
    named: bool


def expand(path: str) -> Iterator[File]:
    """The files of a folder, in order; of a drive its manifest and the seal on it; a file itself.

    Of a state folder of `pack` its records alone: a journal, a lock and lists of files are nobody's papers.
    """
    if not os.path.isdir(path):
        yield File(path, named=True)
        return
    count = 0
    pending = [(path, 0, False)]
    while pending:
        folder, depth, state = pending.pop()
        state = state or os.path.lexists(os.path.join(folder, _JOURNAL))
        drive = os.path.join(folder, "sealift")
        if os.path.lexists(os.path.join(drive, "manifest.json")):
            yield File(os.path.join(drive, "manifest.json"), named=False)
            on_it = (os.path.join(drive, "seal", name) for name in ("seal.json", "seal.json.sig"))
            yield from (File(each, named=False) for each in on_it if os.path.lexists(each))
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
            elif entry.is_file(follow_symlinks=False) and (not state or _is_record(entry.path)):
                yield File(entry.path, named=False)
        pending += reversed(below)


def _is_record(path: str) -> bool:
    """Whether a file is a record, or was one, or is a signature that is all that is left of one."""
    return bool(kind_of(head_of(path)) or audit_damaged.signed_as(path) or audit_damaged.lone(path))


def head_of(path: str) -> bytes:
    """The first bytes of a regular file; b"" where there is none."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with open(handle, "rb") as file:
            return file.read(HEAD)
    except (OSError, ValueError):
        return b""


def kind_of(head: bytes) -> str:
    """What a file says that it is; "" where it says nothing that is known here."""
    if found := _JSON.match(head):
        return _KINDS.get(found[1], "")
    if head[257:262] == b"ustar" and head.startswith(SEAL_FILES[0].encode() + b"\0"):
        return "seal-archive"
    if head.startswith(b"%PDF-"):
        return "paper"
    toml = _TOML.search(head)
    return {b"declaration": "declaration", b"rules": "rules"}.get(toml[1], "") if toml else ""
