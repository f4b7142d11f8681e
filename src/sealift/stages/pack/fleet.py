"""Which drive is which: mounts, serials, carriers, the deal to groups; every refusal before a byte is written.

The shipment's drives are those of the declaration, or, while a draft names none, those that are attached. They are
dealt to groups carrier by carrier, one group after the other, so that a carrier's loss costs every group as little
as can be; the deal depends on the declaration alone and is the same on every host.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import msgspec

from sealift.drives.base import PART
from sealift.drives.local import nothing_mounted
from sealift.errors import BadInput, DriveFault, FormatError
from sealift.formats import manifest
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sealift.drives.base import Drive
    from sealift.trade.declaration import Declaration


T = TypeVar("T")
_SHOWN = 8
MADE_ANEW = (
    "`sealift repair` of the drives that are left, --onto NEW, makes a dead one anew; pack under a copy of the "
    "declaration with NEW's serial number in its place, and seal under the declaration as it was, without NEW's mount"
)
_FIRST = manifest.CARD.encode() + b".part"  # all that a packing killed at its first write leaves


class Place(msgspec.Struct, frozen=True):
    """One drive of the shipment: its number (i of N), serial and carrier; its group and slot by where it is listed."""

    number: int
    serial: str
    carrier: str


@dataclass
class Attached:
    """A mounted drive and what is known of it."""

    mount: str
    drive: Drive
    serial: str
    carrier: str


@dataclass
class Deal:
    """The groups of the shipment, by slot, and which of their drives are attached."""

    groups: list[list[Place]]
    attached: dict[str, Attached] = field(default_factory=dict)  # by serial
    owed: set[str] = field(default_factory=set)  # serials of drives that are set aside, attached or not
    unwritable: set[str] = field(default_factory=set)  # serials of attached drives that can only be read
    emptied: dict[str, Attached] = field(default_factory=dict)  # set aside, here, with nothing on them; by serial
    old: dict[tuple[int, int], list[Drive]] = field(default_factory=dict)  # by group and slot: replaced, and still here

    @property
    def drives_total(self) -> int:
        """N of "drive i of N"."""
        return sum(map(len, self.groups))

    def missing(self, group: int) -> list[Place]:
        """Drives of a group that are neither attached nor set aside; of one of which none is here, all."""
        here = any(place.serial in self.attached for place in self.groups[group])
        return [place for place in self.away(group) if not (here and place.serial in self.owed)]

    def away(self, group: int) -> list[Place]:
        """Drives of a group that are not attached, set aside or not."""
        return [place for place in self.groups[group] if place.serial not in self.attached]

    def drives(self, group: int) -> list[Attached]:
        """The attached drives of a group, in the order of slots."""
        return [self.attached[place.serial] for place in self.groups[group] if place.serial in self.attached]

    def slots(self, group: int) -> list[Attached | None]:
        """The drives of a group by slot; None where none is attached."""
        return [self.attached.get(place.serial) for place in self.groups[group]]


def identify(
    drives: Sequence[Drive], serials: Mapping[str, str], carriers: Mapping[str, str], *, same_filesystem: bool
) -> list[Attached]:
    """The attached drives with serial and carrier; BadInput for what cannot be two drives or has no serial."""
    out: list[Attached] = []
    filesystems: dict[object, str] = {}
    for drive in drives:
        if drive.mount in {each.mount for each in out}:
            raise BadInput(f"{drive.mount} is given twice", hint="--to takes every mount once")
        where = drive.filesystem()
        if where in filesystems and not same_filesystem:
            raise BadInput(
                f"{filesystems[where]} and {drive.mount} are on one filesystem, so losing one loses both"
                + "".join(f"; nothing is mounted at {each}" for each in unmounted((filesystems[where], drive.mount))),
                hint="mount each drive's own filesystem; --allow-same-filesystem is for scratch use",
            )
        filesystems.setdefault(where, drive.mount)
        if not same_filesystem and unmounted([drive.mount]) and not holds_sealift(drive):
            raise BadInput(
                f"{drive.mount}: nothing is mounted there: it is a folder of the filesystem above it",
                hint="mount the drive there; to take folders as drives, for scratch use: --allow-same-filesystem",
            )
        read, given = drive.serial(), serials.get(drive.mount)
        if read and given and read != given and not same_filesystem:
            raise BadInput(
                f"{drive.mount}: the drive says its serial number is {read}, --serial says {given}",
                hint="leave --serial away for this mount, or mount the drive you mean",
            )
        serial = given or read
        if not serial:
            raise BadInput(
                f"{drive.mount}: the drive tells no serial number",
                hint=f"give the one on its label: --serial {drive.mount}=SERIAL",
            )
        out.append(Attached(drive.mount, drive, serial, carriers.get(drive.mount, "")))
    for serial, count in Counter(each.serial for each in out).items():
        if count > 1:
            mounts = ", ".join(each.mount for each in out if each.serial == serial)
            raise BadInput(
                f"{mounts} have the same serial number {serial}", hint="every drive has its own serial number"
            )
    return out


def unmounted(mounts: Iterable[str]) -> list[str]:
    """Those of them that are plain folders, with no filesystem mounted there."""
    return [mount for mount in mounts if nothing_mounted(mount)]


def holds_sealift(drive: Drive) -> bool:
    """Whether there is a sealift/ folder; True where it cannot be said."""
    try:
        return drive.exists()
    except (DriveFault, FormatError):
        return True


def deal(attached: Sequence[Attached], declaration: Declaration, *, parity: int, group_size: int | None) -> Deal:
    """Check the drives against the declaration and deal them to groups; BadInput says what does not fit."""
    declared = _check_declared(attached, declaration)
    if declared:
        everything = [Place(i, serial, carrier) for i, (serial, carrier) in enumerate(declared.items(), 1)]
    else:
        everything = [Place(i, each.serial, each.carrier) for i, each in enumerate(attached, 1)]
    size = group_size or len(attached)
    if not group_size and declared and len(declared) != len(attached):
        here = "1 is" if len(attached) == 1 else f"{len(attached)} are"
        raise BadInput(
            f"the declaration names {counted(len(declared), 'drive')}, {here} attached",
            hint=_signed_apart(attached, set(declared))
            or "attach all of them, or give --group-size N to pack them in groups as bays allow",
        )
    if len(everything) % size:
        raise BadInput(
            f"{counted(len(everything), 'drive')} {'does' if len(everything) == 1 else 'do'} not make groups of {size}",
            hint="every group has the same number of drives; declare more, or choose another --group-size",
        )
    if not 0 <= parity < size or size > manifest.MAX_DRIVES:
        raise BadInput(
            f"--parity {parity} does not fit a group of {counted(size, 'drive')}",
            hint=f"a group has at least one drive for data and at most {manifest.MAX_DRIVES} drives",
        )
    groups = in_groups(everything, len(everything) // size, carrier=lambda place: place.carrier)
    return Deal(groups, {each.serial: each for each in attached})


def _signed_apart(attached: Sequence[Attached], declared: set[str]) -> str | None:
    """What to do where fewer drives than are declared are attached, and these bear a group that is signed already."""
    record = None
    for each in attached:
        with contextlib.suppress(DriveFault, FormatError):
            data = manifest_of(each)
            record = record or (data and manifest.decode_manifest(data)) or None
    if record is None:
        return None
    text = (
        f"group {record.group} of shipment {record.shipment} is signed on these, and is taken over with all its drives"
    )
    if record.groups > 1:
        text += f": give --group-size {record.n}, as it was packed, and"
        declared &= {row.serial for row in record.drives}
    away = sorted(declared - {each.serial for each in attached})
    where = f" attach {', '.join(away[:_SHOWN])}, too" if away else " the mounts of a whole group"
    return f"{text}{':' * (record.groups == 1)}{where}. where one is lost, {MADE_ANEW}"


def in_groups(listed: Sequence[T], groups: int, *, carrier: Callable[[T], str]) -> list[list[T]]:
    """Drives, in the order in which they are declared, by group and slot: carrier by carrier, round the groups."""
    order = sorted(listed, key=carrier)
    return [order[group::groups] for group in range(groups)]


def numbered_otherwise(numbers: Mapping[str, int], declaration: Declaration) -> str | None:
    """What to say where the drives (serial -> number, i of N) are declared in another order than they are numbered in.

    Papers number drives as they are declared, labels and manifests as they were packed: "drive 2" must be one drive,
    with one carrier. None: the order is the same, as far as both name drives.
    """
    declared = [drive.serial for drive in declaration.drives if drive.serial in numbers]
    packed = sorted(declared, key=lambda serial: numbers[serial])
    odd = [place for place, (one, two) in enumerate(zip(declared, packed, strict=True)) if one != two]
    if not odd:
        return None
    one, two = (", ".join(serials[each] for each in odd[:_SHOWN]) for serials in (declared, packed))
    more = f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
    return (
        f"declaration {declaration.consignment_id} lists {one}{more} in places where the packing has {two}{more}: "
        "papers would number these drives otherwise than their labels"
    )


def deal_again(
    attached: Sequence[Attached], declaration: Declaration, groups: list[list[Place]], owed: set[str], *, replaced: bool
) -> Deal:
    """The deal of a packing that has begun, which its journal knows; BadInput for a drive that has no part in it.

    Drives that are set aside need not be attached, and need not be declared any more: who carries the shipment is
    settled when it is released. Those that are declared stand in the order in which they are numbered; `replaced`: some
    are given their places now.
    """
    declared = _check_declared(attached, declaration)
    known = {place.serial: (group, slot) for group, each in enumerate(groups) for slot, place in enumerate(each)}
    for each in attached:
        if each.serial not in known:
            raise BadInput(
                f"{each.mount}: drive {each.serial} has no part in this packing, which has begun; nothing was written",
                hint=f"if it takes the place of another drive: --replace OLD={each.mount}, where OLD is that drive's "
                "serial number",
            )

    def again(place: Place) -> Place:
        carrier = declared.get(place.serial, place.carrier)
        if not declared and place.serial in by_serial and by_serial[place.serial].carrier:
            carrier = by_serial[place.serial].carrier
        return Place(place.number, place.serial, carrier)

    numbers = {place.serial: place.number for each in groups for place in each}
    if otherwise := numbered_otherwise(numbers, declaration):
        raise BadInput(
            f"{otherwise}; nothing was written",
            hint="give each new drive to --replace for the drive in whose place it is declared; or "
            * replaced
            + "list the drives in the order in which they are packed"
            " (one that was released needs a new release before the shipment is sealed)",
        )
    by_serial = {each.serial: each for each in attached}
    left = [serial for serial in known if declared and serial not in declared and serial not in owed]
    if left:
        raise BadInput(
            f"drive {left[0]} is part of this packing, and declaration {declaration.consignment_id} does not name it",
            hint="declare it; if another drive takes its place: --replace "
            f"{left[0]}=MNT, with the new drive's serial number in the declaration in place of this one",
        )
    return Deal([[again(place) for place in each] for each in groups], by_serial, owed)


def _check_declared(attached: Sequence[Attached], declaration: Declaration) -> dict[str, str]:
    """The declared drives' carriers by serial; BadInput for an attached drive that the declaration contradicts."""
    declared = {drive.serial: drive.carrier for drive in declaration.drives}
    names = {carrier.name for carrier in declaration.carriers}
    for each in attached:
        if declared and each.serial not in declared:
            raise BadInput(
                f"{each.mount}: drive {each.serial} is not in declaration {declaration.consignment_id}",
                hint="declare it ([[drives]] serial = ...), or attach a drive that is declared; nothing was written",
            )
        wants = declared.get(each.serial, "")
        if each.carrier and wants and each.carrier != wants:
            raise BadInput(
                f"{each.mount}: --carrier says {each.carrier!r}, the declaration says {wants!r} for {each.serial}",
                hint="leave --carrier away: the declaration names the carriers; a change there needs a new release",
            )
        if each.carrier and names and each.carrier not in names:
            raise BadInput(
                f"{each.carrier!r} is no carrier of the declaration",
                hint=f"one of: {', '.join(sorted(names))}",
            )
        each.carrier = wants or each.carrier
    return declared


def carrier_risk(groups: Sequence[Sequence[Place]], parity: int) -> str | None:
    """A sentence about the carrier whose loss parity cannot hold, or None."""
    for number, group in enumerate(groups):
        for carrier, count in Counter(place.carrier for place in group if place.carrier).items():
            if count > parity:
                carries = f"carrier {carrier} would carry {counted(count, 'drive')} of group {number}"
                return f"{carries}, and parity holds the loss of {parity}"
    return None


def check_contents(attached: Attached, shipment: str, group: int, slot: int) -> bool:
    """Whether the drive says that it is this group's drive of this shipment, or holds nothing; BadInput for another.

    False: it holds files, and no drive.json that says whose (`nameless`).
    """
    drive = attached.drive
    if not drive.exists():
        return True
    try:
        data = drive.read_small(manifest.CARD, manifest.MAX_CARD)
        card = None if data is None else manifest.decode_card(data)
    except FormatError:
        card = None
    if card is None:
        # empty folders are what --discard-group leaves
        return all(entry.kind == "folder" or entry.name == _FIRST for entry in drive.walk(100_000))
    if card.shipment != shipment:
        signed = drive.size(manifest.MANIFEST) is not None
        raise BadInput(
            f"{attached.mount}: sealift/ holds drive {card.id} of another shipment, {card.shipment}"
            f"{', which is signed' if signed else ''}; nothing was written",
            hint="attach another drive; if it is this packing, and its state is lost: what is signed on all drives of "
            f"a group is taken over by the same command with an empty --state and --shipment {card.shipment}"
            if signed
            else "attach another drive; or, if that was an unfinished packing whose state is lost, --discard-group",
        )
    check_place(attached, card, group, slot, signed=False)
    return True


def nameless(attached: Attached, group: int, slot: int, old: str | None) -> BadInput:
    """The refusal of a drive that is to be empty, and holds files; `old`: serial of the one that it is to replace."""
    hint = "look at what it is, and move it away, or "
    if old is None:
        hint += "attach another drive"
    elif old == attached.serial:
        hint += "leave that --replace away: if its packs are there, the drive is known by them"
    else:
        hint += f"give another drive, one that is empty: --replace {old}=MNT"
    return BadInput(
        f"{attached.mount}: sealift/ holds files but no drive.json that can be read, where drive "
        f"{manifest.drive_id(group, slot)} (serial {attached.serial}) is to be; nothing was written",
        hint=hint,
    )


def check_place(attached: Attached, card: manifest.DriveCard, group: int, slot: int, *, signed: bool) -> None:
    """BadInput where a drive says by its drive.json that it is another one of the shipment."""
    if (card.group, card.slot) != (group, slot):
        mend = (
            "`sealift repair` with all mounts of the group makes that file again"
            if signed
            else "move that file away, and the drive is known by its packs (exchanged serial numbers would be signed), "
            "or set aside, and how to fill it anew is told, if they are that other drive's"
        )
        raise BadInput(
            f"{attached.mount}: this is drive {card.id} of the shipment, expected {manifest.drive_id(group, slot)}",
            hint="the serial numbers of two drives were exchanged (--serial); or what is mounted is a copy of "
            f"{card.id}: attach the drive itself; or only its {manifest.CARD} is another drive's: {mend}",
        )


def check_emptied(emptied: Sequence[Attached]) -> None:
    """BadInput, which names all of them, for drives that have nothing and should."""
    if not emptied:
        return
    names = " or of ".join(f"drive {each.serial} at {each.mount}" for each in emptied)
    raise BadInput(
        f"nothing of {names} is here (not mounted, or emptied), and this packing has begun; nothing was written",
        hint=f"mount {'it' if len(emptied) == 1 else 'them'}; or, {fill_anew(emptied)}",
    )


def fill_anew(emptied: Sequence[Attached]) -> str:
    """How drives that have nothing get all that they had."""
    options = " ".join(f"--replace {each.serial}={each.mount}" for each in emptied)
    return f"to fill {'it' if len(emptied) == 1 else 'them'} anew: {options}"


def manifest_of(attached: Attached) -> bytes | None:
    """The manifest that lies on a drive; None where there is none. DriveFault, FormatError."""
    return attached.drive.read_small(manifest.MANIFEST, manifest.MAX_MANIFEST) if attached.drive.exists() else None


def is_discarded(attached: Attached) -> bool:
    """Whether --discard-group removes what is on a drive: an unfinished group; BadInput for a signed one."""
    drive = attached.drive
    if not drive.exists():
        return False
    data = drive.read_small(manifest.CARD, manifest.MAX_CARD)
    if data is None:
        return False
    of = manifest.decode_card(data).shipment
    if any(drive.size(name) is not None for name in (manifest.MANIFEST, *manifest.SEAL_FILES)):
        raise BadInput(
            f"{attached.mount}: holds a finished group of shipment {of}; it is not discarded",
            hint="--discard-group removes only what was never signed; attach another drive, or erase this one first",
        )
    return True


def discard(attached: Attached) -> None:
    """Remove an unfinished group from a drive, if it still is one (`is_discarded`): the source was looked at since."""
    drive = attached.drive
    drive.lock()
    if not is_discarded(attached):
        return
    for entry in list(drive.walk(20_000_000)):
        name = entry.name.decode(errors="surrogateescape")
        if entry.kind == "file" and (
            name.startswith("packs/")
            or name == manifest.CARD
            or name in manifest.GROUP_FILES
            or name in manifest.OWN_FILES
            or name.endswith(PART)
            or name == manifest.SIGNATURE
            or (name.startswith("journal") and name.endswith(".age"))
        ):
            remove(drive, name)


def remove(drive: Drive, name: str) -> None:
    """Remove a file of ours, or what is left of one that was being written (NAME.part)."""
    if not name.endswith(PART):
        drive.remove(name)
        return
    whole = name.removesuffix(PART)
    if whole and not whole.endswith(("/", PART)):  # no name that we write: it stays
        drive.create(whole).abandon()
