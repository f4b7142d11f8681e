"""The tables of a declaration, as records: what a file may say, before anything is asked of it.

What holds: every field may be empty, so that a draft is a value like any other; lists and texts are within their
limits. Money is a decimal number in quotes, weights are whole grams, so that totals are exact (totals.py). What a
complete declaration must hold is in declaration.py, what each field means in explained.py.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from sealift.formats import seal, sshsig, strict

MAX_DRIVES = 10_000
MAX_CARRIERS = 1_000
MAX_GOODS = 1_000
MAX_ROWS = 1_000  # of each other list
MAX_SHORT_LIST = 50  # owners of a party, recipients, references

Text = Annotated[str, Meta(max_length=500)]
LongText = Annotated[str, Meta(max_length=4000)]
KeyText = Annotated[str, Meta(max_length=sshsig.MAX_KEY_LINE)]
Id = Annotated[str, Meta(max_length=64, pattern=r"\A([A-Za-z0-9][A-Za-z0-9._-]{2,63})?\Z")]
CarrierName = Annotated[str, Meta(max_length=64, pattern=r"\A[^,=]*\Z")]  # as in --carrier NAME=MNT,MNT
Serial = Annotated[str, Meta(max_length=64, pattern=r"\A[!-~]*\Z")]
Country = Annotated[str, Meta(max_length=2)]
KeyLine = Annotated[str, Meta(max_length=strict.MAX_LINE)]
Bytes = Annotated[int, Meta(ge=0, le=1 << 62)]
Grams = Annotated[int, Meta(ge=0, le=10**12)]
Count = Annotated[int, Meta(ge=0, le=10**12)]
Amount = Annotated[str, Meta(max_length=20, pattern=r"\A([0-9]{1,15}(\.[0-9]{1,4})?)?\Z")]
Currency = Annotated[str, Meta(max_length=3, pattern=r"\A([A-Z]{3})?\Z")]
HsCode = Annotated[str, Meta(max_length=14, pattern=r"\A([0-9][0-9.]*)?\Z")]
Percent = Annotated[str, Meta(max_length=8, pattern=r"\A([0-9]{1,3}(\.[0-9]{1,4})?)?\Z")]
Date = Annotated[str, Meta(max_length=10, pattern=r"\A([0-9]{4}-[0-9]{2}-[0-9]{2})?\Z")]
Digest = Annotated[str, Meta(max_length=64, pattern=r"\A([0-9a-f]{64})?\Z")]
Name = Annotated[str, Meta(max_length=64, pattern=r"\A([A-Za-z0-9][A-Za-z0-9._-]{0,63})?\Z")]  # of goods, questions
YesNo = Literal["", "yes", "no"]
Answered = Literal["", "yes", "no", "unknown"]


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the tables of a declaration; every field may be empty in a draft."""


class Author(Section, frozen=True, kw_only=True):
    """Who wrote the declaration; releases by this key are refused."""

    name: Text = ""
    email: Text = ""
    public_key: KeyText = ""


class Owner(Section, frozen=True, kw_only=True):
    """Who owns a part of a party; `percent` of it, in quotes."""

    name: Text = ""
    country: Country = ""
    percent: Percent = ""


class Party(Section, frozen=True, kw_only=True):
    """A company or person of the shipment."""

    legal_name: Text = ""
    native_name: Text = ""
    address: Text = ""
    country: Country = ""
    registration_no: Text = ""
    eori: Text = ""
    ein: Text = ""
    contact: Text = ""
    ultimate_parent: Text = ""
    parent_hq_country: Country = ""
    owners: Annotated[list[Owner], Meta(max_length=MAX_SHORT_LIST)] = []


class Intermediate(Section, frozen=True, kw_only=True):
    """Whoever else has to do with the goods on the way: forwarder, broker, hub."""

    role: Text = ""
    legal_name: Text = ""
    native_name: Text = ""
    address: Text = ""
    country: Country = ""
    contact: Text = ""
    ultimate_parent: Text = ""
    parent_hq_country: Country = ""


class EndUse(Section, frozen=True, kw_only=True):
    """What the data and the drives are used for."""

    text: LongText = ""
    class_: Literal["", "training", "fine-tuning", "evaluation", "inference", "storage", "other"] = field(
        default="", name="class"
    )


class Site(Section, frozen=True, kw_only=True):
    """Where the drives are plugged in, what computes there, and who says who gets in."""

    operator: Text = ""
    address: Text = ""
    country: Country = ""
    chips: Text = ""
    chip_eccn: Text = ""
    gpu_count: Count = 0
    access_controller: Text = ""


class DataSummary(Section, frozen=True, kw_only=True):
    """What is on the drives."""

    summary: LongText = ""
    licence_basis: LongText = ""
    source_bytes: Bytes = 0
    personal_data: Literal["", "none", "some", "sensitive"] = ""
    person_count: Count = 0
    sensitive_count: Count = 0
    transfer_tool: Text = ""
    important_data: Answered = ""
    us_bulk_sensitive: Answered = ""


class KeyHolder(Section, frozen=True, kw_only=True):
    """Who can open the drives: a person, and the age recipient of their identity."""

    name: Text = ""
    organisation: Text = ""
    recipient: KeyLine = ""


class Encryption(Section, frozen=True, kw_only=True):
    """How the data is kept from thieves, and who can open it."""

    scheme: Text = ""
    module: Text = ""
    key_holder: Text = ""
    keys_travel_separately: YesNo = ""
    recipients: Annotated[list[KeyHolder], Meta(max_length=MAX_SHORT_LIST)] = []


class Customs(Section, frozen=True, kw_only=True):
    """Under which procedures the goods cross borders."""

    export_procedure: Text = ""
    import_procedure: Text = ""
    temporary: YesNo = ""
    carnet_no: Text = ""
    re_export_by: Date = ""
    declaration_refs: Annotated[list[Text], Meta(max_length=MAX_SHORT_LIST)] = []
    eei: Text = ""
    incoterm: Text = ""
    incoterm_place: Text = ""


class Return(Section, frozen=True, kw_only=True):
    """Of an outbound shipment: for whom the leg home is encrypted, and whose signatures on it are accepted."""

    recipients: Annotated[list[KeyLine], Meta(max_length=seal.MAX_RETURN)] = []
    signers: Annotated[list[KeyLine], Meta(max_length=seal.MAX_RETURN)] = []  # PRINCIPAL KEYTYPE KEY


class RelatedShipment(Section, frozen=True, kw_only=True):
    """Another shipment of the same ultimate parent or end user; its totals are printed with this one's."""

    consignment_id: Id = ""
    shipped_on: Date = ""
    shipper: Text = ""
    consignee: Text = ""
    drives: Count = 0
    capacity_bytes: Bytes = 0
    gross_grams: Grams = 0
    value: Amount = ""
    currency: Currency = ""


class Replaced(Section, frozen=True, kw_only=True):
    """A party or carrier that an earlier revision named; both names are printed."""

    role: Text = ""
    legal_name: Text = ""
    since_revision: Count = 0
    reason: Text = ""


class Goods(Section, frozen=True, kw_only=True):
    """One kind of drive as customs sees it; weights and values are of one piece."""

    name: Name = ""
    description: Text = ""
    kind: Literal["", "ssd", "hdd", "tape", "other"] = ""
    hs_code: HsCode = ""
    hs_version: Text = ""
    hs_basis: Text = ""
    classified_by: Text = ""
    origin: Country = ""
    gross_grams: Grams = 0
    net_grams: Grams = 0
    media_value: Amount = ""
    data_value: Amount = ""
    currency: Currency = ""
    valuation_basis: Literal["", "media", "media and data"] = ""
    eccn: Text = ""
    battery_wh: Amount = ""


class Carrier(Section, frozen=True, kw_only=True):
    """Who carries some of the drives; `legal_name` where the name is not already one."""

    name: CarrierName = ""
    legal_name: Text = ""
    native_name: Text = ""
    address: Text = ""
    contact: Text = ""
    country: Country = ""
    registration_no: Text = ""
    ultimate_parent: Text = ""
    parent_hq_country: Country = ""
    birth_date: Date = ""


class Drive(Section, frozen=True, kw_only=True):
    """One drive, by its serial number."""

    serial: Serial = ""
    carrier: CarrierName = ""
    goods: Name = ""
    capacity_bytes: Bytes = 0
    make: Text = ""
    model: Text = ""
    package_no: Text = ""
    seal_no: Text = ""


class Charge(Section, frozen=True, kw_only=True):
    """A cost beside the goods: freight, insurance, packing."""

    name: Text = ""
    amount: Amount = ""
    currency: Currency = ""


class Answer(Section, frozen=True, kw_only=True):
    """The answer to a question of the rules; where it holds the shipment, who decided that it may go, and when."""

    question: Name = ""
    answer: Answered = ""
    evidence: LongText = ""
    resolver: Text = ""
    resolved_on: Date = ""


class Authorisation(Section, frozen=True, kw_only=True):
    """A licence, permit or counsel's opinion, and the rules that it is for."""

    authority: Text = ""
    number: Text = ""
    expiry: Date = ""
    conditions: LongText = ""
    covers: Annotated[list[Name], Meta(max_length=MAX_SHORT_LIST)] = []


class Content(Section, frozen=True, kw_only=True):
    """Everything a declaration says, in the order of the file."""

    type: Literal["sealift-declaration"]
    version: Literal[1]
    consignment_id: Id = ""
    revision: Annotated[int, Meta(ge=1, le=10_000)] = 1
    supersedes: Digest = ""
    rehearsal: bool = False
    leg: Literal["", "outbound", "return"] = ""
    in_reply_to: Id = ""
    status_as_of: Date = ""
    retention_until: Date = ""
    legal_hold: Text = ""
    related: Literal["", "none", "listed"] = ""
    author: Author = Author()
    shipper: Party = Party()
    consignee: Party = Party()
    end_user: Party = Party()
    agent: Party = Party()
    end_use: EndUse = EndUse()
    site: Site = Site()
    data: DataSummary = DataSummary()
    encryption: Encryption = Encryption()
    customs: Customs = Customs()
    return_: Return = field(default=Return(), name="return")
    intermediates: Annotated[list[Intermediate], Meta(max_length=MAX_ROWS)] = []
    related_shipments: Annotated[list[RelatedShipment], Meta(max_length=MAX_ROWS)] = []
    replaced: Annotated[list[Replaced], Meta(max_length=MAX_ROWS)] = []
    answers: Annotated[list[Answer], Meta(max_length=MAX_ROWS)] = []
    authorisations: Annotated[list[Authorisation], Meta(max_length=MAX_ROWS)] = []
    charges: Annotated[list[Charge], Meta(max_length=MAX_ROWS)] = []
    carriers: Annotated[list[Carrier], Meta(max_length=MAX_CARRIERS)] = []
    goods: Annotated[list[Goods], Meta(max_length=MAX_GOODS)] = []
    drives: Annotated[list[Drive], Meta(max_length=MAX_DRIVES)] = []
