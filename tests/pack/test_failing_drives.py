"""A drive fails while it is written: it is named, packing goes on, and what it lacks is rebuilt; nothing is lost."""

import errno
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import shipments
from blake3 import blake3
from test_kill import PACKER

from sealift.errors import BadInput, DriveFault, SealiftError
from sealift.formats import manifest as mf
from sealift.formats.allowed_signers import AllowedSigners
from sealift.stages import unpack, verify
from sealift.stages.pack import catchup
from sealift.stages.pack.journal import Journal
from sealift.stages.pack.room import Room
from sealift.testing.fleet import FleetSimulator


class Packing:
    """A small shipment on drives that fail when told to: data+parity of them, and spares that are not declared yet."""

    def __init__(self, tmp_path, data=2, parity=1, size=6, **how):
        source = tmp_path / "source"
        for number in range(size):
            shipments.write(source / f"{number:02d}.bin", os.urandom(700_000))
        shipments.write(source / "folder/text.txt", b"words " * 2000)
        self.origin = shipments.Origin(tmp_path / "origin", source, data, parity, **how)
        self.fleet = FleetSimulator.on_folders(self.origin.root, len(self.origin.mounts) + 2)
        self.mounts = list(self.origin.mounts)
        self.spares = [mount for mount in self.fleet.mounts if mount not in self.mounts]
        self.target = tmp_path / "restored"
        self.notices: list[str] = []

    def pack(self, **changes):
        changes = {"open_drive": self.fleet.open} | changes
        options = self.origin.pack_options(**changes)
        options.serials |= {mount: self.origin.serial(mount) for mount in self.spares}
        return shipments.packing.run(options, shipments.packing.Events(notice=self.notices.append))

    def pack_without_the_old(self, **changes):
        """Go on with replacements that lack what nobody here has: asked once for the drives before them, then done."""
        with pytest.raises(DriveFault, match="what was replaced may still have it") as caught:
            self.pack(**changes)
        assert "it is only read" in caught.value.hint
        return self.pack(**changes)

    def declare(self, old, new):
        """Put the serial of `new` in the place of that of `old` in the declaration, and `new` among the mounts."""
        text = self.origin.declaration.read_text()
        assert self.origin.serial(old) in text
        self.origin.declaration.write_text(text.replace(self.origin.serial(old), self.origin.serial(new)))

    def replace(self, old, new, **changes):
        """Declare another drive, and go on with it; the drive that failed is out of its bay."""
        self.declare(old, new)
        self.fleet.go_away(old)
        result = self.pack(replace={self.origin.serial(old): new}, **changes)
        self.origin.mounts[self.origin.mounts.index(old)] = new
        return result

    def committed(self):
        """Assert that all but m drives have every committed stripe, byte for byte; how many stripes there are."""
        journal = Journal(str(self.origin.state))
        config = shipments.packing.settle.load(journal)
        n = self.origin.n
        count = 0
        for number, places in enumerate(config.groups if config else []):
            owed = journal.owed(number)
            mounts = {self.origin.serial(m): m for m in [*self.mounts, *self.spares]}
            for row in journal.packs(number):
                count = max(count, row.stripe + 1)
                slot = mf.slot_of(row.stripe, row.role, n)
                if slot in owed and owed[slot].since <= row.stripe:
                    continue
                name = mf.pack_name(row.stripe, row.role, self.origin.data)
                if row.length:
                    data = Path(mounts[places[slot].serial], "sealift", name).read_bytes()
                    assert (len(data), blake3(data).digest()) == (row.length, row.blake3)
            if journal.group(number).state == "signed":
                assert owed == {}
        journal.close()
        return count

    def unsigned(self):
        assert [m for m in self.origin.mounts if os.path.exists(f"{m}/sealift/{mf.MANIFEST}")] == []

    def ends_well(self):
        """Assert that what is on the drives verifies and restores, with nothing rebuilt on the way."""
        report = self.verified()
        assert (report.faults, report.state) == ([], "intact")
        rows = {row.serial for manifest, _ in self.origin.manifests() for row in manifest.drives}
        assert rows == {self.origin.serial(mount) for mount in self.origin.mounts}
        assert self.restored(rebuilt=0) == []

    def verified(self):
        allowed = AllowedSigners.parse(self.origin.allowed)
        return verify.verify(self.origin.mounts, allowed=allowed, seal=self.origin.seal())

    def restored(self, rebuilt=None):
        """What could not be restored; what could is compared."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(unpack, "ProcessPoolExecutor", shipments.Inline)
            result = self.origin.unpack(self.target)
        assert rebuilt in {None, result.rebuilt_blocks}
        shipments.same(self.origin.source, self.target)
        return result.failed


def owed(result, group=0):
    return result.groups[group]["owed"]


def test_a_drive_that_dies_is_named_and_another_takes_its_place(tmp_path):
    packing = Packing(tmp_path)
    dead, new = packing.mounts[1], packing.spares[0]
    packing.fleet.fail(dead, "write", errno.EIO, nth=6, lasting=True)
    result = packing.pack()
    (row,) = owed(result)
    assert result.exit_code == 3
    assert (row["serial"], row["mount"], row["drive"]) == (packing.origin.serial(dead), dead, "g0s1")
    assert "input/output error" in row["reason"]
    assert row["since_stripe"] >= 1
    told = next(text for text in packing.notices if "set aside" in text)
    assert packing.origin.serial(dead) in told
    assert f"--replace {packing.origin.serial(dead)}=MNT" in told
    assert "stripes below" in told
    assert packing.committed() > row["since_stripe"], "packing went on without it"
    packing.unsigned()
    result = packing.replace(dead, new)
    assert (result.exit_code, owed(result)) == (0, [])
    packing.ends_well()


def test_a_drive_that_comes_back_gets_what_it_missed(tmp_path):
    packing = Packing(tmp_path)
    packing.fleet.fail(packing.mounts[2], "fsync", errno.EIO, nth=5, lasting=True)
    first = packing.pack()
    assert [row["drive"] for row in owed(first)] == ["g0s2"]
    packing.fleet.heal(packing.mounts[2])
    before = packing.fleet.counts(packing.mounts[0])["write"]
    assert packing.pack().exit_code == 0
    assert packing.fleet.counts(packing.mounts[0])["write"] - before <= 9, "the others get only their small files"
    packing.ends_well()


def test_a_drive_that_is_still_away_keeps_nothing_back(tmp_path):
    """The same command while the dead drive is out: packing ends as it would have, and stays unsigned."""
    packing = Packing(tmp_path)
    away = packing.mounts[0]
    packing.fleet.fail(away, "write", errno.EIO, nth=3, lasting=True)
    packing.fleet.fail(packing.mounts[1], "write", errno.EIO, nth=7)
    with pytest.raises(DriveFault) as caught:
        packing.pack()
    assert all(packing.origin.serial(mount) in str(caught.value) for mount in packing.mounts[:2])
    assert "--replace" in caught.value.hint
    stripes = packing.committed()
    packing.fleet.go_away(away)
    result = packing.pack()
    assert result.exit_code == 3
    assert [row["serial"] for row in owed(result)] == [packing.origin.serial(away)]
    assert packing.committed() > stripes
    packing.unsigned()
    assert packing.replace(away, packing.spares[0]).exit_code == 0
    packing.ends_well()


def test_more_than_parity_holds_is_packed_again_from_the_source(tmp_path):
    packing = Packing(tmp_path)
    packing.fleet.fail(packing.mounts[0], "write", errno.EIO, nth=5, lasting=True)
    packing.fleet.fail(packing.mounts[1], "write", errno.EIO, nth=8, lasting=True)
    with pytest.raises(DriveFault, match="2 drives are set aside, and parity holds 1"):
        packing.pack()
    packing.committed()
    packing.declare(packing.mounts[0], packing.spares[0])
    packing.declare(packing.mounts[1], packing.spares[1])
    packing.fleet.go_away(packing.mounts[0])
    packing.fleet.go_away(packing.mounts[1])
    replace = dict(zip(map(packing.origin.serial, packing.mounts), packing.spares, strict=False))
    assert packing.pack_without_the_old(replace=replace).exit_code == 0
    assert any("packed again" in text for text in packing.notices)
    packing.origin.mounts[:2] = packing.spares
    packing.ends_well()


def test_every_drive_of_a_group_is_replaced_and_all_is_packed_again(tmp_path):
    """One failed at its first file, the other one died later: nothing that was written is left."""
    packing = Packing(tmp_path, data=1, parity=1)
    packing.fleet.fail(packing.mounts[0], "create", errno.EIO, nth=1, lasting=True)
    packing.fleet.fail(packing.mounts[1], "write", errno.EIO, nth=8, lasting=True)
    with pytest.raises(DriveFault, match="2 drives are set aside, and parity holds 1"):
        packing.pack()
    packing.declare(packing.mounts[0], packing.spares[0])
    packing.declare(packing.mounts[1], packing.spares[1])
    packing.fleet.go_away(packing.mounts[0])
    packing.fleet.go_away(packing.mounts[1])
    replace = dict(zip(map(packing.origin.serial, packing.mounts), packing.spares, strict=True))
    assert packing.pack_without_the_old(replace=replace).exit_code == 0
    packing.origin.mounts[:] = packing.spares
    packing.ends_well()


def test_what_only_an_absent_drive_holds_is_waited_for_and_not_thrown_away(tmp_path):
    """One of two drives that failed is replaced; what the other holds is not packed again behind its back."""
    packing = Packing(tmp_path)
    dead, late = packing.mounts[0], packing.mounts[1]
    packing.fleet.fail(dead, "write", errno.EIO, nth=5, lasting=True)
    packing.fleet.fail(late, "write", errno.EIO, nth=8, lasting=True)
    with pytest.raises(DriveFault):
        packing.pack()
    stripes = packing.committed()
    packing.fleet.go_away(late)
    with pytest.raises(DriveFault) as caught:
        packing.replace(dead, packing.spares[0])
    assert packing.origin.serial(late) in str(caught.value)
    assert packing.committed() == stripes
    packing.fleet.come_back(late)
    packing.fleet.heal(late)
    assert packing.pack(replace={packing.origin.serial(dead): packing.spares[0]}).exit_code == 0
    packing.origin.mounts[0] = packing.spares[0]
    packing.ends_well()
    assert not any("packed again" in text for text in packing.notices)


def test_a_full_drive_is_set_aside_and_goes_on_when_there_is_room(tmp_path):
    packing = Packing(tmp_path, size=12)
    packing.fleet.fill(packing.mounts[1], 10 << 20)  # room for the first stripe
    result = packing.pack()
    assert [row["drive"] for row in owed(result)] == ["g0s1"]
    assert "full" in owed(result)[0]["reason"]
    packing.unsigned()
    assert owed(result)[0]["kind"] == "full"
    again = packing.pack()
    assert again.exit_code == 3, "it is still full"
    assert owed(again)[0]["kind"] == "full", "and what to do is still to free room on it"
    packing.fleet.heal(packing.mounts[1])
    assert packing.pack().exit_code == 0
    packing.ends_well()


def test_drives_that_are_all_full_are_not_owed(tmp_path, monkeypatch):
    packing = Packing(tmp_path)
    for mount in packing.mounts:
        packing.fleet.fill(mount, 11 << 20)
    with pytest.raises(BadInput, match="does not fit"):
        packing.pack()
    assert not any(packing.fleet.names(mount) for mount in packing.mounts)
    for mount in packing.mounts:
        packing.fleet.fill(mount, 10 << 20)
    with monkeypatch.context() as patch:
        patch.setattr(Room, "check", lambda *_, **__: None)  # as if they had filled up since
        with pytest.raises(DriveFault, match="full"):
            packing.pack()
    journal = Journal(str(packing.origin.state))
    assert journal.owed(0) == {}
    journal.close()
    for mount in packing.mounts:
        packing.fleet.heal(mount)
    assert packing.pack().exit_code == 0
    packing.ends_well()


def test_without_parity_a_failing_drive_stops_at_once_and_costs_no_more_than_must_be(tmp_path):
    packing = Packing(tmp_path, data=2, parity=0)
    packing.fleet.fail(packing.mounts[1], "write", errno.EIO, nth=4, lasting=True)
    options = {"accept_carrier_risk": True}
    with pytest.raises(DriveFault, match="parity holds 0"):
        packing.pack(**options)
    assert packing.replace(packing.mounts[1], packing.spares[0], **options).exit_code == 0
    packing.ends_well()


def test_without_parity_a_drive_that_does_not_read_is_named_and_goes_on_when_it_does(tmp_path):
    """What there is lies on either drive, as the builders' pace has it: none of them reads."""
    packing = Packing(tmp_path, parity=0, size=0, options={"accept_carrier_risk": True})
    for mount in packing.mounts:
        packing.fleet.fail(mount, "read", errno.EIO, nth=1, lasting=True, name="packs/*")
    with pytest.raises(DriveFault, match="time and again") as caught:
        packing.pack(read_back="full")
    assert caught.value.drive in [m for m in packing.mounts if packing.origin.serial(m) in str(caught.value)]
    packing.unsigned()
    for mount in packing.mounts:
        packing.fleet.heal(mount)
    assert packing.pack(read_back="full").exit_code == 0
    packing.ends_well()


@pytest.mark.parametrize("name", ["index/*", "manifest.json.sig", "manifest.json"])
def test_a_drive_that_fails_while_its_group_is_closed_leaves_the_group_unsigned(tmp_path, name):
    packing = Packing(tmp_path, size=3)
    packing.fleet.fail(packing.mounts[0], "rename", errno.EIO, name=name, lasting=True)
    result = packing.pack()
    assert [row["drive"] for row in owed(result)] == ["g0s0"]
    assert result.groups[0]["state"] == "packing"
    packing.unsigned()
    assert packing.replace(packing.mounts[0], packing.spares[1]).exit_code == 0
    packing.ends_well()


def test_a_new_drive_that_fails_while_it_is_filled_stays_owed_and_so_does_not_its_work(tmp_path):
    packing = Packing(tmp_path)
    dead, new = packing.mounts[1], packing.spares[0]
    packing.fleet.fail(dead, "write", errno.EIO, nth=2, lasting=True)
    packing.pack()
    packing.fleet.fail(new, "write", errno.EIO, nth=9, lasting=True)
    result = packing.replace(dead, new)
    assert [(row["serial"], row["mount"]) for row in owed(result)] == [(packing.origin.serial(new), new)]
    assert owed(result)[0]["since_stripe"] >= 1, "what was rebuilt is not rebuilt again"
    packing.fleet.heal(new)
    packing.origin.mounts[1] = dead
    assert packing.pack(replace={packing.origin.serial(dead): new}).exit_code == 0, "the same command again"
    packing.origin.mounts[1] = new
    packing.ends_well()


def test_replacing_is_refused_where_it_cannot_be_meant(tmp_path):
    packing = Packing(tmp_path, size=3)
    dead, new = packing.mounts[1], packing.spares[0]
    with pytest.raises(BadInput, match="no drive to replace"):
        packing.pack(replace={"g0s1": new})
    packing.fleet.fail(dead, "write", errno.EIO, nth=3, lasting=True)
    packing.pack()
    with pytest.raises(BadInput, match="still names") as caught:
        packing.pack(replace={"g0s1": new})
    assert "new release" in caught.value.hint
    with pytest.raises(BadInput, match="called so"):
        packing.pack(replace={"g7s1": new})
    text = packing.origin.declaration.read_text()
    extra = text.replace(f'"{packing.origin.serial(dead)}"', f'"{packing.origin.serial(new)}"')
    drive = extra[extra.index("[[drives]]") :].split("[[drives]]")[2]
    packing.origin.declaration.write_text(text + "\n[[drives]]" + drive)
    with pytest.raises(SealiftError, match="still names"):
        packing.pack(replace={dead: new})
    packing.origin.declaration.write_text(text)
    shipments.write(f"{new}/sealift/precious", b"data")
    with pytest.raises(BadInput, match=r"drive\.json"):
        packing.replace(dead, new)
    os.unlink(f"{new}/sealift/precious")
    assert packing.pack(replace={dead: new}).exit_code == 0
    packing.origin.mounts[1] = new
    packing.ends_well()
    assert packing.pack(replace={dead: new}).exit_code == 0, "the same command again is done already"
    packing.declare(new, packing.spares[1])
    with pytest.raises(BadInput, match="signed"):
        packing.pack(replace={packing.origin.serial(new): packing.spares[1]})


def test_of_two_new_drives_for_one_place_the_one_that_is_done_is_named(tmp_path):
    packing = Packing(tmp_path, size=3)
    dead, (new, newer) = packing.mounts[1], packing.spares
    packing.fleet.fail(dead, "write", errno.EIO, nth=3, lasting=True)
    packing.pack()
    old = packing.origin.serial(dead)
    for given in ({old: new, "g0s1": newer}, {"g0s1": newer, dead: new}):
        with pytest.raises(BadInput, match=rf"both are of one place, g0s1, which has drive {old}"):
            packing.pack(replace=given)
    with pytest.raises(BadInput, match="one new drive cannot take two places"):
        packing.pack(replace={"g0s0": new, "g0s1": new})
    packing.fleet.fail(new, "write", errno.EIO, nth=2, lasting=True)
    assert packing.replace(dead, new).exit_code == 3
    packing.declare(new, newer)
    packing.fleet.go_away(new)
    by_now = packing.origin.serial(new)
    to = [packing.mounts[0], newer, packing.mounts[2]]
    for done in (old, "g0s1"):
        for given in ({done: new, by_now: newer}, {by_now: newer, done: new}):
            with pytest.raises(BadInput, match=f"--replace {done}={new} is done: drive {by_now} has") as caught:
                packing.pack(to=to, replace=given)
            assert f"leave --replace {done}={new} away" in caught.value.hint
    assert packing.pack(to=to, replace={by_now: newer}).exit_code == 0
    packing.origin.mounts[1] = newer
    packing.ends_well()


def test_a_drive_with_a_place_of_its_own_takes_no_other_place(tmp_path):
    packing = Packing(tmp_path, size=3)
    dead, member = packing.mounts[1:]
    packing.fleet.fail(dead, "write", errno.EIO, nth=3, lasting=True)
    packing.pack()
    with pytest.raises(BadInput, match=f"is drive {packing.origin.serial(member)}, .* place .*, g0s2") as caught:
        packing.pack(replace={packing.origin.serial(dead): member})
    assert "declaration" not in caught.value.hint, "to change it would lead nowhere"
    assert packing.replace(dead, packing.spares[0]).exit_code == 0
    packing.ends_well()


def test_an_emptied_drive_is_not_taken_for_the_one_that_failed(tmp_path):
    packing = Packing(tmp_path)
    mount = packing.mounts[1]
    packing.fleet.fail(mount, "write", errno.EIO, nth=5, lasting=True)
    packing.pack()
    packing.fleet.heal(mount)
    for name in packing.fleet.names(mount):
        packing.fleet.remove(mount, name)
    assert packing.pack().exit_code == 3
    assert any("not mounted, or emptied" in text for text in packing.notices)
    assert packing.pack(replace={packing.origin.serial(mount): mount}).exit_code == 0
    packing.ends_well()


def test_other_groups_are_packed_while_one_is_owed(tmp_path):
    packing = Packing(tmp_path, groups=2, size=12)
    packing.fleet.fail(packing.mounts[0], "write", errno.EIO, nth=3, lasting=True)
    result = packing.pack()
    assert sorted(group["state"] for group in result.groups) == ["packing", "signed"]
    assert result.exit_code == 3
    assert result.waiting == []
    packing.fleet.heal(packing.mounts[0])
    assert packing.pack().exit_code == 0
    packing.ends_well()


def mounts_named(packing, **changes):
    """The mounts that a packing names as failed, with exit code 3, whether it went on or stopped."""
    try:
        result = packing.pack(**changes)
    except DriveFault as fault:
        return [mount for mount in packing.mounts if mount in str(fault)]
    assert result.exit_code == (3 if owed(result) else 0)
    return [row["mount"] for row in owed(result)]


def sweep(tmp_path, points, *, parity=1):
    """Fail one call after another: `points` chooses from (drive, operation, n, code)."""
    counted = Packing(tmp_path / "counted", size=3, parity=parity)
    counted.pack(read_back="none")
    operations = ("create", "write", "fsync", "rename", "remove")
    counts = [counted.fleet.counts(mount) for mount in counted.mounts]
    everything = [
        (drive, operation, nth, code)
        for drive in range(len(counted.mounts))
        for operation in operations
        for nth in range(1, counts[drive][operation] + 1)
        for code in (errno.EIO, errno.ENOSPC, errno.EROFS, errno.ENODEV)
    ]
    for number, (drive, operation, nth, code) in enumerate(points(everything)):
        packing = Packing(tmp_path / str(number), size=3, parity=parity)
        mount = packing.mounts[drive]
        packing.fleet.fail(mount, operation, code, nth=nth, lasting=number % 2 == 0)
        named = mounts_named(packing, read_back="none")
        reached = "failed with" in packing.fleet.script  # which pack gets which file is up to the builders' pace
        assert named == [mount] * reached, (drive, operation, nth, code)
        packing.committed()
        if reached and number % 3 == 0 and Path(packing.origin.state, "groups").exists():
            result = packing.replace(mount, packing.spares[0])
        else:
            packing.fleet.heal(mount)
            result = packing.pack()
        assert result.exit_code == 0, (drive, operation, nth, code, packing.fleet.script)
        packing.ends_well()


def test_a_failure_of_some_calls(tmp_path):
    chooser = random.Random(7)
    sweep(tmp_path, lambda points: chooser.sample(points, 5))


@pytest.mark.long
def test_a_failure_of_every_call_of_every_drive(tmp_path):
    sweep(tmp_path, lambda points: points)


@pytest.mark.long
def test_a_rebuild_that_is_interrupted_goes_on_where_it_was(tmp_path, monkeypatch):
    packing = Packing(tmp_path, size=12)
    dead, new = packing.mounts[0], packing.spares[0]
    packing.fleet.fail(dead, "write", errno.EIO, nth=12, lasting=True)
    packing.pack()
    packs = len(packing.origin.packs(dead))
    assert packs >= 3

    class StopError(Exception):
        pass

    landed = []

    def stop(self, stripe):
        landed.append(stripe)
        if len(landed) == 4:  # they land out of order, by as many as are in flight
            raise StopError
        return land(self, stripe)

    land = catchup._Mark.land
    with monkeypatch.context() as patch:
        patch.setattr(catchup._Mark, "land", stop)
        with pytest.raises(StopError):
            packing.replace(dead, new)
    packing.committed()
    before = packing.fleet.counts(packing.mounts[1])["open"]
    result = packing.pack(replace={packing.origin.serial(dead): new})
    packing.origin.mounts[0] = new
    assert result.exit_code == 0
    assert packing.fleet.counts(packing.mounts[1])["open"] > before
    (told,) = [text for text in packing.notices if "is whole again" in text]
    count = int(re.search(r"again: (\d+) packs?", told)[1])
    assert 0 < count < len(packing.origin.packs(new)), "what had landed was not rebuilt again"
    packing.ends_well()


def test_the_drives_own_copies_know_what_is_owed(tmp_path):
    """The state folder is lost while a drive is set aside: what it lacks is rebuilt all the same."""
    packing = Packing(tmp_path, size=12)
    packing.fleet.fail(packing.mounts[1], "write", errno.EIO, nth=6, lasting=True)
    since = owed(packing.pack())[0]["since_stripe"]
    shutil.rmtree(packing.origin.state)
    packing.fleet.heal(packing.mounts[1])
    result = packing.pack()
    assert result.exit_code == 0
    lacked = [pack for pack in packing.origin.packs(packing.mounts[1]) if int(pack.name[:7]) >= since]
    assert any(f"rebuilding {len(lacked)} packs" in text for text in packing.notices)
    packing.ends_well()


@pytest.mark.long
def test_a_survivor_that_rotted_meanwhile_is_repaired_or_its_stripe_packed_again(tmp_path):
    packing = Packing(tmp_path, size=12)
    dead, new, survivor = packing.mounts[0], packing.spares[0], packing.mounts[1]
    packing.fleet.fail(dead, "write", errno.EIO, nth=8, lasting=True)
    packing.pack()
    packing.fleet.rot_block(survivor, [name for name in packing.fleet.names(survivor) if name.startswith("packs/")][1])
    packing.declare(dead, new)
    packing.fleet.go_away(dead)
    assert packing.pack_without_the_old(replace={packing.origin.serial(dead): new}).exit_code == 0
    packing.origin.mounts[0] = new
    assert any("packed again" in text for text in packing.notices), "two drives lost one row"
    packing.ends_well()


def test_a_survivor_that_rotted_where_parity_still_holds_is_repaired(tmp_path):
    packing = Packing(tmp_path, data=2, parity=2, size=8)
    dead, survivor = packing.mounts[0], packing.mounts[1]
    packing.fleet.fail(dead, "write", errno.EIO, nth=8, lasting=True)
    packing.pack()
    packs = sorted(name for name in packing.fleet.names(survivor) if name.startswith("packs/"))
    for name in packs[:2]:  # of a third one the drive would be set aside
        packing.fleet.rot(survivor, name)
    result = packing.replace(dead, packing.spares[0])
    assert result.exit_code == 0
    assert result.read_back["repaired"] >= 1
    assert not any("packed again" in text for text in packing.notices)
    report = packing.verified()
    assert report.state in {"intact", "recoverable"}, "what was not read for the rebuild may be rotten still"
    assert packing.restored() == []


@pytest.mark.long
@pytest.mark.parametrize("seed", range(6))
def test_killed_at_random_moments_while_drives_are_owed_and_replaced(tmp_path, seed):
    chooser = random.Random(seed)
    packing = Packing(tmp_path, size=40)
    dead, new = packing.mounts[seed % 3], packing.spares[0]
    packing.fleet.fail(dead, "write", errno.EIO, nth=chooser.randrange(3, 30), lasting=True)
    packing.pack()
    packing.declare(dead, new)
    options = packing.origin.pack_options(replace={packing.origin.serial(dead): new})
    options.serials[new] = packing.origin.serial(new)
    options.to.remove(dead)
    path = tmp_path / "options"
    path.write_bytes(pickle.dumps(options))
    for _ in range(8):
        process = subprocess.Popen([sys.executable, PACKER, str(path)], stderr=subprocess.PIPE, start_new_session=True)
        try:
            process.wait(chooser.uniform(0.5, 1.4))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        told = process.communicate()[1]
        assert b"Traceback" not in told, told.decode()
        packing.committed()
    assert packing.pack(to=options.to, replace=options.replace).exit_code == 0
    packing.origin.mounts[seed % 3] = new
    packing.ends_well()
