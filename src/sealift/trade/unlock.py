"""Who may issue keys, and how long they are valid: the rules around the record of formats/unlock.py.

What holds of what `check` returns: an allowed signer signed the record in namespace `sealift-unlock`, with a key that
was valid when it says that it was issued; its times are times that there are. Times are the issuer's statement and the
reader's clock: they bind programs that keep them, and nobody else (docs/spec/threat-model.md).

What is not here: the keys themselves, and which shipment it is (reading/keys.py).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from sealift.errors import BadInput, FormatError, KeyInvalid, UnlockInvalid
from sealift.formats import age, age_keys, unlock
from sealift.trade.clocks import is_ahead
from sealift.trade.lists import TIME, moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sealift.formats.allowed_signers import AllowedSigners, Signer
    from sealift.formats.unlock import Unlock

NAMESPACE = "sealift-unlock"
DEFAULT_HOURS = 168
MAX_HOURS = 366 * 24


class Issued(NamedTuple):
    """A record that holds, and who signed it."""

    record: Unlock
    signer: Signer

    @property
    def until(self) -> datetime:
        """When it ends."""
        return time_of(self.record.valid_until)

    def refuse_untimely(self, now: datetime, what: str) -> None:
        """UnlockInvalid once the keys in `what` are expired, or while they are of the future; `now` is aware."""
        if now >= self.until:
            raise UnlockInvalid(f"{what} expired at {self.record.valid_until}")
        if is_ahead(time_of(self.record.issued_at), now):
            hint = "a clock is wrong, here or where they were issued"
            raise UnlockInvalid(f"{what} were issued at {self.record.issued_at}, which is still to come", hint=hint)


def time_of(text: str) -> datetime:
    """The time of a record's text, UTC; FormatError where there is no such time."""
    try:
        return moment(text)
    except ValueError as error:
        raise FormatError(f"{unlock.RECORD}: there is no time {text!r}") from error


def check(data: bytes, signature: bytes, allowed: AllowedSigners) -> Issued:
    """The record in its canonical bytes, if an allowed signer issued it. FormatError, SignatureInvalid."""
    record = unlock.decode(data)
    at, until = time_of(record.issued_at), time_of(record.valid_until)
    if until - at > timedelta(hours=MAX_HOURS):
        raise FormatError(f"{unlock.RECORD}: valid for more than {MAX_HOURS} hours")
    return Issued(record, allowed.signer(data, signature, NAMESPACE, at))


def ends(now: datetime, *, hours: int | None, until: str | None) -> datetime:
    """When keys that are issued `now` end: after so many hours, or at a time with its offset. BadInput.

    Whole seconds; after DEFAULT_HOURS where neither is said, and MAX_HOURS at most.
    """
    if hours is not None and until is not None:
        raise BadInput("--hours and --valid-until say the same in two ways", hint="give one of them")
    try:
        if until is None:
            end = now + timedelta(hours=DEFAULT_HOURS if hours is None else hours)
        else:
            end = datetime.fromisoformat(until)
        if end.tzinfo is None:
            raise ValueError
        end = end.astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError) as error:
        hint = "like 2026-11-25T14:30:00+08:00, or 2026-11-25T06:30:00Z"
        raise BadInput(f"--valid-until {str(until)[:40]!r} is no time with its offset from UTC", hint=hint) from error
    if not now < end <= now + timedelta(hours=MAX_HOURS):
        raise BadInput(
            f"the keys would be valid until {end.strftime(TIME)}", hint=f"from now on, for {MAX_HOURS} hours at most"
        )
    return end


def job_recipients(given: Sequence[str], identities: Iterable[age.Identity]) -> list[age.Recipient]:
    """The job's recipients, sorted, each once: none of whoever can open the shipment itself, and no weaker ones.

    KeyInvalid: no recipient, the shipment's own, or of a type that withstands less than the shipment's.
    """
    parsed = {str(each): each for each in map(age_keys.parse_recipient, given)}
    recipients = [parsed[text] for text in sorted(parsed)]
    age.check_recipients(recipients)
    for own in (each.recipient for each in identities):
        if str(own) in parsed:
            hint = "make the job a key of its own: age-keygen -o job.txt"
            raise KeyInvalid("--for is the recipient of the shipment's own identity", hint=hint)
        if own.post_quantum and not recipients[0].post_quantum:
            hint = "age1pq1... for the job too (age-keygen -pq): who copies what is issued may wait"
            raise KeyInvalid("the shipment's recipient is post-quantum, and the job's is not", hint=hint)
    return recipients
