"""The leg home in declarations and on paper: who may answer, what is answered, and that every sheet says so."""

import pytest
from trade_cases import AUTHOR, OFFICER, STRANGER, content, declared

from sealift.errors import KeyInvalid, SignatureInvalid
from sealift.formats import age_keys
from sealift.trade import declaration as d
from sealift.trade import homeward, sections, sheets, template

FIRST, SECOND = (age_keys.generate_identity()[1] for _ in range(2))
LINE = f"trainer@example.org {STRANGER.public_key.line}"


def problems(**changes):
    return d.problems(d.parse(template.render(content(**changes)).encode(), draft=True))


def back(recipients=(FIRST,), signers=(LINE,)):
    return sections.Return(recipients=list(recipients), signers=list(signers))


def test_what_is_stated_comes_in_one_form():
    leg = declared(return_=back([FIRST, SECOND], [LINE + " a comment"])).return_leg
    assert leg.recipients == [FIRST, SECOND]
    assert [(each.principal, each.key) for each in leg.signers] == [("trainer@example.org", STRANGER.public_key.line)]
    assert declared().return_leg is None


def test_long_lists_stand_on_lines_of_their_own():
    stated = back([age_keys.generate_identity()[1] for _ in range(20)], [LINE])
    text = template.render(content(return_=stated))
    assert max(map(len, text.splitlines())) < 150
    assert d.parse(text.encode(), draft=False).return_ == stated


@pytest.mark.parametrize(
    ("stated", "problem"),
    [
        (back(signers=[]), "return.signers: empty"),
        (back(recipients=[]), "return.recipients: empty"),
        (back(["age1nonsense"]), "return.recipients[1]: "),
        (back([FIRST, FIRST]), "is there twice"),
        (back(["AGE-SECRET-KEY-1QQQQ"]), "an identity where a recipient belongs"),
        (back(signers=["ssh-ed25519"]), "return.signers[1]: "),
        (back(signers=["# comment"]), "return.signers[1]: not NAME KEYTYPE KEY"),
        (back(signers=[LINE, LINE.replace("trainer", "other")]), "the key of signers[1] again"),
        (back(signers=[f"* {STRANGER.public_key.line}"]), "not one plain name"),
        (back(signers=[f"a,b {STRANGER.public_key.line}"]), "not one plain name"),
        (back(signers=[f'a namespaces="sealift" {STRANGER.public_key.line}']), "options are not used here"),
    ],
)
def test_what_is_wrong_with_it_is_named(stated, problem):
    assert any(problem in each for each in problems(return_=stated)), problems(return_=stated)
    with pytest.raises(KeyInvalid):
        homeward.parse(stated.recipients, stated.signers)


def test_post_quantum_recipients_stand_alone():
    mixed = back([FIRST, age_keys.generate_hybrid_identity()[1]])
    assert any("post-quantum" in each for each in problems(return_=mixed))


def test_more_than_the_limit_are_too_many():
    with pytest.raises(d.DeclarationInvalid, match="return"):
        declared(return_=back(signers=[LINE] * 21))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"leg": "return"}, "in_reply_to: empty; wants the id of the outbound shipment"),
        ({"leg": "return", "in_reply_to": "SL-2026-4F7K2Q"}, "in_reply_to: names this shipment itself"),
        ({"leg": "outbound", "in_reply_to": "SL-2026-OUTWRD"}, "in_reply_to: belongs to a return leg"),
        ({"leg": "return", "in_reply_to": "SL-2026-OUTWRD", "return_": back()}, "return: belongs to an outbound"),
    ],
)
def test_a_return_leg_answers_one_shipment_and_an_outbound_one_none(changes, problem):
    (found,) = problems(**changes)
    assert found.startswith(problem)
    assert problems(leg="return", in_reply_to="SL-2026-OUTWRD") == []


def test_accepted_signers_are_those_and_no_others():
    leg = declared(return_=back()).return_leg
    allowed = homeward.accepted(leg)
    assert allowed.signer(b"m", STRANGER.sign(b"m", "sealift"), "sealift").principal == "trainer@example.org"
    for other in (AUTHOR, OFFICER):
        with pytest.raises(SignatureInvalid):
            allowed.signer(b"m", other.sign(b"m", "sealift"), "sealift")


def test_every_sheet_of_a_return_leg_says_what_it_answers():
    home = declared(leg="return", in_reply_to="SL-2026-OUTWRD")
    for name in ("Anna", "Bo"):
        assert "Shipment SL-2026-4F7K2Q, return leg in reply to SL-2026-OUTWRD" in sheets.sheet(home, name)


def test_every_sheet_of_an_outbound_leg_says_who_may_answer():
    out = declared(return_=back())
    for name in ("Anna", "Bo"):
        text = sheets.sheet(out, name)
        assert "Shipment SL-2026-4F7K2Q, outbound leg" in text
        assert "for 1 recipient, signed by trainer@example.org" in text
    assert "Leg home" not in sheets.sheet(declared(), "Anna")
