"""`sealift drives` on a screen: a line a drive, flags beneath, whatever the texts of devices are."""

import functools
import json

import loops
import pytest

from sealift.cli import main
from sealift.stages import drives_list
from sealift.stages.drives_look import Known, Look

KNOWN = Known(
    state="packed", shipment="5f0c1d2e3a4b5c6d", consignment="SL-2026-X", group=0, slot=1, drive="g0s1", number=2,
    drives_total=16, serial="2GG00001", label="L", carrier="An\x1bna",
)  # fmt: skip
LOOKS = {
    "/mnt/d 1": Look(total_bytes=5 * 10**12, used_bytes=10**12, free_bytes=4 * 10**12, known=KNOWN),
    "/mnt/d2": Look(trouble="no answer within 1 s"),
}


@pytest.fixture
def told(tmp_path, monkeypatch):
    host = loops.ToldHost(tmp_path, monkeypatch)
    monkeypatch.setattr(drives_list, "look_at", lambda mounts, **_: [LOOKS.get(each.at, Look()) for each in mounts])
    monkeypatch.setattr(drives_list, "list_drives", functools.partial(drives_list.list_drives, seconds=2))
    return host


def listed(capsys, *options):
    assert main.run(["drives", *options]) == 0
    return capsys.readouterr().out


def test_a_line_a_drive_and_what_is_to_be_known_beneath(told, capsys):
    told.tell("server", smartctl=f"cat {loops.VECTORS}/usb-bridge-unknown.smartctl")
    lines = listed(capsys, "--need", "10TB").splitlines()
    assert lines[0].split() == ["NAME", "DEVICE", "MODEL", "SIZE", "KIND", "HEALTH", "TEMP", "FREE", "FILESYSTEM"]
    first = lines.index(next(line for line in lines if line.startswith("2GG00001")))
    assert lines[first].split("  ")[-1].strip() == "xfs"
    assert "22.0 TB" in lines[first]
    assert "hard disk, sata" in lines[first]
    assert "not known" in lines[first]
    assert lines[first + 1] == "    health not known: smartctl: Unknown USB bridge [0x152d:0xa586 (0x114)]"
    assert lines[first + 2] == (
        r"    /mnt/d 1: shipment 5f0c1d2e3a4b5c6d, consignment SL-2026-X: g0s1 (group 0, slot 1), drive 2 of 16,"
        r" serial 2GG00001, carrier An\x1bna: packed"
    )
    assert "    too-small: 4,000,000,000,000 bytes of room, and 10,000,000,000,000 are needed" in lines
    assert "    no-answer: /dev/sdb: no answer within 1 s" in lines
    assert lines[-1] == "/net/corpus: nfs4 from store.example:/corpus, 0 B free"


def test_health_and_temperature_are_in_the_line(told, capsys):
    told.tell("server", smartctl=f"cat {loops.VECTORS}/sata-failing.smartctl")
    line = next(line for line in listed(capsys).splitlines() if line.startswith("2GG00002"))
    assert "failing" in line
    assert "25 C" in line


def test_the_object_has_every_drive(told, capsys):
    told.tell("multipath")
    found = json.loads(listed(capsys, "--json"))
    assert [drive["kind"] for drive in found["drives"]] == ["loop", "mpath", "disk"]


def test_a_host_without_drives(told, capsys, tmp_path):
    told.tell("server")
    loops.script(told.tools, "lsblk", """echo '{"blockdevices": []}'""")
    assert listed(capsys).splitlines()[0] == "there is no drive here"


def test_options_of_the_list_are_none_of_a_commands(capsys):
    assert main.run(["drives", "--json", "test", "/mnt"]) == 1
    assert "--need and --json before a command are of the list" in capsys.readouterr().err
