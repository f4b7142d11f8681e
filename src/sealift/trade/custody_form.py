"""The form that people fill in for an event of custody: TOML with an explanation of every field.

What holds: `parse` names every fault of a form at once, by its path; `build` makes the event that it says, in the
record's terms: times in UTC, keys by fingerprint, photographs by SHA-256, lists sorted. A form has no canonical form
and is not kept; the event is the record. Seal numbers are never filled in beforehand: they are to be read off seals.

What is not here: files; what a photograph's name or an event's first digits stand for, the caller says.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from sealift.errors import BadInput, KeyInvalid
from sealift.formats import sshsig, strict, typed
from sealift.trade import custody_event as events
from sealift.trade.custody_event import Checkpoint, CustodyEvent
from sealift.trade.template import toml_value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import tzinfo

MAX_FORM = 4 << 20  # bytes
_REASON = 500  # characters, of events.Line

_Reference = Annotated[str, Meta(min_length=1, max_length=1024)]
_KeyText = Annotated[str, Meta(max_length=strict.MAX_LINE)]
_OFFSET = re.compile(r"([+-])(\d\d):([0-5]\d)", re.ASCII)
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


# What people record by a form; `sealift unlock` records its own event.
_FormType = Literal[
    "seal", "handover", "customs_inspection", "load", "arrive", "unseal", "verify", "discrepancy", "return"
]


class FormParty(Struct, frozen=True, kw_only=True):
    """One side, as it is filled in."""

    name: events.Line
    org: events.Line
    id_kind: events.Line
    key: _KeyText = ""
    paper_photo: Annotated[str, Meta(max_length=1024)] = ""


class FormItem(Struct, frozen=True, kw_only=True):
    """Drives under one seal, as they are filled in."""

    serials: Annotated[list[events.Serial], Meta(min_length=1, max_length=events.MAX_SERIALS)]
    seal_before: events.SealNumber = ""
    seal_after: events.SealNumber = ""
    seal_class: events.SealClass = ""
    seal_checked: events.SealChecked
    condition: events.Condition
    shock_indicator: events.Shock = "none"


class Form(Struct, frozen=True, kw_only=True):
    """A form, in the order of the file."""

    type: Literal["sealift-custody-form"]
    version: Literal[1]
    consignment_id: events.ConsignmentId
    event_type: _FormType
    at: Annotated[str, Meta(max_length=40)] = ""
    local_timezone: events.Zone
    place: events.Line
    reason: events.Line
    officer_ref: events.MaybeLine = ""
    inspection_opened: bool = False
    hash_sample_result: events.HashSample = "not_taken"
    photos: Annotated[list[_Reference], Meta(max_length=events.MAX_PHOTOS)] = []
    resolves: Annotated[list[_Reference], Meta(max_length=events.MAX_RESOLVES)] = []
    released_by: FormParty
    received_by: FormParty
    items: Annotated[list[FormItem], Meta(min_length=1, max_length=events.MAX_ITEMS)]


def parse(data: bytes) -> Form:
    """The form in a file's bytes; BadInput that names every fault at once."""
    tree, fault = strict.load(data, MAX_FORM)
    if tree is None:
        raise BadInput(f"the form is {fault}")
    faults: list[str] = []
    values = strict.values(tree, Form, "", faults, _wants)
    if not faults and not values["items"]:
        faults.append("items: none; at least one [[items]] is wanted")
    if faults:
        raise BadInput(
            f"the form has {strict.shown(faults)}",
            hint="sealift handover LOG --new FILE writes a form that explains it",
        )
    return Form(**values)


def _wants(_kind: Any, error: str) -> str:
    """Validators' complaints about patterns, in words."""
    if "length >= 1" in error:
        return "empty, and it is wanted"
    if "[!-~]" in error:
        return "must be a serial number: printable ASCII without spaces"
    if "[ -~]" in error:
        return "must be a seal's number: printable ASCII"
    if "A-Za-z0-9_+:/-" in error:
        return "must be a time zone, such as Europe/Lisbon or +08:00"
    if "matching regex" in error:
        return "not of the form that the comment beside it says"
    return ""


def build(
    form: Form,
    checkpoint: Checkpoint,
    *,
    now: datetime,
    photo: Callable[[str], str],
    event: Callable[[str], str],
    on_paper_first: bool = False,
) -> CustodyEvent:
    """The event that `form` says, after `checkpoint`.

    `photo` gives the SHA-256 of a photograph that the form names, `event` the digest of an event by its first digits;
    both may raise errors of sealift. `now`, an aware time, is taken where the form says none. With `on_paper_first` a
    side may have neither key nor photograph. Raises BadInput that names everything that contradicts itself.
    """
    if (
        zone(form.local_timezone) is None and zone("Europe/Lisbon") is not None
    ):  # a host without the database knows none
        raise BadInput(
            f"local_timezone: there is no time zone {form.local_timezone}", hint="like Asia/Singapore, or +08:00"
        )
    values = {
        "consignment_id": form.consignment_id,
        "log_checkpoint": msgspec.structs.asdict(checkpoint),
        "event_type": form.event_type,
        "at_utc": _utc(form.at, now),
        "local_timezone": form.local_timezone,
        "place": form.place,
        "released_by": _party("released_by", form.released_by, photo),
        "received_by": _party("received_by", form.received_by, photo),
        "reason": form.reason,
        "items": [msgspec.structs.asdict(item) for item in form.items],
        "photo_sha256": sorted({photo(each) for each in form.photos}),
        "hash_sample_result": form.hash_sample_result,
        "officer_ref": form.officer_ref,
        "inspection_opened": form.inspection_opened,
        "resolves": sorted({event(each) for each in form.resolves}),
    }
    try:
        made = typed.convert(values, CustodyEvent)
    except msgspec.ValidationError as error:
        raise BadInput(f"the form does not make an event: {error}") from error
    if found := events.faults(made, on_paper_first=on_paper_first):
        raise BadInput(f"the form has {strict.shown(found)}")
    return made


def _utc(text: str, now: datetime) -> str:
    """A time with its offset, in UTC and whole seconds."""
    try:
        at = datetime.fromisoformat(text) if text else now
        if at.tzinfo is None:
            raise ValueError
        return at.astimezone(UTC).strftime(events.TIME)
    except (ValueError, OverflowError) as error:
        raise BadInput(
            f"at: {text[:40]!r} is no time with its offset from UTC", hint="like 2026-11-25T14:30:00+08:00"
        ) from error


def zone(name: str) -> tzinfo | None:
    """The time zone of an offset such as +08:00 or of a name of the IANA database; None when there is none."""
    if found := _OFFSET.fullmatch(name):
        away = timedelta(hours=int(found[2]), minutes=int(found[3]))
        return timezone(-away if found[1] == "-" else away) if away < timedelta(days=1) else None
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _party(where: str, party: FormParty, photo: Callable[[str], str]) -> dict[str, str]:
    key = party.key.strip()
    if key and not _FINGERPRINT.fullmatch(key):
        try:
            key = sshsig.parse_public_key(key).fingerprint
        except KeyInvalid as error:
            raise BadInput(
                f"{where}.key: {error}", hint="a line of a .pub file, or SHA256:... of ssh-keygen -l"
            ) from error
    return {
        "name": party.name,
        "org": party.org,
        "id_kind": party.id_kind,
        "key_fingerprint": key,
        "paper_sha256": photo(party.paper_photo) if party.paper_photo else "",
    }


# --- the empty form --------------------------------------------------------------------------------------

_HEAD = """\
# An event of custody: fill in, then
#   sealift handover LOG --event FILE --declaration DECLARATION --sign-with KEY
# A mistake cannot be taken back: what is recorded stays. It is shown before it is written if anything looks wrong.

type = "sealift-custody-form"
version = 1
consignment_id = {consignment_id}

# seal: a seal is put on, with which the record of a drive begins.  handover: to another person.
# customs_inspection.  load: into a vehicle or a case.  arrive: at the destination, from the carrier to the site.
# unseal: the last seal comes off.  verify: read and compared.  discrepancy: something is not as it should be.
# return: back to whom they came from.
event_type = {event_type}

# When, with the offset from UTC: "2026-11-25T14:30:00+08:00". Empty: now.
at = ""
# Of the place: a name such as "Asia/Singapore", or an offset.
local_timezone = {zone}
# Example: "Changi Airport, terminal 2, goods office"
place = ""
# Why, in one line. Example: "to the airline's courier, as planned". Of a discrepancy: what is not as it should be.
reason = {reason}

# Only of a customs inspection: the officer's or the case's reference, and whether anything was opened. Whoever had the
# drives and has them again stands on both sides; the officer is nobody's side, unless customs keep the drives.
officer_ref = ""
inspection_opened = false
# Of a verification: match or mismatch.
hash_sample_result = "not_taken"
# Photographs: files beside this form, or their SHA-256. Only their SHA-256 is recorded: keep the files.
photos = []
# Events whose discrepancies this one settles, by the first digits that sealift custody shows. Both sides must sign
# with keys, one of them must be named in the declaration and be no carrier, and the drives must be the same; what
# customs opened, only the receiver settles, when the drives came; that drives went on as they might not, only the
# officer whose key signed the release (a discrepancy, alone, is enough). Say in `reason` how.
resolves = []

# Who had the drives until now. For a statement of one person (seal, load, customs_inspection, verify, ...) fill in the
# same on both sides.
[released_by]
name = {name}
org = {org}
# What their name was taken from. Example: "passport", "staff card", "known in person"
id_kind = {id_kind}
# Their SSH public key (a line of a .pub file), or its fingerprint SHA256:...
key = {key}
# Without a key: the photograph of the paper that they signed by hand (sealift handover LOG --paper FILE prints it).
paper_photo = ""

# Who has them from now on.
[received_by]
name = {name}
org = {org}
id_kind = {id_kind}
key = {key}
paper_photo = ""

# One [[items]] for the drives under one seal; take away drives that are not in this event. Read seal numbers off the
# seals. seal_class by ISO 17712: I (indicative), S (security), H (high security), or empty.
# seal_checked, as it was found, before customs or anybody opened it: intact, broken, missing, not_checked, no_seal
# (there was none).
# condition: good, damaged, not_checked.  shock_indicator: none (there is none), clear, tripped.
"""

_ITEM = """\
seal_before = {seal_before}
seal_after = {seal_after}
seal_class = ""
seal_checked = {seal_checked}
condition = {condition}
shock_indicator = "none"
"""


def template(consignment_id: str, zone: str, cases: Sequence[Sequence[str]]) -> str:
    """The empty form, with one [[items]] for the serial numbers of each of `cases`."""
    return _form(consignment_id, zone, cases, {"event_type": "handover"}, {})


def discrepancy(consignment_id: str, cases: Sequence[Sequence[str]], reason: str, who: Mapping[str, str]) -> str:
    """The form of a discrepancy that one person states, filled in but for the place.

    `who`: name, org, and the key's fingerprint. Drives that are not here have no seal that could be read.
    """
    told = {"event_type": "discrepancy", "reason": reason[:_REASON], "id_kind": "signs with the key below", **who}
    nobody_looked = {"seal_before": "not seen", "seal_after": "not seen", "seal_checked": "not_checked"}
    return _form(consignment_id, "UTC", cases, told, {**nobody_looked, "condition": "not_checked"})


def _form(
    consignment_id: str, zone: str, cases: Sequence[Sequence[str]], told: Mapping[str, str], item: Mapping[str, str]
) -> str:
    head = {**dict.fromkeys(("reason", "name", "org", "id_kind", "key"), ""), **told}
    head |= {"consignment_id": consignment_id, "zone": zone}
    below = {**dict.fromkeys(("seal_before", "seal_after", "seal_checked", "condition"), ""), **item}
    lines = [_HEAD.format(**{name: toml_value(value) for name, value in head.items()})]
    rest = _ITEM.format(**{name: toml_value(value) for name, value in below.items()})
    lines += [f"[[items]]\nserials = {toml_value(list(serials))}\n{rest}" for serials in cases]
    return "\n".join(lines)
