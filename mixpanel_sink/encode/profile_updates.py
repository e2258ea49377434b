"""Updates of user and group profiles: records and raw updates to their JSON text.

Each operation's rule is spelled out once, in `check_operation`. Source: the HTTP API page
("Profile Operations"), and the API reference for `$ip`, `$time` and `$ignore_time`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import orjson

from mixpanel_sink.api.endpoints import Endpoint
from mixpanel_sink.api.limits import (
    MAX_UPDATE_BYTES,
    Limits,
    now_ms,
)
from mixpanel_sink.api.numbers import Rounded, whole_number
from mixpanel_sink.api.values import is_null, to_json
from mixpanel_sink.batch.origin import RowOrigin
from mixpanel_sink.encode.blocks import Block
from mixpanel_sink.encode.checks import check_text, plain_name, user_id
from mixpanel_sink.encode.event_json import EncodedEvent, count_long_strings, dumps, longest
from mixpanel_sink.encode.operations import (
    OPERATIONS,
    check_count,
    check_degrees,
    check_operation,
    profile_value,
    property_name,
    wrong_value,
)
from mixpanel_sink.encode.times import check_range, to_ms
from mixpanel_sink.errors import MappingError, RecordError
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.columns import Column, Constant
from mixpanel_sink.settings.profile_mapping import UpdateMapping

_ABOUT = ("$ip", "$time", "$ignore_time", "$ignore_alias", "$latitude", "$longitude")
"""What an update may say besides: of itself, not of the profile."""


class _OneByOne:
    """What encoders of updates share: no columns, no ids, no replays."""

    takes_columns: ClassVar[bool] = False

    def table_of(self, block: Block) -> None:
        """None: updates are encoded one by one."""
        return None

    def id_of(self, record: Mapping[Any, Any], source: RowOrigin | None = None) -> None:
        """None: updates have no id."""
        return None

    def replay(self, failed: FailedRecord) -> EncodedEvent:
        """Refuses."""
        raise RecordError(
            "unsupported_record", "Failed records are sent again to /import and /track only."
        )


class MappedUpdateEncoder(_OneByOne):
    """Encodes records by a mapping.

    Args:
        mapping: which columns do what.
        endpoint: /engage or /groups.
        limits: sizes.
        token: of the project; every update carries it.
        clock: milliseconds since 1970.
    """

    def __init__(
        self,
        mapping: UpdateMapping,
        endpoint: Endpoint,
        limits: Limits,
        token: str,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._mapping = mapping
        self._raw = RawUpdateEncoder(endpoint, limits, token)
        self._identity = endpoint.identity
        self._clock = clock
        self._drop = mapping.non_finite == "drop"
        self._plans: dict[tuple[Any, ...], tuple[tuple[str, str, str], ...]] = {}

    def encode(self, record: Mapping[Any, Any], source: RowOrigin | None = None) -> EncodedEvent:
        """One update.

        Raises:
            RecordError: with the reason why the record cannot be one.
        """
        mapping = self._mapping
        update: dict[str, Any] = {
            key: self._given(record, part, key)
            for key, part in zip(self._identity, mapping.identity, strict=True)
        }
        if mapping.ip is not None:
            update["$ip"] = self._given(record, mapping.ip, "$ip", "0") or "0"
        if mapping.time is not None:
            column: Any = mapping.time
            at = to_ms(self._given(record, column, "$time"), column)
            check_range(at, self._clock(), column.name, column.unit)
            update["$time"] = at
        if mapping.ignore_time:
            update["$ignore_time"] = True
        return self._raw.finish(update, self._operations(record), self._drop)

    def _operations(self, record: Mapping[Any, Any]) -> dict[str, Any]:
        mapping = self._mapping
        if mapping.delete is not None and self._deletes(record, mapping.delete):
            return {"$delete": ""}
        plan = self._plan(tuple(record))
        operations: dict[str, Any] = {"$set": dict(mapping.constants)} if mapping.constants else {}
        for operation, name, column in plan:
            value = record.get(column, ...)
            if value is ...:
                raise _missing(column, operation)
            value = profile_value(value, column, self._drop)
            if value is None and (mapping.drop_nulls or operation not in ("$set", "$set_once")):
                continue
            if operation == "$unset":
                names = [value] if isinstance(value, str) else check_operation("$unset", value)
                if names:
                    operations.setdefault("$unset", []).extend(names)
                continue
            if operation == "$union":
                value = value if isinstance(value, list) else [value]
                if all(item is None for item in value):
                    continue  # adds nothing, as a null does
            operations.setdefault(operation, {})[name] = value
        if not operations:
            raise _empty(
                "Every column that the update would use is null or an empty list",
                "Leave the record out, or set drop_nulls: false.",
            )
        return operations

    def _plan(self, columns: tuple[Any, ...]) -> tuple[tuple[str, str, str], ...]:
        if (plan := self._plans.get(columns)) is None:
            for name in columns:
                property_name(name)
            try:
                plan = self._mapping.plan(columns)
            except MappingError as error:
                raise RecordError("duplicate_property", str(error)) from None
            if len(self._plans) < 10_000:  # ever new shapes must not fill the memory
                self._plans[columns] = plan
        return plan

    def _deletes(self, record: Mapping[Any, Any], part: Any) -> bool:
        value = record.get(part.name, ...)
        if value is ...:
            raise _missing(part.name, "$delete")
        value = to_json(value, part.name, self._drop)
        if value is not None and not isinstance(value, bool):
            raise wrong_value("$delete", "a column of booleans", value, part.name)
        return bool(value)

    def _given(self, record: Mapping[Any, Any], part: Any, what: str, null: Any = None) -> Any:
        if isinstance(part, Constant):
            return part.value
        value = record.get(part.name, ...)
        if value is ...:
            raise _missing(part.name, what)
        if is_null(value):
            value = part.if_null if isinstance(part, Column) and part.if_null is not None else null
        if value is None:
            raise RecordError(
                f"{what.removeprefix('$')}_null",
                f"{what} ({part.name}) is null. Fix the record, or let the mapping say what to "
                "use: {column: ..., if_null: ...}.",
                part.name,
            )
        return value


class RawUpdateEncoder(_OneByOne):
    """Checks updates as Mixpanel knows them: an identity, and operations on its profile.

    Args:
        endpoint: /engage or /groups.
        limits: sizes.
        token: of the project; it replaces what an update brings along.
    """

    def __init__(self, endpoint: Endpoint, limits: Limits, token: str) -> None:
        self._endpoint = endpoint
        self._limits = limits
        self._end = b',"$token":' + orjson.dumps(token) + b"}"

    def encode(self, update: Mapping[Any, Any], source: RowOrigin | None = None) -> EncodedEvent:
        """One update's JSON.

        Raises:
            RecordError: with the reason why Mixpanel would refuse it, or take it for nothing.
        """
        head: dict[str, Any] = {}
        operations: dict[str, Any] = {}
        known = (*OPERATIONS[self._endpoint.name], *_ABOUT, *self._endpoint.identity, "$token")
        for key, value in update.items():
            if value is None and isinstance(key, str) and key in known:
                continue  # a row of a table has every column
            if key in OPERATIONS[self._endpoint.name]:
                operations[key] = value
            elif key not in known:
                near = difflib.get_close_matches(str(key), known, 1)
                hint = f" Did you mean {near[0]}?" if near else ""
                if key in OPERATIONS["engage"]:
                    hint = " It is for user profiles only (/engage)."
                raise RecordError(
                    "operation_unknown",
                    f"The update has {key!r}, which /{self._endpoint.name} does not know.{hint}",
                    str(key),
                )
            elif key != "$token":
                head[key] = value
        for key in self._endpoint.identity:
            if head.get(key) is None:
                raise RecordError(
                    "not_an_update" if len(head) == 0 else f"{key[1:]}_null",
                    f"Without a mapping a record must be an update for /{self._endpoint.name}: "
                    f"{', '.join(self._endpoint.identity)} and operations such as $set. It has no "
                    f"{key}.",
                    key,
                )
        identity = {key: head.pop(key) for key in self._endpoint.identity}
        return self.finish({**identity, **head}, operations)

    def finish(
        self, head: dict[str, Any], operations: dict[str, Any], drop_non_finite: bool = False
    ) -> EncodedEvent:
        """Checks an update's parts and writes them: identity, about itself, operations, token."""
        update: dict[str, Any] = {}
        for key, value in head.items():
            update[key] = self._check_head(key, value)
        if not operations:
            raise RecordError(
                "operation_missing",
                "The update has no operation: give it one of "
                f"{', '.join(OPERATIONS[self._endpoint.name])}.",
            )
        if "$delete" in operations and len(operations) > 1:
            raise RecordError(
                "operation_wrong_value",
                "$delete removes the whole profile and stands alone; the update also has "
                f"{', '.join(o for o in operations if o != '$delete')}. Send two updates.",
                "$delete",
            )
        checked = {
            operation: check_operation(operation, value, drop_non_finite)
            for operation, value in operations.items()
        }
        checked = {
            operation: value
            for operation, value in checked.items()
            if value or operation not in ("$union", "$unset")
        }
        if not checked:
            raise _empty("The update adds and removes nothing", "Leave it out.")
        check_count(checked)
        update |= checked
        rounded: list[Rounded] = []
        text = b"".join((dumps(update, update, rounded)[:-1], self._end))
        most = min(self._limits.event_bytes, MAX_UPDATE_BYTES)
        if len(text) > most:
            raise RecordError(
                "event_too_large",
                f"The update is {len(text):,} bytes of JSON; the limit is {most:,}. Shorten or "
                "leave out its longest properties.",
                longest(update),
            )
        long = sum(count_long_strings(v) for v in update.values() if isinstance(v, dict))
        return EncodedEvent(text, long_strings=long, rounded_decimals=len(rounded))

    def _check_head(self, key: str, value: Any) -> Any:
        if key == "$distinct_id":
            text = user_id(value, key, key)
            if not text:
                raise RecordError(
                    "distinct_id_null",
                    "$distinct_id is empty, so the update names no profile.",
                    key,
                )
            return text
        if key in ("$latitude", "$longitude"):
            return check_degrees(key, value)
        if key in ("$group_key", "$group_id"):
            number = whole_number(value)
            if number is None and isinstance(value, int) and not isinstance(value, bool):
                number = value
            text = value if number is None else str(number)
            if not isinstance(text, str) or not text:
                raise RecordError(
                    f"{key[1:]}_wrong_type",
                    f"{key} is {value!r}; it must be text that is not empty.",
                    key,
                )
            check_text(text, key)
            return plain_name(text)
        if key == "$ip":
            if not isinstance(value, str) and (value != 0 or isinstance(value, bool)):
                raise RecordError("ip_wrong_type", "$ip must be text.", "$ip")
            return value or "0"
        if key == "$time" and (number := whole_number(value)) is not None:
            return number
        if key == "$time" and (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise RecordError(
                "time_wrong_type", "$time must be a number: seconds or milliseconds.", "$time"
            )
        if key in ("$ignore_time", "$ignore_alias") and not isinstance(value, bool):
            raise RecordError("operation_wrong_value", f"{key} is true or false.", key)
        return value


def _empty(why: str, advice: str) -> RecordError:
    return RecordError("update_empty", f"{why}, so it would change nothing. {advice}")


def _missing(column: str, what: str) -> RecordError:
    return RecordError(
        "missing_column",
        f"The record has no column {column!r}, which the mapping needs for {what}.",
        column,
    )
