"""How long the papers of a planned shipment take: `python -m bench.documents [--drives N] [--carriers N]`.

From a plan to draft papers, each command a process of its own as a person gives them: the form of the declaration,
which is then filled in here (serial numbers, packages, goods in two currencies, a carnet), and every paper made of it.
Wall clock, start-up of Python included. The goal is under 10 s for 60 drives and 4 carriers; exit 1 when it is missed.
Planning, which measures the machine for two seconds, is not counted.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sealift.trade import declaration as declarations
from sealift.trade import sections, template

if TYPE_CHECKING:
    from sealift.trade.declaration import Declaration

GOAL = 10.0  # seconds
SHARE = 0.88  # of what is left when a carrier is lost: so much of a corpus that the plan needs all drives


def command(folder: str, *words: str, codes: tuple[int, ...] = (0,)) -> float:
    """Seconds that `sealift` with these words takes in `folder`."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "sealift", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode not in codes:
        raise SystemExit(f"sealift {' '.join(words)}: {done.stderr}")
    return time.monotonic() - begun


def filled(draft: Declaration) -> str:
    """The form of a plan, filled in as far as papers want it, with two kinds of goods."""
    replace = msgspec.structs.replace
    goods = [
        sections.Goods(
            name=name, description=f"Solid state drive, {name}", kind="ssd", hs_code="8523.51", hs_version="HS 2022",
            origin="KR", gross_grams=311, net_grams=159, media_value="5760.00", data_value="12.35", currency=currency,
            valuation_basis="media and data", eccn="5A992.c",
        )
        for name, currency in (("one", "EUR"), ("two", "USD"))
    ]  # fmt: skip
    drives = [
        replace(
            each, serial=f"S6CANX0T{number:06}", goods=goods[number % 2].name, make="Example", model="MZWLR15THALA",
            package_no=str(number // 5 + 1), seal_no=f"H-{100417 + number // 5}",
        )
        for number, each in enumerate(draft.drives)
    ]  # fmt: skip
    customs = sections.Customs(temporary="yes", re_export_by="2027-05-20")
    fields = {name: getattr(draft, name) for name in sections.Content.__struct_fields__}
    return template.render(sections.Content(**fields | {"goods": goods, "drives": drives, "customs": customs}))


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.documents", description="From a plan to draft papers.")
    parser.add_argument("--drives", type=int, default=60)
    parser.add_argument("--carriers", type=int, default=4)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sealift-bench-") as folder:
        corpus = ["--bytes", str(int(given.drives * 15e12 * SHARE * (1 - 1 / given.carriers))), "--files", "1e6"]
        told = ["--drives", f"{given.drives}x15TB:ssd", "--carriers", f"{given.carriers}xhand", "--bays", "24"]
        command(folder, "plan", *corpus, *told, "--out", "shipment.toml", codes=(0, 3))
        steps = {"declare --new": command(folder, "declare", "--new", "d.toml", "--plan", "shipment.toml")}
        path = Path(folder, "d.toml")
        draft = declarations.parse(path.read_bytes(), draft=True)
        path.write_text(filled(draft), encoding="utf-8")
        steps["documents"] = command(folder, "documents", "d.toml", "--to", "papers")
        made = len(os.listdir(Path(folder, "papers")))
    total = sum(steps.values())
    print(f"{len(draft.drives):,} drives, {len(draft.carriers)} carriers, {os.cpu_count()} processors: {made} files")
    for what, seconds in steps.items():
        print(f"{what:<14} {seconds:6.2f} s")
    print(f"{'together':<14} {total:6.2f} s, goal {GOAL:.0f} s")
    sys.exit(total > GOAL)


if __name__ == "__main__":
    main()
