"""Checks of names and texts, and "did you mean": used by every part that takes names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

from mixpanel_sink.errors import MappingError

_HALF = re.compile(r"[\ud800-\udfff]")


def check_keys(settings: Any, known: Sequence[str]) -> None:
    """Refuses settings that are not keys and values, or have an unknown key.

    Raises:
        MappingError: names the key, and the nearest known one.
    """
    if not isinstance(settings, dict):
        raise MappingError("A mapping is a list of keys and values, such as 'time: created_at'.")
    for key in settings:
        if key not in known:
            raise MappingError(f"The mapping's key {key!r} is unknown.{near(str(key), known)}")


def check_names(part: str, names: Sequence[Any]) -> None:
    """Raises MappingError for a list that repeats a name, or holds something that is not one."""
    for name in names:
        check_name(name)
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise MappingError(f"{part} names the column {twice[0]!r} twice. Remove one.")


def name_twice(names: Sequence[str]) -> str | None:
    """The first of the names that stands there more than once; None if there is none."""
    if len(set(names)) == len(names):
        return None
    return next(name for name in names if names.count(name) > 1)


def check_name(name: Any) -> None:
    """Raises MappingError for what cannot be a column's or property's name."""
    if not isinstance(name, str) or not name:
        raise MappingError(f"{name!r} is not a name; names are text (quote it in YAML).")
    if not is_text(name):
        raise MappingError(f"The name {name!r} is not valid Unicode text.")


def check_text(what: str, text: Any) -> None:
    """Raises MappingError for what is not text that JSON can hold."""
    if not isinstance(text, str):
        raise MappingError(f"{what} is {text!r}; it must be text: quote it.")
    if not is_text(text):
        raise MappingError(f"{what} is {text!r}, which is not valid Unicode text.")


def named(prefix: str, name: str) -> str:
    """A setting as messages name it: on a command line, where the prefix is "--", with hyphens."""
    return f"{prefix}{name.replace('_', '-') if prefix == '--' else name}"


def near(name: str, names: Sequence[str]) -> str:
    """ " Did you mean '...'?" with the nearest of some names, or nothing."""
    close = difflib.get_close_matches(name, names, 1, 0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def is_text(given: str) -> bool:
    """Whether it is text that UTF-8 can hold. A file's name, or a word of a command line, is not if
    its bytes are not of the encoding that the operating system names: it has halves of surrogate
    pairs in their place."""
    return _HALF.search(given) is None
