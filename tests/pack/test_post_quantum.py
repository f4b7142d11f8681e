"""A shipment for hybrid post-quantum recipients: packed, come back to from the drives, unpacked, and nowhere weaker."""

import os

import pytest
import shipments
from test_lost_state import stopped
from test_refusals import refused, tree

from sealift.errors import IdentityMismatch, KeyInvalid
from sealift.formats import age, age_header, age_keys
from sealift.stages.pack import copies
from sealift.trade.signing import Signer


def hybrid(origin):
    """Make `origin` pack for three hybrid recipients, the first of which unpacks."""
    origin.identity, origin.recipient = age_keys.generate_hybrid_identity()
    (origin.root / "identity").write_text(origin.identity + "\n")
    others = [age_keys.generate_hybrid_identity()[1] for _ in range(2)]
    origin.options["recipients"] = [origin.recipient, *others]
    shipments.redeclare(origin, *origin.options["recipients"])
    return origin


def age_files(origin):
    mounts = [shipments.Path(mount) / "sealift" for mount in origin.mounts]
    return [path for mount in mounts for path in mount.rglob("*.age")]


def stanza_types(path):
    with open(path, "rb") as file:
        return [stanza.type for stanza in age_header.parse_header(file.read(age_header.MAX_HEADER)).stanzas]


@pytest.mark.long
def test_pack_and_unpack(tmp_path):
    source = shipments.corpus(tmp_path / "source")
    origin = hybrid(shipments.Origin(tmp_path / "origin", source, 2, 1))
    assert origin.pack().groups[0]["state"] == "signed"
    assert {tuple(stanza_types(path)) for path in age_files(origin)} == {("mlkem768x25519",) * 3}
    (target := tmp_path / "target").mkdir()
    assert origin.unpack(target, seal=origin.seal()).failed == []
    shipments.same(source, target)


@pytest.mark.long
def test_a_lost_state_comes_back_from_copies_that_are_post_quantum_too(tmp_path, monkeypatch):
    origin = stopped(tmp_path, monkeypatch, 2, hybrid)
    found = [path for path in age_files(origin) if path.name.startswith("journal")]
    assert found
    assert {tuple(stanza_types(path)) for path in found} == {("mlkem768x25519",) * 4}
    ssh = age_keys.SSHIdentity(origin.signer.private_key.private_bytes_raw())
    with pytest.raises(IdentityMismatch):
        age.decrypt(found[0].read_bytes(), [ssh])
    notices = []
    assert origin.pack(notices).groups[0]["state"] == "signed"
    assert any("goes on after stripe 2" in notice for notice in notices)
    (target := tmp_path / "target").mkdir()
    assert origin.unpack(target, seal=origin.seal()).failed == []
    shipments.same(origin.source, target)


def test_copies_fit_beside_as_many_recipients_as_a_header_holds(tmp_path):
    origin = tree(tmp_path)
    signer = Signer.open(tmp_path / "origin" / "signing")
    some = {
        "hybrid": [age_keys.HybridIdentity(os.urandom(32)).recipient] * age.MAX_HYBRID,
        "classic": [age_keys.parse_recipient(origin.recipient)] * age_header.MAX_STANZAS,
    }
    for recipients in some.values():
        age.check_recipients(copies.Copies(signer, recipients)._recipients)
        age.check_recipients(copies.Copies(signer, recipients[1:])._recipients)


def test_mixed_recipients_are_refused_before_anything_is_written(tmp_path):
    origin = tree(tmp_path)
    mixed = [age_keys.generate_hybrid_identity()[1], origin.recipient]
    shipments.redeclare(origin)
    refused(origin, KeyInvalid, "mixed", "age1pq1", recipients=mixed)
    many = [age_keys.generate_hybrid_identity()[1]] * (age.MAX_HYBRID + 1)
    refused(origin, KeyInvalid, "42", recipients=many)
