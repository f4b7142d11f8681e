"""declare and pack follow shipment.toml, refuse what contradicts it, and inspect says the same as the plan."""

import json

import plans
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from sealift.cli import main
from sealift.errors import BadInput
from sealift.stages import rehearse_scratch as scratch
from sealift.stages.pack import planned as following
from sealift.stages.plan import document
from sealift.trade import declaration as declarations
from sealift.trade import sections
from sealift.trade.template import render

MIB = 1 << 20


def run(*arguments, fails=None):
    """The command's standard output; or the message of the BadInput that it must end with."""
    done = CliRunner().invoke(main.cli, [str(each) for each in arguments])
    if fails is None:
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done
    assert isinstance(done.exception, BadInput), (done.exception, done.output)
    assert done.exception.hint
    return f"{done.exception}\nhint: {done.exception.hint}"


class Desk:
    """Keys, a corpus, six scratch drives, and a plan of two groups of 2+1 over three carriers."""

    def __init__(self, folder):
        self.folder = folder
        self.who = scratch.people(scratch.Scratch(str(folder)))
        self.corpus = folder / "corpus"
        self.corpus.mkdir()
        for i in range(40):
            (self.corpus / f"{i:02d}.txt").write_text(f"{i}\n" * 5000)
        self.plan = plans.make(
            6, ("Cem", "Anna", "Bo"), (2, 1, 2), (1, 0), source="corpus", files=40, order="shuffled", seed=5
        )
        self.mounts = {}  # by the drive's name
        for drive in self.plan.drives:
            self.mounts[drive.name] = folder / drive.name
            self.mounts[drive.name].mkdir()
        self.file, self.declaration = folder / "shipment.toml", folder / "declaration.toml"
        self.write()

    def write(self, plan=None):
        self.file.write_text(document.render(plan or self.plan))

    def declare(self, alter=lambda content: content):
        """`declare --new --plan`, and a person who fills in the rest."""
        self.declaration.unlink(missing_ok=True)
        answer = json.loads(run("declare", "--new", self.declaration, "--plan", self.file, "--json").stdout)
        parsed = declarations.parse(self.declaration.read_bytes(), draft=True)
        content = sections.Content(**{name: getattr(parsed, name) for name in sections.Content.__struct_fields__})
        self.declaration.write_text(render(replace(alter(content), consignment_id="SL-2026-PLAN")))
        return answer

    def pack(self, *more, drives=None, fails=None):
        to = []
        for name in drives or self.mounts:
            to += [f"--to={self.mounts[name]}", f"--serial={self.mounts[name]}=S-{name}"]
        return run(
            "pack", f"--plan={self.file}", *to, f"--recipient={self.who.recipient}", f"--sign-with={self.who.author}",
            f"--declaration={self.declaration}", f"--state={self.folder / 'state'}", "--allow-same-filesystem",
            "--json", *more, fails=fails,
        )  # fmt: skip

    def nothing_written(self):
        return not any((mount / "sealift").exists() for mount in self.mounts.values())


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def test_the_form_is_filled_with_what_the_plan_knows(desk):
    answer = desk.declare()
    assert (answer["drives"], answer["without_serial"]) == (6, 0)
    parsed = declarations.parse(desk.declaration.read_bytes(), draft=True)
    assert [(d.serial, d.carrier, d.make, d.model, d.capacity_bytes) for d in parsed.drives] == [
        (d.serial, d.carrier, d.make, d.model, d.capacity_bytes) for d in desk.plan.drives
    ]
    assert [carrier.name for carrier in parsed.carriers] == ["Cem", "Anna", "Bo"]
    assert parsed.data.source_bytes == desk.plan.bytes
    assert parsed.shipper.legal_name == ""  # left to people
    assert "belongs to --new" in run("declare", "--check", desk.declaration, "--plan", desk.file, fails=True)


def test_serials_that_are_not_known_are_left_empty_and_pack_wants_them(desk):
    drives = tuple(replace(each, serial="" if each.name in {"D1", "D4"} else each.serial) for each in desk.plan.drives)
    desk.write(replace(desk.plan, drives=drives))
    desk.declaration.unlink(missing_ok=True)
    done = run("declare", "--new", desk.declaration, "--plan", desk.file)
    assert "2 of 6 drives have no serial number" in done.stderr
    parsed = declarations.parse(desk.declaration.read_bytes(), draft=True)
    assert [d.serial for d in parsed.drives] == [d.serial for d in drives]
    told = desk.pack(fails=True)
    at = next(number for number, each in enumerate(drives, 1) if not each.serial)
    assert f"drives[{at}] ({drives[at - 1].name}) and 1 more have no serial number" in told
    assert "fill in serial = of every [[drives]]" in told
    assert desk.nothing_written()


def test_pack_follows_the_plan_and_inspect_says_the_same_drive_by_drive(desk):
    desk.declare()
    groups = [[each.name for each in desk.plan.drives if each.group == group] for group in range(2)]
    first = desk.pack(drives=groups[1])
    assert first.exit_code == 6, first.output  # the other group waits
    last = desk.pack(drives=groups[0])
    assert last.exit_code == 0, last.output
    answer = json.loads(last.stdout)
    assert [(each["data"], each["parity"]) for each in answer["groups"]] == [(2, 1), (2, 1)]
    told = json.loads(run("inspect", *desk.mounts.values(), "--json").stdout)
    seen = {
        drive["serial"]: (drive["number"], group["group"], drive["slot"], drive["carrier"])
        for group in told["groups"]
        for drive in group["present"]
    }
    assert seen == {
        each.serial: (number, each.group, each.slot, each.carrier) for number, each in enumerate(desk.plan.drives, 1)
    }
    for each in desk.plan.drives:
        card = json.loads((desk.mounts[each.name] / "sealift" / "drive.json").read_bytes())
        assert (card["group"], card["slot"]) == (each.group, each.slot)
    # the same again changes nothing; another plan is refused
    assert desk.pack().exit_code == 0
    names = [each.serial for each in desk.plan.drives]
    other = tuple(replace(each, serial=name) for each, name in zip(desk.plan.drives, names[::-1], strict=True))
    desk.write(replace(desk.plan, drives=other))
    desk.declare()
    assert "in places where the packing has" in desk.pack(fails=True)
    desk.write(replace(desk.plan, pack_size=2 * MIB))
    desk.declare()
    assert "pack_size (was 1048576, now 2097152)" in desk.pack(fails=True)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--parity=2", "--parity 2 contradicts the plan, which has 1"),
        ("--group-size=6", "--group-size 6 contradicts the plan, which has 3"),
        ("--pack-size=1GiB", "--pack-size 1073741824 contradicts the plan, which has 1048576"),
        ("--order=path", "--order path contradicts the plan, which has shuffled"),
        ("--seed=0", "--seed 0 contradicts the plan, which has 5"),
        ("--carrier=Bo={D0}", "--carrier Bo={D0} contradicts the plan, which gives drive S-D0 to Anna"),
        ("--network", "--network and --plan"),
        ("{folder}", "SOURCE {folder} contradicts the plan, which is for {folder}/corpus"),
    ],
)
def test_an_option_that_contradicts_the_plan_is_refused(desk, option, told):
    desk.declare()
    assert next(each.carrier for each in desk.plan.drives if each.name == "D0") == "Anna"
    names = {"folder": desk.folder, "D0": desk.mounts["D0"]}
    assert told.format(**names) in desk.pack(option.format(**names), fails=True)
    assert desk.nothing_written()


def test_options_that_say_the_same_are_taken(desk):
    desk.declare()
    same = ("--parity=1", "--group-size=3", "--pack-size=1MiB", "--order=shuffled", "--seed=5", str(desk.corpus))
    assert desk.pack(*same, f"--carrier=Anna={desk.mounts['D0']}").exit_code == 0


def lacking(content):
    return replace(content, drives=content.drives[1:])


def stranger(content):
    return replace(content, drives=[*content.drives, replace(content.drives[0], serial="S-X")])


def handed_over(content):
    other = next(each.name for each in content.carriers if each.name != content.drives[0].carrier)
    return replace(content, drives=[replace(content.drives[0], carrier=other), *content.drives[1:]])


def turned(content):
    return replace(content, drives=content.drives[::-1])


@pytest.mark.parametrize(
    ("alter", "told"),
    [
        (lacking, "the plan has drive S-D0, and declaration"),
        (stranger, "names drive S-X, and the plan does not have it"),
        (handed_over, "drive S-D0: the plan says carrier 'Anna', declaration"),
        (turned, "group 0, slot 0: the plan has drive 1, serial S-D0, the declaration drive"),
        (lambda content: replace(content, drives=[]), "the plan has drive S-D0, and declaration"),
    ],
)
def test_the_declaration_must_name_the_plans_drives_in_its_order(desk, alter, told):
    desk.declare(alter)
    assert told in desk.pack(fails=True)
    assert desk.nothing_written()


def test_a_drive_that_is_not_in_the_plan_is_refused(desk):
    desk.declare()
    other = desk.folder / "other"
    other.mkdir()
    told = desk.pack(f"--to={other}", f"--serial={other}=S-OTHER", fails=True)
    assert f"{other}: drive S-OTHER is not in the plan; nothing was written" in told
    assert desk.nothing_written()


@pytest.mark.long
@pytest.mark.parametrize("edited", [False, True])
def test_a_drive_that_was_replaced_may_stay_in_the_plan_or_be_put_right_there(desk, edited):
    desk.declare()
    first, second = [[each.name for each in desk.plan.drives if each.group == group] for group in range(2)]
    assert desk.pack(drives=first).exit_code == 6
    old, new = second[1], desk.folder / "new"
    new.mkdir()

    def put_right(record):
        drives = [replace(each, serial="S-NEW") if each.serial == f"S-{old}" else each for each in record.drives]
        return replace(record, drives=type(record.drives)(drives))

    if edited:
        desk.write(put_right(desk.plan))
        desk.declare()
    else:
        desk.declare(put_right)
    more = (f"--replace=S-{old}={new}", f"--serial={new}=S-NEW")
    here = [name for name in second if name != old]
    for _ in range(2):  # and once more the same
        done = desk.pack(*more, drives=here)
        assert done.exit_code == 0, done.output
    told = json.loads(run("inspect", *(desk.mounts[name] for name in here), new, "--json").stdout)
    (slots,) = [{drive["serial"]: drive["slot"] for drive in group["present"]} for group in told["groups"]]
    assert slots["S-NEW"] == next(each.slot for each in desk.plan.drives if each.name == old)


def test_a_plan_on_paper_wants_the_source(desk):
    desk.write(replace(desk.plan, source=""))
    desk.declare()
    assert "SOURCE is missing" in desk.pack(fails=True)
    desk.file.write_text(desk.file.read_text() + "colour = 1\n")
    assert f"{desk.file}: the plan has 1 problem" in desk.pack(fails=True)


def test_a_drive_that_was_replaced_stands_for_its_successor():
    now = {"A": "B", "B": "C", "X": "Y"}
    assert [following.successor(now, each) for each in "ABCX-"] == ["C", "C", "C", "Y", "-"]


def test_what_the_plan_counted_on_stands_beside_the_weight_that_nobody_has_filled_in(tmp_path):
    made = plans.make(3, ("Anna", "Bo", "Cem"), (2, 1, 1), (1, 0))
    made = replace(
        made, drives=tuple(replace(each, kind="hdd" if each.carrier == "Bo" else "ssd") for each in made.drives)
    )
    (tmp_path / "p.toml").write_text(document.render(replace(made, numbers={"hdd_weight": 0.65})))
    run("declare", "--new", tmp_path / "d.toml", "--plan", tmp_path / "p.toml")
    lines = (tmp_path / "d.toml").read_text().splitlines()
    below = [lines[at + 1] for at, line in enumerate(lines) if line.startswith("net_grams = 0")]
    assert below[0].startswith(
        "# The plan counted on 200 g, U.2 or E3.L, without its case (ssd_weight; recalled, 2026-11)."
    )
    assert below[1].startswith(
        "# The plan counted on 650 g, 3.5 inch, without its case (hdd_weight; as the plan says)."
    )
    parsed = declarations.parse((tmp_path / "d.toml").read_bytes(), draft=True)
    assert [goods.net_grams for goods in parsed.goods] == [0, 0], "nobody has weighed one"
