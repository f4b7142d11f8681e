"""A drive that hangs raises nothing: it is named, also where packing is to stop, and when it answers again."""

import json
import threading

import pytest
from test_failing_drives import Packing

from sealift.drives import hung
from sealift.stages.pack import copies
from sealift.testing import drive

OPERATIONS = {
    "write": (drive.SimulatedPartFile, "write_at", "name"),
    "sync": (drive.SimulatedPartFile, "publish", "name"),
    "read": (drive.SimulatedReadFile, "readinto_at", "_name"),
}
STOPS = "this stops as soon as it answers"


class Hanging(Packing):
    """One drive hangs, once, when it has done so much of something with packs; until somebody is told so."""

    def __init__(self, tmp_path, monkeypatch, operation, nth=3, until="has answered nothing"):
        super().__init__(tmp_path, size=8)
        monkeypatch.setattr(hung, "SILENCE", 0.4)
        monkeypatch.setattr(hung, "LEAVING", 0.2)
        self.answers, self.until, self.interrupt = threading.Event(), until, False
        kind, name, called = OPERATIONS[operation]
        real, left = getattr(kind, name), [nth]

        def hang(file, *given):
            if file._bay.mount == self.mounts[1] and getattr(file, called).startswith("packs/"):
                left[0] -= 1
                if not left[0]:
                    self.answered = self.answers.wait(20)
            return real(file, *given)

        monkeypatch.setattr(kind, name, hang)
        self.notices = Notices(self)


class Notices(list):
    def __init__(self, packing):
        super().__init__()
        self.packing = packing

    def append(self, text):
        super().append(text)
        if self.packing.until in text:
            self.packing.answers.set()
        elif "has answered nothing" in text and self.packing.interrupt:
            raise KeyboardInterrupt


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_drive_that_hangs_is_named_once_and_when_it_answers_again(tmp_path, monkeypatch, operation):
    packing, heard = Hanging(tmp_path, monkeypatch, operation), tmp_path / "heard"
    result = packing.pack(read_back="full", notify=f"cat >> {heard}")
    assert packing.answered, "it was told while it hung"
    assert result.exit_code == 0
    serial = packing.origin.serial(packing.mounts[1])
    silent, again = [text for text in packing.notices if "answer" in text]
    assert f"drive g0s1 (serial {serial}, {packing.mounts[1]}) has answered nothing for" in silent
    assert "and the others wait for it: look at `dmesg`, its cable and its bay" in silent
    assert "answers again" in again
    events = [json.loads(line) for line in heard.read_text().splitlines()]
    assert [each["serial"] for each in events if each["event"] == "fault"] == [serial]
    packing.ends_well()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_who_stops_while_a_drive_hangs_is_told_what_is_waited_for(tmp_path, monkeypatch, operation):
    packing = Hanging(tmp_path, monkeypatch, operation, until=STOPS)
    packing.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        packing.pack(read_back="full")
    assert packing.answered, "it was told while it hung"
    monkeypatch.undo()
    packing.interrupt = False
    assert packing.pack(read_back="full").exit_code == 0
    packing.ends_well()


@pytest.mark.parametrize("copy", [copies.SETTINGS, copies.stripe_name(0)])
def test_who_stops_is_told_also_where_a_copy_or_the_removal_of_what_was_begun_hangs(tmp_path, monkeypatch, copy):
    packing = Hanging(tmp_path, monkeypatch, "write", nth=1 << 30, until=STOPS)
    write_small, abandon = drive.SimulatedDrive.write_small, drive.SimulatedPartFile.abandon
    packing.interrupt, hangs, removed = True, threading.Event(), []

    def write(medium, name, data):
        if medium.mount == packing.mounts[1] and name == copy and not hangs.is_set():
            hangs.set()
            packing.answered = packing.answers.wait(8)
        write_small(medium, name, data)

    def remove(part):
        if hangs.is_set() and part._bay.mount == packing.mounts[1]:
            removed.append(packing.answers.wait(8))
        abandon(part)

    monkeypatch.setattr(drive.SimulatedDrive, "write_small", write)
    monkeypatch.setattr(drive.SimulatedPartFile, "abandon", remove)
    with pytest.raises(KeyboardInterrupt):
        packing.pack(read_back="full")
    assert packing.answered
    assert all(removed)
    assert removed or copy == copies.SETTINGS
    monkeypatch.undo()
    packing.interrupt = False
    assert packing.pack(read_back="full").exit_code == 0
    packing.ends_well()
