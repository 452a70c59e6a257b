"""A call in a child process: a signal ends it at once, and its result and its errors arrive as from a direct call."""

import itertools
import multiprocessing
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from calque.errors import ResourceError
from calque.system.forks import call_in_child
from calque.system.signals import Interrupted, Interruption


def long_call() -> bytes:
    """Run C code for many seconds, without a moment at which Python runs a signal handler."""
    deque(itertools.repeat(0, 2 * 10**9), maxlen=0)
    return b""


@pytest.fixture
def handlers() -> Iterator[None]:
    """Check that the handlers and the mask of signals are afterwards as before."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before
    assert not set(numbers) & signal.pthread_sigmask(signal.SIG_BLOCK, [])


@contextmanager
def ended_within_a_second_of(number: signal.Signals) -> Iterator[None]:
    """Send this process a signal from another one after a while; check that the block ends within a second."""
    began = time.monotonic()
    with subprocess.Popen(["sh", "-c", f"sleep 0.2; kill -{number.value} {os.getpid()}"]):
        yield
        seconds = time.monotonic() - began
    assert 0.2 <= seconds < 1.2
    assert not multiprocessing.active_children()


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_call_into_c_within_a_second(number: signal.Signals) -> None:
    with (
        ended_within_a_second_of(number),
        Interruption() as interruption,
        pytest.raises(Interrupted) as raised,
        interruption.raising(),
    ):
        call_in_child(long_call, "counting")
    assert raised.value.number == number


@pytest.mark.usefixtures("handlers")
def test_ctrl_c_without_calques_handler_is_a_keyboard_interrupt() -> None:
    with ended_within_a_second_of(signal.SIGINT), pytest.raises(KeyboardInterrupt):
        call_in_child(long_call, "counting")


@pytest.mark.usefixtures("handlers")
def test_a_signal_that_is_only_noted_does_not_end_the_call() -> None:
    with Interruption() as interruption:

        def sending() -> bytes:
            os.kill(parent, signal.SIGTERM)
            time.sleep(0.1)
            return b"result"

        parent = os.getpid()
        assert call_in_child(sending, "sending") == b"result"
    assert interruption.signal == signal.SIGTERM


def test_a_signal_to_the_child_does_not_end_it() -> None:
    """A terminal sends SIGINT to every process; only the parent decides what it means."""

    def sending() -> bytes:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        return b"result"

    assert call_in_child(sending, "sending") == b"result"


def test_an_error_is_raised_in_the_parent() -> None:
    def fail() -> bytes:
        raise RuntimeError("required_chars 18 vs 10")

    with pytest.raises(RuntimeError, match=r"^required_chars 18 vs 10$"):
        call_in_child(fail, "failing")


def test_a_killed_child_is_a_resource_error() -> None:
    def die() -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    with pytest.raises(ResourceError, match="that was learning a vocabulary was killed"):
        call_in_child(die, "learning a vocabulary")


def test_a_large_result_arrives_whole() -> None:
    assert call_in_child(lambda: bytes(5_000_000), "writing") == bytes(5_000_000)


def test_another_thread_does_not_fork() -> None:
    """A child that another thread forks may wait forever for a lock that the main thread held."""
    with ThreadPoolExecutor(1) as pool:
        number = pool.submit(call_in_child, lambda: str(os.getpid()).encode(), "asking").result()
    assert int(number) == os.getpid() != int(call_in_child(lambda: str(os.getpid()).encode(), "asking"))
