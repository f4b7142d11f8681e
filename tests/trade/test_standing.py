"""A release whose signatures hold, and that does not stand: everybody who acts on it says so, or does not act."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import clearance
import papers as readers
import pytest
import screening_cases as cases
import screening_lists as lists
from click.testing import CliRunner
from msgspec.structs import replace
from trade_cases import AUTHOR, OFFICER, STRANGER, content, party

from sealift.cli.declare import declare
from sealift.cli.documents import documents
from sealift.errors import Refused
from sealift.formats import canonical
from sealift.formats.allowed_signers import AllowedSigners
from sealift.stages import documents as papers_stage
from sealift.stages import release as gate_stage
from sealift.stages import screen, standing
from sealift.stages.pack import inputs
from sealift.trade import declaration as d
from sealift.trade import release as releases
from sealift.trade import screening, screening_past, sections, sheets, signing, template
from sealift.trade.standing import later

NOW = datetime.now(UTC)
HIT = "id,name\n1,Zyxomma Qwrtplk\n2,Consignee Bhd\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder as `declare`, `screen`, `keys` and `release` leave it."""
    folder = tmp_path_factory.mktemp("released")
    names = 'namespaces="sealift-screening,sealift-keys,sealift-declaration"'
    (folder / "allowed").write_text(
        f'boss@example.com namespaces="sealift-release" {OFFICER.public_key.line}\n'
        f"author@example.com {names} {AUTHOR.public_key.line}\n"
        f'second@example.com namespaces="sealift-screening" {STRANGER.public_key.line}\n'
    )
    file = folder / "d.toml"
    file.write_bytes(template.render(content(status_as_of=NOW.date().isoformat())).encode())
    clearance.clear(file, AUTHOR)
    release(file)
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    copy = tmp_path / "released"
    shutil.copytree(made, copy)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("SEALIFT_ALLOWED_SIGNERS", "allowed")
    return copy


def allowed(folder):
    return AllowedSigners.parse((folder / "allowed").read_bytes())


def release(file):
    """As people do it, at an open gate."""
    (file.parent / f"{file.name}.sig").write_bytes(AUTHOR.sign(file.read_bytes(), releases.AUTHOR_NAMESPACE))
    signers = allowed(file.parent)
    asked = gate_stage.ask(str(file), signers, lists=[str(file.with_name("nobody.toml"))])
    return gate_stage.release(str(file), asked, OFFICER, signers, officer="O. Fficer", reason="r", reference="x")


def asked(folder, file="d.toml", *, who=True, now=None):
    parsed = d.parse((folder / file).read_bytes(), draft=False)
    record = releases.decode((folder / releases.path_beside(file)).read_bytes())
    principal = "boss@example.com" if who else None
    signers = allowed(folder) if who else None
    return standing.standing(file, parsed, record, signers, now or datetime.now(UTC), principal=principal)


def by_hand(folder, declaration=None, **changes):
    """A release that author and officer signed, and no gate."""
    parsed = d.parse((folder / "d.toml").read_bytes(), draft=False)
    record = releases.decode((folder / "d.release.json").read_bytes())
    if declaration is not None:
        (folder / "d.toml").write_bytes(template.render(declaration).encode())
        parsed = d.parse((folder / "d.toml").read_bytes(), draft=False)
        signature = AUTHOR.sign(parsed.raw, releases.AUTHOR_NAMESPACE).decode()
        bound = releases.DeclarationBytes(bytes=len(parsed.raw), blake3=parsed.digest)
        record = replace(record, declaration=bound, author_signature=signature)
    data = canonical.encode(replace(record, **changes))
    (folder / "d.release.json").write_bytes(data)
    (folder / "d.release.json.sig").write_bytes(OFFICER.sign(data, releases.NAMESPACE))
    releases.check_release(parsed, data, (folder / "d.release.json.sig").read_bytes(), allowed(folder))


def papers(to):
    """`sealift documents` in the folder: its answer."""
    done = CliRunner().invoke(documents, ["d.toml", "--to", to, "--json"], catch_exceptions=False)
    return json.loads(done.stdout)


def sheet():
    done = CliRunner().invoke(declare, ["--sheet", "Anna", "d.toml", "--allowed-signers", "allowed"])
    assert done.exit_code == 0, done.output
    return done


def screened_again(folder, at=None):
    """A screening beside the release, against a list on which the consignee is."""
    (folder / "nobody.csv").write_text(HIT)
    now = at or datetime.now(UTC) + timedelta(seconds=5)
    lists = screen.load_lists(["nobody.toml"], fetched=datetime.now(UTC))
    return screen.screen("d.toml", lists, AUTHOR, by="Sam Screener", now=now)


def test_what_the_gate_let_go_stands_for_everybody(folder):
    assert asked(folder) == asked(folder, who=False) == standing.Standing()
    assert sheets.DRAFT not in sheet().stdout


def test_a_later_screening_that_nobody_has_decided_takes_it_down_until_somebody_has(folder):
    screened_again(folder)
    (text,) = why = asked(folder).why
    assert "consignee may be 'Consignee Bhd'" in text
    assert text.endswith("nobody has decided")
    assert asked(folder, who=False).why == why
    answer = papers("out")
    assert (answer["released"], answer["against"]) == (False, list(why))
    shown = sheet()
    assert sheets.DRAFT in shown.stdout
    assert all(each in shown.stderr for each in why)
    # kept under a number it counts as much
    for end in ("", ".sig"):
        (folder / f"d.screening.json{end}").rename(folder / f"d.screening.2.json{end}")
        (folder / f"d.screening.1.json{end}").rename(folder / f"d.screening.json{end}")
    assert asked(folder).why == why
    # signed by whoever it may be
    (folder / "d.screening.2.json.sig").unlink()
    assert asked(folder).why == why


def decide(record, what):
    decision = screening.Decision(
        disposition=what, rationale="other address", differentiators=(), by="Sam Screener", at=record.at,
        carried_from=None,
    )  # fmt: skip
    parties = tuple(
        replace(each, hits=hits, disposition=screening.disposition(hits))
        for each in record.parties
        for hits in [tuple(replace(hit, decision=decision) for hit in each.hits)]
    )
    return replace(record, parties=parties, second_reviewer="Rita Second")


def test_a_decision_counts_when_a_second_person_signed_it_and_a_true_match_for_good(folder):
    record = screened_again(folder).record
    digest = signing.read_limited("d.screening.json", 1 << 20, "x")
    follows = screening.Supersedes(screening_id=record.screening_id, blake3=d.digest(digest))
    decided = canonical.encode(replace(decide(record, "false_positive"), supersedes=follows))
    signing.write_pair("d.screening.json", decided, AUTHOR.sign(decided, screening.NAMESPACE))
    (why,) = asked(folder).why
    assert "want the signature of Rita Second" in why
    (folder / "d.screening.json.second.sig").write_bytes(STRANGER.sign(decided, screening.NAMESPACE))
    assert asked(folder).why == ()
    # who leaves the list out has not decided about who is on it
    fewer = replace(record, supersedes=follows, lists=(replace(record.lists[0], name="other.csv"),), parties=tuple(
        replace(each, hits=(), disposition="no_hit") for each in record.parties))  # fmt: skip
    data = canonical.encode(fewer)
    (folder / "d.screening.json").write_bytes(data)
    assert "nobody has decided" in str(asked(folder).why)
    true = canonical.encode(decide(record, "true_match"))
    (folder / "d.screening.2.json").write_bytes(true)
    follows = replace(follows, blake3=d.digest(true))
    (folder / "d.screening.json").write_bytes(canonical.encode(replace(fewer, supersedes=follows, lists=record.lists)))
    (folder / "d.screening.1.json").unlink()
    assert "is 'Consignee Bhd'" in str(asked(folder).why)


EMBARGOED = content(status_as_of=NOW.date().isoformat(), consignee=party("Consignee Bhd", "IR", "SG"))


@pytest.mark.long
@pytest.mark.parametrize(
    ("declaration", "changes", "why"),
    [
        (EMBARGOED, {}, "it was released while rule embargoed-country held: consignee.country is IR"),
        (None, {"released_at": "2025-01-01T00:00:00Z"}, "it was released while rule status-recent held"),
        (None, {"released_at": "2028-01-01T00:00:00Z"}, "2028-01-01T00:00:00Z, which is still to come"),
        (
            None,
            {"screening": releases.Evidence(bytes=9, blake3="0" * 64)},
            "screening that the release binds (BLAKE3 0",
        ),
        (None, {"screening": None}, "it binds no record of screening, and its rules want one"),
        (None, {"keys": None}, "it binds no record of keys, and its rules want one"),
        (None, {"resolved": ["flag-cloud"]}, "it names other rules as opened by a person"),
    ],
)
def test_what_no_gate_let_go_does_not_stand(folder, declaration, changes, why):
    by_hand(folder, declaration, **changes)
    assert why in str(asked(folder).why)
    assert why in sheet().stderr
    parsed = d.parse((folder / "d.toml").read_bytes(), draft=False)
    record = releases.decode((folder / "d.release.json").read_bytes())
    with pytest.raises(Refused, match="does not stand"):
        standing.check_standing("d.toml", parsed, record, allowed(folder), NOW)
    if declaration is not None:
        answer = papers("out")
        assert not answer["released"]
        readers.need_readers()
        for each in (folder / "out").glob("*.pdf"):
            for page in readers.text(str(each)):
                assert sheets.DRAFT in page
                assert "The release does not stand: page 1 says why." in page
                assert "Released by O. Fficer" not in page
        assert why in str(answer["against"])


def test_an_unknown_flag_and_rules_that_are_not_there(folder):
    text = content(status_as_of=NOW.date().isoformat())
    answers = [replace(each, answer="unknown") if each.question == "flag-cloud" else each for each in text.answers]
    by_hand(folder, replace(text, answers=answers))
    assert "rule flag-cloud held: the answer is unknown" in str(asked(folder).why)
    ours = releases.decode((folder / "d.release.json").read_bytes()).rules
    by_hand(folder, replace(text), rules=replace(ours, blake3="1" * 64))
    assert "the rules by which it was released (BLAKE3 1" in str(asked(folder).why)


def test_a_reader_with_declaration_and_release_alone_is_told_what_nobody_looked_at(folder, tmp_path):
    for name in ("d.toml", "d.release.json"):
        shutil.copy(folder / name, tmp_path / name)
    parsed = d.parse((tmp_path / "d.toml").read_bytes(), draft=False)
    record = releases.decode((tmp_path / "d.release.json").read_bytes())
    found = standing.standing(str(tmp_path / "d.toml"), parsed, record, allowed(folder), datetime.now(UTC))
    assert found.against == ()
    assert [text.split(" that")[0] for text in found.unlooked] == ["the screening", "the record of keys"]


def test_a_copy_of_what_was_superseded_does_not_stand(folder):
    for end in ("toml", "release.json", "release.json.sig", "screening.json", "screening.json.sig", "keys.json"):
        shutil.copy(folder / f"d.{end}", folder / f"copy.{end}")
    shutil.copy(folder / "d.keys.json.sig", folder / "copy.keys.json.sig")
    rules_file = next(folder.glob("d.rules-*.toml"))
    shutil.copy(rules_file, folder / rules_file.name.replace("d.", "copy.", 1))
    assert asked(folder, "copy.toml").why == ()
    gate_stage.revise("d.toml")
    release(folder / "d.toml")
    (found,) = asked(folder, "copy.toml").against
    assert "it is superseded: revision 2 was released at " in found.text
    assert found.since is not None
    assert asked(folder).why == ()


def test_nothing_is_packed_under_what_does_not_stand(folder):
    options = SimpleNamespace(declaration="d.toml", allowed_signers=None)
    parsed = d.parse((folder / "d.toml").read_bytes(), draft=False)
    standing.check_beside("d.toml", parsed, None)
    screened_again(folder)
    with pytest.raises(Refused, match="nobody has decided"):
        inputs.settle_leg(options)
    (folder / "d.toml").write_bytes(parsed.raw + b"#\n")  # a draft of what is to be released yet
    standing.check_beside("d.toml", d.parse(parsed.raw + b"#\n", draft=True), None)


# --- what takes a hit away -------------------------------------------------------------------------------

FREE = cases.screened(lists=[cases.csl(lists.PEOPLE[:1])])
HOUR = timedelta(hours=1)
OTHER = cases.declared(consignee=party("Other Bhd"))


def after(*records, of=None, signed=True, reviewed=True, bound=FREE, hours=9):
    """What records say of a release at NOW + 1 h that binds `bound`; of each (record, signed, reviewed) or a record."""
    rows = [each if isinstance(each, tuple) else (each, signed, reviewed) for each in (bound, *records)]
    here = [screening_past.Screened(one, d.digest(canonical.encode(one)), *how) for one, *how in rows]
    now = cases.NOW + hours * HOUR
    return later(of or cases.like(), bound, here[0].digest, cases.NOW + HOUR, here, now)


def follow(record, declaration=None, hours=2.0, **more):
    now = cases.NOW + hours * HOUR
    return cases.screened(declaration, before=cases.encoded(record), now=now, **more)


HIT_BY = follow(FREE)


def test_a_draft_that_does_not_name_the_party_takes_no_hit_away():
    draft = follow(HIT_BY, OTHER, 3)
    assert draft.hits == 0
    (found,) = after(HIT_BY, draft)
    assert found.text.startswith(f"the screening of {HIT_BY.at}, which is later: consignee may be 'Velmarin Shipping")
    assert after(HIT_BY) == [found]
    assert after(HIT_BY, draft, follow(draft, OTHER, 4), of=OTHER) == [], "the revision that replaces it"
    here = follow(HIT_BY, cases.like(consignee=party("Other Bhd"), end_user=cases.LIKE), 3)
    assert after(HIT_BY, here)[0].text.partition(": ")[2].startswith("end_user may be"), "found again in another place"


def test_a_hit_on_whom_only_a_draft_names_holds_nothing():
    none = cases.screened(OTHER, lists=[cases.csl(lists.PEOPLE[:1])])
    assert after(follow(none, cases.like()), of=OTHER, bound=none) == []
    assert after(follow(none, cases.like()), bound=none) != []


@pytest.mark.parametrize(
    ("signed", "reviewed", "stands"),
    [(True, True, True), (True, False, False), (False, False, False)],
    ids=["two", "one", "nobody"],
)
def test_a_decision_counts_by_who_signed_it(signed, reviewed, stands):
    decided = cases.disposed(HIT_BY, now=cases.NOW + 3 * HOUR)
    found = after(HIT_BY, (decided, signed, reviewed))
    assert (found == []) is stands
    if not stands:
        assert found[0].since == cases.NOW + 2 * HOUR, "since it was found first"
    nothing = follow(decided, None, 4, lists=[cases.csl(lists.PEOPLE[:1])])
    assert (after(HIT_BY, (decided, signed, reviewed), (nothing, False, False)) == []) is stands
    laundered = replace(HIT_BY, parties=tuple(
        replace(each, query_as_typed=(*each.query_as_typed, "Zed")) for each in HIT_BY.parties))  # fmt: skip
    away = replace(laundered, parties=tuple(replace(each, query_as_typed=("Zed",)) for each in laundered.parties))
    assert after(HIT_BY, laundered, away) != [], "by names that were put in between"


def test_screenings_count_in_the_order_in_which_they_supersede_each_other_whatever_their_clocks_said():
    for hours in (-30.0, -1.0, 0.5, 2.0):
        slow = follow(FREE, hours=hours)
        (found,) = after(slow)
        behind = hours < 0
        assert (found.vague, "whatever its clock said" in found.text) == (behind, behind)
        assert found.since == cases.NOW + max(hours, 0) * HOUR
        true = cases.disposed(slow, cases.filled(slow, disposition="true_match"), now=cases.NOW - 40 * HOUR)
        assert "as S. Screener decided" in after(slow, true)[0].text
        decided = cases.disposed(slow, now=cases.NOW - 40 * HOUR)
        assert after(slow, decided) == after(decided, slow) == []
        reopened = follow(decided, hours=-45, carry=False)
        assert after(slow, decided, reopened) != [], "the clock orders nothing here"
    fast = follow(FREE, hours=20)
    assert after(fast)[0].since == cases.NOW + 9 * HOUR, "it is here already"
    alone = cases.screened(now=cases.NOW - HOUR)  # not chained: by its clock it was before
    assert "a later one does not have it" in after(alone)[0].text
    assert after(alone, bound=cases.disposed(HIT_BY, now=cases.NOW)) == []


@pytest.mark.parametrize("who", ["unsigned", "stranger", "author"])
def test_what_takes_a_hit_away_is_signed_by_who_may(folder, who):
    record = screened_again(folder).record
    data = signing.read_limited("d.screening.json", 1 << 20, "x")
    follows = screening.Supersedes(screening_id=record.screening_id, blake3=d.digest(data))
    decided = canonical.encode(replace(decide(record, "false_positive"), supersedes=follows))
    signing.write_pair("d.screening.json", decided, AUTHOR.sign(decided, screening.NAMESPACE))
    second = folder / "d.screening.json.second.sig"
    second.write_bytes(STRANGER.sign(decided, screening.NAMESPACE))
    assert asked(folder).why == asked(folder, who=False).why == ()
    if who == "unsigned":
        (folder / "d.screening.json.sig").unlink()
        assert asked(folder, who=False).why
    elif who == "stranger":
        (folder / "d.screening.json.sig").write_bytes(OFFICER.sign(decided, screening.NAMESPACE))
    else:
        (folder / "d.screening.json.sig").write_bytes(STRANGER.sign(decided, screening.NAMESPACE))
        second.write_bytes(AUTHOR.sign(decided, screening.NAMESPACE))
    (why,) = asked(folder).why
    assert "consignee may be 'Consignee Bhd'" in why or who == "author"
    assert sheets.DRAFT in sheet().stdout


def test_a_screening_whose_clock_is_behind_is_taken_and_told(folder):
    (folder / "nobody.csv").write_text(HIT)
    lists = screen.load_lists(["nobody.toml"], fetched=NOW - 5 * HOUR)
    made = screen.screen("d.toml", lists, AUTHOR, by="Sam Screener", now=NOW - 5 * HOUR)
    assert any("one of the clocks was wrong" in note for note in made.notes)
    assert "whatever its clock said: consignee may be" in str(asked(folder).why)


# --- what has ended or become old since ------------------------------------------------------------------


@pytest.mark.long
def test_no_drive_leaves_by_an_authorisation_that_has_ended_and_papers_say_so(folder):
    today = NOW.date().isoformat()
    licence = sections.Authorisation(authority="BIS", number="D1", expiry=today, covers=["export-licence"])
    longer = replace(licence, number="D2", expiry=(NOW.date() + timedelta(days=9)).isoformat(), covers=["flag-cloud"])
    text = content(status_as_of=today, authorisations=[licence, longer])
    answers = [replace(each, answer="yes") if each.question == "export-licence" else each for each in text.answers]
    (folder / "d.toml").write_bytes(template.render(replace(text, answers=answers)).encode())
    for each in folder.glob("d.r*"):
        each.unlink()
    screen.screen("d.toml", screen.load_lists(["nobody.toml"], fetched=NOW), AUTHOR, by="Sam Screener")
    release(folder / "d.toml")
    end = datetime(NOW.year, NOW.month, NOW.day, tzinfo=UTC) + timedelta(days=1, hours=12)
    assert asked(folder, now=end - timedelta(seconds=1)).ended == ()
    found = asked(folder, now=end)
    assert (found.why, [each.since for each in found.ended]) == ((), [end])
    assert found.ended[0].text == f"BIS, D1, which opened export-licence, ended on {today}"
    standing.check_leaving("d.toml", asked(folder))
    with pytest.raises(Refused, match="no drive leaves the origin any more:\n  BIS, D1"):
        standing.check_leaving("d.toml", found)
    parsed = d.parse((folder / "d.toml").read_bytes(), draft=False)
    raw, signature = ((folder / f"d.release.json{each}").read_bytes() for each in ("", ".sig"))
    held = releases.check_release(parsed, raw, signature, allowed(folder))
    for now, why in ((NOW, ()), (end, (found.ended[0].text,))):
        sources = papers_stage.Sources(declaration_file="d.toml", declaration=parsed, release=held, now=now,
                                       allowed=allowed(folder))  # fmt: skip
        made = papers_stage.documents(sources, f"papers-{now.day}")
        assert [each.partition(", and that all drives")[0] for each in made.frame.against] == list(why)


def test_lists_and_proofs_that_have_become_old_since_are_told_and_hold_nothing(folder):
    assert asked(folder).aged == ()
    keys, lists = asked(folder, now=NOW + timedelta(days=40)).aged
    assert "screened has become older than the rules allow for a release: nobody.csv fetched" in lists
    assert "proofs of keys have become older" in keys
    found = asked(folder, now=NOW + timedelta(days=9))
    assert (found.against, found.ended, len(found.aged)) == ((), (), 1)
