"""Keys are issued from headers alone, sealed for the job, recorded before they are out, and only by and to whom may."""

import json
import os
import shutil
import subprocess
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import shipments
from blake3 import blake3
from unlocking import Desk

from sealift.cli.main import run
from sealift.drives.local_file import LocalReadFile
from sealift.errors import BadInput, IdentityMismatch, KeyInvalid, Refused, SealInvalid, UnlockInvalid
from sealift.formats import age_keys, unlock
from sealift.formats import manifest as mf
from sealift.formats.allowed_signers import AllowedSigners
from sealift.stages import custody, custody_log
from sealift.stages import unlock as stage
from sealift.trade import custody_form, declaration
from sealift.trade import unlock as rules


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """Two groups of 2 + 1, a few packs each, the last stripes with an absent one."""
    base = tmp_path_factory.mktemp("issuing")
    for folder in "ab":
        for number in range(9):
            shipments.write(base / "source" / folder / f"file-{number}", os.urandom(300_000))
    made = shipments.Origin(base / "origin", base / "source", 2, 1, groups=2)
    made.pack()
    return made


@pytest.fixture
def desk(origin, tmp_path):
    return Desk(origin, tmp_path / "desk")


def ground(desk):
    parsed = declaration.parse(desk.origin.declaration.read_bytes(), draft=False)
    return custody.Ground(str(desk.custody), parsed, "", AllowedSigners.parse(desk.signers), datetime.now(UTC))


def account(desk):
    return custody.account(ground(desk))


def nothing_issued(desk):
    return not desk.out.exists() and not list(desk.custody.iterdir()) and not list(desk.root.glob(".sealift-*"))


# --- what is issued


def test_what_is_issued_opens_all_of_it_and_says_what_it_is(desk):
    result = desk.issue(hours=5)
    record, keys = desk.opened()
    assert record == result.record
    assert (record.name, record.organisation, record.job) == ("Kim Keyholder", "Example Ltd", "run-7")
    assert rules.time_of(record.valid_until) - rules.time_of(record.issued_at) == timedelta(hours=5)
    assert [each.group for each in record.groups] == [0, 1]
    held = [keys[at : at + 16] != unlock.NO_KEY for at in range(0, len(keys), 16)]
    assert (record.keys.rows, record.keys.issued) == (len(held), sum(held))
    with desk.open() as shipment:
        for number, group in shipment.groups.items():
            lengths = group.counts().length
            start = sum(each.rows for each in record.groups if each.group < number)
            assert held[start : start + 2] == [True, True]
            assert held[start + 2 : start + 2 + len(lengths)] == [bool(length) for length in lengths]
        assert {member.path for member in shipment.members() if member.kind == "file"} == {
            f"{folder}/file-{number}" for folder in "ab" for number in range(9)
        }
        for path in ("a/file-0", "b/file-8"):
            assert shipment.read(path) == (desk.origin.source / path).read_bytes()
    assert not all(held), "an absent pack has none"


def test_headers_alone_are_read(desk, monkeypatch):
    """Of a pack up to 4 KiB at its front, beside the few bytes by which a drive's slot is known when it is opened."""
    seen = Counter()
    opens = stage.Shipment.open

    def opened(*args, **kwargs):
        shipment = opens(*args, **kwargs)
        reads = LocalReadFile.readinto_at

        def readinto_at(self, offset, buffer):
            if "packs/" in self._name:
                seen[self._mount, self._name, offset] += len(buffer)
            return reads(self, offset, buffer)

        monkeypatch.setattr(LocalReadFile, "readinto_at", readinto_at)
        monkeypatch.setattr(
            LocalReadFile,
            "read_at",
            lambda *args: pytest.fail("a block was read") if "packs/" in args[0]._name else read_at(*args),
        )
        return shipment

    read_at = LocalReadFile.read_at
    monkeypatch.setattr(stage.Shipment, "open", opened)
    result = desk.issue()
    assert len(seen) == result.record.keys.issued - 4
    assert {offset for *_, offset in seen} == {0}
    assert max(seen.values()) == 4096


def test_real_age_and_ssh_keygen_open_and_check_it(desk, tmp_path):
    shipments.need("age", "tar", "ssh-keygen")
    result = desk.issue()
    plain = subprocess.run(["age", "-d", "-i", desk.root / "job.txt", desk.out], capture_output=True, check=True).stdout
    subprocess.run(["tar", "x"], input=plain, cwd=tmp_path, check=True)
    assert unlock.decode((tmp_path / "unlock.json").read_bytes()) == result.record
    done = subprocess.run(
        ["ssh-keygen", "-Y", "verify", "-n", "sealift-unlock", "-f", desk.root / "signers", "-I", "holder@example.com",
         "-s", tmp_path / "unlock.json.sig"],
        input=(tmp_path / "unlock.json").read_bytes(), capture_output=True, check=True,
    )  # fmt: skip
    assert b"Good" in done.stdout


@pytest.mark.parametrize("make", [age_keys.generate_hybrid_identity, None])
def test_for_several_recipients_of_every_type(desk, make):
    """Post-quantum ones, or an SSH key beside an X25519 one; each opens it."""
    if make:
        pairs = [make() for _ in range(2)]
    else:
        key = desk.root / "ssh"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        pairs = [(key.read_text(), Path(f"{key}.pub").read_text().rstrip("\n")), age_keys.generate_identity()]
    desk.issue(recipients=[recipient for _, recipient in pairs])
    for identity, _ in pairs:
        with desk.open(identity=identity.encode()) as shipment:
            assert shipment.stat("a/file-1").size == 300_000


def of_group(origin, number):
    """The mounts of a group, by slot."""
    found = {m: json.loads(Path(m, "sealift", "drive.json").read_bytes()) for m in origin.mounts}
    return sorted((m for m in found if found[m]["group"] == number), key=lambda m: found[m]["slot"])


def names(mount, kind):
    """The stripes of which a drive has a pack: "age" or "parity"."""
    return {path.name.partition(".")[0] for path in Path(mount, "sealift", "packs").rglob(f"*.{kind}")}


def test_what_is_away_is_rebuilt_or_named(desk):
    first, second = of_group(desk.origin, 0), of_group(desk.origin, 1)
    result = desk.issue(mounts=[first[0], first[2], *second])
    assert (result.lost, result.missing) == ([], [])
    with desk.open() as shipment:
        assert all(shipment.read(each) is not None for each in files(shipment))
    result = desk.issue(mounts=[first[0], *second], out=str(desk.root / "less"))
    assert result.lost == []
    away = {slot: names(first[slot], "age") for slot in (1, 2)}
    given = names(first[0], "parity") - (away[1] & away[2])  # of a stripe's one pack, which parity alone rebuilds
    assert {(each.slot, Path(each.file).name) for each in result.awaited} == {
        (slot, f"{stripe}.tar.zst.age") for slot, stripes in away.items() for stripe in stripes - given
    }
    assert len(result.awaited) > 0
    assert all(each.drive.slot == each.slot and each.group == 0 for each in result.awaited)
    assert all(each.file.startswith("packs/") for each in result.awaited)
    (short,) = result.short
    assert (short.group, short.here, short.wanted, [row.slot for row in short.absent]) == (0, 1, 2, [1, 2])
    with (
        desk.open(keys=str(desk.root / "less")) as shipment,
        pytest.raises(UnlockInvalid, match="have none for packs/"),
    ):
        [shipment.read(each) for each in files(shipment)]
    result = desk.issue(mounts=second, out=str(desk.root / "one"))
    assert (result.missing, [each.group for each in result.record.groups]) == ([0], [1])
    with desk.open(keys=str(desk.root / "one")) as shipment, pytest.raises(UnlockInvalid, match="none for group 0"):
        files(shipment)


def command(desk, *mounts, out, code):
    words = {
        "identity": desk.root / "identity.txt", "seal": desk.root / "s.seal", "allowed-signers": desk.root / "signers",
        "for": desk.recipient, "job": "run-7", "sign-with": desk.root / "holder", "by": "Kim", "organisation": "O",
        "custody": desk.custody, "out": desk.root / out,
    }  # fmt: skip
    (desk.root / "identity.txt").write_text(desk.origin.identity)
    given = [str(word) for name, value in words.items() for word in (f"--{name}", value)]
    assert run(["unlock", *mounts, *given, "--json"]) == code


def test_the_command_names_file_slot_and_drive_and_says_what_to_attach(desk, capsys):
    first, second = of_group(desk.origin, 0), of_group(desk.origin, 1)
    command(desk, first[0], *second, out="less", code=6)
    out, err = capsys.readouterr()
    answer = json.loads(out)
    away = {row["slot"]: row for row in answer["absent_drives"]}
    assert (answer["lost"], sorted(away)) == ([], [1, 2])
    for each in answer["awaited"]:
        row = away[each["slot"]]
        assert (each["drive"], each["serial"]) == (row["drive"], row["serial"])
        assert f"{each['file']} of group 0, slot {each['slot']}: {row['drive']} (serial {row['serial']}, " in err
    assert "group 0 has 1 of 3 drives here; not here: " in err
    assert "hint: attach 1 or more of them, and run again with another --out" in err
    command(desk, *second, out="one", code=6)
    assert "group 0 has no drive here" in capsys.readouterr().err


def copied(mounts, where):
    for number, mount in enumerate(mounts):
        shutil.copytree(mount, where / str(number))
        yield str(where / str(number))


def test_what_no_drive_of_a_whole_group_can_give_is_lost_and_no_more_drives_are_asked_for(desk, tmp_path, capsys):
    first, second = of_group(desk.origin, 0), of_group(desk.origin, 1)
    mounts = list(copied(first, tmp_path))
    gone = [path for mount in mounts[:2] for path in Path(mount, "sealift/packs").rglob("0000000.*")]
    for path in gone:
        path.unlink()
    command(desk, *mounts, *second, out="lost", code=4)
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert (answer["awaited"], answer["absent_drives"]) == ([], [])
    assert {each["file"] for each in answer["lost"]} == {"packs/0000/" + p.name for p in gone if p.suffix == ".age"}
    assert "though all drives of the group are here" in err
    assert "hint" not in err


def test_where_not_one_header_is_read_drives_are_asked_for_by_name_and_nothing_is_issued(desk, tmp_path, capsys):
    (mount,) = copied(of_group(desk.origin, 0)[:1], tmp_path)
    for path in [*Path(mount, "sealift").rglob("*.age"), *Path(mount, "sealift").rglob("*.parity")]:
        path.write_bytes(b"")
    command(desk, mount, out="none", code=6)
    err = capsys.readouterr().err
    assert "not one header of this shipment can be read from what is here; nothing was issued" in err
    assert "hint: attach more drives: " in err
    assert nothing_issued(desk)


def files(shipment):
    return [member for member in shipment.members() if member.kind == "file"]


# --- in custody


def test_each_issue_is_an_event_of_who_when_for_whom_and_of_which_file(desk):
    first = desk.issue()
    other = age_keys.generate_identity()[1]
    second = desk.issue(out=str(desk.root / "two"), job="run-8", recipients=[other, desk.recipient], hours=2)
    found = account(desk)
    assert [row.entry.digest for row in found.rows] == [first.event.digest, second.event.digest]
    assert [each.kind for each in found.findings] == ["unheld"]
    for row, result, out in zip(found.rows, (first, second), (desk.out, desk.root / "two"), strict=True):
        event, record = row.event, result.record
        assert (event.event_type, event.at_utc, event.items, row.released.principal) == (
            "unlock", record.issued_at, [], "holder@example.com"
        )  # fmt: skip
        assert event.released_by == event.received_by
        said = event.unlock
        assert (said.shipment, said.seal, said.job, said.recipients, said.valid_until, said.keys) == (
            record.shipment, record.seal, record.job, record.recipients, record.valid_until, record.keys.issued
        )  # fmt: skip
        data = out.read_bytes()
        assert (said.file.bytes, said.file.blake3) == (len(data), blake3(data).hexdigest())
    assert found.rows[1].event.log_checkpoint.newest == [first.event.digest]
    assert found.rows[1].event.unlock.recipients == sorted([other, desk.recipient])


def test_nothing_is_issued_unrecorded(desk, monkeypatch):
    """Wherever it breaks off, there is no file without its event."""
    add = custody_log.add
    with monkeypatch.context() as patch:
        patch.setattr(custody_log, "add", lambda *_: (_ for _ in ()).throw(BadInput("a full medium")))
        with pytest.raises(BadInput, match="full medium"):
            desk.issue()
        assert nothing_issued(desk)

        def then_stopped(*given):
            add(*given)
            raise KeyboardInterrupt

        patch.setattr(custody_log, "add", then_stopped)
        with pytest.raises(KeyboardInterrupt):
            desk.issue()
    assert not desk.out.exists()
    assert len(account(desk).rows) == 1
    desk.issue()
    assert len(account(desk).rows) == 2


def test_a_clock_that_the_log_shows_to_be_wrong_issues_nothing(desk):
    desk.issue()
    desk.out.rename(desk.root / "first")
    before = sorted(desk.custody.iterdir())
    with pytest.raises(Refused, match="a clock was wrong"):
        desk.issue(clock=lambda: datetime.now(UTC) - timedelta(days=1))
    assert sorted(desk.custody.iterdir()) == before
    assert not desk.out.exists()


def test_a_clock_that_was_ahead_is_settled_and_keys_are_issued_at_once(desk):
    """What the first one issued is in the future; nobody waits for that."""
    desk.issue(clock=lambda: datetime.now(UTC) + timedelta(hours=5))
    desk.out.rename(desk.root / "first")
    with pytest.raises(Refused, match="a clock was wrong") as caught:
        desk.issue()
    assert "--as-found" in caught.value.hint
    (ahead,) = account(desk).rows
    who = {"name": "Kim Keyholder", "org": "Example Ltd", "key": desk.holder.public_key.fingerprint}
    serial = ground(desk).declaration.drives[0].serial
    form = custody_form.discrepancy("SL-2026-TESTED", [[serial]], "the clock was five hours ahead", who)
    form = form.replace("resolves = []", f'resolves = ["{ahead.entry.digest}"]').replace(
        'place = ""', 'place = "the desk"'
    )
    (desk.root / "said.toml").write_text(form)
    custody.record(ground(desk), str(desk.root / "said.toml"), [desk.holder], as_found=True)
    desk.issue()


def test_a_log_that_is_not_there_is_not_begun(desk):
    desk.custody.rmdir()
    with pytest.raises(BadInput, match="custody log"):
        desk.issue()
    assert not desk.custody.exists()


# --- who may, and to whom


@pytest.mark.parametrize("namespaces", ["sealift-unlock", "sealift-custody", "sealift"])
def test_a_key_that_may_not_sign_both_is_refused_before_anything_is_read(desk, namespaces, monkeypatch):
    line = f'h namespaces="{namespaces}" {desk.holder.public_key.line}\n'
    monkeypatch.setattr(stage.Shipment, "open", None)
    with pytest.raises(Refused, match="not allowed in namespace") as caught:
        desk.issue(allowed_signers=desk.origin.allowed + line.encode())
    assert 'namespaces="sealift-unlock,sealift-custody"' in caught.value.hint
    with pytest.raises(Refused, match="not among the allowed signers"):
        desk.issue(allowed_signers=desk.origin.allowed)
    assert nothing_issued(desk)


def test_to_whom_it_is_not_issued(desk):
    own = desk.origin.recipient
    with pytest.raises(KeyInvalid, match="the shipment's own identity"):
        desk.issue(recipients=[desk.recipient, own])
    for text in ("age1nonsense", desk.job, "", "ssh-rsa AAAA"):
        with pytest.raises(KeyInvalid):
            desk.issue(recipients=[text])
    pq = age_keys.generate_hybrid_identity()[1]
    with pytest.raises(KeyInvalid, match="post-quantum"):
        desk.issue(recipients=[pq, desk.recipient])
    with pytest.raises(KeyInvalid, match="1 to 128"):
        desk.issue(recipients=[])
    assert nothing_issued(desk)


def test_another_declared_recipient_is_not_a_job_either(desk, monkeypatch):
    """One whose identity is not the one in use."""
    monkeypatch.setattr(rules, "job_recipients", lambda given, _: [age_keys.parse_recipient(each) for each in given])
    with pytest.raises(Refused, match=r"I\. Holder's own key") as caught:
        desk.issue(recipients=[desk.recipient, desk.origin.recipient])
    assert "age-keygen" in caught.value.hint
    assert nothing_issued(desk)


def test_a_post_quantum_shipments_keys_are_not_issued_to_less():
    identity, _ = age_keys.generate_hybrid_identity()
    _, recipient = age_keys.generate_identity()
    with pytest.raises(KeyInvalid, match="the shipment's recipient is post-quantum"):
        rules.job_recipients([recipient], [age_keys.parse_identity(identity)])


def test_another_identity_opens_no_header(desk):
    identity, _ = age_keys.generate_identity()
    with pytest.raises(IdentityMismatch):
        desk.issue(identities=[identity.encode()])
    assert nothing_issued(desk)


def test_without_a_seal_that_holds_nothing_is_issued(desk):
    seal = dict(desk.seal)
    seal["seal/release.json.sig"] = seal["seal/seal.json.sig"]
    with pytest.raises(SealInvalid):
        desk.issue(seal=seal)
    with pytest.raises(SealInvalid):
        desk.issue(seal=None)  # and there is none on these drives
    assert nothing_issued(desk)


def test_a_file_that_is_there_is_not_overwritten(desk):
    desk.out.write_bytes(b"mine")
    with pytest.raises(BadInput, match="is there already"):
        desk.issue()
    assert desk.out.read_bytes() == b"mine"
    assert not list(desk.custody.iterdir())


def test_a_log_of_another_consignment_is_refused_before_anything_is_issued(desk):
    desk.issue()
    (event,) = [path for path in desk.custody.iterdir() if path.suffix == ".json"]
    ours = desk.seal["seal/seal.json"] if "seal/seal.json" in desk.seal else desk.seal["seal.json"]
    data = event.read_bytes().replace(json.loads(ours)["consignment_id"].encode(), b"SL-OTHER")
    (desk.custody / f"{blake3(data).hexdigest()}.json").write_bytes(data)
    out = desk.root / "again.age"
    with pytest.raises(BadInput, match="is the log of consignment SL-OTHER, and the seal is of "):
        desk.issue(out=str(out))
    assert not out.exists()
    for path in desk.custody.iterdir():
        path.write_bytes(b"{")
    with pytest.raises(BadInput, match="is no custody log, or nothing of one can be read"):
        desk.issue(out=str(out))
    with pytest.raises(BadInput, match="is no custody log, or nothing of one can be read"):
        desk.issue(out=str(out), custody=str(desk.origin.source))
    assert not out.exists()


@pytest.mark.parametrize("changes", [
    {"job": ""}, {"job": "a\nb"}, {"job": "run\u202e7"}, {"job": "x" * 257}, {"name": " "}, {"organisation": "\x00"},
    {"organisation": ""},
], ids=str)  # fmt: skip
def test_words_that_are_not_one_printable_line(desk, changes):
    (field,) = changes
    option = {"job": "--job", "name": "--by", "organisation": "--organisation"}[field]
    with pytest.raises(BadInput, match=f"^{option} "):
        desk.issue(**changes, mounts=["/nowhere"])
    assert nothing_issued(desk)


@pytest.mark.parametrize(("given", "words"), [
    ({"hours": 0}, "would be valid until"), ({"hours": -1}, "would be valid until"),
    ({"hours": rules.MAX_HOURS + 1}, "would be valid until"), ({"hours": 10**12}, "no time"),
    ({"valid_until": "tomorrow"}, "no time"), ({"valid_until": "2099-01-01"}, "no time"),
    ({"valid_until": "2099-01-01T00:00:00"}, "no time"), ({"valid_until": "2099-01-01T00:00:00Z"}, "would be valid"),
    ({"valid_until": "2020-01-01T00:00:00Z"}, "would be valid"), ({"valid_until": "x" * 9999}, "no time"),
    ({"hours": 1, "valid_until": "2099-01-01T00:00:00Z"}, "in two ways"),
], ids=str)  # fmt: skip
def test_times_that_are_refused(desk, given, words):
    with pytest.raises(BadInput, match=words) as caught:
        desk.issue(**given)
    assert caught.value.hint
    assert nothing_issued(desk)


def test_a_time_with_its_offset_is_kept_in_utc():
    now = datetime(2026, 11, 25, 12, 0, 0, 123, tzinfo=UTC)
    assert rules.ends(now, hours=None, until="2026-11-26T08:00:00+08:00") == datetime(2026, 11, 26, tzinfo=UTC)
    assert rules.ends(now, hours=None, until=None) == datetime(2026, 12, 2, 12, tzinfo=UTC)


def test_more_rows_than_there_may_be(desk, monkeypatch):
    monkeypatch.setattr(unlock, "MAX_ROWS", 5)
    with pytest.raises(BadInput, match="at most are issued at once"):
        desk.issue()
    assert nothing_issued(desk)


def test_the_record_is_within_its_limit_at_its_largest():
    record = unlock.Unlock(
        shipment="0" * 16, consignment_id="SL-1", seal=mf.FileRef(bytes=1, blake3="0" * 64),
        job="j" * 256, name="\u00e9" * 256, organisation="o", issued_at="2026-11-26T08:00:00Z",
        valid_until="2026-11-26T09:00:00Z", recipients=[f"age1{n:03}" + "q" * 1950 for n in range(128)],
        groups=[unlock.UnlockGroup(group=10**6 + n, data=255, stripes=1) for n in range(unlock.MAX_GROUPS)],
        keys=unlock.KeyTable(rows=unlock.MAX_GROUPS * 257, issued=1, root="0" * 64),
    )  # fmt: skip
    assert unlock.MAX_RECORD // 2 < len(unlock.encode(record)) < unlock.MAX_RECORD


def test_of_two_shipments_without_a_seal_neither_is_opened(origin, tmp_path):
    """Which one gets keys issued is not for the order of the mounts to say."""
    shipments.write(tmp_path / "source/file", os.urandom(300_000))
    other = shipments.Origin(tmp_path / "other", tmp_path / "source", 2, 1)
    other.pack()
    desk, mounts = Desk(origin, tmp_path / "desk"), []
    for made, seal in ((origin, desk.seal), (other, other.seal())):
        mount = tmp_path / f"of-{made.root.name}"
        shutil.copytree(made.mounts[0], mount)
        for name, data in seal.items():
            shipments.write(mount / "sealift" / name, data)
        mounts.append(str(mount))
    signers = desk.signers + other.allowed
    for given in (mounts, mounts[::-1]):
        with pytest.raises(SealInvalid, match="nothing says which of them is meant") as refused:
            desk.issue(mounts=given, seal=None, allowed_signers=signers)
        assert "--seal FILE" in refused.value.hint
    assert not desk.out.exists()
    assert not list(desk.custody.iterdir())
