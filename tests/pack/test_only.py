"""More is lost than parity holds: what the lost packs held is packed once more, as a shipment of its own."""

import os
from pathlib import Path

import pytest
import shipments
from blake3 import blake3
from msgspec.structs import replace

from sealift.errors import BadInput
from sealift.formats import fetch
from sealift.formats import manifest as mf
from sealift.stages.pack.journal import Journal


@pytest.fixture
def lossy(tmp_path):
    """A shipment that lost two packs of a stripe where parity holds one, and the list of what is to come again."""
    origin = shipments.Origin(tmp_path / "first", shipments.corpus(tmp_path / "source"), 2, 1)
    origin.pack()
    manifest, data = origin.manifests()[0]
    packs = []
    for role in (0, 1):
        slot = mf.slot_of(1, role, 3)
        path = mf.pack_name(1, role, 2)
        place = Path(origin.mounts[slot], "sealift", path)
        drive = manifest.drives[slot].id
        packs.append(fetch.FetchPack(group=0, stripe=1, role=role, drive=drive, path=path, bytes=place.stat().st_size))
        place.unlink()
    group = fetch.FetchGroup(group=0, manifest=blake3(data).hexdigest())
    record = fetch.FetchList(shipment=manifest.shipment, groups=[group], packs=packs[:1], contents=packs)
    origin.list = tmp_path / "list.json"
    origin.list.write_bytes(fetch.encode_list(record))
    origin.record = record
    return origin


def extra(lossy, tmp_path, **changes):
    second = shipments.Origin(tmp_path / "second", lossy.source, 2, 1)
    return second, second.pack(**({"only": str(lossy.list), "of": str(lossy.state)} | changes))


def test_the_two_shipments_together_are_the_source(lossy, tmp_path):
    target = tmp_path / "target"
    failed = {path for path, _ in lossy.unpack(target).failed}
    assert failed
    second, result = extra(lossy, tmp_path)
    assert result.groups[0]["state"] == "signed"
    assert result.config.shipment != lossy.record.shipment
    whole = shipments.picture(lossy.source)
    there = shipments.picture(tmp_path / "alone") if second.unpack(tmp_path / "alone").failed == [] else {}
    assert there
    files = {path for path, value in there.items() if value[0] != "dir"}
    assert files < {path for path, value in whole.items() if value[0] != "dir"}, "only what was lost"
    assert failed <= files
    assert all(there[path][:5] == whole[path][:5] for path in files)
    assert all(there[path] == whole[path] for path in there.keys() - files), "the folders above are as they were"


def test_the_same_again_goes_on_and_another_list_is_refused(lossy, tmp_path):
    second, first = extra(lossy, tmp_path)
    assert second.pack(only=str(lossy.list), of=str(lossy.state)).config == first.config
    other = fetch.FetchList(
        shipment=lossy.record.shipment, groups=lossy.record.groups, packs=[], contents=lossy.record.contents[:1]
    )
    lossy.list.write_bytes(fetch.encode_list(other))
    with pytest.raises(BadInput, match="began with something else"):
        second.pack(only=str(lossy.list), of=str(lossy.state))
    with pytest.raises(BadInput, match="began with something else"):
        second.pack()


def test_what_is_gone_from_the_source_is_told(lossy, tmp_path):
    from sealift.stages.pack.only import select

    paths = sorted(select(str(lossy.list), str(lossy.state)).paths)
    whole = shipments.picture(lossy.source)
    victim = next(path for path in paths if whole[path][0] == "file" and len(whole[path][-1]) == 1)
    os.unlink(os.fsencode(lossy.source) + b"/" + victim)
    _, result = extra(lossy, tmp_path)
    assert (victim, "is no longer in the source") in result.skipped
    assert result.exit_code == 2


def test_what_has_changed_since_is_told_and_packed_as_it_is(lossy, tmp_path):
    from sealift.stages.pack.only import select

    selected = select(str(lossy.list), str(lossy.state)).paths
    whole = shipments.picture(lossy.source)
    first, second = [path for path in sorted(selected) if whole[path][0] == "file" and len(whole[path][-1]) == 1][:2]
    with open(os.fsencode(lossy.source) + b"/" + first, "ab") as file:
        file.write(b"more")
    os.utime(os.fsencode(lossy.source) + b"/" + second, ns=(1, 1))
    origin, result = extra(lossy, tmp_path)
    assert (result.outdated, result.skipped, result.exit_code) == ([first, second], [], 2)
    again = origin.pack(only=str(lossy.list), of=str(lossy.state))
    assert again.outdated == [first, second], "a packing that goes on says so too"


def test_a_list_that_does_not_fit_is_refused(lossy, tmp_path):
    with pytest.raises(BadInput, match="belong together"):
        extra(lossy, tmp_path, of=None)
    with pytest.raises(BadInput, match="same"):
        extra(lossy, tmp_path, state=str(lossy.state))
    with pytest.raises(BadInput, match="no packing has begun"):
        extra(lossy, tmp_path, of=str(tmp_path / "nowhere"))
    Journal(str(tmp_path)).close()
    with pytest.raises(BadInput, match="nothing was packed here, what began was refused"):
        extra(lossy, tmp_path, of=str(tmp_path))
    record = lossy.record
    for change, what in (
        ({"shipment": "0" * 16}, "is about shipment"),
        ({"groups": [fetch.FetchGroup(group=0, manifest="0" * 64)]}, "manifests differ"),
        ({"contents": []}, "no contents are lost"),
    ):
        values = {name: getattr(record, name) for name in ("shipment", "groups", "packs", "contents")} | change
        lossy.list.write_bytes(fetch.encode_list(fetch.FetchList(**values)))
        with pytest.raises(BadInput, match=what):
            extra(lossy, tmp_path)
    for change in (
        {"role": 2},
        {"role": 9},
        {"stripe": 700},
        {"path": mf.pack_name(2, 0, 2)},
        {"drive": "g0s0" if record.contents[0].drive != "g0s0" else "g0s1"},
        {"bytes": 0},
    ):
        odd = [replace(record.contents[0], **change)]
        lossy.list.write_bytes(fetch.encode_list(replace(record, contents=odd)))
        with pytest.raises(BadInput, match="is no data pack of it") as caught:
            extra(lossy, tmp_path)
        assert "--fetch-list" in caught.value.hint
    whole = fetch.encode_list(record)
    for data in (b"{}", whole.replace(b"\n", b"\r\n"), whole[:-1]):
        lossy.list.write_bytes(data)
        with pytest.raises(BadInput, match="it is not as it was written") as caught:
            extra(lossy, tmp_path)
        assert "byte for byte" in caught.value.hint


def test_an_empty_list_is_called_empty(lossy, tmp_path):
    lossy.list.write_bytes(b"")
    with pytest.raises(BadInput, match=f"fetch list {lossy.list} is empty") as caught:
        extra(lossy, tmp_path)
    assert "mail" not in caught.value.hint


def test_a_list_that_does_not_parse_is_named(lossy, tmp_path):
    lossy.list.write_bytes(b"{")
    with pytest.raises(BadInput, match=f"fetch list {lossy.list} does not parse"):
        extra(lossy, tmp_path)
