"""What sealift's own tests stand on, for those who build on it.

    DriveStoreTests     the contract of drives.base.Drive as a pytest class: subclass it, give a fixture `drive`
    FleetSimulator      drives in memory or on folders that are lost, rot, fill up, fail, lie and go away on request
    Origin              keys, declaration and release for packing onto them

Shipped with the package and documented in docs/testing.md; nothing of sealift imports it. It needs pytest
and hypothesis. No expectation about a stage is here: what verify or repair must say of a fleet is for the tests.
"""

from __future__ import annotations

try:
    import pytest

    pytest.register_assert_rewrite("sealift.testing.contract")  # so that a failure shows its values
    from sealift.testing.contract import DriveStoreTests
except ModuleNotFoundError as error:
    if error.name not in {"pytest", "hypothesis"}:
        raise
    raise ImportError(
        f"sealift.testing needs {error.name}, which is not installed: pip install pytest hypothesis", name=error.name
    ) from error
from sealift.testing.fleet import FleetSimulator
from sealift.testing.origin import Origin

__all__ = ["DriveStoreTests", "FleetSimulator", "Origin"]
