"""The quota: how much one project takes in any rolling window.

No Beam here. `Quota` is the setting; `RollingWindow` is the arithmetic, on one
clock, without waiting: `lane.py` waits.

The window slides. "60 requests per hour" lets 60 go at once, and the next one only
when the first is an hour old. A token bucket would let 119 go within one hour.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from mixpanel_sink.errors import SettingError

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
_FORMS = "'60/hour', '600/minute', '10/2s', '30000 events/second, 2 GB/minute', 'page', "
_FORMS += "'reference' or 'none'"


@dataclasses.dataclass(frozen=True)
class Rate:
    """At most `amount` of `of` in any `seconds`.

    `of` is "requests", "events" or "bytes" (uncompressed JSON).
    """

    amount: int
    seconds: float
    of: str = "requests"

    def __post_init__(self) -> None:
        if self.amount < 1 or self.seconds <= 0:
            raise SettingError(
                f"A quota of {self.amount} per {self.seconds} s lets nothing through; "
                "both numbers must be positive."
            )
        if self.of not in ("requests", "events", "bytes"):
            raise SettingError(f"A quota counts requests, events or bytes, not {self.of!r}.")

    def __str__(self) -> str:
        unit = "" if self.of == "requests" else f" {self.of}"
        names: dict[float, str] = {1: "second", 60: "minute", 3600: "hour", 86400: "day"}
        return f"{self.amount}{unit}/{names.get(self.seconds) or f'{self.seconds:.15g}s'}"


@dataclasses.dataclass(frozen=True)
class Quota:
    """What all workers together may send to one project.

    >>> Quota()                                  # Mixpanel's HTTP API page: 60 an hour
    Quota('60/hour')
    >>> Quota.parse("600/minute")
    Quota('600/minute')
    >>> Quota.reference()                        # the API reference's limits
    Quota('30000 events/second, 2000000000 bytes/minute')
    >>> Quota.none()                             # no limit on this side
    Quota('none')
    """

    rates: tuple[Rate, ...] = (Rate(60, 3600),)

    @classmethod
    def page(cls) -> Quota:
        """60 requests an hour, as Mixpanel's HTTP API page says. The default."""
        return cls()

    @classmethod
    def reference(cls) -> Quota:
        """30,000 events a second and 2 GB a minute, as the API reference says."""
        return cls((Rate(30_000, 1, "events"), Rate(2_000_000_000, 60, "bytes")))

    @classmethod
    def none(cls) -> Quota:
        """No limit of our own; 429 answers are still obeyed."""
        return cls(())

    @classmethod
    def parse(cls, text: str) -> Quota:
        """Reads '60/hour', '10/2s', '30000 events/s, 2 GB/min', 'page', 'reference', 'none'.

        Raises:
            SettingError: if the text is none of these.
        """
        named = {"page": cls.page, "reference": cls.reference, "none": cls.none, "off": cls.none}
        if (known := named.get(text.strip().lower())) is not None:
            return known()
        return cls(tuple(_parse_rate(part, text) for part in text.split(",")))

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
        return Quota(tuple(shares))

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
        return ", ".join(map(str, self.rates)) or "none"

    def __repr__(self) -> str:
        return f"Quota({str(self)!r})"


def _parse_rate(part: str, whole: str) -> Rate:
    match = _RATE.fullmatch(part.strip())
    unit = match["unit"].lower() if match else ""
    # "mins" is "min", but "ms" is not "m".
    seconds = _SECONDS.get(unit.removesuffix("s") if len(unit) > 2 else unit)
    if not match or not seconds:
        raise SettingError(f"The quota {whole!r} cannot be read. Write it as {_FORMS}.")
    of = (match["of"] or "requests").lower()
    amount = float(match["amount"])
    if of.startswith(("request", "event")):
        of = of.rstrip("s") + "s"
    else:
        amount *= _SIZES[of.removesuffix("ytes")]
        of = "bytes"
    return Rate(int(amount), seconds * float(match["length"] or 1), of)


@dataclasses.dataclass(frozen=True)
class Weight:
    """What one request counts for."""

    events: int
    bytes: int

    def of(self, unit: str) -> int:
        """In the given unit of a `Rate`."""
        return 1 if unit == "requests" else self.events if unit == "events" else self.bytes


class RollingWindow:
    """Who was sent in the last `rate.seconds`, and when the next may go.

    A request is *open* from its start until its answer, and counts fully while open.
    Then it counts for `rate.seconds` more: the server stamped it somewhere in between,
    so that no rolling window on the server's side can hold more than the quota.

    Not thread-safe; times are seconds on one clock, given by the caller.
    """

    EXACT_ENTRIES = 256
    """Up to this many requests each have their own entry; beyond, entries merge."""
    DRIFT = 0.0005
    """The share of the window by which the server's clock may run slower than ours."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.open_weight = 0
        self._entries: list[list[float]] = []  # [first, last, weight], ordered by last
        self._resolution = rate.seconds / self.EXACT_ENTRIES
        self._life = rate.seconds * (1 + self.DRIFT) + 0.001

    def begin(self, weight: int) -> None:
        """A request of this weight starts now."""
        self.open_weight += weight

    def end(self, now: float, weight: int, counts: bool = True) -> None:
        """Its answer came; `counts=False` if it never reached the server."""
        self.open_weight -= weight
        if counts:
            self.add(now, weight)

    def add(self, now: float, weight: float) -> None:
        """Enters a finished request."""
        last = self._entries[-1] if self._entries else None
        if last is not None and now < last[1]:
            now = last[1]  # a clock that was set back must not free a slot early
        if (
            last is not None
            and len(self._entries) >= self.EXACT_ENTRIES
            and now - last[0] < self._resolution
        ):
            last[1] = now
            last[2] += weight
        else:
            self._entries.append([now, now, weight])

    def wait(self, now: float, weight: int, elsewhere: Sequence[Sequence[float]] = ()) -> float:
        """Seconds until a request of this weight may start.

        0 if it may start now, infinity if an open request must end first.

        Args:
            now: the time.
            weight: of the request that wants to start. One that is heavier than the
                whole quota may start when nothing else counts.
            elsewhere: entries that other workers made, as `entries()` gives them.
        """
        self._expire(now)
        entries = sorted([*self._entries, *elsewhere], key=lambda e: e[1])
        live = [e for e in entries if e[1] + self._life > now]
        excess = self.open_weight + sum(e[2] for e in live) + weight - self.rate.amount
        if excess <= 0 or not (live or self.open_weight):
            return 0.0
        for _, last, freed in live:
            excess -= freed
            if excess <= 0:
                return last + self._life - now
        return 0.0 if not live and not self.open_weight else self._when_empty(now, live)

    def _when_empty(self, now: float, live: list[Sequence[float]]) -> float:
        # Heavier than the quota: only an empty window lets it go.
        if self.open_weight:
            return float("inf")
        return live[-1][1] + self._life - now

    def used(self, now: float) -> float:
        """What counts at this time, open requests included."""
        self._expire(now)
        return self.open_weight + sum(e[2] for e in self._entries)

    def entries(self, now: float) -> list[list[float]]:
        """The finished requests that still count, as [first, last, weight]."""
        self._expire(now)
        return [list(entry) for entry in self._entries]

    def _expire(self, now: float) -> None:
        keep = 0
        while keep < len(self._entries) and self._entries[keep][1] + self._life <= now:
            keep += 1
        del self._entries[:keep]
