"""Every way of erasing, against drives that do it, drives that only say so, and drives that refuse."""

import base64
import json
import os
import re
from pathlib import Path

import pytest
import transcripts

from sealift.drives import readback, sanitize
from sealift.drives.device import Log, Logged
from sealift.errors import DriveFault
from sealift.stages import erase as stage

ENHANCED, SUPPORTED, ENABLED, LOCKED, FROZEN, EXPIRED = 0x20, 0x01, 0x02, 0x04, 0x08, 0x10
VERSION = "$ hdparm -V\n> hdparm v9.65\n"
STATUS = "$ hdparm --sanitize-status {device}\n> \n> /dev/sdz:\n> Issuing SANITIZE_STATUS command\n> Sanitize status:\n"
IDLE, DONE = STATUS + ">     State:    SD0 Sanitize Idle\n", ">     Last Sanitize Operation Completed Without Error\n"
BUSY = STATUS + ">     State:    SD2 Sanitize operation In Process\n>     Progress: 0x41c2 (25%)\n"
FAILED = STATUS + "2> SANITIZE device error reason: Sanitize Command Unsuccessful\n2> Drive in SD3 state\nexit 5\n"
SET = "$ hdparm --user-master u --security-set-pass sealift {device}\n"
ERASE = "$ hdparm --user-master u --security-erase sealift {device}\n"


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(sanitize, "GRACE", 0.0)


def istdout(**words):
    return "$ hdparm --Istdout {device}\n" + transcripts.identify(**words)


def erase(device, technique, tmp_path, *, family=None, whole=False):
    """The outcome, and the log."""
    path = Path(tmp_path) / "log.jsonl"
    with open(path, "wb") as file:
        notes = Log(file.fileno())
        logged = Logged(device, notes)
        family = family or ("nvme" if technique.startswith("nvme") else "ata" if technique[:3] == "ata" else "other")
        can = sanitize.abilities(logged, family, discards=True)
        assert technique in can.techniques
        outcome = stage.run(logged, sanitize.TECHNIQUES[technique], can, notes, whole=whole, pause=0.0)
    assert not device.pairs, "all that was recorded was asked"
    return outcome


def not_erased(device, technique, tmp_path, match, **how):
    with pytest.raises(DriveFault, match=match) as caught:
        erase(device, technique, tmp_path, **how)
    return caught.value


# --- what this program does by itself ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [512, 4096, 64 << 10, (64 << 10) + 512, 200_704, (2 << 20) - 512, 9 << 20])
@pytest.mark.parametrize("technique", ["overwrite", "discard"])
def test_everything_is_zero_afterwards(technique, size, tmp_path):
    device = transcripts.Recorded(size=size)
    outcome = erase(device, technique, tmp_path, whole=technique == "discard")
    assert bytes(device.medium) == bytes(size)
    assert outcome.read_bytes == size
    assert outcome.fault is None


@pytest.mark.parametrize(
    ("technique", "lie"), [("overwrite", "writes"), ("discard", "discards"), ("overwrite", "reads")]
)
@pytest.mark.parametrize("fill", [None, b"\0", b"\xff"])
def test_a_drive_that_says_success_and_does_nothing_is_found_out(technique, lie, fill, tmp_path):
    device = transcripts.Recorded(lies=[lie], fill=fill)
    match = "it was not" if lie == "discards" else "does not keep what is written"
    not_erased(device, technique, tmp_path, match, whole=technique == "discard")


def test_a_drive_that_stops_writing_after_the_markers_is_found_out(tmp_path):
    device = transcripts.Recorded()
    flush = device.flush
    device.flush = lambda: (device.lies.add("writes"), flush())  # it kept the markers, and keeps nothing more
    not_erased(device, "overwrite", tmp_path, "it was not: at byte 0 there still is what was written there before")


@pytest.mark.parametrize("offset", [0, 777_777, (2 << 20) - 1])
def test_one_byte_that_is_left_is_found_where_everything_is_read(offset, tmp_path):
    device = transcripts.Recorded()
    flushes = []

    def leave():
        flushes.append(1)
        if len(flushes) == 2:  # the first is of the markers
            device.medium[offset] = 1

    device.flush = leave
    not_erased(device, "overwrite", tmp_path, f"at byte {offset:,} there still is", whole=True)


def test_a_drive_that_is_another_one_afterwards_is_not_certified(tmp_path):
    device = transcripts.Recorded()
    device.another = "it tells the serial number X now"
    not_erased(device, "overwrite", tmp_path, "serial number X now: nobody knows what was erased")


# --- nvme ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["block", "crypto", "overwrite"])
def test_sanitize_is_polled_to_the_end_of_its_log(name, tmp_path):
    device = transcripts.Recorded(transcripts.load(f"nvme-{name}"))
    outcome = erase(device, f"nvme-sanitize-{name}", tmp_path)
    assert outcome.confirmed_by == "the sanitize status log"
    assert outcome.answer.startswith("SSTAT 1 (completed, nothing written since)")
    assert outcome.tool == "2.3"


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("nvme-stale-log", "said success, and did not erase: its log is SSTAT 1"),
        ("nvme-never", "its log is SSTAT 0 .never sanitized"),
        ("nvme-other-action", "SANACT 4, of none that was asked now"),
        ("nvme-failed", "its log says that the sanitize operation failed"),
        ("nvme-refuses", "Sanitize Prohibited While Persistent"),
        ("nvme-broken-before", "its last sanitize operation failed"),
        ("nvme-lies", "it said that it was erased, and it was not: at byte 0"),
    ],
)
def test_what_does_not_confirm_is_not_erased(name, match, tmp_path):
    not_erased(transcripts.Recorded(transcripts.load(name)), "nvme-sanitize-block", tmp_path, match)


def test_one_that_was_interrupted_is_waited_for_and_done_again(tmp_path):
    device = transcripts.Recorded(transcripts.load("nvme-in-progress"))
    outcome = erase(device, "nvme-sanitize-block", tmp_path)
    assert "seen in progress" in outcome.answer


def test_a_log_without_any_progress_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(sanitize, "STILL", -1.0)
    text = transcripts.load("nvme-block").replace("@0 00c0", "@0 0020")
    not_erased(transcripts.Recorded(text), "nvme-sanitize-block", tmp_path, "makes no progress at 12%")


def test_part_of_what_was_there_is_enough_to_be_found_out(tmp_path):
    """A block erase that leaves one place as it was: on a small drive every place is looked at."""
    device = transcripts.Recorded(transcripts.load("nvme-block"))
    kept = {}
    command = device.command

    def leave(*words, **how):
        if "--sanact=2" in words:
            kept["sector"] = bytes(device.medium[1_000_448:1_000_960])
        answer = command(*words, **how)
        if kept:
            device.medium[1_000_448:1_000_960] = kept["sector"]
        return answer

    device.command = leave
    not_erased(
        device, "nvme-sanitize-block", tmp_path, "at byte 1,000,448 there still is what was written there before"
    )


# --- ATA -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("technique", "words", "effect"),
    [
        ("ata-sanitize-block", "--sanitize-block-erase", "zeros"),
        ("ata-sanitize-crypto", "--sanitize-crypto-scramble", "noise"),
        ("ata-sanitize-overwrite", "--sanitize-overwrite-passes 1 --sanitize-overwrite hex:00000000", "zeros"),
    ],
)
def test_ata_sanitize_is_polled_to_its_status(technique, words, effect, tmp_path):
    bit = {"ata-sanitize-block": 15, "ata-sanitize-crypto": 13, "ata-sanitize-overwrite": 14}[technique]
    known = istdout(sanitize=1 << 12 | 1 << bit, security=SUPPORTED)
    command = f"$ hdparm --yes-i-know-what-i-am-doing {words} {{device}}\n> Operation started in background\n"
    device = transcripts.Recorded(
        known + VERSION + IDLE + DONE + known + command + BUSY + BUSY + f"medium {effect}\n" + IDLE + DONE
    )
    outcome = erase(device, technique, tmp_path)
    assert outcome.answer == "in process, then: SD0, completed without error"


@pytest.mark.parametrize(
    ("status", "match"),
    [
        (FAILED, "--sanitize-status: Drive in SD3 state"),
        (IDLE, "said success, and did not erase: its state is SD0"),
        (STATUS + ">     State:    SD1 Sanitize Frozen\n", "its state is SD1"),
        (IDLE + DONE, "it said that it was erased, and it was not"),
        (STATUS, "named no state"),
    ],
)
def test_an_ata_status_that_does_not_confirm_is_not_erased(status, match, tmp_path):
    known = istdout(sanitize=1 << 12 | 1 << 15)
    command = "$ hdparm --yes-i-know-what-i-am-doing --sanitize-block-erase {device}\n"
    device = transcripts.Recorded(known + VERSION + IDLE + known + command + status)
    not_erased(device, "ata-sanitize-block", tmp_path, match)


def test_a_frozen_sanitize_is_told_before_anything_is_written(tmp_path):
    known = istdout(sanitize=1 << 12 | 1 << 15)
    device = transcripts.Recorded(known + VERSION + STATUS + ">     State:    SD1 Sanitize Frozen\n")
    before = bytes(device.medium)
    not_erased(device, "ata-sanitize-block", tmp_path, "frozen until it loses power")
    assert bytes(device.medium) == before


def test_security_erase_ends_with_the_password_gone(tmp_path):
    free, held = istdout(security=SUPPORTED, minutes=(90, 0)), istdout(security=SUPPORTED | ENABLED)
    device = transcripts.Recorded(free + VERSION + free + free + SET + ERASE + "medium zeros\n" + free)
    assert erase(device, "ata-security-erase", tmp_path).confirmed_by == "IDENTIFY DEVICE, word 128"
    lying = transcripts.Recorded(free + VERSION + free + free + SET + ERASE + "medium zeros\n" + held)
    not_erased(lying, "ata-security-erase", tmp_path, "the password is still set")


def test_the_enhanced_one_is_taken_where_it_is_there(tmp_path):
    free = istdout(security=SUPPORTED | ENHANCED)
    command = ERASE.replace("--security-erase", "--security-erase-enhanced")
    device = transcripts.Recorded(free + VERSION + free + free + SET + command + "medium noise\n" + free)
    erase(device, "ata-security-erase", tmp_path)


def test_an_interrupted_security_erase_is_opened_again(tmp_path):
    """The drive is locked with the password that the first one set."""
    locked, free = istdout(security=SUPPORTED | ENABLED | LOCKED), istdout(security=SUPPORTED)
    opened = "".join(f"$ hdparm --user-master u --security-{w} sealift {{device}}\n" for w in ("unlock", "disable"))
    device = transcripts.Recorded(
        locked + VERSION + locked + opened + free + SET + ERASE + "medium zeros\n" + free
    )  # fmt: skip
    erase(device, "ata-security-erase", tmp_path)
    strange = transcripts.Recorded(locked + VERSION + locked + opened.split("\n")[0] + "\n2> SG_IO: bad\nexit 5\n")
    assert "not sealift's" in not_erased(strange, "ata-security-erase", tmp_path, "SG_IO: bad").hint


def test_a_failed_security_erase_says_how_the_drive_is_opened(tmp_path):
    free = istdout(security=SUPPORTED)
    device = transcripts.Recorded(free + VERSION + free + free + SET + ERASE + "2> SG_IO: bad\nexit 5\n")
    assert 'password "sealift"' in not_erased(device, "ata-security-erase", tmp_path, "SG_IO").hint


def test_a_drive_that_cannot_be_asked_can_still_be_written():
    for transcript in (
        "$ nvme id-ctrl {device} --raw-binary\n2> no such thing\nexit 1\n",
        "$ nvme id-ctrl {device} --raw-binary\n",
    ):
        can = sanitize.abilities(transcripts.Recorded(transcript), "nvme", discards=True)
        assert can.techniques == ["overwrite", "discard"]
        assert "nvme id-ctrl" in can.why[0]


def test_what_emulated_drives_answered_is_understood():
    """Recorded: without a sanitize operation nothing but clearing is offered, and refusals are told in their words."""
    drive = transcripts.Recorded(transcripts.load("qemu-nvme"))
    can = sanitize.abilities(drive, "nvme", discards=True)
    assert (can.techniques, can.serial) == (["overwrite", "discard"], "EMUNVME1")
    assert can.why == ["it has no sanitize operation (SANICAP is 0)"]
    with pytest.raises(DriveFault, match="sanitize-log --raw-binary: NVMe status: Invalid Field in Command"):
        sanitize.sanitize_log(drive)
    technique = sanitize.TECHNIQUES["nvme-sanitize-block"]
    assert sanitize.version(drive, technique) == "2.3"
    with pytest.raises(DriveFault, match="sanitize --sanact=2: NVMe status: Invalid Command Opcode"):
        sanitize.run(drive, technique, can, lambda _done: None, pause=0.0)
    assert not drive.pairs
    drive = transcripts.Recorded(transcripts.load("qemu-ata"))
    can = sanitize.abilities(drive, "ata", discards=False)
    assert (can.techniques, can.serial) == (["overwrite"], "EMUATA1")
    assert can.why == ["it has no sanitize operation (IDENTIFY DEVICE, word 59)"]
    with pytest.raises(DriveFault, match="SANITIZE feature set is not supported"):
        sanitize.sanitize_status(drive)
    assert not drive.pairs


def test_a_frozen_drive_is_not_offered_a_security_erase():
    can = sanitize.abilities(
        transcripts.Recorded(istdout(security=SUPPORTED | FROZEN)), "ata", discards=False
    )  # fmt: skip
    assert can.techniques == ["overwrite"]
    assert any("frozen" in why for why in can.why)


# --- which way is taken -------------------------------------------------------------------------------------


def ability(*techniques):
    return sanitize.Abilities(family="nvme", techniques=list(techniques), why=["so it is"])


def test_nothing_weaker_is_taken_in_the_place_of_a_purge():
    assert stage.choose(ability("overwrite", "discard"), "purge", None, "sample")[0] is None
    assert (
        stage.choose(ability("overwrite"), "purge", "overwrite", "sample")[1]
        == "overwrite reaches clear, and not purge"
    )
    way, why = stage.choose(ability("nvme-sanitize-crypto", "overwrite"), "purge", None, "sample")
    assert (way.name, why) == ("nvme-sanitize-crypto", None)
    assert stage.choose(ability("nvme-sanitize-crypto", "overwrite"), "clear", None, "sample")[0].name == "overwrite"
    assert "so it is" in stage.choose(ability("overwrite"), "clear", "discard", "sample")[1]


def test_everything_is_read_back_only_of_what_leaves_zeros():
    assert "nothing to compare" in stage.choose(ability("nvme-sanitize-crypto"), "purge", None, "full")[1]
    assert stage.choose(ability("nvme-sanitize-overwrite"), "purge", None, "full")[0] is not None


def test_an_overwrite_never_purges():
    for each in sanitize.TECHNIQUES.values():
        assert (each.method == "purge") == ("sanitize" in each.name)
        assert each.name != "discard" or each.whole


def test_the_table_of_techniques_in_the_specification_is_the_code():
    page = (Path(__file__).parents[2] / "docs/spec/certificate.md").read_text().partition("## Techniques")[2]
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \|", page, re.MULTILINE)
    assert dict(rows) == {name: each.method for name, each in sanitize.TECHNIQUES.items()}


# --- places ----------------------------------------------------------------------------------------------


def test_places_are_in_every_section_at_both_ends_and_nowhere_known():
    size = 15_360_950_534_144
    witness = readback.Witness(size)
    offsets = [place.offset for place in witness.places]
    assert offsets[0] == 0
    assert witness.places[-1].offset + witness.places[-1].length == size
    assert len(offsets) == len(set(offsets)) >= 2 * readback.SECTIONS
    assert {offset * readback.SECTIONS // size for offset in offsets} == set(range(readback.SECTIONS))
    assert len(witness.marked) == readback.SECTIONS + 1
    assert witness.marked[-1].offset + witness.marked[-1].length == size
    assert [place.offset for place in readback.Witness(size).places] != offsets
    assert witness.marker(4096, 4096) != readback.Witness(size).marker(4096, 4096)


def test_the_log_has_every_command_with_its_answer(tmp_path):
    erase(transcripts.Recorded(transcripts.load("nvme-block")), "nvme-sanitize-block", tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    commands = [" ".join(line["words"]) for line in lines if line["what"] == "command"]
    answers = [line for line in lines if line["what"] == "answer"]
    assert "nvme sanitize /dev/recorded --sanact=2" in commands
    assert [" ".join(line["to"]) for line in answers] == commands
    assert base64.b64decode(answers[-1]["stdout_b64"])[:4] == bytes.fromhex("ffff0101")
    assert [line["what"] for line in lines if line["what"] in {"write", "flush"}] == ["write", "flush"]
    assert os.path.getsize(tmp_path / "log.jsonl") < 20_000
