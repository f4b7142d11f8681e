"""A drive whose drive.json is gone or spoilt when packing goes on: known by its packs, or set aside and only read."""

import os

import pytest
import shipments
from test_failing_drives import Packing, owed
from test_presence import StopError, pack_of, stopped

from sealift.errors import BadInput, DriveFault, Refused
from sealift.formats import manifest as mf
from sealift.stages.pack import group


def spoil(packing, slot):
    packing.fleet.put(packing.mounts[slot], mf.CARD, b"\x5a" * 300)


def spoilt(tmp_path, monkeypatch, *slots, parity=2):
    """Two stripes are committed, and these drives say no longer which they are."""
    packing = Packing(tmp_path, data=2, parity=parity)
    stopped(packing, monkeypatch, 2)
    for slot in slots:
        spoil(packing, slot)
    return packing


def test_drives_are_known_by_their_packs_and_get_their_card_again(tmp_path, monkeypatch):
    """More of them than parity holds."""
    packing = spoilt(tmp_path, monkeypatch, 1, 2)
    packing.fleet.remove(packing.mounts[3], mf.CARD)
    result = packing.pack()
    assert (result.exit_code, [row["drive"] for row in result.groups[0]["misread"]]) == (0, ["g0s1", "g0s2", "g0s3"])
    assert sum("drive.json is not as it was written" in text for text in packing.notices) == 3
    packing.ends_well()


def test_one_that_says_that_it_is_another_is_known_by_its_packs_once_that_file_is_moved_away(tmp_path, monkeypatch):
    packing = spoilt(tmp_path, monkeypatch)
    cards = [packing.fleet.read(mount, mf.CARD) for mount in packing.mounts[1:3]]
    for mount, card in zip(packing.mounts[1:3], reversed(cards), strict=True):
        packing.fleet.put(mount, mf.CARD, card)
    with pytest.raises(BadInput, match="this is drive g0s2 of the shipment, expected g0s1") as caught:
        packing.pack()
    assert "its drive.json is another drive's: move that file away" in caught.value.hint
    for mount in packing.mounts[1:3]:
        packing.fleet.remove(mount, mf.CARD)
    assert packing.pack().exit_code == 0
    assert [packing.fleet.read(mount, mf.CARD) for mount in packing.mounts[1:3]] == cards
    packing.ends_well()


def test_a_copy_of_another_drive_is_set_aside_once_its_card_is_moved_away_and_each_run_says_how_it_is_filled(
    tmp_path, monkeypatch
):
    packing = spoilt(tmp_path, monkeypatch)
    mount, serial = packing.mounts[1], packing.origin.serial(packing.mounts[1])
    packing.fleet.replay(mount, packing.fleet.snapshot(packing.mounts[0]))
    with pytest.raises(BadInput, match="this is drive g0s0 of the shipment, expected g0s1") as caught:
        packing.pack()
    assert "or set aside, and how to fill it anew is told, if they are that other drive's" in caught.value.hint
    packing.fleet.remove(mount, mf.CARD)
    for _ in range(3):
        packing.notices.clear()
        assert [row["drive"] for row in owed(packing.pack())] == ["g0s1"]
        told = f"it is filled anew with --replace {serial}={mount}, once what is in its sealift/ was moved away"
        assert any(text.endswith(told) for text in packing.notices)
    for name in packing.fleet.names(mount):
        packing.fleet.remove(mount, name)
    assert packing.pack(replace={serial: mount}).exit_code == 0
    packing.ends_well()


def test_one_that_lacks_packs_too_is_set_aside_and_left_as_it_is(tmp_path, monkeypatch):
    packing = spoilt(tmp_path, monkeypatch, 1)
    mount, serial = packing.mounts[1], packing.origin.serial(packing.mounts[1])
    packing.fleet.remove(mount, pack_of(packing, mount, 0))
    before = packing.fleet.snapshot(mount)
    result = packing.pack()
    assert (result.exit_code, [(row["drive"], row["kind"]) for row in owed(result)]) == (3, [("g0s1", "failed")])
    assert owed(result)[0]["reason"].startswith("its drive.json cannot be read, and 1 of its 3 packs is not on it")
    assert packing.fleet.snapshot(mount) == before
    option = f"--replace {serial}={mount}"
    assert any(option in text and "moved away" in text for text in packing.notices)
    with pytest.raises(BadInput, match="holds files") as caught:
        packing.pack(replace={serial: mount})
    assert "leave that --replace away" in caught.value.hint
    for name in packing.fleet.names(mount):
        packing.fleet.remove(mount, name)
    assert packing.pack(replace={serial: mount}).exit_code == 0
    packing.ends_well()


def test_one_whose_packs_are_only_as_long_is_somebody_elses(tmp_path, monkeypatch):
    """Full packs of all shipments have the same names and lengths."""
    packing = spoilt(tmp_path, monkeypatch, 1)
    mount = packing.mounts[1]
    for name in packing.fleet.names(mount):
        if name.startswith("packs/"):
            packing.fleet.put(mount, name, os.urandom(len(packing.fleet.read(mount, name))))
    before = packing.fleet.snapshot(mount)
    result = packing.pack()
    assert result.exit_code == 3
    assert "begin otherwise than they were written" in owed(result)[0]["reason"]
    assert packing.fleet.snapshot(mount) == before


def test_more_of_these_than_parity_holds_are_all_named(tmp_path, monkeypatch):
    packing = spoilt(tmp_path, monkeypatch, 1, 2, parity=1)
    for mount in packing.mounts[1:]:
        packing.fleet.remove(mount, pack_of(packing, mount, 1))
    with pytest.raises(DriveFault, match="2 drives are missing or take nothing, and parity holds 1") as caught:
        packing.pack()
    assert all(f"{name} (serial" in str(caught.value) for name in ("g0s1", "g0s2"))
    assert str(caught.value).count("its drive.json cannot be read") == 2


def test_what_says_whose_it_is_or_bears_what_was_signed_elsewhere_is_refused(tmp_path, monkeypatch):
    packing = spoilt(tmp_path / "1", monkeypatch, 1)
    packing.fleet.put(packing.mounts[1], mf.MANIFEST, b"{}")
    with pytest.raises(Refused, match="bears a signed manifest"):
        packing.pack()
    packing.fleet.remove(packing.mounts[1], mf.MANIFEST)
    other = Packing(tmp_path / "2")
    stopped(other, monkeypatch, 1)
    packing.fleet.put(packing.mounts[1], mf.CARD, other.fleet.read(other.mounts[1], mf.CARD))
    with pytest.raises(BadInput, match="of another shipment"):
        packing.pack()


def test_one_that_holds_something_else_is_set_aside(tmp_path, monkeypatch):
    packing = spoilt(tmp_path, monkeypatch, 1)
    mount = packing.mounts[1]
    for name in packing.fleet.names(mount):
        packing.fleet.remove(mount, name)
    shipments.write(f"{mount}/sealift/precious", b"data")
    assert packing.pack().exit_code == 3
    assert packing.fleet.names(mount) == ["precious"]


def begun(tmp_path, monkeypatch, **how):
    """The first group has begun, nothing of it is committed, and a drive of it, at a mount, says not which it is."""
    packing = Packing(tmp_path, **how)
    with monkeypatch.context() as patch:
        patch.setattr(group.GroupPacker, "_pack_stripe", lambda *_: (_ for _ in ()).throw(StopError))
        with pytest.raises(StopError):
            packing.pack()
    mount = [each for each in packing.mounts if mf.CARD in packing.fleet.names(each)][1]
    packing.fleet.put(mount, mf.CARD, b"\x5a" * 300)
    packing.fleet.put(mount, "packs/0000/0000000.tar.zst.age.part", b"cut off")
    return packing, mount


@pytest.mark.parametrize("gone", [True, False])
def test_of_a_group_of_which_nothing_is_committed_it_gets_its_card_again(tmp_path, monkeypatch, gone):
    """Nothing that is whole is on it."""
    packing, mount = begun(tmp_path, monkeypatch)
    if gone:
        packing.fleet.remove(mount, mf.CARD)
    assert packing.pack().exit_code == 0
    (told,) = [text for text in packing.notices if "drive.json is not as it was written" in text]
    assert told.startswith(f"drive g0s1 (serial {packing.origin.serial(mount)}, {mount})")
    assert "nothing is committed yet, so it gets that file again" in told
    packing.ends_well()


@pytest.mark.parametrize("name", ["packs/0000/0000000.tar.zst.age", "precious.part", "manifest.json"])
def test_of_such_a_group_one_that_holds_more_is_set_aside_and_the_others_go_on(tmp_path, monkeypatch, name):
    packing, mount = begun(tmp_path, monkeypatch, groups=2, size=12)
    packing.fleet.put(mount, name, b"somebody's")
    before = packing.fleet.snapshot(mount)
    result = packing.pack()
    assert (result.exit_code, packing.fleet.snapshot(mount)) == (3, before)
    (row,) = [row for each in result.groups for row in each["owed"]]
    assert row["mount"] == mount
    assert [each["state"] for each in result.groups].count("signed") == 1
    option = f"--replace {row['serial']}={mount}"
    assert any(option in text and "moved away" in text for text in packing.notices)
    for each in packing.fleet.names(mount):
        packing.fleet.remove(mount, each)
    assert packing.pack(replace={row["serial"]: mount}).exit_code == 0
    packing.ends_well()


def test_of_a_group_that_has_not_begun_it_is_refused(tmp_path):
    packing = Packing(tmp_path)
    spoil(packing, 1)
    with pytest.raises(BadInput, match=r"holds files but no drive\.json that can be read"):
        packing.pack()
