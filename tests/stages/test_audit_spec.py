"""docs/spec/audit.md says what the code does: names, fields, limits, findings, examples."""

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from sealift.formats import audit
from sealift.stages import audit_case

PAGE = (Path(__file__).parents[2] / "docs" / "spec" / "audit.md").read_text()


def section(heading):
    return PAGE.partition(f"\n{heading}\n")[2].partition("\n#")[0]


def row(path, length, kind, of):
    return audit.AuditFile(path=path, bytes=length, blake3="ab" * 32, kind=kind, of=of)


def test_the_index_is_what_the_code_writes():
    record = audit.Audit(
        made_at="2026-11-26T08:00:00Z",
        shipments=["SL-2026-4F7K2Q"],
        files=[
            row("B3SUMS", 259, "sums", ""),
            row("OPEN-ME.txt", 2400, "open-me", ""),
            row("shipments/SL-2026-4F7K2Q/declaration.toml", 5977, "draft", "SL-2026-4F7K2Q"),
            row("signers", 120, "signers", ""),
        ],
    )
    assert f"```json\n{audit.encode_index(record).decode()}```" in PAGE


def test_the_names_of_the_example_are_names_in_their_order():
    names = PAGE.partition("unpacked:\n\n```\n")[2].partition("```")[0].splitlines()
    assert names == audit.order(names)
    assert all(audit.describe(name) for name in names if name not in {audit.INDEX, audit.INDEX_SIG})


def test_every_kind_is_in_the_table_with_its_name():
    table = dict(re.findall(r"^\| `([a-z-]+)` \| (.*?) \|", section("## Files"), re.MULTILINE))
    assert list(table) == list(get_args(audit.Kind)) or set(table) == set(get_args(audit.Kind))
    for kind, cell in table.items():
        if kind == "signature":
            continue
        name = re.search(r"`(.*?)`", cell)[1].replace("HEX", "0" * 64)
        name = re.sub(r"(?<=\.)N|(?<=\.r)N(?=\.)|(?<=/)NAME", "1", name)
        top = next(shape for shape in audit.KINDS if shape.kind == kind).top
        assert audit.describe(name if top else f"shipments/SL-1/{name}").kind == kind, name


@pytest.mark.parametrize("name", [
    "", "audit.json", "x", "/signers", "./signers", "papers/../signers", "papers/.pdf", "papers/a/b.pdf", "signers/",
    "shipments/SL-1/release.0.json", "shipments/SL-1/release.1.json.sig.sig", "shipments/../release.1.json",
    "shipments/SL-1/../SL-1/release.1.json", "shipments/SL-1/custody/../release.1.json", "shipments//release.1.json",
    "shipments/SL-1/custody/" + "g" * 64 + ".json", "shipments/SL-1/release.1.json\n", "shipments/S/release.1.json",
    "shipments/SL-1/signers", "shipments/SL-1/papers/x.pdf", "papers/" + "x" * 120 + ".pdf", "SIGNERS",
])  # fmt: skip
def test_there_are_no_other_names(name):
    assert audit.describe(name) is None


@pytest.mark.parametrize("kind", [audit.Audit, audit.AuditFile])
def test_tables_of_fields_are_the_records(kind):
    fields = re.findall(r"^\| `(\w+)` \|", section(f"### {kind.__name__}"), re.MULTILINE)
    assert fields == [field.encode_name for field in msgspec.structs.fields(kind)]


def test_limits_are_those_of_the_code():
    limits = re.findall(r"^\| `([A-Z_]+)` \| (\d+) \|", section("## Limits"), re.MULTILINE)
    assert {name: int(value) for name, value in limits} == {
        name: value for name, value in vars(audit).items() if name.startswith("MAX_")
    }
    for kind, value in (("erasure-log", 268435456), ("list", 134217728)):
        assert next(shape for shape in audit.KINDS if shape.kind == kind).longest == value
        assert str(value) in section("## Limits")


def test_states_are_those_of_the_code():
    rows = re.findall(r"^\| `(\w+)` \| (\d) \|", section("### Findings"), re.MULTILINE)
    assert {name: int(code) for name, code in rows} == audit_case.EXIT


def test_no_name_is_longer_than_its_place_in_a_header():
    for shape in audit.KINDS:
        longest = "shipments/" + "I" * 64 + "/"
        path = (longest if not shape.top else "") + {
            "custody-event": "custody/" + "0" * 64 + ".json", "list": "lists/" + "0" * 64,
            "photograph": "photographs/" + "0" * 64, "report": "reports/" + "0" * 64 + ".json",
            "paper": "papers/" + "x" * 95 + ".pdf", "signature": "custody/" + "0" * 64 + "-" + "0" * 16 + ".sig",
        }.get(shape.kind, "signers")  # fmt: skip
        folder, _, name = path.rpartition("/")
        assert len(name) <= 100, path
        assert len(folder) <= 155, path
