"""Which characters the fonts of the papers have, so that names from foreign lists can be shown whatever they are.

What holds of a text that `shown` returns: every character of it is in one of the fonts shipped; one that was not is
written as its number, <U+10E1>, so that nothing is left out or guessed. Names in a declaration are not treated so: they
are refused by typeset.py, because whoever wrote them can write them otherwise.

A name that runs from right to left is `isolated`, or its digits and brackets would go to the wrong end of it, and those
beside it into it (Unicode Standard Annex #9, 3.1.2).

A font's table is `cmap` of ISO/IEC 14496-22 (OpenType), subtables of formats 4 and 12, which all fonts shipped have.
"""

from __future__ import annotations

import functools
import struct
import unicodedata
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_FONTS = files("sealift.trade") / "fonts"


def shown(text: str) -> str:
    """`text`, with the number of every character that no font has in the place of the character."""
    if text.isascii():
        return text
    return "".join(cluster if _drawn(cluster) else _numbers(cluster) for cluster in _clusters(text))


def isolated(text: str) -> str:
    """`text`, set apart from what stands beside it, if a letter of it is read from right to left."""
    if text.isascii() or not any(unicodedata.bidirectional(each) in {"R", "AL"} for each in text):
        return text
    return f"\N{FIRST STRONG ISOLATE}{text}\N{POP DIRECTIONAL ISOLATE}"


def _clusters(text: str) -> Iterator[str]:
    """Characters, each with the marks that are set on it: they are drawn from one font together."""
    cluster = ""
    for character in text:
        if cluster and not unicodedata.category(character).startswith("M"):
            yield cluster
            cluster = ""
        cluster += character
    if cluster:
        yield cluster


def _drawn(cluster: str) -> bool:
    return any(all(ord(character) in font for character in cluster) for font in _coverage())


def _numbers(cluster: str) -> str:
    return "".join(each if each.isascii() else f"<U+{ord(each):04X}>" for each in cluster)


@functools.cache
def _coverage() -> tuple[frozenset[int], ...]:
    """The code points of each font; the bold ones have what the regular ones have, which a test holds."""
    names = sorted(each.name for each in _FONTS.iterdir() if each.name.endswith(".ttf"))
    return tuple(frozenset(code_points((_FONTS / name).read_bytes())) for name in names)


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
