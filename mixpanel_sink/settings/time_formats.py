"""Texts that are times, as regular expressions that Python and Polars read alike.

Every format becomes a pattern with the groups `year`, `month`, `day` and, where it has them,
`hour`, `minute`, `second`, `fraction` and `zone`; `year2`, `month_name`, `hour12` and `half` stand
for years of two digits, months by name, and hours of half a day.
"""

from __future__ import annotations

import functools
import re

from mixpanel_sink.errors import MappingError
from mixpanel_sink.settings.names import name_twice

MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MONTH_NAMES = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:tember)?"
    "|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?"
)
_DAY_NAMES = (
    "mon(?:day)?|tue(?:sday)?|wed(?:nesday)?|thu(?:rsday)?|fri(?:day)?|sat(?:urday)?|sun(?:day)?"
)
_ZONE = r"Z|z|UTC|GMT|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?"
ISO_8601 = (
    r"^[ \t]*(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt ](?P<clock>(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])"
    rf"(?:[.,](?P<fraction>[0-9]+))?(?: *(?P<zone>{_ZONE}))?)?[ \t]*$"
)
"""The forms that databases write; here `date` and `clock` stand for the first six groups."""
_DIRECTIVES = {
    "Y": "(?P<year>[0-9]{4})",
    "y": "(?P<year2>[0-9]{2})",
    "m": "(?P<month>0?[1-9]|1[0-2])",
    "d": "(?P<day>0?[1-9]|[12][0-9]|3[01])",
    "e": "(?P<day>0?[1-9]|[12][0-9]|3[01])",
    "H": "(?P<hour>[01]?[0-9]|2[0-3])",
    "I": "(?P<hour12>0?[1-9]|1[0-2])",
    "M": "(?P<minute>[0-5]?[0-9])",
    "S": "(?P<second>[0-5]?[0-9])",
    "f": "(?P<fraction>[0-9]+)",
    "p": "(?P<half>(?i:[ap]m))",
    "b": f"(?P<month_name>(?i:{_MONTH_NAMES}))",
    "B": f"(?P<month_name>(?i:{_MONTH_NAMES}))",
    "a": f"(?i:{_DAY_NAMES})",
    "A": f"(?i:{_DAY_NAMES})",
    "z": f"(?P<zone>{_ZONE})",
    "%": "%",
}
_SHORT = {"T": "%H:%M:%S", "F": "%Y-%m-%d", "R": "%H:%M", "D": "%m/%d/%y"}
_NUMBERS = "YymdeHIMSf"


@functools.cache
def time_pattern(text: str) -> str:
    """The pattern of a format such as `%m/%d/%Y %I:%M %p`.

    Letters are those of Python's `strptime`; names are English ones in any case. Numbers may lack
    a leading zero, unless another number follows or precedes without anything between.

    Raises:
        MappingError: says what is wrong with it.
    """
    parts = _parts(text)
    pattern = ""
    for i, (letter, literal) in enumerate(parts):
        if not letter:
            pattern += " +" if literal == " " else re.escape(literal)
            continue
        piece = _DIRECTIVES[letter]
        beside = [parts[j][0] for j in (i - 1, i + 1) if 0 <= j < len(parts)]
        if letter in _NUMBERS and any(other and other in _NUMBERS for other in beside):
            piece = piece.replace("0?[", "0[").replace("]?[", "][")
        pattern += piece
    names = re.findall(r"\(\?P<(\w+)>", pattern)
    _check(text, names)
    return f"^ *{pattern} *$"


def _parts(text: str) -> list[tuple[str, str]]:
    """Letters of directives, and literals: one of the two is empty."""
    for letter, meaning in _SHORT.items():
        text = re.sub(rf"(?<!%)((?:%%)*)%{letter}", rf"\1{meaning}", text)
    parts = []
    for found in re.finditer(r"%(.?)|( )[ ]*|(.)", text, re.DOTALL):
        letter, blank, literal = found.groups()
        if letter is None:
            parts.append(("", blank or literal))
        elif letter in _DIRECTIVES:
            parts.append((letter, ""))
        else:
            raise MappingError(
                f"The time format {text!r} holds %{letter}, which is unknown. Use "
                f"{', '.join(f'%{name}' for name in [*_DIRECTIVES, *_SHORT])}."
            )
    return parts


def _check(text: str, names: list[str]) -> None:
    if twice := name_twice(names):
        raise MappingError(f"The time format {text!r} names the {twice} twice. Drop one.")
    for what, either in (
        ("a year (%Y)", {"year", "year2"}),
        ("a month (%m)", {"month", "month_name"}),
        ("a day (%d)", {"day"}),
    ):
        if len(either.intersection(names)) != 1:
            raise MappingError(f"The time format {text!r} needs {what}, and only one.")
    if ("hour12" in names) != ("half" in names) or {"hour", "hour12"} <= set(names):
        raise MappingError(
            f"The time format {text!r} must have %H, or %I together with %p (AM or PM)."
        )
    for part, needed in (("minute", "hour"), ("second", "minute"), ("fraction", "second")):
        if part in names and needed not in names and (needed != "hour" or "hour12" not in names):
            raise MappingError(f"The time format {text!r} has a {part} but no {needed}.")
