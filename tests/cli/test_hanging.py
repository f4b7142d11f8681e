"""A drive that hangs is named by all commands that work on drives, and what is waited for by who was asked to stop."""

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fleet as fleets

from sealift.cli import common, hanging, main
from sealift.drives import hung


class Hangs:
    """The n-th call of a function of the system hangs, until `word` was said."""

    def __init__(self, monkeypatch, called, nth, word="has answered nothing"):
        self.said, self.answered, self.left, self.interrupt = [], None, nth, False
        self.answers, self.word = threading.Event(), word
        monkeypatch.setattr(hung, "SILENCE", 0.3)
        monkeypatch.setattr(hung, "LEAVING", 0.1)
        monkeypatch.setattr(hanging, "_LATER", 0.1)
        monkeypatch.setattr(hanging, "_EVERY", 0.05)
        monkeypatch.setattr(common, "say", self.say)
        real = getattr(os, called)

        def hang(*given, **named):
            self.left -= 1
            if self.left == 0:
                if self.interrupt:
                    os.kill(os.getpid(), signal.SIGINT)
                self.answered = self.answers.wait(20)
            return real(*given, **named)

        monkeypatch.setattr(os, called, hang)

    def say(self, text=""):
        self.said.append(text)
        if self.word in text:
            self.answers.set()


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = fleets.make(tmp_path / "drives")
    (tmp_path / "signers").write_bytes(made.allowed_bytes)
    made.signers = str(tmp_path / "signers")
    return made


def run(fleet, command):
    mounts = sorted(map(str, fleet.root.iterdir()))
    return main.run([command, *mounts, "--allowed-signers", fleet.signers])


@pytest.mark.parametrize("command", ["inspect", "verify", "repair"])
def test_a_drive_that_hangs_is_named_and_when_it_answers_again(fleet, monkeypatch, command):
    hangs = Hangs(monkeypatch, "preadv", 1)
    assert run(fleet, command) == 0
    assert hangs.answered, "it was told while it hung"
    told = [line for line in hangs.said if "answer" in line]
    assert " has answered nothing for 0 s, and is waited for, by Ctrl-C, too: look at `dmesg`" in told[0]
    assert told[0].startswith(str(fleet.root))


def test_one_that_is_written_too_and_who_stops_is_told(fleet, monkeypatch):
    next((fleet.root / "g0s0/sealift/packs").glob("*/*")).unlink()
    hangs = Hangs(monkeypatch, "pwritev", 1, "this stops as soon as it answers")
    hangs.interrupt = True
    assert run(fleet, "repair") == 130
    assert hangs.answered
