"""What Mixpanel should hold of an input: its events, worked out without the encoders.

The proof is only worth something if it does not repeat the import's mistakes. So nothing here
comes from `encode`, `stages` or `api.values`: it goes from the exact values of the input and
the settings of the mapping straight to what should be there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.origin import RecordBlock, TableOrigin
from mixpanel_sink.inspect.verify.events import Event, event_of
from mixpanel_sink.inspect.verify.exact import (
    Moment,
    Unfit,
    exact,
    exact_column,
)
from mixpanel_sink.inspect.verify.held import (
    NESTED_BYTES,
    Refused,
    check_size,
    held,
    is_held,
    json_of,
)
from mixpanel_sink.inspect.verify.ids import (
    check_user_id,
    column_id,
    columns_id,
    hashed,
    masked,
    user_id,
)
from mixpanel_sink.inspect.verify.places import Place, places_of, some_of
from mixpanel_sink.inspect.verify.roles import check_name, plan_of, serving
from mixpanel_sink.inspect.verify.shaped import shaped
from mixpanel_sink.inspect.verify.times import event_time, milliseconds_of
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.secrets import resolve
from mixpanel_sink.settings.columns import Column, ColumnsId, Constant, ContentId, TimeColumn
from mixpanel_sink.settings.filter import Filter
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.privacy import Privacy
from mixpanel_sink.settings.run_mark import RunMark
from mixpanel_sink.settings.shape import Shape

_ROWS = 20_000
"""Rows whose exact values are in memory at the same time."""
_MOST_PROPERTIES = 254
_ABSENT = object()


class Expectation:
    """Works out events of one mapping.

    Args:
        mapping: that of the import.
        limits: those of the import.
        privacy: that of the import; its key is resolved here.
        token: the project token that events carry, or text of its length; None without.
        now: milliseconds since 1970; later times cannot have been imported.
        mark: of the runs that sent the events, if they carry one.

    Raises:
        CredentialsError: if the key of `privacy` does not resolve.
    """

    def __init__(
        self,
        mapping: EventMapping,
        limits: Limits,
        privacy: Privacy | None,
        token: str | None,
        now: int,
        mark: RunMark | None = None,
    ) -> None:
        self.mapping = mapping
        self._shape = mapping.shape if isinstance(mapping.shape, Shape) else None
        self.plain = self._shape is None and mapping.filter is None
        self.limits = limits
        self.dropped = frozenset(privacy.drop if privacy else ())
        self.hidden = frozenset(privacy.hash if privacy else ())
        keyed = privacy is not None and privacy.key is not None
        self._key = resolve(privacy.key, "The key of Privacy") if keyed else ""  # type: ignore
        # What the sink adds to the JSON that a content id is made of.
        self.added = len(',"$insert_id":""') + (0 if token is None else len(token) + 11)
        self._unseen = 1 if token is None else 2
        self.mark = mark
        if mark is not None:
            self.added += len(mark.json)
            self._unseen += 1
        self.now = now
        self.drop = mapping.non_finite == "drop"
        self.constants = {
            name: held(exact(value), name, self.drop) for name, value in mapping.constants.items()
        }
        rule = mapping.insert_id
        self.id_columns = list(map(Column, rule.columns)) if isinstance(rule, ColumnsId) else []
        self._plans: dict[tuple[Any, ...], list[tuple[str, str]]] = {}

    def of(self, elements: Iterable[Any]) -> Iterator[Event | FailedRecord]:
        """The events of tables and blocks of records, and the records that cannot be events."""
        for element in elements:
            if isinstance(element, FailedRecord):
                yield element
            else:
                yield from (each for each in self.each(element) if each is not None)

    def each(
        self, element: pa.Table | RecordBlock, rows: Sequence[int] | None = None
    ) -> Iterator[Event | FailedRecord | None]:
        """What each row, or each of these, should be; None if it is left out."""
        if isinstance(element, RecordBlock):
            return self._of_block(element if rows is None else some_of(element, rows))
        return self._of_table(element, range(len(element)) if rows is None else rows)

    def _of_table(
        self, table: pa.Table, rows: Sequence[int]
    ) -> Iterator[Event | FailedRecord | None]:
        for first in range(0, len(rows), _ROWS):
            yield from self._of_rows(table, rows[first : first + _ROWS])

    def _of_rows(
        self, table: pa.Table, rows: Sequence[int]
    ) -> Iterator[Event | FailedRecord | None]:
        part = table.slice(rows.start, len(rows)) if isinstance(rows, range) else table.take(rows)
        columns = self._columns(part)
        keys = tuple(columns)
        records = (dict(zip(keys, row, strict=True)) for row in zip(*columns.values(), strict=True))
        origin = TableOrigin.of(table)
        places = places_of(origin, rows)
        if self.plain:
            for record, place in zip(records, places, strict=True):
                yield self._one(record, place)
        elif self._shape is None:
            yield from self._wanted(records, places)
        else:
            yield from self._of_shaped(list(records), places, part)

    def _columns(self, part: pa.Table) -> dict[str, list[Any]]:
        """The exact values of each column, as privacy lets them be where nothing comes first."""
        columns: dict[str, list[Any]] = {}
        for name in dict.fromkeys(part.schema.names):
            column = part.column(part.schema.names.index(name))
            if self.plain and name in self.dropped:
                continue
            if part.schema.names.count(name) > 1:
                two = Unfit("duplicate_property", f"in two columns named {name!r}")
                columns[name] = [two] * len(part)
                continue
            columns[name] = exact_column(column)
            if self.plain and name in self.hidden:
                columns[name] = [self.mask(value, name) for value in columns[name]]
        return columns

    def _of_block(self, block: RecordBlock) -> Iterator[Event | FailedRecord | None]:
        records = [{name: exact(value) for name, value in one.items()} for one in block.records]
        places = places_of(block.origin, block.offsets or range(len(records)))
        if self._shape is not None:
            yield from self._of_shaped(records, places, None)
            return
        yield from self._wanted(records, places)

    def _of_shaped(
        self, records: list[dict[str, Any]], places: Iterable[Place], table: pa.Table | None
    ) -> Iterator[Event | FailedRecord | None]:
        assert self._shape is not None
        made = shaped(records, self._shape, serving(self.mapping), table)
        for record, place in zip(made, places, strict=True):
            if isinstance(record, Refused):
                yield place.failed(record)
            elif record is None:
                yield None
            else:
                yield from self._wanted([record], [place])

    def _wanted(
        self, records: Iterable[Mapping[str, Any]], places: Iterable[Place]
    ) -> Iterator[Event | FailedRecord | None]:
        for record, place in zip(records, places, strict=True):
            left_out = self._is_left_out(record)
            yield None if left_out else self._one(self._private(record), place)

    def _private(self, record: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: self.mask(value, name) if name in self.hidden else value
            for name, value in record.items()
            if name not in self.dropped
        }

    def mask(self, value: Any, name: str) -> Any:
        """What privacy makes of an exact value of this column."""
        if isinstance(value, Unfit):
            return value
        return masked(value, name, self._key)

    def _one(self, record: Mapping[str, Any], place: Place) -> Event | FailedRecord:
        try:
            return self._event(record, place)
        except Refused as refused:
            return place.failed(refused)

    def _is_left_out(self, record: Mapping[str, Any]) -> bool:
        """Whether the filter knows the record's name or time, and does not want it."""
        wanted, part = self.mapping.filter, self.mapping.event
        if not isinstance(wanted, Filter):
            return False
        if wanted.events and isinstance(part, Column):
            name = record.get(part.name, _ABSENT)
            if name is not _ABSENT:
                name = self._value(record, part)
            if isinstance(name, str) and name not in wanted.events:
                return True
        column = self.mapping.time
        assert isinstance(column, TimeColumn)
        if (value := record.get(column.name)) is None:
            return False
        try:
            return not wanted.has_time(milliseconds_of(value, column))
        except Refused:
            return False

    def _event(self, record: Mapping[str, Any], place: Place) -> Event:
        mapping = self.mapping
        properties: dict[str, Any] = {}
        moments = []
        for name, column in self._plan_of(record):
            value = record[column]
            if not is_held(value):
                if isinstance(value, Moment):
                    moments.append(name)
                value = held(value, name, self.drop)
            if value is not None or not mapping.drop_nulls:
                properties[name] = value
        if self.constants:
            properties = dict(sorted({**properties, **self.constants}.items()))
        device = self._optional_id(record, mapping.device_id)
        user = self._optional_id(record, mapping.user_id)
        if device is not None:
            properties["$device_id"] = device
        if user is not None:
            properties["$user_id"] = user
        properties["distinct_id"] = self._distinct_id(record, device, user)
        if mapping.ip is not None:
            properties["ip"] = self._ip(record)
        properties["time"] = self._time(record)
        insert_id = self._given_id(record, place)
        return self._finished(self._name(record), properties, insert_id, tuple(moments))

    def _finished(
        self,
        name: str,
        properties: dict[str, Any],
        insert_id: str | None,
        moments: tuple[str, ...] = (),
    ) -> Event:
        """The event of these properties, if Mixpanel takes it; without an id, its content makes
        it."""
        if properties.get("$ignore"):
            raise Refused("event_ignored", "$ignore is true: Mixpanel drops it.", "$ignore")
        if len(properties) + self._unseen > _MOST_PROPERTIES:
            raise Refused("too_many_properties", "The event has too many properties.", "properties")
        event = {"event": name, "properties": properties}
        text = json_of(event)
        if len(text) > NESTED_BYTES:
            for field, value in properties.items():
                check_size(value, field)
        if insert_id is None:
            insert_id = hashed(json_of(event, exactly=True).decode())
        if self.mapping.salt:
            insert_id = hashed(f"{self.mapping.salt}\0{insert_id}")
        if self.mark is not None:
            if self.mark.name in properties:
                raise Refused("duplicate_property", "It is the run's property.", self.mark.name)
            properties[self.mark.name] = self.mark.run
        if len(text) + self.added + len(insert_id) > self.limits.event_bytes:
            raise Refused("event_too_large", f"The event is {len(text):,} bytes of JSON.")
        user = properties.get("distinct_id", "")
        return event_of(name, properties, properties["time"], user, insert_id, moments)

    def plan(self, columns: tuple[Any, ...]) -> list[tuple[str, str]]:
        """(property, column), sorted by property."""
        if (known := self._plans.get(columns)) is None:
            known = plan_of(self.mapping, columns)
            if len(self._plans) < 10_000:
                self._plans[columns] = known
        return known

    def _plan_of(self, record: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Of a record, in which a null that is left out takes no other column's place."""
        try:
            return self.plan(tuple(record))
        except Refused as refused:
            if refused.reason != "duplicate_property" or not self.mapping.drop_nulls:
                raise
            return self.plan(tuple(name for name, value in record.items() if value is not None))

    def _value(self, record: Mapping[str, Any], part: Any) -> Any:
        """The value of a mapped column; `if_null` replaces nulls."""
        value = record.get(part.name, _ABSENT)
        if value is _ABSENT:
            raise Refused("missing_column", f"There is no column {part.name!r}.", part.name)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return getattr(part, "if_null", None)
        return value

    def _needed(self, record: Mapping[str, Any], part: Any, what: str) -> Any:
        value = self._value(record, part)
        if value is None:
            raise Refused(f"{what}_null", f"{what} ({part.name}) is null.", part.name)
        return value

    def _optional_id(self, record: Mapping[str, Any], part: Any) -> str | None:
        if part is None:
            return None
        value = self._value(record, part)
        return None if value is None else user_id(value, part.name)

    def _distinct_id(self, record: Mapping[str, Any], device: str | None, user: str | None) -> str:
        part = self.mapping.distinct_id
        if isinstance(part, Constant):
            check_user_id(part.value, "distinct_id")
            return part.value
        if isinstance(part, Column):
            return user_id(self._needed(record, part, "distinct_id"), part.name)
        if user is None and device is None:
            raise Refused("distinct_id_null", "There is no user and no device.", "distinct_id")
        if user is not None:
            return user
        check_user_id(f"$device:{device}", "$device_id")
        return f"$device:{device}"

    def _ip(self, record: Mapping[str, Any]) -> str:
        part = self.mapping.ip
        if isinstance(part, Constant):
            return part.value
        assert isinstance(part, Column)
        value = self._value(record, part)
        if value is not None and not isinstance(value, str):
            raise Refused("ip_wrong_type", f"ip is a {type(value).__name__}.", part.name)
        return value or "0"

    def _time(self, record: Mapping[str, Any]) -> int:
        part = self.mapping.time
        assert isinstance(part, TimeColumn)
        value = self._needed(record, part, "time")
        return event_time(value, part, self.now, self.limits.max_age_seconds)

    def _name(self, record: Mapping[str, Any]) -> str:
        part = self.mapping.event
        if isinstance(part, Constant):
            return part.value
        assert isinstance(part, Column)
        name = self._needed(record, part, "event")
        check_name(name, part.name)
        return str(name)

    def _given_id(self, record: Mapping[str, Any], place: Place) -> str | None:
        """The `$insert_id`; None where the content makes it."""
        rule = self.mapping.insert_id
        if isinstance(rule, ColumnsId):
            values = [self._value(record, column) for column in self.id_columns]
            if all(value is None for value in values):
                raise Refused("insert_id_null", "insert_id is null.", rule.columns[0])
            if len(values) == 1:
                return column_id(values[0], rule.columns[0])
            return columns_id(rule.columns, values)
        if isinstance(rule, ContentId) or (rule is None and not place.key):
            return None
        if not place.key:
            raise Refused("position_unknown", "The record's row is not known.", "insert_id")
        return f"{place.key}-{place.row}"
