"""Prepare, on real loop devices: what is shown, what is refused, and that nothing else is ever written."""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import loops
import msgspec
import pytest
import shipments
from mounted import umount

from sealift.cli import main
from sealift.drives import blank, block
from sealift.errors import BadInput, DriveFault, Refused
from sealift.stages import drives_list
from sealift.stages import drives_prepare as stage

pytestmark = pytest.mark.root
_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN


@pytest.fixture
def made(tmp_path):
    with loops.loops(tmp_path) as found:
        yield found


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@contextlib.contextmanager
def untouched(*paths):
    """Not one byte of the files is another afterwards."""
    before = [digest(path) for path in paths]
    yield
    os.sync()
    assert [digest(path) for path in paths] == before


def prepare(*names, filesystem="xfs", yes=None, lose=()):
    candidates = stage.survey(names)
    stage.check(candidates, yes=list(names) if yes is None else yes, lose=lose)
    return stage.prepare(candidates, filesystem)


def kind(device):
    found = subprocess.run(
        ["blkid", "-p", "-o", "value", "-s", "TYPE", device], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()


def refused(*names, match, **how):
    with pytest.raises(Refused, match=match) as caught:
        prepare(*names, **how)
    return str(caught.value)


# --- making ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filesystem", ["xfs", "ext4"])
def test_a_filesystem_that_can_be_used(made, filesystem):
    name, device = made.drive("a.img", size=loops.SMALLEST_XFS)
    (done,) = prepare(name, filesystem=filesystem)
    assert (done.name, done.device, done.fault, done.filesystem) == (name, device, None, filesystem)
    assert kind(device) == filesystem
    place = made.mount(f"UUID={done.uuid}" if os.path.exists("/dev/disk") else device, "mnt")
    (place / "file").write_bytes(b"x" * 5_000_000)
    assert next(each for each in drives_list.list_drives().drives if each.name == name).volumes[0].uuid == done.uuid


def test_several_at_once_each_by_its_name(made):
    drives = [made.drive(f"{n}.img", "ext4") for n in range(3)]
    done = prepare(*(name for name, _ in drives[:2]), filesystem="ext4")
    assert [each.fault for each in done] == [None, None]
    assert len({each.uuid for each in done}) == 2
    uuid = loops.run("blkid", "-p", "-o", "value", "-s", "UUID", drives[2][1])
    assert uuid not in {each.uuid for each in done}


def test_nothing_of_a_partition_table_is_left(made):
    image = made.partitioned("a.img")
    with open(image, "r+b") as file:  # as a GPT has its copy, and old arrays have their mark: at the end
        file.seek(-512, os.SEEK_END)
        file.write(b"EFI PART".ljust(512, b"\x01"))
    device = made.attach_parts(image)
    assert os.path.exists(f"{device}p1")
    (candidate,) = stage.survey([str(image)])
    assert [loss.row.kind for loss in candidate.losses] == ["part"]
    assert prepare(str(image), filesystem="ext4")[0].fault is None
    data = image.read_bytes()
    assert data[446:512] == bytes(66)
    assert data[-512:] == bytes(512)


def test_partitions_that_the_kernel_does_not_show_are_given_up_by_name_alone(made):
    """A table of another sector size: what lies behind it, a shipment's drive perhaps, nobody here can see."""
    name, _ = made.drive("a.img", size=64 << 20)
    entries = [struct.pack("<B3xB3xII", 0, 0x83, 2048 * number, 4096) for number in (1, 3)]
    with open(name, "r+b") as file:
        file.seek(446)
        file.write(b"".join(entries))
        file.seek(510)
        file.write(b"\x55\xaa")
    (candidate,) = stage.survey([name])
    assert candidate.give_up == [name]
    assert "no partition of it shows: nobody can see what is there" in candidate.losses[0].row.trouble
    with untouched(name), pytest.raises(Refused):
        stage.check([candidate], yes=[name], lose=[])
    stage.check([candidate], yes=[name], lose=[name])
    (row,) = [each for each in drives_list.list_drives().drives if each.name == name]
    assert "nobody can see what is there" in next(each.why for each in row.flags if each.flag == "no-answer")


def test_both_ends_are_overwritten_and_nothing_else(made):
    image = made.image("a.img", 16 << 20)
    image.write_bytes(b"x" * (16 << 20))
    descriptor = os.open(made.attach(image), os.O_RDWR)
    blank._wipe(descriptor, 16 << 20)
    os.close(descriptor)
    assert image.read_bytes() == bytes(4 << 20) + b"x" * (8 << 20) + bytes(4 << 20)


def test_a_device_too_small_is_a_fault_that_names_it_and_the_others_are_made(made):
    small, _ = made.drive("small.img", size=1 << 20)
    good, device = made.drive("good.img", size=loops.SMALLEST_XFS)
    failed, done = prepare(small, good)
    assert failed.fault.startswith(f"{small}: mkfs.xfs: ")
    assert not failed.refused
    assert "/proc/self" not in failed.fault
    assert done.fault is None
    assert kind(device) == "xfs"


@pytest.mark.parametrize("instead", [["true"], ["mkfs.xfs", "-q"]])
def test_a_drive_that_keeps_nothing_or_something_else_is_found_out(made, monkeypatch, instead):
    name, _ = made.drive("a.img", size=loops.SMALLEST_XFS)
    monkeypatch.setitem(blank.MKFS, "ext4", instead)
    (done,) = prepare(name, filesystem="ext4")
    assert "there is no ext4 on it" in done.fault


def test_without_mkfs_nothing_is_written(made, monkeypatch):
    name, _ = made.drive("a.img", "ext4")
    candidates = shown(name)
    loops.hide_tools(monkeypatch, made.root)
    with untouched(name), pytest.raises(BadInput, match=r"mkfs\.xfs is not installed; nothing was written"):
        stage.prepare(candidates, "xfs")


# --- what is shown ---------------------------------------------------------------------------------------


def test_filesystem_label_and_used_bytes_are_shown_though_it_is_not_mounted(made):
    name, device = made.drive("a.img", "ext4", 64 << 20, "-L", "only copy")
    place = made.mount(device, "mnt")
    (place / "thesis.tex").write_bytes(b"x" * 9_000_000)
    umount(place)
    with untouched(name):
        (candidate,) = stage.survey([name])
    (loss,) = candidate.losses
    assert (loss.row.filesystem, loss.row.label) == ("ext4", "only copy")
    assert 9_000_000 < loss.row.used_bytes < 12_000_000
    assert loss.entries == loss.row.entries == 1  # lost+found is nobody's
    assert candidate.give_up == []


@pytest.mark.long
@pytest.mark.parametrize("filesystem", ["ext4", "xfs"])
def test_looking_replays_no_journal(made, filesystem):
    """A filesystem that was not unmounted cleanly is looked into, and stays as it is to the last byte."""
    name, device = made.drive("a.img", filesystem)
    place = made.mount(device, "mnt")
    for number in range(50):
        (place / f"{number}").write_bytes(b"x" * 5000)
    descriptor = os.open(place, os.O_RDONLY)
    fcntl.ioctl(descriptor, _SHUTDOWN, (1).to_bytes(4, "little"))  # what is in the log is flushed, and no more
    os.close(descriptor)
    umount(place)
    with untouched(name):
        (candidate,) = stage.survey([name])
    assert candidate.losses[0].row.trouble is None
    assert candidate.losses[0].row.used_bytes


def test_nobody_sees_the_look(made, monkeypatch):
    name, device = made.drive("a.img", "ext4")
    (made.root / "looks").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(made.root / "looks"))
    assert stage.survey([name])[0].losses[0].row.used_bytes
    assert f"{device} " not in Path("/proc/self/mountinfo").read_text()
    assert not list((made.root / "looks").iterdir())


def test_partitions_are_looked_into(made):
    image = made.partitioned("a.img")
    device = made.attach_parts(image)
    loops.run("mkfs.ext4", "-q", "-L", "within", f"{device}p1")
    (candidate,) = stage.survey([str(image)])
    (loss,) = candidate.losses
    assert (loss.row.device, loss.row.label) == (f"{device}p1", "within")
    assert loss.row.used_bytes
    assert candidate.disk.volumes[0].signature.table == "dos"


# --- confirmation ----------------------------------------------------------------------------------------


def test_each_drive_wants_its_own_yes(made):
    names = [made.drive(f"{n}.img", "ext4")[0] for n in range(2)]
    with untouched(*names):
        with pytest.raises(Refused, match="not confirmed") as caught:
            prepare(*names, yes=[])
        assert all(f"--yes {name}" in caught.value.hint for name in names)
        with pytest.raises(Refused) as caught:
            prepare(*names, yes=names[:1])
        assert f"--yes {names[1]}" in caught.value.hint
        assert f"--yes {names[0]}" not in caught.value.hint


def test_a_yes_for_another_drive_is_a_mistake_and_not_a_yes(made):
    name, _ = made.drive("a.img", "ext4")
    with untouched(name), pytest.raises(BadInput, match="no drive of that name"):
        prepare(name, yes=[name, name + "x"])


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    root = tmp_path_factory.mktemp("packed")
    (root / "source").mkdir()
    (root / "source" / "file").write_bytes(os.urandom(5000))
    origin = shipments.Origin(root / "origin", root / "source")
    origin.pack()
    return origin


def bearing(made, packed, name="a.img", *, spoil=None):
    """A drive with drive g0s1 of a shipment on it, not mounted; its name, and what names the loss."""
    name, device = made.drive(name, "ext4")
    place = made.mount(device, "mnt")
    shutil.copytree(Path(packed.mounts[1]) / "sealift", place / "sealift")
    card = json.loads((place / "sealift/drive.json").read_bytes())
    if spoil:
        spoil(place / "sealift")
    umount(place)
    return name, f"{card['shipment']}/{card['id']}"


@pytest.mark.long
def test_a_drive_of_a_shipment_wants_a_second_word(made, packed):
    name, word = bearing(made, packed)
    with untouched(name):
        (candidate,) = stage.survey([name])
        known = candidate.losses[0].row.sealift
        assert (known.state, known.drive, known.number, known.drives_total) == ("packed", "g0s1", 2, 3)
        with pytest.raises(Refused) as caught:
            prepare(name)
        assert f"--lose {word}" in caught.value.hint
        assert f"--yes {name}" not in caught.value.hint
        for wrong in (name, word.replace("g0s1", "g0s0"), word.upper(), word[:-1]):
            with pytest.raises(BadInput, match="nothing of that name"):
                prepare(name, lose=[wrong])
        with pytest.raises(Refused):
            prepare(name, yes=[], lose=[word])
    assert prepare(name, filesystem="ext4", lose=[word])[0].fault is None
    assert stage.survey([name])[0].give_up == []


@pytest.mark.parametrize("rot", ["drive.json", "manifest.json"])
def test_a_damaged_drive_of_a_shipment_wants_it_too(made, packed, rot):
    name, word = bearing(made, packed, spoil=lambda folder: (folder / rot).write_bytes(b"rot"))
    with untouched(name):
        refused(name, match="not confirmed")
    assert stage.survey([name])[0].give_up == [name if rot == "drive.json" else word]


def spoiled(device, what):
    """A filesystem that is there and that this host cannot show."""
    loops.run("mkfs.ext4", "-q", device)
    with open(device, "r+b") as file:
        if what == "unknown feature":
            file.seek(1024 + 96)
            file.write(b"\x00\x00\x00\x40")
        elif what == "journal of another":
            file.seek(1024 + 96)
            file.write(b"\x08\x00\x00\x00")
        elif what == "array":
            file.seek(4096)  # a superblock of version 1.2
            file.write(struct.pack("<IIII", 0xA92B4EFC, 1, 0, 0) + bytes(range(16)) + b"host:0".ljust(32, b"\0"))
            file.seek(4096 + 144)
            file.write(struct.pack("<Q", 8))
        elif what == "two":
            file.seek(0x10040)  # where btrfs has its magic
            file.write(b"_BHRfS_M")


@pytest.mark.long
@pytest.mark.parametrize("what", ["unknown feature", "journal of another", "array", "two"])
def test_what_nobody_can_look_into_wants_it_too(made, what):
    name, device = made.drive("a.img")
    spoiled(device, what)
    with untouched(name):
        (candidate,) = stage.survey([name])
        assert candidate.losses[0].row.trouble
        assert candidate.give_up == [name]
        refused(name, match="not confirmed")
    assert prepare(name, filesystem="ext4", lose=[name])[0].fault is None


# --- what is refused, whatever is said -------------------------------------------------------------------


def test_a_mounted_drive(made):
    name, device = made.drive("a.img", "ext4")
    place = made.mount(device, "mnt")
    (place / "file").write_text("x")
    assert str(place) in refused(name, match="is mounted at")
    assert (place / "file").read_text() == "x"


def test_one_that_is_mounted_where_we_do_not_see_it(made):
    """In another mount namespace, as in a container."""
    name, device = made.drive("a.img", "ext4")
    place = made.root / "hidden"
    place.mkdir()
    holder = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", f"mount {device} {place} && echo mounted && exec sleep 60"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == "mounted\n"
        assert not os.path.ismount(place)
        refused(name, match="the kernel, a pool or another program holds it")
    finally:
        holder.kill()
        holder.communicate()


def test_a_drive_of_which_a_partition_is_mounted(made):
    image = made.partitioned("a.img")
    device = made.attach_parts(image)
    loops.run("mkfs.ext4", "-q", f"{device}p1")
    made.mount(f"{device}p1", "mnt")
    refused(str(image), match=f"{device}p1 is mounted at")


def test_a_drive_that_is_swapped_to(made):
    name, device = made.drive("a.img")
    loops.run("mkswap", device)
    if subprocess.run(["swapon", device], capture_output=True, check=False).returncode:
        pytest.skip("this system does not swap to loop devices")
    try:
        refused(name, match="swaps to it")
    finally:
        loops.run("swapoff", device)


def test_a_device_that_is_read_only(made):
    image = made.image("a.img")
    made.attach(image, "--read-only")
    with untouched(image):
        refused(str(image), match="read-only")


def test_the_disks_of_this_host(made, monkeypatch):
    for disk in block.discover():
        if drives_list.system(disk):  # looked at only: a test of a refusal never comes near to writing on it
            (candidate,) = stage.survey([disk.name])
            assert any("a disk of this host itself" in why for why in candidate.refusals)
    name, device = made.drive("a.img", "ext4")
    place = made.mount(device, "mnt")
    monkeypatch.setattr(drives_list, "_SYSTEM", {str(place)})
    refused(name, match="a disk of this host itself")


def test_two_drives_with_one_name(made):
    name, _ = made.drive("a.img", "ext4")
    twin = made.attach(Path(name))
    with untouched(name):
        nodes = refused(name, match="stand on one file: they are one medium")
    assert "/dev/loop" in nodes
    disk, other = [
        dataclasses.replace(each, name="SER1", serial="SER1", backing=None)
        for each in block.discover()
        if each.name == name
    ]
    assert twin in {disk.node, other.node}
    (why,) = stage._refusals(disk, [disk, other], None)
    assert why == f"{other.node} tells the same serial number, so nobody can say which one is meant"


def test_one_that_is_refused_stops_all(made):
    good, _ = made.drive("good.img", "ext4")
    bad, device = made.drive("bad.img", "ext4")
    made.mount(device, "mnt")
    with untouched(good):
        refused(good, bad, match="nothing was written")


def test_names_that_are_none(made):
    name, device = made.drive("a.img", "ext4")
    with pytest.raises(BadInput, match="there is no drive"):
        stage.survey([name[:-1]])
    with pytest.raises(BadInput, match="is named") as caught:
        stage.survey([device])
    assert name in str(caught.value)


def test_a_partition_is_no_drive(made):
    image = made.partitioned("a.img")
    device = made.attach_parts(image)
    with pytest.raises(BadInput, match="is a part of"):
        stage.survey([f"{device}p1"])


def test_it_is_roots_to_do(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(BadInput, match="root"):
        stage.survey(["x"])


# --- changed between showing and writing -----------------------------------------------------------------


def shown(*names):
    candidates = stage.survey(names)
    stage.check(candidates, yes=list(names), lose=[word for each in candidates for word in each.give_up])
    return candidates


def test_another_medium_in_its_place(made):
    name, device = made.drive("a.img", "ext4")
    candidates = shown(name)
    loops.run("losetup", "-d", device)
    other = made.image("b.img")
    loops.run("losetup", device, other)
    with untouched(name, other), pytest.raises(BadInput, match="there is no drive"):
        stage.prepare(candidates, "ext4")


def test_the_same_name_with_another_size(made):
    name, device = made.drive("a.img", "ext4")
    candidates = shown(name)
    os.truncate(name, 96 << 20)
    loops.run("losetup", "--set-capacity", device)
    with untouched(name), pytest.raises(Refused, match="is not the drive that was shown"):
        stage.prepare(candidates, "ext4")


def test_the_same_file_attached_anew(made):
    name, device = made.drive("a.img", "ext4")
    candidates = shown(name)
    if candidates[0].disk.sequence is None:
        pytest.skip("this kernel counts no media")
    loops.run("losetup", "-d", device)
    loops.run("losetup", device, name)
    with untouched(name), pytest.raises(Refused, match="is not the drive that was shown"):
        stage.prepare(candidates, "ext4")


def test_mounted_meanwhile(made):
    name, device = made.drive("a.img", "ext4")
    candidates = shown(name)
    made.mount(device, "mnt")
    with pytest.raises(Refused, match="is mounted at"):
        stage.prepare(candidates, "ext4")


def test_a_shipment_that_was_packed_meanwhile(made, packed):
    name, device = made.drive("a.img", "ext4")
    candidates = shown(name)
    place = made.mount(device, "mnt")
    shutil.copytree(Path(packed.mounts[0]) / "sealift", place / "sealift")
    umount(place)
    with untouched(name), pytest.raises(Refused, match="does not hold what was shown"):
        stage.prepare(candidates, "ext4")


def test_one_that_changed_stops_all(made):
    names = [made.drive(f"{n}.img", "ext4") for n in range(2)]
    candidates = shown(*(name for name, _ in names))
    made.mount(names[1][1], "mnt")
    with untouched(names[0][0]), pytest.raises(Refused):
        stage.prepare(candidates, "ext4")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sequence": 1}, "another medium"),
        ({"backing": "/nowhere"}, "backing file"),
        ({"size": 4096}, "bytes now"),
        ({"number": (7, 999)}, "has the number"),
    ],
)
def test_the_last_look_is_at_the_open_device(made, change, words):
    """Right before the first write, past every list: each thing that tells one device from another."""
    name, _ = made.drive("a.img", "ext4")
    disk = stage.survey([name])[0].disk
    fields = {key: value for key, value in change.items() if key in {"sequence", "backing"}}
    device = disk.device._replace(**{key: value for key, value in change.items() if key not in fields})
    with untouched(name), pytest.raises(Refused, match=words):
        blank.make(dataclasses.replace(disk, device=device, **fields), "ext4")


def test_a_device_taken_at_the_last_moment(made):
    name, device = made.drive("a.img", "ext4")
    disk = stage.survey([name])[0].disk
    holder = os.open(device, os.O_RDONLY | os.O_EXCL)
    with untouched(name), pytest.raises(Refused, match="in use by now"):
        blank.make(disk, "ext4")
    os.close(holder)


def test_a_filesystem_made_by_another_in_between_stops_mkfs_xfs(made, monkeypatch):
    name, device = made.drive("a.img", size=loops.SMALLEST_XFS)
    disk = stage.survey([name])[0].disk
    real = blank._mkfs

    def late(*arguments):
        loops.run("mkfs.xfs", "-q", device)
        real(*arguments)

    monkeypatch.setattr(blank, "_mkfs", late)
    with pytest.raises(DriveFault, match="existing filesystem"):
        blank.make(disk, "xfs")


# --- the command -----------------------------------------------------------------------------------------


def sealift(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "sealift", "drives", *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_the_command_shows_asks_and_does(made, packed):
    name, word = bearing(made, packed)
    with untouched(name):
        asked = sealift("prepare", name, "--filesystem", "ext4")
    assert asked.returncode == 5
    assert asked.stdout == ""
    assert "would be lost: " in asked.stderr
    assert "A DRIVE OF A SHIPMENT: shipment " in asked.stderr
    assert f"--yes {name} --lose {word}" in asked.stderr.replace("\n", " ")
    done = sealift("prepare", name, "--filesystem", "ext4", "--yes", name, "--lose", word, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["drives"][0]["filesystem"] == "ext4"


def test_the_command_says_which_failed(made):
    name, _ = made.drive("small.img", size=1 << 20)
    done = sealift("prepare", name, "--yes", name)
    assert done.returncode == 3
    assert done.stdout.startswith(f"FAILED: {name}: mkfs.xfs: ")


def test_labels_that_play_with_the_screen_do_not(made, capsys):
    name, device = made.drive("a.img", "ext4")
    loops.run("tune2fs", "-L", "\x1b[2Jevil\n", device)
    assert main.run(["drives", "prepare", name]) == 5
    assert "\x1b" not in "".join(capsys.readouterr())
    assert main.run(["drives"]) == 0
    assert "\x1b" not in "".join(capsys.readouterr())


def test_records_of_the_stage_are_objects_of_json(made):
    name, _ = made.drive("a.img", "ext4")
    assert msgspec.to_builtins(prepare(name, filesystem="ext4"))[0]["name"] == name
