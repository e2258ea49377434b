"""The quota: how much one project takes in any rolling window.

`Quota` is the setting; `send/window.py` has the arithmetic, and `send/lane.py` waits.

The window slides. "60 requests per hour" lets 60 go at once, and the next one only
when the first is an hour old. A token bucket would let 119 go within one hour.
"""

from __future__ import annotations

import dataclasses
import re

from mixpanel_sink.api.endpoints import Endpoint
from mixpanel_sink.api.plain import make_plain
from mixpanel_sink.errors import SettingError
from mixpanel_sink.settings.kinds import check_count, check_kind, is_positive

_SECONDS = {
    "s": 1, "sec": 1, "second": 1,
    "m": 60, "min": 60, "minute": 60,
    "h": 3600, "hour": 3600,
    "d": 86400, "day": 86400,
}  # fmt: skip
_SIZES = {"": 1, "b": 1, "kb": 1_000, "mb": 1_000_000, "gb": 1_000_000_000}
_RATE = re.compile(
    r"(?P<amount>\d+(?:\.\d+)?)\s*"
    r"(?P<of>requests?|events?|[kmg]?b|bytes)?\s*(?:/|per)\s*"
    r"(?P<length>\d+(?:\.\d+)?)?\s*(?P<unit>[a-z]+)",
    re.IGNORECASE,
)
_EVENT = re.compile(
    r"(?P<amount>\d+(?:\.\d+)?)\s*(?P<of>[kmg]?b|bytes)\s*(?:/|per|an)\s*event", re.IGNORECASE
)


@dataclasses.dataclass(frozen=True)
class Rate:
    """At most `amount` of `of` in any `seconds`.

    `of` is "requests", "events" or "bytes" (uncompressed JSON).
    """

    amount: int
    seconds: float
    of: str = "requests"

    def __post_init__(self) -> None:
        make_plain(self)
        if not (is_positive(self.amount) and is_positive(self.seconds)) or self.amount < 1:
            raise SettingError(
                f"A quota of {self.amount!r} per {self.seconds!r} s lets nothing through; "
                "both numbers must be positive."
            )
        if self.of not in ("requests", "events", "bytes"):
            raise SettingError(f"A quota counts requests, events or bytes, not {self.of!r}.")

    def __str__(self) -> str:
        amount = str(self.amount) if self.of == "requests" else f"{self.amount} {self.of}"
        if self.of == "bytes":
            amount = _size(self.amount)
        names: dict[float, str] = {1: "second", 60: "minute", 3600: "hour", 86400: "day"}
        return f"{amount}/{names.get(self.seconds) or f'{self.seconds:.15g}s'}"


@dataclasses.dataclass(frozen=True)
class Quota:
    """What all workers together may send to one project.

    Args:
        rates: each holds in any rolling window.
        event_bytes: the largest event that the project takes, where `Limits` are not given;
            None for the usual 2 MB.

    >>> Quota()                                  # Mixpanel's HTTP API page: 60 an hour
    Quota('60/hour')
    >>> Quota.parse("600/minute")
    Quota('600/minute')
    >>> Quota.reference()                        # the API reference's limits
    Quota('1800000 events/minute, 2 GB/minute, 1 MB/event')
    >>> Quota.none()                             # no limit on this side
    Quota('none')
    """

    rates: tuple[Rate, ...] = (Rate(60, 3600),)
    event_bytes: int | None = None

    def __post_init__(self) -> None:
        make_plain(self)
        check_kind(
            "rates", self.rates, list | tuple, "a tuple of Rates, or read a text with Quota.parse"
        )
        for rate in self.rates:
            check_kind("A rate", rate, Rate, "a Rate, such as Rate(60, 3600)")
        object.__setattr__(self, "rates", tuple(self.rates))
        if self.event_bytes is not None:
            check_count("event_bytes", self.event_bytes)

    @classmethod
    def page(cls) -> Quota:
        """60 requests an hour, as Mixpanel's HTTP API page says. The default."""
        return cls()

    @classmethod
    def reference(cls) -> Quota:
        """The API reference's: 2 GB and 1,800,000 events ("30k events per second") in any rolling
        minute, and events of 1 MB at most."""
        return cls((Rate(1_800_000, 60, "events"), Rate(2_000_000_000, 60, "bytes")), 1_000_000)

    @classmethod
    def none(cls) -> Quota:
        """No limit of our own; 429 answers are still obeyed."""
        return cls(())

    @classmethod
    def parse(cls, text: str) -> Quota:
        """Reads '60/hour', '10/2s', '1800000 events/minute, 2 GB/minute, 1 MB/event', or the name
        of one of `PRESETS`.

        Raises:
            SettingError: if the text is not one of these.
        """
        if (known := PRESETS.get(text.strip().lower())) is not None:
            return known
        parts = [part.strip() for part in text.split(",")]
        sizes = [found for part in parts if (found := _EVENT.fullmatch(part))]
        rates = tuple(_parse_rate(part, text) for part in parts if not _EVENT.fullmatch(part))
        return cls(rates, min((_bytes_of(size) for size in sizes), default=None))

    def share(self, lane: int, lanes: int) -> Quota:
        """The part of the quota that one of `lanes` lanes holds; the parts add up to it.

        Raises:
            SettingError: if some lane would get nothing.
        """
        if lanes == 1:
            return self
        shares = []
        for rate in self.rates:
            if rate.amount < lanes:
                raise SettingError(
                    f"{lanes} lanes cannot share a quota of {rate}: each lane needs at least one. "
                    f"Use at most {rate.amount} lanes."
                )
            amount = rate.amount // lanes + (1 if lane < rate.amount % lanes else 0)
            shares.append(dataclasses.replace(rate, amount=amount))
        return dataclasses.replace(self, rates=tuple(shares))

    def most(self, of: str) -> int | None:
        """The most of `of` that one request may hold; None where nothing limits it."""
        return min((rate.amount for rate in self.rates if rate.of == of), default=None)

    def seconds_for(self, requests: int, events: int, raw_bytes: int) -> float:
        """How long it takes at least to send so much, from an unused quota on."""
        amounts = {"requests": requests, "events": events, "bytes": raw_bytes}
        waits = [
            (-(-amounts[rate.of] // rate.amount) - 1) * rate.seconds
            for rate in self.rates
            if amounts[rate.of]
        ]
        return max(waits, default=0.0)

    def __str__(self) -> str:
        size = [] if self.event_bytes is None else [f"{_size(self.event_bytes)}/event"]
        return ", ".join([*map(str, self.rates), *size]) or "none"

    def __repr__(self) -> str:
        return f"Quota({str(self)!r})"


PRESETS = {
    "page": Quota.page(),
    "reference": Quota.reference(),
    "none": Quota.none(),
    "off": Quota.none(),
}
"""Quotas by name. What lists, reads or shows presets takes them from here."""
PATTERN = rf"^({'|'.join(PRESETS)}|[0-9].*)$"
"""What a form takes as a quota; `Quota.parse` reads it."""


def default_quota(endpoint: Endpoint) -> Quota:
    """The page limits /import alone; for the others the API reference's rate is kept."""
    return Quota.page() if endpoint.name == "import" else Quota.reference()


def _parse_rate(part: str, whole: str) -> Rate:
    match = _RATE.fullmatch(part.strip())
    unit = match["unit"].lower() if match else ""
    # "mins" is "min", but "ms" is not "m".
    seconds: float | None = _SECONDS.get(unit.removesuffix("s") if len(unit) > 2 else unit)
    if not match or not seconds:
        forms = ["60/hour", "600/minute", "10/2s", "1800000 events/minute, 2 GB/minute", *PRESETS]
        raise SettingError(
            f"The quota {whole!r} cannot be read. Write it as {', '.join(map(repr, forms[:-1]))} "
            f"or {forms[-1]!r}."
        )
    of = (match["of"] or "requests").lower()
    seconds *= float(match["length"] or 1)
    if of.startswith(("request", "event")):
        return Rate(int(float(match["amount"])), seconds, of.rstrip("s") + "s")
    return Rate(_bytes_of(match), seconds, "bytes")


def _bytes_of(match: re.Match[str]) -> int:
    return int(float(match["amount"]) * _SIZES[match["of"].lower().removesuffix("ytes")])


def _size(number: int) -> str:
    """Bytes as `Quota.parse` reads them: 2 GB, 1500 bytes."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number % size == 0:
            return f"{number // size} {unit}"
    return f"{number} bytes"
