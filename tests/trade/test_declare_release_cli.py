"""sealift declare and sealift release from the outside: exit codes, --json, nothing overwritten."""

import json
import os
import shutil
import subprocess
from datetime import UTC, datetime

import clearance
import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from trade_cases import ALLOWED, AUTHOR, OFFICER, STRANGER, content

from sealift.cli.declare import declare
from sealift.cli.release import release
from sealift.cli.screen import screen as screen_command
from sealift.errors import BadInput, DeclarationInvalid, Refused
from sealift.formats import canonical
from sealift.formats.allowed_signers import AllowedSigners
from sealift.stages import release as stage
from sealift.stages import screen
from sealift.trade import declaration as d
from sealift.trade import keys, rules, sheets, template
from sealift.trade import release as releases
from sealift.trade.signing import Signer


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, signer in (("author", AUTHOR), ("officer", OFFICER)):
        (tmp_path / f"{name}.pub").write_text(signer.public_key.line + " a comment\n")
    (tmp_path / "allowed").write_text(
        f'boss@example.com namespaces="sealift-release" {OFFICER.public_key.line}\n'
        f'author@example.com namespaces="sealift-screening,sealift-keys,sealift-declaration" {AUTHOR.public_key.line}\n'
    )
    keys = {"officer": OFFICER, "author": AUTHOR}
    monkeypatch.setattr(Signer, "open", lambda path: keys[path])
    monkeypatch.setenv("SEALIFT_ALLOWED_SIGNERS", str(tmp_path / "allowed"))
    (tmp_path / "d.toml").write_text(template.render(content(status_as_of=datetime.now(UTC).date().isoformat())))
    clearance.clear(tmp_path / "d.toml", AUTHOR)
    sign()
    return tmp_path


def run(command, *args, code=0):
    result = CliRunner().invoke(command, args)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def sign(file="d.toml"):
    return run(declare, "--check", file, "--sign-with", "author", "--json")


RELEASE = ("--officer", "O. Fficer", "--reason", "complete", "--reference", "TC-1", "--list", "nobody.toml")


def test_new_writes_a_form_once(folder):
    result = run(declare, "--new", "new.toml", "--author-key", "author.pub", "--json")
    answer = json.loads(result.stdout)
    draft = d.parse((folder / "new.toml").read_bytes(), draft=True)
    assert answer == {"file": "new.toml", "consignment_id": draft.consignment_id}
    assert draft.author.public_key == AUTHOR.public_key.line
    before = (folder / "new.toml").read_bytes()
    with pytest.raises(BadInput, match="there already"):
        run(declare, "--new", "new.toml")
    assert (folder / "new.toml").read_bytes() == before


def test_check_names_everything_and_exits_1(folder):
    run(declare, "--new", "new.toml")
    result = run(declare, "--check", "new.toml", code=1)
    assert result.stdout == ""
    for path in ("leg", "shipper.ultimate_parent", "end_user.parent_hq_country", "carriers", "drives"):
        assert f"\n{path}: " in "\n" + result.stderr
    answer = json.loads(run(declare, "--check", "new.toml", "--json", code=1).stdout)
    assert not answer["complete"]
    assert len(answer["problems"]) == 47 + 2 * len(rules.shipped().questions)
    (folder / "bad.toml").write_bytes(b"\xff")
    assert json.loads(run(declare, "--check", "bad.toml", "--json", code=1).stdout)["problems"]


def test_check_of_a_complete_one_exits_0(folder):
    answer = json.loads(run(declare, "--check", "d.toml", "--json").stdout)
    assert answer["complete"]
    assert (answer["drives"], answer["carriers"], answer["problems"]) == (8, 2, [])


@pytest.mark.parametrize("args", [("d.toml",), ("--new", "--sheet", "Anna", "d.toml"), ("--check", "absent.toml")])
def test_wrong_use_is_bad_input(folder, args):
    with pytest.raises(BadInput):
        run(declare, *args)


def test_release_then_sheet_then_change(folder):
    answer = json.loads(run(release, "d.toml", "--sign-with", "officer", *RELEASE, "--json").stdout)
    assert answer["release"] == "d.release.json"
    assert answer["superseded"] is None
    raw = (folder / "d.toml").read_bytes()
    pair = [(folder / name).read_bytes() for name in ("d.release.json", "d.release.json.sig")]
    assert releases.check_release(raw, *pair, ALLOWED).record.officer == "O. Fficer"

    unsigned = CliRunner(env={"SEALIFT_ALLOWED_SIGNERS": None}).invoke(declare, ["--sheet", "Anna", "d.toml"])
    assert sheets.DRAFT in unsigned.stdout
    assert sheets.DRAFT not in run(declare, "--sheet", "Anna", "d.toml", "--allowed-signers", "allowed").stdout

    (folder / "d.toml").write_bytes(raw.replace(b"SER00003", b"SER00099"))
    told = run(declare, "--check", "d.toml", "--sign-with", "author", code=1).stderr
    assert told.startswith("revision 1 was released with other bytes (d.release.json)")
    stage.sign("d.toml", AUTHOR)
    with pytest.raises(Refused, match="not of this declaration"):
        run(declare, "--sheet", "Anna", "d.toml", "--allowed-signers", "allowed")
    with pytest.raises(Refused, match=r"revision 1 was released with other bytes \(d\.release\.json\)"):
        run(release, "d.toml", "--sign-with", "officer", *RELEASE)
    assert (folder / "d.r1.toml").read_bytes() == raw
    answer = json.loads(run(declare, "--revise", "d.toml", "--json").stdout)
    assert answer == {"file": "d.toml", "revision": 2, "kept": "d.1.toml"}
    revised = d.parse((folder / "d.toml").read_bytes(), draft=False)
    assert (revised.revision, revised.supersedes) == (2, d.digest(raw))
    assert revised.drives[3].serial == "SER00099"
    held = json.loads(run(release, "--check", "d.toml", "--list", "nobody.toml", "--json", code=5).stdout)
    assert held["held"] == ["author"]
    sign()
    result = run(release, "d.toml", "--sign-with", "officer", *RELEASE)
    assert "kept as d.release.1.json" in result.stderr
    assert FOLDER_ALONE not in result.stderr
    assert (folder / "d.release.1.json").read_bytes() == pair[0]
    assert (folder / "d.r2.toml").read_bytes() == (folder / "d.toml").read_bytes()
    assert sheets.DRAFT not in run(declare, "--sheet", "Bo", "d.toml", "--allowed-signers", "allowed").stdout


def test_a_revision_begins_only_from_what_was_released(folder):
    with pytest.raises(Refused, match=r"revision 1 of d\.toml has not been released"):
        run(declare, "--revise", "d.toml")


def test_a_replaced_party_closes_the_gate_until_it_is_screened_and_both_names_stand(folder):
    run(release, "d.toml", "--sign-with", "officer", *RELEASE)
    run(declare, "--revise", "d.toml")
    text = (folder / "d.toml").read_text()
    (folder / "d.toml").write_text(text.replace('legal_name = "User Ltd"', 'legal_name = "Other Ltd"'))
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "d.toml").write_bytes((folder / "d.toml").read_bytes())
    told = run(declare, "--check", "elsewhere/d.toml").stderr
    assert "note: supersedes: revision 1 is not beside the declaration" in told, "the officer may have it"
    for more in ((), ("--sign-with", "author")):
        told = run(declare, "--check", "d.toml", *more, code=1).stderr
        assert told.startswith("replaced: end_user was 'User Ltd', which wants a row [[replaced]]")
        assert "d.toml: not complete, 1 to do" in told
    held = json.loads(run(release, "--check", "d.toml", "--list", "nobody.toml", "--json", code=5).stdout)
    assert held["held"] == ["author", "revision", "screening"]
    assert "end_user was 'User Ltd', which wants a row [[replaced]]" in next(
        row["why"] for row in held["rows"] if row["rule"] == "revision"
    )
    with (folder / "d.toml").open("a") as file:
        file.write('\n[[replaced]]\nrole = "end_user"\nlegal_name = "User Ltd"\nsince_revision = 2\nreason = "sold"\n')
    sign()
    assert json.loads(run(release, "--check", "d.toml", "--list", "nobody.toml", "--json", code=5).stdout)["held"] == [
        "screening"
    ]
    clearance.screen(folder / "d.toml", AUTHOR)
    result = run(release, "d.toml", "--sign-with", "officer", *RELEASE)
    assert "before, end user: User Ltd, until revision 2: sold; now Other Ltd" in result.stderr
    assert "together with 1 related shipment: 12 drives; " in result.stderr
    assert "note: replaced" not in run(declare, "--check", "d.toml").stderr
    sheet = run(declare, "--sheet", "Anna", "d.toml").stdout
    assert "Before, end user: User Ltd, until revision 2: sold; now Other Ltd" in sheet


def test_the_gate_says_what_holds_and_signs_nothing(folder):
    before = sorted(os.listdir(folder))
    text = (folder / "d.toml").read_text()
    flag = '"flag-cloud"\nanswer = "no"'
    assert flag in text
    for answer, why in (("yes", "it is not said who looked into it"), ("unknown", "the answer is unknown")):
        (folder / "d.toml").write_text(text.replace(flag, flag.replace("no", answer)))
        result = run(release, "--check", "d.toml", "--list", "nobody.toml", code=5)
        assert f"HELD flag-cloud ({answer}): the answer is" in result.stderr
        assert why in result.stderr
        with pytest.raises(Refused, match="the gate is closed"):
            run(release, "d.toml", "--sign-with", "officer", *RELEASE)
    assert sorted(os.listdir(folder)) == before


def test_what_is_signed_is_what_was_shown(folder):
    """The file may change between the look and the signature; the release is of what was looked at."""
    allowed = AllowedSigners.parse((folder / "allowed").read_bytes())
    raw = (folder / "d.toml").read_bytes()
    asked = stage.ask("d.toml", allowed, lists=["nobody.toml"])
    (folder / "d.toml").write_bytes(raw.replace(b"User Ltd", b"Else Ltd"))
    done = stage.release("d.toml", asked, OFFICER, allowed, officer="O. Fficer", reason="r", reference="x")
    assert done.record.declaration.blake3 == d.digest(raw)
    assert (folder / "d.r1.toml").read_bytes() == raw


def test_changed_rules_are_named_and_bound(folder):
    run(release, "--new-rules", "rules.toml")
    shipped = (folder / "rules.toml").read_text()
    with pytest.raises(BadInput, match="there already"):
        run(release, "--new-rules", "rules.toml")
    at = shipped.index('[[rules]]\nid = "flag-route"')
    until = shipped.index("[[rules]]", at + 1)
    own = '[[rules]]\nid = "board"\nquestion = "Has it agreed?"\nholds_on = "no"\nsource = "us"\nas_of = "2026-11-26"\n'
    (folder / "rules.toml").write_text(shipped[:at] + shipped[until:].replace("officers = []", "") + own)
    result = run(release, "--check", "d.toml", "--rules", "rules.toml", "--list", "nobody.toml", "--json", code=5)
    assert json.loads(result.stdout)["rules"]["changed"] == ["board (added)", "flag-route (missing)"]
    assert json.loads(result.stdout)["held"] == ["board"]
    with (folder / "d.toml").open("a") as file:
        file.write('\n[[answers]]\nquestion = "board"\nanswer = "yes"\nevidence = "minutes"\n')
    sign()
    answer = json.loads(
        run(release, "d.toml", "--sign-with", "officer", *RELEASE, "--rules", "rules.toml", "--json").stdout
    )
    record = releases.decode((folder / "d.release.json").read_bytes())
    assert record.rules.changed == answer["rules"]["changed"] == ["board (added)", "flag-route (missing)"]
    assert record.rules.blake3 == d.digest((folder / "rules.toml").read_bytes())
    assert record.screening.blake3 == d.digest((folder / "d.screening.json").read_bytes())
    assert record.keys.blake3 == d.digest((folder / "d.keys.json").read_bytes())


def test_rules_of_a_day_to_come_or_with_a_byte_order_mark_are_refused(folder):
    run(release, "--new-rules", "rules.toml")
    text = (folder / "rules.toml").read_text()
    (folder / "rules.toml").write_text(text.replace(f'edition = "{rules.shipped().edition}"', 'edition = "2099-01-01"'))
    with pytest.raises(BadInput, match="edition 2099-01-01 is still to come"):
        run(release, "--check", "d.toml", "--rules", "rules.toml", "--list", "nobody.toml")
    (folder / "rules.toml").write_text(text, encoding="utf-8-sig")
    with pytest.raises(BadInput, match=r"byte order mark \(BOM\); save it as UTF-8 without one"):
        run(release, "--check", "d.toml", "--rules", "rules.toml", "--list", "nobody.toml")


DOUBTFUL = "Соnsignee Bhd"  # its first two letters are Cyrillic


def test_a_name_of_two_alphabets_in_one_word_holds_and_its_letters_are_named(folder):
    text = (folder / "d.toml").read_text()
    assert '"Consignee Bhd"' in text
    (folder / "d.toml").write_text(text.replace('"Consignee Bhd"', f'"{DOUBTFUL}"', 1))
    (folder / "d.toml.sig").write_bytes(AUTHOR.sign((folder / "d.toml").read_bytes(), releases.AUTHOR_NAMESPACE))
    told = run(declare, "--check", "d.toml", code=1).stderr
    assert "consignee.legal_name: 'Соnsignee' has letters of two alphabets, Latin and Cyrillic: U+0421 CYRILLIC" in told
    lists = screen.load_lists(["nobody.toml"], fetched=datetime.now(UTC))
    screen.screen("d.toml", lists, AUTHOR, by="Sam Screener")
    assert "consignee.legal_name: 'Соnsignee' has letters of two alphabets" in held()["complete"]
    checked = CliRunner().invoke(screen_command, ["d.toml", "--check"], catch_exceptions=False)
    assert checked.exit_code == 5
    assert "consignee: 'Соnsignee' has letters of two alphabets" in checked.stderr
    (folder / "d.toml").write_text(text)
    sign()
    screen.screen("d.toml", lists, AUTHOR, by="Sam Screener")
    assert json.loads(run(release, "--check", "d.toml", "--list", "nobody.toml", "--json").stdout)["open"]


def test_the_gate_says_how_many_rules_close_it(folder):
    (folder / "d.toml.sig").unlink()
    told = run(release, "--check", "d.toml", "--list", "nobody.toml", code=5).stderr
    assert f"the gate is closed, by 1 rule of {len(rules.shipped().rules)}\n" in told


def test_only_whom_the_rules_name_may_release(folder):
    run(release, "--new-rules", "rules.toml")
    text = (folder / "rules.toml").read_text()
    (folder / "rules.toml").write_text(text.replace("officers = []", 'officers = ["other@example.com"]', 1))
    with pytest.raises(Refused, match=r"the rules name other@example\.com to release, and not boss@example\.com"):
        run(release, "d.toml", "--sign-with", "officer", *RELEASE, "--rules", "rules.toml")
    assert not (folder / "d.release.json").exists()


def test_a_release_screens_again_and_wants_a_list_for_it(folder):
    held = json.loads(run(release, "--check", "d.toml", "--json", code=5).stdout)
    assert held["held"] == ["screening"]
    assert "no list is at hand to screen against again" in str(held["rows"])


def test_a_list_is_not_got_rid_of_by_leaving_it_out(folder):
    """Neither at the release, nor by screening again without it."""
    (folder / "b.toml").write_text(clearance.TOML.replace("nobody.csv", "b.csv"))
    (folder / "b.csv").write_text(clearance.NOBODY + "3,Qwxyz Plmokn\n")
    lists = screen.load_lists(["nobody.toml", "b.toml"], fetched=datetime.now(UTC))
    screen.screen("d.toml", lists, AUTHOR, by="Sam Screener")
    both = ("--list", "nobody.toml", "--list", "b.toml")
    assert json.loads(run(release, "--check", "d.toml", *both, "--json").stdout)["open"]
    held = json.loads(run(release, "--check", "d.toml", *both[:2], "--json", code=5).stdout)
    assert "b.csv: was screened, and is not at hand to screen again" in str(held["rows"])
    screen.screen("d.toml", lists[:1], AUTHOR, by="Sam Screener")
    held = json.loads(run(release, "--check", "d.toml", *both[:2], "--json", code=5).stdout)
    assert "b.csv: was screened before" in str(held["rows"])
    screen.screen("d.toml", lists, AUTHOR, by="Sam Screener")
    assert json.loads(run(release, "--check", "d.toml", *both, "--json").stdout)["open"]


def test_a_list_at_hand_that_was_not_screened_holds(folder):
    (folder / "newer.toml").write_text(clearance.TOML.replace("nobody.csv", "newer.csv"))
    (folder / "newer.csv").write_text(clearance.NOBODY + "2,User Limited\n")
    held = json.loads(run(release, "--check", "d.toml", "--list", "newer.toml", "--json", code=5).stdout)
    assert held["held"] == ["screening"]


def test_refused_releases_write_nothing(folder):
    before = sorted(os.listdir(folder))
    with pytest.raises(Refused):
        run(release, "d.toml", "--sign-with", "author", *RELEASE)
    (folder / "d.toml").write_text(template.render(d.blank("SL-2026-4F7K2Q", datetime.now(UTC).date())))
    with pytest.raises(DeclarationInvalid):
        run(release, "d.toml", "--sign-with", "officer", *RELEASE)
    assert sorted(os.listdir(folder)) == before


def test_nobody_releases_a_rehearsal(folder):
    """It would leave without a rule looked at."""
    (folder / "d.toml").write_text(template.render(content(rehearsal=True)))
    sign()
    for words in (("--check", "d.toml"), ("d.toml", "--sign-with", "officer", *RELEASE)):
        with pytest.raises(Refused, match="it is a rehearsal"):
            run(release, *words)
    assert not (folder / "d.release.json").exists()


def held(file="d.toml"):
    return {
        row["rule"]: row["why"]
        for row in json.loads(run(release, "--check", file, "--list", "nobody.toml", "--json", code=5).stdout)["rows"]
        if row["state"] == "held"
    }


def test_nothing_is_released_that_its_author_has_not_signed(folder):
    """Not without a signature, not of other bytes, not by another key, nor by a key that nobody allows."""
    (folder / "d.toml.sig").unlink()
    assert "has not signed it: sealift declare --check d.toml --sign-with KEY" in held()["author"]
    with pytest.raises(Refused, match=r"not that of the declared author, A\. Author"):
        run(declare, "--check", "d.toml", "--sign-with", "officer")
    raw = (folder / "d.toml").read_bytes()
    assert json.loads(sign().stdout)["signature"] == "d.toml.sig"
    assert sign().exit_code == 0
    assert not (folder / "d.toml.1.sig").exists(), "the same signature is not kept twice"
    assert json.loads(run(release, "--check", "d.toml", "--list", "nobody.toml", "--json").stdout)["open"]

    (folder / "d.toml").write_bytes(raw + b"# seen\n")
    assert list(held()) == ["author"]
    (folder / "d.toml").write_bytes(raw)
    officers = OFFICER.sign(raw, releases.AUTHOR_NAMESPACE)
    (folder / "d.toml.sig").write_bytes(officers)
    allowed = folder / "allowed"
    lines = allowed.read_text()
    allowed.write_text(lines + f"boss@example.com {OFFICER.public_key.line}\n")
    assert "names another key as its author's" in held()["author"]
    sign()
    assert (folder / "d.toml.1.sig").read_bytes() == officers
    allowed.write_text(lines.replace(",sealift-declaration", ""))
    assert "not allowed in namespace 'sealift-declaration'" in held()["author"]
    with pytest.raises(Refused, match="the gate is closed"):
        run(release, "d.toml", "--sign-with", "officer", *RELEASE)


FOLDER_ALONE = "was released before is known of this folder alone"


def test_of_a_copy_in_another_folder_the_officer_is_told_that_nothing_is_known(folder, monkeypatch):
    """No file here can say so: a register can."""
    run(release, "d.toml", "--sign-with", "officer", *RELEASE)
    (folder / "copy").mkdir()
    for path in folder.glob("*.*"):
        if ".r1." not in path.name and "release" not in path.name:
            shutil.copy(path, folder / "copy")
    shutil.copy("allowed", "copy")
    monkeypatch.chdir(folder / "copy")
    told = run(release, "--check", "d.toml", "--list", "nobody.toml").stderr
    assert (
        f"note: whether {d.parse((folder / 'd.toml').read_bytes(), draft=True).consignment_id} {FOLDER_ALONE}" in told
    )
    assert "your register of releases" in told


def test_a_copy_under_another_name_does_not_begin_again(folder):
    run(release, "d.toml", "--sign-with", "officer", *RELEASE)
    for same in ("d.toml", "./d.toml", f"{folder}//d.toml"):  # it is no copy of itself, however its path is written
        assert json.loads(run(release, "--check", same, "--list", "nobody.toml", "--json").stdout)["open"]
    for name in ("toml", "toml.sig", "keys.json", "keys.json.sig", "screening.json", "screening.json.sig"):
        shutil.copy(f"d.{name}", f"e.{name}")
    assert held("e.toml") == {
        "revision": "d.r1.toml was released, of this consignment: go on there (sealift declare --revise d.toml)"
    }


def test_a_revision_does_not_begin_again_when_its_kept_bytes_are_gone(folder):
    """The release itself says of which bytes it was."""
    run(release, "d.toml", "--sign-with", "officer", *RELEASE)
    (folder / "d.r1.toml").unlink()
    text = (folder / "d.toml").read_text()
    (folder / "d.toml").write_text(text.replace("Consignee Bhd", "Zwarte Kraai BV"))
    stage.sign("d.toml", AUTHOR)
    clearance.screen(folder / "d.toml", AUTHOR)
    assert "revision 1 was released with other bytes (d.release.json)" in held()["revision"]
    (folder / "d.release.json").rename("d.release.1.json")
    assert "revision 1 was released with other bytes (d.release.1.json)" in held()["revision"]


def test_a_waiver_of_the_second_recipient_is_shown_and_not_the_authors(folder):
    text = (folder / "d.toml").read_text()
    parsed = d.parse(text.encode(), draft=False)
    alone = replace(parsed.encryption, recipients=parsed.encryption.recipients[:1])
    (folder / "d.toml").write_text(template.render(content(status_as_of=parsed.status_as_of, encryption=alone)))
    clearance.screen(folder / "d.toml", AUTHOR)
    sign()
    allowed = folder / "allowed"
    allowed.write_text(allowed.read_text().replace('"sealift-release"', '"sealift-release,sealift-keys"'))

    def again():
        for name in ("d.keys.json", "d.keys.json.sig"):
            (folder / name).unlink()

    again()
    for signer, by in ((AUTHOR, "Olu Officer"), (OFFICER, "a. author")):
        with pytest.raises(Refused, match="the author alone does not accept"):
            clearance.prove(folder / "d.toml", signer, by=by)
        again()
    clearance.prove(folder / "d.toml", OFFICER, by="Olu Officer")
    shown = run(release, "--check", "d.toml", "--list", "nobody.toml").stderr
    assert " !  keys: no two recipients are independent; Olu Officer accepted it at " in shown
    data = (folder / "d.keys.json").read_bytes()
    (folder / "d.keys.json.sig").write_bytes(AUTHOR.sign(data, keys.NAMESPACE))
    assert "the author's own key signed that" in held()["keys"]
    second = f'author@example.com namespaces="sealift-keys" {STRANGER.public_key.line}\n'
    allowed.write_text(allowed.read_text() + second)
    (folder / "d.keys.json.sig").write_bytes(STRANGER.sign(data, keys.NAMESPACE))
    assert "the author's own key signed that" in held()["keys"], "with a second key of theirs, too"
    said = keys.decode(data)
    renamed = canonical.encode(replace(said, waiver=replace(said.waiver, accepted_by="a. author")))
    (folder / "d.keys.json").write_bytes(renamed)
    (folder / "d.keys.json.sig").write_bytes(OFFICER.sign(renamed, keys.NAMESPACE))
    assert "the author alone does not accept it" in held()["keys"]


def test_ssh_keygen_verifies_what_release_writes(folder):
    if shutil.which("ssh-keygen") is None and not os.environ.get("CI"):
        pytest.skip("ssh-keygen is not installed")
    run(release, "d.toml", "--sign-with", "officer", *RELEASE)
    for namespace, code in (("sealift-release", 0), ("sealift", 255)):
        who = ["-f", "allowed", "-I", "boss@example.com", "-n", namespace, "-s", "d.release.json.sig"]
        with open("d.release.json", "rb") as file:
            done = subprocess.run(["ssh-keygen", "-Y", "verify", *who], stdin=file, capture_output=True, check=False)
        assert done.returncode == code


@pytest.mark.parametrize("command", [declare, release])
def test_help_teaches(command):
    text = run(command, "--help").stdout
    assert f"sealift {command.name} " in text
    assert "declaration.toml" in text


def test_a_shipment_released_beside_it_for_the_same_end_user_is_told_to_author_and_officer(folder):
    run(release, "d.toml", "--sign-with", "officer", *RELEASE)
    other = content(
        status_as_of=datetime.now(UTC).date().isoformat(), consignment_id="SL-2026-AGAIN2", related="none",
        related_shipments=[],
    )  # fmt: skip
    (folder / "again.toml").write_text(template.render(other))
    told = "note: related: SL-2026-4F7K2Q was released on"
    assert told in run(declare, "--check", "again.toml").stderr
    assert told in run(release, "--check", "again.toml", code=5).stderr
    assert told not in run(declare, "--check", "d.toml").stderr
