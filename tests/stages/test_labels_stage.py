"""Labels take places from the plan, ids from declaration and packing, and are refused where these differ."""

from datetime import date

import plans
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sealift.errors import BadInput
from sealift.stages import labels as stage
from sealift.stages import status
from sealift.stages.pack.journal_rows import Told
from sealift.stages.plan import document, form
from sealift.trade import declaration as declarations
from sealift.trade import labels as papers
from sealift.trade.template import render

DAY = date(2026, 11, 26)
OTHER = {"Anna": "Bo", "Bo": "Cem", "Cem": "Anna"}


@pytest.fixture(scope="module")
def plan():
    made = plans.make(6, ("Cem", "Anna", "Bo"), (2, 1, 2), (1, 0))
    kinds = [replace(drive, kind="ssd" if number % 2 else "hdd") for number, drive in enumerate(made.drives)]
    return replace(made, drives=tuple(kinds))


def declare(plan, alter=lambda drives: drives):
    content = form.declared(plan, "SL-2026-PLAN", DAY, "")
    return declarations.parse(render(replace(content, drives=alter(content.drives))).encode(), draft=True)


@pytest.fixture(autouse=True)
def no_pdf(monkeypatch):
    """How a sheet looks is tested elsewhere."""
    monkeypatch.setattr(papers, "pdf", lambda *given: repr(given[2:4]).encode())


def fields(text):
    return dict(line.split(": ", 1) for line in text.split("\n"))


def test_every_drive_has_the_label_of_its_row(plan):
    made = stage.labels(plan, declare(plan), None, packed=DAY)
    assert len(made.texts) == 6
    for number, (drive, text) in enumerate(zip(plan.drives, made.texts, strict=True), 1):
        said = fields(text)
        assert said["this is"] == f"drive {number} of 6"
        assert (said["group"], said["slot"]) == (str(drive.group), str(drive.slot))
        assert (said["serial"], said["carrier"]) == (drive.serial, drive.carrier)
        assert said["declaration"] == "SL-2026-PLAN"
        assert "shipment" not in said


def test_solid_state_drives_have_a_day_to_be_read_by_and_hard_disks_none(plan):
    made = stage.labels(plan, declare(plan), None, packed=DAY)
    for drive, text, last in zip(plan.drives, made.texts, made.read_by, strict=True):
        assert fields(text).get("read by") == (None if drive.kind == "hdd" else "2027-02-24")
        assert last == (None if drive.kind == "hdd" else date(2027, 2, 24))
    assert b"read by: 90 days without power from 2026-11-26 (JESD218" in made.pdf
    disks = replace(plan, drives=tuple(replace(drive, kind="hdd") for drive in plan.drives))
    assert b"read by" not in stage.labels(disks, declare(disks), None, packed=DAY).pdf


def test_the_plan_may_state_another_retention(plan):
    stated = replace(plan, numbers={"ssd_retention": 30.9})
    made = stage.labels(stated, declare(stated), None, packed=DAY)
    assert made.read_by[1] == date(2026, 12, 26)
    assert b"30 days without power from 2026-11-26 (stated for this plan)" in made.pdf


@pytest.mark.parametrize("days", [1e18, 3e6])
def test_a_day_that_no_calendar_has_is_refused(plan, days):
    stated = replace(plan, numbers={"ssd_retention": days})
    with pytest.raises(BadInput, match="there is no date") as caught:
        stage.labels(stated, declare(stated), None, packed=DAY)
    assert "ssd_retention" in caught.value.hint
    with pytest.raises(BadInput, match="after 9999-12-31"):
        stage.labels(plan, declare(plan), None, packed=date(9999, 12, 31))


def test_drives_that_differ_are_all_named(plan):
    def other(drives):
        return [
            replace(drives[0], serial="OTHER"),
            drives[2],
            drives[1],
            *drives[3:5],
            replace(drives[5], carrier=OTHER[drives[5].carrier]),
        ]

    with pytest.raises(BadInput) as caught:
        stage.labels(plan, declare(plan, other), None, packed=DAY)
    told = str(caught.value)
    assert "the plan and declaration SL-2026-PLAN have" in told
    first, second, third = plan.drives[:3]
    assert f"drives[1].serial: {first.serial} in the plan, OTHER in the declaration" in told
    assert f"drives[2].serial: {second.serial} in the plan, {third.serial} in the declaration" in told
    assert (
        f"drives[6].carrier: {plan.drives[5].carrier} in the plan, {OTHER[plan.drives[5].carrier]} in the declaration"
        in told
    )
    assert "sealift declare --new FILE --plan PLAN" in caught.value.hint
    with pytest.raises(BadInput, match=r"drives: 6 in the plan, 5 in the declaration"):
        stage.labels(plan, declare(plan, lambda drives: drives[:-1]), None, packed=DAY)


def test_a_drive_without_a_serial_number_has_no_label(plan):
    nameless = replace(plan, drives=(replace(plan.drives[0], serial=""), *plan.drives[1:]))
    with pytest.raises(BadInput, match=rf"drives\[1\].serial: {plan.drives[0].name} has none"):
        stage.labels(nameless, declare(nameless), None, packed=DAY)
    with pytest.raises(BadInput, match=rf"drives\[1\].serial: none in the plan, {plan.drives[0].serial} in"):
        stage.labels(nameless, declare(plan), None, packed=DAY)


def packing(plan, consignment="SL-2026-PLAN"):
    groups = [
        [
            status.Place(number, drive.serial, drive.carrier)
            for _, number, drive in sorted((d.slot, n, d) for n, d in enumerate(plan.drives, 1) if d.group == group)
        ]
        for group in range(plan.groups)
    ]
    config = status.Config("cd072cd8be6f9f62", consignment, "/data", [], plan.parity, groups)
    return lambda _state: status.Status(
        config, [], running=False, sealed=False, later=0, told=Told([], [], []), read_back={}
    )


def test_the_shipment_is_that_of_the_packing(plan, monkeypatch):
    monkeypatch.setattr(status, "look", packing(plan))
    made = stage.labels(plan, declare(plan), None, packed=DAY, state="state")
    assert made.shipment == "cd072cd8be6f9f62"
    assert {fields(text)["shipment"] for text in made.texts} == {"cd072cd8be6f9f62"}


def test_a_packing_of_other_drives_is_refused(plan, monkeypatch):
    at = plan.drives[0]
    replaced = replace(plan, drives=(replace(at, serial="NEW"), *plan.drives[1:]))
    monkeypatch.setattr(status, "look", packing(replaced))
    with pytest.raises(BadInput) as caught:
        stage.labels(plan, declare(plan), None, packed=DAY, state="state")
    place = f"g{at.group}s{at.slot}"
    assert f"{place}: drive 1, serial {at.serial}, carrier {at.carrier} in the plan, drive 1, serial NEW" in str(
        caught.value
    )
    assert "replaced" in caught.value.hint
    assert stage.labels(replaced, declare(replaced), None, packed=DAY, state="state").shipment
    monkeypatch.setattr(status, "look", packing(plan, "SL-2026-OTHER"))
    with pytest.raises(BadInput, match="state is the packing of SL-2026-OTHER, not of SL-2026-PLAN"):
        stage.labels(plan, declare(plan), None, packed=DAY, state="state")


def test_a_folder_without_a_packing_is_refused(plan, tmp_path):
    with pytest.raises(BadInput, match="no packing has begun here"):
        stage.labels(plan, declare(plan), None, packed=DAY, state=str(tmp_path))


# --- hostile files


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_altered_files_are_refused_or_give_labels_of_all_drives(data):
    plan = plans.make(6, ("Cem", "Anna", "Bo"), (2, 1, 2), (1, 0))
    files = [document.render(plan).encode(), render(form.declared(plan, "SL-2026-PLAN", DAY, "")).encode()]
    for number, each in enumerate(files):
        altered = bytearray(each)
        for _ in range(data.draw(st.integers(0, 2))):
            at = data.draw(st.integers(0, len(altered) - 1))
            altered[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        files[number] = bytes(altered)
    try:
        found = document.parse(files[0])
        declared = declarations.parse(files[1], draft=True)
        made = stage.labels(found, declared, None, packed=DAY)
    except BadInput:
        return
    assert [fields(text)["this is"] for text in made.texts] == [f"drive {i} of 6" for i in range(1, 7)]
    assert len(set(made.texts)) == 6
