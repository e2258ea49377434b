"""`Filter`: which events of an input are wanted. The others are left out, and counted."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any

from mixpanel_sink.errors import MappingError
from mixpanel_sink.settings.names import check_keys, check_text

_DAY_MS = 86_400_000
_EPOCH = datetime.date(1970, 1, 1)


@dataclasses.dataclass(frozen=True)
class Filter:
    """Which events are wanted, by their time and name.

    A record of which neither can be told, such as one whose time is null, stays: it fails later,
    and says why.

    Args:
        first_day, last_day: of the events' times, both included, in UTC: dates, or text such as
            "2024-05-31".
        events: their names; none for all.

    Raises:
        MappingError: for what is not a day or a name, or days in the wrong order.

    >>> Filter("2024-05-01", events=["Signup"]).span_ms
    (1714521600000, None)
    """

    first_day: datetime.date | str | None = None
    last_day: datetime.date | str | None = None
    events: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("first_day", "last_day"):
            object.__setattr__(self, name, _day(name, getattr(self, name)))
        if isinstance(self.events, str) or not isinstance(self.events, list | tuple):
            raise MappingError("filter.events is a list of names, such as [Signup, Order placed].")
        for event in self.events:
            check_text("A name in filter.events", event)
        object.__setattr__(self, "events", tuple(self.events))
        first, last = self.first_day, self.last_day
        if isinstance(first, datetime.date) and isinstance(last, datetime.date) and last < first:
            raise MappingError(f"The last day, {last}, is before the first, {first}.")

    @classmethod
    def from_dict(cls, settings: Any) -> Filter:
        """From what YAML gives.

        Raises:
            MappingError: names the key that is unknown or wrong.
        """
        check_keys(settings, [field.name for field in dataclasses.fields(cls)])
        return cls(**settings)

    @property
    def span_ms(self) -> tuple[int | None, int | None]:
        """From and until (excluded) which time, in milliseconds since 1970; None without a
        limit."""
        first, last = self.first_day, self.last_day
        assert not isinstance(first, str)
        assert not isinstance(last, str)
        return (
            None if first is None else (first - _EPOCH).days * _DAY_MS,
            None if last is None else ((last - _EPOCH).days + 1) * _DAY_MS,
        )

    def has_time(self, ms: int) -> bool:
        """Whether an event of that time is wanted."""
        start, end = self.span_ms
        return (start is None or start <= ms) and (end is None or ms < end)


def _day(name: str, given: Any) -> datetime.date | None:
    if given is None or (
        isinstance(given, datetime.date) and not isinstance(given, datetime.datetime)
    ):
        return given
    try:
        return datetime.datetime.strptime(given, "%Y-%m-%d").date()
    except (ValueError, TypeError):
        raise MappingError(f"filter.{name} is {given!r}; give a day such as 2024-05-31.") from None
