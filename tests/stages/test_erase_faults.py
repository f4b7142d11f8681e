"""Erase, of drives that lie, hang, are exchanged or taken; stopped and killed: what is told, and what is left."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import erasures
import loops
import odd_disk
import pytest
from docks import MIB, Dock
from mounted import need_fuse

from sealift.stages import erase as stage

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _own_state(tmp_path):
    with pytest.MonkeyPatch.context() as own:
        own.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        yield


@pytest.fixture
def made(tmp_path):
    with loops.loops(tmp_path) as found:
        yield found


@pytest.fixture
def dock(made, tmp_path):
    return Dock(made, tmp_path)


# --- drives that do not do what they say ---------------------------------------------------------------------


def test_a_real_device_that_says_success_without_doing_it_is_caught(made, tmp_path, capsys):
    need_fuse()
    dock = Dock(made, tmp_path, count=2)
    with odd_disk.disk(dock.images[0], "lies") as (file, _):
        dock.names[0] = str(file)
        made.attach(file)
        try:
            assert dock.erase() == 3
        finally:
            subprocess.run(["losetup", "-j", file], check=True)
            loops.run("losetup", "-d", loops.run("losetup", "-n", "-O", "NAME", "-j", file))
    out = capsys.readouterr().out
    assert "NOT ERASED" in out
    assert "it said that it was erased, and it was not" in out
    assert "what was on it is gone, or a part of it" in out
    assert [record.media.serial for record in dock.certified()] == ["SER1"], "the other one is erased, and certified"
    assert dock.images[1].read_bytes() == bytes(3 * MIB)
    assert dock.images[0].read_bytes().count(0) < MIB
    log = next(path for path in dock.papers.written(".log.jsonl") if "SER0" in path.name)
    assert "it was not" in json.loads(log.read_text().splitlines()[-1])["fault"]


@pytest.mark.long
def test_a_device_that_hangs_is_left_and_the_other_is_certified(made, tmp_path, capsys, monkeypatch):
    need_fuse()
    monkeypatch.setattr(stage, "erase", lambda *a, real=stage.erase, **k: real(*a, patience=3.0, **k))
    dock = Dock(made, tmp_path, count=2, size=24 * MIB)
    with odd_disk.disk(dock.images[0], "slow") as (file, daemon):
        dock.names[0] = str(file)
        node = made.attach(file)
        heard = stage._Keeper.heard

        def freeze(self, place, said):
            if place == 0 and b"erasing" in said:
                daemon.send_signal(signal.SIGSTOP)
            heard(self, place, said)

        monkeypatch.setattr(stage._Keeper, "heard", freeze)
        try:
            assert dock.erase() == 3
        finally:
            daemon.send_signal(signal.SIGCONT)
            for _ in range(100):
                if subprocess.run(["losetup", "-d", node], capture_output=True, check=False).returncode == 0:
                    break
                time.sleep(0.1)
    assert "no answer within 3 s" in capsys.readouterr().out
    assert [record.media.serial for record in dock.certified()] == ["SER1"]


@pytest.mark.long
def test_what_was_interrupted_says_so_has_no_certificate_and_can_be_run_again(made, tmp_path, capsys):
    need_fuse()
    dock = Dock(made, tmp_path, count=2, size=48 * MIB)
    with odd_disk.disk(dock.images[0], "slow") as (file, _):
        dock.names[0] = str(file)
        node = made.attach(file)
        try:
            running = subprocess.Popen(
                [sys.executable, "-m", "sealift", *dock.words(yes=dock.names)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            until = time.monotonic() + 30
            while not (dock.papers.written("SER1*.certificate.json") and _flushed(dock)):
                assert time.monotonic() < until
                assert running.poll() is None, running.communicate()
                time.sleep(0.02)
            running.send_signal(signal.SIGINT)
            _, err = running.communicate(timeout=30)
            assert running.returncode == 130
            assert f"interrupted while erasing {dock.names[0]}: NOT erased, no certificate" in err
            assert f"done and certified before: {dock.names[1]}" in err
            assert [record.media.serial for record in dock.certified()] == ["SER1"]
            log = dock.papers.written("SER0*.log.jsonl")[0]
            assert json.loads(log.read_text().splitlines()[-1]) | {"at": ""} == {
                "at": "", "what": "stopped", "why": "interrupted",
            }  # fmt: skip
            dock.names = dock.names[:1]
            capsys.readouterr()
            time.sleep(1.1)
            assert dock.erase() == 0
            assert f"was begun before, and has no certificate: {log}" in capsys.readouterr().err
            assert sorted(record.media.serial for record in dock.certified()) == ["SER0", "SER1"]
            again = dock.papers.written("SER0*.log.jsonl")[1].read_text().splitlines()
            assert json.loads(again[0])["unfinished"] == [log.name]
        finally:
            subprocess.run(["losetup", "-d", node], check=False, capture_output=True)
    assert dock.images[0].read_bytes() == bytes(48 * MIB)


@pytest.mark.long
def test_one_that_was_killed_leaves_nothing_running_and_no_certificate(made, tmp_path, capsys):
    need_fuse()
    dock = Dock(made, tmp_path, size=48 * MIB)
    with odd_disk.disk(dock.images[0], "slow") as (file, _):
        dock.names[0] = str(file)
        node = made.attach(file)
        running = subprocess.Popen(
            [sys.executable, "-m", "sealift", *dock.words(yes=dock.names)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            until = time.monotonic() + 30
            while not _flushed(dock):
                assert time.monotonic() < until
                time.sleep(0.02)
            running.kill()
            running.wait()
            while True:  # until nobody writes to the drive any more
                assert time.monotonic() < until
                try:
                    os.close(os.open(node, os.O_RDONLY | os.O_EXCL))
                    break
                except OSError:
                    time.sleep(0.05)
            assert dock.certified() == []
            capsys.readouterr()
            assert dock.run() == 0
            assert "was begun before, and has no certificate" not in capsys.readouterr().err, "no folder was named"
            assert dock.run("--certificates", str(dock.papers.certificates)) == 0
            assert "was begun before, and has no certificate" in capsys.readouterr().err
        finally:
            running.kill()
            loops.run("losetup", "-d", node)


def _flushed(dock):
    """The markers of the slow drive are written, and it is being erased."""
    return any('"flush"' in path.read_text() for path in dock.papers.written("SER0*.log.jsonl"))


def test_a_certificate_that_cannot_be_written_is_told_and_not_claimed(dock, capsys, monkeypatch):
    from sealift.stages import erase_certify

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(erase_certify.signing, "write_pair", full)
    assert dock.erase() == 3
    assert "its certificate could not be written" in capsys.readouterr().out
    assert dock.certified() == []


def test_another_medium_at_the_same_node_is_never_written(made, dock, capsys, monkeypatch):
    """Exchanged between the look and the deed."""
    other = made.image("other.img", 3 * MIB)
    other.write_bytes(b"x" * 3 * MIB)
    look_again = stage.drives_prepare.look_again

    def exchange(candidates, **how):
        found = look_again(candidates, **how)
        loops.run("losetup", "-d", dock.nodes[0])
        loops.run("losetup", dock.nodes[0], other)
        return found

    monkeypatch.setattr(stage.drives_prepare, "look_again", exchange)
    assert dock.erase() == 5
    assert "REFUSED" in capsys.readouterr().out
    assert other.read_bytes() == b"x" * 3 * MIB
    assert dock.kept()
    assert dock.certified() == []


def test_a_drive_that_somebody_takes_before_it_is_opened_is_never_written(dock, capsys, monkeypatch):
    look_again = stage.drives_prepare.look_again
    held = []

    def take(candidates, **how):
        found = look_again(candidates, **how)
        held.append(os.open(dock.nodes[0], os.O_RDONLY | os.O_EXCL))  # as a mount would, in whatever namespace
        return found

    monkeypatch.setattr(stage.drives_prepare, "look_again", take)
    try:
        assert dock.erase() == 5
    finally:
        os.close(held[0])
    assert "it is in use by now; nothing was written to it" in capsys.readouterr().out
    assert dock.kept()


def test_what_changed_since_it_was_shown_stops_all(made, tmp_path, capsys, monkeypatch):
    dock = Dock(made, tmp_path, count=2)
    check = stage.check

    def change(plans, **how):
        check(plans, **how)
        loops.run("losetup", "-d", dock.nodes[1])
        dock.images[1].write_bytes(os.urandom(4 * MIB))
        loops.run("losetup", dock.nodes[1], dock.images[1])

    monkeypatch.setattr(stage, "check", change)
    assert dock.erase() == 5
    assert "is not the drive that was shown" in capsys.readouterr().err
    assert dock.kept()
    assert not dock.papers.written(".log.jsonl")


def test_a_certificate_that_could_not_be_made_is_found_before_anything_is_written(dock, capsys, monkeypatch):
    from sealift.stages import erase_certify

    monkeypatch.setattr(erase_certify, "_reasons", lambda *_: ["x" * 1001])
    assert dock.erase() == 1
    assert "its certificate could not be made" in capsys.readouterr().err
    assert dock.kept()
    assert not dock.papers.written(".log.jsonl")


def test_a_key_whose_certificates_nobody_accepts_erases_nothing(dock, capsys):
    lines = [line for line in erasures.SIGNERS.splitlines(keepends=True) if "sealift-certificate" not in line]
    dock.papers.signers.write_text("".join(lines))
    assert dock.erase() == 5
    assert "do not accept this key for sealift-certificate" in capsys.readouterr().err
    assert dock.kept()
    assert not dock.papers.written(".log.jsonl")


def test_commands_that_reach_another_drive_are_told(made, dock):
    from sealift.drives import block, sanitize

    (disk,) = [each for each in block.discover() if each.node == dock.nodes[0]]
    can = sanitize.Abilities(family="ata", techniques=["overwrite"], why=[], serial="ZL2A0001")
    assert stage.another(disk, can) is None, "it tells none"
    told = dataclasses.replace(disk, serial="ZL2A 0001")
    assert stage.another(told, can) is None
    assert "reach a drive with the serial number ZL2A0001" in stage.another(dataclasses.replace(disk, serial="Z9"), can)


def test_a_log_that_is_there_is_not_added_to(dock, capsys, monkeypatch):
    from sealift.stages import erase_certify

    monkeypatch.setattr(erase_certify, "_STEM_TIME", "20261126T000000Z")
    assert dock.erase() == 0
    before = dock.papers.written(".log.jsonl")[0].read_bytes()
    dock.images[0].write_bytes(os.urandom(3 * MIB))
    assert dock.erase() == 1
    err = capsys.readouterr().err
    assert "an erasure that began in the same second; nothing was written to a drive" in err
    assert "hint: run it again" in err
    assert dock.papers.written(".log.jsonl")[0].read_bytes() == before
    assert dock.kept()
