"""docs/spec/declaration.md and signatures.md say what the code does: examples, fields and limits."""

import re
from pathlib import Path

import pytest
from trade_cases import ALLOWED, OFFICER

from sealift.errors import SignatureInvalid
from sealift.formats import allowed_signers, canonical, sshsig, strict
from sealift.trade import declaration as d
from sealift.trade import explained, glyphs, release, rules, sections

SPEC = Path(__file__).parents[2] / "docs" / "spec"
VECTORS = Path(__file__).parents[1] / "vectors" / "sshsig"


def block(page, language):
    return re.search(rf"```{language}\n(.*?)```", (SPEC / page).read_text(), re.DOTALL)[1]


def test_the_example_is_complete_and_its_release_is_of_it():
    example = d.parse(block("declaration.md", "toml").encode(), draft=False)
    assert d.review(example.raw)[1] == []
    shown = block("declaration.md", "json").encode()
    record = release.decode(shown)
    assert canonical.encode(record) == shown
    assert (record.declaration.bytes, record.declaration.blake3) == (len(example.raw), example.digest)
    assert set(record.resolved) <= {rule.id for rule in rules.shipped().rules}
    with pytest.raises(SignatureInvalid):  # the page has the author's signature, and not the officer's
        release.check_release(example, shown, b"", ALLOWED)
    signed = OFFICER.sign(shown, release.NAMESPACE)
    assert release.check_release(example, shown, signed, ALLOWED).record.officer == "O. Fficer"


def test_the_rules_of_the_page_are_rules_and_every_field_is_there():
    page = (SPEC / "rules.md").read_text()
    example = rules.parse(block("rules.md", "toml").encode())
    assert {rule.check is None for rule in example.rules} == {True, False}
    for kind in (rules.Content, rules.Rule):
        for name in kind.__struct_fields__:
            assert f"`{name}`" in page, name
    for check in {rule.check for rule in rules.shipped().rules} - {None}:
        assert f"`{check}`" in page, check


def test_every_field_is_in_the_table():
    page = (SPEC / "declaration.md").read_text()
    fields = page.partition("## Fields")[2].partition("| limit |")[0]
    for path in explained.HELP:
        assert f"`{path.rpartition('.')[2]}`" in fields, path


@pytest.mark.parametrize(
    ("page", "modules"),
    [("declaration.md", [d, release, sections, strict, glyphs]), ("signatures.md", [sshsig, allowed_signers])],
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
