"""What a journal tells of a packing, as rows for JSON: drives that are set aside or slow, and what was read back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sealift.formats import manifest

if TYPE_CHECKING:
    from sealift.stages.pack.journal import Journal, ReadBackState
    from sealift.stages.pack.work import Work


def owed_rows(journal: Journal, number: int) -> list[dict[str, Any]]:
    """The drives of a group that are set aside, for JSON."""
    return [
        {
            "drive": manifest.drive_id(number, each.slot),
            "serial": each.serial,
            "mount": each.mount,
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
            "drive": manifest.drive_id(number, each.slot),
            "serial": each.serial,
            "mount": each.mount,
            "bytes_per_second": each.rate,
            "median_bytes_per_second": each.median,
        }
        for each in journal.slow(number)
    ]


def read_back_row(work: Work, before: list[ReadBackState]) -> dict[str, Any]:
    """What was read back, by all runs and by this one, for JSON; `read_from` is null where nothing was."""
    journal, mode, groups = work.journal, work.options.read_back, range(len(before))
    states = [journal.read_back(number) for number in groups]
    blocks, repaired = sum(state.blocks for state in states), sum(state.repaired for state in states)
    cached = any(state.cached for state in states)
    return {
        "mode": mode,
        "stripes": sum(state.whole if mode == "full" else state.stripes for state in states),
        "stripes_total": sum(journal.group(number).stripes for number in groups),
        "blocks": blocks,
        "repaired": repaired,
        "wrong": sum(each.blocks for number in groups for each in journal.wrong(number)),
        "read_from": None if not blocks else "cache" if cached else "medium",
        "this_run": {
            "stripes": work.stripes_read,
            "blocks": blocks - sum(state.blocks for state in before),
            "repaired": repaired - sum(state.repaired for state in before),
        },
    }


def memory_line(memory: dict[str, int]) -> str:
    """What a packing takes at most, in words; bytes by what they are for."""
    parts = ", ".join(f"{name} {size >> 20}" for name, size in memory.items())
    return f"memory: at most {sum(memory.values()) >> 20} MiB ({parts}), whatever the pack size"
