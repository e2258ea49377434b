"""Random values of every Arrow type through both encoders, compared with `oracle`.

    python -m tests.encode.fuzz --values 1000000 [--seed 1]

Events must hold each value exactly, or the record must fail; ids must be equal for equal values,
and for no others; and the emulator's rules must take every event.
"""

import argparse
import dataclasses
import decimal
import math
import random
import time
from typing import Any

import orjson
import pyarrow as pa
from pyarrow import types

from mixpanel_sink import ContentId, EventMapping, TimeColumn
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.emulator import rules
from mixpanel_sink.encode.arrow_rows import rows_as_records
from mixpanel_sink.encode.columnar import ColumnarEncoder
from mixpanel_sink.encode.mapped_events import MappedEventEncoder
from mixpanel_sink.errors import RecordError
from tests.encode.oracle import PER_SECOND, Refused, expected, is_list

NOW = 1_750_000_000_000
ROWS = 1000
UNITS = list(PER_SECOND)
ZONES = [None, "UTC", "Europe/Berlin", "+05:30", "America/St_Johns"]
SCALARS: list[pa.DataType] = [
    pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(),
    pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.string(), pa.large_string(),
    pa.string_view(), pa.dictionary(pa.int8(), pa.string()), pa.binary(), pa.large_binary(),
    pa.binary(3), pa.binary_view(), pa.date32(), pa.date64(), pa.null(),
    pa.dictionary(pa.int16(), pa.int32()), pa.decimal128(5, 2), pa.decimal128(15, 5),
    pa.decimal128(15, 15), pa.decimal128(18, 0), pa.decimal128(18, 4), pa.decimal128(38, 0),
    pa.decimal128(38, 9), pa.decimal128(38, 20), pa.decimal128(38, 38), pa.decimal32(7, 3),
    pa.decimal64(18, 9), pa.decimal256(60, 10), pa.decimal256(76, 38), pa.decimal128(6, -2),
    *(pa.timestamp(unit, zone) for unit in UNITS for zone in ZONES),
    *(pa.duration(unit) for unit in UNITS),
    pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns"),
]  # fmt: skip
KEYS = [pa.string(), pa.int16(), pa.large_string(), pa.date32()]
TEXTS = ["", "a", "Ünï", "\U0001f600", 'say "hi"', "back\\slash", "two\nlines", "\0", "\x7f"]


def random_type(rng: random.Random, levels: int = 3) -> pa.DataType:
    """Any type; scalars most of the time."""
    form = rng.choice(["scalar"] * 6 + ["list", "large", "fixed", "struct", "map"])
    if form == "scalar" or not levels:
        return rng.choice(SCALARS)
    inner = random_type(rng, levels - 1)
    if form == "map":
        return pa.map_(rng.choice(KEYS), inner)
    if form == "struct":
        names = rng.sample(["b", "a", 'q"', "*", "$x", ""], rng.randrange(1, 4))
        return pa.struct([(name, random_type(rng, levels - 1)) for name in names])
    if form == "fixed":
        return pa.list_(inner, 2)
    return pa.list_(inner) if form == "list" else pa.large_list(inner)


def raw_value(rng: random.Random, kind: pa.DataType, wild: bool) -> Any:
    """A value as `oracle.expected` takes it, or None; a wild one may have no form in JSON."""
    if types.is_null(kind) or rng.random() < 0.1:
        return None
    if types.is_dictionary(kind):
        return _raw(rng, kind.value_type, wild)
    return _raw(rng, kind, wild)


def _raw(rng: random.Random, kind: pa.DataType, wild: bool) -> Any:
    if types.is_boolean(kind):
        return rng.random() < 0.5
    if types.is_integer(kind):
        bits = kind.bit_width - types.is_signed_integer(kind)
        low = -(2**bits) if types.is_signed_integer(kind) else 0
        return rng.choice([low, 2**bits - 1, 0, rng.randint(low, 2**bits - 1)])
    if types.is_floating(kind):
        return _float(rng, kind, wild)
    if types.is_decimal(kind):
        return _digits(rng, kind.precision, max(0, kind.scale))
    if types.is_map(kind):
        size = rng.randrange(3)
        pairs = [
            (_raw(rng, kind.key_type, False), raw_value(rng, kind.item_type, wild))
            for _ in range(size)
        ]
        return pairs if wild else list(dict(pairs).items())
    if types.is_struct(kind):
        return {part.name: raw_value(rng, part.type, wild) for part in kind}
    if is_list(kind):
        size = 2 if types.is_fixed_size_list(kind) else rng.choice([0, 1, 2, 3])
        if wild and types.is_boolean(kind.value_type) and size > 2:
            size = rng.choice([254, 255])
        return [raw_value(rng, kind.value_type, wild) for _ in range(size)]
    if types.is_fixed_size_binary(kind):
        return rng.randbytes(3)
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
        return rng.randbytes(rng.randrange(6))
    if types.is_temporal(kind):
        return _ticks(rng, kind, wild)
    return rng.choice(TEXTS) + rng.choice(TEXTS)


def _float(rng: random.Random, kind: pa.DataType, wild: bool) -> float:
    odd = [math.nan, math.inf, -math.inf] if wild else [0.0, -0.0]
    if rng.random() < 0.1:
        return rng.choice(odd)
    most = {16: 4, 32: 30, 64: 300}[kind.bit_width]
    return rng.uniform(-1, 1) * 10.0 ** rng.randint(-most, most)


def _digits(rng: random.Random, precision: int, scale: int) -> int:
    """An unscaled decimal: of any size, with few digits, or whole."""
    size = rng.choice([precision, rng.randint(1, precision), min(precision, rng.randint(14, 18))])
    number = rng.randrange(10**size)
    if rng.random() < 0.3:
        number = min(number, 10**precision - 1) // 10**scale * 10**scale
    return rng.choice([number, -number])


def _ticks(rng: random.Random, kind: pa.DataType, wild: bool) -> int:
    if types.is_date32(kind):
        return rng.randint(-(10**6), 4 * 10**6) if wild else rng.randint(-719_162, 2_932_896)
    if types.is_date64(kind):
        return rng.randint(-719_162, 2_932_896) * 86_400_000
    per_second = PER_SECOND[kind.unit]
    if types.is_time(kind):
        whole = rng.randrange(86_400) * per_second + rng.randrange(per_second)
        return rng.choice([whole, -1, 86_400 * per_second]) if wild else whole
    if wild:
        return rng.randint(-(2**63) + 1, 2**63 - 1)
    if types.is_duration(kind):
        return rng.choice([-1, 1]) * rng.randrange(10 ** rng.randint(1, 18))
    low, high = (-9 * 10**9, 9 * 10**9) if kind.unit == "ns" else (-62_135_500_000, 253_402_200_000)
    fraction = rng.choice([0, rng.randrange(per_second), rng.randrange(1000) * per_second // 1000])
    return rng.randint(low, high) * per_second + fraction


def as_arrow(raw: Any, kind: pa.DataType) -> Any:
    """The same value as `pa.array` takes it."""
    if raw is None:
        return None
    if types.is_decimal(kind):
        sign, digits = int(raw < 0), tuple(map(int, str(abs(raw))))
        return decimal.Decimal((sign, digits, -kind.scale))
    if types.is_map(kind):
        return [(as_arrow(k, kind.key_type), as_arrow(v, kind.item_type)) for k, v in raw]
    if types.is_struct(kind):
        return {part.name: as_arrow(raw[part.name], part.type) for part in kind}
    if is_list(kind):
        return [as_arrow(item, kind.value_type) for item in raw]
    return raw


@dataclasses.dataclass
class Counts:
    """What a run has compared."""

    values: int = 0
    refused: int = 0


def check_column(rng: random.Random, rows: int, counts: Counts) -> None:
    """One column of random values through both encoders.

    Raises:
        AssertionError: names the type, the value, and what became of it.
    """
    kind = random_type(rng)
    wild = rng.random() < 0.2
    raw = [raw_value(rng, kind, wild) for _ in range(rows)]
    column = pa.array([as_arrow(value, kind) for value in raw], kind)
    same = {"u": ["u"] * rows, "e": ["E"] * rows, "t": [1_700_000_000] * rows}
    table = pa.table({**same, "p": column})
    rule: Any = rng.choice([ContentId(), ["p", "e"]])
    mapping = EventMapping(
        event="e", time=TimeColumn("t", "s"), distinct_id="u", insert_id=rule, include_mapped=True
    )
    events = _events(table, mapping)
    ids: dict[str, str] = {}
    for row, value in enumerate(raw):
        where = f"{kind}: {value!r}"
        insert_id = _check_event(where, value, kind, events[row], counts)
        if insert_id is None:
            continue
        exact = repr(_sorted(expected(value, kind, exact=True)))
        assert ids.setdefault(exact, insert_id) == insert_id, f"{where}: another id"
    of_id: dict[str, str] = {}
    for exact, insert_id in ids.items():
        other = of_id.setdefault(insert_id, exact)
        assert other == exact, f"{kind}: one id for {other} and {exact}"
    counts.values += sum(map(_scalars, raw))


def _sorted(value: Any) -> Any:
    """The value with the keys of its objects in order."""
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _events(table: pa.Table, mapping: EventMapping) -> list[bytes | None]:
    """The events that the record encoder makes, and that the columnar one makes of what it does."""
    encoder = MappedEventEncoder(mapping, Limits(), None, lambda: NOW)
    events: list[bytes | None] = []
    for record in rows_as_records(table, range(len(table))):
        try:
            events.append(encoder.encode(record).json)
        except RecordError:
            events.append(None)
    columnar = ColumnarEncoder(mapping, Limits(), None, lambda: NOW)
    seen: list[int] = []
    for part in columnar.encode(table):
        for event, row in zip(part.texts.events(), part.rows.tolist(), strict=True):
            assert event == events[row], (
                f"{table.schema.field('p').type}: {event!r}, {events[row]!r}"
            )
        seen += part.rows.tolist() + part.leftover.tolist()
    assert sorted(seen) == list(range(len(table)))
    return events


def _scalars(raw: Any) -> int:
    """How many values a value is made of."""
    if isinstance(raw, dict):
        return sum(map(_scalars, raw.values()))
    return sum(map(_scalars, raw)) if isinstance(raw, list | tuple) else 1


def _check_event(where: str, value: Any, kind: Any, event: Any, counts: Counts) -> str | None:
    """The event's id; None if it had to fail, and did."""
    try:
        wanted = expected(value, kind)
    except Refused:
        assert event is None, f"{where} must fail; sent: {event!r}"
        counts.refused += 1
        return None
    assert event is not None, f"{where} must not fail"
    parsed = orjson.loads(event)
    properties = parsed["properties"]
    assert same_value(properties.get("p"), wanted), f"{where}: {properties.get('p')!r}, {wanted!r}"
    assert ("p" in properties) == (wanted is not None), where
    problem = rules.check(parsed, len(event), RULES)
    assert isinstance(problem, int), f"{where}: the emulator says {problem}"
    return str(properties["$insert_id"])


RULES = rules.Rules(now=NOW / 1000, max_event_bytes=2_000_000)


def same_value(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same, with the same types."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_value(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same_value, one, other))
    return repr(one) == repr(other)


def main() -> None:
    """The long run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--values", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    counts, start, seed = Counts(), time.monotonic(), given.seed
    while counts.values < given.values:
        try:
            check_column(random.Random(seed), ROWS, counts)
        except AssertionError as error:
            raise SystemExit(f"seed {seed}: {error}") from None
        seed += 1
    print(
        f"{counts.values:,} values of {seed - given.seed:,} columns: 0 differences; "
        f"{counts.refused:,} had to fail and did; {time.monotonic() - start:.0f} s"
    )


if __name__ == "__main__":
    main()
