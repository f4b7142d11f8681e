"""ingest --packs: drives come to stand elsewhere as they are, rebuilt where they were not; interrupted, it goes on."""

import contextlib
import json
import os
import random
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import ingests
import pytest
import shipments
from click.testing import CliRunner
from faulty_proxy import swallowing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from sealift.cli import main
from sealift.drives import local_file, medium
from sealift.drives import locations as locations_of
from sealift.drives.object_prefix import ObjectPrefix
from sealift.drives.objects import ObjectDrive
from sealift.errors import BadInput, Interrupted, NotAllHere, SealiftError, SealInvalid
from sealift.formats import canonical, locations
from sealift.formats import manifest as mf
from sealift.formats import seal as seals
from sealift.formats.allowed_signers import AllowedSigners
from sealift.reading.trust import open_seal
from sealift.stages import ingest, ingest_there, inspect, receive, source_release, verify
from sealift.trade import receipt


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    base = tmp_path_factory.mktemp("ingest")
    source = shipments.corpus(base / "source")
    for number in range(12):
        shipments.write(source / "noise" / f"{number}.bin", random.Random(number).randbytes(700_000))
    made = shipments.Origin(base / "origin", source, 2, 2)
    made.pack()
    seal = made.seal()
    for mount in made.mounts:
        for name, data in seal.items():
            shipments.write(Path(mount, "sealift", name), data)
    return made


@pytest.fixture
def damaged(origin, tmp_path):
    """The drives, of which the last is lost, and the first has a rotten block and lacks a pack."""
    for name, mount in zip("abc", origin.mounts, strict=False):
        shutil.copytree(mount, tmp_path / name)
    rotten, gone = sorted((tmp_path / "a" / "sealift" / "packs").rglob("*.age"))[:2]
    rot(rotten)
    gone.unlink()
    return [str(tmp_path / name) for name in "abc"]


def rot(path, at=1000):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def files(mount):
    """What is on a drive, drive.json aside: that of one which was rebuilt says so."""
    root = Path(mount, "sealift")
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file() and p.name != mf.CARD}


def whole(origin, drives):
    report = verify.verify(list(drives.values()), allowed=AllowedSigners.parse(origin.allowed), remember=False)
    return report.state, report.faults


def run(*arguments):
    done = CliRunner().invoke(main.cli, list(map(str, arguments)), standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.return_value or 0, done.stdout, done.stderr


def same_drives(origin, to):
    for slot, mount in enumerate(origin.mounts):
        assert files(to / f"g0s{slot}") == files(mount)
    assert sorted(os.listdir(to)) == ["g0s0", "g0s1", "g0s2", "g0s3"], "no notes are left"


# --- into a folder


def test_drives_are_copied_as_they_are_and_a_second_time_nothing_is(origin, tmp_path):
    to = tmp_path / "to"
    first = ingests.packs(origin, str(to))
    assert (first.failed, first.refused, first.there, first.rebuilt_blocks) == ([], [], 0, 0)
    assert first.packs == sum(len(origin.packs(mount)) for mount in origin.mounts)
    same_drives(origin, to)
    assert (to / "g0s1/sealift" / mf.CARD).read_bytes() == Path(origin.mounts[1], "sealift", mf.CARD).read_bytes()
    before = {path: path.stat().st_ino for path in to.rglob("*") if path.is_file()}
    again = ingests.packs(origin, str(to))
    assert (again.there, again.failed, again.refused) == (first.packs, [], [])
    assert {path: path.stat().st_ino for path in to.rglob("*") if path.is_file()} == before


def test_a_drive_that_was_replaced_gives_its_packs_and_is_not_the_one_that_is_copied(origin, tmp_path):
    to, old = tmp_path / "to", tmp_path / "old"
    shutil.copytree(f"{origin.mounts[3]}/sealift/packs", old / "sealift/packs")
    card = mf.decode_card(Path(origin.mounts[3], "sealift", mf.CARD).read_bytes())
    (old / "sealift" / mf.CARD).write_bytes(canonical.encode(structs.replace(card, serial="SN-OLD")))
    done = ingests.packs(origin, str(to), [*origin.mounts[:3], str(old)])
    assert (done.failed, done.refused, done.rebuilt_blocks) == ([], [], 0)
    same_drives(origin, to)
    there = mf.decode_card((to / "g0s3/sealift" / mf.CARD).read_bytes())
    assert there.rebuilt
    assert there.serial == card.serial


def test_what_is_lost_or_rotten_is_rebuilt_on_the_way(origin, damaged, tmp_path):
    to = tmp_path / "to"
    code, out, said = run(
        *("ingest", *damaged, "--to", to, "--packs", "--allowed-signers", origin.root / "allowed", "--json"),
        *("--out", tmp_path / "there.toml"),
    )
    answer = json.loads(out)
    assert code == 3, said
    assert [drive["drive"] for drive in answer["drives"]] == ["g0s0", "g0s1", "g0s2", "g0s3"]
    assert answer["rebuilt_blocks"] >= 3
    assert "rebuilt from parity" in said
    assert "\n1 drive of these groups is not here:\n" in said
    assert answer["missing_drives"] == [f"g0s3 (serial {origin.serial(origin.mounts[3])}, carrier-3)"]
    same_drives(origin, to)
    assert mf.decode_card((to / "g0s3/sealift" / mf.CARD).read_bytes()).rebuilt
    assert whole(origin, ingest_drives(to)) == ("intact", [])
    assert run("ls", tmp_path / "there.toml", *opened(origin))[0] == 0
    assert run("ls", *damaged, *opened(origin))[1] == run("ls", tmp_path / "there.toml", *opened(origin))[1]


def ingest_drives(to):
    return {f"g0s{slot}": str(to / f"g0s{slot}") for slot in range(4)}


def opened(origin):
    return "--allowed-signers", origin.root / "allowed", "--identity", origin.root / "identity"


def test_what_parity_cannot_give_is_named_and_the_rest_is_copied(origin, damaged, tmp_path):
    rotten = min((tmp_path / "a" / "sealift" / "packs").rglob("*.age"))
    stripe = int(rotten.name[:7])
    others = [next((tmp_path / name / "sealift/packs").rglob(f"{stripe:07d}.*")) for name in "bc"]
    for other in others:
        rot(other)
    result = ingests.packs(origin, str(tmp_path / "to"), damaged)
    assert {(at.rsplit("/", 1)[1], path) for at, path, _ in result.failed} == {
        ("g0s0", f"packs/0000/{rotten.name}"),
        *((f"g0s{slot}", f"packs/0000/{other.name}") for slot, other in enumerate(others, start=1)),
        ("g0s3", mf.pack_name(stripe, mf.role_of(stripe, 3, 4), 2)),
    }
    assert all("is lost" in why for _, _, why in result.failed)
    total = sum(len(origin.packs(mount)) for mount in origin.mounts)
    assert result.packs == total - 4
    assert not (tmp_path / "to/g0s0/sealift/packs/0000" / rotten.name).exists()
    code = run(*("ingest", *damaged, "--to", tmp_path / "to", "--packs", "--allowed-signers", origin.root / "allowed"))[
        0
    ]
    assert code == 6, "the drive that is not here may have it"
    last = ingests.packs(origin, str(tmp_path / "to"), [*damaged, origin.mounts[3], origin.mounts[0]])
    assert (last.failed, last.packs) == ([], total)
    same_drives(origin, tmp_path / "to")


def test_too_few_drives_are_copied_and_the_next_ones_end_it(origin, tmp_path, monkeypatch):
    to = tmp_path / "to"
    arguments = "--to", to, "--packs", "--allowed-signers", origin.root / "allowed", "--json"
    code, out, said = run("ingest", origin.mounts[1], *arguments)
    answer = json.loads(out)
    assert (code, answer["short_groups"], list(os.listdir(to / "g0s1"))) == (6, [0], ["sealift"])
    assert "too few drives" in said
    assert not (to / "g0s0").exists()
    monkeypatch.setattr(ingest, "digest_of", None)  # what is noted is not read again
    code, out, _ = run("ingest", origin.mounts[0], *origin.mounts[2:], *arguments)
    assert code == 0, "the drive that was copied before is not here, and nothing of it was to be rebuilt"
    assert json.loads(out)["there"] == answer["packs"]
    same_drives(origin, to)


def test_a_locations_file_grows_and_is_kept_only_where_it_says_something_else(tmp_path):
    def write(to, *drives):
        kept = ingest.write_locations(
            str(path), to, ingest.Result("x", drives={each: f"{to}/{each}" for each in drives})
        )
        return kept, [row.at for row in locations.parse(path.read_bytes(), "x").drive]

    path, s3, folder = tmp_path / "at.toml", "s3://bucket/d", str(tmp_path / "to")
    assert write(s3, "g0s0", "g0s1") == (None, [f"{s3}/g0s0", f"{s3}/g0s1"])
    inode = path.stat().st_ino
    assert write(s3, "g0s0", "g0s1")[0] is None
    assert path.stat().st_ino == inode
    assert write(s3, "g1s0") == (None, [f"{s3}/g1s0", f"{s3}/g0s0", f"{s3}/g0s1"])
    path.write_bytes(path.read_bytes() + b"# by hand\n")
    assert write(s3, "g1s0") == (str(tmp_path / "at.1.toml"), [f"{s3}/g1s0"])
    assert write(f"{s3}2", "g1s0") == (str(tmp_path / "at.2.toml"), [f"{s3}2/g1s0"])
    assert write(folder, "g0s0") == (str(tmp_path / "at.3.toml"), [f"{folder}/g0s0"])
    assert write(folder, "g0s1") == (None, [f"{folder}/g0s1", f"{folder}/g0s0"])
    path.write_bytes(b"\xff")
    assert write(folder, "g0s1")[0] == str(tmp_path / "at.4.toml")


@pytest.mark.long
def test_groups_in_batches(tmp_path):
    source = tmp_path / "source"
    for number in range(8):
        shipments.write(source / f"{number % 4}/{number}", os.urandom(300_000))
    made = shipments.Origin(tmp_path / "origin", source, 1, 1, groups=2)
    made.pack()
    to, seal = str(tmp_path / "to"), made.seal()
    of = {0: [], 1: []}
    for mount in made.mounts:
        of[mf.decode_manifest(Path(mount, "sealift", mf.MANIFEST).read_bytes()).group].append(mount)
    first = ingests.packs(made, to, of[0], seal=seal)
    assert [group["group"] for group in first.missing_groups] == [1]
    second = ingests.packs(made, to, of[1], seal=seal)
    assert (second.missing_groups, second.failed) == ([], [])
    assert sorted(os.listdir(to)) == ["g0s0", "g0s1", "g1s0", "g1s1"]
    shipments.same(source, unpacked(made, tmp_path, [f"{to}/{each}" for each in os.listdir(to)], seal))
    again = ingests.packs(made, to, of[0], seal=seal)
    assert (again.missing_groups, again.short_groups, again.packs) == ([], [], again.there), "group 1 is there, whole"
    assert sorted(again.drives) == ["g0s0", "g0s1", "g1s0", "g1s1"]
    assert sorted(os.listdir(to)) == sorted(again.drives), "no notes are left"
    pack = next(Path(to, "g1s1/sealift/packs").rglob("*.*"))
    data = pack.read_bytes()
    for spoil in (lambda: pack.write_bytes(data[:-1]), pack.unlink):
        spoil()
        short = ingests.packs(made, to, of[0], seal=seal)
        assert [group["group"] for group in short.missing_groups] == [1]
    pack.write_bytes(data)
    Path(to, "g1s0/sealift", mf.MANIFEST).unlink()
    assert [group["group"] for group in ingests.packs(made, to, of[0], seal=seal).missing_groups] == [1]


def unpacked(made, tmp_path, mounts, seal):
    assert made.unpack(tmp_path / "unpacked", mounts, seal).failed == []
    return tmp_path / "unpacked"


def test_what_somebody_else_has_there_is_named_and_left(origin, tmp_path):
    to = tmp_path / "to"
    name = origin.packs(origin.mounts[0])[0].name
    pack, small = to / "g0s0/sealift/packs/0000" / name, to / "g0s1/sealift" / mf.SUMS
    shipments.write(pack, bytes(origin.packs(origin.mounts[0])[0].stat().st_size))
    shipments.write(small, b"mine")
    good = origin.packs(origin.mounts[2])[0]
    shipments.write(to / "g0s2/sealift/packs/0000" / good.name, good.read_bytes())
    (to / "g0s1/sealift/packs/0000" / origin.packs(origin.mounts[1])[0].name).mkdir(parents=True)
    code, out, said = run(
        *("ingest", *origin.mounts, "--to", to, "--packs", "--json", "--allowed-signers", origin.root / "allowed")
    )
    answer = json.loads(out)
    assert code == 1
    assert {(Path(each["at"]).name, each["path"]) for each in answer["refused"]} == {
        ("g0s0", f"packs/0000/{name}"),
        ("g0s1", f"packs/0000/{origin.packs(origin.mounts[1])[0].name}"),
        ("g0s1", mf.SUMS),
    }
    assert [each["reason"].partition(" stands")[0] for each in answer["refused"]].count("something else") == 1
    altered = {each["path"] for each in answer["refused"] if "not as it was signed" in each["reason"]}
    assert altered == {f"packs/0000/{name}", mf.SUMS}, "under the name and in the place of the drive's own"
    assert "remove that file or object, and this command writes it anew; else move away what is in the way" in said
    assert answer["there"] == 1
    assert not any(pack.read_bytes())
    assert small.read_bytes() == b"mine"
    (to / "g0s0/sealift" / mf.CARD).write_bytes((to / "g0s1/sealift" / mf.CARD).read_bytes())
    with pytest.raises(BadInput, match="holds another drive"):
        ingests.packs(origin, str(to))


def strangers(put):
    """Beside drives, on one, and on what is none of them, though its name looks so."""
    names = [
        "aside",
        "g0s1/lost+found/x",
        "g0s1/sealift/packs/0000/mine",
        "g0s1/sealift/sealift/B3SUMS",
        "g0s9/sealift/B3SUMS",
    ]
    for name in names:
        put(name)
    return [name.encode() for name in names]


def test_what_else_stands_there_is_counted_named_and_left(origin, tmp_path):
    to = tmp_path / "to"
    wanted = strangers(lambda name: shipments.write(to / name, b"mine"))
    code, out, said = run(
        *("ingest", *origin.mounts, "--to", to, "--packs", "--json", "--allowed-signers", origin.root / "allowed")
    )
    told = json.loads(out)["foreign"]
    assert (code, told["count"], sorted(each["path"].encode() for each in told["first"])) == (0, 5, wanted)
    assert f"in {to} are 5 other files, not of the drives of this shipment" in said
    assert (to / "aside").read_bytes() == b"mine"
    shipments.write(to / "g0s1/sealift/packs/0000/0000009.parity.part", b"of a run that was killed")
    assert ingests.packs(origin, str(to)).foreign.count == 5
    deep = to / "/".join("abcdefghij")
    deep.mkdir(parents=True)
    assert ingests.packs(origin, str(to)).foreign.count == 6


def test_what_is_refused(origin, tmp_path):
    (tmp_path / "at").mkdir()
    (tmp_path / "at/g0s0").symlink_to(origin.mounts[0])
    with pytest.raises(BadInput, match="onto itself"):
        ingests.packs(origin, str(tmp_path / "at"))
    other = shipments.Origin(tmp_path / "other", origin.source, 2, 1)
    options = ingest.Options(origin.mounts, str(tmp_path / "x"), AllowedSigners.parse(other.allowed), None)
    with pytest.raises(SealInvalid):
        ingest.ingest(options, ingest.Events())
    assert not (tmp_path / "x").exists()
    for more, why in (
        (["--packs", "--identity", "x"], "ciphertext"),
        (["--packs", "--path", "x"], "ciphertext"),
        ([], "without an identity"),
        (["--identity", "x", "--out", "y"], "--packs makes"),
        (["--packs", "--out", "/nowhere/y"], "no such folder"),
    ):
        with pytest.raises(BadInput, match=why):
            run("ingest", origin.mounts[0], "--to", tmp_path / "x", *more)
    with pytest.raises(BadInput, match="over HTTP"):
        run("ingest", origin.mounts[0], "--to", "https://host/x", "--packs")
    with pytest.raises(BadInput, match="no folder"):
        run("unpack", origin.mounts[0], "--to", "s3://bucket/x", *opened(origin))


class Cut(Exception):
    """The power goes."""


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 60), min_size=1, max_size=4), data=st.data())
def test_cut_off_anywhere_it_goes_on_and_all_drives_are_the_same(origin, tmp_path_factory, cuts, data):
    """After any of the steps that change the destination; other drives may be here then, and something be gone."""
    to = tmp_path_factory.mktemp("cut") / "to"
    for cut in cuts:
        here = data.draw(st.lists(st.sampled_from(origin.mounts), min_size=2, unique=True))
        left = [cut]

        def count(real, left=left):
            def act(*arguments, **more):
                if left[0] == 0:
                    raise Cut
                left[0] -= 1
                return real(*arguments, **more)

            return act

        with pytest.MonkeyPatch.context() as patch:
            for name in ("publish", "write_at"):
                patch.setattr(local_file.LocalPartFile, name, count(getattr(local_file.LocalPartFile, name)))
            patch.setattr(local_file.LocalPartFile, "abandon", lambda part: part._close())  # a kill removes nothing
            with contextlib.suppress(Cut):
                ingests.packs(origin, str(to), here)
        for path in sorted(to.rglob("packs/*/0*"))[:1]:  # what was noted as done, and somebody removed
            path.unlink()
    last = ingests.packs(origin, str(to))
    assert (last.failed, last.refused) == ([], [])
    same_drives(origin, to)


def test_interrupted_it_says_so_and_goes_on(origin, tmp_path):
    def stop(done, _total, _drives):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="noted at the destination"):
        ingests.packs(origin, str(tmp_path / "to"), progress=stop)
    assert ingests.packs(origin, str(tmp_path / "to")).failed == []
    same_drives(origin, tmp_path / "to")


def pack_of(origin, slot=1):
    """The name of a pack of a drive, beneath sealift/."""
    return str(origin.packs(origin.mounts[slot])[0].relative_to(Path(origin.mounts[slot], "sealift")))


def stopped(origin, to, monkeypatch, mounts=None, **how):
    """An ingest that has copied and noted every pack of these drives, and was stopped before its end."""

    def stop(*_):
        raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(ingest, "end", stop)
        with pytest.raises(Cut):
            ingests.packs(origin, to, mounts, **how)


def changed_after(origin, to, monkeypatch, change):
    """What is said of a pack that somebody has changed after it was noted, twice; unchanged ones are not read."""
    stopped(origin, to, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(ingest, "digest_of", None)  # nothing is read
        stopped(origin, to, patch)
    change()
    for _ in range(2):
        last = ingests.packs(origin, to)
        yield [(location, name) for location, name, _ in last.refused], last.failed


def test_a_pack_that_was_changed_after_it_was_noted_is_named(origin, tmp_path, monkeypatch):
    to = tmp_path / "to"

    def change():
        path, before = to / "g0s1/sealift" / name, (to / "g0s1/sealift" / name).stat()
        rot(path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    name = pack_of(origin)
    for said in changed_after(origin, str(to), monkeypatch, change):
        assert said == ([(f"{to}/g0s1", name)], [])


def test_where_no_time_of_change_is_kept_what_is_noted_is_read(origin, tmp_path, monkeypatch):
    to = tmp_path / "to"
    monkeypatch.setattr(medium, "keeps_ctime", lambda _descriptor: False)
    stopped(origin, str(to), monkeypatch)
    name = pack_of(origin)
    rot(to / "g0s1/sealift" / name)
    assert [name for _, name, _ in ingests.packs(origin, str(to)).refused] == [name]


def test_a_group_that_was_changed_after_it_was_noted_does_not_count(tmp_path, monkeypatch):
    """Its drives are not here any more, so that nobody copies it again."""
    for number in range(4):
        shipments.write(tmp_path / f"source/{number}/file", os.urandom(300_000))
    made = shipments.Origin(tmp_path / "origin", tmp_path / "source", 1, 1, groups=2)
    made.pack()
    to, seal = tmp_path / "to", made.seal()
    of = {0: [], 1: []}
    for mount in made.mounts:
        of[mf.decode_manifest(Path(mount, "sealift", mf.MANIFEST).read_bytes()).group].append(mount)
    assert ingests.packs(made, str(to), of[1], seal=seal).failed == []
    with monkeypatch.context() as patch:
        patch.setattr(ingest_there, "digest_of", None)
        stopped(made, str(to), patch, of[0], seal=seal)
    pack = next(Path(to, "g1s1/sealift/packs").rglob("*.*"))
    rot(pack)
    last = ingests.packs(made, str(to), of[0], seal=seal)
    assert [group["group"] for group in last.missing_groups] == [1]
    assert [name for _, name, _ in last.refused] == [str(pack.relative_to(to / "g1s1/sealift"))]
    pack.unlink()
    last = ingests.packs(made, str(to), of[0], seal=seal)
    assert [group["group"] for group in last.missing_groups] == [1]


@pytest.fixture
def two_seals(origin):
    """Two seals of the shipment, the second a second later."""
    first = origin.seal()
    time.sleep(1.1)
    return first, origin.seal()


@pytest.mark.long
@pytest.mark.parametrize("where", ["folder", "bucket"])
def test_a_seal_that_was_superseded_is_replaced_and_kept(origin, two_seals, where, tmp_path, request):
    """Also where that was stopped halfway, and never by an earlier one or for somebody else's files."""
    first, second = two_seals
    to = str(tmp_path / "to") if where == "folder" else f"s3://{request.getfixturevalue('bucket')}/d"
    names = mf.SEAL_FILES

    def there():
        drives = [locations_of.open_drive(f"{to}/g0s{slot}") for slot in range(4)]
        return [{name: drive.read_small(name, 1 << 20) for name in names} for drive in drives]

    def put(name, data):
        drive = locations_of.open_to_write(f"{to}/g0s2")
        drive.lock()
        drive.write_small(name, data)
        drive.unlock()

    assert ingests.packs(origin, to, seal=first).refused == []
    for drives in (4, 0):
        brought = ingests.packs(origin, to, seal=second)
        assert (brought.refused, brought.foreign.count, brought.resealed) == ([], 0, drives)
        assert there() == [second] * 4
    if where == "bucket":
        (kept,) = [data for name, data in ingests.objects(to).items() if name.startswith("superseded-seals/")]
    else:
        (kept,) = [path.read_bytes() for path in Path(to, "superseded-seals").iterdir()]
    assert seals.decode_bundle(kept) == first
    other = [name for name in names if first[name] != second[name]]
    earlier = ingests.packs(origin, to, seal=first)
    assert {name for _, name, _ in earlier.refused} == set(other), "an earlier one replaces nothing"
    assert there() == [second] * 4
    put(other[-1], first[other[-1]])  # as it was stopped halfway
    assert ingests.packs(origin, to, seal=second).resealed == 1
    assert there() == [second] * 4
    put(other[-1], b"mine")
    assert [name for _, name, _ in ingests.packs(origin, to, seal=second).refused] == [other[-1]]
    assert there()[2][other[-1]] == b"mine"


@pytest.mark.parametrize("beneath", ["", "x", "x/y"])
def test_nothing_is_copied_onto_a_drive_of_the_shipment(origin, tmp_path, beneath):
    before = {path for mount in origin.mounts for path in Path(mount).rglob("*")}
    (tmp_path / "link").symlink_to(origin.mounts[1])
    for root in (Path(origin.mounts[1]), tmp_path / "link"):
        with pytest.raises(BadInput, match="a drive of the shipment"):
            ingests.packs(origin, str(root / beneath))
        with pytest.raises(BadInput, match="a drive of the shipment"):
            origin.unpack(root / beneath)
    assert {path for mount in origin.mounts for path in Path(mount).rglob("*")} == before


def test_a_copy_that_is_not_finished_is_told_as_that(origin, tmp_path, monkeypatch):
    """And not as drives that have lost their manifests, which the origin is to send."""

    def stop(*_):
        raise Cut

    to, allowed = tmp_path / "to", AllowedSigners.parse(origin.allowed)
    with monkeypatch.context() as patch:
        patch.setattr(ingest._Run, "_finish", stop)
        with pytest.raises(Cut):
            ingests.packs(origin, str(to))
    copies, seal = [str(to / f"g0s{slot}") for slot in range(4)], origin.seal()
    for look in (inspect.inspect, verify.verify):
        with pytest.raises(NotAllHere, match="copies that are not finished") as caught:
            look(copies, allowed=allowed, seal=seal)
        assert "goes on" in caught.value.hint
        report = look([*origin.mounts[:3], copies[3]], allowed=allowed, seal=seal)
        assert [notice for notice in report.notices if "a copy that is not finished" in notice and copies[3] in notice]
    assert ingests.packs(origin, str(to)).failed == []
    assert inspect.inspect(copies, allowed=allowed, seal=seal).state == "complete"


def test_no_locations_file_takes_the_place_of_something_else(origin, tmp_path):
    out = tmp_path / "identity.txt"
    out.write_text("AGE-SECRET-KEY-1QQQQ\n")
    with pytest.raises(BadInput, match="is no locations file; nothing was changed"):
        run("ingest", *origin.mounts, "--to", tmp_path / "to", "--packs", "--out", out,
            "--allowed-signers", origin.root / "allowed")  # fmt: skip
    with pytest.raises(BadInput, match="is no locations file; nothing was changed"):
        run("fleet", "http://127.0.0.1:9", "--out", out, "--allowed-signers", origin.root / "allowed")
    assert os.listdir(tmp_path) == ["identity.txt"]
    assert out.read_text() == "AGE-SECRET-KEY-1QQQQ\n"


def test_an_ingest_frees_no_source(origin, tmp_path):
    """Neither is its report one of verify's, from which a receipt is made, nor is it a receipt."""
    code, out, _ = run(
        *("ingest", *origin.mounts, "--to", tmp_path / "to", "--packs", "--json"),
        *("--allowed-signers", origin.root / "allowed"),
    )
    assert code == 0
    path, data = tmp_path / "ingest.json", out.encode()
    path.write_bytes(data)
    path.with_name("ingest.json.sig").write_bytes(origin.officer.sign(data, receipt.NAMESPACE))
    line = f'dock@example.com namespaces="{receipt.NAMESPACE}" {origin.officer.public_key.line}\n'
    allowed = AllowedSigners.parse(origin.allowed + line.encode())
    trusted = open_seal(sealed(origin), allowed)
    looked = source_release.look(trusted, [str(path)], allowed, datetime.now(UTC))
    assert not looked.may_be_freed
    assert any(str(path) in each for each in looked.objections)
    assert not source_release.look(trusted, [], allowed, datetime.now(UTC)).may_be_freed
    with pytest.raises(SealiftError, match=r"ingest\.json"):
        receive.weigh(trusted, [(str(path), data)], datetime.now(UTC))


def sealed(origin):
    return {name: Path(origin.mounts[0], "sealift", name).read_bytes() for name in mf.SEAL_FILES}


# --- into a bucket


@pytest.mark.long
def test_into_a_bucket_from_damaged_drives(origin, damaged, bucket, s3, tmp_path):
    to = f"s3://{bucket}/some/where"
    first = ingests.packs(origin, to, damaged)
    assert (first.failed, first.refused) == ([], [])
    assert first.rebuilt_blocks >= 3
    for slot, mount in enumerate(origin.mounts):
        held = ingests.objects(f"{to}/g0s{slot}/sealift")
        assert {name: data for name, data in held.items() if name != mf.CARD} == files(mount)
    assert not [name for name in ingests.objects(to, notes=True) if name.startswith(".sealift")]
    assert s3.uploads(bucket) == 0
    assert ingest.write_locations(str(tmp_path / "there.toml"), to, first) is None
    assert run("ls", tmp_path / "there.toml", *opened(origin))[0] == 0
    before = ingests.stamps(to)
    assert ingests.packs(origin, to).there == first.packs
    assert ingests.stamps(to) == before
    names = strangers(lambda name: ObjectPrefix(to).put_new(name, b"mine"))
    assert sorted(ingests.packs(origin, to).foreign.first) == names


@pytest.mark.long
def test_a_copy_in_a_bucket_is_made_whole_from_itself_or_from_drives(origin, bucket, tmp_path):
    to, there, allowed = f"s3://{bucket}/d", tmp_path / "there.toml", ("--allowed-signers", origin.root / "allowed")
    ingest.write_locations(str(there), to, ingests.packs(origin, to))
    store = ObjectPrefix(to)
    absent, rotten = [name for name in sorted(ingests.objects(to)) if "/packs/" in name][:2]
    data = bytearray(store.get(rotten, 1 << 30))
    data[1000] ^= 1
    store.put_over(rotten, bytes(data))
    store.delete(absent)
    code, said, _ = run("verify", there, *allowed)
    assert code == 3
    assert f"g0s0 at {to}/g0s0: DAMAGED: " in said
    assert "PULL" not in said
    assert "`sealift repair`" not in said
    assert "next: in the bucket: where a second `sealift verify` finds the same" in said
    for place in (there, f"{to}/g0s0"):
        with pytest.raises(BadInput, match="writes to nothing else") as caught:
            run("repair", place, *allowed)
        assert "`sealift ingest --packs` to the same place" in caught.value.hint
    before = ingests.stamps(to)
    code, _, said = run("ingest", there, "--packs", "--to", to, *allowed)
    assert code == 1, said
    assert f"{to}/{rotten}: what stands there in its place is not as it was signed (rotten, or altered)" in said
    assert "remove that file or object, and this command writes it anew" in said
    store.delete(rotten)
    assert run("ingest", there, "--packs", "--to", to, *allowed)[0] == 3
    after = ingests.stamps(to)
    assert {name for name in after if after[name] != before.get(name)} == {absent, rotten}
    store.delete(absent)
    assert run("ingest", *origin.mounts, "--packs", "--to", to, *allowed)[0] == 0
    assert run("verify", there, *allowed)[0] == 0


def test_a_pack_of_a_bucket_that_was_changed_after_it_was_noted_is_named(origin, bucket, monkeypatch):
    to = f"s3://{bucket}/d"
    name = pack_of(origin)

    def change():
        there = ObjectPrefix(f"{to}/g0s1")
        data = bytearray(there.get(f"sealift/{name}", 1 << 30))
        data[1000] ^= 1
        there.delete(f"sealift/{name}")
        there.put_new(f"sealift/{name}", bytes(data))

    for said in changed_after(origin, to, monkeypatch, change):
        assert said == ([(f"{to}/g0s1", name)], [])


@pytest.mark.long
def test_killed_again_and_again_it_goes_on(origin, bucket, s3, tmp_path):
    to, rng, killed = f"s3://{bucket}/d", random.Random(5), 0
    options = ingest.Options(origin.mounts, to, AllowedSigners.parse(origin.allowed), None)
    for _ in range(2):
        killed += ingests.kill(ingests.start(tmp_path, "packs", options), to, rng.uniform(0.0, 0.2))
    last = ingests.packs(origin, to)
    assert killed
    assert (last.failed, last.refused) == ([], [])
    for slot, mount in enumerate(origin.mounts):
        held = ingests.objects(f"{to}/g0s{slot}/sealift")
        assert {name: data for name, data in held.items() if name != mf.CARD} == files(mount)
    assert s3.uploads(bucket) == 0
    assert not [name for name in ingests.objects(to, notes=True) if name.startswith(".sealift")]


def test_faults_on_the_way_that_pass_are_got_over(origin, bucket, faulty, s3):
    kinds = ["500", "reset", "cut-upload", "503", "cut"]
    faulty.plan = lambda how, path, number: kinds[len(path) % 5] if number == 0 and how in {"PUT", "POST"} else None
    last = ingests.packs(origin, f"s3://{bucket}/d", origin.mounts[:2])
    assert (last.failed, last.refused) == ([], [])
    faulty.plan = lambda *_: None
    assert whole(origin, last.drives) == ("intact", [])
    assert s3.uploads(bucket) == 0


@pytest.mark.long
def test_a_store_that_swallows_one_request_in_four_is_asked_again(origin, bucket, faulty, s3, impatient):
    faulty.plan = swallowing(4)
    last = ingests.packs(origin, f"s3://{bucket}/d", origin.mounts[:2])
    assert (last.failed, last.refused) == ([], [])
    faulty.plan = lambda *_: None
    assert whole(origin, last.drives) == ("intact", [])
    assert s3.uploads(bucket) == 0


def test_no_wrong_byte_is_called_done(origin, bucket, faulty):
    fault, why = "lose", "does not hold what was sent"
    faulty.plan = lambda method, path, _number: fault if method == "PUT" and "/packs/0000/0000001." in path else None
    to = f"s3://{bucket}/d"
    result = ingests.packs(origin, to)
    assert len(result.refused) == 4
    assert all(why in each for _, _, each in result.refused)
    assert not [name for name in ingests.objects(to) if "/0000001." in name]
    faulty.plan = lambda method, path, _number: fault if method == "PUT" and "/packs/" in path else None
    with pytest.raises(SealiftError, match=why) as caught:
        ingests.packs(origin, f"s3://{bucket}/e")
    assert caught.value.exit_code == 1, "it is the destination that failed: the drives are well"
    faulty.plan = lambda *_: None
    assert ingests.packs(origin, to).failed == []


def test_a_store_that_refuses_says_why(origin, bucket, s3, monkeypatch):
    to = f"s3://{bucket}/d"
    with pytest.raises(SealiftError, match="no such bucket") as caught:
        ingests.packs(origin, "s3://no-such-bucket-here/d")
    assert (caught.value.exit_code, bool(caught.value.hint)) == (1, True)
    limited = s3.limited(300)
    for name, value in limited.environment.items():
        monkeypatch.setenv(name, value)
    own = limited.make_bucket()
    with pytest.raises(SealiftError, match="the quota is used up") as caught:
        ingests.packs(origin, f"s3://{own}/d")
    assert "run the same command again" in caught.value.hint
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    with pytest.raises(SealiftError, match="secret key is not that of the access key") as caught:
        ingests.packs(origin, to)
    assert "hush-hush" not in f"{caught.value}{caught.value.hint}"


def test_another_on_this_host_is_kept_out(origin, bucket):
    drive = ObjectDrive(f"s3://{bucket}/d/g0s1")
    drive.lock()
    try:
        with pytest.raises(SealiftError, match="another process"):
            ingests.packs(origin, f"s3://{bucket}/d")
    finally:
        drive.unlock()
