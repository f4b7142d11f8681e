"""sealift pack, status and seal as users run them: exit codes, the JSON of the contract, words on stderr."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import filled
import pytest

from sealift.formats import age_keys
from sealift.formats.allowed_signers import AllowedSigners
from sealift.reading.trust import load_seal, open_seal
from sealift.stages import rehearse_scratch as scratch
from sealift.trade import declaration as declarations
from sealift.trade import release as releases
from sealift.trade import sections, template
from sealift.trade.signing import Signer, write_pair


def run(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "sealift", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


class Desk:
    """A user's folder: keys, a declaration of four drives, a corpus."""

    def __init__(self, folder):
        self.folder = folder
        self.who = scratch.people(scratch.Scratch(str(folder)))
        self.mounts = [folder / f"d{i}" for i in range(4)]
        for mount in self.mounts:
            mount.mkdir()
        self.corpus = folder / "corpus"
        self.corpus.mkdir()
        for i in range(30):
            (self.corpus / f"{i}.txt").write_text(f"{i}\n" * 100)
        self.declaration = folder / "declaration.toml"
        serials = {f"S{i}": ("Anna", "Bo")[i % 2] for i in range(4)}
        scratch.declare(str(self.declaration), self.who, serials, scratch.Size(30, 10_000), 10**9)
        self.declare(self.who.recipient)

    def declare(self, *recipients):
        """As the rehearsal's, and no rehearsal; released."""
        parsed = declarations.parse(self.declaration.read_bytes(), draft=False)
        fields = {name: getattr(parsed, name) for name in sections.Content.__struct_fields__}
        fields |= {"rehearsal": False, "answers": filled.rest()["answers"]}
        fields["encryption"] = filled.encryption(*recipients)
        self.declaration.write_text(template.render(sections.Content(**fields)))
        self.release()

    def release(self):
        parsed = declarations.parse(self.declaration.read_bytes(), draft=False)
        signed = filled.released(parsed, Signer.open(self.who.officer), Signer.open(self.who.author), datetime.now(UTC))
        write_pair(releases.path_beside(str(self.declaration)), signed.data, signed.signature)

    def pack(self, *more, mounts=None, state="state"):
        mounts = self.mounts if mounts is None else mounts
        serials = [f"--serial={mount}=S{mount.name[1:]}" for mount in mounts]
        to = [f"--to={mount}" for mount in mounts]
        return run(
            "pack", self.corpus, *to, *serials, "--parity=1", f"--recipient={self.who.recipient}",
            f"--sign-with={self.who.author}", f"--declaration={self.declaration}", f"--state={self.folder / state}",
            "--pack-size=1MiB", "--allow-same-filesystem", "--accept-carrier-risk", *more,
        )  # fmt: skip

    def seal(self, *more, state="state"):
        return run(
            "seal", f"--state={self.folder / state}", f"--declaration={self.declaration}",
            f"--sign-with={self.who.author}", f"--allowed-signers={self.who.signers}", *more,
        )  # fmt: skip


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


@pytest.mark.long
def test_pandas_is_not_imported_where_nothing_needs_it(desk, monkeypatch, tmp_path):
    package, seen = tmp_path / "elsewhere" / "pandas", tmp_path / "imported"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"open({str(seen)!r}, 'w').close()\nraise ImportError('none')\n")
    monkeypatch.setenv("PYTHONPATH", f"{package.parent}:{os.environ.get('PYTHONPATH', '')}")
    assert desk.pack().returncode == 0
    assert desk.seal(*desk.mounts).returncode == 0
    identity = tmp_path / "identity"
    identity.write_bytes(desk.who.identity)
    options = (f"--identity={identity}", f"--allowed-signers={desk.who.signers}")
    assert run("cat", *desk.mounts, "--path=7.txt", *options).stdout == "7\n" * 100
    assert len(run("ls", *desk.mounts, *options).stdout.splitlines()) >= 30
    assert run("unpack", *desk.mounts, f"--to={tmp_path / 'out'}", *options).returncode == 0
    assert not seen.exists()


def test_pack_keeps_the_contract_of_json_and_seal_closes_it(desk, tmp_path):
    done = desk.pack("--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)  # one object, and nothing else
    assert set(answer) >= {
        "shipment", "groups", "files", "source_bytes", "packed_bytes", "parity_bytes", "seconds", "changed",
        "skipped",
    }  # fmt: skip
    (group,) = answer["groups"]
    assert set(group) >= {"group", "drives", "data", "parity", "stripes", "state"}
    assert (group["drives"], group["data"], group["parity"], group["state"]) == (
        ["g0s0", "g0s1", "g0s2", "g0s3"], 3, 1, "signed",
    )  # fmt: skip
    assert answer["source_bytes"] == sum(path.stat().st_size for path in desk.corpus.iterdir())
    assert (answer["changed"], answer["skipped"]) == ([], [])
    for word in (answer["shipment"], "30 files", "memory: at most", "sealift seal"):
        assert word in done.stderr

    status = json.loads(run("status", "--state", desk.folder / "state", "--json").stdout)
    assert (status["shipment"], status["running"], status["sealed"]) == (answer["shipment"], False, False)
    assert (status["groups"][0]["state"], status["next"]) == ("signed", [])

    sealed = desk.seal("--json", *desk.mounts[:2])
    assert sealed.returncode == 0, sealed.stderr
    told = json.loads(sealed.stdout)
    assert told["seal"] == str(desk.folder / "state" / f"{answer['shipment']}.seal")
    assert [drive["written"] for drive in told["drives"]] == [True, True]
    assert "these drives are not goods" not in sealed.stderr
    with open(desk.who.signers, "rb") as file:
        assert open_seal(load_seal(told["seal"]), AllowedSigners.parse(file.read())).seal.shipment == answer["shipment"]
    assert json.loads(run("status", "--state", desk.folder / "state", "--json").stdout)["sealed"]
    again = desk.pack()
    assert again.returncode == 0
    assert f"packed and signed, and sealed: {told['seal']}. Nothing more goes into this shipment" in again.stderr
    assert "sealift release" not in again.stderr
    note = desk.folder / "state" / "sealed"
    for written, path, says in (
        (note.read_text(), f"{told['seal']} (not there any more)", "sealed"),
        ("rubbish", None, "no packing runs"),
    ):
        note.write_text(written)
        os.rename(told["seal"], tmp_path / "away")
        assert f": {says}\n" in run("status", "--state", desk.folder / "state").stdout
        again = desk.pack()
        assert (f"packed and signed, and sealed: {path}." in again.stderr) == bool(path)
        assert ("sealift seal --state" in again.stderr) != bool(path)
        os.rename(tmp_path / "away", told["seal"])


def test_what_was_skipped_is_exit_2_and_named(desk):
    os.mkfifo(desk.corpus / "pipe")
    os.mkfifo(os.fsencode(desk.corpus) + b"/odd\xff")
    done = desk.pack("--json")
    assert done.returncode == 2
    skipped = json.loads(done.stdout)["skipped"]
    assert {each.get("path", each.get("path_b64")) for each in skipped} == {"pipe", "b2Rk/w=="}
    assert all("fifo" in each["reason"] for each in skipped)
    assert "2 paths skipped:" in done.stderr
    assert "odd\\xff" in done.stderr


@pytest.mark.long
def test_groups_wait_for_their_drives_and_status_says_which(desk):
    first = desk.pack("--group-size=2", "--json", mounts=desk.mounts[:2])
    assert first.returncode == 6, first.stderr
    answer = json.loads(first.stdout)
    assert [group["state"] for group in answer["groups"]] == ["signed", "waiting"]
    waiting = {drive["serial"] for group in answer["waiting"] for drive in group["missing"]}
    assert waiting == {"S2", "S3"}
    assert "serial S2, carrier Anna" in first.stderr
    text = run("status", "--state", desk.folder / "state")
    assert text.returncode == 0
    assert "serial S3, carrier Bo" in text.stdout
    refused = desk.seal()
    assert refused.returncode == 6
    assert "S2" in refused.stderr
    assert desk.pack("--group-size=2").returncode == 0
    assert desk.seal().returncode == 0


@pytest.mark.long
def test_seal_says_what_it_refuses(desk):
    assert desk.pack().returncode == 0
    os.unlink(desk.folder / "declaration.release.json")
    done = desk.seal("--json")
    assert (done.returncode, done.stdout) == (5, "")
    assert "another person" in done.stderr
    assert (
        run("seal", "--state", desk.folder / "state", "--declaration", desk.declaration, "--sign-with", "x").returncode
        == 1
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--recipient=age1nonsense"], "hint:"),
        (["--recipients-file=/nonexistent"], "recipients file /nonexistent"),
        (["--carrier=Anna"], "--carrier NAME=MNT,MNT"),
        (["--serial=x"], "--serial MNT=SERIAL"),
        (["--pack-size=lots"], "is no size"),
        (["--replace=g0s1"], "--replace OLD=MNT"),
        (["--replace=g0s1=/mnt/x", "--replace=g0s1=/mnt/y"], "g0s1 is to be replaced by the drive at /mnt/x already"),
        (["--seed=-1"], "--seed -1 is out of limits"),
        (["--shipment=short"], "is no shipment id"),
    ],
)
def test_bad_input_is_1_before_anything_is_written(desk, options, says):
    done = desk.pack(*options)
    assert done.returncode == 1
    assert says in done.stderr
    assert not any(os.listdir(mount) for mount in desk.mounts)


@pytest.mark.long
def test_recipients_come_from_a_file_too_and_carriers_mounts_are_drives(desk):
    second = age_keys.generate_identity()[1]
    (desk.folder / "recipients").write_text(f"# two\n{second}\n")
    refused = desk.pack(f"--recipients-file={desk.folder / 'recipients'}")
    assert refused.returncode == 5
    assert f"recipient {second} is given and not declared" in refused.stderr
    desk.declare(desk.who.recipient, second)
    carriers = [f"--carrier={name}={desk.mounts[i]},{desk.mounts[i + 2]}" for i, name in enumerate(("Anna", "Bo"))]
    serials = [f"--serial={mount}=S{i}" for i, mount in enumerate(desk.mounts)]
    done = desk.pack(*carriers, *serials, f"--recipients-file={desk.folder / 'recipients'}", mounts=[])
    assert done.returncode == 0, done.stderr
    pack = next((desk.mounts[0] / "sealift").rglob("*.age"))
    assert pack.read_bytes().split(b"---")[0].count(b"-> X25519") == 2


@pytest.mark.parametrize("junk", [b"", b"SQLite format 3\0", os.urandom(5000)], ids=["empty", "header", "noise"])
def test_status_of_a_damaged_state_is_bad_input(tmp_path, junk):
    (tmp_path / "journal.sqlite").write_bytes(junk)
    done = run("status", "--state", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("sealift: error: ")


def test_status_of_no_state_is_bad_input(tmp_path):
    done = run("status", "--state", tmp_path)
    assert done.returncode == 1
    assert "no packing has begun" in done.stderr
