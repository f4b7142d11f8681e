"""The ways in which a drive is erased, and what of the drive itself says that it is done.

    technique               reaches  asks                                  is done when the drive says
    overwrite               clear    zeros over every byte, and a flush    that it has every write, and the flush
    discard                 clear    TRIM, DEALLOCATE or UNMAP of it all   nothing: so every byte is read back, as zero
    ata-security-erase      clear    hdparm --security-erase(-enhanced)    IDENTIFY: its password is gone again
    ata-sanitize-...        purge    hdparm --sanitize-...                 SANITIZE STATUS: completed without error
    nvme-sanitize-...       purge    nvme sanitize                         its log: completed, by this action

What holds: a command that returned is not a drive that is erased. `run` ends only with the drive's own word, polled
where it works on by itself, and otherwise with DriveFault. Clear is as far as an overwrite goes; for Purge, IEEE 2883
and SP 800-88 Rev. 2 want a drive's own sanitize operation. An ATA security erase is not counted as one: what it reaches
is the maker's to say. `nvme format` is not used at all: with SES=0 it erases nothing and says success.

`prepare` looks whether the drive can be asked now, waits for a sanitize operation that is in progress (of an erase that
was interrupted: the drive goes on by itself), and opens what an interrupted security erase has locked. What is not
here: whether it worked (readback.py), and whether it may be done.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

import msgspec

from sealift.drives.base import aligned_buffer
from sealift.drives.device import DEVICE
from sealift.errors import DriveFault, FormatError
from sealift.formats import sanitize as said

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealift.drives.device import Answer, Device
    from sealift.trade.certificate import Method, TechniqueName

PASSWORD = "sealift"  # noqa: S105 -- of an ATA security erase; it must be known where one was interrupted
QUICK = 60.0  # seconds that a command gets which only asks or begins
POLL = 2.0  # seconds between two looks at a drive that works by itself
_SLOWEST = 30.0  # of these looks, of an operation that takes hours
STILL = 6 * 3600.0  # seconds without any progress, after which a drive is given up
GRACE = 10.0  # seconds in which a drive must have begun
_CHUNK = 4 << 20  # bytes of a write
_DISCARDED = 1 << 30  # bytes of a discard
_SAID_ONLY = "it said success, and did not erase"

Family = Literal["nvme", "ata", "other"]
T = TypeVar("T")


class Completion(NamedTuple):
    """What confirmed it, and in which words."""

    confirmed_by: str
    answer: str


@dataclass(frozen=True)
class Technique:
    """One way. `zeros`: what is left; otherwise anything may be. `whole`: it counts only if everything is read back."""

    name: TechniqueName
    method: Method
    standard: str
    tool: str  # whose version is noted; "": this program's
    words: tuple[str, ...]  # of the command that erases, as it is shown
    zeros: bool
    whole: bool = False


class Abilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a drive can be asked, best first; `why` what it cannot, in words."""

    family: Family
    techniques: list[str]
    why: list[str]
    enhanced: bool = False  # of a security erase
    serial: str | None = None  # as the drive tells it, without anybody between


_PURGE = "NIST SP 800-88 Rev. 2, Purge; IEEE Std 2883-2022"
_CLEAR = "NIST SP 800-88 Rev. 2, Clear; IEEE Std 2883-2022"
_NVME = {
    "nvme-sanitize-block": said.BLOCK, "nvme-sanitize-crypto": said.CRYPTO, "nvme-sanitize-overwrite": said.OVERWRITE,
}  # fmt: skip
_ATA = {
    "ata-sanitize-block": ("--sanitize-block-erase",),
    "ata-sanitize-crypto": ("--sanitize-crypto-scramble",),
    "ata-sanitize-overwrite": ("--sanitize-overwrite-passes", "1", "--sanitize-overwrite", "hex:00000000"),
}
TECHNIQUES: dict[str, Technique] = {
    each.name: each
    for each in (
        Technique(
            "nvme-sanitize-block", "purge", _PURGE, "nvme", ("nvme", "sanitize", DEVICE, "--sanact=2"), zeros=False
        ),
        Technique(
            "nvme-sanitize-crypto", "purge", _PURGE, "nvme", ("nvme", "sanitize", DEVICE, "--sanact=4"), zeros=False
        ),
        Technique(
            "nvme-sanitize-overwrite", "purge", _PURGE, "nvme",
            ("nvme", "sanitize", DEVICE, "--sanact=3", "--owpass=1", "--ovrpat=0"), zeros=True,
        ),
        *(
            Technique(
                name, "purge", _PURGE, "hdparm",  # type: ignore[arg-type]
                ("hdparm", "--yes-i-know-what-i-am-doing", *words, DEVICE), zeros=name == "ata-sanitize-overwrite",
            )
            for name, words in _ATA.items()
        ),
        Technique("overwrite", "clear", _CLEAR, "", (), zeros=True),
        Technique(
            "ata-security-erase", "clear", _CLEAR, "hdparm",
            ("hdparm", "--user-master", "u", "--security-erase", PASSWORD, DEVICE), zeros=False,
        ),
        Technique("discard", "clear", "NIST SP 800-88 Rev. 2, Clear", "", (), zeros=True, whole=True),
    )
}  # fmt: skip


# --- what a drive can do ---------------------------------------------------------------------------------


def abilities(device: Device, family: Family, *, discards: bool) -> Abilities:
    """What can be asked of the drive: only questions. Where it cannot be asked, it can still be written."""
    why = ["no sanitize operation is known of this kind of drive here"]
    try:
        if family == "nvme":
            return _nvme_abilities(controller(device), discards=discards)
        if family == "ata":
            return _ata_abilities(identity(device), discards=discards)
    except DriveFault as error:
        why = [str(error)]
    return Abilities(family=family, techniques=_clears(discards=discards), why=why)


def _clears(*, discards: bool) -> list[str]:
    return ["overwrite", *(["discard"] if discards else [])]


def _nvme_abilities(found: said.Controller, *, discards: bool) -> Abilities:
    can = {"block": found.block, "crypto": found.crypto, "overwrite": found.overwrite}
    names = [f"nvme-sanitize-{name}" for name, able in can.items() if able]
    why = [] if names else ["it has no sanitize operation (SANICAP is 0)"]
    return Abilities(family="nvme", techniques=[*names, *_clears(discards=discards)], why=why, serial=found.serial)


def _ata_abilities(found: said.Identity, *, discards: bool) -> Abilities:
    can = {"block": found.block, "crypto": found.crypto, "overwrite": found.overwrite}
    names = [f"ata-sanitize-{name}" for name, able in can.items() if able and found.sanitize]
    why = [] if names else ["it has no sanitize operation (IDENTIFY DEVICE, word 59)"]
    clears = _clears(discards=discards)
    if found.security and not found.frozen:
        clears.append("ata-security-erase")
    elif found.frozen:
        why.append("its security is frozen: the firmware of this host did that; plugging the drive in again ends it")
    return Abilities(
        family="ata", techniques=[*names, *clears], why=why, enhanced=found.enhanced, serial=found.serial
    )  # fmt: skip


def words(technique: Technique, can: Abilities) -> tuple[str, ...]:
    """The command that erases, as it is given to this drive; none where this program does it by itself."""
    enhanced = technique.name == "ata-security-erase" and can.enhanced
    return tuple("--security-erase-enhanced" if enhanced and w == "--security-erase" else w for w in technique.words)


def version(device: Device, technique: Technique) -> str | None:
    """The first number that the technique's tool says as its version; None: it has none, or says none."""
    if not technique.tool:
        return None
    answer = device.command(technique.tool, "version" if technique.tool == "nvme" else "-V", seconds=QUICK)
    found = [word for word in answer.output.decode(errors="replace").split() if word.strip("v")[:1].isdigit()]
    return found[0].strip("v")[:100] if found else None


# --- asking ----------------------------------------------------------------------------------------------


def controller(device: Device) -> said.Controller:
    """Identify Controller. DriveFault."""
    answer = _asked(device, "nvme", "id-ctrl", DEVICE, "--raw-binary")
    return _parsed(device, said.parse_controller, answer)


def sanitize_log(device: Device) -> said.SanitizeLog:
    """The log page of sanitize operations. DriveFault."""
    answer = _asked(device, "nvme", "sanitize-log", DEVICE, "--raw-binary")
    return _parsed(device, said.parse_sanitize_log, answer)


def identity(device: Device) -> said.Identity:
    """IDENTIFY DEVICE. DriveFault."""
    return _parsed(device, said.parse_identify, _asked(device, "hdparm", "--Istdout", DEVICE))


def sanitize_status(device: Device) -> said.SanitizeStatus:
    """SANITIZE STATUS EXT. DriveFault, also where the drive says that the last one failed."""
    return _parsed(device, said.parse_sanitize_status, _asked(device, "hdparm", "--sanitize-status", DEVICE))


def _asked(device: Device, *command: str, seconds: float = QUICK, hint: str | None = None) -> Answer:
    answer = device.command(*command, seconds=seconds)
    if answer.code != 0:
        shown = " ".join(word for word in command if word != DEVICE)
        raise DriveFault(f"{device.node}: {shown}: {answer.why}", drive=device.node, hint=hint)
    return answer


def _parsed(device: Device, parse: Callable[[bytes], T], answer: Answer) -> T:
    try:
        return parse(answer.output)
    except FormatError as error:
        raise DriveFault(f"{device.node}: {error}", drive=device.node) from error


# --- before ----------------------------------------------------------------------------------------------


def prepare(device: Device, technique: Technique, say: Callable[[float], None], *, pause: float = POLL) -> None:
    """Whether the drive takes writes and the command now; see above. DriveFault."""
    if technique.tool == "nvme":
        _settle_nvme(device, say, pause)
    elif technique.tool == "hdparm":
        _settle_ata(device, technique, say, pause)


def _settle_nvme(device: Device, say: Callable[[float], None], pause: float) -> None:
    patience = _Patience(device, pause)
    while (log := sanitize_log(device)).status == said.IN_PROGRESS:
        patience.look(log.progress)
        say(log.progress / said.WHOLE)
        patience.wait()
    if log.status == said.FAILED:
        raise DriveFault(
            f"{device.node}: its last sanitize operation failed, and it takes no writes until one succeeds",
            drive=device.node,
            hint="ask its maker, or destroy it; `nvme sanitize` by hand may end this state",
        )


def _settle_ata(device: Device, technique: Technique, say: Callable[[float], None], pause: float) -> None:
    if technique.name in _ATA:
        patience = _Patience(device, pause)
        while (status := sanitize_status(device)).state == "SD2":
            patience.look(status.progress)
            say(status.progress / said.WHOLE)
            patience.wait()
        if status.state == "SD1":
            raise DriveFault(
                f"{device.node}: its sanitize operations are frozen until it loses power", drive=device.node
            )
    now = identity(device)
    if now.enabled and not now.expired:
        hint = "it has a password that is not sealift's; whoever set it must remove it"
        if now.locked:
            _asked(device, "hdparm", "--user-master", "u", "--security-unlock", PASSWORD, DEVICE, hint=hint)
        _asked(device, "hdparm", "--user-master", "u", "--security-disable", PASSWORD, DEVICE, hint=hint)


class _Patience:
    """Looks at a working drive less and less often, and gives one up that makes no progress for STILL seconds."""

    def __init__(self, device: Device, pause: float) -> None:
        self._device, self._pause = device, pause
        self._progress, self._since = -1, time.monotonic()
        self.begun = self._since

    def wait(self) -> None:
        time.sleep(max(self._pause, min(_SLOWEST, (time.monotonic() - self.begun) / 50)))

    def look(self, progress: int) -> None:
        now = time.monotonic()
        if progress != self._progress:
            self._progress, self._since = progress, now
        elif now - self._since > STILL:
            raise DriveFault(
                f"{self._device.node}: its sanitize operation makes no progress at {progress / said.WHOLE:.0%}",
                drive=self._device.node,
            )


# --- erasing ---------------------------------------------------------------------------------------------


def run(
    device: Device, technique: Technique, can: Abilities, say: Callable[[float], None], *, pause: float = POLL
) -> Completion:
    """Erase; what the drive says of it. DriveFault: it does not say that it is done."""
    if technique.name == "overwrite":
        return _overwrite(device, say)
    if technique.name == "discard":
        return _discard(device, say)
    if technique.name == "ata-security-erase":
        return _security_erase(device, technique, can, say)
    if technique.name in _ATA:
        return _sanitize_ata(device, technique, say, pause)
    return _sanitize_nvme(device, technique, say, pause)


def _overwrite(device: Device, say: Callable[[float], None]) -> Completion:
    zeros = aligned_buffer(_CHUNK)
    count = 0
    for offset in range(0, device.size, _CHUNK):
        device.write(offset, zeros[: min(_CHUNK, device.size - offset)])
        count += 1
        say(min(1.0, (offset + _CHUNK) / device.size))
    device.flush()
    return Completion(
        "the drive", f"{count:,} writes of {device.size:,} bytes in all, and the flush after them, were done"
    )


def _discard(device: Device, say: Callable[[float], None]) -> Completion:
    for offset in range(0, device.size, _DISCARDED):
        device.discard(offset, min(_DISCARDED, device.size - offset))
        say(min(1.0, (offset + _DISCARDED) / device.size))
    device.flush()
    return Completion(
        "reading it back as a whole", f"{device.size:,} bytes were discarded, and every one reads as zero"
    )


def _security_erase(device: Device, technique: Technique, can: Abilities, say: Callable[[float], None]) -> Completion:
    before = identity(device)
    if before.frozen or before.expired or not before.security:
        raise DriveFault(f"{device.node}: its security is frozen, expired or not there", drive=device.node)
    stated = (before.enhanced_minutes if can.enhanced else before.minutes) or 12 * 60
    _asked(device, "hdparm", "--user-master", "u", "--security-set-pass", PASSWORD, DEVICE)
    answer = device.command(
        *words(technique, can),
        seconds=60.0 * (2 * stated + 60),
        beat=lambda seconds: say(min(0.99, seconds / (60.0 * stated))),
    )
    if answer.code != 0:
        raise DriveFault(
            f"{device.node}: the security erase failed: {answer.why}",
            drive=device.node,
            hint=f'the drive is locked with the password "{PASSWORD}" now; the same command again opens it',
        )
    if identity(device).enabled:
        raise DriveFault(
            f"{device.node}: {_SAID_ONLY}: the password is still set, which a security erase takes away",
            drive=device.node,
        )
    return Completion(
        "IDENTIFY DEVICE, word 128", "the password that was set for the erase is gone: security not enabled"
    )


def _sanitize_ata(device: Device, technique: Technique, say: Callable[[float], None], pause: float) -> Completion:
    _asked(device, *technique.words)
    seen, patience = False, _Patience(device, pause)
    while True:
        status = sanitize_status(device)
        if status.state == "SD2":
            seen = True
            patience.look(status.progress)
            say(status.progress / said.WHOLE)
        elif status.state == "SD0" and status.completed:
            watched = "in process, then" if seen else "after the command began it"
            return Completion("SANITIZE STATUS EXT", f"{watched}: {status.state}, completed without error")
        elif status.state != "SD0" or time.monotonic() - patience.begun > GRACE:
            raise DriveFault(
                f"{device.node}: {_SAID_ONLY}: its state is {status.state}, not completed", drive=device.node
            )
        patience.wait()


def _sanitize_nvme(device: Device, technique: Technique, say: Callable[[float], None], pause: float) -> Completion:
    _asked(device, *technique.words, *_force(device))
    seen, patience = False, _Patience(device, pause)
    while True:
        log = sanitize_log(device)
        if log.status == said.IN_PROGRESS:
            seen = True
            patience.look(log.progress)
            say(log.progress / said.WHOLE)
        elif log.status == said.FAILED:
            raise DriveFault(f"{device.node}: its log says that the sanitize operation failed", drive=device.node)
        elif log.status != said.NEVER and log.action == _NVME[technique.name] and (seen or log.global_data_erased):
            # seen, or nothing written since: the markers were, so this is not the log of an earlier one
            return Completion("the sanitize status log", _log_text(log, seen=seen))
        elif time.monotonic() - patience.begun > GRACE:
            raise DriveFault(
                f"{device.node}: {_SAID_ONLY}: its log is {_log_text(log, seen=seen)}, of none that was asked now",
                drive=device.node,
            )
        patience.wait()


def _log_text(log: said.SanitizeLog, *, seen: bool) -> str:
    state = ("never sanitized", "completed", "in progress", "failed", "completed, with deallocation")[log.status]
    erased = ", nothing written since" if log.global_data_erased else ""
    return f"SSTAT {log.status} ({state}{erased}), SANACT {log.action}" + (", seen in progress" if seen else "")


def _force(device: Device) -> tuple[str, ...]:
    """Later versions of nvme-cli open the drive for themselves alone, which we do already, unless they are told."""
    answer = device.command("nvme", "sanitize", "--help", seconds=QUICK)
    return ("--force",) if b"--force" in answer.output + answer.errors else ()
