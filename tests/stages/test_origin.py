"""Who is of the origin by what lies in a folder: everybody whose signature under a record of theirs holds."""

import shutil
from datetime import UTC, datetime

import audits
import msgspec
import pytest
from audits import HOME, OUT

from sealift.formats.allowed_signers import AllowedSigners
from sealift.stages import erase_papers, origin
from sealift.trade import custody_event as ev
from sealift.trade import persons
from sealift.trade.discrepancy import Hand

BY_RECORD = {
    "author": persons.AUTHOR, "officer": persons.OFFICER, "origin": persons.SEALER, "sam": persons.SCREENER,
    "second": persons.SECOND, "ed": persons.FREER,
}  # fmt: skip


@pytest.fixture(scope="module")
def voyage(tmp_path_factory):
    return audits.make(tmp_path_factory.mktemp("voyage"), datetime(2026, 9, 1, 8, tzinfo=UTC))


def found(folder, allowed, consignment=OUT):
    people = origin.beside(str(folder / "any.toml"), consignment, allowed)
    who = {name: people.whose(allowed.person(audits.person(name).public_key.fingerprint)) for name in audits.NAMESPACES}
    return {name: words for name, words in who.items() if words}


def test_whoever_signed_a_record_of_the_origin_is_of_it(voyage):
    assert found(voyage.folder, voyage.allowed) == BY_RECORD
    assert found(voyage.folder, voyage.allowed, HOME) == {
        **{name: BY_RECORD[name] for name in ("author", "officer", "sam", "second")}, "trainer": persons.SEALER,
    }  # fmt: skip
    assert found(voyage.folder, voyage.allowed, "SL-2026-OTHER7") == {}


@pytest.mark.parametrize(("name", "files"), [
    ("sam", ("screening", "keys")), ("second", ("second.sig",)), ("ed", ("source-release",)), ("origin", (".seal",)),
])  # fmt: skip
def test_each_is_of_it_by_their_own_record_and_not_by_one_whose_signature_does_not_hold(voyage, tmp_path, name, files):
    for path in voyage.folder.iterdir():
        if path.is_file() and not any(each in path.name for each in files):
            shutil.copy(path, tmp_path)
    assert name not in found(tmp_path, voyage.allowed)
    for path in voyage.folder.iterdir():
        if path.is_file() and any(each in path.name for each in files):
            shutil.copy(path, tmp_path)
    assert found(tmp_path, voyage.allowed)[name] == BY_RECORD[name]
    for path in tmp_path.iterdir():
        if any(each in path.name for each in files):
            path.write_bytes(path.read_bytes()[:-20])
    assert name not in found(tmp_path, voyage.allowed)
    struck = AllowedSigners.parse(audits.signers().replace(f"{name}@".encode(), b"#"))
    assert name not in found(voyage.folder, struck)


def test_what_is_erased_knows_them_by_the_folder_of_the_declaration(voyage):
    receipt = voyage.folder / "receipts" / "second.receipt.json"
    declaration = voyage.folder / f"{OUT}.toml"
    papers = erase_papers.load([str(receipt)], [str(declaration)], voyage.allowed, voyage.now)
    ed = voyage.allowed.person(audits.person("ed").public_key.fingerprint)
    assert papers.beside.origin.whose(ed) == persons.FREER
    assert papers.beside.origin.whose(papers.receipts[0].person) == ""


def test_who_had_a_drive_on_the_way_the_log_says_and_not_the_seal(voyage, tmp_path):
    """A carrier whom the seal does not know, as a revision named them since; and the ends, who are not on the way."""
    trusted, log = voyage.seals[OUT], tmp_path / "custody"
    serials = [each.serial for each in trusted.declaration.drives]
    cem = ev.Party(name="Cem", org="Gannet", id_kind="passport", paper_sha256="",
                   key_fingerprint=audits.person("anna").public_key.fingerprint)  # fmt: skip
    north = msgspec.structs.replace(
        cem, name="Bo", org="North", key_fingerprint=audits.person("ed").public_key.fingerprint
    )
    voyage.event(log, OUT, "seal", "origin", "origin", serials, "", "S1", hours=5)
    voyage.event(
        log, OUT, "handover", "origin", "ed", serials[:3], "S1", "S1", hours=6, by={"origin"}, received_by=north
    )
    voyage.event(log, OUT, "handover", "origin", "anna", serials[3:], "S1", "S1", hours=7, received_by=cem)
    voyage.event(log, OUT, "handover", "ed", "anna", serials[2:3], "S1", "S1", hours=8, by={"anna"}, released_by=north,
                 received_by=cem)  # fmt: skip
    voyage.event(log, OUT, "arrive", "anna", "dock", serials[3:4], "S1", "S1", hours=9, released_by=cem)
    by_cem = Hand("Cem (Gannet)", "anna@example.com")
    assert origin.hands(trusted, str(log), voyage.allowed, voyage.now) == {
        **dict.fromkeys(serials[:2], Hand("Bo (North)", "n")), **dict.fromkeys(serials[2:], by_cem),
    }  # fmt: skip
    assert origin.hands(trusted, None, voyage.allowed, voyage.now) is None


def test_a_drive_that_never_left_or_came_back_is_with_whoever_has_it_at_the_origin(voyage, tmp_path):
    trusted, log = voyage.seals[OUT], tmp_path / "custody"
    serials = [each.serial for each in trusted.declaration.drives]
    voyage.event(log, OUT, "seal", "origin", "origin", serials, "", "S1", hours=5)
    north = ev.Party(name="Bo", org="North", id_kind="passport", paper_sha256="",
                     key_fingerprint=audits.person("anna").public_key.fingerprint)  # fmt: skip
    voyage.event(log, OUT, "handover", "origin", "anna", serials[:3], "S1", "S1", hours=6, received_by=north)
    voyage.event(log, OUT, "return", "anna", "origin", serials[2:3], "S1", "S1", hours=7, released_by=north)
    assert origin.hands(trusted, str(log), voyage.allowed, voyage.now) == {
        **dict.fromkeys(serials[:2], Hand("Bo (North)", "n")),
        **dict.fromkeys(serials[2:], Hand("Origin (Shipper GmbH)", "origin@example.com", home=True)),
    }
