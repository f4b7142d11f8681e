"""Hosts that give slowly, and do give: they are waited for, asked for no more than they can send, and told."""

import random
import threading
import time
from contextlib import ExitStack

import pytest
import shipments
from faulty_proxy import proxy
from storage_host import nginx

from sealift.cli import main
from sealift.drives import host_pace, http_client, ranges
from sealift.drives.host_pace import HostPace
from sealift.drives.http import HttpDrive
from sealift.formats import seal as seals
from sealift.reading import hedge
from sealift.stages import unpack_places

N = 3
SIZE = 1 << 20  # of all files


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    base, rng = tmp_path_factory.mktemp("slow"), random.Random(11)
    for number in range(8):
        shipments.write(base / f"source/{number:02d}.bin", rng.randbytes(SIZE // 8))
    made = shipments.Origin(base / "origin", base / "source", 2, 1, options={"pack_size": 1 << 20})
    made.pack()
    made.sealed = made.seal()
    (made.root / "s.seal").write_bytes(seals.encode_bundle(made.sealed))
    return made


@pytest.fixture(scope="module")
def host(origin, tmp_path_factory):
    with nginx(tmp_path_factory.mktemp("host") / "nginx", origin.root) as made:
        yield made


@pytest.fixture
def two(host, monkeypatch):
    """Two hosts, and what takes seconds takes tenths."""
    monkeypatch.setattr(http_client, "_SILENT", 0.5)
    monkeypatch.setattr(http_client, "PATIENCE", 0.5)
    monkeypatch.setattr(ranges, "SOON", 0.1)
    monkeypatch.setattr(hedge, "_SOONEST", 0.1)
    monkeypatch.setattr(host_pace, "LONG", 0.5)
    with ExitStack() as stack:
        yield [stack.enter_context(proxy(host.url)) for _ in range(2)]


def files_of(shipment):
    return {each.path: shipment.read(each) for each in shipment.members() if each.kind == "file"}


def content(origin):
    return {path.name: path.read_bytes() for path in origin.source.iterdir()}


@pytest.mark.long
def test_a_slow_host_that_holds_all_of_a_group_is_waited_for_and_told(origin, two, caplog):
    two[0].plan = lambda *_: "rate 700000"
    mounts = [f"{two[0].endpoint}/d{each:02d}/" for each in range(N)]
    with origin.shipment(mounts, origin.sealed) as shipment:
        assert files_of(shipment) == content(origin)
        health = shipment.health()
    assert health.good, "nothing failed, and nothing was asked for twice"
    assert not any(each.retries for each in health.locations), "no request was given up"
    assert sum(each.bytes for each in health.locations) < 3.5 * SIZE, "with the first block of each drive, for its slot"
    shared = {path for _, path in two[0].seen if "/index/" in path or path.endswith(".bin")}
    assert shared
    assert all("/d00/" in path for path in shared), "another drive of that host would send no sooner"
    told = [record.getMessage() for record in caplog.records]
    assert any(f"{two[0].endpoint} is slow, it gives " in each and "kB/s" in each for each in told), told


@pytest.mark.long
def test_unpack_over_a_slow_link_gets_all(origin, two, tmp_path, capsys):
    two[0].plan = lambda *_: "rate 500000"
    words = ["unpack", *(f"{two[0].endpoint}/d{each:02d}/" for each in range(N)), "--to", str(tmp_path / "out")]
    words += ["--identity", str(origin.root / "identity"), "--allowed-signers", str(origin.root / "allowed")]
    assert main.run([*words, "--seal", str(origin.root / "s.seal")]) == 0, capsys.readouterr()
    assert shipments.picture(tmp_path / "out") == shipments.picture(origin.source)


def test_a_slow_host_is_not_asked_for_parity_of_what_it_is_slow_with(origin, two):
    mounts = [f"{two[each == 2].endpoint}/d{each:02d}/" for each in range(N)]
    with origin.shipment(mounts, origin.sealed) as shipment:
        (group,) = shipment.groups.values()
        reader, buffer = group.reader, memoryview(bytearray(100))
        length = reader.record(0, 0).length
        assert length > 100
        assert reader._guess_into(0, 0, 0, buffer)
        before = [len(each.seen) for each in two]
        assert not reader._guess_into(0, 0, 0, buffer, beside=two[0].endpoint), "two are needed, and one is elsewhere"
        assert [len(each.seen) for each in two] == before
        drive = reader.drives[0][0]
        drive.host.pace.took(1 << 20, 100)
        assert drive.slow
        assert reader._others(0, 0, "")[0] == 2, "what is slow is asked last"


def test_a_drive_that_gives_nothing_is_given_up_though_its_host_gives_others(origin, two, monkeypatch):
    """And not before others had the time to fill the way to it."""
    two[0].plan = lambda _method, path, _number: "hang" if "/d01/" in path else "rate 20000"
    slow, dead = (HttpDrive(f"{two[0].endpoint}/d{each:02d}/") for each in range(2))
    over = threading.Event()

    def read_on():
        while not over.is_set():
            slow.open_later("packs.bin").read_at(0, 4096)

    thread = threading.Thread(target=read_on)
    thread.start()
    begun = time.monotonic()
    try:
        with pytest.raises(Exception, match="did not answer in time"):
            dead.open_later("packs.bin").read_at(0, 10)
        assert 3 * 0.5 <= time.monotonic() - begun < 5
    finally:
        over.set()
        thread.join()


def test_a_cut_answer_is_gone_on_with_where_it_ended(origin, two):
    """Bytes that came are not asked for again; a reset may take some that were not yet read: then patience counts."""
    name = next(path for path in (origin.root / "d00").rglob("*.tar.zst.age"))
    data = name.read_bytes()
    two[0].plan = lambda method, _path, number: "cut" if method == "GET" and number < 2 else None
    drive = HttpDrive(f"{two[0].endpoint}/d00/", patience=10)
    file = drive.open_later(str(name.relative_to(origin.root / "d00" / "sealift")))
    assert file.read_at(0, len(data)) == data
    assert drive.traffic.requests == 3
    assert drive.traffic.bytes == len(data)


def test_what_gave_nothing_for_long_is_asked_for_a_short_time_next(origin, two):
    two[0].plan = lambda method, *_: "cut" if method == "GET" else None
    drive, asked = HttpDrive(f"{two[0].endpoint}/d00/", patience=1.6), []
    for _ in range(2):
        before = len(two[0].seen)
        with pytest.raises(Exception, match="time and again"):
            drive.open_later("drive.json").read_at(0, 10)
        asked.append(len(two[0].seen) - before)
    assert asked[0] > 1
    assert drive._in_vain == 2
    two[0].plan = lambda *_: None
    assert drive.open_later("drive.json").read_at(0, 10)
    assert not drive._in_vain


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """Two data drives and two of parity, behind nginx."""
    base, rng = tmp_path_factory.mktemp("four"), random.Random(12)
    for number in range(8):
        shipments.write(base / f"source/{number:02d}.bin", rng.randbytes(SIZE))
    made = shipments.Origin(base / "origin", base / "source", 2, 2, options={"pack_size": 1 << 20})
    made.pack()
    made.sealed = made.seal()
    with nginx(base / "nginx", made.root) as host:
        yield made, host


def test_a_host_that_hangs_is_failing_with_all_its_drives(four, monkeypatch):
    """Reads of one drive time out; the other is not asked often enough to know, and is in the same dead host."""
    origin, host = four
    for module, name, value in ((http_client, "_SILENT", 0.5), (ranges, "SOON", 0.1), (hedge, "_SOONEST", 0.1)):
        monkeypatch.setattr(module, name, value)
    with proxy(host.url) as dies, proxy(host.url) as lives:
        mounts = [f"{(dies if each < 2 else lives).endpoint}/d{each:02d}/" for each in range(4)]
        with origin.shipment(mounts, origin.sealed) as shipment:
            dies.plan = lambda *_: "hang"
            assert files_of(shipment) == content(origin)
            time.sleep(1.0)  # for the first request to end, which nobody waits for
            health, report = shipment.health(), unpack_places.met(shipment)
    why = http_client.SLOW.why
    assert {each.mount: each.state for each in health.drives} == dict.fromkeys(mounts[:2], "failing")
    told = unpack_places.places([], [report])
    assert [(each.location, each.state, why in each.why) for each in told] == [
        (mount, "failing", True) for mount in sorted(mounts[:2])
    ]


def test_that_nobody_is_there_is_told_of_every_drive_of_a_host_whichever_process_found_it():
    def met(**given):
        return unpack_places.Met(**({"faults": 0, "first_fault": "", "hedged": 4, "slow": False} | given))

    first = {"s0": met(faults=2, first_fault="s0: gone", host="h", nobody="gone"), "other": met(host="i")}
    second = {"s1": met(host="h"), "mounted": met(hedged=0, faults=1, first_fault="rotten")}
    told = {each.location: each for each in unpack_places.places([("silent", "no")], [first, second])}
    assert {name: each.state for name, each in told.items()} == {
        "s0": "failing", "s1": "failing", "other": "slow", "mounted": "failing", "silent": "silent",
    }  # fmt: skip
    assert (told["s1"].faults, told["s1"].why) == (1, "s1: gone")
    assert (told["s0"].faults, told["s0"].why) == (2, "s0: gone")


def test_a_host_that_gives_to_others_is_not_gone():
    pace = HostPace("h", 8)
    begun = time.monotonic()
    pace.gone("late", begun, surely=False)
    assert pace.gone_since(begun) == "late"
    pace.gave(host_pace.STEP)
    again = time.monotonic()
    pace.gone("late", begun, surely=False)
    assert not pace.gone_since(again), "it was that request which was slow"
    pace.gone("refused", begun, surely=True)
    assert pace.gone_since(again) == "refused"
    assert not pace.gone_since(time.monotonic()), "what was before a shipment was opened is not of it"


def test_pace_of_a_host():
    pace = HostPace("h", 8)
    assert not pace.slow
    assert pace.silent(time.monotonic()) < 1
    for allowed in (4, 2, 2):
        pace.took(2 << 20, host_pace.LONG + 1)
        assert (pace.allowed, pace.slow) == (allowed, True)
    assert all(pace.enter(0.1) for _ in range(2))
    assert not pace.enter(0.1), "nobody has left, and nothing came"
    pace.gave(5)
    threading.Timer(0.3, pace.leave).start()
    assert pace.enter(0.5)
    pace.took(10, 0.001)
    assert pace.allowed == 2, "so few bytes say nothing"
    for _ in range(6):
        pace.took(2 << 20, 0.5)
    assert not pace.slow
    assert HostPace("h", 1)._least == 1
