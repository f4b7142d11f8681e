"""Writes tests/vectors/keys/: codes, samples, answers and records that are right, and one for every way to be wrong.

Run it as `python tests/vectors/make_keys.py`; it gives the same bytes each time, and the tests compare them with what
is in the folder. It builds from docs/spec/keys.md and from primitives, and imports nothing of sealift.

A vector is a text header, an empty line, and the content. Keys of the header:

    kind      code: a line as it was typed; sample: the plaintext of a sample; answer: an answer file, judged beside
              the vector `record_open` at `now`; record: NAME.keys.json
    expect    success | refused
    code      the code that a line stands for (code, success only)
    identity  whose key the sample is for: how one is sealed for it is the matter of age.md (sample, success only)
    now       when an answer is judged, or what a record says is asked
    holds     what of a record holds a release at `now`, in order; empty: nothing (record, success only)
    comment   what is wrong or remarkable
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from blake3 import blake3

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "keys")
LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
CONSIGNMENT = "SL-2026-4F7K2Q"
EARLIER, MADE = "2026-11-19T00:00:00Z", "2026-11-20T09:00:00Z"
PASSED, LATER = "2026-11-21T10:30:00Z", "2026-12-21T09:00:00Z"
PETRA = ("Petra Petrel", "Petrel Compute", "age15nsf9y4k28p83wth93tf7hafhvfajp45d2mge80ems45gz0c5gys3me64l")
QUIM = ("Quim Silva", "Kittiwake Research", "age1e6xn45wvkce7c7msc9upffw8dmxs9959q5xng369hgzcwrjc04vszex59m")
IDENTITY = "AGE-SECRET-KEY-1QYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZ9K4CN"
ID_1, ID_2 = "KC-20261120-0123456789AB", "KC-20261120-CDEF01234567"
SAMPLE = """\
sealift-key-sample 1

You have opened this with your key, so your key is the right one. Whoever sent it to you does not know that yet, and
lets no drive leave before they do. Tell them, today:

    sealift keys answer THIS-FILE --identity YOUR-KEY

writes a small file; send that back. Without sealift, send back the line below that begins with "code", or read it out
over the telephone. Its letters are A to Z without I and O, its digits 2 to 9.

consignment: SL-2026-4F7K2Q
challenge: KC-20261120-0123456789AB
recipient: Petra Petrel
organisation: Petrel Compute
made: 2026-11-20T09:00:00Z
code: CODE

The drives will open with this key and with no other of yours. Keep it, and a copy of it in another place, until the
data is where it is needed.
"""


def code_of(secret: str) -> str:
    """20 letters, and 4 that are the first 20 bits of their BLAKE3, in groups of four."""
    bits = int.from_bytes(blake3(secret.encode()).digest()[:3], "big") >> 4
    letters = secret + "".join(LETTERS[bits >> shift & 31] for shift in (15, 10, 5, 0))
    return "-".join(letters[at : at + 4] for at in range(0, 24, 4))


SECRETS = ("PETRAPETRELABCDEFGH2", "QUVMS2LVA3456789ABCD", "RU2RE2S3456789ABCDEF", "WRGNGCGDECGDECGDE234")
CODE_1, CODE_2, CODE_3, CODE_4 = map(code_of, SECRETS)


def canonical(record: Any) -> bytes:
    return json.dumps(record, indent=2, ensure_ascii=False).encode() + b"\n"


def digest(who: tuple[str, str, str], challenge: str, code: str) -> str:
    lines = ("sealift-key-answer", CONSIGNMENT, challenge, who[2], code)
    return blake3("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def recipient(who: tuple[str, str, str], challenge: str, code: str, passed: Any = None, made: str = MADE) -> Any:
    row = {"challenge_id": challenge, "made_at": made, "code_blake3": digest(who, challenge, code), "passed": passed}
    return {"name": who[0], "organisation": who[1], "recipient": who[2], "challenges": [row]}


def record(*recipients: Any, **changes: Any) -> Any:
    return {
        "type": "sealift-keys",
        "version": 1,
        "consignment_id": CONSIGNMENT,
        "supersedes": None,
        "recipients": list(recipients),
        "waiver": None,
        "by": "Dana Engineer",
        "at": PASSED,
    } | changes


def answer(**changes: Any) -> Any:
    return {
        "type": "sealift-key-answer",
        "version": 1,
        "consignment_id": CONSIGNMENT,
        "challenge_id": ID_1,
        "name": PETRA[0],
        "organisation": PETRA[1],
        "code": CODE_1,
    } | changes


Vectors = dict[str, tuple[dict[str, str], bytes]]


def refused(kind: str, comment: str, content: bytes | Any, **head: str) -> tuple[dict[str, str], bytes]:
    data = content if isinstance(content, bytes) else canonical(content)
    return {"kind": kind, "expect": "refused", **head, "comment": comment}, data


def right(kind: str, content: bytes | Any, **head: str) -> tuple[dict[str, str], bytes]:
    data = content if isinstance(content, bytes) else canonical(content)
    return {"kind": kind, "expect": "success", **head}, data


def codes() -> Vectors:
    misheard = CODE_1[:5] + ("B" if CODE_1[5] != "B" else "D") + CODE_1[6:]
    return {
        "code": right("code", CODE_1.encode(), code=CODE_1),
        "code_as_it_stands": right("code", f"code: {CODE_1}".encode(), code=CODE_1),
        "code_as_it_is_typed": right("code", CODE_1.lower().replace("-", " ").encode(), code=CODE_1),
        "code_letter": refused("code", "one letter is another", misheard.encode()),
        "code_order": refused("code", "two groups are exchanged", (CODE_1[5:10] + CODE_1[:5] + CODE_1[10:]).encode()),
        "code_short": refused("code", "a letter is missing", CODE_1[:-1].encode()),
        "code_zero": refused("code", "0 is no letter of a code", ("0" + CODE_1[1:]).encode()),
    }


def samples() -> Vectors:
    text = SAMPLE.replace("CODE", CODE_1)
    alone = text.replace("organisation: Petrel Compute", "organisation:")
    return {
        "sample": right("sample", text.encode(), identity=IDENTITY),
        "sample_no_organisation": right("sample", alone.encode(), identity=IDENTITY),
        "sample_version": refused("sample", "version 2", text.replace("sample 1", "sample 2").encode()),
        "sample_line": refused("sample", "a fixed line is another", text.replace("today", "never").encode()),
        "sample_extra_line": refused("sample", "a line more", (text + "And pay.\n").encode()),
        "sample_spaces": refused("sample", "two spaces", text.replace("recipient: ", "recipient:  ").encode()),
        "sample_crlf": refused("sample", "CR LF", text.replace("\n", "\r\n").encode()),
        "sample_code": refused("sample", "the code's last group", text.replace(CODE_1, CODE_1[:-4] + "2222").encode()),
        "sample_time": refused("sample", "no such time", text.replace("11-20T09", "11-31T09").encode()),
        "sample_control": refused("sample", "a control character", text.replace("Petra P", "Petra\x1bP").encode()),
        "sample_bidi": refused("sample", "turns the reading order", text.replace("Petra P", "\u202ePetra P").encode()),
    }


def answers() -> Vectors:
    now = "2026-12-01T12:00:00Z"
    many = canonical(answer()).replace(b'"version": 1', b'"version": 1,\n  "spare": 0')

    def wrong(comment: str, content: Any, at: str = now) -> tuple[dict[str, str], bytes]:
        return refused("answer", comment, content, now=at)

    return {
        "answer": right("answer", answer(), now=now),
        "answer_last_day": right("answer", answer(), now="2026-12-20T09:00:00Z"),
        "answer_old": wrong("the challenge is more than 30 days old", answer(), LATER),
        "answer_wrong": wrong("the code of no sample", answer(code=CODE_4)),
        "answer_swapped": wrong("the code of another recipient's sample", answer(code=CODE_2)),
        "answer_consignment": wrong("of another consignment", answer(consignment_id="SL-2026-OTHER7")),
        "answer_challenge": wrong("of no challenge of the record", answer(challenge_id="KC-20261120-FFFFFFFFFFFF")),
        "answer_name": wrong("names another recipient", answer(name=QUIM[0], organisation=QUIM[1])),
        "answer_replayed": wrong(
            "recorded before",
            answer(challenge_id="KC-20261120-000000000003", name="Rui Reis", organisation="", code=CODE_3),
        ),
        "answer_not_canonical": wrong("spare spaces", canonical(answer()).replace(b": 1", b":  1")),
        "answer_field": wrong("an unknown field", many),
        "answer_check": wrong("the code's last group", answer(code=CODE_1[:-4] + "2222")),
        "answer_type": wrong("of another type", answer(type="sealift-keys")),
    }


RUI = ("Rui Reis", "", "age1thld6wmt63lklg5wu9wed82mkr49xa6dfz9a47wlr3hqzf9nau3qqx6458")


def records() -> Vectors:
    passed = {"at": PASSED, "by": "Dana Engineer"}
    one, two = recipient(PETRA, ID_1, CODE_1, passed), recipient(QUIM, ID_2, CODE_2)
    both = record(one, recipient(QUIM, ID_2, CODE_2, passed))
    waiver = {"accepted_by": "Olu Officer", "reason": "a copy of the key is in the safe in Porto", "at": PASSED}
    third = recipient(RUI, "KC-20261120-000000000003", CODE_3, passed)
    same = recipient((PETRA[0].upper(), "", QUIM[2]), ID_2, digest(QUIM, ID_2, CODE_2), passed)
    now = "2026-12-01T12:00:00Z"

    def good(content: Any, holds: str = "", at: str = now) -> tuple[dict[str, str], bytes]:
        return right("record", content, now=at, holds=holds)

    def wrong(comment: str, content: Any) -> tuple[dict[str, str], bytes]:
        return refused("record", comment, content)

    def first(**changes: Any) -> Any:
        return record({**one, **changes}, two)

    def challenge(**changes: Any) -> Any:
        return first(challenges=[{**one["challenges"][0], **changes}])

    return {
        "record": good(record(one, two), "unanswered"),
        "record_open": good(record(recipient(PETRA, ID_1, CODE_1), two, third), "unanswered unanswered"),
        "record_clear": good(both),
        "record_last_day": good(both, at="2026-12-20T09:00:00Z"),
        "record_stale": good(both, "stale stale", LATER),
        "record_future": good(both, "stale", "2026-11-20T10:29:59Z"),
        "record_alone": good(record(one), "alone"),
        "record_one_person": good(record(one, same), "alone"),
        "record_waived": good(record(one, waiver=waiver)),
        "record_waived_open": good(record(recipient(PETRA, ID_1, CODE_1), waiver=waiver), "unanswered"),
        "record_waiver_beside_two": wrong("a waiver where recipients are independent", record(one, two, waiver=waiver)),
        "record_waiver_later": wrong("its waiver is later", record(one, waiver=waiver | {"at": LATER})),
        "record_key_twice": wrong("one key of two", record(one, recipient((*QUIM[:2], PETRA[2]), ID_2, CODE_2))),
        "record_challenge_twice": wrong("one challenge of two", record(one, recipient(QUIM, ID_1, CODE_2))),
        "record_nobody": wrong("no recipients", record()),
        "record_no_challenge": wrong("a recipient without challenge", first(challenges=[])),
        "record_no_key": wrong("a key that is none", first(recipient=PETRA[2][:-1] + "m")),
        "record_key_form": wrong("a key in capitals", first(recipient=PETRA[2].upper())),
        "record_passed_sooner": wrong("passed before it was made", challenge(passed=passed | {"at": EARLIER})),
        "record_passed_later": wrong("passed after the record", challenge(passed=passed | {"at": LATER})),
        "record_made_later": wrong("made after the record", challenge(made_at=LATER, passed=None)),
        "record_time": wrong("no such time", challenge(made_at="2026-11-31T09:00:00Z")),
        "record_digest": wrong("a digest in capitals", challenge(code_blake3=digest(PETRA, ID_1, CODE_1).upper())),
        "record_order": wrong(
            "challenges out of order",
            first(
                challenges=[
                    {**one["challenges"][0], "challenge_id": "KC-20261121-0123456789AB", "made_at": PASSED},
                    one["challenges"][0],
                ]
            ),
        ),
        "record_name": wrong("a name that begins with a space", first(name=" Petra Petrel")),
        "record_control": wrong("a control character", first(name="Petra\x1bPetrel")),
        "record_not_canonical": wrong("no final newline", canonical(both)[:-1]),
        "record_field": wrong("an unknown field", both | {"spare": 0}),
        "record_version": wrong("version 2", both | {"version": 2}),
    }  # fmt: skip


def main(folder: str = FOLDER) -> None:
    """Write every vector into `folder`."""
    os.makedirs(folder, exist_ok=True)
    for name, (head, content) in (codes() | samples() | answers() | records()).items():
        text = "".join(f"{key}: {value}\n" for key, value in head.items())
        with open(os.path.join(folder, name), "wb") as file:
            file.write(text.encode() + b"\n" + content)


if __name__ == "__main__":
    main(*sys.argv[1:])
