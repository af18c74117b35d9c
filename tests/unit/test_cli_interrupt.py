"""Ctrl-C comes behind what belongs together, not inside it, and is not lost."""

import os
import signal

import pytest

from sidecar.cli.interrupt import Interrupt


@pytest.fixture
def interrupt():
    with Interrupt() as interrupt:
        yield interrupt
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def press():
    os.kill(os.getpid(), signal.SIGINT)


def held(interrupt, *steps):
    with interrupt.held():
        for step in steps:
            step()


def test_it_comes_behind_what_belongs_together(interrupt):
    done = []
    with pytest.raises(KeyboardInterrupt):
        held(interrupt, press, lambda: done.append("remembered"))
    assert done == ["remembered"]


def test_elsewhere_it_comes_at_once(interrupt):
    held(interrupt)
    with pytest.raises(KeyboardInterrupt):
        press()


def test_one_that_was_lost_is_made_up_for(interrupt):
    with pytest.raises(KeyboardInterrupt):
        press()
    with pytest.raises(KeyboardInterrupt):
        held(interrupt)


def test_a_second_one_is_not_held_back(interrupt):
    done = []
    with pytest.raises(KeyboardInterrupt):
        held(interrupt, press, lambda: done.append("held"), press, lambda: done.append("never"))
    assert done == ["held"]


def test_where_it_is_ignored_it_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            held(interrupt, press)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
