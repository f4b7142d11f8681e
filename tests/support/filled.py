"""What a complete declaration says beside its parties, carriers and drives, where a test does not care what."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

from sealift.formats import age_keys
from sealift.formats.allowed_signers import AllowedSigners
from sealift.trade import declaration as declarations
from sealift.trade import gate, rules, sections
from sealift.trade import release as releases

if TYPE_CHECKING:
    from sealift.trade.signing import Signer

_MADE = [age_keys.generate_identity() for _ in range(2)]
RECIPIENTS = [recipient for _, recipient in _MADE]
IDENTITIES = {recipient: identity for identity, recipient in _MADE}
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


def encryption(*recipients: str) -> sections.Encryption:
    """For these recipients, by one person."""
    return sections.Encryption(
        scheme=declarations.SCHEME,
        module=declarations.MODULE,
        key_holder="Shipper GmbH",
        keys_travel_separately="yes",
        recipients=[sections.KeyHolder(name="I. Holder", organisation="Shipper GmbH", recipient=r) for r in recipients],
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
        "answers": [
            sections.Answer(question=rule.id, answer="no" if rule.holds_on == "yes" else "yes", evidence="on file")
            for rule in rules.shipped().questions
        ],
        "goods": [GOODS],
    }
    return fields | changes


def verdict(parsed: declarations.Declaration, by: rules.Rules | None = None) -> gate.Verdict:
    """What the gate says of it on the day that it states, with a screening and keys that hold nothing.

    By rules that are nowhere beside it, so that nobody asks again whether they held: the day of a test is any.
    """
    by = by or rules.parse(rules.shipped().raw + b"# of a test\n")
    day = datetime.combine(date.fromisoformat(parsed.status_as_of), time(12), UTC)
    return gate.evaluate(parsed, by, gate.Facts(author=[], screening=[], keys=[], revision=[]), day)


def released(
    parsed: declarations.Declaration, signer: Signer, author: Signer, now: datetime, by: rules.Rules | None = None,
    **words: Any,
) -> releases.SignedRelease:  # fmt: skip
    """A release by `signer`, of what `author` signs, whom the allowed signers of this call alone allow."""
    lines = f"officer@example.com {signer.public_key.line}\nwriter@example.com {author.public_key.line}\n"
    said = {"officer": "O. Fficer", "reason": "complete", "reference": "TC-1"} | words
    signed = author.sign(parsed.raw, releases.AUTHOR_NAMESPACE)
    allowed = AllowedSigners.parse(lines.encode())
    return releases.make_release(parsed, signer, verdict(parsed, by), allowed, author_signature=signed, **said, now=now)
