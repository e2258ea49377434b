"""The record encoder: one dict, row or ready-made event to the JSON text of an event."""

from __future__ import annotations

import dataclasses
import enum
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from mixpanel_sink.api.endpoints import IMPORT, TRACK, Endpoint
from mixpanel_sink.api.identity import IDENTITY_EVENTS, missing_part
from mixpanel_sink.api.insert_ids import content_id, fitting_id, position_id
from mixpanel_sink.api.limits import (
    LONG_STRING_BYTES,
    MAX_FUTURE_MS,
    MAX_ID_BYTES,
    MAX_PROPERTIES,
    MIN_TIME_MS,
    RESERVED_DISTINCT_IDS,
    Limits,
    now_ms,
)
from mixpanel_sink.api.values import id_text, is_null, json_text, to_json
from mixpanel_sink.batch.origin import Source
from mixpanel_sink.encode.times import check_range, to_ms
from mixpanel_sink.errors import MappingError, RecordError
from mixpanel_sink.settings.columns import Column, ColumnsId, Constant, ContentId, PositionId
from mixpanel_sink.settings.mapping import FIXED, EventMapping

_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclasses.dataclass(frozen=True)
class EncodedEvent:
    """An event's JSON, and how many of its strings Mixpanel will cut."""

    json: bytes
    long_strings: int = 0


def as_mapping(record: Any) -> Mapping[Any, Any]:
    """A dict, beam.Row, NamedTuple, dataclass or attrs object as a dict.

    Raises:
        RecordError: for anything else.
    """
    try:
        if isinstance(record, Mapping):  # others than dict may make up keys, or fail later
            return record if type(record) is dict else dict(record)
        for method in ("_asdict", "as_dict"):
            if callable(call := getattr(record, method, None)):
                return dict(call())
        if dataclasses.is_dataclass(record) and not isinstance(record, type):
            return {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
        if hasattr(type(record), "__attrs_attrs__"):
            return {f.name: getattr(record, f.name) for f in type(record).__attrs_attrs__}
    except Exception as error:  # whatever a class of the user's may raise
        raise RecordError(
            "unreadable_value",
            f"The record is a {type(record).__name__} that cannot be read "
            f"({type(error).__name__}). Make it a dict.",
        ) from None
    raise RecordError(
        "unsupported_record",
        f"The record is a {type(record).__name__}; the sink takes dicts, beam.Row, named tuples, "
        "dataclasses and pyarrow.Table.",
    )


def _as_json(value: Any, name: str, drop_non_finite: bool) -> Any:
    """A value as orjson takes it; see `to_json`."""
    if type(value) in (dict, list) and (text := json_text(value)) is not None:
        return orjson.Fragment(text)
    return to_json(value, name, drop_non_finite)


class RecordEncoder:
    """Encodes records by a mapping.

    Args:
        mapping: what becomes what.
        limits: sizes.
        token: project token that every event carries, or None.
        clock: milliseconds since 1970.
    """

    def __init__(
        self,
        mapping: EventMapping,
        limits: Limits,
        token: str | None = None,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._mapping = mapping
        self.finish = _Finisher(limits, token)
        self._max_age = limits.max_age_seconds
        self._clock = clock
        self._drop = mapping.non_finite == "drop"
        rule = mapping.insert_id
        self._id_columns = (
            [Column(name) for name in rule.columns] if isinstance(rule, ColumnsId) else []
        )
        self._plans: dict[tuple[Any, ...], tuple[tuple[str, str], ...]] = {}
        self._constants = {
            name: to_json(value, name, self._drop) for name, value in mapping.constants.items()
        }

    def encode(
        self,
        record: Mapping[Any, Any],
        source: Source | None = None,
        insert_id: str | None = None,
    ) -> EncodedEvent:
        """One event.

        Args:
            record: the record.
            source: where it lies, for ids from position.
            insert_id: use this one, whatever the mapping says.

        Raises:
            RecordError: with the reason why the record cannot be an event.
        """
        mapping = self._mapping
        properties = self._properties(record)
        device = user = None
        if mapping.device_id is not None:
            device = self._id(record, mapping.device_id, "$device_id", True)
            if device is not None:
                properties["$device_id"] = device
        if mapping.user_id is not None:
            user = self._id(record, mapping.user_id, "$user_id", True)
            if user is not None:
                properties["$user_id"] = user
        properties["distinct_id"] = self._distinct_id(record, device, user)
        if mapping.ip is not None:
            properties["ip"] = self._ip(record, mapping.ip)
        properties["time"] = self._time(record)
        if insert_id is None:
            insert_id = self._insert_id(record, source)
        event = {"event": self._event(record), "properties": properties}
        return self.finish(event, insert_id)

    def id_of(self, record: Mapping[Any, Any], source: Source | None = None) -> str | None:
        """The `$insert_id` of a record that failed; None where only its event would tell."""
        try:
            return self._insert_id(record, source)
        except RecordError:
            return None

    def _properties(self, record: Mapping[Any, Any]) -> dict[str, Any]:
        columns = tuple(record)
        plan = self._plans.get(columns)
        if plan is None:
            try:
                for name in columns:
                    if not isinstance(name, str):
                        raise RecordError(
                            "bad_key", f"The record has the key {name!r}; keys must be text."
                        )
                plan = tuple(
                    (plain_name(name), column) for name, column in self._mapping.plan(columns)
                )
                for name, _ in plan:
                    check_text(name, name)
            except MappingError as error:
                raise RecordError("duplicate_property", str(error)) from None
            if len(self._plans) < 10_000:  # records of ever new shapes must not fill the memory
                self._plans[columns] = plan
        drop_nulls = self._mapping.drop_nulls
        drop = self._drop
        properties: dict[str, Any] = {}
        for name, column in plan:
            value = record[column]
            kind = type(value)
            if (kind is not str and kind is not int and kind is not bool and value is not None) or (
                kind is int and not -(2**63) <= value < 2**64
            ):
                value = _as_json(value, name, drop)
            if value is None and drop_nulls:
                continue
            properties[name] = value
        if self._constants:
            properties |= self._constants
            properties = dict(sorted(properties.items()))
        return properties

    def _event(self, record: Mapping[Any, Any]) -> str:
        part = self._mapping.event
        if isinstance(part, Constant):
            return part.value
        assert isinstance(part, Column)
        value = self._required(record, part, "event")
        if not isinstance(value, str):
            raise RecordError(
                "event_wrong_type",
                f"event ({part.name}) is a {type(value).__name__}; event names are text.",
                part.name,
            )
        check_event_name(value, part.name)
        return value

    def _distinct_id(self, record: Mapping[Any, Any], device: str | None, user: str | None) -> str:
        part = self._mapping.distinct_id
        if isinstance(part, Constant):
            check_distinct_id(part.value, "distinct_id")
            return part.value
        if isinstance(part, Column):
            distinct_id = self._id(record, part, "distinct_id", False)
            assert distinct_id is not None
            return distinct_id
        if user is not None:
            return user
        if device is not None:
            check_distinct_id(f"$device:{device}", "$device_id")
            return f"$device:{device}"
        raise RecordError(
            "distinct_id_null",
            "The record has neither user id nor device id, so that the event has no user.",
            "distinct_id",
        )

    def _id(self, record: Mapping[Any, Any], part: Any, what: str, optional: bool) -> str | None:
        if optional and _is_missing(record.get(part.name)) and part.if_null is None:
            if part.name not in record:
                self._required(record, part, what)
            return None
        value = self._required(record, part, what)
        return user_id(value, f"{what} ({part.name})", part.name)

    def _ip(self, record: Mapping[Any, Any], part: Column | Constant | str) -> str:
        if isinstance(part, Constant):
            return part.value
        assert isinstance(part, Column)
        value = self._required(record, part, "ip", null="0")
        if not isinstance(value, str):
            raise RecordError(
                "ip_wrong_type",
                f"ip ({part.name}) is a {type(value).__name__}; it must be text.",
                part.name,
            )
        return value or "0"

    def _time(self, record: Mapping[Any, Any]) -> int:
        column: Any = self._mapping.time
        ms = to_ms(self._required(record, column, "time"), column)
        check_range(ms, self._clock(), column.name, column.unit, self._max_age)
        return ms

    def _insert_id(self, record: Mapping[Any, Any], source: Source | None) -> str | None:
        """The id, or None for one from the content."""
        rule = self._mapping.insert_id
        if isinstance(rule, ColumnsId):
            values = [
                self._required(record, column, "insert_id", null=None)
                for column in self._id_columns
            ]
            if all(value is None for value in values):
                raise RecordError(
                    "insert_id_null",
                    f"insert_id ({', '.join(rule.columns)}) is null. Choose columns that are not, "
                    "or content or position.",
                    rule.columns[0],
                )
            if len(values) == 1:
                text = id_text(values[0], rule.columns[0])
                if not text:
                    raise RecordError(
                        "insert_id_null",
                        f"insert_id ({rule.columns[0]}) is empty.",
                        rule.columns[0],
                    )
                check_text(text, rule.columns[0])
                return fitting_id(text)
            parts = {
                column: to_json(value, column, False)
                for column, value in zip(rule.columns, values, strict=True)
            }
            return content_id(dumps(parts, parts))
        if isinstance(rule, ContentId) or (rule is None and source is None):
            return None
        if source is None:
            raise RecordError(
                "position_unknown",
                "insert_id is from position, but the record comes without its file and row. Read "
                "it with ReadParquetTables, or use content or columns.",
                "insert_id",
            )
        assert rule is None or isinstance(rule, PositionId)
        return position_id(source.key, source.row)

    def _required(self, record: Mapping[Any, Any], part: Any, what: str, null: Any = ...) -> Any:
        """A mapped column's value; a null fails unless the mapping or `null` says what to use."""
        value = record.get(part.name, ...)
        if value is ...:
            raise RecordError(
                "missing_column",
                f"The record has no column {part.name!r}, which the mapping needs for {what}.",
                part.name,
            )
        if _is_missing(value):
            if (stand_in := getattr(part, "if_null", None)) is not None:
                return stand_in
            if null is not ...:
                return null
            raise RecordError(
                f"{what.removeprefix('$')}_null",
                f"{what} ({part.name}) is null. {_null_mend(what)}",
                part.name,
            )
        return value


class EventChecker:
    """Checks ready-made Mixpanel events and completes them with ip and `$insert_id`.

    `time` is read as Mixpanel reads it: as seconds or as milliseconds, whichever lies
    between 1971 and an hour from now (no number is both).
    """

    def __init__(
        self,
        limits: Limits,
        token: str | None = None,
        ip: str | None = "0",
        clock: Callable[[], int] = now_ms,
        endpoint: Endpoint = IMPORT,
    ) -> None:
        self.finish = _Finisher(limits, token)
        self._max_age = limits.max_age_seconds
        self._endpoint = endpoint
        self._ip = ip
        self._clock = clock

    def encode(self, event: Mapping[Any, Any], source: Source | None = None) -> EncodedEvent:
        """One event's JSON.

        Raises:
            RecordError: with the reason why Mixpanel would refuse it.
        """
        name, given = event.get("event"), event.get("properties")
        if name is None or not isinstance(given, Mapping):
            raise RecordError(
                "not_an_event",
                'Without a mapping a record must be a Mixpanel event: {"event": name, '
                '"properties": {...}}. Give WriteToMixpanel a mapping for other records.',
                "event" if name is None else "properties",
            )
        if not isinstance(name, str):
            raise RecordError("event_wrong_type", "event must be text.", "event")
        check_event_name(name, "event")
        if unknown := [key for key in event if key not in ("event", "properties")]:
            raise RecordError(
                "not_an_event",
                f"An event holds event and properties only; {unknown[0]!r} would be lost. Move it "
                "into properties.",
                str(unknown[0]),
            )
        for key in given:
            if not isinstance(key, str):
                raise RecordError("bad_key", f"The property {key!r} is not text.", str(key))
            check_text(key, key)
        properties = {
            plain_name(key): value
            for key in sorted(given)
            if key not in FIXED and (value := to_json(given[key], key, False)) is not None
        }
        for key in ("$device_id", "$user_id"):
            if (value := to_json(given.get(key), key, False)) is not None:
                properties[key] = value
        distinct_id = given.get("distinct_id")
        if not is_null(distinct_id):
            properties["distinct_id"] = user_id(distinct_id, "distinct_id", "distinct_id")
        elif name not in IDENTITY_EVENTS:
            raise RecordError("distinct_id_null", "The event has no distinct_id.", "distinct_id")
        _check_identity(name, given, self._endpoint)
        ip = given.get("ip")
        if is_null(ip) or (isinstance(ip, str) and not ip):
            ip = self._ip
        if ip is not None:
            if not isinstance(ip, str):
                raise RecordError("ip_wrong_type", "ip must be text.", "ip")
            properties["ip"] = ip
        at = given.get("time")
        if not is_null(at) or self._endpoint != TRACK:  # /track takes the time of arrival
            properties["time"] = self._time(at)
        insert_id = _given_id(given)
        return self.finish({"event": name, "properties": properties}, insert_id)

    def id_of(self, event: Mapping[Any, Any], source: Source | None = None) -> str | None:
        """The `$insert_id` of an event that failed, if it has one."""
        given = event.get("properties")
        try:
            return _given_id(given) if isinstance(given, Mapping) else None
        except RecordError:
            return None

    def _time(self, value: Any) -> int:
        if is_null(value):
            raise RecordError("time_null", "The event has no time.", "time")
        if getattr(value, "ndim", None) == 0 and value.dtype.kind in "iuf":  # a NumPy scalar
            value = value.item()
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RecordError(
                "time_wrong_type",
                "time must be a number: seconds or milliseconds since 1970.",
                "time",
            )
        now = self._clock()
        if abs(value) < 1e20:
            seconds_as_ms = int(value * 1000)
            if MIN_TIME_MS <= seconds_as_ms <= now + MAX_FUTURE_MS:
                value = seconds_as_ms
            check_range(int(value), now, "time", "ms", self._max_age)
            return int(value)
        raise RecordError(
            "time_out_of_range",
            "time is no number of seconds or milliseconds since 1970. Mend the record.",
            "time",
        )


def _check_identity(name: str, given: Mapping[Any, Any], endpoint: Endpoint) -> None:
    """Raises RecordError for an identity event that is not whole, or goes to the wrong place."""
    if name not in IDENTITY_EVENTS:
        return
    whole = {key: value for key, value in given.items() if not is_null(value)}
    if (missing := missing_part(name, whole)) is not None:
        raise RecordError(
            "identity_incomplete",
            f"The event {name} needs {missing}. mixpanel_sink.api.identity makes such events.",
            missing,
        )
    if name == "$merge" and endpoint == TRACK:
        raise RecordError(
            "wrong_endpoint",
            "$merge goes to /import, with the API secret or a service account; /track does not "
            "take it.",
            "event",
        )


def _given_id(properties: Mapping[Any, Any]) -> str | None:
    """A ready-made event's own id, hashed where Mixpanel would not take it."""
    insert_id = properties.get("$insert_id")
    if is_null(insert_id):
        return None
    text = id_text(insert_id, "$insert_id")
    check_text(text, "$insert_id")
    return fitting_id(text) if text else None


class _Finisher:
    """The end of both encoders: limits, the id, the token, and the JSON text."""

    def __init__(self, limits: Limits, token: str | None) -> None:
        self._limits = limits
        self._end = b'"}}' if token is None else b'","token":' + orjson.dumps(token) + b"}}"
        self._extra = 1 if token is None else 2

    def __call__(self, event: dict[str, Any], insert_id: str | None) -> EncodedEvent:
        properties = event["properties"]
        if len(properties) + self._extra > MAX_PROPERTIES:
            raise RecordError(
                "too_many_properties",
                f"The event would have {len(properties) + self._extra} properties; Mixpanel takes "
                "fewer than 255. List those that you need.",
                "properties",
            )
        text = dumps(event, properties)
        if insert_id is None:
            insert_id = content_id(text)
        text = b"".join((text[:-2], b',"$insert_id":"', insert_id.encode(), self._end))
        if len(text) > self._limits.event_bytes:
            raise RecordError(
                "event_too_large",
                f"The event is {len(text):,} bytes of JSON; the limit is "
                f"{self._limits.event_bytes:,}. Shorten or exclude its longest properties.",
                longest(properties),
            )
        return EncodedEvent(text, count_long_strings(properties))


def _is_missing(value: Any) -> bool:
    """In a mapped column NaN counts as null too, as pandas has it."""
    return type(value) is not str and (
        is_null(value) or (isinstance(value, float) and value != value)
    )


def _null_mend(what: str) -> str:
    if what == "time":
        return "An event needs its time: mend the record at its source."
    return "Mend the record, or let the mapping say what to use: {column: ..., if_null: ...}."


def check_event_name(name: str, field: str) -> None:
    """Raises RecordError for a name that Mixpanel refuses or would cut."""
    if not name:
        raise RecordError("event_empty", f"event ({field}) is empty.", field)
    check_text(name, field)
    if len(name) > MAX_ID_BYTES // 4 and len(name.encode()) > MAX_ID_BYTES:
        raise RecordError(
            "event_too_long",
            f"event ({field}) is longer than {MAX_ID_BYTES} bytes; Mixpanel would cut it.",
            field,
        )


def check_distinct_id(distinct_id: str, field: str) -> None:
    """Raises RecordError for an id that Mixpanel refuses or would cut."""
    if distinct_id.lower() in RESERVED_DISTINCT_IDS:
        raise RecordError(
            "distinct_id_reserved",
            f"distinct_id ({field}) is {distinct_id!r}, a word that Mixpanel refuses because it "
            "usually means a missing id.",
            field,
        )
    check_text(distinct_id, field)
    if len(distinct_id) > MAX_ID_BYTES // 4 and len(distinct_id.encode()) > MAX_ID_BYTES:
        raise _id_too_long(field)


def user_id(value: Any, what: str, field: str) -> str:
    """A distinct_id, device or user id as text.

    Raises:
        RecordError: if it is no text or integer, or Mixpanel would refuse or cut it.
    """
    if isinstance(value, enum.Enum):
        value = value.value
    if getattr(value, "ndim", None) == 0 and value.dtype.kind in "iuU":  # a NumPy scalar
        value = value.item()
    if isinstance(value, uuid.UUID):
        value = str(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RecordError(
            "distinct_id_wrong_type",
            f"{what} is a {type(value).__name__}; ids are text or integers. Cast the column where "
            "it is made: a float would turn 12 into '12.0'.",
            field,
        )
    if isinstance(value, int):
        if value.bit_length() > 8 * MAX_ID_BYTES:
            raise _id_too_long(field)
        value = int.__str__(value)
    text = plain_name(value)
    check_distinct_id(text, field)
    return text


def _id_too_long(field: str) -> RecordError:
    return RecordError(
        "distinct_id_too_long",
        f"distinct_id ({field}) is longer than {MAX_ID_BYTES} bytes; Mixpanel would cut it and "
        "merge users. Shorten it at its source.",
        field,
    )


def check_text(text: str, field: str) -> None:
    """Raises RecordError for text that is no Unicode."""
    if _SURROGATE.search(text):
        raise _invalid_text(field)


def _invalid_text(field: str) -> RecordError:
    field = field.encode("utf-8", "backslashreplace").decode()  # failures must be valid text
    return RecordError(
        "invalid_text",
        f"{field} holds half a surrogate pair, which is no Unicode text. Mend it at its source.",
        field,
    )


def plain_name(name: str) -> str:
    """The same text, as orjson takes it for a key (no subclass, such as an enum's member)."""
    return name if type(name) is str else str.__str__(name)


def dumps(value: dict[str, Any], parts: Mapping[str, Any]) -> bytes:
    """JSON text; raises RecordError that names the part at fault."""
    try:
        return orjson.dumps(value)
    except (orjson.JSONEncodeError, RecursionError):
        for name, part in parts.items():
            _check_part(name, part)
        raise RecordError("unsupported_value", "The event has no form in JSON.") from None


def _check_part(name: str, part: Any) -> None:
    try:
        orjson.dumps({name: part})
    except (orjson.JSONEncodeError, RecursionError) as error:
        if "surrogate" in str(error):
            raise _invalid_text(name) from None
        raise RecordError(
            "nested_too_deep", f"{name} nests too many lists. Flatten it.", name
        ) from None


def longest(properties: Mapping[str, Any]) -> str:
    """The property with the longest JSON."""
    return max(properties, key=lambda name: len(orjson.dumps(properties[name])))


def count_long_strings(properties: Mapping[str, Any]) -> int:
    """Text values that Mixpanel will cut."""
    long = 0
    for value in properties.values():
        if type(value) is str and len(value) > LONG_STRING_BYTES // 4:
            long += len(value.encode()) > LONG_STRING_BYTES
    return long
