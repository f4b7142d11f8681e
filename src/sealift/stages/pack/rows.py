"""What a journal tells of a packing, as rows for JSON: drives that are set aside or slow, and what was read back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sealift.formats import manifest

if TYPE_CHECKING:
    from collections.abc import Collection

    from sealift.stages.pack.journal import Journal
    from sealift.stages.pack.journal_rows import Misread, Owed, ReadBackState, Slow
    from sealift.stages.pack.work import Work


def _drive(number: int, each: Owed | Slow | Misread) -> dict[str, Any]:
    return {"drive": manifest.drive_id(number, each.slot), "serial": each.serial, "mount": each.mount}


def owed_rows(journal: Journal, number: int) -> list[dict[str, Any]]:
    """The drives of a group that are set aside, for JSON."""
    return [
        {
            **_drive(number, each),
            "since_stripe": each.since,
            "kind": each.kind,
            "reason": each.reason,
        }
        for each in journal.owed(number).values()
    ]


def slow_rows(journal: Journal, number: int) -> list[dict[str, Any]]:
    """The drives of a group that write slowly, for JSON; rates in bytes a second."""
    return [
        {
            **_drive(number, each),
            "bytes_per_second": each.rate,
            "median_bytes_per_second": each.median,
        }
        for each in journal.slow(number)
    ]


def misread_rows(journal: Journal, number: int, serials: Collection[str]) -> list[dict[str, Any]]:
    """Drives that gave other bytes than were written, for JSON; blocks of 1 MiB. `serials` are in the group now."""
    return [
        {
            **_drive(number, each),
            "packs": each.packs,
            "blocks": each.blocks,
            "replaced": each.serial not in serials,
        }
        for each in journal.misread(number)
    ]


def read_back_row(work: Work, before: list[ReadBackState]) -> dict[str, Any]:
    """What was read back, by all runs and by this one, for JSON; `read_from` is null where nothing was."""
    journal, mode, groups = work.journal, work.options.read_back, range(len(before))
    states = [journal.read_back(number) for number in groups]
    sums, sums_before = _sums(states), _sums(before)
    cached = any(state.cached for state in states)
    signed = [number for number in groups if journal.group(number).state == "signed"]
    return {
        "mode": mode,
        "stripes": sum(state.whole if mode == "full" else state.stripes for state in states),
        "stripes_total": sum(journal.group(number).stripes for number in groups),
        **sums,
        "wrong": sum(each.blocks for number in groups for each in journal.wrong(number)),
        "beyond": sum(journal.beyond(number, work.options.parity) for number in signed),
        "read_from": None if not sums["blocks"] else "cache" if cached else "medium",
        "this_run": {
            "stripes": work.stripes_read,
            **{name: value - sums_before[name] for name, value in sums.items()},
        },
    }


def _sums(states: list[ReadBackState]) -> dict[str, int]:
    """Blocks of all groups: compared, and what came of those that were wrong."""
    return {
        "blocks": sum(state.blocks for state in states),
        "again": sum(state.again for state in states),
        "found": sum(state.found for state in states),
        "repaired": sum(state.repaired for state in states),
        "packed_again": sum(state.packed_again for state in states),
    }


def memory_line(memory: dict[str, int]) -> str:
    """What a packing takes at most, in words; bytes by what they are for."""
    parts = ", ".join(f"{name} {size >> 20}" for name, size in memory.items())
    return f"memory: at most {sum(memory.values()) >> 20} MiB ({parts}), whatever the pack size"
