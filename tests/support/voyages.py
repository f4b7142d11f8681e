"""Voyages to plan, and a calibration that takes no time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sealift.stages.plan import choose, corpus, told
from sealift.stages.plan.calibrate import Calibration

if TYPE_CHECKING:
    from collections.abc import Sequence

START = datetime(2026, 12, 1, 8, tzinfo=UTC)

CALIBRATION = Calibration(
    taken="2026-11-26T00:00:00Z", sealift="0", processor="made up", cores=16, medium="tmpfs", data=6, parity=2,
    file_bytes=13_000, start_seconds=0.3, scan_file=4e-6, noise_byte=1.2e-9, text_byte=4e-9, text_packed=0.3,
    pack_file=20e-6, parity_byte=0.5e-9, code_byte=0.1e-9, code_parity=0.1e-9, verify_byte=0.3e-9,
    inspect_seconds=0.1, open_seconds=0.2, read_noise_byte=0.5e-9, read_text_byte=1.5e-9, read_file=5e-6, busy=0.0,
    unknown=("how fast drives are",),
)  # fmt: skip


def ask(
    drives: Sequence[str | told.Drives] = ("8x20TB",),
    carriers: str | tuple[told.Carrier, ...] = "4xcourier",
    *,
    bays: int | None = 8,
    **more: Any,
) -> told.Voyage:
    rows = tuple(told.drives(each) if isinstance(each, str) else each for each in drives)
    named = told.carriers(carriers) if isinstance(carriers, str) else carriers
    voyage = told.Voyage(**{"drives": rows, "carriers": named, "bays": bays, "start": START} | more)
    return told.ready(voyage, now=START)


def paper(size: str = "60TB", files: int = 4_000_000) -> corpus.Corpus:
    return corpus.on_paper(told.size(size), files)


def plan(asked: told.Voyage | None = None, of: corpus.Corpus | None = None, **more: Any) -> choose.Planned:
    return choose.plan(asked or ask(), of or paper(), CALIBRATION, **more)
