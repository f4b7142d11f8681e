"""Work in processes of its own: answers in order, and an end whatever a device does."""

import os
import signal
import subprocess
import sys
import time

import loops
import pytest

from sealift.drives import apart


def run(*jobs, seconds=10.0, limit=1 << 16, **more):
    return apart.run(jobs, seconds=seconds, limit=limit, **more)


def test_answers_are_in_the_order_of_the_jobs():
    first, second, third = run(
        ["sh", "-c", "sleep 0.2; echo a"], ["sh", "-c", "echo b; exit 3"], lambda fd: os.write(fd, b"c")
    )
    assert (first, second, third) == ((b"a\n", 0, None), (b"b\n", 3, None), (b"c", 0, None))
    assert run() == []


def test_more_jobs_than_are_run_together():
    answers = run(*(["echo", str(number)] for number in range(9)), together=2)
    assert [int(answer.output) for answer in answers] == list(range(9))


def test_a_job_that_is_late_is_left_and_the_others_have_their_answers():
    begun = time.monotonic()
    late, good, kept = run(
        ["sh", "-c", "echo begun; exec sleep 60"], ["echo", "good"], lambda _fd: time.sleep(60), seconds=0.4
    )
    assert time.monotonic() - begun < 5
    assert late == (b"begun\n", None, "no answer within 0.4 s")
    assert good == (b"good\n", 0, None)
    assert kept.trouble == "no answer within 0.4 s"


def test_nothing_is_left_running(tmp_path):
    run(["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 60"], seconds=0.3)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_what_says_too_much_is_killed_and_cut():
    (answer,) = run(["sh", "-c", "head -c 300000 /dev/zero; exec sleep 60"], limit=100_000, seconds=3)
    assert len(answer.output) == 100_000
    assert answer.trouble == "it said more than 100,000 bytes"


def test_a_program_that_cannot_be_run(tmp_path):
    (tmp_path / "program").write_bytes(b"\x7fELF, and no more")
    (tmp_path / "program").chmod(0o755)
    assert run([str(tmp_path / "program")], ["echo", "x"]) == [
        (b"", None, f"{tmp_path}/program cannot be run: Exec format error"),
        (b"x\n", 0, None),
    ]


def test_a_program_that_is_not_there():
    assert run(["no-such-program-at-all"], ["echo", "x"]) == [
        (b"", None, "no-such-program-at-all is not installed"),
        (b"x\n", 0, None),
    ]


def test_tools_of_devices_are_found_where_only_roots_path_reaches(tmp_path, monkeypatch):
    program = tmp_path / "lsdevice"
    program.write_text("#!/bin/sh\necho $0")
    program.chmod(0o755)
    assert run(["lsdevice"])[0].trouble == "lsdevice is not installed"
    monkeypatch.setattr(apart, "_ALSO", str(tmp_path))
    assert run(["lsdevice"])[0].output == f"{program}\n".encode()


def test_what_a_signal_ended_and_what_raised():
    killed, raised = run(["sh", "-c", "kill -9 $$"], lambda _fd: 1 / 0)
    assert killed.trouble == "signal 9 ended it"
    assert (raised.code, raised.trouble) == (1, None)


def test_words_of_errors_are_taken_only_where_asked():
    assert run(["sh", "-c", "echo no >&2"])[0].output == b""
    assert run(["sh", "-c", "echo no >&2"], errors=True)[0].output == b"no\n"


def test_one_that_keeps_speaking_may_take_longer_than_one_silence():
    said = []

    def speaks(fd):
        for _ in range(6):
            time.sleep(0.15)
            os.write(fd, b"x")

    (answer,) = run(speaks, seconds=0.6, heard=lambda place, data: said.append((place, data)))
    assert answer == (b"", 0, None)
    assert b"".join(data for _, data in said) == b"x" * 6


def test_descriptors_are_closed():
    before = len(os.listdir("/proc/self/fd"))
    run(["echo", "x"], ["sleep", "9"], lambda fd: os.write(fd, b"y"), seconds=0.2)
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_interruption_ends_what_was_begun():
    code = (
        "import sys, os, signal\nfrom sealift.drives import apart\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which who runs tests may have ignored
        "print('begun', flush=True)\n"
        "apart.run([['sleep', '60'], lambda fd: os.read(os.pipe()[0], 1)], seconds=60, limit=9)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        try:
            child.stdout.readline()
            until = time.monotonic() + 20
            while len(begun := loops.children(child.pid)) < 2:
                assert time.monotonic() < until
                time.sleep(0.01)
            child.send_signal(signal.SIGINT)
            _, errors = child.communicate(timeout=10)
        finally:
            child.kill()
    assert b"KeyboardInterrupt" in errors
    assert not any(map(loops.is_there, begun))
