"""A verifier written from docs/spec/custody.md with b3sum, ssh-keygen and JSON alone comes to the same account."""

import json
import pathlib
import shutil
import subprocess

import pytest
from custody_cases import PEOPLE, SERIALS, item, under_way, unlocked

from sealift.stages import custody_log

NAMES = ("origin", "anna", "bo", "dock")


def signed(event, signature, signers):
    """Whose signature it is, by ssh-keygen; None if nobody's of whom it knows."""
    for name in NAMES:
        command = ["ssh-keygen", "-Y", "verify", "-n", "sealift-custody", "-f", signers, "-I", f"{name}@example.com"]
        done = subprocess.run([*command, "-s", signature], input=event, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.split()[-1]  # Good "..." signature for NAME with ED25519 key SHA256:...
    return None


def verify(folder, signers):
    """(faults, {serial: names of those who have it}, checkpoint) of a log."""
    faults, events = set(), {}
    for path in folder.glob("*.json"):
        summed = subprocess.run(
            ["b3sum", "--no-names", path], capture_output=True, text=True, check=True
        ).stdout.strip()
        if summed != path.stem:
            faults.add(("altered", path.stem))
            continue
        text = path.read_text()
        event = json.loads(text)
        keys = {event[side]["key_fingerprint"] for side in ("released_by", "received_by")} - {""}
        found = {signed(text, each, signers) for each in folder.glob(f"{path.stem}-*.sig")}
        if not found & keys:
            faults.add(("unsigned", path.stem))
        elif keys - found:
            faults.add(("uncountersigned", path.stem))
        events[path.stem] = event
    named = {each for event in events.values() for each in event["log_checkpoint"]["newest"]}
    faults |= {("gap", each) for each in named - set(events)}
    before = {}

    def builds_upon(digest):
        if digest not in before:
            seen = [each for each in events[digest]["log_checkpoint"]["newest"] if each in events]
            before[digest] = set(seen).union(*(builds_upon(each) for each in seen))
        return before[digest]

    holders = {}
    for serial in SERIALS:
        of = {
            digest
            for digest, event in events.items()
            if event["event_type"] != "discrepancy"
            and ("unsigned", digest) not in faults
            and any(serial in row["serials"] for row in event["items"])
        }
        last = {each for each in of if not any(each in builds_upon(other) for other in of)}
        holders[serial] = sorted(events[each]["received_by"]["name"] for each in last)
        faults |= {
            ("conflict", *sorted((a, b)))
            for a in of
            for b in of
            if a != b and a not in builds_upon(b) and b not in builds_upon(a)
        }
    return faults, holders, sorted(set(events) - named)


@pytest.fixture
def signers(tmp_path):
    if not shutil.which("ssh-keygen") or not shutil.which("b3sum"):
        pytest.skip("not installed: ssh-keygen, b3sum")
    path = tmp_path / "signers"
    path.write_text("".join(f"{name}@example.com {PEOPLE[name].public_key.line}\n" for name in NAMES))
    return path


def put(log, folder):
    for digest, entry in log.entries.items():
        custody_log.add(str(folder), entry, sorted(log.signatures.get(digest, ())))
    return pathlib.Path(folder)


def test_both_verifiers_say_the_same(tmp_path, signers):
    _, anna, bo = under_way()
    anna.record("handover", "anna", "dock", [item(SERIALS[:2], "S1")])
    anna.record("handover", "dock", "origin", [item(SERIALS[:1], "S1")], by=["dock"])
    bo.record("handover", "bo", "dock", [item([SERIALS[2], SERIALS[0]], "S2")])
    bo.record("discrepancy", "dock", "dock", [item(SERIALS[3:], "", "")], reason="not in the case")
    bo.record("unlock", "dock", "dock", [], unlock=unlocked())
    unsigned = bo.record("handover", "dock", "anna", [item(SERIALS[2:3], "S2")], by=["mallory"])
    anna.merge(bo)
    folder = put(anna, tmp_path / "log")
    faults, holders, newest = verify(folder, signers)
    account = anna.account()
    ours = {(f.kind, *sorted(f.events)) for f in account.findings}
    assert faults == {each for each in ours if each[0] in {"conflict", "unsigned", "uncountersigned"}}
    assert ("unsigned", unsigned) in faults
    assert len([each for each in faults if each[0] == "conflict"]) == 2
    assert holders == {d.serial: sorted(held.by.name for held in d.held) for d in account.drives}
    assert newest == account.checkpoint.newest
    removed = account.rows[1].entry.digest
    (folder / f"{removed}.json").unlink()
    (folder / f"{newest[0]}.json").write_text("{}")
    faults, *_ = verify(folder, signers)
    assert {("gap", removed), ("altered", newest[0])} <= faults
