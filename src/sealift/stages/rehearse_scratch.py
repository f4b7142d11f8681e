"""The scratch side of a rehearsal: a private folder, drives in it, keys, a declaration. Gone when it is over.

What holds: everything lies beneath one folder of mode 0700 (loop devices are of files in it), and `Scratch.close`
takes all of it away again, mounts first, whatever happened; it may be called twice. The declaration is complete and
says in every field that it is a rehearsal: drives of a rehearsal never leave. What is not here: the scenes.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import subprocess
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from sealift.errors import BadInput
from sealift.formats import age_keys, sshsig
from sealift.trade import declaration as declarations
from sealift.trade import gate, rules, sections
from sealift.trade import release as releases
from sealift.trade.signing import Signer, load_allowed_signers, write_new, write_pair
from sealift.trade.template import render

if TYPE_CHECKING:
    from collections.abc import Container

WORD = "REHEARSAL"
COUNTRY = "AQ"  # Antarctica: a code that a form accepts, and where no cluster stands
_IMAGE = ".xfs"
_TOOLS = ("losetup", "mkfs.xfs", "mount", "umount")
_UNMOUNT_PATIENCE = 3.0  # seconds, for all mounts together
NO_LIBRARY = ("site-packages", "dist-packages", "__pycache__")  # what was installed into it, and what it compiled
LOOP_MINIMUM = 320 << 20  # mkfs.xfs wants 300 MB
LOOP_OVERHEAD = 96 << 20  # what an empty XFS of that size takes of its sparse file


@dataclass
class Size:
    """What a tree holds: entries that are no directories, and bytes of its regular files."""

    entries: int = 0
    size: int = 0


def measure(source: str, without: Container[str] = ()) -> Size:
    """Count a tree; what cannot be read is passed over, packing will tell. `without` are names of folders."""
    found = Size()
    for top, folders, names in os.walk(source):
        folders[:] = [name for name in folders if name not in without]
        for name in names:
            with contextlib.suppress(OSError):
                status = os.lstat(os.path.join(top, name))
                found.entries += 1
                found.size += status.st_size
    return found


def standard_library() -> str:
    """Where the running interpreter's own standard library is: the source when none is given."""
    return sysconfig.get_path("stdlib")


@dataclass
class Scratch:
    """One folder with everything of a rehearsal."""

    path: str
    looped: bool = False

    @classmethod
    def make(cls, beneath: str | None) -> Scratch:
        """A new private folder; BadInput where none can be made."""
        try:
            return cls(tempfile.mkdtemp(prefix="sealift-rehearsal-", dir=beneath))
        except OSError as error:
            raise BadInput(
                f"{beneath or tempfile.gettempdir()}: {(error.strerror or str(error)).lower()}",
                hint="--scratch DIR: a folder on a disk with room",
            ) from error

    def place(self, *names: str) -> str:
        """A path in it."""
        return os.path.join(self.path, *names)

    def close(self) -> None:
        """Unmount, detach, remove; an interruption waits until that is done."""
        interrupted: KeyboardInterrupt | None = None
        while os.path.exists(self.path):
            try:
                self._take_away()
                break
            except KeyboardInterrupt as stop:
                interrupted = stop
        if interrupted is not None:
            raise interrupted

    def _take_away(self) -> None:
        """All of it, by what is there: whatever was begun when an interruption came."""
        gc.collect()  # drives that nobody uses any more hold their mounts open
        if self.looped:
            deadline = time.monotonic() + _UNMOUNT_PATIENCE
            names = sorted(os.listdir(self.path))
            for name in names:
                _unmount(self.place(name), deadline)
            devices = [_device(self.place(name)) for name in names if name.endswith(_IMAGE)]
            for device in filter(None, devices):
                subprocess.run(["losetup", "-d", device], check=False, capture_output=True)
                while _attached(device) and time.monotonic() < deadline:  # the kernel detaches when it gets to it
                    time.sleep(0.05)
        _make_removable(self.path)
        shutil.rmtree(self.path, ignore_errors=True)

    def copy_standard_library(self) -> str:
        """The standard library without site-packages and compiled files, as the corpus."""
        target = self.place("corpus")
        ignore = shutil.ignore_patterns(*NO_LIBRARY)
        shutil.copytree(standard_library(), target, symlinks=True, ignore=ignore)
        return target

    def drives(self, count: int, *, name: str = "d", loop_bytes: int = 0) -> list[str]:
        """Mounts of `count` new drives: folders, or XFS on loop devices of `loop_bytes` each."""
        mounts = [self.place(f"{name}{i:02d}") for i in range(count)]
        for mount in mounts:
            os.mkdir(mount, 0o700)
            if loop_bytes:
                self._mount_loop(mount, loop_bytes)
        return mounts

    def _mount_loop(self, mount: str, size: int) -> None:
        self.looped = True
        image = mount + _IMAGE
        with open(image, "xb") as file:
            file.truncate(size)
        _run("mkfs.xfs", "-q", image)
        device = _run("losetup", "--find", "--show", image).strip()
        _run("mount", "-t", "xfs", device, mount)


def check_loop() -> None:
    """BadInput unless loop devices can be used here."""
    if os.geteuid() != 0:
        raise BadInput("--loop mounts filesystems, which only root may", hint="without --loop, drives are folders")
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        raise BadInput(f"--loop needs {', '.join(missing)}", hint="install util-linux, mount and xfsprogs")


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except subprocess.CalledProcessError as error:
        words = " ".join((error.stderr or "").split()) or f"exit {error.returncode}"
        raise BadInput(
            f"{' '.join(command)}: {words}", hint="are loop devices allowed here? without --loop, drives are folders"
        ) from error
    return done.stdout


def _unmount(mount: str, deadline: float) -> None:
    """Unmount; what a process still holds open is detached, and goes when the process does."""
    while os.path.ismount(mount):
        if subprocess.run(["umount", mount], check=False, capture_output=True).returncode == 0:
            return
        if time.monotonic() > deadline:
            subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
            return
        time.sleep(0.1)


def _device(image: str) -> str | None:
    """The loop device of an image, if it has one."""
    done = subprocess.run(["losetup", "-j", image, "-n", "-O", "NAME"], check=False, capture_output=True, text=True)
    return done.stdout.split()[0] if done.stdout.split() else None


def _attached(device: str) -> bool:
    return os.path.exists(f"/sys/block/{os.path.basename(device)}/loop/backing_file")


def _make_removable(path: str) -> None:
    """A restored tree may have folders that their owner may not write to."""
    for top, folders, _ in os.walk(path):
        for folder in folders:
            place = os.path.join(top, folder)
            with contextlib.suppress(OSError):
                if not os.path.islink(place):
                    os.chmod(place, 0o700)


# --- people, keys, declaration ---------------------------------------------------------------------------


TRAINER = "trainer@rehearsal.invalid"
NOBODY = f"{WORD}, nobody"
_PARTY = sections.Party(
    legal_name=f"{WORD}, no company",
    address=f"{WORD}, no address",
    country=COUNTRY,
    contact=NOBODY,
    ultimate_parent=f"{WORD}, no parent",
    parent_hq_country=COUNTRY,
)
_GOODS = sections.Goods(
    name="scratch", description=f"{WORD}: folders and images, no goods", kind="other", hs_code="8523.51",
    hs_version=WORD, hs_basis=WORD, classified_by=NOBODY, origin=COUNTRY, gross_grams=1, net_grams=1,
    media_value="0", data_value="0", currency="EUR", valuation_basis="media", eccn=WORD, battery_wh="0",
)  # fmt: skip


@dataclass
class People:
    """Files of the people of a rehearsal, all fresh.

    The author packs and seals too; the trainer answers; the officer releases; the recipient opens, there and at home.
    """

    author: str
    officer: str
    trainer: str
    author_line: str
    trainer_line: str
    signers: str
    identity: bytes
    recipient: str


def people(scratch: Scratch) -> People:
    """Three SSH keys, an age identity, and the allowed signers file that all of them would have."""
    author, author_line = _key(scratch.place("author"))
    officer, officer_line = _key(scratch.place("officer"))
    trainer, trainer_line = _key(scratch.place("trainer"))
    identity, recipient = age_keys.generate_identity()
    signers = scratch.place("allowed_signers")
    lines = [
        f'author@rehearsal.invalid namespaces="sealift,{releases.AUTHOR_NAMESPACE}" {author_line}',
        f'{TRAINER} namespaces="sealift,{releases.AUTHOR_NAMESPACE}" {trainer_line}',
        f'officer@rehearsal.invalid namespaces="sealift-release" {officer_line}',
    ]
    write_new(signers, ("\n".join(lines) + "\n").encode())
    return People(author, officer, trainer, author_line, trainer_line, signers, (identity + "\n").encode(), recipient)


def _key(path: str) -> tuple[str, str]:
    key = Ed25519PrivateKey.generate()
    data = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    return path, sshsig.public_key_of(key).line


def declare(
    path: str, who: People, drives: dict[str, str], size: Size, capacity: int, *, in_reply_to: str | None = None
) -> None:
    """Write a complete declaration, marked a rehearsal, of `drives` (serial -> carrier).

    With `in_reply_to`, the consignment that it answers, of the leg home, by the trainer; else of the way out, which the
    trainer may answer.
    """
    author = sections.Author(name="R. Author", email="author@rehearsal.invalid", public_key=who.author_line)
    back = sections.Return(recipients=[who.recipient], signers=[f"{TRAINER} {who.trainer_line}"])
    if in_reply_to is not None:
        author = sections.Author(name="T. Trainer", email=TRAINER, public_key=who.trainer_line)
        back = sections.Return()
    day = datetime.now(UTC).date()
    content = replace(
        declarations.blank(declarations.new_consignment_id(day.year), day),
        rehearsal=True,
        leg="outbound" if in_reply_to is None else "return",
        in_reply_to=in_reply_to or "",
        return_=back,
        author=author,
        legal_hold=declarations.NO_HOLD,
        related="none",
        shipper=_PARTY,
        consignee=_PARTY,
        end_user=_PARTY,
        site=sections.Site(operator=NOBODY, address=WORD, country=COUNTRY, access_controller=NOBODY),
        encryption=sections.Encryption(
            scheme=declarations.SCHEME, module=declarations.MODULE, key_holder=NOBODY, keys_travel_separately="no",
            recipients=[sections.KeyHolder(name=NOBODY, organisation=NOBODY, recipient=who.recipient)],
        ),
        customs=sections.Customs(
            export_procedure=WORD, import_procedure=WORD, temporary="no", incoterm="EXW", incoterm_place=WORD
        ),
        goods=[_GOODS],
        end_use=sections.EndUse(text=f"{WORD}: drives that never leave this machine", class_="other"),
        data=sections.DataSummary(
            summary=f"{WORD}: {size.entries:,} files", licence_basis="not given to anybody", personal_data="none",
            important_data="no", us_bulk_sensitive="no",
            source_bytes=max(1, size.size),
        ),
        carriers=[
            sections.Carrier(name=name, legal_name=NOBODY, contact=NOBODY, country=COUNTRY)
            for name in dict.fromkeys(drives.values())
        ],
        drives=[
            sections.Drive(
                serial=serial, carrier=carrier, goods=_GOODS.name, capacity_bytes=capacity, make=WORD, model="scratch"
            )
            for serial, carrier in drives.items()
        ],
    )  # fmt: skip
    write_new(path, render(content).encode())


def release(path: str, who: People) -> None:
    """The officer's release beside the declaration at `path`, which its author signs."""
    with open(path, "rb") as file:
        parsed = declarations.parse(file.read(), draft=False)
    now = datetime.now(UTC)
    author = who.trainer if parsed.author.public_key == who.trainer_line else who.author
    signed = releases.make_release(
        parsed,
        Signer.open(who.officer),
        gate.evaluate(parsed, rules.shipped(), gate.Facts(), now),
        load_allowed_signers(who.signers),
        author_signature=releases.sign_declaration(parsed, Signer.open(author)),
        officer="R. Officer",
        reason="a rehearsal; these drives never leave",
        reference=WORD,
        now=now,
    )
    write_pair(releases.path_beside(path), signed.data, signed.signature)
