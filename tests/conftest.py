"""What tests of several folders share: a real S3 server, started when the first of them asks for it."""

import gc
import os
import sys

import pytest
from hypothesis import settings

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "support"))

import radosgw
from faulty_proxy import proxy

settings.register_profile("sealift", deadline=None)  # how long an example takes is the machine's matter
settings.load_profile("sealift")


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    """A real S3 server, one for all workers of the session."""
    radosgw.need()
    base = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        base = base.parent
    with radosgw.shared(base / "s3") as store:
        yield store


@pytest.fixture
def bucket(s3, monkeypatch):
    """The name of an empty bucket, in an environment that leads to it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return s3.make_bucket()


@pytest.fixture
def faulty(s3, bucket, monkeypatch):
    """A proxy before the server, to which the environment leads."""
    with proxy(s3.endpoint) as made:
        monkeypatch.setenv("AWS_ENDPOINT_URL", made.endpoint)
        yield made


@pytest.fixture
def impatient(monkeypatch):
    """What is not answered at once is soon asked again."""
    from sealift.drives import bucket, object_client, uploads, waiting

    monkeypatch.setattr(object_client, "ANSWER", 0.2)
    monkeypatch.setattr(object_client, "TIMEOUT", 0.4)
    monkeypatch.setattr(bucket, "_WITHIN", (0.3,))
    monkeypatch.setattr(uploads, "_WITHIN", (0.3,) * 8)
    for name, seconds in (("AFTER", 0.5), ("EVERY", 0.1), ("_POLL", 0.05)):  # longer than a request is waited for once
        monkeypatch.setattr(waiting, name, seconds)


def pytest_collection_finish() -> None:
    """What thousands of collected tests are made of stays: no collection of garbage walks through it again."""
    gc.freeze()
