"""The declaration: every problem at once with its path, strict typing, nothing that hides a part."""

import re
import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trade_cases import carrier, content, declared, drive, party

from sealift.errors import DeclarationInvalid
from sealift.formats import strict
from sealift.trade import declaration as d
from sealift.trade import sections, template


def faults(text, *, draft=False):
    with pytest.raises(DeclarationInvalid) as caught:
        d.parse(text if isinstance(text, bytes) else text.encode(), draft=draft)
    assert all(problem in str(caught.value) for problem in caught.value.problems[: strict.MAX_SHOWN])
    return caught.value.problems


def paths(kind=sections.Content, prefix=""):
    for field in msgspec.structs.fields(kind):
        name = prefix + field.encode_name
        yield name
        inner = field.type if isinstance(field.type, type) else None
        rows = {"carriers": sections.Carrier, "drives": sections.Drive}.get(name)
        if inner is not None and issubclass(inner, msgspec.Struct):
            yield from paths(inner, name + ".")
        elif rows is not None:
            yield from paths(rows, name + ".")


def test_every_field_is_explained_and_nothing_else():
    assert set(paths()) == set(template.HELP)


def test_template_is_a_draft_that_names_every_empty_field_at_once():
    text = d.template("SL-2026-4F7K2Q")
    draft = d.parse(text.encode(), draft=True)
    assert not draft.rehearsal
    assert draft.consignment_id == "SL-2026-4F7K2Q"
    named = {problem.partition(":")[0] for problem in faults(text)}
    rows = {"carriers", "drives"}
    wanted = {path for path in paths() if path.partition(".")[0] not in rows or path in rows}
    tables = {"author", "shipper", "consignee", "end_user", "end_use", "data", "return"}
    optional = {"rehearsal", "in_reply_to", "other_shipments", "legal_hold", "return.recipients", "return.signers"}
    assert named == wanted - tables - {"type", "version", "consignment_id"} - optional


def test_example_rows_of_the_template_are_rows():
    text = d.template("SL-2026-4F7K2Q")
    shown = re.sub(r"^# (\[\[|[a-z_]+ = )", r"\1", text, flags=re.MULTILINE)
    draft = d.parse(shown.encode(), draft=True)
    assert [carrier.name for carrier in draft.carriers] == ["Anna"] == [drive.carrier for drive in draft.drives]


def test_a_complete_one_has_no_problems_and_renders_to_itself():
    complete = declared()
    assert d.problems(complete) == []
    again = d.parse(template.render(complete_content(complete)).encode(), draft=False)
    assert complete_content(again) == complete_content(complete)


def complete_content(declaration):
    names = sections.Content.__struct_fields__
    return sections.Content(**{name: getattr(declaration, name) for name in names})


@given(st.text(max_size=60))
def test_any_text_survives_the_form_or_is_refused(text):
    rendered = template.render(content(end_use=sections.EndUse(text=text, class_="other"))).encode(
        "utf-8", "surrogatepass"
    )
    try:
        parsed = d.parse(rendered, draft=True)
    except DeclarationInvalid as error:
        assert [problem.partition(":")[0] for problem in error.problems] == ["end_use.text"]  # noqa: PT017
    else:
        assert parsed.end_use.text == text


@pytest.mark.parametrize("who", ["shipper", "consignee", "end_user"])
@pytest.mark.parametrize("field", sections.Party.__struct_fields__)
def test_every_field_of_every_party_is_required(who, field):
    incomplete = content(**{who: msgspec.structs.replace(party("P"), **{field: " "})})
    found = d.problems(incomplete)
    assert found
    assert all(problem.startswith(f"{who}.{field}:") for problem in found)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"drives": [drive("S1", "Karl")]},
            "drives[1].carrier: 'Karl' is no carrier; one of Anna, Bo",
        ),
        (
            {"drives": [drive("S1", "Anna"), drive("s1", "Bo")]},
            "drives[2].serial: 's1' is that of drives[1] too",
        ),
        (
            {"carriers": [carrier("Anna"), carrier("anna")]},
            "carriers[2].name: 'anna' is the name of carriers[1] too",
        ),
        ({"shipper": party("X", "UK")}, "shipper.country: 'UK' is no country of ISO 3166"),
        ({"end_user": party("X", "DE", "de")}, "end_user.parent_hq_country: 'de' is no country"),
        (
            {"author": sections.Author(name="A", email="a@b", public_key="ssh-ed25519 AAAA")},
            "author.public_key: SSH public key:",
        ),
        ({"author": sections.Author(name="A", email="nobody")}, "author.email: 'nobody' is no e-mail address"),
        ({"drives": []}, "drives: none; at least one [[drives]] is wanted"),
        ({"other_shipments": ["SL-2026-4F7K2Q"]}, "other_shipments: names this shipment itself"),
        ({"leg": ""}, "leg: empty; wants outbound or return"),
    ],
)
def test_problems_say_where_and_what(changes, expected):
    found = d.problems(content(**changes))
    assert any(problem.startswith(expected) for problem in found), found


def test_a_carrier_without_drives_is_named():
    found = d.problems(content(count=1))
    assert found == ["carriers[2].name: 'Bo' carries no drive"]


BAD = """
type = "sealift-declaration"
version = 2
consignment_id = "no spaces allowed"
leg = "sideways"
rehearsal = "yes"
value = 3
[shipper]
legal_name = 7
adress = "x"
[end_use]
class = "mining"
[[drives]]
serial = "two words"
capacity_bytes = -1
[[drives]]
serial = "OK"
capacity_bytes = "big"
[[carriers]]
name = "a,b"
contact = "line\\nbreak"
country = "\\u202EED"
"""


@pytest.mark.parametrize("draft", [True, False])
def test_faults_of_form_are_named_all_at_once(draft):
    found = faults(BAD, draft=draft)
    for expected in (
        "value: no such field",
        "version: must be 1",
        "consignment_id: must be 3 to 64 letters, digits, dots, hyphens or underscores",
        "rehearsal: expected true or false, got text",
        "leg: must be one of outbound, return",
        "shipper.adress: no such field; did you mean shipper.address?",
        "shipper.legal_name: expected text, got a whole number",
        "end_use.class: must be one of training, fine-tuning",
        "drives[1].serial: must be printable ASCII",
        "drives[1].capacity_bytes: expected a whole number >= 0",
        "drives[2].capacity_bytes: expected a whole number, got text",
        "carriers[1].name: must have no comma and no equals sign",
        "carriers[1].contact: holds the character U+000A",
        "carriers[1].country: ",
    ):
        assert any(problem.startswith(expected) for problem in found), (expected, found)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "type = 1",
        "drives = 3",
        "drives = [1]",
        "shipper = 'x'",
        "a = " + "[" * 4000,
        "n = " + "9" * 4090,
        "x" * (d.MAX_BYTES + 1),
        "x" * 5000,
        "a." * 2000 + "a = 1",
        "d = 2026-01-01",
        "x = nan",
        b"\xff",
        b"\x00",
        'consignment_id = ""',
    ],
)
def test_odd_files_are_refused_as_drafts_too(text):
    assert faults(text, draft=True)


@settings(max_examples=200)
@given(st.data())
def test_mutated_forms_raise_only_declaration_invalid(data):
    text = bytearray(RENDERED)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 12))] = data.draw(
            st.one_of(
                st.binary(max_size=6),
                st.sampled_from([b'"', b"[", b"]", b"=", b"\n", b".", b"{", b"[[drives]]"]),
            )
        )
    for draft in (True, False):
        try:
            parsed = d.parse(bytes(text), draft=draft)
        except DeclarationInvalid as error:
            assert error.problems  # noqa: PT017
        else:
            assert parsed.raw == bytes(text)


RENDERED = template.render(content()).encode()


def test_the_largest_form_is_read_in_bounded_time():
    text = template.render(content(count=5000))
    assert len(text) < d.MAX_BYTES
    start = time.process_time()
    assert len(d.parse(text.encode(), draft=False).drives) == 5000
    hostile = "\n".join(f"k{i}" + ".a" * strict.MAX_KEY_DOTS + " = 1" for i in range(6000))
    faults(hostile)
    assert time.process_time() - start < 10


def test_the_digest_binds_every_byte():
    complete = declared()
    commented = d.parse(complete.raw + b"# a comment\n", draft=False)
    assert complete_content(commented) == complete_content(complete)
    assert commented.digest != complete.digest


def test_nothing_asks_a_value_or_knows_a_threshold():
    """The split follows loss tolerance and weight; a field that could shape it by value must not come in."""
    words = {word for path in paths() for word in re.split(r"[._]", path)}
    assert not words & {
        "value",
        "price",
        "amount",
        "currency",
        "threshold",
        "invoice",
        "worth",
        "limit",
        "split",
    }


def test_ids_are_random_and_well_formed():
    ids = {d.new_consignment_id(2026) for _ in range(200)}
    assert len(ids) == 200
    for name in ids:
        assert declared(consignment_id=name).consignment_id == name
