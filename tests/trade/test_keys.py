"""Who has answered, what holds the release, and every way in which an answer or a record is not what it says."""

from datetime import timedelta

import pytest
from blake3 import blake3
from hypothesis import given as drawn
from hypothesis import strategies as st
from keys_cases import (
    ALLOWED,
    DAY,
    HOLDERS,
    ID,
    NOW,
    RECORDER,
    STRANGER,
    challenged,
    checked,
    holder,
    identity,
    opened,
    proved,
    take,
)
from msgspec.structs import replace

from sealift.errors import BadInput, FormatError, KeyInvalid, Refused, SealiftError, SignatureInvalid
from sealift.formats import age_keys, canonical
from sealift.trade import key_sample as ks
from sealift.trade import keys


def standing(before, holders=HOLDERS, now=NOW, consignment=ID, **more):
    return keys.standing(checked(before) if before else None, consignment, holders, now, **more)


def kinds(*args, **more):
    return [(each.kind, each.where) for each in standing(*args, **more)]


def test_two_who_answered_hold_nothing():
    assert standing(proved()) == []
    before, _ = challenged()
    assert kinds(before) == [("unanswered", each.words) for each in HOLDERS]
    assert kinds(None) == [("missing", "")]


@pytest.mark.long
@drawn(st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=1, max_size=6), st.data())
def test_exactly_those_who_did_not_answer_hold_it(people, data):
    """`people`: of each key, which of three persons has it, and whether the answer comes."""
    holders = [holder(number, f"Person {who}") for number, (who, _) in enumerate(people, start=1)]
    before, sealed = challenged(holders)
    answers = opened(sealed, range(1, len(people) + 1))
    come = [answer for answer, (_, answered) in zip(answers, people, strict=True) if answered]
    come = data.draw(st.permutations(come))
    spoken = data.draw(st.lists(st.booleans(), min_size=len(come), max_size=len(come)))
    after, outcomes = take(before, *[one.code if by_phone else one for one, by_phone in zip(come, spoken, strict=True)])
    assert [each.refused for each in outcomes] == [""] * len(come)
    assert [each.challenge_id for each in outcomes] == [each.challenge_id for each in come]
    assert (after is None) == (not come)
    found = standing(after or before, holders)
    late = [each.words for each, (_, answered) in zip(holders, people, strict=True) if not answered]
    assert sorted(each.where for each in found if each.kind == "unanswered") == sorted(late)
    assert ("alone" in {each.kind for each in found}) == (len({who for who, _ in people}) < 2)
    assert {each.kind for each in found} <= {"unanswered", "alone"}


# --- answers


def refused(before, *answers, now=NOW):
    after, outcomes = take(before, *answers, now=now)
    assert after is None
    (outcome,) = outcomes
    return outcome.refused


def test_a_wrong_code_is_refused():
    before, sealed = challenged()
    answer = opened(sealed)[0]
    assert "its code is wrong" in refused(before, replace(answer, code=ks.new_code()))
    assert "the code of no sample of this record" in refused(before, ks.new_code())


def test_an_answer_counts_once():
    before, sealed = challenged()
    answers = opened(sealed)
    once, _ = take(before, answers[0])
    for again in (answers[0], answers[0].code):
        assert "it was recorded at 2026-11-26T12:00:00Z, and counts once" in refused(once, again, now=NOW + DAY)
    after, outcomes = take(before, answers[1], answers[1].code)
    assert [bool(each.refused) for each in outcomes] == [False, True]
    assert after.record.recipients[1].proof


def test_swapped_answers_are_told():
    before, sealed = challenged()
    first, second = opened(sealed)
    why = refused(before, replace(first, code=second.code))
    assert "that of another sample, the one for Person 2 (Petrel Compute)" in why
    assert "swapped" in why
    assert "it names 'Person 2'" in refused(before, replace(first, name=second.name))
    assert "it names" in refused(before, replace(first, organisation="Another"))


def test_an_answer_for_another_consignment_is_told():
    before, _ = challenged()
    _, elsewhere = challenged(consignment="SL-2026-OTHER7")
    other = opened(elsewhere)[0]
    assert "it is of another consignment, SL-2026-OTHER7" in refused(before, other)
    assert "there is no challenge" in refused(before, replace(other, consignment_id=ID))
    assert "the code of no sample" in refused(before, other.code)


def test_an_old_answer_is_refused_and_looks_no_fresher_for_being_kept_back():
    before, sealed = challenged()
    answers = opened(sealed)
    late = NOW + 30 * DAY
    after, _ = take(before, *answers, now=late)
    assert standing(after, now=late) == []
    for each in (answers[0], answers[0].code):
        assert "more than 30 days ago" in refused(before, each, now=late + DAY)
    found = standing(after, now=late + DAY)
    assert [each.kind for each in found] == ["stale", "stale"], "recorded a day ago; what it proves is a month old"
    assert "31 days ago; 30 are allowed" in found[0].reason
    assert standing(after, now=late + DAY, max_age_days=31) == []
    assert kinds(after, now=late, max_age_days=29) == [("stale", each.words) for each in HOLDERS]


def test_right_answers_are_recorded_beside_wrong_ones():
    before, sealed = challenged()
    first, second = opened(sealed)
    after, outcomes = take(before, first, replace(second, code=first.code), ks.new_code(), second.code)
    assert [bool(each.refused) for each in outcomes] == [False, True, True, False]
    assert standing(after) == []


def test_every_byte_of_an_answer_counts():
    before, sealed = challenged()
    answer = opened(sealed)[0]
    data = canonical.encode(answer)
    for at in range(len(data)):
        for flip in (1, 2, 0x20, 0x80):
            try:
                altered = ks.decode_answer(data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :])
            except FormatError:
                continue
            assert refused(before, altered), altered


# --- challenges


def test_a_second_challenge_leaves_the_first_open_and_passes_stand():
    first, sealed = challenged()
    answers = opened(sealed)
    one, _ = take(first, answers[0])
    both, again = challenged(before=one, now=NOW + DAY)
    assert [len(each.challenges) for each in both.record.recipients] == [2, 2]
    assert kinds(both, now=NOW + DAY) == [("unanswered", HOLDERS[1].words)]
    early, _ = take(both, answers[1], now=NOW + DAY)
    assert standing(early, now=NOW + DAY) == []
    later, _ = take(early, *opened(again), now=NOW + DAY)
    assert [each.proof.made_at for each in later.record.recipients] == ["2026-11-27T12:00:00Z"] * 2
    assert later.record.supersedes == keys._digest(early)


def test_old_challenges_go_and_the_newest_pass_is_kept():
    done = proved()
    much_later, _ = challenged(before=done, now=NOW + 100 * DAY)
    assert [len(each.challenges) for each in much_later.record.recipients] == [2, 2]
    assert kinds(much_later, now=NOW + 100 * DAY) == [("stale", each.words) for each in HOLDERS]
    third, _ = challenged(before=much_later, now=NOW + 200 * DAY)
    assert [each.challenges[0].passed is not None for each in third.record.recipients] == [True, True]
    assert [len(each.challenges) for each in third.record.recipients] == [2, 2]


def test_challenges_that_nobody_answers_have_an_end():
    before, _ = challenged()
    for _ in range(keys.MAX_CHALLENGES - 1):
        before, _ = challenged(before=before)
    assert len(before.record.recipients[0].challenges) == keys.MAX_CHALLENGES
    with pytest.raises(BadInput, match="32 samples"):
        challenged(before=before)
    challenged(before=before, now=NOW + 31 * DAY)


def test_other_recipients_than_before():
    done = proved()
    third = holder(3)
    after, sealed = challenged([HOLDERS[0], third], done, now=NOW + DAY)
    assert kinds(after, [HOLDERS[0], third], now=NOW + DAY) == [("unanswered", third.words)]
    assert kinds(after, now=NOW + DAY) == [("missing", HOLDERS[1].words), ("changed", third.words)]
    assert len(sealed) == 2
    renamed = holder(2, "Somebody Else")
    (problem, gone) = standing(done, [HOLDERS[0], renamed])
    assert (problem.kind, problem.reason) == (
        "changed",
        "this key was sent a sample as that of Person 2 (Petrel Compute)",
    )
    assert gone.kind == "changed"
    other_key = holder(3, "Person 2")
    assert standing(done, [HOLDERS[0], other_key])[0].reason == "was sent a sample for another key"
    assert kinds(done, [HOLDERS[0], HOLDERS[1]._replace(organisation="x")])[0][0] == "changed"


def test_another_consignment():
    assert kinds(proved(), consignment="SL-2026-OTHER7") == [("changed", "")]
    with pytest.raises(Refused, match="another consignment"):
        challenged(before=proved(), consignment="SL-2026-OTHER7")


def test_a_record_of_the_future_holds_the_release():
    done = proved()
    assert [each.kind for each in standing(done, now=NOW - 2 * DAY)] == ["stale"]
    assert standing(done, now=NOW - DAY / 2) == [], "clocks differ a little"


def test_a_record_made_by_a_clock_that_was_ahead_is_superseded_by_the_same_command_again():
    """What was made before that stays open: what was answered ahead is answered again."""
    first, sent = challenged(now=NOW - DAY)
    ahead, _ = take(first, *opened(sent), now=NOW + 20 * DAY)
    again, new = challenged(before=ahead)
    assert again.record.supersedes == blake3(ahead.data).hexdigest()
    assert [len(each.challenges) for each in again.record.recipients] == [2, 2]
    assert all(each.proof is None for each in again.record.recipients), "those passes are still to come"
    assert "samples (0) and answers (2)" in keys.set_aside(ahead.record, NOW)
    for samples in (sent, new):
        done, outcomes = take(again, *opened(samples))
        assert not any(each.refused for each in outcomes)
        assert standing(done) == []
    done, _ = take(ahead, *opened(sent))  # nobody needs a new sample
    assert standing(done) == []


def test_samples_that_a_clock_ahead_made_are_made_again_and_not_answered():
    ahead, sent = challenged(now=NOW + 2 * DAY)
    for work in (lambda: take(ahead, *opened(sent)), lambda: keys.waive(ahead, "why", by="R. Recorder", now=NOW)):
        with pytest.raises(BadInput, match="one of the clocks was wrong") as caught:
            work()
        assert "keys challenge" in caught.value.hint
    again, new = challenged(before=ahead)
    assert [len(each.challenges) for each in again.record.recipients] == [1, 1]
    assert standing(take(again, *opened(new))[0]) == []
    assert all(each.refused for each in take(again, *opened(sent))[1])


def test_a_waiver_that_is_still_to_come_is_given_again():
    one = [holder(1)]
    first, _ = challenged(one, now=NOW - DAY)
    waived = keys.waive(first, "the copy is in the safe", by="R. Recorder", now=NOW + 2 * DAY)
    ahead = keys.Before(waived, keys.encode(waived))
    assert "its waiver" in keys.set_aside(waived, NOW)
    assert challenged(one, before=ahead)[0].record.waiver is None
    assert keys.waive(ahead, "the copy is in the safe", by="R. Recorder", now=NOW).waiver is not None


@pytest.mark.parametrize(("seconds", "kept"), [(1, True), (600, True), (601, False)])
def test_two_clocks_may_differ_and_nothing_is_lost(seconds, kept):
    done = proved(now=NOW + timedelta(seconds=seconds))
    again, _ = challenged(before=done)
    assert again.record.at == (done.record.at if kept else ks.stated(NOW))
    assert all((each.proof is not None) == kept for each in again.record.recipients)
    assert bool(keys.set_aside(done.record, NOW)) != kept


@pytest.mark.parametrize(
    ("holders", "why"),
    [
        ([], "1 to 128 recipients"),
        ([holder(1), holder(1, "Person 2")], "have one key"),
        ([holder(1)] * 129, "1 to 128 recipients"),
    ],
)
def test_recipients_that_are_none(holders, why):
    with pytest.raises(BadInput, match=why) as caught:
        challenged(holders)
    assert caught.value.hint


def test_every_kind_of_key_that_pack_takes_and_no_mixture_that_it_refuses():
    ssh = age_keys.SSHIdentity(b"\7" * 32)
    hybrid = age_keys.HybridIdentity(b"\7" * 32)
    plain = [holder(1), keys.Holder.of("S", "", f"{ssh.recipient} a comment")]
    assert plain[1].recipient == str(ssh.recipient)
    _, sealed = challenged(plain)
    assert ks.unseal(sealed[1].data, [ssh]).name == "S"
    quantum = keys.Holder.of("Q", "", str(hybrid.recipient))
    _, sealed = challenged([quantum])
    assert ks.unseal(sealed[0].data, [hybrid]).name == "Q"
    with pytest.raises(KeyInvalid, match="mixed"):
        challenged([*plain, quantum])


@pytest.mark.parametrize(
    ("name", "organisation", "key", "why"),
    [
        ("", "", "age1", "a person's name"),
        ("A\nB", "", "age1", "a person's name"),
        ("A", "x\x07", "age1", "organisation"),
        ("A", "", "age1", "recipient A: "),
        ("A", "", "AGE-SECRET-KEY-1QQQ", "recipient A: an identity where a recipient belongs"),
    ],
)
def test_a_holder_with_a_wrong_field(name, organisation, key, why):
    with pytest.raises(BadInput, match=why) as caught:
        keys.Holder.of(name, organisation, key)
    assert "QQQ" not in str(caught.value)


# --- two persons


@pytest.mark.parametrize(
    ("names", "two"),
    [
        (("Anna", "Bo"), True),
        (("Anna", "anna"), False),
        (("Anna  Li", "ＡＮＮＡ Li"), False),
        (("Anna",), False),
    ],
)
def test_two_persons_are_two_names(names, two):
    holders = [holder(number, name) for number, name in enumerate(names, start=1)]
    assert keys.independent(holders) == two
    done = proved(holders, range(1, len(names) + 1))
    assert kinds(done, holders) == ([] if two else [("alone", "")])
    if two:
        with pytest.raises(BadInput, match="nothing to waive"):
            keys.waive(done, "why", by="O", now=NOW)
        return
    waived = keys.waive(done, "  the copy is\tin the safe ", by=" Olu Officer ", now=NOW)
    after = keys.Before(waived, keys.encode(waived))
    assert standing(after, holders) == []
    assert waived.waiver == keys.Waiver(
        accepted_by="Olu Officer", reason="the copy is in the safe", at="2026-11-26T12:00:00Z"
    )
    again, _ = challenged(holders, after, now=NOW + DAY)
    assert again.record.waiver == waived.waiver
    more, _ = challenged([*holders, holder(7, names[0])], after, now=NOW + DAY)
    assert more.record.waiver is None, "it was of other recipients"
    assert ("alone", "") in kinds(after, [*holders, holder(7, names[0])])


@pytest.mark.parametrize("reason", ["", "  ", "x" * 4001, "a\x07b"])
def test_a_waiver_wants_a_reason(reason):
    with pytest.raises(BadInput, match="wants a reason"):
        keys.waive(proved([holder(1)], (1,)), reason, by="O", now=NOW)


def test_a_waiver_does_not_stand_for_an_answer():
    before, _ = challenged([holder(1)])
    waived = keys.waive(before, "why", by="O", now=NOW)
    assert kinds(keys.Before(waived, keys.encode(waived)), [holder(1)]) == [("unanswered", holder(1).words)]


# --- the record and its signature


def test_every_byte_of_the_record_and_of_its_signature_counts():
    done = proved([holder(1), holder(2, "李 明")])
    signature = RECORDER.sign(done.data, keys.NAMESPACE)
    keys.check_record(done.data, signature, ALLOWED)
    for at in range(len(done.data)):
        with pytest.raises((FormatError, SignatureInvalid)):
            keys.check_record(done.data[:at] + bytes([done.data[at] ^ 1]) + done.data[at + 1 :], signature, ALLOWED)
    for at in range(len(signature)):
        with pytest.raises(SignatureInvalid):
            keys.check_record(done.data, signature[:at] + bytes([signature[at] ^ 1]) + signature[at + 1 :], ALLOWED)


def test_only_an_allowed_signer_in_this_namespace():
    done = proved()
    with pytest.raises(SignatureInvalid):
        checked(done, who=STRANGER)
    for namespace in ("sealift", "sealift-release", "sealift-prove", "sealift-receipt"):
        with pytest.raises(SignatureInvalid):
            keys.check_record(done.data, RECORDER.sign(done.data, namespace), ALLOWED)


def _first(**changes):
    return lambda record: replace(record, recipients=(replace(record.recipients[0], **changes), *record.recipients[1:]))


def _challenge(**changes):
    return lambda record: _first(challenges=(replace(record.recipients[0].challenges[0], **changes),))(record)


LATER, SOONER = "2026-11-27T12:00:00Z", "2026-11-25T12:00:00Z"
WAIVER = keys.Waiver(accepted_by="O", reason="why", at="2026-11-26T12:00:00Z")


@pytest.mark.parametrize(
    "change",
    [
        _first(recipient="age1qqq"),
        _first(recipient=str(age_keys.SSHIdentity(b"\7" * 32).recipient) + " comment"),
        _first(recipient=HOLDERS[1].recipient),
        _first(name=" spaced"),
        _first(name="bell\x07"),
        _first(challenges=()),
        _challenge(made_at=LATER),
        _challenge(made_at="2026-02-30T12:00:00Z"),
        _challenge(passed=keys.Pass(at=SOONER, by="R")),
        _challenge(passed=keys.Pass(at=LATER, by="R")),
        _challenge(passed=keys.Pass(at="2026-11-26T12:00:00Z", by="R ")),
        lambda record: replace(record, recipients=(*record.recipients, record.recipients[0])),
        lambda record: _challenge(challenge_id=record.recipients[1].challenges[0].challenge_id)(record),
        lambda record: replace(record, waiver=WAIVER),
        lambda record: replace(record, recipients=record.recipients[:1], waiver=replace(WAIVER, at=LATER)),
        lambda record: replace(record, at=SOONER),
        lambda record: replace(record, by="x\u202ey"),
        lambda record: replace(record, recipients=()),
        lambda record: replace(record, consignment_id=".."),
        lambda record: replace(record, supersedes="00"),
    ],
)
def test_a_record_that_contradicts_itself_is_none(change):
    record = challenged()[0].record
    with pytest.raises(FormatError):
        keys.encode(change(record))


def test_challenges_are_in_the_order_of_their_making():
    first, _ = challenged()
    both, _ = challenged(before=first, now=NOW + DAY)
    turned = _first(challenges=both.record.recipients[0].challenges[::-1])(both.record)
    with pytest.raises(FormatError, match="in no possible order"):
        keys.encode(turned)


def test_the_longest_record_fits():
    hybrid = str(age_keys.HybridIdentity(b"\7" * 32).recipient)
    challenges = [
        keys.Challenge(challenge_id=f"KC-20261126-{i:012X}", made_at=LATER, code_blake3="0" * 64,
                       passed=keys.Pass(at=LATER, by="長" * 500))
        for i in range(keys.MAX_CHALLENGES)
    ]  # fmt: skip
    one = keys.Recipient(name="長" * 500, organisation="長" * 500, recipient=hybrid, challenges=tuple(challenges))
    record = replace(proved().record, recipients=(one,) * 128)
    assert len(canonical.encode(record)) < 3 * keys.MAX_RECORD, "only names of 500 Chinese characters each reach it"
    short = replace(one, challenges=tuple(replace(c, passed=keys.Pass(at=LATER, by="B" * 50)) for c in challenges))
    assert len(canonical.encode(replace(record, recipients=(short,) * 42))) < keys.MAX_RECORD
    with pytest.raises(SealiftError, match="at most"):
        keys.decode(bytes(keys.MAX_RECORD + 1))


def test_files_are_named_after_people_and_stay_names():
    for name, file in (
        ("../../etc/passwd", "etc-passwd"),
        ("李 明", "李-明"),
        ("...", "recipient"),
        ("a" * 99, "a" * 40),
    ):
        _, sealed = challenged([holder(1, name)])
        assert sealed[0].file == f"{file}.{sealed[0].challenge_id}.sample.age"
    assert identity(1)
