"""The text at the root of every drive: how to check and open it with standard tools, and in what order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sealift.formats import manifest

if TYPE_CHECKING:
    from sealift.stages.pack.close import GroupFacts

_TEXT = """\
{rehearsal}This is drive {number} of {total} of shipment {shipment}, sealed for its recipients with age.
Declaration: {declaration} (it names every party, carrier and drive of the shipment)
Drive {id}, serial {serial}, label {label}, carrier: {carrier}
Group {group} of {groups}: {n} drives, {data} for data and {parity} for parity. Any {parity} of them may be missing:
`sealift` rebuilds them. What follows needs nothing but age, zstd, tar, b3sum, cat and ssh-keygen.

CHECK (no key needed), in this folder:

    ssh-keygen -Y verify -f ALLOWED_SIGNERS -I SIGNER -n sealift -s manifest.json.sig < manifest.json
    b3sum --check B3SUMS

The manifest has the digest of B3SUMS under this drive's row, and those of all other files here.

OPEN (the identity file is needed; it is not on any drive). First the files: every pack numbered below {files_end:07d} of
every drive of every group, in any order, into one empty folder; OPEN-ME.txt of each group says its own number:

    find packs -name '*.tar.zst.age' | sort | while read -r pack; do
      n=$(basename "$pack" .tar.zst.age)
      [ "$n" -lt {files_end:07d} ] && age -d -i IDENTITY "$pack" | zstd -d | tar -x -p -f - -C TARGET
    done

A file that is larger than what was left of a pack lies in segments, NAME.part-000000 and so on. When all packs of all
drives are extracted, join them, in order of their numbers, and remove them:

    cat NAME.part-* > NAME && touch -r NAME.part-000000 NAME && chmod --reference=NAME.part-000000 NAME && rm NAME.part-*

Segments whose own name would collide or be too long are named .sealift-DIGEST.part-000000, in the same folder; DIGEST
is the first half of the BLAKE3 of the file's path, so that `printf %s PATH | b3sum -l 16` finds it.

Last the directories' modes and times: the packs numbered {files_end:07d} and above of every drive of every group, in the
same way, in order of their numbers (-ge in place of -lt).

If packs are missing or damaged, all is still there as long as no more than {parity} of the {n} packs with the same number are:
sealift verify, sealift repair and sealift unpack do that, and docs/spec/ of sealift says how, to the byte.
"""


def text(facts: GroupFacts, slot: int, stripes: int, files_end: int) -> str:
    """OPEN-ME.txt of the drive in `slot`; `stripes` of which those from `files_end` on hold directories."""
    assert files_end <= stripes
    number, serial, label, carrier = facts.rows[slot]
    return _TEXT.format(
        rehearsal="REHEARSAL: no shipment, never to leave its scratch drives.\n" if facts.declaration.rehearsal else "",
        number=number,
        total=facts.drives_total,
        shipment=facts.shipment,
        declaration=facts.declaration.id,
        id=manifest.drive_id(facts.group, slot),
        serial=serial,
        label=label,
        carrier=carrier or "not named",
        group=facts.group + 1,
        groups=facts.groups,
        n=facts.data + facts.parity,
        data=facts.data,
        parity=facts.parity,
        files_end=files_end,
    )
