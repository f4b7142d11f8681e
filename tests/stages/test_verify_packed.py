"""What pack and seal really write is what verify and inspect expect, to the last file."""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fleet as fleets
import shipments

from sealift.errors import NotAllHere
from sealift.formats import manifest as mf
from sealift.formats.allowed_signers import AllowedSigners
from sealift.stages.inspect import inspect
from sealift.stages.verify import verify


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    root = tmp_path_factory.mktemp("packed")
    source = root / "source"
    rng = random.Random(5)
    for number in range(30):
        (source / f"{number % 3}").mkdir(parents=True, exist_ok=True)
        (source / f"{number % 3}" / f"{number}.bin").write_bytes(rng.randbytes(rng.randrange(300_000)))
    made = shipments.Origin(root / "origin", source, groups=2)
    made.pack()
    return made


@pytest.fixture
def check(origin):
    allowed = AllowedSigners.parse(origin.allowed)
    return lambda mounts, **options: verify(mounts, allowed=allowed, remember=False, **options)


def test_a_packed_shipment_is_intact_against_its_seal(origin, check):
    report = check(origin.mounts, seal=origin.seal())
    assert (report.state, report.faults, report.notices) == ("intact", [], [])
    looked = inspect(origin.mounts, seal=origin.seal())
    assert (looked.state, looked.faults) == ("complete", [])
    assert [group.total_bytes for group in looked.groups] == [group.readable_bytes for group in looked.groups]
    assert check(origin.mounts).state == "unseen"


def test_any_bit_of_a_packed_drive_is_named(origin, check):
    rng = random.Random(7)
    seal = origin.seal()
    for mount in origin.mounts[:3]:
        base = Path(mount, "sealift")
        for path in sorted(path for path in base.rglob("*") if path.is_file()):
            bit = rng.randrange(8 * path.stat().st_size)
            fleets.flip(path, bit)
            report = check(origin.mounts, seal=seal)
            fleets.flip(path, bit)
            name = str(path.relative_to(base))
            assert {(fault.mount, fault.path) for fault in report.faults} == {(mount, name)}
            if name.startswith("packs/"):
                assert report.faults[0].block == bit // 8 // mf.BLOCK


def test_a_lost_drive_is_recoverable(origin, check):
    report = check(origin.mounts[1:], seal=origin.seal(), final=True)
    assert (report.state, [row.serial for row in report.groups[0].missing]) == (
        "recoverable",
        [origin.serial(origin.mounts[0])],
    )


@pytest.mark.parametrize("sealed", [False, True])
def test_a_packing_that_was_killed_while_closing_is_unfinished_and_not_refused(origin, tmp_path, sealed):
    """The signature is written before the manifest: alone it says nothing of anybody's trust."""
    mounts = []
    for mount in origin.mounts[:3]:
        shutil.copytree(mount, tmp_path / Path(mount).name)
        mounts.append(str(tmp_path / Path(mount).name))
        (tmp_path / Path(mount).name / "sealift" / mf.MANIFEST).unlink()
    allowed = AllowedSigners.parse(origin.allowed)
    said = r"manifest.json is gone from each of" if sealed else r"there is no manifest on .*: their packing was not fin"
    hint = "groups/0000/closed/" if sealed else "`sealift pack` again finishes them"
    for look in (verify, inspect):
        with pytest.raises(NotAllHere, match=said) as caught:
            look(mounts, allowed=allowed, seal=origin.seal() if sealed else None)
        assert hint in caught.value.hint
