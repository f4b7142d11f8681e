"""What is handed out is a run from the front, whole samples, within the room asked for; columns or units alike."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealift.formats.index import DIRECTORY, FILE, HARDLINK, SYMLINK
from sealift.stages.pack import queue as queues
from sealift.stages.pack import units
from sealift.stages.pack.queue import Cursor, UnitQueue
from sealift.stages.pack.source import Directory
from sealift.stages.pack.units import Files, capacity_of

PACK = 1 << 20
CAPACITY = capacity_of(PACK, 1)
member = st.tuples(
    st.sampled_from([FILE] * 8 + [SYMLINK, HARDLINK]),
    st.sampled_from([0, 1, 700, 5000, 90_000, 200_000]),  # the last may be cut
    st.booleans(),  # sparse
    st.booleans(),  # begins a sample
)
trees = st.lists(st.one_of(member, st.just((FILE, 100, False, True))), min_size=1, max_size=60)


def write(path, tree, folders):
    """The Parquet file of a group's scan; rows as tuples of path, kind, size, first."""
    rows = []
    for number, (kind, size, sparse, first) in enumerate(tree):
        alone = kind == HARDLINK and (not rows or rows[-1][1] not in {FILE, HARDLINK})
        what = FILE if alone else kind
        begins = not rows or (first and what != HARDLINK)
        length = size if what == FILE else 0
        rows.append((b"m%04d" % number, what, length, 0o644, number, int(sparse and what == FILE), begins))
    rows += [(b"z%04d" % number, DIRECTORY, 0, 0o755, number, 0, True) for number in range(folders)]
    names = ["path", "kind", "size", "mode", "mtime", "sparse", "first"]
    types = [pa.binary(), *[pa.int64()] * 5, pa.bool_()]
    columns = [pa.array(values, kind) for values, kind in zip(zip(*rows, strict=True), types, strict=True)]
    pq.write_table(pa.table(columns, names=names), path, row_group_size=17)
    return rows


def opened(path, rows, cursor=Cursor()):  # noqa: B008 -- it never changes
    left = sum(row[2] for row in rows[cursor.row :]) - cursor.offset
    queue = UnitQueue(
        str(path),
        Directory(b"/nowhere"),
        rows=len(rows),
        remaining=left,
        cursor=cursor,
        capacity=CAPACITY,
        pack_size=PACK,
        data=2,
    )
    queue._readable = lambda _sample: True  # there is no source
    queue._clashes = lambda _path: False
    return queue


def handed(work):
    """(path, kind, start, length, mtime, bound but for a segment's own name) of all in `work`, name by name."""
    for each in work:
        if isinstance(each, Files):
            assert len(each.paths) == len(each.sizes) == len(each.modes) == len(each.mtimes)
            for place in range(len(each.paths)):
                unit = each.unit(place)
                yield unit.path, FILE, 0, unit.size, unit.mtime, units.bound(unit)
            continue
        yield (
            each.path,
            each.kind,
            each.start,
            each.length,
            each.mtime,
            units.bound(each) - 2 * len(each.part) * (1 + len(each.links)),
        )
        if each.start + each.length == each.size or each.kind != FILE:
            for link in each.links:
                yield link, HARDLINK, 0, 0, None, 0


def drain(queue, rooms):
    """Take until nothing is left, with rooms in turn, at last a whole pack's; each take, and the cursor behind it."""
    takes = []
    for turn in range(10_000):
        if queue.empty:
            return takes
        room = rooms[turn % len(rooms)] if rooms and turn % (len(rooms) + 1) < len(rooms) else CAPACITY
        work = queue.take(room)
        took = list(handed(work))
        assert sum(each[5] for each in took) <= room
        assert took or room < CAPACITY
        takes.append((took, queue.cursor, [(each.paths, each.samples) for each in work if isinstance(each, Files)]))
    pytest.fail("it never ends")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trees, st.integers(0, 20), st.lists(st.integers(0, CAPACITY), max_size=4), st.integers(1, 20), st.integers(1, 9))
def test_everything_is_handed_out_once_and_in_order(tmp_path, tree, folders, rooms, batch, few):
    path = tmp_path / "scan.parquet"
    rows = write(path, tree, folders)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queues, "_ROWS", batch)
        patch.setattr(queues, "_FEW", few)
        takes = drain(opened(path, rows), rooms)
        pieces = [each for took, _, _ in takes for each in took]
        whole = {}
        order = []
        for name, kind, start, length, mtime, _ in pieces:
            if start == 0 and (not order or order[-1] != name):
                order.append(name)
            assert whole.get(name, 0) == start
            whole[name] = start + length
            row = rows[int(name[1:]) if name[:1] == b"m" else len(tree) + int(name[1:])]
            assert kind == row[1]
            assert mtime in {row[4], None}
        assert order == [row[0] for row in rows]
        assert [whole[row[0]] for row in rows] == [row[2] for row in rows]
        begins = {row[0] for row in rows if row[6]}
        for paths, samples in (each for _, _, columns in takes for each in columns):
            assert samples == len(begins.intersection(paths))
        for _, cursor, _ in takes[:-1]:  # and from any cursor on, the rest
            again = [each[:4] for more, _, _ in drain(opened(path, rows, cursor), []) for each in more]
            names = {each[0] for each in again}
            assert names == {row[0] for row in rows[cursor.row :]}
            assert min(each[2] for each in again if each[0] == rows[cursor.row][0]) == cursor.offset


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trees, st.integers(1, 20))
def test_a_sample_is_not_torn_unless_it_may_be_cut(tmp_path, tree, batch):
    path = tmp_path / "scan.parquet"
    rows = write(path, tree, 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queues, "_ROWS", batch)
        takes = drain(opened(path, rows), [CAPACITY // 3, 3000])
    sample_of, sample = {}, b""
    for row in rows:
        sample = row[0] if row[6] else sample
        sample_of[row[0]] = sample
    members = {}
    for row in rows:
        members.setdefault(sample_of[row[0]], []).append(row)
    where = {}
    for number, (took, _, _) in enumerate(takes):
        for each in took:
            where.setdefault(sample_of[each[0]], set()).add(number)
    for key, found in where.items():
        size = sum(units.plain_bound(len(row[0]), row[2] if row[1] == FILE else 5000) + 150_000 for row in members[key])
        cuttable = len([row for row in members[key] if row[1] != HARDLINK]) == 1
        assert len(found) == 1 or cuttable or size > CAPACITY


def test_what_is_left_of_a_sample_whose_file_was_cut_goes_on_from_there(tmp_path):
    """Eight recordings of one sample, more than a pack holds; stopped within the sixth, the rest would fit into one."""
    path = tmp_path / "scan.parquet"
    rows = write(path, [(FILE, 200_000, False, number == 0) for number in range(8)], 0)
    takes = drain(opened(path, rows, Cursor(5, 65_536, 1)), [])
    assert [each[:4] for took, _, _ in takes for each in took] == [
        (rows[5][0], FILE, 65_536, 200_000 - 65_536),
        (rows[6][0], FILE, 0, 200_000),
        (rows[7][0], FILE, 0, 200_000),
    ]


def test_a_sample_that_no_pack_holds_is_taken_member_by_member(tmp_path):
    path = tmp_path / "scan.parquet"
    rows = write(path, [(FILE, 90_000, False, number == 0) for number in range(40)], 0)
    takes = drain(opened(path, rows), [])
    assert [each[0] for took, _, _ in takes for each in took] == [row[0] for row in rows]


def test_most_small_files_stay_columns(tmp_path):
    path = tmp_path / "scan.parquet"
    rows = write(path, [(FILE, 500, False, True)] * 300, 3)
    work = opened(path, rows).take(CAPACITY)
    assert [type(each) for each in work][:1] == [Files]
    assert sum(len(each.paths) for each in work if isinstance(each, Files)) > 10
