"""Processes forked from this one, without torch: whether and how to fork, and one call that signals can end at once.

A child that is forked after torch has started threads must not compute with torch, so this module does not import it.
"""

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from calque.errors import ResourceError

PR_SET_PDEATHSIG = 1
_STOPPING = (signal.SIGINT, signal.SIGTERM)


def can_fork() -> bool:
    """Return whether this process may fork children: on Linux, unless it is itself a daemonic child."""
    return sys.platform == "linux" and not multiprocessing.current_process().daemon


@contextmanager
def forking() -> Iterator[multiprocessing.context.ForkContext]:
    """Yield the context to fork with, without Python's warning about threads.

    The threads of torch and numpy are idle meanwhile, and no child uses them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield multiprocessing.get_context("fork")


def end_with_parent() -> None:
    """Make this child process end as soon as its parent ends."""
    parent = multiprocessing.parent_process()
    if sys.platform == "linux" and parent is not None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent.pid:
            os._exit(1)


def call_in_child(call: Callable[[], bytes], doing: str) -> bytes:
    """Return the result of a long `call` into C code, which a signal can end: the call runs in a forked child process.

    Python runs its signal handlers only between its own instructions, so in this process they would wait for the call
    to return. `call` must not use torch. Its exceptions are raised here. The call runs in this process if it cannot
    fork, and outside the main thread, which receives no signals.

    Raises ResourceError if the child is killed; `doing` describes its work in the message.
    """
    if not can_fork() or threading.current_thread() is not threading.main_thread():
        return call()
    # The child inherits the mask, so that only this process handles the signals.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        with forking() as context:
            receiver, sender = context.Pipe(duplex=False)
            child = context.Process(target=_send_result, args=(call, sender), daemon=True)
            child.start()
        sender.close()
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            result: bytes | Exception = pickle.loads(receiver.recv_bytes())
        except EOFError:
            raise ResourceError(f"the process that was {doing} was killed, perhaps because memory ran out.") from None
        finally:
            child.kill()
            child.join()
            child.close()
            receiver.close()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if isinstance(result, Exception):
        raise result
    return result


def _send_result(call: Callable[[], bytes], sender: Connection) -> None:
    """Send what `call` returns or raises to the parent."""
    end_with_parent()
    try:
        result: bytes | Exception = call()
    except Exception as error:
        result = error
    sender.send_bytes(pickle.dumps(result))
