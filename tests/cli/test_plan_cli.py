"""`sealift plan` as people use it: on paper, over a folder, from listed drives, to a shipment that is packed by it."""

import json
import os
import re
from types import SimpleNamespace

import msgspec
import pytest
from click.testing import CliRunner
from voyages import CALIBRATION

from sealift.cli import main, plan_words
from sealift.errors import BadInput, Interrupted, NotAllHere
from sealift.formats import drive_tests
from sealift.formats import smart as health
from sealift.stages import rehearse_scratch as scratch
from sealift.stages.drives_list import DriveRow, Flag, Listing, VolumeRow
from sealift.stages.plan import calibrate, document
from sealift.trade import declaration as declarations
from sealift.trade import sections
from sealift.trade.template import render

PAPER = ("--bytes", "60TB", "--files", "4e6")
FLEET = ("--drives", "8x20TB", "--carriers", "anna:hand,ben:hand,cem,dan:checked-bag", "--bays", "8")


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """A calibration that was kept, in the folder where people work."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "host.json").write_bytes(CALIBRATION.encode())


def run(*arguments, fails=None, ends=0):
    given = ["plan", "--calibration", "host.json", *map(str, arguments)]
    done = CliRunner().invoke(main.cli, given)
    if fails is None:
        assert done.exit_code == ends, (done.exception, done.output)
        return done
    assert isinstance(done.exception, fails), (done.exception, done.output)
    assert done.exception.hint or fails is Interrupted or "No such file" in str(done.exception)
    return f"{done.exception}\nhint: {done.exception.hint}"


def test_on_paper_everything_is_said_and_nothing_is_written(tmp_path):
    done = run(*PAPER, *FLEET, "--deadline", "2099-01-01")
    for expected in (
        "60.0 TB in 4,000,000 files (on paper)",
        "7 hard disks of 20.0 TB: 2 with each of anna, ben and cem; 1 with dan",
        "PLAN: 1 group of 4 data + 3 parity drives",
        "every byte arrives with probability",
        "By the deadline, 2099-01-01 00:00 UTC: in time in 100.0% of voyages",
        "any one drive",
        "a link of 10 Gb/s",
        "takes no new orders: AWS Snowball",
        "have no authority behind them",
    ):
        assert expected in done.stdout, done.stdout
    assert "no plan was written" in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["host.json"]


def test_json_has_everything_on_one_line():
    answer = json.loads(run(*PAPER, *FLEET, "--json").stdout)
    assert answer["geometry"] == "1x4+3"
    assert {each["carrier"] for each in answer["drives"]} == {"anna", "ben", "cem", "dan"}
    assert answer["choices"]
    assert sum(each["front"] for each in answer["choices"]) > 1
    assert answer["ways"][0]["id"] == "drives"
    assert answer["lost"]["anna"]["all"] > answer["times"]["all"]
    assert all(each["source"] for each in answer["numbers"])


def test_what_is_missing_ends_with_6():
    told = run("--bytes", "600TB", "--files", "4e6", *FLEET, "--out", "shipment.toml", fails=NotAllHere)
    assert re.search(r"missing: \d+ more drives of 20 TB; or ", told)
    assert not os.path.exists("shipment.toml")


def test_a_plan_that_is_there_is_left_as_it_is():
    with open("shipment.toml", "w") as file:
        file.write("# filled in by hand\n")
    assert "is there already" in run(*PAPER, *FLEET, "--out", "shipment.toml", fails=BadInput)
    with open("shipment.toml") as file:
        assert file.read() == "# filled in by hand\n"
    assert "cannot be written there" in run(*PAPER, *FLEET, "--out", "nowhere/shipment.toml", fails=BadInput)


def test_the_form_is_written_once_and_read():
    assert "wrote voyage.toml" in run("--new", "voyage.toml").stderr
    assert "is there already" in run("--new", "voyage.toml", fails=BadInput)
    with open("voyage.toml") as file:
        filled = file.read().replace("# bays = 24", "bays = 8").replace("# people = 2", "people = 2")
    with open("voyage.toml", "w") as file:
        file.write(filled)
    told = run("--voyage", "voyage.toml", *PAPER, *FLEET, "--json")
    usual = json.loads(run(*PAPER, *FLEET, "--json").stdout)
    assert json.loads(told.stdout)["times"]["all"] < usual["times"]["all"]
    with open("voyage.toml", "a") as file:
        file.write('[[carrier]]\nname = "x"\n')
    assert "voyage.toml: the voyage has 1 problem" in run("--voyage", "voyage.toml", *PAPER, fails=BadInput)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "no drives"),
        (FLEET, "no corpus"),
        ((*PAPER, ".", *FLEET), "two corpora"),
        (("--bytes", "1TB", *FLEET), "half a corpus on paper"),
        (("nowhere", *FLEET), "nowhere: no folder"),
        ((*PAPER, *FLEET, "--deadline", "2020-01-01"), "is not after now"),
        ((*PAPER, *FLEET, "--start", "2030-01-01", "--deadline", "2029-01-01"), "is not after the start of packing"),
        ((*PAPER, *FLEET, "--survive", "everything"), "the loss to survive"),
        ((*PAPER, *FLEET, "--geometry", "1x9+9"), "no geometry that fits"),
        ((*PAPER, *FLEET, "--drives", "host.json"), "host.json: no list of drives"),
        ((*PAPER, *FLEET, "--tests", "host.json"), "host.json: "),
        ((*PAPER, *FLEET, "--tests", "none.json"), "none.json: No such file"),
        (("--bytes", "0", "--files", "1", *FLEET), "does not add up"),
        (("--bytes", "1TB", "--files", "1e99", *FLEET), "does not add up"),
    ],
)  # fmt: skip
def test_what_cannot_be_planned_is_told(arguments, told):
    assert told in run(*arguments, fails=BadInput)


def test_a_calibration_is_kept_and_taken_again(monkeypatch):
    taken = []

    def instead(folder, shape, *, seconds):
        assert os.path.isdir(folder)
        taken.append((shape.files, seconds))
        return CALIBRATION

    monkeypatch.setattr(calibrate, "calibrate", instead)
    for _ in range(2):
        done = CliRunner().invoke(main.cli, ["plan", *PAPER, *FLEET, "--calibration", "new.json"])
        assert done.exit_code == 0, done.output
    assert taken == [(4_000_000, 10.0)]
    with open("new.json", "rb") as file:
        assert calibrate.decode(file.read()) == CALIBRATION


def measured(name, rate, fault):
    return drive_tests.TestedDrive(
        name=name, serial=name, model="M", size=10**12, rotational=True, filesystem="xfs", at="2026-11-26T00:00:00Z",
        together=8, bytes=1 << 30, write_bytes_per_second=rate, read_bytes_per_second=rate, worst_stall=0.1,
        read_from="medium", fault=fault,
    )  # fmt: skip


def test_measured_speeds_are_taken_and_a_failed_test_is_told():
    rows = "".join(f'[[drives]]\ncapacity = "20TB"\nserial = "S{at}"\n' for at in range(8))
    with open("voyage.toml", "w") as file:
        file.write(rows)
    record = drive_tests.DriveTests(drives=[measured("S1", 5_000_000, ""), measured("S2", 9, "EIO")])
    with open("tests.json", "wb") as file:
        file.write(drive_tests.encode(record))
    given = ("--voyage", "voyage.toml", *PAPER, *FLEET[2:], "--json")
    usual = json.loads(run(*given).stdout)
    done = run(*given, "--tests", "tests.json")
    answer = json.loads(done.stdout)
    assert answer["left_out"] == [{"name": "S2", "why": "it failed its test: EIO"}]
    assert "S2" not in {each["serial"] for each in answer["drives"]}
    assert answer["times"]["all"] > 5 * usual["times"]["all"]
    other = run("--drives", "8x20TB", *PAPER, *FLEET[2:], "--tests", "tests.json")
    assert "none of these drives was tested" in other.stderr


def test_a_plan_that_is_not_what_was_asked_for_is_written_and_ends_with_3():
    done = run(*PAPER, *FLEET, "--survive", "any carrier, 99.9999999%", "--out", "shipment.toml", ends=3)
    assert "NOT AS SAFE AS WANTED" in done.stdout
    assert os.path.exists("shipment.toml")
    late = run(*PAPER, *FLEET, "--start", "2026-12-01", "--deadline", "2026-12-02", "--json", ends=3)
    answer = json.loads(late.stdout)
    assert (answer["met"], answer["in_time"], answer["on_time"]) == (False, False, 0.0)


def test_an_interruption_begins_anew(monkeypatch):
    def instead(*_arguments, **_options):
        raise KeyboardInterrupt

    from sealift.stages.plan import choose

    monkeypatch.setattr(choose, "plan", instead)
    assert "begins anew" in run(*PAPER, *FLEET, fails=Interrupted)


def test_drives_that_are_listed_are_planned_with_and_others_named():
    blank = VolumeRow(
        device="/dev/sda", kind="disk", size_bytes=20 * 10**12, filesystem=None, label=None, uuid=None, mounts=[],
        swap=False, used_bytes=None, free_bytes=None, entries=None, sealift=None, trouble=None,
    )  # fmt: skip

    def row(name, *flags):
        return DriveRow(
            name=name, serial=name, model="M", firmware=None, device="/dev/sda", kind="disk", transport="sata",
            size_bytes=20 * 10**12, rotational=True, removable=False, table=None, health=health.unknown("not asked"),
            volumes=[blank], flags=[Flag(flag=each, why="it holds /") for each in flags],
        )  # fmt: skip

    with open("none.json", "wb") as file:
        file.write(msgspec.json.encode(Listing(drives=[row("BOOT", "system")], elsewhere=[])))
    told = run(*PAPER, "--drives", "none.json", *FLEET[2:], fails=BadInput)
    assert "no drive that may be packed onto\n  BOOT: system: it holds /" in told
    rows = [*(row(f"S{at}") for at in range(8)), row("BOOT", "system"), row("two words")]
    with open("drives.json", "wb") as file:
        file.write(msgspec.json.encode(Listing(drives=rows, elsewhere=[])))
    done = run(*PAPER, "--drives", "drives.json", *FLEET[2:], "--out", "shipment.toml")
    assert "left out: BOOT: system: it holds /" in done.stdout
    assert "left out: two words: its serial number is not printable ASCII without spaces" in done.stdout
    with open("shipment.toml", "rb") as file:
        plan = document.parse(file.read())
    assert {each.serial for each in plan.drives} < {f"S{at}" for at in range(8)}
    assert not plan.nameless


def test_from_a_folder_to_packed_drives(tmp_path):
    """Plan a folder, declare and pack by the plan: inspect shows what the plan says."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for at in range(60):
        (corpus / f"{at:02d}.txt").write_text(f"{at} words " * 3000)
    who = scratch.people(scratch.Scratch(str(tmp_path)))
    with open("voyage.toml", "w") as file:
        file.write(
            'pack_size = "1MiB"\n'
            + "".join(f'[[drives]]\ncapacity = "1GB"\nserial = "S{at}"\nmake = "M"\n' for at in range(8))
        )
    done = run("corpus", "--voyage", "voyage.toml", "--carriers", "anna:hand,ben:hand,cem:hand,dan:hand", "--bays", 4,
               "--out", "shipment.toml")  # fmt: skip
    assert "looked at 60 files" in done.stderr
    assert "samples" in done.stdout
    with open("shipment.toml", "rb") as file:
        plan = document.parse(file.read())
    assert plan.source == str(corpus)
    command = CliRunner()
    made = command.invoke(main.cli, ["declare", "--new", "declaration.toml", "--plan", "shipment.toml"])
    assert made.exit_code == 0, made.output
    parsed = declarations.parse((tmp_path / "declaration.toml").read_bytes(), draft=True)
    content = sections.Content(**{name: getattr(parsed, name) for name in sections.Content.__struct_fields__})
    (tmp_path / "declaration.toml").write_text(render(content))
    to = []
    for drive in plan.drives:
        (tmp_path / drive.name).mkdir()
        to += [f"--to={tmp_path / drive.name}", f"--serial={tmp_path / drive.name}={drive.serial}"]
    packed = command.invoke(
        main.cli,
        ["pack", "--plan=shipment.toml", *to, f"--recipient={who.recipient}", f"--sign-with={who.author}",
         "--declaration=declaration.toml", "--state=state", "--allow-same-filesystem", "--json"],
    )  # fmt: skip
    assert packed.exit_code == 0, packed.output
    told = json.loads(command.invoke(main.cli, ["inspect", *[d.name for d in plan.drives], "--json"]).stdout)
    seen = {
        drive["serial"]: (drive["number"], group["group"], drive["slot"], drive["carrier"])
        for group in told["groups"]
        for drive in group["present"]
    }
    assert seen == {
        each.serial: (number, each.group, each.slot, each.carrier) for number, each in enumerate(plan.drives, 1)
    }


@pytest.mark.parametrize(("samples", "words"), [(1, " by 1 sample ("), (2, " by 2 samples (")])
def test_samples_are_counted(samples, words):
    corpus = SimpleNamespace(samples=samples, share=0.5, low=0.4, high=0.6)
    assert plan_words._sampled(SimpleNamespace(corpus=corpus)).startswith(words)
