"""docs/spec/declaration.md and signatures.md say what the code does: examples, fields and limits."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from trade_cases import OFFICER

from sealift.formats import allowed_signers, sshsig, strict
from sealift.trade import declaration as d
from sealift.trade import release, template

SPEC = Path(__file__).parents[2] / "docs" / "spec"
VECTORS = Path(__file__).parents[1] / "vectors" / "sshsig"


def block(page, language):
    return re.search(rf"```{language}\n(.*?)```", (SPEC / page).read_text(), re.DOTALL)[1]


def test_the_example_is_complete_and_its_release_is_the_one_shown():
    example = d.parse(block("declaration.md", "toml").encode(), draft=False)
    shown = block("declaration.md", "json").encode()
    words = release.decode(shown)
    signed = release.make_release(
        example,
        OFFICER,
        officer=words.officer,
        reason=words.reason,
        reference=words.reference,
        now=datetime(2026, 11, 23, 12, tzinfo=UTC),
    )
    assert signed.data == shown


def test_every_field_is_in_the_table():
    page = (SPEC / "declaration.md").read_text()
    fields = page.partition("## Fields")[2].partition("| limit |")[0]
    for path in template.HELP:
        assert f"`{path.rpartition('.')[2]}`" in fields, path


@pytest.mark.parametrize(
    ("page", "modules"), [("declaration.md", [d, strict]), ("signatures.md", [sshsig, allowed_signers])]
)
def test_limits_are_those_of_the_code(page, modules):
    rows = re.findall(r"^\| (`[A-Z].*?) \| ([\d, ]+) \|", (SPEC / page).read_text(), re.MULTILINE)
    found = {}
    for names, values in rows:
        found |= dict(zip(re.findall(r"`(\w+)`", names), map(int, values.split(", ")), strict=True))
    assert len(found) >= 5
    for name, value in found.items():
        assert value in {getattr(module, name, None) for module in modules}, name


def test_the_example_signature_is_the_vector():
    assert block("signatures.md", "") in (VECTORS / "ed25519").read_text()


def test_every_vector_is_named_by_a_rule():
    page = (SPEC / "signatures.md").read_text()
    patterns = [name.replace("*", "") for name in re.findall(r"`([a-z0-9_]+\*?)`", page)]
    for vector in VECTORS.iterdir():
        assert any(vector.name == p or (f"`{p}*`" in page and vector.name.startswith(p)) for p in patterns), vector
