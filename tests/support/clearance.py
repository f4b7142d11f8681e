"""What a release wants beside a complete declaration: a screening that finds nobody, and keys that were proved."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import filled

from sealift.formats import age_keys
from sealift.stages import keys as proving
from sealift.stages import screen as screening
from sealift.trade import declaration as declarations

if TYPE_CHECKING:
    from pathlib import Path

    from sealift.trade.signing import Signer

SCREENING, KEYS = "sealift-screening", "sealift-keys"
NOBODY = "id,name\n1,Zyxomma Qwrtplk\n"
TOML = (
    'type = "sealift-list"\nversion = 1\nfile = "nobody.csv"\nformat = "csv"\n[columns]\nid = "id"\nnames = ["name"]\n'
)


def clear(file: Path, signer: Signer, identities: dict[str, str] | None = None) -> Path:
    """Screen the declaration in `file` and prove the keys of its recipients, all signed by `signer`; the list.

    `identities` are those of its recipients, by recipient; those of filled.RECIPIENTS are known.
    """
    listed = screen(file, signer)
    prove(file, signer, identities)
    return listed


def screen(file: Path, signer: Signer) -> Path:
    """A screening beside `file` against a list of nobody; the list."""
    file.with_name("nobody.csv").write_text(NOBODY)
    listed = file.with_name("nobody.toml")
    listed.write_text(TOML)
    screening.screen(
        str(file), screening.load_lists([str(listed)], fetched=datetime.now(UTC)), signer, by="Sam Screener"
    )
    return listed


def prove(file: Path, signer: Signer, identities: dict[str, str] | None = None, by: str = "Dana Engineer") -> None:
    """A record of keys beside `file` by which every recipient passed, recorded by `by`, who waives what is lacking."""
    parsed = declarations.parse(file.read_bytes(), draft=True)
    folder = file.with_name("samples")
    made = proving.challenge(str(file), str(folder), signer, by=by)
    known = filled.IDENTITIES | (identities or {})
    answers = []
    for holder, _, sample in made.samples:
        identity = age_keys.parse_identities((known[holder.recipient] + "\n").encode())
        answers.append(proving.load_answer(proving.answer(sample, identity).path))
    waive = "a copy is in the safe" if len(parsed.encryption.recipients) == 1 else None
    proving.check(str(file), answers, signer, by=by, waive=waive)


def allow(names: str, key: str) -> str:
    """A line of allowed signers for whoever may do all of that and release."""
    return f'{names} namespaces="sealift-release,{SCREENING},{KEYS}" {key}\n'
