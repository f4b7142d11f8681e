"""`sealift plan`: from a corpus, drives, carriers and a deadline to shipment.toml. Thin: stages/plan/."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from sealift.cli import common
from sealift.errors import BadInput, Interrupted
from sealift.formats.sizes import counted

if TYPE_CHECKING:
    from sealift.stages.plan.calibrate import Calibration
    from sealift.stages.plan.choose import Planned
    from sealift.stages.plan.corpus import Corpus
    from sealift.stages.plan.terms import DriveSpeed
    from sealift.stages.plan.told import Drives, LeftOut, Voyage

ON_THE_SPOT = 2.0  # seconds of a calibration that is not kept
KEPT = 10.0  # of one that is
NOT_MET = 3

HELP = """
Plan a voyage: which groups of drives with how much parity, which drive with which carrier, how long, how sure, at
what cost beside a link and appliances. Nothing is written without --out or --report.

SOURCE, the folder of the corpus, is walked and sampled; on paper, --bytes and --files say it. Drives, carriers and
bays are told, never guessed. Of all geometries that fit and survive the loss that --survive states, the one is
recommended that takes the fewest drives, is as safe as wanted, and keeps a drive to spare when that loss has happened;
--geometry takes another of the table. Where there is none, it says what is missing.

\b
  sealift plan --bytes 4.8PB --files 1.2e9 --drives 100x80TB:ssd --carriers 4xcourier --bays 24
  sealift plan /data/corpus --drives drives.json --carriers anna:hand,ben:hand --bays 8 \\
      --survive "any carrier and 1 drive, 99.9%" --deadline 2026-12-20 --out shipment.toml --report plan.html
  sealift plan --new voyage.toml         a form for all that can be told: dates, hosts, training, numbers

drives.json is what `sealift drives --json` prints. shipment.toml is followed by pack, declare and rehearse (--plan).
Exit 0; 3: planned, and not as safe as wanted, without a drive to spare, or not in time; 6: something is missing.
"""


@click.command("plan", help=HELP, short_help="Which drives, which carriers, how long, how sure.")
@click.argument("source", required=False, type=click.Path())
@click.option("--voyage", "file", metavar="FILE", type=click.Path(), help="All that is told, as TOML; options win.")
@click.option("--bytes", "size", metavar="SIZE", help="The corpus on paper: its size, such as 4.8PB.")
@click.option("--files", metavar="N", help="The corpus on paper: its files, such as 1.2e9.")
@click.option("--drives", multiple=True, metavar="60x80TB|FILE", help="Drives, or the JSON of sealift drives --json.")
@click.option("--carriers", metavar="NAME[:MEANS],...", help="Who carries: courier, checked-bag, hand. Or 4xcourier.")
@click.option("--bays", type=click.IntRange(1), metavar="N", help="Drives that a host takes at once.")
@click.option("--hosts", type=click.IntRange(1), metavar="N", help="Hosts that pack.  [default: 1]")
@click.option(
    "--survive", metavar="LOSS", help='The loss that costs no byte, and the odds.  [default: "any carrier, 99.9%"]'
)
@click.option("--start", metavar="TIME", help="When packing starts.  [default: now]")
@click.option("--deadline", metavar="TIME", help="When all data must be readable at the destination.")
@click.option("--geometry", metavar="GxK+M", help="Take this geometry, such as 5x12+3, not the recommended one.")
@click.option("--tests", metavar="FILE", type=click.Path(), help="Measured speeds: sealift drives test --record.")
@click.option(
    "--calibration", metavar="FILE", type=click.Path(),
    help="What this machine does in ten seconds: read where it is there, else measured and kept. Without: two seconds.",
)  # fmt: skip
@click.option("--out", metavar="FILE", type=click.Path(), help="Write the plan, shipment.toml.")
@click.option("--report", metavar="FILE.html", type=click.Path(), help="Write a self-contained page with pictures.")
@click.option("--new", metavar="FILE", type=click.Path(), help="Write an empty voyage.toml with comments, and end.")
@common.json_option
def plan(*, as_json: bool, new: str | None, **given: Any) -> None:
    """Plan, show it, and write what was asked for."""
    from sealift.trade import signing

    if new is not None:
        from sealift.stages.plan import told

        signing.write_new(new, told.form().encode())
        common.say(f"wrote {new}: fill in what you know, then sealift plan --voyage {new}")
        if as_json:
            common.emit({"file": new})
        return
    _can_be_done(given["out"], given["report"])
    tests = _tests(given["tests"])
    asked, left_out = _asked(given, tests)
    try:
        with common.Meter() as meter:
            found = _planned(given, asked, tests, meter)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; nothing was written, and the same command begins anew") from None
    text = _written(given, found)
    from sealift.cli import plan_words

    if as_json:
        common.emit(plan_words.answer(found, left_out))
    else:
        plan_words.show(found, left_out)
    for line in text:
        common.say(line)
    if not found.met:
        raise click.exceptions.Exit(NOT_MET)


def _can_be_done(out: str | None, report: str | None) -> None:
    """Before the work, not after it."""
    from sealift.stages.plan import voyage

    voyage.require()
    for option, path in (("--out", out), ("--report", report)):
        if path is None:
            continue
        folder = os.path.dirname(path) or "."
        if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
            raise BadInput(f"{option} {path}: cannot be written there", hint="give a file in a folder that is yours")
        if os.path.lexists(path):
            hint = "people fill in plans by hand: move it away, or give another name"
            raise BadInput(f"{option} {path} is there already; nothing was changed", hint=hint)
    if report is not None:
        from sealift.stages.plan.report import require

        require()


def _asked(given: dict[str, Any], tests: Tests) -> tuple[Voyage, tuple[LeftOut, ...]]:
    """Everything that is told, by file and options; and drives that are left out."""
    from msgspec.structs import replace

    from sealift.stages.plan import told
    from sealift.trade.signing import read_limited

    asked = told.Voyage()
    if given["file"] is not None:
        data = read_limited(given["file"], told.MAX_FILE, "voyage")
        try:
            asked = told.parse(data)
        except BadInput as error:
            raise BadInput(f"{given['file']}: {error}", hint=error.hint) from error
    values: dict[str, Any] = {name: given[name] for name in ("bays", "hosts", "survive") if given[name] is not None}
    values |= {name: told.moment(given[name]) for name in ("start", "deadline") if given[name] is not None}
    if given["size"] is not None:
        values["bytes"] = given["size"]
    if given["files"] is not None:
        values["files"] = given["files"]
    if given["carriers"] is not None:
        values["carriers"] = told.carriers(given["carriers"])
    left_out: tuple[LeftOut, ...] = ()
    if given["drives"]:
        pack_size = told.size(asked.pack_size)
        rows: list[Drives] = []
        for each in given["drives"]:
            if os.path.isfile(each):
                some, left = _listed(each, pack_size)
                rows += some
                left_out += left
            else:
                rows.append(told.drives(each))
        values["drives"] = tuple(rows)
    asked = replace(asked, **values)
    good, failed = told.without_failed(asked.drives, tests.failed)
    if failed and not good:
        raise BadInput(f"every drive failed its test, such as {failed[0].name}: {failed[0].why}", hint="sealift drives")
    left_out += failed
    asked = told.ready(replace(asked, drives=good), now=datetime.now(UTC))
    _one_corpus(given["source"], asked)
    return asked, left_out


def _one_corpus(source: str | None, asked: Voyage) -> None:
    on_paper = asked.bytes is not None or asked.files is not None
    if (source is None) != on_paper:
        what = "two corpora: SOURCE, and one on paper" if on_paper else "no corpus"
        raise BadInput(f"{what}", hint="SOURCE, the folder that is carried, or --bytes 4.8PB --files 1.2e9")
    if on_paper and (asked.bytes is None or asked.files is None):
        raise BadInput(
            "half a corpus on paper", hint="--bytes and --files: both decide what fits and how long it takes"
        )


def _listed(path: str, pack_size: int) -> tuple[tuple[Drives, ...], tuple[LeftOut, ...]]:
    """Drives in the JSON of `sealift drives --json`."""
    from sealift.stages.plan import told
    from sealift.trade.signing import read_limited

    try:
        taken, left = told.listing(read_limited(path, told.MAX_LISTING, "list of drives"))
    except BadInput as error:
        raise BadInput(f"{path}: {error}", hint=error.hint) from error
    taken, small = told.without_room(taken, pack_size)
    left += small
    if not taken:
        why = "".join(f"\n  {each.name}: {each.why}" for each in left[: common.SHOWN])
        raise BadInput(
            f"{path}: no drive that may be packed onto{why}",
            hint="blank drives are taken, and mounted ones with an empty filesystem (sealift drives prepare)",
        )
    return taken, left


def _planned(given: dict[str, Any], asked: Voyage, tests: Tests, meter: common.Meter) -> Planned:
    from sealift.stages.plan import choose, told

    names = {each.name for each in told.fleet(asked.drives)}
    if given["tests"] is not None and not names & tests.speeds.keys():
        common.say(f"{given['tests']}: none of these drives was tested; it names drives by their serial numbers")
    corpus = _corpus(given["source"], asked, meter)
    choose.check(asked, corpus)
    calibration = _calibration(given["calibration"], corpus, meter)
    meter.note("weighing geometries")
    return choose.plan(asked, corpus, calibration, chosen=given["geometry"], speeds=tests.speeds)


def _corpus(source: str | None, asked: Voyage, meter: common.Meter) -> Corpus:
    from sealift.stages.plan import corpus, told

    if source is None:
        assert asked.bytes is not None, "checked by _one_corpus"
        assert asked.files is not None, "checked by _one_corpus"
        return corpus.on_paper(told.size(asked.bytes), told.count(asked.files), share=asked.packed_share)
    from sealift.stages.pack.source import is_store, located, source_of
    from sealift.stages.pack.workers import Workers, count

    if not is_store(source) and not os.path.isdir(source):
        raise BadInput(f"{source}: no folder", hint="SOURCE is the folder of the corpus, or s3://BUCKET/PREFIX")
    where = os.fsdecode(located(source)) if is_store(source) else os.path.abspath(source)
    source_of(os.fsencode(where)).check()
    begun = time.monotonic()
    with Workers(count(os.cpu_count() or 1)) as workers:
        seen = workers.walk(os.fsencode(where), None, None)
        found = corpus.look(where, seen, progress=lambda files, size: meter.update("looking", size, None, files=files))
    meter.close()
    took = time.monotonic() - begun
    common.say(
        f"looked at {counted(found.files, 'file')} in {common.duration_text(took)}"
        f" ({found.files / max(took, 1e-9):,.0f} a second)"
    )
    return found


class Tests(NamedTuple):
    """What tests of drives found, by serial number or name: speeds of those that are good, faults of the others."""

    speeds: dict[str, DriveSpeed]
    failed: dict[str, str]


def _tests(path: str | None) -> Tests:
    found = Tests({}, {})
    if path is None:
        return found
    from sealift.errors import FormatError
    from sealift.formats import drive_tests
    from sealift.stages.plan import told
    from sealift.stages.plan.terms import DriveSpeed
    from sealift.trade.signing import read_limited

    try:
        record = drive_tests.decode(read_limited(path, drive_tests.MAX_FILE, "record of drive tests"))
    except FormatError as error:
        raise BadInput(f"{path}: {error}", hint="sealift drives test MNT... --record FILE makes one") from error
    for drive in record.drives:
        name = drive.serial or told.short(drive.name)
        if drive.fault:
            found.failed[name] = drive.fault
        elif drive.write_bytes_per_second and drive.read_bytes_per_second:
            speed = DriveSpeed(write=drive.write_bytes_per_second, read=drive.read_bytes_per_second)
            found.speeds[name] = speed
    return found


def _calibration(path: str | None, corpus: Corpus, meter: common.Meter) -> Calibration:
    import tempfile

    from sealift.stages.plan import calibrate
    from sealift.trade import signing

    if path is not None and os.path.lexists(path):
        return calibrate.decode(signing.read_limited(path, calibrate.MAX_RECORD, "calibration"))
    shape = calibrate.Shape(files=corpus.files, bytes=corpus.bytes, incompressible=1.0)
    with tempfile.TemporaryDirectory(prefix="sealift-plan-") as folder:
        seconds = ON_THE_SPOT if path is None else KEPT
        meter.note(f"measuring this machine for {seconds:g} s")
        found = calibrate.calibrate(folder, shape, seconds=seconds)
    if path is not None:
        signing.write_new(path, found.encode())
    return found


def _written(given: dict[str, Any], found: Planned) -> list[str]:
    """Write what was asked for, and say so."""
    from sealift.stages.plan import document
    from sealift.trade import signing

    lines: list[str] = []
    if given["report"] is not None:
        from sealift.stages.plan.report import page

        signing.write_new(given["report"], page(found).encode())
        lines.append(f"report: {given['report']}")
    if given["out"] is None:
        lines.append("no plan was written; --out shipment.toml keeps it")
        return lines
    signing.write_new(given["out"], document.render(found.plan).encode())
    nameless = len(found.plan.nameless)
    serials = f"fill in {counted(nameless, 'serial number')}, then " if nameless else ""
    lines.append(
        f"wrote {given['out']}; next: {serials}sealift declare --new declaration.toml --plan {given['out']}, and"
        f" sealift rehearse --plan {given['out']}"
    )
    return lines
