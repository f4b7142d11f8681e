"""Which entries of the lists may be the party that is asked about, and why: nothing is decided here.

    whole   Jaro-Winkler of the whole name, as it stands or with its words sorted, whichever is more; in Latin letters
            and in the name's own script
    words   of the name that has fewer words, each beside the nearest word of the other: the least of these

A lone word beside a name of several is taken only at LONE: at WORDS, every party with a name of one word would be
beside one entry in a hundred, and no more of the perturbed names would be found (bench/screening.py).

What holds: an entry is a hit where whole >= WHOLE or words >= WORDS for any of its names and any of the party's.
Country, birth date and kind change the order in which hits are shown and nothing else: no hit is left out for them.
The same lists and parties give the same hits in the same order. Pure: the lists are in memory, no files, no clock.

The thresholds are those of a measurement over 16,595 names of a real list; bench/screening.py measures any list.
Jaro-Winkler is rapidfuzz's, with the prefix weight 0.1.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any, NamedTuple

from sealift.errors import BadInput
from sealift.trade import names as naming

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    import numpy.typing as npt

    from sealift.trade.lists import Entry

    Floats = npt.NDArray[np.float64]

ALGORITHM = "sealift-names"  # forms as names.py makes them, compared as above
VERSION = 3  # 2: letters that stand apart are compared joined, too; 3: letters of other alphabets as they look
LIBRARIES = ("rapidfuzz", "anyascii", "pycountry")
WHOLE = 0.85
WORDS = 0.80
LONE = 0.90
_NEAR = (
    0.01  # rapidfuzz is not exact at its own cutoff, so it is given a lower one (3.14: 0.8 of two words counts as 0)
)
_ROUNDING = 1e-9  # of a similarity that is a limit, such as 0.8 made of thirds


class Scores(NamedTuple):
    """Similarities from 0 to 1, and the two names that they are of."""

    whole: float
    words: float
    name: str
    query: str

    @property
    def best(self) -> float:
        """The higher of the two, by which a hit is ranked."""
        return max(self.whole, self.words)


class Found(NamedTuple):
    """An entry that may be the party: its number in the index, and how near it is."""

    entry: int
    scores: Scores


class _Column(NamedTuple):
    """Forms of the entries' names, and of which entry and which name each is."""

    text: list[str]
    ordered: list[str]
    entry: Any
    name: list[str]


def version() -> str:
    """Version of the algorithm and of what it is built on; BadInput when that is not installed."""
    found = [f"{VERSION}"]
    for name in LIBRARIES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError as error:
            raise BadInput(
                f"screening needs {name}, which is not installed", hint="pip install 'sealift[screen]'"
            ) from error
    return ", ".join(found)


class Index:
    """The names of all lists, prepared once and asked for many parties."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        """Time and memory grow with the names: about 10 microseconds and 0.5 kB each."""
        import numpy as np

        latin: list[tuple[str, int, str]] = []
        native: list[tuple[str, int, str]] = []
        for number, entry in enumerate(entries):
            for name in entry.names:
                found = naming.forms(name)
                latin += [(form, number, name) for form in found.latin]
                native += [(form, number, name) for form in found.native]
        self._latin, self._native = _column(latin), _column(native)
        vocabulary: dict[str, int] = {}
        numbers: list[int] = []
        starts: list[int] = []
        for form in self._latin.text:
            starts.append(len(numbers))
            numbers += [vocabulary.setdefault(word, len(vocabulary)) for word in form.split()]
        self._vocabulary = list(vocabulary)
        self._words = np.asarray(numbers, dtype=np.int64)
        self._starts = np.asarray(starts, dtype=np.int64)
        self._counts = np.diff(np.append(self._starts, len(numbers)))
        # and the other way round: the names that have each word of the vocabulary
        names_of = np.repeat(np.arange(len(starts)), self._counts)
        self._by_word = names_of[np.argsort(self._words, kind="stable")]
        self._word_starts = np.searchsorted(np.sort(self._words), np.arange(len(vocabulary)))

    def search(self, names: Iterable[str]) -> list[Found]:
        """Every entry that any of the names reaches, the nearest first; entries of equal score in their own order."""
        best: dict[int, Scores] = {}
        latin: dict[str, str] = {}
        native: dict[str, str] = {}
        for name in names:
            found = naming.forms(name)
            latin |= {form: name for form in found.latin if form not in latin}
            native |= {form: name for form in found.native if form not in native}
        for form, query in latin.items():
            _take(best, self._latin, _whole(form, self._latin), self.by_words(form), query)
        for form, query in native.items():
            _take(best, self._native, _whole(form, self._native), None, query)
        return [Found(entry, best[entry]) for entry in sorted(best, key=lambda one: (-best[one].best, one))]

    def whole(self, form: str) -> tuple[Floats, Floats]:
        """How near `form` is to each Latin form: as it stands, and with all words sorted; 0 where it is no hit."""
        return _whole(form, self._latin)

    def by_words(self, form: str) -> Floats:
        """How near the words of `form` are to those of each Latin form, as the module says."""
        import numpy as np
        from rapidfuzz.distance import JaroWinkler
        from rapidfuzz.process import cdist

        if not self._latin.text:
            return np.zeros(0)
        near = cdist(
            form.split(), self._vocabulary, scorer=JaroWinkler.similarity, score_cutoff=WORDS - _NEAR, dtype=np.float64
        )
        found = np.zeros(len(self._starts))
        # only names that have one of the words in some form are looked at: few, whatever the list's length
        some = np.unique(_ranges(self._by_word, self._word_starts, np.flatnonzero(near.any(axis=0))))
        if not len(some):
            return found
        counts = self._counts[some]
        rows = near[:, _ranges(self._words, self._starts, some)]
        starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
        asked = np.maximum.reduceat(rows, starts, axis=1).min(axis=0)
        listed = np.minimum.reduceat(rows.max(axis=0), starts)
        count = len(near)
        least = np.where(counts < count, listed, asked)
        lone = (np.minimum(counts, count) == 1) & (counts != count)
        found[some] = np.where(lone & (least < LONE - _ROUNDING), 0.0, least)
        return found


def _ranges(flat: Any, starts: Any, which: Any) -> Any:
    """The parts of `flat` that begin at the starts of `which`, one after the other."""
    import numpy as np

    ends = np.append(starts[1:], len(flat))[which]
    lengths = ends - starts[which]
    before = np.cumsum(lengths) - lengths
    return flat[np.arange(lengths.sum()) + np.repeat(starts[which] - before, lengths)]


def _whole(form: str, column: _Column) -> tuple[Floats, Floats]:
    import numpy as np
    from rapidfuzz.distance import JaroWinkler
    from rapidfuzz.process import cdist

    if not column.text:
        return np.zeros(0), np.zeros(0)
    args: dict[str, Any] = {"scorer": JaroWinkler.similarity, "score_cutoff": WHOLE - _NEAR, "dtype": np.float64}
    return cdist([form], column.text, **args)[0], cdist([_ordered(form)], column.ordered, **args)[0]


def _column(rows: list[tuple[str, int, str]]) -> _Column:
    import numpy as np

    text = [form for form, *_ in rows]
    entry = np.asarray([number for _, number, _ in rows], dtype=np.int64)
    return _Column(text, [_ordered(form) for form in text], entry, [name for *_, name in rows])


def _ordered(form: str) -> str:
    return " ".join(sorted(form.split()))


def _take(
    best: dict[int, Scores], column: _Column, both: tuple[Floats, Floats], words: Floats | None, query: str
) -> None:
    import numpy as np

    whole = np.maximum(*both)
    near = whole >= WHOLE - _ROUNDING
    if words is not None:
        near |= words >= WORDS - _ROUNDING
    for at in np.flatnonzero(near).tolist():
        scores = Scores(float(whole[at]), float(words[at]) if words is not None else 0.0, column.name[at], query)
        entry = int(column.entry[at])
        if entry not in best or scores.best > best[entry].best:
            best[entry] = scores
