"""The audit bundle, made and verified: offline, with nothing but its bytes and the allowed signers.

    make      papers -> one archive with an index that is signed; what it says of itself
    verify    an archive -> every finding by file, and what holds

What holds: a bundle that `make` writes was decoded once more and compared before it has its name, and nothing was in
its place. It is written whatever its records say: a shipment that went wrong is what an audit is for; the findings say
so. `verify` writes nothing, extracts nothing and knows nothing but what it is given.

What is not here: which files belong into it (audit_collect.py), what they must hold together (audit_judge.py).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, NamedTuple

from sealift.errors import BadInput, FormatError, Refused, SealiftError, SignatureInvalid
from sealift.formats import audit
from sealift.formats.audit import Audit, AuditFile
from sealift.stages import audit_collect, audit_judge
from sealift.stages.audit_case import EXIT, Finding
from sealift.trade import audit as audits
from sealift.trade import signing
from sealift.trade.receipt import instant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sealift.formats.allowed_signers import AllowedSigners, Signer
    from sealift.stages.audit_case import State
    from sealift.trade.signing import Signer as SigningKey

CLOCKS = timedelta(days=1)  # by which clocks are set wrong, and time zones differ, before it is said
_STATES: tuple[State, ...] = ("wrong", "look", "missing", "pending")


@dataclass(frozen=True)
class Verified:
    """What a bundle is: its files, its index and who signed that (None: it does not hold), and what was found."""

    files: Mapping[str, bytes]
    index: Audit | None
    signer: Signer | None
    findings: list[Finding]
    holds: list[str]

    @property
    def exit_code(self) -> int:
        """5: something does not hold; 3: people must look at something; 6: something bound is not here; 0."""
        found = {finding.state for finding in self.findings}
        return next((EXIT[state] for state in _STATES if state in found), 0)

    def of(self, state: State) -> list[Finding]:
        """Findings of one state."""
        return [finding for finding in self.findings if finding.state == state]


_PACKED = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ\0", "xz"), (b"BZh", "bzip2"))
_MAGIC = 257  # of the first header of a tar archive


class Made(NamedTuple):
    """A bundle that was written: its length and BLAKE3, what it is, what is not in it, and what was given damaged."""

    path: str
    bytes: int
    blake3: str
    verified: Verified
    left_out: list[str]
    left_out_total: int
    damaged: list[str]


def make(
    papers: Sequence[str], to: str, signer: SigningKey, allowed_file: str, allowed: AllowedSigners, now: datetime
) -> Made:
    """Collect, sign and write. BadInput, KeyInvalid; SignatureInvalid for a key that may not sign a bundle."""
    if os.path.lexists(to):
        raise BadInput(f"{to} is there already; nothing was changed", hint="give another name")
    made_at = now.astimezone(UTC).strftime(audits.TIME)
    lines = [line for line in allowed.lines if line.key == signer.public_key]
    by = next((line for line in lines if line.objection(audit.NAMESPACE, now, None) is None), None)
    if by is None:
        raise SignatureInvalid(
            f"the allowed signers do not let this key sign a bundle: {signer.public_key.fingerprint}",
            hint=f'a line of them names it, with namespaces="{audit.NAMESPACE}" or without namespaces',
        )
    collected = audit_collect.sort(papers)
    files = dict(collected.files)
    files[audit.SIGNERS] = signing.read_limited(allowed_file, 1 << 20, "allowed signers file")
    files[audit.OPEN_ME] = audits.open_me(files, allowed, made_at, by.principals)
    files[audit.SUMS] = audit.sums(_rows(files))
    record = Audit(made_at=made_at, shipments=audit.shipments(files), files=_rows(files))
    files[audit.INDEX] = audit.encode_index(record)
    files[audit.INDEX_SIG] = signer.sign(files[audit.INDEX], audit.NAMESPACE)
    data = b"".join(audit.encode_bundle(files))
    if audit.decode_bundle(data) != files:
        raise FormatError("the bundle does not read as it was written")
    verified = verify(data, allowed, now)
    signing.write_new(to, data)
    return Made(
        to, len(data), audits.digest(data), verified, collected.left_out, collected.left_out_total, collected.damaged
    )


def _rows(files: Mapping[str, bytes]) -> list[AuditFile]:
    rows = []
    for path in sorted(files):
        found = audit.describe(path)
        assert found is not None
        digest = audits.digest(files[path])
        rows.append(AuditFile(path=path, bytes=len(files[path]), blake3=digest, kind=found.kind, of=found.of))
    return rows


def verify_file(path: str, allowed: AllowedSigners, now: datetime) -> Verified:
    """The bundle in a file. BadInput: it cannot be read; Refused: it is no bundle, or not as it was written."""
    data = signing.read_limited(path, audit.MAX_BUNDLE, "bundle")
    if packer := next((name for magic, name in _PACKED if data.startswith(magic)), None):
        raise Refused(
            f"{path} is compressed by {packer}, and no bundle is", hint=f"uncompress it with {packer} -d first"
        )
    try:
        return verify(data, allowed, now)
    except FormatError as error:
        hint = "it was altered, or is no bundle: ask for another copy"
        if data[_MAGIC : _MAGIC + 5] == b"ustar":
            hint = (
                "somebody packed the files again, which is no fault, or it was altered; a bundle is verified as it was"
                " written: ask for that file, or unpack this one in an empty folder and follow its OPEN-ME.txt"
            )
        raise Refused(f"{path}: {error}", hint=hint) from error


def verify(data: bytes, allowed: AllowedSigners, now: datetime) -> Verified:
    """Check every byte of a bundle; `now` is an aware time. FormatError for an archive that is none.

    1. The archive is byte for byte what a writer makes of its files.
    2. audit.json is canonical, and an allowed signer for `sealift-audit` signed it, who was one at `made_at`.
    3. It names every file that is here with length and BLAKE3, and no other; B3SUMS says the same.
    4. Every file that belongs to another has that beside it.
    5. The records hold what audit_judge.py asks, by `made_at`, or by `now` if the index does not parse.
    """
    files = audit.decode_bundle(data)
    found: list[Finding] = []
    index, signer = _index(files, allowed, found, now)
    if index is not None:
        _compare(files, index, found)
    for path in files:
        described = audit.describe(path)
        of = described.of if described else ""
        if "/" in of and of not in files and "/custody/" not in of:
            found.append(Finding(of, "missing", f"{path} is of it, and it is not here"))
    at = min(instant(index.made_at, audit.INDEX), now) if index is not None else now
    judged = audit_judge.judge(files, allowed, at)
    findings = sorted({*found, *judged.findings}, key=lambda each: (_STATES.index(each.state), each.file, each.text))
    return Verified(files, index, signer, findings, judged.holds)


def _index(
    files: Mapping[str, bytes], allowed: AllowedSigners, found: list[Finding], now: datetime
) -> tuple[Audit | None, Signer | None]:
    found += [Finding(name, "wrong", "it is not here") for name in (*audit.FIRST, audit.SIGNERS) if name not in files]
    if audit.INDEX not in files:
        return None, None
    try:
        index = audit.decode_index(files[audit.INDEX])
        made = instant(index.made_at, audit.INDEX)
    except FormatError as error:
        found.append(Finding(audit.INDEX, "wrong", str(error)))
        return None, None
    if made > now + CLOCKS:
        found.append(Finding(audit.INDEX, "wrong", f"it says {index.made_at}, which is still to come"))
    try:
        signer = allowed.signer(files[audit.INDEX], files.get(audit.INDEX_SIG, b""), audit.NAMESPACE, made)
    except SealiftError as error:
        found += [Finding(name, "wrong", str(error)) for name in (audit.INDEX, audit.INDEX_SIG)]
        return index, None
    return index, signer


def _compare(files: Mapping[str, bytes], index: Audit, found: list[Finding]) -> None:
    """Every file beside what the index says of it."""
    named = {row.path: row for row in index.files}
    put_in = sorted(set(files) - set(named) - {audit.INDEX, audit.INDEX_SIG})
    found += [Finding(path, "wrong", "the index does not name it: it was put in") for path in put_in]
    for path, row in named.items():
        if path not in files:
            found.append(Finding(path, "wrong", "the index names it, and it is not here: it was taken out"))
        elif (len(files[path]), audits.digest(files[path])) != (row.bytes, row.blake3):
            found.append(Finding(path, "wrong", "it is not what the index says: it was altered or exchanged"))
    if files.get(audit.SUMS) != audit.sums(index.files):
        found.append(Finding(audit.SUMS, "wrong", "it says other digests than the index"))
