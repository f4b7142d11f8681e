"""docs/spec/custody.md says what the code does: example, fields, limits, findings, and a vector for every rule."""

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from custody_cases import ID, SERIALS, item, sealed
from test_custody import RULES

from sealift.stages import custody as stage
from sealift.stages import custody_log
from sealift.trade import clocks, custody_form, custody_graph
from sealift.trade import custody_event as ev

PAGE = (Path(__file__).parents[2] / "docs" / "spec" / "custody.md").read_text()


def section(heading):
    return PAGE.partition(f"\n{heading}\n")[2].partition("\n#")[0]


def test_the_example_is_what_the_code_writes(tmp_path):
    log = sealed()
    digest = log.record("handover", "origin", "anna", [item(SERIALS[:2], "S1")])
    assert f"```json\n{log.entries[digest].data.decode()}```" in PAGE
    assert f"```\n{ev.qr_text(ID, log.account().checkpoint)}\n```" in PAGE
    for each in log.entries:
        custody_log.add(str(tmp_path), log.entries[each], sorted(log.signatures[each]))
    listed = set(re.findall(r"^  (\S+)$", PAGE.partition("```\ncustody/\n")[2].partition("```")[0], re.MULTILINE))
    assert listed == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("kind", [ev.CustodyEvent, ev.Checkpoint, ev.Party, ev.Item, ev.Unlocked])
def test_tables_of_fields_are_the_records(kind):
    fields = re.findall(r"^\| `(\w+)` \|", section(f"### {kind.__name__}"), re.MULTILINE)
    assert fields[: len(kind.__struct_fields__)] == [field.encode_name for field in msgspec.structs.fields(kind)]


@pytest.mark.parametrize("field", [
    (ev.CustodyEvent, "event_type", ev.EventType),
    (ev.CustodyEvent, "hash_sample_result", ev.HashSample),
    (ev.Item, "seal_checked", ev.SealChecked),
    (ev.Item, "condition", ev.Condition),
    (ev.Item, "shock_indicator", ev.Shock),
    (ev.Item, "seal_class", ev.SealClass),
], ids=lambda field: field[1])  # fmt: skip
def test_every_value_of_a_field_is_named(field):
    kind, name, values = field
    row = re.search(rf"^\| `{name}` \| (.*) \|$", section(f"### {kind.__name__}"), re.MULTILINE)[1]
    assert {f"`{value}`" for value in get_args(values) if value} <= set(re.findall(r"`\w+`", row))


def test_limits_are_those_of_the_code():
    limits = re.findall(r"^\| `([A-Z_]+)` \| (\d+) \|", section("## Limits"), re.MULTILINE)
    modules = (ev, custody_log, custody_form, stage)
    for name, value in limits:
        assert int(value) in {getattr(module, name, None) for module in modules}, name
    named = {name for module in modules for name in vars(module) if name.startswith("MAX_")}
    assert named - {"MAX_ARMORED", "MAX_NAMED"} == {name for name, _ in limits}


def test_findings_are_those_of_the_code_in_their_classes():
    listed = re.findall(r"^\| `([a-z-]+)` \|", section("## What a verifier works out"), re.MULTILINE)
    assert listed == list(get_args(custody_graph.Kind))
    assert set(listed[:5]) == custody_graph.HOLDS_NOT
    assert set(listed[listed.index("uncountersigned") :]) == set(custody_graph.SETTLED_BY)
    who = {"two": "two persons", "receiver": "the receiver", "officer": "the officer"}
    said = dict(re.findall(r"^\| (two persons|the receiver|the officer) \| (`.*`) \|", PAGE, re.MULTILINE))
    for key, words in who.items():
        assert re.findall("`([a-z-]+)`", said[words]) == [k for k in listed if custody_graph.SETTLED_BY.get(k) == key]
    assert f"more than {clocks.SKEW.seconds // 60} minutes" in PAGE


def test_every_vector_stands_beside_a_rule():
    named = {
        name
        for cell in re.findall(r"\| ((?:`[a-z_]+` ?)+)\|$", PAGE, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", cell)
    }
    assert named == set(RULES)
