"""Settings of other libraries' kinds as Python's own: from a data frame, a database or a config."""

from __future__ import annotations

import dataclasses
import decimal
from typing import Any

_MOST_DIGITS = 30
"""No setting has more; to write 1E+999999 as an integer would take all memory."""


def plain(value: Any) -> Any:
    """What a scalar of NumPy's or a Decimal holds, as a bool, int, float or str; else the value."""
    if isinstance(value, decimal.Decimal):
        if not value.is_finite() or abs(value.adjusted()) > _MOST_DIGITS:
            return value
        whole = value.to_integral_value()
        return int(whole) if whole == value else float(value)
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return value.item()
    return value


def make_plain(settings: Any) -> None:
    """Makes the fields of a frozen dataclass `plain`, in its `__post_init__`, before they are
    checked: all that follows, such as JSON, meets Python's own kinds only."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if (own := plain(value)) is not value:
            object.__setattr__(settings, field.name, own)
