"""sealift screen from the outside: screen, decide, sign as the second, check; exit codes, --json, nothing lost."""

import json
import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
import screening_lists as made
from click.testing import CliRunner
from screening_cases import LIKE, LINES, SCREENER, SECOND
from trade_cases import OFFICER, STRANGER, content, party

from sealift.cli.screen import screen
from sealift.errors import BadInput, KeyInvalid, Refused, SignatureInvalid
from sealift.trade import screening, template
from sealift.trade.signing import Signer

SIGN = ("--sign-with", "screener", "--by", "S. Screener")
SIGN_2 = ("--sign-with", "second", "--by", "S. Econd")
ALLOWED = ("--allowed-signers", "allowed")
TODAY = f"{datetime.now(UTC):%Y-%m-%d}"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEALIFT_ALLOWED_SIGNERS", raising=False)
    (tmp_path / "allowed").write_text(LINES)
    (tmp_path / "d.toml").write_text(template.render(content(consignee=LIKE)))
    (tmp_path / "csl.csv").write_bytes(made.csl_csv())
    keys = {"screener": SCREENER, "second": SECOND, "officer": OFFICER, "stranger": STRANGER}
    monkeypatch.setattr(Signer, "open", lambda path: keys[path])
    return tmp_path


def run(*args, code=0, fetched=TODAY):
    if fetched and "--list" in args and "--by" in args and not {"--dispose", "--second"} & set(args):
        args = (*args, "--fetched", fetched)
    result = CliRunner().invoke(screen, args)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def fill(folder, *pairs):
    path = folder / "d.screening.toml"
    text = path.read_text()
    for old, new in (
        ('disposition = "potential"', 'disposition = "false_positive"'),
        ('rationale = ""', 'rationale = "another firm, by its register"'),
        ("differentiators = []", 'differentiators = ["founded 2019"]'),
        ('second_reviewer = ""', 'second_reviewer = "S. Econd"'),
        *pairs,
    ):
        text = text.replace(old, new)
    path.write_text(text)


def test_screen_decide_sign_and_check(folder):
    told = run("d.toml", "--list", "csl.csv", *SIGN, code=5)
    assert told.stdout == ""
    for words in (
        "csl.csv: 6 rows, fetched ",
        "0.9",
        "Velmarin Shipping Lines",
        "country is the same (IR)",
        "2 hits, 2 open",
    ):
        assert words in told.stderr
    told = run("d.toml", "--check", *ALLOWED, code=5).stderr
    assert "nobody has decided" in told
    assert "Velmarin Shipping Lines" in told, "who signs second sees what there is"

    fill(folder)
    told = run("d.toml", "--dispose", "d.screening.toml", *SIGN, code=5).stderr
    assert "2 hits, 0 open" in told
    assert "kept as d.screening.1.json" in told
    assert "want the signature of S. Econd" in told
    assert run("d.toml", "--second", *SIGN_2, *ALLOWED).stdout == ""
    answer = json.loads(run("d.toml", "--check", "--list", "csl.csv", *ALLOWED, "--json").stdout)
    assert answer == {"file": "d.toml", "clear": True, "problems": []}

    again = json.loads(run("d.toml", "--list", "csl.csv", *SIGN, "--json", code=5).stdout)
    assert again["record"]["trigger"] == "release"
    assert [each["kind"] for each in again["problems"]] == ["unreviewed"], (
        "decisions went along; the second looks again"
    )
    assert again["superseded"] == "d.screening.2.json"
    assert again["worksheet"] is None
    assert sorted(name for name in os.listdir(folder) if "screening" in name) == [
        "d.screening.1.json", "d.screening.1.json.sig",
        "d.screening.2.json", "d.screening.2.json.second.sig", "d.screening.2.json.sig",
        "d.screening.json", "d.screening.json.sig", "d.screening.toml",
    ]  # fmt: skip


def test_no_hits_and_nothing_to_decide(folder):
    (folder / "d.toml").write_text(template.render(content()))
    answer = json.loads(run("d.toml", "--list", "csl.csv", *SIGN, "--out", "out.json", "--json").stdout)
    assert (answer["clear"], answer["worksheet"], answer["screening"]) == (True, None, "out.json")
    assert screening.decode((folder / "out.json").read_bytes()).hits == 0
    assert not (folder / "d.screening.json").exists()
    run("d.toml", "--check", "--out", "out.json", *ALLOWED)
    with pytest.raises(BadInput, match="nothing is decided in it"):
        run("d.toml", "--second", *SIGN_2, *ALLOWED, "--out", "out.json")


def test_every_format_on_disk_and_two_lists_at_once(folder):
    for name, data in (("un.xml", made.un()), ("eu.xml", made.eu()), ("csl.json", made.csl_json())):
        (folder / name).write_bytes(data)
    for name, data in zip(("sdn.csv", "alt.csv", "add.csv"), made.ofac(), strict=True):
        (folder / name).write_bytes(data)
    os.mkdir(folder / "own")
    (folder / "own/internal.csv").write_bytes(made.mapped())
    toml = made.TOML.replace("2026-11-24", "2099-01-01")
    (folder / "own/list.toml").write_text(toml)
    args = [
        part
        for name in ("un.xml", "eu.xml", "csl.json", "csl.csv", "sdn.csv", "own/list.toml")
        for part in ("--list", name)
    ]
    with pytest.raises(BadInput, match=r"internal.csv: fetched at 2099-01-01T00:00:00Z, which is in the future"):
        run("d.toml", *args, *SIGN)
    (folder / "own/list.toml").write_text(toml.replace("2099-01-01", "2020-01-01"))
    answer = json.loads(run("d.toml", *args, *SIGN, "--json", code=5).stdout)
    files = {file["name"]: file for file in answer["record"]["lists"]}
    assert list(files) == ["un.xml", "eu.xml", "csl.json", "csl.csv", "sdn.csv", "alt.csv", "add.csv", "internal.csv"]
    assert (files["internal.csv"]["fetched_from"], files["internal.csv"]["published"]) == ("stated", "2026-11-20")
    hits = answer["record"]["parties"][2]["hits"]
    assert {hit["list"] for hit in hits} == {"un.xml", "eu.xml", "csl.json", "csl.csv", "sdn.csv", "internal.csv"}
    assert ("stale", "internal.csv") in [(each["kind"], each["where"]) for each in answer["problems"]]


def test_an_old_file_holds_the_release_and_touching_it_makes_it_no_newer(folder):
    (folder / "d.toml").write_text(template.render(content()))
    os.utime(folder / "csl.csv")
    told = run("d.toml", "--list", "csl.csv", *SIGN, code=5, fetched=None).stderr
    assert "csl.csv: nobody says of when it is" in told
    assert "--fetched DAY" in told
    old = "2026-01-02"
    assert "days ago; 7 are allowed" in run("d.toml", "--list", "csl.csv", *SIGN, code=5, fetched=old).stderr
    run("d.toml", "--list", "csl.csv", *SIGN)


def test_a_list_is_of_the_day_that_it_says_whatever_its_file_says(folder):
    (folder / "d.toml").write_text(template.render(content()))

    def told(days, code=5, **how):
        day = f"{datetime.now(UTC) - timedelta(days=days):%Y-%m-%d}"
        (folder / "un.xml").write_bytes(made.un().replace(b"2026-11-20T00:00:01", f"{day}T00:00:01".encode()))
        return run("d.toml", "--list", "un.xml", *SIGN, code=code, **how).stderr

    told(6, code=0, fetched=None)
    assert "by its own word, 9 days ago; 7 are allowed; if its publisher has no newer one" in told(9, fetched=None)
    told(9, code=0)
    assert "31 are allowed, whenever it was fetched" in told(40)
    assert "by its own word, which is in the future" in told(-3)


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "1066-10-14"])
def test_fetched_is_a_day_of_lists_that_are_screened(folder, text):
    with pytest.raises(BadInput, match="no date"):
        run("d.toml", "--list", "csl.csv", *SIGN, fetched=text)
    for args in (("--check", "--list", "csl.csv", *ALLOWED), ("--dispose", "x", *SIGN)):
        with pytest.raises(BadInput, match="--fetched belongs to --list"):
            run("d.toml", *args, "--fetched", TODAY)


@pytest.mark.parametrize(("mtime", "why"), [(1e15, "cannot be read|in the future"), (4e9, "in the future")])
def test_a_file_of_no_possible_time_is_refused(folder, mtime, why):
    try:
        os.utime(folder / "csl.csv", (mtime, mtime))
    except OSError:
        pytest.skip("this filesystem has no such time")
    with pytest.raises(BadInput, match=why):
        run("d.toml", "--list", "csl.csv", *SIGN, fetched=None)


def test_a_list_whose_name_does_not_print_is_refused(folder):
    name = os.fsdecode(b"\xff.csv")
    os.rename("csl.csv", name)
    with pytest.raises(BadInput, match="its name does not print"):
        run("d.toml", "--list", name, *SIGN)


def test_lists_that_shrank_or_are_gone_and_names_of_one_word_are_told(folder):
    run("d.toml", "--list", "csl.csv", *SIGN, code=5)
    (folder / "un.xml").write_bytes(made.un())
    run("d.toml", "--list", "csl.csv", "--list", "un.xml", *SIGN, code=5)
    told = run("d.toml", "--list", "csl.csv", *SIGN, code=5).stderr
    assert "un.xml: was screened against before, and is not now" in told
    many = [made.One(str(i), (f"Ann {i}",)) for i in range(30)]
    (folder / "csl.csv").write_bytes(made.csl_csv(many[:3]))
    assert (
        "csl.csv: 3 entries, where the one screened before had 6; is it whole?"
        in run("d.toml", "--list", "csl.csv", *SIGN, code=5).stderr
    )
    (folder / "csl.csv").write_bytes(made.csl_csv(many))
    assert (
        "carriers[1]: one word, 'anna', is near to many names"
        in run("d.toml", "--list", "csl.csv", *SIGN, code=5).stderr
    )


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ((*SIGN,), "no list to screen against"),
        (("--list", "csl.csv"), "a named person signs"),
        (("--list", "csl.csv", "--sign-with", "screener"), "a named person signs"),
        (("--check", "--second", *SIGN), "--second and --check are not given together"),
        (("--check", *SIGN), "--check signs nothing"),
        (("--check",), "no allowed signers are given"),
        (("--second", *SIGN_2), "no allowed signers are given"),
        (("--dispose", "x.toml", "--list", "csl.csv", *SIGN), "--list does not belong to --dispose"),
        (("--dispose", "x.toml", *SIGN), "there is no screening yet"),
        (("--second", *SIGN_2, *ALLOWED), "d.screening.json: No such file"),
        (("--list", "absent.csv", *SIGN), "list absent.csv: No such file"),
        (("--list", "absent.toml", *SIGN), "absent.toml: No such file"),
        (("--list", "allowed", *SIGN), "list allowed: of no format that is known"),
        (("--list", "csl.csv", "--sign-with", "screener", "--by", "two\nlines"), "by: a person's name in one line"),
    ],
)
def test_wrong_use_writes_nothing(folder, args, why):
    before = sorted(os.listdir(folder))
    with pytest.raises((BadInput, KeyInvalid), match=why) as caught:
        run("d.toml", *args)
    assert caught.value.hint or "No such file" in why or "by:" in why
    assert sorted(os.listdir(folder)) == before


def test_a_day_that_has_not_begun_is_not_stated(folder):
    here = datetime.now(UTC).astimezone().date()
    tomorrow = max(here, datetime.now(UTC).date()) + timedelta(days=1)
    with pytest.raises(BadInput, match=f"csl.csv: fetched at {tomorrow}T00:00:00Z, which is in the future") as caught:
        run("d.toml", "--list", "csl.csv", *SIGN, fetched=tomorrow.isoformat())
    assert "the day on which you got it" in caught.value.hint
    assert not (folder / "d.screening.json").exists()


def test_ofac_without_its_aliases_is_refused(folder):
    (folder / "sdn.csv").write_bytes(made.ofac()[0])
    with pytest.raises(BadInput, match=r"list alt\.csv: No such file"):
        run("d.toml", "--list", "sdn.csv", *SIGN)


def test_decisions_of_another_are_not_taken_over_unless_the_signers_file_says_so(folder):
    run("d.toml", "--list", "csl.csv", *SIGN, code=5)
    fill(folder)
    with pytest.raises(Refused, match="another key signed it"):
        run("d.toml", "--dispose", "d.screening.toml", *SIGN_2)
    run("d.toml", "--dispose", "d.screening.toml", *SIGN, code=5)
    kept = json.loads(
        run("d.toml", "--list", "csl.csv", "--sign-with", "officer", "--by", "O", *ALLOWED, "--json", code=5).stdout
    )
    assert [each["kind"] for each in kept["problems"]] == ["unreviewed"]
    lost = json.loads(
        run("d.toml", "--list", "csl.csv", "--sign-with", "stranger", "--by", "X", "--json", code=5).stdout
    )
    assert {each["kind"] for each in lost["problems"]} == {"unresolved"}
    assert any("are not taken over: another key signed it" in note for note in lost["notes"])


def test_a_record_that_was_altered_is_not_decided_on_nor_checked(folder):
    run("d.toml", "--list", "csl.csv", *SIGN, code=5)
    fill(folder)
    path = folder / "d.screening.json"
    path.write_bytes(path.read_bytes().replace(b'"trigger": "onboard"', b'"trigger": "release"'))
    with pytest.raises(SignatureInvalid):
        run("d.toml", "--check", *ALLOWED)
    with pytest.raises(Refused):
        run("d.toml", "--dispose", "d.screening.toml", *SIGN)
    path.write_bytes(b"{}")
    with pytest.raises(BadInput, match="does not parse"):
        run("d.toml", "--list", "csl.csv", *SIGN)
    assert path.read_bytes() == b"{}"


def test_the_second_is_who_the_screener_named_and_not_the_screener(folder):
    run("d.toml", "--list", "csl.csv", *SIGN, code=5)
    fill(folder)
    run("d.toml", "--dispose", "d.screening.toml", *SIGN, code=5)
    with pytest.raises(Refused, match=r"names 'S\. Econd' as the second reviewer, not 'O. Ther'"):
        run("d.toml", "--second", "--sign-with", "second", "--by", "O. Ther", *ALLOWED)
    with pytest.raises(Refused, match="the screener's own"):
        run("d.toml", "--second", "--sign-with", "screener", "--by", "S. Econd", *ALLOWED)
    with pytest.raises(SignatureInvalid):
        run("d.toml", "--second", "--sign-with", "stranger", "--by", "S. Econd", *ALLOWED)
    for principal, why in (
        ("author@example.com", "not the declaration's author"),
        ("screener@x", "the screener's own"),
    ):
        lines = f"screener@x {SCREENER.public_key.line}\n{principal} {STRANGER.public_key.line}\n"
        (folder / "two").write_text(lines)
        with pytest.raises(Refused, match=why):
            run("d.toml", "--second", "--sign-with", "stranger", "--by", "S. Econd", "--allowed-signers", "two")
    assert not (folder / "d.screening.json.second.sig").exists()


def test_a_second_signature_left_behind_by_a_crash_counts_as_none(folder):
    run("d.toml", "--list", "csl.csv", *SIGN, code=5)
    fill(folder)
    run("d.toml", "--dispose", "d.screening.toml", *SIGN, code=5)
    other = SECOND.sign(b"other bytes", screening.NAMESPACE)
    (folder / "d.screening.json.second.sig").write_bytes(other)
    assert "want the signature of S. Econd" in run("d.toml", "--check", *ALLOWED, code=5).stderr
    run("d.toml", "--second", *SIGN_2, *ALLOWED)
    run("d.toml", "--check", *ALLOWED)
    assert (folder / "d.screening.json.second.1.sig").read_bytes() == other


def test_a_worksheet_that_was_there_is_kept(folder):
    run("d.toml", "--list", "csl.csv", *SIGN, code=5)
    fill(folder)
    mine = (folder / "d.screening.toml").read_bytes()
    assert "kept as d.screening.1.toml" in run("d.toml", "--list", "csl.csv", *SIGN, code=5).stderr
    assert (folder / "d.screening.1.toml").read_bytes() == mine
    with pytest.raises(BadInput, match="the worksheet is of the screening") as caught:
        run("d.toml", "--dispose", "d.screening.1.toml", *SIGN)
    assert caught.value.hint == "take the worksheet that was written beside the record"


def test_another_consignments_record_is_not_used(folder):
    run("d.toml", "--list", "csl.csv", *SIGN, code=5)
    fill(folder)
    (folder / "d.toml").write_text(template.render(content(consignee=party("Other"), consignment_id="SL-2026-OTHER1")))
    for args in (("--dispose", "d.screening.toml"), ("--list", "csl.csv")):
        with pytest.raises(Refused, match="of another consignment"):
            run("d.toml", *args, *SIGN)


def test_ssh_keygen_verifies_both_signatures(folder):
    if shutil.which("ssh-keygen") is None and not os.environ.get("CI"):
        pytest.skip("ssh-keygen is not installed")
    run("d.toml", "--list", "csl.csv", *SIGN, code=5)
    fill(folder)
    run("d.toml", "--dispose", "d.screening.toml", *SIGN, code=5)
    run("d.toml", "--second", *SIGN_2, *ALLOWED)
    for who, end in (("screener", ".sig"), ("second", ".second.sig")):
        command = ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", f"{who}@example.com", "-n", "sealift-screening"]
        with open("d.screening.json", "rb") as file:
            done = subprocess.run(
                [*command, "-s", f"d.screening.json{end}"], stdin=file, capture_output=True, check=False
            )
        assert done.returncode == 0


def test_help_teaches():
    text = run("--help").stdout
    assert "sealift screen declaration.toml --list" in text
