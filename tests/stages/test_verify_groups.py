"""Drives that are not what they seem: foreign, replayed, swapped, copied, unsigned, undeclared; and seals."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import fleet as fleets

from sealift.drives.memory import Medium, MemoryDrive
from sealift.errors import BadInput, NotAllHere, Refused, SealInvalid
from sealift.formats import canonical, sshsig
from sealift.formats import manifest as mf
from sealift.reading import survey_late
from sealift.reading.survey import DriveView, survey
from sealift.stages import verify_hosts
from sealift.stages.inspect import inspect
from sealift.stages.repair import repair
from sealift.stages.verify import verify
from sealift.stages.verify_report import VerifyReport, exit_code

LENGTHS = [[3000, 2000], [70, 60], [50, 50]]
FLEET = fleets.make(Path("/nowhere"), seed=11, geometry=((2, 1), (1, 1)), lengths=LENGTHS, on_disk=False)
OTHER = fleets.make(Path("/nowhere"), seed=12, geometry=((2, 1),), lengths=LENGTHS, on_disk=False)


def check(places, allowed=None, **options):
    return verify(places, allowed=allowed or FLEET.allowed, remember=False, **options)


def told(report):
    return {(fault.drive, fault.path, fault.kind) for fault in report.faults}


def copy_of(drive, mount):
    medium = Medium()
    medium.exists, medium.files = True, dict(drive.medium.files)
    return MemoryDrive(mount, medium)


def rename(drives, prefix):
    return [copy_of(drive, prefix + drive.mount) for drive in drives]


def resigned(fleet, **changes):
    """Another manifest of group 0, rightly signed by the same key."""
    manifest = msgspec.structs.replace(fleet.groups[0].manifest, **changes)
    data = mf.encode_manifest(manifest)
    return data, sshsig.sign_ed25519(data, fleet.signing, mf.NAMESPACE)


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("same_signer", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_drive_of_ours_with_another_shipments_manifest_is_mended(same_signer, count, sealed):
    """Whoever copied it there: drive.json and the packs say whose drive it is, and the manifest is had from others."""
    fleet = fleets.make(Path("/nowhere"), seed=11, geometry=((2, 2),), lengths=LENGTHS, on_disk=False)
    drives = fleet.memory()
    before = [dict(drive.medium.files) for drive in drives]
    data = OTHER.groups[0].manifest_bytes
    signature = sshsig.sign_ed25519(data, (fleet if same_signer else OTHER).signing, mf.NAMESPACE)
    for drive in drives[:count]:
        drive.put(mf.MANIFEST, data)
        drive.put(mf.SIGNATURE, signature)
    given = {"seal": fleet.seal_files} if sealed else {}
    if count == 3 and same_signer and not sealed:
        given = {"shipment": fleet.shipment}  # else nothing says which is meant, and most are of the other one
    report = verify(drives, allowed=fleet.allowed, remember=False, **given)
    assert (report.state, report.shipment, report.signature.ok) == ("recoverable", fleet.shipment, True)
    assert told(report) == {
        (f"g0s{slot}", name, "rotten") for slot in range(count) for name in (mf.MANIFEST, mf.SIGNATURE)
    }
    assert inspect(drives, allowed=fleet.allowed, **given).state == "recoverable"
    mended = repair(drives, allowed=fleet.allowed, **given)
    assert (mended.state, mended.left) == ("repaired", [])
    assert [drive.medium.files for drive in drives] == before


def test_a_drive_that_answers_late_is_told_by_the_same_rule():
    drives, other = FLEET.memory(), OTHER.memory()[0]
    for name in (mf.MANIFEST, mf.SIGNATURE):
        drives[0].put(name, OTHER.groups[0].files[0][name])
    groups = survey(drives[1:], allowed=FLEET.allowed).groups
    for drive, joined in ((drives[0], ("member", 0, 0)), (other, ("foreign", None, None))):
        late = survey_late.begin([DriveView(drive.mount, drive)])[0]
        assert late.look.result() is None
        survey_late.join(groups, late.view)
        assert (late.view.standing, late.view.group, late.view.slot) == joined


@pytest.mark.parametrize("what", ["packs", "card"])
def test_a_drive_of_another_shipment_stays_foreign_whatever_is_copied_to_it(what):
    """One of ours it is only by drive.json and packs together: repair would write over all that it holds."""
    drives, other = FLEET.memory(), OTHER.memory()[0]
    ours = FLEET.groups[0].files[0]
    if what == "packs":
        for name, data in ours.items():
            if name.startswith("packs/"):
                other.put(name, data)
    else:
        other.put(mf.CARD, ours[mf.CARD])
        first = next(name for name in ours if name.startswith("packs/"))
        other.put(first, ours[first])
    before = dict(other.medium.files)
    other.mount = "/mnt/other"
    report = check([*drives[1:], other])
    assert (other.mount, mf.MANIFEST, "foreign") in told(report)
    repair([*drives[1:], other], allowed=FLEET.allowed)
    assert other.medium.files == before


# Where drives belong


@given(st.permutations(range(5)))
@settings(max_examples=20, deadline=None)
def test_the_order_of_mounts_is_nothing(order):
    drives = FLEET.memory()
    report = check([drives[index] for index in order])
    assert report.state == "intact"
    assert [[drive.slot for drive in group.present] for group in report.groups] == [[0, 1, 2], [0, 1]]


def test_a_foreign_drive_is_named_and_harms_nothing():
    stranger = rename(OTHER.memory()[:1], "other")
    report = check([*stranger, *FLEET.memory()])
    assert told(report) == {(stranger[0].mount, "manifest.json", "foreign")}
    assert (report.state, report.signature.ok) == ("intact", True)
    bare = copy_of(stranger[0], "bare")
    del bare.medium.files[mf.CARD]  # what else is wrong with it is nothing to us
    assert (check([bare, *FLEET.memory()]).state, repair([bare, *FLEET.memory()], allowed=FLEET.allowed).state) == (
        "intact",
        "whole",
    )


def test_a_foreign_drive_with_a_seal_does_not_lead_astray():
    # Both fleets' keys are allowed, and only the stranger has a seal.
    both = FLEET.allowed_bytes + OTHER.allowed_bytes
    allowed = type(FLEET.allowed).parse(both)
    stranger = rename(OTHER.memory()[:1], "other")
    report = check([*stranger, *FLEET.memory(with_seal=False)], allowed)
    assert report.shipment == FLEET.shipment
    assert told(report) == {(stranger[0].mount, "manifest.json", "foreign")}
    assert (report.state, report.seal) == ("unseen", None)


def test_an_old_shipment_replayed_whole_shows_against_the_seal_and_only_against_it():
    both = type(FLEET.allowed).parse(FLEET.allowed_bytes + OTHER.allowed_bytes)
    assert check(OTHER.memory(), both).state == "intact"
    words = rf"are of shipment {OTHER.shipment}, .* shipment {FLEET.shipment}"
    for asked in ({"seal": FLEET.seal_files}, {"shipment": FLEET.shipment}):
        with pytest.raises(SealInvalid, match=words) as caught:
            check(OTHER.memory(), both, **asked)
        assert caught.value.exit_code == 5


def test_a_seal_and_a_shipment_that_differ_are_refused():
    with pytest.raises(SealInvalid, match="not of"):
        check(FLEET.memory(), seal=FLEET.seal_files, shipment=OTHER.shipment)


def test_a_replayed_drive_is_named_against_the_seal():
    drives = FLEET.memory()
    data, signature = resigned(FLEET, seed=7)
    for name, content in list(drives[0].medium.files.items()):
        if name.startswith("packs/"):
            drives[0].put(name, b"another packing" + content)
    drives[0].put(mf.MANIFEST, data)
    drives[0].put(mf.SIGNATURE, signature)
    drives[0].put(mf.CARD, canonical.encode(msgspec.structs.replace(FLEET.groups[0].manifest.card(0), label="old")))
    drives[0].put(mf.OPEN_ME, b"old")
    drives[0].put(mf.SUMS, b"old")
    report = check(drives)
    assert told(report) == {("/mnt/g0s0", "manifest.json", "replayed")}
    assert report.state == "unseen"
    assert check(drives, final=True).state == "recoverable"
    # All drives of the group replayed: the group is not here, and the rest of the shipment is.
    for slot in (1, 2):
        drives[slot].put(mf.MANIFEST, data)
        drives[slot].put(mf.SIGNATURE, signature)
    report = check(drives)
    assert {kind for _, _, kind in told(report)} == {"replayed"}
    assert [len(group.missing) for group in report.groups] == [3, 0]
    assert check(drives, final=True).state == "lost"


def test_two_manifests_for_one_group_without_a_seal():
    drives = FLEET.memory(with_seal=False)
    data, signature = resigned(FLEET, seed=7)
    drives[0].put(mf.MANIFEST, data)
    drives[0].put(mf.SIGNATURE, signature)
    report = check(drives)
    assert told(report) == {("g0s0", "manifest.json", "two-manifests")}
    assert report.state == "unseen"


def test_a_manifest_that_nobody_trusted_signed_is_outvoted_by_one_that_is_signed():
    drives = FLEET.memory()
    data, _ = resigned(FLEET, seed=7)
    forged = sshsig.sign_ed25519(data, fleets.key(1, "forger"), mf.NAMESPACE)
    for slot in (0, 1):
        drives[slot].put(mf.MANIFEST, data)
        drives[slot].put(mf.SIGNATURE, forged)
    report = check(drives)
    assert told(report) == {
        (f"g0s{slot}", name, "unsigned") for slot in (0, 1) for name in ("manifest.json", "manifest.json.sig")
    }
    assert (report.state, report.signature.ok) == ("recoverable", True)


def test_nobodys_signature_anywhere_is_refused_and_nothing_is_read():
    report = check(FLEET.memory(), OTHER.allowed)
    assert exit_code(report) == 5
    assert report.bytes_read == 0
    assert not report.signature.ok
    assert {kind for _, _, kind in told(report)} == {"unsigned"}


def test_manifests_that_only_the_seal_vouches_for_are_read_and_refused():
    drives = FLEET.memory()
    for slot in range(3):
        drives[slot].put(mf.SIGNATURE, sshsig.sign_ed25519(b"other bytes", FLEET.signing, mf.NAMESPACE))
    report = check(drives)
    assert exit_code(report) == 5
    assert told(report) == {(f"g0s{slot}", "manifest.json.sig", "unsigned") for slot in range(3)}
    assert report.groups[0].readable_bytes == report.groups[0].total_bytes


def test_a_damaged_manifest_does_not_make_a_drive_foreign():
    drives = FLEET.memory()
    drives[0].put(mf.MANIFEST, FLEET.groups[0].manifest_bytes.replace(FLEET.shipment.encode(), b"0" * 16, 1))
    report = check(drives)
    assert told(report) == {("g0s0", "manifest.json", "unsigned")}
    assert report.groups[0].readable_bytes == report.groups[0].total_bytes


def test_a_lone_drive_without_a_signature_is_refused():
    drives = FLEET.memory(with_seal=False)[:1]
    del drives[0].medium.files[mf.SIGNATURE]
    report = check(drives)
    assert exit_code(report) == 5
    assert {(path, kind) for _, path, kind in told(report)} == {(mf.SIGNATURE, "missing")}


def test_a_lone_drive_without_a_manifest_is_that_of_a_packing_that_is_not_done():
    drives = FLEET.memory(with_seal=False)[:1]
    del drives[0].medium.files[mf.MANIFEST]
    with pytest.raises(NotAllHere, match="packing was not finished, or it is gone"):
        check(drives)


def test_a_manifest_that_is_not_canonical_is_named():
    drives = FLEET.memory()
    drives[0].put(mf.MANIFEST, FLEET.groups[0].manifest_bytes + b"\n")
    assert told(check(drives)) == {("g0s0", "manifest.json", "non-canonical")}


# Slots


def test_packs_decide_the_slot_when_the_card_says_another():
    drives = FLEET.memory()
    for slot, other in ((0, 1), (1, 2), (2, 0)):
        drives[slot].put(mf.CARD, canonical.encode(FLEET.groups[0].manifest.card(other)))
    report = check(drives)
    assert told(report) == {(f"g0s{slot}", "drive.json", "rotten") for slot in range(3)}
    assert report.state == "recoverable"
    assert report.groups[0].readable_bytes == report.groups[0].total_bytes


@pytest.mark.parametrize("lost", [[mf.CARD], [mf.CARD, mf.MANIFEST], [mf.CARD, mf.MANIFEST, mf.SIGNATURE]])
def test_a_drive_without_its_small_files_is_still_known(lost):
    drives = FLEET.memory()
    for name in lost:
        del drives[1].medium.files[name]
    report = check(drives)
    assert told(report) == {("g0s1", name, "missing") for name in lost}
    assert report.state == "recoverable"


def test_without_packs_the_other_files_tell_the_slot():
    drives = FLEET.memory()
    for name in [name for name in drives[1].medium.files if name.startswith("packs/")]:
        del drives[1].medium.files[name]
    drives[1].put(mf.CARD, b"rubbish")
    report = check(drives)
    assert ("g0s1", "drive.json", "non-canonical") in told(report)
    assert report.state == "recoverable"


def test_packs_that_were_swapped_between_drives_are_rotten():
    drives = FLEET.memory()
    a, b = (mf.pack_name(1, mf.role_of(1, slot, 3), 2) for slot in (1, 2))
    assert a == b == "packs/0000/0000001.tar.zst.age"
    one, two = drives[1].medium.files[a], drives[2].medium.files[b]
    drives[1].put(a, two)
    drives[2].put(b, one)
    report = check(drives, final=True)
    assert {(drive, path) for drive, path, _ in told(report)} == {("g0s1", a), ("g0s2", b)}
    assert report.state == "lost"


def test_mirrors_are_told_apart():
    # k = 1, m = 1: data and parity packs have the same bytes, and only their names differ.
    drives = FLEET.memory()[3:]
    for drive in drives:
        del drive.medium.files[mf.CARD]
    found = survey(drives, allowed=FLEET.allowed)
    assert [found.groups[0].drives[slot].mount for slot in (0, 1)] == ["/mnt/g1s0", "/mnt/g1s1"]


# Copies


def test_a_good_copy_of_a_drive_is_a_notice():
    drives = FLEET.memory()
    report = check([*drives, copy_of(drives[0], "/mnt/copy")])
    assert (report.state, report.faults) == ("intact", [])
    assert any("/mnt/copy" in notice and "good copy" in notice for notice in report.notices)


def test_of_two_drives_in_one_slot_that_are_not_as_signed_both_are_told():
    drives = FLEET.memory()
    fake = copy_of(drives[0], "/mnt/fake")
    for drive in (drives[0], fake):
        name = next(name for name in drive.medium.files if name.startswith("packs/"))
        drive.put(name, bytes(len(drive.medium.files[name])))
    report = check([*drives, fake])
    assert {fault.mount for fault in report.faults if fault.kind == "conflict"} == {"/mnt/g0s0", "/mnt/fake"}
    assert report.state == "recoverable"


@pytest.mark.parametrize("name", [mf.CARD, mf.OPEN_ME, "stray"])
def test_an_old_drive_beside_the_one_that_replaced_it_is_no_conflict(name):
    drives = FLEET.memory()
    old = copy_of(drives[1], "/mnt/old")
    old.put(name, b"{}")
    for order in ([*drives, old], [old, *drives]):
        report = check(order, final=True)
        assert [(fault.mount, fault.kind) for fault in report.faults] == [("/mnt/old", "superseded")]
        assert report.state == "intact"
        assert not any("good copy" in notice for notice in report.notices)


def test_a_drive_that_only_claims_a_slot_is_superseded():
    drives = FLEET.memory()
    fake = copy_of(drives[0], "/mnt/fake")
    for name in [name for name in fake.medium.files if name.startswith("packs/")]:
        fake.put(name, bytes(len(fake.medium.files[name])))
    for order in ([*drives, fake], [fake, *drives]):
        report = check(order)
        assert [(fault.mount, fault.kind) for fault in report.faults] == [("/mnt/fake", "superseded")]
        assert report.state == "intact"
        assert report.groups[0].readable_bytes == report.groups[0].total_bytes


def test_what_one_copy_has_whole_is_not_lost():
    drives = FLEET.memory()
    twin = copy_of(drives[0], "/mnt/twin")
    name = mf.pack_name(0, 0, 2)
    for drive in (drives[0], drives[1]):
        stripe0 = name if drive is drives[0] else mf.pack_name(0, mf.role_of(0, 1, 3), 2)
        drive.put(stripe0, bytes(len(drive.medium.files[stripe0])))
    assert check(drives, final=True).state == "lost"
    assert check([*drives, twin], final=True).state == "recoverable"


def test_one_folder_given_twice_is_read_once(tmp_path):
    fleet = fleets.make(tmp_path, seed=3, lengths=[[30, 20]])
    (tmp_path / "link").symlink_to(fleet.mounts[0])
    report = check([*fleet.mounts, fleet.mounts[0], str(tmp_path / "link")], fleet.allowed)
    assert (report.state, len(report.groups[0].present)) == ("intact", 3)
    assert len(report.notices) == 2


# Seals


def of_another_seal(report):
    """The same, as if it had been made against a seal that was superseded since."""
    copied = msgspec.json.decode(msgspec.json.encode(report), type=VerifyReport)
    copied.seal.blake3 = "ab" * 32
    for copy in (copy for group in copied.groups for copy in group.present):
        copy.against = "ab" * 32
    return copied


@pytest.mark.parametrize("stage", [check, lambda drives, **how: inspect(drives, allowed=FLEET.allowed, **how)])
def test_a_part_against_another_seal_is_refused_and_both_are_named(stage):
    drives = FLEET.memory()
    good = check(drives[1:])
    part = ("b.json", msgspec.json.encode(good))
    other = ("c.json", msgspec.json.encode(of_another_seal(good)))
    assert stage(drives[:1], parts=[part]).seal.blake3 == good.seal.blake3
    ours = good.seal.blake3[:16]
    with pytest.raises(BadInput, match=rf"c.json was made against the seal .* {'ab' * 8}, and the seal here .* {ours}"):
        stage(drives[:1], parts=[part, other])
    # Where no seal is at hand, the parts have one between them.
    bare = FLEET.memory(with_seal=False)[:1]
    assert stage(bare, parts=[part]).seal is None
    with pytest.raises(BadInput, match=rf"c.json was made against .* {'ab' * 8}, and that of b.json has BLAKE3 {ours}"):
        stage(bare, parts=[part, other])
    # One that had been joined before, of which only the readings tell.
    joined = of_another_seal(good)
    joined.seal.blake3 = good.seal.blake3
    with pytest.raises(BadInput, match=f"{'ab' * 8}, and the seal here"):
        stage(drives[:1], parts=[("d.json", msgspec.json.encode(joined))])


def test_a_part_against_another_seal_is_refused_before_hosts_read_anything(monkeypatch):
    standing = SimpleNamespace(seal=FLEET.seal_files, shipment=FLEET.shipment, hosts=[])
    monkeypatch.setattr(verify_hosts, "look_everywhere", lambda *_: standing)
    other = ("c.json", msgspec.json.encode(of_another_seal(check(FLEET.memory()))))
    with pytest.raises(BadInput, match=rf"c.json was made against the seal .* {'ab' * 8}"):
        verify_hosts.verify_on(SimpleNamespace(here=False), [], allowed=FLEET.allowed, parts=[other])


def test_without_a_seal_nobody_can_say_that_this_is_all():
    report = check(FLEET.memory(with_seal=False))
    assert (report.state, exit_code(report), report.seal, report.faults) == ("unseen", 6, None, [])
    assert report.signature.ok
    assert any("no seal" in notice for notice in report.notices)
    assert check(FLEET.memory(with_seal=False), final=True).state == "unseen"
    assert check(FLEET.memory(with_seal=False)[:4], final=True).state == "unseen"
    assert check(FLEET.memory(with_seal=False)[:3], final=True).state == "lost", "the manifests name two groups"


def test_a_seal_sent_ahead_serves_drives_without_one():
    report = check(FLEET.memory(with_seal=False), seal=FLEET.seal_files)
    assert (report.state, report.seal.source, report.seal.officer) == ("intact", "file", "O. Officer")


def test_some_drives_may_be_without_the_seal():
    drives = FLEET.memory(with_seal=False)[:2] + FLEET.memory()[2:]
    assert (check(drives).state, check(drives).seal.source) == ("intact", "drives")


def test_half_a_seal_is_named():
    drives = FLEET.memory()
    del drives[0].medium.files["seal/release.json"]
    assert told(check(drives)) == {("g0s0", "seal/release.json", "missing")}


def test_a_withheld_group_is_named_drive_by_drive():
    report = check(FLEET.memory()[:3])
    assert (report.state, [row.drive for row in report.groups[1].missing]) == ("unseen", ["g1s0", "g1s1"])
    assert check(FLEET.memory()[:3], final=True).state == "lost"


def test_a_seal_that_is_damaged_on_every_drive_is_refused():
    drives = FLEET.memory()
    for drive in drives:
        drive.put("seal/seal.json", FLEET.seal_files["seal/seal.json"].replace(b"north", b"NORTH", 1))
    report = check(drives)
    assert exit_code(report) == 5
    assert {path for _, path, _ in told(report)} <= {"seal/seal.json", "seal/seal.json.sig"}


def test_a_seal_given_that_does_not_hold_is_refused_at_once():
    broken = FLEET.seal_files | {"seal/release.json": b"{}\n"}
    with pytest.raises(Refused):
        check(FLEET.memory(), seal=broken)
    with pytest.raises(Refused):
        check(FLEET.memory(), OTHER.allowed, seal=FLEET.seal_files)


def test_a_serial_that_is_not_declared_is_named():
    fleet = fleets.make(Path("/nowhere"), seed=13, lengths=LENGTHS, on_disk=False)
    serial = fleet.serial(0, 1)
    fleet = fleets.make(Path("/nowhere"), seed=13, lengths=LENGTHS, on_disk=False, undeclared=frozenset({serial}))
    report = check(fleet.memory(), fleet.allowed)
    assert told(report) == {("g0s1", "manifest.json", "undeclared")}
    assert report.state == "recoverable"


# Mounts


def test_an_empty_mount_among_drives_is_named():
    report = check([*FLEET.memory(), MemoryDrive("/mnt/empty")])
    assert told(report) == {("/mnt/empty", "", "missing")}
    assert report.state == "recoverable"


def test_only_empty_mounts_are_bad_input(tmp_path):
    with pytest.raises(BadInput, match="none of these"):
        check([str(tmp_path)])
    with pytest.raises(BadInput):
        check([])
    with pytest.raises(BadInput):
        check([str(tmp_path / "absent")])


def test_only_empty_mounts_with_a_seal_are_unseen(tmp_path):
    report = check([str(tmp_path)], seal=FLEET.seal_files)
    assert (report.state, exit_code(report)) == ("unseen", 6)
    assert len(report.groups[0].missing) == 3


def test_the_label_counts_the_whole_shipment():
    report = check(FLEET.memory()[:1])
    assert report.drives_total == 5
    assert [drive.number for drive in report.groups[0].present] == [1]
