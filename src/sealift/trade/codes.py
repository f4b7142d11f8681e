"""Code lists that others keep: countries of ISO 3166-1, currencies of ISO 4217 and their minor units, Incoterms, HS.

A declaration is checked against them where it is written and where it is released (`faults`), and never where a seal is
opened: lists change, and a shipment that was released stays so. Countries come from pycountry, currencies and their
minor units from iso4217, which ships the table of the maintenance agency.

What is not here: whether a code is the right one for the goods. HS codes are checked for form: two digits of a chapter
that exists (01 to 97 without 77, which is reserved; 98 and 99 are national), six digits or more.
"""

from __future__ import annotations

import functools
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from sealift.formats import strict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealift.trade.sections import Content

# International Chamber of Commerce, Incoterms 2020; there is no library that keeps eleven words
INCOTERMS = ("EXW", "FCA", "CPT", "CIP", "DAP", "DPU", "DDP", "FAS", "FOB", "CFR", "CIF")
HS_OF_KIND = {"ssd": "852351", "hdd": "847170", "tape": "852329"}  # trade.md: read in the nomenclature of 2022
HS_EDITIONS = (1988, 1992, 1996, 2002, 2007, 2012, 2017, 2022, 2028)  # World Customs Organization; the next from 2028
_COUNTRY = re.compile(r"[A-Z]{2}")
_EDITION = re.compile(r"HS[ -]?(\d{4})", re.IGNORECASE)
_HS_DIGITS = range(6, 13)
_RESERVED_CHAPTERS = {"00", "77"}
_MONEY = {"media_value", "data_value", "value", "amount"}


@functools.cache
def countries() -> frozenset[str]:
    """Two-letter codes that are officially assigned."""
    import pycountry  # 20 ms, which only those pay who check

    return frozenset(country.alpha_2 for country in pycountry.countries)


@functools.cache
def minor_units() -> dict[str, int]:
    """Digits behind the point of every currency in use that has them."""
    from iso4217 import Currency

    return {each.code: each.exponent for each in Currency if each.exponent is not None}


def faults(content: Content) -> list[str]:
    """Every code that is not in its list, and every amount of finer parts than its currency has, each with its path."""
    found: list[str] = []
    for path, section in _sections(content, ""):
        kind: type[Struct] = type(section)
        for item in strict.fields_of(kind):
            value, where = getattr(section, item.name), path + item.encode_name
            if not isinstance(value, str) or not value.strip():
                continue
            if item.name.endswith("country") or item.name == "origin":
                if _COUNTRY.fullmatch(value) and value not in countries():  # of any other consistency.py has told
                    found.append(f"{where}: {value!r} is no country of ISO 3166; wants two capital letters, such as DE")
            elif item.name == "currency":
                if value not in minor_units():
                    found.append(
                        f"{where}: {value!r} is no currency of ISO 4217 in use; wants three letters, such as EUR"
                    )
            elif item.name in _MONEY:
                found += _amount(where, value, section.currency)
            elif item.name == "hs_code":
                found += _hs(where, value)
            elif item.name == "hs_version" and (said := _EDITION.fullmatch(value.strip())):
                if int(said[1]) not in HS_EDITIONS:
                    of = ", ".join(map(str, HS_EDITIONS))
                    found.append(f"{where}: there is no {value!r}; editions of the Harmonized System are of {of}")
            elif item.name == "incoterm" and value not in INCOTERMS:
                found.append(f"{where}: {value!r} is none of Incoterms 2020: {', '.join(INCOTERMS)}")
    return found


def notes(content: Content) -> list[str]:
    """What is unusual and may be right all the same, each with its path."""
    found = []
    for number, goods in enumerate(content.goods, start=1):
        said = _EDITION.fullmatch(goods.hs_version.strip())
        if said and content.status_as_of and int(said[1]) > int(content.status_as_of[:4]):
            found.append(
                f"goods[{number}].hs_version: {goods.hs_version} is in force from 1 January {said[1]}, and all is as of"
                f" {content.status_as_of}"
            )
        usual, digits = HS_OF_KIND.get(goods.kind), goods.hs_code.replace(".", "")
        if usual and digits and not digits.startswith(usual):
            found.append(
                f"goods[{number}].hs_code: {goods.hs_code} is not where {goods.kind} is found: {usual[:4]}.{usual[4:]}"
            )
    return found


def _amount(where: str, value: str, currency: str) -> list[str]:
    digits = minor_units().get(currency)
    if digits is None or -_exponent(value) <= digits:
        return []
    return [f"{where}: {value!r} has finer parts than {currency}, which has {digits} digits behind the point"]


def _exponent(value: str) -> int:
    exponent = Decimal(value).as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


def _hs(where: str, value: str) -> list[str]:
    digits = value.replace(".", "")
    if len(digits) not in _HS_DIGITS or digits[:2] in _RESERVED_CHAPTERS or not re.fullmatch(r"\d+(\.\d+)*", value):
        return [f"{where}: {value!r} is no HS code; wants 6 to 12 digits, with or without points, such as 8523.51"]
    return []


def _sections(section: Struct, path: str) -> Iterator[tuple[str, Any]]:
    """Every table of a record, itself first, with the beginning of its fields' paths."""
    yield path, section
    for item in strict.fields_of(type(section)):
        value = getattr(section, item.name)
        if isinstance(value, Struct):
            yield from _sections(value, f"{path}{item.encode_name}.")
        elif isinstance(value, list):
            for number, row in enumerate(value, start=1):
                if isinstance(row, Struct):
                    yield from _sections(row, f"{path}{item.encode_name}[{number}].")
