"""sealift documents from the outside: which papers come of which files, what is refused, and all or nothing."""

import json
import os
import sys
from pathlib import Path

import msgspec
import papers
import pytest
import receivings
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "trade"))  # cases of the papers, beside their tests

import erasures
import filled
import paper_cases as cases
import screening_cases
from custody_cases import PEOPLE, SERIALS, item, side, under_way
from custody_cases import sealed as custody_log
from trade_cases import OFFICER, STRANGER

from sealift.cli import main
from sealift.cli.documents import documents
from sealift.errors import BadInput, DeclarationInvalid, FormatError, Refused, SignatureInvalid
from sealift.formats import canonical
from sealift.stages import custody_log as logs
from sealift.stages import release as release_stage
from sealift.trade import certificate, receipt, rules, screening, sheets, template, typeset

FULL = cases.full()
SIGNERS = (
    f'officer@example.com namespaces="sealift-release" {OFFICER.public_key.line}\n'
    f'origin@example.com namespaces="sealift,sealift-declaration" {cases.AUTHOR.public_key.line}\n'
)
ALLOWED = ("--allowed-signers", "signers")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEALIFT_ALLOWED_SIGNERS", raising=False)
    (tmp_path / "d.toml").write_bytes(FULL.raw)
    (tmp_path / "signers").write_text(SIGNERS)
    return tmp_path


def run(*args, code=0):
    result = CliRunner().invoke(documents, [str(each) for each in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def pair(path, data, signature):
    path.write_bytes(data)
    Path(f"{path}.sig").write_bytes(signature)


def let_go(folder, declaration=FULL):
    made = cases.signed_release(declaration)
    pair(folder / "d.release.json", made.data, made.signature)


def names(folder, to="out"):
    return sorted(name.removeprefix("SL-2026-4F7K2Q-") for name in os.listdir(folder / to))


def said(folder, name, to="out"):
    papers.need_readers()
    return " ".join(" ".join(papers.text(str(folder / to / f"SL-2026-4F7K2Q-{name}.pdf"))).split())


ALWAYS = [
    "end-use-statement.pdf", "hand-carry-1-anna.pdf", "hand-carry-2-bo.pdf", "hand-carry-3.pdf", "hand-carry-4.pdf",
    "invoice-pro-forma.pdf", "packing-list.pdf", "red-flags-and-release.pdf",
]  # fmt: skip
ATA = ["ata-general-list.csv", "ata-general-list.pdf"]


def test_a_draft_has_all_papers_that_a_declaration_makes_and_says_draft(folder):
    done = run("d.toml", "--to", "out", "--json")
    answer = json.loads(done.stdout)
    assert names(folder) == sorted(ALWAYS + ATA)
    assert sorted(each["file"] for each in answer["papers"]) == sorted(os.listdir(folder / "out"))
    assert (answer["released"], answer["rehearsal"], answer["revision"]) == (False, False, 2)
    assert answer["blake3"] == FULL.digest
    assert "no checked release: these papers are drafts, and say so" in done.stderr
    assert "not written: screening report (there is no d.screening.json)" in done.stderr
    for each in answer["papers"]:
        data = (folder / "out" / each["file"]).read_bytes()
        assert (len(data), cases.blake3(data).hexdigest()) == (each["bytes"], each["blake3"])
    assert sheets.DRAFT in said(folder, "packing-list")


@pytest.mark.long
def test_the_same_again_elsewhere_gives_the_same_bytes(folder):
    first, second = (json.loads(run("d.toml", "--to", to, "--json").stdout)["papers"] for to in ("out", "again"))
    assert first == second


@pytest.mark.long
def test_a_released_declaration_has_no_drafts(folder):
    let_go(folder)
    done = run("d.toml", "--to", "out", *ALLOWED, "--json")
    assert json.loads(done.stdout)["released"]
    text = said(folder, "red-flags-and-release")
    assert "DRAFT" not in text
    assert "O. Fficer, 2026-11-23T12:00:00Z" in text
    run("d.toml", "--to", "unasked")
    assert sheets.DRAFT in said(folder, "packing-list", "unasked"), "nobody said who may release"


@pytest.mark.long
def test_the_worksheet_has_the_verdict_of_the_gate_and_its_rules(folder):
    run("d.toml", "--to", "out", *ALLOWED)
    text = said(folder, "red-flags-and-release")
    assert "The gate is closed." in text
    assert "nobody has been screened" in text
    rules = release_stage.load_rules(None)
    (folder / "rules.toml").write_bytes(rules.raw.replace(b'question = "', b'question = "Really: ', 1))
    run("d.toml", "--to", "changed", *ALLOWED, "--rules", "rules.toml")
    assert "Really: " in said(folder, "red-flags-and-release", "changed")


def test_the_verdict_is_by_the_rules_of_the_release_or_there_is_none(folder):
    let_go(folder)
    rules = release_stage.load_rules(None)
    (folder / "rules.toml").write_bytes(rules.raw.replace(b'question = "', b'question = "Really: ', 1))
    with pytest.raises(Refused, match="released by other rules"):
        run("d.toml", "--to", "out", *ALLOWED, "--rules", "rules.toml")


def test_a_released_shipment_whose_records_are_elsewhere_has_no_verdict_and_says_why(folder):
    """It is released, so that nothing is a draft; and nothing says again that the gate was open, or is closed."""
    signed = filled.released(FULL, OFFICER, cases.AUTHOR, cases.NOW, rules.shipped(), screening=b"{}", keys=b"{}")
    pair(folder / "d.release.json", signed.data, signed.signature)
    done = json.loads(run("d.toml", "--to", "out", *ALLOWED, "--json").stdout)
    text = said(folder, "red-flags-and-release")
    why = f"the screening that the release binds (BLAKE3 {signed.record.screening.blake3}) is not beside it"
    assert f"The rules were not evaluated for this paper: {why}." in " ".join(text.split())
    assert "gate is closed" not in text
    assert sheets.DRAFT not in text
    assert why in str(done["left_out"])
    kept = folder / f"d.rules-{signed.record.rules.blake3[:16]}.toml"
    for altered in (b"no rules [", release_stage.load_rules(None).raw + b"\n# more\n"):
        kept.write_bytes(altered)
        said_now = release_stage.verdict_of(str(folder / "d.toml"), FULL, signed)
        assert str(said_now).startswith(f"{kept.name} was altered: it is not the rules by which it was released")


def test_a_release_of_other_bytes_makes_no_paper(folder):
    let_go(folder)
    (folder / "d.toml").write_bytes(FULL.raw + b"#\n")
    with pytest.raises(Refused, match="not of this declaration"):
        run("d.toml", "--to", "out", *ALLOWED)
    assert not (folder / "out").exists()


def test_a_list_for_a_carnet_only_where_everything_comes_back(folder):
    stays = msgspec.structs.replace(cases.CUSTOMS, temporary="no", carnet_no="", re_export_by="")
    (folder / "d.toml").write_bytes(cases.full(customs=stays).raw)
    done = run("d.toml", "--to", "out", "--invoice", "commercial", "--json")
    assert names(folder) == sorted([*ALWAYS[:5], "invoice-commercial.pdf", *ALWAYS[6:]])
    left = {each["paper"]: each["why"] for each in json.loads(done.stdout)["left_out"]}
    assert "customs.temporary" in left["general list for an ATA carnet"]


def test_formulas_in_the_csv_are_told(folder):
    drives = [msgspec.structs.replace(each, make="=1+1") for each in cases.drives(60)]
    (folder / "d.toml").write_bytes(cases.full(drives=drives).raw)
    done = run("d.toml", "--to", "out", "--json")
    assert json.loads(done.stdout)["marked_cells"] == 60
    assert "60 cells of the CSV would have been a formula" in done.stderr


# --- the folder


def test_nothing_that_is_there_is_overwritten(folder):
    (folder / "out").mkdir()
    (folder / "out" / "mine").write_text("mine")
    with pytest.raises(BadInput, match="is there already; nothing was changed"):
        run("d.toml", "--to", "out")
    assert os.listdir(folder / "out") == ["mine"]
    (folder / "file").write_text("mine")
    with pytest.raises(BadInput, match="is there already"):
        run("d.toml", "--to", "file")


def test_an_empty_folder_is_taken(folder):
    (folder / "out").mkdir()
    run("d.toml", "--to", "out")
    assert names(folder) == sorted(ALWAYS + ATA)


def test_a_folder_in_none_is_told(folder):
    with pytest.raises(BadInput, match="No such file or directory") as caught:
        run("d.toml", "--to", "not/there")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("error", "code"), [(BadInput("no"), 1), (KeyboardInterrupt(), 130), (OSError(28, "No space left on device"), 1)]
)
def test_all_papers_or_none(folder, monkeypatch, error, code):
    before = sorted(os.listdir(folder))
    made = []

    def fail(*given):
        made.append(given)
        if len(made) == 3:
            raise error
        return b"%PDF"

    monkeypatch.setattr(typeset, "typeset", fail)
    assert main.run(["documents", "d.toml", "--to", "out"]) == code
    assert len(made) == 3
    assert sorted(os.listdir(folder)) == before


def test_bad_declarations_are_refused_by_name(folder):
    (folder / "d.toml").write_text("type = 1")
    with pytest.raises(DeclarationInvalid):
        run("d.toml", "--to", "out")
    with pytest.raises(BadInput, match=r"declaration nowhere\.toml"):
        run("nowhere.toml", "--to", "out")


def test_without_the_extra_it_says_what_to_install(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "typst", None)
    assert main.run(["documents", "d.toml", "--to", "out"]) == 1
    assert "pip install 'sealift[papers]'" in capsys.readouterr().err
    assert not (folder / "out").exists()


# --- seal


def test_a_seal_says_where_each_drive_is_and_carries_the_release(folder):
    (folder / "x.seal").write_bytes(cases.sealed(FULL))
    run("d.toml", "--to", "out", *ALLOWED, "--seal", "x.seal")
    text = said(folder, "packing-list")
    assert "cd072cd8be6f9f62, sealed 2026-11-25T08:00:00Z" in text
    assert "g0s59 cd072c-60of60" in text
    assert "DRAFT" not in text


def test_a_seal_of_another_declaration_makes_no_paper(folder):
    (folder / "x.seal").write_bytes(cases.sealed(cases.full(revision=3)))
    with pytest.raises(Refused, match="seal is of another declaration"):
        run("d.toml", "--to", "out", *ALLOWED, "--seal", "x.seal")


def test_no_record_is_believed_without_signers(folder):
    for option in ("--seal", "--custody", "--receipt", "--certificate"):
        with pytest.raises(BadInput, match="no allowed signers"):
            run("d.toml", "--to", "out", option, "x")


# --- screening


def screened(folder, record, declaration, *, by=screening_cases.SCREENER):
    (folder / "d.toml").write_bytes(declaration.raw)
    data = canonical.encode(record)
    pair(folder / "d.screening.json", data, by.sign(data, screening.NAMESPACE))
    (folder / "signers").write_text(screening_cases.LINES)


def test_the_screening_beside_it_has_its_report(folder):
    like = screening_cases.like()
    screened(folder, screening_cases.screened(like), like)
    run("d.toml", "--to", "out", *ALLOWED)
    text = said(folder, "screening-report")
    assert "S. Screener; signature screener@example.com, key SHA256:" in text
    assert "nobody has decided" in text
    run("d.toml", "--to", "unchecked")
    assert "signature not checked: no allowed signers were given" in said(folder, "screening-report", "unchecked")


def test_a_screening_that_does_not_hold_has_none(folder):
    like = screening_cases.like()
    screened(folder, screening_cases.screened(like), like, by=STRANGER)
    with pytest.raises(SignatureInvalid):
        run("d.toml", "--to", "out", *ALLOWED)
    (folder / "d.screening.json").write_bytes(b"{}")
    with pytest.raises(FormatError):
        run("d.toml", "--to", "out")
    other = msgspec.structs.replace(screening_cases.screened(like), consignment_id="SL-2026-OTHER7")
    screened(folder, other, like)
    with pytest.raises(Refused, match="SL-2026-OTHER7"):
        run("d.toml", "--to", "out")


# --- custody


def written_log(folder, log):
    (folder / "signers").write_text(
        "".join(f'{name}@example.com namespaces="sealift-custody" {PEOPLE[name].public_key.line}\n'
                for name in ("origin", "anna", "bo", "dock"))
    )  # fmt: skip
    (folder / "d.toml").write_bytes(cases.custody_cases.DECLARATION.raw)
    for digest, entry in log.entries.items():
        logs.add(str(folder / "custody"), entry, sorted(log.signatures[digest]))


def test_every_event_of_the_custody_log_has_its_form(folder):
    log, *_ = under_way()
    written_log(folder, log)
    run("d.toml", "--to", "out", *ALLOWED, "--custody", "custody")
    forms = [name for name in names(folder) if name.startswith("custody")]
    assert forms == ["custody-01-seal.pdf", "custody-02-handover.pdf", "custody-03-handover.pdf"]
    path = str(folder / "out" / "SL-2026-4F7K2Q-custody-02-handover.pdf")
    assert papers.code(papers.picture(path, 0, papers.PAGE), folder).startswith("SEALIFT-CUSTODY:1:SL-2026-4F7K2Q:2:")


def test_a_custody_log_that_was_altered_has_none(folder):
    log = custody_log()
    log.record("handover", "origin", side("anna", paper=True), [item(SERIALS[:2], "S1")])
    written_log(folder, log)
    victim = next((folder / "custody").glob("*.json"))
    victim.write_bytes(victim.read_bytes().replace(b"gate 4", b"gate 5"))
    with pytest.raises(Refused, match="custody log custody does not hold") as caught:
        run("d.toml", "--to", "out", *ALLOWED, "--custody", "custody")
    assert caught.value.hint.startswith("sealift custody custody")


# --- arrival


@pytest.fixture
def arrived(folder):
    """Three drives of one group, all of them here."""
    return erasures.Papers(folder, ("SER1", "SER2", "SER3"))


@pytest.fixture
def voyage(folder):
    """A shipment with its seal, and how a receipt of some of its drives is written."""
    world = receivings.make(geometry=((2, 2), (1, 1)))
    (folder / "d.toml").write_bytes(world.trusted.declaration.raw)
    (folder / "x.seal").write_bytes(world.fleet.bundle)
    (folder / "signers").write_bytes(world.signers)

    def receive(*drives, seal=None, made_again=None):
        report = world.report(world.drives(*drives))
        for copy in (each for group in report.groups for each in group.present if each.drive == made_again):
            copy.rebuilt = True
        record = world.received(report).record
        record = msgspec.structs.replace(record, seal=seal or record.seal)
        data = receipt.encode(record)
        pair(folder / "x.receipt.json", data, receivings.signer(world.fleet, "dock").sign(data, receipt.NAMESPACE))
        return world

    return receive


ARRIVED = (*ALLOWED, "--seal", "x.seal", "--receipt", "x.receipt.json")


def arrivals(folder):
    found = os.listdir(folder / "out")
    return sorted(name.partition("-41-")[2] for name in found if "delivery" in name or "discrepancy" in name)


def test_a_receipt_has_certificates_of_what_was_verified_and_a_report_of_the_rest(folder, voyage):
    world = voyage("g0s0", "g0s1", "g0s2", "g1s0")
    run("d.toml", "--to", "out", *ARRIVED)
    assert arrivals(folder) == [*(f"delivery-drive-{number}.pdf" for number in (1, 2, 3, 5)), "discrepancy-report.pdf"]
    papers.need_readers()
    (path,) = (folder / "out").glob("*discrepancy-report.pdf")
    text = " ".join(" ".join(papers.text(str(path))).split())
    assert f"4 of 6 {world.fleet.serial(0, 3)}" in text
    assert "the source is NOT to be freed" in text


def test_a_drive_that_was_made_again_on_another_medium_was_not_delivered_and_is_still_missed(folder, voyage):
    world = voyage(made_again="g0s3")
    done = run("d.toml", "--to", "out", *ARRIVED)
    assert "not written: delivery certificate of drive 4" in done.stderr
    assert arrivals(folder) == [
        *(f"delivery-drive-{number}.pdf" for number in (1, 2, 3, 5, 6)),
        "discrepancy-report.pdf",
    ]
    papers.need_readers()
    (path,) = (folder / "out").glob("*discrepancy-report.pdf")
    text = " ".join(" ".join(papers.text(str(path))).split())
    assert f"4 of 6 {world.fleet.serial(0, 3)}" in text
    assert "declared goods are not where they were declared to go" in text


def test_a_receipt_of_everything_needs_no_report(folder, voyage):
    voyage()
    done = run("d.toml", "--to", "out", *ARRIVED)
    assert "not written: discrepancy report (every drive is intact)" in done.stderr
    assert arrivals(folder) == [f"delivery-drive-{number}.pdf" for number in range(1, 7)]


def test_without_the_seal_nothing_is_said_of_what_is_missing(folder, voyage):
    voyage("g0s0")
    done = run("d.toml", "--to", "out", *ALLOWED, "--receipt", "x.receipt.json")
    assert "not written: discrepancy report (no seal is given to compare with)" in done.stderr
    assert arrivals(folder) == ["delivery-drive-1.pdf"]


def test_a_receipt_that_the_seal_contradicts_makes_no_paper(folder, voyage):
    voyage(seal=erasures.REF)
    with pytest.raises(Refused, match="another seal of this shipment"):
        run("d.toml", "--to", "out", *ARRIVED)


def test_receipts_that_do_not_hold_or_are_of_others_have_none(folder, arrived):
    arrived.receive(by=OFFICER)
    with pytest.raises(SignatureInvalid):
        run("declaration.toml", "--to", "out", *ALLOWED, "--receipt", "x.receipt.json")
    arrived.receive()
    arrived.declare(retention_until="2037-01-01")
    with pytest.raises(Refused, match="not of this declaration"):
        run("declaration.toml", "--to", "out", *ALLOWED, "--receipt", "x.receipt.json")
    assert not (folder / "out").exists()


def erased(folder, **changes):
    fields = {"consignment_id": erasures.CONSIGNMENT} | changes
    record = msgspec.structs.replace(cases.test_certificate.RECORD, **fields)
    data = certificate.encode(record)
    path = folder / "S6CANX0T000001-20261121T090210Z.certificate.json"
    pair(path, data, erasures.OPERATOR.sign(data, certificate.NAMESPACE))
    (folder / "S6CANX0T000001-20261121T090210Z.log.jsonl").write_bytes(cases.test_certificate.LOG)
    return path


def test_a_certificate_of_sanitization_is_printed(folder, arrived):
    path = erased(folder)
    run("declaration.toml", "--to", "out", *ALLOWED, "--certificate", path)
    (name,) = [name for name in names(folder) if name.startswith("sanitization")]
    assert name == "sanitization-undeclared-20261121T090210Z.pdf"
    text = said(folder, name.removesuffix(".pdf"))
    assert "dana@example.org, key SHA256:" in text
    assert "nvme-sanitize-block" in text


def test_a_certificate_that_does_not_hold_is_not(folder, arrived):
    path = erased(folder)
    log = folder / "S6CANX0T000001-20261121T090210Z.log.jsonl"
    log.write_bytes(b"another\n")
    with pytest.raises(Refused, match="the log is not the one"):
        run("declaration.toml", "--to", "out", *ALLOWED, "--certificate", path)
    log.unlink()
    with pytest.raises(BadInput, match="the certificate's log"):
        run("declaration.toml", "--to", "out", *ALLOWED, "--certificate", path)
    copy = folder / "copy.certificate.json"
    pair(copy, path.read_bytes(), Path(f"{path}.sig").read_bytes())
    for each in (log, folder / "copy.log.jsonl"):
        each.write_bytes(cases.test_certificate.LOG)
    with pytest.raises(BadInput, match="two papers would be"):
        run("declaration.toml", "--to", "out", *ALLOWED, "--certificate", path, "--certificate", copy)
    assert not (folder / "out").exists()


def test_a_drive_that_is_lost_has_no_certificate(folder, arrived):
    arrived.receive(erasures.group(0, "rebuilt", ("SER1", "SER2", "SER3"), {"SER3": "lost"}))
    run("declaration.toml", "--to", "out", *ALLOWED, "--receipt", "x.receipt.json")
    assert "delivery-drive-3.pdf" not in names(folder)


def test_a_draft_that_says_nothing_has_papers_too(folder):
    draft = cases.d.blank("SL-2026-4F7K2Q", cases.DAY)
    (folder / "d.toml").write_text(template.render(draft))
    run("d.toml", "--to", "out")
    assert names(folder) == ["end-use-statement.pdf", "invoice-pro-forma.pdf", "packing-list.pdf",
                             "red-flags-and-release.pdf"]  # fmt: skip
    assert sheets.EMPTY in said(folder, "packing-list")
