"""The leg home as people type it: declared, packed in reply, sealed, looked at, and restored at the origin."""

import json
import os
import subprocess
import sys

import pytest
from voyages_home import HOME, OUT, Voyage


@pytest.fixture(scope="module")
def voyage(tmp_path_factory):
    return Voyage(tmp_path_factory.mktemp("voyage"))


def run(voyage, *arguments, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "sealift", *map(str, arguments)],
        capture_output=True,
        timeout=120,
        check=False,
        env={**os.environ, "SEALIFT_ALLOWED_SIGNERS": str(voyage.signers)},
    )
    err = done.stderr.decode()
    assert "Traceback" not in err
    assert done.returncode == code, err
    return done.stdout, err


@pytest.mark.long
def test_the_way_home(voyage, tmp_path):
    home, declaration = voyage.home, voyage.home.declaration
    sheet, _ = run(voyage, "declare", "--sheet", "carrier-0", declaration)
    assert f"Shipment {HOME}, return leg in reply to {OUT}" in sheet.decode()

    to = [f"--to={mount}" for mount in home.mounts] + [
        f"--serial={mount}={home.serial(mount)}" for mount in home.mounts
    ]
    pack = [
        "pack", voyage.checkpoint, "--leg=return", *to, "--parity=1", f"--sign-with={home.root / 'signing'}",
        f"--declaration={declaration}", f"--state={home.state}", "--pack-size=1MiB", "--allow-same-filesystem",
    ]  # fmt: skip
    _, err = run(voyage, *pack, code=1)
    assert "hint: --in-reply-to SEAL" in err
    out, err = run(voyage, *pack, f"--in-reply-to={voyage.seal_file}", "--json")
    assert json.loads(out)["in_reply_to"] == OUT
    assert f"return leg in reply to {OUT}" in err

    _, err = run(voyage, "release", "--check", declaration, code=5)  # nobody is screened in this test
    assert f"return leg in reply to {OUT}" in err
    voyage.release(home)
    seal = ["seal", f"--state={home.state}", f"--declaration={declaration}", f"--out={tmp_path}", "--json"]
    out, err = run(voyage, *seal, f"--sign-with={home.root / 'signing'}", home.mounts[0])
    sealed = json.loads(out)
    assert (sealed["in_reply_to"], f"return leg in reply to {OUT}" in err) == (OUT, True)

    look = ["inspect", *home.mounts, f"--seal={sealed['seal']}"]
    text = run(voyage, *look)[0].decode()
    assert f"return leg in reply to {OUT}, consignment {HOME}" in text
    text = run(voyage, *look, f"--in-reply-to={voyage.seal_file}")[0].decode()
    assert f"answers {OUT}, signed by trainer@example.com, whom it accepts" in text
    answers = json.loads(run(voyage, *look, f"--in-reply-to={voyage.seal_file}", "--json")[0])["answers"]
    assert (answers["consignment"], answers["signer"]) == (OUT, "trainer@example.com")
    _, err = run(voyage, *look, f"--in-reply-to={sealed['seal']}", code=5)
    assert f"it does not answer this seal of {HOME}" in err

    opened = [f"--seal={sealed['seal']}", f"--identity={voyage.out.root / 'identity'}"]
    cat, _ = run(voyage, "cat", *home.mounts, *opened, "--path=model.safetensors")
    assert cat == voyage.weights
    listed = [json.loads(line)["path"] for line in run(voyage, "ls", *home.mounts, *opened, "--json")[0].splitlines()]
    assert "provenance.json" in listed
    there = tmp_path / "there"
    out, err = run(
        voyage, "unpack", *home.mounts, *opened, f"--to={there}", f"--in-reply-to={voyage.seal_file}", "--json"
    )
    assert json.loads(out)["reply_signer"] == "trainer@example.com"
    assert "whom it accepts" in err
    assert (there / "model.safetensors").read_bytes() == voyage.weights


def test_the_officer_sees_who_may_answer(voyage):
    _, err = run(voyage, "release", "--check", voyage.out.declaration, code=5)  # nobody is screened in this test
    assert f"what comes back may be read by {voyage.out.recipient}" in err
    assert "what comes back may be signed by trainer@example.com ssh-ed25519" in err


def test_a_seal_that_names_nobody_says_so(tmp_path):
    plain = Voyage(tmp_path, named=False)
    _, err = run(
        plain, "seal", f"--state={plain.out.state}", f"--declaration={plain.out.declaration}",
        f"--sign-with={plain.out.root / 'signing'}",
    )  # fmt: skip
    assert "names nobody for a leg home" in err


@pytest.mark.long
def test_a_directory_for_the_network_needs_no_parity_and_no_serial(tmp_path):
    voyage = Voyage(tmp_path, parity=0)
    home = voyage.home
    pack = [
        "pack", voyage.checkpoint, "--leg=return", f"--in-reply-to={voyage.seal_file}", f"--to={home.mounts[0]}",
        f"--sign-with={home.root / 'signing'}", f"--declaration={home.declaration}", f"--state={home.state}",
    ]  # fmt: skip
    assert "--parity is missing" in run(voyage, *pack, code=1)[1]
    assert "NETWORK-1" in run(voyage, *pack, "--network", code=1)[1]
    voyage.edit(home, 'serial = "SERd00"', 'serial = "NETWORK-1"')
    out, _ = run(voyage, *pack, "--network", "--json")
    assert json.loads(out)["groups"][0]["state"] == "signed"
    sheet, _ = run(voyage, "declare", "--sheet", "carrier-0", home.declaration)
    assert "NETWORK-1" in sheet.decode()
