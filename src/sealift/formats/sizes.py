"""Sizes as people write them (1GiB, 80TB, 4.8PB, 1048576), and rates and counts as they are told. Pure."""

from __future__ import annotations

import re

from sealift.errors import BadInput

_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*([KMGTP]?)(i?B?)", re.ASCII | re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes of "1GiB", "64MiB", "4.8PB" or "1048576"; GiB are 2^30, GB 10^9 bytes.

    BadInput for anything else, and for parts of a byte.
    """
    from fractions import Fraction

    found = _SIZE.fullmatch(text.strip())
    if found is None or (found[3].lower() == "i" or (not found[2] and found[3].lower() == "ib")):
        raise BadInput(f"{text[:64]!r} is no size", hint="a number with a unit: 1GiB, 64MiB, 500MB, 4.8PB")
    base = 1024 if found[3].lower() == "ib" else 1000
    size = Fraction(found[1]) * base ** " KMGTP".index(found[2].upper() or " ")
    if size.denominator != 1:
        raise BadInput(f"{text[:64]!r} is no whole number of bytes", hint="fewer digits, or a smaller unit")
    return int(size)


_COUNT = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)(?:e\+?(\d{1,2}))?", re.ASCII | re.IGNORECASE)


def parse_count(text: str) -> int:
    """The whole number in "1200000000", "1_200_000_000" or "1.2e9"; BadInput for anything else."""
    from fractions import Fraction

    found = _COUNT.fullmatch(text.strip().replace("_", "").replace(",", ""))
    number = Fraction(found[1]) * 10 ** int(found[2] or 0) if found else Fraction(1, 2)
    if number.denominator != 1:
        raise BadInput(f"{text[:64]!r} is no whole number", hint="such as 1200000000 or 1.2e9")
    return int(number)


def rate_text(rate: float) -> str:
    """Bytes a second, in a unit in which they are not nothing: 1.25 GB/s, 38.0 MB/s, 422.0 kB/s, 0 B/s."""
    if rate >= 1e9:
        return f"{rate / 1e9:.2f} GB/s"
    if rate >= 1e6:
        return f"{rate / 1e6:.1f} MB/s"
    return f"{rate / 1e3:.1f} kB/s" if rate >= 1e3 else f"{rate:.0f} B/s"


def counted(count: int, word: str) -> str:
    """A count with its noun: 1 drive, 16 drives."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
