"""The return leg into s3:// and read there, against a real S3 server: packed, killed, resumed, sealed, opened."""

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import shipments
from voyages_home import HOME, OUT, Voyage, tensor_file

from sealift.drives import object_client
from sealift.drives.objects import ObjectDrive
from sealift.errors import BadInput, DriveFault
from sealift.reading import trust
from sealift.reading.shipment import Shipment
from sealift.stages import inspect, repair, unpack, verify

PACKER = str(Path(shipments.__file__).with_name("packer.py"))
MANIFEST = "sealift/manifest.json"


@pytest.fixture
def voyage(tmp_path, bucket):
    return to_network(Voyage(tmp_path, parity=0), f"s3://{bucket}/answers/run-7")


def to_network(voyage, location):
    voyage.edit(voyage.home, 'serial = "SERd00"', 'serial = "NETWORK-1"')
    voyage.home.serial = lambda _mount: ""  # none is given: it is the declared one
    voyage.home.mounts = [location]
    voyage.home.options |= {"network": True, "allow_same_filesystem": False}
    return voyage


def names(s3, bucket):
    listing = s3.ask("GET", f"/{bucket}", "list-type=2&max-keys=1000")[1].decode()
    return sorted(part.partition("</Key>")[0] for part in listing.split("<Key>")[1:])


def opened(voyage, seal):
    return Shipment.open(
        voyage.home.mounts,
        identity=voyage.out.identity.encode(),
        allowed_signers=voyage.signers.read_bytes(),
        seal=seal,
    )


def options(voyage, target, seal):
    return unpack.Options(
        mounts=voyage.home.mounts,
        target=str(target),
        identities=[voyage.out.identity.encode()],
        allowed_signers=voyage.signers.read_bytes(),
        seal=seal and trust.load_seal(seal),
        outbound=voyage.open_seal(voyage.seal_file),
    )


@pytest.mark.long
def test_weights_come_home_through_a_bucket(voyage, tmp_path, s3, bucket):
    assert voyage.pack().exit_code == 0
    beside = Voyage(tmp_path / "beside", parity=0)
    to_network(beside, str(tmp_path / "folder"))
    (tmp_path / "folder").mkdir()
    assert beside.pack().exit_code == 0
    folder = sorted(
        str(each.relative_to(tmp_path / "folder")) for each in (tmp_path / "folder").rglob("*") if each.is_file()
    )
    assert names(s3, bucket) == [f"answers/run-7/{name}" for name in folder], "the same layout as in a directory"
    assert s3.uploads(bucket) == 0

    answer = voyage.seal(voyage.home, mounts=voyage.home.mounts)
    assert [written for *_, written in answer.drives] == [True]
    where = voyage.home.mounts[0]
    assert trust.load_seal(where) == trust.load_seal(answer.path), "the seal lies there too"
    given = {"allowed": voyage.allowed, "seal": trust.load_seal(answer.path)}
    looked = inspect.inspect([where], outbound=voyage.open_seal(voyage.seal_file), **given)
    assert (looked.state, looked.answers.signer) == ("complete", "trainer@example.com")
    checked = verify.verify([where, where + "/"], **given, state=str(tmp_path / "checked"))
    assert (checked.state, checked.faults, checked.read_from) == ("intact", [], "medium")
    assert any("same place" in notice for notice in checked.notices)
    with opened(voyage, answer.path) as shipment:
        assert shipment.read("model.safetensors") == voyage.weights
        assert shipment.read("model.safetensors", 1000, 900_000) == voyage.weights[1000:900_000]
        assert {member.path for member in shipment.members()} >= {"provenance.json", "logs/train.log"}
        assert shipment.rebuilt_blocks == 0
    result = unpack.unpack(options(voyage, tmp_path / "there", None), unpack.Events())
    assert (result.failed, result.reply_signer) == ([], "trainer@example.com")
    assert (tmp_path / "there/model.safetensors").read_bytes() == voyage.weights
    with pytest.raises(BadInput, match="no mounted drive"):
        repair.repair([where], **given)
    assert repair.repair([where], **given, dry_run=True).repaired_files == 0


def test_damage_in_a_bucket_is_named(voyage, tmp_path, s3, bucket):
    voyage.pack()
    answer = voyage.seal(voyage.home)
    pack = next(name for name in names(s3, bucket) if "/packs/" in name)
    assert s3.ask("DELETE", f"/{bucket}/{pack}")[0] == 204
    report = verify.verify(
        voyage.home.mounts, allowed=voyage.allowed, seal=trust.load_seal(answer.path), remember=False
    )
    assert report.state == "lost"
    assert [(fault.kind, fault.mount) for fault in report.faults] == [("missing", voyage.home.mounts[0])]


@pytest.mark.long
def test_a_dry_run_says_that_nothing_is_mended_in_a_bucket(voyage, s3, bucket, tmp_path):
    voyage.pack()
    answer = voyage.seal(voyage.home)
    card = next(name for name in names(s3, bucket) if name.endswith("/drive.json"))
    assert s3.ask("DELETE", f"/{bucket}/{card}")[0] == 204
    given = [voyage.home.mounts[0], f"--allowed-signers={voyage.signers}", f"--seal={answer.path}"]
    out = run(voyage, "repair", *given, "--dry-run", code=3)[0].decode()
    assert "is no mounted drive, and `sealift repair` writes to nothing else" in out
    assert "without --dry-run" not in out
    out = run(voyage, "verify", *given, f"--state={tmp_path / 'state'}", code=3)[0].decode()
    assert " from the store in " in out


def test_a_bucket_is_no_drive_that_somebody_carries(voyage, s3, bucket):
    with pytest.raises(BadInput, match="is no drive") as caught:
        voyage.pack(network=False, serials={voyage.home.mounts[0]: "SERd00"})
    assert "--network" in caught.value.hint
    with pytest.raises(BadInput, match="one s3:// location"):
        voyage.pack(to=[f"s3://{bucket}/a", f"s3://{bucket}/b"])
    voyage.edit(voyage.home, "NETWORK-1", "SERIAL-1")
    with pytest.raises(BadInput, match="goes by network"):
        voyage.pack()
    assert names(s3, bucket) == []


def test_what_another_shipment_left_there_is_not_overwritten(voyage, tmp_path, s3, bucket):
    voyage.pack()
    before = names(s3, bucket)
    other = to_network(Voyage(tmp_path / "other", parity=0), voyage.home.mounts[0])
    with pytest.raises(BadInput, match="another shipment"):
        other.pack()
    assert names(s3, bucket) == before


def test_packing_says_what_memory_uploads_take(voyage):
    notices = []
    result = voyage.pack(notices)
    assert result.memory["uploads"] > 0
    assert any("uploads" in notice for notice in notices)


def test_a_wrong_secret_and_a_missing_bucket_are_refused_before_anything(voyage, s3, bucket, monkeypatch):
    with pytest.raises(DriveFault, match="no such bucket"):
        voyage.pack(to=["s3://no-such-bucket-here/x"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    with pytest.raises(DriveFault, match="secret key is not"):
        voyage.pack()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret)
    assert names(s3, bucket) == []
    assert voyage.pack().exit_code == 0


def grown(voyage, size=14):
    rng = random.Random(7)
    for number in range(size):
        tensors = {"w": rng.randbytes(rng.randrange(1 << 20, 3 << 20))}
        shipments.write(voyage.checkpoint / f"shard-{number:02d}.safetensors", tensor_file(tensors))


def test_every_tenth_request_fails_and_nothing_is_lost(voyage, faulty, tmp_path):
    grown(voyage, 6)
    rng = random.Random(5)
    faults = ["500", "reset", "cut", "503"]
    faulty.plan = lambda *_: rng.choice(faults) if rng.random() < 0.1 else None
    assert voyage.pack(pack_size=9 << 20).exit_code == 0
    answer = voyage.seal(voyage.home, mounts=voyage.home.mounts)
    result = unpack.unpack(options(voyage, tmp_path / "there", answer.path), unpack.Events())
    assert result.failed == []
    for path in voyage.checkpoint.glob("*.safetensors"):
        assert (tmp_path / "there" / path.name).read_bytes() == path.read_bytes()


def test_a_packing_leaves_no_upload_of_which_it_never_heard(voyage, faulty, s3, bucket, monkeypatch):
    grown(voyage, 6)
    monkeypatch.setattr(object_client, "TIMEOUT", 1.0)
    how = []
    faulty.plan = lambda method, path, _number: (
        "unheard" if method == "POST" and "uploads" in path and (how.append(path) or len(how) == 1) else None
    )
    assert voyage.pack(pack_size=9 << 20).exit_code == 0
    assert len(how) > 1
    assert s3.uploads(bucket) == 0


@pytest.mark.long
def test_killed_anywhere_the_same_command_goes_on(voyage, tmp_path, s3, bucket):
    """kill -9 while packs are on their way; packs of more than a part, so that there are uploads to be left behind."""
    grown(voyage)
    asked = tmp_path / "options"
    asked.write_bytes(pickle.dumps(pack_options(voyage)))
    rng, kills, left = random.Random(int(os.environ.get("SEALIFT_SEED", "11"))), 0, 0
    while kills < 4:
        packer = subprocess.Popen(
            [sys.executable, PACKER, str(asked)], start_new_session=True, stderr=subprocess.DEVNULL
        )
        deadline, seen = time.monotonic() + 30, len(names(s3, bucket))
        while packer.poll() is None and time.monotonic() < deadline:
            if s3.uploads(bucket) or len(names(s3, bucket)) > seen + 1:
                time.sleep(rng.random() * 0.3)
                break
            time.sleep(0.01)
        if packer.poll() is not None:
            break
        os.killpg(packer.pid, signal.SIGKILL)
        packer.wait()
        kills += 1
        left += s3.uploads(bucket)
    assert kills
    assert voyage.pack(pack_size=20 << 20).exit_code == 0
    assert s3.uploads(bucket) == 0
    answer = voyage.seal(voyage.home, mounts=voyage.home.mounts)
    checked = verify.verify(
        voyage.home.mounts, allowed=voyage.allowed, seal=trust.load_seal(answer.path), remember=False
    )
    assert (checked.state, checked.faults) == ("intact", [])
    assert unpack.unpack(options(voyage, tmp_path / "there", answer.path), unpack.Events()).failed == []
    for path in voyage.checkpoint.glob("*.safetensors"):
        assert (tmp_path / "there" / path.name).read_bytes() == path.read_bytes()


def pack_options(voyage):
    return voyage.home.pack_options(
        recipients=[],
        leg="return",
        in_reply_to=voyage.seal_file,
        allowed_signers=str(voyage.signers),
        pack_size=20 << 20,
    )


def run(voyage, *arguments, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "sealift", *map(str, arguments)],
        capture_output=True,
        timeout=120,
        check=False,
        env={**os.environ, "SEALIFT_ALLOWED_SIGNERS": str(voyage.signers)},
    )
    err = done.stderr.decode()
    assert "Traceback" not in err
    assert done.returncode == code, err
    return done.stdout, err


@pytest.mark.long
def test_the_commands_as_people_type_them(voyage, tmp_path, s3):
    home, where = voyage.home, voyage.home.mounts[0]
    pack = [
        "pack", voyage.checkpoint, "--leg=return", f"--in-reply-to={voyage.seal_file}", f"--to={where}",
        f"--sign-with={home.root / 'signing'}", f"--declaration={home.declaration}", f"--state={home.state}",
    ]  # fmt: skip
    assert "--network" in run(voyage, *pack, "--parity=0", code=1)[1]
    out, err = run(voyage, *pack, "--network", "--json")
    assert json.loads(out)["groups"][0]["state"] == "signed"
    assert json.loads(out)["read_back"]["read_from"] == "medium"
    voyage.release(home)
    seal = ["seal", f"--state={home.state}", f"--declaration={home.declaration}", f"--out={tmp_path}", "--json"]
    sealed = json.loads(run(voyage, *seal, f"--sign-with={home.root / 'signing'}", where)[0])

    text = run(voyage, "inspect", where, f"--in-reply-to={voyage.seal_file}")[0].decode()
    assert f"return leg in reply to {OUT}, consignment {HOME}" in text
    run(voyage, "verify", where, f"--seal={sealed['seal']}")
    keys = [f"--identity={voyage.out.root / 'identity'}"]  # without --seal: the one in the bucket serves
    assert run(voyage, "cat", where, *keys, "--path=model.safetensors")[0] == voyage.weights
    listed = [json.loads(line)["path"] for line in run(voyage, "ls", where, *keys, "--json")[0].splitlines()]
    assert "provenance.json" in listed
    there = tmp_path / "there"
    run(voyage, "unpack", where, *keys, f"--to={there}", f"--in-reply-to={voyage.seal_file}")
    assert (there / "model.safetensors").read_bytes() == voyage.weights
    assert "writes to nothing else" in run(voyage, "repair", where, code=1)[1]
    nowhere = "s3://no-such-bucket-here/x"
    for command in (
        ["ls", nowhere, *keys],
        ["inspect", nowhere],
        ["verify", nowhere],
        ["cat", nowhere, *keys, "--path=x"],
    ):
        _, err = run(voyage, *command, code=6)
        assert f"{nowhere}: listing sealift/: there is no such bucket; nothing was changed" in err
        assert "hint: see the name of the bucket" in err
        assert s3.secret not in err


@pytest.mark.parametrize(
    "what",
    [
        "packs/0000/0000002",
        *(pytest.param(each, marks=pytest.mark.long) for each in ("sealift/manifest.json", "index/members")),
    ],
)
def test_a_store_that_fails_for_long_ends_packing_and_the_same_command_goes_on(voyage, faulty, tmp_path, what):
    grown(voyage, 4)
    options = {"pack_size": 2 << 20, "open_drive": partial(ObjectDrive, patience=0.5)}
    faulty.plan = lambda method, path, _number: "503" if method in {"PUT", "POST"} and what in path else None
    with pytest.raises(DriveFault, match="the store failed") as caught:
        voyage.pack(**options)
    assert "run the same command again" in caught.value.hint
    assert "cable" not in caught.value.hint
    faulty.plan = lambda *_: None
    assert voyage.pack(**options).exit_code == 0
    answer = voyage.seal(voyage.home, mounts=voyage.home.mounts)
    given = {"allowed": voyage.allowed, "seal": trust.load_seal(answer.path), "remember": False}
    assert verify.verify(voyage.home.mounts, **given).state == "intact"
