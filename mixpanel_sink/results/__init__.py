"""The results of a write: receipts, failed and accepted records, and counts.

They are named tuples of plain fields, so that Beam's schema-aware transforms can select
and group by them.
"""

from __future__ import annotations

import decimal
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from mixpanel_sink.api.numbers import Rounded, exact_float, nearest
from mixpanel_sink.errors import kind_of
from mixpanel_sink.results.shown import exact, readable

_REASONS = """
event_null event_empty event_too_long event_wrong_type
distinct_id_null distinct_id_reserved distinct_id_too_long distinct_id_wrong_type
time_null time_out_of_range time_without_unit time_is_text time_unreadable time_wrong_type
insert_id_null position_unknown ip_wrong_type missing_column
non_finite_number integer_too_large number_too_large invalid_text unreadable_value
unsupported_type unsupported_value
too_many_properties list_too_long lists_too_large object_too_large
too_many_keys nested_too_deep event_too_large
duplicate_property bad_key too_old_for_track destination_unknown
identity_incomplete wrong_endpoint event_ignored
operation_missing operation_unknown operation_wrong_value update_empty not_an_update
group_key_null group_id_null group_key_wrong_type group_id_wrong_type
ambiguous not_comparable project_refused unsupported_record not_an_event refused gave_up
file_unreadable line_unreadable function_failed shape_failed
"""
REASONS = frozenset(_REASONS.split())
"""Why a record can fail; docs/failures.md says what to do."""
FUNCTION_FAILED = "function_failed"
"""The reason of records for which a function of `MapRecords` failed."""
SHAPE_FAILED = "shape_failed"
"""The reason of records that do not fit the mapping's shape."""


class FailedRecord(NamedTuple):
    """A record that Mixpanel does not hold, and why.

    Attributes:
        reason: a stable code, e.g. "distinct_id_null"; docs/failures.md lists them.
        message: cause and fix in a sentence.
        field: the column or property at fault, where there is one.
        destination: the project that the record was meant for: its name where there are several,
            else the host; None if no project is known.
        event_json: the event as it would be sent, as JSON; None if none could be made.
            The project token is left out.
        record_json: the record as it was read, as JSON; None where only the event
            is still known (Mixpanel refused it).
        file: the input file, where the source is known.
        row: the row in that file, counted from 0.
        http_status: of the last answer; None if nothing was sent or no answer came.
        attempts: requests that carried this record.
        insert_id: the `$insert_id` that the event has or would have had, where it is known
            although the record failed (from position or columns). Sent again with it, the
            record does not become a second event.
        windows: how many windows it is in. A runner may hand it on once for each of them.
    """

    reason: str
    message: str
    field: str | None = None
    destination: str | None = None
    event_json: str | None = None
    record_json: str | None = None
    file: str | None = None
    row: int | None = None
    http_status: int | None = None
    attempts: int = 0
    insert_id: str | None = None
    windows: int = 1

    @property
    def event(self) -> dict[str, Any] | None:
        """The event as a dict."""
        return None if self.event_json is None else json.loads(self.event_json)

    @property
    def record(self) -> Any:
        """The record as it was read, as far as JSON can hold it."""
        if self.record_json is None:
            return None
        return json.loads(self.record_json, parse_float=exact_float)

    @property
    def can_be_sent(self) -> bool:
        """Whether it holds an event, or a record that only has to go through a mapping."""
        if self.event_json is not None:
            return True
        return self.reason not in (FUNCTION_FAILED, SHAPE_FAILED) and isinstance(self.record, dict)

    def to_json(self) -> str:
        """One JSON line, with event and record as objects and nulls left out."""
        line: dict[str, Any] = {
            name: value
            for name, value in self._asdict().items()
            if value is not None and not name.endswith("_json") and name != "windows"
        }
        if self.event_json is not None:
            line["event"] = self.event
        text = json.dumps(line)
        if self.record_json is not None:  # with all digits of its numbers
            text = f'{text[:-1]}, "record": {self.record_json}}}'
        return text

    @classmethod
    def from_json(cls, line: str | bytes) -> FailedRecord:
        """The reverse of `to_json`.

        Raises:
            ValueError: says why the line is not a failed record.
        """
        try:
            data = json.loads(line, parse_int=_integer, parse_float=_number)
        except RecursionError:
            raise ValueError("its JSON nests too deep") from None
        except ValueError:
            raise ValueError("it is not valid JSON, or incomplete") from None
        if not isinstance(data, dict) or not isinstance(data.get("reason"), str):
            raise ValueError('it has no "reason"')
        fields: dict[str, Any] = {}
        for name, kind in _PLAIN_FIELDS.items():
            value = data.get(name)
            if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
                raise ValueError(f'its "{name}" is {kind_of(value)}')
            if value is not None:
                fields[name] = value
        for name in ("event", "record"):
            if data.get(name) is not None:
                fields[f"{name}_json"] = _exact_json(data[name])
        return cls(**{"message": "", **fields})


def _integer(text: str) -> int | decimal.Decimal:
    number = int(text) if len(text) <= 20 else decimal.Decimal(text)
    return number if -(2**63) <= number < 2**64 else decimal.Decimal(text)


def _number(text: str) -> float | Rounded:
    return nearest(decimal.Decimal(text))


def _exact_json(data: Any) -> str:
    try:
        return orjson.dumps(data, default=exact).decode()
    except Exception:  # lone surrogates
        return json.dumps(data, default=readable)


_PLAIN_FIELDS: dict[str, type] = {
    "reason": str,
    "message": str,
    "field": str,
    "destination": str,
    "file": str,
    "row": int,
    "http_status": int,
    "attempts": int,
    "insert_id": str,
}


class ReadCount(NamedTuple):
    """Records that a bundle read for one project.

    Attributes:
        destination: the project's name; "" for records that name none that is known.
        count: of records.
        sample: of their events' ids and users, by which repeated ones are estimated: see
            `batch.keys`.
        file: that they are from, "" if unknown.
    """

    destination: str
    count: int  # type: ignore[assignment]  # hides tuple.count
    sample: str = ""
    file: str = ""


class Receipt(NamedTuple):
    """One request that Mixpanel settled.

    Attributes:
        destination: the project's name where there are several, else the host.
        lane: the lane that sent it.
        accepted: events that Mixpanel holds after it (new or already there).
        failed: events of it that became failed records.
        raw_bytes: size of the JSON, uncompressed.
        sent_bytes: size of the body as sent, for the last attempt.
        attempts: requests made for it, retries included.
        status: of the last answer; 0 if none came.
        started: first attempt, in seconds since 1970.
        seconds: from the first attempt to the last answer.
        windows: how many windows it is in, as in `FailedRecord`.
    """

    destination: str
    lane: int
    accepted: int
    failed: int
    raw_bytes: int
    sent_bytes: int
    attempts: int
    status: int
    started: float
    seconds: float
    windows: int = 1


class AcceptedRecord(NamedTuple):
    """A record that Mixpanel holds, of a write with `accepted=True`.

    Attributes:
        destination: the project's name where there are several, else the host.
        event_json: the event or update as it was sent, as JSON, without the project token.
        insert_id: the event's `$insert_id`; None for updates of profiles.
        file: the input file, where the source is known.
        row: the row in that file, counted from 0.
        windows: how many windows it is in, as in `FailedRecord`.
    """

    destination: str
    event_json: str
    insert_id: str | None = None
    file: str | None = None
    row: int | None = None
    windows: int = 1

    @property
    def event(self) -> dict[str, Any]:
        """The event or update as a dict."""
        event: dict[str, Any] = json.loads(self.event_json)
        return event


class WriteResult(NamedTuple):
    """The results of a write. Every record read is in exactly one place.

    Attributes:
        failed: PCollection of `FailedRecord`, in the windows of the records.
        receipts: PCollection of `Receipt`, one for each request; in the window of the
            latest record in it.
        read: PCollection of `ReadCount`, records that each bundle read for each project and from
            each file, in the global window.
    """

    failed: Any
    receipts: Any
    read: Any

    @property
    def totals(self) -> Any:
        """PCollection of one `Totals`, what became of all records of a bounded input; None for a
        stream, and with `check_accounting=False`."""
        # Beam takes a tuple of PCollections only, which None is not; so one of them carries it.
        *these, totals = getattr(self.read, _ACCOUNTED, (None, None, None))
        return totals if these == [self.failed, self.receipts] else None

    @property
    def accepted(self) -> Any:
        """PCollection of `AcceptedRecord`, in the windows of the records, of a write with
        `accepted=True`; None without."""
        return getattr(self.read, _ACCEPTED, None)

    def with_accepted(self, accepted: Any) -> WriteResult:
        """The same result, with the accepted records."""
        setattr(self.read, _ACCEPTED, accepted)
        return self

    def with_totals(self, totals: Any) -> WriteResult:
        """The same result, with its totals."""
        setattr(self.read, _ACCOUNTED, (self.failed, self.receipts, totals))
        return self


_ACCOUNTED = "_mixpanel_sink_accounted"
_ACCEPTED = "_mixpanel_sink_accepted"


class Books(NamedTuple):
    """The counts of each destination, and of each number of windows that a result is in.

    Attributes:
        rows: name and number of windows; then records read, accepted and failed, and requests,
            once for each of those windows.
        sample: of all events' keys, as in `ReadCount`.
    """

    rows: Sequence[tuple[str, int, int, int, int, int]]
    sample: str = ""


class Totals(NamedTuple):
    """What became of a run's records."""

    read: int = 0
    accepted: int = 0
    failed: int = 0
    requests: int = 0

    @property
    def balanced(self) -> bool:
        """Whether every record read is accounted for."""
        return self.read == self.accepted + self.failed

    def plus(self, more: Totals) -> Totals:
        """The sum of both."""
        return Totals(*(one + other for one, other in zip(self, more, strict=True)))


class FailureSummary(NamedTuple):
    """The failures of one reason.

    Attributes:
        reason: their code.
        count: how many.  (It hides `tuple.count`.)
        message: of the example, which is the first by file and row.
        file: of the example, where it is known.
        row: of the example, counted from 0, where it is known.
    """

    reason: str
    count: int  # type: ignore[assignment]
    message: str
    file: str | None = None
    row: int | None = None

    @property
    def place(self) -> str:
        """Where the example is, "" if unknown."""
        if self.file is None:
            return ""
        return self.file if self.row is None else f"{self.file}, row {self.row}"
