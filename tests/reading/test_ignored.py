"""Mounts that give nothing to the shipment are named by whoever reads it, and one seal is given at most once."""

import json
import shutil

import pytest
import shipments

from sealift.cli.main import run as sealift
from sealift.formats import seal as seals


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    base = tmp_path_factory.mktemp("ignored")
    shipments.write(base / "source" / "a.txt", b"text" * 100)
    origin = shipments.Origin(base / "origin", base / "source", 2, 1)
    other = shipments.Origin(base / "other", base / "source", 2, 1)
    origin.pack()
    other.pack()
    (base / "s.seal").write_bytes(seals.encode_bundle(origin.seal()))
    (base / "empty").mkdir()
    shutil.copytree(origin.mounts[0], base / "lonely")
    for path in (base / "lonely" / "sealift").rglob("*"):
        if path.is_file():
            path.write_bytes(b"?")
    return base, origin, other


def given(base, origin):
    signers, identity, seal = origin.root / "allowed", origin.root / "identity", base / "s.seal"
    return ["--allowed-signers", str(signers), "--identity", str(identity), "--seal", str(seal)]


def test_a_shipment_knows_which_mounts_it_does_not_use(stand):
    base, origin, other = stand
    shipment = origin.shipment([*origin.mounts, other.mounts[1], str(base / "empty"), str(base / "lonely")])
    named = dict(shipment.ignored)
    shipment.close()
    assert list(named) == [other.mounts[1], str(base / "empty"), str(base / "lonely")]
    assert "a drive of shipment" in named[other.mounts[1]]
    assert named[str(base / "empty")] == "there is no sealift/ folder, and nothing is mounted there"
    assert named[str(base / "lonely")]
    with pytest.raises(AttributeError):
        shipment.ignored = []
    assert origin.shipment().ignored == []


@pytest.mark.parametrize("command", [["ls"], ["cat", "--path", "a.txt"], ["unpack", "--to"]])
def test_the_commands_say_it(stand, command, tmp_path, capsys):
    base, origin, other = stand
    mounts = [*origin.mounts, other.mounts[1], str(base / "empty"), origin.mounts[0]]
    more = [str(tmp_path / "to")] if command[0] == "unpack" else []
    assert sealift([*command, *more, *mounts, *given(base, origin)]) == 0
    out, err = capsys.readouterr()
    assert f"note: {other.mounts[1]} is ignored: a drive of shipment" in err
    assert f"note: {base / 'empty'} is ignored: there is no sealift/ folder" in err
    assert "is the same place as" in err
    assert "ignored" not in out


def test_unpack_has_it_in_its_object(stand, tmp_path, capsys):
    base, origin, other = stand
    mounts = [*origin.mounts, other.mounts[1]]
    assert sealift(["unpack", *mounts, "--to", str(tmp_path / "to"), *given(base, origin), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [each["mount"] for each in answer["ignored"]] == [other.mounts[1]]
    assert "a drive of shipment" in answer["ignored"][0]["why"]


@pytest.mark.parametrize("command", ["ls", "unpack", "verify", "inspect", "repair"])
def test_two_seals_are_one_too_many(stand, command, tmp_path, capsys):
    base, origin, _ = stand
    seal = ["--seal", str(base / "s.seal")]
    more = [] if command in {"verify", "inspect", "repair"} else ["--identity", str(origin.root / "identity")]
    more += ["--to", str(tmp_path / "to")] if command == "unpack" else []
    assert sealift([command, *origin.mounts, *more, *seal, *seal]) == 1
    err = capsys.readouterr().err
    assert "'--seal': is given more than once" in err
    assert f"hint: sealift {command} --help" in err


@pytest.mark.parametrize("command", [["ls"], ["cat", "--path", "a.txt"], ["unpack", "--to"]])
@pytest.mark.parametrize("turned", [False, True])
def test_without_a_seal_drives_of_two_shipments_are_refused(stand, command, turned, tmp_path, capsys):
    """Whichever comes first: nothing says which of them is meant."""
    _, origin, other = stand
    (tmp_path / "signers").write_bytes(origin.allowed + other.allowed.replace(b"example.com", b"example.org"))
    mounts = [*origin.mounts, other.mounts[1]][:: -1 if turned else 1]
    more = [str(tmp_path / "to")] if command[0] == "unpack" else []
    keys = ["--allowed-signers", str(tmp_path / "signers"), "--identity", str(origin.root / "identity")]
    assert sealift([*command, *more, *mounts, *keys]) == 5
    out, err = capsys.readouterr()
    assert "nothing says which of them is meant" in err
    assert "hint: give the seal of the one that is meant (--seal FILE)" in err
    assert not out
    assert not (tmp_path / "to").exists()
