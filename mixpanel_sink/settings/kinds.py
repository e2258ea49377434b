"""Checks of settings that a program gives as values: of their kind, before anything else."""

from __future__ import annotations

import math
import numbers
from typing import Any

from mixpanel_sink.errors import SettingError, kind_of


def check_flag(name: str, value: Any) -> None:
    """Raises SettingError for what is neither True nor False: "no" would count as True."""
    if not isinstance(value, bool):
        raise SettingError(f"{name} is {value!r}; give True or False.")


def check_count(name: str, value: Any) -> None:
    """Raises SettingError for what is not a whole number of at least 1."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
        raise SettingError(f"{name} is {value!r}; it must be a whole number of at least 1.")


def check_seconds(name: str, value: Any) -> None:
    """Raises SettingError for what is not a positive number of seconds with an end."""
    if not is_positive(value) or not math.isfinite(value):
        raise SettingError(f"{name} is {value!r}; it must be positive seconds.")


def is_positive(value: Any) -> bool:
    """Whether it is a positive number; one without an end is."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and float(value) > 0


def check_kind(name: str, value: Any, kind: Any, give: str) -> None:
    """Raises SettingError for what is not of a kind. The message does not repeat the value.

    Args:
        name: of the setting.
        value: that was given.
        kind: as `isinstance` takes it.
        give: what to give instead, after "give".
    """
    if not isinstance(value, kind):
        raise SettingError(f"{name} is {kind_of(value)}; give {give}.")
