"""What is named by its digest was there before: clocks that differ accuse nobody, and what is to come is named."""

import shutil

import audits
import fleet as fleets
import pytest
from audits import OUT
from test_audit import AT, again, read_by_other, resigned, sentences, verify, without

from sealift.formats import audit as bundles
from sealift.formats.allowed_signers import AllowedSigners
from sealift.stages import audit as stage
from sealift.trade import custody_event
from sealift.trade import receipt as receipts

SEAL, SCREENED = f"{AT}seal.1/seal.json", f"{AT}screening.1.json"


@pytest.fixture(scope="module", autouse=True)
def _parsed_once():
    with audits.parsed_once():
        yield


@pytest.fixture(scope="module")
def voyage(tmp_path_factory):
    return audits.make(tmp_path_factory.mktemp("voyage"))


def made(voyage, folder):
    target, by = str(folder / "bundle.tar"), audits.person("auditor")
    return stage.make(voyage.papers, target, by, str(voyage.signers), voyage.allowed, voyage.now).verified


@pytest.fixture(scope="module")
def files(voyage, tmp_path_factory):
    return dict(made(voyage, tmp_path_factory.mktemp("made")).files)


def copied(voyage, folder):
    shutil.copytree(voyage.folder, folder / "v")
    copy = audits.Voyage(folder / "v", voyage.begin)
    copy.seals = dict(voyage.seals)
    return copy


def of(verified, path):
    return {(each.state, each.text) for each in verified.findings if each.file == path and each.state != "pending"}


@pytest.mark.long
@pytest.mark.parametrize(("minutes", "told"), [(-10, False), (-11, True), (-60, True), (-9, False)])
def test_a_seal_that_is_earlier_than_its_release_accuses_nobody(voyage, files, tmp_path, minutes, told):
    """It binds the release: a clock was wrong. Beyond what two may differ by, people look; nothing is called wrong."""
    early = resigned(voyage, files, SEAL, "origin", sealed_at=voyage.text(hours=3, minutes=minutes))
    found = of(verify(voyage, early), SEAL)
    assert {state for state, _ in found} == ({"look"} if told else set())
    assert all("the one was there before the other, and a clock was wrong" in text for _, text in found)
    assert SEAL not in read_by_other(voyage.signers, early, tmp_path)[1]


@pytest.mark.long
def test_a_seal_that_was_made_again_by_a_right_clock_cures_the_one_before(voyage, tmp_path):
    """One that is earlier than its release, and one that is of next year, beside the one that is right."""
    copy = copied(voyage, tmp_path)
    for number, hours in enumerate((2, 24 * 400), start=1):
        copy.seal_again(OUT, hours=hours)
        (seal,) = copy.folder.glob("*.2.seal")
        seal.rename(seal.with_name(f"kept{number}.seal"))
    verified = made(copy, tmp_path)
    assert not [each for each in verified.findings if each.state != "pending"]
    assert read_by_other(copy.signers, dict(verified.files), tmp_path) == (0, set())


@pytest.mark.long
@pytest.mark.parametrize(("name", "by", "field"), [
    ("seal.1/seal.json", "origin", "sealed_at"), ("screening.2.json", "sam", "at"), ("keys.2.json", "sam", "at"),
    ("source-release.1.json", "ed", "at"), ("receipt.2.json", "dock", "at"),
])  # fmt: skip
@pytest.mark.parametrize("minutes", [10, 11])
def test_what_is_later_than_the_bundle_is_wrong_by_both_readers(voyage, files, tmp_path, name, by, field, minutes):
    late = voyage.at(days=40, minutes=minutes).strftime(receipts.TIME)
    put = resigned(voyage, files, AT + name, by, **{field: late})
    found = [text for state, text in of(verify(voyage, put), AT + name) if state == "wrong" and "still to come" in text]
    assert bool(found) == (minutes == 11)
    told = read_by_other(voyage.signers, put, tmp_path)[1]
    assert (AT + name in told) or minutes == 10


def test_a_screening_from_the_future_that_a_release_names_was_there_before_it(voyage, tmp_path):
    """The screener's clock was an hour ahead: to be looked at while that lasts, and then no more."""
    copy = audits.Voyage(tmp_path / "v", voyage.begin)
    path = copy.declare(OUT, ["SN-1"])
    copy.clear(path, hours=2)
    copy.release(path, hours=1)
    whole = dict(made(copy, tmp_path).files)

    def found(**after):
        at = copy.at(**after)
        data = b"".join(bundles.encode_bundle(again(copy, whole)))
        findings = stage.verify(data, copy.allowed, at).findings
        return {(each.file, each.state) for each in findings if "still to come when" in each.text}

    assert found(hours=3) == set()
    assert {state for _, state in found(hours=1, minutes=30)} == {"look"}
    assert (SCREENED, "look") in found(hours=1, minutes=30)
    assert {state for _, state in found(minutes=30)} == {"wrong"}, "the release is of the future then, too"


def test_a_seal_of_what_was_superseded_is_judged_by_two_clocks(voyage, tmp_path):
    copy = copied(voyage, tmp_path)
    copy.revise(OUT, lambda text: text + "\n", hours=105)
    whole = dict(made(copy, tmp_path).files)
    for minutes, late in ((10, False), (11, True)):
        put = resigned(voyage, whole, SEAL, "origin", sealed_at=voyage.text(hours=105, minutes=minutes))
        assert ("sealed after revision 3 was released" in sentences(verify(voyage, put), SEAL)) == late


# --- where drives were


def test_drives_that_left_before_they_were_sealed_are_to_be_looked_at(voyage, files):
    late = resigned(voyage, files, SEAL, "origin", sealed_at=voyage.text(hours=24, minutes=11))
    text = f"drives left the origin at {voyage.text(hours=24)}, and the first seal that has them was made at"
    (found,) = [each for each in verify(voyage, late).findings if text in each.text]
    assert (found.state, "/custody/" in found.file) == ("look", True)
    right = resigned(voyage, files, SEAL, "origin", sealed_at=voyage.text(hours=24, minutes=10))
    assert "drives left the origin" not in str(verify(voyage, right).findings)
    gone = again(voyage, without(files, "AUDIT2", r"seal\.1", "receipt", "source-release", "certificate", "manifest"))
    assert "no seal of the shipment is here" in str(verify(voyage, gone).findings)
    home = again(voyage, without(files, "AUDIT2", "seal", "receipt", "source-release", "certificate", "custody",
                                 "manifest", "photographs", "reports"))  # fmt: skip
    assert "no seal of the shipment is here" not in str(verify(voyage, home).findings)


def test_who_read_with_a_wrong_clock_reads_again_and_is_done(voyage, tmp_path):
    """A receipt of before the drives came, and one by a right clock: the first accuses where something rests on it."""
    copy = copied(voyage, tmp_path)
    for each in ("source-release.json", "source-release.json.sig"):
        (copy.folder / f"{OUT}.{each}").unlink()
    shutil.rmtree(copy.folder / "erased")
    every = {"g0s0": "intact", "g0s1": "intact", "g0s2": "intact", "g1s0": "intact", "g1s1": "rebuilt"}
    (copy.folder / "receipts" / "second.receipt.json").unlink()
    (copy.folder / "receipts" / "second.receipt.json.sig").unlink()
    early = copy.receive(OUT, every, "wrong.receipt.json", hours=20)
    said = "it says that drives were read at"
    assert said in str(made(copy, tmp_path).findings)
    (tmp_path / "bundle.tar").unlink()
    copy.receive(OUT, every, "right.receipt.json", hours=101)
    assert said not in str(made(copy, tmp_path).findings)
    (tmp_path / "bundle.tar").unlink()
    copy.free(OUT, [early], hours=100)
    assert said in str(made(copy, tmp_path).findings), "the source was freed on it"


def test_a_carrier_who_receives_or_frees_is_named(voyage, tmp_path):
    """Under whatever name, where the allowed signers let the key sign."""
    copy = copied(voyage, tmp_path)
    line = f'anna@example.com namespaces="sealift-receipt" {audits.person("anna").public_key.line}\n'
    copy.signers.write_bytes(audits.signers() + line.encode())
    copy.allowed = AllowedSigners.parse(copy.signers.read_bytes())
    every = {"g0s0": "intact", "g0s1": "intact", "g0s2": "intact", "g1s0": "intact", "g1s1": "rebuilt"}
    carrier = custody_event.Party(
        name="Anna", org="North", id_kind="passport", paper_sha256="",
        key_fingerprint=audits.person("anna").public_key.fingerprint,
    )  # fmt: skip
    serials = [each.serial for each in copy.seals[OUT].declaration.drives]
    copy.event(copy.folder / "custody", OUT, "verify", "anna", "anna", serials[:1], "S1", "S1", hours=99,
               released_by=carrier, received_by=carrier, hash_sample_result="match")  # fmt: skip
    copy.receive(OUT, every, "third.receipt.json", by="anna", hours=101)
    found = [each for each in made(copy, tmp_path).findings if "who carries drives" in each.text]
    assert [(each.state, each.file) for each in found] == [("look", f"{AT}receipt.3.json")]
    assert "it is signed by anna@example.com, whose key or address is that of Anna (North)" in found[0].text


# --- a release by a clock that was ahead, and what the officer did about it


def at_hours(copy, folder, hours):
    """A bundle that was made then of what there is, as we and the other reader see it: states by file."""
    data = bundles.encode_bundle(again(copy, dict(made(copy, folder).files), at=copy.at(hours=hours)))
    raw = b"".join(data)
    findings = stage.verify(raw, copy.allowed, copy.at(hours=hours)).findings
    return {(each.file, each.state) for each in findings if each.state != "pending"}, raw


@pytest.mark.long
@pytest.mark.parametrize("revised", [False, True])
def test_an_officer_whose_clock_was_ahead_and_who_released_again_is_not_accused(voyage, tmp_path, revised):
    """The release by a right clock, of the same bytes or a later revision, has its place: people look, no more."""
    copy = audits.Voyage(tmp_path / "v", voyage.begin)
    path = copy.declare(OUT, ["SN-1"])
    copy.clear(path)
    copy.release(path, hours=4)
    if revised:
        copy.revise(OUT, lambda text: text + "\n", hours=1)
    else:
        copy.release(path, hours=1)
    (tmp_path / "two").mkdir()
    found, raw = at_hours(copy, tmp_path, 1.5)
    assert found == {(f"{AT}release.2.json", "look")}
    assert read_by_other(copy.signers, raw, tmp_path) == (0, set())
    assert at_hours(copy, tmp_path / "two", 4)[0] == set(), "the hours have passed"


def test_a_release_from_the_future_that_is_in_force_is_wrong(voyage, tmp_path):
    """That of revision 1 is in time, and has not the place of one of revision 2."""
    copy = audits.Voyage(tmp_path / "v", voyage.begin)
    path = copy.declare(OUT, ["SN-1"])
    copy.clear(path)
    copy.release(path, hours=1)
    copy.revise(OUT, lambda text: text + "\n", hours=4)
    found, raw = at_hours(copy, tmp_path, 2)
    assert found == {(f"{AT}release.2.json", "wrong")}
    assert f"{AT}release.2.json" in read_by_other(copy.signers, raw, tmp_path)[1]


@pytest.mark.long
@pytest.mark.parametrize("moved", [False, True])
def test_a_screening_and_keys_by_a_clock_that_was_ahead_are_made_again_and_accuse_nobody(voyage, tmp_path, moved):
    """By the same commands, which supersede them; or moved away by hand, so that nothing names them."""
    copy = audits.Voyage(tmp_path / "v", voyage.begin)
    path = copy.declare(OUT, ["SN-1"])
    copy.clear(path, hours=48)
    alone = tmp_path / "alone"
    alone.mkdir()
    found, raw = at_hours(copy, alone, 2)
    assert {state for _, state in found} == {"wrong"}, "they are in force"
    assert read_by_other(copy.signers, raw, alone)[0] != 0
    if moved:
        away = copy.folder / "custody" / "away"
        away.mkdir(parents=True)
        for kind in ("screening", "keys"):
            for each in copy.folder.glob(f"{OUT}.{kind}*"):
                each.rename(away / each.name)
    copy.clear(path, hours=1)
    if not moved:  # the decisions of the one before stand in it, and want both signatures again
        audits.screening.second(str(path), audits.person("second"), by="S. Econd", allowed=copy.allowed)
    copy.release(path, hours=1)
    found, raw = at_hours(copy, tmp_path, 2)
    assert {state for _, state in found} == {"look"}
    assert {file.split("/")[-1].split(".")[0] for file, _ in found} == {"screening", "keys"}
    assert read_by_other(copy.signers, raw, tmp_path) == (0, set())


@pytest.mark.long
@pytest.mark.parametrize(
    ("ends", "altered", "state"),
    [(10, False, set()), (2, False, {"look"}), (2, True, {"wrong"}), (10, True, {"wrong"})],
)
def test_a_packing_key_that_ended_before_anything_was_sealed_accuses_nobody(voyage, tmp_path, ends, altered, state):
    """A manifest states no time: sealing tells it, and is refused until the line is valid; nothing has gone by it."""
    copy = audits.Voyage(tmp_path / "v", voyage.begin)
    path = copy.declare(OUT, ["SN-1"])
    copy.clear(path)
    copy.release(path, hours=1)
    fleet = fleets.make(tmp_path, seed=8, geometry=((1, 0),), lengths=[[300]], on_disk=False, with_seal=False)
    copy.seal(path, fleet.groups, hours=2)
    for seal in copy.folder.glob("*.seal"):
        seal.unlink()
    if altered:
        (signature,) = copy.folder.glob("drives/*/sealift/*.sig")
        signature.write_bytes(audits.person("origin").sign(b"something else", "sealift"))
    end = copy.at(hours=ends).strftime("%Y%m%d%H%M%SZ")
    copy.signers.write_text(
        copy.signers.read_text().replace("origin@example.com ", f'origin@example.com valid-before="{end}",', 1)
    )
    copy.allowed = AllowedSigners.parse(copy.signers.read_bytes())
    found, raw = at_hours(copy, tmp_path, 5)
    assert {each for file, each in found if "manifest" in file} == state
    assert read_by_other(copy.signers, raw, tmp_path) == (0, set())
