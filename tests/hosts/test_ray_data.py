"""Training on the nodes of a Ray cluster: the order is that of the seed, and what is near is read there."""

import json
import os

import placed_work
import pytest
import serving
import shipments
from trainings import SAMPLES, make_port
from unlocking import Desk

from sealift.errors import BadInput, IdentityMismatch
from sealift.reading.shipment import Shipment
from sealift.stages.placement import Ears

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's are of its own making
BATCH, SEED = 16, 3


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    return make_port(tmp_path_factory.mktemp("port"))


@pytest.fixture
def opening(cluster, port, tmp_path):
    """Drive d00 stands on host a, d01 on b; d02 is nowhere: what it holds is rebuilt. Both are served to all."""
    for host, name in (("a", "d00"), ("b", "d01")):
        os.symlink(port / name, cluster.home(host) / "d-mounted")
    token = serving.token_file(tmp_path)
    with serving.serving(port / "d00", port / "d01", token=serving.TOKEN, file=token) as host:
        rows = "".join(
            f'[[drive]]\nname = "{name}"\nat = "{host.url}{name}/"\ntoken_file = "token"\n' for name in host.names()
        )
        (tmp_path / "fleet.toml").write_text(f'type = "sealift-locations"\nversion = 1\n{rows}')
        yield {
            "locations": ["~/d-*", str(tmp_path / "fleet.toml")],
            "identity": str(port / "identity"),
            "allowed_signers": str(port / "allowed"),
            "seal": str(port / "sent.seal"),
        }
    for host in ("a", "b"):
        (cluster.home(host) / "d-mounted").unlink()


def keys_of(port, epoch=0, **options):
    """The keys in order, as one process gives them with all drives mounted."""
    from sealift.integrations.torch import ShipmentDataset

    mounts = [str(port / name) for name in ("d00", "d01", "d02")]
    given = {
        "identity": str(port / "identity"),
        "allowed_signers": str(port / "allowed"),
        "seal": str(port / "sent.seal"),
    }
    with Shipment.open(mounts, **given) as shipment:
        dataset = ShipmentDataset(shipment, batch_size=BATCH, seed=SEED, rank=0, world_size=1, **options)
        dataset.set_epoch(epoch)
        return [sample.key for batch in dataset for sample in batch]


@pytest.mark.long
def test_ray_data_gives_the_order_of_the_seed(port, opening):
    from sealift.integrations.ray_data import read_shipment

    given = {"batch_size": BATCH, "seed": SEED, "epoch": 1, "lanes": 2, "turns": 2, "window": 4096}
    rows = read_shipment(**opening, **given)
    got = list(rows.iter_rows())
    assert [row["__key__"] for row in got] == keys_of(port, 1, lanes=2, turns=2, window=4096)
    assert set(got[0]) >= {"__key__", "txt"}


def test_issued_keys_open_what_ray_data_reads_and_the_identity_is_on_no_node(port, tmp_path, monkeypatch):
    from sealift.integrations import ray_data

    shipments.write(tmp_path / "source/file-0.txt", b"one")
    made = shipments.Origin(tmp_path / "origin", tmp_path / "source", 2, 1)
    made.pack()
    desk = Desk(made, tmp_path / "desk")
    desk.issue()
    given = {
        "identity": str(desk.root / "job.txt"),
        "allowed_signers": str(desk.root / "signers"),
        "seal": str(desk.root / "s.seal"),
        "batch_size": 1,
    }
    monkeypatch.setattr(ray_data, "read_datasource", lambda source: source)
    with pytest.raises(IdentityMismatch):
        ray_data.read_shipment(made.mounts, **given)
    (task,) = ray_data.read_shipment(made.mounts, **given, keys=str(desk.out)).get_read_tasks(1)
    (block,) = task()
    assert [row["txt"] for row in block.to_pylist()] == [b"one"]
    with pytest.raises(BadInput, match="must not go through Ray"):
        ray_data.read_shipment(made.mounts, **given, keys=desk.out.read_bytes())


@pytest.mark.long
def test_no_key_goes_through_ray(port, opening):
    from sealift.integrations.ray_data import read_shipment

    given = opening | {"identity": (port / "identity").read_bytes()}
    with pytest.raises(BadInput, match="must not go through Ray"):
        read_shipment(**given, batch_size=BATCH)


@pytest.mark.long
def test_a_drive_that_is_mounted_is_not_read_over_the_network(cluster, hosts, opening):
    from sealift.integrations.ray_data import _Opening

    given = _Opening(tuple(opening["locations"]), (opening["identity"],), opening["allowed_signers"], opening["seal"])
    answers = dict(hosts.run(placed_work.read_all, dict.fromkeys(hosts.hosts(), given), Ears()))
    for host, answer in answers.items():
        assert isinstance(answer, tuple), answer
        keys, links, rebuilt = answer
        mine, other = ("s0", "s1") if host.key == cluster.name("a") else ("s1", "s0")
        read = {mount.rstrip("/")[-2:]: count for mount, count in links.items()}
        assert read[mine] <= 1 << 20 < 4 << 20 < read[other], "a block, to see which drive it is; all that is asked for"
        assert rebuilt, "what d02 should hold, of both"
        assert len(keys) == SAMPLES


@pytest.mark.long
def test_ranks_of_ray_train_share_the_batches_of_the_seed(cluster, port, opening, tmp_path):
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from sealift.integrations.ray_data import _Opening

    given = _Opening(tuple(opening["locations"]), (opening["identity"],), opening["allowed_signers"], opening["seal"])
    TorchTrainer(
        placed_work.train,
        train_loop_config={"opening": given, "batch": BATCH, "seed": SEED, "out": str(tmp_path)},
        scaling_config=ScalingConfig(
            num_workers=2, placement_strategy="STRICT_SPREAD", resources_per_worker={"sealift": 1}
        ),
        run_config=RunConfig(storage_path=str(tmp_path / "ray")),
    ).fit()
    (home, first), (other, second) = (json.loads((tmp_path / f"{rank}-of-2.json").read_text()) for rank in range(2))
    assert {home, other} == {str(cluster.home("a")), str(cluster.home("b"))}
    assert [key for shares in zip(first, second, strict=True) for share in shares for key in share] == keys_of(port)
