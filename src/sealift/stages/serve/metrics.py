"""What the server counts, as Prometheus reads it (text exposition format 0.0.4).

What holds: labels are names of drives that were found here, and a few words of ours, so their number is bounded by the
drives; nothing of a request becomes a label. Called from the thread of the event loop only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sealift import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds


@dataclass
class Histogram:
    """Durations by BUCKETS."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def observe(self, seconds: float) -> None:
        """Add one."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds


@dataclass
class Metrics:
    """All counters of a server; "" is the drive of a request that named none that is here."""

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)  # drive, status
    sent: Counter[str] = field(default_factory=Counter)  # bytes of files
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)  # drive, what
    reads: dict[str, Histogram] = field(default_factory=dict)
    answers: dict[str, Histogram] = field(default_factory=dict)  # until the first byte
    open: int = 0

    def read(self, drive: str, seconds: float) -> None:
        """One read of a drive took so long."""
        self.reads.setdefault(drive, Histogram()).observe(seconds)

    def answered(self, drive: str, status: int, seconds: float) -> None:
        """A request was answered, its first byte after so long."""
        self.requests[drive, status] += 1
        self.answers.setdefault(drive, Histogram()).observe(seconds)

    def render(self, up: Iterable[tuple[str, bool]], keys: Iterable[str]) -> str:
        """The page; `up` says of each drive that was ever found whether it is here and answers; on `keys` lies one."""
        return "\n".join(self._lines(up, keys)) + "\n"

    def _lines(self, up: Iterable[tuple[str, bool]], keys: Iterable[str]) -> Iterator[str]:
        yield from _head("sealift_build_info", "gauge", "The version of sealift.")
        yield _line("sealift_build_info", {"version": __version__}, 1)
        yield from _head("sealift_drive_up", "gauge", "Whether a drive that was found is here and answers.")
        for name, here in up:
            yield _line("sealift_drive_up", {"drive": name}, int(here))
        yield from _head("sealift_identity_found", "gauge", "Drives on which an identity lies, which must not be here.")
        for name in keys:
            yield _line("sealift_identity_found", {"drive": name}, 1)
        yield from _head("sealift_responses_in_flight", "gauge", "Responses with bytes of drives, under way now.")
        yield _line("sealift_responses_in_flight", {}, self.open)
        yield from _head("sealift_requests_total", "counter", "Requests for files of drives, by status.")
        for (name, status), count in sorted(self.requests.items()):
            yield _line("sealift_requests_total", {"drive": name, "status": str(status)}, count)
        yield from _head("sealift_sent_bytes_total", "counter", "Bytes of files of drives that were sent.")
        for name, count in sorted(self.sent.items()):
            yield _line("sealift_sent_bytes_total", {"drive": name}, count)
        yield from _head("sealift_errors_total", "counter", "Requests that failed: at the drive, or at the client.")
        for (name, what), count in sorted(self.errors.items()):
            yield _line("sealift_errors_total", {"drive": name, "what": what}, count)
        yield from _histogram("sealift_read_seconds", "Time of one read of a drive.", self.reads)
        yield from _histogram("sealift_answer_seconds", "Time until an answer began.", self.answers)


def _head(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _line(name: str, labels: dict[str, str], value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{inside}}} {value}" if inside else f"{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _histogram(name: str, text: str, rows: dict[str, Histogram]) -> Iterator[str]:
    yield from _head(name, "histogram", text)
    for drive, row in sorted(rows.items()):
        seen = 0
        for limit, count in zip((*map(str, BUCKETS), "+Inf"), row.counts, strict=True):
            seen += count
            yield _line(f"{name}_bucket", {"drive": drive, "le": limit}, seen)
        yield _line(f"{name}_sum", {"drive": drive}, row.total)
        yield _line(f"{name}_count", {"drive": drive}, seen)
