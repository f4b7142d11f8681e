"""Several groups: packed as bays allow, one after another or on several hosts, with one scan and one seal."""

import itertools

import pytest
import shipments


def origin_of(tmp_path, groups=3, **how):
    source = shipments.corpus(tmp_path / "source")
    return shipments.Origin(tmp_path / "origin", source, 2, 1, groups, **how)


def bays(origin):
    """The mounts of every group, as the deal puts them there."""
    from sealift.drives.local import LocalDrive
    from sealift.stages.pack import fleet
    from sealift.trade import declaration

    drives = [LocalDrive(mount) for mount in origin.mounts]
    serials = {mount: origin.serial(mount) for mount in origin.mounts}
    attached = fleet.identify(drives, serials, {}, same_filesystem=True)
    declared = declaration.parse(origin.declaration.read_bytes(), draft=True)
    dealt = fleet.deal(attached, declared, parity=origin.parity, group_size=origin.n)
    return [[each.mount for each in dealt.drives(group)] for group in range(origin.groups)]


@pytest.mark.long
@pytest.mark.parametrize("order", ["path", "shuffled"])
def test_groups_are_packed_as_bays_allow(tmp_path, order):
    origin = origin_of(tmp_path, options={"order": order, "seed": 11})
    groups = bays(origin)
    first = origin.pack(to=groups[1])
    assert [group["state"] for group in first.groups] == ["waiting", "signed", "waiting"]
    assert [number for number, _ in first.waiting] == [0, 2]
    named = {place.serial for _, places in first.waiting for place in places}
    assert named == {origin.serial(mount) for group in (0, 2) for mount in groups[group]}
    second = origin.pack(to=[*groups[0], *groups[2][:2]])
    assert [group["state"] for group in second.groups] == ["signed", "signed", "waiting"]
    assert [place.serial for _, places in second.waiting for place in places] == [origin.serial(groups[2][2])]
    third = origin.pack(to=groups[2])
    assert third.waiting == []
    files = sum(value[0] != "dir" for value in shipments.picture(origin.source).values())
    assert third.files == files
    restored = origin.unpack(tmp_path / "restored")
    assert restored.failed == []
    shipments.same(origin.source, tmp_path / "restored")


@pytest.mark.long
def test_two_hosts_pack_one_shipment_and_agree_on_the_scan(tmp_path):
    origin = origin_of(tmp_path, groups=2)
    groups = bays(origin)
    one = origin.pack(to=groups[0])
    other = origin.pack(to=groups[1], state=str(tmp_path / "other-state"), shipment=one.config.shipment)
    assert [group["state"] for group in other.groups] == ["waiting", "signed"]
    manifests = [manifest for manifest, _ in origin.manifests()]
    assert manifests[0].scan == manifests[1].scan
    assert manifests[0].shipment == manifests[1].shipment
    assert origin.unpack(tmp_path / "restored").failed == []
    shipments.same(origin.source, tmp_path / "restored")


@pytest.mark.long
def test_a_withheld_group_is_named_and_the_rest_unpacks(tmp_path):
    origin = origin_of(tmp_path, groups=2)
    origin.pack()
    groups, seal = bays(origin), origin.seal()
    restored = origin.unpack(tmp_path / "restored", groups[1], seal)
    assert [missing["group"] for missing in restored.missing_groups] == [0]
    assert sorted(word for drive in restored.missing_groups[0]["drives"] for word in drive.split() if "SER" in word)
    before, after = shipments.picture(origin.source), shipments.picture(tmp_path / "restored")
    there = {path for path, value in after.items() if value[0] == "file" and b".sealift-unpack" not in path}
    assert there
    assert all(after[path][:5] == before[path][:5] for path in there)
    again = origin.unpack(tmp_path / "restored", origin.mounts, seal)  # the group has come
    assert again.failed == []
    shipments.same(origin.source, tmp_path / "restored")


@pytest.mark.long
def test_carriers_are_spread_over_groups_so_that_losing_one_is_held(tmp_path):
    origin = origin_of(tmp_path, groups=2, carriers=["anna", "anna", "bo", "bo", "cy", "cy"])
    origin.pack()
    seal = origin.seal()
    for number, carrier in enumerate(["anna", "bo", "cy"]):
        left = [mount for mount in origin.mounts if origin.carrier(mount) != carrier]
        restored = origin.unpack(tmp_path / f"restored-{number}", left, seal)
        assert restored.failed == []
        shipments.same(origin.source, tmp_path / f"restored-{number}")


def test_the_deal_does_not_depend_on_the_order_of_mounts(tmp_path):
    origin = origin_of(tmp_path, groups=2)
    before = bays(origin)
    for mounts in itertools.islice(itertools.permutations(origin.mounts), 0, 100, 17):
        origin.mounts = list(mounts)
        assert bays(origin) == before
