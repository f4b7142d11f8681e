"""All papers of a shipment into one folder: from its declaration, and from the records that are there.

    DIR/CONSIGNMENT-invoice-pro-forma.pdf, -packing-list.pdf, -hand-carry-1-anna.pdf, -end-use-statement.pdf,
        -red-flags-and-release.pdf                   always
        -ata-general-list.pdf, .csv                  where everything comes back (customs.temporary)
        -screening-report.pdf                        where NAME.screening.json lies beside the declaration
        -custody-01-seal.pdf ...                     of each event of a custody log
        -discrepancy-report.pdf, -delivery-drive-17.pdf ...        of receipts
        -sanitization-drive-17-TIME.pdf              of certificates

What holds: the folder is new, and appears with every paper in it or not at all; nothing that was there is changed. A
record whose signature does not hold, or that is of another declaration, makes no paper: the command is refused. A paper
that the declaration gives no reason for is named, with why. The same files on the same day give the same bytes.

What is not here: what is on a paper (trade/papers_*.py), how it looks, words for people (cli/documents.py).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from blake3 import blake3
from msgspec.structs import replace

from sealift.errors import BadInput, Refused
from sealift.reading import trust
from sealift.stages import custody as custody_stage
from sealift.stages import erase_papers, origin, screen
from sealift.stages import release as release_stage
from sealift.stages.standing import standing
from sealift.trade import (
    certificate,
    custody,
    discrepancy,
    gate,
    papers_arrival,
    papers_customs,
    papers_gate,
    screening,
    signing,
    source_release,
    typeset,
)
from sealift.trade import receipt as receipt_record
from sealift.trade import release as releases
from sealift.trade.paper import Frame
from sealift.trade.papers_customs import Place, Sealed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.trade.declaration import Declaration
    from sealift.trade.paper import Paper
    from sealift.trade.receipt import Receipt, ReceiptGroup
    from sealift.trade.release import Release


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Files that papers are made from. Without `allowed` no signature is believed, and only the screening is read.

    `rules` is a file of rules in place of those shipped.
    """

    declaration_file: str
    declaration: Declaration
    release: Release | None
    now: datetime
    allowed: AllowedSigners | None = None
    invoice: papers_customs.Invoice = "pro-forma"
    rules: str | None = None
    seal: str | None = None
    custody: str | None = None
    receipts: Sequence[str] = ()
    certificates: Sequence[str] = ()


class Written(NamedTuple):
    """A file in the folder: its name, the paper's title, and the BLAKE3 of its bytes."""

    file: str
    title: str
    bytes: int
    blake3: str


class Result(NamedTuple):
    """What was written, and what was not, with why; `marked` cells of the CSV looked like formulas."""

    frame: Frame
    papers: Sequence[Written]
    left_out: Sequence[tuple[str, str]]
    marked: int


class _Made(NamedTuple):
    name: str
    title: str
    data: bytes


def documents(sources: Sources, folder: str) -> Result:
    """Write all papers to `folder`, which must not be there, or be empty.

    Raises BadInput (the folder, a record that cannot be read, a name that no font has), Refused or SignatureInvalid for
    what does not hold, FormatError for a record that is none.
    """
    seal = _seal(sources)
    release = sources.release or (seal.release if seal else None)
    against: tuple[str, ...] = ()
    if release is not None:
        stands = standing(
            sources.declaration_file, sources.declaration, release.record, sources.allowed, sources.now,
            principal=release.principal,
        )  # fmt: skip
        against = stands.why + tuple(
            f"{each.text}, and that all drives had left the origin no custody log that is given says"
            for each in (() if stands.ended and _have_left(sources) else stands.ended)
        )
    frame = Frame.of(sources.declaration, release, sources.now.date(), against)
    maker = _Maker(sources, frame, seal)
    written: list[Written] = []
    with _new_folder(folder) as inside:
        for made in maker.made():
            if any(made.name == other.file for other in written):
                raise BadInput(f"two papers would be {made.name}", hint="give every record once")
            _write(os.path.join(inside, made.name), made.data)
            written.append(Written(made.name, made.title, len(made.data), blake3(made.data).hexdigest()))
            typeset.forget()
    return Result(frame, written, maker.left_out, maker.marked)


def _have_left(sources: Sources) -> bool:
    """By the custody log, where one is given, every declared drive has left the origin, and none is back there."""
    if sources.custody is None or sources.allowed is None:
        return False
    ground = custody_stage.Ground(sources.custody, sources.declaration, "", sources.allowed, sources.now)
    serials = (drive.serial for drive in sources.declaration.drives if drive.serial)
    declared = {serial for serial in serials if not serial.startswith(custody.BY_NETWORK)}
    return custody_stage.account(ground).away.issuperset(declared)


class _Maker:
    """Papers one after the other, so that no more than one is held at a time."""

    def __init__(self, sources: Sources, frame: Frame, seal: trust.TrustedSeal | None) -> None:
        self._sources, self._frame, self._seal = sources, frame, seal
        self.left_out: list[tuple[str, str]] = []
        self.marked = 0

    def made(self) -> Iterator[_Made]:
        for paper in self._papers():
            yield _Made(f"{paper.name}.pdf", paper.title, typeset.typeset("paper", paper.data, self._frame.day))
        yield from self._general_list()

    def _papers(self) -> Iterator[Paper]:
        frame, sources = self._frame, self._sources
        yield papers_customs.invoice(frame, sources.invoice)
        yield papers_customs.packing_list(frame, _sealed(self._seal))
        for number, part in enumerate(frame.parts, start=1):
            if part.carrier is not None:
                yield papers_customs.hand_carry(frame, part, number)
        yield papers_gate.end_use_statement(frame)
        yield from self._screening()
        verdict = _verdict(sources)
        if isinstance(verdict, str):
            self.left_out.append(("verdict of the rules, in the worksheet", verdict))
        yield papers_gate.worksheet(frame, verdict)
        yield from self._custody()
        yield from self._arrival()
        yield from self._sanitization()

    def _general_list(self) -> Iterator[_Made]:
        if self._sources.declaration.customs.temporary != "yes":
            why = "customs.temporary does not say that every drive comes back"
            self.left_out.append(("general list for an ATA carnet", why))
            return
        general = papers_customs.general_list(self._frame)
        self.marked = general.marked
        pdf = typeset.typeset("paper", general.paper.data, self._frame.day)
        yield _Made(f"{general.paper.name}.pdf", general.paper.title, pdf)
        yield _Made(f"{general.paper.name}.csv", general.paper.title, general.csv)

    def _screening(self) -> Iterator[Paper]:
        path = screening.path_beside(self._sources.declaration_file)
        screened = _screened(path, self._sources)
        if screened is None:
            self.left_out.append(("screening report", f"there is no {path}"))
        else:
            yield papers_gate.screening_report(self._frame, screened)

    def _custody(self) -> Iterator[Paper]:
        sources = self._sources
        if sources.custody is None or sources.allowed is None:
            return
        ground = custody_stage.Ground(sources.custody, sources.declaration, "", sources.allowed, sources.now)
        account = custody_stage.account(ground)
        wrong = [finding.text for finding in account.findings if not finding.holds]
        if wrong:
            raise Refused(
                f"the custody log {sources.custody} does not hold: {wrong[0]}",
                hint=f"sealift custody {sources.custody} --declaration {sources.declaration_file} shows all of it",
            )
        for row in account.rows:
            name = f"custody-{row.number:02}-{row.event.event_type.replace('_', '-')}"
            yield papers_arrival.custody_form(self._frame, row.entry, name)

    def _arrival(self) -> Iterator[Paper]:
        sources, frame = self._sources, self._frame
        if not sources.receipts or sources.allowed is None:
            return
        receipts = erase_papers.load(sources.receipts, [], sources.allowed, sources.now).receipts
        for receipt in receipts:
            papers_arrival.check_receipt_is_of(frame, receipt)
            self._check_against_seal(receipt)
        said = receipt_record.newest(receipts)
        yield from self._discrepancy(said)
        for _, (receipt, group) in sorted(said.items()):
            for drive in group.drives:
                if drive.came:
                    yield papers_arrival.delivery_certificate(frame, receipt, group, drive)
                elif drive.remade:
                    why = f"{drive.serial} was made again on another medium, and itself not verified"
                    self.left_out.append((f"delivery certificate of drive {drive.number}", why))

    def _check_against_seal(self, receipt: Receipt) -> None:
        """Refused for a receipt that the seal contradicts, where there is one."""
        if self._seal is None:
            return
        seal, sources = self._seal, self._sources
        people = origin.by_seal(seal)
        if sources.allowed is not None:
            beside = origin.beside(sources.declaration_file, seal.seal.consignment_id, sources.allowed)
            people = people.joined(beside.people)
        ground = source_release.Ground(seal.seal, seal.reference.seal, seal.declaration, people)
        for why in source_release.objections_to(ground, receipt, sources.now):
            raise Refused(f"the receipt of {receipt.record.at} by {receipt.principal} {why}")

    def _discrepancy(self, said: Mapping[int, tuple[Receipt, ReceiptGroup]]) -> Iterator[Paper]:
        """What the newest receipts say of every group, beside what was sealed."""
        seal = self._seal
        if seal is None:
            self.left_out.append(("discrepancy report", "no seal is given to compare with"))
            return
        latest = max((receipt for receipt, _ in said.values()), key=lambda each: each.record.at)
        record = replace(latest.record, groups=[group for _, (_, group) in sorted(said.items())])
        sources, hands = self._sources, None
        if sources.allowed is not None:
            hands = origin.hands(seal, sources.custody, sources.allowed, sources.now)
        report = discrepancy.compare(seal.seal, seal.declaration, seal.officer, record, {}, hands)
        if report is None:
            self.left_out.append(("discrepancy report", "every drive is intact"))
        else:
            yield papers_arrival.discrepancy_report(self._frame, report)

    def _sanitization(self) -> Iterator[Paper]:
        sources = self._sources
        if not sources.certificates or sources.allowed is None:
            return
        numbers = {drive.serial: number for number, drive in enumerate(sources.declaration.drives, start=1)}
        for path in dict.fromkeys(sources.certificates):
            trusted, digest = _certificate(path, sources.allowed)
            signer = f"{trusted.principal}, key {trusted.fingerprint}"
            number = numbers.get(trusted.record.media.serial, 0)
            yield papers_arrival.sanitization_certificate(self._frame, trusted.record, signer, digest, number)


# --- records ---------------------------------------------------------------------------------------------


def _verdict(sources: Sources) -> gate.Verdict | str:
    """What the rules come to by the records beside the declaration; of a released one, at the time of its release.

    Or why it cannot be said: a rehearsal, a release that is not beside the declaration but in the seal, or one whose
    rules and records are not kept there. Refused when other rules than those of the release are given.
    """
    file, released = sources.declaration_file, sources.release
    beside = os.path.lexists(releases.path_beside(file))
    if sources.declaration.rehearsal or (sources.seal is not None and not beside):
        return "a rehearsal" if sources.declaration.rehearsal else "the release is in the seal, and not beside it"
    if released is None and sources.allowed is None:
        unknown = ["no allowed signers were given, so that no signature was checked"]
        facts = gate.Facts(author=unknown, screening=unknown, keys=unknown, revision=[])
        return gate.evaluate(sources.declaration, release_stage.load_rules(sources.rules), facts, sources.now)
    if released is None and sources.allowed is not None:
        asked = release_stage.ask(
            file, sources.allowed, rules_file=sources.rules, now=sources.now, rescreen=False
        )  # fmt: skip
        return asked.verdict
    assert released is not None
    if sources.rules and release_stage.load_kept(sources.rules).rules.digest != released.record.rules.blake3:
        raise Refused(
            f"it was released by other rules, of edition {released.record.rules.edition}",
            hint="leave --rules away: those of a release are kept beside it",
        )
    return release_stage.verdict_of(file, sources.declaration, released)


def _seal(sources: Sources) -> trust.TrustedSeal | None:
    """The seal, if one is given: it must hold, and be of this declaration."""
    if sources.seal is None or sources.allowed is None:
        return None
    trusted = trust.open_seal(trust.load_seal(sources.seal), sources.allowed)
    if trusted.declaration.digest != sources.declaration.digest:
        raise Refused(
            f"the seal is of another declaration: it is of BLAKE3 {trusted.declaration.digest}",
            hint="give the declaration that the shipment was sealed under",
        )
    return trusted


def _sealed(trusted: trust.TrustedSeal | None) -> Sealed | None:
    if trusted is None:
        return None
    drives = [drive for group in trusted.seal.groups for drive in group.drives]
    places = {drive.serial: Place(drive.id, drive.label) for drive in drives}
    return Sealed(trusted.seal.shipment, trusted.seal.sealed_at, trusted.reference.seal.blake3, places)


def _screened(path: str, sources: Sources) -> papers_gate.Screened | None:
    """The screening beside the declaration. Its signature is checked where it is said whose count."""
    if not os.path.lexists(path):
        return None
    data = signing.read_limited(path, screening.MAX_RECORD, "screening")
    digest = blake3(data).hexdigest()
    if sources.allowed is None:
        record = screening.decode(data)
        if record.consignment_id != sources.declaration.consignment_id:
            raise Refused(f"{path} is a screening of {record.consignment_id}")
        problems = screening.record_problems(record, sources.now, reviewed=False)
        problems += screen.beside(path, sources.declaration, None)
        return papers_gate.Screened(record, digest, "", "", problems)
    with signing.of_record(path):
        checked = screen.load_checked(path, sources.allowed)
    if checked is None:
        return None
    problems = screening.standing(sources.declaration, checked, [], sources.now)
    problems += screen.beside(path, sources.declaration, sources.allowed)
    reviewer = checked.reviewer and f"{checked.reviewer.principal}, key {checked.reviewer.fingerprint}"
    signer = f"{checked.signer.principal}, key {checked.signer.fingerprint}"
    return papers_gate.Screened(checked.record, digest, signer, reviewer or "", problems)


def _certificate(path: str, allowed: AllowedSigners) -> tuple[certificate.Trusted, str]:
    """A certificate with its log beside it, as `erase` writes both, and the BLAKE3 of its bytes."""
    data = signing.read_limited(path, certificate.MAX_CERTIFICATE, "certificate")
    signature = signing.read_signature(path)
    log = signing.read_limited(_log_beside(path), certificate.MAX_LOG, "the certificate's log")
    with signing.of_record(path):
        return certificate.check_certificate(data, signature, log, allowed), blake3(data).hexdigest()


def _log_beside(path: str) -> str:
    return path.removesuffix(".certificate.json") + ".log.jsonl"


# --- the folder ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _new_folder(path: str) -> Iterator[str]:
    """A folder to write into, which gets the name `path` at the end, or is taken away again."""
    path = os.path.abspath(path)
    if os.path.lexists(path) and not (os.path.isdir(path) and not os.listdir(path)):
        raise BadInput(f"{path} is there already; nothing was changed", hint="give a folder that is not there yet")
    above = os.path.dirname(path)
    temporary = os.path.join(above, f".sealift-{secrets.token_hex(8)}")
    try:
        os.mkdir(temporary)
        yield temporary
        _sync(temporary)
        os.rename(temporary, path)  # an empty folder is replaced; one that is not, though it came meanwhile, is not
        _sync(above)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}", hint="give a folder where files may be written") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(path: str, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
