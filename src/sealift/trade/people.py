"""Whether two names may be one person's: for rules that want two people.

A name is text that somebody typed, and proves nothing; keys do. But a rule that asks for another person must not be
met by a spelling: case, accents (Müller, Mueller, Muller), order of words, initials and titles tell nobody apart. What
holds: `same` is symmetric, and true sooner than false. Pure. What is not here: names on lists (names.py).
"""

from __future__ import annotations

import re
import unicodedata

_SPELLED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "ø": "oe", "å": "aa", "æ": "ae", "œ": "oe"})
_PLAIN = str.maketrans({"ß": "ss", "ø": "o", "æ": "ae", "œ": "oe"})
_TITLES = frozenset({"dr", "prof", "mr", "mrs", "ms", "ing", "dipl", "herr", "frau"})


def same(one: str, other: str) -> bool:
    """True if nothing in these names shows that they are two people's.

    Words are compared without accents, in any order; an initial is any word that begins with it. Every word of the name
    with fewer words must be in the other. A name without a letter is anybody's.
    """
    return any(_matches(left, right) for left in _foldings(one) for right in _foldings(other))


def fold(name: str) -> str:
    """A name as it is compared where spellings are one person's only if they are equal: case, width and spaces go."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _matches(one: list[str], other: list[str]) -> bool:
    few, many = sorted((one, other), key=len)
    left = list(many)
    for word in sorted(few, key=len, reverse=True):  # whole words take their places before initials do
        found = next((each for each in left if each == word), None) or next(
            (each for each in left if min(len(each), len(word)) == 1 and each[0] == word[0]), None
        )
        if found is None:
            return False
        left.remove(found)
    return True


def _foldings(name: str) -> list[list[str]]:
    text = unicodedata.normalize("NFKC", name).casefold()
    return [_words(text.translate(table)) for table in (_SPELLED, _PLAIN)]


def _words(text: str) -> list[str]:
    letters = "".join(c for c in unicodedata.normalize("NFKD", text) if unicodedata.category(c) != "Mn")
    return [word for word in re.findall(r"[^\W_]+", letters) if word not in _TITLES]
