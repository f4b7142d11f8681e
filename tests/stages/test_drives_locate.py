"""Locate: the enclosure's light, ledctl, or reading in a rhythm; and that it is dark afterwards, however it ends."""

import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time

import loops
import pytest

from sealift.cli import main
from sealift.drives import bay, block
from sealift.errors import BadInput, DriveFault
from sealift.formats import block_tools
from sealift.stages.drives_locate import locate


def disk(node="/dev/no-such-device", **more):
    rows = {"blockdevices": [{"kname": os.path.basename(node), "maj:min": "8:0", "type": "disk", "size": 1 << 30}]}
    (device,) = block_tools.parse_lsblk(json.dumps(rows).encode()).values()
    return block.Disk("S1", device, "S1", None, **more)


@pytest.fixture
def sysfs(tmp_path, monkeypatch):
    monkeypatch.setattr(bay, "_SYS", str(tmp_path / "sys"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'tools'}{os.pathsep}/usr/bin:/bin")
    monkeypatch.setattr(bay.apart, "_ALSO", "/nowhere")
    return tmp_path / "sys"


def slot(sysfs, name="sda", how="device"):
    """The switch of a slot, as the kernel's ses module shows it."""
    if how == "device":
        folder = sysfs / "class/block" / name / "device" / "enclosure_device:Slot 01"
    else:
        folder = sysfs / "class/enclosure/0:0:8:0/Slot 01"
        (folder / "device/block" / name).mkdir(parents=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "locate").write_text("0")
    return folder / "locate"


@pytest.mark.parametrize("how", ["device", "enclosure"])
@pytest.mark.parametrize("end", [None, KeyboardInterrupt, OSError])
def test_the_enclosure_is_lit_while_it_lasts(sysfs, how, end):
    switch = slot(sysfs, how=how)
    seen = []

    def inside():
        with bay.lit(disk("/dev/sda")) as shown:
            seen.append((shown, switch.read_text()))
            if end:
                raise end

    if end:
        with pytest.raises(end):
            inside()
    else:
        inside()
    assert seen == [("enclosure", "1")]
    assert switch.read_text() == "0"


def test_a_path_of_a_multipath_device_is_lit(sysfs):
    switch = slot(sysfs, "sdb")
    with bay.lit(disk("/dev/dm-0", paths=("/dev/sda", "/dev/sdb"))) as shown:
        assert (shown, switch.read_text()) == ("enclosure", "1")


def test_ledctl_where_the_kernel_has_no_switch(sysfs, tmp_path):
    loops.script(tmp_path / "tools", "ledctl", f'echo "$@" >> {tmp_path}/said')
    seen = []

    def inside():
        with bay.lit(disk("/dev/sda")) as shown:
            seen.append((shown, (tmp_path / "said").read_text()))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inside()
    assert seen == [("ledctl", "locate=/dev/sda\n")]
    assert (tmp_path / "said").read_text() == "locate=/dev/sda\nlocate_off=/dev/sda\n"


@pytest.mark.parametrize("ledctl", ["exit 33", None])
def test_a_drive_that_can_neither_be_lit_nor_read_is_named(sysfs, tmp_path, ledctl):
    if ledctl:
        loops.script(tmp_path / "tools", "ledctl", ledctl)
    with pytest.raises(DriveFault, match="its bay cannot be shown"), bay.lit(disk()):
        pass


# --- reading in a rhythm, on real devices ----------------------------------------------------------------


@pytest.fixture
def made(tmp_path):
    with loops.loops(tmp_path) as found:
        yield found


def reads(device):
    with open(f"/sys/block/{os.path.basename(device)}/stat") as file:
        return int(file.read().split()[0])


@pytest.mark.root
def test_the_drive_is_read_on_and_off(made, monkeypatch):
    monkeypatch.setattr(bay, "BEAT", 0.3)
    name, device = made.drive("a.img")
    others, busy = loops.children(os.getpid()), []  # of other tests of this process: a server that they share

    def hold(found, how):
        assert (found.name, how) == (name, "reading")
        for _ in range(40):
            before = reads(device)
            time.sleep(0.05)
            busy.append(reads(device) > before + 20)  # more than another's look at all devices

    locate(name, hold)
    assert loops.children(os.getpid()) == others
    changes = sum(one != other for one, other in itertools.pairwise(busy))
    assert 3 <= changes <= 12, busy
    assert 0.2 < sum(busy) / len(busy) < 0.8


@pytest.mark.root
def test_it_ends_at_once_in_the_middle_of_a_beat(made, monkeypatch):
    monkeypatch.setattr(bay, "BEAT", 30)
    name, _ = made.drive("a.img")
    others, begun = loops.children(os.getpid()), []

    def hold(_disk, _how):
        begun.extend(child for child in loops.children(os.getpid()) if child not in others)
        time.sleep(0.1)

    locate(name, hold)
    assert len(begun) == 1
    assert not loops.is_there(begun[0])


@pytest.mark.root
def test_it_reads_and_nothing_else(made):
    name, device = made.drive("a.img", "ext4")
    made.mount(device, "mnt", "-o", "ro,noload")  # its own journal would write now and then
    with open(f"/sys/block/{os.path.basename(device)}/stat") as file:
        before = file.read().split()[4]
    locate(name, lambda _disk, _how: time.sleep(0.3))
    with open(f"/sys/block/{os.path.basename(device)}/stat") as file:
        assert file.read().split()[4] == before


@pytest.mark.root
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_command_ends_by_a_signal_and_all_is_dark(made, number):
    name, _ = made.drive("a.img")
    command = [sys.executable, "-m", "sealift", "drives", "locate", name]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert "it is read in a rhythm" in child.stderr.readline()
    (reader,) = loops.children(child.pid)
    child.send_signal(number)
    assert child.wait(10) == 0
    assert "not shown any more" in child.stderr.read()
    child.stderr.close()
    assert not loops.is_there(reader)


@pytest.mark.root
def test_killed_its_reader_ends_by_itself(made):
    name, _ = made.drive("a.img")
    command = [sys.executable, "-m", "sealift", "drives", "locate", name]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    child.stderr.readline()
    (reader,) = loops.children(child.pid)
    child.kill()
    child.wait()
    child.stderr.close()
    until = time.monotonic() + 2 * bay.BEAT + 3
    while loops.is_there(reader):
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.root
def test_the_command_ends_by_itself_and_says_what_it_did(made, capsys):
    name, _ = made.drive("a.img")
    assert main.run(["drives", "locate", name, "--seconds", "0.2", "--json"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f'{{"drive": "{name}", "how": "reading", "seconds": ')
    assert "read in a rhythm" in err


@pytest.mark.root
def test_names_that_are_none_or_two(made):
    with pytest.raises(BadInput, match="there is no drive"):
        locate("no-such-serial", lambda _disk, _how: None)
    name, device = made.drive("a.img")
    made.attach(made.root / "a.img")
    with pytest.raises(BadInput, match="all tell the serial number"):
        locate(name, lambda _disk, _how: None)
    seen = []
    locate(device, lambda found, _how: seen.append(found.node))
    assert seen == [device]


def test_a_loop_device_has_no_bay_for_ledctl(sysfs, tmp_path):
    loops.script(tmp_path / "tools", "ledctl", "exit 0")
    loop = dataclasses.replace(disk(), device=disk().device._replace(kind="loop"))
    with pytest.raises(DriveFault), bay.lit(loop):
        pass
