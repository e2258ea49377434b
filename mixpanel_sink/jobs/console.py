"""Words for people on a terminal: in colour where there is one, plain elsewhere."""

from __future__ import annotations

import os
import sys
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
