"""Which drive of the shipment is at each mount that is given to seal, and what is there where none is.

All mounts are looked at before anything is refused. A drive is known by its drive.json. Where that says nothing, or
something else, what should be there is told by the medium's serial number, or else by the mount at which packing saw a
drive last: then it is known, too, of which drive something is missing.

What is not here: whether what is on them is whole (seal_drives.py).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from sealift.drives import hung
from sealift.drives.base import reason
from sealift.drives.local import nothing_mounted
from sealift.drives.locations import identity, open_to_write
from sealift.errors import BadInput, FormatError, Refused
from sealift.formats import manifest as manifests
from sealift.formats.manifest import CARD, MANIFEST, MAX_CARD, MAX_MANIFEST
from sealift.stages.lacking import is_emptied

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealift.drives.base import Drive
    from sealift.formats.manifest import DriveCard
    from sealift.formats.seal import Seal
    from sealift.stages.seal_groups import Packed
    from sealift.stages.seal_known import Known

REPAIR = (
    "`sealift repair` with all mounts of the group rebuilds what is missing or wrong on no more of its drives than "
    "parity holds"
)
LEAVE = (
    "or leave that mount away: the seal holds for a drive that is not attached, and as many as parity holds are "
    "rebuilt at the destination"
)
MEND = f"{REPAIR}; {LEAVE}"
_CARD = f"`sealift repair` with all mounts of the group makes it again; {LEAVE}"
_NOTHING_WRITTEN = "; nothing was written"


class _Unknown(Exception):
    """No drive of this shipment, as it was packed; `foreign`: it is another one, by its own word."""

    def __init__(self, error: BadInput | Refused, *, foreign: bool) -> None:
        super().__init__(str(error))
        self.error, self.foreign = error, foreign


class Stranger(NamedTuple):
    """What is at a mount where no drive of the shipment is known to be as it was packed."""

    drive: Drive
    error: BadInput | Refused
    instead: str  # what is there instead of a drive of the shipment; empty where it may be one that is damaged
    place: tuple[int, int] | None  # group and slot of the drive that should be there, where that is known

    @property
    def text(self) -> str:
        """What is wrong, for people."""
        return self.instead or _said(self.drive, self.error)


class Mounts(NamedTuple):
    """What is at the mounts: each drive once, and what is none."""

    drives: list[tuple[Drive, DriveCard]]
    unknown: list[Stranger]
    copies: list[Stranger]  # of drives; all have one and the same error


def identify(
    mounts: Sequence[str],
    record: Seal,
    groups: Sequence[Packed],
    found: Known,
    notice: Callable[[str], None],
) -> Mounts:
    """What is at each mount; BadInput only for a mount that cannot be opened, DriveFault for a drive that fails."""
    claims: dict[str, list[tuple[Drive, DriveCard]]] = {}
    lost: list[tuple[Drive, _Unknown]] = []
    places = set()
    for mount in mounts:
        drive = open_to_write(mount)
        with hung.asked(mount):
            place = identity(mount)
        if place in places:  # another name of it
            continue
        places.add(place)
        try:
            card = _card(drive, record, groups)
            _check_itself(drive, card, groups[card.group])
        except _Unknown as error:
            lost.append((drive, error))
            continue
        if card.rebuilt:
            notice(f"{mount}: drive {card.id} was made anew at {card.rebuilt.at}; it leaves as drive {card.serial}")
        claims.setdefault(card.id, []).append((drive, card))
    drives, others = _apart(claims, found)
    taken = {(card.group, card.slot) for _, card in drives}
    folders = any(nothing_mounted(drive.mount) for drive, _ in drives)  # that stand in for drives

    def place_of(drive: Drive, *, foreign: bool = False) -> tuple[int, int] | None:
        """Each place is of one mount: the first that is not known to be another drive's, if one is mounted there.

        A drive of another shipment says nothing of the one that was mounted there before.
        """
        place = found.place_of(drive, by_mount=not foreign)
        if place is None or place in taken or (is_emptied(drive) and nothing_mounted(drive.mount) and not folders):
            return None
        taken.add(place)
        return place

    unknown = [
        Stranger(
            drive,
            each.error,
            f"another drive is there: {_said(drive, each.error)}" * each.foreign,
            place_of(drive, foreign=each.foreign),
        )
        for drive, each in lost
    ]
    if not others:
        return Mounts(drives, unknown, [])
    one = _copies_error(claims, groups)
    copies = [Stranger(drive, one, f"a copy of drive {card.id} is there", place_of(drive)) for drive, card in others]
    return Mounts(drives, unknown, copies)


def refusal(unknown: Sequence[Stranger], *, leave: bool) -> BadInput | Refused:
    """The one error of all that are none of the shipment's; `leave`: one that is alone may be left away, too."""
    kind = BadInput if all(isinstance(each.error, BadInput) for each in unknown) else Refused
    if len(unknown) == 1 and leave:
        return unknown[0].error
    hints = dict.fromkeys(part for each in unknown for part in (each.error.hint or "").split("; ") if part != LEAVE)
    told = "; ".join(str(each.error).removesuffix(_NOTHING_WRITTEN) for each in unknown)
    return kind(f"{told}{_NOTHING_WRITTEN}", hint="; ".join(filter(None, hints)) or None)


def _said(drive: Drive, error: BadInput | Refused) -> str:
    return str(error).removeprefix(f"{drive.mount}: ").removesuffix(_NOTHING_WRITTEN)


def _card(drive: Drive, record: Seal, groups: Sequence[Packed]) -> DriveCard:
    """drive.json of a drive of this shipment; _Unknown with BadInput of another one, with Refused where it is damaged.

    So it is where it is gone from a drive that bears the manifest of a group.
    """
    mount = drive.mount
    there = drive.exists()
    try:
        data = drive.read_small(CARD, MAX_CARD) if there else None
        card = None if data is None else manifests.decode_card(data)
    except FormatError as error:
        raise _Unknown(
            Refused(f"{mount}: {reason(error, mount)}; nothing was written", hint=_CARD), foreign=False
        ) from error
    if card is None:
        raise _Unknown(_no_card(drive, groups, there=there), foreign=False)
    if card.shipment != record.shipment or card.group >= len(groups):
        raise _Unknown(
            BadInput(f"{mount}: drive {card.id} of another shipment, {card.shipment}; nothing was written"),
            foreign=True,
        )
    if card.slot >= groups[card.group].manifest.n:
        raise _Unknown(
            BadInput(f"{mount}: says that it is drive {card.id}, and there is none; nothing was written"),
            foreign=False,
        )
    return card


def _no_card(drive: Drive, groups: Sequence[Packed], *, there: bool) -> BadInput | Refused:
    manifest = None
    with contextlib.suppress(FormatError):  # then nothing tells of which shipment it is
        manifest = drive.read_small(MANIFEST, MAX_MANIFEST) if there else None
    for packed in groups:
        if manifest == packed.data:
            return Refused(
                f"{drive.mount}: {CARD} is not there, and {MANIFEST} says that it is a drive of group "
                f"{packed.manifest.group}; nothing was written",
                hint=_CARD,
            )
    hint = "give the mounts of this shipment's drives"
    if is_emptied(drive):
        nothing = "nothing is mounted there, mount it; or" if nothing_mounted(drive.mount) else "is that drive mounted?"
        hint += (
            f"; {nothing} if it is one of them, and was emptied: `sealift repair` of the others with "
            f"`--onto {drive.mount}` makes it anew"
        )
    return BadInput(f"{drive.mount}: no drive of a shipment", hint=hint)


def _check_itself(drive: Drive, card: DriveCard, packed: Packed) -> None:
    """_Unknown for a drive that is not the one that was packed and declared as its drive.json says."""
    mount = drive.mount
    if packed.manifest.is_replaced(card) and drive.read_small(MANIFEST, MAX_MANIFEST) != packed.data:
        row = packed.manifest.drives[card.slot]
        replaced = BadInput(
            f"{mount}: says that it is drive {card.serial}, and {card.id} was signed as {row.serial}: it may be "
            "the drive that was replaced by that one; nothing was written",
            hint=f"give the mount of {row.serial} in place of this one; what was replaced does not leave",
        )
        raise _Unknown(replaced, foreign=True)
    if not packed.manifest.is_card(card.slot, card):
        altered = BadInput(f"{mount}: says that it is drive {card.id}, and is not as it was packed", hint=MEND)
        raise _Unknown(altered, foreign=False)
    if card.rebuilt and card.rebuilt.serial not in {"", card.serial}:
        undeclared = Refused(
            f"{mount}: drive {card.id} was made anew on a drive whose serial number is {card.rebuilt.serial}; it "
            f"was packed, and is declared, as {card.serial}, and what is not declared does not leave",
            hint="leave that mount away and that drive here: the seal holds for the others, and the destination "
            "rebuilds what parity holds",
        )
        raise _Unknown(undeclared, foreign=True)


_Claims = dict[str, list[tuple["Drive", "DriveCard"]]]


def _apart(claims: _Claims, found: Known) -> tuple[list[tuple[Drive, DriveCard]], list[tuple[Drive, DriveCard]]]:
    """Each drive once, and the copies: the seal would be counted for one that is not here.

    Of those that say that they are one drive it is that which is where it should be; else the first of which nobody
    knows what should be there; none where each has the place of another drive.
    """
    drives, copies = [], []
    for each in claims.values():
        own: tuple[Drive, DriveCard] | None = each[0]
        if len(each) > 1:
            its = (each[0][1].group, each[0][1].slot)
            places = [(found.place_of(one[0]), one) for one in each]
            own = next((one for at in (its, None) for place, one in places if place == at), None)
        if own is not None:
            drives.append(own)
        copies += [one for one in each if one is not own]
    return drives, copies


def _copies_error(claims: _Claims, groups: Sequence[Packed]) -> Refused:
    said, absent, several = [], dict[str, str](), 0
    for name, each in claims.items():
        if len(each) == 1:
            continue
        several = max(several, len(each))
        (*some, last), (_, card) = [drive.mount for drive, _ in each], each[0]
        one = ("both", "one of them is a copy") if len(each) == 2 else ("all", "all but one of them are copies")
        said.append(
            f"{', '.join(some)} and {last} {one[0]} say that they are drive {name} (serial {card.serial}), and {one[1]}"
        )
        rows = groups[card.group].manifest.drives
        absent |= {row.id: f"{row.id} (serial {row.serial})" for row in rows if row.id not in claims}
    which, others = (
        ("which of the two is", "the other mount") if several == 2 else ("which of them is", "the other mounts")
    )
    hint = f"see by the serial numbers on them {which} the drive, and leave {others} away"
    if absent:
        hint += (
            ", or put in what is not here. if the copy was written over that drive: clear it, and `sealift repair` "
            "of the others with `--onto MNT` makes what was on it anew"
        )
    is_not = f"not among those given: {', '.join(absent.values())}; " if absent else ""
    return Refused(f"{'; '.join(said)}; {is_not}nothing was written", hint=hint)
