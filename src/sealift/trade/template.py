"""A declaration as TOML text, with the words of explained.py as comments.

`render` writes any record of sections.Content, so that the empty form and a filled one (a rehearsal's) are written by
the same code. Pure. What is not here: what fields must hold (declaration.py).
"""

from __future__ import annotations

import textwrap
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from sealift.formats import strict
from sealift.trade.explained import HEAD, HELP

if TYPE_CHECKING:
    from collections.abc import Mapping

WIDTH = 96

# A row to show where there is none yet; an empty one shows no row. Long lists come last, the drives at the very end.
_TABLES: dict[str, dict[str, Any]] = {
    "intermediates": {},
    "related_shipments": {"consignment_id": "SL-2026-OTHER2", "shipped_on": "", "shipper": "", "consignee": "",
                          "drives": 0, "capacity_bytes": 0, "gross_grams": 0, "value": "", "currency": "EUR"},
    "replaced": {"role": "end_user", "legal_name": "", "since_revision": 2, "reason": ""},
    "answers": {},
    "authorisations": {},
    "charges": {"name": "freight", "amount": "", "currency": "EUR"},
    "carriers": {"name": "Anna", "legal_name": "Anna Example", "contact": "", "country": "DE"},
    "goods": {"name": "ssd15", "description": "", "kind": "ssd", "hs_code": "8523.51", "currency": "EUR"},
    "drives": {"serial": "S6CANX0T000001", "carrier": "Anna", "goods": "ssd15", "capacity_bytes": 0, "make": "",
               "model": ""},
}  # fmt: skip


def render(
    content: msgspec.Struct,
    questions: Mapping[str, str] = MappingProxyType({}),
    suggested: Mapping[tuple[str, str], str] = MappingProxyType({}),
) -> str:
    """`content` as a commented TOML file; lists of tables that are empty become commented examples.

    `questions` are texts to stand above the answers to them, by id. `suggested` are texts to stand below a field that
    is not filled in, by the row's name and the field: nobody has said so yet.
    """
    lines = [f"# {line}" for line in HEAD.split("\n")]
    fields = strict.fields_of(type(content))
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
            lines += ["", *_comment(item.encode_name), *_rows(value, item.encode_name, questions, suggested)]
    return "\n".join(lines) + "\n"


def _is_table(value: Any) -> bool:
    return isinstance(value, msgspec.Struct)


def _rows(
    rows: list[msgspec.Struct], name: str, questions: Mapping[str, str], suggested: Mapping[tuple[str, str], str]
) -> list[str]:
    fields = [path.removeprefix(f"{name}.") for path in HELP if path.startswith(f"{name}.")]
    lines = [line for field in fields for line in _comment(f"{name}.{field}", f"{field}: ")]
    if not rows:
        example = [_pair(field, value) for field, value in _TABLES[name].items()]
        return [*lines, "#", f"# [[{name}]]", *(f"# {line}" for line in example)] if example else lines
    for row in rows:
        asked = questions.get(getattr(row, "question", ""), "")
        lines += ["", *(f"# {line}" for line in textwrap.wrap(asked, WIDTH)), f"[[{name}]]"]
        for item in strict.fields_of(type(row)):
            value = getattr(row, item.name)
            if asked or value != item.default or HELP[f"{name}.{item.encode_name}"].want:
                lines.append(_pair(item.encode_name, value))
            if value == item.default and (said := suggested.get((getattr(row, "name", ""), item.encode_name))):
                lines += [f"# {line}" for line in textwrap.wrap(said, WIDTH)]
    return lines


def _table(section: msgspec.Struct, path: str) -> list[str]:
    lines = []
    for item in strict.fields_of(type(section)):
        lines += [
            *_comment(f"{path}.{item.encode_name}"),
            _pair(item.encode_name, getattr(section, item.name)),
        ]
    return lines


def _comment(path: str, before: str = "") -> list[str]:
    help_ = HELP[path]
    want = help_.want.removeprefix("wants ")
    what = help_.what or f"{want[:1].upper()}{want[1:]}."
    return [f"# {line}" for line in textwrap.wrap(before + what, WIDTH)]


def _pair(name: str, value: Any) -> str:
    return f"{name} = {toml_value(value)}"


def toml_value(value: Any) -> str:
    """A TOML literal of a text, number, boolean, a record of them (an inline table), or a list."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value:_}" if value > 9999 else str(value)
    if isinstance(value, msgspec.Struct):
        pairs = ((item.encode_name, getattr(value, item.name)) for item in strict.fields_of(type(value)))
        return "{ " + ", ".join(_pair(name, each) for name, each in pairs) + " }"
    if isinstance(value, list):
        items = [toml_value(item) for item in value]
        line = "[" + ", ".join(items) + "]"
        return line if len(line) <= WIDTH else "[\n" + "".join(f"  {item},\n" for item in items) + "]"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04X}" for c in escaped) + '"'
