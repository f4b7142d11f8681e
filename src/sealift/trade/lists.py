"""The lists that parties are screened against: files that the user brings, read strictly and taken as hostile.

    csl-csv, csl-json   US Consolidated Screening List, by its header, or `results[]`     lists_us.py
    ofac                sdn.csv with alt.csv and add.csv beside it (cons_prim.csv too)    lists_us.py
    un, eu              UN consolidated list; EU financial sanctions list 1.1, XML        lists_xml.py
    csv                 any other, by a sealift-list TOML that says what its columns are  lists_csv.py

What holds of a ScreeningList that a reader returns: every row of the file is in it, each with an id, and each with a
name or counted in `notes`, a tenth of them at most; names are single lines without control characters; sizes are within
the limits below. A row that cannot be read refuses the file: a list that is half read is no list. Unknown columns, keys
and elements are let be, because lists grow; what the reader needs must be there. The digest is SHA-256 of the file's
bytes, as publishers give it.

`fetched` is when the user got the file: its modification time, unless they state it. `published` is what the list says
of itself, where it says anything. `current` is the day that somebody answers for: a modification time is nobody's word.

A list is known again by its name: that of its file without a day in it (`stable`), or what the user calls it;
`left_out` says which lists of one screening another one lacks.

What is not here: files (stages/screen.py), matching.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from datetime import UTC, date, datetime, time
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

from sealift.errors import BadInput
from sealift.formats.canonical import Record
from sealift.trade.names import MAX_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_FILE = 128 << 20  # bytes; the largest list in use, the EU's, has about 25 MB
MAX_ENTRIES = 500_000
MAX_NAMES = 2_000_000  # of a list, aliases among them
MAX_FIELD = 1 << 17  # characters of a field; the csv module's own limit
MAX_TEXT = 500  # characters that are kept of what is shown beside a name
_MAX_ID = MAX_TEXT - 10
_FEW = 20  # entries, from which on most of them do not have one name
_NAMELESS = 0.1  # of all entries: a list with more of them was read wrongly, or is none
MAX_SHOWN = 50  # countries, birth dates and programmes that are kept of an entry
TIME = "%Y-%m-%dT%H:%M:%SZ"
DAY = re.compile(r"\d{4}-\d{2}-\d{2}(?!\d)")

Format = Literal["csl-csv", "csl-json", "ofac", "un", "eu", "csv"]
Kind = Literal["person", "organisation", "vessel", "aircraft", ""]
Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Time = Annotated[str, Meta(pattern=r"\A\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z\Z")]
Text = Annotated[str, Meta(max_length=MAX_TEXT)]


class Entry(Struct, frozen=True, kw_only=True):
    """One entry of a list. Countries and birth dates are as the list writes them."""

    entry_id: str
    source: str
    kind: Kind
    names: tuple[str, ...]
    countries: tuple[str, ...] = ()
    birth_dates: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()


class ListFile(Record, frozen=True, kw_only=True):
    """One file of a list, as the screening record has it. `rows` are entries, or rows of an OFAC file's supplements."""

    name: Annotated[str, Meta(min_length=1, max_length=255)]
    format: Format
    published: Annotated[str, Meta(max_length=64)] | None
    fetched: Time
    fetched_from: Literal["modification time", "stated"]
    sha256: Sha256
    bytes: Annotated[int, Meta(ge=0, le=MAX_FILE)]
    rows: Annotated[int, Meta(ge=0)]


_NUMBERS = r"(?:19|20)\d\d", r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])"
_DAY_IN_NAME = re.compile(
    r"[-_. ]?(?<!\d)(?:{year}[-_.]?{month}(?:[-_.]?{day})?|{day}[-_.]?{month}[-_.]?{year}|\d\d{month}{day}"
    r"|{month}[-_.]?{day}|{day}[-_.]?{month})(?:[-_.T]?\d{{4}}(?:\d\d)?Z?)?(?!\d)".format(
        **dict(zip(("year", "month", "day"), _NUMBERS, strict=True))
    )
)


@lru_cache(maxsize=1 << 10)
def stable(name: str) -> str:
    """The name of a list without the day in it, if a name is left: list.csv of list-1126.csv or 2026-11-26_list.csv."""
    found = _DAY_IN_NAME.sub("", name, count=1).lstrip("-_. ") if any(map(str.isdecimal, name)) else name
    return found if any(map(str.isalpha, found.rpartition(".")[0])) else name


def left_out(before: Sequence[ListFile], now: Sequence[ListFile]) -> list[ListFile]:
    """Files of one screening that those of a later one neither are, nor stand for.

    A file stands for one of another name if its bytes are the same, or if both names are the same without a day, and
    so are the formats: each for one, and only where the earlier screening does not have it beside the other.
    """
    names, digests = {file.name for file in now}, {file.sha256 for file in now}
    known = {file.name for file in before}
    fresh = Counter((stable(file.name), file.format) for file in now if file.name not in known)
    found = []
    for file in before:
        if file.name in names or file.sha256 in digests:
            continue
        as_it = (stable(file.name), file.format)
        if fresh[as_it]:
            fresh[as_it] -= 1
        else:
            found.append(file)
    return found


class Given(NamedTuple):
    """A file of a list before it is read: what the user brought, and when they got it."""

    name: str
    data: bytes
    fetched: datetime
    stated: bool = False
    published: str | None = None

    def described(self, kind: Format, rows: int, published: str | None = None) -> ListFile:
        """What the record says of it. `published` is the list's own word, and comes before the user's."""
        return ListFile(
            name=self.name,
            format=kind,
            published=published or self.published,
            fetched=self.fetched.astimezone(UTC).strftime(TIME),
            fetched_from="stated" if self.stated else "modification time",
            sha256=hashlib.sha256(self.data).hexdigest(),
            bytes=len(self.data),
            rows=rows,
        )


class ScreeningList(NamedTuple):
    """A list that was read whole. `notes` say what a person should know of it."""

    files: tuple[ListFile, ...]
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """By which hits name it: that of its first file."""
        return self.files[0].name


class Collector:
    """Entries on their way into a list: cleaned, counted, and refused past the limits, with the row's place."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.entries: list[Entry] = []
        self._names = 0
        self._nameless = 0
        self._alike: Counter[str] = Counter()  # how often a first name is there
        self._cleaned = 0
        self._ids: dict[str, int] = {}

    def add(
        self,
        where: str,
        entry_id: str,
        names: Iterable[str],
        *,
        source: str = "",
        kind: Kind = "",
        countries: Iterable[str] = (),
        birth_dates: Iterable[str] = (),
        programs: Iterable[str] = (),
    ) -> None:
        """Take one entry; `where` is its place in the file. BadInput past a limit, or without an id."""
        kept = tuple(dict.fromkeys(name for each in names if (name := self._clean(where, each))))
        if len(self.entries) >= MAX_ENTRIES:
            raise self.refused(where, f"more than {MAX_ENTRIES:,} entries")
        self._names += len(kept)
        if self._names > MAX_NAMES:
            raise self.refused(where, f"more than {MAX_NAMES:,} names")
        if not any(c.isalpha() for name in kept for c in name):
            self._nameless += 1
        if kept:
            self._alike[kept[0].casefold()] += 1
        if not (shown_id := line(entry_id)[:_MAX_ID]):
            raise self.refused(where, "the entry has no id")
        count = self._ids[shown_id] = self._ids.get(shown_id, 0) + 1
        entry = Entry(
            entry_id=shown_id if count == 1 else f"{shown_id} #{count}",  # a decision is about one entry
            source=line(source)[:MAX_TEXT],
            kind=kind,
            names=kept,
            countries=_shown(countries),
            birth_dates=_shown(birth_dates),
            programs=_shown(programs),
        )
        self.entries.append(entry)

    def refused(self, where: str, why: str) -> BadInput:
        """The error of a file that is not taken."""
        return refused(self.name, f"{where}: {why}")

    def done(self, files: Iterable[ListFile], *notes: str) -> ScreeningList:
        """The list; BadInput when it has no entry, as an empty answer of a server has none."""
        if not self.entries:
            raise refused(self.name, "it has no entries; a list that clears everybody is not taken")
        total = len(self.entries)
        if self._nameless == total or self._nameless > max(1, _NAMELESS * total):
            why = f"{self._nameless:,} of {total:,} entries have no name to compare; are these the columns of names?"
            raise refused(self.name, why)
        name, times = self._alike.most_common(1)[0]
        if total >= _FEW and 2 * times > total:
            why = f"{times:,} of {total:,} entries are called {name!r}; are these the columns of names?"
            raise refused(self.name, why)
        told = list(notes)
        if self._nameless:
            told.append(f"{self.name}: {self._nameless:,} of {len(self.entries):,} entries have no name to compare")
        if self._cleaned:
            told.append(f"{self.name}: control characters were taken out of {self._cleaned:,} names")
        return ScreeningList(tuple(files), tuple(self.entries), tuple(told))

    def _clean(self, where: str, name: str) -> str:
        if len(name) > MAX_NAME:
            raise self.refused(where, f"a name of {len(name):,} characters; at most {MAX_NAME:,} are taken")
        cleaned = line(name)
        self._cleaned += len(cleaned) != len(" ".join(name.split()))
        return cleaned


def refused(name: str, why: str) -> BadInput:
    """The error of a file that is not taken as a list."""
    return BadInput(f"list {name}: {why}", hint="get the file again from its publisher; nothing was screened")


def line(text: str) -> str:
    """`text` in one line that prints as it is read: no control, format or separating characters, single spaces."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    kept = (c if unicodedata.category(c)[0] != "C" else " " if c in "\t\n\r\v\f" else "" for c in text)
    return " ".join("".join(kept).split())


def decoded(name: str, data: bytes, encoding: str = "utf-8") -> str:
    """The text of a file; BadInput with the place of the first byte that is not of the encoding, or is a NUL."""
    codec = "utf-8-sig" if encoding == "utf-8" else encoding
    try:
        text = data.decode(codec)
    except (UnicodeDecodeError, UnicodeError) as error:
        place = f" at byte {error.start:,}" if isinstance(error, UnicodeDecodeError) else ""
        raise refused(name, f"not {encoding.upper()} text{place}") from error
    if (at := text.find("\0")) >= 0:
        raise refused(name, f"a NUL at character {at:,}")
    return text


def moment(text: str) -> datetime:
    """The time of a text of TIME's form; ValueError when there is no such time."""
    return datetime.strptime(text, TIME).replace(tzinfo=UTC)


def day(text: str | None) -> str | None:
    """The date or time that a list gives for itself, as far as it is one; None otherwise."""
    if not text or not (found := DAY.match(text.strip())):
        return None
    try:
        date.fromisoformat(found[0])
    except ValueError:
        return None
    return line(text)[:64]


def own_day(file: ListFile) -> datetime | None:
    """The first instant (UTC) of the day of which a list says that it is, or else its user; None where neither does."""
    found = day(file.published)
    return datetime.combine(date.fromisoformat(found[:10]), time(), UTC) if found else None


def current(file: ListFile) -> datetime | None:
    """When a list was its publisher's current one, by somebody's word: the user's who got it then, or else its own.

    None: only the file's modification time says, which `touch` changes.
    """
    return moment(file.fetched) if file.fetched_from == "stated" else own_day(file)


def _shown(values: Iterable[str]) -> tuple[str, ...]:
    kept: dict[str, None] = {}
    for value in values:
        if (text := line(value)[:MAX_TEXT]) and len(kept) < MAX_SHOWN:
            kept[text] = None
    return tuple(kept)
