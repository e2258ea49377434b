"""Error codes: each error and each reason of a failed record has one, from one table.

`mixpanel-sink explain MXS501` and docs/errors.md are made from it. A code never changes its
meaning. No Beam here.
"""

from __future__ import annotations

import difflib
import re

from mixpanel_sink.codes.code import Code
from mixpanel_sink.codes.errors import ERRORS
from mixpanel_sink.codes.reasons import REASONS

CODES: tuple[Code, ...] = (*ERRORS, *REASONS)
"""All codes, in their order."""
_BY_NAME = {each.name: each for each in CODES}
_BY_CODE = {each.code: each for each in CODES}
_CODE = re.compile(r"MXS\d{3}", re.IGNORECASE)


def of_reason(reason: str) -> Code | None:
    """The code of a failed record's reason."""
    return _BY_NAME.get(reason)


def of_error(message: str, kind: str) -> Code:
    """The code of an error: by its text, else by the class that it is of.

    Args:
        message: what it says.
        kind: the name of its class in `mixpanel_sink.errors`.
    """
    for each in ERRORS:
        if any(text in message for text in each.texts):
            return each
    fallback = next((each for each in ERRORS if each.error == kind), None)
    return fallback or _BY_NAME["job-failed"]


def find(word: str) -> Code | None:
    """What a person means: a code, or a name."""
    word = word.strip()
    if _CODE.fullmatch(word):
        return _BY_CODE.get(word.upper())
    return _BY_NAME.get(word) or _BY_NAME.get(word.replace("_", "-"))


def near(word: str) -> str | None:
    """The code or name that is written most alike."""
    return next(iter(difflib.get_close_matches(word, [*_BY_CODE, *_BY_NAME], 1, 0.6)), None)


def told(message: str, kind: str) -> str:
    """An error as a command prints it: the sentence, its code, and how to read more."""
    code = of_error(message, kind)
    return f"Error: {message}\n  {code.code}: mixpanel-sink explain {code.code}"
