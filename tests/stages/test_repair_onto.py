"""--onto says what it did and no more; what an earlier run left is proved; a drive with files is no target."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fleet as fleets
import loops

from sealift.cli.main import run as sealift
from sealift.errors import BadInput, Interrupted, NotAllHere
from sealift.formats import canonical
from sealift.formats import manifest as mf
from sealift.stages import repair as stage
from sealift.stages.inspect import inspect
from sealift.stages.verify import verify

BLOCK = mf.BLOCK
FLEET = fleets.make(
    Path("/nowhere"), seed=41, geometry=((2, 2),), lengths=[[2 * BLOCK + 9, BLOCK], [BLOCK, 7], [70, 0]], on_disk=False
)
GROUP = FLEET.groups[0]
SCRATCH = "--allow-same-filesystem"


def mend(drives, fleet=FLEET, **more):
    return stage.repair(drives, allowed=fleet.allowed, **more)


def empty(drive, mount="/mnt/new"):
    return type(drive)(mount, type(drive.medium)())


def pack(slot, stripe, group=GROUP):
    return mf.pack_name(stripe, mf.role_of(stripe, slot, group.n), group.data)


def flip(drive, name, at=3):
    data = bytearray(drive.medium.files[name])
    data[at] ^= 4
    drive.put(name, bytes(data))


def expected(drive, slot):
    card = mf.decode_card(drive.medium.files[mf.CARD])
    said = {mf.REBUILT: mf.encode_rebuilt(card.rebuilt)} if card.rebuilt else {}
    return GROUP.files[slot] | FLEET.seal_files | {mf.CARD: drive.medium.files[mf.CARD]} | said


def test_a_target_that_filled_up_is_told_with_what_is_free_and_what_is_there():
    drives = FLEET.memory()
    new = empty(drives[0])

    def stop(what, done, *_rest):
        if what == "rebuild" and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mend(drives[1:], onto=[new], events=stage.Events(progress=stop))
    there = sum(len(data) for data in new.medium.files.values())
    new.medium.capacity = there + 5
    with pytest.raises(
        BadInput, match=rf"needed for g0s0, 5 are free, and {there:,} of an earlier run are there"
    ) as told:
        mend(drives[1:], onto=[new])
    assert told.value.hint.startswith("give a larger drive; `--onto` an empty drive at least as large as the lost one")
    new.medium.capacity = 1 << 30
    assert mend(drives[1:], onto=[new]).rebuilt == ["g0s0"]


def test_a_target_given_twice_or_to_two_is_refused_and_said_so():
    drives = FLEET.memory()
    one, two = empty(drives[0], "/mnt/n1"), empty(drives[0], "/mnt/n2")
    with pytest.raises(BadInput, match=r"--onto /mnt/n1: it is given twice"):
        mend(drives[2:], onto=[("g0s0", one), ("g0s1", empty(drives[0], "/mnt/n1"))])
    with pytest.raises(BadInput, match=r"both /mnt/n1 and /mnt/n2 are given for drive g0s0"):
        mend(drives[2:], onto=[("g0s0", one), ("g0s0", two)])
    assert (one.medium.files, two.medium.files) == ({}, {})


def test_a_drive_of_the_group_given_by_mistake_is_called_that(tmp_path):
    """It is no target, and did not make one more drive that is missing (exit 6)."""
    fleet = fleets.make(tmp_path, seed=2, geometry=((2, 2),), lengths=[[BLOCK, 9]])
    (tmp_path / "new").mkdir()
    here = fleet.mounts[:2]
    for onto in ([f"g0s1={here[1]}"], [f"g0s2={tmp_path / 'new'}", f"g0s1={here[1]}"]):
        with pytest.raises(BadInput, match="holds drive g0s1 of shipment"):
            mend(here, fleet, onto=onto, allow_same_filesystem=True)
    assert list((tmp_path / "new").iterdir()) == []


def test_it_claims_nothing_of_the_drives_that_it_did_not_read():
    drives = FLEET.memory()
    spoilt = next(stripe for stripe in range(2) if mf.role_of(stripe, 3, 4) == 3)
    flip(drives[3], pack(3, spoilt))  # parity that nothing needs
    drives[2].put(mf.OPEN_ME, GROUP.files[2][mf.OPEN_ME][:40])
    del drives[1].medium.files[mf.SUMS]
    report = mend(drives[1:], onto=[empty(drives[0])])
    assert (report.scope, report.state, report.rebuilt, stage.exit_code(report)) == ("onto", "rebuilt", ["g0s0"], 0)
    assert mend(drives[1:], onto=[empty(drives[0])], dry_run=True).scope == "onto"
    assert (mend(drives).scope, mend(drives).state) == ("all", "whole")


def test_the_words_are_of_the_new_drive_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    fleet = fleets.make(tmp_path / "mnt", seed=42, geometry=((2, 1),), lengths=[[BLOCK + 3, 9]])
    (tmp_path / "signers").write_bytes(fleet.allowed_bytes)
    (tmp_path / "new").mkdir()
    signers = ["--allowed-signers", str(tmp_path / "signers")]
    fleet.path(0, 1, mf.OPEN_ME).write_bytes(b"cut")
    assert sealift(["repair", *fleet.mounts[:2], *signers, "--onto", str(tmp_path / "new"), SCRATCH]) == 0
    words = capsys.readouterr().out
    assert words.startswith("rebuilt: g0s2, each block proved against what was signed")
    assert "the other drives were read only as far as that needed" in words
    assert "everything on the drives here" not in words
    assert "next: sealift verify reads everything from the medium" in words
    assert sealift(["repair", *fleet.mounts[:2], *signers, "--onto", str(tmp_path / "new"), SCRATCH]) == 0
    words = capsys.readouterr().out
    assert words.startswith(
        "whole already: g0s2 is rebuilt, each block proved against what was signed; nothing was written"
    )
    assert sealift(["verify", *fleet.mounts[:2], str(tmp_path / "new"), *signers]) == 3


def test_what_was_seen_to_be_wrong_is_told_all_the_same():
    drives = FLEET.memory()
    drives[1].put(mf.CARD, b"{}")
    report = mend(drives[1:], onto=[empty(drives[0])])
    assert [(fault.drive, fault.path) for fault in report.left] == [("g0s1", mf.CARD)]
    assert (report.rebuilt, report.state, stage.exit_code(report)) == (["g0s0"], "damaged", 3)


def test_a_place_without_a_drive_is_told_and_keeps_no_rebuild_from_being_finished():
    drives = FLEET.memory()
    report = mend([*drives[1:], empty(drives[0], "/mnt/bare")], onto=[empty(drives[0])])
    assert (report.rebuilt, report.state, report.left, stage.exit_code(report)) == (["g0s0"], "rebuilt", [], 0)
    assert [each for each in report.notices if "/mnt/bare" in each] == [
        "no drive of sealift is at /mnt/bare, which gave nothing: there is no sealift/ folder on this drive"
    ]


def test_the_words_name_that_place_too_and_verify_does_not_say_that_something_stands_there(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    fleet = fleets.make(tmp_path / "mnt", seed=42, geometry=((2, 1),), lengths=[[BLOCK + 3, 9]])
    (tmp_path / "signers").write_bytes(fleet.allowed_bytes)
    bare, new = tmp_path / "bare", tmp_path / "new"
    bare.mkdir()
    new.mkdir()
    drives, signers = [*fleet.mounts[:2], str(bare)], ["--allowed-signers", str(tmp_path / "signers")]
    assert sealift(["repair", *drives, *signers, "--onto", str(new), SCRATCH]) == 0
    words = capsys.readouterr().out
    assert words.startswith("rebuilt: g0s2, each block proved against what was signed")
    assert f"no drive of sealift is at {bare}" in words
    assert "nothing is mounted there" in words
    assert "still wrong" not in words
    assert sealift(["verify", *drives, str(new), *signers]) == 3
    first, *rest = capsys.readouterr().out.splitlines()
    whole = "recoverable: every byte is as it was signed, and "
    assert first == f"{whole}in a place that was given there is no drive"
    assert any(f"leave {bare} away" in line for line in rest)
    (new / "sealift" / "packs" / "more").write_bytes(b"not signed")
    assert sealift(["verify", *drives, str(new), *signers]) == 3
    assert capsys.readouterr().out.startswith(f"{whole}something else stands or lies among it\n")


def half_rebuilt(drives, *, without=(mf.MANIFEST, mf.SIGNATURE)):
    new = empty(drives[0])
    mend(drives[1:], onto=[new])
    for name in without:
        del new.medium.files[name]
    return new


def test_a_drive_that_is_half_made_is_said_to_be_and_repair_goes_on():
    drives = FLEET.memory()
    new = half_rebuilt(drives, without=(mf.MANIFEST, mf.SIGNATURE, *mf.SEAL_FILES, mf.PACKS))
    for look in (verify, inspect):
        notices = look([*drives[1:], new], allowed=FLEET.allowed).notices
        assert any("g0s0 was being rebuilt here, and not to its end" in notice for notice in notices)
        assert not any("has no copy of the seal" in notice or "says that it is" in notice for notice in notices)
    assert mend([*drives[1:], new]).state == "repaired"
    assert not any("not to its end" in notice for notice in verify([*drives[1:], new], allowed=FLEET.allowed).notices)


def test_what_was_begun_as_a_drive_that_is_here_by_now_is_no_place_for_another():
    drives = FLEET.memory()
    new = half_rebuilt(drives)
    for onto in (new, ("g0s1", new)):
        with pytest.raises(BadInput, match=r"it was begun as drive g0s0, which is here by now; nothing was") as told:
            mend([drives[0], *drives[2:]], onto=[onto])
        assert "leave --onto away" not in told.value.hint
        assert "empty it (remove its sealift/ folder), and give it again" in told.value.hint
    report = verify([*drives, new], allowed=FLEET.allowed, remember=False)
    assert not any("goes on" in notice for notice in report.notices)
    new.medium.files.clear()
    assert mend([drives[0], *drives[2:]], onto=[new]).state == "rebuilt"


def test_a_dry_run_announces_what_a_drive_made_before_lacks_and_nothing_else():
    drives = FLEET.memory()
    new = half_rebuilt(drives)
    said, done = (mend(drives[1:], onto=[new], dry_run=dry) for dry in (True, False))
    assert [each.path for each in said.repaired] == [each.path for each in done.repaired] == [mf.SIGNATURE, mf.MANIFEST]
    for dry in (True, False):
        again = mend(drives[1:], onto=[new], dry_run=dry)
        assert (again.state, again.rebuilt, again.repaired, again.bytes_written) == ("rebuilt", ["g0s0"], [], 0)


@pytest.mark.parametrize("stripe", range(3))
def test_a_pack_that_is_there_is_proved_before_it_is_taken_as_done(stripe):
    drives = FLEET.memory()
    name = pack(0, stripe)
    if name not in GROUP.files[0]:
        pytest.skip("a pack of length 0 has no file")
    new = half_rebuilt(drives)
    flip(new, name, len(GROUP.files[0][name]) - 1)
    report = mend(drives[1:], onto=[new])
    assert [each.path for each in report.repaired] == [name, mf.SIGNATURE, mf.MANIFEST]
    assert new.medium.files == expected(new, 0)
    assert report.verified_bytes == sum(len(data) for path, data in GROUP.files[0].items() if path.startswith("packs/"))
    assert verify([*drives[1:], new], allowed=FLEET.allowed, remember=False).state == "intact"


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0"])
def test_a_pack_of_another_length_is_not_taken_as_done(change):
    drives = FLEET.memory()
    new = half_rebuilt(drives)
    name = pack(0, 0)
    new.put(name, change(GROUP.files[0][name]))
    report = mend(drives[1:], onto=[new])
    assert name in [each.path for each in report.repaired]
    assert new.medium.files == expected(new, 0)


@pytest.mark.parametrize("kind", ["link", "folder", "other"])
@pytest.mark.parametrize("name", [pack(0, 0), mf.SUMS, mf.MANIFEST])
def test_what_is_no_file_there_is_named_and_left(name, kind):
    drives = FLEET.memory()
    new = half_rebuilt(drives)
    new.put(name, kind)
    report = mend(drives[1:], onto=[new])
    assert [each.path for each in report.in_the_way] == [name]
    assert (new.medium.files[name], report.rebuilt, stage.exit_code(report)) == (kind, [], 3)
    del new.medium.files[name]
    assert mend(drives[1:], onto=[new]).rebuilt == ["g0s0"]
    assert new.medium.files == expected(new, 0)


def test_what_is_good_there_is_not_written_again():
    drives = FLEET.memory()
    new = half_rebuilt(drives)
    before = dict(new.medium.versions)
    report = mend(drives[1:], onto=[new])
    assert [each.path for each in report.repaired] == [mf.SIGNATURE, mf.MANIFEST]
    assert {name for name, version in new.medium.versions.items() if before.get(name) != version} == {
        mf.SIGNATURE,
        mf.MANIFEST,
    }


def test_proving_may_be_interrupted():
    drives = FLEET.memory()
    new = half_rebuilt(drives)

    def stop(what, *_):
        if what == "prove":
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="nothing was written"):
        mend(drives[1:], onto=[new], events=stage.Events(progress=stop))
    assert new.medium.holder is None
    assert mend(drives[1:], onto=[new]).rebuilt == ["g0s0"]


def test_what_its_first_write_left_is_no_reason_to_refuse_it():
    drives = FLEET.memory()
    new = empty(drives[0])
    new.put(mf.CARD + ".part", b"{")
    assert mend(drives[1:], onto=[new]).rebuilt == ["g0s0"]
    assert new.medium.files == expected(new, 0)


def test_a_drive_with_other_files_is_not_empty(tmp_path):
    fleet = fleets.make(tmp_path / "mnt", seed=43, geometry=((2, 1),), lengths=[[BLOCK + 3, 9]])
    for name in ("lost+found", "photos"):
        (tmp_path / "new" / name).mkdir(parents=True)
    with pytest.raises(BadInput, match="is not empty: it holds photos"):
        mend(fleet.mounts[1:], fleet, onto=[str(tmp_path / "new")], allow_same_filesystem=True)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["lost+found", "photos"]
    (tmp_path / "new" / "photos").rmdir()
    assert mend(fleet.mounts[1:], fleet, onto=[str(tmp_path / "new")], allow_same_filesystem=True).rebuilt == ["g0s0"]
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "sealift").write_bytes(b"")
    with pytest.raises(BadInput, match="nothing was written"):
        mend(fleet.mounts[1:], fleet, onto=[str(tmp_path / "file")], allow_same_filesystem=True)


def test_one_drive_that_no_parity_gives_back_is_missing_as_one():
    fleet = fleets.make(Path("/nowhere"), geometry=((2, 0),), on_disk=False)
    drives = fleet.memory()
    with pytest.raises(NotAllHere, match="1 of its 2 drives is missing"):
        mend(drives[1:], fleet, onto=[empty(drives[0])])


def test_what_parity_gives_and_nobody_signed_is_not_written():
    """The origin signed other bytes than its parity is over: the lost pack is lost, the rest is rebuilt."""
    fleet = fleets.make(
        Path("/nowhere"), seed=44, geometry=((2, 2),), lengths=[[2 * BLOCK] * 2, [BLOCK, 7]], on_disk=False,
        off=frozenset([(0, 0, 1)]),
    )  # fmt: skip
    drives = fleet.memory()
    assert verify(drives, allowed=fleet.allowed, remember=False).state == "intact"
    slot = mf.slot_of(0, 0, 4)
    new = empty(drives[0])
    report = mend(drives[:slot] + drives[slot + 1 :], fleet, onto=[new])
    assert [(each.path, each.first, each.last) for each in report.lost] == [(pack(slot, 0), 1, 1)]
    assert (report.rebuilt, report.state, stage.exit_code(report)) == ([], "lost", 6)
    assert pack(slot, 0) not in new.medium.files
    assert new.medium.files[pack(slot, 1)] == fleet.groups[0].files[slot][pack(slot, 1)]
    flip(drives[slot], pack(slot, 0), BLOCK + 5)
    before = bytes(drives[slot].medium.files[pack(slot, 0)])
    report = mend(drives, fleet)
    assert (report.state, stage.exit_code(report), len(report.lost)) == ("lost", 4, 1)
    assert drives[slot].medium.files[pack(slot, 0)] == before


def test_what_stands_in_the_way_on_the_new_drive_is_told():
    drives = FLEET.memory()
    new = half_rebuilt(drives)
    name = pack(0, 0)
    new.put(name, "folder")
    report = mend(drives[1:], onto=[new])
    assert (report.rebuilt, report.missing, stage.exit_code(report)) == ([], ["g0s0"], 3)
    assert [(each.mount, each.path) for each in report.in_the_way] == [("/mnt/new", name)]
    new.medium.files.pop(name)
    assert mend(drives[1:], onto=[new]).rebuilt == ["g0s0"]
    card = mf.decode_card(new.medium.files[mf.CARD])
    assert new.medium.files == expected(new, 0) | {mf.CARD: canonical.encode(card)}


@pytest.fixture
def unmounted(tmp_path):
    """Three drives on folders, and an empty folder where a drive might be mounted."""
    made = fleets.make(tmp_path / "mnt", seed=45, geometry=((2, 1),), lengths=[[BLOCK + 3, 9]])
    (tmp_path / "signers").write_bytes(made.allowed_bytes)
    (tmp_path / "new").mkdir()
    return made


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_mount_point_on_which_nothing_is_mounted_is_not_written(unmounted, tmp_path, capsys, more):
    new = tmp_path / "new"
    words = ["repair", *unmounted.mounts[:2], "--allowed-signers", str(tmp_path / "signers"), "--onto", str(new), *more]
    assert sealift(words) == 1
    told = capsys.readouterr().err
    assert f"--onto {new}: nothing is mounted there: it is a folder of the filesystem of /" in told
    assert "hint: mount the new drive" in told
    assert SCRATCH in told
    assert list(new.iterdir()) == []
    with pytest.raises(BadInput, match="nothing is mounted there"):
        mend(unmounted.mounts[:2], unmounted, onto=[f"g0s2={new}"])


def test_a_mounted_drive_is_taken_and_its_folder_is_not(unmounted, tmp_path):
    with loops.loops(tmp_path) as machine:
        new = machine.memory("mounted", 16 << 20)
        assert mend(unmounted.mounts[:2], unmounted, onto=[str(new)], dry_run=True).repaired_files
        loops.run("mount", "--bind", new, tmp_path / "new")
        machine.also_unmount(tmp_path / "new")
        report = mend(unmounted.mounts[:2], unmounted, onto=[str(new)])
        assert (report.rebuilt, report.notices) == (["g0s2"], [])
        loops.run("umount", new)
        with pytest.raises(BadInput, match="nothing is mounted there"):
            mend(unmounted.mounts[:2], unmounted, onto=[str(new)])


def test_of_several_missing_drives_none_is_taken_without_saying_which(tmp_path, capsys):
    drives = FLEET.memory()[:2]
    new = empty(drives[0])
    with pytest.raises(BadInput, match=r"2 drives are missing.*: g0s2, g0s3; nothing was written") as told:
        mend(drives, onto=[new])
    assert told.value.hint == "say which is lost: --onto g0s2=/mnt/new"
    assert not new.exists()
    made = fleets.make(tmp_path / "mnt", seed=7, geometry=((2, 2),), lengths=[[9, 8]])
    (tmp_path / "new").mkdir()
    (tmp_path / "signers").write_bytes(made.allowed_bytes)
    known = ["--allowed-signers", str(tmp_path / "signers"), "--allow-same-filesystem", "--onto"]
    assert sealift(["repair", *made.mounts[:2], *known, f"g0s3={tmp_path / 'new'}"]) == 3
    assert "rebuilt: g0s3" in capsys.readouterr().out
    (tmp_path / "point").mkdir()
    assert sealift(["repair", *made.mounts[:3], str(tmp_path / "point"), *known[:2]]) == 3
    out = capsys.readouterr().out
    assert "there is no sealift/ folder, and nothing is mounted there" in out
    assert f"next: leave {tmp_path / 'point'} away, or mount the drive that belongs there" in out
    assert sealift(["verify", *made.mounts[:3], str(tmp_path / "point"), *known[:2]]) == 6
    out = capsys.readouterr().out
    assert "missing sealift/ (there is no sealift/ folder, and nothing is mounted there)" in out
    assert f"next: leave {tmp_path / 'point'} away, or mount the drive that belongs there" in out


def test_a_drive_on_the_filesystem_of_another_is_not_taken():
    drives = FLEET.memory()
    new = empty(drives[0])
    new.filesystem = drives[1].filesystem
    with pytest.raises(BadInput, match=r"on the same filesystem as /mnt/g0s1, so losing one loses both"):
        mend(drives[1:], onto=[new])
    assert new.medium.files == {}
    notices = []
    events = stage.Events(notice=notices.append)
    assert mend(drives[1:], onto=[new], allow_same_filesystem=True, events=events).rebuilt == ["g0s0"]
    assert notices == ["/mnt/new is on the same filesystem as /mnt/g0s1: what fails one fails both"]


def test_beyond_parity_it_does_not_promise_that_repair_mends_the_others(tmp_path, capsys):
    fleet = fleets.make(tmp_path / "mnt", seed=46, geometry=((2, 1),), lengths=[[BLOCK + 3, 9], [70, 5]])
    (tmp_path / "signers").write_bytes(fleet.allowed_bytes)
    (tmp_path / "new").mkdir()
    words = ["repair", *fleet.mounts[:2], "--allowed-signers", str(tmp_path / "signers")]
    words += ["--onto", str(tmp_path / "new"), SCRATCH]
    promise = "without --onto mends what was met"
    fleets.flip(fleet.path(0, 0, mf.CARD), 9)
    assert sealift(words) == 3
    assert promise in capsys.readouterr().out
    fleet.write()
    (tmp_path / "new2").mkdir()
    words[-2] = str(tmp_path / "new2")
    fleets.flip(fleet.path(0, 0, pack(0, 0, fleet.groups[0])), 9)
    for _ in range(2):
        assert sealift(words) == 6
        said = capsys.readouterr().out
        assert promise not in said
        assert "begun, and not whole yet: g0s2" in said
        assert "missing: " not in said
        wanted = "mount the medium on which g0s2 was packed, where that is found (then without --onto), or --fetch-list"
        assert f"next: {wanted} says what must be sent again" in said


def test_a_half_made_drive_whose_card_is_rotten_is_not_said_to_be_of_no_use():
    drives = FLEET.memory()
    new = half_rebuilt(drives)
    flip(new, mf.CARD)
    with pytest.raises(BadInput, match=r"files of which no drive.json tells") as told:
        mend(drives[1:], onto=[new])
    assert "`sealift repair` of all drives, this one among them and without --onto" in told.value.hint
    assert mend([*drives[1:], new]).state == "repaired"
    assert verify([*drives[1:], new], allowed=FLEET.allowed, remember=False).state == "intact"
    del new.medium.files[mf.REBUILT]
    flip(new, mf.CARD)
    with pytest.raises(BadInput) as told:
        mend(drives[1:], onto=[new])
    assert told.value.hint.startswith("give an empty drive")


def test_a_whole_drive_is_not_made_again_though_another_is_missing():
    """It was asked which of the two is lost, and refused whatever was answered."""
    drives = FLEET.memory()
    for onto in (drives[0], ("g0s0", drives[0])):
        with pytest.raises(BadInput, match=r"it holds drive g0s0 of shipment \w+ already; nothing") as told:
            mend([drives[0], drives[1], drives[3]], onto=[onto])
        assert told.value.hint == "give an empty drive to --onto, and /mnt/g0s0 among the others"


@pytest.mark.parametrize(
    ("name", "words"),
    [("g0s1", "drive g0s1 is not missing"), ("g9s3", "there is no drive g9s3"), (None, "xx is no drive's id")],
)
def test_an_id_that_cannot_be_made_is_told_as_what_it_is(name, words, tmp_path):
    drives = FLEET.memory()
    onto = f"xx={tmp_path}" if name is None else (name, empty(drives[0]))
    with pytest.raises(BadInput, match=words):
        mend(drives[1:], onto=[onto])


def test_the_hint_is_about_the_id_that_was_asked_for():
    fleet = fleets.make(Path("/nowhere"), seed=9, geometry=((2, 1), (2, 1)), lengths=[[BLOCK, 9]], on_disk=False)
    here = fleet.memory()[:2]
    hints = {
        "g9s9": "missing here is g0s2: --onto g0s2=/mnt/new",
        "g1s0": "give 2 of its other drives among the mounts: it is made from these",
        "g0s1": "leave --onto away to mend the drives that are here; `sealift inspect` says what is missing",
    }
    for name, hint in hints.items():
        with pytest.raises(BadInput) as told:
            mend(here, fleet, onto=[(name, empty(here[0]))])
        assert told.value.hint == hint
