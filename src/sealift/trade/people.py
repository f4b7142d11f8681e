"""Whether two names may be one person's: for rules that want two people.

A name is text that somebody typed, and proves nothing; keys do. But a rule that asks for another person must not be
met by a spelling: case, accents (Müller, Mueller, Muller), order of words, initials and titles tell nobody apart. What
holds: `same` is symmetric, and true sooner than false. Pure. What is not here: names on lists (names.py).
"""

from __future__ import annotations

import re
import unicodedata

_LETTERS = str.maketrans("äöüßøåæœłđðþı", "aousoaaolddti")
_PAIRS = (("ae", "a"), ("oe", "o"), ("ue", "u"), ("aa", "a"), ("ss", "s"), ("th", "t"), ("dj", "d"))
_TITLES = frozenset({"dr", "prof", "mr", "mrs", "ms", "ing", "dipl", "herr", "frau", "the"})
_INITIALS = 3  # letters of a lone word that may be initials only


def same(one: str, other: str) -> bool:
    """True if nothing in these names shows that they are two people's.

    Words are compared without accents, in any order; an initial is any word that begins with it. Every word of the
    name with fewer words must be in the other; or both are the same letters, written together or apart; or one is the
    other's initials. A name without a letter, and one that mixes letters of several scripts in a word, is anybody's.
    """
    if not _telling(one) or not _telling(other):
        return True
    plain = _plain(one), _plain(other)
    left, right = ([_spelled(word) for word in words] for words in plain)
    together = any(_spelled("".join(order(plain[0]))) == _spelled("".join(order(plain[1]))) for order in (list, sorted))
    return together or _matches(left, right) or _initials(left, right) or _initials(right, left)


def _telling(name: str) -> bool:
    """Whether a name can tell anybody apart."""
    letters = [c for c in unicodedata.normalize("NFKC", name) if c.isalpha()]
    mixed = any(
        len({unicodedata.name(c, "?").partition(" ")[0] for c in word if c.isalpha()}) > 1
        for word in re.findall(r"[^\W_]+", unicodedata.normalize("NFC", name))
        if not any(map(_is_japanese, word))
    )
    return bool(letters) and not mixed


def _is_japanese(letter: str) -> bool:
    """Kana and Han, which stand in one word of Japanese; no letter of theirs looks like a Latin one."""
    return "\u3040" <= letter < "\u3100" or "\u4e00" <= letter < "\ua000"


def _initials(few: list[str], many: list[str]) -> bool:
    return len(few) == 1 and len(few[0]) <= _INITIALS and few[0] == "".join(word[0] for word in many)


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


def _plain(name: str) -> list[str]:
    """The words of a name, without accents and titles."""
    text = unicodedata.normalize("NFKC", name).casefold().translate(_LETTERS)
    letters = "".join(c for c in unicodedata.normalize("NFKD", text) if unicodedata.category(c) != "Mn")
    return [word for word in re.findall(r"[^\W_]+", letters) if word not in _TITLES]


def _spelled(word: str) -> str:
    """A word in which letters that are also written as two are one."""
    for pair, letter in _PAIRS:
        word = word.replace(pair, letter)
    return word
