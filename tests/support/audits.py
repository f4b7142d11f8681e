"""A voyage whose every record is there: screened with a hit, released twice, sealed, carried, received, freed, erased.

What users make with a command is made by its stage, at times of a past month; manifests and seal are those of a small
fleet. All lies in one folder, as it would at the origin at the end. The weights came home by a second leg.
"""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import filled
import fleet as fleets
import msgspec
import pytest
from blake3 import blake3
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealift.formats import age_keys, sshsig
from sealift.formats import manifest as mf
from sealift.formats import seal as seals
from sealift.formats.allowed_signers import AllowedSigners
from sealift.formats.manifest import FileRef
from sealift.reading import trust
from sealift.stages import custody_log
from sealift.stages import keys as proving
from sealift.stages import release as releasing
from sealift.stages import screen as screening
from sealift.trade import certificate as certs
from sealift.trade import custody_event as ev
from sealift.trade import custody_graph, rules, sections, signing, source_release, template
from sealift.trade import declaration as declarations
from sealift.trade import receipt as r
from sealift.trade.signing import Signer

OUT, HOME = "SL-2026-AUDIT1", "SL-2026-AUDIT2"
LOG = b'{"at":"2026-11-21T09:00:00.000000Z","what":"begun"}\n'
REPORT = b'{"report": "of verify"}\n'
PHOTO = b"\xff\xd8 a photograph of a seal"
LISTS = "id,name\n1,Zyxomma Qwrtplk\n2,Consignee Berhad Trading\n"
LIST_TOML = (
    'type = "sealift-list"\nversion = 1\nfile = "list.csv"\nformat = "csv"\nfetched = "{day}"\n'
    '[columns]\nid = "id"\nnames = ["name"]\n'
)


@contextlib.contextmanager
def parsed_once():
    """Declarations and rules are parsed by pure functions; a thousand verifications need not do it a thousand times."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((declarations, "parse"), (rules, "parse"), (rules, "kept")):
            patch.setattr(module, name, functools.cache(getattr(module, name)))
        yield


def _private(name):
    return Ed25519PrivateKey.from_private_bytes(blake3(f"audit {name}".encode()).digest())


def person(name):
    return Signer(f"{name} in memory", sshsig.public_key_of(_private(name)), _private(name))


ORIGIN = {"origin", "officer"}  # who in events are of the shipper's firm
NAMESPACES = {
    "author": "sealift-declaration",
    "officer": "sealift-release",
    "origin": "sealift,sealift-custody",
    "sam": "sealift-screening,sealift-keys",
    "second": "sealift-screening",
    "anna": "sealift-custody",
    "dock": "sealift-receipt,sealift-custody",
    "trainer": "sealift",
    "ed": "sealift-source-release,sealift-receipt",
    "dana": "sealift-certificate",
    "auditor": "sealift-audit",
}


def signers():
    return "".join(
        f'{name}@example.com namespaces="{spaces}" {person(name).public_key.line}\n'
        for name, spaces in NAMESPACES.items()
    ).encode()


def party(name, country="DE"):
    return sections.Party(
        legal_name=name, address="Hauptstr. 1", country=country, contact="a@example.com",
        ultimate_parent=f"{name} Holding", parent_hq_country=country,
    )  # fmt: skip


def ref(data):
    return FileRef(bytes=len(data), blake3=blake3(data).hexdigest())


@dataclass(repr=False)
class Voyage:
    """Both legs in `folder`; `begin` is when the first was screened."""

    folder: Path
    begin: datetime
    allowed: AllowedSigners = field(init=False)
    seals: dict[str, trust.TrustedSeal] = field(default_factory=dict)

    def __repr__(self):
        return f"<voyage in {self.folder}>"

    def __post_init__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.signers = self.folder / "signers"
        self.signers.write_bytes(signers())
        self.allowed = AllowedSigners.parse(signers())
        self.key = self.folder / "auditor_key"
        form = serialization.PrivateFormat.OpenSSH
        self.key.write_bytes(
            _private("auditor").private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        )
        self.key.chmod(0o600)

    def at(self, **after):
        return (self.begin + timedelta(**after)).replace(microsecond=0)

    def text(self, **after):
        return self.at(**after).strftime(r.TIME)

    @property
    def now(self):
        return self.at(days=40)

    # --- a leg

    def declare(self, consignment, serials, **changes):
        path = self.folder / f"{consignment}.toml"
        identity, recipient = age_keys.generate_identity()
        self.identities = {**filled.IDENTITIES, recipient: identity}
        fields = filled.rest(status_as_of=self.begin.date().isoformat()) | {
            "consignment_id": consignment,
            "author": sections.Author(
                name="A. Author", email="author@example.com", public_key=person("author").public_key.line
            ),
            "shipper": party("Shipper GmbH"),
            "consignee": party("Consignee Bhd", "MY"),
            "end_user": party("User Ltd", "GB"),
            "end_use": sections.EndUse(text="Training", class_="training"),
            "data": sections.DataSummary(
                summary="Text", licence_basis="CC BY", personal_data="none", source_bytes=1, important_data="no",
                us_bulk_sensitive="no",
            ),
            "carriers": [sections.Carrier(name="north", contact="n", country="DE")],
            "drives": [
                sections.Drive(serial=each, carrier="north", goods="ssd", capacity_bytes=1 << 30, make="M", model="X")
                for each in serials
            ],
        }  # fmt: skip
        path.write_text(template.render(sections.Content(**(fields | changes))))
        return path

    def clear(self, path, hours=0):
        """Screened, with what is hit decided by two people; and the keys of its recipients proved."""
        lists = self.folder / "list.csv"
        lists.write_text(LISTS)
        listed = self.folder / "list.toml"
        listed.write_text(LIST_TOML.format(day=self.begin.date().isoformat()))
        at = self.at(hours=hours)
        made = screening.screen(str(path), screening.load_lists([str(listed)]), person("sam"), by="S. Creener", now=at)
        if made.worksheet:
            sheet = Path(made.worksheet)
            text = sheet.read_text().replace('second_reviewer = ""', 'second_reviewer = "S. Econd"')
            text = text.replace('disposition = "potential"', 'disposition = "false_positive"')
            text = text.replace('rationale = ""', 'rationale = "another firm, by its register"')
            sheet.write_text(text.replace("differentiators = []", 'differentiators = ["founded 2019"]'))
            screening.dispose(
                str(path), str(sheet), person("sam"), by="S. Creener", allowed=self.allowed, now=self.at(hours=hours)
            )
            screening.second(str(path), person("second"), by="S. Econd", allowed=self.allowed)
        sent = proving.challenge(str(path), str(self.folder / "samples"), person("sam"), by="S. Creener", now=at)
        answers = []
        for holder, _, sample in sent.samples:
            identity = age_keys.parse_identities((self.identities[holder.recipient] + "\n").encode())
            answers.append(proving.load_answer(proving.answer(sample, identity).path))
        proving.check(str(path), answers, person("sam"), by="S. Creener", allowed=self.allowed, now=at)

    def release(self, path, **after):
        now = self.at(**after)
        releasing.sign(str(path), person("author"))
        asked = releasing.ask(str(path), self.allowed, lists=[str(self.folder / "list.toml")], now=now)
        return releasing.release(
            str(path), asked, person("officer"), self.allowed, officer="O. Fficer", reason="complete",
            reference="TC-1", now=now,
        )  # fmt: skip

    def seal(self, path, groups, sealed_by="origin", answers=None, **after):
        """Manifests of groups of a fleet under the declaration in `path`, in folders of drives, and their seal."""
        raw = path.read_bytes()
        parsed = declarations.parse(raw, draft=False)
        consignment = parsed.consignment_id
        name = mf.DeclarationRef(id=consignment, **msgspec.to_builtins(ref(raw)), rehearsal=False)
        reply = msgspec.UNSET if answers is None else answers.reference
        rows = []
        for group in groups:
            record = msgspec.structs.replace(group.manifest, declaration=name, in_reply_to=reply)
            data = mf.encode_manifest(record)
            drive = self.folder / "drives" / f"{consignment}-{record.group}" / "sealift"
            drive.mkdir(parents=True)
            (drive / mf.MANIFEST).write_bytes(data)
            (drive / mf.SIGNATURE).write_bytes(person(sealed_by).sign(data, mf.NAMESPACE))
            drives = [
                seals.SealDrive(id=row.id, number=row.number, serial=row.serial, label=row.label, carrier=row.carrier)
                for row in record.drives
            ]
            rows.append(
                seals.SealGroup(
                    group=record.group,
                    manifest=ref(data),
                    data=record.geometry.data,
                    parity=record.geometry.parity,
                    stripes=record.geometry.stripes,
                    totals=record.totals,
                    drives=drives,
                )
            )
        first = groups[0].manifest
        release = Path(str(path).removesuffix(".toml") + ".release.json")
        files = [raw, release.read_bytes(), Path(f"{release}.sig").read_bytes()]
        seal = seals.Seal(
            shipment=first.shipment, consignment_id=consignment, rehearsal=False, sealed_at=self.text(**after),
            scan=first.scan, order=first.order, seed=first.seed, declaration=ref(files[0]), release=ref(files[1]),
            release_signature=ref(files[2]), return_=parsed.return_leg or msgspec.UNSET, in_reply_to=reply, groups=rows,
        )  # fmt: skip
        data = seals.encode_seal(seal)
        five = dict(zip(mf.SEAL_FILES, (data, person(sealed_by).sign(data, mf.NAMESPACE), *files), strict=True))
        (self.folder / f"{first.shipment}.seal").write_bytes(seals.encode_bundle(five))
        self.seals[consignment] = trust.open_seal(five, self.allowed)
        return self.seals[consignment]

    def revise(self, consignment, edit, **after):
        """The next revision, changed by `edit` (text to text), released."""
        path = self.folder / f"{consignment}.toml"
        releasing.revise(str(path))
        path.write_text(edit(path.read_text()))
        self.release(path, **after)
        return path

    def seal_again(self, consignment, sealed_by="origin", first=msgspec.UNSET, **after):
        """What was sealed before under the revision that was released last; the seal before it stays beside it.

        `first` is when its manifests were sealed first, where their key is not valid any more.
        """
        before, path = self.seals[consignment], self.folder / f"{consignment}.toml"
        raw = path.read_bytes()
        parsed = declarations.parse(raw, draft=False)
        release = Path(str(path).removesuffix(".toml") + ".release.json")
        files = [raw, release.read_bytes(), Path(f"{release}.sig").read_bytes()]
        seal = msgspec.structs.replace(
            before.seal, sealed_at=self.text(**after), declaration=ref(raw), release=ref(files[1]),
            release_signature=ref(files[2]), return_=parsed.return_leg or msgspec.UNSET,
            groups=[msgspec.structs.replace(each, first_sealed_at=first) for each in before.seal.groups],
        )  # fmt: skip
        data = seals.encode_seal(seal)
        five = dict(zip(mf.SEAL_FILES, (data, person(sealed_by).sign(data, mf.NAMESPACE), *files), strict=True))
        (self.folder / f"{seal.shipment}.{parsed.revision}.seal").write_bytes(seals.encode_bundle(five))
        self.seals[consignment] = trust.open_seal(five, self.allowed)
        return self.seals[consignment]

    # --- on the way

    def event(self, log, consignment, kind, released, received, serials, before, after, **changes):
        """An event behind all that the log has, signed by both sides, or by those who are named in `by`."""
        copy = custody_log.read(str(log)) if log.exists() else custody_graph.Copy({}, {})
        parties = [
            ev.Party(
                name=each.title(), org="Shipper GmbH" if each in ORIGIN else "Consignee Bhd",
                id_kind="passport", paper_sha256="", key_fingerprint=person(each).public_key.fingerprint,
            )
            for each in (released, received)
        ]  # fmt: skip
        item = ev.Item(
            serials=list(serials), seal_before=before, seal_after=after, seal_class="H",
            seal_checked="intact" if before else "no_seal", condition="good", shock_indicator="clear",
        )  # fmt: skip
        hours, by = changes.pop("hours"), changes.pop("by", {released, received})
        fields = {
            "consignment_id": consignment, "log_checkpoint": custody_graph.newest(copy.entries), "event_type": kind,
            "at_utc": self.text(hours=hours), "local_timezone": "Europe/Lisbon", "place": "gate 4",
            "released_by": parties[0], "received_by": parties[1], "reason": "as planned", "items": [item],
            "photo_sha256": [], "hash_sample_result": "not_taken", "officer_ref": "", "inspection_opened": False,
            "resolves": [],
        }  # fmt: skip
        entry = ev.encode(ev.CustodyEvent(**(fields | changes)))
        custody_log.add(str(log), entry, [person(each).sign(entry.data, ev.NAMESPACE) for each in by])
        return entry.digest

    def unlock(self, log, consignment, by, hours, days=7, **changes):
        """Keys issued to a job, by the log."""
        sealed = self.seals[consignment]
        fields = {
            "shipment": sealed.seal.shipment, "seal": sealed.reference.seal, "job": "run-7",
            "recipients": [filled.RECIPIENTS[1]], "valid_until": self.text(hours=hours, days=days), "keys": 4,
            "file": ref(b"issued keys"),
        }  # fmt: skip
        said = ev.Unlocked(**(fields | changes))
        return self.event(log, consignment, "unlock", by, by, ["-"], "", "", hours=hours, items=[], unlock=said)

    def receive(self, consignment, states, name, by="dock", **after):
        """A receipt of what `states` says of each drive (by id); groups of which it says nothing are left away."""
        trusted = self.seals[consignment]
        at = self.text(**after)
        groups = []
        for group in trusted.seal.groups:
            said = [states.get(row.id) for row in group.drives]
            if None in said:
                continue
            lost = sum(each not in r.VERIFIED for each in said)
            state = "intact" if set(said) == {"intact"} else "rebuilt" if lost <= group.parity else "unseen"
            drives = [
                r.ReceiptDrive(
                    id=row.id, number=row.number, serial=row.serial, state=each,
                    read_at="" if each in {"unseen", "lost"} else at,
                )
                for row, each in zip(group.drives, said, strict=True)
            ]  # fmt: skip
            groups.append(
                r.ReceiptGroup(
                    group=group.group,
                    manifest=group.manifest,
                    data=group.data,
                    parity=group.parity,
                    state=state,
                    drives=drives,
                )
            )
        record = r.ReceiptRecord(
            shipment=trusted.seal.shipment, consignment_id=consignment, rehearsal=False,
            declaration=trusted.seal.declaration, seal=trusted.reference.seal,
            received_by=r.person("Rui Dock", "Petrel", "dock@example.org"), at=at, reports=[ref(REPORT)],
            groups_total=len(trusted.seal.groups), groups=groups,
            drives_total=sum(len(group.drives) for group in trusted.seal.groups),
        )  # fmt: skip
        data = r.encode(record)
        path = self.folder / "receipts" / name
        path.parent.mkdir(exist_ok=True)
        signing.write_pair(str(path), data, person(by).sign(data, r.NAMESPACE))
        return r.check_receipt(data, person(by).sign(data, r.NAMESPACE), self.allowed)

    def free(self, consignment, receipts, **after):
        trusted = self.seals[consignment]
        record = source_release.SourceReleaseRecord(
            shipment=trusted.seal.shipment, consignment_id=consignment, rehearsal=False,
            declaration=trusted.seal.declaration, seal=trusted.reference.seal, groups_total=len(trusted.seal.groups),
            receipts=source_release.counted(receipts), released_by=r.person("Ed Engineer", "Kittiwake", "ed@x.example"),
            at=self.text(**after),
        )  # fmt: skip
        data = source_release.encode(record)
        path = self.folder / f"{consignment}.source-release.json"
        signing.write_pair(str(path), data, person("ed").sign(data, source_release.NAMESPACE))

    def erase(self, consignment, serial, receipt, group, state="intact", **after):
        trusted = self.seals[consignment]
        begun = self.text(**after)
        record = certs.Certificate(
            shipment=trusted.seal.shipment, consignment_id=consignment, rehearsal=False,
            media=certs.Media(
                manufacturer="M", model="X", serial=serial, serial_from="drive", firmware="1", kind="solid state",
                size_bytes=1 << 30, source=f"shipment {trusted.seal.shipment}",
            ),
            method="clear", technique="overwrite", standard="NIST SP 800-88 Rev. 2, Clear",
            tool=certs.Tool(name="Linux", version="6.1", sealift="0.1.0"), begun_at=begun, ended_at=begun,
            completion=certs.Completion(confirmed_by="every write", answer="done"),
            verification=certs.Verification(
                mode="sample", places=10, bytes=1 << 20, of_bytes=1 << 30, expected="zeros", markers=5
            ),
            validation="accept", validation_reasons=[], not_checked=["copies in other places"],
            people=[certs.Person(name="Dana Dock", title="technician", date=begun, place="Lisbon", contact="d@x.org")],
            destination="",
            delivery_verified=certs.Delivery(
                receipt=receipt.file, at=receipt.record.at, group=group, state=state, signer=receipt.principal,
                fingerprint=receipt.fingerprint,
            ),
            legal_hold_checked=certs.HoldCheck(
                at=begun,
                declarations=[
                    certs.HoldStatement(declaration=trusted.seal.declaration, legal_hold="none", released=True)
                ],
            ),
            log=ref(LOG),
        )  # fmt: skip
        data = certs.encode(record)
        stem = self.folder / "erased" / f"{serial}-20261121T090000Z"
        stem.parent.mkdir(exist_ok=True)
        Path(f"{stem}.log.jsonl").write_bytes(LOG)
        signing.write_pair(f"{stem}.certificate.json", data, person("dana").sign(data, certs.NAMESPACE))

    @property
    def papers(self):
        """What a person gives to `sealift audit`."""
        names = [f"{OUT}.toml", f"{HOME}.toml", "custody", "homecustody", "receipts", "erased", "drives", "list.csv",
                 "photo.jpg", "report.json", *sorted(each.name for each in self.folder.glob("*.seal"))]  # fmt: skip
        return [str(self.folder / each) for each in names if (self.folder / each).exists()]


def make(folder, begin=None):
    """The whole voyage."""
    import hashlib

    begin = begin or (datetime.now(UTC) - timedelta(days=60)).replace(hour=8, minute=0, second=0, microsecond=0)
    v = Voyage(Path(folder), begin)
    out = fleets.make(
        Path("/nowhere"), seed=7, geometry=((2, 1), (1, 1)), lengths=[[300, 200]], on_disk=False, with_seal=False
    )
    home = fleets.make(Path("/nowhere"), seed=8, geometry=((1, 0),), lengths=[[300]], on_disk=False, with_seal=False)
    serials = [out.serial(g.number, s) for g in out.groups for s in range(g.n)]
    back = sections.Return(
        recipients=list(filled.RECIPIENTS), signers=[f"trainer@example.com {person('trainer').public_key.line}"]
    )
    path = v.declare(OUT, [*serials[:-1], "SN-REPLACED"], return_=back)
    v.clear(path)
    v.release(path, hours=1)
    releasing.revise(str(path))
    path.write_text(path.read_text().replace("SN-REPLACED", serials[-1]))
    v.release(path, hours=3)
    trusted = v.seal(path, out.groups, hours=4)
    log = v.folder / "custody"
    v.event(log, OUT, "seal", "origin", "origin", serials, "", "S1", hours=5, photo_sha256=[
        hashlib.sha256(PHOTO).hexdigest()])  # fmt: skip
    v.event(log, OUT, "handover", "origin", "anna", serials, "S1", "S1", hours=24)
    v.event(log, OUT, "handover", "anna", "dock", serials[:-1], "S1", "S1", hours=48)
    gone = v.event(log, OUT, "discrepancy", "anna", "dock", serials[-1:], "", "", hours=49, reason="left at customs")
    v.event(log, OUT, "handover", "anna", "dock", serials[-1:], "S1", "S1", hours=96, resolves=[gone])
    v.event(log, OUT, "arrive", "dock", "dock", serials, "S1", "S1", hours=97)
    v.unlock(log, OUT, "dock", hours=98)
    early = {"g0s0": "intact", "g0s1": "intact", "g0s2": "intact"}
    v.receive(OUT, early, "first.receipt.json", hours=60)
    whole = v.receive(OUT, early | {"g1s0": "intact", "g1s1": "rebuilt"}, "second.receipt.json", hours=100)
    v.free(OUT, [whole], hours=120)
    v.erase(OUT, serials[0], whole, 0, hours=200)
    answer = v.declare(
        HOME, [home.serial(0, 0)], leg="return", in_reply_to=OUT, shipper=party("Consignee Bhd", "MY"),
        consignee=party("Shipper GmbH"),
    )  # fmt: skip
    v.clear(answer, hours=140)
    v.release(answer, hours=141)
    v.seal(answer, home.groups, sealed_by="trainer", answers=trusted, hours=142)
    back, road = v.folder / "homecustody", [home.serial(0, 0)]
    v.event(back, HOME, "seal", "dock", "dock", road, "", "R1", hours=143)
    v.event(back, HOME, "handover", "dock", "anna", road, "R1", "R1", hours=144)
    v.event(back, HOME, "arrive", "anna", "origin", road, "R1", "R1", hours=149)
    v.receive(HOME, {"g0s0": "intact"}, "home.receipt.json", by="ed", hours=150)
    (v.folder / "photo.jpg").write_bytes(PHOTO)
    (v.folder / "report.json").write_bytes(REPORT)
    return v
