"""What was read back last is read once more when a packing goes on: a power cut may have taken it from the drives."""

import pytest
from test_failing_drives import Packing
from test_misread import adds_up
from test_read_back import interrupted

from sealift.formats import manifest as mf
from sealift.stages.pack import readback
from sealift.stages.pack.journal import Journal

READ = 4  # stripes, when the packing is cut off; two more are committed


class CutOff(Packing):
    """A packing that was cut off when it had read some stripes back, and the drives whose pack of one is gone then."""

    def __init__(self, tmp_path, monkeypatch, mode, drives, stripe=1):
        super().__init__(tmp_path, size=18)
        interrupted(self, monkeypatch, READ + 1, mode)
        journal = Journal(str(self.origin.state))
        assert journal.read_back(0).stripes == READ
        journal.close()
        for slot, mount in enumerate(self.mounts[:drives]):
            role = mf.role_of(stripe, slot, self.origin.n)
            self.fleet.rot_block(mount, mf.pack_name(stripe, role, self.origin.data), 0)

    def first_read(self, monkeypatch, mode):
        """Go on; the first stripe that is read, and what came of it."""
        begun, start = [], readback.ReadBack.start
        with monkeypatch.context() as patch:
            patch.setattr(
                readback.ReadBack, "start", lambda reads, stripe: (begun.append(stripe), start(reads, stripe))
            )
            return self.pack(read_back=mode), begun[:1]


@pytest.mark.parametrize("mode", ["sample", "full"])
def test_what_a_power_cut_took_from_more_drives_than_parity_is_packed_again(tmp_path, monkeypatch, mode):
    packing = CutOff(tmp_path, monkeypatch, mode, 2)
    result = packing.pack(read_back=mode)
    read = adds_up(result)
    assert (result.exit_code, read["packed_again"], read["repaired"]) == (0, 2, 0)
    assert read["this_run"]["again"]
    packing.ends_well()


def test_what_it_took_from_as_many_drives_as_parity_holds_is_rebuilt(tmp_path, monkeypatch):
    packing = CutOff(tmp_path, monkeypatch, "sample", 1)
    result = packing.pack(read_back="sample")
    read = adds_up(result)
    assert (result.exit_code, read["packed_again"], read["repaired"]) == (0, 0, 1)
    packing.ends_well()


def test_only_so_many_bytes_of_a_drive_are_read_once_more(tmp_path, monkeypatch):
    packing = CutOff(tmp_path, monkeypatch, "sample", 0)
    journal = Journal(str(packing.origin.state))
    longest = [max(pack.length for pack in journal.stripe(0, stripe)) for stripe in range(READ)]
    journal.close()
    monkeypatch.setattr(readback, "RECENT", longest[-1] + 1)
    result, first = packing.first_read(monkeypatch, "sample")
    assert (result.exit_code, first) == (0, [READ - 2])
    assert packing.pack(read_back="sample").read_back["this_run"]["blocks"] == 0, "it is signed"


def test_nothing_is_read_once_more_where_nothing_is_read(tmp_path, monkeypatch):
    packing = CutOff(tmp_path, monkeypatch, "sample", 0)
    assert packing.pack(read_back="none").read_back["this_run"]["blocks"] == 0
