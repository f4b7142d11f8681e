"""Which of the mounts hold which drive of a sealed shipment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from blake3 import blake3

from sealift.drives.local import LocalDrive
from sealift.errors import DriveFault, FormatError, Refused, SealInvalid
from sealift.formats import manifest, seal as seals
from sealift.formats.manifest import Manifest
from sealift.reading import trust

if TYPE_CHECKING:
    from sealift.drives.base import Drive
    from sealift.formats.allowed_signers import AllowedSigners

Found = dict[int, tuple[Manifest, dict[int, list["Drive"]]]]


def find_groups(
    mounts: Sequence[str], allowed: AllowedSigners, seal: dict[str, bytes] | None
) -> tuple[trust.TrustedSeal, Found]:
    """The trusted seal (the one given, else the drives' own), and its groups' drives by slot."""
    drives = [LocalDrive(mount) for mount in mounts]
    trusted = trust.open_seal(seal, allowed) if seal is not None else _own_seal(drives, allowed)
    wanted = {group.manifest.blake3: group.group for group in trusted.seal.groups}
    manifests: dict[int, Manifest] = {}
    cards: list[tuple[Drive, manifest.DriveCard | None, int | None]] = []
    for drive in drives:
        group = None
        try:
            data = drive.read_small(manifest.MANIFEST, manifest.MAX_MANIFEST)
            if data is not None and (group := wanted.get(blake3(data).hexdigest())) is not None:
                manifests[group] = manifest.decode_manifest(data)
        except (DriveFault, FormatError):
            pass
        try:
            text = drive.read_small(manifest.CARD, manifest.MAX_CARD)
            card = None if text is None else manifest.decode_card(text)
        except (DriveFault, FormatError):
            card = None
        cards.append((drive, card, group))
    found: Found = {group: (record, {}) for group, record in manifests.items()}
    for drive, card, group in cards:
        if card is not None and card.shipment == trusted.seal.shipment and card.group in found and card.slot < found[card.group][0].n:
            found[card.group][1].setdefault(card.slot, []).append(drive)
    return trusted, found


def _own_seal(drives: Sequence[Drive], allowed: AllowedSigners) -> trust.TrustedSeal:
    problem: Refused | None = None
    for drive in drives:
        try:
            files = {name: drive.read_small(name, seals.LIMITS[name]) for name in manifest.SEAL_FILES}
            return trust.open_seal({name: data for name, data in files.items() if data is not None}, allowed)
        except Refused as error:
            problem = error
        except (DriveFault, FormatError):
            continue
    raise problem or SealInvalid("no seal: neither given nor on these drives", hint="--seal FILE, as the origin sent it by network")
