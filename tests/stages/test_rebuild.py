"""Rebuilding packs: whatever is lost or rotten in a column, up to m, comes back; beyond, nothing is harmed."""

import itertools
import random
import threading
import time

import pytest
from blake3 import blake3
from fleet import BLOCK, make
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealift.drives.memory import MemoryDrive, MemoryPartFile
from sealift.drives.ranges import RemoteDrive
from sealift.errors import DriveFault, FormatError
from sealift.formats import manifest as mf
from sealift.formats.sizes import rate_text
from sealift.stages import rates
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


@pytest.fixture
def threads():
    """Asks which threads are alive that were not before; workers end by themselves soon after they were closed."""
    before = set(threading.enumerate())

    def ours():
        deadline = time.monotonic() + 5
        while found := [each.name for each in threading.enumerate() if each not in before]:
            if time.monotonic() > deadline:
                return found
            time.sleep(0.01)
        return []

    return ours


@pytest.mark.parametrize("at", [0, 1, 4, 11, 22])
def test_it_may_be_stopped_anywhere_and_begun_again(tmp_path, monkeypatch, threads, at):
    """Interrupted while a block is written: what is whole stays, of the rest nothing, and nothing comes after it."""
    monkeypatch.setattr(stage, "_TELL", 0.01)
    stand = Stand(tmp_path, [[3 * BLOCK] * 2] * 8, 2, 1)
    target = stand.drives[2]
    target.medium.files.clear()
    wanted = [(stripe, mf.role_of(stripe, 2, 3)) for stripe in range(8)]
    writes, reached, gate = itertools.count(), threading.Event(), threading.Event()

    def plan(operation, _name, _offset):
        if operation == "write" and next(writes) == at:
            reached.set()
            assert gate.wait(10)

    def stop(_progress):
        if reached.is_set() and not gate.is_set():
            raise KeyboardInterrupt

    def stopped(run, before=stage._Run._stop):
        before(run)
        gate.set()

    monkeypatch.setattr(stage._Run, "_stop", stopped)
    target.plan = plan
    with pytest.raises(KeyboardInterrupt):
        stand.rebuild(wanted, gone=[2], progress=stop)
    assert next(writes) == at + 1
    whole = [each for each in wanted if stand.is_whole(*each)]
    assert len(whole) <= (at + 1) // 3
    assert {name for name in target.medium.files if name.startswith("packs/")} == {stand.name(*each) for each in whole}
    assert stand.parts() == []
    assert threads() == []
    stand.rebuild([each for each in wanted if each not in whole], gone=[2])
    assert all(stand.is_whole(*each) for each in wanted)
    assert threads() == []


def test_who_is_interrupted_while_it_begins_is_not_kept(tmp_path, monkeypatch):
    """Between two threads: those that never begin are not waited for."""
    monkeypatch.setattr(stage, "_LEAVE", 0.1)
    stand, puts, put = Stand(tmp_path, [[3 * BLOCK] * 2] * 4, 2, 1), itertools.count(), stage.Workers.put

    def interrupted(workers, job):
        if workers._name == "rebuild" and next(puts) == 1:
            raise KeyboardInterrupt
        put(workers, job)

    monkeypatch.setattr(stage.Workers, "put", interrupted)
    stand.drives[2].medium.files.clear()
    wanted = [(stripe, mf.role_of(stripe, 2, 3)) for stripe in range(4)]
    with pytest.raises(KeyboardInterrupt):
        stand.rebuild(wanted, gone=[2])
    assert stand.parts() == []


def test_who_is_interrupted_does_not_wait_for_a_source_that_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "_LEAVE", 0.1)
    monkeypatch.setattr(stage, "_TELL", 0.01)
    stand, gate, reached = Stand(tmp_path, [[3 * BLOCK] * 2] * 4, 2, 1), threading.Event(), threading.Event()
    stand.drives[2].medium.files.clear()

    def plan(operation, _name, _offset):
        if operation == "read":
            reached.set()
            gate.wait(30)

    def stop(_progress):
        if reached.is_set() and not gate.is_set():
            raise KeyboardInterrupt

    stand.drives[1].plan = plan
    wanted = [(stripe, mf.role_of(stripe, 2, 3)) for stripe in range(4)]
    begun, told = time.monotonic(), []
    stand.spoil(0, mf.role_of(0, 1, 3), 0)  # which is found out when it does read
    with pytest.raises(KeyboardInterrupt):
        stand.rebuild(wanted, gone=[2], progress=stop, noticed=told.append)
    assert time.monotonic() - begun < 20
    gate.set()
    time.sleep(0.2)
    assert told == []
    assert not [name for name in stand.drives[2].medium.files if name.startswith("packs/")], "nothing is written later"


@pytest.mark.parametrize("written", [False, True], ids=["read", "written"])
def test_the_drive_that_all_wait_for_is_named_once(tmp_path, monkeypatch, written):
    monkeypatch.setattr(rates, "MINUTE", 0.2)
    monkeypatch.setattr(stage, "_TELL", 0.01)
    stand = Stand(tmp_path, [[4 * BLOCK] * 3] * 6, 3, 3)
    late = 1 if written else 4

    def plan_of(drive):
        pause = 0.02 if drive is stand.drives[late] else 0.001
        return lambda operation, _name, _offset: time.sleep(pause if operation in {"read", "write"} else 0)

    for drive in stand.drives:
        drive.plan = plan_of(drive)
    lost, slow = (0, 1, 2), []
    wanted = [(stripe, mf.role_of(stripe, slot, 6)) for stripe in range(6) for slot in lost]
    result = stand.rebuild(wanted, gone=lost, slow=slow.append)
    assert result.packs == 18
    (named,) = slow
    assert (named.mount, named.written) == (stand.drives[late].mount, written)
    assert named.rate < rates.SHARE * named.median
    verb = "takes" if written else "gives"
    assert named.words.startswith(f"{named.mount} is slow: it {verb} {rate_text(named.rate)}, the median of the")


def test_a_pack_is_written_from_front_to_back(tmp_path):
    """Whoever is late: a bucket takes it in no other way, and a shingled disk likes none."""
    rng, stand = random.Random(5), Stand(tmp_path, [[12 * BLOCK] * 2] * 2, 2, 2)
    written = {}

    def planned(drive):
        def plan(operation, name, offset):
            if operation == "read":
                time.sleep(rng.random() / 50)
            if operation == "write":
                written.setdefault((drive.mount, name), []).append(offset)

        return plan

    for drive in stand.drives:
        drive.plan = planned(drive)
    for slot in (0, 1):
        stand.drives[slot].medium.files.clear()
    wanted = [(stripe, mf.role_of(stripe, slot, 4)) for stripe in range(2) for slot in (0, 1)]
    stand.rebuild(wanted, gone=[0, 1])
    assert all(stand.is_whole(*each) for each in wanted)
    assert sorted(written) == sorted((stand.drive(*each).mount, stand.name(*each)) for each in wanted)
    assert all(offsets == [block * BLOCK for block in range(12)] for offsets in written.values())


def test_memory_is_not_used_again_before_all_targets_have_it(tmp_path):
    stand = Stand(tmp_path, [[8 * BLOCK] * 2], 2, 2)
    for slot in (0, 1):
        stand.drives[slot].medium.files.clear()
    roles = [mf.role_of(0, slot, 4) for slot in (0, 1)]
    gone_on = threading.Event()

    def first(operation, _name, offset):
        if operation == "write" and offset >= stage.AHEAD * BLOCK:
            gone_on.set()  # what the thread had that solved the first block lies over it now

    def second(operation, _name, _offset):
        if operation == "write":
            gone_on.wait(0.3)

    stand.drive(0, min(roles)).plan, stand.drive(0, max(roles)).plan = first, second
    result = stand.rebuild([(0, role) for role in roles], gone=[0, 1])
    assert result.packs == 2
    assert all(stand.is_whole(0, role) for role in roles)


def test_a_short_pack_of_a_slow_drive_is_not_forgotten(tmp_path):
    """Its last block is long written elsewhere when its first one is."""
    stand = Stand(tmp_path, [[6 * BLOCK, 9]], 2, 2)
    roles = [0, 1]
    for role in roles:
        stand.drive(0, role).medium.files.clear()
    stand.drive(0, 1).plan = lambda operation, _name, _at: time.sleep(0.3) if operation == "create" else None
    result = stand.rebuild([(0, role) for role in roles], gone=[mf.slot_of(0, role, 4) for role in roles])
    assert result.packs == 2
    assert all(stand.is_whole(0, role) for role in roles)


@pytest.mark.parametrize("both", [False, True])
def test_no_pack_appears_that_lacks_a_block(tmp_path, both):
    """A write fails for a reason that nobody foresaw, while later blocks are on their way."""
    stand = Stand(tmp_path, [[3 * BLOCK] * 2] * 3, 2, 2)
    slots = [0, 1] if both else [0]
    for slot in slots:
        stand.drives[slot].medium.files.clear()

    def plan(operation, _name, offset):
        if operation == "write" and offset == BLOCK:
            time.sleep(0.05)
            raise MemoryError

    stand.drives[0].plan = plan
    wanted = [(stripe, mf.role_of(stripe, slot, 4)) for stripe in range(3) for slot in slots]
    with pytest.raises(MemoryError):
        stand.rebuild(wanted, gone=slots)
    for slot in slots:
        names = {name for name in stand.drives[slot].medium.files if name.startswith("packs/")}
        assert names == {stand.name(*each) for each in wanted if stand.is_whole(*each)} & names
    assert not [name for name in stand.drives[0].medium.files if name.startswith("packs/")]
    assert stand.parts() == []


def test_of_one_drive_packs_land_one_at_a_time(tmp_path):
    """What is noted when a pack landed is noted before the next one is there."""
    stand = Stand(tmp_path, [[BLOCK] * 2] * 9, 2, 1)
    target = stand.drives[1]
    target.medium.files.clear()
    wanted = [(stripe, mf.role_of(stripe, 1, 3)) for stripe in range(9)]
    seen = []

    def landed(_stripe, _role, _drive):
        before = {name for name in target.medium.files if not name.endswith(".part")}
        time.sleep(0.02)
        after = {name for name in target.medium.files if not name.endswith(".part")}
        seen.append((len(before), after == before))

    stand.rebuild(wanted, gone=[1], landed=landed)
    assert seen == [(number + 1, True) for number in range(9)]


def test_what_the_works_raise_is_raised(tmp_path, threads):
    stand = Stand(tmp_path, [[3 * BLOCK] * 2] * 6, 2, 1)
    stand.drives[1].medium.files.clear()

    def works():
        for stripe in range(6):
            if stripe == 3:
                raise FormatError("stripe 3 is not to be had")
            yield stand.work(stripe, {mf.role_of(stripe, 1, 3): [stand.drives[1]]})

    sources = {slot: [drive] for slot, drive in enumerate(stand.drives) if slot != 1}
    with pytest.raises(FormatError, match="stripe 3"):
        stage.rebuild(works(), 2, 1, sources)
    there = {name for name in stand.drives[1].medium.files if name.startswith("packs/")}
    whole = [stripe for stripe in range(3) if stand.is_whole(stripe, mf.role_of(stripe, 1, 3))]
    assert there == {stand.name(stripe, mf.role_of(stripe, 1, 3)) for stripe in whole}
    assert stand.parts() == []
    assert threads() == []


def test_a_block_is_read_once_more_where_it_fails(tmp_path):
    stand = Stand(tmp_path, [[3 * BLOCK] * 2], 2, 1)
    stand.drives[0].medium.files.clear()
    reads = itertools.count()
    stand.drives[1].plan = lambda operation, _name, _at: 5 if operation == "read" and next(reads) == 1 else None
    wanted = [(0, mf.role_of(0, 0, 3))]
    result = stand.rebuild(wanted, gone=[0])
    assert (result.packs, result.noticed, result.lost) == (1, [], [])
    assert stand.is_whole(*wanted[0])


@pytest.mark.parametrize("how", ["hangs when opened", "hangs when read", "is slow"])
def test_a_host_that_keeps_one_waiting_is_asked_no_more_than_a_few_times(tmp_path, how):
    """However many packs there are: others have what it has."""
    stand = Stand(tmp_path, [[2 * BLOCK] * 2] * 12, 2, 2)
    stand.drives[0].medium.files.clear()
    asked = []

    class Far(MemoryDrive):
        slow = False

    RemoteDrive.register(Far)
    far = Far(stand.drives[1].mount, stand.drives[1].medium)

    def plan(operation, _name, _offset):
        if operation == ("open" if how == "hangs when opened" else "read"):
            asked.append(operation)
            time.sleep(0.05)
            far.slow = how == "is slow"
            return None if how == "is slow" else 110  # ETIMEDOUT
        return None

    far.plan = plan
    stand.drives[1] = far
    wanted = [(stripe, mf.role_of(stripe, 0, 4)) for stripe in range(12)]
    result = stand.rebuild(wanted, gone=[0])
    assert all(stand.is_whole(*each) for each in wanted)
    assert result.lost == result.withheld == []
    assert 1 <= len(asked) <= stage.AHEAD


@pytest.mark.parametrize("far", [True, False], ids=["in-another-host", "here"])
def test_a_host_that_could_not_be_reached_once_is_asked_for_the_next_pack(tmp_path, far):
    """A drive here of which the system says that it is no more there is not."""
    stand, kind = Stand(tmp_path, [[2 * BLOCK] * 2] * 4, 2, 1), type("Far", (MemoryDrive,), {"slow": False})
    if far:
        RemoteDrive.register(kind)
    stand.drives[0].medium.files.clear()
    first = stand.name(0, mf.role_of(0, 1, 3))
    stand.drives[1] = kind(stand.drives[1].mount, stand.drives[1].medium)
    stand.drives[1].plan = lambda operation, name, _offset: (
        19 if (operation, name) == ("open", first) else None
    )  # ENODEV
    wanted = [(stripe, mf.role_of(stripe, 0, 3)) for stripe in range(4)]
    result = stand.rebuild(wanted, gone=[0])
    assert [stand.is_whole(*each) for each in wanted] == [False, *[far] * 3]
    named, others = (result.withheld, result.lost) if far else (result.lost, result.withheld)
    assert ({each.stripe for each in named}, others) == ({0} if far else {0, 1, 2, 3}, [])


@pytest.mark.parametrize("rotten", [False, True], ids=["enough-with-it", "too-few-with-it"])
def test_what_a_host_keeps_back_is_lost_only_where_it_would_not_do(tmp_path, rotten):
    stand, kind = Stand(tmp_path, [[2 * BLOCK] * 2], 2, 1), type("Far", (MemoryDrive,), {"slow": False})
    RemoteDrive.register(kind)
    role, _, here = (mf.role_of(0, slot, 3) for slot in range(3))
    stand.drives[0].medium.files.clear()
    stand.drives[1] = kind(stand.drives[1].mount, stand.drives[1].medium)
    stand.drives[1].plan = lambda operation, _name, _offset: 110 if operation == "read" else None  # ETIMEDOUT
    if rotten:
        stand.spoil(0, here, 0)
        stand.spoil(0, here, 1)
    result = stand.rebuild([(0, role)], gone=[0])
    named, others = (result.lost, result.withheld) if rotten else (result.withheld, result.lost)
    assert [(each.role, each.first, each.last) for each in named] == [(role, 0, 1)]
    assert (others, result.unproved) == ([], set())
    assert stand.drives[1].mount in result.hosts
    assert not stand.is_whole(0, role)


@pytest.mark.parametrize("count", [1, 2, 3, 64, 65, 200])
def test_a_sample_has_the_first_and_the_last_block_and_one_in_64_of_the_others(count):
    chosen = stage.sample(count)
    assert (chosen[0], chosen[-1]) == (0, count - 1)
    assert len(set(chosen)) == len(chosen) >= min(count, 2 + -(-(count - 2) // 64))


@pytest.mark.parametrize("block", [0, 4])
def test_the_first_and_the_last_block_of_a_new_pack_are_read_back(tmp_path, monkeypatch, block):
    stand = Stand(tmp_path, [[4 * BLOCK + 9, 5]], 2, 1)
    drive, name = stand.drive(0, 0), stand.name(0, 0)
    drive.medium.files.clear()
    real = MemoryPartFile.open_back

    def other_bytes(part):
        part._data[block * BLOCK + 3] ^= 1
        return real(part)

    monkeypatch.setattr(MemoryPartFile, "open_back", other_bytes)
    with pytest.raises(DriveFault, match=f"block {block} does not read as it was written"):
        stand.rebuild([(0, 0)], gone=[mf.slot_of(0, 0, 3)], read_back=True)
    assert name not in drive.medium.files
    assert stand.parts() == []


def test_of_a_source_that_is_gone_nothing_is_called_rotten(tmp_path):
    stand = Stand(tmp_path, [[6 * BLOCK] * 3], 3, 2)
    stand.drives[0].medium.files.clear()
    stand.drives[1].plan = lambda operation, _name, offset: 19 if operation == "read" and offset else None  # ENODEV
    wanted = [(0, mf.role_of(0, 0, 5))]
    result = stand.rebuild(wanted, gone=[0])
    assert stand.is_whole(*wanted[0])
    assert {each.kind for each in result.noticed} == {"unreadable"}


def test_of_two_copies_of_a_drive_the_blocks_are_taken_that_each_has(tmp_path):
    stand, other = (Stand(tmp_path / side, [[4 * BLOCK] * 2], 2, 1) for side in "ab")
    stand.spoil(0, 0, 1)
    other.spoil(0, 0, 2)
    slot = mf.slot_of(0, 0, 3)
    work = stand.work(0, {0: [stand.drives[slot]]})
    sources = {each: [drive] for each, drive in enumerate(stand.drives)}
    sources[slot].append(other.drives[slot])
    result = stage.rebuild([work], 2, 1, sources)
    assert (result.packs, result.blocks, result.lost) == (1, 0, [])
    assert stand.is_whole(0, 0)
