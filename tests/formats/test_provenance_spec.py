"""docs/spec/provenance.md against formats/provenance.py: the example, the tables, the limits, and what is refused."""

from __future__ import annotations

import json
import pathlib
import re

import msgspec
import pytest

from sealift.errors import FormatError
from sealift.formats import provenance as form
from sealift.formats.manifest import FileRef, InReplyTo

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "spec" / "provenance.md").read_text()


def ref(digit):
    return FileRef(bytes=2818, blake3=digit * 64)


EXAMPLE = form.Statement(
    subject=[
        form.Subject(name="model.safetensors", digest=form.Digests(sha256="1" * 64, blake3="2" * 64)),
        form.Subject(
            digest=form.Digests(sha256="3" * 64, blake3="4" * 64),
            annotations=form.Annotations(path_b64="b2Rk/w=="),
        ),
    ],
    predicate=form.Predicate(
        shipment="0f1e2d3c4b5a6978",
        consignment_id="SL-2026-HOMEWD",
        rehearsal=False,
        in_reply_to=InReplyTo(shipment="cd072cd8be6f9f62", consignment_id="SL-2026-4F7K2Q", seal=ref("5")),
        groups=[form.GroupRef(group=0, manifest=ref("6"))],
        code="v1.2-3-gabcdef0",
        config={"layers": 12, "lr": 0.0006},
        metrics={"loss": 2.31, "steps": 20000},
    ),
)
GOOD = form.encode(EXAMPLE)


def test_the_example_is_what_the_code_writes():
    assert re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1] == GOOD.decode()
    assert form.decode(GOOD) == EXAMPLE


@pytest.mark.parametrize(
    "kind", [form.Statement, form.Subject, form.Digests, form.Annotations, form.Predicate, form.GroupRef]
)
def test_tables_of_fields_are_the_records(kind):
    text = PAGE.partition(f"\n### {kind.__name__}\n")[2].partition("\n#")[0]
    fields = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert fields == [field.encode_name for field in msgspec.structs.fields(kind)]


def test_limits_are_those_of_the_code():
    limits = re.findall(r"^\| `([A-Z_]+)` \| (\d+) \|", PAGE, re.MULTILINE)
    assert {name: getattr(form, name) for name, _ in limits} == {name: int(value) for name, value in limits}
    assert {"MAX_SUBJECTS", "MAX_PROVENANCE"} == {name for name, _ in limits}


def test_types_are_those_of_the_page():
    assert f'| `"{form.STATEMENT}"` |' in PAGE
    assert f'| `"{form.PREDICATE}"` |' in PAGE


def changed(*path, value):
    tree = json.loads(GOOD)
    at = tree
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return (json.dumps(tree, indent=2) + "\n").encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD[:-1],
        json.dumps(json.loads(GOOD)).encode(),
        changed("_type", value="https://in-toto.io/Statement/v0.1"),
        changed("predicateType", value="https://slsa.dev/provenance/v1"),
        changed("subject", value=[]),
        changed("subject", 0, "digest", value={"sha256": "1" * 64}),
        changed("subject", 0, "uri", value="file:///"),
        changed("predicate", "config", value=[]),
        changed("predicate", "groups", value=[]),
        changed("predicate", "also", value=1),
        changed("predicate", "metrics", "loss", value=float("nan")),
        changed("predicate", "config", value={"lr": 1, "layers": 2}),
    ],
)
def test_what_is_refused(data):
    with pytest.raises(FormatError):
        form.decode(data)
