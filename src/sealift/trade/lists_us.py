"""The US Consolidated Screening List, in CSV and JSON, and OFAC's own sdn.csv with alt.csv and add.csv.

What holds: CSV columns are found by the header, so that the 29 columns of today and the file of 2019, which has no
`_id`, are both read; a row that has more or fewer fields than the header refuses the file. OFAC's files have no
header: 12, 5 and 6 columns, `-0-` for nothing, and at times a Ctrl-Z at the end. An alias or address of an entry that
sdn.csv does not have refuses them: the three are then not of one day. Sources: the columns of
https://www.trade.gov/consolidated-screening-list, and OFAC's "SDN data formats" (dat_spec.txt).
"""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any

import msgspec

from sealift.formats import typed
from sealift.trade.lists import Collector, Given, Kind, ScreeningList, decoded, line, refused

if TYPE_CHECKING:
    from collections.abc import Iterator

CSL_NEEDS = ("source", "entity_number", "type", "programs", "name", "addresses", "alt_names")
SUPPLEMENTS = {"sdn.csv": ("alt.csv", "add.csv"), "cons_prim.csv": ("cons_alt.csv", "cons_add.csv")}
_SDN, _ALT, _ADD = 12, 5, 6
_KINDS: dict[str, Kind] = {
    "individual": "person",
    "entity": "organisation",
    "vessel": "vessel",
    "aircraft": "aircraft",
}
_BORN = re.compile(r"\b(?:alt\. )?DOB ([^;.]{4,60})")
_NATION = re.compile(r"\b(?:nationality|citizen) ([^;.]{2,60})")
_ALSO = re.compile(r"\b[afn]\.k\.a\. ['\"]([^'\"]{2,200})['\"]")


def rows(name: str, text: str, delimiter: str = ",") -> Iterator[list[str]]:
    """The rows of a CSV file that have a field; BadInput for quotes that do not close, and for huge fields."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise refused(name, f"line {reader.line_num:,}: {error}") from error
        if row is None:
            return
        if row:
            yield row


def looks_like_csl(head: str) -> bool:
    """True if a first line has the columns by which the Consolidated Screening List is read."""
    return set(CSL_NEEDS) <= {cell.strip().strip('"').lower() for cell in head.split(",")}


def csl_csv(given: Given, encoding: str = "utf-8") -> ScreeningList:
    """The Consolidated Screening List in CSV. BadInput."""
    read = rows(given.name, decoded(given.name, given.data, encoding))
    header = [cell.strip().lower() for cell in next(read, [])]
    if missing := [column for column in CSL_NEEDS if column not in header]:
        raise refused(given.name, f"no column {', '.join(missing)} in its header")
    if len(set(header)) != len(header):
        raise refused(given.name, "two columns of its header have one name")
    found = Collector(given.name)
    for number, row in enumerate(read, start=2):
        where = f"row {number:,}"
        if len(row) != len(header):
            raise found.refused(where, f"{len(row)} fields, where the header has {len(header)}")
        _csl_entry(found, where, dict(zip(header, row, strict=True)))
    return found.done([given.described("csl-csv", len(found.entries))])


def _csl_entry(found: Collector, where: str, cell: dict[str, str]) -> None:
    def several(column: str) -> list[str]:
        return [part for part in cell.get(column, "").split(";") if part.strip()]

    addresses = [address.rpartition(",")[2] for address in several("addresses")]
    born_in = several("citizenships") + several("nationalities")
    found.add(
        where,
        cell.get("_id") or _numbered(cell["entity_number"], cell["source"]) or where,
        [cell["name"], *several("alt_names")],
        source=cell["source"],
        kind=_KINDS.get(cell["type"].strip().lower(), ""),
        countries=[*(each for each in addresses if len(each.strip()) == 2), *born_in],
        birth_dates=several("dates_of_birth"),
        programs=several("programs"),
    )


def _numbered(number: str, source: str) -> str:
    return f"{line(source)[:60]} {number.strip()}" if number.strip() else ""


class _Address(msgspec.Struct):
    country: str | None = None


class _Result(msgspec.Struct):
    """What is read of one of `results[]`; other keys are let be."""

    name: str
    source: str | None = None
    id: str | int | None = None
    entity_number: str | int | None = None
    type: str | None = None
    programs: list[str] | str | None = None
    alt_names: list[str] | str | None = None
    addresses: list[_Address] | None = None
    citizenships: list[str] | None = None
    nationalities: list[str] | None = None
    dates_of_birth: list[str] | None = None


class _Answer(msgspec.Struct):
    results: list[_Result]
    total: int | None = None
    offset: int | None = None


def csl_json(given: Given) -> ScreeningList:
    """The Consolidated Screening List in JSON, whole: an answer of its search that has a part of it is refused."""
    decoded(given.name, given.data)
    try:
        answer = typed.decode(given.data.removeprefix(b"\xef\xbb\xbf"), _Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise refused(given.name, f"not the JSON of the list: {str(error)[:200]}") from error
    if answer.offset or (answer.total is not None and answer.total > len(answer.results)):
        raise refused(given.name, f"{len(answer.results):,} of {answer.total:,} results; a part is not the list")
    found = Collector(given.name)
    for number, each in enumerate(answer.results, start=1):
        known = each.id if each.id is not None else each.entity_number
        found.add(
            f"result {number:,}",
            str(known) if known is not None else f"result {number}",
            [each.name, *_listed(each.alt_names)],
            source=each.source or "",
            kind=_KINDS.get((each.type or "").lower(), ""),
            countries=[
                *(address.country or "" for address in each.addresses or ()),
                *(each.citizenships or ()),
                *(each.nationalities or ()),
            ],
            birth_dates=each.dates_of_birth or (),
            programs=_listed(each.programs),
        )
    return found.done([given.described("csl-json", len(found.entries))])


def _listed(value: list[str] | str | None) -> list[str]:
    return value.split(";") if isinstance(value, str) else value or []


def ofac(given: Given, aliases: Given, addresses: Given, encoding: str = "utf-8") -> ScreeningList:
    """sdn.csv with its alt.csv and add.csv. BadInput."""
    main = _plain(given, _SDN, encoding)
    known = {row[0] for row in main}
    if len(known) != len(main):
        raise refused(given.name, "two entries have one number")
    also, places = _beside(aliases, _ALT, encoding, known), _beside(addresses, _ADD, encoding, known)
    found = Collector(given.name)
    for number, row in enumerate(main, start=1):
        more = [alias[3] for alias in also.get(row[0], ())]
        remarks = row[11]
        found.add(
            f"row {number:,}",
            row[0],
            [row[1], *more, *_ALSO.findall(remarks)],
            source="SDN" if given.name.lower().startswith("sdn") else given.name,
            kind=_KINDS.get(row[2].lower(), "" if row[2] else "organisation"),
            countries=[*(place[4] for place in places.get(row[0], ())), *_NATION.findall(remarks)],
            birth_dates=_BORN.findall(remarks),
            programs=[program for part in row[3].split("]") if (program := part.strip(" [;"))],
        )
    counts = [(each, sum(map(len, kept.values()))) for each, kept in ((aliases, also), (addresses, places))]
    return found.done([given.described("ofac", len(main)), *(each.described("ofac", count) for each, count in counts)])


def _plain(given: Given, columns: int, encoding: str) -> list[list[str]]:
    """The rows of a file of OFAC's without header; `-0-` is nothing."""
    text = decoded(given.name, given.data, encoding).rstrip("\x1a \r\n")
    made: list[list[str]] = []
    for number, row in enumerate(rows(given.name, text), start=1):
        if len(row) != columns:
            raise refused(given.name, f"row {number:,}: {len(row)} fields, where {columns} are wanted")
        cells = [cell.strip() for cell in row]
        if not cells[0].isascii() or not cells[0].isdigit():
            raise refused(given.name, f"row {number:,}: {cells[0][:40]!r} is no entry's number")
        made.append(["" if cell == "-0-" else cell for cell in cells])
    return made


def _beside(given: Given, columns: int, encoding: str, known: set[str]) -> dict[str, list[list[str]]]:
    """The rows of alt.csv or add.csv by their entry."""
    kept: dict[str, list[list[str]]] = {}
    for number, row in enumerate(_plain(given, columns, encoding), start=1):
        if row[0] not in known:
            raise refused(given.name, f"row {number:,}: entry {row[0]} is not in the list; are these files of one day?")
        kept.setdefault(row[0], []).append(row)
    return kept


def is_ofac(first: list[Any]) -> bool:
    """True if a first row is one of sdn.csv."""
    return len(first) == _SDN and str(first[0]).strip().isdigit()
