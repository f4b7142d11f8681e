"""The report page of a rehearsal: one self-contained HTML file with its table, the map of drives and the plots.

What holds: the page asks the network for nothing (no script, no font, no picture from elsewhere), and everything that
came from outside is escaped. Colours never stand alone: every state has its letter. matplotlib and jinja2 (the extra
`rehearse`) are imported when a page is made. What is not here: the rehearsal itself.
"""

from __future__ import annotations

import importlib.resources
import importlib.util
import io
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from sealift import __version__
from sealift.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.stages.rehearse import Rehearsal, SceneResult
    from sealift.stages.rehearse_training import Training

STATES = {  # state of a drive: letter, fill, text, meaning
    "good": ("", "#cfe8d5", "#1d4d2b", "here, as it was packed"),
    "lost": ("L", "#f4c7c3", "#7a1712", "lost on the way"),
    "rotten": ("R", "#fbe0a6", "#6b4700", "here, with flipped bits"),
    "withheld": ("W", "#d9d4ec", "#3d2f73", "kept back"),
    "rebuilt": ("B", "#cfe3f5", "#12466e", "made whole again"),
    "foreign": ("F", "#c5daf2", "#173f6d", "of another shipment"),
}
_BLUE, _ORANGE, _GREY, _INK = "#2f6f9f", "#d9822b", "#8a94a0", "#1c2733"
_NEEDED = ("jinja2", "matplotlib")


def require() -> None:
    """BadInput with a hint when what the page is made with is not installed."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise BadInput(
            f"--report needs {' and '.join(missing)}", hint="pip install 'sealift[rehearse]', or leave --report away"
        )


def page(result: Rehearsal) -> str:
    """The HTML of the whole page. Raises BadInput when an extra is missing."""
    require()
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"size": _size, "seconds": _seconds, "count": lambda value: f"{value:,}"}
    template = environment.from_string(_template())
    used = {state for scene in result.scenes for state in scene.drives.values()}
    return template.render(
        r=result,
        version=__version__,
        legend=[(letter, name, meaning) for name, (letter, _, _, meaning) in STATES.items() if name in used],
        states=STATES,
        maps=[(scene, _map(result, scene)) for scene in result.scenes],
        plot_read=_markup(_plot_read(result.scenes)),
        plot_time=_markup(_plot_time(result.scenes)),
        plot_rates=_markup(_plot_rates(result)),
        plot_loss=_markup(_plot_loss(result.training)) if result.training and result.training.losses else "",
        widest=max(Counter((drive["carrier"], drive["group"]) for drive in result.drives).values(), default=1),
        carriers=len({drive["carrier"] for drive in result.drives}),
        checks=sum(len(scene.checks) for scene in result.scenes)
        + len(result.training.checks if result.training else [])
        + len(result.plan.checks if result.plan else []),
    )


def _template() -> str:
    return importlib.resources.files("sealift.stages").joinpath("rehearse_report.html").read_text(encoding="utf-8")


def _markup(svg: str) -> Any:
    import markupsafe

    return markupsafe.Markup(svg)  # noqa: S704 -- made here by matplotlib from numbers and our own words


def _size(count: float) -> str:
    for power, unit in ((12, "TB"), (9, "GB"), (6, "MB"), (3, "kB")):
        if count >= 10**power:
            return f"{count / 10**power:.1f} {unit}"
    return f"{int(count)} B"


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min"


# --- the map of drives -----------------------------------------------------------------------------------


def _map(result: Rehearsal, scene: SceneResult) -> list[tuple[str, list[list[tuple[str, str, str]]]]]:
    """Carrier -> group -> its drives as (id, state, what a pointer is told); a foreign drive comes last."""
    carriers: dict[str, dict[str, list[tuple[str, str, str]]]] = {}
    for drive in result.drives:
        state = scene.drives.get(drive["drive"], "good")
        told = f"{drive['drive']}, serial {drive['serial']}: {STATES[state][3]}"
        carriers.setdefault(drive["carrier"], {}).setdefault(drive["group"], []).append((drive["drive"], state, told))
    numbers = [str(group) for group in range(result.groups)]
    out = [(carrier, [groups.get(number, []) for number in numbers]) for carrier, groups in carriers.items()]
    others = [
        (name, state, f"{name}: {STATES[state][3]}") for name, state in scene.drives.items() if state == "foreign"
    ]
    if others:
        out.append(("mixed in", [others]))
    return out


# --- plots -----------------------------------------------------------------------------------------------


def _figure(height: float) -> tuple[Any, Any]:
    import matplotlib as mpl

    mpl.use("svg", force=True)
    from matplotlib.figure import Figure

    mpl.rcParams.update(
        {"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10, "svg.hashsalt": "sealift"}
    )
    figure = Figure(figsize=(7.4, height), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_GREY)
    axes.tick_params(colors=_INK, length=0)
    axes.grid(axis="x", color="#e3e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _svg(figure: Any) -> str:
    """Inline SVG: without XML prologue and fixed size, so that it scales with the page."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    return re.sub(
        r'(<svg[^>]*?) height="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1), count=1
    )


def _bars(axes: Any, labels: Sequence[str], series: Sequence[tuple[str, str, Sequence[float]]], unit: str) -> None:
    """Horizontal bars, the first label on top; every bar ends with its number."""
    height = 0.76 / len(series)
    longest = max((value for _, _, values in series for value in values), default=0) or 1
    for number, (name, colour, values) in enumerate(series):
        places = [i + (number - (len(series) - 1) / 2) * height for i in range(len(labels))]
        axes.barh(places, values, height=height * 0.9, color=colour, label=name)
        for place, value in zip(places, values, strict=True):
            axes.text(value + longest * 0.01, place, f"{value:,.1f}", va="center", ha="left", fontsize=9, color=_INK)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlim(0, longest * 1.12)
    axes.set_xlabel(unit, color=_INK)
    if len(series) > 1:
        axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=len(series), fontsize=9)


def _plot_read(scenes: Sequence[SceneResult]) -> str:
    figure, axes = _figure(0.7 + 0.46 * max(2, len(scenes)))
    values = [scene.bytes_read / 1e6 for scene in scenes]
    _bars(axes, [scene.title for scene in scenes], [("read", _BLUE, values)], "MB read by verify")
    return _svg(figure)


def _plot_time(scenes: Sequence[SceneResult]) -> str:
    figure, axes = _figure(1.2 + 0.62 * max(2, len(scenes)))
    series = [
        ("verify", _BLUE, [scene.verify_seconds for scene in scenes]),
        ("unpack", _ORANGE, [scene.unpack_seconds for scene in scenes]),
    ]
    _bars(axes, [scene.title for scene in scenes], series, "seconds")
    return _svg(figure)


def _plot_rates(result: Rehearsal) -> str:
    figure, axes = _figure(1.2 + 0.62 * max(2, len(result.rates)))
    source = [rate.source_bytes / 1e6 / max(rate.seconds, 1e-9) for rate in result.rates]
    written = [rate.written_bytes / 1e6 / max(rate.seconds, 1e-9) for rate in result.rates]
    series = [
        ("source, packed", _BLUE, source),
        ("written to all drives of the group, parity included", _ORANGE, written),
    ]
    _bars(axes, [f"group {rate.group}" for rate in result.rates], series, "MB/s while the group was packed")
    return _svg(figure)


def _plot_loss(training: Training) -> str:
    """Both runs: they lie on each other, so one is a line and the other dots on it."""
    figure, axes = _figure(3.2)
    axes.grid(axis="y", color="#e3e7eb", linewidth=0.8)
    steps = range(1, len(training.losses) + 1)
    axes.plot(steps, training.losses, color=_BLUE, linewidth=2, label="never stopped")
    axes.plot(
        range(1, len(training.resumed) + 1),
        training.resumed,
        "o",
        color=_ORANGE,
        markersize=4,
        label="stopped, resumed",
    )
    axes.axvline(training.stopped_at + 0.5, color=_GREY, linewidth=1, linestyle="--")
    top = max(training.losses)
    axes.text(training.stopped_at + 0.8, top, "stopped here", va="top", fontsize=9, color=_INK)
    axes.set_xlabel("step", color=_INK)
    axes.set_ylabel("loss, nats a byte", color=_INK)
    axes.legend(frameon=False, loc="lower left", fontsize=9)
    return _svg(figure)
