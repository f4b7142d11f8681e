"""The declaration: every problem at once with its path, strict typing, nothing that hides a part."""

import re
import time
from datetime import date
from typing import Annotated, get_args, get_origin

import msgspec
import pytest
from filled import GOODS, RECIPIENTS
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from trade_cases import carrier, content, declared, drive, party, related

from sealift.errors import DeclarationInvalid
from sealift.formats import strict
from sealift.trade import codes, explained, sections, template, totals
from sealift.trade import declaration as d


def recipients(*keys):
    names = [f"Holder {number}" for number in range(len(keys))]
    rows = [
        sections.KeyHolder(name=name, organisation="O", recipient=key) for name, key in zip(names, keys, strict=True)
    ]
    return replace(content().encryption, recipients=rows)


def faults(text, *, draft=False):
    with pytest.raises(DeclarationInvalid) as caught:
        d.parse(text if isinstance(text, bytes) else text.encode(), draft=draft)
    assert all(problem in str(caught.value) for problem in caught.value.problems[: strict.MAX_SHOWN])
    return caught.value.problems


def paths(kind=sections.Content, prefix=""):
    """Every field's path, without row numbers, and its type's default."""
    for field in msgspec.structs.fields(kind):
        name, inner = prefix + field.encode_name, field.type
        yield name
        if get_origin(inner) is Annotated:
            inner = get_args(inner)[0]
        inner = get_args(inner)[0] if get_origin(inner) is list else inner
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from paths(inner, name + ".")


def test_every_field_is_explained_and_nothing_else():
    assert set(paths()) == set(explained.HELP)


def blank():
    return template.render(d.blank("SL-2026-4F7K2Q", date(2026, 11, 26)))


def test_template_is_a_draft_that_names_every_empty_field_at_once():
    draft = d.parse(blank().encode(), draft=True)
    assert not draft.rehearsal
    assert (draft.consignment_id, draft.status_as_of, draft.retention_until) == (
        "SL-2026-4F7K2Q", "2026-11-26", "2036-11-26",
    )  # fmt: skip
    named = {problem.partition(":")[0] for problem in faults(blank())}
    rows = {path for path in paths() if f"{path.rpartition('.')[0]}" in LISTS}
    wanted = {path for path in paths() if explained.HELP[path].want} - rows
    filled_in = {"consignment_id", "status_as_of", "retention_until", "encryption.scheme", "encryption.module"}
    elsewhere = {"in_reply_to"}  # of a return leg only
    assert named == (wanted | {"carriers", "goods", "drives"}) - filled_in - elsewhere


LISTS = {
    *(f"{party}.owners" for party in ("shipper", "consignee", "end_user", "agent")), "encryption.recipients",
    "intermediates", "related_shipments", "replaced", "answers", "authorisations", "charges", "carriers", "goods",
    "drives",
}  # fmt: skip


def test_example_rows_of_the_template_are_rows():
    shown = re.sub(r"^# (\[\[|[a-z_]+ = (?!.*\}))", r"\1", blank(), flags=re.MULTILINE)
    draft = d.parse(shown.encode(), draft=True)
    assert [carrier.name for carrier in draft.carriers] == ["Anna"] == [drive.carrier for drive in draft.drives]
    assert [goods.name for goods in draft.goods] == ["ssd15"] == [drive.goods for drive in draft.drives]
    assert [row.consignment_id for row in draft.related_shipments] == ["SL-2026-OTHER2"]
    assert [(row.role, row.since_revision) for row in draft.replaced] == [("end_user", 2)]


def test_a_day_without_quotes_is_that_day():
    quoted = template.render(content(status_as_of="2026-11-20"))
    assert d.parse(quoted.replace('= "2026-11-20"', "= 2026-11-20").encode(), draft=False).status_as_of == "2026-11-20"
    found = faults(quoted.replace('= "2026-11-20"', "= 2026-11-20T10:00:00Z"), draft=True)
    assert found[0].startswith("status_as_of: ")


EDITIONS = [("HS 2022", True), ("hs-2017", True), ("CN 2026", True), ("HS 1999", False)]


@pytest.mark.parametrize(("edition", "there"), EDITIONS)
def test_an_edition_of_the_harmonized_system_that_there_is_none_of(edition, there):
    goods = [replace(content().goods[0], hs_version=edition)]
    found = codes.faults(content(goods=goods))
    assert (found == []) == there, found


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


@pytest.mark.parametrize("path", sorted(path for path, text in explained.HELP.items() if text.want))
def test_every_field_that_wants_something_is_required(path):
    """Emptied wherever it is in a full declaration, it is the first thing that is named."""
    whole = full()
    assert d.problems(whole) == []
    names = path.split(".")
    emptied = without(whole, names)
    if path == "in_reply_to":
        assert d.problems(msgspec.structs.replace(whole, leg="return", in_reply_to="", return_=sections.Return()))
        return
    where = re.sub(r"\.", r"(\\[1\\])?.", re.escape(path).replace(r"\.", "."))
    assert any(re.match(rf"{where}: ", problem) for problem in d.problems(emptied)), (path, d.problems(emptied))


def without(section, names):
    """`section` with the field of that path emptied, in the first row of every list on the way."""
    name = {"class": "class_", "return": "return_"}.get(names[0], names[0])
    value = getattr(section, name)
    if len(names) > 1:
        inner = [without(value[0], names[1:]), *value[1:]] if isinstance(value, list) else without(value, names[1:])
        return msgspec.structs.replace(section, **{name: inner})
    empty = " " if isinstance(value, str) else [] if isinstance(value, list) else 0
    return msgspec.structs.replace(section, **{name: empty})


def full():
    """A declaration with a row in every list and every table."""
    owner = sections.Owner(name="O", country="DE", percent="60")
    parties = {name: msgspec.structs.replace(party(name), owners=[owner]) for name in ("shipper", "consignee")}
    return content(
        **parties,
        end_user=msgspec.structs.replace(party("User Ltd"), owners=[owner]),
        revision=2,
        supersedes="ab" * 32,
        agent=party("Agent"),
        intermediates=[
            sections.Intermediate(role="broker", legal_name="B", address="a", country="DE", contact="c",
                                  ultimate_parent="B", parent_hq_country="DE"),
        ],
        replaced=[sections.Replaced(role="end_user", legal_name="Old", since_revision=2, reason="sold")],
        answers=[sections.Answer(question="q", answer="yes", evidence="e", resolver="R", resolved_on="2026-11-20")],
        authorisations=[
            sections.Authorisation(authority="BIS", number="1", expiry="2027-01-01", conditions="", covers=["r"])
        ],
        charges=[sections.Charge(name="freight", amount="1.00", currency="EUR")],
    )  # fmt: skip


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
        ({"shipper": party("X", "U1")}, "shipper.country: 'U1' is no country of ISO 3166"),
        ({"end_user": party("X", "DE", "de")}, "end_user.parent_hq_country: 'de' is no country"),
        (
            {"author": sections.Author(name="A", email="a@b", public_key="ssh-ed25519 AAAA")},
            "author.public_key: SSH public key:",
        ),
        ({"author": sections.Author(name="A", email="nobody")}, "author.email: 'nobody' is no e-mail address"),
        ({"drives": []}, "drives: none; at least one [[drives]] is wanted"),
        (
            {"related_shipments": [related("SL-2026-4F7K2Q")]},
            "related_shipments[1].consignment_id: names this shipment itself",
        ),
        ({"related": "none"}, "related: says none, and some are listed"),
        ({"related_shipments": []}, "related_shipments: none; at least one"),
        ({"related": ""}, "related: empty; wants none or listed"),
        ({"revision": 2}, "supersedes: empty"),
        ({"supersedes": "ab" * 32}, "supersedes: belongs to a later revision"),
        ({"status_as_of": "2026-02-30"}, "status_as_of: '2026-02-30' is no day"),
        ({"agent": sections.Party(legal_name="Agent")}, "agent.address: empty"),
        ({"site": sections.Site()}, "site.chips: empty; training wants what computes there"),
        ({"site": sections.Site()}, "site.gpu_count: empty"),
        ({"drives": [drive("S1", goods="tape")]}, "drives[1].goods: 'tape' is no name of goods; one of ssd"),
        ({"goods": [GOODS, GOODS]}, "goods[2].name: 'ssd' is the name of goods[1] too"),
        ({"goods": [replace(GOODS, net_grams=311)]}, "goods[1].net_grams: more than gross_grams"),
        ({"goods": [GOODS, replace(GOODS, name="x")]}, "goods[2].name: no drive is 'x'"),
        (
            {"data": replace(content().data, personal_data="none")},
            'data.person_count: people are counted, and data.personal_data is "none"',
        ),
        ({"data": replace(content().data, transfer_tool=" ")}, "data.transfer_tool: empty"),
        ({"data": replace(content().data, personal_data="sensitive")}, "data.sensitive_count: must be more than 0"),
        (
            {"encryption": recipients(RECIPIENTS[0], RECIPIENTS[0])},
            "encryption.recipients[2].recipient: is there twice",
        ),
        ({"encryption": recipients("age1nonsense", RECIPIENTS[0])}, "encryption.recipients[1].recipient: "),
        ({"customs": replace(content().customs, temporary="yes")}, "customs.re_export_by: empty"),
        (
            {"customs": replace(content().customs, carnet_no="X")},
            "customs.carnet_no: a carnet is for goods that come back",
        ),
        (
            {"shipper": replace(party("S"), owners=[sections.Owner(name=n, country="DE", percent="51") for n in "ab"])},
            "shipper.owners: more than 100 percent together",
        ),
        (
            {"replaced": [sections.Replaced(role="x", legal_name="y", since_revision=2, reason="z")]},
            "replaced[1].since_",
        ),
        (
            {"answers": [sections.Answer(question="q", answer="no"), sections.Answer(question="Q", answer="no")]},
            "answers[2].question: 'Q' is that of answers[1] too",
        ),
        ({"answers": [sections.Answer(question="q", answer="no", resolver="R")]}, "answers[1].resolver: who looked"),
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
legal_name = "Bo\\u200b Gannet"
native_name = "Bo\\u00ad Gannet"
address = "\\u3164"
registration_no = "ali\\u200creza"
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
        "carriers[1].legal_name: holds the character U+200B",
        "carriers[1].native_name: holds the character U+00AD",
        "carriers[1].address: holds the character U+3164",
    ):
        assert any(problem.startswith(expected) for problem in found), (expected, found)
    assert not any("registration_no" in problem for problem in found), "it joins letters in Persian"


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


@pytest.mark.long
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


@pytest.mark.long
def test_the_largest_form_is_read_in_bounded_time():
    text = template.render(content(count=5000))
    assert len(text) < d.MAX_BYTES
    start = time.process_time()
    assert len(d.parse(text.encode(), draft=False).drives) == 5000
    hostile = "\n".join(f"k{i}" + ".a" * strict.MAX_KEY_DOTS + " = 1" for i in range(6000))
    faults(hostile)
    assert time.process_time() - start < 10


def test_annotations_are_read_once_a_type_and_not_once_a_row(monkeypatch):
    """Reading them takes 0.1 ms: seconds, of ten thousand drives, in each look at a declaration."""
    read, asked = msgspec.structs.fields, []
    monkeypatch.setattr(msgspec.structs, "fields", lambda kind: asked.append(kind) or read(kind))
    strict.fields_of.cache_clear()
    text = template.render(content(count=300)).encode()
    parsed, problems = d.review(text)
    assert (len(parsed.drives), problems, d.notes(parsed)) == (300, [], [])
    assert len(asked) == len(set(asked)) < 40


def test_the_digest_binds_every_byte():
    complete = declared()
    commented = d.parse(complete.raw + b"# a comment\n", draft=False)
    assert complete_content(commented) == complete_content(complete)
    assert commented.digest != complete.digest


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"shipper": party("X", "UK")}, "shipper.country: 'UK' is no country of ISO 3166"),
        ({"goods": [replace(GOODS, currency="DEM")]}, "goods[1].currency: 'DEM' is no currency of ISO 4217"),
        (
            {"goods": [replace(GOODS, currency="JPY", data_value="0")]},
            "goods[1].media_value: '5760.00' has finer parts than JPY",
        ),
        ({"goods": [replace(GOODS, media_value="1.234")]}, "goods[1].media_value: '1.234' has finer parts than EUR"),
        ({"goods": [replace(GOODS, hs_code="8523")]}, "goods[1].hs_code: '8523' is no HS code"),
        ({"goods": [replace(GOODS, hs_code="77.01.00")]}, "goods[1].hs_code: '77.01.00' is no HS code"),
        ({"customs": replace(content().customs, incoterm="DDT")}, "customs.incoterm: 'DDT' is none of Incoterms 2020"),
        (
            {"charges": [sections.Charge(name="freight", amount="1.001", currency="USD")]},
            "charges[1].amount: '1.001' has finer parts than USD, which has 2 digits",
        ),
    ],
)
def test_codes_of_the_day_are_checked_where_it_is_written_and_never_where_a_seal_is_opened(changes, expected):
    data = template.render(content(**changes)).encode()
    parsed, found = d.review(data)
    assert len(found) == 1
    assert found[0].startswith(expected)
    assert d.parse(data, draft=False) == parsed


def test_currencies_of_three_digits_and_none_are_taken():
    for currency, value in (("KWD", "1.125"), ("JPY", "700"), ("EUR", "0.10")):
        goods = replace(GOODS, currency=currency, media_value=value, data_value="0")
        assert d.review(template.render(content(goods=[goods])).encode())[1] == []


def test_what_is_unusual_is_noted_and_holds_nothing():
    assert d.notes(content()) == []
    odd = content(
        retention_until="2031-11-20",
        goods=[replace(GOODS, hs_code="8523.49")],
        customs=replace(content().customs, temporary="yes", re_export_by="2027-01-01", carnet_no="DE/1"),
        related_shipments=[replace(related("SL-2026-OTHER7"), shipped_on="2026-01-01")],
    )
    assert d.problems(odd) == []
    assert [note.partition(":")[0] for note in d.notes(odd)] == [
        "customs.carnet_no", "retention_until", "related_shipments[1].shipped_on", "goods[1].hs_code",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "Pre-training of a 7B language model", "finetuning", "Fine-tuning on rented GPUs", "Training of our models",
        "a model is trained\nfor six weeks", "Training\non 64 GPUs", "用于训练语言模型", "Обучение модели",
    ],
)  # fmt: skip
def test_another_use_whose_text_speaks_of_training_a_model_is_asked_about(text):
    other = content(end_use=sections.EndUse(text=text, class_="other"))
    (fault,) = d.problems(other)
    assert fault.startswith('end_use.class: "other", and the text speaks of ')
    assert d.problems(replace(other, end_use=sections.EndUse(text=text, class_="training"))) == []


@pytest.mark.parametrize("text", ["Training of staff in customs law", "Weather maps for a railway", "Fine wine tuning"])
def test_a_use_that_trains_no_model_may_be_another_one(text):
    other = content(end_use=sections.EndUse(text=text, class_="other"))
    assert d.problems(other) == []
    assert [note.partition(":")[0] for note in d.notes(other)] == ["end_use.class"] * text.startswith("Training")


@pytest.mark.parametrize(("resolver", "wrong"), [("-", True), ("n/a", False), ("--", True), ("O. Fficer", False)])
def test_a_resolver_is_a_name_or_nothing(resolver, wrong):
    answers = [replace(each, resolver=resolver, resolved_on="2026-11-20") for each in content().answers[:1]]
    rest = content().answers[1:]
    found = d.problems(content(answers=[*answers, *rest]))
    assert any("is nobody's name" in fault for fault in found) == wrong


def test_storage_of_what_training_needs_is_noted():
    stored = content(end_use=sections.EndUse(text="Kept for training a model next year", class_="storage"))
    assert d.problems(stored) == []
    assert "is a model trained, now or later?" in d.notes(stored)[0]


def test_no_threshold_and_nothing_that_could_split_by_value():
    """Values are stated for customs; a field that could shape a split by them must not come in."""
    words = {word for path in paths() for word in re.split(r"[._]", path)}
    assert not words & {"threshold", "limit", "split", "minimis", "maximum", "exempt"}


@pytest.mark.long
def test_ids_are_random_and_well_formed():
    ids = {d.new_consignment_id(2026) for _ in range(200)}
    assert len(ids) == 200
    for name in ids:
        assert declared(consignment_id=name).consignment_id == name


@pytest.mark.parametrize(("packages", "told"), [
    (["", "", "", ""], None), (["1", "2", "1", "2"], None),
    (["1", "1", "", ""], "'1' is with several carriers (Anna, Bo)"),
    (["1", "1", "2", "2"], "'1' and 1 more are each with several carriers (Anna, Bo)"),
])  # fmt: skip
def test_a_package_of_two_carriers_is_noted_with_how_many_papers_count(packages, told):
    """Drives go to Anna and Bo in turns. It may be right: each counts from 1."""
    given = content(count=4)
    drives = [replace(each, package_no=number) for each, number in zip(given.drives, packages, strict=True)]
    found = [each for each in d.notes(content(count=4, drives=drives)) if "package" in each]
    assert len(found) == (told is not None)
    for each in found:
        assert each.startswith("drives[2].package_no: ")
        assert told in each
        assert f"papers count {totals.total(content(count=4, drives=drives)).packages} packages" in each


@pytest.mark.parametrize(("name", "value", "want"), [
    ("country", "us", "shipper.country: 'us' is no country of ISO 3166; wants two capital letters, such as DE"),
    ("country", "DÉ", "shipper.country: 'DÉ' is no country of ISO 3166; wants two capital letters, such as DE"),
    ("country", "XX", "shipper.country: 'XX' is no country of ISO 3166; wants two capital letters, such as DE"),
    ("country", "  ", "shipper.country: empty; wants two letters, such as DE"),
    ("parent_hq_country", " ", "shipper.parent_hq_country: empty; wants two letters, such as CH"),
])  # fmt: skip
def test_what_is_wrong_with_a_field_is_said_once(name, value, want):
    shipper = replace(party("Shipper GmbH"), **{name: value})
    _, faults = d.review(template.render(content(shipper=shipper)).encode())
    assert faults == [want]


@pytest.mark.parametrize("code", ["8523 51", "8523-51", "8523.51a", "85235100000000"])
def test_a_code_of_other_characters_is_told_in_words(code):
    text = template.render(content()).replace('hs_code = "8523.51"', f'hs_code = "{code}"', 1)
    _, faults = d.review(text.encode())
    assert next(each for each in faults if "hs_code" in each).startswith("goods[1].hs_code: ")
    assert not [each for each in faults if "regex" in each or "\\A" in each]
    assert any("6 to 12 digits" in each for each in faults)


@pytest.mark.parametrize(("edition", "noted"), [("HS 2022", False), ("HS 2028", True), ("TARIC 2028", False)])
def test_an_edition_that_is_not_in_force_yet_is_noted(edition, noted):
    given = content(goods=[replace(GOODS, hs_version=edition)], status_as_of="2026-11-20")
    assert [each.partition(":")[0] for each in d.notes(given)] == ["goods[1].hs_version"] * noted
