"""sealift audit from the outside: made, verified, refused; exit codes, --json, words, nothing written over."""

import json
import tarfile
from pathlib import Path

import audits
import pytest
from audits import HOME, OUT

from sealift.cli import main
from sealift.formats import audit as bundles


@pytest.fixture(scope="module")
def voyage(tmp_path_factory):
    return audits.make(tmp_path_factory.mktemp("voyage"))


@pytest.fixture
def run(capsys, voyage, monkeypatch):
    monkeypatch.setenv("SEALIFT_ALLOWED_SIGNERS", str(voyage.signers))

    def go(*words, code=0):
        assert main.run(["audit", *map(str, words)]) == code, capsys.readouterr().err
        return capsys.readouterr()

    return go


@pytest.mark.parametrize("rubbish", [False, True])
def test_what_was_unpacked_is_bundled_again_and_says_the_same(run, voyage, tmp_path, rubbish):
    first, again = tmp_path / "first.tar", tmp_path / "again.tar"
    told = json.loads(run(*voyage.papers, "--to", first, "--sign-with", voyage.key, "--json").out)
    with tarfile.open(first) as tar:
        tar.extractall(tmp_path / "open", filter="data")
    if rubbish:  # where the erasure's log would lie, had the certificate always had this name
        (tmp_path / f"open/shipments/{OUT}/certificate.1.json.log.jsonl").write_bytes(b"{}\n")
    once_more = json.loads(run(tmp_path / "open/shipments", "--to", again, "--sign-with", voyage.key, "--json").out)
    assert [(each["state"], each["text"]) for each in once_more["findings"]] == [
        (each["state"], each["text"]) for each in told["findings"]
    ]


def test_made_and_verified(run, voyage, tmp_path):
    target = tmp_path / "x.tar"
    told = run(*voyage.papers, "--to", target, "--sign-with", voyage.key, "--json")
    answer = json.loads(told.out)
    assert answer["bundle"] == str(target)
    assert (answer["bytes"], answer["shipments"]) == (target.stat().st_size, [OUT, HOME])
    assert answer["whole"]
    assert answer["signed_by"] == "auditor@example.com"
    assert {each["state"] for each in answer["findings"]} == {"pending"}
    assert "everything that is here holds" in told.err
    assert f"written: {target}" in told.err
    again = json.loads(run("--verify", target, "--json").out)
    assert again == {
        name: value for name, value in answer.items() if name not in {"bytes", "blake3", "left_out", "damaged"}
    }
    assert [each.name for each in tmp_path.iterdir()] == ["x.tar"], "nothing is extracted"
    told = run(*voyage.papers, "--to", target, "--sign-with", voyage.key, code=1)
    assert "is there already; nothing was changed" in told.err


def test_what_does_not_hold_is_said_by_file(run, voyage, tmp_path):
    target = tmp_path / "x.tar"
    run(*voyage.papers, "--to", target, "--sign-with", voyage.key)
    data = bytearray(target.read_bytes())
    at = data.index(b'"sealift-source-release"')
    data[at + 200] ^= 1
    target.write_bytes(data)
    told = run("--verify", target, "--json", code=5)
    name = f"shipments/{OUT}/source-release.1.json"
    assert name in {each["file"] for each in json.loads(told.out)["findings"] if each["state"] == "wrong"}
    assert f"DOES NOT HOLD:\n  {name}: it is not what the index says" in told.err
    target.write_bytes(data[:-700])
    told = run("--verify", target, code=5)
    assert "error:" in told.err
    assert "hint:" in told.err


def test_a_bundle_of_a_shipment_that_went_wrong_is_written_and_says_so(run, voyage, tmp_path):
    papers = [each for each in voyage.papers if "receipts" not in each and "report" not in each]
    target = tmp_path / "x.tar"
    told = run(*papers, "--to", target, "--sign-with", voyage.key, code=6)
    assert "named by a record, and not here" in told.err
    assert bundles.decode_bundle(target.read_bytes())


@pytest.mark.parametrize(("words", "why"), [
    ((), "Usage"), (("--verify", "x", "--to", "y"), "alone verifies one"), (("x",), "makes one"),
    (("--verify", "x", "more"), "alone verifies one"), (("x", "--to", "y"), "wants --to BUNDLE and --sign-with KEY"),
    (("--verify", "/nowhere"), "bundle /nowhere"), (("/nowhere", "--to", "y", "--sign-with", "KEY"), "no such file"),
])  # fmt: skip
def test_wrong_use_is_bad_input(run, voyage, tmp_path, monkeypatch, words, why):
    monkeypatch.chdir(tmp_path)
    told = run(*(str(voyage.key) if word == "KEY" else word for word in words), code=1)
    assert why in told.err
    assert list(tmp_path.iterdir()) == []


def test_folders_say_what_they_left_out(run, voyage, tmp_path):
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "odd.txt").write_text("odd")
    told = run(voyage.folder / f"{OUT}.toml", folder, "--to", tmp_path / "x", "--sign-with", voyage.key, code=6)
    assert "1 file left out:" in told.err
    assert f"{Path(folder)}/odd.txt: of no kind that belongs into a bundle" in told.err


def test_what_sealift_itself_wrote_and_no_bundle_holds_is_left_out_by_name_too(run, voyage, tmp_path):
    """`declaration*.toml` gives the worksheet along; a name that is none of sealift's is a mistake."""
    sheet = tmp_path / "declaration.screening.toml"
    sheet.write_text('# Hits that want a decision\ntype = "sealift-screening-worksheet"\nversion = 1\n')
    form = tmp_path / "SL-1.discrepancy.toml"
    form.write_text('type = "sealift-custody-form"\n')
    report = tmp_path / "plan.json"
    report.write_text('{\n  "type": "sealift-calibration"\n}\n')
    told = run(
        voyage.folder / f"{OUT}.toml", sheet, form, report, "--to", tmp_path / "x", "--sign-with", voyage.key, code=6
    )
    assert "3 files left out:" in told.err
    odd = tmp_path / "odd.toml"
    odd.write_text('type = "another"\n')
    told = run(voyage.folder / f"{OUT}.toml", odd, "--to", tmp_path / "y", "--sign-with", voyage.key, code=1)
    assert "odd.toml: of no kind that belongs into a bundle" in told.err
