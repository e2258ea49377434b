"""Standard streams that a command can rely on: whoever reads them may be gone, their disk may be
full, they may be closed, and their encoding may lack a character. None of that ends a job."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import Any

_UNHEARD = (errno.EPIPE, errno.EIO)
"""Nobody reads any more, as with `| head`, or the terminal is gone: no fault of ours."""


class _Output(io.FileIO):
    """A stream that goes on when it cannot be written, and remembers why."""

    lost: OSError | None = None

    def write(self, data: Any) -> int:
        """Writes what can be written, and drops the rest."""
        if self.lost is None:
            try:
                return super().write(data)
            except BlockingIOError:
                raise
            except OSError as error:
                self.lost = error
        return len(memoryview(data).cast("B"))


def prepare() -> None:
    """Replaces this process's standard output and standard error. A command does this first."""
    for number in (0, 1, 2):
        _open_if_closed(number)
    sys.stdout, sys.stderr = (
        _text(number, stream) for number, stream in ((1, sys.stdout), (2, sys.stderr))
    )


def lost() -> OSError | None:
    """Why standard output could not be written, unless nobody wants it any more."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    error = getattr(raw, "lost", None)
    return None if error is None or error.errno in _UNHEARD else error


def _open_if_closed(number: int) -> None:
    """A file that is opened later would get its number, and with it what is printed."""
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)


def _text(number: int, stream: Any) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(number, "wb", closefd=False)),
        encoding=getattr(stream, "encoding", None) or "utf-8",
        errors="backslashreplace",
        # Python's own is written through if PYTHONUNBUFFERED is set.
        line_buffering=number == 2 or os.isatty(number) or getattr(stream, "write_through", False),
    )
