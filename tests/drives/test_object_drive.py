"""ObjectDrive over a real S3 server (Ceph radosgw), and over a proxy before it that fails as networks do."""

import errno
import itertools
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest

from sealift.drives import object_client, object_prefix, objects
from sealift.drives.base import errno_of, is_missing
from sealift.drives.objects import PART_SIZE, ObjectDrive
from sealift.drives.ranges import PIECE
from sealift.errors import BadInput, Busy, DriveFault, FormatError
from sealift.testing import DriveStoreTests

NAME = "packs/0000/0000000.tar.zst.age"
BIG = random.Random(3).randbytes(2 * PART_SIZE + 123_457)


class TestObjectDrive(DriveStoreTests):
    keeps_replaced = False

    @pytest.fixture
    def drive(self, bucket):
        return ObjectDrive(f"s3://{bucket}/some/where", patience=5)

    def reopen(self, drive):
        return ObjectDrive(drive.mount, patience=5)


@pytest.fixture
def drive(bucket):
    made = ObjectDrive(f"s3://{bucket}/of", patience=1)
    yield made
    made.unlock()


def write(drive, data=BIG, name=NAME, step=4 << 20):
    drive.lock()
    part = drive.create(name)
    try:
        for start in range(0, len(data), step):
            part.write_at(start, [memoryview(data)[start : start + step]])
        part.publish()
    except BaseException:
        part.abandon()
        raise


def fails(function, *arguments, within=12.0):
    begun = time.monotonic()
    with pytest.raises(DriveFault) as caught:
        function(*arguments)
    assert time.monotonic() - begun < within
    assert caught.value.hint
    return caught.value


# --- what is written


def test_an_object_of_several_parts_appears_whole_or_not_at_all(drive, s3):
    drive.lock()
    part = drive.create(NAME)
    for start in range(0, len(BIG), 3 << 20):
        part.write_at(start, [memoryview(BIG)[start : start + (3 << 20)]])
        assert drive.size(NAME) is None
    assert s3.uploads(drive.place.bucket) == 1
    part.publish()
    assert s3.uploads(drive.place.bucket) == 0
    with drive.open_read(NAME) as file:
        assert file.read_at(0, len(BIG) + 5) == BIG


def test_what_was_begun_and_abandoned_is_aborted(drive, s3):
    drive.lock()
    drive.write_small(NAME, b"before")
    part = drive.create(NAME)
    part.write_at(0, [memoryview(BIG)])
    assert s3.uploads(drive.place.bucket) == 1
    part.abandon()
    assert s3.uploads(drive.place.bucket) == 0
    assert drive.read_small(NAME, 100) == b"before"


def test_a_long_file_is_written_from_front_to_back_with_gaps(drive):
    drive.lock()
    part = drive.create(NAME)
    part.write_at(5, [memoryview(b"five")])
    part.write_at(0, [memoryview(b"zero")])
    part.write_at(PART_SIZE + 100, [memoryview(b"far")])
    with pytest.raises(ValueError, match="was sent"):
        part.write_at(3, [memoryview(b"again")])
    part.publish()
    wanted = b"zero\0five".ljust(PART_SIZE + 100, b"\0") + b"far"
    with drive.open_read(NAME) as file:
        assert file.read_at(0, len(wanted) + 1) == wanted


@pytest.mark.parametrize("length", [0, 1, PART_SIZE - 1, PART_SIZE, PART_SIZE + 1, 2 * PART_SIZE])
def test_lengths_around_a_part(drive, length):
    write(drive, BIG[:length])
    assert drive.size(NAME) == length
    with drive.open_read(NAME) as file:
        assert file.read_at(0, length) == BIG[:length]


def test_memory_that_was_given_may_be_used_again(drive):
    drive.lock()
    part, slab = drive.create(NAME), bytearray(4 << 20)
    for start in range(0, len(BIG), len(slab)):
        piece = BIG[start : start + len(slab)]
        slab[: len(piece)] = piece
        part.write_at(start, [memoryview(slab)[: len(piece)]])
        slab[:] = bytes(len(slab))
    part.publish()
    with drive.open_read(NAME) as file:
        assert file.read_at(0, len(BIG)) == BIG


def test_a_killed_upload_is_aborted_by_the_next_run(drive, s3):
    script = """
        import os, signal, sys
        from sealift.drives.objects import ObjectDrive
        drive = ObjectDrive(sys.argv[1])
        drive.lock()
        part = drive.create("packs/0000/0000000.tar.zst.age")
        part.write_at(0, [memoryview(bytes(40 << 20))])
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script), drive.mount], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    other = ObjectDrive(f"s3://{drive.place.bucket}/office")
    other.lock()  # its name begins alike, and it is another place
    assert s3.uploads(drive.place.bucket) == 1
    other.unlock()
    assert drive.size(NAME) is None
    assert not drive.exists()
    assert s3.ask("POST", f"/{drive.place.bucket}/of/sealift-not/x", "uploads=")[0] == 200
    drive.lock()
    assert s3.uploads(drive.place.bucket) == 1, "somebody else's stays"
    write(drive)
    assert drive.size(NAME) == len(BIG)


def test_etags_that_are_no_digests_cost_one_reading(drive, monkeypatch):
    meta = ObjectDrive.meta
    monkeypatch.setattr(
        ObjectDrive, "meta", lambda self, *a, **m: (f := meta(self, *a, **m)) and f | {"e_tag": '"kms"'}
    )
    held = bytearray(BIG)

    monkeypatch.setattr(objects.ObjectReadFile, "fetch", lambda _file, start, stop: held[start:stop])
    write(drive)
    assert not drive.client.etags_are_digests
    drive.client.etags_are_digests = True
    held[PART_SIZE + 3] ^= 1
    assert "does not hold what was sent" in str(fails(write, drive))


# --- what is read


def test_ranges_by_many_threads_at_once(drive):
    write(drive)
    rng = random.Random(1)
    windows = [(rng.randrange(len(BIG)), rng.randrange(2 * PIECE)) for _ in range(60)]
    with drive.open_read(NAME, direct=True) as file, ThreadPoolExecutor(12) as pool:
        assert file.read_from == "medium"
        for (start, length), got in zip(windows, pool.map(lambda window: file.read_at(*window), windows), strict=True):
            assert got == BIG[start : start + length]


def test_what_was_asked_for_ahead_is_asked_for_once(drive, faulty):
    write(drive)
    file = drive.open_read(NAME)
    before = len(faulty.seen)
    file.will_need(100, PIECE)
    file.will_need(100, PIECE)
    assert file.read_at(100, PIECE) == BIG[100 : 100 + PIECE]
    assert len(faulty.seen) == before + 1
    file.will_need(PIECE, 2 * PIECE)
    before = len(faulty.seen)
    assert file.read_at(PIECE + 5, 2 * PIECE - 10) == BIG[PIECE + 5 : 3 * PIECE - 5]
    assert len(faulty.seen) <= before + 2, "each piece once, and nothing else"
    assert file.read_at(PIECE, 2 * PIECE) == BIG[PIECE : 3 * PIECE]
    assert not drive.client.ranges._ahead, "what was taken whole is not kept"
    file.will_need(PIECE, PIECE)
    assert file.read_at(50, 3 * PIECE) == BIG[50 : 50 + 3 * PIECE]
    assert file.read_at(0, 10) == BIG[:10]
    faulty.plan = lambda *_: "500"
    file.will_need(0, PIECE)  # fails, and says so only to whoever reads
    faulty.plan = lambda *_: None
    assert file.read_at(5, 100) == BIG[5:105]
    for number in range(20):
        file.will_need(number, 1)
    assert file.read_at(3, 1) == BIG[3:4]


def test_an_object_that_was_replaced_is_not_read_on(drive):
    write(drive, b"one" * 1000)
    file = drive.open_read(NAME)
    write(drive, b"two" * 1000)
    assert "replaced while it was read" in str(fails(file.read_at, 5, 10))


@pytest.mark.parametrize("name", ["a//b", "a/../b", "./x", "a%01b"])
def test_objects_whose_names_are_no_paths(drive, s3, name):
    drive.lock()
    drive.write_small("drive.json", b"x")
    assert s3.ask("PUT", f"/{drive.place.bucket}/of/sealift/{name}")[0] == 200
    with pytest.raises(FormatError, match="no paths"):
        list(drive.walk(10))


# --- who may not, and what is not there


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("AWS_SECRET_ACCESS_KEY", "hush-hush", "secret key is not that of the access key"),
        ("AWS_ACCESS_KEY_ID", "AKIANOBODY", "does not know this access key"),
    ],
)
def test_wrong_keys_are_told_without_being_repeated(drive, s3, monkeypatch, name, value, why):
    write(drive, b"x")
    monkeypatch.setenv(name, value)
    other = ObjectDrive(drive.mount, patience=2)
    calls = [
        other.exists, lambda: list(other.walk(9)), lambda: other.size(NAME), lambda: other.read_small(NAME, 9),
        lambda: other.open_read(NAME), lambda: write(other),
    ]  # fmt: skip
    drive.unlock()
    for call in calls:
        error = fails(call)
        said = f"{error}{error.hint}" + "".join(traceback.format_exception(error))
        assert why in str(error)
        assert drive.mount in str(error)
        assert "nothing was changed" in str(error) or "committed before is safe" in str(error)
        assert errno_of(error) == errno.EACCES
        for secret in (value, s3.access, s3.secret):
            assert secret not in said
        other.unlock()
    assert value not in repr(other)


def test_no_bucket_and_one_that_goes_while_it_is_read(drive, s3):
    nowhere = ObjectDrive("s3://no-such-bucket-here/x", patience=2)
    for call in (nowhere.exists, lambda: nowhere.size(NAME), lambda: nowhere.open_read(NAME), lambda: write(nowhere)):
        assert "no such bucket" in str(fails(call))
        nowhere.unlock()
    write(drive, b"x" * 100)
    file = drive.open_read(NAME)
    assert s3.ask("DELETE", f"/{drive.place.bucket}/of/sealift/{NAME}")[0] == 204
    assert is_missing(fails(file.read_at, 0, 10))
    assert s3.ask("DELETE", f"/{drive.place.bucket}")[0] == 204
    assert "no such bucket" in str(fails(file.read_at, 0, 10))
    assert "no such bucket" in str(fails(drive.read_small, NAME, 10))


def test_an_address_with_a_slash_at_its_end(drive, s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint + "/")
    write(drive, b"x")
    assert [entry.name for entry in drive.walk(9) if entry.kind == "file"] == [NAME.encode()]
    assert drive.size(NAME) == 1


def test_nobody_at_the_address(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    drive = ObjectDrive(f"s3://{bucket}/x", patience=1)
    error = fails(drive.exists)
    assert "nobody answers" in str(error)
    assert errno_of(error) == errno.ENODEV
    monkeypatch.setenv("AWS_ENDPOINT_URL", "not a url")
    assert "AWS_ENDPOINT_URL" in _bad(lambda: ObjectDrive(f"s3://{bucket}/x", patience=1).exists())


def _bad(call):
    with pytest.raises((BadInput, DriveFault)) as caught:
        call()
    return f"{caught.value} {caught.value.hint}"


# --- faults between


@pytest.fixture
def through(drive, faulty):
    """A drive whose requests go through the proxy, with an object on it."""
    write(drive)
    return drive


@pytest.mark.parametrize("fault", ["500", "503", "reset", "cut"])
def test_a_fault_that_passes_is_not_even_seen(through, faulty, fault):
    faulty.plan = lambda _method, _path, number: fault if number < 2 else None
    with through.open_read(NAME) as file:
        assert file.read_at(0, len(BIG)) == BIG
    assert through.read_small("drive.json", 10) is None
    assert len(list(through.walk(10))) == 3


def _is_listing(method, path):
    return method == "GET" and "list-type" in path


@pytest.mark.parametrize("fault", ["short", "flip", "cut", "reset"])
def test_a_listing_that_was_altered_or_cut_on_its_way_is_asked_for_again(through, faulty, fault):
    number = itertools.count()
    faulty.plan = lambda method, path, _: fault if _is_listing(method, path) and next(number) < 3 else None
    assert len(list(through.walk(10))) == 3
    assert next(number) == 4


def test_what_is_no_listing_for_ever_is_told_as_that(through, faulty, monkeypatch):
    monkeypatch.setattr(object_prefix, "_CUT", 2)
    faulty.plan = lambda method, path, _: "short" if _is_listing(method, path) else None
    assert "its answer is no listing of a bucket" in str(fails(lambda: list(through.walk(10))))


@pytest.mark.parametrize("fault", ["500", "503", "reset", "cut"])
def test_a_removal_gets_over_a_fault_that_passes(through, faulty, fault):
    faulty.plan = lambda method, _path, number: fault if method == "DELETE" and number < 2 else None
    through.delete(NAME)
    assert through.size(NAME) is None


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("500", "the store failed"),
        ("reset", "cannot be reached"),
        ("cut", "was cut"),
        ("hang", "in time"),
        ("short", ""),
    ],
)
def test_a_fault_that_stays_is_told_in_time(through, faulty, fault, why):
    file = through.open_read(NAME)
    faulty.plan = lambda method, _path, _number: fault if method == "GET" else None
    error = fails(file.read_at, 5, 100_000)
    assert why in str(error)
    assert f"reading {NAME} at 5" in str(error)
    faulty.plan = lambda *_: None
    assert file.read_at(5, 10) == BIG[5:15]


@pytest.mark.long
def test_a_buffer_is_the_callers_again_when_reading_has_failed(through, faulty):
    file, buffer = through.open_read(NAME), bytearray(2 * PIECE)
    faulty.plan = lambda method, _path, number: None if method != "GET" else "slow" if number else "403"
    fails(file.readinto_at, 0, memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    time.sleep(2)
    assert not any(buffer)


@pytest.mark.long
@pytest.mark.parametrize("fault", ["500", "reset", "cut-upload", "cut"])
def test_an_upload_gets_over_a_fault_that_passes(through, faulty, s3, fault):
    before = len(faulty.seen)
    faulty.plan = lambda method, _path, number: fault if number == 0 and method in {"PUT", "POST"} else None
    write(through, BIG[::-1])
    assert len(faulty.seen) > before
    with through.open_read(NAME) as file:
        assert file.read_at(0, len(BIG)) == BIG[::-1]


@pytest.mark.parametrize(
    ("method", "query"), [("POST", "uploads"), ("PUT", "partNumber=2"), ("POST", "uploadId"), ("HEAD", "0000001")]
)
def test_an_upload_that_fails_leaves_nothing_behind(impatient, through, faulty, s3, method, query):
    faulty.plan = lambda how, path, _number: "500" if how == method and query in path else None
    part = through.create("packs/0000/0000001.tar.zst.age")

    def act():
        part.write_at(0, [memoryview(BIG)])
        part.publish()

    error = fails(act)
    assert "0000001.tar.zst.age" in str(error)
    assert "what was committed before is safe" in str(error)
    part.abandon()
    faulty.plan = lambda *_: None
    if method == "HEAD":  # the store has it, and nobody could say so: it is written anew
        assert through.size("packs/0000/0000001.tar.zst.age") == len(BIG)
    else:
        assert through.size("packs/0000/0000001.tar.zst.age") is None
    through.unlock()
    through.lock()
    assert s3.uploads(through.place.bucket) == 0


def test_an_upload_whose_beginning_was_not_answered_is_ended_with_the_run(impatient, through, faulty, s3):
    """obstore begins another one, and knows nothing of the first."""
    faulty.plan = lambda how, path, number: "unheard" if how == "POST" and "uploads" in path and not number else None
    part = through.create("packs/0000/0000001.tar.zst.age")
    part.write_at(0, [memoryview(BIG)])
    part.publish()
    assert s3.uploads(through.place.bucket) == 1
    through.unlock()
    assert s3.uploads(through.place.bucket) == 0


def test_bytes_that_change_on_the_way_are_refused(through, faulty):
    faulty.plan = lambda how, _path, _number: "flip-upload" if how == "PUT" else None
    assert "not what was sent" in str(fails(write, through, b"small", "drive.json"))
    assert "not what was sent" in str(fails(write, through, BIG[::-1]))
    assert through.size("drive.json") is None


@pytest.mark.parametrize("before", [None, b"small", b"other"])
def test_a_store_that_says_yes_and_keeps_something_else(through, faulty, before):
    if before is not None:
        write(through, before, "drive.json")
    faulty.plan = lambda how, _path, _number: "lose" if how == "PUT" else None
    if before == b"small":
        write(through, b"small", "drive.json")  # it is there all the same
        return
    assert "does not hold what was sent" in str(fails(write, through, b"small", "drive.json"))
    assert through.size("drive.json") is None
    assert "does not hold what was sent" in str(fails(write, through, b"longer", "drive.json"))


# --- processes


def test_a_lock_is_held_against_other_processes_and_goes_with_its_holders(drive):
    drive.lock()
    child = subprocess.Popen(["sleep", "60"], pass_fds=[drive.lock()])
    drive.unlock()
    try:
        with pytest.raises(Busy):
            ObjectDrive(drive.mount).lock()
    finally:
        child.kill()
        child.wait()
    drive.lock()


def test_a_forked_process_reads_what_its_parent_has_read(drive):
    write(drive)
    file = drive.open_read(NAME)
    assert file.read_at(0, 100) == BIG[:100]
    file.will_need(0, PIECE)
    for _ in range(2):
        child = os.fork()
        if not child:
            signal.alarm(30)  # kills it where it hangs
            grandchild = os.fork()
            signal.alarm(20)
            if grandchild and os.waitpid(grandchild, 0)[1]:
                os._exit(1)
            threads = [threading.Thread(target=file.read_at, args=(0, 3 * PIECE)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            good = file.read_at(7, 3 * PIECE) == BIG[7 : 7 + 3 * PIECE] and drive.size(NAME) == len(BIG)
            bad = drive.read_small("nowhere", 10) is not None
            os._exit(bad or not good)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert file.read_at(9, 100) == BIG[9:109]


def test_obstore_is_loaded_once_a_process(drive):
    assert object_client.native() is object_client.native()
    drive.exists()
    assert drive.client is drive.client
