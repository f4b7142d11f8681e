"""Whatever is done to a file on a drive, verify names that drive and that file, and nothing else."""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fleet as fleets

from sealift.drives.local import LocalDrive
from sealift.drives.memory import MemoryDrive
from sealift.errors import BadInput, Interrupted, SealiftError
from sealift.formats import manifest as mf
from sealift.formats import paged
from sealift.reading.survey import survey
from sealift.stages import verify_names, verify_read
from sealift.stages.inspect import inspect
from sealift.stages.verify import verify
from sealift.stages.verify_report import exit_code
from sealift.stages.verify_state import State

BLOCK = mf.BLOCK
FLEET = fleets.make(Path("/nowhere"), seed=3, geometry=((2, 1),), lengths=[[BLOCK + 100, 50], [70]], on_disk=False)
NAMES = [(slot, name) for slot, files in enumerate(FLEET.groups[0].files) for name in [*files, *mf.SEAL_FILES]]


def check(places, **options):
    return verify(places, allowed=options.pop("allowed", FLEET.allowed), remember=False, **options)


def named(report):
    return {(fault.drive, fault.path) for fault in report.faults}


def test_what_was_written_is_intact():
    report = check(FLEET.memory())
    assert (report.state, exit_code(report), report.faults, report.notices) == ("intact", 0, [], [])
    assert report.signature.ok
    assert report.signature.signer == "origin@example.com"
    assert report.bytes_read == sum(
        len(data)
        for files in FLEET.groups[0].files
        for name, data in files.items()
        if name not in {mf.MANIFEST, mf.SIGNATURE, mf.CARD}
    )


@pytest.mark.long
@given(st.sampled_from(NAMES), st.data())
@settings(max_examples=120, deadline=None)
def test_a_flipped_bit_anywhere_is_found_and_named(place, data):
    slot, name = place
    drives = FLEET.memory()
    whole = drives[slot].medium.files[name]
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    broken = bytearray(whole)
    broken[bit // 8] ^= 1 << bit % 8
    drives[slot].put(name, bytes(broken))
    report = check(drives)
    assert named(report) == {(f"g0s{slot}", name)}
    assert report.state == "recoverable"
    assert report.signature.ok
    if name.startswith("packs/"):
        assert [(fault.block, fault.kind) for fault in report.faults] == [(bit // 8 // BLOCK, "rotten")]


@given(
    st.sampled_from(NAMES), st.sampled_from(["gone", "empty", "cut", "longer", "link", "folder", "other"]), st.data()
)
@settings(max_examples=80, deadline=None)
def test_a_file_that_is_not_as_it_was_is_named(place, what, data):
    slot, name = place
    drives = FLEET.memory()
    whole = drives[slot].medium.files[name]
    if what == "gone":
        del drives[slot].medium.files[name]
    elif what == "cut":
        drives[slot].put(name, whole[: data.draw(st.integers(0, len(whole) - 1))])
    elif what == "longer":
        drives[slot].put(name, whole + data.draw(st.binary(min_size=1, max_size=9)))
    else:
        drives[slot].put(name, b"" if what == "empty" else what)
    report = check(drives)
    assert named(report) == {(f"g0s{slot}", name)}
    assert report.state == "recoverable"
    kinds = {fault.kind for fault in report.faults}
    if what == "gone":
        assert kinds == {"missing"}
    elif what in {"link", "folder", "other"}:
        assert kinds == {"unexpected"}
    elif name.startswith("packs/"):
        assert kinds == {"extended" if what == "longer" else "truncated"}


@pytest.mark.parametrize("bad", [{0, 1}, {1}, {2}])
def test_a_block_of_packs_bin_of_which_pages_do_not_read_is_named_once(bad, monkeypatch):
    """It did not read: so it is called, though another page of it is rotten, before or after."""
    monkeypatch.setattr(verify_read, "WINDOW", paged.PAGE)
    fleet = fleets.make(Path("/nowhere"), seed=4, geometry=((2, 1),), lengths=[[9, 5], [7]] * 90, on_disk=False)
    drives = fleet.memory()
    broken = bytearray(drives[0].medium.files[mf.PACKS])
    for page in {0, 1, 2} - bad:
        broken[page * paged.PAGE] ^= 1
    drives[0].put(mf.PACKS, bytes(broken))
    drives[0].plan = lambda doing, name, at: (
        errno.EIO if (doing, name) == ("read", mf.PACKS) and at // paged.PAGE in bad else None
    )
    report = check(drives, allowed=fleet.allowed)
    assert [(fault.path, fault.block, fault.kind) for fault in report.faults] == [(mf.PACKS, 0, "unreadable")]


@given(st.sampled_from(NAMES), st.binary(max_size=3000))
@settings(max_examples=50, deadline=None)
def test_rubbish_in_any_file_raises_nothing(place, rubbish):
    slot, name = place
    drives = FLEET.memory()
    drives[slot].put(name, rubbish)
    report = check(drives)
    assert (f"g0s{slot}", name) in named(report)
    inspect(drives)


@given(st.binary(max_size=2000), st.sampled_from([mf.MANIFEST, mf.SIGNATURE, mf.CARD, mf.PACKS, *mf.SEAL_FILES]))
@settings(max_examples=40, deadline=None)
def test_a_drive_of_rubbish_alone_gives_only_our_errors(rubbish, name):
    drive = MemoryDrive("/mnt/x")
    drive.put(name, rubbish)
    for act in (check, inspect):
        try:
            report = act([drive])
        except SealiftError:
            continue
        assert exit_code(report) in {4, 5, 6}
        assert report.faults


@pytest.mark.long
@pytest.mark.parametrize("plant", ["fifo", "link", "sparse", "folder", "device"])
@pytest.mark.parametrize(
    "name", ["manifest.json", "drive.json", "packs.bin", "B3SUMS", "seal/seal.json", "packs/0000/0000000.tar.zst.age"]
)
def test_traps_on_a_real_filesystem_do_not_block(tmp_path, plant, name):
    fleet = fleets.make(tmp_path, seed=3, lengths=[[3000, 50], [70]])
    path = fleet.path(0, 0, name)
    path.unlink()
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * 3000)
    if plant == "fifo":
        os.mkfifo(path)
    elif plant == "link":
        path.symlink_to(secret)
    elif plant == "sparse":
        path.touch()
        os.truncate(path, 1 << 43)
    elif plant == "folder":
        path.mkdir()
    else:
        try:
            os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))
        except PermissionError:
            pytest.skip("making device nodes needs root")
    begun = time.monotonic()
    report = check(fleet.mounts, allowed=fleet.allowed)
    assert time.monotonic() - begun < 5
    assert named(report) == {("g0s0", name)}
    kinds = {fault.kind for fault in report.faults}
    assert kinds - {"rotten"} == {"extended" if plant == "sparse" else "unexpected"}
    inspect(fleet.mounts)


def test_a_packs_folder_that_is_a_link_is_not_followed(tmp_path):
    fleet = fleets.make(tmp_path, seed=3, lengths=[[3000, 50], [70]])
    packs = fleet.path(0, 0, "packs")
    packs.rename(tmp_path / "elsewhere")
    packs.symlink_to(tmp_path / "elsewhere")
    report = check(fleet.mounts, allowed=fleet.allowed)
    assert {fault.kind for fault in report.faults} == {"unexpected"}
    assert report.groups[0].readable_bytes < report.groups[0].total_bytes
    assert report.state == "recoverable"


KNOWN = {"packs", "index", "seal", "B3SUMS", "OPEN-ME.txt", "drive.json", "manifest.json", "manifest.json.sig"}
KNOWN |= {"packs.bin", "blocks.bin"}


@given(
    st.lists(
        st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=9).filter(
            lambda name: name not in {".", "..", *KNOWN}
        ),
        min_size=1,
        max_size=3,
        unique=True,
    )
)
@settings(max_examples=20, deadline=None)
def test_what_does_not_belong_is_unexpected(parts):
    drives = FLEET.memory()
    name = "/".join(parts)
    drives[0].put(name, b"x")
    report = check(drives)
    top = parts[0]
    assert named(report) == {("g0s0", top)}
    assert report.faults[0].kind == "unexpected"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("other", "a named pipe, a socket or a device"),
        ("link", "a symbolic link"),
        ("folder", "a folder"),
        (b"x", "a file"),
    ],
)
def test_what_is_unexpected_is_said_in_words(kind, words):
    drives = FLEET.memory()
    drives[0].put("strange", kind)
    assert [fault.detail for fault in check(drives).faults] == [f"{words} that the manifest does not name"]


@pytest.mark.parametrize(
    "name",
    [
        "packs/0000/0000002.parity",
        "packs/0000/0000000.tar.zst.age.part",
        "packs/0001/0001000.parity",
        "packs/00000/0000000.parity",
        "index/x",
        "seal/x",
        "drive.json.part",
    ],
)
def test_near_misses_are_unexpected(name):
    drives = FLEET.memory()
    drives[0].put(name, b"x")
    report = check(drives)
    assert [fault.kind for fault in report.faults] == ["unexpected"]
    assert name.startswith(report.faults[0].path)


def test_names_that_are_not_utf8_are_carried_in_base64(tmp_path):
    fleet = fleets.make(tmp_path, seed=3, lengths=[[3000, 50]])
    with open(os.fsencode(fleet.path(0, 0, "")) + b"/\xff\xfe", "wb"):
        pass
    report = check(fleet.mounts, allowed=fleet.allowed)
    assert [(fault.path, fault.path_b64) for fault in report.faults] == [(None, "//4=")]


def test_unexpected_files_are_counted_beyond_a_limit(monkeypatch):
    monkeypatch.setattr(verify_names, "MAX_UNEXPECTED", 5)
    drives = FLEET.memory()
    for number in range(20):
        drives[0].put(f"x{number}", b"")
    report = check(drives)
    assert len(report.faults) == 6
    assert "15 more" in report.faults[-1].detail


# Drives that do not answer


def failing(drive, plan):
    return MemoryDrive(drive.mount, drive.medium, plan)


def pack_of(slot, stripe=0):
    return mf.pack_name(stripe, mf.role_of(stripe, slot, 3), 2)


def test_a_block_that_does_not_read_is_unreadable_and_the_others_are_checked():
    drives = FLEET.memory()
    name = pack_of(2)

    def plan(operation, path, offset):
        return 5 if operation == "read" and path == name and offset in {0, BLOCK} and not second else None

    second = False
    drives[2] = failing(drives[2], plan)
    report = check(drives)
    assert {(fault.path, fault.block, fault.kind) for fault in report.faults} == {
        (name, 0, "unreadable"),
        (name, 1, "unreadable"),
    }
    assert report.groups[0].present[2].damage == [(0, 0, 1)]


def test_a_chunk_that_fails_once_is_read_again_by_block():
    drives = FLEET.memory()
    failed = []

    def plan(operation, path, offset):
        if operation == "read" and path == pack_of(2) and not failed:
            failed.append(offset)
            return 5
        return None

    drives[2] = failing(drives[2], plan)
    # The first read of the pack is the survey's, which tells the slot; the second is the check's.
    assert check(drives).state == "intact"
    assert failed


def test_a_drive_that_goes_away_is_asked_no_more():
    drives = FLEET.memory()
    gone = threading.Event()
    reads = []

    def plan(operation, path, offset):
        if operation == "read" and path == pack_of(2) and reads.count(path) > 0:
            gone.set()
        if gone.is_set():
            return 19
        if operation == "read":
            reads.append(path)
        return None

    drives[2] = failing(drives[2], plan)
    report = check(drives, final=True)
    assert {fault.kind for fault in report.faults} == {"unreadable"}
    assert {fault.drive for fault in report.faults} == {"g0s2"}
    assert {pack_of(2), pack_of(2, 1)} <= {fault.path for fault in report.faults}
    assert report.state == "recoverable"


def test_a_drive_that_fails_everywhere_costs_a_bounded_number_of_reads(monkeypatch):
    monkeypatch.setattr(verify_read, "BAD_IN_A_ROW", 3)
    monkeypatch.setattr(verify_read, "PACKS_IN_A_ROW", 2)
    fleet = fleets.make(Path("/nowhere"), seed=4, lengths=[[9 * BLOCK, 10]] + [[4 * BLOCK, 10]] * 8, on_disk=False)
    drives = fleet.memory()
    reads = []

    def plan(operation, path, offset):
        if operation == "read" and path.startswith("packs/"):
            reads.append(path)
            return 5
        return None

    drives[0] = failing(drives[0], plan)
    report = check(drives, allowed=fleet.allowed)
    packs = {fault.path for fault in report.faults}
    assert len(packs) == 9
    assert report.state == "recoverable"
    assert len(reads) < 30
    assert sum(last - first + 1 for _, first, last in report.groups[0].present[0].damage) == sum(
        -(-len(data) // BLOCK) for name, data in fleet.groups[0].files[0].items() if name.startswith("packs/")
    )


def test_errors_of_small_files_are_faults_too():
    drives = FLEET.memory()
    drives[1] = failing(
        drives[1], lambda _operation, path, _offset: 5 if path in {mf.CARD, mf.SUMS, mf.BLOCKS} else None
    )
    report = check(drives)
    assert named(report) == {("g0s1", mf.CARD), ("g0s1", mf.SUMS), ("g0s1", mf.BLOCKS)}


# Pages that several drives have


def flip(drive, name, at):
    data = bytearray(drive.medium.files[name])
    data[at] ^= 1
    drive.put(name, bytes(data))


def test_damaged_pages_are_read_from_other_drives():
    drives = FLEET.memory()
    pages = len(drives[0].medium.files[mf.BLOCKS]) // 16384
    assert pages == 3
    for slot in range(3):
        flip(drives[slot], mf.BLOCKS, slot * 16384 + 5)
        flip(drives[slot], mf.PACKS, (2 - slot) * 16384 + 5)
    report = check(drives)
    assert {(fault.drive, fault.path, fault.detail) for fault in report.faults} == {
        (f"g0s{slot}", name, f"page {page} is damaged")
        for slot in range(3)
        for name, page in ((mf.BLOCKS, slot), (mf.PACKS, 2 - slot))
    }
    assert report.state == "recoverable"
    assert report.groups[0].readable_bytes == report.groups[0].total_bytes


def test_without_block_hashes_packs_are_compared_as_a_whole():
    drives = FLEET.memory()
    for slot in range(3):
        flip(drives[slot], mf.BLOCKS, 16384 + 5)
    assert {fault.path for fault in check(drives).faults} == {mf.BLOCKS}
    flip(drives[1], pack_of(1), 3)
    report = check(drives)
    assert ("g0s1", pack_of(1)) in named(report)
    assert report.groups[0].present[1].damage == [(0, 0, 1 if len(FLEET.groups[0].packs[0][1]) > BLOCK else 0)]
    assert (report.state, report.groups[0].gone) == ("lost", [mf.BLOCKS]), "what parity gives could not be proved"


def test_without_pack_records_nothing_can_be_said_to_be_there():
    drives = FLEET.memory()
    for slot in range(3):
        flip(drives[slot], mf.PACKS, 16384 + 5)
    assert check(drives).state == "lost"
    assert check(drives[:2]).state == "unseen"


# Resuming


def test_a_run_that_ended_remembers_nothing(tmp_path):
    fleet = fleets.make(tmp_path / "f", seed=5, lengths=[[3000, 50], [70]])
    state = str(tmp_path / "state")
    first = verify(fleet.mounts, allowed=fleet.allowed, state=state)
    second = verify(fleet.mounts, allowed=fleet.allowed, state=state)
    assert first.bytes_read == second.bytes_read > 0
    assert second.bytes_resumed == 0


def test_after_an_interruption_only_what_changed_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(State, "forget", State.flush)  # as if every run had been stopped at its very end
    fleet = fleets.make(tmp_path / "f", seed=5, lengths=[[3000, 50], [70]])
    state = str(tmp_path / "state")

    def run(**options):
        return verify(fleet.mounts, allowed=fleet.allowed, state=state, **options)

    first = run()
    assert (first.state, first.bytes_resumed) == ("intact", 0)
    second = run()
    assert (second.state, second.bytes_read, second.bytes_resumed) == ("intact", 0, first.bytes_read)
    path = fleet.path(0, 0, pack_of(0))
    before = os.stat(path)
    fleets.flip(path, 9)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # a forged time does not help: ctime tells
    third = run()
    assert named(third) == {("g0s0", pack_of(0))}
    assert third.bytes_read == before.st_size
    fourth = run()
    assert named(fourth) == {("g0s0", pack_of(0))}, "what is damaged is read again, and found again"
    fleets.flip(path, 9)
    assert run(again=True).bytes_read == first.bytes_read


def test_a_pack_moved_in_from_elsewhere_is_not_believed(tmp_path, monkeypatch):
    monkeypatch.setattr(State, "forget", State.flush)
    fleet = fleets.make(tmp_path / "f", seed=5, lengths=[[3000, 3000], [70]])
    state = str(tmp_path / "state")
    verify(fleet.mounts, allowed=fleet.allowed, state=state)
    path = fleet.path(0, 0, pack_of(0))
    other = tmp_path / "other"
    other.write_bytes(b"x" * path.stat().st_size)
    other.rename(path)
    assert named(verify(fleet.mounts, allowed=fleet.allowed, state=state)) == {("g0s0", pack_of(0))}


def test_interrupted_it_goes_on(tmp_path, monkeypatch):
    fleet = fleets.make(tmp_path / "f", seed=5, lengths=[[BLOCK, BLOCK]] * 4)
    state = str(tmp_path / "state")
    seen = []
    real = verify_read.DriveCheck._check_pack

    def slowly(self, stripe, name, record):
        if stripe == 2:
            seen.append(self.slot)
            while not self._stop.is_set():
                time.sleep(0.01)
        return real(self, stripe, name, record)

    monkeypatch.setattr(verify_read.DriveCheck, "_check_pack", slowly)

    def interrupt(progress):
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        verify(fleet.mounts, allowed=fleet.allowed, state=state, progress=interrupt)
    monkeypatch.setattr(verify_read.DriveCheck, "_check_pack", real)
    report = verify(fleet.mounts, allowed=fleet.allowed, state=state)
    assert report.state == "intact"
    assert report.bytes_resumed >= 2 * 3 * BLOCK
    assert report.bytes_read >= 2 * 3 * BLOCK


def test_progress_adds_up():
    seen = []
    check(FLEET.memory(), progress=seen.append)
    assert seen[-1].done == seen[-1].total > 0
    assert sum(seen[-1].drives.values()) == seen[-1].done


def test_a_state_that_is_none_is_refused(tmp_path):
    path = tmp_path / "state"
    path.write_bytes(b"not a database, not a database, not a database" * 100)
    with pytest.raises(BadInput, match="state"):
        State(str(path))
    State(str(path), again=True).close()
    with pytest.raises(BadInput):
        State(str(tmp_path / "state" / "below"))


def test_state_of_another_version_is_refused(tmp_path):
    import sqlite3

    path = str(tmp_path / "state")
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.commit()
    database.close()
    with pytest.raises(BadInput, match="version"):
        State(path)


def test_nothing_on_a_drive_is_changed(tmp_path):
    fleet = fleets.make(tmp_path, seed=3, lengths=[[3000, 50]])

    def everything():
        return {
            str(path): (path.lstat().st_mtime_ns, path.lstat().st_atime_ns if path.is_file() else 0)
            for path in sorted(tmp_path.rglob("*"))
        }

    before = everything()
    check(fleet.mounts, allowed=fleet.allowed)
    inspect(fleet.mounts)
    assert everything() == before


def test_survey_takes_mounts_and_drives_alike(tmp_path):
    fleet = fleets.make(tmp_path, seed=3, lengths=[[3000, 50]])
    mixed = [fleet.mounts[0], LocalDrive(fleet.mounts[1]), fleet.memory()[2]]
    assert sorted(survey(mixed, allowed=fleet.allowed).groups[0].drives) == [0, 1, 2]
