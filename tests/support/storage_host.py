"""A real nginx on loopback that serves a folder as a storage host does: ranges, and where asked TLS and a bearer token.

    with nginx(tmp_path / "host", folder) as host:
        host.url                            # http://127.0.0.1:PORT; what is in the folder is beneath
    with nginx(tmp_path / "host", folder, tls=True, token="s3cret") as host:
        host.ca                             # the file of the CA that signed its certificate, made on the spot

Tests skip where nginx is not installed, and fail where CI is set.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import shipments
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CONFIG = """
{user}
worker_processes 1;
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log {folder}/access.log;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 65s;
    keepalive_requests 1000000;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    map $http_authorization $allowed {{ default {default}; "Bearer {token}" 1; }}
    server {{
        listen 127.0.0.1:{port} {ssl};
        {certificate}
        root {root};
        if ($allowed = 0) {{ return 401; }}
    }}
}}
"""


@dataclass
class StorageHost:
    """A running nginx; `stop` and `go` freeze and thaw it, as a host that hangs, and `kill` takes it away."""

    url: str
    ca: str
    folder: Path
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """It answers nothing any more, and its connections stay open."""
        for pid in self._pids():
            os.kill(pid, signal.SIGSTOP)

    def go(self) -> None:
        """It answers again."""
        for pid in self._pids():
            os.kill(pid, signal.SIGCONT)

    def kill(self) -> None:
        """It is gone, its connections with it."""
        for pid in self._pids():
            os.kill(pid, signal.SIGKILL)

    def _pids(self) -> list[int]:
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
            return [self.process.pid, *map(int, file.read().split())]

    def lines(self) -> list[str]:
        """What it was asked for."""
        return (self.folder / "access.log").read_text().splitlines()


@contextlib.contextmanager
def nginx(folder: Path, root: Path, *, tls: bool = False, token: str = "") -> Iterator[StorageHost]:
    """nginx over `root`, its own files in `folder`."""
    shipments.need("nginx")
    folder.mkdir(parents=True)
    port = free_port()
    config = _CONFIG.format(
        user="user root;" if os.geteuid() == 0 else "",
        folder=folder, root=root, port=port, token=token or "none", default=0 if token else 1, ssl="ssl" if tls else "",
        certificate=f"ssl_certificate {folder}/host.pem; ssl_certificate_key {folder}/host.key;" if tls else "",
    )  # fmt: skip
    if tls:
        make_certificates(folder)
    (folder / "nginx.conf").write_text(config)
    command = ["nginx", "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            _wait(port, process)
            scheme = "https" if tls else "http"
            yield StorageHost(f"{scheme}://127.0.0.1:{port}", str(folder / "ca.pem"), folder, process)
        finally:
            with contextlib.suppress(OSError):
                for pid in StorageHost("", "", folder, process)._pids():
                    os.kill(pid, signal.SIGCONT)
            process.terminate()
            process.wait(10)


def free_port() -> int:
    """A port on loopback on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    process.kill()
    assert process.stderr is not None
    raise RuntimeError(f"nginx does not start: {process.stderr.read().decode()}")


def make_certificates(folder: Path, *, names: tuple[str, ...] = ("127.0.0.1",), days: int = 1) -> None:
    """ca.pem, host.pem and host.key: a CA, and a host's certificate that it signed, for these addresses."""
    now = datetime.now(UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])

    def begin(subject: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(ca_name).public_key(public_key)
        made = made.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=2))
        return made.not_valid_after(now + timedelta(days=days))

    ca = begin(ca_name, ca_key.public_key()).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    ca = ca.add_extension(usage, critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    ca = ca.add_extension(identifier, critical=False)
    host = begin(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "host")]), key.public_key())
    addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(name)) for name in names])
    host = host.add_extension(addresses, critical=False)
    host = host.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    (folder / "ca.pem").write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM))
    (folder / "host.pem").write_bytes(host.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM))
    (folder / "host.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
