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
        f"{name}: {version}" for name, version in host["versions"].items() if version
    )
    lines.append("")
    for name, found in results["scenarios"].items():
        lines += _profile(name, found) if "tables" in found else _scenario(name, found)
    return "\n".join(lines).rstrip() + "\n"


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
    if "floor" in found:
        parts = ", ".join(f"{part} {cost:.3f}" for part, cost in found["floor"]["ns_per_byte"].items())
        floor = f"Floor {found['floor']['seconds']:.2f} s (ns a byte, all cores together: {parts})"
        lines += ["", f"{floor}; efficiency {found['efficiency']:.2f}."]
    lines.append("")
    return lines


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
