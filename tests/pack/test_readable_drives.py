"""Drives that take nothing and give everything, and drives that are not there: what is committed is kept."""

import errno
import os
import shutil

import pytest
from test_failing_drives import Packing, owed
from test_presence import stopped

from sealift.cli import pack_words
from sealift.drives.local import LocalDrive, nothing_mounted
from sealift.errors import BadInput, DriveFault
from sealift.stages.pack import fleet as fleets
from sealift.stages.pack import settle
from sealift.stages.pack.journal import Journal
from sealift.testing.drive import SimulatedDrive


def read_only(packing, *mounts):
    """As a filesystem that its kernel made read-only: locking it fails, and so does every write."""
    for mount in mounts:
        for operation in ("lock", "create", "write", "fsync", "remove"):
            packing.fleet.fail(mount, operation, errno.EROFS, lasting=True)


def stripes_of(packing):
    journal = Journal(str(packing.origin.state))
    count = journal.group(0).stripes
    journal.close()
    return count


def test_a_drive_that_cannot_be_written_is_read_for_those_that_replace_others(tmp_path, monkeypatch):
    """2+2: two dead, one read-only: what the dead had is rebuilt from the two that can be read."""
    packing = Packing(tmp_path, data=2, parity=2)
    stopped(packing, monkeypatch, 1)
    stripes = stripes_of(packing)
    read_only(packing, packing.mounts[1])
    for dead, new in zip(packing.mounts[2:], packing.spares, strict=True):
        packing.declare(dead, new)
        packing.fleet.go_away(dead)
    replace = dict(zip(map(packing.origin.serial, packing.mounts[2:]), packing.spares, strict=True))
    result = packing.pack(replace=replace)
    assert result.exit_code == 3
    assert [(row["drive"], row["since_stripe"]) for row in owed(result)] == [("g0s1", stripes)]
    assert "read-only" in owed(result)[0]["reason"]
    (text,) = [text for text in packing.notices if "only read" in text]
    assert f"g0s1 (serial {packing.origin.serial(packing.mounts[1])}, {packing.mounts[1]})" in text
    assert not any("packed again" in text for text in packing.notices)
    packing.fleet.heal(packing.mounts[1])
    assert packing.pack(replace=replace).exit_code == 0
    packing.origin.mounts[2:] = packing.spares
    packing.ends_well()


def test_drives_that_were_replaced_and_are_still_here_give_what_they_have(tmp_path, monkeypatch):
    """More than parity holds is replaced at once, one source file is gone: the old drives are read, nothing is lost."""
    packing = Packing(tmp_path)
    stopped(packing, monkeypatch, 2)
    stripes = stripes_of(packing)
    old = packing.mounts[:2]
    read_only(packing, *old)
    with pytest.raises(DriveFault, match="2 drives are missing or take nothing") as caught:
        packing.pack()
    assert "here, and not to be written" in str(caught.value)
    assert "leave the old one attached" in caught.value.hint
    gone = packing.origin.source / "00.bin"
    shutil.move(gone, tmp_path / "00.bin")
    replace = {}
    for mount, new in zip(old, packing.spares, strict=True):
        packing.declare(mount, new)
        replace[packing.origin.serial(mount)] = new
    result = packing.pack(replace=replace)
    assert (result.exit_code, result.skipped) == (0, [])
    assert not any("packed again" in text for text in packing.notices)
    assert sum("is to be replaced: it is only read" in text for text in packing.notices) == 2
    assert stripes_of(packing) > stripes
    shutil.move(tmp_path / "00.bin", gone)
    packing.origin.mounts[:2] = packing.spares
    packing.ends_well()


@pytest.mark.parametrize("with_serial", [True, False])
def test_a_drive_that_was_replaced_is_read_wherever_it_is_attached(tmp_path, monkeypatch, with_serial):
    """Asked for, it comes back at another mount, and need not tell its serial number: nothing is given up."""
    packing = Packing(tmp_path)
    stopped(packing, monkeypatch, 2)
    replace, elsewhere = {}, []
    for number, (mount, new) in enumerate(zip(packing.mounts, packing.spares, strict=False)):
        elsewhere.append(str(shutil.copytree(mount, tmp_path / f"old{number}")))
        packing.fleet.go_away(mount)
        packing.declare(mount, new)
        replace[packing.origin.serial(mount)] = new
    gone = packing.origin.source / "00.bin"
    shutil.move(gone, tmp_path / "00.bin")
    with pytest.raises(DriveFault, match="what was replaced may still have it"):
        packing.pack(replace=replace)
    serials = dict(zip(elsewhere, replace, strict=True)) if with_serial else {}

    def opened(mount):
        return LocalDrive(mount) if mount in elsewhere else packing.fleet.open(mount)

    given = {"to": [*packing.mounts[2:], *packing.spares, *elsewhere], "open_drive": opened}
    result = packing.pack(serials=packing.origin.pack_options().serials | serials, **given)
    assert (result.exit_code, result.skipped) == (0, [])
    assert not any("packed again" in text for text in packing.notices)
    assert sum("it is only read" in text for text in packing.notices) == 2
    shutil.move(tmp_path / "00.bin", gone)
    packing.origin.mounts[:2] = packing.spares
    packing.ends_well()


def test_what_is_packed_again_from_a_source_that_lacks_some_of_it_is_said(tmp_path, monkeypatch, capsys):
    packing = Packing(tmp_path)
    stopped(packing, monkeypatch, 2)
    for mount in packing.mounts[:2]:
        packing.fleet.go_away(mount)
    os.unlink(packing.origin.source / "00.bin")
    replace = {}
    for mount, new in zip(packing.mounts, packing.spares, strict=False):
        packing.declare(mount, new)
        replace[packing.origin.serial(mount)] = new
    result = packing.pack_without_the_old(replace=replace)
    assert result.exit_code == 2
    assert [path for path, _ in result.skipped] == [b"00.bin"]
    (text,) = [text for text in packing.notices if "packed again" in text]
    assert "was lost" not in text
    assert "as it is now" in text
    pack_words.summarize(result, packing.origin.pack_options())
    assert "stripes had been committed and were packed again" in capsys.readouterr().err


def test_a_drive_that_is_not_there_when_packing_goes_on_is_owed(tmp_path, monkeypatch):
    packing = Packing(tmp_path)
    stopped(packing, monkeypatch, 1)
    stripes = stripes_of(packing)
    away = packing.mounts[0]
    result = packing.pack(to=packing.mounts[1:])
    assert result.exit_code == 3
    assert [(row["serial"], row["mount"], row["since_stripe"]) for row in owed(result)] == [
        (packing.origin.serial(away), away, stripes)
    ]
    (text,) = [text for text in packing.notices if "set aside: stripes below" in text]
    assert f"--replace {packing.origin.serial(away)}=MNT" in text
    assert packing.pack().exit_code == 0, "it is back"
    packing.ends_well()


def test_more_than_parity_holds_are_waited_for_and_so_is_a_group_that_has_not_begun(tmp_path, monkeypatch, capsys):
    packing = Packing(tmp_path)
    stopped(packing, monkeypatch, 1)
    result = packing.pack(to=packing.mounts[2:])
    assert (result.exit_code, owed(result)) == (6, [])
    pack_words.summarize(result, packing.origin.pack_options())
    said = capsys.readouterr().err
    assert f"--replace {packing.origin.serial(packing.mounts[0])}=MNT" in said
    other = Packing(tmp_path / "other", groups=2, options={"group_size": 3}, data=2)
    result = other.pack(to=other.mounts[1:])
    assert sorted(group["state"] for group in result.groups) == ["signed", "waiting"]
    assert result.exit_code == 6


def test_one_that_is_owed_and_others_that_are_away_are_counted_together(tmp_path, monkeypatch, capsys):
    """2+2: one set aside, then two unplugged: nothing can be packed, and nobody says that the others rebuild it."""
    packing = Packing(tmp_path, data=2, parity=2)
    stopped(packing, monkeypatch, 1)
    read_only(packing, packing.mounts[3])
    stopped(packing, monkeypatch, 2)
    result = packing.pack(to=packing.mounts[:1])
    assert [row["drive"] for row in owed(result)] == ["g0s3"]
    assert (result.exit_code, result.stalled) == (6, [0])
    pack_words.summarize(result, packing.origin.pack_options())
    said = capsys.readouterr().err
    assert "more of its drives are away than parity holds" in said
    assert "the others have what rebuilds them" not in said


def test_a_folder_that_is_no_mount_point_is_named_as_such(tmp_path, monkeypatch):
    folder = tmp_path / "d0"
    folder.mkdir()
    assert nothing_mounted(str(folder))
    assert not nothing_mounted("/proc")
    assert not nothing_mounted("/")
    assert not nothing_mounted(str(tmp_path / "nowhere"))
    monkeypatch.setattr(LocalDrive, "serial", lambda _self: "overlayblk")
    with pytest.raises(BadInput, match="nothing is mounted there") as caught:
        fleets.identify([LocalDrive(str(folder))], {str(folder): "EX-2"}, {}, same_filesystem=False)
    assert "mount the drive there" in caught.value.hint


def test_a_mount_point_where_nothing_is_mounted_any_more_is_a_drive_that_is_away(tmp_path, monkeypatch):
    packing = Packing(tmp_path)
    stopped(packing, monkeypatch, 1)
    away = packing.mounts[0]
    shutil.move(f"{away}/sealift", tmp_path / "aside")
    monkeypatch.setattr(fleets, "nothing_mounted", lambda mount: mount == away)
    monkeypatch.setattr(SimulatedDrive, "serial", lambda _self: None)
    result = packing.pack(allow_same_filesystem=False, serials={})
    assert result.exit_code == 3, packing.notices
    assert [row["mount"] for row in owed(result)] == [away]
    assert f"drive {packing.origin.serial(away)} is not at {away}: nothing is mounted there" in packing.notices
    assert os.listdir(away) == []


def test_a_filesystem_that_has_shut_down_is_mounted_and_fails(tmp_path, monkeypatch):
    """XFS then gives an error for its very root; nobody is sent to look for a mount."""
    packing = Packing(tmp_path)
    stopped(packing, monkeypatch, 1)
    shut, stat = packing.mounts[0], os.stat

    def fails(path, **how):
        if path == shut:
            raise OSError(errno.EIO, "Input/output error", path)
        return stat(path, **how)

    def opens(mount):
        if mount == shut:
            raise BadInput(f"{mount}: input/output error")
        return packing.fleet.open(mount)

    monkeypatch.setattr(os, "stat", fails)
    result = packing.pack(open_drive=opens)
    assert result.exit_code == 3
    assert [row["mount"] for row in owed(result)] == [shut]
    told = f"drive {packing.origin.serial(shut)} at {shut} is not used: what is mounted there fails: input/output error"
    assert told in packing.notices
    assert not any("nothing is mounted" in text for text in packing.notices)


def test_what_a_run_finds_is_the_reason_that_is_told(tmp_path):
    packing = Packing(tmp_path)
    packing.fleet.fail(packing.mounts[0], "write", errno.EIO, nth=5, lasting=True)
    packing.pack()
    packing.fleet.heal(packing.mounts[0])
    read_only(packing, packing.mounts[0])
    (row,) = owed(packing.pack())
    assert "read-only" in row["reason"]
    assert "input/output" not in row["reason"]


def test_a_replaced_drive_that_holds_nothing_of_ours_is_left_alone(tmp_path):
    packing = Packing(tmp_path, size=3)
    dead, new = packing.mounts[1], packing.spares[0]
    packing.fleet.fail(dead, "write", errno.EIO, nth=3, lasting=True)
    packing.pack()
    packing.declare(dead, new)
    packing.fleet.put(dead, "drive.json", b"{}")
    assert packing.pack(replace={packing.origin.serial(dead): new}).exit_code == 0
    assert settle.last_mount(Journal(str(packing.origin.state)), packing.origin.serial(dead)) == dead
    packing.notices.clear()
    packing.pack(to=[*packing.mounts, new])
    assert any(f"drive {packing.origin.serial(dead)} is not at {dead}: another one is" in t for t in packing.notices)
