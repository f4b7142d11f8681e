"""The sealed sample that shows whether a recipient's key opens, and the answer of whoever opened it.

    NAME.KC-....sample.age     age file for one recipient; the plaintext is `Sample`, text of one form
    NAME.KC-....answer.json    KeyAnswer, canonical JSON: the code that stood in the sample, and whose it is
    ABCD-EFGH-...              the code alone, as it is read over the telephone

What holds: a code has 100 random bits and four letters more, by which a letter that was misheard shows. Its `digest`
binds it to one consignment, one challenge and one recipient's key, and tells nobody the code. Text that `parse` takes
is, to the byte, what `render` gives of it. The plaintext says itself what to do and what to send back, for somebody
who has nothing but age. Anybody can seal a sample for a public key: a sample proves nothing, its answer does, to the
one who drew the code.

Docs: docs/spec/keys.md. What is not here: who must answer, and what was answered (keys.py); files (stages/keys.py).
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple

from blake3 import blake3
from msgspec import Meta

from sealift.errors import BadInput, FormatError
from sealift.formats import age, age_keys, canonical, strict
from sealift.formats.canonical import Record
from sealift.trade.lists import TIME, moment

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sealift.formats.age import Identity

MAX_SAMPLE: Final = 65536  # bytes of the age file
MAX_ANSWER: Final = 16384  # bytes of the answer file
MAX_SPOKEN: Final = 200  # characters of a line that was typed in
ALPHABET: Final = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"  # without 0, 1, I and O, which are mistaken
SECRET: Final = 20  # letters that are drawn, 5 bits each
CHECK: Final = 4  # letters that follow from them

Line = Annotated[str, Meta(min_length=1, max_length=500)]
MaybeLine = Annotated[str, Meta(max_length=500)]
ConsignmentId = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{2,63}\Z")]
ChallengeId = Annotated[str, Meta(pattern=r"\AKC-[0-9]{8}-[0-9A-F]{12}\Z")]
Code = Annotated[str, Meta(pattern=r"\A[2-9A-HJ-NP-Z]{4}(-[2-9A-HJ-NP-Z]{4}){5}\Z")]

_TEXT: Final = """\
sealift-key-sample 1

You have opened this with your key, so your key is the right one. Whoever sent it to you does not know that yet, and
lets no drive leave before they do. Tell them, today:

    sealift keys answer THIS-FILE --identity YOUR-KEY

writes a small file; send that back. Without sealift, send back the line below that begins with "code", or read it out
over the telephone. Its letters are A to Z without I and O, its digits 2 to 9.

consignment: {consignment_id}
challenge: {challenge_id}
recipient: {name}
organisation: {organisation}
made: {made_at}
code: {code}

The drives will open with this key and with no other of yours. Keep it, and a copy of it in another place, until the
data is where it is needed.
"""
_LINES: Final = _TEXT.split("\n")


class KeyAnswer(Record, frozen=True, kw_only=True):
    """What is sent back: which challenge it answers, and the code that stood in its sample."""

    type: Literal["sealift-key-answer"] = "sealift-key-answer"
    version: Literal[1] = 1
    consignment_id: ConsignmentId
    challenge_id: ChallengeId
    name: Line
    organisation: MaybeLine
    code: Code


class Sample(NamedTuple):
    """What a sample says; `name` and `organisation` are the recipient's, `made_at` a time of TIME's form, UTC."""

    consignment_id: str
    challenge_id: str
    name: str
    organisation: str
    made_at: str
    code: str

    @property
    def answer(self) -> KeyAnswer:
        """The answer to it. FormatError where a field is not of its form."""
        record = KeyAnswer(
            consignment_id=self.consignment_id,
            challenge_id=self.challenge_id,
            name=self.name,
            organisation=self.organisation,
            code=self.code,
        )
        return decode_answer(canonical.encode(record))


# --- codes -----------------------------------------------------------------------------------------------


def new_code() -> str:
    """A code with 100 bits from the system's random generator, in six groups of four."""
    return code_of("".join(secrets.choice(ALPHABET) for _ in range(SECRET)))


def code_of(secret: str) -> str:
    """The code of SECRET letters: they, and CHECK letters that follow from them, in groups of four."""
    letters = secret + _check(secret)
    return "-".join(letters[at : at + 4] for at in range(0, len(letters), 4))


def _check(secret: str) -> str:
    """The first 20 bits of BLAKE3 over the letters, five bits a letter."""
    bits = int.from_bytes(blake3(secret.encode()).digest()[:3], "big") >> (24 - 5 * CHECK)
    return "".join(ALPHABET[bits >> shift & 31] for shift in range(5 * (CHECK - 1), -1, -5))


def parse_code(text: str) -> str:
    """The code in a line that was typed or heard, whatever its case, spaces and hyphens; BadInput says what is off."""
    hint = "six groups of four, such as 2345-6789-ABCD-EFGH-JKLM-XXXX; have it read out again"
    if len(text) > MAX_SPOKEN:
        raise BadInput(f"a code of more than {MAX_SPOKEN} characters", hint=hint)
    letters = "".join(text.upper().strip().removeprefix("CODE:").replace("-", " ").split())
    if wrong := sorted(set(letters) - set(ALPHABET)):
        shown = ", ".join(repr(each) for each in wrong[:5])
        raise BadInput(f"no code has {shown} in it", hint="there are A to Z without I and O, and 2 to 9; " + hint)
    if len(letters) != SECRET + CHECK:
        raise BadInput(f"a code has {SECRET + CHECK} letters and digits; here are {len(letters)}", hint=hint)
    if _check(letters[:SECRET]) != letters[SECRET:]:
        raise BadInput("a letter of this code was misheard or mistyped: its last group does not fit", hint=hint)
    return code_of(letters[:SECRET])


def digest(consignment_id: str, challenge_id: str, recipient: str, code: str) -> str:
    """BLAKE3, in hexadecimal, of five lines: `sealift-key-answer`, consignment, challenge, recipient's key, code."""
    lines = ("sealift-key-answer", consignment_id, challenge_id, recipient, code)
    return blake3("".join(f"{line}\n" for line in lines).encode()).hexdigest()


# --- samples ---------------------------------------------------------------------------------------------


def new_challenge_id(now: datetime) -> str:
    """KC-, the date (UTC) and 48 random bits."""
    return f"KC-{now:%Y%m%d}-{secrets.token_hex(6).upper()}"


def stated(now: datetime) -> str:
    """A time, which is aware and UTC, as records have it."""
    return now.strftime(TIME)


def render(sample: Sample) -> bytes:
    """The plaintext of a sample, UTF-8."""
    return re.sub(r" +\n", "\n", _TEXT.format(**sample._asdict())).encode()


def parse(data: bytes) -> Sample:
    """The sample in a plaintext; FormatError unless it is what `render` gives of it, and each field of its form."""
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError as error:
        raise FormatError("the sample is not text") from error
    if len(lines) != len(_LINES) or lines[0] != _LINES[0]:
        raise FormatError("what was opened is no sample of sealift keys challenge, or of another version")
    # a line of the form such as "made: {made_at}" says where the field of that name stands
    fields = {form.partition("{")[2][:-1]: at for at, form in enumerate(_LINES) if "{" in form}
    sample = Sample(**{name: lines[at].partition(":")[2].removeprefix(" ") for name, at in fields.items()})
    if render(sample) != data:
        raise FormatError("what was opened is not a sample as it is made: a line is another")
    _ = sample.answer
    time_of(sample.made_at, "sample")
    return sample


def seal(sample: Sample, recipient: str) -> bytes:
    """The age file of a sample for one recipient. KeyInvalid."""
    return age.encrypt(render(sample), [age_keys.parse_recipient(recipient)])


def unseal(data: bytes, identities: Iterable[Identity]) -> Sample:
    """The sample in an age file. AgeError, IdentityMismatch, and FormatError for another file than a sample."""
    if len(data) > MAX_SAMPLE:
        raise FormatError(f"the sample is {len(data):,} bytes long; at most {MAX_SAMPLE:,} are allowed")
    return parse(age.decrypt(data, identities))


def decode_answer(data: bytes) -> KeyAnswer:
    """Parse the canonical bytes of an answer; FormatError otherwise. Says nothing about whether it is right."""
    answer = canonical.decode(data, KeyAnswer, limit=MAX_ANSWER, name="answer")
    strict.check_texts(answer, "answer")
    check_trimmed((answer.name, answer.organisation), "answer")
    check_code(answer.code, "answer")
    return answer


def check_code(code: str, name: str) -> None:
    """FormatError unless the last group of a code is that of the letters before it."""
    letters = code.replace("-", "")
    if letters[SECRET:] != _check(letters[:SECRET]):
        raise FormatError(f"{name}: the last group of its code does not fit the others")


def check_trimmed(texts: Iterable[str], name: str) -> None:
    """FormatError where a text begins or ends with a space: a line would not show it."""
    if any(text != text.strip() for text in texts):
        raise FormatError(f"{name}: a text begins or ends with a space")


def time_of(text: str, name: str) -> datetime:
    """The time of a text of TIME's form, UTC; FormatError where there is no such time."""
    try:
        found = moment(text)
    except ValueError as error:
        raise FormatError(f"{name}: there is no time {text[:40]!r}") from error
    if stated(found) != text:
        raise FormatError(f"{name}: {text[:40]!r} is not how a time is written")
    return found
