"""Rebuilding packs: whatever is lost or rotten in a column, up to m, comes back; beyond, nothing is harmed."""

import itertools
import random

import pytest
from blake3 import blake3
from fleet import BLOCK, make
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealift.errors import DriveFault
from sealift.formats import manifest as mf
from sealift.stages import rebuild as stage


class Stand:
    """A group on drives in memory, without manifest or signature: packs, hashes, drives."""

    def __init__(self, tmp_path, lengths, k, m, seed=0, off=frozenset()):
        self.fleet = make(
            tmp_path, seed=seed, geometry=((k, m),), lengths=lengths, off=off, on_disk=False, with_seal=False
        )
        self.group = self.fleet.groups[0]
        self.k, self.m, self.n = k, m, k + m
        self.drives = self.fleet.memory()
        for drive in self.drives:
            drive.lock()

    def name(self, stripe, role):
        return mf.pack_name(stripe, role, self.k)

    def drive(self, stripe, role):
        return self.drives[mf.slot_of(stripe, role, self.n)]

    def spoil(self, stripe, role, block):
        medium = self.drive(stripe, role).medium
        data = bytearray(medium.files[self.name(stripe, role)])
        data[min(block * BLOCK + 7, len(data) - 1)] ^= 1
        self.drive(stripe, role).put(self.name(stripe, role), bytes(data))

    def hashes(self, stripe):
        def of(role, first, stop):
            pack = self.group.packs[stripe][role]
            pieces = [pack[at : at + BLOCK] for at in range(0, len(pack), BLOCK)]
            return b"".join(blake3(piece).digest() for piece in pieces[first:stop])

        return of

    def work(self, stripe, wanted):
        lengths = [len(pack) for pack in self.group.packs[stripe]]
        return stage.StripeWork(stripe, lengths, self.hashes(stripe), wanted)

    def rebuild(self, wanted, gone=(), **more):
        """`wanted`: (stripe, role) pairs, onto the drives they belong on; `gone`: slots that give nothing."""
        by_stripe = {}
        for stripe, role in wanted:
            by_stripe.setdefault(stripe, {})[role] = [self.drive(stripe, role)]
        sources = {slot: [drive] for slot, drive in enumerate(self.drives) if slot not in gone}
        works = [self.work(stripe, roles) for stripe, roles in sorted(by_stripe.items())]
        return stage.rebuild(works, self.k, self.m, sources, **more)

    def is_whole(self, stripe, role):
        return self.drive(stripe, role).medium.files.get(self.name(stripe, role)) == self.group.packs[stripe][role]

    def parts(self):
        return [name for drive in self.drives for name in drive.medium.files if name.endswith(".part")]


@pytest.mark.parametrize(("k", "m"), [(2, 1), (2, 2), (3, 2)])
def test_every_pattern_of_m_losses_comes_back(tmp_path, k, m):
    lengths = [[2 * BLOCK + 5] + [BLOCK + 77] * (k - 1), [3 * BLOCK] * k, [300] + [0] * (k - 1)]
    for count in range(1, m + 1):
        for slots in itertools.combinations(range(k + m), count):
            stand = Stand(tmp_path, lengths, k, m)
            for slot in slots:
                stand.drives[slot].medium.files.clear()
            packs = [(stripe, mf.role_of(stripe, slot, stand.n)) for stripe in range(3) for slot in slots]
            result = stand.rebuild(packs, gone=slots)
            there = [(stripe, role) for stripe, role in packs if stand.group.packs[stripe][role]]
            assert all(stand.is_whole(stripe, role) for stripe, role in there)
            assert (result.packs, result.lost, result.noticed) == (len(there), [], [])
            assert result.blocks == sum(-(-len(stand.group.packs[s][r]) // BLOCK) for s, r in there)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(1, 5 * BLOCK), min_size=3, max_size=3),
    bad=st.sets(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=9),
    seed=st.integers(0, 5),
)
def test_each_column_is_solved_by_itself(tmp_path, sizes, bad, seed):
    """3+2 with any set of (role, block) spoilt: a pack is mended exactly when no column of it has more than two."""
    stand = Stand(tmp_path, [sizes], 3, 2, seed)
    lengths = [len(pack) for pack in stand.group.packs[0]]
    spoilt = {(role, block) for role, block in bad if block * BLOCK < lengths[role]}
    for role, block in spoilt:
        stand.spoil(0, role, block)
    before = {role: stand.drive(0, role).medium.files[stand.name(0, role)] for role in range(5)}
    roles = sorted({role for role, _ in spoilt})
    result = stand.rebuild([(0, role) for role in roles])
    by_column = {block: [role for role, at in spoilt if at == block] for _, block in spoilt}
    hopeless = {role for here in by_column.values() if len(here) > 2 for role in here}
    for role in range(5):
        if role in hopeless:
            assert stand.drive(0, role).medium.files[stand.name(0, role)] == before[role]
        else:
            assert stand.is_whole(0, role)
    lost = {(pack.role, block) for pack in result.lost for block in range(pack.first, pack.last + 1)}
    assert lost == {(role, block) for block, here in by_column.items() if len(here) > 2 for role in here}
    assert result.packs == len(set(roles) - hopeless)
    assert result.blocks == sum(len(here) for here in by_column.values() if len(here) <= 2)
    assert stand.parts() == []


@pytest.mark.parametrize("block", [0, 1, 3, 4])
def test_what_is_solved_is_proved_before_it_is_written(tmp_path, block):
    """Every survivor is as it was signed, and what they give is not: nothing appears under the name."""
    stand = Stand(tmp_path, [[4 * BLOCK + 9] * 3, [BLOCK] * 3], 3, 2, off=frozenset([(0, 1, block)]))
    drive = stand.drive(0, 1)
    drive.medium.files.pop(stand.name(0, 1))
    versions = dict(drive.medium.versions)
    result = stand.rebuild([(0, 1)], gone=[mf.slot_of(0, 1, 5)])
    assert [(each.stripe, each.role, each.first, each.last) for each in result.lost] == [(0, 1, block, block)]
    assert (result.packs, result.blocks) == (0, 4)
    assert stand.name(0, 1) not in drive.medium.files
    assert drive.medium.versions == versions
    assert stand.parts() == []


def test_what_is_solved_wrongly_in_place_leaves_what_was_there(tmp_path):
    stand = Stand(tmp_path, [[4 * BLOCK] * 2], 2, 1, off=frozenset([(0, 0, 2)]))
    stand.spoil(0, 0, 2)
    before = bytes(stand.drive(0, 0).medium.files[stand.name(0, 0)])
    result = stand.rebuild([(0, 0)])
    assert [(each.role, each.first, each.last) for each in result.lost] == [(0, 2, 2)]
    assert stand.drive(0, 0).medium.files[stand.name(0, 0)] == before
    stand = Stand(tmp_path, [[4 * BLOCK] * 2], 2, 1, off=frozenset([(0, 0, 2)]))
    stand.spoil(0, 0, 1)  # another block: parity is right there
    assert stand.rebuild([(0, 0)]).lost == []
    assert stand.is_whole(0, 0)


def test_rot_in_what_is_read_is_gone_around_and_told(tmp_path):
    stand = Stand(tmp_path, [[4 * BLOCK] * 3], 3, 2)
    stand.drives[0].medium.files.clear()
    stand.spoil(0, 1, 2)
    result = stand.rebuild([(0, 0)], gone=[0])
    assert stand.is_whole(0, 0)
    assert [(each.role, each.block) for each in result.noticed] == [(1, 2)]
    assert not stand.is_whole(0, 1)  # told, not touched: nobody asked for it


def test_a_source_that_fails_reads_is_gone_around(tmp_path):
    stand = Stand(tmp_path, [[3 * BLOCK] * 3, [BLOCK] * 3], 3, 2)
    stand.drives[0].medium.files.clear()
    stand.drives[1].plan = lambda operation, _name, offset: 5 if operation == "read" and offset >= BLOCK else None
    wanted = [(stripe, mf.role_of(stripe, 0, 5)) for stripe in range(2)]
    result = stand.rebuild(wanted, gone=[0])
    assert all(stand.is_whole(*each) for each in wanted)
    assert {each.block for each in result.noticed} == {1, 2}


@pytest.mark.parametrize("operation", ["create", "write", "publish", "sync"])
@pytest.mark.parametrize("code", [5, 28])
def test_a_target_that_fails_harms_nothing_and_is_gone_on_with(tmp_path, operation, code):
    stand = Stand(tmp_path, [[3 * BLOCK] * 2] * 6, 2, 1)
    target = stand.drives[1]
    target.medium.files.clear()
    wanted = [(stripe, mf.role_of(stripe, 1, 3)) for stripe in range(6)]
    calls = itertools.count()
    target.plan = lambda doing, _name, _at: code if doing == operation and next(calls) == 3 else None
    landed = []
    with pytest.raises(DriveFault, match="/mnt/g0s1") as caught:
        stand.rebuild(wanted, gone=[1], landed=lambda stripe, role, _drive: landed.append((stripe, role)))
    assert caught.value.hint
    assert all(stand.is_whole(*each) for each in landed)
    names = [name for name in target.medium.files if not name.endswith(".part")]
    assert all(stand.is_whole(*each) for each in wanted if stand.name(*each) in names)
    assert stand.parts() == []
    stand.rebuild([each for each in wanted if each not in landed], gone=[1])
    assert all(stand.is_whole(*each) for each in wanted)


def test_it_may_be_stopped_anywhere_and_begun_again(tmp_path):
    rng = random.Random(3)
    stand = Stand(tmp_path, [[3 * BLOCK] * 2] * 8, 2, 1)
    stand.drives[2].medium.files.clear()
    wanted = [(stripe, mf.role_of(stripe, 2, 3)) for stripe in range(8)]
    for attempt in range(100):
        left = [each for each in wanted if not stand.is_whole(*each)]
        if not left:
            break
        countdown = iter(range(rng.randrange(2, 6 + attempt)))  # a busy machine needs longer

        def stop(_progress, countdown=countdown):
            if next(countdown, None) is None:
                raise KeyboardInterrupt

        try:
            stand.rebuild(left, gone=[2], progress=stop)
        except KeyboardInterrupt:
            assert stand.parts() == []
    assert all(stand.is_whole(*each) for each in wanted)
