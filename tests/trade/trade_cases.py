"""Two people with keys, and a complete declaration."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealift.formats import sshsig
from sealift.formats.allowed_signers import AllowedSigners
from sealift.trade import declaration as d
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
    return d.Party(
        legal_name=name,
        address="Hauptstr. 1, 10115 Berlin",
        country=country,
        contact=f"{name.lower().replace(' ', '.')}@example.com",
        ultimate_parent=f"{name} Holding",
        parent_hq_country=parent_country,
    )


def content(*, count=8, names=("Anna", "Bo"), **changes):
    fields = {
        "type": d.TYPE,
        "version": 1,
        "consignment_id": "SL-2026-4F7K2Q",
        "leg": "outbound",
        "other_shipments": ["SL-2026-OTHER7"],
        "author": d.Author(name="A. Author", email="author@example.com", public_key=AUTHOR.public_key.line),
        "shipper": party("Shipper GmbH"),
        "consignee": party("Consignee Bhd", "MY", "SG"),
        "end_user": party("User Ltd", "GB", "US"),
        "end_use": d.EndUse(text="Pre-training of a 7B model", class_="training"),
        "data": d.DataSummary(
            summary="Public web text",
            licence_basis="CC BY 4.0",
            personal_data="some",
            source_bytes=80 * 10**12,
        ),
        "carriers": [d.Carrier(name=name, contact=f"{name}@example.com", country="DE") for name in names],
        "drives": [
            d.Drive(
                serial=f"SER{number:05d}",
                carrier=names[number % len(names)],
                capacity_bytes=15_360_950_534_144,
                make="Maker",
                model="Model X",
            )
            for number in range(count)
        ],
    }
    return d.Content(**(fields | changes))


def declared(**changes):
    return d.parse(d.render(content(**changes)).encode(), draft=False)


def drive(serial, carrier="Anna"):
    return d.Drive(serial=serial, carrier=carrier, capacity_bytes=1, make="m", model="x")


def carrier(name):
    return d.Carrier(name=name, contact="c", country="DE")
