"""Which drives there are: recorded answers of tools on odd hosts, and real loop devices."""

import os
import pathlib
import shutil
import time

import loops
import pytest

from sealift.drives import block
from sealift.errors import BadInput, FormatError

VECTORS = loops.VECTORS


@pytest.fixture
def told(tmp_path, monkeypatch):
    return loops.ToldHost(tmp_path, monkeypatch)


@pytest.fixture
def host(told):
    return told.disks


def test_drives_of_a_server(host):
    found = host("server", blkid=f"case $4 in /dev/sda) cat {VECTORS}/xfs.blkid;; *) exit 2;; esac")
    assert list(found) == ["sda", "sdb", "sdc", "sdd", "sde", "nvme0n1"]
    disk = found["sda"]
    assert (disk.name, disk.serial, disk.model, disk.node) == (
        "2GG00001",
        "2GG00001",
        "WDC WUH722222ALE6L4",
        "/dev/sda",
    )
    assert [volume.signature.kind for volume in disk.volumes] == ["xfs"]
    assert [mount.at for _, mount in disk.mounts] == ["/mnt/d 1"]
    assert found["sde"].model == "WD Elements 25A3"


def test_what_stands_on_a_drive_is_its_own(host):
    found = host("server")
    assert [volume.device.kernel for volume in found["sdc"].volumes] == [
        "sdc",
        "sdc1",
        "sdc2",
        "sdc3",
        "md0",
        "dm-0",
        "dm-1",
    ]
    assert [volume.device.kernel for volume in found["sdd"].volumes] == ["sdd", "sdd1", "md0", "dm-1"]


def test_the_paths_of_a_multipath_device_are_one_drive(host):
    found = host("multipath")
    assert list(found) == ["loop0", "dm-0", "sdc"]
    disk = found["dm-0"]
    assert (disk.name, disk.paths, disk.node) == ("serial-1", ("/dev/sda", "/dev/sdb"), "/dev/dm-0")


def test_sysfs_has_the_first_word_on_a_serial_number(host, tmp_path):
    place = tmp_path / "sys" / "class" / "block" / "sda"
    place.mkdir(parents=True)
    (place / "serial").write_text("FROM-SYSFS\n")
    assert host("server")["sda"].name == "FROM-SYSFS"


def test_a_drive_without_a_number_is_named_by_its_node(host, monkeypatch):
    monkeypatch.setattr(block.medium, "serial_of", lambda _place, _told: None)
    assert host("server")["sda"].name == "/dev/sda"


def test_lsblk_is_asked_once_also_for_drives_that_tell_no_number(told, tmp_path):
    told.tell("multipath")
    asked = tmp_path / "asked"
    text = (loops.VECTORS / "multipath.lsblk").read_text().replace('"serial-2"', "null")
    (tmp_path / "rows").write_text(text)
    loops.script(told.tools, "lsblk", f"echo x >> {asked}; cat {tmp_path}/rows")
    assert [disk.name for disk in block.discover(seconds=2)][-1] == "/dev/sdc"
    assert asked.read_text() == "x\n"


def test_filesystems_that_hide_their_device_are_found_by_their_source(host, monkeypatch):
    real = block._number_of
    monkeypatch.setattr(block, "_number_of", lambda path: (8, 65) if path == "/dev/sde1" else real(path))
    found = host("server")
    assert [mount.at for _, mount in found["sde"].mounts] == ["/srv/pool"]
    assert [mount.at for mount in block.other_mounts(list(found.values()))] == ["/", "/proc", "/net/corpus"]


def test_a_device_that_does_not_answer_is_there_all_the_same(host):
    begun = time.monotonic()
    found = host("server", blkid="case $4 in /dev/sda) sleep 60;; *) exit 2;; esac")
    assert time.monotonic() - begun < 10
    assert found["sda"].troubles == ["/dev/sda: no answer within 2 s"]
    assert found["sdb"].troubles == []


@pytest.mark.parametrize(
    ("blkid", "trouble"),
    [
        ("exit 8", "several filesystems seem to be on it"),
        ("echo 'blkid: error: /dev/sda: Input/output error' >&2; exit 2", "blkid: error: /dev/sda: Input/output error"),
        ("exit 4", "blkid: exit 4"),
        ("exit 2", None),
    ],
)
def test_what_blkid_cannot_say_is_not_taken_for_a_blank_drive(host, blkid, trouble):
    assert host("server", blkid=blkid)["sda"].volumes[0].trouble == trouble


def test_health_is_asked_of_drives_and_not_of_loops(host):
    found = host("multipath", smartctl=f"echo $5 >> $0.asked; cat {VECTORS}/sas-grown-defects.smartctl; exit 4")
    said = block.health(list(found.values()), seconds=2)
    assert [each.verdict for each in said] == ["unknown", "doubtful", "doubtful"]
    asked = pathlib.Path(shutil.which("smartctl") + ".asked").read_text().split()
    assert sorted(asked) == ["/dev/sda", "/dev/sdc"]  # a path, where the device is of several


@pytest.mark.parametrize(
    ("smartctl", "why"),
    [("sleep 60", "smartctl: no answer within 1 s"), ("echo nonsense", "smartctl printed what is no JSON")],
)
def test_a_health_that_cannot_be_had_says_why(host, smartctl, why):
    found = host("server", smartctl=smartctl)
    assert block.health([found["sda"]], seconds=1)[0].why.startswith(why)


def test_without_smartctl_it_says_so(host, monkeypatch, tmp_path):
    found = host("server")
    loops.hide_tools(monkeypatch, tmp_path)
    assert block.health([found["sda"]])[0].why == "smartctl is not installed"


def test_without_lsblk_nothing_can_be_said(monkeypatch, tmp_path):
    loops.hide_tools(monkeypatch, tmp_path)
    with pytest.raises(BadInput, match="lsblk is not installed"):
        block.discover()


def test_an_lsblk_that_hangs_or_lies_is_an_error_of_ours(host, tmp_path):
    host("server")
    loops.script(tmp_path / "tools", "lsblk", "sleep 60")
    with pytest.raises(BadInput, match="no answer"):
        block.discover(seconds=0.3)
    loops.script(tmp_path / "tools", "lsblk", "echo '{}'")
    with pytest.raises(FormatError):
        block.discover(seconds=2)


# --- real devices ----------------------------------------------------------------------------------------


@pytest.fixture
def made(tmp_path):
    with loops.loops(tmp_path) as found:
        yield found


def of(name):
    (disk,) = [disk for disk in block.discover() if disk.name == name]
    return disk


@pytest.mark.root
def test_a_loop_device_is_named_by_its_file(made):
    name, device = made.drive("a.img", "ext4", 64 << 20, "-L", "two words")
    disk = of(name)
    assert (disk.node, disk.serial, disk.device.kind, disk.device.size) == (device, None, "loop", 64 << 20)
    assert (disk.volumes[0].signature.kind, disk.volumes[0].signature.label) == ("ext4", "two words")
    place = made.mount(device, "mnt")
    assert [mount.at for _, mount in of(name).mounts] == [str(place)]
    found, mount = block.of_mount(block.discover(), str(place))
    assert (found.name, mount.kind) == (name, "ext4")
    assert block.of_mount(block.discover(), str(made.root)) == (None, None)


@pytest.mark.root
def test_another_medium_in_the_same_place_has_another_sequence(made):
    _, device = made.drive("a.img")
    before = of(str(made.root / "a.img"))
    loops.run("losetup", "-d", device)
    made.image("b.img")
    loops.run("losetup", device, made.root / "b.img")
    after = of(str(made.root / "b.img"))
    if before.sequence is None:
        pytest.skip("this kernel counts no media")
    assert (before.node, before.sequence) != (after.node, after.sequence)
    assert before.node == after.node


@pytest.mark.root
def test_names_of_files_that_are_no_text_are_one_line(made):
    name = os.fsdecode(b"a\n\xff.img")
    made.attach(made.image(name))
    assert of(str(made.root / r"a\n\xff.img"))
