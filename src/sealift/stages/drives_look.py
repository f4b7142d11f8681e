"""What is on a filesystem, mounted or not: room, and which drive of which shipment; no key is needed.

What holds: every look is a process of its own (drives/apart.py), so one that does not come back takes nothing else
with it; reading changes nothing. What a drive says of itself is a claim: nobody's signature is checked here, which is
`sealift inspect`'s. A folder sealift/ in which something lies, and whose drive.json or manifest does not hold, is
`damaged`, and never taken for none.
"""

from __future__ import annotations

import os
import tempfile
from functools import partial
from typing import TYPE_CHECKING, Literal

import msgspec

from sealift.drives import apart, peek
from sealift.drives.base import is_crowded
from sealift.drives.local import LocalDrive
from sealift.errors import DriveFault, FormatError, SealiftError
from sealift.formats import block_tools, typed
from sealift.formats import manifest as mf

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealift.drives.block import Volume
    from sealift.formats.block_tools import Mount

State = Literal["packing", "packed", "sealed", "damaged"]
_LIMIT = 1 << 16
_ENTRIES = 1_000


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """The drive of a shipment that a filesystem says it is.

    `packing`: there is no signed manifest yet; `packed`: there is one that names it; `sealed`: it bears a seal, too;
    `damaged`: something of sealift's is there, and `why` it does not say which, where it does not.
    """

    state: State
    why: str = ""
    shipment: str | None = None
    consignment: str | None = None
    group: int | None = None
    slot: int | None = None
    drive: str | None = None  # g0s1
    number: int | None = None
    drives_total: int | None = None
    serial: str | None = None
    label: str | None = None
    carrier: str | None = None
    filled: bool = False  # at least half of what its packs take by the manifest is used, and it was not rebuilt


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """A filesystem: bytes in all, used, and free for us; `trouble`: why it could not be looked at (then all is 0)."""

    total_bytes: int = 0
    used_bytes: int = 0
    free_bytes: int = 0
    entries: int = 0  # names in its root, lost+found left out, _ENTRIES at most
    known: Known | None = None
    trouble: str | None = None


def look_at(mounts: Sequence[Mount], *, seconds: float) -> list[Look]:
    """What is on these filesystems that are mounted."""
    return _looks([partial(_look_at, mount) for mount in mounts], seconds)


def look_into(volumes: Sequence[Volume], *, seconds: float) -> list[Look]:
    """What is on filesystems that are not mounted; they are not written to. As root."""
    with tempfile.TemporaryDirectory(prefix="sealift-look-") as folder:
        return _looks([partial(_look_into, volume, folder) for volume in volumes], seconds)


def _looks(works: Sequence[Callable[[], Look]], seconds: float) -> list[Look]:
    answers = apart.run([partial(_say, work) for work in works], seconds=seconds, limit=_LIMIT)
    return [_heard(answer) for answer in answers]


def _say(work: Callable[[], Look], descriptor: int) -> None:
    """In the process of the look: its result, as one write."""
    try:
        found = work()
    except (SealiftError, OSError) as error:
        found = Look(trouble=_words(error))
    os.write(descriptor, msgspec.json.encode(found))


def _heard(answer: apart.Answer) -> Look:
    if answer.trouble or answer.code != 0:
        return Look(trouble=answer.trouble or "looking at it failed")
    return typed.decode(answer.output, Look)


def _words(error: Exception) -> str:
    why = (error.strerror or "").lower() if isinstance(error, OSError) else str(error)
    return block_tools.text(why) or type(error).__name__


def _look_at(mount: Mount) -> Look:
    if is_hidden(mount):
        return Look(trouble="another filesystem is mounted over it")
    return look(mount.at)


def is_hidden(mount: Mount) -> bool:
    """Whether something else is seen at the place of the mount: what was mounted there, or above, later. May hang."""
    device = os.stat(mount.at).st_dev
    alone = mount.number[0] == 0  # of btrfs every subvolume has a number of its own, and nobody can say
    return not alone and (os.major(device), os.minor(device)) != mount.number


def _look_into(volume: Volume, folder: str) -> Look:
    kind = volume.signature.kind or ""
    if kind not in peek.KINDS:
        return Look(trouble=f"what is in {kind or 'it'} cannot be looked at")
    peek.mount(volume.device.path, kind, folder)
    return look(folder)


def look(mount: str) -> Look:
    """Look at what is mounted there, in this process. DriveFault, BadInput, OSError."""
    drive = LocalDrive(mount)
    space = os.statvfs(mount)
    used = (space.f_blocks - space.f_bfree) * space.f_frsize
    with os.scandir(mount) as found:
        others = (each for each in found if each.name != "lost+found")
        entries = sum(1 for _ in zip(range(_ENTRIES), others, strict=False))
    return Look(
        total_bytes=drive.total_bytes(),
        used_bytes=used,
        free_bytes=drive.free_bytes(),
        entries=entries,
        known=_known(drive, used),
    )


def _known(drive: LocalDrive, used: int) -> Known | None:
    try:
        if not drive.exists():
            return None
        card = drive.read_small(mf.CARD, mf.MAX_CARD)
        manifest = drive.read_small(mf.MANIFEST, mf.MAX_MANIFEST)
        if card is None and manifest is None and not any(entry.kind != "folder" for entry in drive.walk(_ENTRIES)):
            return None  # made by a lock, and nothing came of it
        return _claim(drive, card, manifest, used)
    except (FormatError, DriveFault) as error:
        if is_crowded(error):
            raise
        return Known(state="damaged", why=_words(error))


def _claim(drive: LocalDrive, card: bytes | None, manifest: bytes | None, used: int) -> Known:
    if card is None:
        return Known(state="damaged", why=f"there is no {mf.CARD}")
    claim = mf.decode_card(card)
    state: State = "packing"
    why, filled = "", False
    if manifest is not None:
        try:
            whole = mf.decode_manifest(manifest)
        except FormatError as error:
            state, why = "damaged", _words(error)
        else:
            if claim.slot >= whole.n or not whole.is_card(claim.slot, claim):
                state, why = "damaged", f"{mf.CARD} and {mf.MANIFEST} differ"
            elif drive.size(mf.SIGNATURE) is not None:
                state = "sealed" if drive.size(mf.SEAL_FILES[0]) is not None else "packed"
                filled = not (claim.rebuilt or drive.size(mf.REBUILT) is not None) and (
                    2 * used * whole.n >= whole.totals.packed_bytes + whole.totals.parity_bytes
                )
    return Known(
        state=state,
        why=why,
        shipment=claim.shipment,
        consignment=claim.declaration,
        group=claim.group,
        slot=claim.slot,
        drive=claim.id,
        number=claim.number,
        drives_total=claim.drives_total,
        serial=claim.serial,
        label=claim.label,
        carrier=claim.carrier,
        filled=filled,
    )
