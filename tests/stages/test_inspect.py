"""What inspect says from names and lengths, and what the two commands print and return."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fleet as fleets

from sealift.cli.main import run as sealift
from sealift.formats import manifest as mf
from sealift.stages.inspect import inspect
from sealift.stages.verify_report import exit_code

BLOCK = mf.BLOCK
FLEET = fleets.make(
    Path("/nowhere"), seed=31, geometry=((2, 1), (1, 1)), lengths=[[BLOCK + 5, 50], [70, 60], [9, 0]], on_disk=False
)
PLACES = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]


def data_bytes(group, slots):
    return sum(
        len(row[role])
        for stripe, row in enumerate(group.packs)
        for role in range(group.data)
        if mf.slot_of(stripe, role, group.n) in slots
    )


@pytest.mark.parametrize("count", range(1, 6))
@pytest.mark.parametrize("final", [False, True])
def test_any_drives_that_are_here(count, final):
    for chosen in itertools.combinations(range(5), count):
        drives = FLEET.memory()
        report = inspect([drives[index] for index in chosen], final=final)
        here = [{slot for number, slot in (PLACES[i] for i in chosen) if number == group} for group in (0, 1)]
        enough = len(here[0]) >= 2 and len(here[1]) >= 1
        complete = len(chosen) == 5
        expected = "complete" if complete else "recoverable" if enough else "lost" if final else "unseen"
        assert report.state == expected
        assert exit_code(report) == {"complete": 0, "recoverable": 3, "unseen": 6, "lost": 4}[expected]
        for group, told in zip(FLEET.groups, report.groups, strict=True):
            slots = here[group.number]
            total = data_bytes(group, set(range(group.n)))
            assert told.total_bytes == total
            assert told.readable_bytes == data_bytes(group, slots)
            if len(slots) >= group.data:
                assert told.recoverable_bytes == total
            assert [drive.slot for drive in told.present] == sorted(slots)
            assert len(told.missing) == group.n - len(slots)


def test_without_a_seal_nobody_can_say_that_this_is_all():
    assert inspect(FLEET.memory(with_seal=False)).state == "unseen"
    assert inspect(FLEET.memory(with_seal=False), seal=FLEET.seal_files).state == "complete"
    assert inspect(FLEET.memory(with_seal=False)[:1], final=True).state == "lost"


def test_lengths_are_looked_at_and_contents_are_not():
    drives = FLEET.memory()
    name = mf.pack_name(0, mf.role_of(0, 0, 3), 2)
    whole = drives[0].medium.files[name]
    drives[0].put(name, bytes(len(whole)))
    assert inspect(drives).state == "complete"
    drives[0].put(name, whole[: BLOCK + 1])
    report = inspect(drives)
    assert [(fault.path, fault.kind, fault.block) for fault in report.faults] == [(name, "truncated", 1)]
    assert report.state == "recoverable"
    assert report.groups[0].total_bytes - report.groups[0].readable_bytes == len(whole) - BLOCK


def test_signatures_are_checked_when_signers_are_given():
    good = inspect(FLEET.memory(), allowed=FLEET.allowed)
    assert good.signature.ok
    assert good.seal.trusted
    assert inspect(FLEET.memory()).signature is None
    other = fleets.make(Path("/nowhere"), seed=32, lengths=[[9, 9]], on_disk=False)
    assert exit_code(inspect(FLEET.memory(), allowed=other.allowed)) == 5


# The commands


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    root = tmp_path_factory.mktemp("stand")
    fleet = fleets.make(root / "mnt", seed=31, geometry=((2, 1), (1, 1)), lengths=[[3000, 50], [70, 60]])
    (root / "signers").write_bytes(fleet.allowed_bytes)
    (root / "s.seal").write_bytes(fleet.bundle)
    return root, fleet


@pytest.fixture(autouse=True)
def _own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("SEALIFT_ALLOWED_SIGNERS", raising=False)


VERIFY_KEYS = {"state", "signature", "faults", "bytes_read", "read_from", "seconds"}
GROUP_KEYS = {"group", "parity", "present", "missing", "total_bytes", "readable_bytes", "recoverable_bytes"}


def test_verify_prints_one_object(stand, capsys):
    root, fleet = stand
    code = sealift(["verify", *fleet.mounts, "--allowed-signers", str(root / "signers"), "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert (code, answer["state"]) == (0, "intact")
    assert answer.keys() >= VERIFY_KEYS
    assert answer["signature"]["ok"] is True
    assert answer["signature"]["signer"] == "origin@example.com"
    assert answer["read_from"] in {"medium", "cache"}


def test_inspect_prints_one_object(stand, capsys):
    _, fleet = stand
    code = sealift(["inspect", *fleet.mounts[1:], "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert (code, answer["state"], answer["shipment"]) == (3, "recoverable", fleet.shipment)
    assert all(group.keys() >= GROUP_KEYS for group in answer["groups"])
    assert {"drive", "slot", "carrier", "mount"} <= answer["groups"][0]["present"][0].keys()
    assert {"drive", "carrier", "serial"} <= answer["groups"][0]["missing"][0].keys()


def test_faults_are_in_the_contracts_form(stand, capsys):
    root, fleet = stand
    path = fleet.path(0, 1, mf.pack_name(0, mf.role_of(0, 1, 3), 2))
    fleets.flip(path, 3)
    arguments = ["verify", *fleet.mounts, "--allowed-signers", str(root / "signers")]
    assert sealift([*arguments, "--json"]) == 3
    fault = json.loads(capsys.readouterr().out)["faults"][0]
    assert {key: fault[key] for key in ("drive", "path", "block", "kind")} == {
        "drive": "g0s1",
        "path": str(path).partition("/sealift/")[2],
        "block": 0,
        "kind": "rotten",
    }
    assert sealift(arguments) == 3
    fleets.flip(path, 3)
    words = capsys.readouterr().out
    assert "g0s1 drive 2 of 5" in words
    assert fleet.serial(0, 1) in words
    line = next(line for line in words.splitlines() if "g0s1" in line)
    assert "PULL" in line
    assert "block 0" in line


def test_two_hosts_are_joined(stand, capsys, tmp_path):
    root, fleet = stand
    signers = ["--allowed-signers", str(root / "signers")]
    assert sealift(["verify", *fleet.mounts[:2], *signers, "--json"]) == 6
    (tmp_path / "a.json").write_text(capsys.readouterr().out)
    assert sealift(["verify", *fleet.mounts[2:], *signers, "--part", str(tmp_path / "a.json")]) == 0
    assert "a.json" in capsys.readouterr().out
    assert sealift(["inspect", *fleet.mounts[2:], "--part", str(tmp_path / "a.json")]) == 0


def test_the_screen_names_who_is_not_here(stand, capsys):
    root, fleet = stand
    signers = ["--allowed-signers", str(root / "signers")]
    assert sealift(["verify", *fleet.mounts[:2], *signers, "--seal", str(root / "s.seal")]) == 6
    words = capsys.readouterr().out
    assert words.count("NOT HERE") == 3
    assert all(fleet.serial(*place) in words for place in PLACES)
    assert "next:" in words
    assert sealift(["verify", *fleet.mounts[:2], *signers, "--final"]) == 4


def test_signers_come_from_the_environment_or_not_at_all(stand, capsys, monkeypatch):
    root, fleet = stand
    assert sealift(["verify", *fleet.mounts]) == 1
    assert "hint:" in capsys.readouterr().err
    monkeypatch.setenv("SEALIFT_ALLOWED_SIGNERS", str(root / "signers"))
    assert sealift(["verify", *fleet.mounts]) == 0


def test_bad_input_is_said_in_one_line(stand, capsys, tmp_path):
    root, fleet = stand
    signers = ["--allowed-signers", str(root / "signers")]
    (tmp_path / "rubbish").write_text("{}")
    os.mkfifo(tmp_path / "fifo")
    for arguments, code in (
        (["verify", str(tmp_path / "absent"), *signers], 1),
        (["verify", str(tmp_path), *signers], 1),
        (["verify", *fleet.mounts, *signers, "--part", str(tmp_path / "rubbish")], 1),
        (["verify", *fleet.mounts, *signers, "--part", str(tmp_path / "fifo")], 1),
        (["verify", *fleet.mounts, *signers, "--seal", str(tmp_path / "rubbish")], 5),
        (["verify", *fleet.mounts, *signers, "--shipment", "0" * 16], 5),
        (["inspect"], 1),
    ):
        assert sealift(arguments) == code, arguments
        assert "Traceback" not in capsys.readouterr().err


def test_a_hostile_label_does_not_reach_the_terminal(capsys, tmp_path):
    fleet = fleets.make(tmp_path / "mnt", seed=33, lengths=[[30, 20]])
    evil = tmp_path / "mnt" / "g0s0" / "sealift" / "\x1b[31mred\u202e"
    evil.write_text("x")
    assert sealift(["inspect", *fleet.mounts]) == 3
    words = capsys.readouterr().out
    assert "\x1b" not in words
    assert "\u202e" not in words


@pytest.mark.parametrize("what", ["pipe", "gone", "small"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_second_copy_of_a_drive_that_lacks_something_is_pulled(tmp_path, capsys, monkeypatch, what, turned):
    """As verify and repair say, with their code; it was 3, with `sealift repair`, which writes nothing on it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    fleet = fleets.make(tmp_path / "mnt", seed=38, lengths=[[BLOCK + 5, 50], [70, 60]])
    (tmp_path / "signers").write_bytes(fleet.allowed_bytes)
    twin = str(tmp_path / "twin")
    shutil.copytree(fleet.mount(0, 1), twin)
    victim = Path(twin, "sealift", mf.SUMS if what == "small" else mf.pack_name(0, mf.role_of(0, 1, 3), 2))
    victim.unlink()
    if what == "pipe":
        os.mkfifo(victim)
    mounts = [*fleet.mounts, twin][:: -1 if turned else 1]
    for command in ("inspect", "verify", "repair"):
        assert sealift([command, *mounts, "--allowed-signers", str(tmp_path / "signers")]) == 0
        out = capsys.readouterr().out
        assert out.startswith(("complete", "intact", "whole"))
        assert "repair` makes" not in out
        if command != "repair":
            has = "has all of g0s1, by name and length" if command == "inspect" else "is g0s1 as it was signed"
            assert f"next: pull {twin}, and only that: {fleet.mount(0, 1)} {has}" in out
        assert "are both" not in out
    assert not victim.is_file()
