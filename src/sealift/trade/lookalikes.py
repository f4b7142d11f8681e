"""Letters that look like others: a name that reads as one thing, and is spelled as another.

    folded     spellings of a name in one alphabet a word, for comparing: Latin, and each other one that is in the word
    doubtful   words of a name that no person can read with certainty, with the letters that make them so
    faults     the same of every name in a declaration

What holds: a word that has letters of two alphabets with look-alikes (Latin with Cyrillic, Greek, Armenian ...) is
doubtful; so is one wholly of letters of another alphabet that all look Latin, in a name that has words in Latin letters
too, unless it is a legal form (OOO in Cyrillic letters). Scripts that nobody takes for Latin ones stand beside it in
one word as they do in life: Han with kana, Han with Hangul, an abbreviation in Thai. So do Greek letters as signs: one
that looks like none of ASCII before a word in Latin letters (µTech, Ωmega), and one that is told apart, alone
(α-Compute), which is compared by its own name, too (alpha). A name wholly in one alphabet is never doubtful. Pure.

The table: letters of confusables.txt (Unicode Technical Standard 39, data of Unicode 15) whose look-alike is one letter
of ASCII, of the alphabets that are in use. That file takes capital I for l; here what looks like I is I. A small letter
that the file does not have and whose capital it has is folded as that one: small Cyrillic ve is a small capital B.
"""

from __future__ import annotations

import unicodedata
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from sealift.formats import strict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealift.trade.sections import Content

_TABLE = (
    ("ΑΒΕϜΗͿΙΚΜϺΝΟΡΤΧΥΖαιϳοσρυνγϲϹ", "ABEFHJIKMMNOPTXYZaijoopuvycC"),
    ("АВСЕԌНЈКМОРЅТѴԜХУҮІӀаЬсԁеҽһіꙇӏјорԛгѕѵѡԝхуү", "ABCEGHJKMOPSTVWXYYIIabcdeehiiijopqrsvwwxyy"),
    ("ՕՏՍքցհոռօգզսա", "OSUfghnnoqquw"),
    ("ᎪᏴᏟᎠᎬᏀᏳᎻᎫᏦᏞᎷᏢᎡᏒᏕᏚᎢᏙᎳᏔᎩᎽᏃᏏꮯᏧᏂꭵᎥꮁꮪꮩꮃꮓ", "ABCDEGGHJKLMPRRSSTVWWYYZbcdhiirsvwz"),
    ("ⲤⲎⲔⳐⲘⲚⲞⲢⲦⲬⲨⲒⲥⲟⲣⲅ", "CHKLMNOPTXYIcopr"),
    ("ꓮꓐꓚꓓꓰꓝꓖꓧꓙꓗꓡꓟꓠꓳꓑꓣꓢꓔꓴꓦꓪꓫꓬꓜꓲ", "ABCDEFGHJKLMNOPRSTUVWXYZI"),
)
_LOOKS = {ord(one): other for odd, plain in _TABLE for one, other in zip(odd, plain, strict=True)}
# as the first word of a letter's Unicode name
_ALPHABETS = frozenset({
    "LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU", "CANADIAN", "DESERET", "OSAGE", "TIFINAGH",
    "GEORGIAN",
})  # fmt: skip
_LEGAL = frozenset({  # forms that are all of look-alikes
    "ооо", "оао", "зао", "пао", "ао", "тоо", "тов", "ат", "ват", "αε", "οε", "εε", "ικε",
})  # fmt: skip
_NAMES = frozenset({
    "name", "legal_name", "native_name", "ultimate_parent", "organisation", "operator", "access_controller",
    "key_holder", "shipper", "consignee",
})  # fmt: skip
_ALONE = frozenset("αγρσ")  # of those in the table: as a word of its own each is read as what it is
_SHOWN = 4  # letters of a word


def folded(name: str) -> tuple[str, ...]:
    """Other spellings of `name`: words of two alphabets, or all of look-alikes, in one; () where it has none."""
    if name.isascii():
        return ()
    found = dict.fromkeys(
        "".join(_spelled(part, alphabet) for part in _parts(name)) for alphabet in ("LATIN", *_others(name))
    )
    if "LATIN" in _alphabets(name):
        found["".join(map(_called, _parts(name)))] = None
    found.pop(name, None)
    return tuple(found)


@lru_cache(maxsize=1 << 10)
def doubtful(name: str) -> tuple[str, ...]:
    """What cannot be read with certainty in `name`, a line each: the word, and its letters with their Unicode names."""
    if name.isascii():
        return ()
    words = [part for part in _parts(unicodedata.normalize("NFKC", name)) if _alphabets(part)]
    latin = any("LATIN" in _alphabets(word) for word in words)
    found = []
    for word in dict.fromkeys(words):
        alphabets = _alphabets(word)
        if word in _ALONE or _is_sign_before_latin(word):
            continue
        if len(alphabets) > 1:
            mixed = " and ".join(each.capitalize() for each in alphabets)
            found.append(f"{word!r} has letters of two alphabets, {mixed}: {_letters(word, alphabets)}")
        elif latin and "LATIN" not in alphabets and _looks_latin(word) and word.casefold() not in _LEGAL:
            found.append(f"{word!r} reads as {word.translate(_LOOKS)!r} and is not: {_letters(word, alphabets)}")
    return tuple(found)


def _called(word: str) -> str:
    """A lone Greek letter by its name; any other word as it is."""
    if len(word) != 1 or _alphabet(word) != "GREEK":
        return word
    return unicodedata.name(word).partition(" LETTER ")[2].partition(" ")[0].lower() or word


def _is_sign_before_latin(word: str) -> bool:
    """True for a word in Latin letters whose first letter is a Greek one that looks like none of ASCII."""
    first, rest = word[:1], word[1:]
    return ord(first) not in _LOOKS and _alphabets(first) == ("GREEK",) and _alphabets(rest) == ("LATIN",)


def faults(content: Content) -> list[str]:
    """Every name of the declaration that cannot be read with certainty, with its path and what it wants."""
    return [
        f"{where}: {'; '.join(why)}; write it in one alphabet, as the register or the passport has it (the spelling in"
        " another one belongs into native_name)"
        for where, name in _named(content, "")
        if (why := doubtful(name))
    ]


def _named(section: Struct, path: str) -> Iterator[tuple[str, str]]:
    for item in strict.fields_of(type(section)):
        value: Any = getattr(section, item.name)
        if isinstance(value, str) and item.name in _NAMES:
            yield path + item.encode_name, value
        elif isinstance(value, Struct):
            yield from _named(value, f"{path}{item.encode_name}.")
        elif isinstance(value, list):
            for number, row in enumerate(value, start=1):
                if isinstance(row, Struct):
                    yield from _named(row, f"{path}{item.encode_name}[{number}].")


def _parts(name: str) -> Iterator[str]:
    """Words, and what is between them."""
    start = 0
    inside = False
    for at, character in enumerate(name):
        letter = unicodedata.category(character)[0] in "LMN"
        if letter != inside and at > start:
            yield name[start:at]
            start = at
        inside = letter
    yield name[start:]


@cache
def _alphabet(character: str) -> str:
    """Of a letter, if it is one with look-alikes; else ""."""
    if not character.isalpha():
        return ""
    first = unicodedata.name(character, "").partition(" ")[0]
    return first if first in _ALPHABETS else ""


def _alphabets(word: str) -> tuple[str, ...]:
    """Those with look-alikes, Latin first, and then as they come."""
    found = dict.fromkeys(filter(None, map(_alphabet, word)))
    return tuple(sorted(found, key=lambda each: each != "LATIN"))


def _others(name: str) -> list[str]:
    return [each for each in _alphabets(name) if each != "LATIN"]


def _looks_latin(word: str) -> bool:
    return all(ord(c) in _LOOKS or not c.isalpha() for c in word)


def _spelled(word: str, alphabet: str) -> str:
    """`word` in the letters of one alphabet, as far as they look so; as it is where it is doubtful in no way."""
    alphabets = _alphabets(word)
    if alphabet == "LATIN" and (len(alphabets) > 1 or (alphabets and _reads_latin(word))):
        return word.translate(_to_latin())
    if len(alphabets) > 1 and alphabet in alphabets:
        return word.translate(_to_latin()).translate(_from_latin(alphabet))
    return word


def _reads_latin(word: str) -> bool:
    return all(ord(c) in _to_latin() or not c.isalpha() for c in word)


@cache
def _to_latin() -> dict[int, str]:
    """The table, and small letters by their capitals."""
    found = dict(_LOOKS)
    for capital, plain in _LOOKS.items():
        small = chr(capital).lower()
        if len(small) == 1 and small != chr(capital):
            found.setdefault(ord(small), plain.lower())
    return found


@cache
def _from_latin(alphabet: str) -> dict[int, str]:
    """Letters of ASCII as those of `alphabet` that look so; the first of the table."""
    found: dict[int, str] = {}
    for odd, plain in _to_latin().items():
        if _alphabet(chr(odd)) == alphabet:
            found.setdefault(ord(plain), chr(odd))
    return found


def _letters(word: str, alphabets: tuple[str, ...]) -> str:
    """Those that are not Latin, by number and name: what is printed of them looks like something else."""
    odd = [c for c in dict.fromkeys(word) if _alphabet(c) in alphabets and _alphabet(c) != "LATIN"]
    more = f" and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else ""
    return ", ".join(f"U+{ord(c):04X} {unicodedata.name(c)}" for c in odd[:_SHOWN]) + more
