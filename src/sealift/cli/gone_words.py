"""What to do where none here has what was signed: a file that every drive carries, a drive that is here twice.

Words alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sealift.drives.base import reason
from sealift.reading.survey_views import AT_ADDRESS, BY_CARD, HOW_MANIFEST, NO_MANIFEST, NOBODYS_PACKS, NOT_ITS_PACKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sealift.stages.verify_report import Fault

SENT_AGAIN = (
    "what is packed again is a shipment of its own: unpack it into a folder of its own, and `cp -an OTHER/. FOLDER/`"
    " puts it beside what unpack restores of this one"
)
_BY_CARD = re.compile(re.escape(BY_CARD) + "g([0-9]{1,6})s")
_DAMAGED = {"missing", "truncated", "extended", "rotten", "unsigned", "non-canonical", "unexpected"}


def of_spare(group: int, path: str, sent: str) -> str:
    """The origin's copy beside the seal is that file."""
    return (
        f"no drive here has {path} of group {group}, and {sent} beside the seal is that file: `sealift repair` with the"
        " same --seal puts it on the drives; nothing of the group is unpacked until then"
    )


def of_signature(group: int, *, missing: bool) -> str:
    """No drive here has the signature of a manifest that the seal names; `missing`: drives of the group are."""
    first = "mount another drive of the group; or " if missing else ""
    return (
        f"no drive here has the signature of group {group}, whose manifest is the one that the seal names, so that it"
        f" is read and unpacked all the same: {first}put manifest.json.sig as the origin keeps it (in its state folder,"
        f" groups/{group:04d}/closed/) into sealift/ on one of the drives; then `sealift repair MNT...` proves it and"
        " puts it on the others"
    )


def lacks_seal(faults: Iterable[Fault]) -> list[str]:
    """The files of the seal that are wrong on drives here: where no seal holds, on all of them."""
    return sorted({fault.path for fault in faults if fault.path is not None and fault.path.startswith("seal/")})


def of_seal(faults: Iterable[Fault]) -> str:
    """Where it is to be had."""
    wrong = lacks_seal(faults)
    of = f" ({', '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} lacking or damaged)" if wrong else ""
    return f"no drive here has the whole seal{of}: give the file that was sent ahead (--seal FILE)"


def is_nobodys(fault: Fault) -> bool:
    """Whether a place has packs of which nothing here says what they should be: their group's manifest is not here."""
    return fault.detail == NOBODYS_PACKS or fault.detail.endswith(NO_MANIFEST)


def of_nobodys(faults: Iterable[Fault]) -> Iterator[str]:
    """A line for each group of such places; of those that do not say of which they are, one."""
    places: dict[str, list[str]] = {}
    for fault in filter(is_nobodys, faults):
        told = _BY_CARD.match(fault.detail)
        group = f"{int(told[1]):04d}" if told else "GROUP"
        places.setdefault(f"groups/{group}/closed/", []).append(fault.mount or fault.drive)
    for folder, mounts in places.items():
        where = ", ".join(mounts[:5]) + f" and {len(mounts) - 5:,} others" * (len(mounts) > 5)
        yield f"of {where} {HOW_MANIFEST.format(folder=folder)}"


def of_strange(where: str, path: str, *, no_file: bool) -> str:
    """A folder to which packs were brought, and in which none is one of these groups as it was signed."""
    if no_file:
        return f"bring what is at {where} as a file: sealift/{path} is a link, or no file; links are not followed"
    return f"bring what is at {where} once more: its packs are rotten, or not of this shipment"


def of_no_drive(where: str, why: str) -> str:
    """A place that was given, and in which there is no drive of sealift; `why` as the fault's detail has it."""
    if why.endswith("nothing is mounted there"):
        return f"leave {where} away, or mount the drive that belongs there: nothing is mounted"
    if AT_ADDRESS in why:
        return f"leave {where} away, or give the address of a drive: `sealift serve` says each at its start"
    return f"leave {where} away: there is no drive of sealift (`sealift repair --onto` makes one of an empty drive)"


def is_silent(fault: Fault) -> bool:
    """Whether a place does not even say which drive is there, or whether one is: it does not read."""
    return fault.kind == "unreadable" and fault.drive == fault.mount


def of_silent(faults: Iterable[Fault]) -> Iterator[str]:
    """A line for each such place, of what it did not give first."""
    first: dict[str, Fault] = {}
    for fault in filter(is_silent, faults):
        first.setdefault(fault.drive, fault)
    for where, fault in first.items():
        yield (
            f"{where} cannot be read: {reason(fault.detail, where)}. see `dmesg`, its cable and bay, and run the same "
            "command again; if it stays so, leave it away: what is on it is then one more drive that is missing"
        )


def unidentified(faults: Iterable[Fault]) -> set[str]:
    """The mounts of which nothing tells which drive is there: small files and packs are damaged, or contradict."""
    told: dict[str, list[Fault]] = {}
    for fault in faults:
        told.setdefault(fault.mount or "", []).append(fault)
    return {
        mount
        for mount, here in told.items()
        if all(each.drive == mount and each.kind in _DAMAGED and each.path for each in here)
        and any(each.path == "drive.json" or each.detail.endswith(NOT_ITS_PACKS) for each in here)
        and not any(map(is_nobodys, here))
        and not any(each.path == "manifest.json" and each.kind == "missing" for each in here)
    }


def of_unidentified(where: str, *, missing: bool, lost: bool) -> str:
    """Such a mount; `missing`: drives are, and it may be one of them; `lost`: not enough is here to make one anew."""
    then = ": no drive is missing without it"
    if missing:
        then = ": its drive is then one that is missing"
        new = ", and `sealift repair --onto MNT` makes that anew on an empty drive, or on this one when it was emptied"
        then += "" if lost else new
    return f"nothing on {where} tells which drive it is, so much of it is damaged. leave it away{then}"


def of_failing(who: str) -> str:
    """A drive that says which it is, and that did not give all that was asked of it: its medium fails."""
    first = "see `dmesg`, its cable and bay"
    return f"{who}: not all of it read. {first}, then the same command again: what reads then counts"


def of_twins(faults: Iterable[Fault]) -> Iterator[str]:
    """A line for each drive that is here more than once, and nowhere whole: its faults are `conflict`."""
    twins: dict[str, list[Fault]] = {}
    for fault in faults:
        twins.setdefault(fault.drive, []).append(fault)
    for drive, told in twins.items():
        if len(told) > 1:
            yield (
                f"{drive} is here more than once ({', '.join(each.mount or '' for each in told)}), and nowhere as it"
                " was signed: `sealift repair` of all that is here mends the one that lacks less, and says which to"
                " pull then; where nobody knows how there came to be two, ask the origin which serial number is right"
            )
        else:
            yield (
                f"{drive} is here more than once ({told[0].mount}, {told[0].detail}): pull what was not packed as it,"
                " or has more amiss, and run the same command again; where nobody knows how there came to be two, ask"
                " the origin which serial number is right"
            )


def of_gone(group: int, path: str, sent: str, *, missing: bool) -> str:
    """It is nowhere here; `sent`: its name beside the seal, "" for packs.bin and blocks.bin. `missing`: drives are."""
    first = "mount another drive of the group; or " if missing else ""
    if sent:
        return (
            f"no drive here has {path} of group {group}, and nothing of the group is unpacked without it: {first}"
            f"ask the origin for {sent}, which it sent ahead beside the seal; put it beside the seal file, and give"
            " that: `sealift repair MNT... --seal FILE`"
        )
    without = "no pack can be told to be whole" if path == "packs.bin" else "nothing that is damaged is rebuilt"
    return (
        f"no drive here has all of {path} of group {group}, and without it {without}: {first}"
        f"put a copy as sealift/{path} on one of the drives (the origin keeps one in its state folder, "
        f"groups/{group:04d}/closed/{path}); then `sealift repair MNT...` proves it and puts it on the others"
    )
