"""The seal on a copy of a drive, after the shipment was sealed again: ours takes the place of the one it supersedes.

What holds: only a seal that holds, of the same shipment and earlier (by the revision of its declaration, and then by
when it was sealed), is replaced, and it is kept before, whole, at the destination, beside the drives:
superseded-seals/SHIPMENT.revision-N.DIGEST.seal. A replacing that was stopped halfway goes on:
every file there is then of the one or of the other. Anything else is left.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from typing import TYPE_CHECKING

from blake3 import blake3

from sealift.drives.locations import is_store
from sealift.drives.object_prefix import ObjectPrefix
from sealift.errors import DriveFault, FormatError, Refused, SealiftError
from sealift.formats import seal as seals
from sealift.formats.manifest import SEAL_FILES
from sealift.reading.trust import open_seal
from sealift.trade.signing import write_over

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealift.drives.base import Drive
    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.reading.trust import TrustedSeal

FOLDER = "superseded-seals"
_KEPT = re.compile(FOLDER + r"/[0-9a-f]{16}\.revision-[0-9]{1,9}\.[0-9a-f]{8}\.seal", re.ASCII)
_writing = threading.Lock()


def is_kept(name: str) -> bool:
    """Whether it is the name of a seal that was replaced."""
    return _KEPT.fullmatch(name) is not None


def bring_up(to: str, drive: Drive, ours: TrustedSeal, allowed: AllowedSigners) -> bool:
    """Put our seal in the place of an earlier one of the shipment on `drive`; whether there was one. DriveFault."""
    try:
        there = {name: drive.read_small(name, seals.LIMITS[name]) for name in SEAL_FILES}
    except FormatError:
        return False
    if all(data in {None, ours.files[name]} for name, data in there.items()):
        return False
    older = _older(there, to, ours, allowed)
    if older is None:
        return False
    _keep(to, older)
    for name in SEAL_FILES:
        if there[name] != ours.files[name]:
            drive.write_small(name, ours.files[name])
    return True


def _older(there: dict[str, bytes | None], to: str, ours: TrustedSeal, allowed: AllowedSigners) -> TrustedSeal | None:
    """The earlier seal of which, or of ours, every file is."""
    for files in _candidates(there, to, ours.seal.shipment):
        try:
            other = open_seal(files, allowed)
        except (Refused, FormatError):
            continue
        if other.seal.shipment != ours.seal.shipment or _age(other) >= _age(ours):
            continue
        if all(data in {None, files[name], ours.files[name]} for name, data in there.items()):
            return other
    return None


def _age(seal: TrustedSeal) -> tuple[int, str]:
    return seal.declaration.revision, seal.seal.sealed_at


def _candidates(there: dict[str, bytes | None], to: str, shipment: str) -> Iterator[dict[str, bytes]]:
    whole = {name: data for name, data in there.items() if data is not None}
    if len(whole) == len(there):
        yield whole
    for name in _names(to):
        if is_kept(name) and name.startswith(f"{FOLDER}/{shipment}"):
            with contextlib.suppress(SealiftError, OSError):
                yield seals.decode_bundle(_read(to, name))


def _names(to: str) -> list[str]:
    if is_store(to):
        return [each["path"] for page in ObjectPrefix(to).objects(beneath=FOLDER) for each in page]
    with contextlib.suppress(OSError):
        return [f"{FOLDER}/{name}" for name in sorted(os.listdir(os.path.join(to, FOLDER)))]
    return []


def _read(to: str, name: str) -> bytes:
    if is_store(to):
        return ObjectPrefix(to).get(name, seals.MAX_BUNDLE) or b""
    with open(os.path.join(to, name), "rb") as file:
        return file.read(seals.MAX_BUNDLE + 1)


def _keep(to: str, older: TrustedSeal) -> None:
    data = seals.encode_bundle(older.files)
    digest = blake3(data).hexdigest(4)
    name = f"{FOLDER}/{older.seal.shipment}.revision-{older.declaration.revision}.{digest}.seal"
    with _writing:
        if is_store(to):
            if ObjectPrefix(to).put_new(name, data) == "other":
                raise DriveFault(f"{to}: {name} is there, with other bytes; no seal was replaced", drive=to)
        elif not os.path.lexists(os.path.join(to, name)):
            os.makedirs(os.path.join(to, FOLDER), exist_ok=True)
            write_over(os.path.join(to, name), data)
