"""pack on the nodes of a Ray cluster: each group where its drives stand, one state here, and hosts that die."""

import dataclasses
import os
import re
import shutil
from pathlib import Path

import placed_work
import pytest
import shipments

from sealift.cli import pack_words
from sealift.drives.object_prefix import ObjectPrefix
from sealift.errors import BadInput, Refused, SourceFault
from sealift.formats.allowed_signers import AllowedSigners
from sealift.stages import seal as sealing
from sealift.stages.pack import hosts as pack_hosts
from sealift.stages.pack.hosts import pack_on
from sealift.stages.placed_pass import Events
from sealift.stages.status import look
from sealift.stages.verify import verify

MIB = 1 << 20


@pytest.fixture
def origin(cluster, tmp_path, monkeypatch):
    """A source of 18 MiB, and six empty drives of two groups of 2 + 1: group 0 on host a, group 1 on b."""
    source = tmp_path / "source"
    for number in range(72):
        shipments.write(source / f"d{number % 5}/{number:02d}.bin", os.urandom(MIB // 4))
    made = shipments.Origin(tmp_path / "origin", source, 2, 1, groups=2)
    made.mounts = [str(cluster.home("ab"[place % 2]) / Path(mount).name) for place, mount in enumerate(made.mounts)]
    for mount in made.mounts:
        os.mkdir(mount)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    yield made
    for host in ("a", "b"):
        for name in ("stuck", "environment"):
            (cluster.home(host) / name).unlink(missing_ok=True)
        shutil.rmtree(cluster.home(host) / "state", ignore_errors=True)


def pack(hosts, origin, notices=None, on=lambda *_: None, **changes):
    notice = (lambda _: None) if notices is None else notices.append
    homes, names = Path(origin.mounts[0]).parents[1], [Path(mount).name for mount in origin.mounts]
    serials = {str(homes / home / name): f"SER{name}" for home in ("a", "b") for name in names}
    options = origin.pack_options(**{"to": ["~/d*"], "state": "~/state", "serials": serials} | changes)
    return pack_on(hosts, options, Events(on, notice))


def check(origin, cluster, tmp_path):
    """Everything is as if it had been packed in one host: state, seal, every byte, and what comes out again."""
    mounts = sorted(str(path) for path in cluster.base.glob("?/d*"))
    allowed = AllowedSigners.parse(origin.allowed)
    state = str(tmp_path / "home/state")
    groups = look(state).groups
    assert [(group.state, group.files > 0, group.stripes > 0) for group in groups] == [("signed", True, True)] * 2
    assert sum(group.source_bytes for group in groups) == 18 * MIB
    assert len(sealing.gather([state], allowed)) == 2
    files = origin.seal(mounts)
    report = verify(mounts, allowed=allowed, seal=files, remember=False)
    assert (report.state, report.faults) == ("intact", [])
    origin.unpack(tmp_path / "restored", mounts, files)
    assert shipments.picture(tmp_path / "restored") == shipments.picture(origin.source)


@pytest.mark.long
def test_each_group_is_packed_where_its_drives_stand(cluster, hosts, origin, tmp_path):
    told = []
    result = pack(hosts, origin, on=lambda *now: told.append(now))
    assert (result.exit_code, [row["state"] for row in result.groups]) == (0, ["signed", "signed"])
    assert (result.files, result.source_bytes) == (72, 18 * MIB)
    assert {row.state for row in result.hosts} == {"done"}
    assert len(list(cluster.base.glob("?/state/on-*/journal.sqlite"))) == 2
    check(origin, cluster, tmp_path)
    again = pack(hosts, origin)
    assert (again.exit_code, again.hosts, again.files) == (0, [], 72), "nothing is left to do"
    keys = [path for home in ("a", "b") for path in cluster.home(home).rglob("*") if path.name == "signing"]
    assert not keys


def filled(origin, bucket, under="corpus"):
    objects = ObjectPrefix(f"s3://{bucket}/{under}")
    for path in origin.source.rglob("*.bin"):
        objects.put_new(str(path.relative_to(origin.source)), path.read_bytes())
    return f"s3://{bucket}/{under}/"


def environments(cluster, s3, **other):
    for host in ("a", "b"):
        lines = [f"{name}={value}" for name, value in (s3.environment | other.get(host, {})).items()]
        (cluster.home(host) / "environment").write_text("\n".join(lines))


@pytest.mark.long
def test_a_bucket_is_packed_by_hosts_that_read_it_for_themselves(
    cluster, hosts, origin, tmp_path, bucket, s3, monkeypatch
):
    monkeypatch.setattr(pack_hosts, "_pack", placed_work.pack)
    environments(cluster, s3, b={"AWS_SECRET_ACCESS_KEY": "another"})
    source, notices = filled(origin, bucket), []
    for name in s3.environment:
        monkeypatch.delenv(name)  # the keys of a bucket are the hosts'
    result = pack(hosts, origin, notices, source=source)
    assert (result.exit_code, [row["state"] for row in result.groups]) == (6, ["signed", "waiting"])
    (row,) = [row for row in result.hosts if row.state == "failed"]
    assert "the secret key is not that of the access key" in row.why
    assert any(text.startswith(f"{row.name} stops (s3://{bucket}/corpus: ") for text in notices)
    environments(cluster, s3)
    result = pack(hosts, origin, source=source)
    assert (result.exit_code, [row["state"] for row in result.groups]) == (0, ["signed", "signed"])
    assert (result.files, result.source_bytes, result.config.source) == (72, 18 * MIB, f"s3://{bucket}/corpus")
    mounts = sorted(str(path) for path in cluster.base.glob("?/d*"))
    origin.unpack(tmp_path / "restored", mounts, origin.seal(mounts))
    for path in origin.source.rglob("*.bin"):
        assert (tmp_path / "restored" / path.relative_to(origin.source)).read_bytes() == path.read_bytes()


@pytest.mark.long
@pytest.mark.parametrize("keys", ["none", "wrong"])
def test_where_no_host_has_the_stores_keys_the_host_is_named(cluster, hosts, origin, bucket, s3, monkeypatch, keys):
    monkeypatch.setattr(pack_hosts, "_pack", placed_work.pack)
    environments(cluster, s3)
    if keys == "wrong":
        wrong = {"AWS_SECRET_ACCESS_KEY": "another"}
        environments(cluster, s3, a=wrong, b=wrong)
    else:
        without = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
        environments(cluster, s3, a=without, b=without)
    with pytest.raises(SourceFault if keys == "wrong" else BadInput) as told:
        pack(hosts, origin, source=filled(origin, bucket))
    names = "|".join(re.escape(host.name) for host in hosts.hosts())
    assert re.match(rf"({names}): s3://{bucket}/corpus: ", str(told.value))
    assert told.value.hint.startswith("in the environment of that host's `ray start`, which is what counts there: ")


def stuck(cluster, host, stripes):
    (cluster.home(host) / "stuck").write_text(str(stripes))


def lose_b(cluster, hosts, then):
    b = next(host.name for host in hosts.hosts() if host.key == cluster.name("b"))

    def told(step, progress, _hosts):
        if step == "pack" and progress.drives.get(b, 0) >= placed_work.STUCK and "b" in cluster.nodes:
            cluster.lose("b")
            then()

    return b, told


@pytest.mark.long
def test_a_lost_hosts_group_goes_on_where_its_drives_reappear(cluster, hosts, origin, tmp_path, monkeypatch):
    monkeypatch.setattr(pack_hosts, "_pack", placed_work.pack)
    stuck(cluster, "b", 2)

    def move():
        for path in cluster.home("b").glob("d*"):
            shutil.move(path, cluster.home("a") / path.name)

    b, told = lose_b(cluster, hosts, move)
    notices = []
    result = pack(hosts, origin, notices, told)
    assert result.exit_code == 0, notices
    assert [(row.state, row.owed) for row in result.hosts if row.name == b] == [("lost", [])]
    (text,) = [text for text in notices if "was packed on another host meanwhile; it goes on after stripe" in text]
    assert int(text.rpartition(" ")[2]) >= 2
    check(origin, cluster, tmp_path)


@pytest.mark.long
def test_what_does_not_reappear_is_owed_and_the_same_command_goes_on(cluster, hosts, origin, tmp_path, monkeypatch):
    monkeypatch.setattr(pack_hosts, "_pack", placed_work.pack)
    stuck(cluster, "b", 2)
    b, told = lose_b(cluster, hosts, lambda: None)
    result = pack(hosts, origin, on=told)
    assert (result.exit_code, [row["state"] for row in result.groups]) == (6, ["signed", "packing"])
    assert result.groups[1]["stripes"] >= 2, "as it was heard of last"
    group = look(str(tmp_path / "home/state")).groups[1]
    assert (group.state, group.stripes >= 2, group.source_bytes > MIB) == ("packing", True, True)
    (row,) = [row for row in result.hosts if row.name == b]
    assert (row.state, [name[:4] for name in row.owed]) == ("lost", ["g1s0", "g1s1", "g1s2"])
    (cluster.home("b") / "stuck").unlink()
    cluster.add("b")
    result = pack(hosts, origin)
    assert (result.exit_code, [row["state"] for row in result.groups]) == (0, ["signed", "signed"])
    check(origin, cluster, tmp_path)


def lost_with_all_state(cluster, hosts, origin, monkeypatch):
    """Group 1 was begun on b, which is gone; its drives are at a; what hosts knew of the source is gone, too."""
    monkeypatch.setattr(pack_hosts, "_pack", placed_work.pack)
    stuck(cluster, "b", 2)
    _, told = lose_b(cluster, hosts, lambda: None)
    assert pack(hosts, origin, on=told).exit_code == 6
    for path in cluster.home("b").glob("d*"):
        shutil.move(path, cluster.home("a") / path.name)
    for host in ("a", "b"):
        shutil.rmtree(cluster.home(host) / "state", ignore_errors=True)


@pytest.mark.long
def test_a_lost_hosts_group_goes_on_though_the_source_has_changed(cluster, hosts, origin, tmp_path, monkeypatch):
    """By the listing that was kept here; in one host it would, too, and what is otherwise by then is told."""
    lost_with_all_state(cluster, hosts, origin, monkeypatch)
    before = shipments.picture(origin.source)
    listing = shipments.picture(tmp_path / "home/state/scan")
    assert {path for path in listing if path} == {b"g0000000.parquet", b"g0000001.parquet", b"summary.json"}
    shipments.write(origin.source / "new", b"came later")
    notices = []
    result = pack(hosts, origin, notices)
    assert [row["state"] for row in result.groups] == ["signed", "signed"], notices
    assert result.exit_code == 2, "what came is told"
    assert any("goes on after stripe" in text for text in notices)
    assert (result.since.came, result.since.gone, result.since.paths) == (1, 0, [(b"new", "came")])
    (origin.source / "new").unlink()
    assert shipments.picture(origin.source).keys() == before.keys()
    check(origin, cluster, tmp_path)


@pytest.mark.long
def test_a_source_that_is_another_one_is_refused_although_there_is_a_listing(cluster, hosts, origin, monkeypatch):
    lost_with_all_state(cluster, hosts, origin, monkeypatch)
    for path in sorted(origin.source.rglob("*.bin"))[:40]:
        path.unlink()
    with pytest.raises(Refused, match="the source is not what it was"):
        pack(hosts, origin)
    assert not list(cluster.base.glob("a/state/on-*/scan*")), "the next run looks again"


@pytest.mark.long
def test_a_drive_is_replaced_on_its_host(cluster, hosts, origin, tmp_path, monkeypatch):
    monkeypatch.setattr(pack_hosts, "_pack", placed_work.pack)
    stuck(cluster, "b", 2)
    _, told = lose_b(cluster, hosts, lambda: None)
    assert pack(hosts, origin, on=told).exit_code == 6
    (cluster.home("b") / "stuck").unlink()
    cluster.add("b")
    old, new = Path(origin.mounts[3]), cluster.home("b") / "d99"
    shutil.rmtree(old)
    new.mkdir()
    origin.declaration.write_bytes(origin.declaration.read_bytes().replace(b"SERd03", b"SERd99"))
    origin.mounts[3] = str(new)
    result = pack(hosts, origin, replace={"SERd03": str(new)})
    assert (result.exit_code, [row["state"] for row in result.groups]) == (0, ["signed", "signed"])
    check(origin, cluster, tmp_path)


@pytest.mark.long
def test_hosts_that_scan_different_sources_are_refused(cluster, hosts, origin, tmp_path):
    for host, count in (("a", 8), ("b", 9)):
        for number in range(count):
            shipments.write(cluster.home(host) / f"source/{number}.bin", os.urandom(1000))
    notices = []
    result = pack(hosts, origin, notices, source="~/source")
    assert result.exit_code == 6
    assert len([text for text in notices if "is not the same on all hosts" in text]) == 1
    failed = [row for row in result.hosts if row.state == "failed"]
    assert len(failed) == 1
    assert sorted(row["state"] for row in result.groups) == ["signed", "waiting"]


@pytest.mark.long
def test_a_group_on_two_hosts_and_drives_that_are_nobodys_wait(cluster, hosts, origin, capsys):
    moved = Path(origin.mounts[1])
    shutil.move(moved, cluster.home("a") / moved.name)
    notices = []
    result = pack(hosts, origin, notices)
    assert (result.exit_code, [row["state"] for row in result.groups]) == (6, ["signed", "waiting"])
    (text,) = [text for text in notices if "a group is packed on one host" in text]
    a, b = (next(host.name for host in hosts.hosts() if host.key == cluster.name(name)) for name in "ab")
    assert text.startswith("group 1 waits, since a group is packed on one host: move g1s0 (serial SER")
    assert text.endswith(f" from {a}:{cluster.home('a') / moved.name} to {b}, where 2 of it stand")
    pack_words.summarize(result, origin.pack_options())
    said = capsys.readouterr().err
    assert "next, have all drives of a group stand on one host:" in said
    assert "leave it" not in said
    assert "--read-back none" not in said
    pack_words.summarize(
        dataclasses.replace(result, hosts=[]), origin.pack_options()
    )  # where no host has a whole group
    assert "leave it" not in capsys.readouterr().err


@pytest.mark.long
def test_two_drives_of_one_serial_number_are_named(cluster, hosts, origin):
    twin = cluster.home("b") / Path(origin.mounts[0]).name
    os.mkdir(twin)
    homes = {f"{cluster.home(host) / twin.name}": f"SER{twin.name}" for host in "ab"}
    with pytest.raises(BadInput, match=r"^2 drives have the serial number of g0s0 \(serial SER") as told:
        pack(hosts, origin, serials=homes)
    a, b = (next(host.name for host in hosts.hosts() if host.key == cluster.name(name)) for name in "ab")
    assert str(told.value).endswith(f": {a}:{origin.mounts[0]}, {b}:{twin}")


@pytest.mark.long
def test_a_folder_in_which_nothing_is_mounted_is_no_drive(cluster, hosts, origin):
    notices = []
    result = pack(hosts, origin, notices, allow_same_filesystem=False)
    assert (result.exit_code, [row["state"] for row in result.groups]) == (6, ["waiting", "waiting"])
    names = [host.name for host in hosts.hosts()]
    left = [text for text in notices if text.endswith(" is left alone: nothing is mounted there")]
    assert (len(left), {text.partition(":")[0] for text in left}) == (len(origin.mounts), set(names))
    assert f"asked 2 hosts, on which no drive of this shipment stands: {', '.join(names)}" in notices


def test_only_what_is_mounted_or_holds_packs_counts_as_a_drive(tmp_path, monkeypatch):
    mounts = [tmp_path / name for name in ("begun", "empty", "mounted")]
    for mount in mounts:
        mount.mkdir()
    (mounts[0] / "sealift").mkdir()
    monkeypatch.setattr(pack_hosts, "nothing_mounted", lambda mount: not mount.endswith("mounted"))
    serials = {str(mount): f"SER{mount.name}" for mount in mounts}
    for scratch, drives in ((False, ["begun", "mounted"]), (True, ["begun", "empty", "mounted"])):
        found = pack_hosts._look(([str(tmp_path / "*")], serials, scratch), None)
        assert [Path(each.mount).name for each in found if each.is_drive] == drives


def test_what_needs_one_host_is_refused(cluster, hosts, origin):
    with pytest.raises(BadInput, match="--carriers and --ray do not go together"):
        pack(hosts, origin, carriers={"~/d*": "Anna"})


def test_nothing_but_manifests_of_its_own_groups_is_signed_for_a_host(cluster, hosts, origin, monkeypatch):
    monkeypatch.setattr(pack_hosts, "_pack", placed_work.sign_this)
    with pytest.raises(Refused, match="asks for a signature over what is no manifest"):
        pack(hosts, origin)
