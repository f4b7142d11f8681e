"""A shipment that arrives: its fleet of drives, a receiver and people at the origin with keys, reports of verify."""

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import fleet as fleets
import msgspec
from cryptography.hazmat.primitives import serialization

from sealift.formats import manifest as mf
from sealift.formats import seal as seals
from sealift.formats import sshsig
from sealift.formats.allowed_signers import AllowedSigners
from sealift.reading.trust import open_seal
from sealift.stages import custody_log, verify_report
from sealift.stages import receive as stage
from sealift.stages.verify import verify
from sealift.trade import custody_event as ev
from sealift.trade import receipt as r
from sealift.trade.signing import Signer

WHO = r.person("Rui Dock", "Petrel", "dock@example.org")
LENGTHS = [[3000, 2000], [70, 60], [50, 50]]


def signer(fleet, what):
    private = fleets.key(fleet.seed, what)
    return Signer("in memory", sshsig.public_key_of(private), private)


def key_file(fleet, what, path):
    """A private key of the fleet in a file, as --sign-with takes it."""
    private = fleets.key(fleet.seed, what)
    form = serialization.PrivateFormat.OpenSSH
    Path(path).write_bytes(private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    Path(path).chmod(0o600)
    return str(path)


def signers(fleet):
    """The allowed signers of the origin, and who receives and frees; everybody of the origin may receive, too."""
    lines = [
        f'dock@example.org namespaces="sealift-receipt,sealift-custody" {signer(fleet, "dock").public_key.line}',
        f'hub@example.org namespaces="sealift-receipt" {signer(fleet, "hub").public_key.line}',
        f'ed@example.com namespaces="sealift-source-release" {signer(fleet, "ed").public_key.line}',
        f'greedy@example.org namespaces="sealift-source-release" {signer(fleet, "dock").public_key.line}',
        *(
            f'{what}@example.com namespaces="sealift-receipt" {signer(fleet, what).public_key.line}'
            for what in ("author", "signing", "officer")
        ),
    ]
    return fleet.allowed_bytes + ("\n".join(lines) + "\n").encode()


@dataclasses.dataclass
class World:
    """A fleet, whose signatures count, and its seal as the receiver holds it."""

    fleet: fleets.Fleet

    def __post_init__(self):
        self.signers = signers(self.fleet)
        self.allowed = AllowedSigners.parse(self.signers)
        self.trusted = open_seal(self.fleet.seal_files, self.allowed)
        self.digest = self.trusted.reference.seal.blake3

    def resealed(self, sealed_at="2026-01-04T00:00:00Z"):
        """The seal that supersedes: the same drives, another time."""
        record = msgspec.structs.replace(self.trusted.seal, sealed_at=sealed_at)
        data = seals.encode_seal(record)
        signature = sshsig.sign_ed25519(data, self.fleet.signing, mf.NAMESPACE)
        names = {mf.SEAL_FILES[0]: data, mf.SEAL_FILES[1]: signature}
        return open_seal(self.fleet.seal_files | names, self.allowed)

    def drives(self, *names):
        """Drives in memory by name (g0s1); all of them where none is named."""
        return [each for each in self.fleet.memory() if not names or each.mount.rpartition("/")[2] in names]

    def report(self, drives=None, **more):
        """What verify says of drives (all of them: None)."""
        given = self.drives() if drives is None else drives
        asked = {"allowed": self.allowed, "remember": False, "seal": self.fleet.seal_files} | more
        return verify(given, **asked)

    def weigh(self, *reports, now=None, trusted=None, **more):
        parts = [part(report, f"host{number}.json") for number, report in enumerate(reports)]
        return stage.weigh(trusted or self.trusted, parts, now or datetime.now(UTC), **more)

    def receive(self, weighed, folder, *, by="dock", now=None, trusted=None, allowed=None, seal=None,
                custody=None):  # fmt: skip
        return stage.receive(
            trusted or self.trusted, weighed, WHO, signer(self.fleet, by), allowed or self.allowed, str(folder),
            now or datetime.now(UTC), seal=seal, custody=custody,
        )  # fmt: skip

    def carried(self, folder, name):
        """The log in which the key of `name` signed as a carrier; its folder."""
        party = ev.Party(
            name="Otto", org="north", id_kind="passport", paper_sha256="",
            key_fingerprint=signer(self.fleet, name).public_key.fingerprint,
        )  # fmt: skip
        item = ev.Item(
            serials=[self.trusted.declaration.drives[0].serial], seal_before="", seal_after="S1", seal_class="H",
            seal_checked="no_seal", condition="good", shock_indicator="clear",
        )  # fmt: skip
        event = ev.CustodyEvent(
            consignment_id=self.trusted.seal.consignment_id, log_checkpoint=ev.Checkpoint(events=0, newest=[]),
            event_type="seal", at_utc="2026-01-04T08:00:00Z", local_timezone="Europe/Lisbon", place="gate 4",
            released_by=party, received_by=party, reason="a case closed", items=[item], photo_sha256=[],
            hash_sample_result="not_taken", officer_ref="", inspection_opened=False, resolves=[],
        )  # fmt: skip
        entry = ev.encode(event)
        custody_log.add(str(folder), entry, [signer(self.fleet, name).sign(entry.data, ev.NAMESPACE)])
        return str(folder)

    def who(self, name, principal):
        """Allowed signers by which the key of `name` is a further one of somebody's."""
        line = f"{principal} {signer(self.fleet, name).public_key.line}\n"
        return AllowedSigners.parse(self.signers + line.encode())

    def received(self, *reports, by="dock", now=None, **more):
        """A checked receipt, written nowhere."""
        weighed = self.weigh(*reports, now=now, **more)
        record = stage.record_of(self.trusted, weighed, WHO, now or datetime.now(UTC))
        data = r.encode(record)
        return r.check_receipt(data, signer(self.fleet, by).sign(data, r.NAMESPACE), self.allowed)


def make(seed=41, geometry=((2, 1), (1, 1)), **how):
    """A world whose drives are in memory."""
    how = {"lengths": LENGTHS, "on_disk": False} | how
    return World(fleets.make(how.pop("root", Path("/nowhere")), seed=seed, geometry=geometry, **how))


def part(report, name):
    return name, report if isinstance(report, bytes) else msgspec.json.encode(report)


def again(report):
    """A copy of a report, to be altered."""
    return verify_report.read_part(msgspec.json.encode(report), "copy")


def copies(report):
    """Its readings by drive."""
    return {copy.drive: copy for group in report.groups for copy in group.present}


def states(groups):
    """{group: state} and {drive: state} of what was weighed or received."""
    return {group.group: group.state for group in groups}, {
        drive.id: drive.state for group in groups for drive in group.drives
    }
