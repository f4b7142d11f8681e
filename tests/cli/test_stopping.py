"""A wish to stop is not lost where its exception is."""

import os
import signal
import weakref

import pytest

from sealift.cli import main as command
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
