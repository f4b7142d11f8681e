"""The PyTorch dataset over real shipments: batches, ranks, workers, stops, drives that come and go."""

import contextlib
import gc
import itertools
import multiprocessing
import os
import random
from collections import Counter

import numpy as np
import pytest
import shipments
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader  # noqa: E402

from sealift.errors import BadInput, FormatError, Lost, NotAllHere  # noqa: E402
from sealift.integrations.torch import ShipmentDataset, ShipmentMap, _Reader  # noqa: E402
from sealift.reading.samples import PackSamples  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores, on purpose
FILES = 600


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    base, rng = tmp_path_factory.mktemp("torch"), random.Random(1)
    for number in range(FILES):
        shipments.write(base / f"source/d{number % 7}/{number:04d}.txt", b"%d" % number)
        shipments.write(base / f"source/d{number % 7}/{number:04d}.bin", rng.randbytes(rng.randrange(20_000)))
    made = shipments.Origin(base / "origin", base / "source", 2, 1, groups=2)
    made.pack()
    return made


@pytest.fixture(scope="module")
def seal(origin):
    return origin.seal()


@pytest.fixture(scope="module")
def shipment(origin, seal):
    with origin.shipment(seal=seal) as opened:
        yield opened


def mounts_of(origin, shipment, group):
    return [drive.mount for drives in shipment.groups[group].reader.drives.values() for drive in drives]


def number_of(sample):
    return int(sample.files["txt"])


def dataset(shipment, **options):
    given = {"batch_size": 24, "seed": 5, "decode": number_of, "rank": 0, "world_size": 1, "window": 60_000}
    return ShipmentDataset(shipment, **(given | options))


def read(shipment, workers=0, **options):
    made = dataset(shipment, **options)
    context = "fork" if workers else None
    return list(DataLoader(made, batch_size=None, num_workers=workers, multiprocessing_context=context))


def test_every_sample_once_in_full_batches(shipment):
    batches = read(shipment)
    assert len(batches) == FILES // 24 == len(dataset(shipment))
    assert {len(batch) for batch in batches} == {24}
    assert max(Counter(itertools.chain(*batches)).values()) == 1
    assert dataset(shipment).dropped == FILES % 24
    assert dataset(shipment).owed == 0
    assert batches == read(shipment) != read(shipment, seed=6)


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_workers_change_nothing(shipment, workers):
    assert read(shipment, workers) == read(shipment)


def test_spawned_workers_open_the_shipment_themselves(shipment):
    loader = DataLoader(dataset(shipment), batch_size=None, num_workers=1, multiprocessing_context="spawn")
    assert list(itertools.islice(loader, 3)) == read(shipment)[:3]


@pytest.mark.parametrize("world", [2, 3, 4, 24])
def test_ranks_share_each_batch(shipment, world):
    whole = read(shipment)
    parts = [read(shipment, rank=rank, world_size=world) for rank in range(world)]
    assert {len(part) for part in parts} == {len(whole)}
    for batch, shares in zip(whole, zip(*parts, strict=True), strict=True):
        assert {len(share) for share in shares} == {24 // world}
        assert list(itertools.chain(*shares)) == batch


@pytest.mark.long
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 8), st.sampled_from([1, 2, 3, 4]), st.sampled_from([0, 2])), max_size=4))
def test_resume_anywhere_at_other_ranks_and_workers(shipment, stops):
    """No sample skipped, none twice, batches equal: whatever the stops, ranks and workers."""
    whole, got, state = read(shipment), [], None
    for count, world, workers in [*stops, (10**6, 1, 0)]:
        parts, after = [], []
        for rank in range(world):
            options = {"rank": rank, "world_size": world} | ({"state": state} if state else {})
            made = dataset(shipment, **options)
            context = "fork" if workers else None
            loader = DataLoader(made, batch_size=None, num_workers=workers, multiprocessing_context=context)
            parts.append(list(itertools.islice(loader, count)))
            after.append(made.state(len(parts[-1])))
        assert all(each == after[0] for each in after)
        got += [list(itertools.chain(*shares)) for shares in zip(*parts, strict=True)]
        state = after[0]
    assert got == whole


def test_an_iteration_that_was_left_is_begun_anew(shipment):
    """Or `state` would count from another batch than the iteration: samples skipped, or read twice."""
    made = dataset(shipment)
    whole = read(shipment)
    assert list(itertools.islice(made, 3)) == whole[:3]
    assert list(itertools.islice(made, 5)) == whole[:5]
    assert read(shipment, state=made.state(5)) == whole[5:]
    made.look_again(shipment, 5)
    assert list(made) == whole[5:]


def read_by_hand(shipment, load, **options):
    """Batches one by one, through a source whose `load` is `load`; what the reader holds after each of them."""

    class Source(PackSamples):
        def load(self, unit, lo, hi):
            return load(super().load, unit, lo, hi)

    made = dataset(shipment, source=Source, lanes=12, turns=1, **options)
    reader = _Reader(made.order, made._sources(), number_of)
    for batch in range(len(made)):
        given = reader.share(batch, 0, 1)
        yield given, [held for lane in reader._lanes.values() for held in (lane, lane.next) if held is not None]


def test_windows_are_read_evenly_over_the_batches_and_let_go_as_they_are_given(shipment):
    loads, sizes, at = Counter(), [], 0

    def load(real, unit, lo, hi):
        loads[at] += 1
        sizes.append(hi - lo)
        return real(unit, lo, hi)

    got = []
    for batch, held in read_by_hand(shipment, load, window=200_000):
        got.append(batch)
        at += 1
        assert sum(sample is not None for each in held for sample in each._samples) <= 1.3 * 12 * max(sizes)
    assert got == read(shipment, lanes=12, turns=1, window=200_000)
    assert loads[0] >= 12  # the first windows of all lanes
    assert max(loads[number] for number in range(1, at)) <= 6  # in step it would be 12 at once, again and again
    assert sum(loads.values()) <= FILES / (sum(sizes) / len(sizes)) + 2 * 12  # each window once


@pytest.mark.parametrize("heals", [True, False])
def test_what_cannot_be_read_ahead_fails_when_it_is_needed_and_not_before(shipment, heals):
    options = {"lanes": 12, "turns": 1, "window": 200_000}
    whole, got, refused = read(shipment, **options), [], []

    def fails(real, unit, lo, hi):
        if got and not refused:
            refused.append((unit, lo))
            raise Lost("too many drives")
        if (unit, lo) in refused and not heals:
            raise Lost("too many drives")
        return real(unit, lo, hi)

    with contextlib.nullcontext() if heals else pytest.raises(Lost):
        for batch, _ in read_by_hand(shipment, fails, window=200_000):
            got.append(batch)
    assert refused
    assert len(got) == len(whole) if heals else 2 < len(got) < len(whole)
    assert got == whole[: len(got)]


def test_epochs(shipment):
    made = dataset(shipment)
    loader = DataLoader(made, batch_size=None, num_workers=2, persistent_workers=True, multiprocessing_context="fork")
    first, again = list(loader), list(loader)
    made.set_epoch(1)
    second = list(loader)
    assert first == again != second
    assert second == read(shipment, state=made.state(0))
    assert made.state(3)["epoch"] == 1


def test_owed_samples_are_read_when_they_arrive(origin, seal, shipment):
    """Two drives of a group are late, one more than parity holds; then a whole group is; then everything is here."""
    late = mounts_of(origin, shipment, 1)
    everything = list(origin.mounts)
    seen, state = Counter(), None
    for gone, stop in ((late[:2], 4), (late, 5), ([], 2), (late[1:2], 10**6)):
        here = [mount for mount in everything if mount not in gone]
        with origin.shipment(here, seal) as opened:
            if len(gone) == 3:
                with pytest.raises(NotAllHere, match="group 1 was read before"):
                    dataset(opened, state=state).order  # noqa: B018 -- it is what fails
                continue
            made = dataset(opened, **({"state": state} if state else {}))
            assert (made.owed > 0) == (len(gone) == 2)
            batches = list(itertools.islice(made, stop))
            seen.update(itertools.chain(*batches))
            state = made.state(len(batches))
    assert max(seen.values()) == 1
    assert len(seen) == FILES - made.dropped
    assert sum(phase["batches"] for phase in state["phases"]) == sum(seen.values()) // 24


def test_a_group_that_never_came_is_named_and_read_later_in_the_epoch(origin, seal, shipment):
    late = mounts_of(origin, shipment, 1)
    with origin.shipment([mount for mount in origin.mounts if mount not in late], seal) as opened:
        made = dataset(opened)
        assert made.owed_groups == [1]
        batches = list(made)
        assert made.owed == 0, "what a group holds of which nothing is here, nobody knows"
        seen = Counter(itertools.chain(*batches))
        made.look_again(shipment, len(batches))
        assert made.owed_groups == []
        seen.update(itertools.chain(*made))
    assert max(seen.values()) == 1
    assert len(seen) == FILES - made.dropped


def test_lost_drives_change_no_batch(origin, seal, shipment):
    gone = [mounts_of(origin, shipment, group)[group] for group in (0, 1)]
    with origin.shipment([mount for mount in origin.mounts if mount not in gone], seal) as opened:
        assert read(opened) == read(shipment)
        assert opened.health().rebuilt_blocks


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.long)])
def test_health_has_what_workers_met_and_each_of_them_once(origin, seal, shipment, context):
    gone = mounts_of(origin, shipment, 0)[0]
    with origin.shipment([mount for mount in origin.mounts if mount != gone], seal) as opened:
        made = dataset(opened)
        alone = made.health()
        assert (alone.processes, alone.rebuilt_blocks) == (1, 0)
        loader = DataLoader(
            made, batch_size=None, num_workers=2, persistent_workers=True, multiprocessing_context=context
        )
        list(loader)
        first = made.health()
        workers = made._workers.read()
        assert (first.processes, opened.health().rebuilt_blocks) == (3, 0)
        assert 0 < first.rebuilt_blocks == sum(each.rebuilt_blocks for each in workers)
        assert sum(pack.blocks for pack in first.packs) <= first.rebuilt_blocks
        made.set_epoch(1)
        list(loader)
        assert made.health().processes == 3, "the same two, in another epoch"
        folder = made._workers._folder
        del loader, made
        gc.collect()
        assert not os.path.exists(folder)


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
def test_stateful_loader_resumes_at_an_unchanged_number_of_workers(shipment):
    loaders = pytest.importorskip("torchdata.stateful_dataloader")

    def loader():
        return loaders.StatefulDataLoader(
            dataset(shipment), batch_size=None, num_workers=2, multiprocessing_context="fork"
        )

    whole = read(shipment)
    for stop in (1, 2, 7):
        first = loader()
        iterator = iter(first)
        got = [next(iterator) for _ in range(stop)]
        saved = first.state_dict()
        del iterator
        second = loader()
        second.load_state_dict(saved)
        assert got + list(second) == whole


def test_the_map_view_finds_samples_by_their_ids(shipment):
    view = ShipmentMap(shipment)
    pack = next(iter(shipment.packs()))[0]
    ids = view.ids(pack)
    assert [view[each] for each in ids] == list(shipment.samples(pack))
    assert len(set(ids)) == len(ids)
    loader = DataLoader(ShipmentMap(shipment, number_of), batch_size=4, sampler=ids[::-1])
    assert torch.cat(list(loader)).tolist() == [number_of(view[each]) for each in reversed(ids)]
    with pytest.raises(BadInput, match="no data pack"):
        view[(0, 10**9, 0), 0]
    with pytest.raises(FormatError):
        view[pack, ids[0][1] + 512]


def test_collate_makes_batches(shipment):
    made = dataset(shipment, collate=np.array, batch_size=8)
    assert next(iter(made)).shape == (8,)


def test_what_does_not_fit_is_refused(shipment):
    for options, words in (
        ({"batch_size": None}, "no batch_size"),
        ({"lanes": 5}, "lanes"),
        ({"world_size": 5}, "ranks"),
        ({"rank": 2, "world_size": 2}, "no such rank"),
        ({"state": {"type": "other"}}, "none of sealift's"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"turns": 0}, "turns is 0"),
        ({"last": "x"}, "last is 'x'"),
        ({"batch_size": 5000}, "not one batch of 5000: the shipment has 600 samples"),
    ):
        with pytest.raises(BadInput, match=words):
            dataset(shipment, **options)
    state = dataset(shipment).state(0)
    for change, words in (({"shipment": "00" * 8}, "of shipment"), ({"samples": "rows"}, "of samples")):
        with pytest.raises(BadInput, match=words):
            dataset(shipment, state=state | change)


def in_rank(shipment, meeting, rank, out):
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2, init_method=f"file://{meeting}")
    made = ShipmentDataset(shipment, batch_size=24, seed=5, decode=number_of, window=60_000)
    out.put((made.rank, made.world_size, list(made)))
    torch.distributed.destroy_process_group()


@pytest.mark.long
def test_ranks_are_those_of_torch_distributed(shipment, tmp_path):
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    children = [context.Process(target=in_rank, args=(shipment, tmp_path / "meeting", rank, out)) for rank in range(2)]
    for child in children:
        child.start()
    parts = {rank: batches for rank, _, batches in (out.get(timeout=100) for _ in children)}
    for child in children:
        child.join()
    assert [one + two for one, two in zip(parts[0], parts[1], strict=True)] == read(shipment)
