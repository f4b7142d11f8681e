"""What a complete declaration says beside its parties, carriers and drives, where a test does not care what."""

from __future__ import annotations

from typing import Any

from sealift.formats import age_keys
from sealift.trade import declaration as declarations
from sealift.trade import sections

RECIPIENTS = [age_keys.generate_identity()[1] for _ in range(2)]
GOODS = sections.Goods(
    name="ssd",
    description="Solid state drive",
    kind="ssd",
    hs_code="8523.51",
    hs_version="HS 2022",
    hs_basis="solid-state non-volatile storage device",
    classified_by="C. Lassifier",
    origin="KR",
    gross_grams=310,
    net_grams=160,
    media_value="5760.00",
    data_value="0.00",
    currency="EUR",
    valuation_basis="media",
    eccn="5A992.c",
    battery_wh="0",
)


def rest(**changes: Any) -> dict[str, Any]:
    """Fields of sections.Content."""
    fields: dict[str, Any] = {
        "type": declarations.TYPE,
        "version": 1,
        "leg": "outbound",
        "status_as_of": "2026-11-20",
        "retention_until": "2036-11-20",
        "legal_hold": "none",
        "related": "none",
        "site": sections.Site(
            operator="Site Ltd",
            address="1 Dock Road, London",
            country="GB",
            chips="H100 SXM5",
            chip_eccn="3A090.a",
            gpu_count=2400,
            access_controller="S. Ite",
        ),
        "encryption": sections.Encryption(
            scheme=declarations.SCHEME,
            module=declarations.MODULE,
            key_holder="Shipper GmbH",
            keys_travel_separately="yes",
            recipients=[
                sections.KeyHolder(name=name, organisation="Shipper GmbH", recipient=recipient)
                for name, recipient in zip(("I. Holder", "J. Holder"), RECIPIENTS, strict=True)
            ],
        ),
        "customs": sections.Customs(
            export_procedure="permanent export",
            import_procedure="free circulation",
            temporary="no",
            incoterm="DAP",
            incoterm_place="London",
        ),
        "goods": [GOODS],
    }
    return fields | changes
