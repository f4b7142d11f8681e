"""Good drives and another shipment's seal: told as that, by every command, and not as a forgery."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fleet as fleets
import receivings

from sealift.cli.main import run as sealift
from sealift.errors import SealInvalid
from sealift.formats import age_keys
from sealift.formats import manifest as mf
from sealift.formats import seal as seals
from sealift.reading.shipment import Shipment
from sealift.stages import repair as repairing
from sealift.stages.inspect import inspect
from sealift.stages.verify import verify
from sealift.stages.verify_report import exit_code

FORGERY = ("does not hold", "do not trust", "REFUSED", "not among", "forge")


@pytest.fixture(autouse=True)
def _own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("SEALIFT_ALLOWED_SIGNERS", raising=False)


@pytest.fixture
def stand(tmp_path):
    """Drives X; a seal Y of the same origin and officer; signers that name them."""
    here = fleets.make(tmp_path / "mnt", seed=61, geometry=((2, 1),), lengths=[[300, 50]], with_seal=False)
    other = fleets.make(tmp_path / "other", seed=62, geometry=((2, 1),), lengths=[[300, 50]])
    (tmp_path / "signers").write_bytes(here.allowed_bytes + other.allowed_bytes)
    (tmp_path / "other.seal").write_bytes(other.bundle)
    (tmp_path / "identity").write_text(age_keys.generate_identity()[0])
    return tmp_path, here, other


def commands(root, here):
    opened = ["--identity", str(root / "identity")]
    yield ["verify", *here.mounts]
    yield ["inspect", *here.mounts]
    yield ["repair", *here.mounts]
    yield ["repair", *here.mounts, "--fetch-list"]
    yield ["repair", *here.mounts[1:], "--onto", str(root / "new")]
    yield ["ls", *here.mounts, *opened]
    yield ["cat", *here.mounts, *opened, "--path", "a"]
    yield ["unpack", *here.mounts, *opened, "--to", str(root / "to")]


def test_every_command_says_whose_drives_and_whose_seal(stand, capsys):
    root, here, other = stand
    (root / "new").mkdir()
    for arguments in commands(root, here):
        given = ["--allowed-signers", str(root / "signers"), "--seal", str(root / "other.seal")]
        assert sealift([*arguments, *given]) == 5, arguments
        out, err = capsys.readouterr()
        assert f"are of shipment {here.shipment}, and their signatures hold" in err, (arguments, out, err)
        assert f"the seal is of shipment {other.shipment}" in err
        assert f"hint: give the seal of shipment {here.shipment}" in err
        said = (out + err).replace("signatures hold", "")
        assert not any(word in said for word in FORGERY), said
    assert list((root / "new").iterdir()) == []


def test_a_shipment_that_was_asked_for_by_id_is_told_alike(stand, capsys):
    root, here, other = stand
    signers = ["--allowed-signers", str(root / "signers")]
    assert sealift(["verify", *here.mounts, *signers, "--shipment", other.shipment]) == 5
    assert f"--shipment asks for shipment {other.shipment}" in capsys.readouterr().err


def test_what_nobody_trusted_signed_is_not_said_to_hold(stand):
    _, here, other = stand
    with pytest.raises(SealInvalid, match=r"say that they are of .* which nobody whose signature counts"):
        verify(here.mounts, allowed=other.allowed, seal=other.seal_files, remember=False)


def test_drives_of_both_shipments_are_verified_and_the_others_are_foreign(stand):
    _, here, other = stand
    allowed = type(here.allowed).parse(here.allowed_bytes + other.allowed_bytes)
    report = verify([*other.mounts, here.mounts[0]], allowed=allowed, seal=other.seal_files, remember=False)
    assert (report.state, exit_code(report), {fault.kind for fault in report.faults}) == ("intact", 0, {"foreign"})


def test_without_signers_nothing_is_said_of_signatures(stand, capsys):
    root, here, _ = stand
    assert sealift(["inspect", *here.mounts, "--seal", str(root / "other.seal")]) == 5
    err = capsys.readouterr().err
    assert f"say that they are of shipment {here.shipment} (no allowed signers were given" in err
    assert not any(word in err for word in ("hold;", *FORGERY))


def test_a_signature_that_does_not_hold_is_still_told_as_that(stand, capsys):
    root, here, other = stand
    (root / "none").write_bytes(other.allowed_bytes)
    assert sealift(["verify", *here.mounts, "--allowed-signers", str(root / "none")]) == 5
    assert "SIGNATURE DOES NOT HOLD" in capsys.readouterr().out


def test_drives_whose_packing_is_not_finished_are_told_as_that(stand, capsys):
    root, here, other = stand
    for slot in range(3):
        for name in (mf.MANIFEST, mf.SIGNATURE):
            here.path(0, slot, name).unlink()
    signers = ["--allowed-signers", str(root / "signers")]
    for command in ("verify", "inspect", "repair"):
        for seal in ([], ["--seal", str(root / "other.seal")]):
            assert sealift([command, *here.mounts, *signers, *seal]) == 6
            out, err = capsys.readouterr()
            assert "packing was not finished" in err
            assert here.shipment in err
            assert (other.shipment in err) == bool(seal)
            assert not any(word in out + err for word in FORGERY)


def test_a_part_of_another_host_still_counts(stand, tmp_path):
    """With another host's report there is a verdict to give, whatever stands here."""
    import json

    from sealift.stages.verify_report import to_json

    _, here, other = stand
    allowed = type(here.allowed).parse(here.allowed_bytes + other.allowed_bytes)
    told = json.dumps(to_json(verify(other.mounts, allowed=allowed, seal=other.seal_files, remember=False))).encode()
    report = verify([here.mounts[0]], allowed=allowed, seal=other.seal_files, parts=[("b", told)], remember=False)
    assert (report.signature.ok, report.state, exit_code(report)) == (True, "intact", 0)
    assert inspect([here.mounts[0]], allowed=allowed, seal=other.seal_files, parts=[("b", told)]).signature.ok


def test_reading_refuses_in_the_same_words(stand):
    root, here, other = stand
    allowed = here.allowed_bytes + other.allowed_bytes
    with pytest.raises(SealInvalid, match=f"are of shipment {here.shipment}"):
        Shipment.open(
            here.mounts, identity=str(root / "identity"), allowed_signers=allowed, seal=str(root / "other.seal")
        )
    with pytest.raises(SealInvalid):
        repairing.repair(here.mounts, allowed=type(here.allowed).parse(allowed), seal=other.seal_files)


# --- the seal of another revision ------------------------------------------------------------------------

KEYS = ["--by", "Rui", "--organisation", "Petrel", "--contact", "dock"]


@pytest.fixture
def revised(stand):
    """Drives of which the last one has the seal of revision 2; the seal of revision 1 in a file."""
    root, _, other = stand
    for name, data in fleets.revised(other).items():
        other.path(0, 2, name).write_bytes(data)
    (root / "signers").write_bytes(receivings.signers(other))
    return root, other


def test_a_seal_that_one_on_a_drive_supersedes_is_named_and_nothing_is_received_by_it(revised, capsys):
    root, other = revised
    newer, older = other.mounts[2], other.mounts[0]
    common = ["--allowed-signers", str(root / "signers")]
    sealed = [*common, "--seal", str(root / "other.seal")]
    for command in ("verify", "inspect"):
        assert sealift([command, *other.mounts, *sealed]) == 0
        out = capsys.readouterr().out
        assert f"SUPERSEDED: {newer} has a seal that holds, of revision 2, in place of this one: give that" in out
        assert f"{newer}: its seal is of revision 2, and supersedes the one that is used, of revision 1" in out
    assert sealift(["verify", *other.mounts, *sealed, "--json"]) == 0
    (root / "report.json").write_text(capsys.readouterr().out)
    assert sealift(["verify", *other.mounts[:2], *sealed, "--part", str(root / "report.json")]) == 0
    assert "SUPERSEDED" in capsys.readouterr().out, "so it is where another host has seen it"
    signed = ["--sign-with", receivings.key_file(other, "dock", root / "dock"), *KEYS, "--out", str(root / "out")]
    assert sealift(["receipt", str(root / "report.json"), *sealed, *signed]) == 5
    err = capsys.readouterr().err
    assert (
        f"report.json: the seal given, of revision 1, is superseded: {newer} has a seal that holds, of revision 2"
        in err
    )
    assert f"--seal {newer}" in err
    assert not (root / "out").exists()
    for given in ([], ["--seal", newer]):
        assert sealift(["verify", *other.mounts, *common, *given, "--json"]) == 0
        out = capsys.readouterr().out
        assert '"superseded_by": null' in out
        assert f"{older}: its seal is of revision 1, and superseded by the one that is used, of revision 2" in out
    (root / "report.json").write_text(out)
    assert sealift(["receipt", str(root / "report.json"), *common, "--seal", newer, *signed]) == 0


def test_whoever_reads_by_a_seal_that_is_superseded_is_told(revised):
    root, other = revised
    newer = other.mounts[2]

    def notices(mounts, **more):
        with Shipment.open(
            mounts, identity=str(root / "identity"), allowed_signers=(root / "signers").read_bytes(), **more
        ) as shipment:
            return shipment.notices

    told = f"the seal given, of revision 1, is superseded: {newer} has one that holds, of revision 2: give that"
    assert notices(other.mounts, seal=str(root / "other.seal")) == [f"{told} (--seal {newer})"]
    assert notices(other.mounts[:2], seal=str(root / "other.seal")) == []
    assert notices(other.mounts, seal=newer) == [], "drives that were sealed before say nothing new"


def issuing(root, other):
    """The words of an unlock by somebody whose key counts."""
    key = receivings.key_file(other, "dock", root / "dock")
    public = receivings.signer(other, "dock").public_key.line
    line = f'k@example.org namespaces="sealift-unlock,sealift-custody" {public}\n'
    (root / "signers").write_bytes((root / "signers").read_bytes() + line.encode())
    (root / "custody").mkdir()
    recipient = age_keys.generate_identity()[1]
    issue = ["unlock", *other.mounts, "--identity", str(root / "identity"), "--allowed-signers", str(root / "signers")]
    issue += ["--for", recipient, "--job", "j", "--sign-with", key, "--by", "Kim", "--organisation", "Petrel"]
    return [*issue, "--custody", str(root / "custody"), "--out", str(root / "keys.age")]


def test_no_keys_are_issued_under_a_seal_that_is_superseded(revised, capsys):
    root, other = revised
    issue = issuing(root, other)
    assert sealift([*issue, "--seal", str(root / "other.seal")]) == 5
    err = capsys.readouterr().err
    assert (
        f"the seal given, of revision 1, is superseded: {other.mounts[2]} has a seal that holds, of revision 2" in err
    )
    (root / "later.seal").write_bytes(seals.encode_bundle(fleets.revised(other)))
    assert sealift([*issue[:2], *issue[len(other.mounts) + 1 :], "--seal", str(root / "other.seal")]) == 5
    assert "later.seal is the seal of revision 2 of" in capsys.readouterr().err, "with a drive that has the older one"
    for given in ([], ["--seal", other.mounts[2]]):
        sealift([*issue, *given])
        assert "superseded" not in capsys.readouterr().err
    assert not (root / "keys.age").exists()
    assert not list((root / "custody").iterdir())


def test_a_receipt_looks_at_seals_beside_the_one_given(stand, capsys):
    root, _, other = stand
    (root / "signers").write_bytes(receivings.signers(other))
    sealed = ["--allowed-signers", str(root / "signers"), "--seal", str(root / "other.seal")]
    assert sealift(["verify", *other.mounts, *sealed, "--json"]) == 0
    (root / "report.json").write_text(capsys.readouterr().out)
    (root / "later.seal").write_bytes(seals.encode_bundle(fleets.revised(other)))
    signed = ["--sign-with", receivings.key_file(other, "dock", root / "dock"), *KEYS, "--out", str(root / "out")]
    assert sealift(["receipt", str(root / "report.json"), *sealed, *signed]) == 5
    assert "later.seal is the seal of revision 2 of" in capsys.readouterr().err
    assert sealift(["receipt", str(root / "nothing.json"), *sealed, *signed]) == 5
    (root / "later.seal").unlink()
    assert sealift(["receipt", str(root / "nothing.json"), *sealed, *signed]) == 1
    err = capsys.readouterr().err
    assert "report" in err
    assert "--part" not in err


def test_keys_under_one_of_two_seals_of_one_revision_are_issued_and_the_other_is_told(stand, capsys):
    root, _, other = stand
    for name, data in receivings.World(other).resealed().files.items():
        other.path(0, 2, name).write_bytes(data)
    (root / "signers").write_bytes(receivings.signers(other))
    issue = [*issuing(root, other), "--seal", str(root / "other.seal")]
    note = (
        f"note: {other.mounts[2]} has another seal of this revision; both hold, and the keys are taken by whoever reads"
    )
    assert sealift(issue) != 5
    assert f"{note} by the one that is used here, sealed at 2026-01-03T00:00:00Z" in capsys.readouterr().err
    issue.remove(other.mounts[2])
    sealift(issue)
    assert note not in capsys.readouterr().err


def test_a_seal_on_a_drive_that_does_not_hold_supersedes_nothing(revised, capsys):
    root, other = revised
    other.path(0, 2, mf.SEAL_FILES[4]).write_bytes(b"rubbish")
    sealed = ["--allowed-signers", str(root / "signers"), "--seal", str(root / "other.seal")]
    assert sealift(["verify", *other.mounts, *sealed]) != 0
    assert "SUPERSEDED" not in capsys.readouterr().out


def test_a_shipment_that_was_only_asked_for_by_its_id_wants_no_seal(stand, capsys):
    root, here, other = stand
    given = ["--allowed-signers", str(root / "signers"), "--shipment", other.shipment]
    assert sealift(["verify", *here.mounts, *given]) == 5
    err = capsys.readouterr().err
    assert f"--shipment asks for shipment {other.shipment}" in err
    assert f"hint: give --shipment {here.shipment}" in err
