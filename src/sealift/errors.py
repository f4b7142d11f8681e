"""Every error sealift raises on purpose, with its exit code and hint.

    SealiftError                 1   base; an instance says what, where and what is still safe
    ├── BadInput                 1   an argument or a file of the user's that cannot be used
    │   ├── KeyInvalid           1   a recipient, identity or SSH key that does not parse
    │   └── DeclarationInvalid   1   a declaration that does not parse or is not complete (.problems)
    ├── Busy                     1   another process works on this state, drive or target
    ├── DriveFault               3   a drive failed, filled up or went away; it says what is safe (.drive)
    ├── SourceFault              3   the store that is packed from failed, or gave what it should not have
    ├── FormatError              4   bytes that are not what docs/spec/ says they are
    │   └── AgeError             4   an age file that the age specification rejects
    ├── Lost                     4   something cannot be recovered from what is here
    │   └── Unreached            6   a host that does not answer has it: nothing is known to be lost
    ├── Refused                  5   a signature, seal, declaration or gate does not hold
    │   ├── SignatureInvalid     5
    │   ├── SealInvalid          5
    │   ├── IdentityMismatch     5   none of the identities opens this file
    │   └── UnlockInvalid        5   issued keys that do not hold for what is read
    ├── NotAllHere               6   more drives are needed; run again with the next ones
    └── Interrupted            130   stopped by Ctrl-C or SIGTERM; the same command goes on

Exit codes that are no error (2: done, but some source files changed or were skipped; 3: damaged, all
recoverable) are returned by the commands themselves. No other exception crosses the edge of the package:
cli/main.py maps these once, and a test holds that no dependency's exception leaks.
"""

from __future__ import annotations

from typing import Any


class SealiftError(Exception):
    """Base of all errors; `hint` says what to do next."""

    exit_code = 1
    hint: str | None = None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors cross process borders whole, whatever their constructors want."""
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[SealiftError], args: tuple[Any, ...], fields: dict[str, Any]) -> SealiftError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error


class BadInput(SealiftError):
    """An argument or a file of the user's that cannot be used."""


class KeyInvalid(BadInput):
    """A recipient, identity or SSH key that does not parse."""


class DeclarationInvalid(BadInput):
    """A declaration that does not parse or is not complete; `problems` names every field at once."""

    def __init__(self, message: str, *, problems: list[str] | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.problems = problems or []


class Busy(SealiftError):
    """Another process works on this state, drive or target."""

    hint = "wait for it to end, or stop it; nothing was changed"


class DriveFault(SealiftError):
    """A drive failed, filled up or went away; the message says what is safe."""

    exit_code = 3

    def __init__(self, message: str, *, drive: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.drive = drive


class SourceFault(SealiftError):
    """The store that is packed from failed for longer than it is asked again, or gave other bytes than it promised."""

    exit_code = 3


class FormatError(SealiftError):
    """Bytes that are not what docs/spec/ says they are."""

    exit_code = 4


class AgeError(FormatError):
    """An age file that the C2SP age specification rejects."""


class Lost(SealiftError):
    """Something cannot be recovered from what is here."""

    exit_code = 4


class Unreached(Lost):
    """What is needed is in a host that does not answer: nothing is known to be lost, and the same command goes on."""

    exit_code = 6


class Refused(SealiftError):
    """A signature, seal, declaration or gate does not hold."""

    exit_code = 5


class SignatureInvalid(Refused):
    """A signature is missing, malformed, by nobody trusted, or over other bytes."""


class SealInvalid(Refused):
    """The seal is missing or does not hold for what is here."""


class IdentityMismatch(Refused):
    """None of the identities given opens this file."""

    hint = (
        "give the identity of one of the recipients the shipment was packed for (--identity FILE); or with a job's, the"
        " keys that were issued to it (--keys FILE)"
    )


class UnlockInvalid(Refused):
    """Issued keys that are expired, changed, of another shipment or for another job, or lack the key that is wanted."""

    hint = "ask whoever issued them for new ones (sealift unlock)"


class NotAllHere(SealiftError):
    """More drives are needed; run again with the next ones."""

    exit_code = 6


class Interrupted(SealiftError):
    """Stopped by Ctrl-C or SIGTERM; the same command again goes on."""

    exit_code = 130
