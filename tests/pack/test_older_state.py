"""A state folder that is older than the drives, or another one: what they have of a later run is not written over."""

import errno
import shutil

import pytest
import shipments
from test_failing_drives import Packing
from test_presence import StopError, stopped

from sealift.errors import Refused
from sealift.formats import manifest as mf
from sealift.stages.pack import close, copies
from sealift.stages.pack import run as packing_stage
from sealift.stages.pack.journal import Journal
from sealift.testing import drive


def put_back(packing, kept):
    shutil.rmtree(packing.origin.state)
    shutil.copytree(kept, packing.origin.state)


def kept(packing, tmp_path):
    return shutil.copytree(packing.origin.state, tmp_path / "kept")


def refused(packing, *words, **changes):
    before = [shipments.picture(mount) for mount in packing.origin.mounts]
    with pytest.raises(Refused) as caught:
        packing.pack(**changes)
    assert [shipments.picture(mount) for mount in packing.origin.mounts] == before, "something was written"
    assert "put the newer state folder back" in caught.value.hint
    assert all(word in str(caught.value) + caught.value.hint for word in words), (caught.value, caught.value.hint)


def without_copies(monkeypatch):
    """As with a signing key of an agent, that opens nothing: no copies of the journal on the drives."""
    monkeypatch.setattr(copies, "identity_of", lambda *_: None)


def test_what_a_later_run_signed_is_not_replaced(tmp_path, monkeypatch):
    packing = Packing(tmp_path)
    stopped(packing, monkeypatch, 1)
    old = kept(packing, tmp_path)
    assert packing.pack().exit_code == 0
    put_back(packing, old)
    refused(packing, "bears a signed manifest that this state folder does not know", "never replaced")
    packing.ends_well()
    shutil.rmtree(packing.origin.state)  # as the hint says
    shipment = packing.origin.manifests()[0][0].shipment
    before = packing.origin.manifests()
    assert packing.pack(shipment=shipment).exit_code == 0
    assert packing.origin.manifests() == before


def test_a_seal_is_not_written_over_where_the_manifests_are_gone(tmp_path, monkeypatch):
    packing = Packing(tmp_path, size=3)
    stopped(packing, monkeypatch, 0)
    for name, data in zip(mf.SEAL_FILES, [b"a seal"] * 5, strict=True):
        packing.fleet.put(packing.mounts[2], name, data)
    refused(packing, "bears a seal", "g0s2")


@pytest.mark.long
@pytest.mark.parametrize("with_copies", [True, False])
def test_what_a_later_run_committed_is_not_packed_anew(tmp_path, monkeypatch, with_copies):
    packing = Packing(tmp_path, size=12)
    if not with_copies:
        without_copies(monkeypatch)
    stopped(packing, monkeypatch, 0)
    old = kept(packing, tmp_path)
    stopped(packing, monkeypatch, 3)
    newer = shutil.copytree(packing.origin.state, tmp_path / "newer")
    put_back(packing, old)
    refused(packing, "older than the drives", "goes on from the copies" if with_copies else "--discard-group")
    if with_copies:  # as the hint says
        shutil.rmtree(packing.origin.state)
        assert packing.pack().exit_code == 0
        assert any("from its drives' copies" in text for text in packing.notices)
    else:
        put_back(packing, newer)
        assert packing.pack().exit_code == 0
    packing.ends_well()


@pytest.mark.long
@pytest.mark.parametrize("with_copies", [pytest.param(True, marks=pytest.mark.long), False])
def test_what_was_cut_back_is_no_later_run(tmp_path, monkeypatch, with_copies):
    """Stripes of before are still on the drives, and are this very state's."""
    packing = Packing(tmp_path, size=12)
    if not with_copies:
        without_copies(monkeypatch)
    stopped(packing, monkeypatch, 3)
    for mount in packing.mounts[:2]:
        packing.fleet.remove(mount, next(n for n in packing.fleet.names(mount) if n.startswith("packs/0000/0000000.")))
    with pytest.raises(packing_stage.DriveFault, match="more drives than parity holds"):
        packing.pack()
    stopped(packing, monkeypatch, 0)
    journal = Journal(str(packing.origin.state))
    assert journal.group(0).stripes < 4
    journal.close()
    assert packing.pack().exit_code == 0
    packing.ends_well()


@pytest.mark.long
def test_copies_of_the_journal_that_a_drive_slept_on_are_no_later_run(tmp_path, monkeypatch):
    """A drive was away while stripes were cut back and packed again: what it has of the journal then goes."""
    packing = Packing(tmp_path, size=12)
    stopped(packing, monkeypatch, 4)
    away, short = packing.mounts[0], packing.mounts[1]
    packing.fleet.remove(short, next(n for n in packing.fleet.names(short) if n.startswith("packs/0000/0000000.")))
    journal = Journal(str(packing.origin.state))
    journal.cut_back(0, 0)
    journal.owe(0, packing_stage.settle.Owed(0, packing.origin.serial(away), away, 0, "failed", "was away"))
    for mount in packing.mounts[1:]:
        for stripe in range(6):
            if copies.stripe_name(stripe) in packing.fleet.names(mount):
                packing.fleet.remove(mount, copies.stripe_name(stripe))
    stopped(packing, monkeypatch, 1)
    assert copies.stripe_name(3) not in packing.fleet.names(away)
    assert packing.pack().exit_code == 0
    packing.ends_well()
    journal.close()


def test_a_group_that_was_closed_to_the_end_is_taken_for_signed(tmp_path, monkeypatch):
    """All stripes were committed when the state folder was copied: the manifests stay as they are."""
    packing = Packing(tmp_path)

    def stop(*_):
        raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(packing_stage.pack_groups.__globals__["_Group"], "_claim_again", stop)
        with pytest.raises(StopError):
            packing.pack()
    old = kept(packing, tmp_path)
    assert packing.pack().exit_code == 0
    before = packing.origin.manifests()
    put_back(packing, old)
    assert packing.pack().exit_code == 0
    assert packing.origin.manifests() == before
    packing.ends_well()


def test_a_closing_that_was_interrupted_is_done_again(tmp_path, monkeypatch):
    """Manifests are on the drives, and the journal does not say that they are signed: they are its own."""
    packing = Packing(tmp_path)

    def stop(*_):
        raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(close, "_remove_copies", stop)
        with pytest.raises(StopError):
            packing.pack()
    packing.fleet.remove(packing.mounts[1], mf.MANIFEST)
    assert packing.pack().exit_code == 0
    packing.ends_well()


def test_a_signed_group_is_held_against_its_drives(tmp_path):
    packing = Packing(tmp_path, size=3)
    assert packing.pack().exit_code == 0
    assert packing.pack().exit_code == 0
    whole = packing.fleet.read(packing.mounts[1], mf.MANIFEST)
    packing.fleet.put(packing.mounts[1], mf.MANIFEST, b" " + whole)
    with pytest.raises(Refused, match="bears another manifest than the one") as caught:
        packing.pack()
    assert packing.mounts[1] in str(caught.value)
    assert caught.value.hint.startswith("where it is damaged, `sealift repair` with all mounts of the group takes it")
    assert "copy manifest.json and manifest.json.sig from" in caught.value.hint
    packing.fleet.remove(packing.mounts[1], mf.MANIFEST)
    result = packing.pack()
    assert (result.exit_code, result.lacking) == (0, [])
    assert any("which is signed, has no manifest" in text for text in packing.notices)
    assert packing.fleet.read(packing.mounts[1], mf.MANIFEST) == whole


def all_committed_and_one_owed(packing, tmp_path):
    """A drive is full near the end; the state is copied; then there is room, and the group is signed."""
    full = packing.mounts[1]
    packing.fleet.fail(full, "write", errno.ENOSPC, nth=9, lasting=True)
    assert packing.pack().exit_code == 3
    old = kept(packing, tmp_path)
    packing.fleet.heal(full)
    assert packing.pack().exit_code == 0
    return old


@pytest.mark.long
@pytest.mark.parametrize("bear", [3, 2, 1])
def test_stripes_that_are_all_known_are_no_reason_to_sign_again(tmp_path, bear):
    """The very packs are known, and a drive of them is owed; also where only some drives have the manifest."""
    packing = Packing(tmp_path)
    old = all_committed_and_one_owed(packing, tmp_path)
    signed = packing.origin.manifests()
    removed = {mount: packing.fleet.read(mount, mf.MANIFEST) for mount in packing.mounts[bear:]}
    for mount in removed:
        packing.fleet.remove(mount, mf.MANIFEST)
    put_back(packing, old)
    refused(packing, "bears a signed manifest that this state folder does not know", "sealift repair")
    packing.declare(packing.mounts[1], packing.spares[0])
    refused(packing, "bears a signed manifest", replace={packing.origin.serial(packing.mounts[1]): packing.spares[0]})
    packing.declare(packing.spares[0], packing.mounts[1])
    for mount, data in removed.items():
        packing.fleet.put(mount, mf.MANIFEST, data)
    assert packing.origin.manifests() == signed
    packing.ends_well()


@pytest.mark.long
@pytest.mark.parametrize("state", ["same", "lost"])
@pytest.mark.parametrize("bear", [1, 2])
def test_a_closing_that_ended_before_all_drives_had_the_manifest_goes_on(tmp_path, monkeypatch, bear, state):
    """Nobody has that manifest for the signed one: the copies of the journal are still beside it."""
    packing = Packing(tmp_path, size=3)
    write = drive.SimulatedDrive.write_small

    def stop(self, name, data):
        if name == mf.MANIFEST and self.mount in packing.mounts[bear:]:
            raise StopError
        write(self, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(drive.SimulatedDrive, "write_small", stop)
        with pytest.raises(StopError):
            packing.pack()
    assert [mf.MANIFEST in packing.fleet.names(mount) for mount in packing.mounts].count(True) == bear
    if state == "lost":
        shutil.rmtree(packing.origin.state)
    assert packing.pack().exit_code == 0
    packing.ends_well()
