"""unpack: resumes after kill -9, writes only into its own folder, takes what --path names, alone."""

import gc
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import shipments

from sealift.drives import medium
from sealift.errors import BadInput, Busy, IdentityMismatch, SealiftError, SealInvalid, SignatureInvalid
from sealift.formats import age_keys
from sealift.stages import unpack as unpacking

UNPACKER = str(Path(shipments.__file__).with_name("unpacker.py"))


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    base = tmp_path_factory.mktemp("unpack")
    source = shipments.corpus(base / "source")
    made = shipments.Origin(base / "origin", source, 2, 1)
    made.pack()
    return made


@pytest.fixture
def inline(monkeypatch):
    monkeypatch.setattr(unpacking, "ProcessPoolExecutor", shipments.Inline)


def start(origin, options):
    path = origin.root / f"unpack-{time.monotonic_ns()}"
    path.write_bytes(pickle.dumps(options))
    return subprocess.Popen([sys.executable, UNPACKER, str(path)], stderr=subprocess.PIPE, start_new_session=True)


def done(target):
    """Whether an unpack ended: it may be killed after that, on its way out of Python."""
    return not list(target.glob(".sealift-unpack-*")) and bool(os.listdir(target))


def test_unpack_resumes_after_kill(tmp_path):
    source = shipments.corpus(tmp_path / "source")
    rng = random.Random(8)
    for number in range(60):
        shipments.write(source / "more" / f"{number:03d}.bin", rng.randbytes(rng.randrange(900_000)))
    origin = shipments.Origin(tmp_path / "origin", source, 2, 1)
    origin.pack()
    seal = origin.seal()
    (target := tmp_path / "target").mkdir()
    killed = 0
    for number in range(12):
        process = start(origin, origin.unpack_options(target, seal=seal, workers=2))
        notes = target / f".sealift-unpack-{origin.manifests()[0][0].shipment}"
        while process.poll() is None and not notes.exists():
            time.sleep(0.005)
        try:
            process.wait(rng.uniform(0.1, 1.0))
        except subprocess.TimeoutExpired:
            killed += 1
            os.killpg(process.pid, signal.SIGKILL) if number % 2 else process.kill()
        assert b"Traceback" not in process.communicate(timeout=20)[1], "or a worker outlives its parent"
        if process.returncode == 0 or done(target):
            break
    assert killed >= 2
    if not done(target):
        deadline = time.monotonic() + 10  # workers of a killed parent see that it is gone
        while True:
            try:
                restored = origin.unpack(target, seal=seal)
                break
            except Busy:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert restored.failed == []
    shipments.same(source, target)


def test_a_resumed_unpack_may_write_into_folders_that_it_closed(origin, tmp_path, inline):
    """First with too few drives, then with all: 0555 folders have their modes by then."""
    target, seal = tmp_path / "target", origin.seal()
    first = origin.unpack(target, origin.mounts[:1], seal)
    assert first.failed
    seen = []
    real = unpacking._make_writable
    try:
        unpacking._make_writable = lambda path: (
            real(path),
            seen.extend(
                folder.stat().st_mode & 0o700 for folder in Path(os.fsdecode(path)).rglob("*") if folder.is_dir()
            ),
        )
        assert origin.unpack(target, seal=seal).failed == []
    finally:
        unpacking._make_writable = real
    assert set(seen) == {0o700}
    shipments.same(origin.source, target)


def test_a_file_of_several_packs_that_are_lost_is_named_once(tmp_path):
    shipments.write(tmp_path / "source/large.bin", os.urandom(5 << 20))
    origin = shipments.Origin(tmp_path / "origin", tmp_path / "source", 2, 1, options={"pack_size": 1 << 20})
    origin.pack()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unpacking, "ProcessPoolExecutor", shipments.Inline)
        result = origin.unpack(tmp_path / "target", origin.mounts[:1], origin.seal())
    assert [path for path, _ in result.failed] == [b"large.bin"]
    assert not (tmp_path / "target/large.bin").exists()


def test_nothing_is_overwritten(origin, tmp_path, inline):
    shipments.write(tmp_path / "target" / "mine", b"mine")
    with pytest.raises(BadInput, match="not empty"):
        origin.unpack(tmp_path / "target")
    shipments.write(tmp_path / "file", b"")
    with pytest.raises(BadInput):
        origin.unpack(tmp_path / "file")
    assert (tmp_path / "target" / "mine").read_bytes() == b"mine"
    assert [path.name for path in (tmp_path / "target").iterdir()] == ["mine"]


class StopError(Exception):
    pass


def stopped(origin, target, monkeypatch, **more):
    """An unpack that has restored and noted every pack, and was stopped before its end."""

    def stop(*_):
        raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(unpacking, "_finish", stop)
        with pytest.raises(StopError):
            origin.unpack(target, **more)


def test_what_was_restored_and_is_gone_is_restored_again(origin, tmp_path, inline, monkeypatch):
    """Removed, cut, grown, replaced by something else; whole files, files of several packs, links."""
    target = tmp_path / "target"
    stopped(origin, target, monkeypatch)
    for number, path in enumerate(sorted((target / "text").rglob("*.txt"))):
        if number % 3 == 0:
            path.unlink()
        elif number % 3 == 1:
            os.truncate(path, path.stat().st_size + (1 if number % 2 else -1) if path.stat().st_size else 1)
    (target / "big" / "large.bin").unlink()
    os.truncate(os.fsencode(target) + b"/odd/sparse", 5)
    (target / "odd" / "dangling").unlink()
    (target / "images" / "0003.jpg").unlink()
    (target / "images" / "0003.jpg").symlink_to("/etc/hostname")
    (target / "odd" / "up").unlink()
    (target / "odd" / "up").write_bytes(b"no link")
    said = []
    result = unpacking.unpack(origin.unpack_options(target), unpacking.Events(notice=said.append))
    assert result.failed == []
    assert any("gone, cut or changed: they are restored again" in text for text in said)
    shipments.same(origin.source, target)
    fresh = origin.unpack(tmp_path / "fresh")
    assert (result.files, result.size) == (fresh.files, fresh.size)


@pytest.mark.parametrize("keeps", [True, False])
def test_what_was_changed_in_its_length_is_restored_again(origin, tmp_path, inline, monkeypatch, keeps):
    """With its times set back, too; and where the filesystem tells no time of change, by reading all of it."""
    monkeypatch.setattr(medium, "keeps_ctime", lambda _descriptor: keeps)
    target = tmp_path / "target"
    stopped(origin, target, monkeypatch)
    changed = [path for path in sorted((target / "text").rglob("*.txt")) if path.stat().st_size][:3]
    for path in changed:
        before = path.stat()
        path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    said = []
    assert unpacking.unpack(origin.unpack_options(target), unpacking.Events(notice=said.append)).failed == []
    assert [text for text in said if "restored again" in text and text.startswith(f"{len(changed)} files")]
    shipments.same(origin.source, target)


def test_what_was_touched_and_is_as_it_was_signed_is_not_restored_again(origin, tmp_path, inline, monkeypatch):
    target = tmp_path / "target"
    stopped(origin, target, monkeypatch)
    for path in (target / "text").rglob("*.txt"):
        os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))  # another ctime
    monkeypatch.setattr(unpacking, "_work", None)  # there is no work
    assert origin.unpack(target).failed == []
    shipments.same(origin.source, target)


def test_what_is_there_is_not_restored_again(origin, tmp_path, inline, monkeypatch):
    target = tmp_path / "target"
    stopped(origin, target, monkeypatch)
    before = {path: path.stat().st_ino for path in target.rglob("*") if path.is_file()}
    monkeypatch.setattr(unpacking, "_work", None)  # there is no work
    said = []
    assert unpacking.unpack(origin.unpack_options(target), unpacking.Events(notice=said.append)).failed == []
    assert {path: path.stat().st_ino for path in before if path.exists()}.items() <= before.items()
    assert said == []
    shipments.same(origin.source, target)


def test_a_file_of_several_packs_of_which_one_is_noted_is_made_whole(tmp_path, inline, monkeypatch):
    shipments.write(tmp_path / "source/large.bin", os.urandom(5 << 20))
    origin = shipments.Origin(tmp_path / "origin", tmp_path / "source", 2, 1, options={"pack_size": 1 << 20})
    origin.pack()
    target, real = tmp_path / "target", unpacking._work
    jobs = []

    def some(job):
        jobs.append(job.name)
        if len(jobs) == 3:
            raise StopError
        return real(job)

    with monkeypatch.context() as patch:
        patch.setattr(unpacking, "_work", some)
        patch.setattr(shipments.Inline, "__exit__", None, raising=False)
        with pytest.raises(StopError):
            origin.unpack(target)
    (target / "large.bin").unlink()
    assert origin.unpack(target).failed == []
    shipments.same(origin.source, target)


def test_a_second_unpack_is_kept_out(origin, tmp_path, inline):
    first = unpacking.Notes(str(tmp_path / "target"), origin.manifests()[0][0].shipment, [])
    with first, pytest.raises(Busy):
        origin.unpack(tmp_path / "target")
    assert origin.unpack(tmp_path / "target").failed == []


@pytest.mark.parametrize(
    ("patterns", "wanted"),
    [
        (["odd"], lambda path: path == b"odd" or path.startswith(b"odd/")),
        (["odd/"], lambda path: path == b"odd" or path.startswith(b"odd/")),
        (["*.json"], lambda path: path.endswith(b".json")),
        (["images/000?.jpg", "text/*/doc-001.txt"], lambda _: False),
        (["big/large.bin"], lambda path: path == b"big/large.bin"),
        (["odd/[\udcff]*", "big/\udcff*"], lambda path: path.startswith(b"big/\xff")),
    ],
)
def test_path_takes_what_it_names(origin, tmp_path, inline, patterns, wanted):
    import fnmatch

    restored = origin.unpack(tmp_path / "target", patterns=patterns)
    assert restored.failed == []
    before, after = shipments.picture(origin.source), shipments.picture(tmp_path / "target")
    files = {path for path, value in after.items() if value[0] != "dir"}
    if patterns[0].startswith("images"):

        def wanted(path):
            return any(fnmatch.fnmatchcase(os.fsdecode(path), pattern) for pattern in patterns)

    assert files == {path for path, value in before.items() if value[0] != "dir" and wanted(path)}
    for path in files:
        assert after[path][:5] == before[path][:5]


def test_path_that_names_nothing_is_told(origin, tmp_path, inline):
    with pytest.raises(BadInput, match="--path"):
        origin.unpack(tmp_path / "target", patterns=["nothing/like/it"])


def test_path_that_names_only_another_name_of_a_file(origin, tmp_path, inline):
    for number, name in enumerate(["text/another-name.bin", "images/0001.jpg", "a-first-name.jpg"]):
        restored = origin.unpack(tmp_path / str(number), patterns=[name])
        assert restored.failed == []
        assert (tmp_path / str(number) / name).read_bytes() == (origin.source / name).read_bytes()
        assert [path for path in (tmp_path / str(number)).rglob("*") if path.is_file()] == [
            tmp_path / str(number) / name
        ]


def test_what_was_done_for_one_path_is_not_done_for_another(origin, tmp_path, inline, monkeypatch):
    class StopError(Exception):
        pass

    def stop(*_):
        raise StopError

    target = tmp_path / "target"
    with monkeypatch.context() as patch:
        patch.setattr(unpacking, "_finish", stop)
        with pytest.raises(StopError):
            origin.unpack(target, patterns=["text"])
    assert origin.unpack(target).failed == []
    shipments.same(origin.source, target)


def test_the_seal_the_signers_and_the_identity_are_needed(origin, tmp_path, inline):
    other = shipments.Origin(tmp_path / "other", origin.source, 2, 1)
    with pytest.raises((SealInvalid, SignatureInvalid)):
        origin.unpack(tmp_path / "1", allowed_signers=other.allowed)
    with pytest.raises(IdentityMismatch):
        origin.unpack(tmp_path / "2", identities=[age_keys.generate_identity()[0].encode()])
    with pytest.raises(SealiftError):
        origin.unpack(tmp_path / "3", identities=[])
    options = origin.unpack_options(tmp_path / "4")
    options.seal = None  # and none is on the drives
    with pytest.raises(SealInvalid):
        unpacking.unpack(options, unpacking.Events())
    other.pack()
    with pytest.raises(SealInvalid):
        origin.unpack(tmp_path / "5", other.mounts)


def test_a_file_that_does_not_match_its_digest_is_not_left_behind(origin, tmp_path, inline, monkeypatch):
    real = unpacking.Row

    def lying(*values):
        row = real(*values)
        return row._replace(blake3=bytes(32)) if row.path.endswith(b"doc-001.txt") else row

    monkeypatch.setattr(unpacking, "Row", lying)
    restored = origin.unpack(tmp_path / "target")
    assert [path for path, _ in restored.failed] == [b"text/part-01/doc-001.txt"]
    assert not (tmp_path / "target" / "text" / "part-01" / "doc-001.txt").exists()


def test_no_descriptor_is_left_open(origin):
    def count():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    shipment = origin.shipment()
    shipment.read(b"big/large.bin")
    shipment.close()
    del shipment
    before = count()
    for _ in range(6):
        shipment = origin.shipment()
        for member in (*shipment.members("big"), *shipment.members("odd")):
            if member.kind == "file":
                shipment.read(member)
        shipment.close()
        del shipment
    until = time.monotonic() + 10
    while count() > before + 8 and time.monotonic() < until:  # threads that looked at drives may still be ending
        time.sleep(0.05)
    assert count() <= before + 8  # the last shipment's, not six times as many
