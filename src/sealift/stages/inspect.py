"""Inspect: what is here, what is not, what is readable and recoverable, in seconds; no key is needed.

Looks at names, lengths and small files only: a pack of the right length counts as readable, whatever is in
it, and only `verify` can say more. `complete` is said only against a seal: every drive of every group it
names is here (or in another host's report) and nothing is wrong with any; mounts that are no drive of it are named,
and take nothing from that. `recoverable`: what is here gives every byte. `unseen`: it does not, and more drives may
come; or there is no seal. `lost`: it does not, and no drive that may come can change that (with `final`: none will).
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from sealift.errors import BadInput, Refused
from sealift.reading.survey import refuse_others, survey
from sealift.reading.trust import check_reply
from sealift.stages import verify_bags
from sealift.stages import verify_join as join
from sealift.stages.verify_read import DriveCheck
from sealift.stages.verify_report import MAX_FAULTS, Answers, Fault, InspectReport, InspectState, Report, of_ours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealift.drives.base import Drive
    from sealift.formats.allowed_signers import AllowedSigners
    from sealift.formats.seal import Seal
    from sealift.reading.origin_copies import OriginCopies
    from sealift.reading.survey import Survey
    from sealift.reading.trust import TrustedSeal
    from sealift.stages.verify_join import Case


def inspect(
    places: Sequence[str | Drive],
    *,
    allowed: AllowedSigners | None = None,
    seal: dict[str, bytes] | None = None,
    shipment: str | None = None,
    parts: Sequence[tuple[str, bytes]] = (),
    final: bool = False,
    outbound: TrustedSeal | None = None,
    later: Sequence[Seal] = (),
    origin: OriginCopies | None = None,
) -> InspectReport:
    """Look at every drive at `places`; parameters as stages.verify.verify, errors too.

    With `outbound` also Refused unless the shipment answers it, and `later` too (trust.check_reply).

    Without `allowed` no signature is believed: the report says what the drives claim, and `signature` is
    None.
    """
    begun = time.monotonic()
    found = survey(places, allowed=allowed, seal=seal, shipment=shipment)
    if not parts:
        refuse_others(found)
    answers = None if outbound is None else _answers(found, outbound, later)
    known, reports = join.cases(found, parts)
    join.refuse_other_seals(found, reports)
    if not known and all(view.standing == "empty" for view in found.views):
        raise BadInput(
            "none of these mounts holds a drive of sealift: " + ", ".join(view.mount for view in found.views[:10]),
            hint="mount the drives, and give the folders in which their sealift/ folder is",
        )
    checks = [
        DriveCheck(view, group, view.slot)
        for group in found.groups
        if group.trusted or allowed is None
        for view in group.views
        if view.slot is not None
    ]
    with ThreadPoolExecutor(max_workers=min(32, len(checks) or 1)) as pool:
        list(pool.map(DriveCheck.check_presence, checks))
    verify_bags.tell_mixed(checks)
    verify_bags.tell_no_files(found)
    for check in checks:
        entry = join.present_checked(check, verified=False)
        known[check.group.group].copies.setdefault(check.slot, []).insert(0, entry)
    if origin is not None:
        join.note_spares(known, origin)
    faults = _faults(found, checks, reports)
    state = state_of(found, list(known.values()), reports, faults, final=final)
    return InspectReport(
        shipment=found.shipment,
        state=state,
        groups=[case.report() for _, case in sorted(known.items())],
        groups_total=join.groups_total(found, reports),
        drives_total=join.drives_total(found, reports),
        seal=join.seal_report(found, reports),
        signature=None if allowed is None else join.signature(found, reports),
        faults=faults[:MAX_FAULTS],
        faults_omitted=max(0, len(faults) - MAX_FAULTS) + sum(check.omitted for check in checks),
        notices=_notices(found, checks) + (join.not_needed(faults) if state == "complete" else []),
        final=final,
        seconds=time.monotonic() - begun,
        answers=answers,
    )


def _answers(found: Survey, outbound: TrustedSeal, later: Sequence[Seal]) -> Answers:
    if found.trusted is None:
        raise Refused(
            "there is no seal that holds, so nobody can say what this shipment answers",
            hint="--seal FILE as it was sent, and --allowed-signers FILE",
        )
    signer = check_reply(found.trusted, outbound, later)
    answered = outbound.seal
    return Answers(
        shipment=answered.shipment,
        consignment=answered.consignment_id,
        signer=signer.principal,
        fingerprint=signer.fingerprint,
    )


def _faults(found: Survey, checks: list[DriveCheck], reports: Sequence[tuple[str, Report]]) -> list[Fault]:
    by_view = {id(check.view): check for check in checks}
    faults: list[Fault] = []
    for view in found.views:
        check = by_view.get(id(view))
        if check is not None and (old := join.superseded(check, checks)) is not None:
            faults.append(old)
            continue
        faults += [join.fault(view, problem) for problem in view.problems]
        if check is not None:
            faults += [join.fault_at(view, each.path, each.kind, each.detail, each.block) for each in check.faults]
    return faults + join.part_faults(reports)


def state_of(
    found: Survey, known: list[Case], reports: Sequence[tuple[str, Report]], faults: list[Fault], *, final: bool
) -> InspectState:
    """What all of it comes to; `faults` are those that are reported."""
    unknown = join.groups_unknown(found, {case.group: case for case in known}, reports) > 0
    enough = not unknown and all(case.copies and not case.is_lost(final=True) for case in known)
    if not enough:
        return "lost" if final or any(case.is_lost(final=False) for case in known) else "unseen"
    if found.seal is None:
        return "unseen"
    empty = {join.words(view.mount) for view in found.views if view.standing == "empty"}
    wrong = any(fault.mount not in empty or fault.part for fault in of_ours(faults))
    return "recoverable" if wrong or any(case.absent or case.unreached for case in known) else "complete"


def _notices(found: Survey, checks: list[DriveCheck]) -> list[str]:
    notices = list(found.notices)
    if found.seal is None:
        notices.append(join.NO_SEAL)
        notices += [f"a seal on a drive does not hold: {why}" for why in found.seal_failures]
    elif found.trusted is None:
        notices.append("no allowed signers were given: neither the seal nor any manifest was checked against them")
    notices += join.seal_notices(found)
    first: dict[tuple[int, int], DriveCheck] = {}
    for check in checks:
        if check.view.apart or join.superseded(check, checks) is not None:
            continue
        other = first.setdefault((check.group.group, check.slot), check)
        if other is not check:
            notices.append(
                f"{check.view.mount} and {other.view.mount} are both {check.view.name}; verify compares them"
            )
    return [join.words(notice) for notice in notices]
