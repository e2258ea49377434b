"""Sixty varied tables with their mappings, the same in every run and version."""

import datetime
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa

from mixpanel_sink import Column, Constant, ContentId, EventMapping, PositionId, TimeColumn

NOW = 1_750_000_000_000
TABLES = 60
_WORDS = [
    "",
    "a",
    "Ünï",
    "\U0001f600",
    'say "hi"',
    "back\\slash",
    "two\nlines",
    "x" * 300,
    "\u2028",
]
_START = datetime.datetime(2024, 1, 1)

_Kind = tuple[pa.DataType, Callable[[random.Random], Any]]


def _moment(rng: random.Random, step: int) -> datetime.datetime:
    moment = _START + datetime.timedelta(seconds=rng.randrange(20_000_000))
    return moment + datetime.timedelta(
        microseconds=rng.choice([0, 0, 250_000, 123_456]) // step * step
    )


def _fraction(rng: random.Random) -> Decimal:
    """At most 15 digits, never whole."""
    return Decimal(rng.randrange(-(10**12), 10**12) * 10 + rng.randrange(1, 10)).scaleb(-4)


KINDS: list[_Kind] = [
    (pa.string(), lambda rng: rng.choice(_WORDS)),
    (pa.large_string(), lambda rng: rng.choice(_WORDS)),
    (pa.dictionary(pa.int8(), pa.string()), lambda rng: rng.choice(_WORDS)),
    (pa.int64(), lambda rng: rng.randrange(-(2**63), 2**63)),
    (pa.uint64(), lambda rng: rng.randrange(2**64)),
    (pa.int8(), lambda rng: rng.randrange(-128, 128)),
    (pa.float64(), lambda rng: rng.choice([0.0, -0.0, 1e-7, 1e300, rng.uniform(-1e6, 1e6)])),
    (pa.float32(), lambda rng: rng.uniform(-1e3, 1e3)),
    (pa.bool_(), lambda rng: rng.random() < 0.5),
    (pa.binary(), lambda rng: rng.randbytes(rng.randrange(5))),
    (pa.date32(), lambda rng: _moment(rng, 1).date()),
    (pa.date64(), lambda rng: _moment(rng, 1).date()),
    (pa.timestamp("s"), lambda rng: _moment(rng, 1_000_000)),
    (pa.timestamp("ms", "Europe/Berlin"), lambda rng: _moment(rng, 1000)),
    (pa.timestamp("us", "UTC"), lambda rng: _moment(rng, 1)),
    (pa.timestamp("ns"), lambda rng: rng.randrange(10**18)),
    (pa.time32("ms"), lambda rng: rng.randrange(86_400_000)),
    (pa.time64("ns"), lambda rng: rng.randrange(86_400 * 10**9)),
    (pa.duration("us"), lambda rng: rng.randrange(-(10**14), 10**14)),
    (pa.decimal128(18, 4), _fraction),
    (pa.list_(pa.int32()), lambda rng: [rng.randrange(9) for _ in range(rng.randrange(4))]),
    (pa.list_(pa.timestamp("ms")), lambda rng: [_moment(rng, 1000) for _ in range(2)]),
    (pa.list_(pa.string(), 2), lambda rng: rng.choices(_WORDS, k=2)),
    (
        pa.struct([("b", pa.string()), ("a", pa.date32()), ("c", pa.list_(pa.float64()))]),
        lambda rng: {"b": rng.choice(_WORDS), "a": None, "c": [rng.random(), None]},
    ),
    (pa.map_(pa.string(), pa.int16()), lambda rng: [("b", 1), ("a", rng.randrange(99))]),
    (pa.null(), lambda rng: None),
]
_USERS = ["u1", "Ünï", 'q"', "null", None, "x" * 255, "x" * 256, "42"]


def _times(rng: random.Random, rows: int) -> tuple[pa.Array, TimeColumn]:
    seconds = [1_704_067_200 + rng.randrange(40_000_000) for _ in range(rows)]
    zone = rng.choice(["UTC", "Europe/Berlin"])
    form = rng.randrange(5)
    if form == 0:
        return pa.array(seconds), TimeColumn("t", "s")
    if form == 1:
        return pa.array([at * 1000 + 7 for at in seconds]), TimeColumn("t", "ms")
    if form == 2:
        return pa.array([at + 0.25 for at in seconds]), TimeColumn("t", "s")
    moments = [_START + datetime.timedelta(seconds=at - seconds[0]) for at in seconds]
    if form == 3:
        return pa.array(moments, pa.timestamp("us")), TimeColumn("t", timezone=zone)
    texts = [moment.isoformat() + rng.choice(["", "Z", "+02:00"]) for moment in moments]
    return pa.array(texts), TimeColumn("t", "iso8601", zone)


def sample(number: int) -> tuple[pa.Table, EventMapping, str | None, str | None]:
    """A table, its mapping, the token and the file's key."""
    rng = random.Random(number)
    rows = rng.choice([7, 50, 300])
    times, time = _times(rng, rows)
    columns: dict[str, Any] = {"t": times}
    columns["u"] = pa.array([rng.choice(_USERS) for _ in range(rows)], pa.string())
    columns["e"] = pa.array(
        [rng.choice(["Buy", 'say "x"', None]) for _ in range(rows)], pa.string()
    )
    columns["n"] = pa.array(range(rows), pa.int64())
    nulls = rng.choice([0, 0.3, 1])
    for i, (kind, value) in enumerate(rng.sample(KINDS, 8)):
        items = [None if rng.random() < nulls else value(rng) for _ in range(rows)]
        columns[rng.choice(["p", "*", "^a$", "é", 'q"']) + str(i)] = pa.array(items, kind)
    rule = rng.choice([None, ContentId(), PositionId(), ["n"], ["n", "u"], ["u"]])
    mapping = EventMapping(
        event=rng.choice([Constant('E"'), Column("e", "Other")]),
        time=time,
        distinct_id=rng.choice([Column("u"), Column("u", "nobody"), Column("n")]),
        user_id=rng.choice([None, "u"]),
        insert_id=rule,
        ip=rng.choice([Constant("0"), Column("u"), None]),
        include_mapped=rng.random() < 0.5,
        drop_nulls=rng.random() < 0.7,
        constants=rng.choice([{}, {"k": [1, "a"], "zz": 0.5}]),
    )
    key = rng.choice([None, "0123456789abcdef0123"])
    if isinstance(rule, PositionId):
        key = "0123456789abcdef0123"
    return pa.table(columns), mapping, rng.choice([None, 'tok"en']), key
