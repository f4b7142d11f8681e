"""A shipment in which most that a paper can say is said, every paper of it, and drawn declarations."""

from datetime import date
from decimal import Decimal

import custody_cases
import erasures
import filled
import msgspec
import screening_cases
import test_certificate
import test_receipt
from blake3 import blake3
from filled import GOODS
from hypothesis import strategies as st
from test_sheets import NOW, released
from trade_cases import AUTHOR, OFFICER, content, party

from sealift.formats import seal as seals
from sealift.formats.manifest import NAMESPACE, SEAL_FILES, FileRef, Totals
from sealift.trade import declaration as d
from sealift.trade import (
    discrepancy,
    gate,
    paper,
    papers_arrival,
    papers_customs,
    papers_gate,
    receipt,
    rules,
    screening,
    sections,
    template,
)

DAY = date(2026, 11, 26)
NAMES = ("Anna", "Bo", "阿里山快递有限公司", "شركة الخليج للنقل")
CARRIERS = [
    sections.Carrier(name=name, legal_name=legal, native_name=native, contact="+49 170 0000000", country=country)
    for name, legal, native, country in zip(
        NAMES,
        ("Anna Größe-Öztürk", "Bo Ångström", "Alishan Express Ltd", "Gulf Transport LLC"),
        ("", "", NAMES[2], NAMES[3]),
        ("DE", "SE", "CN", "AE"),
        strict=True,
    )
]
DISK = msgspec.structs.replace(
    GOODS, name="hdd", description="Hard disk drive, 24 TB, used", kind="hdd", hs_code="8471.70", origin="TH",
    gross_grams=1001, net_grams=721, media_value="499.99", data_value="12.35", currency="USD",
    valuation_basis="media and data",
)  # fmt: skip
CUSTOMS = sections.Customs(
    export_procedure="temporary export, 23 00", import_procedure="temporary admission", temporary="yes",
    carnet_no="DE/B/26/0042", re_export_by="2027-05-20", declaration_refs=["26DE000000000000X1"],
    eei="X20261120123456", incoterm="DAP", incoterm_place="Kuala Lumpur",
)  # fmt: skip


def drives(count):
    return [
        sections.Drive(
            serial=f"SER{number:05d}", carrier=NAMES[number * 4 // count], goods="ssd" if number % 3 else "hdd",
            capacity_bytes=15_360_950_534_144 if number % 3 else 24_000_277_250_048,
            make="Example Storage", model="MZWLR15THALA-00007",
            package_no=str(number // 5 + 1), seal_no=f"H-{100417 + number // 5}",
        )
        for number in range(count)
    ]  # fmt: skip


def full(count=60, **changes):
    """A complete declaration of 60 drives and 4 carriers, with two currencies, charges, and a party replaced."""
    fields = {
        "revision": 2, "supersedes": "ab" * 32, "carriers": CARRIERS, "goods": [GOODS, DISK], "drives": drives(count),
        "customs": CUSTOMS,
        "consignee": msgspec.structs.replace(
            party("Malaya Compute Sdn Bhd", "MY", "SG"), native_name="马来亚计算有限公司", registration_no="R 77",
            eori="DE1234567", owners=[sections.Owner(name="Quarter Holding", country="SG", percent="25")],
        ),
        "intermediates": [
            sections.Intermediate(
                role="customs broker", legal_name="Broker & Söhne", address="Pier 1, Hamburg", country="DE",
                contact="b@example.com", ultimate_parent="Broker & Söhne", parent_hq_country="DE",
            )
        ],
        "replaced": [
            sections.Replaced(role="end_user", legal_name="Old User Ltd", since_revision=2, reason="merged")
        ],
        "charges": [
            sections.Charge(name="freight", amount="1250.00", currency="EUR"),
            sections.Charge(name="insurance", amount="310.5", currency="USD"),
        ],
        "authorisations": [
            sections.Authorisation(
                authority="BAFA", number="2026/1234", expiry="2027-11-20", conditions="no onward transfer",
                covers=["parent-d5-training"],
            )
        ],
    }  # fmt: skip
    return declared(**(fields | changes))


def declared(**changes):
    return d.parse(template.render(content(**changes)).encode(), draft=False)


def drafted(**changes):
    return d.parse(template.render(content(**changes)).encode(), draft=True)


def frame(declaration, *, final=False):
    return paper.Frame.of(declaration, released(declaration) if final else None, DAY)


ANSWERS = [
    sections.Answer(
        question="parent-d5-training", answer="yes", evidence="opinion EX-77", resolver="O. Fficer",
        resolved_on="2026-11-21",
    )
]  # fmt: skip
ROWS = [
    gate.Row(rule, {0: "resolved", 1: "held"}.get(at, "clear"), "yes", "opinion EX-77", "2026/1234 covers it")
    for at, rule in enumerate(rules.shipped().rules)
]
VERDICT = gate.Verdict(rules.shipped(), "ab" * 32, rehearsal=False, rows=ROWS)
REPORT = discrepancy.Discrepancy(
    shipment="cd072cd8be6f9f62", consignment_id="SL-2026-4F7K2Q", rehearsal=False, at="2026-11-30T10:00:00Z",
    received_by="Dana Dock (Petrel), dock@example.org", drives_total=60, state="recoverable",
    carriers=[
        discrepancy.CarrierPart(
            carrier=name, contact="c", expected=15, intact=15 - len(wrong), rebuilt=0, remade=0, damaged=0,
            missing=len(wrong), unread=0,
            drives=[
                discrepancy.Line(
                    drive=f"g0s{number - 1}", number=number, group=0, serial=f"SER{number - 1:05d}", what="missing",
                    read_at=None, why=None,
                )
                for number in wrong
            ],
        )
        for name, wrong in zip(NAMES, ((3, 9), (), (), ()), strict=True)
    ],
    groups=[discrepancy.GroupPart(group=0, state="rebuilt", data=50, parity=10, whole=58, needs=0)],
    means=["group 0: every byte can be had"], todo=["look for it"],
    tell=[discrepancy.Tell(who="Shipper GmbH", contact="s@example.com", about="all of this")],
)  # fmt: skip


def checked_receipt(at=test_receipt.RECORD.at, **changes):
    record = msgspec.structs.replace(test_receipt.RECORD, at=at, **changes)
    data = receipt.encode(record)
    return receipt.check_receipt(data, erasures.RECEIVER.sign(data, receipt.NAMESPACE), erasures.ALLOWED)


def screened(record, problems=()):
    return papers_gate.Screened(record, "cd" * 32, "screener@example.com, key SHA256:x", "", list(problems))


def of_declaration(shown, kind="pro-forma"):
    """Every paper that a declaration alone makes, and a report of what did not come."""
    report = msgspec.structs.replace(REPORT, consignment_id=shown.declaration.consignment_id)
    sheets = [
        papers_customs.hand_carry(shown, part, number)
        for number, part in enumerate(shown.parts, start=1)
        if part.carrier is not None
    ]
    return [
        papers_customs.invoice(shown, kind), papers_customs.packing_list(shown),
        papers_customs.general_list(shown).paper, *sheets, papers_gate.end_use_statement(shown),
        papers_gate.worksheet(shown, VERDICT), papers_arrival.discrepancy_report(shown, report),
    ]  # fmt: skip


def of_records(*, final=False):
    """Every paper that another record makes, each of the declaration of that record."""
    like = screening_cases.like()
    open_, done = screening_cases.screened(like), screening_cases.disposed(screening_cases.screened(like))
    holds = screening.record_problems(open_, screening_cases.NOW, reviewed=False)
    log = custody_cases.sealed()
    by_hand = custody_cases.side("anna", paper=True)
    digest = log.record("handover", "origin", by_hand, [custody_cases.item(custody_cases.SERIALS[:2], "S1")])
    yet = log.event("handover", "origin", by_hand, [custody_cases.item(custody_cases.SERIALS[2:], "S1")])
    keys = log.record("unlock", "origin", "origin", [], unlock=custody_cases.unlocked())
    custody = frame(custody_cases.DECLARATION, final=final)
    received = frame(test_receipt.DECLARED.declaration)
    got = checked_receipt()
    return [
        papers_gate.screening_report(frame(like, final=final), screened(open_, holds)),
        papers_gate.screening_report(frame(like, final=final), screened(done)),
        papers_arrival.custody_form(custody, log.entries[digest], "custody-02-handover"),
        papers_arrival.custody_form(custody, yet, "custody"),
        papers_arrival.custody_form(custody, log.entries[keys], "custody-03-unlock"),
        *(
            papers_arrival.delivery_certificate(received, got, group, drive)
            for group in got.record.groups
            for drive in group.drives
            if drive.state in receipt.VERIFIED
        ),
        papers_arrival.sanitization_certificate(
            received, msgspec.structs.replace(test_certificate.RECORD, consignment_id=erasures.CONSIGNMENT),
            "op@example.org, key SHA256:x", "ee" * 32, 1,
        ),
    ]  # fmt: skip


# --- drawn declarations: any weights, amounts of any currency, packages, drives without goods or carrier

AMOUNTS = st.decimals(Decimal(0), Decimal(10) ** 11, places=4).map(lambda value: f"{value:f}")
CURRENCIES = st.sampled_from(["EUR", "USD", "JPY", "KWD", "CNY", "XYZ"])


@st.composite
def drawn(draw):
    """A draft: what customs sees of it, drawn."""
    kinds = [
        msgspec.structs.replace(
            GOODS, name=f"g{number}", gross_grams=draw(st.integers(0, 10**7)), net_grams=draw(st.integers(0, 10**7)),
            media_value=draw(AMOUNTS), data_value=draw(AMOUNTS), currency=draw(CURRENCIES),
            valuation_basis=draw(st.sampled_from(["media", "media and data"])),
        )
        for number in range(draw(st.integers(1, 4)))
    ]  # fmt: skip
    names = [f"C{number}" for number in range(draw(st.integers(1, 4)))]
    items = [
        sections.Drive(
            serial=f"S{number}", carrier=draw(st.sampled_from([*names, ""])),
            goods=draw(st.sampled_from([each.name for each in kinds] + [""])),
            capacity_bytes=draw(st.integers(0, 10**15)), make="m", model="x",
            package_no=draw(st.sampled_from(["", "1", "2"])),
        )
        for number in range(draw(st.integers(1, 12)))
    ]  # fmt: skip
    related = [
        sections.RelatedShipment(
            consignment_id=f"SL-R{number}", shipped_on="2026-10-01", shipper="s", consignee="c",
            drives=draw(st.integers(1, 99)), capacity_bytes=draw(st.integers(1, 10**15)),
            gross_grams=draw(st.integers(1, 10**6)), value=draw(AMOUNTS), currency=draw(CURRENCIES),
        )
        for number in range(draw(st.integers(0, 3)))
    ]  # fmt: skip
    charges = [
        sections.Charge(name="freight", amount=draw(AMOUNTS), currency=draw(CURRENCIES))
        for _ in range(draw(st.integers(0, 2)))
    ]
    carriers = [sections.Carrier(name=name, contact="c", country="DE") for name in names]
    return drafted(
        goods=kinds, drives=items, carriers=carriers, related_shipments=related, charges=charges,
        related="listed" if related else "none", customs=CUSTOMS,
    )  # fmt: skip


# --- files


def signed_release(declaration):
    return filled.released(declaration, OFFICER, AUTHOR, NOW, reason="ok", reference="R1")


def sealed(declaration):
    """The bundle of a seal of one group of all drives, as `sealift seal` writes it."""
    made = signed_release(declaration)

    def ref(data):
        return FileRef(bytes=len(data), blake3=blake3(data).hexdigest())

    total = len(declaration.drives)
    rows = [
        seals.SealDrive(
            id=f"g0s{slot}", number=slot + 1, serial=drive.serial, label=f"cd072c-{slot + 1}of{total}",
            carrier=drive.carrier,
        )
        for slot, drive in enumerate(declaration.drives)
    ]  # fmt: skip
    group = seals.SealGroup(
        group=0, manifest=ref(b"m"), data=total - 1, parity=1, stripes=1, drives=rows,
        totals=Totals(files=1, members=1, source_bytes=1, packed_bytes=1, parity_bytes=1),
    )  # fmt: skip
    record = seals.Seal(
        shipment="cd072cd8be6f9f62", consignment_id=declaration.consignment_id, rehearsal=False,
        sealed_at="2026-11-25T08:00:00Z", scan="11" * 32, order="path", seed=0, declaration=ref(declaration.raw),
        release=ref(made.data), release_signature=ref(made.signature), groups=[group],
    )  # fmt: skip
    data = seals.encode_seal(record)
    files = (data, AUTHOR.sign(data, NAMESPACE), declaration.raw, made.data, made.signature)
    return seals.encode_bundle(dict(zip(SEAL_FILES, files, strict=True)))
