"""The list: flags of odd hosts by recorded answers; what is on real filesystems; devices that hang."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import loops
import msgspec
import pytest
import shipments
from mounted import umount

from sealift.drives.local import LocalDrive
from sealift.formats import manifest as mf
from sealift.formats.block_tools import Mount
from sealift.stages import drives_list as stage
from sealift.stages.drives_look import Look, look, look_at

NONE = Look(total_bytes=10, used_bytes=4, free_bytes=6)


@pytest.fixture
def host(tmp_path, monkeypatch):
    """The list of a told host; what is mounted there is as `looks` say, by mount."""
    told = loops.ToldHost(tmp_path, monkeypatch)

    def listed(name="server", *, need=None, looks=None, swaps=None, **how):
        told.tell(name, **how)
        monkeypatch.setattr(stage, "look_at", lambda mounts, **_: [(looks or {}).get(each.at, NONE) for each in mounts])
        if swaps:
            (tmp_path / "swaps").write_text(swaps)
            monkeypatch.setattr(stage.block, "_number_of", {"/dev/dm-0": (253, 0)}.get)
        found = stage.list_drives(need=need, seconds=2)
        return {row.device: row for row in found.drives}, found

    return listed


def flags(row):
    return {flag.flag: flag.why for flag in row.flags}


def test_a_server(host):
    rows, found = host()
    assert list(rows) == ["/dev/sda", "/dev/sdb", "/dev/sdc", "/dev/sdd", "/dev/sde", "/dev/nvme0n1"]
    assert flags(rows["/dev/sda"]) == {"in-use": "mounted at /mnt/d 1"}
    assert flags(rows["/dev/nvme0n1"]) == {}
    assert flags(rows["/dev/sdd"])["in-use"] == (
        "/dev/md0 (raid1) stands on it; /dev/mapper/secret (crypt) stands on it; holds 1 partition"
    )
    assert rows["/dev/sda"].volumes[0].free_bytes == 6
    assert [each.at for each in found.elsewhere] == ["/srv/pool", "/net/corpus"]


def test_the_disks_of_the_host_itself(host, monkeypatch):
    (rows, _) = host()
    assert not any("system" in flags(row) for row in rows.values())
    monkeypatch.setattr(stage, "_SYSTEM", {"/mnt/d2"})
    assert flags(host()[0]["/dev/sdb"])["system"] == "it holds /mnt/d2 of this host"


@pytest.mark.parametrize(
    ("place", "is_system"),
    [("/", True), ("/boot", True), ("/boot/efi", True), ("/bootleg", False), ("/var", True), ("/var/mnt/d1", False)],
)
def test_places_that_make_a_system_disk(host, tmp_path, monkeypatch, place, is_system):
    table = tmp_path / "mounts"
    table.write_text(f"31 25 8:0 / {place} rw - xfs /dev/sda rw\n")
    monkeypatch.setattr(stage.block, "_MOUNTS", str(table))
    assert ("system" in flags(host()[0]["/dev/sda"])) == is_system


def test_a_disk_that_is_swapped_to_is_the_hosts_own(host):
    rows, _ = host(swaps=(loops.VECTORS / "host.swaps").read_text())
    assert flags(rows["/dev/sdc"])["system"] == "this host swaps to it"
    assert "system" not in flags(rows["/dev/sdd"])


def test_members_of_arrays_are_in_use_though_nothing_stands_on_them(host):
    rows, _ = host(blkid=f"case $4 in /dev/nvme0n1) cat {loops.VECTORS}/raid.blkid;; *) exit 2;; esac")
    assert flags(rows["/dev/nvme0n1"]) == {"in-use": "/dev/nvme0n1 is linux_raid_member"}


def test_health_is_flagged_where_it_is_bad(host):
    rows, _ = host(
        smartctl=f"case $5 in /dev/sda) cat {loops.VECTORS}/sata-failing.smartctl;; /dev/sdb) cat"
        f" {loops.VECTORS}/sas-grown-defects.smartctl;; *) cat {loops.VECTORS}/sata-good.smartctl;; esac"
    )
    assert flags(rows["/dev/sda"])["smart"].startswith("failing: the drive says of itself")
    assert flags(rows["/dev/sdb"])["smart"] == "doubtful: 56 grown defects"
    assert "smart" not in flags(rows["/dev/sde"])
    assert (rows["/dev/sde"].health.verdict, rows["/dev/sde"].health.temperature) == ("good", 34)


def test_drives_that_are_too_small_by_what_is_free_or_else_by_size(host):
    rows, _ = host(need=10**12, looks={"/mnt/d 1": Look(free_bytes=10**12, total_bytes=2 * 10**12)})
    small = {device for device, row in rows.items() if "too-small" in flags(row)}
    assert small == {"/dev/sdb", "/dev/sdc", "/dev/sdd"}  # sdb is mounted, and full
    assert not any("too-small" in flags(row) for row in host()[0].values())


def test_drives_of_one_batch_are_named(host, monkeypatch):
    monkeypatch.setattr(stage, "BATCH", 2)
    rows, _ = host()
    assert flags(rows["/dev/sda"])["batch"] == "one of 2 drives WDC WUH722222ALE6L4 with serial numbers 2GG0...."
    assert "batch" not in flags(rows["/dev/sde"])


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (("M", "ZL2A0001"), ("M", "ZL2A9999"), True),
        (("M", "ZL2A0001"), ("N", "ZL2A9999"), False),
        (("M", "ZL2A0001"), ("M", "ZL2B9999"), False),
        (("M", "ZL2A0001"), ("M", "ZL2A00012"), False),
        (("M", "A0001"), ("M", "A0002"), False),
        ((None, "ZL2A0001"), (None, "ZL2A9999"), False),
    ],
)
def test_what_is_one_batch(one, other, alike):
    assert (stage.batch(*one) is not None and stage.batch(*one) == stage.batch(*other)) == alike


def test_one_serial_number_twice_is_flagged_and_multipath_is_not(host, monkeypatch):
    monkeypatch.setattr(stage.block.medium, "serial_of", lambda _place, _told: "0123456789ABCDEF")
    rows, _ = host()
    assert flags(rows["/dev/nvme0n1"])["same-serial"] == "6 drives tell the serial number 0123456789ABCDEF"
    monkeypatch.undo()


def test_the_paths_of_a_multipath_device_are_no_two_drives(host):
    rows, _ = host("multipath")
    assert "same-serial" not in flags(rows["/dev/mapper/0QEMU_QEMU_HARDDISK_serial-1"])


def test_what_does_not_answer_is_named_and_the_rest_is_there(host):
    rows, _ = host(blkid="case $4 in /dev/sde1) sleep 60;; *) exit 2;; esac")
    assert flags(rows["/dev/sde"])["no-answer"] == "/dev/sde1: no answer within 2 s"
    assert "no-answer" not in flags(rows["/dev/sda"])


def test_the_list_is_an_object_of_json(host):
    _, found = host()
    assert json.loads(json.dumps(msgspec.to_builtins(found)))["drives"][0]["name"] == "2GG00001"


# --- what is on a filesystem -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A shipment, packed and not sealed."""
    root = tmp_path_factory.mktemp("packed")
    (root / "source").mkdir()
    for number in range(4):
        (root / "source" / f"{number}").write_bytes(os.urandom(5000))
    origin = shipments.Origin(root / "origin", root / "source")
    origin.pack()
    return origin


def copied(packed, tmp_path, number=0):
    shutil.copytree(packed.mounts[number], tmp_path / "m")
    return tmp_path / "m"


def test_a_drive_of_a_shipment_is_known_without_a_key(packed):
    for number, mount in enumerate(packed.mounts):
        known = look(mount).known
        assert (known.state, known.why, known.drive, known.slot) == ("packed", "", f"g0s{number}", number)
        assert known.serial == packed.serial(mount)
        assert len(known.shipment) == 16


def test_a_seal_beside_it_is_seen(packed, tmp_path):
    mount = copied(packed, tmp_path)
    (mount / "sealift/seal").mkdir()
    (mount / "sealift" / mf.SEAL_FILES[0]).write_bytes(b"x")
    assert look(str(mount)).known.state == "sealed"


def test_before_there_is_a_manifest_it_is_being_packed(packed, tmp_path):
    mount = copied(packed, tmp_path)
    (mount / "sealift" / mf.MANIFEST).unlink()
    assert look(str(mount)).known.state == "packing"
    assert look(str(mount)).known.shipment


def test_a_manifest_without_its_signature_is_being_packed(packed, tmp_path):
    mount = copied(packed, tmp_path)
    (mount / "sealift" / mf.SIGNATURE).unlink()
    assert look(str(mount)).known.state == "packing"


@pytest.mark.parametrize("name", [mf.CARD, mf.MANIFEST])
@pytest.mark.parametrize("how", ["rot", "link", "gone"])
def test_what_is_damaged_is_never_taken_for_none(packed, tmp_path, name, how):
    mount = copied(packed, tmp_path)
    path = mount / "sealift" / name
    if how == "rot":
        path.write_bytes(path.read_bytes().replace(b'"group": 0', b'"group": 1'))
    else:
        path.unlink()
    if how == "link":
        path.symlink_to("/etc/passwd")
    known = look(str(mount)).known
    if (name, how) == (mf.MANIFEST, "gone"):
        assert known.state == "packing"
    else:
        assert known.state == "damaged"
        assert known.why


def test_a_card_that_is_another_drives_is_damaged(packed, tmp_path):
    mount = copied(packed, tmp_path)
    (mount / "sealift" / mf.CARD).write_bytes(
        (packed.root / "d01" / "sealift" / mf.CARD).read_bytes().replace(b"SERd01", b"SERd99")
    )
    known = look(str(mount)).known
    assert (known.state, known.why) == ("damaged", "drive.json and manifest.json differ")


def test_a_folder_that_a_lock_made_is_no_shipment(tmp_path):
    drive = LocalDrive(str(tmp_path))
    drive.lock()
    assert look(str(tmp_path)).known is None
    drive.write_small("packs/0000/0000000.parity", b"x")
    assert look(str(tmp_path)).known.state == "damaged"


def at(path):
    return Mount((0, 0), "/", str(path), "?", "?", read_only=False)


@pytest.mark.root
def test_what_is_hidden_by_another_mount_is_not_taken_for_it(tmp_path, packed):
    with loops.loops(tmp_path) as made:
        hidden, device = made.drive("hidden.img", "ext4")
        shown, over = made.drive("shown.img", "ext4")
        place = made.mount(device, "mnt")
        made.mount(over, "mnt")
        shutil.copytree(packed.root / "d00" / "sealift", place / "sealift")
        rows = {row.name: row for row in stage.list_drives().drives}
        assert rows[shown].volumes[0].sealift.drive == "g0s0"
        assert rows[hidden].volumes[0].sealift is None
        assert rows[hidden].volumes[0].trouble == "another filesystem is mounted over it"
        found, _ = stage.block.of_mount(stage.block.discover(), str(place))
        assert found.name == shown


@pytest.mark.root
def test_a_folder_of_a_drive_mounted_elsewhere_is_not_taken_for_the_drive(tmp_path, packed):
    with loops.loops(tmp_path) as made:
        name, device = made.drive("a.img", "ext4")
        place = made.mount(device, "mnt")
        shutil.copytree(packed.root / "d00" / "sealift", place / "within" / "sealift")
        (tmp_path / "elsewhere").mkdir()
        loops.run("mount", "--bind", place / "within", tmp_path / "elsewhere")
        made.also_unmount(tmp_path / "elsewhere")
        umount(place)
        made.mount(device, "mnt")  # now the last one
        (row,) = [row for row in stage.list_drives().drives if row.name == name]
        assert row.volumes[0].sealift is None
        assert row.volumes[0].free_bytes
        assert len(row.volumes[0].mounts) == 2


def test_a_place_that_is_none_is_said_and_the_others_are_looked_at(tmp_path):
    found = look_at([at(tmp_path / "absent"), at(tmp_path)], seconds=5)
    assert "no such file" in found[0].trouble
    assert found[1].trouble is None
    assert found[1].total_bytes > 0


def test_a_filesystem_that_hangs_takes_nothing_with_it(tmp_path):
    """A FUSE filesystem whose server is stopped answers nobody."""
    from mounted import need_fuse

    need_fuse()
    place = tmp_path / "hangs"
    place.mkdir()
    code = "import mfusepy, sys; mfusepy.FUSE(mfusepy.Operations(), sys.argv[1], foreground=True)"
    server = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, str(place)], stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 20
        while not os.path.ismount(place):
            assert time.monotonic() < until
            time.sleep(0.05)
        server.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, server.pid, os.WSTOPPED | os.WNOWAIT)  # or it answers once more before it stops
        begun = time.monotonic()
        hanging, good = look_at([at(place), at(tmp_path)], seconds=1)
        assert time.monotonic() - begun < 4
        assert hanging.trouble == "no answer within 1 s"
        assert good.trouble is None
    finally:
        server.kill()
        server.wait()
        subprocess.run(["umount", "-l", place], check=False)
