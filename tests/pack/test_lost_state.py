"""The disk of the state folder dies while a group is packed: the drives' own copies bring the packing back."""

import os
import re
import shutil

import pytest
import shipments

from sealift.cli import pack_words
from sealift.cli import status as status_cli
from sealift.errors import BadInput, Refused, SealiftError
from sealift.formats import manifest as mf
from sealift.formats.allowed_signers import AllowedSigners
from sealift.stages import repair, status
from sealift.stages.pack import copies, found, group


def stopped(tmp_path, monkeypatch, after, change=lambda origin: origin):
    """A packing that stopped after some commits, and whose state folder is gone."""
    source = shipments.corpus(tmp_path / "source")
    for number in range(12):
        shipments.write(source / f"more/{number:02d}.bin", os.urandom(700_000))
    origin = change(shipments.Origin(tmp_path / "origin", source, 2, 1))
    commit = group.GroupPacker._commit_stripe

    def fail(self, stripe, *rest):
        if stripe == after:
            raise SealiftError("pulled out")
        return commit(self, stripe, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(group.GroupPacker, "_commit_stripe", fail)
        with pytest.raises(SealiftError, match="pulled out"):
            origin.pack()
    shutil.rmtree(origin.state)
    return origin


@pytest.mark.parametrize("after", [1, 3])
def test_packing_goes_on_after_the_last_committed_stripe(tmp_path, monkeypatch, after):
    origin = stopped(tmp_path, monkeypatch, after)
    notices = []
    assert origin.pack(notices).groups[0]["state"] == "signed"
    assert any(f"goes on after stripe {after}" in notice for notice in notices)
    left = [path.name for mount in origin.mounts for path in (shipments.Path(mount) / "sealift").glob("journal*")]
    assert left == [], "copies hold names, and go when the group is signed"
    (target := tmp_path / "target").mkdir()
    assert origin.unpack(target, seal=origin.seal()).failed == []
    shipments.same(origin.source, target)


@pytest.mark.parametrize("read_back", ["none", "sample"])
@pytest.mark.parametrize("kind", ["rows", "blocks"])
def test_a_state_that_lost_a_file_of_a_stripe_says_that_an_empty_one_goes_on(tmp_path, monkeypatch, kind, read_back):
    origin = stopped(tmp_path, monkeypatch, 2)

    def fail(*_):
        raise SealiftError("pulled out")

    with monkeypatch.context() as patch:
        patch.setattr(group.GroupPacker, "_commit_stripe", fail)
        with pytest.raises(SealiftError, match="pulled out"):
            origin.pack()
    (origin.state / f"groups/0000/stripes/0000000.{kind}").unlink()
    with pytest.raises(SealiftError, match=rf"state folder is damaged: .*0000000\.{kind}: no such file") as caught:
        origin.pack(read_back=read_back)
    assert "with another, empty --state goes on from the copies of the journal" in caught.value.hint
    notices = []
    assert origin.pack(notices, state=str(tmp_path / "other"), read_back=read_back).exit_code == 0
    assert any("goes on after stripe" in notice for notice in notices)


def cut_short(path):
    os.truncate(path, 5000)


def all_but_the_first_page(path):
    data = path.read_bytes()
    path.write_bytes(data[:4096] + bytes(byte ^ 0xFF for byte in data[4096:]))


@pytest.mark.parametrize("spoil", [cut_short, all_but_the_first_page])
def test_a_journal_that_is_damaged_is_done_without_as_its_hint_says(tmp_path, spoil):
    origin = shipments.Origin(tmp_path / "origin", shipments.corpus(tmp_path / "source"), 2, 1)
    shipment = origin.pack().config.shipment
    spoil(origin.state / "journal.sqlite")
    for ask in (origin.pack, lambda: status.look(str(origin.state))):  # what seal starts from
        with pytest.raises(BadInput, match=r"journal\.sqlite is no journal of sealift, or damaged: ") as caught:
            ask()
        assert "another, empty --state goes on from the copies of it" in caught.value.hint
        assert f"with --shipment {shipment}, too" in caught.value.hint
    assert origin.pack(state=str(tmp_path / "other"), shipment=shipment).exit_code == 0


def test_another_source_than_the_one_that_was_begun_is_refused(tmp_path, monkeypatch):
    origin = stopped(tmp_path, monkeypatch, 1)
    shipments.write(origin.source / "new", b"was not there")
    for _ in range(2):  # the state folder is not empty any more
        with pytest.raises(Refused, match="not what it was"):
            origin.pack()
    (origin.source / "new").unlink()
    assert origin.pack().exit_code == 0


def test_a_drive_that_is_lost_with_the_state_folder_is_replaced_at_once(tmp_path, monkeypatch):
    origin = stopped(tmp_path, monkeypatch, 2)
    old, new = origin.mounts[1], str(tmp_path / "new")
    os.mkdir(new)
    shutil.rmtree(old)
    origin.declaration.write_text(origin.declaration.read_text().replace(origin.serial(old), origin.serial(new)))
    notices, before = [], origin.serial(old)
    origin.mounts.remove(old)
    result = origin.pack(notices, replace={before: new}, serials={new: origin.serial(new)})
    assert (result.exit_code, result.groups[0]["state"]) == (0, "signed")
    assert any("goes on after stripe 2" in notice for notice in notices)
    origin.mounts.insert(1, new)
    (target := tmp_path / "target").mkdir()
    assert origin.unpack(target, seal=origin.seal()).failed == []
    shipments.same(origin.source, target)


def test_nothing_is_replaced_where_nothing_was_packed(tmp_path):
    origin = shipments.Origin(tmp_path / "origin", shipments.corpus(tmp_path / "source"), 2, 1)
    with pytest.raises(BadInput, match="nothing was packed") as caught:
        origin.pack(replace={origin.serial(origin.mounts[1]): origin.mounts[2]})
    assert "no --replace" in caught.value.hint


def test_a_drive_that_dies_after_its_group_was_signed_is_made_anew_and_the_lost_state_taken_over(tmp_path):
    """Both refusals on the way there say how."""
    origin = shipments.Origin(tmp_path / "origin", shipments.corpus(tmp_path / "source"), 2, 1)
    assert origin.pack().exit_code == 0
    signed, shipment = origin.manifests(), card_of(origin).shipment
    old, new = origin.mounts[1], str(tmp_path / "origin" / "new")
    os.mkdir(new)
    shutil.rmtree(old)
    shutil.rmtree(origin.state)
    before = origin.serial(old)
    origin.declaration.write_text(origin.declaration.read_text().replace(before, origin.serial(new)))
    left = [mount for mount in origin.mounts if mount != old]
    origin.mounts[1] = new
    how = "`sealift repair` of the drives that are left, --onto NEW.* a copy of the declaration .* without NEW's mount"
    with pytest.raises(BadInput, match="nothing was packed") as caught:
        origin.pack(to=left, replace={before: new}, serials={new: origin.serial(new)})
    assert re.search(rf"{how}\. .* --shipment ID .* no --replace", caught.value.hint)
    with pytest.raises(
        Refused, match=rf"drive g0s1 \(serial {origin.serial(new)}, {new}\): nothing is on it"
    ) as caught:
        origin.pack(shipment=shipment)
    assert re.search(
        f"`--onto {new}` makes it anew; then run the same .*in place of a dead one: {how}", caught.value.hint
    )
    allowed = AllowedSigners.parse(origin.allowed)
    assert repair.repair(left, allowed=allowed, onto=[new], allow_same_filesystem=True).rebuilt == ["g0s1"]
    assert origin.pack(shipment=shipment).exit_code == 0
    assert origin.manifests() == signed
    (target := tmp_path / "target").mkdir()
    assert origin.unpack(target, seal=origin.seal()).failed == []
    shipments.same(origin.source, target)


def card_of(origin):
    return mf.decode_card((shipments.Path(origin.mounts[0]) / "sealift" / mf.CARD).read_bytes())


def ends_well_anew(origin, tmp_path, **how):
    """--discard-group: it was removed from the drives and packed from its beginning."""
    notices = []
    assert origin.pack(notices, discard_group=True, **how).groups[0]["state"] == "signed"
    assert sum("removed an unfinished group" in notice for notice in notices) == 3
    assert not any("goes on after stripe" in notice for notice in notices)
    (target := tmp_path / "target").mkdir()
    assert origin.unpack(target, seal=origin.seal()).failed == []
    shipments.same(origin.source, target)


@pytest.mark.parametrize("refused_first", [True, False])
def test_a_group_that_cannot_go_on_is_given_up(tmp_path, monkeypatch, refused_first):
    origin = stopped(tmp_path, monkeypatch, 3)
    before = card_of(origin).shipment
    shipments.write(origin.source / "new", b"was not there")
    if refused_first:
        with pytest.raises(Refused) as told:
            origin.pack()
        assert "--discard-group" in told.value.hint
    ends_well_anew(origin, tmp_path)
    assert card_of(origin).shipment != before


@pytest.mark.parametrize("with_copies", [True, False])
def test_a_group_of_this_very_shipment_is_given_up_where_nothing_of_it_is_known(tmp_path, monkeypatch, with_copies):
    """As where other groups are signed, and keep the shipment's number."""
    if not with_copies:
        monkeypatch.setattr(copies, "identity_of", lambda *_: None)
    origin = stopped(tmp_path, monkeypatch, 3)
    before = card_of(origin).shipment
    ends_well_anew(origin, tmp_path, shipment=before)
    assert card_of(origin).shipment == before


def test_nothing_is_removed_before_all_that_can_be_refused_was(tmp_path, monkeypatch):
    """One group is signed, the other unfinished, and the source has changed: it is refused, and nothing was written."""
    for number in range(12):
        shipments.write(tmp_path / f"source/{number:02d}.bin", os.urandom(700_000))
    origin = shipments.Origin(tmp_path / "origin", tmp_path / "source", 2, 1, groups=2)
    commit = group.GroupPacker._commit_stripe

    def fail(self, stripe, *rest):
        if self._number and stripe:
            raise SealiftError("pulled out")
        return commit(self, stripe, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(group.GroupPacker, "_commit_stripe", fail)
        with pytest.raises(SealiftError, match="pulled out"):
            origin.pack(group_size=3)
    shipment = card_of(origin).shipment
    shutil.rmtree(origin.state)
    shipments.write(origin.source / "new", b"was not there")
    before = [shipments.picture(mount) for mount in origin.mounts]
    assert sum(b"sealift/packs/0000" in drive and b"sealift/manifest.json" not in drive for drive in before) == 3
    with pytest.raises(Refused, match="nothing was written"):
        origin.pack(group_size=3, shipment=shipment, discard_group=True)
    assert [shipments.picture(mount) for mount in origin.mounts] == before


def test_what_the_state_folder_knows_is_not_given_up(tmp_path, monkeypatch):
    """--discard-group that is left in the command goes on where the journal stands."""
    monkeypatch.setattr(shutil, "rmtree", lambda *_args, **_how: None)
    origin = stopped(tmp_path, monkeypatch, 3)
    before, notices = card_of(origin), []
    assert origin.pack(notices, discard_group=True).groups[0]["state"] == "signed"
    assert not any("removed" in notice for notice in notices)
    assert card_of(origin) == before


def test_a_group_that_is_signed_already_is_taken_over_and_not_packed_again(tmp_path):
    origin = shipments.Origin(tmp_path / "origin", shipments.corpus(tmp_path / "source"), 2, 1)
    first = origin.pack()
    before = [shipments.picture(mount) for mount in origin.mounts]
    shutil.rmtree(origin.state)
    notices = []
    again = origin.pack(notices, shipment=first.config.shipment)
    assert any("signed on its drives already" in notice for notice in notices)
    assert (again.packed_bytes, again.files) == (first.packed_bytes, first.files)
    assert [shipments.picture(mount) for mount in origin.mounts] == before
    assert again.groups[0]["stripes"] == first.groups[0]["stripes"] > 0
    assert [each.groups[0]["taken_over"] for each in (first, again)] == [False, True]
    assert found.load_manifest(str(origin.state), 0)[0].shipment == first.config.shipment


@pytest.mark.parametrize(("read_back", "lines"), [("sample", 0), ("full", 1)])
def test_that_a_group_that_was_taken_over_was_not_read_back_as_asked_is_said_last(tmp_path, capsys, read_back, lines):
    origin = shipments.Origin(tmp_path / "origin", shipments.corpus(tmp_path / "source"), 2, 1)
    shipment = origin.pack().config.shipment
    shutil.rmtree(origin.state)
    options = origin.pack_options(shipment=shipment, read_back=read_back)
    capsys.readouterr()
    pack_words.summarize(shipments.packing.run(options, shipments.packing.Events()), options)
    told = capsys.readouterr().err.splitlines()
    assert any(line.endswith("signed, taken over from its drives") for line in told)
    said = [line for line in told if "group 0 was taken over, and not read back as asked: `sealift verify`" in line]
    assert said == told[-1:] * lines


def test_a_packing_that_came_back_is_bound_to_how_it_began(tmp_path, monkeypatch):
    origin = stopped(tmp_path, monkeypatch, 2)
    with pytest.raises(SealiftError, match="began with something else"):
        origin.pack(order="shuffled", seed=3)


def taken_over(origin, result, tmp_path, **how):
    """The same command with an empty state, when everything is signed; Refused, and the drives stay as they are."""
    before = [shipments.picture(mount) for mount in origin.mounts]
    with pytest.raises(Refused) as caught:
        origin.pack(shipment=result.config.shipment, state=str(tmp_path / "other"), **how)
    assert [shipments.picture(mount) for mount in origin.mounts] == before
    assert all(each.state != "signed" for each in status.look(str(tmp_path / "other")).groups)
    return str(caught.value) + caught.value.hint


def test_a_group_that_another_key_signed_is_not_taken_over(tmp_path):
    origin = shipments.Origin(tmp_path / "origin", shipments.corpus(tmp_path / "source"), 2, 1)
    result = origin.pack()
    told = taken_over(origin, result, tmp_path, sign_with=str(origin.root / "author"))
    assert "not by the key of --sign-with" in told


@pytest.mark.long
def test_a_group_of_another_source_is_not_taken_over(tmp_path):
    origin = shipments.Origin(tmp_path / "origin", shipments.corpus(tmp_path / "source"), 2, 1)
    result = origin.pack()
    shipments.write(tmp_path / "else/file", b"something else")
    told = taken_over(origin, result, tmp_path, source=str(tmp_path / "else"))
    assert "packed from something else than" in told
    notices = []  # with the very source that is meant, in the folder that was refused
    again = origin.pack(notices, shipment=result.config.shipment, state=str(tmp_path / "other"))
    assert (again.exit_code, again.files) == (0, result.files)
    shipments.write(origin.source / "new", b"was not there")
    shutil.rmtree(tmp_path / "other")
    for _ in range(2):
        assert "as it is now" in taken_over(origin, result, tmp_path)
    (origin.source / "new").unlink()
    assert origin.pack(shipment=result.config.shipment, state=str(tmp_path / "other")).exit_code == 0


def test_what_keeps_a_signed_group_from_being_taken_over_is_named_and_mended_as_the_hint_says(tmp_path):
    origin = shipments.Origin(tmp_path / "origin", shipments.corpus(tmp_path / "source"), 2, 1)
    shipment = origin.pack().config.shipment
    signed = origin.manifests()
    allowed = AllowedSigners.parse(origin.allowed)

    def refused(**how):
        shutil.rmtree(origin.state)
        with pytest.raises((Refused, BadInput)) as caught:
            origin.pack(shipment=shipment, **how)
        return str(caught.value), caught.value.hint

    first, second, third = origin.mounts
    shutil.rmtree(second)
    os.mkdir(second)
    path = shipments.Path(third, "sealift", mf.MANIFEST)
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    told, hint = refused()
    assert f"drive g0s1 (serial {origin.serial(second)}, {second}): nothing is on it" in told
    assert (
        f"drive g0s2 (serial {origin.serial(third)}, {third}): its manifest.json is damaged, or its signature: " in told
    )
    assert first not in told
    assert f"`sealift repair` of the others with `--onto {second}` makes it anew, and mends what another" in hint
    assert "copy of the declaration" not in hint
    repair.repair([first, third], allowed=allowed, onto=[second], allow_same_filesystem=True)
    shipments.Path(first, "sealift", mf.SIGNATURE).unlink()
    told, hint = refused()
    assert "g0s0" in told
    assert "it has no manifest.json.sig" in told
    assert "`sealift repair` with all mounts" in hint
    repair.repair(origin.mounts, allowed=allowed)
    told, hint = refused(to=origin.mounts[:2])
    assert told == "the declaration names 3 drives, 2 are attached"
    assert f"group 0 of shipment {shipment} is signed on these" in hint
    assert (
        f"attach {origin.serial(third)}, too. where one is lost, `sealift repair` of the drives that are left" in hint
    )
    assert origin.pack(shipment=shipment).exit_code == 0
    assert origin.manifests() == signed


def test_drives_of_one_signed_group_of_several_are_taken_over_with_the_size_that_the_hint_names(tmp_path):
    origin = shipments.Origin(tmp_path / "origin", shipments.corpus(tmp_path / "source"), 1, 1, groups=2)
    shipment = origin.pack().config.shipment
    shutil.rmtree(origin.state)
    mounts = [mount for mount in origin.mounts if "g0s" in mf.decode_card(
        (shipments.Path(mount) / "sealift" / mf.CARD).read_bytes()).id]  # fmt: skip
    with pytest.raises(BadInput, match="names 4 drives, 2 are attached") as caught:
        origin.pack(to=mounts, shipment=shipment, group_size=None)
    assert "taken over with all its drives: give --group-size 2, as it was packed, and" in caught.value.hint


def test_manifests_of_two_groups_exchanged_in_the_state_folder_are_no_measure_of_drives(tmp_path, capsys):
    origin = shipments.Origin(tmp_path / "origin", shipments.corpus(tmp_path / "source"), 1, 1, groups=2)
    shipment = origin.pack().config.shipment
    before = [shipments.picture(mount) for mount in origin.mounts]
    groups = origin.state / "groups"

    def exchange():
        (groups / "0000/closed").rename(tmp_path / "0000")
        (groups / "0001/closed").rename(groups / "0000/closed")
        (tmp_path / "0000").rename(groups / "0001/closed")

    exchange()
    with pytest.raises(Refused, match=r"0000/closed is another group's manifest, of group 1 of shipment") as caught:
        origin.pack()
    assert f"put the folders beneath {groups} back in their places" in caught.value.hint
    assert f"another, empty --state and --shipment {shipment} takes over" in caught.value.hint
    capsys.readouterr()
    status_cli.show(status.look(str(origin.state)))
    told = capsys.readouterr().out
    assert "0001/closed is another group's manifest, of group 0" in told
    assert "next: put the state folder right, as it says above" in told
    assert origin.pack(state=str(tmp_path / "other"), shipment=shipment).exit_code == 0
    exchange()
    assert origin.pack().exit_code == 0
    assert [each.kept for each in status.look(str(origin.state)).groups] == ["", ""]
    assert [shipments.picture(mount) for mount in origin.mounts] == before
