"""A shipment is read with issued keys alone; each way in which they do not hold is refused with its own words."""

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import shipments
from hypothesis import given, settings
from hypothesis import strategies as st
from unlocking import Desk

from sealift.errors import (
    BadInput,
    FormatError,
    IdentityMismatch,
    KeyInvalid,
    SealiftError,
    SignatureInvalid,
    UnlockInvalid,
)
from sealift.formats import age, age_header, age_keys, unlock
from sealift.formats import manifest as mf
from sealift.formats.allowed_signers import AllowedSigners
from sealift.reading import keys as reading
from sealift.trade.lists import TIME


@pytest.fixture(scope="module")
def desks(tmp_path_factory):
    """Two shipments of one corpus for one recipient, with issued keys for a job each."""
    base = tmp_path_factory.mktemp("issued")
    for number in range(8):
        shipments.write(base / "source" / f"file-{number}", os.urandom(500_000))
    made = []
    for name in ("a", "b"):
        origin = shipments.Origin(base / name, base / "source", 2, 1)
        if made:  # the same holder of both
            origin.identity, origin.recipient = made[0].origin.identity, made[0].origin.recipient
            shipments.redeclare(origin, origin.recipient)
        origin.pack()
        made.append(Desk(origin, base / f"desk-{name}"))
        made[-1].issue()
    return made


@pytest.fixture
def desk(desks):
    return desks[0]


def everything(shipment):
    return {member.path: shipment.read(member) for member in shipment.members()}


def source(desk):
    return {path.name: path.read_bytes() for path in desk.origin.source.iterdir()}


def test_all_is_read_and_checked_with_issued_keys_alone(desk):
    with desk.open() as shipment:
        assert everything(shipment) == source(desk)
        assert sum(count for _, _, count in shipment.packs()) == 8
        assert [sample.key for pack, *_ in shipment.packs() for sample in shipment.samples(pack)]


def test_drives_that_are_away_are_rebuilt_as_ever(desk):
    with desk.open(locations=desk.origin.mounts[1:]) as shipment:
        assert everything(shipment) == source(desk)
        assert shipment.rebuilt_blocks


@pytest.mark.parametrize("given", ["bytes", "paths"])
def test_a_pickle_opens_again_and_holds_no_pack_key(desk, given):
    _, keys = desk.opened()
    changes = {"keys": desk.out.read_bytes(), "identity": desk.job.encode()} if given == "bytes" else {}
    with desk.open(**changes) as shipment:
        data = pickle.dumps(shipment)
        everything(shipment)
    for row in range(len(keys) // 16):
        assert keys[16 * row : 16 * row + 16] not in data or not any(keys[16 * row : 16 * row + 16])
    assert (desk.job.encode() in data) == (given == "bytes")
    with pickle.loads(data) as again:
        assert again.read("file-3") == source(desk)["file-3"]


def test_nothing_shows_a_key(desk):
    _, keys = desk.opened()
    with desk.open() as shipment:
        everything(shipment)
        issued = shipment._keys
        texts = [repr(each) for each in (issued, issued.issued, shipment, *shipment.groups.values(), issued._open)]
    shown = " ".join(texts)
    assert "job 'run-7'" in shown
    assert not any(
        form in shown for at in range(0, len(keys), 16) for form in (keys[at : at + 16].hex(), repr(keys[at : at + 16]))
    )
    assert desk.job not in shown
    for copier in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            copier(issued)


WATCHED = """
import os, sys
def watch(event, args):
    if event == "open" and args[2] is not None and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        sys.stderr.write(f"written {args[0]}\\n")
    if event in {"os.mkdir", "os.rename", "os.link", "os.symlink", "shutil.copyfile"}:
        sys.stderr.write(f"written {event} {args}\\n")
sys.dont_write_bytecode = True
sys.addaudithook(watch)
from sealift.reading.shipment import Shipment
shipment = Shipment.open(
    sys.argv[5:], identity=sys.argv[1], keys=sys.argv[2], allowed_signers=sys.argv[3], seal=sys.argv[4]
)
print(sum(len(shipment.read(member)) for member in shipment.members()))
open(os.path.join(os.environ["HOME"], "seen"), "w")
"""


def test_a_process_that_reads_writes_nothing(desk, tmp_path):
    root = desk.root
    words = [root / "job.txt", desk.out, root / "signers", root / "s.seal", *desk.origin.mounts]
    env = {**os.environ, "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    run = [sys.executable, "-c", WATCHED, *map(str, words)]
    done = subprocess.run(run, capture_output=True, text=True, check=True, env=env, cwd=tmp_path)
    assert done.stdout.split() == [str(8 * 500_000)]
    written = [line for line in done.stderr.splitlines() if line.startswith("written") and "/dev/null" not in line]
    assert written == [f"written {tmp_path}/seen"]
    assert [path.name for path in tmp_path.rglob("*")] == ["seen"]


def _child(shipment, wanted, pipe):
    pipe.send(all(shipment.read(path) == data for path, data in wanted.items()))


def test_a_forked_child_and_many_threads_read(desk):
    wanted = source(desk)
    with desk.open() as shipment:
        shipment.read("file-0")
        held = shipment._keys._open._lock
        with held:  # as a thread may, while another forks
            ours, theirs = multiprocessing.Pipe()
            child = multiprocessing.get_context("fork").Process(target=_child, args=(shipment, wanted, theirs))
            child.start()
            try:
                assert ours.poll(30)
                assert ours.recv()
            finally:
                child.kill()
                child.join()
        found = {}
        threads = [
            threading.Thread(target=lambda path=path: found.update({path: shipment.read(path)})) for path in wanted
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == wanted


# --- what does not hold


def test_losing_a_hosts_keys_opens_this_shipment_and_no_other(desks):
    """All that a compute host of A has: the job's identity, the issued file, every key in it. Nothing of B opens."""
    ours, theirs = desks
    assert ours.origin.recipient == theirs.origin.recipient
    with pytest.raises(UnlockInvalid, match="are of shipment"):
        ours.open(locations=theirs.origin.mounts, seal=theirs.seal, allowed_signers=theirs.signers + ours.signers)
    with pytest.raises(IdentityMismatch, match="none of the identities opens"):
        theirs.open(keys=None, identity=ours.job.encode()).read("file-0")
    with pytest.raises(IdentityMismatch, match="issued keys in"):
        ours.open(keys=str(theirs.out))
    _, keys = ours.opened()
    headers = []
    for mount in theirs.origin.mounts:
        paths = [p for p in Path(mount, "sealift").rglob("*.age") if not p.name.startswith("journal")]
        headers += [age_header.parse_header(path.read_bytes()) for path in paths]
    assert len(headers) > 8
    for header in headers:
        for at in range(0, len(keys), 16):
            with pytest.raises(SealiftError, match="MAC does not hold"):
                age.check_mac(header, keys[at : at + 16])
    # keys are drawn, not derived: none is in, or a hash or an HKDF away from, another's or the identity's
    every = {keys[at : at + 16] for at in range(0, len(keys), 16)} - {unlock.NO_KEY}
    secret = age_keys._bech32_decode(ours.origin.identity)[1]
    assert len(every) == sum(any(keys[at : at + 16]) for at in range(0, len(keys), 16))
    assert secret not in keys
    assert secret[:16] not in every
    assert not every & {
        age.hkdf(each, b"", info)[:16] for each in (secret, *every) for info in (b"", b"payload", b"header")
    }


def test_another_seal_of_the_same_shipment(desk):
    again = desk.origin.seal()
    record, keys = desk.opened()
    other = desk.forge(record, keys, seal=mf.FileRef(bytes=1, blake3="ab" * 32))
    with pytest.raises(UnlockInvalid, match="are of another seal, not of this seal of shipment"):
        desk.open(keys=other)
    assert again["seal/declaration.toml"] == desk.seal["seal/declaration.toml"]


def test_another_geometry_than_the_seals(desk):
    record, keys = desk.opened()
    group = record.groups[0]
    shape = unlock.UnlockGroup(group=0, data=group.data * group.stripes, stripes=1)
    with pytest.raises(UnlockInvalid, match="another group 0 than the seal's"):
        desk.open(keys=desk.forge(record, keys, groups=[shape]))


def test_by_nobody_who_may_issue(desk, tmp_path):
    record, keys = desk.opened()
    stranger = shipments._key(tmp_path / "stranger")
    with pytest.raises(SignatureInvalid, match="not among the allowed signers"):
        desk.open(keys=desk.forge(record, keys, signer=stranger))
    with pytest.raises(SignatureInvalid, match="not allowed in namespace 'sealift-unlock'"):
        desk.open(keys=desk.forge(record, keys, signer=desk.origin.signer))
    line = f'h namespaces="sealift-unlock",valid-before="20200101Z" {desk.holder.public_key.line}\n'
    with pytest.raises(SignatureInvalid, match="no longer valid"):
        desk.open(allowed_signers=desk.origin.allowed + line.encode())


def test_sealed_anew_for_somebody_else(desk):
    record, keys = desk.opened()
    identity, recipient = age_keys.generate_identity()
    passed_on = desk.forge(record, keys, to=recipient)
    with pytest.raises(UnlockInvalid, match="issued to other recipients"):
        desk.open(keys=passed_on, identity=identity.encode())


def test_the_wrong_identity_and_no_keys_at_all(desk):
    identity, _ = age_keys.generate_identity()
    with pytest.raises(IdentityMismatch, match="none of the identities opens the issued keys in") as caught:
        desk.open(identity=identity.encode())
    assert "the job's own identity" in caught.value.hint
    with pytest.raises(IdentityMismatch):  # the shipment's identity is not the job's
        desk.open(identity=desk.origin.identity.encode())
    with pytest.raises(IdentityMismatch):  # and the job's opens nothing without the keys
        desk.open(keys=None).read("file-0")


def test_one_of_several_identities_is_the_jobs(desk):
    identity, _ = age_keys.generate_identity()
    with desk.open(identity=[identity.encode(), desk.job.encode()]) as shipment:
        assert shipment.read("file-1") == source(desk)["file-1"]


@pytest.mark.parametrize(
    "what", ["nothing", "text", "an age file of something else", "a seal", "folder", "fifo", "away"]
)
def test_files_that_are_no_issued_keys(desk, tmp_path, what):
    path = tmp_path / "keys"
    contents = {
        "nothing": b"", "text": b"hello\n", "a seal": (desk.root / "s.seal").read_bytes(),
        "an age file of something else": age.encrypt(b"x" * 9000, [age_keys.parse_recipient(desk.recipient)]),
    }  # fmt: skip
    if what in contents:
        path.write_bytes(contents[what])
    elif what == "folder":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    expected = UnlockInvalid if what in contents else BadInput
    with pytest.raises(expected, match="issued keys"):
        desk.open(keys=str(path))


def test_an_ssh_key_with_a_passphrase_or_a_recipient_in_place_of_the_identity(desk):
    with pytest.raises(KeyInvalid, match="identity file"):
        desk.open(identity=desk.recipient.encode())


def test_a_pack_a_group_and_an_index_without_a_key(desk):
    record, keys = desk.opened()
    blank = bytearray(keys)
    blank[32:48] = bytes(16)
    with desk.open(keys=desk.forge(record, bytes(blank))) as shipment:
        first = next(shipment.packs())[0]
        with pytest.raises(UnlockInvalid, match=r"have none for packs/0000/0000000\.tar\.zst\.age of group 0"):
            list(shipment.samples(first))
        assert sum(1 for _ in shipment.members()) == 8  # and the rest is read
    with (
        desk.open(keys=desk.forge(record, bytes(16) + keys[16:])) as shipment,
        pytest.raises(UnlockInvalid, match=r"have none for index/members\.parquet\.age of group 0"),
    ):
        shipment.read("file-0")


@pytest.mark.parametrize(("order", "name"), [
    ((0, 1, 3, 2), r"packs/0000/0000000\.tar\.zst\.age"), ((1, 0, 2, 3), r"index/members\.parquet\.age"),
])  # fmt: skip
def test_a_key_that_does_not_open(desk, order, name):
    record, keys = desk.opened()
    swapped = b"".join(keys[16 * row : 16 * row + 16] for row in order) + keys[64:]
    match = f"the key for {name} of group 0 does not open"
    with desk.open(keys=desk.forge(record, swapped)) as shipment, pytest.raises(UnlockInvalid, match=match):
        everything(shipment)


def test_a_header_that_was_changed_is_found(desk):
    """Its stanza only: digest and MAC both say so; a reader with a file key takes no other way than one without."""
    mount = Path(desk.origin.mounts[0])
    path = next((mount / "sealift" / "packs").rglob("*.age"))
    good = path.read_bytes()
    at = good.index(b"-> X25519 ") + 12
    try:
        path.write_bytes(good[:at] + (b"A" if good[at : at + 1] != b"A" else b"B") + good[at + 1 :])
        with desk.open() as shipment:
            assert everything(shipment) == source(desk)
            assert shipment.rebuilt_blocks
    finally:
        path.write_bytes(good)


# --- time


def at(monkeypatch, now):
    monkeypatch.setattr(reading, "_now", lambda: now)


def test_expired_and_of_the_future(desk, monkeypatch):
    record, _ = desk.opened()
    issued, until = (
        datetime.strptime(text, TIME).replace(tzinfo=UTC) for text in (record.issued_at, record.valid_until)
    )
    assert until - issued == timedelta(hours=168)
    for now in (until - timedelta(seconds=1), issued, issued - timedelta(minutes=9)):
        at(monkeypatch, now)
        desk.open().close()
    at(monkeypatch, until)
    with pytest.raises(UnlockInvalid, match=f"expired at {record.valid_until}") as caught:
        desk.open()
    assert "sealift unlock" in caught.value.hint
    at(monkeypatch, issued - timedelta(minutes=11))
    with pytest.raises(UnlockInvalid, match="still to come") as caught:
        desk.open()
    assert "clock" in caught.value.hint


def test_a_run_ends_at_the_next_pack_once_keys_expire_or_goes_on_with_newer_ones(desk, monkeypatch, tmp_path):
    path = tmp_path / "run.keys.age"
    path.write_bytes(desk.out.read_bytes())
    record, keys = desk.opened()
    later = datetime.now(UTC) + timedelta(days=9)
    with desk.open(keys=str(path)) as shipment:
        packs = [pack for pack, *_ in shipment.packs()]
        list(shipment.samples(packs[0]))
        at(monkeypatch, later)
        with pytest.raises(UnlockInvalid, match="expired"):
            list(shipment.samples(packs[1]))
        times = {"issued_at": later.strftime(TIME), "valid_until": (later + timedelta(days=1)).strftime(TIME)}
        path.write_bytes(desk.forge(record, keys, **{**times, "seal": mf.FileRef(bytes=1, blake3="ab" * 32)}))
        with pytest.raises(UnlockInvalid, match="another seal"):  # newer ones hold by the same rules
            list(shipment.samples(packs[1]))
        path.write_bytes(desk.forge(record, keys, **times))
        assert list(shipment.samples(packs[1]))
    with desk.open(keys=desk.forge(record, keys, **times)) as shipment:
        at(monkeypatch, later + timedelta(days=2))
        with pytest.raises(UnlockInvalid, match="expired"):
            shipment.read("file-0")


# --- every byte


def every(issued):
    """All its keys."""
    return b"".join(issued._open.key(row) for row in range(issued.issued.record.keys.rows))


def test_every_kind_of_changed_byte(desk):
    """Wherever a bit of the file is turned, it is found when it is opened, or when what it is of is read."""
    data = desk.out.read_bytes()
    signers = AllowedSigners.parse(desk.signers)
    identity = [age_keys.parse_identity(desk.job)]
    places = {*range(0, 300, 7), *range(300, len(data), len(data) // 60), len(data) - 1}
    for place in sorted(places):
        changed = data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]
        with pytest.raises((UnlockInvalid, IdentityMismatch, FormatError)):
            every(reading.IssuedKeys(changed, identity, signers))
    for cut in (data[:-1], data[:-16384], data + b"\0", data[:200]):
        with pytest.raises(UnlockInvalid):
            reading.IssuedKeys(cut, identity, signers)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_mutation_of_what_is_inside_gives_only_our_errors(desks, data):
    """Somebody who can seal for the job changes the plaintext: what comes is refused, or is what was signed."""
    desk = desks[0]
    good = age.decrypt(desk.out.read_bytes(), [age_keys.parse_identity(desk.job)])
    made = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        at_, length = data.draw(st.integers(0, len(good))), data.draw(st.integers(0, 4))
        made[at_ : at_ + length] = data.draw(st.binary(max_size=4))
    sealed = age.encrypt(bytes(made), [age_keys.parse_recipient(desk.recipient)])
    try:
        issued = reading.IssuedKeys(sealed, [age_keys.parse_identity(desk.job)], AllowedSigners.parse(desk.signers))
        keys = every(issued)
    except SealiftError:
        return
    assert (issued.issued.record, keys) == desk.opened()


def test_at_reference_scale_it_opens_at_once_and_holds_little(tmp_path):
    """4.8 PB in packs of 1 GiB, with made-up keys, opened in a process of its own."""
    script = Path(__file__).parent.parent / "support" / "unlock_scale.py"
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=True)
    said = dict(line.split() for line in done.stdout.splitlines())
    assert int(said["bytes"]) == 71_736_616
    assert int(said["held_mib"]) <= 16
    assert float(said["opened_s"]) < 1
