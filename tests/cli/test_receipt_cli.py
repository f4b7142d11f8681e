"""From verify on two hosts to the release of the source, by the commands, as people at both ends run them."""

import json
import subprocess
from pathlib import Path

import pytest
import receivings

from sealift.cli import main
from sealift.formats import seal as seals
from sealift.trade import custody_form
from sealift.trade import receipt as r

WHO = ["--by", "Rui Dock", "--organisation", "Petrel", "--contact", "dock@example.org"]
ED = ["--by", "Ed Engineer", "--organisation", "Kittiwake", "--contact", "ed@example.com"]


class Desk:
    """Drives on a dock, the papers, and the commands, run in this process."""

    def __init__(self, folder, capsys, monkeypatch):
        self.folder, self.capsys = folder, capsys
        self.world = receivings.make(root=folder / "drives", on_disk=True, geometry=((2, 1), (2, 1)))
        self.fleet = self.world.fleet
        for what in ("dock", "ed", "author"):
            receivings.key_file(self.fleet, what, folder / what)
        (folder / "signers").write_bytes(self.world.signers)
        (folder / "shipment.seal").write_bytes(self.fleet.bundle)
        (folder / "declaration.toml").write_bytes(self.fleet.seal_files["seal/declaration.toml"])
        monkeypatch.setenv("SEALIFT_ALLOWED_SIGNERS", str(folder / "signers"))
        monkeypatch.setenv("XDG_STATE_HOME", str(folder / "home"))
        monkeypatch.chdir(folder)

    def run(self, *words):
        self.capsys.readouterr()
        code = main.run([str(word) for word in words])
        said = self.capsys.readouterr()
        assert "Traceback" not in said.err
        assert "internal error" not in said.err, said.err
        return code, said.out, said.err

    def verify(self, name, *slots, more=()):
        mounts = [self.folder / "drives" / slot for slot in slots]
        code, out, err = self.run("verify", *mounts, "--seal", "shipment.seal", "--json", *more)
        assert out, err
        Path(name).write_text(out)
        return code

    def receipt(self, *words, key="dock"):
        return self.run("receipt", *words, "--seal", "shipment.seal", "--sign-with", key, *WHO)

    def free(self, *words):
        return self.run("source-release", *words, "--seal", "shipment.seal", "--sign-with", "ed", *ED)

    def record(self):
        return r.decode(Path(self.name("receipt.json")).read_bytes())

    def name(self, ending):
        return f"SL-TEST-{self.fleet.seed}.{ending}"


@pytest.fixture
def desk(tmp_path, capsys, monkeypatch):
    return Desk(tmp_path, capsys, monkeypatch)


ONE, TWO, LATE = ("g0s0", "g0s1", "g1s0"), ("g1s1", "g1s2"), ("g0s2",)


def test_from_two_hosts_and_a_late_drive_to_the_release_of_the_source(desk):
    assert desk.verify("one.json", *ONE) == 6
    assert desk.verify("two.json", *TWO) == 6
    code, out, err = desk.receipt("one.json", "two.json")
    assert code == 6, err
    for words in ("DISCREPANCY REPORT", "g0s2 drive 3 of 6", "NOT HERE, OR NOT READ", "2 of 3 drives that are whole"):
        assert words in out
    assert f"sealift handover LOG --event {desk.name('discrepancy.toml')}" in err
    assert receivings.states(desk.record().groups)[0] == {0: "unseen", 1: "intact"}
    code, out, err = desk.free(desk.name("receipt.json"))
    assert (code, "NOT to be freed" in out, "group 0: not all of it was read: g0s2" in out) == (6, True, True)
    assert not Path(desk.name("source-release.json")).exists()

    # ssh-keygen alone believes it
    with Path(desk.name("receipt.json")).open("rb") as message:
        subprocess.run(
            ["ssh-keygen", "-Y", "verify", "-f", "signers", "-I", "dock@example.org", "-n", "sealift-receipt",
             "-s", desk.name("receipt.json.sig")],
            stdin=message, check=True, capture_output=True, timeout=60,
        )  # fmt: skip

    # the form, with the place filled in, is one; nothing of a rehearsal is recorded
    form = Path(desk.name("discrepancy.toml"))
    form.write_text(form.read_text().replace('place = ""', 'place = "dock 2"'))
    written = custody_form.parse(form.read_bytes())
    assert (written.event_type, written.items[0].serials) == ("discrepancy", [desk.fleet.serial(0, 2)])
    code, out, err = desk.run(
        "handover", "log", "--event", form, "--declaration", "declaration.toml", "--sign-with", "dock"
    )
    assert (code, "declares a rehearsal" in err) == (5, True)

    # the late drive
    assert desk.verify("late.json", *LATE) == 6
    code, out, err = desk.receipt("one.json", "two.json", "late.json")
    assert (code, "all 6 drives of it intact" in out) == (0, True)
    assert f"kept as {desk.name('receipt.1.json')}" in err
    assert receivings.states(r.decode(Path(desk.name("receipt.1.json")).read_bytes()).groups)[0][0] == "unseen"
    code, out, err = desk.free(desk.name("receipt.json"))
    assert (code, "the source may be freed" in out) == (0, True), err
    assert Path(desk.name("source-release.json.sig")).exists()
    assert desk.free(desk.name("receipt.json"))[2].startswith("unchanged")


def test_merged_on_the_last_host_or_given_apart_it_is_the_same(desk):
    desk.verify("one.json", *ONE)
    desk.verify("two.json", *TWO)
    assert desk.verify("all.json", *LATE, more=("--part", "one.json", "--part", "two.json")) == 0
    assert desk.receipt("all.json")[0] == 0
    merged = desk.record()
    desk.verify("late.json", *LATE)
    assert desk.receipt("late.json", "two.json", "one.json")[0] == 0
    assert receivings.states(merged.groups) == receivings.states(desk.record().groups)


def test_a_lost_drive_holds_the_source_until_it_is_made_again_and_verified(desk):
    slots = [slot for slot in (*ONE, *TWO, *LATE) if slot != "g0s1"]
    assert desk.verify("found.json", *slots, more=("--final",)) == 3
    code, out, _ = desk.receipt("found.json", "--final")
    assert (code, "DID NOT COME" in out, "no other may be lost" in out) == (3, True, True)
    code, out, _ = desk.free(desk.name("receipt.json"))
    assert (code, "what is lost was not made again: g0s1" in out) == (6, True)
    Path("new").mkdir()
    code, _, err = desk.run(
        "repair",
        *(desk.folder / "drives" / slot for slot in slots),
        "--seal",
        "shipment.seal",
        "--onto",
        "new",
        "--allow-same-filesystem",
    )
    assert code == 0, err
    assert desk.receipt("found.json", "--final")[0] == 3, "that it was made again, nobody has verified"
    code, out, _ = desk.run("verify", "new", "--seal", "shipment.seal", "--json")
    Path("new.json").write_text(out)
    code, out, _ = desk.receipt("found.json", "new.json")
    assert (code, "NOT THE DRIVE ITSELF" in out, "declared goods are not where they were" in out) == (0, True, True)
    assert [drive.id for group in desk.record().groups for drive in group.drives if drive.remade] == ["g0s1"]
    states = receivings.states(desk.record().groups)
    assert (states[0][0], states[1]["g0s1"]) == ("rebuilt", "rebuilt")
    assert desk.free(desk.name("receipt.json"))[0] == 0


def test_damage_is_lost_until_repair_mended_it_and_verify_read_it(desk):
    slots = (*ONE, *TWO, *LATE)
    pack = next(path for path in desk.fleet.path(0, 0, "packs").rglob("*") if path.is_file())
    good = pack.read_bytes()
    pack.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    assert desk.verify("before.json", *slots) == 3
    code, out, _ = desk.receipt("before.json", "--json")
    answer = json.loads(out)
    assert (code, answer["whole"], answer["discrepancy"]["state"]) == (3, True, "recoverable")
    assert [each["what"] for part in answer["discrepancy"]["carriers"] for each in part["drives"]] == ["damaged"]
    code, _, err = desk.run("repair", *(desk.folder / "drives" / slot for slot in slots), "--seal", "shipment.seal")
    assert (code, pack.read_bytes()) == (0, good), err
    assert desk.receipt("before.json")[0] == 3, "repaired after verify"
    later = json.loads(Path("before.json").read_text())
    assert desk.verify("after.json", *slots) == 0
    while (
        json.loads(Path("after.json").read_text())["groups"][0]["present"][0]["read_at"]
        == (later["groups"][0]["present"][0]["read_at"])
    ):
        desk.verify("after.json", *slots)  # of two readings of one second the worse counts
    assert desk.receipt("before.json", "after.json")[0] == 0
    assert receivings.states(desk.record().groups)[1]["g0s0"] == "rebuilt"


def test_what_cannot_be_recovered_is_told(desk):
    assert desk.verify("found.json", "g0s0", *TWO, "g1s0") == 6
    code, out, _ = desk.receipt("found.json", "--final", "--json")
    answer = json.loads(out)
    assert (code, answer["whole"], answer["discrepancy"]["state"]) == (4, False, "lost")
    assert any("--fetch-list" in each for each in answer["discrepancy"]["todo"])


def test_refusals_and_their_exit_codes(desk):
    desk.verify("found.json", *ONE, *TWO, *LATE)
    code, out, err = desk.receipt("found.json", key="author")
    assert (code, out, "the origin cannot receive from itself" in err) == (5, "", True)
    assert desk.receipt("found.json", key="ed")[0] == 5
    assert desk.receipt("nowhere.json")[0] == 1
    assert desk.receipt("signers")[0] == 1
    other = receivings.make(seed=42)
    Path("shipment.seal").write_bytes(other.fleet.bundle)
    assert desk.receipt("found.json")[0] == 5, "another origin's seal"
    newer = desk.world.resealed()
    Path("shipment.seal").write_bytes(seals.encode_bundle(newer.files))
    code, out, err = desk.receipt("found.json")
    assert (code, "another seal than this one" in err, "sealift verify MNT..." in err) == (6, True, True)
    assert not list(desk.folder.glob("*.receipt*"))


def test_what_a_report_says_cannot_write_on_the_screen(desk):
    desk.verify("found.json", *ONE, *TWO, *LATE)
    report = json.loads(Path("found.json").read_text())
    report["groups"][0]["present"][0]["medium"] = "\x1b[2J\u202e\n"
    Path("found.json").write_text(json.dumps(report))
    code, out, err = desk.receipt("found.json")
    assert (code, "\x1b" in out + err, "\u202e" in out + err) == (0, False, False)
    assert "x1b[2J" in err


def test_two_seals_are_one_too_many(desk):
    for command in ("receipt", "source-release"):
        code, _, err = desk.run(
            command, "x.json", "--seal", "shipment.seal", "--seal", "other.seal", "--sign-with", "dock", *WHO
        )
        assert (code, "more than once" in err) == (1, True)


def test_an_inspection_makes_no_receipt(desk):
    mounts = [desk.folder / "drives" / slot for slot in ONE]
    _, out, _ = desk.run("inspect", *mounts, "--seal", "shipment.seal", "--json")
    Path("looked.json").write_text(out)
    code, out, err = desk.receipt("looked.json")
    assert (code, out, "only looked at" in err) == (6, "", True)


def test_a_receipt_makes_the_folder_that_it_goes_into(desk):
    desk.verify("one.json", *ONE, *TWO)
    assert desk.receipt("one.json", "--out", "receipts/here")[0] == 6
    assert Path("receipts/here", desk.name("receipt.json")).exists()
    code, _, err = desk.receipt("one.json", "--out", "one.json/there")
    assert code == 1
    assert "--out one.json/there: not a directory; nothing was signed" in err
    code, _, err = desk.receipt("one.json", "--out", "mine.receipt.json")
    assert (code, "that is the name of a file; nothing was signed" in err) == (1, True)
    assert not Path("mine.receipt.json").exists()


def test_a_release_of_the_source_makes_the_folder_that_it_goes_into(desk):
    desk.verify("found.json", *ONE, *TWO, *LATE)
    desk.receipt("found.json")
    assert desk.free(desk.name("receipt.json"), "--out", "freed/here")[0] == 0
    assert Path("freed/here", desk.name("source-release.json")).exists()
    code, _, err = desk.free(desk.name("receipt.json"), "--out", "x.source-release.json")
    assert (code, "that is the name of a file; nothing was signed" in err) == (1, True)


def test_source_release_looks_and_writes_nothing_without_a_key(desk):
    desk.verify("found.json", *ONE, *TWO, *LATE)
    desk.receipt("found.json")
    before = sorted(path.name for path in desk.folder.iterdir())
    name = desk.name("receipt.json")
    code, out, err = desk.run("source-release", name, "--seal", "shipment.seal")
    assert (code, "may be freed" in out, "nothing was written" in err) == (0, True, True)
    assert desk.run("source-release", name, "--seal", "shipment.seal", "--by", "Ed")[0] == 1
    assert sorted(path.name for path in desk.folder.iterdir()) == before


def test_source_release_refuses_a_receipt_that_does_not_hold(desk):
    desk.verify("found.json", *ONE, *TWO, *LATE)
    desk.receipt("found.json")
    path = Path(desk.name("receipt.json"))
    path.write_bytes(path.read_bytes().replace(b"Rui", b"Rai"))
    code, out, _ = desk.free(path, "--json")
    answer = json.loads(out)
    assert (code, answer["may_be_freed"], answer["source_release"]) == (5, False, None)
    assert "not over these bytes" in answer["objections"][0]
    assert [each["group"] for each in answer["lacking"]] == [0, 1]
    assert desk.free("nowhere.receipt.json")[0] == 1
