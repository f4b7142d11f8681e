"""Which format a list file is of, and the reader for it.

What holds: the format is found in the file's first bytes, never in its name, save that OFAC's files, which say
nothing of themselves, are known by their columns and find each other by their names. What is of no format is refused,
with those that there are. What is not here: opening files (stages/screen.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sealift.errors import BadInput
from sealift.trade import lists_csv, lists_us, lists_xml
from sealift.trade.lists import MAX_FIELD, Format, Given, ScreeningList, refused
from sealift.trade.lists_csv import Columns, Encoding

if TYPE_CHECKING:
    from collections.abc import Callable

Companion = str  # a file's name, beside the first

HINT = (
    "known are the US Consolidated Screening List (CSV, JSON), OFAC's sdn.csv, the UN's and the EU's XML;"
    ' any other CSV by a TOML of type "sealift-list" (docs/spec/screening.md)'
)


def detect(given: Given, encoding: Encoding = "utf-8") -> Format:
    """The format of a file; BadInput when it is none of ours."""
    head = given.data[:MAX_FIELD]
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"{"):
        return "csl-json"
    if start.startswith(b"<") or head[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return _xml(given)
    text = head.decode("utf-8-sig" if encoding == "utf-8" else encoding, errors="replace")
    first, _, _ = text.partition("\n")
    if lists_us.looks_like_csl(first):
        return "csl-csv"
    if lists_us.is_ofac(next(lists_us.rows(given.name, first.rstrip("\r")), [])):
        return "ofac"
    raise BadInput(f"list {given.name}: of no format that is known", hint=HINT)


def _xml(given: Given) -> Format:
    root = lists_xml.root_of(given.data)
    if root == "CONSOLIDATED_LIST":
        return "un"
    if root == "export":
        return "eu"
    what = f"XML with the root {root[:60]!r}" if root else "not XML that can be read"
    raise BadInput(f"list {given.name}: {what}, which is no list that is known", hint=HINT)


def read(
    given: Given,
    beside: Callable[[Companion], Given],
    *,
    kind: Format | None = None,
    columns: Columns | None = None,
    encoding: Encoding = "utf-8",
) -> ScreeningList:
    """The list in a file; `beside` gets what belongs to it by name, and raises BadInput where it is not there."""
    kind = kind or ("csv" if columns is not None and (columns.names or columns.name_parts) else detect(given, encoding))
    match kind:
        case "csl-csv":
            return lists_us.csl_csv(given, encoding)
        case "csl-json":
            return lists_us.csl_json(given)
        case "un":
            return lists_xml.un(given)
        case "eu":
            return lists_xml.eu(given)
        case "csv":
            return lists_csv.read(given, columns or Columns(), encoding)
        case "ofac":
            aliases, addresses = map(beside, _companions(given.name))
            return lists_us.ofac(given, aliases, addresses, encoding)


def _companions(name: str) -> tuple[str, str]:
    """The names of the files of aliases and addresses that belong to one of OFAC's, in its own case."""
    for main, others in lists_us.SUPPLEMENTS.items():
        if name.lower().endswith(main):
            before = name[: len(name) - len(main)]
            upper = name[len(before) :].isupper()
            aliases, addresses = (before + (other.upper() if upper else other) for other in others)
            return aliases, addresses
    raise refused(name, f"OFAC's files are known by their names: {', '.join(lists_us.SUPPLEMENTS)}")
