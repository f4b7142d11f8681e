"""A bundle of every record: what holds is said, what was changed is named; by us, and by a reader that is not ours."""

import contextlib
import gzip
import json
import os
import random
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import audits
import msgspec
import pytest
from audits import HOME, OUT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealift.errors import BadInput, FormatError, Refused, SignatureInvalid
from sealift.formats import audit as bundles
from sealift.formats import canonical
from sealift.formats import seal as seals
from sealift.formats.allowed_signers import AllowedSigners
from sealift.formats.manifest import FileRef
from sealift.stages import audit as stage
from sealift.stages import audit_collect
from sealift.trade import audit as trade
from sealift.trade import custody_event
from sealift.trade import receipt as receipts
from sealift.trade import release as releases

READER = Path(__file__).parents[1] / "interop" / "audit_reader.py"
AT = f"shipments/{OUT}/"


@pytest.fixture(scope="module", autouse=True)
def _parsed_once():
    with audits.parsed_once():
        yield


@pytest.fixture(scope="module")
def voyage(tmp_path_factory):
    return audits.make(tmp_path_factory.mktemp("voyage"))


@pytest.fixture(scope="module")
def made(voyage):
    target = str(voyage.folder / "bundle.tar")
    return stage.make(voyage.papers, target, audits.person("auditor"), str(voyage.signers), voyage.allowed, voyage.now)


class Files(dict):
    """Names and bytes, which nobody wants to read where a test failed."""

    __repr__ = object.__repr__


@pytest.fixture(scope="module")
def files(made):
    return Files(made.verified.files)


def verify(voyage, files):
    return stage.verify(b"".join(bundles.encode_bundle(files)), voyage.allowed, voyage.now)


def again(voyage, files, by="auditor", at=None):
    """The same bundle with an index made anew and signed, as somebody who makes bundles could."""
    files = {path: data for path, data in files.items() if path not in bundles.FIRST[1:]}
    files[bundles.SUMS] = bundles.sums(stage._rows(files))
    index = bundles.Audit(
        made_at=(at or voyage.now).strftime(trade.TIME), shipments=bundles.shipments(files), files=stage._rows(files)
    )
    files[bundles.INDEX] = canonical.encode(index)
    files[bundles.INDEX_SIG] = audits.person(by).sign(files[bundles.INDEX], bundles.NAMESPACE)
    return files


def named(verified, *states):
    """Files that are named in findings of these states; of all but `pending` where none is given."""
    return {each.file for each in verified.findings if each.state in (states or ("wrong", "look", "missing"))}


def family(path):
    """A record with its signature, and what they belong to: whoever names one of them has named it."""
    found = bundles.describe(path)
    of = found.of if found and "/" in found.of else path
    return {path, of, f"{of}.sig"}


def read_by_other(signers, files, folder):
    """What the program that is not ours says: exit code and files."""
    for tool in ("b3sum", "ssh-keygen"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    target = folder / "read.tar"
    target.write_bytes(files if isinstance(files, bytes) else b"".join(bundles.encode_bundle(files)))
    command = [sys.executable, "-I", str(READER), str(target), str(signers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, {line.partition(": ")[0].strip("'") for line in (done.stdout + done.stderr).splitlines()}


# --- what is whole


def test_a_whole_voyage_holds_and_says_so(made):
    verified = made.verified
    assert verified.exit_code == 0
    assert not named(verified)
    assert named(verified, "pending") == {f"shipments/{HOME}/source-release.1.json"}
    said = "\n".join(verified.holds)
    for words in (
        f"{OUT}: revision 2: Released by O. Fficer", "5 drives in 2 groups", "custody: 7 events", "left at customs",
            "2 of 2 groups", "keys were issued 1 time",
        "the source may be freed, as ed@example.com", "erased: 1 of 5 drives, each", f"{HOME} answers {OUT}",
    ):  # fmt: skip
        assert words in said
    assert verified.signer.principal == "auditor@example.com"
    assert made.left_out == []


def test_every_kind_of_record_is_in_it(files):
    kinds = {bundles.describe(path).kind for path in files if bundles.describe(path)}
    assert kinds == {shape.kind for shape in bundles.KINDS} - {"paper", "draft"}
    assert list(files) == bundles.order(files)


def test_the_same_papers_in_any_order_make_the_same_bundle(voyage, made, tmp_path):
    papers = [*voyage.papers, *voyage.papers[:2]]
    random.Random(1).shuffle(papers)
    target = str(tmp_path / "other.tar")
    other = stage.make(papers, target, audits.person("auditor"), str(voyage.signers), voyage.allowed, voyage.now)
    assert other.blake3 == made.blake3
    assert Path(target).read_bytes() == Path(made.path).read_bytes()


def test_a_program_that_is_not_ours_finds_it_whole(voyage, files, tmp_path):
    assert read_by_other(voyage.signers, files, tmp_path) == (0, set())


def commands(files):
    return [line for line in files[bundles.OPEN_ME].decode().split("\n") if line.startswith("    ")]


def follow(files, folder):
    """OPEN-ME.txt, to the letter, in an empty folder."""
    for tool in ("b3sum", "ssh-keygen", "tar"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    folder.mkdir()
    (folder / "BUNDLE.tar").write_bytes(b"".join(bundles.encode_bundle(files)))
    script = "\n".join(commands(files))
    return subprocess.run(["sh", "-e"], input=script, cwd=folder, capture_output=True, text=True, check=False)


def test_open_me_is_followed_with_tar_b3sum_and_ssh_keygen(files, tmp_path):
    done = follow(files, tmp_path / "right")
    assert (done.returncode, done.stderr) == (0, "")
    signatures = [path for path in files if path.endswith(".sig")]
    assert sum("ssh-keygen -Y verify" in line for line in commands(files)) == len(signatures)
    unpacked = {str(each.relative_to(tmp_path / "right")) for each in (tmp_path / "right").rglob("*") if each.is_file()}
    assert unpacked - {"BUNDLE.tar"} == set(files)


def test_commands_of_open_me_need_no_time_zone_that_only_newer_versions_know(files, tmp_path, monkeypatch):
    """Before OpenSSH 9.1 a time has no Z: 8, 12 or 14 digits, in the time zone of the environment."""
    checks = [line for line in commands(files) if "ssh-keygen" in line]
    assert checks
    assert all(re.search(r" TZ=UTC0 ssh-keygen .* verify-time=[0-9]{14} -s ", line) for line in checks)
    assert "ssh-keygen (OpenSSH 8.7 or later)" in files[bundles.OPEN_ME].decode()
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    done = follow(files, tmp_path / "far")
    assert (done.returncode, done.stderr) == (0, "")


def test_open_me_names_the_version_that_times_of_signers_need(voyage, files):
    """`valid-before="...Z"` is refused by a version that does not know the Z: its line counts for nothing."""
    key = audits.person("anna").public_key.line
    dated = AllowedSigners.parse(
        voyage.signers.read_bytes() + f'x@example.com valid-before="20370101Z" {key}\n'.encode()
    )
    rest = {path: data for path, data in files.items() if path not in bundles.FIRST}
    said = trade.open_me(rest, dated, voyage.text(days=40), "auditor@example.com").decode()
    assert "ssh-keygen (OpenSSH 9.1 or later: `signers` has times)" in said


def test_the_time_of_a_command_is_that_of_the_record_wherever_it_is_run(voyage, files, tmp_path, monkeypatch):
    """A key that was valid for the one second: an hour, or a time zone, beside it is not."""
    at = json.loads(files[bundles.INDEX])["made_at"]
    stamp = re.sub("[-:TZ]", "", at)
    after = f"{int(stamp) + 1}Z"
    auditor = audits.person("auditor").public_key.line
    line = f'auditor@example.com valid-after="{stamp}Z",valid-before="{after}" {auditor}\n'
    others = [each for each in files["signers"].decode().splitlines(keepends=True) if "auditor@" not in each]
    monkeypatch.setenv("TZ", "Asia/Singapore")
    done = follow(again(voyage, files | {"signers": (line + "".join(others)).encode()}), tmp_path / "x")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", [
    "audit.json", "audit.json.sig", "B3SUMS", "signers", f"{AT}release.2.json", f"{AT}release.2.json.sig",
    f"{AT}declaration.r1.toml", f"{AT}seal.1/seal.json", f"{AT}certificate.1.log.jsonl", f"{AT}rules.1.toml",
])  # fmt: skip
def test_whoever_follows_open_me_finds_what_was_changed(files, tmp_path, name):
    done = follow(files | {name: flipped(files[name], len(files[name]) // 2)}, tmp_path / "x")
    assert done.returncode != 0
    assert "WRONG: " in done.stdout


def test_open_me_finds_a_file_and_its_sums_exchanged_together(voyage, files, tmp_path):
    changed = files | {f"{AT}rules.1.toml": files[f"{AT}rules.1.toml"] + b"#\n"}
    index = bundles.decode_index(again(voyage, changed)[bundles.INDEX])
    assert follow(changed | {bundles.SUMS: bundles.sums(index.files)}, tmp_path / "x").returncode != 0
    assert follow({path: data for path, data in files.items() if path != bundles.SUMS}, tmp_path / "y").returncode != 0


def test_open_me_finds_what_the_index_does_not_name_and_takes_no_other_row_for_that_of_the_sums(
    voyage, files, tmp_path
):
    more = files | {f"{AT}rules.7.toml": files[f"{AT}rules.1.toml"], f"{AT}lists/{'ab' * 32}": b"put in"}
    done = follow(more, tmp_path / "more")
    assert done.returncode != 0
    assert "WRONG: a file that B3SUMS does not name" in done.stdout
    changed = again(voyage, files | {f"{AT}rules.1.toml": b"changed"})
    named = bundles.decode_index(files[bundles.INDEX])
    digest = trade.digest(changed[bundles.SUMS])
    rows = [msgspec.structs.replace(row, blake3=digest) if "rules.1" in row.path else row for row in named.files]
    index = canonical.encode(msgspec.structs.replace(named, files=rows))
    signed = {bundles.INDEX: index, bundles.INDEX_SIG: audits.person("auditor").sign(index, bundles.NAMESPACE)}
    done = follow(changed | signed, tmp_path / "row")
    assert done.returncode != 0
    assert "WRONG: B3SUMS" in done.stdout


def test_open_me_says_that_a_line_of_a_key_for_something_else_is_no_fault(voyage, files, tmp_path):
    key = audits.person("anna").public_key.line
    twice = f'anna@example.com namespaces="sealift" {key}\n'.encode() + files["signers"]
    done = follow(again(voyage, files | {"signers": twice}), tmp_path / "x")
    told = {line.split(":", 2)[2].split('"')[0].strip() for line in done.stderr.splitlines()}
    assert (done.returncode, done.stdout) == (0, "")
    (said,) = told
    assert f"`signers:1: {said}`, or the like, is no fault by itself" in files[bundles.OPEN_ME].decode()
    nobody = b"".join(line for line in files["signers"].splitlines(keepends=True) if not line.startswith(b"anna@"))
    done = follow(again(voyage, files | {"signers": nobody}), tmp_path / "y")
    assert done.returncode != 0
    assert "WRONG: " in done.stdout
    assert "/custody/" in done.stdout


def test_open_me_fails_at_what_is_not_signed_as_it_must_be(voyage, files, tmp_path):
    """Also where whoever made the bundle knew it: the script must not end well over a record that does not hold."""
    wrong = files | {f"{AT}release.2.json.sig": files[f"{AT}release.1.json.sig"]}
    rest = {path: data for path, data in wrong.items() if path not in bundles.FIRST}
    made_at = voyage.now.strftime(trade.TIME)
    wrong[bundles.FIRST[0]] = trade.open_me(rest, voyage.allowed, made_at, "auditor@example.com")
    assert b"is not signed as it must be; false" in wrong[bundles.FIRST[0]]
    done = follow(again(voyage, wrong), tmp_path / "x")
    assert done.returncode != 0
    assert "release.2.json.sig is not signed as it must be" in done.stdout


# --- tampering


def flipped(data, at, bit=0):
    out = bytearray(data)
    out[at] ^= 1 << bit
    return bytes(out)


def test_a_byte_changed_in_any_file_is_named(voyage, files):
    drawn = random.Random(5)
    for path, data in files.items():
        verified = verify(voyage, files | {path: flipped(data, drawn.randrange(len(data)))})
        assert verified.exit_code == 5, path
        assert path in named(verified, "wrong"), path


BY_INDEX_ALONE = {"open-me", "sums", "signers"}  # what nobody but the maker of the bundle vouches for


@pytest.mark.long
@given(st.integers(0, 1 << 16), st.integers(0, 1 << 16), st.integers(0, 1 << 16), st.integers(0, 7))
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_byte_changed_by_who_signs_the_index_is_named_by_the_records_themselves(voyage, files, which, one, at, bit):
    kinds = sorted({bundles.describe(p).kind for p in files if bundles.describe(p)} - BY_INDEX_ALONE)
    kind = kinds[which % len(kinds)]
    paths = [p for p in files if (d := bundles.describe(p)) and d.kind == kind]
    path = paths[one % len(paths)]
    at %= len(files[path])
    verified = verify(voyage, again(voyage, files | {path: flipped(files[path], at, bit)}))
    assert named(verified) & family(path), (path, at)


@pytest.mark.long
def test_every_line_of_every_record_changed_by_who_signs_the_index_is_named(voyage, files):
    for path, data in files.items():
        found = bundles.describe(path)
        if found is None or found.kind in BY_INDEX_ALONE:
            continue
        ends = [match.start() for match in re.finditer(b"\n", data)] or [len(data) // 2]
        for at in ends[:: max(1, len(ends) // 40)]:
            verified = verify(voyage, again(voyage, files | {path: flipped(data, max(0, at - 2))}))
            assert named(verified) & family(path), (path, at)


@pytest.mark.long
def test_a_file_taken_out_put_in_or_exchanged_is_named(voyage, files):
    for path in files:
        left = {each: data for each, data in files.items() if each != path}
        assert path in named(verify(voyage, left), "wrong"), path
    extra = f"{AT}keys.9.json"
    assert extra in named(verify(voyage, files | {extra: files[f"{AT}keys.1.json"]}), "wrong")
    paper = {"papers/x.pdf": b"%PDF-"}
    assert "papers/x.pdf" in named(verify(voyage, files | paper), "wrong")
    assert verify(voyage, again(voyage, files | paper)).exit_code == 0
    one, two = f"{AT}receipt.1.json", f"{AT}receipt.2.json"
    exchanged = files | {one: files[two], two: files[one]}
    assert {one, two} <= named(verify(voyage, exchanged), "wrong")
    assert {one, two} & named(verify(voyage, again(voyage, exchanged)), "wrong")


@pytest.mark.long
@pytest.mark.parametrize(("old", "new"), [
    ("declaration.r2.toml", "declaration.r1.toml"), ("release.2.json", "release.1.json"),
    ("receipt.2.json", "receipt.1.json"), ("keys.2.json", "keys.1.json"), ("screening.2.json", "screening.1.json"),
    ("seal.1/declaration.toml", "declaration.r1.toml"), ("seal.1/release.json", "release.1.json"),
    ("manifest.1.json", "manifest.2.json"),
])  # fmt: skip
def test_an_older_record_in_the_place_of_a_newer_is_named(voyage, files, tmp_path, old, new):
    """With its own signature, so that all signatures hold; and by who signs the index, so that all digests do."""
    replayed = files | {AT + old: files[AT + new]}
    if {f"{AT}{new}.sig", f"{AT}{old}.sig"} <= set(files):
        replayed[f"{AT}{old}.sig"] = files[f"{AT}{new}.sig"]
    assert AT + old in named(verify(voyage, replayed), "wrong")
    replayed = again(voyage, replayed)
    assert verify(voyage, replayed).exit_code != 0
    code, told = read_by_other(voyage.signers, replayed, tmp_path)
    assert code == 1
    assert told


@pytest.mark.long
def test_signatures_exchanged_are_named_by_both(voyage, files, tmp_path):
    for one, two in (("release.1.json", "release.2.json"), ("receipt.1.json", "receipt.2.json")):
        a, b = f"{AT}{one}.sig", f"{AT}{two}.sig"
        swapped = again(voyage, files | {a: files[b], b: files[a]})
        assert {AT + one, AT + two} <= named(verify(voyage, swapped), "wrong")
        assert {AT + one, AT + two} <= read_by_other(voyage.signers, swapped, tmp_path)[1]


@pytest.mark.long
def test_an_index_signed_by_a_stranger_is_none(voyage, files, tmp_path):
    for by in ("stranger", "officer"):  # unknown; and known for other namespaces
        signed = again(voyage, files, by=by)
        verified = verify(voyage, signed)
        assert verified.signer is None
        assert {bundles.INDEX, bundles.INDEX_SIG} <= named(verified, "wrong")
        assert "audit.json" in read_by_other(voyage.signers, signed, tmp_path)[1]


@pytest.mark.parametrize("path", [*bundles.FIRST, bundles.SIGNERS, f"{AT}receipt.2.json", f"{AT}receipt.2.json.sig"])
def test_a_program_that_is_not_ours_names_what_was_changed(voyage, files, tmp_path, path):
    changed = files | {path: flipped(files[path], len(files[path]) // 2)}
    code, told = read_by_other(voyage.signers, changed, tmp_path)
    assert code == 1
    assert path in told or path == bundles.INDEX_SIG


CHANGED = sorted({shape.kind for shape in bundles.KINDS} - BY_INDEX_ALONE - {"paper", "draft"})


@pytest.mark.parametrize(
    "kind",
    [each if number % 4 == 0 else pytest.param(each, marks=pytest.mark.long) for number, each in enumerate(CHANGED)],
)
def test_a_program_that_is_not_ours_names_what_who_signs_the_index_changed(voyage, files, tmp_path, kind):
    drawn = random.Random(kind)
    path = drawn.choice([p for p in files if (d := bundles.describe(p)) and d.kind == kind])
    changed = again(voyage, files | {path: flipped(files[path], drawn.randrange(len(files[path])))})
    code, told = read_by_other(voyage.signers, changed, tmp_path)
    assert code == 1
    assert family(path) & told, (path, told)


# --- rules of the house


def resigned(voyage, files, path, by, **changes):
    """A record said otherwise and signed again by `by`, in a bundle that is made anew."""
    how = trade.SIGNED[bundles.describe(path).kind]
    record = msgspec.structs.replace(how.decode(files[path]), **changes)
    data = canonical.encode(record)
    return again(voyage, files | {path: data, f"{path}.sig": audits.person(by).sign(data, how.namespace)})


def sentences(verified, path):
    return " ".join(each.text for each in verified.findings if each.file == path and each.state != "pending")


def test_a_screening_that_was_stale_at_the_release_is_named(voyage, files):
    verified = verify(voyage, resigned(
        voyage, files, f"{AT}release.1.json", "officer", released_at=voyage.text(days=9)))  # fmt: skip
    assert "it held when it was released: list.csv: fetched" in sentences(verified, f"{AT}screening.2.json")
    assert verified.exit_code == 5


def test_keys_that_were_proved_too_long_ago_are_named(voyage, files):
    path = f"{AT}release.1.json"
    verified = verify(voyage, resigned(voyage, files, path, "officer", released_at=voyage.text(days=31)))
    assert "days ago; 30 are allowed" in sentences(verified, f"{AT}keys.2.json")
    assert "released while rule status-recent held" in sentences(verified, path)


def test_drives_handed_over_before_the_release_are_named(voyage, files):
    late = files
    for number in (1, 2):
        path = f"{AT}release.{number}.json"
        late = resigned(voyage, late, path, "officer", released_at=voyage.text(hours=47 + number))
    found = [each for each in verify(voyage, late).findings if "released later" in each.text]
    assert len(found) == 1
    assert "/custody/" in found[0].file


@pytest.mark.parametrize(("changes", "hours", "state", "text"), [
    ({}, 99, None, None),
    ({"shipment": "0" * 16}, 99, "wrong", "keys of shipment 0000000000000000 were issued by the seal of"),
    ({}, 3.5, "look", "before the shipment was sealed"),
    ({}, 3.9, None, None),
    ({"seal": audits.ref(b"another seal")}, 99, "missing", "the seal for which keys were issued to job run-7"),
])  # fmt: skip
def test_keys_issued_for_another_seal_or_before_it_are_named(voyage, files, tmp_path, changes, hours, state, text):
    log = tmp_path / "custody"
    log.mkdir()
    beneath = f"{AT}custody/"
    for path, data in files.items():
        if path.startswith(beneath):
            (log / path.removeprefix(beneath)).write_bytes(data)
    before = {path.name for path in log.iterdir()}
    voyage.unlock(log, OUT, "dock", hours=hours, **changes)
    added = {beneath + path.name: path.read_bytes() for path in log.iterdir() if path.name not in before}
    found = verify(voyage, again(voyage, Files(files | added)))
    said = [each for each in found.findings if "keys" in each.text]
    assert [each.state for each in said] == ([state] if state else [])
    assert all(text in each.text for each in said)
    assert any("keys were issued 2 times" in each for each in found.holds) == (state is None)


def test_a_release_by_the_author_is_named(voyage, files, tmp_path):
    signers = audits.signers() + f"a@example.com {audits.person('author').public_key.line}\n".encode()
    changed = resigned(voyage, files, f"{AT}release.1.json", "author")
    data = b"".join(bundles.encode_bundle(changed))
    verified = stage.verify(data, AllowedSigners.parse(signers), voyage.now)
    assert "the author of a declaration cannot release it" in sentences(verified, f"{AT}release.1.json")
    renamed = resigned(voyage, files, f"{AT}release.1.json", "officer", officer="a.  author")
    assert "may be the author's name" in sentences(verify(voyage, renamed), f"{AT}release.1.json")
    (tmp_path / "signers").write_bytes(signers)
    assert f"{AT}release.1.json" in read_by_other(tmp_path / "signers", changed, tmp_path)[1]


@pytest.mark.long
def test_a_signature_of_another_author_is_named_by_both_readers(voyage, files, tmp_path):
    path = f"{AT}declaration.r1.toml"
    other = audits.person("sam").sign(files[path], releases.AUTHOR_NAMESPACE)
    put = again(voyage, files | {f"{path}.sig": other})
    assert "no release here has exactly this signature" in sentences(verify(voyage, put), f"{path}.sig")
    assert f"{path}.sig" in read_by_other(voyage.signers, put, tmp_path)[1]
    of = f"{AT}release.1.json"
    said = resigned(voyage, files | {f"{path}.sig": other}, of, "officer", author_signature=other.decode())
    assert "the author's signature of the declaration" in sentences(verify(voyage, said), of)
    assert f"{path}.sig" in read_by_other(voyage.signers, said, tmp_path)[1]


def test_a_gate_that_was_not_open_is_named(voyage, files):
    path = f"{AT}release.1.json"
    assert "binds no record of keys" in sentences(
        verify(voyage, resigned(voyage, files, path, "officer", keys=None)), path
    )
    said = resigned(voyage, files, path, "officer", resolved=["owners-named"])
    assert "names other rules as opened" in sentences(verify(voyage, said), path)
    strict = files[f"{AT}rules.1.toml"].replace(b"status_days = 30", b"status_days = 0")
    assert strict != files[f"{AT}rules.1.toml"]
    record = releases.decode(files[path])
    ours = msgspec.structs.replace(record.rules, bytes=len(strict), blake3=trade.digest(strict))
    late = resigned(voyage, files | {f"{AT}rules.9.toml": strict}, path, "officer", rules=ours,
                    released_at=voyage.text(days=2))  # fmt: skip
    assert "released while rule" in sentences(verify(voyage, late), path)


def released_by(voyage, files, theirs, **changes):
    """The bundle whose first release is by other rules."""
    path = f"{AT}release.1.json"
    record = releases.decode(files[path])
    ref = msgspec.structs.replace(record.rules, bytes=len(theirs), blake3=trade.digest(theirs))
    changed = {**files, f"{AT}rules.9.toml": theirs}
    return verify(voyage, resigned(voyage, changed, path, "officer", rules=ref, **changes))


def test_rules_of_an_older_sealift_still_verify_and_are_told(voyage, files):
    path = f"{AT}rules.9.toml"
    ours = files[f"{AT}rules.1.toml"]
    without_author = re.sub(rb'\[\[rules\]\]\nid = "author".*?(?=\[\[rules\]\])', b"", ours, flags=re.DOTALL)
    assert b'"author"' not in without_author
    verified = released_by(voyage, files, without_author)
    assert "rules by which today's sealift would not release" in sentences(verified, path)
    assert "none has the check author; it cannot be struck" in sentences(verified, path)
    assert (named(verified, "wrong", "missing"), verified.exit_code) == (set(), 3)
    assert any("revision 1" in line for line in verified.holds)
    # What is not known is left out, told, and no reason to call the rest wrong.
    quota = b'\n[[rules]]\nid = "quota"\ncheck = "quota"\nquestion = "Q?"\nsource = "s"\nas_of = "2026-11-26"\n'
    strange = ours + quota
    record = releases.decode(files[f"{AT}release.1.json"])
    verified = released_by(voyage, files, strange, resolved=[*record.resolved, "quota"])
    assert "check = quota" in sentences(verified, path)
    assert (named(verified, "wrong", "missing"), verified.exit_code) == (set(), 3)
    later = strange.replace(b"version = 1", b"version = 2", 1)
    verified = released_by(voyage, files, later)
    assert "version 2" in sentences(verified, path)
    assert (named(verified, "wrong", "missing"), verified.exit_code) == (set(), 3)
    # The same bytes under another digest are still wrong, and so is a rule that is known, and held.
    held = without_author.replace(b"status_days = 30", b"status_days = 0")
    late = released_by(voyage, files, held, released_at=voyage.text(days=2))
    assert "released while rule" in sentences(late, f"{AT}release.1.json")


def test_only_whom_the_rules_name_may_have_released(voyage, files):
    path = f"{AT}release.1.json"
    theirs = files[f"{AT}rules.1.toml"].replace(b"officers = []", b'officers = ["chief@example.com"]', 1)
    assert theirs != files[f"{AT}rules.1.toml"]
    record = releases.decode(files[path])
    ref = msgspec.structs.replace(record.rules, bytes=len(theirs), blake3=trade.digest(theirs))
    changed = resigned(voyage, files | {f"{AT}rules.9.toml": theirs}, path, "officer", rules=ref)
    assert "the rules name chief@example.com to release" in sentences(verify(voyage, changed), path)


def test_a_revision_that_supersedes_something_else_is_named(voyage, files):
    path = f"{AT}declaration.r2.toml"
    other = re.sub(rb'supersedes = "[0-9a-f]{64}"', b'supersedes = "' + b"0" * 64 + b'"', files[path])
    assert "supersedes: is not of revision 1" in sentences(verify(voyage, again(voyage, files | {path: other})), path)


def test_a_seal_that_is_not_what_was_released_and_declared_is_named(voyage, files, tmp_path):
    path = f"{AT}seal.1/seal.json"
    groups = trade.SIGNED["seal"].decode(files[path]).groups
    fewer = resigned(voyage, files, path, "origin", groups=groups[:1])
    assert "drives that are declared, and not sealed: SN-" in sentences(verify(voyage, fewer), path)
    assert path in read_by_other(voyage.signers, fewer, tmp_path)[1]
    unknown = verify(voyage, again(voyage, without(files, r"AUDIT1/declaration\.r2", r"AUDIT1/release\.2")))
    said = sentences(unknown, path)
    assert "the declaration that it binds is no revision that is here" in said
    assert "the release that it binds is none that is here" in said


def test_a_seal_of_what_was_superseded_when_it_was_sealed_is_named(voyage, files):
    path = f"{AT}seal.1/seal.json"
    first = {"declaration.toml": "declaration.r1.toml", "release.json": "release.1.json",
             "release.json.sig": "release.1.json.sig"}  # fmt: skip
    older = {name: files[f"{AT}{was}"] for name, was in first.items()}
    bound = [FileRef(bytes=len(data), blake3=trade.digest(data)) for data in older.values()]
    changed = files | {f"{AT}seal.1/{name}": data for name, data in older.items()}
    assert changed.keys() == files.keys()
    said = resigned(voyage, changed, path, "origin", declaration=bound[0], release=bound[1], release_signature=bound[2])
    assert "it is of revision 1, sealed after revision 2 was released, at" in sentences(verify(voyage, said), path)


@pytest.mark.parametrize(("after", "state"), [(timedelta(seconds=-1), "look"), (timedelta(0), "wrong")])
def test_a_later_screening_that_nobody_decided_is_named(voyage, files, after, state):
    sealed = trade.SIGNED["seal"].decode(files[f"{AT}seal.1/seal.json"]).sealed_at
    last = max(path for path in files if re.search(r"AUDIT1/screening\.\d\.json$", path))
    record = trade.SIGNED["screening"].decode(files[last])
    at = (receipts.instant(sealed, "seal") - after).strftime(receipts.TIME)
    parties = tuple(
        msgspec.structs.replace(each, hits=hits, disposition="potential" if hits else each.disposition)
        for each in record.parties
        for hits in [tuple(msgspec.structs.replace(hit, decision=None) for hit in each.hits)]
    )
    data = canonical.encode(msgspec.structs.replace(record, at=at, parties=parties, supersedes=None))
    path = f"{AT}screening.9.json"
    signed = audits.person("sam").sign(data, trade.SIGNED["screening"].namespace)
    verified = verify(voyage, again(voyage, files | {path: data, f"{path}.sig": signed}))
    assert f"the release does not stand: the screening of {at}, which is later: consignee" in sentences(verified, path)
    assert path in named(verified, state)


def test_a_leg_home_by_somebody_whom_the_way_out_does_not_name_is_named(voyage, files):
    path = f"shipments/{HOME}/seal.1/seal.json"
    verified = verify(voyage, resigned(voyage, files, path, "origin"))
    assert "signed by a key that is not among the allowed signers" in sentences(verified, path)
    assert not any("answers" in line for line in verified.holds)


def test_erased_before_the_receipt_or_under_a_hold_is_named(voyage, files):
    path = f"{AT}certificate.1.json"
    early = resigned(voyage, files, path, "dana", begun_at=voyage.text(hours=99))
    assert path in named(verify(voyage, early), "wrong")
    record = trade.SIGNED["certificate"].decode(files[path])
    first = json.loads(files[f"{AT}receipt.1.json"])
    told = msgspec.structs.replace(record.delivery_verified, at=first["at"])
    held = msgspec.structs.replace(record.legal_hold_checked, at=voyage.text(hours=99))
    said = resigned(voyage, files, path, "dana", delivery_verified=told, begun_at=voyage.text(hours=99),
                    legal_hold_checked=held)  # fmt: skip
    assert "might not have been" in sentences(verify(voyage, said), path)
    held = msgspec.structs.replace(record.legal_hold_checked, at=voyage.text(hours=70))
    receipt = trade.SIGNED["receipt"].decode(files[f"{AT}receipt.1.json"])
    first = msgspec.structs.replace(
        record.delivery_verified, receipt=audits.ref(files[f"{AT}receipt.1.json"]), at=receipt.at, group=None
    )  # fmt: skip
    media = msgspec.structs.replace(record.media, serial="SN-7-other")
    early = resigned(voyage, files, path, "dana", delivery_verified=first, begun_at=voyage.text(hours=70), media=media,
                     legal_hold_checked=held)  # fmt: skip
    assert "these groups of the shipment are not verified: 1" in sentences(verify(voyage, early), path)
    media = msgspec.structs.replace(record.media, serial="SN-ELSEWHERE")
    unknown = resigned(voyage, files, path, "dana", media=media)
    verified = verify(
        voyage, unknown
    )  # a spare that held nothing that is needed might be erased, and should be looked at
    assert (
        sentences(verified, path)
        == "SN-ELSEWHERE was erased as a drive of the shipment, and no revision here declares it"
    )
    assert verified.exit_code == 3
    assert any("erased: 0 of 5 drives, and 1 other (SN-ELSEWHERE), each after" in each for each in verified.holds)


def erased_again(voyage, files, log, number=2, **media):
    """Another certificate, of a medium whose log begins with `log`."""
    path = f"{AT}certificate.{number}.json"
    record = trade.SIGNED["certificate"].decode(files[f"{AT}certificate.1.json"])
    record = msgspec.structs.replace(
        record, media=msgspec.structs.replace(record.media, **media), log=audits.ref(log), **(
            {"verification": msgspec.structs.replace(record.verification, of_bytes=media["size_bytes"])}
            if "size_bytes" in media else {}
        ),
    )  # fmt: skip
    data = canonical.encode(record)
    signature = audits.person("dana").sign(data, trade.SIGNED["certificate"].namespace)
    return {path: data, f"{path}.sig": signature, path.replace(".json", ".log.jsonl"): log}


def begun(**fields):
    return msgspec.json.encode({"what": "begun", **fields}) + b"\n"


def test_one_medium_under_two_serial_numbers_is_named_whatever_folders_they_were_in(voyage, files):
    _, sn_a, sn_b, *_ = re.findall(r'serial = "(.*)"', files[f"{AT}declaration.r2.toml"].decode())
    path, log = f"{AT}certificate.2.json", begun(medium="b00t/17", drive="SER0")
    alone = files | erased_again(voyage, files, log, serial=sn_a)
    assert sentences(verify(voyage, again(voyage, alone)), path) == ""
    twice = alone | erased_again(voyage, files, log, number=3, serial=sn_b)
    verified = verify(voyage, again(voyage, twice))
    third = f"{AT}certificate.3.json"
    assert f"{sn_b} is the medium that {path} says is {sn_a}: one of them was not erased" in sentences(verified, third)
    assert verified.exit_code == 5
    for other in (begun(medium="b00t/18", drive="SER0"), begun(medium="else/17", drive="SER0"), begun(), b"[[["):
        apart = alone | erased_again(voyage, files, other, number=3, serial=sn_b)
        assert sentences(verify(voyage, again(voyage, apart)), third) == "", other
    # A loop device is its file, under whatever number the kernel attaches it.
    one, two = (begun(medium=f"b00t/{number}", drive="/srv/a.img") for number in (17, 18))
    loop = files | erased_again(voyage, files, one, serial=sn_a)
    loop |= erased_again(voyage, files, two, number=3, serial=sn_b)
    assert f"{sn_b} is the medium that" in sentences(verify(voyage, again(voyage, loop)), third)


def test_two_media_under_one_serial_number_are_named(voyage, files):
    more = erased_again(voyage, files, begun(), size_bytes=1 << 31)
    verified = verify(voyage, again(voyage, files | more))
    assert "2,147,483,648 bytes, and 1,073,741,824 bytes in" in sentences(verified, f"{AT}certificate.2.json")
    same = erased_again(voyage, files, begun(medium="b00t/3"))
    verified = verify(voyage, again(voyage, files | same))
    assert sentences(verified, f"{AT}certificate.2.json") == ""
    assert any("erased: 1 of 5 drives, each" in each for each in verified.holds), "one drive, of two certificates"


def test_erased_while_a_revision_that_was_released_stated_a_hold_is_named(voyage, files):
    before = files[f"{AT}declaration.r2.toml"]
    held = before.replace(b'legal_hold = "none"', b'legal_hold = "Court of Lisbon, order 12"')
    held = held.replace(b"revision = 2", b"revision = 3")
    held = re.sub(rb'supersedes = "[0-9a-f]{64}"', b'supersedes = "' + trade.digest(before).encode() + b'"', held)
    author = audits.person("author").sign(held, releases.AUTHOR_NAMESPACE)
    record = msgspec.structs.replace(
        releases.decode(files[f"{AT}release.2.json"]), revision=3, released_at=voyage.text(hours=150),
        author_signature=author.decode(),
        declaration=releases.DeclarationBytes(bytes=len(held), blake3=trade.digest(held)),
    )  # fmt: skip
    data = canonical.encode(record)
    more = {f"{AT}declaration.r3.toml": held, f"{AT}declaration.r3.toml.sig": author, f"{AT}release.3.json": data,
            f"{AT}release.3.json.sig": audits.person("officer").sign(data, releases.NAMESPACE)}  # fmt: skip
    verified = verify(voyage, again(voyage, files | more))
    assert "legal hold, in revision 3: Court of Lisbon" in sentences(verified, f"{AT}certificate.1.json")


def test_a_receipt_of_the_origins_own_is_named(voyage, files):
    signers = audits.signers() + f"o@example.com {audits.person('origin').public_key.line}\n".encode()
    changed = resigned(voyage, files, f"{AT}receipt.2.json", "origin")
    verified = stage.verify(b"".join(bundles.encode_bundle(changed)), AllowedSigners.parse(signers), voyage.now)
    assert "the origin cannot receive from itself" in sentences(verified, f"{AT}receipt.2.json")
    assert not any("2 of 2 groups" in line for line in verified.holds)


def of_one_person(name, other):
    """The allowed signers in which the key of `name` is a further key of `other`."""
    return audits.signers().replace(f"{name}@example.com ".encode(), f"{other}@example.com ".encode())


@pytest.mark.long
@pytest.mark.parametrize(("name", "other", "path", "text"), [
    *(("dock", other, "receipt.2.json", "the origin cannot receive from itself")
      for other in ("author", "officer", "origin", "sam", "second")),
    ("dock", "ed", "source-release.1.json", "who received it does not free the source, too"),
    ("ed", "dock", "source-release.1.json", "does not free the source"),
    ("origin", "officer", "seal.1/seal.json", "both sealed and released"),
    ("officer", "author", "release.1.json", "by the allowed signers, the author's"),
    ("second", "sam", "screening.2.json", "the screener's own"),
    ("second", "author", "screening.2.json", "is the declaration's author's"),
])  # fmt: skip
def test_two_keys_of_one_person_are_no_two_people_for_either_reader(voyage, files, tmp_path, name, other, path, text):
    signers = of_one_person(name, other)
    verified = stage.verify(b"".join(bundles.encode_bundle(files)), AllowedSigners.parse(signers), voyage.now)
    assert (verified.exit_code, AT + path in named(verified, "wrong")) == (5, True)
    assert text in sentences(verified, AT + path)
    (tmp_path / "signers").write_bytes(signers)
    assert AT + path in read_by_other(tmp_path / "signers", files, tmp_path)[1]


@pytest.mark.long
@pytest.mark.parametrize(("name", "other"), [
    ("sam", "author"), ("sam", "officer"), ("second", "officer"), ("origin", "author"), ("auditor", "author"),
    ("dana", "dock"), ("trainer", "dock"), ("sam", "origin"),
])  # fmt: skip
def test_a_small_firm_whose_people_do_what_no_rule_keeps_apart_is_whole(voyage, files, tmp_path, name, other):
    """On the way out; who wrote or screened the leg home, too, does not receive that as well."""
    signers = of_one_person(name, other)
    verified = stage.verify(b"".join(bundles.encode_bundle(files)), AllowedSigners.parse(signers), voyage.now)
    assert not [each for each in named(verified) if each.startswith(AT)]
    assert (verified.exit_code == 0) == (name == "auditor" or "origin" not in {name, other})
    (tmp_path / "signers").write_bytes(signers)
    assert read_by_other(tmp_path / "signers", files, tmp_path)[0] == 0


def test_freed_before_everything_was_verified_is_named(voyage, files):
    path = f"{AT}source-release.1.json"
    record = trade.SIGNED["source-release"].decode(files[path])
    early = resigned(voyage, files, path, "ed", at=voyage.text(hours=99))
    assert path in named(verify(voyage, early), "wrong")
    assert "a receipt is later than the release that rests on it" in sentences(verify(voyage, early), path)
    first = files[f"{AT}receipt.1.json"]  # which speaks of group 0 alone
    partial = msgspec.structs.replace(record.receipts[0], receipt=audits.ref(first))
    assert path in named(verify(voyage, resigned(voyage, files, path, "ed", receipts=[partial])), "wrong")


def test_freed_with_a_shortfall_that_the_seal_does_not_state_is_named(voyage, files):
    path = f"{AT}source-release.1.json"
    said = resigned(voyage, files, path, "ed", shortfall=seals.Shortfall(skipped=1, incomplete=0, changed=0, later=0))
    assert "it contradicts the seal that it names" in sentences(verify(voyage, said), path)


def test_freed_though_a_drive_was_lost_is_named(voyage, files):
    """Parity has what it held, and nobody has made it again: the source is the only other copy."""
    path = f"{AT}receipt.2.json"
    groups = trade.SIGNED["receipt"].decode(files[path]).groups
    drives = [groups[1].drives[0], msgspec.structs.replace(groups[1].drives[1], state="lost")]
    lost = resigned(voyage, files, path, "dock",
                    groups=[groups[0], msgspec.structs.replace(groups[1], drives=drives)])  # fmt: skip
    freed = f"{AT}source-release.1.json"
    counted = trade.SIGNED["source-release"].decode(files[freed]).receipts[0]
    counted = msgspec.structs.replace(counted, receipt=audits.ref(lost[path]))
    verified = verify(voyage, resigned(voyage, lost, freed, "ed", receipts=[counted]))
    assert "group 1: not everything that was sent was verified" in sentences(verified, freed)
    assert "is lost" not in sentences(verified, path), "the discrepancy of it was recorded"


def without(files, *patterns):
    return {path: data for path, data in files.items() if not any(re.search(each, path) for each in patterns)}


def test_a_drive_of_which_nobody_says_anything_is_named(voyage, files):
    under_way = again(voyage, without(files, HOME, r"receipt\.2", "source-release", "certificate", "discrepancy"))
    verified = verify(voyage, under_way)
    silent = [each for each in verified.findings if "neither received nor said to be missing" in each.text]
    assert [each.state for each in silent] == ["pending"]  # the other one of group 1 has a discrepancy, settled
    due = again(voyage, without(files, HOME, r"receipt\.2"))
    verified = verify(voyage, due)
    assert {each.state for each in verified.findings if "neither received" in each.text} == {"look"}
    assert f"{AT}source-release.1.json" in named(verified, "missing")
    assert f"{AT}certificate.1.json" in named(verified, "missing")


def carried(voyage, folder, *further):
    """A custody log of which the receipts know nothing: all sealed by the origin, and `further` events."""
    drives = voyage.seals[OUT].declaration.drives
    log = folder / "custody"
    voyage.event(log, OUT, "seal", "origin", "origin", [each.serial for each in drives], "", "S1", hours=5)
    for hours, (kind, first, last, to) in enumerate(further, start=24):
        serials = [each.serial for each in drives[first:last]]
        voyage.event(log, OUT, kind, "origin", to.name.lower(), serials, "S1", "S1", hours=hours, received_by=to)
    return {f"{AT}custody/{path.name}": path.read_bytes() for path in log.iterdir()}


def test_drives_that_were_read_and_by_the_custody_log_never_came_are_named(voyage, files, tmp_path):
    north, dock = (
        custody_event.Party(
            name=name, org=org, id_kind="passport", paper_sha256="",
            key_fingerprint=audits.person(name.lower()).public_key.fingerprint,
        )
        for name, org in (("Anna", "North"), ("Dock", "Consignee Bhd"))
    )  # fmt: skip
    elsewhere = without(files, HOME, "/custody/", "photographs")
    path, serials = f"{AT}receipt.2.json", [each.serial for each in voyage.seals[OUT].declaration.drives]
    road = carried(voyage, tmp_path, ("handover", 0, 2, north), ("handover", 2, 4, dock))
    verified = verify(voyage, again(voyage, elsewhere | road))
    text = "it says that drives were read which by the custody log did not come to the site; there"
    said = {each.text for each in verified.findings if text in each.text}
    assert said == {
        f"{text} Anna (North) has them: {', '.join(serials[:2])}",
        f"{text} Origin (Shipper GmbH) has them: {serials[4]}",
    }
    assert {each.state for each in verified.findings if text in each.text} == {"look"}
    assert {each.file for each in verified.findings if text in each.text} == {path}
    assert verified.exit_code == 3


def test_what_was_made_again_on_another_medium_is_no_drive_that_came_and_accuses_nobody(voyage, files, tmp_path):
    """Its drive was lost on the way, and somebody has said so, or it came later; that nobody has is named."""
    path, serials = f"{AT}receipt.2.json", [each.serial for each in voyage.seals[OUT].declaration.drives]
    groups = trade.SIGNED["receipt"].decode(files[path]).groups
    drives = [groups[1].drives[0], msgspec.structs.replace(groups[1].drives[1], made_on="WD-9")]
    rest = without(files, HOME, "/custody/", "photographs", "source-release", "certificate", r"receipt\.1")
    rest = resigned(voyage, rest, path, "dock", groups=[groups[0], msgspec.structs.replace(groups[1], drives=drives)])

    def said(name, *further):
        log = tmp_path / name
        voyage.event(log, OUT, "seal", "origin", "origin", serials, "", "S1", hours=5)
        voyage.event(log, OUT, "handover", "origin", "dock", serials[:4], "S1", "S1", hours=48)
        for hours, kind, giver in further:
            voyage.event(log, OUT, kind, giver, "dock", serials[4:], "S1", "S1", hours=hours)
        road = {f"{AT}custody/{each.name}": each.read_bytes() for each in log.iterdir()}
        return [each.text for each in verify(voyage, again(voyage, rest | road)).findings if each.state == "look"]

    assert said("told", (49, "discrepancy", "dock")) == [f"as planned: {serials[4]}"], "what was recorded, and no more"
    assert said("late", (110, "handover", "origin")) == []
    (silent,) = said("silent")
    assert silent.startswith(
        f"of drive {serials[4]} only what was made again on another medium was read; by the custody"
    )
    assert silent.endswith("never came to the site, and no discrepancy of it is there")


def test_a_receipt_from_before_the_drives_came_is_named(voyage, files, tmp_path):
    """By two clocks, which may differ by some minutes."""
    path = f"{AT}receipt.2.json"
    rest = without(files, HOME, "/custody/", "photographs", "source-release", "certificate", r"receipt\.1")
    dock = custody_event.Party(
        name="Dock", org="Consignee Bhd", id_kind="passport", paper_sha256="",
        key_fingerprint=audits.person("dock").public_key.fingerprint,
    )  # fmt: skip
    ann = msgspec.structs.replace(dock, name="Ann", key_fingerprint=audits.person("anna").public_key.fingerprint)
    text = "it says that drives were read at {}, and by the custody log they came to the site at {}"
    for to, sealed, minutes, early in (
        (dock, -60, 0, False), (dock, -60, 1, False), (dock, 1, 10, False), (dock, 1, 11, True), (dock, -60, 11, True),
        (ann, 1, 2, False), (ann, -60, 10, False), (ann, -60, 11, True),
    ):  # fmt: skip
        log = tmp_path / f"{to.name}{sealed}{minutes}"
        drives = [each.serial for each in voyage.seals[OUT].declaration.drives]
        home = voyage.at(hours=100, minutes=sealed).strftime(receipts.TIME)
        voyage.event(log, OUT, "seal", "origin", "origin", drives, "", "S1", hours=5, at_utc=home)
        by = "dock" if to is dock else "anna"
        at = voyage.at(hours=100, minutes=minutes).strftime(receipts.TIME)
        voyage.event(log, OUT, "arrive", "origin", by, drives, "S1", "S1", hours=6, received_by=to, at_utc=at)
        road = {f"{AT}custody/{each.name}": each.read_bytes() for each in log.iterdir()}
        verified = verify(voyage, again(voyage, rest | road))
        said = [each for each in verified.findings if text.format(voyage.text(hours=100), at) in each.text]
        assert [(each.file, each.state) for each in said] == [(path, "look")] * early, (to.name, sealed, minutes)
        assert verified.exit_code == (3 if early else 0)


def test_drives_that_have_travelled_without_a_custody_log_are_no_matter_of_course(voyage, files):
    beneath = f"{AT}custody/"
    cut = without(files, "/custody/", "photographs", "discrepancy")
    verified = verify(voyage, again(voyage, cut))
    assert verified.exit_code == 3
    assert sentences(verified, beneath) == (
        "no custody log is here, and by receipt.1.json, receipt.2.json, certificate.1.json the drives have travelled"
    )
    home = without(cut, "receipt", "certificate", "source-release", "reports")
    assert beneath in named(verify(voyage, again(voyage, home)), "pending")


def test_what_is_bound_and_not_here_is_missing_and_what_is_not_due_is_no_fault(voyage, files):
    cut = again(voyage, without(files, HOME, r"rules\.1", r"screening\.1"))
    verified = verify(voyage, cut)
    assert verified.exit_code == 6
    assert named(verified, "missing") >= {f"{AT}release.1.json", f"{AT}release.2.json"}
    assert "rules by which it was released" in sentences(verified, f"{AT}release.1.json")
    alone = again(voyage, without(files, OUT))  # the leg home without the way out
    assert f"shipments/{HOME}/seal.1/seal.json" in named(verify(voyage, alone), "missing")


@pytest.mark.parametrize(("taken", "pending"), [
    (r"seal\.1/|custody|receipt|release|certificate|manifest|keys|screening|rules|reports|photographs|lists|r2|r1\.",
     None),
    (r"custody|receipt|source-release|certificate|manifest|reports|photographs",
     {f"{AT}custody/", f"{AT}receipt.1.json", f"{AT}seal.1/seal.json"}),
])  # fmt: skip
def test_a_shipment_under_way_is_verified_too(voyage, files, taken, pending):
    if pending is None:  # nothing but a draft
        draft = {f"{AT}declaration.toml": files[f"{AT}declaration.r1.toml"]}
        kept = {path: data for path, data in files.items() if path in {bundles.OPEN_ME, bundles.SIGNERS}}
        verified = verify(voyage, again(voyage, kept | draft))
        assert named(verified, "pending") >= {f"{AT}release.1.json", f"{AT}seal.1/seal.json", f"{AT}custody/"}
    else:
        verified = verify(voyage, again(voyage, without(files, HOME, taken)))
        assert named(verified, "pending") == pending
    assert verified.exit_code == 0, verified.findings


# --- collecting


def collected(*papers):
    return audit_collect.sort([str(each) for each in papers])


def test_what_lies_beside_a_declaration_is_found_by_its_name(voyage):
    found = collected(voyage.folder / f"{OUT}.toml").files
    names = {path.removeprefix(AT) for path in found}
    assert {"declaration.r1.toml", "declaration.r2.toml", "release.1.json", "release.2.json.sig", "screening.2.json",
            "screening.2.json.second.sig", "keys.2.json", "source-release.1.json", "rules.1.toml"} <= names  # fmt: skip
    assert not any("seal" in name or "custody" in name for name in names)


def test_of_a_state_folder_the_records_alone_are_looked_at(voyage, tmp_path):
    """A journal and lists of files are not papers that somebody forgot to look at."""
    state = tmp_path / "state"
    (state / "scan").mkdir(parents=True)
    for name in ("journal.sqlite", "journal.sqlite-wal", "lock", "scan/summary.json", "scan/g0000001.parquet"):
        (state / name).write_bytes(b'{"files": 3}\n')
    (path,) = (Path(each) for each in voyage.papers if each.endswith(f"{OUT}.toml"))
    found = audit_collect.sort([str(path), str(state)])
    assert found.left_out == []
    manifest = next(data for name, data in made_files(voyage).items() if name.endswith("manifest.1.json"))
    (state / "groups/0000/closed").mkdir(parents=True)
    (state / "groups/0000/closed/manifest.json").write_bytes(manifest)
    assert f"{AT}manifest.1.json" in audit_collect.sort([str(path), str(state)]).files
    (state / "journal.sqlite").unlink()
    assert len(audit_collect.sort([str(path), str(state)]).left_out) == 4


def made_files(voyage):
    return audit_collect.sort(voyage.papers).files


def test_a_file_that_is_of_no_use_is_refused_where_it_is_named_and_left_out_where_it_is_found(voyage, tmp_path):
    odd = tmp_path / "odd.txt"
    odd.write_text("nothing")
    main = voyage.folder / f"{OUT}.toml"
    with pytest.raises(BadInput, match=r"odd\.txt: of no kind"):
        collected(main, odd)
    with pytest.raises(BadInput, match="no such file"):
        collected(main, tmp_path / "gone")
    with pytest.raises(BadInput, match="no declaration"):
        collected(voyage.folder / "custody")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "odd.txt")
    (tmp_path / "broken.json").write_bytes(b'{\n  "type": "sealift-receipt",\n  "version": 9\n}\n')
    found = collected(main, tmp_path)
    assert [Path(line.partition(": ")[0]).name for line in found.left_out] == ["broken.json", "odd.txt"]
    assert found.files == collected(main).files


def test_records_of_another_consignment_are_not_taken(voyage):
    found = collected(voyage.folder / f"{HOME}.toml", voyage.folder / "custody")
    assert all(path.startswith(f"shipments/{HOME}/") for path in found.files)
    assert any("its declaration is not here" in line for line in found.left_out)


def test_two_drafts_want_a_name(voyage, tmp_path):
    text = (voyage.folder / f"{OUT}.r1.toml").read_text()
    (tmp_path / "a.toml").write_text(text)
    (tmp_path / "b.toml").write_text(text + "# another\n")
    with pytest.raises(BadInput, match="are different declarations, and both would be"):
        collected(tmp_path / "a.toml", tmp_path / "b.toml")
    found = collected(tmp_path / "b.toml", tmp_path)
    assert found.files[f"{AT}declaration.toml"].endswith(b"# another\n")
    assert found.left_out


def test_papers_come_along(voyage, tmp_path):
    (tmp_path / f"{OUT}-packing-list.pdf").write_bytes(b"%PDF-1.7\n")
    (tmp_path / f"{OUT}-ata-general-list.csv").write_text("a,b\n")
    (tmp_path / "other.csv").write_text("a,b\n")
    found = collected(voyage.folder / f"{OUT}.toml", tmp_path)
    assert {path for path in found.files if path.startswith("papers/")} == {
        f"papers/{OUT}-packing-list.pdf", f"papers/{OUT}-ata-general-list.csv",
    }  # fmt: skip
    assert len(found.left_out) == 1


def test_nothing_is_written_over_and_only_who_may_signs(voyage, tmp_path):
    (tmp_path / "x").write_text("mine")
    arguments = (str(voyage.signers), voyage.allowed, voyage.now)
    with pytest.raises(BadInput, match="there already"):
        stage.make(voyage.papers, str(tmp_path / "x"), audits.person("auditor"), *arguments)
    assert (tmp_path / "x").read_text() == "mine"
    with pytest.raises(SignatureInvalid, match="do not let this key sign a bundle"):
        stage.make(voyage.papers, str(tmp_path / "y"), audits.person("officer"), *arguments)
    assert not (tmp_path / "y").exists()


def test_a_log_beyond_its_limits_is_named_and_not_judged(voyage, files, monkeypatch):
    monkeypatch.setattr(custody_event, "MAX_COUNT", 5)
    assert f"{AT}custody/" in named(verify(voyage, files), "wrong")


# --- the archive


@pytest.mark.long
def test_no_byte_of_the_archive_itself_may_change(voyage, made):
    data = Path(made.path).read_bytes()
    files = bundles.decode_bundle(data)
    last = list(files)[-1]
    for at in [*range(0, 512, 3), *range(len(data) - 1600, len(data), 7)]:
        changed = flipped(data, at)
        try:
            verified = stage.verify(changed, voyage.allowed, voyage.now)
        except FormatError:
            continue
        assert last in named(verified, "wrong"), at  # not in a header, padding or the end: in the last file


def test_an_archive_that_is_none_is_refused(voyage, made, tmp_path):
    data = Path(made.path).read_bytes()
    header = bundles.header(bundles.OPEN_ME, 0)
    link = bytearray(bundles.header("signers", 0))
    link[156:157] = b"2"
    twice = bundles.header("signers", 0) * 2
    for odd in (
        b"", b"\0" * 512, header, data[:-1], data + b"\0", data[:5000], bytes(link) + bytes(1024), twice + bytes(1024),
        bundles.header("signers", 0).replace(b"signers\0", b"../sign\0") + bytes(1024),
        bundles.header("signers", 1 << 30) + bytes(1024), bundles.header("x" * 90, 0) + bytes(1024),
        bundles.header("signers", 0) + bundles.header("B3SUMS", 0) + bytes(1024),
    ):  # fmt: skip
        with pytest.raises(FormatError):
            bundles.decode_bundle(odd)
        (tmp_path / "x").write_bytes(odd)
        with pytest.raises(Refused):
            stage.verify_file(str(tmp_path / "x"), voyage.allowed, voyage.now)
    with pytest.raises(BadInput):
        stage.verify_file(str(tmp_path), voyage.allowed, voyage.now)


def test_who_packed_it_again_is_told_what_to_do_and_not_that_it_was_altered(voyage, made, files, tmp_path):
    folder = tmp_path / "unpacked"
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    names = sorted(each.name for each in folder.iterdir())
    subprocess.run(["tar", "--format=ustar", "-cf", "../again.tar", *names], cwd=folder, check=True)
    with pytest.raises(Refused) as caught:
        stage.verify_file(str(tmp_path / "again.tar"), voyage.allowed, voyage.now)
    assert "packed the files again, which is no fault" in caught.value.hint
    assert "OPEN-ME.txt" in caught.value.hint
    (tmp_path / "bundle.tar.gz").write_bytes(gzip.compress(Path(made.path).read_bytes(), 1))
    with pytest.raises(Refused, match=r"bundle\.tar\.gz is compressed by gzip") as caught:
        stage.verify_file(str(tmp_path / "bundle.tar.gz"), voyage.allowed, voyage.now)
    assert caught.value.hint == "uncompress it with gzip -d first"


_CHANGE = st.tuples(
    st.integers(0, 1 << 16), st.integers(0, 1 << 16), st.sampled_from(["other", "cut", "bytes", "gone"]),
    st.binary(max_size=200),
)  # fmt: skip


@pytest.mark.long
@given(st.lists(_CHANGE, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_in_an_archive_it_is_judged_or_refused(voyage, files, changes):
    """Files of any kind with bytes of any other, in an index made anew."""
    paths = [path for path in files if path not in bundles.FIRST]
    changed = dict(files)
    for one, two, what, drawn in changes:
        path = paths[one % len(paths)]
        if what == "gone":
            changed.pop(path, None)
        elif what == "other":
            changed[path] = files[paths[two % len(paths)]]
        else:
            changed[path] = drawn if what == "bytes" else files[path][: two % (len(files[path]) + 1)]
    with contextlib.suppress(FormatError):  # a file that is longer than its kind may be
        assert verify(voyage, again(voyage, changed)).exit_code in {0, 3, 5, 6}
