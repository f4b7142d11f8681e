"""What an earlier screening found is got rid of by deciding, and by nothing else."""

import json
import os
import shutil
from datetime import UTC, datetime, timedelta

import clearance
import papers as readers
import pytest
import screening_lists as made
from click.testing import CliRunner
from msgspec.structs import replace
from screening_cases import DAY, LIKE, NOW, csl, disposed, encoded, filled, like, screened
from trade_cases import AUTHOR, OFFICER, STRANGER, content, party

from sealift.cli.documents import documents
from sealift.cli.release import release
from sealift.cli.screen import screen as screen_command
from sealift.errors import BadInput
from sealift.formats import canonical
from sealift.formats.allowed_signers import AllowedSigners
from sealift.stages import release as gate_stage
from sealift.stages import screen, standing
from sealift.trade import declaration as d
from sealift.trade import lists, screening, screening_past, template
from sealift.trade import release as releases

LISTED = "2,Consignee Bhd\n"


def past(*records, signed=True, reviewed=True):
    """Records in their order, as screening_past takes them; of one reviewed or not all are."""
    return [screening_past.Screened(one, d.digest(canonical.encode(one)), signed, reviewed) for one in records]


def again(*records, declaration=None, people=made.PEOPLE[:1], reviewed=True, **more):
    """Screened once more after `records`, against a list that lacks what was hit."""
    return screened(declaration, [csl(people)], before=encoded(records[-1]), now=NOW + DAY / 2,
                    remembered=screening_past.remembered(past(*records, reviewed=reviewed)), **more)  # fmt: skip


def hits(record):
    return {(each.party_ref, hit.entry_id): hit for each in record.parties for hit in each.hits}


OPEN = screened()
SAME = list(hits(OPEN))
BOTH = {"consignee", "consignee.ultimate_parent"}


# --- hits that stay --------------------------------------------------------------------------------------


def test_an_undecided_hit_stays_though_the_list_has_lost_its_entry():
    second = again(OPEN)
    assert list(hits(second)) == SAME
    assert second.open_hits == 2
    before = OPEN.lists[0].sha256[:16]
    for key, hit in hits(second).items():
        assert hit.why.startswith(
            f"found before, on csl.csv of SHA-256 {before} ({OPEN.screening_id}), and not decided"
        )
        assert "not on the list that was given now; the whole name is alike by 0.9" in hit.why
        old = hits(OPEN)[key]
        assert (hit.entry_blake3, hit.score, hit.features) == (old.entry_blake3, old.score, old.features)
    third = again(OPEN, second)
    assert {hit.why for hit in hits(third).values()} == {hit.why for hit in hits(second).values()}, "said once"
    assert hits(again(OPEN, second, third, people=made.PEOPLE)) == hits(OPEN), "found again it is as it was"


def test_it_is_decided_like_any_other_and_then_gone():
    second = again(OPEN)
    decided = disposed(second, filled(second, rationale="delisted on 2026-11-20, by its publisher"))
    assert decided.open_hits == 0
    assert decided.wants_second
    assert hits(again(OPEN, second, decided)) == {}
    alone = again(OPEN, second, decided, reviewed=False)
    assert list(hits(alone)) == SAME, "what one person decided alone is not decided"
    assert alone.open_hits == 0
    assert alone.wants_second


@pytest.mark.parametrize(
    ("changes", "refs"),
    [
        ({"consignee": replace(LIKE, country="MY")}, BOTH),
        ({"consignee": replace(LIKE, native_name="公司")}, BOTH),
        ({"consignee": replace(LIKE, legal_name="VELMARIN Shipping-Line Ltd")}, BOTH),
        ({"consignee": party("Other Bhd"), "end_user": LIKE}, {"end_user", "end_user.ultimate_parent"}),
        ({"consignee": party("Other Bhd")}, set()),
    ],
)  # fmt: skip
def test_another_country_spelling_or_place_of_the_party_takes_no_hit_away(changes, refs):
    found = again(OPEN, declaration=like(**changes))
    assert {each for each, _ in hits(found)} == refs
    assert found.open_hits == len(refs)


def test_rows_that_moved_are_not_taken_for_each_other():
    """A list without ids numbers its rows: the next entry gets the number of the one that was taken out."""
    gone, stays = OPEN.parties[2].hits[0], OPEN.parties[3].hits[0]
    other = replace(stays, name="Velmarin Ship", entry_names=(), entry_blake3="1" * 64)
    assert screening_past.alike(gone, replace(gone, entry_id="id101", entry_blake3="2" * 64)), "it moved"
    assert not screening_past.alike(gone, other)
    assert screening_past.alike(gone, replace(gone, entry_blake3="2" * 64, entry_countries=("SY",))), (
        "its facts changed"
    )
    assert not screening_past.alike(gone, replace(gone, list="other.csv"))
    twin = replace(gone, entry_id="id9", entry_blake3="3" * 64, entry_birth_dates=("1970",))
    assert not screening_past.alike(gone, twin), "another one of the same name"
    people = [made.One("102", ("Velmarin Shiping Liner",), "organisation", "IR")]
    found = again(OPEN, people=people)
    own = [hit.entry_id for each in found.parties if each.party_ref == "consignee" for hit in each.hits]
    assert sorted(own) == ["id102", f"id102 ({OPEN.screening_id})"]
    disposed(found)
    assert len(hits(again(OPEN, found))) == 4


def test_a_true_match_stays_with_its_decision_and_hides_behind_no_change_of_country():
    true = disposed(OPEN, filled(OPEN, disposition="true_match"))
    found = again(OPEN, true)
    assert {hit.decision.disposition for hit in hits(found).values()} == {"true_match"}
    lost = replace(found, parties=tuple(replace(each, hits=(), disposition="no_hit") for each in found.parties))
    assert len(list(screening_past.found(past(OPEN, true, lost)))) == 2
    moved = screened(like(consignee=replace(LIKE, country="MY")), [csl(made.PEOPLE[:1])])
    assert [each.party.party_ref for each in screening_past.found(past(true, moved))] == [
        "consignee", "consignee.ultimate_parent",
    ]  # fmt: skip


def test_many_hits_are_remembered_in_no_time():
    people = [made.One(str(number), (f"Velmarin Shiping Line {number:05}",), "organisation") for number in range(4000)]
    many = screened(lists=[csl(people)])
    start = datetime.now(UTC)
    assert len(screening_past.remembered(past(many, many))) == many.hits == 8000
    assert datetime.now(UTC) - start < timedelta(seconds=5)


# --- lists of another name -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("list-1126.csv", "list.csv"), ("list-20261126.csv", "list.csv"), ("list_2026-11-26.csv", "list.csv"),
        ("2026-11-26-sdn.csv", "sdn.csv"), ("csl 26.11.2026.json", "csl.json"),
        ("csl20261126T101500Z.json", "csl.json"),
        ("un.2026-11.xml", "un.xml"), ("eu-261126_1015.xml", "eu.xml"), ("list.csv", "list.csv"),
        ("un-1267.csv", "un-1267.csv"), ("20261126.csv", "20261126.csv"), ("list-2.csv", "list-2.csv"),
        ("", ""), ("1126", "1126"), ("list-99999999.csv", "list-99999999.csv"),
    ],
)  # fmt: skip
def test_a_list_is_known_without_the_day_in_its_name(name, without):
    assert lists.stable(name) == without


def files(*names, kind="csv"):
    return [lists.Given(name, name.encode(), NOW).described(kind, 1) for name in names]


@pytest.mark.parametrize(
    ("before", "now", "left"),
    [
        (["list.csv"], ["list-1126.csv"], []),
        (["list-1119.csv"], ["list-1126.csv"], []),
        (["list.csv"], ["other.csv"], ["list.csv"]),
        (["un-1101.csv", "un-1102.csv"], ["un-1101.csv"], ["un-1102.csv"]),
        (["un-1101.csv", "un-1102.csv"], ["un-1103.csv"], ["un-1102.csv"]),
        (["list.csv"], [], ["list.csv"]),
    ],
)
def test_each_list_stands_for_one_that_is_called_so(before, now, left):
    assert [file.name for file in lists.left_out(files(*before), files(*now))] == left


def test_another_format_or_other_bytes_are_another_list():
    assert lists.left_out(files("list.csv"), files("list-1126.csv", kind="un")) == files("list.csv")
    same = [replace(file, name="of-the-week") for file in files("list.csv")]
    assert lists.left_out(files("list.csv"), same) == []


# --- the gate --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cleared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cleared")
    names = 'namespaces="sealift-screening,sealift-keys,sealift-declaration"'
    (folder / "allowed").write_text(
        f'boss@example.com namespaces="sealift-release" {OFFICER.public_key.line}\n'
        f"author@example.com {names} {AUTHOR.public_key.line}\n"
        f'second@example.com namespaces="sealift-screening" {STRANGER.public_key.line}\n'
    )
    file = folder / "d.toml"
    file.write_bytes(template.render(content(status_as_of=datetime.now(UTC).date().isoformat())).encode())
    clearance.clear(file, AUTHOR)
    (folder / "d.toml.sig").write_bytes(AUTHOR.sign(file.read_bytes(), releases.AUTHOR_NAMESPACE))
    return folder


@pytest.fixture
def folder(cleared, tmp_path, monkeypatch):
    copy = tmp_path / "cleared"
    shutil.copytree(cleared, copy)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("SEALIFT_ALLOWED_SIGNERS", "allowed")
    return copy


def screen_again(folder, rows="", **more):
    (folder / "nobody.csv").write_text(clearance.NOBODY + rows)
    lists = screen.load_lists(["nobody.toml"], fetched=datetime.now(UTC))
    return screen.screen("d.toml", lists, AUTHOR, by="Sam Screener", **more)


def decide(folder, what="false_positive", *, second=True):
    sheet = folder / "d.screening.toml"
    text = sheet.read_text().replace('disposition = "potential"', f'disposition = "{what}"')
    text = text.replace('rationale = ""', 'rationale = "delisted"').replace(
        'second_reviewer = ""', 'second_reviewer = "R. S."'
    )
    if what == "false_positive":
        text = text.replace("differentiators = []", 'differentiators = ["by its publisher"]')
    sheet.write_text(text)
    screen.dispose("d.toml", str(sheet), AUTHOR, by="Sam Screener")
    if second:
        signers = AllowedSigners.parse((folder / "allowed").read_bytes())
        screen.second("d.toml", STRANGER, by="R. S.", allowed=signers)


def held(code=5, file="d.toml"):
    done = CliRunner().invoke(release, ["--check", file, "--list", "nobody.toml", "--json"], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return {row["rule"]: row["why"] for row in json.loads(done.stdout)["rows"] if row["state"] == "held"}


def test_the_gate_is_not_opened_by_a_shorter_list(folder):
    assert held(code=0) == {}
    screen_again(folder, LISTED)
    assert "nobody has decided" in held()["screening"]
    found = screen_again(folder)
    assert found.record.open_hits == 3
    assert list(held()) == ["screening"]
    assert "consignee: may be 'Consignee Bhd' (nobody.csv, 2): nobody has decided" in held()["screening"]
    decide(folder, second=False)
    assert "want the signature of R. S." in held()["screening"]
    alone = screen_again(folder)
    assert alone.record.wants_second, "the next screening asks for the second person too"
    assert "want the signature of R. S." in held()["screening"]
    signers = AllowedSigners.parse((folder / "allowed").read_bytes())
    screen.second("d.toml", STRANGER, by="R. S.", allowed=signers)
    assert held(code=0) == {}
    assert screen_again(folder).record.hits == 0
    assert held(code=0) == {}


def listed_as(folder, file, name=""):
    """The list in another file, as its user calls it."""
    (folder / "nobody.csv").rename(folder / file)
    text = (folder / "nobody.toml").read_text().replace("nobody.csv", file)
    (folder / "nobody.toml").write_text(text.replace("format =", f'name = "{name}"\nformat =') if name else text)
    found = screen.load_lists(["nobody.toml"], fetched=datetime.now(UTC))
    assert found[0].name == (name or file)
    return screen.screen("d.toml", found, AUTHOR, by="Sam Screener")


def test_a_list_whose_file_is_named_by_the_day_goes_on(folder):
    screen_again(folder, LISTED)
    decide(folder)
    assert held(code=0) == {}
    found = listed_as(folder, "nobody-1126.csv")
    assert found.record.open_hits == 0, "what was decided stays so"
    assert [note for note in found.notes if "nobody" in note] == []
    screen.second("d.toml", STRANGER, by="R. S.", allowed=AllowedSigners.parse((folder / "allowed").read_bytes()))
    assert held(code=0) == {}


def test_a_list_of_any_other_name_is_called_as_before_by_its_user(folder):
    with open(folder / "nobody.csv", "a") as file:
        file.write("3,Somebody Else\n")  # other bytes
    listed_as(folder, "week.csv")
    why = held()["screening"]
    assert "nobody.csv: was screened before (SC-" in why
    assert "the same list under another file name" in why
    assert 'says name = "nobody.csv"' in why
    for at, name in enumerate(("day.csv", "eve.csv")):
        (folder / ("week.csv", "day.csv")[at]).rename(folder / "nobody.csv")
        (folder / "nobody.toml").write_text(clearance.TOML)
        if at:
            with open(folder / "nobody.csv", "a") as file:
                file.write("4,And Another\n")
        listed_as(folder, name, "nobody.csv")
        assert held(code=0) == {}, "what stood for it that week is forgotten with it"


@pytest.mark.parametrize("name", ["a\\nb", "\\u202e", "x" * 256])
def test_a_list_is_not_called_what_does_not_print(folder, name):
    with pytest.raises(BadInput, match="name"):
        listed_as(folder, "day.csv", name)


def by_hand(folder, record, name="d.screening.json"):
    """A record that its screener signed, in place of what `screen` would have written."""
    data = canonical.encode(record)
    for end, content_ in (("", data), (".sig", AUTHOR.sign(data, screening.NAMESPACE))):
        (folder / f"{name}{end}").write_bytes(content_)


def test_a_record_that_another_program_made_without_the_hit_holds(folder):
    """An earlier version of this one, for instance."""
    screen_again(folder, LISTED)
    short = screen_again(folder).record
    bare = tuple(replace(each, hits=(), disposition="no_hit") for each in short.parties)
    by_hand(folder, replace(short, parties=bare))
    why = held()["screening"]
    assert "consignee: may be 'Consignee Bhd' (nobody.csv, 2), by SC-" in why
    assert "a later screening does not have it; screen again, and decide" in why
    assert screen_again(folder).record.open_hits == 3, "and to screen again is what asks for the decision"
    decide(folder)
    assert held(code=0) == {}


def test_a_release_does_not_stand_again_when_a_later_hit_is_dropped(folder):
    signers = AllowedSigners.parse((folder / "allowed").read_bytes())
    asked = gate_stage.ask("d.toml", signers, lists=["nobody.toml"])
    gate_stage.release("d.toml", asked, OFFICER, signers, officer="O. Fficer", reason="r", reference="x")

    def why():
        parsed = d.parse((folder / "d.toml").read_bytes(), draft=False)
        record = releases.decode((folder / "d.release.json").read_bytes())
        now = datetime.now(UTC) + DAY / 2
        return standing.standing("d.toml", parsed, record, signers, now, principal="boss@example.com").why

    assert why() == ()
    later = datetime.now(UTC) + timedelta(seconds=5)
    screen_again(folder, LISTED, now=later)
    assert "nobody has decided" in str(why())
    short = screen_again(folder, now=later + timedelta(seconds=5)).record
    assert "nobody has decided" in str(why())
    bare = tuple(replace(each, hits=(), disposition="no_hit") for each in short.parties)
    by_hand(folder, replace(short, parties=bare))
    assert "nobody has decided for good, and a later one does not have it" in str(why())
    (folder / "gone").mkdir()
    shutil.move(folder / "d.screening.2.json", folder / "gone")
    assert "names as the one before it" in str(why())


def test_a_predecessor_that_is_gone_or_exchanged_holds_until_it_is_back(folder):
    for _ in range(3):
        screen_again(folder)
    assert held(code=0) == {}
    (folder / "gone").mkdir()
    for number in (1, 2, 3):
        names = [f"d.screening.{number}.json{end}" for end in ("", ".sig")]
        for name in names:
            shutil.move(folder / name, folder / "gone" / name)
        why = held()["screening"]
        assert f"d.screening.{number}.json: SC-" in why
        assert "put a copy back beside it" in why
        shutil.copy(folder / f"d.screening.{1 + number % 3}.json", folder / names[0])
        assert "is not here, or is not as it was" in held()["screening"]
        (folder / names[0]).unlink()
        shutil.copy(folder / "gone" / names[0], folder / "of.old")
        assert held(code=0) == {}, "under any name"
        shutil.move(folder / "of.old", folder / names[0])


def test_whom_a_person_found_is_not_forgotten_by_moving_the_record_away(folder):
    screen_again(folder, LISTED)
    decide(folder, "true_match")
    short = screen_again(folder).record
    assert "is 'Consignee Bhd'" in held()["screening"]
    by_hand(folder, replace(short, parties=tuple(replace(e, hits=(), disposition="no_hit") for e in short.parties)))
    assert "was found to be on a list before" in held()["screening"]
    told = CliRunner().invoke(screen_command, ["d.toml", "--check"], catch_exceptions=False)
    assert told.exit_code == 5
    assert "consignee: was found to be on a list before" in told.stderr, "whoever looks at the screening is told too"
    (folder / "gone").mkdir()
    for path in folder.glob("d.screening.3.json*"):
        shutil.move(path, folder / "gone")
    assert "d.screening.3.json: SC-" in held()["screening"]


def renamed(folder, name):
    """Declaration, signature and keys under another name in the same folder."""
    for path in folder.glob("d.*"):
        if ".screening" not in path.name:
            shutil.copy(path, folder / path.name.replace("d.", f"{name}.", 1))


def test_a_record_under_another_name_holds_until_its_hits_are_decided(folder):
    found = screen_again(folder, LISTED, out="other.old")
    assert found.record.open_hits == 3
    why = held()["screening"]
    assert "consignee: may be 'Consignee Bhd' (nobody.csv, 2), by SC-" in why
    for data in (b"", b"x" * 50, (folder / "other.old").read_bytes()[:-5]):
        (folder / "odd").write_bytes(data)  # what does not read tells nothing
    os.mkfifo(folder / "pipe")
    (folder / "huge").touch()
    os.truncate(folder / "huge", screening.MAX_RECORD + 1)
    again_ = screen_again(folder)
    assert again_.record.open_hits == 3
    assert "other.old is a screening of this consignment too: what it found counts" in again_.notes
    decide(folder)
    assert held(code=0) == {}
    gone = replace(found.record, consignment_id="SL-2026-OTHERS")
    (folder / "third.json").write_bytes(canonical.encode(gone))
    assert held(code=0) == {}, "that is of another consignment"


def test_a_copy_of_the_declaration_has_the_hits_of_the_first(folder):
    screen_again(folder, LISTED)
    renamed(folder, "d2")
    (folder / "nobody.csv").write_text(clearance.NOBODY)
    fresh = screen.screen(
        "d2.toml", screen.load_lists(["nobody.toml"], fetched=datetime.now(UTC)), AUTHOR, by="Sam Screener"
    )
    assert fresh.record.open_hits == 3
    assert "may be 'Consignee Bhd'" in held(file="d2.toml")["screening"]
    bare = tuple(replace(each, hits=(), disposition="no_hit") for each in fresh.record.parties)
    by_hand(folder, replace(fresh.record, parties=bare), "d2.screening.json")
    assert "a later screening does not have it" in held(file="d2.toml")["screening"]


def test_a_release_does_not_stand_beside_a_record_under_another_name(folder):
    signers = AllowedSigners.parse((folder / "allowed").read_bytes())
    asked = gate_stage.ask("d.toml", signers, lists=["nobody.toml"])
    gate_stage.release("d.toml", asked, OFFICER, signers, officer="O. Fficer", reason="r", reference="x")
    record = releases.decode((folder / "d.release.json").read_bytes())

    def why(who):
        parsed = d.parse((folder / "d.toml").read_bytes(), draft=False)
        return standing.standing("d.toml", parsed, record, who, datetime.now(UTC) + DAY / 2).why

    assert why(signers) == ()
    for days in (-1, 0.1):  # before and after that which the release binds
        at = datetime.now(UTC) + timedelta(days=days)
        (folder / "other.json").unlink(missing_ok=True)
        screen_again(folder, LISTED, out="other.json", now=at)
        assert "consignee" in str(why(signers))
        assert "nobody has decided" in str(why(None))


def test_more_records_than_are_looked_at_hold(folder, monkeypatch):
    monkeypatch.setattr(screen, "MAX_OTHERS", 1)
    for name in ("a", "b"):
        assert held(code=0) == {}
        screen_again(folder, out=name)
    assert "more than 1 screenings of this consignment" in held()["screening"]


def test_records_of_one_second_are_in_the_order_in_which_they_supersede():
    chain = [OPEN]
    for _ in range(5):
        chain.append(screened(before=encoded(chain[-1])))
    assert len({each.at for each in chain}) == 1
    assert [each.record for each in screening_past.ordered(None, past(*reversed(chain)))] == chain


@pytest.mark.long
def test_the_report_says_what_earlier_screenings_hold(folder):
    readers.need_readers()
    short = screen_again(folder).record
    before = screen_again(folder, LISTED).record
    follows = screening.Supersedes(
        screening_id=before.screening_id, blake3=d.digest((folder / "d.screening.json").read_bytes())
    )
    shutil.move(folder / "d.screening.json", folder / "d.screening.3.json")
    by_hand(folder, replace(short, supersedes=follows))
    for to, env in (("out", {}), ("unchecked", {"SEALIFT_ALLOWED_SIGNERS": None})):
        done = CliRunner(env=env).invoke(documents, ["d.toml", "--to", to, "--json"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        text = " ".join(readers.text(str(next((folder / to).glob("*screening-report.pdf")))))
        assert "a later screening does not have it" in " ".join(text.split())
