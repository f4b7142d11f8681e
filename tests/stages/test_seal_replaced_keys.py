"""The packing key is replaced while drives are under way: what was signed and sealed with it stays good."""

import os
import re
import shutil
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from msgspec import UNSET
from test_seal_stage import declare, packed, refused, yard  # noqa: F401 -- fixtures

from sealift.errors import SignatureInvalid
from sealift.formats.allowed_signers import AllowedSigners
from sealift.reading.trust import load_seal, open_seal, sealed_at
from sealift.stages.verify import verify
from sealift.trade import declaration as d

STAMP = "%Y%m%d%H%M%SZ"


def replace_key(yard, first, *, ended=timedelta(0)):  # noqa: F811
    """The origin's key is valid until the first seal was made, and the stranger's from the second after on."""
    over = sealed_at(first.seal) + ended
    signers = yard.folder / "signers"
    lines = [line for line in signers.read_text().splitlines() if not line.startswith("origin@")]
    old, new = yard.keys["origin"][1], yard.keys["stranger"][1]
    after = (over + timedelta(seconds=1)).strftime(STAMP)
    lines += [f'origin@example.com valid-before="{over.strftime(STAMP)}" {old}',
              f'origin@example.com valid-after="{after}" {new}']  # fmt: skip
    signers.write_text("\n".join(lines) + "\n")
    time.sleep(max(0.0, over.timestamp() + 1 - time.time()))


def revise(yard, number=2):  # noqa: F811
    raw = Path(yard.declaration).read_bytes()
    yard.write(declare(yard.keys, yard.serials, revision=number, supersedes=d.digest(raw)))
    yard.release()


def verified(yard, result):  # noqa: F811
    seal = load_seal(result.path)
    report = verify(yard.mounts, allowed=yard.allowed, seal=seal, remember=False)
    return report.state, report.signature.ok, open_seal(seal, yard.allowed).seal


@pytest.mark.long
@pytest.mark.parametrize("kept", ["folder", "state", "drive"])
def test_a_revision_is_sealed_with_the_new_key_and_verifies(yard, kept):  # noqa: F811
    """By the first seal, wherever it is known from; drives have what was packed."""
    out = str(yard.folder / "out")
    first = yard.seal(*yard.mounts, out=out)
    replace_key(yard, first)
    revise(yard)
    if kept == "state":
        out = str(yard.folder / "elsewhere")
    elif kept == "drive":
        os.unlink(first.path)
    second = yard.seal(*yard.mounts, key="stranger", out=out)
    assert second.made
    assert {group.first_sealed_at for group in first.seal.groups} == {UNSET}
    assert {group.first_sealed_at for group in second.seal.groups} == {first.seal.sealed_at}
    assert verified(yard, second) == ("intact", True, second.seal)
    again = yard.seal(*yard.mounts, key="stranger", out=out)
    assert (again.made, again.seal) == (False, second.seal)
    revise(yard, 3)
    for path in Path(out).glob("*.[0-9].seal"):
        path.unlink()
    third = yard.seal(key="stranger", out=out)
    assert {group.first_sealed_at for group in third.seal.groups} == {first.seal.sealed_at}, "the second says it too"
    assert verified(yard, third) == ("intact", True, third.seal)


def test_sealing_the_same_again_after_the_key_was_replaced_writes_nothing_new(yard):  # noqa: F811
    first = yard.seal(*yard.mounts)
    replace_key(yard, first)
    again = yard.seal(*yard.mounts, key="stranger")
    assert (again.made, again.seal, again.superseded) == (False, first.seal, None)


def test_without_a_seal_from_when_it_was_valid_it_is_said_what_to_do(yard):  # noqa: F811
    first = yard.seal()
    (yard.folder / "away").mkdir()
    shutil.move(first.path, yard.folder / "away" / "one.seal")
    os.unlink(Path(yard.state) / "sealed")
    replace_key(yard, first)
    revise(yard)
    error = refused(
        yard, SignatureInvalid, "group 0: the key of origin@example.com was no longer valid", key="stranger"
    )
    assert "a seal of these drives that was made while the key was valid" in error.hint
    assert "valid until the drives are sealed" in error.hint
    shutil.move(yard.folder / "away" / "one.seal", first.path)
    assert yard.seal(key="stranger").made, "the hint leads on"


@pytest.mark.parametrize("change", ["struck", "never", "stolen"])
def test_a_key_that_was_not_valid_then_seals_nothing(yard, change):  # noqa: F811
    """Struck off; run out before the first seal; or the manifest is another one than that seal names."""
    first = yard.seal()
    replace_key(yard, first, ended=timedelta(seconds=-1 if change == "never" else 0))
    signers = yard.folder / "signers"
    if change == "struck":
        signers.write_text(re.sub("origin@example.com valid-before.*\n", "", signers.read_text()))
    revise(yard)
    if change == "stolen":
        for name in ("manifest.json", "manifest.json.sig"):
            shutil.copy(f"{yard.state}/groups/0001/closed/{name}", f"{yard.state}/groups/0000/closed/{name}")
    why = {"struck": "not among the allowed signers", "never": "no longer valid", "stolen": "another group's manifest"}
    with pytest.raises(Exception, match=why[change]):
        yard.seal(key="stranger")


def test_the_line_of_the_new_key_alone_trusts_nothing_of_before(yard):  # noqa: F811
    first = yard.seal(*yard.mounts)
    replace_key(yard, first)
    revise(yard)
    second = yard.seal(*yard.mounts, key="stranger")
    text = re.sub("origin@example.com valid-before.*\n", "", (yard.folder / "signers").read_text())
    allowed = AllowedSigners.parse(text.encode())
    report = verify(yard.mounts, allowed=allowed, seal=load_seal(second.path), remember=False)
    assert not report.signature.ok
