"""The leg home: packed only as the outbound seal allows, bound to it, and read like any other shipment."""

import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import msgspec
import pytest
import shipments
from blake3 import blake3
from voyages_home import HOME, OUT, Voyage

from sealift.cli.main import run as sealift
from sealift.errors import BadInput, KeyInvalid, Refused, SealInvalid, SignatureInvalid
from sealift.formats import age, age_keys, provenance
from sealift.formats import manifest as mf
from sealift.formats import seal as seals
from sealift.reading import trust
from sealift.stages import inspect, unpack


@pytest.fixture(scope="module")
def sailed(tmp_path_factory):
    """A voyage whose answer is packed and sealed; tests change nothing of it."""
    voyage = Voyage(tmp_path_factory.mktemp("voyage"))
    voyage.before = shipments.picture(voyage.checkpoint)
    voyage.packed = voyage.pack()
    voyage.answer = voyage.seal(voyage.home)
    return voyage


@pytest.fixture
def voyage(tmp_path):
    return Voyage(tmp_path)


def on_drives(voyage):
    return [shipments.picture(mount) for mount in voyage.home.mounts]


def refused(voyage, kind, *words, **changes):
    before = on_drives(voyage)
    with pytest.raises(kind) as caught:
        voyage.pack(**changes)
    assert type(caught.value) is kind
    assert all(word in f"{caught.value} {caught.value.hint}" for word in words), (caught.value, caught.value.hint)
    assert caught.value.hint
    assert on_drives(voyage) == before, "something was written"


# --- what is bound


def test_the_outbound_seal_names_who_may_answer_it(sailed):
    seal = sailed.open_seal(sailed.seal_file).seal
    assert seal.return_.recipients == [sailed.out.recipient]
    assert [(each.principal, each.key) for each in seal.return_.signers] == [
        ("trainer@example.com", sailed.home.signer.public_key.line)
    ]
    assert not seal.in_reply_to


def test_the_answer_binds_the_outbound_seal_in_manifest_seal_and_text(sailed):
    raw = trust.load_seal(sailed.seal_file)[mf.SEAL_FILES[0]]
    wanted = mf.InReplyTo(
        shipment=sailed.open_seal(sailed.seal_file).seal.shipment,
        consignment_id=OUT,
        seal=mf.FileRef(bytes=len(raw), blake3=blake3(raw).hexdigest()),
    )
    assert sailed.answer.seal.in_reply_to == wanted
    assert sailed.home.manifests()[0][0].in_reply_to == wanted
    text = (sailed.root / "home/d00/sealift/OPEN-ME.txt").read_text()
    assert f"Return leg, in reply to shipment {wanted.shipment}, consignment {OUT}." in text


def test_an_outbound_shipment_has_neither_field_where_nothing_is_stated(tmp_path):
    plain = Voyage(tmp_path, named=False)
    assert b'"return"' not in trust.load_seal(plain.seal_file)[mf.SEAL_FILES[0]]
    assert b"in_reply_to" not in plain.out.manifests()[0][1]


# --- what is carried


def test_weights_come_home_byte_for_byte_and_raw(sailed, tmp_path):
    assert sailed.read("model.safetensors", sailed.answer.path) == sailed.weights
    assert sailed.packed.packed_bytes > len(sailed.weights), "noise is not shrunk"
    assert sailed.packed.packed_bytes < len(sailed.weights) + 100_000, "nor grown"
    result = unpack.unpack(options(sailed, tmp_path / "there"), unpack.Events())
    assert not result.failed
    assert (tmp_path / "there/model.safetensors").read_bytes() == sailed.weights
    there = shipments.picture(tmp_path / "there")
    assert there.pop(b"provenance.json")
    assert there == sailed.before == shipments.picture(sailed.checkpoint), "nothing is written to the checkpoint"


def test_tensors_that_do_not_shrink_lie_raw_in_the_pack(sailed):
    plain = b"".join(decrypted(sailed))
    noise = sailed.weights[8 + int.from_bytes(sailed.weights[:8], "little") :][:1_500_000]
    found = [noise[at : at + 4096] in plain for at in range(0, len(noise) - 4096, 100_000)]
    assert sum(found) >= len(found) - 2, "a block's border may fall within one that is looked for"


def decrypted(voyage):
    """Every data pack of the answer, as zstd frames."""
    identities = age_keys.parse_identities(voyage.out.identity.encode())
    packs = [pack for mount in voyage.home.mounts for pack in voyage.home.packs(mount) if pack.suffix == ".age"]
    return [age.decrypt(pack.read_bytes(), identities) for pack in packs]


def options(voyage, target, **changes):
    values = {
        "mounts": voyage.home.mounts,
        "target": str(target),
        "identities": [voyage.out.identity.encode()],
        "allowed_signers": voyage.signers.read_bytes(),
        "seal": trust.load_seal(voyage.answer.path),
        "workers": 1,
    }
    return unpack.Options(**(values | changes))


def test_the_record_says_what_came_of_what(sailed):
    data = sailed.read("provenance.json", sailed.answer.path)
    record = provenance.decode(data)
    tree = json.loads(data)
    assert tree["_type"] == "https://in-toto.io/Statement/v1"
    assert tree["predicateType"] == "urn:sealift:provenance:v1"
    assert {each.name: each.digest.sha256 for each in record.subject} == {
        name: hashlib.sha256((sailed.checkpoint / name).read_bytes()).hexdigest()
        for name in ("logs/train.log", "model.safetensors", "run.json")
    }
    assert record.subject[1].digest.blake3 == blake3(sailed.weights).hexdigest()
    predicate, seal = record.predicate, sailed.answer.seal
    assert (predicate.shipment, predicate.consignment_id) == (seal.shipment, HOME)
    assert predicate.in_reply_to == seal.in_reply_to
    outbound = sailed.open_seal(sailed.seal_file).seal
    assert [(each.group, each.manifest) for each in predicate.groups] == [
        (g.group, g.manifest) for g in outbound.groups
    ]
    assert {name: getattr(predicate, name) for name in sailed.words} == sailed.words


# --- what is refused


def test_a_shipment_that_names_nobody_is_not_answered(tmp_path):
    voyage = Voyage(tmp_path, named=False)
    refused(voyage, Refused, "names no recipients and no signers", "[return]")
    voyage.revise(voyage.out)
    voyage.name(voyage.out.recipient)  # and the hint is true: declared, released and sealed anew, without packing
    voyage.seal_file = voyage.seal(voyage.out).path
    assert voyage.pack().exit_code == 0


def test_other_recipients_than_those_named(voyage):
    other = age_keys.generate_identity()[1]
    refused(voyage, Refused, "no recipient of the leg home", recipients=[voyage.out.recipient, other])
    refused(voyage, KeyInvalid, recipients=["age1nonsense"])
    assert voyage.pack(recipients=[voyage.out.recipient]).config.recipients == [voyage.out.recipient]


def test_a_key_that_the_outbound_seal_does_not_accept(voyage):
    refused(voyage, Refused, "does not accept", "trainer@example.com", sign_with=str(voyage.out.root / "signing"))


def test_no_seal_or_one_that_nobody_vouches_for(voyage):
    refused(voyage, BadInput, "--in-reply-to SEAL", in_reply_to=None)
    refused(voyage, BadInput, "--allowed-signers", allowed_signers=None)
    strangers = voyage.root / "strangers"
    strangers.write_bytes(voyage.home.allowed)
    refused(voyage, SignatureInvalid, "not among the allowed signers", allowed_signers=str(strangers))
    bundle = bytearray(Path(voyage.seal_file).read_bytes())
    bundle[600] ^= 1
    damaged = voyage.root / "damaged.seal"
    damaged.write_bytes(bundle)
    refused(voyage, SealInvalid, in_reply_to=str(damaged))


def test_there_is_no_undeclared_return(voyage):
    refused(voyage, BadInput, "is of a return leg", leg="outbound", in_reply_to=None)
    refused(voyage, BadInput, "is of a return leg", leg="outbound")
    voyage.edit(voyage.home, f'in_reply_to = "{OUT}"', 'in_reply_to = "SL-2026-OTHERS"')
    refused(voyage, Refused, "SL-2026-OTHERS", OUT)
    voyage.edit(voyage.home, 'in_reply_to = "SL-2026-OTHERS"', 'in_reply_to = ""')
    refused(voyage, Refused, "answers nothing yet")
    for leg in ("outbound", ""):
        voyage.edit(voyage.home, f'leg = "{"return" if leg else "outbound"}"', f'leg = "{leg}"')
        refused(voyage, Refused, "not of a return leg", 'leg = "return"')


def test_the_options_of_a_return_leg_alone(voyage):
    voyage.edit(voyage.home, 'leg = "return"', 'leg = "outbound"')
    plain = {"leg": "outbound", "recipients": [voyage.out.recipient]}
    refused(voyage, BadInput, "--in-reply-to belongs to --leg return", **plain)
    refused(voyage, BadInput, "--provenance belongs", in_reply_to=None, provenance="run.json", **plain)


def test_a_rehearsal_answers_no_shipment(voyage):
    voyage.edit(voyage.home, "rehearsal = false", "rehearsal = true")
    refused(voyage, Refused, "a rehearsal answers a rehearsal", rehearsal=True)


def test_an_answer_is_not_answered(sailed, tmp_path):
    voyage = Voyage(tmp_path)
    voyage.signers.write_bytes(sailed.signers.read_bytes())
    voyage.edit(voyage.home, f'in_reply_to = "{OUT}"', f'in_reply_to = "{HOME}"')
    voyage.edit(voyage.home, f'consignment_id = "{HOME}"', 'consignment_id = "SL-2026-THIRD"')
    refused(voyage, Refused, "is a return leg itself", in_reply_to=sailed.answer.path)


# --- sealing


@pytest.mark.long
def test_a_return_leg_is_sealed_as_it_was_packed_or_not_at_all(voyage, tmp_path):
    voyage.pack()
    with pytest.raises(Refused, match="does not accept"):
        voyage.seal(voyage.home, sign_with=str(voyage.out.root / "signing"))
    kept = voyage.home.state / "outbound.seal"
    aside = kept.read_bytes()
    kept.unlink()
    with pytest.raises(BadInput, match="is gone"):
        voyage.seal(voyage.home)
    other = Voyage(tmp_path / "other")
    shutil.copy(other.seal_file, kept)
    voyage.signers.write_bytes(voyage.signers.read_bytes() + other.signers.read_bytes())
    with pytest.raises(Refused, match="not the outbound seal"):
        voyage.seal(voyage.home)
    kept.write_bytes(aside)
    voyage.edit(voyage.home, 'leg = "return"', 'leg = "outbound"')
    voyage.edit(voyage.home, f'in_reply_to = "{OUT}"', 'in_reply_to = ""')
    with pytest.raises(Refused, match="packed as a return leg"):
        voyage.seal(voyage.home)


def test_what_was_packed_outbound_is_never_sealed_as_an_answer(voyage):
    voyage.edit(voyage.out, 'leg = "outbound"', 'leg = "return"')
    voyage.edit(voyage.out, 'in_reply_to = ""', f'in_reply_to = "{HOME}"')
    text = voyage.out.declaration.read_text().partition("\n[return]\n")
    rest = text[2].partition("\n# (optional) Whoever else")
    voyage.out.declaration.write_text(text[0] + rest[1] + rest[2])
    with pytest.raises(Refused, match="packed as an outbound shipment"):
        voyage.seal(voyage.out)


def test_an_unreleased_return_is_not_sealed(voyage):
    voyage.pack()
    voyage.release(voyage.home)
    voyage.edit(voyage.home, "tests of the software", "other tests")
    from sealift.stages import seal as stage

    with pytest.raises(Refused, match="release is not of this declaration"):
        stage.seal(
            stage.Options(
                [str(voyage.home.state)],
                str(voyage.home.declaration),
                str(voyage.home.root / "signing"),
                str(voyage.signers),
            )
        )


# --- reading


def forged(voyage, **changes):
    """The answer's seal, or another, changed and signed again by `signer`."""
    signer = changes.pop("signer", voyage.home.signer)
    files = trust.load_seal(changes.pop("of", voyage.answer.path))
    record = msgspec.structs.replace(seals.decode_seal(files[mf.SEAL_FILES[0]]), **changes)
    data = seals.encode_seal(record)
    return files | {mf.SEAL_FILES[0]: data, mf.SEAL_FILES[1]: signer.sign(data, mf.NAMESPACE)}


def test_a_seal_that_says_something_else_than_its_declaration(sailed):
    other = msgspec.structs.replace(sailed.answer.seal.in_reply_to, consignment_id="SL-2026-OTHERS")
    outbound = sailed.open_seal(sailed.seal_file).seal
    for changes in ({"in_reply_to": other}, {"in_reply_to": msgspec.UNSET}):
        with pytest.raises(SealInvalid, match="answers another shipment"):
            trust.open_seal(forged(sailed, **changes), sailed.allowed)
    for changes in (
        {"return_": msgspec.UNSET},
        {"return_": msgspec.structs.replace(outbound.return_, recipients=[sailed.home.recipient])},
    ):
        files = forged(sailed, of=sailed.seal_file, signer=sailed.out.signer, **changes)
        with pytest.raises(SealInvalid, match="something else of the leg home"):
            trust.open_seal(files, sailed.allowed)


def test_whether_a_shipment_is_the_answer(sailed, tmp_path):
    outbound, answer = sailed.open_seal(sailed.seal_file), sailed.open_seal(sailed.answer.path)
    assert trust.check_reply(answer, outbound).principal == "trainer@example.com"
    with pytest.raises(Refused, match="is no return leg"):
        trust.check_reply(outbound, outbound)
    stranger = trust.open_seal(forged(sailed, signer=sailed.out.signer), sailed.allowed)  # allowed, and not accepted
    with pytest.raises(SignatureInvalid):
        trust.check_reply(stranger, outbound)
    another = Voyage(tmp_path)
    allowed = another.allowed
    with pytest.raises(Refused, match="does not answer this seal"):
        trust.check_reply(answer, trust.open_seal(trust.load_seal(another.seal_file), allowed))


def test_inspect_says_whether_it_is_the_answer(sailed):
    arguments = {"allowed": sailed.allowed, "seal": trust.load_seal(sailed.answer.path)}
    report = inspect.inspect(sailed.home.mounts, outbound=sailed.open_seal(sailed.seal_file), **arguments)
    assert (report.state, report.seal.in_reply_to) == ("complete", OUT)
    assert (report.answers.consignment, report.answers.signer) == (OUT, "trainer@example.com")
    assert inspect.inspect(sailed.home.mounts, **arguments).answers is None
    with pytest.raises(Refused, match="no seal that holds"):
        inspect.inspect(sailed.home.mounts, outbound=sailed.open_seal(sailed.seal_file))


@pytest.fixture
def asked(voyage, capsys):
    """What `inspect` says of the answer, asked about the seal at a path: exit code and stderr."""

    def ask(path):
        given = ["--seal", voyage.answer.path, "--allowed-signers", str(voyage.signers)]
        code = sealift(["inspect", *voyage.home.mounts, *given, "--in-reply-to", str(path)])
        return code, capsys.readouterr().err

    return ask


def sealed_again(voyage, signers):
    """The outbound shipment under a second revision, which accepts others; the answer is sealed after that."""
    voyage.pack()
    named = json.dumps([f"trainer@example.com {voyage.home.signer.public_key.line}"])
    voyage.revise(voyage.out)
    voyage.edit(voyage.out, f"signers = {named}", f"signers = {json.dumps(signers)}")
    second = voyage.seal(voyage.out)
    time.sleep(1.1)
    voyage.answer = voyage.seal(voyage.home)
    return second


@pytest.mark.long
def test_whom_the_newest_seal_does_not_accept_any_more_answers_no_older_one(voyage, asked, tmp_path):
    other = f"other@example.com {voyage.out.signer.public_key.line}"
    second = sealed_again(voyage, [other])
    code, err = asked(second.path)
    assert code == 5
    assert "does not answer this seal" in err
    assert "does not accept who signed it, " in err
    assert "give that one" not in err, "no hint leads around it"
    code, err = asked(second.superseded)
    assert code == 5
    assert f"that was superseded at {second.seal.sealed_at} by one that does not accept who signed it" in err
    arguments = ["unpack", *voyage.home.mounts, "--seal", voyage.answer.path, "--in-reply-to", second.superseded]
    who = ["--allowed-signers", str(voyage.signers), "--identity", str(voyage.out.root / "identity")]
    assert sealift([*arguments, *who, "--to", str(tmp_path / "to")]) == 5
    assert not (tmp_path / "to").exists()
    refused(
        voyage,
        Refused,
        "is superseded",
        "does not accept",
        f"--in-reply-to {second.path}",
        in_reply_to=second.superseded,
    )


def test_whom_both_seals_accept_need_not_pack_anew(voyage, asked):
    own = f"trainer@example.com {voyage.home.signer.public_key.line}"
    second = sealed_again(voyage, [own, f"other@example.com {voyage.out.signer.public_key.line}"])
    assert asked(second.superseded)[0] == 0
    code, err = asked(second.path)
    assert code == 5
    assert "give that one (one that was superseded is kept under a number)" in err
    voyage.pack(in_reply_to=second.superseded)  # what is there already; it goes on


def test_unpack_restores_the_answer_and_nothing_else(sailed, tmp_path):
    outbound = sailed.open_seal(sailed.seal_file)
    result = unpack.unpack(options(sailed, tmp_path / "there", outbound=outbound), unpack.Events())
    assert result.reply_signer == "trainer@example.com"
    corpus = options(
        sailed, tmp_path / "none", mounts=sailed.out.mounts, seal=trust.load_seal(sailed.seal_file), outbound=outbound
    )
    with pytest.raises(Refused, match="is no return leg"):
        unpack.unpack(corpus, unpack.Events())
    assert not (tmp_path / "none").exists()


# --- again, elsewhere, at once


def test_a_lost_state_comes_to_the_same_record(voyage, monkeypatch):
    from sealift.stages.pack import work

    def stop(*_args, **_more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(work, "close_group", stop)
        with pytest.raises(KeyboardInterrupt):
            voyage.pack()
    first = (voyage.home.state / "provenance.json").read_bytes()
    shutil.rmtree(voyage.home.state)
    assert voyage.pack().exit_code == 0
    assert (voyage.home.state / "provenance.json").read_bytes() == first


def test_resuming_makes_no_other_record(voyage):
    voyage.pack()
    made = os.stat(voyage.home.state / "provenance.json")
    (voyage.checkpoint / "late").write_bytes(b"after the scan")
    assert voyage.pack().exit_code == 2, "it is told, and is in another shipment or in none"
    assert os.stat(voyage.home.state / "provenance.json") == made


def test_another_outbound_seal_is_another_packing(voyage):
    voyage.pack()
    voyage.revise(voyage.out)
    voyage.edit(voyage.out, "made-up files", "other files")
    voyage.seal_file = voyage.seal(voyage.out).path
    with pytest.raises(BadInput, match="in_reply_to"):
        voyage.pack()


@pytest.mark.long
def test_a_record_in_segments(tmp_path):
    """Thousands of files make a record longer than a pack is: its segments are read where it lies, by all."""
    voyage = Voyage(tmp_path)
    for number in range(6000):
        shipments.write(voyage.checkpoint / "shards" / f"{number:05d}.bin", b"%d" % number)
    assert voyage.pack().exit_code == 0
    record = (voyage.home.state / "provenance.json").read_bytes()
    assert len(record) > 1 << 20
    voyage.answer = voyage.seal(voyage.home)
    result = unpack.unpack(options(voyage, tmp_path / "there", patterns=["provenance.json"]), unpack.Events())
    assert (result.failed, result.changed) == ([], []), "its digest was made of the record too"
    assert (tmp_path / "there/provenance.json").read_bytes() == record


# --- provenance: what is said, and by whom


def test_a_file_of_words_goes_before_the_run(voyage, tmp_path):
    said = tmp_path / "said.toml"
    said.write_text('code = "tag"\n[metrics]\nloss = 1.5\nat = 2026-01-02T03:04:05Z\n')
    voyage.pack(provenance=str(said))
    made = provenance.decode((voyage.home.state / "provenance.json").read_bytes()).predicate
    assert (made.code, made.config) == ("tag", voyage.words["config"])
    assert made.metrics == {"at": "2026-01-02T03:04:05Z", "loss": 1.5}


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("said.json", "{", "said.json"),
        ("said.json", '{"loss": 1}', "no such key"),
        ("said.json", '{"config": []}', "config"),
        ("said.toml", "[metrics]\nloss = nan\n", "finite"),
        ("said.toml", "code = 1\n", "code"),
        ("said.json", '{"config": ' + "[" * 5000 + "]" * 5000 + "}", "said.json"),
        ("said.json", '{"config": {"a": "\\ud800"}}', "said.json"),
    ],
)
def test_words_that_cannot_be_used(voyage, tmp_path, name, text, word):
    (tmp_path / name).write_text(text)
    refused(voyage, BadInput, word, provenance=str(tmp_path / name))


@pytest.mark.long
@pytest.mark.parametrize("text", ["[1]", '{"metrics": {"loss": NaN}}', "not JSON"])
def test_a_run_that_is_none_is_told_and_carried(voyage, text):
    (voyage.checkpoint / "run.json").write_text(text)
    notices = []
    voyage.pack(notices)
    assert any("not in the provenance record" in notice for notice in notices)
    assert any("says nothing of code, config, metrics" in notice for notice in notices)
    record = provenance.decode((voyage.home.state / "provenance.json").read_bytes())
    assert "run.json" in [each.name for each in record.subject]


def test_a_checkpoint_with_a_record_of_its_own(voyage):
    (voyage.checkpoint / "provenance.json").write_text("{}")
    refused(voyage, BadInput, "provenance.json of its own")


def test_an_empty_checkpoint(voyage):
    shutil.rmtree(voyage.checkpoint)
    voyage.checkpoint.mkdir()
    refused(voyage, BadInput, "0 files")


@pytest.mark.long
@pytest.mark.parametrize("how", ["longer", "new", "gone"])
def test_a_checkpoint_that_is_still_written(voyage, monkeypatch, how):
    from sealift.stages.pack import provenance as stage

    real = stage.replace

    def late(*arguments, **more):
        real(*arguments, **more)
        log = voyage.checkpoint / "logs/train.log"
        if how == "gone":
            log.unlink()
        else:
            with open(log if how == "longer" else log.with_name("new.log"), "ab") as file:
                file.write(b"step 3\n")

    monkeypatch.setattr(stage, "replace", late)
    refused(voyage, BadInput, f"logs/{'new' if how == 'new' else 'train'}.log: changed")


def test_names_that_are_not_utf_8(voyage):
    with open(os.fsencode(voyage.checkpoint) + b"/odd\xff", "wb") as file:
        file.write(b"odd")
    assert voyage.pack().exit_code == 0
    record = provenance.decode((voyage.home.state / "provenance.json").read_bytes())
    odd = [each for each in record.subject if each.annotations]
    assert [(each.annotations.path_b64, each.name) for each in odd] == [("b2Rk/w==", msgspec.UNSET)]


# --- a directory for the network


def test_a_directory_for_the_network_is_declared_and_reads_as_a_drive(tmp_path):
    voyage = Voyage(tmp_path, parity=0)
    voyage.edit(voyage.home, 'serial = "SERd00"', 'serial = "NETWORK-1"')
    voyage.home.serial = lambda _mount: ""  # none is given: it is the declared one
    assert voyage.pack(network=True, allow_same_filesystem=False).exit_code == 0
    answer = voyage.seal(voyage.home)
    assert [drive.serial for drive in answer.seal.groups[0].drives] == ["NETWORK-1"]
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(voyage.home.mounts[0], elsewhere)
    assert voyage.read("model.safetensors", answer.path, [str(elsewhere)]) == voyage.weights
    report = inspect.inspect([str(elsewhere)], allowed=voyage.allowed, seal=trust.load_seal(answer.path))
    assert report.state == "complete"


def test_a_directory_is_not_passed_off_as_a_drive(tmp_path):
    voyage = Voyage(tmp_path, parity=0)
    refused(voyage, BadInput, "SERd00", "NETWORK-1", network=True)
    refused(voyage, BadInput, "not in declaration", network=True, serials={voyage.home.mounts[0]: "NETWORK-2"})
    refused(voyage, BadInput, "--network has no parity", network=True, parity=1)
    refused(voyage, BadInput, "one directory", network=True, to=[*voyage.home.mounts, str(tmp_path)])
