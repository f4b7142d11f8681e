"""The words of the declaration form: what each field is and wants, and TOML text with them as comments.

`HELP` has one entry a field of declaration.Content, by its path without row numbers; a test holds that none
is missing or left over. `render` writes any such record as TOML, so that the empty form and a filled one (a
rehearsal's) are written by the same code. Pure. What is not here: what fields must hold (declaration.py).
"""

from __future__ import annotations

import textwrap
from typing import Any, NamedTuple

import msgspec

WIDTH = 96


class Help(NamedTuple):
    """`what` explains a field or table, with an example; `want` ends the sentence "empty; ..."."""

    what: str
    want: str = ""


HEAD = """\
Declaration of one shipment. Fill in every field, then: sealift declare --check FILE
Packing may begin with a draft; drives leave only when a second person has released the complete
declaration (sealift release). It is bound as its exact bytes: any change afterwards, of a comment too,
needs a new release. Declare the whole shipment here, whoever carries which part of it. This form asks
for no legal opinion and gives none: ask your trade-compliance officer what else is due."""

_PARTY = {
    "legal_name": Help(
        'Name as in the company register. Example: "Example Research GmbH"', "wants the name as registered"
    ),
    "address": Help(
        'Postal address in one line. Example: "Hauptstr. 1, 10115 Berlin"',
        "wants the postal address in one line",
    ),
    "country": Help('Country of that address, two letters of ISO 3166. Example: "DE"', "wants two letters, such as DE"),
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

HELP: dict[str, Help] = {
    "type": Help("What this file is. Leave as it is."),
    "version": Help("Version of this form. Leave as it is."),
    "consignment_id": Help(
        "Id of the shipment, on every drive, label and sheet. Drawn at random; keep it.",
        "wants an id, such as SL-2026-4F7K2Q",
    ),
    "rehearsal": Help("true only for a rehearsal on scratch drives; then everything made from it says REHEARSAL."),
    "leg": Help('"outbound" to the cluster, or "return" from it.', "wants outbound or return"),
    "in_reply_to": Help(
        "Only of a return leg: id of the outbound shipment that it answers; printed on every sheet. "
        'Example: "SL-2026-4F7K2Q"',
        "wants the id of the outbound shipment that this one answers",
    ),
    "other_shipments": Help(
        "Ids of other shipments between these parties, earlier or at the same time; printed on every sheet. "
        'Example: ["SL-2026-7XQ2MB"]'
    ),
    "legal_hold": Help(
        'Whether anybody ordered that this data be kept: "none", or who did, and under which reference. sealift erase '
        'refuses a drive of this shipment unless the answer is "none".'
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
    **{f"{party}.{name}": text for party in ("shipper", "consignee", "end_user") for name, text in _PARTY.items()},
    "end_use": Help("What the data is used for at the destination."),
    "end_use.text": Help(
        'In words. Example: "Pre-training of a 7B language model on 64 rented GPUs; weights come back"',
        "wants the use in words",
    ),
    "end_use.class": Help(
        "One of: training, fine-tuning, evaluation, inference, storage, other.",
        "wants one of training, fine-tuning, evaluation, inference, storage, other",
    ),
    "data": Help("What is on the drives."),
    "data.summary": Help('Example: "Tokenised public web text and 2 TB of licensed audio"', "wants the data in words"),
    "data.licence_basis": Help(
        'By what right it may be copied and used there. Example: "CC BY 4.0; audio under contract 2026-17"',
        "wants the right under which it is copied and used",
    ),
    "data.personal_data": Help(
        'Data about people: "none", "some" or "sensitive" (health, biometrics, children ...).',
        "wants none, some or sensitive",
    ),
    "data.source_bytes": Help(
        "Size of the corpus in bytes; approximate is enough. Example: 80_000_000_000_000",
        "wants the approximate size in bytes",
    ),
    "return": Help(
        "The way home, of an outbound shipment: who may read what comes back, and who may sign it. Both or neither; "
        "without them the shipment cannot be answered (sealift pack --leg return)."
    ),
    "return.recipients": Help('age recipients of the origin. Example: ["age1..."]'),
    "return.signers": Help(
        "Whose signatures on it are accepted: a name and an SSH public key each. "
        'Example: ["trainer@example.org ssh-ed25519 AAAA..."]'
    ),
    "carriers": Help("Everybody who carries drives: one [[carriers]] table each."),
    "carriers.name": Help(
        'Short and unique; drives and sealift pack --carrier refer to it. Example: "Anna"',
        "wants a short unique name",
    ),
    "carriers.legal_name": Help(
        'Full name, where the short one is not. Example: "Anna Example" or "Example Courier Ltd"'
    ),
    "carriers.contact": Help('Example: "+49 170 0000000"', "wants e-mail or telephone"),
    "carriers.country": Help("Where the carrier is based, two letters.", "wants two letters, such as DE"),
    "drives": Help("Every drive of the shipment, whoever carries it: one [[drives]] each, in label order."),
    "drives.serial": Help(
        'As the drive reports it (smartctl -i, or lsblk -o SERIAL). Example: "S6CANX0T000001"',
        "wants the serial number that the drive reports",
    ),
    "drives.carrier": Help('The name of one of the carriers. Example: "Anna"', "wants the name of a carrier"),
    "drives.capacity_bytes": Help("Example: 15_360_950_534_144", "wants the capacity in bytes"),
    "drives.make": Help('Example: "Example Storage"', "wants the maker"),
    "drives.model": Help('Example: "MZWLR15THALA"', "wants the model"),
}


def render(content: msgspec.Struct) -> str:
    """`content` as a commented TOML file; lists of tables that are empty become commented examples."""
    lines = [f"# {line}" for line in HEAD.split("\n")]
    fields = msgspec.structs.fields(content)
    plain = [f for f in fields if not _is_table(getattr(content, f.name)) and f.encode_name not in _TABLES]
    for item in plain:
        lines += ["", *_comment(item.encode_name), _pair(item.encode_name, getattr(content, item.name))]
    for item in fields:
        value = getattr(content, item.name)
        if isinstance(value, msgspec.Struct):
            lines += [
                "",
                *_comment(item.encode_name),
                f"[{item.encode_name}]",
                *_table(value, item.encode_name),
            ]
        elif item.encode_name in _TABLES:
            lines += ["", *_comment(item.encode_name), *_rows(value, item.encode_name)]
    return "\n".join(lines) + "\n"


_TABLES: dict[str, dict[str, Any]] = {  # a row to show where there is none yet
    "carriers": {"name": "Anna", "legal_name": "Anna Example", "contact": "", "country": "DE"},
    "drives": {"serial": "S6CANX0T000001", "carrier": "Anna", "capacity_bytes": 0, "make": "", "model": ""},
}


def _is_table(value: Any) -> bool:
    return isinstance(value, msgspec.Struct)


def _rows(rows: list[msgspec.Struct], name: str) -> list[str]:
    explained = [line for field in _TABLES[name] for line in _comment(f"{name}.{field}", f"{field}: ")]
    if not rows:
        example = [_pair(field, value) for field, value in _TABLES[name].items()]
        return [*explained, "#", f"# [[{name}]]", *(f"# {line}" for line in example)]
    lines = explained
    for row in rows:
        lines += ["", f"[[{name}]]"]
        lines += [_pair(item.encode_name, getattr(row, item.name)) for item in msgspec.structs.fields(row)]
    return lines


def _table(section: msgspec.Struct, path: str) -> list[str]:
    lines = []
    for item in msgspec.structs.fields(section):
        lines += [
            *_comment(f"{path}.{item.encode_name}"),
            _pair(item.encode_name, getattr(section, item.name)),
        ]
    return lines


def _comment(path: str, before: str = "") -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(before + HELP[path].what, WIDTH)]


def _pair(name: str, value: Any) -> str:
    return f"{name} = {toml_value(value)}"


def toml_value(value: Any) -> str:
    """A TOML literal of a text, number, boolean or a list of them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:_}" if value > 9999 else str(value)
    if isinstance(value, list):
        items = [toml_value(item) for item in value]
        line = "[" + ", ".join(items) + "]"
        return line if len(line) <= WIDTH else "[\n" + "".join(f"  {item},\n" for item in items) + "]"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04X}" for c in escaped) + '"'
