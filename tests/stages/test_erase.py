"""Erase, on real loop devices: what is shown, refused, written, certified, found out, and left when it is stopped."""

import json
import os
import shutil
import sys
import time
from pathlib import Path

import erasures
import loops
import msgspec
import pytest
import shipments
from docks import MIB, Dock

from sealift.cli import main
from sealift.drives import device as devices
from sealift.formats import canonical
from sealift.formats import manifest as mf
from sealift.stages import drives_list
from sealift.stages import erase as stage
from sealift.stages.drives_look import Known

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _own_state(tmp_path):
    with pytest.MonkeyPatch.context() as own:
        own.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        yield


@pytest.fixture
def made(tmp_path):
    with loops.loops(tmp_path) as found:
        yield found


@pytest.fixture
def dock(made, tmp_path):
    return Dock(made, tmp_path)


# --- erasing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("technique", ["overwrite", "discard"])
def test_a_drive_is_zero_everywhere_and_has_its_certificate(dock, technique, capsys):
    assert dock.erase("--technique", technique) == 0
    assert dock.images[0].read_bytes() == bytes(3 * MIB)
    (record,) = dock.certified()
    assert (record.technique, record.method, record.validation) == (technique, "clear", "escalate")
    assert "nothing but a person's reading of its label says that this is SER0" in record.validation_reasons[0]
    assert (record.media.serial, record.media.serial_from, record.media.kind) == ("SER0", "label", "loop device")
    assert (record.media.manufacturer, record.media.model) == ("Maker", "Model X")
    assert record.verification.bytes == record.verification.of_bytes == 3 * MIB
    assert record.verification.mode == ("full" if technique == "discard" else "sample")
    assert (record.people[0].name, record.people[0].place) == ("Dana Dock", "Lisbon")
    assert record.delivery_verified.group == 0
    assert record.legal_hold_checked.declarations[0].legal_hold == "none"
    text = dock.papers.written(".certificate.txt")[0].read_text()
    assert "CERTIFICATE OF SANITIZATION" in text
    assert "SER0 (read from its label by a person)" in text
    out, err = capsys.readouterr()
    assert "(escalate)" in out
    assert "nothing but your reading of its label says that this is SER0" in err


def test_several_at_once_each_with_its_own(made, tmp_path):
    dock = Dock(made, tmp_path, count=3)
    assert dock.erase("--read-back", "full") == 0
    assert all(image.read_bytes() == bytes(3 * MIB) for image in dock.images)
    assert [record.media.serial for record in dock.certified()] == ["SER0", "SER1", "SER2"]
    assert {record.verification.mode for record in dock.certified()} == {"full"}


def test_filesystem_and_partitions_are_gone(made, tmp_path):
    image = made.partitioned("0.img")
    node = made.attach_parts(image)
    dock = Dock(made, tmp_path, count=0)
    dock.names, dock.images = [str(image)], [image]
    assert os.path.exists(f"{node}p1")
    assert dock.erase() == 0
    assert image.read_bytes() == bytes(64 * MIB)
    assert not os.path.exists(f"{node}p1")


def test_an_old_certificate_is_never_overwritten(dock):
    assert dock.erase() == 0
    first = dock.papers.written(".certificate.json")
    time.sleep(1.1)  # names have whole seconds
    assert dock.erase() == 0
    assert len(dock.papers.written(".certificate.json")) == 2
    assert first[0] in dock.papers.written(".certificate.json")


def test_the_log_is_there_before_a_byte_is_written(dock, monkeypatch):
    seen = []
    whole = devices.OpenDevice.__init__

    def look(self, disk, **how):
        if not how:
            seen.extend(dock.papers.written(".log.jsonl"))
            assert dock.kept()
        whole(self, disk, **how)

    monkeypatch.setattr(devices.OpenDevice, "__init__", look)
    assert dock.erase() == 0
    lines = [json.loads(line) for line in dock.papers.written(".log.jsonl")[0].read_text().splitlines()]
    assert [line["what"] for line in lines] == [
        "begun", "places", "write", "flush", "read", "write", "flush", "read", "identity", "end",
    ]  # fmt: skip
    assert lines[0]["serial"] == "SER0"
    assert lines[-1]["fault"] is None


# --- a look ----------------------------------------------------------------------------------------------


def test_without_yes_it_shows_all_and_writes_nothing(dock, capsys):
    assert dock.run() == 0
    out, err = capsys.readouterr()
    assert f"add: --yes {dock.names[0]}" in out
    assert "would be done: overwrite: zeros are written over every byte of it, and flushed" in err
    assert (
        "g0s0 of shipment 5f0c1d2e3a4b5c6d; group 0 is intact, signed 2026-11-20T10:00:00Z by dock@example.org" in err
    )
    assert dock.kept()
    assert not dock.papers.certificates.exists()


def test_json_of_a_look_and_of_the_deed_are_alike(dock, capsys):
    assert dock.run("--json") == 0
    look = json.loads(capsys.readouterr().out)
    assert (look["erased"], look["drives"][0]["outcome"], look["drives"][0]["objections"]) == (False, None, [])
    assert dock.erase("--json") == 0
    done = json.loads(capsys.readouterr().out)
    assert done["erased"]
    assert done["drives"][0]["outcome"]["certificate"] == str(dock.papers.written(".certificate.json")[0])
    assert look["drives"][0].keys() == done["drives"][0].keys()


def refused(dock, capsys, match, *more, yes=True, code=5):
    """It is refused with and without --yes, and nothing is written."""
    if yes:
        assert dock.erase(*more) == code
        assert match in capsys.readouterr().err
        assert not dock.papers.written(".log.jsonl")
        assert not dock.papers.certificates.exists() or any(dock.papers.certificates.iterdir()), "an empty folder"
    assert dock.run(*more) == code
    assert match in capsys.readouterr().err
    assert dock.kept()


def test_a_size_that_is_not_the_declared_one_is_told_before_anything_is_done(made, tmp_path, capsys):
    dock = Dock(made, tmp_path, size=4 * MIB)
    assert dock.run() == 0
    said = capsys.readouterr().err
    assert "has 4,194,304 bytes, and SER0 is declared with 3,145,728: it may be another one" in said
    assert json.loads((dock.run("--json"), capsys.readouterr().out)[1])["drives"][0]["doubts"]
    assert dock.erase() == 0
    (record,) = dock.certified()
    assert any("it may be another one" in why for why in record.validation_reasons)


@pytest.mark.parametrize("made_on", [None, "WD-9"])
def test_a_drive_that_by_the_receipt_never_came_is_erased_as_one_to_be_looked_at(made, tmp_path, capsys, made_on):
    """It is there again; or a label was put on another medium: look and certificate say what the receipt does."""
    dock = Dock(made, tmp_path, count=2)
    states = {"SER0": "rebuilt" if made_on else "lost"}
    dock.papers.receive(
        erasures.group(0, "rebuilt", ("SER0", "SER1"), states, made_on={"SER0": made_on} if made_on else None)
    )
    assert dock.run() == 0
    said = capsys.readouterr().err
    assert said.count("itself never came") == 1
    assert f"note: by the receipt of {erasures.AT} SER0 itself never came" in said
    assert dock.erase() == 0
    for record in dock.certified():
        told = any("SER0 itself never came" in why for why in record.validation_reasons)
        assert (told, record.validation) == (record.media.serial == "SER0", "escalate")


def test_yes_with_what_the_label_says_is_told_the_name(dock, capsys):
    assert dock.run(yes=["SER0"]) == 1
    said = capsys.readouterr().err
    assert "--yes SER0: that is the serial number on its label; --yes repeats the drive's name" in said
    assert f"hint: --yes {dock.names[0]}" in said


def test_a_legal_hold_is_never_gone_around(dock, capsys):
    dock.papers.declare(legal_hold="Court of Lisbon, 12/2026")
    dock.papers.receive()
    refused(
        dock, capsys, f"legal hold, in {dock.papers.declaration} (revision 1, not released): Court of Lisbon, 12/2026"
    )
    dock.papers.declare()
    dock.papers.receive()
    kept = dock.papers.declaration.with_name("declaration.r1.toml")
    dock.papers.declaration.rename(kept)
    dock.papers.declare(revision=2, supersedes="ab" * 32, legal_hold="Court of Porto")
    later, dock.papers.declaration = dock.papers.declaration, kept
    refused(dock, capsys, f"legal hold, in {later} (revision 2, not released): Court of Porto")
    refused(dock, capsys, f"legal hold, in {later}", "--declaration", str(later))


def test_no_answer_about_a_legal_hold_is_one(dock, capsys):
    dock.papers.declare(legal_hold="")
    dock.papers.receive()
    refused(dock, capsys, "nobody has said that there is no legal hold")


@pytest.mark.parametrize("state", ["lost", "unseen"])
def test_a_group_that_is_not_verified_keeps_its_drives(dock, capsys, state):
    dock.papers.receive(erasures.group(0, state, ("SER0",), parity=0))
    refused(dock, capsys, f"group 0 is {state}")


def test_a_receipt_by_the_wrong_hand_or_of_other_bytes_counts_for_nothing(dock, capsys):
    dock.papers.receive(by=erasures.OPERATOR)
    refused(dock, capsys, "not allowed in namespace 'sealift-receipt'")
    dock.papers.receive(by=erasures.AUTHOR)
    refused(dock, capsys, "the origin cannot receive from itself")
    dock.papers.receive()
    dock.papers.receipt.write_bytes(dock.papers.receipt.read_bytes().replace(b"Rui Dock", b"Rui Dick"))
    refused(dock, capsys, "not over these bytes")
    Path(f"{dock.papers.receipt}.sig").unlink()
    refused(dock, capsys, "x.receipt.json is not signed: there is no ", code=1)
    assert "get both files from whoever signed it" in dock_says(dock, capsys)


def dock_says(dock, capsys):
    dock.run()
    return capsys.readouterr().err


def test_a_signature_that_is_none_is_named_by_its_record_and_says_what_to_do(dock, capsys):
    signature = Path(f"{dock.papers.receipt}.sig")
    signature.write_bytes(b"junk")
    assert "x.receipt.json: its .sig is not an SSH signature" in dock_says(dock, capsys)
    release = dock.papers.folder / "declaration.release.json"
    dock.papers.receive()
    release.write_text("{}")
    assert "declaration.release.json is not signed" in dock_says(dock, capsys)
    Path(f"{release}.sig").write_bytes(signature.read_bytes())
    said = dock_says(dock, capsys)
    assert "declaration.release.json: " in said
    release.unlink()
    dock.papers.receipt.write_bytes(dock.papers.receipt.read_bytes().replace(b"Rui Dock", b"Rui Dick"))
    said = dock_says(dock, capsys)
    assert "x.receipt.json: the signature is not over these bytes" in said
    assert "hint: the file or its .sig was changed" in said


def test_a_drive_named_by_its_node_is_told_its_name(dock, capsys):
    name, dock.names = dock.names[0], dock.nodes[:1]
    said = dock_says(dock, capsys)
    assert f"the drive is named {name}" in said
    assert f"hint: give {name}" in said
    dock.names = ["/dev/loop99999"]
    assert "a loop device by its file" in dock_says(dock, capsys)


def test_a_drive_that_nobody_received_or_declared(dock, capsys):
    dock.papers = erasures.Papers(dock.papers.folder, ("OTHER",))
    refused(dock, capsys, "no receipt and no declaration names it")


def test_purge_is_not_replaced_by_something_weaker(dock, capsys):
    assert dock.run(method="purge") == 5
    said = capsys.readouterr().err
    assert "purge cannot be had of it: no sanitize operation is known" in said
    assert "; --method clear can (" in said
    assert dock.run("--technique", "overwrite", method="purge") == 5
    assert "overwrite reaches clear, and not purge" in capsys.readouterr().err


def test_what_is_mounted_or_held_is_refused(made, tmp_path, capsys):
    name, node = made.drive("0.img", "ext4")
    dock = Dock(made, tmp_path, count=0)
    dock.names = [name]
    place = made.mount(node, "mnt")
    assert dock.erase() == 5
    assert f"is mounted at {place}" in capsys.readouterr().err
    loops.run("umount", place)
    with open(node, "rb") as held:
        descriptor = os.open(node, os.O_RDWR | os.O_EXCL)
        assert dock.erase() == 5
        os.close(descriptor)
        assert held.read(1024 + 58)[-2:] == b"\x53\xef", "ext4's magic is still there"
    assert dock.erase() == 0, "an empty filesystem is nothing that stands on it"


def test_other_things_on_a_drive_are_kept_and_the_way_is_told(made, tmp_path, capsys):
    name, node = made.drive("0.img", "ext4")
    dock = Dock(made, tmp_path, count=0)
    dock.names = [name]
    place = made.mount(node, "mnt")
    (place / "thesis.tex").write_text("not the shipment's")
    loops.run("umount", place)
    assert dock.erase() == 5
    err = capsys.readouterr().err
    assert "other things than this shipment, 1 name in its root" in err
    assert "sealift drives prepare" in err
    assert main.run(["drives", "prepare", name, "--filesystem", "ext4", "--yes", name]) == 0
    assert dock.erase() == 0, "once it was given up by name there"


def test_a_damaged_filesystem_hides_whose_data_it_is(made, tmp_path, capsys):
    name, _ = made.drive("0.img", "ext4")
    with open(name, "r+b") as file:
        file.seek(1024 + 4)  # blocks of the filesystem
        file.write(b"\xff\xff\xff\x7f")
    dock = Dock(made, tmp_path, count=0)
    dock.names = [name]
    assert dock.erase() == 5
    assert "nobody can see whose data is on" in capsys.readouterr().err


def test_a_real_drive_of_the_shipment_and_of_none_other(made, tmp_path, capsys):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(os.urandom(5000))
    origin = shipments.Origin(tmp_path / "origin", tmp_path / "source")
    origin.pack()
    name, node = made.drive("0.img", "ext4")
    place = made.mount(node, "mnt")
    shutil.copytree(Path(origin.mounts[1]) / "sealift", place / "sealift")
    card = json.loads((place / "sealift/drive.json").read_bytes())
    loops.run("umount", place)
    dock = Dock(made, tmp_path, count=0)
    dock.names = [name]
    assert dock.run() == 5
    assert f"a drive of shipment {card['shipment']}, and the receipts are of" in capsys.readouterr().err
    dock.papers.receive(erasures.group(0, "intact", ("SER0", "A", "B")), shipment=card["shipment"])
    assert dock.run() == 5
    assert "it says that it is g0s1; the receipt has SER0 as g0s0" in capsys.readouterr().err
    dock.papers.receive(erasures.group(0, "intact", ("A", "SER0", "B")), shipment=card["shipment"])
    assert dock.run() == 0
    out_err = capsys.readouterr().err
    assert "A DRIVE OF A SHIPMENT" in out_err, "what stands on it is shown"
    assert "nothing but your reading of its label" in out_err, f"it says that it is {card['serial']}"
    dock.serials = (card["serial"],)
    dock.papers.receive(erasures.group(0, "intact", ("A", card["serial"], "B")), shipment=card["shipment"])
    labelled, dock.serials = dock.serials, ()
    capsys.readouterr()
    assert dock.erase() == 0, "without --serial: it is the one that the drive.json on it names"
    assert Path(name).read_bytes() == bytes(64 * MIB)
    (record,) = dock.certified()
    assert record.media.serial == labelled[0]
    assert record.media.source.endswith("g0s1, drive 2 of 100")
    assert (record.media.serial_from, record.validation) == ("contents", "accept")
    assert (
        "as the drive.json that stood on it before names it" in dock.papers.written(".certificate.txt")[0].read_text()
    )
    assert "nothing but" not in capsys.readouterr().err, "what stands on it says which one it is"


def test_a_name_is_never_taken_for_a_serial_number(dock, capsys, monkeypatch):
    serials, dock.serials = dock.serials, ()
    refused(dock, capsys, "nobody says its serial number")
    assert dock.erase() == 5
    assert f"hint: --serial {dock.names[0]}=SERIAL" in capsys.readouterr().err
    known(monkeypatch, "00" * 8, "g0s0", serial=serials[0])
    refused(dock, capsys, "it says that it is a drive of shipment 0000000000000000")
    assert dock.run("--serial", f"{dock.names[0]}={dock.names[0]}") == 1
    assert "that is a path, and no serial number" in capsys.readouterr().err


def test_a_label_that_no_receipt_names_does_not_replace_what_stands_on_the_drive(dock, capsys, monkeypatch):
    dock.papers = erasures.Papers(dock.papers.folder, ("SER0", "SER1"))
    dock.papers.receive(erasures.group(0, "intact", ("SER0",), parity=0))
    known(monkeypatch, erasures.SHIPMENT, "g0s0", serial="SER0")
    dock.serials = ("SER1",)
    refused(dock, capsys, "it says that it is g0s0, which the receipt has as SER0; none names SER1")


@pytest.mark.long
@pytest.mark.parametrize("copied", ["drive.json", "manifest.json", "rebuilt"])
def test_small_files_that_anybody_can_copy_do_not_tell_which_drive_it_is(made, tmp_path, capsys, copied):
    """Neither drive.json alone, nor everything of a drive but its packs, nor all of it on another medium."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(os.urandom(40 * MIB))
    origin = shipments.Origin(tmp_path / "origin", tmp_path / "source")
    origin.pack()
    name, node = made.drive("0.img", "ext4")
    place = made.mount(node, "mnt")
    whole = Path(origin.mounts[1]) / "sealift"
    if copied == "drive.json":
        (place / "sealift").mkdir()
        shutil.copy(whole / copied, place / "sealift" / copied)
    elif copied == "rebuilt":
        shutil.copytree(whole, place / "sealift")
        card = msgspec.structs.replace(
            mf.decode_card((whole / "drive.json").read_bytes()),
            rebuilt=mf.RebuiltNote(at="2026-11-20T10:00:00Z", serial=""),
        )
        (place / "sealift/drive.json").write_bytes(canonical.encode(card))
    else:
        shutil.copytree(whole, place / "sealift", ignore=shutil.ignore_patterns("packs"))
    card = json.loads((whole / "drive.json").read_bytes())
    loops.run("umount", place)
    dock = Dock(made, tmp_path, count=0)
    dock.names, dock.serials = [name], (card["serial"],)
    dock.papers.receive(erasures.group(0, "intact", ("A", card["serial"], "B")), shipment=card["shipment"])
    assert dock.erase() == 0
    (record,) = dock.certified()
    assert (record.media.serial_from, record.validation) == ("label", "escalate")


@pytest.mark.long
def test_what_stood_on_it_still_tells_which_it_is_when_an_erase_was_stopped(dock, capsys, monkeypatch):
    known(monkeypatch, erasures.SHIPMENT, "g0s0", serial="SER0")
    with monkeypatch.context() as stopped:
        stopped.setattr(stage.sanitize, "run", lambda *_, **__: sys.exit(1))
        assert dock.erase() == 3
    (log,) = dock.papers.written(".log.jsonl")
    assert json.loads(log.read_text().splitlines()[0])["told_by"] == "contents"
    monkeypatch.undo()  # now there is nothing on it
    time.sleep(1.1)
    capsys.readouterr()
    assert dock.erase() == 0
    assert "serial SER0 by what was packed on it before it was erased" in capsys.readouterr().err
    (record,) = dock.certified()
    assert (record.media.serial_from, record.validation) == ("contents", "accept")
    loops.run("losetup", "-d", dock.nodes[0])
    loops.run("losetup", dock.nodes[0], dock.images[0])
    time.sleep(1.1)
    assert dock.erase() == 0
    assert dock.certified()[-1].validation == "escalate", "it was pulled: nobody knows whether it is the same"


def test_one_medium_is_not_erased_as_two(dock, capsys):
    dock.serials = ("SER0", "SER1")
    dock.papers = erasures.Papers(dock.papers.folder, dock.serials)
    assert dock.erase() == 0
    dock.serials = ("SER1",)
    assert dock.erase() == 5
    said = capsys.readouterr().err
    assert "this medium was erased as SER0 before" in said
    assert "hint: read the label again" in said
    assert [record.media.serial for record in dock.certified()] == ["SER0"]


def test_another_folder_of_certificates_hides_no_medium(dock, capsys):
    dock.serials = ("SER0", "SER1")
    dock.papers = erasures.Papers(dock.papers.folder, dock.serials)
    assert dock.erase() == 0
    dock.papers.certificates = dock.papers.folder / "elsewhere"
    dock.serials = ("SER1",)
    assert dock.run() == 5, "a look says so, too"
    assert dock.erase() == 5
    assert f"erased as SER0 before ({dock.papers.folder}/erased/SER0-" in capsys.readouterr().err
    assert not dock.papers.written(".log.jsonl")
    dock.serials = ("SER0",)
    assert dock.erase() == 0, "as what it was, again"


def test_what_cannot_be_noted_is_not_erased(dock, capsys, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(dock.papers.receipt))
    assert dock.erase() == 1
    assert "nothing was written to a drive" in capsys.readouterr().err
    assert dock.kept()
    assert not dock.papers.written(".log.jsonl")


def test_what_was_noted_is_let_be_where_it_is_none(dock, tmp_path):
    assert dock.erase() == 0
    (noted,) = (tmp_path / "state/sealift/erased").iterdir()
    noted.write_bytes(b"[" * 5000 + b'\n\xff\n{"serial": 3, "log": "x"}\n{"log": 1}\n\n' + noted.read_bytes())
    time.sleep(1.1)
    assert dock.erase() == 0


def test_two_loop_devices_on_one_file_are_one_medium(made, dock, capsys):
    link = dock.images[0].with_name("link.img")
    os.link(dock.images[0], link)
    node = made.attach(link)
    refused(dock, capsys, f"it and {node} stand on one file: they are one medium")
    dock.names = [str(link)]
    refused(dock, capsys, f"it and {dock.nodes[0]} stand on one file: they are one medium")
    loops.run("losetup", "-d", node)
    dock.names = [str(dock.images[0])]
    assert dock.erase() == 0


def test_logs_that_are_none_are_let_be(dock):
    dock.papers.certificates.mkdir()
    hostile = (b"", b"[" * 5000, b"\xff\n", b'{"what":"begun","serial":3,"medium":"x"}\n', b"[1]\n")
    for number, text in enumerate(hostile):
        (dock.papers.certificates / f"{number}.log.jsonl").write_bytes(text)
    assert dock.erase() == 0


def known(monkeypatch, shipment, drive, serial=None):
    """What the drives say of themselves."""
    monkeypatch.setattr(
        stage.drives_prepare, "_candidate",
        lambda disk, *_: stage.drives_prepare.Candidate(
            disk=disk, refusals=[],
            losses=[
                stage.drives_prepare.Loss(
                    entries=1, give_up=None,
                    row=drives_list.VolumeRow(
                        device=disk.node, kind="loop", size_bytes=1, filesystem="xfs", label=None, uuid=None, mounts=[],
                        swap=False, used_bytes=1, free_bytes=1, trouble=None,
                        entries=1,
                        sealift=Known(state="sealed", shipment=shipment, drive=drive, serial=serial, filled=True),
                    ),
                )
            ],
        ),
    )  # fmt: skip


def test_a_drive_of_another_shipment_or_place_is_kept(dock, capsys, monkeypatch):
    known(monkeypatch, "00" * 8, "g0s0")
    refused(dock, capsys, "a drive of shipment 0000000000000000")
    known(monkeypatch, erasures.SHIPMENT, "g0s2")
    refused(dock, capsys, "it says that it is g0s2; the receipt has SER0 as g0s0")
    known(monkeypatch, erasures.SHIPMENT, "g0s0")
    assert dock.erase() == 0


def test_every_drive_must_be_confirmed_and_every_word_must_fit(made, tmp_path, capsys):
    dock = Dock(made, tmp_path, count=2)
    assert dock.run(yes=dock.names[:1]) == 5
    assert f"--yes {dock.names[1]}" in capsys.readouterr().err
    assert dock.run(yes=[dock.names[0], "SER9"]) == 1
    assert "--yes SER9" in capsys.readouterr().err
    assert dock.run("--serial", "/dev/nothing=X") == 1
    assert dock.run("--technique", "overwite") == 1
    assert "did you mean overwrite?" in capsys.readouterr().err
    assert dock.kept()


def test_two_drives_cannot_have_one_label(made, tmp_path, capsys):
    dock = Dock(made, tmp_path, count=2)
    words = [word.replace("SER1", "SER0") for word in dock.words()]
    assert main.run(words) == 1
    assert "two drives are given the serial number SER0" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--key", "--certificates", "--by", "--title", "--place", "--contact"])
def test_what_a_certificate_needs_is_asked_before_anything_is_written(dock, option, capsys):
    words = dock.words(yes=dock.names)
    at = words.index(option)
    assert main.run(words[:at] + words[at + 2 :]) == 1
    assert f"needs more: {option}" in capsys.readouterr().err
    assert dock.kept()


def test_a_key_that_cannot_sign_is_found_before_anything_is_written(dock, capsys):
    public = dock.papers.folder / "key.pub"
    public.write_text(erasures.OPERATOR.public_key.line + "\n")
    words = [str(public) if word == str(dock.papers.key) else word for word in dock.words(yes=dock.names)]
    dock.papers.key.unlink()
    assert main.run(words) == 1
    assert "ssh-keygen did not sign" in capsys.readouterr().err
    assert dock.kept()
    assert not dock.papers.written(".log.jsonl")


def test_not_root_is_told(dock, capsys, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert dock.run() == 1
    assert "sudo sealift" in capsys.readouterr().err


def test_it_needs_lsblk_and_says_so(dock, capsys, monkeypatch, tmp_path):
    shipments.need("lsblk")
    loops.hide_tools(monkeypatch, tmp_path)
    assert dock.run() == 1
    assert "lsblk" in capsys.readouterr().err
