"""sealift keys from the outside: challenge, answer with sealift and with age alone, check; a kill at any instant."""

import json
import os
import shutil
import signal
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import npm_age
import pytest
from click.testing import CliRunner
from keys_cases import ALLOWED, DAY, HOLDERS, LINES, RECORDER, identity
from msgspec.structs import replace
from trade_cases import AUTHOR, OFFICER, STRANGER, content

from sealift.cli.keys import keys as command
from sealift.errors import AgeError, BadInput, FormatError, IdentityMismatch, KeyInvalid, Refused, SignatureInvalid
from sealift.formats import age_keys
from sealift.stages import keys as stage
from sealift.trade import key_sample, sections, template
from sealift.trade import keys as records
from sealift.trade.signing import Signer

SIGN = ("--sign-with", "recorder", "--by", "R. Recorder")
SIGNERS = ("--allowed-signers", "allowed")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEALIFT_ALLOWED_SIGNERS", raising=False)
    (tmp_path / "allowed").write_text(LINES)
    declare(*HOLDERS)
    people = {"recorder": RECORDER, "officer": OFFICER, "stranger": STRANGER}
    monkeypatch.setattr(Signer, "open", lambda path: people[path])
    return tmp_path


def run(*args, code=0):
    result = CliRunner().invoke(command, [os.fspath(each) for each in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def keygen(folder, name):
    subprocess.run(["age-keygen", "-o", f"{name}.txt"], cwd=folder, check=True, capture_output=True)
    done = subprocess.run(["age-keygen", "-y", f"{name}.txt"], cwd=folder, check=True, capture_output=True, text=True)
    return f"{name}=" + done.stdout.strip()


def ssh_keygen(folder, name):
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "a comment", "-f", f"{name}.txt"]
    subprocess.run(command, cwd=folder, check=True)
    return f"{name}=" + (folder / f"{name}.txt.pub").read_text()


def declare(*recipients, file="d.toml", **changes):
    """Recipients as NAME=KEY, or holders, into a declaration."""
    rows = [
        sections.KeyHolder(name=each.name, organisation=each.organisation, recipient=each.recipient)
        if isinstance(each, records.Holder)
        else sections.KeyHolder(name=each.partition("=")[0], recipient=each.partition("=")[2].strip())
        for each in recipients
    ]
    encryption = replace(content().encryption, recipients=rows)
    Path(file).write_text(template.render(content(encryption=encryption, **changes)))


def challenged(*recipients, more=()):
    declare(*recipients)
    return json.loads(run("challenge", "d.toml", "--to", "out", *SIGN, *more, "--json").stdout)


def by_age(folder, sample, name):
    """What `age -d` prints."""
    return subprocess.run(
        ["age", "-d", "-i", f"{name}.txt", sample], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


needs_age = pytest.mark.skipif(
    not (shutil.which("age") and shutil.which("age-keygen")) and "CI" not in os.environ, reason="age is not here"
)


@needs_age
def test_one_answers_with_sealift_and_one_with_age_alone(folder):
    answer = challenged(keygen(folder, "Anna"), ssh_keygen(folder, "Bo"), more=SIGNERS)
    assert [each["name"] for each in answer["samples"]] == ["Anna", "Bo"]
    assert answer["superseded"] is None
    anna, bo = (each["sample"] for each in answer["samples"])
    told = run("check", "d.toml", *SIGNERS, code=5).stderr
    assert "Anna: 1 sample, no answer" in told
    assert "Bo: has not answered the sample of " in told

    printed = by_age(folder, bo, "Bo")
    assert "sealift keys answer THIS-FILE --identity YOUR-KEY" in printed
    assert "read it out\nover the telephone" in printed
    (line,) = [line for line in printed.splitlines() if line.startswith("code:")]
    told = run("answer", anna, "--identity", "Anna.txt")
    assert told.stdout == ""
    assert "your key is the right one for Anna, consignment SL-2026-4F7K2Q" in told.stderr
    back = anna.removesuffix(".age") + ".answer.json"
    assert f"send back {back}" in told.stderr
    assert "was there already" in run("answer", anna, "--identity", "Anna.txt").stderr

    spoken = line.lower().replace("-", " ")
    first = json.loads(run("check", "d.toml", "--answer", back, *SIGN, "--json", code=5).stdout)
    assert [(each["name"], each["refused"]) for each in first["answers"]] == [("Anna", None)]
    assert [each["passed"] is not None for each in first["recipients"]] == [True, False]
    assert [each["where"] for each in first["problems"]] == ["Bo"]
    second = json.loads(run("check", "d.toml", "--spoken", spoken, *SIGN, *SIGNERS, "--json").stdout)
    assert second["clear"]
    assert second["superseded"] == "d.keys.2.json"
    assert "nothing about keys holds the release" in run("check", "d.toml", *SIGNERS).stderr
    assert sorted(name for name in os.listdir(folder) if "keys" in name) == [
        "d.keys.1.json", "d.keys.1.json.sig", "d.keys.2.json", "d.keys.2.json.sig", "d.keys.json", "d.keys.json.sig",
    ]  # fmt: skip
    again = run("check", "d.toml", "--answer", back, *SIGN).stderr
    assert "and counts once" in again
    assert "signed by" not in again, "nothing was written"


@needs_age
def test_the_signature_is_one_that_ssh_keygen_verifies(folder):
    challenged(keygen(folder, "Anna"))
    command = "ssh-keygen -Y verify -f allowed -I recorder@example.com -n sealift-keys -s d.keys.json.sig <d.keys.json"
    done = subprocess.run(command, shell=True, cwd=folder, check=False, capture_output=True, text=True)
    assert "Good " in done.stdout, done.stderr


def test_post_quantum_recipients_answer_with_ours_and_with_the_other_implementation(folder):
    ((made),) = npm_age.ask([npm_age.keygen()])
    secret, public = made["identity"], made["recipient"]
    ours, own = age_keys.generate_hybrid_identity()
    (folder / "own.txt").write_text(ours)
    samples = challenged(f"Npm={public}", f"Own={own}")["samples"]
    data = Path(samples[0]["sample"]).read_bytes()
    ((opened),) = npm_age.ask([npm_age.decrypt([secret], data)])
    import base64

    text = base64.b64decode(opened["data"]).decode()
    code = next(line for line in text.splitlines() if line.startswith("code:"))
    run("answer", samples[1]["sample"], "--identity", "own.txt", "--out", "own.json")
    assert json.loads(run("check", "d.toml", "--spoken", code, "--answer", "own.json", *SIGN, "--json").stdout)["clear"]


def test_answering_needs_nothing_of_the_origin(folder, tmp_path_factory):
    (folder / "key.txt").write_text(_secret(1))
    (sample,) = challenged(f"Anna={HOLDERS[0].recipient}")["samples"]
    elsewhere = tmp_path_factory.mktemp("destination")
    shutil.copy(sample["sample"], elsewhere / "received.age")
    os.chmod(elsewhere / "received.age", 0o400)
    answer = json.loads(run("answer", elsewhere / "received.age", "--identity", "key.txt", "--json").stdout)
    assert answer["answer"] == str(elsewhere / "received.answer.json")
    assert key_sample.decode_answer(Path(answer["answer"]).read_bytes()).code == answer["code"]


def _secret(number):
    return age_keys._bech32_encode("age-secret-key-", bytes([number]) * 32).upper() + "\n"


@pytest.fixture
def opened(folder):
    """Two samples that were sent, and the key file of each."""
    for number in (1, 2):
        (folder / f"{number}.txt").write_text(_secret(number))
    samples = challenged(*(f"Person {n}={identity(n).recipient}" for n in (1, 2)))["samples"]
    return [each["sample"] for each in samples]


def test_what_cannot_be_opened_says_why(folder, opened):
    with pytest.raises(IdentityMismatch, match="sealed for another key") as caught:
        run("answer", opened[0], "--identity", "2.txt")
    assert caught.value.hint
    data = (folder / opened[0]).read_bytes()
    for broken in (b"", b"not age", data[:-1], data + b"\0", data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]):
        (folder / "x.age").write_bytes(broken)
        with pytest.raises(AgeError, match=r"x\.age: ") as caught:
            run("answer", "x.age", "--identity", "1.txt")
        assert caught.value.hint
    (folder / "x.age").write_bytes(bytes(key_sample.MAX_SAMPLE + 1))
    with pytest.raises(BadInput, match="longer than 65,536"):
        run("answer", "x.age", "--identity", "1.txt")
    from sealift.formats import age

    (folder / "x.age").write_bytes(age.encrypt(b"something else", [identity(1).recipient]))
    with pytest.raises(FormatError, match=r"x\.age: what was opened is no sample"):
        run("answer", "x.age", "--identity", "1.txt")
    os.remove("x.age")
    os.mkfifo("x.age")
    with pytest.raises(BadInput, match="not a regular file"):
        run("answer", "x.age", "--identity", "1.txt")
    assert not [name for name in os.listdir() if "answer" in name]


def test_an_answer_takes_no_files_place(folder, opened):
    (folder / "mine.json").write_text("mine")
    with pytest.raises(BadInput, match="is there already"):
        run("answer", opened[0], "--identity", "1.txt", "--out", "mine.json")
    assert (folder / "mine.json").read_text() == "mine"
    with pytest.raises(BadInput, match="absent"):
        run("answer", opened[0], "--identity", "1.txt", "--out", "absent/a.json")
    with pytest.raises(BadInput, match=r"--to d\.toml: ") as caught:
        run("challenge", "d.toml", "--to", "d.toml", *SIGN)
    assert caught.value.hint


def test_refused_answers_are_told_and_right_ones_kept(folder, opened):
    for number, sample in enumerate(opened, start=1):
        run("answer", sample, "--identity", f"{number}.txt", "--out", f"{number}.json")
    good, text = (folder / "1.json").read_text(), (folder / "2.json").read_text()
    code = json.loads(good)["code"]
    (folder / "swapped.json").write_text(text.replace(json.loads(text)["code"], code))
    args = ("--answer", "swapped.json", "--answer", "1.json", "--spoken", key_sample.new_code())
    told = run("check", "d.toml", *args, *SIGN, code=5).stderr
    assert "refused: swapped.json: its code is that of another sample, the one for Person 1" in told
    assert "passed: 1.json: Person 1 opened KC-" in told
    assert "it is the code of no sample of this record" in told
    assert "this holds the release:\n  Person 2: has not answered" in told
    (folder / "cut.json").write_text(text[:-2])
    before = sorted(os.listdir(folder))
    with pytest.raises(BadInput, match=r"answer cut\.json: ") as caught:
        run("check", "d.toml", "--answer", "2.json", "--answer", "cut.json", *SIGN)
    assert caught.value.hint
    with pytest.raises(BadInput, match="misheard"):
        run("check", "d.toml", "--spoken", code[:-1] + ("A" if code[-1] != "A" else "B"), *SIGN)
    assert sorted(os.listdir(folder)) == before


def test_one_recipient_and_somebody_who_accepts_it(folder):
    (folder / "1.txt").write_text(_secret(1))
    (sample,) = challenged(f"Anna={HOLDERS[0].recipient}")["samples"]
    run("answer", sample["sample"], "--identity", "1.txt", "--out", "1.json")
    told = run("check", "d.toml", "--answer", "1.json", *SIGN, code=5).stderr
    assert "who loses the only key has lost the data" in told
    (folder / "allowed").write_text(LINES + f"officer@example.com {OFFICER.public_key.line}\n")
    accept = ("--waive-second", "a copy is in the safe", "--sign-with", "officer", "--by", "Olu Officer")
    with pytest.raises(Refused, match="another key signed it, and no allowed signers are given"):
        run("check", "d.toml", *accept, code=5)
    answer = json.loads(run("check", "d.toml", *accept, *SIGNERS, "--json").stdout)
    assert answer["clear"]
    assert answer["waiver"]["accepted_by"] == "Olu Officer"
    again = run("check", "d.toml", "--answer", "1.json", *accept, *SIGNERS)
    assert "not counted again: 1.json: it was recorded at" in again.stderr
    assert "nothing about keys holds the release" in again.stderr
    altered = json.loads((folder / "1.json").read_text()) | {"code": key_sample.new_code()}
    (folder / "2.json").write_text(json.dumps(altered, indent=2) + "\n")
    assert "refused: 2.json: its code is wrong" in run(
        "check", "d.toml", "--answer", "2.json", *accept, *SIGNERS, code=5
    ).stderr  # fmt: skip
    assert "Olu Officer accepts that: a copy is in the safe" in run("check", "d.toml", *SIGNERS).stderr


def test_the_author_accepts_nothing_alone_with_another_key_under_another_name(folder):
    (folder / "1.txt").write_text(_secret(1))
    (sample,) = challenged(f"Anna={HOLDERS[0].recipient}")["samples"]
    run("answer", sample["sample"], "--identity", "1.txt", "--out", "1.json")
    accept = (
        "check",
        "d.toml",
        "--answer",
        "1.json",
        "--waive-second",
        "fine",
        "--sign-with",
        "officer",
        "--by",
        "X. Foo",
    )
    for principal in ("author@example.com", "dana@example.com"):
        known = f"dana@example.com {AUTHOR.public_key.line}\n{principal} {OFFICER.public_key.line}\n"
        (folder / "allowed").write_text(LINES + known)
        with pytest.raises(Refused, match="the author alone does not accept"):
            run(*accept, *SIGNERS)
    assert json.loads((folder / "d.keys.json").read_text())["waiver"] is None


def test_the_same_command_by_a_clock_that_is_right_supersedes_what_one_made_that_was_ahead(folder):
    stage.challenge("d.toml", "out", RECORDER, by="R", now=datetime.now(UTC) + 2 * DAY)
    assert "challenge again by a clock that is right" in run("check", "d.toml", *SIGNERS, code=5).stderr
    ahead = Path("d.keys.json").read_bytes()
    told = run("challenge", "d.toml", "--to", "again", *SIGN).stderr
    assert "one of the clocks was wrong" in told
    assert "samples (2) and answers (0)" in told
    assert Path("d.keys.1.json").read_bytes() == ahead, "it is kept"
    answers = [arg for each in sorted(Path("again").iterdir()) for arg in ("--answer", stage.answer(
        os.fspath(each), [identity(1), identity(2)]).path)]  # fmt: skip
    assert "one of the clocks" not in run("check", "d.toml", *answers, *SIGN).stderr
    assert "nothing about keys holds the release" in run("check", "d.toml", *SIGNERS).stderr


def test_another_consignment_and_no_record(folder, opened):
    (folder / "e.toml").write_text(template.render(content(consignment_id="SL-2026-OTHER7")))
    with pytest.raises(BadInput, match="nobody was sent a sample yet") as caught:
        run("check", "e.toml", "--spoken", key_sample.new_code(), *SIGN)
    assert caught.value.hint
    told = json.loads(run("check", "e.toml", *SIGNERS, "--json", code=5).stdout)
    assert told["problems"] == [{"kind": "missing", "where": "", "reason": "nobody was sent a sample to open"}]
    shutil.copy("d.keys.json", "e.keys.json")
    shutil.copy("d.keys.json.sig", "e.keys.json.sig")
    assert run("check", "e.toml", *SIGNERS, code=5).stderr.count("of another consignment, SL-2026-4F7K2Q") == 1
    for args in (
        ("check", "e.toml", "--spoken", key_sample.new_code()),
        ("challenge", "e.toml", "--to", "out"),
    ):
        with pytest.raises(Refused, match="of another consignment"):
            run(*args, *SIGN)


def test_a_record_that_was_altered_or_signed_by_others_is_not_followed(folder, opened):
    challenge = ("challenge", "d.toml", "--to", "out", *SIGN)
    data = (folder / "d.keys.json").read_bytes()
    (folder / "d.keys.json").write_bytes(data.replace(b"Person 1", b"Person 9"))
    with pytest.raises(SignatureInvalid):
        run("check", "d.toml", *SIGNERS)
    for args in (challenge, ("check", "d.toml", "--spoken", key_sample.new_code(), *SIGN)):
        with pytest.raises(Refused) as caught:
            run(*args)
        assert "move it away" in caught.value.hint
    (folder / "d.keys.json").write_bytes(data[:-1])
    for args in (challenge, ("check", "d.toml", *SIGNERS)):
        with pytest.raises(FormatError, match=r"d\.keys\.json: ") as caught:
            run(*args)
        assert "challenge anew" in caught.value.hint
    (folder / "d.keys.json").write_bytes(data)
    os.rename("d.keys.json.sig", "away")
    with pytest.raises(SignatureInvalid, match="there is no signature beside it"):
        run("check", "d.toml", *SIGNERS)
    with pytest.raises(Refused, match="there is no signature beside it"):
        run(*challenge)
    os.rename("away", "d.keys.json.sig")
    assert sorted(os.listdir(folder / "out")) == sorted(os.path.basename(each) for each in opened)
    with pytest.raises(SignatureInvalid):  # a key that no gate will accept is told when it signs
        run(*challenge[:-4], "--sign-with", "stranger", "--by", "S", *SIGNERS)
    assert (folder / "d.keys.json").read_bytes() == data


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("challenge", "d.toml", "--to", "out", *SIGN[:3], " "), "by: "),
        (("challenge", "x.toml", "--to", "out", *SIGN), "x.toml: No such"),
        (("check", "d.toml", "--spoken", "abc", *SIGN), "a code has 24 letters"),
        (("check", "d.toml", "--spoken", "abc"), "a named person signs"),
        (("check", "d.toml", "--answer", "a", "--by", "x"), "a named person signs"),
        (("check", "d.toml", *SIGN, *SIGNERS), "a named person signs"),
        (("check", "d.toml", "--by", "x", *SIGNERS), "a named person signs"),
        (("check", "d.toml", "--answer", "absent", *SIGN), "answer absent: No such"),
        (("check", "d.toml"), "no allowed signers are given"),
        (("answer", "absent.age", "--identity", "allowed"), "identity file allowed"),
    ],
)
def test_wrong_use_writes_nothing(folder, args, why):
    before = sorted(os.listdir(folder))
    with pytest.raises((BadInput, KeyInvalid), match=why):
        run(*args)
    assert sorted(set(os.listdir(folder)) - {"out"}) == before
    assert not (folder / "out").exists() or not os.listdir(folder / "out")


# --- kill -9


def killed(work, after):
    """Run `work` in a child that dies at its file operation number `after`; True if it came to its end before."""
    child = os.fork()
    if child == 0:
        left = [after]

        def dying(call):
            def counted(*args, **kwargs):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **kwargs)

            return counted

        try:
            for name in ("fsync", "replace", "link", "rename", "unlink", "makedirs"):
                setattr(os, name, dying(getattr(os, name)))
            work()
        except BaseException:  # noqa: BLE001 -- the child must end here, whatever it is
            os._exit(3)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    assert os.WEXITSTATUS(status) == 0
    return True


NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def challenge(now=NOW):
    return stage.challenge("d.toml", "out", RECORDER, by="R", now=now)


def seen(folder):
    """Every sample that somebody might send."""
    return sorted((folder / "out").glob("*.sample.age")) if (folder / "out").exists() else []


@pytest.mark.long
def test_killed_at_any_instant_every_sample_that_is_seen_can_be_answered(folder):
    for after in range(1, 1000):
        for name in os.listdir(folder):
            if name.startswith("d.keys") or name == "out":
                shutil.rmtree(name) if name == "out" else os.remove(name)
        rounds = after % 3  # nothing there, one record, two
        for number in range(rounds):
            challenge(NOW - (2 - number) * DAY)
        sent = seen(folder)
        whole = killed(challenge, after // 3 + 1)
        there = seen(folder)
        assert set(sent) <= set(there)
        if rounds or there:
            assert stage.load_checked("d.toml", ALLOWED) is not None
        result = challenge(NOW + DAY)  # the same command again
        assert len(result.samples) == 2
        for sample in seen(folder):
            answer = key_sample.unseal(sample.read_bytes(), [identity(1), identity(2)]).answer
            given = [records.Given("x", answer)]
            found = stage.check("d.toml", given, RECORDER, by="R", now=NOW + 2 * DAY)
            assert found.outcomes[0].refused == "", sample
        assert stage.standing("d.toml", ALLOWED, now=NOW + 2 * DAY)[0] == []
        if whole and after % 3 == 2:
            break
    assert after > 60, "it died in many places"


@pytest.mark.long
def test_killed_while_an_answer_is_recorded_the_same_command_goes_on(folder):
    first = challenge()
    answers = [
        key_sample.unseal(Path(each[2]).read_bytes(), [identity(1), identity(2)]).answer for each in first.samples
    ]
    given = [records.Given(each.name, each) for each in answers]
    kept = {name: (folder / name).read_bytes() for name in ("d.keys.json", "d.keys.json.sig")}

    def record():
        return stage.check("d.toml", given, RECORDER, by="R", now=NOW)

    for after in range(1, 100):
        for name in [name for name in os.listdir(folder) if name.startswith("d.keys")]:
            os.remove(name)
        for name, data in kept.items():
            (folder / name).write_bytes(data)
        whole = killed(record, after)
        assert stage.load_checked("d.toml", ALLOWED) is not None, "at any instant the gate reads a record"
        record()
        assert stage.standing("d.toml", ALLOWED, now=NOW)[0] == []
        chain = [records.decode(path.read_bytes()) for path in sorted(folder.glob("d.keys*.json"))]
        assert [each.supersedes is None for each in chain] == [True, False], "the old record is kept once"
        if whole:
            break
    assert after > 10


def test_a_kept_record_with_a_foreign_signature_helps_nobody(folder):
    challenge()
    data = (folder / "d.keys.json").read_bytes()
    (folder / "d.keys.1.json").write_bytes(data)
    (folder / "d.keys.1.json.sig").write_bytes(STRANGER.sign(data, records.NAMESPACE))
    (folder / "d.keys.json.sig").write_bytes(b"x")
    with pytest.raises(SignatureInvalid):
        stage.load_checked("d.toml", ALLOWED)
    with pytest.raises(Refused):
        challenge()


def test_what_is_kept_is_never_written_over(folder):
    challenge()
    for name in ("d.keys.1.json", "d.keys.2.json.sig"):
        (folder / name).write_bytes(b"of somebody else")
    result = challenge(NOW + DAY)
    assert result.superseded == "d.keys.3.json"
    assert {(folder / name).read_bytes() for name in ("d.keys.1.json", "d.keys.2.json.sig")} == {b"of somebody else"}
    assert stage.load_checked("d.toml", ALLOWED).record == result.record
