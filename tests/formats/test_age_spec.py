"""docs/spec/age.md against the code and the vectors: its example, its limits, its list of vectors."""

from __future__ import annotations

import pathlib
import re

from sealift.formats import age, age_header, age_keys

ROOT = pathlib.Path(__file__).parent.parent.parent
SPEC = (ROOT / "docs" / "spec" / "age.md").read_text()
VECTORS = ROOT / "tests" / "vectors" / "age"


def test_the_example_is_the_vector():
    data = (VECTORS / "x25519").read_bytes().partition(b"\n\n")[2]
    header = age_header.parse_header(data)
    example = header.raw.decode() + data[header.length :].hex()
    assert f"```\n{example}\n```" in SPEC
    assert f"{len(data)} bytes; the last {len(data) - header.length} are shown in hex" in SPEC


def test_the_table_of_the_example_adds_up():
    table = SPEC.partition("| offset | bytes | what |")[2].partition("\n\n")[0]
    rows = [tuple(map(int, row)) for row in re.findall(r"^\| (\d+) \| (\d+) \|", table, re.MULTILINE)]
    data = (VECTORS / "x25519").read_bytes().partition(b"\n\n")[2]
    header = age_header.parse_header(data)
    assert [at for at, _ in rows] == [sum(size for _, size in rows[:i]) for i in range(len(rows))]
    assert sum(rows[-1]) == len(data)
    assert (rows[3][0], rows[4][0]) == (header.length, header.payload_start)


def test_the_limits_are_those_of_the_code():
    limits = dict(re.findall(r"^\| `([A-Z_]+)` \| (\d+) \|", SPEC, re.MULTILINE))
    assert set(limits) == {
        "CHUNK",
        "TAG",
        "MAX_HEADER",
        "MAX_STANZAS",
        "MAX_HYBRID",
        "MAX_CHUNKS",
        "MAX_KEYS",
        "MAX_KEY_FILE",
        "MAX_KEY_TEXT",
    }
    for name, value in limits.items():
        assert getattr(age, name, None) == int(value) or getattr(age_keys, name) == int(value)


def test_every_vector_stands_beside_a_rule_and_every_one_named_exists():
    names = {path.name for path in VECTORS.iterdir()}
    prefixes = sorted({name.split("_")[0] for name in names})
    named = {word for word in re.findall(r"`([a-z0-9_]+)`", SPEC) if word.split("_")[0] in prefixes and word != "age"}
    assert named == names
