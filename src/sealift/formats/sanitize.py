"""What nvme-cli and hdparm say of a drive's own means of erasing: bytes in, records out.

What holds: whatever the bytes are, a record comes out or FormatError does. Where a tool can print what the drive said,
and not its own words for it, that is read: it is as the specification lays it out, whatever the tool's version.

    nvme id-ctrl --raw-binary        parse_controller       NVM Express base specification 2.0, figure 275
    nvme sanitize-log --raw-binary   parse_sanitize_log     the same, figure 291 (log page 81h)
    hdparm --Istdout                 parse_identify         ATA/ATAPI Command Set 4, IDENTIFY DEVICE
    hdparm --sanitize-status         parse_sanitize_status  hdparm 9.65, do_sanitize_cmd: its own words

What is not here: asking (drives/device.py), and what follows from an answer (drives/sanitize.py).
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from sealift.errors import FormatError
from sealift.formats.block_tools import text

CONTROLLER_BYTES = 4096
LOG_BYTES = 512
MAX_TEXT_OUTPUT = 64 << 10  # of hdparm
_WORDS = 256  # of IDENTIFY DEVICE
_WORD = re.compile(r"[0-9a-f]{4}", re.ASCII)
_PROGRESS = re.compile(r"^\s*Progress:\s*0x([0-9a-fA-F]{1,4})\b", re.MULTILINE | re.ASCII)
_STATE = re.compile(r"^\s*State:\s*(SD[0-9]) ", re.MULTILINE | re.ASCII)

NEVER, COMPLETED, IN_PROGRESS, FAILED, COMPLETED_DEALLOCATED = range(5)  # SSTAT bits 2:0
EXIT_FAILURE, BLOCK, OVERWRITE, CRYPTO = 1, 2, 3, 4  # SANACT, bits 2:0 of the command's dword 10
WHOLE = 1 << 16  # denominator of SPROG, and of ATA's progress


class Controller(NamedTuple):
    """Identify Controller: what can be asked of an NVMe drive (SANICAP)."""

    serial: str | None
    model: str | None
    firmware: str | None
    crypto: bool
    block: bool
    overwrite: bool


class SanitizeLog(NamedTuple):
    """The Sanitize Status log page; `progress` counts to WHOLE, and is of an operation in progress only."""

    status: int
    progress: int
    action: int  # of the command that began the last one
    global_data_erased: bool  # nothing was written since the last one that succeeded


class Identity(NamedTuple):
    """IDENTIFY DEVICE: what can be asked of an ATA drive, and whether its security is in the way."""

    serial: str | None
    model: str | None
    firmware: str | None
    sanitize: bool
    crypto: bool
    overwrite: bool
    block: bool
    security: bool  # supported, as what follows
    enabled: bool  # a password is set
    locked: bool
    frozen: bool
    expired: bool  # too many wrong passwords since power came on
    enhanced: bool
    minutes: int | None  # that a security erase takes, as the drive says; None: it says nothing
    enhanced_minutes: int | None


class SanitizeStatus(NamedTuple):
    """SANITIZE STATUS EXT, in hdparm's words."""

    state: str  # SD0 idle, SD1 frozen, SD2 in process, SD3 failed
    progress: int  # of WHOLE
    completed: bool  # the last one, whenever that was, ended without error


def parse_controller(data: bytes) -> Controller:
    """Of the 4096 bytes of Identify Controller. FormatError."""
    if len(data) != CONTROLLER_BYTES:
        raise FormatError(f"nvme id-ctrl gave {len(data):,} bytes; {CONTROLLER_BYTES:,} are wanted")
    (capabilities,) = struct.unpack_from("<I", data, 328)
    return Controller(
        serial=_ascii(data[4:24]),
        model=_ascii(data[24:64]),
        firmware=_ascii(data[64:72]),
        crypto=bool(capabilities & 1),
        block=bool(capabilities & 2),
        overwrite=bool(capabilities & 4),
    )


def parse_sanitize_log(data: bytes) -> SanitizeLog:
    """Of the 512 bytes of the log page. FormatError: another length, or a status that no specification knows."""
    if len(data) != LOG_BYTES:
        raise FormatError(f"nvme sanitize-log gave {len(data):,} bytes; {LOG_BYTES:,} are wanted")
    progress, status, command = struct.unpack_from("<HHI", data)
    if status & 7 > COMPLETED_DEALLOCATED:
        raise FormatError(f"nvme sanitize-log gave the status {status & 7}, which means nothing")
    return SanitizeLog(
        status=status & 7,
        progress=progress,
        action=command & 7,
        global_data_erased=bool(status & 0x100),
    )


def parse_identify(data: bytes) -> Identity:
    """Of the 256 words that hdparm prints in hexadecimal. FormatError."""
    words = [int(word, 16) for word in _tokens(data) if _WORD.fullmatch(word)]
    if len(words) != _WORDS:
        raise FormatError(f"hdparm --Istdout gave {len(words):,} words; {_WORDS} are wanted")
    sanitize, security = words[59], words[128] if words[128] & 1 else 0
    return Identity(
        serial=_swapped(words[10:20]),
        model=_swapped(words[27:47]),
        firmware=_swapped(words[23:27]),
        sanitize=bool(sanitize & 1 << 12),
        crypto=bool(sanitize & 1 << 13),
        overwrite=bool(sanitize & 1 << 14),
        block=bool(sanitize & 1 << 15),
        security=bool(security & 1),
        enabled=bool(security & 2),
        locked=bool(security & 4),
        frozen=bool(security & 8),
        expired=bool(security & 16),
        enhanced=bool(security & 32),
        minutes=_minutes(words[89]),
        enhanced_minutes=_minutes(words[90]),
    )


def parse_sanitize_status(data: bytes) -> SanitizeStatus:
    """Of hdparm's text. FormatError where it names no state."""
    words = _text(data)
    states = _STATE.findall(words)
    if len(states) != 1:
        raise FormatError("hdparm --sanitize-status named no state")
    progress = _PROGRESS.search(words)
    return SanitizeStatus(
        state=states[0],
        progress=int(progress[1], 16) if progress else 0,
        completed="Last Sanitize Operation Completed Without Error" in words,
    )


def _minutes(word: int) -> int | None:
    """Words 89 and 90: in units of two minutes; 255 (of seven bits: 32767 where bit 15 is set) is "more than"."""
    count = word & 0x7FFF if word & 0x8000 else word & 0xFF
    return 2 * count or None


def _swapped(words: list[int]) -> str | None:
    """ATA's strings: two characters a word, the first in its upper half."""
    return _ascii(b"".join(struct.pack(">H", word) for word in words))


def _ascii(field: bytes) -> str | None:
    return text(field.decode("ascii", "replace"))


def _tokens(data: bytes) -> list[str]:
    return [token for line in _text(data).split("\n") if not line.startswith("/") for token in line.split()]


def _text(data: bytes) -> str:
    if len(data) > MAX_TEXT_OUTPUT:
        raise FormatError(f"hdparm printed {len(data):,} bytes; at most {MAX_TEXT_OUTPUT:,} are read")
    return data.decode("ascii", "replace")
