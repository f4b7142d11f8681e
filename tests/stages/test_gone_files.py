"""A file that every drive carries, and none has: verdicts count it, say which it is, and where another copy is."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fleet as fleets
import shipments

from sealift.cli.main import main
from sealift.cli.main import run as sealift
from sealift.errors import Lost, NotAllHere
from sealift.formats import manifest as mf
from sealift.formats import sshsig
from sealift.reading.origin_copies import PATTERNS, OriginCopies, name_of
from sealift.reading.survey import survey
from sealift.reading.trust import load_seal
from sealift.stages import repair as stage
from sealift.stages.inspect import inspect
from sealift.stages.verify import verify
from sealift.stages.verify_report import exit_code, to_json

BLOCK = mf.BLOCK
INDEXES = sorted(PATTERNS)


@pytest.fixture(autouse=True)
def _state(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


@pytest.fixture
def fleet(tmp_path):
    made = fleets.make(tmp_path / "mnt", seed=91, geometry=((2, 2),), lengths=[[BLOCK + 3, 9], [70, 5]])
    (tmp_path / "signers").write_bytes(made.allowed_bytes)
    (tmp_path / "sent").mkdir()
    (tmp_path / "sent" / "s.seal").write_bytes(made.bundle)
    return made


def spoil(fleet, name, how, slots=range(4)):
    for slot in slots:
        path = fleet.path(0, slot, name)
        if how == "zero":
            path.write_bytes(bytes(path.stat().st_size))
        else:
            path.unlink() if how == "remove" else fleets.flip(path, 8 * 5)


def send(fleet, tmp_path, name):
    """The origin's copy beside the seal."""
    (tmp_path / "sent" / name_of(0, name)).write_bytes(fleet.groups[0].files[0][name])
    return OriginCopies(str(tmp_path / "sent" / "s.seal"))


def see(fleet, mounts=None, **more):
    mounts = mounts or fleet.mounts
    given = {"allowed": fleet.allowed, **more}
    return [verify(mounts, remember=False, **given), inspect(mounts, **given)]


def outcome(capsys, words):
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in words])
    return ended.value.code, " ".join("".join(capsys.readouterr()).split())


def say(fleet, folder, capsys, command, code):
    given = ["--seal", folder / "sent" / "s.seal", "--allowed-signers", folder / "signers"]
    ended, said = outcome(capsys, [command, *fleet.mounts, *given])
    assert ended == code
    return said


def harm(data):
    """One digit of a digest, so that it is a manifest still."""
    at = data.index(b'"blake3": "') + 12
    return data[:at] + (b"1" if data[at : at + 1] == b"0" else b"0") + data[at + 1 :]


@pytest.mark.parametrize("how", [harm, lambda data: data[:200], lambda _data: b"", lambda data: data + b" "])
@pytest.mark.parametrize("command", ["verify", "inspect", "repair"])
def test_a_manifest_that_no_drive_has_as_it_was_sealed(fleet, tmp_path, capsys, command, how):
    for slot in range(4):
        path = fleet.path(0, slot, mf.MANIFEST)
        path.write_bytes(how(path.read_bytes()))
    said = say(fleet, tmp_path, capsys, command, 5)
    assert "manifest.json on" in said
    assert "is not the one that the seal names, and nobody signed it: damaged, or altered" in said
    assert (
        "hint: put manifest.json and manifest.json.sig (and packs.bin and blocks.bin, where they are gone, too)" in said
    )


@pytest.mark.parametrize("remove", [False, True])
def test_a_signature_that_no_drive_has(fleet, tmp_path, capsys, remove):
    for slot in range(4):
        path = fleet.path(0, slot, mf.SIGNATURE)
        path.unlink() if remove else fleets.flip(path, 800)
    where = "put manifest.json.sig as the origin keeps it (in its state folder, groups/0000/closed/)"
    for command in ("inspect", "verify"):
        said = say(fleet, tmp_path, capsys, command, 5)
        assert said.startswith("UNSIGNED: no drive here has the signature of a manifest, which counts, since the seal")
        assert said.count("next: ") == said.count(where) == 1, said
    fleet.path(0, 1, mf.OPEN_ME).write_bytes(b"cut")
    for done in ("what could be mended was", "nothing was written"):
        said = say(fleet, tmp_path, capsys, "repair", 5)
        first = (
            "UNSIGNED: no drive here has the signature of a manifest, which counts, since the seal that holds names it;"
        )
        assert said.startswith(f"{first} {done} ")
        assert said.count(where) == 1
    report = stage.repair(fleet.mounts, allowed=fleet.allowed, seal=fleet.seal_files, dry_run=True)
    assert (report.signature.ok, stage.exit_code(report)) == (False, 5)
    fleet.path(0, 2, mf.SIGNATURE).write_bytes(fleet.groups[0].files[2][mf.SIGNATURE])
    say(fleet, tmp_path, capsys, "repair", 0)
    assert verify(fleet.mounts, allowed=fleet.allowed, remember=False).state == "intact"


def test_without_seal_and_signatures_the_seal_is_asked_for(fleet, tmp_path, capsys):
    for slot in range(4):
        fleet.path(0, slot, mf.SIGNATURE).unlink()
        for name in mf.SEAL_FILES:
            fleet.path(0, slot, name).unlink()
    code, said = outcome(capsys, ["verify", *fleet.mounts, "--allowed-signers", tmp_path / "signers"])
    assert (code, "next: give the seal that was sent ahead (--seal FILE)" in said) == (5, True), said


def test_a_seal_of_which_every_drive_lacks_a_part(fleet, tmp_path, capsys):
    for slot, name in enumerate(mf.SEAL_FILES[:4]):
        fleet.path(0, slot, name).unlink()
    code, said = outcome(capsys, ["repair", *fleet.mounts, "--allowed-signers", tmp_path / "signers"])
    assert (code, said.count("give the file that was sent ahead (--seal FILE)")) == (6, 1)
    code, said = outcome(capsys, ["verify", *fleet.mounts, "--allowed-signers", tmp_path / "signers"])
    assert (code, said.count("give the file that was sent ahead (--seal FILE)")) == (6, 1)
    say(fleet, tmp_path, capsys, "repair", 0)
    assert verify(fleet.mounts, allowed=fleet.allowed, remember=False).state == "intact"


@pytest.mark.parametrize("name", mf.SEAL_FILES)
def test_a_seal_that_lacks_a_file_is_none_and_nothing_is_refused_for_it(fleet, tmp_path, capsys, name):
    for slot in range(4):
        fleet.path(0, slot, name).unlink()
    where = f"next: no drive here has the whole seal ({name} is lacking or damaged): give the file that was sent ahead"
    first = {
        "inspect": "unseen: ",
        "verify": "unseen: ",
        "repair": "not whole yet: no drive here has the whole seal, and all else is as it was signed still wrong: ",
    }
    for command, words in first.items():
        code, said = outcome(capsys, [command, *fleet.mounts, "--allowed-signers", tmp_path / "signers"])
        assert (code, said.startswith(words), said.count(where)) == (6, True, 1), said
        assert "HOLD" not in said
    why = survey(fleet.mounts, allowed=fleet.allowed).why_no_seal
    assert why == f"no seal: none was given, and those on these drives lack {name}"
    say(fleet, tmp_path, capsys, "repair", 0)


def test_a_whole_seal_that_nobody_trusted_signed_is_refused_by_all(fleet, tmp_path, capsys):
    other = sshsig.sign_ed25519(fleet.seal_files[mf.SEAL_FILES[0]], fleets.key(1, "nobody"), mf.NAMESPACE)
    for slot in range(4):
        fleet.path(0, slot, mf.SEAL_FILES[1]).write_bytes(other)
    fleet.path(0, 1, mf.OPEN_ME).write_bytes(b"cut")
    for command in ("inspect", "verify", "repair"):
        code, said = outcome(capsys, [command, *fleet.mounts, "--allowed-signers", tmp_path / "signers"])
        first = "REFUSED: a signature or the seal does not hold, by the allowed signers"
        assert (code, said.startswith(first)) == (5, True), said
        assert "was not read" not in said, "every manifest is signed, and all of it was"
        assert "next: see whose signatures --allowed-signers names" in said
    assert fleet.path(0, 1, mf.OPEN_ME).read_bytes() == fleet.groups[0].files[1][mf.OPEN_ME], (
        "it is mended all the same"
    )


@pytest.mark.parametrize("name", INDEXES)
def test_without_an_index_nothing_is_called_recoverable(fleet, name):
    spoil(fleet, name, "remove")
    for report in see(fleet):
        assert (report.state, exit_code(report), report.groups[0].gone) == ("lost", 4, [name])
    report = stage.repair(fleet.mounts, allowed=fleet.allowed)
    assert (report.state, stage.exit_code(report)) == ("lost", 4)
    assert [(each.group, each.path, each.sent) for each in report.gone] == [(0, name, name_of(0, name))]


def test_rot_of_every_copy_is_the_same_and_one_good_copy_is_enough(fleet):
    spoil(fleet, mf.MEMBERS_INDEX, "flip", slots=range(3))
    assert see(fleet)[0].state == "recoverable"
    spoil(fleet, mf.MEMBERS_INDEX, "flip", slots=[3])
    assert see(fleet)[0].state == "lost"
    fleet.write()
    spoil(fleet, mf.MEMBERS_INDEX, "flip", slots=range(3))
    assert stage.repair(fleet.mounts, allowed=fleet.allowed).state == "repaired"


def test_drives_that_are_yet_to_come_may_have_it(fleet):
    spoil(fleet, mf.MEMBERS_INDEX, "flip", slots=range(2))
    for report in see(fleet, fleet.mounts[:2]):
        assert report.state == "unseen" if report.groups[0].gone else report.state == "recoverable"
    assert see(fleet, fleet.mounts[:2])[0].groups[0].gone == [mf.MEMBERS_INDEX]
    assert see(fleet, fleet.mounts[:2], final=True)[0].state == "lost"
    report = stage.repair(fleet.mounts[:2], allowed=fleet.allowed)
    assert (report.state, stage.exit_code(report)) == ("lost", 6)


def test_another_hosts_report_tells_it_too(fleet):
    spoil(fleet, mf.MEMBERS_INDEX, "flip")
    part = json.dumps(to_json(verify(fleet.mounts[2:], allowed=fleet.allowed, remember=False))).encode()
    report = verify(fleet.mounts[:2], allowed=fleet.allowed, remember=False, parts=[("other.json", part)])
    assert (report.state, report.groups[0].gone) == ("lost", [mf.MEMBERS_INDEX])


@pytest.mark.parametrize("name", INDEXES)
def test_the_origins_copy_beside_the_seal_is_taken(fleet, tmp_path, name):
    spoil(fleet, name, "remove")
    origin = send(fleet, tmp_path, name)
    for report in see(fleet, origin=origin):
        assert (report.state, report.groups[0].gone, report.groups[0].spare) == ("recoverable", [], [name])
    dry = stage.repair(fleet.mounts, allowed=fleet.allowed, origin=origin, dry_run=True)
    done = stage.repair(fleet.mounts, allowed=fleet.allowed, origin=origin)
    assert (done.state, done.repaired_files, done.gone) == ("repaired", 4, [])
    assert (dry.repaired_files, dry.bytes_written) == (done.repaired_files, done.bytes_written)
    assert see(fleet)[0].state == "intact"


@pytest.mark.parametrize("how", ["other", "longer", "folder", "fifo"])
def test_what_is_not_the_signed_file_is_not_taken(fleet, tmp_path, how):
    spoil(fleet, mf.MEMBERS_INDEX, "remove")
    place = tmp_path / "sent" / name_of(0, mf.MEMBERS_INDEX)
    data = fleet.groups[0].files[0][mf.MEMBERS_INDEX]
    if how == "folder":
        place.mkdir()
    elif how == "fifo":
        os.mkfifo(place)
    else:
        place.write_bytes(data + b"x" if how == "longer" else bytes([data[0] ^ 1]) + data[1:])
    origin = OriginCopies(str(tmp_path / "sent" / "s.seal"))
    assert see(fleet, origin=origin)[0].state == "lost"
    report = stage.repair(fleet.mounts, allowed=fleet.allowed, origin=origin)
    assert (report.state, report.repaired) == ("lost", [])
    assert not fleet.path(0, 0, mf.MEMBERS_INDEX).exists()
    assert not list(fleet.root.rglob("*.part"))


def test_the_commands_name_the_file_and_how_to_give_it(fleet, tmp_path, capsys):
    spoil(fleet, mf.MEMBERS_INDEX, "remove")
    known = ["--allowed-signers", str(tmp_path / "signers"), "--seal", str(tmp_path / "sent" / "s.seal")]
    for command in ("verify", "inspect", "repair"):
        assert sealift([command, *fleet.mounts, *known]) == 4
        said = capsys.readouterr().out
        assert said.startswith("LOST, unless ")
        assert "everything can be recovered" not in said
        assert "all that is still wrong can be recovered" not in said
        assert "no drive here has index/members.parquet.age of group 0" in said
        assert "members-g0000.parquet.age" in said
        assert "`sealift repair MNT... --seal FILE`" in said
    assert sealift(["repair", *fleet.mounts, *known, "--fetch-list"]) == 0
    assert "no drive here has index/members.parquet.age of group 0, which is no pack" in capsys.readouterr().err
    send(fleet, tmp_path, mf.MEMBERS_INDEX)
    assert sealift(["verify", *fleet.mounts, *known]) == 3
    said = capsys.readouterr().out
    assert said.startswith(
        "recoverable: what is damaged or gone can be had from what is left, and from what lies beside"
    )
    assert "members-g0000.parquet.age beside the seal is that file: `sealift repair` with the same --seal" in said
    assert "rebuild what is damaged as they read" not in said
    assert sealift(["repair", *fleet.mounts, *known]) == 0
    assert sealift(["verify", *fleet.mounts, *known, "--again"]) == 0


def test_without_packs_bin_it_is_named_and_no_pack_is_blamed(fleet, tmp_path, capsys):
    spoil(fleet, mf.PACKS, "remove")
    known = ["--allowed-signers", str(tmp_path / "signers")]
    for command in ("verify", "inspect", "repair"):
        assert sealift([command, *fleet.mounts, *known]) == 4
        said = capsys.readouterr().out
        assert said.startswith("LOST, unless ")
        assert "PULL" not in said
        assert "0 B recoverable" not in said
        assert "cannot give all of its contents" not in said
        assert "no drive here has all of packs.bin of group 0" in said
        assert "groups/0000/closed/packs.bin" in said
        assert "fetch-list" not in said
    assert sealift(["repair", *fleet.mounts, *known, "--fetch-list"]) == 4
    told = capsys.readouterr()
    assert "no drive here has all of packs.bin of group 0" in told.err
    assert told.out == ""
    with pytest.raises(Lost):
        stage.fetch(fleet.mounts, allowed=fleet.allowed)
    with pytest.raises(NotAllHere):
        stage.fetch(fleet.mounts[1:], allowed=fleet.allowed)
    fleet.path(0, 2, mf.PACKS).write_bytes(fleet.groups[0].files[2][mf.PACKS])
    assert stage.repair(fleet.mounts, allowed=fleet.allowed).state == "repaired"
    assert see(fleet)[0].state == "intact"


def test_without_blocks_bin_no_data_is_lost_and_not_all_can_be_recovered(fleet, tmp_path, capsys):
    spoil(fleet, mf.BLOCKS, "remove")
    assert sealift(["repair", *fleet.mounts, "--allowed-signers", str(tmp_path / "signers")]) == 3
    said = capsys.readouterr().out
    assert said.startswith("not whole yet: no data is lost, and of a file named below no drive here has a whole copy")
    assert "still wrong: g0s0 blocks.bin: missing, no drive here has it whole" in said


@pytest.mark.parametrize("how", ["remove", "zero"])
def test_without_blocks_bin_what_is_damaged_is_not_recoverable(fleet, tmp_path, capsys, how):
    spoil(fleet, mf.BLOCKS, how)
    assert see(fleet)[0].state == "recoverable", "every byte of the packs is there"
    slot = mf.slot_of(0, 0, 4)
    fleets.flip(fleet.path(0, slot, mf.pack_name(0, 0, 2)), 8 * 5)
    report = see(fleet)[0]
    assert (report.state, exit_code(report), report.groups[0].gone) == ("lost", 4, [mf.BLOCKS])
    known = ["--allowed-signers", str(tmp_path / "signers")]
    for command in ("verify", "repair"):
        assert sealift([command, *fleet.mounts, *known]) == 4
        said = capsys.readouterr().out
        assert said.startswith("LOST, unless ")
        assert "everything can be recovered" not in said
        assert "rebuild what is damaged as they read" not in said
        assert "fetch-list" not in said
        assert "met while rebuilding" not in said
        assert "next: no drive here has all of blocks.bin of group 0, and without it nothing that is damaged" in said
        assert "groups/0000/closed/blocks.bin" in said
    report = stage.repair(fleet.mounts, allowed=fleet.allowed)
    assert report.lost == []
    assert [each.path for each in report.left if each.path.startswith("packs")] == [mf.pack_name(0, 0, 2)]
    assert sealift(["repair", *fleet.mounts, *known, "--fetch-list"]) == 4
    told = capsys.readouterr()
    assert (told.out, "groups/0000/closed/blocks.bin" in told.err) == ("", True)
    fleet.path(0, 1, mf.BLOCKS).write_bytes(fleet.groups[0].files[1][mf.BLOCKS])
    assert stage.repair(fleet.mounts, allowed=fleet.allowed).state == "repaired"
    assert see(fleet)[0].state == "intact"


def test_without_blocks_bin_no_new_drive_is_made_and_no_pack_is_blamed(fleet, tmp_path, capsys):
    (tmp_path / "new").mkdir()
    spoil(fleet, mf.BLOCKS, "remove")
    known = ["--allowed-signers", str(tmp_path / "signers"), "--onto", f"g0s2={tmp_path / 'new'}"]
    assert sealift(["repair", *fleet.mounts[:2], *known, "--allow-same-filesystem"]) == 6
    said = capsys.readouterr().out
    assert "lost:" not in said
    assert "rotten" not in said
    assert "groups/0000/closed/blocks.bin" in said


def test_a_new_drive_is_not_said_to_lose_nothing(fleet, tmp_path, capsys):
    (tmp_path / "new").mkdir()
    spoil(fleet, mf.MEMBERS_INDEX, "flip")
    known = ["--allowed-signers", str(tmp_path / "signers"), "--onto", str(tmp_path / "new"), "--allow-same-filesystem"]
    assert sealift(["repair", *fleet.mounts[1:], *known]) == 6
    said = capsys.readouterr().out
    assert "nothing is lost" not in said
    assert "members-g0000.parquet.age" in said
    send(fleet, tmp_path, mf.MEMBERS_INDEX)
    assert sealift(["repair", *fleet.mounts[1:], *known, "--seal", str(tmp_path / "sent" / "s.seal")]) == 0
    assert "rebuilt: g0s0" in capsys.readouterr().out


def test_a_dry_run_foretells_which_files_a_new_drive_gets(tmp_path):
    for sealed in (True, False):
        made = fleets.make(tmp_path / str(sealed), seed=92, lengths=[[BLOCK, 9]], with_seal=sealed)
        (tmp_path / str(sealed) / "new").mkdir()
        given = {"onto": [str(tmp_path / str(sealed) / "new")], "allowed": made.allowed, "allow_same_filesystem": True}
        dry = stage.repair(made.mounts[1:], **given, dry_run=True)
        done = stage.repair(made.mounts[1:], **given)
        assert done.rebuilt == ["g0s0"]
        assert {each.path for each in dry.repaired} == {each.path for each in done.repaired}
        assert dry.repaired_files == done.repaired_files


def test_a_manifest_that_is_gone_from_all_drives_is_asked_for_where_the_origin_has_it(fleet):
    seal = load_seal(str(fleet.root.parent / "sent" / "s.seal"))
    for name in (mf.MANIFEST, mf.SIGNATURE):
        spoil(fleet, name, "remove")
    for mounts, others in ((fleet.mounts, False), (fleet.mounts[1:], True)):
        for look in (verify, stage.repair):
            with pytest.raises(NotAllHere, match=r"manifest.json is gone from each of .* that was sealed") as told:
                look(mounts, allowed=fleet.allowed, seal=seal)
            assert "groups/0000/closed/" in told.value.hint
            assert mf.SIGNATURE in told.value.hint
            assert ("mount the other drives" in told.value.hint) == others
    for name in (mf.MANIFEST, mf.SIGNATURE):
        fleet.path(0, 1, name).write_bytes(fleet.groups[0].files[1][name])
    assert stage.repair(fleet.mounts, allowed=fleet.allowed, seal=seal).state == "repaired"
    assert see(fleet)[0].state == "intact"


@pytest.mark.parametrize("gone", [False, True])
def test_a_manifest_that_is_damaged_on_all_drives_is_not_called_gone(tmp_path, gone):
    fleet = fleets.make(tmp_path, seed=94, with_seal=False)
    for mount in fleet.mounts:
        path = Path(mount, "sealift", mf.MANIFEST)
        path.write_bytes(path.read_bytes()[:300])
    if gone:
        path.unlink()
    what = "damaged or gone" if gone else "damaged"
    with pytest.raises(NotAllHere, match=rf"says what belongs there: manifest\.json is {what}, and nothing"):
        stage.repair(fleet.mounts, allowed=fleet.allowed)


def test_drives_that_lost_all_that_says_what_they_are_ask_for_all_of_it_at_once(fleet):
    """All small files of all drives are gone: what the origin keeps is named whole, and of that what is lacking."""
    wanted = (mf.MANIFEST, mf.SIGNATURE, mf.PACKS, mf.BLOCKS)
    for mount in fleet.mounts:
        for path in Path(mount, "sealift").iterdir():
            if path.name != "packs":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(NotAllHere, match=r"says what belongs there: manifest.json is gone") as told:
        stage.repair(fleet.mounts, allowed=fleet.allowed)
    assert all(name in told.value.hint for name in wanted)
    for name in wanted[:2]:
        fleet.path(0, 0, name).write_bytes(fleet.groups[0].files[0][name])
    report = stage.repair(fleet.mounts, allowed=fleet.allowed)
    assert ([each.path for each in report.gone], stage.exit_code(report)) == ([mf.PACKS, mf.BLOCKS], 6)
    for name in wanted[2:]:
        fleet.path(0, 0, name).write_bytes(fleet.groups[0].files[0][name])
    report = stage.repair(fleet.mounts, allowed=fleet.allowed)
    assert {each.path for each in report.gone} == set(PATTERNS)
    assert {each.path for each in report.repaired} >= {mf.CARD, mf.SUMS, mf.OPEN_ME}


@pytest.mark.parametrize("sealed", [True, False])
def test_packs_of_a_group_that_lost_all_that_names_them_are_not_called_rotten(tmp_path, capsys, sealed):
    made = fleets.make(tmp_path / "mnt", seed=93, geometry=((2, 1),) * 2, lengths=[[BLOCK, 9]], with_seal=sealed)
    (tmp_path / "signers").write_bytes(made.allowed_bytes)
    bare = [mount for mount in made.mounts if "/g1" in mount]
    for mount in bare:
        for path in Path(mount, "sealift").iterdir():
            if path.name != "packs":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    for command, code in (("verify", 6), ("inspect", 6), ("repair", 6)):
        assert sealift([command, *made.mounts, "--allowed-signers", str(tmp_path / "signers")]) == code
        told = " ".join(capsys.readouterr().out.split())
        assert "rotten" not in told
        assert "can be recovered" not in told
        assert "put manifest.json, manifest.json.sig, packs.bin and blocks.bin, as the origin keeps them" in told
    for name in (mf.MANIFEST, mf.SIGNATURE, mf.PACKS, mf.BLOCKS):
        made.path(1, 0, name).write_bytes(made.groups[1].files[0][name])
    stage.repair(made.mounts, allowed=made.allowed)
    assert mf.CARD in os.listdir(Path(bare[0], "sealift"))


@pytest.mark.long
@pytest.mark.parametrize("name", [mf.PACKS, mf.BLOCKS])
def test_unpack_says_which_file_every_drive_has_lost(tmp_path, capsys, name):
    origin = shipments.Origin(tmp_path / "origin", shipments.corpus(tmp_path / "source"), 2, 1)
    origin.pack()
    for mount in origin.mounts:
        Path(mount, "sealift", name).unlink()
    pack = min(Path(origin.mounts[0]).rglob("*.tar.zst.age"))
    fleets.flip(pack, 8 * (pack.stat().st_size // 2))
    (tmp_path / "s.seal").write_bytes(shipments.seals.encode_bundle(origin.seal()))
    given = ["--allowed-signers", str(origin.root / "allowed"), "--identity", str(origin.root / "identity")]
    given += ["--seal", str(tmp_path / "s.seal")]
    assert sealift(["unpack", *origin.mounts, *given, "--to", str(tmp_path / "out")]) == 4
    told = capsys.readouterr().err
    assert f"hint: no drive here has all of {name} of a group: put a copy as sealift/{name}" in told
    assert f"groups/GROUP/closed/{name}" in told
    assert "where a drive or a host did not answer" not in told


@pytest.mark.long
def test_a_whole_voyage_without_an_index_ends_well(tmp_path, capsys):
    """Unpack names the file and repair; with it beside the seal the drives are whole, and all is unpacked."""
    origin = shipments.Origin(tmp_path / "origin", shipments.corpus(tmp_path / "source"), 2, 1)
    origin.pack()
    sent = tmp_path / "sent"
    sent.mkdir()
    for name in PATTERNS:
        (sent / name_of(0, name)).write_bytes(Path(origin.mounts[0], "sealift", name).read_bytes())
    (sent / "s.seal").write_bytes(shipments.seals.encode_bundle(origin.seal()))
    for mount in origin.mounts:
        Path(mount, "sealift", mf.MEMBERS_INDEX).unlink()
    given = ["--allowed-signers", str(origin.root / "allowed"), "--seal", str(sent / "s.seal")]
    keys = ["--identity", str(origin.root / "identity")]
    assert sealift(["unpack", *origin.mounts, *given, *keys, "--to", str(tmp_path / "out")]) == 4
    told = capsys.readouterr().err
    assert "from the origin, members-g0000.parquet.age, beside the seal file here" in told
    assert "`sealift repair MNT... --seal FILE`" in told
    assert sealift(["repair", *origin.mounts, *given]) == 0
    assert sealift(["unpack", *origin.mounts, *given, *keys, "--to", str(tmp_path / "out")]) == 0
    assert load_seal(str(sent / "s.seal"))
    assert shipments.picture(tmp_path / "out") == shipments.picture(origin.source)


@pytest.mark.parametrize("lost", ["folders", "both"])
def test_a_lost_pack_that_holds_no_byte_of_a_file_is_told_as_that(tmp_path, capsys, lost):
    """The manifest says from which stripe on packs hold directories alone."""
    made = fleets.make(tmp_path / "mnt", seed=83, lengths=[[70, 60], [BLOCK + 9, 50], [30, 0]], folders=1)
    (tmp_path / "signers").write_bytes(made.allowed_bytes)

    def ask(command, *more, code=4):
        assert sealift([command, *made.mounts, *more, "--allowed-signers", str(tmp_path / "signers")]) == code
        return capsys.readouterr()

    for stripe, role in [(2, 0), (2, 2), *([(1, 0), (1, 1)] if lost == "both" else [])]:
        made.path(0, mf.slot_of(stripe, role, 3), mf.pack_name(stripe, role, 2)).unlink()
    words = "no file's content"
    for command in ("verify", "inspect"):
        said = ask(command).out
        assert said.startswith(f"LOST: {words}; names and times of folders") == (lost == "folders")
        assert ("nothing need be sent again" in said) == (lost == "folders")
        assert ("--fetch-list" in said) == (lost == "both")
    assert (words in ask("repair").out) == (lost == "folders")
    assert (words in ask("repair", "--fetch-list", code=0).err) == (lost == "folders")
