"""A drive that gives other bytes than were written is named, counted and remembered, whatever comes of its packs."""

import errno
import json
import random

import pytest
from test_failing_drives import Packing, owed
from test_fault_words import a_crew
from test_read_back import interrupted, lies_about

from sealift.cli import pack_words
from sealift.cli import status as status_words
from sealift.errors import DriveFault, Refused
from sealift.formats import manifest as mf
from sealift.formats.allowed_signers import AllowedSigners
from sealift.stages import seal, status
from sealift.stages.pack import readback, work
from sealift.stages.pack.journal import Journal
from sealift.stages.pack.journal_rows import Medium, Misread, Wrong
from sealift.testing import drive


class Begun(Packing):
    """A packing that was stopped after its third stripe, or later; nothing is read back; a command hears of faults."""

    def __init__(self, tmp_path, monkeypatch, parity=1, size=10, stripes=3):
        super().__init__(tmp_path, parity=parity, size=size)
        interrupted(self, monkeypatch, stripes - 1, "none")
        self.heard = tmp_path / "heard"

    def pack(self, **changes):
        return super().pack(**{"notify": f"cat >> {self.heard}" if hasattr(self, "heard") else None} | changes)

    def rot(self, mount, stripe=1):
        """Rot one block of the pack of `stripe` on this drive; its slot."""
        slot = self.mounts.index(mount)
        self.fleet.rot_block(mount, mf.pack_name(stripe, mf.role_of(stripe, slot, self.origin.n), self.origin.data), 0)
        return slot

    def stripe_read(self, mount, lost):
        """A stripe of which the pack on `mount` is read when that on `lost` is rebuilt: the first k others are."""
        slot, gone = self.mounts.index(mount), self.mounts.index(lost)
        for stripe in range(3):
            role, other = (mf.role_of(stripe, each, self.origin.n) for each in (slot, gone))
            if role - (other < role) < self.origin.data:
                return stripe
        raise AssertionError

    def faults(self):
        """Serial numbers of whom the command was told as faults."""
        told = map(json.loads, self.heard.read_text().splitlines()) if self.heard.exists() else []
        return {each["serial"] for each in told if each["event"] == "fault"}

    def serials(self, *mounts):
        return {self.origin.serial(mount) for mount in mounts}

    def told(self, *mounts):
        """Assert that each of these drives, and no other, is named everywhere as having been wrong."""
        wanted = self.serials(*mounts)
        state = status.look(str(self.origin.state))
        assert {each.serial for each in state.groups[0].misread} == wanted
        for serial in wanted:
            assert any(serial in text and "written" in text and "packs/" in text for text in self.notices)
        assert wanted <= self.faults()
        return state


def adds_up(result):
    """Assert that the account of blocks that were wrong, and of what was read, is possible."""
    read, now = result.read_back, result.read_back["this_run"]
    assert read["found"] == read["repaired"] + read["packed_again"] + read["wrong"]
    assert read["found"] == sum(each["blocks"] for each in result.groups[0]["misread"])
    assert now["stripes"] <= read["stripes"] <= read["stripes_total"]
    assert now["again"] <= now["blocks"] <= read["blocks"]
    return read


@pytest.mark.parametrize("mode", [pytest.param("sample", marks=pytest.mark.long), "full"])
def test_a_stripe_that_more_drives_hold_wrongly_than_parity_is_packed_again_and_counted(tmp_path, monkeypatch, mode):
    packing = Begun(tmp_path, monkeypatch)
    wrong = [packing.mounts[0], packing.mounts[2]]
    for mount in wrong:
        packing.rot(mount)
    result = packing.pack(read_back=mode)
    read = adds_up(result)
    assert (result.exit_code, read["packed_again"], read["repaired"], read["wrong"]) == (0, 2, 0, 0)
    total = result.groups[0]["stripes"]
    assert (read["this_run"]["stripes"], read["stripes_total"]) == (total, total)
    assert 0 < read["this_run"]["again"] < read["this_run"]["blocks"]
    text = pack_words.read_back_text(read)
    assert f"of stripes that had been read before), of {'a sample of ' * (mode == 'sample')}{total} of {total}" in text
    assert text.endswith("2 wrong blocks in stripes that were packed again"), text
    said = [text for text in packing.notices if "did not read back as it was written" in text]
    assert len(said) == 2
    assert all("; it is rebuilt where the other drives give it, and else its stripe is" in text for text in said)
    (again,) = [text for text in packing.notices if "cannot be rebuilt" in text]
    assert all(serial in again for serial in packing.serials(*wrong))
    packing.told(*wrong)
    later = packing.pack(read_back=mode)
    assert later.groups[0]["misread"] == result.groups[0]["misread"], "a later run tells it too"
    assert later.read_back["this_run"]["found"] == 0
    packing.ends_well()


class Rotting(Packing):
    """Packs of the first stripes rot after they were read back, with the one that is read back in stripe 5."""

    def __init__(self, tmp_path, monkeypatch, early, mounts=1, parity=1, later=True):
        super().__init__(tmp_path, parity=parity, size=22)
        self.rotten = self.mounts[:mounts]
        start = readback.ReadBack.start

        def rot_first(reads, stripe):
            if stripe == 5 and len(reads._read_now) >= 4:
                reads.wait()
                for mount in self.rotten:
                    for each in [*early, *([5] if later else [])]:
                        slot = self.mounts.index(mount)
                        role = mf.role_of(each, slot, self.origin.n)
                        self.fleet.rot_block(mount, mf.pack_name(each, role, self.origin.data), 0)
                self.rotten = []
            return start(reads, stripe)

        monkeypatch.setattr(readback.ReadBack, "start", rot_first)

    def again(self):
        """The serials of drives that are said to be read again."""
        return [text.split("serial ")[1].split(",")[0] for text in self.notices if "what was right before may" in text]


@pytest.mark.parametrize("mode", ["sample", "full"])
def test_a_drive_that_was_wrong_once_is_read_again_before_its_group_is_signed(tmp_path, monkeypatch, mode):
    packing = Rotting(tmp_path, monkeypatch, [1])
    result = packing.pack(read_back=mode)
    read = adds_up(result)
    assert (result.exit_code, read["found"], read["repaired"], read["wrong"]) == (0, 2, 2, 0)
    assert packing.again() == [packing.origin.serial(packing.mounts[0])]
    packing.notices.clear()
    assert packing.pack(read_back=mode).read_back["this_run"]["blocks"] == 0
    assert packing.again() == [], "once"
    packing.ends_well()


def test_a_drive_on_which_packs_rot_that_were_read_is_set_aside_unsigned(tmp_path, monkeypatch):
    packing = Rotting(tmp_path, monkeypatch, [0, 1, 2])
    result = packing.pack()
    assert (result.exit_code, owed(result)[0]["reason"]) == (3, "3 packs on it were not as they were written")
    packing.unsigned()
    assert packing.replace(packing.mounts[0], packing.spares[0]).exit_code == 0
    packing.ends_well()


def test_stripes_that_rot_on_more_drives_than_parity_are_packed_again_though_they_were_read(tmp_path, monkeypatch):
    packing = Rotting(tmp_path, monkeypatch, [1], mounts=2)
    result = packing.pack()
    assert (result.exit_code, adds_up(result)["packed_again"]) == (0, 4)
    assert packing.again() == [packing.origin.serial(mount) for mount in packing.mounts[:2]]
    packing.ends_well()


def test_more_drives_that_rot_than_parity_holds_end_the_packing_unsigned(tmp_path, monkeypatch):
    packing = Rotting(tmp_path, monkeypatch, [0, 1, 2], mounts=2)
    with pytest.raises(DriveFault, match="2 drives are set aside, and parity holds 1") as caught:
        packing.pack()
    assert "keep it" in str(caught.value)
    packing.unsigned()


def test_a_drive_in_doubt_is_read_again_though_nothing_is_read_back_otherwise(tmp_path, monkeypatch):
    """By sample: an earlier run, or a rebuild, has found it out."""
    packing = Begun(tmp_path, monkeypatch, parity=2)
    packing.rot(packing.mounts[0], packing.stripe_read(packing.mounts[0], packing.mounts[1]))
    packing.replace(packing.mounts[1], packing.spares[0], read_back="none")
    packing.told(packing.mounts[0])
    (said,) = [text for text in packing.notices if "what was right before" in text]
    assert "a sample of its packs is read again" in said
    packing.ends_well()


@pytest.mark.parametrize(("code", "words"), [(errno.EIO, "input/output error"), (errno.ENODEV, "the drive went away")])
@pytest.mark.parametrize(("operation", "nth"), [("read", 3), ("read", 7), ("open", 3), ("open", 9)])
def test_a_drive_that_reads_nothing_any_more_fails_and_does_not_lie(tmp_path, operation, nth, code, words):
    packing = Packing(tmp_path)
    dead = packing.mounts[1]
    packing.fleet.fail(dead, operation, code, nth=nth, lasting=True)
    result = packing.pack()
    (row,) = owed(result)
    assert (result.exit_code, row["mount"], row["kind"]) == (3, dead, "failed")
    assert words in row["reason"]
    assert not any("not as they were written" in text or "lie" in text for text in packing.notices)
    assert "read back" not in " ".join(packing.notices).replace("read-back", "")
    packing.unsigned()
    packing.fleet.heal(dead)
    assert packing.pack().exit_code == 0, "the same command, once the cable sits"
    packing.ends_well()


def test_a_drive_that_falls_silent_when_a_signed_group_is_read_is_named_as_that(tmp_path):
    packing = Packing(tmp_path)
    assert packing.pack(read_back="none").exit_code == 0
    packing.fleet.fail(packing.mounts[1], "read", errno.EIO, name="packs/*", lasting=True)
    packing.fleet.fail(packing.mounts[1], "read", errno.EIO, nth=5, lasting=True)
    with pytest.raises(DriveFault, match=r"g0s1 .* reads nothing any more: .*input/output error") as caught:
        packing.pack(read_back="full")
    assert "cable and bay" in caught.value.hint
    packing.fleet.heal(packing.mounts[1])
    result = packing.pack(read_back="full")
    assert (result.exit_code, result.read_back["wrong"]) == (0, 0)
    packing.ends_well()


def test_a_drive_in_doubt_of_a_signed_group_is_read_with_none_too(tmp_path):
    """As where a run was killed when it had written its manifests, and was about to take them back."""
    packing = Packing(tmp_path, size=12)
    packing.pack()
    mount = packing.mounts[0]
    journal = Journal(str(packing.origin.state))
    journal.note_small(0, 0, Medium(packing.origin.serial(mount), mount))
    journal.close()
    packing.fleet.rot_block(mount, mf.pack_name(1, mf.role_of(1, 0, packing.origin.n), packing.origin.data), 0)
    result = packing.pack(read_back="none")
    assert (result.exit_code, result.read_back["wrong"]) == (3, 1)
    assert any("is signed, and packing writes nothing more" in text for text in packing.notices)


def test_what_is_known_to_be_gone_is_not_sealed(tmp_path, capsys):
    """More packs of one stripe than parity holds are wrong on a signed group's drives."""
    packing = Packing(tmp_path, size=12)
    packing.pack(read_back="none")
    for mount in packing.mounts[:2]:
        slot = packing.mounts.index(mount)
        name = mf.pack_name(1, mf.role_of(1, slot, packing.origin.n), packing.origin.data)
        packing.fleet.rot_block(mount, name, 0)
    result = packing.pack(read_back="full")
    assert (result.exit_code, result.read_back["beyond"]) == (4, 1)
    pack_words.summarize(result, packing.origin.pack_options())
    assert "of 1 stripe more packs are wrong than parity holds" in capsys.readouterr().err
    state = status.look(str(packing.origin.state))
    assert state.read_back["beyond"] == 1
    status_words.show(state)
    assert "pack anew, with another --state, onto drives that are empty" in capsys.readouterr().out
    with pytest.raises(Refused, match=r"of 1 stripe more packs .* than parity holds \(1\); nothing") as caught:
        seal.gather([str(packing.origin.state)], AllowedSigners.parse(packing.origin.allowed))
    assert "keep the source" in caught.value.hint


@pytest.mark.parametrize("name", [mf.CARD, pytest.param(mf.MEMBERS_INDEX, marks=pytest.mark.long), mf.MANIFEST])
def test_a_drive_that_was_wrong_about_a_small_file_is_read_again(tmp_path, monkeypatch, name):
    packing = Rotting(tmp_path, monkeypatch, [1], later=False)
    with monkeypatch.context() as patch:
        lies_about(packing, packing.mounts[0], name, 1, patch)
        result = packing.pack()
    assert packing.again() == [packing.origin.serial(packing.mounts[0])]
    assert (result.exit_code, result.groups[0]["state"]) == (0, "signed")
    assert (result.read_back["found"], result.read_back["repaired"]) == (2, 2)
    packing.ends_well()


def test_a_drive_that_is_wrong_about_its_manifest_each_time_ends_the_packing_unsigned(tmp_path, monkeypatch):
    packing = Packing(tmp_path, size=2)
    real, count = drive.SimulatedDrive.create, [0]

    def create(self, wanted, **given):
        if self.mount == packing.mounts[0] and wanted == mf.MANIFEST:
            count[0] += 1
            if count[0] % 2:  # the first time, and right when it is written again
                packing.fleet.lie(self.mount, "flip")
        return real(self, wanted, **given)

    with monkeypatch.context() as patch:
        patch.setattr(drive.SimulatedDrive, "create", create)
        with pytest.raises(DriveFault, match="reads back wrong, time and again: g0s0"):
            packing.pack()
    packing.unsigned()
    assert packing.pack().exit_code == 0
    packing.ends_well()


@pytest.mark.parametrize("mode", ["none", pytest.param("sample", marks=pytest.mark.long)])
def test_rot_of_another_drive_that_a_rebuild_meets_is_mended_and_its_drive_named(tmp_path, monkeypatch, mode, capsys):
    packing = Begun(tmp_path, monkeypatch, parity=2)
    rotten = packing.mounts[0]
    packing.rot(rotten, packing.stripe_read(rotten, packing.mounts[1]))
    result = packing.replace(packing.mounts[1], packing.spares[0], read_back=mode)
    read = adds_up(result)
    assert (result.exit_code, read["found"], read["repaired"]) == (0, 1, 1)
    (row,) = result.groups[0]["misread"]
    assert (row["drive"], row["serial"], row["mount"]) == ("g0s0", packing.origin.serial(rotten), rotten)
    assert (row["packs"], row["blocks"]) == (1, 1)
    state = packing.told(rotten)
    assert packing.faults() == packing.serials(rotten)
    assert "1 block repaired" in pack_words.read_back_text(read)
    status_words.show(state)
    shown = capsys.readouterr().out
    assert f"wrong: drive g0s0, serial {packing.origin.serial(rotten)}, {rotten}: 1 block of 1 pack" in shown
    assert "blocks that were not as written: 1 block repaired" in shown
    packing.ends_well()


def test_a_drive_that_rebuilds_meet_wrong_three_times_is_set_aside(tmp_path, monkeypatch):
    packing = Begun(tmp_path, monkeypatch, parity=2, size=28, stripes=8)
    liar = packing.mounts[0]
    for stripe in range(8):
        packing.rot(liar, stripe)
    result = packing.replace(packing.mounts[1], packing.spares[0], read_back="none")
    assert result.exit_code == 3
    (row,) = owed(result)
    assert (row["mount"], row["since_stripe"]) == (liar, 0)
    assert "packs on it were not as they were written" in row["reason"]
    packing.told(liar)
    packing.unsigned()
    assert packing.pack(read_back="none").exit_code == 3, "it is not taken back"
    result = packing.replace(liar, packing.spares[1], read_back="none")
    adds_up(result)
    assert result.exit_code == 0
    packing.ends_well()


def test_more_drives_that_rebuilds_meet_wrong_than_parity_holds_stop_packing(tmp_path, monkeypatch):
    packing = Begun(tmp_path, monkeypatch, parity=1, size=28, stripes=8)
    liars = [packing.mounts[0], packing.mounts[2]]
    for stripe in range(8):
        for mount in liars:
            packing.rot(mount, stripe)
    with pytest.raises(DriveFault, match="cannot be rebuilt from the drives that are here") as caught:
        packing.replace(packing.mounts[1], packing.spares[0], read_back="none")
    assert all(f"--replace {serial}=MNT" in caught.value.hint for serial in packing.serials(*liars))
    assert "here, and not counted on: g0s0" in str(caught.value)
    assert "not to be written" not in str(caught.value), "they take what is written"
    packing.told(*liars)
    packing.origin.mounts[1] = packing.spares[0]
    with pytest.raises(DriveFault, match="2 drives are missing or take nothing, and parity holds 1"):
        packing.pack(read_back="none", replace={packing.origin.serial(packing.mounts[1]): packing.spares[0]})
    packing.unsigned()


def test_a_packing_that_was_cut_off_when_it_had_met_them_sets_them_aside(tmp_path, monkeypatch):
    packing = Begun(tmp_path, monkeypatch, parity=2, size=28, stripes=8)
    for stripe in range(8):
        packing.rot(packing.mounts[0], stripe)
    with monkeypatch.context() as patch:
        patch.setattr(readback.ReadBack, "settle", interrupt)
        with pytest.raises(KeyboardInterrupt):
            packing.replace(packing.mounts[1], packing.spares[0], read_back="none")
    packing.origin.mounts[1] = packing.spares[0]
    result = packing.pack(read_back="none", replace={packing.origin.serial(packing.mounts[1]): packing.spares[0]})
    assert result.exit_code == 3
    assert [row["mount"] for row in owed(result)] == [packing.mounts[0]]
    packing.unsigned()


def interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.long
def test_where_rot_keeps_a_replaced_drive_from_being_rebuilt_the_rotten_ones_are_named(tmp_path, monkeypatch):
    packing = Begun(tmp_path, monkeypatch, parity=2)
    dead, new = packing.mounts[1], packing.spares[0]
    rotten = [packing.mounts[0], packing.mounts[2]]
    for mount in rotten:
        packing.rot(mount)
    with pytest.raises(DriveFault, match="what was replaced may still have it") as caught:
        packing.replace(dead, new, read_back="sample")
    assert all(f"serial {serial}," in str(caught.value) for serial in packing.serials(*rotten))
    assert "not as it was written on" in str(caught.value)
    state = packing.told(*rotten)
    assert (state.read_back["found"], state.read_back["wrong"]) == (2, 2)
    packing.notices.clear()
    packing.origin.mounts[packing.origin.mounts.index(dead)] = new
    result = packing.pack(read_back="sample", replace={packing.origin.serial(dead): new})
    read = adds_up(result)
    assert (result.exit_code, read["found"], read["packed_again"]) == (0, 2, 2)
    assert "all right" not in pack_words.read_back_text(read)
    packing.told(*rotten)
    packing.ends_well()


def test_rot_is_named_though_the_rebuild_that_met_it_comes_to_nothing(tmp_path, monkeypatch):
    packing = Begun(tmp_path, monkeypatch, parity=2)
    rotten, new = packing.mounts[0], packing.spares[0]
    packing.rot(rotten, packing.stripe_read(rotten, packing.mounts[1]))
    met, left = readback.ReadBack.met, [new]

    def and_fail(self, each):  # before the pack for which it was read gets its name
        met(self, each)
        if left:
            packing.fleet.fail(left.pop(), "rename", errno.EIO, lasting=True, name="packs/*")

    monkeypatch.setattr(readback.ReadBack, "met", and_fail)
    result = packing.replace(packing.mounts[1], new, read_back="none")
    assert result.exit_code == 3
    adds_up(result)
    packing.told(rotten)


@pytest.mark.long
def test_what_was_wrong_on_a_drive_that_is_replaced_is_not_laid_to_the_new_one(tmp_path, monkeypatch):
    packing = Begun(tmp_path, monkeypatch, parity=2)
    old, new, other = packing.mounts[1], packing.spares[0], packing.mounts[0]
    for stripe in (0, 1, 2):
        packing.rot(old, stripe)
    assert packing.pack(read_back="full").exit_code == 3, "it lies"
    packing.rot(other, packing.stripe_read(other, old))
    result = packing.replace(old, new, read_back="full")
    adds_up(result)
    assert packing.serials(new).isdisjoint(each["serial"] for each in result.groups[0]["misread"])
    assert result.exit_code == 0
    rows = {each["serial"]: each for each in result.groups[0]["misread"]}
    assert [rows[packing.origin.serial(mount)]["replaced"] for mount in (old, other)] == [True, False]
    small = []
    with monkeypatch.context() as patch:
        patch.setattr(work.small, "look", lambda *_: small.append(1) or [])
        packing.pack(replace={packing.origin.serial(old): new})
    assert not small, "who was replaced keeps nobody reading"
    (line,) = [line for line in pack_words.drive_lines([], [], rows.values()) if packing.origin.serial(old) in line]
    assert line.endswith("it was replaced, and does not leave")
    state = packing.told(old, other)
    assert {each.serial: each.replaced for each in state.groups[0].misread} == {
        packing.origin.serial(old): True,
        packing.origin.serial(other): False,
    }
    packing.ends_well()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(8))
def test_whatever_rots_its_drives_are_named_and_the_account_adds_up(tmp_path, monkeypatch, seed):
    rng = random.Random(seed)
    packing = Begun(tmp_path, monkeypatch, parity=rng.choice((1, 2)))
    rotten = {(rng.choice(packing.mounts), rng.randrange(3)) for _ in range(rng.randrange(1, 4))}
    lies = [mount for mount in packing.mounts if sum(each[0] == mount for each in rotten) > 2]
    for mount, stripe in sorted(rotten):
        packing.rot(mount, stripe)
    result = packing.pack(read_back="full")
    adds_up(result)
    assert result.exit_code == (3 if lies else 0)
    assert result.read_back["found"] == len(rotten)
    packing.told(*{mount for mount, _ in rotten})
    if not lies:
        packing.ends_well()


def test_a_pack_that_is_found_wrong_again_before_it_is_rebuilt_is_counted_once(tmp_path):
    journal, medium = Journal(str(tmp_path)), Medium("SER", "/mnt/a")
    for blocks, times in ((1, 1), (3, 0), (2, 0)):
        journal.note_read_back(0, 5, 10, [(Wrong(5, 1, 2, blocks, times), medium)], cached=False)
    assert journal.misread(0) == [Misread(2, "SER", "/mnt/a", 1, 3)]
    assert (journal.read_back(0).found, journal.lies(0)) == (3, {2: 1})
    journal.repaired(0, 5, 1)
    journal.note_read_back(0, 5, 10, [(Wrong(5, 1, 2, 1, 1), medium)], cached=False)
    assert journal.misread(0) == [Misread(2, "SER", "/mnt/a", 2, 4)], "once more, after it was right"
    assert [each.blocks for each in journal.wrong(0)] == [1]
    state = journal.read_back(0)
    assert (state.found, state.repaired, journal.lies(0)) == (4, 3, {2: 2})
    journal.close()


def test_stripes_that_were_read_and_are_packed_again_are_not_told_as_read(tmp_path):
    crew, journal = a_crew(tmp_path, 6), Journal(str(tmp_path))
    reading = readback.ReadBack("full", crew, journal, str(tmp_path), 2)
    for stripe in range(5):
        reading._stripe = stripe  # begun, and no pack of it has bytes
        reading.wait()
    assert reading.stripes == 5
    reading.forget(2)
    assert reading.stripes == 2
    reading.close()
    journal.close()
