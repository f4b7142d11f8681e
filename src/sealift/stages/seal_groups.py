"""One group as its state folder has it, if its signature holds: now, or when an earlier seal named its manifest.

What holds of a Packed that `load_group` returns: an allowed signer signed the manifest. Keys are replaced: where the
one that signed is not valid any more, the time is told at which a seal that holds, the first that was made while it
was, named this very manifest. A seal that is made now says so, and whoever verifies judges the key at that time.

What is not here: whether groups belong together (seal.py), and where earlier seals lie (seal_others.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from blake3 import blake3
from msgspec import UNSET, UnsetType

from sealift.errors import Refused, SealiftError, SignatureInvalid
from sealift.formats.sshsig import parse as parse_signature
from sealift.reading.trust import trusted_manifest
from sealift.stages.pack.found import closed_folder, load_manifest
from sealift.trade.receipt import TIME

if TYPE_CHECKING:
    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.formats.manifest import Manifest


Earlier = Callable[[], Mapping[str, Sequence[str]]]  # times at which seals named manifests, by their BLAKE3


class Packed(NamedTuple):
    """One group as its state folder has it."""

    manifest: Manifest
    data: bytes
    signature: bytes
    folder: str  # of manifest, tables and indexes
    first_sealed_at: str | UnsetType = UNSET  # by an earlier seal, where the key that signed it is not valid any more


def load_group(state: str, group: int, shipment: str, allowed: AllowedSigners, earlier: Earlier) -> Packed:
    """A signed group from a state folder. `earlier` is as in `gather`, and so is what is raised."""
    _, data, signature = load_manifest(state, group)
    first: str | UnsetType = UNSET
    try:
        manifest, _ = trusted_manifest(data, signature, allowed)
    except SealiftError as error:
        found = _when_valid(data, signature, allowed, earlier) if isinstance(error, SignatureInvalid) else None
        if found is None:
            raise type(error)(
                f"{state}: group {group}: {error}", hint=error.hint or _hint(signature, allowed)
            ) from error
        manifest, first = found
    if (manifest.shipment, manifest.group) != (shipment, group):
        raise Refused(f"{state}: what lies there as group {group} is another group's manifest")
    return Packed(manifest, data, signature, closed_folder(state, group), first)


def _when_valid(
    data: bytes, signature: bytes, allowed: AllowedSigners, earlier: Earlier
) -> tuple[Manifest, str] | None:
    """The manifest, and when it was sealed first while the key that signed it was valid; None: no seal tells."""
    for at in earlier().get(blake3(data).hexdigest(), ()):
        with contextlib.suppress(SignatureInvalid, ValueError):
            return trusted_manifest(data, signature, allowed, datetime.strptime(at, TIME).replace(tzinfo=UTC))[0], at
    return None


def _hint(signature: bytes, allowed: AllowedSigners) -> str | None:
    """What to do where the key that signed a manifest is one for a time only."""
    with contextlib.suppress(SignatureInvalid):
        key = parse_signature(signature).public_key
        if any(line.key == key and (line.valid_after or line.valid_before) for line in allowed.lines):
            return (
                "a seal of these drives that was made while the key was valid tells when it signed: put it into the "
                "folder of --out. Where there is none, whoever keeps the allowed signers, here and at the destination, "
                "lets that line be valid until the drives are sealed; a key that may be in other hands is replaced by "
                "packing anew"
            )
    return None
