"""What `smartctl --json --info --health --attributes` says of a drive's health: bytes in, a Health out.

What holds: whatever the bytes are, a Health comes out or FormatError does. The verdict is `failing` where the drive
says so itself, or one of its own limits is crossed now; `doubtful` where it has counted what drives that fail soon
count first, or is worn out; `good` where it says so and none of that holds; `unknown` with the reason otherwise, never
a guess. ATA, NVMe and SCSI (SAS) are read. Counts are as the drive gives them; what differs between makers
(Raw_Read_Error_Rate and the like) is not judged.

What is not here: asking (drives/block.py).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from sealift.errors import FormatError
from sealift.formats.block_tools import decode_object, text

Verdict = Literal["good", "doubtful", "failing", "unknown"]
MAX_SMART = 1 << 20  # bytes of smartctl's output
_FAILING = 0x08  # bit of smartctl's exit status: the drive says that it fails
_ATA = {5: "reallocated", 187: "uncorrected", 197: "pending", 198: "uncorrectable", 199: "crc_errors"}
_WORDS = {
    "reallocated": "reallocated sectors",
    "uncorrected": "errors that were not corrected",
    "pending": "sectors that cannot be read",
    "uncorrectable": "sectors that a scan could not read",
    "media_errors": "media errors",
    "grown_defects": "grown defects",
}


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What a drive says of itself. `counts` are of events since it was made."""

    verdict: Verdict
    why: str = ""  # one sentence; empty where it is good
    temperature: int | None = None  # degrees Celsius
    hours: int | None = None  # powered on
    used_percent: int | None = None  # of its life of writing; over 100 is possible
    counts: dict[str, int] = {}


def unknown(why: str) -> Health:
    """Nobody could say, and why."""
    return Health(verdict="unknown", why=why)


def parse(data: bytes) -> Health:
    """A Health of smartctl's JSON. FormatError."""
    if len(data) > MAX_SMART:
        raise FormatError(f"smartctl printed {len(data):,} bytes; at most {MAX_SMART:,} are read")
    found = decode_object(data, "smartctl")
    nvme = _table(found.get("nvme_smart_health_information_log"))
    counts = {**_ata_counts(found), **_nvme_counts(nvme), **_scsi_counts(found)}
    hours = _number(_table(found.get("power_on_time")).get("hours"))
    temperature = _number(_table(found.get("temperature")).get("current"), low=-100, high=300)
    used = _number(nvme.get("percentage_used"), high=1000)
    if used is None:
        used = _number(found.get("scsi_percentage_used_endurance_indicator"), high=1000)
    verdict, why = _verdict(found, nvme, counts, used)
    return Health(verdict=verdict, why=why, temperature=temperature, hours=hours, used_percent=used, counts=counts)


def _verdict(
    found: dict[str, Any], nvme: dict[str, Any], counts: dict[str, int], used: int | None
) -> tuple[Verdict, str]:
    passed = _table(found.get("smart_status")).get("passed")
    status = _number(_table(found.get("smartctl")).get("exit_status")) or 0
    if passed is False or (status & _FAILING and not status & 0x03):
        return "failing", "the drive says of itself that it is failing" + _below(found)
    if warning := _number(nvme.get("critical_warning")):
        return "failing", f"the drive gives a critical warning (0x{warning:02x})"
    if below := _below(found):
        return "failing", f"the drive crosses a limit of its own{below}"
    if passed is not True:
        return "unknown", _message(found) or "the drive says nothing of its health"
    bad = [f"{counts[name]:,} {words}" for name, words in _WORDS.items() if counts.get(name)]
    if used is not None and used >= 100:
        bad.append(f"{used}% of its life of writing is used")
    return ("doubtful", ", ".join(bad)) if bad else ("good", "")


def _below(found: dict[str, Any]) -> str:
    """The attributes that are below their limit now: `: NAME, NAME`."""
    names = [text(row.get("name"), 64) for row in _attributes(found) if row.get("when_failed") == "now"]
    listed = [name for name in names if name]
    return f": {', '.join(listed[:5])}" if listed else ""


def _message(found: dict[str, Any]) -> str | None:
    """The first thing that smartctl complains of, without the device's name before it."""
    rows = _table(found.get("smartctl")).get("messages")
    for row in rows[:10] if isinstance(rows, list) else []:
        words = text(_table(row).get("string"))
        if words:
            return f"smartctl: {words.partition(': ')[2] if words.startswith('/dev/') else words}"
    return None


def _ata_counts(found: dict[str, Any]) -> dict[str, int]:
    counts = {}
    for row in _attributes(found):
        number, value = _number(row.get("id")), _number(_table(row.get("raw")).get("value"))
        if number in _ATA and value is not None:
            counts[_ATA[number]] = value
    return counts


def _nvme_counts(nvme: dict[str, Any]) -> dict[str, int]:
    value = _number(nvme.get("media_errors"))
    return {} if value is None else {"media_errors": value}


def _scsi_counts(found: dict[str, Any]) -> dict[str, int]:
    counts = {}
    grown = _number(found.get("scsi_grown_defect_list"))
    if grown is not None:
        counts["grown_defects"] = grown
    log = _table(found.get("scsi_error_counter_log"))
    totals = [_number(_table(row).get("total_uncorrected_errors")) for row in log.values()]
    if listed := [total for total in totals if total is not None]:
        counts["uncorrected"] = sum(listed)
    return counts


def _attributes(found: dict[str, Any]) -> list[dict[str, Any]]:
    table = _table(found.get("ata_smart_attributes")).get("table")
    return [_table(row) for row in table[:256]] if isinstance(table, list) else []


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any, *, low: int = 0, high: int = 1 << 62) -> int | None:
    return value if type(value) is int and low <= value <= high else None
