"""Workers of an unpack that is killed or interrupted end with it, and neither they nor Python say anything more.

And drives that are gone while it works: their error is the command's, and nobody waits for each of them time and again.
"""

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import shipments

from sealift.drives import hung, waiting
from sealift.drives.ranges import RemoteDrive
from sealift.errors import DriveFault, FormatError, SealiftError, Unreached
from sealift.formats import manifest as mf
from sealift.reading.survey_views import DriveView, SharedPages
from sealift.stages import spawned, unpack_target
from sealift.stages import unpack as unpacking
from sealift.stages.spawned import QuietSpawn
from sealift.stages.unpack_jobs import awaited

KILLED = """
import multiprocessing, os, signal, sys
from multiprocessing import resource_tracker, util
from sealift.stages.spawned import QuietSpawn

real = util.spawnv_passfds

def spawn(*arguments):
    real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)  # before the child is told what it is to do

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn") if sys.argv[1] == "plain" else QuietSpawn()
    process = context.Process(target=print)
    resource_tracker.ensure_running()
    util.spawnv_passfds = spawn
    process.start()
"""

LATE = """
import os, signal, sys, threading, time
from sealift.cli import main

def run(_arguments):
    threading.Thread(target=time.sleep, args=(20,)).start()  # Python waits for it at its end
    print("over", flush=True)
    return 0

main.run = run
main.main([])
"""


def test_a_worker_whose_parent_is_killed_while_it_starts_says_nothing(tmp_path):
    (tmp_path / "parent.py").write_text(KILLED)
    told = {}
    for kind in ("plain", "quiet"):
        done = subprocess.run(
            [sys.executable, tmp_path / "parent.py", kind], stderr=subprocess.PIPE, timeout=30, check=False
        )  # returns when the child, which has stderr too, is gone
        assert done.returncode == -signal.SIGKILL
        told[kind] = done.stderr
    assert b"EOFError" in told["plain"]
    assert b"Traceback" not in told["quiet"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_command_is_over_ends_it_in_silence(number):
    process = subprocess.Popen([sys.executable, "-c", LATE], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"over\n"
    time.sleep(0.3)
    process.send_signal(number)
    assert process.communicate(timeout=10)[1] == b""
    assert process.returncode == 130


def note_mask(path):
    status = Path("/proc/self/status").read_text()
    path.write_text(next(line for line in status.splitlines() if line.startswith("SigBlk")))


def test_ctrl_c_of_the_terminal_does_not_reach_a_worker_that_starts(tmp_path):
    process = QuietSpawn().Process(target=note_mask, args=(tmp_path / "mask",))
    process.start()
    os.kill(process.pid, signal.SIGINT)  # while it imports
    process.join(30)
    assert process.exitcode == 0
    assert int((tmp_path / "mask").read_text().split()[1], 16) & 1 << (signal.SIGINT - 1)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_errors_of_a_worker_are_told_while_its_parent_lives(tmp_path, capfd):
    process = QuietSpawn().Process(target=note_mask, args=(1,))
    process.start()
    process.join(30)
    assert process.exitcode == 1
    assert "AttributeError" in capfd.readouterr().err


@pytest.mark.long
def test_interrupted_it_leaves_no_worker_behind(tmp_path):
    source = shipments.corpus(tmp_path / "source")
    origin = shipments.Origin(tmp_path / "origin", source, 2, 1)
    origin.pack()

    def stop(*_):
        raise KeyboardInterrupt

    options = origin.unpack_options(tmp_path / "target", workers=2)
    with pytest.raises(KeyboardInterrupt):
        unpacking.unpack(options, unpacking.Events(progress=stop))
    deadline = time.monotonic() + 20  # they were told to end; on a busy machine that takes a while
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert multiprocessing.active_children() == []
    assert origin.unpack(tmp_path / "target", workers=2).failed == []
    shipments.same(source, tmp_path / "target")


@pytest.mark.long
def test_what_all_workers_find_out_is_told_once(tmp_path, capfd):
    for number in range(12):
        shipments.write(tmp_path / "source" / f"{number}", os.urandom(700_000))
    origin = shipments.Origin(tmp_path / "origin", tmp_path / "source", 2, 2)
    origin.pack()
    here = origin.mounts[1:3]
    assert origin.unpack(tmp_path / "target", mounts=here, workers=4).failed == []
    told = [line for line in capfd.readouterr().err.splitlines() if "is not here" in line]
    assert len(told) == len(set(told)) == 2


def test_messages_beyond_those_that_are_remembered_are_all_logged(monkeypatch):
    monkeypatch.setattr(spawned, "_SAID", 3)
    once = spawned.Once()
    words = [logging.makeLogRecord({"msg": "drive %s", "args": (number,)}) for number in range(5)]
    assert [once.filter(each) for each in words * 2] == [True] * 5 + [False] * 3 + [True] * 2


def test_what_keeps_workers_from_opening_the_drives_is_the_error_of_the_command(tmp_path, monkeypatch, capfd):
    origin = shipments.Origin(tmp_path / "origin", shipments.corpus(tmp_path / "source"), 2, 1)
    origin.pack()
    restore = unpacking._restore_packs

    def gone(*given):
        for mount in origin.mounts:
            os.rename(mount, f"{mount}.gone")
        restore(*given)

    monkeypatch.setattr(unpacking, "_restore_packs", gone)
    with pytest.raises(SealiftError, match=r"/d00: no such file or directory"):
        origin.unpack(tmp_path / "target")
    assert "Traceback" not in capfd.readouterr().err


class Gone(RemoteDrive):
    """A host that does not answer."""

    def __init__(self, mount):
        self.mount, self.at, self.host_name, self.asked = mount, "http://x/", mount, 0

    def open_later(self, _name):
        return self

    def read_at(self, _offset, _length):
        self.asked += 1
        raise DriveFault(f"{self.mount}: nobody answers", drive=self.mount)


def test_a_host_that_failed_is_not_waited_for_at_each_page():
    drives = [Gone("h0"), Gone("h1")]
    ref = SimpleNamespace(records=1, root="0" * 64)
    views = [DriveView(drive.mount, drive) for drive in drives]
    pages = SharedPages(views, mf.BLOCKS, magic=mf.BLOCKS_MAGIC, record=32, ref=ref, cache=1)
    for _ in range(3):
        with pytest.raises(Unreached, match="from none of the drives that are here: h0: nobody answers") as told:
            pages.get(0, 1)
        assert isinstance(told.value, FormatError), "what goes on without a page goes on without this one"
        assert (told.value.exit_code, told.value.hint is None) == (6, False)
    assert [drive.asked for drive in drives] == [1, 1]
    pages._resting = dict.fromkeys(pages._resting, (time.monotonic() - 1, ""))
    with pytest.raises(FormatError):
        pages.get(0, 1)
    assert [drive.asked for drive in drives] == [2, 2], "and after a while it is"


def test_pieces_that_do_not_come_are_waited_for_by_name():
    def known():
        return [what for _, what in waiting._waiting.values() if what.startswith("h0: ")]  # others may wait, too

    def pieces():
        yield known()
        yield known()

    assert list(awaited(pieces(), "h0: reading x")) == [["h0: reading x"]] * 2
    assert known() == []


def test_a_target_that_hangs_is_named_whatever_is_done_there(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "ProcessPoolExecutor", shipments.Inline)
    origin = shipments.Origin(tmp_path / "origin", shipments.corpus(tmp_path / "source"), 2, 1)
    origin.pack()
    target, done, unnamed = str(tmp_path / "target"), set(), set()

    def watch(module, name):
        real = getattr(module, name)

        def act(*given, **named):
            at = given[0] if isinstance(given[0], int) else named.get("src_dir_fd", named.get("dir_fd"))
            at = given[1] if module is unpack_target else at
            place = os.fsdecode(given[0]) if at is None else os.readlink(f"/proc/self/fd/{at}")
            if not place.startswith(target):
                return real(*given, **named)
            told = [what for _, what in waiting._waiting.values()] + [mount for mount, _ in hung._open.values()]
            (done if any(what.startswith(target) for what in told) else unnamed).add(name)
            return real(*given, **named)

        monkeypatch.setattr(module, name, act)

    for name in ("mkdir", "pwrite", "ftruncate", "fchmod", "utime", "link", "symlink", "fsync", "unlink"):
        watch(os, name)
    watch(unpack_target, "_move")
    assert origin.unpack(target).failed == []
    assert unnamed == set()
    assert len(done) == 10
