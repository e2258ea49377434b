"""What a reader is given, checked when the pipeline is built."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Any

from mixpanel_sink.errors import SettingError, kind_of
from mixpanel_sink.settings.kinds import check_kind

Path = str | os.PathLike[str]
Patterns = Path | Collection[Path]
"""A path, folder or glob, or several."""


def patterns_of(given: Any) -> list[str]:
    """One path or pattern, or several, as a list of texts.

    Raises:
        SettingError: for none, or what is not a path.
    """
    several = [given] if isinstance(given, str | os.PathLike) else given
    if not isinstance(several, Collection) or not several:
        what = "empty" if isinstance(several, Collection) else kind_of(given)
        raise SettingError(f"patterns is {what}; give a path or glob, or a list of them.")
    for each in several:
        check_kind("A pattern", each, str | os.PathLike, "a path or glob as text")
    return [os.fspath(each) for each in several]


def names_of(setting: str, names: Any) -> tuple[str, ...] | None:
    """A list of names that a setting gives; None for all.

    Raises:
        SettingError: for a single text, which would count as its letters.
    """
    if isinstance(names, str):
        raise SettingError(f"{setting} is {names!r}; give a list of names.")
    return None if names is None else tuple(names)
