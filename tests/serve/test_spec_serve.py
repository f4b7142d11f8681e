"""docs/spec/{serve,hosts}.md against the code: tables and records, examples, limits, names of the layout."""

import re
from pathlib import Path

import msgspec
import pytest

from sealift.formats import hosts
from sealift.stages import host_index

SPEC = Path(__file__).parents[2] / "docs" / "spec"
SERVE, HOSTS = ((SPEC / f"{name}.md").read_text() for name in ("serve", "hosts"))


def table(text, heading):
    """The first cells of the rows of a table."""
    section = text.partition(f"\n{heading}\n")[2].partition("\n#")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *((SERVE, getattr(host_index, name)) for name in ("HostIndex", "HostDrive", "HostFolder", "HostReport")),
        (HOSTS, hosts.Hosts),
        (HOSTS, hosts.HostRow),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_tables_have_the_fields_of_the_records(text, kind):
    assert table(text, f"### {kind.__name__}") == [field.encode_name for field in msgspec.structs.fields(kind)]


@pytest.mark.parametrize(("text", "module"), [(SERVE, host_index), (HOSTS, hosts)], ids=["serve", "hosts"])
def test_limits_are_those_of_the_code(text, module):
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", text.partition("\n## Limits\n")[2], re.MULTILINE)
    assert rows
    for name, value in rows:
        assert getattr(module, name) == int(value), name


def test_the_example_of_a_hosts_file_parses():
    example = HOSTS.partition("```toml\n")[2].partition("```")[0]
    found = hosts.parse(example.encode(), "example")
    assert [row.token_file for row in found.host] == ["storage.token"] * 2


def test_statuses_are_those_of_the_code():
    told = set(re.findall(r"\b([2-5]\d\d)\b", SERVE.partition("| status |")[2].partition("\n\n")[0]))
    source = (Path(host_index.__file__).parent / "serve" / "files.py").read_text()
    used = set(re.findall(r"(?:_Told\(|return \()(\d{3})|else \((\d{3}),", source))
    assert {number for pair in used for number in pair if number} | {"206", "431", "401"} == told | {"206"}


def test_every_address_has_a_route(host):
    known = {"DRIVE": host.names()[0], "NAME": "drive.json", "SHIPMENT": host.names()[0][:16], "NUMBER": "0"}
    for told in re.findall(r"^\| `(/\S*)` \|", SERVE.partition("## Addresses")[2].partition("\n## ")[0], re.MULTILINE):
        path = re.sub("|".join(known), lambda found: known[found[0]], told)
        assert host.ask(path).status == (404 if "report" in path else 200), path
