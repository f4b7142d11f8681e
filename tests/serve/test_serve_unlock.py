"""From the key holder to the compute host: `unlock` through `serve`, and everything that reads, with issued keys alone.

The compute host's folder has what a job is given, and nothing else: its own identity, the issued keys, whose signatures
count, the seal, where the drives stand, and a token.
"""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import serving
import shipments
import trainings
from mounted import need_fuse
from unlocking import Desk

from sealift.errors import IdentityMismatch
from sealift.reading.shipment import Shipment
from sealift.trade import custody_event


def sealift(*words, code=0, **options):
    """A command in a process of its own; stdout and stderr."""
    run = [sys.executable, "-m", "sealift", *map(str, words)]
    done = subprocess.run(run, capture_output=True, check=False, text=True, timeout=120, **options)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Two storage hosts with a drive and two, a key holder's desk, and a compute host's folder."""
    base = tmp_path_factory.mktemp("site")
    for number in range(60):
        shipments.write(base / f"source/d{number % 3}/{number:04d}.txt", os.urandom(20) * (number + 1) * 20)
    shipments.write(base / "source/large", os.urandom(3_000_000))
    origin = shipments.Origin(base / "origin", base / "source", 2, 1)
    origin.pack()
    desk = Desk(origin, base / "desk")
    job = base / "compute"
    job.mkdir()
    tls = serving.certificates(base)
    token = serving.token_file(base)
    with (
        serving.serving(*origin.mounts[:1], tls=tls, token=serving.TOKEN, file=token) as one,
        serving.serving(*origin.mounts[1:], tls=tls, token=serving.TOKEN, file=token) as two,
    ):
        text = 'type = "sealift-locations"\nversion = 1\n'
        for host in (one, two):
            for name in host.names():
                text += f'[[drive]]\nat = "{host.url}{name}/"\ntoken_file = "token"\nca_file = "ca.pem"\n'
        for folder in (job, desk.root):
            (folder / "fleet.toml").write_text(text)
            shutil.copy(token, folder / "token")
            shutil.copy(tls[0], folder / "ca.pem")
        (job / "job.txt").write_text(desk.job + "\n")
        said = sealift(
            "unlock", "fleet.toml", "--identity", origin.root / "identity", "--seal", "s.seal", "--allowed-signers",
            "signers", "--for", desk.recipient, "--job", "run-7", "--hours", 24, "--sign-with", "holder",
            "--by", "Kim Keyholder", "--organisation", "Example Ltd", "--custody", "custody", "--out",
            "run-7.keys.age", "--json", cwd=desk.root,
        )  # fmt: skip
        for name in ("signers", "s.seal", "run-7.keys.age"):
            shutil.copy(desk.root / name, job / name)
        yield SimpleNamespace(origin=origin, desk=desk, job=job, said=said, hosts=(one, two))


KEYS = ("--identity", "job.txt", "--keys", "run-7.keys.age", "--allowed-signers", "signers", "--seal", "s.seal")


def options(site):
    return {
        "identity": str(site.job / "job.txt"), "keys": str(site.job / "run-7.keys.age"),
        "allowed_signers": str(site.job / "signers"), "seal": str(site.job / "s.seal"),
    }  # fmt: skip


@pytest.mark.long
def test_what_unlock_says_is_what_it_issued_and_recorded(site):
    answer = json.loads(site.said[0])
    assert (answer["job"], answer["recipients"], answer["groups"]) == ("run-7", [site.desk.recipient], [0])
    assert (answer["lost"], answer["missing_groups"]) == ([], [])
    events = [custody_event.decode(path.read_bytes()) for path in site.desk.custody.glob("*.json")]
    assert [event.unlock.file.blake3 for event in events] == [answer["file_blake3"]]
    assert answer["event"].startswith(re.search(r"recorded in custody as (\w+)", site.said[1])[1])
    out, err = sealift(
        "custody", site.desk.custody, "--declaration", site.origin.declaration, "--allowed-signers",
        site.desk.root / "signers", "--json", code=3,
    )  # fmt: skip
    (event,) = json.loads(out)["events"]
    assert event["unlock"]["job"] == "run-7"
    assert event["unlock"]["file_bytes"] == (site.job / "run-7.keys.age").stat().st_size
    assert f"unlock: {answer['keys']} keys for job run-7 until {answer['valid_until']}, Kim Keyholder" in err


def test_the_compute_host_never_has_what_the_holder_has(site):
    """Nothing in its folder opens the shipment by itself, and the storage hosts were asked for ciphertext alone."""
    secret = site.origin.identity.encode()
    assert not any(secret in path.read_bytes() for path in site.job.iterdir())
    given = options(site) | {"keys": None}
    with pytest.raises(IdentityMismatch), Shipment.open([str(site.job / "fleet.toml")], **given) as shipment:
        shipment.read("large")


@pytest.mark.long
def test_ls_cat_and_unpack(site, tmp_path):
    names = sorted(str(p.relative_to(site.origin.source)) for p in site.origin.source.rglob("*") if p.is_file())
    out, _ = sealift("ls", "fleet.toml", *KEYS, "--json", cwd=site.job)
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["path"] for row in rows if row["type"] == "file"] == names
    done = subprocess.run(
        [sys.executable, "-m", "sealift", "cat", "fleet.toml", *KEYS, "--path", "large"],
        capture_output=True, check=True, cwd=site.job,
    )  # fmt: skip
    assert done.stdout == (site.origin.source / "large").read_bytes()
    sealift("unpack", "fleet.toml", "--to", tmp_path / "out", *KEYS, cwd=site.job)
    assert shipments.picture(tmp_path / "out") == shipments.picture(site.origin.source)


def test_mount(site, tmp_path):
    need_fuse()
    at = tmp_path / "corpus"
    at.mkdir()
    words = [sys.executable, "-m", "sealift", "mount", "fleet.toml", "--at", str(at), *KEYS]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=site.job) as process:
        try:
            assert "is at" in process.stderr.readline()
            assert (at / "large").read_bytes() == (site.origin.source / "large").read_bytes()
        finally:
            process.terminate()
            process.communicate(timeout=30)


def test_fsspec(site):
    import fsspec

    given = {"locations": [str(site.job / "fleet.toml")], **options(site)}
    fs = fsspec.filesystem("sealift", **given, skip_instance_cache=True)
    wanted = (site.origin.source / "d1/0004.txt").read_bytes()
    assert fs.cat_file("d1/0004.txt") == wanted
    assert pickle.loads(pickle.dumps(fs)).cat_file("d1/0004.txt") == wanted
    assert site.desk.job.encode() not in pickle.dumps(fs)
    assert site.desk.job not in fs.to_json()


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.long)])
def test_a_dataset_in_workers(site, context):
    from torch.utils.data import DataLoader

    from sealift.integrations.torch import ShipmentDataset

    with Shipment.open([str(site.job / "fleet.toml")], **options(site)) as shipment:
        dataset = ShipmentDataset(shipment, batch_size=10, seed=1, decode=_key)
        batches = list(DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context=context))
    assert len(batches) == 6
    assert len({key for batch in batches for key in batch}) == 60


def _key(sample):
    return sample.key


def config(site, tmp_path):
    """A run's configuration, beside which the job's identity lies."""
    data = {"identity": ["job.txt"], "drives": [str(site.job / "fleet.toml")], "file": "", "workers": 1}
    path = trainings.write_config(
        tmp_path / "run.toml", site.job, data=options(site) | data, training={"steps": 2, "checkpoint_every": 2}
    )
    shutil.copy(site.job / "job.txt", tmp_path / "job.txt")
    return path


def test_a_run_opens_the_shipment_with_its_keys(site, tmp_path):
    from sealift.training.config import load
    from sealift.training.data import open_shipment

    settings = load(str(config(site, tmp_path)))
    with open_shipment(settings) as shipment:
        assert shipment.stat("large").size == 3_000_000
        assert "job 'run-7'" in repr(shipment._keys)


@pytest.mark.long
def test_train(site, tmp_path):
    path = config(site, tmp_path)
    trainings.end(trainings.start(path))
    assert len(trainings.curve(path)) == 2


def test_a_storage_host_that_dies_is_read_around(site):
    site.hosts[0].stop()
    with Shipment.open([str(site.job / "fleet.toml")], **options(site)) as shipment:
        assert shipment.read("large") == (site.origin.source / "large").read_bytes()


@pytest.mark.long
def test_refusals_on_the_command_line(site, tmp_path):
    """Each with its words, a hint, and the exit code of what is refused."""
    identity = site.origin.root / "identity"
    wrong = [("--identity", identity), ("--keys", site.desk.root / "s.seal"), ("--seal", tmp_path / "other.seal")]
    from sealift.formats import seal as seals

    mine = (site.desk.root / "s.seal").read_bytes()
    while (other := seals.encode_bundle(site.origin.seal())) == mine:
        time.sleep(0.1)  # a seal of the same second is the same
    (tmp_path / "other.seal").write_bytes(other)
    words = ["none of the identities opens the issued keys", "the issued keys in", "are of another seal"]
    for (option, value), said in zip(wrong, words, strict=True):
        given = dict(zip(KEYS[::2], KEYS[1::2], strict=True)) | {option: str(value)}
        _, err = sealift("ls", *site.origin.mounts, *[w for p in given.items() for w in p], code=5, cwd=site.job)
        assert said in err
        assert "hint: " in err
        assert "Traceback" not in err
