"""What the fonts of the papers can paint: the characters that they have, and as many marks on one as a line holds.

    unpainted  why a text cannot be painted, with the characters by number; "" where it can
    faults     the same of every text of a declaration, with its path
    shown      a text with the numbers of what cannot be painted in its place
    isolated   a text set apart from what stands beside it

Texts of a declaration are refused where they cannot be painted (`sealift declare --check`, the gate), because whoever
wrote them can write them otherwise. What others wrote, in lists and in records that are signed, is `shown`: a character
that no font has is written as its number, <U+10E1>, so that nothing is left out or guessed.

Marks on one letter are set above or below one another, and over the lines above and below when they are many. Unicode
allows 30 (Standard Annex #15, stream-safe text), for the memory of programs; what the lines of a paper hold is less. Of
the letters that names are written in, none has more than MAX_MARKS: two in Vietnamese, three in pointed Hebrew or
Arabic, four in Devanagari; and none more than MAX_PILED of one combining class, which stand in one place.

A name that runs from right to left is `isolated`, or its digits and brackets would go to the wrong end of it, and those
beside it into it (Unicode Standard Annex #9, 3.1.2).

A font's table is `cmap` of ISO/IEC 14496-22 (OpenType), subtables of formats 4 and 12, which all fonts shipped have.
"""

from __future__ import annotations

import functools
import struct
import unicodedata
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from sealift.formats import strict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

    from sealift.trade.sections import Content

MAX_MARKS = 4  # on one letter, when all that are part of a letter are taken off it (NFD)
MAX_PILED = 2  # of them in one place
SCRIPTS = "Latin, Greek, Cyrillic, Arabic, Hebrew, Devanagari, Thai, Chinese, Japanese or Korean"
_UNDRAWN = frozenset("\u00ad\u061c\u200b\u200c\u200d\u200e\u200f\u2060\u2066\u2067\u2068\u2069")
_NAMED = 4  # characters in a message


def unpainted(text: str) -> str:
    """Why `text` cannot be painted on a paper, with the characters by number and name; "" where it can."""
    if text.isascii():
        return ""
    absent = dict.fromkeys(character for cluster in _clusters(text) for character in cluster if not _has(character))
    if absent:
        more = f" and {len(absent) - _NAMED:,} more" if len(absent) > _NAMED else ""
        shown = ", ".join(f"U+{ord(each):04X} {unicodedata.name(each, '')}".rstrip() for each in list(absent)[:_NAMED])
        return f"no font of the papers has {shown}{more}; write it in {SCRIPTS}"
    for cluster in _clusters(text):
        if _is_piled(cluster):
            begins = " ".join(f"U+{ord(each):04X}" for each in cluster[: _NAMED + 1])
            more = " ..." if len(cluster) > _NAMED + 1 else ""
            marks = len(_marks(cluster))
            return (
                f"{marks:,} marks on one letter ({begins}{more}), which would be painted over other lines; at most"
                f" {MAX_MARKS} are possible, and {MAX_PILED} of them in one place"
            )
    return ""


def faults(content: Content) -> list[str]:
    """Every text of the declaration that no paper can print, with its path and why."""
    return [f"{where}: {why}" for where, text in _texts(content, "") if (why := unpainted(text))]


def shown(text: str) -> str:
    """`text`, with the number of everything that cannot be painted in its place."""
    if text.isascii():
        return text
    return "".join(_painted(cluster) for cluster in _clusters(text))


def isolated(text: str) -> str:
    """`text`, set apart from what stands beside it, if a letter of it is read from right to left."""
    if text.isascii() or not any(unicodedata.bidirectional(each) in {"R", "AL"} for each in text):
        return text
    return f"\N{FIRST STRONG ISOLATE}{text}\N{POP DIRECTIONAL ISOLATE}"


def _texts(section: Struct, path: str) -> Iterator[tuple[str, str]]:
    for item in strict.fields_of(type(section)):
        value: Any = getattr(section, item.name)
        where = path + item.encode_name
        for number, each in enumerate(value, start=1) if isinstance(value, list) else [(0, value)]:
            here = f"{where}[{number}]" if number else where
            if isinstance(each, str):
                yield here, each
            elif isinstance(each, Struct):
                yield from _texts(each, f"{here}.")


def _clusters(text: str) -> Iterator[str]:
    """Letters, each with the marks that are set on it; composed, as they are drawn."""
    cluster = ""
    for character in unicodedata.normalize("NFC", text):
        if cluster and not _is_mark(character):
            yield cluster
            cluster = ""
        cluster += character
    if cluster:
        yield cluster


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


def _marks(cluster: str) -> list[str]:
    """The marks of a letter; those that only choose between forms of it are none."""
    return [each for each in unicodedata.normalize("NFD", cluster) if _is_mark(each) and not _is_ignorable(each)]


def _is_piled(cluster: str) -> bool:
    if len(cluster) == 1:
        return False
    marks = _marks(cluster)
    places = [place for each in marks if (place := unicodedata.combining(each))]
    return len(marks) > MAX_MARKS or any(places.count(each) > MAX_PILED for each in set(places))


def _painted(cluster: str) -> str:
    if not _is_piled(cluster):
        return "".join(each if _has(each) else _number(each) for each in cluster)
    return "".join(_number(each) if not _has(each) or _is_mark(each) else each for each in cluster)


def _number(character: str) -> str:
    return f"<U+{ord(character):04X}>"


def _has(character: str) -> bool:
    """Whether a font has it, or what it is made of; or it is one that is never drawn."""
    if character.isascii() or _is_ignorable(character):
        return True
    return ord(character) in _coverage() or all(ord(each) in _coverage() for each in _taken_apart(character))


def _taken_apart(character: str) -> str:
    return unicodedata.normalize("NFD", character)


def _is_ignorable(character: str) -> bool:
    """Never drawn: what joins, parts or directs letters, and what chooses between their forms; a font may lack it."""
    return character in _UNDRAWN or unicodedata.name(character, "").startswith("VARIATION SELECTOR")


@functools.cache
def _coverage() -> frozenset[int]:
    """The code points of all fonts; the bold ones have what the regular ones have, which a test holds."""
    return frozenset(code for font in fonts() for code in code_points(font.read_bytes()))


def fonts() -> list[Traversable]:
    """The TrueType files of all fonts, regular and bold."""
    from importlib.resources import files  # which most commands do without, and which takes them 20 ms

    return [each for each in (files("sealift.trade") / "fonts").iterdir() if each.name.endswith(".ttf")]


def code_points(font: bytes) -> Iterator[int]:
    """Every code point that a TrueType font has a glyph for."""
    (tables,) = struct.unpack_from(">4xH", font)
    at = next(
        offset
        for tag, offset in (struct.unpack_from(">4s4xL", font, 12 + 16 * number) for number in range(tables))
        if tag == b"cmap"
    )
    (count,) = struct.unpack_from(">2xH", font, at)
    for number in range(count):
        (offset,) = struct.unpack_from(">4xL", font, at + 4 + 8 * number)
        (kind,) = struct.unpack_from(">H", font, at + offset)
        if kind == 4:
            yield from _segments(font, at + offset)
        elif kind == 12:
            yield from _groups(font, at + offset)


def _segments(font: bytes, at: int) -> Iterator[int]:
    """Format 4: segments of 16-bit codes, each with a delta, or with a table of glyphs that lies behind."""
    (twice,) = struct.unpack_from(">6xH", font, at)
    each = f">{twice // 2}H"
    ends, starts, deltas, offsets = (
        struct.unpack_from(each, font, at + begin) for begin in (14, 16 + twice, 16 + 2 * twice, 16 + 3 * twice)
    )
    for number, (start, end, delta, offset) in enumerate(zip(starts, ends, deltas, offsets, strict=True)):
        for code in range(start, min(end, 0xFFFE) + 1):
            glyph = code
            if offset:
                where = at + 16 + 3 * twice + 2 * number + offset + 2 * (code - start)
                (glyph,) = struct.unpack_from(">H", font, where)
                if glyph == 0:
                    continue
            if (glyph + delta) & 0xFFFF:
                yield code


def _groups(font: bytes, at: int) -> Iterator[int]:
    """Format 12: groups of 32-bit codes with consecutive glyphs."""
    (count,) = struct.unpack_from(">12xL", font, at)
    for number in range(count):
        first, last, glyph = struct.unpack_from(">3L", font, at + 16 + 12 * number)
        yield from range(first + (glyph == 0), last + 1)
