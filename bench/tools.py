"""sealift and its peers, as commands: what each is given, and what it is asked to leave behind.

Every packing tool gets the same folder and leaves something from which all of it can be had again. sealift leaves n
drives with parity, an index, hashes and a signature; the pipeline one encrypted archive; restic a repository; cp and
b3sum a copy and a list of digests. Only sealift's is any good when a drive is lost.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.measure import Contender
from bench.sites import SPARES
from sealift.stages import rehearse_scratch as scratches

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.corpora import Corpus
    from bench.sites import Reused, Xfs

DATA, PARITY = 6, 2
SEALIFT, PIPELINE, RESTIC, COPY = "sealift pack 6+2", "tar | zstd -1 -T0 | age", "restic backup", "cp + b3sum"
# verify: everything is as signed, but nothing is called complete without a seal; repair leaves one that is the same
UNSEALED = frozenset({0, 6})
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@dataclass
class Kit:
    """Keys, declaration and scratch places that all scenarios share."""

    folder: str
    who: scratches.People
    restic: bool

    @classmethod
    def make(cls, folder: str) -> Kit:
        """Fresh keys in a fresh folder."""
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder, mode=0o700)
        who = scratches.people(scratches.Scratch(folder))
        with open(os.path.join(folder, "identity"), "wb") as file:
            file.write(who.identity)
        return cls(folder, who, shutil.which("restic") is not None)

    def path(self, *names: str) -> str:
        """A path in the kit's folder."""
        return os.path.join(self.folder, *names)

    # -- sealift

    def command(self, *arguments: str, spares: str = "-") -> list[str]:
        """The command line of sealift, with this very interpreter."""
        return [sys.executable, "-m", "bench.child", spares, *arguments]

    @property
    def env(self) -> dict[str, str]:
        """Lets the child find this package, and what this process found by that path."""
        paths = os.pathsep.join([_ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
        return {"PYTHONPATH": paths, "XDG_STATE_HOME": self.path("xdg")}

    def declare(self, mounts: list[str], corpus: Corpus) -> list[str]:
        """A declaration of these drives, and the options that name them."""
        declaration = self.path("declaration.toml")
        if os.path.exists(declaration):
            os.unlink(declaration)
        serials = {f"BENCH-{i}": f"carrier {i % 4}" for i in range(len(mounts))}
        size = scratches.Size(corpus.files, corpus.size)
        scratches.declare(declaration, self.who, serials, size, 1 << 40)
        with open(declaration, encoding="utf-8") as file:  # that of a rehearsal, which only `rehearse` packs
            text = file.read()
        with open(declaration, "w", encoding="utf-8") as file:  # a draft: nothing that is packed here can be sealed
            file.write(text.replace("rehearsal = true", "rehearsal = false"))
        options = ["--declaration", declaration, "--allow-same-filesystem"]
        for serial, mount in zip(serials, mounts, strict=True):
            options += ["--serial", f"{mount}={serial}"]
        by_carrier: dict[str, list[str]] = {}
        for serial, mount in zip(serials, mounts, strict=True):
            by_carrier.setdefault(serials[serial], []).append(mount)
        for carrier, theirs in by_carrier.items():
            options += ["--carrier", f"{carrier}={','.join(theirs)}"]
        return options

    def pack(self, corpus: Corpus, site: Reused | Xfs, before: Callable[[], None], *, pack_size: str) -> Contender:
        """`sealift pack`, whole: scan, packs, parity, index, hashes, manifest, signature."""
        mounts = site.mounts[: DATA + PARITY]
        options = self.declare(mounts, corpus)
        clear = site.drives()

        def prepare() -> None:
            shutil.rmtree(self.path("state"), ignore_errors=True)
            clear()
            before()

        arguments = ["pack", corpus.path, "--state", self.path("state"), "--parity", str(PARITY), *options]
        arguments += ["--recipient", self.who.recipient, "--sign-with", self.who.author, "--pack-size", pack_size]
        spares = SPARES if site.name == "reused" else "-"
        return Contender(SEALIFT, self.command(*arguments, spares=spares), prepare, env=self.env)

    def verify(self, mounts: list[str], before: Callable[[], None]) -> Contender:
        """`sealift verify` of all drives, from the start."""
        arguments = ["verify", *mounts, "--allowed-signers", self.who.signers, "--state", self.path("verified")]
        return Contender("sealift verify", self.command(*arguments, "--again"), before, env=self.env, codes=UNSEALED)

    def repair(self, mounts: list[str], onto: str, site: Reused | Xfs) -> Contender:
        """`sealift repair` of one lost drive onto an empty one."""
        arguments = ["repair", *mounts, "--onto", onto, "--allowed-signers", self.who.signers]
        arguments += ["--allow-same-filesystem"] if site.name == "reused" else []
        command = self.command(*arguments, spares=SPARES if site.name == "reused" else "-")
        return Contender("sealift repair --onto", command, site.one(onto), env=self.env, codes=UNSEALED)

    # -- peers

    def pipeline(self, corpus: Corpus, site: Reused | Xfs, before: Callable[[], None]) -> Contender:
        """`tar | zstd -1 -T0 | age` into one file."""
        path, redirection, clear = site.file("archive.tar.zst.age")
        script = f"tar -C {corpus.path} -c . | zstd -q -1 -T0 | age -r {self.who.recipient} {redirection}"
        return self._shell(PIPELINE, f"{script} && {site.sync(path)}", _both(clear, before))

    def backup(self, corpus: Corpus, site: Reused | Xfs, before: Callable[[], None]) -> Contender:
        """`restic backup` into a new repository."""
        path, clear = site.folder("repository")
        environment = {"RESTIC_PASSWORD": "bench", "RESTIC_CACHE_DIR": self.path("restic-cache")}

        def prepare() -> None:
            clear()
            shutil.rmtree(self.path("restic-cache"), ignore_errors=True)
            init = ["restic", "-q", "-r", path, "init"]
            os.spawnvpe(os.P_WAIT, "restic", init, {**os.environ, **environment})
            before()

        script = f"restic -q -r {path} backup {corpus.path} && {site.sync(path)}"
        return self._shell(RESTIC, script, prepare, env=environment)

    def copy(self, corpus: Corpus, site: Reused | Xfs, before: Callable[[], None]) -> Contender:
        """`cp -a`, then a list of digests of the source: neither encrypted nor compressed."""
        path, clear = site.folder("copy")
        digests = f"cd {corpus.path} && find . -type f -print0 | xargs -0 b3sum > {path}/B3SUMS"
        return self._shell(
            COPY, f"cp -a {corpus.path}/. {path} && {digests} && {site.sync(path)}", _both(clear, before)
        )

    def _shell(
        self, name: str, script: str, prepare: Callable[[], None], env: dict[str, str] | None = None
    ) -> Contender:
        return Contender(name, ["bash", "-o", "pipefail", "-c", script], prepare, env=env or {})


def _both(first: Callable[[], None], second: Callable[[], None]) -> Callable[[], None]:
    def prepare() -> None:
        first()
        second()

    return prepare


def has_repair() -> bool:
    """Whether this sealift rebuilds whole drives."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.child", "-", "repair", "--help"], check=False, capture_output=True
    )
    return done.returncode == 0
