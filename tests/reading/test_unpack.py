"""unpack: resumes after kill -9, writes only into its own folder, takes what --path names, alone."""

import errno
import gc
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import shipments

from sealift.cli.unpack import _code
from sealift.drives import medium
from sealift.errors import BadInput, Busy, IdentityMismatch, SealiftError, SealInvalid, SignatureInvalid
from sealift.formats import age_keys
from sealift.stages import unpack as unpacking
from sealift.stages import unpack_files, unpack_target

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


@pytest.mark.long
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
    assert result.files == 0
    assert not (tmp_path / "target/large.bin").exists()


def test_a_file_of_which_the_last_part_alone_is_there_does_not_count(tmp_path, inline):
    shipments.write(tmp_path / "source/a.bin", os.urandom(9 << 20))
    shipments.write(tmp_path / "source/b", b"small")
    origin = shipments.Origin(tmp_path / "origin", tmp_path / "source", 2, 1, options={"pack_size": 1 << 20})
    origin.pack()
    flip(origin.mounts, 0, 3000)
    first = origin.unpack(tmp_path / "target")
    assert ([path for path, _ in first.failed], first.files) == ([b"a.bin"], 1)
    shutil.copy2(tmp_path / "source/a.bin", tmp_path / "target/a.bin")
    again = origin.unpack(tmp_path / "target")
    assert (again.failed, again.files, again.there) == ([], 2, 1)


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


PATTERNS = [[], ["*a*"]]


@pytest.mark.parametrize("patterns", PATTERNS)
def test_what_was_restored_before_is_told_and_left(origin, tmp_path, inline, patterns):
    options = origin.unpack_options(tmp_path / "target")
    options.patterns = patterns
    first = unpacking.unpack(options, unpacking.Events())
    before = shipments.picture(tmp_path / "target")
    told = []
    again = unpacking.unpack(options, unpacking.Events(notice=told.append))
    assert (again.files, again.size, _code(again)) == (first.files, first.size, _code(first))
    assert (again.there, sorted(again.changed)) == (first.files, sorted(first.changed))
    assert [text for text in told if "every file was read and is as it was signed" in text]
    assert shipments.picture(tmp_path / "target") == before


@pytest.mark.parametrize("patterns", PATTERNS)
def test_what_is_not_all_of_it_any_more_is_refused_by_name(origin, tmp_path, inline, patterns):
    options = origin.unpack_options(tmp_path / "target")
    options.patterns = patterns
    unpacking.unpack(options, unpacking.Events())
    files = [path for path in (tmp_path / "target").rglob("*") if path.is_file() and not path.is_symlink()]
    large = max((path for path in files if path.stat().st_nlink == 1), key=lambda path: path.stat().st_size)
    status, data = large.stat(), large.read_bytes()
    for spoilt in (data[:-1] + bytes([data[-1] ^ 1]), data[:-1], None):
        large.chmod(0o600)
        large.unlink() if spoilt is None else large.write_bytes(spoilt)
        if spoilt is not None:
            os.utime(large, ns=(status.st_mtime_ns, status.st_mtime_ns))
        before = shipments.picture(tmp_path / "target")
        with pytest.raises(BadInput, match=rf"not empty, .*{re.escape(large.name)}.* is not there as it was signed"):
            unpacking.unpack(options, unpacking.Events())
        assert shipments.picture(tmp_path / "target") == before


def stopped(origin, target, monkeypatch, **more):
    """An unpack that has restored and noted every pack, and was stopped before its end."""

    def stop(*_):
        raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(unpacking, "finish", stop)
        with pytest.raises(StopError):
            origin.unpack(target, **more)


def test_what_was_restored_and_is_gone_is_restored_again(origin, tmp_path, inline, monkeypatch):
    """Whole files, files of several packs, links."""
    target = tmp_path / "target"
    stopped(origin, target, monkeypatch)
    for path in sorted((target / "text").rglob("*.txt"))[::3]:
        path.unlink()
    part_of(target, b"big/large.bin").unlink()
    (target / "odd" / "dangling").unlink()
    said = []
    result = unpacking.unpack(origin.unpack_options(target), unpacking.Events(notice=said.append))
    assert (result.failed, result.refused) == ([], [])
    assert any("what is gone is restored again" in text for text in said)
    shipments.same(origin.source, target)
    fresh = origin.unpack(tmp_path / "fresh")
    assert (result.files, result.size) == (fresh.files, fresh.size)


def part_of(target, path):
    (notes,) = target.glob(".sealift-unpack-*")
    return notes / os.fsdecode(unpack_target.Target.part_name(path))


def test_what_somebody_put_in_the_place_of_a_file_is_left_and_told(origin, tmp_path, inline, monkeypatch):
    """Cut, grown, another file, a link, a folder, a FIFO; and whatever follows from that, until it is moved away."""
    target, aside = tmp_path / "target", tmp_path / "aside"
    stopped(origin, target, monkeypatch)
    theirs = {b"big/large.bin", b"text/another-name.bin", b"odd/dangling", b"images/0003.jpg", b"odd/sparse"}
    theirs |= {b"text/part-01/doc-001.txt", b"text/part-02/doc-002.txt", b"odd/up", b"a-first-name.jpg", b"odd/empty"}
    shipments.write(target / "big/large.bin", b"mine")
    shipments.write(target / "text/another-name.bin", b"mine, too")
    for name in ("odd/dangling", "images/0003.jpg", "odd/up", "odd/empty"):
        (target / name).unlink()
    (target / "odd/dangling").symlink_to("my/own")
    (target / "images/0003.jpg").symlink_to("/etc/hostname")
    shipments.write(target / "odd/up", b"no link")
    os.mkfifo(target / "odd/empty")
    shipments.write(target / "odd/sparse", b"mine")
    os.truncate(target / "text/part-01/doc-001.txt", 100_000)
    (target / "text/part-02/doc-002.txt").unlink()
    shipments.write(target / "text/part-02/doc-002.txt/mine", b"in a folder")
    shipments.write(target / "a-first-name.jpg", b"mine")
    shipments.write(target / "nobody-asked", b"for this")
    before = shipments.picture(target)
    for mounts in (origin.mounts, origin.mounts[1:]):  # as often as it is tried
        result = origin.unpack(target, mounts)
        assert result.failed == []
        told = {path for path, _ in result.refused}
        assert told == {*theirs, b"images/0001.jpg"}, "the last is another name of one of them"
        after = shipments.picture(target)
        mine = [path for path in before if before[path][0] != "dir" and path in theirs]
        assert [after[path] for path in mine] == [before[path] for path in mine]
        assert (target / "text/part-02/doc-002.txt/mine").read_bytes() == b"in a folder"
    for number, name in enumerate([*theirs, b"nobody-asked"]):
        shipments.write(aside / str(number), b"")
        os.rename(os.fsencode(target) + b"/" + name, os.fsencode(aside) + b"/of-%d" % number)
    assert (origin.unpack(target).failed, origin.unpack(tmp_path / "fresh").refused) == ([], [])
    shipments.same(origin.source, target)


@pytest.mark.parametrize("stands", ["link", "file", "name too long"])
def test_what_is_wrong_at_the_destination_is_not_laid_on_drives(origin, tmp_path, inline, monkeypatch, stands):
    """Something in the place of a folder, or that the filesystem there has no such names: also with a drive away."""
    target, aside = tmp_path / "target", tmp_path / "aside"
    seal, text, real = origin.seal(), target / "text", os.mkdir
    stopped(origin, target, monkeypatch)
    beneath = {path.relative_to(target) for path in [text, *text.rglob("*"), text / "another-name.bin"]}
    text.rename(aside)
    if stands == "link":
        text.symlink_to(aside)
    elif stands == "file":
        shipments.write(text, b"mine")
    else:

        def mkdir(name, *args, **how):
            if name == b"text":
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
            real(name, *args, **how)

        monkeypatch.setattr(os, "mkdir", mkdir)
    result = origin.unpack(target, origin.mounts[1:], seal)
    assert result.failed == []
    assert {Path(os.fsdecode(path)) for path, _ in result.refused} == beneath
    assert len(result.refused) == len(beneath), "each once"
    assert _code(result) == 1
    words = "file name too long" if stands == "name too long" else "in the place of the folder 'text' and was left"
    assert any(words in reason for _, reason in result.refused)
    monkeypatch.setattr(os, "mkdir", real)
    if stands != "name too long":
        text.unlink()
    aside.rename(text)
    assert _code(origin.unpack(target)) == 0
    shipments.same(origin.source, target)


def test_files_that_somebody_brought_stand_for_what_no_drive_has(origin, tmp_path, inline):
    """As data-engineer.md says: what was sent once more is put beside, and the same command again ends the unpack."""
    target, seal = tmp_path / "target", origin.seal()
    first = origin.unpack(target, origin.mounts[:1], seal)
    lost = {path for path, _ in first.failed}
    assert {b"big/large.bin", b"text/another-name.bin", b"odd/new\nline"} & lost
    subprocess.run(["cp", "-an", f"{origin.source}/.", target], check=True)
    shipments.same(origin.source, target, without=(os.fsencode(next(target.glob(".sealift-*")).name),))
    second = origin.unpack(target, origin.mounts[:1], seal)
    assert (second.failed, second.refused, second.there > 0) == ([], [], True)
    shipments.same(origin.source, target)


def flip(mounts, stripe, offset):
    """One byte of a stripe's packs on these drives."""
    for mount in mounts:
        (pack,) = Path(mount, "sealift", "packs").glob(f"*/{stripe:07d}*")
        with open(pack, "r+b") as file:
            file.seek(offset)
            byte = file.read(1)
            file.seek(offset)
            file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize(
    "brought", ["lost", *(pytest.param(each, marks=pytest.mark.long) for each in ("all", "nothing", "other bytes"))]
)
def test_a_whole_file_in_its_place_is_not_called_lost_because_a_pack_of_it_failed(tmp_path, inline, brought):
    """A pack of which one block is gone beyond parity is read by every run; what else is in it stands already."""
    for number in range(20):
        shipments.write(tmp_path / f"source/f{number:02d}", os.urandom(800_000))
    origin = shipments.Origin(tmp_path / "origin", tmp_path / "source", 2, 1, options={"pack_size": 3 << 20})
    origin.pack()
    target = tmp_path / "target"
    flip(origin.mounts[:2], 0, 3000)
    flip(origin.mounts[1:], 1, 1_500_000)
    first = origin.unpack(target)
    lost = [os.fsdecode(path) for path, _ in first.failed]
    whole = sorted(path.name for path in target.iterdir() if path.is_file())
    assert lost
    assert whole
    assert first.files == len(whole) == 20 - len(lost)
    for name in whole if brought == "all" else []:
        (target / name).unlink()
        shutil.copy2(origin.source / name, target / name)  # somebody's own copy, of another ctime
    for name in lost if brought in {"all", "lost"} else []:
        shutil.copy2(origin.source / name, target / name)
    if brought == "other bytes":
        shipments.write(target / lost[0], os.urandom(800_000))
    for _ in range(2):  # as often as it is tried
        again = origin.unpack(target)
        told = [os.fsdecode(path) for path, _ in again.failed]
        assert told == (lost if brought in {"nothing", "other bytes"} else [])
        assert all("is lost" in reason for _, reason in again.failed)
        assert again.refused == []
        assert all((target / name).read_bytes() == (origin.source / name).read_bytes() for name in whole)
        assert again.files == 20 - len(told)
        if brought in {"all", "lost"}:
            shipments.same(origin.source, target)
            break


def test_what_was_left_of_a_file_of_several_packs_is_not_taken_for_the_index_being_wrong(tmp_path, inline, monkeypatch):
    """A part file that is not whole goes; the next run writes all of it."""
    shipments.write(tmp_path / "source/large.bin", os.urandom(5 << 20))
    origin = shipments.Origin(tmp_path / "origin", tmp_path / "source", 2, 1, options={"pack_size": 1 << 20})
    origin.pack()
    target = tmp_path / "target"
    stopped(origin, target, monkeypatch)
    with open(part_of(target, b"large.bin"), "r+b") as file:
        file.write(bytes(1 << 20))
    ((path, reason),) = origin.unpack(target).failed
    assert path == b"large.bin"
    assert "the same command again writes it anew" in reason
    assert origin.unpack(target).failed == []
    shipments.same(origin.source, target)


@pytest.mark.parametrize("links", [True, False])
def test_where_the_filesystem_cannot_rename_with_care_nothing_is_overwritten_either(
    origin, tmp_path, inline, monkeypatch, links
):
    monkeypatch.setattr(unpack_target, "_rename", None)
    real, target = os.link, tmp_path / "target"

    def link(source, name, **how):
        if not links and b"/" in source:  # from the notes; hard links of the shipment are made
            raise PermissionError(errno.EPERM, "no links here")
        real(source, name, **how)

    stopped(origin, target, monkeypatch)
    (target / "images/0003.jpg").unlink()
    (target / "images/0004.jpg").unlink()
    shipments.write(target / "images/0003.jpg", b"mine")
    monkeypatch.setattr(os, "link", link)
    result = origin.unpack(target)
    assert [path for path, _ in result.refused] == [b"images/0003.jpg"]
    assert (target / "images/0003.jpg").read_bytes() == b"mine"
    (target / "images/0003.jpg").unlink()
    assert origin.unpack(target).refused == []
    shipments.same(origin.source, target)


@pytest.mark.parametrize("keeps", [True, False])
def test_what_was_changed_in_its_length_is_left_and_told(origin, tmp_path, inline, monkeypatch, keeps):
    """With its times set back, too; and where the filesystem tells no time of change, by reading all of it."""
    monkeypatch.setattr(medium, "keeps_ctime", lambda _descriptor: keeps)
    target = tmp_path / "target"
    stopped(origin, target, monkeypatch)
    changed = [path for path in sorted((target / "text").rglob("*.txt")) if path.stat().st_size][:3]
    changed += [path for path in [target / "big/large.bin"] if path.exists()]
    for path in changed:
        before = path.stat()
        path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    result = origin.unpack(target)
    assert result.failed == []
    assert {path for path, _ in result.refused} == {os.fsencode(path.relative_to(target)) for path in changed}
    for path in changed:
        path.unlink()
    assert origin.unpack(target).refused == []
    shipments.same(origin.source, target)


@pytest.mark.parametrize("keeps", [True, False])
def test_what_a_run_has_just_written_is_not_taken_for_what_stood_there(origin, tmp_path, inline, monkeypatch, keeps):
    """Files of several packs, too, where the filesystem tells no time of change."""
    monkeypatch.setattr(medium, "keeps_ctime", lambda _descriptor: keeps)
    result = origin.unpack(tmp_path / "target")
    assert (result.failed, result.refused, result.there) == ([], [], 0)
    shipments.same(origin.source, tmp_path / "target")


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
    part_of(target, b"large.bin").unlink()
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
        patch.setattr(unpacking, "finish", stop)
        with pytest.raises(StopError):
            origin.unpack(target, patterns=["text"])
    assert origin.unpack(target).failed == []
    shipments.same(origin.source, target)


@pytest.mark.long
@pytest.mark.parametrize("begun", [0, 2, 99], ids=["nothing is noted", "some is", "all is"])
def test_an_unpack_of_some_paths_keeps_what_one_of_all_has_noted(tmp_path, inline, monkeypatch, begun):
    """A file of several packs among them, of which both have written some, and one that changed while it was packed."""
    shipments.write(tmp_path / "source/large.bin", os.urandom(5 << 20))
    shipments.write(tmp_path / "source/text/small.txt", b"x" * 100)
    origin = shipments.Origin(tmp_path / "origin", tmp_path / "source", 2, 1, options={"pack_size": 1 << 20})
    origin.pack()
    target, real, said, jobs = tmp_path / "target", unpacking._work, [], []

    def stop(*_):
        raise StopError

    def some(job):
        jobs.append(job.name)
        return real(job) if len(jobs) <= begun else stop()

    with monkeypatch.context() as patch:
        patch.setattr(unpacking, "_work", some)
        patch.setattr(unpacking, "finish", stop)
        patch.setattr(shipments.Inline, "__exit__", None, raising=False)
        with pytest.raises(StopError):
            origin.unpack(target)
    noted = set(jobs[:begun])
    for patterns in (["text"], ["large.bin"], ["text"]):
        options = origin.unpack_options(target, patterns=patterns)
        result = unpacking.unpack(options, unpacking.Events(notice=said.append))
        assert (result.failed, result.refused) == ([], [])
        assert said == [unpacking.KEPT], "and the run after it is told, too"
        said.clear()
    jobs.clear()
    begun = 99
    with monkeypatch.context() as patch:
        patch.setattr(unpacking, "_work", some)
        result = unpacking.unpack(origin.unpack_options(target), unpacking.Events(notice=said.append))
    assert (result.failed, result.refused, said) == ([], [], [])
    assert not noted & set(jobs), "what is noted is not done again"
    shipments.same(origin.source, target)


def test_an_unpack_of_all_ends_what_one_of_some_paths_began(origin, tmp_path, inline, monkeypatch):
    def stop(*_):
        raise StopError

    target = tmp_path / "target"
    for patterns, ends in ((["text"], False), (["data"], False), (["text"], False), ([], True)):
        with monkeypatch.context() as patch:
            if not ends:
                patch.setattr(unpacking, "finish", stop)
                with pytest.raises(StopError):
                    origin.unpack(target, patterns=patterns)
            else:
                assert origin.unpack(target).failed == []
    shipments.same(origin.source, target)
    assert done(target)


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
    real = unpack_files.Row

    def lying(*values):
        row = real(*values)
        return row._replace(blake3=bytes(32)) if row.path.endswith(b"doc-001.txt") else row

    monkeypatch.setattr(unpack_files, "Row", lying)
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
