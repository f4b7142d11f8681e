"""What a planner is told, as options give it or as voyage.toml: corpus on paper, drives, carriers, dates, losses. Pure.

What holds of every `Voyage` that `parse` returns: no key is unknown, every value is within its limits, and faults are
named all at once by their paths. What parts have to hold together (a corpus, drives, carriers, bays; dates in their
order) is checked by `ready`, when options have been put in. Prices have a place here only under [numbers], and none of
them reaches a plan (choose.py).

    drives      60x80TB, 12x20TB:hdd; rows of [[drives]]; what `sealift drives --json` says
    carriers    anna, ben:hand, 4xcourier; rows of [[carriers]]; told, never searched
    survive     "any carrier", "any carrier and 2 drives", "any 2 carriers, 99.99%", "99.9%"
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, get_args

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from sealift.errors import BadInput
from sealift.formats import strict, typed
from sealift.formats.sizes import parse_count, parse_size
from sealift.stages.plan import defaults, geometry
from sealift.stages.plan.document import MAX_PACK, MIN_PACK, CarrierName
from sealift.stages.plan.geometry import Kind, Means, Survive
from sealift.stages.plan.terms import MOST_HOSTS, Gpu, ReadBack
from sealift.trade import sections

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sealift.stages.drives_list import DriveRow

MAX_FILE = 4 << 20
MAX_LISTING = 64 << 20  # of drives, as JSON
MOST_LOSS = 0.001  # where no odds are wanted: of a thousand shipments one may lose a byte

Amount = Annotated[str, Meta(max_length=64)] | Annotated[int, Meta(ge=0, le=1 << 60)]
Hosts = Annotated[int, Meta(ge=1, le=MOST_HOSTS)]
Rate = Annotated[str, Meta(max_length=64)] | Annotated[int, Meta(ge=1, le=1 << 60)]
Moment = Annotated[datetime, Meta(tz=True)]
Words = Annotated[str, Meta(max_length=200)]


class Carrier(Struct, frozen=True, kw_only=True):
    """Who carries, how, no more than so many drives, and from when."""

    name: CarrierName
    means: Means = "courier"
    most_drives: Annotated[int, Meta(ge=0, le=geometry.MAX_DRIVES)] | None = None
    departs: Moment | None = None


class Drives(Struct, frozen=True, kw_only=True):
    """One drive, or `count` that are alike and have neither name nor serial number yet."""

    capacity: Amount
    count: Annotated[int, Meta(ge=1, le=geometry.MAX_DRIVES)] = 1
    kind: Kind = "hdd"
    name: Annotated[str, Meta(max_length=64)] = ""
    serial: sections.Serial = ""
    make: sections.Text = ""
    model: sections.Text = ""
    free: Amount | None = None  # of an empty filesystem on it, where that is known


class Training(Struct, frozen=True, kw_only=True):
    """What the drives are carried for; `gpu_hours` or the bytes of the corpus that it takes a second."""

    gpus: Annotated[int, Meta(ge=0, le=1 << 24)] = 0
    gpu: Gpu = "h100"
    gpu_hours: Annotated[float, Meta(ge=0, le=1e12)] = 0.0
    rate: Rate | None = None
    ingest_rate: Rate | None = None
    return_bytes: Amount = 0


class Voyage(Struct, frozen=True, kw_only=True):
    """Everything that is told, in the order of the file."""

    bytes: Amount | None = None  # on paper; else SOURCE is looked at
    files: Annotated[str, Meta(max_length=64)] | Annotated[int, Meta(ge=0, le=1 << 50)] | None = None
    packed_share: Annotated[float, Meta(gt=0, le=2)] = 1.0
    bays: Annotated[int, Meta(ge=1, le=geometry.MAX_DRIVES)] | None = None
    hosts: Hosts = 1
    cores: Annotated[int, Meta(ge=1, le=1 << 20)] | None = None
    source_rate: Rate | None = None
    hosts_there: Hosts = 1
    people: Hosts = 1
    survive: Words = "any carrier"
    start: Moment | None = None
    deadline: Moment | None = None
    lease_begins: Moment | None = None
    read_back: ReadBack = "sample"
    pack_size: Amount = "1GiB"
    order: Literal["path", "shuffled"] = "path"
    seed: Annotated[int, Meta(ge=0, lt=1 << 62)] = 0
    buy_drives: bool = True
    near: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=64)] = ()
    training: Training = Training()
    numbers: dict[str, float] = {}
    carriers: Annotated[tuple[Carrier, ...], Meta(max_length=geometry.MAX_CARRIERS)] = ()
    drives: Annotated[tuple[Drives, ...], Meta(max_length=geometry.MAX_DRIVES)] = ()


class Told(NamedTuple):
    """A drive as it is told; sizes in bytes. `free` is what an empty filesystem on it has, None where nobody knows."""

    name: str
    capacity: int
    free: int | None
    kind: Kind
    serial: str
    make: str
    model: str


def form() -> str:
    """An empty voyage.toml, with a comment for every field."""
    return files("sealift.stages.plan").joinpath("voyage.toml").read_text(encoding="utf-8")


def parse(data: bytes) -> Voyage:
    """What a voyage.toml tells; BadInput names every fault at once."""
    tree, fault = strict.load(data, MAX_FILE)
    if tree is None:
        raise _invalid([fault])
    faults: list[str] = []
    values = strict.values(tree, Voyage, "", faults, _wants)
    faults += [f"numbers.{each}" for each in defaults.defaults().faults(values.get("numbers", {}))]
    if faults:
        raise _invalid(faults)
    return Voyage(**values)


def _invalid(faults: list[str]) -> BadInput:
    return BadInput(
        f"the voyage has {strict.shown(faults)}", hint="sealift plan --new FILE writes a form with comments"
    )


def _wants(kind: Any, error: str) -> str:
    if "datetime" in error or "RFC3339" in error or "timezone" in error:
        return "wants a time with its zone, such as 2026-12-20T08:00:00Z"
    if "`int | str`" in error or "`str | int`" in error:
        return "wants a size, such as 80TB or 1GiB"
    if "regex" in error:
        serial = kind is sections.Serial
        return f"must {'be printable ASCII without spaces' if serial else 'have no comma and no equals sign'}"
    return ""


# --- words -----------------------------------------------------------------------------------------------

_CARRIERS = re.compile(r"(?:any )?(?:(\d{1,4}) )?carriers?", re.ASCII)
_DRIVES = re.compile(r"(?:any )?(?:(\d{1,5}) )?drives?", re.ASCII)
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,15})?)\s*%", re.ASCII)
_SHARE = re.compile(r"[01]?\.\d{1,17}", re.ASCII)
_SERIAL = re.compile(r"[!-~]{1,64}", re.ASCII)
_MANY = re.compile(r"(\d{1,5})\s*[x×]\s*(.+)", re.ASCII)


def loss(words: str) -> tuple[Survive, float]:
    """The loss to survive, and how probable the loss of a byte may be, of "any carrier and 1 drive, 99.9%".

    Without a probability it is MOST_LOSS. BadInput for other words.
    """
    carriers: int | None = None
    drives: int | None = None
    most: Decimal | None = None
    for part in re.split(r",|\band\b", words.strip().lower()):
        text = " ".join(part.split())
        if found := _CARRIERS.fullmatch(text):
            again, carriers = carriers is not None, int(found[1] or 1)
        elif found := _DRIVES.fullmatch(text):
            again, drives = drives is not None, int(found[1] or 1)
        elif (found := _PERCENT.fullmatch(text)) and float(found[1]) < 100:
            again, most = most is not None, 1 - Decimal(found[1]) / 100
        elif _SHARE.fullmatch(text) and float(text) < 1:
            again, most = most is not None, 1 - Decimal(text)
        elif text in {"nothing", "no loss"}:
            again, drives = drives is not None, 0
        else:
            raise _no_loss(words, f"{text[:64]!r} is no loss and no probability below 1")
        if again:
            raise _no_loss(words, f"{text[:64]!r} says one thing twice")
    return Survive(carriers=carriers or 0, drives=drives or 0), MOST_LOSS if most is None else float(most)


def _no_loss(words: str, why: str) -> BadInput:
    return BadInput(
        f"the loss to survive, {words[:200]!r}: {why}",
        hint='such as "any carrier", "any carrier and 2 drives", "any 2 drives, 99.99%" or "99.9%"',
    )


def drives(text: str) -> Drives:
    """Of 60x80TB, 80TB or 12x20TB:ssd; BadInput."""
    what, colon, kind = text.strip().partition(":")
    found = _MANY.fullmatch(what)
    kinds = get_args(Kind)
    try:
        capacity = parse_size(found[2] if found else what)
        if (colon and kind not in kinds) or not (found is None or 1 <= int(found[1]) <= geometry.MAX_DRIVES):
            raise BadInput("")
    except BadInput:
        raise BadInput(
            f"{text[:64]!r} are no drives",
            hint=f"such as 60x80TB or 24x15.36TB:ssd (kinds: {', '.join(kinds)}), or the JSON of sealift drives --json",
        ) from None
    return Drives(capacity=capacity, count=int(found[1]) if found else 1, kind=kind or "hdd")  # type: ignore[arg-type]


def carriers(text: str) -> tuple[Carrier, ...]:
    """Of "anna, ben:hand" or "4xcourier"; BadInput."""
    out: list[Carrier] = []
    means = get_args(Means)
    for part in filter(None, (part.strip() for part in text.split(","))):
        if (found := _MANY.fullmatch(part)) and found[2] in means:
            if not 1 <= int(found[1]) <= geometry.MAX_CARRIERS:
                raise _no_carrier(part)
            first = len(out) + 1
            out += [Carrier(name=f"carrier-{first + at:02d}", means=found[2]) for at in range(int(found[1]))]  # type: ignore[arg-type]
            continue
        name, colon, how = part.rpartition(":")
        name, how = (name.strip(), how.strip()) if colon else (part, "courier")
        if how not in means or not 1 <= len(name) <= 64 or "=" in name or strict.unprintable(name):
            raise _no_carrier(part)
        out.append(Carrier(name=name, means=how))  # type: ignore[arg-type]
    if not out:
        raise _no_carrier(text)
    return tuple(out)


def _no_carrier(text: str) -> BadInput:
    return BadInput(
        f"{text[:64]!r} is no carrier",
        hint=f"NAME or NAME:MEANS, separated by commas, or 4xMEANS; means are {', '.join(get_args(Means))}",
    )


def moment(text: str) -> datetime:
    """A time of ISO 8601; a date is its beginning, and what has no zone is UTC. BadInput."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise BadInput(f"{text[:64]!r} is no time", hint="such as 2026-12-20 or 2026-12-20T08:00+01:00") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


# --- drives that are here --------------------------------------------------------------------------------


class LeftOut(NamedTuple):
    """A drive that is here and is not planned with."""

    name: str
    why: str


def listing(data: bytes) -> tuple[tuple[Drives, ...], tuple[LeftOut, ...]]:
    """`listed`, of what `sealift drives --json` prints; BadInput for anything else."""
    from sealift.stages.drives_list import Listing

    try:
        found = typed.decode(data, Listing)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(
            f"no list of drives: {str(error)[:200]}", hint="sealift drives --json > drives.json makes one"
        ) from error
    return listed(found.drives)


def listed(rows: Iterable[DriveRow]) -> tuple[tuple[Drives, ...], tuple[LeftOut, ...]]:
    """Of drives that `sealift drives` lists those that may be packed onto: blank, or with one empty filesystem.

    What is of this host, is in use, fails, holds something or did not answer is left out, with the reason.
    """
    taken: list[Drives] = []
    left: list[LeftOut] = []
    for row in rows:
        why = _unfit(row)
        if why:
            left.append(LeftOut(row.name, why))
            continue
        mounted = [volume for volume in row.volumes if volume.mounts]
        free = next((volume.free_bytes for volume in mounted), None)
        taken.append(
            Drives(
                capacity=row.size_bytes,
                kind="hdd" if row.rotational else "ssd",
                name="" if row.serial else short(row.name),
                serial=row.serial or "",
                model=(row.model or "")[:200],
                free=free,
            )
        )
    return tuple(taken), tuple(left)


_SPEAKS_AGAINST = {"system", "smart", "same-serial", "read-only", "no-answer", "too-small"}


def _unfit(row: DriveRow) -> str:
    if row.serial and not _SERIAL.fullmatch(row.serial):
        return "its serial number is not printable ASCII without spaces, which no declaration could name"
    for flag in row.flags:
        if flag.flag in _SPEAKS_AGAINST:
            return f"{flag.flag}: {flag.why}"
    found = [volume for volume in row.volumes if volume.filesystem or volume.mounts or volume.swap or volume.sealift]
    if row.table or len(found) > 1 or any(volume.swap for volume in found):
        return "it is partitioned, or part of something else"
    for volume in found:
        if volume.sealift is not None:
            return "a drive of a shipment is on it"
        if not volume.mounts or volume.entries is None or volume.free_bytes is None:
            return f"{volume.filesystem or 'something'} is on it, and is not mounted: nobody can say that it is empty"
        if volume.entries:
            return f"it is not empty: {volume.entries:,} {'name' if volume.entries == 1 else 'names'} in its root"
    return ""


# --- put together ----------------------------------------------------------------------------------------


def short(name: str) -> str:
    """A drive's name as a plan has it: what is longer than 64 characters is cut at the front."""
    return name if len(name) <= 64 else f"...{name[-61:]}"


def without_room(rows: Sequence[Drives], pack_size: int) -> tuple[tuple[Drives, ...], tuple[LeftOut, ...]]:
    """Of drives that are here those that hold a pack, and the others, which are left out. BadInput as `fleet`."""
    needed = geometry.as_packed(members=1, packed_bytes=1, pack_size=pack_size)(1, 1)
    taken: list[Drives] = []
    left: list[LeftOut] = []
    for row in rows:
        room = size(row.capacity if row.free is None else row.free)
        if room > needed:
            taken.append(row)
        else:
            why = f"{room:,} bytes have no room for packs of {pack_size:,}"
            left.append(LeftOut(row.name or row.serial, why))
    return tuple(taken), tuple(left)


def without_failed(rows: Sequence[Drives], failed: Mapping[str, str]) -> tuple[tuple[Drives, ...], tuple[LeftOut, ...]]:
    """The drives that did not fail their test; `failed` has why, by serial number or name."""
    found = {row: failed.get(row.serial) or failed.get(row.name) for row in rows}
    left = [LeftOut(row.name or row.serial, f"it failed its test: {why}") for row, why in found.items() if why]
    return tuple(row for row in rows if not found[row]), tuple(left)


def fleet(rows: Sequence[Drives]) -> tuple[Told, ...]:
    """Every drive by itself, those without a name numbered in their order. BadInput names what is no size."""
    out: list[Told] = []
    faults: list[str] = []
    nameless = 0
    for number, row in enumerate(rows, 1):
        if row.count > 1 and (row.name or row.serial):
            faults.append(f"drives[{number}]: {row.count} of them cannot have one name or serial number")
            continue
        try:
            capacity = size(row.capacity)
            free = None if row.free is None else size(row.free)
        except BadInput as error:
            faults.append(f"drives[{number}]: {error}")
            continue
        if not capacity or (free is not None and not 0 < free <= capacity):
            faults.append(f"drives[{number}]: a capacity of {capacity:,} bytes, of which {free or 0:,} are free")
            continue
        for _ in range(row.count):
            name = row.name or row.serial[:64]
            if not name:
                nameless += 1
                name = f"drive-{nameless:03d}"
            out.append(Told(name, capacity, free, row.kind, row.serial, row.make, row.model))
    if faults:
        raise _invalid(faults)
    return tuple(out)


def size(amount: int | str) -> int:
    """Bytes; BadInput."""
    return amount if isinstance(amount, int) else parse_size(amount)


def count(amount: int | str) -> int:
    """A whole number; BadInput."""
    return amount if isinstance(amount, int) else parse_count(amount)


def ready(voyage: Voyage, *, now: datetime) -> Voyage:
    """The voyage with its start, `now` where none is told, when everything is there that a plan needs.

    BadInput names at once what is missing and what does not go together.
    """
    start = voyage.start or now.replace(microsecond=0)
    faults: list[str] = []
    if not voyage.drives:
        faults.append("no drives: --drives 60x80TB, or the JSON of sealift drives --json")
    if not voyage.carriers:
        faults.append("no carriers: --carriers anna,ben:hand; a plan searches for none")
    if voyage.bays is None:
        faults.append("no bays: --bays N, the drives that one host takes at once")
    when = f"the start of packing, {text(start)}" if voyage.start else f"now, {text(start)}"
    if voyage.deadline is not None and voyage.deadline <= start:
        faults.append(f"deadline: {text(voyage.deadline)} is not after {when}")
    faults += [
        f"carrier {carrier.name}: departs at {text(carrier.departs)}, before {when}"
        for carrier in voyage.carriers
        if carrier.departs is not None and carrier.departs < start
    ]
    pack = size(voyage.pack_size)
    if not MIN_PACK <= pack <= MAX_PACK:
        faults.append(f"pack_size: {pack:,} bytes is not between {MIN_PACK:,} and {MAX_PACK:,}")
    if faults:
        raise BadInput(f"the voyage has {strict.shown(faults)}", hint="sealift plan --help has an example")
    return replace(voyage, start=start)


def text(time: datetime) -> str:
    """A time to the minute, in UTC."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
