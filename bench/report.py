"""results.json as a page to read: RESULTS.md."""

from __future__ import annotations

from typing import Any

_HEAD = """# Results

Written by `make bench`; results.json beside it has every run. Read ratios, not figures: they hold between the tools
of one scenario, which took turns on the same bytes. How it is measured: [NOTES.md](NOTES.md).
"""


def page(results: dict[str, Any]) -> str:
    """The whole page."""
    host = results["machine"]
    lines = [
        _HEAD,
        f"{host['cores']} cores of {host['cpu']}, {host['memory'] / 2**30:.0f} GiB, Linux {host['kernel']}, ",
    ]
    lines[-1] += f"Python {host['python']}. " + "; ".join(
        f"{name}: {version or 'not recorded'}" for name, version in host["versions"].items()
    )
    lines += ["", _runs(results), ""]
    for name, found in results["scenarios"].items():
        lines += _profile(name, found) if "tables" in found else _scenario(name, found)
    return "\n".join(lines).rstrip() + "\n"


def _runs(results: dict[str, Any]) -> str:
    """Of how many runs the page is, and what is known of each: a run may be of some scenarios only."""
    runs: dict[tuple[str, str], list[str]] = {}
    for name, found in results["scenarios"].items():
        if "when" in found:
            runs.setdefault((found["when"], found["sealift"]), []).append(name)
    if len(runs) < 2:
        return "All of it is of one run."
    told = "; ".join(f"{when}, {version}: {', '.join(names)}" for (when, version), names in sorted(runs.items()))
    text = f"This page is of {len(runs)} runs or more, and the lines above are of the last: {told}."
    if any(version.endswith("-dirty") for _, version in runs):
        text += " dirty: the tree had changes that were not committed."
    other = sum(found["machine"] != results["machine"] for found in results["scenarios"].values() if "machine" in found)
    unknown = [name for name, found in results["scenarios"].items() if "machine" not in found and "when" in found]
    if unknown:
        text += " Of the earlier ones no versions but sealift's were kept."
    if other:
        text += " results.json has the machine and the versions of each."
    return text


def _scenario(name: str, found: dict[str, Any]) -> list[str]:
    if "skipped" in found:
        return [f"## {name}", "", f"Not measured: {found['skipped']}.", ""]
    corpus = found["corpus"]
    lines = [f"## {name}: {found['title']}", ""]
    lines.append(
        f"{corpus['files']:,} files, {corpus['bytes'] / 1e9:.2f} GB; {found['cache']}. "
        f"{found['when']}, {found['sealift']}."
    )
    lines += ["", "| | median s | MB/s | files/s | spread | cpu s | peak memory MiB | sealift is faster by |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for tool, each in found["tools"].items():
        ratio = found["faster_than"].get(tool)
        files = f"{each['files_per_s']:,}" if each["files_per_s"] else ""
        cells = [f"{each['median_s']:.2f}", f"{each['bytes_per_s'] / 1e6:,.0f}", files, f"{100 * each['spread']:.0f}%"]
        cells += [f"{each['cpu_s']:.2f}", f"{each['peak_memory'] / 2**20:,.0f}", f"{ratio:.2f}x" if ratio else ""]
        lines.append(f"| {' | '.join([tool.replace('|', '&#124;'), *cells])} |")
    lines += _fewer(found["tools"])
    if "floor" in found:
        parts = ", ".join(f"{part} {cost:.3f}" for part, cost in found["floor"]["ns_per_byte"].items())
        floor = f"Floor {found['floor']['seconds']:.2f} s (ns a byte, all cores together: {parts})"
        lines += ["", f"{floor}; efficiency {found['efficiency']:.2f}. {_bound(found)}"]
    lines.append("")
    return lines


def _fewer(ran: dict[str, Any]) -> list[str]:
    """Whose median is of fewer rounds than that of the others."""
    most = max(len(each["seconds"]) for each in ran.values())
    fewer = {tool: len(each["seconds"]) for tool, each in ran.items() if len(each["seconds"]) < most}
    told = ", ".join(f"{tool.replace('|', '&#124;')} of {count}" for tool, count in fewer.items())
    return ["", f"Medians are of {most} rounds; {told}."] if fewer else []


def _bound(found: dict[str, Any]) -> str:
    """What the ratios would be at the floor: in memory no better ones can be had, where a medium overlaps they can."""
    peers = [(tool.replace("|", "&#124;"), found["tools"][tool]["median_s"]) for tool in found["faster_than"]]
    told = ", ".join(f"{seconds / found['floor']['seconds']:.2f}x {tool}" for tool, seconds in peers)
    return f"At the floor it would be {told}."


def _profile(name: str, found: dict[str, Any]) -> list[str]:
    lines = [
        f"## {name}: {found['title']}",
        "",
        f"py-spy, own time by innermost Python frame, idle left out. {found['when']}, {found['sealift']}.",
        "",
    ]
    for corpus, table in found["tables"].items():
        lines += [f"### {corpus}", "", "```", (table or "py-spy is not here, or may not trace").rstrip(), "```", ""]
    return lines
