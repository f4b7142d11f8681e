"""Two recipients with keys, a data engineer who records, and what comes of challenges and answers."""

from datetime import UTC, datetime, timedelta

from trade_cases import STRANGER, signer

from sealift.formats import age_keys
from sealift.formats.allowed_signers import AllowedSigners
from sealift.trade import key_sample, keys

RECORDER = signer(9)
LINES = f'recorder@example.com namespaces="sealift-keys" {RECORDER.public_key.line}\n'
ALLOWED = AllowedSigners.parse(LINES.encode())
NOW, DAY = datetime(2026, 11, 26, 12, tzinfo=UTC), timedelta(days=1)
ID = "SL-2026-4F7K2Q"


def identity(number):
    return age_keys.X25519Identity(bytes([number]) * 32)


def holder(number, name=None, organisation="Petrel Compute"):
    return keys.Holder.of(name or f"Person {number}", organisation, str(identity(number).recipient))


HOLDERS = [holder(1), holder(2)]


def challenged(holders=HOLDERS, before=None, now=NOW, consignment=ID):
    """The record, its bytes with it, and the codes in the samples by the holders' order."""
    record, sealed = keys.challenge(consignment, holders, before, by="R. Recorder", now=now)
    return keys.Before(record, keys.encode(record)), sealed


def opened(sealed, numbers=(1, 2)):
    """The answers of those who open the samples: identities by number, in the samples' order."""
    return [key_sample.unseal(each.data, [identity(n) for n in numbers]).answer for each in sealed]


def given(*answers):
    return [keys.Given(f"a{number}", each) for number, each in enumerate(answers)]


def take(before, *answers, now=NOW):
    record, outcomes = keys.take(before, given(*answers), by="R. Recorder", now=now)
    return (keys.Before(record, keys.encode(record)) if record else None), outcomes


def checked(before, who=RECORDER, allowed=ALLOWED):
    return keys.check_record(before.data, who.sign(before.data, keys.NAMESPACE), allowed)


def proved(holders=HOLDERS, numbers=(1, 2), now=NOW):
    before, sealed = challenged(holders, now=now)
    return take(before, *opened(sealed, numbers), now=now)[0]


__all__ = ["STRANGER"]
