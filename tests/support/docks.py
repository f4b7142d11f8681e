"""Drives on a dock that are to be erased: loop devices, the papers for them, and the command."""

import os
from pathlib import Path

import erasures

from sealift.cli import main
from sealift.trade import certificate as certificates

MIB = 1 << 20


class Dock:
    """Drives on a dock, the papers for them, and the command."""

    def __init__(self, made, tmp_path, count=1, size=3 * MIB, serials=None):
        self.images = [made.image(f"{number}.img", size) for number in range(count)]
        for image in self.images:
            image.write_bytes(os.urandom(size))
        self.nodes = [made.attach(image) for image in self.images]
        self.names = [str(image) for image in self.images]
        self.serials = serials or tuple(f"SER{number}" for number in range(max(1, count)))
        self.papers = erasures.Papers(tmp_path, self.serials)

    def words(self, *more, yes=(), method="clear"):
        labels = zip(self.names, self.serials, strict=False)
        serials = [word for name, serial in labels for word in ("--serial", f"{name}={serial}")]
        done = self.papers.do(*yes) if yes else []
        return ["erase", *self.names, *self.papers.look(), *serials, "--method", method, *done, *more]

    def run(self, *more, **how):
        return main.run(self.words(*more, **how))

    def erase(self, *more):
        return self.run(*more, yes=self.names)

    def kept(self):
        return all(image.read_bytes().count(0) < image.stat().st_size // 2 for image in self.images)

    def certified(self):
        """The certificates, each checked against its log and signature."""
        found = []
        for path in self.papers.written(".certificate.json"):
            log = Path(str(path).replace(".certificate.json", ".log.jsonl")).read_bytes()
            found.append(
                certificates.check_certificate(
                    path.read_bytes(), Path(f"{path}.sig").read_bytes(), log, erasures.ALLOWED
                ).record
            )
        return found
