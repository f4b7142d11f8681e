"""The odds that every byte arrives, and the share of the bytes that is expected to. Exact where it can be.

The model, each line independent of the others:

- A carrier is lost with all it carries, or comes too late. Late counts as lost `by_deadline`, and as nothing otherwise.
- A drive that its carrier brings fails in transit.
- A drive that works has unreadable sectors, at a rate a bit, each costing its block of 1 MiB. A column is the n blocks
  at one place of a group's drives; it is lost, with the data in it, when fewer than k of them are readable. With L
  drives lost that is r - j < k for r = n - L drives here and j unreadable blocks: at L = m any unreadable block is one
  too many, and at 80 TB a drive there nearly always is one.

Every byte arrives when no column of any group is lost. Of a group with more than m drives lost, the data packs on
the drives that came are there all the same: with roles turned from stripe to stripe that is their share of the
drives, so a column with A of its n blocks unavailable, more than m, costs A/n of its data on average.

Exact: given which carriers are lost, groups are independent, and of a group only the number of drives at risk counts.
Carriers with the same drives in every group and the same hazard are alike, so that only how many of them are lost is
enumerated; with 16 carriers all different that is 2^16 cases. All sums are of positive terms and what is returned is
the loss, so 1e-12 is right in its digits. Beyond MAX_CASES only cases are enumerated in which so many carriers are lost
that more at once have a probability of REST, which is added to the loss: it is an upper bound then, and right in three
digits. Where that is not so, it is simulated, and says so. `simulate` shares no formula with it.

What is not here: carriers that share a fate (one flight, one customs office: count them as one carrier), drives of one
batch that fail together, sectors that go bad in clusters, what a delay costs (the time model).
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from sealift.errors import BadInput
from sealift.stages.plan.geometry import BLOCK, KINDS, Geometry, Wanted, drive_bytes, holds, placement

if TYPE_CHECKING:
    from sealift.stages.plan.defaults import Numbers

MAX_CASES = 1 << 18
REST = 1e-9  # probability of cases that are not enumerated where all would be too many: so many carriers lost at once
NEGLIGIBLE = 1e-3  # part of the loss that these may be
MAX_UNREADABLE = 1e-6  # a bit; beyond it every block of 1 MiB is unreadable
MAX_SIMULATED = 1e7  # unreadable sectors that a simulated voyage may expect
DRAWS = 100_000
FEWEST = 1000  # of what shares them
_CHUNK = 1 << 21  # numbers that a simulation holds at once

Table = NDArray[np.float64]
Whole = NDArray[np.int64]


class Hazards(Struct, frozen=True, kw_only=True):
    """Probabilities for one leg; of carriers in the order of `Wanted.carriers`, of drives by kind."""

    carrier_lost: tuple[float, ...]
    carrier_late: tuple[float, ...]  # of those not lost
    hdd_fails: float = 0.0
    ssd_fails: float = 0.0
    hdd_unreadable: float = 0.0  # sectors a bit read
    ssd_unreadable: float = 0.0


class Odds(Struct, frozen=True, kw_only=True):
    """Losses, not their complements: digits of 1e-12 would drown in 1."""

    loss: float  # probability that some byte does not arrive
    share_lost: float  # expected share of the bytes that does not
    exact: bool
    loss_error: float = 0.0  # standard errors of a simulation
    share_error: float = 0.0


class SingleLoss(Struct, frozen=True, kw_only=True):
    """The odds that are left when one thing is lost for certain."""

    what: str  # "carrier" or "drive"
    name: str
    odds: Odds


def hazards_of(wanted: Wanted, numbers: Numbers, *, days: float) -> Hazards:
    """Hazards by the planner's numbers: carriers by how they carry, drives by `days` on the way and by being moved."""
    if not 0 <= days <= 36_525:
        raise BadInput(f"{days!r} days on the way", hint="a number of days from 0 to 36525")

    def fails(kind: str) -> float:
        kept = math.log1p(-numbers[f"{kind}_annual_failure"]) * days / 365.25 if days else 0.0
        return -math.expm1(kept) + numbers[f"{kind}_transit_failure"] * math.exp(kept)

    def means(each: str, what: str) -> float:
        if each != "checked-bag":
            return numbers[f"{each}_{what}"]
        gone = numbers["checked_bag_lost_of_mishandled"]
        return numbers["checked_bag_mishandled"] * (gone if what == "lost" else 1 - gone)

    used = {drive.kind for drive in wanted.drives}
    return Hazards(
        carrier_lost=tuple(means(carrier.means, "lost") for carrier in wanted.carriers),
        carrier_late=tuple(means(carrier.means, "late") for carrier in wanted.carriers),
        **{f"{kind}_fails": fails(kind) for kind in used},
        **{f"{kind}_unreadable": numbers[f"{kind}_unreadable"] for kind in used},
    )


def odds(
    wanted: Wanted, geometry: Geometry, hazards: Hazards, *, by_deadline: bool = False, draws: int = DRAWS
) -> Odds:
    """The odds of one geometry: exact, or simulated (`draws`, seed 0) when the carriers are too many and too different.

    BadInput for hazards that are no probabilities or not as many as carriers.
    """
    gone = _gone(wanted, hazards, by_deadline=by_deadline)
    fleet = _fleet(wanted, geometry)
    found = _exact(fleet, fleet.table, gone, hazards)
    return found or simulate(wanted, geometry, hazards, draws=draws, seed=0, by_deadline=by_deadline)


def single_losses(
    wanted: Wanted, geometry: Geometry, hazards: Hazards, *, by_deadline: bool = False
) -> tuple[SingleLoss, ...]:
    """What each single loss leaves: every carrier that has drives, every drive that is used. BadInput as `odds`.

    Those that are not exact share DRAWS, FEWEST each at least.
    """
    gone = _gone(wanted, hazards, by_deadline=by_deadline)
    fleet = _fleet(wanted, geometry)
    draws = max(FEWEST, DRAWS // (len(wanted.carriers) + len(set(fleet.where))))
    out: list[SingleLoss] = []
    for at, carrier in enumerate(wanted.carriers):
        if fleet.table[:, at].any():
            table = fleet.table.copy()
            table[:, at] = 0
            out.append(SingleLoss(what="carrier", name=carrier.name, odds=_left(fleet, table, gone, hazards, draws)))
    known: dict[tuple[int, int, int], Odds] = {}  # drives of a group with one carrier are alike
    for name, where in zip(fleet.names, fleet.where, strict=True):
        if where not in known:
            table = fleet.table.copy()
            table[where] -= 1
            known[where] = _left(fleet, table, gone, hazards, draws)
        out.append(SingleLoss(what="drive", name=name, odds=known[where]))
    return tuple(out)


def survives(wanted: Wanted, geometry: Geometry, odds: Odds) -> str:
    """One line: what this overhead survives, with what probability."""
    losses = ", or ".join(map(str, holds(wanted, geometry)))
    many = f"{1 / odds.loss:,.0f}" if odds.loss > 1e-9 else f"{1 / max(odds.loss, 1e-300):.0e}"
    rare = f"about one shipment in {many} loses some" if odds.loss > 0 else "no loss is expected"
    told = "" if odds.exact else f", simulated with a standard error of {odds.loss_error:.1e}"
    return (
        f"{geometry.data}+{geometry.parity}, {geometry.overhead:.1%} overhead, survives the loss of {losses}; every "
        f"byte arrives with probability {near_one(odds.loss)} ({rare}{told}), and {near_one(odds.share_lost)} of the "
        "bytes are expected"
    )


def near_one(loss: float) -> str:
    """1 - loss in percent, to the first digit that is no nine; never rounded up to certainty."""
    if loss <= 0:
        return "100%"
    places = max(1, math.ceil(-math.log10(loss * 100)))
    return f"{100 - 100 * loss:.{places}f}%" if places < 13 else f"100% less {loss:.1e}"


# --- the fleet -------------------------------------------------------------------------------------------


class _Fleet(Struct, frozen=True):
    """Drives by (group, carrier, kind), and what each group has."""

    table: Whole
    data: int
    columns: Whole  # of each group
    shares: Table  # of the bytes, of each group
    names: tuple[str, ...]
    where: tuple[tuple[int, int, int], ...]  # group, carrier and kind of each drive


def _fleet(wanted: Wanted, geometry: Geometry) -> _Fleet:
    at = {carrier.name: number for number, carrier in enumerate(wanted.carriers)}
    places = placement(wanted, geometry)
    where = tuple((place.group, at[place.carrier], KINDS.index(place.drive.kind)) for place in places)
    table = np.zeros((geometry.groups, len(wanted.carriers), len(KINDS)), dtype=np.int64)
    np.add.at(table, tuple(np.array(where).T), 1)
    each = np.array(drive_bytes(wanted, geometry), dtype=np.float64)
    columns = np.array([-(-count // BLOCK) for count in drive_bytes(wanted, geometry)], dtype=np.int64)
    names = tuple(place.drive.name for place in places)
    return _Fleet(table, geometry.data, columns, each / each.sum(), names, where)


def _gone(wanted: Wanted, hazards: Hazards, *, by_deadline: bool) -> tuple[float, ...]:
    """The probability that each carrier does not come (in time); BadInput names every hazard that is none."""
    faults: list[str] = []
    for name in ("carrier_lost", "carrier_late"):
        values = getattr(hazards, name)
        if len(values) != len(wanted.carriers):
            faults.append(f"{name}: {len(values)} of them for {len(wanted.carriers)} carriers")
        faults += [f"{name}[{at}]: {each!r}" for at, each in enumerate(values, 1) if not _between(each, 1.0)]
    for name, most in (("fails", 1.0), ("unreadable", MAX_UNREADABLE)):
        for kind in KINDS:
            value = getattr(hazards, f"{kind}_{name}")
            if not _between(value, most):
                faults.append(f"{kind}_{name}: {value!r} is not between 0 and {most:g}")
    if faults:
        raise BadInput(
            "hazards that are no probabilities:\n  " + "\n  ".join(faults),
            hint="every hazard is a number from 0 to 1, one a carrier",
        )
    late = hazards.carrier_late if by_deadline else (0.0,) * len(wanted.carriers)
    return tuple(lost + slow - lost * slow for lost, slow in zip(hazards.carrier_lost, late, strict=True))


def _between(value: float, most: float) -> bool:
    return not isinstance(value, bool) and isinstance(value, (int, float)) and 0 <= value <= most


# --- exact -----------------------------------------------------------------------------------------------


def _left(fleet: _Fleet, table: Whole, gone: tuple[float, ...], hazards: Hazards, draws: int) -> Odds:
    """Odds when only the drives of `table` are still to come."""
    return _exact(fleet, table, gone, hazards) or _simulate(fleet, table, gone, hazards, draws, 0)


def _exact(fleet: _Fleet, table: Whole, gone: tuple[float, ...], hazards: Hazards) -> Odds | None:
    """Exact odds when the drives of `table` are still to come; None where the cases are too many."""
    cases = _cases(table.tobytes(), table.shape, gone)
    if cases is None:
        return None
    alike: dict[tuple[int, ...], list[int]] = {}
    for group in range(len(table)):
        here = (*table[group].ravel().tolist(), *fleet.table[group].sum(axis=0).tolist(), int(fleet.columns[group]))
        alike.setdefault(here, []).append(group)
    kept = np.zeros(len(cases.probability))  # logarithm of the probability that all is kept, by case
    lost = np.zeros(len(cases.probability))
    for groups in alike.values():
        group = groups[0]
        first, second = fleet.table[group].sum(axis=0).tolist()
        one = _group(first, second, fleet.data, int(fleet.columns[group]), hazards)
        at = cases.at_risk[group]
        kept += len(groups) * one[0][at[0], at[1]]
        lost += fleet.shares[groups].sum() * one[1][at[0], at[1]]
    loss = float(cases.probability @ -np.expm1(kept)) + cases.rest
    share = float(cases.probability @ lost) + cases.rest
    if cases.rest > NEGLIGIBLE * loss:
        return None
    return Odds(loss=min(loss, 1.0), share_lost=min(share, 1.0), exact=True)


class _Cases(Struct, frozen=True):
    """Which carriers come, enumerated: the probability of each case, and drives at risk by group and kind."""

    probability: Table
    at_risk: list[list[NDArray[np.uint8]]]  # one number where it is the same in all cases
    rest: float  # probability of all other cases, in which everything is taken to be lost


@functools.lru_cache(maxsize=2)  # parity is searched with the same drives over carriers
def _cases(table_bytes: bytes, shape: tuple[int, int, int], gone: tuple[float, ...]) -> _Cases | None:
    table = np.frombuffer(table_bytes, dtype=np.int64).reshape(shape)
    alike: dict[tuple[bytes, float], list[int]] = {}
    for carrier in range(shape[1]):
        if table[:, carrier].any():
            alike.setdefault((table[:, carrier].tobytes(), gone[carrier]), []).append(carrier)
    # who comes for certain makes no cases, nor does who certainly does not
    open_ = [(members, p) for (_, p), members in alike.items() if 0 < p < 1]
    most, rest = _enough([(len(members), p) for members, p in open_])
    if most is None:
        return None
    probability, sums = np.ones(1), np.zeros(1, dtype=np.int64)
    lost: list[tuple[int, NDArray[np.uint8]]] = []
    for members, p in open_:
        grid = sums[:, None] + np.arange(len(members) + 1)
        case, count = np.nonzero(grid <= most)
        probability = probability[case] * _binomials(len(members), p)[len(members)][count]
        sums = grid[case, count]
        # carriers that are alike share a drive's group, so that there are no more of them than a group has drives: 255
        lost = [(carrier, before[case]) for carrier, before in lost] + [(members[0], count.astype(np.uint8))]
    may_come = [carrier for carrier in range(shape[1]) if gone[carrier] < 1]
    known: dict[bytes, list[NDArray[np.uint8]]] = {}
    for of_group in table:
        if of_group.tobytes() not in known:
            known[of_group.tobytes()] = [_at_risk(of_kind, may_come, lost) for of_kind in of_group.T]
    return _Cases(probability, [known[of_group.tobytes()] for of_group in table], rest)


def _enough(alike: list[tuple[int, float]]) -> tuple[int | None, float]:
    """How many carriers are lost at most in the cases that are enumerated, and the probability that more are.

    All of them where these are no more than MAX_CASES; else so many that more are lost with REST at most; None where
    that are too many cases still. `alike` has how many carriers there are of each kind, and how each of them is lost.
    """
    total = sum(number for number, _ in alike)
    if math.prod(number + 1 for number, _ in alike) <= MAX_CASES:
        return total, 0.0
    chances, cases = np.ones(1), [1]  # by how many are lost in all
    for number, p in alike:
        chances = np.convolve(chances, _binomials(number, p)[number])
        cases = [sum(cases[max(0, at - number) : at + 1]) for at in range(len(cases) + number)]
    for most in range(total + 1):
        rest = float(chances[most + 1 :].sum())
        if rest <= REST:
            return (most, rest) if sum(cases[: most + 1]) <= MAX_CASES else (None, 1.0)
    return None, 1.0


def _at_risk(drives: Whole, may_come: list[int], lost: list[tuple[int, NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Drives of a group and kind that carriers bring, by case; `drives` is by carrier, `lost` by carriers alike."""
    brought = np.array([drives[may_come].sum()], dtype=np.uint8)
    for carrier, count in lost:
        if drives[carrier]:
            brought = brought - count * np.uint8(drives[carrier])
    return brought


def _group(hdds: int, ssds: int, data: int, columns: int, hazards: Hazards) -> tuple[Table, Table]:
    """`_tables`, row and column by how many hard disks and solid-state drives their carriers brought."""
    fails = (hazards.hdd_fails, hazards.ssd_fails)
    unreadable = (_block(hazards.hdd_unreadable), _block(hazards.ssd_unreadable))
    if hdds >= ssds:
        return _tables(hdds, ssds, data, columns, fails, unreadable)
    kept, share = _tables(ssds, hdds, data, columns, fails[::-1], unreadable[::-1])
    return kept.T, share.T


def _block(rate: float) -> float:
    """The probability that a block is unreadable, by the rate a bit."""
    return -math.expm1(8 * BLOCK * math.log1p(-rate))


@functools.lru_cache(maxsize=256)
def _tables(
    many: int, few: int, data: int, columns: int, fails: tuple[float, float], unreadable: tuple[float, float]
) -> tuple[Table, Table]:
    """Logarithm of the probability that no column of a group is lost, and the expected share of its bytes that is.

    The group has `many` and `few` drives of two kinds; row and column say how many of each their carriers brought. A
    block is unreadable with probability `unreadable`, a drive fails with `fails`.
    """
    n = many + few
    blocks = (_binomials(many, unreadable[0]), _binomials(few, unreadable[1]))
    column = np.empty((many + 1, few + 1))  # probability that one column is lost, by drives that work
    share = np.empty_like(column)
    bad = np.arange(n + 1)
    for other in range(few + 1):
        works = other + np.arange(many + 1)[:, None]
        chances = np.zeros((many + 1, n + 1))  # of j unreadable blocks on both kinds together
        for j in range(other + 1):
            chances[:, j : j + many + 1] += blocks[0] * blocks[1][other, j]
        chances[works - bad >= data] = 0.0  # enough are readable
        column[:, other] = np.where(works[:, 0] < data, 1.0, chances.sum(axis=1))
        share[:, other] = (chances * np.maximum(n - works + bad, 0) / n).sum(axis=1)
    with np.errstate(divide="ignore"):
        some = -np.expm1(columns * np.log1p(-np.minimum(column, 1.0)))
        ways = [_binomials(most, 1 - p, p) for most, p in zip((many, few), fails, strict=True)]
        group = np.minimum(ways[0] @ some @ ways[1].T, 1.0)
        return np.log1p(-group), np.minimum(ways[0] @ share @ ways[1].T, 1.0)


@functools.lru_cache(maxsize=512)
def _binomials(most: int, p: float, q: float | None = None) -> Table:
    """Row a, column j: the probability of j successes in a tries, up to `most`; q = 1 - p where it is known better."""
    tries, successes = np.arange(most + 1)[:, None], np.arange(most + 1)[None, :]
    fails = np.maximum(tries - successes, 0)
    return np.where(successes <= tries, _choose(most) * p**successes * (1 - p if q is None else q) ** fails, 0.0)


@functools.lru_cache(maxsize=64)
def _choose(most: int) -> Table:
    return np.array([[float(math.comb(a, j)) for j in range(most + 1)] for a in range(most + 1)])


# --- simulated -------------------------------------------------------------------------------------------


def simulate(
    wanted: Wanted, geometry: Geometry, hazards: Hazards, *, draws: int, seed: int, by_deadline: bool = False
) -> Odds:
    """The same odds from `draws` voyages, drive by drive and block by block; the same seed gives the same odds.

    Where no draw lost anything the error is that of one that did: 1/draws. BadInput as `odds`.
    """
    gone = _gone(wanted, hazards, by_deadline=by_deadline)
    if isinstance(draws, bool) or not isinstance(draws, int) or not 1 <= draws <= 10**9:
        raise BadInput(f"{draws!r} draws", hint="a whole number from 1 to 1000000000")
    fleet = _fleet(wanted, geometry)
    return _simulate(fleet, fleet.table, gone, hazards, draws, seed)


def _simulate(fleet: _Fleet, table: Whole, gone: tuple[float, ...], hazards: Hazards, draws: int, seed: int) -> Odds:
    generator = np.random.default_rng(seed)
    kinds = (hazards.hdd_unreadable, hazards.ssd_unreadable)
    # unreadable blocks as points of a Poisson process: a block is hit with exactly its probability
    rates = np.array([-8 * BLOCK * math.log1p(-rate) for rate in kinds])
    drives = np.argwhere(table > 0).repeat(table[table > 0], axis=0)
    expected = fleet.columns[drives[:, 0]] * rates[drives[:, 2]]
    if expected.sum() > MAX_SIMULATED:
        raise BadInput(
            f"{expected.sum():.1e} unreadable sectors a voyage are too many to simulate",
            hint="at such a rate nothing arrives whole; state the rate of your drives' data sheet",
        )
    step = int(max(1, min(draws, _CHUNK // (len(drives) + expected.sum() + 1))))
    lost = 0
    total = squares = 0.0
    for done in range(0, draws, step):
        shares = _voyages(generator, fleet, drives, np.array(gone), hazards, expected, min(step, draws - done))
        lost += int((shares > 0).sum())
        total += float(shares.sum())
        squares += float((shares**2).sum())
    mean, chance = total / draws, lost / draws
    spread = math.sqrt(max(squares / draws - mean * mean, 0.0) / draws)
    return Odds(
        loss=chance,
        share_lost=mean,
        exact=False,
        loss_error=math.sqrt(chance * (1 - chance) / draws) or 1 / draws,
        share_error=spread or 1 / draws,
    )


def _voyages(
    generator: np.random.Generator,
    fleet: _Fleet,
    drives: Whole,
    gone: Table,
    hazards: Hazards,
    expected: Table,
    draws: int,
) -> Table:
    """The share of the bytes that each of `draws` voyages loses."""
    group, carrier, kind = drives.T
    groups = len(fleet.columns)
    sizes = fleet.table.sum(axis=(1, 2))
    comes = generator.random((draws, len(gone))) >= gone
    fails = np.array([hazards.hdd_fails, hazards.ssd_fails])[kind]
    here = comes[:, carrier] & (generator.random((draws, len(drives))) >= fails)
    left = here @ (group[:, None] == np.arange(groups)).astype(np.int64)
    hits = (generator.poisson(expected, here.shape) * here).ravel()
    voyage, drive = np.divmod(np.arange(hits.size).repeat(hits), len(drives))
    column = generator.integers(0, fleet.columns[group[drive]])
    deep = int(fleet.columns.max())
    blocks = np.unique((voyage * len(drives) + drive) * deep + column)  # a block that is hit twice is one block
    owner, column = np.divmod(blocks, deep)
    voyage, drive = np.divmod(owner, len(drives))
    places, bad = np.unique((voyage * groups + group[drive]) * deep + column, return_counts=True)
    owner = places // deep
    missing = (sizes - left).ravel()
    short = left.ravel()[owner] - bad < fleet.data
    dead = left.ravel() < fleet.data
    # a column that is lost costs the data among its blocks that are not there; all columns of a dead group are lost
    costs = np.bincount(owner[short], (bad + np.where(dead[owner], 0, missing[owner]))[short], minlength=draws * groups)
    costs += np.where(dead, missing * np.tile(fleet.columns, draws), 0)
    per = costs.reshape(draws, groups) / (sizes * fleet.columns)
    return np.asarray(per @ fleet.shares)
