"""What the fields of a declaration must hold together, each fault with its path and what it wants.

Nothing here depends on a clock or on lists that others keep: what was complete once stays so. What is not here: empty
fields (declaration.py), codes (codes.py), and questions of law (gate.py).
"""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from sealift.errors import KeyInvalid
from sealift.formats import strict
from sealift.trade.explained import HELP
from sealift.trade.sections import Party, RelatedShipment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sealift.formats.age import Recipient
    from sealift.trade.sections import Content

COMPUTES = frozenset({"training", "fine-tuning", "evaluation", "inference"})  # classes of end use that need chips
ROLES = ("shipper", "consignee", "end_user", "agent")
# Of models, in a text about a use that is said to be another one; training of people is no concern here.
_TRAINS = re.compile(r"pre-?train\w*|fine-?tun\w*|训练|訓練|обучени[ея] модел\w*|تدريب", re.IGNORECASE)
_TRAINING = re.compile(r"\b(?:train(?:s|ed|ing)?|trainier\w*)\b", re.IGNORECASE)
_MODELS = re.compile(r"\b(?:models?|modelle?n?|llms?|networks?|weights|gpus?|\d+b)\b", re.IGNORECASE)
_COUNTRY = re.compile(r"[A-Z]{2}")
_DATES = frozenset(
    {"status_as_of", "retention_until", "shipped_on", "resolved_on", "expiry", "birth_date", "re_export_by"}
)


def faults(content: Content) -> list[str]:
    """Every field that does not fit another, in the order of the form."""
    found: list[str] = []
    for where, name, value in _texts(content, ""):
        if name in _DATES and day(value) is None:
            found.append(f"{where}: {value!r} is no day; wants one like 2026-11-20")
        elif (name.endswith("country") or name == "origin") and not _COUNTRY.fullmatch(value):
            found.append(f"{where}: {value!r} is no country of ISO 3166; wants two capital letters, such as DE")
    if content.legal_hold.strip().casefold() == "none" != content.legal_hold:
        found.append('legal_hold: nobody ordered it? then write it as "none"')
    for check in (_revision, _related, _owners, _agent, _end_use, _site, _data, _encryption, _customs, _goods, _rows):
        check(content, found)
    return found


def notes(content: Content) -> list[str]:
    """What may be right and is worth a second look, each with its path."""
    found = []
    if content.customs.carnet_no and content.customs.temporary == "yes" and content.leg == "outbound":
        found.append(
            "customs.carnet_no: a carnet is for goods that all come back; it is wrong for drives that stay, are sold, "
            "or are destroyed"
        )
    begins, ends = day(content.status_as_of), day(content.retention_until)
    if begins and ends and ends < _years_later(begins, 10):
        found.append("retention_until: less than ten years ahead, which OFAC and 28 CFR 202 ask where they apply")
    capacity = sum(drive.capacity_bytes for drive in content.drives)
    if content.drives and content.data.source_bytes > 10 * capacity:
        found.append("data.source_bytes: more than ten times what the drives hold")
    use = content.end_use
    if use.class_ in {"other", "storage"} and (said := _TRAINING.search(use.text)):
        found.append(f'end_use.class: "{use.class_}", and the text says {said[0]!r}; is a model trained, now or later?')
    found += _shared_packages(content)
    for number, other in enumerate(content.related_shipments, start=1):
        shipped = day(other.shipped_on)
        if begins and shipped and abs((shipped - begins).days) > 90:
            found.append(f"related_shipments[{number}].shipped_on: not within 90 days of {content.status_as_of}")
    return found


def _shared_packages(content: Content) -> list[str]:
    """Numbers of packages that several carriers have: each may count its own from 1, or somebody took one for two."""
    having: dict[str, dict[str, int]] = {}
    for number, drive in enumerate(content.drives, start=1):
        if drive.package_no and drive.carrier:
            having.setdefault(drive.package_no, {}).setdefault(drive.carrier, number)
    shared = {package: carriers for package, carriers in having.items() if len(carriers) > 1}
    if not shared:
        return []
    package, carriers = next(iter(shared.items()))
    packages = sum(map(len, having.values()))
    which = f"{package!r} is" if len(shared) == 1 else f"{package!r} and {len(shared) - 1:,} more are each"
    names, second = ", ".join(list(carriers)[:4]) + (" ..." if len(carriers) > 4 else ""), list(carriers.values())[1]
    text = (
        f"drives[{second}].package_no: {which} with several carriers ({names}), and a"
        f" package is one carrier's: papers count {packages:,} packages; number them otherwise if they are fewer"
    )
    return [text]


def day(text: str) -> date | None:
    """The day in a text, None where there is no such day."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _years_later(start: date, years: int) -> date:
    try:
        return start.replace(year=start.year + years)
    except ValueError:  # 29 February
        return start.replace(year=start.year + years, day=28)


def default_retention(start: date) -> date:
    """Ten years after `start`: OFAC and 28 CFR 202 ask ten, 15 CFR 762.6 asks five."""
    return _years_later(start, 10)


def unique(found: list[str], table: str, names: Sequence[str], field: str = "name") -> None:
    """A fault for every name that is there twice, but for case."""
    seen: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if name and name.casefold() in seen:
            of = "is the name of" if field == "name" else "is that of"
            found.append(f"{table}[{number}].{field}: {name!r} {of} {table}[{seen[name.casefold()]}] too")
        seen.setdefault(name.casefold(), number)


def _revision(content: Content, found: list[str]) -> None:
    if content.revision == 1 and content.supersedes:
        found.append("supersedes: belongs to a later revision (revision = 2 and on)")
    elif content.revision > 1 and not content.supersedes:
        found.append("supersedes: empty; wants the BLAKE3 of the revision before: sealift declare --revise fills it in")
    for number, old in enumerate(content.replaced, start=1):
        if old.since_revision and not 2 <= old.since_revision <= content.revision:
            found.append(
                f"replaced[{number}].since_revision: {old.since_revision} is none; wants a revision from 2 to this one"
            )


def _related(content: Content, found: list[str]) -> None:
    rows: list[RelatedShipment] = content.related_shipments
    if content.related == "none" and rows:
        found.append('related: says none, and some are listed; wants "listed"')
    elif content.related == "listed" and not rows:
        found.append('related_shipments: none; at least one [[related_shipments]] is wanted, or related = "none"')
    unique(found, "related_shipments", [row.consignment_id for row in rows], "consignment_id")
    for number, row in enumerate(rows, start=1):
        if row.consignment_id and row.consignment_id == content.consignment_id:
            found.append(f"related_shipments[{number}].consignment_id: names this shipment itself")


def _owners(content: Content, found: list[str]) -> None:
    for role in ROLES:
        party: Party = getattr(content, role)
        shares = [Decimal(owner.percent) for owner in party.owners if owner.percent.strip()]
        if sum(shares) > 100 or any(share > 100 for share in shares):
            found.append(f"{role}.owners: more than 100 percent together")


def _agent(content: Content, found: list[str]) -> None:
    if content.agent == Party():
        return
    for item in strict.fields_of(type(content.agent)):
        value, want = getattr(content.agent, item.name), HELP[f"shipper.{item.name}"].want
        if want and not str(value).strip():
            found.append(f"agent.{item.name}: empty; {want}")


def _end_use(content: Content, found: list[str]) -> None:
    text = content.end_use.text
    said = _TRAINS.search(text) or (_TRAINING.search(text) if _MODELS.search(text) else None)
    if content.end_use.class_ == "other" and said:
        found.append(
            f'end_use.class: "other", and the text speaks of {said[0]!r}; wants training or fine-tuning, or a text that'
            " says what else it is"
        )


def _site(content: Content, found: list[str]) -> None:
    if content.leg == "outbound" and content.end_use.class_ in COMPUTES:
        for name, want in (("chips", "what computes there"), ("chip_eccn", "their classification, or EAR99")):
            if not getattr(content.site, name).strip():
                found.append(f"site.{name}: empty; {content.end_use.class_} wants {want}")
        if not content.site.gpu_count:
            found.append(f"site.gpu_count: empty; {content.end_use.class_} wants how many of them this work may use")


def _data(content: Content, found: list[str]) -> None:
    data = content.data
    if data.personal_data == "none" and (data.person_count or data.sensitive_count):
        found.append('data.person_count: people are counted, and data.personal_data is "none"')
    if data.personal_data in {"some", "sensitive"}:
        if not data.person_count:
            found.append("data.person_count: empty; wants about how many people it is about")
        if data.sensitive_count > data.person_count:
            found.append("data.sensitive_count: more than data.person_count")
        if bool(data.sensitive_count) != (data.personal_data == "sensitive"):
            found.append("data.sensitive_count: must be more than 0 of sensitive data, and 0 of any other")
        if not data.transfer_tool.strip() and content.site.country != content.shipper.country:
            found.append("data.transfer_tool: empty; personal data that goes to another country wants what it goes on")


def _encryption(content: Content, found: list[str]) -> None:
    from sealift.formats import age, age_keys  # who only reads drives does without

    rows = content.encryption.recipients
    parsed: list[Recipient] = []
    for number, row in enumerate(rows, start=1):
        if not row.recipient:
            continue
        try:
            recipient = age_keys.parse_recipient(row.recipient)
        except KeyInvalid as error:
            found.append(f"encryption.recipients[{number}].recipient: {error}")
            continue
        if str(recipient) in map(str, parsed):
            found.append(f"encryption.recipients[{number}].recipient: is there twice")
        parsed.append(recipient)
    if parsed:
        try:
            age.check_recipients(parsed)
        except KeyInvalid as error:
            found.append(f"encryption.recipients: {error}")


def _customs(content: Content, found: list[str]) -> None:
    customs = content.customs
    if customs.carnet_no and customs.temporary == "no":
        found.append('customs.carnet_no: a carnet is for goods that come back; customs.temporary is "no"')
    if customs.temporary == "yes" and not customs.re_export_by:
        found.append("customs.re_export_by: empty; what is temporary wants the day by which everything is out again")


def _goods(content: Content, found: list[str]) -> None:
    unique(found, "goods", [goods.name for goods in content.goods])
    used = {drive.goods for drive in content.drives}
    for number, goods in enumerate(content.goods, start=1):
        if goods.gross_grams and goods.net_grams > goods.gross_grams:
            found.append(f"goods[{number}].net_grams: more than gross_grams")
        if goods.name and content.drives and goods.name not in used:
            found.append(f"goods[{number}].name: no drive is {goods.name!r}")


def _rows(content: Content, found: list[str]) -> None:
    unique(found, "answers", [answer.question for answer in content.answers], "question")
    for number, answer in enumerate(content.answers, start=1):
        name = answer.resolver.strip()
        if name and not any(map(str.isalpha, name)):
            found.append(
                f"answers[{number}].resolver: {name!r} is nobody's name; wants who looked into it, or to be left empty"
            )
        elif bool(name) != bool(answer.resolved_on):
            found.append(f"answers[{number}].resolver: who looked into it and when (resolved_on) belong together")


def _texts(section: Struct, path: str) -> Iterator[tuple[str, str, str]]:
    """Path, name and value of every text that is not blank."""
    for item in strict.fields_of(type(section)):
        value: Any = getattr(section, item.name)
        where = path + item.encode_name
        if isinstance(value, str) and value.strip():
            yield where, item.name, value
        elif isinstance(value, Struct):
            yield from _texts(value, where + ".")
        elif isinstance(value, list):
            for number, row in enumerate(value, start=1):
                if isinstance(row, Struct):
                    yield from _texts(row, f"{where}[{number}].")
