"""--replace OLD=NEW where NEW cannot be it: what is refused, before anything is written, and what is said to help."""

import os
import re
import shutil

import pytest
import shipments
from test_failing_drives import Packing
from test_presence import stopped

from sealift.cli import pack as cli
from sealift.cli import pack_words
from sealift.errors import BadInput, DriveFault
from sealift.stages.pack import catchup, run, settle
from sealift.stages.pack.journal import Journal


def replaced(packing, monkeypatch, stripe=2):
    """Stop when `stripe` is committed, and declare the first spare in the place of a drive that is gone: both."""
    stopped(packing, monkeypatch, stripe)
    old, new = packing.mounts[1], packing.spares[0]
    packing.fleet.go_away(old)
    packing.declare(old, new)
    return old, new


def state_of(packing):
    """Who has which place, and what is owed."""
    journal = Journal(str(packing.origin.state))
    config = settle.load(journal)
    state = config.groups, journal.owed(0), settle.replaced(journal), journal.group(0).stripes
    journal.close()
    return state


def test_the_hint_of_a_new_drive_that_holds_something_leads_on(tmp_path, monkeypatch):
    packing = Packing(tmp_path)
    old, used = replaced(packing, monkeypatch)
    shipments.write(f"{used}/sealift/precious", b"data")
    with pytest.raises(BadInput, match=r"holds files but no drive\.json") as caught:
        packing.pack(replace={old: used})
    assert f"one that is empty: --replace {packing.origin.serial(old)}=MNT" in caught.value.hint
    assert packing.origin.serial(used) not in caught.value.hint, "it has no place in this packing"
    new = packing.spares[1]
    packing.declare(used, new)
    assert packing.pack(replace={packing.origin.serial(old): new}).exit_code == 0
    packing.origin.mounts[1] = new
    packing.ends_well()


def test_a_new_drive_that_is_too_small_gets_no_place(tmp_path, monkeypatch):
    packing = Packing(tmp_path)
    old, small = replaced(packing, monkeypatch)
    packing.fleet.fill(small, 9 << 20)
    before = state_of(packing)
    with pytest.raises(BadInput, match=r"too small: 9,437,184 bytes free, [\d,]+ needed for") as caught:
        packing.pack(replace={packing.origin.serial(old): small})
    assert f"drive {packing.origin.serial(small)} is too small" in str(caught.value)
    assert f"g0s1 is still drive {packing.origin.serial(old)}" in str(caught.value)
    assert "larger drive" in caught.value.hint
    assert (state_of(packing), packing.fleet.names(small)) == (before, [])
    packing.fleet.come_back(old)
    packing.declare(small, old)
    assert packing.pack().exit_code == 0, "the old one is what it was"
    assert not any("rebuil" in text for text in packing.notices)
    packing.ends_well()


def test_a_new_drive_that_has_room_for_what_is_committed_and_the_next_pack_gets_the_place(tmp_path, monkeypatch):
    packing = Packing(tmp_path)
    old, new = replaced(packing, monkeypatch)
    packing.fleet.fill(new, 9 << 20)
    with pytest.raises(BadInput) as caught:
        packing.pack(replace={packing.origin.serial(old): new})
    needed = int(re.findall(r"([\d,]+) needed", str(caught.value))[0].replace(",", ""))
    packing.fleet.heal(new)
    packing.fleet.fill(new, needed)
    packing.pack(replace={packing.origin.serial(old): new})
    assert any(f"{new}) is whole again" in text for text in packing.notices)


def test_a_drive_whose_successor_is_too_small_takes_its_place_again(tmp_path, monkeypatch):
    """As an earlier version left it: the small one has the place."""
    packing = Packing(tmp_path)
    old, small = replaced(packing, monkeypatch)
    packing.fleet.fill(small, 9 << 20)
    with monkeypatch.context() as patch:
        patch.setattr(run, "reckon", lambda *_, **__: catchup.Need([], 0, 1 << 20, 0))
        assert packing.pack(replace={packing.origin.serial(old): small}).exit_code == 3
    packing.fleet.come_back(old)
    assert packing.pack(to=[*packing.mounts, small]).exit_code == 3
    option = f"--replace {packing.origin.serial(small)}={old}"
    assert any(f"{option} gives {packing.origin.serial(old)} its place again" in text for text in packing.notices)
    packing.declare(small, old)
    assert packing.pack(replace={packing.origin.serial(small): old}).exit_code == 0
    packing.ends_well()


def test_emptied_drives_are_named_at_once_and_nobody_asks_for_what_they_replaced(tmp_path, monkeypatch):
    packing = Packing(tmp_path, parity=2)
    stopped(packing, monkeypatch, 1)
    emptied = packing.mounts[1:]
    for mount in emptied:
        shutil.rmtree(f"{mount}/sealift")
    with pytest.raises(BadInput, match="not mounted, or emptied") as caught:
        packing.pack()
    replace = {packing.origin.serial(mount): mount for mount in emptied}
    assert all(f"drive {serial} at {mount}" in str(caught.value) for serial, mount in replace.items())
    assert caught.value.hint.endswith(" ".join(f"--replace {serial}={mount}" for serial, mount in replace.items()))
    with pytest.raises(DriveFault, match="more drives than parity holds"):
        packing.pack(replace=replace)
    assert not any("the rest of it is there" in text or "nothing is replaced" in text for text in packing.notices)
    assert packing.pack(replace=replace).exit_code == 0, "there is nobody else who could be asked"
    assert any("packed again from the source" in text for text in packing.notices)
    packing.ends_well()


def test_emptied_drives_that_are_set_aside_are_told_as_here_and_how_they_are_filled(tmp_path, monkeypatch):
    """Once with --replace, which does not get far, then without; another drive is not here."""
    packing = Packing(tmp_path, parity=2)
    stopped(packing, monkeypatch, 1)
    emptied = packing.mounts[1:]
    for mount in emptied:
        shutil.rmtree(f"{mount}/sealift")
    replace = {packing.origin.serial(mount): mount for mount in emptied}
    with pytest.raises(DriveFault, match="more drives than parity holds"):
        packing.pack(replace=replace)
    with pytest.raises(DriveFault, match=r"here, and empty: g0s1.*; g0s2.*; g0s3") as caught:
        packing.pack()
    options = " ".join(f"--replace {serial}={mount}" for serial, mount in replace.items())
    assert caught.value.hint == f"mount what belongs where nothing is; or, to fill them anew: {options}"
    assert "not here" not in str(caught.value)
    packing.fleet.go_away(emptied[2])
    with pytest.raises(DriveFault, match=r"here, and empty: g0s1.*; g0s2.*not here: g0s3") as caught:
        packing.pack()
    told, rest = caught.value.hint.split("; attach what is not here; for each one that does not come back")
    assert told.endswith(options.rpartition(" --replace")[0])
    assert rest.endswith(f": --replace {packing.origin.serial(emptied[2])}=MNT")
    packing.fleet.come_back(emptied[2])
    assert packing.pack(replace=replace).exit_code == 0
    packing.ends_well()


@pytest.mark.parametrize("gone", ["away", "unmounted"])
def test_one_that_was_done_and_is_not_here_is_set_aside_as_by_to(tmp_path, monkeypatch, gone):
    """The mount of the new drive has vanished; the same command again goes on without it."""
    packing = Packing(tmp_path, size=12)
    old, new = replaced(packing, monkeypatch)
    serial, again = packing.origin.serial(new), {"replace": {packing.origin.serial(old): new}}
    stopped(packing, monkeypatch, 3, **again)
    if gone == "away":
        packing.fleet.go_away(new)
    else:
        os.rename(new, f"{new}.elsewhere")
    for _ in range(2):
        result = packing.pack(**again)
        (row,) = result.groups[0]["owed"]
        assert (result.exit_code, row["serial"]) == (3, serial)
    told = f"drive {serial} is not at {new}: nothing is mounted there"
    assert any(told in text for text in packing.notices) == (gone == "unmounted")
    if gone == "away":
        packing.fleet.come_back(new)
    else:
        os.rename(f"{new}.elsewhere", new)
    assert packing.pack(**again).exit_code == 0
    packing.origin.mounts[1] = new
    packing.ends_well()


def test_one_that_is_not_here_is_not_set_aside_before_it_has_its_place(tmp_path, monkeypatch):
    packing = Packing(tmp_path)
    old, new = replaced(packing, monkeypatch)
    packing.fleet.go_away(new)
    before = state_of(packing)
    with pytest.raises(DriveFault):
        packing.pack(replace={packing.origin.serial(old): new})
    assert state_of(packing) == before


def test_one_that_was_done_and_signed_is_said_to_do_nothing(tmp_path, monkeypatch):
    packing = Packing(tmp_path)
    old, new = replaced(packing, monkeypatch)
    replace = {packing.origin.serial(old): new}
    assert packing.pack(replace=replace).exit_code == 0
    assert not any("nothing is replaced" in text for text in packing.notices)
    assert packing.pack(replace=replace).exit_code == 0
    has = f"drive {packing.origin.serial(new)} has that place, and group 0 is signed: nothing is replaced"
    assert any(text.startswith("--replace ") and text.endswith(has) for text in packing.notices)


def test_a_drive_that_is_well_and_is_to_replace_itself_stays_as_is_told(tmp_path, monkeypatch):
    packing = Packing(tmp_path)
    stopped(packing, monkeypatch, 2)
    option = (packing.origin.serial(packing.mounts[0]), packing.mounts[0])
    assert packing.pack(replace=dict([option])).exit_code == 0
    (text,) = [text for text in packing.notices if text.startswith("--replace")]
    assert text.startswith(f"--replace {option[0]}={option[1]}: drive {option[0]} has that place")
    assert not any("rebuil" in text for text in packing.notices)
    packing.ends_well()


@pytest.mark.parametrize("value", ["SER1", "SER1=", "=/mnt/d1"])
def test_what_is_expected_of_replace_is_said(value):
    with pytest.raises(BadInput, match="is not OLD=MNT") as caught:
        cli._parse_replaced((value,))
    assert "the mount of the new one" in caught.value.hint


def test_one_block_is_counted_as_one():
    row = {"drive": "g0s1", "serial": "S", "mount": "/m", "packs": 0, "blocks": 1}
    (one,), (two,) = (pack_words.drive_lines([], [], [row | {"blocks": blocks}]) for blocks in (1, 2))
    assert "1 block of its small files was not there as written" in one
    assert "2 blocks of its small files were not there as written" in two
