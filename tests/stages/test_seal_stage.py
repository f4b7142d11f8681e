"""A seal is made of everything or not at all: every refusal, with real packings and real keys."""

import os
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import filled
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from sealift.errors import BadInput, DeclarationInvalid, NotAllHere, Refused, SignatureInvalid
from sealift.formats import canonical, manifest, sshsig
from sealift.formats import seal as seals
from sealift.formats.allowed_signers import AllowedSigners
from sealift.reading.trust import load_seal, open_seal
from sealift.stages import repair
from sealift.stages import seal as stage
from sealift.stages.pack import run as packing
from sealift.stages.pack.journal import Journal
from sealift.stages.pack.journal_rows import Medium, Wrong
from sealift.stages.status import look
from sealift.trade import declaration as d
from sealift.trade import release as releases
from sealift.trade import sections, template
from sealift.trade.signing import Signer, write_pair

PARTY = sections.Party(
    legal_name="Example GmbH", address="Hauptstr. 1, Berlin", country="DE", contact="a@example.com",
    ultimate_parent="Example Holding AG", parent_hq_country="CH",
)  # fmt: skip
CARRIERS = ("Anna", "Bo", "Cem")


def write_key(folder, name):
    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    path = folder / name
    path.write_bytes(text)
    path.chmod(0o600)
    return str(path), sshsig.public_key_of(key).line


def declare(keys, serials, **changes):
    drives = [
        sections.Drive(serial=serial, carrier=CARRIERS[i % 3], goods="ssd", capacity_bytes=10**9, make="m", model="x")
        for i, serial in enumerate(serials)
    ]
    fields = filled.rest() | {
        "consignment_id": "SL-2026-SEALME",
        "author": sections.Author(name="A. Author", email="author@example.com", public_key=keys["author"][1]),
        "shipper": PARTY, "consignee": PARTY, "end_user": PARTY,
        "end_use": sections.EndUse(text="Training", class_="training"),
        "data": sections.DataSummary(
            summary="Text", licence_basis="CC0", personal_data="none", source_bytes=1, important_data="no",
            us_bulk_sensitive="no",
        ),
        "carriers": [sections.Carrier(name=name, contact="c", country="DE") for name in CARRIERS],
        "drives": drives,
    }  # fmt: skip
    return template.render(sections.Content(**(fields | changes))).encode()


class Yard:
    """A folder with keys, a corpus, and two groups of 2+1 drives that are packed."""

    def __init__(self, folder):
        self.folder = folder
        self.state, self.declaration = str(folder / "state"), str(folder / "declaration.toml")
        self.mounts = [str(folder / f"d{i}") for i in range(6)]
        self.serials = [f"SER{i}" for i in range(6)]

    def make(self):
        self.keys = {name: write_key(self.folder, name) for name in ("author", "officer", "origin", "stranger")}
        (self.folder / "signers").write_text(
            f'officer@example.com namespaces="sealift-release" {self.keys["officer"][1]}\n'
            f"origin@example.com {self.keys['origin'][1]}\nauthor@example.com {self.keys['author'][1]}\n"
        )
        source = self.folder / "corpus"
        source.mkdir()
        for i in range(40):
            (source / f"{i:03d}.txt").write_bytes(f"file {i}\n".encode() * 50)
        for mount in self.mounts:
            os.mkdir(mount)
        self.write(declare(self.keys, self.serials))
        self.pack(self.mounts, self.state)
        self.release()
        return self

    def write(self, data):
        with open(self.declaration, "wb") as file:
            file.write(data)

    def pack(self, mounts, state, **more):
        options = packing.Options(
            str(self.folder / "corpus"), mounts, 1, [], self.keys["origin"][0],
            self.declaration, state, serials=dict(zip(self.mounts, self.serials, strict=True)), group_size=3,
            pack_size=1 << 20, allow_same_filesystem=True, **more,
        )  # fmt: skip
        return packing.run(options, packing.Events())

    def release(self, key="officer", officer="O. Fficer"):
        with open(self.declaration, "rb") as file:
            parsed = d.parse(file.read(), draft=False)
        keys = (Signer.open(self.keys[each][0]) for each in (key, "author"))
        signed = filled.released(parsed, *keys, datetime.now(UTC), officer=officer)
        write_pair(releases.path_beside(self.declaration), signed.data, signed.signature)

    def seal(self, *mounts, key="origin", states=None, **more):
        signers = more.pop("signers", str(self.folder / "signers"))
        progress = more.pop("progress", lambda *_: None)
        options = stage.Options(
            states or [self.state], self.declaration, self.keys[key][0], signers, mounts=list(mounts), **more
        )
        self.notices = []
        return stage.seal(options, self.notices.append, progress)

    @property
    def allowed(self):
        return AllowedSigners.parse((self.folder / "signers").read_bytes())


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return Yard(tmp_path_factory.mktemp("yard")).make()


@pytest.fixture
def yard(packed, tmp_path):
    shutil.copytree(packed.folder, tmp_path / "yard")
    copy = Yard(tmp_path / "yard")
    copy.keys = {name: (str(copy.folder / name), line) for name, (_, line) in packed.keys.items()}
    return copy


def snapshot(folder):
    return {
        os.path.join(top, name): (
            os.stat(os.path.join(top, name)).st_mtime_ns,
            os.path.getsize(os.path.join(top, name)),
        )
        for top, _, names in os.walk(folder)
        for name in names
        if not name.startswith("journal.sqlite")  # what drives were seen to lack is kept there
    }


def refused(yard, error, match, *mounts, **more):
    """The refusal, and that nothing whatever was written."""
    before = snapshot(yard.folder)
    with pytest.raises(error, match=match) as caught:
        yard.seal(*mounts, **more)
    assert snapshot(yard.folder) == before
    assert caught.value.exit_code == error.exit_code
    return caught.value


def test_a_seal_is_what_the_destination_opens_from_file_and_drive(yard):
    result = yard.seal(*yard.mounts[:4])
    trusted = open_seal(load_seal(result.path), yard.allowed)
    assert os.path.basename(result.path) == f"{result.seal.shipment}.seal"
    assert load_seal(yard.mounts[0]) == load_seal(yard.mounts[3]) == trusted.files
    assert [drive for _, drive, _ in result.drives] == [_card(m).id for m in yard.mounts[:4]]
    assert result.made
    assert {drive.serial for group in trusted.seal.groups for drive in group.drives} == set(yard.serials)
    assert {drive.carrier for group in trusted.seal.groups for drive in group.drives} == set(CARRIERS)
    assert trusted.officer == "O. Fficer"
    assert not trusted.undeclared
    with pytest.raises(BadInput):
        load_seal(yard.mounts[5])  # it was not attached


def _card(mount):
    with open(f"{mount}/sealift/drive.json", "rb") as file:
        return manifest.decode_card(file.read())


def test_the_indexes_lie_beside_it_as_they_were_signed(yard):
    result = yard.seal(out=str(yard.folder / "out"))
    names = sorted(os.listdir(yard.folder / "out"))
    kinds = [f"{kind}-g000{group}.parquet.age" for kind in ("members", "packs") for group in (0, 1)]
    assert names == sorted([os.path.basename(result.path), *kinds])
    for group in (0, 1):
        with open(
            f"{yard.mounts[0] if _card(yard.mounts[0]).group == group else _other(yard, group)}"
            "/sealift/index/members.parquet.age",
            "rb",
        ) as file:
            assert file.read() == (yard.folder / "out" / f"members-g000{group}.parquet.age").read_bytes()


def _other(yard, group):
    return next(mount for mount in yard.mounts if _card(mount).group == group)


def test_an_index_that_rotted_in_the_state_is_not_sent_ahead(yard):
    path = yard.folder / "state" / "groups" / "0001" / "closed" / "index" / "members.parquet.age"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadInput, match="not as it was signed"):
        yard.seal()
    assert not any(name.endswith(".seal") for name in os.listdir(yard.state))  # the seal comes last


def test_sealing_the_same_again_changes_nothing_and_reaches_drives_that_come_later(yard):
    first = yard.seal(*yard.mounts[:2])
    before = snapshot(yard.folder)
    again = yard.seal(*yard.mounts[:2])
    assert snapshot(yard.folder) == before
    assert (again.made, again.seal, again.superseded) == (False, first.seal, None)
    assert [written for *_, written in again.drives] == [False, False]
    later = yard.seal(*yard.mounts)
    assert [written for *_, written in later.drives] == [False, False, True, True, True, True]
    assert load_seal(yard.mounts[5]) == load_seal(first.path)


def test_the_state_knows_that_it_was_sealed_wherever_the_seal_went(yard):
    assert not look(str(yard.state)).sealed
    first = yard.seal(out=str(yard.folder / "out"))
    assert look(str(yard.state)).sealed
    digest = d.digest(Path(yard.declaration).read_bytes())
    assert (Path(yard.state) / "sealed").read_text() == f"{first.path}\nrevision 1 {digest}\n"


def test_the_seal_on_a_drive_is_taken_up_when_the_file_is_lost(yard):
    first = yard.seal(yard.mounts[2])
    os.unlink(first.path)
    again = yard.seal(yard.mounts[2], yard.mounts[3])
    assert not again.made
    assert load_seal(again.path) == load_seal(yard.mounts[2])


def test_a_changed_declaration_wants_a_new_release_and_then_supersedes(yard):
    first = yard.seal(yard.mounts[0])
    other = sections.Party(
        **{name: getattr(PARTY, name) for name in PARTY.__struct_fields__} | {"contact": "b@example.com"}
    )
    raw = Path(yard.declaration).read_bytes()
    yard.write(declare(yard.keys, yard.serials, consignee=other, revision=2, supersedes=d.digest(raw)))
    refused(yard, Refused, "not of this declaration", yard.mounts[0])
    yard.release()
    second = yard.seal(yard.mounts[0])
    assert second.made
    assert second.superseded is not None
    assert load_seal(second.superseded) != load_seal(second.path) == load_seal(yard.mounts[0])
    assert open_seal(load_seal(second.superseded), yard.allowed).seal == first.seal
    assert f"{yard.mounts[0]}: this seal supersedes the one that was there" in yard.notices
    assert f"this seal supersedes the one that was there, now {second.superseded}: send the new one" in yard.notices


def test_one_of_the_same_revision_takes_its_place_and_supersedes_nothing(yard):
    """Released again without a change: both hold, and what is bound to the first one is in order."""
    yard.seal(yard.mounts[0])
    yard.release(officer="O. Fficer the Second")
    second = yard.seal(yard.mounts[0])
    assert second.made
    how = "this seal takes the place of the one that was there (of the same revision; both hold)"
    assert f"{yard.mounts[0]}: {how}" in yard.notices
    assert f"{how}, now {second.superseded}: send the new one" in yard.notices
    assert not any("supersed" in line for line in yard.notices if second.superseded not in line)
    Path(second.path).write_bytes(b"no seal")
    third = yard.seal(yard.mounts[0])
    assert (
        f"this seal takes the place of the one that was there, now {third.superseded}: send the new one" in yard.notices
    )


def elsewhere(yard, first):
    """The declaration and release of `first` in a folder that knows nothing of what came later."""
    alone = yard.folder / "alone"
    alone.mkdir()
    for name, data in first.items():
        (alone / name).write_bytes(data)
    yard.declaration = str(alone / "declaration.toml")


def test_the_seal_of_a_later_revision_on_a_drive_is_not_replaced_by_an_earlier_one(yard):
    names = ("declaration.toml", "declaration.release.json", "declaration.release.json.sig")
    first = {name: (yard.folder / name).read_bytes() for name in names}
    yard.seal(*yard.mounts[:2])
    yard.write(declare(yard.keys, yard.serials, revision=2, supersedes=d.digest(first["declaration.toml"])))
    yard.release()
    sealed = yard.seal(yard.mounts[1])
    os.unlink(sealed.path)
    os.unlink(os.path.join(yard.state, "sealed"))  # the state remembers nothing: the drive does
    elsewhere(yard, first)
    before = snapshot(yard.folder)
    error = refused(yard, Refused, r"d1: it was sealed under revision 2 .* supersedes this, revision 1", *yard.mounts)
    assert "released last" in error.hint
    assert snapshot(yard.folder) == before, "d0, which comes first, is as it was"
    other = declare(yard.keys, yard.serials, revision=2, supersedes=d.digest(first["declaration.toml"]), legal_hold="x")
    yard.write(other)
    yard.release()
    refused(yard, Refused, r"d1: it was sealed under revision 2 .* is not as this, revision 2", yard.mounts[1])
    yard.seal(yard.mounts[0])  # that one was sealed under revision 1


@pytest.mark.parametrize("note", ["as it is", "path only", "no seal at the path", "rubbish"])
def test_a_state_remembers_under_which_revision_it_was_sealed(yard, note):
    """The seal and the drives may be away, and the earlier revision lies where nobody knows of the later one."""
    names = ("declaration.toml", "declaration.release.json", "declaration.release.json.sig")
    first = {name: (yard.folder / name).read_bytes() for name in names}
    second = declare(yard.keys, yard.serials, revision=2, supersedes=d.digest(first["declaration.toml"]))
    yard.write(second)
    yard.release()
    yard.seal(out=str(yard.folder / "out"))
    remembered = Path(yard.state) / "sealed"
    if note != "as it is":
        remembered.write_text(remembered.read_text().partition("\n")[0] + "\n")
    if note == "no seal at the path":
        shutil.rmtree(yard.folder / "out")
    if note == "rubbish":
        remembered.write_bytes(b"revision 99999999999999999 zz\n" * 10)
    elsewhere(yard, first)
    if note in {"no seal at the path", "rubbish"}:
        yard.seal(out=str(yard.folder / "alone"))  # nothing knows of it
        return
    before = snapshot(yard.folder)
    why = r"state: it was sealed under revision 2 of consignment SL-2026-SEALME, which supersedes this, revision 1"
    error = refused(yard, Refused, why, *yard.mounts, out=str(yard.folder / "alone"))
    assert "released last" in error.hint
    assert snapshot(yard.folder) == before
    yard.write(second + b"# other bytes\n")
    yard.release()
    refused(yard, Refused, "which is not as this, revision 2", out=str(yard.folder / "alone"))


# --- no seal without a release by another person ---------------------------------------------------------


def test_no_seal_without_a_release(yard):
    os.unlink(releases.path_beside(yard.declaration))
    error = refused(yard, Refused, "has not been released")
    assert "another person" in error.hint


def test_no_seal_under_a_release_that_does_not_stand(yard):
    """The folder has a release of revision 2; revision 1 under another name, released by the same people, is older."""
    yard.seal()
    first = Path(yard.declaration).read_bytes()
    aside = {end: Path(releases.path_beside(yard.declaration) + end).read_bytes() for end in ("", ".sig")}
    yard.write(declare(yard.keys, yard.serials, revision=2, supersedes=d.digest(first)))
    yard.release()
    path = Path(yard.seal().path)
    sealed = path.read_bytes()
    yard.declaration = str(yard.folder / "copy.toml")
    yard.write(first)
    for end, data in aside.items():
        Path(releases.path_beside(yard.declaration) + end).write_bytes(data)
    refused(yard, Refused, r"does not stand:\n  it is superseded: revision 2 was released at ")
    # in a folder that knows no later release, the seal that lies in the state does
    alone = yard.folder / "alone"
    alone.mkdir()
    for name in ("copy.toml", "copy.release.json", "copy.release.json.sig"):
        shutil.move(yard.folder / name, alone / name)
    yard.declaration = str(alone / "copy.toml")
    refused(yard, Refused, "revision 2 of consignment SL-2026-SEALME was sealed already, and supersedes")
    assert path.read_bytes() == sealed


def test_no_seal_with_half_a_release(yard):
    os.unlink(releases.path_beside(yard.declaration) + ".sig")
    refused(yard, BadInput, "is not signed: there is no")


def test_no_seal_with_the_authors_release(yard):
    with open(yard.declaration, "rb") as file:
        parsed = d.parse(file.read(), draft=False)
    forged = filled.released(
        d.parse(declare(yard.keys | {"author": yard.keys["stranger"]}, yard.serials), draft=False),
        Signer.open(yard.keys["author"][0]), Signer.open(yard.keys["stranger"][0]), datetime.now(UTC),
        officer="Somebody Else",
    ).record  # fmt: skip
    record = replace(forged, declaration=releases.DeclarationBytes(bytes=len(parsed.raw), blake3=parsed.digest))
    data = canonical.encode(record)
    signature = Signer.open(yard.keys["author"][0]).sign(data, releases.NAMESPACE)
    write_pair(releases.path_beside(yard.declaration), data, signature)
    refused(yard, Refused, "author")


def test_no_seal_with_a_strangers_release(yard):
    yard.release(key="stranger")
    refused(yard, SignatureInvalid, "not among the allowed signers")


def test_no_seal_with_a_manifest_signature_as_release(yard):
    path = releases.path_beside(yard.declaration)
    with open(path, "rb") as file:
        data = file.read()
    write_pair(path, data, Signer.open(yard.keys["officer"][0]).sign(data, manifest.NAMESPACE))
    refused(yard, SignatureInvalid, "namespace")


def test_whoever_releases_does_not_seal(yard):
    (yard.folder / "signers").write_text(
        "".join(f"{name}@example.com {yard.keys[name][1]}\n" for name in ("officer", "origin", "author"))
    )
    refused(yard, Refused, "the key that released the shipment", key="officer")


def test_whoever_releases_does_not_seal_with_another_of_their_keys_either(yard):
    lines = [f"{name}@example.com {yard.keys[name][1]}\n" for name in ("officer", "origin", "author")]
    (yard.folder / "signers").write_text("".join([*lines, f"officer@example.com {yard.keys['stranger'][1]}\n"]))
    refused(yard, Refused, "a key of officer@example.com, who released the shipment", key="stranger")


def test_the_author_may_seal_but_a_stranger_may_not(yard):
    refused(yard, SignatureInvalid, "not among the allowed signers", key="stranger")
    assert yard.seal(key="author").made


def test_no_seal_over_a_draft(yard):
    yard.write(declare(yard.keys, yard.serials, end_use=sections.EndUse()))
    error = refused(yard, DeclarationInvalid, "end_use")
    assert any(problem.startswith("end_use.text") for problem in error.problems)


# --- the drives are the declared ones --------------------------------------------------------------------


def test_an_undeclared_serial_is_named(yard):
    yard.write(declare(yard.keys, [*yard.serials[:5], "OTHER"]))
    yard.release()
    refused(yard, Refused, "1 drive is packed and not declared: SER5")


def test_a_declared_drive_that_is_not_packed_is_named(yard):
    yard.write(declare(yard.keys, [*yard.serials, "MORE1", "MORE2"]))
    yard.release()
    refused(yard, Refused, "2 drives are declared and not packed: MORE1, MORE2")


def test_a_carrier_that_changed_after_packing_needs_a_new_release_and_no_packing(yard):
    yard.write(declare(yard.keys, yard.serials))
    yard.release()
    drives = [
        sections.Drive(serial=serial, carrier=carrier, goods="ssd", capacity_bytes=10**9, make="m", model="x")
        for serial, carrier in zip(yard.serials, (CARRIERS[1], CARRIERS[0], *CARRIERS[2:], *CARRIERS), strict=True)
    ]
    yard.write(declare(yard.keys, [], drives=drives))
    refused(yard, Refused, "release")
    yard.release()
    result = yard.seal()
    assert any(f"drive {yard.serials[0]} was packed for carrier" in line for line in yard.notices)
    sealed = {drive.serial: drive.carrier for group in result.seal.groups for drive in group.drives}
    assert sealed[yard.serials[0]] == CARRIERS[1]


def test_another_consignment_is_refused(yard):
    yard.write(declare(yard.keys, yard.serials, consignment_id="SL-2026-OTHER7"))
    yard.release()
    refused(yard, Refused, "SL-2026-SEALME")


def test_goods_are_not_sealed_as_a_rehearsal(yard):
    yard.write(declare(yard.keys, yard.serials, rehearsal=True))
    yard.release()
    refused(yard, Refused, "rehearsal")


# --- all groups, and only those of one shipment ----------------------------------------------------------


def test_a_group_that_is_not_packed_is_named_and_two_hosts_seal_together(yard):
    halves = [[mount for mount in yard.mounts if _card(mount).group == group] for group in (0, 1)]
    for mount in yard.mounts:
        shutil.rmtree(f"{mount}/sealift")
    states = [str(yard.folder / "host0"), str(yard.folder / "host1")]
    for mounts, state in zip(halves, states, strict=True):
        yard.pack(mounts, state, shipment="0123456789abcdef")
    serials = ", ".join(sorted(_card(mount).serial for mount in halves[1]))
    error = refused(yard, NotAllHere, r"1 of 2 groups .* group 1 \(" + serials, states=states[:1])
    assert "--state" in error.hint
    result = yard.seal(*yard.mounts, states=states)
    assert [group.group for group in result.seal.groups] == [0, 1]
    assert result.path.startswith(states[0])
    refused(yard, Refused, "two shipments", states=[states[0], yard.state])


def test_a_group_packed_twice_is_refused(yard):
    other = str(yard.folder / "again")
    for mount in yard.mounts:
        shutil.rmtree(f"{mount}/sealift")
    yard.pack(yard.mounts, other, shipment=stage.look(yard.state).config.shipment)
    refused(yard, Refused, "packed twice", states=[yard.state, other])


@pytest.mark.parametrize("which", ["manifest.json", "manifest.json.sig"])
def test_a_manifest_that_was_touched_in_the_state_is_refused(yard, which):
    path = yard.folder / "state" / "groups" / "0000" / "closed" / which
    data = bytearray(path.read_bytes())
    place = data.index(b'"scan": "') + 9 if which == "manifest.json" else len(data) // 2
    data[place] = ord("1") if data[place] == ord("0") else ord("0")
    path.write_bytes(data)
    refused(yard, SignatureInvalid, "group 0")


def test_drives_of_others_and_unfinished_ones_are_not_written_to(yard, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    error = refused(yard, BadInput, "no drive of a shipment", yard.mounts[0], str(empty))
    assert f"`sealift repair` of the others with `--onto {empty}`" in error.hint
    card = _card(yard.mounts[0])
    other = manifest.DriveCard(
        **{name: getattr(card, name) for name in card.__struct_fields__} | {"shipment": "f" * 16}
    )
    (tmp_path / "foreign" / "sealift").mkdir(parents=True)
    (tmp_path / "foreign" / "sealift" / "drive.json").write_bytes(canonical.encode(other))
    refused(yard, BadInput, "of another shipment", yard.mounts[0], str(tmp_path / "foreign"))
    os.unlink(f"{yard.mounts[1]}/sealift/manifest.json")
    error = refused(yard, Refused, "drive g0s1: it has no manifest.json", yard.mounts[0], yard.mounts[1])
    assert "sealift repair" in error.hint
    Path(f"{yard.mounts[1]}/sealift/manifest.json").write_bytes(b"rotten")
    error = refused(yard, Refused, "its manifest is not the one", yard.mounts[0], yard.mounts[1])
    assert "sealift repair" in error.hint
    Path(f"{yard.mounts[1]}/sealift/drive.json").write_bytes(bytes(500))
    error = refused(yard, Refused, f"{yard.mounts[1]}: .*drive.json", yard.mounts[0], yard.mounts[1])
    assert "sealift repair" in error.hint


@pytest.mark.parametrize("medium", ["", "its own", "another"])
def test_a_drive_that_was_made_anew_is_sealed_as_the_one_that_is_declared(yard, medium):
    """As pack advises of one that is empty; on a drive of another serial number it would leave undeclared."""
    mount = yard.mounts[2]
    group = [each for each in yard.mounts if _card(each).group == _card(mount).group]
    shutil.rmtree(f"{mount}/sealift")
    report = repair.repair(
        [each for each in group if each != mount], allowed=yard.allowed, onto=[mount], allow_same_filesystem=True
    )
    assert report.state == "rebuilt"
    card = _card(mount)
    serial = {"its own": card.serial}.get(medium, medium)
    note = replace(card.rebuilt, serial=serial)
    Path(f"{mount}/sealift/drive.json").write_bytes(canonical.encode(replace(card, rebuilt=note)))
    if medium == "another":
        error = refused(yard, Refused, "whose serial number is another; .*declared, as SER", *yard.mounts)
        assert "leave that mount away" in error.hint
        return
    yard.seal(*yard.mounts)
    assert any(f"it leaves as drive {card.serial}" in text for text in yard.notices)
    assert load_seal(mount) == load_seal(yard.mounts[0])


def test_a_group_that_was_taken_over_with_a_drive_made_anew_is_sealed_as_it_was_declared(yard):
    """As pack advises where the state is lost: under a copy of the declaration it goes on, and under none it leaves."""
    dead, new, shipment = yard.mounts[2], f"{yard.folder}/new", _card(yard.mounts[2]).shipment
    group = [each for each in yard.mounts if _card(each).group == _card(dead).group]
    left, released, serial = [each for each in yard.mounts if each != dead], yard.declaration, yard.serials[2]
    os.mkdir(new)
    shutil.rmtree(dead)
    shutil.rmtree(yard.state)
    here = [each for each in group if each != dead]
    repair.repair(here, allowed=yard.allowed, onto=[new], allow_same_filesystem=True)
    yard.mounts[2], yard.serials[2], yard.declaration = new, "NEW", f"{yard.folder}/copy.toml"
    yard.write(Path(released).read_bytes().replace(f'"{serial}"'.encode(), b'"NEW"'))
    assert yard.pack(yard.mounts, yard.state, shipment=shipment).exit_code == 0
    yard.release()
    refused(yard, Refused, f"packed and not declared: {serial}", *left)
    yard.declaration = released
    yard.release()
    yard.seal(*left)
    assert len({tuple(load_seal(mount)) for mount in left}) == 1


def test_a_state_that_is_none_is_bad_input(yard, tmp_path):
    refused(yard, BadInput, "no packing", states=[str(tmp_path)])


def test_the_seal_survives_its_own_bundle(yard):
    with open(yard.seal().path, "rb") as file:
        data = file.read()
    assert seals.encode_bundle(seals.decode_bundle(data)) == data


# --- what the drives hold, and what else was sealed ------------------------------------------------------


def _packs(mount):
    folders = os.walk(f"{mount}/sealift/packs")
    return sorted(os.path.join(top, name) for top, _, names in folders for name in names)


def _filled(yard):
    """Mounts of drives that have a pack: where there is but one for a stripe, which has it is up to the builders."""
    return [mount for mount in yard.mounts if _packs(mount)]


def test_a_drive_that_lacks_a_pack_gets_no_seal_and_need_not_be_attached(yard):
    short = _filled(yard)[1]
    os.unlink(_packs(short)[0])
    error = refused(yard, Refused, "1 of its 1 packs is not on it: packs/0000/0000000", *yard.mounts)
    assert f"{short}: drive {_card(short).id}: " in str(error)
    assert str(error).count(": drive ") == 1
    assert "sealift repair" in error.hint
    yard.seal(*(mount for mount in yard.mounts if mount != short))


def test_all_drives_that_are_short_are_named_whatever_it_is(yard):
    longer, emptied, *_ = _filled(yard)
    lost, rotten, *_ = (mount for mount in yard.mounts if mount not in {longer, emptied})
    with open(_packs(longer)[0], "ab") as file:
        file.write(b"x")
    shutil.rmtree(f"{emptied}/sealift/packs")
    os.unlink(f"{lost}/sealift/packs.bin")
    with open(f"{rotten}/sealift/packs.bin", "r+b") as file:
        file.seek(16384)
        file.write(b"\xff" * 80)
    error = refused(yard, Refused, "bytes long instead of", *yard.mounts)
    assert {mount for mount in yard.mounts if f"{mount}: drive" in str(error)} == {longer, emptied, lost, rotten}
    assert "packs.bin is not there" in str(error)
    assert "packs.bin is not as it was signed" in str(error)


def test_more_drives_that_lack_packs_than_parity_holds_are_not_sent_to_repair(yard):
    for mount in yard.mounts:
        shutil.rmtree(f"{mount}/sealift/packs", ignore_errors=True)
    error = refused(yard, Refused, r"more drives of group 0 than parity holds \(1\) lack stripe 0", *yard.mounts)
    assert "repair" not in error.hint


@pytest.mark.parametrize("bears_it", [False, True])
def test_a_drive_that_says_another_serial_number_is_the_one_that_was_replaced(yard, bears_it):
    """One that bears the manifest was there when it was signed: only its drive.json is wrong, and repair mends that."""
    mount = yard.mounts[0]
    card = _card(mount)
    Path(mount, "sealift", manifest.CARD).write_bytes(canonical.encode(replace(card, serial="SER-OLD")))
    if not bears_it:
        os.unlink(f"{mount}/sealift/{manifest.MANIFEST}")
    what = f"says that it is drive {card.id}" if bears_it else f"is drive SER-OLD, and {card.id} was signed as SER0"
    error = refused(yard, BadInput, what, mount)
    assert ("repair" in error.hint) == bears_it


def test_drives_are_declared_in_the_order_in_which_they_were_packed(yard):
    yard.write(declare(yard.keys, [yard.serials[3], *yard.serials[1:3], yard.serials[0], *yard.serials[4:]]))
    yard.release()
    error = refused(yard, Refused, "lists SER3, SER0 in places where the packing has SER0, SER3")
    assert "released again" in error.hint


def another(yard, name):
    """The same drives, packed anew under the same released declaration; the first seal is out of sight."""
    for mount in yard.mounts:
        shutil.rmtree(f"{mount}/sealift")
    yard.pack(yard.mounts, str(yard.folder / name))
    return str(yard.folder / name)


@pytest.mark.parametrize("out", ["", "state"])
def test_nothing_more_is_packed_under_a_declaration_that_is_sealed(yard, out):
    first = yard.seal(out=str(yard.folder / out))
    with pytest.raises(Refused, match=f"shipment {first.seal.shipment} is sealed under consignment") as caught:
        another(yard, "again")
    assert first.path in str(caught.value)
    assert "a declaration of its own" in caught.value.hint
    assert not any(os.path.exists(f"{mount}/sealift") for mount in yard.mounts)
    os.rename(first.path, first.path + ".void")
    yard.pack(yard.mounts, str(yard.folder / "again"))


def test_one_declaration_seals_one_shipment(yard):
    first = yard.seal(out=str(yard.folder / "outbox"))
    state = another(yard, "again")
    match = f"shipment {first.seal.shipment} was sealed under consignment SL-2026-SEALME already"
    error = refused(yard, Refused, match, states=[state], out=str(yard.folder / "outbox"))
    assert first.path in str(error)
    assert "never leaves" in error.hint
    assert "related_shipments" in error.hint
    os.rename(first.path, first.path + ".void")
    assert yard.seal(states=[state], out=str(yard.folder / "outbox")).made


def test_a_seal_beside_the_declaration_counts_and_what_is_no_seal_does_not(yard):
    first = yard.seal(out=str(yard.folder / "outbox"))
    state = another(yard, "again")
    shutil.move(first.path, beside := str(yard.folder / "beside.seal"))
    refused(yard, Refused, "already", states=[state])
    with open(beside, "r+b") as file:
        file.truncate(os.path.getsize(beside) - 1)
    assert yard.seal(states=[state]).made


def test_a_shipment_of_another_consignment_may_lie_beside_it(yard):
    yard.seal(out=str(yard.folder / "outbox"))
    yard.write(declare(yard.keys, yard.serials, consignment_id="SL-2026-OTHER7"))
    state = another(yard, "other")
    yard.release()
    assert yard.seal(states=[state], out=str(yard.folder / "outbox")).made


@pytest.mark.parametrize(
    ("declared", "told"), [(1, True), (14_000, True), (14_200, False), (17_000, False), (17_500, True)]
)
def test_what_is_declared_is_compared_with_what_is_packed(yard, declared, told):
    packed = sum(len(f"file {i}\n".encode() * 50) for i in range(40))
    assert packed == 15_500
    data = sections.DataSummary(
        summary="Text", licence_basis="CC0", personal_data="none", source_bytes=declared, important_data="no",
        us_bulk_sensitive="no",
    )  # fmt: skip
    yard.write(declare(yard.keys, yard.serials, data=data))
    yard.release()
    yard.seal()
    lines = [line for line in yard.notices if "data.source_bytes" in line]
    assert len(lines) == told
    assert all(f"{packed:,} bytes were packed" in line for line in lines)


def test_what_read_back_found_or_left_out_is_said_when_it_is_sealed(yard):
    yard.seal()
    assert not [told for told in yard.notices if "read" in told]
    journal = Journal(yard.state)
    journal.note_spoilt(1, [0, 2])
    journal.close()
    assert [group.spoilt for group in look(yard.state).groups] == [[], ["g1s0", "g1s2"]]
    yard.seal()
    (told,) = [told for told in yard.notices if "read" in told]
    assert told.startswith("g1s0, g1s2: small files there were not as they were signed when they were read last. ")
    with closing(sqlite3.connect(f"{yard.state}/journal.sqlite")) as database, database:
        database.execute("DELETE FROM settings WHERE name = 'spoilt-1'")
        database.execute("UPDATE read_back SET stripes = 0 WHERE number = 0")
    yard.seal()
    total = look(yard.state).read_back["stripes_total"]
    (told,) = [told for told in yard.notices if "read" in told]
    assert f"of {look(yard.state).groups[0].stripes} of {total} stripes not even a sample was read back" in told


def test_that_nobody_read_back_what_was_taken_over_is_said_when_it_is_sealed(yard):
    other, shipment = f"{yard.folder}/other", look(yard.state).config.shipment
    yard.pack(yard.mounts, other, shipment=shipment, read_back="full")
    yard.seal(states=[other])
    (told,) = [told for told in yard.notices if "read" in told]
    assert told.startswith("groups 0, 1: taken over from the drives")
    assert "not even a sample was read back" in told
    yard.seal(states=[other, yard.state])  # the one that packed them is given, too
    assert not [told for told in yard.notices if "read" in told]


def test_what_is_known_to_be_gone_from_the_drives_is_not_sealed(yard):
    journal = Journal(yard.state)
    journal.note_gone(1, "packs", "more of them than parity holds (1) lacked stripe 0 of 1")
    with pytest.raises(
        Refused, match=r"group 1: more of them than parity holds .* cannot be had from them; nothing"
    ) as no:
        yard.seal()
    assert "keep the source" in no.value.hint
    journal.note_gone(1, "small files", "none of them had packs.bin as signed")
    journal.note_gone(1, "packs", "")
    with pytest.raises(Refused, match=r"group 1: none of them had packs.bin as signed; nothing"):
        yard.seal()
    journal.note_gone(1, "small files", "")
    journal.close()
    assert yard.seal().made


@pytest.mark.parametrize("out", ["file", "file/beneath"])
def test_a_file_where_a_folder_is_wanted_is_called_that(yard, out):
    (yard.folder / "file").write_bytes(b"")
    error = refused(yard, BadInput, f"{out}: a file is where a folder is wanted", out=str(yard.folder / out))
    assert error.hint == "nothing on a drive was changed; give another --out DIR"


def test_what_was_seen_to_be_gone_is_not_sealed_without_those_drives(yard):
    """A drive that is whole by now counts as that, one that is away as it was when it was looked at last."""
    one, two, *_ = [mount for mount in _filled(yard) if _card(mount).group == 0]
    (three,) = [mount for mount in yard.mounts if _card(mount).group == 0 and mount not in {one, two}]
    drive = f"drive {_card(one).id} (serial {_card(one).serial}, "
    name = {mount: _packs(mount)[0] for mount in (one, two)}
    kept = {mount: Path(path).read_bytes() for mount, path in name.items()}
    os.unlink(name[one])
    refused(yard, Refused, "1 of its 1 packs is not on it: packs/0000/0000000", one)
    yard.seal(three)
    (told,) = [told for told in yard.notices if "is not on it" in told]
    assert told.startswith(drive)
    assert "when it was looked at last" in told
    os.unlink(name[two])
    for mounts in ([two], [], [three]):
        error = refused(yard, Refused, r"more drives of group 0 than parity holds \(1\) lack stripe 0: ", *mounts)
        assert drive in str(error)
        assert "keep the source" in error.hint
    Path(name[two]).write_bytes(kept[two])
    assert yard.seal(two, three).made is False
    yard.seal()
    Path(name[one]).write_bytes(kept[one])
    yard.seal(one)
    yard.seal()
    assert not [told for told in yard.notices if "is not on it" in told]


def test_packs_that_are_wrong_still_are_not_said_to_be_made_good(yard):
    serial = look(yard.state).config.groups[0][1].serial
    journal = Journal(yard.state)
    journal.note_read_back(0, 0, 1, [(Wrong(0, 0, 1, 2, 1), Medium(serial, "/mnt/d1"))], cached=False)
    yard.seal()
    assert not any("made good" in told for told in yard.notices)
    assert any(told.startswith("g0s1: 2 blocks there read back other than written") for told in yard.notices)
    journal.repaired(0, 0, 0)
    journal.close()
    yard.seal()
    assert any(told.startswith("g0s1: ") and "made good since" in told for told in yard.notices)
    assert not any("read back other" in told for told in yard.notices)


def test_a_drive_that_gave_other_bytes_is_named_when_it_is_sealed(yard):
    journal = Journal(yard.state)
    journal.note_small(0, 1, Medium(look(yard.state).config.groups[0][1].serial, "/mnt/d1"))
    journal.close()
    yard.seal()
    (told,) = [told for told in yard.notices if "other bytes than were written" in told]
    assert told.startswith("g0s1: ")
    assert "`sealift verify` before it leaves" in told
