"""What is beneath s3://BUCKET/PREFIX is packed as a folder is, from a real S3 server, also where that misbehaves."""

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import loops
import numpy as np
import plans
import pytest
import shipments
from blake3 import blake3
from shipments import MIB

from sealift.errors import BadInput, SourceFault
from sealift.formats import manifest as mf
from sealift.stages.pack import group as groups
from sealift.stages.pack import inputs
from sealift.stages.pack import run as packing
from sealift.stages.pack import source as sources

PACKER = str(Path(shipments.__file__).with_name("packer.py"))


class Store:
    """A folder of a bucket, filled by obstore."""

    def __init__(self, s3, bucket):
        from obstore.store import S3Store

        self.prefix, self.s3, self.bucket = "corpora/one", s3, bucket
        self.location = f"s3://{bucket}/{self.prefix}"
        config = {"endpoint": s3.endpoint}
        self._store = S3Store(bucket, prefix=self.prefix, config=config, client_options={"allow_http": True})

    def put(self, key, data, part=5 * MIB):
        import obstore

        obstore.put(self._store, key, data, use_multipart=len(data) > part, chunk_size=part)

    def delete(self, key):
        import obstore

        obstore.delete(self._store, key)

    def put_odd(self, key):
        """An empty object whose key is no path."""
        from urllib.parse import quote

        status, _ = self.s3.ask("PUT", f"/{self.bucket}/" + quote(f"{self.prefix}/".encode() + key, safe="/-_.~"))
        assert status == 200


@pytest.fixture
def store(s3, bucket):
    return Store(s3, bucket)


@pytest.fixture
def origin(tmp_path, store):
    return shipments.Origin(tmp_path / "origin", Path("/nonexistent"), 2, 1, options={"source": store.location})


def contents(target):
    return {str(each.relative_to(target)): each.read_bytes() for each in target.rglob("*") if each.is_file()}


def restored(origin, target, *, changed=()):
    result = origin.unpack(target)
    assert (result.failed, set(result.changed)) == ([], set(changed))
    return contents(target)


def corpus(store, seed=1):
    """Small ones, one in several frames, one that may be cut, one put in parts, and an empty one."""
    rng = random.Random(seed)
    made = {
        f"d{i % 4}/{i:03d}.{kind}": rng.randbytes(rng.randrange(3000)) for i in range(40) for kind in ("jpg", "json")
    }
    made |= {"text.txt": b"words " * 50_000, "empty": b"", "large.bin": rng.randbytes(3 * MIB - 1)}
    made |= {"huge.bin": rng.randbytes(5 * MIB - 77), "parts.bin": rng.randbytes(6 * MIB)}
    for key, data in made.items():
        store.put(key, data)
    return made


@pytest.mark.long
def test_a_bucket_comes_back_as_files(origin, store, tmp_path):
    made = corpus(store)
    made |= {"sp ace+plus%25&<>\"'~": b"1", "日本/é": b"2", "[x]{y}^`|": b"3", "back\\slash": b"4"}
    for key in list(made)[-4:]:
        store.put(key, made[key])
    before = datetime.now(UTC).timestamp()
    notices = []
    result = origin.pack(notices, pack_size=4 * MIB)
    assert (result.exit_code, result.changed, result.skipped, result.files) == (0, [], [], len(made))
    assert "source" in result.memory
    assert restored(origin, tmp_path / "restored") == made
    status = (tmp_path / "restored/large.bin").stat()
    assert status.st_mode & 0o7777 == 0o644
    assert before - 60 < status.st_mtime < before + 1
    assert status.st_mtime_ns % 1_000_000 == 0
    assert status.st_mtime != int(status.st_mtime), "a listing has milliseconds"
    again = origin.pack(pack_size=4 * MIB)
    assert (again.exit_code, again.files) == (0, len(made))
    for path in origin.state.rglob("*"):
        assert not path.is_file() or store.s3.secret.encode() not in path.read_bytes()


def test_keys_that_are_no_paths_are_named_and_nothing_is_renamed(origin, store, tmp_path):
    made = {"a/b": b"in the folder", "a-b": b"between", "a.c": b"sample", "x": b"x", "folder/file": b"f"}
    for key, data in made.items():
        store.put(key, data)
    store.put("a", b"the name of a folder")
    odd = [b"a//b", b"/lead", b"../up", b"./here", b"y/.", b"ctl\x01x", b"new\nline", b"tab\t", b"del\x7f", b"e//"]
    for key in [*odd, b"", b"marked/", b"folder/", b"x/"]:  # the folder itself, and folders
        store.put_odd(key)
    result = origin.pack()
    assert result.exit_code == 2
    told = dict(result.skipped)
    assert told.keys() == {b"a", b"x/", *odd}
    assert "name of a folder" in told[b"a"]
    assert "control characters" in told[b"new\nline"]
    assert "a part that is .." in told[b"../up"]
    assert restored(origin, tmp_path / "restored") == made
    assert (tmp_path / "restored/marked").is_dir()


SIZES = {"small": 10_000, "large.bin": 3 * MIB // 2, "huge.bin": 7 * MIB}


@pytest.mark.parametrize("how", ["rewritten", "longer", "shorter", "empty", "gone"])
def test_objects_that_change_after_they_were_listed(origin, store, tmp_path, monkeypatch, how):
    old = {key: random.Random(size).randbytes(size) for key, size in SIZES.items()}
    for number in range(20):
        store.put(f"steady-{number}", b"%d\n" % number * 100)
    for key, data in old.items():
        store.put(key, data, part=64 * MIB)
    new = {"rewritten": 1.0, "longer": 1.5, "shorter": 0.4, "empty": 0.0}
    now = {key: b"\x55" * int(size * new.get(how, 1)) for key, size in SIZES.items()}
    real = packing.scan

    def scan(*args, **kwargs):
        summary = real(*args, **kwargs)
        for key, data in now.items():
            store.delete(key) if how == "gone" else store.put(key, data, part=64 * MIB)
        return summary

    monkeypatch.setattr(packing, "scan", scan)
    result = origin.pack(pack_size=4 * MIB, accept_missing=True)
    monkeypatch.undo()
    assert result.exit_code == 2
    assert {path for path, _ in result.skipped} | set(result.changed) == {key.encode() for key in SIZES}
    found = restored(origin, tmp_path / "restored", changed=result.changed)
    assert "huge.bin" not in found, "what is about to be cut is looked at first"
    if how == "gone":
        assert not found.keys() & SIZES.keys()
        return
    assert set(result.changed) == {b"small", b"large.bin"}
    for key in ("small", "large.bin"):
        assert found[key] == now[key][: SIZES[key]], "of the new version, and of it alone"


@pytest.mark.long
@pytest.mark.parametrize("key", ["large.bin", "huge.bin"])
def test_an_object_that_is_replaced_while_it_is_read_is_no_mix(origin, store, faulty, tmp_path, key):
    size, pack_size, nth = (19 * MIB, 8 * MIB, 3) if key == "huge.bin" else (24 * MIB, 256 * MIB, 5)
    old, new = random.Random(1).randbytes(size), b"\x55" * size
    store.put(key, old, part=64 * MIB)
    store.put("steady", b"steady")
    done = []

    def plan(method, path, _number):
        if method == "GET" and key in path and "list-type" not in path:
            done.append(path)
            if len(done) == nth:  # of the larger one's pieces four are asked for at once: the first was read
                store.put(key, new, part=64 * MIB)

    faulty.plan = plan
    result = origin.pack(pack_size=pack_size)
    assert result.exit_code == 2
    assert ([path for path, _ in result.incomplete], result.changed, result.skipped) == ([key.encode()], [], [])
    found = restored(origin, tmp_path / "restored", changed=[key.encode()])
    there, before = (np.frombuffer(data, np.uint8) for data in (found[key], old))
    assert len(there) == size
    assert np.all((there == before) | (there == 0)), "what could not be read any more is zeros"
    assert key == "huge.bin" or found[key][:MIB] == old[:MIB]
    assert not found[key][-MIB:].strip(b"\0") or key == "huge.bin"
    assert found["steady"] == b"steady"


@pytest.mark.long
def test_an_object_that_is_replaced_between_its_segments_is_no_mix(origin, store, tmp_path, monkeypatch, caplog):
    old = random.Random(1).randbytes(9 * MIB)
    store.put("huge.bin", old, part=64 * MIB)
    commit = groups.GroupPacker._commit_stripe

    def replaced(packer, stripe, *rest):
        commit(packer, stripe, *rest)
        if not stripe:
            store.put("huge.bin", b"\x55" * len(old), part=64 * MIB)

    monkeypatch.setattr(groups.GroupPacker, "_commit_stripe", replaced)
    result = origin.pack(pack_size=2 * MIB)
    assert (result.exit_code, result.changed, result.skipped) == (2, [], [])
    assert result.incomplete == [(b"huge.bin", "was replaced after it was listed")]
    there = np.frombuffer(restored(origin, tmp_path / "restored", changed=[b"huge.bin"])["huge.bin"], np.uint8)
    before = np.frombuffer(old, np.uint8)
    assert np.all((there == before) | (there == 0))
    assert np.all(there[:MIB] == before[:MIB])
    assert not np.any(there[-MIB:])
    with origin.shipment() as shipment:  # as whoever trains reads it
        for _ in range(2):
            shipment.read("huge.bin")
    told = [text for text in caplog.messages if "changed while it was packed" in text]
    assert told == ["'huge.bin' changed while it was packed: its bytes may be of no one moment, or zeros"]


@pytest.mark.long
@pytest.mark.parametrize("faults", [["500", "503", "reset", "cut"], ["flip", "short", "newer", "longer", "slow"]])
def test_what_fails_now_and_then_is_asked_again_and_no_wrong_byte_is_packed(origin, store, faulty, tmp_path, faults):
    made = corpus(store)
    rng = random.Random(4)

    def plan(_method, path, number):
        if rng.random() > 0.1 or number > 1:
            return None
        fault = rng.choice(faults)
        if fault == "flip" and path.endswith(("parts.bin", "/empty")):  # no digest to hold it against; nothing to flip
            return None
        return fault

    faulty.plan = plan
    try:
        result = origin.pack(pack_size=16 * MIB)
    except SourceFault:
        faulty.plan = lambda *_: None
        result = origin.pack(pack_size=16 * MIB)
    found = restored(origin, tmp_path / "restored", changed=result.changed)
    sure = {key: data for key, data in made.items() if key.encode() not in result.changed}
    assert len(sure) > len(made) // 2, "told as changed: what the store says is another version"
    assert {key: found[key] for key in sure} == sure
    if "flip" not in faults:
        assert (result.exit_code, found) == (0, made)


def test_an_answer_that_was_cut_by_whoever_tells_another_length_is_no_change(origin, store, faulty):
    made = corpus(store)
    faulty.plan = lambda method, _path, number: "short" if method == "GET" and number in {0, 2} else None
    result = origin.pack(pack_size=16 * MIB)
    assert (result.exit_code, result.changed) == (0, [])
    assert result.files == len(made)


@pytest.mark.long
def test_an_object_that_is_damaged_in_the_store_is_told(origin, store, faulty, tmp_path):
    made = corpus(store)
    rotten = {"d0/000.jpg", "large.bin"}
    faulty.plan = lambda method, path, _n: "flip" if method == "GET" and path.endswith(tuple(rotten)) else None
    result = origin.pack(pack_size=16 * MIB)
    assert set(result.changed) == {key.encode() for key in rotten}
    assert result.exit_code == 2
    found = restored(origin, tmp_path / "restored", changed=result.changed)
    assert {key: found[key] for key in made if key not in rotten} == {k: v for k, v in made.items() if k not in rotten}


@pytest.mark.long
@pytest.mark.parametrize("pack_size", [16 * MIB, 4 * MIB])
def test_an_object_in_parts_is_held_to_their_digests_where_their_size_is_told(origin, store, faulty, capfd, pack_size):
    """Whole, and in segments, which are read by several and hashed by a follower."""
    store.put("parts.bin", random.Random(1).randbytes(11 * MIB), part=6 * MIB)
    store.put("sound.bin", random.Random(2).randbytes(11 * MIB), part=6 * MIB)
    store.put("small", b"by which it is known that ETags are digests there")

    def plan(method, path, _number):
        if method == "HEAD" and "partNumber=1" in path:
            return f"part {6 * MIB}"
        return "rotten" if method == "GET" and path.endswith("parts.bin") else None

    faulty.plan = plan
    result = origin.pack(pack_size=pack_size)
    assert (result.changed, result.exit_code) == ([b"parts.bin"], 2)
    assert "length and ETag alone" not in capfd.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize(("part", "said"), [(5 * MIB, False), (6 * MIB + 5, True)])
def test_of_what_size_parts_are_is_guessed_where_nobody_tells(origin, store, capfd, part, said):
    store.put("parts.bin", random.Random(1).randbytes(14 * MIB), part=part)
    assert origin.pack(pack_size=16 * MIB).exit_code == 0
    assert ("'parts.bin', and maybe others, are held to length and ETag alone" in capfd.readouterr().err) == said


def asked_for(faulty, name):
    return sum(method == "GET" and path.endswith(name) for method, path in faulty.seen)


def segments_of(origin, name):
    with origin.shipment() as shipment:
        return shipment.find(name.encode())[1]


@pytest.mark.long
def test_an_object_that_is_cut_is_fetched_once(origin, store, faulty, tmp_path):
    made = {"huge.bin": random.Random(1).randbytes(9 * MIB)}
    store.put("huge.bin", made["huge.bin"], part=16 * MIB)
    assert origin.pack(pack_size=2 * MIB).exit_code == 0
    segments = len(segments_of(origin, "huge.bin"))
    assert segments > 3
    assert asked_for(faulty, "huge.bin") == segments
    assert restored(origin, tmp_path / "restored") == made
    assert not (origin.state / "spool").exists()


def test_an_object_that_is_cut_is_fetched_again_where_there_is_no_room_to_keep_it(origin, store, faulty, tmp_path):
    loops.need_loops()
    made = {"huge.bin": random.Random(1).randbytes(9 * MIB)}
    store.put("huge.bin", made["huge.bin"], part=16 * MIB)
    origin.state.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", origin.state], check=True)
    try:
        assert origin.pack(pack_size=2 * MIB).exit_code == 0
    finally:
        subprocess.run(["umount", origin.state], check=True)
    assert asked_for(faulty, "huge.bin") == 2 * len(segments_of(origin, "huge.bin"))
    assert restored(origin, tmp_path / "restored") == made


def test_what_a_network_did_to_an_object_that_is_cut_ends_packing(origin, store, faulty, tmp_path):
    huge = random.Random(1).randbytes(9 * MIB)
    store.put("huge.bin", huge, part=5 * MIB)
    faulty.plan = lambda method, path, number: (
        "flip" if method == "GET" and "huge.bin" in path and number == 2 else None
    )
    with pytest.raises(SourceFault, match="does not fit the object's ETag"):
        origin.pack(pack_size=2 * MIB)
    faulty.plan = lambda *_: None
    result = origin.pack(pack_size=2 * MIB)
    right = restored(origin, tmp_path / "restored", changed=result.changed) == {"huge.bin": huge}
    # where a wrong segment's stripe had been committed, the object is told; never is it called right and is not
    assert (result.exit_code, result.changed) == ((0, []) if right else (2, [b"huge.bin"]))


@pytest.mark.long
def test_a_store_that_refuses_ends_packing_and_the_same_command_goes_on(origin, store, faulty, tmp_path):
    made = corpus(store)
    faulty.plan = lambda _method, path, _n: "401" if "d3/" in path and "list-type" not in path else None
    with pytest.raises(SourceFault, match="does not take these keys; what was committed before is safe") as caught:
        origin.pack(pack_size=4 * MIB)
    assert "AWS_ACCESS_KEY_ID" in caught.value.hint
    assert store.s3.secret not in f"{caught.value} {caught.value.hint}"
    assert caught.value.exit_code == 3
    faulty.plan = lambda *_: None
    assert origin.pack(pack_size=4 * MIB).exit_code == 0
    assert restored(origin, tmp_path / "restored") == made


@pytest.mark.long
def test_a_listing_that_fails_is_told_and_made_anew(origin, store, faulty, tmp_path):
    made = corpus(store)
    faulty.plan = lambda _method, path, _n: "401" if "list-type" in path and "d2" in path else None
    with pytest.raises(SourceFault, match="listing 'corpora/one/d2/': the store does not take"):
        origin.pack()
    faults = ["500", "cut", "reset", "short", None]
    faulty.plan = lambda _method, path, number: faults[min(number, 4)] if "list-type" in path and "d2" in path else None
    result = origin.pack()
    assert (result.exit_code, result.files) == (0, len(made))


def test_killed_anywhere_the_same_command_goes_on(origin, store, tmp_path):
    made = corpus(store)
    asked = tmp_path / "options"
    asked.write_bytes(pickle.dumps(origin.pack_options(pack_size=2 * MIB)))
    rng = random.Random(int(os.environ.get("SEALIFT_SEED", "3")))
    for _ in range(2):
        packer = subprocess.Popen([sys.executable, PACKER, str(asked)], start_new_session=True)
        time.sleep(0.4 + rng.random())
        os.killpg(packer.pid, signal.SIGKILL)
        packer.wait()
    result = origin.pack(pack_size=2 * MIB)
    assert (result.exit_code, result.files) == (0, len(made))
    assert restored(origin, tmp_path / "restored") == made


@pytest.mark.long
def test_builders_end_with_their_coordinator_while_the_store_hangs(origin, store, faulty, tmp_path):
    store.put("x", b"x" * 5000)
    faulty.plan = lambda _method, path, _n: "hang" if path.endswith("/x") else None
    asked = tmp_path / "options"
    asked.write_bytes(pickle.dumps(origin.pack_options()))
    packer = subprocess.Popen([sys.executable, PACKER, str(asked)])
    deadline = time.monotonic() + 30
    while not any(path.endswith("/x") for _, path in faulty.seen) and time.monotonic() < deadline:
        time.sleep(0.02)
    packer.kill()  # the coordinator alone; its builders wait for the store, and hold its locks
    packer.wait()
    faulty.plan = lambda *_: None
    assert origin.pack().exit_code == 0


@pytest.mark.long
def test_only_what_a_lost_pack_held_comes_from_the_bucket_again(origin, store, tmp_path):
    from sealift.formats import fetch
    from sealift.stages.pack.only import select

    made = corpus(store)
    origin.pack(pack_size=4 * MIB)
    ((manifest, data),) = origin.manifests()
    lost = fetch.FetchPack(group=0, stripe=1, role=0, drive="g0s1", path=mf.pack_name(1, 0, 2), bytes=1)
    group = fetch.FetchGroup(group=0, manifest=blake3(data).hexdigest())
    record = fetch.FetchList(shipment=manifest.shipment, groups=[group], packs=[lost], contents=[lost])
    listed = tmp_path / "list.json"
    listed.write_bytes(fetch.encode_list(record))
    held = sorted(select(str(listed), str(origin.state)).paths)
    store.put(held[0].decode(), made[held[0].decode()] + b"more")
    second = shipments.Origin(tmp_path / "second", Path("/nonexistent"), 2, 1, options=origin.options)
    result = second.pack(only=str(listed), of=str(origin.state))
    assert (result.exit_code, result.outdated, result.skipped) == (2, [held[0]], [])
    assert restored(second, tmp_path / "restored").keys() == {path.decode() for path in held}


@pytest.mark.long
def test_a_plan_looks_at_a_bucket_as_at_a_folder(store, tmp_path):
    from sealift.cli import planned
    from sealift.stages.pack.workers import Workers
    from sealift.stages.plan import corpus as corpora
    from sealift.stages.plan import document

    made = corpus(store)
    for key, data in made.items():
        shipments.write(tmp_path / "folder" / key, data)
    with Workers(2) as workers:
        looked = [
            corpora.look(source, workers.walk(source.encode(), None, None))
            for source in (store.location, str(tmp_path / "folder"))
        ]
    for found in looked:
        assert (found.files, found.bytes, found.samples) == (len(made), sum(map(len, made.values())), corpora.SAMPLES)
    assert abs(looked[0].share - looked[1].share) < 0.03
    plan = plans.make(6, ("Cem", "Anna", "Bo"), (2, 1, 2), (1, 0), source=f"{store.location}/")
    (tmp_path / "shipment.toml").write_text(document.render(plan))
    assert planned.load(str(tmp_path / "shipment.toml")).source == f"{store.location}/", "no folder stands before it"
    assert sources.located(plan.source) == store.location.encode()


@pytest.mark.long
def test_the_command_as_people_type_it(origin, store, tmp_path):
    store.put("a", b"skipped")
    store.put("a/b", b"carried")
    command = [
        *(sys.executable, "-m", "sealift", "pack", f"{store.location}/", "--parity=1", f"--state={origin.state}"),
        *(f"--to={mount}" for mount in origin.mounts),
        *(f"--serial={mount}={origin.serial(mount)}" for mount in origin.mounts),
        *(f"--sign-with={origin.root / 'signing'}", f"--declaration={origin.declaration}", "--allow-same-filesystem"),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    assert [each["path"] for each in json.loads(done.stdout)["skipped"]] == ["a"]
    assert "1 path skipped" in done.stderr
    other = {**os.environ, "AWS_SECRET_ACCESS_KEY": "hush"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=other)
    assert done.returncode == 3
    assert "sealift: error: " in done.stderr
    assert "hint: see AWS_ACCESS_KEY_ID" in done.stderr
    assert "Traceback" not in done.stderr


def test_refused_before_anything_is_written(origin, store, tmp_path, monkeypatch):
    store.put("x", b"x")
    refused = {
        "s3://no-such-bucket-here/x": (SourceFault, "no such bucket"),
        f"s3://{store.bucket}/nothing/here": (BadInput, "no object's key begins with 'nothing/here/'"),
        f"s3://{store.bucket}/{store.prefix}/x": (BadInput, "no object's key begins with"),
        "s3://key:secret@bucket/x": (BadInput, "user or a key"),
        "http://127.0.0.1/x": (BadInput, "is no source"),
        "gs://bucket/x": (BadInput, "no location"),
    }
    for source, (kind, words) in refused.items():
        with pytest.raises(kind, match=words) as caught:
            origin.pack(source=source)
        assert caught.value.hint
    with pytest.raises(BadInput, match="packed from a folder"):
        inputs.opened(origin.pack_options(leg="return"))
    with pytest.raises(BadInput, match="lies within the source"):
        inputs.opened(origin.pack_options(to=[f"{store.location}/deeper"]))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    with pytest.raises(SourceFault, match="the secret key is not"):
        origin.pack()
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(BadInput, match="no keys in the environment"):
        origin.pack()
    assert not list(Path(origin.mounts[0]).iterdir())
