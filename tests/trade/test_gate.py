"""The gate: no release with an open flag, an unknown answer, a stale list or an unresolved hit, whoever asks."""

import contextlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import filled
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from trade_cases import ALLOWED, AUTHOR, OFFICER, declared, party

from sealift.errors import BadInput, Refused
from sealift.trade import gate, release, rules, sections

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SHIPPED = rules.shipped()
QUESTIONS = SHIPPED.questions
CLEAR = gate.Facts(author=[], screening=[], keys=[], revision=[])
WORDS = {"officer": "O. Fficer", "reason": "complete", "reference": "TC-1"}


def harmless(rule):
    return "no" if rule.holds_on == "yes" else "yes"


def answers(**changes):
    """The answers of a shipment that nothing holds, some of them changed; None takes the row away."""
    rows = {
        rule.id: sections.Answer(question=rule.id, answer=harmless(rule), evidence="on file") for rule in QUESTIONS
    } | changes
    return [row for row in rows.values() if row is not None]


def ask(parsed=None, facts=CLEAR, now=NOW, by=SHIPPED, **changes):
    return gate.evaluate(parsed or declared(**({"answers": answers()} | changes)), by, facts, now)


def sign(verdict, parsed, signer=OFFICER, **changes):
    signed = AUTHOR.sign(parsed.raw, release.AUTHOR_NAMESPACE)
    return release.make_release(parsed, signer, verdict, ALLOWED, author_signature=signed, **(WORDS | changes), now=NOW)


def held(verdict):
    return [row.rule.id for row in verdict.held]


def test_nothing_holds_a_shipment_without_questions():
    parsed = declared(answers=answers())
    verdict = ask(parsed)
    assert verdict.open
    assert [row.rule for row in verdict.rows] == SHIPPED.rules
    record = sign(verdict, parsed).record
    assert record.rules == release.RulesFile(
        edition=SHIPPED.edition, bytes=len(SHIPPED.raw), blake3=SHIPPED.digest, changed=[]
    )
    assert (record.resolved, record.screening, record.keys) == ([], None, None)


@pytest.mark.parametrize("rule", QUESTIONS, ids=lambda rule: rule.id)
def test_every_question_holds_unless_it_is_answered(rule):
    for row in (None, sections.Answer(question=rule.id, answer="unknown", evidence="e", resolver="R",
                                      resolved_on="2026-11-20")):  # fmt: skip
        parsed = declared(answers=answers(**{rule.id: row}))
        verdict = ask(parsed)
        assert held(verdict) == [rule.id]
        with pytest.raises(Refused, match=rule.id):
            sign(verdict, parsed)


RESOLVED = {"evidence": "file 7", "resolver": "R. Solver", "resolved_on": "2026-11-20"}


@pytest.mark.parametrize("rule", QUESTIONS, ids=lambda rule: rule.id)
def test_what_holds_opens_only_as_the_rule_says(rule):
    answer = sections.Answer(question=rule.id, answer=rule.holds_on, **RESOLVED)
    licence = sections.Authorisation(authority="BIS", number="D1", expiry="2026-11-21", covers=[rule.id])
    by_person = ask(answers=answers(**{rule.id: answer}))
    by_paper = ask(answers=answers(**{rule.id: answer}), authorisations=[licence])
    assert by_person.open == (rule.opens == "resolver")
    assert by_paper.open == (rule.opens != "nothing")
    for verdict in (by_person, by_paper):
        assert [row.rule.id for row in (*verdict.held, *verdict.resolved)] == [rule.id]
    bare = replace(answer, resolver="", resolved_on="")
    assert held(ask(answers=answers(**{rule.id: bare}))) == [rule.id]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"resolver": "", "resolved_on": ""}, "who looked into it"),
        ({"resolver": " a.  AUTHOR "}, "the author alone does not resolve it"),
        ({"resolver": "Author, Anna"}, "the author alone does not resolve it"),
        ({"resolver": "Author"}, "the author alone does not resolve it"),
        ({"resolved_on": "2026-11-22"}, "still to come"),
        ({"resolved_on": "2026-10-21"}, "31 days ago; 30 are allowed"),
    ],
)
def test_a_flag_is_resolved_by_another_named_person_with_evidence(changes, why):
    row = sections.Answer(question="flag-cloud", answer="yes", **(RESOLVED | changes))
    verdict = ask(answers=answers(**{"flag-cloud": row}))
    assert held(verdict) == ["flag-cloud"]
    assert why in verdict.held[0].why


def test_training_for_a_parent_of_a_listed_country_wants_an_authorisation_that_has_not_ended():
    end_user = party("User Ltd", "SG", "CN")
    licence = sections.Authorisation(
        authority="counsel: Example LLP", number="M-7", expiry="2026-11-21", covers=["parent-d5-training"]
    )
    assert held(ask(end_user=end_user)) == ["parent-d5-training"]
    opened = ask(end_user=end_user, authorisations=[licence])
    assert opened.open
    assert [(row.rule.id, row.why) for row in opened.resolved] == [
        ("parent-d5-training", "counsel: Example LLP, M-7, until 2026-11-21")
    ]
    parsed = declared(end_user=end_user, authorisations=[licence], answers=answers())
    assert sign(ask(parsed), parsed).record.resolved == ["parent-d5-training"]
    assert held(ask(end_user=end_user, authorisations=[licence], now=NOW + timedelta(days=1))) == ["parent-d5-training"]
    assert held(ask(end_user=end_user, authorisations=[replace(licence, covers=["embargo"])])) == ["parent-d5-training"]
    assert held(ask(site=replace(filled.rest()["site"], country="MO"))) == ["parent-d5-training"]
    assert held(ask(consignee=party("C", "CN", "SG"))) == ["parent-d5-training"]
    owned = replace(party("User Ltd", "SG", "SG"), owners=[sections.Owner(name="O", country="CN", percent="90")])
    assert held(ask(end_user=owned)) == ["parent-d5-training"]
    forwarder = sections.Intermediate(role="forwarder", legal_name="F", address="a", country="CN", contact="c",
                                      ultimate_parent="F", parent_hq_country="CN")  # fmt: skip
    assert held(ask(intermediates=[forwarder])) == ["parent-d5-training"]
    tuning = sections.EndUse(text="Tuning", class_="fine-tuning")
    assert held(ask(end_user=end_user, end_use=tuning)) == ["parent-d5-training"]
    other_use = sections.EndUse(text="An archive", class_="storage")
    assert ask(end_user=end_user, end_use=other_use).open


@pytest.mark.parametrize(
    "changes",
    [
        {"site": replace(filled.rest()["site"], country="IR")},
        {"end_user": party("User Ltd", "KP", "SG")},
        {"shipper": replace(party("S"), owners=[sections.Owner(name="O", country="CU", percent="30")])},
        {"carriers": [sections.Carrier(name=name, contact="c", country="SY") for name in ("Anna", "Bo")]},
    ],
)
def test_countries_under_a_far_reaching_embargo_hold_whatever_the_use(changes):
    use = sections.EndUse(text="An archive", class_="storage")
    assert held(ask(end_use=use, **changes)) == ["embargoed-country"]
    licence = sections.Authorisation(authority="OFAC", number="L-1", expiry="2027-01-01", covers=["embargoed-country"])
    assert ask(end_use=use, authorisations=[licence], **changes).open


def test_what_is_promised_cannot_be_struck_or_opened_more_easily():
    text = SHIPPED.raw.decode()
    for name in (
        "complete",
        "revision",
        "status-recent",
        "screening",
        "keys",
        "parent-d5-training",
        "embargoed-country",
    ):
        at = text.index(f'[[rules]]\nid = "{name}"')
        until = text.find("[[rules]]", at + 1)
        with pytest.raises(BadInput, match="cannot be struck"):
            rules.parse((text[:at] + text[until:]).encode())
        easier = text[:at] + text[at:until].rstrip() + '\nopened_by = "authorisation"\n\n' + text[until:]
        if "opened_by" not in text[at:until]:
            with pytest.raises(BadInput, match="is opened by authorisation"):
                rules.parse(easier.encode())


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("list_days = 7", "list_days = 32", "list_days: 32; at most 31"),
        ("status_days = 30", "status_days = 3660", "status_days: 3660; at most 90"),
        ('countries = ["CU", "IR"', 'countries = ["CU"', "embargoed-country lacks the countries IR"),
        ('  "AF", "BY", "MM", "CF", "CN", ', '  "AQ", ', "parent-d5-training lacks the countries AF, BY, CF, CN, MM"),
        ('id = "flag-site"', 'id = "flag-site" #', ""),
    ],
)
def test_what_is_promised_is_not_weakened(old, new, why):
    text = SHIPPED.raw.decode()
    assert old in text
    if not why:
        assert rules.parse(text.replace(old, new).encode()).changed == []
        return
    with pytest.raises(BadInput, match=why):
        rules.parse(text.replace(old, new).encode())


@pytest.mark.parametrize("rule", [rule for rule in SHIPPED.rules if rule.countries], ids=lambda rule: rule.id)
def test_countries_cannot_be_struck_under_any_id(rule):
    """Neither from the rule that is shipped, nor by another rule of the same check in its place."""
    text = SHIPPED.raw.decode()
    at = text.index("countries = [", text.index(f'id = "{rule.id}"'))
    emptied = text[:at] + 'countries = ["AQ"' + text[text.index("]", at) :]
    for fewer in (emptied, emptied.replace(f'id = "{rule.id}"', 'id = "ours"')):
        with pytest.raises(BadInput, match=f"{rule.id} lacks the countries {min(rule.countries)}, "):
            rules.parse(fewer.encode())
    more = text[:at] + 'countries = ["AQ", ' + text[at + len("countries = [") :]
    assert rules.parse(more.encode()).changed == [rule.id]
    assert rules.parse(text.replace(f'id = "{rule.id}"', 'id = "ours"').encode()).changed == [
        "ours (added)", f"{rule.id} (missing)",
    ]  # fmt: skip


def test_every_list_of_the_shipped_rules_is_looked_at():
    """A new field of rules that holds a list is looked at like the countries, or it is known why not."""
    lists = {name for rule in SHIPPED.rules for name in rule.__struct_fields__ if isinstance(getattr(rule, name), list)}
    assert lists == {"countries", "officers"}
    assert not any(rule.officers for rule in SHIPPED.rules), "shipped empty: who may release is a house's own"


def test_an_edition_of_another_day_is_named():
    older = rules.parse(SHIPPED.raw.replace(b'edition = "2026-11-26"', b'edition = "2020-01-01"'))
    assert older.changed == ["edition"]


def test_a_shipped_question_is_not_turned_round():
    text = SHIPPED.raw.decode()
    at = text.index('id = "military-end-use"')
    turned = text[:at] + text[at:].replace('holds_on = "yes"', 'holds_on = "no"', 1)
    with pytest.raises(BadInput, match="military-end-use is shipped with holds_on = yes"):
        rules.parse(turned.encode())


def test_an_unknown_answer_holds_though_its_question_was_struck():
    text = SHIPPED.raw.decode()
    at = text.index('[[rules]]\nid = "flag-cloud"')
    fewer = rules.parse(text[:at].encode())
    row = sections.Answer(question="flag-cloud", answer="unknown", evidence="e")
    assert held(ask(by=fewer, answers=answers(**{"flag-cloud": row}))) == ["flag-cloud"]
    assert ask(by=fewer, answers=answers()).open
    other = replace(row, question="of-a-house")
    assert held(ask(by=fewer, answers=answers(**{"of-a-house": other}))) == ["complete"]


@pytest.mark.parametrize("rule", QUESTIONS, ids=lambda rule: rule.id)
def test_a_flag_that_is_up_is_not_taken_down_by_striking_the_question(rule):
    text = SHIPPED.raw.decode()
    at = text.index(f'[[rules]]\nid = "{rule.id}"')
    until = text.find("[[rules]]", at + 1)
    fewer = rules.parse((text[:at] + (text[until:] if until > 0 else "")).encode())
    assert fewer.changed == [f"{rule.id} (missing)"]
    up = sections.Answer(question=rule.id, answer=rule.holds_on, evidence="e")
    verdict = ask(by=fewer, answers=answers(**{rule.id: up}))
    assert held(verdict) == [rule.id]
    parsed = declared(answers=answers(**{rule.id: up}))
    with pytest.raises(Refused, match="the gate is closed"):
        sign(ask(parsed, by=fewer), parsed)
    assert ask(by=fewer, answers=answers(**{rule.id: None})).open, "nobody was asked, and the papers name the rule"


def test_a_check_that_was_struck_still_hears_what_the_declaration_says():
    text = SHIPPED.raw.decode()
    at = text.index('[[rules]]\nid = "important-data"')
    fewer = rules.parse((text[:at] + text[text.index('[[rules]]\nid = "whole"') :]).encode())
    data = replace(declared().data, important_data="yes")
    apart = replace(declared().encryption, keys_travel_separately="no")
    assert held(ask(by=fewer, data=data, encryption=apart)) == ["important-data", "keys-apart"]


@pytest.mark.parametrize("fact", ["author", "screening", "keys", "revision"])
@pytest.mark.parametrize("reasons", [None, ["csl.csv: fetched 8 days ago; 7 are allowed"]])
def test_what_other_records_say_holds_and_so_does_their_silence(fact, reasons):
    verdict = ask(facts=gate.Facts(**({"author": [], "screening": [], "keys": [], "revision": []} | {fact: reasons})))
    assert held(verdict) == [fact]
    assert verdict.held[0].why == ("nobody has looked" if reasons is None else reasons[0])


def test_what_is_old_or_not_yet_or_not_in_the_lists_of_the_day_holds():
    assert held(ask(now=NOW + timedelta(days=30))) == ["status-recent"]
    assert held(ask(now=NOW - timedelta(days=2))) == ["status-recent"]
    assert held(ask(goods=[replace(filled.GOODS, currency="DEM")])) == ["complete"]
    data = declared().data
    for name in ("important_data", "us_bulk_sensitive"):
        for answer in ("yes", "unknown"):
            verdict = ask(data=replace(data, **{name: answer}))
            assert [row.answer for row in verdict.held] == [answer]
    apart = replace(declared().encryption, keys_travel_separately="no")
    assert held(ask(encryption=apart)) == ["keys-apart"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_release_with_an_open_question_whoever_asks(data):
    """Any mixture of answers and facts: a release comes out only if nothing at all is open."""
    rows, opened = [], True
    for rule in QUESTIONS:
        answer = data.draw(st.sampled_from([harmless(rule)] * 8 + ["", "unknown", rule.holds_on]), label=rule.id)
        resolved = data.draw(st.booleans()) if answer == rule.holds_on else False
        if answer:
            more = RESOLVED if resolved else {"evidence": "on file"}
            rows.append(sections.Answer(question=rule.id, answer=answer, **more))
        opened &= answer == harmless(rule) or (answer == rule.holds_on and resolved and rule.opens == "resolver")
    facts = [data.draw(st.sampled_from([[]] * 6 + [None, ["no"]])) for _ in range(4)]
    opened &= facts == [[], [], [], []]
    signer = data.draw(st.sampled_from([OFFICER, OFFICER, AUTHOR]))
    parsed = declared(answers=rows)
    verdict = ask(parsed, gate.Facts(*facts))
    assert verdict.open == opened
    if opened and signer is OFFICER:
        assert sign(verdict, parsed).record.consignment_id == parsed.consignment_id
    else:
        with pytest.raises(Refused):
            sign(verdict, parsed, signer)


def test_a_verdict_is_of_one_declaration_and_of_every_rule():
    parsed, other = declared(answers=answers()), declared(answers=answers(), consignment_id="SL-2026-OTHER1")
    with pytest.raises(Refused, match="another declaration"):
        sign(ask(other), parsed)
    fewer = gate.Verdict(SHIPPED, parsed.digest, rehearsal=False, rows=ask(parsed).rows[1:])
    assert not fewer.open
    with pytest.raises(Refused, match="the gate is closed"):
        sign(fewer, parsed)
    with pytest.raises(Refused, match="another declaration"):
        sign(gate.Verdict(SHIPPED, parsed.digest, rehearsal=True), parsed)


def test_a_rehearsal_has_no_goods_and_no_questions():
    parsed = declared(rehearsal=True, answers=[])
    verdict = ask(parsed, gate.Facts())
    assert verdict.open
    assert verdict.rows == []
    assert sign(verdict, parsed).record.rehearsal


def test_the_rules_say_who_may_release():
    parsed = declared(answers=answers())
    text = SHIPPED.raw.decode()
    mine = rules.parse(text.replace("officers = []", 'officers = ["officer@example.com"]', 1).encode())
    assert sign(ask(parsed, by=mine), parsed).record.rules.changed == ["officers"]
    other = rules.parse(text.replace("officers = []", 'officers = ["chief@example.com"]', 1).encode())
    with pytest.raises(Refused, match="the rules name chief@example"):
        sign(ask(parsed, by=other), parsed)
    special = rules.parse(
        text.replace('id = "flag-route"\n', 'id = "flag-route"\nofficers = ["chief@example.com"]\n').encode()
    )
    assert sign(ask(parsed, by=special), parsed).record.rules.changed == ["flag-route"]
    row = sections.Answer(question="flag-route", answer="yes", **RESOLVED)
    resolved = declared(answers=answers(**{"flag-route": row}))
    with pytest.raises(Refused, match="rule flag-route was opened, and then only chief@example"):
        sign(ask(resolved, by=special), resolved)


# --- the rules file --------------------------------------------------------------------------------------


def test_the_rules_shipped_are_whole():
    assert SHIPPED.changed == []
    assert rules.parse(SHIPPED.raw) == SHIPPED
    assert {rule.check for rule in SHIPPED.rules if rule.check} == set(gate._CHECKS)
    assert all(rule.question.endswith("?") for rule in SHIPPED.rules)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('holds_on = "no"', 'holds_on = "maybe"', "holds_on: must be one of yes, no"),
        ('check = "status"', 'check = "weather"', "check: must be one of complete, author, revision"),
        ('check = "status"\n', "", "wants one of check and holds_on"),
        ('id = "embargo"', 'id = "whole"', "id: 'whole' is there twice"),
        ('as_of = "2026-11-26"\n', "", "as_of: missing"),
        ("list_days = 7", "list_days = -1", "list_days: "),
        ("list_days = 7", "skip = true", "skip: no such field"),
        ('check = "keys"\n', 'check = "keys"\nopened_by = "resolver"\n', "opened_by: a resolver answers a question"),
        (
            'check = "keys"\n',
            'check = "keys"\ncountries = ["DE"]\n',
            "countries: belongs to the checks countries and parent-training",
        ),
        ('check = "keys"\n', 'check = "keys"\nofficers = ["a"]\n', "officers: nothing but mending it opens this rule"),
        ('type = "sealift-rules"', 'type = "sealift-plan"', "type: must be sealift-rules"),
        ('edition = "2026-11-26"', 'edition = ""', "edition: empty"),
    ],
)
def test_rules_that_do_not_hold_together_are_refused(old, new, fault):
    text = SHIPPED.raw.decode()
    assert old in text
    with pytest.raises(BadInput) as caught:
        rules.parse(text.replace(old, new, 1).encode())
    assert fault in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_mutated_rules_are_refused_or_named(data):
    text = bytearray(SHIPPED.raw)
    at = data.draw(st.integers(0, len(text)))
    text[at : at + data.draw(st.integers(0, 8))] = data.draw(
        st.one_of(st.binary(max_size=6), st.sampled_from([b'"', b"[[rules]]", b"=", b"\n", b"yes", b"#"]))
    )
    try:
        parsed = rules.parse(bytes(text))
    except BadInput:
        with contextlib.suppress(BadInput):
            assert rules.kept(bytes(text)).told, "what nobody could release by is told"
        return
    assert rules.kept(bytes(text)).rules == parsed
    shown = [rule for rule in parsed.rules if rule not in SHIPPED.rules]
    assert bool(shown) <= bool(parsed.changed)


# --- rules that were kept --------------------------------------------------------------------------------

KEPT = sorted((Path(__file__).parents[1] / "vectors" / "rules").iterdir())


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_vectors_of_rules_that_were_kept(path):
    data = path.read_bytes()
    expected = re.match(r"# expect: (\w+)\n# about: .+\n", data.decode())[1]
    with pytest.raises(BadInput):
        rules.parse(data)  # nobody releases by any of them today
    if expected == "refused":
        with pytest.raises(BadInput, match="the rules have"):
            rules.kept(data)
        return
    found = rules.kept(data)
    assert found.rules.raw == data
    assert bool(found.strange) == (expected == "look")
    assert found.told


def test_what_of_kept_rules_is_not_known_is_named_and_the_rest_is_read():
    by = {path.stem: rules.kept(path.read_bytes()) for path in KEPT if b"expect: refused" not in path.read_bytes()}
    assert by["later"].strange == [
        "version 2", "the field quorum", "rules[2]: check = export-quota", "rules[3]: opened_by = second-officer",
    ]  # fmt: skip
    assert (by["later"].known, by["unknown_check"].known) == (False, True)
    assert by["unknown_check"].unread == {"export-quota"}
    assert [rule.id for rule in by["unknown_check"].rules.rules] == ["complete"]
    assert "none has the check author" in by["older"].told
    assert len(by["older"].rules.rules) == 33
    assert rules.kept(SHIPPED.raw) == rules.Kept(rules=SHIPPED, strange=[], unread=frozenset(), known=True)
    assert rules.kept(SHIPPED.raw).told == ""
