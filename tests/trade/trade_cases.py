"""Two people with keys, and a complete declaration."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from filled import rest

from sealift.formats import sshsig
from sealift.formats.allowed_signers import AllowedSigners
from sealift.trade import declaration as d
from sealift.trade import sections, template
from sealift.trade.signing import Signer


def signer(seed):
    key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    return Signer("in memory", sshsig.public_key_of(key), key)


AUTHOR, OFFICER, STRANGER = signer(1), signer(2), signer(3)
ALLOWED = AllowedSigners.parse(
    f'officer@example.com namespaces="sealift-release" {OFFICER.public_key.line}\n'
    f"author@example.com {AUTHOR.public_key.line}\n".encode()
)


def party(name, country="DE", parent_country="CH"):
    return sections.Party(
        legal_name=name,
        address="Hauptstr. 1, 10115 Berlin",
        country=country,
        contact=f"{name.lower().replace(' ', '.')}@example.com",
        ultimate_parent=f"{name} Holding",
        parent_hq_country=parent_country,
    )


def content(*, count=8, names=("Anna", "Bo"), **changes):
    fields = rest() | {
        "consignment_id": "SL-2026-4F7K2Q",
        "related": "listed",
        "related_shipments": [related("SL-2026-OTHER7")],
        "author": sections.Author(name="A. Author", email="author@example.com", public_key=AUTHOR.public_key.line),
        "shipper": party("Shipper GmbH"),
        "consignee": party("Consignee Bhd", "MY", "SG"),
        "end_user": party("User Ltd", "GB", "US"),
        "end_use": sections.EndUse(text="Pre-training of a 7B model", class_="training"),
        "data": sections.DataSummary(
            summary="Public web text",
            licence_basis="CC BY 4.0",
            personal_data="some",
            source_bytes=80 * 10**12,
            person_count=1000,
            transfer_tool="Standard contractual clauses",
            important_data="no",
            us_bulk_sensitive="no",
        ),
        "carriers": [sections.Carrier(name=name, contact=f"{name}@example.com", country="DE") for name in names],
        "drives": [
            sections.Drive(
                serial=f"SER{number:05d}",
                carrier=names[number % len(names)],
                goods="ssd",
                capacity_bytes=15_360_950_534_144,
                make="Maker",
                model="Model X",
            )
            for number in range(count)
        ],
    }
    return sections.Content(**(fields | changes))


def related(consignment_id):
    return sections.RelatedShipment(
        consignment_id=consignment_id, shipped_on="2026-10-01", shipper="Shipper GmbH", consignee="Consignee Bhd",
        drives=4, capacity_bytes=4 * 10**12, gross_grams=1240, value="100.10", currency="USD",
    )  # fmt: skip


def declared(**changes):
    return d.parse(template.render(content(**changes)).encode(), draft=False)


def drive(serial, carrier="Anna", goods="ssd"):
    return sections.Drive(serial=serial, carrier=carrier, goods=goods, capacity_bytes=1, make="m", model="x")


def carrier(name):
    return sections.Carrier(name=name, contact="c", country="DE")
