"""Writes tests/vectors/unlock/: issued keys that are right, and one file for every way to be wrong.

Run it as `python tests/vectors/make_unlock.py`; it gives the same bytes each time, and the tests compare them with what
is in the folder. It builds from docs/spec/unlock.md and from primitives, and imports nothing of sealift.

A vector is a text header, an empty line, and the content, which zlib has compressed. Keys of the header:

    kind      archive: the plaintext of issued keys; file: the age file, for `identity`
    expect    success | refused | damaged: it is taken, and a key of it is refused when it is read
    identity  the job's (file only)
    comment   what is wrong or remarkable
"""

from __future__ import annotations

import json
import os
import sys
import zlib
from typing import TYPE_CHECKING, Any

import make_age
import make_pack
import make_sshsig
from blake3 import blake3

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "unlock")
JOB = make_age.bech32("age", make_age.base_point(make_age.IDENTITY))
OTHER_JOB = make_age.bech32("age", make_age.base_point(make_age.OTHER_IDENTITY))
GROUPS = [{"group": 0, "data": 2, "stripes": 2}, {"group": 3, "data": 1, "stripes": 1}]
ROWS = 2 + 2 * 2 + 2 + 1
ABSENT = 5  # the second data pack of the last stripe of group 0
MAX_RECORD = 8 << 20


def draw_key(row: int) -> bytes:
    return make_age.draw(f"key {row}")[:16]


def keys_of(rows: int) -> bytes:
    """Keys that stand for random ones, and one that is none."""
    return b"".join(bytes(16) if row == ABSENT else draw_key(row) for row in range(rows))


TABLE, ROOT = make_pack.paged(b"SLUNLOCK", 16, keys_of(ROWS))


def record(**changes: Any) -> dict[str, Any]:
    return {
        "type": "sealift-unlock",
        "version": 1,
        "shipment": "cd072cd8be6f9f62",
        "consignment_id": "SL-2026-4F7K2Q",
        "seal": {"bytes": 1592, "blake3": blake3(b"seal.json").hexdigest()},
        "job": "run-7",
        "name": "Kim Keyholder",
        "organisation": "Kittiwake Research",
        "issued_at": "2026-11-26T08:00:00Z",
        "valid_until": "2026-12-03T08:00:00Z",
        "recipients": [JOB],
        "groups": GROUPS,
        "keys": {"rows": ROWS, "issued": ROWS - 1, "root": ROOT.hex()},
    } | changes


def canonical(made: Any) -> bytes:
    return json.dumps(made, indent=2, ensure_ascii=False).encode() + b"\n"


def sign(message: bytes) -> bytes:
    signed = make_sshsig.signed(namespace=b"sealift-unlock", message=message)
    signature = make_sshsig.string(b"ssh-ed25519") + make_sshsig.string(make_sshsig.ED.sign(signed))
    return make_sshsig.armor(make_sshsig.blob(make_sshsig.ED_KEY, signature, namespace=b"sealift-unlock"))


def member(name: str, data: bytes, **more: Any) -> bytes:
    head = bytearray(512)
    mode = more.get("mode", b"0000644\0")
    for at, value in (
        (0, name.encode()), (100, mode), (108, b"0000000\0"), (116, b"0000000\0"),
        (124, b"%011o\0" % more.get("length", len(data))), (136, b"00000000000\0"), (148, b" " * 8), (156, b"0"),
        (257, b"ustar\x0000"),
    ):  # fmt: skip
        head[at : at + len(value)] = value
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + data + more.get("fill", b"\0") * (-len(data) % 512)


def archive(made: Any = None, table: bytes = TABLE, end: bytes = bytes(1024)) -> bytes:
    data = made if isinstance(made, bytes) else canonical(record() if made is None else made)
    return member("unlock.json", data) + member("unlock.json.sig", sign(data)) + member("keys.bin", table) + end


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def sealed(plain: bytes) -> bytes:
    """An age file for the job."""
    stream = make_age.Stream()
    chunks = [plain[at : at + make_age.CHUNK] for at in range(0, len(plain), make_age.CHUNK)]
    for number, chunk in enumerate(chunks, start=1):
        stream.chunk(chunk, last=number == len(chunks))
    return make_age.header(make_age.x25519_stanza()) + stream.data


Vectors = dict[str, tuple[str, str, bytes]]


def records() -> Vectors:
    keys = record()["keys"]
    groups = {
        "groups_order": ("groups are in order", GROUPS[::-1]),
        "groups_twice": ("a group is there once", [GROUPS[0], {**GROUPS[1], "group": 0}]),
        "groups_none": ("there is a group", []),
        "group_many": ("a group has 255 data packs a stripe at most", [{**GROUPS[0], "data": 256}, GROUPS[1]]),
    }
    changes = {
        **{name: (why, {"groups": value}) for name, (why, value) in groups.items()},
        "recipients_order": ("recipients are sorted", {"recipients": sorted([JOB, OTHER_JOB], reverse=True)}),
        "recipients_twice": ("a recipient is there once", {"recipients": [JOB, JOB]}),
        "recipients_none": ("there is a recipient", {"recipients": []}),
        "rows": ("rows are those of the groups", {"keys": {**keys, "rows": ROWS + 1}}),
        "issued_more": ("no more keys than rows", {"keys": {**keys, "issued": ROWS + 1}}),
        "issued_none": ("there is a key", {"keys": {**keys, "issued": 0}}),
        "until_before": ("valid_until is after issued_at", {"valid_until": "2026-11-26T08:00:00Z"}),
        "turned": ("texts are one line that prints as it is read", {"job": "run\u202e7"}),
        "other_type": ("the type", {"type": "sealift-seal"}),
        "other_version": ("the version", {"version": 2}),
        "unknown_key": ("no other key", {"identity": "none"}),
    }
    made = {name: ("refused", why, archive(record(**fields))) for name, (why, fields) in changes.items()}
    made["compact"] = ("refused", "unlock.json is canonical", archive(json.dumps(record()).encode()))
    return made


def archives() -> Vectors:
    data = canonical(record())
    signature, table = member("unlock.json.sig", sign(data)), member("keys.bin", TABLE)
    first, end = member("unlock.json", data), bytes(1024)
    rest = signature + table + end
    shorter = member("keys.bin", TABLE[:-16384])
    return {
        "order": ("refused", "unlock.json comes first", signature + first + table + end),
        "missing": ("refused", "all three files are there", first + table + end),
        "mode": ("refused", "headers are as written", member("unlock.json", data, mode=b"0000600\0") + rest),
        "padding": ("refused", "filled up with zeros", member("unlock.json", data, fill=b"\1") + rest),
        "long_record": ("refused", "unlock.json within its limit", member("unlock.json", data, length=MAX_RECORD + 1)),
        "beyond": ("refused", "a file lies within the archive", member("unlock.json", data, length=1 << 20)),
        "table_short": ("refused", "keys.bin is as long as its rows want", first + signature + shorter + end),
        "no_end": ("refused", "two blocks of zeros end it", archive(end=b"")),
        "end": ("refused", "they are zeros", archive(end=bytes(1023) + b"\1")),
        "trailing": ("refused", "nothing follows them", archive(end=bytes(1536))),
        "empty": ("refused", "an archive has something in it", b""),
        "page": ("damaged", "a page of keys.bin", archive(table=flipped(TABLE, 16384))),
        "page_above": ("damaged", "the page of digests", archive(table=flipped(TABLE, 2 * 16384))),
    }  # fmt: skip


def vectors() -> dict[str, bytes]:
    made = {"archive": ("success", "two groups; the sixth row is an absent pack", archive())}
    plain = make_age.bech32("age-secret-key-", make_age.IDENTITY).upper()
    found = {
        name: f"kind: archive\nexpect: {expect}\ncomment: {comment}\n\n".encode() + zlib.compress(content, 9)
        for name, (expect, comment, content) in (made | records() | archives()).items()
    }
    head = f"kind: file\nexpect: success\nidentity: {plain}\ncomment: the vector `archive`, sealed for the job\n\n"
    return found | {"file": head.encode() + zlib.compress(sealed(archive()), 9)}


def main(folder: str = FOLDER, say: Callable[[str], object] = print) -> None:
    made = vectors()
    os.makedirs(folder, exist_ok=True)
    for name in sorted(set(os.listdir(folder)) - set(made)):
        os.unlink(os.path.join(folder, name))
    for name, data in made.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)
    say(f"{len(made)} vectors")


if __name__ == "__main__":
    main(*sys.argv[1:2])
