"""What must be sent again when more is lost than parity holds: the fewest packs, and the contents that are lost.

In one column of a stripe (a block of every pack) any m packs may be gone. Where more are, some of them must come
back; a set of packs of the stripe is enough when it leaves no column with more than m gone. The smallest such set is
searched for by size, from the largest excess upwards; a stripe has few patterns of damage, so that is exact but for
absurd ones, where packs are taken greedily (SEARCH). Pure counting: nothing is read here.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from sealift.errors import BadInput, FormatError
from sealift.formats import manifest as mf
from sealift.formats.fetch import MAX_PACKS, FetchGroup, FetchList, FetchPack
from sealift.stages.verify_verdict import LAST, Damage, Run, columns, common_damage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from sealift.reading.survey import GroupView, Survey

SEARCH = 20_000  # sets looked at in one stripe before packs are taken greedily


def fetch_list(found: Survey, seen: Sequence[tuple[GroupView, int, Damage]]) -> FetchList:
    """By what was read of the drives here (group, slot, damage); others count as gone. BadInput if it is too long."""
    packs: list[FetchPack] = []
    contents: list[FetchPack] = []
    groups: list[FetchGroup] = []
    for group in found.groups:
        if not group.trusted:
            continue
        groups.append(FetchGroup(group=group.group, manifest=group.digest))
        for stripe, fewest, lost in _of_group(group, [(slot, damage) for view, slot, damage in seen if view is group]):
            packs += [_pack(group, stripe, role) for role in fewest]
            contents += [_pack(group, stripe, role) for role in lost]
            if max(len(packs), len(contents)) > MAX_PACKS:
                raise BadInput(
                    f"more than {MAX_PACKS:,} packs would have to be sent again",
                    hint="so much is gone that the groups concerned are best packed anew",
                )
    if found.shipment is None:
        raise BadInput("the drives do not tell of what shipment they are")
    return FetchList(shipment=found.shipment, groups=groups, packs=packs, contents=contents)


def _of_group(group: GroupView, seen: Sequence[tuple[int, Damage]]) -> Iterator[tuple[int, list[int], list[int]]]:
    """Stripe, the fewest roles to fetch, and the data roles with lost blocks, where there are any."""
    manifest, n = group.manifest, group.manifest.n
    by_slot: dict[int, list[Damage]] = {}
    for slot, found in seen:
        by_slot.setdefault(slot, []).append(found)
    damage = {slot: common_damage(copies) for slot, copies in by_slot.items()}
    gone = set(range(n)) - damage.keys()
    damaged = {stripe for each in damage.values() for stripe in each}
    for stripe in range(manifest.geometry.stripes) if gone else sorted(damaged):
        runs: dict[int, list[Run]] = {}
        for slot in range(n):
            if hit := [(0, LAST)] if slot in gone else damage[slot].get(stripe):
                runs[mf.role_of(stripe, slot, n)] = hit
        try:
            sizes = [mf.pack_at(group.packs, stripe, role, n).length for role in range(n)]
        except FormatError:
            sizes = [mf.MAX_PACK] * n  # nobody knows what was there: all of it
        short = [frozenset(bad) for _, _, bad in columns(runs, sizes) if len(bad) > manifest.geometry.parity]
        if short:
            lost = sorted({role for bad in short for role in bad if role < manifest.geometry.data})
            yield stripe, fewest(set(short), manifest.geometry.parity), lost


def fewest(short: AbstractSet[frozenset[int]], parity: int) -> list[int]:
    """The fewest roles whose return leaves at most `parity` gone in every column; `short`: roles gone, by column."""
    roles = sorted(set().union(*short))
    least = max(len(bad) for bad in short) - parity
    looked = 0
    for size in range(least, len(roles) + 1):
        for chosen in itertools.combinations(roles, size):
            if all(len(bad.difference(chosen)) <= parity for bad in short):
                return list(chosen)
            looked += 1
            if looked > SEARCH:
                return _greedy(set(short), parity)
    return roles


def _greedy(short: set[frozenset[int]], parity: int) -> list[int]:
    chosen: list[int] = []
    while left := {bad for bad in short if len(bad) > parity}:
        best = max(sorted(set().union(*left)), key=lambda role: sum(role in bad for bad in left))
        chosen.append(best)
        short = {bad - {best} for bad in left}
    return sorted(chosen)


def _pack(group: GroupView, stripe: int, role: int) -> FetchPack:
    manifest = group.manifest
    try:
        length = mf.pack_at(group.packs, stripe, role, manifest.n).length
    except FormatError:
        length = 0
    slot = mf.slot_of(stripe, role, manifest.n)
    name = mf.pack_name(stripe, role, manifest.geometry.data)
    row = manifest.drives[slot].id
    return FetchPack(group=group.group, stripe=stripe, role=role, drive=row, path=name, bytes=length)
