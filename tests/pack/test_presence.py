"""What is signed is there: packs that went from a drive, while it was packed or between two runs, are looked for."""

import os
import shutil

import pytest
from test_failing_drives import Packing, owed

from sealift.errors import BadInput, DriveFault
from sealift.formats import manifest as mf
from sealift.stages.pack import close, readback, work
from sealift.stages.pack.journal import Journal


class StopError(Exception):
    pass


def packs_of(packing, mount):
    return [name for name in packing.fleet.names(mount) if name.startswith("packs/")]


def pack_of(packing, mount, stripe):
    return next(name for name in packs_of(packing, mount) if int(name[11:18]) == stripe)


def stopped(packing, monkeypatch, stripe, **changes):
    """Pack, and stop for good when `stripe` is committed."""
    start = readback.ReadBack.start

    def stop(self, number):
        if number == stripe:
            raise StopError
        start(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(readback.ReadBack, "start", stop)
        with pytest.raises(StopError):
            packing.pack(**changes)


def before_closing(packing, monkeypatch, harm, **changes):
    """Pack, and do harm when everything is written and nothing is signed."""
    close_group = close.close_group

    def harmed(*arguments, **how):
        harm()
        return close_group(*arguments, **how)

    with monkeypatch.context() as patch:
        patch.setattr(work, "close_group", harmed)
        return packing.pack(**changes)


@pytest.mark.parametrize("how", ["removed", "cut", "folder"])
def test_nothing_is_signed_over_packs_that_went_while_it_was_packed(tmp_path, monkeypatch, how):
    packing = Packing(tmp_path)
    mount = packing.mounts[1]

    def harm():
        name = pack_of(packing, mount, 1)
        if how == "removed":
            packing.fleet.remove(mount, name)
        elif how == "cut":
            packing.fleet.truncate(mount, name, 4096)
        else:
            packing.fleet.remove(mount, name)
            os.mkdir(f"{mount}/sealift/{name}")

    result = before_closing(packing, monkeypatch, harm, read_back="full")
    assert result.exit_code == 3
    assert result.groups[0]["state"] == "packing"
    (row,) = owed(result)
    assert (row["mount"], row["since_stripe"]) == (mount, 1)
    packs = len(packing.origin.packs(packing.mounts[1])) + (how != "cut")
    assert f"1 of its {packs} packs is not on it: packs/0000/0000001" in row["reason"]
    packing.unsigned()
    told = next(text for text in packing.notices if "is not on it" in text)
    assert packing.origin.serial(mount) in told
    assert "nothing is signed before these are rebuilt" in told
    assert "the same command again, or with" in packing.notices[-1]
    if how == "folder":
        shutil.rmtree(f"{mount}/sealift/packs")
    written = packing.fleet.counts(mount)["create"]
    packing.notices.clear()
    assert packing.pack().exit_code == 0
    assert any("whole again" in text for text in packing.notices)
    if how != "folder":
        assert any("rebuilding 1 pack on it" in text for text in packing.notices), packing.notices
        assert packing.fleet.counts(mount)["create"] - written <= 12, "what is there is not written again"
    packing.ends_well()


def test_a_drive_that_was_emptied_while_it_was_packed_is_replaced(tmp_path, monkeypatch):
    packing = Packing(tmp_path)
    mount = packing.mounts[2]
    result = before_closing(packing, monkeypatch, lambda: shutil.rmtree(f"{mount}/sealift"))
    assert result.exit_code == 3
    assert [row["mount"] for row in owed(result)] == [mount]
    packing.unsigned()
    assert packing.pack().exit_code == 3, "what is mounted there now may be another"
    assert packing.replace(mount, packing.spares[0]).exit_code == 0
    packing.ends_well()


def once_filled(monkeypatch, harm):
    """Do harm once, when everything is packed and nothing is closed."""
    fill, left = work._Group._fill, [harm]

    def harmed(*arguments):
        fill(*arguments)
        if left:
            left.pop()()

    monkeypatch.setattr(work._Group, "_fill", harmed)


def test_a_card_that_went_with_some_packs_is_written_again(tmp_path, monkeypatch):
    packing = Packing(tmp_path)
    mount = packing.mounts[2]

    def harm():
        packing.fleet.remove(mount, pack_of(packing, mount, 0))
        packing.fleet.remove(mount, mf.CARD)

    once_filled(monkeypatch, harm)
    result = packing.pack()
    assert (result.exit_code, result.read_back["repaired"]) == (0, 2), "whoever lost one file is read again"
    packing.ends_well()


@pytest.mark.long
@pytest.mark.parametrize("card", [bytes(400), b"", bytes(mf.MAX_CARD + 1)])
def test_a_card_that_was_spoilt_while_it_was_packed_is_put_right_before_anything_is_signed(tmp_path, monkeypatch, card):
    packing = Packing(tmp_path, size=3)
    once_filled(monkeypatch, lambda: packing.fleet.put(packing.mounts[2], mf.CARD, card))
    assert packing.pack().exit_code == 0
    packing.ends_well()


def test_one_pack_of_each_drive_is_rebuilt_where_no_stripe_lacks_more_than_parity_holds(tmp_path, monkeypatch):
    packing = Packing(tmp_path, size=10)

    def harm():
        for stripe, mount in enumerate(packing.mounts):
            packing.fleet.remove(mount, pack_of(packing, mount, stripe))

    result = before_closing(packing, monkeypatch, harm)
    assert result.exit_code == 3
    assert [row["since_stripe"] for row in owed(result)] == [0, 1, 2]
    packing.unsigned()
    packing.notices.clear()
    assert packing.pack().exit_code == 0
    assert sum("rebuilding 1 pack on it" in text for text in packing.notices) == 3
    assert not any("packed again" in text for text in packing.notices)
    packing.ends_well()


def test_more_than_parity_holds_is_told_and_then_packed_again_by_the_same_command(tmp_path, monkeypatch):
    packing = Packing(tmp_path)

    def harm():
        for mount in packing.mounts[:2]:
            packing.fleet.remove(mount, pack_of(packing, mount, 1))

    with pytest.raises(DriveFault, match="lack stripe 1 of") as caught:
        before_closing(packing, monkeypatch, harm)
    assert all(packing.origin.serial(mount) in str(caught.value) for mount in packing.mounts[:2])
    assert "nothing was signed" in str(caught.value)
    assert "put back" in caught.value.hint
    assert "from 1 on" in caught.value.hint
    packing.unsigned()
    packing.notices.clear()
    assert packing.pack().exit_code == 0
    assert any("stripe 1 cannot be rebuilt from the drives that are here" in text for text in packing.notices)
    packing.ends_well()


def test_what_went_between_two_runs_is_owed_and_rebuilt_before_packing_goes_on(tmp_path, monkeypatch):
    packing = Packing(tmp_path, data=2, parity=2, size=8)
    stopped(packing, monkeypatch, 2)
    for mount in packing.mounts[:2]:
        packing.fleet.remove(mount, pack_of(packing, mount, 0))
    result = packing.pack()
    assert result.exit_code == 0
    told = [text for text in packing.notices if "packs is not on it" in text]
    assert [mount for mount in packing.mounts if mount in " ".join(told)] == packing.mounts[:2]
    assert sum("rebuilding 1 pack on it" in text for text in packing.notices) == 2
    packing.ends_well()


def test_more_than_parity_holds_went_between_two_runs(tmp_path, monkeypatch):
    """Told first, for it may be put back; put back, packing goes on, and nothing is packed again."""
    packing = Packing(tmp_path)
    stopped(packing, monkeypatch, 2)
    kept = {mount: packing.fleet.snapshot(mount) for mount in packing.mounts[:2]}
    names = {mount: pack_of(packing, mount, 0) for mount in packing.mounts[:2]}
    for mount, name in names.items():
        packing.fleet.remove(mount, name)
    with pytest.raises(DriveFault, match="lack stripe 0 of 3"):
        packing.pack()
    for mount, name in names.items():
        packing.fleet.put(mount, name, kept[mount][name])
    packing.notices.clear()
    assert packing.pack().exit_code == 0
    assert not any("packed again" in text for text in packing.notices)
    packing.ends_well()


def test_what_more_than_parity_holds_went_is_packed_again(tmp_path, monkeypatch):
    packing = Packing(tmp_path)
    stopped(packing, monkeypatch, 2)
    for mount in packing.mounts[:2]:
        packing.fleet.remove(mount, pack_of(packing, mount, 1))
    with pytest.raises(DriveFault, match="lack stripe 1 of 3"):
        packing.pack()
    assert packing.pack().exit_code == 0
    assert any("2 stripes from there on are packed again" in text for text in packing.notices)
    assert not any("were rebuilt on it" in text for text in packing.notices)
    packing.ends_well()


@pytest.mark.long
def test_what_was_told_before_counts_for_what_is_lacking_and_no_more(tmp_path, monkeypatch):
    """Two drives lack a pack each, of other stripes: found one after the other, it is no more than found at once."""
    packing = Packing(tmp_path, size=10)
    stopped(packing, monkeypatch, 2)
    monkeypatch.setattr(work.CatchUp, "run", lambda _self: (_ for _ in ()).throw(StopError))
    packing.fleet.remove(packing.mounts[0], pack_of(packing, packing.mounts[0], 0))
    with pytest.raises(StopError):
        packing.pack()
    packing.fleet.remove(packing.mounts[1], pack_of(packing, packing.mounts[1], 1))
    with pytest.raises(StopError):
        packing.pack()
    monkeypatch.undo()
    packing.notices.clear()
    assert packing.pack().exit_code == 0
    assert sum("rebuilding 1 pack on it" in text for text in packing.notices) == 2
    packing.ends_well()


def test_a_drive_that_is_not_mounted_when_packing_goes_on_is_waited_for(tmp_path, monkeypatch):
    packing = Packing(tmp_path)
    mount = packing.mounts[0]
    stopped(packing, monkeypatch, 2)
    kept = packing.fleet.snapshot(mount)
    shutil.rmtree(f"{mount}/sealift")
    with pytest.raises(BadInput, match="not mounted, or emptied") as caught:
        packing.pack()
    assert f"--replace {packing.origin.serial(mount)}={mount}" in caught.value.hint
    assert not os.path.exists(f"{mount}/sealift")
    packing.fleet.replay(mount, kept)
    assert packing.pack().exit_code == 0, "it is mounted again"
    assert not any("rebuil" in text for text in packing.notices)
    packing.ends_well()


def test_an_emptied_drive_is_filled_anew_when_that_is_said(tmp_path, monkeypatch):
    packing = Packing(tmp_path)
    mount = packing.mounts[0]
    stopped(packing, monkeypatch, 2)
    shutil.rmtree(f"{mount}/sealift")
    assert packing.pack(replace={packing.origin.serial(mount): mount}).exit_code == 0
    assert any("whole again" in text for text in packing.notices)
    packing.ends_well()


def test_a_stripe_that_is_committed_without_a_drive_ends_trust_in_what_is_there(tmp_path, monkeypatch):
    """A drive lacks one pack; before it is rebuilt it goes away, packing goes on, and other packs get old names."""
    packing = Packing(tmp_path)
    mount = packing.mounts[0]
    stopped(packing, monkeypatch, 1)
    packing.fleet.remove(mount, pack_of(packing, mount, 0))
    journal = Journal(str(packing.origin.state))
    monkeypatch.setattr(work.CatchUp, "run", lambda _self: (_ for _ in ()).throw(StopError))
    with pytest.raises(StopError):
        packing.pack()
    assert {slot: each.kind for slot, each in journal.owed(0).items()} == {0: "lacks"}
    monkeypatch.undo()
    packing.fleet.go_away(mount)
    assert packing.pack().exit_code == 3
    assert {slot: (each.kind, each.since) for slot, each in journal.owed(0).items()} == {0: ("failed", 0)}
    journal.close()
    packing.fleet.come_back(mount)
    assert packing.pack().exit_code == 0
    packing.ends_well()
