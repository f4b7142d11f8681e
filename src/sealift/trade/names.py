"""Names made comparable: case, accents, punctuation, scripts and legal forms taken out of a name's way.

What holds: `forms` of one name are always the same, are never empty strings, and are made without looking at any list.
A name whose letters stand apart (A-c-m-e, A C M E) is compared as it stands and with them joined. One with letters of
other alphabets that look Latin, or the other way round, is compared as it is spelled and as it looks (lookalikes.py).
A name in another script is compared twice: transliterated to Latin letters (anyascii: one table a character, so Arabic
has no vowels, and Han is read as Mandarin), and as it stands (`native`). Legal forms (Ltd, GmbH, OOO, 有限公司) are
dropped unless nothing else is left. Digits stay. Pure.

What is not here: comparing (matching.py).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from sealift.trade import lookalikes

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_NAME = 1000  # characters of a name
_SPELLED = 2  # Latin letters that a name has at least which is spelled with them
_MAX_PERSON = 4  # characters of a Han or Hangul name that is taken as surname and given name too

# What says of what legal kind a firm is, and nothing of which firm: after case, accents and dots are gone.
_LEGAL_WORDS = """
ab ag ao aps as asa bhd bv bvba co company corp corporation cv doo ead eg ehf eood eirl eurl fze fzco fzc fzllc
fz gesmbh gmbh hf inc incorporated jsc kd kft kg kgaa kk limited limitada lda llc llp lp ltd ltda mbh nv oao oy
oyj ojsc ooo od ohg ooud pao pjsc plc pllc pt pte ptd pty pvt qjsc sa sae sal sapi sarl sas sasu saoc saog sc
scs sdn se sicav sl slu sln snc spa spc spol sro srl ss sti tbk too uab ug zao zrt zoo wll unipessoal
"""
_LEGAL_PHRASES = """
limited liability company|joint stock company|open joint stock company|closed joint stock company|
public joint stock company|private joint stock company|public limited company|private limited company|
limited liability partnership|limited partnership|gesellschaft mit beschrankter haftung|aktiengesellschaft|
kommanditgesellschaft|sociedad anonima|sociedade anonima|societe anonyme|societe a responsabilite limitee|
societa per azioni|societa a responsabilita limitata|naamloze vennootschap|besloten vennootschap|
obshchestvo s ogranichennoy otvetstvennostyu|aktsionernoe obshchestvo|public company|private company|
kabushiki kaisha|yugen kaisha|anonim sirketi|limited sirketi|sendirian berhad|free zone company|
free zone establishment|ltd sti|sp z o o|d o o|s p a|s a r l|s r l
"""
_LEGAL_HAN = """
股份有限公司 有限责任公司 有限責任公司 有限公司 集团公司 集團公司 公司
株式会社 有限会社 合同会社 주식회사 유한회사
"""
_LEGAL_OTHER = (
    "общество с ограниченной ответственностью|публичное акционерное общество|открытое акционерное общество|"
    "закрытое акционерное общество|акционерное общество|ооо|оао|зао|пао|ао|тоо|чп|ип|شركة|شرکت|εταιρεια|αε|επε"
)
_LEGAL = frozenset(_LEGAL_WORDS.split())


def _any_of(phrases: Iterable[str]) -> re.Pattern[str]:
    """One of the phrases between word borders, the longest that fits."""
    return re.compile(r"\b(?:" + "|".join(sorted((each.strip() for each in phrases), key=len, reverse=True)) + r")\b")


_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7a3\U00020000-\U0003ffff]+")
_INITIALS = re.compile(r"\b(?:\w\.\s?){2,}")
_APART = re.compile(r"(?<!\w)\w(\W)\w(?:\1\w(?!\w))+")  # three letters or more, the same between each
_APOSTROPHES = re.compile("['\u2018\u2019\u02bc\u02bb`\u00b4\u05f3]")
_NOT_WORD = re.compile(r"[\W_]+")
_SYLLABLE = re.compile(r"[A-Z][a-z]*")
_ALIKE = str.maketrans(
    {"\u0629": "\u0647", "\u0649": "\u064a", "\u06cc": "\u064a", "\u06a9": "\u0643", "\u0640": "", "ς": "σ"}
)


def _bare(text: str) -> str:
    """Without case, accents and vowel marks, punctuation, and the several ways to write one letter."""
    letters = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if unicodedata.category(c) != "Mn")
    return _NOT_WORD.sub(" ", unicodedata.normalize("NFC", letters).translate(_ALIKE)).strip()


_PHRASES = _any_of(_LEGAL_PHRASES.replace("\n", "").split("|"))
_HAN_FORMS = re.compile("|".join(_LEGAL_HAN.split()))
_OTHER_FORMS = _any_of(_bare(each) for each in _LEGAL_OTHER.split("|"))


class Forms(NamedTuple):
    """What is compared of one name: Latin forms, words between single spaces, and the name in its own script."""

    latin: tuple[str, ...]
    native: tuple[str, ...]


@lru_cache(maxsize=1 << 12)
def forms(name: str) -> Forms:
    """The comparable forms of `name`; both empty when it has neither letter nor digit."""
    text = unicodedata.normalize("NFKC", name)
    if not text.isascii():  # what is not seen in a name parts no words of it; of lists it is gone already
        text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    spelled = (text, *lookalikes.folded(text))
    joined = [_APART.sub(lambda run: run[0].replace(run[1], ""), each) for each in spelled]
    found = [_forms(each) for each in dict.fromkeys([*spelled, *joined])]
    if len(found) == 1:
        return found[0]
    return Forms(*(tuple(dict.fromkeys(form for each in kind for form in each)) for kind in zip(*found, strict=True)))


def _forms(text: str) -> Forms:
    if text.isascii():
        return Forms((core,) if (core := _core(_words(text))) else (), ())
    native = _native(text)
    if _HAN.search(text):
        latin = _syllables(_HAN_FORMS.sub(" ", text).strip() or text, person=not _HAN_FORMS.search(text))
    else:
        latin = [_latin(text)]
    kept = tuple(dict.fromkeys(core for each in latin if (core := _core(_words(each)))))
    return Forms(kept, (native,) if native and not _is_latin(native) else ())


def normalised(names: Iterable[str]) -> list[str]:
    """Every form of every name, none twice: what the record shows as compared."""
    found = [form for name in names for kind in forms(name) for form in kind]
    return list(dict.fromkeys(found))


def is_firm(name: str) -> bool:
    """True if the name has a legal form, so that it is no person's."""
    text = unicodedata.normalize("NFKC", name)
    words = _words(text if text.isascii() else _latin(text))
    han, other = _HAN_FORMS.search(text), _OTHER_FORMS.search(_bare(text))
    return bool(han or other or _PHRASES.search(words)) or any(word in _LEGAL for word in words.split()[1:])


def has_latin(name: str) -> bool:
    """True if the name can be compared as it stands with lists in Latin letters: it has some, or no letters at all."""
    letters = [c for c in unicodedata.normalize("NFKC", name) if c.isalpha()]
    return sum("LATIN" in unicodedata.name(c, "") for c in letters) >= min(_SPELLED, len(letters))


def _latin(text: str) -> str:
    from anyascii import anyascii

    return anyascii(text)


def _words(text: str) -> str:
    """Lower-case words between single spaces: dots of initials and apostrophes join, all else parts."""
    text = text.casefold().replace("&", " and ").replace("+", " and ")
    text = _INITIALS.sub(lambda found: found[0].replace(".", "").replace(" ", "") + " ", _APOSTROPHES.sub("", text))
    return _NOT_WORD.sub(" ", text).strip()


def _core(words: str) -> str:
    """The words without legal forms; all of them where nothing else is left."""
    kept = [word for word in _PHRASES.sub(" ", words).split() if word not in _LEGAL]
    return " ".join(kept) if kept else words


def _native(text: str) -> str:
    """The name in its own script, without legal forms; Han and Hangul without spaces too."""
    words = _bare(_HAN_FORMS.sub(" ", text)) or _bare(text)
    kept = " ".join(_OTHER_FORMS.sub(" ", words).split()) or words
    return kept.replace(" ", "") if _HAN.fullmatch(kept.replace(" ", "")) else kept


def _is_latin(text: str) -> bool:
    return all(not c.isalpha() or "LATIN" in unicodedata.name(c, "") for c in text)


def _syllables(text: str, *, person: bool) -> list[str]:
    """Han and Hangul read out: joined, by syllables, and as surname and given name where it may be a person's.

    王小明 is wangxiaoming, wang xiao ming and wang xiaoming.
    """
    latin = _latin(text)
    found = _SYLLABLE.findall(latin)
    made = [latin, " ".join(found)]
    if person and 2 <= len(found) <= _MAX_PERSON:
        cuts = (1, 2) if len(found) == _MAX_PERSON else (1,)
        made += [f"{''.join(found[:cut])} {''.join(found[cut:])}" for cut in cuts]
    return made
