"""What else speaks for or against a hit: country, birth date and kind. They order hits, and never clear one.

What holds: a relation is `unknown` unless both sides say something that is understood; nothing here raises. Countries
of lists are codes or names in English, as publishers write them, looked up in ISO 3166 (pycountry) and in the few
names that it lacks. Birth dates are compared by the years that they hold.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

Relation = Literal["same", "near", "different", "unknown"]

_YEAR = re.compile(r"(?<!\d)(1[89]\d\d|20\d\d)(?!\d)")
_WEIGHTS = {  # added to a score when hits are put in order
    "country": {"same": 0.05, "different": -0.05},
    "birth_date": {"same": 0.10, "near": 0.02, "different": -0.10},
    "kind": {"same": 0.02, "different": -0.05},
}
# Names in the lists that ISO 3166 does not have in that form
_OTHER_NAMES = {
    "brunei": "BN",
    "burma": "MM",
    "cape verde": "CV",
    "congo, democratic republic of the": "CD",
    "congo, republic of the": "CG",
    "cote d ivoire": "CI",
    "democratic republic of the congo": "CD",
    "gaza": "PS",
    "ivory coast": "CI",
    "korea, north": "KP",
    "korea, south": "KR",
    "kosovo": "XK",
    "macau": "MO",
    "palestinian": "PS",
    "russia": "RU",
    "swaziland": "SZ",
    "turkey": "TR",
    "uk": "GB",
    "west bank": "PS",
}


def country(stated: str, listed: Iterable[str]) -> Relation:
    """How a party's country (ISO code) stands to those of an entry."""
    codes = [code_of(each) for each in listed]
    if not stated or not codes:
        return "unknown"
    if stated in codes:
        return "same"
    return "different" if all(codes) else "unknown"


def birth_date(stated: str, listed: Iterable[str]) -> Relation:
    """How a party's birth date stands to those of an entry; `near` is a year apart: lists often know it only about."""
    own = [int(year) for year in _YEAR.findall(stated)]
    theirs = [int(year) for each in listed for year in _YEAR.findall(each)]
    if not own or not theirs:
        return "unknown"
    apart = min(abs(one - other) for one in own for other in theirs)
    return "same" if apart == 0 else "near" if apart == 1 else "different"


def kind(stated: str, listed: str) -> Relation:
    """How what a party is stands to what an entry is."""
    if not stated or not listed:
        return "unknown"
    return "same" if stated == listed else "different"


def weight(relations: dict[str, Relation]) -> float:
    """What relations add to a score for the order of hits; it clears nothing."""
    return sum(_WEIGHTS[name].get(relation, 0.0) for name, relation in relations.items())


@lru_cache(maxsize=4096)
def code_of(text: str) -> str:
    """The two-letter code of a country as a list writes it; "" where it is not understood."""
    import pycountry

    plain = " ".join(text.split())
    if len(plain) == 2 and plain.isalpha():
        return plain.upper()
    turned = re.sub(r"\s*\(([^)]*)\)$", r", \1", plain)
    for name in (plain, turned, re.sub(r"^the |, the$", "", plain, flags=re.IGNORECASE)):
        if code := _OTHER_NAMES.get(name.lower().removeprefix("region: ")):
            return code
        try:
            return str(pycountry.countries.lookup(name).alpha_2)
        except LookupError:
            continue
    return ""
