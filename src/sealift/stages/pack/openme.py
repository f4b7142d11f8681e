"""The text at the root of every drive: how to check and open it with standard tools, and in what order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sealift.formats import manifest

_TEXT = """\
{rehearsal}{of} of shipment {shipment}, sealed for its recipients with age.
{reply}Declaration {declaration} names every party, carrier and drive of the shipment.
{which}
Group {group}, {groups_text}: {n} drives, {data} for data and {parity} for parity. Any {parity} of them may be missing.

What follows needs nothing but age, zstd, tar, b3sum, cat and ssh-keygen.

CHECK, no key needed, in this folder:

    ssh-keygen -Y verify -f ALLOWED_SIGNERS -I SIGNER -n sealift -s manifest.json.sig < manifest.json
    b3sum --check B3SUMS

The manifest has the digest of B3SUMS in this drive's row, and those of all other files here.

OPEN, with the identity file, which is on no drive. For an identity AGE-SECRET-KEY-PQ-... take age 1.3 or later.

1. The files: every pack numbered below {files_end:07d}, of every drive of this group, in any order, into one
   folder; then those of the other groups, whose OPEN-ME.txt names their own number:

    find . -name '*.tar.zst.age' | sort | while read -r pack; do
      n=$(basename "$pack" .tar.zst.age)
      if [ "$n" -lt {files_end:07d} ]; then age -d -i IDENTITY "$pack" | zstd -d | tar -x -p -f - -C TARGET; fi
    done

2. The segments: a file that was larger than what was left of a pack is NAME.part-000000 and so on. When all packs
   of all drives are extracted, join them in the order of their numbers, and remove them:

    cat NAME.part-* > NAME
    touch -r NAME.part-000000 NAME; chmod --reference=NAME.part-000000 NAME; rm NAME.part-*

   Where NAME.part- would collide or be too long, they are .sealift-DIGEST.part-000000, in the same folder. DIGEST is
   the first half of the BLAKE3 of the file's path: printf %s PATH | b3sum -l 16

3. The folders' modes and times, last: gather the packs numbered {files_end:07d} and above, of every drive of every
   group, into one file; then extract it at once, so that no folder is closed before what is in it is there:

    find . -name '*.tar.zst.age' | sort | while read -r pack; do
      n=$(basename "$pack" .tar.zst.age)
      [ "$n" -ge {files_end:07d} ] && age -d -i IDENTITY "$pack" | zstd -d >> FOLDERS
    done

    tar -x -p -i --delay-directory-restore -f FOLDERS -C TARGET

REBUILD: packs may be missing or damaged as long as no more than {parity} of the {n} packs with one number are.
sealift verify tells which are, and sealift repair makes them again, or a whole drive that is lost; neither needs a key.
sealift unpack rebuilds them as it reads. docs/spec/parity.md of sealift says how, to the byte.
"""


@dataclass(frozen=True)
class GroupFacts:
    """What the manifest says beside what the journal knows."""

    shipment: str
    declaration: manifest.DeclarationRef
    group: int
    groups: int
    drives_total: int
    scan: str
    order: Literal["path", "shuffled"]
    seed: int
    data: int
    parity: int
    rows: list[tuple[int, str, str, str]]  # a drive, by slot: number, serial, label, carrier
    sample_key: str | None = None
    in_reply_to: manifest.InReplyTo | None = None  # of a return leg


def text(facts: GroupFacts, slot: int, stripes: int, files_end: int) -> str:
    """OPEN-ME.txt of the drive in `slot`; `stripes` of which those from `files_end` on hold directories."""
    assert files_end <= stripes
    of, which = own_lines(facts, slot)
    return _TEXT.format(
        rehearsal="REHEARSAL: no shipment, never to leave its scratch drives.\n" if facts.declaration.rehearsal else "",
        of=of,
        reply=_reply_line(facts.in_reply_to),
        which=which,
        shipment=facts.shipment,
        declaration=facts.declaration.id,
        group=facts.group,
        groups_text="the only one" if facts.groups == 1 else f"one of {facts.groups}",
        n=facts.data + facts.parity,
        data=facts.data,
        parity=facts.parity,
        files_end=files_end,
    )


def _reply_line(answered: manifest.InReplyTo | None) -> str:
    if answered is None:
        return ""
    return f"Return leg, in reply to shipment {answered.shipment}, consignment {answered.consignment_id}.\n"


def own_lines(facts: GroupFacts, slot: int) -> tuple[str, str]:
    """What differs between the texts of a group's drives: so one can be made of another's."""
    number, serial, label, carrier = facts.rows[slot]
    which = f"Drive {manifest.drive_id(facts.group, slot)}, serial {serial}, label {label}"
    return f"This is drive {number} of {facts.drives_total}", f"{which}, carrier: {carrier or 'not named'}"
