"""The event's time as an expression."""

from __future__ import annotations

import dataclasses
import fractions
import re
from collections.abc import Callable
from typing import Any

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
from mixpanel_sink.settings.time_formats import MONTHS


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
        """The time in milliseconds since 1970."""
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
    if is_text(kind) and column.patterns():
        return Time(of_texts(convert(expr, kind), column))
    if types.is_integer(kind) and column.format is not None:  # such as 20240131
        return Time(of_texts(expr.cast(pl.String), column))
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


def of_texts(text: pl.Expr, column: TimeColumn) -> pl.Expr:
    """Milliseconds of texts; null for those that fit no pattern, are not times, or are left out by
    a change of clocks."""
    read = [_wall(text, pattern) for pattern in column.patterns()]
    wall = pl.coalesce(wall for wall, _, _ in read)
    rest: Any = pl.when(read[0][0].is_not_null()).then(pl.struct(read[0][1], read[0][2]))
    for each, away, fraction in read[1:]:
        rest = rest.when(each.is_not_null()).then(pl.struct(away, fraction))
    away, fraction = rest.struct.field("away"), rest.struct.field("fraction")
    local = _in_zone(wall, column.timezone).dt.epoch("ms")
    utc = wall.dt.epoch("ms") - away
    return pl.when(away.is_null()).then(local).otherwise(utc) + fraction


def _wall(text: pl.Expr, pattern: str) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Wall times, and their zone's distance from UTC (if given) and fraction in milliseconds."""
    names = re.findall(r"\(\?P<(\w+)>", pattern)
    fields = text.str.extract_groups(pattern).struct

    def part(name: str) -> pl.Expr:
        return fields.field(name) if name in names else pl.lit(None, pl.String)

    if "date" in names:
        whole = pl.concat_str(part("date"), part("clock").fill_null("00:00:00"))
    else:
        day = [_year(part), _month(part), part("day").str.zfill(2)]
        clock = [_hour(part), _two(part("minute")), _two(part("second"))]
        whole = pl.concat_str(
            pl.concat_str(day, separator="-"), pl.concat_str(clock, separator=":")
        )
    wall = whole.str.to_datetime("%Y-%m-%d%H:%M:%S", time_unit="ms", strict=False)
    digits = pl.concat_str(part("fraction").fill_null(""), pl.lit("000")).str.slice(0, 3)
    return wall, _away(part("zone")).alias("away"), digits.cast(pl.Int64).alias("fraction")


def _two(digits: pl.Expr) -> pl.Expr:
    return digits.fill_null("").str.zfill(2)


def _year(part: Callable[[str], pl.Expr]) -> pl.Expr:
    two = part("year2")
    century = pl.when(two < "69").then(pl.lit("20")).otherwise(pl.lit("19"))
    return part("year").fill_null(pl.concat_str(century, two))


def _month(part: Callable[[str], pl.Expr]) -> pl.Expr:
    numbers = {name: f"{number:02}" for number, name in enumerate(MONTHS, 1)}
    named = part("month_name").str.slice(0, 3).str.to_lowercase()
    return part("month").str.zfill(2).fill_null(named.replace_strict(numbers, default=None))


def _hour(part: Callable[[str], pl.Expr]) -> pl.Expr:
    afternoon = part("half").str.to_lowercase() == "pm"
    of_half = part("hour12").cast(pl.Int64) % 12 + afternoon.cast(pl.Int64) * 12
    return _two(part("hour").fill_null(of_half.cast(pl.String)))


def _away(zone: pl.Expr) -> pl.Expr:
    digits = zone.str.strip_chars("+-ZzUTCGM").str.replace(":", "").str.pad_end(4, "0")
    hours, minutes = digits.str.slice(0, 2).cast(pl.Int64), digits.str.slice(2).cast(pl.Int64)
    away = (hours * 60 + minutes) * 60_000
    return pl.when(zone.str.starts_with("-")).then(-away).otherwise(away)
