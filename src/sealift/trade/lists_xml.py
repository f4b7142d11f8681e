"""The UN's and the EU's consolidated lists in XML: bytes to entries.

    UN   CONSOLIDATED_LIST dateGenerated= / INDIVIDUALS / INDIVIDUAL, ENTITIES / ENTITY: elements with text
    EU   export generationDate= / sanctionEntity: attributes, in the namespace of version 1.1

What holds: a document type is refused before anything of it is read, so there are no entities, no external files and
nothing that grows; what expat does not take as well-formed is refused whole. Depth, attributes and text are limited.
One record at a time is held. Elements that no reader asks for are let be. A second root, or another, is refused.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from xml.parsers import expat

from sealift.errors import SealiftError
from sealift.trade.lists import MAX_FIELD, Collector, Given, Kind, ScreeningList, day, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_DEPTH = 32
MAX_PARTS = 100_000  # elements of one record
EU_NAMESPACE = "http://eu.europa.ec/fpi/fsd/export"
_UN_NAMES = ("FIRST_NAME", "SECOND_NAME", "THIRD_NAME", "FOURTH_NAME")


class Element:
    """One element of a record: its name without namespace, attributes, text and children."""

    __slots__ = ("attributes", "children", "tag", "text")

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.children: list[Element] = []
        self.text = ""

    def each(self, *tags: str) -> Iterator[Element]:
        """The children of these names."""
        return (child for child in self.children if child.tag in tags)

    def first(self, tag: str) -> str:
        """The text of the first child of that name; "" where there is none."""
        return next((child.text.strip() for child in self.children if child.tag == tag), "")


class _Reader:
    """A walk over a document that hands each element of `records` to `take` and forgets it."""

    def __init__(self, name: str, root: str, records: tuple[str, ...], take: Callable[[Element, int], None]) -> None:
        self._name, self._root, self._records, self._take = name, root, records, take
        self._open: list[Element] = []
        self._depth = 0
        self._parts = 0
        self._text = 0
        self.root: dict[str, str] = {}

    def read(self, data: bytes) -> None:
        """All of it; BadInput."""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.EntityDeclHandler = self._doctype
        parser.StartElementHandler = lambda tag, attributes: self._start(tag, attributes, parser.CurrentLineNumber)
        parser.EndElementHandler = lambda tag: self._end(tag, parser.CurrentLineNumber)
        parser.CharacterDataHandler = self._characters
        try:
            parser.Parse(data, True)  # noqa: FBT003 -- expat's own: this is all of it
        except SealiftError:
            raise
        except expat.ExpatError as error:
            raise refused(self._name, f"not well-formed XML: {error}") from error
        except (ValueError, LookupError, UnicodeError) as error:  # an encoding that Python or expat does not know
            raise refused(self._name, f"not XML that can be read: {str(error)[:200]}") from error
        if self._open or self._depth:
            raise refused(self._name, "the XML ends in the middle")

    def _doctype(self, *_: object) -> None:
        raise refused(self._name, "it has a document type or an entity of its own; lists have none")

    def _start(self, tag: str, attributes: dict[str, str], line: int) -> None:
        namespace, _, name = tag.rpartition(" ")
        if self._depth == 0:
            if name != self._root or (namespace and namespace != EU_NAMESPACE):
                raise refused(self._name, f"its root is {name[:60]!r}, where {self._root} is wanted")
            self.root = attributes
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise refused(self._name, f"line {line:,}: elements more than {MAX_DEPTH} deep")
        if self._open or name in self._records:
            self._parts = self._parts + 1 if self._open else 0
            if self._parts > MAX_PARTS:
                raise refused(self._name, f"line {line:,}: a record of more than {MAX_PARTS:,} elements")
            if any(len(value) > MAX_FIELD for value in attributes.values()):
                raise refused(self._name, f"line {line:,}: an attribute of more than {MAX_FIELD:,} characters")
            made = Element(name, attributes)
            if self._open:
                self._open[-1].children.append(made)
            self._open.append(made)
            self._text = 0

    def _characters(self, text: str) -> None:
        if self._open:
            self._text += len(text)
            if self._text > MAX_FIELD:
                raise refused(self._name, f"a text of more than {MAX_FIELD:,} characters")
            self._open[-1].text += text

    def _end(self, _tag: str, line: int) -> None:
        self._depth -= 1
        if not self._open:
            return
        done = self._open.pop()
        self._text = 0
        if not self._open:
            self._take(done, line)


def root_of(data: bytes) -> str:
    """The name of the root element without its namespace, or "" where the first bytes are no XML."""
    found: list[str] = []

    def start(tag: str, _attributes: dict[str, str]) -> None:
        found.append(tag.rpartition(" ")[2])

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = start
    with contextlib.suppress(expat.ExpatError, ValueError, LookupError):
        parser.Parse(data[: 1 << 16], False)  # noqa: FBT003 -- more may follow
    return found[0] if found else ""


def un(given: Given) -> ScreeningList:
    """The UN Security Council's consolidated list. BadInput."""
    found = Collector(given.name)
    reader = _Reader(
        given.name, "CONSOLIDATED_LIST", ("INDIVIDUAL", "ENTITY"), lambda one, line: _un_entry(found, one, line)
    )
    reader.read(given.data)
    published = day(reader.root.get("dateGenerated"))
    return found.done([given.described("un", len(found.entries), published)])


def _un_entry(found: Collector, one: Element, line: int) -> None:
    person = one.tag == "INDIVIDUAL"
    names = [" ".join(text for part in _UN_NAMES if (text := one.first(part))), one.first("NAME_ORIGINAL_SCRIPT")]
    for alias in one.each("INDIVIDUAL_ALIAS", "ENTITY_ALIAS"):
        names += [alias.first("ALIAS_NAME"), alias.first("NAME_ORIGINAL_SCRIPT")]
    born = []
    for each in one.each("INDIVIDUAL_DATE_OF_BIRTH"):
        between = f"{each.first('FROM_YEAR')} to {each.first('TO_YEAR')}" if each.first("FROM_YEAR") else ""
        born.append(each.first("DATE") or each.first("YEAR") or between)
    countries = [value.text for each in one.each("NATIONALITY", "NATIONALITY2") for value in each.each("VALUE")]
    countries += [each.first("COUNTRY") for each in one.each("INDIVIDUAL_ADDRESS", "ENTITY_ADDRESS")]
    found.add(
        f"line {line:,}",
        one.first("REFERENCE_NUMBER") or one.first("DATAID"),
        names,
        source="UN " + one.first("UN_LIST_TYPE"),
        kind="person" if person else "organisation",
        countries=countries,
        birth_dates=born,
        programs=[one.first("UN_LIST_TYPE")],
    )


_EU_KINDS: dict[str, Kind] = {"person": "person", "P": "person", "enterprise": "organisation", "E": "organisation"}


def eu(given: Given) -> ScreeningList:
    """The EU's consolidated financial sanctions list, XML 1.1. BadInput."""
    found = Collector(given.name)
    reader = _Reader(given.name, "export", ("sanctionEntity",), lambda one, line: _eu_entry(found, one, line))
    reader.read(given.data)
    published = day(reader.root.get("generationDate"))
    return found.done([given.described("eu", len(found.entries), published)])


def _eu_entry(found: Collector, one: Element, line: int) -> None:
    names = []
    for alias in one.each("nameAlias"):
        parts = (alias.attributes.get(part, "") for part in ("firstName", "middleName", "lastName"))
        names.append(alias.attributes.get("wholeName") or " ".join(part for part in parts if part))
    codes = [each.attributes for each in one.each("subjectType")]
    kind = next((code.get("code") or code.get("classificationCode", "") for code in codes), "")
    where = [each.attributes for each in one.each("citizenship", "address")]
    born = [each.attributes for each in one.each("birthdate")]
    found.add(
        f"line {line:,}",
        one.attributes.get("euReferenceNumber") or one.attributes.get("logicalId", ""),
        names,
        source="EU",
        kind=_EU_KINDS.get(kind, ""),
        countries=[code for each in where if (code := each.get("countryIso2Code", "")) not in {"", "00"}],
        birth_dates=[each.get("birthdate") or each.get("year", "") for each in born],
        programs=[each.attributes.get("programme", "") for each in one.each("regulation")],
    )
