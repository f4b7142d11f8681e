"""Shipment, the one door: every byte, range, folder and size as at the source, whatever drives are missing."""

import contextlib
import errno
import multiprocessing
import os
import pickle
import random
import shutil
import stat
import threading
from pathlib import Path

import pytest
import shipments
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealift.cli import main
from sealift.drives import base
from sealift.errors import BadInput, Lost, NotAllHere, Refused
from sealift.formats import manifest as mf
from sealift.formats import seal as seals
from sealift.reading.containers import TarShards
from sealift.reading.health import read_health
from sealift.reading.index_files import Members
from sealift.reading.pack import OpenPacks
from sealift.reading.shipment import Shipment

RANGES = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    base = tmp_path_factory.mktemp("shipment")
    source = shipments.corpus(base / "source")
    for name in ("a", "a-b", "a/c", "a/c-d", "a/c/e", "a/f.txt", "a.x"):  # order of bytes is not that of folders
        path = source / "order" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() and "." in path.name:
            shipments.write(path, name.encode())
        else:
            path.mkdir(exist_ok=True)
    made = shipments.Origin(base / "origin", source, 2, 1, groups=2)
    made.pack()
    return made


@pytest.fixture(scope="module")
def seal(origin):
    return origin.seal()


@pytest.fixture(scope="module", params=["whole", "a drive of each group is missing"])
def shipment(request, origin, seal):
    gone = [] if request.param == "whole" else [mounts[1] for mounts in by_group(origin)]
    with origin.shipment([mount for mount in origin.mounts if mount not in gone], seal) as opened:
        yield opened


def by_group(origin):
    """The mounts of each group."""
    groups = {0: [], 1: []}
    for mount in origin.mounts:
        groups[mf.decode_manifest(Path(mount, "sealift", mf.MANIFEST).read_bytes()).group].append(mount)
    return list(groups.values())


def files(origin):
    """Every regular file by its path, hard links too."""
    root = os.fsencode(origin.source)
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = folder + b"/" + name
            if stat.S_ISREG(os.lstat(path).st_mode):
                found[path[len(root) + 1 :]] = path
    return found


def test_every_file_reads_as_it_was(origin, shipment):
    for name, path in files(origin).items():
        data = Path(os.fsdecode(path)).read_bytes()
        assert shipment.read(name) == data, name
        assert shipment.stat(name).size == len(data)
    assert shipment.health().good == (len(shipment.absent) == 0)


@RANGES
@given(data=st.data())
def test_ranges(origin, shipment, data):
    name, path = data.draw(st.sampled_from(sorted(files(origin).items())))
    content = Path(os.fsdecode(path)).read_bytes()
    start = data.draw(st.integers(0, len(content) + 10))
    end = data.draw(st.one_of(st.none(), st.integers(start, len(content) + 10)))
    assert shipment.read(name, start, end) == content[start:end]
    with shipment.open_file(name) as file:
        file.seek(start)
        assert file.read(-1 if end is None else end - start) == content[start:end]
        assert file.seek(0, os.SEEK_END) == len(content)


@RANGES
@given(data=st.data())
def test_many_at_once_are_what_one_by_one_are(origin, shipment, data):
    names = sorted(files(origin))
    picks = data.draw(
        st.lists(st.tuples(st.sampled_from(names), st.integers(0, 3_000_000), st.integers(0, 2_000_000)), max_size=20)
    )
    requests = [(name, start, start + length) for name, start, length in picks]
    assert shipment.read_many(requests) == [shipment.read(*request) for request in requests]


def test_folders_list_as_they_do_at_the_source(origin, shipment):
    for folder, folders, names in os.walk(os.fsencode(origin.source)):
        inside = folder[len(os.fsencode(origin.source)) + 1 :]
        listed = {os.fsencode(member.path): member for member in shipment.listdir(inside)}
        wanted = {(inside + b"/" + name).lstrip(b"/") for name in folders + names}
        wanted = {path for path in wanted if not stat.S_ISFIFO(os.lstat(origin.source / os.fsdecode(path)).st_mode)}
        assert set(listed) == wanted, inside
        for path in wanted:
            assert (listed[path].kind == "dir") == stat.S_ISDIR(os.lstat(origin.source / os.fsdecode(path)).st_mode)


def test_members_beneath_a_folder_are_all_of_it_and_nothing_else(shipment):
    everything = [member.path for member in shipment.members()]
    assert everything == sorted(everything, key=os.fsencode)
    for prefix in ("order", "order/a", "order/a/c", "big", "nowhere", "order/a/"):
        name = prefix.rstrip("/")
        wanted = [path for path in everything if path == name or path.startswith(name + "/")]
        assert [member.path for member in shipment.members(prefix)] == wanted, prefix
    links = [member for member in shipment.members() if member.kind == "hardlink"]
    assert links
    assert all(shipment.stat(member.path).size == shipment.stat(member.link).size for member in links)


def test_what_is_not_there_and_what_is_no_file_is_said(shipment):
    for path, words in {
        "no/such": "not in this shipment",
        "order/a": "a dir, not a file",
        "odd/dangling": "symlink",
    }.items():
        with pytest.raises(BadInput, match=words):
            shipment.read(path)
    with pytest.raises(BadInput, match="not a folder"):
        list(shipment.listdir("order/a/f.txt"))
    with pytest.raises(BadInput, match="not in this shipment"):
        list(shipment.listdir("nowhere"))
    with pytest.raises(BadInput, match="no such range"):
        shipment.read("order/a/f.txt", 5, 3)


def test_what_may_be_in_a_group_that_is_not_here_is_not_said_to_be_nowhere(origin, seal, tmp_path, capsysbinary):
    half = by_group(origin)[0]
    with origin.shipment(origin.mounts, seal) as shipment:
        path = next(m.path for m in shipment.members() if m.kind == "file" and shipment.located(m)[0] == 1)
    with origin.shipment(half, seal) as shipment:
        for name in (path, "no/such"):
            with pytest.raises(NotAllHere, match=f"'{name}' is in none of the groups that are here; group 1 is not"):
                shipment.read(name)
        with pytest.raises(NotAllHere, match="group 1 is not here"):
            TarShards("no/*.tar")(shipment)
    (tmp_path / "s.seal").write_bytes(seals.encode_bundle(seal))
    keys = ["--identity", origin.root / "identity", "--allowed-signers", origin.root / "allowed"]
    keys += ["--seal", tmp_path / "s.seal"]
    assert main.run([*map(str, ["cat", *half, "--path", path, *keys])]) == 6
    assert b"group 1 is not here" in capsysbinary.readouterr().err
    assert main.run([*map(str, ["unpack", *half, "--path", path, *keys, "--to", tmp_path / "to"])]) == 6
    told = capsysbinary.readouterr().err
    assert (b"group 1 is not here" in told, b"no member matches" in told) == (True, False)


def test_more_than_parity_lost_is_told_and_the_rest_reads(origin, seal):
    first, second = by_group(origin)
    with origin.shipment([first[0], *second], seal) as shipment:
        good = bad = 0
        for name in files(origin):
            try:
                shipment.read(name)
                good += 1
            except Lost:
                bad += 1
        assert good
        assert bad


def test_health_names_what_is_missing_damaged_and_failing(origin, seal, tmp_path, caplog):
    mounts = []
    for mount in by_group(origin)[0]:
        copy = tmp_path / os.path.basename(mount)
        shutil.copytree(mount, copy, symlinks=True)
        mounts.append(str(copy))
    for pack in Path(mounts[0], "sealift/packs").rglob("*.age"):
        data = bytearray(pack.read_bytes())
        for at in range(5000, len(data), 40_000):
            data[at] ^= 1
        pack.write_bytes(data)
    with origin.shipment(mounts, seal) as shipment:
        assert shipment.missing[0].group == 1
        for member in shipment.members():
            if member.kind == "file":
                shipment.read(member)
        health = shipment.health()
    assert health.missing_groups == [1]
    (damaged,) = health.drives
    assert (damaged.mount, damaged.state) == (mounts[0], "damaged")
    assert health.rebuilt_blocks == sum(pack.blocks for pack in health.packs) > 0
    assert read_health(health.encode(), "health.json") == health
    assert sum(damaged.drive in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize("at", ["open", "read"])
def test_a_drive_that_fails_is_told_rests_and_is_asked_again(origin, seal, monkeypatch, caplog, at):
    """Reading goes on without it; after a while it is asked again, for it may have been mended."""
    with origin.shipment(seal=seal) as shipment:
        reader = shipment.groups[0].reader
        (drive,) = reader.drives[0]
        calls, plain = [], drive.open_read

        def failing(name, *, direct=False):
            if not name.startswith("packs/"):
                return plain(name, direct=direct)
            calls.append(name)
            error = base.fault(drive.mount, "reading", OSError(errno.EIO, "Input/output error"), safe="nothing changed")
            error.__cause__ = OSError(errno.EIO, "Input/output error")
            if at == "open":
                raise error
            file = plain(name, direct=direct)

            def read(*_):
                raise error

            monkeypatch.setattr(file, "read_at", read)
            monkeypatch.setattr(file, "readinto_at", read)
            return file

        monkeypatch.setattr(drive, "open_read", failing)
        for name, path in files(origin).items():
            assert shipment.read(name) == Path(os.fsdecode(path)).read_bytes()
        (failed,) = shipment.health().drives
        assert (failed.state, failed.mount, failed.faults) == ("failing", drive.mount, 1)
        assert "input/output error" in failed.first_fault
        assert len(calls) == 1
        assert sum(drive.mount in record.getMessage() for record in caplog.records) == 1
        monkeypatch.setattr(drive, "open_read", plain)
        reader._resting.clear()  # half a minute later
        shipment._open = OpenPacks()
        rebuilt = shipment.rebuilt_blocks
        for name in files(origin):
            shipment.read(name)
        assert shipment.rebuilt_blocks == rebuilt


def in_child(shipment, name, out):
    out.put(shipment.read(name))


@contextlib.contextmanager
def held_elsewhere(locks):
    """Held by a thread that is not in a child."""
    done, there = threading.Event(), threading.Event()

    def hold():
        with contextlib.ExitStack() as held:
            for lock in locks:
                held.enter_context(lock)
            there.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    there.wait()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_read_too(origin, seal, method):
    context = multiprocessing.get_context(method)
    with origin.shipment(seal=seal) as shipment:
        content = shipment.read("big/large.bin")
        locks = [
            shipment._lock,
            shipment._open._lock,
            shipment.groups[0].reader._lock,
            shipment.groups[0].members._lock,
        ]
        with held_elsewhere(locks):
            out = context.Queue()
            child = context.Process(target=in_child, args=(shipment, "big/large.bin", out))
            child.start()
            assert out.get(timeout=60) == content
            child.join(60)
        assert pickle.loads(pickle.dumps(shipment)).read("big/large.bin") == content


def test_threads_share_a_shipment(origin, seal):
    names = sorted(files(origin))
    wanted = {name: Path(os.fsdecode(path)).read_bytes() for name, path in files(origin).items()}
    with origin.shipment(origin.mounts[1:], seal) as shipment:
        wrong = []

        def work(seed):
            rng = random.Random(seed)
            for _ in range(80):
                name = rng.choice(names)
                start = rng.randrange(len(wanted[name]) + 1)
                if shipment.read(name, start, start + 70_000) != wanted[name][start : start + 70_000]:
                    wrong.append(name)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


def test_nothing_is_written(origin, seal, tmp_path):
    copy = tmp_path / "drive"
    first, second = by_group(origin)
    shutil.copytree(first[0], copy)
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = shipments.picture(copy)
    with origin.shipment([str(copy), first[1], *second], seal) as shipment:
        for member in shipment.members():
            if member.kind == "file":
                shipment.read(member)
        assert not shipment.health().good
    assert shipments.picture(copy) == before


def test_opening_takes_files_or_what_is_in_them(origin, seal, tmp_path):
    (tmp_path / "key").write_text(origin.identity)
    (tmp_path / "signers").write_bytes(origin.allowed)
    with Shipment.open(
        origin.mounts, identity=tmp_path / "key", allowed_signers=str(tmp_path / "signers"), seal=seal
    ) as shipment:
        assert shipment.stat("order").kind == "dir"
    with pytest.raises(BadInput, match="no identity"):
        Shipment.open(origin.mounts, identity=[], allowed_signers=origin.allowed, seal=seal)


def test_a_look_up_decodes_some_rows_and_a_listing_looks_up_folders_only(origin, seal, monkeypatch):
    decoded, starts = [], []
    table, rows = Members._table, Members.rows

    class Counting:
        def __init__(self, inner):
            self._inner = inner

        def __getattr__(self, name):
            return getattr(self._inner, name)

        def slice(self, place, count):
            decoded.append(count)
            return self._inner.slice(place, count)

    monkeypatch.setattr(Members, "_table", lambda self, number: Counting(table(self, number)))
    monkeypatch.setattr(Members, "rows", lambda self, start=b"": starts.append(start) or rows(self, start))
    with origin.shipment(seal=seal) as shipment:
        shipment.stat("images/0019.jpg")
        assert sum(decoded) <= 4  # two rows of each group
        starts.clear()
        assert len(shipment.listdir("images")) == 40
        assert len(starts) == 2  # one of each group


def spoiled(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("place", [100, -300, -1])
@pytest.mark.parametrize("name", ["index/members.parquet.age", "index/packs.parquet.age"])
def test_an_index_that_is_not_its_manifests_is_refused(origin, seal, tmp_path, name, place):
    mounts = [shutil.copytree(mount, tmp_path / Path(mount).name) for mount in origin.mounts]
    for mount in mounts:
        spoiled(mount / "sealift" / name, place)
    with origin.shipment(list(map(str, mounts)), seal) as shipment:
        reads = shipment.read if "members" in name else lambda _: list(shipment.packs())
        with pytest.raises(Refused, match="is not the one that the signed manifest names") as caught:
            reads("big/large.bin")
    assert f"from the origin, {os.path.basename(name).split('.')[0]}-g0000.parquet.age, beside" in caught.value.hint
    assert "`sealift repair MNT... --seal FILE` puts it on the drives" in caught.value.hint


def test_an_index_that_cannot_be_read_is_lost(origin, seal, tmp_path):
    mounts = [shutil.copytree(mount, tmp_path / Path(mount).name) for mount in origin.mounts]
    for mount in mounts:
        (mount / "sealift/index/members.parquet.age").unlink()
    with origin.shipment(list(map(str, mounts)), seal) as shipment, pytest.raises(Lost, match="can be read"):
        shipment.read("big/large.bin")


def test_of_many_a_path_alone_is_all_of_it(origin, shipment):
    names = sorted(files(origin))[:5]
    wanted = [shipment.read(name) for name in names]
    assert shipment.read_many(names) == wanted
    assert shipment.read_many([shipment.stat(names[0]), (names[1], 0, 3)]) == [wanted[0], wanted[1][:3]]


def test_damage_beyond_parity_on_drives_that_are_here_says_what_mends_it(origin, seal, tmp_path):
    mounts = [shutil.copytree(mount, tmp_path / Path(mount).name) for mount in origin.mounts]
    for mount in mounts:
        for path in (mount / "sealift/packs").rglob("*.*"):
            os.truncate(path, 100)
    with origin.shipment(list(map(str, mounts)), seal) as shipment, pytest.raises(Lost) as caught:
        shipment.read("big/large.bin")
    assert "all drives of this group are here" in caught.value.hint
    assert "`sealift repair`" in caught.value.hint


def test_one_other_drive_that_lacks_its_block_is_told_of_as_one(origin, seal, tmp_path):
    mounts = [shutil.copytree(mount, tmp_path / Path(mount).name) for mount in origin.mounts]
    for mount in (mounts[0], mounts[2]):  # both of group 0
        for path in (mount / "sealift/packs").rglob("*.*"):
            os.truncate(path, 100)
    with origin.shipment(list(map(str, mounts)), seal) as shipment, pytest.raises(Lost, match=" is lost: ") as caught:
        shipment.read("big/large.bin")
    assert " does not have its own either, and parity holds 1" in str(caught.value)


def test_all_drives_that_are_not_here_are_logged_once_at_the_first_rebuild(seal, origin, caplog):
    """Whichever of them is asked for first, and however often."""
    gone = origin.mounts[:1]
    with origin.shipment(origin.mounts[1:], seal) as shipment:
        for name in files(origin):
            shipment.read(name)
        assert shipment.rebuilt_blocks
        messages = [record.getMessage() for record in caplog.records]
    assert sum("is not here" in each for each in messages) == len(gone)
