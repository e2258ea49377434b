"""The event's time as an expression."""

from __future__ import annotations

import dataclasses
import fractions

import polars as pl
import pyarrow as pa
from pyarrow import types

from mixpanel_sink.api.limits import MAX_FUTURE_MS, MIN_TIME_MS
from mixpanel_sink.api.numbers import PER_SECOND
from mixpanel_sink.encode.columnar.arrow_types import Unsupported, is_text
from mixpanel_sink.encode.columnar.inputs import Inputs
from mixpanel_sink.encode.columnar.numbers import check_decimal
from mixpanel_sink.encode.columnar.values import convert
from mixpanel_sink.settings.columns import TimeColumn

_ISO_8601 = (
    r"^(?<day>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ](?<clock>(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])"
    r"(?:[.](?<ms>[0-9]{3})(?:[0-9]{3})?)?"
    r"(?<zone>Z|(?<sign>[+-])(?<hours>[01][0-9]|2[0-3]):(?<minutes>[0-5][0-9]))?)?$"
)
"""What every version of Python reads."""


@dataclasses.dataclass(frozen=True)
class Time:
    """The event's time; null where only the record encoder can tell.

    Attributes:
        ticks: since 1970.
        per_second: how many ticks make a second.
    """

    ticks: pl.Expr
    per_second: int = 1000

    @property
    def milliseconds(self) -> pl.Expr:
        """As Mixpanel has it."""
        if self.per_second < 1000:
            return self.ticks * (1000 // self.per_second)
        if self.per_second > 1000:
            return self.ticks // (self.per_second // 1000)
        return self.ticks

    def in_range(self, now: int, max_age: float | None) -> pl.Expr:
        """Whether Mixpanel takes it; see `encode.times.check_range`.

        In ticks, so that no product can overflow before it is checked.
        """
        earliest = MIN_TIME_MS if max_age is None else max(MIN_TIME_MS, now - int(max_age * 1000))
        low = -(-earliest * self.per_second // 1000)
        high = (now + MAX_FUTURE_MS) * self.per_second // 1000
        return self.ticks.is_between(low, high).fill_null(False)


def time_of(column: TimeColumn, inputs: Inputs) -> Time:
    """The time in a column.

    Raises:
        Unsupported: for types that only the record encoder does.
    """
    kind, expr = inputs.type_of(column.name), inputs[column.name]
    if types.is_timestamp(kind) or types.is_date(kind):
        if types.is_date(kind):
            expr = expr.cast(pl.Date).cast(pl.Datetime("us"))
        if getattr(kind, "tz", None) is None:
            expr = _in_zone(expr, column.timezone)
        return Time(expr.dt.epoch("ms"))
    if is_text(kind) and column.unit == "iso8601":
        return Time(_iso_ms(convert(expr, kind), column.timezone))
    if types.is_integer(kind) and column.unit in PER_SECOND:
        return Time(expr.cast(pl.Int64, strict=False), PER_SECOND[column.unit])
    if types.is_decimal(kind) and column.unit in PER_SECOND:
        return _of_decimals(expr, kind, PER_SECOND[column.unit])
    if types.is_floating(kind) and column.unit in PER_SECOND:
        ms = expr.cast(pl.Float64) * (1000 / PER_SECOND[column.unit])
        ms = pl.when(ms.is_finite() & (ms.abs() < 1e17)).then((ms + 0.5).floor())
        return Time(ms.cast(pl.Int64, strict=False))
    raise Unsupported(f"time is {kind}")


def _of_decimals(expr: pl.Expr, kind: pa.DataType, per_second: int) -> Time:
    check_decimal(kind)
    if not kind.scale:
        return Time(expr.cast(pl.Int64, strict=False), per_second)
    unscaled, ticks_per_ms = expr.to_physical(), fractions.Fraction(per_second, 1000)
    factor = ticks_per_ms * 10**kind.scale
    if factor.numerator >= 10**38 or (factor.denominator > 1 and kind.precision > 35):
        raise Unsupported(f"time is {kind}, which has too many digits to compute with")
    ms = unscaled * pl.lit(factor.denominator, pl.Int128) // pl.lit(factor.numerator, pl.Int128)
    return Time(ms.cast(pl.Int64, strict=False))


def _in_zone(expr: pl.Expr, zone: str) -> pl.Expr:
    """Wall times of a zone as moments; null where a change of clocks leaves them out."""
    if zone in ("UTC", "Etc/UTC"):
        return expr
    try:
        pl.Series([0]).cast(pl.Datetime("us")).dt.replace_time_zone(zone)
    except pl.exceptions.PolarsError:
        raise Unsupported(f"time zone {zone}") from None  # such as "localtime"
    return expr.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")


def _iso_ms(text: pl.Expr, zone: str) -> pl.Expr:
    """Milliseconds of ISO 8601 text in its usual forms; null for all others.

    Args:
        text: such as 2024-01-15T10:00:00.123+01:00, or the date alone.
        zone: of texts without one.
    """
    parts = text.str.extract_groups(_ISO_8601).struct
    clock = pl.concat_str(parts.field("day"), parts.field("clock").fill_null("00:00:00"))
    wall = clock.str.to_datetime("%Y-%m-%d%H:%M:%S", time_unit="ms", strict=False)
    fraction = parts.field("ms").cast(pl.Int64).fill_null(0)
    away = parts.field("hours").cast(pl.Int64) * 60 + parts.field("minutes").cast(pl.Int64)
    away = pl.when(parts.field("sign") == "-").then(-away).otherwise(away).fill_null(0) * 60_000
    local = _in_zone(wall, zone).dt.epoch("ms")
    utc = wall.dt.epoch("ms") - away
    return pl.when(parts.field("zone").is_null()).then(local).otherwise(utc) + fraction
