"""`sealift-list` TOML: what a person says of a list file: what its columns are, or when it was fetched.

    type = "sealift-list"
    version = 1
    file = "internal.csv"              beside the TOML
    name = "internal"                  by which it is known again, whatever its file is called; else its file's name
    format = "csv"                     or another of lists.py; found in the file where it is left away
    fetched = "2026-11-20"             else the file's modification time
    published = "2026-11-18"           where the list does not say so itself
    encoding = "utf-8"
    [columns]                          of a csv only
    id = "Ref"
    names = ["Name", "Also known as"]  columns with whole names; name_parts: those that make one name together
    separator = ";"                    between several values in one field

What holds: every fault of the TOML is named at once; columns that it names must be in the header, once each; every
row has as many fields as the header. Columns that it does not name are let be. What is not here: the other formats'
readers.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from sealift.errors import BadInput
from sealift.formats import strict
from sealift.trade.lists import Collector, Given, Kind, ScreeningList, decoded, refused, stable
from sealift.trade.lists_us import rows

MAX_TOML = 64 << 10
TYPE: Literal["sealift-list"] = "sealift-list"
Encoding = Literal["utf-8", "utf-16", "iso-8859-1", "cp1252", "cp1251", "gb18030", "shift_jis", "euc_kr"]
_Name = Annotated[str, Meta(max_length=200)]
_Day = Annotated[str, Meta(max_length=40)]
_PERSON = {"person", "individual", "p", "i", "natural person"}
_FIRM = {"organisation", "organization", "entity", "company", "enterprise", "e", "legal person"}


class Columns(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which columns hold what; all but the names may be left away."""

    id: _Name = ""
    names: Annotated[tuple[_Name, ...], Meta(max_length=20)] = ()
    name_parts: Annotated[tuple[_Name, ...], Meta(max_length=20)] = ()  # of one name, in order
    kind: _Name = ""
    countries: _Name = ""
    birth_dates: _Name = ""
    programs: _Name = ""
    separator: Annotated[str, Meta(max_length=4)] = ";"
    delimiter: Literal[",", ";", "|", "tab"] = ","
    skip_lines: Annotated[int, Meta(ge=0, le=20)] = 0  # before the header


class Described(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A list file as its user describes it."""

    type: Literal["sealift-list"]
    version: Literal[1]
    file: Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\A[^/\x00]+\Z")]
    name: Annotated[str, Meta(max_length=255)] = ""
    format: Literal["csl-csv", "csl-json", "ofac", "un", "eu", "csv", ""] = ""
    fetched: _Day = ""
    published: _Day = ""
    encoding: Encoding = "utf-8"
    columns: Columns = Columns()

    @property
    def when(self) -> datetime | None:
        """`fetched`, if it is stated."""
        return instant(self.fetched) if self.fetched else None


def instant(text: str) -> datetime | None:
    """The time of an ISO date (its first instant, UTC) or date and time; None when it is neither, or before 1990."""
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            found = datetime.combine(date.fromisoformat(text), time(), UTC)
        else:
            found = datetime.fromisoformat(text)
    except ValueError:
        return None
    if found.year < 1990:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def parse(data: bytes) -> Described:
    """The description in a TOML file's bytes; BadInput with every fault at once."""
    tree, fault = strict.load(data, MAX_TOML)
    if tree is None:
        raise BadInput(f"the list's description is {fault}", hint="docs/spec/screening.md has an example")
    faults: list[str] = []
    found: dict[str, Any] = strict.values(tree, Described, "", faults, lambda _kind, _error: "")
    faults += [
        f"{name}: {found[name]!r} is no date; wants one such as 2026-11-20"
        for name in ("fetched", "published")
        if found.get(name) and instant(found[name]) is None
    ]
    columns = found.get("columns", Columns())
    if found.get("format") == "csv" and not (columns.names or columns.name_parts):
        faults.append('columns.names: missing; wants the columns that hold names, such as ["Name", "Alias"]')
    if found.get("format", "") not in {"csv", ""} and "columns" in tree:
        faults.append('columns: belongs to format = "csv"')
    if strict.unprintable(found.get("name", "")):
        faults.append("name: wants one line of printable text")
    if not columns.separator:
        faults.append("columns.separator: empty; wants what stands between two values of a field")
    if faults:
        raise BadInput(
            f"the list's description has {strict.shown(faults)}", hint="docs/spec/screening.md has an example"
        )
    return Described(**found)


def read(given: Given, columns: Columns, encoding: str = "utf-8") -> ScreeningList:
    """A CSV list by its description; rows of one id are one entry with all their names. BadInput."""
    delimiter = "\t" if columns.delimiter == "tab" else columns.delimiter
    table = rows(
        given.name, _below(given.name, decoded(given.name, given.data, encoding), columns.skip_lines), delimiter
    )
    header = [cell.strip() for cell in next(table, [])]
    lists = (columns.id, columns.kind, columns.countries, columns.birth_dates, columns.programs)
    _apart(given.name, header, delimiter)
    wanted = [*columns.names, *columns.name_parts, *lists]
    for column in filter(None, wanted):
        if header.count(column) != 1:
            wrong = f"{header.count(column)} columns are named {column!r}; one is wanted"
            raise refused(given.name, f"{wrong}. Its header has {', '.join(map(repr, header[:20]))[:400]}")
    found = Collector(given.name)
    kept: dict[str, tuple[str, list[dict[str, str]]]] = {}
    number = 0
    for number, row in enumerate(table, start=1):
        where = f"row {number + 1:,}"  # below the header, which is row 1
        if len(row) != len(header):
            raise found.refused(where, f"{len(row)} fields, where the header has {len(header)}")
        cell = dict(zip(header, row, strict=True)) | {"": ""}
        kept.setdefault(cell[columns.id].strip() or f"row {number + 1}", (where, []))[1].append(cell)
    for entry_id, (where, cells) in kept.items():
        _entry(found, where, entry_id, cells, columns)
    return found.done([given.described("csv", number)])


def _apart(name: str, header: list[str], delimiter: str) -> None:
    """BadInput where a header is one column only because something else stands between its columns."""
    if len(header) != 1:
        return
    for other, called in ((",", ","), (";", ";"), ("|", "|"), ("\t", "tab")):
        if other != delimiter and (count := header[0].count(other)):
            raise refused(
                name,
                f"all of it is one column, {header[0][:100]!r}, in which {called} stands {count} times;"
                f" columns.delimiter says what is between columns: is it {called!r}?",
            )


def _below(name: str, text: str, lines: int) -> str:
    """The text without its first lines."""
    for _ in range(lines):
        _, newline, text = text.partition("\n")
        if not newline:
            raise refused(name, f"it has no more than {lines} lines, and they are skipped")
    return text


def _entry(found: Collector, where: str, entry_id: str, cells: list[dict[str, str]], columns: Columns) -> None:
    def several(column: str) -> list[str]:
        return [part for cell in cells for part in cell[column].split(columns.separator)]

    parts = [" ".join(cell[part] for part in columns.name_parts) for cell in cells]
    found.add(
        where,
        entry_id,
        [*parts, *(name for column in columns.names for name in several(column))],
        source=stable(found.name),
        kind=next((kind for cell in cells if (kind := _kind(cell[columns.kind]))), ""),
        countries=several(columns.countries),
        birth_dates=several(columns.birth_dates),
        programs=several(columns.programs),
    )


def _kind(text: str) -> Kind:
    plain = text.strip().lower()
    found: Kind = "person" if plain in _PERSON else "organisation" if plain in _FIRM else ""
    return "vessel" if plain == "vessel" else "aircraft" if plain == "aircraft" else found
