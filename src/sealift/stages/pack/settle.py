"""What is packed onto what: which drives are attached, what began in the state folder, which drive replaces which.

Everything here refuses before a byte is written to a drive. The configuration of a packing is kept in its journal;
the same command again must mean the same. A drive that is set aside may be away, and is then left out; another takes
its slot, its number and its carrier's share with `--replace OLD=NEW`, where OLD is a serial number, a drive's id or
the mount at which the drive was.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import msgspec

from sealift.errors import BadInput, DriveFault, FormatError
from sealift.formats import typed
from sealift.formats.manifest import CARD, MAX_CARD, InReplyTo, decode_card, drive_id
from sealift.stages.pack import fleet as fleets
from sealift.stages.pack import sealed
from sealift.stages.pack.crew import no_room
from sealift.stages.pack.fleet import Place
from sealift.stages.pack.journal_rows import Owed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sealift.drives.base import Drive
    from sealift.formats.manifest import DriveCard
    from sealift.stages.pack.fleet import Attached, Deal
    from sealift.stages.pack.journal import Journal
    from sealift.stages.pack.run import Options
    from sealift.trade.declaration import Declaration

_MOUNTS = "mounts"  # a setting: serial -> mount, as last seen
_REPLACED = "replaced"  # a setting: serial of a drive -> serial of the one in its place


class Config(msgspec.Struct):
    """What must stay the same while a shipment is packed; kept in the journal."""

    shipment: str
    consignment_id: str
    source: str
    recipients: list[str]
    parity: int
    pack_size: int
    order: Literal["path", "shuffled"]
    seed: int
    sample_key: str | None
    groups: list[list[Place]]
    only: str | None = None  # of --only: which shipment's packs, and the list's digest
    in_reply_to: InReplyTo | None = None  # of a return leg


class Replacement(msgspec.Struct, frozen=True):
    """A new drive for a slot: what it replaces, and where it is mounted; `said` as it was given.

    `done`: `old` is the new drive already, for the same was given before.
    """

    group: int
    slot: int
    old: Place
    mount: str
    said: str
    done: bool


def load(journal: Journal) -> Config | None:
    """The configuration of a packing that has begun to pack, or None."""
    kept = journal.setting("config")
    if kept is None:
        return None
    config = typed.decode(kept, Config)
    states = [journal.group(number) for number in range(len(config.groups))]
    return config if any(each.state != "waiting" or each.stripes for each in states) else None


def owed_of(journal: Journal, config: Config | None) -> dict[str, Owed]:
    """What is set aside in all groups, by serial."""
    groups = range(len(config.groups)) if config else ()
    return {each.serial: each for number in groups for each in journal.owed(number).values()}


def replacements(options: Options, journal: Journal, config: Config | None) -> list[Replacement]:
    """--replace, resolved; BadInput for an OLD that nobody knows."""
    if options.replace and config is None:
        raise BadInput(
            "--replace: nothing was packed in this state folder, so there is no drive to replace",
            hint="give the drives that are to be packed (--to), and no --replace; or, where the state folder of a "
            f"signed group is lost, {fleets.MADE_ANEW}. that packing is the same command with --shipment ID (it is in "
            "drive.json on the others), and no --replace",
        )
    out: list[Replacement] = []
    for old, mount in options.replace.items():
        assert config is not None
        out.append(_find(old, mount, journal, config))
    _check_apart(out)
    return out


def _check_apart(new: list[Replacement]) -> None:
    """BadInput where two of these are of one place, or of one new drive."""
    for one, other in combinations(new, 2):
        both = f"{one.said} and {other.said}"
        if one.mount == other.mount:
            raise BadInput(
                f"{both}: one new drive cannot take two places",
                hint="give each drive that failed a new one of its own, or leave one of the two away, which stays owed",
            )
        if (one.group, one.slot) != (other.group, other.slot):
            continue
        past, now = (one, other) if one.done else (other, one)
        if past.done and not now.done:
            raise BadInput(
                f"{past.said} is done: drive {now.old.serial} has that place by now, which {now.said} replaces",
                hint=f"leave {past.said} away, and run the same command again; nothing was written",
            )
        raise BadInput(
            f"{both}: both are of one place, {drive_id(one.group, one.slot)}, which has drive {one.old.serial}",
            hint="leave one of them away: a place takes one new drive; nothing was written",
        )


def _find(old: str, mount: str, journal: Journal, config: Config) -> Replacement:
    """Which place OLD is of; where OLD has a successor already, that one's."""
    named = {each.serial for each in owed_of(journal, config).values() if each.mount == old}
    named |= {old} | {serial for serial, where in _map(journal, _MOUNTS).items() if where == old}
    replaced, said = _map(journal, _REPLACED), f"--replace {old}={mount}"
    past_first = sorted(named, key=lambda serial: serial not in replaced)  # at one mount there may have been both
    serials = {successor(replaced, serial): serial for serial in past_first}
    for group, places in enumerate(config.groups):
        for slot, place in enumerate(places):
            if old == drive_id(group, slot) or place.serial in serials:
                earlier = serials.get(place.serial, place.serial) != place.serial
                done = earlier or last_mount(journal, place.serial) == mount
                return Replacement(group, slot, place, mount, said, done)
    known = ", ".join(place.serial for places in config.groups for place in places)
    raise BadInput(
        f"--replace {old}: no drive of this packing is called so",
        hint=f"its serial number, its id (g0s2) or the mount where it was; the serial numbers are: {known}",
    )


def _map(journal: Journal, name: str) -> dict[str, str]:
    kept = journal.setting(name)
    return {} if kept is None else typed.decode(kept, dict[str, str])


def replaced(journal: Journal) -> dict[str, str]:
    """Serial of a drive that was replaced -> serial of the one in its place."""
    return _map(journal, _REPLACED)


def successor(replaced: Mapping[str, str], serial: str) -> str:
    """The drive that stands in the place of `serial` by now, which may be itself."""
    for _ in replaced:
        serial = replaced.get(serial, serial)
    return serial


def successors(journal: Journal, new: list[Replacement], attached: list[Attached]) -> dict[str, str]:
    """Serial of a drive that was or is being replaced -> serial of the one in its place."""
    here = {each.mount: each.serial for each in attached}
    now = {each.old.serial: here[each.mount] for each in new}
    return _map(journal, _REPLACED) | {old: serial for old, serial in now.items() if old != serial}


def last_mount(journal: Journal, serial: str) -> str:
    """Where a drive was mounted when it was seen last; "" where nobody knows."""
    return _map(journal, _MOUNTS).get(serial, "")


def attach(
    options: Options, journal: Journal, config: Config | None, new: list[Replacement], notice: Callable[[str], None]
) -> tuple[list[Attached], dict[tuple[int, int], list[Drive]]]:
    """The drives of --to and --replace that are there; and, by group and slot, those that were replaced and still are.

    Of a packing that has begun a drive may be away: it is left out, and said so. So may one that has its place by a
    --replace that is done: it is taken out of `new`.
    """
    where, fresh = _map(journal, _MOUNTS), [each.mount for each in new]
    leaving = {where.get(each.old.serial, "") for each in new} - set(fresh)
    mounts = [mount for mount in options.to if mount not in leaving]
    mounts += [mount for mount in fresh if mount not in mounts]
    looked = _Looked(options, journal, config, new, notice)
    placed = {each.mount for each in new if each.done and last_mount(journal, each.old.serial) == each.mount}
    drives = []
    for mount in mounts:
        strict = mount in fresh and not (mount in placed and looked.is_away(mount))
        drive = options.open_drive(mount) if strict or config is None else looked.find(mount)
        if drive is not None:
            drives.append(drive)
    here = {drive.mount for drive in drives}
    new[:] = [each for each in new if each.mount in here]
    for mount in options.to:
        if mount in leaving:
            looked.keep(mount)
    attached = fleets.identify(drives, options.serials, options.carriers, same_filesystem=options.allow_same_filesystem)
    journal.set(_MOUNTS, msgspec.json.encode(where | {each.serial: each.mount for each in attached}))
    return attached, looked.old


class _Looked:
    """Mounts of a packing that has begun, looked at one by one: which drive is there, if any."""

    def __init__(
        self,
        options: Options,
        journal: Journal,
        config: Config | None,
        new: list[Replacement],
        notice: Callable[[str], None],
    ) -> None:
        self._options, self._config, self._notice = options, config, notice
        owed, replaced = owed_of(journal, config), _map(journal, _REPLACED)
        self._replaced, self._owed = replaced, owed
        self._serials = {place.serial for places in config.groups for place in places} if config else set()
        self._gone = {*replaced, *(each.old.serial for each in new)}
        where = _map(journal, _MOUNTS)
        known = self._serials | self._gone
        self._aside = {each.mount for each in owed.values()} | {where[old] for old in replaced if old in where}
        self._expected = {mount: serial for serial, mount in where.items() if serial in known}
        self._expected |= {each.mount: each.serial for each in owed.values() if each.mount}
        self._expected |= {mount: serial for mount, serial in options.serials.items() if serial in known}
        self.old: dict[tuple[int, int], list[Drive]] = {}

    def find(self, mount: str) -> Drive | None:
        """The drive at a mount, or None where the one that is expected there is away, or was replaced."""
        expected = self._expected.get(mount)
        try:
            drive = self._options.open_drive(mount)
            card = _card_of(drive) if expected not in self._serials else None
            if card is not None and card.serial in self._gone - self._serials and self.keep(mount):
                return None  # wherever it is mounted, and whether it tells its serial number or not
            if expected is None:
                return drive
            scratch = self._options.allow_same_filesystem
            if not scratch and fleets.unmounted([mount]) and _card_of(drive) is None:
                raise BadInput("nothing is mounted there")
            (found,) = fleets.identify([drive], self._options.serials, {}, same_filesystem=scratch)
        except (BadInput, DriveFault) as error:
            if expected is None or self._options.network:
                raise
            away, fails = _is_away(mount), _fails(mount)
            if mount not in self._aside and not isinstance(error, DriveFault) and not (away or fails):
                raise
            if fails:
                self._notice(f"drive {expected} at {mount} is not used: what is mounted there fails: {fails}")
            else:
                why = "nothing is mounted there" if away else str(error).removeprefix(f"{mount}: ")
                self._notice(f"drive {expected} is not at {mount}: {why}")
            return None
        if found.serial in self._serials or mount not in self._aside:
            return drive
        if not self.keep(mount):
            self._notice(f"drive {expected} is not at {mount}: another one is, {found.serial}, which is left alone")
        return None

    def is_away(self, mount: str) -> bool:
        """Whether nothing is at a mount, or nothing that answers; folders stand in for drives where that is allowed."""
        if _fails(mount) or not os.path.isdir(mount):
            return True
        return not self._options.allow_same_filesystem and _is_away(mount)

    def keep(self, mount: str) -> bool:
        """Whether a drive that was replaced is still here, by its drive.json: it is read, and never written."""
        with contextlib.suppress(BadInput, DriveFault, FormatError):
            drive = self._options.open_drive(mount)
            card = _card_of(drive)
            if card is None or self._config is None or card.shipment != self._config.shipment:
                return False
            if card.serial not in self._gone:
                return False
            self.old.setdefault((card.group, card.slot), []).append(drive)
            by = successor(self._replaced, card.serial)
            what = "is to be replaced" if by == card.serial else f"was replaced by {by}"
            text = f"drive {card.serial} at {mount} {what}: it is only read, for what others lack"
            if by in self._owed and no_room(self._owed[by].kind, self._owed[by].reason):
                text += f". drive {by} is too small: --replace {by}={mount} gives {card.serial} its place again"
            self._notice(text)
            return True
        return False


def _is_away(mount: str) -> bool:
    return not _fails(mount) and (not os.path.isdir(mount) or bool(fleets.unmounted([mount])))


def _fails(mount: str) -> str | None:
    """What even asking for the folder of a mount runs into, where there is one: a filesystem that has shut down."""
    try:
        os.stat(mount)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None


def _card_of(drive: Drive) -> DriveCard | None:
    """Which drive of a shipment it says it is; None where it says nothing, or cannot."""
    with contextlib.suppress(DriveFault, FormatError):
        data = drive.read_small(CARD, MAX_CARD) if drive.exists() else None
        return None if data is None else decode_card(data)
    return None


def substitute(
    config: Config, journal: Journal, new: list[Replacement], attached: list[Attached], declaration: Declaration
) -> Config:
    """The configuration with the new drives in their slots; BadInput unless the declaration goes with it."""
    groups = [list(places) for places in config.groups]
    declared = {drive.serial for drive in declaration.drives}
    by_mount = {each.mount: each for each in attached}
    for each in new:
        serial = by_mount[each.mount].serial
        if serial == each.old.serial:
            continue  # the same command again, or the same drive anew
        if journal.group(each.group).state == "signed":
            raise BadInput(
                f"--replace: group {each.group} is packed and signed, and its manifest names drive {each.old.serial}",
                hint="nothing more is written to a signed group: `sealift repair` rebuilds what is missing of it",
            )
        if (its := _place_of(serial, groups)) is not None:
            raise BadInput(
                f"{each.said}: what is mounted there is drive {serial}, which has its own place in this packing, {its}",
                hint="give the mount of a new drive, which holds nothing of this shipment; nothing was written",
            )
        if each.old.serial in declared:
            raise BadInput(
                f"declaration {declaration.consignment_id} still names {each.old.serial}, which {serial} replaces",
                hint=f'in the declaration, put serial = "{serial}" in its place; if it was released, it needs a new '
                "release before the shipment is sealed",
            )
        carrier = next((d.carrier for d in declaration.drives if d.serial == serial), by_mount[each.mount].carrier)
        groups[each.group][each.slot] = Place(each.old.number, serial, carrier or each.old.carrier)
    return msgspec.structs.replace(config, groups=groups)


def _place_of(serial: str, groups: list[list[Place]]) -> str | None:
    """The id of the drive with this serial number, if it has a place."""
    rows = ((drive_id(group, slot), each) for group, places in enumerate(groups) for slot, each in enumerate(places))
    return next((name for name, place in rows if place.serial == serial), None)


def without_place(config: Config, new: list[Replacement]) -> list[Replacement]:
    """Those of them whose new drive has not got its place yet: it is in `config`, and nowhere else."""
    return [each for each in new if config.groups[each.group][each.slot].serial != each.old.serial]


def in_place(config: Config, new: list[Replacement]) -> list[Replacement]:
    """The others: their drive has its place, from before or since it is to replace itself."""
    return [each for each in new if each not in without_place(config, new)]


def write_replacements(journal: Journal, config: Config, new: list[Replacement]) -> None:
    """Give the new drives their slots, durably: from now on they owe everything. What was done before stays done."""
    history, rows = _map(journal, _REPLACED), []
    for each in new:
        place, known = config.groups[each.group][each.slot], journal.owed(each.group).get(each.slot)
        if place.serial == each.old.serial and (known is None or known.kind == "new"):
            continue
        if place.serial != each.old.serial:
            history[each.old.serial] = place.serial
            history.pop(place.serial, None)
        why = f"takes the place of {each.old.serial}" if place.serial != each.old.serial else "is filled anew"
        rows.append((each.group, Owed(each.slot, place.serial, each.mount, 0, "new", why)))
    if rows:
        journal.replace({"config": msgspec.json.encode(config), _REPLACED: msgspec.json.encode(history)}, rows)


def settle(
    options: Options,
    declaration: Declaration,
    deal: Deal,
    source: bytes,
    journal: Journal,
    begun: Config | None,
    only: str | None,
    reply: InReplyTo | None,
) -> Config:
    """The configuration of a new shipment, or that which has `begun` when it is the same. BadInput, Refused."""
    kept = journal.setting("config")
    if not begun:
        known = options.shipment or (typed.decode(kept, Config).shipment if kept is not None else "")
        sealed.refuse_another(declaration.consignment_id, known, options.declaration, options.state)
    wanted = Config(
        options.shipment or secrets.token_hex(8),
        declaration.consignment_id,
        os.fsdecode(source),
        options.recipients,
        options.parity,
        options.pack_size,
        options.order,
        options.seed,
        options.sample_key,
        deal.groups,
        only,
        reply,
    )
    if kept is None:
        if not re.fullmatch(r"[0-9a-f]{16}", wanted.shipment):
            raise BadInput(
                f"--shipment {wanted.shipment!r} is no shipment id",
                hint="16 hexadecimal digits, as `sealift status` prints",
            )
        journal.set("config", msgspec.json.encode(wanted))
        return wanted
    config = begun or typed.decode(kept, Config)
    wanted.shipment = options.shipment or config.shipment
    differ = [name for name in Config.__struct_fields__ if getattr(config, name) != getattr(wanted, name)]
    size = options.group_size or sum(map(len, config.groups))
    if begun and size != len(config.groups[0]):
        raise BadInput(
            f"{options.state} holds a packing that began with something else: --group-size "
            f"(was {len(config.groups[0])}, now {size})",
            hint="run the same command again to go on, or begin another shipment with another --state",
        )
    if differ and not begun:
        shutil.rmtree(os.path.join(options.state, "scan"), ignore_errors=True)  # refused before: nothing was packed
        journal.set("config", msgspec.json.encode(wanted))
        return wanted
    if differ:
        what = ", ".join(
            f"{name} (was {_short(getattr(config, name))}, now {_short(getattr(wanted, name))})" for name in differ
        )
        raise BadInput(
            f"{options.state} holds a packing that began with something else: {what}",
            hint="run the same command again to go on, or begin another shipment with another --state",
        )
    return config


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
