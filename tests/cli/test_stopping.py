"""A wish to stop is not lost where its exception is."""

import os
import signal
import subprocess
import sys
import threading
import weakref

import pytest

from sealift.cli import main as command
from sealift.cli import stopping
from sealift.cli.stopping import Stop
from sealift.errors import BadInput


class Thing:
    pass


def test_what_a_finalizer_swallowed_is_raised_at_the_next_step_and_not_printed():
    stop = Stop()
    thing = Thing()
    weakref.finalize(thing, lambda: os.kill(os.getpid(), signal.SIGINT))
    with stop.signals([signal.SIGINT]):
        stop.check()
        thing = None  # the finalizer runs, and Python swallows what it raises
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            stop.check()


def test_the_handlers_before_are_there_again():
    before = signal.getsignal(signal.SIGINT)
    with Stop().signals([signal.SIGINT]):
        assert signal.getsignal(signal.SIGINT) is not before
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_error_made_of_an_interruption_is_told_as_one(monkeypatch, capsys, number):
    def sort(*_arguments, **_options):
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            raise BadInput("the index cannot be sorted") from None

    monkeypatch.setattr(command.cli, "main", sort)
    assert command.run([]) == 130
    assert "interrupted" in capsys.readouterr().err
    monkeypatch.setattr(command.cli, "main", lambda *_a, **_o: (_ for _ in ()).throw(BadInput("bad")))
    assert command.run([]) == 1


HELD = """
import os, signal, threading
from sealift.cli import stopping

told = threading.Event()

def watch():
    stopping.look_on()
    begun.set()
    for _ in range(500):
        if stopping.asked():
            os.write(1, b"it was told")
            break
        told.wait(0.01)
    told.set()

begun = threading.Event()
with stopping.Stop().signals([signal.SIGINT]):
    threading.Thread(target=watch).start()
    begun.wait()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # as it is while a drive holds it in the kernel
    os.kill(os.getpid(), signal.SIGINT)
    told.wait()
    os.write(1, b", and the main thread was held")
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
"""


def test_a_thread_knows_of_it_while_nothing_reaches_the_main_thread():
    ended = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout == "it was told, and the main thread was held"
    assert ended.stderr.endswith("KeyboardInterrupt\n"), "the signal itself is left to the main thread"


def test_a_signal_that_asks_for_something_else_stops_nothing():
    with Stop().signals([signal.SIGTERM]):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        try:
            signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
            assert not stopping.asked()
        finally:
            signal.sigtimedwait([signal.SIGUSR1], 0)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    assert not stopping.asked()
