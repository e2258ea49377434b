"""`WriteToMixpanel`: the transform that users apply.

    records --Convert--> (lane, chunk) --> Send --> receipts
       |                                    |
       \\--> failed  <----------------------/

The payload's way is a line: a Flatten, Reshuffle or GroupByKey on it would hold every
byte in memory on some runners.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.typehints.native_type_compatibility import convert_to_beam_type

from mixpanel_sink import coders, convert, send
from mixpanel_sink.convert import ConvertSettings, ConvertToChunks
from mixpanel_sink.credentials import ApiSecret, Credentials, ProjectToken, ServiceAccount
from mixpanel_sink.destination import Destination
from mixpanel_sink.errors import CredentialsError, MappingError, SettingError
from mixpanel_sink.limits import Limits
from mixpanel_sink.mapping import EventMapping
from mixpanel_sink.quota import Quota
from mixpanel_sink.results import FailedRecord, Receipt
from mixpanel_sink.retry import RetryPolicy
from mixpanel_sink.send import SendChunks, SendChunksWithin, SendSettings
from mixpanel_sink.windowing import GLOBAL

coders.register()


class WriteResult(NamedTuple):
    """What a write gives back. Every record read is in one place only.

    Attributes:
        failed: PCollection of `FailedRecord`, in the windows of the records.
        receipts: PCollection of `Receipt`, one for each request; in the window of the
            latest event in it.
        read: PCollection of int, records read by each bundle, in the global window.
    """

    failed: Any
    receipts: Any
    read: Any


class WriteToMixpanel(beam.PTransform):
    """Writes records to Mixpanel's /import, each once, within the project's quota.

    Elements may be dicts, `beam.Row`s, named tuples, `pyarrow.Table`s (all with a
    mapping), or ready-made Mixpanel events (without).

    Args:
        mapping: how records become events; None if they are Mixpanel events already.
        credentials: `ApiSecret`, `ServiceAccount` or `ProjectToken`, with references.
        region: "us" (default), "eu" or "in".
        endpoint: a base URL instead of a region, for tests and proxies.
        quota: a `Quota` or its text; the default is 60 requests an hour.
        lanes: how many keys share the work and the quota. One carries more than
            Mixpanel lets a project send; more cost up to a request each.
        max_in_flight: requests at the same time, at most, on each worker. The quota decides
            how many there are; 64 keep a server busy that takes 200 ms for each.
        max_latency: seconds that an event may wait for others; needed for unbounded
            input, where otherwise a partial batch would wait for ever. Bounded input
            does not use it.
        limits: sizes of events and batches.
        retry: how long to try.
        allow_http: permit an unencrypted endpoint on another machine.

    Returns:
        WriteResult: failed records and receipts.

    Raises:
        SettingError: when the pipeline is built, if a setting is wrong.
    """

    def __init__(
        self,
        mapping: EventMapping | None = None,
        credentials: Credentials | None = None,
        *,
        region: str | None = None,
        endpoint: str | None = None,
        quota: Quota | str | None = None,
        lanes: int = 1,
        max_in_flight: int = 64,
        max_latency: float | None = None,
        limits: Limits | None = None,
        retry: RetryPolicy | None = None,
        allow_http: bool = False,
    ) -> None:
        super().__init__()
        if mapping is not None and not isinstance(mapping, EventMapping):
            raise MappingError(f"mapping is a {type(mapping).__name__}; give an EventMapping.")
        if not isinstance(credentials, ApiSecret | ServiceAccount | ProjectToken):
            raise CredentialsError(
                "credentials is missing: give ApiSecret, ServiceAccount or ProjectToken, such as "
                'ApiSecret("env:MIXPANEL_API_SECRET").'
            )
        if lanes < 1 or max_in_flight < 1:
            raise SettingError("lanes and max_in_flight must be at least 1.")
        if max_latency is not None and max_latency <= 0:
            raise SettingError(f"max_latency is {max_latency}; it must be positive seconds.")
        if quota is None:
            quota = Quota()
        if not isinstance(quota, Quota):
            if not isinstance(quota, str):
                raise SettingError(
                    f"quota is a {type(quota).__name__}; give a Quota or a text such as '60/hour'."
                )
            quota = Quota.parse(quota)
        if not isinstance(limits, Limits | None) or not isinstance(retry, RetryPolicy | None):
            raise SettingError("limits must be a Limits, and retry a RetryPolicy.")
        self._mapping = mapping
        self._credentials = credentials
        self._destination = Destination.of(region, endpoint, allow_http)
        self._quota = quota
        self._lanes = lanes
        self._max_in_flight = max_in_flight
        self._max_latency = max_latency
        self._limits = _within(limits or Limits(), quota.share(lanes - 1, lanes))
        self._retry = retry or RetryPolicy()
        self._error_handler: Any = None

    def with_error_handler(self, error_handler: Any) -> WriteToMixpanel:
        """Sends failed records to one of Beam's error handlers; returns self."""
        self._error_handler = error_handler
        return self

    def display_data(self) -> dict[str, Any]:
        """What runners show; no secrets and no references to them."""
        return {
            "destination": self._destination.host,
            "quota": str(self._quota),
            "lanes": self._lanes,
            "max_in_flight": self._max_in_flight,
            "batch_events": self._limits.batch_events,
        }

    def expand(self, records: Any) -> WriteResult:
        """Builds the flow."""
        if not records.is_bounded and self._max_latency is None:
            raise SettingError(
                "The input is unbounded, so that a partial batch would wait for ever. Give "
                "WriteToMixpanel a max_latency in seconds."
            )
        self._check_columns(records)
        windowing = records.windowing
        window_coder = windowing.windowfn.get_window_coder()
        converted = records | "Convert" >> beam.ParDo(
            ConvertToChunks(self._convert_settings(window_coder))
        ).with_outputs(convert.FAILED, convert.READ, main="chunks")
        chunks = _typed(converted.chunks, tuple[str, bytes])
        chunks._windowing = GLOBAL
        read = _typed(converted[convert.READ], int)
        read._windowing = GLOBAL

        settings = self._send_settings(window_coder)
        # Bounded input ends, and its end flushes. (With a processing-time timer some runners let
        # the watermark pass before that flush, and drop its results as late.)
        within = self._max_latency is not None and not records.is_bounded
        fn = SendChunksWithin if within else SendChunks
        keyed = beam.ParDo(fn(settings)).with_input_types(tuple[str, bytes])
        sent = chunks | "Send" >> keyed.with_outputs(send.FAILED, main="receipts")
        receipts = _typed(sent.receipts, Receipt)
        receipts._windowing = windowing
        refused = _typed(sent[send.FAILED], FailedRecord)
        refused._windowing = windowing

        unfit = _typed(converted[convert.FAILED], FailedRecord)
        failed = _typed((unfit, refused) | "Failed" >> beam.Flatten(), FailedRecord)
        if self._error_handler is not None:
            self._error_handler.add_error_pcollection(failed)
        return WriteResult(failed, receipts, read)

    def _check_columns(self, records: Any) -> None:
        """Refuses a mapping that does not fit the input, where its schema is known."""
        if self._mapping is None:
            return
        from apache_beam.typehints.schemas import named_fields_from_element_type

        try:
            fields = named_fields_from_element_type(records.element_type)
        except (TypeError, ValueError, AttributeError):
            return
        self._mapping.check_columns(name for name, _ in fields)

    def _convert_settings(self, window_coder: Any) -> ConvertSettings:
        return ConvertSettings(
            mapping=self._mapping,
            credentials=self._credentials,
            destination=self._destination,
            limits=self._limits,
            lanes=self._lanes,
            window_coder=window_coder,
        )

    def _send_settings(self, window_coder: Any) -> SendSettings:
        return SendSettings(
            credentials=self._credentials,
            destination=self._destination,
            quota=self._quota,
            lanes=self._lanes,
            limits=self._limits,
            retry=self._retry,
            max_in_flight=self._max_in_flight,
            window_coder=window_coder,
            max_latency=self._max_latency,
        )


def _within(limits: Limits, share: Quota) -> Limits:
    """Batches that the smallest lane's share lets through: a heavier one would break it."""
    events, size = share.most("events"), share.most("bytes")
    if size is not None and size < limits.event_bytes + 4:
        raise SettingError(
            f"The quota gives a lane {size} bytes, which is less than one event may have "
            f"({limits.event_bytes}). Use fewer lanes, a larger quota, or Limits(event_bytes=...)."
        )
    return dataclasses.replace(
        limits,
        batch_events=min(limits.batch_events, events or limits.batch_events),
        batch_bytes=min(limits.batch_bytes, size or limits.batch_bytes),
    )


def _typed(pcollection: Any, kind: Any) -> Any:
    # with_outputs leaves its PCollections untyped; Beam picks the coder by this
    pcollection.element_type = convert_to_beam_type(kind)
    return pcollection
