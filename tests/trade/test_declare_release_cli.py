"""sealift declare and sealift release from the outside: exit codes, --json, nothing overwritten."""

import json
import os
import shutil
import subprocess
from datetime import date

import pytest
from click.testing import CliRunner
from trade_cases import ALLOWED, AUTHOR, OFFICER, content

from sealift.cli.declare import declare
from sealift.cli.release import release
from sealift.errors import BadInput, DeclarationInvalid, Refused
from sealift.trade import declaration as d
from sealift.trade import release as releases
from sealift.trade import sheets, template
from sealift.trade.signing import Signer


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEALIFT_ALLOWED_SIGNERS", raising=False)
    for name, signer in (("author", AUTHOR), ("officer", OFFICER)):
        (tmp_path / f"{name}.pub").write_text(signer.public_key.line + " a comment\n")
    (tmp_path / "d.toml").write_text(template.render(content()))
    (tmp_path / "allowed").write_text(f'boss@example.com namespaces="sealift-release" {OFFICER.public_key.line}\n')
    keys = {"officer": OFFICER, "author": AUTHOR}
    monkeypatch.setattr(Signer, "open", lambda path: keys[path])
    return tmp_path


def run(command, *args, code=0):
    result = CliRunner().invoke(command, args)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


RELEASE = ("--officer", "O. Fficer", "--reason", "complete", "--reference", "TC-1")


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
    assert len(answer["problems"]) == 47
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

    assert sheets.DRAFT in run(declare, "--sheet", "Anna", "d.toml").stdout
    assert sheets.DRAFT not in run(declare, "--sheet", "Anna", "d.toml", "--allowed-signers", "allowed").stdout

    (folder / "d.toml").write_bytes(raw.replace(b"SER00003", b"SER00099"))
    with pytest.raises(Refused, match="not of this declaration"):
        run(declare, "--sheet", "Anna", "d.toml", "--allowed-signers", "allowed")
    result = run(release, "d.toml", "--sign-with", "officer", *RELEASE)
    assert "kept as d.release.1.json" in result.stderr
    assert (folder / "d.release.1.json").read_bytes() == pair[0]
    assert sheets.DRAFT not in run(declare, "--sheet", "Bo", "d.toml", "--allowed-signers", "allowed").stdout


def test_refused_releases_write_nothing(folder):
    before = sorted(os.listdir(folder))
    with pytest.raises(Refused):
        run(release, "d.toml", "--sign-with", "author", *RELEASE)
    (folder / "d.toml").write_text(template.render(d.blank("SL-2026-4F7K2Q", date(2026, 11, 26))))
    with pytest.raises(DeclarationInvalid):
        run(release, "d.toml", "--sign-with", "officer", *RELEASE)
    assert sorted(os.listdir(folder)) == before


def test_a_rehearsal_says_so(folder):
    (folder / "d.toml").write_text(template.render(content(rehearsal=True)))
    result = run(release, "d.toml", "--sign-with", "officer", *RELEASE, "--json")
    assert sheets.REHEARSAL in result.stderr
    assert json.loads(result.stdout)["rehearsal"] is True


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
