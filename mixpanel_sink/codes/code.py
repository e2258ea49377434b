"""One error code."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Code:
    """What an error means and what to do about it.

    Attributes:
        code: MXS and three digits.
        name: in words; of a failed record its reason.
        meaning: a sentence or two.
        fix: what to do.
        texts: parts of messages by which an error is recognised.
        error: the class of `mixpanel_sink.errors` that has this code if no other fits.
    """

    code: str
    name: str
    meaning: str
    fix: str
    texts: tuple[str, ...] = ()
    error: str = ""
