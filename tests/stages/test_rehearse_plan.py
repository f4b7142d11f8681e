"""rehearse --plan: the plan's groups, carriers and places on scratch drives, and the loss that it states."""

import json
import os

import plans as plan_files
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from sealift.cli import main
from sealift.stages import rehearse as stage
from sealift.stages import rehearse_plan as plans
from sealift.stages import rehearse_report as report
from sealift.stages.plan import document
from sealift.stages.rehearse_scenes import SCENES, Scratched


def plan(drives, carriers, shape, survive):
    names = [f"c{i}" for i in range(carriers)]
    return plan_files.make(drives, names, shape, survive, capacity=80 * 10**12, packed=10**14)


@pytest.fixture
def corpus(tmp_path):
    source = tmp_path / "corpus"
    source.mkdir()
    for i in range(36):
        (source / f"{i:03d}.bin").write_bytes(os.urandom(200_000))
    (tmp_path / "scratch").mkdir()
    return source


@pytest.mark.long
def test_the_plan_is_played_and_what_it_states_is_lost(corpus):
    one = plan(15, 5, (3, 2, 3), (1, 1))
    options = stage.Options(
        str(corpus), scratch=str(corpus.parent / "scratch"), seed=3, plan=one,
        scenes=["everything", "carrier-lost", "withheld", "repaired"],
    )  # fmt: skip
    notices = []
    result = stage.rehearse(options, stage.Events(notice=notices.append))
    assert result.held, [(s.name, c.what) for s in result.scenes for c in s.checks if not c.held]
    assert (result.data, result.parity, result.groups) == (3, 2, 3)
    told = {(int(each["group"]), each["drive"]): each["carrier"] for each in result.drives}
    assert told == {(each.group, f"g{each.group}s{each.slot}"): each.carrier for each in one.drives}
    assert all(check.held for check in result.plan.checks)
    assert len(result.plan.checks) == 2
    lost = next(scene for scene in result.scenes if scene.name == "carrier-lost")
    assert lost.title == "any carrier and 1 drive lost"
    gone = {drive for drive, state in lost.drives.items() if state == "lost"}
    carriers = [told[int(drive[1]), drive] for drive in gone]
    assert len(gone) == 4  # a carrier's three, and one besides
    assert sorted(carriers.count(name) for name in set(carriers)) == [1, 3]
    assert [note[:8] for note in lost.notes] == ["carrier ", "and of o"]
    assert "the plan: 3 groups of 3+2 drives, 15 in all, on scratch drives" in notices
    assert os.listdir(corpus.parent / "scratch") == []
    page = " ".join(report.page(result).split())
    assert "3 groups of 3 data and 2 parity drives, carried by 5 carriers, as planned (3 of 3 groups)" in page
    assert "<span>group 2</span>" in page


def test_a_drive_that_lies_elsewhere_than_planned_is_seen():
    one = plan(6, 3, (2, 1, 2), (1, 0))
    layout = plans.of_plan(one)
    drives = [Scratched(f"g{d.group}s{d.slot}", d.group, d.slot, d.carrier, "") for d in one.drives]
    numbers = {each.drive: number for number, each in enumerate(drives, 1)}
    assert [check.held for check in layout.answer(drives, numbers).checks] == [True, True]
    assert [check.held for check in layout.answer(drives[::-1], numbers).checks] == [False, False]
    moved = [drives[0]._replace(carrier="c2"), *drives[1:]]
    assert [check.held for check in layout.answer(moved, numbers).checks] == [False, True]


def test_of_many_drives_the_first_groups_are_played_and_that_is_said():
    one = plan(300, 12, (9, 3, 25), (1, 1))
    layout = plans.of_plan(one)
    assert (layout.groups, layout.count, len(layout.carriers)) == (8, 96, 96)
    assert {one.drives[number - 1].group for number in layout.played} == set(range(8))
    (told,) = layout.told()
    assert "the plan has 300 drives in 25 groups of 9+3; the first 8 are rehearsed, 96 drives" in told
    # the deal of the fewer drives is the plan's still
    order = sorted(range(96), key=lambda at: layout.carriers[at])
    for at, here in enumerate(order):
        drive = one.drives[layout.played[here] - 1]
        assert (drive.group, drive.slot) == (at % 8, at // 8)


def test_scenes_that_a_plan_cannot_play_are_left_out_with_the_reason():
    layout = plans.of_plan(plan(3, 1, (3, 0, 1), (0, 0)))
    assert [scene.name for scene in layout.scenes(SCENES)] == ["everything", "foreign"]
    assert len(layout.told()) == 5
    layout = plans.of_plan(plan(6, 3, (2, 1, 2), (1, 0)))
    assert [scene.name for scene in layout.scenes(SCENES)] == [
        "everything",
        "carrier-lost",
        "foreign",
        "withheld",
        "repaired",
    ]
    assert [scene.title for scene in layout.scenes(SCENES) if scene.name == "carrier-lost"] == ["any carrier lost"]
    own = plans.own()
    assert own.scenes(SCENES) == list(SCENES)
    assert own.told() == []


@pytest.mark.long
def test_the_command_takes_a_plan_and_prints_how_it_was_followed(corpus):
    one = plan(3, 3, (2, 1, 1), (0, 1))
    file = corpus.parent / "shipment.toml"
    file.write_text(document.render(replace(one, source="")))
    done = CliRunner().invoke(
        main.cli,
        ["rehearse", str(corpus), "--plan", str(file), "--scratch", str(corpus.parent / "scratch"), "--seed", "1",
         "--scene", "carrier-lost", "--json"],
    )  # fmt: skip
    assert done.exception is None, done.exception
    answer = json.loads(done.stdout)
    assert answer["plan"]["survive"] == "any drive"
    assert (answer["plan"]["drives"], answer["plan"]["groups_played"]) == (3, 1)
    (scene,) = answer["scenes"]
    assert list(scene["drives"].values()).count("lost") == 1
    assert "left out: withheld, which wants two groups" in done.stderr


@pytest.mark.long
def test_a_group_without_files_is_not_the_one_that_is_withheld(corpus):
    """One large file fills more than its group's share, and leaves others with nothing."""
    for path in corpus.iterdir():
        path.write_bytes(os.urandom(9_000))
    (corpus / "000.bin").write_bytes(os.urandom(30_000_000))
    options = stage.Options(
        str(corpus), scratch=str(corpus.parent / "scratch"), seed=3, plan=plan(8, 2, (1, 1, 4), (1, 0)),
        scenes=["withheld", "repaired"],
    )  # fmt: skip
    result = stage.rehearse(options, stage.Events())
    assert min(rate.source_bytes for rate in result.rates) == 0
    assert result.held, [(s.name, c.what) for s in result.scenes for c in s.checks if not c.held]
