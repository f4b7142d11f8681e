"""One real shipment of three drives, and hosts that serve it."""

import shutil
from types import SimpleNamespace

import pytest
import serving
import shipments

from sealift.formats import seal as seals


@pytest.fixture(scope="session")
def packed(tmp_path_factory):
    """A shipment of 2+1 drives and its seal, not to be changed."""
    root = tmp_path_factory.mktemp("served")
    origin = shipments.Origin(root / "origin", shipments.corpus(root / "source"), 2, 1)
    origin.pack()
    files = origin.seal()
    (root / "sent.seal").write_bytes(seals.encode_bundle(files))
    return SimpleNamespace(origin=origin, seal=files, seal_file=root / "sent.seal", allowed=origin.root / "allowed")


@pytest.fixture
def drives(packed, tmp_path):
    """Copies of the three drives, to be broken."""
    mounts = [tmp_path / f"mnt{number}" for number in range(3)]
    for mount, original in zip(mounts, packed.origin.mounts, strict=True):
        shutil.copytree(original, mount)
    return mounts


@pytest.fixture(scope="session")
def host(packed, tmp_path_factory):
    """One host with all three drives, over TLS, with a token; nothing of it is changed."""
    folder = tmp_path_factory.mktemp("host")
    tls = serving.certificates(folder)
    with serving.serving(
        *packed.origin.mounts, tls=tls, token=serving.TOKEN, file=serving.token_file(folder)
    ) as running:
        yield running
