"""What `pack` refuses, it refuses before a byte is written to any drive; each with a hint."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import shipments
from test_kill import packing

from sealift.drives.local import LocalDrive
from sealift.errors import BadInput, Busy, DeclarationInvalid, KeyInvalid, Refused, SealiftError
from sealift.stages.pack import fleet, inputs, work
from sealift.stages.pack import run as packing_stage


def tree(tmp_path, **how):
    source = tmp_path / "source"
    for number in range(10):
        shipments.write(source / f"{number}.bin", os.urandom(100_000))
    return shipments.Origin(tmp_path / "origin", source, **({"data": 2, "parity": 1} | how))


def on_drives(origin):
    return [shipments.picture(mount) for mount in origin.mounts]


def refused(origin, kind, *words, **changes):
    before = on_drives(origin)
    with pytest.raises(kind) as caught:
        origin.pack(**changes)
    assert type(caught.value) is kind or kind is SealiftError
    assert all(word in str(caught.value) + str(caught.value.hint) for word in words), (caught.value, caught.value.hint)
    assert caught.value.hint or "/nowhere" in str(caught.value)
    assert on_drives(origin) == before, "something was written"


@pytest.mark.parametrize(
    ("kind", "words", "changes"),
    [
        (KeyInvalid, [], {"recipients": ["age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq"]}),
        (KeyInvalid, [], {"recipients": ["AGE-SECRET-KEY-1QQQQ"]}),
        (KeyInvalid, [], {"sign_with": "/nowhere/key"}),
        (BadInput, ["declaration"], {"declaration": "/nowhere/declaration.toml"}),
        (BadInput, ["directory"], {"source": "/nowhere/at/all"}),
        (BadInput, ["--pack-size"], {"pack_size": (1 << 20) - 1}),
        (BadInput, ["--pack-size"], {"pack_size": 1 << 32}),
        (BadInput, ["--parity"], {"parity": 3}),
        (BadInput, ["--parity"], {"parity": -1}),
        (BadInput, ["no drive"], {"to": []}),
        (BadInput, ["--group-size"], {"group_size": 2}),
        (BadInput, ["--sample-key"], {"sample_key": "("}),
        (BadInput, ["--shipment"], {"shipment": "not-an-id"}),
    ],
)
def test_arguments(tmp_path, kind, words, changes):
    refused(tree(tmp_path), kind, *words, **changes)


def test_two_mounts_of_one_filesystem(tmp_path, monkeypatch):
    monkeypatch.setattr(LocalDrive, "serial", lambda _self: None)
    plain = {"allow_same_filesystem": False}
    refused(tree(tmp_path / "a"), BadInput, "d00: nothing is mounted there", "--allow-same-filesystem", **plain)
    monkeypatch.setattr(fleet, "nothing_mounted", lambda mount: mount.endswith("d01"))
    words = ["d00 and ", "d01 are on one filesystem", "nothing is mounted at ", "--allow-same-filesystem"]
    refused(tree(tmp_path / "b"), BadInput, *words, **plain)


@pytest.mark.parametrize("text", [b"", b"type = 1", b"\xff\xfe", b'type = "sealift-declaration"\nversion = 9\n'])
def test_declarations_that_do_not_parse(tmp_path, text):
    origin = tree(tmp_path)
    origin.declaration.write_bytes(text)
    refused(origin, DeclarationInvalid)


def test_there_is_no_undeclared_mode(tmp_path):
    origin = tree(tmp_path)
    text = origin.declaration.read_text().replace('"SL-2026-TESTED"', '""')
    origin.declaration.write_text(text)
    refused(origin, DeclarationInvalid, "consignment_id")


def test_a_drive_that_is_not_declared(tmp_path):
    origin = tree(tmp_path)
    refused(origin, BadInput, "OTHER", "not in declaration", serials={origin.mounts[1]: "OTHER"})


def test_two_drives_of_one_serial_and_one_mount_twice(tmp_path):
    origin = tree(tmp_path)
    refused(origin, BadInput, "same serial", serials={origin.mounts[1]: origin.serial(origin.mounts[0])})
    refused(origin, BadInput, "twice", to=[origin.mounts[0], *origin.mounts[:2]])


def test_not_all_declared_drives_without_groups(tmp_path):
    origin = tree(tmp_path)
    refused(origin, BadInput, "--group-size", to=origin.mounts[:2])


def test_one_drive_is_counted_as_one(tmp_path):
    origin = tree(tmp_path)
    refused(origin, BadInput, "names 3 drives, 1 is attached", to=origin.mounts[:1])
    refused(origin, BadInput, "carry 1 drive of group 0", parity=0)
    refused(origin, BadInput, "a group of 1 drive", group_size=1)
    undeclared = tree(tmp_path / "undeclared", declared_drives=False)
    refused(undeclared, BadInput, "1 drive does not make groups of 2", to=undeclared.mounts[:1], group_size=2)


def test_parity_that_cannot_hold_the_loss_of_a_carrier(tmp_path):
    origin = tree(tmp_path, carriers=["anna", "anna", "bo"])
    refused(origin, BadInput, "anna", "--accept-carrier-risk")
    assert origin.pack(accept_carrier_risk=True).groups[0]["state"] == "signed"


def test_a_carrier_that_contradicts_the_declaration(tmp_path):
    origin = tree(tmp_path)
    refused(origin, BadInput, "carrier", carriers={origin.mounts[0]: "carrier-1"})


def test_a_drive_of_another_shipment(tmp_path):
    first, second = tree(tmp_path / "1"), tree(tmp_path / "2")
    first.pack()
    second.mounts[1] = first.mounts[1]
    refused(second, BadInput, "another shipment", "which is signed", "--shipment")
    refused(second, BadInput, "finished", discard_group=True)


def test_a_folder_that_is_not_ours(tmp_path):
    origin = tree(tmp_path)
    shipments.write(f"{origin.mounts[2]}/sealift/precious", b"data")
    refused(origin, BadInput, "drive.json")


@pytest.mark.parametrize("what", ["symlink", "file"])
def test_a_sealift_that_is_no_folder(tmp_path, what):
    origin = tree(tmp_path)
    aside = tmp_path / "aside"
    aside.mkdir()
    place = Path(origin.mounts[2], "sealift")
    place.symlink_to(aside) if what == "symlink" else place.write_bytes(b"")
    before = on_drives(origin)
    with pytest.raises(SealiftError):
        origin.pack()
    assert on_drives(origin) == before
    assert list(aside.iterdir()) == []


def test_a_corpus_that_could_not_fit_even_compressed(tmp_path, monkeypatch):
    origin = tree(tmp_path)
    monkeypatch.setattr(LocalDrive, "free_bytes", lambda _self: (4 << 20) + 400_000)
    refused(origin, BadInput, "does not fit")


def test_a_corpus_that_fits_only_by_the_sample_is_told(tmp_path, monkeypatch):
    origin = tree(tmp_path)
    for number in range(10):
        shipments.write(origin.source / f"text-{number}", b"the same again\n" * 40_000)
    monkeypatch.setattr(LocalDrive, "free_bytes", lambda _self: 40 << 20)
    notices: list[str] = []
    monkeypatch.setattr(packing_stage.room, "_FIXED", (20 << 20) - 1_500_000)
    origin.pack(notices)
    assert any("only the sample" in text for text in notices)


def test_state_and_drives_within_the_source(tmp_path):
    origin = tree(tmp_path)
    refused(origin, BadInput, "within the source", state=str(origin.source / "state"))
    refused(origin, BadInput, "within the source", source=str(tmp_path))


def unfinished(origin, monkeypatch):
    class StopError(Exception):
        pass

    def stop(*_args, **_kwargs):
        raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(work, "close_group", stop)
        with pytest.raises(StopError):
            origin.pack()


@pytest.mark.parametrize(
    "changes",
    [
        {"parity": 0, "accept_carrier_risk": True},
        {"pack_size": 2 << 20},
        {"order": "shuffled"},
        {"seed": 7},
        {"sample_key": ".*"},
        {"shipment": "0123456789abcdef"},
    ],
)
def test_another_configuration_on_resume(tmp_path, monkeypatch, changes):
    origin = tree(tmp_path)
    unfinished(origin, monkeypatch)
    refused(origin, BadInput, "began with something else", **changes)
    assert origin.pack().groups[0]["state"] == "signed"


def test_other_recipients_than_declared_and_declared_otherwise_on_resume(tmp_path, monkeypatch):
    other = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"
    origin = tree(tmp_path)
    refused(origin, Refused, "is given and not declared", recipients=[origin.recipient, other])
    refused(origin, Refused, "is declared and not given", recipients=[other])
    unfinished(origin, monkeypatch)
    text = origin.declaration.read_text()
    origin.declaration.write_text(text.replace(origin.recipient, other))
    refused(origin, BadInput, "began with something else", recipients=[])
    origin.declaration.write_text(text)
    assert origin.pack(recipients=[]).groups[0]["state"] == "signed"


def test_another_source_on_resume(tmp_path, monkeypatch):
    origin = tree(tmp_path)
    unfinished(origin, monkeypatch)
    shipments.write(tmp_path / "elsewhere" / "file", b"1")
    refused(origin, BadInput, "source", source=str(tmp_path / "elsewhere"))


def test_exchanged_serials_on_resume(tmp_path, monkeypatch):
    origin = tree(tmp_path)
    unfinished(origin, monkeypatch)
    a, b = origin.mounts[:2]
    refused(origin, BadInput, "exchanged", serials={a: origin.serial(b), b: origin.serial(a)})


@pytest.mark.long
def test_discard_group_gives_the_drives_of_a_lost_packing_back(tmp_path, monkeypatch):
    first, second = tree(tmp_path / "1"), tree(tmp_path / "2")
    unfinished(first, monkeypatch)
    shipments.write(Path(first.mounts[0], "sealift", "packs", "0000", "0000009.parity.part"), b"half")
    second.mounts = first.mounts
    refused(second, BadInput, "another shipment")
    assert second.pack(discard_group=True).groups[0]["state"] == "signed"
    assert second.unpack(tmp_path / "restored").failed == []
    shipments.same(second.source, tmp_path / "restored")


def test_two_packings_exclude_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(packing_stage, "_LOCK_PATIENCE", 0.3)
    origin = tree(tmp_path)
    for number in range(150):
        shipments.write(origin.source / f"more-{number}", os.urandom(700_000))
    other = shipments.Origin(tmp_path / "other", origin.source, 2, 1)
    other.mounts[2] = origin.mounts[2]
    process = packing(origin)
    try:
        while not Path(origin.mounts[2], "sealift", "packs").exists():
            assert process.poll() is None
            time.sleep(0.001)
        with pytest.raises(Busy):
            origin.pack()
        with pytest.raises((Busy, BadInput)):  # its drive.json may be there already
            other.pack(serials={origin.mounts[2]: other.serial("d02")})
        assert process.poll() is None, "the packing ended before it was disturbed; make it longer"
    finally:
        told = process.communicate(timeout=60)[1]
    assert (process.returncode, told) == (0, b"")


def test_an_orphaned_builder_keeps_others_out(tmp_path, monkeypatch):
    """Whoever holds an inherited lock is waited for, and Busy is said when it does not end."""
    monkeypatch.setattr(packing_stage, "_LOCK_PATIENCE", 0.3)
    origin = tree(tmp_path)
    drive = LocalDrive(origin.mounts[0])
    lock = drive.lock()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=[lock])
    drive.unlock()
    try:
        with pytest.raises(Busy):
            origin.pack()
    finally:
        child.kill()
        child.wait()
    assert origin.pack().groups[0]["state"] == "signed"


def test_a_refused_packing_does_not_bind_the_corrected_command(tmp_path):
    origin = tree(tmp_path)
    with pytest.raises(SealiftError):
        origin.pack(sample_key="(")
    assert origin.pack(order="shuffled", seed=7).groups[0]["state"] == "signed"


def test_a_source_with_nothing_in_it(tmp_path):
    """A mount point under which nothing is mounted is an empty folder; mounted, the same command packs it."""
    source = tmp_path / "source"
    source.mkdir()
    origin = shipments.Origin(tmp_path / "origin", source)
    refused(origin, BadInput, "no file, link or folder", "is it mounted")
    os.mkfifo(source / "fifo")
    refused(origin, BadInput, "no file, link or folder", "fifo")
    os.mkdir(source / "folder")
    assert origin.pack().groups[0]["state"] == "signed"


def test_only_of_a_source_that_is_not_mounted(tmp_path):
    from sealift.stages.pack import only, scan

    with pytest.raises(BadInput, match="nothing of what --only wants"):
        scan.scan(
            [], str(tmp_path), weights=[1], progress=lambda *_: None, only=only.Selection({b"a": None}, "", 1, "")
        )


def test_a_post_quantum_key_is_shortened_in_a_message():
    assert inputs._short("age1" + "q" * 60) == "age1" + "q" * 60
    short = inputs._short("age1pq1" + "q" * 1900 + "the-end")
    assert (len(short), short[:7], short[-7:]) == (75, "age1pq1", "the-end")
