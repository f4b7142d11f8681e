"""Shipments whose drives stand elsewhere: behind nginx, in a bucket, here, in any mix; hosts that fail and lie."""

import json
import logging
import os
import pickle
import random
import shutil
import signal
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import shipments
from faulty_proxy import proxy
from storage_host import nginx

from sealift.cli import main
from sealift.drives import http_client, ranges
from sealift.errors import NotAllHere, SealInvalid, Unreached
from sealift.formats import seal as seals
from sealift.formats.allowed_signers import AllowedSigners
from sealift.reading import group, hedge
from sealift.reading.pack import OpenPacks
from sealift.reading.shipment import Shipment
from sealift.stages import unpack as unpacking
from sealift.stages.inspect import inspect
from sealift.stages.verify import verify

N = 5


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    base, rng = tmp_path_factory.mktemp("remote"), random.Random(7)
    for number in range(120):
        shipments.write(base / f"source/d{number % 5}/{number:04d}.txt", b"%d" % number * 50)
        shipments.write(base / f"source/d{number % 5}/{number:04d}.bin", rng.randbytes(rng.randrange(200_000)))
    made = shipments.Origin(base / "origin", base / "source", 3, 2)
    made.pack()
    (made.root / "s.seal").write_bytes(seals.encode_bundle(made.seal()))
    return made


@pytest.fixture(scope="module")
def seal(origin):
    return origin.seal()


@pytest.fixture(scope="module")
def host(origin, tmp_path_factory):
    with nginx(tmp_path_factory.mktemp("host") / "nginx", origin.root) as made:
        yield made


@pytest.fixture
def hosts(host):
    """A proxy a drive, as if each stood in a host of its own."""
    with ExitStack() as stack:
        yield [stack.enter_context(proxy(host.url)) for _ in range(N)]


def at(hosts, number):
    return f"{hosts[number].endpoint}/d{number:02d}/"


def listing(folder, rows, **more):
    """A locations file of these addresses."""
    text = 'type = "sealift-locations"\nversion = 1\n' + "".join(f"{name} = {value}\n" for name, value in more.items())
    for row in rows:
        text += "[[drive]]\n" + "".join(f'{key} = "{value}"\n' for key, value in row.items())
    path = Path(folder) / "locations.toml"
    path.write_text(text)
    return str(path)


def everything(shipment):
    """Every file with its bytes."""
    return {each.path: shipment.read(each) for each in shipment.members() if each.kind == "file"}


@pytest.fixture(scope="module")
def content(origin):
    found = {}
    for path in sorted(origin.source.rglob("*")):
        if path.is_file():
            found[str(path.relative_to(origin.source))] = path.read_bytes()
    return found


def packs_only(fault):
    """A plan that fails what is read of packs, once the shipment is open."""
    return lambda method, path, _number: fault if method == "GET" and "/packs/" in path else None


# --- where drives may stand


def test_all_in_one_host(origin, seal, host, content, tmp_path):
    places = listing(tmp_path, [{"name": f"d{each}", "at": f"{host.url}/d{each:02d}/"} for each in range(N)])
    with origin.shipment([places], seal) as shipment:
        assert everything(shipment) == content
        assert shipment.read_many(content) == list(content.values())
        health = shipment.health()
        again = pickle.loads(pickle.dumps(shipment))
        assert again.read("d1/0001.txt") == content["d1/0001.txt"]
    assert health.good
    assert [each.mount for each in health.locations] == [f"d{each}" for each in range(N)]
    assert {each.host for each in health.locations} == {host.url}
    assert sum(each.bytes for each in health.locations) > sum(map(len, content.values()))
    assert all(each.requests for each in health.locations)


def test_any_mix_of_a_mount_a_host_and_a_bucket(origin, seal, host, content, bucket, tmp_path):
    import obstore
    from obstore.store import S3Store

    store = S3Store(
        bucket, prefix="some/d02", endpoint=os.environ["AWS_ENDPOINT_URL"], client_options={"allow_http": True}
    )
    for path in Path(origin.mounts[2]).rglob("*"):
        if path.is_file():
            obstore.put(store, str(path.relative_to(origin.mounts[2])), path)
    rows = [
        {"at": origin.mounts[0]},
        {"name": "one", "at": f"{host.url}/d01/"},
        {"name": "two", "at": f"s3://{bucket}/some/d02"},
    ]
    with origin.shipment([listing(tmp_path, rows)], seal) as shipment:
        assert everything(shipment) == content
        health = shipment.health()
    assert [each.mount for each in health.locations] == ["one", "two"]
    assert all(each.bytes > 100_000 for each in health.locations)
    report = inspect([listing(tmp_path, rows), origin.mounts[3], f"{host.url}/d04/"], seal=seal)
    assert report.state == "complete"
    report = verify(
        [listing(tmp_path, rows), *origin.mounts[3:]],
        allowed=AllowedSigners.parse(origin.allowed),
        seal=seal,
        state=str(tmp_path / "s"),
    )
    assert (report.state, report.read_from) == ("intact", "cache")
    with origin.shipment([origin.mounts[0], f"{host.url}/d01", f"s3://{bucket}/some/d02"], seal) as shipment:
        assert everything(shipment) == content


def test_one_place_given_twice_is_read_once(origin, seal, host, tmp_path):
    places = listing(tmp_path, [{"name": "a", "at": f"{host.url}/d00/"}])
    with origin.shipment([places, f"{host.url}/d00", *origin.mounts[1:]], seal) as shipment:
        assert any("same place as a" in each for each in shipment.notices)


def test_what_is_near_is_read_from_there(origin, seal, hosts):
    """Of two copies of a drive the one that is mounted here."""
    with origin.shipment([at(hosts, 0), *origin.mounts], seal) as shipment:
        before = len(hosts[0].seen)
        everything(shipment)
        assert len(hosts[0].seen) == before


# --- the commands


def run(arguments, capsys):
    code = main.run(arguments)
    return code, *capsys.readouterr()


@pytest.mark.long
def test_every_command_takes_the_path_of_a_locations_file(origin, host, content, capsys, tmp_path):
    places = listing(tmp_path, [{"name": f"d{each}", "at": f"{host.url}/d{each:02d}/"} for each in range(1, N)])
    keys = ["--allowed-signers", str(origin.root / "allowed"), "--seal", str(origin.root / "s.seal")]
    identity = ["--identity", str(origin.root / "identity")]
    code, out, _ = run(["inspect", places, *keys, "--json"], capsys)
    assert (code, json.loads(out)["state"]) == (3, "recoverable")
    assert json.loads(out)["groups"][0]["present"][0]["mount"] == "d1"
    code, out, _ = run(["verify", places, *keys, "--json", "--final", "--state", str(tmp_path / "state")], capsys)
    assert (code, json.loads(out)["state"]) == (3, "recoverable")
    code, out, _ = run(["ls", places, *keys, *identity, "--json"], capsys)
    assert code == 0
    assert len(out.splitlines()) == len(content) + 5
    code, out, _ = run(["cat", places, *keys, *identity, "--path", "d1/0001.txt"], capsys)
    assert out.encode() == content["d1/0001.txt"]
    code, out, _ = run(["unpack", places, *keys, *identity, "--to", str(tmp_path / "out")], capsys)
    assert code == 0
    assert shipments.picture(tmp_path / "out") == shipments.picture(origin.source)
    code, out, err = run(["repair", places, *keys], capsys)
    assert code == 1
    assert "no mounted drive" in err
    code, out, err = run(["verify", places, *keys, "--again", "--state", str(tmp_path / "state")], capsys)
    assert " from other hosts in " in out
    shutil.copytree(origin.mounts[1], tmp_path / "d01")
    pack = next((tmp_path / "d01").rglob("*.age"))
    whole = pack.read_bytes()
    pack.write_bytes(bytes(1000) + whole[1000:])
    code, out, err = run(["repair", str(tmp_path / "d01"), places, *keys], capsys)
    assert (code, pack.read_bytes() == whole) == (3, True), "d00 is missing; the one here was mended from the others"
    (tmp_path / "new").mkdir()
    code, out, err = run(
        ["repair", places, *keys, "--onto", f"g0s0={tmp_path / 'new'}", "--allow-same-filesystem"], capsys
    )
    assert code == 0, err
    assert (tmp_path / "new/sealift/manifest.json").read_bytes()


def test_a_seal_is_read_from_a_drive_in_a_host(origin, seal, hosts, tmp_path, capsys):
    shutil.copytree(origin.root / "d00", tmp_path / "www/d00")
    for name, data in seal.items():
        path = tmp_path / "www/d00/sealift" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    with nginx(tmp_path / "nginx", tmp_path / "www") as host:
        one = f"{host.url}/d00/"
        with Shipment.open(
            [one, *origin.mounts[1:]], identity=str(origin.root / "identity"), allowed_signers=origin.allowed, seal=one
        ) as shipment:
            assert shipment.read("d1/0001.txt")


def test_fsspec_takes_it(origin, host, content, tmp_path):
    fsspec = pytest.importorskip("fsspec")
    places = listing(tmp_path, [{"name": f"d{each}", "at": f"{host.url}/d{each:02d}/"} for each in range(N)])
    fs = fsspec.filesystem(
        "sealift",
        locations=places,
        identity=str(origin.root / "identity"),
        allowed_signers=origin.allowed,
        seal=str(origin.root / "s.seal"),
        skip_instance_cache=True,
    )
    assert fs.cat("d1/0001.bin") == content["d1/0001.bin"]


@pytest.mark.long
@pytest.mark.parametrize("workers", ["fork", pytest.param("spawn", marks=pytest.mark.long)])
def test_workers_of_a_data_loader_read_what_their_parent_has_read(origin, seal, host, tmp_path, bucket, workers):
    """Forked ones, after the parent used every connection and thread there is; one drive is in a bucket (obstore)."""
    torch = pytest.importorskip("torch")
    import obstore
    from obstore.store import S3Store

    from sealift.integrations.torch import ShipmentDataset

    store = S3Store(bucket, prefix="d02", endpoint=os.environ["AWS_ENDPOINT_URL"], client_options={"allow_http": True})
    for path in Path(origin.mounts[2]).rglob("*"):
        if path.is_file():
            obstore.put(store, str(path.relative_to(origin.mounts[2])), path)
    rows = [{"name": f"d{each}", "at": f"{host.url}/d{each:02d}/"} for each in (0, 1)]
    places = listing(tmp_path, [*rows, {"name": "b", "at": f"s3://{bucket}/d02"}])
    over = threading.Event()
    with origin.shipment([places], seal) as shipment:

        def read_on():
            while not over.is_set():
                everything(shipment)

        def batches(count):
            dataset = ShipmentDataset(
                shipment, batch_size=8, seed=5, decode=_number, rank=0, world_size=1, window=60_000
            )
            context = workers if count else None
            loader = torch.utils.data.DataLoader(
                dataset, batch_size=None, num_workers=count, multiprocessing_context=context
            )
            return list(loader)

        signal.alarm(100)
        plain = batches(0)
        threads = [threading.Thread(target=read_on, daemon=True) for _ in range(3 if workers == "fork" else 0)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(3 if workers == "fork" else 1):
                assert batches(2) == plain
        finally:
            over.set()
            for thread in threads:
                thread.join()
            signal.alarm(0)


@pytest.mark.long
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_go_on_in_the_same_order_when_a_host_dies(origin, seal, tmp_path, quick, workers):
    torch = pytest.importorskip("torch")
    from sealift.integrations.torch import ShipmentDataset

    def loader(shipment):
        options = {"batch_size": 8, "seed": 5, "decode": _number, "rank": 0, "world_size": 1, "window": 30_000}
        dataset = ShipmentDataset(shipment, lanes=2, turns=1, **options)
        return torch.utils.data.DataLoader(
            dataset, batch_size=None, num_workers=workers, multiprocessing_context="fork" if workers else None,
            prefetch_factor=1 if workers else None,
        )  # fmt: skip

    with origin.shipment(seal=seal) as shipment:
        plain = list(loader(shipment))
    with nginx(tmp_path / "a", origin.root) as one, nginx(tmp_path / "b", origin.root) as two:
        mounts = [f"{(one if each < 2 else two).url}/d{each:02d}/" for each in range(N)]
        with origin.shipment(mounts, seal) as shipment:
            got = []
            for batch in loader(shipment):
                got.append(batch)
                if len(got) == 2:
                    one.kill()
            assert got == plain
            if not workers:
                assert {each.mount for each in shipment.health().drives} == set(mounts[:2])


def _number(sample):
    return int(sample.files["txt"][: len(sample.files["txt"]) // 50])


# --- hosts that fail and lie


@pytest.mark.parametrize(
    "fault", ["flip", "short", "whole", "range", "longer", "unsaid", "encoded", "newer", "404", "403", "noise",
              "elsewhere http://127.0.0.1:9/"],
)  # fmt: skip
def test_a_host_that_lies_is_told_and_the_others_used(origin, seal, hosts, content, caplog, fault):
    mounts = [at(hosts, 0), at(hosts, 1), *origin.mounts[2:]]
    with origin.shipment(mounts, seal) as shipment:
        for each in hosts[:2]:
            each.plan = packs_only(fault)
        assert everything(shipment) == content
        health = shipment.health()
    assert {each.mount for each in health.drives} == set(mounts[:2])
    assert health.rebuilt_blocks
    assert {each.state for each in health.drives} == ({"damaged"} if fault in {"flip", "404"} else {"failing"})
    assert sum(mounts[0] in record.getMessage() for record in caplog.records) <= 1


@pytest.mark.long
@pytest.mark.parametrize("fault", ["500", "reset", "cut"])
def test_faults_that_pass_cost_nothing(origin, seal, hosts, content, fault):
    with origin.shipment([at(hosts, each) for each in range(N)], seal) as shipment:
        for each in hosts:
            each.plan = lambda method, _path, number: fault if method == "GET" and number % 5 == 0 else None
        assert everything(shipment) == content
        health = shipment.health()
    assert not health.rebuilt_blocks
    assert fault == "reset" or sum(each.retries for each in health.locations) > 0


@pytest.mark.long
@pytest.mark.parametrize("fault", ["500", "401", "elsewhere http://127.0.0.1:9/", "noise", "reset", "encoded"])
def test_a_host_that_fails_from_the_beginning_is_told_and_the_others_used(
    origin, seal, hosts, content, monkeypatch, fault
):
    monkeypatch.setattr(http_client, "PATIENCE", 0.3)
    hosts[0].plan = lambda *_: fault
    with origin.shipment([at(hosts, each) for each in range(N)], seal) as shipment:
        ((mount, why),) = shipment.ignored
        assert mount == at(hosts, 0)
        assert "manifest.json: " in why
        assert mount not in why, "a note names a place once"
        assert everything(shipment) == content
        assert shipment.absent


@pytest.mark.parametrize("fault", ["401", "reset"])
def test_what_no_host_gives_any_more_is_unreached_and_no_fault_of_a_format(origin, seal, hosts, monkeypatch, fault):
    """Also where it is a page of hashes or lengths that is asked for first."""
    monkeypatch.setattr(http_client, "PATIENCE", 0.3)
    with origin.shipment([at(hosts, each) for each in range(N)], seal) as shipment:
        for host in hosts:
            host.plan = lambda *_: fault
        for number, group in shipment.groups.items():
            for stripe in range(2):
                with pytest.raises(Unreached) as told:
                    group.reader.block(stripe, 0, 0)
                assert told.value.exit_code == 6, (number, stripe)


def test_all_hosts_that_fail_are_told(origin, seal, hosts):
    for each in hosts:
        each.plan = lambda *_: "403"
    with pytest.raises(NotAllHere, match="refuses") as caught:
        origin.shipment([at(hosts, each) for each in range(N)], seal)
    assert "token_file" in caught.value.hint


def test_a_wrong_token_is_told_and_the_others_used(origin, seal, content, tmp_path):
    (tmp_path / "wrong").write_text("hush")
    with nginx(tmp_path / "nginx", origin.root, tls=True, token="right") as host:
        rows = [
            {
                "name": f"d{each}",
                "at": f"{host.url}/d{each:02d}/",
                "ca_file": host.ca,
                "token_file": str(tmp_path / "wrong"),
            }
            for each in range(2)
        ]
        with origin.shipment([listing(tmp_path, rows), *origin.mounts[2:]], seal) as shipment:
            assert [mount for mount, _ in shipment.ignored] == ["d0", "d1"]
            assert "hush" not in str(shipment.ignored)
            assert everything(shipment) == content
        (tmp_path / "wrong").write_text("right")
        with origin.shipment([listing(tmp_path, rows), *origin.mounts[2:]], seal) as shipment:
            assert not shipment.ignored
            assert everything(shipment) == content


def test_old_drives_and_those_of_others_are_told_and_not_used(origin, seal, host, content, tmp_path):
    other = shipments.Origin(tmp_path / "other", origin.source, 3, 2)
    other.pack()
    with nginx(tmp_path / "nginx", other.root) as theirs:
        mounts = [f"{theirs.url}/d00/", f"{theirs.url}/d01/", *(f"{host.url}/d{each:02d}/" for each in range(2, N))]
        with origin.shipment(mounts, seal) as shipment:
            assert [mount for mount, _ in shipment.ignored] == mounts[:2]
            assert all("a drive of shipment" in why for _, why in shipment.ignored)
            assert everything(shipment) == content
        with pytest.raises(SealInvalid):
            origin.shipment(mounts[:2], seal)


def test_a_host_that_serves_an_old_pack_is_not_believed(origin, seal, content, tmp_path):
    """The packs of another attempt, of the same names and nearly the same lengths."""
    other = shipments.Origin(tmp_path / "other", origin.source, 3, 2)
    other.pack()
    shutil.copytree(origin.mounts[0], tmp_path / "www/d00")
    shutil.rmtree(tmp_path / "www/d00/sealift/packs")
    shutil.copytree(Path(other.mounts[0], "sealift/packs"), tmp_path / "www/d00/sealift/packs")
    with (
        nginx(tmp_path / "nginx", tmp_path / "www") as theirs,
        origin.shipment([f"{theirs.url}/d00/", *origin.mounts[1:]], seal) as shipment,
    ):
        assert everything(shipment) == content
        assert shipment.health().rebuilt_blocks


# --- slow hosts


@pytest.fixture
def quick(monkeypatch):
    """What takes seconds takes tenths."""
    monkeypatch.setattr(hedge, "_SOONEST", 0.1)
    monkeypatch.setattr(ranges, "SOON", 0.3)
    monkeypatch.setattr(http_client, "_SILENT", 3.0)
    monkeypatch.setattr(http_client, "PATIENCE", 3.0)


def test_a_slow_host_is_hedged_by_parity(origin, seal, hosts, content, quick, caplog):
    with origin.shipment([at(hosts, each) for each in range(N)], seal) as shipment:
        hosts[1].plan = packs_only("slow")
        begun = time.monotonic()
        assert everything(shipment) == content
        taken, health = time.monotonic() - begun, shipment.health()
        reader = shipment.groups[0].reader
        assert reader._resting[id(reader.drives[1][0])] > time.monotonic(), "after a few races it is not asked"
    (slow,) = health.drives
    assert (slow.mount, slow.state, slow.rebuilt_blocks) == (at(hosts, 1), "slow", 0)
    assert slow.hedged_reads > hedge.SLOW_IN_A_ROW
    assert not health.rebuilt_blocks
    assert not health.packs, "nothing is damaged, and nothing is to be mended"
    assert taken < 1.5 * slow.hedged_reads, "nobody waited for it"
    assert sum("is slow" in record.getMessage() for record in caplog.records) == 1


def test_a_host_that_was_gone_for_a_while_is_told_with_why(origin, seal, content, tmp_path, quick, caplog, monkeypatch):
    """Back before a read of it has failed: parity was faster, which alone says that it was slow."""
    health_text = pytest.importorskip("sealift.training.data").health_text
    monkeypatch.setattr(http_client, "GONE", 60.0)
    with nginx(tmp_path / "a", origin.root) as one:
        mounts = [f"{one.url}/d{each:02d}/" if each == 1 else origin.mounts[each] for each in range(N)]
        with origin.shipment(mounts, seal) as shipment:
            reader = shipment.groups[0].reader
            monkeypatch.setattr(http_client, "PATIENCE", 60.0)
            one.kill()
            assert everything(shipment) == content
            assert not reader.faults
            health = shipment.health()
            (told,) = health.drives
            (location,) = health.locations
            assert location.silent == http_client.NOBODY.why
            (text,) = {line for line in health_text(health) if line.startswith("drive ")}
            assert f"gives nothing: {mounts[1]}: {http_client.NOBODY.why}" in text
            assert f"{told.hedged_reads:,} reads answered by others" in text
            reader.drives[1][0].host.pace.gave(0)
            health = shipment.health()
            assert health.locations[0].silent == "", "it answers again"
            assert "did not give all: " in health_text(health)[0]
    assert (told.state, told.first_fault) == ("failing", f"{mounts[1]}: {http_client.NOBODY.why}")
    assert any("gives nothing now, nobody answers" in text for text in caplog.messages)
    assert not any("is slow" in text for text in caplog.messages)


def test_a_host_that_hangs_keeps_nobody_waiting(origin, seal, content, tmp_path, quick):
    """Frozen, with its connections open, in the middle of reading; then it goes on."""
    with nginx(tmp_path / "a", origin.root) as one, nginx(tmp_path / "b", origin.root) as two:
        mounts = [f"{(one if each < 2 else two).url}/d{each:02d}/" for each in range(N)]
        with origin.shipment(mounts, seal) as shipment:
            half = list(content)[::2]
            assert shipment.read_many(half) == [content[each] for each in half]
            one.stop()
            shipment._open = OpenPacks()
            begun = time.monotonic()
            assert everything(shipment) == content
            assert time.monotonic() - begun < 15
            health = shipment.health()
            assert {each.mount for each in health.drives} == set(mounts[:2])
            one.go()
            for each in shipment.groups.values():
                each.reader._resting.clear()
            shipment._open = OpenPacks()
            assert everything(shipment) == content


def test_a_host_that_hangs_while_a_shipment_is_opened(origin, seal, content, tmp_path, quick):
    with nginx(tmp_path / "a", origin.root) as one, nginx(tmp_path / "b", origin.root) as two:
        mounts = [f"{(one if each < 2 else two).url}/d{each:02d}/" for each in range(N)]
        one.stop()
        begun = time.monotonic()
        with origin.shipment(mounts, seal) as shipment:
            assert time.monotonic() - begun < 3, "it is not waited for: the others are enough"
            assert [each for each in shipment.notices if "has not answered yet" in each]
            assert everything(shipment) == content
            shipment._late.settled.wait(15)
            assert sorted(mount for mount, _ in shipment.ignored) == mounts[:2]


def always(fault):
    return lambda *_: fault


@pytest.fixture
def late(monkeypatch):
    """A plan that answers nothing before its gate is opened, and how it is opened: `late.set()`."""
    monkeypatch.setattr(http_client, "_SILENT", 30.0)
    gate = threading.Event()
    gate.plan = lambda *_: None if gate.wait(30) else "reset"
    gate.once = lambda method, _path, number: gate.plan() if method == "HEAD" and not number else None

    def after(seconds):
        timer = threading.Timer(seconds, gate.set)
        timer.daemon = True
        timer.start()

    gate.after = after
    yield gate
    gate.set()


def test_a_host_that_is_late_joins_when_it_has_answered(origin, seal, hosts, content, quick, late, caplog):
    hosts[1].plan = late.plan
    with origin.shipment([at(hosts, each) for each in range(N)], seal) as shipment:
        reader = shipment.groups[0].reader
        assert sorted(reader.drives) == [0, 2, 3, 4], "it is not waited for: the others are enough"
        assert len(shipment.absent) == 1
        assert [each for each in shipment.notices if each.startswith(f"{at(hosts, 1)} has not answered yet")]
        assert everything(shipment) == content
        late.set()
        assert shipment._late.settled.wait(10)
        assert sorted(reader.drives) == list(range(N))
        assert reader._slow[id(reader.drives[1][0])] == hedge.SLOW_IN_A_ROW - 1, "it has one race to lose"
        assert not shipment.absent
        before = len(hosts[1].seen)
        shipment._open = OpenPacks()
        assert everything(shipment) == content
        assert any("/packs/" in path for _, path in hosts[1].seen[before:])
        told = {each.mount: each for each in shipment.health().drives}
    assert told[at(hosts, 1)].hedged_reads
    # on a machine that is busy with other things any host may be slow; nothing else is amiss
    assert {(each.state, each.rebuilt_blocks) for each in told.values()} == {("slow", 0)}
    assert all(" is slow: " in text and at(hosts, 1) not in text for text in caplog.messages)


def test_a_host_that_never_answers_is_named_at_the_end(origin, seal, hosts, quick, late, tmp_path, monkeypatch):
    """By unpack, by the health of what is read, and by a dataset; that all came by parity is no reason to be silent."""
    hosts[1].plan = late.plan
    monkeypatch.setattr(unpacking, "ProcessPoolExecutor", shipments.Inline)
    mounts = [at(hosts, number) for number in range(4)]
    result = origin.unpack(tmp_path / "out", mounts, seal)
    assert result.failed == []
    assert [(each.location, each.state, each.why) for each in result.places] == [
        (at(hosts, 1), "silent", "it has not answered")
    ]
    with origin.shipment(mounts, seal) as shipment:
        silent = {each.mount: each.silent for each in shipment.health().locations if each.silent}
    assert silent == {at(hosts, 1): "it has not answered"}


def test_locations_that_refuse_the_token_are_told_by_a_dataset(origin, seal, hosts, caplog):
    pytest.importorskip("torch")
    from sealift.integrations.torch import ShipmentDataset
    from sealift.training.data import health_text

    hosts[1].plan = lambda *_: "401"
    mounts = [at(hosts, number) for number in range(5)]
    with origin.shipment(mounts, seal) as shipment:
        for rank, told in ((1, 0), (0, 1)):
            caplog.clear()
            ShipmentDataset(shipment, batch_size=4, rank=rank, world_size=2)
            lines = [each.getMessage() for each in caplog.records if each.getMessage().startswith(at(hosts, 1))]
            assert len(lines) == told, "all ranks see the same, and one tells"
            assert all("token" in line for line in lines)
        text = [line for line in health_text(shipment.health()) if line.startswith(f"{at(hosts, 1)} gives nothing")]
    assert len(text) == 1
    assert "token" in text[0]


def test_a_late_host_without_which_it_does_not_go_is_waited_for(origin, seal, hosts, content, quick, late):
    hosts[1].plan = late.plan
    late.after(0.6)
    with origin.shipment([at(hosts, each) for each in range(3)], seal) as shipment:
        assert sorted(shipment.groups[0].reader.drives) == [0, 1, 2]
        assert everything(shipment) == content


def test_bytes_are_not_lost_while_a_drive_is_still_to_come(origin, seal, hosts, content, quick, late):
    """Three of 3+2 answer, and then one of them has not got its packs: they come with the two that are late."""
    for each in hosts[3:]:
        each.plan = late.plan
    with origin.shipment([at(hosts, each) for each in range(N)], seal) as shipment:
        assert sorted(shipment.groups[0].reader.drives) == [0, 1, 2]
        hosts[0].plan = packs_only("404")
        late.after(0.5)
        assert everything(shipment) == content


def test_a_late_drive_of_another_shipment_gives_nothing(origin, seal, hosts, tmp_path, content, quick, late):
    other = shipments.Origin(tmp_path / "other", origin.source, 3, 2)
    other.pack()
    with nginx(tmp_path / "nginx", other.root) as theirs, proxy(theirs.url) as way:
        way.plan = late.plan
        theirs_at = f"{way.endpoint}/d04/"
        with origin.shipment([*(at(hosts, each) for each in range(4)), theirs_at], seal) as shipment:
            assert not shipment.ignored
            late.set()
            shipment._late.settled.wait(10)
            ((mount, why),) = shipment.ignored
            assert (mount, "a drive of shipment" in why) == (theirs_at, True)
            assert not any("/packs/" in path for _, path in way.seen)
            assert everything(shipment) == content


@pytest.mark.long
def test_others_that_claim_to_be_enough_do_not_hide_the_shipment(origin, seal, hosts, tmp_path, content, quick, late):
    """Drives of another shipment answer first, and are enough of theirs."""
    other = shipments.Origin(tmp_path / "other", origin.source, 3, 2)
    other.pack()
    for each in hosts:
        each.plan = late.plan
    late.after(0.6)
    with origin.shipment([*other.mounts, *(at(hosts, each) for each in range(N))], seal) as shipment:
        assert sorted(shipment.groups[0].reader.drives) == list(range(N))
        assert everything(shipment) == content


def test_a_forked_process_has_the_late_drive_too(origin, seal, hosts, content, quick, late):
    hosts[1].plan = late.once
    with origin.shipment([at(hosts, each) for each in range(N)], seal) as shipment:
        assert not shipment._late.settled.is_set()
        child = os.fork()
        if not child:
            signal.alarm(20)
            code = 1
            try:
                reader = shipment.groups[0].reader
                came = shipment._late.settled.wait(15) and sorted(reader.drives) == list(range(N))
                code = 0 if came and everything(shipment) == content else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_seal_on_drives_is_that_of_a_host_that_answers(origin, seal, tmp_path, content, quick, late):
    for number in range(N):
        shutil.copytree(origin.mounts[number], tmp_path / f"www/d{number:02d}")
        for name, data in seal.items():
            path = tmp_path / f"www/d{number:02d}/sealift" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
    with nginx(tmp_path / "nginx", tmp_path / "www") as host, proxy(host.url) as slow:
        slow.plan = lambda _method, path, _number: late.plan() if "/seal/" in path else None
        late.after(10)
        mounts = [f"{slow.endpoint}/d00/", *(f"{host.url}/d{each:02d}/" for each in range(1, N))]
        with Shipment.open(mounts, identity=str(origin.root / "identity"), allowed_signers=origin.allowed) as shipment:
            assert not late.is_set(), "it was not waited for"
            assert everything(shipment) == content


def test_a_small_file_of_a_host_that_is_too_long_is_told(origin, seal, hosts, tmp_path):
    shutil.copytree(origin.mounts[0], tmp_path / "www/d00")
    (tmp_path / "www/d00/sealift/drive.json").write_bytes(b" " * 100_000)
    with nginx(tmp_path / "nginx", tmp_path / "www") as host:
        report = inspect([f"{host.url}/d00/", *origin.mounts[1:]], seal=seal)
    assert [(fault.path, fault.kind) for fault in report.faults] == [("drive.json", "extended")]


def test_a_host_that_stalls_in_every_answer_is_waited_for_once(origin, seal, content, hosts, quick):
    """It says how long its files are, and then gives nothing of them: each of a dozen would be waited for."""
    for each in hosts[:2]:
        each.plan = lambda method, _path, _number: "hang" if method == "GET" else None
    begun = time.monotonic()
    with origin.shipment([at(hosts, each) for each in range(N)], seal) as shipment:
        assert time.monotonic() - begun < 12
        assert {mount for mount, _ in shipment.ignored} <= {at(hosts, 0), at(hosts, 1)}
        assert everything(shipment) == content


def test_hosts_whose_packs_hang_do_not_hold_up_opening(origin, seal, hosts, quick, monkeypatch):
    monkeypatch.setattr(http_client, "_SILENT", 40.0)
    for each in hosts[:2]:
        each.plan = packs_only("hang")
    begun = time.monotonic()
    with origin.shipment([at(hosts, each) for each in range(N)], seal) as shipment:
        assert time.monotonic() - begun < 10
        assert sorted(shipment.groups[0].reader.drives) == list(range(N)), "what they say of themselves is taken"
    for each in hosts[:2]:
        assert sum("/packs/" in path for _, path in each.seen) <= 2


@pytest.mark.long
def test_verify_does_not_wait_for_every_block_of_a_host_that_hangs(origin, seal, hosts, tmp_path, quick):
    hosts[0].plan = packs_only("hang")
    begun = time.monotonic()
    report = verify(
        [at(hosts, each) for each in range(N)],
        allowed=AllowedSigners.parse(origin.allowed),
        seal=seal,
        state=str(tmp_path / "state"),
    )
    assert time.monotonic() - begun < 20
    assert report.state == "unseen"
    assert {(fault.mount, fault.kind) for fault in report.faults} == {(at(hosts, 0), "unreached")}


def test_a_slow_host_of_those_that_parity_needs_is_gone_around(origin, seal, hosts, content, quick, monkeypatch):
    """One drive is lost, so that every stripe is rebuilt; one of the others is slow, and there is one to spare."""
    with origin.shipment([at(hosts, each) for each in range(1, N)], seal) as shipment:
        monkeypatch.setattr(http_client, "_SILENT", 30.0)
        hosts[1].plan = packs_only("hang")
        begun = time.monotonic()
        assert everything(shipment) == content
        assert time.monotonic() - begun < 15


def test_where_all_are_slow_nobody_is_asked_for_more(origin, seal, hosts, content, monkeypatch):
    """The pace is that of all hosts: a network that is slow as a whole is not made slower."""
    pace = hedge.Pace()
    assert pace.patience == hedge._SOONEST
    for _ in range(hedge._LATELY):
        pace.add(0.4)
    assert pace.patience == pytest.approx(1.6)
    for _ in range(hedge._LATELY):
        pace.add(20)
    assert pace.patience == hedge._LATEST


def test_a_slow_host_and_too_little_parity_waits(origin, seal, hosts, content, quick, monkeypatch):
    """Three of 3+2: nothing can be rebuilt, and what is slow is waited for."""
    with origin.shipment([at(hosts, each) for each in range(3)], seal) as shipment:
        hosts[1].plan = lambda method, path, number: (
            "slow" if method == "GET" and "/packs/" in path and number == 1 else None
        )
        some = list(content)[:20]
        assert shipment.read_many(some) == [content[each] for each in some]
        assert not any(each.state == "slow" and not each.hedged_reads for each in shipment.health().drives)


@pytest.mark.long
def test_pages_and_index_of_a_slow_host_are_read_from_another(origin, seal, hosts, content, quick, monkeypatch):
    monkeypatch.setattr(http_client, "_SILENT", 40.0)
    hosts[0].plan = lambda _method, path, _number: "hang" if "packs.bin" in path or "index/" in path else None
    begun = time.monotonic()
    with origin.shipment([at(hosts, each) for each in range(N)], seal) as shipment:
        assert everything(shipment) == content
    assert time.monotonic() - begun < 25


def test_a_drive_that_was_slow_is_tried_once_before_it_rests_again(origin, seal, hosts, content, quick, monkeypatch):
    monkeypatch.setattr(group, "_ASK_AGAIN", 0.0)
    with origin.shipment([at(hosts, each) for each in range(N)], seal) as shipment:
        reader = shipment.groups[0].reader
        (drive,) = reader.drives[1]
        reader._slow[id(drive)] = hedge.SLOW_IN_A_ROW
        assert everything(shipment) == content
        assert not reader._slow[id(drive)]
        assert shipment.health().good


def test_what_is_logged_holds_no_token(origin, seal, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(http_client, "PATIENCE", 0.2)
    caplog.set_level(logging.DEBUG)
    (tmp_path / "token").write_text("hush")
    with nginx(tmp_path / "nginx", origin.root, token="hush") as host, proxy(host.url) as made:
        rows = [{"name": f"d{each}", "at": f"{made.endpoint}/d{each:02d}/", "token_file": "token"} for each in range(N)]
        with origin.shipment([listing(tmp_path, rows)], seal) as shipment:
            assert sum("goes over http" in each for each in shipment.notices) == N
            made.plan = lambda _method, path, _number: "500" if "/d01/" in path else None
            everything(shipment)
            told = f"{shipment.health()} {shipment.notices} {caplog.text} {shipment.groups[0].reader.drives}"
    assert "d01" in told
    assert "hush" not in told
