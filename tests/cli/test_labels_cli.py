"""From shipment.toml and its declaration to a sheet of labels, before packing, after it, and after the release."""

import json
from datetime import UTC, datetime

import filled
import papers
import plans
import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from test_planned_cli import Desk, run

from sealift.cli import main
from sealift.errors import Refused
from sealift.trade import declaration as declarations
from sealift.trade import release as releases
from sealift.trade import sections
from sealift.trade.signing import Signer, write_pair

PARTY = sections.Party(
    legal_name="Customer Ltd", address="1 Quay", country="DE", contact="c@example.com", ultimate_parent="Parent AG",
    parent_hq_country="CH",
)  # fmt: skip


class Printer(Desk):
    """The desk of test_planned_cli, with a declaration that is complete, and a sheet."""

    def __init__(self, folder):
        super().__init__(folder)
        self.out = folder / "labels.pdf"
        self.declare(self.complete)

    def complete(self, content):
        return replace(
            content,
            **{
                name: value
                for name, value in filled.rest().items()
                if name not in {"type", "version", "goods", "encryption"}
            },
            encryption=filled.encryption(self.who.recipient),
            author=sections.Author(name="A", email="a@example.com", public_key=self.who.author_line),
            shipper=PARTY,
            consignee=PARTY,
            end_user=PARTY,
            end_use=sections.EndUse(text="training", class_="training"),
            data=replace(
                content.data,
                summary="texts",
                licence_basis="own",
                personal_data="none",
                important_data="no",
                us_bulk_sensitive="no",
            ),
            goods=[replace(filled.GOODS, name=each.name) for each in content.goods],
            carriers=[replace(each, contact="c", country="DE") for each in content.carriers],
        )

    def release(self):
        parsed = declarations.parse(self.declaration.read_bytes(), draft=False)
        signed = filled.released(parsed, Signer.open(self.who.officer), Signer.open(self.who.author), datetime.now(UTC))
        write_pair(releases.path_beside(str(self.declaration)), signed.data, signed.signature)

    def labels(self, *more, fails=None, out=None):
        return run(
            "labels", self.file, "--declaration", self.declaration, "--out", out or self.out, *more, fails=fails
        )  # fmt: skip


@pytest.fixture
def printer(tmp_path):
    return Printer(tmp_path)


def lines(answer):
    return [dict(line.split(": ", 1) for line in each["text"].split("\n")) for each in answer["labels"]]


def test_labels_before_packing_are_drafts_of_the_declaration(printer):
    done = printer.labels("--json", "--packed", "2026-11-26")
    answer = json.loads(done.stdout)
    assert "no checked release: these labels are drafts, and say so" in done.stderr
    assert f"wrote {printer.out}: 6 labels of SL-2026-PLAN on 1 page" in done.stderr
    assert (answer["released"], answer["shipment"], answer["packed"]) == (False, None, "2026-11-26")
    assert all("DRAFT" in each["status"] and "shipment" not in each for each in lines(answer))
    papers.need_readers()
    for number, label in enumerate(answer["labels"]):
        assert papers.code(papers.picture(str(printer.out), 0, papers.place(number)), printer.folder) == label["text"]


def test_labels_after_packing_and_release_say_what_drive_json_says(printer):
    packed = json.loads(printer.pack().stdout)
    printer.release()
    given = ("--json", "--state", printer.folder / "state", "--allowed-signers", printer.who.signers)
    answer = json.loads(printer.labels(*given).stdout)
    assert (answer["released"], answer["shipment"]) == (True, packed["shipment"])
    assert answer["packed"] == datetime.now(UTC).date().isoformat()
    for drive, row, said in zip(printer.plan.drives, answer["labels"], lines(answer), strict=True):
        card = json.loads((printer.mounts[drive.name] / "sealift/drive.json").read_text())
        assert "status" not in said
        for field in ("label", "shipment", "declaration", "carrier", "serial"):
            assert said[field] == card[field]
        assert (int(said["group"]), int(said["slot"])) == (card["group"], card["slot"])
        assert (row["drive"], row["number"]) == (card["id"], card["number"])
    assert b"Customer" not in json.dumps(answer).encode()
    papers.need_readers()
    (text,) = papers.text(str(printer.out))
    assert "DRAFT" not in text
    assert "Customer" not in text


def test_a_release_of_what_was_changed_since_is_refused(printer):
    printer.release()
    printer.declaration.write_bytes(printer.declaration.read_bytes() + b"#\n")
    done = run("labels", printer.file, "--declaration", printer.declaration, "--out", printer.out)
    assert "drafts" in done.stderr  # nobody says who may release
    printer.out.unlink()
    arguments = ["labels", printer.file, "--declaration", printer.declaration, "--out", printer.out]
    done = CliRunner().invoke(main.cli, [*map(str, arguments), "--allowed-signers", printer.who.signers])
    assert isinstance(done.exception, Refused)
    assert "not of this declaration" in str(done.exception)
    assert not printer.out.exists()


def test_nothing_is_overwritten(printer):
    printer.out.write_bytes(b"mine")
    assert "is there already" in printer.labels(fails=True)
    assert printer.out.read_bytes() == b"mine"


def test_bad_input_is_told_and_nothing_is_written(printer):
    assert "no such" in printer.labels(fails=True, out=printer.folder / "absent" / "l.pdf").lower()
    assert "no packing has begun" in printer.labels("--state", printer.folder, fails=True)
    other = plans.make(6, ("Cem", "Anna", "Bo"), (2, 1, 2), (1, 0), source="corpus")
    moved = tuple(replace(each, serial=f"X{each.serial}") for each in other.drives)
    printer.write(replace(other, drives=moved))
    told = printer.labels(fails=True)
    assert "the plan and declaration SL-2026-PLAN have 6 problems" in told
    printer.file.write_text("[")
    assert "not TOML" in printer.labels(fails=True)
    printer.write()
    printer.declaration.write_bytes(b"\xff")
    assert "not UTF-8" in printer.labels(fails=True)
    assert not printer.out.exists()


@pytest.mark.parametrize("day", ["yesterday", "2026-02-30", "26-11-2026", ""])
def test_a_day_that_is_none_is_a_mistake_of_usage(printer, day):
    done = run("labels", printer.file, "--declaration", printer.declaration, "--out", printer.out, "--packed", day)
    assert done.exit_code == 2
    assert "--packed" in done.stderr


def test_the_same_command_gives_the_same_bytes(printer):
    printer.labels("--packed", "2026-11-26")
    printer.labels("--packed", "2026-11-26", out=printer.folder / "again.pdf")
    assert printer.out.read_bytes() == (printer.folder / "again.pdf").read_bytes()
