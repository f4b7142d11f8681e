"""Who is believed: each rule of open_seal, and where seals are read from."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fleet as fleets

from sealift.errors import BadInput, FormatError, Refused, SealiftError, SealInvalid, SignatureInvalid
from sealift.formats import canonical, sshsig
from sealift.formats import manifest as mf
from sealift.formats import seal as seals
from sealift.formats.allowed_signers import AllowedSigners
from sealift.reading.trust import damaged_seal_files, load_seal, open_seal, read_seal, trusted_manifest

FLEET = fleets.make(Path("/nowhere"), seed=21, lengths=[[30, 20]], on_disk=False)
SEAL, SIG, DECLARATION, RELEASE, RELEASE_SIG = mf.SEAL_FILES


def sealed(files, signing=FLEET.signing, **changes):
    """The files with seal.json made anew over them and signed."""
    seal = msgspec.structs.replace(
        seals.decode_seal(FLEET.seal_files[SEAL]),
        declaration=fleets.ref(files[DECLARATION]),
        release=fleets.ref(files[RELEASE]),
        release_signature=fleets.ref(files[RELEASE_SIG]),
        **changes,
    )
    data = seals.encode_seal(seal)
    return files | {SEAL: data, SIG: sshsig.sign_ed25519(data, signing, "sealift")}


def released(declaration, key, **changes):
    """A release of `declaration` by `key`."""
    from sealift.trade import release

    record = msgspec.structs.replace(
        release.decode(FLEET.seal_files[RELEASE]),
        declaration=release.DeclarationBytes(bytes=len(declaration), blake3=fleets.ref(declaration).blake3),
        author_signature=sshsig.sign_ed25519(
            declaration, fleets.key(FLEET.seed, "author"), "sealift-declaration"
        ).decode(),
        **changes,
    )
    data = canonical.encode(record)
    return {
        DECLARATION: declaration,
        RELEASE: data,
        RELEASE_SIG: sshsig.sign_ed25519(data, key, "sealift-release"),
    }


def test_a_seal_that_holds():
    trusted = open_seal(FLEET.seal_files, FLEET.allowed)
    assert trusted.seal.shipment == FLEET.shipment
    assert trusted.officer == "O. Officer"
    assert trusted.signer.principal == "origin@example.com"
    assert trusted.release.principal == "officer@example.com"
    assert trusted.undeclared == []
    assert open_seal(sealed(FLEET.seal_files), FLEET.allowed).seal == trusted.seal


@pytest.mark.parametrize("name", mf.SEAL_FILES)
def test_rule_1_all_five_files_within_limits(name):
    with pytest.raises(SealInvalid, match=name):
        open_seal({key: data for key, data in FLEET.seal_files.items() if key != name}, FLEET.allowed)
    with pytest.raises(SealInvalid, match="longer"):
        open_seal(FLEET.seal_files | {name: bytes(seals.LIMITS[name] + 1)}, FLEET.allowed)


def test_rule_2_canonical_and_consistent():
    with pytest.raises(SealInvalid, match="canonical"):
        open_seal(FLEET.seal_files | {SEAL: FLEET.seal_files[SEAL] + b"\n"}, FLEET.allowed)
    with pytest.raises(SealInvalid, match="damaged"):
        open_seal(sealed(FLEET.seal_files, sealed_at="2026-02-31T00:00:00Z"), FLEET.allowed)


def test_rule_3_signed_by_an_allowed_signer_in_the_namespace():
    with pytest.raises(SignatureInvalid, match="not among"):
        open_seal(sealed(FLEET.seal_files, fleets.key(0, "nobody")), FLEET.allowed)
    data = FLEET.seal_files[SEAL]
    elsewhere = FLEET.seal_files | {SIG: sshsig.sign_ed25519(data, FLEET.signing, "sealift-receipt")}
    with pytest.raises(SignatureInvalid, match="namespace"):
        open_seal(elsewhere, FLEET.allowed)
    expired = FLEET.allowed_bytes.replace(b'namespaces="sealift" ', b'namespaces="sealift",valid-before="20260101Z" ')
    with pytest.raises(SignatureInvalid, match="no longer"):
        open_seal(FLEET.seal_files, AllowedSigners.parse(expired))
    then = FLEET.allowed_bytes.replace(b'namespaces="sealift" ', b'namespaces="sealift",valid-before="20260201Z" ')
    assert open_seal(FLEET.seal_files, AllowedSigners.parse(then))


@pytest.mark.parametrize("name", [DECLARATION, RELEASE, RELEASE_SIG])
def test_rule_4_the_bytes_that_were_sealed(name):
    with pytest.raises(SealInvalid, match="not the one"):
        open_seal(FLEET.seal_files | {name: FLEET.seal_files[name] + b" "}, FLEET.allowed)


def test_rule_5_a_complete_declaration_of_this_consignment():
    empty = FLEET.seal_files[DECLARATION].replace(b'text = "tests"', b'text = ""')
    with pytest.raises(SealInvalid, match="not complete"):
        open_seal(sealed(FLEET.seal_files | released(empty, FLEET.officer)), FLEET.allowed)
    with pytest.raises(SealInvalid, match="another consignment"):
        open_seal(sealed(FLEET.seal_files, consignment_id="SL-TEST-OTHER"), FLEET.allowed)
    with pytest.raises(SealInvalid, match="another consignment"):
        open_seal(sealed(FLEET.seal_files, rehearsal=False), FLEET.allowed)


def test_rule_6_released_by_an_allowed_signer_who_is_not_the_author():
    declaration = FLEET.seal_files[DECLARATION]
    with pytest.raises(SignatureInvalid):
        open_seal(sealed(FLEET.seal_files | released(declaration, fleets.key(0, "nobody"))), FLEET.allowed)
    author = fleets.key(FLEET.seed, "author")
    both = FLEET.allowed_bytes + f"another@example.com {sshsig.public_key_of(author).line}\n".encode()
    with pytest.raises(Refused, match="author"):
        open_seal(sealed(FLEET.seal_files | released(declaration, author)), AllowedSigners.parse(both))
    unknown = FLEET.allowed_bytes[: FLEET.allowed_bytes.index(b"author@")]
    with pytest.raises(SignatureInvalid, match="the author's signature"):
        open_seal(FLEET.seal_files, AllowedSigners.parse(unknown))
    other = released(declaration, FLEET.officer)
    changed = declaration.replace(b"1 Example Road", b"2 Example Road")
    with pytest.raises(Refused, match="not of this declaration"):
        open_seal(sealed(FLEET.seal_files | other | {DECLARATION: changed}), FLEET.allowed)


def test_rule_7_another_key_released_than_sealed():
    author = sshsig.public_key_of(fleets.key(FLEET.seed, "author")).line
    lines = f"origin@example.com {sshsig.public_key_of(FLEET.signing).line}\nauthor@example.com {author}\n"
    one = AllowedSigners.parse(lines.encode())
    files = sealed(FLEET.seal_files | released(FLEET.seal_files[DECLARATION], FLEET.signing))
    with pytest.raises(SealInvalid, match="one key"):
        open_seal(files, one)


def test_rule_7_of_another_person():
    """By the allowed signers whoever sealed has two keys, and released with the other."""
    for line in (b"origin@example.com", b"officer@example.com"):
        key = FLEET.officer if line.startswith(b"origin") else FLEET.signing
        more = FLEET.allowed_bytes + line + f" {sshsig.public_key_of(key).line}\n".encode()
        with pytest.raises(SealInvalid, match="one person"):
            open_seal(FLEET.seal_files, AllowedSigners.parse(more))


@given(st.sampled_from(mf.SEAL_FILES), st.data())
@settings(max_examples=120, deadline=None)
def test_no_flipped_bit_is_believed_and_the_file_is_to_blame(name, data):
    broken = bytearray(FLEET.seal_files[name])
    bit = data.draw(st.integers(0, 8 * len(broken) - 1))
    broken[bit // 8] ^= 1 << bit % 8
    files = FLEET.seal_files | {name: bytes(broken)}
    with pytest.raises(Refused):
        open_seal(files, FLEET.allowed)
    assert name in damaged_seal_files(files)
    assert len(damaged_seal_files(files)) <= 2


def test_manifests_are_believed_when_signed():
    group = FLEET.groups[0]
    signature = group.files[0][mf.SIGNATURE]
    manifest, signer = trusted_manifest(group.manifest_bytes, signature, FLEET.allowed)
    assert (manifest, signer.principal) == (group.manifest, "origin@example.com")
    with pytest.raises(FormatError):
        trusted_manifest(group.manifest_bytes + b" ", signature, FLEET.allowed)
    with pytest.raises(SignatureInvalid):
        trusted_manifest(mf.encode_manifest(msgspec.structs.replace(manifest, seed=1)), signature, FLEET.allowed)
    timed = AllowedSigners.parse(FLEET.allowed_bytes.replace(b'"sealift" ', b'"sealift",valid-before="20260201Z" '))
    assert trusted_manifest(group.manifest_bytes, signature, timed, datetime(2026, 1, 3, tzinfo=UTC))
    with pytest.raises(SignatureInvalid, match="no longer"):
        trusted_manifest(group.manifest_bytes, signature, timed)


def test_a_seal_is_read_from_its_file_a_drive_or_a_folder(tmp_path):
    (tmp_path / "s.seal").write_bytes(FLEET.bundle)
    fleet = fleets.make(tmp_path / "f", seed=21, lengths=[[30, 20]])
    for place in (tmp_path / "s.seal", fleet.mounts[0], fleet.path(0, 0, "seal")):
        assert load_seal(str(place)) == FLEET.seal_files
    assert read_seal(load_seal(fleet.mounts[1])).shipment == FLEET.shipment


def test_what_is_no_seal_is_refused(tmp_path):
    (tmp_path / "s.seal").write_bytes(FLEET.bundle[:-1])
    with pytest.raises(SealInvalid, match="canonical"):
        load_seal(str(tmp_path / "s.seal"))
    with pytest.raises(BadInput):
        load_seal(str(tmp_path / "absent"))
    with pytest.raises(BadInput):
        load_seal(str(tmp_path))
    fleet = fleets.make(tmp_path / "f", seed=21, lengths=[[30, 20]], with_seal=False)
    with pytest.raises(BadInput, match="no seal"):
        load_seal(fleet.mounts[0])


@given(st.binary(max_size=3000))
@settings(max_examples=60)
def test_rubbish_is_refused(rubbish):
    for name in mf.SEAL_FILES:
        with pytest.raises(SealiftError):
            open_seal(FLEET.seal_files | {name: rubbish}, FLEET.allowed)
