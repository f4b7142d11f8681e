"""sealift handover and sealift custody from the outside: a voyage, slips, tampering, and what is refused."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import filled
import msgspec
import pytest
from click.testing import CliRunner
from custody_cases import DECLARATION, ID, PEOPLE, SERIALS
from trade_cases import AUTHOR, OFFICER, declared

from sealift.cli.custody import custody
from sealift.cli.handover import handover
from sealift.errors import BadInput, Refused, SealiftError, SignatureInvalid
from sealift.formats import canonical
from sealift.stages import custody_log
from sealift.trade import custody_event as ev
from sealift.trade import release as releases
from sealift.trade import sections, sheets
from sealift.trade.signing import Signer, write_pair

KEYS = PEOPLE | {"officer": OFFICER}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Signer, "open", lambda path: KEYS[path])
    (tmp_path / "d.toml").write_bytes(DECLARATION.raw)
    lines = [f'{name}@example.com namespaces="sealift-custody" {PEOPLE[name].public_key.line}\n' for name in PEOPLE]
    lines[-1] = f'olu@example.com namespaces="sealift-release" {OFFICER.public_key.line}\n'  # not mallory
    lines.append(f'writer@example.com namespaces="sealift-declaration" {AUTHOR.public_key.line}\n')
    (tmp_path / "signers").write_text("".join(lines))
    monkeypatch.setenv("SEALIFT_ALLOWED_SIGNERS", str(tmp_path / "signers"))
    return tmp_path


def run(command, *args, code=0):
    result = CliRunner().invoke(command, args)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def let_go():
    signed = filled.released(DECLARATION, OFFICER, AUTHOR, datetime.now(UTC), officer="Olu")
    write_pair("d.release.json", signed.data, signed.signature)


def item(serials, before, after, checked):
    serials, before, after = map(json.dumps, (list(serials), before, after))
    return (
        f"[[items]]\nserials = {serials}\nseal_before = {before}\nseal_after = {after}\nseal_class = 'H'\n"
        f"seal_checked = '{checked}'\ncondition = 'good'\n"
    )


def side(name, photo=None):
    key = f"paper_photo = '{photo}'" if photo is not None else f"key = '{PEOPLE[name].public_key.line} a comment'"
    org = "Shipper GmbH" if name == "origin" else "Consignee Bhd"
    return f"name = '{name.title()}'\norg = '{org}'\nid_kind = 'passport'\n{key}\n"


def form(event_type, released, received, *items, more="", consignment=ID, photos=(None, None)):
    """A filled-in form, as a file; its name."""
    text = (
        f"type = 'sealift-custody-form'\nversion = 1\nconsignment_id = '{consignment}'\nevent_type = '{event_type}'\n"
        f"local_timezone = 'Asia/Singapore'\nplace = 'gate 4'\nreason = 'as planned'\n{more}\n"
        f"[released_by]\n{side(released, photos[0])}\n[received_by]\n{side(received, photos[1])}\n" + "\n".join(items)
    )
    pathlib.Path("form.toml").write_text(text)
    return "form.toml"


def record(log, *args, by=(), code=0, extra=(), **kwargs):
    signers = [word for name in by or {args[1], args[2]} for word in ("--sign-with", name)]
    done = run(
        handover,
        log,
        "--event",
        form(*args, **kwargs),
        "--declaration",
        "d.toml",
        "--json",
        *signers,
        *extra,
        code=code,
    )
    return json.loads(done.stdout)


def look(log, *args, code=0):
    return json.loads(run(custody, log, "--declaration", "d.toml", "--json", *args, code=code).stdout)


def begun():
    """A log with all drives sealed, and two handed to Anna and Bo each."""
    let_go()
    record(
        "log",
        "seal",
        "origin",
        "origin",
        item(SERIALS[:2], "", "S1", "no_seal"),
        item(SERIALS[2:], "", "S2", "no_seal"),
    )
    record("log", "handover", "origin", "anna", item(SERIALS[:2], "S1", "S1", "intact"))
    record("log", "handover", "origin", "bo", item(SERIALS[2:], "S2", "S2", "intact"))
    for name in ("anna_copy", "bo_copy"):
        shutil.copytree("log", name)


def test_a_voyage_with_a_customs_case_a_courier_without_a_key_and_a_drive_that_comes_late(folder):
    begun()
    # Anna: customs open a case, and she arrives
    opened = record(
        "anna_copy", "customs_inspection", "anna", "anna", item(SERIALS[:2], "S1", "C7", "intact"),
        more="officer_ref = 'ZA 77'\ninspection_opened = true",
    )  # fmt: skip
    assert [each["kind"] for each in opened["findings"]] == ["opened"]
    record(
        "anna_copy", "arrive", "anna", "dock", item(SERIALS[:2], "C7", "C7", "intact"),
        more=f"resolves = ['{opened['event'][:12]}']",
    )  # fmt: skip
    # Bo: a courier without a key signs on paper, which is photographed
    paper = form("handover", "bo", "dock", item(SERIALS[2:], "S2", "S2", "intact"), photos=(None, ""))
    printed = run(handover, "bo_copy", "--paper", paper, "--declaration", "d.toml")
    (said,) = re.findall(r'into one copy of the log alone, with at = "(.*Z)" in', printed.stderr)
    assert f"At {said} (UTC)" in printed.stdout
    checkpoint = look("bo_copy")["checkpoint"]
    assert checkpoint["text"] in printed.stdout
    assert "signs by hand, not by key" in printed.stdout
    assert "NOT YET RECORDED" in printed.stdout
    assert look("bo_copy")["checkpoint"] == checkpoint, "nothing is recorded by printing"
    (folder / "signed.jpg").write_bytes(b"a photograph")
    record(
        "bo_copy", "handover", "bo", "mallory", item(SERIALS[2:], "S2", "S2", "intact"), by=["bo"],
        photos=(None, "signed.jpg"),
    )  # fmt: skip
    # one drive is not in the courier's case
    (folder / "again.jpg").write_bytes(b"another")
    record(
        "bo_copy", "arrive", "mallory", "dock", item(SERIALS[2:3], "S2", "S2", "intact"), by=["dock"],
        photos=("again.jpg", None),
    )  # fmt: skip
    lacking = record("anna_copy", "discrepancy", "dock", "dock", item(SERIALS[3:], "", "", "no_seal"))
    found = look("log", "--merge", "anna_copy", "--merge", "bo_copy", "--final", code=3)
    assert found["merged"] == {"events": 5, "signatures": 6}
    assert {each["kind"]: each["serials"] for each in found["findings"] if each["settled_by"] is None} == {
        "discrepancy": SERIALS[3:],
        "missing": SERIALS[3:],
    }
    by = {each["serial"]: [held["name"] for held in each["held_by"]] for each in found["drives"]}
    assert by == dict(zip(SERIALS, [["Dock"]] * 3 + [["Mallory"]], strict=True))
    assert [each["received_by"]["by"] for each in found["events"] if each["received_by"]["name"] == "Mallory"] == [
        "hand"
    ]
    # it comes late, by Bo himself, whom the courier had given it back to on paper
    (folder / "back.jpg").write_bytes(b"a third")
    record(
        "log", "return", "mallory", "bo", item(SERIALS[3:], "S2", "S2", "intact"), by=["bo"],
        photos=("back.jpg", None),
    )  # fmt: skip
    record(
        "log", "arrive", "bo", "dock", item(SERIALS[3:], "S2", "S2", "intact"),
        more=f"resolves = ['{lacking['event']}']",
    )  # fmt: skip
    whole = look("log", "--final", "--checkpoint", checkpoint["text"], "--checkpoint", found["checkpoint"]["text"])
    assert whole["whole"]
    assert {each["settled_by"] is None for each in whole["findings"]} == {False}
    said = run(custody, "log", "--declaration", "d.toml")
    assert said.stderr.endswith("whole: every event holds, and nothing is open\n")
    assert said.stdout == whole["checkpoint"]["text"] + "\n"
    assert "by hand on paper, not by key: Mallory" in said.stderr
    one = run(custody, "log", "--declaration", "d.toml", "--drive", SERIALS[0]).stderr.splitlines()
    assert one[1::2] == [
        "       no seal, then seal S1; condition good",
        "       seal S1 (intact), then seal S1; condition good",
        "       seal S1 (intact), then seal C7; condition good",
        "       seal C7 (intact), then seal C7; condition good",
    ]
    assert one[8].startswith(f"{SERIALS[0]}: Dock (Consignee Bhd) since ")
    assert len(one) == 9
    with pytest.raises(BadInput, match="neither declared nor in the log"):
        run(custody, "log", "--declaration", "d.toml", "--drive", "NONE")
    assert "(" in said.stderr.split("seal:")[0], "the time at the place"


def test_the_origin_sees_what_a_carrier_cut_off_by_the_code_on_paper(folder):
    begun()
    record("anna_copy", "arrive", "anna", "dock", item(SERIALS[:2], "S1", "S1", "intact"))
    text = look("anna_copy")["checkpoint"]["text"]
    last = text.rpartition(":")[2].lower()
    for path in pathlib.Path("anna_copy").glob(last + "*"):
        path.unlink()
    assert look("anna_copy")["whole"]
    found = look("anna_copy", "--checkpoint", text, code=3)
    assert [(each["kind"], each["events"]) for each in found["findings"]] == [("checkpoint", [last])]
    with pytest.raises(BadInput, match="is of SL-OTHER"):
        run(custody, "log", "--declaration", "d.toml", "--checkpoint", text.replace(ID, "SL-OTHER"))


def test_drives_are_not_handed_over_without_a_release_and_everything_else_is_recorded(folder):
    sealing = ("seal", "origin", "origin", item(SERIALS, "", "S1", "no_seal"))
    assert sheets.DRAFT in record("log", *sealing)["form"]
    going = ("handover", "origin", "anna", item(SERIALS[:2], "S1", "S1", "intact"))
    for event_type in ("handover", "load"):
        with pytest.raises(Refused, match="without a release that holds"):
            record("log", event_type, *going[1:])
    assert len(look("log")["events"]) == 1
    let_go()
    assert sheets.DRAFT not in record("log", *going)["form"]
    (folder / "d.toml").write_bytes(DECLARATION.raw + b"# changed\n")
    with pytest.raises(Refused, match="not of this declaration"):
        record("log", "handover", "anna", "bo", item(SERIALS[:2], "S1", "S1", "intact"))
    arrival = ("arrive", "anna", "dock", item(SERIALS[:2], "S1", "S1", "intact"))
    for extra in ([], ["--as-found"]):
        with pytest.raises(Refused, match="by an arrival drives do not go on without a release that holds") as no:
            record("log", *arrival, extra=extra)
    assert "stated as a discrepancy" in no.value.hint
    record("log", "discrepancy", "dock", "dock", item(SERIALS[:2], "S1", "S1", "intact"))
    (released, *_) = [each for each in look("log", code=3)["findings"] if each["kind"] == "revision"]
    assert released["text"].endswith("d.r1.toml, which d.release.json releases, is not here"), "and nobody is accused"


def test_under_a_release_that_does_not_stand_any_more_a_handover_is_recorded_as_it_was_found(folder):
    now = datetime.now(UTC)
    first = filled.released(DECLARATION, OFFICER, AUTHOR, now - timedelta(hours=9), officer="Olu")
    write_pair("d.release.json", first.data, first.signature)
    at = f'at = "{(now - timedelta(hours=5)).strftime(releases.TIME)}"'
    record("log", "seal", "origin", "origin", item(SERIALS[:2], "", "S1", "no_seal"), more=at)
    record("log", "handover", "origin", "anna", item(SERIALS[:2], "S1", "S1", "intact"), more=at)
    changed = msgspec.structs.replace(
        first.record, revision=DECLARATION.revision + 1, released_at=(now - timedelta(hours=2)).strftime(releases.TIME),
        declaration=releases.DeclarationBytes(bytes=1, blake3="1" * 64),
    )  # fmt: skip
    pathlib.Path("other.release.json").write_bytes(canonical.encode(changed))
    took = ("handover", "anna", "bo", item(SERIALS[:2], "S1", "S1", "intact"))
    refused = record("log", *took, code=3)
    (shown,) = refused["findings"]
    assert not refused["recorded"]
    assert shown["kind"] == "revision"
    assert shown["text"].endswith("d.r2.toml, which other.release.json releases, is not here")
    done = record("log", *took, extra=("--as-found",))
    assert done["recorded"]
    assert sheets.DRAFT in done["form"]
    found = [(each["text"], each["events"]) for each in look("log", code=3)["findings"] if each["kind"] != "unheld"]
    assert found == [(shown["text"], [done["event"]])], "what went before it was superseded is as it was"
    late = form(
        "verify", "bo", "bo", item(SERIALS[:2], "S1", "S1", "intact"), more="hash_sample_result = 'match'\n" + at
    )
    words = (handover, "log", "--event", late, "--declaration", "d.toml", "--sign-with", "bo", "--as-found")
    assert "note: by its time the release stood, and it does not any more: it is superseded" in run(*words).stderr
    back = form("return", "bo", "origin", item(SERIALS[:2], "S1", "S1", "intact"))
    shown = run(handover, "log", "--event", back, "--declaration", "d.toml", "--sign-with", "bo").stderr
    assert "awaited" in shown, "recorded: the origin signs later"
    assert "--countersign DIGITS" in run(custody, "log", "--declaration", "d.toml", code=3).stderr
    assert "note: the release does not stand: it is superseded" in shown
    digits = look("log", code=3)["events"][-1]["digest"]
    signed = run(handover, "log", "--countersign", digits, "--declaration", "d.toml", "--sign-with", "origin").stderr
    assert "note: the release does not stand: it is superseded" in signed
    left = {each["kind"] for each in look("log", code=3)["findings"]}
    assert not {"awaited", "uncountersigned", "unreleased"} & left


def test_a_carrier_whom_the_next_revision_names_no_more_takes_drives_no_further(folder):
    now = datetime.now(UTC)
    first = filled.released(DECLARATION, OFFICER, AUTHOR, now - timedelta(hours=9), officer="Olu")
    said = sections.Replaced(role="carriers", legal_name="Bo", since_revision=2, reason="a true match")
    anna, bo = DECLARATION.carriers
    second = declared(
        carriers=[anna, msgspec.structs.replace(bo, name="Cem", contact="cem@example.com")], replaced=[said],
        drives=[msgspec.structs.replace(row, carrier=row.carrier.replace("Bo", "Cem")) for row in DECLARATION.drives],
        revision=2, supersedes=DECLARATION.digest,
    )  # fmt: skip
    again = filled.released(second, OFFICER, AUTHOR, now - timedelta(hours=2), officer="Olu")
    for name, release in (("d.release.1.json", first), ("d.release.json", again)):
        write_pair(name, release.data, release.signature)
    pathlib.Path("d.r1.toml").write_bytes(DECLARATION.raw)
    pathlib.Path("d.toml").write_bytes(second.raw)
    at = f'at = "{(now - timedelta(hours=5)).strftime(releases.TIME)}"'
    record("log", "seal", "origin", "origin", item(SERIALS, "", "S2", "no_seal"), more=at)
    record("log", "handover", "origin", "bo", item(SERIALS[2:], "S2", "S2", "intact"), more=at)
    assert look("log")["events"], "what was handed on before is as it was"
    drives = item(SERIALS[2:], "S2", "S2", "intact")
    (shown,) = record("log", "arrive", "bo", "dock", drives, code=3)["findings"]
    assert (shown["kind"], shown["serials"]) == ("unreleased", SERIALS[2:])
    assert "whom revision 2 does not name any more (a true match)" in shown["text"]
    assert record("log", "return", "bo", "origin", drives)["findings"] == []
    assert look("log")["findings"] == []


def test_whoever_is_not_declared_is_a_stranger_until_somebody_says_that_it_is_so(folder):
    record("log", "seal", "origin", "origin", item(SERIALS, "", "S1", "no_seal"))
    let_go()
    path = form("handover", "origin", "anna", item(SERIALS, "S1", "S1", "intact"))
    text = pathlib.Path(path).read_text()
    at = text.index("[received_by]")
    pathlib.Path(path).write_text(text[:at] + text[at:].replace("'Anna'", "'Annika'").replace("Consignee Bhd", "Away"))
    words = (
        handover,
        "log",
        "--event",
        path,
        "--declaration",
        "d.toml",
        "--sign-with",
        "origin",
        "--sign-with",
        "anna",
    )
    assert "received by Annika (Away), and the declaration names neither" in run(*words, code=3).stderr
    assert len(look("log")["events"]) == 1
    assert "names neither" in run(*words, "--as-found").stderr
    findings = look("log", code=3)["findings"]
    assert [(each["kind"], each["serials"]) for each in findings] == [("stranger", SERIALS), ("carrier", SERIALS[2:])]
    told = run(custody, "log", "--declaration", "d.toml", code=3).stderr
    assert "hint: that drives went on as they might not, the officer alone settles whose key signed the release" in told
    assert "hint: what is cleared up" not in told


def test_a_drive_for_another_carrier_is_shown_and_an_inspection_says_who_has_it_again(folder):
    begun()
    across = record("log", "handover", "anna", "bo", item(SERIALS[:2], "S1", "S1", "intact"), code=3)
    assert [(each["kind"], each["serials"]) for each in across["findings"]] == [("carrier", SERIALS[:2])]
    kept = form(
        "customs_inspection", "bo", "mallory", item(SERIALS[2:], "S2", "S2", "intact"), more="officer_ref = 'ZA 77'",
        photos=(None, ""),
    )  # fmt: skip
    text = pathlib.Path(kept).read_text()
    at = text.index("[received_by]")
    photo = "ab" * 32
    text = text[:at] + text[at:].replace("Consignee Bhd", "Customs").replace("photo = ''", f"photo = '{photo}'")
    pathlib.Path(kept).write_text(text)
    said = run(handover, "log", "--event", kept, "--declaration", "d.toml", "--sign-with", "bo", code=3).stderr
    assert "names neither; so customs kept the drives: who has them again stands on both sides of an inspection" in said


@pytest.mark.parametrize(
    "kind", ["handover", "load", "arrive", "return", "verify", "customs_inspection", "unseal", "seal"]
)
def test_no_kind_of_event_brings_drives_to_somebody_else_without_a_release_or_to_a_stranger_unseen(folder, kind):
    record("log", "seal", "origin", "origin", item(SERIALS, "", "S1", "no_seal"))
    more = {"verify": "hash_sample_result = 'match'", "customs_inspection": "officer_ref = 'case 1'"}.get(kind, "")
    seals = ("S1", "" if kind == "unseal" else "S1", "intact")
    for extra in ([], ["--as-found"]):
        with pytest.raises(Refused, match="drives do not go on without a release that holds"):
            record("log", kind, "origin", "anna", item(SERIALS, *seals), more=more, extra=extra)
    assert len(look("log")["events"]) == 1
    let_go()
    path = form(kind, "origin", "anna", item(SERIALS, *seals), more=more)
    text = pathlib.Path(path).read_text()
    at = text.index("[received_by]")
    pathlib.Path(path).write_text(text[:at] + text[at:].replace("'Anna'", "'Annika'").replace("Consignee Bhd", "Away"))
    words = ("log", "--event", path, "--declaration", "d.toml", "--sign-with", "origin", "--sign-with", "anna")
    said = json.loads(run(handover, *words, "--json", code=3).stdout)
    assert "stranger" in {each["kind"] for each in said["findings"]}


def test_drives_come_back_to_the_origin_at_any_time_to_whom_a_record_binds_to_it(folder):
    path = form("return", "anna", "origin", item(SERIALS, "S1", "S1", "intact"))
    words = ("--event", path, "--declaration", "d.toml", "--sign-with", "origin", "--sign-with", "anna", "--as-found")

    def kinds(log):
        return {each["kind"] for each in json.loads(run(handover, log, *words, "--json").stdout)["findings"]}

    assert kinds("log") == {"begins", "unreleased"}, "this log has nothing that binds the key to the origin"
    line = f'writer@example.com namespaces="sealift-custody" {PEOPLE["origin"].public_key.line}\n'  # the author's
    (folder / "signers").write_text((folder / "signers").read_text() + line)
    assert kinds("log2") == {"begins"}


def test_nothing_of_a_rehearsal_is_handed_over(folder):
    (folder / "d.toml").write_bytes(DECLARATION.raw.replace(b"rehearsal = false", b"rehearsal = true"))
    with pytest.raises(Refused, match="declares a rehearsal"):
        record("log", "seal", "origin", "origin", item(SERIALS, "", "S1", "no_seal"))


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"items": [item(SERIALS[:2], "S9", "S9", "intact")]}, "seal"),
        ({"items": [item(SERIALS[2:], "S2", "S2", "intact")]}, "hands"),
        ({"items": [item(SERIALS[:2], "S1", "S1", "intact")], "more": "at = '2020-01-01T00:00:00Z'"}, "clock"),
    ],
)
def test_a_slip_is_shown_and_not_written_unless_it_is_so(folder, change, kind):
    begun()
    before = sorted(os.listdir("log"))
    items, more = change["items"], change.get("more", "")
    answer = record("log", "handover", "anna", "dock", *items, more=more, code=3)
    assert (answer["recorded"], answer["event"], answer["form"]) == (False, None, None)
    assert [each["kind"] for each in answer["findings"]] == [kind]  # the digest of what was before proves when it was
    assert sorted(os.listdir("log")) == before
    answer = record("log", "handover", "anna", "dock", *items, more=more, extra=["--as-found"])
    assert answer["recorded"]
    assert kind in {each["kind"] for each in look("log", code=3)["findings"]}


def test_the_other_side_signs_on_another_copy(folder):
    begun()
    arrival = ("arrive", "anna", "dock", item(SERIALS[:2], "S1", "S1", "intact"))
    made = record("anna_copy", *arrival, by=["anna"])
    shutil.copytree("anna_copy", "dock_copy")
    digits = made["event"][:12]
    with pytest.raises(Refused, match="neither side"):
        run(handover, "dock_copy", "--countersign", digits, "--declaration", "d.toml", "--sign-with", "bo")
    for wrong in ("abc", "0" * 12, "*" * 12, digits[:7]):
        with pytest.raises(BadInput, match=r"begins? so"):
            run(handover, "dock_copy", "--countersign", wrong, "--declaration", "d.toml", "--sign-with", "dock")
    signing = (handover, "dock_copy", "--countersign", digits, "--declaration", "d.toml", "--sign-with", "dock")
    assert made["event"] in run(*signing).stdout
    files = sorted(os.listdir("dock_copy"))
    run(*signing)
    assert sorted(os.listdir("dock_copy")) == files, "signing again changes nothing"
    assert look("anna_copy", code=3)["findings"][0]["kind"] == "uncountersigned"
    assert look("anna_copy", "--merge", "dock_copy")["merged"] == {"events": 0, "signatures": 1}
    again = record("bo_copy", "arrive", "bo", "dock", item(SERIALS[2:], "S2", "S2", "intact"), by=["bo"])["event"]
    for path in folder.glob("d.release.json*"):
        path.unlink()
    with pytest.raises(Refused, match="by an arrival drives do not go on without a release that holds"):
        run(handover, "bo_copy", "--countersign", again[:12], "--declaration", "d.toml", "--sign-with", "dock")


@pytest.mark.long
def test_every_byte_of_every_file_of_a_log(folder):
    begun()
    for path in sorted(pathlib.Path("log").iterdir()):
        data = path.read_bytes()
        for at in range(len(data)):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
            found = custody_log.read("log").findings
            assert [(each.kind, each.events) for each in found] == [("altered", (path.name[:64],))]
        for other in (data[:-1], data + b"\n", b""):
            path.write_bytes(other)
            assert [each.kind for each in custody_log.read("log").findings] == ["altered"]
        look("log", code=5)
        path.write_bytes(data)
    assert look("log")["whole"]


def test_an_altered_file_is_neither_merged_nor_mended_and_is_named(folder):
    begun()
    (path,) = [each for each in pathlib.Path("anna_copy").glob("*.json") if b'"handover"' in each.read_bytes()][:1]
    good = path.read_bytes()
    path.write_bytes(good.replace(b"gate 4", b"gate 5"))
    assert "anna_copy" in look("log", "--merge", "anna_copy", code=5)["findings"][0]["text"]
    assert look("log")["whole"]
    found = look("anna_copy", "--merge", "log", code=5)
    assert ("altered", [path.stem]) in [(each["kind"], each["events"]) for each in found["findings"]]
    assert path.read_bytes() != good
    path.unlink()
    assert look("anna_copy", "--merge", "log")["whole"]


def test_swapped_names_and_events_from_another_consignment_are_named(folder):
    begun()
    one, two = sorted(pathlib.Path("log").glob("*.json"))[:2]
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second), two.write_bytes(first)
    kinds = [(each["kind"], each["events"]) for each in look("log", code=5)["findings"]]
    assert ("altered", [one.stem]) in kinds
    assert ("altered", [two.stem]) in kinds
    one.write_bytes(first), two.write_bytes(second)
    text = DECLARATION.raw.replace(ID.encode(), b"SL-2026-OTHER8")
    (folder / "other.toml").write_bytes(text)
    done = run(custody, "log", "--declaration", "other.toml", "--json", code=5)
    assert {each["kind"] for each in json.loads(done.stdout)["findings"]} == {"consignment", "unheld"}
    found = json.loads(run(custody, "new", "--declaration", "other.toml", "--merge", "log", "--json", code=5).stdout)
    assert (found["merged"], os.listdir("new")) == ({"events": 0, "signatures": 0}, [])
    with pytest.raises(BadInput, match="the form is of"):
        record("log", "handover", "anna", "dock", item(SERIALS[:2], "S1", "S1", "intact"), consignment="SL-2026-OTHER8")


def test_foreign_things_in_the_folder_are_named_and_not_followed(folder):
    begun()
    os.symlink("/etc/passwd", f"log/{'a' * 64}.json")
    os.mkfifo(f"log/{'b' * 64}.json")
    os.mkdir(f"log/{'c' * 64}.json")
    (folder / "log" / "notes.txt").write_text("x")
    pathlib.Path(os.fsdecode(b"log/\xff")).write_text("x")
    (folder / "log" / ".DS_Store").write_text("x")
    found = look("log", code=3)["findings"]
    assert [each["kind"] for each in found] == ["unexpected"] * 5


def test_a_folder_whose_name_is_no_text(folder):
    begun()
    name = os.fsdecode(b"copy\xff")
    shutil.copytree("log", name)
    altered = next(pathlib.Path(name).glob("*.json"))
    altered.write_bytes(b"{}")
    big = pathlib.Path(name) / f"{'d' * 64}.json"
    big.touch()
    os.truncate(big, ev.MAX_EVENT + 1)
    assert look(name, code=5)["findings"]
    found = look("log", "--merge", name, code=5)["findings"]
    assert all("copy\\udcff" in each["text"] for each in found)
    with pytest.raises(BadInput):
        run(custody, name + "/none", "--declaration", "d.toml")


def test_limits_of_a_folder(folder, monkeypatch):
    begun()
    (big,) = [f"{'d' * 64}.json"]
    with open(f"log/{big}", "wb") as file:
        file.truncate(ev.MAX_EVENT + 1)
    assert "longer than" in look("log", code=5)["findings"][0]["text"]
    os.unlink(f"log/{big}")
    event = next(pathlib.Path("log").glob("*.json")).stem
    for n in range(custody_log.MAX_SIGNATURES + 1):
        data = b"%d" % n
        (folder / "log" / f"{event}-{ev.digest_of(data)[:16]}.sig").write_bytes(data)
    assert any("more than 16 signatures" in each["text"] for each in look("log", code=5)["findings"])
    for name, value, words in (("MAX_FILES", 3, "files"), ("MAX_LOG", 100, "100 bytes")):
        with monkeypatch.context() as patch:
            patch.setattr(custody_log, name, value)
            with pytest.raises(BadInput, match=words):
                custody_log.read("log")
    monkeypatch.setattr(ev, "MAX_COUNT", 2)
    with pytest.raises(BadInput, match="more than 2 events"):
        custody_log.read("log")


def test_a_signature_comes_before_its_event(folder, monkeypatch):
    begun()
    before = sorted(os.listdir("log"))
    real = os.rename

    def fails(source, target):
        if target.endswith(".json"):
            raise OSError(5, "Input/output error")
        real(source, target)

    monkeypatch.setattr(os, "rename", fails)
    with pytest.raises(BadInput, match="Input/output error"):
        record("log", "arrive", "anna", "dock", item(SERIALS[:2], "S1", "S1", "intact"))
    assert {each["kind"] for each in look("log", code=3)["findings"]} == {"orphan"}
    assert len(os.listdir("log")) == len(before) + 2, "two signatures, and nothing else is left"


class Crash(BaseException):
    """Ends a process where it stands."""


@pytest.mark.parametrize("at", range(9))
def test_a_crash_anywhere_leaves_no_event_without_its_signatures(folder, monkeypatch, at):
    begun()
    calls = iter(range(100))
    with monkeypatch.context() as patch:
        for name in ("fsync", "rename"):
            real = getattr(os, name)

            def call(*args, real=real):
                if next(calls) == at:
                    raise Crash
                return real(*args)

            patch.setattr(os, name, call)
        patch.setattr(os, "unlink", lambda _path: None)  # whoever has crashed does not tidy up either
        with pytest.raises(Crash) if at < 7 else contextlib.nullcontext():
            record("log", "arrive", "anna", "dock", item(SERIALS[:2], "S1", "S1", "intact"))
    account = json.loads(CliRunner().invoke(custody, ["log", "--declaration", "d.toml", "--json"]).stdout)
    assert {each["kind"] for each in account["findings"]} <= {"orphan"}
    if len(account["events"]) == 3:
        record("log", "arrive", "anna", "dock", item(SERIALS[:2], "S1", "S1", "intact"))
    account = json.loads(CliRunner().invoke(custody, ["log", "--declaration", "d.toml", "--json"]).stdout)
    assert len(account["events"]) == 4
    assert {each["kind"] for each in account["findings"]} <= {"orphan"}


def test_a_full_medium_leaves_nothing(folder, monkeypatch):
    begun()
    before = sorted(os.listdir("log"))
    count = iter(range(10))

    def full(handle):
        if next(count) == 2:  # the event, after both signatures
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadInput, match="No space left"):
        record("log", "arrive", "anna", "dock", item(SERIALS[:2], "S1", "S1", "intact"))
    assert sorted(os.listdir("log")) == before


def test_ssh_keygen_and_b3sum_check_a_log(folder):
    if not shutil.which("ssh-keygen") or not shutil.which("b3sum"):
        pytest.skip("not installed: ssh-keygen, b3sum")
    begun()
    checked = 0
    for path in pathlib.Path("log").glob("*.json"):
        summed = subprocess.run(["b3sum", "--no-names", path], capture_output=True, text=True, check=True).stdout
        assert summed.strip() == path.stem
        for signature in pathlib.Path("log").glob(path.stem + "-*.sig"):
            who = [
                name
                for name in PEOPLE
                if subprocess.run(
                    ["ssh-keygen", "-Y", "verify", "-n", "sealift-custody", "-f", "signers",
                     "-I", f"{name}@example.com", "-s", signature],
                    input=path.read_bytes(), capture_output=True, check=False,
                ).returncode == 0
            ]  # fmt: skip
            assert len(who) == 1
            checked += 1
    assert checked == 5


def test_the_empty_form_has_every_drive_and_wants_everything(folder):
    answer = json.loads(run(handover, "log", "--new", "new.toml", "--declaration", "d.toml", "--json").stdout)
    assert answer == {"file": "new.toml", "consignment_id": ID, "drives": 4}
    text = pathlib.Path("new.toml").read_text()
    assert all(serial in text for serial in SERIALS)
    with pytest.raises(BadInput, match="there already"):
        run(handover, "log", "--new", "new.toml", "--declaration", "d.toml")
    with pytest.raises(BadInput) as caught:
        run(handover, "log", "--event", "new.toml", "--declaration", "d.toml", "--sign-with", "origin")
    for field in (
        "place",
        "reason",
        "released_by.name",
        "received_by.id_kind",
        "items[2].seal_checked",
        "items[1].condition",
    ):
        assert f"\n  {field}: " in str(caught.value)


@pytest.mark.long
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("at = '2026-11-25'", "no time with its offset"),
        ("at = '2026-11-25T10:00:00'", "no time with its offset"),
        ("at = '9999-12-31T23:59:59-14:00'", "no time with its offset"),
        ("resolves = ['12345678']", "no event of the log"),
        ("photos = ['nowhere.jpg']", "photograph"),
        ("photos = ['/dev/zero']", "not a regular file"),
        ("whatever = 1", "no such field"),
        ("officer_ref = 'x'", "belongs to a customs inspection"),
        ("local_timezone = 'UTC'", "not TOML"),
    ],
)  # fmt: skip
def test_forms_that_are_refused(folder, text, words):
    begun()
    with pytest.raises(BadInput, match=words):
        record("log", "arrive", "anna", "dock", item(SERIALS[:2], "S1", "S1", "intact"), more=text)


def test_what_else_is_refused_writes_nothing(folder):
    begun()
    before = sorted(os.listdir("log"))
    good = ("arrive", "anna", "dock", item(SERIALS[:2], "S1", "S1", "intact"))
    event = ("--event", form(*good), "--declaration", "d.toml")
    for args, error, words in (
        ([*event], BadInput, "one key or two"),
        ([*event, *(["--sign-with", "anna"] * 3)], BadInput, "one key or two"),
        ([*event, *(["--sign-with", "anna"] * 2)], BadInput, "given twice"),
        ([*event, "--sign-with", "bo"], Refused, "neither side"),
        ([*event, "--new", "x", "--sign-with", "bo"], BadInput, "give one of"),
        (["--declaration", "d.toml"], BadInput, "give one of"),
        (["--paper", "form.toml", "--declaration", "d.toml", "--sign-with", "bo"], BadInput, "signs nothing"),
        (["--paper", "form.toml", "--declaration", "d.toml", "--as-found"], BadInput, "belongs to --event"),
        (["--event", "nowhere", "--declaration", "d.toml", "--sign-with", "bo"], BadInput, "form nowhere"),
    ):
        with pytest.raises(error, match=words):
            run(handover, "log", *args)
    with pytest.raises(SignatureInvalid, match="not among the allowed"):
        record("log", "arrive", "anna", "mallory", item(SERIALS[:2], "S1", "S1", "intact"))
    with pytest.raises(BadInput, match="did you mean") as caught:
        record("log", "arrive", "anna", "dock", item(["SER0001"], "S1", "S1", "intact"))
    assert "do not travel" in caught.value.hint
    assert sorted(os.listdir("log")) == before
    for place in ("nowhere", "d.toml"):
        with pytest.raises(SealiftError):
            run(custody, place, "--declaration", "d.toml")
    with pytest.raises(BadInput):
        record("no/where/log", "seal", "origin", "origin", item(SERIALS, "", "S1", "no_seal"))


def test_a_log_is_made_from_copies(folder):
    begun()
    with pytest.raises(BadInput, match="custody log"):
        run(custody, "log", "--declaration", "d.toml", "--merge", "nowhere")
    os.mkdir("new")
    assert look("new/log", "--merge", "anna_copy", "--merge", "bo_copy")["merged"]["events"] == 3
