"""ingest of files into a bucket: a real S3 server holds what the corpus held, whatever happens on the way."""

import hashlib
import itertools
import json
import os
import random
import re
import shutil
from pathlib import Path

import ingests
import pytest
import shipments
from click.testing import CliRunner
from faulty_proxy import swallowing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealift.cli import main
from sealift.drives import object_prefix as buckets
from sealift.drives.locations import NOTES
from sealift.drives.object_lock import ObjectLock
from sealift.drives.object_prefix import PART_SIZE, ObjectPrefix
from sealift.errors import Busy, SealiftError
from sealift.formats import manifest as mf
from sealift.stages import unpack as unpacking
from sealift.stages import unpack_jobs, unpack_objects
from sealift.stages.unpack_objects import key_of

BIG = PART_SIZE + 12_345


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """Small files of several packs, one that is written in parts and lies in several, links, odd names, holes."""
    base = tmp_path_factory.mktemp("ingest")
    source, rng = base / "source", random.Random(4)
    for number in range(24):
        shipments.write(source / f"text/{number % 3}/{number:03d}.txt", rng.randbytes(rng.randrange(60_000)))
    shipments.write(source / "big.bin", rng.randbytes(BIG))
    shipments.write(source / "empty")
    shipments.write(source / "new\nline", b"x")
    shipments.write(os.fsencode(source) + b"/not-\xff", b"x")
    shipments.write(source / "percent %41 + ü", b"odd, and a name that objects can have")
    (source / "link").symlink_to("empty")
    os.link(source / "big.bin", source / "other-name.bin")
    os.link(source / "text/0/000.txt", source / "again.txt")
    with (source / "sparse").open("wb") as file:
        file.seek(1_000_000)
        file.write(b"middle")
        file.truncate(2_000_001)
    made = shipments.Origin(base / "origin", source, 2, 1, options={"pack_size": 4 << 20})
    made.pack()
    made.sealed = made.seal()
    made.expected = ingests.expected(source, without={b"new\nline", b"not-\xff"})
    return made


@pytest.fixture
def inline(monkeypatch):
    monkeypatch.setattr(unpacking, "ProcessPoolExecutor", shipments.Inline)


SKIPPED = {b"new\nline", b"not-\xff", b"link"}


def run(*arguments):
    done = CliRunner().invoke(main.cli, list(map(str, arguments)), standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.return_value or 0, done.stdout, done.stderr


def ingest(origin, to, mounts=None, said=None, **more):
    options = ingests.into(origin, to, mounts, seal=more.pop("seal", origin.sealed), **more)
    return unpacking.unpack(options, unpacking.Events(notice=(said if said is not None else []).append))


def held(origin, to):
    """The far side is the corpus, and nothing else, not even notes."""
    assert ingests.objects(to, notes=True) == origin.expected


@pytest.mark.long
def test_a_bucket_comes_to_hold_the_corpus_from_drives_of_which_one_is_lost(origin, bucket, s3):
    to = f"s3://{bucket}/some/where"
    lost = max(
        origin.mounts, key=lambda mount: sum(len(p.read_bytes()) for p in origin.packs(mount) if p.suffix == ".age")
    )
    here = [mount for mount in origin.mounts if mount != lost]
    for mount in here:
        for name, data in origin.sealed.items():
            shipments.write(Path(mount, "sealift", name), data)
    arguments = (
        *("ingest", *here, "--to", to, "--json", "--identity", origin.root / "identity"),
        *("--allowed-signers", origin.root / "allowed"),
    )
    code, out, said = run(*arguments)
    answer = json.loads(out)
    assert code == 2, said  # not 3: some was rebuilt, and some has no place in a bucket
    assert answer["failed"] == answer["refused"] == answer["changed"] == []
    assert answer["files"] == len(origin.expected)
    assert answer["rebuilt_blocks"] > 0
    assert {each.get("path") for each in answer["skipped"]} == {"new\nline", "link", None}
    assert "no bucket can hold" in said
    held(origin, to)
    assert s3.uploads(bucket) == 0
    before = ingests.stamps(to)
    code, out, _ = run(*arguments)
    again = json.loads(out)
    assert again["there"] == len(origin.expected)
    assert code == 2
    assert ingests.stamps(to) == before


def test_what_is_all_well_but_for_names_ends_with_2(origin, bucket, inline):
    arguments = "--identity", origin.root / "identity", "--allowed-signers", origin.root / "allowed"
    for mount in origin.mounts:
        for name, data in origin.sealed.items():
            shipments.write(Path(mount, "sealift", name), data)
    code = run("ingest", *origin.mounts, "--to", f"s3://{bucket}", *arguments, "--path", "text", "--path", "link")[0]
    assert code == 2
    wanted = {name: data for name, data in origin.expected.items() if name.startswith("text/")}
    assert ingests.objects(f"s3://{bucket}", notes=True) == wanted


def test_one_name_of_a_file_is_enough_to_have_it(origin, bucket, inline):
    result = ingest(origin, f"s3://{bucket}/x", patterns=["again.txt", "other-name.bin"])
    assert (result.files, result.failed) == (2, [])
    assert set(ingests.objects(f"s3://{bucket}/x", notes=True)) == {"again.txt", "other-name.bin"}


def test_what_somebody_else_has_there_is_left(origin, bucket, inline):
    to = f"s3://{bucket}/x"
    there = ObjectPrefix(to)
    mine = {"text/0/000.txt": b"mine", "big.bin": bytes(BIG), "other-name.bin": b"short", "beside": b"no matter"}
    for name, data in mine.items():
        there.client.native.put(there.client.store, name, data)
    same = {"text/0/003.txt", "again.txt"}
    for name in same:
        there.client.native.put(there.client.store, name, origin.expected[name])
    result = ingest(origin, to)
    assert sorted(dict(result.refused)) == [b"big.bin", b"other-name.bin", b"text/0/000.txt"]
    assert (result.there, result.failed) == (2, [])
    assert (result.foreign.count, result.foreign.first) == (1, [b"beside"])
    assert ingests.objects(to) == origin.expected | mine
    assert [name for name in ingests.objects(to, notes=True) if name.startswith(NOTES)], "it is not done"
    there.delete("big.bin"), there.delete("text/0/000.txt"), there.delete("other-name.bin"), there.delete("beside")
    assert ingest(origin, to).refused == []
    held(origin, to)


def test_what_else_stands_there_is_counted_named_and_left(origin, bucket, inline):
    """Before, between and behind, and also what comes meanwhile: neither other files of the shipment, nor our notes."""
    to = f"s3://{bucket}/x"
    there = ObjectPrefix(to)
    strange = [" first", "link", "text", "text/0", "text/00", "text/1/000", *(f"zz/{number}" for number in range(30))]
    for name in strange:
        there.put_new(name, b"mine")
    ObjectPrefix(f"s3://{bucket}").put_new("x-beside-the-prefix", b"mine")
    assert ingest(origin, to, patterns=["text/1"]).foreign.count == len(strange)
    arguments = ("--identity", origin.root / "identity", "--allowed-signers", origin.root / "allowed")
    for mount in origin.mounts:
        for name, data in origin.sealed.items():
            shipments.write(Path(mount, "sealift", name), data)
    _, out, said = run("ingest", *origin.mounts, "--to", to, *arguments, "--json")
    told = json.loads(out)["foreign"]
    assert (told["count"], [each["path"] for each in told["first"]]) == (36, sorted(strange)[:20])
    assert f"in {to} are 36 other objects, not files of this shipment; left as they are:" in said
    assert "  text/00\n  and 31 more" in said
    assert ingests.objects(to, notes=True) == origin.expected | dict.fromkeys(strange, b"mine")


def test_a_store_that_writes_over_what_is_there_is_asked_before(origin, bucket, inline, monkeypatch):
    """Not every store knows If-None-Match."""
    to = f"s3://{bucket}/x"
    there = ObjectPrefix(to)
    put = there.client.native.put
    there.client.native.put(there.client.store, "text/0/000.txt", b"mine")
    monkeypatch.setattr(
        there.client.native, "put", lambda *given, **more: put(*given, **(more | {"mode": "overwrite"}))
    )
    result = ingest(origin, to)
    assert (list(dict(result.refused)), result.failed) == ([b"text/0/000.txt"], [])
    assert ingests.objects(to) == origin.expected | {"text/0/000.txt": b"mine"}


def test_etags_that_are_no_digests_cost_a_look(origin, bucket, inline, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(buckets, "_digest_of", lambda _meta: "kms")
        result = ingest(origin, f"s3://{bucket}/x", patterns=["text/0"])
        assert (result.failed, result.refused) == ([], [])
    assert ingests.objects(f"s3://{bucket}/x") == {n: d for n, d in origin.expected.items() if n.startswith("text/0/")}


@pytest.mark.long
def test_killed_again_and_again_it_goes_on_and_no_upload_is_left(origin, bucket, s3, tmp_path):
    to, rng, killed = f"s3://{bucket}/x", random.Random(3), 0
    strange = s3.ask("POST", f"/{bucket}/x/big.bin.other", "uploads=")
    assert strange[0] == 200
    options = ingests.into(origin, to, seal=origin.sealed, workers=2)
    for _ in range(2):
        killed += ingests.kill(ingests.start(tmp_path, "files", options), to, rng.uniform(0.0, 0.2))
    last = ingest(origin, to, workers=2)
    assert killed
    assert (last.failed, last.refused, set(dict(last.skipped))) == ([], [], SKIPPED)
    held(origin, to)
    assert s3.uploads(bucket) == 1, "somebody else's stays, and ours does not"


def test_interrupted_it_leaves_no_upload(origin, bucket, s3, inline, monkeypatch):
    def stop(_part):
        assert s3.uploads(bucket) == 1
        raise KeyboardInterrupt

    to = f"s3://{bucket}/x"
    with monkeypatch.context() as patch:
        patch.setattr(buckets.ObjectPartFile, "publish", stop)
        patch.setattr(buckets.ObjectPartFile, "abandon", lambda _part: None)  # as in a worker that is ended
        with pytest.raises(KeyboardInterrupt):
            ingest(origin, to, patterns=["big.bin"])
    unpacking._worker = None
    assert s3.uploads(bucket) == 0
    with monkeypatch.context() as patch:
        patch.setattr(buckets.ObjectPartFile, "publish", stop)
        patch.setattr(buckets.ObjectPartFile, "abandon", lambda _part: None)
        patch.setattr(unpack_objects.uploads, "keys_of_environment", lambda: None)
        with pytest.raises(KeyboardInterrupt):
            ingest(origin, to, patterns=["big.bin"])
        unpacking._worker = None
        patch.undo()
        patch.setattr(unpack_objects.uploads, "keys_of_environment", lambda: None)
        said = []
        assert ingest(origin, to, said=said, patterns=["big.bin"]).failed == []
        assert any("1 uploads in parts that a stopped run began are left" in text for text in said)
    assert s3.uploads(bucket) == 1


def test_another_host_that_writes_there_is_waited_for(origin, bucket, inline, monkeypatch, s3):
    """The name of the store is another one there, and so is what keeps this host's own processes apart."""
    to = f"s3://{bucket}/x"
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", s3.endpoint.replace("127.0.0.1", "localhost"))
        held = ObjectLock(ObjectPrefix(to), "sealift ingest")
    with pytest.raises(Busy, match="writes there; it was last heard of"):
        ingest(origin, to)
    real = unpack_objects.ObjectNotes.note

    def note(notes, job, mark=""):
        monkeypatch.setattr(unpack_objects.ObjectNotes, "note", real)
        notes._lock._lost = "it was taken over"
        real(notes, job, mark)

    held.give_up()
    monkeypatch.setattr(unpack_objects.ObjectNotes, "note", note)
    with pytest.raises(Busy, match="others may write there"):
        ingest(origin, to)
    unpacking._worker = None
    assert ingest(origin, to).failed == []
    held_all = ingests.objects(to, notes=True)
    assert held_all == origin.expected


class Cut(BaseException):
    """The power goes."""


def test_an_ingest_of_some_paths_keeps_what_one_of_all_has_noted(origin, bucket, inline, monkeypatch):
    to, said = f"s3://{bucket}/x", []

    def stop(*_):
        raise Cut

    def stopped(**more):
        with monkeypatch.context() as patch:
            patch.setattr(unpacking, "_finish_objects", stop)
            with pytest.raises(Cut):
                ingest(origin, to, **more)
        unpacking._worker = None

    def notes():
        return {name for name in ingests.stamps(to) if name.startswith(NOTES) and "/probe-" not in name}

    stopped()
    noted = notes()
    assert noted
    stopped(patterns=["text/1"])
    for _ in range(2):
        assert ingest(origin, to, said=said, patterns=["text/0"]).failed == []
        unpacking._worker = None
        assert said.pop() == unpacking.KEPT
        assert noted < notes(), "and those of the third"
    worked = []
    with monkeypatch.context() as patch:
        patch.setattr(unpacking, "_work", lambda job: worked.append(len(job.rows)) or unpack_objects.Done())
        assert ingest(origin, to, said=said).failed == []
    assert (worked, said) == ([], [])
    held(origin, to)


@pytest.mark.long
@pytest.mark.parametrize("rows", [None, 3], ids=["a job a pack", "several"])
def test_what_was_changed_after_its_job_was_noted_is_named_and_left(origin, bucket, inline, monkeypatch, rows):
    """And what was not is not read again."""
    to, there = f"s3://{bucket}/x", ObjectPrefix(f"s3://{bucket}/x")
    if rows:
        monkeypatch.setattr(unpack_jobs, "_JOB_ROWS", rows)

    def stop(*_):
        raise Cut

    def stopped():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(unpacking, "_finish_objects", stop)
            with pytest.raises(Cut):
                ingest(origin, to)
        unpacking._worker = None

    stopped()
    with pytest.MonkeyPatch.context() as patch:
        worked = []
        patch.setattr(unpacking, "_work", lambda job: worked.append(len(job.rows)) or unpack_objects.Done())
        stopped()
    assert sum(worked) <= (0 if rows is None else 6), "at most what lies at a border between two jobs"
    changed = sorted(name for name, data in ingests.objects(to).items() if name.startswith("text/") and data)[::5]
    for name in changed:
        data = there.get(name, 1 << 20)
        there.delete(name)
        there.put_new(name, bytes(byte ^ 1 for byte in data))
    for _ in range(2):
        last = ingest(origin, to)
        unpacking._worker = None
        assert (sorted(os.fsdecode(path) for path, _ in last.refused), last.failed) == (changed, [])
    for name in changed:
        there.delete(name)
    assert ingest(origin, to).refused == []
    held(origin, to)


@settings(max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 45), min_size=1, max_size=3), gone=st.randoms(use_true_random=False))
def test_cut_off_anywhere_it_goes_on_and_the_far_side_is_the_corpus(origin, s3, bucket, inline, cuts, gone):
    """After any request that changes the bucket; and somebody removes some of what was written, meanwhile."""
    to = f"s3://{s3.make_bucket()}/x"
    for cut in cuts:
        left = [cut]

        def count(real, left=left):
            def act(*arguments, **more):
                if left[0] == 0:
                    raise Cut
                left[0] -= 1
                return real(*arguments, **more)

            return act

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ObjectPrefix, "put_new", count(ObjectPrefix.put_new))
            patch.setattr(buckets.ObjectPartFile, "publish", count(buckets.ObjectPartFile.publish))
            patch.setattr(buckets.ObjectPartFile, "abandon", lambda _part: None)
            patch.setattr(unpack_objects.ObjectNotes, "__exit__", lambda notes, *_: notes.bucket.let_go())
            try:
                assert ingest(origin, to).failed == []
            except Cut:
                unpacking._worker = None
        there = ObjectPrefix(to)
        names = sorted(ingests.objects(to))
        for name in gone.sample(names, min(len(names), 2)):
            there.delete(name)
    last = ingest(origin, to)
    assert (last.failed, last.refused) == ([], [])
    held(origin, to)
    assert s3.uploads(to[5:-2]) == 0


def test_faults_on_the_way_that_pass_are_got_over(origin, bucket, faulty, inline, s3):
    kinds = ["500", "reset", "cut-upload", "503", "cut"]
    faulty.plan = lambda how, path, number: (
        kinds[hashlib.md5(path.encode()).digest()[0] % 5] if number == 0 and how in {"PUT", "POST"} else None
    )
    result = ingest(origin, f"s3://{bucket}/x")
    faulty.plan = lambda *_: None
    assert (result.failed, result.refused) == ([], [])
    held(origin, f"s3://{bucket}/x")
    assert s3.uploads(bucket) == 0


def test_listings_that_are_altered_and_notes_that_stay_end_no_ingest(origin, bucket, faulty, inline, s3):
    """The first listing was; and a note of what is begun goes with all notes, where it could not be removed alone."""
    listings, removals = itertools.count(), itertools.count()

    def plan(how, path, _number):
        if how == "GET" and "list-type" in path:
            return ("short", "flip", "cut")[which] if (which := next(listings)) < 3 else None
        note = how == "DELETE" and "/begun/" in path
        return "403" if note and next(removals) < 1 else None

    faulty.plan = plan
    result = ingest(origin, f"s3://{bucket}/x")
    faulty.plan = lambda *_: None
    assert (result.failed, result.refused) == ([], [])
    held(origin, f"s3://{bucket}/x")
    assert next(removals) > 1, "there was one to be removed"
    assert not [name for name in ingests.objects(f"s3://{bucket}/x", notes=True) if "begun" in name]


@pytest.mark.long
def test_a_store_that_swallows_one_request_in_four_is_asked_again(origin, bucket, faulty, inline, s3, impatient):
    faulty.plan, patterns = swallowing(4), ["big.bin", "empty"]
    result = ingest(origin, f"s3://{bucket}/x", patterns=patterns)
    faulty.plan = lambda *_: None
    assert (result.failed, result.refused) == ([], [])
    assert ingests.objects(f"s3://{bucket}/x", notes=True) == {name: origin.expected[name] for name in patterns}
    assert s3.uploads(bucket) == 0


def test_a_store_that_never_answers_is_told_as_that(origin, bucket, faulty, inline, impatient, monkeypatch, caplog):
    faulty.plan = lambda *_: "hang"
    monkeypatch.setattr(ObjectPrefix.__init__, "__kwdefaults__", ObjectPrefix.__init__.__kwdefaults__ | {"patience": 2})
    with pytest.raises(SealiftError, match="did not answer in time, asked again and again"):
        ingest(origin, f"s3://{bucket}/x")
    assert len(faulty.seen) > 3
    assert re.search(rf"still waiting after \d s: s3://{bucket}/x: listing", caplog.text)


@pytest.mark.parametrize(("fault", "why"), [("flip-upload", "not what was sent"), ("lose", "does not hold|has lost")])
def test_no_wrong_byte_is_called_done(origin, bucket, faulty, inline, monkeypatch, fault, why):
    monkeypatch.setattr(buckets, "_CUT", 2)
    to = f"s3://{bucket}/x"
    faulty.plan = lambda how, path, _number: (
        fault if how == "PUT" and ("big.bin" in path or "other-name" in path or "00.txt" in path) else None
    )
    result = ingest(origin, to)
    assert {path for path, _ in result.refused} == {b"big.bin", b"other-name.bin", b"text/0/000.txt"}
    assert all(re.search(why, reason) for _, reason in result.refused)
    assert not {"big.bin", "other-name.bin", "text/0/000.txt"} & set(ingests.objects(to))
    faulty.plan = lambda how, _path, _number: fault if how == "PUT" and "sealift" not in _path else None
    with pytest.raises(SealiftError, match=why):
        ingest(origin, f"s3://{bucket}/y")
    faulty.plan = lambda *_: None
    assert ingest(origin, to).failed == []
    held(origin, to)


def test_an_object_that_the_store_forgets_is_named(origin, bucket, inline, monkeypatch):
    real = unpacking._finish_objects

    def finish(*arguments):
        ObjectPrefix(f"s3://{bucket}/x").delete("text/1/001.txt")
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(unpacking, "_finish_objects", finish)
        assert [path for path, _ in ingest(origin, f"s3://{bucket}/x").refused] == [b"text/1/001.txt"]
    said = []
    assert ingest(origin, f"s3://{bucket}/x", said=said).failed == []
    assert any("1 files" in text for text in said)
    held(origin, f"s3://{bucket}/x")


def test_a_store_that_refuses_says_why(origin, bucket, s3, inline, monkeypatch):
    with pytest.raises(SealiftError, match="no such bucket") as caught:
        ingest(origin, "s3://no-such-bucket-here/x")
    assert (caught.value.exit_code, bool(caught.value.hint)) == (1, True)
    limited = s3.limited(100)
    for name, value in limited.environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SealiftError, match="the quota is used up") as caught:
        ingest(origin, f"s3://{limited.make_bucket()}/x")
    assert "run the same command again" in caught.value.hint
    assert caught.value.exit_code == 1
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    with pytest.raises(SealiftError, match="secret key is not that of the access key") as caught:
        ingest(origin, f"s3://{bucket}/x")
    assert "hush-hush" not in f"{caught.value}{caught.value.hint}"


def test_another_on_this_host_is_kept_out(origin, bucket, inline):
    first = unpack_objects.ObjectNotes(f"s3://{bucket}/x", "0" * 16, [])
    with first, pytest.raises(Busy):
        ingest(origin, f"s3://{bucket}/x")
    assert not os.path.exists(first.folder)


def test_drives_in_batches(bucket, inline, tmp_path):
    source = tmp_path / "source"
    for number in range(20):
        shipments.write(source / f"{number % 4}/{number}", os.urandom(200_000))
    made = shipments.Origin(tmp_path / "origin", source, 1, 1, groups=2)
    made.pack()
    made.sealed, to, of = made.seal(), f"s3://{bucket}/x", {0: [], 1: []}
    for mount in made.mounts:
        of[mf.decode_manifest(Path(mount, "sealift", mf.MANIFEST).read_bytes()).group].append(mount)
    first = ingest(made, to, of[1])
    assert [group["group"] for group in first.missing_groups] == [0]
    shutil.rmtree(of[1][0])
    last = ingest(made, to, of[0])
    assert (last.missing_groups, last.failed) == ([], [])
    assert ingests.objects(to, notes=True) == ingests.expected(source)


def test_a_file_that_does_not_match_the_index_does_not_appear(origin, bucket, inline, monkeypatch):
    real = unpack_objects.Row

    def lying(*values):
        row = real(*values)
        return row._replace(blake3=bytes(32)) if row.path == b"text/1/001.txt" else row

    monkeypatch.setattr(unpack_objects, "Row", lying)
    result = ingest(origin, f"s3://{bucket}/x")
    assert result.failed == [(b"text/1/001.txt", "its contents do not match the signed index")]
    assert "text/1/001.txt" not in ingests.objects(f"s3://{bucket}/x")


@pytest.mark.parametrize(
    "path", [b"\xff", b"a\nb", b"a\x7f", b"a//b", b"../a", b"a/.", b"", b"x" * 1020, (NOTES + "x").encode()]
)
def test_names_that_no_object_can_have(path):
    with pytest.raises(unpack_objects._Skip):
        key_of(path, "prefix")


@settings(max_examples=200)
@given(st.binary(max_size=40))
def test_any_name_is_taken_as_it_is_or_not_at_all(path):
    try:
        key = key_of(path, "")
    except unpack_objects._Skip:
        return
    assert key.encode() == path
    assert all(part not in {"", ".", ".."} for part in key.split("/"))
