"""sealift:// beside fsspec's own local filesystem over the same tree, and through fsspec's own suite."""

import errno
import json
import multiprocessing
import os
import pickle
import random
import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest
import shipments
from blake3 import blake3
from fsspec.implementations.local import LocalFileSystem
from fsspec.tests.abstract import AbstractFixtures, AbstractGetTests

from sealift.errors import BadInput, SealInvalid
from sealift.formats import age_keys
from sealift.formats import manifest as mf
from sealift.formats import seal as seals
from sealift.integrations.fsspec import SealiftFileSystem

SUITE = "suite"


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    base = tmp_path_factory.mktemp("fsspec")
    source = shipments.corpus(base / "source")
    (source / "linked").symlink_to("text/part-00")
    (source / "text/latest.txt").symlink_to("../linked/doc-000.txt")
    (source / "loop").symlink_to("loop")
    (source / "through").symlink_to("text/latest.txt")
    local, make = LocalFileSystem(auto_mkdir=True), AbstractFixtures()
    for name in ("_bulk_operations_scenario_0", "_glob_edge_cases_files", "_dir_and_file_with_same_name_prefix",
                 "_10_files_with_hashed_names"):  # fmt: skip
        getattr(make, name)(local, os.path.join, str(source / SUITE / name))
    shipments.write(source / SUITE / "recursive/src/file")
    made = shipments.Origin(base / "origin", source, 2, 1, groups=2)
    made.pack()
    (base / "sent.seal").write_bytes(seals.encode_bundle(made.seal()))
    return made


@pytest.fixture(scope="module")
def options(origin):
    return {
        "locations": origin.mounts,
        "identity": str(origin.root / "identity"),
        "allowed_signers": str(origin.root / "allowed"),
        "seal": str(origin.root.parent / "sent.seal"),
    }


@pytest.fixture(scope="module")
def fs(options):
    return fsspec.filesystem("sealift", **options)


def by_group(origin):
    groups = {0: [], 1: []}
    for mount in origin.mounts:
        groups[mf.decode_manifest(Path(mount, "sealift", mf.MANIFEST).read_bytes()).group].append(mount)
    return list(groups.values())


class Local:
    """fsspec's own local filesystem, beneath a folder."""

    def __init__(self, root):
        self.root, self.fs = str(root), LocalFileSystem()

    def named(self, names):
        return sorted(name[len(self.root) :].strip("/") for name in names if name.strip("/") != self.root.strip("/"))

    def find(self, path, **how):
        return self.named(self.fs.find(f"{self.root}/{path}", **how))

    def glob(self, pattern):
        return self.named(self.fs.glob(f"{self.root}/{pattern}"))

    def walk(self):
        return {path[len(self.root) + 1 :]: (sorted(a), sorted(b)) for path, a, b in self.fs.walk(self.root)}


@pytest.fixture(scope="module")
def local(origin):
    return Local(origin.source)


class TestGet(AbstractFixtures, AbstractGetTests):
    """fsspec's own; what they write first is packed. Its suites for put, copy, pipe and open("xb") write."""

    @pytest.fixture
    def fs_path(self):
        return f"{SUITE}/recursive"

    @pytest.fixture
    def fs(self, fs):
        return fs

    @pytest.fixture
    def fs_bulk_operations_scenario_0(self):
        return f"{SUITE}/_bulk_operations_scenario_0/source"

    @pytest.fixture
    def fs_glob_edge_cases_files(self):
        return f"{SUITE}/_glob_edge_cases_files/source"

    @pytest.fixture
    def fs_dir_and_file_with_same_name_prefix(self):
        return f"{SUITE}/_dir_and_file_with_same_name_prefix/source"

    @pytest.fixture
    def fs_10_files_with_hashed_names(self):
        return f"{SUITE}/_10_files_with_hashed_names/source"

    def test_get_directory_recursive(self, fs, fs_join, fs_path, local_fs, local_join, local_target):
        class Packed:
            """What this test makes first is there."""

            mkdir = touch = staticmethod(lambda _path: None)

            def __getattr__(self, name):
                return getattr(fs, name)

        super().test_get_directory_recursive(Packed(), fs_join, fs_path, local_fs, local_join, local_target)


@pytest.mark.parametrize("depth", [None, 1, 2, 4])
@pytest.mark.parametrize("withdirs", [True, False])
@pytest.mark.parametrize("root", ["", "text", "odd", "empty", "deep/d/d", "images/0000.jpg", "no/such", "big/"])
def test_find_is_that_of_the_tree(fs, local, root, depth, withdirs):
    found = fs.find(root, maxdepth=depth, withdirs=withdirs)
    assert found == sorted(found)
    assert found == local.find(root, maxdepth=depth, withdirs=withdirs)


@pytest.mark.parametrize(
    "pattern", ["*", "**", "text/*/doc-00*.txt", "**/*.json", "images/000[1-3].jpg", "big/", "no*", "odd/-rf", "*/"]
)
def test_glob_is_that_of_the_tree(fs, local, pattern):
    assert fs.glob(pattern) == local.glob(pattern)


def test_walk_and_ls_are_those_of_the_tree(fs, local):
    wanted = local.walk()
    assert {path: (sorted(folders), sorted(files)) for path, folders, files in fs.walk("")} == wanted
    for folder, (folders, files) in wanted.items():
        assert fs.ls(folder, detail=False) == sorted(f"{folder}/{name}".strip("/") for name in folders + files)


def test_what_is_told_of_each_path_is_what_lstat_tells(fs, origin):
    kinds = set()
    for name, info in fs.find("", withdirs=True, detail=True).items():
        state = os.lstat(origin.source / name)
        kinds.add(info["type"])
        assert info == fs.info(name)
        assert info["mode"] == state.st_mode & ~(0o6000 if info["type"] == "file" else 0)
        assert info["mtime"] == pytest.approx(state.st_mtime_ns / 1e9, abs=1e-6)
        if info["type"] == "file":
            assert info["size"] == state.st_size
            assert (
                info["ETag"] == info["blake3"] == fs.ukey(name) == shipments.digest(os.fsencode(origin.source / name))
            )
            assert fs.checksum(name) == int(info["blake3"], 16)
            assert fs.cat_file(name) == (origin.source / name).read_bytes()
        elif info["type"] == "link":
            assert info["size"] == state.st_size
            assert info["destination"] == os.readlink(origin.source / name)
        else:
            assert info["size"] == 0
    assert kinds == {"file", "link", "directory"}
    assert fs.modified("odd/before-1970") == datetime(1930, 11, 18, 0, 28, 29, 876543, tzinfo=UTC)
    assert fs.created("odd/before-1970") == fs.modified("odd/before-1970")
    assert fs.ukey("text") != fs.ukey("images")


def test_links_are_followed_inside_the_shipment_and_no_further(fs, origin):
    content = (origin.source / "text/part-00/doc-000.txt").read_bytes()
    for name in ("text/latest.txt", "through", "linked/doc-000.txt", "linked/../part-00/doc-000.txt"):
        assert fs.cat_file(name) == content, name
    assert fs.ls("linked", detail=False)[0] == "linked/doc-000.txt"
    assert fs.find("linked") == [f"linked/{Path(name).name}" for name in fs.find("text/part-00")]
    assert fs.info("linked/doc-000.txt")["type"] == "file"
    assert fs.info("linked")["type"] == "link"
    for name in ("odd/up", "odd/absolute", "odd/dangling", "../x"):
        with pytest.raises(FileNotFoundError):
            fs.open(name)
    with pytest.raises(OSError, match="symbolic links") as caught:
        fs.open("loop")
    assert caught.value.errno == errno.ELOOP


def test_urls_and_slashes(fs, options, origin):
    content = (origin.source / "images/0000.json").read_text()
    for url in ("sealift://images/0000.json", "sealift:///images/0000.json"):
        with fsspec.open(url, "r", **options) as file:
            assert file.read() == content
    assert fs.unstrip_protocol("images/0000.json") == "sealift://images/0000.json"
    assert fs.ls("/images/") == fs.ls("images")


def test_files_are_seekable_and_read_as_files_do(fs, origin):
    rng = random.Random(4)
    for name in ("big/large.bin", "odd/sparse", "odd/empty", "text/another-name.bin"):
        with fs.open(name, block_size=4096) as ours, open(origin.source / name, "rb") as theirs:
            assert (ours.size, ours.readable(), ours.seekable(), ours.writable()) == (
                os.path.getsize(theirs.name), True, True, False,
            )  # fmt: skip
            for _ in range(60):
                place, count = rng.randrange(ours.size + 10), rng.choice([-1, 0, 1, 100, 5000, 2_000_000])
                assert ours.seek(place) == theirs.seek(place)
                assert ours.read(count) == theirs.read(count)
                assert ours.tell() == theirs.tell()
            ours.seek(0), theirs.seek(0)
            assert ours.readlines() == theirs.readlines()
            buffers = bytearray(70_000), bytearray(70_000)
            ours.seek(5), theirs.seek(5)
            assert ours.readinto(buffers[0]) == theirs.readinto(buffers[1])
            assert buffers[0] == buffers[1]
    with fs.open("images/0000.json", "r") as text:
        assert text.read() == '{"n": 0}'
    assert fs.open("images/0000.json").info()["size"] == 8
    assert fs.read_block("images/0000.json", 1, 3) == b'"n"'
    assert fs.head("images/0000.json", 4) == b'{"n"'
    assert fs.tail("images/0000.json", 4) == b": 0}"


def test_an_open_file_may_be_pickled(fs, origin):
    with fs.open("big/large.bin") as file:
        file.seek(1000)
        again = pickle.loads(pickle.dumps(file))
        assert again.tell() == 1000
        assert again.read(10) == file.read(10) == (origin.source / "big/large.bin").read_bytes()[1000:1010]


HOLDING = """
import json, sys, threading, time
import fsspec

def hold(files):
    time.sleep(0.1)
    print("held", end="", flush=True)
    files.pop()
    time.sleep(0.1)
    print("ended late", flush=True)

files = [fsspec.filesystem("sealift", **json.loads(sys.argv[1])).open("odd/-rf")]
threading.Thread(target=hold, args=(files,), daemon=True).start()
"""


def test_the_end_of_a_process_waits_for_threads_that_hold_files_and_for_no_more(options):
    # as pyarrow's do; one that lets go of a Python object while the interpreter ends aborts the process
    told = [sys.executable, "-c", HOLDING, json.dumps(options)]
    done = subprocess.run(told, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "held"), done.stderr


def test_ranges_come_coalesced_and_faults_in_their_place(fs, origin, monkeypatch):
    content = (origin.source / "big/large.bin").read_bytes()
    calls = []
    many = fs.shipment.read_many
    monkeypatch.setattr(fs.shipment, "read_many", lambda requests: calls.append(1) or many(requests))
    found = fs.cat_ranges(["big/large.bin"] * 4, [0, -10, 100, None], [10, None, -50, 5], max_gap=3)
    assert found == [content[0:10], content[-10:], content[100:-50], content[:5]]
    assert calls == [1]
    mixed = fs.cat_ranges(["big", "no", "odd/-rf"], 0, 10)
    assert [type(each) for each in mixed] == [IsADirectoryError, FileNotFoundError, bytes]
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges(["no"], 0, 1, on_error="raise")
    assert fs.cat("odd/-rf") == b"dash"
    assert fs.cat(["odd/-rf", "odd/empty"]) == {"odd/-rf": b"dash", "odd/empty": b""}
    assert set(fs.cat("images", recursive=True)) == set(fs.find("images"))
    assert set(fs.cat("images/*.json")) == set(fs.glob("images/*.json"))
    assert fs.cat(["odd/-rf", "odd/up"], on_error="omit") == {"odd/-rf": b"dash"}


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda fs: fs.info("no/such"), FileNotFoundError),
        (lambda fs: fs.open("no/such"), FileNotFoundError),
        (lambda fs: fs.ls("no/such"), FileNotFoundError),
        (lambda fs: fs.ls("odd/-rf/x"), NotADirectoryError),
        (lambda fs: fs.open("odd/-rf/x"), NotADirectoryError),
        (lambda fs: fs.open("text"), IsADirectoryError),
        (lambda fs: fs.cat_file(""), IsADirectoryError),
    ],
)
def test_errors_are_those_that_fsspecs_callers_expect(fs, call, kind):
    with pytest.raises(kind):
        call(fs)


def test_what_is_not_there_does_not_exist(fs):
    assert not fs.exists("no/such")
    assert not fs.exists("odd/-rf/x")
    assert not fs.isdir("odd/-rf")
    assert fs.isfile("odd/-rf")
    assert fs.exists("odd/dangling")
    assert fs.exists("")
    assert fs.isdir("/")


@pytest.mark.parametrize(
    "call",
    [
        lambda fs: fs.open("new", "wb"),
        lambda fs: fs.open("new", "w"),
        lambda fs: fs.open("odd/-rf", "ab"),
        lambda fs: fs.open("new", "xb"),
        lambda fs: fs.pipe("new", b""),
        lambda fs: fs.write_text("new", ""),
        lambda fs: fs.touch("new"),
        lambda fs: fs.mkdir("new"),
        lambda fs: fs.makedirs("new/er", exist_ok=True),
        lambda fs: fs.rm("text", recursive=True),
        lambda fs: fs.rm_file("odd/-rf"),
        lambda fs: fs.delete("odd/-rf"),
        lambda fs: fs.rmdir("empty/folder"),
        lambda fs: fs.mv("odd/-rf", "new"),
        lambda fs: fs.cp("odd/-rf", "new"),
        lambda fs: fs.put(__file__, "new"),
        lambda fs: fs.upload(__file__, "new"),
    ],
)
def test_nothing_writes(fs, call):
    with pytest.raises(OSError, match=r"read-only \(hint: ") as caught:
        call(fs)
    assert caught.value.errno == errno.EROFS


def test_what_is_lost_is_eio_with_the_hint_and_the_rest_is_read(origin, options):
    one, other = by_group(origin)
    first = fsspec.filesystem("sealift", **{**options, "locations": [one[0], *other]})
    names = [name for name, info in first.find("", detail=True).items() if info["type"] == "file"]
    found = first.cat_ranges(names, 0, None)
    lost = [each for each in found if isinstance(each, OSError)]
    assert lost
    assert all(each.errno == errno.EIO and "hint: " in str(each) for each in lost)
    for name, data in zip(names, found, strict=True):
        assert isinstance(data, OSError) or data == (origin.source / name).read_bytes()
    gone = names[found.index(lost[0])]
    with pytest.raises(OSError, match="is lost"), first.open(gone) as file:
        file.read()
    with pytest.raises(OSError, match="is lost"):
        first.cat_ranges([gone], 0, None, on_error="raise")
    assert not first.shipment.health().good


def test_a_group_that_is_not_here_leaves_folders_and_a_hint(origin, options):
    half = fsspec.filesystem("sealift", **{**options, "locations": by_group(origin)[0]})
    whole = fsspec.filesystem("sealift", **options)
    missing = set(whole.find("", withdirs=True)) - set(half.find("", withdirs=True))
    assert missing
    for name in half.find("", withdirs=True):
        assert all(half.isdir(str(folder)) for folder in list(Path(name).parents)[:-1]), name
    with pytest.raises(FileNotFoundError, match=r"group \d is not here"):
        half.info(min(missing))
    for folder, folders, _ in half.walk(""):
        assert all(half.isdir(f"{folder}/{name}".strip("/")) for name in folders)


def test_an_index_that_is_gone_is_no_empty_folder(origin, options, tmp_path):
    copies = [shutil.copytree(mount, tmp_path / os.path.basename(mount)) for mount in origin.mounts]
    for copy in copies:
        (copy / "sealift/index/members.parquet.age").write_bytes(b"rotten")
    fs = fsspec.filesystem("sealift", **{**options, "locations": list(map(str, copies))})
    for call in (fs.exists, fs.info, fs.ls, fs.find, fs.cat_file):
        with pytest.raises(OSError, match="is not the one that the signed manifest names") as caught:
            call("text/part-00")
        assert caught.value.errno == errno.EACCES


def test_a_wrong_identity_is_no_permission(options):
    other = age_keys.generate_identity()[0].encode()
    fs = fsspec.filesystem("sealift", **{**options, "identity": other})
    with pytest.raises(PermissionError, match="hint: give the identity of one of the recipients"):
        fs.ls("")


def test_keys_are_in_no_token_and_no_json(origin, options):
    secret = origin.identity.encode()
    fs = fsspec.filesystem("sealift", **{**options, "identity": secret})
    assert fs.exists("text")
    for text in (fs._fs_token, repr(fs), str(SealiftFileSystem._cache.keys())):
        assert origin.identity not in text
    with pytest.raises(TypeError, match="is not put into JSON"):
        fs.to_json()
    by_path = fsspec.filesystem("sealift", **options)
    assert json.loads(by_path.to_json())["identity"] == options["identity"]
    assert fsspec.AbstractFileSystem.from_json(by_path.to_json()).exists("text")
    assert secret not in pickle.dumps(by_path)
    with pytest.raises(BadInput) as caught:
        fsspec.filesystem("sealift", **{**options, "identity": origin.identity})
    assert origin.identity not in str(caught.value)


def test_what_is_missing_among_the_options_is_said_and_what_is_more_is_taken(origin, options, monkeypatch):
    for name in ("locations", "identity", "allowed_signers"):
        with pytest.raises(BadInput, match=f"no {name}"):
            fsspec.filesystem("sealift", **{**options, name: None})
    more = fsspec.filesystem("sealift", **options, block_size=0, use_listings_cache=False, anon=True)
    assert more.cat_file("odd/-rf") == b"dash"
    with pytest.raises(SealInvalid) as caught:
        fsspec.filesystem("sealift", **{**options, "seal": None})
    assert caught.value.__notes__ == ["hint: --seal FILE, as the origin sent it ahead by network"]
    monkeypatch.setenv("SEALIFT_ALLOWED_SIGNERS", options["allowed_signers"])
    assert fsspec.filesystem("sealift", **{**options, "allowed_signers": None}).exists("text")
    with origin.shipment() as shipment:
        assert fsspec.filesystem("sealift", shipment=shipment).cat_file("odd/-rf") == b"dash"


def test_instances_of_all_threads_share_a_shipment_and_let_go_of_it(options):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(fsspec.filesystem("sealift", **options).shipment))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
        thread.join()
    assert len(set(map(id, found))) == 1


def in_child(fs, file, out):
    out.put((fs.cat_file("big/large.bin"), file.read(), len(fs.find(""))))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_read_too(fs, origin, method):
    context = multiprocessing.get_context(method)
    out = context.Queue()
    file = fs.open("images/0000.json")
    child = context.Process(target=in_child, args=(fs, file, out))
    child.start()
    content, text, count = out.get(timeout=60)
    child.join(60)
    assert blake3(content).hexdigest() == fs.ukey("big/large.bin")
    assert text == b'{"n": 0}'
    assert count == len(fs.find(""))
