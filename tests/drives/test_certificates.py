"""Why a certificate does not hold is told, and what to do is of that reason: of hosts and of stores."""

import pytest
import serving

from sealift.cli import main
from sealift.drives import certificates, object_faults
from sealift.drives.http import HttpDrive, Way
from sealift.drives.objects import ObjectDrive
from sealift.errors import DriveFault
from sealift.formats.hosts import HostRow
from sealift.stages.fleet.client import HostClient, HostFault

CASES = [
    ("expired", certificates.EXPIRED, "renew the certificate"),
    ("stranger", certificates.ISSUER, "names"),
    ("name", certificates.NAME, "with a name that the certificate has"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """By case: the address of a host, and the CA file that is given."""
    folder = tmp_path_factory.mktemp("tls")
    expired, good, other = (
        serving.certificates(folder / name, days=days) for name, days in (("expired", -1), ("good", 1), ("other", 1))
    )
    with serving.handshakes(*expired[1:]) as late, serving.handshakes(*good[1:]) as port:
        yield {
            "expired": (f"https://127.0.0.1:{late}", expired[0]),
            "stranger": (f"https://127.0.0.1:{port}", other[0]),
            "name": (f"https://localhost:{port}", good[0]),
        }


@pytest.mark.parametrize(("case", "why", "hint"), CASES)
def test_of_a_host(made, case, why, hint):
    at, ca = made[case]
    with pytest.raises(DriveFault) as told:
        HttpDrive(Way(f"{at}/d/", ca_file=ca)).exists()
    assert f"the host's certificate does not hold: {why};" in str(told.value)
    assert hint in told.value.hint
    assert ("ca_file" in told.value.hint) == (case == "stranger"), "another CA file helps against this alone"
    with pytest.raises(HostFault, match=f"its certificate does not hold: {why}"):
        HostClient(HostRow(url=f"{at}/", ca_file=ca)).get("", 100, seconds=5.0)


@pytest.mark.parametrize(("case", "why", "hint"), CASES)
def test_of_a_store(made, monkeypatch, case, why, hint):
    at, ca = made[case]
    given = {"AWS_ENDPOINT_URL": at, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"}
    for name, value in (given | {"SSL_CERT_FILE": ca}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DriveFault) as told:
        ObjectDrive("s3://bucket/d/", patience=1.0).exists()
    assert f"the store's certificate does not hold: {why};" in str(told.value)
    assert hint in told.value.hint


@pytest.mark.parametrize(("case", "why", "hint"), CASES)
def test_a_command_that_reads_there_tells_it(made, tmp_path, capsys, case, why, hint):
    at, ca = made[case]
    file = tmp_path / "drives.toml"
    row = f'[[drive]]\nname = "one"\nat = "{at}/d/"\nca_file = "{ca}"\n'
    file.write_text(f'type = "sealift-locations"\nversion = 1\n{row}')
    assert main.run(["inspect", str(file)]) == 6
    said = capsys.readouterr().err
    assert f"the host's certificate does not hold: {why}" in said
    assert hint in said


def test_an_object_named_like_one_is_no_certificate():
    error = ValueError("GET http://store/bucket/certificates/InvalidCertificate(Expired): ConnectionRefused")
    assert object_faults.trouble_of(error).why == "nobody answers at the store's address"


def test_rarer_reasons_are_told_as_they_are_called():
    said = "error: InvalidCertificate(\n        Revoked,\n    )"
    assert object_faults.trouble_of(ValueError(said)).why == "the store's certificate does not hold: Revoked"
