"""Everything on a drive is hostile: only our own errors, bounded memory and time, nothing outside the target.

Some of it only somebody with the signing key could do. Readers stand that too.
"""

import io
import os
import random
import resource
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shipments

from sealift.errors import SealiftError
from sealift.formats import index
from sealift.formats import manifest as mf
from sealift.stages import unpack as unpacking


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A small shipment, its files by drive and the good index, to be altered and put back."""
    base = tmp_path_factory.mktemp("hostile")
    source = base / "source"
    for number in range(12):
        shipments.write(source / f"file-{number:02d}", b"content %d\n" % number * 300)
    shipments.write(source / "large", os.urandom(2_500_000))
    with open(source / "sparse", "wb") as file:
        file.seek(400_000)
        file.write(b"end")
    os.link(source / "file-01", source / "other-name")
    os.symlink("file-02", source / "link")
    (source / "folder").mkdir()
    origin = shipments.Origin(base / "origin", source, 2, 1)
    origin.pack()
    files = {path: path.read_bytes() for mount in origin.mounts for path in Path(mount).rglob("*") if path.is_file()}
    shipment = origin.shipment()
    members = shipment.groups[0].parquet(mf.MEMBERS_INDEX).read()
    packs = shipment.groups[0].parquet(mf.PACKS_INDEX).read()
    shipment.close()
    return origin, files, members, packs


@pytest.fixture
def hostile(packed, monkeypatch):
    monkeypatch.setattr(unpacking, "ProcessPoolExecutor", shipments.Inline)
    yield packed
    origin, files, _, _ = packed
    for mount in origin.mounts:
        for path in sorted(Path(mount).rglob("*"), reverse=True):
            if path.is_symlink() or (not path.is_dir() and not path.is_file()):
                path.unlink()
    for path, data in files.items():
        if path.is_dir():
            path.rmdir()
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)


@contextmanager
def bounded(seconds=20.0, mib=600):
    """At most so long, and at most so much more memory."""

    def over(*_):
        raise TimeoutError

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    old = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    begun = time.monotonic()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert time.monotonic() - begun < seconds
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10) - before < mib


def try_all(origin, seal, tmp_path) -> list[str]:
    """Unpack, list and read: what was told. Nothing but SealiftErrors, and nothing beside the target."""
    outside = tmp_path / "outside"
    shipments.write(outside / "canary", b"as it was")
    before = shipments.picture(tmp_path)
    told = []
    with bounded():
        try:
            result = origin.unpack(outside / "target", seal=seal)
            told += [reason for _, reason in (*result.failed, *result.refused)]
        except SealiftError as error:
            told.append(str(error))
        try:
            shipment = origin.shipment(seal=seal)
            try:
                for member in shipment.members():
                    if member.kind not in {"file", "hardlink"}:
                        continue
                    try:
                        for _ in shipment.pieces(member.path):
                            pass
                    except SealiftError as error:
                        told.append(str(error))
                shipment.groups[0].counts()
                shipment.groups[0].content(0, 0)
            finally:
                shipment.close()
        except SealiftError as error:
            told.append(str(error))
    after = shipments.picture(tmp_path)
    target = b"outside/target"
    grown = {path for path in after if path not in before and not path.startswith(target)}
    assert grown == set(), "something was written outside the target"
    assert (outside / "canary").read_bytes() == b"as it was"
    assert os.stat(outside / "canary").st_nlink == 1, "a hard link to a file outside"
    return told


def parquet(table, **how) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **how)
    return sink.getvalue()


def changed(members, place, **values):
    """The index with some columns of row `place` changed."""
    rows = members.to_pylist()
    rows[place] |= values
    return parquet(pa.Table.from_pylist(rows, schema=members.schema))


ROWS = [
    {"path": b"../canary"},
    {"path": b"../../outside/canary"},
    {"path": b"/tmp/absolute"},
    {"path": b""},
    {"path": b"."},
    {"path": b".."},
    {"path": b"a//b"},
    {"path": b"a/./b"},
    {"path": b"nul\0byte"},
    {"path": b"x" * 5000},
    {"path": b"d/" * 3000 + b"x"},
    {"path": b".sealift-unpack-0000000000000000/done"},
    {"kind": 9},
    {"kind": index.SYMLINK, "link": b""},
    {"kind": index.SYMLINK, "link": b"\0"},
    {"kind": index.SYMLINK, "link": b"t" * 9000},
    {"kind": index.HARDLINK, "link": b"../canary"},
    {"kind": index.HARDLINK, "link": b"../../canary"},
    {"kind": index.HARDLINK, "link": b""},
    {"kind": index.HARDLINK, "link": b"folder"},
    {"kind": index.HARDLINK, "link": b"nowhere"},
    {"kind": index.DIRECTORY, "path": b"../folder"},
    {"kind": index.DIRECTORY, "path": b"file-03"},
    {"stripe": 99_999},
    {"role": 2},
    {"role": 65_535},
    {"size": -1},
    {"size": 1 << 62},
    {"size": 1 << 50, "length": 1 << 50, "stored": 1 << 50},
    {"length": 1 << 40},
    {"length": -5},
    {"offset": -1},
    {"offset": 1 << 60},
    {"offset": (1 << 63) - 1},
    {"stored": 1 << 60, "flags": index.SPARSE},
    {"flags": index.SPARSE},
    {"flags": 255},
    {"start": 5},
    {"blake3": b"short"},
    {"blake3": bytes(32)},
    {"file_blake3": bytes(32)},
    {"mode": 65_535},
    {"mtime": -(1 << 63)},
    {"mtime": (1 << 63) - 1},
    {"path": None},
    {"size": None},
    {"link": None},
]


@pytest.mark.parametrize("values", ROWS, ids=",".join)
def test_rows_out_of_limits(hostile, tmp_path, values):
    origin, _, members, _ = hostile
    place = next(i for i, row in enumerate(members.to_pylist()) if row["path"] == b"file-03")
    seal = shipments.forge(origin, index_members_parquet_age=changed(members, place, **values))
    try_all(origin, seal, tmp_path)


def test_a_symlink_is_never_followed_by_the_next_member(hostile, tmp_path):
    origin, _, members, _ = hostile
    rows = members.to_pylist()
    rows[0] |= {"path": b"aa", "kind": index.SYMLINK, "link": os.fsencode(tmp_path / "outside"), "blake3": b""}
    rows[1] |= {"path": b"aa/canary"}
    rows[2] |= {"path": b"aa/canary2", "kind": index.HARDLINK, "link": b"file-05", "blake3": b""}
    rows[3] |= {"path": b"aa/sub/folder", "kind": index.DIRECTORY, "blake3": b""}
    rows[4] |= {"path": b"zz", "kind": index.HARDLINK, "link": b"aa/canary", "blake3": b""}
    seal = shipments.forge(origin, index_members_parquet_age=parquet(pa.Table.from_pylist(rows, schema=members.schema)))
    told = try_all(origin, seal, tmp_path)
    assert sum("in the place of the folder 'aa'" in reason for reason in told) >= 2
    assert not (tmp_path / "outside" / "canary2").exists()


def test_the_notes_of_unpack_are_nobody_elses(hostile, tmp_path):
    origin, _, members, _ = hostile
    rows = members.to_pylist()
    notes = b".sealift-unpack-" + origin.manifests()[0][0].shipment.encode()
    rows[0] |= {"path": notes + b"/tmp", "kind": index.SYMLINK, "link": os.fsencode(tmp_path), "blake3": b""}
    rows[1] |= {"path": notes + b"/done"}
    seal = shipments.forge(origin, index_members_parquet_age=parquet(pa.Table.from_pylist(rows, schema=members.schema)))
    assert sum("own notes" in reason for reason in try_all(origin, seal, tmp_path)) == 2


def test_two_members_of_one_name(hostile, tmp_path):
    origin, _, members, _ = hostile
    rows = members.to_pylist()
    table = pa.Table.from_pylist([row for row in rows for _ in range(2)], schema=members.schema)
    try_all(origin, shipments.forge(origin, index_members_parquet_age=parquet(table)), tmp_path)


BROKEN = {
    "empty": lambda _: b"",
    "garbage": lambda _: random.Random(1).randbytes(3000),
    "truncated": lambda good: good[: len(good) // 2],
    "footer": lambda good: good[:-8] + b"\xff\xff\xff\x7fPAR1",
    "magic": lambda good: good[:-4] + b"XXXX",
    "other columns": lambda _: parquet(pa.table({"a": [1, 2], "b": ["x", "y"]})),
    "no rows": lambda _: parquet(pa.table({"path": pa.array([], pa.binary())})),
    "nested": lambda _: parquet(pa.table({name: [[[1]]] for name in index.Row._fields})),
    "texts": lambda _: parquet(pa.table({name: ["text"] for name in index.Row._fields})),
}


@pytest.mark.long
@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("name", ["index_members_parquet_age", "index_packs_parquet_age"])
def test_an_index_that_is_no_index(hostile, tmp_path, what, name):
    origin, _, members, packs = hostile
    good = parquet(members if "members" in name else packs)
    told = try_all(origin, shipments.forge(origin, **{name: BROKEN[what](good)}), tmp_path)
    assert told or what == "no rows"


@pytest.mark.parametrize("seed", [*range(10), *(pytest.param(n, marks=pytest.mark.long) for n in range(10, 60))])
def test_flipped_bytes_of_an_index(hostile, tmp_path, seed):
    origin, _, members, packs = hostile
    rng = random.Random(seed)
    name, table = rng.choice([("index_members_parquet_age", members), ("index_packs_parquet_age", packs)])
    data = bytearray(parquet(table))
    for _ in range(rng.randrange(1, 6)):
        data[rng.randrange(len(data) // 2 if rng.random() < 0.3 else 0, len(data))] = rng.randrange(256)
    try_all(origin, shipments.forge(origin, **{name: bytes(data)}), tmp_path)


def test_an_index_of_very_many_equal_rows_is_read_in_bounded_memory(hostile, tmp_path):
    """A few KB of Parquet that become forty million rows: told within the time, or refused."""
    origin, _, members, _ = hostile
    row = members.slice(0, 1)
    table = pa.concat_tables([row] * 1000).combine_chunks()
    table = pa.concat_tables([table] * 2000)
    seal = shipments.forge(
        origin,
        index_members_parquet_age=parquet(table, row_group_size=2_000_000, compression="zstd", use_dictionary=True),
    )
    shipment = origin.shipment(seal=seal)
    with bounded(seconds=60), pytest.raises(SealiftError):
        next(iter(shipment.members()))
    shipment.close()


@pytest.mark.parametrize(
    "values",
    [
        {"samples": -1},
        {"plain": None},
        {"stripe": 70_000},
        {"role": 9},
    ],
)
def test_tables_of_packs_that_lie(hostile, tmp_path, values):
    origin, _, _, packs = hostile
    rows = [row | values for row in packs.to_pylist()]
    table = pa.Table.from_pylist(rows, schema=packs.schema)
    told = try_all(origin, shipments.forge(origin, index_packs_parquet_age=parquet(table)), tmp_path)
    assert told


PLANTS = ["fifo", "symlink", "folder", "gone", "empty", "long", "zeros"]
FILES = [mf.PACKS, mf.BLOCKS, mf.MEMBERS_INDEX, mf.PACKS_INDEX, mf.CARD, mf.MANIFEST, "packs/0000/0000000"]


@pytest.mark.parametrize("what", PLANTS)
@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (name in {mf.BLOCKS, mf.PACKS_INDEX})) for name in FILES]
)
def test_things_planted_on_drives(hostile, tmp_path, what, name, everywhere):
    origin, _, _, _ = hostile
    seal = origin.seal()
    shipments.write(tmp_path / "elsewhere", b"never read")
    for mount in origin.mounts if everywhere else origin.mounts[:1]:
        path = next(Path(mount, "sealift").glob(name + "*" if name.startswith("packs/") else name))
        data = path.read_bytes()
        path.unlink()
        if what == "fifo":
            os.mkfifo(path)
        elif what == "symlink":
            path.symlink_to(tmp_path / "elsewhere")
        elif what == "folder":
            path.mkdir()
        elif what != "gone":
            path.write_bytes({"empty": b"", "long": data + b"x" * 5_000_000, "zeros": bytes(len(data))}[what])
    told = try_all(origin, seal, tmp_path)
    if not everywhere:
        assert told == [], "one drive of three may be what it likes"


@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(n, marks=pytest.mark.long) for n in range(6, 30))])
def test_random_damage_to_one_drive_costs_nothing(hostile, tmp_path, seed):
    origin, files, _, _ = hostile
    rng, seal = random.Random(seed), origin.seal()
    mount = rng.choice(origin.mounts)
    for path in [path for path in files if str(path).startswith(mount)]:
        if rng.random() < 0.6:
            data = bytearray(path.read_bytes())
            for _ in range(rng.randrange(1, 5)):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            path.write_bytes(data[: rng.randrange(len(data))] if rng.random() < 0.3 else data)
    assert try_all(origin, seal, tmp_path) == []
    shipments.same(origin.source, tmp_path / "outside" / "target")
