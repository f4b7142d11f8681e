"""What `sealift repair` says on a screen: the verdict of what was looked at, what was done, and what to do next.

What holds: nothing is claimed of what was not looked at. What is left is told with who can mend it.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import click

from sealift.cli import common
from sealift.cli.gone_words import (
    SENT_AGAIN,
    is_nobodys,
    is_silent,
    of_failing,
    of_gone,
    of_no_drive,
    of_nobodys,
    of_seal,
    of_signature,
    of_silent,
    of_strange,
    of_twins,
    of_unidentified,
    unidentified,
)
from sealift.cli.inspect import REFUSED, UNSIGNED
from sealift.formats.manifest import PACK_FILE, SIGNATURE
from sealift.formats.sizes import counted
from sealift.reading.survey_views import BARE, DOUBTED, STRANGE_PACKS
from sealift.stages.repair_far import OF_HOSTS
from sealift.stages.repair_plan import MET, NO_SEAL_HERE
from sealift.stages.verify_bags import NO_FILE
from sealift.stages.verify_join import NO_SEAL
from sealift.stages.verify_names import MORE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sealift.errors import BadInput
    from sealift.stages.repair_far import Away
    from sealift.stages.repair_plan import LostBlocks, RepairReport
    from sealift.stages.repair_unwritable import Unreadable, Unwritable
    from sealift.stages.verify_report import Fault, Missing

_NAMED = 10  # groups that are named
_STRAYS = 5  # files of a drive that nobody signed, or that interrupted writes left, and that are named
_NOT_SIGNED = {"unexpected", "foreign", "replayed"}  # what lies there besides what was signed
_NOWHERE = "no drive here has it whole"  # as stages/repair_plan.py says it
_ID = re.compile(r"g([0-9]{1,6})s[0-9]{1,3}")
_OF = {
    "all": "everything on the drives here",
    "report": "what the report names",
    "health": "what the report of health names",
}
_LENGTHS = "; of the rest every file is there in its length, and no more was looked at"


def show(result: RepairReport, refusal: BadInput | None = None) -> None:
    """The whole answer; `refusal`: why the same command would not write, which a dry run is not told."""
    echo = click.echo
    foretells = result.dry_run and (result.repaired_files or result.removed or result.state == "lost")
    dry = "dry run: " * (result.dry_run and result.state == "damaged")
    besides = f"; of {_of_groups(result)} no drive is here" if result.absent else ""
    echo(_foretold(result) if foretells else f"{dry}{_verdict(result)}{besides}")
    for line in _written(result):
        echo(line)
    for bad in result.unwritable[: common.SHOWN]:
        stays = f"{counted(bad.files, 'file')} still to be written there" if bad.files else "its last write failed"
        echo(_clean(f"  NOT WRITTEN: {_who(bad)}: {stays}; {bad.detail.removeprefix(f'{bad.mount}: ')}"))
    for silent in result.unreadable[: common.SHOWN]:
        echo(_clean(f"  NOT READ: {_who(silent)} gave nothing any more; {silent.detail}"))
    for each in result.failing[: common.SHOWN]:
        echo(_clean(f"  DID NOT READ: {_who(each)}: {each.detail}"))
    for lost in result.lost[: common.SHOWN]:
        echo(f"  lost: {lost.drive} {lost.path}, {_blocks(lost)}")
    for wait in result.waits[: common.SHOWN]:
        echo(f"  not given now: {wait.drive} {wait.path}, {_blocks(wait)}")
    for away in result.away[: common.SHOWN]:
        echo(_clean(f"  {_whose(away)}: {away.why}"))
    left = list(_left(result.left))
    for line in left[: common.SHOWN]:
        echo(_clean(line))
    for rows, what in ((result.lost, "lost"), (result.waits, "not given now"), (left, "still wrong")):
        if len(rows) > common.SHOWN:
            echo(f"  ... {len(rows) - common.SHOWN:,} more {what} (--json names them)")
    for gone in result.gone[: common.SHOWN]:
        echo(_clean(f"group {gone.group}: no drive here has {gone.path} as it was signed, and every drive carried it"))
    for group in result.short:
        if any(gone.group == group for gone in result.gone):
            continue
        echo(f"group {group}: what is here cannot give all of its contents")
    begun = _begun(result)
    if nowhere := [each for each in result.missing_here if each not in begun]:
        echo(f"missing: {', '.join(nowhere[:20])}")
    if made := [each for each in result.missing if each in begun]:
        echo(f"begun, and not whole yet: {', '.join(made[:20])}")
    for line in list(_absent(result))[: common.SHOWN]:
        echo(_clean(line))
    if result.unseen:
        named = ", and the report names them" if result.scope in {"report", "health"} else ""
        what = (
            "not here, nor any drive of their groups"
            if not any(map(is_nobodys, result.left))
            else "nothing is known of"
        )
        echo(f"{what}{named}: {', '.join(result.unseen[:20])}")
    common.show_hosts(result.hosts, "looked at")
    for line in _amounts(result):
        echo(line)
    for notice in [each for each in result.notices if not each.endswith(BARE)][: common.SHOWN]:
        echo(f"note: {_clean(notice)}")
    for line in dict.fromkeys([*_next(result, refusal), *_beware(result)]):
        echo(_clean(f"next: {line}"))


def _loss(result: RepairReport) -> str:
    if result.gone and not result.lost:
        return "LOST, unless it is found: a file that every drive carried, and none here has"
    if not result.may_come:
        return "LOST: more is gone than parity holds"
    if result.failing and result.missing_here and not (_elsewhere(result) or result.replaced or result.unreadable):
        return "more is gone than parity holds, and what did not read may have it"
    return "more is missing than parity holds, and drives that are not here may have it"


def _elsewhere(result: RepairReport) -> list[str]:
    """The drives that are missing of the groups here, but for those that are made here: they were given up."""
    return [each for each in result.missing_here if each not in result.onto]


def _begun(result: RepairReport) -> list[str]:
    """The drives that were given to --onto, and that are there in part, of this run or an earlier one."""
    failed = {each.drive for each in result.unwritable} - {each.drive for each in result.repaired}
    return [each for each in result.onto if each in result.missing and each not in failed and not result.dry_run]


def _groups(result: RepairReport) -> dict[int, list[Missing]]:
    """The groups of the seal of which no drive is here, and their drives."""
    groups: dict[int, list[Missing]] = {}
    for each in result.absent:
        if match := _ID.fullmatch(each.drive):
            groups.setdefault(int(match[1]), []).append(each)
    return groups


def _absent(result: RepairReport) -> Iterator[str]:
    """A line for each such group, as a label says which drives these are."""
    for group, rows in _groups(result).items():
        who = ", ".join(f"{each.drive} (serial {each.serial})" for each in rows[:20])
        yield f"group {group}: NOT HERE: {who}{' and more' * (len(rows) > 20)}"


def _of_groups(result: RepairReport) -> str:
    """Which groups these are."""
    groups = sorted(_groups(result))
    if len(groups) > _NAMED:
        return f"{len(groups):,} other groups"
    return f"group{'s' * (len(groups) > 1)} {', '.join(map(str, groups))}"


def _refused(result: RepairReport) -> str:
    """Where the signature of a manifest, or a whole seal, does not hold; or no drive has the former."""
    if result.signature is None or result.signature.ok:
        return ""
    return UNSIGNED if any((each.path, each.detail) == (SIGNATURE, _NOWHERE) for each in result.left) else REFUSED


def _foretold(result: RepairReport) -> str:
    """Of a dry run that would write, or finds that something is lost."""
    if refused := _refused(result):
        return f"dry run: nothing was written; {refused}" + (f"; {_loss(result)}" if result.state == "lost" else "")
    return "dry run: nothing was written" + (f"; {_loss(result)}" if result.state == "lost" else "")


def _verdict(result: RepairReport) -> str:
    if refused := _refused(result):
        done = "what could be mended was" if result.repaired and not result.dry_run else "nothing was written"
        return f"{refused}; {done}" + (f"; {_loss(result)}" if result.state == "lost" else "")
    if result.state == "lost":
        return f"{_loss(result)}; what could be mended was, nothing else was touched"
    if result.dry_run and result.scope == "onto" and result.rebuilt:
        return f"dry run: nothing is to be written; {', '.join(result.rebuilt)} is rebuilt, each block proved"
    if result.waits:
        return "not whole yet: what is still wrong can be had from drives in other hosts, which do not give it now"
    if result.scope == "onto":
        return _rebuilt(result)
    if result.state in {"whole", "repaired", "unseen"}:
        return _as_signed(result)
    rest = not (result.missing_here or _stopped(result))  # whether the drives here are all there, and were written
    if result.unseen and rest and not result.left:
        done = "what could be mended was" if result.repaired else "nothing was written"
        return f"not whole yet: what the report names was not all looked at; {done}"
    if any(host.must_return for host in result.hosts) and rest and not result.left:
        done = "what could be mended elsewhere was" if result.repaired else "nothing was written"
        return f"not whole yet: not every host came to its end; {done}"
    if rest and all(fault.kind in _NOT_SIGNED for fault in result.left):
        return f"what was signed is whole, of {_OF[result.scope]}; something lies there that nobody signed"
    untold = unidentified(result.left)
    if untold and rest and all(fault.mount in untold for fault in result.left):
        return f"what was signed is whole, of {_OF[result.scope]} that can be told; something damaged is among them"
    if any(fault.detail == NO_SEAL_HERE for fault in result.left):
        others = any(fault.detail != NO_SEAL_HERE for fault in result.left) or not rest
        then = "and what else is still wrong can be recovered" if others else "and all else is as it was signed"
        return f"not whole yet: no drive here has the whole seal, {then}"
    if any(fault.detail == _NOWHERE for fault in result.left):
        return "not whole yet: no data is lost, and of a file named below no drive here has a whole copy"
    if any(map(is_nobodys, result.left)):
        return "not whole yet: whose packs some drives here hold, nothing here says"
    return "not whole yet: all that is still wrong can be recovered"


def _as_signed(result: RepairReport) -> str:
    """Where nothing is wrong any more with what was looked at."""
    here = ", as far as it is here" if result.absent else ""
    if not (result.repaired_files or result.removed):
        of = "" if result.scope == "all" else f" with {_OF[result.scope]}{_LENGTHS}"
        return f"whole{here}: nothing is wrong{of}, and nothing was written"
    rest = "" if result.scope == "all" else _LENGTHS
    but = ", but on a medium that fails: see below" if result.failing else ""
    return f"repaired{here}: {_OF[result.scope]} is as it was signed{but}{rest}"


def _stopped(result: RepairReport) -> bool:
    """Whether something kept files from being written, or drives from being read."""
    return bool(result.in_the_way or result.unwritable or result.unreadable)


def _who(bad: Unwritable | Unreadable) -> str:
    """A drive and where it is; a new one has another serial number than the one in whose place it is made."""
    if getattr(bad, "onto", False):
        return f"{bad.drive}, as it is made at {bad.mount}"
    return f"{bad.drive} (serial {bad.serial}) at {bad.mount}"


def _whose(away: Away) -> str:
    """A drive in another host, and where."""
    who = away.mount if away.drive == away.mount else f"{away.drive}, {away.mount}"
    return who if away.at == away.mount else f"{who} at {away.at}"


def _rebuilt(result: RepairReport) -> str:
    """Of a rebuild onto another drive: that drive, and nothing of the others."""
    if not result.rebuilt:
        return "not rebuilt: the new drive is not whole yet; nothing is lost"
    proved = "each block proved against what was signed"
    if not result.repaired_files:
        are = common.are(len(result.rebuilt))
        return f"whole already: {', '.join(result.rebuilt)} {are} rebuilt, {proved}; nothing was written"
    others = "the other drives were read only as far as that needed"
    return f"rebuilt: {', '.join(result.rebuilt)}, {proved}; {others}"


def _still(fault: Fault) -> str:
    return "not signed" if fault.kind in _NOT_SIGNED else "still wrong"


def _blocks(lost: LostBlocks) -> str:
    return f"block {lost.first}" if lost.first == lost.last else f"blocks {lost.first} to {lost.last}"


def _left(faults: Iterable[Fault]) -> Iterator[str]:
    """A line for each, and one for all blocks that a rebuild met on one drive."""
    met: dict[tuple[str, str | None, str], list[Fault]] = {}
    faults = list(faults)
    untold = unidentified(faults)
    for mount in sorted(untold):
        files = len({fault.path for fault in faults if fault.mount == mount})
        what = f"{files} of its small files {common.are(files)} damaged or gone"
        yield f"  still wrong: {mount}: nothing tells which drive it is; {what}"
    strays: dict[str, list[Fault]] = {}
    for fault in faults:
        if fault.mount in untold:
            continue
        if fault.kind == "unexpected":
            strays.setdefault(fault.mount or fault.drive, []).append(fault)
        elif fault.detail.endswith(MET):
            met.setdefault((fault.drive, fault.mount, fault.detail), []).append(fault)
        else:
            yield _one(fault)
    for (drive, where, detail), blocks in met.items():
        more = f" and {counted(len(blocks) - 1, 'more block')}" if len(blocks) > 1 else ""
        yield f"  still wrong: {drive} at {where}: {_place(blocks[0])}{more}: {blocks[0].kind}, {detail}"
    for where, here in strays.items():
        named = [fault for fault in here if not fault.detail.startswith(MORE)]
        yield from map(_one, named[:_STRAYS])
        if len(named) > _STRAYS:
            yield f"  not signed: {len(named) - _STRAYS:,} more on {where} (--json names them)"
        yield from (_one(fault) for fault in here if fault.detail.startswith(MORE))


def _one(fault: Fault) -> str:
    return f"  {_still(fault)}: {fault.drive} {_place(fault)}: {fault.kind}, {fault.detail}"


def _place(fault: Fault) -> str:
    path = fault.path if fault.path is not None else f"base64 {fault.path_b64}"
    block = f" block {fault.block}" if fault.block is not None else ""
    return f"{path or 'sealift/'}{block}"


def _written(result: RepairReport) -> Iterator[str]:
    would = "would be written" if result.dry_run else "written"
    size, files = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for each in result.repaired:
        size[each.drive, each.mount] += each.bytes
        files[each.drive, each.mount] += 1
    for (drive, mount), total in size.items():
        whole = ", rebuilt whole" if drive in result.rebuilt else ""
        count = counted(files[drive, mount], "file")
        yield _clean(f"  {drive} at {mount}: {count}, {common.size_text(total)} {would}{whole}")
    halves: dict[tuple[str, str], list[str]] = {}
    for half in result.removed:
        halves.setdefault((half.drive, half.mount), []).append(half.path)
    for (drive, mount), paths in halves.items():
        more = f" and {len(paths) - _STRAYS:,} more (--json names them)" if len(paths) > _STRAYS else ""
        what = "would be removed" if result.dry_run else "removed"
        yield _clean(f"  {drive} at {mount}: {what}, left by an interrupted write: {', '.join(paths[:_STRAYS])}{more}")
    if len(result.repaired) < result.repaired_files:
        yield f"  {result.repaired_files:,} files in all"


def _amounts(result: RepairReport) -> Iterator[str]:
    """What was read for what; a dry run knows no blocks: they are known once they are rebuilt."""
    looked, read, written = map(common.size_text, (result.verified_bytes, result.bytes_read, result.bytes_written))
    why = "to prove what an earlier run had written" if result.scope == "onto" else "to find what is wrong"
    first = f"read {looked} {why}" if result.verified_bytes else ""
    if result.dry_run:
        if first:
            yield first
        would = [f"read about {read}"] * bool(result.bytes_read) + [f"write {written}"] * bool(result.repaired_files)
        if would:  # of what is lost it reads what there is, and writes nothing
            yield f"repairing it would {' and '.join(would)}"
        return
    rest = f"{written} written" if result.bytes_written else ""
    if result.bytes_read:
        rest = f"read {read} to rebuild {counted(result.rebuilt_blocks, 'block')}, {written} written"
    took = f"in {common.duration_text(result.seconds)}"
    yield f"{'; '.join(filter(None, (first, rest))) or 'read no pack'}, {took}"


def _next(result: RepairReport, refusal: BadInput | None) -> Iterator[str]:
    """What the one who stands there is to do, most urgent first."""
    for way in result.in_the_way:
        yield f"move sealift/{way.path} on {way.mount} away (sealift did not make it), then the same command again"
    for each in result.failing if _wants_failing(result) else ():
        yield of_failing(_who(each))
    failing = {each.mount for each in result.failing}
    for bad in result.unwritable:
        yield _see_to(bad, fails=bad.mount in failing)
    for silent in result.unreadable:
        yield (
            f"{_who(silent)}: plug it in and mount it again (see `dmesg`, its cable and bay), then the same command "
            "again: what was written counts; if it stays silent, leave it away: it is one more that is missing"
        )
    yield from of_silent(result.left)
    yield from _see_to_hosts(result)
    if result.dry_run and (result.repaired_files or result.removed):
        yield f"{refusal}: {refusal.hint}" if refusal else "the same command without --dry-run"
        if result.lost:
            yield _fetch(result)
        return
    for gone in result.gone:
        yield of_gone(gone.group, gone.path, gone.sent, missing=bool(result.missing_here))
    yield from (notice for notice in result.notices if notice.endswith(BARE))
    unlisted = {gone.group for gone in result.gone}
    if result.lost or set(result.short) - unlisted:
        yield _fetch(result)
        if NO_SEAL in result.notices:
            yield (
                "where the shipment is not sealed yet: keep the source, and run `sealift pack` once more with all of "
                "its drives before it is: `sealift seal` knows by that what is lost"
            )
    elif result.missing_here and not result.gone:
        yield "--onto MNT rebuilds a missing drive onto an empty one"
    if result.unseen and result.scope in {"report", "health"}:
        yield "attach the drives that the report names, and the others of their groups, and run the same command again"
    named = {(each.mount, each.path) for each in result.in_the_way}
    failed = {each.mount for each in result.unwritable}
    nowhere = {gone.path for gone in result.gone}
    away = {each.mount for each in result.away}
    unsigned: dict[str, list[Fault]] = {}
    conflicts = [fault for fault in result.left if fault.kind == "conflict"]
    yield from of_nobodys(result.left)
    yield from of_twins(conflicts)
    twins = {(fault.drive, fault.mount) for fault in conflicts}  # what else is wrong with them is mended then
    untold = unidentified(result.left)
    for mount in sorted(untold):
        yield of_unidentified(mount, missing=bool(result.missing_here), lost=bool(result.lost or result.short))
    for fault in result.left:
        if fault.mount in untold:
            continue
        if fault.mount in away or fault.detail == OF_HOSTS or is_silent(fault):
            continue  # spoken of
        if (fault.path in nowhere and fault.detail == _NOWHERE) or _is_of_lost(fault, result):
            continue
        if (fault.mount, fault.path) in named or (fault.mount in failed and fault.kind not in _NOT_SIGNED):
            continue
        if fault.kind == "conflict" or is_nobodys(fault) or (fault.drive, fault.mount) in twins:
            continue
        if fault.kind == "unreadable" and fault.mount in failing:
            continue
        if fault.kind == "unexpected" and fault.detail != NO_FILE:
            unsigned.setdefault(fault.mount or fault.drive, []).append(fault)
            continue
        yield _advice(fault, result)
    for where, faults in unsigned.items():
        yield _nobody_signed(where, faults)
    if NO_SEAL in result.notices:
        yield of_seal(result.left)
    if _refused(result) == REFUSED:
        yield "see whose signatures --allowed-signers names"
    if result.absent:
        yield (
            f"mount drives of {_of_groups(result)} and run the same command again, or run it where they stand: nobody "
            "has looked at them here, and the drives that are here want nothing of them"
        )
    if result.scope in {"onto", "report", "health"} or (result.state in {"repaired", "unseen"} and result.repaired):
        again = "once more, " if result.scope == "all" else ""
        yield f"sealift verify reads everything {again}from the medium"


def _wants_failing(result: RepairReport) -> bool:
    """Whether something is lost that a drive whose medium fails might have given."""
    return bool(result.failing and result.lost)


def _beware(result: RepairReport) -> Iterator[str]:
    """Of drives whose medium fails, and that nothing is wanted of: told last, so that it stays on the screen."""
    for bad in result.failing if not _wants_failing(result) else ():
        if result.scope == "onto":
            yield (
                f"{bad.mount}: see `dmesg`, its cable and bay; then `sealift repair` without --onto mends what did not "
                f"read; a drive that takes no more is left away: {bad.drive} is then one more that is missing"
            )
            continue
        written = "would be" if result.dry_run else "was"
        yield (
            f"{_who(bad)} FAILS: blocks of it did not read, and what {written} written there may not stay. see `dmesg`,"
            f" its cable and bay; or leave {bad.mount} away, and --onto NEW makes {bad.drive} on an empty drive, where "
            "its group can do without it"
        )


def _fetch(result: RepairReport) -> str:
    fetch = f"--fetch-list says what must be sent again. {SENT_AGAIN}"
    old = (
        f"the media on which {', '.join(result.replaced[:20])} were packed before they were rebuilt"
        if len(result.replaced) > 1
        else f"the medium on which {''.join(result.replaced)} was packed before it was rebuilt, if that is another"
    )
    come = ["the drive that fell silent"] * bool(result.unreadable)
    come += ["the drives that are missing"] * bool(_elsewhere(result)) + [old] * bool(result.replaced)
    if (begun := _begun(result)) and not result.failing:  # else those that did not read may have it
        media = "medium" if len(begun) == 1 else "media"
        packed = f"{', '.join(begun[:20])} {common.were(len(begun))} packed"
        come.append(f"the {media} on which {packed}, where that is found (then without --onto)")
    return f"mount {' and '.join(come)}, or {fetch}" if come else fetch


def _see_to_hosts(result: RepairReport) -> Iterator[str]:
    """What is to be done about hosts that did not give what was signed, where something wants it."""
    if not result.away:
        return
    who = [f"{each.mount} ({each.why})" for each in result.away[:5]]
    more = f" and {len(result.away) - 5:,} more" if len(result.away) > 5 else ""
    what = f"see to the host or the way to {', '.join(who)}{more}"
    if result.state in {"damaged", "lost"}:
        what += ", and run the same command again: what was mended counts"
    if result.rebuilt and any(each.drive == each.mount for each in result.away):  # whose drive is there is not known
        what += (
            f"; where it was the address of what is rebuilt now ({', '.join(result.rebuilt[:5])}), take it off the list"
        )
    there = "`sealift verify` on that host tells whether its drive is at fault"
    yield f"{what}; {there}" if any("not what was signed" in each.why for each in result.away) else what


def _see_to(bad: Unwritable, *, fails: bool) -> str:
    """What to do about a drive that failed when it was written; `fails`: it did not read either."""
    who, first = _who(bad), {
        "read-only": "mount it writable (if it was, its filesystem met an error: see `dmesg`)",
        "full": "free room on it: a file is written beside the one that it replaces",
        "denied": "give yourself the right to write there (`ls -ld` says whose it is; `lsattr -d` what is immutable)",
        "gone": "plug it in and mount it again",
        "failed": "see `dmesg`, and to its cable and bay",
    }[bad.why]  # fmt: skip
    if bad.why == "denied":
        return f"{who}: {first}, then the same command again; nothing says that the drive is at fault"
    if bad.onto:
        return f"{who}: {first}, then the same command again; or give another empty drive to --onto"
    if fails and not bad.spare:
        return f"{who}: {first}, then the same command again"  # a copy would stop at what does not read
    give_up = (
        f"leave {bad.mount} away, and --onto NEW makes {bad.drive} on an empty drive from the others"
        if bad.spare
        else f"copy its sealift/ folder to another drive (cp -a), leave {bad.mount} away and mend the copy"
    )
    return f"{who}: {first}, then the same command again; if that does not help, {give_up}"


def _is_of_lost(fault: Fault, result: RepairReport) -> bool:
    """Whether it is of a pack in a stripe of which something is lost: it stays as it is, and has been spoken of."""
    match = PACK_FILE.fullmatch(fault.path or "")
    return match is not None and int(match[2]) in {lost.stripe for lost in result.lost}


def _nobody_signed(where: str, faults: list[Fault]) -> str:
    """Of all such files on a drive: one line, which never says that sealift/ itself is to be moved."""
    places = sorted(f"sealift/{_place(each)}" for each in faults if each.path or each.path_b64)
    more = next((each for each in faults if each.detail.startswith(MORE)), None)
    if more is not None:
        folder = f"sealift/{_place(more)}" if more.path or more.path_b64 else "sealift/ itself"
        return (
            f"nobody signed over {len(faults) - 1:,} files on {where}, most of them in {folder}, and repair removes "
            "nothing: move them away yourself, and leave the packs that sealift/B3SUMS names, and what sealift wrote"
        )
    if not places and faults[0].detail.endswith("sealift is not a folder"):
        return f"sealift on {where} is no folder, and repair removes nothing: move it away yourself"
    if not places:
        return f"not all in sealift/ on {where} could be listed ({faults[0].detail}): move away what nobody knows there"
    if len(places) == 1:
        return f"nobody signed {places[0]} on {where}, and repair removes nothing: move it away yourself"
    which = f"{places[0]} and {len(places) - 1:,} more, which --json names"
    first = f"nobody signed {len(places):,} files on {where} ({which})"
    return f"{first}, and repair removes nothing: move them away yourself"


def _advice(fault: Fault, result: RepairReport) -> str:
    where = fault.mount or fault.drive
    if fault.kind in {"foreign", "replayed"}:
        what = f"leave {where} away" if where.startswith("s3://") else f"pull {where}"
        return f"{what}: it does not belong to this shipment as it was sealed; it does no harm here"
    if fault.detail == DOUBTED:
        return (
            f"nothing is written at {where}: mount a drive of each group with it, with its packs.bin and blocks.bin, "
            f"which tell whose packs these are; or leave it away, and `--onto` an empty drive makes {fault.drive} anew"
        )
    if fault.detail in {STRANGE_PACKS, NO_FILE}:
        return of_strange(where, fault.path or "", no_file=fault.detail == NO_FILE)
    if fault.kind == "missing" and fault.path == "":
        return of_no_drive(where, fault.detail)
    if fault.path == "blocks.bin" and fault.detail == _NOWHERE and (match := _ID.fullmatch(fault.drive)):
        return of_gone(int(match[1]), fault.path, "", missing=bool(result.missing_here))
    if fault.path == "manifest.json.sig" and fault.detail == _NOWHERE and (match := _ID.fullmatch(fault.drive)):
        return of_signature(int(match[1]), missing=bool(result.missing_here))
    if (fault.path or "").startswith("seal/"):
        return of_seal(result.left)
    if fault.kind in {"two-manifests", "undeclared", "unsigned"}:
        return f"ask the origin about {where}: {fault.detail}"
    if result.scope == "onto":
        return "`sealift repair` without --onto mends what was met on the other drives"
    if result.scope != "all" and fault.detail.endswith(MET):
        return "`sealift repair` without --report mends what was met on drives besides what the report names"
    return "mount the drives that have it whole, if there are any, and run the same command again; else ask the origin"


def _clean(text: str) -> str:
    """Text from a drive, for a screen."""
    return common.path_text(text.encode(errors="replace"))
