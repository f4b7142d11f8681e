"""Files that were records, and are not any more what somebody signed: known by the signature beside, or by their name.

    in_log         whether a file with an event's name lies in a custody log
    signed_as      a path -> what kind of record the signature beside it is of
    lone           the path of a signature -> what it is of, where that is not beside it
    place          what was a record -> the names under which it goes into a bundle, as it is
    over           whether a signature is over given bytes, by whomever

What holds: a file is told from one that somebody merely put there by what nobody but sealift writes: the name of a file
of a custody log beside such files, an SSH signature in a namespace of a record, SHIPMENT.seal. So a photograph, a note
or a list with another program's signature stays what it is. Files are hostile, and nothing is raised for what they say.

What is not here: of which consignment such bytes are (audit_collect.py); whose word they were (audit_judge.py).
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sealift.errors import SealiftError
from sealift.formats import audit, manifest, sshsig
from sealift.stages import custody_log
from sealift.stages.screen import SECOND
from sealift.trade import audit as audits
from sealift.trade import custody_event, release, signing

if TYPE_CHECKING:
    from sealift.formats.audit import Kind

_KINDS: dict[str, Kind] = {
    how.namespace: kind
    for kind, how in audits.SIGNED.items()
    if kind not in {"sealed-release", "seal", "custody-event", "declaration"}
} | {release.AUTHOR_NAMESPACE: "declaration"}
_SEAL = "seal.json"
_KEPT = re.compile(r"\.toml\.[0-9]+\Z")  # an earlier signature of an author, which is kept


@dataclass
class Was:
    """What was a record of a kind: the bytes that are left (None: its signatures alone), and what lies beside them."""

    kind: Kind
    path: str
    data: bytes | None
    why: str
    signature: bytes | None = None
    second: bytes | None = None
    log: bytes | None = None
    seal: dict[str, bytes] | None = None


class Lone(NamedTuple):
    """A signature without its record: the path that the record would have, and its kind."""

    of: str
    kind: Kind
    second: bool


def in_log(path: str, data: bytes) -> bool:
    """Whether a file with an event's name that is none lies in a custody log, where it must be one.

    A store of another program may name its files by SHA-256, and an unpacked bundle has reports by their digests.
    """
    name = os.path.basename(path)
    if name[:64] in {audits.digest(data), hashlib.sha256(data).hexdigest()}:
        return False
    try:
        return any(
            each.endswith(".sig") and custody_log.event_of(each) for each in os.listdir(os.path.dirname(path) or ".")
        )
    except OSError:
        return False


def signed_as(path: str) -> Kind | None:
    """The kind of record that the signature beside a file is of; None where there is none of a record."""
    return _kind(path, f"{path}.sig") if os.path.lexists(f"{path}.sig") else None


def _kind(path: str, signature: str) -> Kind | None:
    try:
        armored = signing.read_limited(signature, sshsig.MAX_ARMORED, "signature")
        namespace = sshsig.parse(armored).namespace
    except SealiftError:
        return None
    if namespace == manifest.NAMESPACE and os.path.basename(path) == _SEAL:
        return "seal"
    return _KINDS.get(namespace)


def lone(path: str) -> Lone | None:
    """What a signature is of, where no such file lies beside it; None for every other file."""
    second = path.endswith(SECOND)
    of = path.removesuffix(SECOND if second else ".sig")
    if of == path or os.path.lexists(of) or _KEPT.search(of):
        return None
    kind = _kind(of, path)
    return Lone(of, kind, second) if kind else None


def over(data: bytes, signature: bytes, kind: Kind) -> bool:
    """Whether a signature is over these bytes as a record of a kind, by whatever key."""
    namespace = custody_event.NAMESPACE if kind == "custody-event" else audits.SIGNED[kind].namespace
    try:
        sshsig.verify(data, signature, namespace)
    except SealiftError:
        return False
    return True


def decodes(kind: Kind, data: bytes) -> bool:
    """Whether bytes are a record of a kind."""
    try:
        audits.SIGNED[kind].decode(data)
    except SealiftError:
        return False
    return True


def place(folder: str, each: Was, files: dict[str, bytes]) -> dict[str, bytes]:
    """Names for what was a record; none where the bundle has none for it."""
    if each.kind == "declaration":
        number = re.search(r"\.(r[1-9][0-9]{0,4})\.toml(\.sig)?$", each.path)
        names = [f"{folder}declaration.{number[1]}.toml"] if number else []
        name = next((one for one in [*names, f"{folder}declaration.toml"] if one not in files), "")
        if not name or each.data is None:
            return {f"{one}.sig": each.signature for one in names if each.signature and f"{one}.sig" not in files}
        return {name: each.data} | (
            {f"{name}.sig": each.signature} if number and name in names and each.signature else {}
        )
    number_of = next(n for n in range(1, 100_000) if not any(one in files for one in _taken(folder, each.kind, n)))
    if each.seal:
        return {f"{folder}seal.{number_of}/{os.path.basename(one)}": data for one, data in each.seal.items()}
    stem = _taken(folder, each.kind, number_of)[0]
    parts = {"": each.data, ".sig": each.signature, SECOND: each.second}
    put = {f"{stem}{end}": data for end, data in parts.items() if data is not None}
    if each.log is not None:
        put[f"{folder}certificate.{number_of}.log.jsonl"] = each.log
    return put


def _taken(folder: str, kind: Kind, number: int) -> list[str]:
    """Names of which none may be there where a record is to have a number."""
    stem = f"{folder}seal.{number}/seal.json" if kind == "seal" else f"{folder}{kind}.{number}.json"
    return [stem, f"{stem}.sig", f"{stem}{SECOND}"]


def longest(path: str) -> int:
    """The most bytes that a file may have which has this name in a bundle."""
    found = audit.describe(path)
    assert found is not None
    return found.longest


def limit(kind: str) -> int:
    """The most bytes of a record of a kind."""
    return next(shape.longest for shape in audit.KINDS if shape.kind == kind)
