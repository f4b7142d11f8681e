"""--replace OLD=NEW where NEW cannot be it: what is refused, before anything is written, and what is said to help."""

import pytest
import shipments
from test_failing_drives import Packing
from test_presence import stopped

from sealift.errors import BadInput


def replaced(packing, monkeypatch, stripe=2):
    """Stop when `stripe` is committed, and declare the first spare in the place of a drive that is gone: both."""
    stopped(packing, monkeypatch, stripe)
    old, new = packing.mounts[1], packing.spares[0]
    packing.fleet.go_away(old)
    packing.declare(old, new)
    return old, new


def test_the_hint_of_a_new_drive_that_holds_something_leads_on(tmp_path, monkeypatch):
    packing = Packing(tmp_path)
    old, used = replaced(packing, monkeypatch)
    shipments.write(f"{used}/sealift/precious", b"data")
    with pytest.raises(BadInput, match=r"holds files but no drive\.json") as caught:
        packing.pack(replace={old: used})
    assert f"one that is empty: --replace {packing.origin.serial(old)}=MNT" in caught.value.hint
    assert packing.origin.serial(used) not in caught.value.hint, "it has no place in this packing"
    new = packing.spares[1]
    packing.declare(used, new)
    assert packing.pack(replace={packing.origin.serial(old): new}).exit_code == 0
    packing.origin.mounts[1] = new
    packing.ends_well()
