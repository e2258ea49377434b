"""Asks storage for what is good to know but not needed, for a limited time. No Beam here."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

SECONDS = 20.0
"""How long the last lines of a command wait. Google's client retries for two minutes."""
_T = TypeVar("_T")


def soon(ask: Callable[[], _T], otherwise: _T) -> _T:
    """What `ask` returns, or `otherwise` if that takes too long. It must not raise.

    Its thread does not keep the process from ending.
    """
    found = [otherwise]

    def run() -> None:
        found.append(ask())

    thread = threading.Thread(target=run, name="mixpanel-soon", daemon=True)
    thread.start()
    thread.join(SECONDS)
    return found[-1]
