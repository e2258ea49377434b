"""Ctrl-C and SIGTERM, from the first import of a command to its end. It imports nothing slow: a
command begins here.

A signal that another program in this process has a use for is left to it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 128 + signal.SIGTERM
NOTHING_SENT = "Interrupted. Nothing was sent. Run the same command again."
_begun = threading.Event()
"""Whether a job has begun, which says by itself what was sent."""


def end_at_once() -> None:
    """From now on Ctrl-C ends the process, and says that nothing was sent until a job begins.

    As an exception it could surface inside any module that is being imported, and as another
    error: a traceback, at best.
    """
    if _is_main() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def _end(number: int, frame: FrameType | None) -> None:
    said = "Interrupted." if _begun.is_set() else NOTHING_SENT
    with contextlib.suppress(OSError):
        os.write(2, f"\n{said}\n".encode())
    with contextlib.suppress(Exception):  # closed, or being written to at this moment
        sys.stdout.flush()
    os._exit(EXIT_INTERRUPTED)


@contextlib.contextmanager
def raised() -> Iterator[threading.Event]:
    """While a job runs, Ctrl-C and SIGTERM raise KeyboardInterrupt, so that it can give back what
    it holds and say what it has sent. A second SIGTERM ends the process.

    Yields:
        An event that is set once SIGTERM has come.
    """
    terminated = threading.Event()

    def terminate(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        terminated.set()
        raise KeyboardInterrupt

    _begun.set()
    before = {}
    if _is_main():
        if signal.getsignal(signal.SIGINT) is _end:
            before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            before[signal.SIGTERM] = signal.signal(signal.SIGTERM, terminate)
    try:
        yield terminated
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()
