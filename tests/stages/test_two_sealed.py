"""Drives of two sealed shipments, and nothing that says which is meant: one question or line from every command."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fleet as fleets

from sealift.cli.main import run as sealift


@pytest.fixture
def stand(tmp_path, monkeypatch):
    """Two sealed shipments of 2+1 drives, and signers that name who signed both."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    one = fleets.make(tmp_path / "one", seed=91, lengths=[[300, 50]])
    two = fleets.make(tmp_path / "two", seed=92, lengths=[[300, 50]])
    (tmp_path / "signers").write_bytes(one.allowed_bytes + two.allowed_bytes)
    monkeypatch.setenv("SEALIFT_ALLOWED_SIGNERS", str(tmp_path / "signers"))
    (tmp_path / "one.seal").write_bytes(one.bundle)
    return tmp_path, one, two


def contents(fleet):
    return {path: path.read_bytes() for path in fleet.root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("more", [[], ["--dry-run"], ["--fetch-list"]])
@pytest.mark.parametrize("counts", [(3, 3), (3, 2), (1, 1)])
def test_repair_asks_which_of_them_is_meant(stand, capsys, counts, more):
    _, one, two = stand
    fleets.flip(one.path(0, 0, "OPEN-ME.txt"), 3)
    before = contents(one)
    assert sealift(["repair", *one.mounts[: counts[0]], *two.mounts[: counts[1]], *more]) == 5
    said = capsys.readouterr().err
    both = ", ".join(sorted([one.shipment, two.shipment]))
    assert f"these drives are of shipments {both}: nothing says which of them is meant" in said
    assert "hint: give the seal of the one that is meant (--seal FILE), or leave " in said
    assert contents(one) == before


def test_what_says_which_is_meant_is_followed(stand, capsys):
    root, one, two = stand
    for more in (["--seal", str(root / "one.seal")], ["--shipment", one.shipment]):
        for command, verdict in (("repair", "whole"), ("verify", "intact"), ("inspect", "complete")):
            assert sealift([command, *two.mounts, *one.mounts, *more]) == 0
            out = capsys.readouterr().out
            assert out.startswith(verdict), out
            assert "several sealed shipments" not in out
            assert f"next: pull {two.mounts[0]}: it does not belong to this shipment" in out


def test_a_lone_drive_of_another_is_foreign(stand, capsys):
    _, one, two = stand
    for command in ("repair", "verify", "inspect"):
        assert sealift([command, two.mounts[1], *one.mounts]) == 0
        out = capsys.readouterr().out
        assert "several sealed shipments" not in out
        assert f"next: pull {two.mounts[1]}: it does not belong to this shipment" in out


@pytest.mark.parametrize("command", ["verify", "inspect"])
@pytest.mark.parametrize("count", [3, 2])
def test_who_only_looks_says_which_one_it_speaks_of(stand, capsys, command, count):
    _, one, two = stand
    assert sealift([command, *one.mounts, *two.mounts[:count]]) == 0
    out = capsys.readouterr().out
    why = "most drives here are of it" if count == 2 else "it comes first, of as many of each"
    told = f"drives of several sealed shipments are here: this is about shipment {one.shipment}, since {why}: 3 drives"
    assert out.splitlines()[1].startswith(f"{told} of it, and {count} of shipment {two.shipment}; give the seal")
    assert out.count("several sealed shipments") == 2, "at the top, and with what to do"
    assert "pull" not in out.lower(), "nothing says that these are to be pulled"
    assert "next: give the seal of the shipment that is meant (--seal FILE)" in out


def test_without_a_seal_of_the_other_its_drives_are_foreign(stand, capsys):
    _, one, two = stand
    two.write(with_seal=False)
    for slot in range(3):
        for path in (two.root / f"g0s{slot}" / "sealift" / "seal").iterdir():
            path.unlink()
    assert sealift(["repair", *one.mounts, *two.mounts[:2]]) == 0
    assert f"next: pull {two.mounts[0]}" in capsys.readouterr().out
