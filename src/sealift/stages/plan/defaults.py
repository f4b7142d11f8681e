"""The numbers that a plan assumes, with their sources; whoever plans may state others.

`Numbers` gives values by name and remembers which were asked for, so that a report lists each number that it used,
where it comes from, how well it is known, and whether it has an authority. The numbers are in defaults.toml.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from sealift.errors import BadInput
from sealift.formats import typed
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_BYTES = 1 << 20
MAX_VALUE = 1e18

Unit = Literal[
    "share",
    "share a year",
    "share a bit",
    "open",
    "B",
    "B/s",
    "b/s",
    "kg",
    "min",
    "h",
    "day",
    "USD",
    "USD/TB",
    "USD/GB",
    "USD/kg",
    "USD/h",
]
_POSITIVE = ("B", "B/s", "b/s")  # what is divided by
_AT_MOST = {"share": 1.0, "share a year": 0.999, "share a bit": 1e-6}


class Number(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A number that a plan assumes. `authority` is False where nobody who should know stands behind it."""

    value: float
    unit: Unit
    source: str
    date: str
    how: Literal["read", "second-hand", "recalled", "placeholder", "stated"]
    authority: bool
    note: str = ""
    low: float | None = None
    high: float | None = None
    name: str = ""


class Service(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A service that carries data on its own appliances; its numbers are named `id`_open, `id`_capacity and so on."""

    title: str
    cannot: str
    id: str = ""


class Numbers:
    """Numbers by name. `numbers[name]` is a value, and is remembered as used."""

    def __init__(self, known: Mapping[str, Number], services: tuple[Service, ...]) -> None:
        self._known = dict(known)
        self._used: set[str] = set()
        self.services = services

    def __getitem__(self, name: str) -> float:
        self._used.add(name)
        return self._known[name].value

    @property
    def everything(self) -> tuple[Number, ...]:
        """All numbers, in the order of the file."""
        return tuple(self._known.values())

    @property
    def used(self) -> tuple[Number, ...]:
        """The numbers that were asked for, in the order of the file."""
        return tuple(number for name, number in self._known.items() if name in self._used)

    def stated(self, data: bytes) -> Numbers:
        """These numbers, with those that a TOML file of `name = value` states in their place.

        BadInput names every fault of the file at once.
        """
        given = _toml(data)
        if faults := self.faults(given):
            count = counted(len(faults), "problem")
            raise BadInput(
                f"the planner's numbers have {count}:\n  " + "\n  ".join(faults),
                hint="a line for each number: name = value, by the names and in the units of the plan's report",
            )
        return self.with_values(given)

    def faults(self, given: Mapping[str, Any]) -> list[str]:
        """What keeps values, by name, from being stated in the place of these numbers."""
        out: list[str] = []
        for name, value in given.items():
            if name not in self._known:
                near = difflib.get_close_matches(name[:64], self._known, n=1)
                out.append(f"{name[:64]}: no such number" + (f"; did you mean {near[0]}?" if near else ""))
            elif fault := _fault(value, self._known[name].unit):
                out.append(f"{name}: {fault}")
        return out

    def with_values(self, given: Mapping[str, float]) -> Numbers:
        """These numbers, with values in which `faults` finds nothing in the place of some."""
        known = dict(self._known)
        for name, value in given.items():
            known[name] = replace(
                known[name],
                value=float(value),
                source="stated for this plan",
                date="",
                how="stated",
                authority=False,
                note="",
                low=None,
                high=None,
            )
        return Numbers(known, self.services)


def defaults() -> Numbers:
    """The numbers that sealift ships."""
    tree = _toml(files("sealift.stages.plan").joinpath("defaults.toml").read_bytes())
    services = tuple(replace(typed.convert(row, Service), id=name) for name, row in tree.pop("services").items())
    known = {name: replace(typed.convert(row, Number), name=name) for name, row in tree.items()}
    return Numbers(known, services)


def prices(names: Iterable[str]) -> set[str]:
    """Of names of numbers those that are money. None of them has a part in a plan."""
    return {number.name for number in defaults().everything if number.unit.startswith("USD")} & set(names)


def _toml(data: bytes) -> dict[str, Any]:
    hint = "a TOML file of name = value lines"
    if len(data) > MAX_BYTES:
        raise BadInput(f"the planner's numbers are {len(data):,} bytes long; at most {MAX_BYTES:,} are read", hint=hint)
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, an integer of too many digits
        raise BadInput(f"the planner's numbers are not TOML: {str(error)[:200]}", hint=hint) from error


def _fault(value: Any, unit: Unit) -> str:
    """What keeps `value` from being a number of `unit`; empty when nothing does."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"{str(value)[:64]!r} is no number"
    if not math.isfinite(value):
        return f"{value} is no number to count with"
    if unit == "open":
        return "" if value in {0, 1} else f"{value} is neither 0 nor 1"
    if value < 0 or (value == 0 and unit in _POSITIVE):
        return f"{value} {unit}: must be more than 0" if unit in _POSITIVE else f"{value} is less than 0"
    most = _AT_MOST.get(unit, MAX_VALUE)
    return "" if value <= most else f"{value:g} is more than {most:g}"
