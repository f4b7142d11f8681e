"""What each field of a declaration is, in the words of the form; and what is wanted where it is empty.

`HELP` has one entry for each field of sections.Content, by its path without row numbers; a test holds that none is
missing or left over. A field is required exactly if its entry has a `want`. What depends on other fields is in
declaration.py. Sources of what is asked: docs/spec/declaration.md.
"""

from __future__ import annotations

from typing import NamedTuple


class Help(NamedTuple):
    """`what` explains a field or table, with an example; `want` ends the sentence "empty; ..."."""

    what: str
    want: str = ""


HEAD = """\
Declaration of one shipment. Fill in every field, then: sealift declare --check FILE
Packing may begin with a draft; drives leave only when a second person has released the complete
declaration (sealift release). It is bound as its exact bytes: any change afterwards, of a comment too,
needs a new revision (sealift declare --revise FILE) and a new release. Declare the whole shipment here,
whoever carries which part of it. This form asks for no legal opinion and gives none: ask your
trade-compliance officer what else is due. Fields that are marked (optional) may stay empty."""

_TWO = "wants two letters, such as DE"

_NAMES = {
    "legal_name": Help(
        'Name as in the company register. Example: "Example Research GmbH"', "wants the name as registered"
    ),
    "native_name": Help(
        "(optional) The same name in its own script, where that is not Latin; it is screened too. "
        'Example: "示例研究有限公司"'
    ),
    "address": Help(
        'Postal address in one line. Example: "Hauptstr. 1, 10115 Berlin"',
        "wants the postal address in one line",
    ),
    "country": Help('Country of that address, two letters of ISO 3166. Example: "DE"', _TWO),
    "contact": Help(
        'A person who answers for it. Example: "A. Person, a.person@example.com, +49 30 000000"',
        "wants a person, with e-mail or telephone",
    ),
    "ultimate_parent": Help(
        'The company at the top of its ownership; its own name if it has none. Example: "Example Holding AG"',
        "wants the company at the top of its ownership, or its own name",
    ),
    "parent_hq_country": Help(
        'Country of that company\'s headquarters, two letters. Example: "CH"', "wants two letters, such as CH"
    ),
}

_PARTY = _NAMES | {
    "registration_no": Help('(optional) Number in the company register. Example: "HRB 12345 B"'),
    "eori": Help('(optional) EORI number, where it exports from or imports into the EU or GB. Example: "DE1234567"'),
    "ein": Help("(optional) Employer identification number, where it files with US authorities."),
    "owners": Help(
        "(optional) Who owns a quarter of it or more, each with a share in percent. "
        'Example: [{ name = "Example Holding AG", country = "CH", percent = "60" }]'
    ),
    "owners.name": Help("", "wants the owner's name"),
    "owners.country": Help("", _TWO),
    "owners.percent": Help("", "wants the share in percent, in quotes"),
}
_AGENT = {name: Help(text.what.removeprefix("(optional) ")) for name, text in _PARTY.items()}

HELP: dict[str, Help] = {
    "type": Help("What this file is. Leave as it is."),
    "version": Help("Version of this form. Leave as it is."),
    "consignment_id": Help(
        "Id of the shipment, on every drive, label and sheet. Drawn at random; keep it.",
        "wants an id, such as SL-2026-4F7K2Q",
    ),
    "revision": Help("Counts the released states of this declaration. sealift declare --revise counts it up."),
    "supersedes": Help(
        "BLAKE3 of the revision before, which lies beside this file; sealift declare --revise fills it in."
    ),
    "rehearsal": Help("true only for a rehearsal on scratch drives; then everything made from it says REHEARSAL."),
    "leg": Help('"outbound" to the cluster, or "return" from it.', "wants outbound or return"),
    "in_reply_to": Help(
        "Only of a return leg: id of the outbound shipment that it answers; printed on every sheet. "
        'Example: "SL-2026-4F7K2Q"',
        "wants the id of the outbound shipment that this one answers",
    ),
    "status_as_of": Help(
        'Day on which everything stated here was so. Example: "2026-11-20"', "wants a day, such as 2026-11-20"
    ),
    "retention_until": Help(
        "Until when the records of this shipment are kept; ten years is what the longest of the known rules ask "
        "(OFAC, 28 CFR 202).",
        "wants a day, ten years ahead where nobody says otherwise",
    ),
    "legal_hold": Help(
        'Whether anybody ordered that this data be kept: "none", or who did, and under which reference. sealift erase '
        'refuses a drive of this shipment unless the answer is "none".',
        "wants none, or who ordered that the data be kept, and where that is on file",
    ),
    "related": Help(
        "Whether there are other shipments of the same ultimate parent or end user, shipped within 90 days before or "
        'after this one: "none", or "listed" below under related_shipments. Their totals are printed with this one\'s.',
        "wants none or listed",
    ),
    "author": Help("Who fills in this form. The release must be another person's, with another key."),
    "author.name": Help('Example: "A. Author"', "wants the author's name"),
    "author.email": Help('Example: "a.author@example.com"', "wants the author's e-mail address"),
    "author.public_key": Help(
        'The line of the author\'s SSH key. Example: "ssh-ed25519 AAAA... a.author" (~/.ssh/id_ed25519.pub)',
        "wants the author's SSH public key, one line of a .pub file",
    ),
    "shipper": Help("Who sends the drives."),
    "consignee": Help("Who receives them: the site where they are plugged in."),
    "end_user": Help("Who uses the data there: whose training it is."),
    "agent": Help("(optional) Who files the customs papers for the shipper, where somebody does."),
    **{f"{party}.{name}": text for party in ("shipper", "consignee", "end_user") for name, text in _PARTY.items()},
    **{f"agent.{name}": text for name, text in _AGENT.items()},
    "end_use": Help("What the data is used for at the destination."),
    "end_use.text": Help(
        'In words. Example: "Pre-training of a 7B language model on 64 rented GPUs; weights come back"',
        "wants the use in words",
    ),
    "end_use.class": Help(
        "One of: training, fine-tuning, evaluation, inference, storage, other.",
        "wants one of training, fine-tuning, evaluation, inference, storage, other",
    ),
    "site": Help("Where the drives are plugged in."),
    "site.operator": Help('Who runs it. Example: "Example Hosting Ltd"', "wants who runs the site"),
    "site.address": Help('Example: "1 Dock Road, London"', "wants the address in one line"),
    "site.country": Help('Two letters. Example: "GB"', _TWO),
    "site.chips": Help('What computes there. Example: "H100 SXM5 80 GB". Empty where nothing does.'),
    "site.chip_eccn": Help('Its export control classification, as its maker states it. Example: "3A090.a"'),
    "site.gpu_count": Help("How many of them this work may use. Example: 2400"),
    "site.access_controller": Help(
        "Who decides who may use them, and who may touch the drives.", "wants who decides who gets access"
    ),
    "data": Help("What is on the drives."),
    "data.summary": Help('Example: "Tokenised public web text and 2 TB of licensed audio"', "wants the data in words"),
    "data.licence_basis": Help(
        'By what right it may be copied and used there. Example: "CC BY 4.0; audio under contract 2026-17"',
        "wants the right under which it is copied and used",
    ),
    "data.source_bytes": Help(
        "Size of the corpus in bytes; approximate is enough. Example: 80_000_000_000_000",
        "wants the approximate size in bytes",
    ),
    "data.personal_data": Help(
        'Data about people: "none", "some" or "sensitive" (health, biometrics, children ...).',
        "wants none, some or sensitive",
    ),
    "data.person_count": Help("About how many people it is about; 0 where it is about none."),
    "data.sensitive_count": Help("About how many people the sensitive part is about; 0 where there is none."),
    "data.transfer_tool": Help(
        "Of personal data that goes to another country: on what it is transferred, with its reference. "
        'Example: "Standard contractual clauses (EU) 2021/914, module 2, signed 2026-10-01, file DP-114"'
    ),
    "data.important_data": Help(
        'Whether it holds important data in the sense of Chinese law (measures of the CAC): "yes", "no" or "unknown".',
        "wants yes, no or unknown",
    ),
    "data.us_bulk_sensitive": Help(
        'Whether it holds bulk US sensitive personal data in the sense of 28 CFR 202: "yes", "no" or "unknown".',
        "wants yes, no or unknown",
    ),
    "encryption": Help("How the data is kept from thieves. It hides no goods: those are declared here."),
    "encryption.scheme": Help("What packs are encrypted with.", "wants the scheme in words"),
    "encryption.module": Help(
        'What computes it, with its certificate if it has one. Example: "OpenSSL 3.5 (FIPS 140-3 certificate 4985)"',
        "wants the cryptographic module",
    ),
    "encryption.key_holder": Help(
        'Who holds the identity file, and where. Example: "Example Research GmbH, in Berlin"',
        "wants who holds the keys",
    ),
    "encryption.keys_travel_separately": Help('Whether no key goes with the drives: "yes" or "no".', "wants yes or no"),
    "encryption.recipients": Help(
        "Who can open the drives: each a person, and the age recipient of their own identity. Two of them, so that "
        'the loss of one key is no loss of the data. Example: [{ name = "I. Holder", organisation = "Example GmbH", '
        'recipient = "age1..." }]',
        "wants who can open the drives",
    ),
    "encryption.recipients.name": Help("", "wants a person's name"),
    "encryption.recipients.organisation": Help("", "wants for whom they hold it"),
    "encryption.recipients.recipient": Help("", "wants an age recipient, age1..."),
    "customs": Help("Under which procedures the goods cross borders; claims, of which this software decides none."),
    "customs.export_procedure": Help('Example: "permanent export, 10 00"', "wants the procedure of export in words"),
    "customs.import_procedure": Help('Example: "free circulation"', "wants the procedure of import in words"),
    "customs.temporary": Help('Whether every drive comes back: "yes" or "no".', "wants yes or no"),
    "customs.carnet_no": Help("(optional) Number of the ATA carnet. Wrong where drives stay, are sold or destroyed."),
    "customs.re_export_by": Help('Of a temporary import: the day by which all is out again. Example: "2027-05-20"'),
    "customs.declaration_refs": Help('(optional) Numbers of customs declarations. Example: ["26DE000000000000X1"]'),
    "customs.eei": Help(
        "(optional) Of an export from the US: ITN of the electronic export information, or the exemption that is "
        'claimed for the whole shipment. Example: "X20261120123456"'
    ),
    "customs.incoterm": Help('Incoterms 2020, three letters. Example: "DAP"', "wants three letters, such as DAP"),
    "customs.incoterm_place": Help('Example: "London"', "wants the named place"),
    "return": Help(
        "The way home, of an outbound shipment: who may read what comes back, and who may sign it. Both or neither; "
        "without them the shipment cannot be answered (sealift pack --leg return)."
    ),
    "return.recipients": Help('age recipients of the origin. Example: ["age1..."]'),
    "return.signers": Help(
        "Whose signatures on it are accepted: a name and an SSH public key each. "
        'Example: ["trainer@example.org ssh-ed25519 AAAA..."]'
    ),
    "intermediates": Help("(optional) Whoever else has to do with the goods on the way: one [[intermediates]] each."),
    "intermediates.role": Help('Example: "customs broker"', "wants what they do"),
    **{f"intermediates.{name}": text for name, text in _NAMES.items()},
    "related_shipments": Help('With related = "listed": each of those shipments.'),
    "related_shipments.consignment_id": Help("", "wants its id"),
    "related_shipments.shipped_on": Help("", "wants a day, such as 2026-11-20"),
    "related_shipments.shipper": Help("", "wants who sends it"),
    "related_shipments.consignee": Help("", "wants who receives it"),
    "related_shipments.drives": Help("How many.", "wants how many drives"),
    "related_shipments.capacity_bytes": Help("Of all of them.", "wants their capacity in bytes"),
    "related_shipments.gross_grams": Help("Of all of them.", "wants their weight in grams"),
    "related_shipments.value": Help('As on its invoice. Example: "345600.00"', "wants the value, in quotes"),
    "related_shipments.currency": Help("", "wants three letters, such as EUR"),
    "replaced": Help("Of a later revision: each party or carrier that it names in place of another. Both are printed."),
    "replaced.role": Help('As in this file. Example: "end_user"', "wants the role, as in this file"),
    "replaced.legal_name": Help(
        "The name that stood there before; a carrier's legal_name, where it has one.",
        "wants the name that stood there before",
    ),
    "replaced.since_revision": Help("The revision from which on the other name stands there.", "wants a revision"),
    "replaced.reason": Help("", "wants why"),
    "answers": Help(
        "The questions of the rules by which the shipment is released: one [[answers]] each. An answer that holds it "
        "wants evidence, a named person who looked into it (never the author), and the day. Unknown always holds."
    ),
    "answers.question": Help("Id of the question, as in the rules.", "wants the id of a question of the rules"),
    "answers.answer": Help('"yes", "no" or "unknown".', "wants yes, no or unknown"),
    "answers.evidence": Help("On what the answer stands, and where it is on file.", "wants on what the answer stands"),
    "answers.resolver": Help("Of an answer that holds the shipment: who decided that it may go all the same."),
    "answers.resolved_on": Help("And when."),
    "authorisations": Help("(optional) Licences, permits and counsel's opinions: one [[authorisations]] each."),
    "authorisations.authority": Help('Example: "BIS", or "counsel: Example LLP"', "wants who gave it"),
    "authorisations.number": Help("", "wants its number or reference"),
    "authorisations.expiry": Help("Last day on which it holds.", "wants a day, such as 2027-11-20"),
    "authorisations.conditions": Help("(optional) What it asks for."),
    "authorisations.covers": Help('Ids of the rules that it is for. Example: ["parent-d5-training"]'),
    "charges": Help("(optional) What is paid beside the goods, as on the invoice: one [[charges]] each."),
    "charges.name": Help('Example: "freight"', "wants what is paid for"),
    "charges.amount": Help('In quotes. Example: "1250.00"', "wants the amount, in quotes"),
    "charges.currency": Help("", "wants three letters, such as EUR"),
    "carriers": Help("Everybody who carries drives: one [[carriers]] table each."),
    "carriers.name": Help(
        'Short and unique; drives and sealift pack --carrier refer to it. Example: "Anna"',
        "wants a short unique name",
    ),
    "carriers.legal_name": Help(
        '(optional) Full name, where the short one is not. Example: "Anna Example" or "Example Courier Ltd"'
    ),
    "carriers.native_name": Help("(optional) The same in its own script, where that is not Latin."),
    "carriers.address": Help("(optional) Postal address in one line."),
    "carriers.contact": Help('Example: "+49 170 0000000"', "wants e-mail or telephone"),
    "carriers.country": Help("Where the carrier is based, two letters.", _TWO),
    "carriers.registration_no": Help("(optional) Of a company."),
    "carriers.ultimate_parent": Help("(optional) Of a company: the one at the top of its ownership."),
    "carriers.parent_hq_country": Help("(optional) And the country of its headquarters."),
    "carriers.birth_date": Help("(optional) Of a person: tells namesakes apart when screened; printed nowhere."),
    "goods": Help(
        "What the drives are to customs: one [[goods]] each kind of drive. Weights and values are of one piece, with "
        "its own packing."
    ),
    "goods.name": Help('Short and unique; drives refer to it. Example: "ssd15"', "wants a short unique name"),
    "goods.description": Help(
        'As on the invoice. Example: "Solid state drive, 15.36 TB, U.2, used"', "wants the goods in words"
    ),
    "goods.kind": Help("One of: ssd, hdd, tape, other.", "wants ssd, hdd, tape or other"),
    "goods.hs_code": Help(
        'Six digits or more. Solid state drives are 8523.51, hard disks 8471.70, tapes 8523.29. Example: "8523.51"',
        "wants the HS code, at least six digits",
    ),
    "goods.hs_version": Help('Example: "HS 2022"', "wants the version of the tariff"),
    "goods.hs_basis": Help(
        'Why this code. Example: "solid-state non-volatile storage device, heading 8523"', "wants why it is this code"
    ),
    "goods.classified_by": Help("", "wants who classified it"),
    "goods.origin": Help("Country of origin, two letters, as its maker states it.", _TWO),
    "goods.gross_grams": Help("Weight of one with its packing, in grams. Example: 310", "wants the weight in grams"),
    "goods.net_grams": Help("Weight of one without, in grams. Example: 160", "wants the weight in grams"),
    "goods.media_value": Help('Value of the empty drive, in quotes. Example: "5760.00"', "wants the value, in quotes"),
    "goods.data_value": Help(
        'Value of the data on it, in quotes, as far as it has one: "0.00" is an answer, nothing is none.',
        'wants the value, in quotes; "0.00" where it has none',
    ),
    "goods.currency": Help('ISO 4217. Example: "EUR"', "wants three letters, such as EUR"),
    "goods.valuation_basis": Help(
        'What the customs value is of: "media" where the country of import takes data on carrier media at the value of '
        'the medium (WTO valuation decision 4.1), else "media and data".',
        "wants media, or media and data",
    ),
    "goods.eccn": Help('Export control classification of the drive. Example: "5A992.c"', "wants the ECCN, or EAR99"),
    "goods.battery_wh": Help(
        'Watt-hours of the battery in one, in quotes; "0" where it has none.', 'wants watt-hours; "0" where it has none'
    ),
    "drives": Help("Every drive of the shipment, whoever carries it: one [[drives]] each, in label order."),
    "drives.serial": Help(
        'As the drive reports it (smartctl -i, or lsblk -o SERIAL). Example: "S6CANX0T000001"',
        "wants the serial number that the drive reports",
    ),
    "drives.carrier": Help('The name of one of the carriers. Example: "Anna"', "wants the name of a carrier"),
    "drives.goods": Help('The name of one of the goods. Example: "ssd15"', "wants the name of one of the goods"),
    "drives.capacity_bytes": Help("Example: 15_360_950_534_144", "wants the capacity in bytes"),
    "drives.make": Help('Example: "Example Storage"', "wants the maker"),
    "drives.model": Help('Example: "MZWLR15THALA"', "wants the model"),
    "drives.package_no": Help(
        '(optional) The package that it is in. It is one carrier\'s: "1" of two carriers is two packages. Example: "1"'
    ),
    "drives.seal_no": Help("(optional) Number of the seal on that package, once it is on."),
}
