"""A storage host for tests: `sealift serve` in a process of its own, a CA and certificates made on the spot, curl."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.client
import ipaddress
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "0123456789abcdef0123456789abcdef"

ODD = [  # addresses under which nothing is to be found; NAME is that of a drive
    "/../etc/passwd", "/NAME/../../etc/passwd", "/NAME/sealift/../../../../etc/passwd",
    "/NAME/sealift/..%2f..%2f..%2fetc/passwd", "/NAME/sealift/%2e%2e/%2e%2e/x", "/NAME/sealift%2fdrive.json",
    "/NAME/sealift/drive%2ejson", "/NAME/sealift/drive.json%00", "/NAME/sealift/drive.json%00.parity",
    "/NAME/sealift/seal%2fseal.json", "/NAME/sealift//drive.json", "/NAME/sealift/./drive.json",
    "/NAME//sealift/drive.json", "/NAME/sealift/packs/0000/0000000.tar.zst.age/", "/NAME/sealift/packs/0000/",
    "/NAME/sealift/packs", "/NAME/sealift/",
    "/NAME/sealift", "/NAME/", "/NAME", "/NAME/drive.json", "/NAME/secret.txt", "/NAME/sealift/secret.txt",
    "/NAME/sealift/journal.age", "/NAME/sealift/packs/0000/0000000.parity.part",
    "/NAME/sealift/packs/00000/0000000.parity",
    "/NAME/sealift/packs/0001/0000000.parity", "/NAME/sealift/packs/0000/00000000.parity", "/NAME/sealift/DRIVE.JSON",
    "/NAME/sealift/drive.json\\..\\x", "/NAME/sealift/packs/\u0660000/0000000.parity", "//NAME/sealift/drive.json",
    "/unnamed-00000000/sealift/drive.json", "/inspect/../metrics", "/inspect/NAME", "/inspect/0123456789abcdeg",
    "/report/0", "/report/-1", "/report/\u0661", "/favicon.ico", "/NAME.2/sealift/drive.json",
]  # fmt: skip


def files_of(mount):
    base = Path(mount, "sealift")
    return sorted(str(path.relative_to(base)) for path in base.rglob("*") if path.is_file())


def first_pack(mount):
    return next(name for name in files_of(mount) if name.startswith("packs/"))


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def token_file(folder: Path, *tokens: str) -> str:
    path = folder / "token"
    path.write_text("\n".join(tokens or (TOKEN,)) + "\n")
    path.chmod(0o600)
    return str(path)


@dataclass
class Said:
    """An answer: status, headers in lower case, body."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Host:
    """A running `sealift serve`."""

    process: subprocess.Popen[str]
    port: int
    scheme: str
    ca: str | None
    token: str | None
    lines: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/"

    def connection(self) -> http.client.HTTPConnection:
        if self.ca is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        context = ssl.create_default_context(cafile=self.ca)
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=context)

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Said:
        """One request; `path` is sent as it is. Header names with _ for -."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token is not None and "Authorization" not in given:
            given["Authorization"] = f"Bearer {self.token}"
        given = {name: value for name, value in given.items() if value}
        with contextlib.closing(self.connection()) as connection:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in given.items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return Said(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def index(self) -> dict:
        return json.loads(self.ask("/").body)

    def names(self) -> list[str]:
        return [drive["name"] for drive in self.index()["drives"]]

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=40)


def locations_file(host: Host, folder: Path) -> Path:
    """`fleet.toml` in `folder`: all drives of a host, its token in the file `token` beside."""
    rows = "".join(
        f'[[drive]]\nname = "{name}"\nat = "{host.url}{name}/"\ntoken_file = "token"\n' for name in host.names()
    )
    path = folder / "fleet.toml"
    path.write_text(f'type = "sealift-locations"\nversion = 1\n{rows}')
    return path


@contextlib.contextmanager
def serving(
    *mounts: object, token: str | None = None, tls: tuple[str, str, str] | None = None, reports: tuple[str, ...] = (),
    file: str | None = None, cwd: Path | None = None, open_files: int | None = None,
):  # fmt: skip
    """A host that serves `mounts`; `tls` is CA, certificate and key; `file` the token file; `open_files` its limit."""
    port = free_port()
    words = [sys.executable, "-m", "sealift", "serve", *map(str, mounts), "--listen", f"127.0.0.1:{port}"]
    words += ["--token-file", file] if file else []
    words += ["--tls-cert", tls[1], "--tls-key", tls[2]] if tls else []
    words += [word for report in reports for word in ("--report", report)]
    words = words if open_files is None else ["sh", "-c", f'ulimit -n {open_files}; exec "$@"', "sh", *words]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=cwd, start_new_session=True)
    host = Host(process, port, "https" if tls else "http", tls[0] if tls else None, token)
    try:
        for line in process.stderr:
            host.lines.append(line.rstrip("\n"))
            if re.search(r"serves \d+ drives?; ", line):
                break
        else:
            raise AssertionError(f"it did not start: {host.lines}")
        threading.Thread(target=_drain, args=(host,), daemon=True).start()
        yield host
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait(timeout=20)
        process.stderr.close()


def _drain(host: Host) -> None:
    with contextlib.suppress(ValueError):
        host.lines.extend(line.rstrip("\n") for line in host.process.stderr)


def refused(*words: object, **environment: str) -> tuple[int, str]:
    """Exit code and stderr of a `sealift serve` that does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "sealift", "serve", *map(str, words)],
        capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **environment},
    )  # fmt: skip
    return done.returncode, done.stderr


def certificates(folder: Path, *, days: int = 1, host: str = "127.0.0.1") -> tuple[str, str, str]:
    """A fresh CA, and a certificate of it for the host: paths of CA, certificate and key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import NameOID

    now = dt.datetime.now(dt.UTC)

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def certify(subject, key, issuer, issuer_key, *, ca):
        made = (
            x509.CertificateBuilder()
            .subject_name(name(subject)).issuer_name(name(issuer)).public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=2)).not_valid_after(now + dt.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        )  # fmt: skip
        if ca:
            usage = dict.fromkeys(
                ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                 "encipher_only", "decipher_only"), False)  # fmt: skip
            made = made.add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
        else:
            names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
            made = made.add_extension(names, critical=False)
        return made.sign(issuer_key, hashes.SHA256())

    folder.mkdir(parents=True, exist_ok=True)
    root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    paths = tuple(str(folder / each) for each in ("ca.pem", "host.pem", "host.key"))
    Path(paths[0]).write_bytes(certify("tests CA", root, "tests CA", root, ca=True).public_bytes(Encoding.PEM))
    Path(paths[1]).write_bytes(certify("host", leaf, "tests CA", root, ca=False).public_bytes(Encoding.PEM))
    Path(paths[2]).write_bytes(leaf.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


@contextlib.contextmanager
def handshakes(certificate: str, key: str) -> Iterator[int]:
    """The port of somebody who shakes hands by TLS, and says nothing more."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            while True:
                try:
                    asked, _ = listening.accept()
                except OSError:
                    return
                with contextlib.suppress(OSError), context.wrap_socket(asked, server_side=True):
                    pass

        threading.Thread(target=answer, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def curl(*words: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["curl", "-sS", *map(str, words)], capture_output=True, check=False, timeout=60)
