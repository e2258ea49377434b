"""Hypothesis strategies: Arrow columns of every type, tame or wild, and mappings over them."""

import dataclasses
import datetime
import decimal
import math
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st
from pyarrow import types

from mixpanel_sink import Column, Constant, ContentId, EventMapping, PositionId, TimeColumn
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.settings.columns import ColumnsId
from mixpanel_sink.settings.run_mark import RunMark

NOW = 1_750_000_000_000
MAX_AGE = 5 * 86_400
"""Seconds that /track looks back."""
"""The clock of both encoders, in milliseconds: June 2025."""

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
UNITS = st.sampled_from(list(PER_SECOND))
ODD_NAMES = [
    "a", "event", "properties", "p:a", "i:event", "ok", "*", "^a$", "^.*$", "x y", 'q"', "back\\",
    "é☃", "\U0001f600", "$os", "$insert", "a.b", "{}", "line\nbreak", "\0", "{{", "c0", "Z", "_",
    "$device", "\u2028", "0",
]  # fmt: skip
NESTED_NAMES = ["\0", "b", "a", "*", "^a$", 'q"', "\U0001f600", "$x", ""]
ZONES = ["UTC", "Europe/Berlin", "+05:30", "America/St_Johns", "-00:30", "Etc/UTC"]

_SCALARS: list[pa.DataType] = [
    pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(),
    pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.string(), pa.large_string(),
    pa.string_view(), pa.dictionary(pa.int8(), pa.string()),
    pa.dictionary(pa.int32(), pa.large_string()), pa.binary(), pa.large_binary(), pa.binary(3),
    pa.binary_view(), pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms"), pa.time64("us"),
    pa.time64("ns"), pa.null(), pa.dictionary(pa.int8(), pa.int32()), pa.decimal128(5, 2),
    pa.decimal128(15, 15), pa.decimal128(18, 4), pa.decimal128(38, 0), pa.decimal128(38, 20),
    pa.decimal128(38, 38), pa.decimal32(7, 3), pa.decimal64(18, 9), pa.decimal256(60, 10),
    pa.decimal128(6, -2),
]  # fmt: skip

MAP_KEYS = [pa.string(), pa.int16(), pa.large_string(), pa.date32(), pa.binary()]


def scalar_types() -> st.SearchStrategy[pa.DataType]:
    return st.one_of(
        st.sampled_from(_SCALARS),
        st.builds(pa.timestamp, UNITS, st.sampled_from([None, *ZONES])),
        st.builds(pa.duration, UNITS),
    )


def fast_types() -> st.SearchStrategy[pa.DataType]:
    """Those that the columnar encoder claims."""
    scalars = scalar_types().filter(lambda kind: not (types.is_decimal(kind) and kind.scale < 0))
    some = scalars.filter(lambda kind: not types.is_null(kind))
    lists = st.one_of(
        scalars,
        st.builds(pa.list_, some),
        st.builds(pa.large_list, some),
        st.builds(pa.list_, some, st.just(2)),
    )
    # pyarrow builds null structs that hold a dictionary with indices out of bounds
    inside = lists.filter(
        lambda kind: (
            not types.is_dictionary(kind)
            and not (types.is_fixed_size_list(kind) and types.is_dictionary(kind.value_type))
        )
    )
    structs = _structs(inside, ["b", "a", 'q"', "$x", ""], 1)
    maps = st.builds(pa.map_, st.sampled_from(MAP_KEYS), st.one_of(inside, structs))
    return st.one_of(
        lists, structs, st.builds(pa.list_, structs), _structs(structs, ["z", "y"], 1), maps, maps
    )


def _structs(
    inner: st.SearchStrategy[pa.DataType], names: list[str] = NESTED_NAMES, least: int = 0
) -> st.SearchStrategy[pa.DataType]:
    some = st.lists(st.sampled_from(names), min_size=least, max_size=3, unique=True)
    return some.flatmap(
        lambda chosen: st.lists(inner, min_size=len(chosen), max_size=len(chosen)).map(
            lambda kinds: pa.struct(list(zip(chosen, kinds, strict=True)))
        )
    )


def data_types() -> st.SearchStrategy[pa.DataType]:
    """Scalars most of the time, else up to a few levels of lists, structs and maps."""
    nested = st.recursive(
        scalar_types(),
        lambda inner: st.one_of(
            st.builds(pa.list_, inner),
            st.builds(pa.large_list, inner),
            st.builds(pa.list_, inner, st.just(2)),
            _structs(inner),
            st.builds(pa.map_, st.sampled_from(MAP_KEYS), inner),
        ),
        max_leaves=4,
    )
    return st.one_of(scalar_types(), nested)


def texts() -> st.SearchStrategy[str]:
    return st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
        st.sampled_from(
            ["", "\0", "\x7f", "a\nb", "\u2028", '"\\/', "\U0001f600", "x" * 256, "é" * 128, "}}"]
        ),
    )


def values(kind: pa.DataType, wild: bool) -> st.SearchStrategy[Any]:
    """Values that `pa.array` takes for this type; wild ones may have no form in JSON or Python."""
    some = _values(kind, wild)
    return st.one_of(some, some, some, st.none())


def _values(kind: pa.DataType, wild: bool) -> st.SearchStrategy[Any]:
    if types.is_null(kind):
        return st.none()
    if types.is_boolean(kind):
        return st.booleans()
    if types.is_integer(kind):
        low, high = _bounds(kind)
        return st.one_of(st.integers(low, high), st.sampled_from([low, high, 0]))
    if types.is_floating(kind):
        width = kind.bit_width
        return st.one_of(
            st.floats(width=width, allow_nan=wild, allow_infinity=wild),
            st.sampled_from([0.0, -0.0, 1.0, 0.5]),
        )
    if types.is_decimal(kind):
        most = 10 ** (kind.precision if wild else min(15, kind.precision)) - 1
        return st.integers(-most, most).map(
            lambda unscaled: decimal.Decimal((unscaled < 0, _digits(unscaled), -kind.scale))
        )
    if types.is_dictionary(kind):
        return _values(kind.value_type, wild)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return texts()
    if types.is_fixed_size_binary(kind):
        return st.binary(min_size=3, max_size=3)
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
        return st.one_of(st.binary(max_size=5), st.just(b"x" * 200))
    if types.is_date(kind):
        days = st.integers(-(10**6), 4 * 10**6) if wild else st.integers(-719_162, 2_932_896)
        return days if types.is_date32(kind) else days.map(lambda day: day * 86_400_000)
    if types.is_timestamp(kind) or types.is_duration(kind):
        return _moments(kind, wild)
    if types.is_time(kind):
        top = 86_400 * PER_SECOND[kind.unit]
        return st.integers(-1 if wild else 0, top if wild else top - 1)
    if types.is_map(kind):
        keys = _values(kind.key_type, wild)
        pairs = st.lists(st.tuples(keys, values(kind.item_type, wild)), max_size=3)
        return pairs if wild else pairs.map(lambda some: list(dict(some).items()))
    if types.is_struct(kind):
        return st.fixed_dictionaries({part.name: values(part.type, wild) for part in kind})
    if types.is_fixed_size_list(kind):
        size = kind.list_size
        return st.lists(values(kind.value_type, wild), min_size=size, max_size=size)
    items = st.lists(values(kind.value_type, wild), max_size=3)
    if wild and types.is_integer(kind.value_type):
        return st.one_of(items, st.just([1] * 254), st.just([1] * 255))
    return items


def _bounds(kind: pa.DataType) -> tuple[int, int]:
    bits = kind.bit_width
    return (
        (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        if types.is_signed_integer(kind)
        else (
            0,
            2**bits - 1,
        )
    )


def _digits(unscaled: int) -> tuple[int, ...]:
    return tuple(map(int, str(abs(unscaled))))


def _moments(kind: pa.DataType, wild: bool) -> st.SearchStrategy[int]:
    per_second = PER_SECOND[kind.unit]
    if wild:
        return st.integers(-(2**63) + 1, 2**63 - 1)
    if types.is_duration(kind):
        return st.integers(-9 * 10**12, 9 * 10**12)
    seconds = (
        st.integers(-9 * 10**9, 9 * 10**9)
        if kind.unit == "ns"
        else st.integers(-62_135_500_000, 253_402_200_000)
    )
    fractions = st.one_of(st.just(0), st.integers(0, per_second - 1))
    return st.tuples(seconds, fractions).map(lambda both: both[0] * per_second + both[1])


@dataclasses.dataclass(frozen=True)
class Case:
    """A table and what to do with it."""

    table: pa.Table
    mapping: EventMapping
    token: str | None = None
    file_key: str | None = None
    first_row: int = 0
    limits: Limits = dataclasses.field(default_factory=Limits)
    mark: RunMark | None = None


def _mostly(common: st.SearchStrategy[Any], rare: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(common, common, common, common, common, rare)


def users() -> st.SearchStrategy[tuple[pa.DataType, st.SearchStrategy[Any]]]:
    text = _mostly(
        st.sampled_from(["u1", "u-2", "Ünï", "\U0001f600", "a\nb"]),
        st.sampled_from([None, "", "NULL", "n/a", "unKnown", "x" * 255, "x" * 256, "é" * 128]),
    )
    numbers = _mostly(st.integers(1, 99), st.sampled_from([None, 0, 2**32 - 1]))
    kinds = [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int8(), pa.string()),
    ]
    return st.one_of(
        st.sampled_from(kinds).map(lambda kind: (kind, text)),
        st.sampled_from([pa.int64(), pa.uint64(), pa.uint32()]).map(lambda kind: (kind, numbers)),
    )


_ISO = (
    r"20[0-2][0-9]-(0[1-9]|1[0-2])-([0-2][0-9]|3[01])"
    r"([T ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{3}([0-9]{3})?)?"
    r"(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])?)?"
)
_LIKE_ISO = (
    r"\s?[0-9]{4}-[01][0-9]-?[0-3][0-9]"
    r"([Tt _]?[0-2][0-9](:[0-6][0-9](:?[0-6][0-9])?)?([.,][0-9]{0,9})?"
    r"([Zz]|[+-][0-9]{2}:?[0-9]{2}(:[0-9]{2})?)?)?\s?"
)
_EPOCH = datetime.datetime(1970, 1, 1)


@st.composite
def times(draw: st.DrawFn) -> tuple[pa.DataType, st.SearchStrategy[Any], TimeColumn]:
    """A time column's type, its values (most of them in range) and its settings."""
    forms = ["timestamp", "timestamp", "timestamp", "date", "integer", "integer", "float", "text"]
    form = draw(st.sampled_from(forms))
    zones = ["UTC", "UTC", "Europe/Berlin", "America/St_Johns", "Europe/Berlin", "localtime"]
    zone = draw(st.sampled_from(zones))
    good = st.one_of(
        st.integers(31_622_400, NOW // 1000),
        # around the changes of clocks in Berlin, in wall time
        st.integers(1_711_846_800 - 7200, 1_711_846_800 + 14_400),
        st.integers(1_729_990_800 - 7200, 1_729_990_800 + 14_400),
        # around what is too old for /track
        st.integers(NOW // 1000 - MAX_AGE - 15 * 3600, NOW // 1000 - MAX_AGE + 15 * 3600),
        st.sampled_from([NOW // 1000 - MAX_AGE + n for n in (-1, 0, 1)]),
    )
    seconds = _mostly(
        good,
        st.sampled_from([0, 31_535_999, NOW // 1000 + 3600, NOW // 1000 + 3601, 10**11]),
    )
    if form == "text":
        texts_ = ["2024-01-15T10:00:00+01:00", "2024-01-15", "2024-03-31 02:30:00", "soon", "", "2"]
        forms_ = st.one_of(
            st.sampled_from([*texts_, None]),
            seconds.map(lambda at: _EPOCH + datetime.timedelta(seconds=min(at, 10**10))).map(str),
            st.from_regex(_LIKE_ISO, fullmatch=True),
            st.from_regex(_ISO, fullmatch=True),
            st.from_regex(_ISO, fullmatch=True),
        )
        kind = draw(st.sampled_from([pa.string(), pa.large_string(), pa.string_view()]))
        return kind, forms_, TimeColumn("t", "iso8601", zone)
    if form == "date":
        kind = draw(st.sampled_from([pa.date32(), pa.date64()]))
        scale = 1 if types.is_date32(kind) else 86_400_000
        days = seconds.map(lambda at: at // 86_400 * scale)
        return kind, _mostly(days, st.none()), TimeColumn("t", None, zone)
    unit = draw(UNITS)
    per_second = PER_SECOND[unit]
    fractions = st.one_of(st.just(0), st.integers(0, per_second - 1))
    exact = st.tuples(seconds, fractions).map(lambda both: both[0] * per_second + both[1])
    if form == "timestamp":
        exact = exact.filter(lambda at: at < 2**63)
        kind = pa.timestamp(unit, draw(st.sampled_from([None, *ZONES])))
        return kind, _mostly(exact, st.none()), TimeColumn("t", None, zone)
    if form == "integer":
        kind = draw(st.sampled_from([pa.int64(), pa.uint64()]))
        exact = exact.filter(lambda at: at < 2**63)
        odd = st.sampled_from([None, 2**63 - 1, 0])
        return kind, _mostly(exact, odd), TimeColumn("t", unit, zone)
    odd_floats = st.sampled_from([None, math.nan, math.inf, -1.5, 1e300])
    return pa.float64(), _mostly(exact.map(float), odd_floats), TimeColumn("t", unit, zone)


CONSTANTS = st.dictionaries(
    st.sampled_from(["k", "aa", 'k"', "zz"]),
    st.sampled_from(
        ["x", "", 1, 2**64 - 1, 0.5, -0.0, True, None, "x" * 256, [1, "a"], {"b": 1, "a": None}]
    ),
    max_size=2,
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """An arbitrary table with its mapping; usually with some rows that are healthy."""
    rows = draw(st.one_of(st.integers(1, 6), st.integers(0, 6)))
    columns: dict[str, pa.Array] = {}

    def add(name: str, kind: pa.DataType, some: st.SearchStrategy[Any]) -> None:
        items = draw(st.lists(some, min_size=rows, max_size=rows))
        columns[name] = pa.array(items, kind)

    time_kind, time_values, time = draw(times())
    add("t", time_kind, time_values)
    settings: dict[str, Any] = {"time": time}
    wild = draw(st.integers(0, 5)) == 5
    names = draw(st.lists(st.sampled_from(ODD_NAMES), max_size=4, unique=True))
    for name in names:
        kind = draw(data_types())
        add(name, kind, values(kind, wild))
    who = draw(st.sampled_from(["distinct", "constant", "device", "user", "both", "all"]))
    if_null = draw(st.sampled_from([None, "nobody"]))
    for part, name in (("distinct_id", "u"), ("device_id", "dev"), ("user_id", "usr")):
        if who == "constant" and part == "distinct_id":
            settings[part] = Constant("everyone")
        elif who in (part.removesuffix("_id"), "all") or (who == "both" and name != "u"):
            add(name, *draw(users()))
            settings[part] = Column(name, if_null)
    if draw(st.booleans()):
        settings["event"] = Constant(draw(st.sampled_from(["E", 'E"\\', "\U0001f600"])))
    else:
        add(
            "e",
            pa.string(),
            _mostly(
                st.sampled_from(["Buy", "x" * 255, '"\n']), st.sampled_from(["", None, "x" * 256])
            ),
        )
        settings["event"] = Column("e", draw(st.sampled_from([None, "Other"])))
    if draw(st.booleans()):
        add("addr", pa.string(), st.sampled_from(["1.2.3.4", None, "", "x" * 300]))
        settings["ip"] = "addr"
    elif draw(st.booleans()):
        settings["ip"] = None
    everything = list(columns)
    some_columns = st.lists(st.sampled_from(everything), min_size=1, max_size=3, unique=True)
    salt = draw(st.sampled_from(["", "", "second", 'é"']))
    named = some_columns.map(lambda names: ColumnsId(tuple(names), salt))
    settings["insert_id"] = draw(
        st.one_of(st.none(), st.just(ContentId(salt)), st.just(PositionId(salt)), named)
    )
    settings["include_mapped"] = draw(st.booleans())
    settings["drop_nulls"] = draw(st.booleans())
    settings["non_finite"] = draw(st.sampled_from(["fail", "drop"]))
    settings["constants"] = draw(CONSTANTS)
    ids = settings["insert_id"].columns if isinstance(settings["insert_id"], ColumnsId) else ()
    free = settings["include_mapped"] or not set(names[:1]) & set(ids)
    if names and free and draw(st.booleans()):
        settings["rename"] = {names[0]: draw(st.sampled_from(["new", "é", "zzz"]))}
    if len(names) > 1 and draw(st.booleans()):
        settings["exclude"] = [names[1]]
    table = pa.table(columns)
    if rows and draw(st.booleans()):
        start = draw(st.integers(0, rows - 1))
        table = table.slice(start, draw(st.integers(0, rows)))
    if rows and draw(st.booleans()):
        cut = draw(st.integers(0, len(table)))
        table = pa.concat_tables([table.slice(0, cut), table.slice(cut)])
    max_age = draw(st.sampled_from([None, None, MAX_AGE, MAX_AGE + 0.0005]))
    event_bytes = draw(st.sampled_from([2_000_000] * 3 + [200, 400]))
    position = isinstance(settings["insert_id"], PositionId) or draw(st.integers(0, 3)) == 3
    return Case(
        table,
        EventMapping(**settings),
        draw(st.sampled_from([None, 'tok"en'])),
        "0123456789abcdef0123" if position else None,
        draw(st.sampled_from([0, 7])),
        Limits(event_bytes=event_bytes, max_age_seconds=max_age),
        draw(st.sampled_from([None, None, RunMark("import run", 'one"'), RunMark("aa", "2")])),
    )
