"""Who is of the origin by what lies in a folder: everybody whose signature under a record of theirs holds."""

import shutil
from datetime import UTC, datetime

import audits
import pytest
from audits import HOME, OUT

from sealift.formats.allowed_signers import AllowedSigners
from sealift.stages import erase_papers, origin
from sealift.trade import persons

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
