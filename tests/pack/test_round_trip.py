"""Whatever tree goes in comes out the same, whichever drives are lost: content, modes, ns times, link structure."""

import itertools
import os
import random
import shutil
import stat
import tempfile
from pathlib import Path

import pytest
import shipments
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

NAMES = [
    b"a",
    b"b.txt",
    b"b.json",
    b"x",
    b"x.part-000000",
    b"x.part-000001",
    b"-n",
    b"--help",
    b".hidden",
    b"...",
    b"..data",
    b"new\nline",
    b"tab\tand \\",
    b"\xff\xfe\x80",
    "\u00e9\u4e16.txt".encode(),
    b"L" * 255,
    b"\xe9" * 250 + b".part",
    b"M" * 245,
    b" ",
    b"*?[",
]
MODES = st.sampled_from([0o644, 0o600, 0o755, 0o400, 0o711, 0o1777, 0o444, 0o000 if not os.geteuid() else 0o440])
MTIMES = st.one_of(
    st.integers(-(2**31) * 10**9, 2**33 * 10**9 - 1), st.sampled_from([0, -1, 1, 10**9, -(10**9), 8**11 * 10**9 - 1])
)
SIZES = st.one_of(
    st.sampled_from([0, 1, 511, 512, 513, 4096, 1 << 17, (1 << 17) + 1, (1 << 20) - 4096, 1 << 20, (1 << 20) + 1]),
    st.integers(0, 3000),
    st.integers(0, 1_500_000),
)
KINDS = st.sampled_from(["file"] * 8 + ["folder"] * 3 + ["hard", "symlink", "sparse", "deep"])
TARGETS = [b"nowhere", b"/etc/passwd", b"../../../..", b".", b"a", b"\xff\n", b"t" * 120, b"u/" * 1500]
ENTRIES = st.lists(
    st.tuples(KINDS, st.integers(0, 200), st.integers(0, len(NAMES) - 1), SIZES, MODES, MTIMES, st.integers(0, 99)),
    min_size=1,
    max_size=25,
)


def grow(root: bytes, entries) -> None:
    """A tree as `entries` say; names that are taken are left out."""
    os.makedirs(root)
    folders, files, times = [root], [], []
    for kind, place, number, size, mode, mtime, seed in entries:
        name, target = NAMES[number], TARGETS[seed % len(TARGETS)]
        path = folders[place % len(folders)] + b"/" + name
        if os.path.lexists(path) or (len(name) > 253 and kind == "symlink") or len(path) - len(root) > 3500:
            continue
        if kind in {"folder", "deep"}:
            if kind == "deep":
                path += b"/" + b"/".join([b"d" * (1 + seed)] * 12)
            os.makedirs(path)
            folders.append(path)
            times.append((path, 0o555 if seed % 3 == 0 else 0o2750 if seed % 3 == 1 else 0o700, mtime))
        elif kind == "hard" and files:
            os.link(files[place % len(files)], path)
        elif kind == "symlink":
            os.symlink(target, path)
            os.utime(path, ns=(mtime, mtime), follow_symlinks=False)
            if seed % 4 == 0 and not os.path.lexists(path + b".2"):
                os.link(path, path + b".2", follow_symlinks=False)
        else:
            with open(path, "wb") as file:
                if kind == "sparse":
                    for step in range(seed % 5):
                        file.seek(step * 700_001 + size)
                        file.write(b"%d" % seed)
                    file.truncate(size + 3_000_000)
                else:
                    data = random.Random(seed).randbytes(size) if seed % 2 else (b"text %d " % seed * size)[:size]
                    file.write(data)
            os.chmod(path, mode)
            os.utime(path, ns=(mtime, mtime))
            files.append(path)
    for path, mode, mtime in reversed(times):
        os.chmod(path, mode)
        os.utime(path, ns=(mtime, mtime))


GEOMETRIES = st.sampled_from([(1, 0, 1), (1, 1, 1), (2, 1, 1), (3, 2, 1), (1, 0, 2), (2, 1, 3)])


@settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    entries=ENTRIES, geometry=GEOMETRIES, shuffled=st.booleans(), seed=st.integers(0, 2**32), pick=st.integers(0, 2**32)
)
def test_any_tree_survives_the_loss_of_any_m_drives(entries, geometry, shuffled, seed, pick):
    scratch = Path(tempfile.mkdtemp(prefix="round-"))
    try:
        source = scratch / "source"
        grow(os.fsencode(source), entries)
        data, parity, groups = geometry
        order = {"order": "shuffled", "seed": seed} if shuffled else {}
        order["accept_carrier_risk"] = not parity
        origin = shipments.Origin(scratch / "origin", source, data, parity, groups, options=order)
        result = origin.pack()
        assert (result.changed, result.skipped, result.waiting) == ([], [], [])
        picture = shipments.picture(source)
        files = sum(value[0] != "dir" for value in picture.values())
        assert result.files == files
        seal = origin.seal()
        losses = list(itertools.combinations(range(origin.n), parity))
        lost = losses[pick % len(losses)]
        left = [mount for mount in origin.mounts if slot(mount) not in lost]
        assert len(left) == data * groups
        restored = origin.unpack(scratch / "restored", left, seal)
        assert restored.failed == []
        assert restored.files == files
        assert shipments.differences(picture, shipments.picture(scratch / "restored")) == []
        if origin.n == 1:
            whole_samples(origin, seal)
    finally:
        for folder, _, _ in os.walk(os.fsencode(scratch)):
            os.chmod(folder, stat.S_IRWXU)
        shutil.rmtree(scratch)


def slot(mount) -> int:
    from sealift.formats import manifest

    with open(os.path.join(mount, "sealift", manifest.CARD), "rb") as file:
        return manifest.decode_card(file.read()).slot


def whole_samples(origin, seal) -> None:
    """Members that share directory and name up to the first dot are in one pack unless they are larger than one."""
    from sealift.formats.index import FILE
    from sealift.formats.samples import default_key

    places: dict[bytes, set[tuple[int, int, int]]] = {}
    sizes: dict[bytes, int] = {}
    with_links = set()
    shipment = origin.shipment(seal=seal)
    rows = [(number, row) for number, group in shipment.groups.items() for row in group.members.rows()]
    for number, row in rows:
        key = default_key(row.path)
        if row.kind == FILE:
            places.setdefault(key, set()).add((number, row.stripe, row.role))
            sizes[key] = sizes.get(key, 0) + row.length
        elif row.link:
            with_links |= {key, default_key(row.link)}
    shipment.close()
    for key, packs in places.items():
        assert len(packs) == 1 or sizes[key] > shipments.MIB // 8 or key in with_links, key


def test_samples_stay_in_one_pack(tmp_path):
    rng = random.Random(3)
    source = tmp_path / "source"
    for number in range(60):
        for suffix in ("jpg", "json", "cls.txt"):
            shipments.write(source / f"{number:04d}.{suffix}", rng.randbytes(rng.randrange(100, 60_000)))
    origin = shipments.Origin(tmp_path / "origin", source, 2, 1)
    origin.pack()
    places: dict[bytes, set[tuple[int, int]]] = {}
    for row in origin.shipment().rows():
        places.setdefault(row.path.partition(b".")[0], set()).add((row.stripe, row.role))
    assert len(places) == 60
    assert len(set().union(*places.values())) > 2, "more than one pack, or nothing was shown"
    assert all(len(packs) == 1 for packs in places.values())


@pytest.mark.long
@pytest.mark.parametrize(("data", "parity"), [(1, 2), (2, 1), (2, 2), (3, 1)])
def test_every_choice_of_m_drives_may_be_lost(tmp_path, data, parity):
    source = shipments.corpus(tmp_path / "source")
    origin = shipments.Origin(tmp_path / "origin", source, data, parity)
    origin.pack()
    seal, rebuilt = origin.seal(), 0
    for number, lost in enumerate(itertools.combinations(range(origin.n), parity)):
        left = [mount for place, mount in enumerate(origin.mounts) if place not in lost]
        restored = origin.unpack(tmp_path / f"restored-{number}", left, seal)
        assert restored.failed == []
        rebuilt += restored.rebuilt_blocks
        shipments.same(source, tmp_path / f"restored-{number}")
    assert rebuilt


def test_a_carrier_more_than_parity_holds_loses_files_by_name_and_the_rest_is_there(tmp_path):
    source = shipments.corpus(tmp_path / "source")
    origin = shipments.Origin(tmp_path / "origin", source, 2, 1)
    origin.pack()
    restored = origin.unpack(tmp_path / "restored", origin.mounts[:1])
    lost = {path for path, _ in restored.failed}
    assert lost, "two of three drives are gone"
    before, after = shipments.picture(source), shipments.picture(tmp_path / "restored")
    notes = next(name for name in after if name.startswith(b".sealift-unpack-"))
    after = {path: value for path, value in after.items() if not path.startswith(notes)}
    assert {path for path in before if path not in after} == lost & before.keys()
    for path, value in after.items():
        assert value[:1] == before[path][:1]
        if value[0] == "file":
            assert value[:5] == before[path][:5]
    assert any(value[0] == "file" for value in after.values()), "the rest still unpacks"


def test_rotten_blocks_in_different_rows_cost_nothing(tmp_path):
    source = shipments.corpus(tmp_path / "source")
    origin = shipments.Origin(tmp_path / "origin", source, 2, 1, options={"pack_size": 4 * shipments.MIB})
    origin.pack()
    rotten = 0
    for stripe in range(origin.manifests()[0][0].geometry.stripes):
        for row in range(3):
            packs = [pack for mount in origin.mounts for pack in origin.packs(mount)]
            packs = [pack for pack in packs if pack.name.startswith(f"{stripe:07d}.")]
            packs = [pack for pack in packs if pack.stat().st_size > row * shipments.MIB]
            if packs:
                pack = packs[(row + stripe) % len(packs)]
                with open(pack, "r+b") as file:
                    file.seek(min(row * shipments.MIB + 777, pack.stat().st_size - 1))
                    byte = file.read(1)
                    file.seek(-1, os.SEEK_CUR)
                    file.write(bytes([byte[0] ^ 0x40]))
                    rotten += 1
    assert rotten >= 2
    restored = origin.unpack(tmp_path / "restored")
    assert restored.failed == []
    assert restored.rebuilt_blocks >= 1
    shipments.same(source, tmp_path / "restored")


def test_setuid_and_setgid_of_files_are_not_carried_because_owners_are_not(tmp_path):
    source = tmp_path / "source"
    shipments.write(source / "tool", b"#!/bin/sh\n", 0o6755)
    origin = shipments.Origin(tmp_path / "origin", source, 1, 1)
    origin.pack()
    (target := tmp_path / "target").mkdir()
    origin.unpack(target, seal=origin.seal())
    assert stat.S_IMODE((target / "tool").stat().st_mode) == 0o755


def test_setuid_and_setgid_of_files_are_not_carried(tmp_path):
    shipments.write(tmp_path / "source" / "file", b"x", 0o6755)
    shipments.write(tmp_path / "source" / "folder" / "in", b"y", 0o1644)
    (tmp_path / "source" / "folder").chmod(0o2775)
    origin = shipments.Origin(tmp_path / "origin", tmp_path / "source", 1, 1)
    origin.pack()
    assert origin.unpack(tmp_path / "restored").failed == []
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "restored").rglob("*")}
    assert modes == {"file": 0o755, "in": 0o1644, "folder": 0o2775}
