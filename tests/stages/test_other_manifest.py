"""A drive that bears another group's manifest, or another shipment's drive that bears ours: its packs are its own."""

import errno
import itertools
import sys
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fleet as fleets

from sealift.cli.gone_words import of_nobodys
from sealift.drives.memory import MemoryDrive
from sealift.errors import DriveFault, NotAllHere, SignatureInvalid
from sealift.formats import canonical, paged
from sealift.formats import manifest as mf
from sealift.reading.survey_views import BY_CARD, DOUBTED, NO_MANIFEST, NOBODYS_PACKS
from sealift.stages import repair as stage
from sealift.stages.verify import verify
from sealift.stages.verify_report import Fault, exit_code

MANIFEST = (mf.MANIFEST, mf.SIGNATURE)
SMALL = (*MANIFEST, mf.CARD, *mf.OWN_FILES, *mf.GROUP_FILES)
GEOMETRY = ((2, 1), (2, 1))
FLEET = fleets.make(Path("/nowhere"), seed=11, geometry=GEOMETRY, on_disk=False)
OTHER = fleets.make(Path("/elsewhere"), seed=12, geometry=GEOMETRY, on_disk=False)


@pytest.fixture(autouse=True)
def _state(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


def give(drive, group, slot, names, fleet=FLEET):
    for name in names:
        drive.put(name, fleet.groups[group].files[slot][name])


def take(drive, names):
    drive.lock()
    for name in names:
        drive.remove(name)
    drive.unlock()


def everything(drive):
    return {
        entry.name: drive.read_small(entry.name.decode(), 1 << 30)
        for entry in drive.walk(10_000)
        if entry.kind == "file"
    }


def packs(drive):
    return {name: data for name, data in everything(drive).items() if mf.PACK_ENTRY.fullmatch(name)}


def mend(drives, **more):
    return stage.repair(drives, allowed=FLEET.allowed, seal=FLEET.seal_files, **more)


def look(drives, **more):
    return verify(drives, allowed=FLEET.allowed, seal=FLEET.seal_files, final=True, **more)


@pytest.mark.parametrize("names", [MANIFEST, (*MANIFEST, mf.CARD), SMALL], ids=["manifest", "card", "all"])
@pytest.mark.parametrize("away", [(), (5,), (0, 5), (2, 3), (2, 5)], ids=str)
def test_small_files_of_another_group_do_not_make_a_drive_one_of_it(names, away):
    drives = FLEET.memory()
    give(drives[4], 0, 0, names)
    before = packs(drives[4])
    here = [drive for slot, drive in enumerate(drives) if slot not in away]
    assert exit_code(look(here)) == 3
    report = mend(here)
    assert packs(drives[4]) == before
    assert report.missing == [f"g{slot // 3}s{slot % 3}" for slot in away]
    assert not report.left
    assert {each.mount for each in report.repaired} == {drives[4].mount}
    for name in SMALL:
        assert drives[4].read_small(name, 1 << 30) == FLEET.groups[1].files[1][name]
    assert exit_code(look(here)) == (3 if away else 0)


@pytest.mark.parametrize("names", [MANIFEST, (*MANIFEST, *mf.OWN_FILES[:1])], ids=len)
@pytest.mark.parametrize("absent", [0, 1])
def test_another_shipments_drive_with_our_manifest_is_not_written(names, absent):
    drives, strange = FLEET.memory(), OTHER.memory()[0]
    give(strange, 0, 0, names)
    before = everything(strange)
    here = [*drives[:absent], *drives[absent + 1 :], strange]
    report = mend(here)
    assert before == everything(strange)
    assert report.missing == [f"g0s{absent}"]
    assert [(each.mount, each.kind) for each in report.left] == [(strange.mount, "foreign")]
    assert report.repaired_files == 0


@pytest.mark.parametrize("how", ["gone", "altered", "another's"])
def test_a_group_whose_manifest_no_drive_has_is_not_said_to_be_elsewhere(how):
    drives = FLEET.memory()
    before = [packs(drive) for drive in drives]
    for drive in drives[3:]:
        if how == "another's":
            give(drive, 0, 0, MANIFEST)
            continue
        data = drive.read_small(mf.MANIFEST, 1 << 20)
        take(drive, MANIFEST)
        if how == "altered":
            drive.put(mf.MANIFEST, data.replace(b'"stripes"', b'"stripez"'))
    with pytest.raises((NotAllHere, SignatureInvalid)) as told:
        mend(drives[3:])
    assert "groups/0001/closed/" in told.value.hint
    for mounted in (drives, drives[3:] + drives[:1]):
        report = mend(mounted)
        assert [packs(drive) for drive in drives] == before
        assert stage.exit_code(report) == 6
        assert report.unseen == ["group 1"]
        assert {each.mount for each in report.left} == {drive.mount for drive in drives[3:]}
        assert exit_code(verify(mounted, allowed=FLEET.allowed, seal=FLEET.seal_files)) == 6
        with pytest.raises(NotAllHere, match="no drive here has the manifest of group 1") as told:
            stage.fetch(mounted, allowed=FLEET.allowed, seal=FLEET.seal_files)
        assert "groups/0001/closed/" in told.value.hint
    for name in MANIFEST:
        drives[4].put(name, FLEET.groups[1].files[1][name])
    assert stage.exit_code(mend(drives)) == 0
    assert exit_code(look(drives)) == 0


def test_what_may_be_packs_of_a_group_that_is_not_here_is_not_written():
    drives = FLEET.memory()
    give(drives[4], 0, 0, SMALL)
    before = everything(drives[4])
    report = mend([drives[1], drives[2], drives[4]])
    assert everything(drives[4]) == before
    assert [each.detail for each in report.left if each.mount == drives[4].mount] == [DOUBTED]
    assert stage.exit_code(report) == 6, "no drive of group 1 is here"


@pytest.mark.parametrize("here", [(3, 4, 5), (2, 5), (1, 2, 3, 5)], ids=str)
def test_one_stray_pack_of_that_group_does_not_make_it_a_drive_of_it(here):
    """g1s2 with all small files of g0s0, and a pack of g0s1: all its own packs are group 1's, where that is here."""
    drives = FLEET.memory()
    stray = mf.pack_name(0, 1, 2)
    give(drives[5], 0, 0, SMALL)
    give(drives[5], 0, 1, [stray])
    before = everything(drives[5])
    report = mend([drives[slot] for slot in here])
    if 3 not in here:
        assert everything(drives[5]) == before
        assert [each.detail for each in report.left if each.mount == drives[5].mount] == [DOUBTED]
        return
    assert everything(drives[5]) == {
        name.encode(): data for name, data in (FLEET.groups[1].files[2] | FLEET.seal_files).items()
    } | {stray.encode(): before[stray.encode()]}
    assert [(each.drive, each.path) for each in report.left] == [("g1s2", stray)]
    drives[5].lock()
    drives[5].remove(stray)
    assert exit_code(look(drives)) == 0


def test_where_as_many_packs_say_the_one_as_the_other_nothing_is_written():
    drives = FLEET.memory()
    give(drives[5], 0, 0, SMALL)
    give(drives[5], 0, 1, [mf.pack_name(0, 1, 2)])
    take(drives[5], [mf.pack_name(0, 2, 2), mf.pack_name(1, 1, 2)])
    before = everything(drives[5])
    for here in ((3, 4, 5), (2, 3, 5)):
        report = mend([drives[slot] for slot in here])
        assert everything(drives[5]) == before
        assert [each.detail for each in report.left if each.mount == drives[5].mount] == [DOUBTED]


TABLES = (mf.PACKS, mf.BLOCKS)


def flip(drive, name, at):
    data = bytearray(drive.read_small(name, 1 << 30))
    data[at] ^= 1
    drive.put(name, bytes(data))


@pytest.mark.parametrize("how", ["gone", "a bit", "another's", "only the manifest"])
@pytest.mark.parametrize("names", [SMALL, (*MANIFEST, mf.CARD, *mf.OWN_FILES), (mf.CARD, *mf.OWN_FILES)], ids=len)
def test_what_may_be_packs_of_a_group_that_nobody_can_tell_is_not_written(how, names):
    """A drive of group 1 with small files of group 0; of group 1 there is a drive, and its tables are damaged."""
    drives = FLEET.memory()
    give(drives[3], 0, 0, names)
    for drive in drives[4:]:
        if how == "gone":
            take(drive, TABLES)
        elif how == "a bit":
            flip(drive, mf.BLOCKS, paged.PAGE + 1)
        elif how == "another's":
            give(drive, 0, 0, TABLES)
        else:
            take(drive, TABLES)
    if how == "only the manifest":
        give(drives[1], 1, 0, MANIFEST)
        del drives[4:]
    before = packs(drives[3])
    for here in (drives[1:], [*drives[1:3], drives[3], *drives[5:]]):
        report = mend(here)
        assert packs(drives[3]) == before
        assert stage.exit_code(report) != 0
    assert all(
        drives[3].read_small(name, 1 << 30) in {FLEET.groups[0].files[0][name], FLEET.groups[1].files[0][name]}
        for name in SMALL
    )


def test_drives_that_bear_all_of_another_groups_small_files_are_not_taken_for_copies_of_its_drives():
    drives = FLEET.memory()
    for slot, drive in enumerate(drives[3:]):
        give(drive, 0, slot, SMALL)
    before = [everything(drive) for drive in drives]
    report = mend(drives)
    assert [everything(drive) for drive in drives] == before
    assert (stage.exit_code(report), report.unseen) == (6, ["group 1"])
    assert {each.detail for each in report.left} == {NOBODYS_PACKS}
    for name in (*MANIFEST, *mf.GROUP_FILES):
        drives[4].put(name, FLEET.groups[1].files[1][name])
    assert stage.exit_code(mend(drives)) == 0
    assert exit_code(look(drives)) == 0


def test_a_groups_own_table_on_a_drive_with_anothers_manifest_tells_whose_its_packs_are():
    drives = FLEET.memory()
    give(drives[1], 1, 2, (*MANIFEST, mf.CARD, *mf.OWN_FILES))
    give(drives[0], 1, 2, [mf.BLOCKS])
    report = mend([drives[0], drives[1], drives[3]])
    right = FLEET.groups[0].files[1] | FLEET.seal_files
    assert everything(drives[1]) == {name.encode(): data for name, data in right.items()}
    assert "g0s2" in report.missing


@pytest.mark.parametrize("names", [MANIFEST, [mf.CARD]], ids=len)
def test_another_shipments_small_files_beside_our_packs_lose_nothing(names):
    drives = FLEET.memory()
    give(drives[1], 0, 1, names, OTHER)
    before = packs(drives[1])
    assert exit_code(look(drives[1:])) == 3, "with the drive whose packs are right, and one that is missing"
    mend(drives[1:])
    assert packs(drives[1]) == before
    assert exit_code(look(drives[1:])) == 3


def test_a_drive_all_of_whose_packs_rotted_is_still_its_own():
    for names in itertools.chain.from_iterable(itertools.combinations(mf.OWN_FILES, count) for count in (0, 1)):
        drives = FLEET.memory()
        for path, data in packs(drives[4]).items():
            drives[4].put(path.decode(), bytes(each ^ 1 for each in data))
        take(drives[4], names)
        assert stage.exit_code(mend(drives)) == 0
        assert exit_code(look(drives)) == 0


class Failing(MemoryDrive):
    """Some of its files do not read."""

    failing = ()

    def open_read(self, name, *, direct=False):
        if name.startswith(self.failing):
            raise DriveFault(f"{self.mount}: reading {name}: EIO", drive=self.mount) from OSError(errno.EIO, "EIO")
        return super().open_read(name, direct=direct)

    def read_small(self, name, limit):
        if name.startswith(self.failing):
            raise DriveFault(f"{self.mount}: reading {name}: EIO", drive=self.mount) from OSError(errno.EIO, "EIO")
        return super().read_small(name, limit)


@pytest.mark.parametrize("failing", [("packs/",), ("packs/", *mf.OWN_FILES)], ids=len)
@pytest.mark.parametrize("claim", [0, 1])
def test_a_drive_that_does_not_read_and_bears_anothers_card_is_not_written_as_that_one(failing, claim):
    drives = FLEET.memory()
    drives[1] = Failing(drives[1].mount, drives[1].medium)
    drives[1].failing = failing
    give(drives[1], 0, claim, [mf.CARD])
    before = dict(drives[1].medium.files)
    here = drives if claim == 1 else drives[1:]
    mend(here)
    changed = {name for name, data in drives[1].medium.files.items() if data != before.get(name)}
    if len(failing) > 1:
        assert not changed
    assert all(
        drives[1].medium.files[name] == FLEET.groups[0].files[1][name] for name in changed - {mf.CARD, mf.REBUILT}
    )


def test_where_packs_are_gone_the_drives_own_files_are_believed_before_its_card():
    drives = FLEET.memory()
    take(drives[1], [name.decode() for name in packs(drives[1])])
    give(drives[1], 0, 0, [mf.CARD])
    assert stage.exit_code(mend(drives)) == 0
    assert exit_code(look(drives)) == 0
    assert mf.decode_card(drives[1].read_small(mf.CARD, 1 << 20)).slot == 1


def test_own_files_of_two_drives_tell_nothing():
    drives = FLEET.memory()
    for name, data in packs(drives[0]).items():
        drives[0].put(name.decode(), bytes(each ^ 1 for each in data))
    give(drives[0], 0, 1, [mf.CARD, mf.OPEN_ME])
    before = everything(drives[0])
    report = mend([drives[0], *drives[2:]])
    assert everything(drives[0]) == before
    assert report.missing == ["g0s0", "g0s1"]


def test_nor_do_they_where_no_pack_is_left():
    drives = FLEET.memory()
    take(drives[0], [name.decode() for name in packs(drives[0])])
    give(drives[0], 0, 1, [mf.CARD, mf.OPEN_ME])
    before = everything(drives[0])
    for here in ([drives[0], *drives[2:]], drives):
        mend(here)
        assert everything(drives[0]) == before


def test_a_group_that_is_none_of_the_shipments_is_not_asked_for():
    drives, strange = FLEET.memory(), OTHER.memory()[0]
    card = mf.decode_card(FLEET.groups[0].files[0][mf.CARD])
    strange.put(mf.CARD, canonical.encode(msgspec.structs.replace(card, group=7, id="g7s0")))
    take(strange, MANIFEST)
    assert not stage.fetch([*drives, strange], allowed=FLEET.allowed, seal=FLEET.seal_files).packs
    assert not mend([*drives, strange]).unseen


@pytest.mark.parametrize(
    ("said", "group"), [("g1s0", "0001"), ("zz", "GROUP"), ("g9999999999s0", "GROUP"), ("gs", "GROUP")]
)
def test_what_a_report_says_of_a_drive_is_read_as_somebody_elses(said, group):
    detail = f"{BY_CARD}{said}: {NO_MANIFEST}"
    fault = Fault(drive="/d", block=None, kind="missing", path=mf.MANIFEST, detail=detail, mount="/d")
    (line,) = of_nobodys([fault])
    assert f"groups/{group}/closed/" in line
