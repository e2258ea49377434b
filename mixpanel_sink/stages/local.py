"""Convert in this process, without a pipeline: the very code that a job runs on its workers.

For what looks at the events of an input and sends nothing: the dry run and the verification.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
from apache_beam.coders.coders import GlobalWindowCoder
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from mixpanel_sink.api.auth import ResolvedCredentials
from mixpanel_sink.api.endpoints import IMPORT
from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.keys import KeySample
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.job import Job
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.privacy import Privacy
from mixpanel_sink.settings.project import Target
from mixpanel_sink.settings.quota import Quota
from mixpanel_sink.stages.convert import ConvertToChunks
from mixpanel_sink.stages.outputs import FAILED


def convert_tables(
    tables: Iterable[pa.Table],
    mapping: EventMapping,
    *,
    limits: Limits | None = None,
    token: str | None = None,
    privacy: Privacy | None = None,
    clock: Callable[[], float] = time.time,
    sample: KeySample | None = None,
) -> Iterator[EventChunk | FailedRecord]:
    """The chunks that a job would send, and the records that it could not, in order.

    Args:
        tables: with their origin, as `parquet.read_tables` gives them. A few are in memory at a
            time.
        mapping: how rows become events.
        limits: of events and requests.
        token: what every event carries, if anything; never sent from here.
        privacy: what the events must not hold.
        clock: seconds since 1970.
        sample: takes the keys of the events.
    """
    credentials: Any = _Known(token)
    destination = Destination.of()
    target = Target("local", destination, credentials, Quota.none(), limits or Limits())
    convert = ConvertToChunks(
        Job(
            endpoint=IMPORT,
            mapping=mapping,
            targets=(target,),
            route=None,
            lanes=1,
            window_coder=GlobalWindowCoder(),
            privacy=privacy,
            clock=clock,
        )
    )
    convert.setup()
    try:
        for table in tables:
            windowed = WindowedValue(table, MIN_TIMESTAMP, (GlobalWindow(),))
            yield from _plain(convert.process(table, windowed), sample)
        yield from _plain(convert.finish_bundle(), sample)
    finally:
        convert.teardown()


@dataclasses.dataclass(frozen=True)
class _Known:
    """Stands for credentials of which only the token matters."""

    token: str | None = dataclasses.field(repr=False)

    def resolve(self) -> ResolvedCredentials:
        return ResolvedCredentials("", "", token=self.token)


def _plain(outputs: Iterable[Any], sample: KeySample | None) -> Iterator[EventChunk | FailedRecord]:
    for output in outputs:
        if isinstance(output, TaggedOutput):
            if output.tag == FAILED:
                yield output.value.value
            elif sample is not None:
                sample.merge(KeySample.from_text(output.value.value.sample))
        else:
            _, data = output.value
            yield EventChunk.from_bytes(data)
