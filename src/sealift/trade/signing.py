"""Signing with an SSH key, wherever its private half is; and the files that signatures need.

What holds: a signature that `Signer.sign` returns has been verified under `Signer.public_key`. An
unencrypted Ed25519 key file is signed with in this process; everything else (a passphrase, another type, a
.pub file whose private half is in an agent or on a hardware key) by `ssh-keygen -Y sign`, which asks for
the passphrase or the touch itself. `prove` signs a test message in a namespace that no verifier of sealift
accepts, so that a key that cannot sign is found before the first byte is written.

This module alone in trade/ reads and writes files and calls ssh-keygen. What is not here: whom to trust.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import os
import re
import stat
import subprocess
import sys
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealift.errors import BadInput, FormatError, KeyInvalid, Refused, SealiftError, SignatureInvalid
from sealift.formats import allowed_signers, sshsig
from sealift.formats.allowed_signers import AllowedSigners

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealift.formats.sshsig import PublicKey

MAX_KEY_FILE = 64 << 10
_MAX_KEPT = 64 << 20  # bytes of a record that is kept; each kind has its own limit below this
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK}
PROVE_NAMESPACE = "sealift-prove"
PROVE_MESSAGE = b"sealift asks whether this key can sign; this signature says nothing else\n"
TIMEOUT = 600  # seconds for a passphrase or a touch

_OPENSSH = re.compile(
    rb"\A-----BEGIN OPENSSH PRIVATE KEY-----\n([A-Za-z0-9+/=\n]+)-----END OPENSSH PRIVATE KEY-----\n*\Z"
)
_OPENSSH_MAGIC = b"openssh-key-v1\0"


@dataclass(frozen=True)
class Signer:
    """A key that signs: `public_key`, and the private half here or with ssh-keygen at `path`."""

    path: str
    public_key: PublicKey
    private_key: Ed25519PrivateKey | None = field(default=None, repr=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Signer:
        """The key of a private key file, or of a .pub file whose private half an agent or a token holds.

        Raises KeyInvalid, with a hint, when there is no usable key; that it can sign is proved by `prove`.
        """
        name = os.fspath(path)
        data = read_limited(name, MAX_KEY_FILE, "SSH key", error=KeyInvalid)
        if b"PRIVATE KEY-----" not in data:
            return cls(name, _public(data, name))
        from cryptography.hazmat.primitives.serialization import load_ssh_private_key  # who only verifies does without

        try:
            private = load_ssh_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            private = None  # a passphrase or another format: ssh-keygen knows more of them
        if isinstance(private, Ed25519PrivateKey):
            return cls(name, sshsig.public_key_of(private), private)
        return cls(name, _public_of_private(data, name))

    def sign(self, message: bytes, namespace: str) -> bytes:
        """The armored SSHSIG over `message`, verified; KeyInvalid when the key does not sign."""
        signature = self._signature(message, namespace)
        try:
            signed_by = sshsig.verify(message, signature, namespace)
        except SignatureInvalid as error:
            raise KeyInvalid(f"{self.path}: what ssh-keygen signed with it does not verify: {error}") from error
        if signed_by != self.public_key:
            raise KeyInvalid(
                f"{self.path}: ssh-keygen signed with {signed_by.fingerprint}, another key",
                hint="the private key beside the .pub file is another one",
            )
        return signature

    def _signature(self, message: bytes, namespace: str) -> bytes:
        if self.private_key is not None:
            return sshsig.sign_ed25519(message, self.private_key, namespace)
        return self._ssh_keygen(message, namespace)

    def prove(self) -> None:
        """Sign a test message and verify it; KeyInvalid when that fails. A hardware key asks for a touch."""
        self.sign(PROVE_MESSAGE, PROVE_NAMESPACE)

    def _ssh_keygen(self, message: bytes, namespace: str) -> bytes:
        import tempfile

        # The message goes by a file: without a terminal ssh-keygen reads the passphrase from stdin, and a
        # message given there would be taken for one.
        with tempfile.TemporaryDirectory(prefix="sealift-sign-") as folder:
            target = os.path.join(folder, "message")
            with open(target, "wb") as file:
                file.write(message)
            # A touch is asked for on stderr, so a hardware key's is not caught.
            touch = self.public_key.algorithm.startswith("sk-")
            try:
                done = subprocess.run(
                    [
                        "ssh-keygen",
                        "-q",
                        "-Y",
                        "sign",
                        "-n",
                        namespace,
                        "-f",
                        os.path.abspath(self.path),
                        target,
                    ],
                    stdin=None if sys.stdin is not None and sys.stdin.isatty() else subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=None if touch else subprocess.PIPE,
                    timeout=TIMEOUT,
                    check=False,
                )
            except FileNotFoundError as error:
                raise KeyInvalid(
                    f"{self.path}: signing with this key needs ssh-keygen, which is not installed",
                    hint="install OpenSSH's client, or give an Ed25519 key without a passphrase",
                ) from error
            except (OSError, subprocess.TimeoutExpired) as error:
                raise KeyInvalid(f"{self.path}: ssh-keygen did not sign: {error}") from error
            if done.returncode != 0 or not os.path.exists(target + ".sig"):
                words = (done.stderr or b"").decode(errors="replace").strip().splitlines()
                why = words[-1].replace(target, "message")[:300] if words else f"exit {done.returncode}"
                raise KeyInvalid(f"{self.path}: ssh-keygen did not sign: {why}", hint=self._hint())
            return read_limited(target + ".sig", sshsig.MAX_ARMORED, "signature")

    def _hint(self) -> str:
        if self.path.endswith(".pub"):
            return "its private half must be beside it, or in a running agent (ssh-add -l)"
        return "add the key to an agent (ssh-add) and give its .pub file, or run in a terminal"


def load_allowed_signers(path: str | os.PathLike[str]) -> AllowedSigners:
    """The parsed allowed_signers file at `path`; BadInput or KeyInvalid when it cannot be used."""
    data = read_limited(os.fspath(path), allowed_signers.MAX_FILE, "allowed signers file")
    return AllowedSigners.parse(data)


def load_public_key(path: str | os.PathLike[str]) -> PublicKey:
    """The public key of a .pub file or of an OpenSSH private key file; KeyInvalid otherwise."""
    name = os.fspath(path)
    data = read_limited(name, MAX_KEY_FILE, "SSH key", error=KeyInvalid)
    return _public_of_private(data, name) if b"PRIVATE KEY-----" in data else _public(data, name)


def read_limited(path: str, limit: int, what: str, *, error: type[SealiftError] = BadInput) -> bytes:
    """A regular file of at most `limit` bytes; raises `error` with a sentence that begins with `what`."""
    try:
        # O_NONBLOCK: a FIFO in place of the file must not block before it is refused
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else str(cause)
        raise error(f"{what} {path}: {reason}") from cause
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise error(f"{what} {path}: not a regular file")
        with open(handle, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    except OSError as cause:
        raise error(f"{what} {path}: {cause.strerror}") from cause
    finally:
        os.close(handle)
    if len(data) > limit:
        raise error(f"{what} {path}: longer than {limit:,} bytes")
    return data


def read_signature(path: str, *, error: type[SealiftError] = BadInput) -> bytes:
    """The signature of the record in `path`, beside it as `path`.sig; raises `error` where none can be read."""
    if not os.path.lexists(path + ".sig"):
        raise error(
            f"{path} is not signed: there is no {path}.sig",
            hint="a record counts only with its signature: get both files from whoever signed it",
        )
    return read_limited(path + ".sig", sshsig.MAX_ARMORED, "signature", error=error)


@contextlib.contextmanager
def of_record(path: str) -> Iterator[None]:
    """What is wrong with the record in `path` or its signature, said with its name."""
    try:
        yield
    except (FormatError, Refused) as error:
        raise type(error)(f"{path}: {error}", hint=error.hint) from error


def write_new(path: str, data: bytes) -> None:
    """Create `path` with `data`, whole and on the medium; BadInput when something is there already.

    A crash leaves nothing under this name, so that the same command again is not refused.
    """
    with new_file(path) as file:
        file.write(data)


@contextlib.contextmanager
def new_file(path: str) -> Iterator[IO[bytes]]:
    """A file that takes the name `path` when the block ends, whole and on the medium; BadInput when one is there.

    What the block raises leaves nothing under this name.
    """
    import secrets

    temporary = os.path.join(os.path.dirname(path), f".sealift-{secrets.token_hex(8)}")
    try:
        if os.path.lexists(path):
            raise FileExistsError
        with open(temporary, "xb") as file:  # readable by whom the umask says, unlike mkstemp's
            yield file
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)  # unlike a rename it never takes the place of a file that came meanwhile
        except OSError as error:
            if error.errno not in _NO_LINKS or os.path.lexists(path):
                raise
            os.rename(temporary, path)  # FAT and some network filesystems have no hard links
        _sync_folder(path)
    except FileExistsError as error:
        hint = "give another name"
        raise BadInput(f"{path} is there already; nothing was changed", hint=hint) from error
    except (OSError, ValueError) as error:
        raise _unwritten(path, error) from error
    finally:
        with contextlib.suppress(OSError, ValueError):
            os.unlink(temporary)


def make_folder(folder: str) -> None:
    """Make the folder of --out into which a signed record goes; BadInput where there can be none."""
    if folder.endswith((".json", ".sig")) and not os.path.isdir(folder):
        raise BadInput(f"--out {folder}: that is the name of a file; nothing was signed", hint="--out takes a folder")
    try:
        os.makedirs(folder, exist_ok=True)
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise BadInput(f"--out {folder}: {why.lower()}; nothing was signed") from error


def write_pair(path: str, data: bytes, signature: bytes, *, with_it: tuple[str, ...] = ()) -> str | None:
    """Write `path` and `path`.sig; what was there is kept, and its new name returned.

    `with_it` are ends of names of other files that belong to the old pair, such as ".second.sig": kept with it.

    The old pair becomes NAME.1.json and NAME.1.json.sig, or the next free number. A crash between the renames
    leaves half a pair, which no verifier accepts; the same command again mends it.
    """
    files = {path: data, path + ".sig": signature}
    kept = None
    beside = {}
    try:
        for target, content in files.items():
            beside[target] = _write_beside(target, content)
        if os.path.lexists(path) or os.path.lexists(path + ".sig"):
            kept = _keep(path, ("", ".sig", *with_it))
        for target, temporary in beside.items():
            os.replace(temporary, target)
        _sync_folder(path)
    except (OSError, ValueError) as error:
        raise _unwritten(path, error) from error
    finally:
        for temporary in beside.values():
            if os.path.lexists(temporary):
                os.unlink(temporary)
    return kept


def write_successor(path: str, data: bytes, signature: bytes) -> str | None:
    """Write `path` and `path`.sig in place of a pair, which is kept as `write_pair` keeps it; its new name.

    For a record that is made from the one before, and so must be there at any instant: the old pair is copied before
    either of its files is replaced, the signature first. Whatever a crash leaves, `signatures` finds the one that
    belongs to the record at `path`. Raises BadInput.
    """
    kept = _keep_copy(path) if os.path.lexists(path) else None
    beside = {}
    try:
        for target, content in ((path + ".sig", signature), (path, data)):
            beside[target] = _write_beside(target, content)
        for target, temporary in beside.items():
            os.replace(temporary, target)
            _sync_folder(target)
    except (OSError, ValueError) as error:
        raise _unwritten(path, error) from error
    finally:
        for temporary in beside.values():
            if os.path.lexists(temporary):
                os.unlink(temporary)
    return kept


def signatures(path: str, data: bytes) -> Iterator[bytes]:
    """Signatures that may be that of `data`, which was read from `path`: the one beside it, and that of a kept copy.

    A copy has another only where `write_successor` was interrupted between its two files.
    """
    stem, extension = os.path.splitext(path)
    number, name = 0, path
    while number == 0 or os.path.lexists(name):
        if os.path.lexists(name + ".sig") and read_limited(name, _MAX_KEPT, "record") == data:
            yield read_limited(name + ".sig", sshsig.MAX_ARMORED, "signature", error=SignatureInvalid)
        number += 1
        name = f"{stem}.{number}{extension}"


def _keep_copy(path: str) -> str:
    """The name under which the pair at `path` is kept, copied there unless an earlier try did."""
    data = read_limited(path, _MAX_KEPT, "record")
    stem, extension = os.path.splitext(path)
    number = 1
    while True:
        kept = f"{stem}.{number}{extension}"
        if not os.path.lexists(kept):
            if os.path.lexists(kept + ".sig"):
                number += 1
                continue
            write_new(kept, data)
        elif read_limited(kept, _MAX_KEPT, "record") != data:
            number += 1
            continue
        if os.path.lexists(path + ".sig") and not os.path.lexists(kept + ".sig"):
            write_new(kept + ".sig", read_limited(path + ".sig", sshsig.MAX_ARMORED, "signature"))
        return kept


def write_over(path: str, data: bytes, *, keep: bool = True) -> str | None:
    """Write `path` whole; what was there is kept under the next free number, and its new name returned.

    Without `keep` it is not: for a file of ours all of which is in `data`.
    """
    kept = temporary = None
    try:
        temporary = _write_beside(path, data)
        if keep and os.path.lexists(path):
            kept = _keep(path, ("",))
        os.replace(temporary, path)
        _sync_folder(path)
    except (OSError, ValueError) as error:
        raise _unwritten(path, error) from error
    finally:
        if temporary is not None and os.path.lexists(temporary):
            os.unlink(temporary)
    return kept


def _keep(path: str, ends: tuple[str, ...]) -> str:
    stem, extension = os.path.splitext(path)
    number = 1
    while any(os.path.lexists(f"{stem}.{number}{extension}{end}") for end in ends):
        number += 1
    kept = f"{stem}.{number}{extension}"
    for end in ends:
        if os.path.lexists(path + end):
            os.rename(path + end, kept + end)
    return kept


def _write_beside(path: str, data: bytes) -> str:
    """A temporary file in the folder of `path` with `data` on the medium; BadInput where it is to replace no file."""
    import tempfile

    if os.path.exists(path) and not os.path.isfile(path):  # /dev/null and /dev/stdout are moved away by root
        what = "a folder" if os.path.isdir(path) else "a device or a pipe, in the place of which a file would come"
        raise BadInput(f"{path}: it is {what}; nothing was changed", hint="give the name of a file")
    folder, name = os.path.split(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder or ".")
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, 0o644)
        file.write(data)
        file.flush()
        os.fsync(handle)
    return temporary


def _unwritten(path: str, error: OSError | ValueError) -> BadInput:
    why = (error.strerror if isinstance(error, OSError) else None) or error
    return BadInput(f"{path}: {why}", hint="give a name in a folder that is there and may be written to")


def _sync_folder(path: str) -> None:
    handle = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _public(data: bytes, path: str) -> PublicKey:
    try:
        return sshsig.parse_public_key(data)
    except KeyInvalid as error:
        raise KeyInvalid(f"{path}: {error}", hint=error.hint) from error


def _public_of_private(data: bytes, path: str) -> PublicKey:
    """The public half: in the clear in OpenSSH's own format; other formats need the .pub file beside."""
    found = _OPENSSH.match(data.replace(b"\r\n", b"\n"))
    try:
        blob = base64.b64decode(found[1].replace(b"\n", b""), validate=True) if found else b""
    except binascii.Error:
        blob = b""
    if blob.startswith(_OPENSSH_MAGIC):
        try:
            return sshsig.PublicKey(_public_blob(blob[len(_OPENSSH_MAGIC) :]))
        except SignatureInvalid as error:
            raise KeyInvalid(f"{path}: {error}", hint="use another key (ssh-keygen -t ed25519)") from error
    beside = path + ".pub"
    if os.path.exists(beside):
        return load_public_key(beside)
    raise KeyInvalid(
        f"{path}: not an OpenSSH private key, and there is no {beside}",
        hint="make one with: ssh-keygen -t ed25519 -f FILE",
    )


def _public_blob(fields: bytes) -> bytes:
    """string(cipher) string(kdf) string(options) uint32(keys) string(public key): OpenSSH's PROTOCOL.key."""
    at = 0
    for _ in range(3):
        at += 4 + int.from_bytes(fields[at : at + 4], "big")
    if int.from_bytes(fields[at : at + 4], "big") != 1:
        raise SignatureInvalid("the key file does not hold exactly one key")
    at += 4
    length = int.from_bytes(fields[at : at + 4], "big")
    return fields[at + 4 : at + 4 + length]
