"""Calls of obstore: a signal ends the waiting for a store at once, and an error of one holds nothing."""

import gc
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref

import pytest

from sealift.drives.http_client import CUT, Failed, patiently
from sealift.drives.object_client import interruptible
from sealift.drives.ranges import Traffic

LISTING = """
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from sealift.drives.object_prefix import ObjectPrefix
print("begun", flush=True)
list(ObjectPrefix("s3://bucket/prefix").objects())
"""


def test_a_signal_ends_the_waiting_for_a_store(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        with subprocess.Popen([sys.executable, "-c", LISTING], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as asks:
            assert asks.stdout.readline() == b"begun\n"
            connection, _ = silent.accept()
            begun = time.monotonic()
            asks.send_signal(signal.SIGINT)
            _, errors = asks.communicate(timeout=30)
            connection.close()
    assert b"KeyboardInterrupt" in errors
    assert time.monotonic() - begun < 8


def test_who_asks_gets_what_comes_of_it_and_an_error_holds_nothing():
    class Held:
        pass

    def fails(held):
        assert threading.current_thread() is not threading.main_thread()
        raise ValueError(str(held is not None))

    held = Held()
    seen = weakref.ref(held)
    gc.disable()
    try:
        with pytest.raises(ValueError, match="True"):
            interruptible(fails, held)
        del held
        assert seen() is None, "the lock of a bucket is one's that is let go"
    finally:
        gc.enable()
    assert interruptible(divmod, 7, 2) == (3, 1)


@pytest.mark.parametrize(("wait", "attempts"), [(0.3, 2), (0.0, 1)])
def test_a_host_that_says_when_to_come_again_is_asked_again(wait, attempts):
    """Once at least, also by who would not wait for one that says nothing."""
    asked = []

    def attempt():
        asked.append(time.monotonic())
        raise Failed(CUT, 20.0, wait)

    with pytest.raises(Failed):
        patiently(attempt, Traffic(), 0.01, int)
    assert len(asked) == attempts
    assert asked[-1] - asked[0] >= wait
