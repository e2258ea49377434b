"""Mapped events: turns records into events by a mapping."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import orjson
import pyarrow as pa

from mixpanel_sink.api.insert_ids import content_id, fitting_id, position_id, salted_id
from mixpanel_sink.api.limits import Limits, now_ms
from mixpanel_sink.api.values import id_text, id_value, is_null, json_text, to_json
from mixpanel_sink.batch.origin import RowOrigin
from mixpanel_sink.encode.blocks import Block
from mixpanel_sink.encode.checks import (
    check_distinct_id,
    check_event_name,
    check_text,
    is_missing,
    plain_name,
    user_id,
)
from mixpanel_sink.encode.columnar import ColumnarEncoder
from mixpanel_sink.encode.event_json import EncodedEvent, EventWriter, dumps
from mixpanel_sink.encode.replay import event_as_it_was, restore_time, restore_values
from mixpanel_sink.encode.times import check_range, to_ms
from mixpanel_sink.errors import MappingError, RecordError, kind_of
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.columns import Column, ColumnsId, Constant, ContentId, PositionId
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.run_mark import RunMark

Plan = tuple[tuple[str, str], ...]
"""Properties, and the columns that they come from."""


def _as_json(value: Any, name: str, drop_non_finite: bool) -> Any:
    """A value as orjson takes it; see `to_json`."""
    if type(value) in (dict, list) and (text := json_text(value)) is not None:
        return orjson.Fragment(text)
    return to_json(value, name, drop_non_finite)


class MappedEventEncoder:
    """Encodes records by a mapping: one by one, or a column at a time.

    Args:
        mapping: what becomes what.
        limits: sizes.
        token: project token that every event carries, or None.
        clock: milliseconds since 1970.
        mark: what every event of this run carries, or None.
    """

    takes_columns: ClassVar[bool] = True

    def __init__(
        self,
        mapping: EventMapping,
        limits: Limits,
        token: str | None = None,
        clock: Callable[[], int] = now_ms,
        mark: RunMark | None = None,
    ) -> None:
        self._mapping = mapping
        self._mark = mark
        self._salt = mapping.salt
        self._write = EventWriter(limits, token, clock, mark, self._salt)
        self._max_age = limits.max_age_seconds
        self._clock = clock
        self._columns = ColumnarEncoder(mapping, limits, token, clock, mark)
        self._drop = mapping.non_finite == "drop"
        rule = mapping.insert_id
        self._id_columns = (
            [Column(name) for name in rule.columns] if isinstance(rule, ColumnsId) else []
        )
        self._plans: dict[tuple[Any, ...], Plan] = {}
        self._constants = {
            name: to_json(value, name, self._drop) for name, value in mapping.constants.items()
        }

    def encode(
        self,
        record: Mapping[Any, Any],
        source: RowOrigin | None = None,
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
        return self._write(event, insert_id)

    def id_of(self, record: Mapping[Any, Any], source: RowOrigin | None = None) -> str | None:
        """The `$insert_id` of a record that failed; None where only its event would tell."""
        try:
            return self._insert_id(record, source)
        except RecordError:
            return None

    def table_of(self, block: Block) -> tuple[ColumnarEncoder, pa.Table] | None:
        """The block as a table, which takes a quarter of the time."""
        table = block.as_table(self._mapping)
        return None if table is None else (self._columns, table)

    def replay(self, failed: FailedRecord) -> EncodedEvent:
        """An event as it was, or a record through the mapping."""
        if (event := failed.event) is not None:
            return self._write(*event_as_it_was(event, failed, self._mark))
        record: dict[str, Any] = failed.record
        restore_values(record, self._used(record), self._mapping)
        restore_time(record, self._mapping.time, failed.reason)
        given = None if failed.insert_id is None else fitting_id(failed.insert_id)
        return self.encode(record, insert_id=given)

    def _used(self, record: Mapping[str, Any]) -> set[str]:
        """The columns that the mapping uses."""
        return {column for _, column in self._plan(record)} | set(self._mapping.mapped_columns())

    def _properties(self, record: Mapping[Any, Any]) -> dict[str, Any]:
        plan = self._plan(record)
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

    def _plan(self, record: Mapping[Any, Any]) -> Plan:
        """The properties of a record, and the columns that they come from."""
        columns = tuple(record)
        plan = self._plans.get(columns)
        if plan is not None:
            return plan
        for name in columns:
            if not isinstance(name, str):
                raise RecordError("bad_key", f"The record has the key {name!r}; keys must be text.")
        try:
            plan = tuple((plain_name(name), column) for name, column in self._mapping.plan(columns))
        except MappingError as error:
            # In a table all records have the columns that some have: a null may be none of theirs.
            filled = {name: value for name, value in record.items() if not is_null(value)}
            if self._mapping.drop_nulls and len(filled) < len(columns):
                return self._plan(filled)
            raise RecordError("duplicate_property", str(error)) from None
        for name, _ in plan:
            check_text(name, name)
        if len(self._plans) < 10_000:  # records of ever new shapes must not fill the memory
            self._plans[columns] = plan
        return plan

    def _event(self, record: Mapping[Any, Any]) -> str:
        part = self._mapping.event
        if isinstance(part, Constant):
            return part.value
        assert isinstance(part, Column)
        value = self._required(record, part, "event")
        if not isinstance(value, str):
            raise RecordError(
                "event_wrong_type",
                f"event ({part.name}) is {kind_of(value)}; event names are text.",
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
            "The record has neither user id nor device id, so the event has no user.",
            "distinct_id",
        )

    def _id(self, record: Mapping[Any, Any], part: Any, what: str, optional: bool) -> str | None:
        if optional and is_missing(record.get(part.name)) and part.if_null is None:
            if part.name not in record:
                self._required(record, part, what)
            return None
        value = self._required(record, part, what)
        return user_id(value, f"{what} ({part.name})", part.name)

    def _ip(self, record: Mapping[Any, Any], part: Any) -> str:
        if isinstance(part, Constant):
            return part.value
        assert isinstance(part, Column)
        value = self._required(record, part, "ip", null="0")
        if not isinstance(value, str):
            raise RecordError(
                "ip_wrong_type",
                f"ip ({part.name}) is {kind_of(value)}; it must be text.",
                part.name,
            )
        return value or "0"

    def _time(self, record: Mapping[Any, Any]) -> int:
        column: Any = self._mapping.time
        ms = to_ms(self._required(record, column, "time"), column)
        check_range(ms, self._clock(), column.name, column.unit, self._max_age)
        return ms

    def _insert_id(self, record: Mapping[Any, Any], source: RowOrigin | None) -> str | None:
        """The id, or None for one from the content."""
        plain = self._plain_id(record, source)
        return None if plain is None else salted_id(plain, self._salt)

    def _plain_id(self, record: Mapping[Any, Any], source: RowOrigin | None) -> str | None:
        """The id before salting."""
        rule = self._mapping.insert_id
        if isinstance(rule, ColumnsId):
            values = [
                self._required(record, column, "insert_id", null=None)
                for column in self._id_columns
            ]
            if all(value is None for value in values):
                raise RecordError(
                    "insert_id_null",
                    f"insert_id ({', '.join(rule.columns)}) is null. Choose columns that are "
                    "never null, or content or position.",
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
                column: id_value(value, column)
                for column, value in zip(rule.columns, values, strict=True)
            }
            return content_id(dumps(parts, parts, exact=True))
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
        if is_missing(value):
            if (default := getattr(part, "if_null", None)) is not None:
                return default
            if null is not ...:
                return null
            raise RecordError(
                f"{what.removeprefix('$')}_null",
                f"{what} ({part.name}) is null. {_null_advice(what)}",
                part.name,
            )
        return value


def _null_advice(what: str) -> str:
    if what == "time":
        return "An event needs its time: fix the record at its source."
    return "Fix the record, or let the mapping say what to use: {column: ..., if_null: ...}."
