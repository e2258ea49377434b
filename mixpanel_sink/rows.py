"""`WriteRowsToMixpanel`: the sink made of plain values, for those who have no Python objects.

Beam YAML and pipelines in Java or Go build it (yaml/, expansion_service.py). Rows go in, rows
come out, with the coders that every SDK knows.
"""

# Beam makes the transform's configuration schema of its annotations: they are not postponed, and
# Optional is the form that it knows.

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional, get_type_hints

import apache_beam as beam
from apache_beam.typehints.row_type import RowTypeConstraint

from mixpanel_sink.errors import FailedRecordError, MappingError, SettingError
from mixpanel_sink.report.accounting import CheckAccounting
from mixpanel_sink.results import FailedRecord, Receipt
from mixpanel_sink.settings.credentials import credentials_named
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.privacy import Privacy
from mixpanel_sink.write import WriteToMixpanel

RECEIPTS = "receipts"
"""The output of every write, one row for each request."""
_INNER = "windows"
"""A field of results that the accounting needs, and rows do not have."""


class ErrorHandling(NamedTuple):
    """Where failed records go: the name of an output."""

    output: str


class FailedRow(NamedTuple):
    """A failed record as a row.

    Attributes:
        element: the record as it was read, as JSON; or the event, where only it is known.
        msg: cause and mend in a sentence.
        reason, field, destination, file, row, http_status, attempts, insert_id: as in
            `FailedRecord`.
    """

    element: Optional[str]
    msg: str
    reason: str
    field: Optional[str]
    destination: Optional[str]
    file: Optional[str]
    row: Optional[int]
    http_status: Optional[int]
    attempts: int
    insert_id: Optional[str]


class WriteRowsToMixpanel(beam.PTransform):
    """Writes rows to Mixpanel, each once, within the project's quota.

    Failed records go to the output that error_handling names; without it, the first one stops
    the pipeline. The output "receipts" has a row for each request.

    Args:
        mapping: How rows become events: the mapping's keys and values, or its YAML or JSON as
            text. Left out if the rows are Mixpanel events already.
        api_secret: Reference to the project's API secret, such as env:MIXPANEL_API_SECRET.
        service_account: A service account's username.
        service_account_secret: Reference to the service account's secret.
        project_id: The project's number, for a service account.
        project_token: Reference to the project token. Alone it authenticates; beside another
            credential every event carries it.
        endpoint_kind: import (default) for events of any age, or track for the last five days.
        region: us (default), eu or in.
        endpoint: A base URL instead of a region, for tests and proxies.
        quota: Such as 60/hour (default), 600/minute, reference or none.
        lanes: How many keys share the work and the quota.
        max_latency: Seconds that an event may wait for its batch; needed for unbounded input.
        allow_http: Permit an unencrypted endpoint on another machine.
        checkpoint: A folder that remembers accepted batches.
        drop_properties: Columns that never leave the workers.
        hash_properties: Columns of which only a hash leaves the workers.
        hash_key: Reference to a secret that goes into those hashes.
        error_handling: Whether and where to output failed records, as {output: NAME}.

    Raises:
        SettingError: when the pipeline is built, if a setting is wrong.
    """

    def __init__(
        self,
        mapping: Any = None,
        api_secret: Optional[str] = None,
        service_account: Optional[str] = None,
        service_account_secret: Optional[str] = None,
        project_id: Optional[str] = None,
        project_token: Optional[str] = None,
        endpoint_kind: Optional[str] = None,
        region: Optional[str] = None,
        endpoint: Optional[str] = None,
        quota: Optional[str] = None,
        lanes: Optional[int] = None,
        max_latency: Optional[float] = None,
        allow_http: Optional[bool] = None,
        checkpoint: Optional[str] = None,
        drop_properties: Optional[Sequence[str]] = None,
        hash_properties: Optional[Sequence[str]] = None,
        hash_key: Optional[str] = None,
        error_handling: Optional[ErrorHandling] = None,
    ) -> None:
        super().__init__()
        credentials = credentials_named(
            "", api_secret, service_account, service_account_secret, project_id, project_token
        )
        privacy = None
        if drop_properties or hash_properties or hash_key:
            privacy = Privacy(drop_properties or (), hash_properties or (), hash_key)
        self._write = WriteToMixpanel(
            _mapping(mapping),
            credentials,
            endpoint_kind=endpoint_kind or "import",
            region=region or None,
            endpoint=endpoint or None,
            quota=quota,
            lanes=_number("lanes", 1 if lanes is None else lanes, int),
            max_latency=_number("max_latency", max_latency, int, float),
            allow_http=bool(allow_http),
            checkpoint=checkpoint or None,
            privacy=privacy,
        )
        self._failed = _output(error_handling)

    def expand(self, rows: Any) -> Any:
        """Builds the flow; gives a dict of the outputs by name."""
        result = rows | "Write" >> self._write
        if rows.is_bounded:
            result | "Accounting" >> CheckAccounting()
        outputs = {RECEIPTS: result.receipts | "Receipts" >> _as_rows(_receipt_row, Receipt)}
        if self._failed is None:
            result.failed | "No failures" >> beam.Map(_stop)
        else:
            outputs[self._failed] = result.failed | "Failures" >> _as_rows(_failed_row, FailedRow)
        return outputs


def _mapping(given: Any) -> EventMapping | None:
    if given is None or given == "":
        return None
    if isinstance(given, str):
        return EventMapping.from_yaml(given)
    if not isinstance(given, Mapping) and not hasattr(given, "_asdict"):
        raise MappingError(f"mapping is a {type(given).__name__}; give its keys and values.")
    return EventMapping.from_dict(_plain(given))


def _plain(value: Any) -> Any:
    """Dicts instead of rows, as another SDK sends them; what a row has as null is not given."""
    if hasattr(value, "_asdict"):
        fields = value._asdict().items()
        return {name: _plain(item) for name, item in fields if item is not None}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _output(error_handling: Any) -> str | None:
    if not error_handling:
        return None
    given = _plain(error_handling)
    if not isinstance(given, dict) or set(given) != {"output"} or not given["output"]:
        raise SettingError("error_handling is {output: NAME}, the name of the failed records.")
    if given["output"] == RECEIPTS:
        raise SettingError(f"The output {RECEIPTS!r} is taken; give error_handling another name.")
    return str(given["output"])


def _number(name: str, value: Any, *kinds: type) -> Any:
    if value is not None and (isinstance(value, bool) or not isinstance(value, kinds)):
        raise SettingError(f"{name} is {value!r}; it must be a number.")
    return value


def _as_rows(make: Any, fields: Any) -> Any:
    # A plain row type: its coder is the one that every SDK has.
    kinds = [(name, kind) for name, kind in get_type_hints(fields).items() if name != _INNER]
    return beam.Map(make).with_output_types(RowTypeConstraint.from_fields(kinds))


def _receipt_row(receipt: Receipt) -> beam.Row:
    return beam.Row(**{k: v for k, v in receipt._asdict().items() if k != _INNER})


def _failed_row(failed: FailedRecord) -> beam.Row:
    values = failed._asdict()
    element = failed.event_json if failed.record_json is None else failed.record_json
    same = {name: values[name] for name in FailedRow._fields[2:]}
    return beam.Row(element=element, msg=failed.message, **same)


def _stop(failed: FailedRecord) -> None:
    raise FailedRecordError(
        f"A record failed ({failed.reason}): {failed.message} Mend it, or collect such records "
        "with error_handling: {output: NAME} and go on."
    )
