"""A stripe that more drives hold wrongly than parity is packed again as soon as that is known, and not at the end."""

import re

import pytest
from test_failing_drives import Packing, owed
from test_misread import Begun, adds_up

from sealift.errors import DriveFault
from sealift.formats import manifest as mf
from sealift.stages.pack import readback


class Spoilt(Packing):
    """Packs on some drives rot before they are read back: of these stripes, one after the other."""

    def __init__(self, tmp_path, monkeypatch, *stripes, slots=(0, 1)):
        super().__init__(tmp_path, size=22 if max(stripes) < 6 else 40)
        left, start = list(stripes), readback.ReadBack.start

        def rot_first(reads, stripe):
            if [stripe] == left[:1]:
                del left[0]
                for slot in slots:
                    role = mf.role_of(stripe, slot, self.origin.n)
                    self.fleet.rot_block(self.mounts[slot], mf.pack_name(stripe, role, self.origin.data), 0)
            return start(reads, stripe)

        monkeypatch.setattr(readback.ReadBack, "start", rot_first)


def again(packing):
    """Of each time that stripes are packed again: from which one on, and how many."""
    told = [re.search(r"stripe (\d+) cannot be rebuilt .*: (\d+) stripe", text) for text in packing.notices]
    return [(int(each[1]), int(each[2])) for each in told if each]


def test_packing_stops_filling_at_the_next_stripe(tmp_path, monkeypatch):
    packing = Spoilt(tmp_path, monkeypatch, 2)
    result = packing.pack(read_back="full")
    assert (result.exit_code, adds_up(result)["packed_again"]) == (0, 2)
    ((stripe, many),) = again(packing)
    assert stripe == 2
    assert many <= 4 < result.groups[0]["stripes"] - stripe
    packing.ends_well()


def test_what_is_known_when_a_packing_goes_on_is_packed_again_before_anything_else(tmp_path, monkeypatch):
    packing = Begun(tmp_path, monkeypatch, size=22)
    for mount in packing.mounts[:2]:
        packing.rot(mount, 1)
    result = packing.pack(read_back="full")
    assert result.exit_code == 0
    assert again(packing) == [(1, 2)]
    packing.ends_well()


def test_who_gets_on_is_not_given_up(tmp_path, monkeypatch):
    packing = Spoilt(tmp_path, monkeypatch, 0, 4, 8, 8, 11)
    result = packing.pack(read_back="full")
    assert result.exit_code == 0
    assert [stripe for stripe, _ in again(packing)] == [0, 4, 8, 8, 11]
    packing.ends_well()


def test_who_does_not_get_on_is(tmp_path, monkeypatch):
    packing = Spoilt(tmp_path, monkeypatch, *[1] * 9)
    with pytest.raises(DriveFault, match="time and again, on more drives than parity holds"):
        packing.pack(read_back="full")
    assert [stripe for stripe, _ in again(packing)] == [1, 1, 1]
    packing.unsigned()


def test_a_drive_that_is_set_aside_counts_as_far_as_it_owes_the_stripe(tmp_path, monkeypatch):
    """One is wrong, and one owes it."""
    packing = Spoilt(tmp_path, monkeypatch, 4, slots=(1,))
    packing.fleet.fail(packing.mounts[0], "create", nth=4, lasting=True)  # drive.json, settings, a pack or two
    result = packing.pack(read_back="full")
    assert (result.exit_code, [row["mount"] for row in owed(result)]) == (3, packing.mounts[:1])
    assert [stripe for stripe, _ in again(packing)] == [4]
    packing.fleet.heal(packing.mounts[0])
    assert packing.pack(read_back="full").exit_code == 0
    packing.ends_well()
