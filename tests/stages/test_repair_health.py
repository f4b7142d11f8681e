"""A report of health says which packs to look at: these are read and mended, and nothing else is asked."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fleet as fleets
import shipments

from sealift.cli.main import run as sealift
from sealift.errors import BadInput
from sealift.formats import manifest as mf
from sealift.reading.health import Health, PackHealth
from sealift.stages import repair as stage

BLOCK = mf.BLOCK
FLEET = fleets.make(
    Path("/nowhere"), seed=71, geometry=((2, 2),), lengths=[[2 * BLOCK + 9, 2 * BLOCK]] * 3, on_disk=False
)
GROUP = FLEET.groups[0]


@pytest.fixture(autouse=True)
def _state(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


def health(*packs, shipment=FLEET.shipment):
    named = [PackHealth(group=group, stripe=stripe, role=role, blocks=1) for group, stripe, role in packs]
    return ("health.json", Health(shipment=shipment, rebuilt_blocks=len(named), packs=named).encode())


def mend(drives, report, **more):
    return stage.repair(drives, allowed=FLEET.allowed, report=report, **more)


def pack(slot, stripe):
    return mf.pack_name(stripe, mf.role_of(stripe, slot, 4), 2)


def flip(drive, name):
    data = bytearray(drive.medium.files[name])
    data[7] ^= 1
    drive.put(name, bytes(data))


def test_the_packs_that_are_named_are_read_and_mended_and_nothing_else_is():
    drives = FLEET.memory()
    for name in (pack(1, 0), pack(1, 2), mf.OPEN_ME):
        flip(drives[1], name)
    flip(drives[3], pack(3, 1))
    read = []
    for drive in drives:
        drive.plan = lambda operation, name, at: (
            read.append((name, at)) if operation in {"read", "open"} and name.startswith(("packs/", "OPEN")) else None
        )
    versions = dict(drives[1].medium.versions)
    report = mend(drives, health((0, 0, mf.role_of(0, 1, 4))))
    assert (report.scope, report.state, stage.exit_code(report)) == ("health", "repaired", 0)
    assert [(each.drive, each.path) for each in report.repaired] == [("g0s1", pack(1, 0))]
    assert report.verified_bytes == len(GROUP.files[1][pack(1, 0)])
    changed = {name for name, version in drives[1].medium.versions.items() if versions.get(name) != version}
    assert changed == {pack(1, 0)}
    beyond = {name for name, at in read if at >= BLOCK}  # a first block tells which drive it is
    assert beyond <= {pack(slot, 0) for slot in range(4)}
    assert pack(1, 0) in beyond
    assert not [name for name, _ in read if name.startswith("OPEN")]


def test_a_pack_that_is_well_again_is_not_written():
    drives = FLEET.memory()
    versions = [dict(drive.medium.versions) for drive in drives]
    report = mend(drives, health((0, 1, 0), (0, 2, 3)))
    assert (report.state, report.repaired, report.bytes_written) == ("whole", [], 0)
    assert [dict(drive.medium.versions) for drive in drives] == versions


def test_what_is_not_here_or_not_at_all_is_passed_over():
    drives = FLEET.memory()
    gone = mf.role_of(0, 0, 4)
    report = mend(drives[1:], health((0, 0, gone), (5, 0, 0), (0, 999, 1), (0, 0, 77)))
    assert (report.repaired, report.verified_bytes, report.missing) == ([], 0, ["g0s0"])


def test_another_shipments_report_and_other_files_are_refused():
    drives = FLEET.memory()
    with pytest.raises(BadInput, match=f"is of shipment {'0' * 16}, and these drives are of {FLEET.shipment}"):
        mend(drives, health(shipment="0" * 16))
    for data in (b"", b"{}", b"[1]", b'{"type": "sealift-fetch-list"}', b'{"type": 5}', b"\xff"):
        with pytest.raises(BadInput, match="neither a report of verify nor one of health"):
            mend(drives, ("x.json", data))
    for data in (b'{"type": "sealift-health", "packs": 3}', b'{"type": "sealift-health", "version": 2}'):
        with pytest.raises(BadInput, match=r"x\.json is no report of health"):
            mend(drives, ("x.json", data))
    with pytest.raises(BadInput, match="a fetch list needs all that is wrong"):
        stage.fetch(drives, allowed=FLEET.allowed, report=health((0, 0, 0)))


def test_more_than_parity_holds_in_a_named_pack_is_told():
    drives = FLEET.memory()
    for slot in (0, 1, 2):
        flip(drives[slot], pack(slot, 0))
    report = mend(drives, health(*((0, 0, mf.role_of(0, slot, 4)) for slot in (0, 1, 2))))
    assert (report.state, stage.exit_code(report)) == ("lost", 4)
    assert {each.stripe for each in report.lost} == {0}


def test_what_reading_met_is_what_repair_mends(tmp_path, capsys):
    """From end to end: rot, a reader that rebuilds on the way, its report, repair, a reader that meets nothing."""
    source = tmp_path / "source"
    for number in range(6):
        shipments.write(source / f"{number}.bin", bytes([number]) * 10 + b"%d" % number * 400_000)
    origin = shipments.Origin(tmp_path / "origin", source, 2, 1)
    origin.pack()
    seal = origin.seal()
    victim = next(path for mount in origin.mounts for path in origin.packs(mount) if path.name.endswith(".age"))
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(bytes(data))

    def read_all():
        with origin.shipment(seal=seal) as shipment:
            for member in shipment.members():
                if member.kind == "file":
                    shipment.read(member)
            return shipment.health()

    met = read_all()
    assert met.packs
    (tmp_path / "health.json").write_bytes(met.encode())
    command = ["repair", *origin.mounts, "--allowed-signers", str(origin.root / "allowed")]
    assert sealift([*command, "--report", str(tmp_path / "health.json"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [each["path"] for each in answer["repaired"]] == [str(victim).partition("/sealift/")[2]]
    assert read_all().good
    assert sealift([*command, "--report", str(tmp_path / "health.json")]) == 0
    words = capsys.readouterr().out
    assert words.startswith("whole: nothing is wrong with what the report of health names")
    assert "next: sealift verify reads everything from the medium" in words
