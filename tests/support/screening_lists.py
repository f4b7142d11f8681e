"""Lists in every format, of the same made-up people and firms; none of them is on any real list."""

import csv
import io
import json
from datetime import UTC, datetime
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

from sealift.trade.lists import Given

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
FETCHED = datetime(2026, 11, 24, 12, tzinfo=UTC)
_COLUMNS = (
    "_id,source,entity_number,type,programs,name,title,addresses,federal_register_notice,start_date,end_date,"
    "standard_order,license_requirement,license_policy,call_sign,vessel_type,gross_tonnage,gross_registered_tonnage,"
    "vessel_flag,vessel_owner,remarks,source_list_url,alt_names,citizenships,dates_of_birth,nationalities,"
    "places_of_birth,source_information_url,ids"
)
HEADER = _COLUMNS.split(",")


class One(NamedTuple):
    number: str
    names: tuple
    kind: str = "organisation"
    country: str = ""
    born: str = ""


PEOPLE = (
    One("101", ("ZORBANOV, Igor Tarkan", "Зорбанов Игорь", "Igor ZORBANOFF"), "person", "RU", "1961-03-04"),
    One("102", ("Velmarin Shipping Lines Co., Ltd.", "VSL"), "organisation", "IR"),
    One("103", ("Qasbar Semiconductor Research Institute", "卡斯巴半导体研究所"), "organisation", "CN"),
    One("104", ("MV Tarnova Star",), "vessel"),
    One("105", ("AL-HARZANI, Yusuf bin Samir", "يوسف الهرزاني"), "person", "SY", "1970"),
    One("106", ("王小测",), "person", "CN"),
)
NAMES = {"IR": "Iran", "RU": "Russia", "CN": "China", "SY": "Syria", "": ""}


def given(data, name="list", fetched=FETCHED, *, stated=True):
    return Given(name, data, fetched, stated)


def no_companion(name):
    raise AssertionError(f"asked for {name}")


def table(rows, **how):
    out = io.StringIO(newline="")
    csv.writer(out, **how).writerows(rows)
    return out.getvalue()


def csl_csv(people=PEOPLE, header=HEADER, extra=()):
    rows = [[*header, *extra]]
    for one in people:
        cells = {
            "_id": f"id{one.number}",
            "source": "Made-up List (MUL) - Bureau of Nowhere",
            "entity_number": one.number,
            "type": {"person": "Individual", "organisation": "Entity", "vessel": "Vessel"}[one.kind],
            "programs": "FAKE; PRETEND",
            "name": one.names[0],
            "alt_names": "; ".join(one.names[1:]),
            "addresses": f"1 Road, Town, {one.country}" if one.country else "",
            "nationalities": "",
            "dates_of_birth": one.born,
        }
        rows.append([cells.get(column, "") for column in rows[0]])
    return table(rows).encode()


def csl_json(people=PEOPLE, **more):
    kinds = {"person": "Individual", "organisation": "Entity", "vessel": "Vessel"}
    results = [
        {
            "id": f"id{one.number}",
            "source": "Made-up List (MUL) - Bureau of Nowhere",
            "entity_number": int(one.number),
            "type": kinds[one.kind],
            "programs": ["FAKE", "PRETEND"],
            "name": one.names[0],
            "alt_names": list(one.names[1:]) or None,
            "addresses": [{"address": "1 Road", "city": "Town", "country": one.country or None}],
            "dates_of_birth": [one.born] if one.born else [],
            "ids": [{"type": "Passport", "number": "X1"}],
            "unheard_of": {"in": ["these", "versions"]},
        }
        for one in people
    ]
    return json.dumps({"total": len(results), "results": results} | more, ensure_ascii=False).encode()


def ofac(people=PEOPLE):
    """sdn.csv, alt.csv and add.csv."""
    null = "-0- "
    kinds = {"person": "individual", "organisation": null, "vessel": "vessel"}
    born = {
        one.number: f"DOB {one.born}; nationality {NAMES[one.country]}; (Linked To: NOBODY)."
        for one in people
        if one.born
    }
    main = [
        [one.number, one.names[0], kinds[one.kind], "FAKE] [PRETEND", *[null] * 7, born.get(one.number, null)]
        for one in people
    ]
    also = [[one.number, str(i), "aka", name, null] for one in people for i, name in enumerate(one.names[1:], 1)]
    places = [[one.number, "1", "1 Road", "Town", NAMES[one.country] or null, null] for one in people]
    end = "\x1a"
    return tuple((table(rows) + end).encode() for rows in (main, also, places))


def un(people=PEOPLE):
    parts = []
    for one in people:
        person = one.kind == "person"
        tag = "INDIVIDUAL" if person else "ENTITY"
        first, *others = one.names
        last, comma, given_names = first.partition(", ") if person else (first, "", "")
        names = f"<FIRST_NAME>{escape(given_names if comma else first)}</FIRST_NAME>"
        names += f"<SECOND_NAME>{escape(last)}</SECOND_NAME><THIRD_NAME/>" if comma else ""
        aliases = "".join(
            f"<{tag}_ALIAS><QUALITY>Good</QUALITY><ALIAS_NAME>{escape(name)}</ALIAS_NAME></{tag}_ALIAS>"
            for name in others
            if name.isascii()
        )
        native = "".join(
            f"<NAME_ORIGINAL_SCRIPT>{escape(name)}</NAME_ORIGINAL_SCRIPT>" for name in others if not name.isascii()
        )
        country = f"<NATIONALITY><VALUE>{NAMES[one.country]}</VALUE></NATIONALITY>" if one.country and person else ""
        place = f"<{tag}_ADDRESS><COUNTRY>{NAMES[one.country]}</COUNTRY></{tag}_ADDRESS>"
        born = f"<INDIVIDUAL_DATE_OF_BIRTH><YEAR>{one.born[:4]}</YEAR></INDIVIDUAL_DATE_OF_BIRTH>" if one.born else ""
        head = f"<DATAID>6{one.number}</DATAID><VERSIONNUM>1</VERSIONNUM>{names}<UN_LIST_TYPE>Fake</UN_LIST_TYPE>"
        head += f"<REFERENCE_NUMBER>FKi.{one.number}</REFERENCE_NUMBER>"
        parts.append((person, f"<{tag}>{head}{native}{country}{aliases}{place}{born}</{tag}>"))
    people_text = "\n".join(text for person, text in parts if person)
    firms_text = "\n".join(text for person, text in parts if not person)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<CONSOLIDATED_LIST xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:noNamespaceSchemaLocation="https://un.example/list.xsd" dateGenerated="2026-11-20T00:00:01.000Z">\n'
        f"<INDIVIDUALS>{people_text}</INDIVIDUALS>\n<ENTITIES>{firms_text}</ENTITIES>\n</CONSOLIDATED_LIST>\n"
    ).encode()


def eu(people=PEOPLE):
    rows = []
    for one in people:
        code = "person" if one.kind == "person" else "enterprise"
        aliases = "".join(f'<nameAlias wholeName={quoteattr(name)} strong="true" logicalId="1"/>' for name in one.names)
        born = f'<birthdate circa="false" birthdate="{one.born}" year="{one.born[:4]}"/>' if one.born else ""
        place = f'<citizenship countryIso2Code="{one.country}" region=""/>' if one.country else ""
        rows.append(
            f'<sanctionEntity designationDetails="" euReferenceNumber="EU.{one.number}.1" logicalId="{one.number}">'
            f'<regulation programme="FAK" logicalId="3"><publicationUrl>http://eu.example</publicationUrl></regulation>'
            f'<subjectType code="{code}" classificationCode="{code[0].upper()}"/>'
            f"{aliases}{born}{place}</sanctionEntity>"
        )
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
        '<export xmlns="http://eu.europa.ec/fpi/fsd/export" generationDate="2026-11-21T17:00:34.049+01:00" '
        f'globalFileId="1">\n{chr(10).join(rows)}\n</export>\n'
    ).encode()


TOML = """\
type = "sealift-list"
version = 1
file = "internal.csv"
format = "csv"
fetched = "2026-11-24"
published = "2026-11-20"

[columns]
id = "Ref"
names = ["Name", "Other names"]
kind = "Kind"
countries = "Country"
birth_dates = "Born"
separator = "/"
delimiter = ";"
"""


def mapped(people=PEOPLE):
    rows = [["Ref", "Name", "Comment", "Other names", "Kind", "Country", "Born"]]
    rows += [
        [one.number, one.names[0], "x", " / ".join(one.names[1:]), one.kind, one.country, one.born] for one in people
    ]
    return table(rows, delimiter=";").encode()
