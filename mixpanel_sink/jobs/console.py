"""Words for people on a terminal: in colour where there is one, plain elsewhere."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from mixpanel_sink import codes

_CODES = {"red": "31", "green": "32", "bold": "1"}


def styled(text: str, style: str, file: TextIO) -> str:
    """The text as it is to be written to that file. NO_COLOR is obeyed."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not file.isatty():
        return text
    return f"\033[{_CODES[style]}m{text}\033[0m"


def error_text(message: str, kind: str) -> str:
    """An error with its code and where to read more, for stderr."""
    first, _, rest = codes.told(message, kind).partition(" ")
    return f"{styled(first, 'red', sys.stderr)} {rest}"


def say_error(message: str, kind: str) -> None:
    """Writes an error to stderr.

    Args:
        message: one or two sentences.
        kind: the name of its class in `mixpanel_sink.errors`.
    """
    print(error_text(message, kind), file=sys.stderr)


@contextlib.contextmanager
def printed_once() -> Iterator[None]:
    """Keeps failures and accounting out of this process's log: the command prints them at the end.

    Elsewhere the log is where people look, and so it is here once the run is over.
    """
    levels = {
        "failures": logging.WARNING,
        "failure_log": logging.ERROR,
        "accounting": logging.ERROR,
    }
    loggers = {logging.getLogger(f"mixpanel_sink.report.{name}"): levels[name] for name in levels}
    before = {logger: logger.level for logger in loggers}
    for logger, level in loggers.items():
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)
