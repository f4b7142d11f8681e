"""Records that were damaged before `sealift audit` gathers them: none of them may be dropped as a foreign file is."""

import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import audits
import pytest
from audits import HOME, OUT

from sealift.errors import BadInput
from sealift.stages import audit as stage
from sealift.stages import custody_log
from sealift.trade import custody

READER = Path(__file__).parents[1] / "interop" / "audit_reader.py"


@pytest.fixture(scope="module", autouse=True)
def _parsed_once():
    with audits.parsed_once():
        yield


@pytest.fixture(scope="module")
def voyage(tmp_path_factory):
    return audits.make(tmp_path_factory.mktemp("voyage"))


@pytest.fixture
def made(voyage, tmp_path):
    """What `audit` says of a copy of the voyage's folder to which something was done."""

    def go(do):
        folder = tmp_path / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(voyage.folder, folder)
        do(folder)
        papers = [str(folder / Path(each).relative_to(voyage.folder)) for each in voyage.papers]
        papers = [each for each in papers if os.path.lexists(each)]
        target = tmp_path / "bundle.tar"
        target.unlink(missing_ok=True)
        found = stage.make(
            papers, str(target), audits.person("auditor"), str(voyage.signers), voyage.allowed, voyage.now
        )
        verified = stage.verify_file(str(target), voyage.allowed, voyage.now)
        assert verified.findings == found.verified.findings, "the bundle alone says the same"
        return found

    return go


def flip(path, at, bit=0):
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def log_of(voyage, folder):
    return custody.assess(
        custody_log.read(str(folder / "custody")),
        consignment_id=OUT,
        serials=[],
        allowed=voyage.allowed,
        now=voyage.now,
    )


def newest(voyage, folder):
    rows = log_of(voyage, folder).rows
    return folder / "custody" / f"{rows[-1].entry.digest}.json"


def findings(found, name):
    return [(each.state, each.text) for each in found.verified.findings if name in each.file]


@pytest.mark.parametrize("at", [0, 12, 60, -3])
def test_an_altered_event_is_named_as_the_log_names_it(voyage, made, at):
    """Whether or not it still parses."""
    where = {}

    def do(folder):
        where["event"] = newest(voyage, folder)
        flip(where["event"], at)
        where["code"] = log_of(voyage, folder).exit_code

    found = made(do)
    assert (where["code"], found.verified.exit_code) == (5, 5)
    assert ("wrong", "the event is not what its digest says: it was altered") in findings(found, where["event"].name)
    assert any(where["event"].name in line for line in found.damaged)
    assert not any("custody: 6 events" in each for each in found.verified.holds)


def test_a_newest_event_that_was_removed_leaves_its_signatures(voyage, made):
    where = {}

    def do(folder):
        where["event"] = newest(voyage, folder)
        where["event"].unlink()
        where["code"] = log_of(voyage, folder).exit_code

    found = made(do)
    assert where["code"] == 3
    assert any(
        state == "look" and "a signature of an event that is not here" in text
        for state, text in findings(found, where["event"].stem)
    )
    assert found.verified.exit_code != 0


def records(folder):
    """What was signed in the voyage's folder, the signatures, and the declarations by the names that are looked for."""
    declared = re.compile(rf"({OUT}|{HOME})(\.r[0-9]+)?\.toml")
    return sorted(
        each.relative_to(folder)
        for each in folder.rglob("*")
        if (each.suffix in {".sig", ".seal"} and not re.search(r"\.toml\.[0-9]+\.sig$", each.name))
        or declared.fullmatch(each.name)
        or os.path.lexists(f"{each}.sig")
    ) + sorted(each.relative_to(folder) for each in folder.glob("*custody/*.json"))


def told(found, path):
    """Whether a line of its own names a file."""
    return any(path.name in each for each in found.damaged)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_a_byte_changed_in_any_record_before_it_is_gathered_is_told(voyage, made, seed):
    """Records of the folder, drawn: at the first byte, in the type and anywhere."""
    drawn, silent = random.Random(seed), []
    for path in drawn.sample(records(voyage.folder), 15):
        whole = (voyage.folder / path).read_bytes()
        at = [0, min(20, len(whole) - 1), drawn.randrange(len(whole))][seed]
        try:
            found = made(lambda folder, at=at, path=path: flip(folder / path, at, drawn.randrange(7)))
        except BadInput:
            continue  # it was said, and nothing was written
        if not (found.verified.exit_code or told(found, path)):
            silent.append((path, at))
    assert not silent


@pytest.mark.long
@pytest.mark.parametrize("name", [
    f"{OUT}.source-release.json", f"{OUT}.release.json", "receipts/second.receipt.json", "receipts/first.receipt.json",
    "CERTIFICATE", f"{OUT}.screening.json", f"{OUT}.keys.json", "SEAL", f"{HOME}.release.json",
])  # fmt: skip
@pytest.mark.parametrize("how", ["first byte", "type", "removed"])
def test_a_record_with_a_signature_beside_it_is_never_dropped(voyage, made, name, how):
    kinds = {"CERTIFICATE": "erased/*.certificate.json", "SEAL": "*.seal"}
    path = min(voyage.folder.glob(kinds[name])).relative_to(voyage.folder) if name in kinds else Path(name)

    def do(folder):
        if how == "removed":
            (folder / path).unlink()
        else:
            data = (folder / path).read_bytes()
            flip(folder / path, 0 if how == "first byte" else max(data.find(b"sealift-") + 9, 0))

    if how == "removed" and name == "SEAL":
        pytest.skip("nothing is left of it; what rests on it names it")
    found = made(do)
    copied = any(path.name in each and "a good copy is in the bundle" in each for each in found.damaged)
    assert told(found, path) or how == "removed"
    whole = how == "removed" and (voyage.folder / path).read_bytes() in found.verified.files.values()  # a seal has it
    assert copied or whole or found.verified.exit_code in {5, 3, 6}


def test_a_draft_with_the_number_of_a_released_revision_is_looked_at(voyage, made):
    def do(folder):
        path = folder / f"{OUT}.toml"
        path.write_text(path.read_text().replace("Consignee Bhd", "Friendly University"))

    found = made(do)
    assert found.verified.exit_code == 3
    ((state, text),) = findings(found, f"{OUT}/declaration.toml")
    assert state == "look"
    assert "declaration.r2.toml counts" in text
    assert any(f"{OUT}.toml.sig" in each for each in found.damaged)


@pytest.mark.parametrize("name", [f"{OUT}.release.json.sig", f"{OUT}.toml.sig"])
def test_a_damaged_signature_of_which_a_good_copy_is_here_takes_one_line(voyage, made, name):
    def do(folder):
        data = (folder / name).read_bytes()
        flip(folder / name, data.index(b"\n") + 60)

    found = made(do)
    assert found.verified.exit_code == 0
    assert len(found.damaged) == 1


def test_what_is_of_others_is_left_out_and_no_fault(voyage, made):
    """Photographs, notes, papers, other programs' signatures, stores that name files by digest."""

    def do(folder):
        (folder / "custody/note.txt").write_text("seals looked at, A.")
        (folder / "custody/seal.jpg").write_bytes(b"\xff\xd8 jpg")
        (folder / "custody/letter.docx").write_bytes(b"PK\x03\x04")
        (folder / "receipts/letter.txt").write_text("hello")
        (folder / "receipts/letter.txt.sig").write_bytes(b"\x89\x02 of gpg")
        (folder / "receipts/odd.json").write_text('{"type": "invoice"}\n')
        (folder / f"receipts/{'ab' * 32}.json").write_text('{"a store": 1}\n')
        (folder / "receipts/draft.json").write_bytes(b'{\n  "type": "sealift-receipt",\n  "version": 9\n}\n')

    found = made(do)
    assert found.verified.exit_code == 0
    assert found.damaged == []
    assert found.left_out_total == 7


def test_a_damaged_copy_of_a_log_of_which_a_good_one_is_here_takes_a_line(voyage, made):
    def do(folder):
        copy = folder / "receipts/copy-of-log"
        shutil.copytree(folder / "custody", copy)
        flip(newest(voyage, folder).parent.parent / "receipts/copy-of-log" / newest(voyage, folder).name, 0)

    found = made(do)
    assert found.verified.exit_code == 0
    assert len(found.damaged) == 1
    assert "a good copy is in the bundle" in found.damaged[0]


@pytest.mark.long
@pytest.mark.parametrize("how", ["event altered", "event removed", "receipt altered", "receipt removed", "draft"])
def test_a_program_that_is_not_ours_reads_the_same_of_what_was_damaged(voyage, made, tmp_path, how):
    """In the bundle that was made of it, by its specification alone."""
    if not (shutil.which("b3sum") and shutil.which("ssh-keygen")):
        pytest.skip("b3sum or ssh-keygen is not installed")

    def do(folder):
        receipt = folder / "receipts/second.receipt.json"
        path = newest(voyage, folder) if "event" in how else receipt
        if how == "draft":
            text = (folder / f"{OUT}.toml").read_text()
            (folder / f"{OUT}.toml").write_text(text.replace("Consignee Bhd", "Friendly University"))
        elif "removed" in how:
            path.unlink()
        else:
            flip(path, 0)

    found = made(do)
    ours = {each.file for each in found.verified.findings if each.state != "pending"}
    command = [sys.executable, "-I", str(READER), found.path, str(voyage.signers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    theirs = {line.partition(": ")[0] for line in done.stdout.splitlines()}
    assert (done.returncode, done.stderr) == (1, "")
    stems = {re.sub(r"(-[0-9a-f]{16})?(\.json)?(\.sig)?$", "", each) for each in ours}
    assert stems & {re.sub(r"(\.json)?(\.sig)?$", "", each) for each in theirs}, (ours, theirs)
